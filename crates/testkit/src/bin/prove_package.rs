//! The packages in real roots under a real systemd. The agent's: installed by apt, enrolled, at work inside its unit,
//! upgraded by its own hand, brought back when a new version does not prove itself, removed and purged. The server's beside
//! it: both upgraded in one leaf while a rollout to other hosts is under way, and then each to a version that is brought
//! back, without anything of the rollout being lost or done twice.
//!
//! `prove_package FOLDER KEY [LIFE...]` takes the packages from where `cargo xtask dist` put them, and the release key that
//! signed them. Lives are `alone` and `together`; both when none is named.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stanch_server::{Door, Intervals};
use stanch_testkit::archive::{MOUNT_POINT, Via};
use stanch_testkit::claims::Claims;
use stanch_testkit::lan::{self, Lan};
use stanch_testkit::site::Site;
use stanch_testkit::visitor::{Visitor, part};
use stanch_testkit::world::Process;
use stanch_testkit::{Archive, Base, Package, ReleaseKey, Suite, World, wait_until};

const PATIENCE: Duration = Duration::from_secs(300);
/// Two versions that do not prove themselves, one after the other, and what follows from it.
const LONG: Duration = Duration::from_secs(1_200);
const UNIT: &str = "stanch-agent.service";
const AGENT: &str = "stanch-agent";
const SERVER: &str = "stanch";
/// Hosts to which a rollout is under way.
const HOSTS: usize = 3;
/// What a host shows as soon as it is let go on.
const GO: &str = "/run/go";
/// The fixed version of what is rolled out.
const FIXED: &str = "1.0-2";

type Proof = fn(&tokio::runtime::Runtime, &Path, &ReleaseKey, &mut Claims) -> Result<()>;

fn main() -> Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).context("where are the packages?")?);
    Base::systemd()?;
    Lan::apart()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut claims = Claims::new();
    let key = std::env::args().nth(2).context("where is the release key?")?;
    let key = ReleaseKey::read(Path::new(&key))?;
    // What is wrong with one life says nothing of the other.
    let named: Vec<String> = std::env::args().skip(3).collect();
    for (name, proof) in [("alone", life as Proof), ("together", together)] {
        if !named.is_empty() && !named.iter().any(|one| one == name) {
            continue;
        }
        if let Err(error) = proof(&runtime, &folder, &key, &mut claims) {
            claims.claim(&format!("{name}, it comes to its end"), false, json!({}), || format!("{error:#}"));
        }
    }
    claims.end()
}

fn found(folder: &Path, start: &str) -> Result<PathBuf> {
    let mut entries = std::fs::read_dir(folder)?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let name = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start));
    entries
        .find(|path| name(path) && path.extension().is_some_and(|end| end == "deb"))
        .with_context(|| format!("no {start}*.deb in {}: cargo xtask dist makes them", folder.display()))
}

