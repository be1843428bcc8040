//! One step of a rollout as a transition of the store: ledger entry, rows, orders, budgets, suppressions, outcomes.

use std::collections::BTreeMap;

use serde_json::json;
use stanch_engine::breaker;
use stanch_engine::rollout::{ConfirmAnswer, Effect, Halt, Rollout, Settled, Share, Task, bad_patches};
use stanch_ledger::NewEntry;
use stanch_model::Timestamp;
use stanch_model::calendar::Interval;
use stanch_model::hold::HoldScope;
use stanch_model::id::{AssetId, ItemId, TaskId};
use stanch_model::order::{Grant, Verb};
use stanch_model::plan::{Leaf, Plan};
use stanch_model::remediation::{RemediationState, TaskState};
use stanch_model::trust::{MAX_APPROVALS, Vouched};
use stanch_store::approval::ApprovalVerdict;
use stanch_store::breaker::PutBreaker;
use stanch_store::budget::{Reserve, Settle};
use stanch_store::hold::{Hold, HoldLevel};
use stanch_store::missed::{CatchUp, MissedWindow};
use stanch_store::outcome::{BAD_UNDO, Outcome};
use stanch_store::remediation::{EditRemediation, MoveRemediation, StoredRemediation};
use stanch_store::suppression::{StillWanted, Suppression};
use stanch_store::task::MoveTask;
use stanch_store::{Transition, Write};
use tokio::sync::OnceCell;

use super::TakeError;
use crate::app::App;
use crate::bus::{Live, Stage};
use crate::record::Record;
use crate::tasks::decide::track;
use crate::tasks::{PassError, orders};
use crate::tasks::{surroundings, verify};

/// How long a risk is accepted that an owner takes upon themselves by answering.
const ACCEPTED_FOR: jiff::SignedDuration = jiff::SignedDuration::from_hours(90 * 24);

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
pub(super) struct Change<'a> {
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
    /// Read once: it is as long as there are targets.
    plan: OnceCell<Plan>,
}

/// Why an item is left alone from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// Somebody had it taken back.
    Asked,
    /// It failed and was taken back.
    Failed,
    /// It was done and did not end the problem.
    Useless,
}

