//! How an executor takes orders and carries them out: the rules of the runner, one move at a time, so that it can die
//! between any two of them. What was journalled, and what follows from that, is the real journal's state machine.

use std::sync::Arc;

use stanch_model::canonical::Digest;
use stanch_model::id::{ExecutorId, ItemId};
use stanch_model::order::{Answer, Grant, Order as Sent, Position, Receipt, Reconciled, StepOutcome, StepReport, Verb};
use stanch_model::plan::{Leaf, step_key};
use stanch_model::remediation::TaskState as T;
use stanch_model::sign::{Signature, Signed, VerifyingKey};
use stanch_runner::{Hold, Record, StepKind, undo_key};

use crate::check::START_WITHIN;
use crate::defects::Model;
use crate::gateway::{NOBODY, words};
use crate::host::{Down, POLLS_AT_ONCE, Up};
use crate::setup::Fate;
use crate::store::{Facts, Order, Said, What};
use crate::world::{Checked, World, host_name, stamp, unstamp, violated};

/// The store's epoch.
const EPOCH: u64 = 1;

/// An order being carried out.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) position: u64,
    /// The step it is at, counted in the order they are done.
    place: u32,
    go_on: bool,
    undo: bool,
    reports: Vec<StepReport>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Between,
    /// The start is durable.
    Begun {
        key: Digest,
    },
    /// The target is changed; that is not durable yet.
    Acted {
        key: Digest,
        outcome: StepOutcome,
    },
}

impl World {
    /// An executor asks for orders, and hands over what the server does not have.
    pub(crate) fn poll(&mut self, host: u32) {
        let now = self.now;
        let host = &mut self.hosts[host as usize];
        let undelivered: Vec<(u64, Said, i64)> = host
            .journal
            .undelivered()
            .iter()
            .map(|signed| {
                let at = unstamp(signed.body.at);
                (signed.body.position.generation, Said::Answer(Arc::new(signed.body.answer.clone())), at)
            })
            .chain(host.readings.iter().map(|(position, (said, at))| (*position, said.clone(), *at)))
            .collect();
        for (position, said, at) in undelivered {
            let known = host
                .up
                .iter()
                .any(|mail| matches!(mail, Up::Receipt { position: on_its_way, .. } if *on_its_way == position));
            if !known {
                host.put_receipt(position, said, at);
            }
        }
        if host.counter >= host.journal.polls_below {
            let below = host.counter + POLLS_AT_ONCE;
            let _ = host.journal.apply(&Record::Polls { below });
        }
        let counter = host.counter;
        host.counter += 1;
        let nonce = (u64::from(host.boot) << 40) | counter;
        host.polled(nonce, now);
        let (position, held) = (host.journal.position.generation, host.held());
        let key = host.key;
        host.put_poll(Up::Poll { key, counter, nonce, position, held });
    }

