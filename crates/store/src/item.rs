//! Work items: what one act closes, with the latest word on how urgent it is and what may be done.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use stanch_model::assessment::{Assessment, DeployerPriority};
use stanch_model::decision::Decision;
use stanch_model::finding::Verdict;
use stanch_model::id::{AssetId, FindingId, ItemId, RemediationId};
use stanch_model::item::WorkItem;

use crate::column::{Columns, all, ids, json, micros, name};
use crate::db::{Builder, Conn, Row, query};
use crate::decision::Rulings;
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

const CHUNK: usize = 200;

/// Comes after every rank: items that nobody has assessed yet stand last.
const UNRANKED: &str = "~";

/// An item with what its findings say of it together: what listings show, narrow by and count.
#[derive(Debug, Clone)]
pub struct NewItem {
    /// The item.
    pub item: WorkItem,
    /// The verdict of its findings that tells most of what can be done.
    pub verdict: Verdict,
    /// The version that closes it; empty where there is none.
    pub fixed_version: String,
    /// The action that would close it, where there is one.
    pub action: Option<String>,
}

/// The items of one asset, grouped anew.
#[derive(Debug, Clone)]
pub struct SyncItems {
    /// The asset.
    pub asset: AssetId,
    /// All of its items. Those that are not among them are closed.
    pub items: Vec<NewItem>,
    /// When.
    pub at: Timestamp,
}

/// An item as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredItem {
    /// The item.
    pub item: WorkItem,
    /// The verdict of its findings that tells most of what can be done.
    pub verdict: Verdict,
    /// The version that closes it; empty where there is none.
    pub fixed_version: String,
    /// The action that would close it, where there is one.
    pub action: Option<String>,
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
    /// With this in its short name.
    pub part: Option<String>,
    /// Open ones, or closed ones.
    pub open: Option<bool>,
    /// Of this kind of subject.
    pub kind: Option<String>,
    /// With this verdict.
    pub verdict: Option<Verdict>,
    /// With this outcome of the deployer table.
    pub deployer: Option<DeployerPriority>,
    /// Only those that some action would close.
    pub actionable: bool,
    /// Only those about which policies want something prepared or done.
    pub wanted: bool,
    /// Only these.
    pub ids: Option<Vec<ItemId>>,
    /// Only on one of these assets.
    pub among: Option<BTreeSet<AssetId>>,
}

/// How many open items there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ItemCounts {
    /// All of them.
    pub open: u64,
    /// That some action would close and nobody took back.
    pub actionable: u64,
    /// Of those that some action would close, taken back or accepted as a risk.
    pub set_aside: u64,
    /// That the deployer table wants done now or more quickly than usual.
    pub urgent: u64,
    /// Taken back or accepted as a risk.
    pub suppressed: u64,
    /// Known to be exploited.
    pub exploited: u64,
    /// That policies have decided.
    pub decided: u64,
}

const PUT: &str = "INSERT INTO item (id, asset, name, body, findings, rank, first_seen, last_seen, kind, verdict, \
     fixed_version, action) ";
const AGAIN: &str = " ON CONFLICT (id) DO UPDATE SET name = excluded.name, body = excluded.body, \
     findings = excluded.findings, last_seen = excluded.last_seen, closed_at = NULL, kind = excluded.kind, \
     verdict = excluded.verdict, fixed_version = excluded.fixed_version, action = excluded.action, \
     ruling = CASE WHEN item.closed_at IS NULL THEN item.ruling END, \
     decided_at = CASE WHEN item.closed_at IS NULL THEN item.decided_at END, \
     wanted = CASE WHEN item.closed_at IS NULL THEN item.wanted END";
const ADOPT: &str = "UPDATE finding SET item = owns.item FROM \
     (SELECT json_extract(value, '$[0]') AS finding, json_extract(value, '$[1]') AS item FROM json_each($1)) owns \
     WHERE finding.fingerprint = owns.finding AND (finding.item IS NULL OR finding.item <> owns.item)";
const OPEN: &str = "SELECT id FROM item WHERE asset = $1 AND closed_at IS NULL";
const CLOSE: &str = "UPDATE item SET closed_at = $1, findings = 0 WHERE id = $2";
const COLUMNS: &str = "SELECT item.id, item.body, item.rank, item.first_seen, item.last_seen, item.closed_at, \
     item.verdict, item.fixed_version, item.action, \
     item.ruling, item.decided_at, \
     (SELECT a.body FROM assessment a WHERE a.item = item.id ORDER BY a.at DESC LIMIT 1) AS assessment \
     FROM item";
