//! Entries: what happened, who did it, to what. An entry is written once, in the transaction that makes it true, and
//! gets its index when it is sealed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stanch_model::canonical::{CanonicalError, Digest, encode};
use stanch_model::merkle;

/// The most bytes a payload may take in its canonical form. Evidence is kept elsewhere and named by its digest.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// The most subjects an entry may name.
pub const MAX_SUBJECTS: usize = 1024;
/// The most bytes of an actor, an event name, a subject or the name of a digest.
pub const MAX_NAME: usize = 128;
/// The deepest a payload may nest.
pub const MAX_DEPTH: usize = 16;

/// An entry before it is sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewEntry {
    /// When it happened, on the clock of whoever writes the entry; microseconds, as the store keeps times.
    pub at: Timestamp,
    /// Who: the id of a person, machine or executor, or `system`.
    pub actor: String,
    /// What happened: a stable name in snake case, such as `remediation_approved`.
    pub event: String,
    /// Ids of what it is about, in the order they were named.
    pub subjects: Vec<String>,
    /// What else is worth recording; integers only, never a secret.
    pub payload: Value,
    /// Digests of documents it rests on, by name (`plan`, `leaf`, `receipt`).
    pub digests: BTreeMap<String, Digest>,
}

/// Why an entry cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// The event's name is not one.
    #[error("`{0}` is not an event name: lower-case letters, digits and underscores, a letter first")]
    Event(String),
    /// A name is empty, too long, or holds characters that do not print.
    #[error("{what} `{name}` is empty, longer than {MAX_NAME} bytes, or holds characters that do not print")]
    Name {
        /// Which name.
        what: &'static str,
        /// Its beginning.
        name: String,
    },
    /// Too many subjects.
    #[error("an entry names {0} subjects, at most {MAX_SUBJECTS} are taken")]
    Subjects(usize),
    /// The payload is too large.
    #[error("the payload of `{event}` takes {bytes} bytes, at most {MAX_PAYLOAD} are taken; keep its digest instead")]
    Payload {
        /// The event.
        event: String,
        /// Its size.
        bytes: usize,
    },
    /// The payload nests too deep.
    #[error("the payload of `{0}` nests deeper than {MAX_DEPTH}")]
    Depth(String),
    /// The payload has no canonical form.
    #[error("the payload of `{event}` has no canonical form")]
    Canonical {
        /// The event.
        event: String,
        /// Why.
        #[source]
        source: CanonicalError,
    },
}

impl NewEntry {
    /// An entry that names no subject yet. `at` is cut to microseconds.
    pub fn new(at: Timestamp, actor: impl Into<String>, event: impl Into<String>) -> Self {
        Self {
            at: Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at),
            actor: actor.into(),
            event: event.into(),
            subjects: Vec::new(),
            payload: Value::Null,
            digests: BTreeMap::new(),
        }
    }

    /// Names a subject.
    #[must_use]
    pub fn about(mut self, subject: impl ToString) -> Self {
        self.subjects.push(subject.to_string());
        self
    }

    /// Sets the payload.
    #[must_use]
    pub fn with(mut self, payload: Value) -> Self {
        self.payload = payload;
        self
    }

    /// Names a document it rests on.
    #[must_use]
    pub fn resting_on(mut self, name: impl Into<String>, digest: Digest) -> Self {
        self.digests.insert(name.into(), digest);
        self
    }

    /// Whether the entry can be written as it stands.
    ///
    /// # Errors
    /// When a name or the payload is not as the ledger takes it.
    pub fn check(&self) -> Result<(), EntryError> {
        let event = &self.event;
        let named = event.starts_with(|c: char| c.is_ascii_lowercase())
            && event.len() <= MAX_NAME
            && event.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if !named {
            return Err(EntryError::Event(event.chars().take(64).collect()));
        }
        check_name("actor", &self.actor)?;
        if self.subjects.len() > MAX_SUBJECTS {
            return Err(EntryError::Subjects(self.subjects.len()));
        }
        self.subjects.iter().try_for_each(|subject| check_name("subject", subject))?;
        self.digests.keys().try_for_each(|name| check_name("digest", name))?;
        if depth(&self.payload) > MAX_DEPTH {
            return Err(EntryError::Depth(event.clone()));
        }
        let encoded = stanch_model::canonical::encode_value(&self.payload)
            .map_err(|source| EntryError::Canonical { event: event.clone(), source })?;
        if encoded.len() > MAX_PAYLOAD {
            return Err(EntryError::Payload { event: event.clone(), bytes: encoded.len() });
        }
        Ok(())
    }

    /// The entry sealed at this index.
    pub fn sealed(self, index: u64) -> Entry {
        Entry { index, leaf: None, entry: self }
    }
}

