//! Many assets: what is listed page by page, what neighbours and groups keep from starting, what a policy did and is
//! taken back together, and how long it all was open.

use serde_json::{Value, json};

use crate::double::Host;
use crate::policies::{a_while, in_state, policy, sign, signed, write};
use crate::world::World;

fn host(name: &str) -> Host {
    Host::new(name, &[("paperclip", "3.0.15-1", "3.0.17-1")])
}

async fn label(world: &World, name: &str, labels: Value) {
    let assets = world
        .until("the asset", async || {
            let assets = world.client.get("/api/v1/assets").await;
            assets.as_array().unwrap().iter().find(|asset| asset["name"] == name).cloned()
        })
        .await;
    let id = assets["id"].as_str().unwrap();
    let (status, text) =
        world.client.send(reqwest::Method::POST, &format!("/api/v1/assets/{id}/labels"), Some(labels)).await;
    assert!(status.is_success(), "{text}");
}

/// Has facts read until the server knows how an asset is: a question that is on its way may still bring older ones.
async fn seen(world: &World, name: &str, well: bool) {
    let mut looks = 0;
    world
        .until("its health", async || {
            // Now and then: what is asked for faster than it is answered piles up.
            if looks % 40 == 0 {
                world.client.post("/api/v1/scan", json!({})).await;
            }
            looks += 1;
            let assets = world.client.get("/api/v1/assets").await;
            let asset = assets.as_array().unwrap().iter().find(|asset| asset["name"] == name).cloned()?;
            let path = format!("/api/v1/assets/{}/facts", asset["id"].as_str()?);
            let (status, text) = world.client.send(reqwest::Method::GET, &path, None).await;
            (status.is_success() && text.contains(&format!("\"well\":{well}"))).then_some(())
        })
        .await;
}

