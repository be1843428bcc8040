//! Carrying out an order: from its verb to the actions and back to an answer.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use stanch_action::{Action, ActionError, Applied, Catalogue, Idempotency};
use stanch_model::canonical::Digest;
use stanch_model::facts::HostFacts;
use stanch_model::id::{ItemId, OrderId, TaskId};
use stanch_model::order::{
    Answer, Check, CheckOutcome, Grant, Order, PlanRefusal, Progress, Reconciled, Rehearsed, StepOutcome, StepReport,
    StepRequest, Verb,
};
use stanch_model::plan::{Leaf, PlannedStep, Reversibility, step_key};

use crate::guard::{Denied, Guard};
use crate::journal::JournalError;
use crate::mask::{evidence, mask};
use crate::record::{Hold, Record, StepKind};
use crate::runner::{RunError, Runner};
use crate::serve::Shutdown;
use crate::state::{StepEntry, undo_key};
use crate::step::StepRun;

/// Carries out a leaf in a copy of its target. It ends early when the executor is asked to end.
pub type Rehearse<'a> = dyn Fn(&Leaf, &dyn Fn(&str)) -> Result<Rehearsed, ActionError> + Sync + 'a;

/// What a runner works with.
pub struct Tools<'a> {
    /// The actions.
    pub catalogue: &'a Catalogue,
    /// Reads the facts of the host; `true` fetches the archive indexes first.
    pub facts: &'a (dyn Fn(bool) -> Result<HostFacts, ActionError> + Sync),
    /// The executor's own rules.
    pub guard: &'a dyn Guard,
    /// Carries out a leaf in a copy of the target, and says what is going on there; not every executor can.
    pub rehearse: Option<&'a Rehearse<'a>>,
    /// Hears what is going on.
    pub progress: &'a (dyn Fn(Progress) + Sync),
    /// Asked between two steps.
    pub shutdown: &'a Shutdown,
}

/// The answer to an accepted order.
pub(crate) fn answer(runner: &Runner, order: &Order, tools: &Tools<'_>) -> Result<Answer, RunError> {
    let journal = |source| RunError::Journal { order: order.id.clone(), source };
    Ok(match &order.verb {
        Verb::Hold { stop_all, reason } => {
            let hold = Some(Hold { stop_all: *stop_all, reason: reason.clone() });
            runner.append(&Record::Held { hold }).map_err(journal)?;
            tracing::warn!(stop_all, reason, "held");
            Answer::Held { held: true }
        }
        Verb::Release => {
            runner.append(&Record::Held { hold: None }).map_err(journal)?;
            Answer::Held { held: false }
        }
        Verb::Reconcile { task, key } => {
            Answer::Reconciled { known: runner.inner().journal.state().reconcile(task, key) }
        }
        Verb::Observe { refresh, since } => match guarded(|| (tools.facts)(*refresh)) {
            Ok(facts) if facts.asset.id == runner.config().asset.id => runner.tell(facts, *since),
            Ok(facts) => refused(format!("the facts are about {}, not this executor's asset", facts.asset.id)),
            Err(error) => failed(&error),
        },
        Verb::Plan { requests, .. } => plan(runner, requests, tools),
        Verb::Rehearse { leaf } => rehearse(runner, order, leaf, tools)?,
        Verb::Verify { leaf, .. } => Answer::Verified { checks: verify(runner, leaf, tools) },
        Verb::Apply(grant) if grant.rest && !knows(runner, &grant.task) => {
            Answer::Reconciled { known: Reconciled::Lost }
        }
        Verb::Apply(grant) => Answer::Applied { steps: apply(runner, order, grant, tools)? },
        Verb::Undo { grant, items, attempt, .. } => {
            Answer::Undone { steps: undo(runner, order, grant, items, *attempt, tools)? }
        }
    })
}

/// Whether the journal knows of a step of this task.
fn knows(runner: &Runner, task: &TaskId) -> bool {
    runner.inner().journal.state().knows(task)
}

