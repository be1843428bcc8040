//! Packages beside the facts: what was installed when, and which assets a newer edition of the feeds touches.

use std::collections::BTreeSet;

use stanch_model::facts::HostFacts;
use stanch_model::finding::{Detector, Finding};
use stanch_model::id::AssetId;
use stanch_store::finding::{ClosedAs, SyncFindings};
use stanch_store::package::{KEPT, VersionsOf};
use stanch_store::touched::{Touch, Untouch, Whom, Work};
use stanch_store::{Effect, Write};

use crate::world::{World, at, facts, finding, package, put_facts, world};

fn with(name: &str, seconds: i64, packages: &[(&str, &str)]) -> HostFacts {
    let packages = packages.iter().map(|(name, version)| package(name, version)).collect();
    HostFacts { packages, ..facts(name, seconds) }
}

/// Puts facts that were read and arrived then.
async fn put(world: &World, name: &str, seconds: i64, packages: &[(&str, &str)]) {
    world.store.put(put_facts(with(name, seconds, packages), at(seconds))).await.unwrap();
}

/// What was installed, as short lines: name, version, from, until.
async fn lines(world: &World, asset: &AssetId, of: Option<&str>, which: VersionsOf) -> Vec<String> {
    let rows = world.store.installed(asset, of, which, 100).await.unwrap();
    let line = |row: &stanch_store::package::InstalledVersion| {
        let seconds = |time: jiff::Timestamp| (time.as_second() - at(0).as_second()).to_string();
        let until = row.until.map_or_else(|| "now".to_owned(), seconds);
        let from = if row.baseline { "first".to_owned() } else { seconds(row.from) };
        format!("{} {} {from}-{until}", row.package, row.version)
    };
    rows.iter().map(line).collect()
}

#[tokio::test]
async fn what_was_installed_when_is_kept_from_what_facts_showed() {
    let world = world().await;
    let asset = world.asset("host").await;
    put(&world, "host", 10, &[("bash", "5.1"), ("openssl", "3.0.1")]).await;
    put(&world, "host", 20, &[("bash", "5.1"), ("openssl", "3.0.1")]).await;
    put(&world, "host", 30, &[("bash", "5.1"), ("openssl", "3.0.2")]).await;
    put(&world, "host", 40, &[("bash", "5.1"), ("curl", "8.0"), ("openssl", "3.0.1")]).await;
    let all = lines(&world, &asset, None, VersionsOf::All).await;
    let expected = [
        "curl 8.0 40-now",
        "openssl 3.0.1 40-now",
        "openssl 3.0.2 30-40",
        "bash 5.1 first-now",
        "openssl 3.0.1 first-30",
    ];
    assert_eq!(all, expected);
    let then = |seconds| lines(&world, &asset, Some("openssl"), VersionsOf::At(at(seconds)));
    assert_eq!(then(29).await, ["openssl 3.0.1 first-30"]);
    assert_eq!(then(30).await, ["openssl 3.0.2 30-40"]);
    assert!(then(9).await.is_empty(), "nothing is known of what was before");
    assert_eq!(world.store.installed_since(&asset).await.unwrap(), Some(at(10)));
    let changes = lines(&world, &asset, None, VersionsOf::Changes).await;
    assert!(!changes.contains(&expected[3].to_owned()), "what was always there did not change: {changes:?}");
    assert_eq!(changes.len(), 4);
}

#[tokio::test]
async fn what_is_gone_for_long_is_forgotten_and_what_is_there_never() {
    let world = world().await;
    let asset = world.asset("host").await;
    put(&world, "host", 0, &[("bash", "5.1"), ("openssl", "3.0.1")]).await;
    put(&world, "host", 10, &[("bash", "5.1"), ("openssl", "3.0.2")]).await;
    let later = 11 + KEPT.as_secs();
    put(&world, "host", later, &[("bash", "5.1"), ("openssl", "3.0.3")]).await;
    let left = lines(&world, &asset, None, VersionsOf::All).await;
    let gone = format!("openssl 3.0.2 10-{later}");
    assert_eq!(left, [&format!("openssl 3.0.3 {later}-now"), &gone, "bash 5.1 first-now"]);
}

fn carrying(name: &str) -> Whom {
    Whom::Carrying(BTreeSet::from([("Debian:12".to_owned(), name.to_owned())]))
}

async fn touch(world: &World, edition: u64, whom: Whom) -> Effect {
    let touch = Write::Touch(Touch { work: Work::Judge, edition, whom });
    world.store.put(touch).await.unwrap().effects.remove(0)
}

