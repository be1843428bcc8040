//! From a tree to types: every type says once how it is read and what its JSON Schema is, so that the parser and the
//! editor cannot disagree. Reading goes on after an error, so that a person sees them all at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::node::{Kind, Node};
use crate::problem::{At, Grade, Problem, nearest};

/// Problems told of one file; more are counted as one.
const MAX_PROBLEMS: usize = 100;
/// Entries of one list or map.
const MAX_ENTRIES: usize = 1_000;
/// Bytes of one text.
const MAX_TEXT: usize = 4 * 1024;

/// Reads one file and gathers what is wrong with it.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    file: Arc<str>,
    source: &'a str,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(file: Arc<str>, source: &'a str) -> Self {
        Self { file, source, problems: Vec::new() }
    }

    pub(crate) const fn file(&self) -> &Arc<str> {
        &self.file
    }

    pub(crate) fn error(&mut self, at: At, code: &'static str, message: impl Into<String>, remedy: impl Into<String>) {
        self.tell(Grade::Error, at, code, message, remedy);
    }

    pub(crate) fn tell(
        &mut self,
        grade: Grade,
        at: At,
        code: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        if self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        let (message, remedy) = (message.into(), remedy.into());
        self.problems.push(Problem { file: Arc::clone(&self.file), at, grade, code, message, remedy });
    }

    pub(crate) fn finish(mut self) -> Vec<Problem> {
        self.problems.sort();
        self.problems.dedup();
        self.problems
    }

    /// Where a piece of a value stands in the file: block texts start on a later line than their key.
    pub(crate) fn locate(&self, value: At, piece: &str) -> At {
        let start = value.offset as usize;
        let Some(rest) = self.source.get(start..) else { return value };
        let Some(found) = rest.find(piece).filter(|_| !piece.is_empty()) else { return value };
        let before = rest.get(..found).unwrap_or_default();
        let lines = before.matches('\n').count();
        let width = |text: &str| u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        let column = match before.rsplit_once('\n') {
            Some((_, line)) => width(line) + 1,
            None => value.column.saturating_add(width(before)),
        };
        At {
            line: value.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX)),
            column,
            offset: value.offset.saturating_add(u32::try_from(found).unwrap_or(u32::MAX)),
        }
    }

    fn wrong_type(&mut self, node: &Node, wanted: &str) {
        let remedy = match (&node.kind, wanted) {
            (Kind::Int(_) | Kind::Float(_) | Kind::Bool(_), "a text") => "put it in quotes".to_owned(),
            _ => format!("write {wanted} here"),
        };
        self.error(node.at, "type", format!("expected {wanted}, found {}", node.kind.name()), remedy);
    }

    pub(crate) fn map<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [(Node, Node)]> {
        let Kind::Map(entries) = &node.kind else {
            self.wrong_type(node, &format!("a map for {what}"));
            return None;
        };
        if entries.len() > MAX_ENTRIES {
            self.error(node.at, "too-many", format!("{what} has more than {MAX_ENTRIES} entries"), "split it");
            return None;
        }
        Some(entries)
    }

    pub(crate) fn text<'n>(&mut self, node: &'n Node) -> Option<&'n str> {
        let Some(text) = node.text() else {
            self.wrong_type(node, "a text");
            return None;
        };
        if text.trim().is_empty() || text.len() > MAX_TEXT {
            let message = format!("a text must have 1 to {MAX_TEXT} bytes");
            self.error(node.at, "text-length", message, "write a shorter text, or leave the field out");
            return None;
        }
        Some(text)
    }

    pub(crate) fn unknown_keys(&mut self, entries: &[(Node, Node)], known: &[&str], what: &str) {
        for (key, _) in entries {
            let name = key.text().unwrap_or("(not a text)");
            if !known.contains(&name) {
                let remedy = nearest(name, known.iter().copied()).map_or_else(
                    || format!("{what} knows: {}", known.join(", ")),
                    |meant| format!("did you mean `{meant}`?"),
                );
                self.error(key.at, "unknown-field", format!("{what} has no field `{name}`"), remedy);
            }
        }
    }

    pub(crate) fn field<T: Yaml>(
        &mut self,
        entries: &[(Node, Node)],
        whole: At,
        key: &str,
        what: &str,
        default: Option<fn() -> T>,
    ) -> Option<T> {
        match entries.iter().find(|(name, _)| name.text() == Some(key)) {
            Some((_, node)) => T::read(node, self),
            None => default.map(|make| make()).or_else(T::absent).or_else(|| {
                self.error(whole, "missing-field", format!("{what} lacks `{key}`"), format!("add `{key}:`"));
                None
            }),
        }
    }
}

/// Named parts of a JSON Schema.
pub(crate) type Defs = BTreeMap<String, Value>;

