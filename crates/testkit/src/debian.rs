//! Debian roots, made once and kept.
//!
//! A root is made from the main pocket alone, without the security pocket, so that it is honestly behind: there is
//! something to find and to fix. The mirror is the one this machine is configured with; no address is written here.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context, Result, anyhow, bail};

use crate::host;

/// The release of which worlds are made.
pub const CODENAME: &str = "bookworm";

/// Raise it when a recipe or the way of making changes: old roots are then left alone and new ones made.
const RECIPE_VERSION: u32 = 2;

/// Programs that the worlds need, each with the Debian package that brings it.
const TOOLS: &[(&str, &str)] = &[
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("pivot_root", "util-linux"),
    ("mount", "mount"),
    ("hostname", "hostname"),
    ("ip", "iproute2"),
    ("mmdebstrap", "mmdebstrap"),
    ("dpkg-deb", "dpkg"),
    ("sha256sum", "coreutils"),
    ("cc", "gcc libc6-dev"),
    ("rpmbuild", "rpm"),
    ("rpmsign", "rpm"),
    ("gpg", "gnupg"),
    ("createrepo_c", "createrepo-c"),
];

/// Installs with apt-get what the worlds need and this machine lacks. Cheap when nothing is missing; safe to call from
/// many processes at once.
pub fn ensure_tools() -> Result<()> {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    DONE.get_or_init(|| install_missing().map_err(|e| format!("{e:#}"))).clone().map_err(|e| anyhow!(e))
}

fn missing() -> Vec<&'static str> {
    TOOLS.iter().filter(|(program, _)| !host::has_program(program)).flat_map(|(_, p)| p.split(' ')).collect()
}

fn install_missing() -> Result<()> {
    if missing().is_empty() {
        return Ok(());
    }
    host::require_root()?;
    let _lock = locked(&host::cache_folder()?.join("tools.lock"))?;
    let packages = missing();
    if packages.is_empty() || install(&packages).is_ok() {
        return Ok(());
    }
    apt_get(&["update"])?;
    install(&packages).with_context(|| format!("the worlds need {packages:?}"))
}

fn install(packages: &[&str]) -> Result<()> {
    apt_get(&[&["install", "--yes", "--no-install-recommends"], packages].concat())
}

fn apt_get(args: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(["-o", "DPkg::Lock::Timeout=300"]).args(args).env("DEBIAN_FRONTEND", "noninteractive");
    host::run_command(command).map(drop)
}

/// Opens the lock file and waits until it is ours; dropping the file lets go.
fn locked(path: &Path) -> Result<File> {
    let file = File::options().create(true).append(true).open(path)?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// A Debian root that is only ever read: the lowest layer of worlds.
#[derive(Debug, Clone)]
pub struct Base {
    name: &'static str,
    path: PathBuf,
}

impl Base {
    /// The smallest useful Debian: dpkg, apt and what they need (88 packages).
    pub fn minimal() -> Result<Self> {
        Self::made("minimal", &[])
    }

    /// The smallest one with systemd as init, for worlds that are booted.
    pub fn systemd() -> Result<Self> {
        Self::made("systemd", &["systemd", "systemd-sysv", "dbus", "procps", "iproute2"])
    }

    /// The smallest one with an SSH server and client.
    pub fn ssh() -> Result<Self> {
        Self::made("ssh", &["openssh-server"])
    }

    /// The same with systemd as init.
    pub fn ssh_systemd() -> Result<Self> {
        Self::made("ssh-systemd", &["systemd", "systemd-sysv", "dbus", "procps", "openssh-server"])
    }

    /// What a tool that comes in over SSH needs on a host.
    pub fn managed() -> Result<Self> {
        Self::made("managed", &["openssh-server", "python3", "python3-apt"])
    }

    /// One with Python, its environments and pip.
    pub fn python() -> Result<Self> {
        Self::made("python", &["python3", "python3-venv", "python3-pip"])
    }

    /// The same with systemd as init.
    pub fn python_systemd() -> Result<Self> {
        let packages = ["systemd", "systemd-sysv", "dbus", "procps", "python3", "python3-venv", "python3-pip"];
        Self::made("python-systemd", &packages)
    }

    /// One with rpm and dnf, from which the worlds of rpm are made.
    pub fn rpm() -> Result<Self> {
        Self::made("rpm", &["rpm", "dnf", "dnf-plugins-core"])
    }

    /// A server with the services people run. Takes minutes to make: for long proofs only.
    pub fn server() -> Result<Self> {
        let packages = "systemd systemd-sysv dbus procps iproute2 openssh-server nginx curl openssl sudo cron rsync \
                        python3 unattended-upgrades needrestart git perl ca-certificates gnupg nftables auditd haproxy \
                        logrotate rsyslog less";
        Self::made("server", &packages.split_whitespace().collect::<Vec<_>>())
    }

    /// What it was made as: `minimal`, `systemd` or `server`.
    pub fn name(&self) -> &str {
        self.name
    }

    /// Where it lies. Nobody may write there.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn made(name: &'static str, packages: &[&str]) -> Result<Self> {
        host::require_root()?;
        ensure_tools()?;
        let cache = host::cache_folder()?;
        let path = cache.join(format!("base-{name}-{CODENAME}-{RECIPE_VERSION}"));
        if !path.exists() {
            let _lock = locked(&cache.join(format!("base-{name}.lock")))?;
            if !path.exists() {
                make(&path, packages).with_context(|| format!("cannot make the Debian root `{name}`"))?;
            }
        }
        Ok(Self { name, path })
    }
}

