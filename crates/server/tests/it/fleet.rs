//! A fleet: hosts page by page, one problem over all of them, who may see which, and who lets hosts in.

use std::io::Write as _;
use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};
use stanch_model::facts::{Call, Talks};
use stanch_store::Store;

use crate::double::Host;
use crate::world::World;

const PASSWORD: &str = "correct horse battery";

fn host(name: &str) -> Host {
    Host::new(name, &[("paperclip", "3.0.15-1", "3.0.17-1")])
}

/// Advisories of one feed, as its publisher packs them.
fn publish(folder: &Path, ids: &[&str]) {
    let place = folder.join("osv/Debian-12");
    std::fs::create_dir_all(&place).unwrap();
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for id in ids {
        let advisory = json!({
            "schema_version": "1.6.0", "id": id, "modified": "2026-11-20T00:00:00Z",
            "affected": [{
                "package": { "ecosystem": "Debian:12", "name": "paperclip" },
                "ranges": [{ "type": "ECOSYSTEM", "events": [{ "introduced": "0" }, { "fixed": "3.0.17-1" }] }],
            }],
        });
        zip.start_file(format!("{id}.json"), zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(advisory.to_string().as_bytes()).unwrap();
    }
    std::fs::write(place.join("all.zip"), zip.finish().unwrap().into_inner()).unwrap();
}

/// Waits until the published advisories are in force, saying yes to them where a person is asked.
async fn published(world: &World) {
    world
        .until("the feed", async || {
            let feeds = world.client.get("/api/v1/feeds").await;
            let feed = feeds.as_array().unwrap().iter().find(|feed| feed["name"] == "osv/Debian-12")?.clone();
            if feed["pending"].is_object() {
                let word = json!({ "name": feed["name"], "digest": feed["pending"]["digest"], "accept": true });
                world.client.post("/api/v1/feeds/judge", word).await;
            }
            (feed["snapshot"] == false).then_some(())
        })
        .await;
}

async fn named(world: &World, name: &str) -> Value {
    world
        .until(name, async || {
            let found = world.client.get(&format!("/api/v1/assets?named={name}")).await;
            found.as_array().unwrap().iter().find(|asset| !asset["judged_at"].is_null()).cloned()
        })
        .await
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|asset| asset["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_come_by_name_page_by_page_and_are_narrowed_in_the_store() {
    let world = World::new(host("carl")).await;
    for (number, name) in [(2, "anna"), (3, "dora"), (4, "bert")] {
        world.join(number, host(name)).await;
    }
    for name in ["anna", "bert", "carl", "dora"] {
        named(&world, name).await;
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = world.client.get(&format!("/api/v1/assets?limit=3{after}")).await;
        seen.extend(names(&page).into_iter().map(str::to_owned));
        if page.as_array().unwrap().len() < 3 {
            break;
        }
        after = format!("&after={}", page[2]["id"].as_str().unwrap());
    }
    assert_eq!(seen, ["anna", "bert", "carl", "dora"]);

    let anna = named(&world, "anna").await;
    let id = anna["id"].as_str().unwrap();
    assert_eq!(
        (&anna["state"], &anna["items"], &anna["items_actionable"]),
        (&json!("connected"), &json!(1), &json!(1))
    );
    assert_eq!(anna["executor"]["version"], "9.9.9");
    assert_eq!(anna["executor"]["actions"], json!(["package.upgrade"]));
    assert_eq!(anna["blind"], json!(["no_policy", "unmatched"]), "no policy and no feed knows it: {anna:#}");
    let said = json!({ "environment": "prod", "labels": { "ring": "1", "role": "web" } });
    world.client.post(&format!("/api/v1/assets/{id}/labels"), said).await;
    for narrow in ["ring=1", "environment=prod", "label=role%3Dweb", "label=role", "name=NN", "label=role,ring%3D1"] {
        let found = world.client.get(&format!("/api/v1/assets?{narrow}")).await;
        assert_eq!(names(&found), ["anna"], "{narrow}");
    }
    for none in ["ring=2", "state=away", "blind=frozen", "blind=unsupported", "kind=account", "label=role%3Ddb"] {
        assert_eq!(world.client.get(&format!("/api/v1/assets?{none}")).await, json!([]), "{none}");
    }
    for wrong in ["state=asleep", "blind=deaf", "kind=toaster", "after=x", "colour=red"] {
        let (status, text) = world.client.send(Method::GET, &format!("/api/v1/assets?{wrong}"), None).await;
        assert_eq!(status, 400, "{wrong}: {text}");
    }

    let page = world.client.page("/hosts?limit=3").await;
    assert!(page.contains("4 hosts") && page.contains("Show the next ones") && !page.contains(">dora<"), "{page}");
    let page = world.client.page("/hosts?ring=1&environment=&state=").await;
    assert!(page.contains(">anna<") && !page.contains(">bert<") && page.contains("ring 1"), "{page}");
    let page = world.client.page(&format!("/hosts/{id}")).await;
    for told in ["paperclip", "9.9.9", "Labelled", "What people say of it", "Put it out"] {
        assert!(page.contains(told), "{told}: {page}");
    }
    let found = async |typed: &str| {
        let answer = world.client.raw(&[("cookie", &world.client.cookie)], &format!("/search?q={typed}")).await;
        answer.headers()["location"].to_str().unwrap().to_owned()
    };
    assert_eq!(found("anna").await, format!("/hosts/{id}"));
    assert_eq!(found("CVE-2024-3094").await, "/cves/CVE-2024-3094");
    assert_eq!(found("an%20na").await, "/hosts?kind=&name=an%20na");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_seen_is_counted_and_leads_to_the_hosts_it_is_about() {
    // Of the one the built-in feeds know something.
    let known = [("paperclip", "3.0.15-1", "3.0.17-1"), ("openssl", "99-1", "99-1")];
    let mut world = World::new(Host::new("carl", &known)).await;
    world.join(2, Host::new("bare", &[])).await;
    named(&world, "carl").await;
    let bare = named(&world, "bare").await;
    assert_eq!(bare["blind"], json!(["unmatched"]), "no feed knows anything that is on it: {bare:#}");
    let blind = async |world: &World, name: &str| {
        let status = world.client.get("/api/v1/status").await;
        let one = status["blind"].as_array().unwrap().iter().find(|one| one["name"] == name).cloned();
        (status["hosts"].clone(), one.map_or(json!(0), |one| one["hosts"].clone()))
    };
    assert_eq!(blind(&world, "unmatched").await, (json!(2), json!(1)));
    assert_eq!(blind(&world, "stale").await.1, 0);
    assert!(world.client.page("/").await.contains("/hosts?blind=unmatched"));
    let page = world.client.page("/hosts?blind=unmatched").await;
    assert!(page.contains(">bare<") && !page.contains(">carl<"), "{page}");

    // Nobody calls any more, and nothing is read.
    world.unplug().await;
    let carl = named(&world, "carl").await;
    let executor = carl["executor"]["id"].as_str().unwrap();
    world.client.post(&format!("/api/v1/executors/{executor}/revoke"), json!({ "reason": "sold" })).await;
    assert_eq!(names(&world.client.get("/api/v1/assets?state=put_out").await), ["carl"]);
    assert_eq!(blind(&world, "frozen").await.1, 1);
    world.clock.forward(5 * 7 * 24 * 3600);
    world.client = crate::world::Client::sign_in(world.running.as_ref().unwrap()).await;
    let carl = world.client.get("/api/v1/assets?named=carl").await[0].clone();
    assert!(carl["blind"].as_array().unwrap().contains(&json!("stale")), "{carl:#}");
    assert_eq!(names(&world.client.get("/api/v1/assets?blind=stale&name=car").await), ["carl"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_problem_tells_where_it_is_what_is_done_and_what_could_not_be_looked_at() {
    let feeds = tempfile::tempdir().unwrap();
    publish(feeds.path(), &["DEBIAN-CVE-2026-0001"]);
    let world = World::with_feeds(host("one"), vec![feeds.path().display().to_string()]).await;
    world.join(2, host("two")).await;
    world.join(3, Host::new("bare", &[])).await;
    published(&world).await;
    let cve = async || world.client.get("/api/v1/cves/CVE-2026-0001").await;
    let told = world
        .until("both hosts", async || {
            named(&world, "bare").await;
            let told = cve().await;
            (told["hosts"]["exposed"] == 2 && told["hosts"]["looked_at"] == 2).then_some(told)
        })
        .await;
    assert_eq!((&told["hosts"]["all"], &told["hosts"]["not_looked_at"]), (&json!(3), &json!(1)), "{told:#}");
    assert_eq!(told["hosts"]["unseen"][0]["name"], "unmatched");
    assert_eq!(told["hosts"]["by_state"], json!({ "open": 2 }));
    assert_eq!(told["other_names"], json!(["DEBIAN-CVE-2026-0001"]));
    assert_eq!((&told["known"], &told["severity"], &told["epss_e5"]), (&json!(true), &json!("unknown"), &Value::Null));
    let place = &told["places"][0];
    assert_eq!(
        (&place["package"], &place["version"], &place["fixed_version"]),
        (&json!("paperclip"), &json!("3.0.15-1"), &json!("3.0.17-1"))
    );
    let finish = told["finish"].as_str().unwrap();
    assert!(
        finish.contains("2 places can be fixed and nobody has asked for it") && finish.contains("no policy"),
        "{finish}"
    );
    for name in ["DEBIAN-CVE-2026-0001", "cve-2026-0001"] {
        assert_eq!(world.client.get(&format!("/api/v1/cves/{name}")).await["hosts"], told["hosts"], "{name}");
    }
    // Page by page, each place once.
    let first = world.client.get("/api/v1/cves/CVE-2026-0001?limit=1").await;
    let next = first["next"].as_str().unwrap();
    let second = world.client.get(&format!("/api/v1/cves/CVE-2026-0001?limit=1&after={next}")).await;
    assert_eq!(second["next"], Value::Null);
    assert_ne!(first["places"][0]["asset"], second["places"][0]["asset"]);

    let item = world.host().item("paperclip").to_string();
    let (id, plan) = world.planned(&[&item]).await;
    let told = cve().await;
    assert_eq!(told["hosts"]["by_state"], json!({ "open": 1, "in_work": 1 }), "{told:#}");
    assert_eq!((&told["work"][0]["id"], &told["work"][0]["waits_for"]), (&json!(id), &json!("whoever may approve it")));
    assert!(told["work"][0]["ends_at"].is_string(), "it can be foretold: {told:#}");
    assert_eq!(told["finished_at"], Value::Null, "one of them has no time");
    world.approve(&id, &plan).await;
    world.state(&id, "closed").await;
    let told = cve().await;
    assert_eq!(told["hosts"]["by_state"], json!({ "open": 1, "fixed": 1 }), "{told:#}");
    assert_eq!(told["hosts"]["exposed"], 1);
    let fixed = world.client.get("/api/v1/cves/CVE-2026-0001?state=fixed").await;
    assert_eq!(fixed["places"].as_array().unwrap().len(), 1);
    assert!(fixed["places"][0]["closed_at"].is_string());

    let page = world.client.page("/cves/CVE-2026-0001").await;
    for told in [">one<", ">two<", "could not be looked at", "/hosts?blind=unmatched", "nobody has asked for it"] {
        assert!(page.contains(told), "{told}: {page}");
    }
    let finding = told["places"][0]["finding"].as_str().unwrap();
    assert!(world.client.page(&format!("/findings/{finding}")).await.contains("/cves/CVE-2026-0001"));
    let nobody = world.client.get("/api/v1/cves/CVE-1999-0001").await;
    assert_eq!((&nobody["known"], &nobody["hosts"]["exposed"]), (&json!(false), &json!(0)));
    assert!(world.client.page("/cves/CVE-1999-0001").await.contains("says nothing"));
    let (status, _) = world.client.send(Method::GET, "/api/v1/cves/%3Cscript%3E", None).await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_owns_some_hosts_sees_those_alone_also_in_a_problem() {
    let feeds = tempfile::tempdir().unwrap();
    publish(feeds.path(), &["DEBIAN-CVE-2026-0001"]);
    let world = World::with_feeds(host("one"), vec![feeds.path().display().to_string()]).await;
    world.join(2, host("two")).await;
    published(&world).await;
    let (one, two) = (named(&world, "one").await, named(&world, "two").await);
    let (one, two) = (one["id"].as_str().unwrap(), two["id"].as_str().unwrap());
    world.client.post("/api/v1/teams", json!({ "name": "web" })).await;
    world.client.post(&format!("/api/v1/assets/{one}/labels"), json!({ "owner": "web" })).await;
    let wim = world.client.person("wim", &[("owner", "team/web")], PASSWORD).await;
    world
        .until("the problem", async || {
            let told = world.client.get("/api/v1/cves/CVE-2026-0001").await;
            (told["hosts"]["exposed"] == 2).then_some(())
        })
        .await;
    assert_eq!(names(&wim.get("/api/v1/assets").await), ["one"]);
    assert_eq!(wim.get("/api/v1/assets?named=two").await, json!([]));
    let told = wim.get("/api/v1/cves/CVE-2026-0001").await;
    assert_eq!((&told["hosts"]["exposed"], &told["hosts"]["all"]), (&json!(1), &json!(1)), "{told:#}");
    assert_eq!(told["places"].as_array().unwrap().len(), 1);
    let page = wim.page("/hosts").await;
    assert!(page.contains(">one<") && !page.contains(">two<") && !page.contains("/enrolment"), "{page}");
    let page = wim.page(&format!("/hosts/{one}")).await;
    assert!(!page.contains("Put it out") && !page.contains("Say so"), "what they may not do is not offered: {page}");
    for hidden in [format!("/hosts/{two}"), "/enrolment".to_owned()] {
        let (status, text) = wim.send(Method::GET, &hidden, None).await;
        assert_eq!(status, 404, "{hidden}: {text}");
    }
    for form in [format!("/assets/{one}/labels"), "/enrolment".to_owned(), "/enrolment/confirm".to_owned()] {
        let (status, _) = wim.form(&form, &format!("csrf={}", wim.csrf)).await;
        assert_eq!(status, 404, "{form}");
    }
}

/// A host that has this address and calls these ports of others.
fn talking(name: &str, address: &str, calls: &[(&str, u16)]) -> Host {
    let mut talking = host(name);
    let call = |(address, port): &(&str, u16)| Call {
        address: address.parse().unwrap(),
        port: *port,
        program: Some("app".to_owned()),
    };
    talking.talks =
        Some(Talks { addresses: [address.parse().unwrap()].into(), calls: calls.iter().map(call).collect() });
    talking
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_between_hosts_are_proposed_and_of_all_others_nothing_is_kept() {
    let mut world = World::new(talking("db", "10.0.0.2", &[])).await;
    named(&world, "db").await;
    let call = [("10.0.0.2", 5432), ("10.0.0.2", 6379), ("192.0.2.7", 443), ("10.0.0.9", 22)];
    world.join(2, talking("web", "10.0.0.1", &call)).await;
    // Two that claim one address tell nothing of who is called.
    world.join(3, talking("one", "10.0.0.9", &[])).await;
    world.join(4, talking("other", "10.0.0.9", &[])).await;
    for name in ["web", "one", "other"] {
        named(&world, name).await;
    }
    let seen = world
        .until("the calls", async || {
            world.client.post("/api/v1/scan", json!({})).await;
            let seen = world.client.get("/api/v1/edges?proposed=true").await;
            (seen.as_array().unwrap().len() == 2).then_some(seen)
        })
        .await;
    assert!(!seen.to_string().contains("192.0.2.7") && !seen.to_string().contains("10.0."), "{seen}");
    let web = named(&world, "web").await;
    let id = web["id"].as_str().unwrap();

    let judged = |port: u16, depends: bool| {
        let one = seen.as_array().unwrap().iter().find(|one| one["port"] == port).unwrap();
        json!({ "from": one["from"], "to": one["to"], "port": port, "depends": depends })
    };
    let dismissed = world.client.post("/api/v1/edges", judged(6379, false)).await;
    assert_eq!(dismissed["state"], "dismissed");
    let page = world.client.page(&format!("/hosts/{id}")).await;
    assert!(page.contains("web calls db at port 5432") && !page.contains("6379"), "{page}");
    world.client.post("/api/v1/scan", json!({})).await;
    let left = world.client.get("/api/v1/edges?proposed=true").await;
    assert_eq!(left.as_array().unwrap().len(), 1, "what was dismissed is not asked again: {left}");

    let linked = world.client.post("/api/v1/edges", judged(5432, true)).await;
    assert_eq!(linked["state"], "linked");
    let web = world.client.get(&format!("/api/v1/assets/{id}")).await;
    assert_eq!(web["links"], json!([{ "from": "web", "kind": "depends_on", "to": "db" }]));
    assert_eq!(world.client.get("/api/v1/edges?proposed=true").await, json!([]));

    let asset = id.parse().unwrap();
    world.stop().await;
    let store = Store::open(&world.folder.path().join("stanch.db")).await.unwrap();
    let facts = store.facts(&asset).await.unwrap().unwrap();
    assert_eq!(facts.facts.talks, None, "no peer outside of the fleet is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_says_on_the_page_whose_a_host_is_and_how_it_hangs_together() {
    let world = World::new(host("one")).await;
    world.join(2, host("two")).await;
    let (one, two) = (named(&world, "one").await, named(&world, "two").await);
    let (one, two) = (one["id"].as_str().unwrap(), two["id"].as_str().unwrap());
    let csrf = &world.client.csrf;
    let said = format!("csrf={csrf}&environment=prod&owner=&classification=&tier=2&labels=ring%3D1+role%3Dweb");
    let (status, to) = world.client.form(&format!("/assets/{one}/labels"), &said).await;
    assert_eq!((status.as_u16(), to), (303, format!("/hosts/{one}")));
    world.client.form(&format!("/assets/{one}/links"), &format!("csrf={csrf}&kind=depends_on&to=two")).await;
    let asset = world.client.get(&format!("/api/v1/assets/{one}")).await;
    assert_eq!(
        (&asset["environment"], &asset["tier"], &asset["labels"]["role"]),
        (&json!("prod"), &json!(2), &json!("web"))
    );
    assert_eq!(asset["links"], json!([{ "from": "one", "kind": "depends_on", "to": "two" }]));
    assert_eq!(world.client.get(&format!("/api/v1/assets/{two}")).await["links"], asset["links"]);
    let (status, _) =
        world.client.form(&format!("/assets/{one}/links"), &format!("csrf={csrf}&kind=depends_on&to=x")).await;
    assert_eq!(status, 400);
    let away = format!("csrf={csrf}&kind=depends_on&to=two&remove=true");
    world.client.form(&format!("/assets/{one}/links"), &away).await;
    assert_eq!(world.client.get(&format!("/api/v1/assets/{one}")).await["links"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_made_on_the_page_shown_once_with_its_command_and_taken_away() {
    let mut world = World::new(host("one")).await;
    let csrf = world.client.csrf.clone();
    assert!(world.client.page("/enrolment").await.contains("lets no hosts of other machines in"));
    world.stop().await;
    world.door = true;
    world.start().await;
    let csrf_now = world.client.csrf.clone();
    assert_ne!(csrf, csrf_now);
    let fields = format!("csrf={csrf_now}&name=web&uses=20&hours=8&environment=prod&labels=ring%3D1&tier=");
    let answer = world.client.fill("/enrolment", &fields).await;
    assert_eq!(answer.status(), 200);
    let once = answer.text().await.unwrap();
    assert!(
        once.contains("STANCH_ENROL_TOKEN=stanch-enrol-") && once.contains("stanch-agent enrol --server https://"),
        "{once}"
    );
    assert!(once.contains("20 hosts"), "{once}");
    let page = world.client.page("/enrolment").await;
    assert!(page.contains("0 of 20") && page.contains("prod, ring=1") && !page.contains("stanch-enrol-"), "{page}");
    let (status, to) = world.client.form("/enrolments/web/revoke", &format!("csrf={csrf_now}")).await;
    assert_eq!((status.as_u16(), to.as_str()), (303, "/enrolment"));
    assert_eq!(world.client.get("/api/v1/enrolments").await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_says_whose_hosts_are_all_of_it_or_nothing_and_is_shown_as_a_difference_first() {
    let world = World::new(host("one")).await;
    world.join(2, host("two")).await;
    let (one, two) = (named(&world, "one").await, named(&world, "two").await);
    let (one, two) = (one["id"].as_str().unwrap(), two["id"].as_str().unwrap());
    let text = "assets:\n  - name: one\n    environment: prod\n    tier: 2\n    labels: {ring: 1}\n    \
                depends_on: [two]\n  - name: two\n    owner: db\n";
    let ask = |text: &str, dry_run: bool| json!({ "format": "yaml", "text": text, "dry_run": dry_run });
    let shown = world.client.post("/api/v1/assets/import", ask(text, true)).await;
    assert_eq!(
        (&shown["done"], &shown["assets"], &shown["errors"]),
        (&json!(false), &json!(2), &json!([])),
        "{shown:#}"
    );
    let what: Vec<(&str, &str, &Value)> = shown["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["asset_name"].as_str().unwrap(), one["what"].as_str().unwrap(), &one["after"]))
        .collect();
    let (prod, tier, ring, other, db) = (json!("prod"), json!("2"), json!("1"), json!("two"), json!("db"));
    assert_eq!(
        what,
        [
            ("one", "environment", &prod),
            ("one", "tier", &tier),
            ("one", "label ring", &ring),
            ("one", "depends_on", &other),
            ("two", "owner", &db)
        ]
    );
    assert_eq!(world.client.get(&format!("/api/v1/assets/{one}")).await["environment"], Value::Null);

    // What was shown is what is done: somebody else was faster.
    let mut wanted = ask(text, false);
    wanted["digest"] = shown["digest"].clone();
    world.client.post(&format!("/api/v1/assets/{one}/labels"), json!({ "environment": "prod" })).await;
    assert_eq!(world.client.refused("/api/v1/assets/import", wanted).await, (409, "changed_meanwhile".into()));
    let done = world.client.post("/api/v1/assets/import", ask(text, false)).await;
    assert_eq!((&done["done"], done["changes"].as_array().unwrap().len()), (&json!(true), 4), "{done:#}");
    let asset = world.client.get(&format!("/api/v1/assets/{one}")).await;
    assert_eq!(
        (&asset["tier"], &asset["labels"]["ring"], &asset["links"][0]["to"]),
        (&json!(2), &json!("1"), &json!("two"))
    );
    assert_eq!(world.client.get(&format!("/api/v1/assets/{two}")).await["owner"], "db");
    for subject in [one, two] {
        let told = world.client.get(&format!("/api/v1/ledger?subject={subject}")).await;
        let told = told["entries"].as_array().unwrap();
        for event in ["asset_labelled", "asset_linked"] {
            let imported = |entry: &&Value| entry["kind"] == event && entry["body"]["payload"]["imported"] == true;
            assert_eq!(told.iter().filter(imported).count(), 1, "{subject} {event}: {told:#?}");
        }
    }
    let again = world.client.post("/api/v1/assets/import", ask(text, false)).await;
    assert_eq!((&again["changes"], &again["assets"]), (&json!([]), &json!(0)), "saying the same changes nothing");
    let table = json!({ "format": "csv", "text": "asset,tier,label:ring\none,-,-\n", "dry_run": false });
    world.client.post("/api/v1/assets/import", table).await;
    let asset = world.client.get(&format!("/api/v1/assets/{one}")).await;
    assert_eq!((&asset["tier"], &asset["labels"]), (&Value::Null, &json!({})));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_a_fault_changes_nothing_and_each_fault_is_told_with_its_line_and_a_remedy() {
    let world = World::new(host("one")).await;
    world.join(2, host("one")).await;
    world.join(3, host("two")).await;
    named(&world, "two").await;
    world
        .until("both of one name", async || {
            (world.client.get("/api/v1/assets?named=one").await.as_array().unwrap().len() == 2).then_some(())
        })
        .await;
    let text = "asset,owner,depends_on\ntwo,web,\none,web,\ngone,web,\ntwo,db,\n";
    let ask = |dry_run: bool| json!({ "format": "csv", "text": text, "dry_run": dry_run });
    let shown = world.client.post("/api/v1/assets/import", ask(true)).await;
    let told: Vec<(u64, bool)> = shown["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["line"].as_u64().unwrap(), !one["remedy"].as_str().unwrap().is_empty()))
        .collect();
    assert_eq!(told, [(3, true), (4, true), (5, true)], "{shown:#}");
    let ambiguous = shown["errors"][0]["remedy"].as_str().unwrap();
    assert!(ambiguous.contains("asset-"), "which ones it could be is told: {ambiguous}");
    let (status, text) = world.client.send(Method::POST, "/api/v1/assets/import", Some(ask(false))).await;
    assert!(status == 400 && text.contains("line 3") && text.contains("nothing was changed"), "{status} {text}");
    assert_eq!(world.client.get("/api/v1/assets?owner=web").await, json!([]));
    for text in ["asset,depends_on\ntwo,two\n", "asset,owner\ntwo,two words\n", "asset,tier\ntwo,9\n"] {
        let wanted = json!({ "format": "csv", "text": text, "dry_run": false });
        assert_eq!(world.client.refused("/api/v1/assets/import", wanted).await.0, 400, "{text}");
    }
    let operator = world.client.person("op", &[("operator", "all")], PASSWORD).await;
    assert_eq!(operator.refused("/api/v1/assets/import", ask(true)).await.0, 404, "for administrators alone");
    // More than forms may carry, and still in bounds.
    let long = format!("asset,owner\n{}two,web\n", "\n".repeat(600_000));
    let done = world.client.post("/api/v1/assets/import", json!({ "format": "csv", "text": long })).await;
    assert_eq!(done["changes"].as_array().unwrap().len(), 1);
}
