//! A transition: everything that becomes true together, as data. It is committed whole or not at all.

use stanch_ledger::NewEntry;
use stanch_model::assessment::Assessment;
use stanch_model::decision::Decision;
use stanch_model::id::{AssetId, OrderId};
use stanch_model::order::Position;
use stanch_model::person::Holder;
use stanch_model::plan::Plan;

use crate::approval::Approval;
use crate::asset::SeenAsset;
use crate::breaker::PutBreaker;
use crate::budget::{Reserve, Settle};
use crate::campaign::PutCampaign;
use crate::case::PutCase;
use crate::change::PutChange;
use crate::connection::{Connection, DropConnection};
use crate::detection::Detection;
use crate::edge::{DismissEdge, SeeTalks, SetEdge};
use crate::enrolment::{DropEnrolment, NewEnrolment, UseEnrolment};
use crate::entry::PutCheckpoint;
use crate::error::CommitError;
use crate::executor::StoredExecutor;
use crate::facts::NewFacts;
use crate::feed::Feed;
use crate::finding::{FindingChanges, SyncFindings};
use crate::grant::{Grant, Revoke};
use crate::hold::{Hold, ReleaseHold};
use crate::item::SyncItems;
use crate::lease::TakeLease;
use crate::missed::{CatchUp, MissedWindow};
use crate::notice::{MoveNotice, Notice};
use crate::order::{DeliverOrder, NewOrder, VoidOrder};
use crate::outcome::Outcome;
use crate::person::{ChangePerson, NewPerson};
use crate::receipt::{HandleReceipt, NewReceipt};
use crate::remediation::{EditRemediation, MoveRemediation, NewRemediation};
use crate::retention::{Forget, LiftRetentionHold, RetentionHold, SUBJECT, TakePayloads};
use crate::session::{DropToken, EndSession, EndSessions, NewSession, NewToken, TouchToken, UseToken};
use crate::setting::Setting;
use crate::suppression::{LiftSuppression, StillWanted, Suppression};
use crate::task::{EditTask, MoveTask, NewTask};
use crate::team::{Member, NewTeam, RemoveTeam};
use crate::touched::{Touch, Untouch};
use crate::verification::Verification;
use crate::version::SeeVersions;

