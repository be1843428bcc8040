//! Items stand in the order of their latest assessment.

use std::collections::BTreeSet;

use stanch_model::assessment::{Assessment, BodDeadline, CoordinatorPriority, DeployerPriority};
use stanch_model::decision::{Decision, Mode};
use stanch_model::finding::{Detector, Verdict};
use stanch_model::id::{AssetId, ItemId};
use stanch_store::finding::{ClosedAs, FindingFilter, SyncFindings};
use stanch_store::item::{ItemCounts, ItemFilter, NewItem, SyncItems};
use stanch_store::suppression::Suppression;
use stanch_store::{CommitError, Effect, Write};

use crate::world::{at, finding, listed, work_item, world};

pub(crate) fn assessment(item: &ItemId, seconds: i64, rank: Vec<i64>) -> Assessment {
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
    let sync = SyncItems { asset: asset.clone(), items: items.iter().map(listed).collect(), at: at(0) };
    world.store.put(Write::SyncItems(sync)).await.unwrap();
    for (item, rank) in items.iter().zip([vec![2, 0], vec![-1, 5], vec![2, -3]]) {
        world.store.put(Write::PutAssessments(vec![assessment(&item.id, 1, rank)])).await.unwrap();
    }
    let mode = Decision { reason: "why".into(), ..Decision::by_default(items[1].id.clone(), at(2)) };
    world.store.put(Write::PutDecisions(vec![mode.clone()])).await.unwrap();

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

    world.store.put(Write::PutAssessments(vec![assessment(&items[3].id, 3, vec![-9])])).await.unwrap();
    let first = world.store.items(&ItemFilter::default(), None, 1).await.unwrap();
    assert_eq!(first[0].item.subject.name(), "zlib");
}

