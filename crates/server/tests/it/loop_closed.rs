//! From facts to a closed remediation, and back.

use serde_json::json;

use crate::double::{Host, Mood};
use crate::world::World;

fn two() -> Host {
    Host::new("host", &[("paperclip", "3.0.15-1", "3.0.17-1"), ("stapler", "7.88-1", "7.88-2")])
}

#[tokio::test(flavor = "multi_thread")]
async fn in_mode_alert_nothing_changes_until_a_person_asks() {
    let world = World::new(two()).await;
    let items = world.items(2).await;
    assert!(items.iter().all(|item| item["mode"] == "alert"), "{items:?}");
    assert_eq!(items[0]["decision"], "observed, because no policy grants more; nothing is changed until a person asks");
    // Passes that have all the facts again and again do nothing more.
    for _ in 0..2 {
        let seen = world.host().taken.len();
        world.client.post("/api/v1/scan", json!({})).await;
        world.until("another reading", async || (world.host().taken.len() > seen).then_some(())).await;
    }
    assert!(world.host().taken.iter().all(|verb| *verb == "observe"), "{:?}", world.host().taken);
    assert_eq!(world.client.get("/api/v1/remediations").await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_is_planned_approved_applied_verified_and_closed() {
    let world = World::new(two()).await;
    world.items(2).await;
    let (id, plan) = world.planned(&["paperclip"]).await;
    assert_eq!(world.host().version("paperclip"), "3.0.15-1", "nothing changes before the approval");
    let shown = world.client.get(&format!("/api/v1/plans/{plan}")).await;
    assert_eq!(shown["leaves"][0]["steps"][0]["changes"][0]["after"], "3.0.17-1");

    world.approve(&id, &plan).await;
    let done = world.state(&id, "closed").await;
    assert_eq!(world.host().version("paperclip"), "3.0.17-1");
    assert_eq!(world.host().version("stapler"), "7.88-1", "only what was asked for");
    let task = &done["tasks"][0];
    assert_eq!(task["state"], "verified");
    let checks = task["checks"].as_array().unwrap();
    assert!(checks.iter().any(|check| check["name"] == "detector" && check["outcome"] == "successful"), "{checks:?}");
    assert_eq!(task["applied"][0]["outcome"], "done");
    let kinds: Vec<&str> = done["timeline"].as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap()).collect();
    let order =
        ["remediation_asked", "remediation_planned", "remediation_approved", "task_intent", "remediation_closed"];
    let mut at = kinds.iter();
    assert!(order.iter().all(|kind| at.any(|seen| seen == kind)), "{kinds:?}");
    world.items(1).await;
    let closed = world.client.get("/api/v1/findings?closed=true&package=paperclip").await;
    assert_eq!(closed["findings"][0]["closed"]["how"], "fixed");

    let again = world.client.post("/api/v1/remediations", json!({ "all": true })).await;
    assert_eq!(again["remediation"]["names"], json!(["stapler"]), "a second fix plans only what is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_plan_than_the_one_shown_is_not_approved() {
    let world = World::new(two()).await;
    world.items(2).await;
    let (id, plan) = world.planned(&["paperclip"]).await;
    let path = format!("/api/v1/remediations/{id}/approve");
    let other = "0".repeat(64);
    assert_eq!(world.client.refused(&path, json!({ "plan_hash": other })).await, (409, "wrong_plan".into()));
    assert_eq!(world.client.refused(&path, json!({ "plan_hash": "x" })).await, (400, "bad_request".into()));
    assert_eq!(world.host().version("paperclip"), "3.0.15-1");
    world.approve(&id, &plan).await;
    world.state(&id, "closed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_means_nothing_and_a_repeated_request_makes_one() {
    let world = World::new(two()).await;
    world.items(2).await;
    assert_eq!(world.client.refused("/api/v1/remediations", json!({})).await.0, 400);
    assert_eq!(world.client.refused("/api/v1/remediations", json!({ "items": ["nginx"] })).await.0, 404);
    let mut made = Vec::new();
    for items in ["stapler", "stapler", "paperclip"] {
        let request = world.client.http.post(format!("{}/api/v1/remediations", world.client.base));
        let request = request.header("cookie", &world.client.cookie).header("x-csrf-token", &world.client.csrf);
        let request = request.header("idempotency-key", "ticket-7").header("content-type", "application/json");
        let answer = request.body(json!({ "items": [items] }).to_string()).send().await.unwrap();
        let status = answer.status().as_u16();
        let made_now: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        made.push((status, made_now["remediation"]["id"].clone()));
    }
    assert_eq!((made[0].0, made[1].0, made[2].0), (201, 200, 409), "one name is one request");
    assert_eq!(made[0].1, made[1].1);
    let id = world.fixed(&["paperclip"]).await;
    assert_eq!(world.client.refused(&format!("/api/v1/remediations/{id}/undo"), json!({})).await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_item_is_taken_back_and_left_alone_afterwards_then_the_rest() {
    let world = World::new(two()).await;
    world.items(2).await;
    let id = world.fixed(&["paperclip", "stapler"]).await;
    let undo = format!("/api/v1/remediations/{id}/undo");
    let preview = &world.client.get(&format!("/api/v1/remediations/{id}")).await["undo"];
    assert_eq!(preview["items"].as_array().unwrap().len(), 2);

    world.client.post(&undo, json!({ "items": ["stapler"], "reason": "breaks the proxy" })).await;
    world.state(&id, "partially_remediated").await;
    assert_eq!(world.host().version("stapler"), "7.88-1");
    assert_eq!(world.host().version("paperclip"), "3.0.17-1");
    let items = world.items(1).await;
    assert_eq!(items[0]["suppressed"]["reason"], "taken back by admin: breaks the proxy");

    let all = world.client.post("/api/v1/remediations", json!({ "all": true })).await;
    assert!(all["remediation"].is_null(), "{all}");
    assert!(all["left_out"][0]["reason"].as_str().unwrap().contains("breaks the proxy"), "{all}");

    world.client.post(&undo, json!({ "all": true })).await;
    world.state(&id, "rolled_back").await;
    assert_eq!(world.host().version("paperclip"), "3.0.15-1");
    let items = world.items(2).await;
    assert!(items.iter().all(|item| !item["suppressed"].is_null()), "{items:?}");
    world.fixed(&["stapler"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version_lifts_what_an_undo_suppressed() {
    let world = World::new(two()).await;
    world.items(2).await;
    let id = world.fixed(&["stapler"]).await;
    world.client.post(&format!("/api/v1/remediations/{id}/undo"), json!({ "all": true })).await;
    world.state(&id, "rolled_back").await;
    world.host().offered.insert("stapler".to_owned(), "7.88-3".to_owned());
    world.client.post("/api/v1/scan", json!({})).await;
    world
        .until("the newer version", async || {
            let items = world.items(2).await;
            items.iter().find(|item| item["name"] == "stapler")?["suppressed"].is_null().then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_taken_back() {
    let world = World::new(two()).await;
    world.items(2).await;
    let (id, plan) = world.planned(&["paperclip"]).await;
    world.host().mood = Mood::Fails;
    world.approve(&id, &plan).await;
    let over = world.state(&id, "rolled_back").await;
    assert_eq!(world.host().version("paperclip"), "3.0.15-1");
    assert_eq!(over["tasks"][0]["applied"][0]["message"], "dpkg broke down");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_word_of_the_executor_closes_nothing() {
    let world = World::new(two()).await;
    world.items(2).await;
    let (id, plan) = world.planned(&["paperclip"]).await;
    world.host().mood = Mood::Lies;
    world.approve(&id, &plan).await;
    let over = world.state(&id, "needs_operator").await;
    assert!(over["remediation"]["waiting_on"].as_str().unwrap().contains("still sees"), "{over:#}");
    world.client.post(&format!("/api/v1/remediations/{id}/dismiss"), json!({ "reason": "seen" })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_that_cannot_begin_yet_waits_says_on_what_and_is_not_lost() {
    let world = World::new(two()).await;
    world.items(2).await;
    let done = world.fixed(&["stapler"]).await;
    let (id, plan) = world.planned(&["paperclip"]).await;
    world.host().gate = Some("apply");
    world.approve(&id, &plan).await;
    world.at_gate("apply").await;
    let path = format!("/api/v1/remediations/{done}/undo");
    world.client.post(&path, json!({ "all": true })).await;
    world
        .until("it says on what it waits", async || {
            let now = world.client.get(&format!("/api/v1/remediations/{done}")).await;
            now["remediation"]["waiting_on"].as_str()?.contains("something else is at work").then_some(())
        })
        .await;
    assert_eq!(world.host().version("stapler"), "7.88-2", "nothing is taken back before its turn");
    world.host().gate = None;
    world.state(&id, "closed").await;
    world.state(&done, "rolled_back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_looked_at_is_not_called_fixed() {
    let world = World::new(two()).await;
    world.items(2).await;
    world.host().blind = true;
    let judged = async || world.client.get("/api/v1/assets").await[0]["judged_at"].clone();
    let before = judged().await;
    world.client.post("/api/v1/scan", json!({})).await;
    world
        .until("newer facts", async || {
            let now = judged().await;
            (!now.is_null() && now != before).then_some(())
        })
        .await;
    world.items(2).await;
    let closed = world.client.get("/api/v1/findings?closed=true").await;
    assert!(closed["findings"].as_array().unwrap().iter().all(|one| one["closed"].is_null()), "{closed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_many_times_at_once_makes_one() {
    let world = World::new(two()).await;
    world.items(2).await;
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let request = world.client.http.post(format!("{}/api/v1/remediations", world.client.base));
        let request = request.header("cookie", &world.client.cookie).header("x-csrf-token", &world.client.csrf);
        let request = request.header("idempotency-key", "ticket-8").header("content-type", "application/json");
        let request = request.body(json!({ "items": ["stapler"] }).to_string());
        asking.spawn(async move { request.send().await.unwrap().status().as_u16() });
    }
    let answers = asking.join_all().await;
    assert_eq!(answers.iter().filter(|status| **status == 201).count(), 1, "{answers:?}");
    assert_eq!(world.client.get("/api/v1/remediations").await.as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_for_newer_indexes_is_not_answered_by_an_order_that_fetches_none() {
    let mut world = World::new(two()).await;
    world.items(2).await;
    world.unplug().await;
    world.client.post("/api/v1/scan", json!({})).await;
    world.client.post("/api/v1/scan", json!({ "refresh": true })).await;
    assert_eq!(world.host().fetched, 0);
    world.plug();
    world.until("the fetch", async || (world.host().fetched == 1).then_some(())).await;
}
