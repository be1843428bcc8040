//! Notices: made from the ledger, sent until they are taken, the same however often.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::double::Host;
use crate::world::World;

/// A receiver that answers with this status, and keeps what it heard.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    status: Arc<Mutex<u16>>,
    heard: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Receiver {
    pub(crate) async fn open(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let receiver = Self { url, status: Arc::new(Mutex::new(status)), heard: Arc::default() };
        let own = receiver.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let own = own.clone();
                tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    let whole = |bytes: &[u8]| {
                        let text = String::from_utf8_lossy(bytes).into_owned();
                        let (head, body) = text.split_once("\r\n\r\n")?;
                        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
                        (body.len() >= length.parse::<usize>().ok()?).then(|| (head.to_owned(), body.to_owned()))
                    };
                    let (head, body) = loop {
                        if let Some(found) = whole(&bytes) {
                            break found;
                        }
                        let mut part = [0; 4096];
                        match stream.read(&mut part).await {
                            Ok(read @ 1..) => bytes.extend_from_slice(&part[..read]),
                            _ => return,
                        }
                    };
                    own.heard.lock().unwrap().push((head, serde_json::from_str(&body).unwrap()));
                    let status = *own.status.lock().unwrap();
                    let answer = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
                    drop(stream.write_all(answer.as_bytes()).await);
                });
            }
        });
        receiver
    }

    pub(crate) fn heard(&self) -> Vec<(String, Value)> {
        self.heard.lock().unwrap().clone()
    }

    async fn set_up(&self, world: &World, events: &[&str]) -> Value {
        let target = json!({ "url": self.url, "allow": ["127.0.0.0/8"] });
        let settings = json!({ "target": target, "events": events });
        let wanted = json!({ "name": "hook", "kind": "webhook", "settings": settings });
        world.client.post("/api/v1/connections", wanted).await
    }
}