fn refused(message: String) -> Answer {
    Answer::Refused { message: mask(&message), hint: None }
}

fn failed(error: &ActionError) -> Answer {
    let (message, hint) = words(error);
    Answer::Refused { message, hint }
}

/// Runs code of an action; a panic becomes a failure of that action alone.
fn guarded<T>(work: impl FnOnce() -> Result<T, ActionError>) -> Result<T, ActionError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        Err(ActionError::failed(format!("a defect in the action stopped it: {said}"))
            .with_hint("what it had changed by then is in the journal; undo is possible; please report the defect"))
    })
}

/// An error with its causes, and its hint; secrets masked.
fn words(error: &ActionError) -> (String, Option<String>) {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        message.push_str(": ");
        message.push_str(&error.to_string());
        cause = error.source();
    }
    let hint = if let ActionError::Failed { hint, .. } = error { hint.as_deref().map(mask) } else { None };
    (mask(&message), hint)
}

fn plan(runner: &Runner, requests: &[StepRequest], tools: &Tools<'_>) -> Answer {
    let (mut steps, mut refused) = (Vec::new(), Vec::new());
    // An item that needs two actions is as wanted only when both say so.
    let mut compliant: BTreeMap<ItemId, bool> = BTreeMap::new();
    let mut allowed: Vec<&StepRequest> = Vec::new();
    for request in requests {
        let refusal = |reason: String, hint| PlanRefusal { items: request.items.clone(), reason, hint };
        if tools.catalogue.get(&request.action).is_none() {
            let hint = "the executor has no such action; it may be older than the server";
            refused.push(refusal(format!("unknown action `{}`", request.action), Some(hint.to_owned())));
        } else if let Err(denied) = tools.guard.may_plan(request) {
            refused.push(refusal(denied.message, denied.hint));
        } else {
            allowed.push(request);
        }
    }
    // Neighbours of one action are one transaction.
    for group in allowed.chunk_by(|a, b| a.action == b.action) {
        let Some(action) = group.first().and_then(|request| tools.catalogue.get(&request.action)) else { continue };
        let group: Vec<StepRequest> = group.iter().map(|request| (*request).clone()).collect();
        match guarded(|| action.plan(&runner.config().asset, &group)) {
            Ok(answer) => {
                steps.extend(answer.steps);
                for item in group.iter().flat_map(|request| &request.items) {
                    *compliant.entry(item.clone()).or_insert(true) &= answer.compliant.contains(item);
                }
                // What a package manager says of itself may quote what it was given.
                refused.extend(answer.refused.into_iter().map(|refusal| PlanRefusal {
                    reason: mask(&refusal.reason),
                    hint: refusal.hint.map(|hint| mask(&hint)),
                    ..refusal
                }));
            }
            Err(error) => {
                let (reason, hint) = words(&error);
                let items = group.into_iter().flat_map(|request| request.items).collect();
                refused.push(PlanRefusal { items, reason, hint });
            }
        }
    }
    let compliant = compliant.into_iter().filter(|(_, all)| *all).map(|(item, _)| item).collect();
    Answer::Planned { steps, compliant, refused }
}

/// What may not be done on the target is not tried in a copy of it either, nor anything while nothing may start.
fn rehearse(runner: &Runner, order: &Order, leaf: &Leaf, tools: &Tools<'_>) -> Result<Answer, RunError> {
    let Some(carry_out) = tools.rehearse else {
        return Ok(refused("this executor cannot make a copy of its target".to_owned()));
    };
    if let Some(hold) = runner.hold() {
        return Ok(refused(format!("nothing new may start here: {}", hold.reason)));
    }
    for step in &leaf.steps {
        if let Err(denied) = tools.guard.may_rehearse(step, runner.config().clock.now()) {
            return Ok(Answer::Refused { message: mask(&denied.message), hint: denied.hint });
        }
    }
    let say = |message: &str| {
        let at = runner.config().clock.now();
        (tools.progress)(Progress { order: order.id.clone(), at, step: None, message: mask(message) });
    };
    Ok(match guarded(|| carry_out(leaf, &say)) {
        Ok(rehearsed) => Answer::Rehearsed { rehearsed: Box::new(rehearsed) },
        Err(_) if tools.shutdown.is_asked() => return Err(RunError::ShuttingDown { order: order.id.clone() }),
        Err(error) => failed(&error),
    })
}

