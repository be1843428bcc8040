//! Change requests, and other changes that get in the way.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A remediation as another system knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeRequest {
    /// Its id.
    pub id: String,
    /// What it is about.
    pub remediation: String,
    /// The connection that leads to the other system.
    pub connection: String,
    /// `emergency`, `standard` or `normal`.
    pub class: String,
    /// `open`, `approved`, `rejected`, `done`, `closed` or `withdrawn`.
    pub state: String,
    /// What the other system calls it.
    pub reference: Option<String>,
    /// The plan that is agreed to, and no other.
    pub plan: String,
    /// Who had the last word on it.
    pub by: Option<String>,
    /// Why, or how it ended.
    pub why: Option<String>,
    /// When it was opened.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// A person's word on a change request, in the place of the other system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ChangeWord {
    /// To approve: the hash of the plan that was read.
    pub plan: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// Another change that gets in the way of this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeConflict {
    /// The other remediation.
    pub with: String,
    /// What this one touches, by name.
    pub asset: String,
    /// What the other touches, by name.
    pub other: String,
    /// How they stand to each other, in words.
    pub relation: String,
    /// When both may run.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
}