/// Beside what is counted with every change, the open items with a suppression in force at `$1`, of the version that
/// would close the item or of whatever version appears. `CROSS` has the few suppressions looked at first.
const COUNTS: &str = "WITH counted AS (SELECT CAST(COALESCE(SUM(open), 0) AS BIGINT) AS open, \
     CAST(COALESCE(SUM(actionable), 0) AS BIGINT) AS actionable, CAST(COALESCE(SUM(urgent), 0) AS BIGINT) AS urgent, \
     CAST(COALESCE(SUM(exploited), 0) AS BIGINT) AS exploited, CAST(COALESCE(SUM(decided), 0) AS BIGINT) AS decided FROM item_count \
     WHERE $2 IS NULL OR asset IN (SELECT value FROM json_each($2))), \
     aside AS (SELECT DISTINCT i.id, i.action FROM suppression s CROSS JOIN item i \
     WHERE i.id = s.item AND i.asset = s.asset AND s.lifted_at IS NULL AND (s.until IS NULL OR s.until > $1) AND s.version IN ('', i.fixed_version) \
     AND i.closed_at IS NULL AND ($2 IS NULL OR i.asset IN (SELECT value FROM json_each($2)))), \
     put AS (SELECT COUNT(*) AS suppressed, CAST(COALESCE(SUM(CASE WHEN action IS NULL THEN 0 ELSE 1 END), 0) AS BIGINT) AS set_aside FROM aside) \
     SELECT open, actionable - set_aside AS actionable, set_aside, urgent, suppressed, exploited, decided \
     FROM counted, put";
const OPEN_ON: &str = "SELECT asset, open FROM item_count WHERE asset IN (SELECT value FROM json_each($1)) AND open > 0 \
     ORDER BY asset";
const BUSY: &str = "SELECT ri.item, r.id FROM remediation_item ri JOIN remediation r ON r.id = ri.remediation \
     WHERE ri.item IN (SELECT value FROM json_each($1)) AND r.is_over = 0 AND r.state <> 'partially_remediated'";

pub(crate) async fn sync(conn: &mut Conn, run: &SyncItems) -> Result<Effect, CommitError> {
    for chunk in run.items.chunks(CHUNK) {
        put(conn, run, chunk).await?;
    }
    let owns = run.items.iter().flat_map(|new| new.item.findings.iter().map(move |finding| (finding, &new.item.id)));
    let owns: Vec<(&FindingId, &ItemId)> = owns.collect();
    for chunk in owns.chunks(10 * CHUNK) {
        adopt(conn, chunk).await?;
    }
    let open = query(OPEN)
        .bind(run.asset.as_str())
        .fetch_all(&mut *conn)
        .await
        .map_err(CommitError::database("read items"))?;
    let still: BTreeSet<&str> = run.items.iter().map(|new| new.item.id.as_str()).collect();
    for row in &open {
        let id = Columns::new("item", row).text("id").unwrap_or_default();
        if still.contains(id.as_str()) {
            continue;
        }
        query(CLOSE)
            .bind(micros(run.at))
            .bind(id)
            .execute(&mut *conn)
            .await
            .map_err(CommitError::database("close items"))?;
    }
    Ok(Effect::Done)
}

async fn put(conn: &mut Conn, run: &SyncItems, items: &[NewItem]) -> Result<(), CommitError> {
    let mut bodies = Vec::with_capacity(items.len());
    for new in items {
        bodies.push(json("item", new.item.id.as_str(), &new.item)?);
    }
    let mut query = Builder::new(PUT);
    query.push_values(items.iter().zip(&bodies), |mut row, (new, body)| {
        row.push_bind(new.item.id.as_str())
            .push_bind(run.asset.as_str())
            .push_bind(new.item.subject.name())
            .push_bind(body)
            .push_bind(new.item.findings.len() as i64)
            .push_bind(UNRANKED)
            .push_bind(micros(run.at))
            .push_bind(micros(run.at))
            .push_bind(new.item.subject.kind())
            .push_bind(new.verdict.name())
            .push_bind(&new.fixed_version)
            .push_bind(&new.action);
    });
    query.push(AGAIN);
    query.build().execute(conn).await.map_err(CommitError::database("store items"))?;
    Ok(())
}

/// Gives findings to the items they belong to; those that are there already are left alone.
async fn adopt(conn: &mut Conn, owns: &[(&FindingId, &ItemId)]) -> Result<(), CommitError> {
    // A list of texts always has a JSON form.
    let owns = serde_json::to_string(owns).unwrap_or_else(|_| "[]".to_owned());
    let done = query(ADOPT).bind(owns).execute(conn).await;
    done.map_err(CommitError::database("give findings to items"))?;
    Ok(())
}

/// A rank as text that sorts as the numbers do.
pub(crate) fn rank_text(rank: &[i64]) -> String {
    rank.iter().map(|number| format!("{:016x}", number.cast_unsigned() ^ (1 << 63))).collect()
}

/// Reads items with what was last decided of them.
async fn read(store: &Store, rows: &[Row]) -> Result<Vec<StoredItem>, ReadError> {
    let decided = all(rows, |row| Columns::new("item", row).optional_integer("ruling"))?;
    let mut rulings = Rulings::load(store, decided.iter().flatten().copied()).await?;
    let mut items = Vec::with_capacity(rows.len());
    for (row, ruling) in rows.iter().zip(decided) {
        let mut stored = read_undecided(row)?;
        if let Some(ruling) = ruling {
            let at = Columns::new("item", row).time("decided_at")?;
            stored.decision = Some(rulings.decision(ruling, stored.item.id.clone(), at)?);
        }
        items.push(stored);
    }
    Ok(items)
}

