//! What is asked for and what was planned.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use stanch_model::canonical::Digest;
use stanch_model::id::ItemId;
use stanch_model::own::is_own;
use stanch_model::version::DebVersion;

use super::Key;
use super::projection::Projection;

/// What a package or source package may be called, for the schemas.
const NAME: &str = "^[a-z0-9][a-z0-9+.-]*$";
/// What a source package may be called, of dpkg or of rpm.
const SOURCE: &str = "^[A-Za-z0-9_][A-Za-z0-9_+.-]*$";
/// What an architecture may be called.
const ARCHITECTURE: &str = "^[a-z0-9][a-z0-9-]*$";
/// What a version may look like; the parser of versions is stricter.
const VERSION: &str = "^[A-Za-z0-9.+~:-]+$";

/// Whether this can be nothing but a package's name: no option, no path, no pattern, no architecture.
pub(crate) fn is_name(text: &str) -> bool {
    made_of(text, b"+.-")
}

/// Whether this can be nothing but an architecture.
pub(crate) fn is_architecture(text: &str) -> bool {
    made_of(text, b"-")
}

/// A small letter or digit, and then those or these.
fn made_of(text: &str, others: &[u8]) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.bytes().next().is_some_and(plain) && text.bytes().all(|byte| plain(byte) || others.contains(&byte))
}

fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if is_name(&text) { Ok(text) } else { Err(D::Error::custom(format!("{text:?} is not the name of a package"))) }
}

fn architecture<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if is_architecture(&text) { Ok(text) } else { Err(D::Error::custom(format!("{text:?} is not an architecture"))) }
}

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
    /// Source packages, and package URLs of what is in an environment. With as many items as sources they belong together
    /// in order; else every item is for all.
    pub(crate) sources: Vec<String>,
    /// How far.
    pub(crate) to: To,
    /// For a source package the version of it that closes the item.
    #[serde(default)]
    pub(crate) fixed: std::collections::BTreeMap<String, String>,
}

