//! A real server in this process, and somebody who is signed in to it.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use stanch_server::{Config, Door, Running, Server};

use crate::visitor::Visitor;

/// The server and somebody who looks at it.
pub struct Site {
    /// The server.
    pub running: Running,
    /// The operator of its machine, signed in.
    pub visitor: Visitor,
    // The data folder lives as long as its server.
    _folder: tempfile::TempDir,
}

impl Site {
    /// Opens a server in a folder of its own, on a port of its own, set up by `set`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn open(runtime: &tokio::runtime::Runtime, set: impl FnOnce(&mut Config)) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut config = Config::new(folder.path());
        config.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        set(&mut config);
        let running = runtime.block_on(async { Server::open(config).await?.start().await })?;
        let link = running.sign_in_link()?.context("no link to sign in with")?;
        let visitor = Visitor::sign_in(runtime.handle(), &link)?;
        Ok(Self { running, visitor, _folder: folder })
    }

    /// One that lets executors of other machines in, on a port of its own.
    ///
    /// # Errors
    /// When it does not start.
    pub fn with_door(runtime: &tokio::runtime::Runtime) -> Result<Self> {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::open(runtime, |config| {
            config.executors = Some(Door { listen, names: vec!["127.0.0.1".to_owned()] });
            config.intervals.park = std::time::Duration::from_secs(2);
        })
    }

    /// Where executors come in.
    ///
    /// # Errors
    /// When none are let in.
    pub fn door(&self) -> Result<String> {
        Ok(format!("https://{}", self.running.door().context("no door")?))
    }
}
