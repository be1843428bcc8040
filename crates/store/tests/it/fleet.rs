//! Assets page by page, what narrows them, and one problem over all of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use stanch_model::asset::{Asset, AssetKind};
use stanch_model::decision::{Decision, Effect, Mode, RuleWord};
use stanch_model::finding::{Detector, Finding, Verdict};
use stanch_model::id::AssetId;
use stanch_store::Write;
use stanch_store::asset::{SeenAsset, SeenBy};
use stanch_store::executor::{Standing, StoredExecutor};
use stanch_store::finding::{ClosedAs, SyncFindings};
use stanch_store::fleet::{Blind, FleetFilter, Presence};
use stanch_store::item::SyncItems;

use crate::world::{World, at, executor_id, finding, listed, work_item, world};

async fn host(world: &World, name: &str, say: impl Fn(&mut Asset)) -> AssetId {
    // Two hosts may have one name.
    let mut asset = Asset::unlabelled(AssetKind::Host, name, name.trim_end_matches('\''));
    say(&mut asset);
    let id = asset.id.clone();
    world.store.put(Write::SeeAsset(SeenAsset { asset, by: SeenBy::People, at: at(0) })).await.unwrap();
    id
}

async fn executor(world: &World, asset: &AssetId, standing: Standing, seen: i64) {
    let known = StoredExecutor {
        id: executor_id(asset.as_str()),
        asset: asset.clone(),
        standing,
        seen_at: at(seen),
        revision: 1,
        writer: String::new(),
        rests_on: 0,
        body: json!({}),
        at: at(seen),
    };
    world.store.put(Write::PutExecutor(known)).await.unwrap();
}

async fn names(world: &World, filter: FleetFilter) -> Vec<String> {
    let rows = world.store.fleet(&filter, None, 1_000).await.unwrap();
    assert_eq!(world.store.count_fleet(&filter).await.unwrap(), rows.len() as u64, "{filter:?}");
    rows.into_iter().map(|row| row.stored.asset.name).collect()
}

async fn found(world: &World, asset: &AssetId, findings: Vec<Finding>, seconds: i64) {
    let sync = SyncFindings {
        asset: asset.clone(),
        detectors: vec![Detector::Advisory],
        findings,
        at: at(seconds),
        closed_as: ClosedAs::Fixed,
        otherwise: BTreeMap::new(),
    };
    world.store.put(Write::SyncFindings(sync)).await.unwrap();
}

#[tokio::test]
async fn assets_come_by_name_page_by_page_and_each_once_also_those_of_one_name() {
    let world = world().await;
    let mut all = Vec::new();
    for number in 0..23 {
        let second = if number % 2 == 1 { "'" } else { "" };
        all.push(host(&world, &format!("web-{:02}{second}", number / 2), |_| {}).await);
    }
    let (mut seen, mut last, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = world.store.fleet(&FleetFilter::default(), last.as_ref(), 5).await.unwrap();
        let Some(end) = page.last() else { break };
        last = Some(end.stored.asset.id.clone());
        pages += 1;
        seen.extend(page.into_iter().map(|row| (row.stored.asset.name, row.stored.asset.id)));
    }
    assert_eq!(pages, 5);
    assert!(seen.is_sorted(), "{seen:?}");
    let ids: BTreeSet<AssetId> = seen.into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids, all.into_iter().collect());
}

#[tokio::test]
async fn assets_are_narrowed_by_what_people_say_and_by_how_their_executors_are() {
    let world = world().await;
    let web = host(&world, "web", |asset| {
        asset.environment = Some("prod".into());
        asset.owner = Some("web".into());
        asset.labels.insert("ring".into(), "1".into());
    })
    .await;
    let db = host(&world, "DB", |asset| asset.environment = Some("staging".into())).await;
    let sold = host(&world, "sold", |_| {}).await;
    let new = host(&world, "new", |_| {}).await;
    host(&world, "bare", |_| {}).await;
    executor(&world, &web, Standing::In, 100).await;
    executor(&world, &db, Standing::In, 10).await;
    executor(&world, &sold, Standing::PutOut, 100).await;
    executor(&world, &new, Standing::Unconfirmed, 100).await;

    let none = FleetFilter::default;
    assert_eq!(names(&world, FleetFilter { environment: Some("prod".into()), ..none() }).await, ["web"]);
    assert_eq!(names(&world, FleetFilter { owner: Some("web".into()), ..none() }).await, ["web"]);
    assert_eq!(names(&world, FleetFilter { part: Some("db".into()), ..none() }).await, ["DB"]);
    assert_eq!(names(&world, FleetFilter { named: Some(db.to_string()), ..none() }).await, ["DB"]);
    assert_eq!(names(&world, FleetFilter { named: Some("d".into()), ..none() }).await, [""; 0]);
    let label = |value: Option<&str>| vec![("ring".to_owned(), value.map(str::to_owned))];
    assert_eq!(names(&world, FleetFilter { labels: label(None), ..none() }).await, ["web"]);
    assert_eq!(names(&world, FleetFilter { labels: label(Some("1")), ..none() }).await, ["web"]);
    assert_eq!(names(&world, FleetFilter { labels: label(Some("2")), ..none() }).await, [""; 0]);
    let is = async |presence| names(&world, FleetFilter { presence: Some((presence, at(50))), ..none() }).await;
    assert_eq!(is(Presence::Connected).await, ["web"]);
    assert_eq!(is(Presence::Away).await, ["DB"]);
    assert_eq!(is(Presence::Unconfirmed).await, ["new"]);
    assert_eq!(is(Presence::PutOut).await, ["sold"]);
    assert_eq!(is(Presence::Frozen).await, [""; 0]);
    assert_eq!(is(Presence::None).await, ["bare"]);
    let blind = async |blind| names(&world, FleetFilter { blind: Some(blind), ..none() }).await;
    assert_eq!(blind(Blind::NoExecutor).await, ["bare"]);
    assert_eq!(blind(Blind::Frozen).await, ["sold"]);
    assert_eq!(blind(Blind::Unconfirmed).await, ["new"]);
    assert_eq!(blind(Blind::Stale(at(0))).await.len(), 5, "nobody has read any facts");
    assert_eq!(blind(Blind::Unmatched).await.len(), 5, "nobody has looked");
    let two = BTreeSet::from([db, new]);
    assert_eq!(names(&world, FleetFilter { among: Some(two), ..none() }).await, ["DB", "new"]);
}

