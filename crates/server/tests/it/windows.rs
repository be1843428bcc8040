//! Windows: nothing starts outside of them, and a host that misses one is seen, told of, and brought up to date as its
//! policy says.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::double::Host;
use crate::policies::{a_while, in_state, policy, signed};
use crate::world::{Client, World};

fn host() -> Host {
    Host::new("host", &[("paperclip", "3.0.15-1", "3.0.17-1")])
}

/// A policy whose window has these entries, and more lines of it.
fn within(entries: &str, more: &str) -> String {
    let text = policy("auto", &format!("windows: [{{calendar: night}}]\n{more}"));
    format!("{text}---\napiVersion: stanch/v1\nkind: Calendar\nname: night\ntz: UTC\nentries: [{entries}]\n")
}

/// The hour after the next: soon enough that what is planned now still counts then.
fn opening() -> Timestamp {
    let hour = Timestamp::now().as_second() / 3_600;
    Timestamp::from_second((hour + 2) * 3_600).unwrap()
}

fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

/// Open for an hour from then on.
fn for_an_hour(opens: Timestamp) -> String {
    let shuts = opens + minutes(60);
    let (day, from, to) = (opens.strftime("%Y-%m-%d"), opens.strftime("%H:%M"), shuts.strftime("%H:%M"));
    format!("{{dates: [{day}], from: \"{from}\", to: \"{to}\"}}")
}

/// Puts the clock forward to a time. Sessions end meanwhile.
async fn forward_to(world: &mut World, to: Timestamp) {
    world.clock.forward(to.duration_since(stanch_server::Clock::now(&*world.clock)).as_secs());
    world.client = Client::sign_in(world.running.as_ref().unwrap()).await;
    a_while(world).await;
}

/// Waits until something is due at a time, and unplugs the host until it is known to be away.
async fn due_and_away(world: &mut World, at: Timestamp) -> String {
    // What is on its way when the clock jumps would come too late.
    in_state(world, "scheduled").await;
    forward_to(world, at).await;
    let due = in_state(world, "scheduled").await;
    world.unplug().await;
    for _ in 0..4 {
        world.clock.forward(31);
        a_while(world).await;
    }
    let id = due["id"].as_str().unwrap().to_owned();
    world.state(&id, "scheduled").await;
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_starts_outside_its_window_and_people_see_when_it_will() {
    let day = (Timestamp::now() + SignedDuration::from_hours(200 * 24)).strftime("%Y-%m-%d");
    let (world, _folder) = signed(host(), &within(&format!("{{dates: [{day}]}}"), "")).await;
    let waits = in_state(&world, "scheduled").await;
    a_while(&world).await;
    let one = world.state(waits["id"].as_str().unwrap(), "scheduled").await;
    let on = one["remediation"]["waiting_on"].as_str().unwrap();
    assert!(on.contains("night"), "{on}");
    assert_eq!(world.host().version("paperclip"), "3.0.15-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_missed_its_window_is_told_of_and_caught_up_with_when_it_is_back() {
    let opens = opening();
    let more = "catch_up: {then: run_when_back, within: 8h, tell_after: 1}";
    let (mut world, _folder) = signed(host(), &within(&for_an_hour(opens), more)).await;
    let id = due_and_away(&mut world, opens - minutes(30)).await;
    forward_to(&mut world, opens + minutes(30)).await;
    assert_eq!(world.client.get("/api/v1/assets").await[0]["missed_windows"], json!([]), "it may still come back");
    forward_to(&mut world, opens + minutes(65)).await;
    let missed = world
        .until("the missed window", async || {
            let assets = world.client.get("/api/v1/assets").await;
            assets[0]["missed_windows"].as_array().filter(|missed| !missed.is_empty()).cloned()
        })
        .await;
    assert_eq!(missed.len(), 1, "{missed:?}");
    let (opened, shut) = (opens.to_string(), (opens + minutes(60)).to_string());
    assert_eq!((&missed[0]["opened_at"], &missed[0]["shut_at"]), (&json!(opened), &json!(shut)), "{missed:?}");
    let told = world.client.get(&format!("/api/v1/ledger?subject={id}")).await.to_string();
    assert!(told.contains("window_missed_often"), "{told}");
    assert_eq!(world.host().version("paperclip"), "3.0.15-1", "nobody could touch it");

    world.plug();
    world.state(&id, "closed").await;
    assert_eq!(world.host().version("paperclip"), "3.0.17-1", "outside of the window, as the policy lets it");
    world
        .until("that nothing is missed any more", async || {
            let assets = world.client.get("/api/v1/assets").await;
            (assets[0]["missed_windows"] == json!([])).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_comes_back_too_late_waits_for_the_next_window() {
    let opens = opening();
    let next = opens + minutes(24 * 60);
    let entries = format!("{}, {}", for_an_hour(opens), for_an_hour(next));
    let more = "catch_up: {then: run_when_back, within: 2h}";
    let (mut world, _folder) = signed(host(), &within(&entries, more)).await;
    let id = due_and_away(&mut world, opens - minutes(30)).await;
    forward_to(&mut world, opens + minutes(30)).await;
    forward_to(&mut world, opens + minutes(65)).await;
    forward_to(&mut world, opens + minutes(190)).await;
    world.plug();
    world
        .until("that it is back", async || {
            let one = world.client.get(&format!("/api/v1/remediations/{id}")).await;
            (one["tasks"][0]["state"] == "pending").then_some(())
        })
        .await;
    a_while(&world).await;
    assert_eq!(world.host().version("paperclip"), "3.0.15-1", "the two hours are over");
    forward_to(&mut world, next + minutes(10)).await;
    in_state(&world, "closed").await;
    assert_eq!(world.host().version("paperclip"), "3.0.17-1");
}
