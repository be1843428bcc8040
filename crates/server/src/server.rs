//! Opening, starting and stopping a server.

use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::extract::connect_info::IntoMakeServiceWithConnectInfo;
use axum::middleware::from_fn_with_state;
use stanch_ledger::Signer;
use stanch_model::sign::VerifyingKey;
use stanch_store::Store;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate as _, SizeAbove};

use crate::app::App;
use crate::auth::{self, Peer};
use crate::config::Config;
use crate::error::StartError;
use crate::gateway::Gateway;
use crate::lock::DataLock;
use crate::pki::{Keys, strange};
use crate::{api, cluster, tasks, web};

/// A data folder that is nobody else's for as long as this lives.
#[derive(Debug)]
pub struct DataFolder {
    lock: DataLock,
}

impl DataFolder {
    /// Makes the folder where it is missing, and takes it.
    ///
    /// # Errors
    /// When it is not to be had, or another process has it.
    pub fn take(path: &Path) -> Result<Self, StartError> {
        make_folder(path)?;
        Ok(Self { lock: DataLock::take(path).map_err(StartError::Lock)? })
    }
}

/// A server that has its data folder, its keys and its store, and does nothing yet.
pub struct Server {
    app: App,
    lock: DataLock,
}

/// A server at work.
pub struct Running {
    app: App,
    lock: DataLock,
    stop: watch::Sender<bool>,
    work: JoinSet<()>,
    address: Option<SocketAddr>,
    door: Option<SocketAddr>,
}

impl Server {
    /// Takes the data folder, makes what is missing in it and opens the store.
    ///
    /// # Errors
    /// When the folder is in use or not to be had, or keys or store cannot be opened.
    pub async fn open(config: Config) -> Result<Self, StartError> {
        let DataFolder { lock } = DataFolder::take(&config.data_dir)?;
        let store = Store::open_at(&config.store).await.map_err(StartError::Open)?;
        let entropy = config.entropy.as_ref();
        let keys = match store.is_shared() {
            true => Keys::open_shared(&config.data_dir, entropy),
            false => Keys::open(&config.data_dir, config.clock.now(), entropy),
        };
        let app = App::new(config, store, keys.map_err(StartError::Keys)?).await?;
        if app.cluster.is_some() {
            cluster::join(&app).await?;
        }
        Ok(Self { app, lock })
    }

    /// The key that executors pin.
    pub fn root_key(&self) -> VerifyingKey {
        self.app.keys.root()
    }

    /// What verifies the ledger's checkpoints.
    pub fn ledger_signer(&self) -> &Signer {
        &self.app.signer
    }

    /// The executors' way in.
    pub fn gateway(&self) -> Gateway {
        Gateway::new(self.app.clone())
    }

    /// Begins to listen and to work. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the address or the socket is not to be had.
    pub async fn start(self) -> Result<Running, StartError> {
        let Self { app, lock } = self;
        let (stop, stopping) = watch::channel(false);
        app.set_closing(stopping.clone());
        let mut work = JoinSet::new();
        let mut address = None;
        if let Some(wanted) = app.config.listen {
            let listen = |source| StartError::Listen { address: wanted, source };
            let listener = TcpListener::bind(wanted).await.map_err(listen)?;
            let bound = listener.local_addr().map_err(listen)?;
            app.set_address(bound);
            address = Some(bound);
            let service = service(&app);
            let stopping = stopping.clone();
            work.spawn(async move {
                if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(stopped(stopping)).await {
                    tracing::error!(%error, "the HTTP listener ended");
                }
            });
        }
        let mut door = None;
        if let (Some(wanted), Some(authority)) = (&app.config.executors, &app.authority) {
            let listen = |source| StartError::Listen { address: wanted.listen, source };
            let opened =
                crate::fleet::open(&app, authority, people(&app), wanted.listen, stopping.clone(), &mut work).await;
            let bound = opened.map_err(listen)?;
            app.set_door(bound);
            door = Some(bound);
        }
        if let Some(path) = app.config.socket.clone() {
            let listener = bind_socket(&path)?;
            let service = service(&app);
            let stopping = stopping.clone();
            work.spawn(async move {
                if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(stopped(stopping)).await {
                    tracing::error!(%error, "the control socket ended");
                }
                drop(std::fs::remove_file(&path));
            });
        }
        match &app.cluster {
            Some(_) => {
                work.spawn(cluster::listen(app.clone(), stopping.clone()));
                work.spawn(cluster::run(app.clone(), stopping));
                cluster::settled(&app).await;
            }
            None => tasks::spawn(&app, &stopping, &mut work),
        }
        Ok(Running { app, lock, stop, work, address, door })
    }
}

