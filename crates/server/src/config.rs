//! What a server is told when it is opened.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};

/// Everything a server needs to know before it starts.
#[derive(Clone)]
pub struct Config {
    /// The folder that holds all its state.
    pub data_dir: PathBuf,
    /// Where it listens for HTTP; `None` serves the unix socket only.
    pub listen: Option<SocketAddr>,
    /// Names under which the HTTP listener may be called besides the loopback ones: anything else is refused, so that
    /// a web page elsewhere cannot reach it by renaming its own host.
    pub hosts: Vec<String>,
    /// The address by which people and providers of identities reach it, when another program stands before it:
    /// `https://stanch.example`. Its name counts as one of ours.
    pub public_url: Option<String>,
    /// The control socket; `None` leaves it away.
    pub socket: Option<PathBuf>,
    /// How often things happen.
    pub intervals: Intervals,
    /// A file, a folder or URLs from which feeds are refreshed; empty leaves the built-in snapshot alone.
    pub feeds: Vec<String>,
    /// The file to which the ledger's checkpoints are copied, best on a place that this server cannot rewrite.
    pub checkpoints: Option<PathBuf>,
    /// Seconds a verified change is watched before it counts as done.
    pub bake: Duration,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where random bytes come from.
    pub entropy: Arc<dyn Entropy>,
}

impl Config {
    /// The shipped settings for this data folder: loopback port 7070, socket inside the folder.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        Self {
            socket: Some(data_dir.join("control.sock")),
            checkpoints: Some(data_dir.join("checkpoints")),
            data_dir,
            listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 7070))),
            hosts: Vec::new(),
            public_url: None,
            intervals: Intervals::default(),
            feeds: Vec::new(),
            bake: Duration::from_secs(10),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        }
    }
}

/// How often things happen without a nudge, and how long silence is borne.
#[derive(Debug, Clone, Copy)]
pub struct Intervals {
    /// Between two runs of every reconciler.
    pub tick: Duration,
    /// Between two readings of a host's facts.
    pub observe: Duration,
    /// Between two refreshes of the feeds.
    pub feeds: Duration,
    /// Without a word from an executor about an order, before its journal is asked.
    pub silence: Duration,
    /// How long a poll is parked.
    pub park: Duration,
    /// Within which an order must start, since the poll it answers.
    pub start_within: Duration,
}

impl Default for Intervals {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(2),
            observe: Duration::from_secs(15 * 60),
            feeds: Duration::from_secs(6 * 3600),
            silence: Duration::from_secs(90),
            park: Duration::from_secs(25),
            start_within: Duration::from_secs(60),
        }
    }
}
