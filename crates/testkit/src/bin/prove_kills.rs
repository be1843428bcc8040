//! A server that is killed again and again while rollouts run.
//!
//! `prove_kills [KILLS] [SEED]` starts one real server as a process of its own and 20 real executors with their journals,
//! whose package upgrade is a double that takes a moment. Rollouts follow one another, decided by signed policies, in
//! two waves, four hosts at once. At random times the server is ended with `kill -9` and started again on the same
//! folder. At the end: never more hosts at work than the policy lets, every version brought to every host once, every
//! remediation closed, nothing waiting for a person, and a ledger that verifies.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stanch_action::Catalogue;
use stanch_model::asset::{Asset, AssetKind};
use stanch_model::canonical;
use stanch_model::id::ExecutorId;
use stanch_model::order::{Batch, Hello, Order, Progress, Receipt};
use stanch_model::sign::{Signed, VerifyingKey};
use stanch_model::trust::Chain;
use stanch_runner::{Config as RunnerConfig, Link, LinkError, NoRules, Runner, Shutdown, Tools, serve};
use stanch_server::{Config, Intervals, PolicySource, Server};
use stanch_testkit::chance::Chance;
use stanch_testkit::claims::Claims;
use stanch_testkit::shop::{Double, Shop, facts};
use stanch_testkit::tool;
use stanch_testkit::visitor::{Visitor, load, part};
use stanch_testkit::wait_until;

const HOSTS: usize = 20;
/// Hosts at work at once, as the policy has it.
const AT_ONCE: usize = 4;
/// How long the double takes to upgrade.
const WORK: Duration = Duration::from_millis(700);
/// The server is left alone for so long, at random between the two.
const BETWEEN_KILLS: (u64, u64) = (300, 4_000);
/// How long anything may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(600);
/// An answer of the server that does not come within this is not waited for.
const ANSWER: Duration = Duration::from_secs(40);

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some("--server") => {
            let mut word = || words.next().context("--server FOLDER POLICIES PORT");
            be_server(Path::new(&word()?), Path::new(&word()?), word()?.parse()?)
        }
        kills => {
            let kills = kills.map_or(Ok(200), str::parse).context("how many kills?")?;
            let seed = words.next().map_or(Ok(1), |text| text.parse()).context("which seed?")?;
            prove(kills, seed)
        }
    }
}

fn prove(kills: u32, seed: u64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let estate = Estate::begin(&runtime)?;
    let mut chance = Chance::new(seed);
    let (mut rounds, mut recoveries, mut killed) = (0_u32, Vec::new(), 0_u32);
    let began = Instant::now();
    while killed < kills {
        rounds += 1;
        let version = estate.offer(rounds);
        let mut next = Instant::now() + chance.between(BETWEEN_KILLS);
        let round = Instant::now();
        while !estate.done(&version)? {
            if killed < kills && Instant::now() >= next {
                recoveries.push(estate.kill()?);
                killed += 1;
                next = Instant::now() + chance.between(BETWEEN_KILLS);
                if killed.is_multiple_of(20) {
                    eprintln!("{killed} kills, round {rounds}, {} s", began.elapsed().as_secs());
                }
            }
            if round.elapsed() > PATIENCE {
                bail!("round {rounds} is stuck: {}", estate.where_it_stands());
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }
    let seconds = began.elapsed().as_secs();
    let visitor = estate.visitor()?;
    let all = visitor.get("/api/v1/remediations")?;
    let states: Vec<&str> =
        all.as_array().into_iter().flatten().filter_map(|one| part(one, "state").as_str()).collect();
    let closed = states.iter().filter(|state| **state == "closed").count();
    let verified = visitor.get("/api/v1/ledger/verify")?;
    recoveries.sort_unstable();
    let at = |percent: usize| recoveries.get((recoveries.len() * percent / 100).min(recoveries.len() - 1));
    let mut claims = Claims::new();
    let figures = json!({"kills": killed, "rounds": rounds, "hosts": HOSTS, "seconds": seconds, "seed": seed,
        "recovery_ms_median": at(50), "recovery_ms_p99": at(99), "recovery_ms_slowest": recoveries.last(),
        "load": load()});
    claims.claim("the server comes back", true, figures, String::new);
    let most = estate.shop.most();
    claims.claim("budgets hold", most <= AT_ONCE, json!({"most_at_once": most, "limit": AT_ONCE}), || {
        format!("{most} hosts were at work at once")
    });
    let twice = estate.shop.twice();
    let brought = estate.shop.done().len();
    claims.claim(
        "nothing runs twice",
        twice.is_empty() && brought == HOSTS * rounds as usize,
        json!({"upgrades": brought, "expected": HOSTS * rounds as usize, "twice": twice.len()}),
        || format!("{twice:?}"),
    );
    claims.claim(
        "nothing is stuck",
        closed == states.len(),
        json!({"remediations": states.len(), "closed": closed}),
        || format!("{states:?}"),
    );
    claims.claim(
        "the ledger verifies",
        part(&verified, "good") == &Value::Bool(true),
        json!({"entries": part(&verified, "entries")}),
        || verified.to_string(),
    );
    claims.end()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What executors ask of the server's process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ask {
    Register(Box<Hello>),
    Poll(Box<Hello>),
    Receipt(Box<Signed<Receipt>>),
    Progress(Progress),
}

#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    id: u64,
    ask: Ask,
}

/// What it answers; the first line tells that it is up.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    Up { root: VerifyingKey, link: Option<String> },
    Batch { id: u64, chain: Box<Chain>, orders: Vec<Signed<Order>> },
    Done { id: u64 },
    Refused { id: u64, why: String },
}

