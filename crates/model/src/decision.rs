//! Decisions: what may happen to an item without asking further, and why.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::ItemId;

/// How far Stanch may go by itself. The lowest among the rules that fired wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Record and show; nothing is prepared.
    Alert,
    /// Prepare a plan; a person starts it.
    Suggest,
    /// Start when the approvals are in.
    Approve,
    /// Start inside the limits.
    Auto,
}

impl Mode {
    /// The name users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Suggest => "suggest",
            Self::Approve => "approve",
            Self::Auto => "auto",
        }
    }
}

/// What was decided of one item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The item.
    pub item: ItemId,
    /// When.
    pub at: Timestamp,
    /// The mode.
    pub mode: Mode,
    /// Rules that fired, `policy/rule`; none when the bundle-wide default decided.
    pub rules: Vec<String>,
    /// Why, in a sentence.
    pub reason: String,
}
