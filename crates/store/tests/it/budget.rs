//! Budgets hold, whoever asks.

use stanch_store::budget::{Reserve, Settle, Taken};
use stanch_store::{CommitError, Write};

use crate::world::world;

fn ask(holder: &str, amount: u32, limit: u32) -> Write {
    Write::Reserve(Reserve { holder: holder.into(), scope: "s".into(), span: "always".into(), amount, limit })
}

fn settle(holder: &str, used: bool) -> Write {
    Write::Settle(Settle { holder: holder.into(), scope: "s".into(), span: "always".into(), used })
}

#[tokio::test]
async fn what_is_reserved_and_used_stays_within_the_limit() {
    let world = world().await;
    let store = &world.store;
    assert!(matches!(store.put(ask("big", 4, 3)).await, Err(CommitError::OverBudget { .. })), "the first one too");
    store.put(ask("a", 2, 3)).await.unwrap();
    assert!(matches!(store.put(ask("b", 2, 3)).await, Err(CommitError::OverBudget { limit: 3, wanted: 2, .. })));
    store.put(ask("b", 1, 3)).await.unwrap();
    assert!(matches!(store.put(ask("a", 1, 9)).await, Err(CommitError::Exists { .. })), "one share each");
    store.put(settle("a", true)).await.unwrap();
    assert_eq!(store.budget("s", "always").await.unwrap(), Taken { reserved: 1, used: 2 });
    assert!(matches!(store.put(ask("c", 1, 3)).await, Err(CommitError::OverBudget { .. })), "used counts");
    store.put(settle("b", false)).await.unwrap();
    store.put(ask("c", 1, 3)).await.unwrap();
    assert!(matches!(store.put(settle("b", false)).await, Err(CommitError::Missing { .. })), "given back once");
    let world = world.reopened().await;
    assert_eq!(world.store.budget("s", "always").await.unwrap(), Taken { reserved: 1, used: 2 });
    assert_eq!(world.store.budget("s", "2026-11-23").await.unwrap(), Taken::default(), "another window");
}
