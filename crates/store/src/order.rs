//! Orders: the queue of each executor. A position is given when the order is made and only ever rises; the signature
//! is added when it is handed out, because it covers the poll that it answers.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_model::id::{ExecutorId, OrderId, TaskId};
use stanch_model::order::{Order, Position, Verb};
use stanch_model::sign::Signed;

use crate::column::{Columns, all, json, micros, number};
use crate::db::{Conn, Row, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// An order that lies ready.
#[derive(Debug, Clone)]
pub struct NewOrder {
    /// Its id.
    pub id: OrderId,
    /// Who is to carry it out.
    pub executor: ExecutorId,
    /// The store's epoch.
    pub epoch: u64,
    /// The task it belongs to.
    pub task: Option<TaskId>,
    /// What to do.
    pub verb: Verb,
    /// Its position is above this one, also when no order of this store ever came so far.
    pub after: Option<Position>,
    /// Seconds after the poll within which it must start.
    pub start_within_seconds: u32,
    /// It must be over by then.
    pub finish_before: Timestamp,
    /// When it was made.
    pub at: Timestamp,
}

/// An order that was signed and handed out.
#[derive(Debug, Clone)]
pub struct DeliverOrder {
    /// The order as signed.
    pub signed: Signed<Order>,
    /// When.
    pub at: Timestamp,
}

/// An order that will not be handed out any more.
#[derive(Debug, Clone)]
pub struct VoidOrder {
    /// Which one.
    pub id: OrderId,
    /// One that was handed out stays: its executor may be carrying it out.
    pub unless_delivered: bool,
}

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// Lies ready.
    Waiting,
    /// Was handed out, perhaps more than once.
    Delivered,
    /// Was answered.
    Answered,
    /// Will not be handed out any more.
    Void,
}

/// An order as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredOrder {
    /// Its id.
    pub id: OrderId,
    /// Who is to carry it out.
    pub executor: ExecutorId,
    /// Its place in the queue.
    pub position: Position,
    /// The task it belongs to.
    pub task: Option<TaskId>,
    /// Where it stands.
    pub state: OrderState,
    /// Seconds after the poll within which it must start.
    pub start_within_seconds: u32,
    /// It must be over by then.
    pub finish_before: Timestamp,
    /// What to do.
    pub verb: Verb,
    /// As it was last signed.
    pub signed: Option<Signed<Order>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last handed out.
    pub delivered_at: Option<Timestamp>,
}

const LAST: &str =
    "SELECT epoch, generation FROM orders WHERE executor = $1 ORDER BY epoch DESC, generation DESC LIMIT 1";
const NEW: &str = "INSERT INTO orders (id, executor, epoch, generation, task, state, start_within_seconds, \
     finish_before, verb, created_at) VALUES ($1, $2, $3, $4, $5, 'waiting', $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING";
const DELIVER: &str = "UPDATE orders SET state = 'delivered', signed = $1, delivered_at = $2 \
     WHERE id = $3 AND state IN ('waiting', 'delivered')";
const VOID: &str = "UPDATE orders SET state = 'void' WHERE id = $1 \
     AND (state = 'waiting' OR (state = 'delivered' AND $2 = 0))";
const ONE: &str = "SELECT id, executor, epoch, generation, task, state, start_within_seconds, finish_before, verb, \
     signed, created_at, delivered_at FROM orders WHERE id = $1";
const AFTER: &str = "SELECT id, executor, epoch, generation, task, state, start_within_seconds, finish_before, verb, \
     signed, created_at, delivered_at FROM orders WHERE executor = $1 AND (epoch, generation) > ($2, $3) \
     AND state IN ('waiting', 'delivered') ORDER BY epoch, generation LIMIT $4";
const OF_TASK: &str = "SELECT id, executor, epoch, generation, task, state, start_within_seconds, finish_before, verb, \
     signed, created_at, delivered_at FROM orders WHERE task = $1 ORDER BY epoch, generation";
const UNANSWERED: &str = "SELECT id, executor, epoch, generation, task, state, start_within_seconds, finish_before, \
     verb, signed, created_at, delivered_at FROM orders INDEXED BY orders_unanswered \
     WHERE state IN ('waiting', 'delivered') AND executor = $1 ORDER BY id";

