//! A rollout over many real Debian roots, in waves, decided by policies.
//!
//! `prove_rollout [HOSTS]` boots that many roots (20), each with a real executor, and one real server that upgrades a
//! package on all of them by itself. Once the canaries get a version that does not configure: it halts, takes them back
//! and leaves the others untouched. Once the version is good and somebody presses hold in the middle of the second wave:
//! nothing starts on an executor that has acknowledged it, and after the release all of them end up upgraded.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{ChildStdin, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use stanch_model::Timestamp;
use stanch_model::id::{ExecutorId, OrderId};
use stanch_model::order::{Answer, Hello, Verb};
use stanch_model::sign::VerifyingKey;
use stanch_server::{BlockingGateway, Intervals, PolicySource};
use stanch_testkit::claims::Claims;
use stanch_testkit::conformance::Outgoing;
use stanch_testkit::site::Site;
use stanch_testkit::tool::{self, NEW, OLD, Update, version};
use stanch_testkit::visitor::{load, part};
use stanch_testkit::{Archive, World, wait_until};

/// How long anything may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(900);
const IN_WORLD: &str = "/opt/executor";
/// Hosts of the first wave.
const CANARIES: usize = 2;

fn main() -> Result<()> {
    let hosts = std::env::args().nth(1).map_or(Ok(20), |text| text.parse()).context("how many hosts?")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let mut claims = Claims::new();
    bad_canary(&runtime, hosts, &mut claims)?;
    hold_in_mid_wave(&runtime, hosts, &mut claims)?;
    claims.end()
}

/// What happened on one host.
#[derive(Debug, Default)]
struct Seen {
    /// Orders to act that it was handed.
    acts: BTreeSet<OrderId>,
    /// When its steps began, on the clock of this machine, which all of them share.
    starts: Vec<Timestamp>,
    /// When it said that a hold is in force.
    held_at: Option<Timestamp>,
}

type Log = Arc<Mutex<BTreeMap<usize, Seen>>>;

fn locked(log: &Log) -> MutexGuard<'_, BTreeMap<usize, Seen>> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bad_canary(runtime: &tokio::runtime::Runtime, hosts: usize, claims: &mut Claims) -> Result<()> {
    let estate = Estate::boot(runtime, hosts, true)?;
    let began = Instant::now();
    estate.decide()?;
    let over = estate.in_state("rolled_back")?;
    let seconds = began.elapsed().as_secs();
    let touched: Vec<usize> =
        locked(&estate.log).iter().filter(|(_, seen)| !seen.acts.is_empty()).map(|(at, _)| *at).collect();
    let mut wrong = Vec::new();
    for (at, world) in estate.worlds.iter().enumerate() {
        let (version, audit) = (version(world)?, world.must(["dpkg", "--audit"])?);
        if version != OLD || !audit.trim().is_empty() {
            wrong.push(format!("{}: {version} {audit}", name(at)));
        }
        if !touched.contains(&at) && !world.text("/var/log/tool")?.is_empty() {
            wrong.push(format!("{} was touched", name(at)));
        }
    }
    let holds = touched.len() <= CANARIES && !touched.is_empty() && wrong.is_empty();
    claims.claim(
        "a bad version in the canary",
        holds,
        json!({"hosts": hosts, "touched": touched.len(), "untouched": hosts - touched.len(), "wrong": wrong.len(),
            "seconds": seconds, "state": part(&over, "state"), "load": load()}),
        || format!("touched {touched:?}; {}", wrong.join("; ")),
    );
    Ok(())
}

