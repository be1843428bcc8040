//! Cases: a problem on a host, with what is done about it on the host, on an account and on a repository, and by a
//! person; each step with its own plan and proof, and all of it taken back together.

use std::sync::Arc;

use serde_json::{Value, json};
use stanch_model::asset::AssetKind;
use tempfile::TempDir;

use crate::double::{Double, Host};
use crate::policies::{policy, signed};
use crate::world::World;

const PLAYBOOK: &str = "playbook: contain-and-patch\n";
const STEPS: &str = r#"---
apiVersion: stanch/v1
kind: Playbook
name: contain-and-patch
steps:
  - first_of:
      - shield.apply: {until: patched}
        id: shield
      - host.isolate: {lease: 4h}
        id: isolate
        lift_when: patch
  - account.disable:
    id: disable
    on: {linked: account}
  - repository.protect: {branch: main}
    id: protect
    on: {linked: repository}
  - human: {title: Tell the team, owner: owner, instructions: Call whoever is on duty., due: 1h, verify: word}
    id: tell
  - package.upgrade: {to: fixed}
    id: patch
tests:
  - {expect: {begins: [shield, disable, protect, tell, patch], done: true}}
  - {blocked: [shield], expect: {begins: [shield, isolate, disable, protect, tell, patch], lifts: [isolate], done: true}}
"#;

fn host() -> Host {
    let mut host = Host::new("web-1", &[("paperclip", "3.0.15-1", "3.0.17-1")]);
    host.switches.insert("host.isolate".to_owned(), false);
    host
}

/// A host whose problem policies want closed by the playbook, with an account and a repository that belong to it.
struct Scene {
    world: World,
    account: Arc<Double>,
    repository: Arc<Double>,
    folder: TempDir,
}

impl Scene {
    async fn new() -> Self {
        // Nothing is wanted yet: what belongs together is said first.
        let (world, folder) = signed(host(), &policy("alert", "")).await;
        let account = world.join(21, Host::of_kind(AssetKind::Account, "deploy", &["account.disable"])).await;
        let repository = world.join(22, Host::of_kind(AssetKind::Repository, "shop", &["repository.protect"])).await;
        let host = world.host().asset().id;
        for other in [&account, &repository] {
            let id = other.host.lock().unwrap().asset().id;
            let linked = world
                .client
                .post(&format!("/api/v1/assets/{id}/links"), json!({ "to": host, "kind": "used_on" }))
                .await;
            assert_eq!(linked["links"][0]["to"], "web-1", "{linked}");
        }
        world.items(1).await;
        let text = format!("{}{STEPS}", policy("auto", PLAYBOOK));
        crate::policies::write(folder.path(), &text);
        crate::policies::sign(folder.path());
        Self { world, account, repository, folder }
    }

    /// The one case, once it looks like this.
    async fn case(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        self.world
            .until(what, async || {
                let list = self.world.client.get("/api/v1/cases").await;
                let id = list[0]["id"].as_str()?.to_owned();
                let case = self.world.client.get(&format!("/api/v1/cases/{id}")).await;
                let fits = fits(&case);
                last = case["runs"].as_array().and_then(|runs| runs.last()).cloned().unwrap_or_default();

                fits.then_some(case)
            })
            .await
    }

    /// Approves the plan of a step, and waits until the step is done.
    async fn agreed(&self, rung: &str) {
        let case = self.case(rung, |case| run(case, rung)["remediation_state"] == "awaiting_approval").await;
        let id = run(&case, rung)["remediation"].as_str().unwrap().to_owned();
        let detail = self.world.client.get(&format!("/api/v1/remediations/{id}")).await;
        assert_eq!(detail["remediation"]["case"], case["case"]["id"]);
        assert_eq!(detail["remediation"]["mode"], "approve", "it is proven nowhere");
        self.world.approve(&id, detail["remediation"]["plan"].as_str().unwrap()).await;
        self.case(rung, |case| run(case, rung)["state"] == "done").await;
    }

