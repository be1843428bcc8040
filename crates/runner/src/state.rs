//! What the journal knows, as a pure function of its records: no file, no clock. Whatever was written before a crash,
//! reading it again gives this state, and the state alone says what may start.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_action::Checkpoint;
use stanch_model::canonical::{Digest, digest};
use stanch_model::id::{OrderId, TaskId};
use stanch_model::order::{Answer, Order, Position, Receipt, Reconciled, StepOutcome, StepReport, Verb};
use stanch_model::sign::Signed;

use crate::record::{Hold, Record, StepKind};

/// Ended steps remembered whole, with what undo needs. The oldest beyond are remembered by key only.
pub(crate) const MAX_STEPS: usize = 2_048;
/// Keys remembered of forgotten steps. Beyond, what is not known may have been: [`JournalState::reconcile`] then says
/// lost.
const MAX_KEYS: usize = 16_384;

/// The key under which an applied step is taken back: `attempt` tells one undo from another of the same step.
pub fn undo_key(applied: &Digest, attempt: u32) -> Digest {
    // A digest and an integer always have a canonical form.
    digest("stanch/undo-key/v1", &(applied, attempt)).unwrap_or(Digest::from_bytes([0; 32]))
}

/// An order that was taken and whose answer the server does not have yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderEntry {
    /// The order; absent when it was refused.
    pub order: Option<Order>,
    /// When it was taken.
    pub at: Timestamp,
    /// The boot in which it was taken.
    pub boot_id: String,
    /// It must start before this, in milliseconds since that boot.
    pub start_by_ms: u64,
    /// The answer, once there is one.
    pub receipt: Option<Signed<Receipt>>,
}

/// A step that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepEntry {
    /// The order under which it began.
    pub order: OrderId,
    /// The task.
    pub task: TaskId,
    /// Its number in the leaf.
    pub step: u32,
    /// The leaf's hash.
    pub leaf: Digest,
    /// The action.
    pub action: String,
    /// Act or undo.
    pub kind: StepKind,
    /// When it began.
    pub started_at: Timestamp,
    /// How often it was entered.
    pub entered: u32,
    /// The safe points reached, oldest first.
    pub checkpoints: Vec<Checkpoint>,
    /// How it ended; absent while it runs or after a crash.
    pub report: Option<StepReport>,
    /// Somebody has begun to take it back: it never counts as done again.
    pub undone: bool,
    /// Rises with every start, to know the oldest.
    pub serial: u64,
}

/// A record that cannot follow the ones before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistent {
    /// The position is not above the last.
    #[error("order {order} stands at a position that was passed")]
    PositionPassed {
        /// The order.
        order: OrderId,
    },
    /// The order was never taken.
    #[error("order {order} was never accepted")]
    UnknownOrder {
        /// The order.
        order: OrderId,
    },
    /// The order has its answer.
    #[error("order {order} is answered already")]
    AlreadyAnswered {
        /// The order.
        order: OrderId,
    },
    /// The key was used: a second start.
    #[error("step {key} has begun already")]
    AlreadyBegun {
        /// The key.
        key: Digest,
    },
    /// The step never began.
    #[error("step {key} has not begun")]
    NotBegun {
        /// The key.
        key: Digest,
    },
    /// The step is over.
    #[error("step {key} is over")]
    Over {
        /// The key.
        key: Digest,
    },
    /// The poll counter would go back.
    #[error("the poll counter would go back")]
    CounterBack,
    /// The serial of issuers would not rise.
    #[error("the serial of issuers would not rise")]
    IssuerBack,
}

/// Everything the journal knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalState {
    /// The highest position taken.
    pub position: Position,
    /// The position of the first order ever taken: one above 1 says that there was a journal before this one.
    pub first: Option<Position>,
    /// Poll counters below this may have been used.
    pub polls_below: u64,
    /// The highest serial of an issuer that the root certified, as far as was heard.
    #[serde(default)]
    pub issuer: u64,
    /// The hold in force.
    pub hold: Option<Hold>,
    /// Orders whose answers the server does not have.
    pub orders: BTreeMap<OrderId, OrderEntry>,
    /// Steps that have begun, by key.
    pub steps: BTreeMap<Digest, StepEntry>,
    /// Keys of steps of which nothing else is kept.
    pub forgotten: BTreeSet<Digest>,
    /// Even keys were forgotten.
    pub horizon: bool,
    /// Counts starts.
    pub serial: u64,
}

