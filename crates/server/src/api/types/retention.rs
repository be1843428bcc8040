//! How long what is old is kept.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is kept, and what is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Retention {
    /// Noun by noun.
    pub nouns: Vec<RetentionNoun>,
    /// Of what nothing is taken away.
    pub holds: Vec<RecordsHeld>,
    /// When it was measured.
    #[schema(value_type = String, format = DateTime)]
    pub measured_at: Timestamp,
    /// When the next sweep begins; absent until the server knows.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_at: Option<Timestamp>,
}

/// What is kept of one noun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RetentionNoun {
    /// Its name, as settings call it.
    pub noun: String,
    /// What it is.
    pub about: String,
    /// How many there are.
    pub rows: u64,
    /// What their longest columns take together, about.
    pub bytes: u64,
    /// When the oldest was over.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub oldest: Option<Timestamp>,
    /// How long it is kept: `forever`, `730d`.
    pub keep: String,
    /// The shortest it may be kept.
    pub least: String,
    /// When the oldest goes, unless something rests on it; absent when it never does.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next: Option<Timestamp>,
}

/// What would go of one noun now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RetentionPreview {
    /// Its name.
    pub noun: String,
    /// How many.
    pub rows: u64,
    /// They are older than this.
    #[schema(value_type = String, format = DateTime)]
    pub before: Timestamp,
    /// How long it is kept.
    pub keep: String,
}

/// Take nothing of this away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldRecords {
    /// A remediation, or an asset by its id or name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// A remediation or an asset of which nothing is taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecordsHeld {
    /// Its id.
    pub subject: String,
    /// What people call it.
    pub name: String,
    /// Why.
    pub reason: String,
    /// Who said so.
    pub set_by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub set_at: Timestamp,
}
