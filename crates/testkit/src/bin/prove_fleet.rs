//! A fleet of real Debian roots, each in its own mount, pid and network namespaces, with its real agent over real mutual TLS.
//!
//! `prove_fleet [HOSTS] [DOUBLES]` boots that many roots (20), enrols each with the token of its ring, and has a policy
//! upgrade a package on all of them in three rings: once a version that does not configure, which is halted and rolled
//! back, and once a good one, of which a campaign then takes everything back. A service of each host runs on the package's
//! library, and has to be restarted each time. Beside the hosts there may be doubles (none): agents with keys, journals and
//! links of their own, whose upgrade only takes a moment.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stanch_model::Timestamp;
use stanch_server::{Door, Intervals, PolicySource};
use stanch_testkit::claims::Claims;
use stanch_testkit::crowd::Crowd;
use stanch_testkit::lan::Lan;
use stanch_testkit::shop::Shop;
use stanch_testkit::site::Site;
use stanch_testkit::tool::{self, NEW, OLD, Update, version};
use stanch_testkit::visitor::{load, part};
use stanch_testkit::world::Process;
use stanch_testkit::{Archive, Base, World, wait_until};

const AGENT: &str = "/usr/bin/stanch-agent";
/// How long anything may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(1_200);
/// How long a double takes to upgrade.
const WORK: Duration = Duration::from_secs(2);
/// The rings, with the share of the hosts that stands in each, in percent.
const RINGS: [(&str, usize); 3] = [("canary", 5), ("early", 25), ("rest", 70)];

fn main() -> Result<()> {
    let number = |at: usize, default: usize| std::env::args().nth(at).map_or(Ok(default), |text| text.parse());
    let size =
        Size { hosts: number(1, 20).context("how many hosts?")?, doubles: number(2, 0).context("how many doubles?")? };
    // While there still is a network to fetch it from.
    Base::minimal()?;
    Lan::apart()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut claims = Claims::new();
    bad(&runtime, size, &mut claims)?;
    good(&runtime, size, &mut claims)?;
    claims.end()
}

/// How large the fleet is.
#[derive(Debug, Clone, Copy)]
struct Size {
    hosts: usize,
    doubles: usize,
}

impl Size {
    fn all(self) -> usize {
        self.hosts + self.doubles
    }

    /// How many the policy lets change at once.
    fn at_once(self) -> usize {
        (self.all() / 10).max(10)
    }
}

/// The ring of each host.
fn rings(hosts: usize) -> Vec<&'static str> {
    let mut rings = Vec::with_capacity(hosts);
    for (ring, percent) in RINGS {
        let count = (hosts * percent).div_ceil(100).max(1);
        rings.extend(std::iter::repeat_n(ring, count));
    }
    rings.truncate(hosts);
    rings
}

/// A host with its agent, which ends with it.
struct Host {
    world: World,
    ring: &'static str,
    _agent: Process,
}

/// What the agents of a fleet cost.
#[derive(Default)]
struct Cost {
    seconds: Vec<f64>,
    kilobytes: Vec<u64>,
}

struct Fleet {
    size: Size,
    hosts: Vec<Host>,
    shop: Arc<Shop>,
    site: Site,
    policies: tempfile::TempDir,
    // The archive outlives the worlds that are served from it, and the journals their agents.
    _archive: Archive,
    _journals: tempfile::TempDir,
}

