//! The check `running`: fixed on disk, but still running the old files.
//!
//! One finding for each service, or for each executable outside any service, because one restart closes it whichever
//! of its files are old; the fingerprint holds only that name for the same reason.

use std::collections::{BTreeMap, BTreeSet};

use stanch_model::facts::{HostFacts, ServiceRef, StaleProcess};
use stanch_model::finding::{Detector, Verdict, fingerprint};
use stanch_model::lasting::is_lasting;

use super::{Detection, finding, needed};

/// Runs the check.
pub fn detect(facts: &HostFacts, detection: &mut Detection) {
    let Some(processes) = needed(&facts.stale, "running processes", detection) else { return };
    let mut groups: BTreeMap<&str, Vec<&StaleProcess>> = BTreeMap::new();
    let mut in_containers = 0;
    for process in processes {
        // A container has its own files: its old ones are a matter of its image.
        if process.container.is_some() {
            in_containers += 1;
            continue;
        }
        if process.files.iter().any(|file| file.package.is_some()) {
            groups.entry(process.name()).or_default().push(process);
        }
    }
    if in_containers > 0 {
        detection
            .notes
            .push(format!("{in_containers} processes in containers map deleted files: a matter of their images"));
    }
    for (name, processes) in groups {
        let files = || processes.iter().flat_map(|process| &process.files);
        let packages: BTreeSet<&str> = files().filter_map(|file| file.package.as_deref()).collect();
        let paths: BTreeSet<&str> =
            files().filter(|file| file.package.is_some()).map(|file| file.path.as_str()).collect();
        let Some(binary) = packages.first() else { continue };
        let owner = facts.packages.iter().find(|package| package.name == *binary);
        let mut found = finding(facts, Detector::Running, name, binary, Verdict::FixedNotRunning);
        found.fingerprint = fingerprint(&facts.asset.id, Detector::Running, name, "");
        found.package = owner.map_or_else(|| (*binary).to_owned(), |package| package.source.clone());
        found.version = owner.map(|package| package.version.to_string()).unwrap_or_default();
        found.source_version = owner.map(|package| package.source_version.to_string());
        found.fixed_version = Some(found.version.clone()).filter(|version| !version.is_empty());
        let count = processes.len();
        let listed = packages.iter().take(5).copied().collect::<Vec<_>>().join(", ");
        let more = packages.len().saturating_sub(5);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let plural = if count == 1 { "process maps" } else { "processes map" };
        found.reason = format!("{count} {plural} {} files of {listed}{more} that were replaced on disk", paths.len());
        if processes.iter().any(|process| matches!(process.service, Some(ServiceRef::Session(_)))) {
            found.reason.push_str("; it belongs to a session and ends with it");
        } else if is_lasting(name) {
            found.reason.push_str("; only a reboot ends it");
        }
        detection.findings.push(found);
    }
}
