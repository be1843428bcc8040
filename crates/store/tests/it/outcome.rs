//! Outcomes: what an action has earned is counted from what happened, once for each end.

use stanch_model::id::TaskId;
use stanch_store::Write;
use stanch_store::outcome::{BAD_UNDO, Outcome, Track};

use crate::world::{World, at, world};

async fn ended(world: &World, task: u8, outcome: &str, when: i64) {
    let track = Track {
        action: "package.upgrade".into(),
        system: "debian 12".into(),
        kind: "host".into(),
        classification: String::new(),
    };
    let task = TaskId::from_entropy([task; 10]);
    world.store.put(Write::PutOutcome(Outcome { task, track, outcome: outcome.into(), at: at(when) })).await.unwrap();
}

#[tokio::test]
async fn an_undo_that_failed_takes_away_what_was_earned_before_it() {
    let world = world().await;
    for task in 1..=3 {
        ended(&world, task, "verified", i64::from(task)).await;
    }
    ended(&world, 3, "verified", 9).await;
    ended(&world, 4, BAD_UNDO, 5).await;
    ended(&world, 5, "verified", 6).await;
    let counts = world.store.outcomes().await.unwrap();
    let seen: Vec<_> = counts.iter().map(|one| (one.outcome.as_str(), one.total, one.since)).collect();
    assert_eq!(seen, [(BAD_UNDO, 1, 0), ("verified", 4, 1)]);
    assert_eq!(counts[1].last_at, at(6), "the same end of the same task is not a new one");
}
