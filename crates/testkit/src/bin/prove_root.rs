//! The whole promise on a real machine: a Debian made from main only, under a real systemd, with the live security
//! pocket. Every pending security update is fixed by one command, proven, and taken back again.
//!
//! `prove_root BINARY` prints a claim a line and ends with 1 when one does not hold.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use stanch_testkit::claims::Claims;
use stanch_testkit::live::{Live, STANCH, State};

/// Taken back alone before the rest: a service with a configuration file that its administrator has edited.
const ONE: &str = "nginx";
const EDITED: &str = "/etc/nginx/nginx.conf";
/// What this machine's administrator allows: nothing is left to a person here, and the front page must still come.
const RULES: &str = r#"
reexec = true
[allow]
services = ["dbus.service", "systemd-logind.service"]
[[probe]]
name = "front page"
command = ["/usr/bin/curl", "-fsS", "--noproxy", "*", "-o", "/dev/null", "http://127.0.0.1/"]
"#;

fn main() -> Result<()> {
    let binary = std::env::args_os().nth(1).map(PathBuf::from).context("which binary? prove_root TARGET/stanch")?;
    let live = Live::boot(&binary)?;
    let configuration = live.world.text(EDITED)?;
    live.world.write(EDITED, format!("# edited by the administrator\n{configuration}"))?;
    live.world.write_mode("/etc/stanch/executor.toml", RULES, 0o600)?;
    let mut claims = Claims::new();
    prove(&live, &mut claims)?;
    claims.end()
}

fn prove(live: &Live, claims: &mut Claims) -> Result<()> {
    let before = live.state()?;
    let found = live.findings()?;
    let services = live.services_answer();
    let figures = json!({
        "packages": before.versions.len(),
        "conffiles": before.conffiles.len(),
        "findings": found.len(),
        "fixable": fixable(&found).len(),
        "apt_pending": pending(live)?,
    });
    let behind = !fixable(&found).is_empty() && services.is_ok();
    claims.claim("a server that is behind", behind, figures, || format!("{services:?}"));

    let patched = fix(live, claims, &before)?;
    let again = live.stanch(["fix", "--all", "--yes"])?;
    let differs = patched.difference(&live.state()?);
    claims.claim("a second fix changes nothing", again.ok() && differs.is_empty(), json!({}), || {
        format!("{differs:?} {}", end_of(&again.all()))
    });

    undo_one(live, claims, &before, &patched)?;
    let restored = undo_all(live, claims, &before)?;
    stays_undone(live, claims, &restored)?;
    audit(live, claims)
}

fn fix(live: &Live, claims: &mut Claims, before: &State) -> Result<State> {
    let began = Instant::now();
    let fix = live.stanch(["fix", "--all", "--yes"])?;
    let seconds = began.elapsed().as_secs();
    eprintln!("{}", fix.all());
    let patched = live.state()?;
    let changed = patched.versions.iter().filter(|(name, version)| before.versions.get(*name) != Some(version)).count();
    let left = pending(live)?;
    claims.claim(
        "fix --all",
        fix.ok() && changed > 0 && left == 0,
        json!({"seconds": seconds, "exit": fix.status.code(), "packages_changed": changed, "apt_still_pending": left}),
        || end_of(&fix.all()),
    );
    let after = live.findings()?;
    let open = fixable(&after);
    claims.claim(
        "no finding is left that has a fix",
        open.is_empty(),
        json!({"findings": after.len(), "fixable": open.len()}),
        || format!("{:?}", open.iter().take(10).collect::<Vec<_>>()),
    );
    healthy(live, claims, "after the fix")?;
    let kept = live.world.text(EDITED)?.starts_with("# edited by the administrator");
    claims.claim("an edited configuration file is kept", kept, json!({}), || format!("{EDITED} lost its edit"));
    Ok(patched)
}

/// What must be true of a server at any time.
fn healthy(live: &Live, claims: &mut Claims, when: &str) -> Result<()> {
    let audit = live.world.run(["dpkg", "--audit"])?;
    let clean = audit.ok() && audit.all().trim().is_empty();
    claims.claim(&format!("dpkg --audit is clean {when}"), clean, json!({}), || audit.all());
    let stale = live.on_deleted_code()?;
    let stale_findings = live.findings()?.iter().filter(|one| one["verdict"] == "fixed_not_running").count();
    claims.claim(
        &format!("no process is left on deleted maps {when}"),
        stale.is_empty() && stale_findings == 0,
        json!({"processes": live.world.processes()?.len(), "on_deleted_code": stale.len(), "findings": stale_findings}),
        || stale.join(", "),
    );
    let services = live.services_answer();
    claims.claim(&format!("services answer {when}"), services.is_ok(), json!({}), || format!("{services:?}"));
    Ok(())
}