    /// The server dies and comes back; the executors find it again.
    async fn crash(&mut self) {
        self.world.kill().await;
        self.world.start().await;
        for double in [&self.account, &self.repository] {
            let gateway = self.world.running.as_ref().unwrap().gateway();
            gateway.register(&double.hello()).await.unwrap();
            tokio::spawn(double.clone().serve(gateway));
        }
    }

    fn on(&self, double: &Arc<Double>, action: &str) -> bool {
        double.host.lock().unwrap().switches[action]
    }
}

/// The last run of a rung.
fn run<'a>(case: &'a Value, rung: &str) -> &'a Value {
    let runs = case["runs"].as_array().unwrap();
    runs.iter().rfind(|run| run["rung"] == rung).unwrap_or(&Value::Null)
}

fn happened(case: &Value) -> Vec<String> {
    let told = |one: &Value| format!("{} {}", one["rung"].as_str().unwrap_or("-"), one["kind"].as_str().unwrap());
    case["happened"].as_array().unwrap().iter().map(told).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_goes_over_several_assets_and_back_again() {
    let scene = Scene::new().await;
    let world = &scene.world;

    // Nobody shields here, so the host is isolated.
    scene.agreed("isolate").await;
    assert!(world.host().switches["host.isolate"]);
    scene.agreed("disable").await;
    assert!(scene.on(&scene.account, "account.disable"));
    scene.agreed("protect").await;
    assert!(scene.on(&scene.repository, "repository.protect"));
    assert_eq!(world.host().version("paperclip"), "3.0.15-1", "a person comes first");

    let case = scene.case("the task", |case| run(case, "tell")["task"]["open"] == true).await;
    let id = case["case"]["id"].as_str().unwrap().to_owned();
    assert_eq!(case["case"]["tasks"], 1);
    assert_eq!(case["plan"][0]["rungs"][0]["state"], "blocked");
    let why = run(&case, "shield")["items"][0]["why"].as_str().unwrap().to_owned();
    assert_eq!(why, "its executor does not carry out shield.apply");
    // An item of a case is nobody else's.
    let asked = world.client.post("/api/v1/remediations", json!({ "items": ["paperclip"] })).await;
    assert!(asked["left_out"][0]["reason"].as_str().unwrap().contains(&id), "{asked}");

    let number = run(&case, "tell")["number"].clone();
    world.client.post(&format!("/api/v1/cases/{id}/tasks/{number}/done"), json!({ "note": "told kim" })).await;
    // The patch is proven on this system, and runs by itself; what stood in for it is lifted.
    let case = scene.case("the end", |case| case["case"]["state"] == "done").await;
    assert_eq!(world.host().version("paperclip"), "3.0.17-1");
    assert!(!world.host().switches["host.isolate"], "lifted");
    assert_eq!(run(&case, "isolate")["state"], "undone");
    let order = happened(&case);
    let at = |what: &str| order.iter().position(|one| one == what).unwrap_or_else(|| panic!("{what} in {order:?}"));
    assert!(at("shield blocked") < at("isolate begun") && at("isolate done") < at("disable begun"));
    assert!(at("tell said") < at("patch begun") && at("patch done") < at("isolate undone"));
    // What was lifted is nobody's no.
    assert!(world.client.get("/api/v1/items").await["items"].as_array().unwrap().is_empty());

    let page = world.client.page(&format!("/cases/{id}")).await;
    for text in ["Timeline", "Take back the case", "does not carry out shield.apply", "told kim", "linked account"] {
        assert!(page.contains(text), "{text} in {page}");
    }

    world.client.post(&format!("/api/v1/cases/{id}/undo"), json!({ "reason": "it was a drill" })).await;
    let case = scene.case("the way back", |case| case["case"]["state"] == "undone").await;
    assert_eq!(world.host().version("paperclip"), "3.0.15-1");
    assert!(!scene.on(&scene.account, "account.disable") && !scene.on(&scene.repository, "repository.protect"));
    let order = happened(&case);
    let back: Vec<&String> = order.iter().filter(|one| one.ends_with(" undone") && !one.starts_with('-')).collect();
    assert_eq!(back, ["isolate undone", "patch undone", "protect undone", "disable undone"]);
    // It is not done again by itself.
    let items = world.items(1).await;
    assert!(items[0]["suppressed"]["reason"].as_str().unwrap().contains("it was a drill"), "{items:#?}");
    let (status, verified) = world.client.send(reqwest::Method::GET, "/api/v1/ledger/verify", None).await;
    assert!(status.is_success(), "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_goes_on_after_the_server_is_killed_in_the_middle_of_a_step() {
    let mut scene = Scene::new().await;
    scene.case("the first plan", |case| run(case, "isolate")["remediation_state"] == "awaiting_approval").await;
    scene.crash().await;
    scene.agreed("isolate").await;
    scene.crash().await;
    scene.agreed("disable").await;
    let applied = scene.world.host().taken.iter().filter(|verb| **verb == "apply").count();
    assert_eq!(applied, 1, "the host was isolated once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persons_no_ends_what_a_case_does_about_the_item_and_is_not_asked_again() {
    let scene = Scene::new().await;
    let case = scene.case("a plan", |case| run(case, "isolate")["remediation_state"] == "awaiting_approval").await;
    let id = run(&case, "isolate")["remediation"].as_str().unwrap();
    scene.world.client.post(&format!("/api/v1/remediations/{id}/dismiss"), json!({})).await;
    let case = scene.case("the end", |case| case["case"]["state"] == "partly").await;
    assert_eq!(case["not_done"][0]["why"], "isolate: a person said no");
    assert!(!scene.on(&scene.account, "account.disable"));
    crate::policies::a_while(&scene.world).await;
    let cases = scene.world.client.get("/api/v1/cases").await;
    assert_eq!(cases.as_array().unwrap().len(), 1, "it cools down: {cases}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_opened_by_hand_asks_before_each_step_and_can_be_ended() {
    let text = format!("{}{STEPS}", policy("alert", ""));
    let (world, _folder) = signed(host(), &text).await;
    world.items(1).await;
    let client = &world.client;
    let ask = |playbook: &str| json!({ "items": ["paperclip"], "playbook": playbook, "reason": "an advisory" });
    assert_eq!(client.refused("/api/v1/cases", ask("contain")).await, (404, "not_found".to_owned()));
    let case = client.post("/api/v1/cases", ask("contain-and-patch")).await;
    let id = case["case"]["id"].as_str().unwrap().to_owned();
    assert_eq!(client.refused("/api/v1/cases", ask("contain-and-patch")).await, (409, "busy".to_owned()));
    let waits = crate::policies::in_state(&world, "awaiting_approval").await;
    assert_eq!((waits["case"].as_str(), waits["mode"].as_str()), (Some(id.as_str()), None), "a person asked");
    // No account belongs to the host, so that step is blocked, and the item goes no further.
    world.approve(waits["id"].as_str().unwrap(), waits["plan"].as_str().unwrap()).await;
    let case = world
        .until("the end", async || {
            let case = client.get(&format!("/api/v1/cases/{id}")).await;
            (case["not_done"][0]["why"] == "disable: no account is linked with it").then_some(case)
        })
        .await;
    // What stands in for the patch stays until a person ends the case or takes it back.
    assert_eq!(case["case"]["state"], "open");
    assert_eq!(case["case"]["waits"][0], "what stands in stays until patch is verified");
    client.post(&format!("/api/v1/cases/{id}/close"), json!({ "reason": "handled elsewhere" })).await;
    world
        .until("the end", async || {
            let case = client.get(&format!("/api/v1/cases/{id}")).await;
            (case["case"]["state"] == "closed").then_some(())
        })
        .await;
    assert!(world.host().switches["host.isolate"], "what was done stays");
    assert_eq!(client.refused(&format!("/api/v1/cases/{id}/close"), json!({})).await, (409, "wrong_state".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_step_would_be_done_less_may_be_allowed() {
    let scene = Scene::new().await;
    let account = scene.account.host.lock().unwrap().asset().id;
    scene
        .world
        .client
        .post(&format!("/api/v1/assets/{account}/labels"), json!({ "labels": { "kind": "admin" } }))
        .await;
    let careful = "---\napiVersion: stanch/v1\nkind: Policy\nname: careful\nmatch: {labels: {kind: admin}}\nrules:\n  \
                   - {id: shown, at_most: alert}\ntests:\n  - {given: some, set: {asset.labels: {kind: admin}}, expect: \
                   {mode: alert, rule: shown}}\n  - {given: some, set: {asset.labels: {kind: web}}, expect: {silent: \
                   [shown]}}\n";
    let text = format!("{}{STEPS}{careful}", policy("auto", PLAYBOOK));
    crate::policies::write(scene.folder.path(), &text);
    crate::policies::sign(scene.folder.path());
    scene.agreed("isolate").await;
    let case = scene.case("the account", |case| run(case, "disable")["state"] == "blocked").await;
    assert!(!scene.on(&scene.account, "account.disable"));
    let why = case["not_done"][0]["why"].as_str().unwrap();
    assert!(why.contains("only shown"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_executors_refuse_leads_to_the_next_rung_and_waits_for_nobody() {
    let steps = "---\napiVersion: stanch/v1\nkind: Playbook\nname: guard\nsteps:\n  - first_of:\n      - host.isolate: \
                 {lease: 4h}\n        id: isolate\n      - human: {title: Unplug it, instructions: Pull the cable., due: 1h, \
                 verify: word}\n        id: unplug\ntests:\n  - {expect: {begins: [isolate]}}\n  - {blocked: [isolate], \
                 expect: {begins: [isolate, unplug]}}\n";
    let (world, _folder) = signed(host(), &format!("{}{steps}", policy("alert", ""))).await;
    world.items(1).await;
    world.host().refuses = Some("its own rules forbid it".to_owned());
    let asked = json!({ "items": ["paperclip"], "playbook": "guard" });
    let case = world.client.post("/api/v1/cases", asked.clone()).await;
    let id = case["case"]["id"].as_str().unwrap().to_owned();
    let case = world
        .until("the next rung", async || {
            let case = world.client.get(&format!("/api/v1/cases/{id}")).await;
            (run(&case, "unplug")["task"]["open"] == true).then_some(case)
        })
        .await;
    assert_eq!(run(&case, "isolate")["items"][0]["why"], "refused: its own rules forbid it");
    let number = run(&case, "unplug")["number"].clone();
    let path = format!("/api/v1/cases/{id}/tasks/{number}");
    world.client.post(&format!("{path}/decline"), json!({ "note": "it is in another town" })).await;
    world
        .until("the end", async || {
            let case = world.client.get(&format!("/api/v1/cases/{id}")).await;
            (case["case"]["state"] == "partly").then_some(())
        })
        .await;
    assert_eq!(world.client.refused(&format!("{path}/done"), json!({})).await, (409, "wrong_state".to_owned()));
    // Nothing is left over that keeps others from the item.
    let open = world.client.get("/api/v1/remediations?open=true").await;
    assert_eq!(open, json!([]));
    let again = world.client.post("/api/v1/cases", asked).await;
    // Ended before its plan is there: the executor is away.
    let again = again["case"]["id"].as_str().unwrap().to_owned();
    world.client.post(&format!("/api/v1/cases/{again}/close"), json!({ "reason": "a mistake" })).await;
    world
        .until("the end", async || {
            let case = world.client.get(&format!("/api/v1/cases/{again}")).await;
            (case["case"]["state"] == "closed").then_some(())
        })
        .await;
}
