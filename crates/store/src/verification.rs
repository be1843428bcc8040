//! Verifications: what the checks said of a task's result.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_model::id::TaskId;
use stanch_model::order::{Check, CheckOutcome};

use crate::column::{Columns, all, json, micros, name, optional_micros};
use crate::db::{Conn, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// One verification of one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// The task.
    pub task: TaskId,
    /// When it was judged.
    pub at: Timestamp,
    /// What the checks say together.
    pub outcome: CheckOutcome,
    /// When the facts it rests on were collected.
    pub facts_at: Option<Timestamp>,
    /// The checks.
    pub checks: Vec<Check>,
}

const PUT: &str = "INSERT INTO verification (task, at, outcome, facts_at, checks) VALUES ($1, $2, $3, $4, $5) \
     ON CONFLICT (task, at) DO NOTHING";
const OF_TASK: &str = "SELECT at, outcome, facts_at, checks FROM verification WHERE task = $1 ORDER BY at";

pub(crate) async fn put(conn: &mut Conn, verification: &Verification) -> Result<Effect, CommitError> {
    let id = verification.task.as_str();
    let done = query(PUT)
        .bind(id)
        .bind(micros(verification.at))
        .bind(name(&verification.outcome))
        .bind(optional_micros(verification.facts_at))
        .bind(json("verification", id, &verification.checks)?)
        .execute(conn)
        .await
        .map_err(CommitError::database("store a verification"))?;
    if done == 0 {
        return Err(CommitError::Exists { noun: "verification", id: id.to_owned() });
    }
    Ok(Effect::Done)
}

impl Store {
    /// Verifications of a task, oldest first.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn verifications(&self, task: &TaskId) -> Result<Vec<Verification>, ReadError> {
        let rows = query(OF_TASK).bind(task.as_str()).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list verifications"))?, |row| {
            let columns = Columns::new("verification", row);
            Ok(Verification {
                task: task.clone(),
                at: columns.time("at")?,
                outcome: columns.named("outcome")?,
                facts_at: columns.optional_time("facts_at")?,
                checks: columns.json("checks")?,
            })
        })
    }
}