fn read_undecided(row: &Row) -> Result<StoredItem, ReadError> {
    let columns = Columns::new("item", row);
    let assessment = columns.optional_text("assessment")?;
    let damaged = |error: serde_json::Error| ReadError::damaged("item", error);
    Ok(StoredItem {
        item: columns.json("body")?,
        verdict: columns.named("verdict")?,
        fixed_version: columns.text("fixed_version")?,
        action: columns.optional_text("action")?,
        assessment: assessment.map(|text| serde_json::from_str(&text)).transpose().map_err(damaged)?,
        decision: None,
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
        let mut query = Builder::new(COLUMNS);
        query.push(" WHERE item.id = ").push_bind(id.as_str());
        let rows = query.build().fetch_all(self.read()).await;
        Ok(read(self, &rows.map_err(ReadError::database("read an item"))?).await?.pop())
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
        let mut query = Builder::new(COLUMNS);
        query.push(" WHERE (item.rank, item.id) > (");
        query.push_bind(after.map_or("", |cursor| cursor.rank.as_str()));
        query.push(", ").push_bind(after.map_or("", |cursor| cursor.id.as_str())).push(")");
        narrow(&mut query, filter);
        query.push(" ORDER BY item.rank, item.id LIMIT ").push_bind(limit);
        let rows = query.build().fetch_all(self.read()).await;
        read(self, &rows.map_err(ReadError::database("list items"))?).await
    }

    /// How many open items there are on these assets, or on all: a row for each asset, and one for each suppression.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn count_items(
        &self,
        among: Option<&BTreeSet<AssetId>>,
        now: Timestamp,
    ) -> Result<ItemCounts, ReadError> {
        let row = query(COUNTS).bind(micros(now)).bind(among.map(ids)).fetch_one(self.read()).await;
        let row = row.map_err(ReadError::database("count items"))?;
        let columns = Columns::new("item", &row);
        Ok(ItemCounts {
            open: columns.count("open")?,
            actionable: columns.count("actionable")?,
            set_aside: columns.count("set_aside")?,
            urgent: columns.count("urgent")?,
            suppressed: columns.count("suppressed")?,
            exploited: columns.count("exploited")?,
            decided: columns.count("decided")?,
        })
    }

    /// How many open items there are on each of these assets that has some, in the order of their ids.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn open_items_on(&self, assets: &BTreeSet<AssetId>) -> Result<Vec<(AssetId, u64)>, ReadError> {
        let rows = query(OPEN_ON).bind(ids(assets)).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("count items"))?, |row| {
            let columns = Columns::new("item", row);
            Ok((columns.parsed("asset")?, columns.count("open")?))
        })
    }

    /// The remediations that are about these items now.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn busy_items(&self, items: &[ItemId]) -> Result<HashMap<ItemId, RemediationId>, ReadError> {
        let rows = query(BUSY).bind(ids(items)).fetch_all(self.read()).await;
        let pairs = all(&rows.map_err(ReadError::database("look for what is at work"))?, |row| {
            let columns = Columns::new("remediation", row);
            Ok((columns.parsed("item")?, columns.parsed("id")?))
        })?;
        Ok(pairs.into_iter().collect())
    }
}

fn narrow(query: &mut Builder, filter: &ItemFilter) {
    if let Some(asset) = &filter.asset {
        query.push(" AND item.asset = ").push_bind(asset.as_str().to_owned());
    }
    if let Some(name) = &filter.name {
        query.push(" AND item.name = ").push_bind(name.clone());
    }
    if let Some(part) = &filter.part {
        query.push(" AND instr(item.name, ").push_bind(part.clone()).push(") > 0");
    }
    if let Some(kind) = &filter.kind {
        query.push(" AND item.kind = ").push_bind(kind.clone());
    }
    if let Some(verdict) = filter.verdict {
        query.push(" AND item.verdict = ").push_bind(verdict.name());
    }
    if let Some(deployer) = &filter.deployer {
        query.push(" AND item.deployer = ").push_bind(name(deployer));
    }
    if let Some(wanted) = &filter.ids {
        query.push(" AND item.id IN (SELECT value FROM json_each(").push_bind(ids(wanted)).push("))");
    }
    if let Some(among) = &filter.among {
        query.push(" AND item.asset IN (SELECT value FROM json_each(").push_bind(ids(among)).push("))");
    }
    // Word for word as in the indexes that hold only such rows.
    if filter.actionable {
        query.push(" AND item.action IS NOT NULL");
    }
    if filter.wanted {
        query.push(" AND item.wanted = 1");
    }
    match filter.open {
        Some(true) => drop(query.push(" AND item.closed_at IS NULL")),
        Some(false) => drop(query.push(" AND item.closed_at IS NOT NULL")),
        None => {}
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
