//! Newer feeds: what would turn many verdicts waits, what is broken is refused, and the last good one stays.

use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::double::Host;
use crate::world::World;

pub(crate) fn advisory(id: &str, fixed: &str) -> Value {
    json!({
        "schema_version": "1.6.0", "id": id, "modified": "2026-11-20T00:00:00Z",
        "affected": [{
            "package": { "ecosystem": "Debian:12", "name": "paperclip" },
            "ranges": [{ "type": "ECOSYSTEM", "events": [{ "introduced": "0" }, { "fixed": fixed }] }],
        }],
    })
}

fn dated(mut advisory: Value, day: &str) -> Value {
    advisory["modified"] = json!(format!("{day}T00:00:00Z"));
    advisory
}

pub(crate) fn publish(folder: &Path, advisories: &[Value]) {
    let place = folder.join("osv/Debian-12");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("all.zip"), packed(advisories)).unwrap();
}

fn packed(advisories: &[Value]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for advisory in advisories {
        let name = format!("{}.json", advisory["id"].as_str().unwrap());
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(advisory.to_string().as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// The edition that a question was about, and the one the publisher had then.
type Question = (Option<u32>, u32);

/// A publisher that answers a question for what is newer than the edition it has with "nothing".
#[derive(Clone, Default)]
struct Publisher {
    edition: Arc<Mutex<(u32, Vec<u8>)>>,
    asked: Arc<Mutex<Vec<Question>>>,
}

impl Publisher {
    async fn open() -> (Self, String) {
        let publisher = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let answers = publisher.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let answers = answers.clone();
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => request.push(byte),
                            Err(_) => return,
                        }
                    }
                    let request = String::from_utf8(request).unwrap().to_lowercase();
                    drop(stream.write_all(&answers.answer(&request)).await);
                });
            }
        });
        (publisher, address)
    }

    fn publish(&self, advisories: &[Value]) {
        let mut edition = self.edition.lock().unwrap();
        *edition = (edition.0 + 1, packed(advisories));
    }

    fn answer(&self, request: &str) -> Vec<u8> {
        if !request.contains("/osv/debian-12/all.zip ") {
            return b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec();
        }
        let (edition, body) = self.edition.lock().unwrap().clone();
        let asked = request.lines().find_map(|line| line.strip_prefix("if-none-match: \"")?.strip_suffix('"'));
        let asked = asked.map(|asked| asked.parse().unwrap());
        self.asked.lock().unwrap().push((asked, edition));
        if asked == Some(edition) {
            return b"HTTP/1.1 304 Not Modified\r\nconnection: close\r\n\r\n".to_vec();
        }
        let length = body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\netag: \"{edition}\"\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        [head.into_bytes(), body].concat()
    }
}

