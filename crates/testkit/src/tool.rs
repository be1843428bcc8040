//! What rollouts over real roots are proven on: a package with a fixed version on offer, good or bad, a daemon that runs on
//! its library, and a policy that upgrades a package by itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use stanch_model::Timestamp;
use stanch_model::sign::SigningKey;
use stanch_policy::{SIGNATURE_FILE, Source};

use crate::archive::{Archive, Daemon, MOUNT_POINT, Package, Suite, Via};
use crate::debian::Base;
use crate::wait::wait_until;
use crate::world::{Builder, Frozen, World};

/// The version that is installed.
pub const OLD: &str = "1.0-1";
/// The version that fixes it.
pub const NEW: &str = "1.0-1+deb12u1";

fn package(version: &str) -> Package {
    Package::new("tool", version)
        .file_mode("/usr/bin/tool", format!("#!/bin/sh\necho {version}\n"), 0o755)
        .conffile("/etc/tool.conf", format!("version = {version}\n"))
        .library("tool", 1)
}

/// What the fixed version is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// It is good.
    Good,
    /// It does not configure.
    Broken,
    /// It is good, and says [`AT_WORK`] while it is configured, until it may [`GO_ON`].
    Waits,
}

/// There while an update that waits is configured.
pub const AT_WORK: &str = "/run/tool.at-work";
/// What it waits for.
pub const GO_ON: &str = "/run/tool.go-on";

/// A service that runs on the package's library. That it restarts is left to whoever upgrades the library.
const SERVICE: &str = "toold";

/// A disk with the old version installed and the new one on offer. What is bound in stands there in every world of it.
///
/// # Errors
/// When no world boots, or the package cannot be made.
pub fn disk(archive: &Archive, update: Update, bound: &[(PathBuf, &str)]) -> Result<Frozen> {
    disk_on(&Base::minimal()?, archive, update, bound)
}

/// The same over another base.
///
/// # Errors
/// As [`disk`].
pub fn disk_on(base: &Base, archive: &Archive, update: Update, bound: &[(PathBuf, &str)]) -> Result<Frozen> {
    Ok(installed(World::builder(base), archive, update, bound)?.freeze())
}

/// The same with a service, which [`serve`] starts in a world of it.
///
/// # Errors
/// As [`disk`].
pub fn disk_with_service(archive: &Archive, update: Update, bound: &[(PathBuf, &str)]) -> Result<Frozen> {
    let daemon = Package::new(SERVICE, OLD).depends("tool").daemon(Daemon::new(SERVICE, "tool", 1));
    archive.publish(&Suite::main(), &daemon)?;
    let world = installed(World::builder(&Base::minimal()?).daemons(), archive, update, bound)?;
    world.must(["apt-get", "install", "-y", SERVICE])?;
    Ok(world.freeze())
}

/// Starts the service.
///
/// # Errors
/// When it does not start.
pub fn serve(world: &World) -> Result<()> {
    start(world)?;
    wait_until("the service answers", Duration::from_secs(60), || Ok(answers(world, OLD)))
}

/// The same without waiting until it answers.
///
/// # Errors
/// When it does not start.
pub fn start(world: &World) -> Result<()> {
    world.must(["invoke-rc.d", SERVICE, "start"]).map(drop)
}

/// Whether the service lives, and runs on this version of the library.
pub fn answers(world: &World, version: &str) -> bool {
    let text = |name: &str| world.text(name).unwrap_or_default();
    let runs_on = text(&format!("/run/{SERVICE}.version"));
    let pid = text(&format!("/run/{SERVICE}.pid"));
    runs_on.trim_end().ends_with(&format!(" {version}")) && world.exists(&format!("/proc/{}/maps", pid.trim()))
}

fn installed(builder: Builder, archive: &Archive, update: Update, bound: &[(PathBuf, &str)]) -> Result<World> {
    archive.publish(&Suite::main(), &package(OLD))?;
    let new = package(NEW);
    let log = format!("echo configured {NEW} >>/var/log/tool");
    let new = match update {
        Update::Good => new.postinst(&log),
        Update::Broken => new.broken_postinst(),
        Update::Waits => new.postinst(&format!("touch {AT_WORK}\nuntil [ -e {GO_ON} ]; do sleep 0.1; done\n{log}")),
    };
    archive.publish(&Suite::security(), &new)?;
    let builder = builder.bind(archive.path(), MOUNT_POINT);
    let builder = bound.iter().fold(builder, |builder, (source, target)| builder.bind(source, target));
    let world = builder.boot()?;
    world.write("/etc/apt/sources.list", archive.sources_list(Via::Copy))?;
    world.must(["apt-get", "update"])?;
    world.must(["apt-get", "install", "-y", &format!("tool={OLD}")])?;
    world.write("/var/log/tool", "")?;
    Ok(world)
}

/// The version that a world has.
///
/// # Errors
/// When it has none.
pub fn version(world: &World) -> Result<String> {
    world.must(["dpkg-query", "--show", "--showformat=${Version}", "tool"])
}

/// What signs the policies of proofs.
///
/// # Errors
/// Never: the seed is good.
pub fn key() -> Result<SigningKey> {
    Ok(SigningKey::from_seed(&[3; 32])?)
}

/// A policy that upgrades a package by itself, in these waves, so many hosts at once.
pub fn policy(package: &str, waves: &str, concurrent: usize) -> String {
    format!(
        "\
apiVersion: stanch/v1
kind: Policy
name: all
match: {{all: true}}
rules:
  - id: fixable
    when: item.fixable && item.name == \"{package}\"
    mode: auto
limits: {{concurrent: {concurrent}, per_hour: 5000, disrupted_percent: 50, cooldown: 10m, max_attempts: 2}}
rollout:
  waves: [{waves}]
  halt_if: {{failed: 2, failed_percent: 5, failed_in_first_wave: 1, inconclusive_for: 30m}}
tests:
  - {{given: some, expect: {{mode: auto, rule: fixable}}}}
  - {{given: some, set: {{item.fixable: false}}, expect: {{silent: [fixable]}}}}
  - {{given: some, set: {{item.name: other}}, expect: {{silent: [fixable]}}}}
---
apiVersion: stanch/v1
kind: Facts
name: some
facts: {{item.fixable: true, item.name: {package}, item.stale: false, asset.own: false, action.kind: package.upgrade, action.reversibility: restorable, action.proven: true}}
"
    )
}

/// Puts policies in force: signed, in the folder that a server decides by.
///
/// # Errors
/// When the folder cannot be written to.
pub fn decide(folder: &Path, text: &str) -> Result<()> {
    let source = Source { name: "all.yaml".into(), text: text.to_owned() };
    let signed = stanch_policy::sign(&[source], &key()?, Timestamp::now())?;
    std::fs::write(folder.join("all.yaml"), text)?;
    std::fs::write(folder.join(SIGNATURE_FILE), serde_json::to_string(&signed)?)?;
    Ok(())
}
