//! Sockets that wait for others: what of this host can be reached at all, and which package answers there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use stanch_model::facts::{Call, MOST_ADDRESSES, MOST_TALKS, Talks};

use super::netlink;
use super::processes::{Process, exe};

const PAGE: usize = 4096;
const MAX_TABLE: usize = 64 << 20;
pub(crate) const MAX_SOCKETS: usize = 65_536;
const LISTEN: &str = "0A";
const ESTABLISHED: &str = "01";
const UNCONNECTED: &str = "07";

/// One socket and the program behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Socket {
    pub(crate) protocol: &'static str,
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    inode: u64,
    pub(crate) exe: Option<String>,
    /// The process that holds it.
    pub(crate) holder: Option<Process>,
}

impl Socket {
    pub(crate) const fn new(protocol: &'static str, address: IpAddr, port: u16, inode: u64) -> Self {
        Self { protocol, address, port, inode, exe: None, holder: None }
    }
}

/// Reads the listening sockets with their programs.
///
/// # Errors
/// When no table of the kernel can be read.
pub(crate) fn read(proc: &Path, processes: &BTreeMap<u32, Process>) -> io::Result<Vec<Socket>> {
    let mut sockets = Vec::new();
    let mut tables = 0;
    let mut failure = None;
    for protocol in ["tcp", "tcp6", "udp", "udp6"] {
        match waiting(proc, protocol) {
            Ok(found) => {
                tables += 1;
                sockets.extend(found);
            }
            Err(error) => failure = Some(error),
        }
    }
    if let (0, Some(error)) = (tables, failure) {
        return Err(error);
    }
    sockets.truncate(MAX_SOCKETS);
    name_programs(proc, processes, &mut sockets);
    Ok(sockets)
}

/// The sockets of one protocol that wait: asked of the kernel where it tells them, else read from its table.
fn waiting(proc: &Path, protocol: &'static str) -> io::Result<Vec<Socket>> {
    if protocol.starts_with("tcp")
        && proc == Path::new("/proc")
        && let Ok(found) = netlink::listening(protocol)
    {
        return Ok(found);
    }
    Ok(table(protocol, &rows(&proc.join("net").join(protocol))?))
}

/// Whether this process, and no other, waits for TCP connections to this address.
///
/// # Errors
/// When its sockets cannot be read.
pub(crate) fn listens(proc: &Path, pid: u32, to: SocketAddr) -> io::Result<bool> {
    let folder = proc.join(pid.to_string());
    let mut waiting = table("tcp", &rows(&folder.join("net/tcp"))?);
    if let Ok(text) = rows(&folder.join("net/tcp6")) {
        waiting.extend(table("tcp6", &text));
    }
    let there = |socket: &&Socket| {
        let address = socket.address.to_canonical();
        socket.port == to.port() && (address == to.ip().to_canonical() || address.is_unspecified())
    };
    let mut inodes: Vec<u64> = waiting.iter().filter(there).map(|socket| socket.inode).collect();
    inodes.sort_unstable();
    std::fs::read_dir(folder.join("fd"))?;
    let held = held(&folder.join("fd"), &inodes);
    Ok(!inodes.is_empty() && inodes.iter().all(|inode| held.contains(inode)))
}

/// How many established TCP connections each of these local ports has.
///
/// # Errors
/// When no table of the kernel can be read.
pub(crate) fn connections(ports: impl IntoIterator<Item = u16>) -> io::Result<BTreeMap<u16, u32>> {
    let none: BTreeMap<u16, u32> = ports.into_iter().map(|port| (port, 0)).collect();
    let mut asked = none.clone();
    let told = ["tcp", "tcp6"].into_iter().try_for_each(|protocol| netlink::connections(protocol, &mut asked));
    if told.is_ok() {
        return Ok(asked);
    }
    let mut counts = none;
    count(&rows(Path::new("/proc/net/tcp"))?, &mut counts);
    // A kernel without IPv6 has no table of it.
    if let Ok(text) = rows(Path::new("/proc/net/tcp6")) {
        count(&text, &mut counts);
    }
    Ok(counts)
}