/// One change of one noun.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[allow(clippy::large_enum_variant, reason = "a transition holds a handful of them, and only for a moment")]
pub enum Write {
    /// An asset was seen; what people said of it is replaced too.
    SeeAsset(SeenAsset),
    /// Facts of a host arrived.
    PutFacts(NewFacts),
    /// The facts at hand of an asset are not to be built on.
    DoubtFacts(AssetId),
    /// A newer edition of the feeds says something else on some assets.
    Touch(Touch),
    /// An asset was looked at again.
    Untouch(Untouch),
    /// A run of detectors on one asset said what is open.
    SyncFindings(SyncFindings),
    /// The items of one asset were grouped anew.
    SyncItems(SyncItems),
    /// Items were assessed, each once.
    PutAssessments(Vec<Assessment>),
    /// Items were decided, each once.
    PutDecisions(Vec<Decision>),
    /// A plan was made.
    PutPlan(Plan, jiff::Timestamp),
    /// Somebody approved or rejected a plan.
    PutApproval(Approval),
    /// A remediation begins.
    NewRemediation(NewRemediation),
    /// A remediation goes to another state.
    MoveRemediation(MoveRemediation),
    /// What is kept with a remediation changes, its state does not.
    EditRemediation(EditRemediation),
    /// A task begins.
    NewTask(NewTask),
    /// A task goes to another state.
    MoveTask(MoveTask),
    /// What is kept with a task changes, its state does not.
    EditTask(EditTask),
    /// A share of a budget is taken, if there is room.
    Reserve(Reserve),
    /// A share is given back or used up.
    Settle(Settle),
    /// A breaker opens, is tried, or closes.
    PutBreaker(PutBreaker),
    /// A campaign begins, goes on or ends.
    PutCampaign(PutCampaign),
    /// A case begins, goes on or ends.
    PutCase(PutCase),
    /// A change request is opened, or something is said of it.
    PutChange(PutChange),
    /// One asset hangs on another, or does not any more.
    SetEdge(SetEdge),
    /// A host says with whom it talks.
    SeeTalks(SeeTalks),
    /// That one asset calls another does not matter.
    DismissEdge(DismissEdge),
    /// An order lies ready for its executor.
    NewOrder(NewOrder),
    /// An order was signed and handed out.
    DeliverOrder(DeliverOrder),
    /// An order will not be handed out any more.
    VoidOrder(VoidOrder),
    /// An executor answered.
    NewReceipt(NewReceipt),
    /// An answer was acted on.
    HandleReceipt(HandleReceipt),
    /// A task was verified.
    PutVerification(Verification),
    /// An act of the catalogue ended in some way.
    PutOutcome(Outcome),
    /// An item is left alone for a while.
    Suppress(Suppression),
    /// It is not any more.
    LiftSuppression(LiftSuppression),
    /// Nothing is written: the whole is refused when one of these items was taken back since.
    StillWanted(StillWanted),
    /// Versions were offered that close something.
    SeeVersions(SeeVersions),
    /// A window shut before a host began.
    MissWindow(MissedWindow),
    /// A host that missed windows is brought up to date.
    CatchUp(CatchUp),
    /// What is known of a feed.
    PutFeed(Feed),
    /// Nothing new is started, or everything stops.
    Hold(Hold),
    /// A hold ends.
    ReleaseHold(ReleaseHold),
    /// Somebody signed in.
    NewSession(NewSession),
    /// A session ends.
    EndSession(EndSession),
    /// A token was made.
    NewToken(NewToken),
    /// A one-time token is used up.
    UseToken(UseToken),
    /// A token is taken away.
    DropToken(DropToken),
    /// A lasting token was shown.
    TouchToken(TouchToken),
    /// An enrolment token was made.
    NewEnrolment(NewEnrolment),
    /// A host gets in with one.
    UseEnrolment(UseEnrolment),
    /// An enrolment token is taken away.
    DropEnrolment(DropEnrolment),
    /// Somebody is signed out everywhere.
    EndSessions(EndSessions),
    /// An account is made.
    NewPerson(NewPerson),
    /// An account changes.
    ChangePerson(ChangePerson),
    /// A team is made.
    NewTeam(NewTeam),
    /// A team ends.
    RemoveTeam(RemoveTeam),
    /// Somebody is in a team.
    Join(Member),
    /// Somebody is not in a team any more.
    Leave(Member),
    /// A role is given.
    Give(Grant),
    /// A role is taken away.
    Revoke(Revoke),
    /// A connection to the outside is set up or changed.
    PutConnection(Connection),
    /// A connection ends.
    DropConnection(DropConnection),
    /// A notice is to be sent.
    NewNotice(Notice),
    /// A notice was tried.
    MoveNotice(MoveNotice),
    /// Old rows are taken away.
    Forget(Forget),
    /// Payloads of old entries are taken away.
    TakePayloads(TakePayloads),
    /// Nothing of something is taken away any more.
    HoldRecords(RetentionHold),
    /// It may be again.
    LiftRecords(LiftRetentionHold),
    /// An executor was heard of.
    PutExecutor(StoredExecutor),
    /// A setting.
    PutSetting(Setting),
    /// What the detectors say of an asset beside its findings.
    PutDetection(AssetId, Detection),
    /// A lease is taken or renewed.
    TakeLease(TakeLease),
    /// A checkpoint was signed.
    PutCheckpoint(PutCheckpoint),
    /// Nudges up to this sequence number were heard.
    AckNudges(u64),
}

/// A wake-up for whoever goes on from here. It says where to look, never what to do: who hears it loads the state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Nudge {
    /// What to look at: `plan`, `dispatch`, `verify`.
    pub topic: String,
    /// The id it is about.
    pub subject: String,
}

/// What nudges of [`Nudge::of`] are about.
pub mod topic {
    /// An order lies ready for the executor that is named.
    pub const ORDERS: &str = "orders";
    /// The order that is named was answered.
    pub const RECEIPT: &str = "receipt";
    /// Something else is known of the executor that is named.
    pub const EXECUTOR: &str = "executor";
}

impl Nudge {
    /// What other servers have to hear of a change, if anything.
    pub(crate) fn of(write: &Write) -> Option<Self> {
        match write {
            Write::NewOrder(new) => Some(Self::new(topic::ORDERS, &new.executor)),
            Write::NewReceipt(new) => Some(Self::new(topic::RECEIPT, &new.receipt.body.order)),
            Write::PutExecutor(known) => Some(Self::new(topic::EXECUTOR, &known.id)),
            _ => None,
        }
    }

    /// A nudge.
    pub fn new(topic: impl Into<String>, subject: impl ToString) -> Self {
        Self { topic: topic.into(), subject: subject.to_string() }
    }
}

