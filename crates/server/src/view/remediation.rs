//! Remediations with their plan, tasks, timeline and what undo would do.

use std::collections::BTreeSet;

use serde_json::Value;
use stanch_engine::rollout::Rollout;
use stanch_ledger::Entry;
use stanch_model::canonical::CanonicalError;
use stanch_model::id::{AssetId, ItemId, RemediationId};
use stanch_model::order::{Answer, Evidence as ModelEvidence, Reconciled, StepOutcome, StepReport as ModelReport};
use stanch_model::plan::{Change as ModelChange, Plan as ModelPlan, Reversibility};
use stanch_model::remediation::RemediationState;
use stanch_store::remediation::{RemediationFilter as Rows, StoredRemediation};
use stanch_store::task::StoredTask;

use super::{PAGE, name};
use crate::api::types::{
    Change, Check, Event, Evidence, Leaf, LeftOut, Plan, Question, Remediation, RemediationDetail, Step, StepReport,
    Task, UndoPreview, Wave,
};
use crate::api::{Problem, RemediationFilter};
use crate::app::App;
use crate::auth::Sight;
use crate::record::Record;

/// Entries of a timeline at most.
const TIMELINE: u32 = 2_000;

/// Remediations that are seen, newest first, at most [`PAGE`] of them.
pub(crate) async fn remediations(
    app: &App,
    sight: &Sight,
    filter: &RemediationFilter,
) -> Result<Vec<Remediation>, Problem> {
    let rows = Rows { over: filter.open.then_some(false), ..Rows::default() };
    let mut all = Vec::new();
    let mut pages = app.store.remediation_pages(rows);
    while let Some(page) = pages.next().await? {
        for row in page {
            let seen = sight.is_everything() || row.assets.iter().any(|asset| sight.covers(asset));
            if seen && filter.state.as_deref().is_none_or(|state| state == row.state.name()) {
                all.push(one(&row));
            }
            if all.len() == PAGE as usize {
                return Ok(all);
            }
        }
    }
    Ok(all)
}

/// One row on the wire.
pub(crate) fn one(row: &StoredRemediation) -> Remediation {
    let record = Record::read(&row.body);
    let wave = match row.state {
        RemediationState::Rolling(wave) | RemediationState::Verifying(wave) | RemediationState::Baking(wave) => {
            Some(wave)
        }
        _ => None,
    };
    Remediation {
        id: row.id.to_string(),
        state: row.state.name().to_owned(),
        wave,
        over: row.state.is_over(),
        items: row.items.iter().map(ToString::to_string).collect(),
        names: record.names,
        assets: row.assets.iter().map(ToString::to_string).collect(),
        reason: record.reason,
        asked_by: row.requested_by.clone(),
        mode: record.decided.as_ref().map(|decided| decided.mode.name().to_owned()),
        case: record.step.as_ref().map(|step| step.case.to_string()),
        plan: row.plan.map(|plan| plan.to_string()),
        waiting_on: row.waiting.clone(),
        created_at: row.created_at,
        updated_at: row.updated_at,
    }
}

async fn find(app: &App, id: &str) -> Result<StoredRemediation, Problem> {
    let missing = || Problem::not_found("remediation", id);
    let id: RemediationId = id.parse().map_err(|_| missing())?;
    app.store.remediation(&id).await?.ok_or_else(missing)
}

/// The assets of a remediation; a problem if there is no such one.
pub(crate) async fn assets_of_remediation(app: &App, id: &str) -> Result<BTreeSet<AssetId>, Problem> {
    Ok(find(app, id).await?.assets.into_iter().collect())
}

/// One remediation with everything about it.
pub(crate) async fn remediation(app: &App, id: &str) -> Result<RemediationDetail, Problem> {
    let row = find(app, id).await?;
    let record = Record::read(&row.body);
    let plan = match &row.plan {
        Some(hash) => app.store.plan(hash).await?,
        None => None,
    };
    let mut tasks = Vec::new();
    for task in app.store.tasks_of(&row.id).await? {
        tasks.push(wire_task(app, &task, record.rollout.as_ref()).await?);
    }
    let timeline = app.store.timeline(row.id.as_str(), 0, TIMELINE).await?;
    let undo =
        plan.as_ref().zip(record.rollout.as_ref()).and_then(|(plan, rollout)| undo(plan, rollout, &record, row.state));
    let (conflicts, more_conflicts) = match &record.rollout {
        Some(rollout) => super::change::conflicts_of(app, &row, rollout).await?,
        None => (Vec::new(), false),
    };
    let blast_radius = match &plan {
        Some(plan) if super::blast::is_asked(&row.state) => super::blast::radius(app, plan).await?,
        _ => Vec::new(),
    };
    let approvals = crate::ask::approvals(app, &row, &record).await?;
    let signatures = approvals.asked_of_keys();
    let (approvals, spoken) = approvals.wire();
    let question = |one: &stanch_engine::rollout::Question| Question {
        role: one.asked.name().to_owned(),
        due: one.due,
        late: one.late,
    };
    Ok(RemediationDetail {
        changes: super::change::changes_of(app, &row.id).await?,
        rehearsals: super::rehearsal::rehearsals(app, &row, &record).await?,
        blast_radius,
        conflicts,
        more_conflicts,
        rules: rules(&record, plan.as_ref()),
        questions: record.rollout.iter().flat_map(|rollout| &rollout.questions).map(question).collect(),
        approvals,
        signatures,
        spoken,
        remediation: one(&row),
        plan: plan.as_ref().map(wire_plan).transpose()?,
        left_out: left_out(&record, &row),
        tasks,
        timeline: timeline.iter().map(event).collect(),
        undo,
    })
}

