//! Servers: what a pass looks at, and the one way state moves: load, step, commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stanch_engine::blocked::Blocked;
use stanch_engine::rollout::{Awaited, Event, Illegal, OrderStands, Rollout, Silence, Surroundings, Task, Word, step};
use stanch_engine::verify::{Failure, ItemVerdict, Judgement};
use stanch_model::id::{AssetId, ItemId};
use stanch_model::order::{Answer, CheckOutcome};
use stanch_model::remediation::TaskState as T;

use crate::defects::Model;
use crate::store::{OrderState, Row};
use crate::world::{Checked, Loaded, World, server_name, stamp, violated};

/// An executor from which nothing was heard for so long is out of reach, in milliseconds.
const PATIENCE: i64 = 140_000;
/// An order whose executor says nothing for so long is asked about, in milliseconds.
const SILENCE: i64 = 90_000;

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    /// It is durable.
    Committed,
    /// There was nothing to write.
    Unchanged,
    /// It makes no sense now.
    Illegal,
    /// Another server was first, a lane or budget is taken, or the ledger takes nothing.
    Refused,
}

impl World {
    /// A server decides on a remediation and commits at once.
    pub(crate) fn serve(&mut self, server: u32, row: u32, turn: u8) -> Checked<Done> {
        match self.next_event(server, row, turn) {
            Some((event, truly)) => {
                let tick = event == Event::Tick;
                self.no_room = None;
                let done = self.take(server, row, event, truly)?;
                // A task for which there is no room waits; the others go on without it.
                match self.no_room.take().filter(|_| tick) {
                    Some(task) => self.take(server, row, Event::NoRoom { task, blocked: busy() }, None),
                    None => Ok(done),
                }
            }
            None => Ok(Done::Unchanged),
        }
    }

    /// A person's word, through a server.
    pub(crate) fn ask(&mut self, server: u32, row: u32, event: Event) -> Checked {
        self.take(server, row, event, None).map(drop)
    }

    pub(crate) fn load(&mut self, server: u32, row: u32, turn: u8) {
        let Some((event, facts_truly)) = self.next_event(server, row, turn) else { return };
        let now = stamp(self.server_time(server));
        let Some(stored) = self.store.row(row) else { return };
        let (generation, base) = (stored.generation, Arc::clone(&stored.rollout));
        self.servers[server as usize].loaded = Some(Loaded { row, generation, base, event, facts_truly, now });
    }

    pub(crate) fn commit_loaded(&mut self, server: u32) -> Checked {
        match self.servers[server as usize].loaded.take() {
            Some(loaded) => self.decide(server, loaded).map(drop),
            None => Ok(()),
        }
    }

    pub(crate) fn take(&mut self, server: u32, row: u32, event: Event, facts_truly: Option<i64>) -> Checked<Done> {
        let now = stamp(self.server_time(server));
        let Some(stored) = self.store.row(row) else { return Ok(Done::Unchanged) };
        let (generation, base) = (stored.generation, Arc::clone(&stored.rollout));
        self.decide(server, Loaded { row, generation, base, event, facts_truly, now })
    }

    fn decide(&mut self, server: u32, loaded: Loaded) -> Checked<Done> {
        let Some(stored) = self.store.row(loaded.row) else { return Ok(Done::Unchanged) };
        let current = stored.generation == loaded.generation;
        if self.store.ledger_stuck || !(current || self.planted(Model::NoCompareAndSet)) {
            self.figures.refused += 1;
            return Ok(Done::Refused);
        }
        self.commits += 1;
        let again = self.commits.is_multiple_of(32).then(|| step(&loaded.base, loaded.event.clone(), loaded.now));
        let taken = step(&loaded.base, loaded.event.clone(), loaded.now);
        if again.is_some_and(|again| again != taken) {
            return violated(16, "the same step gave another result");
        }
        match taken {
            Err(Illegal::Transition { from, to }) => {
                violated(0, format!("the machine wanted to go from {from} to {to}"))
            }
            Err(illegal) => {
                if !matches!(loaded.event, Event::Tick) {
                    self.tell(|| server_name(server), |_| format!("does not take {}: {illegal}", name(&loaded.event)));
                }
                Ok(Done::Illegal)
            }
            Ok((next, effects)) => self.commit(server, &loaded, next, effects),
        }
    }