/// The server's process: executors reach it over its standard streams, people over its port.
fn be_server(folder: &Path, policies: &Path, port: u16) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut config = Config::new(folder);
    config.listen = Some((Ipv4Addr::LOCALHOST, port).into());
    config.own = Some(std::collections::BTreeSet::new());
    config.policies = Some(PolicySource::folder(policies.to_owned(), Some(tool::key()?.verifying_key())));
    config.intervals = Intervals {
        tick: Duration::from_millis(200),
        park: Duration::from_secs(5),
        observe: Duration::from_secs(5),
        gather: Duration::from_secs(6),
        decide: Duration::from_secs(2),
        ..Intervals::default()
    };
    let running = runtime.block_on(async { Server::open(config).await?.start().await })?;
    let gateway = running.gateway();
    let (say, said) = mpsc::channel::<Said>();
    // Who is not signed in yet gets a link; a session outlives the process.
    let link = if folder.join("signed-in").exists() { None } else { running.sign_in_link()? };
    say.send(Said::Up { root: gateway.root_key(), link })?;
    std::thread::spawn(move || {
        let mut out = std::io::stdout().lock();
        for line in said {
            if serde_json::to_writer(&mut out, &line).is_err() || writeln!(out).is_err() || out.flush().is_err() {
                return;
            }
        }
    });
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let Asked { id, ask } = serde_json::from_str(&line)?;
        let (gateway, say) = (gateway.clone(), say.clone());
        runtime.spawn(async move {
            let done = |done: Result<(), stanch_server::GatewayError>| match done {
                Ok(()) => Said::Done { id },
                Err(error) => Said::Refused { id, why: error.to_string() },
            };
            let answer = match ask {
                Ask::Register(hello) => done(gateway.register(&hello).await),
                Ask::Poll(hello) => match gateway.poll(*hello).await {
                    Ok(batch) => Said::Batch { id, chain: Box::new(batch.chain), orders: batch.orders },
                    Err(error) => Said::Refused { id, why: error.to_string() },
                },
                Ask::Receipt(receipt) => done(gateway.receipt(*receipt).await),
                Ask::Progress(word) => {
                    gateway.progress(word).await;
                    Said::Done { id }
                }
            };
            let _ = say.send(answer);
        });
    }
    Ok(())
}

/// One life of the server's process.
struct Life {
    child: Mutex<Child>,
    input: Mutex<ChildStdin>,
    waiting: Mutex<HashMap<u64, mpsc::Sender<Said>>>,
    over: AtomicBool,
    next: AtomicU64,
}