impl<'a> Change<'a> {
    /// From one rollout to another.
    pub(super) const fn new(
        app: &'a App,
        (row, record): (&'a StoredRemediation, &'a Record),
        (before, after): (&'a Rollout, &'a Rollout),
        (who, now): (&'a str, Timestamp),
        waiting: Option<String>,
        answer: Option<ConfirmAnswer>,
    ) -> Self {
        Self { app, row, record, before, after, who, now, waiting, answer, plan: OnceCell::const_new() }
    }
}

impl Change<'_> {
    pub(super) async fn transition(
        &self,
        name: Option<&'static str>,
        effects: Vec<Effect>,
    ) -> Result<Transition, TakeError> {
        let mut transition = Transition::default();
        if let Some(entry) = self.entry(name, &effects) {
            transition.entries.push(entry);
        }
        self.remediation_writes(&effects, &mut transition);
        self.task_rows(&effects, &mut transition).await?;
        let ends = self.ends(&effects);
        let halted = effects.contains(&Effect::Entered { state: RemediationState::Halted });
        let mut told: BTreeMap<String, Vec<breaker::Word>> = BTreeMap::new();
        for effect in effects {
            match effect {
                Effect::Breaker { scope, word } => told.entry(scope).or_default().push(word),
                effect => self.effect(effect, &mut transition).await?,
            }
        }
        transition.writes.extend(self.breakers(told).await?);
        self.suppress_failed(&mut transition).await?;
        if halted {
            self.block_patches(&mut transition).await?;
        }
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
                let leaf = self.leaf(&self.asset_of(&task)).await?;
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
                let grant = self.grant(&task, attempt).await?;
                let grant = Grant { rest, vouched: self.vouched(&grant.leaf.asset).await?, ..grant };
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
                if let Some((executor, caller)) = orders::host_executor_of(self.app, &asset).await {
                    let verb = orders::observe(self.app, &asset, &caller, false).await?;
                    let (_, write) = orders::order(self.app, &executor, verb, self.now)?;
                    transition.writes.push(write);
                }
            }
            Effect::Verify { task, round } => {
                let asset = self.asset_of(&task);
                let Some(leaf) = self.leaf(&asset).await? else { return Ok(()) };
                let number = verify::asked(self.app, &task, round).await?.len();
                let number = u32::try_from(number).unwrap_or(u32::MAX);
                let verb = Verb::Verify { task: task.clone(), leaf };
                self.order(&task, &verify::kind(round), number, verb, transition).await;
            }
            // What only stood in for something is nobody's no.
            Effect::Suppress { .. } if self.record.undo.as_ref().is_some_and(|undo| undo.lifted) => {}
            Effect::Suppress { asset, items, by } => {
                for item in items {
                    transition
                        .writes
                        .push(self.suppress(&asset, item, if by.is_some() { Why::Asked } else { Why::Failed }).await?);
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
            Effect::Missed { task, missed, in_a_row, tell } => {
                let (asset, Interval { start, end }) = (self.asset_of(&task), missed.window);
                let away = missed.by_absence();
                let name = if tell { "window_missed_often" } else { "window_missed" };
                let entry = NewEntry::new(self.now, "server", name)
                    .about(&self.row.id)
                    .about(&asset)
                    .about(&task)
                    .with(json!({ "opened": start, "shut": end, "why": missed.why.to_string(), "in_a_row": in_a_row }))
                    .resting_on("plan", self.after.plan);
                transition.entries.push(entry);
                transition.writes.push(Write::MissWindow(MissedWindow {
                    asset,
                    remediation: self.row.id.clone(),
                    opened_at: start,
                    shut_at: end,
                    why: missed.why.to_string(),
                    away,
                }));
            }
            Effect::TaskEntered { task, state: TaskState::Succeeded } => {
                let caught_up = self.after.task(&task).filter(|task| task.missed_windows > 0);
                transition
                    .writes
                    .extend(caught_up.map(|task| Write::CatchUp(CatchUp { asset: task.asset.clone(), at: self.now })));
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

    /// What failed on several targets of a ring is brought nowhere else until a person has looked. What failed on one is
    /// kept from that one alone ([`Self::suppress_failed`]).
    async fn block_patches(&self, transition: &mut Transition) -> Result<(), TakeError> {
        let Some(halt) = self.after.halt.as_ref() else { return Ok(()) };
        let known = self.app.store.holds().await?;
        for bad in bad_patches(self.after) {
            let scope = HoldScope::Version(bad.patch).to_string();
            // What does not read as a scope cannot be told.
            if scope.parse::<HoldScope>().is_err() || known.iter().any(|hold| hold.scope == scope) {
                continue;
            }
            let (failed, begun, ring) = (bad.failed, bad.begun, bad.ring + 1);
            let figures = format!("{failed} of {begun} targets of ring {ring} failed with it");
            let reason: String = format!("{figures}; {} was halted: {halt}", self.row.id).chars().take(500).collect();
            let entry =
                NewEntry::new(self.now, "server", "patch_blocked").about("hold").about(&self.row.id).with(json!({
                    "scope": scope, "reason": reason, "failed": failed, "begun": begun, "ring": ring,
                }));
            transition.entries.push(entry);
            transition.writes.push(Write::Hold(Hold {
                scope,
                level: HoldLevel::StopNew,
                epoch: self.app.epoch,
                reason,
                actor: "server".to_owned(),
                at: self.now,
            }));
        }
        self.app.decide_again();
        Ok(())
    }

    /// What did not do its work on a target, and is not taken back there by itself, is not brought to that one again.
    async fn suppress_failed(&self, transition: &mut Transition) -> Result<(), TakeError> {
        let is_new = |task: &&Task| self.before.task(&task.id).is_none_or(|before| before.failed.is_none());
        for task in self.after.tasks.iter().filter(is_new) {
            let Some(Halt::NotVerified { .. }) = &task.failed else { continue };
            for item in &task.items {
                transition.writes.push(self.suppress(&task.asset, item.clone(), Why::Useless).await?);
            }
        }
        Ok(())
    }

    /// What breakers make of it. A word that changes nothing is not written.
    async fn breakers(&self, told: BTreeMap<String, Vec<breaker::Word>>) -> Result<Vec<Write>, TakeError> {
        let mut writes = Vec::new();
        for (scope, words) in told {
            let stored = self.app.store.breaker(&scope).await?;
            let before = surroundings::breaker(stored.as_ref());
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

    async fn suppress(&self, asset: &AssetId, item: ItemId, why: Why) -> Result<Write, TakeError> {
        let before = self.record.before.iter().find(|before| before.id == item);
        let mut findings = Vec::new();
        for id in before.map(|before| before.findings.as_slice()).unwrap_or_default() {
            findings.extend(self.app.store.finding(id).await?.map(|stored| stored.finding));
        }
        let members: Vec<_> = findings.iter().collect();
        let undo = self.record.undo.as_ref();
        let (actor, reason) = match (why, undo) {
            (Why::Asked, Some(undo)) => (undo.by.clone(), format!("taken back by {}: {}", undo.by, undo.reason)),
            (Why::Useless, _) => ("server".to_owned(), "it was carried out here and did not do its work".to_owned()),
            _ => ("server".to_owned(), "taken back because it failed".to_owned()),
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

    async fn plan(&self) -> Result<&Plan, TakeError> {
        let read = async || {
            let plan = self.app.store.plan(&self.after.plan).await?;
            plan.ok_or(TakeError::NoPlan(self.row.state))
        };
        self.plan.get_or_try_init(read).await
    }

    async fn leaf(&self, asset: &AssetId) -> Result<Option<Leaf>, TakeError> {
        Ok(self.plan().await?.leaves.iter().find(|leaf| leaf.asset == *asset).cloned())
    }

    async fn grant(&self, task: &TaskId, attempt: u32) -> Result<Grant, TakeError> {
        let asset = self.asset_of(task);
        let leaf = self.leaf(&asset).await?.ok_or(TakeError::NoPlan(self.row.state))?;
        let leaf_hash = leaf.hash().map_err(PassError::from)?;
        let (plan, epoch) = (self.after.plan, self.app.epoch);
        Ok(Grant { task: task.clone(), plan, leaf_hash, leaf, epoch, attempt, rest: false, vouched: None })
    }

    /// What people signed for the plan, with the proof for this leaf of it; nothing where nobody did. O(leaves).
    async fn vouched(&self, asset: &AssetId) -> Result<Option<Vouched>, TakeError> {
        let spoken = self.app.store.approvals(&self.after.plan).await?.into_iter();
        let approvals: Vec<_> = spoken
            .filter(|one| one.verdict == ApprovalVerdict::Approved)
            .filter_map(|one| one.signed)
            .take(MAX_APPROVALS)
            .collect();
        if approvals.is_empty() {
            return Ok(None);
        }
        let proof = self.plan().await?.proof(asset).map_err(PassError::from)?;
        Ok(proof.map(|proof| Vouched { approvals, proof }))
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

    pub(super) fn tell(&self) {
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