fn verify(runner: &Runner, leaf: &Leaf, tools: &Tools<'_>) -> Vec<Check> {
    let mut checks = Vec::new();
    for step in &leaf.steps {
        let inconclusive = |detail| Check { name: step.action.clone(), outcome: CheckOutcome::Inconclusive, detail };
        let Some(action) = tools.catalogue.get(&step.action) else {
            checks.push(inconclusive(format!("this executor has no action `{}`", step.action)));
            continue;
        };
        match guarded(|| action.verify(&runner.config().asset, step)) {
            // A probe is a program of somebody else's: what it says may hold a secret.
            Ok(verification) => checks
                .extend(verification.checks.into_iter().map(|check| Check { detail: mask(&check.detail), ..check })),
            Err(error) => checks.push(inconclusive(words(&error).0)),
        }
    }
    checks
}

/// One step about to be entered.
struct Job<'a> {
    order: &'a Order,
    task: &'a TaskId,
    leaf: Digest,
    number: u32,
    step: &'a PlannedStep,
    key: Digest,
    kind: StepKind,
    /// Keys of the steps before it in the leaf.
    earlier: Vec<Digest>,
}

impl Job<'_> {
    fn report(&self, outcome: StepOutcome) -> StepReport {
        StepReport {
            step: self.number,
            action: self.step.action.clone(),
            key: self.key,
            outcome,
            started_at: None,
            ended_at: None,
            entered: 0,
            after: None,
            changes: Vec::new(),
            evidence: Vec::new(),
        }
    }
}

fn apply(runner: &Runner, order: &Order, grant: &Grant, tools: &Tools<'_>) -> Result<Vec<StepReport>, RunError> {
    let key = |number| step_key(&grant.plan, number, &grant.leaf.asset, grant.epoch, grant.attempt);
    let jobs: Vec<Job<'_>> = (0u32..)
        .zip(&grant.leaf.steps)
        .map(|(number, step)| Job {
            order,
            task: &grant.task,
            leaf: grant.leaf_hash,
            number,
            step,
            key: key(number),
            kind: StepKind::Apply,
            earlier: (0..number).map(key).collect(),
        })
        .collect();
    // All or nothing: if the rules forbid one step, none begins. What has begun is not asked for again.
    let (begun, known): (bool, Vec<bool>) = {
        let inner = runner.inner();
        let state = inner.journal.state();
        (state.has_begun(&order.id), jobs.iter().map(|job| state.steps.contains_key(&job.key)).collect())
    };
    let forbidden = if begun {
        None
    } else {
        // Known under the keys of this very leaf: what the order says of that is the server's word.
        let partly = known.iter().any(|known| *known);
        let mut open = jobs.iter().zip(known).filter(|(_, known)| !known).map(|(job, _)| job);
        match tools.guard.may_begin(grant, partly, runner.config().clock.now()) {
            Ok(()) => open.find_map(|job| forbids(runner, job, tools).map(|outcome| (job.number, outcome))),
            Err(denied) => open.next().map(|job| (job.number, says_no(denied))),
        }
    };
    let mut reports = Vec::with_capacity(jobs.len());
    let mut go_on = forbidden.is_none();
    for job in &jobs {
        let report = match &forbidden {
            Some((number, outcome)) if *number == job.number => job.report(outcome.clone()),
            _ if !go_on => job.report(StepOutcome::NotStarted),
            _ => enter(runner, job, &[], tools)?,
        };
        go_on &= matches!(report.outcome, StepOutcome::Done | StepOutcome::Unchanged);
        reports.push(report);
    }
    Ok(reports)
}

