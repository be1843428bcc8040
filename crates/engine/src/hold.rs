//! Which hold stops what, and who may end it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stanch_model::ecosystem;
use stanch_model::hold::{Hold, HoldScope};
use stanch_model::id::AssetId;
use stanch_model::item::Subject;
use stanch_model::patch::{DEB, Patch, without_rebuild};
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
    /// The type of its package URL: `deb`, `pypi`.
    #[serde(default = "deb")]
    pub ecosystem: String,
    /// The package itself, of a distribution the binary one; empty where only its source is known.
    pub name: String,
    /// Its source package; the same where there is no such thing.
    pub source: String,
    /// The version that the package goes to.
    pub version: String,
    /// The version that its source goes to, which may be another one; absent where the plan does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_version: Option<String>,
}

/// What package URLs call rpm.
const RPM: &str = "rpm";

fn deb() -> String {
    DEB.to_owned()
}

impl Brought {
    /// Whether a bad patch is this: by its source with the source's version, or by its own name with its own version.
    pub fn is(&self, patch: &Patch) -> bool {
        let is = |package, version| patch.is(&self.ecosystem, package, version);
        is(&self.source, self.of_source()) || is(&self.name, &self.version)
    }

    /// The version of its source. Where the plan does not say it, a package has its source's version but for a count of
    /// rebuilds.
    pub fn of_source(&self) -> &str {
        match &self.source_version {
            Some(version) => version,
            None if self.ecosystem == DEB => without_rebuild(&self.version),
            None => &self.version,
        }
    }

    /// Whether an item about this has it brought.
    pub fn is_for(&self, subject: &Subject) -> bool {
        if let Subject::SourcePackage { source } = subject {
            // What it was built from is called so by dpkg and by rpm; a host has one of them.
            return [DEB, RPM].contains(&self.ecosystem.as_str()) && self.source == *source;
        }
        Self::closing(subject, "").is_some_and(|one| one.ecosystem == self.ecosystem && one.source == self.source)
    }

    /// What closes an item: these versions of its package, before anything is known of a plan.
    pub fn closing(subject: &Subject, version: &str) -> Option<Self> {
        let (ecosystem, name, source) = match subject {
            Subject::SourcePackage { source } => (deb(), String::new(), source.clone()),
            Subject::Component { purl } => {
                let name = ecosystem::package_in(purl)?;
                (ecosystem::type_of(purl)?.to_owned(), name.clone(), name)
            }
            _ => return None,
        };
        Some(Self { ecosystem, name, source, version: version.to_owned(), source_version: Some(version.to_owned()) })
    }
}

/// What these steps would bring: every entry of their `packages` with a name and the version it goes to. Steps of a manager
/// other than dpkg say which.
pub fn brought(steps: &[PlannedStep]) -> BTreeSet<Brought> {
    steps.iter().flat_map(of_step).collect()
}

fn of_step(step: &PlannedStep) -> Vec<Brought> {
    let ecosystem = match step.params.get("manager").and_then(Value::as_str) {
        Some("pip") => "pypi",
        Some("dnf") => RPM,
        Some(other) => other,
        None => DEB,
    };
    let packages = step.params.get("packages").and_then(Value::as_array);
    let one = |package: &Value| {
        let text = |name: &str| package.get(name).and_then(Value::as_str).map(str::to_owned);
        let name = text("name")?;
        Some(Brought {
            ecosystem: ecosystem.to_owned(),
            source: text("source").unwrap_or_else(|| name.clone()),
            version: text("to")?,
            source_version: text("source_version"),
            name,
        })
    };
    packages.into_iter().flatten().filter_map(one).collect()
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
            HoldScope::Version(patch) => self.versions.iter().any(|one| one.is(patch)),
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
