//! What runs on this host and which of it maps which files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use stanch_action::ActionError;
use stanch_model::facts::{Known, ServiceRef, StaleProcess};

use crate::facts::processes::{Processes, exe};
use crate::facts::services::Services;
use crate::facts::{self, Root};

const PROC: &str = "/proc";

/// Processes on files that are gone, without those of containers, and of these packages only, if any are named. A gone
/// file that no package owns any more counts for all: its library has got another name.
pub(crate) fn stale(packages: Option<&BTreeSet<String>>) -> Result<Vec<StaleProcess>, ActionError> {
    let mut processes = match facts::stale() {
        Known::Known(processes) => processes,
        Known::Unknown(why) => {
            return Err(ActionError::failed(format!("cannot tell what runs on deleted files: {why}")));
        }
    };
    processes.retain(|process| process.container.is_none());
    if let Some(packages) = packages {
        for process in &mut processes {
            process.files.retain(|file| file.package.as_ref().is_none_or(|package| packages.contains(package)));
        }
        processes.retain(|process| !process.files.is_empty());
    }
    Ok(processes)
}

/// The services that this process and those above it belong to: restarting one of them would end ourselves.
pub(crate) fn own_services() -> Result<BTreeSet<ServiceRef>, ActionError> {
    let (root, processes) = read()?;
    let services = Services::read(&root, Path::new(PROC), &processes.all);
    let mut own = BTreeSet::new();
    let mut at = processes.all.get(&std::process::id());
    for _ in 0..64 {
        let Some(process) = at.filter(|process| process.pid > 1) else { break };
        let program = exe(Path::new(PROC), &process.pid.to_string()).unwrap_or_default();
        own.extend(services.of(process, &program));
        at = processes.all.get(&process.parent);
    }
    Ok(own)
}

/// Services with processes that map one of these files now, each with the packages.
pub(crate) fn mapping(files: &BTreeMap<String, String>) -> Result<BTreeMap<ServiceRef, BTreeSet<String>>, ActionError> {
    let (root, processes) = read()?;
    let services = Services::read(&root, Path::new(PROC), &processes.all);
    let mut found: BTreeMap<ServiceRef, BTreeSet<String>> = BTreeMap::new();
    for process in processes.all.values() {
        let Ok(maps) = fs::read_to_string(format!("{PROC}/{}/maps", process.pid)) else { continue };
        let mut packages: BTreeSet<String> = BTreeSet::new();
        for line in maps.lines() {
            let mut fields = line.splitn(6, ' ');
            let code = fields.nth(1).is_some_and(|permissions| permissions.contains('x'));
            let path = fields.nth(3).unwrap_or_default().trim_start();
            if code && let Some(package) = files.get(path) {
                packages.insert(package.clone());
            }
        }
        if packages.is_empty() {
            continue;
        }
        let program = exe(Path::new(PROC), &process.pid.to_string()).unwrap_or_default();
        if let Some(service) = services.of(process, &program) {
            found.entry(service).or_default().extend(packages);
        }
    }
    Ok(found)
}

fn read() -> Result<(Root, Processes), ActionError> {
    let root = Root::open(Path::new("/")).map_err(|e| ActionError::caused("cannot open the root folder", e))?;
    let processes = Processes::read(Path::new(PROC)).map_err(|e| ActionError::caused("cannot read what runs", e))?;
    Ok((root, processes))
}

/// Pids of a service's processes right now.
pub(crate) fn pids_of(service: &ServiceRef) -> Result<BTreeSet<u32>, ActionError> {
    let (root, processes) = read()?;
    let services = Services::read(&root, Path::new(PROC), &processes.all);
    let mut pids = BTreeSet::new();
    for process in processes.all.values() {
        let Some(program) = exe(Path::new(PROC), &process.pid.to_string()) else { continue };
        if services.of(process, &program).as_ref() == Some(service) {
            pids.insert(process.pid);
        }
    }
    Ok(pids)
}

/// The files of these installed packages that can be mapped as code, as the kernel spells their paths.
pub(crate) fn files_of(packages: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let Ok(entries) = fs::read_dir("/var/lib/dpkg/info") else { return files };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(package) = name.strip_suffix(".list") else { continue };
        let package = package.split(':').next().unwrap_or(package);
        if !packages.contains(package) {
            continue;
        }
        for line in fs::read_to_string(entry.path()).unwrap_or_default().lines() {
            // A link is mapped as what it leads to; after the merge of /usr even folders are links.
            if let Ok(real) = fs::canonicalize(line)
                && real.is_file()
                && let Some(real) = real.to_str()
            {
                files.insert(real.to_owned(), package.to_owned());
            }
        }
    }
    files
}

/// The packages' names of these files, for a line a person reads.
pub(crate) fn shown(process: &StaleProcess) -> String {
    let mut names: Vec<&str> =
        process.files.iter().map(|file| file.path.rsplit('/').next().unwrap_or(&file.path)).take(4).collect();
    let more = process.files.len().saturating_sub(names.len());
    let tail = format!("and {more} more");
    if more > 0 {
        names.push(&tail);
    }
    names.join(", ")
}