/// Takes back in reverse order what can be restored; then, in order, what is transient, so that services start again
/// on what was restored.
fn undo(
    runner: &Runner,
    order: &Order,
    grant: &Grant,
    items: &[ItemId],
    attempt: u32,
    tools: &Tools<'_>,
) -> Result<Vec<StepReport>, RunError> {
    let numbered = || (0u32..).zip(&grant.leaf.steps);
    let transient = |step: &PlannedStep| step.reversibility == Reversibility::Transient;
    let mut sorted: Vec<(u32, &PlannedStep)> = numbered().filter(|(_, step)| !transient(step)).collect();
    sorted.reverse();
    sorted.extend(numbered().filter(|(_, step)| transient(step)));
    let mut reports = Vec::with_capacity(sorted.len());
    let mut go_on = true;
    for (number, step) in sorted {
        let applied_key = step_key(&grant.plan, number, &grant.leaf.asset, grant.epoch, grant.attempt);
        let applied = runner.inner().journal.state().steps.get(&applied_key).cloned();
        let job = Job {
            order,
            task: &grant.task,
            leaf: grant.leaf_hash,
            number,
            step,
            key: undo_key(&applied_key, attempt),
            kind: StepKind::Undo { of: applied_key, items: items.to_vec() },
            earlier: Vec::new(),
        };
        let report =
            if go_on { undo_step(runner, &job, applied.as_ref(), tools)? } else { job.report(StepOutcome::NotStarted) };
        // What cannot be taken back at all does not keep the rest from it.
        go_on &= matches!(report.outcome, StepOutcome::Done | StepOutcome::Unchanged | StepOutcome::Refused { .. });
        reports.push(report);
    }
    Ok(reports)
}

fn undo_step(
    runner: &Runner,
    job: &Job<'_>,
    applied: Option<&StepEntry>,
    tools: &Tools<'_>,
) -> Result<StepReport, RunError> {
    let refuse = |message: &str| StepOutcome::Refused { message: message.to_owned(), moved: Vec::new() };
    let Some(applied) = applied else {
        let state = runner.inner();
        let state = state.journal.state();
        let StepKind::Undo { of, .. } = &job.kind else { return Ok(job.report(StepOutcome::Unchanged)) };
        let lost = state.may_have_begun(job.task, of);
        return Ok(job.report(if lost {
            refuse("the journal no longer holds what undo needs")
        } else {
            // It never began, so there is nothing to take back.
            StepOutcome::Unchanged
        }));
    };
    if applied.leaf != job.leaf || applied.task != *job.task {
        return Ok(job.report(refuse("the journal holds another leaf under this key")));
    }
    let Some(done) = &applied.report else {
        return Ok(job.report(refuse("the step has not ended yet")));
    };
    if done.outcome == StepOutcome::Unchanged && job.step.reversibility != Reversibility::Transient {
        return Ok(job.report(StepOutcome::Unchanged));
    }
    if job.step.reversibility == Reversibility::OneWay {
        return Ok(job.report(refuse(&format!("this step cannot be taken back: {}", job.step.undo))));
    }
    enter(runner, job, &applied.checkpoints, tools)
}

/// Why a step may not start, if so.
fn forbids(runner: &Runner, job: &Job<'_>, tools: &Tools<'_>) -> Option<StepOutcome> {
    let refuse = |message: String| StepOutcome::Refused { message, moved: Vec::new() };
    if tools.catalogue.get(&job.step.action).is_none() {
        return Some(refuse(format!("this executor has no action `{}`", job.step.action)));
    }
    let now = runner.config().clock.now();
    let denied = match job.kind {
        StepKind::Apply => tools.guard.may_apply(job.step, now),
        StepKind::Undo { .. } => tools.guard.may_undo(job.step, now),
    };
    denied.err().map(says_no)
}

fn says_no(denied: Denied) -> StepOutcome {
    let hint = denied.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
    StepOutcome::Refused { message: format!("{}{hint}", denied.message), moved: Vec::new() }
}

