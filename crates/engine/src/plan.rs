//! Plans: from what executors say they would do to one immutable document with a hash.
//!
//! The same inputs give the same hash, in whatever order they arrive, so that a plan can be made again from its record
//! and compared. What has no place in it is reported with its reason; a report that nobody reads helps nobody, hence
//! `must_use`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use stanch_model::asset::Tier;
use stanch_model::canonical::CanonicalError;
use stanch_model::id::{AssetId, ItemId};
use stanch_model::order::PlanRefusal;
use stanch_model::plan::{Leaf, Limits, Plan, PlannedStep, Reversibility, Wave};

use crate::blocked::{Blocked, LeftOut};

/// One asset with what its executor would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The asset.
    pub asset: AssetId,
    /// Its tier; unknown counts as the most critical and so comes last.
    pub tier: Option<Tier>,
    /// Runs Stanch's own server or store: comes after everything else, alone.
    pub own: bool,
    /// The items that were asked for.
    pub items: Vec<ItemId>,
    /// The steps, in the order they run.
    pub steps: Vec<PlannedStep>,
    /// Items that are as wanted already.
    pub compliant: Vec<ItemId>,
    /// Items that cannot be planned.
    pub refused: Vec<PlanRefusal>,
    /// Items left out before asking, because an undo suppressed them.
    pub suppressed: Vec<(ItemId, Blocked)>,
}

/// One ring: how much of the targets it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ring {
    /// Of all targets, in percent, counted from the start: 100 ends it.
    pub percent: u8,
    /// At least so many more targets.
    pub min: u32,
    /// How long it is watched, in seconds.
    pub bake_seconds: u32,
}

/// Everything a plan is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanInput {
    /// The targets.
    pub targets: Vec<Target>,
    /// Limits.
    pub limits: Limits,
    /// Rings, smallest first; none means all in one.
    pub rings: Vec<Ring>,
    /// When the plan is made.
    pub now: Timestamp,
    /// How long it may be started.
    pub valid_for: SignedDuration,
}

/// What became of everything that was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "an unread report helps nobody"]
pub struct PlanReport {
    /// Items the plan closes, by asset.
    pub planned: BTreeMap<AssetId, Vec<ItemId>>,
    /// Items without a place in it.
    pub left_out: Vec<LeftOut>,
    /// What the checker noted.
    pub notes: Vec<Note>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Nothing is left to do; the report says why.
    #[error("there is nothing to do")]
    Nothing {
        /// What became of the items.
        report: Box<PlanReport>,
    },
    /// The same asset twice.
    #[error("{asset} is named twice")]
    Twice {
        /// The asset.
        asset: AssetId,
    },
    /// An item that an undo suppressed was planned all the same.
    #[error("{item} is suppressed on {asset} and was planned all the same")]
    Suppressed {
        /// The asset.
        asset: AssetId,
        /// The item.
        item: ItemId,
    },
    /// The limits or times make no sense.
    #[error("the plan cannot be: {}", notes_text(notes))]
    Unsound {
        /// What the checker found.
        notes: Vec<Note>,
    },
    /// The end of its validity is no date.
    #[error("the plan's validity ends beyond all dates")]
    Validity,
}

