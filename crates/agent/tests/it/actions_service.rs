//! `service.restart` where services really run: under init scripts and under systemd.

use std::time::Duration;

use serde_json::json;
use stanch_model::order::{CheckOutcome, StepRequest};
use stanch_model::plan::PlannedStep;
use stanch_testkit::{Archive, Base, Daemon, Package, Suite, World, root_or_skip, wait_until};

use crate::actions::{End, Executor, PlannedAnswer, builder, item, refresh};

fn library(version: &str) -> Package {
    Package::new("libdemo1", version).source("demo").library("demo", 1)
}

fn daemon(name: &str, version: &str) -> Package {
    // Without the restart that a package does by itself: the library's update is what is looked at.
    Package::new(name, version).depends("libdemo1").daemon(Daemon::new(name, "demo", 1))
}

/// A world where `demod` and `otherd` run on a library whose update waits.
fn serving(base: &Base, systemd: bool) -> (Archive, World) {
    let (archive, main, security) = (Archive::new().unwrap(), Suite::main(), Suite::security());
    archive.publish(&main, &library("1.0-1")).unwrap();
    for name in ["demod", "otherd"] {
        archive.publish(&main, &daemon(name, "1.0-1")).unwrap();
    }
    let settings = builder(base, &archive);
    let world = if systemd { settings.systemd() } else { settings.daemons() }.boot().unwrap();
    refresh(&world, &archive);
    world.must(["apt-get", "install", "-y", "demod", "otherd"]).unwrap();
    for name in ["demod", "otherd"] {
        started(&world, name, "1.0-1");
    }
    archive.publish(&security, &library("1.0-1+deb12u1")).unwrap();
    refresh(&world, &archive);
    (archive, world)
}

/// Waits until the daemon says that it runs with this version of the library.
fn started(world: &World, name: &str, library: &str) {
    wait_until("the daemon runs", Duration::from_secs(60), || {
        let text = world.text(&format!("/run/{name}.version")).unwrap_or_default();
        Ok(text.trim_end().ends_with(&format!(" {library}")))
    })
    .unwrap();
}

fn pid(world: &World, name: &str) -> String {
    world.text(&format!("/run/{name}.pid")).unwrap()
}

fn lives(world: &World, pid: &str) -> bool {
    world.exists(&format!("/proc/{}/stat", pid.trim()))
}

fn request(want: serde_json::Value) -> StepRequest {
    StepRequest { action: "service.restart".to_owned(), want, items: vec![item("demo")] }
}

fn affected(executor: &Executor<'_>) -> PlannedAnswer {
    executor.plan_requests(vec![request(json!({"scope": "affected", "sources": ["demo"]}))])
}

fn outcome(executor: &Executor<'_>, step: &PlannedStep, name: &str) -> (CheckOutcome, String) {
    let checks = executor.verify(step);
    let (_, outcome, detail) = checks.into_iter().find(|check| check.0 == name).unwrap();
    (outcome, detail)
}

/// The whole way: upgrade, restart of what is affected and of nothing else, and back.
fn loop_closes(world: &World, manager: fn(&str) -> String) {
    let executor = Executor { world };
    let upgrade = executor.step(&["demo"]);
    let restart = affected(&executor);
    assert_eq!(
        restart.lines(),
        [
            format!("{} maps libdemo1 -> restarted", manager("demod")),
            format!("{} maps libdemo1 -> restarted", manager("otherd")),
        ]
    );
    let restart = restart.steps[0].clone();
    let bystander = world.must(["sh", "-c", "nohup sleep 1000 >/dev/null 2>&1 & echo $!"]).unwrap();

    executor.apply(&upgrade, "up").changes();
    // One of them has been restarted by somebody else already.
    assert_eq!(outcome(&executor, &upgrade, "deleted-maps").0, CheckOutcome::Inconclusive);
    assert_eq!(outcome(&executor, &restart, "deleted-maps").0, CheckOutcome::Failed);
    let before = pid(world, "demod");

    let changes = executor.apply(&restart, "re").changes();
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert!(changes.iter().all(|change| change.ends_with("-> restarted")), "{changes:?}");
    assert_ne!(pid(world, "demod"), before);
    for name in ["demod", "otherd"] {
        started(world, name, "1.0-1+deb12u1");
    }
    for check in ["deleted-maps", "services"] {
        assert_eq!(
            outcome(&executor, &restart, check),
            (CheckOutcome::Successful, outcome(&executor, &restart, check).1)
        );
    }
    assert_eq!(outcome(&executor, &upgrade, "deleted-maps").0, CheckOutcome::Successful);
    assert!(lives(world, &bystander));

    // Entered again nothing is restarted a second time, and nothing is planned any more.
    let after = pid(world, "demod");
    assert_eq!(executor.apply(&restart, "re").changes(), changes);
    assert!(executor.apply(&restart, "other-key").changes().is_empty());
    assert_eq!(pid(world, "demod"), after);
    assert!(executor.plan(&["demo"]).steps.is_empty());

    // Taken back, the earlier library is what runs again.
    executor.undo(&upgrade, &["demo"], "up").changes();
    for name in ["demod", "otherd"] {
        started(world, name, "1.0-1");
    }
    assert_eq!(outcome(&executor, &restart, "deleted-maps").0, CheckOutcome::Successful);
}

