//! A model of the store, as far as decisions rest on it: rows with generations, lanes, shares of budgets, queues of
//! orders with positions, receipts, facts, the hold. A commit happens whole or not at all; see `commit.rs`.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;
use stanch_engine::rollout::{Attempts, Hold, Rollout};
use stanch_model::canonical::Digest;
use stanch_model::id::{ItemId, TaskId};
use stanch_model::order::Answer;
use stanch_model::plan::Plan;

/// What an order asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Apply { attempt: u32, rest: bool },
    Undo { attempt: u32, items: Vec<ItemId> },
    Reconcile,
    Verify { round: u32 },
    Observe,
    Hold { all: bool },
    Release,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OrderState {
    Waiting,
    Delivered,
    Answered,
    Void,
}

/// An order in its executor's queue. Orders about no task have neither row nor number.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) position: u64,
    pub(crate) row: u32,
    pub(crate) task: u32,
    pub(crate) number: u32,
    pub(crate) what: Arc<What>,
    pub(crate) state: OrderState,
    /// On the clock of the server that made it, in milliseconds.
    pub(crate) created_at: i64,
    pub(crate) delivered_at: Option<i64>,
    pub(crate) finish_before: i64,
}

/// What an executor answers.
#[derive(Debug, Clone)]
pub(crate) enum Said {
    Answer(Arc<Answer>),
    Facts(Facts),
    Checks { healthy: bool },
}

/// Facts of a host: which of its items are not open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) fixed: u8,
    /// On the executor's clock, in milliseconds.
    pub(crate) at: i64,
    /// The true time.
    pub(crate) truly: i64,
}

/// What is true of a task, whatever anybody says.
#[derive(Debug, Clone, Default)]
pub(crate) struct TaskTruth {
    /// It has a share of the budget.
    pub(crate) shares: bool,
    /// The intent is in the ledger.
    pub(crate) intent: bool,
    /// Orders to apply it.
    pub(crate) sent: u32,
    /// Starts of each step.
    pub(crate) starts: [u32; 2],
    /// The round of the newest good judgement on newer facts.
    pub(crate) proven: Option<u32>,
    /// When a step last ended, in true milliseconds.
    pub(crate) ended_at: Option<i64>,
    /// The verification that was asked for: its round, when, and the answer of the checks.
    pub(crate) asked: Option<(u32, i64)>,
    pub(crate) checks: Option<(u32, bool)>,
    /// Keys of its steps.
    pub(crate) keys: [Option<Digest>; 2],
}

/// A remediation.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) plan: Plan,
    pub(crate) rollout: Arc<Rollout>,
    pub(crate) generation: u64,
    /// The host of each task.
    pub(crate) hosts: Vec<u32>,
    /// The items of each task, as bits of its host's.
    pub(crate) bits: Vec<u8>,
    pub(crate) truth: Vec<TaskTruth>,
    /// A person approved exactly this hash.
    pub(crate) approved: bool,
    /// Shares of its budget that are taken.
    pub(crate) reserved: u32,
    /// When each wave began to bake, in true milliseconds.
    pub(crate) baking: Vec<Option<i64>>,
    /// The version of each item of its host that a task closes.
    pub(crate) versions: Vec<[u32; ITEMS]>,
    /// A person asked for it, so that earlier attempts do not count.
    pub(crate) by_hand: bool,
}

impl Row {
    pub(crate) fn task(&self, id: &TaskId) -> Option<usize> {
        self.rollout.tasks.iter().position(|task| task.id == *id)
    }
}

/// What a server knows of an executor.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    pub(crate) key: u32,
    pub(crate) position: u64,
    pub(crate) counter: u64,
    pub(crate) seen_at: i64,
    pub(crate) frozen: bool,
    pub(crate) trusted_anew: bool,
}

/// The queue of one executor, and what is known of its host.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) orders: VecDeque<Order>,
    pub(crate) last: u64,
    pub(crate) caller: Caller,
    pub(crate) facts: Option<Facts>,
    /// Who has the lane: a row and a task.
    pub(crate) lane: Option<(u32, u32)>,
    /// The version of each item up to which it was taken back; 0 for none.
    pub(crate) suppressed: [u32; ITEMS],
    pub(crate) attempts: [Attempts; ITEMS],
    /// True time of the last attempt at each item.
    pub(crate) attempted: [Option<i64>; ITEMS],
}

/// Items of each host.
pub(crate) const ITEMS: usize = 3;

/// A receipt that nobody has handled.
#[derive(Debug, Clone)]
pub(crate) struct Receipt {
    pub(crate) row: u32,
    pub(crate) task: u32,
    pub(crate) number: u32,
    /// It answers a question to the journal.
    pub(crate) of_journal: bool,
    pub(crate) answer: Arc<Answer>,
    pub(crate) at: Timestamp,
}

/// The hold in force, since when (true time).
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) hold: Hold,
    pub(crate) since: i64,
    /// Since when it stops everything.
    pub(crate) all_since: Option<i64>,
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) rows: Vec<Option<Row>>,
    /// Rows that still matter, oldest first.
    pub(crate) live: Vec<u32>,
    pub(crate) queues: Vec<Queue>,
    pub(crate) receipts: VecDeque<Receipt>,
    pub(crate) held: Option<Held>,
    pub(crate) ledger_stuck: bool,
}

impl Store {
    pub(crate) fn row(&self, at: u32) -> Option<&Row> {
        self.rows.get(at as usize)?.as_ref()
    }

    pub(crate) fn row_mut(&mut self, at: u32) -> Option<&mut Row> {
        self.rows.get_mut(at as usize)?.as_mut()
    }

    /// Puts an order at the end of a queue and forgets those at its start that are done with.
    pub(crate) fn push(&mut self, host: u32, order: Order) {
        let queue = &mut self.queues[host as usize];
        while queue.orders.front().is_some_and(|old| {
            matches!(old.state, OrderState::Answered | OrderState::Void) && old.position + 16 < queue.last
        }) {
            queue.orders.pop_front();
        }
        queue.last += 1;
        queue.orders.push_back(Order { position: queue.last, ..order });
    }

    pub(crate) fn order(&mut self, host: u32, position: u64) -> Option<&mut Order> {
        let queue = &mut self.queues[host as usize];
        let first = queue.orders.front()?.position;
        queue.orders.get_mut(usize::try_from(position.checked_sub(first)?).ok()?)
    }

    /// The order of a task with this number, newest first.
    pub(crate) fn numbered(&self, host: u32, row: u32, task: u32, number: u32) -> Option<&Order> {
        let orders = &self.queues[host as usize].orders;
        orders.iter().rev().find(|order| order.row == row && order.task == task && order.number == number)
    }
}
