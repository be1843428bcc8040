//! A real server for long proofs: Debian from the main pocket only, so honestly behind, under a real systemd, with the
//! live security pocket in its sources and the program under proof installed.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    debian::{Base, Mirror},
    wait_until,
    world::{Output, Process, World},
};

/// Where the program lies inside.
pub const STANCH: &str = "/usr/local/sbin/stanch";
/// A whole upgrade with its proof takes minutes.
pub const LONG: Duration = Duration::from_secs(3600);
/// The services that must answer before and after.
pub const SERVICES: &[&str] = &["ssh", "nginx", "cron"];

/// The server.
#[derive(Debug)]
pub struct Live {
    /// The world it is.
    pub world: World,
}

/// What undo has to bring back to the letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Version and state of every package.
    pub versions: BTreeMap<String, String>,
    /// Digest of every configuration file that belongs to a package.
    pub conffiles: BTreeMap<String, String>,
    /// Packages marked as installed automatically.
    pub automatic: Vec<String>,
    /// Packages held.
    pub held: Vec<String>,
}

impl Live {
    /// Boots it, with services running and with indexes of the live archive.
    pub fn boot(binary: &Path) -> Result<Self> {
        let base = Base::server()?;
        let world = World::builder(&base).hostname("proof").host_network().systemd().boot()?;
        world.copy_in(binary, STANCH)?;
        world.write("/etc/apt/sources.list", Mirror::of_this_machine()?.sources_list(true)?)?;
        // Only the program under proof may change packages now.
        world.must([
            "systemctl",
            "mask",
            "--now",
            "apt-daily.timer",
            "apt-daily-upgrade.timer",
            "unattended-upgrades",
        ])?;
        world.must(["apt-get", "update", "-q"])?;
        let live = Self { world };
        for service in SERVICES {
            live.world.must(["systemctl", "restart", service])?;
        }
        Ok(live)
    }

    /// Runs the program.
    pub fn stanch<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<Output> {
        let mut line = vec![OsStr::new(STANCH).to_owned()];
        line.extend(arguments.into_iter().map(|one| one.as_ref().to_owned()));
        self.world.run_with(line, &[], LONG)
    }

    /// Starts its server on this machine's loopback and waits until it answers on its control socket.
    pub fn up(&self, port: u16, options: &[&str]) -> Result<Process> {
        let listen = format!("127.0.0.1:{port}");
        let line = [STANCH, "up", "--listen", &listen].into_iter().chain(options.iter().copied());
        let mut process = self.world.spawn(line)?;
        let socket = "/var/lib/stanch/control.sock";
        wait_until("the server answers", Duration::from_secs(60), || {
            if let Some(status) = process.ended()? {
                let said = String::from_utf8_lossy(&process.stderr()?).into_owned();
                bail!("`stanch up` ended with {status}: {said}");
            }
            Ok(self.world.exists(socket) && self.stanch(["hold", "show", "--quiet"])?.ok())
        })?;
        Ok(process)
    }

    /// Every finding of a scan.
    pub fn findings(&self) -> Result<Vec<Value>> {
        let output = self.stanch(["scan", "--json", "--quiet"])?;
        if !output.ok() {
            bail!("scan failed: {}", output.all());
        }
        output.text().lines().map(|line| serde_json::from_str(line).context("a line of the scan")).collect()
    }

