//! Signing in at a provider, against a real one.

use serde_json::{Value, json};

use crate::double::Host;
use crate::provider::{Jar, Provider, way_back};
use crate::world::World;

async fn world(groups: Value) -> (World, Provider) {
    let world = World::new(Host::new("host", &[])).await;
    let provider = Provider::start(&world.client.base, 0, &groups);
    world.client.post("/api/v1/teams", json!({ "name": "ops" })).await;
    let grant = json!({ "team": "ops", "role": "operator", "scope": "all" });
    world.client.send(reqwest::Method::POST, "/api/v1/grants", Some(grant)).await;
    set_up(&world, &provider.issuer).await;
    (world, provider)
}

async fn set_up(world: &World, issuer: &str) {
    let settings = json!({ "issuer": issuer, "client_id": "stanch", "teams": { "sec-ops": "ops", "root": "gone" } });
    let wanted = json!({ "name": "company", "kind": "oidc", "settings": settings, "secret": "a secret & more=of it" });
    world.client.post("/api/v1/connections", wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_at_a_provider_and_is_in_the_teams_of_their_groups() {
    let (world, _provider) = world(json!({ "ada": ["sec-ops"], "ben": ["other"] })).await;
    let tested = world.client.post("/api/v1/connections/company/test", json!({})).await;
    assert!(tested["message"].as_str().unwrap().contains("answers"), "{tested}");
    let stranger = world.client.stranger();
    assert!(stranger.page("/sign-in").await.contains("/sign-in/oidc/company"));
    let mut jar = Jar::default();
    let back = way_back(&stranger, &mut jar, "company", Some("ada")).await;
    let answer = jar.get(&stranger, &back, None).await;
    assert_eq!(answer.status(), 200, "a page of ours leads on, so that the strict cookie goes with it");
    let ada = stranger.with_session(&answer).await;
    let me = ada.get("/api/v1/session").await;
    assert_eq!((&me["name"], &me["roles"][0]["role"]), (&json!("adalovelace"), &json!("operator")));
    let people = world.client.get("/api/v1/people").await;
    let person = people.as_array().unwrap().iter().find(|one| one["name"] == "adalovelace").unwrap();
    assert_eq!((&person["email"], &person["teams"]), (&json!("ada@example.org"), &json!(["ops"])));
    assert_eq!(world.client.refused("/api/v1/people/adalovelace/invitation", json!({})).await.0, 409);

    // The same person again is the same account; who is in no team's group has none.
    let mut again = Jar::default();
    let back = way_back(&stranger, &mut again, "company", Some("ada")).await;
    again.get(&stranger, &back, None).await;
    let mut other = Jar::default();
    let back = way_back(&stranger, &mut other, "company", Some("ben")).await;
    let answer = other.get(&stranger, &back, None).await;
    assert_eq!((answer.status().as_u16(), answer.headers().get("set-cookie").is_some()), (403, true));
    assert!(answer.text().await.unwrap().contains("none of your groups"));
    assert_eq!(world.client.get("/api/v1/people").await.as_array().unwrap().len(), 2);

    world.client.post("/api/v1/people/adalovelace/state", json!({ "state": "disabled" })).await;
    let mut out = Jar::default();
    let back = way_back(&stranger, &mut out, "company", Some("ada")).await;
    assert_eq!(out.get(&stranger, &back, None).await.status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_the_one_asked_for_signs_nobody_in() {
    let (world, _provider) = world(json!({ "ada": ["sec-ops"] })).await;
    let stranger = world.client.stranger();
    let denied = async |jar: &mut Jar, url: &str, why: &str| {
        let answer = jar.get(&stranger, url, None).await;
        assert_eq!(answer.status(), 403, "{why}");
        let session = answer.headers().get_all("set-cookie").iter();
        assert!(!session.into_iter().any(|set| set.to_str().unwrap().starts_with("stanch_session=")), "{why}");
        answer.text().await.unwrap()
    };
    let mut jar = Jar::default();
    let back = way_back(&stranger, &mut jar, "company", Some("ada")).await;
    let bound = jar.clone();
    denied(&mut Jar::default(), &back, "another browser").await;
    let (start, state) = back.split_once("state=").unwrap();
    let end = state.find('&').map_or("", |at| &state[at..]);
    denied(&mut bound.clone(), &format!("{start}state=forged{end}"), "another state").await;
    assert_eq!(jar.get(&stranger, &back, None).await.status(), 200);
    let text = denied(&mut bound.clone(), &back, "a second time, with the cookie kept").await;
    assert!(text.contains("finished before"), "{text}");

    // Two sign-ins of one browser at once: the answer of one does not finish the other.
    let mut jar = Jar::default();
    let first = way_back(&stranger, &mut jar, "company", Some("ada")).await;
    let second = way_back(&stranger, &mut jar, "company", Some("ada")).await;
    denied(&mut jar.clone(), &first, "an older sign-in").await;
    let other_issuer = with_field(&second, "iss=", "http%3A%2F%2F127.0.0.1%3A1");
    denied(&mut jar.clone(), &other_issuer, "another provider").await;

    let mut jar = Jar::default();
    let back = way_back(&stranger, &mut jar, "company", None).await;
    assert!(back.contains("error=access_denied"));
    denied(&mut jar, &back, "the provider said no").await;

    let mut jar = Jar::default();
    let back = way_back(&stranger, &mut jar, "company", Some("ada")).await;
    world.clock.forward(11 * 60);
    denied(&mut jar, &back, "too late").await;
    for name in ["none", "%2e%2e%2fx", "%00"] {
        let answer = stranger.raw(&[], &format!("/sign-in/oidc/{name}")).await;
        assert!(answer.status().is_client_error(), "{name}");
    }
}

/// The address with what follows a name up to the next field replaced.
fn with_field(url: &str, name: &str, value: &str) -> String {
    let (start, rest) = url.split_once(name).unwrap();
    let end = rest.find('&').map_or("", |at| &rest[at..]);
    format!("{start}{name}{value}{end}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_changes_its_keys_is_believed_after_they_were_fetched_anew() {
    let (world, provider) = world(json!({ "ada": ["sec-ops"] })).await;
    let stranger = world.client.stranger();
    let mut jar = Jar::default();
    let back = way_back(&stranger, &mut jar, "company", Some("ada")).await;
    assert_eq!(jar.get(&stranger, &back, None).await.status(), 200);
    let port = provider.port();
    drop(provider);
    let _newer = Provider::start(&world.client.base, port, &json!({ "ada": ["sec-ops"] }));
    world.clock.forward(31);
    let mut jar = Jar::default();
    let back = way_back(&stranger, &mut jar, "company", Some("ada")).await;
    assert_eq!(jar.get(&stranger, &back, None).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_takes_a_group_away_takes_the_roles_away() {
    let (world, provider) = world(json!({ "ada": ["sec-ops"] })).await;
    let stranger = world.client.stranger();
    let mut jar = Jar::default();
    let back = way_back(&stranger, &mut jar, "company", Some("ada")).await;
    jar.get(&stranger, &back, None).await;
    let port = provider.port();
    drop(provider);
    let _newer = Provider::start(&world.client.base, port, &json!({ "ada": [] }));
    world.clock.forward(31);
    let mut jar = Jar::default();
    let back = way_back(&stranger, &mut jar, "company", Some("ada")).await;
    assert_eq!(jar.get(&stranger, &back, None).await.status(), 403);
    assert_eq!(world.client.get("/api/v1/teams").await[0]["members"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_sealed_never_shown_and_does_not_follow_to_another_place() {
    let (world, provider) = world(json!({})).await;
    let shown = world.client.get("/api/v1/connections").await.to_string();
    assert!(!shown.contains("more=of"), "{shown}");
    assert!(!world.client.page("/connections").await.contains("more=of"));
    world.client.get("/api/v1/ledger/verify").await;
    for name in ["stanch.db", "stanch.db-wal"] {
        let bytes = std::fs::read(world.folder.path().join(name)).unwrap_or_default();
        assert!(!bytes.windows(9).any(|part| part == b"a secret "), "{name} holds a secret in the clear");
    }
    let key = std::fs::metadata(world.folder.path().join("keys/sealing")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600);
    let put = async |issuer: &str| {
        let settings = json!({ "issuer": issuer, "client_id": "stanch", "teams": { "a": "ops" } });
        world
            .client
            .post("/api/v1/connections", json!({ "name": "company", "kind": "oidc", "settings": settings }))
            .await;
        world.client.get("/api/v1/connections").await[0]["has_secret"].clone()
    };
    assert_eq!(put(&provider.issuer).await, true, "the same place keeps it");
    assert_eq!(put("https://evil.example.org").await, false);
    for bad in [
        json!({ "issuer": "http://id.example.org", "client_id": "x", "teams": { "a": "ops" } }),
        json!({ "issuer": "https://id.example.org", "client_id": "x", "teams": {} }),
        json!({ "issuer": "https://id.example.org", "client_id": "x", "teams": { "a": "ops" }, "colour": "red" }),
    ] {
        let wanted = json!({ "name": "bad", "kind": "oidc", "settings": bad });
        assert_eq!(world.client.refused("/api/v1/connections", wanted).await.0, 400);
    }
}
