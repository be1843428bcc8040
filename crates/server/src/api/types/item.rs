//! Findings and the work items that hold them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Coverage, DecisionDetail};

/// One problem on one asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// Its id: the fingerprint of problem and place.
    pub id: String,
    /// The asset's id.
    pub asset: String,
    /// The check that found it.
    pub detector: String,
    /// The advisory's id, or what the detector calls it.
    pub advisory: String,
    /// Other ids of the same problem.
    pub aliases: Vec<String>,
    /// Source package.
    pub package: String,
    /// Binary package.
    pub binary: String,
    /// The installed version of the binary package.
    pub version: String,
    /// The version of its source package, which advisories are compared with.
    pub source_version: Option<String>,
    /// The version that fixes it.
    pub fixed_version: Option<String>,
    /// What the check says.
    pub verdict: String,
    /// Why, in a sentence.
    pub reason: String,
    /// Score strings from the advisory.
    pub cvss_vectors: Vec<String>,
    /// A doubt about the data itself.
    pub doubt: Option<String>,
    /// The feed it rests on.
    pub feed: Option<String>,
    /// The work item it belongs to.
    pub item: Option<String>,
    /// When it was first seen.
    #[schema(value_type = String, format = DateTime)]
    pub first_seen_at: Timestamp,
    /// When the check last said so.
    #[schema(value_type = String, format = DateTime)]
    pub last_seen_at: Timestamp,
    /// When it was closed, and why.
    pub closed: Option<Closed>,
}

/// How a finding ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Closed {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// `fixed`: newer facts show it gone; `withdrawn`: the data changed.
    pub how: String,
}

/// A page of findings.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FindingPage {
    /// The findings, in the order of their ids.
    pub findings: Vec<Finding>,
    /// Pass as `after` for the next page; absent on the last.
    pub next: Option<String>,
    /// How much of the inventory the data covers.
    pub coverage: Coverage,
}

/// What one act closes on one asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Item {
    /// Its id.
    pub id: String,
    /// The asset's id.
    pub asset: String,
    /// The asset's name.
    pub asset_name: String,
    /// `source_package`, `service`, `reboot`, `support`, `component`.
    pub kind: String,
    /// The short name people type: `openssl`, `ssh.service`, `kernel`.
    pub name: String,
    /// Open findings in it.
    pub findings: u64,
    /// Outcome of the SSVC deployer table: `defer`, `scheduled`, `out_of_cycle`, `immediate`.
    pub deployer: String,
    /// Outcome of the SSVC coordinator table.
    pub coordinator: String,
    /// Deadline of CISA BOD 26-04.
    pub bod: String,
    /// When that falls.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub due: Option<Timestamp>,
    /// Known to be exploited.
    pub known_exploited: bool,
    /// Highest CVSS base score of its members, in tenths.
    pub cvss_e1: Option<u8>,
    /// Highest EPSS probability of its members, in parts per 100,000.
    pub epss_e5: Option<u32>,
    /// Why it is as urgent as it is, in a sentence.
    pub reason: String,
    /// The version now there.
    pub version: Option<String>,
    /// The version that closes it.
    pub fixed_version: Option<String>,
    /// The worst verdict of its members.
    pub verdict: String,
    /// The action that would close it; absent when there is none.
    pub action: Option<String>,
    /// The mode in which it would be done.
    pub mode: String,
    /// Why nothing is done by itself, or why something is.
    pub decision: String,
    /// Left out of `fix --all` after an undo.
    pub suppressed: Option<Suppressed>,
    /// The remediation that is about it now.
    pub remediation: Option<String>,
    /// When it was first seen.
    #[schema(value_type = String, format = DateTime)]
    pub first_seen_at: Timestamp,
}

/// Why an item is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Suppressed {
    /// The version that was taken back.
    pub version: String,
    /// Why.
    pub reason: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

/// One item with everything that explains it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ItemDetail {
    /// The item.
    pub item: Item,
    /// Its members' reasons, most urgent first.
    pub members: Vec<Member>,
    /// Its open findings.
    pub findings: Vec<Finding>,
    /// Exposure of the asset: level and source.
    pub exposure: Option<String>,
    /// Tier of the asset.
    pub tier: Option<u8>,
    /// When it was assessed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub assessed_at: Option<Timestamp>,
    /// The feeds the assessment rests on.
    pub feeds: Vec<FeedRef>,
    /// What was decided, rule by rule.
    pub decided: Option<DecisionDetail>,
    /// Remediations that were or are about it, newest first.
    pub remediations: Vec<String>,
}

/// A feed that a judgement rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FeedRef {
    /// Its name.
    pub name: String,
    /// The date of its content.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub dated: Option<Timestamp>,
    /// Built into the program.
    pub snapshot: bool,
}

/// Why one member of an item is as urgent as it is. Absent means not known, never zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// The finding's id.
    pub finding: String,
    /// The CVE, or the detector's id where there is none.
    pub id: String,
    /// Outcome of the deployer table.
    pub deployer: String,
    /// Outcome of the coordinator table.
    pub coordinator: String,
    /// Deadline.
    pub bod: String,
    /// Day it was added to the catalogue of known exploited vulnerabilities.
    pub kev_added: Option<String>,
    /// Known to be used by ransomware campaigns.
    pub ransomware: bool,
    /// EPSS probability in parts per 100,000.
    pub epss_e5: Option<u32>,
    /// EPSS model and day.
    pub epss_model: Option<String>,
    /// Scores: `3.1 7.5 (source)`.
    pub cvss: Vec<String>,
    /// SSVC exploitation.
    pub exploitation: Option<String>,
    /// SSVC automatable.
    pub automatable: Option<String>,
    /// SSVC technical impact.
    pub technical_impact: Option<String>,
    /// Inputs no source gave, and what was taken instead.
    pub assumed: Vec<String>,
    /// In words.
    pub reason: String,
}

/// A page of items, most urgent first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ItemList {
    /// The items.
    pub items: Vec<Item>,
    /// Pass as `after` for the next page; absent on the last.
    pub next: Option<String>,
    /// How much of the inventory the data covers.
    pub coverage: Coverage,
}
