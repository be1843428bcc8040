//! Connections to the outside, and notices, on the wire.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A connection to the outside. Its secret is never shown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Connection {
    /// Its name.
    pub name: String,
    /// `oidc`, `smtp` or `webhook`.
    pub kind: String,
    /// Its settings, by its kind.
    #[schema(value_type = Object)]
    pub settings: serde_json::Value,
    /// Whether it has a secret.
    pub has_secret: bool,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    pub changed_at: Timestamp,
}

/// A connection to set up or to change.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutConnection {
    /// Its name.
    pub name: String,
    /// `oidc`, `smtp` or `webhook`.
    pub kind: String,
    /// Its settings, by its kind; see the guide.
    #[schema(value_type = Object)]
    pub settings: serde_json::Value,
    /// The client's secret, the mail server's password, or what signs the webhook's messages. Left away, the one in
    /// force stays as long as the connection leads to the same place; for a new webhook one is made.
    pub secret: Option<String>,
}

/// A connection that was set up.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SavedConnection {
    /// Its name.
    pub name: String,
    /// The secret that was made for a webhook; shown this once.
    pub secret: Option<String>,
}

/// A notice and what became of it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Notice {
    /// The same however often it is sent.
    pub id: String,
    /// Where it goes.
    pub connection: String,
    /// What it tells of.
    pub event: String,
    /// What it says, on one line.
    pub subject: String,
    /// `waiting`, `sent`, `failed`.
    pub state: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next, while it waits.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub due: Option<Timestamp>,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}
