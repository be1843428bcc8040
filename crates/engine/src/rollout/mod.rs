//! The rollout: a pure state machine over waves of tasks. Nothing else moves a remediation that has a plan.
//!
//! [`step`] takes the state as it was stored, one event and the time, and gives the next state with the effects that
//! belong to it. State and effects are committed in one transaction; a step that cannot be committed has not happened
//! and is taken again. So recovery after a crash is the ordinary path: load, step with [`Event::Tick`], commit.
//!
//! On the way to a target a task makes one move in each tick (reserved, granted, dispatched), because each has to be
//! durable before the next: the reservation before the intent, the intent before the order.

mod advance;
mod back;
mod defect;
#[cfg(test)]
mod simulator;
mod take;
mod wait;
mod word;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_model::canonical::{CanonicalError, Digest, digest};
use stanch_model::id::{ActorId, AssetId, ItemId, RemediationId, TaskId};
use stanch_model::plan::{Limits, Plan};
use stanch_model::remediation::{RemediationState, TaskState};

pub use word::Word;

use crate::blocked::Blocked;
use crate::verify::{Failure, Judgement};

/// Orders that were never begun are sent so often, with growing pauses; then a person is asked.
pub const MAX_SENDS: u32 = 6;
/// The first pause before an order that was never begun is sent again, in seconds; doubles each time.
pub const RESEND_SECONDS: i64 = 30;
/// How long an answer about the journal or a verification is waited for before it is asked again, in seconds.
pub const ASK_AGAIN_SECONDS: i64 = 60;

/// How far a hold goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldLevel {
    /// Nothing new starts; undo is allowed.
    StopNew,
    /// Not even undo starts.
    StopAll,
}

/// A hold in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// How far it goes.
    pub level: HoldLevel,
    /// Why.
    pub reason: String,
}

/// Attempts made at an item with this action before, or by this rollout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// How many.
    pub count: u32,
    /// When the last one was sent.
    pub last_at: Option<Timestamp>,
}

/// Why a rollout was stopped for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum Halt {
    /// A task failed or was broken off.
    Failed {
        /// Where.
        asset: AssetId,
        /// What it said.
        message: String,
    },
    /// The target does not do its work.
    Health {
        /// Where.
        asset: AssetId,
    },
    /// A check failed, or the detector still sees the problem.
    NotVerified {
        /// Where.
        asset: AssetId,
        /// Which of the two.
        failure: Failure,
    },
    /// A part is done, and the rest could not be begun in time.
    HalfDone {
        /// Where.
        asset: AssetId,
        /// Why.
        message: String,
    },
    /// The journal of an executor is gone.
    Lost {
        /// Where.
        asset: AssetId,
    },
    /// No target of the wave could be changed.
    NothingBegun {
        /// Why, in words.
        message: String,
    },
    /// A person asked to have it taken back.
    Person {
        /// Who.
        by: ActorId,
    },
}

impl Halt {
    /// Whether what was done is taken back without asking a person.
    pub const fn rolls_back(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Health { .. } | Self::Person { .. })
    }
}

impl std::fmt::Display for Halt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed { asset, message } => write!(f, "{asset} failed: {message}"),
            Self::Health { asset } => write!(f, "the health probe of {asset} fails"),
            Self::NotVerified { asset, failure: Failure::StillThere } => {
                write!(f, "the detector still sees the problem on {asset}")
            }
            Self::NotVerified { asset, .. } => write!(f, "a check failed on {asset}"),
            Self::HalfDone { asset, message } => write!(f, "{asset} is half done: {message}"),
            Self::Lost { asset } => write!(f, "the journal of {asset} is gone"),
            Self::NothingBegun { message } => write!(f, "nothing could be started: {message}"),
            Self::Person { by } => write!(f, "{by} asked to have it taken back"),
        }
    }
}

/// Why a rollout is paused, and where it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// The state it left.
    pub resume: RemediationState,
    /// A check could not tell; else a hold came.
    pub inconclusive: Option<String>,
}

