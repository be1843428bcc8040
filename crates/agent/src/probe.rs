//! What this host can do, found out once when the executor starts: nothing is tried, only looked at. Policies then choose
//! among what is there, and people see why something is not.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use stanch_model::ability::{Abilities, Ability};
use stanch_model::trust::Demand;

use crate::actions::package::DNF;

/// Where programs of the system are.
const PROGRAMS: [&str; 4] = ["usr/sbin", "usr/bin", "sbin", "bin"];

/// Capabilities by their numbers (capabilities(7)).
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_BOOT: u32 = 22;

/// A host as it is seen from here.
pub struct Probe {
    root: PathBuf,
    capabilities: u64,
}

impl Probe {
    /// This host.
    pub fn this_host() -> Self {
        Self::below(Path::new("/"))
    }

    /// The host whose files lie below a folder.
    pub fn below(root: &Path) -> Self {
        let status = fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
        let held = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let capabilities = held.and_then(|held| u64::from_str_radix(held.trim(), 16).ok()).unwrap_or(0);
        Self { root: root.to_owned(), capabilities }
    }

    /// Everything at once.
    pub fn abilities(&self, demands: Option<Demand>) -> Abilities {
        let probed: BTreeMap<String, Option<String>> =
            Ability::ALL.into_iter().map(|ability| (ability.name().to_owned(), self.lacks(ability).err())).collect();
        Abilities { probed, demands }
    }

    /// Whether it is there.
    ///
    /// # Errors
    /// Why it is not.
    fn lacks(&self, ability: Ability) -> Result<(), String> {
        match ability {
            Ability::Apt => self.program("apt-get").and_then(|()| self.program("dpkg")),
            Ability::Dnf => self
                .program("dnf")
                .and_then(|()| self.program("rpm"))
                .and_then(|()| self.program(DNF).map_err(|_| "the dnf that is installed is not version 4".to_owned())),
            Ability::Apk => self.program("apk"),
            // pip itself is looked for in each environment; these do its work as the environment's owner.
            Ability::Pip => ["setpriv", "flock", "tar", "xargs"].iter().try_for_each(|program| self.program(program)),
            Ability::Systemd => self.file("run/systemd/system", "systemd does not run here"),
            Ability::SysvInit => {
                if self.lacks(Ability::Systemd).is_ok() {
                    return Err("systemd runs here".to_owned());
                }
                self.program("invoke-rc.d")
            }
            Ability::Nftables => self.program("nft").and_then(|()| self.may(CAP_NET_ADMIN, "change the network")),
            Ability::CgroupV2 => {
                self.file("sys/fs/cgroup/cgroup.controllers", "no cgroups of the second version are mounted")
            }
            Ability::Fanotify => {
                self.file("proc/sys/fs/fanotify", "the kernel has no fanotify")?;
                self.may(CAP_SYS_ADMIN, "administer the system")
            }
            Ability::Ptrace => {
                let scope = fs::read_to_string(self.root.join("proc/sys/kernel/yama/ptrace_scope")).unwrap_or_default();
                if scope.trim() == "3" {
                    return Err("kernel.yama.ptrace_scope is 3".to_owned());
                }
                self.may(CAP_SYS_PTRACE, "trace processes")
            }
            Ability::Overlay => {
                let known = fs::read_to_string(self.root.join("proc/filesystems")).unwrap_or_default();
                if !known.lines().any(|line| line.split_whitespace().last() == Some("overlay")) {
                    return Err("the kernel knows no overlays".to_owned());
                }
                self.may(CAP_SYS_ADMIN, "administer the system")
            }
            Ability::Boot => {
                for (mark, what) in [
                    ("run/systemd/container", "a container"),
                    (".dockerenv", "a container"),
                    ("run/.containerenv", "a container"),
                ] {
                    if self.root.join(mark).exists() {
                        return Err(format!("this is {what}: it has no kernel of its own"));
                    }
                }
                self.may(CAP_SYS_BOOT, "reboot")
            }
        }
    }

    fn program(&self, name: &str) -> Result<(), String> {
        if PROGRAMS.iter().any(|folder| self.root.join(folder).join(name).is_file()) {
            Ok(())
        } else {
            Err(format!("no {name} is installed"))
        }
    }

    fn file(&self, path: &str, otherwise: &str) -> Result<(), String> {
        if self.root.join(path).exists() { Ok(()) } else { Err(otherwise.to_owned()) }
    }

    fn may(&self, capability: u32, what: &str) -> Result<(), String> {
        if self.capabilities >> capability & 1 == 1 { Ok(()) } else { Err(format!("the executor may not {what} here")) }
    }
}

