//! What a condition may ask: one table of paths, their types and their meaning. The fence checks expressions against
//! it, tests and explanations speak of it, and nothing that is not in it can be asked.
//!
//! Time is not in it: when something may happen is data of windows, not a condition.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::problem::nearest;

/// The type of a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactType {
    /// True or false.
    Bool,
    /// A whole number in these bounds.
    Int(i64, i64),
    /// A number with five decimals, from nought to this whole number.
    Decimal(i64),
    /// Any text.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of any texts.
    Texts,
    /// A list of these words.
    Choices(&'static [&'static str]),
    /// Texts under free names.
    Labels,
}

impl FactType {
    /// What it is called in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Int(..) => "a whole number",
            Self::Decimal(_) => "a number",
            Self::Text => "a text",
            Self::Choice(_) => "a word",
            Self::Texts => "a list of texts",
            Self::Choices(_) => "a list of words",
            Self::Labels => "a map of labels",
        }
    }
}

/// One fact that can be asked for.
#[derive(Debug, Clone, Copy)]
pub struct Fact {
    /// Its path, `item.epss`.
    pub path: &'static str,
    /// Its type.
    pub kind: FactType,
    /// Nobody may know it. Where this is false, an item without it is still decided as if it were unknown.
    pub nullable: bool,
    /// What it means, with its unit.
    pub meaning: &'static str,
}

const fn fact(path: &'static str, kind: FactType, nullable: bool, meaning: &'static str) -> Fact {
    Fact { path, kind, nullable, meaning }
}

/// Severities, least first.
pub const SEVERITIES: &[&str] = &["none", "low", "medium", "high", "critical"];
/// Classes of findings, by their OCSF names.
pub const CLASSES: &[&str] = &["vulnerability", "compliance", "detection", "data_security"];
/// Kinds of assets.
pub const ASSET_KINDS: &[&str] =
    &["host", "inventory", "container", "image", "cloud_resource", "account", "repository", "service"];
const SUBJECTS: &[&str] = &["source_package", "service", "reboot", "support", "component", "setting"];
const DETECTORS: &[&str] = &["advisory", "security-origin", "running", "kernel", "support", "posture"];
const VERDICTS: &[&str] =
    &["affected_fixable", "affected_unfixed", "not_affected", "fixed_not_running", "unsupported", "held", "unknown"];
const SSVC: &[&str] = &["defer", "scheduled", "out_of_cycle", "immediate"];
const COORDINATOR: &[&str] = &["track", "track_star", "attend", "act"];
const BOD: &[&str] = &["next_upgrade", "days60", "days14", "days3", "days3_forensics"];
const EXPLOITATION: &[&str] = &["none", "public_poc", "active"];
const EXPOSURE: &[&str] = &["small", "controlled", "open"];
const DISRUPTION: &[&str] = &["none", "restart", "session_loss", "outage"];
const REVERSIBILITY: &[&str] = &["restorable", "timed", "transient", "one_way"];
const LANES: &[&str] = &["change", "contain"];

use FactType::{Bool, Choice, Choices, Decimal, Int, Labels, Text, Texts};

