//! Pages: whole with nothing, with everything, and with names that want to be markup.

use serde_json::json;

use crate::double::Host;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn every_page_shows_itself_with_nothing_to_show() {
    let world = World::new(Host::new("host", &[])).await;
    for path in ["/", "/items", "/items?name=&verdict=&deployer=", "/remediations", "/ledger", "/feeds", "/sign-in"] {
        let html = world.client.page(path).await;
        assert!(html.contains("</html>"), "{path}");
    }
    assert!(world.client.page("/remediations").await.contains("changes nothing by itself"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fix_can_be_seen_through_on_the_pages_alone() {
    let world = World::new(Host::new("host", &[("paperclip", "3.0.15-1", "3.0.17-1")])).await;
    let items = world.items(1).await;
    let item = items[0]["id"].as_str().unwrap();
    let csrf = &world.client.csrf;
    assert!(world.client.page(&format!("/items/{item}")).await.contains("Plan the fix"));
    let (status, to) = world.client.form("/items/fix", &format!("csrf={csrf}&item={item}")).await;
    assert_eq!(status, 303);
    let id = to.strip_prefix("/remediations/").unwrap();
    let plan = world.state(id, "awaiting_approval").await["remediation"]["plan"].as_str().unwrap().to_owned();
    let html = world.client.page(&to).await;
    assert!(html.contains(&plan) && html.contains("Approve and start") && html.contains("+ 3.0.17-1"), "{html}");
    world.client.form(&format!("{to}/approve"), &format!("csrf={csrf}&plan_hash={plan}")).await;
    world.state(id, "closed").await;
    let html = world.client.page(&to).await;
    assert!(html.contains("Undo all 1 item") && html.contains("Kept output: apt-get install"), "{html}");
    let finding =
        world.client.get("/api/v1/findings?closed=true").await["findings"][0]["id"].as_str().unwrap().to_owned();
    assert!(world.client.page(&format!("/findings/{finding}")).await.contains("closed"));
    assert!(world.client.page("/ledger").await.contains("the record is whole"));
    world.client.form(&format!("{to}/undo"), &format!("csrf={csrf}&all=true&reason=test")).await;
    world.state(id, "rolled_back").await;
    assert!(world.client.page("/items").await.contains("taken back"));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_want_to_be_markup_stay_text() {
    let evil = "<script>alert(1)</script>\"'><img src=x>";
    let world = World::new(Host::new(evil, &[("paperclip", "3.0.15-1", "3.0.17-1")])).await;
    world.items(1).await;
    let created = world.client.post("/api/v1/remediations", json!({ "items": ["paperclip"], "reason": evil })).await;
    let id = created["remediation"]["id"].as_str().unwrap();
    world.state(id, "awaiting_approval").await;
    world.client.post("/api/v1/holds", json!({ "reason": evil })).await;
    let item = world.host().item("paperclip");
    let pages = ["/".to_owned(), "/items".into(), format!("/items/{item}"), "/remediations".into(), "/feeds".into()];
    for path in pages.into_iter().chain([
        format!("/remediations/{id}"),
        "/ledger".into(),
        "/ledger?subject=%3Cscript%3E".into(),
    ]) {
        let html = world.client.page(&path).await;
        assert!(!html.contains("<script>alert") && !html.contains("<img"), "{path}");
        assert!(html.contains("&#60;script&#62;") || html.contains("&lt;script&gt;"), "{path}");
        let inline =
            html.match_indices("<script").filter(|(at, _)| !html[*at..].starts_with("<script src=\"/static/")).count();
        assert_eq!(inline, 0, "{path} holds a script of its own");
        assert!(!html.contains(" style=") && !html.contains(" onclick="), "{path}");
    }
}
