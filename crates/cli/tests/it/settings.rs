//! A setting from the scan to the undone act, with the program itself on a Debian of its own.

use std::time::Duration;

use serde_json::Value;
use stanch_testkit::world::Output;
use stanch_testkit::{Base, World, root_or_skip};

const STANCH: &str = "/opt/stanch";
const SOURCE_ROUTE: &str = "/proc/sys/net/ipv4/conf/all/accept_source_route";
const OURS: &str = "/etc/sysctl.d/zz-stanch.conf";

fn stanch(world: &World, arguments: &[&str]) -> Output {
    let line = [STANCH].iter().chain(arguments);
    world.run_with(line, &[("COLUMNS", "200")], Duration::from_secs(300)).unwrap()
}

fn json_lines(output: &Output) -> Vec<Value> {
    output.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_weak_setting_is_found_set_proven_and_taken_back_exactly() {
    if !root_or_skip().unwrap() {
        return;
    }
    let world = World::builder(&Base::minimal().unwrap())
        .bind(env!("CARGO_BIN_EXE_stanch"), STANCH)
        // The program wants to know whom it could trust, although it speaks to nobody here.
        .bind("/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-certificates.crt")
        .boot()
        .unwrap();
    let value = || world.must(["cat", SOURCE_ROUTE]).unwrap();
    world.must(["sh", "-c", &format!("echo 1 > {SOURCE_ROUTE}")]).unwrap();

    let scan = stanch(&world, &["scan"]);
    let table = scan.text();
    let row = table.lines().find(|line| line.contains("sysctl-source-route ")).unwrap();
    assert!(row.contains("medium") && row.contains("Source-routed packets are accepted"), "{row}");
    assert!(scan.all().contains("weaker than wanted"), "{}", scan.all());
    let events = json_lines(&stanch(&world, &["scan", "--format", "ocsf"]));
    let event = events.iter().find(|event| event["compliance"]["control"] == "sysctl-source-route").unwrap();
    assert_eq!((&event["class_uid"], &event["severity"]), (&2003.into(), &"Medium".into()), "{event}");
    let findings = json_lines(&stanch(&world, &["scan", "--json", "--quiet"]));
    assert!(
        findings.iter().any(|one| one["id"] == "stanch/posture/sysctl-source-route" && one["detector"] == "posture")
    );

    let plan = stanch(&world, &["plan", "sysctl-source-route"]).all();
    assert!(plan.contains("sysctl.net.ipv4.conf.all.accept_source_route") && plan.contains(OURS), "{plan}");
    assert_eq!(value(), "1\n", "a plan changes nothing");
    let fix = stanch(&world, &["fix", "sysctl-source-route", "--yes"]);
    assert!(fix.ok(), "{}", fix.all());
    assert!(fix.all().contains("detector"), "proven by the check that found it: {}", fix.all());
    assert_eq!(value(), "0\n");
    assert!(world.text(OURS).unwrap().ends_with("\nnet.ipv4.conf.all.accept_source_route = 0\n"));
    let left = stanch(&world, &["findings"]).all();
    assert!(!left.contains("sysctl-source-route "), "{left}");

    let all = fix.all();
    let id = all.split("stanch undo ").nth(1).unwrap().split_whitespace().next().unwrap();
    let undo = stanch(&world, &["undo", id, "--yes"]);
    assert!(undo.ok(), "{}", undo.all());
    assert_eq!(value(), "1\n");
    assert!(!world.exists(OURS), "the file goes with its last setting");
    assert!(stanch(&world, &["findings"]).all().contains("sysctl-source-route "), "it is open again");

    let refused = stanch(&world, &["plan", "sysctl-rp-filter"]).all();
    assert!(refused.contains("a person decides") || refused.contains("nothing open"), "{refused}");
}
