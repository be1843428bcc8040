//! Windows that hosts missed: kept until the host is brought up to date, so that nobody waits in silence.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_model::id::{AssetId, RemediationId};

use crate::column::{Columns, all, ids, micros};
use crate::db::{Conn, Row, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// A window that shut before a host began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissedWindow {
    /// The host.
    pub asset: AssetId,
    /// What it was to do.
    pub remediation: RemediationId,
    /// From when it could have started.
    pub opened_at: Timestamp,
    /// Until when.
    pub shut_at: Timestamp,
    /// Why it did not, in words.
    pub why: String,
    /// The host was away, and not only the server.
    pub away: bool,
}

/// The windows that a host has missed since it was last brought up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InARow {
    /// How many.
    pub windows: u32,
    /// When the first of them shut that it missed because it was away.
    pub away_since: Option<Timestamp>,
}

/// A host did what it was to do.
#[derive(Debug, Clone)]
pub struct CatchUp {
    /// The host.
    pub asset: AssetId,
    /// When.
    pub at: Timestamp,
}

const PUT: &str = "INSERT INTO missed_window (asset, remediation, opened_at, shut_at, why, away) VALUES ($1, $2, $3, $4, $5, $6) \
     ON CONFLICT (asset, remediation, shut_at) DO NOTHING";
const CATCH_UP: &str = "UPDATE missed_window SET caught_up_at = $1 WHERE asset = $2 AND caught_up_at IS NULL";
const OPEN: &str = "SELECT asset, remediation, opened_at, shut_at, why, away FROM missed_window WHERE caught_up_at IS NULL \
     AND asset IN (SELECT value FROM json_each($1)) ORDER BY shut_at DESC, remediation";
/// Several remediations may have waited for the same window.
const COUNT: &str = "SELECT asset, COUNT(DISTINCT shut_at) AS windows, MIN(CASE WHEN away = 1 THEN shut_at END) AS away_since \
     FROM missed_window WHERE caught_up_at IS NULL AND asset IN (SELECT value FROM json_each($1)) GROUP BY asset";

pub(crate) async fn put(conn: &mut Conn, missed: &MissedWindow) -> Result<Effect, CommitError> {
    let done = query(PUT)
        .bind(missed.asset.as_str())
        .bind(missed.remediation.as_str())
        .bind(micros(missed.opened_at))
        .bind(micros(missed.shut_at))
        .bind(&missed.why)
        .bind(i64::from(missed.away))
        .execute(conn)
        .await
        .map_err(CommitError::database("note a missed window"))?;
    Ok(if done == 0 { Effect::Unchanged } else { Effect::Done })
}

pub(crate) async fn catch_up(conn: &mut Conn, caught: &CatchUp) -> Result<Effect, CommitError> {
    let done = query(CATCH_UP).bind(micros(caught.at)).bind(caught.asset.as_str()).execute(conn).await;
    let done = done.map_err(CommitError::database("note that a host caught up"))?;
    Ok(if done == 0 { Effect::Unchanged } else { Effect::Done })
}

fn read(row: &Row) -> Result<MissedWindow, ReadError> {
    let columns = Columns::new("missed window", row);
    Ok(MissedWindow {
        asset: columns.parsed("asset")?,
        remediation: columns.parsed("remediation")?,
        opened_at: columns.time("opened_at")?,
        shut_at: columns.time("shut_at")?,
        why: columns.text("why")?,
        away: columns.integer("away")? != 0,
    })
}

impl Store {
    /// The windows that these hosts have missed since they were last brought up to date, the newest first.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn missed_windows(&self, assets: &BTreeSet<AssetId>) -> Result<Vec<MissedWindow>, ReadError> {
        let rows = query(OPEN).bind(ids(assets)).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list missed windows"))?, read)
    }

    /// How many windows these hosts have missed in a row; those that missed none are not in it.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn missed_in_a_row(&self, assets: &BTreeSet<AssetId>) -> Result<HashMap<AssetId, InARow>, ReadError> {
        let rows = query(COUNT).bind(ids(assets)).fetch_all(self.read()).await;
        let rows = rows.map_err(ReadError::database("count missed windows"))?;
        let count = |row: &Row| {
            let columns = Columns::new("missed window", row);
            let row = InARow { windows: columns.small("windows")?, away_since: columns.optional_time("away_since")? };
            Ok((columns.parsed("asset")?, row))
        };
        rows.iter().map(count).collect()
    }
}
