//! What becomes of an upgrade when something else goes wrong in the midst of it, on a real root with the real agent.
//!
//! `prove_faults [WORDS]` goes through all faults, or those with these words in their name. Each fault gets a root, a server and a policy of its own. Whatever happens, at the end the package is what the server
//! says that it is, dpkg has nothing to complain of, and the service that runs on the package answers.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use stanch_model::Timestamp;
use stanch_server::{Clock, Door, Intervals, PolicySource};
use stanch_testkit::claims::Claims;
use stanch_testkit::lan::Lan;
use stanch_testkit::site::Site;
use stanch_testkit::tool::{self, AT_WORK, GO_ON, NEW, OLD, Update, version};
use stanch_testkit::visitor::{load, part};
use stanch_testkit::world::Process;
use stanch_testkit::{Archive, Base, Frozen, World, wait_until};

const AGENT: &str = "/usr/bin/stanch-agent";
const PATIENCE: Duration = Duration::from_secs(300);
const HOUR: i64 = 3_600;
/// Takes apt's lock and keeps it until it is killed.
const LOCK: &str = "use Fcntl qw(:DEFAULT :flock F_SETLK F_WRLCK); \
    sysopen(my $file, '/var/lib/dpkg/lock-frontend', O_RDWR|O_CREAT, 0640) or die; \
    my $lock = pack('s s x![q] q q i x![q]', F_WRLCK, 0, 0, 0, 0); \
    fcntl($file, F_SETLK, $lock) or die $!; \
    open(my $told, '>', '/run/locked') or die; close($told); sleep 1 while 1;";

fn main() -> Result<()> {
    // While there still is a network to fetch it from.
    Base::minimal()?;
    Lan::apart()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut claims = Claims::new();
    let words = std::env::args().nth(1).unwrap_or_default();
    for fault in Fault::ALL.into_iter().filter(|fault| fault.name().contains(&words)) {
        let began = Instant::now();
        let mut scene = Scene::open(&runtime, fault)?;
        let ended = scene.play()?;
        let wrong = scene.wrong(&ended)?;
        let state = part(&ended, "state").as_str().unwrap_or_default();
        claims.claim(
            fault.name(),
            wrong.is_empty() && fault.may_end(state),
            json!({"state": state, "version": version(&scene.world)?, "why": part(&ended, "waiting_on"),
                "seconds": began.elapsed().as_secs(), "load": load()}),
            || format!("{}; {ended}; {}", wrong.join("; "), scene.told()),
        );
    }
    claims.end()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    AgentKilled,
    PoweredOff,
    NoSpaceToFetch,
    NoSpaceToKeep,
    HostAhead,
    HostBehind,
    LockedForAWhile,
    LockedForLong,
}

impl Fault {
    const ALL: [Self; 8] = [
        Self::AgentKilled,
        Self::PoweredOff,
        Self::NoSpaceToFetch,
        Self::NoSpaceToKeep,
        Self::HostAhead,
        Self::HostBehind,
        Self::LockedForAWhile,
        Self::LockedForLong,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::AgentKilled => "the agent is killed while dpkg configures",
            Self::PoweredOff => "the host is powered off while dpkg configures",
            Self::NoSpaceToFetch => "no space where apt works",
            Self::NoSpaceToKeep => "no space for what has to be kept for the way back",
            Self::HostAhead => "the host's clock is an hour ahead",
            Self::HostBehind => "the host's clock is an hour behind",
            Self::LockedForAWhile => "another process holds apt's lock for some seconds",
            Self::LockedForLong => "another process holds apt's lock for longer than is waited",
        }
    }

    /// How the remediation may end. What cannot be done is not done, and said.
    fn may_end(self, state: &str) -> bool {
        match self {
            Self::AgentKilled | Self::PoweredOff | Self::LockedForAWhile => state == "closed",
            Self::NoSpaceToFetch | Self::NoSpaceToKeep | Self::LockedForLong => {
                ["failed", "rolled_back", "aborted", "needs_operator"].contains(&state)
            }
            Self::HostAhead | Self::HostBehind => state == "not begun",
        }
    }
}