async fn waits_on(world: &World, words: &str) -> Value {
    world
        .until(words, async || {
            let all = world.client.get("/api/v1/remediations?open=true").await;
            let has = |one: &&Value| one["waiting_on"].as_str().is_some_and(|on| on.contains(words));
            all.as_array().unwrap().iter().find(has).cloned()
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn items_come_page_by_page_and_each_once() {
    let packages = ["a", "b", "c", "d", "e"].map(|name| (name, "1.0-1", "1.1-1"));
    let world = World::new(Host::new("host", &packages)).await;
    world.items(5).await;
    let (mut seen, mut after, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = world.client.get(&format!("/api/v1/items?limit=2{after}")).await;
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        pages += 1;
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    seen.sort();
    assert_eq!((pages, seen.join(" ").as_str()), (3, "a b c d e"));
    let some = world.client.get("/api/v1/items?verdict=affected_fixable&actionable=true&name=b").await;
    assert_eq!((some["items"].as_array().unwrap().len(), &some["next"]), (1, &Value::Null));
    let (status, _) = world.client.send(reqwest::Method::GET, "/api/v1/items?after=somewhere", None).await;
    assert_eq!(status, 400);
    let counts = world.client.get("/api/v1/status").await["counts"].clone();
    assert_eq!((&counts["items"], &counts["items_actionable"]), (&json!(5), &json!(5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_say_of_an_asset_changes_how_urgent_its_items_are_at_once() {
    let world = World::new(host("host")).await;
    let before = world.items(1).await;
    let tier = |detail: &Value| detail["tier"].clone();
    let id = before[0]["id"].as_str().unwrap();
    label(&world, "host", json!({ "tier": 4 })).await;
    world
        .until("the new tier", async || {
            let detail = world.client.get(&format!("/api/v1/items/{id}")).await;
            (tier(&detail) == 4).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_keeps_the_last_of_its_members_at_work() {
    let group = |min: u32| {
        format!(
            "---\napiVersion: stanch/v1\nkind: Group\nname: web\nmin_healthy: {min}\nmatch: {{labels: {{role: web}}}}\n"
        )
    };
    let text = policy("alert", "") + &group(1);
    let (world, folder) = signed(host("one"), &text).await;
    world.items(1).await;
    label(&world, "one", json!({ "labels": { "role": "web" } })).await;
    let two = world.join(2, host("two")).await;
    label(&world, "two", json!({ "labels": { "role": "web" } })).await;
    // Two members, of which one does not do its work: the other is the last.
    two.host.lock().unwrap().ill = true;
    seen(&world, "two", false).await;
    write(folder.path(), &(policy("auto", "") + &group(1)));
    sign(folder.path());
    let waits = waits_on(&world, "the group web can spare 0 at a time").await;
    let mended = async || (two.host.lock().unwrap().version("paperclip") == "3.0.17-1").then_some(());
    world.until("that the ill one is mended: it takes nothing", mended).await;
    a_while(&world).await;
    assert_eq!(world.host().version("paperclip"), "3.0.15-1", "{waits:#}");
    // It is well again, and the next may go.
    two.host.lock().unwrap().ill = false;
    seen(&world, "two", true).await;
    in_state(&world, "closed").await;
    assert_eq!(world.host().version("paperclip"), "3.0.17-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_a_group_that_can_spare_nobody_is_stated_and_agreed_to() {
    let group = "---\napiVersion: stanch/v1\nkind: Group\nname: web\nmin_healthy: 2\nmatch: {labels: {role: web}}\n";
    let (world, folder) = signed(host("one"), &(policy("alert", "") + group)).await;
    world.items(1).await;
    label(&world, "one", json!({ "labels": { "role": "web" } })).await;
    let two = world.join(2, host("two")).await;
    label(&world, "two", json!({ "labels": { "role": "web" } })).await;
    world.items(2).await;
    write(folder.path(), &(policy("auto", "limits: {concurrent: 5}\n") + group));
    sign(folder.path());
    let waits = in_state(&world, "awaiting_approval").await;
    let id = waits["id"].as_str().unwrap();
    assert_eq!(waits["mode"], "approve", "it was granted auto, and a person says yes to an outage: {waits:#}");
    let detail = world.client.get(&format!("/api/v1/remediations/{id}")).await;
    assert_eq!(detail["plan"]["outages"], json!(["web"]));
    assert!(world.client.page(&format!("/remediations/{id}")).await.contains("An outage:"));
    // One of them is away at a time, whatever the limits let happen.
    world.host().gate = Some("apply");
    two.host.lock().unwrap().gate = Some("apply");
    world.approve(id, waits["plan"].as_str().unwrap()).await;
    let at_gate = || {
        usize::from(world.host().at_gate.contains(&"apply"))
            + usize::from(two.host.lock().unwrap().at_gate.contains(&"apply"))
    };
    world.until("the first", async || (at_gate() > 0).then_some(())).await;
    a_while(&world).await;
    assert_eq!(at_gate(), 1);
    world.host().gate = None;
    two.host.lock().unwrap().gate = None;
    world.state(id, "closed").await;
    assert_eq!(world.host().version("paperclip"), "3.0.17-1");
    assert_eq!(two.host.lock().unwrap().version("paperclip"), "3.0.17-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn change_stops_while_too_many_neighbours_are_ill() {
    let (world, folder) = signed(host("one"), &policy("alert", "")).await;
    world.items(1).await;
    let mut others = Vec::new();
    for number in 2..5 {
        let mut ill = Host::new(&format!("other-{number}"), &[]);
        ill.ill = true;
        others.push(world.join(number, ill).await);
    }
    world
        .until("three neighbours", async || {
            let assets = world.client.get("/api/v1/assets").await;
            let judged = assets.as_array().unwrap().iter().filter(|asset| !asset["judged_at"].is_null()).count();
            (judged == 4).then_some(())
        })
        .await;
    write(folder.path(), &policy("auto", ""));
    sign(folder.path());
    waits_on(&world, "3 other assets").await;
    assert_eq!(world.host().version("paperclip"), "3.0.15-1");
    for (number, other) in others.iter().enumerate() {
        other.host.lock().unwrap().ill = false;
        seen(&world, &format!("other-{}", number + 2), true).await;
    }
    in_state(&world, "closed").await;
}

/// Asks for a campaign and waits for its end.
async fn taken_back(world: &World, wanted: Value) -> Value {
    let begun = world.client.post("/api/v1/campaigns", wanted).await;
    let path = format!("/api/v1/campaigns/{}", begun["id"].as_str().unwrap());
    let over = async || {
        let campaign = world.client.get(&path).await;
        (campaign["over"] == true).then_some(campaign)
    };
    world.until("its end", over).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_did_is_taken_back_together_the_last_act_first() {
    let (world, _folder) = signed(host("one"), &policy("auto", "")).await;
    let first = in_state(&world, "closed").await["id"].as_str().unwrap().to_owned();
    // A second act on the same asset.
    world.host().offered.insert("paperclip".to_owned(), "3.0.18-1".to_owned());
    world.client.post("/api/v1/scan", json!({})).await;
    world.until("the second", async || (world.host().version("paperclip") == "3.0.18-1").then_some(())).await;
    world
        .until("both closed", async || {
            let all = world.client.get("/api/v1/remediations").await;
            let all = all.as_array().unwrap();
            (all.len() == 2 && all.iter().all(|one| one["state"] == "closed")).then_some(())
        })
        .await;
    let since = world.client.get(&format!("/api/v1/remediations/{first}")).await["remediation"]["created_at"].clone();
    let wanted = |dry_run: bool| json!({ "policy": "all", "since": since, "reason": "slow", "dry_run": dry_run });
    let shown = world.client.post("/api/v1/campaigns", wanted(true)).await;
    let steps: Vec<&Value> = shown["steps"].as_array().unwrap().iter().map(|step| &step["remediation"]).collect();
    assert_eq!((steps.len(), steps[1] == &json!(first), &shown["id"]), (2, true, &Value::Null), "{shown:#}");
    assert_eq!(world.host().version("paperclip"), "3.0.18-1");

    let over = taken_back(&world, wanted(false)).await;
    let states: Vec<&Value> = over["steps"].as_array().unwrap().iter().map(|step| &step["state"]).collect();
    assert_eq!(states, [&json!("done"), &json!("done")], "{over:#}");
    assert_eq!(world.host().version("paperclip"), "3.0.15-1");
    let told = world.client.get(&format!("/api/v1/ledger?subject={}", over["id"].as_str().unwrap())).await.to_string();
    assert!(told.contains("campaign_undo_asked") && told.contains("campaign_ended"), "{told}");
    let (status, _) = world.client.send(reqwest::Method::POST, "/api/v1/campaigns", Some(wanted(false))).await;
    assert_eq!(status, 409, "nothing is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_did_on_many_hosts_in_one_rollout_is_taken_back_on_all_of_them() {
    let (world, folder) = signed(host("one"), &policy("alert", "")).await;
    world.items(1).await;
    let (two, three) = (world.join(2, host("two")).await, world.join(3, host("three")).await);
    world.items(3).await;
    write(folder.path(), &policy("auto", "limits: {concurrent: 5}\n"));
    sign(folder.path());
    let closed = in_state(&world, "closed").await;
    assert_eq!(closed["assets"].as_array().unwrap().len(), 3, "one rollout: {closed:#}");
    let page = world.client.page(&format!("/remediations/{}", closed["id"].as_str().unwrap())).await;
    for name in ["one", "two", "three"] {
        assert!(page.contains(&format!("title=\"{name}: verified\"")), "each target stands in its wave: {page}");
    }
    let wanted = json!({ "policy": "all", "since": closed["created_at"], "reason": "slow" });
    let over = taken_back(&world, wanted).await;
    assert!(over["steps"].as_array().unwrap().iter().all(|step| step["state"] == "done"), "{over:#}");
    assert_eq!(world.host().version("paperclip"), "3.0.15-1");
    for other in [two, three] {
        assert_eq!(other.host.lock().unwrap().version("paperclip"), "3.0.15-1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_tells_how_long_things_were_open_and_what_they_waited_for() {
    let (world, _folder) = signed(host("one"), &policy("approve", "")).await;
    let waits = in_state(&world, "awaiting_approval").await;
    let id = waits["id"].as_str().unwrap();
    world.clock.forward(3_600);
    world.approve(id, waits["plan"].as_str().unwrap()).await;
    world.state(id, "closed").await;
    let report = world.client.get("/api/v1/report?days=7").await;
    let total = &report["total"];
    assert_eq!((&total["closed"], &total["open"]), (&json!(1), &json!(0)), "{report:#}");
    assert_eq!((&total["untouched_percent"], &total["touches_per_fix_e2"]), (&json!(0), &json!(100)));
    let person = total["gates"]["person"].as_i64().unwrap();
    let whole: i64 = total["gates"].as_object().unwrap().values().map(|seconds| seconds.as_i64().unwrap()).sum();
    assert!(person >= 3_599 && whole - person < 120, "the hour went to a person: {report:#}");
    assert!(world.client.page("/report").await.contains("for a person"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_watches_the_server_reads_figures_with_a_token_and_strangers_only_whether_it_is_well() {
    let world = World::new(host("host")).await;
    world.items(1).await;
    let stranger = world.client.stranger();
    let (status, text) = stranger.send(reqwest::Method::GET, "/api/v1/health", None).await;
    assert_eq!((status.as_u16(), text.as_str()), (200, r#"{"healthy":true}"#));
    assert_eq!(stranger.send(reqwest::Method::GET, "/api/v1/metrics", None).await.0.as_u16(), 401);
    let figures = world.client.page("/api/v1/metrics").await;
    for line in [
        "# TYPE stanch_stage_passes counter",
        "stanch_stage_passes_total{stage=\"decide\",outcome=\"done\"}",
        "stanch_stage_pass_seconds_bucket{",
        "stanch_items 1",
        "stanch_executors_connected 1",
        "stanch_receipts_total",
        "# EOF",
    ] {
        assert!(figures.contains(line), "{line} in {figures}");
    }
}
