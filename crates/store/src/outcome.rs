//! Outcomes: how the acts of the catalogue ended, one row for each end. What an action has earned on a system and class
//! of assets is counted from them, so that no count can drift from what happened.

use std::collections::BTreeSet;

use jiff::Timestamp;
use stanch_model::id::TaskId;

use crate::column::{Columns, all, micros};
use crate::db::{Conn, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// The outcome after which an action starts from nothing again: it was to be taken back, and that failed.
pub const BAD_UNDO: &str = "bad_undo";

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Track {
    /// The action.
    pub action: String,
    /// The system: `debian 12`.
    pub system: String,
    /// The kind of asset.
    pub kind: String,
    /// What a person said of its data; empty for nothing said.
    pub classification: String,
}

/// One end of one task. The same end of the same task is counted once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The task.
    pub task: TaskId,
    /// What it counts for.
    pub track: Track,
    /// How it ended: `verified`, `failed`, `undone`, [`BAD_UNDO`], `misfire`, `confirmed`.
    pub outcome: String,
    /// When.
    pub at: Timestamp,
}

/// How often something ended in one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// What was counted.
    pub track: Track,
    /// The end.
    pub outcome: String,
    /// In all.
    pub total: u64,
    /// Since the last [`BAD_UNDO`], that one not among them.
    pub since: u64,
    /// The last time.
    pub last_at: Timestamp,
}

const PUT: &str = "INSERT INTO outcome (task, action, outcome, system, kind, classification, at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (task, action, outcome) DO NOTHING";
const COUNTS: &str = "WITH lost AS (SELECT action, system, kind, classification, MAX(at) AS at FROM outcome \
     WHERE outcome = 'bad_undo' GROUP BY action, system, kind, classification) \
     SELECT one.action AS action, one.system AS system, one.kind AS kind, one.classification AS classification, \
     one.outcome AS outcome, COUNT(*) AS total, \
     CAST(SUM(CASE WHEN lost.at IS NULL OR one.at > lost.at THEN 1 ELSE 0 END) AS BIGINT) AS since, MAX(one.at) AS last_at \
     FROM outcome AS one LEFT JOIN lost ON lost.action = one.action AND lost.system = one.system \
     AND lost.kind = one.kind AND lost.classification = one.classification \
     GROUP BY one.action, one.system, one.kind, one.classification, one.outcome \
     ORDER BY one.action, one.system, one.kind, one.classification, one.outcome";

const TASKS: &str = "SELECT DISTINCT task FROM outcome WHERE outcome = $1 ORDER BY task";

pub(crate) async fn put(conn: &mut Conn, outcome: &Outcome) -> Result<Effect, CommitError> {
    let track = &outcome.track;
    let done = query(PUT)
        .bind(outcome.task.as_str())
        .bind(&track.action)
        .bind(&outcome.outcome)
        .bind(&track.system)
        .bind(&track.kind)
        .bind(&track.classification)
        .bind(micros(outcome.at))
        .execute(conn)
        .await
        .map_err(CommitError::database("count an outcome"))?;
    Ok(if done == 0 { Effect::Unchanged } else { Effect::Done })
}

impl Store {
    /// The tasks that ended in this way.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn tasks_with_outcome(&self, outcome: &str) -> Result<BTreeSet<String>, ReadError> {
        let rows = query(TASKS).bind(outcome).fetch_all(self.read()).await;
        let rows = rows.map_err(ReadError::database("list outcomes"))?;
        rows.iter().map(|row| Columns::new("outcome", row).text("task")).collect()
    }

    /// How often everything ended in which way. One pass over the index: linear in the number of ends.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn outcomes(&self) -> Result<Vec<Count>, ReadError> {
        let rows = query(COUNTS).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("count outcomes"))?, |row| {
            let columns = Columns::new("outcome", row);
            Ok(Count {
                track: Track {
                    action: columns.text("action")?,
                    system: columns.text("system")?,
                    kind: columns.text("kind")?,
                    classification: columns.text("classification")?,
                },
                outcome: columns.text("outcome")?,
                total: columns.count("total")?,
                since: columns.count("since")?,
                last_at: columns.time("last_at")?,
            })
        })
    }
}