#[test]
fn services_of_init_scripts_leave_the_old_library_and_come_back_to_it() {
    if !root_or_skip().unwrap() {
        return;
    }
    let (_archive, world) = serving(&Base::minimal().unwrap(), false);
    loop_closes(&world, str::to_owned);
}

#[test]
fn units_of_systemd_leave_the_old_library_and_come_back_to_it() {
    if !root_or_skip().unwrap() {
        return;
    }
    let (_archive, world) = serving(&Base::systemd().unwrap(), true);
    loop_closes(&world, |name| format!("{name}.service"));
}

#[test]
fn who_must_not_be_restarted_by_a_machine_is_named_and_left_alone() {
    if !root_or_skip().unwrap() {
        return;
    }
    let (_archive, world) = serving(&Base::minimal().unwrap(), false);
    world.write("/etc/stanch/executor.toml", "[deny]\nservices = [\"otherd\"]\n").unwrap();
    // A daemon that somebody started by hand from elsewhere belongs to no service.
    let managed = pid(&world, "demod");
    world.must(["cp", "/usr/sbin/demod", "/opt/by-hand"]).unwrap();
    let stray = world.must(["sh", "-c", "setsid /opt/by-hand >/dev/null 2>&1 & echo $!"]).unwrap();
    wait_until("it runs", Duration::from_secs(60), || Ok(pid(&world, "demod").trim() == stray.trim())).unwrap();
    world.write("/run/demod.pid", managed).unwrap();
    let executor = Executor { world: &world };
    let upgrade = executor.step(&["demo"]);
    let restart = affected(&executor).steps[0].clone();
    executor.apply(&upgrade, "up").changes();
    let untouched = pid(&world, "otherd");

    let crate::actions::Ended::Done(value) = executor.apply(&restart, "re") else { panic!() };
    let notes: Vec<(String, String)> = value["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (c["subject"].as_str().unwrap().to_owned(), c["note"].as_str().unwrap_or("").to_owned()))
        .collect();
    let note = |subject: &str| notes.iter().find(|(name, _)| name == subject).map(|(_, note)| note.as_str());
    assert_eq!(note("otherd"), Some("left to a person: the executor's rules deny it (deny.services)"), "{notes:?}");
    assert!(note("/opt/by-hand").unwrap().contains("nobody manages it"), "{notes:?}");
    assert_eq!(pid(&world, "otherd"), untouched);
    assert!(lives(&world, &stray));
    let (result, detail) = outcome(&executor, &restart, "deleted-maps");
    assert_eq!(result, CheckOutcome::Successful, "{detail}");
    assert!(detail.contains("left to a person: /opt/by-hand") && detail.contains("otherd"), "{detail}");
}

#[test]
fn a_service_that_does_not_come_back_is_a_failure() {
    if !root_or_skip().unwrap() {
        return;
    }
    for systemd in [false, true] {
        let base = if systemd { Base::systemd() } else { Base::minimal() }.unwrap();
        let (_archive, world) = serving(&base, systemd);
        world.write_mode("/usr/sbin/demod.new", "#!/bin/sh\nexit 1\n", 0o755).unwrap();
        world.must(["mv", "/usr/sbin/demod.new", "/usr/sbin/demod"]).unwrap();
        let executor = Executor { world: &world };
        let answer = executor.plan_requests(vec![request(json!({"services": ["demod"]}))]);
        let step = answer.steps[0].clone();
        let failure = executor.apply(&step, "re").failure();
        assert!(failure.contains("demod"), "{failure}");
        assert_eq!(outcome(&executor, &step, "services").0, CheckOutcome::Failed);
    }
}

#[test]
fn a_named_service_is_restarted_once_however_often_the_executor_dies() {
    if !root_or_skip().unwrap() {
        return;
    }
    let (_archive, world) = serving(&Base::minimal().unwrap(), false);
    let executor = Executor { world: &world };
    let answer = executor.plan_requests(vec![request(json!({"services": ["demod"]}))]);
    let step = answer.steps[0].clone();
    let before = pid(&world, "demod");
    assert!(executor.apply_until(&step, "re", End::KilledAfter("listed".to_owned())).is_none());
    assert_eq!(pid(&world, "demod"), before);
    assert!(executor.apply_until(&step, "re", End::KilledAfter("restarted".to_owned())).is_none());
    let restarted = pid(&world, "demod");
    assert_ne!(restarted, before);
    assert_eq!(executor.apply(&step, "re").changes(), ["demod running on as asked -> restarted"]);
    assert_eq!(pid(&world, "demod"), restarted);

    let refused = executor.plan_requests(vec![request(json!({"services": ["absent", "--root=/"]}))]);
    assert_eq!(refused.refused.len(), 2);
}

#[test]
fn the_hosts_own_probe_is_asked() {
    if !root_or_skip().unwrap() {
        return;
    }
    let (_archive, world) = serving(&Base::minimal().unwrap(), false);
    let rules = "[[probe]]\nname = \"shop\"\ncommand = [\"/usr/bin/test\", \"-e\", \"/run/shop is open\"]\n";
    world.write("/etc/stanch/executor.toml", rules).unwrap();
    let executor = Executor { world: &world };
    let upgrade = executor.step(&["demo"]);
    executor.apply(&upgrade, "up").changes();
    assert_eq!(outcome(&executor, &upgrade, "health-probe").0, CheckOutcome::Failed);
    world.write("/run/shop is open", "").unwrap();
    assert_eq!(outcome(&executor, &upgrade, "health-probe"), (CheckOutcome::Successful, "shop is well".to_owned()));
}