    /// A server handles a receipt. It stays unhandled while what follows from it has no room.
    pub(crate) fn handle(&mut self, server: u32, nth: u32) -> Checked {
        let length = self.store.receipts.len();
        if length == 0 {
            return Ok(());
        }
        let at = nth as usize % length;
        let receipt = self.store.receipts[at].clone();
        let event = self.store.row(receipt.row).and_then(|row| {
            // A question that was refused says nothing of what it asked about.
            if receipt.of_journal && matches!(*receipt.answer, Answer::Refused { .. }) {
                return None;
            }
            let steps = row.plan.leaves.get(receipt.task as usize).map_or(0, |leaf| leaf.steps.len());
            let word = Word::of(&receipt.answer, steps, receipt.at)?;
            let task = row.rollout.tasks.get(receipt.task as usize)?.id.clone();
            Some(Event::Receipt { task, order: receipt.number, word })
        });
        let done = match event {
            Some(event) => self.take(server, receipt.row, event, None)?,
            None => Done::Unchanged,
        };
        if done != Done::Refused {
            self.store.receipts.remove(at);
        }
        Ok(())
    }

    /// What a pass over a remediation finds first. `turn` rotates what is looked at, as the timers of a server do.
    fn next_event(&mut self, server: u32, row: u32, turn: u8) -> Option<(Event, Option<i64>)> {
        let now = self.server_time(server);
        let hold = self.store.held.as_ref().map(|held| &held.hold);
        let stored = self.store.row(row)?;
        let plain = |event| Some((event, None));
        for class in 0..7 {
            match (class + turn) % 7 {
                0 if stored.rollout.hold.as_ref() != hold => return plain(Event::HoldChanged { hold: hold.cloned() }),
                1 => {
                    if let Some(event) = self.facts_event(stored) {
                        return plain(event);
                    }
                }
                2 => {
                    if let Some(event) = self.reach_event(stored, now) {
                        return plain(event);
                    }
                }
                3 => {
                    if let Some((event, void)) = self.silence_event(row, stored, now) {
                        if let Some((host, position)) = void
                            && let Some(order) = self.store.order(host, position)
                        {
                            order.state = OrderState::Void;
                        }
                        return plain(event);
                    }
                }
                4 => {
                    if let Some((event, truly)) = self.judged_event(row, stored) {
                        return Some((event, Some(truly)));
                    }
                }
                5 => {
                    if let Some(event) = self.surroundings_event(stored) {
                        return plain(event);
                    }
                }
                6 => return plain(Event::Tick),
                _ => {}
            }
        }
        None
    }

    /// What was taken back since the remediation was planned.
    fn surroundings_event(&self, row: &Row) -> Option<Event> {
        if row.rollout.state.is_over() || self.planted(Model::StartTakenBack) {
            return None;
        }
        let mut taken_back: BTreeMap<AssetId, BTreeSet<ItemId>> = BTreeMap::new();
        for at in 0..row.hosts.len() {
            let task = &row.rollout.tasks[at];
            let items: BTreeSet<ItemId> = self.taken_back(row, at).into_iter().collect();
            if !items.is_empty() {
                taken_back.insert(task.asset.clone(), items);
            }
        }
        if taken_back == row.rollout.surroundings.taken_back {
            return None;
        }
        let surroundings = Surroundings { taken_back, ..row.rollout.surroundings.clone() };
        Some(Event::SurroundingsChanged { surroundings: Box::new(surroundings) })
    }

    /// Items of a task that were taken back at this version or a later one.
    pub(crate) fn taken_back(&self, row: &Row, at: usize) -> Vec<ItemId> {
        let host = row.hosts[at] as usize;
        let suppressed = &self.store.queues[host].suppressed;
        let gone =
            |item: &&ItemId| self.hosts[host].bit(item).is_some_and(|bit| suppressed[bit] >= row.versions[at][bit]);
        row.rollout.tasks[at].items.iter().filter(gone).cloned().collect()
    }

