//! What a step asks for: everything that is committed together with it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_model::id::{ActorId, AssetId, ItemId, TaskId};
use stanch_model::remediation::{RemediationState, TaskState};
use stanch_model::terms::Role;

use super::missed::Missed;
use super::share::{Settled, Share};
use crate::blocked::Blocked;
use crate::breaker;
use crate::plan::Replan;

/// What has to be done together with the commit of the step, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// The remediation went into this state. One step may pass through several; each is a transition of its own in the
    /// record.
    Entered {
        /// The state.
        state: RemediationState,
    },
    /// A task went into this state.
    TaskEntered {
        /// The task.
        task: TaskId,
        /// The state.
        state: TaskState,
    },
    /// Take the asset's lane and, unless it is for an undo, a share of the budgets. When it cannot be had, the step is
    /// not committed and the task waits.
    Reserve {
        /// The task.
        task: TaskId,
        /// For an undo, which no budget stops.
        undo: bool,
        /// The shares to take, in the transaction that commits the step.
        shares: Vec<Share>,
    },
    /// Give the lane back, and settle the shares.
    Release {
        /// The task.
        task: TaskId,
        /// What becomes of each.
        shares: Vec<Settled>,
    },
    /// Write the intent to the ledger.
    RecordIntent {
        /// The task.
        task: TaskId,
        /// Its attempt.
        attempt: u32,
    },
    /// Send the order to apply the leaf.
    DispatchApply {
        /// The task.
        task: TaskId,
        /// The order's number.
        order: u32,
        /// The attempt, for the grant.
        attempt: u32,
        /// Whether a part of it was carried out.
        rest: bool,
    },
    /// Send the order to take items back.
    DispatchUndo {
        /// The task.
        task: TaskId,
        /// The order's number.
        order: u32,
        /// Which undo.
        undo_attempt: u32,
        /// The items, all of them spelled out.
        items: Vec<ItemId>,
    },
    /// Ask the journal what became of the order.
    Reconcile {
        /// The task.
        task: TaskId,
        /// The order's number.
        order: u32,
    },
    /// Ask for facts.
    RequestFacts {
        /// The asset.
        asset: AssetId,
    },
    /// Run the checks and judge with facts newer than the act.
    Verify {
        /// The task.
        task: TaskId,
        /// The round.
        round: u32,
    },
    /// Keep these items from being fixed again by themselves.
    Suppress {
        /// Where.
        asset: AssetId,
        /// The items.
        items: Vec<ItemId>,
        /// Who had them taken back; a failure when absent.
        by: Option<ActorId>,
    },
    /// These items are done.
    Close {
        /// The items.
        items: Vec<ItemId>,
    },
    /// This leaf has to be planned again before it runs.
    NeedsReplan {
        /// The task.
        task: TaskId,
        /// Why.
        why: Replan,
    },
    /// A window shut before a target began.
    Missed {
        /// The task.
        task: TaskId,
        /// Which window, and what it waited for.
        missed: Missed,
        /// How many it has missed in a row.
        in_a_row: u32,
        /// Whether its policy has people told.
        tell: bool,
    },
    /// Tell a breaker what became of something.
    Breaker {
        /// Its scope, as [`crate::breaker::scope`] names it.
        scope: String,
        /// What became of it.
        word: breaker::Word,
    },
    /// Ask people of this role whether what was done may stay.
    AskConfirmation {
        /// The role.
        role: Role,
        /// Until when.
        due: Timestamp,
        /// They were asked before.
        reminder: bool,
    },
    /// Accept these items as a risk: nothing acts on them again until the exception ends.
    Except {
        /// The items.
        items: Vec<ItemId>,
        /// Who.
        by: ActorId,
    },
    /// Tell people that it waits for something.
    Notify {
        /// For what.
        blocked: Blocked,
    },
}
