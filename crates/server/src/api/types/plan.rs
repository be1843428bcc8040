//! Plans as people read and approve them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An immutable plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// Its hash: what is approved.
    pub hash: String,
    /// One leaf a target.
    pub leaves: Vec<Leaf>,
    /// Targets of each wave, in order.
    pub waves: Vec<Wave>,
    /// Targets changed at once.
    pub concurrent: u32,
    /// Redundancy groups that can spare nobody, and of which one is away at a time all the same.
    pub outages: Vec<String>,
    /// After this it may not start.
    #[schema(value_type = String, format = DateTime)]
    pub valid_until: Timestamp,
}

/// One ring of targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Wave {
    /// The assets' ids.
    pub assets: Vec<String>,
    /// Seconds during which health is watched afterwards.
    pub bake_seconds: u32,
}

/// All steps due on one asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Leaf {
    /// The asset's id.
    pub asset: String,
    /// The leaf's own hash.
    pub hash: String,
    /// The items it closes.
    pub items: Vec<String>,
    /// The steps, in order.
    pub steps: Vec<Step>,
}

/// One step with its exact difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// The action.
    pub action: String,
    /// Its parameters.
    #[schema(value_type = Object)]
    pub params: serde_json::Value,
    /// The exact difference.
    pub changes: Vec<Change>,
    /// `restorable`, `timed`, `transient`, `one_way`.
    pub reversibility: String,
    /// What undo would do, or why there is none.
    pub undo: String,
    /// What users of the target notice.
    pub disruption: String,
}

/// One line of a difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// What changes.
    pub subject: String,
    /// What it is; absent when it comes into being.
    pub before: Option<String>,
    /// What it will be; absent when it goes.
    pub after: Option<String>,
    /// Anything a person should know of it.
    pub note: Option<String>,
}
