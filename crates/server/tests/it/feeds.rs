//! Newer feeds: what would turn many verdicts waits, what is broken is refused, and the last good one stays.

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::double::Host;
use crate::world::World;

fn advisory(id: &str, fixed: &str) -> Value {
    json!({
        "schema_version": "1.6.0", "id": id, "modified": "2026-11-20T00:00:00Z",
        "affected": [{
            "package": { "ecosystem": "Debian:12", "name": "paperclip" },
            "ranges": [{ "type": "ECOSYSTEM", "events": [{ "introduced": "0" }, { "fixed": fixed }] }],
        }],
    })
}

fn publish(folder: &Path, advisories: &[Value]) {
    let place = folder.join("osv/Debian-12");
    std::fs::create_dir_all(&place).unwrap();
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for advisory in advisories {
        let name = format!("{}.json", advisory["id"].as_str().unwrap());
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(advisory.to_string().as_bytes()).unwrap();
    }
    std::fs::write(place.join("all.zip"), zip.finish().unwrap().into_inner()).unwrap();
}

async fn feed(world: &World, name: &str) -> Option<Value> {
    let feeds = world.client.get("/api/v1/feeds").await;
    feeds.as_array().unwrap().iter().find(|feed| feed["name"] == name).cloned()
}

async fn advisories(world: &World) -> Vec<String> {
    let found = world.client.get("/api/v1/findings?detector=advisory").await;
    found["findings"].as_array().unwrap().iter().map(|one| one["advisory"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_would_turn_many_verdicts_waits_for_a_person_and_a_broken_one_never_counts() {
    let source = tempfile::tempdir().unwrap();
    publish(
        source.path(),
        &[advisory("DEBIAN-CVE-2026-0001", "3.0.17-1"), advisory("DEBIAN-CVE-2026-0002", "3.0.16-1")],
    );
    let host = Host::new("host", &[("paperclip", "3.0.15-1", "3.0.17-1")]);
    let world = World::with_feeds(host, vec![source.path().display().to_string()]).await;
    world.items(1).await;
    // Read before there were facts, it would have turned nothing; now it would.
    world.client.post("/api/v1/feeds/refresh", json!({})).await;
    let waits = async |world: &World| {
        world
            .until("the feed", async || {
                let feed = feed(world, "osv/Debian-12").await?;
                let waits = feed["pending"].is_object() || feed["snapshot"] == false;
                waits.then_some(feed)
            })
            .await
    };
    let mut current = waits(&world).await;
    if current["pending"].is_object() {
        assert!(advisories(&world).await.is_empty(), "it is not in force before a person says so");
        let word = json!({ "name": "osv/Debian-12", "digest": current["pending"]["digest"], "accept": true });
        let wrong = json!({ "name": "osv/Debian-12", "digest": "0", "accept": true });
        assert_eq!(world.client.refused("/api/v1/feeds/judge", wrong).await.0, 409);
        assert!(world.client.page("/feeds").await.contains("a newer one waits for you"));
        world.client.post("/api/v1/feeds/judge", word).await;
        current = waits(&world).await;
    }
    assert_eq!(current["snapshot"], false, "{current}");
    let both = ["DEBIAN-CVE-2026-0001", "DEBIAN-CVE-2026-0002"];
    let seen = async |ids: &[&str]| {
        let mut now = advisories(&world).await;
        now.sort();
        (now == ids).then_some(())
    };
    world.until("both findings", async || seen(&both).await).await;

    // Two of three verdicts would go: that waits, and nothing changes meanwhile.
    publish(source.path(), &[advisory("DEBIAN-CVE-2026-0003", "2.0-1")]);
    world.client.post("/api/v1/feeds/refresh", json!({})).await;
    let pending = world
        .until("the question", async || feed(&world, "osv/Debian-12").await.filter(|feed| feed["pending"].is_object()))
        .await;
    assert_eq!(pending["pending"]["changed"], 2);
    seen(&both).await.unwrap();
    let word = json!({ "name": "osv/Debian-12", "digest": pending["pending"]["digest"], "accept": false });
    world.client.post("/api/v1/feeds/judge", word).await;
    seen(&both).await.unwrap();

    std::fs::write(source.path().join("osv/Debian-12/all.zip"), b"not a zip").unwrap();
    world.client.post("/api/v1/feeds/refresh", json!({})).await;
    let refused = world.until("the refusal", async || feed(&world, "folder").await).await;
    assert!(!refused["error"].as_str().unwrap().is_empty(), "{refused}");
    seen(&both).await.unwrap();
    assert!(world.client.page("/feeds").await.contains(refused["error"].as_str().unwrap().split(':').next().unwrap()));
}
