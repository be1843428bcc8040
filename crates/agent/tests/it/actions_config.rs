//! `config.set` where it must not act: people would be locked out, it would do nothing, or the owner forbids it.

use serde_json::json;
use stanch_model::order::StepRequest;
use stanch_testkit::{Archive, Base, World, root_or_skip};

use crate::actions::{Executor, PlannedAnswer, builder, item};

fn ssh() -> World {
    let archive = Archive::new().unwrap();
    let world = builder(&Base::ssh().unwrap(), &archive).daemons().boot().unwrap();
    world.must(["mkdir", "-p", "/run/sshd"]).unwrap();
    // Debian's server would take passwords by this too, which the pack leaves alone.
    world.write("/etc/ssh/sshd_config.d/50-weak.conf", "PermitRootLogin yes\n").unwrap();
    world
}

fn plan(world: &World, checks: &[&str]) -> PlannedAnswer {
    let request = |check: &&str| StepRequest {
        action: "config.set".to_owned(),
        want: json!({ "check": check }),
        items: vec![item(check)],
    };
    Executor { world }.plan_requests(checks.iter().map(request).collect())
}

/// Why the only thing asked for is refused.
fn refusal(world: &World, check: &str) -> String {
    let answer = plan(world, &[check]);
    assert!(answer.steps.is_empty(), "{:?}", answer.lines());
    answer.refused[0].reason.clone()
}

fn add_key(world: &World, home: &str) {
    world.must(["sh", "-c", "test -f /root/key || ssh-keygen -q -t ed25519 -N '' -f /root/key"]).unwrap();
    let key = world.text("/root/key.pub").unwrap();
    world.must(["mkdir", "-p", "-m", "700", &format!("{home}/.ssh")]).unwrap();
    world.write_mode(&format!("{home}/.ssh/authorized_keys"), key, 0o600).unwrap();
}

#[test]
fn password_sign_in_stays_until_an_administrator_has_a_key() {
    if !root_or_skip().unwrap() {
        return;
    }
    let world = ssh();
    let why = refusal(&world, "ssh-password-login");
    assert!(why.contains("no administrator could sign in"), "{why}");

    // The key of somebody who administers nothing counts for nothing.
    world.must(["useradd", "-m", "-s", "/bin/sh", "eve"]).unwrap();
    add_key(&world, "/home/eve");
    world.must(["chown", "-R", "eve", "/home/eve/.ssh"]).unwrap();
    assert!(refusal(&world, "ssh-password-login").contains("no administrator"));

    add_key(&world, "/root");
    let answer = plan(&world, &["ssh-password-login"]);
    assert_eq!(
        answer.lines(),
        [
            "sshd.passwordauthentication yes -> no",
            "/etc/ssh/sshd_config.d/00-stanch.conf - -> passwordauthentication no",
        ]
    );
    let note = answer.steps[0].changes[0].note.as_deref().unwrap();
    assert!(note.contains("whoever has no key"), "the caution stands beside the difference: {note}");

    // Between the plan and the act the key is gone: nothing is set.
    world.must(["rm", "/root/.ssh/authorized_keys"]).unwrap();
    let executor = Executor { world: &world };
    let (why, _) = executor.apply(&answer.steps[0], "a").refusal();
    assert!(why.contains("no administrator"), "{why}");
    assert!(!world.exists("/etc/ssh/sshd_config.d/00-stanch.conf"));

    add_key(&world, "/root");
    world.write("/etc/ssh/sshd_config.d/60-own.conf", "AllowUsers eve\n").unwrap();
    let why = refusal(&world, "ssh-password-login");
    assert!(why.contains("allowusers"), "{why}");
}

#[test]
fn a_file_that_sshd_would_not_read_first_is_not_written() {
    if !root_or_skip().unwrap() {
        return;
    }
    let world = ssh();
    world.write("/etc/ssh/sshd_config.d/00-own.conf", "X11Forwarding yes\n").unwrap();
    let why = refusal(&world, "ssh-x11");
    assert!(why.contains("00-own.conf sets x11forwarding"), "{why}");
    world.must(["rm", "/etc/ssh/sshd_config.d/00-own.conf"]).unwrap();
    let main = world.text("/etc/ssh/sshd_config").unwrap();
    world.write("/etc/ssh/sshd_config", format!("X11Forwarding yes\n{main}")).unwrap();
    let why = refusal(&world, "ssh-x11");
    assert!(why.contains("before it reads"), "{why}");
    world.write("/etc/ssh/sshd_config", "X11Forwarding yes\n").unwrap();
    let why = refusal(&world, "ssh-x11");
    assert!(why.contains("does not read"), "{why}");
}

#[test]
fn one_setting_is_taken_back_and_the_others_of_its_step_stay() {
    if !root_or_skip().unwrap() {
        return;
    }
    let world = ssh();
    world.write("/etc/ssh/sshd_config.d/50-weak.conf", "MaxAuthTries 20\n").unwrap();
    let answer = plan(&world, &["ssh-x11", "ssh-auth-tries"]);
    let [step] = answer.steps.as_slice() else { panic!("{answer:?}") };
    let executor = Executor { world: &world };
    executor.apply(step, "a").changes();
    executor.undo(step, &["ssh-x11"], "a").changes();
    let ours = world.text("/etc/ssh/sshd_config.d/00-stanch.conf").unwrap();
    assert!(ours.ends_with("\nmaxauthtries 6\n") && !ours.contains("x11"), "{ours}");
    let end = crate::actions::End::Natural;
    executor.undo_until(step, &["ssh-auth-tries"], "a", "undo-2", end).unwrap().changes();
    assert!(!world.exists("/etc/ssh/sshd_config.d/00-stanch.conf"), "the file goes with its last setting");
}

#[test]
fn the_owners_rules_keep_settings_as_they_are() {
    if !root_or_skip().unwrap() {
        return;
    }
    let world = ssh();
    world.write("/etc/stanch/executor.toml", "[deny]\nsettings = [\"sshd.x11*\"]\n").unwrap();
    assert!(refusal(&world, "ssh-x11").contains("deny.settings"));
    world.write("/etc/stanch/executor.toml", "[deny]\nservices = [\"ssh\"]\n").unwrap();
    assert!(refusal(&world, "ssh-x11").contains("deny.services"), "setting it would reload the service");
}
