//! `package.upgrade` on real Debian roots, with archives whose contents the test decides.

use std::time::Duration;

use serde_json::json;
use stanch_model::order::{CheckOutcome, StepRequest};
use stanch_model::plan::Reversibility;
use stanch_testkit::{Archive, Package, Suite, Via, World, root_or_skip, wait_until};

use crate::actions::{End, Executor, item, refresh, version, world};

/// An archive with a tool of two packages, its library, and their security updates.
fn tool_archive() -> (Archive, Suite, Suite) {
    let (archive, main, security) = (Archive::new().unwrap(), Suite::main(), Suite::security());
    let tool = Package::new("tool", "1.0-1")
        .conffile("/etc/tool.conf", "level = 1\n")
        .conffile("/etc/tool-legacy.conf", "old\n")
        .depends("libtool1 (= 1.0-1)");
    archive.publish(&main, &tool).unwrap();
    archive.publish(&main, &Package::new("libtool1", "1.0-1").source("tool").file("/usr/lib/libtool", "1")).unwrap();
    archive.publish(&main, &Package::new("other", "2:5-1").conffile("/etc/other.conf", "a\n")).unwrap();
    (archive, main, security)
}

fn publish_updates(archive: &Archive, security: &Suite) {
    let tool = Package::new("tool", "1.0-1+deb12u1")
        .conffile("/etc/tool.conf", "level = 2\n")
        .conffile("/etc/tool.d/new.conf", "new\n")
        .preinst("rm -f /etc/tool-legacy.conf")
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
    // The new version does away with this one.
    world.write_mode("/etc/tool-legacy.conf", "mine too\n", 0o640).unwrap();
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
    assert!(!world.exists("/etc/tool-legacy.conf"));
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
    assert_eq!(world.text("/etc/tool-legacy.conf").unwrap(), "mine too\n");
    assert_eq!(world.must(["stat", "-c", "%a", "/etc/tool-legacy.conf"]).unwrap(), "640\n");
    for gone in ["/etc/tool.d/new.conf", "/etc/tool.conf.dpkg-dist"] {
        assert!(!world.exists(gone), "{gone}");
    }
    assert_eq!(world.must(["dpkg", "--audit"]).unwrap(), "");
}

#[test]
fn what_its_owner_removed_but_kept_the_configuration_of_is_that_again() {
    if !root_or_skip().unwrap() {
        return;
    }
    let (archive, main, security) = tool_archive();
    let purged = "test \"$1\" != purge || rm -rf /var/lib/helper";
    let helper = |version: &str| Package::new("helper", version).conffile("/etc/helper.conf", "1\n").postrm(purged);
    archive.publish(&main, &helper("6")).unwrap();
    archive.publish(&main, &Package::new("assistant", "1").conffile("/etc/assistant.conf", "1\n")).unwrap();
    let world = world(&archive, &["tool", "helper"]);
    world.write("/etc/helper.conf", "mine\n").unwrap();
    world.write("/var/lib/helper/data", "dear\n").unwrap();
    world.must(["apt-get", "remove", "-y", "helper"]).unwrap();
    let state = |name| world.run(["dpkg-query", "-W", "-f=${db:Status-Abbrev}", name]).unwrap().text();
    assert_eq!(state("helper"), "rc ");
    let newer = helper("7").conffile("/etc/helper-new.conf", "new\n");
    archive.publish(&security, &newer).unwrap();
    let tool = Package::new("tool", "1.0-2").source("tool").depends("libtool1, helper, assistant");
    archive.publish(&security, &tool).unwrap();
    refresh(&world, &archive);
    let executor = Executor { world: &world };

    let step = executor.step(&["tool"]);
    executor.apply(&step, "a").changes();
    assert_eq!((state("helper").as_str(), state("assistant").as_str()), ("ii ", "ii "));
    executor.undo(&step, &["tool"], "a").changes();
    assert_eq!(executor.observe(&step), step.before);
    assert_eq!(state("helper"), "rc ");
    assert_eq!(world.text("/etc/helper.conf").unwrap(), "mine\n");
    assert_eq!(world.text("/var/lib/helper/data").unwrap(), "dear\n");
    assert!(!state("assistant").starts_with('r'), "what was not there before leaves nothing behind");
    assert!(!world.exists("/etc/assistant.conf") && !world.exists("/etc/helper-new.conf"));
}

