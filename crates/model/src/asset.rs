//! Assets: whatever can have a security problem, with what people say about it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::canonical::{Digest, digest};
use crate::id::AssetId;

/// What kind of thing an asset is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AssetKind {
    /// A machine with its own operating system.
    Host,
    /// A package list without its machine: a status file or an SBOM.
    Inventory,
    /// A running container.
    Container,
    /// A container or machine image.
    Image,
    /// A resource in a cloud account.
    CloudResource,
    /// A person's or machine's account.
    Account,
    /// A source repository.
    Repository,
    /// A service that others depend on.
    Service,
}

/// How much depends on an asset: 1 is the most critical. Unknown counts as 1 wherever it restricts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Tier(u8);

/// A tier outside 1 to 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("tier {0} does not exist: 1 (most critical) to 5")]
pub struct NotATier(u8);

impl Tier {
    /// The most critical tier.
    pub const MOST_CRITICAL: Self = Self(1);

    /// The number, 1 to 5.
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Tier {
    type Error = NotATier;

    fn try_from(number: u8) -> Result<Self, NotATier> {
        if (1..=5).contains(&number) { Ok(Self(number)) } else { Err(NotATier(number)) }
    }
}

impl From<Tier> for u8 {
    fn from(tier: Tier) -> Self {
        tier.0
    }
}

/// How reachable an asset is for an attacker (SSVC System Exposure 1.0.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExposureLevel {
    /// Local or highly controlled access only.
    Small,
    /// Networked, with access restricted.
    Controlled,
    /// Reachable from the internet or another untrusted network.
    Open,
}

/// Where an exposure was learned, most trusted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExposureSource {
    /// A person's label.
    Label,
    /// A fact of the cloud the asset runs in.
    Cloud,
    /// The sockets that listen on the host.
    Sockets,
}

/// An exposure and where it was learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Exposure {
    /// The level.
    pub level: ExposureLevel,
    /// Who says so.
    pub source: ExposureSource,
}

/// One asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asset {
    /// Its id: the digest of its kind and identity.
    pub id: AssetId,
    /// What kind of thing it is.
    pub kind: AssetKind,
    /// What people call it.
    pub name: String,
    /// What a person said its environment is (`prod`, `staging`); unknown is unknown.
    pub environment: Option<String>,
    /// What a person said its tier is.
    pub tier: Option<Tier>,
    /// What a person said of its data (`restricted`, `internal`).
    pub classification: Option<String>,
    /// The team that owns it.
    pub owner: Option<String>,
    /// Free labels; the server sets them, a host cannot claim them.
    pub labels: BTreeMap<String, String>,
}

impl Asset {
    /// An asset nobody has said anything about yet. `identity` is what makes it that one and no other: a machine id,
    /// an ARN, a file's name.
    pub fn unlabelled(kind: AssetKind, identity: &str, name: &str) -> Self {
        Self {
            id: asset_id(kind, identity),
            kind,
            name: name.to_owned(),
            environment: None,
            tier: None,
            classification: None,
            owner: None,
            labels: BTreeMap::new(),
        }
    }
}

/// The id of the asset of this kind with this identity.
pub fn asset_id(kind: AssetKind, identity: &str) -> AssetId {
    // A unit variant and a text always have a canonical form.
    let digest = digest("stanch/asset/v1", &(kind, identity)).unwrap_or(Digest::from_bytes([0; 32]));
    AssetId::from_digest(&digest)
}
