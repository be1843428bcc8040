//! How close the code of a work item stands to an attacker, from what the host itself shows.
//!
//! Most findings of a real host have no KEV entry, no score and no EPSS. What is left to order them by is what the
//! code does: something that answers the network comes before a library, a library before a program that a person
//! starts, and that before documents and data. Sockets and processes say so where they could be read; where not, the
//! names of the packages do.

use std::collections::BTreeSet;

use stanch_model::asset::ExposureLevel;
use stanch_model::facts::{HostFacts, ListeningSocket};
use stanch_model::finding::Finding;
use stanch_model::item::Subject;
use stanch_model::lasting::LIBRARIES;

use crate::exposure::{listeners, reach_of};

/// How close, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Reach {
    /// Documents, locales, fonts, time zones; settings, which are no code.
    Data,
    /// Something a person or another program starts.
    Program,
    /// Code that other programs load.
    Library,
    /// A network service by its name, or one that listens on this machine only; the kernel.
    Service,
    /// It listens for others right now.
    Listening,
}

/// A reach, with the address it listens on where it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) reach: Reach,
    pub(crate) listens: Option<String>,
}

/// Source packages whose programs answer the network.
const SERVICES: [&str; 48] = [
    "apache2",
    "asterisk",
    "avahi",
    "bind9",
    "chrony",
    "containerd",
    "cups",
    "dnsmasq",
    "docker.io",
    "dovecot",
    "exim4",
    "freeradius",
    "frr",
    "haproxy",
    "isc-dhcp",
    "krb5",
    "lighttpd",
    "mariadb",
    "memcached",
    "mosquitto",
    "mysql",
    "net-snmp",
    "nfs-utils",
    "nginx",
    "ntp",
    "ntpsec",
    "openldap",
    "openssh",
    "openvpn",
    "postfix",
    "postgresql",
    "proftpd-dfsg",
    "rabbitmq-server",
    "redis",
    "rpcbind",
    "rsync",
    "samba",
    "spamassassin",
    "squid",
    "strongswan",
    "tinyproxy",
    "tomcat",
    "tor",
    "unbound",
    "valkey",
    "varnish",
    "vsftpd",
    "xinetd",
];

/// The reach of the code that these findings are about.
pub(crate) fn reach(subject: &Subject, members: &[&Finding], facts: Option<&HostFacts>) -> Reached {
    let sockets = facts.and_then(|facts| facts.sockets.known().map(|sockets| (facts, sockets.as_slice())));
    let own = sockets.map(|(facts, sockets)| own_sockets(subject, members, facts, sockets));
    if let Some(socket) = own.as_deref().and_then(|own| listeners(own).first().copied().cloned()) {
        return Reached { reach: Reach::Listening, listens: Some(spell(&socket)) };
    }
    if let Some(socket) = own.as_deref().and_then(<[_]>::first) {
        return Reached { reach: Reach::Service, listens: Some(spell(socket)) };
    }
    // Where every socket has a known owner, a service by name that has none is not running.
    let all_owned = sockets.is_some_and(|(_, sockets)| sockets.iter().all(|socket| socket.package.is_some()));
    let by_name = match subject {
        Subject::Reboot { flavour } if flavour == LIBRARIES => Reach::Library,
        Subject::Reboot { .. } => Reach::Service,
        Subject::Setting { .. } => Reach::Data,
        Subject::Service { .. } | Subject::Component { .. } => Reach::Library,
        Subject::SourcePackage { source } | Subject::Support { name: source } => by_name(source, members),
        _ => Reach::Program,
    };
    let reach = if by_name == Reach::Service && all_owned && !is_kernel(subject) { Reach::Program } else { by_name };
    Reached { reach, listens: None }
}

fn own_sockets(
    subject: &Subject,
    members: &[&Finding],
    facts: &HostFacts,
    sockets: &[ListeningSocket],
) -> Vec<ListeningSocket> {
    let mine: BTreeSet<&str> = match subject {
        Subject::SourcePackage { source } => facts
            .packages
            .iter()
            .filter(|package| package.source == *source)
            .map(|package| package.name.as_str())
            .chain(members.iter().map(|finding| finding.binary.as_str()))
            .collect(),
        _ => BTreeSet::new(),
    };
    let programs: BTreeSet<&str> = match (subject, facts.stale.known()) {
        (Subject::Service { name }, Some(stale)) => stale
            .iter()
            .filter(|process| process.container.is_none())
            .filter(|process| process.exe == *name || process.service.as_ref().is_some_and(|s| service_name(s) == name))
            .map(|process| process.exe.as_str())
            .collect(),
        _ => BTreeSet::new(),
    };
    let mut own: Vec<ListeningSocket> = sockets
        .iter()
        .filter(|socket| {
            socket.package.as_deref().is_some_and(|package| mine.contains(package))
                || socket.exe.as_deref().is_some_and(|exe| programs.contains(exe))
        })
        .cloned()
        .collect();
    own.sort_by(|a, b| reach_of(b.address).cmp(&reach_of(a.address)).then_with(|| a.cmp(b)));
    own
}

const fn service_name(service: &stanch_model::facts::ServiceRef) -> &String {
    use stanch_model::facts::ServiceRef::{Session, Systemd, Sysv};
    match service {
        Systemd(name) | Sysv(name) | Session(name) => name,
    }
}

fn spell(socket: &ListeningSocket) -> String {
    let at = std::net::SocketAddr::new(socket.address, socket.port);
    let note = if reach_of(socket.address) == ExposureLevel::Small { " (this machine only)" } else { "" };
    let udp = if socket.protocol.starts_with("udp") { " (udp)" } else { "" };
    format!("{at}{udp}{note}")
}

/// Whether an item is about the kernel, which answers the network without a socket of its own.
pub(crate) fn is_kernel(subject: &Subject) -> bool {
    match subject {
        Subject::Reboot { flavour } => flavour != LIBRARIES,
        Subject::SourcePackage { source } => is_kernel_source(source),
        _ => false,
    }
}

fn is_kernel_source(source: &str) -> bool {
    source == "linux" || source.starts_with("linux-signed") || source.starts_with("linux-meta")
}

fn by_name(source: &str, members: &[&Finding]) -> Reach {
    // `postgresql-15` and `php8.2` carry their version in the name.
    let stem = source.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.').trim_end_matches('-');
    if SERVICES.contains(&source) || SERVICES.contains(&stem) || is_kernel_source(source) {
        return Reach::Service;
    }
    let mut binaries = members.iter().map(|finding| finding.binary.as_str()).filter(|name| !name.is_empty()).peekable();
    if binaries.peek().is_none() {
        return Reach::Program;
    }
    let (mut library, mut data) = (false, true);
    for name in binaries {
        let is_data = is_data(name);
        data &= is_data;
        library |= name.starts_with("lib") && !is_data && !name.ends_with("-perl") && !name.ends_with("-dev");
    }
    match (data, library) {
        (true, _) => Reach::Data,
        (false, true) => Reach::Library,
        (false, false) => Reach::Program,
    }
}

fn is_data(binary: &str) -> bool {
    matches!(binary, "tzdata" | "tzdata-legacy" | "locales" | "locales-all" | "iso-codes" | "manpages")
        || ["-doc", "-docs", "-data", "-locale", "-l10n", "-i18n", "-examples", "-man"]
            .iter()
            .any(|end| binary.ends_with(end))
        || binary.starts_with("fonts-")
}
