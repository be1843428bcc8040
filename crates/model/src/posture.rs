//! The posture pack: settings of a host that are weak by what public benchmarks say, as facts in one table.
//!
//! The agent reads what the table names, the detector compares with what it wants, and `config.set` sets nothing but
//! what it would set. All three read it from here, so that none can mean another setting than the others. A check
//! whose value would break machines that are as their owner wants them has none to set: a person decides there.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::facts::{FileMode, Known, Posture, UnitState};

/// What ids of checks begin with.
pub const PREFIX: &str = "stanch/posture/";

/// How bad it is when a setting is not as wanted, least first. Ours, and no score: nobody scores settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// A layer less.
    Low,
    /// A help to whoever is already close.
    Medium,
    /// A way in, or up to root.
    High,
}

impl Severity {
    /// The name users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// What kind of setting it is: how it is read and set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A parameter of the kernel.
    Sysctl,
    /// A setting of the SSH server.
    Sshd,
    /// Mode, owner and group of a file or folder.
    File,
    /// A service that runs or would be started.
    Service,
}

impl Kind {
    /// All of them, in the order they are set: the kernel first, and services that go last.
    pub const ALL: [Self; 4] = [Self::Sysctl, Self::Sshd, Self::File, Self::Service];

    /// The name users see, which settings begin with.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sysctl => "sysctl",
            Self::Sshd => "sshd",
            Self::File => "file",
            Self::Service => "service",
        }
    }
}

/// Which values are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// This one.
    Equals(&'static str),
    /// One of these, the first of which is named to people.
    OneOf(&'static [&'static str]),
    /// A number that is not larger.
    AtMost(i64),
    /// A number that is not smaller.
    AtLeast(i64),
    /// A number between both, which count as good.
    Within(i64, i64),
    /// No permission besides these, owned by root and one of these groups by their numbers.
    ModeAtMost(u32, &'static [u32]),
    /// Neither running nor started at boot.
    Off,
}

impl Wanted {
    /// Whether a value is good; nothing for one that this cannot compare.
    pub fn holds(&self, value: &str) -> Option<bool> {
        let number = || value.parse::<i64>().ok();
        Some(match self {
            Self::Equals(wanted) => value == *wanted,
            Self::OneOf(wanted) => wanted.contains(&value),
            Self::AtMost(most) => number()? <= *most,
            Self::AtLeast(least) => number()? >= *least,
            Self::Within(least, most) => (*least..=*most).contains(&number()?),
            Self::ModeAtMost(most, groups) => {
                let file = FileMode::read(value)?;
                file.mode & !most == 0 && file.uid == 0 && groups.contains(&file.gid)
            }
            Self::Off => value == OFF,
        })
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equals(wanted) => f.write_str(wanted),
            Self::OneOf(wanted) => f.write_str(&wanted.join(" or ")),
            Self::AtMost(most) => write!(f, "at most {most}"),
            Self::AtLeast(least) => write!(f, "at least {least}"),
            Self::Within(least, most) => write!(f, "{least} to {most}"),
            Self::ModeAtMost(most, groups) => {
                let groups: Vec<String> = groups.iter().map(|gid| group(*gid)).collect();
                write!(f, "at most {most:04o}, root:{}", groups.join(" or "))
            }
            Self::Off => f.write_str(OFF),
        }
    }
}

/// What a service is that neither runs nor is started at boot.
pub const OFF: &str = "off";

/// One check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// Its stable id, `stanch/posture/ssh-root-login`.
    pub id: &'static str,
    /// What is wrong, as a title.
    pub title: &'static str,
    /// Why that is bad, in a sentence.
    pub why: &'static str,
    /// How bad.
    pub severity: Severity,
    /// How it is read and set.
    pub kind: Kind,
    /// The name of the setting in its kind: `net.ipv4.tcp_syncookies`, `/etc/shadow`.
    pub name: &'static str,
    /// The units of a service, those that start others first; empty for all else.
    pub units: &'static [&'static str],
    /// Which values are good.
    pub wanted: Wanted,
    /// What `config.set` would make it, `narrowed` for what only loses rights; nothing where a person has to decide.
    pub set: Option<&'static str>,
    /// What may rely on it as it is. Shown beside every plan; the shipped policies go no further than approval then.
    pub caution: Option<&'static str>,
    /// Controls of public catalogues that it serves.
    pub controls: &'static [&'static str],
}

