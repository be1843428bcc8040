//! Scripts: named by a playbook, taken from beside the policies, and handed to the executor whole, so that what is
//! approved is what runs.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::double::Host;
use crate::policies::{in_state, policy, signed};
use crate::world::World;

const STEPS: &str = "---\napiVersion: stanch/v1\nkind: Playbook\nname: notice\nsteps:\n  - script.run: {script: \
                     login-banner, text: '${asset.name}'}\n    id: notice\ntests:\n  - {expect: {begins: [notice], done: \
                     true}}\n";

fn host() -> Host {
    let mut host = Host::new("web-1", &[("paperclip", "3.0.15-1", "3.0.17-1")]);
    host.switches.insert("script.run".to_owned(), false);
    host
}

/// Puts a shipped script beside the policies, and gives it as it should travel. Whose word it is, is for hosts to say.
fn lay(folder: &Path, name: &str, signature: &str) -> Value {
    let (from, own) = (
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/scripts").join(name),
        folder.join("scripts").join(name),
    );
    std::fs::create_dir_all(&own).unwrap();
    let text = |file: &str| {
        let text = std::fs::read_to_string(from.join(file)).unwrap();
        std::fs::write(own.join(file), &text).unwrap();
        text
    };
    let files: BTreeMap<&str, String> = ["evaluate", "remediate", "undo"].map(|file| (file, text(file))).into();
    let manifest = text("manifest.toml");
    std::fs::write(own.join("manifest.toml.minisig"), signature).unwrap();
    for place in [folder.join("scripts"), own.clone()] {
        std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    json!({ "manifest": manifest, "signature": signature, "files": files })
}

/// A host for which somebody opened a case that shows a notice.
async fn scene() -> (World, tempfile::TempDir, Value, Value) {
    let (world, folder) = signed(host(), &policy("alert", "")).await;
    world.items(1).await;
    let script = lay(folder.path(), "login-banner", "by the owner\n");
    crate::policies::write(folder.path(), &format!("{}{STEPS}", policy("alert", "")));
    crate::policies::sign(folder.path());
    let asked = json!({ "items": ["paperclip"], "playbook": "notice", "reason": "an audit" });
    let case = world
        .until("the playbook", async || {
            let (status, text) = world.client.send(reqwest::Method::POST, "/api/v1/cases", Some(asked.clone())).await;
            status.is_success().then(|| serde_json::from_str::<Value>(&text).unwrap())
        })
        .await;
    (world, folder, script, case)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_playbook_names_a_script_and_the_plan_holds_it_whole() {
    let (world, folder, script, case) = scene().await;
    let waits = in_state(&world, "awaiting_approval").await;
    let hash = waits["plan"].as_str().unwrap();
    let plan = world.client.get(&format!("/api/v1/plans/{hash}")).await;
    let step = &plan["leaves"][0]["steps"][0];
    assert_eq!(step["action"], "script.run");
    assert_eq!(step["params"]["script"], script, "to the letter, signature and all");
    assert_eq!(step["params"]["arguments"], json!({ "text": "web-1" }), "filled in from the facts");
    let page = world.client.page(&format!("/remediations/{}", waits["id"].as_str().unwrap())).await;
    for text in ["remediate of the script", "umask 022", "output_bytes = 262144"] {
        assert!(page.contains(text), "whoever agrees can read what runs: {text}");
    }
    // What lies beside the policies by now is another script; the plan that is approved is as it was.
    lay(folder.path(), "login-banner", "by somebody else\n");
    crate::policies::sign(folder.path());
    world.approve(waits["id"].as_str().unwrap(), hash).await;
    let id = case["case"]["id"].as_str().unwrap();
    world
        .until("the end", async || {
            let case = world.client.get(&format!("/api/v1/cases/{id}")).await;
            (case["runs"][0]["state"] == "done").then_some(())
        })
        .await;
    assert!(world.host().switches["script.run"], "its own check says that it holds, and no detector is asked");
}
