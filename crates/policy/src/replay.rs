//! Replay: a draft over what happened. For every item that was seen, what the draft would decide of it beside what was
//! decided; and for what was done, whether it was taken back, failed or was called wrong.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use stanch_model::decision::Mode;
use stanch_model::id::{AssetId, ItemId};

use crate::bundle::Bundle;
use crate::facts::Facts;

/// Changes that are told one by one.
const TOLD: usize = 50;
/// One million: rates are parts of it.
const MILLION: u64 = 1_000_000;

/// One item as it was, and what became of it.
#[derive(Debug, Clone)]
pub struct Past {
    /// The item.
    pub item: ItemId,
    /// Its short name.
    pub name: String,
    /// Its asset.
    pub asset: AssetId,
    /// What was known of it.
    pub facts: Facts,
    /// When it was first seen.
    pub at: Timestamp,
    /// What was decided of it last.
    pub was: Mode,
    /// Something was done about it, and its check agreed.
    pub done: bool,
    /// What was done failed, was taken back or was called wrong; how, in a word.
    pub harm: Option<&'static str>,
}

/// One item of which the draft says something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// The item.
    pub item: ItemId,
    /// Its short name.
    pub name: String,
    /// What was decided.
    pub was: Mode,
    /// What the draft says.
    pub would_be: Mode,
    /// Why the draft says so.
    pub reason: String,
}

/// What a draft would have done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[must_use = "a replay is made to be read"]
pub struct Replay {
    /// Items that were looked at.
    pub items: u64,
    /// How many went from which mode to which, where they differ: `alert to auto`.
    pub changes: BTreeMap<String, u64>,
    /// The first of them, the highest mode first.
    pub changed: Vec<Changed>,
    /// Items that the draft would have done by itself.
    pub by_itself: u64,
    /// Of those, how many something was done about.
    pub known: u64,
    /// Of those, how many failed, were taken back or were called wrong.
    pub harmed: Vec<Harmed>,
    /// Most targets that the draft would have begun by itself in one UTC day, and on which.
    pub busiest_day: Option<(String, u64)>,
}

/// Something the draft would have done by itself that went wrong when it was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Harmed {
    /// The item.
    pub item: ItemId,
    /// Its short name.
    pub name: String,
    /// How: `failed`, `taken back`, `called wrong`.
    pub how: &'static str,
}

impl Replay {
    /// The share of what is known that went wrong, in parts of a million; `None` while nothing is known.
    pub fn harm_rate_e6(&self) -> Option<u32> {
        let harmed = u64::try_from(self.harmed.len()).unwrap_or(u64::MAX);
        u32::try_from(harmed.saturating_mul(MILLION).checked_div(self.known)?).ok()
    }
}

/// Plays a draft over the past. Linear in the items.
pub fn replay(draft: &Bundle, past: &[Past], now: Timestamp) -> Replay {
    let mut told = Replay { items: u64::try_from(past.len()).unwrap_or(u64::MAX), ..Replay::default() };
    let mut days: BTreeMap<String, std::collections::BTreeSet<&AssetId>> = BTreeMap::new();
    for one in past {
        let decision = draft.decide(&one.item, &one.facts, now);
        if decision.mode != one.was {
            *told.changes.entry(format!("{} to {}", one.was.name(), decision.mode.name())).or_default() += 1;
            told.changed.push(Changed {
                item: one.item.clone(),
                name: one.name.clone(),
                was: one.was,
                would_be: decision.mode,
                reason: decision.reason,
            });
        }
        if decision.mode != Mode::Auto {
            continue;
        }
        told.by_itself += 1;
        days.entry(one.at.strftime("%Y-%m-%d").to_string()).or_default().insert(&one.asset);
        if one.done || one.harm.is_some() {
            told.known += 1;
        }
        if let Some(how) = one.harm {
            told.harmed.push(Harmed { item: one.item.clone(), name: one.name.clone(), how });
        }
    }
    told.changed.sort_by(|a, b| b.would_be.cmp(&a.would_be).then_with(|| (&a.name, &a.item).cmp(&(&b.name, &b.item))));
    told.changed.truncate(TOLD);
    let busiest = days.into_iter().map(|(day, assets)| (day, assets.len())).max_by_key(|(_, count)| *count);
    told.busiest_day = busiest.map(|(day, count)| (day, u64::try_from(count).unwrap_or(u64::MAX)));
    told
}
