//! What a host can do, as its executor probed it: policies choose only what is there, and people see why something is not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::trust::Demand;

/// Abilities and keys that are kept of one executor.
const MOST: usize = 64;

/// Something that a host may or may not be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ability {
    /// Packages of dpkg, changed by apt.
    Apt,
    /// Packages of rpm, changed by dnf.
    Dnf,
    /// Packages of Alpine.
    Apk,
    /// Packages of Python's environments, changed by their own pip with their owners' power.
    Pip,
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
    pub const ALL: [Self; 12] = [
        Self::Apt,
        Self::Dnf,
        Self::Apk,
        Self::Pip,
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
            Self::Pip => "pip",
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
    /// What was probed, by [`Ability::name`]: nothing where it is there, else why it is not. A newer executor may know of
    /// more.
    pub probed: BTreeMap<String, Option<String>>,
    /// Whom its own rules ask to vouch for a plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demands: Option<Demand>,
}

impl Abilities {
    /// Whether something is there.
    pub fn has(&self, ability: Ability) -> bool {
        self.probed.get(ability.name()).is_some_and(Option::is_none)
    }

    /// Why it is not there, where it was probed and is not.
    pub fn lacks(&self, ability: Ability) -> Option<&str> {
        self.probed.get(ability.name())?.as_deref()
    }

    /// As much of it as makes sense, whoever said it: nobody is asked for more signatures than there are keys.
    #[must_use]
    pub fn sound(mut self) -> Self {
        let short = |text: &str| text.len() <= 200 && !text.chars().any(char::is_control);
        let plain = |name: &String, why: &mut Option<String>| short(name) && why.as_deref().is_none_or(short);
        self.probed.retain(plain);
        while self.probed.len() > MOST {
            self.probed.pop_last();
        }
        let met = |demand: &Demand| {
            demand.need > 0 && usize::from(demand.need) <= demand.keys.len() && demand.keys.len() <= MOST
        };
        self.demands = self.demands.filter(met);
        self
    }
}
