//! The TCP sockets that listen, and how many connections each port has, as the kernel's own diagnosis tells them
//! (sock_diag(7)).
//!
//! The tables under `/proc/net` hold every connection, and for each reading the kernel walks its whole hash of them,
//! which takes tens of milliseconds on a machine of much memory. Asked this way it looks at the listeners alone.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

use super::sockets::{MAX_SOCKETS, Socket};

const HEADER: usize = 16;
const REQUEST: u32 = 72;
const BY_FAMILY: u16 = 20;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// A request that asks for all.
const DUMP: u16 = 0x301;
/// The table changed while it was told.
const INTERRUPTED: u16 = 0x10;
const TCP: u8 = 6;
/// Bit 10: the state LISTEN.
const LISTENING: u32 = 1 << 10;
/// Bit 1: the state ESTABLISHED.
const ESTABLISHED: u32 = 1 << 1;
const SEQUENCE: u32 = 1;
const PATIENCE: Duration = Duration::from_secs(2);

/// The listening sockets of `tcp` or `tcp6`.
///
/// # Errors
/// When the kernel cannot tell them, or could only by loading a module: reading facts changes nothing on a host.
pub(crate) fn listening(protocol: &'static str) -> io::Result<Vec<Socket>> {
    let mut found = Vec::new();
    each(protocol, LISTENING, |body| {
        let socket = socket(protocol, body)?;
        if found.len() < MAX_SOCKETS {
            found.push(socket);
        }
        Some(())
    })?;
    Ok(found)
}

/// Adds the established connections of `tcp` or `tcp6` to the counts of their local ports; other ports are passed over.
///
/// # Errors
/// As [`listening`].
pub(crate) fn connections(protocol: &'static str, counts: &mut BTreeMap<u16, u32>) -> io::Result<()> {
    each(protocol, ESTABLISHED, |body| {
        let port = socket(protocol, body)?.port;
        if let Some(count) = counts.get_mut(&port) {
            *count = count.saturating_add(1);
        }
        Some(())
    })
}

/// The established connections of `tcp` or `tcp6`: the socket here, and the address and port at the other end.
///
/// # Errors
/// As [`listening`].
pub(crate) fn established(protocol: &'static str) -> io::Result<Vec<(Socket, IpAddr, u16)>> {
    let mut found = Vec::new();
    each(protocol, ESTABLISHED, |body| {
        let far_port = body.get(6..8)?.first_chunk().copied().map(u16::from_be_bytes)?;
        let connection = (socket(protocol, body)?, address(protocol, body.get(24..40)?)?, far_port);
        if found.len() < MAX_SOCKETS {
            found.push(connection);
        }
        Some(())
    })?;
    Ok(found)
}

fn address(protocol: &str, bytes: &[u8]) -> Option<IpAddr> {
    Some(if protocol == "tcp6" {
        IpAddr::from(Ipv6Addr::from(*bytes.first_chunk::<16>()?))
    } else {
        IpAddr::from(Ipv4Addr::from(*bytes.first_chunk::<4>()?))
    })
}

/// Asks for the sockets in these states, and hands each to `one`, which answers `None` when it is damaged.
fn each(protocol: &'static str, states: u32, mut one: impl FnMut(&[u8]) -> Option<()>) -> io::Result<()> {
    if !is_ready() {
        return Err(io::Error::from(io::ErrorKind::Unsupported));
    }
    let family = if protocol == "tcp6" { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(SOCK_DIAG))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    sendto(&socket, &request(family, states), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let (_, length) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        if answers(buffer.get(..length).ok_or_else(damaged)?, &mut one)? {
            return Ok(());
        }
    }
}

/// Whether the kernel has its diagnosis at hand: loaded, or built into one that has no modules to load.
fn is_ready() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    Path::new("/sys/module/tcp_diag").exists() || !Path::new("/lib/modules").join(release).exists()
}