/// Whom this host calls, each once with the program that does, and under which addresses others see this host. A connection
/// that came in is told by the other side, so that only the port is left on which somebody listens.
///
/// # Errors
/// When no table of the kernel can be read.
pub(crate) fn talks(proc: &Path, listening: &BTreeSet<u16>, processes: &BTreeMap<u32, Process>) -> io::Result<Talks> {
    let mut connections = Vec::new();
    for protocol in ["tcp", "tcp6"] {
        match netlink::established(protocol) {
            Ok(found) => connections.extend(found),
            // A kernel without IPv6 has no table of it.
            Err(_) => match rows(&proc.join("net").join(protocol)) {
                Ok(text) => connections.extend(joined(protocol, &text)),
                Err(error) if protocol == "tcp" => return Err(error),
                Err(_) => {}
            },
        }
    }
    connections.truncate(MAX_SOCKETS);
    let (mut sockets, far): (Vec<Socket>, Vec<(IpAddr, u16)>) =
        connections.into_iter().map(|(socket, address, port)| (socket, (address, port))).unzip();
    let mut talks = Talks::default();
    for socket in &sockets {
        talks.addresses.extend(Some(socket.address.to_canonical()).filter(|address| is_shared(*address)));
    }
    for socket in sockets.iter_mut().filter(|socket| listening.contains(&socket.port)) {
        // Whoever holds it is not asked for.
        socket.inode = 0;
    }
    name_programs(proc, processes, &mut sockets);
    for (socket, (address, port)) in sockets.iter().zip(far).filter(|(socket, _)| !listening.contains(&socket.port)) {
        let address = address.to_canonical();
        if is_shared(address) && !talks.addresses.contains(&address) && talks.calls.len() < MOST_TALKS {
            let program = socket.exe.as_deref().and_then(|exe| exe.rsplit('/').next()).map(str::to_owned);
            talks.calls.insert(Call { address, port, program });
        }
    }
    while talks.addresses.len() > MOST_ADDRESSES {
        talks.addresses.pop_last();
    }
    Ok(talks)
}

/// Whether another machine can mean the same by an address.
fn is_shared(address: IpAddr) -> bool {
    let local = match address {
        IpAddr::V4(four) => four.is_link_local(),
        IpAddr::V6(six) => six.is_unicast_link_local(),
    };
    !local && !address.is_loopback() && !address.is_unspecified() && !address.is_multicast()
}

/// The established connections of one table, with their other ends.
fn joined(protocol: &'static str, text: &str) -> Vec<(Socket, IpAddr, u16)> {
    let connection = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (near, near_port) = fields.nth(1)?.split_once(':')?;
        let (far, far_port) = fields.next()?.split_once(':')?;
        if fields.next()? != ESTABLISHED {
            return None;
        }
        let inode = fields.nth(5)?.parse().ok()?;
        let port = |text: &str| u16::from_str_radix(text, 16).ok();
        Some((Socket::new(protocol, address(near)?, port(near_port)?, inode), address(far)?, port(far_port)?))
    };
    text.lines().skip(1).filter_map(connection).take(MAX_SOCKETS).collect()
}

fn count(table: &str, counts: &mut BTreeMap<u16, u32>) {
    for line in table.lines().skip(1) {
        let mut fields = line.split_ascii_whitespace();
        let port = fields.nth(1).and_then(|local| local.split_once(':'));
        let port = port.and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
        if let (Some(ESTABLISHED), Some(count)) = (fields.nth(1), port.and_then(|port| counts.get_mut(&port))) {
            *count = count.saturating_add(1);
        }
    }
}

/// Reads a table of the kernel in as few calls as can be: for each one it walks its whole hash of connections again,
/// which on a machine of much memory takes a millisecond even when it is empty. A call is answered with a page of rows,
/// so one that leaves half a page free was the last.
fn rows(path: &Path) -> io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut text = Vec::new();
    let mut chunk = vec![0; PAGE * 16];
    loop {
        let read = file.read(&mut chunk)?;
        text.extend_from_slice(chunk.get(..read).unwrap_or_default());
        if read < PAGE / 2 || text.len() > MAX_TABLE {
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
    }
}

