//! Findings: what is open on an asset and what no longer is. A run of detectors is one write: it opens what is new,
//! updates what changed and closes what it no longer sees, thousands at a time.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_model::Digest;
use stanch_model::finding::{Detector, Finding, Verdict, fingerprint};
use stanch_model::id::{AssetId, FindingId, ItemId};

use crate::column::{Columns, all, ids, json, micros};
use crate::db::{Builder, Conn, Row, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// Rows in one statement: far below every database's limit on parameters.
const CHUNK: usize = 200;

/// How a finding ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClosedAs {
    /// The target changed, and the check no longer sees it.
    Fixed,
    /// The data changed, not the target.
    Withdrawn,
    /// What it was about is no longer there.
    Gone,
}

/// A run of detectors on one asset.
#[derive(Debug, Clone)]
pub struct SyncFindings {
    /// The asset.
    pub asset: AssetId,
    /// The detectors that ran. Only their findings are closed.
    pub detectors: Vec<Detector>,
    /// All that they see now.
    pub findings: Vec<Finding>,
    /// When.
    pub at: Timestamp,
    /// How findings ended that they no longer see.
    pub closed_as: ClosedAs,
    /// Those of them that ended otherwise.
    pub otherwise: BTreeMap<FindingId, ClosedAs>,
}

/// What a run of detectors changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FindingChanges {
    /// Seen for the first time.
    pub opened: Vec<FindingId>,
    /// Seen again after they were closed.
    pub reopened: Vec<FindingId>,
    /// Still open, and something about them changed.
    pub updated: Vec<FindingId>,
    /// Closed.
    pub closed: Vec<FindingId>,
    /// Still open, nothing changed.
    pub unchanged: u64,
}

/// A finding as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFinding {
    /// The finding as last seen.
    pub finding: Finding,
    /// The item it belongs to.
    pub item: Option<ItemId>,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// When it was last seen.
    pub last_seen: Timestamp,
    /// When it was closed, and how.
    pub closed: Option<(Timestamp, ClosedAs)>,
    /// How often it came back after being closed.
    pub reopened: u32,
}

/// Which findings to list. What is absent does not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FindingFilter {
    /// On this asset.
    pub asset: Option<AssetId>,
    /// Of this item.
    pub item: Option<ItemId>,
    /// Of one of these items.
    pub items: Option<Vec<ItemId>>,
    /// Only these.
    pub ids: Option<Vec<FindingId>>,
    /// Only on one of these assets.
    pub among: Option<BTreeSet<AssetId>>,
    /// By this detector.
    pub detector: Option<Detector>,
    /// With this verdict.
    pub verdict: Option<Verdict>,
    /// Of this source package.
    pub package: Option<String>,
    /// With this advisory id.
    pub id: Option<String>,
    /// Open ones, or closed ones.
    pub open: Option<bool>,
}

const KNOWN: &str = "SELECT fingerprint, detector, digest, closed_at FROM finding WHERE asset = $1 \
     AND detector IN (SELECT value FROM json_each($2))";
const COLUMNS: &str = "SELECT body, item, first_seen, last_seen, closed_at, closed_as, reopened FROM finding";
const FIRST: &str = "SELECT body FROM finding WHERE detector = 'advisory' ORDER BY fingerprint LIMIT 1";
const COUNT_DAY: &str = "INSERT INTO finding_day (day, detector, opened, fixed, withdrawn, gone) \
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (day, detector) DO UPDATE SET \
     opened = finding_day.opened + $3, fixed = finding_day.fixed + $4, \
     withdrawn = finding_day.withdrawn + $5, gone = finding_day.gone + $6";
const SEEN: &str = "UPDATE finding SET last_seen = $1 WHERE asset = $2 \
     AND detector IN (SELECT value FROM json_each($3)) AND closed_at IS NULL AND last_seen <> $1";

/// What the store knows of a finding before a run.
struct Known {
    detector: Detector,
    digest: Digest,
    open: bool,
}

#[derive(Default)]
struct Day {
    opened: i64,
    fixed: i64,
    withdrawn: i64,
    gone: i64,
}

