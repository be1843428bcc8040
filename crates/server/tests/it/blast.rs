//! Whoever has to agree to a plan sees what it cuts off, as it is just before.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::double::Host;
use crate::policies::{policy, signed};

const GROUP: &str =
    "---\napiVersion: stanch/v1\nkind: Group\nname: web\nmin_healthy: 1\nmatch: {labels: {role: web}}\n";

fn host(name: &str) -> Host {
    let mut host = Host::new(name, &[("paperclip", "3.0.15-1", "3.0.17-1")]);
    host.listens = Some(BTreeMap::from([(443, ("paperclip", 3)), (22, ("ssh", 1))]));
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn the_approval_shows_what_is_cut_off_and_who_hangs_on_it() {
    let (world, _folder) = signed(host("web-1"), &(policy("alert", "") + GROUP)).await;
    let client = &world.client;
    world.items(1).await;
    let other = world.join(2, host("web-2")).await;
    let shop = world.join(3, Host::new("shop", &[])).await;
    world.items(2).await;
    let id_of = |double: &crate::double::Double| double.host.lock().unwrap().asset().id;
    let own = world.host().asset().id;
    client.post(&format!("/api/v1/assets/{}/links", id_of(&shop)), json!({ "to": own, "kind": "depends_on" })).await;
    for web in [&own, &id_of(&other)] {
        client.post(&format!("/api/v1/assets/{web}/labels"), json!({ "labels": { "role": "web" } })).await;
    }
    other.host.lock().unwrap().ill = true;
    client.post("/api/v1/scan", json!({})).await;
    world
        .until("the ill one", async || {
            let asset = client.get(&format!("/api/v1/assets/{}/facts", id_of(&other))).await;
            (asset["health"][0]["well"] == false).then_some(())
        })
        .await;

    let items = world.items(2).await;
    let mine = items.iter().find(|item| item["asset"] == own.as_str()).unwrap();
    let (id, _) = world.planned(&[mine["id"].as_str().unwrap()]).await;
    let detail = client.get(&format!("/api/v1/remediations/{id}")).await;
    let radius = &detail["blast_radius"][0];
    assert_eq!(detail["blast_radius"].as_array().unwrap().len(), 1);
    assert_eq!(radius["dependents"], json!(["shop"]));
    assert_eq!(radius["groups"], json!([{ "name": "web", "members": 2, "at_work": 1, "min_healthy": 1 }]));
    let port = |connections: u32| json!([{ "protocol": "tcp", "port": 443, "program": "paperclip", "local": false, "connections": connections }]);
    assert_eq!((&radius["cut"], &radius["untouched_ports"]), (&port(3), &json!(1)));
    assert_eq!((&radius["sessions"], &radius["unknown"]), (&json!(2), &json!([])));

    // It is measured again just before somebody agrees.
    world.host().listens = Some(BTreeMap::from([(443, ("paperclip", 120)), (22, ("ssh", 1))]));
    client.post(&format!("/api/v1/remediations/{id}/measure"), json!({})).await;
    let measured = world
        .until("newer counts", async || {
            let detail = client.get(&format!("/api/v1/remediations/{id}")).await;
            (detail["blast_radius"][0]["cut"] == port(120)).then(|| detail["blast_radius"][0].clone())
        })
        .await;
    assert!(measured["measured_at"].as_str() > radius["measured_at"].as_str());
    let page = client.page(&format!("/remediations/{id}")).await;
    for text in [
        "What it cuts off",
        "cut off: tcp 443 paperclip (120 connections)",
        "1 listening port stays",
        "2 people are at work on it",
        "do not work without it: shop",
        "group web: 1 of 2 at work, and 1 have to be",
        "Measure it now",
    ] {
        assert!(page.contains(text), "{text} in {page}");
    }

    client.post(&format!("/api/v1/remediations/{id}/dismiss"), json!({})).await;
    let over = world.state(&id, "rejected").await;
    assert_eq!(over["blast_radius"], json!([]), "it is told while somebody may still say no");
    let refused = client.refused(&format!("/api/v1/remediations/{id}/measure"), json!({})).await;
    assert_eq!(refused, (409, "wrong_state".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_measured_is_said_to_be_unknown() {
    let mut quiet = host("web-1");
    quiet.listens = None;
    let (mut world, _folder) = signed(quiet, &policy("alert", "")).await;
    world.items(1).await;
    let (id, _) = world.planned(&["paperclip"]).await;
    let detail = world.client.get(&format!("/api/v1/remediations/{id}")).await;
    let unknown: Vec<Value> = detail["blast_radius"][0]["unknown"].as_array().unwrap().clone();
    assert!(unknown.contains(&json!("listening sockets: needs root")), "{unknown:?}");
    assert!(world.client.page(&format!("/remediations/{id}")).await.contains("not known: sessions:"));
    // An executor that is gone is not measured, and the approval says from when its facts are.
    world.unplug().await;
    world.clock.forward(3_600);
    let refused = world.client.refused(&format!("/api/v1/remediations/{id}/measure"), json!({})).await;
    assert_eq!(refused, (409, "away".to_owned()));
}