/// Whether a hold, the end of the window or a restart keeps a step from starting.
fn too_late(runner: &Runner, job: &Job<'_>) -> bool {
    let config = runner.config();
    let inner = runner.inner();
    let state = inner.journal.state();
    let undo = matches!(job.kind, StepKind::Undo { .. });
    // Undo stays allowed while nothing new may start.
    let held = state.hold.as_ref().is_some_and(|hold| hold.stop_all || !undo);
    // An order that has begun may go on; one that has not is bound by its start.
    let missed = !state.has_begun(&job.order.id)
        && state.orders.get(&job.order.id).is_none_or(|entry| {
            let now = u64::try_from(config.clock.since_boot().as_millis()).unwrap_or(u64::MAX);
            entry.boot_id != config.boot_id || now > entry.start_by_ms
        });
    held || missed || (!undo && config.clock.now() >= job.order.finish_before)
}

/// The report on a step that may not begin at this moment. When earlier steps of its leaf have changed something, that
/// is no failure of theirs: it is not begun, and the same order may come again for it.
fn not_now(runner: &Runner, job: &Job<'_>, action: &dyn Action, tools: &Tools<'_>) -> Option<StepReport> {
    if job.kind != StepKind::Apply {
        return None;
    }
    let result = guarded(|| action.ready(&runner.config().asset, job.step));
    let error = result.err()?;
    if !follows(runner, job) {
        return Some(job.report(outcome(&Err(error))));
    }
    let why = words(&error).0;
    say(runner, job, tools, &format!("{} is not begun now: {why}", job.step.action));
    let mut report = job.report(StepOutcome::NotStarted);
    report.evidence.push(evidence("why it was not begun", why.as_bytes()));
    Some(report)
}

/// Whether an earlier step of the leaf has changed something.
fn follows(runner: &Runner, job: &Job<'_>) -> bool {
    let inner = runner.inner();
    let steps = &inner.journal.state().steps;
    let done = |key: &Digest| {
        let report = steps.get(key).and_then(|entry| entry.report.as_ref());
        report.is_some_and(|report| report.outcome == StepOutcome::Done)
    };
    job.earlier.iter().any(done)
}

fn say(runner: &Runner, job: &Job<'_>, tools: &Tools<'_>, message: &str) {
    (tools.progress)(Progress {
        order: job.order.id.clone(),
        at: runner.config().clock.now(),
        step: Some(job.number),
        message: message.to_owned(),
    });
}