impl Life {
    fn begin(folder: &Path, policies: &Path, port: u16) -> Result<(Arc<Self>, VerifyingKey, Option<String>)> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--server").arg(folder).arg(policies).arg(port.to_string());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start a server")?;
        let input = child.stdin.take().context("no pipe")?;
        let mut output = BufReader::new(child.stdout.take().context("no pipe")?).lines();
        let first = output.next().context("the server did not come up")??;
        let Said::Up { root, link } = serde_json::from_str(&first)? else { bail!("the server said {first}") };
        let life = Arc::new(Self {
            child: Mutex::new(child),
            input: Mutex::new(input),
            waiting: Mutex::default(),
            over: AtomicBool::new(false),
            next: AtomicU64::new(0),
        });
        let hearing = Arc::clone(&life);
        std::thread::spawn(move || {
            for line in output.map_while(Result::ok) {
                let Ok(said) = serde_json::from_str::<Said>(&line) else { continue };
                let (Said::Batch { id, .. } | Said::Done { id } | Said::Refused { id, .. }) = &said else { continue };
                if let Some(waits) = locked(&hearing.waiting).remove(id) {
                    let _ = waits.send(said);
                }
            }
            hearing.over.store(true, Ordering::SeqCst);
            // Whoever waits sees that nobody will answer.
            locked(&hearing.waiting).clear();
        });
        Ok((life, root, link))
    }

    fn ask(&self, ask: Ask) -> Result<Said, LinkError> {
        let unreachable = |message: &str| LinkError::Unreachable { message: message.to_owned() };
        let id = self.next.fetch_add(1, Ordering::SeqCst);
        let (tell, told) = mpsc::channel();
        locked(&self.waiting).insert(id, tell);
        if self.over.load(Ordering::SeqCst) {
            locked(&self.waiting).remove(&id);
            return Err(unreachable("the server is gone"));
        }
        let line = serde_json::to_string(&Asked { id, ask }).map_err(|error| unreachable(&error.to_string()))?;
        writeln!(locked(&self.input), "{line}").map_err(|error| unreachable(&error.to_string()))?;
        match told.recv_timeout(ANSWER).map_err(|_| unreachable("the server did not answer"))? {
            Said::Refused { why, .. } => Err(unreachable(&why)),
            said => Ok(said),
        }
    }

    fn kill(&self) -> Result<()> {
        let mut child = locked(&self.child);
        child.kill()?;
        child.wait()?;
        Ok(())
    }
}

/// The way to whichever server lives now.
struct Way {
    life: Mutex<Option<Arc<Life>>>,
    answered: Mutex<Option<Instant>>,
}

impl Way {
    fn life(&self) -> Result<Arc<Life>, LinkError> {
        locked(&self.life).clone().ok_or_else(|| LinkError::Unreachable { message: "no server lives".to_owned() })
    }
}

/// An executor's link.
struct ToServer {
    way: Arc<Way>,
    /// The server that knows it.
    known: Mutex<Option<Arc<Life>>>,
}

impl Link for ToServer {
    fn poll(&self, hello: Hello) -> Result<Option<Batch>, LinkError> {
        let life = self.way.life()?;
        let stranger = locked(&self.known).as_ref().is_none_or(|known| !Arc::ptr_eq(known, &life));
        if stranger {
            life.ask(Ask::Register(Box::new(hello.clone())))?;
            *locked(&self.known) = Some(Arc::clone(&life));
        }
        match life.ask(Ask::Poll(Box::new(hello)))? {
            Said::Batch { chain, orders, .. } => {
                locked(&self.way.answered).get_or_insert_with(Instant::now);
                Ok(Some(Batch { chain: *chain, orders }))
            }
            _ => Ok(None),
        }
    }

    fn deliver(&self, receipt: &Signed<Receipt>) -> Result<(), LinkError> {
        self.way.life()?.ask(Ask::Receipt(Box::new(receipt.clone()))).map(drop)
    }

    fn progress(&self, progress: Progress) {
        if let Ok(life) = self.way.life() {
            let _ = life.ask(Ask::Progress(progress));
        }
    }
}

/// The server, its executors, and the folders of all of them.
struct Estate {
    way: Arc<Way>,
    shop: Arc<Shop>,
    folder: PathBuf,
    policies: PathBuf,
    port: u16,
    visitor: Visitor,
    _scratch: tempfile::TempDir,
}

