//! A network of worlds and this process: a bridge, and a cable to each world. Only in a network namespace of its own, so
//! that nothing of it can reach, or be reached by, anything else.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::host;
use crate::world::World;

/// Set where this process has a network of its own.
const APART: &str = "STANCH_NETWORK_APART";
const BRIDGE: &str = "worlds";

/// The network.
#[derive(Debug)]
pub struct Lan {
    joined: u16,
}

impl Lan {
    /// Begins this program again in a network namespace of its own, unless it is in one.
    ///
    /// # Errors
    /// When there is none to be had.
    pub fn apart() -> Result<()> {
        if std::env::var_os(APART).is_some() {
            return Ok(());
        }
        let mut again = Command::new("unshare");
        again.arg("--net").arg("--").arg(std::env::current_exe()?).args(std::env::args_os().skip(1)).env(APART, "yes");
        Err(again.exec()).context("no network namespace is to be had")
    }

    /// The bridge, with this process at one end.
    ///
    /// # Errors
    /// When this process has no network of its own, or the kernel refuses.
    pub fn new() -> Result<Self> {
        if std::env::var_os(APART).is_none() {
            bail!("worlds are connected in a network namespace alone: begin with `Lan::apart`");
        }
        ip(["link", "set", "lo", "up"])?;
        if ip(["link", "show", BRIDGE]).is_err() {
            ip(["link", "add", BRIDGE, "type", "bridge"])?;
            ip(["addr", "add", &format!("{}/16", Self::here()), "dev", BRIDGE])?;
            ip(["link", "set", BRIDGE, "up"])?;
        }
        Ok(Self { joined: 0 })
    }

    /// Where this process is.
    pub const fn here() -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1))
    }

    /// Lays a cable to a world and answers where the world is. It has its network until it is switched off.
    ///
    /// # Errors
    /// When the world is off, or the kernel refuses.
    pub fn join(&mut self, world: &World) -> Result<IpAddr> {
        self.joined += 1;
        let [high, low] = (self.joined + 1).to_be_bytes();
        let init = world.init().context("the world is off")?.to_string();
        let (cable, address) = (format!("w{init}"), Ipv4Addr::new(10, 77, high, low));
        ip(["link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &init])?;
        ip(["link", "set", &cable, "master", BRIDGE, "up"])?;
        let inside = |args: &[&str]| {
            let enter = ["-t", &init, "-n", "ip"];
            host::run("nsenter", enter.iter().chain(args).map(OsStr::new)).map(drop)
        };
        inside(&["addr", "add", &format!("{address}/16"), "dev", "eth0"])?;
        inside(&["link", "set", "lo", "up"])?;
        inside(&["link", "set", "eth0", "up"])?;
        Ok(address.into())
    }
}

/// Leads from an address of this process to a port on the loopback of a world, for what listens to nobody else. It ends
/// with the process, and answers nobody while the world is off.
///
/// # Errors
/// When the world is off, or no port is to be had.
pub fn tunnel(world: &World, port: u16) -> Result<SocketAddr> {
    let network = File::open(format!("/proc/{}/ns/net", world.init().context("the world is off")?))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    std::thread::Builder::new().name("tunnel".to_owned()).spawn(move || {
        // This thread alone is in the network of the world from here on; what it accepts from is where it was made.
        if let Err(error) = move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)) {
            eprintln!("no way into the network of the world: {error}");
            return;
        }
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
            let (Ok(near_too), Ok(far_too)) = (near.try_clone(), far.try_clone()) else { continue };
            std::thread::spawn(move || carry(&near, &far));
            std::thread::spawn(move || carry(&far_too, &near_too));
        }
    })?;
    Ok(address)
}

/// Carries everything one way; the end of it too.
fn carry(mut from: &TcpStream, mut to: &TcpStream) {
    drop(io::copy(&mut from, &mut to));
    drop(to.shutdown(Shutdown::Write));
}

fn ip<const N: usize>(args: [&str; N]) -> Result<()> {
    host::run("ip", args.iter().map(OsStr::new)).map(drop)
}
