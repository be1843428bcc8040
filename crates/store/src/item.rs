//! Work items: what one act closes, with the latest word on how urgent it is and what may be done.

use jiff::Timestamp;
use sqlx::{QueryBuilder, Sqlite};
use stanch_model::assessment::Assessment;
use stanch_model::decision::Decision;
use stanch_model::id::{AssetId, FindingId, ItemId};
use stanch_model::item::WorkItem;

use crate::column::{Columns, Conn, Row, all, json, micros};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

const CHUNK: usize = 200;

/// Comes after every rank: items that nobody has assessed yet stand last.
const UNRANKED: &str = "~";

/// The items of one asset, grouped anew.
#[derive(Debug, Clone)]
pub struct SyncItems {
    /// The asset.
    pub asset: AssetId,
    /// All of its items. Those that are not among them are closed.
    pub items: Vec<WorkItem>,
    /// When.
    pub at: Timestamp,
}

/// An item as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredItem {
    /// The item.
    pub item: WorkItem,
    /// The latest assessment.
    pub assessment: Option<Assessment>,
    /// The latest decision.
    pub decision: Option<Decision>,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// When it was last seen.
    pub last_seen: Timestamp,
    /// When its last finding was closed.
    pub closed_at: Option<Timestamp>,
    /// Where it stands in the order of a listing: hand it back for the next page.
    pub cursor: ItemCursor,
}

/// A place in a listing of items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemCursor {
    /// The rank as text.
    pub rank: String,
    /// The item.
    pub id: ItemId,
}

/// Which items to list. What is absent does not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ItemFilter {
    /// On this asset.
    pub asset: Option<AssetId>,
    /// With this short name, as people type it.
    pub name: Option<String>,
    /// Open ones, or closed ones.
    pub open: Option<bool>,
}

const PUT: &str = "INSERT INTO item (id, asset, name, body, findings, rank, first_seen, last_seen) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT (id) DO UPDATE SET name = $3, body = $4, findings = $5, \
     last_seen = $7, closed_at = NULL";
const OPEN: &str = "SELECT id FROM item WHERE asset = $1 AND closed_at IS NULL";
const CLOSE: &str = "UPDATE item SET closed_at = $1, findings = 0 WHERE id = $2";
const COLUMNS: &str = "SELECT item.id, item.body, item.rank, item.first_seen, item.last_seen, item.closed_at, \
     (SELECT a.body FROM assessment a WHERE a.item = item.id ORDER BY a.at DESC LIMIT 1) AS assessment, \
     (SELECT d.body FROM decision d WHERE d.item = item.id ORDER BY d.at DESC LIMIT 1) AS decision \
     FROM item";

pub(crate) async fn sync(conn: &mut Conn, run: &SyncItems) -> Result<Effect, CommitError> {
    for item in &run.items {
        let id = item.id.as_str();
        sqlx::query(PUT)
            .bind(id)
            .bind(run.asset.as_str())
            .bind(item.subject.name())
            .bind(json("item", id, item)?)
            .bind(item.findings.len() as i64)
            .bind(UNRANKED)
            .bind(micros(run.at))
            .execute(&mut *conn)
            .await
            .map_err(CommitError::database("store an item"))?;
        for chunk in item.findings.chunks(CHUNK) {
            adopt(conn, &item.id, chunk).await?;
        }
    }
    let open = sqlx::query(OPEN)
        .bind(run.asset.as_str())
        .fetch_all(&mut *conn)
        .await
        .map_err(CommitError::database("read items"))?;
    for row in &open {
        let id = Columns::new("item", row).text("id").unwrap_or_default();
        if run.items.iter().any(|item| item.id.as_str() == id) {
            continue;
        }
        sqlx::query(CLOSE)
            .bind(micros(run.at))
            .bind(id)
            .execute(&mut *conn)
            .await
            .map_err(CommitError::database("close items"))?;
    }
    Ok(Effect::Done)
}

