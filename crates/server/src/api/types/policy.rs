//! Policies in force, what was decided by them, and what actions have earned.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A redundancy group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyGroup {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// So many of its members must work at any time.
    pub min_healthy: u32,
    /// Its members.
    pub members: u64,
    /// Members that do not do their work: a health probe fails, or their executor is silent.
    pub broken: u64,
}

/// The policies in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Policies {
    /// The folder or repository they come from; absent when the server was given no policies.
    pub folder: Option<String>,
    /// Digest over names and contents of the bundle's files; absent while none is in force.
    pub digest: Option<String>,
    /// Since when it is in force.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Whether somebody signed it; an unsigned one grants no more than `approve`.
    pub signed: bool,
    /// When it was signed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub signed_at: Option<Timestamp>,
    /// The policies, by name.
    pub policies: Vec<Policy>,
    /// Risks that the bundle accepts.
    pub exceptions: Vec<PolicyException>,
    /// Assets that stand in for each other, and whether they do.
    pub groups: Vec<PolicyGroup>,
    /// A newer bundle that was refused; the one in force stays.
    pub refused: Option<RefusedBundle>,
    /// What actions have shown, by system and class of assets.
    pub earned: Vec<Earned>,
}

/// One policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// It decides nothing: what it would change is only counted.
    pub shadow: bool,
    /// In shadow: the open items whose mode would be another if it and the others in shadow were in force.
    pub would_change: u64,
    /// Its rules, in the order of the file.
    pub rules: Vec<PolicyRule>,
    /// What it binds what it grants to, line by line.
    pub terms: Vec<String>,
    /// Tests of its own.
    pub tests: u64,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyRule {
    /// Its name, `policy/rule`.
    pub path: String,
    /// What it is for.
    pub description: Option<String>,
    /// The condition; absent for one that always holds.
    pub when: Option<String>,
    /// `grants` or `caps`.
    pub effect: String,
    /// The mode it speaks of.
    pub mode: String,
    /// Open items on which its word counts now.
    pub items: u64,
}

/// A risk that somebody accepted until a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyException {
    /// Its name.
    pub name: String,
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
}

/// A bundle that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusedBundle {
    /// Why, in a sentence.
    pub why: String,
    /// What is wrong with it.
    pub problems: Vec<PolicyProblem>,
    /// When it was looked at.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// One thing that is wrong with a policy file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyProblem {
    /// The file.
    pub file: String,
    /// The line.
    pub line: u32,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// What an action has shown on one system and class of assets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Earned {
    /// The action.
    pub action: String,
    /// The system: `debian 12`.
    pub system: String,
    /// The kind of asset.
    pub kind: String,
    /// What a person said of its data; absent for nothing said.
    pub classification: Option<String>,
    /// Runs that the check has confirmed, since the grade was last lost.
    pub verified: u32,
    /// Runs that failed.
    pub failed: u32,
    /// Runs that were taken back.
    pub undone: u32,
    /// Runs that a person called wrong.
    pub misfires: u32,
    /// The lower bound of its success rate with 95 % confidence, in parts of a million.
    pub success_at_least_e6: Option<u32>,
    /// When an undo failed, which took all it had earned before.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub lost_at: Option<Timestamp>,
    /// What is missing before it may be proposed to run by itself; nothing when it is ready.
    pub missing: Vec<String>,
}

/// A draft of policies, to be tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// Its files.
    pub files: Vec<DraftFile>,
    /// Over so many hours back from now, and all that is still open.
    #[serde(default = "a_month")]
    pub hours: u32,
}

fn a_month() -> u32 {
    30 * 24
}

