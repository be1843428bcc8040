//! What the server keeps with its rows beside their states: the documents in the `body` of remediations and in
//! settings.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stanch_engine::LeftOut;
use stanch_engine::campaign::Back;
use stanch_engine::case;
use stanch_engine::exposure_time::Moment;
use stanch_engine::rollout::Rollout;
use stanch_model::Digest;
use stanch_model::decision::Mode;
use stanch_model::id::{AssetId, CaseId, ItemId, OrderId};
use stanch_model::item::WorkItem;
use stanch_model::order::StepRequest;
use stanch_model::terms::{ChangeClass, ChangeTerm};

/// What is kept with a remediation.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    /// Why it exists, for people.
    pub(crate) reason: String,
    /// The items' short names, in the order of the items.
    pub(crate) names: Vec<String>,
    /// The decision it follows from; none when a person asked.
    pub(crate) decided: Option<Decided>,
    /// The step of a case that it is; none where it stands alone.
    pub(crate) step: Option<CaseStep>,
    /// The change request at another system that it was opened with.
    pub(crate) change: Option<ChangeAsked>,
    /// The orders that ask executors for a plan, one an asset.
    pub(crate) plan_orders: Vec<OrderId>,
    /// When they were made.
    pub(crate) planned_at: Option<Timestamp>,
    /// The items as they were when the plan was made.
    pub(crate) before: Vec<WorkItem>,
    /// Items that the policies do not grant, now that it is known what would be done for them, and what they say. They are
    /// planned no further with the others.
    pub(crate) not_granted: BTreeMap<ItemId, String>,
    /// Items asked for that are not in the plan.
    pub(crate) left_out: Vec<LeftOut>,
    /// What was carried out in copies of targets; the newest [`REHEARSALS`] of them.
    pub(crate) rehearsals: Vec<Rehearsal>,
    /// What a person asked to take back.
    pub(crate) undo: Option<Undo>,
    /// Where the rollout stands beside its state.
    pub(crate) rollout: Option<Rollout>,
    /// From when on it waited for what; the newest [`MOMENTS`] of them.
    pub(crate) moments: Vec<Moment>,
    /// How often a person had to say something about it.
    pub(crate) touches: u32,
}

/// Rehearsals that are kept with a remediation.
pub(crate) const REHEARSALS: usize = 8;

/// A leaf that a person wanted to see carried out in a copy of its target. What came of it is the answer to the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rehearsal {
    /// The order.
    pub(crate) order: OrderId,
    /// The plan that it is a part of.
    pub(crate) plan: Digest,
    /// The target.
    pub(crate) asset: AssetId,
    /// Who asked.
    pub(crate) by: String,
    /// When.
    pub(crate) at: Timestamp,
    /// By when it must be over.
    pub(crate) until: Timestamp,
}

/// The decision a remediation follows from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Decided {
    /// What it was grouped by: rules, action, terms and bundle.
    pub(crate) key: Digest,
    /// How far it may go by itself. Once there is a plan, what was decided on what that would really do.
    pub(crate) mode: Mode,
    /// The bundle.
    pub(crate) bundle: Option<Digest>,
    /// The rules whose word counts.
    pub(crate) rules: Vec<String>,
    /// The version that would close each item: a person's no is about that one.
    pub(crate) versions: BTreeMap<ItemId, String>,
}

/// A change request that another system opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChangeAsked {
    /// What it is bound by.
    pub(crate) term: ChangeTerm,
    /// What the other system calls it.
    pub(crate) reference: Option<String>,
}

/// Where a change request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ChangeState {
    /// The other system is told.
    Open,
    /// It may be done.
    Approved,
    /// It may not be done.
    Rejected,
    /// It was done, and waits to be closed.
    Done,
    /// It is closed.
    Closed,
    /// Nothing was begun, and nothing will be.
    Withdrawn,
}

impl ChangeState {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Done => "done",
            Self::Closed => "closed",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// A remediation as another system knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    /// The kind.
    pub(crate) class: ChangeClass,
    /// The plan that is agreed to, and no other.
    pub(crate) plan: Digest,
    /// Where it stands.
    pub(crate) state: ChangeState,
    /// What the other system calls it.
    pub(crate) reference: Option<String>,
    /// Who had the last word on it.
    pub(crate) by: Option<String>,
    /// Why, or how it ended.
    pub(crate) why: Option<String>,
}

impl Change {
    /// As stored; one that does not read is none.
    pub(crate) fn read(body: &Value) -> Option<Self> {
        serde_json::from_value(body.clone()).ok()
    }

    pub(crate) fn write(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }
}

