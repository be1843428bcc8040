//! Typed identifiers: an id of one noun cannot be handed to another.
//!
//! Ids that name a happening (a remediation, a task) are made of 80 random bits that the caller brings; ids that name
//! a thing seen (a finding, a work item) are made of the digest of what identifies it, so that every observer gives
//! the same thing the same id. Both print as a prefix and 16 characters of Crockford's base 32.
//!
//! What is seen on an asset comes by the thousand and together, and digests would scatter it over every index of a
//! store. The first 24 bits of such an id are the asset's own, so that one asset's things are neighbours; 56 bits tell
//! them apart.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::canonical::Digest;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A text that is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}: expected `{prefix}-` and 16 characters")]
pub struct NotAnId {
    text: String,
    expected: &'static str,
    prefix: &'static str,
}

fn spell(prefix: &str, bytes: &[u8; 10]) -> String {
    let mut text = String::with_capacity(prefix.len() + 17);
    text.push_str(prefix);
    text.push('-');
    let mut bits: u16 = 0;
    let mut held = 0;
    for byte in bytes {
        bits = (bits << 8) | u16::from(*byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            let index = usize::from((bits >> held) & 31);
            text.push(char::from(*ALPHABET.get(index).unwrap_or(&b'0')));
        }
    }
    text
}

fn check(text: &str, prefix: &'static str, expected: &'static str) -> Result<(), NotAnId> {
    let body = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
    match body {
        Some(body) if body.len() == 16 && body.bytes().all(|byte| ALPHABET.contains(&byte)) => Ok(()),
        _ => Err(NotAnId { text: text.chars().take(64).collect(), expected, prefix }),
    }
}

macro_rules! id {
    ($(#[$meta:meta])* $name:ident, $prefix:literal, $expected:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The prefix of every id of this kind.
            pub const PREFIX: &'static str = $prefix;

            /// An id made of random bytes that the caller drew.
            pub fn from_entropy(bytes: [u8; 10]) -> Self {
                Self(spell($prefix, &bytes))
            }

            /// The id of the thing with this identifying digest.
            pub fn from_digest(digest: &Digest) -> Self {
                let mut bytes = [0; 10];
                for (to, from) in bytes.iter_mut().zip(digest.as_bytes()) {
                    *to = *from;
                }
                Self(spell($prefix, &bytes))
            }

            /// The text form.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                check(text, $prefix, $expected)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotAnId;

            fn try_from(text: String) -> Result<Self, NotAnId> {
                check(&text, $prefix, $expected)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

impl FindingId {
    /// The id of the finding on this asset with this identifying digest, which covers the asset.
    pub fn on(asset: &AssetId, digest: &Digest) -> Self {
        Self::from_entropy(beside(asset, digest))
    }
}

impl ItemId {
    /// The id of the item on this asset with this identifying digest, which covers the asset.
    pub fn on(asset: &AssetId, digest: &Digest) -> Self {
        Self::from_entropy(beside(asset, digest))
    }
}

/// Three bytes that all things on an asset share, and seven of the thing's own.
fn beside(asset: &AssetId, digest: &Digest) -> [u8; 10] {
    let place = Digest::of_bytes(asset.as_str().as_bytes());
    let mut bytes = [0; 10];
    for (to, from) in bytes.iter_mut().zip(place.as_bytes().iter().take(3).chain(digest.as_bytes())) {
        *to = *from;
    }
    bytes
}

id!(
    /// One asset.
    AssetId, "asset", "an asset id"
);
id!(
    /// One finding: the digest of what it is and where, whoever reported it.
    FindingId, "find", "a finding id"
);
id!(
    /// One work item: what one act closes on one asset.
    ItemId, "item", "a work item id"
);
id!(
    /// One remediation.
    RemediationId, "rem", "a remediation id"
);
id!(
    /// One task: one leaf of a plan on one asset.
    TaskId, "task", "a task id"
);
id!(
    /// One order to an executor.
    OrderId, "order", "an order id"
);
id!(
    /// One executor: a host agent or the cloud executor.
    ExecutorId, "exec", "an executor id"
);
id!(
    /// One case: the findings of one problem with everything that is done about them.
    CaseId, "case", "a case id"
);
id!(
    /// One change request: a remediation as another system knows it.
    ChangeId, "chg", "a change request id"
);
id!(
    /// One campaign: what a policy did, taken back together.
    CampaignId, "camp", "a campaign id"
);
id!(
    /// One person or machine that may ask for something.
    ActorId, "actor", "an actor id"
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let task = TaskId::from_entropy([7; 10]).to_string();
        assert!(task.parse::<TaskId>().is_ok());
        assert_eq!(
            task.parse::<OrderId>().unwrap_err().to_string(),
            format!("`{task}` is not an order id: expected `order-` and 16 characters")
        );
    }

    #[test]
    fn what_is_on_an_asset_stands_together_and_is_told_apart() {
        let assets = [1_u8, 2, 3].map(|byte| AssetId::from_entropy([byte; 10]));
        let digests: Vec<Digest> = (0..50_u8).map(|byte| Digest::of_bytes(&[byte])).collect();
        let mut all: Vec<(FindingId, &AssetId)> = digests
            .iter()
            .flat_map(|digest| assets.iter().map(move |asset| (FindingId::on(asset, digest), asset)))
            .collect();
        all.sort();
        let runs = all.chunk_by(|(_, one), (_, next)| one == next).count();
        assert_eq!(runs, assets.len(), "in the order of ids the assets follow one another");
        all.dedup_by(|(one, _), (other, _)| one == other);
        assert_eq!(all.len(), digests.len() * assets.len());
    }

    proptest! {
        #[test]
        fn ids_print_and_parse(bytes: [u8; 10]) {
            let id = FindingId::from_entropy(bytes);
            prop_assert_eq!(id.to_string().parse::<FindingId>().unwrap(), id);
        }

        #[test]
        fn different_bytes_are_different_ids(a: [u8; 10], b: [u8; 10]) {
            prop_assert_eq!(a == b, FindingId::from_entropy(a) == FindingId::from_entropy(b));
        }

        #[test]
        fn any_text_parses_or_is_refused(text in ".{0,40}") {
            let _ = text.parse::<FindingId>();
        }
    }
}
