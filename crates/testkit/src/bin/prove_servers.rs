//! Several servers over one PostgreSQL and one NATS, of which anything is killed or cut off at any time while a rollout
//! runs over many agents.
//!
//! `prove_servers STANCH [AGENTS] [BLOWS] [SEED]` starts that program as two servers, each in a network namespace of its
//! own, and so many agents (1,000) with real journals over real mutual TLS, whose package upgrade is a double. Policies
//! bring version after version to all of them, in two waves, fifty at once. At random a blow falls: `kill -9` of the
//! server that leads, of the one that does not, of NATS, of PostgreSQL with all of its processes, or a cable is pulled
//! for some seconds. At the end: no upgrade ran twice, never more hosts at work than the policy lets, nothing is stuck,
//! and the ledger verifies.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use stanch_model::enrol::EnrolmentToken;
use stanch_testkit::chance::Chance;
use stanch_testkit::claims::Claims;
use stanch_testkit::crowd::Crowd;
use stanch_testkit::lan::Lan;
use stanch_testkit::nats::Nats;
use stanch_testkit::postgres::Cluster;
use stanch_testkit::shop::Shop;
use stanch_testkit::tool;
use stanch_testkit::visitor::{load, part};
use stanch_testkit::wait_until;

/// Hosts at work at once, as the policy has it.
const AT_ONCE: usize = 50;
/// How long the double takes to upgrade.
const WORK: Duration = Duration::from_millis(700);
/// Nothing is touched for so long between two blows, at random between the two.
const BETWEEN: (u64, u64) = (2_000, 9_000);
/// A cable is pulled for so long.
const PULLED: (u64, u64) = (1_000, 15_000);
const PATIENCE: Duration = Duration::from_secs(1_200);
const DOOR: u16 = 7443;

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let program = PathBuf::from(words.next().context("prove_servers STANCH [AGENTS] [BLOWS] [SEED]")?);
    let agents = words.next().map_or(Ok(1_000), |text| text.parse()).context("how many agents?")?;
    let blows = words.next().map_or(Ok(40), |text| text.parse()).context("how many blows?")?;
    let seed: u64 = words.next().map_or(Ok(1), |text| text.parse()).context("which seed?")?;
    Lan::apart()?;
    let _lan = Lan::new()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    prove(&runtime, &program, agents, blows, seed)
}

fn prove(runtime: &tokio::runtime::Runtime, program: &Path, agents: usize, blows: u32, seed: u64) -> Result<()> {
    let mut estate = Estate::begin(program)?;
    let shop = Arc::new(Shop::new(WORK));
    let answered = Arc::new(AtomicU64::new(0));
    shop.offer("3.0.0-1");
    let began = Instant::now();
    enrol_all(runtime, &estate, agents, &shop, &answered)?;
    let enrolled = began.elapsed().as_secs_f64();
    let mut chance = Chance::new(seed);
    let mut recoveries: BTreeMap<&'static str, Vec<u64>> = BTreeMap::new();
    let (mut rounds, mut fallen) = (0_u32, 0_u32);
    let began = Instant::now();
    while fallen < blows {
        rounds += 1;
        let version = format!("3.0.{rounds}-1");
        shop.offer(&version);
        let round = Instant::now();
        let mut next = Instant::now() + chance.between(BETWEEN);
        while !estate.done(&shop, agents, &version)? {
            if fallen < blows && Instant::now() >= next {
                let (what, took) = estate.strike(&mut chance, &answered)?;
                recoveries.entry(what).or_default().push(took);
                fallen += 1;
                eprintln!("{fallen} blows ({what}, {took} ms), round {rounds}, {} s", began.elapsed().as_secs());
                next = Instant::now() + chance.between(BETWEEN);
            }
            if round.elapsed() > PATIENCE {
                bail!("round {rounds} is stuck: {}", estate.where_it_stands());
            }
            std::thread::park_timeout(Duration::from_millis(200));
        }
    }
    let seconds = began.elapsed().as_secs();
    let all = estate.ask(&["history"])?;
    let open = estate.open()?;
    let verified = estate.ask(&["audit", "verify"]);
    let mut claims = Claims::new();
    let figures: BTreeMap<&str, Value> = recoveries
        .into_iter()
        .map(|(what, mut all)| {
            all.sort_unstable();
            let at = |percent: usize| all.get((all.len() * percent / 100).min(all.len() - 1)).copied();
            (what, json!({"blows": all.len(), "ms_median": at(50), "ms_slowest": all.last()}))
        })
        .collect();
    let told = json!({"agents": agents, "servers": 2, "blows": fallen, "rounds": rounds, "seconds": seconds,
        "seed": seed, "enrolled_seconds": enrolled, "load": load(), "until_all_are_answered": figures});
    claims.claim("everybody is answered again", true, told, String::new);
    let most = shop.most();
    claims.claim("budgets hold", most <= AT_ONCE, json!({"most_at_once": most, "limit": AT_ONCE}), || {
        format!("{most} hosts were at work at once")
    });
    let (twice, brought) = (shop.twice(), shop.done().len());
    let expected = agents * rounds as usize;
    claims.claim(
        "nothing runs twice",
        twice.is_empty() && brought == expected,
        json!({"upgrades": brought, "expected": expected, "twice": twice.len()}),
        || format!("{twice:?}"),
    );
    claims.claim("nothing is stuck", open.is_empty(), json!({"remediations": all.len(), "open": open.len()}), || {
        format!("{open:?}")
    });
    claims.claim("the ledger verifies", verified.is_ok(), json!({"said": verified.as_ref().ok()}), || {
        format!("{verified:?}")
    });
    claims.end()
}