impl JournalState {
    /// Whether `record` may follow.
    ///
    /// # Errors
    /// When it contradicts what is known.
    pub fn allows(&self, record: &Record) -> Result<(), Inconsistent> {
        match record {
            Record::Snapshot { .. } | Record::Held { .. } => Ok(()),
            Record::Polls { below } if *below < self.polls_below => Err(Inconsistent::CounterBack),
            Record::Polls { .. } => Ok(()),
            Record::Issuer { serial } if *serial <= self.issuer => Err(Inconsistent::IssuerBack),
            Record::Issuer { .. } => Ok(()),
            Record::Accepted { order, .. }
                if order.position <= self.position || self.orders.contains_key(&order.id) =>
            {
                Err(Inconsistent::PositionPassed { order: order.id.clone() })
            }
            Record::Accepted { .. } => Ok(()),
            Record::StepStarted { key, order, kind, .. } => {
                if self.steps.contains_key(key) || self.forgotten.contains(key) {
                    return Err(Inconsistent::AlreadyBegun { key: *key });
                }
                if let StepKind::Undo { of, .. } = kind
                    && !self.steps.contains_key(of)
                {
                    return Err(Inconsistent::NotBegun { key: *of });
                }
                self.open_order(order).map(drop)
            }
            Record::StepEntered { key, .. } | Record::Checkpoint { key, .. } => self.running_step(key),
            Record::StepEnded { report } => self.running_step(&report.key),
            Record::Answered { receipt } => match self.orders.get(&receipt.body.order) {
                Some(entry) if entry.receipt.is_some() => {
                    Err(Inconsistent::AlreadyAnswered { order: receipt.body.order.clone() })
                }
                Some(_) => Ok(()),
                // Refused when it came: the answer is the first that is heard of it.
                None if receipt.body.position > self.position => Ok(()),
                None => Err(Inconsistent::PositionPassed { order: receipt.body.order.clone() }),
            },
            Record::Delivered { order } if self.orders.contains_key(order) => Ok(()),
            Record::Delivered { order } => Err(Inconsistent::UnknownOrder { order: order.clone() }),
        }
    }

    /// Takes a record in.
    ///
    /// # Errors
    /// When it may not follow; nothing has changed then.
    pub fn apply(&mut self, record: &Record) -> Result<(), Inconsistent> {
        self.allows(record)?;
        match record {
            Record::Snapshot { state } => *self = (**state).clone(),
            Record::Polls { below } => self.polls_below = *below,
            Record::Issuer { serial } => self.issuer = *serial,
            Record::Accepted { order, at, boot_id, start_by_ms } => {
                self.passed(order.position);
                let entry = OrderEntry {
                    order: Some((**order).clone()),
                    at: *at,
                    boot_id: boot_id.clone(),
                    start_by_ms: *start_by_ms,
                    receipt: None,
                };
                self.orders.insert(order.id.clone(), entry);
            }
            Record::StepStarted { key, order, task, step, leaf, action, kind, at } => {
                if let StepKind::Undo { of, .. } = kind
                    && let Some(applied) = self.steps.get_mut(of)
                {
                    applied.undone = true;
                }
                self.serial += 1;
                let entry = StepEntry {
                    order: order.clone(),
                    task: task.clone(),
                    step: *step,
                    leaf: *leaf,
                    action: action.clone(),
                    kind: kind.clone(),
                    started_at: *at,
                    entered: 1,
                    checkpoints: Vec::new(),
                    report: None,
                    undone: false,
                    serial: self.serial,
                };
                self.steps.insert(*key, entry);
            }
            Record::StepEntered { key, .. } => {
                if let Some(step) = self.steps.get_mut(key) {
                    step.entered = step.entered.saturating_add(1);
                }
            }
            Record::Checkpoint { key, checkpoint } => {
                if let Some(step) = self.steps.get_mut(key) {
                    step.checkpoints.push(checkpoint.clone());
                }
            }
            Record::StepEnded { report } => {
                if let Some(step) = self.steps.get_mut(&report.key) {
                    step.report = Some((**report).clone());
                }
            }
            Record::Answered { receipt } => {
                self.passed(receipt.body.position);
                let entry = self.orders.entry(receipt.body.order.clone()).or_insert_with(|| OrderEntry {
                    order: None,
                    at: receipt.body.at,
                    boot_id: String::new(),
                    start_by_ms: 0,
                    receipt: None,
                });
                entry.receipt = Some((**receipt).clone());
            }
            Record::Delivered { order } => {
                self.orders.remove(order);
            }
            Record::Held { hold } => self.hold.clone_from(hold),
        }
        Ok(())
    }

    fn passed(&mut self, position: Position) {
        self.position = self.position.max(position);
        self.first.get_or_insert(position);
    }

    fn open_order(&self, id: &OrderId) -> Result<&OrderEntry, Inconsistent> {
        match self.orders.get(id) {
            None => Err(Inconsistent::UnknownOrder { order: id.clone() }),
            Some(entry) if entry.receipt.is_some() => Err(Inconsistent::AlreadyAnswered { order: id.clone() }),
            Some(entry) => Ok(entry),
        }
    }

