//! Items stand in the order of their latest assessment.

use stanch_model::assessment::{Assessment, BodDeadline, CoordinatorPriority, DeployerPriority};
use stanch_model::decision::{Decision, Mode};
use stanch_model::finding::Detector;
use stanch_model::id::ItemId;
use stanch_store::finding::{ClosedAs, FindingFilter, SyncFindings};
use stanch_store::item::{ItemFilter, SyncItems};
use stanch_store::{Effect, Write};

use crate::world::{at, finding, work_item, world};

fn assessment(item: &ItemId, seconds: i64, rank: Vec<i64>) -> Assessment {
    Assessment {
        item: item.clone(),
        at: at(seconds),
        deployer: DeployerPriority::Scheduled,
        coordinator: CoordinatorPriority::Track,
        bod: BodDeadline::NextUpgrade,
        due: None,
        exposure: None,
        tier: None,
        dependents: 0,
        reason: "nothing presses".into(),
        members: Vec::new(),
        feeds: Vec::new(),
        rank,
    }
}

#[tokio::test]
async fn items_come_most_urgent_first_with_their_latest_word() {
    let world = world().await;
    let asset = world.asset("host").await;
    let names = ["bash", "curl", "openssl", "zlib"];
    let items: Vec<_> = names.iter().map(|name| work_item(&asset, name, &[])).collect();
    let sync = SyncItems { asset: asset.clone(), items: items.clone(), at: at(0) };
    world.store.put(Write::SyncItems(sync)).await.unwrap();
    for (item, rank) in items.iter().zip([vec![2, 0], vec![-1, 5], vec![2, -3]]) {
        world.store.put(Write::PutAssessment(assessment(&item.id, 1, rank))).await.unwrap();
    }
    let mode = Decision { reason: "why".into(), ..Decision::by_default(items[1].id.clone(), at(2)) };
    world.store.put(Write::PutDecision(mode.clone())).await.unwrap();

    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = world.store.items(&ItemFilter::default(), after.as_ref(), 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.cursor.clone());
        seen.extend(page);
    }
    let order: Vec<_> = seen.iter().map(|stored| stored.item.subject.name()).collect();
    assert_eq!(order, ["curl", "openssl", "bash", "zlib"], "what nobody assessed stands last");
    assert_eq!((seen[0].decision.as_ref(), seen[0].assessment.as_ref().map(|a| a.at)), (Some(&mode), Some(at(1))));

    world.store.put(Write::PutAssessment(assessment(&items[3].id, 3, vec![-9]))).await.unwrap();
    let first = world.store.items(&ItemFilter::default(), None, 1).await.unwrap();
    assert_eq!(first[0].item.subject.name(), "zlib");
}

#[tokio::test]
async fn an_assessment_or_decision_that_says_nothing_new_is_not_kept() {
    let world = world().await;
    let asset = world.asset("host").await;
    let item = work_item(&asset, "bash", &[]);
    let sync = SyncItems { asset, items: vec![item.clone()], at: at(0) };
    world.store.put(Write::SyncItems(sync)).await.unwrap();
    for (seconds, rank, effect) in [(1, 5, Effect::Done), (2, 5, Effect::Unchanged), (3, 6, Effect::Done)] {
        let put = Write::PutAssessment(assessment(&item.id, seconds, vec![rank]));
        assert_eq!(world.store.put(put).await.unwrap().effects, [effect]);
    }
    assert_eq!(world.store.assessments(&item.id, 10).await.unwrap().len(), 2);
    for (seconds, mode, effect) in
        [(1, Mode::Alert, Effect::Done), (2, Mode::Alert, Effect::Unchanged), (3, Mode::Auto, Effect::Done)]
    {
        let decision = Decision { mode, reason: "r".into(), ..Decision::by_default(item.id.clone(), at(seconds)) };
        assert_eq!(world.store.put(Write::PutDecision(decision)).await.unwrap().effects, [effect]);
    }
    assert_eq!(world.store.decisions(&item.id, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_item_that_is_gone_closes_and_its_findings_know_it() {
    let world = world().await;
    let asset = world.asset("host").await;
    let findings = vec![finding(&asset, Detector::Advisory, "CVE-1", "a")];
    let run = SyncFindings {
        asset: asset.clone(),
        detectors: vec![Detector::Advisory],
        findings: findings.clone(),
        at: at(0),
        closed_as: ClosedAs::Fixed,
        otherwise: std::collections::BTreeMap::new(),
    };
    world.store.put(Write::SyncFindings(run)).await.unwrap();
    let item = work_item(&asset, "a", &findings);
    let other = work_item(&asset, "b", &[]);
    let both = SyncItems { asset: asset.clone(), items: vec![item.clone(), other.clone()], at: at(0) };
    world.store.put(Write::SyncItems(both)).await.unwrap();
    let of_item = FindingFilter { item: Some(item.id.clone()), ..FindingFilter::default() };
    assert_eq!(world.store.findings(&of_item, None, 10).await.unwrap().len(), 1);

    let one = SyncItems { asset: asset.clone(), items: vec![other], at: at(5) };
    world.store.put(Write::SyncItems(one)).await.unwrap();
    assert_eq!(world.store.item(&item.id).await.unwrap().unwrap().closed_at, Some(at(5)));
    let open = ItemFilter { open: Some(true), asset: Some(asset), ..ItemFilter::default() };
    assert_eq!(world.store.items(&open, None, 10).await.unwrap().len(), 1);
    assert_eq!(world.store.overview().await.unwrap().items, 1);
}
