//! The rollout: a pure state machine over waves of tasks. Nothing else moves a remediation that has a plan.
//!
//! [`step`] takes the state as it was stored, one event and the time, and gives the next state with the effects that
//! belong to it. State and effects are committed in one transaction; a step that cannot be committed has not happened
//! and is taken again. So recovery after a crash is the ordinary path: load, step with [`Event::Tick`], commit.
//!
//! On the way to a target a task makes one move in each tick (reserved, granted, dispatched), because each has to be
//! durable before the next: the reservation before the intent, the intent before the order.

mod advance;
mod aside;
mod back;
mod confirm;
mod effect;
mod event;
mod gate;
mod halt;
mod missed;
mod pin;
#[cfg(test)]
mod promises;
mod share;
mod silence;
mod surroundings;
mod take;
mod wait;
mod word;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_model::calendar::Interval;
use stanch_model::canonical::{CanonicalError, Digest, digest};
use stanch_model::id::{ActorId, AssetId, ItemId, RemediationId, TaskId};
use stanch_model::plan::{Disruption, Leaf, Plan};
use stanch_model::remediation::{RemediationState, TaskState};
use stanch_model::terms::{Role, Terms};

pub use stanch_model::hold::HoldLevel;

pub use confirm::{ConfirmAnswer, Question};
pub use effect::Effect;
pub use event::Event;
pub use halt::{BAD_FROM, BadPatch, Halt, bad_patches};
pub use missed::{InARow, Missed};
pub use pin::Pin;
pub use share::{ALWAYS, Settled, Share, hour};
pub use silence::{Awaited, OrderStands, Silence, keeps_back};
pub use surroundings::{ChangeWord, Environment, FAILING_OTHERS, FAILING_PERCENT, Group, Openings, Surroundings};
pub use word::Word;

use crate::blocked::Blocked;
use crate::defect::{Defect, planted};
use crate::hold::{Brought, brought};
use crate::plan::Replan;
use crate::verify::Judgement;

/// Orders that were never begun are sent so often, with growing pauses; then a person is asked.
pub const MAX_SENDS: u32 = 6;
/// The first pause before an order that was never begun is sent again, in seconds; doubles each time.
pub const RESEND_SECONDS: i64 = 30;
/// How long an answer about the journal or a verification is waited for before it is asked again, in seconds.
pub const ASK_AGAIN_SECONDS: i64 = 60;
/// A task for which the store had no room is tried again after this, in seconds.
pub const NO_ROOM_SECONDS: i64 = 5;
/// What was not begun when a rollout stood still for longer than this is planned again, in seconds.
pub const MAX_PAUSE_SECONDS: i64 = 24 * 3600;

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

/// Why a rollout is paused, and where it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// The state it left.
    pub resume: RemediationState,
    /// A check could not tell; else a hold came.
    pub inconclusive: Option<String>,
    /// Since when.
    pub since: Timestamp,
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
    /// The environment its target stands in, where somebody said so.
    pub environment: Option<String>,
    /// The actions of its steps.
    pub actions: BTreeSet<String>,
    /// The most that users of the target notice.
    pub disruption: Disruption,
    /// The versions it would bring, by what.
    pub versions: BTreeMap<String, Pin>,
    /// The same by source packages: what a bad patch is told by.
    #[serde(default)]
    pub brings: BTreeSet<Brought>,
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
    /// The shares of budgets it has.
    pub shares: Vec<Share>,
    /// What the store had no room for, when it last tried.
    pub no_room: Option<Blocked>,
    /// The trials of breakers that its start is part of: scope and span.
    pub trials: Vec<(String, String)>,
    /// What went wrong here. It counts against the rollout's failure budget once, and the target is set aside.
    pub failed: Option<Halt>,
    /// Why it is set aside until it is planned again.
    pub replan: Option<Replan>,
    /// Windows its target has missed in a row, those before this plan among them.
    #[serde(default)]
    pub missed_windows: u32,
    /// The last of them that this rollout has seen.
    #[serde(default)]
    pub missed: Option<Missed>,
    /// When the first of them shut that it missed because it was away: what it may catch up with counts from there.
    #[serde(default)]
    pub away_since: Option<Timestamp>,
    /// Whether it was connected in the window that is open.
    #[serde(default)]
    pub here: bool,
}

impl Task {
    /// The name of the environment it stands in; empty for none.
    pub fn place(&self) -> &str {
        self.environment.as_deref().unwrap_or_default()
    }
}

