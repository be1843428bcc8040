//! People: how they sign in, what each may see and do, and who can never be lost.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::double::Host;
use crate::world::{Client, World};

const PASSWORD: &str = "correct horse battery";

async fn world() -> World {
    World::new(Host::new("host", &[("paperclip", "3.0.15-1", "3.0.17-1")])).await
}

async fn status(client: &Client, method: Method, path: &str, body: Value) -> (u16, String) {
    let (status, text) = client.send(method, path, Some(body)).await;
    let problem: Value = serde_json::from_str(&text).unwrap_or_default();
    (status.as_u16(), problem["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_link_makes_the_first_administrator_and_later_ones_find_it() {
    let world = world().await;
    let people = world.client.get("/api/v1/people").await;
    assert_eq!(people.as_array().unwrap().len(), 1, "{people:#}");
    assert_eq!((&people[0]["name"], &people[0]["roles"][0]["role"]), (&json!("admin"), &json!("admin")));
    let again = Client::sign_in(world.running.as_ref().unwrap()).await;
    assert_eq!(again.get("/api/v1/session").await["name"], "admin");
    assert_eq!(again.get("/api/v1/people").await.as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_sets_a_password_once_and_the_password_signs_in() {
    let world = world().await;
    let admin = &world.client;
    admin.post("/api/v1/people", json!({ "name": "ada" })).await;
    let invitation = admin.post("/api/v1/people/ada/invitation", json!({})).await;
    let (_, token) = invitation["url"].as_str().unwrap().split_once("?token=").unwrap();
    let stranger = admin.stranger();
    assert_eq!(stranger.raw(&[], &format!("/invitation?token={token}")).await.status(), 200);
    assert_eq!(stranger.accept(token, "short").await.status(), 400, "a weak password does not use it up");
    let ada = admin.with_session(&stranger.accept(token, PASSWORD).await).await;
    assert_eq!(ada.get("/api/v1/session").await["name"], "ada");
    assert_eq!(stranger.accept(token, PASSWORD).await.status(), 403, "a second time");

    let answer = stranger.by_password("ada", PASSWORD).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let text = std::fs::read(world.folder.path().join("stanch.db")).unwrap();
    let wal = std::fs::read(world.folder.path().join("stanch.db-wal")).unwrap_or_default();
    for secret in [PASSWORD, token] {
        let found = [&text, &wal].iter().any(|bytes| bytes.windows(secret.len()).any(|part| part == secret.as_bytes()));
        assert!(!found, "the store holds a secret in the clear");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_name_and_a_wrong_password_are_answered_alike_and_slowed_down() {
    let world = world().await;
    world.client.person("ada", &[("viewer", "all")], PASSWORD).await;
    let stranger = world.client.stranger();
    let mut answers = Vec::new();
    for (name, password) in [("ada", "wrong horse battery"), ("nobody", PASSWORD), ("%00", PASSWORD), ("admin", "")] {
        let answer = stranger.by_password(name, password).await;
        assert_eq!(answer.status(), 403, "{name}");
        assert!(answer.headers().get("set-cookie").is_none());
        answers.push(answer.text().await.unwrap());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "one could tell who has an account: {answers:#?}");
    for _ in 0..9 {
        stranger.by_password("ada", "wrong horse battery").await;
    }
    assert_eq!(stranger.by_password("ada", PASSWORD).await.status(), 429);
    assert_eq!(stranger.by_password("nobody-else", PASSWORD).await.status(), 403, "others go on");
    world.clock.forward(16 * 60);
    assert_eq!(stranger.by_password("ada", PASSWORD).await.status(), 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_disabled_is_out_at_once_with_their_tokens() {
    let world = world().await;
    let ada = world.client.person("ada", &[("operator", "all")], PASSWORD).await;
    let made = ada.post("/api/v1/tokens", json!({ "name": "ci", "scopes": ["operate"] })).await;
    let bearer = |client: &Client| {
        let token = made["token"].as_str().unwrap().to_owned();
        let request = client.http.get(format!("{}/api/v1/items", client.base)).bearer_auth(token);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(bearer(&ada).await, 200);
    world.client.post("/api/v1/people/ada/state", json!({ "state": "disabled" })).await;
    assert_eq!(status(&ada, Method::GET, "/api/v1/items", json!({})).await.0, 401);
    assert_eq!(bearer(&ada).await, 401);
    assert_eq!(world.client.stranger().by_password("ada", PASSWORD).await.status(), 403);
    world.client.post("/api/v1/people/ada/state", json!({ "state": "enabled" })).await;
    assert_eq!(bearer(&ada).await, 200);
    assert_eq!(status(&ada, Method::GET, "/api/v1/items", json!({})).await.0, 401, "the old session is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_administrator_can_be_neither_disabled_nor_removed_nor_lose_the_role() {
    let world = world().await;
    let admin = &world.client;
    let grant = json!({ "person": "admin", "role": "admin", "scope": "all" });
    let attempts = [
        ("/api/v1/people/admin/state", json!({ "state": "disabled" })),
        ("/api/v1/people/admin/state", json!({ "state": "removed" })),
        ("/api/v1/grants/revoke", grant.clone()),
    ];
    for (path, body) in &attempts {
        assert_eq!(admin.refused(path, body.clone()).await, (409, "last_administrator".into()), "{path}");
    }
    // Somebody who is one for an environment only, or who is not enabled, is none.
    admin.person("ada", &[("admin", "environment/prod")], PASSWORD).await;
    assert_eq!(admin.refused("/api/v1/grants/revoke", grant.clone()).await.0, 409);
    let ada = admin.person("ben", &[("admin", "all")], PASSWORD).await;
    let (status, _) = admin.send(Method::POST, "/api/v1/grants/revoke", Some(grant)).await;
    assert_eq!(status, 204);
    assert_eq!(admin.refused("/api/v1/people", json!({ "name": "cyd" })).await.0, 404, "no administrator any more");
    assert_eq!(ada.refused("/api/v1/people/ben/state", json!({ "state": "disabled" })).await.0, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_its_own_and_no_more() {
    let world = world().await;
    world.items(1).await;
    let admin = &world.client;
    let ask = json!({ "items": ["paperclip"] });
    let viewer = admin.person("viewer", &[("viewer", "all")], PASSWORD).await;
    let nobody = admin.person("stray", &[], PASSWORD).await;
    let approver = admin.person("approver", &[("approver", "all")], PASSWORD).await;
    let operator = admin.person("op", &[("operator", "all")], PASSWORD).await;

    assert_eq!(nobody.get("/api/v1/session").await["roles"], json!([]));
    for path in ["/api/v1/items", "/api/v1/ledger", "/api/v1/people", "/api/v1/status", "/items", "/people"] {
        assert_eq!(status(&nobody, Method::GET, path, json!({})).await.0, 404, "{path}");
    }
    assert_eq!(nobody.raw(&[("cookie", &nobody.cookie)], "/").await.headers()["location"], "/account");
    assert!(nobody.page("/account").await.contains("there is nothing you may see"));
    assert_eq!(viewer.get("/api/v1/items").await["items"].as_array().unwrap().len(), 1);
    for path in ["/api/v1/people", "/api/v1/connections", "/api/v1/notices", "/people", "/connections", "/people/admin"]
    {
        for client in [&viewer, &approver, &operator] {
            assert_eq!(status(client, Method::GET, path, json!({})).await.0, 404, "{path} is not there for them");
        }
    }
    for client in [&viewer, &approver] {
        assert_eq!(client.refused("/api/v1/remediations", ask.clone()).await, (403, "forbidden".into()));
        assert_eq!(client.refused("/api/v1/holds", json!({ "reason": "x" })).await.0, 403);
    }
    let created = operator.post("/api/v1/remediations", ask).await;
    let id = created["remediation"]["id"].as_str().unwrap();
    let plan = world.state(id, "awaiting_approval").await["remediation"]["plan"].clone();
    let yes = json!({ "plan_hash": plan });
    for client in [&viewer, &operator] {
        assert_eq!(client.refused(&format!("/api/v1/remediations/{id}/approve"), yes.clone()).await.0, 403);
    }
    assert!(!viewer.page("/").await.contains("Hold everything"), "what they may not do is not offered");
    approver.post(&format!("/api/v1/remediations/{id}/approve"), yes).await;
    world.state(id, "closed").await;
    assert_eq!(viewer.refused(&format!("/api/v1/remediations/{id}/undo"), json!({ "all": true })).await.0, 403);
    let told = world.client.get(&format!("/api/v1/ledger?subject={id}")).await;
    let actors: Vec<&str> = told["entries"].as_array().unwrap().iter().map(|e| e["actor"].as_str().unwrap()).collect();
    assert!(actors.contains(&"op") && actors.contains(&"approver"), "{actors:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_sees_and_acts_on_the_assets_of_their_team_alone() {
    let world = world().await;
    let items = world.items(1).await;
    let admin = &world.client;
    let (asset, item) = (items[0]["asset"].as_str().unwrap(), items[0]["id"].as_str().unwrap());
    admin.post("/api/v1/teams", json!({ "name": "web" })).await;
    admin.post("/api/v1/teams", json!({ "name": "db" })).await;
    let web = admin.person("wim", &[("owner", "team/web")], PASSWORD).await;
    let db = admin.person("dora", &[("owner", "team/db")], PASSWORD).await;
    assert_eq!(web.get("/api/v1/items").await["items"], json!([]), "nobody said whose it is");
    admin.post(&format!("/api/v1/assets/{asset}/labels"), json!({ "owner": "web", "environment": "prod" })).await;

    assert_eq!(web.get("/api/v1/items").await["items"].as_array().unwrap().len(), 1);
    assert_eq!(web.get("/api/v1/status").await["counts"]["items"], 1);
    assert_eq!(db.get("/api/v1/items").await["items"], json!([]));
    assert_eq!(db.get("/api/v1/assets").await, json!([]));
    assert_eq!(db.get("/api/v1/findings").await["findings"], json!([]));
    let seen = db.get("/api/v1/status").await;
    assert_eq!(
        (&seen["counts"]["items"], &seen["counts"]["findings"], &seen["executors"]),
        (&json!(0), &json!(0), &json!([]))
    );
    let finding = admin.get("/api/v1/findings").await["findings"][0]["id"].as_str().unwrap().to_owned();
    for path in [
        format!("/api/v1/items/{item}"),
        "/api/v1/items/paperclip".into(),
        format!("/api/v1/assets/{asset}"),
        format!("/api/v1/assets/{asset}/facts"),
        format!("/api/v1/assets/{asset}/history"),
        format!("/api/v1/findings/{finding}"),
        format!("/items/{item}"),
        format!("/findings/{finding}"),
        "/api/v1/ledger".into(),
        "/api/v1/executors".into(),
    ] {
        assert_eq!(status(&db, Method::GET, &path, json!({})).await.0, 404, "{path} is not there for another team");
    }
    for path in ["/", "/items", "/remediations", "/feeds"] {
        let html = db.page(path).await;
        assert!(!html.contains("paperclip") && !html.contains(item), "{path}");
    }
    assert_eq!(db.refused("/api/v1/remediations", json!({ "items": [item] })).await.0, 404);
    let nothing = db.post("/api/v1/remediations", json!({ "all": true })).await;
    assert_eq!(nothing, json!({ "remediation": null, "left_out": [] }));

    let created = web.post("/api/v1/remediations", json!({ "all": true })).await;
    let id = created["remediation"]["id"].as_str().unwrap();
    let plan = world.state(id, "awaiting_approval").await["remediation"]["plan"].as_str().unwrap().to_owned();
    for (path, body) in [
        (format!("/api/v1/remediations/{id}/approve"), json!({ "plan_hash": plan })),
        (format!("/api/v1/remediations/{id}/undo"), json!({ "all": true })),
        (format!("/api/v1/remediations/{id}/cancel"), json!({})),
        (format!("/api/v1/remediations/{id}/dismiss"), json!({})),
    ] {
        assert_eq!(db.refused(&path, body).await, (404, "not_found".into()), "{path}");
    }
    assert_eq!(status(&db, Method::GET, &format!("/api/v1/plans/{plan}"), json!({})).await.0, 404);
    assert_eq!(status(&db, Method::GET, &format!("/api/v1/remediations/{id}/events"), json!({})).await.0, 404);
    assert_eq!(web.refused("/api/v1/holds", json!({ "reason": "all of it" })).await.0, 403, "that is not theirs alone");
    web.post(&format!("/api/v1/remediations/{id}/approve"), json!({ "plan_hash": plan })).await;
    world.state(id, "closed").await;
    assert_eq!(web.get("/api/v1/remediations").await.as_array().unwrap().len(), 1);
    assert_eq!(db.get("/api/v1/remediations").await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_does_what_it_was_made_for_and_is_shown_once() {
    let world = world().await;
    let items = world.items(1).await;
    let admin = &world.client;
    let operator = admin.person("op", &[("operator", "all")], PASSWORD).await;
    assert_eq!(operator.refused("/api/v1/tokens", json!({ "name": "x", "scopes": ["approve"] })).await.0, 403);
    assert_eq!(operator.refused("/api/v1/tokens", json!({ "name": "x", "scopes": ["root"] })).await.0, 400);
    let made = operator.post("/api/v1/tokens", json!({ "name": "ci", "scopes": ["operate"], "days": 1 })).await;
    let token = made["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("stn_"));
    let send = async |method: Method, path: &str, body: Value| {
        let request = operator.http.request(method, format!("{}{path}", operator.base)).bearer_auth(&token);
        let answer = request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(send(Method::GET, "/api/v1/session", json!({})).await.0, 200);
    let (code, text) = send(Method::POST, "/api/v1/remediations", json!({ "items": ["paperclip"] })).await;
    assert_eq!(code, 201, "{text}");
    let created: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(created["remediation"]["asked_by"], "token:ci");
    assert_eq!(send(Method::POST, "/api/v1/tokens", json!({ "name": "more" })).await.0, 403, "a token makes no other");
    assert_eq!(send(Method::GET, "/api/v1/people", json!({})).await.0, 404);
    assert_eq!(send(Method::GET, "/", json!({})).await.0, 303, "pages are for browsers");

    // The operator becomes an administrator; the token stays what it was made as.
    admin.grant("op", "admin", "all").await;
    assert_eq!(send(Method::GET, "/api/v1/people", json!({})).await.0, 404);
    let list = operator.get("/api/v1/tokens").await;
    assert!(!list.to_string().contains(&token) && list[0]["used_at"].is_string(), "{list}");
    let prod = operator.post("/api/v1/tokens", json!({ "name": "prod", "environment": "prod" })).await;
    let read = |path: &'static str| {
        let request =
            operator.http.get(format!("{}{path}", operator.base)).bearer_auth(prod["token"].as_str().unwrap());
        async move { request.send().await.unwrap() }
    };
    let none: Value = serde_json::from_str(&read("/api/v1/items").await.text().await.unwrap()).unwrap();
    assert_eq!(none["items"], json!([]), "its environment has no asset yet");
    assert_eq!(read("/api/v1/ledger").await.status(), 404, "the record is of everything");
    let asset = items[0]["asset"].as_str().unwrap();
    admin.post(&format!("/api/v1/assets/{asset}/labels"), json!({ "environment": "prod" })).await;
    let one: Value = serde_json::from_str(&read("/api/v1/items").await.text().await.unwrap()).unwrap();
    assert_eq!(one["items"].as_array().unwrap().len(), 1);

    admin.post("/api/v1/tokens/ci/revoke", json!({})).await;
    assert_eq!(send(Method::GET, "/api/v1/session", json!({})).await.0, 401);
    world.clock.forward(91 * 24 * 3600);
    assert_eq!(read("/api/v1/items").await.status(), 401, "it ends by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_every_other_session() {
    let world = world().await;
    let ada = world.client.person("ada", &[("viewer", "all")], PASSWORD).await;
    let stranger = world.client.stranger();
    let other = ada.with_session(&stranger.by_password("ada", PASSWORD).await).await;
    let wrong = json!({ "old": "not this one, no", "new": "four quite other words" });
    assert_eq!(ada.refused("/api/v1/session/password", wrong).await, (403, "wrong_password".into()));
    let right = json!({ "old": PASSWORD, "new": "four quite other words" });
    let (code, _) = ada.send(Method::POST, "/api/v1/session/password", Some(right)).await;
    assert_eq!(code, 204);
    for client in [&ada, &other] {
        assert_eq!(status(client, Method::GET, "/api/v1/items", json!({})).await.0, 401);
    }
    assert_eq!(stranger.by_password("ada", PASSWORD).await.status(), 403);
    assert_eq!(stranger.by_password("ada", "four quite other words").await.status(), 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_and_teams_can_be_managed_on_the_pages_alone() {
    let world = world().await;
    let admin = &world.client;
    let csrf = &admin.csrf;
    let (code, to) = admin.form("/people", &format!("csrf={csrf}&name=ada&email=ada@example.org")).await;
    assert_eq!((code.as_u16(), to.as_str()), (303, "/people/ada"));
    admin.form("/teams", &format!("csrf={csrf}&name=web&about=<b>shop</b>")).await;
    admin.form("/teams/web/members", &format!("csrf={csrf}&person=ada&member=true&back=/teams/web")).await;
    admin.form("/grants", &format!("csrf={csrf}&team=web&role=owner&scope=team/web&back=//evil.example")).await;
    let (_, to) =
        admin.form("/grants", &format!("csrf={csrf}&person=ada&role=viewer&scope=all&back=/people/ada")).await;
    assert_eq!(to, "/people/ada");
    let html = admin.page("/people/ada").await;
    assert!(
        html.contains("assets of team web") && html.contains("viewer") && html.contains("ada@example.org"),
        "{html}"
    );
    let html = admin.page("/people").await;
    assert!(html.contains("&#60;b&#62;shop") || html.contains("&lt;b&gt;shop"), "{html}");
    assert!(admin.page("/teams/web").await.contains("/people/ada"));
    let invitation = admin.fill("/people/ada/invitation", &format!("csrf={csrf}")).await.text().await.unwrap();
    assert!(invitation.contains("/invitation?token=") && invitation.contains("Shown this once"), "{invitation}");
    let token = admin.fill("/account/tokens", &format!("csrf={csrf}&name=ci&scope=operate&days=3")).await.text().await;
    assert!(token.unwrap().contains("stn_"));
    assert!(admin.page("/account").await.contains("ci"));
    admin.form("/people/ada/state", &format!("csrf={csrf}&state=removed")).await;
    assert!(admin.page("/people").await.contains("1 removed"));
    let (code, _) = admin.form("/people", &format!("csrf={csrf}&name=ada")).await;
    assert_eq!(code, 409, "a name is never given twice");
}