/// Everything that becomes true together.
#[derive(Debug, Clone, Default)]
pub struct Transition {
    /// The changes, applied in their order.
    pub writes: Vec<Write>,
    /// What the ledger says of them. A change of state needs one at least.
    pub entries: Vec<NewEntry>,
    /// Whom to wake afterwards.
    pub nudges: Vec<Nudge>,
}

impl Transition {
    /// A transition with its entry.
    pub fn new(entry: NewEntry) -> Self {
        Self { entries: vec![entry], ..Self::default() }
    }

    /// A change that the ledger need not tell of: a session, a feed's date, a nudge that was heard.
    pub fn silent(write: Write) -> Self {
        Self { writes: vec![write], ..Self::default() }
    }

    /// Adds a change.
    #[must_use]
    pub fn write(mut self, write: Write) -> Self {
        self.writes.push(write);
        self
    }

    /// Adds an entry.
    #[must_use]
    pub fn entry(mut self, entry: NewEntry) -> Self {
        self.entries.push(entry);
        self
    }

    /// Adds a nudge.
    #[must_use]
    pub fn nudge(mut self, topic: impl Into<String>, subject: impl ToString) -> Self {
        self.nudges.push(Nudge::new(topic, subject));
        self
    }

    /// Whether it takes something out of what the ledger's entries say.
    pub(crate) fn takes_payloads(&self) -> bool {
        self.writes.iter().any(|write| matches!(write, Write::TakePayloads(_)))
    }

    /// Checks what can be checked without the database.
    pub(crate) fn check(&self) -> Result<(), CommitError> {
        for entry in &self.entries {
            entry.check().map_err(|error| CommitError::Entry(std::sync::Arc::new(error)))?;
        }
        for write in &self.writes {
            if let Some((noun, id)) = write.moves()
                && !self.entries.iter().any(|entry| entry.subjects.contains(&id))
            {
                return Err(CommitError::NoEntry { noun, id });
            }
        }
        Ok(())
    }
}

impl Write {
    /// The noun whose state this changes, so that the ledger must name it.
    fn moves(&self) -> Option<(&'static str, String)> {
        match self {
            Self::NewRemediation(new) => Some(("remediation", new.id.to_string())),
            Self::MoveRemediation(step) => Some(("remediation", step.id.to_string())),
            Self::NewTask(new) => Some(("task", new.id.to_string())),
            Self::MoveTask(step) => Some(("task", step.id.to_string())),
            Self::NewPerson(new) => Some(("person", new.id.to_string())),
            Self::ChangePerson(change) => Some(("person", change.id.to_string())),
            Self::NewTeam(new) => Some(("team", format!("team/{}", new.name))),
            Self::RemoveTeam(team) => Some(("team", format!("team/{}", team.name))),
            Self::Join(member) | Self::Leave(member) => Some(("person", member.person.to_string())),
            Self::Give(grant) => Some(("grant", subject(&grant.holder))),
            Self::Revoke(revoke) => Some(("grant", subject(&revoke.holder))),
            Self::NewEnrolment(new) => Some(("enrolment", format!("enrolment/{}", new.name))),
            Self::DropEnrolment(token) => Some(("enrolment", format!("enrolment/{}", token.name))),
            Self::Forget(_) | Self::TakePayloads(_) => Some(("retention", SUBJECT.to_owned())),
            Self::HoldRecords(hold) => Some(("retention hold", hold.subject.clone())),
            Self::LiftRecords(lift) => Some(("retention hold", lift.subject.clone())),
            Self::PutConnection(connection) => Some(("connection", format!("connection/{}", connection.name))),
            Self::DropConnection(connection) => Some(("connection", format!("connection/{}", connection.name))),
            _ => None,
        }
    }
}

/// How the ledger names whoever holds a role.
fn subject(holder: &Holder) -> String {
    match holder {
        Holder::Person(id) => id.to_string(),
        Holder::Team(_) => holder.to_string(),
    }
}

/// What a change turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// As asked.
    Done,
    /// It was so already; nothing was written.
    Unchanged,
    /// The generation the row has now.
    Generation(u64),
    /// What a run of detectors changed.
    Findings(FindingChanges),
    /// Where the order stands in its executor's queue.
    Order(OrderId, Position),
    /// The token of the lease; absent when another holds it.
    Lease(Option<u64>),
    /// The document kept with the token that was used.
    Token(serde_json::Value),
}

/// A transition that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Index of each of its entries in the ledger, in their order.
    pub entries: Vec<u64>,
    /// What each write turned out to be, in their order.
    pub effects: Vec<Effect>,
}
