//! Restarting what runs on files that are gone, and nothing else.
//!
//! One restart a service, and then patience until it is up and stays up. Whoever must not be restarted by a machine is
//! named with the reason and left to a person.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use stanch_action::ActionError;
use stanch_model::facts::{ServiceRef, StaleProcess};

use super::{excluded, running};
use crate::actions::command::{Invocation, Programs};
use crate::rules::Rules;

/// How long one restart may take.
const RESTARTING: Duration = Duration::from_secs(300);

/// How long a service may take to be up after it.
const COMING_UP: Duration = Duration::from_secs(60);

/// How long it has to stay up to count as up.
const STEADY: Duration = Duration::from_millis(700);

/// How services are managed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Init {
    /// By systemd.
    Systemd,
    /// By init scripts.
    Sysv,
    /// By nobody that could be asked.
    None,
}

/// Who manages services here.
pub(crate) fn init(host: &dyn Programs) -> Init {
    if Path::new("/run/systemd/system").is_dir() {
        Init::Systemd
    } else if host.has("invoke-rc.d") || host.has("service") {
        Init::Sysv
    } else {
        Init::None
    }
}

/// A service and what is on its mind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Its name.
    pub(crate) name: String,
    /// How it is managed; none for a process outside of any service.
    pub(crate) service: Option<ServiceRef>,
    /// What is gone that it maps, for a person.
    pub(crate) files: String,
    /// Why it is left to a person, if it is.
    pub(crate) left: Option<String>,
    /// Its processes.
    pub(crate) pids: BTreeSet<u32>,
}

/// Sorts stale processes into services to restart and those left to a person.
pub(crate) fn sort(
    host: &dyn Programs,
    rules: &Rules,
    stale: &[StaleProcess],
    own: &BTreeSet<ServiceRef>,
) -> Result<Vec<Entry>, ActionError> {
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    for process in stale {
        let name = match &process.service {
            Some(ServiceRef::Systemd(name) | ServiceRef::Sysv(name)) => name.clone(),
            Some(ServiceRef::Session(name)) => format!("{name}: {}", process.exe),
            None => process.exe.clone(),
        };
        let entry = entries.entry(name.clone()).or_insert_with(|| Entry {
            name,
            service: process.service.clone(),
            files: running::shown(process),
            left: None,
            pids: BTreeSet::new(),
        });
        entry.pids.insert(process.pid);
    }
    let mut entries: Vec<Entry> = entries.into_values().collect();
    for entry in &mut entries {
        entry.left = left(host, rules, entry.service.as_ref(), own)?;
    }
    Ok(entries)
}

/// Why this is left to a person, if it is.
pub(crate) fn left(
    host: &dyn Programs,
    rules: &Rules,
    service: Option<&ServiceRef>,
    own: &BTreeSet<ServiceRef>,
) -> Result<Option<String>, ActionError> {
    let Some(service) = service else {
        return Ok(Some("nobody manages it: its owner has to start it anew".to_owned()));
    };
    let name = match service {
        ServiceRef::Session(name) => return Ok(Some(format!("it is a person's session ({name})"))),
        ServiceRef::Systemd(name) | ServiceRef::Sysv(name) => name.as_str(),
    };
    if name == "init.scope" {
        return Ok((!rules.reexec).then(|| "systemd is executed anew only where the rules say so (reexec)".to_owned()));
    }
    if own.contains(service) {
        return Ok(Some("this run itself belongs to it".to_owned()));
    }
    if rules.denies_service(name) {
        return Ok(Some("the executor's rules deny it (deny.services)".to_owned()));
    }
    if let Some(why) = excluded::reason(name).filter(|_| !rules.allows_service(name)) {
        return Ok(Some(why.to_owned()));
    }
    let ServiceRef::Systemd(unit) = service else { return Ok(None) };
    let about = show(host, unit, &["Type", "KillMode", "CanStop", "CanStart", "RefuseManualStop"])?;
    let is = |name: &str, value: &str| about.get(name).is_some_and(|found| found == value);
    let login = unit == "ssh.service" || unit == "sshd.service";
    Ok(if login && !is("KillMode", "process") {
        Some("a restart would end the logins it carries (KillMode)".to_owned())
    } else if is("Type", "oneshot") {
        Some("it runs to its end by itself".to_owned())
    } else if is("RefuseManualStop", "yes") || is("CanStop", "no") {
        Some("it refuses to be stopped by hand".to_owned())
    } else {
        None
    })
}

/// Properties of a unit.
pub(crate) fn show(
    host: &dyn Programs,
    unit: &str,
    properties: &[&str],
) -> Result<BTreeMap<String, String>, ActionError> {
    let mut args = vec!["show".to_owned(), "--no-pager".to_owned()];
    args.extend(properties.iter().map(|property| format!("--property={property}")));
    args.extend(["--".to_owned(), unit.to_owned()]);
    let output = host
        .run(&Invocation::reading("systemctl", args).within(Duration::from_secs(30)))
        .map_err(|e| ActionError::caused(format!("cannot ask systemd about {unit}"), e))?;
    Ok(output
        .text()
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect())
}