/// Every fact, in the order they are shown.
pub const SCHEMA: &[Fact] = &[
    fact("item.kind", Choice(SUBJECTS), false, "what one act would be about"),
    fact("item.name", Text, false, "the source package, the service, the check of a setting, `kernel` or `libraries`"),
    fact("item.package", Text, true, "the source package, where the item is about one"),
    fact("item.classes", Choices(CLASSES), false, "OCSF classes of its open findings"),
    fact("item.ids", Texts, false, "ids and aliases of its open findings: CVEs, advisories"),
    fact("item.detectors", Choices(DETECTORS), false, "the checks that found them"),
    fact("item.verdicts", Choices(VERDICTS), false, "what the checks say of them"),
    fact("item.fixable", Bool, false, "an act would close at least one of them"),
    fact("item.own", Bool, false, "it is one of Stanch's own packages"),
    fact("item.caution", Bool, false, "something may rely on a setting as it is, by the posture pack"),
    fact(
        "item.kev",
        Bool,
        false,
        "one of them is listed as known to be exploited (CISA KEV); false when the list does not have it",
    ),
    fact("item.ransomware", Bool, false, "one of them is listed as used by ransomware (CISA KEV)"),
    fact("item.epss", Decimal(1), true, "highest probability of exploitation within 30 days, 0 to 1 (EPSS)"),
    fact("item.epss_percentile", Decimal(1), true, "share of all scored ids at or below that one, 0 to 1"),
    fact("item.cvss", Decimal(10), true, "highest CVSS base score, 0 to 10"),
    fact(
        "item.severity",
        Choice(SEVERITIES),
        true,
        "rating of that score: critical from 9.0, high from 7.0, medium from 4.0; of a setting, what the posture pack says",
    ),
    fact("item.exploitation", Choice(EXPLOITATION), true, "most that is known of exploitation (SSVC)"),
    fact("item.automatable", Bool, true, "an attacker can automate it (SSVC)"),
    fact("item.total_impact", Bool, true, "it gives total control or disclosure (SSVC)"),
    fact("item.ssvc", Choice(SSVC), true, "outcome of the SSVC deployer table; known once assessed"),
    fact("item.coordinator", Choice(COORDINATOR), true, "outcome of the SSVC coordinator table"),
    fact("item.bod", Choice(BOD), true, "deadline class of CISA BOD 26-04"),
    fact("item.due_days", Int(-100_000, 100_000), true, "whole days until the deadline; below 0 it has passed"),
    fact("item.age_days", Int(0, 100_000), true, "whole days since it was first seen"),
    fact(
        "item.fix_age_hours",
        Int(0, 1_000_000),
        true,
        "whole hours since the version that closes it was first offered, as any host's facts or a feed showed it",
    ),
    fact(
        "item.blocked",
        Bool,
        false,
        "the version that closes it, or one that its plan brings, is blocked as a bad patch",
    ),
    fact("item.confidence", Int(0, 100), true, "how sure the check is, 0 to 100: the least of its findings"),
    fact("item.stale", Bool, true, "the data it rests on are older than they may be"),
    fact("asset.kind", Choice(ASSET_KINDS), false, "what kind of thing it is"),
    fact("asset.name", Text, false, "what people call it"),
    fact("asset.environment", Text, true, "what a person said its environment is"),
    fact("asset.tier", Int(1, 5), true, "1 is the most critical; see docs for what unknown means"),
    fact("asset.classification", Text, true, "what a person said of its data"),
    fact("asset.owner", Text, true, "the team that answers for it"),
    fact("asset.labels", Labels, false, "labels that the server set"),
    fact("asset.exposure", Choice(EXPOSURE), true, "how reachable it is (SSVC)"),
    fact("asset.dependents", Int(0, 1_000_000), true, "assets that depend on it"),
    fact("asset.groups", Texts, true, "redundancy groups it is a member of"),
    fact("asset.own", Bool, true, "it runs Stanch's own server, store or executor"),
    fact(
        "asset.other_updaters",
        Texts,
        true,
        "other programs that change packages there by themselves, such as unattended-upgrades",
    ),
    fact("asset.confirmed", Bool, true, "a person or an enrolment token has said that it is one of ours"),
    fact("asset.asks_signatures", Bool, true, "its executor begins nothing without signed approvals"),
    fact("action.kind", Text, true, "the candidate action, `package.upgrade`; unknown when there is none"),
    fact("action.disruption", Choice(DISRUPTION), true, "the most that its users notice"),
    fact("action.reversibility", Choice(REVERSIBILITY), true, "what it takes to have the before-state back"),
    fact("action.idempotent", Bool, true, "repeating it under its key is harmless"),
    fact("action.closes_exposure", Bool, true, "undoing it would open a hole again"),
    fact("action.lane", Choice(LANES), true, "the lane it runs in"),
    fact("action.proven", Bool, true, "its conformance row is green on this system"),
    fact("action.verified_runs", Int(0, 1_000_000_000), true, "runs here that the check has confirmed"),
    fact("action.success_rate", Decimal(1), true, "lower confidence bound of its success, 0 to 1"),
    fact("action.undos", Int(0, 1_000_000_000), true, "runs here that were taken back"),
    fact("action.misfires", Int(0, 1_000_000_000), true, "runs here that a person called wrong"),
];

