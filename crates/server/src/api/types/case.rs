//! Cases: one problem, everything that is done about it, and how far that has come.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Open a case by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenCase {
    /// The items it is about, by id or name.
    pub items: Vec<String>,
    /// The playbook of the bundle in force.
    pub playbook: String,
    /// Why.
    pub reason: Option<String>,
}

/// A person's word on their task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TaskWord {
    /// What others should know of it.
    pub note: Option<String>,
}

/// A case in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CaseRow {
    /// Its id.
    pub id: String,
    /// What it is about, in a few words.
    pub title: String,
    /// `open`, `done`, `partly`, `closing`, `closed`, `undoing`, `undone`.
    pub state: String,
    /// Nothing more happens by itself.
    pub over: bool,
    /// The playbook, or the policy whose own steps these are.
    pub playbook: String,
    /// Who opened it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Items it is about.
    pub items: u64,
    /// The step that is being done, from 1; one more than there are when all are over.
    pub step: u64,
    /// Steps there are.
    pub steps: u64,
    /// What it waits for, in words.
    pub waits: Vec<String>,
    /// Tasks that wait for a person.
    pub tasks: u64,
    /// When it was opened.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// A case with everything about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Case {
    /// The case.
    pub case: CaseRow,
    /// Its steps, in order.
    pub plan: Vec<CaseStep>,
    /// What was begun, in order.
    pub runs: Vec<CaseRun>,
    /// Items that go no further, and why.
    pub not_done: Vec<CaseItem>,
    /// What happened, the oldest first.
    pub happened: Vec<CaseEvent>,
    /// Whether anything of it can be taken back.
    pub may_undo: bool,
}

/// One step: the first of its rungs that applies is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CaseStep {
    /// From 1.
    pub number: u64,
    /// Its rungs.
    pub rungs: Vec<CaseRung>,
}

/// One way to do a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CaseRung {
    /// Its name.
    pub id: String,
    /// The action, or the title of a person's task.
    pub does: String,
    /// It is a person's task.
    pub human: bool,
    /// Its parameters, as they are written.
    pub params: std::collections::BTreeMap<String, String>,
    /// Where: `asset`, or the kind of asset that is linked.
    pub on: String,
    /// Seconds after which the next rung follows.
    pub within_seconds: Option<u32>,
    /// The rung whose success lifts it.
    pub lift_when: Option<String>,
    /// `not_begun`, `running`, `done`, `blocked`, `failed`, `refused`, `going_back`, `undone`, `kept`.
    pub state: String,
}

/// One run of a rung.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CaseRun {
    /// Its number, from 0: tasks are answered by it.
    pub number: u64,
    /// The step, from 1.
    pub step: u64,
    /// The rung's name.
    pub rung: String,
    /// What it does.
    pub does: String,
    /// What it has come to.
    pub state: String,
    /// The remediation; absent for a person's task.
    pub remediation: Option<String>,
    /// Where its remediation stands.
    pub remediation_state: Option<String>,
    /// What it waits for.
    pub waiting_on: Option<String>,
    /// The assets it is done on, by name.
    pub assets: Vec<String>,
    /// The person's task.
    pub task: Option<CaseTask>,
    /// It took longer than it may.
    pub late: bool,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub begun_at: Timestamp,
    /// What became of each item.
    pub items: Vec<CaseItem>,
}

/// A task for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CaseTask {
    /// Who does it: a team, or `owner`.
    pub owner: String,
    /// What to do.
    pub instructions: String,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub due: Timestamp,
    /// `check` or `word`: what it takes to believe that it is done.
    pub verified_by: String,
    /// It waits for a word.
    pub open: bool,
    /// Who said that it is done; the check has not agreed yet while it is open.
    pub said_by: Option<String>,
}

/// An item in a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CaseItem {
    /// Its id.
    pub item: String,
    /// Its name.
    pub name: String,
    /// Its asset, by name.
    pub asset: String,
    /// What became of it.
    pub fate: String,
    /// Why.
    pub why: Option<String>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CaseEvent {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who did it.
    pub by: String,
    /// The run it is about, from 0.
    pub run: Option<u64>,
    /// The rung, by name.
    pub rung: Option<String>,
    /// What kind of thing it is.
    pub kind: String,
    /// In words.
    pub text: String,
}
