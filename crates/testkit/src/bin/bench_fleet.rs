//! Many agents on one server: real TLS, the real protocol, and nothing behind it.
//!
//! `bench_fleet STANCH [AGENTS]` starts that program as a server of its own process, enrols so many simulated agents
//! (1,000), lets them connect at once, looks at the server while they wait, and then holds everything: until every agent
//! has been told. What the agents cost is theirs: the server's figures are its own process's.

use std::io::BufRead as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stanch_model::asset::{Asset, AssetKind};
use stanch_model::enrol::{Certified, Enrol, EnrolmentToken, executor_id};
use stanch_model::order::{Answer, Batch, Held, Hello, Order, Position, Receipt, Verb};
use stanch_model::sign::{Signed, SigningKey};
use stanch_model::{Digest, Timestamp};
use stanch_testkit::visitor::{load, part};
use tokio::sync::{Semaphore, mpsc};

/// Agents that enrol at once.
const TOGETHER: usize = 32;
/// How long the server is looked at while all agents wait.
const AT_REST: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(600);

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let program = PathBuf::from(words.next().context("bench_fleet STANCH [AGENTS]")?);
    let agents = words.next().map_or(Ok(1_000), |text| text.parse()).context("how many agents?")?;
    let folder = tempfile::tempdir()?;
    let server = Server::start(&program, folder.path())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let made = server.ask(&["enrolment", "token", "bench", "--uses", &agents.to_string(), "--confirmed"])?;
    let token: EnrolmentToken = part(&made, "token").as_str().context("a token")?.parse()?;

    let began = Instant::now();
    let fleet = runtime.block_on(enrol_all(&server.door, &token, agents))?;
    let enrolled = began.elapsed().as_secs_f64();
    let (before, busy) = (server.memory_kb()?, load());

    let began = Instant::now();
    let (told, mut held) = mpsc::unbounded_channel();
    let polling = Arc::new(AtomicUsize::new(0));
    for agent in fleet {
        runtime.spawn(agent.serve(told.clone(), Arc::clone(&polling)));
    }
    server.until("every agent is connected", |server| {
        let all = server.ask_all(&["executors", "list"])?;
        Ok(all.iter().filter(|one| *part(one, "connected") == true).count() >= agents
            && polling.load(Ordering::Relaxed) >= agents)
    })?;
    let connected = began.elapsed().as_secs_f64();
    // What is read first of each is behind them.
    std::thread::sleep(Duration::from_secs(20));
    let waiting = server.memory_kb()?;
    let spent = server.cpu_seconds()?;
    std::thread::sleep(AT_REST);
    let at_rest = (server.cpu_seconds()? - spent) / AT_REST.as_secs_f64();

    let pressed = Timestamp::now();
    server.ask(&["hold", "set", "a drill"])?;
    let mut late = Vec::with_capacity(agents);
    runtime.block_on(async {
        while late.len() < agents {
            let at: Timestamp = tokio::time::timeout(PATIENCE, held.recv()).await?.context("all agents ended")?;
            late.push(at.duration_since(pressed).as_millis());
        }
        Ok::<(), anyhow::Error>(())
    })?;
    late.sort_unstable();
    let at = |part: usize| late.get((late.len() * part / 100).min(late.len() - 1)).copied().unwrap_or_default();
    println!(
        "{}",
        json!({"name": format!("{agents}-agents"), "holds": at(99) <= 1_000, "figures": {
            "agents": agents, "load": busy, "enrolled_seconds": enrolled, "connected_seconds": connected,
            "kb_an_agent": (waiting.saturating_sub(before)) as f64 / agents as f64,
            "server_mb": waiting / 1024, "cores_at_rest": (at_rest * 1000.0).round() / 1000.0,
            "hold_ms_median": at(50), "hold_ms_p99": at(99), "hold_ms_slowest": late.last(),
        }})
    );
    Ok(())
}

/// The server, as a process of its own.
struct Server {
    program: PathBuf,
    folder: PathBuf,
    child: Child,
    door: String,
}

