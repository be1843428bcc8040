//! The agent's package in a real root under a real systemd: installed by apt, enrolled, at work inside its unit, upgraded
//! by its own hand, brought back when a new version does not prove itself, removed and purged.
//!
//! `prove_package FOLDER KEY` takes the packages from where `cargo xtask dist` put them, and the release key that signed
//! them.

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
use stanch_testkit::lan::Lan;
use stanch_testkit::site::Site;
use stanch_testkit::visitor::part;
use stanch_testkit::{Archive, Base, Package, ReleaseKey, Suite, World, wait_until};

const PATIENCE: Duration = Duration::from_secs(300);
const UNIT: &str = "stanch-agent.service";

fn main() -> Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).context("where are the packages?")?);
    Base::systemd()?;
    Lan::apart()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut claims = Claims::new();
    let key = std::env::args().nth(2).context("where is the release key?")?;
    life(&runtime, &folder, &ReleaseKey::read(Path::new(&key))?, &mut claims)?;
    claims.end()
}

fn found(folder: &Path, start: &str) -> Result<PathBuf> {
    let mut entries = std::fs::read_dir(folder)?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let name = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start));
    entries
        .find(|path| name(path) && path.extension().is_some_and(|end| end == "deb"))
        .with_context(|| format!("no {start}*.deb in {}: cargo xtask dist makes them", folder.display()))
}

/// The same package as a later version, its agent another one if a script takes its place.
fn later(deb: &Path, folder: &Path, ending: &str, instead: Option<&str>) -> Result<PathBuf> {
    let tree = folder.join(ending);
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
        let (agent, real) = (tree.join("usr/bin/stanch-agent"), tree.join("usr/lib/stanch-agent/real"));
        std::fs::create_dir_all(tree.join("usr/lib/stanch-agent"))?;
        std::fs::rename(&agent, real)?;
        std::fs::write(&agent, script)?;
        std::fs::set_permissions(&agent, std::fs::Permissions::from_mode(0o755))?;
    }
    let made = folder.join(format!("stanch-agent_{ending}.deb"));
    run(Command::new("dpkg-deb").args(["--root-owner-group", "-Znone", "--build"]).arg(&tree).arg(&made))?;
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
    let good = later(&agent, made.path(), "a", None)?;
    key.sign(&good)?;
    archive.publish_deb(&Suite::security(), &good)?;
    let (state, seconds) = fixed(&site, &world, "stanch-agent")?;
    let version = world.must(["dpkg-query", "--show", "--showformat=${Version}", "stanch-agent"])?;
    let restarted = wait_until("the new one is at work", PATIENCE, || Ok(![0, pid].contains(&main_pid(&world)?)));
    let done = state == "closed" && version.ends_with("+a") && restarted.is_ok();
    claims.claim(
        "it upgrades its own package, and the run goes on to its proof",
        done,
        json!({ "seconds": seconds, "version": version }),
        || format!("{state}, {version}: {}", journal(&world)),
    );
    let settled = wait_until("it has proven itself", PATIENCE, || Ok(!watched(&world)));
    let kept = installed(&world)?;
    claims.claim("its new version proves itself and stays", settled.is_ok() && kept.ends_with("+a"), json!({}), || {
        format!("{kept}: {}", journal(&world))
    });

    // Whatever server and archive say: nobody released it.
    archive.publish_deb(&Suite::security(), &later(&agent, made.path(), "b", None)?)?;
    let (state, seconds) = fixed(&site, &world, "stanch-agent")?;
    let kept = installed(&world)?;
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
        let bad = later(&agent, made.path(), ending, Some(script))?;
        key.sign(&bad)?;
        archive.publish_deb(&Suite::security(), &bad)?;
        let (state, seconds) = fixed(&site, &world, "stanch-agent")?;
        let back = wait_until("the one before is back", PATIENCE, || {
            Ok(installed(&world)?.ends_with("+a") && !watched(&world) && told(&site, ending)?)
        });
        let kept = installed(&world)?;
        claims.claim(
            &format!(
                "a version that {what} is taken back by the timer, the record has it, and the run does not end well"
            ),
            back.is_ok() && state != "closed",
            json!({ "state": state, "seconds": seconds }),
            || format!("{state}, {kept}: {}\n{}", journal(&world), timer(&world)),
        );
    }

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

fn installed(world: &World) -> Result<String> {
    world.must(["dpkg-query", "--show", "--showformat=${Version}", "stanch-agent"])
}

/// Whether a new version has still to prove itself.
fn watched(world: &World) -> bool {
    world.exists("/var/lib/stanch-agent/restore/stanch-agent/watch.json")
}

/// Whether the record has it that this version was taken back.
fn told(site: &Site, ending: &str) -> Result<bool> {
    let all = site.visitor.get("/api/v1/ledger?limit=500")?;
    let text = all.to_string();
    Ok(text.contains("package_restored") && text.contains(&format!("+{ending}")))
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

/// Has the one item of this name found, planned, approved and carried out. Answers how it ended, and in how many seconds.
fn fixed(site: &Site, world: &World, name: &str) -> Result<(String, u64)> {
    world.must(["apt-get", "update"])?;
    let began = Instant::now();
    site.visitor.post("/api/v1/scan", json!({}))?;
    let mut item = Value::Null;
    wait_until("the item", PATIENCE, || {
        let all = site.visitor.get("/api/v1/items")?;
        let all = part(&all, "items").as_array().cloned().unwrap_or_default();
        item = all.into_iter().find(|one| *part(one, "name") == name).unwrap_or_default();
        Ok(!item.is_null())
    })?;
    let made = site.visitor.post("/api/v1/remediations", json!({ "items": [part(&item, "id")] }))?;
    let id = part(part(&made, "remediation"), "id").as_str().with_context(|| made.to_string())?.to_owned();
    let path = format!("/api/v1/remediations/{id}");
    let mut one = Value::Null;
    wait_until("a plan, or why there is none", PATIENCE, || {
        one = part(&site.visitor.get(&path)?, "remediation").clone();
        Ok(*part(&one, "state") == "awaiting_approval" || ended(&one))
    })?;
    if *part(&one, "state") == "awaiting_approval" {
        site.visitor.post(&format!("{path}/approve"), json!({ "plan_hash": part(&one, "plan") }))?;
        wait_until("its end", PATIENCE, || {
            one = part(&site.visitor.get(&path)?, "remediation").clone();
            Ok(ended(&one))
        })
        .with_context(|| format!("the last was {one}"))?;
    }
    if *part(&one, "state") == "needs_operator" {
        // A person has looked: the next version may be tried.
        site.visitor.post(&format!("{path}/dismiss"), json!({ "reason": "a newer version follows" }))?;
    }
    Ok((part(&one, "state").as_str().unwrap_or_default().to_owned(), began.elapsed().as_secs()))
}