pub(crate) async fn sync(conn: &mut Conn, run: &SyncFindings) -> Result<Effect, CommitError> {
    let known = known(conn, run).await?;
    let mut changes = FindingChanges::default();
    let mut days: BTreeMap<Detector, Day> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut rows = Vec::new();
    for finding in &run.findings {
        let id = &finding.fingerprint;
        if finding.asset != run.asset || !run.detectors.contains(&finding.detector) {
            let detail = "it belongs to another asset or detector than the run".to_owned();
            return Err(CommitError::Encode { noun: "finding", id: id.to_string(), detail });
        }
        if !seen.insert(id) {
            continue;
        }
        let body = json("finding", id.as_str(), finding)?;
        let digest = Digest::of_bytes(body.as_bytes());
        match known.get(id) {
            Some(before) if before.open && before.digest == digest => {
                changes.unchanged += 1;
                continue;
            }
            Some(before) if before.open => changes.updated.push(id.clone()),
            Some(_) => {
                changes.reopened.push(id.clone());
                days.entry(finding.detector).or_default().opened += 1;
            }
            None => {
                changes.opened.push(id.clone());
                days.entry(finding.detector).or_default().opened += 1;
            }
        }
        rows.push((finding, body, digest));
    }
    for chunk in rows.chunks(CHUNK) {
        upsert(conn, chunk, run.at).await?;
    }
    crate::problem::name(&mut *conn, rows.iter().map(|(finding, ..)| *finding)).await?;
    for (ended, ids) in ended(run, &known, &seen, &mut days) {
        for chunk in ids.chunks(CHUNK) {
            close(conn, chunk, ended, run.at).await?;
        }
        changes.closed.extend(ids);
    }
    query(SEEN)
        .bind(micros(run.at))
        .bind(run.asset.as_str())
        .bind(names(&run.detectors))
        .execute(&mut *conn)
        .await
        .map_err(CommitError::database("see findings"))?;
    count(conn, run.at, &days).await?;
    Ok(Effect::Findings(changes))
}

async fn known(conn: &mut Conn, run: &SyncFindings) -> Result<BTreeMap<FindingId, Known>, CommitError> {
    let rows = query(KNOWN).bind(run.asset.as_str()).bind(names(&run.detectors)).fetch_all(conn).await;
    let known = all(&rows.map_err(CommitError::database("read findings"))?, read_known);
    known.map(|known| known.into_iter().collect()).map_err(|error| CommitError::Encode {
        noun: "finding",
        id: run.asset.to_string(),
        detail: error.to_string(),
    })
}

fn names(detectors: &[Detector]) -> String {
    serde_json::Value::from_iter(detectors.iter().map(|detector| detector.name())).to_string()
}

fn read_known(row: &Row) -> Result<(FindingId, Known), ReadError> {
    let columns = Columns::new("finding", row);
    let open = columns.optional_time("closed_at")?.is_none();
    let known = Known { detector: columns.named("detector")?, digest: columns.digest("digest")?, open };
    Ok((columns.parsed("fingerprint")?, known))
}

/// What was open and is no longer seen, by how it ended.
fn ended(
    run: &SyncFindings,
    known: &BTreeMap<FindingId, Known>,
    seen: &BTreeSet<&FindingId>,
    days: &mut BTreeMap<Detector, Day>,
) -> BTreeMap<ClosedAs, Vec<FindingId>> {
    let mut ended: BTreeMap<ClosedAs, Vec<FindingId>> = BTreeMap::new();
    for (id, before) in known.iter().filter(|(id, before)| before.open && !seen.contains(id)) {
        let how = run.otherwise.get(id).copied().unwrap_or(run.closed_as);
        let day = days.entry(before.detector).or_default();
        match how {
            ClosedAs::Fixed => day.fixed += 1,
            ClosedAs::Withdrawn => day.withdrawn += 1,
            ClosedAs::Gone => day.gone += 1,
        }
        ended.entry(how).or_default().push(id.clone());
    }
    ended
}

async fn upsert(conn: &mut Conn, rows: &[(&Finding, String, Digest)], at: Timestamp) -> Result<(), CommitError> {
    let mut query = Builder::new(
        "INSERT INTO finding (fingerprint, asset, detector, verdict, id, package, body, digest, first_seen, \
         last_seen, reopened) ",
    );
    query.push_values(rows, |mut row, (finding, body, digest)| {
        row.push_bind(finding.fingerprint.as_str())
            .push_bind(finding.asset.as_str())
            .push_bind(finding.detector.name())
            .push_bind(finding.verdict.name())
            .push_bind(&finding.id)
            .push_bind(&finding.package)
            .push_bind(body)
            .push_bind(digest.as_bytes().as_slice())
            .push_bind(micros(at))
            .push_bind(micros(at))
            .push_bind(0_i64);
    });
    query.push(
        " ON CONFLICT (fingerprint) DO UPDATE SET verdict = excluded.verdict, body = excluded.body, \
         digest = excluded.digest, last_seen = excluded.last_seen, \
         reopened = finding.reopened + CASE WHEN finding.closed_at IS NULL THEN 0 ELSE 1 END, \
         closed_at = NULL, closed_as = NULL",
    );
    query.build().execute(conn).await.map_err(CommitError::database("store findings"))?;
    Ok(())
}