/// What a host says of the setting of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// There is no such setting on this host.
    Absent,
    /// It could not be read, and why.
    Unread(String),
    /// It is this.
    Value(String),
}

impl Check {
    /// The name people type, `ssh-root-login`.
    pub fn short(&self) -> &'static str {
        self.id.strip_prefix(PREFIX).unwrap_or(self.id)
    }

    /// The setting as rules name it, `sshd.permitrootlogin`.
    pub fn setting(&self) -> String {
        format!("{}.{}", self.kind.name(), self.name)
    }

    /// What the facts say of it.
    pub fn reading(&self, posture: &Posture) -> Reading {
        match self.kind {
            Kind::Sysctl => read(posture.sysctls.get(self.name), String::clone),
            Kind::File => read(posture.files.get(self.name), ToString::to_string),
            Kind::Sshd => match &posture.sshd {
                Known::Unknown(why) => Reading::Unread(why.clone()),
                Known::Known(None) => Reading::Absent,
                Known::Known(Some(settings)) => {
                    settings.get(self.name).map_or(Reading::Absent, |value| Reading::Value(value.clone()))
                }
            },
            Kind::Service => self.service(posture),
        }
    }

    /// Any unit that is on makes it on; one that could not be asked may be.
    fn service(&self, posture: &Posture) -> Reading {
        let units = self.units.iter().filter_map(|unit| Some((*unit, posture.services.get(*unit)?)));
        let (mut there, mut on, mut unread) = (false, Vec::new(), None);
        for (unit, state) in units {
            there = true;
            match state {
                Known::Known(state) if state.is_on() => on.push(format!("{unit} {state}")),
                Known::Known(_) => {}
                Known::Unknown(why) => unread = Some(why.clone()),
            }
        }
        match (on.is_empty(), unread) {
            (false, _) => Reading::Value(on.join(", ")),
            (true, Some(why)) => Reading::Unread(why),
            (true, None) if there => Reading::Value(OFF.to_owned()),
            (true, None) => Reading::Absent,
        }
    }
}

fn read<T>(fact: Option<&Known<T>>, shown: impl Fn(&T) -> String) -> Reading {
    match fact {
        None => Reading::Absent,
        Some(Known::Unknown(why)) => Reading::Unread(why.clone()),
        Some(Known::Known(value)) => Reading::Value(shown(value)),
    }
}

impl FileMode {
    /// Reads what [`fmt::Display`] writes.
    pub fn read(text: &str) -> Option<Self> {
        let (mode, owners) = text.split_once(' ')?;
        let (uid, gid) = owners.split_once(':')?;
        let id = |name: &str| match name {
            "root" => Some(0),
            "shadow" => Some(SHADOW),
            number => number.parse().ok(),
        };
        Some(Self { mode: u32::from_str_radix(mode, 8).ok()?, uid: id(uid)?, gid: id(gid)? })
    }

    /// The mode and owners that come closest and are as wanted: rights are taken away, never given.
    #[must_use]
    pub fn narrowed(self, most: u32, groups: &[u32]) -> Self {
        let gid = if groups.contains(&self.gid) { self.gid } else { 0 };
        Self { mode: self.mode & most, uid: 0, gid }
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = if self.uid == 0 { "root".to_owned() } else { self.uid.to_string() };
        write!(f, "{:04o} {owner}:{}", self.mode, group(self.gid))
    }
}

/// The group `shadow` of Debian and its children: base-passwd gives it this number on every system.
const SHADOW: u32 = 42;

fn group(gid: u32) -> String {
    match gid {
        0 => "root".to_owned(),
        SHADOW => "shadow".to_owned(),
        other => other.to_string(),
    }
}

impl UnitState {
    /// Whether it runs, or would be started at boot.
    pub fn is_on(&self) -> bool {
        self.active || matches!(self.file.as_str(), "enabled" | "enabled-runtime")
    }
}

impl fmt::Display for UnitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = if self.active { "running" } else { "not running" };
        if self.file.is_empty() { f.write_str(runs) } else { write!(f, "{}, {runs}", self.file) }
    }
}

/// The check with this id, in full or as people type it.
pub fn find(id: &str) -> Option<&'static Check> {
    let short = id.strip_prefix(PREFIX).unwrap_or(id);
    CHECKS.iter().chain(ON_REQUEST).find(|check| check.short() == short)
}