/// One leaf on one asset, on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Where.
    pub asset: AssetId,
    /// What it closes, in order.
    pub items: Vec<ItemId>,
    /// Its wave, from 0.
    pub wave: u32,
    /// Where it stands.
    pub state: TaskState,
    /// Part of the steps' keys; a rollout makes one attempt, another needs another plan.
    pub attempt: u32,
    /// Orders made for it so far; each order's number is told with its effect and comes back with its receipt.
    pub orders: u32,
    /// The number of the newest order to apply it.
    pub apply_order: u32,
    /// The number of the newest question to the journal.
    pub reconcile_order: u32,
    /// The number of the newest order to take it back.
    pub undo_order: u32,
    /// How often it was sent.
    pub sends: u32,
    /// Tells one undo from another.
    pub undo_attempt: u32,
    /// How often this undo was sent.
    pub undo_sends: u32,
    /// Not before this is it sent, or asked for, again.
    pub again_at: Option<Timestamp>,
    /// Whether anything may have been changed.
    pub changed: bool,
    /// A part is done and the rest was not begun, because a hold or the end of an order's time came between. While it
    /// runs, the same order is sent again for the rest; once it is broken off, a person decides.
    #[serde(default)]
    pub rest: bool,
    /// When the act (or its undo) ended, on the executor's clock: only newer facts count.
    pub acted_at: Option<Timestamp>,
    /// The verification that is waited for, or the last one.
    pub round: u32,
    /// The newest judgement.
    pub judgement: Option<Judgement>,
    /// The round of that judgement.
    pub judged_round: u32,
    /// Items that are to be taken back.
    pub to_undo: Vec<ItemId>,
    /// Items that were taken back.
    pub undone: Vec<ItemId>,
    /// When facts of its asset were last read.
    pub facts_at: Option<Timestamp>,
    /// Whether its executor is out of reach.
    pub away: bool,
    /// What the executor said last, for people.
    pub message: Option<String>,
}

/// A rollout, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// The plan's hash.
    pub plan: Digest,
    /// Where it stands.
    pub state: RemediationState,
    /// Seconds each wave is watched.
    pub bakes: Vec<u32>,
    /// The limits.
    pub limits: Limits,
    /// After this nothing new starts.
    pub valid_until: Timestamp,
    /// One task a leaf, in the order of the assets' ids.
    pub tasks: Vec<Task>,
    /// Who approved the hash; the last of them where several had to.
    pub approved_by: Option<ActorId>,
    /// The hold in force.
    pub hold: Option<Hold>,
    /// While paused: why, and where it goes on.
    pub pause: Option<Pause>,
    /// While baking: until when.
    pub bake_until: Option<Timestamp>,
    /// Whether the end of the bake is being checked.
    pub rechecking: bool,
    /// Why it was halted, if it was.
    pub halt: Option<Halt>,
    /// Who asked to start nothing more of it.
    pub cancelled_by: Option<ActorId>,
    /// Who asked for the undo that runs.
    pub undo_by: Option<ActorId>,
    /// Earlier attempts at the items.
    pub attempts: BTreeMap<ItemId, Attempts>,
}

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
    /// A person who was needed has dealt with it outside.
    Dismissed {
        /// Who.
        by: ActorId,
    },
}

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
    },
    /// Give lane and share back.
    Release {
        /// The task.
        task: TaskId,
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
    /// Tell people that it waits for something.
    Notify {
        /// For what.
        blocked: Blocked,
    },
}

/// Why an event cannot be taken. The state stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Illegal {
    /// No such task here.
    #[error("there is no {task} in this rollout")]
    NoTask {
        /// The task.
        task: TaskId,
    },
    /// The word answers an order that is not the newest of its kind.
    #[error("order {order} of {task} is not the newest")]
    Stale {
        /// The task.
        task: TaskId,
        /// The order.
        order: u32,
    },
    /// Another hash was approved.
    #[error("approved was plan {}, this is {}", approved.short(), plan.short())]
    OtherPlan {
        /// What was approved.
        approved: Digest,
        /// The plan here.
        plan: Digest,
    },
    /// The event makes no sense in this state.
    #[error("{event} makes no sense while it is {state}")]
    NotNow {
        /// The event.
        event: &'static str,
        /// The state.
        state: RemediationState,
    },
    /// An undo of nothing.
    #[error("no item was named: nothing is taken back")]
    NoItems,
    /// An item that is not part of it, or is taken back already.
    #[error("{item} is not here, or is taken back already")]
    NoItem {
        /// The item.
        item: ItemId,
    },
    /// Nothing was done there that could be taken back.
    #[error("nothing was done on {asset} that could be taken back: its task is {}", state.name())]
    NothingDone {
        /// Where.
        asset: AssetId,
        /// Where its task stands.
        state: TaskState,
    },
    /// A part of a task that did not succeed.
    #[error("the task on {asset} did not succeed; it can only be taken back whole")]
    OnlyWhole {
        /// Where.
        asset: AssetId,
    },
    /// The table of states forbids it: a defect of the machine itself.
    #[error("{from} cannot become {to}")]
    Transition {
        /// From.
        from: String,
        /// To.
        to: String,
    },
}

