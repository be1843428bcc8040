//! Decisions: immutable. A new one is written only when it says something new.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use serde_json::{Map, Value};
use stanch_model::decision::{Decision, Mode};
use stanch_model::id::ItemId;

use crate::column::{Columns, Conn, Row, all, micros};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

const KNOWN: &str = "SELECT id FROM ruling WHERE said = $1";
const SAY: &str = "INSERT INTO ruling (said) VALUES ($1) RETURNING id";
const LAST: &str = "SELECT ruling FROM item WHERE id = $1";
const PUT: &str = "INSERT INTO decision (item, at, ruling) VALUES ($1, $2, $3) ON CONFLICT (item, at) DO NOTHING";
const DECIDED: &str = "UPDATE item SET ruling = $1, decided_at = $2, wanted = $3 WHERE id = $4";
const SAID: &str = "SELECT id, said FROM ruling WHERE id IN (SELECT value FROM json_each($1))";
const FIRED: &str = "SELECT json_extract(word.value, '$.rule') AS name, SUM(held.items) AS items FROM \
     (SELECT ruling, COUNT(*) AS items FROM item WHERE closed_at IS NULL AND ruling IS NOT NULL GROUP BY ruling) held \
     JOIN ruling ON ruling.id = held.ruling, json_each(ruling.said, $1) word GROUP BY 1";
const WOULD_CHANGE: &str = "SELECT name, SUM(items) AS items FROM (SELECT DISTINCT held.ruling, held.items, \
     substr(json_extract(word.value, '$.rule'), 1, instr(json_extract(word.value, '$.rule'), '/') - 1) AS name FROM \
     (SELECT ruling, COUNT(*) AS items FROM item WHERE closed_at IS NULL AND ruling IS NOT NULL GROUP BY ruling) held \
     JOIN ruling ON ruling.id = held.ruling, json_each(ruling.said, '$.shadow.words') word \
     WHERE json_extract(ruling.said, '$.shadow.mode') <> json_extract(ruling.said, '$.mode')) GROUP BY 1";
const PAST: &str = "SELECT at, ruling FROM decision WHERE item = $1 ORDER BY at DESC LIMIT $2";

pub(crate) async fn put(conn: &mut Conn, decision: &Decision) -> Result<Effect, CommitError> {
    let id = decision.item.as_str();
    let ruling = ruling(conn, decision).await?;
    let failed = CommitError::database;
    let last = sqlx::query(LAST).bind(id).fetch_optional(&mut *conn).await.map_err(failed("read a decision"))?;
    if last
        .is_some_and(|row| Columns::new("item", &row).optional_integer("ruling").is_ok_and(|last| last == Some(ruling)))
    {
        return Ok(Effect::Unchanged);
    }
    let done = sqlx::query(PUT).bind(id).bind(micros(decision.at)).bind(ruling).execute(&mut *conn).await;
    if done.map_err(failed("store a decision"))?.rows_affected() == 0 {
        return Err(CommitError::Exists { noun: "decision", id: id.to_owned() });
    }
    sqlx::query(DECIDED)
        .bind(ruling)
        .bind(micros(decision.at))
        .bind(decision.mode > Mode::Alert)
        .bind(id)
        .execute(conn)
        .await
        .map_err(failed("note what was decided"))?;
    Ok(Effect::Done)
}

/// What a decision says apart from the item and the time: the number it is kept under.
async fn ruling(conn: &mut Conn, decision: &Decision) -> Result<i64, CommitError> {
    let encode = |detail: &dyn std::fmt::Display| CommitError::Encode {
        noun: "decision",
        id: decision.item.to_string(),
        detail: detail.to_string(),
    };
    let mut said = serde_json::to_value(decision).map_err(|error| encode(&error))?;
    if let Some(said) = said.as_object_mut() {
        said.remove("item");
        said.remove("at");
    }
    let said = said.to_string();
    let known = sqlx::query(KNOWN).bind(&said).fetch_optional(&mut *conn).await;
    let row = match known.map_err(CommitError::database("look for a ruling"))? {
        Some(row) => row,
        None => sqlx::query(SAY).bind(&said).fetch_one(conn).await.map_err(CommitError::database("store a ruling"))?,
    };
    Columns::new("ruling", &row).integer("id").map_err(|error| encode(&error))
}