/// What a remediation does in a case.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CaseStep {
    /// The case.
    pub(crate) case: CaseId,
    /// The run of it, from 0.
    pub(crate) run: usize,
    /// The name of its rung.
    pub(crate) rung: String,
    /// What executors are asked for, by asset.
    pub(crate) asks: BTreeMap<AssetId, Vec<StepRequest>>,
}

impl CaseStep {
    /// The items that something is asked for on an asset, in order.
    pub(crate) fn items_on(&self, asset: &AssetId) -> Vec<ItemId> {
        let asked = self.asks.get(asset).into_iter().flatten().flat_map(|request| &request.items);
        asked.collect::<BTreeSet<_>>().into_iter().cloned().collect()
    }
}

/// What a person asked to take back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Undo {
    /// The items.
    pub(crate) items: Vec<ItemId>,
    /// Who asked.
    pub(crate) by: String,
    /// Why.
    pub(crate) reason: String,
    /// When.
    pub(crate) at: Timestamp,
    /// It only stood in for something that is done now: nobody minds it being done again.
    #[serde(default)]
    pub(crate) lifted: bool,
}

/// A case with what people should know of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Case {
    /// How far it has come.
    pub(crate) case: case::Case,
    /// What it is about, in a few words.
    pub(crate) title: String,
    /// The names of its items, in the order of its members.
    pub(crate) names: Vec<String>,
    /// Who opened it; [`crate::tasks::ACTOR`] where policies did.
    pub(crate) by: String,
    /// Why.
    pub(crate) reason: String,
    /// The playbook, or the policy whose own steps these are.
    pub(crate) playbook: String,
    /// The decision it follows from; none where a person opened it.
    pub(crate) decided: Option<Decided>,
    /// What happened, the oldest first; the newest [`HAPPENED`] of it.
    pub(crate) happened: Vec<Happened>,
}

/// Something that happened in a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Happened {
    /// When.
    pub(crate) at: Timestamp,
    /// Who did it.
    pub(crate) by: String,
    /// The run it is about, from 0.
    pub(crate) run: Option<usize>,
    /// What kind of thing it is: `begun`, `done`, `blocked`, ...
    pub(crate) kind: String,
    /// In words.
    pub(crate) text: String,
}

/// What is kept of what happened in one case.
pub(crate) const HAPPENED: usize = 500;

impl Case {
    /// As stored; one that does not read is none.
    pub(crate) fn read(body: &Value) -> Option<Self> {
        serde_json::from_value(body.clone()).ok()
    }

    pub(crate) fn write(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    /// Notes what happened.
    pub(crate) fn note(&mut self, at: Timestamp, by: &str, run: Option<usize>, kind: &str, text: impl Into<String>) {
        self.happened.push(Happened { at, by: by.to_owned(), run, kind: kind.to_owned(), text: text.into() });
        let more = self.happened.len().saturating_sub(HAPPENED);
        self.happened.drain(..more);
    }
}

/// What a policy did, taken back together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Campaign {
    /// The policy.
    pub(crate) policy: String,
    /// What it did from then on,
    pub(crate) from: Timestamp,
    /// and before then.
    pub(crate) until: Timestamp,
    /// Who asked.
    pub(crate) by: String,
    /// Why.
    pub(crate) reason: String,
    /// Its steps, in order; at the end what stays.
    pub(crate) steps: Vec<CampaignStep>,
}

/// What one remediation did on one asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CampaignStep {
    /// What is taken back.
    pub(crate) back: Back,
    /// How far that has come.
    pub(crate) state: StepState,
}

/// How far a step of a campaign has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum StepState {
    /// It is not asked for yet.
    Waiting,
    /// It is asked for.
    Asked,
    /// It is taken back.
    Done,
    /// It stays.
    Kept {
        /// Why.
        why: String,
    },
}

impl StepState {
    /// Its name on the wire.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Asked => "asked",
            Self::Done => "done",
            Self::Kept { .. } => "kept",
        }
    }
}

impl Campaign {
    /// As stored; one that does not read has no steps, and so is over.
    pub(crate) fn read(body: &Value) -> Self {
        serde_json::from_value(body.clone()).unwrap_or_else(|_| Self {
            policy: String::new(),
            from: Timestamp::UNIX_EPOCH,
            until: Timestamp::UNIX_EPOCH,
            by: String::new(),
            reason: "what was stored of it does not read".to_owned(),
            steps: Vec::new(),
        })
    }

    pub(crate) fn write(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }
}

impl Record {
    pub(crate) fn read(body: &Value) -> Self {
        serde_json::from_value(body.clone()).unwrap_or_default()
    }

    pub(crate) fn write(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }
}

/// Moments kept of one remediation.
pub(crate) const MOMENTS: usize = 200;

/// The setting that holds the points of the trend.
pub(crate) const TREND: &str = "trend";
/// Points kept of it.
pub(crate) const TREND_POINTS: usize = 400;
