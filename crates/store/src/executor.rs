//! Executors as they were last heard of.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stanch_model::id::{AssetId, ExecutorId};

use crate::column::{Columns, all, json, micros, name, number};
use crate::db::{Conn, Row, query};
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
    /// The server that says so; empty where there is one alone.
    pub writer: String,
    /// The revision that it rests on, where another server wrote that one.
    pub rests_on: u64,
    /// What is known; no secret.
    pub body: Value,
    /// Since when.
    pub at: Timestamp,
}

const PUT: &str = "INSERT INTO executor (id, revision, body, at, asset, standing, seen_at, writer) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO UPDATE SET revision = $2, body = $3, at = $4, \
     asset = $5, standing = $6, seen_at = $7, writer = $8 WHERE executor.revision < $2 \
     AND (executor.writer = $8 OR executor.revision = $9)";
const WRITER: &str = "SELECT revision, writer FROM executor WHERE id = $1";
const ALL: &str = "SELECT id, revision, body, at, asset, standing, seen_at, writer FROM executor ORDER BY id";
const ONE: &str = "SELECT id, revision, body, at, asset, standing, seen_at, writer FROM executor WHERE id = $1";

/// What comes late from the same server changes nothing. What rests on less than another server has said is refused, so
/// that nobody takes back what they have not seen.
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
        .bind(&executor.writer)
        .bind(number("executor", id, executor.rests_on)?)
        .execute(&mut *conn)
        .await
        .map_err(CommitError::database("remember an executor"))?;
    if done > 0 {
        return Ok(Effect::Done);
    }
    let row = query(WRITER).bind(id).fetch_optional(conn).await;
    let row = row.map_err(CommitError::database("look who knows an executor"))?;
    let writer = row.and_then(|row| Columns::new("executor", &row).text("writer").ok());
    match writer {
        Some(writer) if writer == executor.writer => Ok(Effect::Unchanged),
        _ => Err(CommitError::Conflict {
            noun: "executor",
            id: id.to_owned(),
            expected: format!("revision {}", executor.rests_on),
        }),
    }
}

fn read(row: &Row) -> Result<StoredExecutor, ReadError> {
    let columns = Columns::new("executor", row);
    Ok(StoredExecutor {
        id: columns.parsed("id")?,
        revision: columns.count("revision")?,
        body: columns.json("body")?,
        at: columns.time("at")?,
        asset: columns.parsed("asset")?,
        standing: columns.named("standing")?,
        seen_at: columns.time("seen_at")?,
        writer: columns.text("writer")?,
        rests_on: columns.count("revision")?,
    })
}

impl Store {
    /// One executor.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn executor(&self, id: &ExecutorId) -> Result<Option<StoredExecutor>, ReadError> {
        let row = query(ONE).bind(id.as_str()).fetch_optional(self.read()).await;
        row.map_err(ReadError::database("read an executor"))?.as_ref().map(read).transpose()
    }

    /// The server that wrote an executor's row last, and the row's revision.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn executor_writer(&self, id: &ExecutorId) -> Result<Option<(String, u64)>, ReadError> {
        let row = query(WRITER).bind(id.as_str()).fetch_optional(self.read()).await;
        let row = row.map_err(ReadError::database("look who knows an executor"))?;
        row.map(|row| {
            let columns = Columns::new("executor", &row);
            Ok((columns.text("writer")?, columns.count("revision")?))
        })
        .transpose()
    }

    /// All executors.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn executors(&self) -> Result<Vec<StoredExecutor>, ReadError> {
        let rows = query(ALL).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list executors"))?, read)
    }
}
