//! Tasks: one leaf of a plan on one asset. A move is a compare-and-set on state and generation, only along the arrows
//! of [`TaskState::may_become`], and into work only while no other task works in the asset's lane.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stanch_model::Digest;
use stanch_model::id::{AssetId, ItemId, RemediationId, TaskId};
use stanch_model::remediation::TaskState;

use crate::column::{Columns, all, json, micros, name, number};
use crate::db::{Builder, Conn, Query, Row, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// Which of an asset's two queues a task stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Changes.
    Change,
    /// Containment, which goes before changes.
    Contain,
}

impl Lane {
    /// The name the store keeps.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Contain => "contain",
        }
    }
}

/// A task that begins, `pending`.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// Its id.
    pub id: TaskId,
    /// The remediation.
    pub remediation: RemediationId,
    /// The asset.
    pub asset: AssetId,
    /// The lane.
    pub lane: Lane,
    /// The wave, from 0.
    pub wave: u32,
    /// The plan's hash.
    pub plan: Digest,
    /// The leaf's hash.
    pub leaf: Digest,
    /// Counts an operator's attempts at the same leaf.
    pub attempt: u32,
    /// The items it closes.
    pub items: Vec<ItemId>,
    /// Whatever else belongs to it.
    pub body: Value,
    /// When.
    pub at: Timestamp,
}

/// A move to another state. `None` leaves the body as it is; the message is always said anew.
#[derive(Debug, Clone)]
pub struct MoveTask {
    /// Which one.
    pub id: TaskId,
    /// The state it must be in.
    pub from: TaskState,
    /// The generation it must have.
    pub generation: u64,
    /// The state it goes to.
    pub to: TaskState,
    /// What a person should know of it now.
    pub message: Option<String>,
    /// Whatever else belongs to it.
    pub body: Option<Value>,
    /// When.
    pub at: Timestamp,
}

/// A change that leaves the state as it is. The generation rises all the same.
#[derive(Debug, Clone)]
pub struct EditTask {
    /// Which one.
    pub id: TaskId,
    /// The generation it must have.
    pub generation: u64,
    /// What a person should know of it now.
    pub message: Option<String>,
    /// Whatever else belongs to it.
    pub body: Option<Value>,
    /// When.
    pub at: Timestamp,
}

/// A task as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTask {
    /// Its id.
    pub id: TaskId,
    /// The remediation.
    pub remediation: RemediationId,
    /// The asset.
    pub asset: AssetId,
    /// The lane.
    pub lane: Lane,
    /// The wave, from 0.
    pub wave: u32,
    /// The plan's hash.
    pub plan: Digest,
    /// The leaf's hash.
    pub leaf: Digest,
    /// Counts an operator's attempts at the same leaf.
    pub attempt: u32,
    /// Where it stands.
    pub state: TaskState,
    /// Rises with every change.
    pub generation: u64,
    /// The items it closes.
    pub items: Vec<ItemId>,
    /// What a person should know of it now.
    pub message: Option<String>,
    /// Whatever else belongs to it.
    pub body: Value,
    /// When it began.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

const NEW: &str = "INSERT INTO task (id, remediation, asset, lane, wave, plan, leaf, attempt, state, holds_lane, \
     generation, items, body, created_at, updated_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'pending', 0, 1, $9, $10, $11, $11) ON CONFLICT (id) DO NOTHING";
const MOVE: &str = "UPDATE task SET state = $1, holds_lane = $2, generation = generation + 1, message = $3, \
     body = COALESCE($4, body), updated_at = $5 WHERE id = $6 AND state = $7 AND generation = $8";
const EDIT: &str = "UPDATE task SET generation = generation + 1, message = $1, body = COALESCE($2, body), \
     updated_at = $3 WHERE id = $4 AND generation = $5";
const PLACE: &str = "SELECT asset, lane FROM task WHERE id = $1";
const COLUMNS: &str = "SELECT id, remediation, asset, lane, wave, plan, leaf, attempt, state, generation, items, \
     message, body, created_at, updated_at FROM task";

/// The statement that begins a task.
pub(crate) fn beginning(new: &NewTask) -> Result<Query, CommitError> {
    let id = new.id.as_str();
    let values = vec![
        id.into(),
        new.remediation.as_str().into(),
        new.asset.as_str().into(),
        new.lane.name().into(),
        new.wave.into(),
        new.plan.to_string().into(),
        new.leaf.to_string().into(),
        new.attempt.into(),
        json("task", id, &new.items)?.into(),
        json("task", id, &new.body)?.into(),
        micros(new.at).into(),
    ];
    Ok(Query::with(NEW, values))
}

pub(crate) async fn new(conn: &mut Conn, new: &NewTask) -> Result<Effect, CommitError> {
    match beginning(new)?.execute(conn).await.map_err(CommitError::database("begin a task"))? {
        0 => Err(CommitError::Exists { noun: "task", id: new.id.to_string() }),
        _ => Ok(Effect::Generation(1)),
    }
}