/// A world with both sources of [`tool_archive`] behind, and the executor's view of it.
fn behind() -> Option<(Archive, World)> {
    if !root_or_skip().unwrap() {
        return None;
    }
    let (archive, _, security) = tool_archive();
    let world = world(&archive, &["tool", "other"]);
    publish_updates(&archive, &security);
    refresh(&world, &archive);
    Some((archive, world))
}

#[test]
fn a_version_that_cannot_be_configured_fails_and_is_taken_back() {
    if !root_or_skip().unwrap() {
        return;
    }
    let (archive, _, security) = tool_archive();
    let world = world(&archive, &["tool", "other"]);
    publish_updates(&archive, &security);
    let broken = Package::new("other", "2:5-1+deb12u2").conffile("/etc/other.conf", "c\n").broken_postinst();
    archive.publish(&security, &broken).unwrap();
    refresh(&world, &archive);
    let executor = Executor { world: &world };
    let step = executor.step(&["tool", "other"]);

    let failure = executor.apply(&step, "a").failure();
    assert!(failure.contains("other"), "{failure}");
    let failed: Vec<String> =
        executor.verify(&step).into_iter().filter(|c| c.1 == CheckOutcome::Failed).map(|c| c.0).collect();
    assert_eq!(failed, ["dpkg-version", "dpkg-audit"]);

    executor.undo(&step, &["tool", "other"], "a").changes();
    assert_eq!(executor.observe(&step), step.before);
    assert_eq!(version(&world, "other").unwrap(), "2:5-1");
    assert_eq!(world.text("/etc/other.conf").unwrap(), "a\n");
    assert_eq!(world.must(["dpkg", "--audit"]).unwrap(), "");
}

#[test]
fn what_cannot_be_done_is_refused_with_its_reason_and_keeps_nothing_else_back() {
    let Some((archive, world)) = behind() else { return };
    let (main, security) = (Suite::main(), Suite::security());
    let executor = Executor { world: &world };
    let refused = |sources: &[&str]| {
        let answer = executor.plan(sources);
        let reasons: Vec<String> = answer.refused.iter().map(|refusal| refusal.reason.clone()).collect();
        (reasons.join("; "), answer.lines())
    };
    let tool_moves = |lines: &[String]| lines.iter().any(|line| line.starts_with("tool:amd64"));

    // Held by its owner.
    world.must(["apt-mark", "hold", "other"]).unwrap();
    let (reasons, lines) = refused(&["tool", "other"]);
    assert!(reasons.contains("other:amd64 is held at 2:5-1") && tool_moves(&lines), "{reasons} {lines:?}");
    world.must(["apt-mark", "unhold", "other"]).unwrap();

    // Kept away by a pin.
    let pin = "Package: other\nPin: version 2:5-1+*\nPin-Priority: -1\n";
    world.write("/etc/apt/preferences.d/other", pin).unwrap();
    let (reasons, lines) = refused(&["tool", "other"]);
    assert!(reasons.contains("preferences keep it away (priority -1)") && tool_moves(&lines), "{reasons}");
    world.must(["rm", "/etc/apt/preferences.d/other"]).unwrap();

    // It would remove another package.
    let strict = Package::new("friend", "1").depends("other (= 2:5-1)");
    archive.publish(&main, &strict).unwrap();
    refresh(&world, &archive);
    world.must(["apt-get", "install", "-y", "friend"]).unwrap();
    let (reasons, lines) = refused(&["tool", "other"]);
    assert!(reasons.contains("it would remove friend") && tool_moves(&lines), "{reasons}");
    world.must(["apt-get", "purge", "-y", "friend"]).unwrap();

    // It needs what nobody offers.
    archive.publish(&security, &Package::new("other", "2:5-1+deb12u3").depends("nowhere")).unwrap();
    refresh(&world, &archive);
    let (reasons, lines) = refused(&["tool", "other"]);
    assert!(reasons.contains("nowhere") && tool_moves(&lines), "{reasons}");
    archive.remove(&security, "other", "2:5-1+deb12u3").unwrap();
    refresh(&world, &archive);

    // It is not there.
    assert!(refused(&["absent"]).0.contains("no package of this source is installed"));

    // The executor's own rules deny it.
    world.write("/etc/stanch/executor.toml", "[deny]\npackages = [\"oth*\"]\n").unwrap();
    let (reasons, lines) = refused(&["tool", "other"]);
    assert!(reasons.contains("rules deny changes to other") && tool_moves(&lines), "{reasons}");
    world.must(["rm", "/etc/stanch/executor.toml"]).unwrap();

    // Nobody vouches for the archive.
    let sources = archive.sources_list(Via::Copy).replace("[trusted=yes] ", "");
    world.write("/etc/apt/sources.list", sources).unwrap();
    world.must(["apt-get", "update", "--allow-insecure-repositories"]).unwrap();
    let (reasons, lines) = refused(&["tool", "other"]);
    assert!(reasons.contains("no archive that apt could authenticate") && lines.is_empty(), "{reasons}");
}

