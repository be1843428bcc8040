//! What apt knows and how it is called.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use stanch_model::canonical::Digest;
use stanch_model::version::DebVersion;

use super::Key;
use super::simulation::{Simulation, Unreadable, parse};
use crate::actions::command::{CommandError, Invocation, Output, Programs};

/// Settings of every call. Some repeat apt's defaults: a host's own configuration must not loosen them here.
const ALWAYS: [&str; 12] = [
    "APT::Install-Recommends=false",
    "APT::Install-Suggests=false",
    "APT::Get::AutomaticRemove=false",
    "APT::Get::Always-Include-Phased-Updates=true",
    "APT::Get::AllowUnauthenticated=false",
    "APT::Get::allow-remove-essential=false",
    "APT::Get::allow-change-held-packages=false",
    "APT::Get::force-yes=false",
    "Acquire::AllowInsecureRepositories=false",
    "APT::Get::Show-User-Simulation-Note=false",
    "Dpkg::Use-Pty=0",
    "quiet=1",
];

/// What else a call may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Only go up.
    Upgrade,
    /// Also go down: an undo.
    Downgrade,
}

/// Why apt gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AptError {
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error("`{command}` failed: {complaint}")]
    Failed { command: String, complaint: String },
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// The way back needs nothing but what was kept. Did apt know its archives, it would rather fetch there what they still
/// list, and without a network fail beside the very files that it was given: its own user may not read them, and it
/// lifts that only for a file that nothing else offers. apt's caches without its archives are not written over its own.
const APART: [&str; 4] = [
    "Dir::Etc::SourceList=/dev/null",
    "Dir::Etc::SourceParts=/dev/null",
    "Dir::Cache::pkgcache=",
    "Dir::Cache::srcpkgcache=",
];

fn options(leave: Leave) -> Vec<String> {
    let mut args = vec!["-y".to_owned()];
    let apart: &[&str] = if leave == Leave::Downgrade { &APART } else { &[] };
    for setting in ALWAYS.iter().chain(apart) {
        args.extend(["-o".to_owned(), (*setting).to_owned()]);
    }
    let down = if leave == Leave::Downgrade { "true" } else { "false" };
    args.extend(["-o".to_owned(), format!("APT::Get::allow-downgrades={down}")]);
    args
}

/// Asks apt what installing these would do. A refusal by apt is in the inner error, as apt words it.
pub(crate) fn simulate(
    programs: &dyn Programs,
    native: &str,
    leave: Leave,
    verb: &str,
    names: &[String],
) -> Result<Result<Simulation, String>, AptError> {
    let mut args = options(leave);
    // Even a simulation would write down what its ordering was given, over the record of the last real run.
    args.extend(["-o".to_owned(), "Dir::Log::Planner=".to_owned()]);
    args.extend(["-s".to_owned(), verb.to_owned()]);
    args.extend(names.iter().cloned());
    let output = programs.run(&Invocation::reading("apt-get", args))?;
    if !output.ok() {
        return Ok(Err(refusal(&output)));
    }
    Ok(Ok(parse(&output.text(), native)?))
}

/// apt's own words on why it cannot, without the chatter around them.
fn refusal(output: &Output) -> String {
    let text = output.text();
    let unmet: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.starts_with("The following packages have unmet dependencies"))
        .skip(1)
        .take_while(|line| line.starts_with(' '))
        .map(str::trim)
        .take(5)
        .collect();
    if unmet.is_empty() { output.complaint() } else { unmet.join("; ") }
}

/// A call that changes packages.
pub(crate) fn change(leave: Leave, lock_seconds: u32, verb: &str, names: &[String], log: PathBuf) -> Invocation {
    let mut args = options(leave);
    for setting in ["Dpkg::Options::=--force-confdef", "Dpkg::Options::=--force-confold"] {
        args.extend(["-o".to_owned(), setting.to_owned()]);
    }
    args.extend(["-o".to_owned(), format!("DPkg::Lock::Timeout={lock_seconds}")]);
    if leave == Leave::Upgrade {
        args.push("--no-remove".to_owned());
    }
    args.push(verb.to_owned());
    args.extend(names.iter().cloned());
    Invocation::changing("apt-get", args, log)
}

