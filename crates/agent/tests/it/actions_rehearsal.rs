//! Rehearsals on real Debian roots: what would happen is seen, and nothing of the root changes.

use serde_json::json;
use stanch_model::order::{CheckOutcome, StepOutcome};
use stanch_model::plan::PlannedStep;
use stanch_testkit::{Archive, Daemon, Package, Suite, root_or_skip};

use crate::actions::{Executor, refresh, shown, version, world};

/// What a package script may try: each line that succeeds is told on standard output.
const CURIOUS: &str = r#"
say() { echo "curious: $*"; }
if mkdir /tmp/mnt && mount -t tmpfs tmpfs /tmp/mnt 2>/dev/null; then say "it mounted"; fi
if echo 1 2>/dev/null >/proc/sys/kernel/printk; then say "it changed the kernel"; fi
if echo h 2>/dev/null >/proc/sysrq-trigger; then say "it reached sysrq"; fi
if [ "$(wc -l </proc/net/dev)" -gt 3 ]; then say "it has a network"; fi
if [ "$(ls -d /proc/[0-9]* | wc -l)" -gt 40 ]; then say "it sees other processes"; fi
for open in /proc/1/fd/*; do
  if ls "$open/" >/dev/null 2>&1; then say "it reaches into the worker"; fi
done
if [ -n "$(readlink /proc/1/root)" ]; then say "it looks into the worker"; fi
if ls /sys/class >/dev/null 2>&1; then say "it sees devices"; fi
echo touched >/etc/touched; echo touched >/var/lib/touched; echo touched >/run/touched
say "it ran"
"#;

#[test]
fn a_plan_is_carried_out_in_a_copy_and_the_root_stays_as_it_is() {
    if !root_or_skip().unwrap() {
        return;
    }
    let (archive, main, security) = (Archive::new().unwrap(), Suite::main(), Suite::security());
    archive.publish(&main, &Package::new("tool", "1.0-1").conffile("/etc/tool.conf", "level = 1\n")).unwrap();
    let library = |version: &str| Package::new("libdemo1", version).source("demo").library("demo", 1);
    archive.publish(&main, &library("1.0-1")).unwrap();
    let daemon = Package::new("demod", "1.0-1").depends("libdemo1").daemon(Daemon::new("demod", "demo", 1));
    archive.publish(&main, &daemon).unwrap();
    let world = world(&archive, &["tool", "demod"]);
    let newer = Package::new("tool", "1.1-1").conffile("/etc/tool.conf", "level = 2\n").postinst(CURIOUS);
    archive.publish(&security, &newer).unwrap();
    archive.publish(&security, &library("1.0-2")).unwrap();
    refresh(&world, &archive);
    let executor = Executor { world: &world };
    let upgrade = executor.step(&["tool", "demo"]);
    let restart = PlannedStep { action: "service.restart".to_owned(), params: json!({}), ..upgrade.clone() };
    let steps = [upgrade.clone(), restart];

    let rehearsed = executor.rehearse(&steps, &["tool", "demo"]);
    assert_eq!(rehearsed.outcome(), CheckOutcome::Successful, "{rehearsed:#?}");
    let lines: Vec<String> = rehearsed.steps[0].changes.iter().map(shown).collect();
    assert_eq!(lines, ["libdemo1:amd64 1.0-1 -> 1.0-2", "tool:amd64 1.0-1 -> 1.1-1"]);
    assert_eq!(rehearsed.undone[0].changes.len(), 2);
    let checks: Vec<&str> = rehearsed.checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(checks, ["dpkg-version", "dpkg-audit", "undo-to-the-letter"]);
    assert_eq!(rehearsed.left_out, ["service.restart: nothing runs in a copy"]);
    assert!(rehearsed.wrote_bytes > 0 && rehearsed.took_ms > 0, "{rehearsed:?}");
    let install = rehearsed.steps[0].evidence.iter().find(|kept| kept.name == "apt-get install").unwrap();
    let curious: Vec<&str> = install.text.lines().filter(|line| line.contains("curious:")).collect();
    assert_eq!(curious, ["curious: it ran"], "a package script reaches nothing outside of the copy");

    assert_eq!(version(&world, "tool").unwrap(), "1.0-1");
    assert_eq!(executor.observe(&upgrade), upgrade.before);
    for gone in ["/etc/touched", "/var/lib/touched", "/run/touched", "/var/lib/rehearsal"] {
        assert!(!world.exists(gone), "{gone}");
    }
    assert!(!world.must(["cat", "/proc/mounts"]).unwrap().contains("rehearsal"));
    executor.apply(&upgrade, "a").changes();
    assert_eq!(version(&world, "tool").unwrap(), "1.1-1", "what was rehearsed can be done");
}

#[test]
fn what_would_fail_is_seen_before_anything_is_touched() {
    if !root_or_skip().unwrap() {
        return;
    }
    let (archive, main, security) = (Archive::new().unwrap(), Suite::main(), Suite::security());
    archive.publish(&main, &Package::new("tool", "1.0-1")).unwrap();
    let world = world(&archive, &["tool"]);
    archive.publish(&security, &Package::new("tool", "1.1-1").broken_postinst()).unwrap();
    refresh(&world, &archive);
    let executor = Executor { world: &world };
    let step = executor.step(&["tool"]);

    let rehearsed = executor.rehearse(std::slice::from_ref(&step), &["tool"]);
    assert_eq!(rehearsed.outcome(), CheckOutcome::Failed);
    let StepOutcome::Failed { message, .. } = &rehearsed.steps[0].outcome else { panic!("{rehearsed:#?}") };
    assert!(message.contains("install failed"), "{message}");
    assert_eq!(rehearsed.undone[0].outcome, StepOutcome::Done, "and that undo would mend it is seen as well");
    assert_eq!(version(&world, "tool").unwrap(), "1.0-1");
    assert_eq!(executor.observe(&step), step.before);
}