async fn adopt(conn: &mut Conn, item: &ItemId, findings: &[FindingId]) -> Result<(), CommitError> {
    let mut query: QueryBuilder<Sqlite> = QueryBuilder::new("UPDATE finding SET item = ");
    query.push_bind(item.as_str()).push(" WHERE (item IS NULL OR item <> ").push_bind(item.as_str());
    query.push(") AND fingerprint IN (");
    let mut list = query.separated(", ");
    for id in findings {
        list.push_bind(id.as_str());
    }
    query.push(")");
    query.build().execute(conn).await.map_err(CommitError::database("give findings to an item"))?;
    Ok(())
}

/// A rank as text that sorts as the numbers do.
pub(crate) fn rank_text(rank: &[i64]) -> String {
    rank.iter().map(|number| format!("{:016x}", number.cast_unsigned() ^ (1 << 63))).collect()
}

fn read(row: &Row) -> Result<StoredItem, ReadError> {
    let columns = Columns::new("item", row);
    let damaged = |error: serde_json::Error| ReadError::damaged("item", error);
    let assessment = columns.optional_text("assessment")?;
    let decision = columns.optional_text("decision")?;
    Ok(StoredItem {
        item: columns.json("body")?,
        assessment: assessment.map(|text| serde_json::from_str(&text)).transpose().map_err(damaged)?,
        decision: decision.map(|text| serde_json::from_str(&text)).transpose().map_err(damaged)?,
        first_seen: columns.time("first_seen")?,
        last_seen: columns.time("last_seen")?,
        closed_at: columns.optional_time("closed_at")?,
        cursor: ItemCursor { rank: columns.text("rank")?, id: columns.parsed("id")? },
    })
}

impl Store {
    /// One item.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn item(&self, id: &ItemId) -> Result<Option<StoredItem>, ReadError> {
        let mut query: QueryBuilder<Sqlite> = QueryBuilder::new(COLUMNS);
        query.push(" WHERE item.id = ").push_bind(id.as_str());
        let row = query.build().fetch_optional(self.read()).await;
        row.map_err(ReadError::database("read an item"))?.as_ref().map(read).transpose()
    }

    /// Items, the most urgent first, after the one given.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn items(
        &self,
        filter: &ItemFilter,
        after: Option<&ItemCursor>,
        limit: u32,
    ) -> Result<Vec<StoredItem>, ReadError> {
        let mut query: QueryBuilder<Sqlite> = QueryBuilder::new(COLUMNS);
        query.push(" WHERE (item.rank, item.id) > (");
        query.push_bind(after.map_or("", |cursor| cursor.rank.as_str()));
        query.push(", ").push_bind(after.map_or("", |cursor| cursor.id.as_str())).push(")");
        if let Some(asset) = &filter.asset {
            query.push(" AND item.asset = ").push_bind(asset.as_str());
        }
        if let Some(name) = &filter.name {
            query.push(" AND item.name = ").push_bind(name);
        }
        match filter.open {
            Some(true) => drop(query.push(" AND item.closed_at IS NULL")),
            Some(false) => drop(query.push(" AND item.closed_at IS NOT NULL")),
            None => {}
        }
        query.push(" ORDER BY item.rank, item.id LIMIT ").push_bind(limit);
        let rows = query.build().fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list items"))?, read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_sorts_as_text_as_it_does_as_numbers() {
        let mut ranks = [vec![3, -1], vec![-5], vec![0], vec![3], vec![i64::MAX], vec![i64::MIN, 4], vec![-5, 0]];
        let mut texts: Vec<String> = ranks.iter().map(|rank| rank_text(rank)).collect();
        ranks.sort();
        texts.sort();
        assert_eq!(texts, ranks.iter().map(|rank| rank_text(rank)).collect::<Vec<_>>());
        assert!(texts.iter().all(|text| text.as_str() < UNRANKED));
    }
}