/// A version that some archive or dpkg's own record carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    /// The version.
    pub(crate) version: DebVersion,
    /// Its priority after pins.
    pub(crate) priority: i64,
    /// The archives that carry it, as apt describes them; empty when only dpkg knows it.
    pub(crate) archives: Vec<String>,
}

/// apt's policy for one package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    /// What apt would install.
    pub(crate) candidate: Option<DebVersion>,
    /// All versions it knows, as apt orders them.
    pub(crate) offers: Vec<Offer>,
}

impl Policy {
    /// The offer of this version.
    pub(crate) fn offer(&self, version: &DebVersion) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.version == *version)
    }
}

/// apt's policy for these packages.
pub(crate) fn policies(programs: &dyn Programs, native: &str, keys: &[Key]) -> Result<BTreeMap<Key, Policy>, AptError> {
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let args = std::iter::once("policy".to_owned()).chain(keys.iter().map(|key| key.spec(native)));
    let invocation = Invocation::reading("apt-cache", args);
    let output = programs.run(&invocation)?;
    if !output.ok() {
        return Err(AptError::Failed { command: invocation.shown(), complaint: output.complaint() });
    }
    let by_spec = parse_policies(&output.text());
    Ok(keys.iter().filter_map(|key| Some((key.clone(), by_spec.get(&key.spec(native))?.clone()))).collect())
}

fn parse_policies(text: &str) -> BTreeMap<String, Policy> {
    let mut found: BTreeMap<String, Policy> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        if !line.starts_with(' ') {
            line.trim_end().trim_end_matches(':').clone_into(&mut name);
            found.entry(name.clone()).or_default();
            continue;
        }
        let Some(policy) = found.get_mut(&name) else { continue };
        if let Some(version) = line.strip_prefix("  Candidate: ") {
            policy.candidate = version.trim().parse().ok();
        } else if let Some(archive) = line.strip_prefix("        ") {
            let archive = archive.trim().split_once(' ').map_or("", |(_, archive)| archive);
            if let Some(offer) = policy.offers.last_mut()
                && archive != "/var/lib/dpkg/status"
            {
                offer.archives.push(archive.to_owned());
            }
        } else if let Some(offer) = line.strip_prefix("     ").or_else(|| line.strip_prefix(" *** ")) {
            let mut words = offer.split_whitespace();
            if let (Some(Ok(version)), Some(Ok(priority))) =
                (words.next().map(str::parse), words.next().map(str::parse))
            {
                policy.offers.push(Offer { version, priority, archives: Vec::new() });
            }
        }
    }
    found
}

/// Descriptions of the indexes that no signature vouches for, as [`Offer::archives`] names them.
pub(crate) fn untrusted(programs: &dyn Programs) -> Result<BTreeSet<String>, AptError> {
    let format = "$(TRUSTED) $(DESCRIPTION)";
    let invocation = Invocation::reading("apt-get", ["indextargets", "--format", format, "Created-By: Packages"]);
    let output = programs.run(&invocation)?;
    if !output.ok() {
        return Err(AptError::Failed { command: invocation.shown(), complaint: output.complaint() });
    }
    Ok(output.text().lines().filter_map(|line| line.strip_prefix("no ")).map(str::to_owned).collect())
}

/// What an index says of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Its source package.
    pub(crate) source: String,
    /// The version of that source package.
    pub(crate) source_version: DebVersion,
    /// The digest of its .deb.
    pub(crate) sha256: Option<Digest>,
}

/// What the indexes say of these versions; those that no index carries are left out.
pub(crate) fn records(
    programs: &dyn Programs,
    native: &str,
    wanted: &[(Key, DebVersion)],
) -> Result<BTreeMap<(Key, String), Record>, AptError> {
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let names = wanted.iter().map(|(key, version)| format!("{}={version}", key.spec(native)));
    let invocation = Invocation::reading("apt-cache", std::iter::once("show".to_owned()).chain(names));
    // A version that is nowhere makes apt-cache fail after it has shown the others.
    let output = programs.run(&invocation)?;
    Ok(parse_records(&output.text()))
}