/// A server in a network namespace of its own.
struct Server {
    name: String,
    folder: PathBuf,
    address: Ipv4Addr,
    child: Option<Child>,
}

/// Two servers and what they stand on.
struct Estate {
    program: PathBuf,
    scratch: tempfile::TempDir,
    postgres: Cluster,
    nats: Nats,
    servers: Vec<Server>,
}

impl Estate {
    fn begin(program: &Path) -> Result<Self> {
        let scratch = tempfile::tempdir()?;
        let here = Lan::here();
        let postgres = Cluster::start_at(true, Some((here, "10.77.0.0/16")))?;
        let url = postgres.url_at(here, "postgres");
        std::fs::write(scratch.path().join("database"), url)?;
        let nats = Nats::start(SocketAddr::new(here, 4222))?;
        let policies = scratch.path().join("policies");
        std::fs::create_dir(&policies)?;
        tool::decide(&policies, &tool::policy("paperclip", "{count: 10, bake: 1s}, {percent: 100}", AT_ONCE))?;
        let mut estate = Self { program: program.to_owned(), scratch, postgres, nats, servers: Vec::new() };
        for number in 1..=2_u8 {
            let name = format!("server{number}");
            let address = Ipv4Addr::new(10, 77, 9, number);
            network(&name, address)?;
            let folder = estate.scratch.path().join(&name);
            if let Some(first) = estate.servers.first() {
                // All servers of an installation have its keys.
                make_private(&folder)?;
                copy(&first.folder.join("keys"), &folder.join("keys"))?;
            }
            estate.servers.push(Server { name, folder, address, child: None });
            estate.start(estate.servers.len() - 1)?;
            if number == 1 {
                wait_until("the first server leads and has policies", PATIENCE, || {
                    // Until they are in force the command fails.
                    Ok(estate.ask(&["policy", "status"]).is_ok())
                })?;
            }
        }
        Ok(estate)
    }