/// The statement that moves a task, if an arrow allows it.
pub(crate) fn moving(step: &MoveTask) -> Result<Query, CommitError> {
    let id = step.id.as_str();
    if !step.from.may_become(step.to) {
        let (from, to) = (step.from.name().to_owned(), step.to.name().to_owned());
        return Err(CommitError::IllegalMove { noun: "task", id: id.to_owned(), from, to });
    }
    let values = vec![
        step.to.name().into(),
        i64::from(step.to.holds_lane()).into(),
        step.message.clone().into(),
        step.body.as_ref().map(|body| json("task", id, body)).transpose()?.into(),
        micros(step.at).into(),
        id.into(),
        step.from.name().into(),
        number("task", id, step.generation)?.into(),
    ];
    Ok(Query::with(MOVE, values))
}

pub(crate) async fn step(conn: &mut Conn, step: &MoveTask) -> Result<Effect, CommitError> {
    match moving(step)?.execute(&mut *conn).await {
        Ok(0) => {
            let expected = format!("{}, generation {}", step.from.name(), step.generation);
            Err(CommitError::Conflict { noun: "task", id: step.id.to_string(), expected })
        }
        Ok(_) => Ok(Effect::Generation(step.generation + 1)),
        // The one unique index a move can meet is that of the lanes.
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Err(busy(conn, step.id.as_str()).await),
        Err(error) => Err(CommitError::database("move a task")(error)),
    }
}

/// Who is in the way of a move that failed; what the transition wrote before is taken back first, since a transaction of
/// PostgreSQL answers nothing after an error.
async fn busy(conn: &mut Conn, id: &str) -> CommitError {
    if let Err(error) = conn.undo().await {
        return CommitError::database("take back a transition")(error);
    }
    let row = match query(PLACE).bind(id).fetch_one(conn).await {
        Ok(row) => row,
        Err(error) => return CommitError::database("read a task")(error),
    };
    let columns = Columns::new("task", &row);
    let lane = columns.named("lane").map_or("change", Lane::name);
    CommitError::LaneBusy { asset: columns.text("asset").unwrap_or_default(), lane }
}

pub(crate) async fn edit(conn: &mut Conn, edit: &EditTask) -> Result<Effect, CommitError> {
    let id = edit.id.as_str();
    let done = query(EDIT)
        .bind(&edit.message)
        .bind(edit.body.as_ref().map(|body| json("task", id, body)).transpose()?)
        .bind(micros(edit.at))
        .bind(id)
        .bind(number("task", id, edit.generation)?)
        .execute(conn)
        .await
        .map_err(CommitError::database("edit a task"))?;
    if done == 0 {
        let expected = format!("generation {}", edit.generation);
        return Err(CommitError::Conflict { noun: "task", id: id.to_owned(), expected });
    }
    Ok(Effect::Generation(edit.generation + 1))
}

fn read(row: &Row) -> Result<StoredTask, ReadError> {
    let columns = Columns::new("task", row);
    Ok(StoredTask {
        id: columns.parsed("id")?,
        remediation: columns.parsed("remediation")?,
        asset: columns.parsed("asset")?,
        lane: columns.named("lane")?,
        wave: columns.small("wave")?,
        plan: columns.parsed("plan")?,
        leaf: columns.parsed("leaf")?,
        attempt: columns.small("attempt")?,
        state: columns.named("state")?,
        generation: columns.count("generation")?,
        items: columns.json("items")?,
        message: columns.optional_text("message")?,
        body: columns.json("body")?,
        created_at: columns.time("created_at")?,
        updated_at: columns.time("updated_at")?,
    })
}

impl Store {
    /// One task.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn task(&self, id: &TaskId) -> Result<Option<StoredTask>, ReadError> {
        let mut query = Builder::new(COLUMNS);
        query.push(" WHERE id = ").push_bind(id.as_str());
        let row = query.build().fetch_optional(self.read()).await;
        row.map_err(ReadError::database("read a task"))?.as_ref().map(read).transpose()
    }

    /// All tasks of a remediation, by wave.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn tasks_of(&self, remediation: &RemediationId) -> Result<Vec<StoredTask>, ReadError> {
        let mut query = Builder::new(COLUMNS);
        query.push(" WHERE remediation = ").push_bind(remediation.as_str()).push(" ORDER BY wave, id");
        let rows = query.build().fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list tasks"))?, read)
    }

    /// Tasks in any of these states, oldest first, after the one given. No state means none.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn tasks_in(
        &self,
        states: &[TaskState],
        after: Option<(Timestamp, &TaskId)>,
        limit: u32,
    ) -> Result<Vec<StoredTask>, ReadError> {
        if states.is_empty() {
            return Ok(Vec::new());
        }
        let mut query = Builder::new(COLUMNS);
        query.push(" WHERE state IN (");
        let mut list = query.separated(", ");
        for state in states {
            list.push_bind(name(state));
        }
        let (at, id) = after.map_or((i64::MIN, ""), |(at, id)| (micros(at), id.as_str()));
        query.push(") AND (created_at, id) > (").push_bind(at).push(", ").push_bind(id);
        query.push(") ORDER BY created_at, id LIMIT ").push_bind(limit);
        let rows = query.build().fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list tasks"))?, read)
    }
}
