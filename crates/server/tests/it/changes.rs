//! Change requests: another system is told, agrees, refuses, closes and opens, with signed messages both ways.

use jiff::Timestamp;
use reqwest::StatusCode;
use serde_json::{Value, json};
use stanch_connect::webhook::{Secret, sign};

use crate::double::Host;
use crate::notices::Receiver;
use crate::policies::{a_while, in_state, policy, signed};
use crate::world::World;

fn host() -> Host {
    Host::new("host", &[("paperclip", "3.0.15-1", "3.0.17-1")])
}

/// A system of tickets, as far as Stanch sees one: it hears of changes, and says of them what it is told to say.
struct Desk {
    receiver: Receiver,
    secret: String,
}

impl Desk {
    async fn set_up(world: &World, name: &str, opens: bool) -> Self {
        let receiver = Receiver::open(200).await;
        let target = json!({ "url": receiver.url, "allow": ["127.0.0.0/8"] });
        let settings = json!({ "target": target, "events": ["hold_set"], "opens": opens });
        let wanted = json!({ "name": name, "kind": "webhook", "settings": settings });
        let saved = world.client.post("/api/v1/connections", wanted).await;
        Self { receiver, secret: saved["secret"].as_str().unwrap().to_owned() }
    }

    /// What it heard of this kind.
    async fn heard(&self, world: &World, kind: &str) -> Value {
        world
            .until(kind, async || {
                let heard = self.receiver.heard();
                let told = heard.into_iter().find(|(_, body)| body["type"] == format!("stanch.{kind}"));
                told.map(|(_, body)| body["data"].clone())
            })
            .await
    }

    /// Says something, signed.
    async fn says(&self, world: &World, name: &str, what: Value) -> (StatusCode, Value) {
        let body = what.to_string();
        let signature = sign(&Secret::new(self.secret.clone()), Timestamp::now(), body.as_bytes());
        Self::sends(world, name, &signature, body).await
    }

