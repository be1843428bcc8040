//! What a step of dnf says.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use stanch_action::{ActionError, Observation};
use stanch_model::canonical::Digest;
use stanch_model::facts::Manager;
use stanch_model::id::ItemId;
use stanch_model::own::is_own;
use stanch_model::plan::Change;
use stanch_model::version::RpmVersion;

use super::ask::Exact;
use super::rpm::{self, is_word};
use crate::actions::package::projection::{FileState, compare};
use crate::actions::package::{Key, failed};

const NAME: &str = "^[A-Za-z0-9_][A-Za-z0-9_+.-]*$";
const VERSION: &str = "^[A-Za-z0-9._+~^:-]+$";

fn word<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if is_word(&text) { Ok(text) } else { Err(D::Error::custom(format!("{text:?} is no name of rpm"))) }
}

/// A version with a release: without one it would name several.
fn version<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    text.parse::<RpmVersion>().map_err(D::Error::custom)?;
    if text.contains('-') { Ok(text) } else { Err(D::Error::custom(format!("{text} has no release"))) }
}

fn some_version<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    struct Version(#[serde(deserialize_with = "version")] String);
    Ok(Option::<Version>::deserialize(from)?.map(|version| version.0))
}

fn dnf<'de, D: Deserializer<'de>>(from: D) -> Result<Manager, D::Error> {
    match Manager::deserialize(from)? {
        Manager::Dnf => Ok(Manager::Dnf),
        Manager::Pip => Err(D::Error::custom("not a step of dnf")),
    }
}

/// One package of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Planned {
    #[serde(deserialize_with = "word")]
    pub(crate) name: String,
    #[serde(deserialize_with = "word")]
    pub(crate) arch: String,
    /// Epoch, version and release before; none for one that comes along new.
    #[serde(deserialize_with = "some_version")]
    pub(crate) from: Option<String>,
    /// Those after.
    #[serde(deserialize_with = "version")]
    pub(crate) to: String,
    /// Its source package.
    #[serde(deserialize_with = "word")]
    pub(crate) source: String,
    /// The items that need it.
    pub(crate) items: Vec<ItemId>,
    /// Digest of the package, as its repository states it.
    pub(crate) sha256: Digest,
}

impl Planned {
    pub(super) fn key(&self) -> Key {
        Key { name: self.name.clone(), arch: self.arch.clone() }
    }

    pub(super) fn after(&self) -> Exact {
        let Self { name, arch, to, sha256, .. } = self;
        Exact { name: name.clone(), arch: arch.clone(), evr: to.clone(), sha256: Some(*sha256) }
    }

    pub(super) fn before(&self) -> Option<Exact> {
        let Self { name, arch, from, .. } = self;
        Some(Exact { name: name.clone(), arch: arch.clone(), evr: from.clone()?, sha256: None })
    }

    /// Versions only rise.
    pub(super) fn objection(&self) -> Option<String> {
        let (before, after) = (self.from.as_ref()?.parse::<RpmVersion>(), self.to.parse::<RpmVersion>());
        let rises = matches!((&before, &after), (Ok(before), Ok(after)) if before < after);
        let from = self.from.as_deref().unwrap_or_default();
        (!rises).then(|| format!("it would not take {} up from {from}, but to {}", self.name, self.to))
    }
}

/// The parameters of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// Tells these parameters from those of other managers.
    #[serde(deserialize_with = "dnf")]
    pub(crate) manager: Manager,
    /// The whole transaction, in the order of names.
    pub(crate) packages: Vec<Planned>,
    /// How long to wait for another package manager, in seconds.
    pub(crate) lock_timeout_seconds: u32,
    /// What the step expects to find.
    pub(crate) before: Projection,
}

impl Params {
    pub(super) fn keys(&self) -> Vec<Key> {
        self.packages.iter().map(Planned::key).collect()
    }

    /// What speaks against it by itself, whatever the host says.
    pub(super) fn objection(&self) -> Option<String> {
        let mut keys = self.keys();
        keys.sort();
        keys.dedup();
        if self.packages.is_empty() || keys.len() != self.packages.len() {
            return Some("the plan names no package, or one twice".to_owned());
        }
        let own = self.packages.iter().find(|planned| is_own(&planned.name) || is_own(&planned.source));
        let own = own.map(|own| format!("it would change {}, which is Stanch itself", own.name));
        own.or_else(|| self.packages.iter().find_map(Planned::objection))
    }
}

