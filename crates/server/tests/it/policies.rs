//! Policies decide: what is granted is done or prepared by itself, within what the owner set, and no further.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};
use stanch_model::facts::{Known, Posture, UnitState};
use stanch_model::sign::SigningKey;
use stanch_policy::SIGNATURE_FILE;
use stanch_server::PolicySource;
use tempfile::TempDir;

use crate::double::{Host, Mood};
use crate::world::{Client, World};

const PASSWORD: &str = "correct horse battery";

fn host() -> Host {
    Host::new("host", &[("paperclip", "3.0.15-1", "3.0.17-1")])
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[3; 32]).unwrap()
}

/// A policy about everything that one rule of this mode grants, and more lines.
pub(crate) fn policy(mode: &str, more: &str) -> String {
    format!(
        "apiVersion: stanch/v1\nkind: Policy\nname: all\nmatch: {{all: true}}\nrules:\n  - id: fixable\n    when: \
         item.fixable\n    mode: {mode}\n{more}\ntests:\n  - {{given: some, expect: {{mode: {mode}, rule: fixable}}}}\n  \
         - {{given: some, set: {{item.fixable: false}}, expect: {{silent: [fixable]}}}}\n---\napiVersion: \
         stanch/v1\nkind: Facts\nname: some\nfacts: {{item.fixable: true, item.stale: false, asset.own: false, \
         action.kind: package.upgrade, action.reversibility: restorable, action.proven: true}}\n"
    )
}

/// A folder with these policies.
fn folder(text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    write(folder.path(), text);
    folder
}

pub(crate) fn write(folder: &Path, text: &str) {
    let file = folder.join("all.yaml");
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
}

/// Signs what lies in a folder.
pub(crate) fn sign(folder: &Path) {
    let sources = stanch_server::policies::sources(folder).unwrap();
    let signed = stanch_policy::sign(&sources, &key(), Timestamp::now()).unwrap();
    std::fs::write(folder.join(SIGNATURE_FILE), serde_json::to_string(&signed).unwrap()).unwrap();
}

pub(crate) async fn signed(host: Host, text: &str) -> (World, TempDir) {
    let folder = folder(text);
    sign(folder.path());
    let source = PolicySource::folder(folder.path().to_owned(), Some(key().verifying_key()));
    (World::decided_by(host, source).await, folder)
}

async fn unsigned(host: Host, text: &str) -> (World, TempDir) {
    let folder = folder(text);
    let source = PolicySource::folder(folder.path().to_owned(), None);
    (World::decided_by(host, source).await, folder)
}

/// Waits until a remediation is in this state.
pub(crate) async fn in_state(world: &World, state: &str) -> Value {
    world
        .until(state, async || {
            let list = world.client.get("/api/v1/remediations").await;
            list.as_array().unwrap().iter().find(|one| one["state"] == state).cloned()
        })
        .await
}

async fn count(world: &World) -> usize {
    world.client.get("/api/v1/remediations").await.as_array().unwrap().len()
}

/// Waits until every stage had the chance to do what it should not: each went through as often as there are stages
/// between what is seen and what is done.
pub(crate) async fn a_while(world: &World) {
    const STAGES: [&str; 5] = ["decide", "propose", "plan", "rollout", "dispatch"];
    let passes = async || {
        let figures = world.client.page("/api/v1/metrics").await;
        STAGES.map(|stage| {
            let of_stage = |line: &&str| {
                line.starts_with("stanch_stage_passes_total{") && line.contains(&format!("stage=\"{stage}\""))
            };
            let counts =
                figures.lines().filter(of_stage).filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
            counts.sum::<usize>()
        })
    };
    let before = passes().await;
    let more = async || {
        let now = passes().await;
        before.iter().zip(&now).all(|(before, now)| now - before > STAGES.len()).then_some(())
    };
    world.until("more passes", more).await;
}

