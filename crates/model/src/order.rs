//! Orders to executors and their receipts: the only way anything reaches a target.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ability::Abilities;
use crate::asset::Asset;
use crate::canonical::Digest;
use crate::delta::FactsDelta;
use crate::facts::HostFacts;
use crate::id::{AssetId, ExecutorId, ItemId, OrderId, TaskId};
use crate::own::Restored;
use crate::plan::{Change, Leaf, PlannedStep};
use crate::sign::{Signable, Signed, VerifyingKey};
use crate::trust::{Chain, Vouched};

/// Where an order stands in its executor's queue. Ordered; an executor takes only what is higher than its last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Rises with every restore from a backup.
    pub epoch: u64,
    /// Rises with every order to this executor.
    pub generation: u64,
}

/// What an executor is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Verb {
    /// Read the facts of the executor's assets.
    Observe {
        /// Fetch the archive indexes first (`apt-get update`).
        refresh: bool,
        /// Digest of what lasts of the facts that the server has ([`crate::delta`]): an executor that told them last may
        /// tell what is different since. Absent when all of it is wanted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Digest>,
    },
    /// Compute what an action would do, without doing it.
    Plan {
        /// The asset.
        asset: AssetId,
        /// The steps asked for, in order; each is planned on the state as it is now.
        requests: Vec<StepRequest>,
    },
    /// Carry out one leaf.
    Apply(Grant),
    /// Take back an applied leaf, or a part of it.
    Undo {
        /// The task.
        task: TaskId,
        /// The leaf that was applied, as it was granted.
        grant: Grant,
        /// Only what belongs to these items; empty means nothing, all of them are spelled out.
        items: Vec<ItemId>,
        /// Tells this undo from another of the same task.
        attempt: u32,
    },
    /// Carry out a leaf in a copy of the target and take it back there. The target itself stays as it is.
    Rehearse {
        /// The leaf.
        leaf: Leaf,
    },
    /// Run the actions' own checks on an applied leaf.
    Verify {
        /// The task.
        task: TaskId,
        /// The leaf.
        leaf: Leaf,
    },
    /// Start nothing new.
    Hold {
        /// Also stop at the next safe point what already runs.
        stop_all: bool,
        /// Why, for the executor's log.
        reason: String,
    },
    /// End a hold.
    Release,
    /// Tell what the journal knows of a task.
    Reconcile {
        /// The task.
        task: TaskId,
        /// The key of its first step.
        key: Digest,
    },
}

/// The kinds of orders, by the names they have on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerbKind {
    /// [`Verb::Observe`].
    Observe,
    /// [`Verb::Plan`].
    Plan,
    /// [`Verb::Apply`].
    Apply,
    /// [`Verb::Undo`].
    Undo,
    /// [`Verb::Rehearse`].
    Rehearse,
    /// [`Verb::Verify`].
    Verify,
    /// [`Verb::Hold`].
    Hold,
    /// [`Verb::Release`].
    Release,
    /// [`Verb::Reconcile`].
    Reconcile,
}

impl Verb {
    /// What kind of order it is.
    #[must_use]
    pub const fn kind(&self) -> VerbKind {
        match self {
            Self::Observe { .. } => VerbKind::Observe,
            Self::Plan { .. } => VerbKind::Plan,
            Self::Apply(_) => VerbKind::Apply,
            Self::Undo { .. } => VerbKind::Undo,
            Self::Rehearse { .. } => VerbKind::Rehearse,
            Self::Verify { .. } => VerbKind::Verify,
            Self::Hold { .. } => VerbKind::Hold,
            Self::Release => VerbKind::Release,
            Self::Reconcile { .. } => VerbKind::Reconcile,
        }
    }
}

impl VerbKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Observe,
        Self::Plan,
        Self::Apply,
        Self::Undo,
        Self::Rehearse,
        Self::Verify,
        Self::Hold,
        Self::Release,
        Self::Reconcile,
    ];
}

/// One action asked for, before it is planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRequest {
    /// The action's name.
    pub action: String,
    /// What is wanted, as the action's request schema says.
    pub want: Value,
    /// The items it is for.
    pub items: Vec<ItemId>,
}

/// Leave to carry out one leaf of one plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The task.
    pub task: TaskId,
    /// The plan's hash.
    pub plan: Digest,
    /// The leaf's hash.
    pub leaf_hash: Digest,
    /// The leaf.
    pub leaf: Leaf,
    /// The store's epoch, part of every step's key.
    pub epoch: u64,
    /// Counts an operator's attempts at the same leaf.
    pub attempt: u32,
    /// A part of it was carried out, and this is for the rest. An executor whose journal knows nothing of that part
    /// begins nothing and answers that it is lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rest: bool,
    /// What people signed for the plan with keys of their own, for executors whose rules ask for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vouched: Option<Vouched>,
}

