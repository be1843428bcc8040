//! The peer: debsecan on the same records, and why the two may differ.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::product;
use super::scanned::{Finding, bare, pairs};
use super::status::Package;
use crate::steps;

/// Why one of the two says what the other does not.
const SIGNED: &str = "contains the code of another source (Built-Using, as a signed kernel does), while debsecan \
                      matches only the source a package was built as";
const NO_DATA: &str = "says that the records do not cover the suite a package came from, while debsecan is silent";
const NOT_INSTALLED: &str = "only the configuration of the package is left";
const JUDGED: &str = "stanch lists it under another detector or verdict";
const UNEXPLAINED: &str = "unexplained";

/// The command on the shared records; `status` is a plain dpkg status file, else this machine's.
pub(crate) fn command(status: Option<&Path>) -> Result<Command> {
    let mut command = Command::new("debsecan");
    command.args(["--suite", "bookworm", "--source"]);
    command.arg(format!("file://{}", product::shared()?.join("debsecan").display()));
    if let Some(status) = status {
        command.arg("--status").arg(status);
    }
    command.args(["--format", "simple"]);
    Ok(command)
}

/// Its findings: id and binary package.
pub(crate) fn findings(status: Option<&Path>) -> Result<BTreeSet<(String, String)>> {
    let text = steps::output("debsecan", &mut command(status)?).context("running debsecan")?;
    let words = |line: &str| line.split_once(' ').map(|(id, package)| (id.to_owned(), package.trim().to_owned()));
    Ok(text.lines().filter_map(words).collect())
}

/// Both sides compared.
pub(crate) struct Comparison {
    pub(crate) both: usize,
    pub(crate) only_stanch: BTreeMap<&'static str, Vec<String>>,
    pub(crate) only_debsecan: BTreeMap<&'static str, Vec<String>>,
}

impl Comparison {
    /// Puts every difference into a category.
    pub(crate) fn new(
        all: &[Finding],
        advisory: &[&Finding],
        theirs: &BTreeSet<(String, String)>,
        packages: &BTreeMap<String, Package>,
    ) -> Self {
        let ours = pairs(advisory);
        let mut only_stanch: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for finding in advisory {
            let pair = (bare(&finding.id).to_owned(), finding.binary.clone());
            if theirs.contains(&pair) {
                continue;
            }
            let signed = packages.get(&finding.binary).is_some_and(|package| {
                package.source != finding.package && package.built_using.contains(&finding.package)
            });
            let why = if finding.verdict == "unknown" {
                NO_DATA
            } else if signed {
                SIGNED
            } else {
                UNEXPLAINED
            };
            only_stanch.entry(why).or_default().push(format!("{} {}", pair.0, pair.1));
        }
        let elsewhere: BTreeSet<(String, String)> = pairs(&all.iter().collect::<Vec<_>>());
        let mut only_debsecan: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for pair in theirs.difference(&ours) {
            let why = if packages.get(&pair.1).is_some_and(|package| !package.installed) {
                NOT_INSTALLED
            } else if elsewhere.contains(pair) {
                JUDGED
            } else {
                UNEXPLAINED
            };
            only_debsecan.entry(why).or_default().push(format!("{} {}", pair.0, pair.1));
        }
        Self { both: ours.intersection(theirs).count(), only_stanch, only_debsecan }
    }

    /// Whether every difference has its reason.
    pub(crate) fn explained(&self) -> bool {
        !self.only_stanch.contains_key(UNEXPLAINED) && !self.only_debsecan.contains_key(UNEXPLAINED)
    }

    /// Counts by reason, with some of each.
    pub(crate) fn figures(&self) -> Value {
        let side = |all: &BTreeMap<&str, Vec<String>>| -> Value {
            let lines = all.iter().map(|(why, pairs)| {
                let some: Vec<&String> = pairs.iter().take(5).collect();
                json!({"count": pairs.len(), "because": why, "such_as": some})
            });
            Value::Array(lines.collect())
        };
        json!({"both": self.both, "only_stanch": side(&self.only_stanch), "only_debsecan": side(&self.only_debsecan)})
    }

    /// The same for a person.
    pub(crate) fn tell(&self) {
        for (side, all) in [("stanch", &self.only_stanch), ("debsecan", &self.only_debsecan)] {
            for (why, pairs) in all {
                eprintln!("    only {side}: {} because it {why}", pairs.len());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(id: &str, package: &str, binary: &str) -> Finding {
        let text = json!({"detector": "advisory", "id": id, "package": package, "binary": binary, "version": "1",
            "fixed_version": "2", "verdict": "affected_fixable", "asset": "a"});
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn a_difference_without_a_reason_is_not_explained() {
        let kernel = Package { installed: true, source: "linux-signed".into(), built_using: vec!["linux".into()] };
        let packages = BTreeMap::from([("image".to_owned(), kernel)]);
        let all = [finding("DEBIAN-CVE-1", "linux", "image"), finding("DEBIAN-CVE-2", "apt", "apt")];
        let advisory: Vec<&Finding> = all.iter().collect();
        let theirs = BTreeSet::from([("CVE-2".to_owned(), "apt".to_owned())]);
        let comparison = Comparison::new(&all, &advisory, &theirs, &packages);
        assert!(comparison.explained());
        assert_eq!((comparison.both, comparison.only_stanch.len()), (1, 1));
        let more = BTreeSet::from([("CVE-3".to_owned(), "apt".to_owned())]);
        assert!(!Comparison::new(&all, &advisory, &more, &packages).explained());
    }
}
