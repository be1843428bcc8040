//! Notices on their way out. A row is made in the transaction that moves the reader of the ledger past the entry it
//! tells of, so that none is lost and none is made twice; it is sent until the other side took it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::column::{Columns, all, json, micros, name};
use crate::db::{Conn, Row, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// Where a notice stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeState {
    /// Not taken by the other side yet.
    Waiting,
    /// Taken.
    Sent,
    /// Given up.
    Failed,
}

/// One notice to one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The same however often it is sent, so that the other side can tell a repetition.
    pub id: String,
    /// The connection it goes to.
    pub connection: String,
    /// What it tells of.
    pub event: String,
    /// What it says.
    pub body: Value,
    /// Where it stands.
    pub state: NoticeState,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next.
    pub due: Timestamp,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// When it was made.
    pub at: Timestamp,
}

/// What an attempt came to. Refused when somebody else tried meanwhile.
#[derive(Debug, Clone)]
pub struct MoveNotice {
    /// The notice.
    pub id: String,
    /// Attempts there were before this one.
    pub attempts: u32,
    /// Where it stands now.
    pub state: NoticeState,
    /// When it is tried next.
    pub due: Timestamp,
    /// Why it failed.
    pub error: Option<String>,
}

const NEW: &str = "INSERT INTO notice (id, connection, event, body, state, attempts, due, error, at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
const MOVE: &str = "UPDATE notice SET state = $1, attempts = $2, due = $3, error = $4 \
     WHERE id = $5 AND attempts = $6 AND state = 'waiting'";
const DUE: &str = "SELECT id, connection, event, body, state, attempts, due, error, at FROM notice \
     WHERE state = 'waiting' AND due <= $1 ORDER BY due, id LIMIT $2";
const NEWEST: &str = "SELECT id, connection, event, body, state, attempts, due, error, at FROM notice \
     ORDER BY at DESC, id LIMIT $1";

fn read(row: &Row) -> Result<Notice, ReadError> {
    let columns = Columns::new("notice", row);
    Ok(Notice {
        id: columns.text("id")?,
        connection: columns.text("connection")?,
        event: columns.text("event")?,
        body: columns.json("body")?,
        state: columns.named("state")?,
        attempts: columns.small("attempts")?,
        due: columns.time("due")?,
        error: columns.optional_text("error")?,
        at: columns.time("at")?,
    })
}

pub(crate) async fn new(conn: &mut Conn, notice: &Notice) -> Result<Effect, CommitError> {
    let done = query(NEW)
        .bind(&notice.id)
        .bind(&notice.connection)
        .bind(&notice.event)
        .bind(json("notice", &notice.id, &notice.body)?)
        .bind(name(&notice.state))
        .bind(notice.attempts)
        .bind(micros(notice.due))
        .bind(&notice.error)
        .bind(micros(notice.at))
        .execute(conn)
        .await
        .map_err(CommitError::database("make a notice"))?;
    Ok(if done == 0 { Effect::Unchanged } else { Effect::Done })
}

pub(crate) async fn step(conn: &mut Conn, step: &MoveNotice) -> Result<Effect, CommitError> {
    let done = query(MOVE)
        .bind(name(&step.state))
        .bind(step.attempts.saturating_add(1))
        .bind(micros(step.due))
        .bind(&step.error)
        .bind(&step.id)
        .bind(step.attempts)
        .execute(conn)
        .await
        .map_err(CommitError::database("move a notice"))?;
    if done == 0 {
        let expected = format!("attempt {}", step.attempts);
        return Err(CommitError::Conflict { noun: "notice", id: step.id.clone(), expected });
    }
    Ok(Effect::Done)
}

impl Store {
    /// Notices that are to be sent now, longest due first.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn notices_due(&self, now: Timestamp, limit: u32) -> Result<Vec<Notice>, ReadError> {
        let rows = query(DUE).bind(micros(now)).bind(limit).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list notices"))?, read)
    }

    /// The newest notices, whatever became of them.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn notices(&self, limit: u32) -> Result<Vec<Notice>, ReadError> {
        let rows = query(NEWEST).bind(limit).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list notices"))?, read)
    }
}