fn hold_in_mid_wave(runtime: &tokio::runtime::Runtime, hosts: usize, claims: &mut Claims) -> Result<()> {
    let estate = Estate::boot(runtime, hosts, false)?;
    let began = Instant::now();
    estate.decide()?;
    wait_until("the second wave is under way", PATIENCE, || {
        Ok(locked(&estate.log).values().filter(|seen| !seen.starts.is_empty()).count() > CANARIES + 1)
    })?;
    let busy = load();
    let pressed = Timestamp::now();
    let hold = estate.server.visitor.post("/api/v1/holds", json!({"reason": "something looks wrong"}))?;
    wait_until("everybody has acknowledged the hold", PATIENCE, || {
        let log = locked(&estate.log);
        Ok(log.len() == hosts && log.values().all(|seen| seen.held_at.is_some()))
    })?;
    // Whatever runs ends, and its answers come in.
    wait_until("what ran has ended", PATIENCE, || {
        let one = estate.server.visitor.newest()?;
        let detail = estate
            .server
            .visitor
            .get(&format!("/api/v1/remediations/{}", part(&one, "id").as_str().unwrap_or_default()))?;
        let acting = ["dispatched", "accepted", "running"];
        let tasks = part(&detail, "tasks").as_array().cloned().unwrap_or_default();
        Ok(!tasks.iter().any(|task| acting.contains(&part(task, "state").as_str().unwrap_or_default())))
    })?;
    let (mut after, mut between, mut slowest, mut begun) = (Vec::new(), 0, 0, 0);
    for (at, seen) in locked(&estate.log).iter() {
        let held = seen.held_at.unwrap_or(Timestamp::MAX);
        slowest = slowest.max(held.as_millisecond() - pressed.as_millisecond());
        begun += usize::from(!seen.starts.is_empty());
        between += seen.starts.iter().filter(|start| **start > pressed && **start <= held).count();
        after
            .extend(seen.starts.iter().filter(|start| **start > held).map(|start| format!("{} at {start}", name(*at))));
    }
    claims.claim(
        "a hold in mid-wave",
        after.is_empty() && begun < hosts,
        json!({"hosts": hosts, "begun_before": begun, "starts_after_acknowledging": after.len(),
            "starts_between": between, "slowest_acknowledgement_ms": slowest, "load": busy}),
        || format!("{begun} of {hosts} had begun; {}", after.join("; ")),
    );
    let id = part(&hold, "id").as_str().context("a hold has an id")?;
    estate.server.visitor.post(&format!("/api/v1/holds/{id}/release"), json!({}))?;
    let over = estate.in_state("closed")?;
    let mut wrong = Vec::new();
    for (at, world) in estate.worlds.iter().enumerate() {
        let (version, log) = (version(world)?, world.text("/var/log/tool")?);
        if version != NEW || log.lines().count() != 1 {
            wrong.push(format!("{}: {version}, configured {} times", name(at), log.lines().count()));
        }
    }
    claims.claim(
        "all of it after the release",
        wrong.is_empty(),
        json!({"hosts": hosts, "seconds": began.elapsed().as_secs(), "state": part(&over, "state"), "load": load()}),
        || wrong.join("; "),
    );
    Ok(())
}

fn name(at: usize) -> String {
    format!("web-{at:02}")
}

/// Many hosts, their executors and their server.
struct Estate {
    worlds: Vec<World>,
    log: Log,
    server: Site,
    policies: tempfile::TempDir,
    // The archive outlives the worlds that are served from it.
    _archive: Archive,
}

impl Estate {
    fn boot(runtime: &tokio::runtime::Runtime, hosts: usize, bad: bool) -> Result<Self> {
        let archive = Archive::new()?;
        let executor = std::env::current_exe()?.with_file_name("executor_under_test");
        let disk = tool::disk(&archive, if bad { Update::Broken } else { Update::Good }, &[(executor, IN_WORLD)])?;
        let policies = tempfile::tempdir()?;
        let server = site(runtime, policies.path().to_owned())?;
        let log = Log::default();
        let mut worlds = Vec::new();
        for at in 0..hosts {
            let world = disk.world()?;
            connect(
                &world,
                at,
                server.running.gateway().root_key(),
                server.running.gateway().blocking(),
                Arc::clone(&log),
            )?;
            worlds.push(world);
        }
        eprintln!("{hosts} hosts are up");
        wait_until("every host is known", PATIENCE, || {
            let assets = server.visitor.get("/api/v1/assets")?;
            let judged = assets.as_array().into_iter().flatten().filter(|asset| !part(asset, "judged_at").is_null());
            Ok(judged.count() >= hosts)
        })?;
        Ok(Self { worlds, log, server, policies, _archive: archive })
    }

    /// Puts the policies in force.
    fn decide(&self) -> Result<()> {
        tool::decide(self.policies.path(), &tool::policy("tool", "{count: 2, bake: 5s}, {percent: 100}", 4))
    }