/// The rules that asked for it; before there is a plan, those whose word counted when it was decided.
fn rules(record: &Record, plan: Option<&ModelPlan>) -> Vec<String> {
    match plan {
        Some(plan) if !plan.rules.is_empty() => plan.rules.iter().map(|rule| rule.rule.clone()).collect(),
        _ => record.decided.as_ref().map(|decided| decided.rules.clone()).unwrap_or_default(),
    }
}

fn left_out(record: &Record, row: &StoredRemediation) -> Vec<LeftOut> {
    let named = |item: &ItemId| {
        let place = row.items.iter().position(|known| known == item);
        place.and_then(|place| record.names.get(place)).cloned().unwrap_or_default()
    };
    let lines = record.left_out.iter().flat_map(|left| left.items.iter().map(move |item| (item, &left.why)));
    lines
        .map(|(item, why)| LeftOut {
            item: item.to_string(),
            name: named(item),
            reason: why.to_string(),
            hint: why.hint(),
        })
        .collect()
}

/// One plan by its hash.
pub(crate) async fn plan(app: &App, hash: &str) -> Result<Plan, Problem> {
    let missing = || Problem::not_found("plan", hash);
    let digest = hash.parse().map_err(|_| missing())?;
    wire_plan(&app.store.plan(&digest).await?.ok_or_else(missing)?)
}

/// The plan as it is hashed: whoever signs it computes its hash from this.
pub(crate) async fn plan_document(app: &App, hash: &str) -> Result<Value, Problem> {
    let missing = || Problem::not_found("plan", hash);
    let digest = hash.parse().map_err(|_| missing())?;
    let plan = app.store.plan(&digest).await?.ok_or_else(missing)?;
    serde_json::to_value(plan).map_err(|error| Problem::internal("writing a plan", &error))
}

fn wire_plan(plan: &ModelPlan) -> Result<Plan, Problem> {
    shown_plan(plan).map_err(|error| Problem::internal("hashing a plan", &error))
}

/// A plan as people read it.
///
/// # Errors
/// When it has no canonical form.
pub fn shown_plan(plan: &ModelPlan) -> Result<Plan, CanonicalError> {
    let leaf = |leaf: &stanch_model::plan::Leaf| {
        Ok(Leaf {
            asset: leaf.asset.to_string(),
            hash: leaf.hash()?.to_string(),
            items: leaf.items.iter().map(ToString::to_string).collect(),
            steps: leaf
                .steps
                .iter()
                .map(|step| Step {
                    action: step.action.clone(),
                    params: step.params.clone(),
                    changes: step.changes.iter().map(change).collect(),
                    reversibility: name(&step.reversibility),
                    undo: step.undo.clone(),
                    disruption: name(&step.disruption),
                })
                .collect(),
        })
    };
    Ok(Plan {
        hash: plan.hash()?.to_string(),
        leaves: plan.leaves.iter().map(leaf).collect::<Result<_, CanonicalError>>()?,
        waves: plan
            .waves
            .iter()
            .map(|wave| Wave {
                assets: wave.assets.iter().map(ToString::to_string).collect(),
                bake_seconds: wave.bake_seconds,
            })
            .collect(),
        concurrent: plan.terms.limits.concurrent,
        outages: plan.terms.outages.iter().cloned().collect(),
        valid_until: plan.valid_until,
    })
}

fn change(from: &ModelChange) -> Change {
    Change {
        subject: from.subject.clone(),
        before: from.before.clone(),
        after: from.after.clone(),
        note: from.note.clone(),
    }
}

