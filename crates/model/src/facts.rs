//! Facts of a host, as read at one moment. Facts carry no judgement: the agent reads them, the detectors judge them.
//!
//! What could not be read is [`Known::Unknown`] with the reason, never an empty list: an empty list says "there is
//! none".

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::asset::Asset;
use crate::version::DebVersion;

/// A fact that was read, or why it could not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Known<T> {
    /// It was read.
    Known(T),
    /// It could not be read; the text tells a person why and what would help, such as `needs root`.
    Unknown(String),
}

impl<T> Known<T> {
    /// The fact, if it was read.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(fact) => Some(fact),
            Self::Unknown(_) => None,
        }
    }
}

/// Everything known of one host at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// The asset these facts are about.
    pub asset: Asset,
    /// When reading began: nothing that happened later is reflected for sure.
    pub collected_at: Timestamp,
    /// The kernel's boot id; changes with every boot. Unknown for a root or list that is not running.
    pub boot_id: Known<String>,
    /// The release.
    pub os: OsRelease,
    /// The system's name of the machine's main architecture: `amd64` of dpkg, `x86_64` of rpm and apk.
    pub architecture: String,
    /// Installed packages, in the order of their names.
    pub packages: Vec<Package>,
    /// Packages whose versions are not dpkg's, in order: of rpm and apk, and of the ecosystems beside the distributions.
    #[serde(default)]
    pub components: Vec<Component>,
    /// Files with copies of libraries inside that no package manager of the host knows of, in the order of their paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bundles: Vec<Bundle>,
    /// Folders below which, and files in which, not all components were looked for or are told of: what is known there from
    /// before stays as it is unless these facts say otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsearched: Vec<String>,
    /// What dpkg left half done: names of packages that are unpacked, half-configured, half-installed or waiting for
    /// triggers.
    pub broken: Vec<String>,
    /// What the archive indexes on the host offer, by binary package name; packages at their newest are left out.
    pub candidates: Known<BTreeMap<String, Vec<Candidate>>>,
    /// When the archive indexes were last fetched, if any are there.
    pub indexes_at: Option<Timestamp>,
    /// The kernel that runs and those installed.
    pub kernel: Known<KernelFacts>,
    /// Processes that still map files which are gone from disk.
    pub stale: Known<Vec<StaleProcess>>,
    /// Sockets that wait for others.
    pub sockets: Known<Vec<ListeningSocket>>,
    /// Other programs that change packages by themselves.
    pub updaters: Vec<Updater>,
    /// What the host's own health probes say, which its owner wrote down there; empty where there are none.
    #[serde(default)]
    pub health: Vec<Health>,
    /// Who and what makes use of the host. Only executors measure it: a scan has no act to warn of.
    #[serde(default)]
    pub in_use: Option<InUse>,
    /// With whom the host talks. Only executors look; a server makes links between known assets of it and keeps nothing
    /// else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub talks: Option<Talks>,
    /// The settings that the posture pack names. Absent where nobody looked: another root, a package list, an agent from
    /// before the pack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub posture: Option<Posture>,
    /// What was left out of the lists above although it was there, a sentence each with its count: entries that could
    /// not be understood, indexes that could not be read. Shown beside every count; empty when nothing was left out.
    #[serde(default)]
    pub gaps: Vec<String>,
}

impl HostFacts {
    /// Whether nobody can tell from these facts what became of the component of this package URL: it was in a place that
    /// was not looked at, and no version of it is told of.
    pub fn is_unsearched(&self, purl: &str) -> bool {
        let Some(place) = crate::ecosystem::place(purl) else { return false };
        let within = |folder: &String| {
            place.strip_prefix(folder.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let shared = crate::ecosystem::without_version(purl);
        let is_it = |told: &str| crate::ecosystem::without_version(told) == shared;
        let copies = || self.bundles.iter().filter(|bundle| bundle.path == place).flat_map(Bundle::components);
        self.unsearched.iter().any(within)
            && !self.components.iter().any(|one| is_it(&one.purl))
            && !copies().any(|one| is_it(&one.purl))
    }

    /// The copies inside [`Self::bundles`], as components of their ecosystems.
    pub fn copies(&self) -> impl Iterator<Item = Component> {
        self.bundles.iter().flat_map(Bundle::components)
    }
}

/// The settings that the posture pack names ([`crate::posture`]), as they are. What is not listed is not on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posture {
    /// Parameters of the kernel by their names.
    pub sysctls: BTreeMap<String, Known<String>>,
    /// Settings of the SSH server as it would run with them; nothing inside where there is none.
    pub sshd: Known<Option<BTreeMap<String, String>>>,
    /// Files and folders by their paths.
    pub files: BTreeMap<String, Known<FileMode>>,
    /// Units of services by their names.
    pub services: BTreeMap<String, Known<UnitState>>,
}

impl Default for Posture {
    /// A host that has none of it.
    fn default() -> Self {
        Self { sysctls: BTreeMap::new(), sshd: Known::Known(None), files: BTreeMap::new(), services: BTreeMap::new() }
    }
}

/// Who may do what with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMode {
    /// The twelve bits of its mode.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// How a unit stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitState {
    /// What systemd says of its file: `enabled`, `disabled`, `masked`, `static`.
    pub file: String,
    /// It runs or is about to.
    pub active: bool,
}

