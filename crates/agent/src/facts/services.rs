//! Which service a process belongs to, and so what must be restarted to be rid of it. systemd says so itself in the
//! process's control group; without systemd it is worked out from pid files and init scripts. A login session is
//! named as such: restarting one would throw a person out.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use stanch_model::facts::ServiceRef;

use super::Root;
use super::processes::{Process, exe};

const MAX_SCRIPTS: usize = 500;
const MAX_SCRIPT: u64 = 256 << 10;
const MAX_PID_FILES: usize = 2000;
const MAX_ANCESTORS: usize = 64;

/// What is known of services.
#[derive(Debug)]
pub(crate) struct Services<'a> {
    proc: &'a Path,
    processes: &'a BTreeMap<u32, Process>,
    sysv: Option<Sysv>,
}

/// Hosts without systemd: init scripts and the pid files of running daemons.
#[derive(Debug, Default)]
struct Sysv {
    scripts: BTreeMap<String, String>,
    daemons: HashMap<u32, String>,
}

impl<'a> Services<'a> {
    /// Reads init scripts and pid files where systemd does not run.
    pub(crate) fn read(root: &Root, proc: &'a Path, processes: &'a BTreeMap<u32, Process>) -> Self {
        let sysv = (!root.has("/run/systemd/system")).then(|| Sysv::read(root));
        Self { proc, processes, sysv }
    }

    /// The service of a process; `None` for one that nobody manages.
    pub(crate) fn of(&self, process: &Process, program: &str) -> Option<ServiceRef> {
        let cgroup = std::fs::read_to_string(self.proc.join(process.pid.to_string()).join("cgroup"));
        match &self.sysv {
            None => cgroup.ok().and_then(|text| of_cgroup(&text)),
            Some(sysv) => self.by_script(sysv, process, program),
        }
    }

    fn by_script(&self, sysv: &Sysv, process: &Process, program: &str) -> Option<ServiceRef> {
        if process.terminal {
            return Some(ServiceRef::Session("terminal".to_owned()));
        }
        let mut at = *process;
        for _ in 0..MAX_ANCESTORS {
            if at.pid <= 1 {
                break;
            }
            if let Some(script) = sysv.daemons.get(&at.pid) {
                // The login daemon's children are people at work.
                let login = at.pid != process.pid && (script == "ssh" || script == "sshd");
                let session = || ServiceRef::Session(format!("{script} login"));
                return Some(if login { session() } else { ServiceRef::Sysv(script.clone()) });
            }
            at = *self.processes.get(&at.parent)?;
        }
        let own = sysv.script_of(program);
        let top = || self.top(process).and_then(|top| sysv.script_of(&exe(self.proc, &top.to_string())?));
        own.or_else(top).map(ServiceRef::Sysv)
    }

    /// The ancestor that init started.
    fn top(&self, process: &Process) -> Option<u32> {
        let mut at = process;
        for _ in 0..MAX_ANCESTORS {
            if at.parent <= 1 {
                return (at.pid != process.pid).then_some(at.pid);
            }
            at = self.processes.get(&at.parent)?;
        }
        None
    }
}

impl Sysv {
    fn read(root: &Root) -> Self {
        let mut sysv = Self::default();
        for name in root.list("/etc/init.d").unwrap_or_default().into_iter().take(MAX_SCRIPTS) {
            if let Ok(text) = root.text(&format!("/etc/init.d/{name}"), MAX_SCRIPT) {
                sysv.scripts.insert(name, text);
            }
        }
        for file in pid_files(root) {
            let Ok(text) = root.text(&file, 4096) else { continue };
            let pid = text.split_ascii_whitespace().next().and_then(|pid| pid.parse::<u32>().ok());
            let stem = file.rsplit('/').next().and_then(|name| name.strip_suffix(".pid")).unwrap_or_default();
            if let (Some(pid), Some(script)) = (pid.filter(|pid| *pid > 1), sysv.script_named(stem)) {
                sysv.daemons.insert(pid, script);
            }
        }
        sysv
    }