#[tokio::test]
async fn a_name_finds_the_assets_that_carry_it_now() {
    let world = world().await;
    let [one, two, three] = [world.asset("one").await, world.asset("two").await, world.asset("three").await];
    put(&world, "one", 0, &[("bash", "5.1"), ("openssl", "3.0.1")]).await;
    put(&world, "two", 0, &[("bash", "5.1")]).await;
    put(&world, "three", 0, &[("openssl", "3.0.2")]).await;
    let whom = async |name: &str| world.store.whom(&carrying(name), 10).await.unwrap();
    assert_eq!(whom("openssl").await, BTreeSet::from([one.clone(), three.clone()]));
    assert!(whom("curl").await.is_empty());
    assert_eq!(world.store.ecosystems().await.unwrap(), BTreeSet::from(["Debian:12".to_owned()]));
    assert!(world.store.whom(&Whom::Unlisted, 10).await.unwrap().is_empty());
    put(&world, "three", 10, &[("curl", "8.0")]).await;
    assert_eq!(whom("openssl").await, BTreeSet::from([one.clone()]));
    assert_eq!(whom("curl").await, BTreeSet::from([three.clone()]));
    let ecosystem = Whom::Of(BTreeSet::from(["Debian:12".to_owned()]));
    assert_eq!(world.store.whom(&ecosystem, 10).await.unwrap().len(), 3);
    assert_eq!(world.store.whom(&ecosystem, 2).await.unwrap().len(), 2, "no more than were asked for");
    assert_eq!(touch(&world, 1, carrying("bash")).await, Effect::Done);
    assert_eq!(BTreeSet::from_iter(world.store.touched(Work::Judge).await.unwrap()), BTreeSet::from([one, two]));
    assert!(world.store.touched(Work::Assess).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_newer_edition_touched_is_not_taken_off_the_list_by_an_older_one() {
    let world = world().await;
    let one = world.asset("one").await;
    put(&world, "one", 0, &[("bash", "5.1")]).await;
    touch(&world, 1, carrying("bash")).await;
    touch(&world, 2, carrying("bash")).await;
    let untouch = |edition| Write::Untouch(Untouch { work: Work::Judge, edition, asset: one.clone() });
    assert_eq!(world.store.put(untouch(1)).await.unwrap().effects, [Effect::Unchanged]);
    assert!(world.store.is_touched(Work::Judge, &one).await.unwrap());
    assert_eq!(world.store.put(untouch(2)).await.unwrap().effects, [Effect::Done]);
    assert!(!world.store.is_touched(Work::Judge, &one).await.unwrap());
    assert_eq!(touch(&world, 3, Whom::Everyone).await, Effect::Done);
    assert_eq!(world.store.touched(Work::Judge).await.unwrap(), [one]);
}

#[tokio::test]
async fn a_problem_finds_the_assets_on_which_it_is_open() {
    let world = world().await;
    let [one, two] = [world.asset("one").await, world.asset("two").await];
    let found = |asset: &AssetId| -> Vec<Finding> {
        let mut found = finding(asset, Detector::Advisory, "DEBIAN-CVE-2026-1", "bash");
        found.aliases = vec!["CVE-2026-1".to_owned()];
        vec![found]
    };
    let sync = |asset: &AssetId, findings| {
        Write::SyncFindings(SyncFindings {
            asset: asset.clone(),
            detectors: vec![Detector::Advisory],
            findings,
            at: at(0),
            closed_as: ClosedAs::Fixed,
            otherwise: std::collections::BTreeMap::new(),
        })
    };
    for asset in [&one, &two] {
        world.store.put(sync(asset, found(asset))).await.unwrap();
    }
    let having = |name: &str| Whom::Having(BTreeSet::from([name.to_owned()]));
    assert_eq!(world.store.whom(&having("cve-2026-1"), 10).await.unwrap().len(), 2);
    world.store.put(sync(&two, Vec::new())).await.unwrap();
    assert_eq!(world.store.whom(&having("CVE-2026-1"), 10).await.unwrap(), BTreeSet::from([one]));
    assert!(world.store.whom(&having("CVE-2026-2"), 10).await.unwrap().is_empty());
    assert_eq!(world.store.known_cves().await.unwrap(), ["CVE-2026-1"]);
}

#[tokio::test]
async fn facts_that_are_in_doubt_are_not_to_be_built_on_until_they_come_whole() {
    let world = world().await;
    let asset = world.asset("one").await;
    assert_eq!(world.store.told(&asset).await.unwrap(), None);
    put(&world, "one", 0, &[("bash", "5.1")]).await;
    let told = world.store.told(&asset).await.unwrap().unwrap();
    assert!(told.digest.is_some());
    world.store.put(Write::DoubtFacts(asset.clone())).await.unwrap();
    assert_eq!(world.store.told(&asset).await.unwrap().unwrap().digest, None);
    put(&world, "one", 10, &[("bash", "5.1")]).await;
    assert_eq!(world.store.told(&asset).await.unwrap().unwrap().digest, told.digest);
}

#[tokio::test]
async fn what_a_host_calls_its_packages_cannot_keep_its_facts_or_an_edition_from_being_taken() {
    let world = world().await;
    let asset = world.asset("one").await;
    let mut odd = with("one", 0, &[("bash", "5.1")]);
    for name in ["n".repeat(5_000), "a\u{0}b".to_owned()] {
        let mut more = package("x", "1");
        more.name.clone_from(&name);
        more.source = name;
        odd.packages.push(more);
    }
    world.store.put(put_facts(odd, at(0))).await.unwrap();
    assert_eq!(lines(&world, &asset, None, VersionsOf::All).await, ["bash 5.1 first-now"]);
    assert_eq!(world.store.whom(&carrying("bash"), 10).await.unwrap(), BTreeSet::from([asset]));
    assert!(world.store.whom(&carrying("a\u{0}b"), 10).await.unwrap().is_empty());
}
