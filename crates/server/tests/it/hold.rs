//! The kill switch.

use serde_json::json;

use crate::double::Host;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_stops_what_is_new_and_lets_undo_through() {
    let host = Host::new("host", &[("paperclip", "3.0.15-1", "3.0.17-1"), ("stapler", "7.88-1", "7.88-2")]);
    let world = World::new(host).await;
    world.items(2).await;
    let done = world.fixed(&["stapler"]).await;
    let (id, plan) = world.planned(&["paperclip"]).await;

    assert_eq!(world.client.refused("/api/v1/holds", json!({ "reason": " " })).await.0, 400);
    let hold = world.client.post("/api/v1/holds", json!({ "reason": "audit week" })).await;
    world.until("the executor's hold", async || world.host().held.then_some(())).await;
    world.approve(&id, &plan).await;
    let held = world.state(&id, "paused").await;
    assert!(held["remediation"]["waiting_on"].as_str().unwrap().contains("audit week"), "{held:#}");

    world.client.post(&format!("/api/v1/remediations/{done}/undo"), json!({ "all": true })).await;
    world.state(&done, "rolled_back").await;
    assert_eq!(world.host().version("stapler"), "7.88-1");
    assert_eq!(world.host().version("paperclip"), "3.0.15-1", "nothing new starts under a hold");
    assert!(world.client.page("/").await.contains("audit week"));

    let id_of_hold = hold["id"].as_str().unwrap();
    world.client.post(&format!("/api/v1/holds/{id_of_hold}/release"), json!({})).await;
    world.state(&id, "closed").await;
    assert!(!world.host().held);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_follows_the_holds_even_when_an_order_was_lost() {
    let world = World::new(Host::new("host", &[("stapler", "7.88-1", "7.88-2")])).await;
    world.items(1).await;
    // Its release got lost, long ago.
    world.host().held = true;
    world.until("the release", async || (!world.host().held).then_some(())).await;
    world.client.post("/api/v1/holds", json!({ "reason": "audit week" })).await;
    world.until("the hold", async || world.host().held.then_some(())).await;
    world.host().held = false;
    world.until("the hold again", async || world.host().held.then_some(())).await;
    let holds = world.host().taken.iter().filter(|verb| **verb == "hold").count();
    // One for each difference, and one more when the poll was faster than the order that came with the hold.
    assert!((2..=3).contains(&holds), "{holds}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_on_an_environment_stops_its_executors_and_no_others() {
    let world = World::new(Host::new("host", &[("stapler", "7.88-1", "7.88-2")])).await;
    world.items(1).await;
    let assets = world.client.get("/api/v1/assets").await;
    let id = assets[0]["id"].as_str().unwrap();
    world.client.post(&format!("/api/v1/assets/{id}/labels"), json!({ "environment": "prod" })).await;
    let hold = async |environment: &str| {
        let wanted = json!({ "reason": "audit week", "scope": format!("environment/{environment}") });
        world.client.post("/api/v1/holds", wanted).await
    };
    hold("staging").await;
    world.planned(&["stapler"]).await;
    assert!(!world.host().taken.contains(&"hold"), "the hold of another environment is none of its business");
    let prod = hold("prod").await;
    world.until("the executor's hold", async || world.host().held.then_some(())).await;
    let id = prod["id"].as_str().unwrap().replace('/', "%2F");
    world.client.post(&format!("/api/v1/holds/{id}/release"), json!({})).await;
    world.until("the release", async || (!world.host().held).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_everything_is_stopped_an_undo_that_waits_for_its_executor_is_kept_back() {
    let mut world = World::new(Host::new("host", &[("stapler", "7.88-1", "7.88-2")])).await;
    world.items(1).await;
    let done = world.fixed(&["stapler"]).await;
    world.unplug().await;
    world.client.post(&format!("/api/v1/remediations/{done}/undo"), json!({ "all": true })).await;
    world.state(&done, "rolling_back").await;
    let wanted = json!({ "reason": "audit week", "scope": "action/package", "stop_all": true });
    let hold = world.client.post("/api/v1/holds", wanted).await;
    world.plug();
    // It has polled and was handed what it may have: new facts that somebody asked for.
    let seen = world.host().taken.iter().filter(|verb| **verb == "observe").count();
    let observed = async || {
        world.client.post("/api/v1/scan", json!({ "refresh": false })).await;
        (world.host().taken.iter().filter(|verb| **verb == "observe").count() > seen).then_some(())
    };
    world.until("new facts", observed).await;
    assert!(!world.host().taken.contains(&"undo"), "what is stopped altogether is not taken back either");
    assert_eq!(world.host().version("stapler"), "7.88-2");
    // What is new stays held: that keeps back no undo, whatever kept it back before.
    world.client.post("/api/v1/holds", json!({ "reason": "audit month" })).await;
    let id = hold["id"].as_str().unwrap().replace('/', "%2F");
    world.client.post(&format!("/api/v1/holds/{id}/release"), json!({})).await;
    world.state(&done, "rolled_back").await;
    assert!(world.client.get("/api/v1/holds").await.to_string().contains("audit month"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_loosened_by_its_release_alone() {
    let world = World::new(Host::new("host", &[("stapler", "7.88-1", "7.88-2")])).await;
    let set = |reason: &str, stop_all: bool| json!({ "reason": reason, "stop_all": stop_all });
    world.client.post("/api/v1/holds", set("audit week", false)).await;
    let again = world.client.post("/api/v1/holds", set("me too", false)).await;
    assert_eq!(again["reason"], "audit week", "it is in force already");
    let tighter = world.client.post("/api/v1/holds", set("worse than thought", true)).await;
    assert_eq!(tighter["reason"], "worse than thought");
    let (status, why) = world.client.refused("/api/v1/holds", set("not so bad", false)).await;
    assert_eq!((status, why.as_str()), (409, "held"));
    let holds = world.client.get("/api/v1/holds").await;
    assert_eq!((holds.as_array().unwrap().len(), &holds[0]["reason"]), (1, &json!("worse than thought")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_long_hold_kept_back_is_done_after_it_and_not_refused_for_its_age() {
    let mut world = World::new(Host::new("host", &[("stapler", "7.88-1", "7.88-2")])).await;
    world.items(1).await;
    let (id, plan) = world.planned(&["stapler"]).await;
    world.unplug().await;
    world.approve(&id, &plan).await;
    world
        .until("the order", async || {
            let one = world.client.get(&format!("/api/v1/remediations/{id}")).await;
            (one["tasks"][0]["state"] == "dispatched").then_some(())
        })
        .await;
    let hold = world.client.post("/api/v1/holds", json!({ "reason": "audit week" })).await;
    world.plug();
    world.until("the executor's hold", async || world.host().held.then_some(())).await;
    world.clock.forward(3 * 3600);
    let hold = hold["id"].as_str().unwrap();
    world.client.post(&format!("/api/v1/holds/{hold}/release"), json!({})).await;
    world
        .until("the end", async || {
            // Between two attempts there are pauses.
            world.clock.forward(31);
            let one = world.client.get(&format!("/api/v1/remediations/{id}")).await;
            (one["remediation"]["state"] == "closed").then_some(())
        })
        .await;
    assert_eq!(world.host().version("stapler"), "7.88-2");
}