/// Who and what makes use of a host at one moment. Counts alone: who it is concerns nobody who approves an act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InUse {
    /// Sessions of people.
    pub sessions: Known<u32>,
    /// TCP connections to what listens, in the order of ports.
    pub connections: Known<Vec<PortInUse>>,
}

/// A TCP port on which something listens, and how many connections are established over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortInUse {
    /// The local port.
    pub port: u16,
    /// So many.
    pub connections: u32,
}

/// What one health probe says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The probe.
    pub name: String,
    /// It succeeded.
    pub well: bool,
    /// In a sentence, without secrets.
    pub detail: String,
}

/// The release a host runs (os-release(5)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OsRelease {
    /// `ID`: `debian`, `ubuntu`.
    pub id: String,
    /// `VERSION_ID`: `12`, `22.04`; rolling releases have none.
    pub version_id: Option<String>,
    /// `VERSION_CODENAME`: `bookworm`.
    pub codename: Option<String>,
    /// `PRETTY_NAME`.
    pub pretty_name: String,
}

impl OsRelease {
    /// What runs, as policies, scripts and records of trust name it: `debian 12`, `ubuntu 22.04`.
    pub fn system(&self) -> Option<String> {
        let version = self.version_id.as_deref()?;
        let version = if self.id == "debian" { version.split('.').next().unwrap_or(version) } else { version };
        Some(format!("{} {version}", self.id))
    }

    /// The OSV ecosystem of this release, such as `Debian:12` or `Ubuntu:22.04`; `None` where it has none.
    pub fn ecosystem(&self) -> Option<String> {
        let version = self.version_id.as_deref()?;
        match self.id.as_str() {
            "debian" => Some(format!("Debian:{}", version.split('.').next().unwrap_or(version))),
            "ubuntu" => Some(format!("Ubuntu:{version}")),
            // Their minor releases follow one another within one ecosystem.
            "rocky" => Some(format!("Rocky Linux:{}", version.split('.').next().unwrap_or(version))),
            "almalinux" => Some(format!("AlmaLinux:{}", version.split('.').next().unwrap_or(version))),
            "alpine" => {
                let mut parts = version.split('.');
                Some(format!("Alpine:v{}.{}", parts.next()?, parts.next()?))
            }
            _ => None,
        }
    }
}

/// One installed binary package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Binary package name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// Its version.
    pub version: DebVersion,
    /// The source package it was built from.
    pub source: String,
    /// The version of that source package, which may differ from the binary's.
    pub source_version: DebVersion,
    /// Sources this package embeds at exact versions (`Built-Using`): how a signed kernel names its real source.
    pub built_using: Vec<(String, DebVersion)>,
    /// Held by its owner (`hold` selection).
    pub hold: bool,
    /// Essential: cannot be removed.
    pub essential: bool,
    /// Pulled in by others rather than asked for. Unknown when apt keeps no record.
    pub automatic: Option<bool>,
    /// Where the installed version comes from, as far as the indexes on the host tell; empty when none carries it.
    pub origins: Vec<Origin>,
    /// When this version was unpacked, where that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed_at: Option<Timestamp>,
}

