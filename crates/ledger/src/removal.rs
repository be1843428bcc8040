//! Payloads that retention took. Of such an entry its place, time, actor, event, subjects and digests stay, with the hash
//! of the leaf that it was sealed as. That hash can no longer be computed from what stays, so a later entry, sealed like
//! any other, vouches for all of them: it lists their indices and holds a digest over what stays. What is missing without
//! such an entry was cut out by somebody else.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use stanch_model::canonical::{CanonicalError, Digest, Hasher, digest};

use crate::entry::{Entry, NewEntry};

/// The event of an entry that vouches for what stays.
pub const EVENT: &str = "ledger_payloads_removed";
/// The name of the digest that it holds.
const STAYS: &str = "stays";
/// The most entries that are taken together: their ranges fit into a payload, however they lie.
pub const MOST: usize = 1_000;

/// What one entry vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    ranges: Vec<(u64, u64)>,
    stays: Digest,
}

/// Digest of what stays of one entry, the hash of its leaf among it.
pub(crate) fn stays(entry: &Entry) -> Result<Digest, CanonicalError> {
    digest("stanch/ledger-stays", entry)
}

fn together(all: impl IntoIterator<Item = Digest>) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(b"stanch/ledger-removal\0");
    for one in all {
        hasher.update(one.as_bytes());
    }
    hasher.finish()
}

impl Removal {
    /// Vouches for these entries, which have lost their payloads.
    ///
    /// # Errors
    /// When one still has a payload that holds a float.
    pub fn of(entries: &[Entry]) -> Result<Self, CanonicalError> {
        let mut known = BTreeMap::new();
        for entry in entries {
            known.insert(entry.index, stays(&entry.clone().without_payload()?)?);
        }
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for index in known.keys().copied() {
            match ranges.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(index) => *last = index,
                _ => ranges.push((index, index)),
            }
        }
        Ok(Self { ranges, stays: together(known.into_values()) })
    }

    /// How many payloads.
    pub fn count(&self) -> u64 {
        self.ranges.iter().fold(0, |sum: u64, (first, last)| sum.saturating_add((last - first).saturating_add(1)))
    }

    /// The entry that says so: payloads of what happened before a time, kept for as long as `keep` says.
    pub fn entry(&self, at: Timestamp, actor: &str, before: Timestamp, keep: &str) -> NewEntry {
        NewEntry::new(at, actor, EVENT)
            .about("retention")
            .with(json!({
                "noun": "ledger",
                "rows": self.count(),
                "before": before,
                "keep": keep,
                "entries": self.ranges,
            }))
            .resting_on(STAYS, self.stays)
    }

    /// What an entry vouches for; `None` when it is about something else or does not read.
    pub(crate) fn read(entry: &NewEntry) -> Option<Self> {
        let ranges: Vec<(u64, u64)> = serde_json::from_value(entry.payload.get("entries")?.clone()).ok()?;
        let in_order = ranges.iter().all(|(first, last)| first <= last)
            && ranges.windows(2).all(|pair| matches!(pair, [(_, before), (after, _)] if before < after));
        in_order.then_some(Self { ranges, stays: *entry.digests.get(STAYS)? })
    }
}

/// Entries without payloads for which nothing vouches yet.
#[derive(Debug, Default)]
pub(crate) struct Unvouched(BTreeMap<u64, Digest>);

impl Unvouched {
    /// Notes an entry that was met without its payload.
    pub(crate) fn meet(&mut self, entry: &Entry) -> Result<(), CanonicalError> {
        self.0.insert(entry.index, stays(entry)?);
        Ok(())
    }

    /// Takes off what a removal vouches for; answers how many, or nothing where they are not those, or not what they were.
    pub(crate) fn vouch(&mut self, removal: &Removal) -> Option<u64> {
        let count = removal.count();
        if count > self.0.len() as u64 {
            return None;
        }
        let indices = removal.ranges.iter().flat_map(|(first, last)| *first..=*last);
        let found: Vec<Digest> = indices.map_while(|index| self.0.remove(&index)).collect();
        (found.len() as u64 == count && together(found) == removal.stays).then_some(count)
    }

    /// The first that is left.
    pub(crate) fn first(&self) -> Option<u64> {
        self.0.keys().next().copied()
    }
}

/// Whether an entry has a payload that can be taken: what vouches for others keeps its own.
pub fn can_lose(entry: &NewEntry) -> bool {
    entry.event != EVENT && entry.payload != Value::Null
}
