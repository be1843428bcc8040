//! Processes that run an older version of what pip has replaced since. An interpreter maps no file of most packages, so
//! what is gone from disk does not give them away; that they are older than the package does.

use std::fs;
use std::path::Path;

use stanch_model::ecosystem;
use stanch_model::facts::{StaleFile, StaleProcess};

use super::processes::{Processes, exe};
use super::services::Services;
use super::{Root, container, python};

/// Ticks of a second, as the kernel counts them towards programs on every machine that Stanch runs on.
const TICKS: u64 = 100;

/// The processes that were started by an environment's Python before some of its packages were installed.
pub(crate) fn stale(
    root: &Root,
    proc: &Path,
    processes: &Processes,
    services: &Services<'_>,
    environments: &[python::Environment],
) -> Vec<StaleProcess> {
    let Some(booted) = booted(proc).filter(|_| !environments.is_empty()) else { return Vec::new() };
    let mut stale = Vec::new();
    for process in processes.all.values() {
        let pid = process.pid.to_string();
        let Some(program) = argument(proc, &pid) else { continue };
        let inside = |environment: &&python::Environment| {
            program.strip_prefix(&environment.path).is_some_and(|rest| rest.starts_with("/bin/"))
        };
        let Some(environment) = environments.iter().find(inside) else { continue };
        if container::of_process(proc, &pid).is_some() {
            continue;
        }
        let started = booted + process.started / TICKS;
        let newer = |(name, installed): (&String, &python::Installed)| {
            let about = format!("{}/{}", environment.path, installed.about);
            let put = root.put(&about).ok()?;
            let package = ecosystem::installed("pypi", name, &installed.version, &environment.path);
            let package = ecosystem::without_version(&package).map(std::borrow::Cow::into_owned);
            (put > started).then_some(StaleFile { path: about, package })
        };
        let mut files: Vec<StaleFile> = environment.packages.iter().filter_map(newer).collect();
        files.sort();
        if files.is_empty() {
            continue;
        }
        let exe = exe(proc, &pid).unwrap_or_default();
        let service = services.of(process, &exe);
        stale.push(StaleProcess {
            pid: process.pid,
            started: process.started,
            exe: program,
            service,
            container: None,
            files,
        });
    }
    stale
}

/// When the kernel started, in seconds since 1970.
fn booted(proc: &Path) -> Option<u64> {
    let text = fs::read_to_string(proc.join("stat")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// The first argument of a process: the name under which its interpreter was called.
fn argument(proc: &Path, pid: &str) -> Option<String> {
    let line = fs::read(proc.join(pid).join("cmdline")).ok()?;
    let first = line.split(|byte| *byte == 0).next()?;
    String::from_utf8(first.to_vec()).ok().filter(|first| first.starts_with('/'))
}
