//! Cases and edges: an item is worked on in one case at a time, and only the newest view of a case moves it.

use std::collections::BTreeSet;

use serde_json::json;
use stanch_model::edge::{Edge, EdgeKind};
use stanch_model::id::{AssetId, CaseId, ItemId};
use stanch_store::case::PutCase;
use stanch_store::edge::SetEdge;
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
    let asset = |n: u8| AssetId::from_entropy([n; 10]);
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
