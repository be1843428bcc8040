//! Hosts and what is where, on the wire.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The executor that serves an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AssetExecutor {
    /// Its id.
    pub id: String,
    /// The version of its program, where it says one.
    pub version: Option<String>,
    /// The actions it can carry out; empty means it can only look.
    pub actions: Vec<String>,
    /// What its host can do, as it probed: `apt`, `systemd`, `nftables` and so on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub abilities: Vec<String>,
    /// What its host cannot do, with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lacks: BTreeMap<String, String>,
    /// So many people have to sign a plan before it begins anything; nobody where it does not ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signatures: Option<u16>,
    /// Why it is sent nothing.
    pub frozen: Option<String>,
}

/// That one asset was seen to call another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SeenEdge {
    /// The id of what calls.
    pub from: String,
    /// What people call it.
    pub from_name: String,
    /// The id of what is called.
    pub to: String,
    /// What people call it.
    pub to_name: String,
    /// The port there.
    pub port: u16,
    /// The program that calls, as its host says.
    pub program: Option<String>,
    /// When it was seen first.
    #[schema(value_type = String, format = DateTime)]
    pub first_seen_at: Timestamp,
    /// When it was seen last.
    #[schema(value_type = String, format = DateTime)]
    pub last_seen_at: Timestamp,
    /// `proposed`, `linked` or `dismissed`.
    pub state: String,
}

/// What was installed on an asset when, as its facts showed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PackageHistory {
    /// When its facts were first read: of what was before nothing is known. Absent where they never were.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Packages in their versions, the newest first.
    pub versions: Vec<PackageVersion>,
    /// There are more than were asked for.
    pub more: bool,
}

/// A package in one version, as long as facts showed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PackageVersion {
    /// The package or component.
    pub package: String,
    /// What tells it from others of its name there: an architecture, or its package URL without version.
    pub place: String,
    /// The version.
    pub version: String,
    /// When the first facts were read that showed it: it came between those before and these.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// When the first facts were read that did not any more; absent while they do.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// When it was installed, as the host itself says.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub installed_at: Option<Timestamp>,
    /// It was there already when the asset's facts were first read.
    pub baseline: bool,
}

/// What a person says of a call that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JudgeEdge {
    /// The id of what calls.
    pub from: String,
    /// The id of what is called.
    pub to: String,
    /// The port there.
    pub port: u16,
    /// True: the one depends on the other. False: it does not matter, and nobody is asked again.
    pub depends: bool,
}

/// Hosts of which something is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlindHosts {
    /// `no_executor`, `stale`, `unconfirmed`, `frozen`, `no_policy`, `unsupported`, `unmatched`.
    pub name: String,
    /// What that means, in words.
    pub why: String,
    /// So many hosts.
    pub hosts: u64,
}

/// One problem over all hosts, by any of its names. Absent means not known, never zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cve {
    /// The name it was asked for by.
    pub id: String,
    /// What others call it, as far as it was found.
    pub other_names: Vec<String>,
    /// Whether any feed or finding knows it. Of what nobody knows, not finding it says nothing.
    pub known: bool,
    /// By the highest CVSS score: `none`, `low`, `medium`, `high`, `critical`; `unknown` without one.
    pub severity: String,
    /// Scores: `3.1 7.5 (source)`.
    pub cvss: Vec<String>,
    /// The highest CVSS base score, in tenths.
    pub cvss_e1: Option<u8>,
    /// EPSS probability in parts per 100,000.
    pub epss_e5: Option<u32>,
    /// Share of all scored ids at or below, in parts per 100,000.
    pub epss_percentile_e5: Option<u32>,
    /// Day it was added to the catalogue of known exploited vulnerabilities.
    pub kev_added: Option<String>,
    /// The due date given there.
    pub kev_due: Option<String>,
    /// Known to be used by ransomware campaigns.
    pub ransomware: bool,
    /// SSVC exploitation.
    pub exploitation: Option<String>,
    /// SSVC automatable.
    pub automatable: Option<String>,
    /// SSVC technical impact.
    pub technical_impact: Option<String>,
    /// How many hosts have it, and how many could not be looked at.
    pub hosts: CveHosts,
    /// The remediations that are about it now.
    pub work: Vec<CveWork>,
    /// When all of it can be over at the latest, when nothing fails; absent while something of it has no time.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// The same in words, with what is missing.
    pub finish: String,
    /// Where it was found, the most pressing first.
    pub places: Vec<CvePlace>,
    /// Pass as `after` for the next page; absent on the last.
    pub next: Option<String>,
    /// There are more places than are counted.
    pub cut: bool,
}

