//! The settings that the posture pack names, read as they are. What a setting should be is the detector's to say.
//!
//! Two parts are asked of the programs that know: sshd prints the settings it would run with, which no reading of its
//! files gets right, and systemd says how its units stand. The rest is read.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::time::Duration;

use stanch_model::facts::{FileMode, Known, Posture, UnitState};
use stanch_model::posture::{CHECKS, Check, Kind, ON_REQUEST};

use super::root::Root;
use crate::actions::{Invocation, Programs};

/// Most bytes of a parameter of the kernel.
const MAX_PARAMETER: u64 = 4096;
/// Characters kept of a value.
const MAX_VALUE: usize = 200;
/// How long sshd and systemd may take to answer.
const ANSWERING: Duration = Duration::from_secs(10);

fn checks(kind: Kind) -> impl Iterator<Item = &'static Check> {
    CHECKS.iter().chain(ON_REQUEST).filter(move |check| check.kind == kind)
}

/// Reads all of it on this machine.
pub(crate) fn read(host: &dyn Programs, root: &Root, proc: &Path) -> Posture {
    let mut posture = Posture {
        sysctls: checks(Kind::Sysctl).filter_map(|check| named(check.name, sysctl(proc, check.name))).collect(),
        sshd: sshd(host),
        files: checks(Kind::File).filter_map(|check| named(check.name, file(root, check.name))).collect(),
        services: BTreeMap::new(),
    };
    let names: Vec<&str> = checks(Kind::Service).flat_map(|check| check.units).copied().collect();
    posture.services = units(host, root, &names);
    posture
}

fn named<T>(name: &str, fact: Option<Known<T>>) -> Option<(String, Known<T>)> {
    Some((name.to_owned(), fact?))
}

fn unread<T>(error: &io::Error) -> Option<Known<T>> {
    Some(Known::Unknown(match error.kind() {
        ErrorKind::PermissionDenied if !super::processes::is_root() => "needs root".to_owned(),
        _ => error.to_string(),
    }))
}

/// The path of a parameter below the kernel's process folder.
pub(crate) fn sysctl_path(proc: &Path, name: &str) -> std::path::PathBuf {
    proc.join("sys").join(name.replace('.', "/"))
}

