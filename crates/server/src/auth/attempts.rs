//! How often somebody may try. Guessing is slowed down for each name, known or not, and for all together; who is kept
//! out by somebody else's guesses still gets in by a link.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use stanch_model::canonical::{Digest, digest_encoded};

/// Within this long failures count.
const WINDOW: SignedDuration = SignedDuration::from_mins(15);
/// Failures for one name.
const FOR_ONE: usize = 10;
/// Failures for all names together.
const FOR_ALL: usize = 300;
/// Names that are remembered; beyond it everybody waits.
const NAMES: usize = 10_000;

/// Failed attempts of the last while.
#[derive(Default)]
pub(crate) struct Attempts(Mutex<Failures>);

#[derive(Default)]
struct Failures {
    by_name: HashMap<Digest, Vec<Timestamp>>,
    all: Vec<Timestamp>,
}

fn key(name: &str) -> Digest {
    digest_encoded("stanch/attempt/v1", name.as_bytes())
}

impl Attempts {
    /// Counts an attempt as failed until it is known to be good, unless there were too many. Counting first keeps a
    /// thousand at once from all being tried.
    pub(crate) fn begin(&self, name: &str, now: Timestamp) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = |at: &Timestamp| now.duration_since(*at) < WINDOW;
        known.all.retain(recent);
        known.by_name.retain(|_, times| {
            times.retain(recent);
            !times.is_empty()
        });
        let one = known.by_name.get(&key(name)).map_or(0, Vec::len);
        if one >= FOR_ONE || known.all.len() >= FOR_ALL || known.by_name.len() >= NAMES {
            return false;
        }
        known.by_name.entry(key(name)).or_default().push(now);
        known.all.push(now);
        true
    }

    /// The attempt was good: the failures for this name are forgotten.
    pub(crate) fn succeeded(&self, name: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(times) = known.by_name.remove(&key(name)) {
            let keep = known.all.len().saturating_sub(times.len());
            known.all.truncate(keep);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
    }

    #[test]
    fn guessing_at_one_name_stops_and_others_go_on() {
        let attempts = Attempts::default();
        assert!((0..FOR_ONE).all(|_| attempts.begin("ada", at(0))));
        assert!(!attempts.begin("ada", at(1)) && attempts.begin("ben", at(1)));
        assert!(attempts.begin("ada", at(15)), "it passes");
    }

    #[test]
    fn guessing_at_many_names_stops_for_all() {
        let attempts = Attempts::default();
        assert!((0..FOR_ALL).all(|n| attempts.begin(&format!("name{n}"), at(0))));
        assert!(!attempts.begin("ada", at(1)) && attempts.begin("ada", at(15)));
    }

    #[test]
    fn whoever_gets_in_starts_anew() {
        let attempts = Attempts::default();
        for _ in 0..3 * FOR_ONE {
            assert!(attempts.begin("ada", at(0)));
            attempts.succeeded("ada");
        }
    }
}
