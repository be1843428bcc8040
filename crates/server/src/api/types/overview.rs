//! The whole at a glance: status, assets, facts, feeds, holds.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AssetExecutor, BlindHosts};

/// How the server and what it watches are.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// When this server started.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// The mode that holds where no policy says more.
    pub default_mode: String,
    /// The executors: of many those that are frozen or silent, then the newest.
    pub executors: Vec<Executor>,
    /// All executors that ever called.
    pub executors_known: u64,
    /// Those that called lately.
    pub executors_connected: u64,
    /// The holds in force; while there is one, nothing new starts.
    pub holds: Vec<Hold>,
    /// Counts over all assets.
    pub counts: Counts,
    /// How much of the inventory the data covers.
    pub coverage: Coverage,
    /// Everything that waits, and on what.
    pub waiting: Vec<Waiting>,
    /// What could not be read, and why: what concerns most assets first.
    pub unknown: Vec<UnknownFact>,
    /// Hosts that are known.
    pub hosts: u64,
    /// Hosts that cannot be told to be clean, nor be made so, by what is missing.
    pub blind: Vec<BlindHosts>,
    /// Open findings over time, oldest first.
    pub trend: Vec<TrendPoint>,
}

/// Counts over all assets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    /// Work items with an open finding.
    pub items: u64,
    /// Open items for which something can be done.
    pub items_actionable: u64,
    /// Open items of the most urgent outcomes (immediate, out of cycle).
    pub items_urgent: u64,
    /// Items that policies have decided.
    pub items_decided: u64,
    /// Items with an action at hand that were taken back before and are left alone.
    pub items_set_aside: u64,
    /// Open items left out of `fix --all` after an undo.
    pub items_suppressed: u64,
    /// Open findings.
    pub findings: u64,
    /// Open findings by verdict.
    pub by_verdict: std::collections::BTreeMap<String, u64>,
    /// Open findings in the catalogue of known exploited vulnerabilities.
    pub known_exploited: u64,
    /// Remediations that are not over.
    pub remediations_open: u64,
    /// Remediations that wait for a person.
    pub remediations_waiting: u64,
    /// Remediations closed with the problem gone.
    pub remediations_closed: u64,
    /// Findings closed because newer facts show them gone.
    pub findings_closed: u64,
}

/// How much of an inventory the data covers; stands beside every count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Coverage {
    /// Packages whose ecosystem and source some feed knows of.
    pub with_data: u32,
    /// Packages for whose ecosystem no feed is at hand.
    pub without_feed: u32,
    /// All packages looked at.
    pub packages: u32,
}

/// Something that waits, and on what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Waiting {
    /// What waits: an id, or the name of a stage.
    pub what: String,
    /// On what, for a person.
    pub on: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

/// A fact that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnknownFact {
    /// The asset's name, or that of one of them.
    pub asset: String,
    /// So many assets.
    pub assets: u64,
    /// What is not known.
    pub fact: String,
    /// Why, and what would help.
    pub why: String,
}

/// One point of the trend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrendPoint {
    /// When it was counted.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Open findings that can be fixed.
    pub fixable: u64,
    /// All open findings.
    pub open: u64,
}

/// An executor: what carries out orders on its asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Executor {
    /// Its id.
    pub id: String,
    /// The asset it runs on.
    pub asset: String,
    /// When it last called.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub seen_at: Option<Timestamp>,
    /// Whether it has called lately.
    pub connected: bool,
    /// The actions it can carry out here; empty means it can only look.
    pub actions: Vec<String>,
    /// Why it is sent nothing, if it is frozen.
    pub frozen: Option<String>,
    /// Whether somebody has said that it is one of ours; until then its asset is only looked at.
    pub confirmed: bool,
}

/// Whether the server can do its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Its store answers and its record can be sealed.
    pub healthy: bool,
}

