//! Many callers at once, in any order, with any mistakes: the invariants hold.

use std::collections::BTreeMap;

use proptest::prelude::*;
use stanch_model::id::TaskId;
use stanch_model::merkle;
use stanch_model::remediation::TaskState;
use stanch_store::budget::{Reserve, Settle, Taken};
use stanch_store::{Committed, Store, Transition, Write};

use crate::world::{at, move_task, world};

const TASKS: usize = 6;
const LIMIT: u32 = 2;

/// What one caller tries, on what it believes to be the state.
#[derive(Debug, Clone)]
enum Try {
    /// Moves a task with a share of the budget.
    Reserve(usize),
    /// Cancels a reserved task and gives the share back.
    Cancel(usize),
    /// Grants a reserved task and uses the share up.
    Use(usize),
    /// Moves a task on what was true a while ago.
    Stale(usize),
}

fn attempt() -> impl Strategy<Value = Try> {
    let task = 0..TASKS;
    prop_oneof![
        3 => task.clone().prop_map(Try::Reserve),
        2 => task.clone().prop_map(Try::Cancel),
        1 => task.clone().prop_map(Try::Use),
        1 => task.prop_map(Try::Stale),
    ]
}

fn settle(id: &TaskId, used: bool) -> Write {
    Write::Settle(Settle { holder: id.to_string(), scope: "fleet".into(), span: "always".into(), used })
}

fn transition(ids: &[TaskId], attempt: &Try, generation: u64) -> Transition {
    match attempt {
        Try::Reserve(task) => {
            let id = &ids[*task];
            let (holder, scope, span) = (id.to_string(), "fleet".into(), "always".into());
            move_task(id, TaskState::Pending, generation, TaskState::Reserved).write(Write::Reserve(Reserve {
                holder,
                scope,
                span,
                amount: 1,
                limit: LIMIT,
            }))
        }
        Try::Cancel(task) => move_task(&ids[*task], TaskState::Reserved, generation, TaskState::Cancelled)
            .write(settle(&ids[*task], false)),
        Try::Use(task) => {
            move_task(&ids[*task], TaskState::Reserved, generation, TaskState::Granted).write(settle(&ids[*task], true))
        }
        Try::Stale(task) => move_task(&ids[*task], TaskState::Pending, 0, TaskState::Reserved),
    }
}

/// One caller: load, decide, commit, again and again.
async fn caller(store: Store, ids: Vec<TaskId>, attempts: Vec<Try>) -> Vec<Committed> {
    let mut done = Vec::new();
    for attempt in &attempts {
        let (Try::Reserve(task) | Try::Cancel(task) | Try::Use(task) | Try::Stale(task)) = attempt;
        let generation = store.task(&ids[*task]).await.unwrap().unwrap().generation;
        if let Ok(committed) = store.commit(transition(&ids, attempt, generation)).await {
            done.push(committed);
        }
        let taken = store.budget("fleet", "always").await.unwrap();
        assert!(taken.reserved + taken.used <= u64::from(LIMIT), "{taken:?}");
    }
    done
}

async fn play(callers: Vec<Vec<Try>>) {
    let world = world().await;
    let remediation = world.remediation("r").await;
    let mut ids = Vec::new();
    for number in 0..TASKS {
        // Two tasks to an asset, so that lanes are fought over too.
        let asset = world.asset(&format!("host-{}", number / 2)).await;
        ids.push(world.task(&format!("t-{number}"), &remediation, &asset).await);
    }
    let mut playing = tokio::task::JoinSet::new();
    for attempts in callers {
        playing.spawn(caller(world.store.clone(), ids.clone(), attempts));
    }
    let committed: Vec<Committed> = playing.join_all().await.into_iter().flatten().collect();
    let world = world.reopened().await;

    // Every entry is sealed once, in one unbroken log with the root that the tree says.
    let begun = 1 + TASKS as u64;
    let mut indices: Vec<u64> = committed.iter().flat_map(|committed| committed.entries.clone()).collect();
    indices.sort_unstable();
    assert_eq!(indices, (begun..begun + committed.len() as u64).collect::<Vec<_>>());
    let tree = world.store.tree().await.unwrap().frontier;
    assert_eq!(tree.size(), begun + committed.len() as u64);
    assert_eq!(merkle::root(&world.store.leaves(tree.size()).await.unwrap()), tree.root());
    let mut leaves = Vec::new();
    for entry in world.store.entries(0, 10_000).await.unwrap() {
        leaves.push(entry.leaf_hash().unwrap());
    }
    assert_eq!(merkle::root(&leaves), tree.root(), "the rows are what was sealed");

    // A generation for each change of state, and an entry for each generation.
    let mut lanes = BTreeMap::new();
    let (mut reserved, mut granted) = (0, 0);
    for id in &ids {
        let task = world.store.task(id).await.unwrap().unwrap();
        let told = world.store.timeline(id.as_str(), 0, 1_000).await.unwrap().len() as u64;
        assert_eq!(task.generation, told, "{task:?}");
        reserved += u64::from(task.state == TaskState::Reserved);
        granted += u64::from(task.state == TaskState::Granted);
        if task.state.holds_lane() {
            assert_eq!(lanes.insert(task.asset.clone(), id.clone()), None, "two tasks in the lane of {}", task.asset);
        }
        assert!(task.updated_at >= at(0));
    }
    let taken = world.store.budget("fleet", "always").await.unwrap();
    assert_eq!(taken, Taken { reserved, used: granted }, "what is reserved is what runs");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_many_callers_try_the_invariants_hold(
        callers in prop::collection::vec(prop::collection::vec(attempt(), 1..12), 2..8),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
        runtime.block_on(play(callers));
    }
}