/// A package that is not dpkg's: of another distribution, or a library or program that none packaged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Component {
    /// The OSV ecosystem: `PyPI`, `npm`, `crates.io`, `Maven`, `Rocky Linux:9`.
    pub ecosystem: String,
    /// The name as that ecosystem's advisories write it: `log4j:log4j`, `@scope/name`.
    pub name: String,
    /// The version, unparsed: its order is the ecosystem's.
    pub version: String,
    /// Its package URL with the version, otherwise as the inventory gave it. Of what was found on a host it names the
    /// environment too ([`crate::ecosystem::installed`]).
    pub purl: String,
    /// The source package it was built from, where its distribution has such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Who can change it where it was found. Absent in inventories that others made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeper: Option<Keeper>,
}

/// A file with copies of libraries inside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Bundle {
    /// Its path.
    pub path: String,
    /// By what its copies are known.
    pub evidence: Evidence,
    /// The package URL of what brought the file and has to be replaced with it; absent where that is the file alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier: Option<String>,
    /// The copies, in order.
    pub copies: Vec<Copied>,
}

/// By what copies inside a file are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// The list of its crates that `cargo auditable` put into it.
    CrateList,
    /// What Go wrote into it of its modules.
    GoBuildInfo,
    /// A text that a library in C carries with its version ([`crate::upstream`]).
    Text,
}

/// One copy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Copied {
    /// Its name in its ecosystem.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The text that it is known by, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
}

impl Evidence {
    /// The ecosystem of what is known by it, and the type of its package URLs.
    pub const fn world(self) -> (&'static str, &'static str) {
        match self {
            Self::CrateList => ("crates.io", "cargo"),
            Self::GoBuildInfo => ("Go", "golang"),
            Self::Text => (crate::ecosystem::UPSTREAM, "generic"),
        }
    }
}

impl Bundle {
    /// Its copies as components, which nobody whom Stanch could ask can change.
    pub fn components(&self) -> impl Iterator<Item = Component> {
        let (ecosystem, kind) = self.evidence.world();
        self.copies.iter().map(move |copy| Component {
            ecosystem: ecosystem.to_owned(),
            name: copy.name.clone(),
            version: copy.version.clone(),
            purl: crate::ecosystem::copied(kind, &copy.name, &copy.version, &self.path),
            source: None,
            keeper: Some(Keeper::Nobody(self.told(copy))),
        })
    }

    /// Where a copy lies, how it is known, and what has to be replaced.
    fn told(&self, copy: &Copied) -> String {
        let known = match (self.evidence, &copy.said) {
            (Evidence::CrateList, _) => "the list of crates in it says so".to_owned(),
            (Evidence::GoBuildInfo, _) => "what Go wrote into it says so".to_owned(),
            (Evidence::Text, Some(said)) => format!("its text `{said}` says so"),
            (Evidence::Text, None) => "a text in it says so".to_owned(),
        };
        let carrier = self
            .carrier
            .as_deref()
            .and_then(|purl| Some((crate::ecosystem::name_in(purl)?, crate::ecosystem::environment(purl)?)));
        let replaced = match carrier {
            Some((name, environment)) => format!("{name} in {environment} brought it and has to be replaced"),
            None => "whoever put that file there has to replace it".to_owned(),
        };
        format!("it is a copy inside {}, {known}; {replaced}", self.path)
    }
}

/// Under what name, in which version, advisories of an ecosystem could name something on a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Carried {
    /// The OSV ecosystem.
    pub ecosystem: String,
    /// The name: of a source package, or of a component.
    pub name: String,
    /// The version that advisories are compared with.
    pub version: String,
}

/// Who can change a package where it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keeper {
    /// A package manager, which Stanch asks.
    Manager(Manager),
    /// Nobody whom Stanch could ask; the text tells a person why.
    Nobody(String),
}

/// A package manager besides apt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manager {
    /// pip, inside a virtual environment.
    Pip,
    /// dnf, for the packages of rpm.
    Dnf,
}

/// One archive as apt names it (fields of its Release file).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// `Origin`: `Debian`.
    pub origin: String,
    /// `Label`: `Debian-Security`.
    pub label: String,
    /// `Suite` (apt's archive): `stable-security`.
    pub suite: String,
    /// `Codename`: `bookworm-security`.
    pub codename: String,
    /// Component: `main`.
    pub component: String,
}

impl Origin {
    /// Whether this archive carries security updates of the distribution.
    pub fn is_security(&self) -> bool {
        match self.origin.as_str() {
            "Debian" => self.label == "Debian-Security" || self.codename.ends_with("-security"),
            "Ubuntu" | "UbuntuESM" | "UbuntuESMApps" => {
                self.suite.ends_with("-security") || self.codename.ends_with("-security")
            }
            _ => false,
        }
    }
}