/// The machine's clock, wrong by some seconds.
#[derive(Debug)]
struct Wrong(i64);

impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        Timestamp::now() + jiff::SignedDuration::from_secs(self.0)
    }
}

struct Scene {
    fault: Fault,
    world: World,
    agent: Process,
    site: Site,
    lan: Lan,
    policies: tempfile::TempDir,
    // They outlive the world.
    _disk: Frozen,
    _archive: Archive,
}

impl Scene {
    fn open(runtime: &tokio::runtime::Runtime, fault: Fault) -> Result<Self> {
        let archive = Archive::new()?;
        let agent = std::env::current_exe()?.with_file_name("stanch-agent");
        ensure!(agent.is_file(), "{} is not built", agent.display());
        let waits = [Fault::AgentKilled, Fault::PoweredOff].contains(&fault);
        let update = if waits { Update::Waits } else { Update::Good };
        let disk = tool::disk_with_service(&archive, update, &[(agent, AGENT)])?;
        let policies = tempfile::tempdir()?;
        // The world has the machine's clock; seen from a server that is behind, it is ahead.
        let wrong = match fault {
            Fault::HostAhead => -HOUR,
            Fault::HostBehind => HOUR,
            _ => 0,
        };
        let mut lan = Lan::new()?;
        let site = site(runtime, policies.path().to_owned(), wrong)?;
        let world = disk.world()?;
        lan.join(&world)?;
        tool::serve(&world)?;
        if fault == Fault::LockedForLong {
            world.write_mode("/etc/stanch/executor.toml", "lock_timeout_seconds = 3\n", 0o644)?;
        }
        let made = site.visitor.post("/api/v1/enrolments", json!({ "name": "one", "uses": 1, "confirmed": true }))?;
        world.write_mode("/root/token", part(&made, "token").as_str().context("a token")?, 0o600)?;
        world.must([AGENT, "enrol", "--server", &site.door()?, "--token-file", "/root/token"])?;
        let agent = world.spawn([AGENT, "run"])?;
        let scene = Self { fault, world, agent, site, lan, policies, _disk: disk, _archive: archive };
        let judged = wait_until("the host is judged, or people are told why not", PATIENCE, || {
            let assets = scene.site.visitor.get("/api/v1/assets")?;
            let mut assets = assets.as_array().into_iter().flatten();
            Ok(assets.any(|asset| !part(asset, "judged_at").is_null()) || scene.waits()?.is_some())
        });
        judged.with_context(|| scene.told())?;
        Ok(scene)
    }

    /// What the server says that this host waits for.
    fn waits(&self) -> Result<Option<String>> {
        let status = self.site.visitor.get("/api/v1/status")?;
        let about = |one: &&Value| part(one, "what").as_str().is_some_and(|what| what.ends_with(" world"));
        let waits = part(&status, "waiting").as_array().into_iter().flatten().find(about).cloned();
        Ok(waits.and_then(|one| part(&one, "on").as_str().map(str::to_owned)))
    }