/// The same package as a later version, its program another one if a script takes its place.
fn later(deb: &Path, package: &str, folder: &Path, ending: &str, instead: Option<&str>) -> Result<PathBuf> {
    let tree = folder.join(format!("{package}-{ending}"));
    let run = |command: &mut Command| -> Result<()> {
        let output = command.output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    run(Command::new("dpkg-deb").arg("--raw-extract").arg(deb).arg(&tree))?;
    let control = tree.join("DEBIAN/control");
    let text = std::fs::read_to_string(&control)?;
    let text: Vec<String> = text
        .lines()
        .map(|line| line.strip_prefix("Version: ").map_or(line.to_owned(), |old| format!("Version: {old}+{ending}")))
        .collect();
    std::fs::write(&control, text.join("\n") + "\n")?;
    if let Some(script) = instead {
        let aside = tree.join("usr/lib").join(package);
        std::fs::create_dir_all(&aside)?;
        let program = tree.join("usr/bin").join(package);
        std::fs::rename(&program, aside.join("real"))?;
        std::fs::write(&program, script)?;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    }
    let made = folder.join(format!("{package}_{ending}.deb"));
    run(Command::new("dpkg-deb").args(["--root-owner-group", "-Znone", "--build"]).arg(&tree).arg(&made))?;
    std::fs::remove_dir_all(&tree)?;
    Ok(made)
}

/// What stands on the disk that its base does not have, without what package managers and logs keep of everything.
fn standing(world: &World, base: &Base) -> Result<BTreeSet<String>> {
    const KEPT: [&str; 8] =
        ["/var/lib/dpkg/", "/var/lib/apt/", "/var/cache/", "/var/log/", "/run/", "/tmp/", "/var/tmp/", "/root/"];
    // Of systemd itself: clocks, random seeds, timers.
    const SYSTEM: [&str; 2] = ["/var/lib/systemd/", "/etc/ld.so.cache"];
    let changes: BTreeMap<String, &str> = world.changes()?;
    let ours = |(path, kind): &(String, &str)| {
        // A folder in which something was written once is laid over its own like.
        let touched = *kind == "folder" && base.path().join(path.trim_start_matches('/')).is_dir();
        let kept = |start: &&str| path.starts_with(*start) || path == start.trim_end_matches('/');
        !touched && !KEPT.iter().chain(&SYSTEM).any(kept)
    };
    Ok(changes.into_iter().filter(ours).map(|(path, _)| path).collect())
}

fn life(runtime: &tokio::runtime::Runtime, folder: &Path, key: &ReleaseKey, claims: &mut Claims) -> Result<()> {
    let agent = found(folder, "stanch-agent_")?;
    let made = tempfile::tempdir()?;
    let archive = Archive::new()?;
    let tool = |version: &str| {
        Package::new("tool", version).file_mode("/usr/bin/tool", format!("#!/bin/sh\necho {version}\n"), 0o755)
    };
    archive.publish(&Suite::main(), &tool("1.0-1"))?;
    archive.publish_deb(&Suite::main(), &agent)?;
    let base = Base::systemd()?;
    let world = World::builder(&base).bind(archive.path(), MOUNT_POINT).systemd().boot()?;
    let mut lan = Lan::new()?;
    lan.join(&world)?;
    world.write("/etc/apt/sources.list", archive.sources_list(Via::Copy))?;
    world.must(["apt-get", "update"])?;
    world.must(["apt-get", "install", "-y", "tool=1.0-1"])?;
    let before = standing(&world, &base)?;

    world.must(["apt-get", "install", "-y", "stanch-agent"])?;
    let idle = !world.run(["systemctl", "is-active", "--quiet", UNIT])?.ok();
    let version = world.must(["dpkg-query", "--show", "--showformat=${Version}", "stanch-agent"])?;
    claims.claim(
        "apt installs it, and nothing runs before it is enrolled",
        idle,
        json!({ "version": version }),
        || world.run(["systemctl", "status", UNIT]).map(|output| output.all()).unwrap_or_default(),
    );

    let site = site(runtime)?;
    let began = Instant::now();
    let token = site.visitor.post("/api/v1/enrolments", json!({ "name": "root", "confirmed": true }))?;
    world.write_mode("/root/token", part(&token, "token").as_str().context("a token")?, 0o600)?;
    world.must(["stanch-agent", "enrol", "--server", &site.door()?, "--token-file", "/root/token"])?;
    world.must(["systemctl", "enable", "--now", UNIT])?;
    let connected = wait_until("the agent is connected", PATIENCE, || {
        let all = site.visitor.get("/api/v1/executors")?;
        Ok(all.as_array().into_iter().flatten().any(|one| *part(one, "connected") == json!(true)))
    });
    let seconds = began.elapsed().as_secs();
    claims.claim("enrolled, its unit connects", connected.is_ok(), json!({ "seconds": seconds }), || {
        world.run(["journalctl", "-u", UNIT, "--no-pager"]).map(|output| output.all()).unwrap_or_default()
    });

    // At work inside the hardened unit, by real apt.
    archive.publish(&Suite::security(), &tool("1.0-2"))?;
    let (state, seconds) = fixed(&site, &world, "tool")?;
    let version = world.must(["tool"])?;
    let done = state == "closed" && version.trim() == "1.0-2";
    claims.claim("it upgrades a package from inside its unit", done, json!({ "seconds": seconds }), || {
        format!("{state}, {version}: {}", journal(&world))
    });

    // Its own package, by its own hand.
    let pid = main_pid(&world)?;
    world.write("/etc/stanch/executor.toml", "prove_within_seconds = 60\n")?;
    let good = later(&agent, AGENT, made.path(), "a", None)?;
    key.sign(&good)?;
    archive.publish_deb(&Suite::security(), &good)?;
    let (state, seconds) = fixed(&site, &world, AGENT)?;
    let version = installed(&world, AGENT)?;
    let restarted = wait_until("the new one is at work", PATIENCE, || Ok(![0, pid].contains(&main_pid(&world)?)));
    let done = state == "closed" && version.ends_with("+a") && restarted.is_ok();
    claims.claim(
        "it upgrades its own package, and the run goes on to its proof",
        done,
        json!({ "seconds": seconds, "version": version }),
        || format!("{state}, {version}: {}", journal(&world)),
    );
    let began = Instant::now();
    let settled = wait_until("it has proven itself", PATIENCE, || {
        Ok(!watched(&world, AGENT) && !world.exists("/usr/lib/stanch-agent/restore"))
    });
    let kept = installed(&world, AGENT)?;
    claims.claim(
        "its new version proves itself and stays, and nothing of the watch is left",
        settled.is_ok() && kept.ends_with("+a"),
        json!({ "seconds": began.elapsed().as_secs() }),
        || format!("{kept}: {}\n{}", journal(&world), timer(&world)),
    );

    // Whatever server and archive say: nobody released it.
    archive.publish_deb(&Suite::security(), &later(&agent, AGENT, made.path(), "b", None)?)?;
    let (state, seconds) = fixed(&site, &world, AGENT)?;
    let kept = installed(&world, AGENT)?;
    let refused = state != "closed" && kept.ends_with("+a");
    claims.claim(
        "a version that the release key did not sign is not installed",
        refused,
        json!({ "state": state, "seconds": seconds }),
        || format!("{state}, {kept}: {}", journal(&world)),
    );

    for (ending, what, script) in [
        ("c", "exits at once", "#!/bin/sh\nexit 1\n"),
        (
            "d",
            "runs and cannot connect",
            "#!/bin/sh\nexport HTTPS_PROXY=http://127.0.0.1:9\nexec /usr/lib/stanch-agent/real \"$@\"\n",
        ),
    ] {
        let bad = later(&agent, AGENT, made.path(), ending, Some(script))?;
        key.sign(&bad)?;
        archive.publish_deb(&Suite::security(), &bad)?;
        let (state, seconds) = fixed(&site, &world, AGENT)?;
        let back = wait_until("the one before is back", PATIENCE, || {
            Ok(installed(&world, AGENT)?.ends_with("+a")
                && !watched(&world, AGENT)
                && told(&site.visitor, AGENT, ending))
        });
        let kept = installed(&world, AGENT)?;
        claims.claim(
            &format!(
                "a version that {what} is taken back by the timer, the record has it, and the run does not end well"
            ),
            back.is_ok() && state != "closed",
            json!({ "state": state, "seconds": seconds }),
            || format!("{state}, {kept}: {}\n{}", journal(&world), timer(&world)),
        );
    }

    let list = world.must(["stanch-agent", "failed"])?;
    let (state, seconds) = fixed(&site, &world, AGENT)?;
    let both = list.contains("+c ") && list.contains("+d ");
    let kept = installed(&world, AGENT)?;
    let held = state != "closed" && kept.ends_with("+a") && !watched(&world, AGENT);
    claims.claim(
        "versions that failed here are listed, and no order installs one again",
        both && held,
        json!({ "state": state, "seconds": seconds }),
        || format!("{state}, {kept}: {list}\n{}", journal(&world)),
    );
    let version = world.must([
        "dpkg-deb",
        "--field",
        &format!("{MOUNT_POINT}/pool/{}/stanch-agent_d.deb", Suite::security().codename),
        "Version",
    ])?;
    let name = format!("{AGENT}={}", version.trim());
    world.must(["stanch-agent", "failed", "--forget", &name])?;
    let list = world.must(["stanch-agent", "failed"])?;
    claims.claim("a person takes one off the list", !list.contains(&name), json!({}), || list.clone());

    let shown = world.must(["systemctl", "show", "--property=MemoryPeak,CPUUsageNSec", UNIT])?;
    let cost: BTreeMap<&str, &str> = shown.lines().filter_map(|line| line.split_once('=')).collect();

    world.must(["apt-get", "remove", "-y", "stanch-agent"])?;
    let gone = !world.run(["systemctl", "is-active", "--quiet", UNIT])?.ok() && !world.exists("/usr/bin/stanch-agent");
    let kept = world.exists("/var/lib/stanch-agent/identity.json") && world.exists("/etc/stanch/executor.toml");
    claims.claim("removed, it is stopped, and what it knew stays", gone && kept, json!({ "cost": cost }), || {
        world.run(["systemctl", "status", UNIT]).map(|output| output.all()).unwrap_or_default()
    });
    world.must(["apt-get", "purge", "-y", "stanch-agent"])?;
    let after = standing(&world, &base)?;
    let left: Vec<&String> = after.difference(&before).filter(|path| !path.contains("usr/bin/tool")).collect();
    let enabled = world.exists("/etc/systemd/system/multi-user.target.wants/stanch-agent.service");
    claims
        .claim("purged, nothing is left", left.is_empty() && !enabled, json!({ "left": left }), || format!("{left:?}"));
    Ok(())
}

fn journal(world: &World) -> String {
    world.run(["journalctl", "-u", UNIT, "--no-pager", "-n", "60"]).map(|output| output.all()).unwrap_or_default()
}

fn timer(world: &World) -> String {
    let unit = "stanch-agent-restore.service";
    world.run(["journalctl", "-u", unit, "--no-pager", "-n", "60"]).map(|output| output.all()).unwrap_or_default()
}

fn installed(world: &World, package: &str) -> Result<String> {
    world.must(["dpkg-query", "--show", "--showformat=${Version}", package])
}

/// Whether a new version has still to prove itself.
fn watched(world: &World, package: &str) -> bool {
    world.exists(&format!("/var/lib/stanch-agent/restore/{package}/watch.json"))
}

/// Whether the record has it that this version was taken back.
fn told(visitor: &Visitor, package: &str, ending: &str) -> bool {
    let Ok(all) = visitor.get("/api/v1/ledger?limit=500") else { return false };
    let (package, ending) = (format!("\"package\":\"{package}\""), format!("+{ending}\""));
    let entries = part(&all, "entries").as_array().or(all.as_array()).cloned().unwrap_or_default();
    entries
        .iter()
        .map(Value::to_string)
        .any(|entry| entry.contains("package_restored") && entry.contains(&package) && entry.contains(&ending))
}

fn main_pid(world: &World) -> Result<u32> {
    Ok(world.must(["systemctl", "show", "--value", "--property=MainPID", UNIT])?.trim().parse()?)
}

fn site(runtime: &tokio::runtime::Runtime) -> Result<Site> {
    Site::open(runtime, |config| {
        let names = vec![Lan::here().to_string()];
        config.executors = Some(Door { listen: SocketAddr::new(Lan::here(), 0), names });
        config.bake = Duration::ZERO;
        config.intervals = Intervals {
            tick: Duration::from_millis(200),
            park: Duration::from_secs(5),
            gather: Duration::ZERO,
            ..Intervals::default()
        };
    })
}

/// Whether it goes on by itself no more.
fn ended(remediation: &Value) -> bool {
    *part(remediation, "over") == json!(true) || *part(remediation, "state") == "needs_operator"
}

/// What a server orders that may be gone for a while.
struct Orders<'a> {
    visitor: &'a Visitor,
    id: String,
    last: Value,
}

