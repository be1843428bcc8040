//! What keeps several servers from taking back each other's words.

use serde_json::json;
use stanch_model::id::AssetId;
use stanch_store::executor::{Standing, StoredExecutor};
use stanch_store::lease::TakeLease;
use stanch_store::{CommitError, Effect, Fence, Write};

use crate::world::{World, at, begin, executor_id, remediation_id, world};

async fn take(world: &World, holder: &str, seconds: i64) -> Option<u64> {
    let (name, holder) = ("leader".to_owned(), holder.to_owned());
    let ask = TakeLease { name, holder, anew: true, at: at(seconds), until: at(seconds + 10) };
    let effects = world.store.put(Write::TakeLease(ask)).await.unwrap().effects;
    effects.into_iter().find_map(|effect| if let Effect::Lease(token) = effect { token } else { None })
}

#[tokio::test]
async fn nothing_is_written_under_a_lease_that_another_holds() {
    let world = world().await;
    let token = take(&world, "one", 0).await.unwrap();
    assert_eq!(take(&world, "two", 5).await, None);
    assert_eq!(take(&world, "two", 11).await, Some(token + 1));
    assert_eq!(take(&world, "two", 12).await, Some(token + 2), "what it was before it was started again is over");
    let lost = Fence { lease: "leader".into(), token };
    assert!(world.store.fence(lost.clone()));
    assert!(!world.store.fence(Fence { token: token + 1, ..lost.clone() }), "it can be said once");
    assert_eq!(world.store.fenced(), Some(lost));
    let id = remediation_id("r");
    let refused = world.store.commit(begin(&id)).await.unwrap_err();
    assert!(matches!(&refused, CommitError::Lease(name) if name == "leader"), "{refused}");
    assert!(world.store.remediation(&id).await.unwrap().is_none());
    let renewal = TakeLease { name: "leader".into(), holder: "one".into(), anew: false, at: at(12), until: at(22) };
    assert!(matches!(world.store.put(Write::TakeLease(renewal)).await, Err(CommitError::Lease(_))));
}

fn said(writer: &str, revision: u64, rests_on: u64, standing: Standing) -> StoredExecutor {
    StoredExecutor {
        id: executor_id("e"),
        asset: AssetId::from_digest(&stanch_model::Digest::of_bytes(b"a")),
        standing,
        seen_at: at(0),
        revision,
        writer: writer.to_owned(),
        rests_on,
        body: json!({ "revision": revision }),
        at: at(0),
    }
}

#[tokio::test]
async fn what_a_server_has_not_seen_of_an_executor_it_cannot_take_back() {
    let world = world().await;
    let put = async |known: StoredExecutor| {
        world.store.put(Write::PutExecutor(known)).await.map(|committed| committed.effects[0].clone())
    };
    assert_eq!(put(said("one", 1, 0, Standing::In)).await.unwrap(), Effect::Done);
    assert_eq!(put(said("one", 3, 0, Standing::In)).await.unwrap(), Effect::Done);
    assert_eq!(put(said("one", 2, 0, Standing::In)).await.unwrap(), Effect::Unchanged, "it comes late");
    assert!(put(said("two", 4, 1, Standing::In)).await.unwrap_err().is_conflict(), "it has not seen the third");
    assert_eq!(put(said("two", 4, 3, Standing::PutOut)).await.unwrap(), Effect::Done);
    assert!(put(said("one", 5, 0, Standing::In)).await.unwrap_err().is_conflict(), "it was put out meanwhile");
    let known = world.store.executor(&executor_id("e")).await.unwrap().unwrap();
    assert_eq!((known.standing, known.writer.as_str(), known.revision), (Standing::PutOut, "two", 4));
    assert_eq!(world.store.executor_writer(&executor_id("e")).await.unwrap(), Some(("two".into(), 4)));
    assert_eq!(world.store.executor_writer(&executor_id("f")).await.unwrap(), None);
}
