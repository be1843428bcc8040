//! What a change cuts off on its target while it is made: the sockets whose program restarts, with the connections
//! over them, and the sessions of people.
//!
//! It is told before anybody agrees, from facts read just before. It foresees what the plan says: a maintainer script
//! that restarts more than its own package's service is not known of.

use std::collections::{BTreeMap, BTreeSet};

use stanch_model::facts::{HostFacts, InUse, Known, ListeningSocket, ServiceRef};
use stanch_model::plan::{Disruption, LEFT_ALONE, Leaf};

/// One port that is cut off, over all addresses that its program listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The port.
    pub port: u16,
    /// The service, the package or the executable behind it: whichever says most and is known.
    pub program: Option<String>,
    /// Only this host itself can reach it.
    pub local: bool,
    /// Connections over it; `None` where they were not counted, and for UDP, which has none.
    pub connections: Option<u32>,
}

/// What one leaf of a plan cuts off on its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blast {
    /// The most that any of its steps does to those who use the target.
    pub disruption: Disruption,
    /// Ports that are cut off, in order; those that others reach come first.
    pub cut: Vec<Cut>,
    /// Ports that stay.
    pub untouched: u32,
    /// Sessions of people on the target.
    pub sessions: Known<u32>,
    /// What could not be told, and why.
    pub unknown: Vec<String>,
}

impl Blast {
    /// What is known of a leaf whose target was never looked at: what its steps declare.
    pub fn unmeasured(leaf: &Leaf, why: &str) -> Self {
        let disruption = most(leaf);
        let unknown = vec![why.to_owned()];
        Self { disruption, cut: Vec::new(), untouched: 0, sessions: Known::Unknown(why.to_owned()), unknown }
    }
}

fn most(leaf: &Leaf) -> Disruption {
    leaf.steps.iter().map(|step| step.disruption).max().unwrap_or(Disruption::None)
}

/// Which services and packages a leaf restarts or replaces.
struct Moved<'a> {
    all: bool,
    subjects: BTreeSet<&'a str>,
}

impl<'a> Moved<'a> {
    fn by(leaf: &'a Leaf) -> Self {
        let all = leaf.steps.iter().any(|step| step.disruption == Disruption::Outage);
        let changes = leaf.steps.iter().flat_map(|step| &step.changes);
        // A version that moves, or a service that is said to restart; one that is left to a person goes on.
        let moves =
            changes.filter(|change| change.before != change.after && change.after.as_deref() != Some(LEFT_ALONE));
        Self { all, subjects: moves.map(|change| name(&change.subject)).collect() }
    }

    fn has(&self, socket: &ListeningSocket) -> bool {
        self.all || names(socket).any(|name| self.subjects.contains(name))
    }
}

/// Foresees what a leaf cuts off on a host of which these facts were read just before.
pub fn blast(leaf: &Leaf, facts: &HostFacts) -> Blast {
    let mut unknown = Vec::new();
    let mut told = |what: &str, why: &str| unknown.push(format!("{what}: {why}"));
    let sockets = match &facts.sockets {
        Known::Known(sockets) => sockets.as_slice(),
        Known::Unknown(why) => {
            told("listening sockets", why);
            &[]
        }
    };
    let not_measured = || "its executor does not measure it".to_owned();
    let (sessions, counted) = match &facts.in_use {
        Some(InUse { sessions, connections }) => (sessions.clone(), connections.clone()),
        None => (Known::Unknown(not_measured()), Known::Unknown(not_measured())),
    };
    if let Known::Unknown(why) = &sessions {
        told("sessions", why);
    }
    if let Known::Unknown(why) = &counted {
        told("connections", why);
    }
    let moved = Moved::by(leaf);
    let mut ports: BTreeMap<(bool, &str, u16, Option<&str>), bool> = BTreeMap::new();
    for socket in sockets {
        let kind = (!moved.has(socket), protocol(socket), socket.port, names(socket).next());
        let local = ports.entry(kind).or_insert(true);
        *local &= socket.address.is_loopback();
    }
    let (mut cut, mut untouched, mut nameless, mut shared) = (Vec::new(), 0_u32, 0_u32, BTreeSet::new());
    for (&(stays, protocol, port, program), &local) in &ports {
        // Of what nobody can name it cannot be told that it stays.
        if stays && program.is_none() {
            nameless = nameless.saturating_add(1);
            continue;
        }
        if stays {
            untouched = untouched.saturating_add(1);
            continue;
        }
        // Connections are counted by their port, whichever of its programs has them.
        let alone = !ports.keys().any(|(_, kind, other, name)| (*kind, *other) == (protocol, port) && *name != program);
        if !alone && protocol == "tcp" && counted.known().is_some() {
            shared.insert(port);
        }
        let connections = counted.known().filter(|_| protocol == "tcp" && alone);
        let connections = connections.and_then(|counts| counts.iter().find(|one| one.port == port));
        let connections = connections.map(|one| one.connections);
        let program = program.map(str::to_owned);
        cut.push(Cut { protocol: protocol.to_owned(), port, program, local, connections });
    }
    cut.sort_by_key(|one| (one.local, one.port));
    if nameless > 0 {
        unknown.push(format!("which programs {nameless} more listening ports belong to: the host does not tell"));
    }
    for port in shared {
        unknown.push(format!("connections to port {port}: more than one program listens there"));
    }
    Blast { disruption: most(leaf), cut, untouched, sessions, unknown }
}

/// `libssl3` of `libssl3:amd64`.
fn name(subject: &str) -> &str {
    subject.split_once(':').map_or(subject, |(name, _)| name)
}

fn protocol(socket: &ListeningSocket) -> &str {
    socket.protocol.trim_end_matches('6')
}

/// What stands behind a socket, the most telling name first.
fn names(socket: &ListeningSocket) -> impl Iterator<Item = &str> {
    let service = match &socket.service {
        Some(ServiceRef::Systemd(name) | ServiceRef::Sysv(name)) => Some(name.as_str()),
        Some(ServiceRef::Session(_)) | None => None,
    };
    [service, socket.package.as_deref().map(name), socket.exe.as_deref()].into_iter().flatten()
}