async fn close(conn: &mut Conn, ids: &[FindingId], how: ClosedAs, at: Timestamp) -> Result<(), CommitError> {
    let mut query = Builder::new("UPDATE finding SET closed_at = ");
    query.push_bind(micros(at)).push(", closed_as = ").push_bind(crate::column::name(&how));
    query.push(" WHERE fingerprint IN (");
    let mut list = query.separated(", ");
    for id in ids {
        list.push_bind(id.as_str());
    }
    query.push(")");
    query.build().execute(conn).await.map_err(CommitError::database("close findings"))?;
    Ok(())
}

async fn count(conn: &mut Conn, at: Timestamp, days: &BTreeMap<Detector, Day>) -> Result<(), CommitError> {
    let date = jiff::tz::Offset::UTC.to_datetime(at).date().to_string();
    for (detector, day) in days {
        query(COUNT_DAY)
            .bind(&date)
            .bind(detector.name())
            .bind(day.opened)
            .bind(day.fixed)
            .bind(day.withdrawn)
            .bind(day.gone)
            .execute(&mut *conn)
            .await
            .map_err(CommitError::database("count findings"))?;
    }
    Ok(())
}

/// Whether the first finding of an advisory, if there is one, has the id that it would be given today.
pub(crate) async fn have_todays_ids(conn: &mut Conn) -> Result<bool, ReadError> {
    let row = query(FIRST).fetch_optional(conn).await.map_err(ReadError::database("read a finding"))?;
    let Some(row) = row else { return Ok(true) };
    let finding: Finding = Columns::new("finding", &row).json("body")?;
    let today = fingerprint(&finding.asset, finding.detector, &finding.id, &finding.binary);
    Ok(finding.fingerprint == today)
}

fn read(row: &Row) -> Result<StoredFinding, ReadError> {
    let columns = Columns::new("finding", row);
    let closed = match columns.optional_time("closed_at")? {
        Some(at) => Some((at, columns.named("closed_as")?)),
        None => None,
    };
    Ok(StoredFinding {
        finding: columns.json("body")?,
        item: columns.optional_parsed("item")?,
        first_seen: columns.time("first_seen")?,
        last_seen: columns.time("last_seen")?,
        closed,
        reopened: columns.small("reopened")?,
    })
}

impl Store {
    /// One finding.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn finding(&self, fingerprint: &FindingId) -> Result<Option<StoredFinding>, ReadError> {
        let mut query = Builder::new(COLUMNS);
        query.push(" WHERE fingerprint = ").push_bind(fingerprint.as_str());
        let row = query.build().fetch_optional(self.read()).await;
        row.map_err(ReadError::database("read a finding"))?.as_ref().map(read).transpose()
    }

    /// Findings in the order of their fingerprints, after the one given.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn findings(
        &self,
        filter: &FindingFilter,
        after: Option<&FindingId>,
        limit: u32,
    ) -> Result<Vec<StoredFinding>, ReadError> {
        let mut query = Builder::new(COLUMNS);
        query.push(" WHERE fingerprint > ").push_bind(after.map_or("", FindingId::as_str));
        narrow(&mut query, filter);
        query.push(" ORDER BY fingerprint LIMIT ").push_bind(limit);
        let rows = query.build().fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list findings"))?, read)
    }
}

fn narrow(query: &mut Builder, filter: &FindingFilter) {
    if let Some(asset) = &filter.asset {
        query.push(" AND asset = ").push_bind(asset.as_str().to_owned());
    }
    if let Some(item) = &filter.item {
        query.push(" AND item = ").push_bind(item.as_str().to_owned());
    }
    if let Some(among) = &filter.among {
        query.push(" AND asset IN (SELECT value FROM json_each(").push_bind(ids(among)).push("))");
    }
    if let Some(wanted) = &filter.ids {
        query.push(" AND fingerprint IN (SELECT value FROM json_each(").push_bind(ids(wanted)).push("))");
    }
    if let Some(items) = &filter.items {
        query.push(" AND item IN (SELECT value FROM json_each(").push_bind(ids(items)).push("))");
    }
    if let Some(detector) = filter.detector {
        query.push(" AND detector = ").push_bind(detector.name());
    }
    if let Some(verdict) = filter.verdict {
        query.push(" AND verdict = ").push_bind(verdict.name());
    }
    if let Some(package) = &filter.package {
        query.push(" AND package = ").push_bind(package.clone());
    }
    if let Some(id) = &filter.id {
        query.push(" AND id = ").push_bind(id.clone());
    }
    match filter.open {
        Some(true) => drop(query.push(" AND closed_at IS NULL")),
        Some(false) => drop(query.push(" AND closed_at IS NOT NULL")),
        None => {}
    }
}
