//! Assessments: how urgent a work item is, as an immutable snapshot with its inputs and its reason in words.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::asset::{Exposure, Tier};
use crate::finding::FeedRef;
use crate::id::{FindingId, ItemId};

/// SSVC Exploitation 1.1.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exploitation {
    /// No evidence of exploitation and no public proof of concept.
    None,
    /// A public proof of concept exists.
    PublicPoc,
    /// Exploited in the wild.
    Active,
}

/// SSVC Automatable 2.0.0: can an attacker automate steps 1 to 4 of the kill chain?
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Automatable {
    /// No.
    No,
    /// Yes.
    Yes,
}

/// SSVC Technical Impact 1.0.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TechnicalImpact {
    /// Limited control or disclosure.
    Partial,
    /// Total control or disclosure.
    Total,
}

/// SSVC Human Impact 2.0.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HumanImpact {
    /// Low.
    Low,
    /// Medium.
    Medium,
    /// High.
    High,
    /// Very high.
    VeryHigh,
}

/// SSVC Mission and Well-being, as CISA's coordinator table takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissionWellbeing {
    /// Low.
    Low,
    /// Medium.
    Medium,
    /// High.
    High,
}

/// The outcome of the SSVC deployer table, least urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeployerPriority {
    /// Do not act at present.
    Defer,
    /// Act during regular maintenance.
    Scheduled,
    /// Act more quickly than usual.
    OutOfCycle,
    /// Act now.
    Immediate,
}

/// The outcome of the SSVC coordinator table, least urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CoordinatorPriority {
    /// Track.
    Track,
    /// Track*, closer.
    TrackStar,
    /// Attend.
    Attend,
    /// Act.
    Act,
}

/// A deadline of CISA BOD 26-04, most pressing last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodDeadline {
    /// With the next upgrade.
    NextUpgrade,
    /// Within 60 calendar days.
    Days60,
    /// Within 14 calendar days.
    Days14,
    /// Within 3 calendar days.
    Days3,
    /// Within 3 calendar days, and look for signs of compromise first.
    Days3Forensics,
}

impl BodDeadline {
    /// Calendar days, where the deadline is a number of days.
    pub const fn days(self) -> Option<u16> {
        match self {
            Self::NextUpgrade => None,
            Self::Days60 => Some(60),
            Self::Days14 => Some(14),
            Self::Days3 | Self::Days3Forensics => Some(3),
        }
    }
}

/// An EPSS score: probability of exploitation within 30 days, with the model and date it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epss {
    /// Probability in parts per 100,000 (EPSS has five decimals).
    pub score_e5: u32,
    /// Share of all scored ids at or below, in parts per 100,000.
    pub percentile_e5: u32,
    /// Model version as the file names it.
    pub model: String,
    /// The day of the score.
    pub date: jiff::civil::Date,
}

/// A CVSS base score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cvss {
    /// `2.0`, `3.0`, `3.1`, `4.0`.
    pub version: String,
    /// Score in tenths, 0 to 100.
    pub score_e1: u8,
    /// The vector; absent where a source gives only the score.
    pub vector: Option<String>,
    /// Which metric groups the score holds: `B`, `BT`, `BE`, `BTE` for version 4; `base` otherwise.
    pub nomenclature: String,
    /// Who gave it.
    pub source: String,
}

/// An entry of CISA's catalogue of known exploited vulnerabilities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kev {
    /// The day it was added.
    pub added: jiff::civil::Date,
    /// The due date CISA gave, where it gave one.
    pub due: Option<jiff::civil::Date>,
    /// Known to be used by ransomware campaigns.
    pub ransomware: bool,
}

/// What Vulnrichment (or a person) says of a CVE in SSVC's terms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SsvcOptions {
    /// Exploitation.
    pub exploitation: Option<Exploitation>,
    /// Automatable.
    pub automatable: Option<Automatable>,
    /// Technical impact.
    pub technical_impact: Option<TechnicalImpact>,
}

/// All that the feeds know of one CVE. Absent means not known, never zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrichment {
    /// KEV entry.
    pub kev: Option<Kev>,
    /// EPSS score.
    pub epss: Option<Epss>,
    /// CVSS scores, best source first.
    pub cvss: Vec<Cvss>,
    /// SSVC options.
    pub ssvc: SsvcOptions,
}

/// Why one member of an item is as urgent as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberReason {
    /// The finding.
    pub finding: FindingId,
    /// Its CVE, or the detector's id where it has none.
    pub id: String,
    /// What the feeds know of it.
    pub enrichment: Enrichment,
    /// Outcome of the deployer table.
    pub deployer: DeployerPriority,
    /// Outcome of the coordinator table.
    pub coordinator: CoordinatorPriority,
    /// BOD 26-04 deadline.
    pub bod: BodDeadline,
    /// Inputs that no source gave, with the value the table took instead, such as `exploitation: unknown, taken as
    /// none`.
    pub assumed: Vec<String>,
    /// In words.
    pub reason: String,
}

/// How urgent a work item is: the worst of its members, with each member's reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assessment {
    /// The item.
    pub item: ItemId,
    /// When it was assessed.
    pub at: Timestamp,
    /// The worst member's outcome.
    pub deployer: DeployerPriority,
    /// The worst member's coordinator outcome.
    pub coordinator: CoordinatorPriority,
    /// The tightest deadline.
    pub bod: BodDeadline,
    /// When that deadline falls, counted from when the item was first seen; absent with no fixed number of days.
    pub due: Option<Timestamp>,
    /// Exposure of the asset, where anything tells.
    pub exposure: Option<Exposure>,
    /// Tier of the asset, where a person said.
    pub tier: Option<Tier>,
    /// Assets that depend on this one.
    pub dependents: u32,
    /// The reason of the whole, in a sentence.
    pub reason: String,
    /// Members, most urgent first.
    pub members: Vec<MemberReason>,
    /// The feeds it rests on.
    pub feeds: Vec<FeedRef>,
    /// Sort key of the shipped order, most urgent first: see `engine::assess`.
    pub rank: Vec<i64>,
}
