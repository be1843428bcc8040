//! The record: entries, checkpoints and what verification says.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LedgerEntry {
    /// Its number; absent until it is sealed.
    pub index: Option<u64>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Its kind, `task.granted`.
    pub kind: String,
    /// Who.
    pub actor: String,
    /// What it is about.
    pub subject: String,
    /// The rest, as recorded.
    #[schema(value_type = Object)]
    pub body: serde_json::Value,
}

/// A page of entries, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LedgerPage {
    /// The entries.
    pub entries: Vec<LedgerEntry>,
    /// Pass as `before` for older ones; absent on the last page.
    pub next: Option<u64>,
    /// The newest checkpoint.
    pub checkpoint: Option<Checkpoint>,
}

/// A signed word on the whole record up to a size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Checkpoint {
    /// Sealed entries it covers.
    pub size: u64,
    /// The root over them.
    pub root: String,
    /// When it was signed.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The key that signed.
    pub key: String,
    /// The checkpoint as it is exported, signature and all: keep it somewhere this server cannot write.
    #[schema(value_type = Object)]
    pub signed: serde_json::Value,
}

/// What verification says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LedgerVerification {
    /// Whether every entry is where it was sealed and every signature holds.
    pub good: bool,
    /// Entries looked at.
    pub entries: u64,
    /// Entries among them whose payload retention took, as the record itself says.
    pub removed: u64,
    /// Checkpoints looked at.
    pub checkpoints: u64,
    /// The root computed from the entries.
    pub root: Option<String>,
    /// What is wrong.
    pub problem: Option<String>,
    /// When it was verified.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}
