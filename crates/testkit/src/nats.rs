//! A NATS of one's own. It needs Debian's package `nats-server`, and not the service that the package starts.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::wait_until;

/// How long it may take to start.
const START: Duration = Duration::from_secs(30);

/// A server that keeps nothing. It ends with its owner.
#[derive(Debug)]
pub struct Nats {
    address: SocketAddr,
    server: Option<Child>,
}

impl Nats {
    /// Starts it and waits until it takes connections.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub fn start(address: SocketAddr) -> Result<Self> {
        let mut nats = Self { address, server: None };
        nats.restart()?;
        Ok(nats)
    }

    /// Starts it again.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let mut command = Command::new("nats-server");
        command.arg("--addr").arg(self.address.ip().to_string()).arg("--port").arg(self.address.port().to_string());
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.server = Some(server.context("NATS does not start: apt-get install nats-server")?);
        wait_until("NATS takes connections", START, || Ok(std::net::TcpStream::connect(self.address).is_ok()))
    }

    /// Kills it.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            // It may have ended by itself.
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Its address for a server of ours.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}