/// What an action needs; one that is not here is not in the catalogue of this host.
pub(crate) fn lacks(action: &str, abilities: &Abilities) -> Option<String> {
    let why = |ability: Ability| abilities.lacks(ability).map(str::to_owned);
    match action {
        "package.upgrade" => why(Ability::Apt).filter(|_| !abilities.has(Ability::Pip) && !abilities.has(Ability::Dnf)),
        "host.reboot" => why(Ability::Boot),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Probe) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let probe = Probe::below(folder.path());
        (folder, probe)
    }

    const ALL_CAPABILITIES: (&str, &str) = ("proc/self/status", "Name:\tx\nCapEff:\t000001ffffffffff\n");

    #[test]
    fn a_server_with_systemd_and_apt_can_do_what_is_installed_and_says_why_not_the_rest() {
        let (_folder, probe) = host(&[
            ALL_CAPABILITIES,
            ("usr/bin/apt-get", ""),
            ("usr/bin/dpkg", ""),
            ("usr/sbin/nft", ""),
            ("run/systemd/system/x", ""),
            ("sys/fs/cgroup/cgroup.controllers", "cpu io\n"),
            ("proc/sys/fs/fanotify/max_user_marks", "1"),
            ("proc/sys/kernel/yama/ptrace_scope", "1\n"),
            ("proc/filesystems", "nodev\tproc\nnodev\toverlay\n\text4\n"),
        ]);
        let abilities = probe.abilities(None);
        let has: Vec<&str> = Ability::ALL.into_iter().filter(|one| abilities.has(*one)).map(Ability::name).collect();
        assert_eq!(has, ["apt", "systemd", "nftables", "cgroup_v2", "fanotify", "ptrace", "overlay", "boot"]);
        assert_eq!(abilities.lacks(Ability::Dnf), Some("no dnf is installed"));
        assert_eq!(abilities.lacks(Ability::SysvInit), Some("systemd runs here"));
        assert_eq!(lacks("package.upgrade", &abilities), None);
        assert_eq!(abilities.lacks(Ability::Pip), Some("no setpriv is installed"));
    }

    #[test]
    fn a_host_without_apt_still_upgrades_in_environments_of_python() {
        let tools = [("usr/bin/setpriv", ""), ("usr/bin/flock", ""), ("usr/bin/tar", ""), ("usr/bin/xargs", "")];
        let (_folder, probe) = host(&tools);
        let abilities = probe.abilities(None);
        assert!(abilities.has(Ability::Pip) && !abilities.has(Ability::Apt));
        assert_eq!(lacks("package.upgrade", &abilities), None);
    }

    #[test]
    fn a_host_of_rpm_upgrades_by_dnf_of_version_4_alone() {
        let (_folder, probe) = host(&[("usr/bin/dnf", ""), ("usr/bin/rpm", "")]);
        let abilities = probe.abilities(None);
        assert_eq!(abilities.lacks(Ability::Dnf), Some("the dnf that is installed is not version 4"));
        assert_eq!(lacks("package.upgrade", &abilities).as_deref(), Some("no apt-get is installed"));
        let (_folder, probe) = host(&[("usr/bin/dnf", ""), ("usr/bin/dnf-3", ""), ("usr/bin/rpm", "")]);
        assert_eq!(lacks("package.upgrade", &probe.abilities(None)), None);
    }

    #[test]
    fn what_the_executor_may_not_do_it_cannot_do() {
        let (_folder, probe) = host(&[
            ("proc/self/status", "CapEff:\t0000000000000000\n"),
            ("usr/sbin/nft", ""),
            ("proc/filesystems", "nodev\toverlay\n"),
            ("proc/sys/kernel/yama/ptrace_scope", "3\n"),
            (".dockerenv", ""),
        ]);
        let abilities = probe.abilities(None);
        let why = |ability| abilities.lacks(ability).unwrap().to_owned();
        assert_eq!(why(Ability::Nftables), "the executor may not change the network here");
        assert_eq!(why(Ability::Ptrace), "kernel.yama.ptrace_scope is 3");
        assert_eq!(why(Ability::Overlay), "the executor may not administer the system here");
        assert!(why(Ability::Boot).contains("a container"));
        assert_eq!(lacks("package.upgrade", &abilities).as_deref(), Some("no apt-get is installed"));
        assert_eq!(lacks("host.reboot", &abilities), Some(why(Ability::Boot)));
    }

    #[test]
    fn where_nothing_can_be_read_nothing_is_there() {
        let (_folder, probe) = host(&[]);
        let abilities = probe.abilities(None);
        assert!(Ability::ALL.into_iter().all(|ability| !abilities.has(ability)));
    }
}
