//! The machine this runs on, against what dpkg and apt themselves say of it.

use std::collections::BTreeMap;
use std::process::Command;

use stanch_agent::facts::{Options, host};
use stanch_model::facts::HostFacts;

fn ask(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).env("LC_ALL", "C").output().unwrap();
    assert!(output.status.success(), "{program} {args:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Facts and answers of one state of this machine: others may install packages meanwhile.
fn steady<T>(answers: impl Fn() -> T) -> Option<(HostFacts, T)> {
    if Command::new("dpkg-query").arg("--version").output().is_err() {
        eprintln!("skipped: no dpkg here");
        return None;
    }
    let read = || std::fs::read("/var/lib/dpkg/status").unwrap();
    for _ in 0..5 {
        let before = read();
        let pair = (host(&Options::this_host()).unwrap(), answers());
        if read() == before {
            return Some(pair);
        }
    }
    eprintln!("skipped: the packages of this machine do not stand still");
    None
}

#[test]
fn dpkg_query_says_the_same() {
    const FORMAT: &str = "${Package}\t${Architecture}\t${Version}\t${source:Package}\t${source:Version}\t${db:Status-Abbrev}\t${Essential}\n";
    let Some((facts, text)) = steady(|| ask("dpkg-query", &["-W", "-f", FORMAT])) else { return };
    let mut theirs: Vec<String> =
        text.lines().filter(|line| !line.contains("\trc ") && !line.contains("\tun ")).map(str::to_owned).collect();
    let mut ours: Vec<String> = facts
        .packages
        .iter()
        .map(|p| {
            let state = if facts.broken.contains(&p.name) { "?" } else { "i " };
            let want = if p.hold { "h" } else { "i" };
            let essential = if p.essential { "yes" } else { "" };
            format!(
                "{}\t{}\t{}\t{}\t{}\t{want}{state}\t{essential}",
                p.name, p.architecture, p.version, p.source, p.source_version
            )
        })
        .collect();
    for line in &mut theirs {
        *line = line.strip_suffix("no").unwrap_or(line).to_owned();
    }
    theirs.sort();
    ours.sort();
    assert!(!ours.is_empty());
    let differs =
        |a: &[String], b: &[String]| a.iter().filter(|line| !b.contains(line)).take(5).cloned().collect::<Vec<_>>();
    if facts.broken.is_empty() {
        assert_eq!((differs(&ours, &theirs), differs(&theirs, &ours)), (Vec::new(), Vec::new()));
    }
    assert_eq!(ours.len(), theirs.len());
    assert_eq!(facts.architecture, ask("dpkg", &["--print-architecture"]).trim());
}

#[test]
fn apt_mark_says_the_same() {
    let answers = || (ask("apt-mark", &["showauto"]), ask("apt-mark", &["showhold"]));
    let Some((facts, (automatic, held))) = steady(answers) else { return };
    let names = |text: &str| -> Vec<String> {
        let mut names: Vec<String> = text.lines().map(|line| line.split(':').next().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    let ours = |wanted: &dyn Fn(&stanch_model::facts::Package) -> bool| -> Vec<String> {
        facts.packages.iter().filter(|package| wanted(package)).map(|package| package.name.clone()).collect()
    };
    assert_eq!(ours(&|package| package.automatic == Some(true)), names(&automatic));
    assert_eq!(ours(&|package| package.hold), names(&held));
}

/// What `apt-cache policy` says of one package.
#[derive(Debug, Default, PartialEq, Eq)]
struct Policy {
    candidate: String,
    /// Whether an archive carries the installed version.
    carried: bool,
}

fn policies(text: &str) -> BTreeMap<String, Policy> {
    let mut all = BTreeMap::new();
    let mut name = String::new();
    let mut installed = false;
    for line in text.lines() {
        let policy: &mut Policy = all.entry(name.clone()).or_default();
        if !line.starts_with(' ') {
            name = line.trim_end_matches(':').to_owned();
            installed = false;
        } else if let Some(candidate) = line.trim().strip_prefix("Candidate: ") {
            policy.candidate = candidate.to_owned();
        } else if line.starts_with(" *** ") || line.starts_with("     ") && !line.starts_with("        ") {
            installed = line.starts_with(" *** ");
        } else if installed && line.contains("://") {
            policy.carried = true;
        }
    }
    all.remove("");
    all
}

#[test]
fn apt_cache_policy_says_the_same() {
    let answers = || {
        let names = ask("dpkg-query", &["-W", "-f", "${Package}\n"]);
        let names: Vec<&str> = std::iter::once("policy").chain(names.lines()).collect();
        ask("apt-cache", &names)
    };
    let Some((facts, text)) = steady(answers) else { return };
    let policies = policies(&text);
    let Some(candidates) = facts.candidates.known() else {
        eprintln!("skipped: {:?}", facts.candidates);
        return;
    };
    let mut compared = 0;
    for package in &facts.packages {
        let Some(policy) = policies.get(&package.name) else { continue };
        let newest = candidates.get(&package.name).into_iter().flatten().find(|candidate| !candidate.pinned_away);
        let ours = newest.map_or(package.version.as_str(), |candidate| candidate.version.as_str());
        assert_eq!(ours, policy.candidate, "{}", package.name);
        assert_eq!(!package.origins.is_empty(), policy.carried, "{}", package.name);
        compared += 1;
    }
    assert!(compared * 10 >= facts.packages.len() * 9, "{compared} of {}", facts.packages.len());
}
