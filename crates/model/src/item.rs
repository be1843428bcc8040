//! Work items: what one act closes on one asset. People and policies act on these, not on ids.

use serde::{Deserialize, Serialize};

use crate::canonical::{Digest, digest};
use crate::id::{AssetId, FindingId, ItemId};
use crate::lasting::LIBRARIES;

/// What one act would be about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Subject {
    /// Upgrading the binary packages of one source package.
    SourcePackage {
        /// Source package name.
        source: String,
    },
    /// Restarting what runs old code of one service, or one executable outside any service.
    Service {
        /// Unit, init script or executable.
        name: String,
    },
    /// Booting the newest installed kernel of a flavour, or freeing what only a reboot frees.
    Reboot {
        /// The flavour, or [`LIBRARIES`] for what lasts as long as the host runs.
        flavour: String,
    },
    /// Moving to something that is supported: a person's work.
    Support {
        /// What is past its support: a source package or `release`.
        name: String,
    },
    /// Another version of a component that no distribution packaged: a work of whoever builds with it.
    Component {
        /// Its package URL without a version, such as `pkg:npm/%40babel/core`.
        purl: String,
    },
    /// Setting what one check of the posture pack wants.
    Setting {
        /// The check, as people type it: `ssh-root-login`.
        check: String,
    },
}

impl Subject {
    /// What it is, as programs name it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::SourcePackage { .. } => "source_package",
            Self::Service { .. } => "service",
            Self::Reboot { .. } => "reboot",
            Self::Support { .. } => "support",
            Self::Component { .. } => "component",
            Self::Setting { .. } => "setting",
        }
    }

    /// The short name people type: `openssl`, `ssh.service`.
    pub fn name(&self) -> &str {
        match self {
            Self::SourcePackage { source } => source,
            Self::Component { purl } => purl,
            Self::Service { name } | Self::Support { name } => name,
            Self::Setting { check } => check,
            Self::Reboot { flavour } if flavour == LIBRARIES => LIBRARIES,
            Self::Reboot { .. } => "kernel",
        }
    }
}

/// What one act closes on one asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkItem {
    /// Digest of asset and subject.
    pub id: ItemId,
    /// Where.
    pub asset: AssetId,
    /// What.
    pub subject: Subject,
    /// Its open findings, in the order of their fingerprints.
    pub findings: Vec<FindingId>,
}

/// The id of the item about this subject on this asset.
pub fn item_id(asset: &AssetId, subject: &Subject) -> ItemId {
    // Texts always have a canonical form.
    let digest = digest("stanch/item/v2", &(asset, subject)).unwrap_or(Digest::from_bytes([0; 32]));
    ItemId::on(asset, &digest)
}