/// The fact with this path.
pub fn find(path: &str) -> Option<(usize, &'static Fact)> {
    SCHEMA.iter().enumerate().find(|(_, fact)| fact.path == path)
}

/// The path that a misspelt one most likely means.
pub(crate) fn meant(path: &str) -> Option<&'static str> {
    nearest(path, SCHEMA.iter().map(|fact| fact.path))
}

/// Steps of a decimal: five digits, as EPSS has.
pub const DECIMAL: i64 = 100_000;

/// The value of a fact. Numbers are integers, so that a digest of facts is the same on every machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number in parts per 100,000.
    Decimal(i64),
    /// A text or a word.
    Text(String),
    /// A list of texts or words.
    Texts(Vec<String>),
    /// Labels.
    Labels(BTreeMap<String, String>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Decimal(value) => {
                let sign = if *value < 0 { "-" } else { "" };
                let text = format!("{:05}", value.unsigned_abs() % DECIMAL.unsigned_abs());
                let tail = text.trim_end_matches('0');
                let whole = value.unsigned_abs() / DECIMAL.unsigned_abs();
                if tail.is_empty() { write!(f, "{sign}{whole}") } else { write!(f, "{sign}{whole}.{tail}") }
            }
            Self::Text(value) => write!(f, "{value:?}"),
            Self::Texts(values) => write!(f, "{values:?}"),
            Self::Labels(values) => write!(f, "{values:?}"),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            // As text: nothing hashed holds a float.
            Self::Decimal(_) => serializer.serialize_str(&self.to_string()),
            Self::Text(value) => serializer.serialize_str(value),
            Self::Texts(values) => values.serialize(serializer),
            Self::Labels(values) => values.serialize(serializer),
        }
    }
}

/// Why a value cannot stand under a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFact {
    /// There is no such fact.
    #[error("there is no fact `{path}`")]
    UnknownPath {
        /// The path.
        path: String,
    },
    /// The value has another type.
    #[error("`{path}` is {wanted}")]
    Type {
        /// The path.
        path: &'static str,
        /// What belongs there.
        wanted: &'static str,
    },
    /// The value is none that can be.
    #[error("{value} cannot be the value of `{path}`: {wanted}")]
    Value {
        /// The path.
        path: &'static str,
        /// The value.
        value: String,
        /// What can be.
        wanted: String,
    },
}

impl BadFact {
    /// What to do.
    pub fn remedy(&self) -> String {
        match self {
            Self::UnknownPath { path } => meant(path).map_or_else(
                || "`stanch policy schema --facts` lists what can be asked".to_owned(),
                |meant| format!("did you mean `{meant}`?"),
            ),
            Self::Type { wanted, .. } => format!("write {wanted}"),
            Self::Value { wanted, .. } => format!("write {wanted}"),
        }
    }
}

/// Texts and lists of one fact are at most this many bytes or entries.
const MAX_TEXT: usize = 1_024;
const MAX_LIST: usize = 1_000;

/// What is known of one item, its asset and one candidate action. What is not in it is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    values: Vec<Option<Value>>,
    /// When the version that closes it was first offered, to the second; what conditions see of it is its age in hours.
    pub(crate) offered_at: Option<Timestamp>,
    /// Why a version is blocked, in words.
    pub(crate) block: Option<String>,
}

impl Default for Facts {
    /// Nothing is known.
    fn default() -> Self {
        Self { values: vec![None; SCHEMA.len()], offered_at: None, block: None }
    }
}

impl Facts {
    /// Sets a fact.
    ///
    /// # Errors
    /// When there is no such path, or the value is none that can stand there.
    pub fn set(&mut self, path: &str, value: Value) -> Result<(), BadFact> {
        let (index, fact) = find(path).ok_or_else(|| unknown(path))?;
        let value = fits(fact, value)?;
        if let Some(place) = self.values.get_mut(index) {
            *place = Some(value);
        }
        Ok(())
    }