    /// An answer of a server reaches its executor.
    pub(crate) fn receive(&mut self, host: u32, nth: u32) -> Checked {
        if self.hosts[host as usize].cut {
            return Ok(());
        }
        match self.hosts[host as usize].take_down(nth) {
            Some(Down::Taken { position }) => {
                let host = &mut self.hosts[host as usize];
                let order = host.order_id(position);
                if host.journal.orders.contains_key(&order) {
                    let _ = host.journal.apply(&Record::Delivered { order });
                    host.readings.remove(&position);
                    host.book.remove(&position);
                }
                Ok(())
            }
            Some(Down::Batch { orders, nonce }) => {
                for order in orders {
                    if !self.accept(host, order, nonce)? {
                        break;
                    }
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Whether those after it may be taken.
    fn accept(&mut self, number: u32, order: Order, nonce: u64) -> Checked<bool> {
        let (now, late) = (self.now, self.planted(Model::StartLate));
        let old = self.planted(Model::TakeOldPositions);
        let Some(verb) = self.verb(&order) else {
            // Its remediation is long gone; its place in the queue is passed all the same.
            if order.position > self.hosts[number as usize].journal.position.generation {
                let answer = Answer::Refused { message: "nobody knows of it any more".to_owned(), hint: None };
                self.answer(number, order.position, answer)?;
            }
            return Ok(true);
        };
        let host = &mut self.hosts[number as usize];
        if order.position <= host.journal.position.generation && !old {
            return Ok(true);
        }
        let polled = host.polls.iter().find(|(known, _)| *known == nonce).map(|(_, at)| *at);
        // Nothing after it may be taken before it comes again: positions only rise.
        let Some(polled) = polled else { return Ok(false) };
        if now - polled > START_WITHIN && !late {
            return Ok(false);
        }
        let wall = now + host.skew;
        let id = host.order_id(order.position);
        if wall >= order.finish_before {
            let answer = Answer::Refused { message: "too late".to_owned(), hint: None };
            return self.answer(number, order.position, answer).map(|()| true);
        }
        let start_by = polled - host.booted_at + START_WITHIN;
        let record = Record::Accepted {
            order: Box::new(Sent {
                id: id.clone(),
                executor: executor(),
                position: Position { epoch: EPOCH, generation: order.position },
                nonce,
                start_within_seconds: 60,
                finish_before: stamp(order.finish_before),
                verb,
            }),
            at: stamp(wall),
            boot_id: host.boot.to_string(),
            start_by_ms: u64::try_from(start_by).unwrap_or(0),
        };
        if old {
            host.journal.position.generation = host.journal.position.generation.min(order.position - 1);
            host.journal.orders.remove(&id);
        }
        if let Err(contradiction) = host.journal.apply(&record) {
            return violated(3, contradiction.to_string());
        }
        host.book.insert(order.position, order.clone());
        match &*order.what {
            What::Hold { all } => {
                let hold = Some(Hold { stop_all: *all, reason: "the server says so".to_owned() });
                let _ = host.journal.apply(&Record::Held { hold });
                self.answer(number, order.position, Answer::Held { held: true })?;
            }
            What::Release => {
                let _ = host.journal.apply(&Record::Held { hold: None });
                self.answer(number, order.position, Answer::Held { held: false })?;
            }
            What::Reconcile => {
                let known = self.reconcile(number, &order);
                self.answer(number, order.position, Answer::Reconciled { known })?;
            }
            What::Observe => {
                let facts = Facts { fixed: host.fixed, at: wall, truly: now };
                host.readings.insert(order.position, (Said::Facts(facts), wall));
                host.put_receipt(order.position, Said::Facts(facts), wall);
            }
            _ => host.todo.push_back(order.position),
        }
        Ok(true)
    }

    /// What the journal needs to know of an order; nothing when its remediation is long gone.
    fn verb(&mut self, order: &Order) -> Option<Verb> {
        if order.row == NOBODY {
            return Some(match &*order.what {
                What::Hold { all } => Verb::Hold { stop_all: *all, reason: String::new() },
                What::Release => Verb::Release,
                _ => Verb::Observe { refresh: false, since: None },
            });
        }
        let key = self.key(order.row, order.task, 0, 1)?;
        let row = self.store.row(order.row)?;
        let task = &row.rollout.tasks[order.task as usize];
        let leaf = || Leaf { asset: task.asset.clone(), items: Vec::new(), steps: Vec::new() };
        let grant = |attempt, rest| Grant {
            task: task.id.clone(),
            plan: row.rollout.plan,
            leaf_hash: row.rollout.plan,
            leaf: leaf(),
            epoch: EPOCH,
            attempt,
            rest,
            vouched: None,
        };
        Some(match &*order.what {
            What::Apply { attempt, rest } => Verb::Apply(grant(*attempt, *rest)),
            What::Undo { attempt, items } => {
                Verb::Undo { task: task.id.clone(), grant: grant(1, false), items: items.clone(), attempt: *attempt }
            }
            What::Reconcile => Verb::Reconcile { task: task.id.clone(), key },
            _ => Verb::Verify { task: task.id.clone(), leaf: leaf() },
        })
    }

    fn key(&mut self, row: u32, task: u32, step: u32, attempt: u32) -> Option<Digest> {
        let stored = self.store.row_mut(row)?;
        let asset = stored.rollout.tasks.get(task as usize)?.asset.clone();
        let plan = stored.rollout.plan;
        let make = || step_key(&plan, step, &asset, EPOCH, attempt);
        let known = &mut stored.truth.get_mut(task as usize)?.keys[step as usize];
        Some(if attempt == 1 { *known.get_or_insert_with(make) } else { make() })
    }

    fn knows(&self, host: u32, order: &Order) -> bool {
        let task = self.store.row(order.row).and_then(|row| row.rollout.tasks.get(order.task as usize));
        task.is_some_and(|task| self.hosts[host as usize].journal.knows(&task.id))
    }

    fn reconcile(&mut self, host: u32, order: &Order) -> Reconciled {
        let attempt = self.store.row(order.row).map_or(1, |row| row.rollout.tasks[order.task as usize].attempt);
        let key = self.key(order.row, order.task, 0, attempt);
        let task = self.store.row(order.row).map(|row| row.rollout.tasks[order.task as usize].id.clone());
        match (task, key) {
            (Some(task), Some(key)) => self.hosts[host as usize].journal.reconcile(&task, &key),
            _ => Reconciled::Lost,
        }
    }

    /// Makes an answer durable and sends it.
    fn answer(&mut self, host: u32, position: u64, answer: Answer) -> Checked {
        let now = self.now;
        let host = &mut self.hosts[host as usize];
        let wall = now + host.skew;
        let receipt = Signed {
            body: Receipt {
                order: host.order_id(position),
                executor: executor(),
                position: Position { epoch: EPOCH, generation: position },
                at: stamp(wall),
                journal_head: Digest::from_bytes([0; 32]),
                answer: answer.clone(),
            },
            key: VerifyingKey::from_bytes([0; 32]),
            signature: Signature::from_bytes(Vec::new()),
        };
        if let Err(contradiction) = host.journal.apply(&Record::Answered { receipt: Box::new(receipt) }) {
            return violated(3, contradiction.to_string());
        }
        host.put_receipt(position, Said::Answer(Arc::new(answer)), wall);
        Ok(())
    }

    /// An executor makes its next move.
    pub(crate) fn work(&mut self, number: u32) -> Checked {
        let host = &mut self.hosts[number as usize];
        if host.work.is_none() {
            let Some(position) = host.todo.pop_front() else { return Ok(()) };
            let undo = host.book.get(&position).is_some_and(|order| matches!(*order.what, What::Undo { .. }));
            host.work =
                Some(Work { position, place: 0, go_on: true, undo, reports: Vec::new(), phase: Phase::Between });
        }
        let Some(mut work) = host.work.take() else { return Ok(()) };
        let Some(order) = host.book.get(&work.position).cloned() else { return Ok(()) };
        if self.store.row(order.row).is_none() && order.row != NOBODY {
            let answer = Answer::Refused { message: "nobody knows of it any more".to_owned(), hint: None };
            return self.answer(number, order.position, answer);
        }
        match &*order.what {
            What::Verify { .. } => {
                let host = &mut self.hosts[number as usize];
                let (said, at) = (Said::Checks { healthy: !host.sick }, self.now + host.skew);
                host.readings.insert(order.position, (said.clone(), at));
                host.put_receipt(order.position, said, at);
                Ok(())
            }
            What::Observe => {
                let host = &mut self.hosts[number as usize];
                let at = self.now + host.skew;
                let said = Said::Facts(Facts { fixed: host.fixed, at, truly: self.now });
                host.readings.insert(order.position, (said.clone(), at));
                host.put_receipt(order.position, said, at);
                Ok(())
            }
            What::Apply { rest: true, .. } if !self.knows(number, &order) => {
                self.answer(number, order.position, Answer::Reconciled { known: Reconciled::Lost })
            }
            What::Apply { .. } | What::Undo { .. } => {
                if self.move_on(number, &order, &mut work)? {
                    self.hosts[number as usize].work = Some(work);
                }
                Ok(())
            }
            // Answered when it came; the process died before that was durable.
            What::Reconcile => {
                let known = self.reconcile(number, &order);
                self.answer(number, order.position, Answer::Reconciled { known })
            }
            What::Hold { .. } | What::Release => {
                let held = self.hosts[number as usize].journal.hold.is_some();
                self.answer(number, order.position, Answer::Held { held })
            }
        }
    }

    /// One move of an order that changes the target. Whether there is more to do.
    fn move_on(&mut self, number: u32, order: &Order, work: &mut Work) -> Checked<bool> {
        let steps = u32::from(self.hosts[number as usize].steps);
        match std::mem::replace(&mut work.phase, Phase::Between) {
            Phase::Between if work.place >= steps => {
                let steps = std::mem::take(&mut work.reports);
                let answer = match &*order.what {
                    What::Undo { .. } => Answer::Undone { steps },
                    _ => Answer::Applied { steps },
                };
                self.tell(|| host_name(number), |_| format!("answers: {}", words(order)));
                self.answer(number, order.position, answer)?;
                return Ok(false);
            }
            Phase::Between => match &*order.what {
                What::Undo { attempt, .. } => self.enter_undo(number, order, work, *attempt)?,
                _ => self.enter_apply(number, order, work)?,
            },
            Phase::Begun { key } => {
                let outcome = match &*order.what {
                    What::Undo { items, .. } => self.take_back(number, order, work.place, items),
                    _ => self.change(number, order, work.place),
                };
                work.phase = Phase::Acted { key, outcome };
            }
            Phase::Acted { key, outcome } => self.end(number, order, work, key, outcome)?,
        }
        Ok(true)
    }

    fn report(&self, number: u32, step: u32, key: Digest, outcome: StepOutcome) -> StepReport {
        let host = &self.hosts[number as usize];
        let entry = host.journal.steps.get(&key);
        StepReport {
            step,
            action: action(step).to_owned(),
            key,
            outcome,
            started_at: entry.map(|entry| entry.started_at),
            ended_at: entry.map(|_| stamp(self.now + host.skew)),
            entered: entry.map_or(0, |entry| entry.entered),
            after: None,
            changes: Vec::new(),
            evidence: Vec::new(),
        }
    }

    fn enter_apply(&mut self, number: u32, order: &Order, work: &mut Work) -> Checked {
        let What::Apply { attempt, .. } = *order.what else { return Ok(()) };
        let step = work.place;
        let Some(key) = self.key(order.row, order.task, step, attempt) else { return Ok(()) };
        let (id, fate) = {
            let host = &self.hosts[number as usize];
            (host.order_id(order.position), host.fate)
        };
        if !work.go_on {
            let report = self.report(number, step, key, StepOutcome::NotStarted);
            return self.over(work, report);
        }
        let known = self.hosts[number as usize].journal.steps.get(&key).cloned();
        let refuse = |message: &str| StepOutcome::Refused { message: message.to_owned(), moved: Vec::new() };
        if let Some(entry) = known {
            if entry.undone {
                let report = self.report(number, step, key, refuse("it ran and was taken back"));
                return self.over(work, report);
            }
            if let Some(mut report) = entry.report {
                if entry.order != id && report.outcome == StepOutcome::Done {
                    report.outcome = StepOutcome::Unchanged;
                }
                return self.over(work, report);
            }
            return self.enter_again(number, work, key, step);
        }
        if self.is_late(number, order, false) || fate == Fate::NeverStarts {
            let report = self.report(number, step, key, StepOutcome::NotStarted);
            return self.over(work, report);
        }
        if fate == Fate::Refuses && step == 0 {
            let report = self.report(number, step, key, refuse("the host's own rules forbid it"));
            return self.over(work, report);
        }
        self.check_start(number, order, step)?;
        if !self.planted(Model::StartUnwritten) {
            self.begin(number, order, key, step, StepKind::Apply)?;
        }
        work.phase = Phase::Begun { key };
        Ok(())
    }

    /// After a crash: what goes on does, what does not is told.
    fn enter_again(&mut self, number: u32, work: &mut Work, key: Digest, step: u32) -> Checked {
        let host = &self.hosts[number as usize];
        let stop = host.journal.hold.as_ref().is_some_and(|hold| hold.stop_all);
        if (step > 0 || !host.resumes || stop) && !self.planted(Model::EnterAnything) {
            let report = self.report(number, step, key, StepOutcome::Interrupted { at: "start".to_owned() });
            self.append(number, &Record::StepEnded { report: Box::new(report.clone()) })?;
            return self.over(work, report);
        }
        let at = stamp(self.now + host.skew);
        if step > 0 {
            return violated(3, format!("{} entered a step again that must not be", host_name(number)));
        }
        self.append(number, &Record::StepEntered { key, at })?;
        work.phase = Phase::Begun { key };
        Ok(())
    }

    fn enter_undo(&mut self, number: u32, order: &Order, work: &mut Work, attempt: u32) -> Checked {
        let step = work.place;
        let Some(applied_key) = self.key(order.row, order.task, step, 1) else { return Ok(()) };
        let key = undo_key(&applied_key, attempt);
        let refuse = |message: &str| StepOutcome::Refused { message: message.to_owned(), moved: Vec::new() };
        let Some(task) = self.store.row(order.row).map(|row| row.rollout.tasks[order.task as usize].id.clone()) else {
            return Ok(());
        };
        let journal = &self.hosts[number as usize].journal;
        let at_once = match journal.steps.get(&applied_key) {
            _ if !work.go_on => Some(StepOutcome::NotStarted),
            None if journal.may_have_begun(&task, &applied_key) => {
                Some(refuse("the journal no longer holds what undo needs"))
            }
            None => Some(StepOutcome::Unchanged),
            Some(applied) => match &applied.report {
                None => Some(refuse("the step has not ended yet")),
                Some(done) if done.outcome == StepOutcome::Unchanged && step == 0 => Some(StepOutcome::Unchanged),
                Some(_) => None,
            },
        };
        if let Some(outcome) = at_once {
            let report = self.report(number, step, key, outcome);
            return self.over(work, report);
        }
        match journal.steps.get(&key).cloned() {
            Some(entry) => match entry.report {
                Some(mut report) => {
                    if entry.order != self.hosts[number as usize].order_id(order.position)
                        && report.outcome == StepOutcome::Done
                    {
                        report.outcome = StepOutcome::Unchanged;
                    }
                    self.over(work, report)
                }
                None => self.enter_again(number, work, key, step),
            },
            None if self.is_late(number, order, true) => {
                let report = self.report(number, step, key, StepOutcome::NotStarted);
                self.over(work, report)
            }
            None => {
                let What::Undo { items, .. } = &*order.what else { return Ok(()) };
                let kind = StepKind::Undo { of: applied_key, items: items.clone() };
                let since = self.store.held.as_ref().and_then(|held| held.all_since);
                let first = !self.hosts[number as usize]
                    .journal
                    .has_begun(&self.hosts[number as usize].order_id(order.position));
                if first && since.is_some_and(|since| self.now - since > START_WITHIN) {
                    return violated(5, format!("{} began to take back under a hold of everything", host_name(number)));
                }
                self.begin(number, order, key, step, kind)?;
                work.phase = Phase::Begun { key };
                Ok(())
            }
        }
    }

    fn over(&self, work: &mut Work, report: StepReport) -> Checked {
        work.go_on &= match report.outcome {
            StepOutcome::Done | StepOutcome::Unchanged => true,
            // What cannot be taken back at all does not keep the rest from it.
            StepOutcome::Refused { .. } => work.undo,
            _ => false,
        };
        work.place += 1;
        work.reports.push(report);
        Ok(())
    }

    /// Whether a hold, the end of its time or a restart keeps a step from starting.
    fn is_late(&self, number: u32, order: &Order, undo: bool) -> bool {
        let host = &self.hosts[number as usize];
        let held = host.journal.hold.as_ref().is_some_and(|hold| hold.stop_all || !undo);
        let id = host.order_id(order.position);
        let missed = !host.journal.has_begun(&id)
            && host.journal.orders.get(&id).is_none_or(|entry| {
                let since_boot = u64::try_from(self.now - host.booted_at).unwrap_or(u64::MAX);
                entry.boot_id != host.boot.to_string() || since_boot > entry.start_by_ms
            });
        let missed = missed && !self.planted(Model::StartLate);
        held || missed || (!undo && self.now + host.skew >= order.finish_before)
    }

    /// A step starts: the truth of it, and what must hold then.
    fn check_start(&mut self, number: u32, order: &Order, step: u32) -> Checked {
        self.figures.starts += 1;
        let name = host_name(number);
        let id = self.hosts[number as usize].order_id(order.position);
        let first = !self.hosts[number as usize].journal.has_begun(&id);
        let (now, since) = (self.now, self.store.held.as_ref().map(|held| held.since));
        let Some(row) = self.store.row_mut(order.row) else { return violated(6, format!("{name} acts for nobody")) };
        let state = row.rollout.tasks[order.task as usize].state;
        let truth = &mut row.truth[order.task as usize];
        truth.starts[step as usize] += 1;
        if truth.starts[step as usize] > 1 {
            return violated(3, format!("step {} of R{} started a second time on {name}", step + 1, order.row));
        }
        if !row.approved {
            return violated(6, format!("{name} began what nobody approved"));
        }
        if !state.holds_lane() || state == T::Undoing {
            return violated(4, format!("{name} began a task that is {}", state.name()));
        }
        if first && since.is_some_and(|since| now - since > START_WITHIN) {
            let late = (now - since.unwrap_or(now)) / 1_000;
            return violated(5, format!("{name} began {late} s after a hold"));
        }
        Ok(())
    }

    fn begin(&mut self, number: u32, order: &Order, key: Digest, step: u32, kind: StepKind) -> Checked {
        let host = &self.hosts[number as usize];
        let Some(row) = self.store.row(order.row) else { return Ok(()) };
        let record = Record::StepStarted {
            key,
            order: host.order_id(order.position),
            task: row.rollout.tasks[order.task as usize].id.clone(),
            step,
            leaf: row.rollout.plan,
            action: action(step).to_owned(),
            kind,
            at: stamp(self.now + host.skew),
        };
        self.tell(
            || host_name(number),
            |_| format!("begins {} of R{}, task {}", action(step), order.row, order.task + 1),
        );
        self.append(number, &record)
    }

    fn append(&mut self, number: u32, record: &Record) -> Checked {
        match self.hosts[number as usize].journal.apply(record) {
            Ok(()) => Ok(()),
            Err(contradiction) => violated(3, contradiction.to_string()),
        }
    }

    /// The target is changed.
    fn change(&mut self, number: u32, order: &Order, step: u32) -> StepOutcome {
        let Some(row) = self.store.row(order.row) else { return StepOutcome::Unchanged };
        let bits = row.bits[order.task as usize];
        let host = &mut self.hosts[number as usize];
        let failed = || StepOutcome::Failed { message: "exit 100".to_owned(), hint: None };
        if step > 0 {
            return StepOutcome::Done;
        }
        let done = match host.fate {
            Fate::Fails | Fate::Lies => 0,
            Fate::Breaks => bits & bits.wrapping_neg(),
            _ => bits,
        };
        host.fixed |= done;
        for bit in 0..host.owners.len() {
            if done >> bit & 1 == 1 {
                host.owners[bit] = Some((order.row, order.task));
            }
        }
        host.sick = host.fate == Fate::Sickens;
        if matches!(host.fate, Fate::Fails | Fate::Breaks) { failed() } else { StepOutcome::Done }
    }

    /// The target is put back.
    fn take_back(&mut self, number: u32, order: &Order, step: u32, items: &[ItemId]) -> StepOutcome {
        let host = &mut self.hosts[number as usize];
        if step > 0 {
            return StepOutcome::Done;
        }
        if host.fate == Fate::Sticks {
            return StepOutcome::Failed { message: "the old version is gone".to_owned(), hint: None };
        }
        let mine = Some((order.row, order.task));
        let bits: Vec<usize> = items.iter().filter_map(|item| host.bit(item)).collect();
        if bits.iter().any(|bit| host.owners[*bit].is_some() && host.owners[*bit] != mine) {
            return StepOutcome::Refused { message: "somebody else changed it since".to_owned(), moved: Vec::new() };
        }
        for bit in bits.into_iter().filter(|bit| host.owners[*bit] == mine).collect::<Vec<_>>() {
            host.owners[bit] = None;
            host.fixed &= !(1 << bit);
        }
        host.sick = false;
        StepOutcome::Done
    }

    /// A step is over, and that is durable.
    fn end(&mut self, number: u32, order: &Order, work: &mut Work, key: Digest, outcome: StepOutcome) -> Checked {
        let step = work.place;
        if self.planted(Model::StartUnwritten) && !self.hosts[number as usize].journal.steps.contains_key(&key) {
            self.begin(number, order, key, step, StepKind::Apply)?;
        }
        let report = self.report(number, step, key, outcome);
        self.append(number, &Record::StepEnded { report: Box::new(report.clone()) })?;
        let now = self.now;
        if let Some(row) = self.store.row_mut(order.row) {
            row.truth[order.task as usize].ended_at = Some(now);
        }
        self.over(work, report)
    }
}

const fn action(step: u32) -> &'static str {
    if step == 0 { "package.upgrade" } else { "service.restart" }
}

fn executor() -> ExecutorId {
    ExecutorId::from_entropy([3; 10])
}
