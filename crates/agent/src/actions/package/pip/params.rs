//! What a step of pip says.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use stanch_action::{ActionError, Observation};
use stanch_model::canonical::Digest;
use stanch_model::ecosystem;
use stanch_model::facts::Manager;
use stanch_model::id::ItemId;
use stanch_model::plan::Change;
use stanch_model::version::PythonVersion;

use crate::actions::package::failed;
use crate::facts::python;

/// One package of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Planned {
    /// Its normal name.
    #[serde(deserialize_with = "name")]
    pub(crate) name: String,
    /// The version before; none for one that comes along new.
    #[serde(deserialize_with = "some_version")]
    pub(crate) from: Option<String>,
    /// The version after.
    #[serde(deserialize_with = "version")]
    pub(crate) to: String,
    /// The items that need it.
    pub(crate) items: Vec<ItemId>,
    /// Digest of its wheel, as the index states it or as it was read when planned.
    pub(crate) sha256: Digest,
}

impl Planned {
    /// What speaks against it by itself: versions only rise, and nobody is moved to one that is not released.
    pub(super) fn objection(&self) -> Option<String> {
        let Self { name, from, to, .. } = self;
        let Ok(after) = to.parse::<PythonVersion>() else { return Some(format!("{to} of {name} is no version")) };
        let before = from.as_ref().map(|from| from.parse::<PythonVersion>());
        match &before {
            Some(Err(_)) => return Some(format!("the version of {name} that is there is none")),
            Some(Ok(before)) if after <= *before => {
                return Some(format!("it would not take {name} up from {before}, but to {to}"));
            }
            _ => {}
        }
        let was = matches!(&before, Some(Ok(before)) if before.is_prerelease());
        (after.is_prerelease() && !was).then(|| format!("{name} {to} is not released yet"))
    }
}

fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if python::is_name(&text) { Ok(text) } else { Err(D::Error::custom(format!("{text:?} is no package's name"))) }
}

fn version<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    text.parse::<PythonVersion>().map(|_| text).map_err(D::Error::custom)
}

fn some_version<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
    text.parse::<PythonVersion>().map(|_| Some(text)).map_err(D::Error::custom)
}

fn pip<'de, D: Deserializer<'de>>(from: D) -> Result<Manager, D::Error> {
    match Manager::deserialize(from)? {
        Manager::Pip => Ok(Manager::Pip),
        Manager::Dnf => Err(D::Error::custom("not a step of pip")),
    }
}

/// The parameters of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// Tells these parameters from those of other managers.
    #[serde(deserialize_with = "pip")]
    pub(crate) manager: Manager,
    /// The folder of the environment.
    pub(crate) environment: String,
    /// All that is installed, in the order of names.
    pub(crate) packages: Vec<Planned>,
    /// How long to wait for what a former life began, in seconds.
    pub(crate) lock_timeout_seconds: u32,
    /// What the step expects to find.
    pub(crate) before: Projection,
}

impl Params {
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.packages.iter().map(|planned| planned.name.as_str())
    }

    /// What all versions of a package in this environment share, as facts call it.
    pub(crate) fn shared(&self, name: &str) -> String {
        let purl = ecosystem::installed("pypi", name, "0", &self.environment);
        ecosystem::without_version(&purl).map(std::borrow::Cow::into_owned).unwrap_or_default()
    }

    /// What pip reads: exact versions with the digests of their wheels.
    pub(crate) fn requirements<'a>(&self, packages: impl Iterator<Item = &'a Planned>) -> Vec<u8> {
        let line = |planned: &Planned| format!("{}=={} --hash=sha256:{}\n", planned.name, planned.to, planned.sha256);
        packages.map(line).collect::<String>().into_bytes()
    }
}

/// The packages of a step as they are; what is not there is not installed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Projection {
    pub(crate) packages: BTreeMap<String, Dist>,
}

/// One package as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dist {
    /// Its version.
    pub(crate) version: String,
    /// Digest over its files: paths, modes, contents. What Python compiles by itself is left out.
    pub(crate) files: Digest,
}

impl Projection {
    pub(crate) fn observation(&self) -> Result<Observation, ActionError> {
        let projection = serde_json::to_value(self).map_err(|e| failed(e, "cannot write the projection"))?;
        Ok(Observation { projection })
    }

    pub(crate) fn differences(&self, now: &Self) -> Vec<Change> {
        let show = |dist: &Dist| format!("{} (files {})", dist.version, dist.files.short());
        let names: std::collections::BTreeSet<&String> = self.packages.keys().chain(now.packages.keys()).collect();
        let change = |name: &String| {
            let (was, is) = (self.packages.get(name), now.packages.get(name));
            let differs = was != is;
            differs.then(|| Change { subject: name.clone(), before: was.map(show), after: is.map(show), note: None })
        };
        names.into_iter().filter_map(change).collect()
    }

    /// The part of it that is about these packages.
    pub(crate) fn of(&self, names: impl Fn(&str) -> bool) -> Self {
        let packages = self.packages.iter().filter(|(name, _)| names(name));
        Self { packages: packages.map(|(name, dist)| (name.clone(), dist.clone())).collect() }
    }
}

pub(crate) fn params_schema() -> Value {
    let name = json!({"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"});
    let package = json!({
        "type": "object",
        "required": ["name", "from", "to", "items", "sha256"],
        "additionalProperties": false,
        "properties": {
            "name": name,
            "from": {"type": ["string", "null"]},
            "to": {"type": "string"},
            "items": {"type": "array", "items": {"type": "string"}},
            "sha256": {"type": "string"},
        },
    });
    json!({
        "type": "object",
        "required": ["manager", "environment", "packages", "lock_timeout_seconds", "before"],
        "additionalProperties": false,
        "properties": {
            "manager": {"enum": ["pip"]},
            "environment": {"type": "string", "pattern": "^/"},
            "packages": {"type": "array", "minItems": 1, "maxItems": 5000, "items": package},
            "lock_timeout_seconds": {"type": "integer", "minimum": 1, "maximum": 86400},
            "before": {"type": "object"},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_only_rise_in_the_order_of_python_and_end_at_a_release() {
        let objection = |from: Option<&str>, to: &str| {
            let planned = Planned {
                name: "x".to_owned(),
                from: from.map(str::to_owned),
                to: to.to_owned(),
                items: Vec::new(),
                sha256: Digest::of_bytes(b""),
            };
            planned.objection()
        };
        for (from, to) in [(Some("1.9"), "1.10"), (None, "1.0"), (Some("1.0rc1"), "1.0rc2"), (Some("2.0"), "1!1.0")] {
            assert_eq!(objection(from, to), None, "{from:?} {to}");
        }
        for (from, to) in [
            (Some("1.10"), "1.9"),
            (Some("1.0"), "1.0.0"),
            (Some("1.0"), "2.0rc1"),
            (None, "1.0.dev1"),
            (Some("1!1"), "2"),
        ] {
            assert!(objection(from, to).is_some(), "{from:?} {to}");
        }
    }
}
