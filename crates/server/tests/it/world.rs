//! A server on a folder of its own, the double, and somebody with a browser.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use stanch_server::{Clock, Config, Door, Intervals, PolicySource, Retention, Running, Server};
use stanch_store::StoreAt;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::double::{Double, Host};
use crate::postgres;

/// The machine's clock, which a test may put forward.
#[derive(Default)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn forward(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let now = Timestamp::now() + SignedDuration::from_secs(self.0.load(Ordering::Relaxed));
        Timestamp::from_microsecond(now.as_microsecond()).unwrap()
    }
}

/// How long something may take that is waited for, on a machine that has much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Where PostgreSQL is that the stores are to be in: the folder of its socket.
pub(crate) const POSTGRES: &str = "STANCH_TEST_POSTGRES";

/// The place of a new store.
fn place(folder: &Path) -> StoreAt {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let Some(socket) = std::env::var_os(POSTGRES) else { return StoreAt::File(folder.join("stanch.db")) };
    let (socket, number) = (Path::new(&socket), MADE.fetch_add(1, Ordering::Relaxed));
    let name = format!("s{}_{number}", std::process::id());
    postgres::ask(socket, "postgres", &format!("CREATE DATABASE {name} TEMPLATE template0")).unwrap();
    StoreAt::Database(postgres::url(socket, &name).parse().unwrap())
}

pub(crate) struct World {
    pub(crate) folder: TempDir,
    store: StoreAt,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) double: Arc<Double>,
    pub(crate) running: Option<Running>,
    serving: Option<JoinHandle<()>>,
    pub(crate) client: Client,
    /// Where feeds come from.
    pub(crate) feeds: Vec<String>,
    /// Where policies come from.
    pub(crate) policies: Option<PolicySource>,
    /// Whether executors of other machines may come in.
    pub(crate) door: bool,
    /// How long what is old is kept.
    pub(crate) retention: Retention,
}

/// Somebody with a browser, signed in.
#[derive(Clone, Default)]
pub(crate) struct Client {
    pub(crate) base: String,
    pub(crate) cookie: String,
    pub(crate) csrf: String,
    pub(crate) http: reqwest::Client,
}

impl World {
    pub(crate) async fn new(host: Host) -> Self {
        Self::with_feeds(host, Vec::new()).await
    }

    pub(crate) async fn with_feeds(host: Host, feeds: Vec<String>) -> Self {
        let clock = Arc::new(TestClock::default());
        let double = Arc::new(Double::new(host, clock.clone()));
        let folder = tempfile::tempdir().unwrap();
        let mut world = Self {
            store: place(folder.path()),
            folder,
            clock,
            double,
            running: None,
            serving: None,
            client: Client::default(),
            feeds,
            policies: None,
            door: false,
            retention: Retention::default(),
        };
        world.start().await;
        world
    }

    /// The same, decided by policies: the double is then a host among others, not the server's own.
    pub(crate) async fn decided_by(host: Host, policies: PolicySource) -> Self {
        let mut world = Self::new(host).await;
        world.stop().await;
        world.policies = Some(policies);
        world.start().await;
        world
    }

