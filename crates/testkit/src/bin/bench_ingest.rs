//! How many findings a second a server takes up: from signed facts to findings, items, assessments and decisions, each
//! durable.
//!
//! `bench_ingest ASSETS FINDINGS_EACH RULES [CARRYING]` has that many assets report their facts, each with so many packages that a
//! security origin has something newer for, to one real server in this process, and waits until every item is decided.
//! With `STANCH_DATABASE_URL` its store is in that database. Then a feed brings an advisory about a package that all of
//! them carry, and a newer edition one about a package that CARRYING of them do: from the moment at which each is in force
//! it waits for the first and the last of them to be decided. At last it tells how many bytes the facts of this machine
//! take on their way, whole and as what is different. It prints a JSON line for each.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stanch_model::asset::{Asset, AssetKind};
use stanch_model::canonical::Digest;
use stanch_model::delta::Lasting;
use stanch_model::facts::{Candidate, HostFacts, KernelFacts, Known, Origin, OsRelease, Package};
use stanch_model::id::{ExecutorId, OrderId};
use stanch_model::order::{Answer, Hello, Position, Receipt, Verb};
use stanch_model::sign::{Signed, SigningKey};
use stanch_model::{Timestamp, canonical};
use stanch_policy::{SIGNATURE_FILE, Source};
use stanch_server::{Config, Gateway, Intervals, PolicySource, Server, StoreAt};
use stanch_testkit::visitor::{Visitor, load, part};
use stanch_testkit::wait_until;

