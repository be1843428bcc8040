//! Breakers: one document for each action of each policy that was ever halted. A change is a compare-and-set on the
//! generation, so that no word about a trial gets lost.

use jiff::Timestamp;
use serde_json::Value;

use crate::column::{Columns, all, json, micros, number};
use crate::db::{Conn, Row, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// A breaker's next state.
#[derive(Debug, Clone)]
pub struct PutBreaker {
    /// Which: `breaker/POLICY/ACTION`.
    pub scope: String,
    /// The generation it must have; 0 for one that is not there yet.
    pub generation: u64,
    /// Where it stands.
    pub body: Value,
    /// When.
    pub at: Timestamp,
}

/// A breaker as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBreaker {
    /// Which.
    pub scope: String,
    /// Rises with every change.
    pub generation: u64,
    /// Where it stands.
    pub body: Value,
    /// When it last changed.
    pub at: Timestamp,
}

const NEW: &str = "INSERT INTO breaker (scope, generation, body, at) VALUES ($1, 1, $2, $3) ON CONFLICT DO NOTHING";
const PUT: &str =
    "UPDATE breaker SET generation = generation + 1, body = $2, at = $3 WHERE scope = $1 AND generation = $4";
const ONE: &str = "SELECT scope, generation, body, at FROM breaker WHERE scope = $1";
const LIST: &str = "SELECT scope, generation, body, at FROM breaker ORDER BY scope";

pub(crate) async fn put(conn: &mut Conn, put: &PutBreaker) -> Result<Effect, CommitError> {
    let body = json("breaker", &put.scope, &put.body)?;
    let query = query(if put.generation == 0 { NEW } else { PUT });
    let query = query.bind(&put.scope).bind(body).bind(micros(put.at));
    let query = match put.generation {
        0 => query,
        generation => query.bind(number("breaker", &put.scope, generation)?),
    };
    match query.execute(conn).await.map_err(CommitError::database("move a breaker"))? {
        0 => {
            let expected = format!("generation {}", put.generation);
            Err(CommitError::Conflict { noun: "breaker", id: put.scope.clone(), expected })
        }
        _ => Ok(Effect::Generation(put.generation.saturating_add(1))),
    }
}

fn read(row: &Row) -> Result<StoredBreaker, ReadError> {
    let columns = Columns::new("breaker", row);
    Ok(StoredBreaker {
        scope: columns.text("scope")?,
        generation: columns.count("generation")?,
        body: columns.json("body")?,
        at: columns.time("at")?,
    })
}

impl Store {
    /// One breaker. One that was never moved is closed.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn breaker(&self, scope: &str) -> Result<Option<StoredBreaker>, ReadError> {
        let row = query(ONE).bind(scope).fetch_optional(self.read()).await;
        row.map_err(ReadError::database("read a breaker"))?.as_ref().map(read).transpose()
    }

    /// All breakers that were ever moved.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn breakers(&self) -> Result<Vec<StoredBreaker>, ReadError> {
        let rows = query(LIST).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list breakers"))?, read)
    }
}
