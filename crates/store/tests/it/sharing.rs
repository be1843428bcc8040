//! Many budgets at once, by many callers: a task takes a share of each or none at all, an hour's share stays used until
//! the hour is over, and at every commit no budget holds more than its limit.

use std::collections::BTreeMap;

use proptest::prelude::*;
use stanch_model::id::TaskId;
use stanch_model::remediation::TaskState;
use stanch_store::budget::{Reserve, Settle};
use stanch_store::{CommitError, Store, Write};

use crate::world::{move_task, world};

const TASKS: usize = 8;
/// Scope and limit; those of an hour have two hours.
const CONCURRENT: (&str, u32) = ("policy/night/concurrent", 3);
const DISRUPTED: (&str, u32) = ("environment/prod/disrupted", 2);
const STARTED: (&str, u32) = ("policy/night/started", 4);
const HOURS: [&str; 2] = ["hour/2026-11-23T12:00:00Z", "hour/2026-11-23T13:00:00Z"];

/// What one caller tries.
#[derive(Debug, Clone)]
enum Try {
    /// Starts a task in this hour; every second one is disruptive.
    Start(usize, usize),
    /// It never began: everything is given back.
    Withdraw(usize, usize),
    /// It is over: the hour's share stays used.
    End(usize, usize),
}

fn attempt() -> impl Strategy<Value = Try> {
    let (task, hour) = (0..TASKS, 0..HOURS.len());
    prop_oneof![
        4 => (task.clone(), hour.clone()).prop_map(|(task, hour)| Try::Start(task, hour)),
        1 => (task.clone(), hour.clone()).prop_map(|(task, hour)| Try::Withdraw(task, hour)),
        2 => (task, hour).prop_map(|(task, hour)| Try::End(task, hour)),
    ]
}

fn shares(task: usize, hour: usize) -> Vec<(&'static str, &'static str, u32)> {
    let mut shares = vec![(CONCURRENT.0, "always", CONCURRENT.1), (STARTED.0, HOURS[hour], STARTED.1)];
    if task.is_multiple_of(2) {
        shares.push((DISRUPTED.0, "always", DISRUPTED.1));
    }
    shares
}

async fn check(store: &Store) {
    for (scope, span, limit) in (0..HOURS.len()).flat_map(|hour| shares(0, hour)) {
        let taken = store.budget(scope, span).await.unwrap();
        assert!(taken.reserved + taken.used <= u64::from(limit), "{scope} {span}: {taken:?}");
    }
}

/// Plays one caller. Answers which tasks were started, ended or withdrawn by it, and in which hour.
async fn caller(store: Store, ids: Vec<TaskId>, attempts: Vec<Try>) -> Vec<Try> {
    let mut done = Vec::new();
    for attempt in attempts {
        let (Try::Start(task, hour) | Try::Withdraw(task, hour) | Try::End(task, hour)) = attempt;
        let id = &ids[task];
        let generation = store.task(id).await.unwrap().unwrap().generation;
        let holder = id.to_string();
        let transition = match attempt {
            Try::Start(..) => {
                let asks = shares(task, hour).into_iter().map(|(scope, span, limit)| {
                    let (holder, scope, span) = (holder.clone(), scope.to_owned(), span.to_owned());
                    Write::Reserve(Reserve { holder, scope, span, amount: 1, limit })
                });
                asks.fold(move_task(id, TaskState::Pending, generation, TaskState::Reserved), |t, write| t.write(write))
            }
            Try::Withdraw(..) | Try::End(..) => {
                let ends = matches!(attempt, Try::End(..));
                let to = if ends { TaskState::Granted } else { TaskState::Cancelled };
                let settled = shares(task, hour).into_iter().map(|(scope, span, _)| {
                    let used = ends && span != "always";
                    Write::Settle(Settle {
                        holder: holder.clone(),
                        scope: scope.to_owned(),
                        span: span.to_owned(),
                        used,
                    })
                });
                settled.fold(move_task(id, TaskState::Reserved, generation, to), |t, write| t.write(write))
            }
        };
        match store.commit(transition).await {
            Ok(_) => done.push(attempt),
            Err(CommitError::OverBudget { holder, .. }) => {
                assert_eq!(holder, id.to_string(), "who had no room is named")
            }
            Err(_) => {}
        }
        check(&store).await;
    }
    done
}

async fn play(callers: Vec<Vec<Try>>) {
    let world = world().await;
    let remediation = world.remediation("r").await;
    let mut ids = Vec::new();
    for number in 0..TASKS {
        let asset = world.asset(&format!("host-{number}")).await;
        ids.push(world.task(&format!("t-{number}"), &remediation, &asset).await);
    }
    let mut playing = tokio::task::JoinSet::new();
    for attempts in callers {
        playing.spawn(caller(world.store.clone(), ids.clone(), attempts));
    }
    let done: Vec<Try> = playing.join_all().await.into_iter().flatten().collect();
    let world = world.reopened().await;
    // What is taken is exactly what the commits that went through say.
    // A caller may end what another started, so a sum on the way can be below nothing.
    let mut expected: BTreeMap<(&str, &str), (i64, i64)> = BTreeMap::new();
    for attempt in &done {
        let (Try::Start(task, hour) | Try::Withdraw(task, hour) | Try::End(task, hour)) = attempt;
        for (scope, span, _) in shares(*task, *hour) {
            let (reserved, used) = expected.entry((scope, span)).or_default();
            match attempt {
                Try::Start(..) => *reserved += 1,
                Try::Withdraw(..) => *reserved -= 1,
                Try::End(..) => {
                    *reserved -= 1;
                    *used += i64::from(span != "always");
                }
            }
        }
    }
    for ((scope, span), (reserved, used)) in expected {
        let taken = world.store.budget(scope, span).await.unwrap();
        assert_eq!(
            (i64::try_from(taken.reserved), i64::try_from(taken.used)),
            (Ok(reserved), Ok(used)),
            "{scope} {span}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn no_budget_of_several_is_exceeded_and_a_refused_start_takes_nothing(
        callers in prop::collection::vec(prop::collection::vec(attempt(), 1..10), 2..6),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
        runtime.block_on(play(callers));
    }
}
