//! Measures durable transitions: tasks walk from `pending` to `verified`, each step with its ledger entry and its
//! nudge, the first with a share of a budget that a later one gives back. 1, 100 and 1,000 callers at once, each with
//! a task of its own and waiting for each answer. Beside it the same rows written by a plain program that commits each
//! transition by itself, in the same run on the same disk. Prints one JSON object.
//!
//! `cargo run --release -p stanch-store --example transitions [FOLDER [DATABASE]]`: the folder decides which disk is
//! measured, the address which database, if the store is to be in one.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};
use stanch_ledger::NewEntry;
use stanch_model::Digest;
use stanch_model::asset::{AssetKind, asset_id};
use stanch_model::id::{RemediationId, TaskId};
use stanch_model::remediation::{RemediationState, TaskState};
use stanch_store::budget::{Reserve, Settle};
use stanch_store::remediation::{NewRemediation, OnFailure};
use stanch_store::task::{Lane, MoveTask, NewTask};
use stanch_store::{Store, StoreAt, Transition, Write};

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let folder = tempfile::Builder::new().prefix("transitions").tempdir_in(folder)?;
    let at = match std::env::args().nth(2) {
        Some(url) => StoreAt::Database(url.parse()?),
        None => StoreAt::File(folder.path().join("stanch.db")),
    };
    let store = Store::open_at(&at).await?;
    let remediation = RemediationId::from_entropy([1; 10]);
    begin(&store, &remediation).await?;
    let peer = peer(&folder.path().join("peer.db"), 100).await?;
    let mut rows = Vec::new();
    for (callers, count) in [(1, 100), (100, 3_000), (1_000, 15_000)] {
        let tasks = tasks(&store, &remediation, callers, count).await?;
        let mut row = measure(&store, tasks, callers).await?;
        let ratio = rate(&row) / rate(&peer).max(1.0);
        if let Some(row) = row.as_object_mut() {
            row.insert("ratio_to_peer".to_owned(), json!((ratio * 10.0).round() / 10.0));
        }
        rows.push(row);
    }
    store.shut().await;
    println!("{}", json!({"bench": "store", "peer": peer, "store": rows}));
    Ok(())
}

fn rate(row: &Value) -> f64 {
    row.get("per_second").and_then(Value::as_f64).unwrap_or(0.0)
}

async fn begin(store: &Store, id: &RemediationId) -> Result<(), Failure> {
    let at = Timestamp::now();
    let new = NewRemediation {
        id: id.clone(),
        state: RemediationState::Decided,
        requested_by: "bench".to_owned(),
        on_failure: OnFailure::Undo,
        assets: Vec::new(),
        items: Vec::new(),
        body: Value::Null,
        at,
    };
    let entry = NewEntry::new(at, "bench", "remediation_begun").about(id);
    store.commit(Transition::new(entry).write(Write::NewRemediation(new))).await?;
    Ok(())
}

async fn tasks(store: &Store, remediation: &RemediationId, run: usize, count: usize) -> Result<Vec<TaskId>, Failure> {
    let mut ids = Vec::with_capacity(count);
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..count {
        let name = format!("{run}-{number}");
        let id = TaskId::from_digest(&Digest::of_bytes(name.as_bytes()));
        let at = Timestamp::now();
        let new = NewTask {
            id: id.clone(),
            remediation: remediation.clone(),
            asset: asset_id(AssetKind::Host, &name),
            lane: Lane::Change,
            wave: 0,
            plan: Digest::of_bytes(b"plan"),
            leaf: Digest::of_bytes(b"leaf"),
            attempt: 1,
            items: Vec::new(),
            body: Value::Null,
            at,
        };
        let entry = NewEntry::new(at, "bench", "task_begun").about(&id).about(remediation);
        let (store, transition) = (store.clone(), Transition::new(entry).write(Write::NewTask(new)));
        waiting.spawn(async move { store.commit(transition).await });
        ids.push(id);
    }
    while let Some(done) = waiting.join_next().await {
        done??;
    }
    Ok(ids)
}

const WALK: [TaskState; 7] = [
    TaskState::Pending,
    TaskState::Reserved,
    TaskState::Granted,
    TaskState::Dispatched,
    TaskState::Running,
    TaskState::Succeeded,
    TaskState::Verified,
];

/// One step of a task's walk; steps count from 1, as generations do.
fn step(id: &TaskId, number: usize) -> Option<Transition> {
    let (from, to) = (*WALK.get(number - 1)?, *WALK.get(number)?);
    let at = Timestamp::now();
    let entry = NewEntry::new(at, "bench", "task_moved").about(id).with(json!({"from": from, "to": to}));
    let moved = MoveTask { id: id.clone(), from, generation: number as u64, to, message: None, body: None, at };
    let moved = Transition::new(entry).write(Write::MoveTask(moved)).nudge("dispatch", id);
    let (holder, scope, span) = (id.to_string(), "bench".to_owned(), "always".to_owned());
    Some(match to {
        TaskState::Reserved => {
            moved.write(Write::Reserve(Reserve { holder, scope, span, amount: 1, limit: 1_000_000 }))
        }
        TaskState::Succeeded => moved.write(Write::Settle(Settle { holder, scope, span, used: false })),
        _ => moved,
    })
}

