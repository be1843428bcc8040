//! Moves remediations that have a plan, and their tasks: feeds what happened to `engine::rollout::step` and commits
//! the next state with everything that belongs to it in one transaction. Nothing else moves them.

use std::collections::BTreeMap;

use serde_json::json;
use stanch_engine::exposure_time::{Gate, Moment};
use stanch_engine::hold::About;
use stanch_engine::rollout::{ConfirmAnswer, Effect, Event, Hold, Illegal, Rollout, Settled, Share, Task, Word, step};
use stanch_engine::{Blocked, breaker};
use stanch_ledger::NewEntry;
use stanch_model::id::{ActorId, AssetId, ItemId, RemediationId, TaskId};
use stanch_model::order::{Answer, CheckOutcome, Grant, Receipt, Verb, VerbKind};
use stanch_model::plan::Plan;
use stanch_model::remediation::{RemediationState, TaskState};
use stanch_model::{Digest, Timestamp};
use stanch_store::breaker::PutBreaker;
use stanch_store::budget::{Reserve, Settle};
use stanch_store::outcome::{BAD_UNDO, Outcome};
use stanch_store::receipt::HandleReceipt;
use stanch_store::remediation::{EditRemediation, MoveRemediation, RemediationFilter, StoredRemediation};
use stanch_store::suppression::{StillWanted, Suppression};
use stanch_store::task::MoveTask;
use stanch_store::{CommitError, Transition, Write};

use super::decide::track;
use super::surroundings::Estate;
use super::{PassError, orders};
use crate::app::App;
use crate::bus::{Live, Stage};
use crate::record::{MOMENTS, Record};

/// Ticks taken in one pass, at most: a task makes one move in each.
const TICKS: u32 = 24;
/// How long a risk is accepted that an owner takes upon themselves by answering.
const ACCEPTED_FOR: jiff::SignedDuration = jiff::SignedDuration::from_hours(90 * 24);

