//! What nobody has decided yet: items of assets of which something is new, and, now and then, all of them. All items are
//! decided in a walk that takes as many passes as it needs, so that what is new does not wait for its end, and a pass
//! that is broken off has lost no way.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use stanch_model::id::AssetId;
use stanch_store::item::ItemCursor;

/// After a walk so many times its length passes before another one begins: walks take a tenth of the time at most.
const REST: u32 = 9;

/// What is to be decided.
#[derive(Debug, Default)]
pub(crate) struct Undecided {
    /// The items of these assets.
    on: BTreeSet<AssetId>,
    /// All items, in a walk after the one that may be under way.
    everything: bool,
    /// The walk under way, while no pass has it.
    walk: Option<Walk>,
    /// Counts how often what all decisions rest on has changed.
    edition: u64,
    began_at: Option<Timestamp>,
    rests: Option<Instant>,
}

/// A walk over all items.
#[derive(Debug)]
pub(crate) struct Walk {
    /// How far it has come.
    pub(crate) after: Option<ItemCursor>,
    /// How long it took so far.
    pub(crate) took: Duration,
    edition: u64,
}

impl Undecided {
    /// As after a start: nobody knows what is decided.
    pub(crate) fn all() -> Self {
        Self { everything: true, ..Self::default() }
    }

    /// Something of these assets is new.
    pub(crate) fn want(&mut self, assets: impl IntoIterator<Item = AssetId>) {
        self.on.extend(assets);
    }

    /// All decisions may be others by now.
    pub(crate) const fn again(&mut self) {
        self.everything = true;
    }

    /// All decisions rest on something else from now on: neither a walk under way nor a rest is waited for.
    pub(crate) fn anew(&mut self) {
        self.everything = true;
        self.walk = None;
        self.rests = None;
        self.edition = self.edition.wrapping_add(1);
    }

    /// At most so many of the assets, which are told once.
    pub(crate) fn take(&mut self, most: usize) -> BTreeSet<AssetId> {
        let Some(later) = self.on.iter().nth(most).cloned() else { return std::mem::take(&mut self.on) };
        let later = self.on.split_off(&later);
        std::mem::replace(&mut self.on, later)
    }

    /// The walk that goes on, or one that begins; also when the last began so long ago that decisions which depend on the
    /// time may be others.
    pub(crate) fn take_walk(&mut self, now: Timestamp, every: SignedDuration, clock: Instant) -> Option<Walk> {
        self.everything |= self.began_at.is_none_or(|last| now.duration_since(last) >= every);
        if let Some(walk) = self.walk.take() {
            return Some(walk);
        }
        if !self.everything || self.rests.is_some_and(|until| clock < until) {
            return None;
        }
        self.everything = false;
        self.began_at = Some(now);
        Some(Walk { after: None, took: Duration::ZERO, edition: self.edition })
    }

    /// A walk is to go on later, unless it began on what is out of date by now.
    pub(crate) fn keep_walk(&mut self, walk: Walk) {
        if walk.edition == self.edition {
            self.walk = Some(walk);
        }
    }

    /// A walk has come to its end.
    pub(crate) fn end_walk(&mut self, walk: &Walk, clock: Instant) {
        if walk.edition == self.edition {
            self.rests = clock.checked_add(walk.took.saturating_mul(REST));
        }
    }
}

#[cfg(test)]
mod tests {
    use stanch_model::id::ItemId;

    use super::*;

    const EVERY: SignedDuration = SignedDuration::from_hours(1);

    fn noon(minutes: i64) -> Timestamp {
        "2026-11-27T12:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minutes)
    }

    fn place(rank: &str) -> Option<ItemCursor> {
        Some(ItemCursor { rank: rank.to_owned(), id: ItemId::from_entropy([1; 10]) })
    }

    #[test]
    fn a_walk_goes_on_where_it_was_broken_off_and_rests_after_its_end() {
        let (mut all, clock) = (Undecided::all(), Instant::now());
        let mut walk = all.take_walk(noon(0), EVERY, clock).unwrap();
        assert!(all.take_walk(noon(0), EVERY, clock).is_none(), "it is told once");
        (walk.after, walk.took) = (place("b"), Duration::from_secs(20));
        all.again();
        all.keep_walk(walk);
        let walk = all.take_walk(noon(1), EVERY, clock).unwrap();
        assert_eq!(walk.after, place("b"));
        all.end_walk(&walk, clock);
        assert!(all.take_walk(noon(1), EVERY, clock + Duration::from_secs(179)).is_none());
        // What was said during the walk leads to another one.
        assert!(all.take_walk(noon(1), EVERY, clock + Duration::from_secs(180)).unwrap().after.is_none());
        assert!(all.take_walk(noon(2), EVERY, clock + Duration::from_secs(999)).is_none());
        assert!(all.take_walk(noon(61), EVERY, clock + Duration::from_secs(999)).is_some(), "the time alone is enough");
    }

    #[test]
    fn other_policies_wait_for_no_walk_and_no_rest() {
        let (mut all, clock) = (Undecided::all(), Instant::now());
        let mut walk = all.take_walk(noon(0), EVERY, clock).unwrap();
        (walk.after, walk.took) = (place("b"), Duration::from_secs(20));
        all.anew();
        all.keep_walk(walk);
        let walk = all.take_walk(noon(0), EVERY, clock).unwrap();
        assert_eq!(walk.after, None, "from the first item on");
        all.end_walk(&Walk { took: Duration::from_secs(20), ..walk }, clock);
        all.anew();
        assert!(all.take_walk(noon(0), EVERY, clock).is_some());
    }

    #[test]
    fn assets_are_told_once_and_some_at_a_time() {
        let assets: Vec<AssetId> = (0..5).map(|byte| AssetId::from_entropy([byte; 10])).collect();
        let mut all = Undecided::default();
        all.want(assets.iter().cloned());
        let first = all.take(2);
        all.want([assets[4].clone()]);
        let (second, third, rest) = (all.take(2), all.take(2), all.take(2));
        assert_eq!([first.len(), second.len(), third.len(), rest.len()], [2, 2, 1, 0]);
        let told: BTreeSet<AssetId> = first.into_iter().chain(second).chain(third).collect();
        assert_eq!(told, assets.into_iter().collect());
    }
}