    /// Sets a fact to what a person typed: lists with commas, labels as `name:value` with commas.
    ///
    /// # Errors
    /// When there is no such path, or the text is none of its values.
    pub fn set_written(&mut self, path: &str, text: &str) -> Result<(), BadFact> {
        let (_, fact) = find(path).ok_or_else(|| unknown(path))?;
        let wrong = || BadFact::Type { path: fact.path, wanted: fact.kind.name() };
        let list = || text.split(',').map(str::trim).filter(|one| !one.is_empty());
        let value = match fact.kind {
            FactType::Bool => Value::Bool(text.parse().map_err(|_| wrong())?),
            FactType::Int(..) => Value::Int(text.parse().map_err(|_| wrong())?),
            FactType::Decimal(_) => Value::Decimal(decimal(text).ok_or_else(wrong)?),
            FactType::Text | FactType::Choice(_) => Value::Text(text.to_owned()),
            FactType::Texts | FactType::Choices(_) => Value::Texts(list().map(str::to_owned).collect()),
            FactType::Labels => {
                let pair = |one: &str| one.split_once(':').map(|(name, value)| (name.to_owned(), value.to_owned()));
                Value::Labels(list().map(pair).collect::<Option<_>>().ok_or_else(wrong)?)
            }
        };
        self.set(path, value)
    }

    /// Sets a fact whose value may be unknown, and cuts what is too long instead of refusing it.
    pub(crate) fn put(&mut self, path: &'static str, value: Option<Value>) {
        let cut = |mut text: String| {
            while text.len() > MAX_TEXT {
                text.pop();
            }
            text
        };
        let value = value.map(|value| match value {
            Value::Text(text) => Value::Text(cut(text)),
            Value::Texts(mut list) => {
                list.truncate(MAX_LIST);
                Value::Texts(list.into_iter().map(cut).collect())
            }
            other => other,
        });
        match value {
            // What does not fit the table is treated as unknown, which never raises a mode.
            Some(value) => {
                if self.set(path, value).is_err() {
                    self.unset(path);
                }
            }
            None => self.unset(path),
        }
    }

    /// Forgets a fact.
    pub fn unset(&mut self, path: &str) {
        if let Some((index, _)) = find(path)
            && let Some(place) = self.values.get_mut(index)
        {
            *place = None;
        }
    }

    /// The same while nothing is known of the item.
    #[must_use]
    pub(crate) fn without_item(&self) -> Self {
        let mut facts = self.clone();
        for (fact, place) in SCHEMA.iter().zip(&mut facts.values) {
            if fact.path.starts_with("item.") {
                *place = None;
            }
        }
        facts
    }

    /// The value of a fact, if it is known.
    pub fn get(&self, path: &str) -> Option<&Value> {
        self.at(find(path)?.0)
    }

