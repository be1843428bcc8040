//! What is asked of a calendar that was worked out.

use jiff::civil::{Weekday, date, datetime};
use jiff::{SignedDuration, Timestamp};
use stanch_model::calendar::{
    BadRule, Calendar, Closed, DayOfWeek, End, Frequency, Gate, Interval, Length, Recurrence, Rule, Timetable, Zone,
};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

fn paris() -> Zone {
    Zone::named("Europe/Paris").unwrap()
}

/// Monday to Thursday, 22:00 to 06:00.
fn nights() -> Timetable {
    let mut weekly = Recurrence::every(Frequency::Weekly);
    weekly.weekdays = [Weekday::Monday, Weekday::Tuesday, Weekday::Wednesday, Weekday::Thursday]
        .map(|weekday| DayOfWeek { ordinal: None, weekday })
        .to_vec();
    let rule = Rule::once(paris(), datetime(2026, 11, 23, 22, 0, 0, 0), Length::Wall(hours(8)));
    let rule = rule.unwrap().repeating(weekly).unwrap().except([datetime(2026, 11, 25, 22, 0, 0, 0)]).unwrap();
    Calendar::new("paris-nights", vec![rule]).unwrap().expand(at("2026-11-23T12:00:00Z")).unwrap()
}

fn freeze() -> Timetable {
    let once = |start, long, name| Rule::once(paris(), start, Length::Wall(hours(long))).unwrap().named(name).unwrap();
    let rules = vec![
        once(datetime(2026, 12, 19, 0, 0, 0, 0), 24 * 15, "Year end"),
        once(datetime(2026, 12, 24, 0, 0, 0, 0), 48, "Christmas"),
    ];
    Calendar::new("corp", rules).unwrap().expand(at("2026-11-23T12:00:00Z")).unwrap()
}

#[test]
fn a_window_tells_until_when_it_is_open_and_when_it_opens() {
    let nights = nights();
    let monday = Interval::new(at("2026-11-23T21:00:00Z"), at("2026-11-24T05:00:00Z"));
    assert_eq!(nights.open_at(at("2026-11-23T21:00:00Z")), Some(monday));
    assert_eq!(nights.open_at(at("2026-11-24T05:00:00Z")), None);
    assert_eq!(nights.next_change(at("2026-11-23T21:00:00Z")), Some(monday.end));
    assert_eq!(nights.next_open(at("2026-11-24T05:00:00Z"), hours(1), true), Some(at("2026-11-24T21:00:00Z")));
    // Wednesday is excepted, Friday to Sunday are not named.
    assert_eq!(nights.next_open(at("2026-11-25T05:00:00Z"), hours(1), true), Some(at("2026-11-26T21:00:00Z")));
    assert_eq!(nights.next_open(at("2026-11-27T05:00:00Z"), hours(1), true), Some(at("2026-11-30T21:00:00Z")));
}

#[test]
fn what_must_finish_inside_starts_only_while_there_is_room() {
    let nights = nights();
    let late = at("2026-11-24T03:00:00Z");
    assert!(nights.fits(late, hours(2), true));
    assert!(!nights.fits(late + SignedDuration::from_nanos(1), hours(2), true));
    assert!(nights.fits(late + SignedDuration::from_nanos(1), hours(2), false));
    assert!(nights.fits(at("2026-11-23T21:00:00Z"), hours(8), true));
    assert_eq!(nights.next_open(late, hours(9), true), None);
    let gate = nights.window(at("2026-11-24T04:00:00Z"), hours(2), true);
    let why =
        Closed::DoesNotFit { calendar: "paris-nights".into(), ends_at: at("2026-11-24T05:00:00Z"), longest: hours(2) };
    assert_eq!(gate, Gate::Closed { why, opens_at: Some(at("2026-11-24T21:00:00Z")) });
}

#[test]
fn a_freeze_tells_its_name_and_its_end() {
    let gate = freeze().freeze(at("2026-12-24T12:00:00Z"), hours(1));
    let until = at("2027-01-02T23:00:00Z");
    let why = Closed::Freeze { calendar: "corp".into(), name: Some("Year end".into()), until };
    assert_eq!(gate, Gate::Closed { why, opens_at: Some(until) });
}

#[test]
fn nothing_starts_that_a_freeze_would_overtake() {
    let freeze = freeze();
    let begins_at = at("2026-12-18T23:00:00Z");
    assert!(freeze.freeze(begins_at - hours(2), hours(2)).is_open());
    let gate = freeze.freeze(begins_at - hours(1), hours(2));
    let why =
        Closed::FreezeAhead { calendar: "corp".into(), name: Some("Year end".into()), begins_at, longest: hours(2) };
    assert_eq!(gate, Gate::Closed { why, opens_at: Some(at("2027-01-02T23:00:00Z")) });
}

