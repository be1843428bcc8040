//! Processes that still run code which is gone from disk: after an upgrade the old library lives on in whoever had
//! mapped it, and the vulnerability with it.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use memchr::memmem::Finder;
use stanch_model::facts::{Known, StaleFile, StaleProcess};

use super::container;
use super::owners::Owners;
use super::services::Services;

const MAX_MAPS: u64 = 64 << 20;
const MAX_FILES: usize = 4096;
const MAX_PROCESSES: usize = 1 << 20;
const KERNEL_THREAD: u64 = 0x0020_0000;

/// One process, as its `stat` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) terminal: bool,
    pub(crate) started: u64,
}

/// The processes of one moment, and which of them map what is gone.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    pub(crate) all: BTreeMap<u32, Process>,
    stale: Vec<(Process, Vec<String>)>,
    unreadable: usize,
    hidden: bool,
}

impl Processes {
    /// Reads the list and the maps of every process.
    ///
    /// # Errors
    /// When the process folder itself cannot be read.
    pub(crate) fn read(proc: &Path) -> io::Result<Self> {
        let mut pids = Vec::new();
        for entry in std::fs::read_dir(proc)?.take(MAX_PROCESSES) {
            if let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) {
                pids.push(pid);
            }
        }
        pids.sort_unstable();
        let halves = pids.split_at(pids.len() / 2);
        let (first, second) = std::thread::scope(|scope| {
            let other = scope.spawn(|| read_some(proc, halves.1));
            let first = read_some(proc, halves.0);
            // A thread of ours does not panic; if it did, its half is read here.
            (first, other.join().unwrap_or_else(|_| read_some(proc, halves.1)))
        });
        let mut processes = first;
        processes.all.extend(second.all);
        processes.stale.extend(second.stale);
        processes.unreadable += second.unreadable;
        processes.hidden = !pids.is_empty() && !pids.contains(&1);
        Ok(processes)
    }

    /// The paths of which owners will be asked.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.stale.iter().flat_map(|(_, paths)| paths.iter().map(String::as_str))
    }

    /// What root was refused. More power than root's cannot be asked for, so this leaves a gap and not an unknown.
    pub(crate) fn gap(&self) -> Option<String> {
        let (unreadable, all) = (self.unreadable, self.all.len());
        (unreadable > 0 && is_root()).then(|| {
            format!("{unreadable} of {all} processes are closed even to root, and may run code that is gone from disk")
        })
    }

    /// The stale processes with who owns and who runs them.
    pub(crate) fn stale(&self, proc: &Path, owners: &Owners, services: &Services<'_>) -> Known<Vec<StaleProcess>> {
        if self.hidden {
            return Known::Unknown("needs root: /proc hides the processes of others".to_owned());
        }
        if self.unreadable > 0 && !is_root() {
            let (unreadable, all) = (self.unreadable, self.all.len());
            return Known::Unknown(format!("needs root: {unreadable} of {all} processes could not be read"));
        }
        let mut stale = Vec::new();
        for (process, paths) in &self.stale {
            let pid = process.pid.to_string();
            let container = container::of_process(proc, &pid);
            let file = |path: &String| {
                // What a container maps are files of its image, which the host's dpkg does not know.
                let package = if container.is_some() { None } else { owners.of(path) };
                let counts = package.is_some() || is_system(path);
                counts.then(|| StaleFile { path: path.clone(), package: package.map(str::to_owned) })
            };
            let files: Vec<StaleFile> = paths.iter().filter_map(file).collect();
            if files.is_empty() {
                continue;
            }
            let exe = exe(proc, &pid).unwrap_or_default();
            let service = if container.is_some() { None } else { services.of(process, &exe) };
            stale.push(StaleProcess { pid: process.pid, started: process.started, exe, service, container, files });
        }
        Known::Known(stale)
    }
}

