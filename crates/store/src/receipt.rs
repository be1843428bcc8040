//! Receipts: what executors answered. The same answer twice is harmless; another answer to the same order is refused.

use std::collections::BTreeSet;

use jiff::Timestamp;
use stanch_model::Digest;
use stanch_model::id::{ExecutorId, OrderId};
use stanch_model::order::{Receipt, VerbKind};
use stanch_model::sign::Signed;

use crate::column::{Columns, all, json, micros, name};
use crate::db::{Conn, Row, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// An answer that arrived. Check its signature first: the store does not.
#[derive(Debug, Clone)]
pub struct NewReceipt {
    /// The receipt.
    pub receipt: Signed<Receipt>,
    /// When it arrived.
    pub at: Timestamp,
}

/// An answer that was acted on.
#[derive(Debug, Clone)]
pub struct HandleReceipt {
    /// The order.
    pub order: OrderId,
    /// All that it says is kept elsewhere: of the receipt itself only the digest stays.
    pub forget: bool,
    /// When.
    pub at: Timestamp,
}

/// A receipt as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReceipt {
    /// The receipt.
    pub receipt: Signed<Receipt>,
    /// Digest of its JSON text.
    pub digest: Digest,
    /// When it arrived.
    pub at: Timestamp,
    /// When it was acted on.
    pub handled_at: Option<Timestamp>,
}

const KNOWN: &str = "SELECT digest FROM receipt WHERE order_id = $1";
const NEW: &str = "INSERT INTO receipt (order_id, executor, digest, body, at, verb) VALUES ($1, $2, $3, $4, $5, $6)";
const ANSWERED: &str = "UPDATE orders SET state = 'answered' WHERE id = $1 AND executor = $2 \
     RETURNING json_extract(verb, '$.verb') AS verb";
const HANDLE: &str = "UPDATE receipt SET handled_at = $1 WHERE order_id = $2 AND handled_at IS NULL";
const FORGET: &str = "UPDATE receipt SET handled_at = $1, body = '' WHERE order_id = $2 AND handled_at IS NULL";
const IS_THERE: &str = "SELECT EXISTS (SELECT 1 FROM receipt WHERE order_id = $1) AS there";
const ONE: &str = "SELECT digest, body, at, handled_at FROM receipt WHERE order_id = $1 AND body <> ''";
const UNHANDLED: &str = "SELECT digest, body, at, handled_at FROM receipt WHERE order_id IN \
     (SELECT order_id FROM receipt WHERE handled_at IS NULL AND verb IN (SELECT value FROM json_each($1)) \
     ORDER BY at, order_id LIMIT $2) ORDER BY at, order_id";
const UNHEARD: &str = "SELECT DISTINCT executor FROM receipt WHERE handled_at IS NULL AND verb = $1 AND at >= $2";

pub(crate) async fn new(conn: &mut Conn, new: &NewReceipt) -> Result<Effect, CommitError> {
    let receipt = &new.receipt.body;
    let id = receipt.order.as_str();
    let body = json("receipt", id, &new.receipt)?;
    let digest = Digest::of_bytes(body.as_bytes());
    let known =
        query(KNOWN).bind(id).fetch_optional(&mut *conn).await.map_err(CommitError::database("read a receipt"))?;
    if let Some(row) = known {
        return match Columns::new("receipt", &row).digest("digest") {
            Ok(known) if known == digest => Ok(Effect::Unchanged),
            _ => Err(CommitError::Exists { noun: "receipt", id: id.to_owned() }),
        };
    }
    let answered = query(ANSWERED)
        .bind(id)
        .bind(receipt.executor.as_str())
        .fetch_optional(&mut *conn)
        .await
        .map_err(CommitError::database("answer an order"))?;
    let missing = || CommitError::Missing { noun: "order", id: id.to_owned() };
    let verb = Columns::new("order", &answered.ok_or_else(missing)?)
        .text("verb")
        .map_err(|error| CommitError::Encode { noun: "receipt", id: id.to_owned(), detail: error.to_string() })?;
    query(NEW)
        .bind(id)
        .bind(receipt.executor.as_str())
        .bind(digest.as_bytes().as_slice())
        .bind(body)
        .bind(micros(new.at))
        .bind(verb)
        .execute(conn)
        .await
        .map_err(CommitError::database("store a receipt"))?;
    Ok(Effect::Done)
}

pub(crate) async fn handle(conn: &mut Conn, handled: &HandleReceipt) -> Result<Effect, CommitError> {
    let done = query(if handled.forget { FORGET } else { HANDLE })
        .bind(micros(handled.at))
        .bind(handled.order.as_str())
        .execute(conn)
        .await
        .map_err(CommitError::database("handle a receipt"))?;
    if done == 0 {
        let expected = "unhandled".to_owned();
        return Err(CommitError::Conflict { noun: "receipt", id: handled.order.to_string(), expected });
    }
    Ok(Effect::Done)
}

fn read(row: &Row) -> Result<StoredReceipt, ReadError> {
    let columns = Columns::new("receipt", row);
    Ok(StoredReceipt {
        receipt: columns.json("body")?,
        digest: columns.digest("digest")?,
        at: columns.time("at")?,
        handled_at: columns.optional_time("handled_at")?,
    })
}

impl Store {
    /// Whether an order was answered.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn is_answered(&self, order: &OrderId) -> Result<bool, ReadError> {
        let row = query(IS_THERE).bind(order.as_str()).fetch_one(self.read()).await;
        Ok(Columns::new("receipt", &row.map_err(ReadError::database("look for a receipt"))?).integer("there")? == 1)
    }

    /// The answer to an order, unless it was forgotten.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn receipt(&self, order: &OrderId) -> Result<Option<StoredReceipt>, ReadError> {
        let row = query(ONE).bind(order.as_str()).fetch_optional(self.read()).await;
        row.map_err(ReadError::database("read a receipt"))?.as_ref().map(read).transpose()
    }

    /// The executors of which an answer to such an order, one that arrived since then, was not acted on yet.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn unheard(&self, verb: VerbKind, since: Timestamp) -> Result<BTreeSet<ExecutorId>, ReadError> {
        let rows = query(UNHEARD).bind(name(&verb)).bind(micros(since)).fetch_all(self.read()).await;
        let rows = rows.map_err(ReadError::database("list receipts"))?;
        Ok(all(&rows, |row| Columns::new("receipt", row).parsed("executor"))?.into_iter().collect())
    }

    /// Answers to orders of these kinds that nobody has acted on, oldest first.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn unhandled_receipts(&self, verbs: &[VerbKind], limit: u32) -> Result<Vec<StoredReceipt>, ReadError> {
        let verbs = serde_json::Value::from_iter(verbs.iter().map(name)).to_string();
        let rows = query(UNHANDLED).bind(verbs).bind(limit).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list receipts"))?, read)
    }
}
