//! What is counted with every change is what one finds by looking at everything.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use stanch_model::assessment::DeployerPriority;
use stanch_model::decision::{Decision, Mode};
use stanch_model::finding::{Detector, Finding, Verdict};
use stanch_model::id::AssetId;
use stanch_store::Write;
use stanch_store::finding::{ClosedAs, FindingFilter, SyncFindings};
use stanch_store::item::{ItemCounts, ItemFilter, NewItem, SyncItems};
use stanch_store::overview::FindingCount;

use crate::item::assessment;
use crate::world::{World, at, finding, listed, work_item, world};

const NAMES: [&str; 4] = ["bash", "curl", "openssl", "zlib"];
const VERDICTS: [Verdict; 3] = [Verdict::AffectedFixable, Verdict::Held, Verdict::AffectedUnfixed];

/// Something that is written about one of two assets.
#[derive(Debug, Clone)]
enum Change {
    /// The detectors see these packages, each with one of the verdicts.
    Findings(usize, BTreeMap<usize, usize>),
    /// They are grouped into these items, some of which an action would close.
    Items(usize, BTreeMap<usize, bool>),
    /// An item is assessed.
    Assess(usize, usize, DeployerPriority),
    /// An item is decided.
    Decide(usize, usize, Mode),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let deployer = prop::sample::select(vec![
        DeployerPriority::Defer,
        DeployerPriority::Scheduled,
        DeployerPriority::OutOfCycle,
        DeployerPriority::Immediate,
    ]);
    let one = prop_oneof![
        (0..2_usize, prop::collection::btree_map(0..4_usize, 0..3_usize, 0..4))
            .prop_map(|(asset, seen)| Change::Findings(asset, seen)),
        (0..2_usize, prop::collection::btree_map(0..4_usize, any::<bool>(), 0..4))
            .prop_map(|(asset, items)| Change::Items(asset, items)),
        (0..2_usize, 0..4_usize, deployer).prop_map(|(asset, item, word)| Change::Assess(asset, item, word)),
        (0..2_usize, 0..4_usize, prop::sample::select(Mode::ALL.to_vec()))
            .prop_map(|(asset, item, mode)| Change::Decide(asset, item, mode)),
    ];
    prop::collection::vec(one, 1..24)
}

async fn make(world: &World, assets: &[AssetId], change: &Change, seconds: i64) {
    let write = match change {
        Change::Findings(asset, seen) => Write::SyncFindings(SyncFindings {
            asset: assets[*asset].clone(),
            detectors: vec![Detector::Advisory],
            findings: seen
                .iter()
                .map(|(name, verdict)| Finding {
                    verdict: VERDICTS[*verdict],
                    ..finding(&assets[*asset], Detector::Advisory, "CVE-1", NAMES[*name])
                })
                .collect(),
            at: at(seconds),
            closed_as: ClosedAs::Fixed,
            otherwise: BTreeMap::new(),
        }),
        Change::Items(asset, items) => Write::SyncItems(SyncItems {
            asset: assets[*asset].clone(),
            items: items
                .iter()
                .map(|(name, actionable)| NewItem {
                    action: actionable.then(|| "package.upgrade".to_owned()),
                    ..listed(&work_item(&assets[*asset], NAMES[*name], &[]))
                })
                .collect(),
            at: at(seconds),
        }),
        Change::Assess(asset, item, deployer) => {
            let mut word = assessment(&work_item(&assets[*asset], NAMES[*item], &[]).id, seconds, vec![seconds]);
            word.deployer = *deployer;
            Write::PutAssessments(vec![word])
        }
        Change::Decide(asset, item, mode) => Write::PutDecisions(vec![Decision {
            mode: *mode,
            ..Decision::by_default(work_item(&assets[*asset], NAMES[*item], &[]).id, at(seconds))
        }]),
    };
    // Nothing is said of an item that is not there, which is one of the things that may be tried.
    drop(world.store.put(write).await);
}

async fn looked_at(
    world: &World,
    asset: Option<&AssetId>,
) -> (BTreeMap<(Detector, Verdict), FindingCount>, ItemCounts) {
    let mut findings: BTreeMap<(Detector, Verdict), FindingCount> = BTreeMap::new();
    let filter = FindingFilter { asset: asset.cloned(), ..FindingFilter::default() };
    for row in world.store.findings(&filter, None, 1_000).await.unwrap() {
        let count = findings.entry((row.finding.detector, row.finding.verdict)).or_default();
        if row.closed.is_none() { count.open += 1 } else { count.closed += 1 }
    }
    let mut items = ItemCounts::default();
    let filter = ItemFilter { asset: asset.cloned(), open: Some(true), ..ItemFilter::default() };
    for row in world.store.items(&filter, None, 1_000).await.unwrap() {
        let urgent = [DeployerPriority::Immediate, DeployerPriority::OutOfCycle];
        items.open += 1;
        items.actionable += u64::from(row.action.is_some());
        items.urgent += u64::from(row.assessment.is_some_and(|word| urgent.contains(&word.deployer)));
        items.decided += u64::from(row.decision.is_some());
    }
    (findings, items)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn counts_are_what_looking_at_everything_finds(changes in changes()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = world().await;
            let assets = [world.asset("one").await, world.asset("two").await];
            for (change, seconds) in changes.iter().zip(1..) {
                make(&world, &assets, change, seconds).await;
            }
            for asset in [None, assets.first(), assets.last()] {
                let (findings, items) = looked_at(&world, asset).await;
                let among = asset.cloned().map(|asset| BTreeSet::from([asset]));
                let mut counted = world.store.finding_counts(among.as_ref()).await.unwrap();
                counted.retain(|_, count| *count != FindingCount::default());
                prop_assert_eq!(&counted, &findings);
                prop_assert_eq!(world.store.count_items(among.as_ref(), at(100)).await.unwrap(), items);
            }
            Ok(())
        })?;
    }
}