/// A rollout, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// The remediation.
    pub remediation: RemediationId,
    /// The plan's hash.
    pub plan: Digest,
    /// Where it stands.
    pub state: RemediationState,
    /// Seconds each wave is watched.
    pub bakes: Vec<u32>,
    /// What the plan binds it to.
    pub terms: Terms,
    /// The policies whose rules asked for it; none when a person did.
    pub policies: BTreeSet<String>,
    /// After this nothing new starts.
    pub valid_until: Timestamp,
    /// One task a leaf, in the order of the assets' ids.
    pub tasks: Vec<Task>,
    /// Who approved the hash; the last of them where several had to.
    pub approved_by: Option<ActorId>,
    /// Unless something is begun before, the approval is void then.
    pub approved_until: Option<Timestamp>,
    /// The rules alone had it start: its owner is asked afterwards.
    pub automatic: bool,
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
    /// What surrounds it.
    pub surroundings: Surroundings,
    /// The versions that were verified so far, by what.
    pub proven: BTreeMap<String, BTreeSet<Pin>>,
    /// Who was asked whether what was done may stay, and has not answered.
    pub questions: Vec<Question>,
    /// The window it is in: when it opened, and until when something could have started.
    #[serde(default)]
    pub window: Option<Interval>,
    /// When the next one begins, as far as it is known.
    #[serde(default)]
    pub next_window: Option<Timestamp>,
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
    /// The rules alone may not start it.
    #[error("it may not start by itself: {why}")]
    NotByItself {
        /// Why.
        why: &'static str,
    },
    /// Nobody of this role was asked.
    #[error("nobody was asked as {}", role.name())]
    NotAsked {
        /// The role.
        role: Role,
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
                    environment: None,
                    actions: leaf.steps.iter().map(|step| step.action.clone()).collect(),
                    disruption: disruption(leaf),
                    versions: pin::of(leaf),
                    brings: brought(&leaf.steps),
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
                    shares: Vec::new(),
                    no_room: None,
                    trials: Vec::new(),
                    failed: None,
                    replan: None,
                    missed_windows: 0,
                    missed: None,
                    away_since: None,
                    here: false,
                })
            })
            .collect::<Result<_, CanonicalError>>()?;
        Ok(Self {
            remediation: remediation.clone(),
            plan: hash,
            state: RemediationState::Planned,
            bakes: plan.waves.iter().map(|wave| wave.bake_seconds).collect(),
            terms: plan.terms.clone(),
            policies: plan.policies().into_iter().map(str::to_owned).collect(),
            valid_until: plan.valid_until,
            tasks,
            approved_by: None,
            approved_until: None,
            automatic: false,
            hold: None,
            pause: None,
            bake_until: None,
            rechecking: false,
            halt: None,
            cancelled_by: None,
            undo_by: None,
            attempts,
            surroundings: Surroundings::default(),
            proven: BTreeMap::new(),
            questions: Vec::new(),
            window: None,
            next_window: None,
        })
    }

    /// The same with the environments of its targets. A target that is not named stands in none.
    #[must_use]
    pub fn standing_in(mut self, environments: &BTreeMap<AssetId, String>) -> Self {
        for task in &mut self.tasks {
            task.environment = environments.get(&task.asset).cloned();
        }
        self
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

fn disruption(leaf: &Leaf) -> Disruption {
    leaf.steps.iter().map(|step| step.disruption).max().unwrap_or(Disruption::None)
}

/// Takes one event.
///
/// # Errors
/// When the event is stale or makes no sense; nothing has changed then.
pub fn step(rollout: &Rollout, event: Event, now: Timestamp) -> Result<(Rollout, Vec<Effect>), Illegal> {
    let mut machine = Machine { rollout: rollout.clone(), effects: Vec::new(), now };
    let time = event == Event::Tick;
    machine.take(event)?;
    machine.settle()?;
    if time {
        machine.take_back()?;
    }
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
            (false, true) => self.reserve(at, next == TaskState::Undoing),
            (true, false) => self.release(at, from, next),
            _ => {}
        }
        Ok(())
    }

    fn reserve(&mut self, at: usize, undo: bool) {
        let Some(task) = self.rollout.tasks.get(at) else { return };
        let shares = self.rollout.shares(task, undo, self.now);
        self.effects.push(Effect::Reserve { task: task.id.clone(), undo, shares: shares.clone() });
        if let Some(task) = self.rollout.tasks.get_mut(at) {
            if !undo {
                let trials = shares.iter().filter(|share| share.scope.starts_with("breaker/"));
                task.trials = trials.map(|share| (share.scope.clone(), share.span.clone())).collect();
            }
            task.shares = shares;
            task.no_room = None;
        }
    }

    fn release(&mut self, at: usize, from: TaskState, next: TaskState) {
        let Some(task) = self.rollout.tasks.get_mut(at) else { return };
        // What never began has used nothing up.
        let begun = !matches!(from, TaskState::Reserved | TaskState::Granted)
            && !matches!(next, TaskState::NotStarted | TaskState::Refused);
        let mut shares = std::mem::take(&mut task.shares);
        if planted(Defect::KeepShares) {
            shares.pop();
        }
        let settled = |share: Share| Settled { used: begun && share.lasts(), scope: share.scope, span: share.span };
        let shares = shares.into_iter().map(settled).collect();
        self.effects.push(Effect::Release { task: task.id.clone(), shares });
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
