//! Settings through the loop: found, asked for by name, shown exactly, set, proven by the same check and taken back.

use std::collections::BTreeMap;

use serde_json::json;
use stanch_model::facts::{Known, Posture};

use crate::double::Host;
use crate::world::World;

/// A host with one package to upgrade and these parameters of its kernel.
fn weak(sysctls: &[(&str, &str)]) -> Host {
    let mut host = Host::new("host", &[("paperclip", "3.0.15-1", "3.0.17-1")]);
    let known = |(name, value): &(&str, &str)| ((*name).to_owned(), Known::Known((*value).to_owned()));
    host.posture = Some(Posture { sysctls: sysctls.iter().map(known).collect(), ..Posture::default() });
    host
}

const SOURCE_ROUTE: &str = "net.ipv4.conf.all.accept_source_route";

fn sysctls(world: &World) -> BTreeMap<String, Known<String>> {
    world.host().posture.clone().unwrap().sysctls
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_is_set_proven_by_its_own_check_and_taken_back() {
    let world = World::new(weak(&[(SOURCE_ROUTE, "1"), ("kernel.kptr_restrict", "2")])).await;
    let items = world.items(2).await;
    let item = items.iter().find(|item| item["name"] == "sysctl-source-route").unwrap();
    assert_eq!((&item["kind"], &item["verdict"]), (&json!("setting"), &json!("affected_fixable")));
    assert!(
        item["reason"].as_str().unwrap().starts_with("Source-routed packets are accepted: a setting, medium"),
        "{item}"
    );
    let found = world.client.get("/api/v1/findings?detector=posture").await;
    assert_eq!(found["findings"][0]["advisory"], "stanch/posture/sysctl-source-route");

    let (id, plan) = world.planned(&["sysctl-source-route"]).await;
    let page = world.client.page(&format!("/remediations/{id}")).await;
    assert!(page.contains(&format!("sysctl.{SOURCE_ROUTE}")), "the approval shows the exact difference");
    assert_eq!(sysctls(&world)[SOURCE_ROUTE], Known::Known("1".to_owned()));
    world.approve(&id, &plan).await;
    let done = world.state(&id, "closed").await;
    let checks = done["tasks"][0]["checks"].as_array().unwrap();
    assert!(checks.iter().any(|check| check["name"] == "detector" && check["outcome"] == "successful"), "{checks:?}");
    assert_eq!(sysctls(&world)[SOURCE_ROUTE], Known::Known("0".to_owned()));
    world.items(1).await;
    let closed = world.client.get("/api/v1/findings?closed=true&detector=posture").await;
    assert_eq!(closed["findings"][0]["closed"]["how"], "fixed");

    world.client.post(&format!("/api/v1/remediations/{id}/undo"), json!({ "all": true })).await;
    world.state(&id, "rolled_back").await;
    assert_eq!(sysctls(&world)[SOURCE_ROUTE], Known::Known("1".to_owned()));
    let items = world.items(2).await;
    let item = items.iter().find(|item| item["name"] == "sysctl-source-route").unwrap();
    assert!(!item["suppressed"].is_null(), "it is not set again until a person asks: {item}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_everything_means_what_is_broken_and_no_setting() {
    let world = World::new(weak(&[(SOURCE_ROUTE, "1")])).await;
    world.items(2).await;
    let all = world.client.post("/api/v1/remediations", json!({ "all": true })).await;
    assert_eq!(all["remediation"]["names"], json!(["paperclip"]), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_has_to_decide_is_answered_with_the_reason() {
    let world = World::new(weak(&[("net.ipv4.ip_forward", "1")])).await;
    world.items(2).await;
    let answer = world.client.post("/api/v1/remediations", json!({ "items": ["sysctl-forward"] })).await;
    assert!(answer["remediation"].is_null(), "{answer}");
    assert!(answer["left_out"][0]["reason"].as_str().unwrap().contains("routers"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_cannot_be_read_any_more_stays_as_it_was() {
    let world = World::new(weak(&[(SOURCE_ROUTE, "1"), ("kernel.kptr_restrict", "0")])).await;
    world.items(3).await;
    {
        let mut host = world.host();
        let posture = host.posture.as_mut().unwrap();
        posture.sysctls.insert(SOURCE_ROUTE.to_owned(), Known::Unknown("needs root".to_owned()));
        posture.sysctls.insert("kernel.kptr_restrict".to_owned(), Known::Known("1".to_owned()));
    }
    world.client.post("/api/v1/scan", json!({})).await;
    let items = world.items(2).await;
    assert!(items.iter().any(|item| item["name"] == "sysctl-source-route"), "{items:?}");
    let asset = world.client.get("/api/v1/assets").await[0]["id"].as_str().unwrap().to_owned();
    let facts = world.client.get(&format!("/api/v1/assets/{asset}/facts")).await;
    assert!(facts["unknown"].to_string().contains("settings of sysctl"), "{}", facts["unknown"]);
}