/// Why an event was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeError {
    /// There is no such remediation.
    #[error("there is no remediation {0}")]
    Missing(RemediationId),
    /// It has no plan yet.
    #[error("it is {0} and has no plan yet")]
    NoPlan(RemediationState),
    /// Something else has the lane or the budget now: nothing was written.
    #[error("{why}{}", by.as_ref().map(|by| format!(": {by} is at work there")).unwrap_or_default())]
    Busy {
        /// What is taken.
        why: String,
        /// Who has the lane.
        by: Option<RemediationId>,
        /// The task that there was no room for.
        task: Option<TaskId>,
        /// What it waits for.
        on: Option<Blocked>,
    },
    /// It makes no sense now.
    #[error(transparent)]
    Illegal(#[from] Illegal),
    /// It could not be committed.
    #[error(transparent)]
    Pass(#[from] PassError),
}

impl From<stanch_store::ReadError> for TakeError {
    fn from(error: stanch_store::ReadError) -> Self {
        Self::Pass(error.into())
    }
}

impl From<CommitError> for TakeError {
    fn from(error: CommitError) -> Self {
        Self::Pass(error.into())
    }
}

/// The id of an actor of this name.
pub(crate) fn actor(name: &str) -> ActorId {
    // A text always has a canonical form.
    let id = stanch_model::canonical::digest("stanch/actor/v1", name).unwrap_or(Digest::from_bytes([0; 32]));
    ActorId::from_digest(&id)
}

pub(super) async fn pass(app: &App) -> Result<(), PassError> {
    receipts(app).await?;
    let filter = RemediationFilter { over: Some(false), ..RemediationFilter::default() };
    let rows = app.store.all_remediations(&filter).await?;
    let rows = rows.into_iter().filter_map(|row| Some((Record::read(&row.body).rollout?, row)));
    let rows: Vec<(Rollout, StoredRemediation)> = rows.collect();
    if rows.is_empty() {
        return Ok(());
    }
    let estate = Estate::read(app).await?;
    for (rollout, row) in rows {
        quietly(hold(app, &row.id, &rollout).await)?;
        quietly(surroundings(app, &row, &rollout, &estate).await)?;
        facts(app, &row.id, &rollout).await?;
        for _ in 0..TICKS {
            if !tick(app, &row.id).await? {
                break;
            }
        }
    }
    Ok(())
}

/// One tick. A task for which the store has no room waits; the others go on without it.
async fn tick(app: &App, id: &RemediationId) -> Result<bool, PassError> {
    let taken = take(app, id, "server", Event::Tick, Vec::new()).await;
    if let Err(TakeError::Busy { task: Some(task), on: Some(blocked), .. }) = &taken {
        let event = Event::NoRoom { task: task.clone(), blocked: blocked.clone() };
        return quietly(take(app, id, "server", event, Vec::new()).await);
    }
    quietly(taken)
}

/// An event that makes no sense any more changes nothing, and the next pass sees why.
fn quietly(taken: Result<bool, TakeError>) -> Result<bool, PassError> {
    match taken {
        Ok(moved) => Ok(moved),
        Err(TakeError::Pass(error)) => Err(error),
        Err(error) => {
            tracing::debug!(%error, "an event was not taken");
            Ok(false)
        }
    }
}

async fn hold(app: &App, id: &RemediationId, rollout: &Rollout) -> Result<bool, TakeError> {
    let holds = app.store.holds().await?;
    // One that covers a part of the targets stops all of them: what would go on without that part was not approved.
    let covers = |hold: &&stanch_store::hold::Hold| {
        let scope = crate::view::hold_scope(hold);
        rollout.tasks.iter().any(|task| {
            let about = About {
                asset: &task.asset,
                environment: task.environment.as_deref(),
                policies: &rollout.policies,
                actions: &task.actions,
            };
            about.is_covered_by(&scope)
        })
    };
    let hold = holds.iter().filter(covers).max_by_key(|hold| hold.level);
    let hold = hold.map(|hold| Hold { level: hold.level, reason: hold.reason.clone() });
    if rollout.hold == hold {
        Ok(false)
    } else {
        take(app, id, "server", Event::HoldChanged { hold }, Vec::new()).await
    }
}

async fn surroundings(
    app: &App,
    row: &StoredRemediation,
    rollout: &Rollout,
    estate: &Estate,
) -> Result<bool, TakeError> {
    if rollout.state.is_over() {
        return Ok(false);
    }
    let surroundings = super::surroundings::of(app, row, rollout, estate).await?;
    if rollout.surroundings == surroundings {
        return Ok(false);
    }
    let event = Event::SurroundingsChanged { surroundings: Box::new(surroundings) };
    take(app, &row.id, "server", event, Vec::new()).await
}

async fn facts(app: &App, id: &RemediationId, rollout: &Rollout) -> Result<(), PassError> {
    for task in &rollout.tasks {
        let Some(collected_at) = app.store.facts_at(&task.asset).await? else { continue };
        if task.facts_at.is_none_or(|at| at < collected_at) {
            let event = Event::Facts { asset: task.asset.clone(), collected_at };
            quietly(take(app, id, "server", event, Vec::new()).await)?;
        }
    }
    Ok(())
}

/// Orders whose answers are taken up here.
const ABOUT_TASKS: [VerbKind; 7] = [
    VerbKind::Apply,
    VerbKind::Undo,
    VerbKind::Rehearse,
    VerbKind::Verify,
    VerbKind::Hold,
    VerbKind::Release,
    VerbKind::Reconcile,
];

/// Acts on what executors answered about tasks.
async fn receipts(app: &App) -> Result<(), PassError> {
    for stored in app.store.unhandled_receipts(&ABOUT_TASKS, 256).await? {
        let body = &stored.receipt.body;
        let Some(order) = app.store.order(&body.order).await? else { continue };
        let handled =
            || Write::HandleReceipt(HandleReceipt { order: body.order.clone(), forget: false, at: app.now() });
        match order.verb {
            Verb::Observe { .. } | Verb::Plan { .. } => continue,
            Verb::Verify { .. } => {
                app.store.put(handled()).await?;
                app.bus.nudge(Stage::Verify);
                continue;
            }
            Verb::Hold { .. } | Verb::Release => {
                app.store.put(handled()).await?;
                continue;
            }
            Verb::Rehearse { ref leaf } => {
                rehearsed(app, &order.task, &leaf.asset, body, handled()).await?;
                continue;
            }
            // A question that was refused says nothing of what it asked about: it is asked again.
            Verb::Reconcile { .. } if matches!(body.answer, Answer::Refused { .. }) => {
                app.store.put(handled()).await?;
                continue;
            }
            Verb::Apply(_) | Verb::Undo { .. } | Verb::Reconcile { .. } => {}
        }
        let event = event_of(app, &order.task, &body.order, Word::of(&body.answer, body.at)).await?;
        let taken = match event {
            Some((remediation, event)) => {
                take(app, &remediation, &body.executor.to_string(), event, vec![handled()]).await
            }
            None => Ok(false),
        };
        if let Err(TakeError::Busy { .. }) = taken {
            // What follows from the answer cannot begin yet: it is taken up again in the next pass.
            continue;
        }
        // Whatever did not take the write along (nothing moved, or it made no sense) is handled all the same.
        if !quietly(taken)? {
            match app.store.put(handled()).await {
                Err(error) if !error.is_conflict() => return Err(error.into()),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Notes with the remediation what came of carrying it out in a copy of a target.
async fn rehearsed(
    app: &App,
    task: &Option<TaskId>,
    asset: &AssetId,
    receipt: &Receipt,
    handled: Write,
) -> Result<(), PassError> {
    let task = match task {
        Some(task) => app.store.task(task).await?,
        None => None,
    };
    let Some(id) = task.map(|task| task.remediation) else {
        app.store.put(handled).await?;
        return Ok(());
    };
    let (outcome, why) = match &receipt.answer {
        Answer::Rehearsed { rehearsed } => (rehearsed.outcome(), None),
        Answer::Refused { message, .. } => (CheckOutcome::Inconclusive, Some(message.as_str())),
        _ => (CheckOutcome::Inconclusive, Some("the executor answered something else")),
    };
    let event = match outcome {
        CheckOutcome::Successful => "rehearsal_successful",
        CheckOutcome::Failed => "rehearsal_failed",
        CheckOutcome::Inconclusive => "rehearsal_inconclusive",
    };
    let entry = NewEntry::new(app.now(), receipt.executor.to_string(), event)
        .about(&id)
        .about(asset)
        .about(&receipt.order)
        .with(json!({ "why": why }));
    app.store.commit(Transition::new(entry).write(handled)).await?;
    let id = id.to_string();
    let text = format!("rehearsal: {outcome:?}").to_lowercase();
    app.bus.tell(Live { kind: "remediation", subject: id.clone(), remediation: Some(id), text });
    Ok(())
}

async fn event_of(
    app: &App,
    task: &Option<TaskId>,
    order: &stanch_model::id::OrderId,
    word: Option<Word>,
) -> Result<Option<(RemediationId, Event)>, PassError> {
    let (Some(task), Some(word)) = (task, word) else { return Ok(None) };
    let Some(row) = app.store.task(task).await? else { return Ok(None) };
    let Some(remediation) = app.store.remediation(&row.remediation).await? else { return Ok(None) };
    let rollout = Record::read(&remediation.body).rollout;
    let Some(known) = rollout.as_ref().and_then(|rollout| rollout.task(task)) else { return Ok(None) };
    let number = (1..=known.orders).find(|number| orders::numbered(task, "order", *number) == *order);
    Ok(number.map(|order| (row.remediation, Event::Receipt { task: task.clone(), order, word })))
}

/// Takes one event and commits what follows, with these writes. Answers whether anything changed.
pub(crate) async fn take(
    app: &App,
    id: &RemediationId,
    who: &str,
    event: Event,
    with: Vec<Write>,
) -> Result<bool, TakeError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match once(app, id, who, event.clone(), with.clone()).await {
            // Somebody else moved it meanwhile: load and decide anew.
            Err(TakeError::Pass(PassError::Commit(error))) if error.is_conflict() && attempt < 4 => {}
            done => return done,
        }
    }
}

/// What superseding a plan that nobody approved yet would write, to be committed with the making of its successor.
pub(crate) async fn superseding(app: &App, row: &StoredRemediation, who: &str) -> Result<Transition, TakeError> {
    let now = app.now();
    let mut record = Record::read(&row.body);
    let rollout = record.rollout.take().ok_or(TakeError::NoPlan(row.state))?;
    let event = Event::Superseded;
    let name = event_name(&event);
    let (next, effects) = step(&rollout, event, now)?;
    let waiting = waiting(&next, now);
    record.rollout = Some(next.clone());
    Change { app, row, record: &record, before: &rollout, after: &next, who, now, waiting, answer: None }
        .transition(name, effects)
        .await
}

async fn once(app: &App, id: &RemediationId, who: &str, event: Event, with: Vec<Write>) -> Result<bool, TakeError> {
    let now = app.now();
    let row = app.store.remediation(id).await?.ok_or_else(|| TakeError::Missing(id.clone()))?;
    let mut record = Record::read(&row.body);
    let rollout = record.rollout.take().ok_or(TakeError::NoPlan(row.state))?;
    let name = event_name(&event);
    let answer = if let Event::Answered { answer, .. } = &event { Some(*answer) } else { None };
    let by_person = is_a_persons(&event);
    let (next, effects) = step(&rollout, event, now)?;
    let waiting = waiting(&next, now);
    if next == rollout && effects.is_empty() && with.is_empty() && waiting == row.waiting {
        return Ok(false);
    }
    record.rollout = Some(next.clone());
    note_gate(&mut record, &next, now);
    record.touches = record.touches.saturating_add(u32::from(by_person));
    let change = Change { app, row: &row, record: &record, before: &rollout, after: &next, who, now, waiting, answer };
    let mut transition = change.transition(name, effects).await?;
    transition.writes.extend(with);
    let receivers = orders::receivers(&transition);
    match app.store.commit(transition).await {
        Ok(_) => app.bus.wake(&receivers),
        // There is no room now: nothing was written, and whoever asked decides what becomes of it.
        Err(
            error @ (CommitError::OverBudget { .. } | CommitError::LaneBusy { .. } | CommitError::TakenBack { .. }),
        ) => {
            let why = error.to_string();
            let (by, task, on) = match error {
                CommitError::LaneBusy { asset, .. } => {
                    let task = next.tasks.iter().find(|task| task.asset.as_str() == asset);
                    let on = task.map(|task| Blocked::Lane { asset: task.asset.clone() });
                    (at_work(app, id, &asset).await?, task.map(|task| task.id.clone()), on)
                }
                CommitError::TakenBack { asset, item } => {
                    let task = next.tasks.iter().find(|task| task.asset.as_str() == asset);
                    let on = Blocked::Suppressed { reason: format!("{item} was taken back"), until: None };
                    (None, task.map(|task| task.id.clone()), Some(on))
                }
                CommitError::OverBudget { holder, scope, limit, .. } => {
                    let task = next.tasks.iter().find(|task| task.id.as_str() == holder).map(|task| task.id.clone());
                    (None, task, Some(Blocked::Budget { scope, limit }))
                }
                _ => (None, None, None),
            };
            let busy = TakeError::Busy { why, by, task, on };
            // A person is answered; what goes on by itself waits, and people see on what.
            if name.is_none() {
                app.waits(id.as_str(), busy.to_string());
            }
            return Err(busy);
        }
        Err(error) => return Err(error.into()),
    }
    app.goes_on(id.as_str());
    change.tell();
    Ok(true)
}

/// Whether somebody had to do something for this to happen.
const fn is_a_persons(event: &Event) -> bool {
    matches!(
        event,
        Event::Approved { .. }
            | Event::Rejected { .. }
            | Event::UndoAsked { .. }
            | Event::Cancelled { .. }
            | Event::Dismissed { .. }
            | Event::Answered { .. }
    )
}

/// Notes what it waits for from now on, when that is something else.
fn note_gate(record: &mut Record, rollout: &Rollout, now: Timestamp) {
    let waits: Vec<Blocked> = rollout.blocked(now).into_iter().map(|(_, blocked)| blocked).collect();
    let gate = Gate::of(rollout.state, &waits);
    if record.moments.last().is_none_or(|last| last.gate != gate) {
        record.moments.push(Moment { at: now, gate });
        let more = record.moments.len().saturating_sub(MOMENTS);
        record.moments.drain(..more);
    }
}

/// The other remediation that has the lane of an asset.
async fn at_work(app: &App, but: &RemediationId, asset: &str) -> Result<Option<RemediationId>, TakeError> {
    let filter = RemediationFilter { over: Some(false), ..RemediationFilter::default() };
    let rows = app.store.all_remediations(&filter).await?;
    let has_it = |row: &StoredRemediation| {
        let rollout = Record::read(&row.body).rollout;
        rollout.is_some_and(|it| it.tasks.iter().any(|task| task.asset.as_str() == asset && task.state.holds_lane()))
    };
    Ok(rows.into_iter().find(|row| row.id != *but && has_it(row)).map(|row| row.id))
}

/// Everything that a wait says, in one line.
fn waiting(rollout: &Rollout, now: Timestamp) -> Option<String> {
    let mut words: Vec<String> = rollout.blocked(now).into_iter().map(|(_, blocked)| blocked.to_string()).collect();
    words.dedup();
    (!words.is_empty()).then(|| words.join("; "))
}

const fn event_name(event: &Event) -> Option<&'static str> {
    Some(match event {
        Event::Submitted => "remediation_submitted",
        Event::Approved { .. } => "remediation_approved",
        Event::Rejected { .. } => "remediation_rejected",
        Event::Superseded => "remediation_superseded",
        Event::UndoAsked { .. } => "undo_asked",
        Event::Cancelled { .. } => "remediation_cancel_asked",
        Event::Dismissed { .. } => "remediation_dismissed",
        Event::Judged { .. } => "task_judged",
        Event::LeaseExpired { .. } => "executor_silent",
        Event::Granted { .. } => "remediation_granted",
        Event::Answered { .. } => "confirmation_answered",
        Event::Tick
        | Event::Receipt { .. }
        | Event::Facts { .. }
        | Event::Reach { .. }
        | Event::HoldChanged { .. }
        | Event::SurroundingsChanged { .. }
        | Event::NoRoom { .. } => return None,
    })
}

/// What a task that comes to this state counts for its actions, if it is an end.
const fn outcome(state: TaskState) -> Option<&'static str> {
    match state {
        TaskState::Verified => Some("verified"),
        TaskState::Failed | TaskState::VerifyFailed | TaskState::Interrupted => Some("failed"),
        TaskState::Undone => Some("undone"),
        TaskState::UndoFailed => Some(BAD_UNDO),
        _ => None,
    }
}

/// One step, ready to be committed.
struct Change<'a> {
    app: &'a App,
    row: &'a StoredRemediation,
    record: &'a Record,
    before: &'a Rollout,
    after: &'a Rollout,
    who: &'a str,
    now: Timestamp,
    waiting: Option<String>,
    /// What somebody who was asked has answered.
    answer: Option<ConfirmAnswer>,
}

