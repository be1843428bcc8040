//! YAML as a tree that knows where each value stands. Bounds on size, depth, nodes and aliases are enforced while it
//! is parsed, so that a hostile file costs little.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Location, MergeKeyPolicy, Spanned, budget, options};

use crate::problem::At;

/// A policy file is at most this large, in bytes.
pub const MAX_FILE: usize = 256 * 1024;
/// Values in one file.
const MAX_NODES: usize = 20_000;
/// Lists and maps inside each other.
const MAX_DEPTH: usize = 24;
/// Documents in one file.
const MAX_DOCUMENTS: usize = 256;

/// One value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Kind {
    /// What it is called in a message.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

impl Node {
    /// The text, if it is one.
    pub(crate) const fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// The value under this key, if it is a map that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Kind::Map(entries) = &self.kind else { return None };
        entries.iter().find(|(name, _)| name.text() == Some(key)).map(|(_, value)| value)
    }
}

impl From<Location> for At {
    fn from(location: Location) -> Self {
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            line: narrow(location.line()).max(1),
            column: narrow(location.column()).max(1),
            offset: location.span().byte_offset().map_or(0, narrow),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Kind>::deserialize(deserializer)?;
        Ok(Self { at: spanned.referenced.into(), kind: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_none<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        Kind::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Int(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Kind, E> {
        i64::try_from(value).map(Kind::Int).map_err(|_| E::custom("the number is too large"))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Kind, E> {
        Ok(Kind::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Kind, E> {
        Ok(Kind::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Kind, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = seq.next_element()? {
            list.push(node);
        }
        Ok(Kind::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let mut entries: Vec<(Node, Node)> = Vec::new();
        while let Some((key, value)) = map.next_entry::<Node, Node>()? {
            if entries.iter().any(|(seen, _)| seen.kind == key.kind) {
                return Err(A::Error::custom("the same key stands twice in one map"));
            }
            entries.push((key, value));
        }
        Ok(Kind::Map(entries))
    }
}

/// Why a file is not a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotYaml {
    pub(crate) at: At,
    pub(crate) message: String,
}

/// The documents of a file. Empty ones are left out.
pub(crate) fn parse(source: &str) -> Result<Vec<Node>, NotYaml> {
    if source.len() > MAX_FILE {
        let message = format!("the file has {} bytes; at most {MAX_FILE} are read", source.len());
        return Err(NotYaml { at: At { line: 1, column: 1, offset: 0 }, message });
    }
    let options = options! {
        budget: budget! {
            max_nodes: MAX_NODES,
            max_depth: MAX_DEPTH,
            max_documents: MAX_DOCUMENTS,
            max_events: MAX_NODES * 4,
            max_aliases: 200,
            max_anchors: 100,
            max_total_scalar_bytes: MAX_FILE,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    let documents: Vec<Node> = serde_saphyr::from_str_multiple_with_options(source, options).map_err(|error| {
        let at = error.location().map_or(At { line: 1, column: 1, offset: 0 }, At::from);
        let full = error.to_string();
        let message: String = full.lines().next().unwrap_or_default().chars().take(300).collect();
        NotYaml { at, message }
    })?;
    Ok(documents.into_iter().filter(|node| node.kind != Kind::Null).collect())
}