fn parse_records(text: &str) -> BTreeMap<(Key, String), Record> {
    let mut found = BTreeMap::new();
    for stanza in text.split("\n\n") {
        let field = |name: &str| {
            stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(|value| value.trim()))
        };
        // What only dpkg's own record carries has no file to fetch.
        let (Some(name), Some(arch), Some(version), Some(_)) =
            (field("Package"), field("Architecture"), field("Version"), field("Filename"))
        else {
            continue;
        };
        let (source, source_version) = match field("Source") {
            Some(source) => match source.split_once(" (") {
                Some((source, version)) => (source, version.trim_end_matches(')')),
                None => (source, version),
            },
            None => (name, version),
        };
        let Ok(source_version) = source_version.parse() else { continue };
        let record = Record {
            source: source.to_owned(),
            source_version,
            sha256: field("SHA256").and_then(|digest| digest.parse().ok()),
        };
        found.insert((Key { name: name.to_owned(), arch: arch.to_owned() }, version.to_owned()), record);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "\
perl-base:
  Installed: 5.36.0-7+deb12u3
  Candidate: 5.36.0-7+deb12u4
  Version table:
     5.36.0-7+deb12u4 500
        500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
 *** 5.36.0-7+deb12u3 990
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
        100 /var/lib/dpkg/status
libc6:i386:
  Installed: (none)
  Candidate: (none)
  Version table:
     2.36-9 -1
        -1 file:/srv/archive ./ Packages
";

    #[test]
    fn candidates_priorities_and_archives_are_read() {
        let found = parse_policies(POLICY);
        let perl = &found["perl-base"];
        assert_eq!(perl.candidate.as_ref().unwrap().as_str(), "5.36.0-7+deb12u4");
        assert_eq!(
            perl.offers.iter().map(|o| (o.priority, o.archives.len())).collect::<Vec<_>>(),
            [(500, 1), (990, 1)]
        );
        assert_eq!(
            perl.offers[0].archives,
            ["http://deb.debian.org/debian-security bookworm-security/main amd64 Packages"]
        );
        let libc = &found["libc6:i386"];
        assert_eq!((libc.candidate.as_ref(), libc.offers[0].priority), (None, -1));
    }

    #[test]
    fn the_source_of_a_version_is_read_and_what_has_no_file_is_left_out() {
        let text = "Package: liblzma5\nSource: xz-utils (5.4.1-1)\nVersion: 5.4.1-1+b1\nArchitecture: amd64\n\
                    Filename: pool/x.deb\nSHA256: 3d8c29c8c21ec6007635e1b2591edf98b771c9572a085968f47452b33040f384\n\n\
                    Package: local\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n";
        let found = parse_records(text);
        assert_eq!(found.len(), 1);
        let record = &found[&(Key::read("liblzma5", "amd64"), "5.4.1-1+b1".to_owned())];
        assert_eq!((record.source.as_str(), record.source_version.as_str()), ("xz-utils", "5.4.1-1"));
        assert!(record.sha256.is_some());
    }

    #[test]
    fn an_upgrade_never_gets_leave_to_remove_or_to_go_down() {
        let call = change(Leave::Upgrade, 60, "install", &["x=1".to_owned()], PathBuf::from("log"));
        assert_eq!(call.shown(), "apt-get -y --no-remove install x=1");
        let has = |call: &Invocation, word: &str| call.args.iter().any(|arg| arg == word);
        assert!(has(&call, "APT::Get::allow-downgrades=false") && !has(&call, "APT::Get::allow-downgrades=true"));
        let back = change(Leave::Downgrade, 60, "install", &["x=1".to_owned()], PathBuf::from("log"));
        assert!(has(&back, "APT::Get::allow-downgrades=true") && has(&back, "APT::Get::force-yes=false"));
    }
}