fn request(family: AddressFamily, states: u32) -> Vec<u8> {
    let family = u8::try_from(family.as_raw()).unwrap_or_default();
    let mut message = Vec::with_capacity(REQUEST as usize);
    message.extend(REQUEST.to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(DUMP.to_ne_bytes());
    message.extend(SEQUENCE.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend([family, TCP, 0, 0]);
    message.extend(states.to_ne_bytes());
    // No single socket is named.
    message.resize(REQUEST as usize, 0);
    message
}

/// Reads the messages of one datagram; answers whether the last was among them.
fn answers(datagram: &[u8], one: &mut impl FnMut(&[u8]) -> Option<()>) -> io::Result<bool> {
    let mut rest = datagram;
    while let Some(&[a, b, c, d, kind, kind_high, flags, flags_high, ..]) = rest.first_chunk::<HEADER>() {
        let length = u32::from_ne_bytes([a, b, c, d]) as usize;
        let body = rest.get(HEADER..length).ok_or_else(damaged)?;
        if u16::from_ne_bytes([flags, flags_high]) & INTERRUPTED != 0 {
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
        match u16::from_ne_bytes([kind, kind_high]) {
            DONE => return Ok(true),
            ERROR => {
                let number = body.first_chunk().copied().map(i32::from_ne_bytes).ok_or_else(damaged)?;
                return Err(io::Error::from_raw_os_error(number.saturating_neg()));
            }
            BY_FAMILY => one(body).ok_or_else(damaged)?,
            _ => {}
        }
        // Messages begin at multiples of four.
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    if rest.is_empty() { Ok(false) } else { Err(damaged()) }
}

/// `struct inet_diag_msg`: family, state, two timers, then the ports and addresses in network order; the inode is last.
fn socket(protocol: &'static str, body: &[u8]) -> Option<Socket> {
    let port = body.get(4..6)?.first_chunk().copied().map(u16::from_be_bytes)?;
    let address = address(protocol, body.get(8..24)?)?;
    let inode = body.get(68..72)?.first_chunk().copied().map(u32::from_ne_bytes)?;
    Some(Socket::new(protocol, address, port, u64::from(inode)))
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is cut short")
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_kernel_tells_of_listeners_what_its_tables_do() {
        let four = TcpListener::bind("127.0.0.1:0").unwrap();
        let six = TcpListener::bind("[::1]:0").unwrap();
        let talk = TcpStream::connect(four.local_addr().unwrap()).unwrap();
        for (protocol, listener) in [("tcp", &four), ("tcp6", &six)] {
            let Ok(told) = listening(protocol) else {
                eprintln!("skipped: this kernel does not tell");
                return;
            };
            let text = std::fs::read_to_string(format!("/proc/net/{protocol}")).unwrap();
            let read = crate::facts::sockets::table(protocol, &text);
            let port = listener.local_addr().unwrap().port();
            let of = |all: &[Socket]| all.iter().filter(|one| one.port == port).cloned().collect::<Vec<_>>();
            assert_eq!(of(&told), of(&read));
            assert_eq!(of(&told).len(), 1);
            let here = talk.local_addr().unwrap().port();
            assert!(told.iter().all(|one| one.port != here), "a connection does not listen");
            let mut counts = BTreeMap::from([(port, 0)]);
            connections(protocol, &mut counts).unwrap();
            assert_eq!(counts, BTreeMap::from([(port, u32::from(protocol == "tcp"))]));
        }
    }

    fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + body.len()).unwrap();
        [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8], body].concat()
    }

    fn read(datagram: &[u8], found: &mut Vec<Socket>) -> io::Result<bool> {
        answers(datagram, &mut |body| {
            found.push(socket("tcp", body)?);
            Some(())
        })
    }

    #[test]
    fn a_refusal_or_a_changed_table_is_an_error_and_no_short_list() {
        let mut found = Vec::new();
        let refused = read(&message(ERROR, 0, &(-2_i32).to_ne_bytes()), &mut found).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::NotFound);
        assert!(read(&message(BY_FAMILY, INTERRUPTED, &[0; 72]), &mut found).is_err());
        assert!(read(&message(BY_FAMILY, 0, &[0; 71]), &mut found).is_err());
        assert!(found.is_empty());
        assert!(read(&message(DONE, 0, &[0; 4]), &mut found).unwrap());
        assert!(!read(&message(BY_FAMILY, 0, &[0; 72]), &mut found).unwrap());
        assert_eq!(found.len(), 1);
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(bytes: Vec<u8>, body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = read(&bytes, &mut Vec::new());
            let _ = read(&[message(BY_FAMILY, 0, &body), bytes].concat(), &mut Vec::new());
        }
    }
}