async fn measure(store: &Store, tasks: Vec<TaskId>, callers: usize) -> Result<Value, Failure> {
    let (tasks, next) = (Arc::new(tasks), Arc::new(AtomicUsize::new(0)));
    let begun = Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let (store, tasks, next) = (store.clone(), Arc::clone(&tasks), Arc::clone(&next));
        workers.spawn(async move {
            let mut waits = Vec::new();
            while let Some(id) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                for number in 1.. {
                    let Some(transition) = step(id, number) else { break };
                    let asked = Instant::now();
                    store.commit(transition).await?;
                    waits.push(asked.elapsed());
                }
            }
            Ok::<_, Failure>(waits)
        });
    }
    let mut waits = Vec::with_capacity(tasks.len());
    while let Some(worker) = workers.join_next().await {
        waits.extend(worker??);
    }
    let took = begun.elapsed();
    Ok(row(callers, took, waits))
}

fn row(callers: usize, took: Duration, mut waits: Vec<Duration>) -> Value {
    waits.sort();
    let at = |share: f64| {
        let index = (waits.len() as f64 * share) as usize;
        waits.get(index.min(waits.len().saturating_sub(1))).map_or(0, |wait| wait.as_micros() as u64)
    };
    json!({
        "in_flight": callers,
        "transitions": waits.len(),
        "per_second": (waits.len() as f64 / took.as_secs_f64()) as u64,
        "p50_us": at(0.5),
        "p99_us": at(0.99),
    })
}

/// The same rows, one commit each, by one caller on the same library.
async fn peer(path: &Path, count: usize) -> Result<Value, Failure> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging();
    let mut conn = options.connect().await?;
    for sql in [
        "CREATE TABLE task (id TEXT PRIMARY KEY, state TEXT, generation INTEGER) STRICT",
        "CREATE TABLE budget (scope TEXT PRIMARY KEY, reserved INTEGER) STRICT",
        "CREATE TABLE reservation (holder TEXT PRIMARY KEY, scope TEXT, amount INTEGER) STRICT",
        "CREATE TABLE entry (seq INTEGER PRIMARY KEY, body TEXT, hash BLOB) STRICT",
        "CREATE TABLE outbox (seq INTEGER PRIMARY KEY, subject TEXT) STRICT",
        "INSERT INTO budget VALUES ('bench', 0)",
    ] {
        sqlx::query(sql).execute(&mut conn).await?;
    }
    for number in 0..count {
        let id = number.to_string();
        sqlx::query("INSERT INTO task VALUES ($1, 'pending', 1)").bind(id).execute(&mut conn).await?;
    }
    let (begun, mut waits, mut seq) = (Instant::now(), Vec::new(), 0);
    for number in 0..count {
        let id = number.to_string();
        for (from, to) in WALK.into_iter().zip(WALK.into_iter().skip(1)) {
            let asked = Instant::now();
            peer_step(&mut conn, &id, from, to, seq).await?;
            waits.push(asked.elapsed());
            seq += 1;
        }
    }
    Ok(row(1, begun.elapsed(), waits))
}

async fn peer_step(
    conn: &mut sqlx::SqliteConnection,
    id: &str,
    from: TaskState,
    to: TaskState,
    seq: i64,
) -> Result<(), Failure> {
    let entry = NewEntry::new(Timestamp::now(), "bench", "task_moved").about(id).sealed(seq.cast_unsigned());
    let mut batch = conn.begin().await?;
    sqlx::query("UPDATE task SET state = $1, generation = generation + 1 WHERE id = $2 AND state = $3")
        .bind(to.name())
        .bind(id)
        .bind(from.name())
        .execute(&mut *batch)
        .await?;
    if to == TaskState::Reserved {
        sqlx::query("INSERT INTO reservation VALUES ($1, 'bench', 1)").bind(id).execute(&mut *batch).await?;
        sqlx::query("UPDATE budget SET reserved = reserved + 1 WHERE scope = 'bench' AND reserved < 1000000")
            .execute(&mut *batch)
            .await?;
    }
    if to == TaskState::Succeeded {
        sqlx::query("DELETE FROM reservation WHERE holder = $1").bind(id).execute(&mut *batch).await?;
        sqlx::query("UPDATE budget SET reserved = reserved - 1 WHERE scope = 'bench'").execute(&mut *batch).await?;
    }
    sqlx::query("INSERT INTO entry VALUES ($1, $2, $3)")
        .bind(seq)
        .bind(serde_json::to_string(&entry)?)
        .bind(entry.leaf_hash()?.as_bytes().to_vec())
        .execute(&mut *batch)
        .await?;
    sqlx::query("INSERT INTO outbox VALUES ($1, $2)").bind(seq).bind(id).execute(&mut *batch).await?;
    batch.commit().await?;
    Ok(())
}