/// One file of a draft.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DraftFile {
    /// Its path inside the bundle.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// What a draft would have done here, and what forged findings could make it do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tried {
    /// Digest of the draft.
    pub digest: String,
    /// Items that were looked at.
    pub items: u64,
    /// How many would go from which mode to which: `alert to auto`.
    pub changes: std::collections::BTreeMap<String, u64>,
    /// The first of them, the highest mode first.
    pub changed: Vec<TriedItem>,
    /// Items that the draft would have done by itself.
    pub by_itself: u64,
    /// Of those, how many something was done about.
    pub known: u64,
    /// Of those, what failed, was taken back or was called wrong.
    pub harmed: Vec<TriedHarm>,
    /// The share of what is known that went wrong, in parts of a million; absent while nothing is known.
    pub harm_rate_e6: Option<u32>,
    /// The day on which the most targets would have begun by themselves.
    pub busiest_day: Option<String>,
    /// So many.
    pub busiest_day_targets: u64,
    /// The most that forged findings could make of it, by action and mode.
    pub worst: Vec<TriedWorst>,
    /// Rules against lock-out that it breaks.
    pub lock_outs: Vec<TriedLockOut>,
}

/// An item of which a draft says something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TriedItem {
    /// Its id.
    pub item: String,
    /// Its short name.
    pub name: String,
    /// What was decided.
    pub was: String,
    /// What the draft says.
    pub would_be: String,
    /// Why.
    pub reason: String,
}

/// Something that went wrong when it was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TriedHarm {
    /// The item's id.
    pub item: String,
    /// Its short name.
    pub name: String,
    /// How.
    pub how: String,
}

/// How far one action could be driven by forged findings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TriedWorst {
    /// The action.
    pub action: String,
    /// The mode.
    pub mode: String,
    /// On so many assets.
    pub assets: u64,
    /// The first of them.
    pub named: Vec<String>,
    /// Rules that could be made to grant it.
    pub rules: Vec<String>,
    /// What holds it back.
    pub held_by: String,
}

/// A rule against lock-out that is broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TriedLockOut {
    /// Which.
    pub rule: String,
    /// The action.
    pub action: String,
    /// What could happen.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// What may run when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Calendar {
    /// From when on it is told.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// Until when it is told.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// The calendars of the policies in force.
    pub calendars: Vec<CalendarSpans>,
    /// What has not ended, with when it can start and be over.
    pub upcoming: Vec<Upcoming>,
}

/// When one calendar is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CalendarSpans {
    /// Its name.
    pub name: String,
    /// `window` for policies that start only in it, `freeze` for those that start nothing in it, or both.
    pub used_as: Vec<String>,
    /// Whether it is in force now.
    pub now: bool,
    /// When it is in force.
    pub spans: Vec<CalendarSpan>,
}

/// One time in which a calendar is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CalendarSpan {
    /// From when.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// What its entry is called.
    pub label: Option<String>,
}

/// A remediation that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Upcoming {
    /// Its id.
    pub id: String,
    /// The items' short names.
    pub names: Vec<String>,
    /// Its state.
    pub state: String,
    /// Targets.
    pub targets: u64,
    /// When it can start; absent when it has, or when nothing is known.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub starts_at: Option<Timestamp>,
    /// When it can be over, in words, held against its deadline.
    pub forecast: Option<String>,
    /// On what it waits now.
    pub waiting_on: Option<String>,
}

/// What was decided of an item, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DecisionDetail {
    /// The mode.
    pub mode: String,
    /// Why, in a sentence.
    pub reason: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The bundle that decided.
    pub bundle: Option<String>,
    /// The rules whose word counts.
    pub words: Vec<RuleWord>,
    /// Rules that said nothing, and why.
    pub silent: Vec<SilentRule>,
    /// Facts that a rule asked for and nobody knows.
    pub missing: Vec<String>,
    /// What would be decided if the policies in shadow were in force; absent where they have no word.
    pub shadow: Option<ShadowDecision>,
    /// What it binds a remediation to, line by line.
    pub terms: Vec<String>,
}

/// What would be decided of an item if the policies in shadow were in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShadowDecision {
    /// The mode it would be.
    pub mode: String,
    /// Why, in a sentence.
    pub reason: String,
    /// What the rules in shadow say.
    pub words: Vec<RuleWord>,
}

/// What a rule says of an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuleWord {
    /// The rule.
    pub rule: String,
    /// `grants`, `caps` or `undecided`.
    pub effect: String,
    /// The mode it counts with.
    pub mode: String,
    /// Why, in a sentence.
    pub reason: String,
}

/// A rule that said nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SilentRule {
    /// The rule.
    pub rule: String,
    /// Why.
    pub reason: String,
}
