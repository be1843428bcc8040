//! Other programs on the host that change packages by themselves. They do not disturb Stanch, but whoever reads a
//! record must know that a package may have moved without it.

use stanch_model::facts::{Known, Package, Updater};

use super::Root;
use super::apt::config::Config;

const TIMERS: &[&str] = &["apt-daily.timer", UPGRADES];
/// What starts unattended-upgrades under systemd.
const UPGRADES: &str = "apt-daily-upgrade.timer";
/// Of dnf, with what each does.
const OF_DNF: &[(&str, &str)] = &[
    ("dnf-automatic.timer", "does what /etc/dnf/automatic.conf says"),
    ("dnf-automatic-install.timer", "installs what dnf offers"),
    ("dnf5-automatic.timer", "does what /etc/dnf/automatic.conf says"),
];

/// What manages whole hosts, packages among the rest: its package, its unit, and what it does.
const MANAGERS: &[(&str, &str, &str)] = &[
    ("landscape-client", "landscape-client.service", "changes packages as its Landscape server says"),
    ("puppet", "puppet.service", "changes packages as its manifests say"),
    ("puppet-agent", "puppet.service", "changes packages as its manifests say"),
    ("chef", "chef-client.service", "changes packages as its recipes say"),
    ("salt-minion", "salt-minion.service", "changes packages as its master says"),
];

/// Reads what is set up to change packages.
pub(crate) fn read(root: &Root, config: &Config, packages: &[Package]) -> Vec<Updater> {
    let installed = |name: &str| packages.iter().any(|package| package.name == name);
    let mut updaters = Vec::new();
    if installed("unattended-upgrades") {
        updaters.push(unattended(root, config));
    }
    for timer in TIMERS {
        updaters.extend(self::timer(root, timer));
    }
    for (timer, detail) in OF_DNF {
        if has_unit(root, timer) {
            updaters.push(updater(timer, enabled(root, timer), detail));
        }
    }
    if root.has("/etc/cron.daily/apt-compat") && !root.has("/run/systemd/system") {
        let runs = installed("cron") || installed("anacron") || installed("systemd-cron");
        let detail = "runs apt's daily work where systemd does not; it does what APT::Periodic says";
        updaters.push(updater("apt-compat (cron.daily)", runs && periodic(config, "Enable").unwrap_or(true), detail));
    }
    if installed("cron-apt") {
        let detail = "runs apt from /etc/cron.d/cron-apt; by default it only downloads";
        updaters.push(updater("cron-apt", root.has("/etc/cron.d/cron-apt"), detail));
    }
    for (package, unit, detail) in MANAGERS {
        if installed(package) {
            let on = root.link(&format!("/etc/systemd/system/multi-user.target.wants/{unit}")).is_some();
            updaters.push(updater(package, on, detail));
        }
    }
    if root.has("/etc/cron.d/ansible-pull") {
        updaters.push(updater("ansible-pull", true, "runs playbooks from /etc/cron.d/ansible-pull"));
    }
    updaters
}

fn updater(name: &str, enabled: bool, detail: &str) -> Updater {
    Updater { name: name.to_owned(), enabled: Known::Known(enabled), detail: detail.to_owned() }
}

/// Whether a number of `APT::Periodic` switches something on: `0` and an absent one do not.
fn periodic(config: &Config, name: &str) -> Option<bool> {
    config.get(&format!("APT::Periodic::{name}")).map(|value| !matches!(value.trim(), "0" | ""))
}

fn unattended(root: &Root, config: &Config) -> Updater {
    let switched_on =
        periodic(config, "Enable").unwrap_or(true) && periodic(config, "Unattended-Upgrade").unwrap_or(false);
    // The other timer only fetches the indexes, and cron's job does nothing where systemd runs.
    let cron = root.has("/etc/cron.daily/apt-compat") && !root.has("/run/systemd/system");
    let driven = enabled(root, UPGRADES) || cron;
    let patterns = ["Unattended-Upgrade::Origins-Pattern", "Unattended-Upgrade::Allowed-Origins"];
    let origins: Vec<&str> = patterns.iter().flat_map(|name| config.list(name)).map(String::as_str).take(20).collect();
    let mut detail = match (switched_on, driven) {
        (true, true) => "installs by itself".to_owned(),
        (true, false) => "is switched on, but neither a timer nor cron starts it".to_owned(),
        (false, _) => "installed, but APT::Periodic::Unattended-Upgrade does not switch it on".to_owned(),
    };
    if switched_on && !origins.is_empty() {
        let origins: String = origins.join("; ").chars().take(1000).collect();
        detail.push_str(&format!(", from: {origins}"));
    }
    let name = "unattended-upgrades".to_owned();
    if config.damaged.is_empty() {
        return Updater { name, enabled: Known::Known(switched_on && driven), detail };
    }
    let why = format!("{} files of apt's settings were not understood", config.damaged.len());
    Updater { name, enabled: Known::Unknown(why), detail }
}

fn timer(root: &Root, name: &str) -> Option<Updater> {
    if !has_unit(root, name) {
        return None;
    }
    let detail = if !root.has("/run/systemd/system") {
        "systemd does not run here"
    } else if name == "apt-daily.timer" {
        "fetches the archive indexes, as APT::Periodic says"
    } else {
        "starts unattended-upgrades, as APT::Periodic says"
    };
    Some(updater(name, enabled(root, name), detail))
}

fn has_unit(root: &Root, name: &str) -> bool {
    let folders = ["/lib/systemd/system", "/usr/lib/systemd/system", "/etc/systemd/system"];
    folders.iter().any(|folder| root.has(&format!("{folder}/{name}")))
}

fn enabled(root: &Root, timer: &str) -> bool {
    let masked = root.link(&format!("/etc/systemd/system/{timer}")).is_some_and(|target| target == "/dev/null");
    root.link(&format!("/etc/systemd/system/timers.target.wants/{timer}")).is_some() && !masked
}
