//! Processes that run an older version of what pip has replaced since. An interpreter maps no file of most packages, so
//! what is gone from disk does not give them away; that they are older than the package does.
//!
//! Which environment a process runs from is told by how its Python was called: by its path, by a name that its own search
//! path or folder resolves, by the environment that was activated, or by a library of the environment that it maps.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use stanch_model::ecosystem;
use stanch_model::facts::{StaleFile, StaleProcess};

use super::processes::{Processes, exe};
use super::services::Services;
use super::{Root, container, python};

/// One tick, as the kernel counts them towards programs on every machine that Stanch runs on.
const TICK: Duration = Duration::from_millis(10);
/// How much is read of what a process says of itself.
const MOST_SAID: u64 = 256 << 10;
const MOST_MAPS: u64 = 16 << 20;

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
        let Some((environment, program)) = environment_of(proc, &pid, environments) else { continue };
        if container::of_process(proc, &pid).is_some() {
            continue;
        }
        let started = booted + TICK * u32::try_from(process.started).unwrap_or(u32::MAX);
        let newer = |(name, installed): (&String, &python::Installed)| {
            let about = format!("{}/{}", environment.path, installed.about);
            let put = root.put(&about).ok()?;
            let package = ecosystem::installed("pypi", name, &installed.version, &environment.path);
            let package = ecosystem::without_version(&package).map(std::borrow::Cow::into_owned);
            // A tick is what the start is known to; nothing is imported that soon.
            (put >= started).then_some(StaleFile { path: about, package })
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

/// When the kernel started, since 1970: of the running one to the tick, else to the second.
fn booted(proc: &Path) -> Option<Duration> {
    if proc == Path::new("/proc") {
        let of = |clock| {
            let time = clock_gettime(clock);
            Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
        };
        return of(ClockId::Realtime)?.checked_sub(of(ClockId::Boottime)?);
    }
    let text = fs::read_to_string(proc.join("stat")).ok()?;
    let seconds = text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The environment that a process runs from, and how its program is called.
fn environment_of<'a>(
    proc: &Path,
    pid: &str,
    environments: &'a [python::Environment],
) -> Option<(&'a python::Environment, String)> {
    let of = |program: &str| {
        environments.iter().find(|one| program.strip_prefix(&one.path).is_some_and(|rest| rest.starts_with("/bin/")))
    };
    let called = said(proc, pid, "cmdline").into_iter().next().unwrap_or_default();
    if called.starts_with('/')
        && let Some(environment) = of(&called)
    {
        return Some((environment, called));
    }
    let runs_python = || {
        let exe = exe(proc, pid)?;
        exe.rsplit('/').next()?.starts_with("python").then_some(exe)
    };
    let exe = runs_python()?;
    if called.contains('/') && !called.starts_with('/') {
        let folder = fs::read_link(proc.join(pid).join("cwd")).ok();
        let program =
            folder.and_then(|folder| Some(format!("{}/{}", folder.to_str()?, called.trim_start_matches("./"))));
        if let Some(environment) = program.as_deref().and_then(of) {
            return Some((environment, program.unwrap_or_default()));
        }
    }
    let variables = said(proc, pid, "environ");
    let variable = |name: &str| variables.iter().find_map(|one| one.strip_prefix(name)?.strip_prefix('='));
    let search = variable("PATH").into_iter().flat_map(|path| path.split(':')).map(|folder| format!("{folder}/python"));
    let activated = variable("VIRTUAL_ENV").map(|folder| format!("{folder}/bin/python"));
    if !called.starts_with('/')
        && let Some(environment) = activated.iter().cloned().chain(search).find_map(|program| of(&program))
    {
        return Some((environment, format!("{}/bin/python", environment.path)));
    }
    let maps = read(proc, pid, "maps", MOST_MAPS);
    let maps = String::from_utf8_lossy(&maps);
    let mapped = |one: &&python::Environment| {
        let inside = format!("{}/lib", one.path);
        maps.lines().any(|line| {
            let path = line.splitn(6, ' ').nth(5).map(str::trim_start).unwrap_or_default();
            path.strip_prefix(&inside).is_some_and(|rest| rest.starts_with(['/', '6']))
        })
    };
    environments.iter().find(mapped).map(|environment| (environment, exe))
}

/// What a process says of itself, up to the part that is cut off.
fn said(proc: &Path, pid: &str, file: &str) -> Vec<String> {
    let text = read(proc, pid, file, MOST_SAID);
    text.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

fn read(proc: &Path, pid: &str, file: &str, most: u64) -> Vec<u8> {
    let mut text = Vec::new();
    if let Ok(file) = File::open(proc.join(pid).join(file)) {
        // It may have ended meanwhile.
        let _ = file.take(most).read_to_end(&mut text);
    }
    text
}
