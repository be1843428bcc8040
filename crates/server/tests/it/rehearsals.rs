//! A plan is carried out in a copy of its target before anybody agrees to it.

use serde_json::json;

use crate::double::{Host, Mood};
use crate::world::World;

fn host() -> Host {
    Host::new("host", &[("paperclip", "3.0.15-1", "3.0.17-1")])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_of_a_rehearsal_stands_beside_the_approval_and_nothing_has_changed() {
    let world = World::new(host()).await;
    world.items(1).await;
    let (id, plan) = world.planned(&["paperclip"]).await;
    let path = format!("/api/v1/remediations/{id}/rehearse");
    world.host().gate = Some("rehearse");
    world.client.post(&path, json!({})).await;
    world.at_gate("rehearse").await;
    let running = world.client.get(&format!("/api/v1/remediations/{id}")).await;
    assert_eq!(running["rehearsals"][0]["state"], "running");
    assert_eq!(world.client.refused(&path, json!({"asset": "host"})).await, (409, "busy".to_owned()));
    world.host().gate = None;

    let rehearsed = async |state: &str| {
        let look = async || {
            let detail = world.client.get(&format!("/api/v1/remediations/{id}")).await;
            let told = detail["timeline"]
                .as_array()
                .unwrap()
                .iter()
                .any(|event| event["kind"] == format!("rehearsal_{state}"));
            (told && detail["rehearsals"][0]["state"] == state).then_some(detail)
        };
        world.until(state, look).await
    };
    let detail = rehearsed("successful").await;
    let one = &detail["rehearsals"][0];
    assert_eq!((&one["asset_name"], &one["outdated"]), (&json!("host"), &json!(false)));
    assert_eq!(one["applied"][0]["changes"][0]["after"], "3.0.17-1");
    assert_eq!((&one["applied"][0]["outcome"], &one["undone"][0]["outcome"]), (&json!("done"), &json!("done")));
    assert_eq!(one["left_out"], json!(["service.restart: nothing runs in a copy"]));
    assert_eq!(detail["remediation"]["state"], "awaiting_approval");
    assert_eq!(world.host().version("paperclip"), "3.0.15-1");
    let page = world.client.page(&format!("/remediations/{id}")).await;
    assert!(page.contains("In a copy of host") && page.contains("Rehearse it first"), "{page}");

    world.host().mood = Mood::Fails;
    world.client.post(&path, json!({"asset": "host"})).await;
    let detail = rehearsed("failed").await;
    assert_eq!(detail["rehearsals"][0]["applied"][0]["message"], "the postinst of tool failed");
    assert_eq!(detail["rehearsals"].as_array().unwrap().len(), 2, "the earlier one is still there");
    world.host().mood = Mood::Obedient;
    let kinds = |detail: &serde_json::Value| -> Vec<String> {
        let kinds = detail["timeline"].as_array().unwrap().iter();
        kinds
            .map(|event| event["kind"].as_str().unwrap().to_owned())
            .filter(|kind| kind.starts_with("rehears"))
            .collect()
    };
    assert_eq!(
        kinds(&detail),
        ["rehearsal_asked", "rehearsal_successful", "rehearsal_asked", "rehearsal_failed"],
        "the ledger has what was asked and what came of it"
    );

    world.approve(&id, &plan).await;
    world.state(&id, "closed").await;
    assert_eq!(world.host().version("paperclip"), "3.0.17-1", "an approval binds the same plan as before");
    assert_eq!(world.client.refused(&path, json!({})).await, (409, "wrong_state".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_may_not_rehearse_says_so_and_a_strange_target_is_refused() {
    let world = World::new(host()).await;
    world.items(1).await;
    let (id, _) = world.planned(&["paperclip"]).await;
    let path = format!("/api/v1/remediations/{id}/rehearse");
    let (status, _) = world.client.refused(&path, json!({"asset": "elsewhere"})).await;
    assert_eq!(status, 404);
    world.host().refuses = Some("the executor's rules forbid rehearsals".to_owned());
    world.client.post(&path, json!({})).await;
    let look = async || {
        let detail = world.client.get(&format!("/api/v1/remediations/{id}")).await;
        (detail["rehearsals"][0]["state"] == "refused").then(|| detail["rehearsals"][0].clone())
    };
    let one = world.until("refused", look).await;
    assert_eq!(
        (&one["message"], &one["hint"]),
        (&json!("the executor's rules forbid rehearsals"), &json!("ask its administrator"))
    );
}