/// Rulings as they are needed to put decisions together; each is read once for all of its items.
#[derive(Default)]
pub(crate) struct Rulings {
    said: HashMap<i64, String>,
    read: HashMap<i64, Decision>,
}

impl Rulings {
    pub(crate) async fn load(store: &Store, wanted: impl Iterator<Item = i64>) -> Result<Self, ReadError> {
        let wanted: BTreeSet<i64> = wanted.collect();
        if wanted.is_empty() {
            return Ok(Self::default());
        }
        let wanted = Value::from_iter(wanted).to_string();
        let rows = sqlx::query(SAID).bind(wanted).fetch_all(store.read()).await;
        let said = all(&rows.map_err(ReadError::database("read rulings"))?, |row| {
            let columns = Columns::new("ruling", row);
            Ok((columns.integer("id")?, columns.text("said")?))
        })?;
        Ok(Self { said: said.into_iter().collect(), read: HashMap::new() })
    }

    /// The decision that this ruling was for this item at that time.
    pub(crate) fn decision(&mut self, ruling: i64, item: ItemId, at: Timestamp) -> Result<Decision, ReadError> {
        if let Some(known) = self.read.get(&ruling) {
            return Ok(Decision { item, at, ..known.clone() });
        }
        let damaged = |detail: &dyn std::fmt::Display| ReadError::damaged("ruling", detail);
        let said = self.said.get(&ruling).ok_or_else(|| damaged(&format_args!("{ruling} is not there")))?;
        let mut said: Map<String, Value> = serde_json::from_str(said).map_err(|error| damaged(&error))?;
        said.insert("item".to_owned(), item.to_string().into());
        said.insert("at".to_owned(), at.to_string().into());
        let decision: Decision = serde_json::from_value(said.into()).map_err(|error| damaged(&error))?;
        self.read.insert(ruling, decision.clone());
        Ok(decision)
    }
}

/// What policies say of all open items together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spoken {
    /// Items that a rule has a word on, in force or in shadow.
    pub rules: BTreeMap<String, u64>,
    /// Items whose mode a policy in shadow would change.
    pub would_change: BTreeMap<String, u64>,
}

impl Store {
    /// What policies say of all open items together. Looks at each of the rulings in force once, and at an index of
    /// the open items.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn spoken(&self) -> Result<Spoken, ReadError> {
        let mut spoken = Spoken::default();
        for path in ["$.fired", "$.shadow.words"] {
            let rows = sqlx::query(FIRED).bind(path).fetch_all(self.read()).await;
            spoken.rules.extend(counted(&rows.map_err(ReadError::database("count what rules say"))?)?);
        }
        let rows = sqlx::query(WOULD_CHANGE).fetch_all(self.read()).await;
        spoken.would_change.extend(counted(&rows.map_err(ReadError::database("count what shadow would change"))?)?);
        Ok(spoken)
    }

    /// Decisions of an item, newest first.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn decisions(&self, item: &ItemId, limit: u32) -> Result<Vec<Decision>, ReadError> {
        let rows = sqlx::query(PAST).bind(item.as_str()).bind(limit).fetch_all(self.read()).await;
        let past = all(&rows.map_err(ReadError::database("list decisions"))?, |row| {
            let columns = Columns::new("decision", row);
            Ok((columns.integer("ruling")?, columns.time("at")?))
        })?;
        let mut rulings = Rulings::load(self, past.iter().map(|(ruling, _)| *ruling)).await?;
        past.into_iter().map(|(ruling, at)| rulings.decision(ruling, item.clone(), at)).collect()
    }
}

fn counted(rows: &[Row]) -> Result<Vec<(String, u64)>, ReadError> {
    all(rows, |row| {
        let columns = Columns::new("decision", row);
        Ok((columns.text("name")?, columns.count("items")?))
    })
}
