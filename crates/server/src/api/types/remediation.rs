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
    /// What its plan cuts off, for the targets that come first; empty unless the plan waits.
    pub blast_radius: Vec<BlastRadius>,
    /// The rules that asked for it, or that bind it.
    pub rules: Vec<String>,
    /// Who must agree before it starts; each has to be met.
    pub approvals: Vec<Quorum>,
    /// What executors of its targets ask for by their own rules before they begin it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<Signatures>,
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

/// What a plan cuts off on one target while it is carried out, and what hangs on that target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlastRadius {
    /// The asset's id.
    pub asset: String,
    /// The asset's name.
    pub asset_name: String,
    /// The most that any step does to those who use the target: `none`, `restart`, `session_loss`, `outage`.
    pub disruption: String,
    /// Ports that are cut off, those that others reach first.
    pub cut: Vec<CutPort>,
    /// Listening ports that stay.
    pub untouched_ports: u32,
    /// Sessions of people on the target, where they could be counted.
    pub sessions: Option<u32>,
    /// What could not be told, and why.
    pub unknown: Vec<String>,
    /// When that was measured; absent when it never was.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub measured_at: Option<Timestamp>,
    /// Names of assets that do not work without the target; at most 20.
    pub dependents: Vec<String>,
    /// How many there are.
    pub dependents_count: u32,
    /// There are more, which were not looked at.
    pub more_dependents: bool,
    /// The redundancy groups the target is in.
    pub groups: Vec<GroupNow>,
}

impl BlastRadius {
    /// Ports that are named one by one in words.
    const NAMED: usize = 12;

    /// What it says, a line each, for a person who has to agree.
    pub fn lines(&self) -> Vec<String> {
        let told = |what: &str| self.unknown.iter().all(|why| !why.starts_with(what));
        let mut lines = Vec::new();
        if !self.cut.is_empty() {
            let mut ports: Vec<String> = self.cut.iter().take(Self::NAMED).map(CutPort::words).collect();
            let more = self.cut.len().saturating_sub(Self::NAMED);
            if more > 0 {
                ports.push(format!("{more} more"));
            }
            lines.push(format!("cut off: {}", ports.join(", ")));
        } else if self.measured_at.is_some() && told("listening") {
            lines.push("no listening port is cut off".to_owned());
        }
        if self.untouched_ports > 0 {
            lines.push(format!("{} listening port{}", self.untouched_ports, are(self.untouched_ports, "stay")));
        }
        match self.sessions {
            Some(0) => lines.push("nobody is at work on it".to_owned()),
            Some(1) => lines.push("1 person is at work on it".to_owned()),
            Some(people) => lines.push(format!("{people} people are at work on it")),
            None => {}
        }
        if self.dependents_count > 0 {
            let unnamed =
                usize::try_from(self.dependents_count).unwrap_or(usize::MAX).saturating_sub(self.dependents.len());
            let more = if unnamed > 0 { format!(" and {unnamed} more") } else { String::new() };
            let names = self.dependents.join(", ");
            lines.push(format!("do not work without it: {names}{more}"));
        }
        if self.more_dependents {
            lines.push("more may hang on it than was looked at".to_owned());
        }
        lines.extend(self.groups.iter().map(|group| {
            let GroupNow { name, members, at_work, min_healthy } = group;
            format!("group {name}: {at_work} of {members} at work, and {min_healthy} have to be")
        }));
        lines.extend(self.unknown.iter().map(|why| format!("not known: {why}")));
        lines
    }
}

/// `s stay` of many, ` stays` of one.
fn are(count: u32, verb: &str) -> String {
    if count == 1 { format!(" {verb}s") } else { format!("s {verb}") }
}

/// A port that is cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CutPort {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The port.
    pub port: u16,
    /// The service, package or executable behind it.
    pub program: Option<String>,
    /// Only the target itself can reach it.
    pub local: bool,
    /// Connections over it, where they could be counted.
    pub connections: Option<u32>,
}

impl CutPort {
    fn words(&self) -> String {
        let program = self.program.as_deref().map(|program| format!(" {program}")).unwrap_or_default();
        let connections = match self.connections {
            Some(1) => Some("1 connection".to_owned()),
            Some(many) => Some(format!("{many} connections")),
            None => None,
        };
        let local = self.local.then(|| "from itself alone".to_owned());
        let notes: Vec<String> = connections.into_iter().chain(local).collect();
        let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
        format!("{} {}{program}{notes}", self.protocol, self.port)
    }
}

/// A redundancy group as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupNow {
    /// Its name.
    pub name: String,
    /// Its members.
    pub members: u32,
    /// Members that do their work.
    pub at_work: u32,
    /// So many have to, at any time.
    pub min_healthy: u32,
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

/// Signatures that executors of some targets ask for by their own rules, over the plan's hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Signatures {
    /// The targets.
    pub targets: Vec<String>,
    /// So many.
    pub need: u16,
    /// So many of the keys that count have signed.
    pub have: u16,
    /// Of these keys.
    pub keys: Vec<String>,
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
    /// The key of their own with which they signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
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
    /// Windows that its target has missed in a row.
    pub missed_windows: u32,
    /// The last of them: which, and what it waited for when it shut.
    pub missed: Option<String>,
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
