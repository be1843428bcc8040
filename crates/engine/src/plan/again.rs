//! A plan made again: which leaves no longer fit the world, and whether what people agreed to still covers the rest.
//!
//! Approvals are of leaves. A plan that does less than the approved one, under the same rules and terms, needs no new
//! word; anything added or changed does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use stanch_model::canonical::{CanonicalError, Digest};
use stanch_model::id::{AssetId, ItemId};
use stanch_model::plan::{Leaf, Plan, Wave};

/// Why a leaf is set aside until it is planned again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum Replan {
    /// The target is not as the plan expects it.
    Drifted {
        /// What is different, in words.
        detail: String,
    },
    /// The target is gone.
    Lost,
    /// It would bring another version than the one that was proven in the first wave.
    OtherVersion {
        /// Of what.
        subject: String,
        /// What it would bring.
        version: String,
        /// What was proven.
        proven: Vec<String>,
    },
    /// An item of it was taken back since, and is left alone.
    TakenBack {
        /// The items.
        items: Vec<ItemId>,
    },
    /// The rollout stood still for too long, or its plan may start nothing any more.
    TooOld,
}

impl fmt::Display for Replan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drifted { detail } => write!(f, "the target is not as planned any more: {detail}"),
            Self::Lost => f.write_str("the target is gone"),
            Self::OtherVersion { subject, version, proven } => {
                write!(f, "it would bring {subject} {version}, and the first wave proved {}", proven.join(", "))
            }
            Self::TakenBack { items } => {
                write!(f, "{} of its items were taken back since, and are left alone", items.len())
            }
            Self::TooOld => f.write_str("it stood still for too long"),
        }
    }
}

/// The leaves that no longer fit: `fresh` says what their executors would do now, `None` for targets that are gone.
/// Of a target that is not in it nothing is known, and its leaf stays.
///
/// # Errors
/// When a parameter has no canonical form.
pub fn needs_replan(
    plan: &Plan,
    fresh: &BTreeMap<AssetId, Option<Leaf>>,
) -> Result<BTreeMap<AssetId, Replan>, CanonicalError> {
    let mut aside = BTreeMap::new();
    for leaf in &plan.leaves {
        match fresh.get(&leaf.asset) {
            None => {}
            Some(None) => {
                aside.insert(leaf.asset.clone(), Replan::Lost);
            }
            Some(Some(now)) if now.hash()? == leaf.hash()? => {}
            Some(Some(now)) => {
                aside.insert(leaf.asset.clone(), Replan::Drifted { detail: difference(leaf, now) });
            }
        }
    }
    Ok(aside)
}

fn difference(old: &Leaf, new: &Leaf) -> String {
    for (number, (old, new)) in (1..).zip(old.steps.iter().zip(&new.steps)) {
        if old.before != new.before {
            return format!("step {number} finds another state than before");
        }
        if old != new {
            return format!("step {number} would do something else");
        }
    }
    match (old.steps.len(), new.steps.len()) {
        (a, b) if a != b => format!("{b} steps instead of {a}"),
        _ => "it is for other items".to_owned(),
    }
}

/// The plan without these targets: it needs no new approval. `None` when nothing would be left.
pub fn without(plan: &Plan, aside: &BTreeSet<AssetId>) -> Option<Plan> {
    let leaves: Vec<Leaf> = plan.leaves.iter().filter(|leaf| !aside.contains(&leaf.asset)).cloned().collect();
    if leaves.is_empty() {
        return None;
    }
    let waves = plan.waves.iter().filter_map(|wave| narrowed(wave, |asset| !aside.contains(asset))).collect();
    Some(Plan { leaves, waves, ..plan.clone() })
}

fn narrowed(wave: &Wave, keep: impl Fn(&AssetId) -> bool) -> Option<Wave> {
    let assets: Vec<AssetId> = wave.assets.iter().filter(|asset| keep(asset)).cloned().collect();
    (!assets.is_empty()).then_some(Wave { assets, bake_seconds: wave.bake_seconds })
}

/// What makes a new approval necessary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Beyond {
    /// A target that was not in the approved plan.
    Added {
        /// The target.
        asset: AssetId,
    },
    /// Something else would be done to a target.
    Leaf {
        /// The target.
        asset: AssetId,
    },
    /// Other rules ask for it.
    Rules,
    /// Limits, windows, approvals or another term differ.
    Terms,
    /// Targets stand in other waves, or are watched for another time.
    Waves,
    /// It may start for longer than was approved.
    Validity,
    /// Something in it cannot be hashed.
    NoHash,
}

impl fmt::Display for Beyond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { asset } => write!(f, "{asset} was added"),
            Self::Leaf { asset } => write!(f, "something else would be done to {asset}"),
            Self::Rules => f.write_str("other rules ask for it"),
            Self::Terms => f.write_str("its terms are not those that were approved"),
            Self::Waves => f.write_str("its waves are not those that were approved"),
            Self::Validity => f.write_str("it may start for longer than was approved"),
            Self::NoHash => f.write_str("something in it cannot be hashed"),
        }
    }
}

/// Whether an approval of the old plan covers the new one: it may do less, and nothing else.
///
/// # Errors
/// What makes a new approval necessary, all of it.
pub fn still_approved(old: &Plan, new: &Plan) -> Result<(), Vec<Beyond>> {
    let hashed = |plan: &Plan| -> Result<BTreeMap<AssetId, Digest>, Vec<Beyond>> {
        let leaves = plan.leaves.iter().map(|leaf| Ok((leaf.asset.clone(), leaf.hash()?)));
        leaves.collect::<Result<_, CanonicalError>>().map_err(|_| vec![Beyond::NoHash])
    };
    let (before, now) = (hashed(old)?, hashed(new)?);
    let mut changes = Vec::new();
    for (asset, hash) in &now {
        match before.get(asset) {
            None => changes.push(Beyond::Added { asset: asset.clone() }),
            Some(approved) if approved != hash => changes.push(Beyond::Leaf { asset: asset.clone() }),
            Some(_) => {}
        }
    }
    if old.rules != new.rules {
        changes.push(Beyond::Rules);
    }
    if old.terms != new.terms {
        changes.push(Beyond::Terms);
    }
    let waves: Vec<Wave> =
        old.waves.iter().filter_map(|wave| narrowed(wave, |asset| now.contains_key(asset))).collect();
    if waves != new.waves {
        changes.push(Beyond::Waves);
    }
    if new.valid_until > old.valid_until {
        changes.push(Beyond::Validity);
    }
    if changes.is_empty() { Ok(()) } else { Err(changes) }
}
