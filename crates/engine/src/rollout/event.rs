//! What can happen to a rollout.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_model::canonical::Digest;
use stanch_model::id::{ActorId, AssetId, ItemId, TaskId};
use stanch_model::terms::Role;

use super::{ConfirmAnswer, Hold, Surroundings, Word};
use crate::blocked::Blocked;
use crate::verify::Judgement;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The plan was shown to those who may approve it.
    Submitted,
    /// All approvals that are needed are in.
    Approved {
        /// The hash that was approved.
        plan: Digest,
        /// The last who approved.
        by: ActorId,
        /// Unless something is begun before, the approval is void then.
        #[serde(default)]
        until: Option<Timestamp>,
    },
    /// The rules alone have it start: no approval is needed.
    Granted {
        /// The hash that was decided.
        plan: Digest,
    },
    /// An approver said no.
    Rejected {
        /// Who.
        by: ActorId,
    },
    /// A newer plan took its place.
    Superseded,
    /// Time passed, or a commit was nudged.
    Tick,
    /// The executor's word on an order.
    Receipt {
        /// The task.
        task: TaskId,
        /// The order it answers, as its effect named it.
        order: u32,
        /// The word.
        word: Word,
    },
    /// A verification was judged.
    Judged {
        /// The task.
        task: TaskId,
        /// Its round, as its effect named it.
        round: u32,
        /// The judgement.
        judgement: Box<Judgement>,
    },
    /// Facts of an asset arrived.
    Facts {
        /// The asset.
        asset: AssetId,
        /// When they were read.
        collected_at: Timestamp,
    },
    /// An executor went out of reach, or came back.
    Reach {
        /// The asset.
        asset: AssetId,
        /// Whether it can be reached.
        reachable: bool,
    },
    /// No word from the executor in time.
    LeaseExpired {
        /// The task.
        task: TaskId,
    },
    /// What surrounds it changed: health, groups, calendars, breakers, other environments.
    SurroundingsChanged {
        /// What it is now.
        surroundings: Box<Surroundings>,
    },
    /// The store had no room for a task: a lane is taken, or a budget that others share is used up.
    NoRoom {
        /// The task.
        task: TaskId,
        /// What it waits for.
        blocked: Blocked,
    },
    /// A hold was set, changed or released.
    HoldChanged {
        /// The hold in force now.
        hold: Option<Hold>,
    },
    /// A person asked to have items taken back. All of them must be named.
    UndoAsked {
        /// The items.
        items: Vec<ItemId>,
        /// Who.
        by: ActorId,
    },
    /// A person asked to start nothing more of it.
    Cancelled {
        /// Who.
        by: ActorId,
    },
    /// The one who was asked afterwards answers.
    Answered {
        /// The answer.
        answer: ConfirmAnswer,
        /// The role in which they were asked.
        role: Role,
        /// Who.
        by: ActorId,
    },
    /// A person who was needed has dealt with it outside.
    Dismissed {
        /// Who.
        by: ActorId,
    },
}