    fn running_step(&self, key: &Digest) -> Result<(), Inconsistent> {
        match self.steps.get(key) {
            None => Err(Inconsistent::NotBegun { key: *key }),
            Some(step) if step.report.is_some() => Err(Inconsistent::Over { key: *key }),
            Some(_) => Ok(()),
        }
    }

    /// Whether a step of this order has begun.
    pub fn has_begun(&self, order: &OrderId) -> bool {
        self.steps.values().any(|step| step.order == *order)
    }

    /// Orders without an answer, in the order of their positions.
    pub fn unfinished(&self) -> Vec<&Order> {
        let mut open: Vec<&Order> = self
            .orders
            .values()
            .filter(|entry| entry.receipt.is_none())
            .filter_map(|entry| entry.order.as_ref())
            .collect();
        open.sort_by_key(|order| order.position);
        open
    }

    /// Answers that the server does not have, in the order of their positions.
    pub fn undelivered(&self) -> Vec<&Signed<Receipt>> {
        let mut open: Vec<&Signed<Receipt>> = self.orders.values().filter_map(|entry| entry.receipt.as_ref()).collect();
        open.sort_by_key(|receipt| receipt.body.position);
        open
    }

    /// Whether a step of this task was ever entered here.
    pub fn knows(&self, task: &TaskId) -> bool {
        self.steps.values().any(|step| step.task == *task && step.kind == StepKind::Apply)
    }

    /// What is known of a task whose first step has this key.
    pub fn reconcile(&self, task: &TaskId, key: &Digest) -> Reconciled {
        let works_on = |order: &Order| match &order.verb {
            Verb::Apply(grant) => grant.task == *task,
            Verb::Undo { task: undone, .. } => undone == task,
            _ => false,
        };
        if self.unfinished().into_iter().any(works_on) {
            return Reconciled::Running;
        }
        // An answer that is still on its way also tells which steps were not begun.
        let answers = self.orders.values().filter(|entry| entry.order.as_ref().is_some_and(works_on));
        let newest = answers.filter_map(|entry| entry.receipt.as_ref()).max_by_key(|receipt| receipt.body.position);
        if let Some(Answer::Applied { steps }) = newest.map(|receipt| &receipt.body.answer)
            && steps.iter().any(|step| step.outcome != StepOutcome::NotStarted)
        {
            return Reconciled::Over { steps: steps.clone() };
        }
        let mut steps: Vec<&StepEntry> =
            self.steps.values().filter(|step| step.task == *task && step.kind == StepKind::Apply).collect();
        steps.sort_by_key(|step| step.serial);
        if !steps.is_empty() {
            return Reconciled::Over { steps: steps.into_iter().filter_map(|step| step.report.clone()).collect() };
        }
        if self.may_have_begun(task, key) { Reconciled::Lost } else { Reconciled::NotStarted }
    }

    /// Whether a step of which nothing is kept may have begun all the same: only its key is kept, or the journal does
    /// not go back to the first order and knows nothing of the task.
    pub fn may_have_begun(&self, task: &TaskId, key: &Digest) -> bool {
        let whole = self.first.is_none_or(|first| first.generation <= 1) && !self.horizon;
        self.forgotten.contains(key) || (!whole && self.steps.values().all(|step| step.task != *task))
    }

    /// The same state without what nobody needs any more, and the keys whose vaults can go: steps beyond
    /// 2,048 lose everything but their key, answered ones their evidence.
    #[must_use]
    pub fn compacted(&self) -> (Self, Vec<Digest>) {
        let mut state = self.clone();
        let open: BTreeSet<OrderId> = state.unfinished().into_iter().map(|order| order.id.clone()).collect();
        let mut ended: Vec<(u64, Digest)> = state
            .steps
            .iter()
            .filter(|(_, step)| step.report.is_some() && !open.contains(&step.order))
            .map(|(key, step)| (step.serial, *key))
            .collect();
        ended.sort_unstable();
        let surplus = state.steps.len().saturating_sub(MAX_STEPS).min(ended.len());
        let gone: Vec<Digest> = ended.iter().take(surplus).map(|(_, key)| *key).collect();
        for key in &gone {
            state.steps.remove(key);
            state.forgotten.insert(*key);
        }
        for (_, key) in ended.iter().skip(surplus) {
            if let Some(report) = state.steps.get_mut(key).and_then(|step| step.report.as_mut()) {
                report.evidence.clear();
            }
        }
        while state.forgotten.len() > MAX_KEYS {
            state.forgotten.pop_first();
            state.horizon = true;
        }
        (state, gone)
    }
}
