//! What is asked for and what was planned.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stanch_model::canonical::Digest;
use stanch_model::id::ItemId;
use stanch_model::version::DebVersion;

use super::Key;
use super::projection::Projection;

/// How far a package is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum To {
    /// To the candidate, which must reach the fixed version where the request names one.
    Fixed,
    /// To the candidate.
    Candidate,
}

/// What a request wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Want {
    /// Source packages. With as many items as sources they belong together in order; else every item is for all.
    pub(crate) sources: Vec<String>,
    /// How far.
    pub(crate) to: To,
    /// For a source package the version of it that closes the item.
    #[serde(default)]
    pub(crate) fixed: std::collections::BTreeMap<String, DebVersion>,
}

pub(crate) fn request_schema() -> Value {
    json!({
        "type": "object",
        "required": ["sources", "to"],
        "additionalProperties": false,
        "properties": {
            "sources": {"type": "array", "minItems": 1, "maxItems": 5000, "items": {"type": "string"}},
            "to": {"enum": ["fixed", "candidate"]},
            "fixed": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    })
}

/// What is done with configuration files that their owner changed and the new version changes too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Conffiles {
    /// The owner's stays; the new one is laid beside it.
    Keep,
}

/// One package of the transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Planned {
    /// Its name.
    pub(crate) name: String,
    /// Its architecture.
    pub(crate) arch: String,
    /// The version before; none for one that comes along new.
    pub(crate) from: Option<DebVersion>,
    /// The version after.
    pub(crate) to: DebVersion,
    /// Its source package.
    pub(crate) source: String,
    /// The items that need it.
    pub(crate) items: Vec<ItemId>,
    /// It was not there before.
    pub(crate) new: bool,
    /// It is new, but its owner had it before, removed it and kept its configuration: undo must not purge that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) config_kept: bool,
    /// Digest of the .deb, as the archive's index states it.
    pub(crate) sha256: Option<Digest>,
}

impl Planned {
    pub(crate) fn key(&self) -> Key {
        Key { name: self.name.clone(), arch: self.arch.clone() }
    }

    /// `name=version`, as apt takes it.
    pub(crate) fn exact(&self, native: &str) -> String {
        format!("{}={}", self.key().spec(native), self.to)
    }
}

/// The parameters of a planned step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The whole transaction, in the order of names.
    pub(crate) packages: Vec<Planned>,
    /// What is done with changed configuration files.
    pub(crate) conffiles: Conffiles,
    /// How long to wait for another package manager, in seconds.
    pub(crate) lock_timeout_seconds: u32,
    /// What the step expects to find: its digest is the step's `before`; spelled out so that a refusal can say what
    /// moved.
    pub(crate) before: Projection,
}

impl Params {
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.packages.iter().map(Planned::key).collect()
    }
}

pub(crate) fn params_schema() -> Value {
    let package = json!({
        "type": "object",
        "required": ["name", "arch", "from", "to", "source", "items", "new", "sha256"],
        "additionalProperties": false,
        "properties": {
            "name": {"type": "string"},
            "arch": {"type": "string"},
            "from": {"type": ["string", "null"]},
            "to": {"type": "string"},
            "source": {"type": "string"},
            "items": {"type": "array", "items": {"type": "string"}},
            "new": {"type": "boolean"},
            "config_kept": {"type": "boolean"},
            "sha256": {"type": ["string", "null"]},
        },
    });
    json!({
        "type": "object",
        "required": ["packages", "conffiles", "lock_timeout_seconds", "before"],
        "additionalProperties": false,
        "properties": {
            "packages": {"type": "array", "minItems": 1, "maxItems": 5000, "items": package},
            "conffiles": {"enum": ["keep"]},
            "lock_timeout_seconds": {"type": "integer", "minimum": 1, "maximum": 86400},
            "before": {"type": "object"},
        },
    })
}