impl Fleet {
    fn boot(runtime: &tokio::runtime::Runtime, size: Size, bad: bool) -> Result<(Self, Duration)> {
        let archive = Archive::new()?;
        let agent = std::env::current_exe()?.with_file_name("stanch-agent");
        ensure!(agent.is_file(), "{} is not built", agent.display());
        let disk =
            tool::disk_with_service(&archive, if bad { Update::Broken } else { Update::Good }, &[(agent, AGENT)])?;
        let policies = tempfile::tempdir()?;
        let mut lan = Lan::new()?;
        let site = site(runtime, policies.path().to_owned())?;
        let mut worlds = Vec::new();
        for ring in rings(size.hosts) {
            let world = disk.world()?;
            let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?.replace('-', "");
            world.write("/etc/machine-id", id)?;
            lan.join(&world)?;
            tool::serve(&world)?;
            worlds.push((world, ring));
        }
        let shop = Shop::selling("tool", OLD, WORK);
        let shop = Arc::new(if bad { shop.bad() } else { shop });
        shop.offer(NEW);
        let journals = tempfile::tempdir()?;
        let door = site.door()?;
        let crowd = Crowd {
            doors: vec![door.clone()],
            folder: journals.path().to_owned(),
            shop: Arc::clone(&shop),
            answered: Arc::default(),
        };
        let doubles = rings(size.doubles);
        let began = Instant::now();
        let (mut up, mut joined) = (Vec::new(), 0);
        for (ring, _) in RINGS {
            let wanted =
                json!({ "name": ring, "uses": size.all(), "confirmed": true, "host": { "labels": { "ring": ring } } });
            let made = site.visitor.post("/api/v1/enrolments", wanted)?;
            let token = part(&made, "token").as_str().context("a token")?;
            for (world, _) in worlds.extract_if(.., |(_, of)| *of == ring) {
                world.write_mode("/root/token", token, 0o600)?;
                world.must([AGENT, "enrol", "--server", &door, "--token-file", "/root/token"])?;
                let agent = world.spawn([AGENT, "run"])?;
                up.push(Host { world, ring, _agent: agent });
            }
            let last = joined + doubles.iter().filter(|of| **of == ring).count();
            runtime.block_on(crowd.join(joined..last, &token.parse()?))?;
            joined = last;
        }
        let fleet = Self { size, hosts: up, shop, site, policies, _archive: archive, _journals: journals };
        wait_until("every host is judged", PATIENCE, || {
            let assets = fleet.site.visitor.get("/api/v1/assets?limit=1000")?;
            let judged = assets.as_array().into_iter().flatten().filter(|asset| !part(asset, "judged_at").is_null());
            Ok(judged.count() >= size.all())
        })?;
        eprintln!("{} hosts are enrolled and judged after {:.0} s", size.all(), began.elapsed().as_secs_f64());
        Ok((fleet, began.elapsed()))
    }

    /// Puts the policy in force and waits until its remediation has come to this state.
    fn decide(&self, state: &str) -> Result<Value> {
        let waves = "{label: canary, bake: 5s}, {label: early, bake: 5s}, {percent: 100}";
        tool::decide(self.policies.path(), &tool::policy("tool", waves, self.size.at_once()))?;
        let (mut last, mut found) = (Value::Null, Value::Null);
        wait_until(state, PATIENCE, || {
            let all = self.site.visitor.get("/api/v1/remediations")?;
            let all = all.as_array().cloned().unwrap_or_default();
            let one = all.iter().find(|one| *part(one, "state") == state).or(all.first());
            found = one.cloned().unwrap_or(Value::Null);
            let now = json!([part(&found, "state"), part(&found, "wave")]);
            if now != last {
                eprintln!("{now}");
                last = now;
            }
            Ok(part(&found, "state") == state)
        })
        .with_context(|| format!("the last was {found}"))?;
        Ok(found)
    }

    /// Hosts that do not have this version, or whose service does not answer with it, each with what was found. Where it
    /// is new it was configured once.
    fn other_than(&self, wanted: &str) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        for (at, host) in self.hosts.iter().enumerate() {
            let (version, log) = (version(&host.world)?, host.world.text("/var/log/tool")?);
            let (audit, answers) = (host.world.must(["dpkg", "--audit"])?, tool::answers(&host.world, wanted));
            let once = wanted == OLD || log.lines().count() == 1;
            if version != wanted || !once || !answers || !audit.trim().is_empty() {
                let lines = log.lines().count();
                wrong.push(format!("host {at} ({}): {version}, {lines} lines, answers: {answers} {audit}", host.ring));
            }
        }
        let doubles = (0..self.size.doubles).map(|double| (double, self.shop.version(double)));
        let others = doubles.filter(|(_, version)| version != wanted);
        wrong.extend(others.map(|(double, version)| format!("double {double}: {version}")));
        wrong.extend(self.shop.twice().iter().map(|(double, version)| format!("double {double}: {version} twice")));
        Ok(wrong)
    }

    /// What the agents have cost so far: seconds of processor time and kilobytes of memory that are theirs alone.
    fn cost(&self) -> Result<Cost> {
        let mut cost = Cost::default();
        for host in &self.hosts {
            for process in host.world.processes()?.into_iter().filter(|process| process.name == "stanch-agent") {
                let folder = PathBuf::from(format!("/proc/{}", process.host_pid));
                let stat = std::fs::read_to_string(folder.join("stat"))?;
                let fields: Vec<u64> = stat
                    .rsplit(')')
                    .next()
                    .unwrap_or_default()
                    .split_whitespace()
                    .map(|field| field.parse().unwrap_or(0))
                    .collect();
                let ticks = fields.get(11).copied().unwrap_or(0) + fields.get(12).copied().unwrap_or(0);
                cost.seconds.push(ticks as f64 / 100.0);
                let rollup = std::fs::read_to_string(folder.join("smaps_rollup"))?;
                let private = rollup.lines().filter(|line| line.starts_with("Private_"));
                let kilobytes = private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum();
                cost.kilobytes.push(kilobytes);
            }
        }
        cost.seconds.sort_by(f64::total_cmp);
        cost.kilobytes.sort_unstable();
        Ok(cost)
    }
}

