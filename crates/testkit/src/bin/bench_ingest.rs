//! How many findings a second a server takes up: from signed facts to findings, items, assessments and decisions, each
//! durable.
//!
//! `bench_ingest ASSETS FINDINGS_EACH RULES` has that many assets report their facts, each with so many packages that a
//! security origin has something newer for, to one real server in this process, and waits until every item is decided.
//! With `STANCH_DATABASE_URL` its store is in that database. It prints one JSON line.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use stanch_model::asset::{Asset, AssetKind};
use stanch_model::canonical::Digest;
use stanch_model::facts::{Candidate, HostFacts, KernelFacts, Known, Origin, OsRelease, Package};
use stanch_model::id::ExecutorId;
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
    let (assets, each, rules) = (number(1_000)?, number(10)?, number(200)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let folder = tempfile::tempdir()?;
    let policies = tempfile::tempdir()?;
    write_policies(policies.path(), rules)?;
    let mut config = Config::new(folder.path());
    config.listen = Some("127.0.0.1:0".parse()?);
    config.own = Some(BTreeSet::new());
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
    let reported = runtime.block_on(report(gateway, assets, each))?;
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
    runtime.block_on(running.stop());
    Ok(())
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
async fn report(gateway: Gateway, assets: usize, each: usize) -> Result<f64> {
    let began = Instant::now();
    let turn = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let mut all = tokio::task::JoinSet::new();
    for number in 0..assets {
        let (gateway, turn) = (gateway.clone(), Arc::clone(&turn));
        all.spawn(async move {
            let _turn = turn.acquire().await?;
            one(&gateway, number, each).await
        });
    }
    while let Some(done) = all.join_next().await {
        done??;
    }
    Ok(began.elapsed().as_secs_f64())
}

async fn one(gateway: &Gateway, number: usize, each: usize) -> Result<()> {
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
                answer: Answer::Facts { facts: Box::new(facts(&asset, each)?) },
            };
            gateway.receipt(Signed::new(receipt, &key)?).await?;
            return Ok(());
        }
    }
}

fn facts(asset: &Asset, each: usize) -> Result<HostFacts> {
    let origin = Origin {
        origin: "Debian".to_owned(),
        label: "Debian-Security".to_owned(),
        suite: "stable-security".to_owned(),
        codename: "bookworm-security".to_owned(),
        component: "main".to_owned(),
    };
    let (mut packages, mut candidates) = (Vec::new(), BTreeMap::new());
    for number in 0..each {
        let name = format!("p{number}");
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