    pub(crate) fn at(&self, index: usize) -> Option<&Value> {
        self.values.get(index)?.as_ref()
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        match self.get(path)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn texts(&self, path: &str) -> Option<&[String]> {
        match self.get(path)? {
            Value::Texts(texts) => Some(texts),
            _ => None,
        }
    }

    pub(crate) fn flag(&self, path: &str) -> Option<bool> {
        match self.get(path)? {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// What is known, in the order of the table.
    pub fn known(&self) -> impl Iterator<Item = (&'static Fact, &Value)> {
        SCHEMA.iter().zip(&self.values).filter_map(|(fact, value)| Some((fact, value.as_ref()?)))
    }
}

impl Serialize for Facts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (fact, value) in self.known() {
            map.serialize_entry(fact.path, value)?;
        }
        map.end()
    }
}

/// A number with at most five decimals, in parts per 100,000.
fn decimal(text: &str) -> Option<i64> {
    let (whole, tail) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.len() <= 9 && part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(tail) || tail.len() > 5 {
        return None;
    }
    let parts = format!("{tail:0<5}").parse::<i64>().ok()?;
    whole.parse::<i64>().ok()?.checked_mul(DECIMAL)?.checked_add(parts)
}

fn unknown(path: &str) -> BadFact {
    BadFact::UnknownPath { path: path.chars().take(64).collect() }
}

/// The value in the shape the table wants, or why it cannot stand there.
fn fits(fact: &Fact, value: Value) -> Result<Value, BadFact> {
    let wrong = || BadFact::Type { path: fact.path, wanted: fact.kind.name() };
    let none = |value: &dyn fmt::Display, wanted: String| BadFact::Value {
        path: fact.path,
        value: value.to_string().chars().take(64).collect(),
        wanted,
    };
    let word = |text: &str, words: &[&str]| {
        if words.contains(&text) { Ok(()) } else { Err(none(&text, format!("one of {}", words.join(", ")))) }
    };
    let short = |text: &str| {
        if text.len() <= MAX_TEXT { Ok(()) } else { Err(none(&"a text", format!("at most {MAX_TEXT} bytes"))) }
    };
    match (fact.kind, value) {
        (FactType::Bool, Value::Bool(value)) => Ok(Value::Bool(value)),
        (FactType::Int(low, high), Value::Int(value)) => {
            if (low..=high).contains(&value) {
                Ok(Value::Int(value))
            } else {
                Err(none(&value, format!("a whole number from {low} to {high}")))
            }
        }
        (FactType::Decimal(_), Value::Int(value)) => {
            let scaled = value.checked_mul(DECIMAL).ok_or_else(wrong)?;
            fits(fact, Value::Decimal(scaled))
        }
        (FactType::Decimal(high), Value::Decimal(value)) => {
            if (0..=high * DECIMAL).contains(&value) {
                Ok(Value::Decimal(value))
            } else {
                Err(none(&Value::Decimal(value), format!("a number from 0 to {high}")))
            }
        }
        (FactType::Text, Value::Text(text)) => short(&text).map(|()| Value::Text(text)),
        (FactType::Choice(words), Value::Text(text)) => word(&text, words).map(|()| Value::Text(text)),
        (FactType::Texts | FactType::Choices(_), Value::Texts(texts)) if texts.len() > MAX_LIST => {
            Err(none(&"a list", format!("at most {MAX_LIST} entries, not {}", texts.len())))
        }
        (FactType::Texts, Value::Texts(texts)) => {
            texts.iter().try_for_each(|text| short(text)).map(|()| Value::Texts(sorted(texts)))
        }
        (FactType::Choices(words), Value::Texts(texts)) => {
            texts.iter().try_for_each(|text| word(text, words)).map(|()| Value::Texts(sorted(texts)))
        }
        (FactType::Labels, Value::Labels(labels)) if labels.len() <= MAX_LIST => {
            labels.iter().try_for_each(|(name, text)| short(name).and_then(|()| short(text)))?;
            Ok(Value::Labels(labels))
        }
        _ => Err(wrong()),
    }
}

/// A list stands for a set: its order says nothing.
fn sorted(texts: Vec<String>) -> Vec<String> {
    texts.into_iter().collect::<BTreeSet<String>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_outside_the_table_is_refused_with_what_can_be() {
        let mut facts = Facts::default();
        assert!(facts.set("item.epss", Value::Decimal(50_000)).is_ok());
        assert_eq!(facts.get("item.epss").unwrap().to_string(), "0.5");
        for (path, value) in [
            ("item.epss", Value::Decimal(100_001)),
            ("item.epss", Value::Text("0.5".into())),
            ("asset.tier", Value::Int(0)),
            ("item.severity", Value::Text("Critical".into())),
            ("item.epsss", Value::Int(1)),
        ] {
            assert!(facts.set(path, value).is_err(), "{path}");
        }
        let error = facts.set("item.epsss", Value::Int(1)).unwrap_err();
        assert_eq!(error.remedy(), "did you mean `item.epss`?");
    }

    #[test]
    fn paths_stand_once_and_under_three_roots() {
        let paths: BTreeSet<&str> = SCHEMA.iter().map(|fact| fact.path).collect();
        assert_eq!(paths.len(), SCHEMA.len());
        for path in paths {
            let (root, field) = path.split_once('.').unwrap();
            assert!(["item", "asset", "action"].contains(&root) && !field.contains('.'), "{path}");
        }
    }
}
