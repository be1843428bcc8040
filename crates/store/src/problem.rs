//! One problem wherever it was found, under whatever name people know it: a CVE, or what a publisher calls it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use stanch_model::finding::{Detector, Finding, Verdict};
use stanch_model::id::{AssetId, FindingId, ItemId};

use crate::column::{Columns, all, ids, json};
use crate::db::{Conn, Row, query};
use crate::error::{CommitError, ReadError};
use crate::finding::ClosedAs;
use crate::store::Store;

/// Where a problem was found, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The finding.
    pub finding: FindingId,
    /// On what.
    pub asset: AssetId,
    /// The source package or component that has it.
    pub package: String,
    /// What the check says.
    pub verdict: Verdict,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// When it was closed, and how.
    pub closed: Option<(Timestamp, ClosedAs)>,
    /// The item it belongs to.
    pub item: Option<ItemId>,
    /// The version that closes that item; empty where there is none.
    pub item_fixed_version: String,
    /// A rule of the policies fired on it.
    pub ruled: bool,
    /// Its risk was accepted.
    pub accepted: bool,
}

const NAME: &str = "INSERT INTO alias (name, advisory) SELECT json_extract(value, '$[0]'), \
     json_extract(value, '$[1]') FROM json_each($1) WHERE true ON CONFLICT DO NOTHING";
// The detector is named word for word as in the index that holds only such rows.
const HITS: &str = "SELECT f.fingerprint, f.asset, f.package, f.verdict, f.first_seen, f.closed_at, f.closed_as, f.item, \
     COALESCE(i.fixed_version, '') AS item_fixed_version, COALESCE(r.fires, 0) AS ruled, \
     COALESCE(r.accepted, 0) AS accepted \
     FROM finding f LEFT JOIN item i ON i.id = f.item LEFT JOIN ruling r ON r.id = i.ruling \
     WHERE f.detector = 'advisory' AND f.id IN (SELECT advisory FROM alias WHERE alias.name = $1 COLLATE NOCASE) \
     AND ($2 IS NULL OR f.asset IN (SELECT value FROM json_each($2))) ORDER BY f.asset, f.fingerprint LIMIT $3";
const NAMES: &str = "SELECT DISTINCT other.name FROM alias one JOIN alias other ON other.advisory = one.advisory \
     WHERE one.name = $1 COLLATE NOCASE ORDER BY other.name LIMIT $2";

/// Notes under which names these problems are known.
pub(crate) async fn name(conn: &mut Conn, findings: impl Iterator<Item = &Finding>) -> Result<(), CommitError> {
    let of_advisories = findings.filter(|finding| finding.detector == Detector::Advisory);
    let named = |finding: &Finding| {
        let names = std::iter::once(&finding.id).chain(&finding.aliases).cloned().chain(finding.cves());
        names.map(|name| (name, finding.id.clone())).collect::<Vec<_>>()
    };
    let pairs: BTreeSet<(String, String)> = of_advisories.flat_map(named).collect();
    if pairs.is_empty() {
        return Ok(());
    }
    let done = query(NAME).bind(json("alias", "", &pairs)?).execute(conn).await;
    done.map_err(CommitError::database("note how problems are called"))?;
    Ok(())
}

fn read(row: &Row) -> Result<Hit, ReadError> {
    let columns = Columns::new("finding", row);
    let closed = match columns.optional_time("closed_at")? {
        Some(at) => Some((at, columns.named("closed_as")?)),
        None => None,
    };
    Ok(Hit {
        finding: columns.parsed("fingerprint")?,
        asset: columns.parsed("asset")?,
        package: columns.text("package")?,
        verdict: columns.named("verdict")?,
        first_seen: columns.time("first_seen")?,
        closed,
        item: columns.optional_parsed("item")?,
        item_fixed_version: columns.text("item_fixed_version")?,
        ruled: columns.count("ruled")? > 0,
        accepted: columns.count("accepted")? > 0,
    })
}

impl Store {
    /// Where the problem of this name was found, open and closed, asset by asset, at most so many places. It costs as
    /// much as those are.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn hits(&self, name: &str, among: Option<&BTreeSet<AssetId>>, limit: u32) -> Result<Vec<Hit>, ReadError> {
        let rows = query(HITS).bind(name).bind(among.map(ids)).bind(limit).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("look where a problem was found"))?, read)
    }

    /// Under which names the problem of this name is known where it was found, at most so many.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn names_of(&self, name: &str, limit: u32) -> Result<Vec<String>, ReadError> {
        let rows = query(NAMES).bind(name).bind(limit).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("look how a problem is called"))?, |row| {
            Columns::new("alias", row).text("name")
        })
    }
}
