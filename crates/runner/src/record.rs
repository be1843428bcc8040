//! What the journal writes: one record for each thing that must not be forgotten.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_action::Checkpoint;
use stanch_model::canonical::Digest;
use stanch_model::id::{ItemId, OrderId, TaskId};
use stanch_model::order::{Order, Receipt, StepReport};
use stanch_model::sign::Signed;

use crate::state::JournalState;

/// Whether a step acts or takes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StepKind {
    /// Carries out a planned step.
    Apply,
    /// Takes back what was done under the key `of`.
    Undo {
        /// The key of the applied step.
        of: Digest,
        /// The items that are taken back.
        items: Vec<ItemId>,
    },
}

/// A hold in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// What runs stops at its next safe point.
    pub stop_all: bool,
    /// Why.
    pub reason: String,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// Everything before, in one: the first record of a compacted journal.
    Snapshot {
        /// The state.
        state: Box<JournalState>,
    },
    /// Poll counters below this may have been used.
    Polls {
        /// The first counter not yet used.
        below: u64,
    },
    /// The root has certified an issuer with this serial: none before it counts any more.
    Issuer {
        /// The serial.
        serial: u64,
    },
    /// An order was checked and taken.
    Accepted {
        /// The order.
        order: Box<Order>,
        /// When.
        at: Timestamp,
        /// The boot in which it was taken.
        boot_id: String,
        /// It must start before this, in milliseconds since that boot.
        start_by_ms: u64,
    },
    /// A step begins.
    StepStarted {
        /// Its key, never seen before.
        key: Digest,
        /// The order.
        order: OrderId,
        /// The task.
        task: TaskId,
        /// Its number in the leaf.
        step: u32,
        /// The leaf's hash.
        leaf: Digest,
        /// The action's name.
        action: String,
        /// Act or undo.
        kind: StepKind,
        /// When.
        at: Timestamp,
    },
    /// A step that had begun is entered again after a crash.
    StepEntered {
        /// Its key.
        key: Digest,
        /// When.
        at: Timestamp,
    },
    /// A step has reached a safe point.
    Checkpoint {
        /// Its key.
        key: Digest,
        /// The point and what is needed to go on from it.
        checkpoint: Checkpoint,
    },
    /// A step is over.
    StepEnded {
        /// The report, with the key.
        report: Box<StepReport>,
    },
    /// An order is answered; from now on the answer is only repeated.
    Answered {
        /// The receipt.
        receipt: Box<Signed<Receipt>>,
    },
    /// The server has the answer.
    Delivered {
        /// The order.
        order: OrderId,
    },
    /// A hold begins, changes or ends.
    Held {
        /// The hold in force from now on.
        hold: Option<Hold>,
    },
}
