//! Decisions: immutable. A new one is written only when it says something new.

use std::collections::BTreeMap;

use stanch_model::decision::{Decision, Mode};
use stanch_model::id::ItemId;

use crate::column::{Columns, Conn, Row, all, json, micros};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

const LAST: &str = "SELECT body FROM decision WHERE item = $1 ORDER BY at DESC LIMIT 1";
const PUT: &str =
    "INSERT INTO decision (item, at, mode, body) VALUES ($1, $2, $3, $4) ON CONFLICT (item, at) DO NOTHING";
const WANTED: &str = "UPDATE item SET wanted = $1 WHERE id = $2";
const FIRED: &str = "SELECT json_extract(word.value, '$.rule') AS name, COUNT(*) AS items FROM \
     (SELECT (SELECT d.body FROM decision d WHERE d.item = item.id ORDER BY d.at DESC LIMIT 1) AS body \
     FROM item WHERE closed_at IS NULL) latest, json_each(latest.body, $1) word GROUP BY 1";
const WOULD_CHANGE: &str = "SELECT substr(json_extract(word.value, '$.rule'), 1, \
     instr(json_extract(word.value, '$.rule'), '/') - 1) AS name, COUNT(DISTINCT latest.id) AS items FROM \
     (SELECT id, (SELECT d.body FROM decision d WHERE d.item = item.id ORDER BY d.at DESC LIMIT 1) AS body \
     FROM item WHERE closed_at IS NULL) latest, json_each(latest.body, '$.shadow.words') word \
     WHERE json_extract(latest.body, '$.shadow.mode') <> json_extract(latest.body, '$.mode') GROUP BY 1";
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

/// What policies say of all open items together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spoken {
    /// Items that a rule has a word on, in force or in shadow.
    pub rules: BTreeMap<String, u64>,
    /// Items whose mode a policy in shadow would change.
    pub would_change: BTreeMap<String, u64>,
}

impl Store {
    /// What policies say of all open items together. Looks at the last decision of each.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn spoken(&self) -> Result<Spoken, ReadError> {
        let mut spoken = Spoken::default();
        for path in ["$.fired", "$.shadow.words"] {
            let rows = sqlx::query(FIRED).bind(path).fetch_all(self.read()).await;
            spoken.rules.extend(counted(&rows.map_err(ReadError::database("count what rules say"))?)?);
        }
        let rows = sqlx::query(WOULD_CHANGE).fetch_all(self.read()).await;
        spoken.would_change.extend(counted(&rows.map_err(ReadError::database("count what shadow would change"))?)?);
        Ok(spoken)
    }

    /// Decisions of an item, newest first.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn decisions(&self, item: &ItemId, limit: u32) -> Result<Vec<Decision>, ReadError> {
        let rows = sqlx::query(PAST).bind(item.as_str()).bind(limit).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list decisions"))?, |row| Columns::new("decision", row).json("body"))
    }
}

fn counted(rows: &[Row]) -> Result<Vec<(String, u64)>, ReadError> {
    all(rows, |row| {
        let columns = Columns::new("decision", row);
        Ok((columns.text("name")?, columns.count("items")?))
    })
}