    fn facts_event(&self, row: &Row) -> Option<Event> {
        row.rollout.tasks.iter().zip(&row.hosts).find_map(|(task, host)| {
            let at = stamp(self.store.queues[*host as usize].facts?.at);
            let newer = task.facts_at.is_none_or(|known| known < at);
            newer.then(|| Event::Facts { asset: task.asset.clone(), collected_at: at })
        })
    }

    fn reach_event(&self, row: &Row, now: i64) -> Option<Event> {
        row.rollout.tasks.iter().zip(&row.hosts).find_map(|(task, host)| {
            let caller = &self.store.queues[*host as usize].caller;
            let reachable = !caller.frozen && now - caller.seen_at <= PATIENCE;
            (task.away == reachable).then(|| Event::Reach { asset: task.asset.clone(), reachable })
        })
    }

    fn silence_event(&self, row: u32, stored: &Row, now: i64) -> Option<(Event, Option<(u32, u64)>)> {
        let hold = stored.rollout.hold.as_ref().map(|hold| hold.level);
        for (at, task) in stored.rollout.tasks.iter().enumerate() {
            let host = stored.hosts[at];
            let Some(number) = task.awaits() else { continue };
            let number_of = |number| self.store.numbered(host, row, u32::try_from(at).ok()?, number);
            let Some(order) = number_of(number) else { continue };
            let last = order.delivered_at.map_or(order.created_at, |at| at.max(order.created_at));
            let asked = number_of(task.reconcile_order).map_or(i64::MIN, |asked| asked.created_at);
            let passed = self.store.queues[host as usize].caller.position >= order.position;
            let awaited = Awaited {
                order: match order.state {
                    OrderState::Waiting => OrderStands::Waiting,
                    OrderState::Delivered => OrderStands::Delivered,
                    OrderState::Answered => OrderStands::Answered,
                    OrderState::Void => OrderStands::Void,
                },
                passed,
                over: now >= order.finish_before,
                quiet: now.saturating_sub(last.max(asked)) > SILENCE,
            };
            let expired = || Event::LeaseExpired { task: task.id.clone() };
            match task.silence(awaited, hold) {
                Silence::Wait => {}
                Silence::Accepted => {
                    let word = Word::Accepted;
                    return Some((Event::Receipt { task: task.id.clone(), order: number, word }, None));
                }
                Silence::Expired => return Some((expired(), None)),
                Silence::TakenBack => return Some((expired(), Some((host, order.position)))),
            }
        }
        None
    }

    fn judged_event(&self, row: u32, stored: &Row) -> Option<(Event, i64)> {
        stored.rollout.tasks.iter().enumerate().find_map(|(at, task)| {
            let asked = task.round > 0 && task.judged_round != task.round;
            if !asked || !matches!(task.state, T::Succeeded | T::Verified) {
                return None;
            }
            let truth = &stored.truth[at];
            let draw = u64::from(row) * 31 + at as u64 * 7 + u64::from(task.round);
            // The server waits for the checks and for newer facts; that the machine looks too must hold without it.
            let careless = self.chaos && draw % 5 == 1;
            let (_, since) = truth.asked.filter(|(round, _)| *round == task.round)?;
            let checks = truth.checks.filter(|(round, _)| *round == task.round);
            let (_, healthy) = checks.or(careless.then_some((task.round, true)))?;
            let facts = self.store.queues[stored.hosts[at] as usize].facts?;
            let acted_at = task.acted_at;
            let fresh = facts.at >= since && acted_at.is_none_or(|acted_at| stamp(facts.at) > acted_at);
            if !(fresh || careless) {
                return None;
            }
            let unclear = self.chaos && draw % 6 == 2;
            // What a feed no longer knows is gone from the findings, and nothing is fixed.
            let old = acted_at.is_some_and(|acted_at| stamp(facts.at) <= acted_at);
            let fixed = if old { u8::MAX } else { facts.fixed };
            let judgement = Box::new(judge(task, stored.bits[at], fixed, healthy, unclear, stamp(facts.at)));
            Some((Event::Judged { task: task.id.clone(), round: task.round, judgement }, facts.truly))
        })
    }

