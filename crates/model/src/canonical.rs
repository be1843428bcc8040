//! One canonical encoding, so that a hash means the same on every machine and in every release.
//!
//! A value is taken through its JSON data model and written as deterministic CBOR (RFC 8949 section 4.2.1: shortest
//! integers, definite lengths, map keys in bytewise order of their encoding). Floats are refused: two machines may
//! print one differently. A hash is SHA-256 over a domain tag, a zero byte and that encoding, so that a digest of one
//! kind of thing can never stand for another.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use minicbor::Encoder;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;

/// A SHA-256 digest; text form is 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// SHA-256 of raw bytes, without a domain tag: for files and downloads whose digest others also compute.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::of(&digest::digest(&digest::SHA256, bytes))
    }

    fn of(made: &digest::Digest) -> Self {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(made.as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 12 hexadecimal digits, for people.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(12);
        text
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 digest: expected 64 hexadecimal digits")]
pub struct NotADigest;

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NotADigest)?;
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// SHA-256 over bytes that arrive in pieces.
pub struct Hasher(digest::Context);

impl Hasher {
    /// A hasher that has seen nothing.
    pub fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that was added.
    pub fn finish(self) -> Digest {
        Digest::of(&self.0.finish())
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a value has no canonical form.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// The value cannot be written in the JSON data model (a map with keys that are not text, say).
    #[error("value has no JSON form")]
    NotJson(#[source] serde_json::Error),
    /// The value holds a float; store the number as an integer of a stated unit instead.
    #[error("a float has no canonical form: {0}")]
    Float(String),
}

/// The canonical bytes of a value.
///
/// # Errors
/// When the value has no JSON form or holds a float.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    let value = serde_json::to_value(value).map_err(CanonicalError::NotJson)?;
    encode_value(&value)
}

/// The canonical bytes of a JSON value: what an outsider computes from an exported document.
///
/// # Errors
/// When the value holds a float.
pub fn encode_value(value: &Value) -> Result<Vec<u8>, CanonicalError> {
    let mut encoder = Encoder::new(Vec::new());
    write(&mut encoder, value)?;
    Ok(encoder.into_writer())
}

/// The digest of a value under a domain tag.
///
/// # Errors
/// As [`encode`].
pub fn digest<T: Serialize + ?Sized>(domain: &str, value: &T) -> Result<Digest, CanonicalError> {
    Ok(digest_encoded(domain, &encode(value)?))
}

/// The digest of canonical bytes under a domain tag.
pub fn digest_encoded(domain: &str, encoded: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(domain.as_bytes());
    hasher.update(&[0]);
    hasher.update(encoded);
    hasher.finish()
}

/// What [`digest`] gives for a list of these texts, without the way through JSON: a scan makes one for each finding.
pub fn digest_texts(domain: &str, texts: &[&str]) -> Digest {
    let room = domain.len() + 2 + texts.iter().map(|text| text.len() + 9).sum::<usize>();
    let mut bytes = Vec::with_capacity(room);
    bytes.extend_from_slice(domain.as_bytes());
    bytes.push(0);
    let mut encoder = Encoder::new(bytes);
    drop(encoder.array(texts.len() as u64));
    for text in texts {
        drop(encoder.str(text));
    }
    Digest::of_bytes(encoder.writer())
}

fn write(encoder: &mut Encoder<Vec<u8>>, value: &Value) -> Result<(), CanonicalError> {
    // Writing to a vector cannot fail, so the encoder's own errors are unreachable and dropped.
    match value {
        Value::Null => drop(encoder.null()),
        Value::Bool(flag) => drop(encoder.bool(*flag)),
        Value::Number(number) => {
            if let Some(unsigned) = number.as_u64() {
                drop(encoder.u64(unsigned));
            } else if let Some(signed) = number.as_i64() {
                drop(encoder.i64(signed));
            } else {
                return Err(CanonicalError::Float(number.to_string()));
            }
        }
        Value::String(text) => drop(encoder.str(text)),
        Value::Array(items) => {
            drop(encoder.array(items.len() as u64));
            for item in items {
                write(encoder, item)?;
            }
        }
        Value::Object(map) => {
            drop(encoder.map(map.len() as u64));
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            // The length is part of a text's CBOR head, so bytewise order of the encoding is length first.
            entries.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.as_bytes().cmp(b.as_bytes())));
            for (key, item) in entries {
                drop(encoder.str(key));
                write(encoder, item)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn keys_are_ordered_and_integers_are_shortest() {
        let bytes = encode_value(&json!({"bb": 1, "a": 24, "c": -1})).unwrap();
        assert_eq!(hex::encode(bytes), "a361611818616320626262".to_owned() + "01");
    }

    #[test]
    fn a_float_is_refused() {
        assert!(matches!(encode_value(&json!({"x": 0.5})), Err(CanonicalError::Float(_))));
    }

    #[test]
    fn the_domain_separates_equal_values() {
        assert_ne!(digest("a", &1).unwrap(), digest("b", &1).unwrap());
    }

    proptest! {
        #[test]
        fn a_list_of_texts_has_one_digest_whichever_way_it_is_made(texts in proptest::collection::vec(".{0,300}", 0..30)) {
            let borrowed: Vec<&str> = texts.iter().map(String::as_str).collect();
            prop_assert_eq!(digest_texts("domain", &borrowed), digest("domain", &texts).unwrap());
        }

        #[test]
        fn insertion_order_does_not_matter(map in proptest::collection::btree_map(".{0,8}", any::<i64>(), 0..8)) {
            let forward: serde_json::Map<String, Value> = map.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
            let backward: serde_json::Map<String, Value> = map.iter().rev().map(|(k, v)| (k.clone(), json!(v))).collect();
            prop_assert_eq!(encode(&forward).unwrap(), encode(&backward).unwrap());
        }
    }
}
