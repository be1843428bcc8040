//! When a checkpoint is due: soon enough that little stands unsigned, seldom enough that signing costs nothing. A
//! pure function of sizes and times, so that the sealer can be tested without waiting.

use jiff::{SignedDuration, Timestamp};

/// How much may stand unsigned, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Entries after which a checkpoint is due at once.
    pub entries: u64,
    /// How long the oldest unsigned entry may wait.
    pub within: SignedDuration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { entries: 1_000, within: SignedDuration::from_secs(1) }
    }
}

impl Schedule {
    /// Whether a checkpoint is due now. `signed` is the size of the last one, `size` that of the log, and
    /// `oldest_unsigned` when the first entry after the last checkpoint was sealed.
    pub fn is_due(&self, signed: u64, size: u64, oldest_unsigned: Option<Timestamp>, now: Timestamp) -> bool {
        let waiting = size.saturating_sub(signed);
        if waiting == 0 {
            return false;
        }
        // A clock that went back must not put it off.
        waiting >= self.entries
            || oldest_unsigned.is_none_or(|since| now < since || now.duration_since(since) >= self.within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_000_000 + milliseconds).unwrap()
    }

    #[test]
    fn due_after_a_second_or_a_thousand_entries() {
        let schedule = Schedule::default();
        assert!(!schedule.is_due(5, 5, None, at(0)), "nothing new");
        assert!(!schedule.is_due(5, 6, Some(at(0)), at(999)));
        assert!(schedule.is_due(5, 6, Some(at(0)), at(1000)));
        assert!(!schedule.is_due(0, 999, Some(at(0)), at(1)));
        assert!(schedule.is_due(0, 1000, Some(at(0)), at(1)));
    }

    #[test]
    fn a_clock_that_goes_back_does_not_put_it_off() {
        assert!(Schedule::default().is_due(5, 6, Some(at(0)), at(-1)));
    }
}