    fn start(&mut self, number: usize) -> Result<()> {
        let (program, scratch) = (self.program.clone(), self.scratch.path().to_owned());
        let nats = self.nats.url();
        let server = self.servers.get_mut(number).context("no such server")?;
        let log =
            std::fs::File::options().create(true).append(true).open(scratch.join(format!("{}.log", server.name)))?;
        let child = Command::new("ip")
            .args(["netns", "exec", &server.name])
            .arg(program)
            .args(["server", "--listen", "127.0.0.1:7070", "--every", "1", "--executors"])
            .arg(format!("{}:{DOOR}", server.address))
            .args(["--executors-name", &server.address.to_string(), "--nats-url", &nats, "--database-url-file"])
            .arg(scratch.join("database"))
            .arg("--policies")
            .arg(scratch.join("policies"))
            .args(["--policies-key", &tool::key()?.verifying_key().to_string(), "--data-dir"])
            .arg(&server.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("a server does not start")?;
        server.child = Some(child);
        let socket = server.folder.join("control.sock");
        let name = server.name.clone();
        wait_until(&format!("{name} is up"), PATIENCE, || {
            let server = self.servers.get_mut(number).context("no such server")?;
            if let Some(ended) = server.child.as_mut().context("no child")?.try_wait()? {
                bail!("{name} ended ({ended}): {}", std::fs::read_to_string(scratch.join(format!("{name}.log")))?);
            }
            Ok(std::os::unix::net::UnixStream::connect(&socket).is_ok())
        })
    }

    /// What a command answers at whichever server answers.
    fn ask(&self, words: &[&str]) -> Result<Vec<Value>> {
        let mut why = String::new();
        for server in &self.servers {
            let output = Command::new(&self.program)
                .args(words)
                .arg("--json")
                .arg("--data-dir")
                .arg(&server.folder)
                .stdin(Stdio::null())
                .output()?;
            if output.status.success() {
                let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                return lines.map(|line| Ok(serde_json::from_slice(line)?)).collect();
            }
            why = String::from_utf8_lossy(&output.stderr).into_owned();
        }
        bail!("{words:?}: {why}")
    }

    /// The remediations that are not over.
    fn open(&self) -> Result<Vec<Value>> {
        let over = ["closed", "aborted", "failed", "rolled_back", "needs_operator", "superseded"];
        let all = self.ask(&["history"])?;
        Ok(all.into_iter().filter(|one| !over.contains(&part(one, "state").as_str().unwrap_or_default())).collect())
    }

    /// Whether all hosts have it, and nothing is left to do.
    fn done(&mut self, shop: &Shop, agents: usize, version: &str) -> Result<bool> {
        for number in 0..self.servers.len() {
            let server = self.servers.get_mut(number).context("no such server")?;
            // One that lost the lead ends by itself, and is started again as its unit would.
            if server.child.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|ended| ended.is_some())) {
                server.child = None;
                self.start(number)?;
            }
        }
        if (0..agents).any(|host| shop.version(host) != version) {
            return Ok(false);
        }
        Ok(self.open().is_ok_and(|open| open.is_empty()))
    }

    /// One blow, and the milliseconds until a person, by whoever leads, and an agent were answered after it.
    fn strike(&mut self, chance: &mut Chance, answered: &AtomicU64) -> Result<(&'static str, u64)> {
        let leader = self.leader();
        let what = match chance.draw(6) {
            0 | 1 => "the server that leads is killed",
            2 => "the other server is killed",
            3 => "NATS is killed",
            4 => "PostgreSQL is killed",
            _ => "a cable is pulled",
        };
        let struck = match what {
            "the other server is killed" => 1 - leader,
            "a cable is pulled" => usize::from(chance.draw(2) == 1),
            _ => leader,
        };
        let before = answered.load(Ordering::SeqCst);
        let began = Instant::now();
        match what {
            "NATS is killed" => self.nats.restart()?,
            "PostgreSQL is killed" => self.postgres.restart()?,
            "a cable is pulled" => {
                let name = self.servers.get(struck).context("no such server")?.name.clone();
                ip(&["link", "set", &name, "down"])?;
                std::thread::park_timeout(chance.between(PULLED));
                ip(&["link", "set", &name, "up"])?;
            }
            _ => {
                let server = self.servers.get_mut(struck).context("no such server")?;
                let mut child = server.child.take().context("it does not run")?;
                child.kill()?;
                child.wait()?;
                self.start(struck)?;
            }
        }
        wait_until("an agent and a person are answered", PATIENCE, || {
            Ok(answered.load(Ordering::SeqCst) > before && self.ask(&["executors", "list"]).is_ok())
        })?;
        Ok((what, u64::try_from(began.elapsed().as_millis())?))
    }

    /// Which server leads, as the database has it; the first while nobody knows.
    fn leader(&self) -> usize {
        let sql = "SELECT value FROM stanch.setting WHERE key = 'leader'";
        let told = self.postgres.ask("postgres", sql).unwrap_or_default();
        let is = |server: &Server| told.contains(&format!("{}:", server.address));
        self.servers.iter().position(is).unwrap_or(0)
    }

    fn where_it_stands(&self) -> String {
        format!("{:?}\n{:?}", self.open(), self.ask(&["executors", "list"]))
    }
}

impl Drop for Estate {
    fn drop(&mut self) {
        for server in &mut self.servers {
            if let Some(mut child) = server.child.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
            let _ = ip(&["netns", "del", &server.name]);
        }
        if std::thread::panicking() || std::env::var_os("STANCH_KEEP").is_some() {
            eprintln!("kept: {}", self.scratch.path().display());
        }
    }
}

fn ip(words: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(words.iter().map(OsStr::new)).output()?;
    ensure!(output.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A network namespace with a cable to the bridge, whose end there bears the same name.
fn network(name: &str, address: Ipv4Addr) -> Result<()> {
    let _ = ip(&["netns", "del", name]);
    ip(&["netns", "add", name])?;
    ip(&["link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name])?;
    ip(&["link", "set", name, "master", "worlds", "up"])?;
    ip(&["-n", name, "addr", "add", &format!("{address}/16"), "dev", "eth0"])?;
    ip(&["-n", name, "link", "set", "lo", "up"])?;
    ip(&["-n", name, "link", "set", "eth0", "up"])
}

fn make_private(folder: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    Ok(std::fs::DirBuilder::new().mode(0o700).create(folder)?)
}

/// Copies a folder of files with their modes.
fn copy(from: &Path, to: &Path) -> Result<()> {
    make_private(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Lets all agents in and sets them to work.
fn enrol_all(
    runtime: &tokio::runtime::Runtime,
    estate: &Estate,
    agents: usize,
    shop: &Arc<Shop>,
    answered: &Arc<AtomicU64>,
) -> Result<()> {
    let made = estate.ask(&["enrolment", "token", "many", "--uses", &agents.to_string(), "--confirmed"])?;
    let made = made.first().context("no token")?;
    let token: EnrolmentToken = part(made, "token").as_str().context("a token")?.parse()?;
    let crowd = Crowd {
        doors: estate.servers.iter().map(|server| format!("https://{}:{DOOR}", server.address)).collect(),
        folder: estate.scratch.path().to_owned(),
        shop: Arc::clone(shop),
        answered: Arc::clone(answered),
    };
    runtime.block_on(crowd.join(0..agents, &token))
}
