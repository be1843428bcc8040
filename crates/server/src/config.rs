//! What a server is told when it is opened.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use stanch_connect::git::Repository;
use stanch_model::id::AssetId;
use stanch_model::sign::VerifyingKey;
use stanch_store::StoreAt;

use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::retention::Retention;

/// Where policies come from. It is looked at again and again; what is good there is taken without a restart.
#[derive(Debug, Clone)]
pub struct PolicySource {
    /// The place.
    pub place: PolicyPlace,
    /// Whose signature they must bear. Without one a folder must be this user's alone, a repository must be reached
    /// over a protected way, and nothing is granted beyond `approve`.
    pub key: Option<VerifyingKey>,
}

/// A place of policies.
#[derive(Debug, Clone)]
pub enum PolicyPlace {
    /// A folder, or one file.
    Folder(PathBuf),
    /// A branch of a git repository.
    Repository(Repository),
}

impl PolicySource {
    /// Policies of a folder.
    pub const fn folder(folder: PathBuf, key: Option<VerifyingKey>) -> Self {
        Self { place: PolicyPlace::Folder(folder), key }
    }

    /// Policies of a git repository.
    pub const fn repository(repository: Repository, key: Option<VerifyingKey>) -> Self {
        Self { place: PolicyPlace::Repository(repository), key }
    }
}

/// Where executors on other machines come in.
#[derive(Debug, Clone)]
pub struct Door {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The names and addresses under which executors reach it; they stand in its certificate.
    pub names: Vec<String>,
}

/// Where servers of one installation wake each other.
#[derive(Clone)]
pub struct Nats {
    /// Its addresses: `nats://HOST:4222` or `tls://HOST:4222`, several with commas between them.
    pub url: String,
    /// A file of credentials, as `nsc` writes it.
    pub credentials: Option<PathBuf>,
    /// The certificates of the authority that vouches for it, in PEM; without one those of the system.
    pub authority: Option<PathBuf>,
}

impl std::fmt::Debug for Nats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // An address may carry a password.
        f.debug_struct("Nats").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

/// Everything a server needs to know before it starts.
#[derive(Clone)]
pub struct Config {
    /// The folder that holds its keys, and its state where that is a file.
    pub data_dir: PathBuf,
    /// Where its state is.
    pub store: StoreAt,
    /// Where it listens for HTTP; `None` serves the unix socket only.
    pub listen: Option<SocketAddr>,
    /// Names under which the HTTP listener may be called besides the loopback ones: anything else is refused, so that
    /// a web page elsewhere cannot reach it by renaming its own host.
    pub hosts: Vec<String>,
    /// The address by which people and providers of identities reach it, when another program stands before it:
    /// `https://stanch.example`. Its name counts as one of ours.
    pub public_url: Option<String>,
    /// Where executors on other machines come in; `None` lets none in.
    pub executors: Option<Door>,
    /// Where the other servers of this installation reach the door for executors, `HOST:PORT`; `None` takes the first of
    /// its names. Only asked for where several servers share a database.
    pub advertise: Option<String>,
    /// Where they wake each other; without it they look every few seconds.
    pub nats: Option<Nats>,
    /// The control socket; `None` leaves it away.
    pub socket: Option<PathBuf>,
    /// How often things happen.
    pub intervals: Intervals,
    /// A file, a folder or URLs from which feeds are refreshed; empty leaves the built-in snapshot alone.
    pub feeds: Vec<String>,
    /// Where policies come from; without one every item is only shown.
    pub policies: Option<PolicySource>,
    /// Policies that would have done by themselves what went wrong more often than this are refused, in parts of a
    /// million of what is known.
    pub max_harm_e6: u32,
    /// The assets that Stanch itself runs on, which are never changed by themselves; while nobody says, the one whose
    /// executor runs in this process.
    pub own: Option<BTreeSet<AssetId>>,
    /// The file to which the ledger's checkpoints are copied, best on a place that this server cannot rewrite.
    pub checkpoints: Option<PathBuf>,
    /// How long what is old is kept.
    pub retention: Retention,
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
            store: StoreAt::File(data_dir.join("stanch.db")),
            data_dir,
            listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 7070))),
            hosts: Vec::new(),
            public_url: None,
            executors: None,
            advertise: None,
            nats: None,
            intervals: Intervals::default(),
            feeds: Vec::new(),
            policies: None,
            max_harm_e6: 50_000,
            own: None,
            retention: Retention::default(),
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
    /// How long decisions of the same kind are gathered before a remediation is made of them, so that a fleet that
    /// reports one host after the other is one rollout.
    pub gather: Duration,
    /// Between two decisions of items of which nothing changed but the time.
    pub decide: Duration,
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
            gather: Duration::from_secs(30),
            decide: Duration::from_secs(15 * 60),
            park: Duration::from_secs(25),
            start_within: Duration::from_secs(60),
        }
    }
}