impl Running {
    /// Where it listens for HTTP, with the port that was given.
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Where executors on other machines come in, with the port that was given.
    pub const fn door(&self) -> Option<SocketAddr> {
        self.door
    }

    /// The executors' way in.
    pub fn gateway(&self) -> Gateway {
        Gateway::new(self.app.clone())
    }

    /// The key that executors pin.
    pub fn root_key(&self) -> VerifyingKey {
        self.app.keys.root()
    }

    /// A link that opens a page that asks to sign in; works once, for an hour. `None` when it does not listen on HTTP.
    ///
    /// # Errors
    /// When no random bytes can be had.
    pub fn sign_in_link(&self) -> Result<Option<String>, StartError> {
        self.app.sign_in_link(None).map_err(StartError::Entropy)
    }

    /// Waits until it ends by itself, and says why: another server has taken the lead from it. Never, where it is alone.
    pub async fn ended(&self) -> String {
        let Some(cluster) = &self.app.cluster else { return std::future::pending().await };
        let mut lost = cluster.lost();
        match lost.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            // What would tell it lives as long as this.
            Err(_) => std::future::pending().await,
        }
    }

    /// Whether it is the one of several servers that leads, or alone.
    pub fn leads(&self) -> bool {
        self.app.cluster.as_ref().is_none_or(crate::cluster::Cluster::leads)
    }

    /// Stops: no new requests, reconcilers finish what they are at, the store is shut. State is rows, so a server that
    /// is killed instead loses nothing either.
    pub async fn stop(mut self) {
        // Nobody listening any more is as good as stopped.
        let _ = self.stop.send(true);
        self.app.bus.wake_all();
        while self.work.join_next().await.is_some() {}
        let store = self.app.store.clone();
        drop(self.app);
        // Somebody may still hold a gateway; everything that was committed is on disk already.
        let shut = tokio::time::timeout(std::time::Duration::from_secs(2), store.shut()).await;
        if shut.is_err() {
            tracing::debug!("the store was still in use");
        }
        drop(self.lock);
    }
}

impl Running {
    /// Ends it as a crash would: between two commits, wherever everything else was. For tests.
    #[doc(hidden)]
    pub async fn kill(mut self) {
        self.work.shutdown().await;
        // Connections and gateways outlive the work, as they do not outlive a process: nothing of them may be written
        // beside what the next server writes.
        let shut = tokio::time::timeout(std::time::Duration::from_secs(10), self.app.store.shut()).await;
        if shut.is_err() {
            tracing::error!("a server that was killed still reads its store");
        }
    }
}

fn make_folder(path: &Path) -> Result<(), StartError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    let failed = |source| StartError::DataFolder { path: path.to_owned(), source };
    made.map_err(failed)?;
    let why = strange(path).map_err(failed)?;
    why.map_or(Ok(()), |why| Err(StartError::StrangeFolder { path: path.to_owned(), why }))
}

fn bind_socket(path: &Path) -> Result<UnixListener, StartError> {
    let socket = |source| StartError::Socket { path: path.to_owned(), source };
    // We hold the folder's lock: a socket that lies here is left over from a server that died.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(socket(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(socket)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(socket)?;
    Ok(listener)
}

fn service(app: &App) -> IntoMakeServiceWithConnectInfo<Router, Peer> {
    let passes_on = from_fn_with_state(app.clone(), cluster::passes_on);
    people(app).layer(passes_on).into_make_service_with_connect_info::<Peer>()
}

/// Everything that people and their programs may ask, whoever carries it here.
fn people(app: &App) -> Router {
    // Compressing an event stream would hold events back.
    let compress = SizeAbove::new(1024).and(NotForContentType::SSE);
    api::router()
        .merge(web::router())
        .fallback(web::nothing_here)
        .layer(DefaultBodyLimit::max(auth::MAX_BODY))
        .layer(from_fn_with_state(app.clone(), auth::door))
        .layer(CompressionLayer::new().compress_when(compress))
        .with_state(app.clone())
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // A sender that is gone means the same.
    drop(stopping.wait_for(|stop| *stop).await);
}

/// The parts of a server that its tests reach for.
#[doc(hidden)]
pub fn openapi_json() -> String {
    let description = api::openapi();
    serde_json::to_string_pretty(&description).unwrap_or_default()
}
