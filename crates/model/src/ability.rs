//! What a host can do, as its executor probed it: policies choose only what is there, and people see why something is not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::trust::Demand;

/// Something that a host may or may not be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ability {
    /// Packages of dpkg, changed by apt.
    Apt,
    /// Packages of rpm, changed by dnf.
    Dnf,
    /// Packages of Alpine.
    Apk,
    /// Services of systemd.
    Systemd,
    /// Services of System V scripts.
    SysvInit,
    /// Packet filters of nftables.
    Nftables,
    /// Groups of processes of the second version.
    CgroupV2,
    /// File events for the whole host.
    Fanotify,
    /// Reading and changing other processes.
    Ptrace,
    /// Copies of the host's files over themselves, for rehearsals.
    Overlay,
    /// A kernel of its own that can be booted: not in a container.
    Boot,
}

impl Ability {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Apt,
        Self::Dnf,
        Self::Apk,
        Self::Systemd,
        Self::SysvInit,
        Self::Nftables,
        Self::CgroupV2,
        Self::Fanotify,
        Self::Ptrace,
        Self::Overlay,
        Self::Boot,
    ];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Apt => "apt",
            Self::Dnf => "dnf",
            Self::Apk => "apk",
            Self::Systemd => "systemd",
            Self::SysvInit => "sysv_init",
            Self::Nftables => "nftables",
            Self::CgroupV2 => "cgroup_v2",
            Self::Fanotify => "fanotify",
            Self::Ptrace => "ptrace",
            Self::Overlay => "overlay",
            Self::Boot => "boot",
        }
    }
}

/// What an executor said of itself and its host when it started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abilities {
    /// What was probed: nothing where it is there, else why it is not.
    pub probed: BTreeMap<Ability, Option<String>>,
    /// Whom its own rules ask to vouch for a plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demands: Option<Demand>,
}

impl Abilities {
    /// Whether something is there.
    pub fn has(&self, ability: Ability) -> bool {
        self.probed.get(&ability).is_some_and(Option::is_none)
    }
}