pub(crate) async fn events(world: &World, id: &str) -> Vec<String> {
    let detail = world.client.get(&format!("/api/v1/remediations/{id}")).await;
    detail["timeline"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_signed_policy_grants_is_done_by_itself_and_its_owner_is_asked() {
    let more = "confirm: {by: admin, within: 8h, unanswered: keep}";
    let (world, _folder) = signed(host(), &policy("auto", more)).await;
    let done = in_state(&world, "awaiting_confirmation").await;
    assert_eq!(world.host().version("paperclip"), "3.0.17-1");
    assert_eq!((&done["asked_by"], &done["mode"]), (&json!("policy"), &json!("auto")));
    let id = done["id"].as_str().unwrap();
    let told = events(&world, id).await;
    assert!(told.contains(&"remediation_decided".to_owned()) && told.contains(&"remediation_granted".to_owned()));
    let detail = world.client.get(&format!("/api/v1/remediations/{id}")).await;
    assert_eq!((&detail["rules"], &detail["questions"][0]["role"]), (&json!(["all/fixable"]), &json!("admin")));

    world.client.post(&format!("/api/v1/remediations/{id}/answer"), json!({ "answer": "confirm" })).await;
    world.state(id, "closed").await;
    let ledger = world.client.get("/api/v1/ledger?subject=policies").await;
    assert!(ledger.to_string().contains("policies_activated"), "{ledger:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_who_says_no_has_it_taken_back_and_it_stays_so() {
    let more = "confirm: {by: admin, within: 8h, unanswered: keep}";
    let (world, _folder) = signed(host(), &policy("auto", more)).await;
    let done = in_state(&world, "awaiting_confirmation").await;
    let id = done["id"].as_str().unwrap();
    let answer = json!({ "answer": "except", "reason": "the vendor wants the old one" });
    world.client.post(&format!("/api/v1/remediations/{id}/answer"), answer).await;
    world.state(id, "rolled_back").await;
    assert_eq!(world.host().version("paperclip"), "3.0.15-1");
    a_while(&world).await;
    assert_eq!((count(&world).await, world.host().version("paperclip")), (1, "3.0.15-1".to_owned()));
    let items = world.client.get("/api/v1/items").await;
    let why = items["items"][0]["suppressed"]["reason"].as_str().unwrap().to_owned();
    assert!(why.contains("the vendor wants the old one"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_nobody_signed_lets_nothing_run_by_itself() {
    let (world, _folder) = unsigned(host(), &policy("auto", "")).await;
    let waits = in_state(&world, "awaiting_approval").await;
    let id = waits["id"].as_str().unwrap();
    assert_eq!(waits["mode"], "approve");
    let items = world.items(1).await;
    assert!(items[0]["decision"].as_str().unwrap().contains("nobody signed the bundle"), "{items:#?}");
    world.approve(id, waits["plan"].as_str().unwrap()).await;
    world.state(id, "closed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_others_can_write_to_is_not_believed_unsigned() {
    let folder = folder(&policy("approve", ""));
    std::fs::set_permissions(folder.path().join("all.yaml"), std::fs::Permissions::from_mode(0o666)).unwrap();
    let source = PolicySource::folder(folder.path().to_owned(), None);
    let world = World::decided_by(host(), source).await;
    let why = world
        .until("the refusal", async || {
            let status = world.client.get("/api/v1/status").await;
            let waiting = status["waiting"].as_array().unwrap().clone();
            waiting.iter().find(|one| one["what"] == "newer policies").map(|one| one["on"].as_str().unwrap().to_owned())
        })
        .await;
    assert!(why.contains("can be written to by others"), "{why}");
    a_while(&world).await;
    assert_eq!(count(&world).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_others_than_the_author_have_to_agree_and_each_counts_once() {
    let text = policy("approve", "    approvals: {quorum: 2, roles: [approver, owner], exclude_author: true}")
        .replace("match:", "metadata: {author: eve}\nmatch:");
    let (world, _folder) = signed(host(), &text).await;
    let admin = &world.client;
    let person = async |name: &str, role: &str| admin.person(name, &[(role, "all")], PASSWORD).await;
    let (ann, bob, eve, oz) = (
        person("ann", "approver").await,
        person("bob", "approver").await,
        person("eve", "approver").await,
        person("oz", "operator").await,
    );
    let waits = in_state(&world, "awaiting_approval").await;
    let (id, plan) = (waits["id"].as_str().unwrap(), waits["plan"].as_str().unwrap());
    let path = format!("/api/v1/remediations/{id}/approve");
    let word = || json!({ "plan_hash": plan });
    for who in [&eve, &oz, admin] {
        assert_eq!(who.refused(&path, word()).await.0, 403, "an author, an operator, a role that is not asked");
    }
    ann.post(&path, word()).await;
    ann.post(&path, word()).await;
    let token = ann.post("/api/v1/tokens", json!({ "name": "ci", "scopes": ["approve"] })).await;
    let by_token = Client { cookie: String::new(), csrf: String::new(), ..ann.clone() };
    let request = by_token.http.post(format!("{}{path}", by_token.base)).bearer_auth(token["token"].as_str().unwrap());
    let answer = request.header("content-type", "application/json").body(word().to_string()).send().await.unwrap();
    assert!(answer.status().is_success());
    let detail = admin.get(&format!("/api/v1/remediations/{id}")).await;
    assert_eq!(detail["remediation"]["state"], "awaiting_approval", "her token is she");
    assert_eq!(detail["approvals"][0]["by"], json!(["ann"]));
    assert_eq!(world.host().version("paperclip"), "3.0.15-1");

    // Who may not sign in any more counts no longer.
    admin.post("/api/v1/people/ann/state", json!({ "state": "disabled" })).await;
    bob.post(&path, word()).await;
    let detail = admin.get(&format!("/api/v1/remediations/{id}")).await;
    assert_eq!(detail["approvals"][0]["by"], json!(["bob"]), "{detail:#}");
    admin.post("/api/v1/people/ann/state", json!({ "state": "enabled" })).await;
    bob.post(&path, word()).await;
    world.state(id, "closed").await;
    assert!(events(&world, id).await.contains(&"approval_given".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_suggested_is_started_by_whoever_operates_and_not_by_who_only_looks() {
    let (world, _folder) = unsigned(host(), &policy("suggest", "")).await;
    let oz = world.client.person("oz", &[("operator", "all")], PASSWORD).await;
    let vi = world.client.person("vi", &[("viewer", "all")], PASSWORD).await;
    let waits = in_state(&world, "awaiting_approval").await;
    let path = format!("/api/v1/remediations/{}/approve", waits["id"].as_str().unwrap());
    let word = json!({ "plan_hash": waits["plan"] });
    assert_eq!(vi.refused(&path, word.clone()).await.0, 403);
    oz.post(&path, word).await;
    world.state(waits["id"].as_str().unwrap(), "closed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persons_no_is_not_asked_again() {
    let (world, _folder) = unsigned(host(), &policy("approve", "")).await;
    let waits = in_state(&world, "awaiting_approval").await;
    let id = waits["id"].as_str().unwrap();
    world.client.post(&format!("/api/v1/remediations/{id}/dismiss"), json!({ "reason": "not this week" })).await;
    a_while(&world).await;
    assert_eq!(count(&world).await, 1);
    // A newer version is another question.
    world.host().offered.insert("paperclip".into(), "3.0.18-1".into());
    world.client.post("/api/v1/scan", json!({})).await;
    let again = in_state(&world, "awaiting_approval").await;
    assert_ne!(again["id"], waits["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_policies_do_not_want_any_more_gives_way_and_a_broken_edit_changes_nothing() {
    let (world, folder) = unsigned(host(), &policy("approve", "")).await;
    let waits = in_state(&world, "awaiting_approval").await;
    write(
        folder.path(),
        "apiVersion: stanch/v1\nkind: Policy\nname: all\nmatch: {all: true}\nrules: [{id: a, mood: auto}]\n",
    );
    let ledger = world
        .until("the refusal", async || {
            let ledger = world.client.get("/api/v1/ledger?subject=policies").await.to_string();
            ledger.contains("policies_refused").then_some(ledger)
        })
        .await;
    assert!(ledger.contains("mood"), "the place is named: {ledger}");
    assert_eq!(in_state(&world, "awaiting_approval").await["id"], waits["id"], "the last good one stays");

    write(folder.path(), &policy("alert", ""));
    let gone = in_state(&world, "superseded").await;
    assert_eq!(gone["id"], waits["id"]);
    let word = json!({ "plan_hash": waits["plan"] });
    let path = format!("/api/v1/remediations/{}/approve", waits["id"].as_str().unwrap());
    assert_eq!(world.client.refused(&path, word).await.0, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bundle_in_force_outlives_the_folder_and_the_server_but_not_its_key() {
    let (mut world, folder) = signed(host(), &policy("alert", "")).await;
    world
        .until("the policies", async || {
            let status = world.client.get("/api/v1/policies").await;
            (status["since"] != Value::Null).then_some(())
        })
        .await;
    drop(folder);
    world.kill().await;
    world.start().await;
    let status = world.client.get("/api/v1/policies").await;
    assert_eq!((&status["policies"][0]["name"], &status["signed"]), (&json!("all"), &json!(true)), "{status:#}");
    world.kill().await;
    let other = SigningKey::from_seed(&[4; 32]).unwrap().verifying_key();
    world.policies.as_mut().unwrap().key = Some(other);
    world.start().await;
    assert_eq!(world.client.get("/api/v1/policies").await["since"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_taken_back_and_not_tried_again_by_itself() {
    let mut failing = host();
    failing.mood = Mood::Fails;
    let (world, _folder) = signed(failing, &policy("auto", "limits: {max_attempts: 5, cooldown: 10m}")).await;
    in_state(&world, "rolled_back").await;
    assert_eq!(world.host().version("paperclip"), "3.0.15-1");
    a_while(&world).await;
    assert_eq!(count(&world).await, 1);
    assert_eq!(world.client.get("/api/v1/holds").await, json!([]), "one host may have its own reasons");
    let suppressed = world.client.get("/api/v1/items").await.to_string();
    assert!(suppressed.contains("taken back because it failed"), "it is kept from this host: {suppressed}");
    let earned = world.client.get("/api/v1/policies").await["earned"].clone();
    let earned = &earned[0];
    assert_eq!((&earned["action"], &earned["system"]), (&json!("package.upgrade"), &json!("debian 12")), "{earned:#}");
    assert_eq!((&earned["failed"], &earned["undone"], &earned["verified"]), (&json!(1), &json!(1), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_patch_is_brought_nowhere_until_it_is_unblocked() {
    let (world, _folder) = unsigned(host(), &policy("approve", "")).await;
    let waits = in_state(&world, "awaiting_approval").await;
    let version = waits["id"].as_str().unwrap();
    let plan = world.client.get(&format!("/api/v1/remediations/{version}")).await;
    let to = plan["plan"]["leaves"][0]["steps"][0]["changes"][0]["after"].as_str().unwrap().to_owned();
    let scope = format!("version/paperclip/{to}");
    world.client.post("/api/v1/holds", json!({ "reason": "loses sessions", "scope": scope })).await;
    in_state(&world, "superseded").await;
    let items = world.client.get("/api/v1/items").await;
    assert!(items.to_string().contains("is blocked as a bad patch: loses sessions"), "{items:#}");
    assert_eq!(world.client.get("/api/v1/status").await["holds"], json!([]), "nothing else is stopped");
    let id = scope.replace('/', "%2F");
    world.client.post(&format!("/api/v1/holds/{id}/release"), json!({})).await;
    let again = in_state(&world, "awaiting_approval").await;
    world.approve(again["id"].as_str().unwrap(), again["plan"].as_str().unwrap()).await;
    world.state(again["id"].as_str().unwrap(), "closed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plan_turns_out_to_bring_is_left_out_where_it_is_a_bad_patch_and_the_rest_goes_on() {
    let mut host = Host::new("host", &[("paperclip", "3.0.15-1", "3.0.17-1"), ("stapler", "1-1", "1-2")]);
    host.brings.insert("paperclip".to_owned(), "3.0.18-1".to_owned());
    let (world, _folder) = unsigned(host, &policy("alert", "")).await;
    world.items(2).await;
    let scope = "version/pkg:deb/paperclip?vers=%3E%3D3.0.18-1";
    world.client.post("/api/v1/holds", json!({ "reason": "loses sessions", "scope": scope })).await;
    write(_folder.path(), &policy("approve", ""));
    let waits = in_state(&world, "awaiting_approval").await;
    let detail = world.client.get(&format!("/api/v1/remediations/{}", waits["id"].as_str().unwrap())).await;
    let plan = detail["plan"].to_string();
    assert!(plan.contains("stapler") && !plan.contains("paperclip"), "{plan}");
    let out = &detail["remediation"]["left_out"];
    let out = if out.is_null() { &detail["left_out"] } else { out };
    let reason = out[0]["reason"].as_str().unwrap();
    assert!(reason.contains("paperclip >=3.0.18-1 is blocked as a bad patch: loses sessions"), "{detail:#}");
    assert_eq!(count(&world).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_waits_for_the_age_of_what_would_really_be_installed() {
    let mut host = host();
    host.brings.insert("paperclip".to_owned(), "3.0.18-1".to_owned());
    let text = policy("approve", "")
        .replacen("    mode: approve\n", "    mode: approve\n    wait_for_age: 1h\n", 1)
        .replace("facts: {item.fixable", "facts: {item.fix_age_hours: 90, item.fixable");
    let (world, _folder) = unsigned(host, &text).await;
    assert_eq!(world.items(1).await[0]["mode"], "alert", "it was first offered a moment ago");
    world.clock.forward(3_601);
    world.client.post("/api/v1/scan", json!({})).await;
    // What closes it is old enough; nobody has seen what the host would install before it said so.
    let shown = in_state(&world, "observed").await;
    let why = shown["waiting_on"].as_str().unwrap();
    assert!(why.contains("first offered"), "{shown:#}");
    a_while(&world).await;
    assert_eq!(count(&world).await, 1, "it is not asked again at once");
    world.clock.forward(3_601);
    world.client.post("/api/v1/scan", json!({})).await;
    in_state(&world, "awaiting_approval").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_updaters_are_switched_off_by_a_plan_that_is_shown_first_where_a_policy_takes_over() {
    let mut host = host();
    let on = UnitState { active: true, file: "enabled".to_owned() };
    let services = BTreeMap::from([("apt-daily-upgrade.timer".to_owned(), Known::Known(on))]);
    host.posture =
        Some(Posture { sysctls: BTreeMap::new(), sshd: Known::Known(None), files: BTreeMap::new(), services });
    let told = |word: &str| {
        let text = policy("suggest", &format!("other_updaters: {word}"));
        text.replace("facts: {item.fixable", "facts: {asset.other_updaters: [], item.fixable")
    };
    let (world, folder) = unsigned(host, &told("warn")).await;
    world.items(1).await;
    write(folder.path(), &told("take_over"));
    world
        .until("the item", async || {
            world.client.post("/api/v1/scan", json!({})).await;
            let items = world.client.get("/api/v1/items").await;
            let one =
                items["items"].as_array().unwrap().iter().find(|item| item["name"] == "other-updaters").cloned()?;
            (one["mode"] == "approve").then_some(())
        })
        .await;
    let waits = world
        .until("its plan", async || {
            let list = world.client.get("/api/v1/remediations").await;
            let mut all = list.as_array().unwrap().iter();
            all.find(|one| one["state"] == "awaiting_approval" && one["names"][0] == "other-updaters").cloned()
        })
        .await;
    let detail = world.client.get(&format!("/api/v1/remediations/{}", waits["id"].as_str().unwrap())).await;
    assert!(detail["plan"].to_string().contains("config.set"), "{detail:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_of_another_environment_stops_nothing_here_and_one_of_this_asset_does() {
    let (world, _folder) = unsigned(host(), &policy("approve", "")).await;
    let asset = world.host().asset().id;
    world.client.post(&format!("/api/v1/assets/{asset}/labels"), json!({ "environment": "prod" })).await;
    let waits = in_state(&world, "awaiting_approval").await;
    let (id, plan) = (waits["id"].as_str().unwrap(), waits["plan"].as_str().unwrap());
    assert_eq!(world.client.refused("/api/v1/holds", json!({ "reason": "x", "scope": "team/red" })).await.0, 400);
    let hold = json!({ "reason": "audit week", "scope": format!("asset/{asset}") });
    world.client.post("/api/v1/holds", hold).await;
    world.client.post("/api/v1/holds", json!({ "reason": "not us", "scope": "environment/staging" })).await;
    world.approve(id, plan).await;
    let held = world.state(id, "paused").await;
    assert!(held["remediation"]["waiting_on"].as_str().unwrap().contains("audit week"), "{held:#}");
    world.client.post(&format!("/api/v1/holds/asset%2F{asset}/release"), json!({})).await;
    world.state(id, "closed").await;
    assert_eq!(world.client.get("/api/v1/holds").await[0]["id"], "environment/staging");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_set_a_hold_does_not_end_it_alone_where_somebody_else_could() {
    let world = World::new(host()).await;
    let ann = world.client.person("ann", &[("operator", "all")], PASSWORD).await;
    ann.post("/api/v1/holds", json!({ "reason": "audit week" })).await;
    assert_eq!(ann.refused("/api/v1/holds/all/release", json!({})).await.0, 403);
    world.client.post("/api/v1/holds/all/release", json!({})).await;
    assert_eq!(world.client.get("/api/v1/holds").await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_would_have_done_by_itself_what_went_wrong_is_refused() {
    let (world, folder) = unsigned(host(), &policy("approve", "")).await;
    let waits = in_state(&world, "awaiting_approval").await;
    let id = waits["id"].as_str().unwrap();
    world.approve(id, waits["plan"].as_str().unwrap()).await;
    world.state(id, "closed").await;
    world.client.post(&format!("/api/v1/remediations/{id}/undo"), json!({ "all": true })).await;
    world.state(id, "rolled_back").await;

    let draft = json!({ "files": [{ "name": "all.yaml", "text": policy("auto", "") }] });
    let tried = world.client.post("/api/v1/policies/draft", draft).await;
    assert_eq!(
        (&tried["by_itself"], &tried["known"], &tried["harm_rate_e6"]),
        (&json!(1), &json!(1), &json!(1_000_000))
    );
    assert_eq!((&tried["harmed"][0]["name"], &tried["harmed"][0]["how"]), (&json!("paperclip"), &json!("taken back")));
    assert_eq!((&tried["worst"][0]["mode"], &tried["worst"][0]["assets"]), (&json!("auto"), &json!(1)), "{tried:#}");
    let bad = json!({ "files": [{ "name": "all.yaml", "text": "kind: Policy\n" }] });
    assert_eq!(world.client.refused("/api/v1/policies/draft", bad).await.0, 400);

    // The same bundle, signed, so that it would run by itself; its fingerprint is another one.
    write(folder.path(), &policy("auto", ""));
    sign(folder.path());
    let mut world = world;
    world.kill().await;
    world.policies.as_mut().unwrap().key = Some(key().verifying_key());
    world.start().await;
    let why = world
        .until("the refusal", async || {
            let told = world.client.get("/api/v1/policies").await;
            told["refused"]["why"].as_str().map(str::to_owned)
        })
        .await;
    assert!(why.contains("went wrong") && why.contains("paperclip"), "{why}");
    assert_eq!(world.client.get("/api/v1/policies").await["since"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_in_shadow_does_nothing_and_its_page_says_what_it_would_do() {
    let (world, folder) = signed(host(), &policy("auto", "shadow: true")).await;
    let items = world.items(1).await;
    assert_eq!(items[0]["mode"], "alert");
    let id = items[0]["id"].as_str().unwrap();
    let look = async || {
        let detail = world.client.get(&format!("/api/v1/items/{id}")).await;
        (detail["decided"]["shadow"]["mode"] == "auto").then(|| detail["decided"].clone())
    };
    let decided = world.until("what it would be", look).await;
    assert_eq!(decided["shadow"]["words"][0]["rule"], "all/fixable");
    assert_eq!(decided["words"], json!([]));
    let shown = world.client.get("/api/v1/policies").await;
    let policy_shown = &shown["policies"][0];
    assert_eq!((&policy_shown["shadow"], &policy_shown["would_change"]), (&json!(true), &json!(1)));
    assert!(world.client.page("/policies").await.contains("in shadow"));
    assert!(world.client.page(&format!("/items/{id}")).await.contains("In shadow"));
    assert_eq!(world.client.get("/api/v1/remediations").await, json!([]), "nothing was prepared");
    assert_eq!(world.host().version("paperclip"), "3.0.15-1");

    write(folder.path(), &policy("auto", "shadow: false"));
    sign(folder.path());
    let fixed = async || (world.host().version("paperclip") == "3.0.17-1").then_some(());
    world.until("out of shadow it acts", fixed).await;
}
