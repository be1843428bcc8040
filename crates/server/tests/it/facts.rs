//! Facts of many hosts: told as what is different, believed only as far as they lead where they say, and kept so that it
//! can be told what was installed when. A new advisory has only the hosts judged that carry what it names.

use std::path::Path;

use serde_json::{Value, json};

use crate::double::Host;
use crate::feeds::{advisory, feed, publish};
use crate::world::{Client, World};

async fn id(world: &World, name: &str) -> String {
    let found = async || {
        let found = world.client.get(&format!("/api/v1/assets?named={name}")).await;
        found[0]["id"].as_str().map(str::to_owned)
    };
    world.until("the asset", found).await
}

/// How often something was noted of an asset.
async fn noted(world: &World, id: &str, event: &str) -> usize {
    let page = world.client.get(&format!("/api/v1/ledger?limit=500&subject={id}")).await;
    let entries = page["entries"].as_array().unwrap_or_else(|| panic!("{page}"));
    entries.iter().filter(|entry| entry["kind"] == event).count()
}

/// Has facts read once more, and waits until they were judged.
async fn read_again(world: &World, id: &str) {
    let before = noted(world, id, "findings_judged").await;
    world.clock.forward(1);
    world.client.post("/api/v1/scan", json!({})).await;
    world.until("facts", async || (noted(world, id, "findings_judged").await > before).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_are_told_as_what_is_different_and_what_was_installed_when_is_kept() {
    let host = Host::new("host", &[("paperclip", "3.0.15-1", "3.0.17-1"), ("stapler", "1.0-1", "1.0-1")]);
    let world = World::new(host).await;
    world.items(1).await;
    let id = id(&world, "host").await;
    read_again(&world, &id).await;
    world.host().installed.insert("paperclip".to_owned(), "3.0.17-1".to_owned());
    read_again(&world, &id).await;
    world.items(0).await;
    let asked = world.host().asked_since.clone();
    assert_eq!(asked[0], None, "all of it at first");
    assert!(asked.len() > 2 && asked[1].is_some(), "{asked:?}");
    assert!(asked[1..].iter().all(|since| *since == asked[1]), "nothing had changed until then: {asked:?}");
    let history = world.client.get(&format!("/api/v1/assets/{id}/history?package=paperclip")).await;
    let [now, before] = history["versions"].as_array().unwrap().as_slice() else { panic!("{history:#}") };
    assert_eq!((&now["version"], &now["until"]), (&json!("3.0.17-1"), &Value::Null));
    assert_eq!(
        (&before["version"], &before["until"], &before["baseline"]),
        (&json!("3.0.15-1"), &now["from"], &json!(true))
    );
    let then = world.client.get(&format!("/api/v1/assets/{id}/history?at={}", before["from"].as_str().unwrap())).await;
    let then: Vec<_> =
        then["versions"].as_array().unwrap().iter().map(|one| one["version"].as_str().unwrap()).collect();
    assert_eq!(then, ["3.0.15-1", "1.0-1"]);
    let page = world.client.page(&format!("/hosts/{id}")).await;
    assert!(page.contains("Packages that changed") && page.contains("<del>3.0.15-1</del>"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_that_does_not_lead_where_it_says_is_refused_and_all_of_it_is_asked_for() {
    let world = World::new(Host::new("host", &[("paperclip", "3.0.15-1", "3.0.17-1")])).await;
    world.items(1).await;
    let id = id(&world, "host").await;
    {
        let mut host = world.host();
        host.installed.insert("paperclip".to_owned(), "3.0.17-1".to_owned());
        host.miscounts = true;
    }
    read_again(&world, &id).await;
    world.items(0).await;
    assert_eq!(noted(&world, &id, "facts_refused").await, 1);
    let asked = world.host().asked_since.clone();
    let refused = asked.iter().position(Option::is_some).unwrap();
    assert_eq!(asked[refused + 1], None, "{asked:?}");
    // From here on differences are told again.
    read_again(&world, &id).await;
    assert!(world.host().asked_since.last().unwrap().is_some());
    assert_eq!(noted(&world, &id, "facts_refused").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_forgot_what_it_told_or_never_knew_differences_tells_all_of_it() {
    let mut world = World::new(Host::new("host", &[("paperclip", "3.0.15-1", "3.0.17-1")])).await;
    world.items(1).await;
    let id = id(&world, "host").await;
    world.host().told = None;
    read_again(&world, &id).await;
    assert_eq!(noted(&world, &id, "facts_refused").await, 0);
    // After a day all of it is asked for, whatever was told.
    world.clock.forward(25 * 3_600);
    world.client = Client::sign_in(world.running.as_ref().unwrap()).await;
    read_again(&world, &id).await;
    let asked = world.host().asked_since.clone();
    assert!(asked[1].is_some() && asked.last().unwrap().is_none(), "{asked:?}");
    world.stop().await;
    world.host().old = true;
    world.start().await;
    world.host().installed.insert("paperclip".to_owned(), "3.0.17-1".to_owned());
    read_again(&world, &id).await;
    world.items(0).await;
    assert!(world.host().asked_since.last().unwrap().is_none());
}

fn exploited(folder: &Path, cve: &str) {
    std::fs::create_dir_all(folder.join("kev")).unwrap();
    let list = json!({ "dateReleased": "2026-11-21T00:00:00Z",
        "vulnerabilities": [{ "cveID": cve, "dateAdded": "2026-11-21" }] });
    std::fs::write(folder.join("kev/known_exploited_vulnerabilities.json"), list.to_string()).unwrap();
}

/// Has the folder read and takes what waits there for a person, until so many advisories are in force.
async fn taken(world: &World, records: u64) {
    let name = "osv/Debian-12";
    world.client.post("/api/v1/feeds/refresh", json!({})).await;
    let look = async || {
        let now = feed(world, name).await?;
        if now["pending"].is_object() {
            let word = json!({ "name": name, "digest": now["pending"]["digest"], "accept": true });
            world.client.send(reqwest::Method::POST, "/api/v1/feeds/judge", Some(word)).await;
            return None;
        }
        (now["snapshot"] == false && now["records"] == records).then_some(())
    };
    world.until("the edition", look).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_advisory_has_only_those_judged_that_carry_what_it_names_and_a_score_nobody() {
    let source = tempfile::tempdir().unwrap();
    publish(source.path(), &[advisory("DEBIAN-CVE-2026-0009", "0.1-1")]);
    let plain = |name: &str| Host::new(name, &[("stapler", "1.0-1", "1.1-1")]);
    let world = World::with_feeds(plain("plain-0"), vec![source.path().display().to_string()]).await;
    for number in 1..5 {
        world.join(number, plain(&format!("plain-{number}"))).await;
    }
    for number in 5..7 {
        let host = Host::new(&format!("clip-{number}"), &[("paperclip", "3.0.15-1", "3.0.15-1")]);
        world.join(number, host).await;
    }
    world.items(5).await;
    taken(&world, 1).await;
    let names: Vec<String> = (0..5).map(|n| format!("plain-{n}")).chain((5..7).map(|n| format!("clip-{n}"))).collect();
    let mut ids = Vec::new();
    for name in &names {
        ids.push(id(&world, name).await);
    }
    let counts = async || {
        let mut all = Vec::new();
        for id in &ids {
            all.push(noted(&world, id, "findings_judged").await);
        }
        all
    };
    let before = counts().await;
    world.clock.forward(1);
    world.client.post("/api/v1/scan", json!({})).await;
    let settled = async || {
        let now = counts().await;
        now.iter().zip(&before).all(|(now, before)| now > before).then_some(now)
    };
    let before = world.until("all of them to be judged by the first edition", settled).await;
    publish(source.path(), &[advisory("DEBIAN-CVE-2026-0001", "3.0.17-1"), advisory("DEBIAN-CVE-2026-0009", "0.1-1")]);
    taken(&world, 2).await;
    world.items(7).await;
    let after = counts().await;
    let more: Vec<usize> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
    assert_eq!(more, [0, 0, 0, 0, 0, 1, 1], "judged once each, and nobody else");

    // That it is exploited is no matter of the detectors: what was found is assessed again.
    exploited(source.path(), "CVE-2026-0001");
    world.client.post("/api/v1/feeds/refresh", json!({})).await;
    let hot = async || {
        let items = world.client.get("/api/v1/items").await;
        let hot = items["items"].as_array().unwrap().iter().filter(|item| item["known_exploited"] == true).count();
        (hot == 2).then_some(())
    };
    world.until("both to be known as exploited", hot).await;
    assert_eq!(counts().await, after, "no detector ran");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_newer_edition_touches_is_judged_although_the_server_was_killed_in_between() {
    let source = tempfile::tempdir().unwrap();
    publish(source.path(), &[advisory("DEBIAN-CVE-2026-0009", "0.1-1")]);
    let host = Host::new("host", &[("paperclip", "3.0.15-1", "3.0.15-1")]);
    let mut world = World::with_feeds(host, vec![source.path().display().to_string()]).await;
    let id = id(&world, "host").await;
    world.until("facts", async || (noted(&world, &id, "findings_judged").await > 0).then_some(())).await;
    taken(&world, 1).await;
    publish(source.path(), &[advisory("DEBIAN-CVE-2026-0001", "3.0.17-1"), advisory("DEBIAN-CVE-2026-0009", "0.1-1")]);
    taken(&world, 2).await;
    world.kill().await;
    // Its host says nothing any more: only the list can bring it up.
    world.start().await;
    world.unplug().await;
    world.items(1).await;
}