impl Rollout {
    /// The rollout of a plan, with nothing done yet. `attempts` are those made before at the plan's items, as far as
    /// they count: a person who asks again may start from none.
    ///
    /// # Errors
    /// When the plan has no hash.
    pub fn new(
        remediation: &RemediationId,
        plan: &Plan,
        attempts: BTreeMap<ItemId, Attempts>,
    ) -> Result<Self, CanonicalError> {
        let hash = plan.hash()?;
        let tasks = plan
            .leaves
            .iter()
            .map(|leaf| {
                let wave = plan.waves.iter().position(|wave| wave.assets.contains(&leaf.asset)).unwrap_or(0);
                let id = digest("stanch/task/v1", &(remediation, &hash, &leaf.asset))?;
                Ok(Task {
                    id: TaskId::from_digest(&id),
                    asset: leaf.asset.clone(),
                    items: leaf.items.clone(),
                    wave: u32::try_from(wave).unwrap_or(u32::MAX),
                    state: TaskState::Pending,
                    attempt: 1,
                    orders: 0,
                    apply_order: 0,
                    reconcile_order: 0,
                    undo_order: 0,
                    sends: 0,
                    undo_attempt: 0,
                    undo_sends: 0,
                    again_at: None,
                    changed: false,
                    rest: false,
                    acted_at: None,
                    round: 0,
                    judgement: None,
                    judged_round: 0,
                    to_undo: Vec::new(),
                    undone: Vec::new(),
                    facts_at: None,
                    away: false,
                    message: None,
                })
            })
            .collect::<Result<_, CanonicalError>>()?;
        Ok(Self {
            plan: hash,
            state: RemediationState::Planned,
            bakes: plan.waves.iter().map(|wave| wave.bake_seconds).collect(),
            limits: plan.limits.clone(),
            valid_until: plan.valid_until,
            tasks,
            approved_by: None,
            hold: None,
            pause: None,
            bake_until: None,
            rechecking: false,
            halt: None,
            cancelled_by: None,
            undo_by: None,
            attempts,
        })
    }

    /// The task of this id.
    pub fn task(&self, id: &TaskId) -> Option<&Task> {
        self.tasks.iter().find(|task| task.id == *id)
    }

    /// Tasks whose lane is taken.
    pub fn in_flight(&self) -> usize {
        self.tasks.iter().filter(|task| task.state.holds_lane()).count()
    }
}

/// Takes one event.
///
/// # Errors
/// When the event is stale or makes no sense; nothing has changed then.
pub fn step(rollout: &Rollout, event: Event, now: Timestamp) -> Result<(Rollout, Vec<Effect>), Illegal> {
    let mut machine = Machine { rollout: rollout.clone(), effects: Vec::new(), now };
    machine.take(event)?;
    machine.settle()?;
    Ok((machine.rollout, machine.effects))
}

/// One step being taken.
struct Machine {
    rollout: Rollout,
    effects: Vec<Effect>,
    now: Timestamp,
}

impl Machine {
    /// Moves the remediation, as the table of states allows.
    fn to(&mut self, next: RemediationState) -> Result<(), Illegal> {
        let from = self.rollout.state;
        if from == next {
            return Ok(());
        }
        if !from.may_become(next) {
            return Err(Illegal::Transition { from: from.to_string(), to: next.to_string() });
        }
        self.rollout.state = next;
        self.effects.push(Effect::Entered { state: next });
        Ok(())
    }

    /// Moves a task, as the table of states allows, and gives its lane back when it no longer needs it.
    fn task_to(&mut self, at: usize, next: TaskState) -> Result<(), Illegal> {
        let Some(task) = self.rollout.tasks.get_mut(at) else { return Ok(()) };
        let from = task.state;
        if from == next {
            return Ok(());
        }
        if !from.may_become(next) {
            return Err(Illegal::Transition { from: from.name().to_owned(), to: next.name().to_owned() });
        }
        task.state = next;
        self.effects.push(Effect::TaskEntered { task: task.id.clone(), state: next });
        match (from.holds_lane(), next.holds_lane()) {
            (false, true) => {
                let undo = next == TaskState::Undoing;
                self.effects.push(Effect::Reserve { task: task.id.clone(), undo });
            }
            (true, false) => self.effects.push(Effect::Release { task: task.id.clone() }),
            _ => {}
        }
        Ok(())
    }

    fn find(&self, id: &TaskId) -> Result<usize, Illegal> {
        let at = self.rollout.tasks.iter().position(|task| task.id == *id);
        at.ok_or_else(|| Illegal::NoTask { task: id.clone() })
    }

    fn tasks_where(&self, wanted: impl Fn(&Task) -> bool) -> Vec<usize> {
        (0..).zip(&self.rollout.tasks).filter(|(_, task)| wanted(task)).map(|(at, _)| at).collect()
    }

    fn after(&self, seconds: i64) -> Option<Timestamp> {
        self.now.checked_add(jiff::SignedDuration::from_secs(seconds)).ok()
    }
}
