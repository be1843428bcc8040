//! The commit of a step: everything becomes true together, or nothing does. Then the checkers look.

use std::sync::Arc;

use stanch_engine::rollout::{Effect, Event, Rollout};
use stanch_model::id::{ItemId, TaskId};
use stanch_model::order::CheckOutcome;
use stanch_model::remediation::{RemediationState as S, TaskState as T};

use crate::defects::Model;
use crate::gateway::{NOBODY, READS};
use crate::server::{Done, name};
use crate::store::{ITEMS, Row, Store, What};
use crate::world::{Checked, Loaded, World, server_name, unstamp, violated};

/// An order that changes a target must be over after so many milliseconds.
const CHANGES: i64 = 2 * 3_600_000;

impl World {
    pub(crate) fn commit(
        &mut self,
        server: u32,
        loaded: &Loaded,
        next: Rollout,
        effects: Vec<Effect>,
    ) -> Checked<Done> {
        let row = loaded.row;
        if effects.is_empty() && next == *loaded.base {
            return Ok(Done::Unchanged);
        }
        let lanes = !self.planted(Model::TwoOnALane);
        let Some(stored) = self.store.row(row) else { return Ok(Done::Unchanged) };
        if stored.generation != loaded.generation {
            return violated(4, format!("{} committed on top of what another had changed", server_name(server)));
        }
        if matches!(&loaded.event, Event::UndoAsked { items, .. } if items.is_empty()) {
            return violated(7, "a wish to take back nothing was taken");
        }
        self.check_limit(&next, &effects)?;
        let room = self.store.without_room(row, &next, &effects, lanes).or_else(|| self.unwanted(row, &effects));
        if let Some(task) = room {
            self.no_room = Some(task);
            self.figures.refused += 1;
            return Ok(Done::Refused);
        }
        self.note(loaded);
        if let Event::Judged { task, .. } = &loaded.event {
            self.check_judged(loaded, task, &effects)?;
        }
        let decided = unstamp(loaded.now);
        self.check_effects(row, decided, &loaded.base, &next, &effects)?;
        self.tell(|| server_name(server), |_| told(row, loaded, &next, &effects));
        let Some(stored) = self.store.row_mut(row) else { return Ok(Done::Unchanged) };
        stored.rollout = Arc::new(next);
        stored.generation += 1;
        self.figures.commits += 1;
        let now = self.server_time(server);
        for effect in &effects {
            self.perform(row, effect, decided, now);
        }
        self.check_row(row, &loaded.base, &effects)?;
        if self.commits.is_multiple_of(1_024) {
            self.check_all()?;
        }
        Ok(Done::Committed)
    }

    /// The first task that would begin although an item of it was taken back since.
    fn unwanted(&self, row: u32, effects: &[Effect]) -> Option<TaskId> {
        if self.planted(Model::StartTakenBack) {
            return None;
        }
        let stored = self.store.row(row)?;
        effects.iter().find_map(|effect| match effect {
            Effect::Reserve { task, undo: false, .. } => {
                let at = stored.task(task)?;
                (!self.taken_back(stored, at).is_empty()).then(|| task.clone())
            }
            _ => None,
        })
    }

