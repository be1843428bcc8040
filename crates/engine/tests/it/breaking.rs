//! Breakers: one, two, four, and only then free again.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use stanch_engine::breaker::{Admission, Breaker, FIRST_REST_SECONDS, LONGEST_REST_SECONDS, State, TRIAL, Word};

use crate::world::now;

fn later(at: Timestamp, seconds: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(seconds)).unwrap()
}

fn trial(breaker: &Breaker, at: Timestamp) -> (String, u32) {
    match breaker.admission(at) {
        Admission::Trial { span, limit } => (span, limit),
        other => panic!("{other:?}"),
    }
}

#[test]
fn after_a_halt_it_rests_and_then_admits_one_two_and_four() {
    let start = now();
    let mut breaker = Breaker::default().after(&Word::Halted, start);
    let until = later(start, FIRST_REST_SECONDS);
    assert_eq!(breaker.admission(later(until, -1)), Admission::Shut { until });
    for limit in TRIAL {
        let (span, admitted) = trial(&breaker, until);
        assert_eq!(admitted, limit);
        for _ in 0..limit {
            assert_eq!(trial(&breaker, until).1, limit, "all of a stage have to succeed before the next");
            breaker = breaker.after(&Word::Good { span: span.clone() }, until);
        }
    }
    assert_eq!((breaker.admission(until), breaker.state.clone()), (Admission::Free, State::Closed));
}

#[test]
fn one_failure_in_the_trial_makes_it_rest_twice_as_long() {
    let start = now();
    let mut breaker = Breaker::default().after(&Word::Halted, start);
    let mut at = later(start, FIRST_REST_SECONDS);
    let (span, _) = trial(&breaker, at);
    breaker = breaker.after(&Word::Good { span: span.clone() }, at);
    // A start of the first stage that fails in its bake, while the second stage runs.
    breaker = breaker.after(&Word::Bad { span: span.clone() }, at);
    let until = later(at, 2 * FIRST_REST_SECONDS);
    assert_eq!(breaker.admission(at), Admission::Shut { until });
    at = until;
    assert_eq!(trial(&breaker, at).1, 1, "from the beginning");
    assert_eq!(breaker.after(&Word::Good { span: span.clone() }, at), breaker, "an old trial proves nothing");
    assert_eq!(breaker.after(&Word::Bad { span }, at), breaker);
}

fn word() -> impl Strategy<Value = (u8, bool, i64)> {
    (0..4_u8, any::<bool>(), 0..200_000_i64)
}

proptest! {
    #[test]
    fn it_closes_only_after_seven_in_a_row_of_one_trial(words in prop::collection::vec(word(), 1..60)) {
        let mut at = now();
        let mut breaker = Breaker::default();
        let (mut good, mut old) = (0, "trip/0/stage/1".to_owned());
        for (kind, stale, pass) in words {
            at = later(at, pass);
            let before = breaker.clone();
            let current = match before.admission(at) {
                Admission::Trial { span, .. } => Some(span),
                _ => None,
            };
            let span = if stale { old.clone() } else { current.clone().unwrap_or_else(|| old.clone()) };
            let counts = Some(&span) == current.as_ref();
            let word = match kind {
                0 => Word::Halted,
                1 => Word::Bad { span: span.clone() },
                _ => Word::Good { span: span.clone() },
            };
            breaker = before.after(&word, at);
            match word {
                Word::Good { .. } if counts => good += 1,
                _ if breaker.trips != before.trips => good = 0,
                _ => {}
            }
            if breaker.state == State::Closed && before.state != State::Closed {
                prop_assert_eq!(good, 7);
                good = 0;
            }
            prop_assert!(good < 7);
            if let State::Open { until, rest, .. } = breaker.state {
                prop_assert!((FIRST_REST_SECONDS..=LONGEST_REST_SECONDS).contains(&rest));
                // Nothing passes in the rest after a trip.
                if breaker.trips != before.trips {
                    prop_assert_eq!(breaker.admission(later(until, -1)), Admission::Shut { until });
                }
            }
            old = current.unwrap_or(old);
        }
    }
}