    /// A server that starts reads back what was stored: nothing may be lost on the way.
    pub(crate) fn reread(&mut self) -> Checked {
        let Some(row) = self.store.live.last().copied() else { return Ok(()) };
        let Some(row) = self.store.row_mut(row) else { return Ok(()) };
        if row.rollout.tasks.len() > 64 {
            return Ok(());
        }
        let read = serde_json::to_string(&*row.rollout).and_then(|text| serde_json::from_str::<Rollout>(&text));
        match read {
            Ok(read) if read == *row.rollout => {
                row.rollout = Arc::new(read);
                Ok(())
            }
            _ => violated(14, "what was stored reads back as something else"),
        }
    }
}

/// What a task waits for when another has what it needs.
fn busy() -> Blocked {
    Blocked::Concurrency { limit: 1 }
}

/// The detectors and the executor's checks, as a judgement.
fn judge(task: &Task, bits: u8, fixed: u8, healthy: bool, unclear: bool, facts_at: jiff::Timestamp) -> Judgement {
    let mut open = false;
    let mut bit = bits;
    let items = task.items.iter().map(|item| {
        let lowest = bit & bit.wrapping_neg();
        bit &= !lowest;
        let gone = fixed & lowest != 0;
        open |= !gone && !task.undone.contains(item);
        let verdict = if gone { ItemVerdict::Fixed } else { ItemVerdict::StillThere { findings: Vec::new() } };
        (item.clone(), verdict)
    });
    let items = items.collect();
    let (outcome, failure) = match () {
        () if unclear => (CheckOutcome::Inconclusive, None),
        () if !healthy => (CheckOutcome::Failed, Some(Failure::Health)),
        () if open => (CheckOutcome::Failed, Some(Failure::StillThere)),
        () => (CheckOutcome::Successful, None),
    };
    Judgement { outcome, failure, checks: Vec::new(), items, facts_at, may_call_clean: true }
}

/// An event in words.
pub(crate) fn name(event: &Event) -> String {
    match event {
        Event::Submitted => "the plan is shown".to_owned(),
        Event::Approved { .. } => "an approval".to_owned(),
        Event::Rejected { .. } => "a rejection".to_owned(),
        Event::Superseded => "a newer plan".to_owned(),
        Event::Tick => "time".to_owned(),
        Event::Receipt { order, word, .. } => format!("the answer to order {order}: {}", word_name(word)),
        Event::Judged { round, judgement, .. } => format!("the verdict of round {round}: {:?}", judgement.outcome),
        Event::Facts { .. } => "facts".to_owned(),
        Event::Reach { reachable, .. } => {
            if *reachable { "an executor is back" } else { "an executor is away" }.to_owned()
        }
        Event::LeaseExpired { .. } => "silence".to_owned(),
        Event::SurroundingsChanged { .. } => "what was taken back since".to_owned(),
        Event::HoldChanged { hold } => if hold.is_some() { "a hold" } else { "the end of the hold" }.to_owned(),
        Event::UndoAsked { items, .. } => format!("a wish to take back {} items", items.len()),
        Event::Cancelled { .. } => "a wish to cancel".to_owned(),
        Event::Dismissed { .. } => "a dismissal".to_owned(),
        #[allow(unreachable_patterns, reason = "the machine may learn more events")]
        other => format!("{other:?}"),
    }
}

fn word_name(word: &Word) -> String {
    match word {
        Word::Failed { message, .. } => format!("failed, {message}"),
        Word::Refused { message, .. } => format!("refused, {message}"),
        Word::UndoFailed { message } => format!("not taken back, {message}"),
        Word::Interrupted { message, .. } => format!("interrupted, {message}"),
        Word::Succeeded { .. } => "succeeded".to_owned(),
        Word::Partly { .. } => "half done".to_owned(),
        Word::Undone { .. } => "taken back".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}