/// Starts a step, or enters it again after a crash, unless its journal already says how it ended.
fn enter(
    runner: &Runner,
    job: &Job<'_>,
    applied: &[stanch_action::Checkpoint],
    tools: &Tools<'_>,
) -> Result<StepReport, RunError> {
    let order: &OrderId = &job.order.id;
    let journal = |source: JournalError| RunError::Journal { order: order.clone(), source };
    if tools.shutdown.is_asked() {
        return Err(RunError::ShuttingDown { order: order.clone() });
    }
    let known = runner.inner().journal.state().steps.get(&job.key).cloned();
    let clock = &runner.config().clock;
    let end = |outcome: StepOutcome, entry: &StepEntry| {
        let mut report = job.report(outcome);
        report.started_at = Some(entry.started_at);
        report.ended_at = Some(clock.now());
        report.entered = entry.entered;
        report
    };
    let action = tools.catalogue.get(&job.step.action);
    match known {
        Some(entry) if entry.leaf != job.leaf || entry.task != *job.task => {
            let message = "another leaf has begun under this key".to_owned();
            return Ok(job.report(StepOutcome::Refused { message, moved: Vec::new() }));
        }
        Some(entry) if entry.undone && job.kind == StepKind::Apply => {
            let message = "this step ran and was taken back; doing it again needs a new attempt".to_owned();
            return Ok(job.report(StepOutcome::Refused { message, moved: Vec::new() }));
        }
        Some(StepEntry { report: Some(mut report), order: first, .. }) => {
            if first != *order && report.outcome == StepOutcome::Done {
                report.outcome = StepOutcome::Unchanged;
            }
            return Ok(report);
        }
        Some(entry) => {
            let resumable = action.is_some_and(|action| action.idempotency(job.step) != Idempotency::No);
            let stop = runner.hold().is_some_and(|hold| hold.stop_all);
            if !resumable || stop {
                let at = entry.checkpoints.last().map_or_else(|| "start".to_owned(), |last| last.point.clone());
                let report = end(StepOutcome::Interrupted { at }, &entry);
                runner.append(&Record::StepEnded { report: Box::new(report.clone()) }).map_err(journal)?;
                return Ok(report);
            }
            runner.append(&Record::StepEntered { key: job.key, at: clock.now() }).map_err(journal)?;
        }
        None => {
            if runner.inner().journal.state().forgotten.contains(&job.key) {
                let message = "this step ran before, and the journal keeps no more than that".to_owned();
                return Ok(job.report(StepOutcome::Refused { message, moved: Vec::new() }));
            }
            if too_late(runner, job) {
                return Ok(job.report(StepOutcome::NotStarted));
            }
            if let Some(outcome) = forbids(runner, job, tools) {
                return Ok(job.report(outcome));
            }
            if let Some(report) = action.and_then(|action| not_now(runner, job, action, tools)) {
                return Ok(report);
            }
            let record = Record::StepStarted {
                key: job.key,
                order: order.clone(),
                task: job.task.clone(),
                step: job.number,
                leaf: job.leaf,
                action: job.step.action.clone(),
                kind: job.kind.clone(),
                at: clock.now(),
            };
            runner.append(&record).map_err(journal)?;
        }
    }
    let Some(action) = action else { return Ok(job.report(StepOutcome::NotStarted)) };
    let (result, evidence) = work(runner, job, applied, action, tools);
    let entry = runner.inner().journal.state().steps.get(&job.key).cloned();
    let Some(entry) = entry else { return Ok(job.report(StepOutcome::NotStarted)) };
    let mut report = end(outcome(&result), &entry);
    if let Ok(applied) = result {
        report.after = applied.after.digest().ok();
        report.changes = applied.changes;
    }
    report.evidence = evidence;
    runner.append(&Record::StepEnded { report: Box::new(report.clone()) }).map_err(journal)?;
    Ok(report)
}

fn work(
    runner: &Runner,
    job: &Job<'_>,
    applied: &[stanch_action::Checkpoint],
    action: &dyn Action,
    tools: &Tools<'_>,
) -> (Result<Applied, ActionError>, Vec<stanch_model::order::Evidence>) {
    let say = |message: &str| say(runner, job, tools, message);
    let reached = runner.inner().journal.state().steps.get(&job.key).map(|entry| entry.checkpoints.clone());
    let vault = if let StepKind::Undo { of, .. } = &job.kind { *of } else { job.key };
    let mut run = StepRun {
        runner,
        key: job.key,
        vault,
        reached: reached.unwrap_or_default(),
        applied: applied.to_vec(),
        follows: follows(runner, job),
        evidence: Vec::new(),
        say: &say,
    };
    let target = &runner.config().asset;
    let result = guarded(|| match &job.kind {
        StepKind::Apply => action.apply(target, job.step, &mut run),
        StepKind::Undo { items, .. } => action.undo(target, job.step, items, &mut run),
    });
    (result, run.evidence)
}

/// How a verb's result is told in a receipt, secrets masked.
pub fn outcome(result: &Result<Applied, ActionError>) -> StepOutcome {
    match result {
        Ok(applied) if applied.changed => StepOutcome::Done,
        Ok(_) => StepOutcome::Unchanged,
        Err(ActionError::Stopped { at }) => StepOutcome::Interrupted { at: at.clone() },
        Err(ActionError::Refused { message, moved }) => {
            StepOutcome::Refused { message: mask(message), moved: moved.clone() }
        }
        Err(error @ (ActionError::BadParameters { .. } | ActionError::Failed { .. })) => {
            let (message, hint) = words(error);
            StepOutcome::Failed { message, hint }
        }
    }
}