/// A version that could be installed instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The version.
    pub version: DebVersion,
    /// Version of its source package.
    pub source_version: DebVersion,
    /// Where it can be had.
    pub origin: Origin,
    /// Kept away by the owner's pins or default release: apt never chooses it over what is installed.
    pub pinned_away: bool,
}

/// The running kernel and the installed ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelFacts {
    /// `uname -r`, such as `6.1.0-50-amd64`.
    pub running_release: String,
    /// The package version that the running kernel names in `uname -v`, where it does.
    pub running_version: Option<DebVersion>,
    /// Installed kernel images.
    pub installed: Vec<KernelImage>,
}

/// One installed kernel image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelImage {
    /// Its package, such as `linux-image-6.1.0-50-amd64`.
    pub package: String,
    /// The release it boots as, `6.1.0-50-amd64`.
    pub release: String,
    /// What comes after the ABI number: `amd64`, `cloud-amd64`, `rt-amd64`.
    pub flavour: String,
    /// The package's version.
    pub version: DebVersion,
}

/// A process that maps files which have since been replaced or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaleProcess {
    /// Process id at the time of reading.
    pub pid: u32,
    /// Clock ticks since boot at which it started: with the pid, names one process.
    pub started: u64,
    /// Its executable.
    pub exe: String,
    /// The service it belongs to.
    pub service: Option<ServiceRef>,
    /// The container it runs in; such a process is not blamed on the host.
    pub container: Option<String>,
    /// The deleted files it maps.
    pub files: Vec<StaleFile>,
}

impl StaleProcess {
    /// What it is known by: its service, or its executable where it belongs to none.
    pub fn name(&self) -> &str {
        match &self.service {
            Some(ServiceRef::Systemd(name) | ServiceRef::Sysv(name) | ServiceRef::Session(name)) => name,
            None => &self.exe,
        }
    }
}

/// A deleted file that is still mapped.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StaleFile {
    /// Its path when it was there.
    pub path: String,
    /// The package that owns that path today.
    pub package: Option<String>,
}

/// How a process is started and stopped.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "manager", content = "name", rename_all = "snake_case")]
pub enum ServiceRef {
    /// A systemd unit, `ssh.service`.
    Systemd(String),
    /// A System V init script, `ssh`.
    Sysv(String),
    /// A user's systemd unit or a login session: never restarted by Stanch.
    Session(String),
}

/// The most connections that a host tells of.
pub const MOST_TALKS: usize = 256;
/// The most addresses of its own that it tells of.
pub const MOST_ADDRESSES: usize = 32;

/// Connections that a host has open to others, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Talks {
    /// Its own addresses, as its connections show them; without those that only it can reach.
    pub addresses: BTreeSet<std::net::IpAddr>,
    /// Whom it calls. Who calls it is told by the other side.
    pub calls: BTreeSet<Call>,
}

/// A service that a host calls.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The other's address.
    pub address: std::net::IpAddr,
    /// The port there, on which it listens.
    pub port: u16,
    /// The program here that calls.
    pub program: Option<String>,
}

/// A socket that listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ListeningSocket {
    /// `tcp`, `tcp6`, `udp`, `udp6`.
    pub protocol: String,
    /// The local address.
    pub address: std::net::IpAddr,
    /// The local port.
    pub port: u16,
    /// The executable behind it, where it could be read.
    pub exe: Option<String>,
    /// The package that owns that executable.
    pub package: Option<String>,
    /// The service whose process it is.
    #[serde(default)]
    pub service: Option<ServiceRef>,
}

/// Another program on the host that changes packages by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Updater {
    /// `unattended-upgrades`, `apt-daily-upgrade.timer`.
    pub name: String,
    /// Whether it is switched on.
    pub enabled: Known<bool>,
    /// What was seen, for people.
    pub detail: String,
}

impl Updater {
    /// What only fetches indexes or starts another one that is told of too.
    const HELPERS: [&str; 4] = ["apt-daily.timer", "apt-daily-upgrade.timer", "apt-compat (cron.daily)", "cron-apt"];

    /// Whether it changes packages where it is on.
    pub fn installs(&self) -> bool {
        !Self::HELPERS.contains(&self.name.as_str())
    }
}
