//! Several servers over one database. Every one lets executors in and answers them. One leads: it alone runs the
//! reconcilers and answers people, and the others pass people on to it.
//!
//! That one leads is a lease with a fencing token under which it writes everything: what a server that lost the lease had
//! begun comes to nothing, however slow it was and whatever its clock says. A server that begins to lead reads what is in
//! the store and goes on, as after a start; one that does not lead any more ends, and is started again by whoever runs it.
//!
//! What one server has to hear from another lies in the store's outbox. A message on the wires only says "look": it may
//! come late, twice or never, and whoever forges it has a server look.

mod feeds;
mod lead;
mod news;
mod relay;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use stanch_model::Digest;
use stanch_store::setting::Setting;
use stanch_store::{CommitError, ReadError, Write};
use tokio::sync::{Mutex as AsyncMutex, Notify, watch};

use crate::app::App;
use crate::clock::{Entropy, ten};
use crate::error::StartError;
use crate::pki::{KeyError, keep, kept};

pub(crate) use lead::run;
pub(crate) use news::{catch_up, run as listen, tell};
pub(crate) use relay::{passes_on, relayed};

/// Length of the name under which a folder's server holds its lease.
const HOLDER: usize = 20;
/// What all servers of an installation have in common.
const INSTALLATION: &str = "installation";
/// Who leads.
const LEADER: &str = "leader";
/// The issuer of all of them, sealed.
const ISSUER: &str = "issuer";
/// How long a start waits until it is known who leads.
const SETTLE: std::time::Duration = std::time::Duration::from_secs(5);
/// What waits while the issuer cannot be shared.
const SHARING: &str = "the issuer of all servers";

/// The server that leads, as the others know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Leader {
    server: String,
    /// Where the others reach it, if it has a door.
    door: Option<String>,
}

/// The keys of an installation, by digests that give nothing of them away.
#[derive(Debug, Serialize, Deserialize)]
struct Common {
    keys: Digest,
    authority: Option<Digest>,
}

impl Common {
    fn differs(&self, other: &Self) -> bool {
        let authorities = self.authority.zip(other.authority);
        self.keys != other.keys || authorities.is_some_and(|(one, other)| one != other)
    }
}

/// One of several servers.
pub(crate) struct Cluster {
    /// Drawn with every start.
    id: String,
    /// Drawn once for the data folder, which one process has at a time: a server that is started again takes its lease back
    /// at once, with another token. Of two that have it, because a folder was copied, one still leads at a time.
    holder: String,
    leads: watch::Sender<bool>,
    /// It is known who leads.
    known: watch::Sender<bool>,
    leader: Mutex<Option<Leader>>,
    /// Something may lie in the outbox.
    news: Notify,
    /// Up to where the outbox was read.
    read_to: AsyncMutex<Option<u64>>,
    /// Why it ended, once another leads.
    lost: watch::Sender<Option<String>>,
    relay: relay::Client,
}

impl Cluster {
    pub(crate) fn new(data_dir: &Path, entropy: &dyn Entropy) -> Result<Self, StartError> {
        let file = data_dir.join("server");
        let kept = kept(&file).map_err(StartError::Keys)?.and_then(|text| String::from_utf8(text).ok());
        let drawn = || ten(entropy).map(hex::encode).map_err(StartError::Entropy);
        let holder = match kept.filter(|text| text.len() == HOLDER && text.bytes().all(|c| c.is_ascii_hexdigit())) {
            Some(kept) => kept,
            None => {
                let holder = drawn()?;
                keep(&file, holder.as_bytes()).map_err(StartError::Keys)?;
                holder
            }
        };
        Ok(Self {
            id: format!("server-{}", drawn()?),
            holder,
            leads: watch::channel(false).0,
            known: watch::channel(false).0,
            leader: Mutex::default(),
            news: Notify::new(),
            read_to: AsyncMutex::default(),
            lost: watch::channel(None).0,
            relay: relay::Client::default(),
        })
    }

    /// The name under which it writes.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn leads(&self) -> bool {
        *self.leads.borrow()
    }

    /// Why it ended, once it does.
    pub(crate) fn lost(&self) -> watch::Receiver<Option<String>> {
        self.lost.subscribe()
    }

    fn leader(&self) -> Option<Leader> {
        lock(&self.leader).clone()
    }
}