/// Executors that report at once.
const AT_ONCE: usize = 256;
/// Findings a second.
const GOAL: f64 = 2_000.0;
const PATIENCE: Duration = Duration::from_secs(3_600);

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let mut number = |otherwise: usize| words.next().map_or(Ok(otherwise), |text| text.parse::<usize>());
    let (assets, each, rules, carrying) = (number(1_000)?, number(10)?, number(200)?, number(10)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let folder = tempfile::tempdir()?;
    let (policies, feeds) = (tempfile::tempdir()?, tempfile::tempdir()?);
    write_policies(policies.path(), rules)?;
    let mut config = Config::new(folder.path());
    config.listen = Some("127.0.0.1:0".parse()?);
    config.own = Some(BTreeSet::new());
    config.feeds = vec![feeds.path().display().to_string()];
    if let Ok(url) = std::env::var("STANCH_DATABASE_URL") {
        config.store = StoreAt::Database(url.parse()?);
    }
    config.policies = Some(PolicySource::folder(policies.path().to_owned(), Some(key()?.verifying_key())));
    config.intervals = Intervals { observe: Duration::from_secs(7 * 24 * 3600), ..Intervals::default() };
    let running = runtime.block_on(async { Server::open(config).await?.start().await })?;
    let visitor = Visitor::sign_in(runtime.handle(), &running.sign_in_link()?.context("no link to sign in with")?)?;
    wait_until("the policies are in force", PATIENCE, || {
        Ok(!part(&visitor.get("/api/v1/policies")?, "digest").is_null())
    })?;
    let busy = load();
    let began = Instant::now();
    let gateway = running.gateway();
    let reported = runtime.block_on(report(gateway, assets, (each, carrying)))?;
    let wanted = assets * each;
    let mut judged = 0.0;
    wait_until("everything is decided", PATIENCE, || {
        let counts = part(&visitor.get("/api/v1/status")?, "counts").clone();
        let items = part(&counts, "items").as_u64().unwrap_or(0);
        if judged == 0.0 && items >= wanted as u64 {
            judged = began.elapsed().as_secs_f64();
        }
        Ok(part(&counts, "items_decided").as_u64().unwrap_or(0) >= wanted as u64)
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let (page, page_ms) = timed(|| visitor.get("/api/v1/items?limit=200"))?;
    let (_, status_ms) = timed(|| visitor.get("/api/v1/status"))?;
    println!(
        "{}",
        json!({"name": format!("{wanted}-findings"), "holds": wanted as f64 / seconds >= GOAL, "figures": {
            "assets": assets, "findings": wanted, "rules": rules, "reported_seconds": reported, "judged_seconds": judged,
            "decided_seconds": seconds, "findings_a_second": wanted as f64 / seconds,
            "items_page_ms": page_ms, "status_ms": status_ms,
            "items_on_page": part(&page, "items").as_array().map(Vec::len), "load": busy,
            "peak_rss_mb": peak_rss_mb(),
        }})
    );
    // The first edition is about a whole ecosystem: every asset is judged. The next one is about one package more.
    let editions = [("CVE-2026-0001", COMMON, assets), ("CVE-2026-0002", RARE, carrying)];
    for (number, (_, _, touched)) in editions.iter().enumerate() {
        let known = editions.get(..=number).unwrap_or_default();
        publish(feeds.path(), known.iter().map(|(cve, package, _)| (*cve, *package)))?;
        let told = advisory(&visitor, (assets, *touched), known.len())?;
        println!("{told}");
    }
    println!("{}", on_the_wire()?);
    runtime.block_on(running.stop());
    Ok(())
}

/// What all assets carry beside what is offered anew, and what only some do.
const COMMON: &str = "common";
const RARE: &str = "rare";

/// Lays an edition of advisories where the server looks for feeds.
fn publish<'a>(folder: &Path, advisories: impl Iterator<Item = (&'a str, &'a str)>) -> Result<()> {
    let place = folder.join("osv/Debian-12");
    std::fs::create_dir_all(&place)?;
    let mut zip = zip::ZipWriter::new(std::fs::File::create(place.join("new.zip"))?);
    for (cve, package) in advisories {
        let id = format!("DEBIAN-{cve}");
        zip.start_file(format!("{id}.json"), zip::write::SimpleFileOptions::default())?;
        let told = json!({ "schema_version": "1.6.0", "id": id, "modified": "2026-11-20T00:00:00Z", "affected": [{
            "package": { "ecosystem": "Debian:12", "name": package },
            "ranges": [{ "type": "ECOSYSTEM", "events": [{ "introduced": "0" }, { "fixed": "2.0-1" }] }],
        }] });
        zip.write_all(told.to_string().as_bytes())?;
    }
    zip.finish()?;
    std::fs::rename(place.join("new.zip"), place.join("all.zip"))?;
    Ok(())
}

/// Has the feeds looked for, and waits until as many more items are decided as assets carry what is new.
fn advisory(visitor: &Visitor, (assets, touched): (usize, usize), records: usize) -> Result<Value> {
    let decided = || -> Result<u64> {
        let counts = part(&visitor.get("/api/v1/status")?, "counts").clone();
        Ok(part(&counts, "items_decided").as_u64().unwrap_or(0))
    };
    let before = decided()?;
    visitor.post("/api/v1/feeds/refresh", json!({}))?;
    let asked = Instant::now();
    wait_until("the edition is in force", PATIENCE, || {
        let feeds = visitor.get("/api/v1/feeds")?;
        let ours = feeds.as_array().into_iter().flatten().find(|feed| *part(feed, "name") == "osv/Debian-12");
        let Some(ours) = ours else { return Ok(false) };
        ensure!(part(ours, "pending").is_null(), "the edition waits for a person: more assets would hide it less");
        Ok(*part(ours, "records") == records && *part(ours, "snapshot") == false)
    })?;
    let admitted = asked.elapsed().as_secs_f64();
    let (began, mut first) = (Instant::now(), 0.0);
    wait_until("all of them are decided", PATIENCE, || {
        let more = decided()?.saturating_sub(before);
        if first == 0.0 && more > 0 {
            first = began.elapsed().as_secs_f64();
        }
        Ok(more >= touched as u64)
    })?;
    Ok(json!({"name": format!("advisory-{touched}-of-{assets}"), "holds": true, "figures": {
        "assets": assets, "carrying": touched, "admitted_seconds": admitted, "first_decided_seconds": first,
        "last_decided_seconds": began.elapsed().as_secs_f64(), "load": load(),
    }}))
}

/// What the facts of this machine take on their way to the server.
fn on_the_wire() -> Result<Value> {
    let read = || stanch_agent::facts::host(&stanch_agent::facts::Options::this_host());
    let (before, after) = (read()?, read()?);
    let mut changed = after.clone();
    let package = changed.packages.first_mut().context("a package")?;
    package.version = format!("{}+1", package.version).parse()?;
    let base = Lasting::of(&before)?;
    let delta = |facts: &HostFacts| -> Result<Answer> {
        let delta = Lasting::of(facts)?.since(&base, facts);
        ensure!(delta.apply(&before, base.digest())? == *facts, "it leads elsewhere");
        Ok(Answer::Delta { delta: Box::new(delta) })
    };
    let size = |answer: Answer| -> Result<usize> {
        let body = Receipt {
            order: OrderId::from_entropy([7; 10]),
            executor: ExecutorId::from_digest(&Digest::of_bytes(b"executor")),
            position: Position::default(),
            at: Timestamp::now(),
            journal_head: Digest::of_bytes(b"head"),
            answer,
        };
        Ok(serde_json::to_vec(&Signed::new(body, &key()?)?)?.len())
    };
    let whole = size(Answer::Facts { facts: Box::new(before.clone()) })?;
    Ok(json!({"name": "facts-on-the-wire", "holds": true, "figures": {
        "packages": before.packages.len(), "whole_bytes": whole, "at_rest_bytes": size(delta(&after)?)?,
        "one_package_bytes": size(delta(&changed)?)?,
    }}))
}

fn timed(ask: impl Fn() -> Result<Value>) -> Result<(Value, u64)> {
    let began = Instant::now();
    let value = ask()?;
    Ok((value, u64::try_from(began.elapsed().as_millis())?))
}

fn peak_rss_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

fn key() -> Result<SigningKey> {
    Ok(SigningKey::from_seed(&[3; 32])?)
}

/// So many rules in policies of five; what none of them knows is only shown.
fn write_policies(folder: &std::path::Path, rules: usize) -> Result<()> {
    let mut text = String::new();
    for policy in 0..rules.div_ceil(5).max(1) {
        text.push_str(&format!(
            "---\napiVersion: stanch/v1\nkind: Policy\nname: p{policy}\nmatch: {{environments: [e{policy}]}}\nlimits: \
             {{concurrent: 5}}\nrules:\n"
        ));
        let mut tests = String::new();
        for rule in 0..5 {
            text.push_str(&format!(
                "  - {{id: r{rule}, when: item.name == \"p{rule}\" && item.fixable, mode: suggest}}\n"
            ));
            tests.push_str(&format!(
                "  - {{given: some, set: {{asset.environment: e{policy}, item.name: p{rule}}}, expect: {{rule: r{rule}}}}}\n  \
                 - {{given: some, set: {{asset.environment: e{policy}}}, expect: {{silent: [r{rule}]}}}}\n"
            ));
        }
        text.push_str(&format!("tests:\n{tests}"));
    }
    text.push_str(
        "---\napiVersion: stanch/v1\nkind: Facts\nname: some\nfacts: {item.fixable: true, item.name: other, item.stale: \
         false, asset.own: false, action.kind: package.upgrade, action.reversibility: restorable, action.proven: true}\n",
    );
    let signed =
        stanch_policy::sign(&[Source { name: "all.yaml".into(), text: text.clone() }], &key()?, Timestamp::now())?;
    std::fs::write(folder.join("all.yaml"), text)?;
    std::fs::write(folder.join(SIGNATURE_FILE), serde_json::to_string(&signed)?)?;
    Ok(())
}

/// Every asset reports once; answers how long that took.
async fn report(gateway: Gateway, assets: usize, (each, carrying): (usize, usize)) -> Result<f64> {
    let began = Instant::now();
    let turn = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let mut all = tokio::task::JoinSet::new();
    for number in 0..assets {
        let (gateway, turn) = (gateway.clone(), Arc::clone(&turn));
        all.spawn(async move {
            let _turn = turn.acquire().await?;
            one(&gateway, number, each, number < carrying).await
        });
    }
    while let Some(done) = all.join_next().await {
        done??;
    }
    Ok(began.elapsed().as_secs_f64())
}

async fn one(gateway: &Gateway, number: usize, each: usize, carries: bool) -> Result<()> {
    let name = format!("host-{number}");
    let asset = Asset::unlabelled(AssetKind::Host, &name, &name);
    let executor = ExecutorId::from_digest(&canonical::digest("stanch/executor/v1", &asset.id)?);
    let mut seed = [7; 32];
    seed.get_mut(..8).context("a seed")?.copy_from_slice(&u64::try_from(number)?.to_be_bytes());
    let key = SigningKey::from_seed(&seed)?;
    let mut hello = Hello {
        executor: executor.clone(),
        key: key.verifying_key(),
        asset: asset.clone(),
        position: Position::default(),
        actions: vec!["package.upgrade".to_owned()],
        boot_id: "boot".to_owned(),
        counter: 0,
        journal_head: Digest::of_bytes(b"head"),
        nonce: 1,
        held: None,
        abilities: None,
        issuer: 0,
        version: None,
        restored: Vec::new(),
        turned_away: Vec::new(),
        deltas: 0,
    };
    gateway.register(&hello).await?;
    loop {
        hello.counter += 1;
        let batch = gateway.poll(hello.clone()).await?;
        for signed in batch.orders {
            let order = signed.body;
            hello.position = order.position;
            if !matches!(order.verb, Verb::Observe { .. }) {
                continue;
            }
            let receipt = Receipt {
                order: order.id.clone(),
                executor: executor.clone(),
                position: order.position,
                at: Timestamp::now(),
                journal_head: Digest::of_bytes(b"head"),
                answer: Answer::Facts { facts: Box::new(facts(&asset, each, carries)?) },
            };
            gateway.receipt(Signed::new(receipt, &key)?).await?;
            return Ok(());
        }
    }
}

fn facts(asset: &Asset, each: usize, carries: bool) -> Result<HostFacts> {
    let origin = Origin {
        origin: "Debian".to_owned(),
        label: "Debian-Security".to_owned(),
        suite: "stable-security".to_owned(),
        codename: "bookworm-security".to_owned(),
        component: "main".to_owned(),
    };
    let (mut packages, mut candidates) = (Vec::new(), BTreeMap::new());
    let offered = (0..each).map(|number| (format!("p{number}"), true));
    let more = [Some(COMMON), carries.then_some(RARE)].into_iter().flatten().map(|name| (name.to_owned(), false));
    for (name, is_offered) in offered.chain(more) {
        packages.push(Package {
            name: name.clone(),
            architecture: "amd64".to_owned(),
            version: "1.0-1".parse()?,
            source: name.clone(),
            source_version: "1.0-1".parse()?,
            built_using: Vec::new(),
            hold: false,
            essential: false,
            automatic: None,
            origins: Vec::new(),
            installed_at: None,
        });
        if !is_offered {
            continue;
        }
        let candidate = Candidate {
            version: "1.0-2".parse()?,
            source_version: "1.0-2".parse()?,
            origin: origin.clone(),
            pinned_away: false,
        };
        candidates.insert(name, vec![candidate]);
    }
    Ok(HostFacts {
        asset: asset.clone(),
        collected_at: Timestamp::now(),
        boot_id: Known::Known("boot".to_owned()),
        os: OsRelease {
            id: "debian".to_owned(),
            version_id: Some("12".to_owned()),
            codename: Some("bookworm".to_owned()),
            pretty_name: "Debian GNU/Linux 12 (bookworm)".to_owned(),
        },
        architecture: "amd64".to_owned(),
        packages,
        components: Vec::new(),
        bundles: Vec::new(),
        unsearched: Vec::new(),
        broken: Vec::new(),
        candidates: Known::Known(candidates),
        indexes_at: None,
        kernel: Known::Known(KernelFacts {
            running_release: "6.1.0-50-amd64".to_owned(),
            running_version: None,
            installed: Vec::new(),
        }),
        stale: Known::Known(Vec::new()),
        sockets: Known::Known(Vec::new()),
        updaters: Vec::new(),
        health: Vec::new(),
        in_use: None,
        talks: None,
        posture: None,
        gaps: Vec::new(),
    })
}