fn undo_one(live: &Live, claims: &mut Claims, before: &State, patched: &State) -> Result<()> {
    let began = Instant::now();
    let undo = live.stanch(["undo", "last", ONE, "--yes"])?;
    let seconds = began.elapsed().as_secs();
    let now = live.state()?;
    let mut expected = patched.clone();
    let packages = live.packages_of(ONE)?;
    for package in &packages {
        if let Some(version) = before.versions.get(package) {
            expected.versions.insert(package.clone(), version.clone());
        }
    }
    let differs = expected.difference(&now);
    let moved = packages.iter().filter(|package| now.versions.get(*package) != patched.versions.get(*package)).count();
    claims.claim(
        "undo of one item brings back its versions and nothing else",
        undo.ok() && moved > 0 && differs.is_empty(),
        json!({"item": ONE, "seconds": seconds, "packages": moved}),
        || format!("{differs:?} {}", end_of(&undo.all())),
    );
    Ok(())
}

fn undo_all(live: &Live, claims: &mut Claims, before: &State) -> Result<State> {
    let began = Instant::now();
    let undo = live.stanch(["undo", "last", "--yes"])?;
    let seconds = began.elapsed().as_secs();
    let restored = live.state()?;
    let differs = before.difference(&restored);
    claims.claim(
        "undo of the batch brings back versions, conffiles and marks",
        undo.ok() && differs.is_empty(),
        json!({"seconds": seconds, "packages": restored.versions.len(), "conffiles": restored.conffiles.len()}),
        || format!("{differs:?} {}", end_of(&undo.all())),
    );
    healthy(live, claims, "after the undo")?;
    Ok(restored)
}

/// Neither a person's `fix --all` nor a running server with new facts does it again.
fn stays_undone(live: &Live, claims: &mut Claims, restored: &State) -> Result<()> {
    let again = live.stanch(["fix", "--all", "--yes"])?;
    let differs = restored.difference(&live.state()?);
    claims.claim("fix --all leaves out what was taken back", again.ok() && differs.is_empty(), json!({}), || {
        format!("{differs:?} {}", end_of(&again.all()))
    });
    let port = free_port()?;
    let mut up = live.up(port, &[])?;
    let refreshed = live.stanch(["findings", "--refresh", "--json", "--quiet"])?;
    let suppressed = refreshed.text().lines().filter(|line| is_suppressed(line)).count();
    let differs = restored.difference(&live.state()?);
    claims.claim(
        "a running server leaves it undone and says so",
        refreshed.ok() && differs.is_empty() && suppressed > 0,
        json!({"items_suppressed": suppressed}),
        || format!("{differs:?} {}", end_of(&refreshed.all())),
    );
    up.kill();
    Ok(())
}

fn audit(live: &Live, claims: &mut Claims) -> Result<()> {
    let verify = live.stanch(["audit", "verify", "--json", "--quiet"])?;
    let figures: Value = serde_json::from_slice(&verify.stdout).unwrap_or_default();
    claims.claim("the ledger verifies", verify.ok(), figures, || verify.all());
    let size = live.world.must(["du", "-sk", "/var/lib/stanch"])?;
    let binary = live.world.must(["du", "-k", STANCH])?;
    let kilobytes = |text: &str| text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
    let figures = json!({"data_folder_kb": kilobytes(&size), "binary_kb": kilobytes(&binary)});
    claims.claim("what it leaves on the disk", true, figures, String::new);
    Ok(())
}

/// What a long command said last.
fn end_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(25)..).unwrap_or_default().join("\n")
}

/// What `fix --all` is to close: settings are asked for by name.
fn fixable(findings: &[Value]) -> Vec<&Value> {
    let due = |finding: &&Value| finding["verdict"] == "affected_fixable" && finding["detector"] != "posture";
    findings.iter().filter(due).collect()
}

fn is_suppressed(line: &str) -> bool {
    serde_json::from_str::<Value>(line).is_ok_and(|item| item.get("suppressed").is_some_and(|why| !why.is_null()))
}

/// How many packages apt itself would still change.
fn pending(live: &Live) -> Result<usize> {
    let text = live.world.must(["apt-get", "--simulate", "dist-upgrade"])?;
    Ok(text.lines().filter(|line| line.starts_with("Inst ")).count())
}

fn free_port() -> Result<u16> {
    let Ok(listener) = std::net::TcpListener::bind(("127.0.0.1", 0)) else { bail!("no port is free") };
    Ok(listener.local_addr()?.port())
}
