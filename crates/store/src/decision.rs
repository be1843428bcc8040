//! Decisions: immutable. A new one is written only when it says something new.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use serde_json::{Map, Value};
use stanch_model::decision::{Decision, Mode};
use stanch_model::id::ItemId;

use crate::column::{Columns, all, all_were_put, ids, json, micros};
use crate::db::{Conn, Row, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

const KNOWN: &str = "SELECT id FROM ruling WHERE said = $1";
const SAY: &str = "INSERT INTO ruling (said, fires, accepted) VALUES ($1, $2, $3) RETURNING id";
const LAST: &str = "SELECT id, ruling FROM item WHERE id IN (SELECT value FROM json_each($1))";
const PUT: &str = "INSERT INTO decision (item, at, ruling) SELECT json_extract(value, '$[0]'), \
     CAST(json_extract(value, '$[1]') AS BIGINT), CAST(json_extract(value, '$[2]') AS BIGINT) FROM json_each($1) WHERE true \
     ON CONFLICT (item, at) DO NOTHING RETURNING item";
const DECIDED: &str = "UPDATE item SET decided_at = said.at, ruling = said.ruling, wanted = said.wanted FROM \
     (SELECT json_extract(value, '$[0]') AS id, CAST(json_extract(value, '$[1]') AS BIGINT) AS at, \
     CAST(json_extract(value, '$[2]') AS BIGINT) AS ruling, CAST(json_extract(value, '$[3]') AS BIGINT) AS wanted \
     FROM json_each($1)) said \
     WHERE item.id = said.id";
const SAID: &str = "SELECT id, said FROM ruling WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_each($1))";
const FIRED: &str = "SELECT json_extract(word.value, '$.rule') AS name, CAST(SUM(held.items) AS BIGINT) AS items FROM \
     (SELECT ruling, COUNT(*) AS items FROM item WHERE closed_at IS NULL AND ruling IS NOT NULL GROUP BY ruling) held \
     JOIN ruling ON ruling.id = held.ruling, json_each(ruling.said, $1) word GROUP BY 1";
const WOULD_CHANGE: &str = "SELECT name, CAST(SUM(items) AS BIGINT) AS items FROM (SELECT DISTINCT held.ruling, held.items, \
     CASE WHEN instr(json_extract(word.value, '$.rule'), '/') > 0 THEN substr(json_extract(word.value, '$.rule'), 1, \
     CAST(instr(json_extract(word.value, '$.rule'), '/') - 1 AS INTEGER)) ELSE '' END AS name FROM \
     (SELECT ruling, COUNT(*) AS items FROM item WHERE closed_at IS NULL AND ruling IS NOT NULL GROUP BY ruling) held \
     JOIN ruling ON ruling.id = held.ruling, json_each(ruling.said, '$.shadow.words') word \
     WHERE json_extract(ruling.said, '$.shadow.mode') <> json_extract(ruling.said, '$.mode')) changed GROUP BY 1";
const PAST: &str = "SELECT at, ruling FROM decision WHERE item = $1 ORDER BY at DESC LIMIT $2";

pub(crate) async fn put(conn: &mut Conn, decisions: &[Decision]) -> Result<Effect, CommitError> {
    let failed = CommitError::database;
    let wanted = ids(decisions.iter().map(|decision| &decision.item));
    let rows = query(LAST).bind(wanted).fetch_all(&mut *conn).await.map_err(failed("read decisions"))?;
    let last = rows.iter().filter_map(|row| {
        let columns = Columns::new("item", row);
        Some((columns.text("id").ok()?, columns.optional_integer("ruling").ok()??))
    });
    let last: HashMap<String, i64> = last.collect();
    // Most of them say what another one says.
    let mut rulings: Vec<(&Decision, i64)> = Vec::new();
    let mut new = Vec::with_capacity(decisions.len());
    for decision in decisions {
        let known = rulings.iter().find(|(one, _)| one.has_the_words_of(decision)).map(|(_, ruling)| *ruling);
        let ruling = match known {
            Some(ruling) => ruling,
            None => {
                let ruling = ruling(conn, decision).await?;
                rulings.push((decision, ruling));
                ruling
            }
        };
        if last.get(decision.item.as_str()) != Some(&ruling) {
            new.push((&decision.item, micros(decision.at), ruling, i64::from(decision.mode > Mode::Alert)));
        }
    }
    if new.is_empty() {
        return Ok(Effect::Unchanged);
    }
    let put = query(PUT).bind(json("decision", "", &new)?).fetch_all(&mut *conn).await;
    all_were_put("decision", new.iter().map(|(item, ..)| *item), &put.map_err(failed("store decisions"))?)?;
    // The last word on an item counts.
    let latest: BTreeMap<&ItemId, _> = new.iter().map(|one| (one.0, one)).collect();
    let latest = json("decision", "", &latest.into_values().collect::<Vec<_>>())?;
    let done = query(DECIDED).bind(latest).execute(conn).await;
    done.map_err(failed("note what was decided"))?;
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
    let known = query(KNOWN).bind(&said).fetch_optional(&mut *conn).await;
    let row = match known.map_err(CommitError::database("look for a ruling"))? {
        Some(row) => row,
        None => {
            let new = query(SAY).bind(&said).bind(!decision.fired.is_empty()).bind(decision.accepted.is_some());
            new.fetch_one(conn).await.map_err(CommitError::database("store a ruling"))?
        }
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
        let rows = query(SAID).bind(wanted).fetch_all(store.read()).await;
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
            let rows = query(FIRED).bind(path).fetch_all(self.read()).await;
            for (rule, items) in counted(&rows.map_err(ReadError::database("count what rules say"))?)? {
                *spoken.rules.entry(rule).or_default() += items;
            }
        }
        let rows = query(WOULD_CHANGE).fetch_all(self.read()).await;
        spoken.would_change.extend(counted(&rows.map_err(ReadError::database("count what shadow would change"))?)?);
        Ok(spoken)
    }

    /// Decisions of an item, newest first.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn decisions(&self, item: &ItemId, limit: u32) -> Result<Vec<Decision>, ReadError> {
        let rows = query(PAST).bind(item.as_str()).bind(limit).fetch_all(self.read()).await;
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
