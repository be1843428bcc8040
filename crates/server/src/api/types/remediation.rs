//! Remediations, their tasks, their timeline and what undo would do.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Change, Plan};

/// One remediation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Remediation {
    /// Its id.
    pub id: String,
    /// Its state, without the wave.
    pub state: String,
    /// The wave it is in, counted from 0.
    pub wave: Option<u32>,
    /// Whether nothing more will happen by itself.
    pub over: bool,
    /// The items' ids.
    pub items: Vec<String>,
    /// The items' short names.
    pub names: Vec<String>,
    /// The assets' ids.
    pub assets: Vec<String>,
    /// Why it exists: who asked, or which rule.
    pub reason: String,
    /// Who asked for it.
    pub asked_by: String,
    /// How far it may go by itself; absent when a person asked.
    pub mode: Option<String>,
    /// The case that it is a step of.
    pub case: Option<String>,
    /// The hash of its plan, once there is one.
    pub plan: Option<String>,
    /// On what it waits now.
    pub waiting_on: Option<String>,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it last moved.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// One remediation with everything about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RemediationDetail {
    /// The remediation.
    pub remediation: Remediation,
    /// The plan, once there is one.
    pub plan: Option<Plan>,
    /// Items asked for that are not in the plan, and why.
    pub left_out: Vec<LeftOut>,
    /// What each target does.
    pub tasks: Vec<Task>,
    /// What happened, oldest first.
    pub timeline: Vec<Event>,
    /// What undo would do now; absent when there is nothing to take back.
    pub undo: Option<UndoPreview>,
    /// Its change requests at other systems.
    pub changes: Vec<super::ChangeRequest>,
    /// Other changes that may run at the same time and get in its way.
    pub conflicts: Vec<super::ChangeConflict>,
    /// There are more of them, or not everything that hangs together was looked at.
    pub more_conflicts: bool,
    /// What was carried out in copies of its targets, the newest first.
    pub rehearsals: Vec<Rehearsal>,
    /// The rules that asked for it, or that bind it.
    pub rules: Vec<String>,
    /// Who must agree before it starts; each has to be met.
    pub approvals: Vec<Quorum>,
    /// Who has spoken on its plan.
    pub spoken: Vec<Spoken>,
    /// Who is asked whether what was done may stay.
    pub questions: Vec<Question>,
}

/// A part of a plan that was carried out, checked and taken back in a copy of its target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rehearsal {
    /// The asset's id.
    pub asset: String,
    /// The asset's name.
    pub asset_name: String,
    /// Who asked for it.
    pub by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// `running`; `successful`, `failed` or, when the copy could show nothing, `inconclusive`; `refused` by the
    /// executor; `unanswered`.
    pub state: String,
    /// It is of a plan that another one has taken the place of.
    pub outdated: bool,
    /// What is going on, or why it was refused.
    pub message: Option<String>,
    /// What a person can do about it.
    pub hint: Option<String>,
    /// What was done, step by step.
    pub applied: Vec<StepReport>,
    /// The checks afterwards.
    pub checks: Vec<Check>,
    /// What was taken back, step by step.
    pub undone: Vec<StepReport>,
    /// Steps that only the target itself can show, and why.
    pub left_out: Vec<String>,
    /// Parts of the target that the copy lacks.
    pub not_copied: Vec<String>,
    /// Bytes that were written in the copy.
    pub wrote_bytes: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// So many people of these roles must agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Quorum {
    /// So many.
    pub count: u8,
    /// In any of these roles.
    pub roles: Vec<String>,
    /// Whoever asked for it, or wrote its policy, does not count.
    pub exclude_author: bool,
    /// Who has agreed and counts.
    pub by: Vec<String>,
}

/// Somebody's word on a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Spoken {
    /// Who.
    pub who: String,
    /// Yes, or no.
    pub approved: bool,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Until when it counts, unless something has begun.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

/// Somebody is asked whether what was done by itself may stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Question {
    /// People of this role.
    pub role: String,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub due: Timestamp,
    /// They did not answer in time, and nobody is left to ask.
    pub late: bool,
}

/// An item that is not done, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeftOut {
    /// The item's id.
    pub item: String,
    /// Its short name.
    pub name: String,
    /// Why.
    pub reason: String,
    /// What a person can do.
    pub hint: Option<String>,
}

/// What undo would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UndoPreview {
    /// The items that can be taken back.
    pub items: Vec<String>,
    /// Line by line, in words.
    pub lines: Vec<String>,
    /// The differences turned round.
    pub changes: Vec<Change>,
    /// What cannot be taken back.
    pub cannot: Vec<String>,
}

/// One leaf on one asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Task {
    /// Its id.
    pub id: String,
    /// The asset's id.
    pub asset: String,
    /// The asset's name.
    pub asset_name: String,
    /// Its state.
    pub state: String,
    /// Its wave, counted from 0.
    pub wave: u32,
    /// On what it waits now.
    pub waiting_on: Option<String>,
    /// The last word of the executor on the way.
    pub progress: Option<String>,
    /// What was done, step by step.
    pub applied: Vec<StepReport>,
    /// What was taken back, step by step.
    pub undone: Vec<StepReport>,
    /// The checks after the act.
    pub checks: Vec<Check>,
    /// When it last moved.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// What happened to one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepReport {
    /// Its number in the leaf.
    pub step: u32,
    /// The action.
    pub action: String,
    /// `done`, `unchanged`, `failed`, `interrupted`, `not_started`, `refused`.
    pub outcome: String,
    /// What went wrong, or where it stopped.
    pub message: Option<String>,
    /// What a person can do.
    pub hint: Option<String>,
    /// When it began.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// How often it was entered: more than once after a crash.
    pub entered: u32,
    /// What changed, or what had moved.
    pub changes: Vec<Change>,
    /// Kept output.
    pub evidence: Vec<Evidence>,
}

/// Kept output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Evidence {
    /// What it is.
    pub name: String,
    /// The text.
    pub text: String,
    /// Bytes cut off.
    pub cut_bytes: u64,
    /// Digest of the whole.
    pub digest: String,
}

/// One check after an act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// `successful`, `inconclusive`, `failed`.
    pub outcome: String,
    /// In words.
    pub detail: String,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Its kind, `remediation.approved`.
    pub kind: String,
    /// Who did it: a person, the server or an executor.
    pub who: String,
    /// In words.
    pub text: String,
    /// Its number in the ledger, where it is recorded.
    pub entry: Option<u64>,
}