#[test]
fn the_fixed_version_must_be_on_offer() {
    let Some((_archive, world)) = behind() else { return };
    let executor = Executor { world: &world };
    let ask = |fixed: &str| {
        executor.plan_requests(vec![StepRequest {
            action: "package.upgrade".to_owned(),
            want: json!({"sources": ["other"], "to": "fixed", "fixed": {"other": fixed}}),
            items: vec![item("other")],
        }])
    };
    assert_eq!(ask("2:5-1+deb12u1").lines(), ["other:amd64 2:5-1 -> 2:5-1+deb12u1"]);
    let late = ask("2:5-1+deb12u9");
    assert!(late.steps.is_empty());
    assert!(late.refused[0].reason.contains("offer 2:5-1+deb12u1"), "{:?}", late.refused);
    world.must(["apt-get", "install", "-y", "other"]).unwrap();
    assert_eq!(ask("2:5-1+deb12u1").compliant, [item("other")]);
    assert!(ask("2:6").refused[0].reason.contains("no archive offers it"));
}

#[test]
fn one_source_is_taken_back_alone_and_then_the_other() {
    let Some((_archive, world)) = behind() else { return };
    let executor = Executor { world: &world };
    let step = executor.step(&["tool", "other"]);
    executor.apply(&step, "a").changes();

    let changes = executor.undo_until(&step, &["tool"], "a", "one", End::Natural).unwrap().changes();
    assert_eq!(
        changes,
        ["helper:amd64 7 -> -", "libtool1:amd64 1.0-1+deb12u1 -> 1.0-1", "tool:amd64 1.0-1+deb12u1 -> 1.0-1",]
    );
    assert_eq!(version(&world, "other").unwrap(), "2:5-1+deb12u1");
    assert_eq!(world.text("/etc/other.conf").unwrap(), "b\n");

    executor.undo_until(&step, &["other"], "a", "two", End::Natural).unwrap().changes();
    assert_eq!(executor.observe(&step), step.before);
}

