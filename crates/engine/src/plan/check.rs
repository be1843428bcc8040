//! What is wrong with a plan, or worth a word, whoever made it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use stanch_model::canonical::CanonicalError;
use stanch_model::id::AssetId;
use stanch_model::plan::{Plan, PlannedStep, Reversibility};
use stanch_model::terms::{RingSize, Terms};

use super::renews;

/// Something the checker saw in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Note {
    /// No leaf at all.
    NoLeaf,
    /// A leaf without items: nobody asked for it.
    NoItems {
        /// Its asset.
        asset: AssetId,
    },
    /// A leaf without steps.
    NoSteps {
        /// Its asset.
        asset: AssetId,
    },
    /// The leaf's asset stands in so many waves instead of one.
    Waves {
        /// Its asset.
        asset: AssetId,
        /// In how many.
        count: u32,
    },
    /// A wave holds nothing.
    EmptyWave {
        /// Its number, from 1.
        wave: u32,
    },
    /// An asset gets a new version of Stanch's own packages together with others, or before them.
    NotLast {
        /// The asset.
        asset: AssetId,
    },
    /// A wave names an asset that has no leaf.
    NoLeafFor {
        /// The asset.
        asset: AssetId,
    },
    /// Leaves are not in the order of their assets' ids, or one stands twice.
    Order,
    /// A limit is zero: nothing could ever run.
    ZeroLimit {
        /// Which.
        limit: String,
    },
    /// More than a hundred percent.
    Percent {
        /// Of what.
        limit: String,
    },
    /// Approvals that nobody can give: no role counts, or not even one person is asked for.
    NobodyApproves,
    /// It is watched for longer than it may start: a wave would come too late.
    TooSlow {
        /// The wave, from 1.
        wave: u32,
    },
    /// A step changes nothing.
    NoChange {
        /// Its asset.
        asset: AssetId,
        /// The action.
        action: String,
    },
    /// A step that cannot be taken back says nothing about it.
    SilentOneWay {
        /// Its asset.
        asset: AssetId,
        /// The action.
        action: String,
    },
    /// A step that cannot be taken back.
    OneWay {
        /// Its asset.
        asset: AssetId,
        /// The action.
        action: String,
        /// Why.
        why: String,
    },
    /// Something in it cannot be hashed.
    NoHash {
        /// Why.
        why: String,
    },
}

impl Note {
    /// Whether the plan may not be used.
    pub const fn is_error(&self) -> bool {
        !matches!(self, Self::OneWay { .. } | Self::NoChange { .. } | Self::TooSlow { .. })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLeaf => f.write_str("it changes nothing"),
            Self::NoItems { asset } => write!(f, "{asset} would change although no item asks for it"),
            Self::NoSteps { asset } => write!(f, "{asset} has no step"),
            Self::Waves { asset, count } => write!(f, "{asset} stands in {count} waves instead of one"),
            Self::EmptyWave { wave } => write!(f, "wave {wave} is empty"),
            Self::NotLast { asset } => {
                write!(f, "{asset} gets a new version of Stanch itself, and neither alone nor after all others")
            }
            Self::NoLeafFor { asset } => write!(f, "a wave names {asset}, which has no leaf"),
            Self::Order => f.write_str("its leaves are not in order"),
            Self::ZeroLimit { limit } => write!(f, "the limit `{limit}` is zero"),
            Self::Percent { limit } => write!(f, "`{limit}` is more than 100 percent"),
            Self::NobodyApproves => f.write_str("it asks for approvals that nobody can give"),
            Self::TooSlow { wave } => {
                write!(f, "wave {wave} cannot start in time: the waves before it are watched for too long")
            }
            Self::NoChange { asset, action } => write!(f, "{action} on {asset} changes nothing"),
            Self::SilentOneWay { asset, action } => {
                write!(f, "{action} on {asset} cannot be taken back and does not say why")
            }
            Self::OneWay { asset, action, why } => write!(f, "{action} on {asset} cannot be taken back: {why}"),
            Self::NoHash { why } => write!(f, "it cannot be hashed: {why}"),
        }
    }
}