async fn wire_task(app: &App, task: &StoredTask, rollout: Option<&Rollout>) -> Result<Task, Problem> {
    let asset_name = app.store.asset(&task.asset).await?.map(|stored| stored.asset.name).unwrap_or_default();
    let (mut applied, mut undone) = (Vec::new(), Vec::new());
    let mut progress = None;
    for order in app.store.orders_of(&task.id).await? {
        if let Some(word) = app.progress(&order.id) {
            progress = Some(word.message);
        }
        match app.store.receipt(&order.id).await?.map(|stored| stored.receipt.body.answer) {
            Some(Answer::Applied { steps } | Answer::Reconciled { known: Reconciled::Over { steps } }) => {
                applied = steps.iter().map(report).collect();
            }
            Some(Answer::Undone { steps }) => undone.extend(steps.iter().map(report)),
            _ => {}
        }
    }
    let checks = app.store.verifications(&task.id).await?;
    let waiting = rollout.into_iter().flat_map(|rollout| rollout.blocked(app.now()));
    let waiting = waiting.filter(|(of, _)| of.as_ref() == Some(&task.id)).map(|(_, on)| on.to_string()).next();
    let known = rollout.and_then(|rollout| rollout.task(&task.id));
    Ok(Task {
        missed_windows: known.map_or(0, |task| task.missed_windows),
        missed: known.and_then(|task| task.missed.as_ref()).map(ToString::to_string),
        id: task.id.to_string(),
        asset: task.asset.to_string(),
        asset_name,
        state: task.state.name().to_owned(),
        wave: known.map_or(task.wave, |task| task.wave),
        waiting_on: waiting.or_else(|| task.message.clone()),
        progress: progress.filter(|_| task.state.holds_lane()),
        applied,
        undone,
        checks: checks.last().map(|last| last.checks.iter().map(check).collect()).unwrap_or_default(),
        updated_at: task.updated_at,
    })
}

pub(super) fn check(from: &stanch_model::order::Check) -> Check {
    Check { name: from.name.clone(), outcome: name(&from.outcome), detail: from.detail.clone() }
}

pub(super) fn report(from: &ModelReport) -> StepReport {
    let (outcome, message, hint, moved) = match &from.outcome {
        StepOutcome::Done => ("done", None, None, None),
        StepOutcome::Unchanged => ("unchanged", None, None, None),
        StepOutcome::Failed { message, hint } => ("failed", Some(message.clone()), hint.clone(), None),
        StepOutcome::Interrupted { at } => ("interrupted", Some(format!("broken off at {at}")), None, None),
        StepOutcome::NotStarted => ("not_started", None, None, None),
        StepOutcome::Refused { message, moved } => ("refused", Some(message.clone()), None, Some(moved)),
    };
    StepReport {
        step: from.step,
        action: from.action.clone(),
        outcome: outcome.to_owned(),
        message,
        hint,
        started_at: from.started_at,
        ended_at: from.ended_at,
        entered: from.entered,
        changes: from.changes.iter().chain(moved.into_iter().flatten()).map(change).collect(),
        evidence: from.evidence.iter().map(evidence).collect(),
    }
}

fn evidence(from: &ModelEvidence) -> Evidence {
    Evidence {
        name: from.name.clone(),
        text: from.text.clone(),
        cut_bytes: from.cut_bytes,
        digest: from.digest.to_string(),
    }
}

/// What undo would do now; nothing when there is nothing that could be taken back.
fn undo(plan: &ModelPlan, rollout: &Rollout, record: &Record, state: RemediationState) -> Option<UndoPreview> {
    use RemediationState as S;
    let possible = matches!(
        state,
        S::Rolling(_)
            | S::Verifying(_)
            | S::Baking(_)
            | S::Paused
            | S::Verified
            | S::AwaitingConfirmation
            | S::Closed
            | S::PartiallyRemediated
            | S::NeedsOperator
    );
    let tasks: Vec<_> = rollout.tasks.iter().filter(|task| crate::ask::can_undo(task.state)).collect();
    if !possible || tasks.is_empty() {
        return None;
    }
    let assets: Vec<&AssetId> = tasks.iter().map(|task| &task.asset).collect();
    let items: Vec<String> = tasks
        .iter()
        .flat_map(|task| task.items.iter().filter(|item| !task.undone.contains(item)))
        .map(|item| {
            record
                .before
                .iter()
                .find(|known| known.id == *item)
                .map_or(item.to_string(), |known| known.subject.name().to_owned())
        })
        .collect();
    if items.is_empty() {
        return None;
    }
    let (mut lines, mut changes, mut cannot) = (Vec::new(), Vec::new(), Vec::new());
    let steps =
        plan.leaves.iter().filter(|leaf| assets.contains(&&leaf.asset)).flat_map(|leaf| leaf.steps.iter().rev());
    for step in steps {
        if step.reversibility == Reversibility::OneWay {
            cannot.push(format!("{}: {}", step.action, step.undo));
            continue;
        }
        lines.push(format!("{}: {}", step.action, step.undo));
        if step.reversibility == Reversibility::Restorable {
            changes.extend(step.changes.iter().map(|from| Change {
                subject: from.subject.clone(),
                before: from.after.clone(),
                after: from.before.clone(),
                note: from.note.clone(),
            }));
        }
    }
    Some(UndoPreview { items, lines, changes, cannot })
}

