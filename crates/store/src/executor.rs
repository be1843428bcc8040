//! Executors as they were last heard of.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stanch_model::id::{AssetId, ExecutorId};

use crate::column::{Columns, all, json, micros, name, number};
use crate::db::{Conn, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// What stands between an executor and its orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Nothing.
    In,
    /// Nobody has said that it is one of ours.
    Unconfirmed,
    /// Something about it is not as it should be: a person has to look.
    Frozen,
    /// A person has put it out.
    PutOut,
}

/// What is known of an executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredExecutor {
    /// Which one.
    pub id: ExecutorId,
    /// The asset it serves.
    pub asset: AssetId,
    /// Whether it is served.
    pub standing: Standing,
    /// When it was last heard of, within the time between two writes.
    pub seen_at: Timestamp,
    /// Rises with every change: what comes late changes nothing.
    pub revision: u64,
    /// What is known; no secret.
    pub body: Value,
    /// Since when.
    pub at: Timestamp,
}

const PUT: &str = "INSERT INTO executor (id, revision, body, at, asset, standing, seen_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO UPDATE SET revision = $2, body = $3, at = $4, asset = $5, \
     standing = $6, seen_at = $7 WHERE executor.revision < $2";
const ALL: &str = "SELECT id, revision, body, at, asset, standing, seen_at FROM executor ORDER BY id";

pub(crate) async fn put(conn: &mut Conn, executor: &StoredExecutor) -> Result<Effect, CommitError> {
    let id = executor.id.as_str();
    let done = query(PUT)
        .bind(id)
        .bind(number("executor", id, executor.revision)?)
        .bind(json("executor", id, &executor.body)?)
        .bind(micros(executor.at))
        .bind(executor.asset.as_str())
        .bind(name(&executor.standing))
        .bind(micros(executor.seen_at))
        .execute(conn)
        .await
        .map_err(CommitError::database("remember an executor"))?;
    Ok(if done == 0 { Effect::Unchanged } else { Effect::Done })
}

impl Store {
    /// All executors.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn executors(&self) -> Result<Vec<StoredExecutor>, ReadError> {
        let rows = query(ALL).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list executors"))?, |row| {
            let columns = Columns::new("executor", row);
            Ok(StoredExecutor {
                id: columns.parsed("id")?,
                revision: columns.count("revision")?,
                body: columns.json("body")?,
                at: columns.time("at")?,
                asset: columns.parsed("asset")?,
                standing: columns.named("standing")?,
                seen_at: columns.time("seen_at")?,
            })
        })
    }
}
