//! Tokens with which hosts get in, on the wire.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::LabelAsset;

/// A new enrolment token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateEnrolment {
    /// Its name.
    pub name: String,
    /// How many hosts it lets in, 1 to 100,000; 1 when left away.
    pub uses: Option<u32>,
    /// Hours it works, 1 to 2,160; 24 when left away.
    pub hours: Option<u32>,
    /// Its hosts count as confirmed: what policies grant is granted at once.
    #[serde(default)]
    pub confirmed: bool,
    /// What its hosts become.
    #[serde(default)]
    pub host: LabelAsset,
}

/// An enrolment token that was just made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedEnrolment {
    /// Its name.
    pub name: String,
    /// The token. It is shown this once.
    pub token: String,
    /// Where hosts get in.
    pub server: String,
    /// How many hosts it lets in.
    pub uses: u32,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// An enrolment token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Enrolment {
    /// Its name.
    pub name: String,
    /// Whether it still lets hosts in.
    pub works: bool,
    /// Who made it.
    pub made_by: String,
    /// How many hosts it lets in.
    pub uses: u32,
    /// How many it has let in.
    pub used: u32,
    /// Its hosts count as confirmed.
    pub confirmed: bool,
    /// The environment of its hosts.
    pub environment: Option<String>,
    /// The team that owns its hosts.
    pub owner: Option<String>,
    /// The labels of its hosts.
    pub labels: BTreeMap<String, String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}