async fn world() -> World {
    World::new(Host::new("host", &[("paperclip", "3.0.15-1", "3.0.17-1")])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_waits_is_told_once_with_a_link_that_does_nothing() {
    let world = world().await;
    world.items(1).await;
    let receiver = Receiver::open(204).await;
    let saved = receiver.set_up(&world, &["approval_needed", "hold_set"]).await;
    assert!(saved["secret"].as_str().unwrap().len() > 40, "one is made, and shown once: {saved}");
    let (id, _) = world.planned(&["paperclip"]).await;
    world.client.post("/api/v1/holds", json!({ "reason": "audit week" })).await;
    world.until("both notices", async || (receiver.heard().len() >= 2).then_some(())).await;
    let heard = receiver.heard();
    let of = |kind: &str| heard.iter().find(|(_, body)| body["type"] == kind).unwrap_or_else(|| panic!("{heard:#?}"));
    let (head, told) = of("stanch.approval_needed");
    assert!(
        head.contains("stanch-signature: t=")
            && head.contains(&format!("stanch-notice: {}", told["id"].as_str().unwrap()))
    );
    assert_eq!(told["data"]["remediation"], id);
    assert_eq!(told["data"]["link"], format!("{}/remediations/{id}", world.client.base));
    assert!(told["data"]["summary"].as_str().unwrap().contains("paperclip"), "{told:#}");
    assert!(of("stanch.hold_set").1["data"]["lines"].to_string().contains("audit week"));
    let link = told["data"]["link"].as_str().unwrap().strip_prefix(&world.client.base).unwrap().to_owned();
    let answer = world.client.stranger().raw(&[], &link).await;
    assert_eq!(answer.headers()["location"], "/sign-in", "the link asks to sign in");
    assert_eq!(world.state(&id, "awaiting_approval").await["remediation"]["state"], "awaiting_approval");
    let notices = world.client.get("/api/v1/notices").await;
    let settled = |notice: &Value| notice["state"] == "sent" && notice["attempts"] == 1;
    world
        .until("sent", async || {
            let all = world.client.get("/api/v1/notices").await;
            all.as_array().unwrap().iter().all(settled).then_some(())
        })
        .await;
    assert_eq!(notices.as_array().unwrap().len(), 2);
    assert!(world.client.page("/connections").await.contains("A plan waits for approval: paperclip"));
    assert_eq!(receiver.heard().len(), 2, "what was not asked for is not told, and nothing twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_taken_is_sent_again_under_the_same_id_also_after_a_crash() {
    let mut world = world().await;
    let receiver = Receiver::open(503).await;
    receiver.set_up(&world, &["hold_set"]).await;
    world.client.post("/api/v1/holds", json!({ "reason": "audit week" })).await;
    world.until("an attempt", async || (!receiver.heard().is_empty()).then_some(())).await;
    world
        .until("the wait", async || {
            let all = world.client.get("/api/v1/notices").await;
            (all[0]["attempts"] == 1 && all[0]["state"] == "waiting").then_some(())
        })
        .await;
    let status = world.client.get("/api/v1/status").await["waiting"].to_string();
    assert!(status.contains("notices to hook") && status.contains("503"), "{status}");
    world.kill().await;
    world.start().await;
    world.clock.forward(61);
    *receiver.status.lock().unwrap() = 200;
    world
        .until("it is sent", async || (world.client.get("/api/v1/notices").await[0]["state"] == "sent").then_some(()))
        .await;
    let heard = receiver.heard();
    assert!(heard.len() >= 2);
    assert!(heard.iter().all(|(_, body)| body["id"] == heard[0].1["id"]), "{heard:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_good_is_given_up_and_said() {
    let world = world().await;
    let receiver = Receiver::open(410).await;
    receiver.set_up(&world, &["hold_set"]).await;
    world.client.post("/api/v1/holds", json!({ "reason": "audit week" })).await;
    let notice = world
        .until("the end", async || {
            let all = world.client.get("/api/v1/notices").await;
            (all[0]["state"] == "failed").then(|| all[0].clone())
        })
        .await;
    assert!(notice["error"].as_str().unwrap().contains("410"), "{notice}");
    assert_eq!(receiver.heard().len(), 1);
    let refused = world.client.refused("/api/v1/connections/hook/test", json!({})).await;
    assert_eq!(refused, (502, "not_sent".into()));
    *receiver.status.lock().unwrap() = 204;
    world.client.post("/api/v1/connections/hook/test", json!({})).await;
    assert_eq!(receiver.heard().last().unwrap().1["type"], "stanch.test");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_tells_of_what_happens_after_it_was_made() {
    let world = world().await;
    world.client.post("/api/v1/holds", json!({ "reason": "long ago" })).await;
    let receiver = Receiver::open(204).await;
    receiver.set_up(&world, &["hold_set", "hold_released"]).await;
    world.client.post("/api/v1/holds/all/release", json!({})).await;
    world.until("the release", async || (!receiver.heard().is_empty()).then_some(())).await;
    let kinds: Vec<Value> = receiver.heard().into_iter().map(|(_, body)| body["type"].clone()).collect();
    assert_eq!(kinds, ["stanch.hold_released"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_would_tell_nobody_or_reach_inside_are_refused() {
    let world = world().await;
    let put = async |kind: &str, settings: Value| {
        let wanted = json!({ "name": "x", "kind": kind, "settings": settings });
        world.client.refused("/api/v1/connections", wanted).await.0
    };
    let server = json!({ "host": "mx.example.org", "port": 587, "security": "starttls", "from": "stanch@example.org" });
    let open = json!({ "host": "mx.example.org", "port": 25, "security": "none", "from": "stanch@example.org" });
    for (kind, settings) in [
        ("smtp", json!({ "server": server, "events": ["hold_set"] })),
        ("smtp", json!({ "server": server, "to": ["ops@example.org"], "events": [] })),
        ("smtp", json!({ "server": server, "to": ["ops"], "events": ["hold_set"] })),
        ("smtp", json!({ "server": open, "to": ["ops@example.org"], "events": ["hold_set"] })),
        ("webhook", json!({ "target": { "url": "http://hooks.example.org" }, "events": ["hold_set"] })),
        (
            "webhook",
            json!({ "target": { "url": "https://h.example.org", "allow": ["0.0.0.0/0"] }, "events": ["hold_set"] }),
        ),
        ("webhook", json!({ "target": { "url": "https://h.example.org" }, "events": ["everything"] })),
        ("chat", json!({})),
    ] {
        assert_eq!(put(kind, settings.clone()).await, 400, "{kind} {settings}");
    }
    let inside = json!({ "target": { "url": "https://127.0.0.1:9/x" }, "events": ["hold_set"] });
    world.client.post("/api/v1/connections", json!({ "name": "x", "kind": "webhook", "settings": inside })).await;
    let (status, text) = world.client.send(reqwest::Method::POST, "/api/v1/connections/x/test", None).await;
    assert!(status == 502 && text.contains("not public"), "{text}");
}
