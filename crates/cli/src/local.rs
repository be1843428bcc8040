//! The server of this machine: the one that runs, or this process for as long as a command needs one.
//!
//! Either way the command talks to a control socket, so that there is one way in and not two.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use stanch_agent::executor::{HostExecutor, keep_serving};
use stanch_model::order::{Batch, Hello, Progress, Receipt};
use stanch_model::sign::{Signed, VerifyingKey};
use stanch_runner::{Link, LinkError, Shutdown};
use stanch_server::api::types::{Accepted, Asset, Scan, Status};
use stanch_server::gateway::{BlockingGateway, GatewayError};
use stanch_server::{Config, Running, Server, StartError};
use stanch_store::StoreAt;

use crate::client::Api;
use crate::failure::Failure;
use crate::output::Output;

/// What a command needs when no server runs here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// What the server remembers. No executor is started: what it had begun goes on when somebody asks for that.
    Memory,
    /// The executor too.
    Executor,
    /// The executor, and facts of this host that are newer than the command.
    Facts,
}

/// Where the server of a data folder listens to the command line.
pub(crate) const SOCKET: &str = "control.sock";

/// A server to talk to.
pub(crate) struct Session {
    api: Api,
    own: Option<Local>,
}

impl Session {
    /// The running server of this data folder; else one in this process, under the folder's exclusive lock, which ends
    /// with the command.
    pub(crate) async fn open(folder: &Path, store: StoreAt, output: &Output, need: Need) -> Result<Self, Failure> {
        let socket = folder.join(SOCKET);
        if tokio::net::UnixStream::connect(&socket).await.is_ok() {
            return Ok(Self { api: Api::on_socket(&socket)?, own: None });
        }
        let started = Timestamp::now();
        let config = Config { store, listen: None, socket: Some(socket.clone()), ..Config::new(folder) };
        let own = if need == Need::Memory { Local::remembering(config).await? } else { Local::start(config).await? };
        let api = Api::on_socket(&socket)?;
        output.say("No server runs here: working in this process.");
        if need == Need::Facts
            && let Err(failure) = first_facts(&api, started).await
        {
            own.stop().await;
            return Err(failure);
        }
        Ok(Self { api, own: Some(own) })
    }

    pub(crate) const fn api(&self) -> &Api {
        &self.api
    }

    /// Ends the server of this process, if it is one.
    pub(crate) async fn close(self) {
        if let Some(own) = self.own {
            own.stop().await;
        }
    }
}

/// How long facts may take to be read and judged; seconds on an idle machine.
const FACTS: Duration = Duration::from_secs(300);

/// Waits until this host's facts, read after the start, are judged.
async fn first_facts(api: &Api, started: Timestamp) -> Result<(), Failure> {
    let began = Instant::now();
    let _: Accepted = api.post("/scan", &Scan { refresh: false }).await?;
    loop {
        let assets: Vec<Asset> = api.get("/assets").await?;
        if assets.iter().any(|asset| asset.judged_at.is_some_and(|at| at >= started)) {
            return Ok(());
        }
        if began.elapsed() > FACTS {
            let status: Status = api.get("/status").await?;
            let waiting = status
                .waiting
                .iter()
                .find(|one| one.what.starts_with("facts"))
                .map_or_else(|| "nothing says why".to_owned(), |one| one.on.clone());
            return Err(Failure::new(format!("this host's facts did not come within five minutes: {waiting}")));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A server in this process, mostly with an executor.
pub(crate) struct Local {
    server: Running,
    executor: Option<(Shutdown, JoinHandle<()>)>,
}

impl Local {
    /// Starts a server without an executor.
    pub(crate) async fn remembering(config: Config) -> Result<Self, Failure> {
        let server = Server::open(config).await.map_err(not_started)?;
        Ok(Self { server: server.start().await.map_err(not_started)?, executor: None })
    }

    /// Starts both.
    pub(crate) async fn start(config: Config) -> Result<Self, Failure> {
        let folder = config.data_dir.join("executor");
        let entropy = Arc::clone(&config.entropy);
        let server = Server::open(config).await.map_err(not_started)?;
        let mut seed = [0; 32];
        entropy.fill(&mut seed).map_err(|error| Failure::new("no random bytes can be drawn").because(error))?;
        let root = server.root_key();
        let executor = open_executor(folder.clone(), root, seed).await?;
        let reopen = move || HostExecutor::open(&folder, root, seed);
        let hello = executor
            .hello()
            .map_err(|error| Failure::new("the executor's journal cannot be written").because(error))?;
        server.gateway().register(&hello).await.map_err(|error| {
            Failure::new("the executor is not let in")
                .because(error)
                .hint("look with: stanch executors list; let it back in with: stanch executors trust")
        })?;
        let running = server.start().await.map_err(not_started)?;
        let link = InProcess(running.gateway().blocking());
        let shutdown = Shutdown::new();
        let asked = shutdown.clone();
        let thread = std::thread::Builder::new()
            .name("executor".to_owned())
            .spawn(move || keep_serving(executor, &reopen, &link, &asked))
            .map_err(|error| Failure::new("the executor's thread could not be started").because(error))?;
        Ok(Self { server: running, executor: Some((shutdown, thread)) })
    }

    pub(crate) const fn server(&self) -> &Running {
        &self.server
    }

    /// Lets the step that runs end, then stops both. What is left goes on at the next start.
    pub(crate) async fn stop(self) {
        if let Some((shutdown, _)) = &self.executor {
            shutdown.ask();
        }
        self.server.stop().await;
        if let Some((_, thread)) = self.executor {
            // A panic in the executor's thread was logged by the thread itself.
            drop(tokio::task::spawn_blocking(move || thread.join()).await);
        }
    }
}

/// Reading the host blocks.
async fn open_executor(folder: PathBuf, root: VerifyingKey, seed: [u8; 32]) -> Result<HostExecutor, Failure> {
    tokio::task::spawn_blocking(move || HostExecutor::open(&folder, root, seed))
        .await
        .map_err(|error| Failure::new("the executor could not be opened").because(error))?
        .map_err(|error| {
            let remedy = error.remedy().map(str::to_owned);
            let failure = Failure::new("the executor cannot start").because(error);
            match remedy {
                Some(remedy) => failure.hint(remedy),
                None => failure,
            }
        })
}

fn not_started(error: StartError) -> Failure {
    let hint = error.hint();
    let failure = Failure::new("the server cannot start").because(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// The link between executor and server when both are here: the same calls that a remote executor makes.
struct InProcess(BlockingGateway);

impl Link for InProcess {
    fn poll(&self, hello: Hello) -> Result<Option<Batch>, LinkError> {
        self.0.poll(hello).map(Some).map_err(link_error)
    }

    fn deliver(&self, receipt: &Signed<Receipt>) -> Result<(), LinkError> {
        self.0.receipt(receipt.clone()).map_err(link_error)
    }

    fn progress(&self, progress: Progress) {
        self.0.progress(progress);
    }
}

fn link_error(error: GatewayError) -> LinkError {
    match error {
        GatewayError::Stopping => LinkError::Closed,
        other => LinkError::Unreachable { message: other.to_string() },
    }
}