pub(crate) async fn new(conn: &mut Conn, new: &NewOrder) -> Result<Effect, CommitError> {
    let id = new.id.as_str();
    let last = query(LAST)
        .bind(new.executor.as_str())
        .fetch_optional(&mut *conn)
        .await
        .map_err(CommitError::database("read an executor's position"))?;
    let last = match &last {
        Some(row) => read_position(&Columns::new("order", row)).map_err(|error| CommitError::Encode {
            noun: "order",
            id: id.to_owned(),
            detail: error.to_string(),
        })?,
        None => Position::default(),
    };
    let last = new.after.map_or(last, |after| last.max(after));
    if new.epoch < last.epoch {
        let expected = format!("epoch {}", new.epoch);
        return Err(CommitError::Conflict { noun: "order", id: id.to_owned(), expected });
    }
    let generation = if new.epoch > last.epoch { 1 } else { last.generation.saturating_add(1) };
    let done = query(NEW)
        .bind(id)
        .bind(new.executor.as_str())
        .bind(number("order", id, new.epoch)?)
        .bind(number("order", id, generation)?)
        .bind(new.task.as_ref().map(TaskId::as_str))
        .bind(new.start_within_seconds)
        .bind(micros(new.finish_before))
        .bind(json("order", id, &new.verb)?)
        .bind(micros(new.at))
        .execute(conn)
        .await
        .map_err(CommitError::database("make an order"))?;
    if done == 0 {
        return Err(CommitError::Exists { noun: "order", id: id.to_owned() });
    }
    Ok(Effect::Order(new.id.clone(), Position { epoch: new.epoch, generation }))
}

pub(crate) async fn deliver(conn: &mut Conn, delivery: &DeliverOrder) -> Result<Effect, CommitError> {
    let id = delivery.signed.body.id.as_str();
    let done = query(DELIVER)
        .bind(json("order", id, &delivery.signed)?)
        .bind(micros(delivery.at))
        .bind(id)
        .execute(conn)
        .await
        .map_err(CommitError::database("hand out an order"))?;
    if done == 0 {
        let expected = "waiting".to_owned();
        return Err(CommitError::Conflict { noun: "order", id: id.to_owned(), expected });
    }
    Ok(Effect::Done)
}

pub(crate) async fn void(conn: &mut Conn, order: &VoidOrder) -> Result<Effect, CommitError> {
    let done = query(VOID).bind(order.id.as_str()).bind(i64::from(order.unless_delivered)).execute(conn).await;
    let done = done.map_err(CommitError::database("void an order"))?;
    Ok(if done == 0 { Effect::Unchanged } else { Effect::Done })
}

fn read_position(columns: &Columns<'_>) -> Result<Position, ReadError> {
    Ok(Position { epoch: columns.count("epoch")?, generation: columns.count("generation")? })
}

fn read(row: &Row) -> Result<StoredOrder, ReadError> {
    let columns = Columns::new("order", row);
    let signed = columns.optional_text("signed")?;
    Ok(StoredOrder {
        id: columns.parsed("id")?,
        executor: columns.parsed("executor")?,
        position: read_position(&columns)?,
        task: columns.optional_parsed("task")?,
        state: columns.named("state")?,
        start_within_seconds: columns.small("start_within_seconds")?,
        finish_before: columns.time("finish_before")?,
        verb: columns.json("verb")?,
        signed: signed
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|error| ReadError::damaged("order", error))?,
        created_at: columns.time("created_at")?,
        delivered_at: columns.optional_time("delivered_at")?,
    })
}

impl Store {
    /// One order.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn order(&self, id: &OrderId) -> Result<Option<StoredOrder>, ReadError> {
        let row = query(ONE).bind(id.as_str()).fetch_optional(self.read()).await;
        row.map_err(ReadError::database("read an order"))?.as_ref().map(read).transpose()
    }

    /// Orders of an executor that were not answered, after a position, in their order.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn orders_after(
        &self,
        executor: &ExecutorId,
        after: Position,
        limit: u32,
    ) -> Result<Vec<StoredOrder>, ReadError> {
        let past = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let rows = query(AFTER)
            .bind(executor.as_str())
            .bind(past(after.epoch))
            .bind(past(after.generation))
            .bind(limit)
            .fetch_all(self.read())
            .await;
        all(&rows.map_err(ReadError::database("list orders"))?, read)
    }

    /// The position of the last order to an executor; zero when there was none.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn last_position(&self, executor: &ExecutorId) -> Result<Position, ReadError> {
        let row = query(LAST).bind(executor.as_str()).fetch_optional(self.read()).await;
        let row = row.map_err(ReadError::database("read an executor's position"))?;
        row.map_or(Ok(Position::default()), |row| read_position(&Columns::new("order", &row)))
    }

    /// All orders of a task, in their order.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn orders_of(&self, task: &TaskId) -> Result<Vec<StoredOrder>, ReadError> {
        let rows = query(OF_TASK).bind(task.as_str()).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list orders"))?, read)
    }

    /// The orders of an executor that it has not answered, in the order of their ids.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn unanswered_orders(&self, executor: &ExecutorId) -> Result<Vec<StoredOrder>, ReadError> {
        let rows = query(UNANSWERED).bind(executor.as_str()).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list orders"))?, read)
    }
}