fn notes_text(notes: &[Note]) -> String {
    notes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Makes the plan.
///
/// # Errors
/// When nothing is left to do, or the input contradicts itself.
pub fn assemble(input: PlanInput) -> Result<(Plan, PlanReport), PlanError> {
    let PlanInput { mut targets, limits, rings, now, valid_for } = input;
    targets.sort_by(|a, b| a.asset.cmp(&b.asset));
    let mut report = PlanReport::default();
    let mut leaves = Vec::new();
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    for target in targets {
        if !seen.insert(target.asset.clone()) {
            return Err(PlanError::Twice { asset: target.asset });
        }
        order.push((target.own, target.tier, target.asset.clone()));
        leaves.extend(leaf(target, &mut report)?);
    }
    if leaves.is_empty() {
        return Err(PlanError::Nothing { report: Box::new(report) });
    }
    order.retain(|(_, _, asset)| leaves.iter().any(|leaf: &Leaf| leaf.asset == *asset));
    let valid_until = now.checked_add(valid_for).map_err(|_| PlanError::Validity)?;
    let plan = Plan { leaves, waves: waves(order, &rings), limits, valid_until };
    report.notes = check(&plan);
    if report.notes.iter().any(Note::is_error) {
        report.notes.retain(Note::is_error);
        return Err(PlanError::Unsound { notes: report.notes });
    }
    Ok((plan, report))
}

fn leaf(target: Target, report: &mut PlanReport) -> Result<Option<Leaf>, PlanError> {
    let Target { asset, mut items, steps, mut compliant, refused, suppressed, .. } = target;
    items.sort();
    items.dedup();
    let mut leave_out = |mut items: Vec<ItemId>, why: Blocked| {
        items.sort();
        items.dedup();
        if !items.is_empty() {
            report.left_out.push(LeftOut { asset: asset.clone(), items, why });
        }
    };
    for (item, why) in &suppressed {
        if items.contains(item) {
            return Err(PlanError::Suppressed { asset, item: item.clone() });
        }
        leave_out(vec![item.clone()], why.clone());
    }
    let mut without = BTreeSet::new();
    for refusal in refused {
        without.extend(refusal.items.iter().cloned());
        leave_out(refusal.items, Blocked::Refused { reason: refusal.reason, hint: refusal.hint });
    }
    compliant.retain(|item| items.contains(item) && !without.contains(item));
    without.extend(compliant.iter().cloned());
    leave_out(compliant, Blocked::Compliant);
    items.retain(|item| !without.contains(item));
    report.left_out.sort_by(|a, b| {
        (&a.asset, &a.items).cmp(&(&b.asset, &b.items)).then_with(|| a.why.to_string().cmp(&b.why.to_string()))
    });
    if steps.is_empty() || items.is_empty() {
        // An executor that names neither step, refusal nor compliance for an item would change nothing for it.
        if !items.is_empty() {
            report.left_out.push(LeftOut { asset, items, why: Blocked::Compliant });
        }
        return Ok(None);
    }
    report.planned.insert(asset.clone(), items.clone());
    Ok(Some(Leaf { asset, items, steps }))
}

/// Rings over the targets: the least critical first, Stanch's own last and one by one.
fn waves(mut order: Vec<(bool, Option<Tier>, AssetId)>, rings: &[Ring]) -> Vec<Wave> {
    order.sort_by(|(_, tier_a, a), (_, tier_b, b)| {
        let tier = |tier: &Option<Tier>| tier.unwrap_or(Tier::MOST_CRITICAL);
        tier(tier_b).cmp(&tier(tier_a)).then_with(|| a.cmp(b))
    });
    let (own, others): (Vec<_>, Vec<_>) = order.into_iter().partition(|(own, _, _)| *own);
    let mut others = others.into_iter().map(|(_, _, asset)| asset);
    let total = others.len();
    let last_bake = rings.last().map_or(0, |ring| ring.bake_seconds);
    let mut taken = 0;
    let mut waves = Vec::new();
    for ring in rings {
        let share = (total * usize::from(ring.percent.min(100))).div_ceil(100);
        let size = share.saturating_sub(taken).max(ring.min as usize).min(total - taken);
        if size > 0 {
            taken += size;
            waves.push(Wave { assets: others.by_ref().take(size).collect(), bake_seconds: ring.bake_seconds });
        }
    }
    let rest: Vec<AssetId> = others.collect();
    if !rest.is_empty() {
        waves.push(Wave { assets: rest, bake_seconds: last_bake });
    }
    waves.extend(own.into_iter().map(|(_, _, asset)| Wave { assets: vec![asset], bake_seconds: last_bake }));
    for wave in &mut waves {
        wave.assets.sort();
    }
    waves
}

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
        !matches!(self, Self::OneWay { .. } | Self::NoChange { .. })
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
            Self::NoLeafFor { asset } => write!(f, "a wave names {asset}, which has no leaf"),
            Self::Order => f.write_str("its leaves are not in order"),
            Self::ZeroLimit { limit } => write!(f, "the limit `{limit}` is zero"),
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
    for (name, value) in [("concurrent", plan.limits.concurrent), ("max_attempts", plan.limits.max_attempts)] {
        if value == 0 {
            notes.push(Note::ZeroLimit { limit: name.to_owned() });
        }
    }
    let mut standing: BTreeMap<&AssetId, u32> = BTreeMap::new();
    for (number, wave) in (1..).zip(&plan.waves) {
        if wave.assets.is_empty() {
            notes.push(Note::EmptyWave { wave: number });
        }
        for asset in &wave.assets {
            *standing.entry(asset).or_default() += 1;
        }
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
