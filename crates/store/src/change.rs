//! Change requests: a remediation as another system knows it. What was said of one is a document of whoever moves it; a
//! change is a compare-and-set on the generation. A remediation has one at each connection.

use jiff::Timestamp;
use serde_json::Value;
use stanch_model::id::{ChangeId, RemediationId};

use crate::column::{Columns, all, json, micros, number};
use crate::db::{Builder, Conn, Row, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// A change request's next state.
#[derive(Debug, Clone)]
pub struct PutChange {
    /// Which.
    pub id: ChangeId,
    /// What it is about.
    pub remediation: RemediationId,
    /// Where it is known.
    pub connection: String,
    /// The generation it must have; 0 for one that begins.
    pub generation: u64,
    /// Nothing of it is left to do.
    pub over: bool,
    /// What was said of it.
    pub body: Value,
    /// When.
    pub at: Timestamp,
}

/// A change request as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredChange {
    /// Which.
    pub id: ChangeId,
    /// What it is about.
    pub remediation: RemediationId,
    /// Where it is known.
    pub connection: String,
    /// Rises with every change.
    pub generation: u64,
    /// Nothing of it is left to do.
    pub over: bool,
    /// What was said of it.
    pub body: Value,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Which change requests to list. What is absent does not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeFilter {
    /// About this remediation.
    pub remediation: Option<RemediationId>,
    /// Only those of which something is left to do.
    pub live: bool,
}

const NEW: &str = "INSERT INTO change_request (id, remediation, connection, generation, is_over, body, created_at, \
     updated_at) VALUES ($1, $2, $3, 1, $4, $5, $6, $6) ON CONFLICT DO NOTHING";
const PUT: &str = "UPDATE change_request SET generation = generation + 1, is_over = $4, body = $5, updated_at = $6 \
     WHERE id = $1 AND remediation = $2 AND connection = $3 AND generation = $7";
const COLUMNS: &str =
    "SELECT id, remediation, connection, generation, is_over, body, created_at, updated_at FROM change_request";

pub(crate) async fn put(conn: &mut Conn, put: &PutChange) -> Result<Effect, CommitError> {
    let id = put.id.as_str();
    let query = query(if put.generation == 0 { NEW } else { PUT });
    let query = query.bind(id).bind(put.remediation.as_str()).bind(&put.connection).bind(put.over);
    let query = query.bind(json("change request", id, &put.body)?).bind(micros(put.at));
    let query = match put.generation {
        0 => query,
        generation => query.bind(number("change request", id, generation)?),
    };
    match query.execute(conn).await.map_err(CommitError::database("move a change request"))? {
        0 => {
            let expected = format!("generation {}", put.generation);
            Err(CommitError::Conflict { noun: "change request", id: id.to_owned(), expected })
        }
        _ => Ok(Effect::Generation(put.generation.saturating_add(1))),
    }
}

fn read(row: &Row) -> Result<StoredChange, ReadError> {
    let columns = Columns::new("change request", row);
    Ok(StoredChange {
        id: columns.parsed("id")?,
        remediation: columns.parsed("remediation")?,
        connection: columns.text("connection")?,
        generation: columns.count("generation")?,
        over: columns.integer("is_over")? != 0,
        body: columns.json("body")?,
        created_at: columns.time("created_at")?,
        updated_at: columns.time("updated_at")?,
    })
}

impl Store {
    /// One change request.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn change(&self, id: &ChangeId) -> Result<Option<StoredChange>, ReadError> {
        let mut query = Builder::new(COLUMNS);
        query.push(" WHERE id = ").push_bind(id.as_str());
        let row = query.build().fetch_optional(self.read()).await;
        row.map_err(ReadError::database("read a change request"))?.as_ref().map(read).transpose()
    }

    /// Change requests, the newest first.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn changes(&self, filter: &ChangeFilter, limit: u32) -> Result<Vec<StoredChange>, ReadError> {
        let mut query = Builder::new(COLUMNS);
        query.push(" WHERE 1 = 1");
        if let Some(remediation) = &filter.remediation {
            query.push(" AND remediation = ").push_bind(remediation.as_str());
        }
        if filter.live {
            query.push(" AND is_over = 0");
        }
        query.push(" ORDER BY created_at DESC, id LIMIT ").push_bind(limit);
        let rows = query.build().fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list change requests"))?, read)
    }
}