#[tokio::test]
async fn an_assessment_or_decision_that_says_nothing_new_is_not_kept() {
    let world = world().await;
    let asset = world.asset("host").await;
    let item = work_item(&asset, "bash", &[]);
    let sync = SyncItems { asset, items: vec![listed(&item)], at: at(0) };
    world.store.put(Write::SyncItems(sync)).await.unwrap();
    for (seconds, rank, effect) in [(1, 5, Effect::Done), (2, 5, Effect::Unchanged), (3, 6, Effect::Done)] {
        let put = Write::PutAssessments(vec![assessment(&item.id, seconds, vec![rank])]);
        assert_eq!(world.store.put(put).await.unwrap().effects, [effect]);
    }
    assert_eq!(world.store.assessments(&item.id, 10).await.unwrap().len(), 2);
    for (seconds, mode, effect) in
        [(1, Mode::Alert, Effect::Done), (2, Mode::Alert, Effect::Unchanged), (3, Mode::Auto, Effect::Done)]
    {
        let decision = Decision { mode, reason: "r".into(), ..Decision::by_default(item.id.clone(), at(seconds)) };
        assert_eq!(world.store.put(Write::PutDecisions(vec![decision])).await.unwrap().effects, [effect]);
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
    let both = SyncItems { asset: asset.clone(), items: vec![listed(&item), listed(&other)], at: at(0) };
    world.store.put(Write::SyncItems(both)).await.unwrap();
    let of_item = FindingFilter { item: Some(item.id.clone()), ..FindingFilter::default() };
    assert_eq!(world.store.findings(&of_item, None, 10).await.unwrap().len(), 1);

    let one = SyncItems { asset: asset.clone(), items: vec![listed(&other)], at: at(5) };
    world.store.put(Write::SyncItems(one)).await.unwrap();
    assert_eq!(world.store.item(&item.id).await.unwrap().unwrap().closed_at, Some(at(5)));
    let open = ItemFilter { open: Some(true), asset: Some(asset), ..ItemFilter::default() };
    assert_eq!(world.store.items(&open, None, 10).await.unwrap().len(), 1);
    assert_eq!(world.store.count_items(None, at(6)).await.unwrap().open, 1);
}

#[tokio::test]
async fn items_are_narrowed_and_counted_by_what_is_said_of_them() {
    let world = world().await;
    let (one, two) = (world.asset("one").await, world.asset("two").await);
    let fixable = |asset: &AssetId, name: &str| NewItem {
        verdict: Verdict::AffectedFixable,
        fixed_version: "2.0".into(),
        action: Some("package.upgrade".into()),
        ..listed(&work_item(asset, name, &[]))
    };
    let (openssl, zlib) = (fixable(&one, "openssl"), fixable(&one, "zlib"));
    let (bash, curl) = (listed(&work_item(&one, "bash", &[])), fixable(&two, "curl"));
    for (asset, items) in [(&one, vec![openssl.clone(), zlib.clone(), bash.clone()]), (&two, vec![curl.clone()])] {
        let sync = SyncItems { asset: asset.clone(), items, at: at(0) };
        world.store.put(Write::SyncItems(sync)).await.unwrap();
    }
    let urgent = Assessment { deployer: DeployerPriority::Immediate, ..assessment(&bash.item.id, 1, vec![1]) };
    world.store.put(Write::PutAssessments(vec![urgent])).await.unwrap();
    let auto = Decision { mode: Mode::Auto, ..Decision::by_default(zlib.item.id.clone(), at(2)) };
    world.store.put(Write::PutDecisions(vec![auto])).await.unwrap();
    // The version that was taken back, and one that was superseded since.
    for (new, version) in [(&openssl, "2.0"), (&curl, "1.9")] {
        let suppression = Suppression {
            item: new.item.id.clone(),
            asset: new.item.asset.clone(),
            version: version.into(),
            until: None,
            actor: "ada".into(),
            reason: "slow".into(),
            at: at(3),
        };
        world.store.put(Write::Suppress(suppression)).await.unwrap();
    }

    let among = BTreeSet::from([one.clone()]);
    let named = async |filter: ItemFilter| -> Vec<String> {
        let rows = world.store.items(&ItemFilter { open: Some(true), ..filter }, None, 10).await.unwrap();
        let mut names: Vec<_> = rows.iter().map(|row| row.item.subject.name().to_owned()).collect();
        names.sort();
        names
    };
    let every = ItemFilter::default;
    assert_eq!(named(ItemFilter { actionable: true, ..every() }).await, ["curl", "openssl", "zlib"]);
    assert_eq!(named(ItemFilter { wanted: true, ..every() }).await, ["zlib"]);
    assert_eq!(named(ItemFilter { part: Some("ss".into()), ..every() }).await, ["openssl"]);
    assert_eq!(named(ItemFilter { kind: Some("reboot".into()), ..every() }).await, [""; 0]);
    assert_eq!(named(ItemFilter { verdict: Some(Verdict::AffectedUnfixed), ..every() }).await, ["bash"]);
    assert_eq!(named(ItemFilter { deployer: Some(DeployerPriority::Immediate), ..every() }).await, ["bash"]);
    assert_eq!(named(ItemFilter { among: Some(BTreeSet::from([two.clone()])), ..every() }).await, ["curl"]);
    assert_eq!(named(ItemFilter { ids: Some(vec![zlib.item.id.clone()]), ..every() }).await, ["zlib"]);

    let counts = world.store.count_items(None, at(9)).await.unwrap();
    let wanted =
        ItemCounts { open: 4, actionable: 2, set_aside: 1, urgent: 1, suppressed: 1, exploited: 0, decided: 1 };
    assert_eq!(counts, wanted, "a newer version than the one that was taken back is wanted again");
    let counts = world.store.count_items(Some(&among), at(9)).await.unwrap();
    assert_eq!((counts.open, counts.actionable), (3, 1));
    assert_eq!(world.store.count_items(Some(&BTreeSet::new()), at(9)).await.unwrap(), ItemCounts::default());
}

#[tokio::test]
async fn many_are_decided_and_assessed_in_one_write_and_what_is_not_new_stays_as_it_was() {
    let world = world().await;
    let asset = world.asset("host").await;
    let names = ["bash", "curl", "openssl"];
    let items: Vec<_> = names.iter().map(|name| work_item(&asset, name, &[])).collect();
    let sync = SyncItems { asset, items: items.iter().map(listed).collect(), at: at(0) };
    world.store.put(Write::SyncItems(sync)).await.unwrap();
    let decide = async |seconds: i64, modes: [Mode; 3]| {
        let decisions = items.iter().zip(modes);
        let decisions = decisions
            .map(|(item, mode)| Decision { mode, ..Decision::by_default(item.id.clone(), at(seconds)) })
            .collect();
        world.store.put(Write::PutDecisions(decisions)).await.unwrap().effects
    };
    assert_eq!(decide(1, [Mode::Alert, Mode::Alert, Mode::Auto]).await, [Effect::Done]);
    assert_eq!(decide(2, [Mode::Alert, Mode::Suggest, Mode::Auto]).await, [Effect::Done]);
    assert_eq!(decide(3, [Mode::Alert, Mode::Suggest, Mode::Auto]).await, [Effect::Unchanged]);
    let rank = async |seconds: i64, ranks: [i64; 3]| {
        let assessments = items.iter().zip(ranks).map(|(item, rank)| assessment(&item.id, seconds, vec![rank]));
        world.store.put(Write::PutAssessments(assessments.collect())).await.unwrap().effects
    };
    assert_eq!(rank(1, [1, 2, 3]).await, [Effect::Done]);
    assert_eq!(rank(2, [1, 2, 0]).await, [Effect::Done]);
    assert_eq!(rank(3, [1, 2, 0]).await, [Effect::Unchanged]);

    let page = world.store.items(&ItemFilter::default(), None, 10).await.unwrap();
    let told: Vec<_> = page
        .iter()
        .map(|row| {
            let decision = row.decision.as_ref().unwrap();
            (row.item.subject.name(), decision.mode, decision.at, row.assessment.as_ref().unwrap().at)
        })
        .collect();
    let expected = [
        ("openssl", Mode::Auto, at(1), at(2)),
        ("bash", Mode::Alert, at(1), at(1)),
        ("curl", Mode::Suggest, at(2), at(1)),
    ];
    assert_eq!(told, expected);
    assert!(page.iter().all(|row| row.decision.as_ref().unwrap().item == row.item.id));
    let wanted = ItemFilter { wanted: true, ..ItemFilter::default() };
    assert_eq!(world.store.items(&wanted, None, 10).await.unwrap().len(), 2);

    let again = Decision { mode: Mode::Approve, ..Decision::by_default(items[1].id.clone(), at(2)) };
    let refused = world.store.put(Write::PutDecisions(vec![again])).await.unwrap_err();
    assert!(matches!(refused, CommitError::Exists { noun: "decision", .. }), "there is one of that time: {refused}");
}

#[tokio::test]
async fn an_item_that_comes_back_is_decided_anew() {
    let world = world().await;
    let asset = world.asset("host").await;
    let item = work_item(&asset, "bash", &[]);
    let sync = async |seconds: i64, items: Vec<NewItem>| {
        let sync = SyncItems { asset: asset.clone(), items, at: at(seconds) };
        world.store.put(Write::SyncItems(sync)).await.unwrap();
    };
    sync(0, vec![listed(&item)]).await;
    let auto = |seconds| Decision { mode: Mode::Auto, ..Decision::by_default(item.id.clone(), at(seconds)) };
    world.store.put(Write::PutDecisions(vec![auto(1)])).await.unwrap();
    sync(2, vec![listed(&item)]).await;
    assert!(world.store.item(&item.id).await.unwrap().unwrap().decision.is_some(), "it was there all the time");
    sync(3, Vec::new()).await;
    sync(4, vec![listed(&item)]).await;
    assert_eq!(world.store.item(&item.id).await.unwrap().unwrap().decision, None);
    assert_eq!(world.store.count_items(None, at(5)).await.unwrap().decided, 0);
    assert_eq!(world.store.put(Write::PutDecisions(vec![auto(5)])).await.unwrap().effects, [Effect::Done]);
    assert_eq!(world.store.decisions(&item.id, 10).await.unwrap().len(), 2);
}