    async fn sends(world: &World, name: &str, signature: &str, body: String) -> (StatusCode, Value) {
        let url = format!("{}/api/v1/hooks/{name}", world.client.base);
        let request = world.client.http.post(url).header("content-type", "application/json");
        let answer = request.header("stanch-signature", signature).body(body).send().await.unwrap();
        (answer.status(), serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_normal_change_starts_when_the_other_system_agrees_to_exactly_its_plan() {
    let (world, folder) = signed(host(), &policy("alert", "")).await;
    let desk = Desk::set_up(&world, "desk", false).await;
    let other = Desk::set_up(&world, "other", false).await;
    crate::policies::write(folder.path(), &policy("auto", "change: {class: normal, connection: desk}"));
    crate::policies::sign(folder.path());
    let told = desk.heard(&world, "change_opened").await;
    let (change, plan) = (told["change"]["id"].clone(), told["change"]["plan"].clone());
    assert_eq!((told["change"]["class"].as_str(), told["assets"].as_array().unwrap().len()), (Some("normal"), 1));
    assert!(told["summary"].as_str().unwrap().contains("paperclip"), "{told}");
    let id = told["remediation"].as_str().unwrap().to_owned();
    a_while(&world).await;
    let waits = world.state(&id, "scheduled").await;
    assert_eq!(waits["remediation"]["waiting_on"], "its change request waits at desk");
    assert_eq!(world.host().version("paperclip"), "3.0.15-1");

    // Nobody else can agree, and not to anything else.
    let yes = json!({ "do": "approve", "change": change, "plan": plan, "by": "alice", "reference": "CHG0042" });
    assert_eq!(other.says(&world, "other", yes.clone()).await.0, StatusCode::NOT_FOUND);
    assert_eq!(other.says(&world, "desk", yes.clone()).await.0, StatusCode::UNAUTHORIZED);
    let old = sign(&Secret::new(desk.secret.clone()), Timestamp::now() - jiff::SignedDuration::from_mins(10), b"{}");
    assert_eq!(Desk::sends(&world, "desk", &old, "{}".into()).await.1["code"], "stale");
    assert_eq!(Desk::sends(&world, "nobody", &old, "{}".into()).await.0, StatusCode::UNAUTHORIZED);
    let wrong = json!({ "do": "approve", "change": change, "plan": "0".repeat(64), "by": "alice" });
    assert_eq!(desk.says(&world, "desk", wrong).await.1["code"], "wrong_plan");
    let typo = json!({ "do": "aprove", "change": change });
    assert_eq!(desk.says(&world, "desk", typo).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.host().version("paperclip"), "3.0.15-1");

    assert_eq!(desk.says(&world, "desk", yes.clone()).await.0, StatusCode::OK);
    let done = world.state(&id, "closed").await;
    assert_eq!(world.host().version("paperclip"), "3.0.17-1");
    let told = desk.heard(&world, "change_ended").await;
    assert_eq!((told["change"]["state"].as_str(), told["change"]["outcome"].as_str()), (Some("done"), Some("closed")));
    let known = &world.client.get(&format!("/api/v1/remediations/{id}")).await["changes"][0];
    assert_eq!((known["reference"].as_str(), known["by"].as_str()), (Some("CHG0042"), Some("desk: alice")), "{done}");
    assert!(world.client.page(&format!("/remediations/{id}")).await.contains("Change request at desk: CHG0042"));
    let close = json!({ "do": "close", "change": change, "by": "bob", "reason": "looked at" });
    assert_eq!(desk.says(&world, "desk", close).await.0, StatusCode::OK);
    let list = world.client.get("/api/v1/changes").await;
    assert_eq!((list[0]["state"].as_str(), list[0]["why"].as_str()), (Some("closed"), Some("looked at")));
    assert_eq!(desk.says(&world, "desk", yes).await.1["code"], "wrong_state", "said again, later");
    assert!(other.receiver.heard().is_empty(), "it is nobody else's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_change_does_not_start_and_a_person_may_agree_in_its_place() {
    let (world, folder) = signed(host(), &policy("alert", "")).await;
    let desk = Desk::set_up(&world, "desk", false).await;
    crate::policies::write(folder.path(), &policy("auto", "change: {class: normal, connection: desk}"));
    crate::policies::sign(folder.path());
    let told = desk.heard(&world, "change_opened").await;
    let (change, id) = (told["change"]["id"].as_str().unwrap(), told["remediation"].as_str().unwrap());
    let no = json!({ "do": "reject", "change": change, "by": "alice", "reason": "not in this week" });
    assert_eq!(desk.says(&world, "desk", no).await.0, StatusCode::OK);
    world
        .until("the no", async || {
            let one = world.client.get(&format!("/api/v1/remediations/{id}")).await;
            (one["remediation"]["waiting_on"] == "its change request was refused at desk").then_some(())
        })
        .await;
    a_while(&world).await;
    assert_eq!(world.host().version("paperclip"), "3.0.15-1");
    let path = format!("/api/v1/changes/{change}/approve");
    assert_eq!(world.client.refused(&path, json!({})).await.0, 400, "a plan is agreed to, not a number");
    let yes = json!({ "plan": told["change"]["plan"], "reason": "the desk is down" });
    assert_eq!(world.client.post(&path, yes).await["state"], "approved");
    world.state(id, "closed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standard_change_is_told_and_starts_and_closes_itself() {
    let (world, folder) = signed(host(), &policy("alert", "")).await;
    let desk = Desk::set_up(&world, "desk", false).await;
    crate::policies::write(folder.path(), &policy("auto", "change: {class: standard, connection: desk}"));
    crate::policies::sign(folder.path());
    let told = desk.heard(&world, "change_ended").await;
    assert_eq!(told["change"]["state"], "closed");
    assert_eq!(world.host().version("paperclip"), "3.0.17-1");
    let told = desk.heard(&world, "change_opened").await;
    assert_eq!(told["change"]["class"], "standard");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_other_system_opens_waits_for_both() {
    let (world, _folder) = signed(host(), &policy("alert", "")).await;
    world.items(1).await;
    let desk = Desk::set_up(&world, "desk", true).await;
    let shy = Desk::set_up(&world, "shy", false).await;
    let open = json!({ "do": "open", "items": ["paperclip"], "class": "normal", "reference": "CHG7", "by": "alice" });
    assert_eq!(shy.says(&world, "shy", open.clone()).await.0, StatusCode::FORBIDDEN);
    let (status, said) = desk.says(&world, "desk", open.clone()).await;
    assert_eq!(status, StatusCode::OK, "{said}");
    let id = said["message"].as_str().unwrap().to_owned();
    assert_eq!(desk.says(&world, "desk", open).await.1["message"], id.as_str(), "asked twice, made once");
    let waits = in_state(&world, "awaiting_approval").await;
    assert_eq!((waits["id"].as_str(), waits["asked_by"].as_str()), (Some(id.as_str()), Some("desk: alice")));
    let told = desk.heard(&world, "change_opened").await;
    assert_eq!((told["change"]["reference"].as_str(), &told["change"]["plan"]), (Some("CHG7"), &waits["plan"]));
    let yes = json!({ "do": "approve", "change": told["change"]["id"], "plan": told["change"]["plan"], "by": "alice" });
    assert_eq!(desk.says(&world, "desk", yes).await.0, StatusCode::OK);
    a_while(&world).await;
    assert_eq!(world.host().version("paperclip"), "3.0.15-1", "who asks is not who approves");
    world.approve(&id, waits["plan"].as_str().unwrap()).await;
    world.state(&id, "closed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_changes_nearby_at_the_same_time_are_shown() {
    let (world, _folder) = signed(host(), &policy("alert", "")).await;
    let other = world.join(31, Host::new("database", &[("stapler", "1-1", "2-1")])).await;
    let (here, there) = (world.host().asset().id, other.host.lock().unwrap().asset().id);
    world.items(2).await;
    let (first, _) = world.planned(&["paperclip"]).await;
    let detail = world.client.get(&format!("/api/v1/remediations/{first}")).await;
    assert_eq!(detail["conflicts"], json!([]));
    let (second, _) = world.planned(&["stapler"]).await;
    let detail = world.client.get(&format!("/api/v1/remediations/{first}")).await;
    assert_eq!(detail["conflicts"], json!([]), "they do not hang together");
    let link = json!({ "to": there, "kind": "depends_on" });
    world.client.post(&format!("/api/v1/assets/{here}/links"), link).await;
    let detail = world.client.get(&format!("/api/v1/remediations/{first}")).await;
    let conflict = &detail["conflicts"][0];
    assert_eq!((conflict["with"].as_str(), conflict["other"].as_str()), (Some(second.as_str()), Some("database")));
    assert_eq!(conflict["relation"], "what it depends on or runs on");
    assert!(
        world.client.page(&format!("/remediations/{first}")).await.contains("Other changes may run at the same time")
    );
    // What depends on an asset counts for its urgency.
    let first = async |name: &str| {
        world
            .until(name, async || {
                let items = world.client.get("/api/v1/items").await;
                (items["items"][0]["name"] == name).then_some(())
            })
            .await;
    };
    first("stapler").await;
    let remove = json!({ "to": there, "kind": "depends_on", "remove": true });
    world.client.post(&format!("/api/v1/assets/{here}/links"), remove).await;
    let link = json!({ "to": here, "kind": "runs_on" });
    world.client.post(&format!("/api/v1/assets/{there}/links"), link).await;
    first("paperclip").await;
}