    /// Writes down what is true of an event that is taken.
    fn note(&mut self, loaded: &Loaded) {
        let Some(row) = self.store.row_mut(loaded.row) else { return };
        match &loaded.event {
            Event::Approved { plan, .. } => row.approved |= *plan == row.rollout.plan,
            Event::Judged { task, round, judgement } => {
                let Some(at) = row.task(task) else { return };
                let truth = &mut row.truth[at];
                let newer = truth.ended_at.is_none_or(|ended| loaded.facts_truly.is_some_and(|read| read > ended));
                match judgement.outcome {
                    CheckOutcome::Successful if newer => truth.proven = Some(*round),
                    // Of two answers to one question the clear one stands.
                    CheckOutcome::Failed if newer => truth.proven = None,
                    _ if truth.proven != Some(*round) => truth.proven = None,
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn perform(&mut self, row: u32, effect: &Effect, decided: i64, now: i64) {
        let Some(stored) = self.store.row(row) else { return };
        let find = |id| stored.task(id).and_then(|at| Some((u32::try_from(at).ok()?, stored.hosts[at])));
        match effect {
            Effect::Reserve { task, undo, .. } => {
                if let Some((task, host)) = find(task) {
                    self.store.queues[host as usize].lane = Some((row, task));
                    if let Some(stored) = self.store.row_mut(row) {
                        stored.reserved += u32::from(!undo);
                        stored.truth[task as usize].shares = !undo;
                    }
                }
            }
            Effect::Release { task, .. } => {
                if let Some((task, host)) = find(task) {
                    let lane = &mut self.store.queues[host as usize].lane;
                    if *lane == Some((row, task)) {
                        *lane = None;
                    }
                    if let Some(stored) = self.store.row_mut(row) {
                        let shares = std::mem::take(&mut stored.truth[task as usize].shares);
                        stored.reserved -= u32::from(shares);
                    }
                }
            }
            Effect::RecordIntent { task, .. } => {
                if let Some((task, _)) = find(task)
                    && let Some(stored) = self.store.row_mut(row)
                {
                    stored.truth[task as usize].intent = true;
                }
            }
            Effect::DispatchApply { task, order, attempt, rest } => {
                if let Some((task, host)) = find(task) {
                    self.attempt(row, task, host, decided);
                    let what = What::Apply { attempt: *attempt, rest: *rest };
                    self.order(host, row, task, *order, what, now, CHANGES);
                }
            }
            Effect::DispatchUndo { task, order, undo_attempt, items } => {
                if let Some((task, host)) = find(task) {
                    let what = What::Undo { attempt: *undo_attempt, items: items.clone() };
                    self.order(host, row, task, *order, what, now, CHANGES);
                }
            }
            Effect::Reconcile { task, order } => {
                if let Some((task, host)) = find(task) {
                    self.order(host, row, task, *order, What::Reconcile, now, READS);
                }
            }
            Effect::RequestFacts { asset } => {
                if let Some(at) = stored.rollout.tasks.iter().position(|task| task.asset == *asset) {
                    let host = stored.hosts[at];
                    self.order(host, NOBODY, NOBODY, 0, What::Observe, now, READS);
                }
            }
            Effect::Verify { task, round } => {
                if let Some((task, host)) = find(task) {
                    if let Some(stored) = self.store.row_mut(row) {
                        let asked = &mut stored.truth[task as usize].asked;
                        if asked.is_none_or(|(known, _)| known != *round) {
                            *asked = Some((*round, now));
                        }
                    }
                    self.order(host, row, task, 0, What::Verify { round: *round }, now, READS);
                }
            }
            Effect::Suppress { asset, items, .. } => {
                if let Some(at) = stored.rollout.tasks.iter().position(|task| task.asset == *asset) {
                    let host = stored.hosts[at];
                    let (bits, versions) = (self.hosts[host as usize].bits(items), stored.versions[at]);
                    let known = &mut self.store.queues[host as usize].suppressed;
                    for bit in (0..ITEMS).filter(|bit| bits >> bit & 1 == 1) {
                        known[bit] = known[bit].max(versions[bit]);
                    }
                }
            }
            Effect::Close { items } => self.close(row, items),
            _ => {}
        }
    }

    /// The first order of a task is an attempt at its items.
    fn attempt(&mut self, row: u32, task: u32, host: u32, decided: i64) {
        let Some(stored) = self.store.row_mut(row) else { return };
        stored.truth[task as usize].sent += 1;
        if stored.truth[task as usize].sent > 1 {
            return;
        }
        let rollout = Arc::clone(&stored.rollout);
        let queue = &mut self.store.queues[host as usize];
        for item in &rollout.tasks[task as usize].items {
            if let Some(bit) = self.hosts[host as usize].bit(item) {
                queue.attempts[bit] = rollout.attempts.get(item).copied().unwrap_or_default();
                queue.attempted[bit] = Some(decided);
            }
        }
    }

    /// What is closed may be tried again when it comes back.
    fn close(&mut self, row: u32, items: &[ItemId]) {
        let Some(stored) = self.store.row(row) else { return };
        let rollout = Arc::clone(&stored.rollout);
        let hosts = stored.hosts.clone();
        for (task, host) in rollout.tasks.iter().zip(hosts) {
            for item in task.items.iter().filter(|item| items.contains(item)) {
                if let Some(bit) = self.hosts[host as usize].bit(item) {
                    let queue = &mut self.store.queues[host as usize];
                    queue.attempts[bit] = Default::default();
                    queue.attempted[bit] = None;
                }
            }
        }
    }
}

impl Store {
    /// The first task whose lane or share is not free for what a step takes.
    fn without_room(&self, row: u32, next: &Rollout, effects: &[Effect], lanes: bool) -> Option<TaskId> {
        let stored = self.row(row)?;
        let mut reserved = stored.reserved;
        let mut freed: Vec<usize> = Vec::new();
        for effect in effects {
            match effect {
                Effect::Release { task, .. } => {
                    if let Some(at) = stored.task(task) {
                        reserved -= u32::from(stored.truth[at].shares && !freed.contains(&at));
                        freed.push(at);
                    }
                }
                Effect::Reserve { task, undo, .. } => {
                    let Some(at) = stored.task(task) else { return Some(task.clone()) };
                    let lane = self.queues[stored.hosts[at] as usize].lane;
                    let mine = lane.is_some_and(|(holder, task)| holder == row && task as usize == at);
                    if lanes && lane.is_some() && !(mine && freed.contains(&at)) {
                        return Some(task.clone());
                    }
                    reserved += u32::from(!undo);
                    if !undo && reserved > next.terms.limits.concurrent {
                        return Some(task.clone());
                    }
                }
                _ => {}
            }
        }
        None
    }
}

/// A commit as a line of the story.
fn told(row: u32, loaded: &Loaded, next: &Rollout, effects: &[Effect]) -> String {
    let host = |id: &stanch_model::id::TaskId| {
        let at = next.tasks.iter().position(|task| task.id == *id);
        at.map_or_else(|| "?".to_owned(), |at| format!("task {}", at + 1))
    };
    let mut parts = Vec::new();
    for effect in effects {
        match effect {
            Effect::Entered { state } => parts.push(format!("is {state}")),
            Effect::TaskEntered { task, state } => parts.push(format!("{} {}", host(task), state.name())),
            Effect::RecordIntent { task, .. } => parts.push(format!("intent of {} recorded", host(task))),
            Effect::DispatchApply { task, order, .. } => parts.push(format!("order {order}: act, {}", host(task))),
            Effect::DispatchUndo { task, order, items, .. } => {
                parts.push(format!("order {order}: take back {} items, {}", items.len(), host(task)));
            }
            Effect::Reconcile { task, order } => parts.push(format!("order {order}: ask the journal, {}", host(task))),
            Effect::Verify { task, round } => parts.push(format!("check {}, round {round}", host(task))),
            Effect::Close { items } => parts.push(format!("closes {} items", items.len())),
            _ => {}
        }
    }
    let subject = match &loaded.event {
        Event::Receipt { task, .. } | Event::Judged { task, .. } | Event::LeaseExpired { task } => {
            format!(" ({})", host(task))
        }
        _ => String::new(),
    };
    let parts = if parts.is_empty() { "noted".to_owned() } else { parts.join(", ") };
    format!("R{row}: {}{subject} -> {parts}", name(&loaded.event))
}

/// Whether nothing more happens to it by itself: it is over, or it waits for a person.
pub(crate) fn has_ended(row: &Row) -> bool {
    let state = row.rollout.state;
    let waits = matches!(state, S::Planned | S::AwaitingApproval | S::NeedsOperator | S::PartiallyRemediated);
    state.is_over() || waits
}

/// Whether a task was set aside without anything having been done.
pub(crate) const fn is_aside(state: T) -> bool {
    matches!(state, T::Skipped | T::Refused | T::Deferred | T::Cancelled)
}