    pub(crate) fn config(&self) -> Config {
        let mut config = Config::new(self.folder.path());
        config.store = self.store.clone();
        config.listen = Some("127.0.0.1:0".parse().unwrap());
        config.clock = self.clock.clone();
        config.bake = Duration::ZERO;
        config.retention = self.retention.clone();
        config.feeds.clone_from(&self.feeds);
        config.policies.clone_from(&self.policies);
        config.executors =
            self.door.then(|| Door { listen: "127.0.0.1:0".parse().unwrap(), names: vec!["127.0.0.1".to_owned()] });
        config.own = self.policies.as_ref().map(|_| BTreeSet::new());
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

    pub(crate) async fn start(&mut self) {
        self.start_unheard().await;
        self.running.as_ref().unwrap().gateway().register(&self.double.hello()).await.unwrap();
        self.plug();
    }

    /// The server alone: nobody calls it yet.
    pub(crate) async fn start_unheard(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let server = loop {
            match Server::open(self.config()).await {
                Ok(server) => break server,
                // The one before is being torn down.
                Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let running = server.start().await.unwrap();
        self.client = Client::sign_in(&running).await;
        self.running = Some(running);
    }

    /// Another machine joins, which lives as long as the server.
    pub(crate) async fn join(&self, number: u8, mut host: Host) -> Arc<Double> {
        host.machine = format!("machine-{number}");
        let double = Arc::new(Double::numbered(number, host, self.clock.clone()));
        let gateway = self.running.as_ref().unwrap().gateway();
        gateway.register(&double.hello()).await.unwrap();
        tokio::spawn(double.clone().serve(gateway));
        double
    }

    /// Nobody polls any more.
    pub(crate) async fn unplug(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
    }

    pub(crate) fn plug(&mut self) {
        let gateway = self.running.as_ref().unwrap().gateway();
        self.serving = Some(tokio::spawn(self.double.clone().serve(gateway)));
    }

    /// Ends the server without a word, as a crash does.
    pub(crate) async fn kill(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
        if let Some(running) = self.running.take() {
            running.kill().await;
        }
    }

    pub(crate) async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
        if let Some(serving) = self.serving.take() {
            let _ = serving.await;
        }
    }

    pub(crate) fn host(&self) -> MutexGuard<'_, Host> {
        self.double.host.lock().unwrap()
    }

    /// Waits until the items are there.
    pub(crate) async fn items(&self, count: usize) -> Vec<Value> {
        self.until("the items", async || {
            let list = self.client.get("/api/v1/items").await;
            let items = list["items"].as_array().unwrap().clone();
            let ready = items.iter().all(|item| item["decision"] != "not decided yet" && item["deployer"] != "unknown");
            (items.len() == count && ready).then_some(items)
        })
        .await
    }

    /// Asks for items and waits for the plan.
    pub(crate) async fn planned(&self, items: &[&str]) -> (String, String) {
        let created = self.client.post("/api/v1/remediations", json!({ "items": items })).await;
        let id = created["remediation"]["id"].as_str().unwrap_or_else(|| panic!("{created}")).to_owned();
        let one = self.state(&id, "awaiting_approval").await;
        (id, one["remediation"]["plan"].as_str().unwrap().to_owned())
    }

    pub(crate) async fn approve(&self, id: &str, plan: &str) {
        self.client.post(&format!("/api/v1/remediations/{id}/approve"), json!({ "plan_hash": plan })).await;
    }

    /// Asks for items and sees them through.
    pub(crate) async fn fixed(&self, items: &[&str]) -> String {
        let (id, plan) = self.planned(items).await;
        self.approve(&id, &plan).await;
        self.state(&id, "closed").await;
        id
    }

    pub(crate) async fn state(&self, id: &str, state: &str) -> Value {
        let path = format!("/api/v1/remediations/{id}");
        let mut last = Value::Null;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let one = self.client.get(&path).await;
            if one["remediation"]["state"] == state {
                return one;
            }
            last = if one["remediation"].is_null() { last } else { one };
            assert!(Instant::now() < deadline, "not {state} but {last:#}");
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    pub(crate) async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(Instant::now() < deadline, "waited in vain for {what}");
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Waits until the double has an order of this verb and keeps it.
    pub(crate) async fn at_gate(&self, verb: &'static str) {
        self.until(verb, async || self.host().at_gate.contains(&verb).then_some(())).await;
    }
}

impl Client {
    pub(crate) async fn sign_in(running: &Running) -> Self {
        let link = running.sign_in_link().unwrap().unwrap();
        let (base, token) = link.split_once("/sign-in?token=").unwrap();
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let answer = http
            .post(format!("{base}/sign-in"))
            .header("origin", base)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("token={token}"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        let set = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
        assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict"), "{set}");
        let cookie = set.split(';').next().unwrap().to_owned();
        let mut client = Self { base: base.to_owned(), cookie, csrf: String::new(), http };
        client.csrf = client.get("/api/v1/session").await["csrf"].as_str().unwrap().to_owned();
        client
    }

    /// A browser with the session that an answer began.
    pub(crate) async fn with_session(&self, answer: &reqwest::Response) -> Self {
        let cookies = answer.headers().get_all("set-cookie").iter().map(|set| set.to_str().unwrap());
        let set = cookies.into_iter().find(|set| set.starts_with("stanch_session=")).expect("a session");
        assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict"), "{set}");
        let cookie = set.split(';').next().unwrap().to_owned();
        let mut client = Self { cookie, csrf: String::new(), ..self.clone() };
        client.csrf = client.get("/api/v1/session").await["csrf"].as_str().unwrap().to_owned();
        client
    }

    /// Makes an account with these roles, accepts its invitation with a password, and gives its browser.
    pub(crate) async fn person(&self, name: &str, roles: &[(&str, &str)], password: &str) -> Self {
        self.post("/api/v1/people", json!({ "name": name, "email": format!("{name}@example.org") })).await;
        for (role, scope) in roles {
            self.grant(name, role, scope).await;
        }
        let invitation = self.post(&format!("/api/v1/people/{name}/invitation"), json!({})).await;
        let (_, token) = invitation["url"].as_str().unwrap().split_once("/invitation?token=").unwrap();
        let answer = self.stranger().accept(token, password).await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        self.with_session(&answer).await
    }

    pub(crate) async fn grant(&self, name: &str, role: &str, scope: &str) {
        let wanted = json!({ "person": name, "role": role, "scope": scope });
        let (status, text) = self.send(Method::POST, "/api/v1/grants", Some(wanted)).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{text}");
    }

    pub(crate) async fn accept(&self, token: &str, password: &str) -> reqwest::Response {
        let password = password.replace(' ', "+");
        self.fill("/invitation", &format!("token={token}&password={password}&again={password}")).await
    }

    pub(crate) async fn by_password(&self, name: &str, password: &str) -> reqwest::Response {
        self.fill("/sign-in/password", &format!("name={name}&password={}", password.replace(' ', "+"))).await
    }

    /// Sends a form as a page of the server does.
    pub(crate) async fn fill(&self, path: &str, fields: &str) -> reqwest::Response {
        let request = self.http.post(format!("{}{path}", self.base)).header("origin", &self.base);
        let request = request.header("cookie", &self.cookie);
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(fields.to_owned());
        request.send().await.unwrap()
    }

    /// The same browser without its session.
    pub(crate) fn stranger(&self) -> Self {
        Self { cookie: String::new(), csrf: String::new(), ..self.clone() }
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, String) {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if !self.cookie.is_empty() {
            request = request.header("cookie", &self.cookie);
        }
        if !self.csrf.is_empty() {
            request = request.header("x-csrf-token", &self.csrf);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, text) = self.send(Method::GET, path, None).await;
        assert!(status.is_success(), "GET {path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) async fn page(&self, path: &str) -> String {
        let (status, text) = self.send(Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "GET {path}: {text}");
        text
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let (status, text) = self.send(Method::POST, path, Some(body)).await;
        assert!(status.is_success(), "POST {path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// A request that must be refused: its status and code.
    pub(crate) async fn refused(&self, path: &str, body: Value) -> (u16, String) {
        let (status, text) = self.send(Method::POST, path, Some(body)).await;
        let problem: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("POST {path}: {status} {text}"));
        assert_eq!(problem["status"], status.as_u16());
        (status.as_u16(), problem["code"].as_str().unwrap_or_default().to_owned())
    }

    pub(crate) async fn raw(&self, headers: &[(&str, &str)], path: &str) -> reqwest::Response {
        let mut request = self.http.get(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    pub(crate) async fn form(&self, path: &str, fields: &str) -> (StatusCode, String) {
        let answer = self
            .http
            .post(format!("{}{path}", self.base))
            .header("cookie", &self.cookie)
            .header("origin", &self.base)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(fields.to_owned())
            .send()
            .await
            .unwrap();
        let to = answer.headers().get("location").map(|to| to.to_str().unwrap().to_owned());
        (answer.status(), to.unwrap_or_default())
    }
}