impl Estate {
    fn begin(runtime: &tokio::runtime::Runtime) -> Result<Self> {
        let scratch = tempfile::tempdir()?;
        let (folder, policies) = (scratch.path().join("server"), scratch.path().join("policies"));
        std::fs::create_dir(&policies)?;
        tool::decide(&policies, &tool::policy("paperclip", "{count: 2, bake: 1s}, {percent: 100}", AT_ONCE))?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let (life, root, link) = Life::begin(&folder, &policies, port)?;
        let visitor = Visitor::sign_in(runtime.handle(), &link.context("no link to sign in with")?)?;
        std::fs::write(folder.join("signed-in"), "")?;
        let way = Arc::new(Way { life: Mutex::new(Some(life)), answered: Mutex::default() });
        let shop = Arc::new(Shop::new(WORK));
        for host in 0..HOSTS {
            executor(host, &scratch.path().join(format!("executor-{host}")), root, &way, &shop)?;
        }
        wait_until("the policies are in force", PATIENCE, || {
            let told = visitor.get("/api/v1/policies")?;
            if !part(&told, "refused").is_null() {
                bail!("the policies are refused: {}", part(&told, "refused"));
            }
            Ok(!part(&told, "digest").is_null())
        })?;
        Ok(Self { way, shop, folder, policies, port, visitor, _scratch: scratch })
    }

    /// Another version is on offer for all hosts.
    fn offer(&self, round: u32) -> String {
        let version = format!("3.0.{round}-1");
        self.shop.offer(&version);
        version
    }

    /// Whether all hosts have it, and nothing is left to do.
    fn done(&self, version: &str) -> Result<bool> {
        if (0..HOSTS).any(|host| self.shop.version(host) != version) {
            return Ok(false);
        }
        // A server that comes up is asked again.
        let Ok(open) = self.visitor.get("/api/v1/remediations?open=true") else { return Ok(false) };
        let Ok(newest) = self.visitor.newest() else { return Ok(false) };
        Ok(open.as_array().is_some_and(Vec::is_empty) && !newest.is_null())
    }

    /// Ends the server as a crash does and starts it again; milliseconds until an executor is answered by the new one.
    fn kill(&self) -> Result<u64> {
        let life = locked(&self.way.life).take().context("no server lives")?;
        let began = Instant::now();
        life.kill()?;
        *locked(&self.way.answered) = None;
        let (life, _, _) = Life::begin(&self.folder, &self.policies, self.port)?;
        *locked(&self.way.life) = Some(life);
        wait_until("an executor is answered", PATIENCE, || Ok(locked(&self.way.answered).is_some()))?;
        Ok(u64::try_from(began.elapsed().as_millis())?)
    }

    fn visitor(&self) -> Result<&Visitor> {
        wait_until("the server answers", PATIENCE, || Ok(self.visitor.get("/api/v1/status").is_ok()))?;
        Ok(&self.visitor)
    }

    fn where_it_stands(&self) -> String {
        let tell =
            |path: &str| self.visitor.get(path).map_or_else(|error| error.to_string(), |value| value.to_string());
        let newest = self.visitor.newest().unwrap_or_default();
        let id = part(&newest, "id").as_str().unwrap_or_default();
        format!("{}\n{}", tell("/api/v1/remediations?open=true"), tell(&format!("/api/v1/remediations/{id}")))
    }
}

/// One executor with its own journal, in threads of this process.
fn executor(host: usize, folder: &Path, root: VerifyingKey, way: &Arc<Way>, shop: &Arc<Shop>) -> Result<()> {
    let name = format!("web-{host:02}");
    let asset = Asset::unlabelled(AssetKind::Host, &name, &name);
    let id = ExecutorId::from_digest(&canonical::digest("stanch/executor/v1", &asset.id)?);
    let seed = [u8::try_from(host + 1).context("at most 255 hosts")?; 32];
    let runner = Runner::open(folder, RunnerConfig::new(id, asset.clone(), root, "boot", seed))?;
    let catalogue = Catalogue::new()
        .with(Box::new(Double::new("package.upgrade", host, shop)))
        .with(Box::new(Double::new("service.restart", host, shop)));
    let link = ToServer { way: Arc::clone(way), known: Mutex::default() };
    let shop = Arc::clone(shop);
    std::thread::spawn(move || {
        let shutdown = Shutdown::new();
        let facts = |_refresh: bool| facts(host, &asset, &shop);
        let tools = Tools {
            catalogue: &catalogue,
            facts: &facts,
            guard: &NoRules,
            rehearse: None,
            progress: &|word| link.progress(word),
            shutdown: &shutdown,
        };
        if let Err(error) = serve(&runner, &link, &tools) {
            eprintln!("{name}: {error}");
        }
    });
    Ok(())
}
