//! Crashes and silence: whatever is killed wherever, a remediation ends right and nothing runs twice.

use serde_json::{Value, json};
use stanch_model::own::{AGENT, Restored, SERVER};

use crate::double::{Double, Host, Mood};
use crate::policies::{a_while, events};
use crate::world::World;

fn one() -> Host {
    Host::new("host", &[("paperclip", "3.0.15-1", "3.0.17-1")])
}

fn count(world: &World, verb: &str) -> usize {
    world.host().taken.iter().filter(|taken| **taken == verb).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_while_an_executor_works_goes_on_from_its_rows() {
    for gate in ["plan", "apply", "verify", "observe", "undo"] {
        let mut world = World::new(one()).await;
        world.items(1).await;
        if gate == "plan" {
            world.host().gate = Some(gate);
        }
        let created = world.client.post("/api/v1/remediations", json!({ "items": ["paperclip"] })).await;
        let id = created["remediation"]["id"].as_str().unwrap().to_owned();
        if gate == "plan" {
            world.at_gate(gate).await;
            world.kill().await;
            world.start().await;
            world.host().gate = None;
        }
        let plan = world.state(&id, "awaiting_approval").await["remediation"]["plan"].as_str().unwrap().to_owned();
        // Killed while it waits for a person, too.
        world.kill().await;
        world.start().await;
        if !matches!(gate, "plan" | "undo") {
            world.host().gate = Some(gate);
        }
        world.approve(&id, &plan).await;
        if matches!(gate, "apply" | "verify" | "observe") {
            world.at_gate(gate).await;
            world.kill().await;
            world.start().await;
            world.host().gate = None;
        }
        world.state(&id, "closed").await;
        assert_eq!(count(&world, "apply"), 1, "killed at {gate}");
        if gate == "undo" {
            world.host().gate = Some(gate);
            world.client.post(&format!("/api/v1/remediations/{id}/undo"), json!({ "all": true })).await;
            world.at_gate(gate).await;
            world.kill().await;
            world.start().await;
            world.host().gate = None;
            world.state(&id, "rolled_back").await;
            assert_eq!(count(&world, "undo"), 1);
        }
        let verified = world.client.get("/api/v1/ledger/verify").await;
        assert_eq!(verified["problem"], json!(null), "killed at {gate}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_executor_is_asked_for_its_journal_and_only_what_never_began_is_sent_again() {
    let world = World::new(one()).await;
    world.items(1).await;
    let (id, plan) = world.planned(&["paperclip"]).await;
    world.host().mood = Mood::Deaf;
    world.approve(&id, &plan).await;
    world.until("the order", async || (count(&world, "apply") == 1).then_some(())).await;
    assert_eq!(count(&world, "reconcile"), 0, "silence is borne for a while");
    for _ in 0..3 {
        world.clock.forward(31);
        a_while(&world).await;
    }
    world.until("the question", async || (count(&world, "reconcile") == 1).then_some(())).await;
    assert_eq!(count(&world, "apply"), 1, "nothing is sent again before the journal has spoken");
    world.host().mood = Mood::Obedient;
    let path = format!("/api/v1/remediations/{id}");
    world
        .until("the journal's answer", async || {
            (world.client.get(&path).await["tasks"][0]["state"] == "not_started").then_some(())
        })
        .await;
    assert_eq!(count(&world, "apply"), 1, "it is sent again after a pause, not at once");
    world.clock.forward(40);
    world.state(&id, "closed").await;
    assert_eq!(count(&world, "apply"), 2);
    assert_eq!(world.host().version("paperclip"), "3.0.17-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_down_does_not_count_its_own_absence_as_silence_of_others() {
    let mut world = World::new(one()).await;
    world.items(1).await;
    let (id, plan) = world.planned(&["paperclip"]).await;
    world.host().gate = Some("apply");
    world.approve(&id, &plan).await;
    world.at_gate("apply").await;
    world.kill().await;
    world.clock.forward(600);
    world.start_unheard().await;
    a_while(&world).await;
    let silent = async || events(&world, &id).await.contains(&"executor_silent".to_owned());
    assert!(!silent().await, "it could not call");
    for _ in 0..5 {
        world.clock.forward(30);
        a_while(&world).await;
    }
    assert!(silent().await, "and now it could have");
    world.host().gate = None;
    world.plug();
    world.state(&id, "closed").await;
    assert_eq!(count(&world, "apply"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_newer_issuer_was_seen_nothing_is_handed_out_and_people_see_why() {
    let world = World::new(one()).await;
    world.items(1).await;
    let mut ahead = Host::new("ahead", &[]);
    ahead.issuer = 1 << 40;
    let ahead = world.join(2, ahead).await;
    world
        .until("what waits", async || {
            let status = world.client.get("/api/v1/status").await;
            let waiting = status["waiting"].as_array().unwrap();
            let told = waiting.iter().find(|one| one["what"] == "orders to ahead")?;
            told["on"].as_str()?.contains("newer issuer").then_some(())
        })
        .await;
    assert!(ahead.host.lock().unwrap().taken.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_went_back_in_time_gets_nothing_until_a_person_vouches_for_it() {
    let mut world = World::new(one()).await;
    world.items(1).await;
    world.stop().await;
    world.host().rewind();
    world.start().await;
    let frozen = world
        .until("the freeze", async || {
            let all = world.client.get("/api/v1/executors").await;
            all[0]["frozen"].as_str().map(|why| (why.to_owned(), all[0]["id"].as_str().unwrap().to_owned()))
        })
        .await;
    assert!(frozen.0.contains("went back in time"), "{}", frozen.0);
    world.client.post(&format!("/api/v1/executors/{}/trust", frozen.1), json!({})).await;
    assert_eq!(world.client.get("/api/v1/executors").await[0]["frozen"], json!(null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_in_good_order_leaves_a_ledger_that_verifies_elsewhere() {
    let mut world = World::new(one()).await;
    world.items(1).await;
    let id = world.fixed(&["paperclip"]).await;
    world.stop().await;
    world.start().await;
    assert_eq!(world.client.get(&format!("/api/v1/remediations/{id}")).await["remediation"]["state"], "closed");
    let kept = std::fs::read_to_string(world.folder.path().join("checkpoints")).unwrap();
    let outside = stanch_ledger::file::read_notes(&kept).unwrap().checkpoints;
    assert!(!outside.is_empty());
    let export = world
        .until("an export that is sealed to its end", async || {
            let (_, text) = world.client.send(reqwest::Method::GET, "/api/v1/ledger/export", None).await;
            let trust = stanch_ledger::Trust { checkpoints: outside.clone(), ..Default::default() };
            stanch_ledger::verify(std::io::Cursor::new(text), &trust).ok()
        })
        .await;
    assert!(export.entries > 10 && export.outside > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_runs_with_an_executor_it_does_not_trust_and_a_person_heals_it() {
    for (why, change) in [
        ("another key", (|double: &Double| double.lose_folder()) as fn(&Double)),
        ("never gave", |double: &Double| double.host.lock().unwrap().jump()),
    ] {
        let mut world = World::new(one()).await;
        world.items(1).await;
        world.stop().await;
        change(&world.double);
        world.start().await;
        let id = world
            .until("the freeze", async || {
                let all = world.client.get("/api/v1/executors").await;
                let frozen = all[0]["frozen"].as_str().is_some_and(|said| said.contains(why));
                frozen.then(|| all[0]["id"].as_str().unwrap().to_owned())
            })
            .await;
        // Frozen it stays, also over a restart.
        world.stop().await;
        world.start().await;
        assert!(!world.client.get("/api/v1/executors").await[0]["frozen"].is_null(), "{why}");
        world.client.post(&format!("/api/v1/executors/{id}/trust"), json!({})).await;
        world.stop().await;
        world.start().await;
        world.fixed(&["paperclip"]).await;
        assert_eq!(world.client.get("/api/v1/executors").await[0]["frozen"], json!(null), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_executor_was_doing_when_it_lost_its_folder_is_not_done_a_second_time() {
    let mut world = World::new(one()).await;
    world.items(1).await;
    let (id, plan) = world.planned(&["paperclip"]).await;
    world.host().gate = Some("apply");
    world.approve(&id, &plan).await;
    world.at_gate("apply").await;
    world.unplug().await;
    world.double.lose_folder();
    world.host().gate = None;
    let executor = world.client.get("/api/v1/executors").await[0]["id"].as_str().unwrap().to_owned();
    world.client.post(&format!("/api/v1/executors/{executor}/trust"), json!({})).await;
    world.plug();
    world.state(&id, "needs_operator").await;
    let taken = world.host().taken.clone();
    assert_eq!(taken.iter().filter(|verb| **verb == "apply").count(), 1, "{taken:?}");
    assert!(taken.contains(&"reconcile"), "its journal was asked: {taken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_brought_back_and_what_it_could_not_are_on_record_under_names_of_their_own() {
    let mut world = World::new(one()).await;
    world.items(1).await;
    world.unplug().await;
    let gateway = world.running.as_ref().unwrap().gateway();
    let said = |package: &str, not_restored: Option<&str>| Restored {
        package: package.to_owned(),
        version: "2".to_owned(),
        back_to: "1".to_owned(),
        at: jiff::Timestamp::UNIX_EPOCH,
        not_restored: not_restored.map(str::to_owned),
    };
    for _ in 0..2 {
        let mut hello = world.double.hello();
        let failed = said(SERVER, Some("after 8 attempts: dpkg failed"));
        hello.restored = vec![said(AGENT, None), failed, said("bash", None), said(AGENT, Some("two\nlines"))];
        gateway.poll(hello).await.unwrap();
    }
    let ledger = world.client.get("/api/v1/ledger?limit=500").await;
    let told = |entry: &Value| {
        let kind = entry["kind"].as_str().unwrap().to_owned();
        kind.ends_with("restored").then(|| (kind, entry["body"]["payload"]["package"].as_str().unwrap().to_owned()))
    };
    let mut told: Vec<(String, String)> = ledger["entries"].as_array().unwrap().iter().filter_map(told).collect();
    told.sort();
    let expected = [("package_not_restored", SERVER), ("package_restored", AGENT)];
    assert_eq!(told, expected.map(|(kind, package)| (kind.to_owned(), package.to_owned())));
}