impl<'a> Orders<'a> {
    /// Asks for the items of these names, so many of each, and says yes to the plan.
    fn begin(visitor: &'a Visitor, wanted: &[(&str, usize)]) -> Result<Self> {
        visitor.post("/api/v1/scan", json!({}))?;
        let mut items = Vec::new();
        wait_until("the items", PATIENCE, || {
            let all = visitor.get("/api/v1/items")?;
            let all = part(&all, "items").as_array().cloned().unwrap_or_default();
            items = all.into_iter().filter(|one| wanted.iter().any(|(name, _)| *part(one, "name") == *name)).collect();
            let count = |name: &str| items.iter().filter(|one| *part(one, "name") == name).count();
            Ok(wanted.iter().all(|(name, hosts)| count(name) == *hosts))
        })?;
        let ids: Vec<&Value> = items.iter().map(|item| part(item, "id")).collect();
        let made = visitor.post("/api/v1/remediations", json!({ "items": ids }))?;
        let id = part(part(&made, "remediation"), "id").as_str().with_context(|| made.to_string())?.to_owned();
        let mut orders = Self { visitor, id, last: Value::Null };
        orders.wait("a plan, or why there is none", PATIENCE, |one| {
            *part(one, "state") == "awaiting_approval" || ended(one)
        })?;
        if *part(&orders.last, "state") == "awaiting_approval" {
            let path = format!("/api/v1/remediations/{}/approve", orders.id);
            visitor.post(&path, json!({ "plan_hash": part(&orders.last, "plan") }))?;
        }
        Ok(orders)
    }