/// What a restart came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// It is up again.
    Restarted,
    /// It was not running any more.
    NotRunning,
    /// The host's own policy forbids it.
    Denied,
    /// It is not up again.
    Failed(String),
}

/// Restarts one service and waits until it is up and stays up. The output is returned beside.
pub(crate) fn restart(host: &dyn Programs, entry: &Entry, log: PathBuf) -> Result<(Outcome, Vec<u8>), ActionError> {
    match &entry.service {
        Some(ServiceRef::Systemd(unit)) if unit == "init.scope" => reexec(host, log),
        Some(ServiceRef::Systemd(unit)) => by_systemd(host, unit, log),
        Some(service @ ServiceRef::Sysv(name)) => by_script(host, service, name, &entry.pids, log),
        _ => Ok((Outcome::Denied, Vec::new())),
    }
}

fn run(host: &dyn Programs, invocation: &Invocation, what: &str) -> Result<(Option<i32>, Vec<u8>), ActionError> {
    let output = host
        .run(&invocation.clone().within(RESTARTING))
        .map_err(|e| ActionError::caused(format!("the restart of {what} gave no result"), e))?;
    Ok((output.code, output.stdout))
}

fn reexec(host: &dyn Programs, log: PathBuf) -> Result<(Outcome, Vec<u8>), ActionError> {
    let (code, output) = run(host, &Invocation::changing("systemctl", ["daemon-reexec"], log), "systemd")?;
    let outcome = if code == Some(0) {
        Outcome::Restarted
    } else {
        Outcome::Failed("systemd could not be executed anew".to_owned())
    };
    Ok((outcome, output))
}

fn by_systemd(host: &dyn Programs, unit: &str, log: PathBuf) -> Result<(Outcome, Vec<u8>), ActionError> {
    let active = |about: &BTreeMap<String, String>| about.get("ActiveState").cloned().unwrap_or_default();
    let properties = ["ActiveState", "SubState", "Result", "MainPID", "NRestarts"];
    if ["inactive", "failed"].contains(&active(&show(host, unit, &properties)?).as_str()) {
        return Ok((Outcome::NotRunning, Vec::new()));
    }
    // Restarts of others in the last seconds must not count against this one.
    let reset = Invocation::reading("systemctl", ["reset-failed", "--", unit]).within(Duration::from_secs(30));
    let _ = host.run(&reset);
    let (code, output) = run(host, &Invocation::changing("systemctl", ["try-restart", "--", unit], log), unit)?;
    let deadline = Instant::now() + COMING_UP;
    let mut since: Option<(Instant, BTreeMap<String, String>)> = None;
    loop {
        let about = show(host, unit, &properties)?;
        match active(&about).as_str() {
            "active" => match &since {
                Some((at, before)) if *before == about => {
                    if at.elapsed() >= STEADY {
                        return Ok((Outcome::Restarted, output));
                    }
                }
                _ => since = Some((Instant::now(), about)),
            },
            "activating" | "reloading" | "deactivating" => since = None,
            state => {
                let result = about.get("Result").cloned().unwrap_or_default();
                let why = format!("{unit} is {state} after its restart ({result})");
                return Ok((Outcome::Failed(why), output));
            }
        }
        if Instant::now() >= deadline {
            let code = code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
            let why = format!("{unit} was not steadily active within {} s (systemctl: {code})", COMING_UP.as_secs());
            return Ok((Outcome::Failed(why), output));
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// An init script says little of itself, so what counts is that new processes of the service are there and stay.
fn by_script(
    host: &dyn Programs,
    service: &ServiceRef,
    name: &str,
    before: &BTreeSet<u32>,
    log: PathBuf,
) -> Result<(Outcome, Vec<u8>), ActionError> {
    let ran = running::pids_of(service)?;
    if ran.is_empty() {
        return Ok((Outcome::NotRunning, Vec::new()));
    }
    let invocation = if host.has("invoke-rc.d") {
        Invocation::changing("invoke-rc.d", ["--disclose-deny", name, "restart"], log)
    } else {
        Invocation::changing("service", [name, "restart"], log)
    };
    let (code, output) = run(host, &invocation, name)?;
    if code == Some(101) {
        return Ok((Outcome::Denied, output));
    }
    let old: BTreeSet<u32> = before.union(&ran).copied().collect();
    let deadline = Instant::now() + COMING_UP;
    let mut since: Option<(Instant, BTreeSet<u32>)> = None;
    while Instant::now() < deadline {
        let now: BTreeSet<u32> = running::pids_of(service)?;
        let fresh: BTreeSet<u32> = now.difference(&old).copied().collect();
        match &since {
            Some((at, known)) if *known == fresh && !fresh.is_empty() => {
                if at.elapsed() >= STEADY {
                    return Ok((Outcome::Restarted, output));
                }
            }
            _ => since = Some((Instant::now(), fresh)),
        }
        // A script that failed has had its say: new processes will not come.
        if code != Some(0) && since.as_ref().is_some_and(|(at, fresh)| fresh.is_empty() && at.elapsed() >= STEADY) {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
    let code = code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
    Ok((Outcome::Failed(format!("{name} is not up after its restart (init script: {code})")), output))
}