fn read_some(proc: &Path, pids: &[u32]) -> Processes {
    let mut processes = Processes::default();
    let deleted = Finder::new(b" (deleted)\n");
    let mut text = Vec::new();
    for pid in pids {
        let folder = proc.join(pid.to_string());
        let Some((process, has_code)) = std::fs::read(folder.join("stat")).ok().and_then(|text| stat(*pid, &text))
        else {
            continue;
        };
        processes.all.insert(*pid, process);
        if !has_code {
            continue;
        }
        text.clear();
        let read = std::fs::File::open(folder.join("maps")).and_then(|file| file.take(MAX_MAPS).read_to_end(&mut text));
        match read {
            Ok(_) => {
                let paths = gone(&text, &deleted);
                if !paths.is_empty() {
                    processes.stale.push((process, paths));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => processes.unreadable += 1,
            // It ended meanwhile.
            Err(_) => {}
        }
    }
    processes
}

/// Reads `/proc/PID/stat`; the `bool` says whether the process has code of its own, which kernel threads and the dead
/// have not. The name in it may hold anything, so fields are counted from the last parenthesis.
pub(crate) fn stat(pid: u32, text: &[u8]) -> Option<(Process, bool)> {
    let after = text.get(memchr::memrchr(b')', text)? + 1..)?;
    let mut fields = after.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    let state = fields.next()?;
    let mut numbers = fields.map(|field| std::str::from_utf8(field).ok()?.parse::<i128>().ok());
    let mut number = |skip: usize| numbers.nth(skip).flatten();
    let parent = u32::try_from(number(0)?).ok()?;
    let terminal = number(2)? != 0;
    let flags = u64::try_from(number(1)?).ok()?;
    let started = u64::try_from(number(12)?).ok()?;
    let has_code = flags & KERNEL_THREAD == 0 && !matches!(state, b"Z" | b"X" | b"x");
    Some((Process { pid, parent, terminal, started }, has_code))
}

/// The files that were mapped as code and are gone, without what was never a file of a package.
fn gone(maps: &[u8], deleted: &Finder<'_>) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    for end in deleted.find_iter(maps) {
        let start = memchr::memrchr(b'\n', maps.get(..end).unwrap_or_default()).map_or(0, |at| at + 1);
        let line = maps.get(start..end).unwrap_or_default();
        let Some(path) = code_path(line) else { continue };
        if paths.len() < MAX_FILES && !paths.iter().any(|known| known == path) {
            paths.push(path.to_owned());
        }
    }
    paths.sort_unstable();
    paths
}

/// The path of a line of maps whose segment may be executed: `ADDRESS PERMISSIONS OFFSET DEVICE INODE PATH`.
fn code_path(line: &[u8]) -> Option<&str> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let permissions = fields.nth(1)?;
    let path = std::str::from_utf8(fields.nth(3)?.trim_ascii_start()).ok()?;
    let passing = ["/memfd:", "/dev/", "/tmp/", "/var/tmp/", "/SYSV", "/[aio]", "/anon_hugepage", "/proc/", "/sys/"];
    let real = path.starts_with('/') && !passing.iter().any(|prefix| path.starts_with(prefix));
    (real && permissions.get(2) == Some(&b'x')).then_some(path)
}

/// Whether only packages put code at this path. The old file of a library that changed its name has no owner any more,
/// yet still counts.
fn is_system(path: &str) -> bool {
    let system = ["/usr/", "/lib/", "/lib32/", "/lib64/", "/libx32/", "/bin/", "/sbin/"];
    system.iter().any(|prefix| path.starts_with(prefix)) && !path.starts_with("/usr/local/")
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The executable of a process.
pub(crate) fn exe(proc: &Path, pid: &str) -> Option<String> {
    let link = std::fs::read_link(proc.join(pid).join("exe")).ok()?;
    let text = link.to_str()?;
    Some(text.strip_suffix(" (deleted)").unwrap_or(text).to_owned())
}

/// What runs, by number: the list alone, without what it maps.
///
/// # Errors
/// When the list cannot be read.
pub(crate) fn running(proc: &Path) -> io::Result<BTreeMap<u32, Process>> {
    let pids =
        std::fs::read_dir(proc)?.take(MAX_PROCESSES).filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let one = |pid: u32| Some((pid, stat(pid, &std::fs::read(proc.join(pid.to_string()).join("stat")).ok()?)?.0));
    Ok(pids.filter_map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = b"42 (a) S (b)) S 7 42 42 34816 42 4194560 0 0 0 0 0 0 0 0 20 0 1 0 98765 0 0\n";
        let (process, has_code) = stat(42, text).unwrap();
        assert_eq!(process, Process { pid: 42, parent: 7, terminal: true, started: 98765 });
        assert!(has_code);
    }

    #[test]
    fn kernel_threads_and_the_dead_have_no_code() {
        let text =
            |state: &str, flags: u64| format!("2 (k) {state} 0 0 0 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0\n");
        assert!(!stat(2, text("S", 2_129_984).as_bytes()).unwrap().1);
        assert!(!stat(2, text("Z", 4_194_560).as_bytes()).unwrap().1);
        assert!(stat(2, text("S", 4_194_560).as_bytes()).unwrap().1);
    }

    #[test]
    fn only_code_that_was_a_file_counts_as_gone() {
        let line = |permissions: &str, path: &str| format!("7f00-7f01 {permissions} 00000000 08:01 99   {path}\n");
        let maps = [
            line("r-xp", "/usr/lib/x86_64-linux-gnu/libcrypto.so.3 (deleted)"),
            line("r--p", "/usr/lib/x86_64-linux-gnu/libcrypto.so.3 (deleted)"),
            line("r--p", "/usr/lib/locale/C.utf8/LC_CTYPE (deleted)"),
            line("r-xp", "/usr/lib/x86_64-linux-gnu/libc.so.6"),
            line("rwxs", "/memfd:doublemapper (deleted)"),
            line("r-xp", "/dev/shm/x (deleted)"),
            line("rwxp", "/SYSV00000000 (deleted)"),
            line("r-xp", "/tmp/jit.so (deleted)"),
            line("rw-s", "/[aio] (deleted)"),
            line("r-xp", "/opt/with space/lib.so (deleted)"),
        ]
        .concat();
        let seen = gone(maps.as_bytes(), &Finder::new(b" (deleted)\n"));
        assert_eq!(seen, ["/opt/with space/lib.so", "/usr/lib/x86_64-linux-gnu/libcrypto.so.3"]);
        assert!(is_system(&seen[1]) && !is_system(&seen[0]) && !is_system("/usr/local/lib/x.so"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            let _ = stat(1, &bytes);
            let _ = gone(&bytes, &Finder::new(b" (deleted)\n"));
        }
    }
}
