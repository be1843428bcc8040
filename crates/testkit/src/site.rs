//! A real server in this process, and somebody who is signed in to it.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use stanch_model::Timestamp;
use stanch_server::{Config, Door, Running, Server};
use stanch_store::{StoreAt, backup};

use crate::visitor::Visitor;

/// The server and somebody who looks at it.
pub struct Site {
    /// The server.
    pub running: Running,
    /// The operator of its machine, signed in.
    pub visitor: Visitor,
    config: Config,
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
        let running = runtime.block_on(async { Server::open(config.clone()).await?.start().await })?;
        let link = running.sign_in_link()?.context("no link to sign in with")?;
        let visitor = Visitor::sign_in(runtime.handle(), &link)?;
        Ok(Self { running, visitor, config, _folder: folder })
    }

    /// Stops it and starts it again on the same addresses, from a backup that is made in between: it begins a new epoch.
    ///
    /// # Errors
    /// When the backup cannot be made or restored, or it does not start.
    pub fn restored(mut self, runtime: &tokio::runtime::Runtime) -> Result<Self> {
        let door = self.running.door();
        if let (Some(executors), Some(at)) = (&mut self.config.executors, door) {
            executors.listen = at;
        }
        let StoreAt::File(store) = self.config.store.clone() else { bail!("the store of a site is a file") };
        let (copy, beside) = (store.with_extension("backup"), store.with_extension("before"));
        let config = self.config.clone();
        let running = runtime.block_on(async {
            self.running.stop().await;
            backup::backup(&config.store, &copy).await?;
            std::fs::rename(&store, &beside)?;
            backup::restore(&copy, &config.store, Timestamp::now(), "a proof").await?;
            anyhow::Ok(Server::open(config).await?.start().await?)
        })?;
        let link = running.sign_in_link()?.context("no link to sign in with")?;
        let visitor = Visitor::sign_in(runtime.handle(), &link)?;
        Ok(Self { running, visitor, config: self.config, _folder: self._folder })
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
