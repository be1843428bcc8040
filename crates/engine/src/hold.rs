//! Which hold stops what, and who may end it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stanch_model::hold::{Hold, HoldScope};
use stanch_model::id::AssetId;
use stanch_model::plan::PlannedStep;

/// What somebody wants to start.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The target.
    pub asset: &'a AssetId,
    /// Its environment, where somebody said so.
    pub environment: Option<&'a str>,
    /// The policies whose rules asked for it.
    pub policies: &'a BTreeSet<String>,
    /// The actions of its steps.
    pub actions: &'a BTreeSet<String>,
    /// The versions that it would bring.
    pub versions: &'a BTreeSet<Brought>,
}

/// A version that a leaf would bring.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Brought {
    /// The binary package.
    pub name: String,
    /// Its source package.
    pub source: String,
    /// The version that it goes to.
    pub version: String,
}

impl Brought {
    /// Whether it is this version of a package, by the name of its source or its own. A package that was only built anew
    /// (`+b1`) is the same version.
    pub fn is(&self, package: &str, version: &str) -> bool {
        let rebuilt = |rest: &str| {
            rest.strip_prefix("+b").is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let named = self.source == package || self.name == package;
        named && self.version.strip_prefix(version).is_some_and(|rest| rest.is_empty() || rebuilt(rest))
    }
}

/// What these steps would bring: every entry of their `packages` with a name and the version it goes to.
pub fn brought(steps: &[PlannedStep]) -> BTreeSet<Brought> {
    let packages = steps.iter().filter_map(|step| step.params.get("packages")?.as_array()).flatten();
    let one = |package: &Value| {
        let text = |name: &str| package.get(name).and_then(Value::as_str).map(str::to_owned);
        let name = text("name")?;
        Some(Brought { source: text("source").unwrap_or_else(|| name.clone()), version: text("to")?, name })
    };
    packages.filter_map(one).collect()
}

impl About<'_> {
    /// Whether a hold of this scope covers it. A target nobody named an environment for is covered by the hold of any
    /// environment: it may stand in that one.
    pub fn is_covered_by(&self, scope: &HoldScope) -> bool {
        match scope {
            HoldScope::All => true,
            HoldScope::Environment(name) => self.environment.is_none_or(|mine| mine == name),
            HoldScope::Policy(name) => self.policies.contains(name),
            HoldScope::Action(name) => self.actions.iter().any(|action| is_of(action, name)),
            HoldScope::Asset(asset) => self.asset == asset,
            HoldScope::Version { package, version } => self.versions.iter().any(|one| one.is(package, version)),
        }
    }
}

/// Whether an action is this one, or of this kind: `package.upgrade` is of the kind `package`.
fn is_of(action: &str, name: &str) -> bool {
    action == name || action.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
}

/// The hold that stops it, if any does: of several the one that goes furthest, and of equal ones the oldest.
pub fn strongest<'a>(holds: &'a [Hold], about: &About<'_>) -> Option<&'a Hold> {
    let covering = holds.iter().filter(|hold| about.is_covered_by(&hold.scope));
    covering.max_by(|a, b| a.level.cmp(&b.level).then_with(|| b.at.cmp(&a.at)).then_with(|| b.scope.cmp(&a.scope)))
}

/// Somebody else has to end the hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("whoever set a hold does not end it alone; one of {} can", others.iter().cloned().collect::<Vec<_>>().join(", "))]
pub struct SecondPerson {
    /// Who can.
    pub others: BTreeSet<String>,
}

/// Whether this person may end the hold. `able` are all who may end holds at all; where nobody but the one who set it
/// is among them, that one may.
///
/// # Errors
/// When a second person exists and this is not one.
pub fn may_release(hold: &Hold, by: &str, able: &BTreeSet<String>) -> Result<(), SecondPerson> {
    let others: BTreeSet<String> = able.iter().filter(|person| **person != hold.by).cloned().collect();
    if by != hold.by || others.is_empty() { Ok(()) } else { Err(SecondPerson { others }) }
}