pub(crate) async fn feed(world: &World, name: &str) -> Option<Value> {
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

#[tokio::test(flavor = "multi_thread")]
async fn nothing_newer_is_said_of_the_edition_in_force_and_never_of_one_that_waits() {
    let (publisher, address) = Publisher::open().await;
    publisher.publish(&[advisory("DEBIAN-CVE-2026-0001", "3.0.17-1"), advisory("DEBIAN-CVE-2026-0002", "3.0.16-1")]);
    let host = Host::new("host", &[("paperclip", "3.0.15-1", "3.0.17-1")]);
    let world = World::with_feeds(host, vec![address]).await;
    world.items(1).await;
    let asked = || publisher.asked.lock().unwrap().len();
    let look = async || {
        let before = asked();
        world.client.post("/api/v1/feeds/refresh", json!({})).await;
        world.until("a question to the publisher", async || (asked() > before).then_some(())).await;
    };
    let in_force = async |count: usize| {
        world.until("the edition", async || (advisories(&world).await.len() == count).then_some(())).await;
    };
    let pending = async || {
        let of = async || feed(&world, "osv/Debian-12").await?["pending"]["digest"].as_str().map(str::to_owned);
        world.until("the question to people", of).await
    };
    let accept = async |digest: String| {
        let word = json!({ "name": "osv/Debian-12", "digest": digest, "accept": true });
        world.client.post("/api/v1/feeds/judge", word).await;
    };
    look().await;
    let digest = world
        .until("the first edition", async || {
            let feed = feed(&world, "osv/Debian-12").await?;
            let pending = feed["pending"]["digest"].as_str().map(str::to_owned);
            (pending.is_some() || feed["snapshot"] == false).then_some(pending)
        })
        .await;
    if let Some(digest) = digest {
        accept(digest).await;
    }
    in_force(2).await;
    look().await;

    // This one would turn too much: it waits, and what is in force is not called newer than it is.
    publisher.publish(&[advisory("DEBIAN-CVE-2026-0003", "2.0-1")]);
    look().await;
    let waits = pending().await;
    let checked = feed(&world, "osv/Debian-12").await.unwrap()["fetched_at"].clone();
    for _ in 0..2 {
        world.clock.forward(3_600);
        look().await;
    }
    let about = publisher.asked.lock().unwrap().clone();
    assert!(!about.contains(&(Some(2), 2)), "nobody asks by an edition that waits: {about:?}");
    assert_eq!(feed(&world, "osv/Debian-12").await.unwrap()["fetched_at"], checked);
    assert_eq!(pending().await, waits, "it is one question");
    accept(waits).await;
    in_force(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_a_folder_is_as_old_as_its_content_and_an_older_edition_waits() {
    let source = tempfile::tempdir().unwrap();
    let one = || advisory("DEBIAN-CVE-2026-0001", "3.0.17-1");
    publish(source.path(), &[dated(one(), "2020-01-01")]);
    let host = Host::new("host", &[("paperclip", "3.0.15-1", "3.0.17-1")]);
    let world = World::with_feeds(host, vec![source.path().display().to_string()]).await;
    world.items(1).await;
    let taken = async |day: &str| {
        world.client.post("/api/v1/feeds/refresh", json!({})).await;
        world
            .until("the edition", async || {
                let feed = feed(&world, "osv/Debian-12").await?;
                feed["dated"].as_str().is_some_and(|dated| dated.starts_with(day)).then_some(feed)
            })
            .await
    };
    let old = taken("2020-01-01").await;
    assert_eq!((&old["stale"], &old["snapshot"]), (&json!(true), &json!(false)), "found just now, and old: {old:#}");

    // The same verdicts, newer and then from before.
    publish(source.path(), &[dated(one(), "2026-11-20")]);
    taken("2026-11-20").await;
    publish(source.path(), &[dated(one(), "2019-01-01")]);
    world.client.post("/api/v1/feeds/refresh", json!({})).await;
    let waits = world
        .until("the question", async || feed(&world, "osv/Debian-12").await.filter(|feed| feed["pending"].is_object()))
        .await;
    assert!(waits["dated"].as_str().unwrap().starts_with("2026-11-20"), "{waits:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_counts_from_the_day_on_which_a_problem_was_known_and_there() {
    let source = tempfile::tempdir().unwrap();
    let mut known = advisory("DEBIAN-CVE-2026-0001", "3.0.17-1");
    let host = Host::new("host", &[("paperclip", "3.0.15-1", "3.0.17-1")]);
    let world = World::with_feeds(host, vec![source.path().display().to_string()]).await;
    let day = jiff::SignedDuration::from_hours(24);
    let now = stanch_server::Clock::now(world.clock.as_ref());
    known["published"] = json!((now - day * 40).to_string());
    world.host().installed_at = Some(now - day * 3 - day / 24);
    publish(source.path(), &[known]);
    world.items(1).await;
    world.client.post("/api/v1/feeds/refresh", json!({})).await;
    let feed_of = async || {
        feed(&world, "osv/Debian-12").await.filter(|feed| feed["snapshot"] == false || feed["pending"].is_object())
    };
    let waits = world.until("the feed", feed_of).await;
    if waits["pending"].is_object() {
        let word = json!({ "name": "osv/Debian-12", "digest": waits["pending"]["digest"], "accept": true });
        world.client.post("/api/v1/feeds/judge", word).await;
    }
    world.client.post("/api/v1/scan", json!({})).await;
    let days = async || {
        let report = world.client.get("/api/v1/report?days=7").await;
        report["total"]["gates"]["before_detection"].as_i64().map(|seconds| seconds / 86_400)
    };
    assert_eq!(world.until("its exposure", days).await, 3, "it was published long before it was installed");
}