pub(crate) fn params_schema() -> Value {
    let package = json!({
        "type": "object",
        "required": ["name", "arch", "from", "to", "source", "items", "sha256"],
        "additionalProperties": false,
        "properties": {
            "name": {"type": "string", "pattern": NAME},
            "arch": {"type": "string", "pattern": NAME},
            "from": {"type": ["string", "null"], "pattern": VERSION},
            "to": {"type": "string", "pattern": VERSION},
            "source": {"type": "string", "pattern": NAME},
            "items": {"type": "array", "items": {"type": "string"}},
            "sha256": {"type": "string"},
        },
    });
    json!({
        "type": "object",
        "required": ["manager", "packages", "lock_timeout_seconds", "before"],
        "additionalProperties": false,
        "properties": {
            "manager": {"const": "dnf"},
            "packages": {"type": "array", "minItems": 1, "maxItems": 5000, "items": package},
            "lock_timeout_seconds": {"type": "integer", "minimum": 1, "maximum": 86400},
            "before": {"type": "object"},
        },
    })
}

/// The part of the host that a step is about; what is not there is not installed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Projection {
    /// Versions by `name.architecture`; several where a change was broken off.
    pub(crate) packages: BTreeMap<String, String>,
    /// Configuration files of these packages.
    pub(crate) configs: BTreeMap<String, FileState>,
}

impl Projection {
    pub(crate) fn observation(&self) -> Result<Observation, ActionError> {
        let projection = serde_json::to_value(self).map_err(|e| failed(e, "cannot write the projection"))?;
        Ok(Observation { projection })
    }

    pub(super) fn differences(&self, now: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        compare(&self.packages, &now.packages, &mut changes, String::clone);
        compare(&self.configs, &now.configs, &mut changes, FileState::shown);
        changes
    }

    /// The versions that differ.
    pub(super) fn versions_changed(&self, now: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        compare(&self.packages, &now.packages, &mut changes, String::clone);
        changes
    }

    /// The part of it that is about these packages and files.
    pub(super) fn of(&self, keys: &[Key], path: impl Fn(&str) -> bool) -> Self {
        let specs: Vec<String> = keys.iter().map(rpm::spec).collect();
        let own = |(key, value): (&String, &String)| (key.clone(), value.clone());
        Self {
            packages: self.packages.iter().filter(|(name, _)| specs.contains(name)).map(own).collect(),
            configs: self.configs.iter().filter(|(p, _)| path(p)).map(|(p, s)| (p.clone(), s.clone())).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(changes: impl Fn(&mut Value)) -> Result<Params, String> {
        let mut params = json!({
            "manager": "dnf", "lock_timeout_seconds": 1, "before": {"packages": {}, "configs": {}},
            "packages": [{"name": "NetworkManager", "arch": "x86_64", "from": "1:1.9-1", "to": "1:1.10-1",
                          "source": "NetworkManager", "items": [], "sha256": "0".repeat(64)}],
        });
        changes(&mut params);
        let params: Params = serde_json::from_value(params).map_err(|error| error.to_string())?;
        params.objection().map_or(Ok(params), Err)
    }

    #[test]
    fn a_step_says_what_it_brings_exactly_and_nothing_goes_down() {
        params(|_| ()).unwrap();
        let refused = |field: &str, value: Value| params(|all| all["packages"][0][field] = value.clone()).unwrap_err();
        for name in ["-y", "--setopt=x", "a b", "a*", "/etc/x", "", "@group"] {
            assert!(refused("name", json!(name)).contains("no name of rpm"), "{name}");
        }
        assert!(refused("to", json!("1.10")).contains("no release"));
        assert!(refused("to", json!("1.10-1 --nogpgcheck")).contains("other characters"));
        assert!(refused("to", json!("1:1.9-1")).contains("not take"), "no change is no step");
        assert!(refused("to", json!("2.0-1")).contains("not take"), "an epoch outweighs all");
        assert!(refused("sha256", json!(null)).contains("null"));
        assert!(refused("source", json!("stanch")).contains("Stanch itself"));
        assert!(params(|all| all["manager"] = json!("pip")).unwrap_err().contains("dnf"));
        let twice = params(|all| all["packages"] = json!([all["packages"][0], all["packages"][0]]));
        assert!(twice.unwrap_err().contains("twice"));
    }
}