pub(super) fn event(from: &Entry) -> Event {
    let entry = &from.entry;
    Event {
        at: entry.at,
        kind: entry.event.clone(),
        who: entry.actor.clone(),
        text: words(&entry.event, &entry.payload),
        entry: Some(from.index),
    }
}

/// An entry in words: what happened, on which target, and what was said of it.
fn words(event: &str, payload: &Value) -> String {
    let text = |name: &str| payload.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut parts = vec![happened(event)];
    let tasks = payload.get("tasks").and_then(Value::as_array);
    let messages = tasks.into_iter().flatten().filter_map(|task| task.get("message").and_then(Value::as_str));
    let waits = text("waits_on").filter(|_| event.ends_with("paused") || event.ends_with("operator"));
    let said = ["why", "reason"].into_iter().filter_map(text);
    parts.extend(messages.chain(waits).chain(said).filter(|text| !text.is_empty()).map(str::to_owned));
    parts.dedup();
    parts.join(": ")
}

fn happened(event: &str) -> String {
    let known = match event {
        "remediation_asked" => "Asked for",
        "remediation_decided" => "Decided by policy",
        "remediation_granted" => "Granted by policy: no approval is needed",
        "approval_given" => "Approved; more have to agree",
        "confirmation_answered" => "Answered by its owner",
        "confirmation_reminder" => "Its owner was reminded",
        "confirmation_escalated" => "Nobody answered: the next in line is asked",
        "remediation_awaiting_confirmation" => "Done by itself; its owner is asked",
        "remediation_observed" => "Only shown, the policies say",
        "remediation_planned" => "Planned by the executor, step by step",
        "remediation_submitted" => "Shown for approval",
        "remediation_approved" => "Approved",
        "remediation_rejected" => "Rejected",
        "remediation_superseded" => "A newer request took its place",
        "remediation_rolling" => "Started",
        "task_reserved" => "Its turn reserved",
        "task_granted" => "Granted",
        "task_intent" => "Intent written to the ledger",
        "task_dispatched" => "Order signed and ready for the executor",
        "task_accepted" => "The executor has it in its journal",
        "task_running" => "The executor is at work",
        "executor_silent" | "task_unknown" => "No word from the executor in time",
        "task_reconciling" => "Asking the executor's journal",
        "task_not_started" => "The journal says it never began",
        "remediation_verifying" => "Done, says the executor; being checked",
        "task_judged" => "Checked on newer facts",
        "task_verified" => "The detector no longer sees it",
        "remediation_baking" => "Verified; being watched",
        "remediation_verified" => "Verified",
        "remediation_closed" => "Closed: the detector no longer sees it",
        "remediation_partially_remediated" => "Over, with something left open",
        "remediation_halted" => "Stopped",
        "remediation_rolling_back" => "Being taken back",
        "rehearsal_asked" => "To be carried out in a copy first",
        "rehearsal_successful" => "Carried out and taken back in a copy: it went well",
        "rehearsal_failed" => "Carried out in a copy: it did not go well",
        "rehearsal_inconclusive" => "The copy showed nothing",
        "undo_asked" => "Undo asked for",
        "task_undone" => "Taken back, says the executor; being checked",
        "remediation_rolled_back" => "Taken back: the earlier state is there again",
        "remediation_needs_operator" => "Needs a person",
        "window_missed" => "A target missed its window",
        "window_missed_often" => "A target missed its window once more; people are told",
        "patch_blocked" => "What it brought is blocked as a bad patch",
        "remediation_paused" => "Paused",
        "remediation_resolved_elsewhere" => "Nothing to do",
        "asset_labelled" => "Labelled",
        "asset_linked" => "Linked with another asset",
        "asset_unlinked" => "Not linked with another asset any more",
        "executor_enrolled" => "Its agent was let in",
        "executor_registered" => "Its executor came with the server",
        "executor_confirmed" => "Confirmed as one of ours",
        other => return other.replace('_', " "),
    };
    known.to_owned()
}
