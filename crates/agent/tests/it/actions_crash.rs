//! Cutting the executor off: at every safe point, under a package manager that still works, and by a power loss in the
//! middle of an install. Whatever happens, the end is the same.

use std::collections::BTreeSet;
use std::time::Duration;

use stanch_testkit::{Archive, Package, Suite, World, root_or_skip, wait_until};

use crate::actions::{End, Executor, refresh, version, world};

const APPLY: [&str; 7] = ["checked", "healed", "captured", "fetched", "simulated", "installed", "marked"];
const UNDO: [&str; 6] =
    ["undo-compared", "undo-simulated", "undo-installed", "undo-restored", "undo-marked", "undo-restarted"];

/// A world with `tool` behind, whose install notes every configuration in a file.
fn behind(postinst: &str) -> (Archive, World) {
    let (archive, main, security) = (Archive::new().unwrap(), Suite::main(), Suite::security());
    archive.publish(&main, &Package::new("tool", "1").conffile("/etc/tool.conf", "a\n")).unwrap();
    let world = world(&archive, &["tool"]);
    let newer = Package::new("tool", "2").conffile("/etc/tool.conf", "b\n").depends("helper").postinst(postinst);
    archive.publish(&security, &newer).unwrap();
    archive.publish(&security, &Package::new("helper", "7")).unwrap();
    refresh(&world, &archive);
    (archive, world)
}

const NOTE: &str = "echo configured >> /var/lib/tool.notes";

/// How often the new version was configured.
fn configured(world: &World) -> usize {
    world.text("/var/lib/tool.notes").map(|text| text.lines().count()).unwrap_or(0)
}

fn assert_upgraded(world: &World) {
    assert_eq!(version(world, "tool").as_deref(), Some("2"));
    assert_eq!(version(world, "helper").as_deref(), Some("7"));
    assert_eq!(world.text("/etc/tool.conf").unwrap(), "b\n");
    assert_eq!(world.must(["apt-mark", "showauto", "helper", "tool"]).unwrap(), "helper\n");
    assert_eq!(world.must(["dpkg", "--audit"]).unwrap(), "");
}

fn assert_back(world: &World) {
    assert_eq!(version(world, "tool").as_deref(), Some("1"));
    assert_eq!(version(world, "helper"), None);
    assert_eq!(world.text("/etc/tool.conf").unwrap(), "a\n");
    assert_eq!(world.must(["dpkg", "--audit"]).unwrap(), "");
}

#[test]
fn killed_at_any_point_an_upgrade_ends_the_same_and_installs_once() {
    if !root_or_skip().unwrap() {
        return;
    }
    let (_archive, first) = behind(NOTE);
    let step = Executor { world: &first }.step(&["tool"]);
    let frozen = first.freeze();
    let ends =
        APPLY.iter().flat_map(|point| [End::KilledBefore((*point).to_owned()), End::KilledAfter((*point).to_owned())]);
    let mut tried = BTreeSet::new();
    for end in ends {
        let world = frozen.world().unwrap();
        let executor = Executor { world: &world };
        assert!(executor.apply_until(&step, "a", end.clone()).is_none(), "{end:?}: it should have been killed");
        let changes = executor.apply(&step, "a").changes();
        assert_eq!(changes, ["helper:amd64 - -> 7", "tool:amd64 1 -> 2"], "{end:?}");
        assert_upgraded(&world);
        assert_eq!(configured(&world), 1, "{end:?}: installed more than once");
        executor.undo(&step, &["tool"], "a").changes();
        assert_back(&world);
        tried.insert(format!("{end:?}"));
    }
    assert_eq!(tried.len(), 14);
}

#[test]
fn killed_at_any_point_an_undo_ends_the_same() {
    if !root_or_skip().unwrap() {
        return;
    }
    let (_archive, first) = behind(NOTE);
    let executor = Executor { world: &first };
    let step = executor.step(&["tool"]);
    executor.apply(&step, "a").changes();
    let frozen = first.freeze();
    for point in UNDO {
        for end in [End::KilledBefore(point.to_owned()), End::KilledAfter(point.to_owned())] {
            let world = frozen.world().unwrap();
            let executor = Executor { world: &world };
            assert!(executor.undo_until(&step, &["tool"], "a", "u", end.clone()).is_none(), "{end:?}");
            let changes = executor.undo_until(&step, &["tool"], "a", "u", End::Natural).unwrap().changes();
            assert_eq!(changes, ["helper:amd64 7 -> -", "tool:amd64 2 -> 1"], "{end:?}");
            assert_back(&world);
            assert_eq!(executor.observe(&step), step.before, "{end:?}");
        }
    }
}

