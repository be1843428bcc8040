//! Old records go once a day; what was done can be taken back all the same, and the record verifies.

use reqwest::StatusCode;
use serde_json::{Value, json};
use stanch_ledger::{Report, Trust, verify};
use stanch_server::Retention;

use crate::double::Host;
use crate::world::{Client, World};

const DAY: i64 = 24 * 3600;

fn host() -> Host {
    Host::new("host", &[("paperclip", "3.0.15-1", "3.0.17-1"), ("stapler", "7.88-1", "7.88-2")])
}

async fn keeping(periods: &[&str]) -> World {
    let mut world = World::new(host()).await;
    world.stop().await;
    world.retention = Retention::default().with(periods.iter().map(|period| period.parse().unwrap()));
    world.start().await;
    world
}

/// Puts the clock forward; whoever was signed in signs in again.
async fn later(world: &mut World, days: i64) {
    world.clock.forward(days * DAY);
    world.client = Client::sign_in(world.running.as_ref().unwrap()).await;
}

async fn removed(world: &World, noun: &str) -> Value {
    let said = async || {
        let page = world.client.get("/api/v1/ledger?subject=retention").await;
        let entries = page["entries"].as_array().unwrap().clone();
        entries.into_iter().map(|entry| entry["body"]["payload"].clone()).find(|payload| payload["noun"] == noun)
    };
    world.until(noun, said).await
}

async fn export(world: &World) -> Report {
    let text = world.client.page("/api/v1/ledger/export").await;
    verify(text.as_bytes(), &Trust::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn old_records_go_and_what_was_done_can_still_be_taken_back() {
    let mut world = keeping(&["orders=7d", "evidence=30d", "ledger=90d"]).await;
    world.items(2).await;
    let id = world.fixed(&["paperclip"]).await;
    let path = format!("/api/v1/remediations/{id}");
    assert_eq!(world.client.get(&path).await["tasks"][0]["applied"][0]["outcome"], "done");
    assert_eq!(export(&world).await.removed, 0);
    let table = world.client.get("/api/v1/retention").await;
    let noun = |name: &str| table["nouns"].as_array().unwrap().iter().find(|one| one["noun"] == name).unwrap().clone();
    assert_eq!((&noun("evidence")["keep"], &noun("undo")["next"]), (&json!("30d"), &Value::Null));
    assert_eq!((&noun("undo")["rows"], &noun("undo")["least"]), (&json!(1), &json!("90d")));

    later(&mut world, 100).await;
    let evidence = removed(&world, "evidence").await;
    assert_eq!(evidence["keep"], "30d");
    let payloads = removed(&world, "ledger").await["rows"].as_u64().unwrap();
    removed(&world, "orders").await;
    let report = export(&world).await;
    assert!(report.removed >= payloads && payloads > 0, "{report:?}");
    let verified = world.client.get("/api/v1/ledger/verify").await;
    assert_eq!((&verified["good"], verified["removed"].as_u64()), (&json!(true), Some(report.removed)), "{verified}");
    let old = world.client.get(&path).await;
    assert_eq!(old["tasks"][0]["applied"], json!([]), "what it printed is gone");
    assert!(world.client.page("/ledger").await.contains("taken away by retention"));

    world.client.post(&format!("{path}/undo"), json!({ "all": true, "reason": "breaks the proxy" })).await;
    world.until("it is taken back", async || (world.host().version("paperclip") == "3.0.15-1").then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_stays_until_it_is_lifted() {
    let mut world = keeping(&["evidence=30d", "undo=90d"]).await;
    world.items(2).await;
    let id = world.fixed(&["paperclip"]).await;
    let path = "/api/v1/retention/holds";
    assert_eq!(world.client.refused(path, json!({ "name": "host", "reason": " " })).await.0, 400);
    assert_eq!(world.client.refused(path, json!({ "name": "nobody", "reason": "x" })).await.0, 404);
    let held = world.client.post(path, json!({ "name": "host", "reason": "an audit" })).await;
    assert_eq!(held["name"], "host");
    assert_eq!(world.client.refused(path, json!({ "name": "host", "reason": "x" })).await, (409, "held".into()));

    later(&mut world, 200).await;
    let swept = async || {
        let next = world.client.get("/api/v1/retention").await["next_at"].as_str().unwrap().to_owned();
        let next: jiff::Timestamp = next.parse().unwrap();
        (next > stanch_server::Clock::now(world.clock.as_ref())).then_some(())
    };
    world.until("the sweep is over", swept).await;
    let one = world.client.get(&format!("/api/v1/remediations/{id}")).await;
    assert_eq!(one["tasks"][0]["applied"][0]["outcome"], "done", "an audit looks at it");
    let would = |all: Value| all.as_array().unwrap().iter().find(|one| one["noun"] == "undo").unwrap()["rows"].clone();
    assert_eq!(would(world.client.get("/api/v1/retention/preview").await), 0);

    assert_eq!(world.client.post(&format!("{path}/host/lift"), json!({})).await, json!([]));
    assert_eq!(would(world.client.get("/api/v1/retention/preview").await), 1);
    later(&mut world, 2).await;
    removed(&world, "undo").await;
    let (status, _) = world.client.send(reqwest::Method::GET, &format!("/api/v1/remediations/{id}"), None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let subject = held["subject"].as_str().unwrap();
    let page = world.client.get(&format!("/api/v1/ledger?subject={subject}")).await;
    let kinds: Vec<&str> = page["entries"].as_array().unwrap().iter().filter_map(|e| e["kind"].as_str()).collect();
    assert!(kinds.contains(&"retention_held") && kinds.contains(&"retention_lifted"), "{kinds:?}");
}