#[test]
fn what_was_not_worked_out_is_shut_and_frozen() {
    let (nights, freeze) = (nights(), freeze());
    for far in [nights.whole().end, nights.whole().start - hours(1), Timestamp::MAX, Timestamp::MIN] {
        for gate in [nights.window(far, hours(1), false), freeze.freeze(far, hours(1))] {
            assert!(matches!(gate, Gate::Closed { why: Closed::NotWorkedOut { .. }, opens_at: None }), "{gate:?}");
        }
    }
    assert_eq!(nights.whole().length(), hours(24 * 407));
}

#[test]
fn several_windows_are_open_only_together() {
    let weekdays = nights();
    let daily = Rule::once(Zone::utc(), datetime(2026, 11, 23, 4, 0, 0, 0), Length::Wall(hours(2))).unwrap();
    let daily = daily.repeating(Recurrence::every(Frequency::Daily)).unwrap();
    let early = Calendar::new("early", vec![daily]).unwrap().expand(at("2026-11-23T12:00:00Z")).unwrap();
    let both = Timetable::intersection([&weekdays, &early]);
    assert_eq!(both.as_slice()[0], Interval::new(at("2026-11-24T04:00:00Z"), at("2026-11-24T05:00:00Z")));
    assert!(Timetable::intersection([]).is_empty());
}

#[test]
fn a_freeze_that_began_long_ago_is_still_in_force() {
    let rule = Rule::once(Zone::utc(), datetime(2020, 1, 1, 0, 0, 0, 0), Length::Wall(hours(24 * 3_650))).unwrap();
    let table = Calendar::new("forever", vec![rule]).unwrap().expand(at("2026-11-23T12:00:00Z")).unwrap();
    assert!(table.open_at(at("2026-11-23T12:00:00Z")).is_some());
}

#[test]
fn days_are_added_and_excepted_by_their_start() {
    let start = datetime(2026, 11, 23, 22, 0, 0, 0);
    let more = datetime(2026, 11, 29, 10, 0, 0, 0);
    let weekly = Recurrence::every(Frequency::Weekly);
    let rule = Rule::once(paris(), start, Length::Wall(hours(1))).unwrap().repeating(weekly).unwrap();
    assert_eq!(rule.starts_at(datetime(2026, 11, 30, 22, 0, 0, 0)), Some(true));
    assert_eq!(rule.starts_at(datetime(2026, 11, 30, 21, 0, 0, 0)), Some(false));
    assert_eq!(rule.starts_at(datetime(2026, 12, 1, 22, 0, 0, 0)), Some(false));
    let rule = rule.also([more]).unwrap().except([start, more + hours(1)]).unwrap();
    let table = Calendar::new("more", vec![rule]).unwrap().expand(at("2026-11-23T12:00:00Z")).unwrap();
    let starts: Vec<_> = table.occurrences().iter().map(|found| paris().wall(found.interval.start)).take(2).collect();
    assert_eq!(starts, [more, datetime(2026, 11, 30, 22, 0, 0, 0)]);
}

#[test]
fn an_exception_that_leaves_nothing_out_is_told() {
    let start = datetime(2026, 11, 23, 22, 0, 0, 0);
    let slips = [start + hours(1), start + hours(24)];
    for end in [End::Never, End::Count(3)] {
        let weekly = Recurrence { end, ..Recurrence::every(Frequency::Weekly) };
        let rule = Rule::once(paris(), start, Length::Wall(hours(1))).unwrap().repeating(weekly).unwrap();
        let rule = rule.except(slips.into_iter().chain([start, start + hours(24 * 7)])).unwrap();
        assert_eq!(rule.idle_exceptions(), slips);
    }
}

#[test]
fn times_out_of_bounds_are_refused() {
    let once = |start, length| Rule::once(Zone::utc(), start, length);
    let day = date(2026, 1, 1).at(0, 0, 0, 0);
    assert_eq!(once(day, Length::Wall(hours(0))).unwrap_err(), BadRule::Length);
    assert_eq!(once(day, Length::Wall(hours(-1))).unwrap_err(), BadRule::Length);
    assert_eq!(once(day, Length::Elapsed { days: 0, seconds: 0 }).unwrap_err(), BadRule::Length);
    assert_eq!(once(day, Length::Elapsed { days: 4_000, seconds: 0 }).unwrap_err(), BadRule::TooLong);
    assert!(matches!(once(date(1969, 1, 1).at(0, 0, 0, 0), Length::Wall(hours(1))), Err(BadRule::Start(_))));
    assert!(matches!(once(date(2200, 1, 1).at(0, 0, 0, 0), Length::Wall(hours(1))), Err(BadRule::Start(_))));
    assert_eq!(once(day, Length::Wall(hours(1))).unwrap().named("a\nb").unwrap_err(), BadRule::Label);
}

#[test]
fn a_calendar_without_rules_is_never_in_force() {
    let table = Calendar::new("empty", Vec::new()).unwrap().expand(at("2026-11-23T12:00:00Z")).unwrap();
    let gate = table.window(at("2026-11-23T12:00:00Z"), hours(1), true);
    assert_eq!(gate, Gate::Closed { why: Closed::Window { calendar: "empty".into(), opens_at: None }, opens_at: None });
    assert!(table.freeze(at("2026-11-23T12:00:00Z"), hours(1)).is_open());
}