    /// Has the policy decide, strikes, and waits for the end.
    fn play(&mut self) -> Result<Value> {
        if [Fault::HostAhead, Fault::HostBehind].contains(&self.fault) {
            let why = self.waits()?.with_context(|| format!("it goes on: {}", self.told()))?;
            return Ok(json!({ "state": "not begun", "waiting_on": why }));
        }
        let mut lock = None;
        match self.fault {
            Fault::LockedForAWhile | Fault::LockedForLong => {
                let holder = self.world.spawn(["perl", "-e", LOCK])?;
                wait_until("the lock is taken", Duration::from_secs(20), || Ok(self.world.exists("/run/locked")))
                    .with_context(|| String::from_utf8_lossy(&holder.stderr().unwrap_or_default()).into_owned())?;
                lock = Some(holder);
            }
            Fault::NoSpaceToFetch => self.fill("/var/cache")?,
            Fault::NoSpaceToKeep => self.fill("/var/lib/stanch-agent/vault")?,
            _ => {}
        }
        tool::decide(self.policies.path(), &tool::policy("tool", "{percent: 100}", 1))?;
        match self.fault {
            Fault::AgentKilled | Fault::PoweredOff => {
                wait_until("dpkg configures", PATIENCE, || Ok(self.world.exists(AT_WORK)))?;
                self.strike()?;
            }
            Fault::LockedForAWhile => {
                wait_until("it is at work", PATIENCE, || {
                    let newest = self.site.visitor.newest()?;
                    Ok(*part(&newest, "state") == "rolling")
                })?;
                if let Some(mut lock) = lock.take() {
                    lock.kill();
                }
            }
            _ => {}
        }
        let over = ["closed", "aborted", "failed", "rolled_back", "needs_operator"];
        let mut last = Value::Null;
        let waited = wait_until("its end", PATIENCE, || {
            let all = self.site.visitor.get("/api/v1/remediations")?;
            let all = all.as_array().cloned().unwrap_or_default();
            // Once it failed the policy may try again later: the first one tells.
            last = all.last().cloned().unwrap_or(Value::Null);
            Ok(over.contains(&part(&last, "state").as_str().unwrap_or_default()))
        });
        if waited.is_err() {
            bail!("{} is stuck: {last}; {}", self.fault.name(), self.told());
        }
        if let Some(mut lock) = lock {
            lock.kill();
        }
        Ok(last)
    }

    /// A file system without room stands where this folder was.
    fn fill(&self, folder: &str) -> Result<()> {
        self.world.must(["mkdir", "-p", folder])?;
        self.world.must(["mount", "-t", "tmpfs", "-o", "size=4k,mode=700", "tmpfs", folder]).map(drop)
    }

    /// Kills the agent or everything, and starts what was running again, as its unit or a person would.
    fn strike(&mut self) -> Result<()> {
        if self.fault == Fault::PoweredOff {
            self.world.kill_all();
            self.world.boot()?;
            self.lan.join(&self.world)?;
            tool::start(&self.world)?;
        } else {
            self.agent.kill();
        }
        self.world.write(GO_ON, "")?;
        self.agent = self.world.spawn([AGENT, "run"])?;
        Ok(())
    }

    /// What is not as the server says.
    fn wrong(&self, ended: &Value) -> Result<Vec<String>> {
        let wanted = if *part(ended, "state") == "closed" { NEW } else { OLD };
        let mut wrong = Vec::new();
        let (is, audit) = (version(&self.world)?, self.world.must(["dpkg", "--audit"])?);
        if is != wanted {
            wrong.push(format!("it has {is} and not {wanted}"));
        }
        if !audit.trim().is_empty() {
            wrong.push(audit);
        }
        if !tool::answers(&self.world, wanted) {
            wrong.push(format!("the service does not answer with {wanted}"));
        }
        Ok(wrong)
    }

    /// What the server tells people, and the agent its log.
    fn told(&self) -> String {
        let ask = |path| self.site.visitor.get(path).map_or_else(|error| error.to_string(), |told| told.to_string());
        let log = self.agent.stderr().unwrap_or_default();
        format!("{}\n{}\n{}", ask("/api/v1/status"), ask("/api/v1/executors"), String::from_utf8_lossy(&log))
    }
}

fn site(runtime: &tokio::runtime::Runtime, policies: PathBuf, wrong: i64) -> Result<Site> {
    let key = tool::key()?.verifying_key();
    Site::open(runtime, |config| {
        let listen = SocketAddr::new(Lan::here(), 0);
        config.executors = Some(Door { listen, names: vec![Lan::here().to_string()] });
        config.own = Some(BTreeSet::new());
        config.policies = Some(PolicySource::folder(policies, Some(key)));
        if wrong != 0 {
            config.clock = Arc::new(Wrong(wrong));
        }
        config.intervals = Intervals {
            tick: Duration::from_millis(500),
            gather: Duration::from_secs(1),
            decide: Duration::from_secs(2),
            ..Intervals::default()
        };
    })
}
