//! `package.upgrade` on real Debian roots, with archives whose contents the test decides.

use stanch_model::order::CheckOutcome;
use stanch_model::plan::Reversibility;
use stanch_testkit::{Archive, Package, Suite, root_or_skip};

use crate::actions::{Executor, refresh, version, world};

/// An archive with a tool of two packages, its library, and their security updates.
fn tool_archive() -> (Archive, Suite, Suite) {
    let (archive, main, security) = (Archive::new().unwrap(), Suite::main(), Suite::security());
    let tool = Package::new("tool", "1.0-1").conffile("/etc/tool.conf", "level = 1\n").depends("libtool1 (= 1.0-1)");
    archive.publish(&main, &tool).unwrap();
    archive.publish(&main, &Package::new("libtool1", "1.0-1").source("tool").file("/usr/lib/libtool", "1")).unwrap();
    archive.publish(&main, &Package::new("other", "2:5-1").conffile("/etc/other.conf", "a\n")).unwrap();
    (archive, main, security)
}

fn publish_updates(archive: &Archive, security: &Suite) {
    let tool = Package::new("tool", "1.0-1+deb12u1")
        .conffile("/etc/tool.conf", "level = 2\n")
        .conffile("/etc/tool.d/new.conf", "new\n")
        .depends("libtool1 (= 1.0-1+deb12u1), helper");
    archive.publish(security, &tool).unwrap();
    let library = Package::new("libtool1", "1.0-1+deb12u1").source("tool").file("/usr/lib/libtool", "2");
    archive.publish(security, &library).unwrap();
    archive.publish(security, &Package::new("helper", "7")).unwrap();
    archive.publish(security, &Package::new("other", "2:5-1+deb12u1").conffile("/etc/other.conf", "b\n")).unwrap();
}

#[test]
fn an_upgrade_is_planned_exactly_applied_verified_and_taken_back() {
    if !root_or_skip().unwrap() {
        return;
    }
    let (archive, _, security) = tool_archive();
    let world = world(&archive, &["tool", "other"]);
    publish_updates(&archive, &security);
    refresh(&world, &archive);
    // The owner changed one configuration file, with a mode of its own.
    world.write_mode("/etc/tool.conf", "level = 1\nmine = yes\n", 0o600).unwrap();
    let executor = Executor { world: &world };

    let answer = executor.plan(&["tool", "other"]);
    assert_eq!(
        answer.lines(),
        [
            "helper:amd64 - -> 7",
            "libtool1:amd64 1.0-1 -> 1.0-1+deb12u1",
            "other:amd64 2:5-1 -> 2:5-1+deb12u1",
            "tool:amd64 1.0-1 -> 1.0-1+deb12u1",
        ]
    );
    let step = answer.steps[0].clone();
    assert_eq!(step.reversibility, Reversibility::Restorable, "{}", step.undo);
    assert_eq!(executor.observe(&step), step.before);

    assert_eq!(executor.apply(&step, "a").changes().len(), 4);
    assert_eq!(version(&world, "tool").unwrap(), "1.0-1+deb12u1");
    assert_eq!(world.text("/etc/tool.conf").unwrap(), "level = 1\nmine = yes\n");
    assert_eq!(world.text("/etc/other.conf").unwrap(), "b\n");
    assert_eq!(world.must(["apt-mark", "showauto", "helper", "libtool1", "tool"]).unwrap(), "helper\nlibtool1\n");
    for (name, outcome, detail) in executor.verify(&step) {
        assert_eq!(outcome, CheckOutcome::Successful, "{name}: {detail}");
    }
    assert!(executor.apply(&step, "a").changes().len() == 4, "entering again under its key tells the same");
    assert!(executor.apply(&step, "b").changes().is_empty(), "and under another one changes nothing");
    assert!(executor.plan(&["tool", "other"]).steps.is_empty());

    assert_eq!(executor.undo(&step, &["tool", "other"], "a").changes().len(), 4);
    assert_eq!(executor.observe(&step), step.before);
    assert_eq!(version(&world, "tool").unwrap(), "1.0-1");
    assert_eq!(version(&world, "helper"), None);
    assert_eq!(world.text("/etc/tool.conf").unwrap(), "level = 1\nmine = yes\n");
    assert_eq!(world.text("/etc/other.conf").unwrap(), "a\n");
    for gone in ["/etc/tool.d/new.conf", "/etc/tool.conf.dpkg-dist"] {
        assert!(!world.exists(gone), "{gone}");
    }
    assert_eq!(world.must(["dpkg", "--audit"]).unwrap(), "");
}
