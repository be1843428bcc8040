//! Holds: the switch that stops. A hold covers a scope, and says how far it goes.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::AssetId;

/// How far a hold goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldLevel {
    /// Nothing new starts; undo is allowed.
    StopNew,
    /// Not even undo starts, and what runs stops at its next safe point.
    StopAll,
}

/// What a hold covers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HoldScope {
    /// Everything.
    All,
    /// Targets that stand in this environment.
    Environment(String),
    /// What rules of this policy asked for.
    Policy(String),
    /// Steps of this action, `package.upgrade`, or of this kind of action, `package`.
    Action(String),
    /// This target.
    Asset(AssetId),
}

/// A text that names no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` covers nothing: expected `all`, or `environment/`, `policy/`, `action/` or `asset/` with a name")]
pub struct NotAScope {
    text: String,
}

/// Longest name in a scope, in bytes.
const LONGEST: usize = 200;

impl FromStr for HoldScope {
    type Err = NotAScope;

    fn from_str(text: &str) -> Result<Self, NotAScope> {
        let wrong = || NotAScope { text: text.chars().take(64).collect() };
        if text == "all" {
            return Ok(Self::All);
        }
        let (kind, name) = text.split_once('/').ok_or_else(wrong)?;
        if name.is_empty() || name.len() > LONGEST || name.chars().any(char::is_control) {
            return Err(wrong());
        }
        match kind {
            "environment" => Ok(Self::Environment(name.to_owned())),
            "policy" => Ok(Self::Policy(name.to_owned())),
            "action" => Ok(Self::Action(name.to_owned())),
            "asset" => name.parse().map(Self::Asset).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for HoldScope {
    type Error = NotAScope;

    fn try_from(text: String) -> Result<Self, NotAScope> {
        text.parse()
    }
}

impl From<HoldScope> for String {
    fn from(scope: HoldScope) -> Self {
        scope.to_string()
    }
}

impl fmt::Display for HoldScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Environment(name) => write!(f, "environment/{name}"),
            Self::Policy(name) => write!(f, "policy/{name}"),
            Self::Action(name) => write!(f, "action/{name}"),
            Self::Asset(id) => write!(f, "asset/{id}"),
        }
    }
}

/// A hold in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// What it covers.
    pub scope: HoldScope,
    /// How far it goes.
    pub level: HoldLevel,
    /// Why.
    pub reason: String,
    /// Who set it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_reads_as_it_is_written_and_nothing_else_is_one() {
        let asset = AssetId::from_entropy([1; 10]);
        let scopes = [
            HoldScope::All,
            HoldScope::Environment("prod".to_owned()),
            HoldScope::Policy("prod-critical".to_owned()),
            HoldScope::Action("package.upgrade".to_owned()),
            HoldScope::Asset(asset),
        ];
        for scope in scopes {
            assert_eq!(scope.to_string().parse(), Ok(scope));
        }
        for text in ["", "ALL", "everything", "asset/web-1", "environment/", "policy", "team/red", "policy/a\nb"] {
            assert!(text.parse::<HoldScope>().is_err(), "{text}");
        }
    }
}
