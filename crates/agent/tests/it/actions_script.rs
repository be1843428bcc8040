//! Scripts on a real Debian root: what works on files alone is rehearsed in a copy before anybody agrees.

use serde_json::json;
use stanch_agent::rules::PATH;
use stanch_model::order::{CheckOutcome, StepRequest};
use stanch_model::script::Script;
use stanch_testkit::{Archive, Base, ScriptKey, World, root_or_skip};

use crate::actions::{Executor, builder, item, shown};

const SEEN: [&str; 3] = ["sh", "-c", "stat -c '%n %a %Y' /etc/issue /etc/issue.net; cat /etc/issue /etc/issue.net"];

fn asked(script: &Script) -> Vec<StepRequest> {
    let want = json!({ "script": script, "arguments": { "text": "Nobody but us." } });
    vec![StepRequest { action: "script.run".to_owned(), want, items: vec![item("banner")] }]
}

fn world(archive: &Archive, key: &ScriptKey) -> World {
    let world = builder(&Base::minimal().unwrap(), archive).boot().unwrap();
    world.must(["mkdir", "-p", "/etc/stanch"]).unwrap();
    world.write_mode(PATH, format!("[scripts]\nkeys = [\"{}\"]\n", key.public()), 0o644).unwrap();
    world
}

#[test]
fn a_script_that_works_on_files_alone_is_rehearsed_and_the_root_stays_as_it_is() {
    if !root_or_skip().unwrap() {
        return;
    }
    let (archive, key) = (Archive::new().unwrap(), ScriptKey::new().unwrap());
    let world = world(&archive, &key);
    let executor = Executor { world: &world };
    let before = world.must(SEEN).unwrap();
    let script = key.shipped("login-banner").unwrap();
    let steps = executor.plan_requests(asked(&script)).steps;

    let rehearsed = executor.rehearse(&steps, &["banner"]);
    assert_eq!(rehearsed.outcome(), CheckOutcome::Successful, "{rehearsed:#?}");
    let checks: Vec<&str> = rehearsed.checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(checks, ["login-banner@1", "undo-to-the-letter"]);
    assert_eq!(rehearsed.undone[0].evidence[0].name, "undo of login-banner@1");
    assert_eq!(world.must(SEEN).unwrap(), before);

    let lines = executor.apply(&steps[0], "a").changes();
    assert_eq!(lines, [shown(&steps[0].changes[0])]);
    assert_eq!(world.text("/etc/issue").unwrap(), "Nobody but us.\n", "what was rehearsed can be done");
    executor.undo(&steps[0], &["banner"], "a").changes();
    assert_eq!(
        world.must(["cat", "/etc/issue", "/etc/issue.net"]).unwrap(),
        before.lines().skip(2).collect::<Vec<_>>().join("\n") + "\n"
    );

    // One that does more than change files is not shown in a copy, and nothing is believed of it that is not signed.
    let files = script.files.clone();
    let more = key.sign(&script.manifest.replace("files_only = true\n", ""), &files).unwrap();
    let steps = executor.plan_requests(asked(&more)).steps;
    let rehearsed = executor.rehearse(&steps, &["banner"]);
    assert_eq!(rehearsed.outcome(), CheckOutcome::Inconclusive);
    assert_eq!(rehearsed.left_out, ["script.run: nothing runs in a copy"]);
    let refused = executor.plan_requests(asked(&ScriptKey::new().unwrap().shipped("login-banner").unwrap())).refused;
    assert!(refused[0].reason.contains("not signed by a key"), "{refused:?}");
}