/// Makes the root beside its place and then renames it: a half-made one is never seen.
fn make(path: &Path, packages: &[&str]) -> Result<()> {
    let building = path.with_extension("building");
    if building.exists() {
        fs::remove_dir_all(&building)?;
    }
    let mirror = Mirror::of_this_machine()?;
    let mut command = Command::new("mmdebstrap");
    command.args(["--mode=root", "--format=directory", "--variant=minbase", "--dpkgopt=force-unsafe-io"]);
    // The machine may freeze its mirror; the root then has to accept old release files as the machine does.
    command.args(["--aptopt=Acquire::Check-Valid-Until \"false\"", "--aptopt=Acquire::Retries \"3\""]);
    if let Some(keyring) = &mirror.keyring {
        command.arg(format!("--keyring={keyring}"));
    }
    if !packages.is_empty() {
        command.arg(format!("--include={}", packages.join(",")));
    }
    command.arg(CODENAME).arg(&building).arg(format!("deb {} {CODENAME} main", mirror.main));
    host::run_command(command)?;
    // Tests say themselves where packages come from, and every world gets its own identity.
    fs::write(building.join("etc/apt/sources.list"), "")?;
    fs::write(building.join("etc/machine-id"), "")?;
    let _ = fs::remove_file(building.join("etc/resolv.conf"));
    let _ = fs::remove_file(building.join("etc/hostname"));
    fs::rename(&building, path)?;
    Ok(())
}

/// Where this machine gets its Debian packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The address of the main pocket.
    pub main: String,
    /// The address of the security pocket, if the machine has one.
    pub security: Option<String>,
    /// The keyring that signs them, if the configuration names one.
    pub keyring: Option<String>,
}

impl Mirror {
    /// Reads apt's configuration: `/etc/apt/sources.list` and everything in `/etc/apt/sources.list.d`.
    pub fn of_this_machine() -> Result<Self> {
        let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
        if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
            files.extend(entries.filter_map(|e| e.ok().map(|e| e.path())));
        }
        files.sort();
        let mut sources = Vec::new();
        for file in files {
            let Ok(text) = fs::read_to_string(&file) else { continue };
            match file.extension().and_then(|e| e.to_str()) {
                Some("list") => sources.extend(one_line(&text)),
                Some("sources") => sources.extend(stanzas(&text)),
                _ => {}
            }
        }
        Self::choose(&sources)
    }

    /// Lines for a world's `sources.list` that lead to the real archive: main, and security if asked for. The world
    /// needs the host's network for it.
    pub fn sources_list(&self, with_security: bool) -> Result<String> {
        let mut text = format!("deb {} {CODENAME} main\n", self.main);
        if with_security {
            let Some(security) = &self.security else { bail!("this machine's apt knows no {CODENAME}-security") };
            text.push_str(&format!("deb {security} {CODENAME}-security main\n"));
        }
        Ok(text)
    }

    fn choose(sources: &[Source]) -> Result<Self> {
        let of = |suite: &str| sources.iter().find(|s| s.suites.iter().any(|x| x == suite) && s.has_main);
        let Some(main) = of(CODENAME) else { bail!("no apt source of this machine has `{CODENAME} main`") };
        Ok(Self {
            main: main.uri.clone(),
            security: of(&format!("{CODENAME}-security")).map(|s| s.uri.clone()),
            keyring: main.keyring.clone(),
        })
    }
}