/// Checks a plan, whoever made it.
pub fn check(plan: &Plan) -> Vec<Note> {
    let mut notes = Vec::new();
    if plan.leaves.is_empty() {
        notes.push(Note::NoLeaf);
    }
    if !plan.leaves.is_sorted_by(|a, b| a.asset < b.asset) {
        notes.push(Note::Order);
    }
    notes.extend(terms_notes(&plan.terms));
    let mut standing: BTreeMap<&AssetId, u32> = BTreeMap::new();
    for (number, wave) in (1..).zip(&plan.waves) {
        if wave.assets.is_empty() {
            notes.push(Note::EmptyWave { wave: number });
        }
        for asset in &wave.assets {
            *standing.entry(asset).or_default() += 1;
        }
    }
    let renewed: BTreeSet<&AssetId> =
        plan.leaves.iter().filter(|leaf| leaf.steps.iter().any(renews)).map(|leaf| &leaf.asset).collect();
    let first = plan.waves.iter().position(|wave| wave.assets.iter().any(|asset| renewed.contains(asset)));
    // Stanch's own hosts come behind them; they stand alone too.
    for wave in plan.waves.iter().skip(first.unwrap_or(plan.waves.len())).filter(|wave| wave.assets.len() > 1) {
        notes.extend(wave.assets.first().map(|asset| Note::NotLast { asset: asset.clone() }));
    }
    for leaf in &plan.leaves {
        let count = standing.remove(&leaf.asset).unwrap_or(0);
        if count != 1 {
            notes.push(Note::Waves { asset: leaf.asset.clone(), count });
        }
        if leaf.items.is_empty() {
            notes.push(Note::NoItems { asset: leaf.asset.clone() });
        }
        if leaf.steps.is_empty() {
            notes.push(Note::NoSteps { asset: leaf.asset.clone() });
        }
        notes.extend(leaf.steps.iter().flat_map(|step| step_notes(&leaf.asset, step)));
    }
    notes.extend(standing.into_keys().map(|asset| Note::NoLeafFor { asset: asset.clone() }));
    if let Err(error) = plan.hash() {
        notes.push(Note::NoHash { why: whole(&error) });
    }
    notes
}

fn terms_notes(terms: &Terms) -> Vec<Note> {
    let (limits, halt_if) = (&terms.limits, &terms.halt_if);
    let counts = [
        ("concurrent", limits.concurrent),
        ("per_hour", limits.per_hour),
        ("max_attempts", limits.max_attempts),
        ("halt_if.failed", halt_if.failed),
        ("halt_if.failed_in_first_wave", halt_if.failed_in_first_wave),
    ];
    let zero = counts.into_iter().filter(|(_, value)| *value == 0);
    let mut notes: Vec<Note> = zero.map(|(name, _)| Note::ZeroLimit { limit: name.to_owned() }).collect();
    let percents =
        [("disrupted_percent", limits.disrupted_percent), ("halt_if.failed_percent", halt_if.failed_percent)];
    let rings = terms.rings.iter().filter_map(|ring| match ring.size {
        RingSize::Percent(percent) => Some(("rollout.waves.percent", percent)),
        _ => None,
    });
    let over = percents.into_iter().chain(rings).filter(|(_, percent)| *percent > 100);
    notes.extend(over.map(|(name, _)| Note::Percent { limit: name.to_owned() }));
    if terms.approvals.iter().any(|quorum| quorum.count == 0 || quorum.roles.is_empty()) {
        notes.push(Note::NobodyApproves);
    }
    notes
}

/// The first wave that its plan's validity cannot reach, even if everything before it takes no time but its bakes.
pub(super) fn too_slow(plan: &Plan, valid_for: SignedDuration) -> Option<Note> {
    let mut baked: i64 = 0;
    for (wave, ring) in (1..).zip(&plan.waves) {
        if baked > valid_for.as_secs() {
            return Some(Note::TooSlow { wave });
        }
        baked = baked.saturating_add(i64::from(ring.bake_seconds));
    }
    None
}

fn step_notes(asset: &AssetId, step: &PlannedStep) -> Vec<Note> {
    let (asset, action) = (asset.clone(), step.action.clone());
    let mut notes = Vec::new();
    if step.reversibility == Reversibility::OneWay {
        let why = step.undo.trim();
        notes.push(if why.is_empty() {
            Note::SilentOneWay { asset: asset.clone(), action: action.clone() }
        } else {
            Note::OneWay { asset: asset.clone(), action: action.clone(), why: why.to_owned() }
        });
    }
    if step.changes.is_empty() {
        notes.push(Note::NoChange { asset, action });
    }
    notes
}

fn whole(error: &CanonicalError) -> String {
    use std::error::Error as _;
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}
