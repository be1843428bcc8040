//! Any bytes as iCalendar; what is taken is worked out, or says that it is too much.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stanch_model::Timestamp;
use stanch_model::calendar::Zone;

fuzz_target!(|data: &[u8]| {
    let paris = Zone::named("Europe/Paris").ok();
    let Ok(imported) = stanch_policy::ics::read("fuzz", data, paris.as_ref()) else { return };
    let now = Timestamp::constant(1_792_886_400, 0);
    let Ok(table) = imported.calendar.expand(now) else { return };
    let whole = table.whole();
    for interval in table.in_force().as_slice() {
        assert!(!interval.is_empty() && whole.start <= interval.start && interval.end <= whole.end);
    }
    for found in table.occurrences() {
        let seen = found.interval.and(&whole);
        assert!(table.open_at(seen.start).is_some_and(|open| open.end >= seen.end));
    }
});