const fn base(
    kind: Kind,
    id: &'static str,
    name: &'static str,
    severity: Severity,
    wanted: Wanted,
    set: Option<&'static str>,
    (title, why): (&'static str, &'static str),
) -> Check {
    Check { id, title, why, severity, kind, name, units: &[], wanted, set, caution: None, controls: &[] }
}

impl Check {
    const fn cautious(self, caution: &'static str) -> Self {
        Self { caution: Some(caution), ..self }
    }

    const fn serving(self, controls: &'static [&'static str]) -> Self {
        Self { controls, ..self }
    }

    const fn of_units(self, units: &'static [&'static str]) -> Self {
        Self { units, ..self }
    }
}

/// Every check, in the order they are shown.
pub const CHECKS: &[Check] = &[
    base(
        Kind::Sysctl,
        "stanch/posture/sysctl-syncookies",
        "net.ipv4.tcp_syncookies",
        Severity::Medium,
        Wanted::AtLeast(1),
        Some("1"),
        ("SYN cookies are off", "A flood of half-open connections fills the queue of whatever listens, and nobody else gets in."),
    )
    .serving(&["NIST 800-53 SC-5", "ISO 27001 A.8.20"]),
    base(
        Kind::Sysctl,
        "stanch/posture/sysctl-redirects-new",
        "net.ipv4.conf.default.accept_redirects",
        Severity::Medium,
        Wanted::Equals("0"),
        Some("0"),
        ("New interfaces follow ICMP redirects", "An interface that comes up later lets a neighbour lead its traffic astray."),
    )
    .serving(&["NIST 800-53 SC-7", "ISO 27001 A.8.20"]),
    base(
        Kind::Sysctl,
        "stanch/posture/sysctl-redirects-v6-new",
        "net.ipv6.conf.default.accept_redirects",
        Severity::Medium,
        Wanted::Equals("0"),
        Some("0"),
        ("New interfaces follow ICMPv6 redirects", "An interface that comes up later lets a neighbour lead its IPv6 traffic astray."),
    )
    .serving(&["NIST 800-53 SC-7", "ISO 27001 A.8.20"]),
    base(
        Kind::Sysctl,
        "stanch/posture/sysctl-source-route",
        "net.ipv4.conf.all.accept_source_route",
        Severity::Medium,
        Wanted::Equals("0"),
        Some("0"),
        ("Source-routed packets are accepted", "The sender of a packet chooses its way, past the filters that stand on the usual one."),
    )
    .serving(&["NIST 800-53 SC-7", "ISO 27001 A.8.20"]),
    base(
        Kind::Sysctl,
        "stanch/posture/sysctl-source-route-v6",
        "net.ipv6.conf.all.accept_source_route",
        Severity::Medium,
        Wanted::AtMost(0),
        Some("0"),
        ("Source-routed IPv6 packets are accepted", "The sender of a packet chooses its way, past the filters that stand on the usual one."),
    )
    .serving(&["NIST 800-53 SC-7", "ISO 27001 A.8.20"]),
    base(
        Kind::Sysctl,
        "stanch/posture/sysctl-echo-broadcast",
        "net.ipv4.icmp_echo_ignore_broadcasts",
        Severity::Low,
        Wanted::Equals("1"),
        Some("1"),
        ("Pings to everybody are answered", "One forged ping makes a whole network answer to its victim."),
    )
    .serving(&["NIST 800-53 SC-5", "ISO 27001 A.8.20"]),
    base(
        Kind::Sysctl,
        "stanch/posture/sysctl-rp-filter",
        "net.ipv4.conf.all.rp_filter",
        Severity::Low,
        Wanted::OneOf(&["1", "2"]),
        None,
        ("The source of packets is not checked for all interfaces", "Packets with a forged source pass where a check of the way back would drop them."),
    )
    .cautious("hosts whose answers take another way than the questions lose packets by it; which of its two forms fits, its owner knows")
    .serving(&["NIST 800-53 SC-7", "ISO 27001 A.8.20"]),
    base(
        Kind::Sysctl,
        "stanch/posture/sysctl-forward",
        "net.ipv4.ip_forward",
        Severity::Low,
        Wanted::Equals("0"),
        None,
        ("The host forwards IPv4 packets", "A host that is no router becomes a way between networks that should not reach each other."),
    )
    .cautious("routers, VPN gateways and hosts of containers or virtual machines need it")
    .serving(&["NIST 800-53 SC-7", "ISO 27001 A.8.20"]),
    base(
        Kind::Sysctl,
        "stanch/posture/sysctl-forward-v6",
        "net.ipv6.conf.all.forwarding",
        Severity::Low,
        Wanted::Equals("0"),
        None,
        ("The host forwards IPv6 packets", "A host that is no router becomes a way between networks that should not reach each other."),
    )
    .cautious("routers, VPN gateways and hosts of containers or virtual machines need it")
    .serving(&["NIST 800-53 SC-7", "ISO 27001 A.8.20"]),
    base(
        Kind::Sysctl,
        "stanch/posture/sysctl-aslr",
        "kernel.randomize_va_space",
        Severity::High,
        Wanted::Equals("2"),
        Some("2"),
        ("Addresses of programs are predictable", "Attacks on memory need to know where things lie; without randomness they do."),
    )
    .serving(&["NIST 800-53 SI-16", "ISO 27001 A.8.9"]),
    base(
        Kind::Sysctl,
        "stanch/posture/sysctl-kptr",
        "kernel.kptr_restrict",
        Severity::Medium,
        Wanted::AtLeast(1),
        Some("1"),
        ("Addresses of the kernel are shown to everybody", "They tell a local attacker where in the kernel to strike."),
    )
    .serving(&["NIST 800-53 SI-16", "ISO 27001 A.8.9"]),
    base(
        Kind::Sysctl,
        "stanch/posture/sysctl-dmesg",
        "kernel.dmesg_restrict",
        Severity::Low,
        Wanted::Equals("1"),
        Some("1"),
        ("Everybody reads the kernel log", "It holds addresses and details of devices that help a local attacker."),
    )
    .cautious("people and monitors without root read dmesg today")
    .serving(&["NIST 800-53 SI-16", "ISO 27001 A.8.9"]),
    base(
        Kind::Sysctl,
        "stanch/posture/sysctl-ptrace",
        "kernel.yama.ptrace_scope",
        Severity::Medium,
        Wanted::AtLeast(1),
        Some("1"),
        ("Programs may read the memory of others", "One program of a user that was taken over reads keys and passwords out of all others of that user."),
    )
    .cautious("debuggers and crash reporters that attach to what already runs need root then")
    .serving(&["NIST 800-53 SI-16", "ISO 27001 A.8.9"]),
    base(
        Kind::Sysctl,
        "stanch/posture/sysctl-bpf",
        "kernel.unprivileged_bpf_disabled",
        Severity::Medium,
        Wanted::AtLeast(1),
        Some("2"),
        ("Users load programs into the kernel", "The checker of these programs has had holes that led from any user to root."),
    )
    .serving(&["NIST 800-53 AC-6", "ISO 27001 A.8.2"]),
    base(
        Kind::Sysctl,
        "stanch/posture/sysctl-hardlinks",
        "fs.protected_hardlinks",
        Severity::Medium,
        Wanted::Equals("1"),
        Some("1"),
        ("Hard links to files of others are allowed", "A link in a shared folder makes a program of root work on a file of the attacker."),
    )
    .serving(&["NIST 800-53 AC-3", "ISO 27001 A.8.3"]),
    base(
        Kind::Sysctl,
        "stanch/posture/sysctl-symlinks",
        "fs.protected_symlinks",
        Severity::Medium,
        Wanted::Equals("1"),
        Some("1"),
        ("Symbolic links in shared folders are followed", "A link in a shared folder makes a program of root write where the attacker wants."),
    )
    .serving(&["NIST 800-53 AC-3", "ISO 27001 A.8.3"]),
    base(
        Kind::Sysctl,
        "stanch/posture/sysctl-fifos",
        "fs.protected_fifos",
        Severity::Low,
        Wanted::AtLeast(1),
        Some("1"),
        ("Pipes of others in shared folders are opened", "A program that means to make a file talks to the attacker instead."),
    )
    .serving(&["NIST 800-53 AC-3", "ISO 27001 A.8.3"]),
    base(
        Kind::Sysctl,
        "stanch/posture/sysctl-regular",
        "fs.protected_regular",
        Severity::Low,
        Wanted::AtLeast(1),
        Some("1"),
        ("Files of others in shared folders are opened for writing", "A program that means to make a file fills one that the attacker owns and reads."),
    )
    .serving(&["NIST 800-53 AC-3", "ISO 27001 A.8.3"]),
    base(
        Kind::Sysctl,
        "stanch/posture/sysctl-core-dumps",
        "fs.suid_dumpable",
        Severity::Medium,
        Wanted::OneOf(&["0", "2"]),
        Some("0"),
        ("Programs with raised rights leave readable core dumps", "Their memory holds what only root may read."),
    )
    .serving(&["NIST 800-53 SI-16", "ISO 27001 A.8.9"]),
    base(
        Kind::Sshd,
        "stanch/posture/ssh-root-login",
        "permitrootlogin",
        Severity::High,
        Wanted::OneOf(&["prohibit-password", "without-password", "forced-commands-only", "no"]),
        Some("prohibit-password"),
        ("root may sign in over SSH with a password", "The one account whose name everybody knows needs only a guess."),
    )
    .cautious("whoever signs in as root with a password cannot any more")
    .serving(&["NIST 800-53 AC-17", "ISO 27001 A.8.5"]),
    base(
        Kind::Sshd,
        "stanch/posture/ssh-password-login",
        "passwordauthentication",
        Severity::Medium,
        Wanted::Equals("no"),
        Some("no"),
        ("Passwords are accepted over SSH", "Passwords are guessed and reused; keys are not."),
    )
    .cautious("whoever has no key on this host cannot sign in over SSH any more")
    .serving(&["NIST 800-53 AC-17", "ISO 27001 A.8.5"]),
    base(
        Kind::Sshd,
        "stanch/posture/ssh-empty-passwords",
        "permitemptypasswords",
        Severity::High,
        Wanted::Equals("no"),
        Some("no"),
        ("Accounts without a password may sign in over SSH", "A name is enough to come in."),
    )
    .serving(&["NIST 800-53 AC-17", "ISO 27001 A.8.5"]),
    base(
        Kind::Sshd,
        "stanch/posture/ssh-x11",
        "x11forwarding",
        Severity::Low,
        Wanted::Equals("no"),
        Some("no"),
        ("X11 forwarding is on", "A host that was taken over reaches back into the screens of the people who sign in."),
    )
    .cautious("people who open windows of this host on their own screens use it")
    .serving(&["NIST 800-53 CM-7", "ISO 27001 A.8.9"]),
    base(
        Kind::Sshd,
        "stanch/posture/ssh-auth-tries",
        "maxauthtries",
        Severity::Low,
        Wanted::Within(1, 6),
        Some("6"),
        ("Many guesses are allowed per connection", "Guessing gets cheaper with every try that one connection allows."),
    )
    .serving(&["NIST 800-53 AC-7", "ISO 27001 A.8.5"]),
    base(
        Kind::Sshd,
        "stanch/posture/ssh-login-grace",
        "logingracetime",
        Severity::Low,
        Wanted::Within(1, 120),
        Some("120"),
        ("Connections may wait long before they sign in", "Open connections of strangers use up the places of those who want to work."),
    )
    .serving(&["NIST 800-53 SC-5", "ISO 27001 A.8.5"]),
    base(
        Kind::Sshd,
        "stanch/posture/ssh-host-based",
        "hostbasedauthentication",
        Severity::Medium,
        Wanted::Equals("no"),
        Some("no"),
        ("Other hosts vouch for their users", "Whoever takes one host over comes into all that trust it."),
    )
    .cautious("clusters let their nodes sign in to each other by it")
    .serving(&["NIST 800-53 AC-17", "ISO 27001 A.8.5"]),
    base(
        Kind::Sshd,
        "stanch/posture/ssh-rhosts",
        "ignorerhosts",
        Severity::Medium,
        Wanted::OneOf(&["yes", "shosts-only"]),
        Some("yes"),
        ("Files of users say which hosts are trusted", "Any user opens the door for a host of their choice."),
    )
    .serving(&["NIST 800-53 AC-17", "ISO 27001 A.8.5"]),
    base(
        Kind::Sshd,
        "stanch/posture/ssh-environment",
        "permituserenvironment",
        Severity::Medium,
        Wanted::Equals("no"),
        Some("no"),
        ("Users set the environment of their sign-in", "A variable loads code of the user into programs that were to restrict them."),
    )
    .serving(&["NIST 800-53 CM-7", "ISO 27001 A.8.9"]),
    base(
        Kind::File,
        "stanch/posture/file-passwd",
        "/etc/passwd",
        Severity::High,
        Wanted::ModeAtMost(0o644, &[0]),
        Some("narrowed"),
        ("/etc/passwd can be changed by others than root", "A line added there is an account of root."),
    )
    .serving(&["NIST 800-53 AC-3", "ISO 27001 A.8.3"]),
    base(
        Kind::File,
        "stanch/posture/file-group",
        "/etc/group",
        Severity::High,
        Wanted::ModeAtMost(0o644, &[0]),
        Some("narrowed"),
        ("/etc/group can be changed by others than root", "A name added to a group there has its rights."),
    )
    .serving(&["NIST 800-53 AC-3", "ISO 27001 A.8.3"]),
    base(
        Kind::File,
        "stanch/posture/file-shadow",
        "/etc/shadow",
        Severity::High,
        Wanted::ModeAtMost(0o640, &[0, SHADOW]),
        Some("narrowed"),
        ("/etc/shadow is open to others", "Hashes of passwords that can be read can be guessed at leisure."),
    )
    .serving(&["NIST 800-53 AC-3", "ISO 27001 A.8.3"]),
    base(
        Kind::File,
        "stanch/posture/file-gshadow",
        "/etc/gshadow",
        Severity::High,
        Wanted::ModeAtMost(0o640, &[0, SHADOW]),
        Some("narrowed"),
        ("/etc/gshadow is open to others", "Hashes of passwords that can be read can be guessed at leisure."),
    )
    .serving(&["NIST 800-53 AC-3", "ISO 27001 A.8.3"]),
    base(
        Kind::File,
        "stanch/posture/file-sshd-config",
        "/etc/ssh/sshd_config",
        Severity::High,
        Wanted::ModeAtMost(0o644, &[0]),
        Some("narrowed"),
        ("The settings of sshd can be changed by others than root", "Whoever writes them decides who comes in."),
    )
    .serving(&["NIST 800-53 AC-3", "ISO 27001 A.8.3"]),
    base(
        Kind::File,
        "stanch/posture/file-crontab",
        "/etc/crontab",
        Severity::High,
        Wanted::ModeAtMost(0o644, &[0]),
        Some("narrowed"),
        ("/etc/crontab can be changed by others than root", "A line added there runs as root within a minute."),
    )
    .serving(&["NIST 800-53 AC-3", "ISO 27001 A.8.3"]),
    base(
        Kind::File,
        "stanch/posture/file-sudoers",
        "/etc/sudoers",
        Severity::High,
        Wanted::ModeAtMost(0o440, &[0]),
        Some("narrowed"),
        ("/etc/sudoers is open to others", "It tells who can become root, and whoever writes it decides that."),
    )
    .serving(&["NIST 800-53 AC-3", "ISO 27001 A.8.3"]),
    base(
        Kind::Service,
        "stanch/posture/service-rpcbind",
        "rpcbind",
        Severity::Medium,
        Wanted::Off,
        Some("off"),
        ("rpcbind is on", "It tells strangers which services there are, and answers forged questions with floods."),
    )
    .of_units(&["rpcbind.socket", "rpcbind.service"])
    .cautious("NFS of version 3 and NIS need it")
    .serving(&["NIST 800-53 CM-7", "ISO 27001 A.8.9"]),
    base(
        Kind::Service,
        "stanch/posture/service-avahi",
        "avahi-daemon",
        Severity::Low,
        Wanted::Off,
        Some("off"),
        ("avahi-daemon is on", "It announces this host and listens to everybody on its network, which servers need not."),
    )
    .of_units(&["avahi-daemon.socket", "avahi-daemon.service"])
    .cautious("printers and desktops find each other by it")
    .serving(&["NIST 800-53 CM-7", "ISO 27001 A.8.9"]),
];