impl Change<'_> {
    async fn transition(&self, name: Option<&'static str>, effects: Vec<Effect>) -> Result<Transition, TakeError> {
        let mut transition = Transition::default();
        if let Some(entry) = self.entry(name, &effects) {
            transition.entries.push(entry);
        }
        self.remediation_writes(&effects, &mut transition);
        self.task_rows(&effects, &mut transition).await?;
        let ends = self.ends(&effects);
        let mut told: BTreeMap<String, Vec<breaker::Word>> = BTreeMap::new();
        for effect in effects {
            match effect {
                Effect::Breaker { scope, word } => told.entry(scope).or_default().push(word),
                effect => self.effect(effect, &mut transition).await?,
            }
        }
        transition.writes.extend(self.breakers(told).await?);
        self.outcomes(ends, &mut transition).await?;
        Ok(transition)
    }

    /// What the ledger tells of the step; nothing when only a wait changed.
    fn entry(&self, name: Option<&'static str>, effects: &[Effect]) -> Option<NewEntry> {
        let passed = |effect: &Effect| match effect {
            Effect::Entered { state } => Some(state.to_string()),
            _ => None,
        };
        let way: Vec<String> = effects.iter().filter_map(passed).collect();
        let mut moved: Vec<&TaskId> = Vec::new();
        for effect in effects {
            if let Effect::TaskEntered { task, .. } = effect
                && !moved.contains(&task)
            {
                moved.push(task);
            }
        }
        let first = moved.first().and_then(|id| self.after.task(id));
        // A verdict or a silence that moves the remediation is told by where it moved to.
        let name = name.filter(|name| way.is_empty() || !matches!(*name, "task_judged" | "executor_silent"));
        let name = match (name, way.is_empty(), first) {
            (Some(name), _, _) => name.to_owned(),
            (None, false, _) => format!("remediation_{}", self.after.state.name()),
            (None, true, Some(task)) => format!("task_{}", task.state.name()),
            (None, true, None) => return None,
        };
        let tasks: Vec<_> = moved
            .iter()
            .filter_map(|id| self.after.task(id))
            .map(|task| json!({ "task": task.id, "asset": task.asset, "to": task.state.name(), "message": task.message }))
            .collect();
        let mut entry = NewEntry::new(self.now, self.who, name.clone())
            .about(&self.row.id)
            .with(json!({
                "from": self.before.state.to_string(),
                "to": self.after.state.to_string(),
                "way": way,
                "tasks": tasks,
                "waits_on": self.waiting,
                "reason": self.record.undo.as_ref().filter(|_| name == "undo_asked").map(|undo| &undo.reason),
            }))
            .resting_on("plan", self.after.plan);
        for id in moved {
            entry = entry.about(id);
        }
        Some(entry)
    }

    /// Each state that the step passed through is a move of its own.
    fn remediation_writes(&self, effects: &[Effect], transition: &mut Transition) {
        let body = Some(self.record.write());
        let (mut from, mut generation) = (self.row.state, self.row.generation);
        for effect in effects {
            let Effect::Entered { state } = effect else { continue };
            transition.writes.push(Write::MoveRemediation(MoveRemediation {
                id: self.row.id.clone(),
                from,
                generation,
                to: *state,
                plan: None,
                waiting: self.waiting.clone(),
                body: body.clone(),
                at: self.now,
            }));
            from = *state;
            generation += 1;
        }
        if generation == self.row.generation {
            transition.writes.push(Write::EditRemediation(EditRemediation {
                id: self.row.id.clone(),
                generation,
                waiting: self.waiting.clone(),
                body,
                at: self.now,
            }));
        }
    }

    async fn task_rows(&self, effects: &[Effect], transition: &mut Transition) -> Result<(), TakeError> {
        let mut stands: BTreeMap<TaskId, (TaskState, u64)> = BTreeMap::new();
        for effect in effects {
            let Effect::TaskEntered { task: id, state } = effect else { continue };
            let (from, generation) = match stands.get(id) {
                Some(stand) => *stand,
                None => match self.app.store.task(id).await? {
                    Some(row) => (row.state, row.generation),
                    None => continue,
                },
            };
            transition.writes.push(Write::MoveTask(MoveTask {
                id: id.clone(),
                from,
                generation,
                to: *state,
                message: self.after.task(id).and_then(|task| task.message.clone()),
                body: None,
                at: self.now,
            }));
            stands.insert(id.clone(), (*state, generation + 1));
        }
        Ok(())
    }

    async fn effect(&self, effect: Effect, transition: &mut Transition) -> Result<(), TakeError> {
        match effect {
            Effect::Reserve { task, undo, shares } => {
                // Another server may have taken it back since this one looked.
                if let Some(task) = self.after.task(&task).filter(|_| !undo) {
                    let (asset, since) = (task.asset.clone(), self.row.created_at);
                    transition.writes.push(Write::StillWanted(StillWanted { asset, items: task.items.clone(), since }));
                }
                transition.writes.extend(shares.into_iter().map(|share| {
                    let Share { scope, span, amount, limit } = share;
                    Write::Reserve(Reserve { holder: task.to_string(), scope, span, amount, limit })
                }));
            }
            Effect::Release { task, shares } => transition.writes.extend(shares.into_iter().map(|share| {
                let Settled { scope, span, used } = share;
                Write::Settle(Settle { holder: task.to_string(), scope, span, used })
            })),
            Effect::RecordIntent { task, attempt } => {
                let plan = self.plan().await?;
                let leaf =
                    plan.leaves.iter().find(|leaf| self.after.task(&task).is_some_and(|t| t.asset == leaf.asset));
                let mut entry = NewEntry::new(self.now, self.who, "task_intent")
                    .about(&task)
                    .about(&self.row.id)
                    .with(json!({ "attempt": attempt }))
                    .resting_on("plan", self.after.plan);
                if let Some(leaf) = leaf {
                    entry = entry.resting_on("leaf", leaf.hash().map_err(PassError::from)?);
                }
                transition.entries.push(entry);
            }
            Effect::DispatchApply { task, order, attempt, rest } => {
                let grant = Grant { rest, ..self.grant(&task, attempt).await? };
                self.order(&task, "order", order, Verb::Apply(grant), transition).await;
            }
            Effect::DispatchUndo { task, order, undo_attempt, items } => {
                let attempt = self.after.task(&task).map_or(1, |task| task.attempt);
                let grant = self.grant(&task, attempt).await?;
                let verb = Verb::Undo { task: task.clone(), grant, items, attempt: undo_attempt };
                self.order(&task, "order", order, verb, transition).await;
            }
            Effect::Reconcile { task, order } => {
                let attempt = self.after.task(&task).map_or(1, |task| task.attempt);
                let asset = self.asset_of(&task);
                let key = stanch_model::plan::step_key(&self.after.plan, 0, &asset, self.app.epoch, attempt);
                self.order(&task, "order", order, Verb::Reconcile { task: task.clone(), key }, transition).await;
            }
            Effect::RequestFacts { asset } => {
                if let Some((executor, _)) = orders::host_executor_of(self.app, &asset).await {
                    let verb = Verb::Observe { refresh: false };
                    let (_, write) = orders::order(self.app, &executor, verb, self.now)?;
                    transition.writes.push(write);
                }
            }
            Effect::Verify { task, round } => {
                let asset = self.asset_of(&task);
                let Some(leaf) = self.plan().await?.leaves.into_iter().find(|leaf| leaf.asset == asset) else {
                    return Ok(());
                };
                let number = super::verify::asked(self.app, &task, round).await?.len();
                let number = u32::try_from(number).unwrap_or(u32::MAX);
                let verb = Verb::Verify { task: task.clone(), leaf };
                self.order(&task, &super::verify::kind(round), number, verb, transition).await;
            }
            // What only stood in for something is nobody's no.
            Effect::Suppress { .. } if self.record.undo.as_ref().is_some_and(|undo| undo.lifted) => {}
            Effect::Suppress { asset, items, by } => {
                for item in items {
                    transition.writes.push(self.suppress(&asset, item, by.is_some()).await?);
                }
            }
            Effect::AskConfirmation { role, due, reminder } => {
                // The first question is told by the state it leads to.
                let name = match (reminder, self.before.state == RemediationState::AwaitingConfirmation) {
                    (true, _) => "confirmation_reminder",
                    (false, true) => "confirmation_escalated",
                    (false, false) => return Ok(()),
                };
                let entry = NewEntry::new(self.now, "server", name)
                    .about(&self.row.id)
                    .with(json!({ "role": role, "due": due }))
                    .resting_on("plan", self.after.plan);
                transition.entries.push(entry);
            }
            Effect::Except { items, .. } => {
                for item in items {
                    let Some(task) = self.after.tasks.iter().find(|task| task.items.contains(&item)) else { continue };
                    let actor = self.record.undo.as_ref().map_or_else(|| self.who.to_owned(), |undo| undo.by.clone());
                    let reason = self.record.undo.as_ref().map(|undo| undo.reason.clone()).unwrap_or_default();
                    transition.writes.push(Write::Suppress(Suppression {
                        item,
                        asset: task.asset.clone(),
                        // Whatever version appears: it is the risk that is accepted, not the version.
                        version: String::new(),
                        until: self.now.checked_add(ACCEPTED_FOR).ok(),
                        reason: format!("the risk was accepted by {actor}: {reason}"),
                        actor,
                        at: self.now,
                    }));
                }
            }
            // Items close when the detectors no longer see them; waits stand in the row.
            Effect::Entered { .. }
            | Effect::TaskEntered { .. }
            | Effect::Close { .. }
            | Effect::Notify { .. }
            | Effect::NeedsReplan { .. } => {}
            Effect::Breaker { .. } => {}
        }
        Ok(())
    }

    /// The ends that tasks came to in this step, also on their way to another state, and what their owner says of them.
    fn ends(&self, effects: &[Effect]) -> Vec<(&Task, &'static str)> {
        let entered = effects.iter().filter_map(|effect| match effect {
            Effect::TaskEntered { task, state } => Some((self.after.task(task)?, outcome(*state)?)),
            _ => None,
        });
        let answer = self.answer.map(|answer| match answer {
            ConfirmAnswer::Confirm => "confirmed",
            ConfirmAnswer::Undo | ConfirmAnswer::Except => "misfire",
        });
        let done = self.before.tasks.iter().filter(|task| task.state == TaskState::Verified);
        let answered = done.filter_map(|task| Some((self.after.task(&task.id)?, answer?)));
        entered.chain(answered).collect()
    }

    /// What they count for the actions that were taken.
    async fn outcomes(&self, ends: Vec<(&Task, &'static str)>, transition: &mut Transition) -> Result<(), TakeError> {
        let counted = !ends.is_empty();
        for (task, end) in ends {
            let Some(known) = self.app.store.asset(&task.asset).await? else { continue };
            let detected = self.app.store.detection(&task.asset).await?;
            let Some(system) = detected.and_then(|detected| detected.system) else { continue };
            for action in &task.actions {
                transition.writes.push(Write::PutOutcome(Outcome {
                    task: task.id.clone(),
                    track: track(action, &system, &known.asset),
                    outcome: end.to_owned(),
                    at: self.now,
                }));
            }
        }
        if counted {
            // What an action has earned is asked for by policies.
            self.app.decide_again();
        }
        Ok(())
    }

    /// What breakers make of it. A word that changes nothing is not written.
    async fn breakers(&self, told: BTreeMap<String, Vec<breaker::Word>>) -> Result<Vec<Write>, TakeError> {
        let mut writes = Vec::new();
        for (scope, words) in told {
            let stored = self.app.store.breaker(&scope).await?;
            let before = super::surroundings::breaker(stored.as_ref());
            let after = words.iter().fold(before.clone(), |breaker, word| breaker.after(word, self.now));
            if after == before {
                continue;
            }
            let generation = stored.map_or(0, |stored| stored.generation);
            let body = serde_json::to_value(&after).unwrap_or_default();
            writes.push(Write::PutBreaker(PutBreaker { scope, generation, body, at: self.now }));
        }
        Ok(writes)
    }

    async fn suppress(&self, asset: &AssetId, item: ItemId, asked: bool) -> Result<Write, TakeError> {
        let before = self.record.before.iter().find(|before| before.id == item);
        let mut findings = Vec::new();
        for id in before.map(|before| before.findings.as_slice()).unwrap_or_default() {
            findings.extend(self.app.store.finding(id).await?.map(|stored| stored.finding));
        }
        let members: Vec<_> = findings.iter().collect();
        let undo = self.record.undo.as_ref();
        let (actor, reason) = match undo.filter(|_| asked) {
            Some(undo) => (undo.by.clone(), format!("taken back by {}: {}", undo.by, undo.reason)),
            None => ("server".to_owned(), "taken back because it failed".to_owned()),
        };
        Ok(Write::Suppress(Suppression {
            item,
            asset: asset.clone(),
            version: crate::view::target_version(&members),
            until: None,
            actor,
            reason,
            at: self.now,
        }))
    }

    async fn plan(&self) -> Result<Plan, TakeError> {
        let plan = self.app.store.plan(&self.after.plan).await?;
        plan.ok_or(TakeError::NoPlan(self.row.state))
    }

    async fn grant(&self, task: &TaskId, attempt: u32) -> Result<Grant, TakeError> {
        let asset = self.asset_of(task);
        let leaf = self.plan().await?.leaves.into_iter().find(|leaf| leaf.asset == asset);
        let leaf = leaf.ok_or(TakeError::NoPlan(self.row.state))?;
        let leaf_hash = leaf.hash().map_err(PassError::from)?;
        let (plan, epoch) = (self.after.plan, self.app.epoch);
        Ok(Grant { task: task.clone(), plan, leaf_hash, leaf, epoch, attempt, rest: false })
    }

    fn asset_of(&self, task: &TaskId) -> AssetId {
        let known = self.after.task(task).or_else(|| self.before.task(task));
        known.map_or_else(|| AssetId::from_entropy([0; 10]), |task| task.asset.clone())
    }

    /// An order for a task. Without an executor none is made: its silence is noticed as any other.
    async fn order(&self, task: &TaskId, kind: &str, number: u32, verb: Verb, transition: &mut Transition) {
        if let Some((executor, _)) = orders::executor_of(self.app, &self.asset_of(task)).await {
            let id = orders::numbered(task, kind, number);
            transition.writes.push(orders::for_task(self.app, id, &executor, task, verb, self.now));
        }
    }

    fn tell(&self) {
        let moved = self.before.state != self.after.state;
        let text =
            format!("{}{}", self.after.state, self.waiting.as_ref().map(|on| format!(": {on}")).unwrap_or_default());
        let id = self.row.id.to_string();
        if moved || self.waiting != self.row.waiting || self.before.tasks != self.after.tasks {
            self.app.bus.tell(Live { kind: "remediation", subject: id.clone(), remediation: Some(id), text });
        }
        self.app.bus.nudge(Stage::Rollout);
        self.app.bus.nudge(Stage::Verify);
        self.app.bus.nudge(Stage::Seal);
    }
}
