//! What is installed, as dpkg records it.

use std::collections::{BTreeMap, BTreeSet};

use stanch_model::version::DebVersion;

use super::Key;
use crate::actions::command::{CommandError, Invocation, Programs};
use crate::facts::deb822::{Stanza, Stanzas};

/// One package in dpkg's database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installed {
    /// Its version.
    pub(crate) version: DebVersion,
    /// Its source package.
    pub(crate) source: String,
    /// The version of that source package.
    pub(crate) source_version: String,
    /// What its owner wants: `install`, `hold`, `deinstall`.
    pub(crate) want: String,
    /// How far it is: `installed`, `half-configured`.
    pub(crate) status: String,
    /// `reinstreq` when it was broken off while its files were replaced.
    pub(crate) flag: String,
    /// Its configuration files by path.
    pub(crate) conffiles: BTreeMap<String, Conffile>,
}

/// What dpkg records of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conffile {
    /// MD5 of the content that was shipped.
    pub(crate) md5: String,
    /// An earlier version brought it, this one does not.
    pub(crate) obsolete: bool,
}

impl Installed {
    pub(crate) fn held(&self) -> bool {
        self.want == "hold"
    }

    /// Installed and configured.
    pub(crate) fn whole(&self) -> bool {
        self.status == "installed" && self.flag == "ok"
    }
}

/// What is left of a package that was removed and not purged: its owner kept the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Removed {
    /// What its owner wants: `deinstall` as a rule.
    pub(crate) want: String,
    /// Its configuration files by path.
    pub(crate) conffiles: BTreeMap<String, Conffile>,
}

/// dpkg's view of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Database {
    /// The main architecture.
    pub(crate) native: String,
    /// All packages that are there at least in part.
    pub(crate) packages: BTreeMap<Key, Installed>,
    /// Those of which only the configuration is there (`config-files`).
    pub(crate) removed: BTreeMap<Key, Removed>,
    /// Those that others pulled in.
    pub(crate) automatic: BTreeSet<Key>,
}

impl Database {
    /// The configuration files dpkg knows of a package, installed or removed.
    pub(crate) fn conffiles(&self, key: &Key) -> Option<&BTreeMap<String, Conffile>> {
        let installed = self.packages.get(key).map(|installed| &installed.conffiles);
        installed.or_else(|| self.removed.get(key).map(|removed| &removed.conffiles))
    }
}

/// Why the database could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error("`{command}` failed: {complaint}")]
    Failed { command: String, complaint: String },
    #[error("dpkg names a version of {package} that cannot be read")]
    Version {
        package: String,
        #[source]
        source: stanch_model::version::NotAVersion,
    },
}

/// Which packages others pulled in.
const MARKS: &str = "/var/lib/apt/extended_states";

const FORMAT: &str = "\u{1}${Package}\t${Architecture}\t${Version}\t${source:Package}\t${source:Version}\t\
                      ${db:Status-Want}\t${db:Status-Status}\t${db:Status-Eflag}\t${Conffiles}";

/// Reads it.
pub(crate) fn read(programs: &dyn Programs) -> Result<Database, DatabaseError> {
    let native = text(programs, &Invocation::reading("dpkg", ["--print-architecture"]))?.trim().to_owned();
    let listing = text(programs, &Invocation::reading("dpkg-query", ["--show", "--showformat", FORMAT]))?;
    let (packages, removed) = parse(&listing)?;
    let marked = marked(&marks(programs)?, &native);
    // apt files packages for every architecture under the main one.
    let all = |key: &Key| Key { arch: "all".to_owned(), ..key.clone() };
    let there = |key: Key| [key.clone(), all(&key)].into_iter().find(|key| packages.contains_key(key));
    let automatic = marked.into_iter().filter_map(there).collect();
    Ok(Database { native, packages, removed, automatic })
}

/// What `apt-mark` keeps; asking `apt-mark` itself would load apt's whole cache to print the same.
fn marks(programs: &dyn Programs) -> Result<Vec<u8>, DatabaseError> {
    let invocation = Invocation::reading("cat", [MARKS]);
    let output = programs.run(&invocation)?;
    let complaint = output.complaint();
    // A host where nothing was ever pulled in has no such file.
    if output.ok() || complaint.contains("No such file") {
        return Ok(output.stdout);
    }
    Err(DatabaseError::Failed { command: invocation.shown(), complaint })
}

fn marked(states: &[u8], native: &str) -> BTreeSet<Key> {
    let key = |stanza: Stanza<'_>| {
        let mark: i64 = stanza.text("Auto-Installed")?.parse().ok()?;
        let arch = stanza.text("Architecture").unwrap_or(native).to_owned();
        (mark > 0).then_some(Key { name: stanza.text("Package")?.to_owned(), arch })
    };
    Stanzas::new(states).filter_map(key).collect()
}

fn text(programs: &dyn Programs, invocation: &Invocation) -> Result<String, DatabaseError> {
    let output = programs.run(invocation)?;
    if output.ok() {
        Ok(output.text())
    } else {
        Err(DatabaseError::Failed { command: invocation.shown(), complaint: output.complaint() })
    }
}

