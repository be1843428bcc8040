//! Decisions: immutable. A new one is written only when it says something new.

use stanch_model::decision::{Decision, Mode};
use stanch_model::id::ItemId;

use crate::column::{Columns, Conn, all, json, micros};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

const LAST: &str = "SELECT body FROM decision WHERE item = $1 ORDER BY at DESC LIMIT 1";
const PUT: &str =
    "INSERT INTO decision (item, at, mode, body) VALUES ($1, $2, $3, $4) ON CONFLICT (item, at) DO NOTHING";
const WANTED: &str = "UPDATE item SET wanted = $1 WHERE id = $2";
const PAST: &str = "SELECT body FROM decision WHERE item = $1 ORDER BY at DESC LIMIT $2";

pub(crate) async fn put(conn: &mut Conn, decision: &Decision) -> Result<Effect, CommitError> {
    let id = decision.item.as_str();
    let last = sqlx::query(LAST)
        .bind(id)
        .fetch_optional(&mut *conn)
        .await
        .map_err(CommitError::database("read a decision"))?;
    if let Some(row) = last
        && let Ok(last) = Columns::new("decision", &row).json::<Decision>("body")
        && (Decision { at: decision.at, ..last }) == *decision
    {
        return Ok(Effect::Unchanged);
    }
    let done = sqlx::query(PUT)
        .bind(id)
        .bind(micros(decision.at))
        .bind(decision.mode.name())
        .bind(json("decision", id, decision)?)
        .execute(&mut *conn)
        .await
        .map_err(CommitError::database("store a decision"))?;
    if done.rows_affected() == 0 {
        return Err(CommitError::Exists { noun: "decision", id: id.to_owned() });
    }
    sqlx::query(WANTED)
        .bind(decision.mode > Mode::Alert)
        .bind(id)
        .execute(conn)
        .await
        .map_err(CommitError::database("note what policies want"))?;
    Ok(Effect::Done)
}

impl Store {
    /// Decisions of an item, newest first.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn decisions(&self, item: &ItemId, limit: u32) -> Result<Vec<Decision>, ReadError> {
        let rows = sqlx::query(PAST).bind(item.as_str()).bind(limit).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list decisions"))?, |row| Columns::new("decision", row).json("body"))
    }
}