/// A type that can be read from YAML and that has a schema.
pub(crate) trait Yaml: Sized {
    /// Reads it; tells what is wrong otherwise.
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self>;

    /// Its JSON Schema.
    fn schema(defs: &mut Defs) -> Value;

    /// What stands for it when its key is left out; nothing for what must be there.
    fn absent() -> Option<Self> {
        None
    }
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) at: At,
}

impl<T: Yaml> Yaml for Located<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        T::read(node, reader).map(|value| Self { value, at: node.at })
    }

    fn schema(defs: &mut Defs) -> Value {
        T::schema(defs)
    }
}

impl<T: Yaml> Yaml for Option<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        T::read(node, reader).map(Some)
    }

    fn schema(defs: &mut Defs) -> Value {
        T::schema(defs)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Yaml> Yaml for Vec<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Kind::List(list) = &node.kind else {
            reader.wrong_type(node, "a list");
            return None;
        };
        if list.len() > MAX_ENTRIES {
            reader.error(node.at, "too-many", format!("a list has more than {MAX_ENTRIES} entries"), "split it");
            return None;
        }
        let read: Vec<Option<T>> = list.iter().map(|one| T::read(one, reader)).collect();
        read.into_iter().collect()
    }

    fn schema(defs: &mut Defs) -> Value {
        json!({"type": "array", "items": T::schema(defs), "maxItems": MAX_ENTRIES})
    }
}

impl<T: Yaml> Yaml for BTreeMap<String, T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let entries = reader.map(node, "this")?;
        let mut map = Self::new();
        let mut whole = true;
        for (key, value) in entries {
            match (reader.text(key).map(str::to_owned), T::read(value, reader)) {
                (Some(key), Some(value)) => {
                    map.insert(key, value);
                }
                _ => whole = false,
            }
        }
        whole.then_some(map)
    }

    fn schema(defs: &mut Defs) -> Value {
        json!({"type": "object", "additionalProperties": T::schema(defs)})
    }
}

impl Yaml for bool {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Kind::Bool(value) = node.kind {
            return Some(value);
        }
        reader.wrong_type(node, "true or false");
        None
    }

    fn schema(_: &mut Defs) -> Value {
        json!({"type": "boolean"})
    }
}

impl Yaml for String {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        reader.text(node).map(str::to_owned)
    }

    fn schema(_: &mut Defs) -> Value {
        json!({"type": "string", "minLength": 1, "maxLength": MAX_TEXT})
    }
}

/// A whole number between two bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number<const LOW: u32, const HIGH: u32>(pub(crate) u32);

impl<const LOW: u32, const HIGH: u32> Yaml for Number<LOW, HIGH> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Kind::Int(number) = node.kind else {
            reader.wrong_type(node, "a whole number");
            return None;
        };
        match u32::try_from(number) {
            Ok(number) if (LOW..=HIGH).contains(&number) => Some(Self(number)),
            _ => {
                let message = format!("{number} is not between {LOW} and {HIGH}");
                reader.error(node.at, "out-of-range", message, format!("write a number from {LOW} to {HIGH}"));
                None
            }
        }
    }

    fn schema(_: &mut Defs) -> Value {
        json!({"type": "integer", "minimum": LOW, "maximum": HIGH})
    }
}

/// A span of time in seconds, written `90m`, `6h` or `1d12h`; at most a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seconds(pub(crate) u32);

impl Seconds {
    const MAX: u64 = 366 * 86_400;

    fn parse(text: &str) -> Option<u32> {
        let (mut total, mut rest, mut last) = (0_u64, text, u64::MAX);
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| (1..=9).contains(at))?;
            let (number, after) = rest.split_at_checked(digits)?;
            let unit = match after.chars().next()? {
                's' => 1,
                'm' => 60,
                'h' => 3_600,
                'd' => 86_400,
                'w' => 604_800,
                _ => return None,
            };
            // Larger units stand first, each once.
            if unit >= last {
                return None;
            }
            last = unit;
            total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
            rest = after.get(1..)?;
        }
        (!text.is_empty() && total <= Self::MAX).then(|| u32::try_from(total).ok())?
    }
}

impl Yaml for Seconds {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let seconds = node.text().and_then(Self::parse);
        if seconds.is_none() {
            let remedy = "write a number and a unit, such as 30m, 6h or 1d12h (s, m, h, d, w); at most 366d";
            reader.error(node.at, "duration", "this is not a span of time", remedy);
        }
        seconds.map(Self)
    }

    fn schema(_: &mut Defs) -> Value {
        json!({"type": "string", "pattern": "^([0-9]{1,9}w)?([0-9]{1,9}d)?([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?$", "minLength": 2,
            "examples": ["30m", "6h", "1d12h"]})
    }
}

/// A name that stands in reports and paths: small letters, digits and dashes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name(pub(crate) String);

