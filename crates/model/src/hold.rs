//! Holds: the switch that stops. A hold covers a scope, and says how far it goes.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::AssetId;
use crate::patch::{DEB, Patch};

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
    /// What would bring these versions of a package: a bad patch.
    Version(Patch),
}

impl HoldScope {
    /// Whether it is about a bad patch alone, and stops nothing else.
    pub const fn is_patch(&self) -> bool {
        matches!(self, Self::Version(_))
    }
}

/// A text that names no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` covers nothing: expected `all`, or `environment/`, `policy/`, `action/` or `asset/` with a name, or \
     `version/` with a package URL, `version/pkg:deb/openssl@3.0.15-1`"
)]
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
            "version" if name.starts_with("pkg:") => name.parse().map(Self::Version).map_err(|_| wrong()),
            // As it was written while only packages of Debian could be blocked.
            "version" => match name.split_once('/') {
                Some((package, version)) if !version.contains('/') => {
                    Patch::new(DEB, package, version).map(Self::Version).map_err(|_| wrong())
                }
                _ => Err(wrong()),
            },
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
            Self::Version(patch) => write!(f, "version/{patch}"),
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
            HoldScope::Version("pkg:deb/openssl@3.0.15-1~deb12u2".parse().unwrap()),
            HoldScope::Version("pkg:pypi/jinja2?vers=%3E%3D3.0%7C%3C3.1.3".parse().unwrap()),
        ];
        for scope in scopes {
            assert_eq!(scope.to_string().parse(), Ok(scope));
        }
        assert_eq!("version/openssl/3.0.15-1".parse(), "version/pkg:deb/openssl@3.0.15-1".parse::<HoldScope>());
        for text in [
            "",
            "ALL",
            "everything",
            "asset/web-1",
            "environment/",
            "policy",
            "team/red",
            "policy/a\nb",
            "version/openssl",
            "version/openssl/",
            "version//1",
            "version/a/1/2",
        ] {
            assert!(text.parse::<HoldScope>().is_err(), "{text}");
        }
    }
}