/// An order. Sent signed by the server's order key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// Who is to carry it out.
    pub executor: ExecutorId,
    /// Its place in the queue.
    pub position: Position,
    /// The nonce of the poll it answers: bounds how old it can be on the executor's own clock.
    pub nonce: u64,
    /// Seconds after that poll within which it must start.
    pub start_within_seconds: u32,
    /// It must be over by then; a step that cannot fit does not start.
    pub finish_before: Timestamp,
    /// What to do.
    pub verb: Verb,
}

impl Signable for Order {
    const DOMAIN: &'static str = "stanch/order/v1";
}

/// How one step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum StepOutcome {
    /// Done.
    Done,
    /// The target was already as wanted, or the step's own journal says it was done.
    Unchanged,
    /// Failed; whether anything changed is in the message.
    Failed {
        /// What went wrong.
        message: String,
        /// What a person can do.
        hint: Option<String>,
    },
    /// Broken off and not to be resumed by itself.
    Interrupted {
        /// The last safe point reached.
        at: String,
    },
    /// Not begun, because a step before it did not succeed or a hold came.
    NotStarted,
    /// Forbidden by the executor's own rules, or the target moved.
    Refused {
        /// Why.
        message: String,
        /// What moved, line by line, when somebody else changed the target.
        moved: Vec<Change>,
    },
}

/// What happened to one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReport {
    /// The step's number in its leaf.
    pub step: u32,
    /// The action.
    pub action: String,
    /// Its idempotency key.
    pub key: Digest,
    /// How it ended.
    pub outcome: StepOutcome,
    /// When it first began; absent if it did not.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How often it was entered: more than once after a crash.
    pub entered: u32,
    /// Digest of the projection afterwards.
    pub after: Option<Digest>,
    /// What happened, line by line.
    pub changes: Vec<Change>,
    /// Output and files kept as evidence.
    pub evidence: Vec<Evidence>,
}

/// Output kept with a receipt, secrets masked, cut at a stated length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// What it is: `apt-get install`, `dpkg --audit`.
    pub name: String,
    /// The text, as UTF-8 with replacement characters.
    pub text: String,
    /// Bytes that were cut off.
    pub cut_bytes: u64,
    /// Digest of the whole before cutting.
    pub digest: Digest,
}

/// One check after an act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was checked: `dpkg-version`, `dpkg-audit`, `deleted-maps`, `kernel`, `health-probe`, `detector`.
    pub name: String,
    /// What it says.
    pub outcome: CheckOutcome,
    /// In words.
    pub detail: String,
}

/// What a check says. Ordered by what wins when they are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    /// As wanted.
    Successful,
    /// Cannot tell: pauses, never promotes.
    Inconclusive,
    /// Not as wanted.
    Failed,
}

/// What the journal knows of a task that the server lost sight of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "known", rename_all = "snake_case")]
pub enum Reconciled {
    /// Never begun: may be sent again.
    NotStarted,
    /// Runs right now.
    Running,
    /// Over, with these reports.
    Over {
        /// The steps.
        steps: Vec<StepReport>,
    },
    /// The journal does not go back that far or is damaged.
    Lost,
}

/// What an executor answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Answer {
    /// Facts of one host.
    Facts {
        /// The facts.
        facts: Box<HostFacts>,
    },
    /// Facts of one host, as what is different since those that the order names.
    Delta {
        /// The difference.
        delta: Box<FactsDelta>,
    },
    /// Planned steps, with what was asked for and cannot be done.
    Planned {
        /// The steps that would change something, in order.
        steps: Vec<PlannedStep>,
        /// Items already as wanted.
        compliant: Vec<ItemId>,
        /// Items that cannot be planned, and why.
        refused: Vec<PlanRefusal>,
    },
    /// A leaf was carried out, as far as it went.
    Applied {
        /// The steps.
        steps: Vec<StepReport>,
    },
    /// A leaf was taken back, as far as it went.
    Undone {
        /// The steps, in the order they were undone.
        steps: Vec<StepReport>,
    },
    /// The actions' own checks.
    Verified {
        /// The checks.
        checks: Vec<Check>,
    },
    /// A leaf was carried out in a copy of the target.
    Rehearsed {
        /// What came of it.
        rehearsed: Box<Rehearsed>,
    },
    /// The hold is in force, or over.
    Held {
        /// Whether a hold is in force now.
        held: bool,
    },
    /// What the journal knows.
    Reconciled {
        /// It.
        known: Reconciled,
    },
    /// The order as a whole was refused.
    Refused {
        /// Why.
        message: String,
        /// What a person can do.
        hint: Option<String>,
    },
}

/// What came of a leaf in a copy of its target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehearsed {
    /// The steps that were carried out there, in order.
    pub steps: Vec<StepReport>,
    /// The actions' own checks afterwards, and whether undo brought everything back to the letter.
    pub checks: Vec<Check>,
    /// What was taken back there, in the order it was.
    pub undone: Vec<StepReport>,
    /// Steps that only the target itself can show, and why: `service.restart: nothing runs in a copy`.
    pub left_out: Vec<String>,
    /// Parts of the target that the copy lacks: `/mnt/backup (nfs4)`.
    pub not_copied: Vec<String>,
    /// Bytes that were written in the copy.
    pub wrote_bytes: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

