//! Plans: from what executors say they would do to one immutable document with a hash.
//!
//! The same inputs give the same hash, in whatever order they arrive, so that a plan can be made again from its record
//! and compared. What has no place in it is reported with its reason; a report that nobody reads helps nobody, hence
//! `must_use`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use stanch_model::asset::Tier;
use stanch_model::id::{AssetId, ItemId};
use stanch_model::order::PlanRefusal;
use stanch_model::own::is_own;
use stanch_model::plan::{Leaf, Plan, PlannedStep, RuleRef};
use stanch_model::terms::Terms;

use self::waves::Place;
use crate::blocked::{Blocked, LeftOut};
use crate::defect::{Defect, planted};
use crate::propose::PACKAGE_UPGRADE;

mod again;
mod check;
mod waves;

pub use again::{Beyond, Replan, needs_replan, still_approved, without};
pub use check::{Note, check};

/// One asset with what its executor would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The asset.
    pub asset: AssetId,
    /// Its tier; unknown counts as the most critical and so comes last.
    pub tier: Option<Tier>,
    /// Runs Stanch's own server or store: comes after everything else, alone.
    pub own: bool,
    /// The value of its label `ring`.
    pub ring: Option<String>,
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

/// Everything a plan is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanInput {
    /// The targets.
    pub targets: Vec<Target>,
    /// What the decisions bind it to.
    pub terms: Terms,
    /// The rules that asked for it; none when a person did.
    pub rules: BTreeSet<RuleRef>,
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
    let PlanInput { mut targets, terms, rules, now, valid_for } = input;
    if !planted(Defect::PlanAsItComes) {
        targets.sort_by(|a, b| a.asset.cmp(&b.asset));
    }
    let mut report = PlanReport::default();
    let mut leaves = Vec::new();
    let mut order: Vec<Place> = Vec::new();
    let mut seen = BTreeSet::new();
    for mut target in targets {
        // What changes Stanch itself comes after everything else on the same host.
        target.steps.sort_by_key(renews);
        if !seen.insert(target.asset.clone()) {
            return Err(PlanError::Twice { asset: target.asset });
        }
        let place = Place {
            own: target.own,
            renews: target.steps.iter().any(renews),
            tier: target.tier,
            ring: target.ring.clone(),
            asset: target.asset.clone(),
        };
        if let Some(leaf) = leaf(target, &mut report)? {
            leaves.push(leaf);
            order.push(place);
        }
    }
    if leaves.is_empty() {
        return Err(PlanError::Nothing { report: Box::new(report) });
    }
    let valid_until = now.checked_add(valid_for).map_err(|_| PlanError::Validity)?;
    let waves = waves::waves(order, &terms.rings);
    let plan = Plan { leaves, waves, terms, rules, valid_until };
    report.notes = check(&plan);
    report.notes.extend(check::too_slow(&plan, valid_for));
    if report.notes.iter().any(Note::is_error) {
        report.notes.retain(Note::is_error);
        return Err(PlanError::Unsound { notes: report.notes });
    }
    Ok((plan, report))
}

/// Whether a step changes one of Stanch's own packages.
fn renews(step: &PlannedStep) -> bool {
    let package = |subject: &str| is_own(subject.split(':').next().unwrap_or_default());
    step.action == PACKAGE_UPGRADE && step.changes.iter().any(|change| package(&change.subject))
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
