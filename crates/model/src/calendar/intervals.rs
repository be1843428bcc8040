//! Sets of instants, as half-open intervals that neither overlap nor touch.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The shortest time there is.
const TICK: SignedDuration = SignedDuration::from_nanos(1);

/// From an instant until just before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Interval {
    /// The first instant.
    pub start: Timestamp,
    /// The first instant after it.
    pub end: Timestamp,
}

impl Interval {
    /// Everything from `start` until just before `end`.
    pub const fn new(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end }
    }

    /// Whether no instant is in it.
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// Whether this instant is in it.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }

    /// What is in both; empty when nothing is.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self { start: self.start.max(other.start), end: self.end.min(other.end) }
    }

    /// How long it is; nothing when it is empty.
    pub fn length(&self) -> SignedDuration {
        if self.is_empty() { SignedDuration::ZERO } else { self.end.duration_since(self.start) }
    }
}

/// A set of instants: sorted intervals that neither overlap nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Intervals(Vec<Interval>);

impl Intervals {
    /// All instants that are in any of these.
    pub fn of(intervals: impl IntoIterator<Item = Interval>) -> Self {
        let mut sorted: Vec<Interval> = intervals.into_iter().filter(|interval| !interval.is_empty()).collect();
        sorted.sort_unstable();
        let mut merged: Vec<Interval> = Vec::with_capacity(sorted.len());
        for next in sorted {
            match merged.last_mut() {
                Some(last) if next.start <= last.end => last.end = last.end.max(next.end),
                _ => merged.push(next),
            }
        }
        Self(merged)
    }

    /// The intervals, in order.
    pub fn as_slice(&self) -> &[Interval] {
        &self.0
    }

    /// Whether no instant is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this instant is in it.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.at(at).is_some()
    }

    /// The interval this instant is in.
    pub fn at(&self, at: Timestamp) -> Option<Interval> {
        let behind = self.0.partition_point(|interval| interval.start <= at);
        self.0.get(behind.checked_sub(1)?).copied().filter(|interval| interval.contains(at))
    }

    /// The first interval that begins later than this instant.
    pub fn after(&self, at: Timestamp) -> Option<Interval> {
        self.0.get(self.0.partition_point(|interval| interval.start <= at)).copied()
    }

    /// The first instant of it that is not before this one.
    pub fn first_from(&self, at: Timestamp) -> Option<Timestamp> {
        if self.contains(at) { Some(at) } else { self.after(at).map(|interval| interval.start) }
    }

    /// The instants in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let (mut mine, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut both = Vec::new();
        while let (Some(a), Some(b)) = (mine.peek(), theirs.peek()) {
            let common = a.and(b);
            if !common.is_empty() {
                both.push(common);
            }
            if a.end <= b.end {
                mine.next()
            } else {
                theirs.next()
            };
        }
        Self(both)
    }

    /// The instants in either.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self::of(self.0.iter().chain(&other.0).copied())
    }

    /// The instants of `whole` that are not in it.
    #[must_use]
    pub fn outside(&self, whole: Interval) -> Self {
        let mut rest = Vec::new();
        let mut from = whole.start;
        for interval in &self.0 {
            rest.push(Interval::new(from, interval.start.min(whole.end)));
            from = from.max(interval.end);
        }
        rest.push(Interval::new(from, whole.end));
        Self::of(rest)
    }

    /// The instants at which something may begin that lasts up to `length` and has to be over when its interval ends.
    /// Ending with the interval is in time.
    #[must_use]
    pub fn room_for(&self, length: SignedDuration) -> Self {
        if length <= SignedDuration::ZERO {
            return self.clone();
        }
        let shrunk = self.0.iter().filter_map(|interval| {
            let end = interval.end.checked_sub(length.saturating_sub(TICK)).ok()?;
            Some(Interval::new(interval.start, end))
        });
        Self(shrunk.filter(|interval| !interval.is_empty()).collect())
    }

    /// The instants at which something that lasts up to `length` would meet an instant of it.
    #[must_use]
    pub fn met_by(&self, length: SignedDuration) -> Self {
        if length <= SignedDuration::ZERO {
            return self.clone();
        }
        let grown = self.0.iter().map(|interval| {
            let start = interval.start.checked_sub(length.saturating_sub(TICK)).unwrap_or(Timestamp::MIN);
            Interval::new(start, interval.end)
        });
        Self::of(grown)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn second(at: i64) -> Timestamp {
        Timestamp::from_second(at).unwrap()
    }

    fn sets() -> impl Strategy<Value = Intervals> {
        prop::collection::vec((0..60_i64, -2..12_i64), 0..8).prop_map(|pairs| {
            Intervals::of(pairs.into_iter().map(|(at, long)| Interval::new(second(at), second(at + long))))
        })
    }

    /// Every second, and the instants just before and after it.
    fn instants() -> impl Iterator<Item = Timestamp> {
        (-20..100).flat_map(|at| [second(at) - TICK, second(at), second(at) + TICK])
    }

    proptest! {
        #[test]
        fn merged_intervals_are_in_order_and_do_not_touch(set in sets()) {
            prop_assert!(set.as_slice().windows(2).all(|pair| pair[0].end < pair[1].start));
            prop_assert!(set.as_slice().iter().all(|interval| !interval.is_empty()));
        }

        #[test]
        fn set_operations_say_what_they_say_of_every_instant(a in sets(), b in sets(), from in 0..60_i64, long in 0..60_i64) {
            let whole = Interval::new(second(from), second(from + long));
            for at in instants() {
                prop_assert_eq!(a.and(&b).contains(at), a.contains(at) && b.contains(at));
                prop_assert_eq!(a.or(&b).contains(at), a.contains(at) || b.contains(at));
                prop_assert_eq!(a.outside(whole).contains(at), whole.contains(at) && !a.contains(at));
            }
        }

        #[test]
        fn what_has_room_is_over_before_its_interval_ends(set in sets(), long in 0..12_i64) {
            let length = SignedDuration::from_secs(long);
            let room = set.room_for(length);
            for at in instants() {
                let fits = set.at(at).is_some_and(|interval| at + length <= interval.end);
                prop_assert_eq!(room.contains(at), fits);
            }
        }

        #[test]
        fn what_would_meet_an_interval_is_told(set in sets(), long in 0..12_i64) {
            let length = SignedDuration::from_secs(long);
            let met = set.met_by(length);
            for at in instants() {
                let meets = set.contains(at)
                    || set.as_slice().iter().any(|interval| at < interval.end && interval.start < at + length);
                prop_assert_eq!(met.contains(at), meets);
            }
        }

        #[test]
        fn the_first_instant_is_the_first(set in sets()) {
            for at in instants() {
                let slow = set.as_slice().iter().find(|i| at < i.end).map(|i| i.start.max(at));
                prop_assert_eq!(set.first_from(at), slow);
            }
        }
    }
}