impl Rehearsed {
    /// What it says of the leaf: that it went well and back, that it did not, or nothing, because no step of it can be
    /// shown in a copy.
    pub fn outcome(&self) -> CheckOutcome {
        let went = |report: &StepReport| matches!(report.outcome, StepOutcome::Done | StepOutcome::Unchanged);
        let failed = |check: &Check| check.outcome == CheckOutcome::Failed;
        if !self.steps.iter().chain(&self.undone).all(went) || self.checks.iter().any(failed) {
            CheckOutcome::Failed
        } else if self.steps.is_empty() {
            CheckOutcome::Inconclusive
        } else {
            CheckOutcome::Successful
        }
    }
}

/// Why an item has no place in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRefusal {
    /// The items.
    pub items: Vec<ItemId>,
    /// Why, for a person.
    pub reason: String,
    /// What a person can do.
    pub hint: Option<String>,
}

/// The answer to an order. Sent signed by the executor's key; sending it twice is harmless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The order.
    pub order: OrderId,
    /// Who answers.
    pub executor: ExecutorId,
    /// The order's position.
    pub position: Position,
    /// When it was answered, on the executor's clock.
    pub at: Timestamp,
    /// Head of the executor's journal, so that a clone or a rewound machine is noticed.
    pub journal_head: Digest,
    /// The answer.
    pub answer: Answer,
}

impl Signable for Receipt {
    const DOMAIN: &'static str = "stanch/receipt/v1";
}

/// A word on the way, for people to watch. Not signed, never decides anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The order.
    pub order: OrderId,
    /// When.
    pub at: Timestamp,
    /// The step it is about.
    pub step: Option<u32>,
    /// What is going on.
    pub message: String,
}

/// What a poll brings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// How the key that signed the orders goes back to the root.
    pub chain: Chain,
    /// Orders with positions above the one in the [`Hello`], in ascending order, each signed with that poll's nonce.
    pub orders: Vec<Signed<Order>>,
}

/// What an executor says of itself when it connects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Who.
    pub executor: ExecutorId,
    /// Its receipt key.
    pub key: VerifyingKey,
    /// The asset it runs on.
    pub asset: Asset,
    /// The highest position it has taken.
    pub position: Position,
    /// Actions it has.
    pub actions: Vec<String>,
    /// The host's boot.
    pub boot_id: String,
    /// Rises with every poll.
    pub counter: u64,
    /// Head of its journal.
    pub journal_head: Digest,
    /// Echoed in the orders that answer this poll.
    pub nonce: u64,
    /// The hold in force there; absent when it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// The highest serial of an issuer that it has seen: it believes no order of one before it.
    #[serde(default)]
    pub issuer: u64,
    /// What it probed when it started; absent when it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abilities: Option<Abilities>,
    /// The version of its program; absent when it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Versions of Stanch's own packages that did not prove themselves there, until the server has heard.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restored: Vec<Restored>,
    /// Orders that it did not take and could not answer, until the server has heard; at most [`MOST_TURNED_AWAY`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turned_away: Vec<TurnedAway>,
    /// The form of [`FactsDelta`] that it knows; 0 when it tells facts whole.
    #[serde(default, skip_serializing_if = "is_none")]
    pub deltas: u32,
}

/// How many orders that it did not take an executor tells of at once; of more it tells nothing.
pub const MOST_TURNED_AWAY: usize = 16;

/// An order that an executor did not take, and to which there is no receipt: nobody trustworthy gave it to this executor
/// now. The server may never have seen it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TurnedAway {
    /// The id that it bore, whoever wrote that.
    pub order: OrderId,
    /// Why.
    pub doubt: Doubt,
}

/// Why an executor did not believe an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doubt {
    /// The root did not certify its key.
    NotCertified,
    /// Its issuer was replaced.
    IssuerReplaced,
    /// A certificate was not valid at that time.
    CertificateTime,
    /// Its key belongs to another epoch.
    OtherEpoch,
    /// It is not what the key signed.
    Changed,
    /// It was for another executor.
    OtherExecutor,
    /// It came before, or after one that was given later.
    Replayed,
    /// It answers no poll.
    NoPoll,
    /// It had to start earlier.
    TooLate,
    /// It is larger than any order.
    TooLarge,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
const fn is_none(form: &u32) -> bool {
    *form == 0
}

/// How far an executor is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// Not at all.
    No,
    /// Nothing new starts; undo is allowed.
    StopNew,
    /// Not even undo starts.
    StopAll,
}

impl Held {
    /// What a hold of this reach makes of an executor.
    pub const fn by(stop_all: bool) -> Self {
        if stop_all { Self::StopAll } else { Self::StopNew }
    }
}