/// From here on apt knows the archive as one that lies across a network and cannot be reached; its indexes stay.
fn cut_off(world: &World, archive: &Archive) {
    let sources = archive.sources_list(Via::Copy).replace("copy:", "http://127.0.0.1:9");
    world.write("/etc/apt/sources.list", sources).unwrap();
    let lists = "/var/lib/apt/lists";
    for list in world.must(["ls", lists]).unwrap().lines().filter(|name| name.starts_with('_')) {
        world.must(["mv", &format!("{lists}/{list}"), &format!("{lists}/127.0.0.1:9{list}")]).unwrap();
    }
    world.must(["apt-get", "clean"]).unwrap();
    let policy = world.must(["apt-cache", "policy", "tool"]).unwrap();
    assert!(policy.contains("500 http://127.0.0.1:9/srv/archive bookworm/main"), "{policy}");
}

#[test]
fn the_way_back_needs_no_archive() {
    let Some((archive, world)) = behind() else { return };
    let executor = Executor { world: &world };
    let step = executor.step(&["tool", "other"]);
    executor.apply(&step, "a").changes();
    cut_off(&world, &archive);
    assert_eq!(executor.undo(&step, &["tool", "other"], "a").changes().len(), 4);
    assert_eq!(executor.observe(&step), step.before);
    // What apt knows of its archives is as before.
    let policy = world.must(["apt-cache", "policy", "tool"]).unwrap();
    assert!(policy.contains("1.0-1+deb12u1 500"), "{policy}");
}

#[test]
fn a_host_that_somebody_else_changed_is_left_as_it_is() {
    let Some((archive, world)) = behind() else { return };
    let executor = Executor { world: &world };
    let step = executor.step(&["tool", "other"]);

    // Between plan and apply.
    world.write("/etc/other.conf", "mine\n").unwrap();
    let (_, moved) = executor.apply(&step, "early").refusal();
    assert_eq!(moved, ["/etc/other.conf"]);
    assert_eq!(version(&world, "tool").unwrap(), "1.0-1");
    world.write("/etc/other.conf", "a\n").unwrap();

    // Between apply and undo: a configuration file, a newer version, a hold.
    executor.apply(&step, "a").changes();
    world.write("/etc/other.conf", "mine\n").unwrap();
    archive.publish(&Suite::security(), &Package::new("helper", "8")).unwrap();
    refresh(&world, &archive);
    world.must(["apt-get", "install", "-y", "helper"]).unwrap();
    world.must(["apt-mark", "hold", "libtool1"]).unwrap();
    let (_, moved) = executor.undo(&step, &["tool", "other"], "a").refusal();
    assert_eq!(moved, ["helper:amd64", "libtool1:amd64", "/etc/other.conf"]);
    assert_eq!(version(&world, "tool").unwrap(), "1.0-1+deb12u1");
    assert_eq!(world.text("/etc/other.conf").unwrap(), "mine\n");
}

#[test]
fn going_back_never_takes_others_along() {
    let Some((archive, world)) = behind() else { return };
    let executor = Executor { world: &world };
    let step = executor.step(&["tool", "other"]);
    executor.apply(&step, "a").changes();
    // Somebody has since installed what needs the new version, and what needs the new package.
    archive.publish(&Suite::main(), &Package::new("addon", "1").depends("other (>= 2:5-1+deb12u1)")).unwrap();
    archive.publish(&Suite::main(), &Package::new("helped", "1").depends("helper")).unwrap();
    refresh(&world, &archive);
    world.must(["apt-get", "install", "-y", "addon", "helped"]).unwrap();

    let (message, _) = executor.undo_until(&step, &["other"], "a", "one", End::Natural).unwrap().refusal();
    assert!(message.contains("addon") || message.contains("other packages"), "{message}");
    assert_eq!(version(&world, "other").unwrap(), "2:5-1+deb12u1");

    let changes = executor.undo_until(&step, &["tool"], "a", "two", End::Natural).unwrap().changes();
    assert!(changes.contains(&"helper:amd64 7 -> 7".to_owned()), "what others need stays: {changes:?}");
    assert_eq!(version(&world, "tool").unwrap(), "1.0-1");
    assert!(version(&world, "helped").is_some());
}