/// Fetches a real .deb with this machine's apt (which knows main and security) into `folder` and returns its path.
pub fn download(package: &str, version: Option<&str>, folder: &Path) -> Result<PathBuf> {
    let target = tempfile::tempdir_in(folder)?;
    let wanted = version.map_or_else(|| package.to_owned(), |v| format!("{package}={v}"));
    let mut command = Command::new("apt-get");
    command.args(["-o", "APT::Sandbox::User=root", "download", &wanted]).current_dir(target.path());
    host::run_command(command)?;
    let Some(entry) = fs::read_dir(target.path())?.next() else { bail!("apt-get download {wanted} brought nothing") };
    let entry = entry?;
    let path = folder.join(entry.file_name());
    fs::rename(entry.path(), &path)?;
    Ok(path)
}

#[derive(Debug, PartialEq, Eq)]
struct Source {
    uri: String,
    suites: Vec<String>,
    has_main: bool,
    keyring: Option<String>,
}

/// Sources in the format of one line each.
fn one_line(text: &str) -> Vec<Source> {
    let mut found = Vec::new();
    for line in text.lines() {
        let Some(rest) = line.trim().strip_prefix("deb ") else { continue };
        let rest = rest.trim();
        let (options, rest) = match rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
            Some((options, rest)) => (options, rest),
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let (Some(uri), Some(suite)) = (words.next(), words.next()) else { continue };
        found.push(Source {
            uri: uri.to_owned(),
            suites: vec![suite.to_owned()],
            has_main: words.any(|c| c == "main"),
            keyring: options.split_whitespace().find_map(|o| o.strip_prefix("signed-by=")).map(str::to_owned),
        });
    }
    found
}

/// Sources in the format of stanzas with fields.
fn stanzas(text: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let text: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
    for stanza in text.split(|l| l.trim().is_empty()) {
        let field = |name: &str| {
            stanza.iter().find_map(|l| {
                let (key, value) = l.split_once(':')?;
                key.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let words = |name: &str| -> Vec<String> {
            field(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
        };
        if field("Enabled").is_some_and(|v| v == "no") || !words("Types").iter().any(|t| t == "deb") {
            continue;
        }
        for uri in words("URIs") {
            found.push(Source {
                uri,
                suites: words("Suites"),
                has_main: words("Components").iter().any(|c| c == "main"),
                keyring: field("Signed-By").filter(|k| k.starts_with('/')),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_formats_of_sources() {
        let lines =
            one_line("# c\ndeb [arch=amd64 signed-by=/k.gpg] file:/a bookworm main contrib\ndeb-src x y main\n");
        let text = "Types: deb\n# remark\nURIs: file:/b\nSuites: bookworm-security\nComponents: main\n\n\
                    Types: deb\nURIs: file:/c\nSuites: bookworm\nComponents: main\nEnabled: no\n";
        let sources: Vec<Source> = lines.into_iter().chain(stanzas(text)).collect();
        let mirror = Mirror::choose(&sources).unwrap();
        assert_eq!(
            mirror,
            Mirror { main: "file:/a".into(), security: Some("file:/b".into()), keyring: Some("/k.gpg".into()) }
        );
        assert_eq!(
            mirror.sources_list(true).unwrap(),
            "deb file:/a bookworm main\ndeb file:/b bookworm-security main\n"
        );
    }

    #[test]
    fn no_source_is_an_error() {
        assert!(Mirror::choose(&stanzas("Types: deb\nURIs: file:/b\nSuites: sid\nComponents: main\n")).is_err());
    }
}
