//! `stanch scan`: exactly the known findings, in every form, and errors that say what to do.

use std::collections::BTreeSet;

use flate2::read::GzDecoder;
use serde_json::Value;

use crate::program::{Home, Run, fixture};

fn scan(home: &Home, list: &str, more: &[&str]) -> Run {
    let file = fixture(&format!("{list}.dpkg-status.gz"));
    let mut arguments = vec!["scan", "--dpkg-status", file.to_str().unwrap(), "--release", "debian:12"];
    arguments.extend(more);
    home.run(&arguments)
}

/// Binary package, id and fixed version of each finding that an independent matcher found.
fn expected(list: &str) -> BTreeSet<(String, String, String)> {
    let file = std::fs::File::open(fixture(&format!("{list}.expected.json.gz"))).unwrap();
    let document: Value = serde_json::from_reader(GzDecoder::new(file)).unwrap();
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let findings = document["findings"].as_array().unwrap();
    findings.iter().map(|one| (text(one, "package"), text(one, "id"), text(one, "fixed"))).collect()
}

#[test]
fn the_known_findings_of_three_hosts_and_no_other() {
    for (list, count) in [("base", 18), ("server", 696), ("base-plus-kernel", 2596)] {
        let run = scan(&Home::new(), list, &["--json"]);
        assert_eq!(run.code, 0, "{}", run.err);
        let lines: Vec<Value> = run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
        let advisories: Vec<&Value> = lines.iter().filter(|line| line["detector"] == "advisory").collect();
        assert_eq!(advisories.len(), count, "{list}");
        let found: BTreeSet<_> = advisories
            .iter()
            .map(|line| (text(line, "binary"), text(line, "id"), text(line, "fixed_version")))
            .collect();
        assert_eq!(found, expected(list), "{list}");
        for key in ["detector", "id", "package", "binary", "version", "fixed_version", "verdict", "asset"] {
            assert!(lines.iter().all(|line| line.get(key).is_some()), "{key}");
        }
    }
}

#[test]
fn people_see_work_items_with_the_known_exploited_one_first() {
    let run = scan(&Home::new(), "server", &[]);
    let first = run.out.lines().nth(1).unwrap();
    assert!(first.contains("nginx") && first.contains("CVE-2023-44487 is listed in KEV"), "{first}");
    assert!(run.err.contains("696 findings") && run.err.contains("built-in snapshot"), "{}", run.err);
    assert!(run.err.contains("Coverage: ") && run.err.contains(" of 276 packages"), "{}", run.err);
}

#[test]
fn nothing_is_called_clean_on_stale_data() {
    let home = Home::new();
    let list = home.path().join("status");
    std::fs::write(&list, "Package: hello\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.10-3\n")
        .unwrap();
    let run = home.run(&["scan", "--dpkg-status", list.to_str().unwrap(), "--release", "debian:12"]);
    assert_eq!((run.code, run.out.as_str()), (0, ""));
    assert!(run.err.contains("cannot be called clean") && run.err.contains("is stale"), "{}", run.err);
}

#[test]
fn a_pipeline_can_fail_on_urgency() {
    let home = Home::new();
    assert_eq!(scan(&home, "server", &["--quiet", "--fail-on", "scheduled"]).code, 3);
    assert_eq!(scan(&home, "server", &["--quiet", "--fail-on", "immediate"]).code, 0);
}

#[test]
fn other_programs_get_their_own_forms() {
    let home = Home::new();
    let sarif: Value = serde_json::from_str(&scan(&home, "base", &["--format", "sarif"]).out).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    assert_eq!(sarif["runs"][0]["results"].as_array().unwrap().len(), 18);

    let ocsf = scan(&home, "base", &["--format", "ocsf"]).out;
    let events: Vec<Value> = ocsf.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 18);
    assert!(events.iter().all(|event| event["class_uid"] == 2002 && event["type_uid"] == 200_201));

    let bom: Value = serde_json::from_str(&scan(&home, "base", &["--format", "cyclonedx"]).out).unwrap();
    assert_eq!((bom["bomFormat"].as_str(), bom["specVersion"].as_str()), (Some("CycloneDX"), Some("1.6")));
    assert_eq!(bom["components"].as_array().unwrap().len(), 88);
    let known: BTreeSet<&str> =
        bom["components"].as_array().unwrap().iter().map(|c| c["bom-ref"].as_str().unwrap()).collect();
    for vulnerability in bom["vulnerabilities"].as_array().unwrap() {
        for affected in vulnerability["affects"].as_array().unwrap() {
            assert!(known.contains(affected["ref"].as_str().unwrap()), "{affected}");
        }
    }
}

#[test]
fn an_inventory_that_others_made_gives_the_same_findings() {
    let home = Home::new();
    for name in ["base.cdx.json.gz", "base.spdx.json.gz"] {
        let file = fixture(&format!("../../../agent/tests/fixtures/{name}"));
        let run = home.run(&["scan", "--sbom", file.to_str().unwrap(), "--json", "--quiet"]);
        assert_eq!(
            run.out.lines().filter(|line| line.contains(r#""detector":"advisory""#)).count(),
            18,
            "{name}: {}",
            run.err
        );
    }
}

#[test]
fn what_cannot_be_read_is_said_with_a_remedy() {
    let home = Home::new();
    let run = home.run(&["scan", "--dpkg-status", "/nonexistent", "--release", "debian:12"]);
    assert_eq!(run.code, 1);
    assert!(run.err.contains("/nonexistent cannot be read"), "{}", run.err);

    let run = home.run(&["scan", "--dpkg-status", "/nonexistent"]);
    assert_eq!(run.code, 2);
    assert!(run.err.contains("--release"), "{}", run.err);

    let file = fixture("base.dpkg-status.gz");
    let run = home.run(&["scan", "--sbom", file.to_str().unwrap()]);
    assert_eq!(run.code, 1);
    assert!(run.err.contains("hint:"), "{}", run.err);

    let run = home.run(&["scan", "--root", "/nonexistent"]);
    assert_eq!(run.code, 1);
    assert!(run.err.contains("hint:"), "{}", run.err);
}

#[test]
fn no_colour_unless_asked_for() {
    let home = Home::new();
    assert!(!scan(&home, "base", &[]).out.contains('\u{1b}'));
    assert!(scan(&home, "base", &["--color", "always"]).out.contains('\u{1b}'));
}