type Found = (BTreeMap<Key, Installed>, BTreeMap<Key, Removed>);

fn parse(listing: &str) -> Result<Found, DatabaseError> {
    let (mut packages, mut removed) = (BTreeMap::new(), BTreeMap::new());
    for record in listing.split('\u{1}').skip(1) {
        let mut fields = record.splitn(9, '\t').map(str::to_owned);
        let mut next = || fields.next().unwrap_or_default();
        let key = Key { name: next(), arch: next() };
        let version = next();
        let (source, source_version, want, status, flag) = (next(), next(), next(), next(), next());
        if status == "config-files" {
            let conffiles = next().lines().filter_map(conffile).collect();
            removed.insert(key, Removed { want, conffiles });
            continue;
        }
        if status == "not-installed" || version.is_empty() {
            continue;
        }
        let version = version.parse().map_err(|source| DatabaseError::Version { package: key.to_string(), source })?;
        let conffiles = next().lines().filter_map(conffile).collect();
        packages.insert(key, Installed { version, source, source_version, want, status, flag, conffiles });
    }
    Ok((packages, removed))
}

/// ` PATH MD5 [obsolete]`; a path may hold spaces.
fn conffile(line: &str) -> Option<(String, Conffile)> {
    let line = line.trim();
    let (rest, obsolete) = line.strip_suffix(" obsolete").map_or((line, false), |rest| (rest, true));
    let rest = rest.strip_suffix(" remove-on-upgrade").unwrap_or(rest);
    let (path, md5) = rest.rsplit_once(' ')?;
    path.starts_with('/').then(|| (path.to_owned(), Conffile { md5: md5.to_owned(), obsolete }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::command::Host;
    use crate::actions::doubles::Table;

    #[test]
    fn marks_are_read_for_each_architecture_and_only_of_what_is_there() {
        let states = "Package: a\nArchitecture: amd64\nAuto-Installed: 1\n\n\
                      Package: b\nArchitecture: amd64\nAuto-Installed: 0\n\n\
                      Package: c\nArchitecture: i386\nAuto-Installed: 1\n\n\
                      Package: gone\nArchitecture: amd64\nAuto-Installed: 1\n";
        let line = |name: &str, arch: &str| format!("\u{1}{name}\t{arch}\t1\t{name}\t1\tinstall\tinstalled\tok\t");
        let listing = [line("a", "all"), line("b", "amd64"), line("c", "amd64"), line("c", "i386")].concat();
        let host = Table::new(&[("print-arch", "amd64"), ("--showformat", &listing), ("extended_states", states)]);
        let found: Vec<String> = read(&host).unwrap().automatic.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["a:all", "c:i386"]);
    }

    #[test]
    fn the_marks_of_this_host_are_those_that_apt_tells() {
        let host = Host::default();
        if !host.has("apt-mark") {
            eprintln!("skipped: no apt here");
            return;
        }
        let told = host.run(&Invocation::reading("apt-mark", ["showauto"])).unwrap().text();
        let database = read(&host).unwrap();
        let mut read: Vec<String> = database.automatic.iter().map(|key| key.spec(&database.native)).collect();
        let mut told: Vec<&str> = told.lines().collect();
        read.sort();
        told.sort_unstable();
        assert_eq!(read, told);
    }

    #[test]
    fn what_was_removed_is_told_apart_and_conffiles_are_read() {
        let listing = "\u{1}cron\tamd64\t3.0pl1-162\tcron\t3.0pl1-162\thold\tinstalled\tok\t\
                       \n /etc/cron.d/.placeholder 00d7 \n /etc/old file 11aa obsolete\
                       \u{1}gone\tall\t1\tgone\t1\tdeinstall\tconfig-files\tok\t\n /etc/gone 22bb\
                       \u{1}half\tall\t1\thalf\t1\tinstall\thalf-installed\treinstreq\t";
        let (packages, removed) = parse(listing).unwrap();
        assert_eq!(removed.keys().map(ToString::to_string).collect::<Vec<_>>(), ["gone:all"]);
        let gone = &removed[&Key::read("gone:all", "amd64")];
        assert_eq!((gone.want.as_str(), gone.conffiles.keys().next().unwrap().as_str()), ("deinstall", "/etc/gone"));
        assert_eq!(packages.keys().map(ToString::to_string).collect::<Vec<_>>(), ["cron:amd64", "half:all"]);
        let cron = &packages[&Key::read("cron", "amd64")];
        assert!(cron.held() && cron.whole());
        assert_eq!(
            cron.conffiles.iter().map(|(p, c)| format!("{p}={} {}", c.md5, c.obsolete)).collect::<Vec<_>>(),
            ["/etc/cron.d/.placeholder=00d7 false", "/etc/old file=11aa true"]
        );
        assert!(!packages[&Key::read("half:all", "amd64")].whole());
    }
}
