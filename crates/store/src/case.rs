//! Cases: the problems that are worked on step by step. How far one has come is a document of whoever moves it; a
//! change is a compare-and-set on the generation. An item is worked on in one case at a time.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use serde_json::Value;
use stanch_model::id::{CaseId, ItemId};

use crate::column::{Columns, all, ids, json, micros, number};
use crate::db::{Conn, Row, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// A case's next state.
#[derive(Debug, Clone)]
pub struct PutCase {
    /// Which.
    pub id: CaseId,
    /// The generation it must have; 0 for one that begins.
    pub generation: u64,
    /// Nothing more happens by itself.
    pub over: bool,
    /// What it is about, with whether it still works on it. One that is left out is as it was.
    pub items: Vec<(ItemId, bool)>,
    /// How far it has come.
    pub body: Value,
    /// When.
    pub at: Timestamp,
}

/// A case as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCase {
    /// Which.
    pub id: CaseId,
    /// Rises with every change.
    pub generation: u64,
    /// Nothing more happens by itself.
    pub over: bool,
    /// How far it has come.
    pub body: Value,
    /// When it began.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

const NEW: &str = "INSERT INTO cases (id, generation, is_over, body, created_at, updated_at) \
     VALUES ($1, 1, $2, $3, $4, $4) ON CONFLICT DO NOTHING";
const PUT: &str = "UPDATE cases SET generation = generation + 1, is_over = $2, body = $3, updated_at = $4 \
     WHERE id = $1 AND generation = $5";
const ITEM: &str = "INSERT INTO case_item (item, case_id, is_busy) VALUES ($1, $2, $3) \
     ON CONFLICT (item, case_id) DO UPDATE SET is_busy = $3";
const ONE: &str = "SELECT id, generation, is_over, body, created_at, updated_at FROM cases WHERE id = $1";
const LIVE: &str =
    "SELECT id, generation, is_over, body, created_at, updated_at FROM cases WHERE is_over = 0 ORDER BY id";
const LIST: &str = "SELECT id, generation, is_over, body, created_at, updated_at FROM cases \
     ORDER BY created_at DESC, id LIMIT $1";
const ABOUT: &str = "SELECT c.id, c.generation, c.is_over, c.body, c.created_at, c.updated_at FROM cases c \
     JOIN case_item ci ON ci.case_id = c.id WHERE ci.item = $1 ORDER BY c.created_at DESC, c.id LIMIT $2";
const BUSY: &str =
    "SELECT item, case_id FROM case_item WHERE is_busy = 1 AND item IN (SELECT value FROM json_each($1))";

pub(crate) async fn put(conn: &mut Conn, put: &PutCase) -> Result<Effect, CommitError> {
    let id = put.id.as_str();
    let change = query(if put.generation == 0 { NEW } else { PUT });
    let change = change.bind(id).bind(put.over).bind(json("case", id, &put.body)?).bind(micros(put.at));
    let change = match put.generation {
        0 => change,
        generation => change.bind(number("case", id, generation)?),
    };
    let conflict = |expected: String| CommitError::Conflict { noun: "case", id: id.to_owned(), expected };
    if change.execute(&mut *conn).await.map_err(CommitError::database("move a case"))? == 0 {
        return Err(conflict(format!("generation {}", put.generation)));
    }
    // What is let go of makes room before anything is taken.
    let mut items: Vec<&(ItemId, bool)> = put.items.iter().collect();
    items.sort_by_key(|(_, busy)| *busy);
    for (item, busy) in items {
        let done = query(ITEM).bind(item.as_str()).bind(id).bind(busy).execute(&mut *conn).await;
        match done {
            Ok(_) => {}
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                return Err(conflict(format!("{item} in no other case")));
            }
            Err(error) => return Err(CommitError::database("give an item to a case")(error)),
        }
    }
    Ok(Effect::Generation(put.generation.saturating_add(1)))
}

fn read(row: &Row) -> Result<StoredCase, ReadError> {
    let columns = Columns::new("case", row);
    Ok(StoredCase {
        id: columns.parsed("id")?,
        generation: columns.count("generation")?,
        over: columns.integer("is_over")? != 0,
        body: columns.json("body")?,
        created_at: columns.time("created_at")?,
        updated_at: columns.time("updated_at")?,
    })
}

impl Store {
    /// One case.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn case(&self, id: &CaseId) -> Result<Option<StoredCase>, ReadError> {
        let row = query(ONE).bind(id.as_str()).fetch_optional(self.read()).await;
        row.map_err(ReadError::database("read a case"))?.as_ref().map(read).transpose()
    }

    /// Cases in which something is left to do.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn live_cases(&self) -> Result<Vec<StoredCase>, ReadError> {
        let rows = query(LIVE).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list cases"))?, read)
    }

    /// Cases, the newest first.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn cases(&self, limit: u32) -> Result<Vec<StoredCase>, ReadError> {
        let rows = query(LIST).bind(limit).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list cases"))?, read)
    }

    /// Cases about an item, the newest first.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn cases_about(&self, item: &ItemId, limit: u32) -> Result<Vec<StoredCase>, ReadError> {
        let rows = query(ABOUT).bind(item.as_str()).bind(limit).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list cases"))?, read)
    }

    /// The cases that work on these items now.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn cases_of(&self, items: &BTreeSet<ItemId>) -> Result<HashMap<ItemId, CaseId>, ReadError> {
        let rows = query(BUSY).bind(ids(items)).fetch_all(self.read()).await;
        let pairs = all(&rows.map_err(ReadError::database("look for cases"))?, |row| {
            let columns = Columns::new("case", row);
            Ok((columns.parsed("item")?, columns.parsed("case_id")?))
        })?;
        Ok(pairs.into_iter().collect())
    }
}
