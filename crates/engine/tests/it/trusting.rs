//! Trust: earned in numbers, lost at once.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use stanch_engine::trust::{MILLION, Missing, Outcome, Record, Thresholds, ready_for_auto, wilson_lower};

use crate::world::now;

fn record(outcomes: &[(Outcome, u32)], at: Timestamp) -> Record {
    let each = outcomes.iter().flat_map(|(outcome, times)| std::iter::repeat_n(*outcome, *times as usize));
    each.fold(Record::default(), |record, outcome| record.after(outcome, at))
}

#[test]
fn the_bound_is_that_of_the_published_formula() {
    // The formula in double precision, with z = 1.959963984540054.
    for (good, runs, expected) in [
        (0, 10, 0),
        (1, 1, 206_549),
        (3, 3, 438_502),
        (8, 10, 490_162),
        (50, 50, 928_652),
        (98, 100, 929_988),
        (999, 1_000, 994_357),
    ] {
        let is = wilson_lower(good, runs);
        assert!(is <= expected && expected - is <= 2, "{good} of {runs}: {is}, expected {expected}");
    }
    assert_eq!(wilson_lower(0, 0), 0);
}

#[test]
fn enough_good_runs_are_ready_and_every_lack_is_told() {
    let evidence = ready_for_auto(&record(&[(Outcome::Verified, 60)], now()), &Thresholds::default(), now()).unwrap();
    assert_eq!((evidence.standing.verified, evidence.success_rate), (60, MILLION));
    assert!(evidence.success_at_least < MILLION, "sixty runs are no certainty");
    let poor =
        record(&[(Outcome::Verified, 3), (Outcome::Failed, 1), (Outcome::Misfire, 1), (Outcome::Undone, 3)], now());
    let told: Vec<String> =
        ready_for_auto(&poor, &Thresholds::default(), now()).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "3 verified runs of 50",
            "it works in at least 30.0 % of all runs; asked for are 90.0 %",
            "1 runs should not have been; 0 may",
            "3 runs were taken back; 2 may be",
        ]
    );
}

#[test]
fn one_bad_undo_takes_the_grade_away() {
    let good = record(&[(Outcome::Verified, 500)], now());
    assert!(ready_for_auto(&good, &Thresholds::default(), now()).is_ok());
    let bad = good.after(Outcome::BadUndo, now());
    let missing = ready_for_auto(&bad, &Thresholds::default(), now()).unwrap_err();
    assert!(missing.contains(&Missing::Lost { at: now() }) && missing.contains(&Missing::Runs { are: 0, wanted: 50 }));
    // It is earned anew, with as many runs, after a calm time; nothing is forgotten.
    let again = (0..60).fold(bad, |record, _| record.after(Outcome::Verified, now()));
    assert!(ready_for_auto(&again, &Thresholds::default(), now()).is_err());
    let calm = now().checked_add(SignedDuration::from_hours(24 * 30)).unwrap();
    assert!(ready_for_auto(&again, &Thresholds::default(), calm).is_ok());
    assert_eq!((again.total.verified, again.total.failed, again.standing.verified), (560, 1, 60));
}

proptest! {
    #[test]
    fn the_bound_is_never_above_the_rate_and_never_rises_by_a_failure(good in 0..5_000_u32, bad in 0..5_000_u32) {
        prop_assume!(good + bad > 0);
        let is = wilson_lower(good, good + bad);
        let rate = u64::from(good) * u64::from(MILLION) / u64::from(good + bad);
        prop_assert!(u64::from(is) <= rate);
        prop_assert!(wilson_lower(good, good + bad + 1) <= is);
        prop_assert!(wilson_lower(good + 1, good + bad + 1) >= is);
    }

    #[test]
    fn whatever_happens_after_a_bad_undo_nothing_before_it_counts(
        before in 0..400_u32,
        after in prop::collection::vec(0..6_u8, 0..80),
    ) {
        let mut record = record(&[(Outcome::Verified, before)], now()).after(Outcome::BadUndo, now());
        let mut verified = 0;
        for outcome in after {
            let outcome = [
                Outcome::Verified, Outcome::Failed, Outcome::Undone, Outcome::BadUndo, Outcome::Misfire, Outcome::Confirmed,
            ][usize::from(outcome)];
            record = record.after(outcome, now());
            match outcome {
                Outcome::Verified => verified += 1,
                Outcome::BadUndo => verified = 0,
                _ => {}
            }
        }
        prop_assert_eq!(record.standing.verified, verified);
        if verified < Thresholds::default().verified_runs {
            let late = now().checked_add(SignedDuration::from_hours(24 * 365)).unwrap();
            prop_assert!(ready_for_auto(&record, &Thresholds::default(), late).is_err());
        }
    }
}