pub(crate) fn request_schema() -> Value {
    let source = json!({"type": "string", "anyOf": [{"pattern": SOURCE}, {"pattern": "^pkg:"}]});
    json!({
        "type": "object",
        "required": ["sources", "to"],
        "additionalProperties": false,
        "properties": {
            "sources": {"type": "array", "minItems": 1, "maxItems": 5000, "items": source},
            "to": {"enum": ["fixed", "candidate"]},
            "fixed": {
                "type": "object",
                "propertyNames": source,
                "additionalProperties": {"type": "string", "pattern": "^[A-Za-z0-9.+~^_!:-]+$"},
            },
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
    #[serde(deserialize_with = "name")]
    pub(crate) name: String,
    /// Its architecture.
    #[serde(deserialize_with = "architecture")]
    pub(crate) arch: String,
    /// The version before; none for one that comes along new.
    pub(crate) from: Option<DebVersion>,
    /// The version after.
    pub(crate) to: DebVersion,
    /// Its source package.
    #[serde(deserialize_with = "name")]
    pub(crate) source: String,
    /// The version of that source package, where the archive's index states it: the package's own may be another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source_version: Option<DebVersion>,
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

    /// The package of Stanch's own that it would change.
    pub(crate) fn own(&self) -> Option<&Planned> {
        self.packages.iter().find(|planned| is_own(&planned.name))
    }
}

pub(crate) fn params_schema() -> Value {
    let package = json!({
        "type": "object",
        "required": ["name", "arch", "from", "to", "source", "items", "new", "sha256"],
        "additionalProperties": false,
        "properties": {
            "name": {"type": "string", "pattern": NAME},
            "arch": {"type": "string", "pattern": ARCHITECTURE},
            "from": {"type": ["string", "null"], "pattern": VERSION},
            "to": {"type": "string", "pattern": VERSION},
            "source": {"type": "string", "pattern": NAME},
            "source_version": {"type": "string", "pattern": VERSION},
            "items": {"type": "array", "items": {"type": "string"}},
            "new": {"type": "boolean"},
            "config_kept": {"type": "boolean"},
            "sha256": {"type": ["string", "null"]},
        },
    });
    let of_apt = json!({
        "type": "object",
        "required": ["packages", "conffiles", "lock_timeout_seconds", "before"],
        "additionalProperties": false,
        "properties": {
            "packages": {"type": "array", "minItems": 1, "maxItems": 5000, "items": package},
            "conffiles": {"enum": ["keep"]},
            "lock_timeout_seconds": {"type": "integer", "minimum": 1, "maximum": 86400},
            "before": {"type": "object"},
        },
    });
    json!({ "anyOf": [of_apt, super::pip::params_schema(), super::dnf::params_schema()] })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use stanch_action::{Action, ActionError};
    use stanch_model::asset::{Asset, AssetKind};
    use stanch_model::order::StepRequest;
    use stanch_model::plan::{Disruption, PlannedStep, Reversibility};

    use super::super::PackageUpgrade;
    use super::*;
    use crate::actions::doubles::{Notes, Table};
    use crate::rules::Rules;

    fn package() -> Value {
        json!({
            "name": "nginx", "arch": "amd64", "from": "1-1", "to": "2-1", "source": "nginx", "items": [], "new": false,
            "sha256": null,
        })
    }

    /// Hands the action an order about this package by every verb. Gives what it answered and the programs it called.
    fn ordered(package: Value) -> (Vec<Option<ActionError>>, Vec<String>) {
        let host = Arc::new(Table::new(&[("print-architecture", "amd64")]));
        let action = PackageUpgrade::new(Arc::clone(&host) as Arc<dyn crate::actions::Programs>, Rules::default());
        let target = Asset::unlabelled(AssetKind::Host, "x", "x");
        let before = json!({"packages": {}, "conffiles": {}});
        let params = json!({"packages": [package], "conffiles": "keep", "lock_timeout_seconds": 1, "before": before});
        let step = PlannedStep {
            action: super::super::NAME.to_owned(),
            params: params.clone(),
            before: Digest::of_bytes(b""),
            changes: Vec::new(),
            reversibility: Reversibility::Restorable,
            undo: String::new(),
            disruption: Disruption::Restart,
        };
        let item = ItemId::from_digest(&Digest::of_bytes(b"item"));
        let answers = vec![
            action.observe(&target, &params).err(),
            action.apply(&target, &step, &mut Notes::new()).err(),
            action.verify(&target, &step).err(),
            action.undo(&target, &step, &[item], &mut Notes::new()).err(),
        ];
        let asked = host.asked.lock().unwrap().clone();
        (answers, asked)
    }

    fn is_refused(package: Value) -> bool {
        let (answers, asked) = ordered(package);
        asked.is_empty() && answers.iter().all(|answer| matches!(answer, Some(ActionError::BadParameters { .. })))
    }

    #[test]
    fn names_as_debian_gives_them_are_taken() {
        for name in ["g++-12", "libstdc++6", "0ad", "python3.11", "libc6", "7zip"] {
            assert!(is_name(name), "{name}");
        }
        for arch in ["amd64", "all", "i386", "kfreebsd-amd64", "musl-linux-arm64"] {
            assert!(is_architecture(arch), "{arch}");
        }
        let (answers, asked) = ordered(package());
        assert!(!asked.is_empty());
        assert!(!answers.iter().any(|answer| matches!(answer, Some(ActionError::BadParameters { .. }))), "{answers:?}");
    }

    #[test]
    fn a_name_in_an_order_that_is_an_option_or_a_path_reaches_no_program() {
        let hostile = [
            "-oDir::Etc::sourceparts=/x",
            "--allow-unauthenticated",
            "../../key/old/nginx",
            "nginx/../x",
            "/tmp/x.deb",
            "./x.deb",
            "nginx:amd64",
            "nginx=1",
            "nginx*",
            "nginx x",
            "nginx\n",
            "nginx\u{0}",
            "Nginx",
            "~nnginx",
            "+x",
            "",
        ];
        for text in hostile {
            for field in ["name", "arch", "source", "from", "to"] {
                // What is no name may well be a version.
                if text.parse::<DebVersion>().is_ok() && ["from", "to"].contains(&field) {
                    continue;
                }
                let mut package = package();
                package[field] = json!(text);
                assert!(is_refused(package), "{field} {text:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn only_names_and_architectures_get_past_the_edge(text in "[-+./:=~a-zA-Z0-9 _%]{0,12}") {
            let with = |field: &str| {
                let mut package = package();
                package[field] = json!(text);
                package
            };
            prop_assert_eq!(is_refused(with("name")), !is_name(&text));
            prop_assert_eq!(is_refused(with("source")), !is_name(&text));
            prop_assert_eq!(is_refused(with("arch")), !is_architecture(&text));
            if is_name(&text) {
                prop_assert!(!text.starts_with(['-', '.', '/', '+']) && !text.contains(['/', ':', '=', ' ']));
            }
        }

        #[test]
        fn a_source_that_is_asked_for_reaches_no_program(text in "[-+./:=a-zA-Z0-9 ]{1,12}") {
            let host = Arc::new(Table::new(&[("print-architecture", "amd64")]));
            let action = PackageUpgrade::new(Arc::clone(&host) as Arc<dyn crate::actions::Programs>, Rules::default());
            let want = json!({"sources": [format!("{text}-marked")], "to": "candidate"});
            let request = StepRequest { action: super::super::NAME.to_owned(), want, items: Vec::new() };
            action.plan(&Asset::unlabelled(AssetKind::Host, "x", "x"), &[request]).unwrap();
            prop_assert!(!host.asked.lock().unwrap().iter().any(|call| call.contains("-marked")));
        }
    }
}