/// What is a matter of taste, and so found only where a policy asks for it: whether other programs install packages by
/// themselves where Stanch does. `apt-daily.timer` is not among them: it only fetches the indexes, and what is known of newer
/// versions rests on it.
pub const OTHER_UPDATERS: Check = base(
    Kind::Service,
    "stanch/posture/other-updaters",
    "other-updaters",
    Severity::Low,
    Wanted::Off,
    Some("off"),
    (
        "Another program installs packages by itself",
        "Two programs that change packages get in each other's way, and what the other one does is in nobody's plan.",
    ),
)
.of_units(&[
    "apt-daily-upgrade.timer",
    "unattended-upgrades.service",
    "dnf-automatic.timer",
    "dnf-automatic-install.timer",
    "dnf5-automatic.timer",
])
.cautious("nothing but Stanch installs security updates there from then on")
.serving(&["NIST 800-53 SI-2"]);

/// Checks that find something only where a policy asks for it.
pub const ON_REQUEST: &[Check] = &[OTHER_UPDATERS];

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn what_is_found_on_request_is_no_check_of_the_pack_and_can_be_set() {
        for check in ON_REQUEST {
            assert!(CHECKS.iter().all(|other| other.id != check.id && other.setting() != check.setting()));
            assert_eq!(find(check.short()), Some(check));
            assert!(check.set.is_some() && check.caution.is_some());
        }
        assert!(!OTHER_UPDATERS.units.contains(&"apt-daily.timer"), "what is known of newer versions rests on it");
    }

    #[test]
    fn ids_and_settings_stand_once_and_every_check_says_why() {
        let ids: BTreeSet<&str> = CHECKS.iter().map(|check| check.id).collect();
        let settings: BTreeSet<String> = CHECKS.iter().map(Check::setting).collect();
        assert_eq!((ids.len(), settings.len()), (CHECKS.len(), CHECKS.len()));
        for check in CHECKS {
            assert!(check.id.starts_with(PREFIX) && find(check.short()) == Some(check), "{}", check.id);
            assert!(check.why.ends_with('.') && !check.title.ends_with('.'), "{}", check.id);
            assert_eq!(check.kind == Kind::Service, !check.units.is_empty(), "{}", check.id);
            assert!(check.set.is_some() || check.caution.is_some(), "{}: a person has to know why", check.id);
        }
    }

    #[test]
    fn what_would_be_set_is_what_is_wanted() {
        for check in CHECKS {
            let Some(set) = check.set else { continue };
            let value = match check.wanted {
                Wanted::ModeAtMost(most, groups) => {
                    FileMode { mode: 0o7777, uid: 1000, gid: 1000 }.narrowed(most, groups).to_string()
                }
                _ => set.to_owned(),
            };
            assert_eq!(check.wanted.holds(&value), Some(true), "{}: {value}", check.id);
        }
    }

    #[test]
    fn a_value_that_cannot_be_compared_is_neither_good_nor_bad() {
        assert_eq!(Wanted::AtLeast(1).holds("many"), None);
        assert_eq!(Wanted::ModeAtMost(0o644, &[0]).holds("rw-r--r--"), None);
        assert_eq!(Wanted::Within(1, 120).holds("0"), Some(false), "no limit is no small one");
    }

    #[test]
    fn rights_are_taken_away_and_never_given() {
        let narrow = FileMode { mode: 0o600, uid: 0, gid: 0 };
        assert_eq!(narrow.narrowed(0o640, &[0, SHADOW]), narrow);
        let wide = FileMode::read("0666 1000:shadow").unwrap();
        assert_eq!(wide.narrowed(0o640, &[0, SHADOW]).to_string(), "0640 root:shadow");
    }

    #[test]
    fn one_unit_that_is_on_makes_its_service_on_and_one_that_could_not_be_asked_may_be() {
        let check = find("service-avahi").unwrap();
        let state = |file: &str, active| Known::Known(UnitState { file: file.to_owned(), active });
        let with = |units: Vec<(&str, Known<UnitState>)>| {
            let services = units.into_iter().map(|(unit, state)| (unit.to_owned(), state)).collect::<BTreeMap<_, _>>();
            check.reading(&Posture { services, ..Posture::default() })
        };
        let (socket, service) = ("avahi-daemon.socket", "avahi-daemon.service");
        assert_eq!(with(vec![]), Reading::Absent);
        let off = with(vec![(socket, state("masked", false)), (service, state("disabled", false))]);
        assert_eq!(off, Reading::Value(OFF.to_owned()));
        let on = with(vec![(socket, state("enabled", false)), (service, Known::Unknown("silent".to_owned()))]);
        assert_eq!(on, Reading::Value("avahi-daemon.socket enabled, not running".to_owned()));
        let unread = with(vec![(socket, state("disabled", false)), (service, Known::Unknown("silent".to_owned()))]);
        assert_eq!(unread, Reading::Unread("silent".to_owned()));
    }
}
