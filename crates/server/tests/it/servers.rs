//! Several servers over one database.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use stanch_server::{Clock, Config, Door, Intervals, Running, Server, StartError, SystemClock};
use stanch_store::StoreAt;
use tempfile::TempDir;

use crate::double::{Double, Host};
use crate::postgres::Cluster;
use crate::world::{Client, World};

/// Servers of one installation: each has a folder of its own with the same keys.
struct Installation {
    postgres: Cluster,
    url: String,
    folders: Vec<TempDir>,
}

impl Installation {
    fn new() -> Self {
        let postgres = Cluster::start(false).unwrap();
        let url = postgres.database(None).unwrap();
        Self { postgres, url, folders: Vec::new() }
    }

    /// A folder with the keys of the first server.
    fn folder(&mut self) -> std::path::PathBuf {
        let folder = tempfile::tempdir().unwrap();
        if let Some(first) = self.folders.first() {
            copy(&first.path().join("keys"), &folder.path().join("keys"));
        }
        let path = folder.path().to_owned();
        self.folders.push(folder);
        path
    }

    fn config(&self, folder: &Path) -> Config {
        let mut config = Config::new(folder);
        config.store = StoreAt::Database(self.url.parse().unwrap());
        config.listen = Some("127.0.0.1:0".parse().unwrap());
        config.executors = Some(Door { listen: "127.0.0.1:0".parse().unwrap(), names: vec!["127.0.0.1".to_owned()] });
        config.bake = Duration::ZERO;
        config.intervals = Intervals {
            tick: Duration::from_millis(40),
            park: Duration::from_millis(40),
            observe: Duration::from_secs(7 * 24 * 3600),
            gather: Duration::ZERO,
            decide: Duration::from_secs(1),
            ..Intervals::default()
        };
        config
    }

    async fn server(&mut self) -> Running {
        let folder = self.folder();
        self.start(&folder).await
    }

    async fn start(&self, folder: &Path) -> Running {
        Server::open(self.config(folder)).await.unwrap().start().await.unwrap()
    }
}

fn copy(from: &Path, to: &Path) {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().mode(0o700).create(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // The issuer is handed on by the servers themselves.
        if entry.file_name() != "issuer" {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds().await {
        assert!(began.elapsed() < Duration::from_secs(40), "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

async fn leads(server: &Running) {
    until("it leads", async || server.leads()).await;
}

fn host() -> Host {
    Host::new("web-1", &[("paperclip", "3.0.15-1", "3.0.17-1")])
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_servers_one_leads_and_people_are_passed_on_to_it() {
    let mut installation = Installation::new();
    let first = installation.server().await;
    leads(&first).await;
    let second = installation.server().await;
    let at_first = Client::sign_in(&first).await;
    let at_second = Client { base: format!("http://{}", second.address().unwrap()), ..at_first.clone() };
    until("the second one knows who leads", async || {
        at_second.send(reqwest::Method::GET, "/api/v1/session", None).await.0.is_success()
    })
    .await;
    assert!(!second.leads());
    // A browser is the same at both, and what it asks for at one is done by the other.
    at_second.post("/api/v1/people", json!({ "name": "ada", "email": "ada@example.org" })).await;
    assert!(at_first.get("/api/v1/people").await.to_string().contains("ada@example.org"));
    assert!(at_second.page("/").await.contains("Stanch"));
    // Each answers for itself whether it is well.
    assert!(at_second.stranger().get("/api/v1/health").await["healthy"].as_bool().unwrap());
    // Nobody becomes the operator by saying so.
    let claims = [("stanch-relayed-for", "operator 0")];
    assert_eq!(at_second.stranger().raw(&claims, "/api/v1/people").await.status(), 401);

    first.stop().await;
    leads(&second).await;
    assert!(at_second.get("/api/v1/people").await.to_string().contains("ada@example.org"), "the session outlives it");
    let verified = at_second.get("/api/v1/ledger/verify").await;
    assert_eq!(verified["good"], true, "{verified}");
    second.stop().await;
    drop(installation.postgres);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_cut_off_writes_nothing_more_and_ends() {
    let mut installation = Installation::new();
    let first = installation.server().await;
    leads(&first).await;
    // Another takes the lease, as when this one was not heard of for long.
    let taken = "UPDATE stanch.lease SET holder = 'another', token = token + 1, until = until + 600000000 \
                 WHERE name = 'leader'";
    let name = installation.url.trim_start_matches("postgres:///").split('?').next().unwrap().to_owned();
    let client = Client::sign_in(&first).await;
    installation.postgres.ask(&name, taken).unwrap();
    let (status, text) = client
        .send(reqwest::Method::POST, "/api/v1/people", Some(json!({ "name": "eve", "email": "e@example.org" })))
        .await;
    assert!(!status.is_success(), "{text}");
    let why = tokio::time::timeout(Duration::from_secs(20), first.ended()).await.unwrap();
    assert!(why.contains("another server leads"), "{why}");
    let people = installation.postgres.ask(&name, "SELECT count(*) FROM stanch.person WHERE name = 'eve'").unwrap();
    assert_eq!(people, "0");
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_other_keys_does_not_start() {
    let mut installation = Installation::new();
    let first = installation.server().await;
    let stranger = tempfile::tempdir().unwrap();
    let refused = Server::open(installation.config(stranger.path())).await.map(drop).unwrap_err();
    assert!(matches!(refused, StartError::OtherKeys { .. }), "{refused:?}");
    assert!(refused.hint().unwrap().contains("keys"));
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_goes_from_one_server_to_the_other_and_what_one_says_of_it_holds_at_both() {
    let mut installation = Installation::new();
    let first = installation.server().await;
    leads(&first).await;
    let second = installation.server().await;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let double = Arc::new(Double::new(host(), clock));
    let client = Client::sign_in(&first).await;

    // It comes to the one that does not lead, and its facts are judged all the same.
    second.gateway().register(&double.hello()).await.unwrap();
    let serving = tokio::spawn(double.clone().serve(second.gateway()));
    until("its facts are judged", async || {
        let assets = client.get("/api/v1/assets").await;
        assets.as_array().unwrap().iter().any(|asset| !asset["judged_at"].is_null())
    })
    .await;
    serving.abort();
    let _ = serving.await;

    // Both know where it stands: a copy that went back in time is seen at the other server too.
    let newer = double.hello();
    assert!(newer.position > Default::default(), "it took orders");
    drop(second.gateway().poll(newer.clone()).await.unwrap());
    double.host.lock().unwrap().rewind();
    let frozen = first.gateway().poll(double.hello()).await.unwrap_err();
    assert!(frozen.to_string().contains("went back in time"), "{frozen}");
    let again = second.gateway().poll(newer).await.unwrap_err();
    assert!(again.to_string().contains("is frozen"), "{again}");
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_alone_has_no_others_to_mind() {
    let world = World::new(host()).await;
    let running = world.running.as_ref().unwrap();
    assert!(running.leads());
    let ended = tokio::time::timeout(Duration::from_millis(100), running.ended()).await;
    assert!(ended.is_err(), "it ends when it is told to");
}