    fn in_state(&self, state: &str) -> Result<Value> {
        let mut last = Value::Null;
        let mut found = Value::Null;
        wait_until(state, PATIENCE, || {
            let all = self.server.visitor.get("/api/v1/remediations")?;
            let all = all.as_array().cloned().unwrap_or_default();
            // Once one is taken back, policies try again where it was not begun.
            let one = all.iter().find(|one| *part(one, "state") == state).or(all.first());
            let one = one.cloned().unwrap_or(Value::Null);
            if *part(&one, "state") != last {
                eprintln!("{}: {} ({})", part(&one, "id"), part(&one, "state"), part(&one, "waiting_on"));
                last = part(&one, "state").clone();
            }
            found = one;
            Ok(part(&found, "state") == state)
        })
        .with_context(|| format!("the last was {found}"))?;
        Ok(found)
    }
}

/// A server that decides by the policies of this folder, and looks often.
fn site(runtime: &tokio::runtime::Runtime, policies: PathBuf) -> Result<Site> {
    let key = tool::key()?.verifying_key();
    Site::open(runtime, |config| {
        config.own = Some(BTreeSet::new());
        config.policies = Some(PolicySource::folder(policies, Some(key)));
        config.intervals = Intervals {
            tick: Duration::from_millis(500),
            park: Duration::from_secs(5),
            gather: Duration::from_secs(5),
            decide: Duration::from_secs(2),
            ..Intervals::default()
        };
    })
}

/// Starts a host's executor and carries its words to the server and back until it ends.
fn connect(world: &World, at: usize, root: VerifyingKey, gateway: BlockingGateway, log: Log) -> Result<()> {
    let mut entropy = [0; 10];
    entropy[9] = u8::try_from(at).context("at most 256 hosts")?;
    let executor = ExecutorId::from_entropy(entropy);
    let mut command = world.command([
        IN_WORLD,
        "--folder",
        "/var/lib/stanch/executor",
        "--executor",
        executor.as_str(),
        "--name",
        &name(at),
        "--root-key",
        &root.to_string(),
    ])?;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start an executor")?;
    let input = child.stdin.take().context("no pipe")?;
    let output = child.stdout.take().context("no pipe")?;
    let (polls, hellos) = mpsc::channel::<Hello>();
    let (answering, watching) = (gateway.clone(), Arc::clone(&log));
    std::thread::spawn(move || answer_polls(hellos, input, &answering, at, &watching));
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(Outgoing::Hello(hello)) => drop(polls.send(*hello)),
                Ok(Outgoing::Receipt(receipt)) => {
                    note(&log, at, &receipt.body.answer, receipt.body.at);
                    if let Err(error) = gateway.receipt(*receipt) {
                        eprintln!("{}: a receipt was refused: {error}", name(at));
                    }
                }
                Ok(Outgoing::Progress(word)) => gateway.progress(word),
                Ok(Outgoing::Halted(_) | Outgoing::Appends(_)) => {}
                Err(_) => eprintln!("{}: {line}", name(at)),
            }
        }
        let _ = child.wait();
    });
    Ok(())
}

fn answer_polls(hellos: mpsc::Receiver<Hello>, mut input: ChildStdin, gateway: &BlockingGateway, at: usize, log: &Log) {
    let mut known = false;
    for hello in hellos {
        if !known {
            if let Err(error) = gateway.register(&hello) {
                eprintln!("{}: not registered: {error}", name(at));
                return;
            }
            known = true;
        }
        let Ok(batch) = gateway.poll(hello) else { return };
        let acts = batch.orders.iter().filter(|order| matches!(order.body.verb, Verb::Apply(_)));
        locked(log).entry(at).or_default().acts.extend(acts.map(|order| order.body.id.clone()));
        let Ok(line) = serde_json::to_string(&batch) else {
            return;
        };
        if writeln!(input, "{line}").is_err() {
            return;
        }
    }
}

/// Remembers what an answer says of holds and starts.
fn note(log: &Log, at: usize, answer: &Answer, when: Timestamp) {
    let mut log = locked(log);
    let seen = log.entry(at).or_default();
    match answer {
        Answer::Applied { steps } => seen.starts.extend(steps.iter().filter_map(|step| step.started_at)),
        Answer::Held { held: true } => seen.held_at = seen.held_at.or(Some(when)),
        _ => {}
    }
}