fn site(runtime: &tokio::runtime::Runtime, policies: PathBuf) -> Result<Site> {
    let key = tool::key()?.verifying_key();
    Site::open(runtime, |config| {
        let listen = SocketAddr::new(Lan::here(), 0);
        config.executors = Some(Door { listen, names: vec![Lan::here().to_string()] });
        config.own = Some(BTreeSet::new());
        config.policies = Some(PolicySource::folder(policies, Some(key)));
        config.intervals = Intervals {
            tick: Duration::from_millis(500),
            gather: Duration::from_secs(5),
            decide: Duration::from_secs(2),
            ..Intervals::default()
        };
    })
}

fn bad(runtime: &tokio::runtime::Runtime, size: Size, claims: &mut Claims) -> Result<()> {
    let (fleet, _) = Fleet::boot(runtime, size, true)?;
    let canary = |rings: Vec<&str>| rings.into_iter().filter(|ring| *ring == "canary").count();
    let canaries = canary(rings(size.hosts)) + canary(rings(size.doubles));
    let began = Instant::now();
    let over = fleet.decide("rolled_back")?;
    let seconds = began.elapsed().as_secs();
    let wrong = fleet.other_than(OLD)?;
    let detail =
        fleet.site.visitor.get(&format!("/api/v1/remediations/{}", part(&over, "id").as_str().unwrap_or_default()))?;
    let tasks = part(&detail, "tasks").as_array().cloned().unwrap_or_default();
    let untouched =
        tasks.iter().filter(|task| *part(task, "state") == "cancelled" || *part(task, "state") == "pending");
    let touched = tasks.len() - untouched.count();
    claims.claim(
        "a bad version in the first ring",
        wrong.is_empty() && touched <= canaries,
        json!({"hosts": size.hosts, "doubles": size.doubles, "canaries": canaries, "touched": touched, "wrong": wrong.len(), "seconds": seconds, "load": load()}),
        || format!("{touched} touched; {}", wrong.join("; ")),
    );
    Ok(())
}

fn good(runtime: &tokio::runtime::Runtime, size: Size, claims: &mut Claims) -> Result<()> {
    let (fleet, enrolled) = Fleet::boot(runtime, size, false)?;
    let before = fleet.cost()?;
    let since = Timestamp::now();
    let began = Instant::now();
    fleet.decide("closed")?;
    let seconds = began.elapsed().as_secs();
    let after = fleet.cost()?;
    let wrong = fleet.other_than(NEW)?;
    let spent: f64 = after.seconds.iter().sum::<f64>() - before.seconds.iter().sum::<f64>();
    let middle = after.kilobytes.get(after.kilobytes.len() / 2).copied().unwrap_or(0);
    claims.claim(
        "a good version in three rings",
        wrong.is_empty() && after.seconds.len() == size.hosts,
        json!({"hosts": size.hosts, "doubles": size.doubles, "enrolled_seconds": enrolled.as_secs(), "seconds": seconds, "load": load(),
            "agent_cpu_seconds_each": (spent * 100.0 / size.hosts as f64).round() / 100.0,
            "agent_private_kb_median": middle, "agent_private_kb_most": after.kilobytes.last()}),
        || wrong.join("; "),
    );
    let began = Instant::now();
    let wanted = json!({ "policy": "all", "since": since, "reason": "it was a drill" });
    let made = fleet.site.visitor.post("/api/v1/campaigns", wanted)?;
    let path = format!("/api/v1/campaigns/{}", part(&made, "id").as_str().context("a campaign")?);
    let mut told = Value::Null;
    wait_until("everything is taken back", PATIENCE, || {
        let campaign = fleet.site.visitor.get(&path)?;
        let over = part(&campaign, "over") == true;
        told = campaign;
        Ok(over)
    })?;
    let wrong = fleet.other_than(OLD)?;
    claims.claim(
        "a campaign takes it all back",
        wrong.is_empty(),
        json!({"hosts": size.hosts, "doubles": size.doubles, "seconds": began.elapsed().as_secs(), "wrong": wrong.len(), "load": load()}),
        || format!("{}; {told}", wrong.join("; ")),
    );
    Ok(())
}