/// A parameter of the kernel; nothing where this kernel has none of that name.
pub(crate) fn sysctl(proc: &Path, name: &str) -> Option<Known<String>> {
    let read = || -> io::Result<String> {
        let mut text = String::new();
        fs::File::open(sysctl_path(proc, name))?.take(MAX_PARAMETER).read_to_string(&mut text)?;
        Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    match read() {
        Ok(value) => Some(Known::Known(short(&value))),
        // Without the folder nothing is known of any.
        Err(error) if error.kind() == ErrorKind::NotFound && proc.join("sys/kernel").is_dir() => None,
        Err(error) => unread(&error),
    }
}

/// Mode and owners of a file or folder; nothing where there is none.
fn file(root: &Root, path: &str) -> Option<Known<FileMode>> {
    match root.mode(path) {
        Ok(mode) => Some(Known::Known(mode)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
        Err(error) => unread(&error),
    }
}

/// What sshd would run with; nothing inside where there is no sshd.
fn sshd(host: &dyn Programs) -> Known<Option<BTreeMap<String, String>>> {
    if !host.has("sshd") {
        return Known::Known(None);
    }
    if !super::processes::is_root() {
        return Known::Unknown("needs root".to_owned());
    }
    let all = match sshd_settings(host, &[]) {
        Ok(all) => all,
        Err(why) => return Known::Unknown(why),
    };
    let first = |check: &Check| Some((check.name.to_owned(), short(all.get(check.name)?.first()?)));
    Known::Known(Some(checks(Kind::Sshd).filter_map(first).collect()))
}

/// All that `sshd -T` prints, with these arguments more. An error is its complaint.
pub(crate) fn sshd_settings(host: &dyn Programs, more: &[&str]) -> Result<BTreeMap<String, Vec<String>>, String> {
    let args = ["-T"].iter().chain(more);
    let output = host.run(&Invocation::reading("sshd", args).within(ANSWERING)).map_err(|error| error.to_string())?;
    if !output.ok() {
        return Err(format!("sshd does not say what it would run with: {}", short(&output.complaint())));
    }
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in output.text().lines() {
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        all.entry(name.to_ascii_lowercase()).or_default().push(value.trim().to_owned());
    }
    Ok(all)
}

/// How units stand; those that are not there are left out.
pub(crate) fn units(host: &dyn Programs, root: &Root, names: &[&str]) -> BTreeMap<String, Known<UnitState>> {
    let there: Vec<&str> = names.iter().copied().filter(|unit| is_there(root, unit)).collect();
    let all = |why: &str| there.iter().map(|unit| ((*unit).to_owned(), Known::Unknown(why.to_owned()))).collect();
    if there.is_empty() {
        return BTreeMap::new();
    }
    if !Path::new("/run/systemd/system").is_dir() {
        return all("systemd does not run here, and nobody else is asked");
    }
    let wanted = ["show", "--no-pager", "--property=Id,LoadState,UnitFileState,ActiveState", "--"];
    let output = match host.run(&Invocation::reading("systemctl", wanted.iter().chain(&there)).within(ANSWERING)) {
        Ok(output) if output.ok() => output,
        Ok(output) => return all(&format!("systemd does not answer: {}", short(&output.complaint()))),
        Err(error) => return all(&error.to_string()),
    };
    let text = output.text();
    let blocks = text.split("\n\n").map(|block| {
        let lines = block.lines().filter_map(|line| line.split_once('='));
        lines.collect::<BTreeMap<&str, &str>>()
    });
    // systemd answers in the order it was asked, and calls an alias by its real name.
    let mut states: BTreeMap<String, Known<UnitState>> = BTreeMap::new();
    for (unit, about) in there.iter().zip(blocks) {
        let of = |name: &str| about.get(name).copied().unwrap_or_default();
        if of("LoadState") != "not-found" {
            let active = matches!(of("ActiveState"), "active" | "activating" | "reloading");
            let state = UnitState { file: short(of("UnitFileState")), active };
            states.insert((*unit).to_owned(), Known::Known(state));
        }
    }
    states
}

/// Whether anything by this name could be started here.
fn is_there(root: &Root, unit: &str) -> bool {
    let folders = ["/etc/systemd/system", "/run/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system"];
    let script = unit.strip_suffix(".service").map(|name| format!("/etc/init.d/{name}"));
    // A mask is a link to nowhere of interest, and still means that it is there.
    let any = folders.iter().any(|folder| {
        let path = format!("{folder}/{unit}");
        root.has(&path) || root.link(&path).is_some()
    });
    any || script.is_some_and(|script| root.has(&script))
}

fn short(text: &str) -> String {
    text.chars().take(MAX_VALUE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::doubles::Table;

    #[test]
    fn a_parameter_is_there_or_not_or_could_not_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let proc = folder.path();
        assert!(matches!(sysctl(proc, "kernel.kptr_restrict"), Some(Known::Unknown(_))), "without /proc/sys");
        fs::create_dir_all(proc.join("sys/kernel")).unwrap();
        fs::write(proc.join("sys/kernel/printk"), "4\t4\t1\t7\n").unwrap();
        assert_eq!(sysctl(proc, "kernel.printk"), Some(Known::Known("4 4 1 7".to_owned())));
        assert_eq!(sysctl(proc, "kernel.kptr_restrict"), None);
    }

    #[test]
    fn what_sshd_prints_is_kept_by_name() {
        let host =
            Table::new(&[("sshd -T", "port 22\nPermitRootLogin without-password\nallowusers a\nallowusers b\n")]);
        let all = sshd_settings(&host, &[]).unwrap();
        assert_eq!(all["permitrootlogin"], ["without-password"]);
        assert_eq!(all["allowusers"], ["a", "b"]);
    }
}