    /// The script of this name, or the one that writes the pid file of this name.
    fn script_named(&self, stem: &str) -> Option<String> {
        if self.scripts.contains_key(stem) {
            return Some(stem.to_owned());
        }
        let file = format!("/{stem}.pid");
        self.scripts.iter().find(|(_, text)| text.contains(&file)).map(|(name, _)| name.clone())
    }

    /// The script that starts this program.
    fn script_of(&self, program: &str) -> Option<String> {
        let name = program.rsplit('/').next().filter(|name| !name.is_empty())?;
        if self.scripts.contains_key(name) {
            return Some(name.to_owned());
        }
        // An interpreter is started by many.
        let common = ["sh", "bash", "dash", "perl", "env"].contains(&name) || name.starts_with("python");
        let ends = |after: Option<char>| {
            after.is_none_or(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.' | '/'))
        };
        let starts = |text: &String| {
            text.match_indices(program)
                .any(|(at, _)| ends(text.get(at + program.len()..).and_then(|rest| rest.chars().next())))
        };
        let script = || self.scripts.iter().find(|(_, text)| starts(text)).map(|(name, _)| name.clone());
        if common { None } else { script() }
    }
}

fn pid_files(root: &Root) -> Vec<String> {
    let mut files = Vec::new();
    for name in root.list("/run").unwrap_or_default() {
        let path = format!("/run/{name}");
        if name.ends_with(".pid") {
            files.push(path);
        } else if let Ok(inner) = root.list(&path) {
            let inner = inner.iter().filter(|name| name.ends_with(".pid"));
            files.extend(inner.map(|name| format!("{path}/{name}")));
        }
        if files.len() >= MAX_PID_FILES {
            break;
        }
    }
    files
}

/// The unit that a `/proc/PID/cgroup` names. The scope of the service manager itself is `init.scope`.
pub(crate) fn of_cgroup(text: &str) -> Option<ServiceRef> {
    let path = |mark: &str| {
        let lines = text.lines().take(64).filter_map(|line| line.split_once(':').map(|(_, rest)| rest));
        lines.filter_map(|rest| rest.split_once(':')).find(|(name, _)| *name == mark).map(|(_, path)| path)
    };
    // The first version of control groups has systemd's own tree beside others; where both are mounted only one is used.
    ["name=systemd", ""].into_iter().find_map(|mark| of_path(path(mark)?))
}

fn of_path(path: &str) -> Option<ServiceRef> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).take(64).collect();
    let is_user = |part: &&&str| {
        **part == "user.slice" || part.starts_with("user-") || part.starts_with("user@") || part.starts_with("session-")
    };
    if parts.iter().any(|part| is_user(&part)) {
        return parts.last().map(|last| ServiceRef::Session((*last).to_owned()));
    }
    let unit = parts.iter().find(|part| part.ends_with(".service") || **part == "init.scope")?;
    Some(ServiceRef::Systemd((*unit).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_groups_name_the_unit() {
        let systemd = |name: &str| Some(ServiceRef::Systemd(name.to_owned()));
        let session = |name: &str| Some(ServiceRef::Session(name.to_owned()));
        for (text, expected) in [
            ("0::/system.slice/ssh.service\n", systemd("ssh.service")),
            (
                "0::/system.slice/system-postgresql.slice/postgresql@15-main.service",
                systemd("postgresql@15-main.service"),
            ),
            ("0::/system.slice/docker.service/inner/deep", systemd("docker.service")),
            ("4:cpu:/\n1:name=systemd:/system.slice/cron.service\n0::/", systemd("cron.service")),
            ("9:name=systemd:/\n1:cpu:/\n0::/system.slice/demod.service\n", systemd("demod.service")),
            ("0::/init.scope", systemd("init.scope")),
            ("0::/user.slice/user-1000.slice/session-3.scope", session("session-3.scope")),
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.service", session("x.service")),
            ("0::/", None),
            ("", None),
        ] {
            assert_eq!(of_cgroup(text), expected, "{text}");
        }
    }
}
