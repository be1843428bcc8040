//! Taking back everything that a policy did.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is to be taken back.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UndoCampaign {
    /// The policy by name.
    pub policy: String,
    /// What it did from then on.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// What it did before then; until now when left away.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: Option<String>,
    /// Only show what would be taken back.
    #[serde(default)]
    pub dry_run: bool,
}

/// How far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Campaign {
    /// Its id; absent when it is only shown.
    pub id: Option<String>,
    /// The policy.
    pub policy: String,
    /// From when on.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// Who asked.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub asked_at: Timestamp,
    /// Nothing is left to do.
    pub over: bool,
    /// Its steps: on every asset the last act first, and at the end what stays.
    pub steps: Vec<CampaignStep>,
}

/// What one remediation did on one asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CampaignStep {
    /// The remediation.
    pub remediation: String,
    /// The asset's id.
    pub asset: String,
    /// The asset's name.
    pub asset_name: String,
    /// The items, by name.
    pub items: Vec<String>,
    /// `waiting`, `asked`, `done`, `kept`.
    pub state: String,
    /// Why it is kept.
    pub why: Option<String>,
}