    fn wait(&mut self, what: &str, patience: Duration, holds: impl Fn(&Value) -> bool) -> Result<()> {
        let path = format!("/api/v1/remediations/{}", self.id);
        let waited = wait_until(what, patience, || {
            // It may be what is being upgraded.
            let Ok(answer) = self.visitor.get(&path) else { return Ok(false) };
            self.last = part(&answer, "remediation").clone();
            Ok(holds(&self.last))
        });
        waited.with_context(|| format!("the last was {}", self.last))
    }

    /// The state in which it ended.
    fn end(&mut self, patience: Duration) -> Result<String> {
        self.wait("its end", patience, ended)?;
        if *part(&self.last, "state") == "needs_operator" {
            // A person has looked: the next version may be tried.
            let path = format!("/api/v1/remediations/{}/dismiss", self.id);
            self.visitor.post(&path, json!({ "reason": "a newer version follows" }))?;
        }
        Ok(part(&self.last, "state").as_str().unwrap_or_default().to_owned())
    }
}

/// Has the one item of this name found, planned, approved and carried out. Answers how it ended, and in how many seconds.
fn fixed(site: &Site, world: &World, name: &str) -> Result<(String, u64)> {
    world.must(["apt-get", "update"])?;
    let began = Instant::now();
    let state = Orders::begin(&site.visitor, &[(name, 1)])?.end(LONG)?;
    Ok((state, began.elapsed().as_secs()))
}

