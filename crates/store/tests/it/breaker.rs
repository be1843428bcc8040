//! Breakers: nobody's word gets lost.

use serde_json::json;
use stanch_store::breaker::PutBreaker;
use stanch_store::{CommitError, Write};

use crate::world::{at, world};

fn put(generation: u64, body: &str) -> Write {
    Write::PutBreaker(PutBreaker { scope: "breaker/night/a".into(), generation, body: json!(body), at: at(1) })
}

#[tokio::test]
async fn a_breaker_moves_only_from_the_state_that_was_read() {
    let world = world().await;
    assert_eq!(world.store.breaker("breaker/night/a").await.unwrap(), None);
    world.store.put(put(0, "open")).await.unwrap();
    assert!(matches!(world.store.put(put(0, "again")).await, Err(CommitError::Conflict { .. })));
    world.store.put(put(1, "tried")).await.unwrap();
    assert!(matches!(world.store.put(put(1, "late")).await, Err(CommitError::Conflict { .. })));
    let world = world.reopened().await;
    let stored = world.store.breaker("breaker/night/a").await.unwrap().unwrap();
    assert_eq!((stored.generation, stored.body), (2, json!("tried")));
    assert_eq!(world.store.breakers().await.unwrap().len(), 1);
}