/// The sockets of one table that wait: listening ones, and for UDP those without a partner.
pub(crate) fn table(protocol: &'static str, text: &str) -> Vec<Socket> {
    let state = if protocol.starts_with("tcp") { LISTEN } else { UNCONNECTED };
    let socket = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (address, port) = fields.nth(1)?.split_once(':')?;
        let (_, far_port) = fields.next()?.split_once(':')?;
        if fields.next()? != state || far_port.bytes().any(|byte| byte != b'0') {
            return None;
        }
        let port = u16::from_str_radix(port, 16).ok()?;
        let inode = fields.nth(5)?.parse().ok()?;
        Some(Socket::new(protocol, self::address(address)?, port, inode))
    };
    text.lines().skip(1).filter_map(socket).take(MAX_SOCKETS).collect()
}

/// The kernel prints addresses as 32-bit words of the machine's own byte order.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

/// Finds who holds each socket. Of several holders the eldest is named: the others are its workers.
fn name_programs(proc: &Path, processes: &BTreeMap<u32, Process>, sockets: &mut [Socket]) {
    let mut left = sockets.iter().map(|socket| socket.inode).filter(|inode| *inode != 0).collect::<Vec<_>>();
    left.sort_unstable();
    left.dedup();
    let mut eldest: Vec<&Process> = processes.values().collect();
    eldest.sort_by_key(|process| (process.started, process.pid));
    for process in eldest {
        if left.is_empty() {
            return;
        }
        let pid = process.pid.to_string();
        let held = held(&proc.join(&pid).join("fd"), &left);
        if held.is_empty() {
            continue;
        }
        let program = exe(proc, &pid);
        for socket in sockets.iter_mut().filter(|socket| held.contains(&socket.inode)) {
            socket.exe.clone_from(&program);
            socket.holder = Some(*process);
        }
        left.retain(|inode| !held.contains(inode));
    }
}

fn held(folder: &Path, wanted: &[u64]) -> Vec<u64> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let inode = |entry: io::Result<std::fs::DirEntry>| {
        let link = std::fs::read_link(entry.ok()?.path()).ok()?;
        let inode: u64 = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()?;
        wanted.binary_search(&inode).is_ok().then_some(inode)
    };
    entries.take(MAX_SOCKETS).filter_map(inode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0 100 0 0 10 0\n   1: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4243 1 0 20 4 30 10 -1\n";

    #[test]
    fn only_sockets_that_wait_are_told() {
        let seen = table("tcp", TCP);
        assert_eq!(seen, [Socket::new("tcp", IpAddr::V4(Ipv4Addr::LOCALHOST), 8080, 4242)]);
    }

    #[test]
    fn connections_count_for_the_port_they_came_in_on() {
        let mut counts = BTreeMap::from([(8080, 0), (22, 0)]);
        count(TCP, &mut counts);
        assert_eq!(counts, BTreeMap::from([(8080, 1), (22, 0)]));
    }

    #[test]
    fn of_a_connection_the_port_that_listens_is_left() {
        let found = joined("tcp", TCP);
        let [(near, far, port)] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((near.port, *far, *port), (8080, IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000));
        for (address, shared) in [("127.0.0.1", false), ("169.254.1.1", false), ("fe80::1", false), ("10.0.0.7", true)]
        {
            assert_eq!(is_shared(address.parse().unwrap()), shared, "{address}");
        }
    }

    #[test]
    fn addresses_of_both_kinds_are_read() {
        assert_eq!(address("00000000"), Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        assert_eq!(address("00000000000000000000000001000000"), Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        assert_eq!(address("0000"), None);
        assert_eq!(address("zz000000"), None);
    }

    #[test]
    fn damaged_lines_are_passed_over() {
        assert!(table("tcp", "head\n 0: x\n 1: 0:0 0:0 0A\n").is_empty());
    }
}
