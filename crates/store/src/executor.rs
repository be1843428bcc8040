//! Executors as they were last heard of.

use jiff::Timestamp;
use serde_json::Value;
use stanch_model::id::ExecutorId;

use crate::column::{Columns, Conn, all, json, micros, number};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// What is known of an executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredExecutor {
    /// Which one.
    pub id: ExecutorId,
    /// Rises with every change: what comes late changes nothing.
    pub revision: u64,
    /// What is known; no secret.
    pub body: Value,
    /// Since when.
    pub at: Timestamp,
}

const PUT: &str = "INSERT INTO executor (id, revision, body, at) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (id) DO UPDATE SET revision = $2, body = $3, at = $4 WHERE executor.revision < $2";
const ALL: &str = "SELECT id, revision, body, at FROM executor ORDER BY id";

pub(crate) async fn put(conn: &mut Conn, executor: &StoredExecutor) -> Result<Effect, CommitError> {
    let id = executor.id.as_str();
    let done = sqlx::query(PUT)
        .bind(id)
        .bind(number("executor", id, executor.revision)?)
        .bind(json("executor", id, &executor.body)?)
        .bind(micros(executor.at))
        .execute(conn)
        .await
        .map_err(CommitError::database("remember an executor"))?;
    Ok(if done.rows_affected() == 0 { Effect::Unchanged } else { Effect::Done })
}

impl Store {
    /// All executors.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn executors(&self) -> Result<Vec<StoredExecutor>, ReadError> {
        let rows = sqlx::query(ALL).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list executors"))?, |row| {
            let columns = Columns::new("executor", row);
            Ok(StoredExecutor {
                id: columns.parsed("id")?,
                revision: columns.count("revision")?,
                body: columns.json("body")?,
                at: columns.time("at")?,
            })
        })
    }
}
