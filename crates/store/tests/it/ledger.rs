//! Entries are read back as they were written, by place and by subject.

use serde_json::json;
use stanch_ledger::NewEntry;
use stanch_store::{CommitError, Transition};

use crate::world::{at, entry, remediation_id, world};

#[tokio::test]
async fn entries_get_their_indices_in_the_order_of_the_transition() {
    let world = world().await;
    let two = Transition::new(entry("one", "s-1")).entry(entry("two", "s-2").with(json!({"wave": 3})));
    assert_eq!(world.store.commit(two.clone()).await.unwrap().entries, [0, 1]);
    assert_eq!(world.store.commit(two.clone()).await.unwrap().entries, [2, 3]);
    let world = world.reopened().await;
    assert_eq!(world.store.commit(two).await.unwrap().entries, [4, 5]);
    let entries = world.store.entries(1, 3).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.index).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(entries[0].entry, entry("two", "s-2").with(json!({"wave": 3})));
    let newest: Vec<_> = world.store.newest_entries(None, 2).await.unwrap().iter().map(|entry| entry.index).collect();
    assert_eq!(newest, [5, 4]);
    let timeline: Vec<_> = world.store.timeline("s-2", 2, 9).await.unwrap().iter().map(|entry| entry.index).collect();
    assert_eq!(timeline, [3, 5]);
}

#[tokio::test]
async fn an_entry_that_the_ledger_does_not_take_stops_its_transition() {
    let world = world().await;
    for bad in [entry("Not A Name", "s"), entry("float", "s").with(json!(0.5)), NewEntry::new(at(0), "", "no_actor")] {
        assert!(matches!(world.store.commit(Transition::new(bad)).await, Err(CommitError::Entry(_))));
    }
    assert_eq!(world.store.tree().await.unwrap().frontier.size(), 0);
}

#[tokio::test]
async fn a_refused_transition_in_a_batch_leaves_no_gap() {
    let world = world().await;
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..200_u32 {
        // Every second one begins a remediation that is there already.
        let id = remediation_id(&format!("r-{}", number / 2));
        let store = world.store.clone();
        waiting.spawn(async move { store.commit(crate::world::begin(&id)).await });
    }
    let outcomes = waiting.join_all().await;
    let mut indices: Vec<u64> = outcomes.iter().flatten().flat_map(|committed| committed.entries.clone()).collect();
    indices.sort_unstable();
    assert_eq!(indices, (0..100).collect::<Vec<u64>>());
    let tree = world.store.tree().await.unwrap().frontier;
    assert_eq!(stanch_model::merkle::root(&world.store.leaves(100).await.unwrap()), tree.root());
}
