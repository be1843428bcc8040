//! Executors that begin nothing that people have not signed for: the server waits for the signatures and hands them on.

use serde_json::{Value, json};
use stanch_model::Digest;
use stanch_model::plan::Plan;
use stanch_model::sign::{Signed, SigningKey};
use stanch_model::trust::{Demand, PlanApproval};

use crate::double::Host;
use crate::policies::{policy, signed};
use crate::world::World;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

fn host() -> Host {
    let mut host = Host::new("web-1", &[("paperclip", "3.0.15-1", "3.0.17-1")]);
    host.demands = Some(Demand { need: 2, keys: [21, 22, 23].map(|seed| key(seed).verifying_key()).into() });
    host
}

/// What an approver's own program makes of the plan that it reads.
async fn word(world: &World, plan: &str, seed: u8, change: impl FnOnce(&mut PlanApproval)) -> Value {
    let document = world.client.get(&format!("/api/v1/plans/{plan}/document")).await;
    let document: Plan = serde_json::from_value(document).unwrap();
    assert_eq!(document.hash().unwrap().to_string(), plan, "the document has the hash that is approved");
    let until = document.valid_until;
    let mut body = PlanApproval { plan: document.hash().unwrap(), leaves: document.leaves_root().unwrap(), until };
    change(&mut body);
    let word = Signed::new(body, &key(seed)).unwrap();
    json!({ "plan_hash": plan, "signed": {
        "leaves": word.body.leaves, "until": word.body.until, "key": word.key, "signature": word.signature,
    } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_waits_for_the_signatures_that_its_target_asks_for_and_carries_them_there() {
    let world = World::new(host()).await;
    let admin = &world.client;
    world.items(1).await;
    let (id, plan) = world.planned(&["paperclip"]).await;
    let approve = format!("/api/v1/remediations/{id}/approve");
    let detail = admin.get(&format!("/api/v1/remediations/{id}")).await;
    assert_eq!((&detail["signatures"][0]["need"], &detail["signatures"][0]["have"]), (&json!(2), &json!(0)));
    assert!(admin.page(&format!("/remediations/{id}")).await.contains("0 of 2 for web-1"));
    let page = admin.page(&format!("/hosts/{}", world.host().asset().id)).await;
    for text in ["2 signed approvals before it begins anything", "<b>dnf</b>: no dnf is installed", "apt"] {
        assert!(page.contains(text), "{text} in {page}");
    }

    // Without a signature, and with one that does not hold, it goes on waiting.
    admin.post(&approve, json!({ "plan_hash": plan })).await;
    assert_eq!(world.state(&id, "awaiting_approval").await["signatures"][0]["have"], 0);
    let mut forged = word(&world, &plan, 21, |_| {}).await;
    forged["signed"]["until"] = json!("2031-01-01T00:00:00Z");
    assert_eq!(admin.refused(&approve, forged).await.0, 400);
    let other = word(&world, &plan, 21, |word| word.leaves = Digest::of_bytes(b"other leaves")).await;
    assert_eq!(admin.refused(&approve, other).await.0, 400);

    admin.post(&approve, word(&world, &plan, 21, |_| {}).await).await;
    let half = world.state(&id, "awaiting_approval").await;
    assert_eq!(half["signatures"][0]["have"], 1);
    assert_eq!(half["spoken"][0]["signed_by"], json!(key(21).verifying_key()));

    // Saying yes once more without a key takes no signature back.
    admin.post(&approve, json!({ "plan_hash": plan })).await;
    assert_eq!(world.state(&id, "awaiting_approval").await["signatures"][0]["have"], 1);

    // The same person with another key is one voice in the place of the first; a second person makes two.
    admin.post(&approve, word(&world, &plan, 22, |_| {}).await).await;
    assert_eq!(world.state(&id, "awaiting_approval").await["signatures"][0]["have"], 1);
    let second = admin.person("vera", &[("approver", "all")], "seven green umbrellas").await;
    second.post(&approve, word(&world, &plan, 99, |_| {}).await).await;
    assert_eq!(world.state(&id, "awaiting_approval").await["signatures"][0]["have"], 1, "a key that does not count");
    second.post(&approve, word(&world, &plan, 23, |_| {}).await).await;
    world.state(&id, "closed").await;
    let granted = world.host().granted.clone().unwrap();
    let vouched = granted.vouched.unwrap();
    let by = vouched.by(&granted.plan, &granted.leaf_hash, stanch_server::Clock::now(world.clock.as_ref()), false);
    assert_eq!(by, [22, 23].map(|seed| key(seed).verifying_key()).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_by_itself_where_people_are_to_sign() {
    let (world, _folder) = signed(host(), &policy("auto", "")).await;
    let items = world.items(1).await;
    let decision = world
        .until("the decision", async || {
            let item = world.client.get(&format!("/api/v1/items/{}", items[0]["id"].as_str()?)).await;
            item.to_string().contains("built-in/asks-signatures").then_some(item)
        })
        .await;
    assert!(decision.to_string().contains("begins nothing that nobody signed for"), "{decision}");
    let asked = world
        .until("a plan that asks", async || {
            let waiting = world.client.get("/api/v1/remediations?state=awaiting_approval").await;
            waiting.as_array()?.first().cloned()
        })
        .await;
    assert_eq!(asked["mode"], "approve");
    assert!(!world.host().taken.contains(&"apply"));
}