#[tokio::test]
async fn an_asset_whose_items_no_rule_fired_on_is_a_blind_spot_until_one_fires() {
    let world = world().await;
    let host = host(&world, "web", |_| {}).await;
    let item = work_item(&host, "openssl", &[]);
    let unruled = || FleetFilter { blind: Some(Blind::NoPolicy), ..FleetFilter::default() };
    let sync = |items| Write::SyncItems(SyncItems { asset: host.clone(), items, at: at(1) });
    world.store.put(sync(vec![listed(&item)])).await.unwrap();
    assert_eq!(names(&world, unruled()).await, [""; 0], "it is not decided yet");
    let default = Decision::by_default(item.id.clone(), at(2));
    world.store.put(Write::PutDecisions(vec![default.clone()])).await.unwrap();
    assert_eq!(names(&world, unruled()).await, ["web"]);
    let word = RuleWord { rule: "a/b".into(), effect: Effect::Grants, mode: Mode::Alert, reason: "so".into() };
    let ruled = Decision { at: at(3), fired: vec![word], ..default.clone() };
    world.store.put(Write::PutDecisions(vec![ruled])).await.unwrap();
    assert_eq!(names(&world, unruled()).await, [""; 0]);
    world.store.put(Write::PutDecisions(vec![Decision { at: at(4), ..default }])).await.unwrap();
    assert_eq!(names(&world, unruled()).await, ["web"]);
    world.store.put(sync(Vec::new())).await.unwrap();
    assert_eq!(names(&world, unruled()).await, [""; 0], "nothing is open any more");
}

#[tokio::test]
async fn a_problem_is_found_under_each_of_its_names_on_every_asset_open_or_closed() {
    let world = world().await;
    let (one, two) = (host(&world, "one", |_| {}).await, host(&world, "two", |_| {}).await);
    let named = |asset: &AssetId, binary: &str| Finding {
        aliases: vec!["CVE-2024-1111".into(), "GHSA-abcd".into()],
        ..finding(asset, Detector::Advisory, "DSA-1", binary)
    };
    let other = |asset: &AssetId| Finding {
        aliases: vec!["CVE-2024-2222".into()],
        ..finding(asset, Detector::Advisory, "DSA-2", "bash")
    };
    found(&world, &one, vec![named(&one, "libssl3"), named(&one, "openssl"), other(&one)], 1).await;
    found(&world, &two, vec![named(&two, "libssl3")], 1).await;
    found(&world, &two, Vec::new(), 2).await;
    for name in ["CVE-2024-1111", "cve-2024-1111", "GHSA-ABCD", "DSA-1"] {
        let hits = world.store.hits(name, None, 10).await.unwrap();
        let on: Vec<(&AssetId, bool)> = hits.iter().map(|hit| (&hit.asset, hit.closed.is_some())).collect();
        let mut expected = vec![(&one, false), (&one, false), (&two, true)];
        expected.sort();
        assert_eq!(on, expected, "{name}");
        assert_eq!(world.store.names_of(name, 10).await.unwrap(), ["CVE-2024-1111", "DSA-1", "GHSA-abcd"]);
    }
    assert_eq!(world.store.hits("CVE-2024-2222", None, 10).await.unwrap().len(), 1);
    assert_eq!(world.store.hits("CVE-2024-3333", None, 10).await.unwrap(), []);
    let only = BTreeSet::from([two.clone()]);
    let hits = world.store.hits("CVE-2024-1111", Some(&only), 10).await.unwrap();
    assert_eq!(
        hits.iter().map(|hit| (&hit.asset, hit.verdict)).collect::<Vec<_>>(),
        [(&two, Verdict::AffectedFixable)]
    );
    assert_eq!(world.store.hits("CVE-2024-1111", None, 2).await.unwrap().len(), 2);
}
