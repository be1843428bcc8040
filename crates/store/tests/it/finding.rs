//! A run of detectors says what is open; the rest follows.

use std::collections::BTreeMap;

use stanch_model::finding::{Detector, Finding, Verdict};
use stanch_model::id::AssetId;
use stanch_store::finding::{ClosedAs, FindingChanges, FindingFilter, SyncFindings};
use stanch_store::overview::FindingCount;
use stanch_store::{CommitError, Effect, Store, Write};

use crate::world::{at, finding, world};

async fn run(store: &Store, asset: &AssetId, seconds: i64, findings: Vec<Finding>) -> FindingChanges {
    let run = SyncFindings {
        asset: asset.clone(),
        detectors: vec![Detector::Advisory],
        findings,
        at: at(seconds),
        closed_as: ClosedAs::Fixed,
        otherwise: BTreeMap::new(),
    };
    match store.put(Write::SyncFindings(run)).await.unwrap().effects.remove(0) {
        Effect::Findings(changes) => changes,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn findings_open_change_close_and_come_back() {
    let world = world().await;
    let asset = world.asset("host").await;
    let (a, b) = (finding(&asset, Detector::Advisory, "CVE-1", "a"), finding(&asset, Detector::Advisory, "CVE-1", "b"));

    let first = run(&world.store, &asset, 0, vec![a.clone(), b.clone(), a.clone()]).await;
    assert_eq!(first.opened.len(), 2, "the same one twice is one");
    let again = run(&world.store, &asset, 10, vec![a.clone(), b.clone()]).await;
    assert_eq!(again, FindingChanges { unchanged: 2, ..FindingChanges::default() });

    let held = Finding { verdict: Verdict::Held, ..a.clone() };
    let changed = run(&world.store, &asset, 20, vec![held.clone()]).await;
    assert_eq!(
        (changed.updated.clone(), changed.closed.clone()),
        (vec![a.fingerprint.clone()], vec![b.fingerprint.clone()])
    );
    let stored = world.store.finding(&b.fingerprint).await.unwrap().unwrap();
    assert_eq!(stored.closed, Some((at(20), ClosedAs::Fixed)));
    assert_eq!((stored.first_seen, stored.last_seen), (at(0), at(10)), "it was not seen when it was closed");

    let back = run(&world.store, &asset, 30, vec![held, b.clone()]).await;
    assert_eq!((back.reopened.clone(), back.unchanged), (vec![b.fingerprint.clone()], 1));
    let stored = world.store.finding(&b.fingerprint).await.unwrap().unwrap();
    assert_eq!((stored.closed, stored.reopened, stored.first_seen), (None, 1, at(0)));
    let stored = world.store.finding(&a.fingerprint).await.unwrap().unwrap();
    assert_eq!((stored.finding.verdict, stored.last_seen), (Verdict::Held, at(30)));

    let trend = world.store.trend(jiff::civil::date(2020, 1, 1)).await.unwrap();
    assert_eq!(trend.len(), 1);
    assert_eq!((trend[0].opened, trend[0].fixed, trend[0].withdrawn), (3, 1, 0));
    let counts = world.store.finding_counts(None).await.unwrap();
    assert_eq!(counts[&(Detector::Advisory, Verdict::Held)], FindingCount { open: 1, closed: 0 });
    assert_eq!(counts[&(Detector::Advisory, Verdict::AffectedFixable)], FindingCount { open: 1, closed: 0 });
}

#[tokio::test]
async fn only_the_detectors_that_ran_close_findings_and_only_on_their_asset() {
    let world = world().await;
    let (here, there) = (world.asset("here").await, world.asset("there").await);
    run(&world.store, &here, 0, vec![finding(&here, Detector::Advisory, "CVE-1", "a")]).await;
    run(&world.store, &there, 0, vec![finding(&there, Detector::Advisory, "CVE-1", "a")]).await;
    let kernel = SyncFindings {
        asset: here.clone(),
        detectors: vec![Detector::Kernel],
        findings: Vec::new(),
        at: at(1),
        closed_as: ClosedAs::Fixed,
        otherwise: BTreeMap::new(),
    };
    world.store.put(Write::SyncFindings(kernel)).await.unwrap();
    run(&world.store, &there, 2, Vec::new()).await;
    let open = FindingFilter { open: Some(true), ..FindingFilter::default() };
    let left = world.store.findings(&open, None, 10).await.unwrap();
    assert_eq!(left.iter().map(|left| &left.finding.asset).collect::<Vec<_>>(), [&here]);
}

#[tokio::test]
async fn how_a_finding_ended_can_be_said_of_each() {
    let world = world().await;
    let asset = world.asset("host").await;
    let [a, b, c] = ["a", "b", "c"].map(|binary| finding(&asset, Detector::Advisory, "CVE-1", binary));
    run(&world.store, &asset, 0, vec![a.clone(), b.clone(), c.clone()]).await;
    let closing = SyncFindings {
        asset: asset.clone(),
        detectors: vec![Detector::Advisory],
        findings: Vec::new(),
        at: at(1),
        closed_as: ClosedAs::Withdrawn,
        otherwise: [(b.fingerprint.clone(), ClosedAs::Fixed), (c.fingerprint.clone(), ClosedAs::Gone)].into(),
    };
    world.store.put(Write::SyncFindings(closing)).await.unwrap();
    for (finding, how) in [(a, ClosedAs::Withdrawn), (b, ClosedAs::Fixed), (c, ClosedAs::Gone)] {
        let stored = world.store.finding(&finding.fingerprint).await.unwrap().unwrap();
        assert_eq!(stored.closed.unwrap().1, how);
    }
}

#[tokio::test]
async fn a_finding_of_another_asset_or_detector_is_refused_with_the_whole_run() {
    let world = world().await;
    let (here, there) = (world.asset("here").await, world.asset("there").await);
    for stray in [finding(&there, Detector::Advisory, "CVE-1", "a"), finding(&here, Detector::Kernel, "k", "a")] {
        let run = SyncFindings {
            asset: here.clone(),
            detectors: vec![Detector::Advisory],
            findings: vec![finding(&here, Detector::Advisory, "CVE-1", "a"), stray],
            at: at(0),
            closed_as: ClosedAs::Fixed,
            otherwise: BTreeMap::new(),
        };
        assert!(matches!(world.store.put(Write::SyncFindings(run)).await, Err(CommitError::Encode { .. })));
    }
    assert_eq!(world.store.finding_counts(None).await.unwrap(), BTreeMap::new());
}

#[tokio::test]
async fn thousands_are_one_write_and_are_listed_page_by_page() {
    let world = world().await;
    let asset = world.asset("host").await;
    let findings: Vec<Finding> =
        (0..3_000).map(|number| finding(&asset, Detector::Advisory, &format!("CVE-{number}"), "a")).collect();
    assert_eq!(run(&world.store, &asset, 0, findings.clone()).await.opened.len(), 3_000);
    assert_eq!(run(&world.store, &asset, 1, findings[..10].to_vec()).await.closed.len(), 2_990);
    assert_eq!(run(&world.store, &asset, 2, findings.clone()).await.reopened.len(), 2_990);

    let filter = FindingFilter { asset: Some(asset), open: Some(true), ..FindingFilter::default() };
    let mut seen = Vec::new();
    while let page = world.store.findings(&filter, seen.last(), 700).await.unwrap()
        && !page.is_empty()
    {
        seen.extend(page.into_iter().map(|stored| stored.finding.fingerprint));
    }
    let mut expected: Vec<_> = findings.into_iter().map(|finding| finding.fingerprint).collect();
    expected.sort();
    assert_eq!(seen, expected);
    let counts = world.store.finding_counts(None).await.unwrap();
    assert_eq!(counts[&(Detector::Advisory, Verdict::AffectedFixable)], FindingCount { open: 3_000, closed: 0 });
    let one = FindingFilter { id: Some("CVE-7".into()), verdict: Some(Verdict::AffectedFixable), ..filter };
    assert_eq!(world.store.findings(&one, None, 10).await.unwrap().len(), 1);
}