/// A host to which something is rolled out, with its agent, which ends with it.
struct Host {
    world: World,
    _agent: Process,
}

impl Host {
    fn boot(archive: &Archive, lan: &mut Lan, number: usize, server: &str, token: &str) -> Result<Self> {
        let agent = std::env::current_exe()?.with_file_name(AGENT);
        let base = Base::minimal()?;
        let world = World::builder(&base).hostname(&format!("host-{number}"));
        let world = world.bind(archive.path(), MOUNT_POINT).bind(agent, "/usr/bin/stanch-agent").boot()?;
        lan.join(&world)?;
        world.write("/etc/apt/sources.list", archive.sources_list(Via::Copy))?;
        world.must(["apt-get", "update"])?;
        world.must(["apt-get", "install", "-y", "tool=1.0-1"])?;
        world.write_mode("/root/token", token, 0o600)?;
        world.must(["/usr/bin/stanch-agent", "enrol", "--server", server, "--token-file", "/root/token"])?;
        let agent = world.spawn(["/usr/bin/stanch-agent", "run"])?;
        Ok(Self { world, _agent: agent })
    }

    /// Lines that the package wrote when it began, and when it was configured.
    fn log(&self) -> (usize, usize) {
        let text = self.world.text("/var/log/tool").unwrap_or_default();
        let count = |word: &str| text.lines().filter(|line| line.starts_with(word)).count();
        (count("began"), count("configured"))
    }
}

