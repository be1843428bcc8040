//! Campaign undo: everything that a policy did between two times is taken back, the last first and whatever rests on
//! something before what it rests on. What others changed since is listed and left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_model::id::{AssetId, ItemId, RemediationId};

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The remediation it belongs to.
    pub remediation: RemediationId,
    /// The policies whose rules asked for it.
    pub policies: BTreeSet<String>,
    /// Where.
    pub asset: AssetId,
    /// The items.
    pub items: BTreeSet<ItemId>,
    /// When it was done.
    pub at: Timestamp,
    /// Items, done earlier, that it rests on: they are taken back after it.
    pub rests_on: BTreeSet<ItemId>,
    /// What others changed there since, line by line.
    pub changed_since: Vec<String>,
    /// It was taken back already.
    pub taken_back: bool,
    /// It cannot be taken back.
    pub one_way: bool,
}

/// One step of the way back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Back {
    /// The remediation.
    pub remediation: RemediationId,
    /// Where.
    pub asset: AssetId,
    /// The items, in order.
    pub items: Vec<ItemId>,
}

/// Why something is not taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum Kept {
    /// Others changed it since.
    Changed {
        /// What, line by line.
        lines: Vec<String>,
    },
    /// It cannot be taken back.
    OneWay,
    /// Something that stays rests on it.
    RestedOn {
        /// The items that stay.
        by: BTreeSet<ItemId>,
    },
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { lines } => write!(f, "somebody else changed it since: {}", lines.join("; ")),
            Self::OneWay => f.write_str("it cannot be taken back"),
            Self::RestedOn { by } => write!(f, "{} items that stay rest on it", by.len()),
        }
    }
}

/// The way back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "what is kept has to be shown"]
pub struct Campaign {
    /// What is taken back, in this order.
    pub back: Vec<Back>,
    /// What stays, and why.
    pub kept: Vec<(Back, Kept)>,
}

/// The way back of everything that this policy did from `from` until just before `until`.
pub fn campaign(done: &[Done], policy: &str, from: Timestamp, until: Timestamp) -> Campaign {
    let wanted = |one: &&Done| one.policies.contains(policy) && from <= one.at && one.at < until && !one.taken_back;
    let mut mine: Vec<&Done> = done.iter().filter(wanted).collect();
    // The last first; the rest only so that the same always comes out.
    mine.sort_by(|a, b| {
        b.at.cmp(&a.at).then_with(|| (&a.remediation, &a.asset, &a.items).cmp(&(&b.remediation, &b.asset, &b.items)))
    });
    let mut kept: BTreeMap<usize, Kept> = BTreeMap::new();
    for (at, one) in mine.iter().enumerate() {
        if !one.changed_since.is_empty() {
            kept.insert(at, Kept::Changed { lines: one.changed_since.clone() });
        } else if one.one_way {
            kept.insert(at, Kept::OneWay);
        }
    }
    // What stands outside the campaign stays as well, and so does whatever it rests on.
    let outside: Vec<&Done> = done.iter().filter(|one| !wanted(one) && !one.taken_back).collect();
    loop {
        let staying = mine.iter().enumerate().filter(|(at, _)| kept.contains_key(at)).map(|(_, one)| *one);
        let staying: Vec<&Done> = staying.chain(outside.iter().copied()).collect();
        let rested_on = |one: &Done| -> BTreeSet<ItemId> {
            let resting = staying.iter().filter(|other| !other.rests_on.is_disjoint(&one.items));
            resting.flat_map(|other| other.items.iter().cloned()).collect()
        };
        let more: Vec<(usize, Kept)> = mine
            .iter()
            .enumerate()
            .filter(|(at, _)| !kept.contains_key(at))
            .filter_map(|(at, one)| Some((at, rested_on(one))).filter(|(_, by)| !by.is_empty()))
            .map(|(at, by)| (at, Kept::RestedOn { by }))
            .collect();
        if more.is_empty() {
            break;
        }
        kept.extend(more);
    }
    let back = |one: &Done| Back {
        remediation: one.remediation.clone(),
        asset: one.asset.clone(),
        items: one.items.iter().cloned().collect(),
    };
    let going: Vec<&Done> =
        mine.iter().enumerate().filter(|(at, _)| !kept.contains_key(at)).map(|(_, one)| *one).collect();
    let stays = kept.into_iter().filter_map(|(at, why)| Some((back(mine.get(at)?), why)));
    Campaign { kept: stays.collect(), back: in_order(going).into_iter().map(back).collect() }
}

/// Whatever rests on something before it; else the order they came in. Things that rest on each other in a circle keep
/// their order: there is no better one.
fn in_order(mut left: Vec<&Done>) -> Vec<&Done> {
    let mut order = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let free = |one: &Done| {
            !left.iter().any(|other| !std::ptr::eq(*other, one) && !other.rests_on.is_disjoint(&one.items))
        };
        let at = left.iter().position(|one| free(one)).unwrap_or(0);
        order.push(left.remove(at));
    }
    order
}
