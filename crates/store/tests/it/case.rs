//! Cases and edges: an item is worked on in one case at a time, and only the newest view of a case moves it.

use std::collections::BTreeSet;

use serde_json::json;
use stanch_model::edge::{Edge, EdgeKind, SeenState};
use stanch_model::facts::{Call, Talks};
use stanch_model::id::{AssetId, CaseId, ItemId};
use stanch_store::case::PutCase;
use stanch_store::edge::{DismissEdge, MOST_SEEN, SeeTalks, SetEdge};
use stanch_store::{Transition, Write};

use crate::world::{at, entry, world};

fn put(id: u8, generation: u64, items: &[(u8, bool)]) -> Transition {
    Transition::new(entry("case_begun", id)).write(Write::PutCase(PutCase {
        id: CaseId::from_entropy([id; 10]),
        generation,
        over: items.iter().all(|(_, busy)| !busy),
        items: items.iter().map(|(item, busy)| (ItemId::from_entropy([*item; 10]), *busy)).collect(),
        body: json!({ "generation": generation }),
        at: at(i64::from(id)),
    }))
}

#[tokio::test]
async fn an_item_is_in_one_case_at_a_time() {
    let world = world().await;
    let store = &world.store;
    store.commit(put(1, 0, &[(1, true), (2, true)])).await.unwrap();
    assert!(store.commit(put(2, 0, &[(2, true)])).await.unwrap_err().is_conflict());
    store.commit(put(1, 1, &[(1, true), (2, false)])).await.unwrap();
    assert!(store.commit(put(1, 1, &[])).await.unwrap_err().is_conflict(), "an older view");
    store.commit(put(2, 0, &[(2, true)])).await.unwrap();
    let items: BTreeSet<ItemId> = (1..4).map(|n| ItemId::from_entropy([n; 10])).collect();
    let of = store.cases_of(&items).await.unwrap();
    assert_eq!(of.len(), 2);
    assert_eq!(of[&ItemId::from_entropy([2; 10])], CaseId::from_entropy([2; 10]));
    let about = store.cases_about(&ItemId::from_entropy([2; 10]), 9).await.unwrap();
    assert_eq!(about.iter().map(|case| case.generation).collect::<Vec<_>>(), [1, 2], "the newest first");
    store.commit(put(2, 1, &[(2, false)])).await.unwrap();
    let live: Vec<CaseId> = store.live_cases().await.unwrap().into_iter().map(|case| case.id).collect();
    assert_eq!(live, [CaseId::from_entropy([1; 10])]);
}

#[tokio::test]
async fn an_edge_is_found_from_both_ends_and_can_be_taken_away() {
    let world = world().await;
    let store = &world.store;
    let edge = Edge { from: asset(1), to: asset(2), kind: EdgeKind::UsedOn };
    let set =
        |there| Transition::new(entry("edge_set", "edge")).write(Write::SetEdge(SetEdge { edge: edge.clone(), there }));
    store.commit(set(true)).await.unwrap();
    store.commit(set(true)).await.unwrap();
    for end in [1, 2] {
        assert_eq!(store.edges_at(&BTreeSet::from([asset(end)])).await.unwrap(), std::slice::from_ref(&edge));
    }
    assert!(store.edges_at(&BTreeSet::from([asset(3)])).await.unwrap().is_empty());
    store.commit(set(false)).await.unwrap();
    assert!(store.edges(9).await.unwrap().is_empty());
}

fn asset(number: u8) -> AssetId {
    AssetId::from_entropy([number; 10])
}

/// What an asset says: its address, and which ports it calls at others.
fn says(asset: &AssetId, address: &str, calls: &[(&str, u16)]) -> Write {
    let call = |(address, port): &(&str, u16)| Call { address: address.parse().unwrap(), port: *port, program: None };
    let talks = Talks { addresses: [address.parse().unwrap()].into(), calls: calls.iter().map(call).collect() };
    Write::SeeTalks(SeeTalks { asset: asset.clone(), talks, at: at(1) })
}

#[tokio::test]
async fn only_calls_between_known_assets_are_kept_and_what_was_dismissed_stays_so() {
    let world = world().await;
    let store = &world.store;
    let (web, db) = (asset(1), asset(2));
    let calls = [("10.0.0.2", 5432), ("192.0.2.7", 443), ("10.0.0.1", 80)];
    for write in [says(&db, "10.0.0.2", &[]), says(&web, "10.0.0.1", &calls)] {
        store.put(write).await.unwrap();
    }
    let seen = store.seen_edges(Some(&db), true, 10).await.unwrap();
    let [one] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!((&one.from, &one.to, one.port, one.state), (&web, &db, 5432, SeenState::Proposed));
    store.put(Write::DismissEdge(DismissEdge { from: web.clone(), to: db.clone(), port: 5432 })).await.unwrap();
    store.put(says(&web, "10.0.0.1", &calls)).await.unwrap();
    assert!(store.seen_edges(None, true, 10).await.unwrap().is_empty(), "it is not asked again");
    assert_eq!(store.seen_edges(None, false, 10).await.unwrap()[0].state, SeenState::Dismissed);
    // An address that somebody else claims as well tells nothing any more.
    store.put(says(&asset(3), "10.0.0.2", &[])).await.unwrap();
    store.put(says(&web, "10.0.0.1", &[("10.0.0.2", 6379)])).await.unwrap();
    assert!(store.seen_edges(None, true, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_host_that_calls_everything_fills_no_store() {
    let world = world().await;
    let store = &world.store;
    let (web, db) = (asset(1), asset(2));
    store.put(says(&db, "10.0.0.2", &[])).await.unwrap();
    let calls: Vec<(&str, u16)> = (1..=200).map(|port| ("10.0.0.2", port)).collect();
    store.put(says(&web, "10.0.0.1", &calls)).await.unwrap();
    let seen = store.seen_edges(None, false, 1_000).await.unwrap();
    assert_eq!(seen.len(), MOST_SEEN as usize);
    assert!(seen.iter().all(|one| one.to == db && one.port <= 200));
}