impl Server {
    fn start(program: &Path, folder: &Path) -> Result<Self> {
        let free = || Ok::<_, anyhow::Error>(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.to_string());
        let (pages, door) = (free()?, free()?);
        let mut child = Command::new(program)
            .args(["server", "--listen", &pages, "--executors", &door, "--executors-name", "127.0.0.1", "--data-dir"])
            .arg(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("the server does not start")?;
        let output = child.stdout.take().context("no pipe")?;
        let mut line = String::new();
        std::io::BufReader::new(output).read_line(&mut line)?;
        ensure!(line.contains("/sign-in?token="), "the server said {line}");
        Ok(Self { program: program.to_owned(), folder: folder.to_owned(), child, door: format!("https://{door}") })
    }

    /// What a command answers, line by line.
    fn ask_all(&self, words: &[&str]) -> Result<Vec<Value>> {
        let output =
            Command::new(&self.program).args(words).arg("--json").arg("--data-dir").arg(&self.folder).output()?;
        if !output.status.success() {
            bail!("{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| Ok(serde_json::from_slice(line)?)).collect()
    }

    fn ask(&self, words: &[&str]) -> Result<Value> {
        Ok(self.ask_all(words)?.into_iter().next().unwrap_or(Value::Null))
    }

    fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> Result<bool>) -> Result<()> {
        stanch_testkit::wait_until(what, PATIENCE, || holds(self))
    }

    fn memory_kb(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        line.split_whitespace().nth(1).context("no number")?.parse().context("no number")
    }

    fn cpu_seconds(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        Ok((ticks(11) + ticks(12)) / 100.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An agent with nothing behind it.
struct Agent {
    http: reqwest::Client,
    door: String,
    key: SigningKey,
    hello: Hello,
}

async fn enrol_all(door: &str, token: &EnrolmentToken, agents: usize) -> Result<Vec<Agent>> {
    let stranger = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).no_proxy().build()?;
    let authority = stranger.get(format!("{door}/executor/v1/authority")).send().await?.text().await?;
    let slots = Arc::new(Semaphore::new(TOGETHER));
    let mut going = Vec::with_capacity(agents);
    for number in 0..agents {
        let (door, secret, authority) = (door.to_owned(), token.secret(), authority.clone());
        let (stranger, slots) = (stranger.clone(), Arc::clone(&slots));
        going.push(tokio::spawn(async move {
            let _slot = slots.acquire_owned().await?;
            let asset = Asset::unlabelled(AssetKind::Host, &format!("machine-{number}"), &format!("host-{number}"));
            let mut seed = [0; 32];
            if let Some((front, _)) = seed.split_first_chunk_mut::<8>() {
                *front = (number as u64 + 1).to_be_bytes();
            }
            let key = SigningKey::from_seed(&seed)?;
            let hello = Hello {
                executor: executor_id(&asset.id),
                key: key.verifying_key(),
                asset,
                position: Position::default(),
                actions: vec!["package.upgrade".to_owned()],
                boot_id: "boot".to_owned(),
                counter: 1,
                journal_head: Digest::of_bytes(b"head"),
                nonce: 1,
                held: Some(Held::No),
                abilities: None,
                issuer: 0,
                version: None,
                restored: Vec::new(),
                turned_away: Vec::new(),
                deltas: 0,
            };
            let own = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
            let request = rcgen::CertificateParams::default().serialize_request(&own)?.pem()?;
            let asked = Signed::new(Enrol { secret, hello: hello.clone(), request }, &key)?;
            let certified: Certified = say(&stranger, &door, "enrol", &asked).await?.context("no certificate")?;
            let identity = format!("{}{}", certified.certificate, own.serialize_pem());
            let http = reqwest::Client::builder()
                .tls_certs_only([reqwest::Certificate::from_pem(authority.as_bytes())?])
                .identity(reqwest::Identity::from_pem(identity.as_bytes())?)
                .no_proxy()
                .build()?;
            Ok::<Agent, anyhow::Error>(Agent { http, door, key, hello })
        }));
    }
    let mut fleet = Vec::with_capacity(agents);
    for one in going {
        fleet.push(one.await??);
    }
    Ok(fleet)
}

async fn say<T: DeserializeOwned>(
    http: &reqwest::Client,
    door: &str,
    path: &str,
    body: &impl Serialize,
) -> Result<Option<T>> {
    let answer = http.post(format!("{door}/executor/v1/{path}")).json(body).send().await?;
    match answer.status().as_u16() {
        204 => Ok(None),
        200 => Ok(Some(answer.json().await?)),
        status => bail!("{path}: {status} {}", answer.text().await?),
    }
}

impl Agent {
    async fn serve(mut self, told: mpsc::UnboundedSender<Timestamp>, polling: Arc<AtomicUsize>) {
        polling.fetch_add(1, Ordering::Relaxed);
        let mut pause = Duration::from_millis(250);
        loop {
            self.hello.counter += 1;
            self.hello.nonce += 1;
            match say::<Batch>(&self.http, &self.door, "orders", &self.hello).await {
                Ok(batch) => {
                    pause = Duration::from_millis(250);
                    for order in batch.into_iter().flat_map(|batch| batch.orders) {
                        self.answer(order.body, &told).await;
                    }
                }
                Err(_) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
            }
        }
    }

    async fn answer(&mut self, order: Order, told: &mpsc::UnboundedSender<Timestamp>) {
        if order.position <= self.hello.position {
            return;
        }
        self.hello.position = order.position;
        let answer = match order.verb {
            Verb::Hold { .. } => {
                self.hello.held = Some(Held::StopNew);
                // Whoever counts may have gone home.
                let _ = told.send(Timestamp::now());
                Answer::Held { held: true }
            }
            Verb::Release => {
                self.hello.held = Some(Held::No);
                Answer::Held { held: false }
            }
            _ => Answer::Refused { message: "nothing is behind it".to_owned(), hint: None },
        };
        let receipt = Receipt {
            order: order.id,
            executor: order.executor,
            position: order.position,
            at: Timestamp::now(),
            journal_head: Digest::of_bytes(b"head"),
            answer,
        };
        if let Ok(signed) = Signed::new(receipt, &self.key) {
            drop(say::<Value>(&self.http, &self.door, "receipts", &signed).await);
        }
    }
}