/// One asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Asset {
    /// Its id.
    pub id: String,
    /// `host`, `inventory`, ...
    pub kind: String,
    /// What people call it.
    pub name: String,
    /// Its environment, where a person said.
    pub environment: Option<String>,
    /// Its tier, where a person said: 1 is the most critical.
    pub tier: Option<u8>,
    /// The team that owns it, where a person said.
    pub owner: Option<String>,
    /// What its data is, where a person said.
    pub classification: Option<String>,
    /// Its labels, as people or its enrolment said.
    pub labels: std::collections::BTreeMap<String, String>,
    /// The operating system's own name.
    pub os: Option<String>,
    /// When its facts were read.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub facts_at: Option<Timestamp>,
    /// The newest facts that are judged through: detected, grouped and assessed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub judged_at: Option<Timestamp>,
    /// When it was last heard of.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub seen_at: Option<Timestamp>,
    /// How its executor is: `connected`, `away`, `unconfirmed`, `frozen`, `put_out`, `no_executor`.
    pub state: String,
    /// Its executor.
    pub executor: Option<AssetExecutor>,
    /// Why it cannot be told to be clean, nor be made so: names of blind spots.
    pub blind: Vec<String>,
    /// Open work items.
    pub items: u64,
    /// Open items for which something can be done.
    pub items_actionable: u64,
    /// Open items of the most urgent outcomes (immediate, out of cycle).
    pub items_urgent: u64,
    /// Open items that are known to be exploited.
    pub known_exploited: u64,
    /// Open findings.
    pub findings: u64,
    /// How much of its inventory the data covers.
    pub coverage: Coverage,
    /// How it hangs together with others, as people said.
    pub links: Vec<AssetLink>,
    /// Windows that it has missed since it was last brought up to date, the newest first.
    pub missed_windows: Vec<MissedWindow>,
}

/// A window that shut before a host began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MissedWindow {
    /// The remediation that was to run.
    pub remediation: String,
    /// From when it could have started.
    #[schema(value_type = String, format = DateTime)]
    pub opened_at: Timestamp,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub shut_at: Timestamp,
    /// What it waited for when the window shut.
    pub why: String,
}

/// How two assets hang together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AssetLink {
    /// The one that hangs on the other, by name.
    pub from: String,
    /// `depends_on`, `runs_on`, `member_of` or `used_on`.
    pub kind: String,
    /// The other, by name.
    pub to: String,
}

/// A summary of the facts of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Facts {
    /// The asset's id.
    pub asset: String,
    /// When reading began.
    #[schema(value_type = String, format = DateTime)]
    pub collected_at: Timestamp,
    /// The release.
    pub os: String,
    /// The main architecture.
    pub architecture: String,
    /// Installed packages.
    pub packages: u64,
    /// Packages their owner holds.
    pub held: Vec<String>,
    /// Packages that dpkg left half done.
    pub broken: Vec<String>,
    /// When the archive indexes were last fetched.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub indexes_at: Option<Timestamp>,
    /// The running kernel's release.
    pub kernel: Option<String>,
    /// Processes on files that are gone from disk.
    pub stale_processes: Option<u64>,
    /// Listening sockets, `tcp 0.0.0.0:22 /usr/sbin/sshd`.
    pub sockets: Option<Vec<String>>,
    /// Other programs that change packages by themselves.
    pub updaters: Vec<String>,
    /// What the host's own health probes say.
    pub health: Vec<HealthProbe>,
    /// What could not be read, and why.
    pub unknown: Vec<UnknownFact>,
}

/// What one health probe says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HealthProbe {
    /// The probe.
    pub name: String,
    /// It succeeded.
    pub well: bool,
    /// In a sentence.
    pub detail: String,
}

/// A stop of everything new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Hold {
    /// Its id.
    pub id: String,
    /// Also stops at the next safe point what already runs.
    pub stop_all: bool,
    /// Why.
    pub reason: String,
    /// Who set it.
    pub set_by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub set_at: Timestamp,
}

/// The data that judgements rest on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Feed {
    /// Its name, `osv/Debian-12`.
    pub name: String,
    /// `advisories`, `kev`, `epss`, `ssvc`, `vex`.
    pub kind: String,
    /// The date of its content.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub dated: Option<Timestamp>,
    /// The model or version the feed names.
    pub model: Option<String>,
    /// When it was last fetched; absent for what is built in.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub fetched_at: Option<Timestamp>,
    /// Built into the program, a snapshot of its date.
    pub snapshot: bool,
    /// Too old, or of unknown age, so that no host is called clean on it.
    pub stale: bool,
    /// `fresh`, `stale`, `undated` (it bears no date), `ageless` (it bears one, and its kind does not age by the day),
    /// `absent` (tried, and none is in force).
    pub state: String,
    /// Where it is fetched from, where a place is configured.
    pub source: Option<String>,
    /// Records in it.
    pub records: u64,
    /// Why the last attempt to refresh it failed; the last good one stays.
    pub error: Option<String>,
    /// A newer one that waits for a person, because it would change too much.
    pub pending: Option<PendingFeed>,
}

/// A newer feed that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PendingFeed {
    /// Verdicts it would change.
    pub changed: u64,
    /// Of so many.
    pub of: u64,
    /// When it was fetched.
    #[schema(value_type = String, format = DateTime)]
    pub fetched_at: Timestamp,
    /// Digest of its content: what is accepted.
    pub digest: String,
}