    /// Everything that undo has to bring back.
    pub fn state(&self) -> Result<State> {
        let world = &self.world;
        let versions = world.must(["dpkg-query", "-W", "-f", "${binary:Package} ${Version} ${db:Status-Abbrev}\n"])?;
        // An obsolete one belongs to nobody any more and may stay as it is.
        let listed = world.must(["dpkg-query", "-W", "-f", "${Conffiles}\n"])?;
        let listed: Vec<&str> = listed
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|words| words.len() == 2)
            .filter_map(|words| words.first().copied())
            .filter(|path| world.exists(path))
            .collect();
        let digests = world.must([&["sha256sum", "--"], listed.as_slice()].concat())?;
        let pair = |line: &str| line.split_once(' ').map(|(a, b)| (a.to_owned(), b.trim().to_owned()));
        let lines = |text: String| text.lines().map(str::to_owned).collect();
        Ok(State {
            versions: versions.lines().filter_map(pair).collect(),
            conffiles: digests.lines().filter_map(pair).map(|(digest, path)| (path, digest)).collect(),
            automatic: lines(world.must(["apt-mark", "showauto"])?),
            held: lines(world.must(["apt-mark", "showhold"])?),
        })
    }

    /// The binary packages of a source, as dpkg knows them.
    pub fn packages_of(&self, source: &str) -> Result<Vec<String>> {
        let text = self.world.must(["dpkg-query", "-W", "-f", "${source:Package} ${binary:Package}\n"])?;
        let words = text.lines().filter_map(|line| line.split_once(' '));
        Ok(words.filter(|(of, _)| *of == source).map(|(_, package)| package.to_owned()).collect())
    }

    /// Processes that run code which is gone from the disk, seen from outside the world: `name path`.
    pub fn on_deleted_code(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let first = ("init".to_owned(), self.world.must(["cat", "/proc/1/maps"])?);
        let others = self.world.processes()?.into_iter().filter_map(|process| {
            // It may end while we look.
            let maps = fs::read_to_string(format!("/proc/{}/maps", process.host_pid)).ok()?;
            Some((process.name, maps))
        });
        for (name, maps) in others.chain([first]) {
            for line in maps.lines().filter(|line| line.ends_with(" (deleted)")) {
                let executable = line.split_whitespace().nth(1).is_some_and(|mode| mode.contains('x'));
                let Some(at) = line.find('/') else { continue };
                let path = line.get(at..).unwrap_or_default().trim_end_matches(" (deleted)");
                if executable && ["/usr/", "/lib", "/bin/", "/sbin/", "/opt/"].iter().any(|root| path.starts_with(root))
                {
                    found.push(format!("{name} {path}"));
                }
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// Whether the services run, and answer like services: an ssh banner, a page. Otherwise what they said.
    pub fn services_answer(&self) -> Result<(), String> {
        let run = |line: &[&str]| self.world.run(line).map_err(|error| format!("{error:#}"));
        let states = run(&[&["systemctl", "is-active"], SERVICES].concat())?;
        let page =
            run(&["curl", "-fsS", "--noproxy", "*", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1/"])?;
        let banner = run(&["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/22; head -c 4 <&3"])?;
        if states.ok() && page.text() == "200" && banner.text() == "SSH-" {
            return Ok(());
        }
        Err(format!("{}{}{}", states.all(), page.all(), banner.all()))
    }

    /// Runs a command inside and measures it: its output, wall time and CPU seconds of it and its children.
    pub fn timed(&self, line: &[&str]) -> Result<(Output, Duration, f64)> {
        let mut timed = vec!["bash", "-c", "TIMEFORMAT='cpu %U %S'; time \"$@\"", "bash"];
        timed.extend(line);
        let began = Instant::now();
        let output = self.world.run_with(timed, &[], LONG)?;
        let wall = began.elapsed();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let cpu = said.lines().rev().find_map(|line| {
            let mut words = line.strip_prefix("cpu ")?.split(' ').map(str::parse::<f64>);
            Some(words.next()?.ok()? + words.next()?.ok()?)
        });
        Ok((output, wall, cpu.context("bash told no CPU time")?))
    }
}

impl State {
    /// Where another state differs, as sentences.
    pub fn difference(&self, other: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (mine, its) in [(&self.versions, &other.versions), (&self.conffiles, &other.conffiles)] {
            let names: std::collections::BTreeSet<&String> = mine.keys().chain(its.keys()).collect();
            let differs = names.into_iter().filter(|name| mine.get(*name) != its.get(*name));
            lines.extend(differs.map(|name| format!("{name}: {:?} -> {:?}", mine.get(name), its.get(name))));
        }
        if self.automatic != other.automatic {
            lines.push(format!("marked automatic: {:?} -> {:?}", self.automatic, other.automatic));
        }
        if self.held != other.held {
            lines.push(format!("held: {:?} -> {:?}", self.held, other.held));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_difference_is_told() {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let one = State {
            versions: map(&[("nginx", "1 ii"), ("gone", "1 ii")]),
            conffiles: map(&[("/etc/a", "aa")]),
            automatic: vec!["x".into()],
            held: Vec::new(),
        };
        assert!(one.difference(&one).is_empty());
        let other = State {
            versions: map(&[("nginx", "2 ii")]),
            conffiles: map(&[("/etc/a", "bb")]),
            automatic: Vec::new(),
            held: vec!["nginx".into()],
        };
        assert_eq!(one.difference(&other).len(), 5, "{:?}", one.difference(&other));
    }
}
