//! When a feed is looked for next: a pure function of what happened before.

use jiff::{SignedDuration, Timestamp};
use stanch_model::Digest;

use super::source::Source;
use super::state::State;

/// The first pause after a failure; each further one doubles it, up to the feed's own interval.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_mins(5);

/// When this feed is due. `place` tells apart the servers that fetch it, so that they do not all come at once: up to a
/// tenth of the interval is added.
pub fn next_due(source: &Source, state: &State, place: &str, now: Timestamp) -> Timestamp {
    let Some(tried) = state.tried_at else { return now };
    // A clock that was put back must not silence a feed.
    if tried > now {
        return now;
    }
    let wait = if state.failures == 0 {
        source.every
    } else {
        FIRST_PAUSE.saturating_mul(1 << state.failures.saturating_sub(1).min(16)).min(source.every)
    };
    let seed = Digest::of_bytes(format!("{place}\0{}", source.name).as_bytes());
    let part = i64::from(u16::from_be_bytes([seed.as_bytes()[0], seed.as_bytes()[1]]));
    let spread = SignedDuration::from_secs(wait.as_secs() / 10 * part / i64::from(u16::MAX));
    tried.checked_add(wait + spread).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feeds::osv_source;

    fn after(failures: u32) -> SignedDuration {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let state = State { tried_at: Some(now), failures, ..State::default() };
        next_due(&osv_source("Debian:12"), &state, "here", now).duration_since(now)
    }

    #[test]
    fn a_feed_never_tried_is_due_now() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        assert_eq!(next_due(&osv_source("Debian:12"), &State::default(), "here", now), now);
    }

    #[test]
    fn failures_shorten_the_wait_and_then_lengthen_it_up_to_the_interval() {
        let interval = SignedDuration::from_hours(4);
        assert!(after(0) >= interval && after(0) <= interval + interval / 10);
        assert!(after(1) >= FIRST_PAUSE && after(1) < FIRST_PAUSE * 2);
        assert!(after(2) > after(1) && after(3) > after(2));
        assert!(after(40) <= interval + interval / 10);
    }

    #[test]
    fn two_places_do_not_come_at_the_same_moment() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let state = State { tried_at: Some(now), ..State::default() };
        let source = osv_source("Debian:12");
        assert_ne!(next_due(&source, &state, "here", now), next_due(&source, &state, "there", now));
    }

    #[test]
    fn a_clock_put_back_does_not_silence_a_feed() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let state = State { tried_at: "2036-01-01T00:00:00Z".parse().ok(), ..State::default() };
        assert_eq!(next_due(&osv_source("Debian:12"), &state, "here", now), now);
    }
}