#[test]
fn an_interrupted_dpkg_is_healed_first() {
    let Some((archive, world)) = behind() else { return };
    let executor = Executor { world: &world };
    // dpkg was killed while a script of the package ran, and left its own notes of it.
    let half = Package::new("half", "1").postinst("touch /run/begun; until [ -e /run/go-on ]; do sleep 0.05; done");
    let deb = archive.publish(&Suite::main(), &half).unwrap();
    world.copy_in(&deb, "/root/half.deb").unwrap();
    let mut dpkg = world.spawn(["dpkg", "-i", "/root/half.deb"]).unwrap();
    wait_until("its script runs", Duration::from_secs(60), || Ok(world.exists("/run/begun"))).unwrap();
    dpkg.kill();
    world.write("/run/go-on", "").unwrap();
    assert_ne!(world.must(["dpkg", "--audit"]).unwrap(), "");
    let refused = world.run(["apt-get", "install", "-y", "other"]).unwrap();
    assert!(refused.all().contains("dpkg was interrupted"), "{}", refused.all());
    let step = executor.step(&["other"]);
    executor.apply(&step, "a").changes();
    assert_eq!(version(&world, "half").unwrap(), "1");
    assert_eq!(world.must(["dpkg", "--audit"]).unwrap(), "");
}

#[test]
fn what_cannot_come_back_is_one_way_and_goes_apart() {
    if !root_or_skip().unwrap() {
        return;
    }
    let (archive, main, security) = tool_archive();
    archive.publish(&main, &Package::new("postgresql-15", "15.1-1")).unwrap();
    archive.publish(&main, &Package::new("gone", "1")).unwrap();
    let world = world(&archive, &["tool", "postgresql-15", "gone"]);
    publish_updates(&archive, &security);
    archive.publish(&security, &Package::new("postgresql-15", "15.2-1")).unwrap();
    archive.publish(&security, &Package::new("gone", "2")).unwrap();
    archive.remove(&main, "gone", "1").unwrap();
    world.must(["apt-get", "clean"]).unwrap();
    refresh(&world, &archive);
    let executor = Executor { world: &world };

    let answer = executor.plan(&["tool", "postgresql-15", "gone"]);
    let classes: Vec<Reversibility> = answer.steps.iter().map(|step| step.reversibility).collect();
    assert_eq!(classes, [Reversibility::Restorable, Reversibility::OneWay]);
    let why = &answer.steps[1].undo;
    assert!(
        why.contains("gone:amd64 1 can no longer be had") && why.contains("postgresql-15:amd64: the server"),
        "{why}"
    );
    for (number, step) in answer.steps.iter().enumerate() {
        executor.apply(step, &format!("step-{number}")).changes();
    }
    assert_eq!(version(&world, "postgresql-15").unwrap(), "15.2-1");
    let (message, _) = executor.undo(&answer.steps[1], &["gone"], "step-1").refusal();
    assert!(message.contains("gone:amd64 1 is not in the vault"), "{message}");
}

#[test]
fn what_an_order_calls_the_source_of_a_package_is_not_believed() {
    if !root_or_skip().unwrap() {
        return;
    }
    let (archive, main, security) = tool_archive();
    archive.publish(&main, &Package::new("twin", "1-1").source("family")).unwrap();
    let world = world(&archive, &["twin"]);
    archive.publish(&security, &Package::new("twin", "1-2").source("family")).unwrap();
    refresh(&world, &archive);
    let executor = Executor { world: &world };
    let mut step = executor.step(&["family"]);
    assert_eq!(step.params["packages"][0]["source"], "family");
    step.params["packages"][0]["source"] = json!("harmless");
    world.write("/etc/stanch/executor.toml", "[deny]\npackages = [\"family\"]\n").unwrap();
    let (refused, _) = executor.apply(&step, "a").refusal();
    assert!(refused.contains("rules deny changes to twin"), "{refused}");
    assert_eq!(version(&world, "twin").unwrap(), "1-1");
}