fn check_name(what: &'static str, name: &str) -> Result<(), EntryError> {
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(EntryError::Name { what, name: name.chars().take(64).collect() });
    }
    Ok(())
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// A sealed entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place in the log, from 0.
    pub index: u64,
    /// The leaf's hash as it was sealed, where retention took the payload: it cannot be computed any more. A later entry
    /// vouches for it and for what stays ([`crate::removal`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf: Option<Digest>,
    /// What it says.
    #[serde(flatten)]
    pub entry: NewEntry,
}

impl Entry {
    /// The leaf of the Merkle log: SHA-256 over a zero byte and the entry's canonical form (RFC 6962 section 2.1). Where
    /// the payload was taken, the hash that is kept in its place.
    ///
    /// # Errors
    /// When the payload holds a float.
    pub fn leaf_hash(&self) -> Result<Digest, CanonicalError> {
        self.leaf.map_or_else(|| Ok(merkle::leaf_hash(&encode(self)?)), Ok)
    }

    /// The same without its payload, as retention leaves it.
    ///
    /// # Errors
    /// When the payload holds a float.
    pub fn without_payload(self) -> Result<Self, CanonicalError> {
        let leaf = Some(self.leaf_hash()?);
        Ok(Self { leaf, entry: NewEntry { payload: Value::Null, ..self.entry }, ..self })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry() -> NewEntry {
        NewEntry::new(Timestamp::UNIX_EPOCH, "system", "task_granted").about("task-1").with(json!({"wave": 0}))
    }

    #[test]
    fn the_hash_covers_every_field() {
        let base = entry().sealed(7);
        let digest = Digest::of_bytes(b"x");
        let others = [
            entry().sealed(8),
            NewEntry { at: Timestamp::MAX, ..entry() }.sealed(7),
            NewEntry { actor: "other".into(), ..entry() }.sealed(7),
            NewEntry { event: "task_gone".into(), ..entry() }.sealed(7),
            entry().about("task-2").sealed(7),
            entry().with(json!({"wave": 1})).sealed(7),
            entry().resting_on("plan", digest).sealed(7),
        ];
        for other in others {
            assert_ne!(base.leaf_hash().unwrap(), other.leaf_hash().unwrap(), "{other:?}");
        }
    }

    #[test]
    fn what_has_no_canonical_form_or_is_too_much_is_refused() {
        assert!(entry().check().is_ok());
        assert!(matches!(entry().with(json!(0.5)).check(), Err(EntryError::Canonical { .. })));
        assert!(matches!(entry().with(json!("x".repeat(MAX_PAYLOAD))).check(), Err(EntryError::Payload { .. })));
        assert!(matches!(NewEntry { event: "Task Granted".into(), ..entry() }.check(), Err(EntryError::Event(_))));
        assert!(matches!(entry().about("").check(), Err(EntryError::Name { what: "subject", .. })));
        assert!(matches!(entry().about("a\nb").check(), Err(EntryError::Name { .. })));
        let deep = (0..20).fold(json!(1), |inner, _| json!([inner]));
        assert!(matches!(entry().with(deep).check(), Err(EntryError::Depth(_))));
        let many = NewEntry { subjects: vec!["task-1".into(); MAX_SUBJECTS + 1], ..entry() };
        assert!(matches!(many.check(), Err(EntryError::Subjects(_))));
    }
}
