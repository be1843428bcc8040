//! What people ask for.

use serde::{Deserialize, Serialize};
use stanch_model::Timestamp;
use utoipa::ToSchema;

use super::{LeftOut, Remediation};

/// Ask for items to be fixed. Empty means nothing: all of them must be spelled with `all`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRemediation {
    /// The items' ids, or their short names where only one asset has an item of that name.
    #[serde(default)]
    pub items: Vec<String>,
    /// Every open item for which something can be done, but for settings: these are asked for by name.
    #[serde(default)]
    pub all: bool,
    /// Also those left out after an undo.
    #[serde(default)]
    pub include_suppressed: bool,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What people say of an asset. What is left away stays; an empty text takes it away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LabelAsset {
    /// Its environment, such as `prod`.
    pub environment: Option<String>,
    /// The team that owns it.
    pub owner: Option<String>,
    /// What its data is, such as `restricted`.
    pub classification: Option<String>,
    /// How much depends on it: 1 (most) to 5; 0 takes it away.
    pub tier: Option<u8>,
    /// Labels by name, such as `automation` or `ring`.
    pub labels: std::collections::BTreeMap<String, String>,
}

/// Say how an asset hangs on another, or that it does not any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkAsset {
    /// The other asset, by id.
    pub to: String,
    /// `depends_on`, `runs_on`, `member_of` or `used_on`.
    pub kind: String,
    /// Take it away.
    #[serde(default)]
    pub remove: bool,
}

/// What was made of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedRemediation {
    /// The remediation; absent when nothing is left to do.
    pub remediation: Option<Remediation>,
    /// Items left out, and why.
    pub left_out: Vec<LeftOut>,
}

/// Approve exactly this plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Approve {
    /// The hash of the plan that was read.
    pub plan_hash: String,
    /// The same, signed with a key of one's own, for executors whose rules ask for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<SignedApproval>,
}

/// A word on a plan, signed with a key of one's own: Ed25519 over the canonical digest of plan, leaves and time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignedApproval {
    /// The Merkle root over the plan's leaves.
    pub leaves: String,
    /// The plan may be begun until then.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// The key that signed.
    pub key: String,
    /// Its signature.
    pub signature: String,
}

/// Carry out a part of a plan in a copy of its target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rehearse {
    /// The target, by id or name; the first of the first wave if none is named.
    pub asset: Option<String>,
}

/// Answer whether what was done by itself may stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerConfirmation {
    /// `confirm`: it stays; `undo`: it is taken back; `except`: it is taken back, and the risk accepted for a while.
    pub answer: String,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Take back what was done. Empty means nothing: all of it must be spelled with `all`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Undo {
    /// The items' ids or short names.
    #[serde(default)]
    pub items: Vec<String>,
    /// All of them.
    #[serde(default)]
    pub all: bool,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A reason for the record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Because {
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Stop everything new, or what is new in a part of the estate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetHold {
    /// What it covers: `all`, or `environment/`, `policy/`, `action/` or `asset/` with a name; all when left away.
    #[serde(default)]
    pub scope: Option<String>,
    /// Also stop at the next safe point what already runs.
    #[serde(default)]
    pub stop_all: bool,
    /// Why.
    pub reason: String,
}

/// Read the facts again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Scan {
    /// Fetch the archive indexes first.
    #[serde(default)]
    pub refresh: bool,
}

/// An answer to something that happens later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// What will happen, in words.
    pub message: String,
}

/// A person's word on a feed that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JudgeFeed {
    /// Its name.
    pub name: String,
    /// Digest of the content that was looked at.
    pub digest: String,
    /// Take it, or throw it away and keep the last good one.
    pub accept: bool,
}