/// Why a server cannot work together with the others.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    #[error("the store cannot be read")]
    Read(#[from] ReadError),
    #[error("the store cannot be written")]
    Commit(#[from] CommitError),
    #[error("the issuer of all servers cannot be used")]
    Keys(#[from] KeyError),
    #[error("the issuer of all servers cannot be sealed or opened")]
    Seal(#[from] crate::auth::SealError),
    #[error("the issuer of all servers does not read")]
    Damaged,
}

/// Checks that this server has the keys that the others have, and takes the issuer that they have. To be done before
/// anybody is let in.
pub(crate) async fn join(app: &App) -> Result<(), StartError> {
    let store = |source: Box<dyn std::error::Error + Send + Sync>| StartError::Cluster(source);
    let authority = app.authority.as_ref().map(|authority| authority.fingerprint());
    let own = Common { keys: app.keys.fingerprint(), authority };
    let known = app.store.setting(INSTALLATION).await.map_err(|error| store(Box::new(error)))?;
    let known: Option<Common> =
        known.map(serde_json::from_value).transpose().map_err(|error| store(Box::new(error)))?;
    if known.as_ref().is_some_and(|known| known.differs(&own)) {
        return Err(StartError::OtherKeys { folder: app.config.data_dir.join("keys") });
    }
    // Who has no door has no authority to compare yet.
    if known.is_none_or(|known| known.authority.is_none() && own.authority.is_some()) {
        let value = serde_json::to_value(&own).map_err(|error| store(Box::new(error)))?;
        let setting = Setting { key: INSTALLATION.to_owned(), value, at: app.now() };
        app.store.put(Write::PutSetting(setting)).await.map_err(|error| store(Box::new(error)))?;
        // Of two first starts at once one is the first.
        let now = app.store.setting(INSTALLATION).await.map_err(|error| store(Box::new(error)))?;
        let now: Option<Common> = now.and_then(|now| serde_json::from_value(now).ok());
        if now.is_some_and(|now| now.differs(&own)) {
            return Err(StartError::OtherKeys { folder: app.config.data_dir.join("keys") });
        }
    }
    share_issuer(app).await.map_err(|error| store(Box::new(error)))
}

/// Waits until it is known who leads, so that whoever asks at once is answered; not for long.
pub(crate) async fn settled(app: &App) {
    let Some(cluster) = &app.cluster else { return };
    let mut known = cluster.known.subscribe();
    drop(tokio::time::timeout(SETTLE, known.wait_for(|known| *known)).await);
}

/// Has all servers go on with the issuer that was certified last.
async fn share_issuer(app: &App) -> Result<(), ClusterError> {
    let stored = app.store.setting(ISSUER).await?;
    let serial = stored.as_ref().and_then(|stored| stored["serial"].as_u64()).unwrap_or(0);
    let own = app.keys.issuer()?.map_or(0, |(serial, _)| serial);
    if let Some(stored) = &stored
        && serial > own
    {
        let sealed = stored["sealed"].as_str().and_then(|text| hex::decode(text).ok()).ok_or(ClusterError::Damaged)?;
        app.keys.adopt_issuer(&app.seal.open(ISSUER, &sealed)?)?;
    }
    app.keys.renew_issuer(app.now(), app.config.entropy.as_ref())?;
    if let Some((own, text)) = app.keys.issuer()?
        && own > serial
    {
        let sealed = hex::encode(app.seal.close(ISSUER, &text, app.config.entropy.as_ref())?);
        let value = serde_json::json!({ "serial": own, "sealed": sealed });
        let setting = Setting { key: ISSUER.to_owned(), value, at: app.now() };
        app.store.put(Write::PutSetting(setting)).await?;
    }
    Ok(())
}

/// The host of `HOST` or `HOST:PORT`.
pub(crate) fn host_of(text: &str) -> String {
    let host = match text.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']')) => host,
        _ => text,
    };
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

/// A poisoned lock is still a lock: what it guards is replaced whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
