//! A network of worlds and this process: a bridge, and a cable to each world. Only in a network namespace of its own, so
//! that nothing of it can reach, or be reached by, anything else.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context, Result, bail};

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

    /// Lays a cable to a world. The world has its network until it is switched off.
    ///
    /// # Errors
    /// When the world is off, or the kernel refuses.
    pub fn join(&mut self, world: &World) -> Result<()> {
        self.joined += 1;
        let [high, low] = (self.joined + 1).to_be_bytes();
        let init = world.init().context("the world is off")?.to_string();
        let (cable, address) = (format!("w{init}"), format!("10.77.{high}.{low}/16"));
        ip(["link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &init])?;
        ip(["link", "set", &cable, "master", BRIDGE, "up"])?;
        let inside = |args: &[&str]| {
            let enter = ["-t", &init, "-n", "ip"];
            host::run("nsenter", enter.iter().chain(args).map(OsStr::new)).map(drop)
        };
        inside(&["addr", "add", &address, "dev", "eth0"])?;
        inside(&["link", "set", "lo", "up"])?;
        inside(&["link", "set", "eth0", "up"])
    }
}

fn ip<const N: usize>(args: [&str; N]) -> Result<()> {
    host::run("ip", args.iter().map(OsStr::new)).map(drop)
}