impl Yaml for Name {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(node)?;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.len() <= 64 && text.chars().all(plain) && !text.starts_with('-') && !text.ends_with('-') {
            return Some(Self(text.to_owned()));
        }
        let remedy = "use 1 to 64 small letters, digits and dashes, such as prod-critical";
        reader.error(
            node.at,
            "name",
            format!("`{}` cannot be a name", text.chars().take(64).collect::<String>()),
            remedy,
        );
        None
    }

    fn schema(_: &mut Defs) -> Value {
        json!({"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$"})
    }
}

/// Reads one of a closed set of words.
pub(crate) fn read_choice<T: Copy>(node: &Node, reader: &mut Reader<'_>, words: &[(&str, T)]) -> Option<T> {
    let text = reader.text(node)?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Some(*value);
    }
    let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let remedy = nearest(text, all.iter().copied())
        .map_or_else(|| format!("write one of: {}", all.join(", ")), |meant| format!("did you mean `{meant}`?"));
    let shown: String = text.chars().take(64).collect();
    reader.error(node.at, "unknown-word", format!("`{shown}` is not one of the words that may stand here"), remedy);
    None
}

/// Gives an existing type its words.
macro_rules! words {
    ($type:ty, [$(($word:literal, $value:expr)),+ $(,)?]) => {
        impl $crate::read::Yaml for $type {
            fn read(node: &$crate::node::Node, reader: &mut $crate::read::Reader<'_>) -> Option<Self> {
                $crate::read::read_choice(node, reader, &[$(($word, $value)),+])
            }

            fn schema(_: &mut $crate::read::Defs) -> serde_json::Value {
                serde_json::json!({"enum": [$($word),+]})
            }
        }
    };
}

/// A struct that is read from a map: its fields, their defaults and their words for editors are said once.
macro_rules! record {
    (
        $(#[doc = $doc:literal])+
        struct $name:ident as $what:literal {
            $($(#[doc = $told:literal])+ $field:ident as $key:literal: $type:ty $(= $default:expr)?,)+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone)]
        pub(crate) struct $name {
            $($(#[doc = $told])+ pub(crate) $field: $type,)+
        }

        impl $crate::read::Yaml for $name {
            fn read(node: &$crate::node::Node, reader: &mut $crate::read::Reader<'_>) -> Option<Self> {
                let entries = reader.map(node, $what)?;
                reader.unknown_keys(entries, &[$($key),+], $what);
                $(
                    #[allow(unused_mut, unused_assignments)]
                    let mut default: Option<fn() -> $type> = None;
                    $(default = Some(|| $default);)?
                    let $field = reader.field::<$type>(entries, node.at, $key, $what, default);
                )+
                Some(Self { $($field: $field?,)+ })
            }

            fn schema(defs: &mut $crate::read::Defs) -> serde_json::Value {
                let name = stringify!($name).trim_end_matches("Doc");
                if !defs.contains_key(name) {
                    // Stands in for itself while its parts are described.
                    defs.insert(name.to_owned(), serde_json::Value::Null);
                    #[allow(unused_mut)]
                    let mut fields: Vec<(&str, String, serde_json::Value, bool)> = Vec::new();
                    $(
                        #[allow(unused_mut, unused_assignments)]
                        let mut optional = <$type as $crate::read::Yaml>::absent().is_some();
                        $(let _ = || -> $type { $default }; optional = true;)?
                        let told = concat!($($told),+).trim().to_owned();
                        fields.push(($key, told, <$type as $crate::read::Yaml>::schema(defs), optional));
                    )+
                    let whole = $crate::read::object(concat!($($doc),+).trim(), fields);
                    defs.insert(name.to_owned(), whole);
                }
                serde_json::json!({"$ref": format!("#/$defs/{name}")})
            }
        }
    };
}

/// The schema of a map with these fields.
pub(crate) fn object(told: &str, fields: Vec<(&str, String, Value, bool)>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (key, told, schema, optional) in fields {
        let mut schema = schema;
        if let Value::Object(parts) = &mut schema {
            parts.insert("description".to_owned(), Value::String(told));
        }
        properties.insert(key.to_owned(), schema);
        if !optional {
            required.push(key);
        }
    }
    json!({
        "type": "object", "description": told, "properties": properties, "required": required,
        "additionalProperties": false,
    })
}

pub(crate) use {record, words};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_have_one_spelling() {
        assert_eq!(Seconds::parse("90m"), Some(5_400));
        assert_eq!(Seconds::parse("1d12h"), Some(129_600));
        for wrong in ["", "6", "h", "1h1h", "1m1h", "6 h", "-1h", "1.5h", "9999999999s", "400d", "1h\u{661}m"] {
            assert_eq!(Seconds::parse(wrong), None, "{wrong}");
        }
    }
}