/// The program of the server, as its own user.
fn stanch(world: &World, words: &[&str]) -> Result<String> {
    let user = ["runuser", "-u", "stanch", "--", "stanch", "--data-dir", "/var/lib/stanch"];
    world.must(user.iter().chain(words))
}

fn together(runtime: &tokio::runtime::Runtime, folder: &Path, key: &ReleaseKey, claims: &mut Claims) -> Result<()> {
    let debs = [(AGENT, found(folder, "stanch-agent_")?), (SERVER, found(folder, "stanch_")?)];
    let made = tempfile::tempdir()?;
    let archive = Archive::new()?;
    archive.publish(&Suite::main(), &Package::new("tool", "1.0-1").file("/usr/share/tool", "1.0-1\n"))?;
    for (_, deb) in &debs {
        archive.publish_deb(&Suite::main(), deb)?;
    }
    let began = Instant::now();
    let base = Base::systemd()?;
    let home = World::builder(&base).hostname("home").bind(archive.path(), MOUNT_POINT).systemd().boot()?;
    let mut lan = Lan::new()?;
    let address = lan.join(&home)?;
    home.write("/etc/apt/sources.list", archive.sources_list(Via::Copy))?;
    home.must(["apt-get", "update"])?;
    home.must(["apt-get", "install", "-y", SERVER, AGENT])?;
    let door =
        format!("[Service]\nEnvironment=STANCH_EXECUTORS=0.0.0.0:7443\nEnvironment=STANCH_EXECUTORS_NAME={address}\n");
    home.write("/etc/systemd/system/stanch.service.d/door.conf", door)?;
    home.write("/etc/stanch/executor.toml", "prove_within_seconds = 60\n")?;
    home.must(["systemctl", "daemon-reload"])?;
    home.must(["systemctl", "enable", "--now", "stanch.service"])?;
    let well = wait_until("the server is well", PATIENCE, || Ok(stanch(&home, &["health"]).is_ok()));
    well.with_context(|| format!("{:?}: {}", stanch(&home, &["health"]), journals(&home)))?;
    let link = stanch(&home, &["sign-in"])?;
    let near = lan::tunnel(&home, 7070)?.to_string();
    let visitor = Visitor::sign_in(runtime.handle(), &link.trim().replace("127.0.0.1:7070", &near))?;
    // Environments of their own: within one, so few hosts are never disrupted two at a time.
    let token = |environment: &str, uses: usize| -> Result<String> {
        let host = json!({ "environment": environment });
        let wanted = json!({ "name": environment, "uses": uses, "confirmed": true, "host": host });
        let made = visitor.post("/api/v1/enrolments", wanted)?;
        Ok(part(&made, "token").as_str().context("a token")?.to_owned())
    };
    let server = format!("https://{address}:7443");
    home.write_mode("/root/token", token("control", 1)?, 0o600)?;
    home.must(["stanch-agent", "enrol", "--server", &server, "--token-file", "/root/token"])?;
    home.must(["systemctl", "enable", "--now", UNIT])?;
    let token = token("production", HOSTS)?;
    let hosts: Result<Vec<Host>> =
        (0..HOSTS).map(|number| Host::boot(&archive, &mut lan, number, &server, &token)).collect();
    let hosts = hosts?;
    let connected = wait_until("all agents are connected", PATIENCE, || {
        let all = visitor.get("/api/v1/executors")?;
        let connected = all.as_array().into_iter().flatten().filter(|one| *part(one, "connected") == json!(true));
        Ok(connected.count() == HOSTS + 1)
    });
    claims.claim(
        "server and agent of one host, both of their packages, have other hosts in their care",
        connected.is_ok(),
        json!({ "hosts": HOSTS, "seconds": began.elapsed().as_secs() }),
        || journals(&home),
    );

    // A rollout that stands in the middle of its first host until it is let go on.
    let body = format!(
        "echo began $2 >>/var/log/tool\nwhile [ ! -e {GO} ]; do sleep 0.2; done\necho configured $2 >>/var/log/tool"
    );
    let new = Package::new("tool", FIXED).file("/usr/share/tool", format!("{FIXED}\n")).postinst(&body);
    archive.publish(&Suite::security(), &new)?;
    for host in &hosts {
        host.world.must(["apt-get", "update"])?;
    }
    let mut rollout = Orders::begin(&visitor, &[("tool", HOSTS)])?;
    let rolled = Instant::now();
    wait_until("a host is in the middle of it", PATIENCE, || Ok(hosts.iter().any(|host| host.log().0 > 0)))?;

    let publish = |ending: &str, instead: Option<&str>| -> Result<()> {
        for (package, deb) in &debs {
            let deb = later(deb, package, made.path(), ending, instead)?;
            key.sign(&deb)?;
            archive.publish_deb(&Suite::security(), &deb)?;
        }
        home.must(["apt-get", "update"]).map(drop)
    };
    let both = |ending: &str| -> Result<bool> {
        let at = |package| installed(&home, package).map(|version| version.ends_with(&format!("+{ending}")));
        Ok(at(AGENT)? && at(SERVER)?)
    };
    let settled = || !watched(&home, AGENT) && !watched(&home, SERVER);
    let under_way = |rollout: &Orders<'_>| {
        let states = hosts.iter().map(Host::log).collect::<Vec<_>>();
        !ended(&rollout.last) && states.iter().all(|(_, configured)| *configured == 0)
    };

    publish("g", None)?;
    let began = Instant::now();
    let state = Orders::begin(&visitor, &[(AGENT, 1), (SERVER, 1)])?.end(LONG)?;
    let stays = wait_until("both have proven themselves", PATIENCE, || Ok(both("g")? && settled()));
    claims.claim(
        "agent and server go up in one leaf while a rollout is under way, prove themselves and stay",
        state == "closed" && stays.is_ok() && under_way(&rollout),
        json!({ "state": state, "seconds": began.elapsed().as_secs() }),
        || format!("{state}: {}", journals(&home)),
    );

    publish("h", Some("#!/bin/sh\nexit 1\n"))?;
    // One after the other: where the agent's version fails, the rest of its leaf is not begun.
    for package in [AGENT, SERVER] {
        let began = Instant::now();
        let mut orders = Orders::begin(&visitor, &[(package, 1)])?;
        let mut came = false;
        let back = wait_until("the one before is back", LONG, || {
            came |= installed(&home, package)?.ends_with("+h");
            Ok(came && both("g")? && settled() && told(&visitor, package, "h"))
        });
        let seconds = began.elapsed().as_secs();
        let state = orders.end(LONG)?;
        claims.claim(
            &format!("a bad version of {package} is brought back while a rollout is under way, and the record has it"),
            back.is_ok() && state != "closed" && under_way(&rollout),
            json!({ "state": state, "seconds": seconds }),
            || format!("{state}, came: {came}: {}", journals(&home)),
        );
    }

    for host in &hosts {
        host.world.write(GO, "")?;
    }
    let state = rollout.end(LONG)?;
    let wrong: Vec<String> = hosts
        .iter()
        .enumerate()
        .filter_map(|(number, host)| {
            let (version, log) = (installed(&host.world, "tool").unwrap_or_default(), host.log());
            let audit = host.world.must(["dpkg", "--audit"]).unwrap_or_else(|error| error.to_string());
            let good = version == FIXED && log == (1, 1) && audit.trim().is_empty();
            (!good).then(|| format!("host-{number}: {version}, {log:?} {audit}"))
        })
        .collect();
    let verified = visitor.get("/api/v1/ledger/verify")?;
    claims.claim(
        "the rollout that was under way all the time ends well: nothing is lost, nothing is done twice",
        state == "closed" && wrong.is_empty() && *part(&verified, "good") == json!(true),
        json!({ "state": state, "hosts": HOSTS, "seconds": rolled.elapsed().as_secs(),
            "entries": part(&verified, "entries") }),
        || format!("{state}; {}; {}; {verified}", wrong.join("; "), rollout.last),
    );
    Ok(())
}

fn journals(world: &World) -> String {
    let units = ["--unit=stanch.service", "--unit=stanch-agent-restore.service", "--unit=stanch-agent.service"];
    let line = ["journalctl", "--no-pager", "-n", "80"].into_iter().chain(units);
    world.run(line).map(|output| output.all()).unwrap_or_default()
}