#[test]
fn an_upgrade_that_was_cut_off_can_be_taken_back_from_any_point() {
    if !root_or_skip().unwrap() {
        return;
    }
    let (_archive, first) = behind(NOTE);
    let step = Executor { world: &first }.step(&["tool"]);
    let frozen = first.freeze();
    for point in APPLY {
        for end in [End::KilledBefore(point.to_owned()), End::KilledAfter(point.to_owned())] {
            let world = frozen.world().unwrap();
            let executor = Executor { world: &world };
            assert!(executor.apply_until(&step, "a", end.clone()).is_none(), "{end:?}");
            executor.undo(&step, &["tool"], "a").changes();
            assert_back(&world);
            assert_eq!(executor.observe(&step), step.before, "{end:?}");
        }
    }
}

#[test]
fn it_stops_where_it_is_asked_to_and_goes_on_from_there() {
    if !root_or_skip().unwrap() {
        return;
    }
    let (_archive, world) = behind(NOTE);
    let executor = Executor { world: &world };
    let step = executor.step(&["tool"]);
    let stopped = executor.apply_until(&step, "a", End::StoppedAt("simulated".to_owned())).unwrap();
    assert!(matches!(stopped, crate::actions::Ended::Stopped(at) if at == "simulated"));
    assert_eq!(version(&world, "tool").as_deref(), Some("1"));
    executor.apply(&step, "a").changes();
    assert_upgraded(&world);
}

/// Says that it has begun and waits until it may go on.
const WAITING: &str = "echo configured >> /var/lib/tool.notes; touch /run/begun; \
                       until [ -e /run/go-on ]; do sleep 0.05; done";

#[test]
fn the_package_manager_outlives_the_executor_and_is_waited_for() {
    if !root_or_skip().unwrap() {
        return;
    }
    let (_archive, world) = behind(WAITING);
    let executor = Executor { world: &world };
    let step = executor.step(&["tool"]);
    let patience = Duration::from_secs(120);
    let mut life = executor.begin_apply(&step, "a");
    wait_until("the new version is being configured", patience, || Ok(world.exists("/run/begun"))).unwrap();
    life.kill();
    let names = |world: &World| -> BTreeSet<String> {
        world.processes().unwrap().into_iter().map(|process| process.name).collect()
    };
    wait_until("the executor is gone", patience, || Ok(!names(&world).contains("executor"))).unwrap();
    assert!(names(&world).contains("apt-get"), "apt went down with the executor");

    let second = executor.begin_apply(&step, "a");
    wait_until("the second life waits", patience, || {
        Ok(String::from_utf8_lossy(&second.stderr()?).contains("waiting for another package manager"))
    })
    .unwrap();
    world.write("/run/go-on", "").unwrap();
    second.finish(patience).unwrap();
    assert_upgraded(&world);
    assert_eq!(configured(&world), 1);
    executor.undo(&step, &["tool"], "a").changes();
    assert_back(&world);
}

#[test]
fn after_a_power_loss_in_the_middle_of_an_install_it_is_finished() {
    if !root_or_skip().unwrap() {
        return;
    }
    let (_archive, world) = behind(WAITING);
    let executor = Executor { world: &world };
    let step = executor.step(&["tool"]);
    let life = executor.begin_apply(&step, "a");
    let patience = Duration::from_secs(120);
    wait_until("the new version is being configured", patience, || Ok(world.exists("/run/begun"))).unwrap();
    world.kill_all();
    drop(life);
    world.boot().unwrap();
    assert_ne!(world.must(["dpkg", "--audit"]).unwrap(), "");

    // Either way leads out: back, or on.
    let other = world.fork().unwrap();
    for world in [&world, &other] {
        world.write("/run/go-on", "").unwrap();
    }
    Executor { world: &other }.undo(&step, &["tool"], "a").changes();
    assert_back(&other);
    executor.apply(&step, "a").changes();
    assert_upgraded(&world);
}