/// How many hosts have a problem, and how many could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CveHosts {
    /// Hosts that are known.
    pub all: u64,
    /// Hosts that were looked at lately, with data at hand.
    pub looked_at: u64,
    /// Hosts of which not finding it says nothing.
    pub not_looked_at: u64,
    /// Why those were not looked at; a host may count more than once.
    pub unseen: Vec<BlindHosts>,
    /// Assets that have it now.
    pub exposed: u64,
    /// Assets by the most pressing of their places: `open`, `held`, `no_fix`, `in_work`, `excepted`, `unknown`, `fixed`,
    /// `gone`, `not_affected`.
    pub by_state: BTreeMap<String, u64>,
}

/// A remediation that is about a problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CveWork {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub state: String,
    /// Assets with this problem that it is about.
    pub hosts: u64,
    /// Who has to do something before it goes on.
    pub waits_for: String,
    /// What it waits for, in its own words.
    pub waiting_on: Option<String>,
    /// When it can be over, in words.
    pub forecast: Option<String>,
    /// The same as a time, when everything is slow and nothing fails.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ends_at: Option<Timestamp>,
}

/// A package of an asset that has or had a problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CvePlace {
    /// The asset's id.
    pub asset: String,
    /// Its name.
    pub asset_name: String,
    /// Its environment.
    pub environment: Option<String>,
    /// The team that owns it.
    pub owner: Option<String>,
    /// The source package or component.
    pub package: String,
    /// The version that is installed, or was when it was last found.
    pub version: String,
    /// The version that fixes it.
    pub fixed_version: Option<String>,
    /// What the check says.
    pub verdict: String,
    /// `open`, `held`, `no_fix`, `in_work`, `excepted`, `unknown`, `fixed`, `gone`, `not_affected`.
    pub state: String,
    /// What the check says, in words.
    pub reason: String,
    /// The finding's id.
    pub finding: String,
    /// The item it belongs to.
    pub item: Option<String>,
    /// The remediation that is about it now.
    pub remediation: Option<String>,
    /// When it was first seen.
    #[schema(value_type = String, format = DateTime)]
    pub first_seen_at: Timestamp,
    /// When it was closed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub closed_at: Option<Timestamp>,
}

/// Owners, tiers, environments, labels and links of many assets, as a file says them.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportAssets {
    /// `yaml` or `csv`.
    pub format: String,
    /// The file.
    pub text: String,
    /// Only tell what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// The digest of the changes that were shown; where others would be made by now, none is.
    #[serde(default)]
    pub digest: Option<String>,
}

/// What a file changes, or would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImportedAssets {
    /// Whether it was done.
    pub done: bool,
    /// Assets that change.
    pub assets: u64,
    /// The changes, in the order of the file.
    pub changes: Vec<AssetChange>,
    /// Their digest.
    pub digest: Option<String>,
    /// What is wrong with the file; while anything is, nothing is changed.
    pub errors: Vec<ImportError>,
}

/// One change of one asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AssetChange {
    /// The line of the file.
    pub line: u64,
    /// The asset's id.
    pub asset: String,
    /// Its name.
    pub asset_name: String,
    /// `environment`, `owner`, `classification`, `tier`, `label NAME`, `depends_on`, ...
    pub what: String,
    /// What it is.
    pub before: Option<String>,
    /// What it becomes; absent when it is taken away.
    pub after: Option<String>,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImportError {
    /// Which line.
    pub line: u64,
    /// What is wrong.
    pub message: String,
    /// What would help.
    pub remedy: String,
}
