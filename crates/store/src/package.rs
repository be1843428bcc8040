//! Packages on assets, beside the facts that tell of them: what advisories could name where, so that an advisory finds its
//! assets by the name it uses, and what was installed when.
//!
//! Both are kept with the facts in one transition, and only what is different is written: facts that tell of the same
//! packages cost one comparison of digests.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::{SignedDuration, Timestamp};
use stanch_model::Digest;
use stanch_model::ecosystem;
use stanch_model::facts::{Carried, HostFacts};
use stanch_model::id::AssetId;

use crate::column::{Columns, all, json, micros, optional_micros};
use crate::db::{Builder, Conn, Row, query};
use crate::error::{CommitError, ReadError};
use crate::facts::NewFacts;
use crate::store::Store;

/// Packages of one asset that are kept: facts may be as large as their host likes.
pub const MOST: usize = 50_000;
/// How long it is kept what was installed once and is not any more.
pub const KEPT: SignedDuration = SignedDuration::from_hours(24 * 400);
/// So much of it of one asset at most; the oldest is dropped.
pub const MOST_PAST: u32 = 20_000;

/// A package in one version, as long as facts showed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledVersion {
    /// The package or component.
    pub package: String,
    /// What tells it from others of its name there: an architecture, or the package URL without version.
    pub place: String,
    /// The version.
    pub version: String,
    /// When the first facts were read that showed it.
    pub from: Timestamp,
    /// When the first facts were read that did not any more; absent while they do.
    pub until: Option<Timestamp>,
    /// When it was installed, as the host says.
    pub installed_at: Option<Timestamp>,
    /// It was there when the asset's facts were first read.
    pub baseline: bool,
}

/// Of what is installed, what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionsOf {
    /// All of it, the newest first.
    All,
    /// What was there then.
    At(Timestamp),
    /// What came or went since facts were first read, the last change first.
    Changes,
}

/// The most bytes of a name or version that is kept: a database bounds what it finds again.
const LONGEST: usize = 512;

/// Whether a name or version is kept. Facts are a host's own words; what is longer, or no text of one line, names nothing
/// that an advisory could.
pub(crate) fn is_kept(text: &str) -> bool {
    text.len() <= LONGEST && !text.chars().any(char::is_control)
}

const INVENTORY: &str = "SELECT inventory FROM facts WHERE asset = $1";
const TAKE_STOCK: &str = "UPDATE facts SET inventory = $2 WHERE asset = $1";
const CARRIED: &str = "SELECT ecosystem, name, version FROM carried WHERE asset = $1";
const DROP: &str = "DELETE FROM carried WHERE asset = $1 AND (ecosystem, name, version) IN (SELECT \
     json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each($2))";
const CARRY: &str = "INSERT INTO carried (asset, ecosystem, name, version) SELECT $1, json_extract(value, '$[0]'), \
     json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each($2) WHERE true ON CONFLICT DO NOTHING";
const KNOWN: &str = "SELECT 1 AS one FROM installed WHERE asset = $1 LIMIT 1";
const NOW: &str = "SELECT package, place, version FROM installed WHERE asset = $1 AND seen_until IS NULL";
const END: &str = "UPDATE installed SET seen_until = $2 WHERE asset = $1 AND seen_until IS NULL \
     AND (package, place, version) IN (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), \
     json_extract(value, '$[2]') FROM json_each($3))";
const BEGIN: &str = "INSERT INTO installed (asset, package, place, version, seen_from, installed_at, baseline) \
     SELECT $1, json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), $2, \
     CAST(json_extract(value, '$[3]') AS BIGINT), $4 FROM json_each($3) WHERE true ON CONFLICT DO NOTHING";
const FORGET: &str = "DELETE FROM installed WHERE asset = $1 AND seen_until < $2";
const TOO_MANY: &str = "DELETE FROM installed WHERE asset = $1 AND seen_until <= (SELECT past.seen_until \
     FROM installed past WHERE past.asset = $1 AND past.seen_until IS NOT NULL ORDER BY past.seen_until DESC \
     LIMIT 1 OFFSET $2)";
const NEXT_ECOSYSTEM: &str = "SELECT MIN(ecosystem) AS ecosystem FROM carried WHERE ecosystem > $1";
const FIRST: &str = "SELECT MIN(seen_from) AS seen_from FROM installed WHERE asset = $1";

/// What facts say is installed, by name, place and version, with the time at which the host says it was.
fn installed(facts: &HostFacts) -> BTreeMap<(String, String, String), Option<i64>> {
    let packages = facts.packages.iter().map(|package| {
        let named = (package.name.clone(), package.architecture.clone(), package.version.to_string());
        (named, optional_micros(package.installed_at))
    });
    let components = facts.components.iter().map(|component| {
        let place = ecosystem::without_version(&component.purl).unwrap_or_default().into_owned();
        ((component.name.clone(), place, component.version.clone()), None)
    });
    let kept = |((package, place, version), _): &((String, String, String), _)| {
        [package, place, version].into_iter().all(|text| is_kept(text))
    };
    packages.chain(components).filter(kept).take(MOST).collect()
}

/// Keeps what new facts say of packages, where that is something else than before.
pub(crate) async fn keep(conn: &mut Conn, new: &NewFacts) -> Result<(), CommitError> {
    let failed = || CommitError::database("keep what is installed");
    let asset = new.facts.asset.id.as_str();
    let there = installed(&new.facts);
    let kept = |one: &&Carried| [&one.ecosystem, &one.name, &one.version].into_iter().all(|text| is_kept(text));
    let carried: BTreeSet<&Carried> = new.carried.iter().filter(kept).take(MOST).collect();
    let listed: Vec<_> = there.iter().collect();
    let digest = Digest::of_bytes(json("packages", asset, &(&listed, &carried))?.as_bytes());
    let known = query(INVENTORY).bind(asset).fetch_optional(&mut *conn).await.map_err(failed())?;
    if known.and_then(|row| row.bytes("inventory").ok().flatten()).is_some_and(|known| known == digest.as_bytes()) {
        return Ok(());
    }
    carry(conn, asset, &carried).await?;
    note(conn, new, &there).await?;
    query(TAKE_STOCK).bind(asset).bind(digest.as_bytes().as_slice()).execute(conn).await.map_err(failed())?;
    Ok(())
}

fn three(row: &Row, columns: [&str; 3]) -> Option<(String, String, String)> {
    let text = |column| row.text(column).ok().flatten();
    let [one, two, three] = columns;
    Some((text(one)?, text(two)?, text(three)?))
}

async fn carry(conn: &mut Conn, asset: &str, carried: &BTreeSet<&Carried>) -> Result<(), CommitError> {
    let failed = || CommitError::database("keep what advisories could name");
    let rows = query(CARRIED).bind(asset).fetch_all(&mut *conn).await.map_err(failed())?;
    let before: HashSet<_> = rows.iter().filter_map(|row| three(row, ["ecosystem", "name", "version"])).collect();
    let now: HashSet<_> =
        carried.iter().map(|one| (one.ecosystem.clone(), one.name.clone(), one.version.clone())).collect();
    for (statement, rows) in [(DROP, before.difference(&now)), (CARRY, now.difference(&before))] {
        let rows: Vec<_> = rows.collect();
        if !rows.is_empty() {
            let rows = json("packages", asset, &rows)?;
            query(statement).bind(asset).bind(rows).execute(&mut *conn).await.map_err(failed())?;
        }
    }
    Ok(())
}

async fn note(
    conn: &mut Conn,
    new: &NewFacts,
    there: &BTreeMap<(String, String, String), Option<i64>>,
) -> Result<(), CommitError> {
    let failed = || CommitError::database("note what was installed when");
    let (asset, read_at) = (new.facts.asset.id.as_str(), micros(new.facts.collected_at));
    let baseline = query(KNOWN).bind(asset).fetch_optional(&mut *conn).await.map_err(failed())?.is_none();
    let rows = query(NOW).bind(asset).fetch_all(&mut *conn).await.map_err(failed())?;
    let before: HashSet<_> = rows.iter().filter_map(|row| three(row, ["package", "place", "version"])).collect();
    let gone: Vec<_> = before.iter().filter(|one| !there.contains_key(*one)).collect();
    if !gone.is_empty() {
        let gone = json("packages", asset, &gone)?;
        query(END).bind(asset).bind(read_at).bind(gone).execute(&mut *conn).await.map_err(failed())?;
    }
    let came = there.iter().filter(|(one, _)| !before.contains(*one));
    let came: Vec<_> = came.map(|((package, place, version), at)| (package, place, version, at)).collect();
    if !came.is_empty() {
        let came = json("packages", asset, &came)?;
        let begin = query(BEGIN).bind(asset).bind(read_at).bind(came).bind(baseline);
        begin.execute(&mut *conn).await.map_err(failed())?;
    }
    let oldest = new.at.checked_sub(KEPT).unwrap_or(Timestamp::MIN);
    query(FORGET).bind(asset).bind(micros(oldest)).execute(&mut *conn).await.map_err(failed())?;
    query(TOO_MANY).bind(asset).bind(MOST_PAST).execute(conn).await.map_err(failed())?;
    Ok(())
}

fn read(row: &Row) -> Result<InstalledVersion, ReadError> {
    let columns = Columns::new("installed version", row);
    Ok(InstalledVersion {
        package: columns.text("package")?,
        place: columns.text("place")?,
        version: columns.text("version")?,
        from: columns.time("seen_from")?,
        until: columns.optional_time("seen_until")?,
        installed_at: columns.optional_time("installed_at")?,
        baseline: columns.integer("baseline")? > 0,
    })
}

impl Store {
    /// What was installed on an asset when, of one package or all, at most so many. What is gone is kept for [`KEPT`].
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn installed(
        &self,
        asset: &AssetId,
        package: Option<&str>,
        which: VersionsOf,
        limit: u32,
    ) -> Result<Vec<InstalledVersion>, ReadError> {
        let mut query = Builder::new(
            "SELECT package, place, version, seen_from, seen_until, installed_at, baseline FROM installed WHERE asset = ",
        );
        query.push_bind(asset.as_str());
        if let Some(package) = package {
            query.push(" AND package = ").push_bind(package);
        }
        let mut order = " ORDER BY seen_from DESC, package, place, version LIMIT ";
        match which {
            VersionsOf::All => {}
            VersionsOf::At(at) => {
                query.push(" AND seen_from <= ").push_bind(micros(at));
                query.push(" AND (seen_until IS NULL OR seen_until > ").push_bind(micros(at)).push(")");
            }
            VersionsOf::Changes => {
                query.push(" AND (baseline = 0 OR seen_until IS NOT NULL)");
                order = " ORDER BY COALESCE(seen_until, seen_from) DESC, package, place, version LIMIT ";
            }
        }
        query.push(order).push_bind(limit);
        let rows = query.build().fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list what was installed"))?, read)
    }

    /// Since when it is known what is installed on an asset; not at all where its facts were never read.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn installed_since(&self, asset: &AssetId) -> Result<Option<Timestamp>, ReadError> {
        let row = query(FIRST).bind(asset.as_str()).fetch_one(self.read()).await;
        let row = row.map_err(ReadError::database("look since when packages are known"))?;
        Columns::new("installed version", &row).optional_time("seen_from")
    }

    /// The ecosystems of which anything is installed anywhere. It costs a step for each of them, however many assets
    /// there are.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn ecosystems(&self) -> Result<BTreeSet<String>, ReadError> {
        let mut found = BTreeSet::new();
        let mut last = String::new();
        loop {
            let row = query(NEXT_ECOSYSTEM).bind(&last).fetch_one(self.read()).await;
            let row = row.map_err(ReadError::database("list ecosystems"))?;
            let Some(next) = Columns::new("ecosystem", &row).optional_text("ecosystem")? else { return Ok(found) };
            last.clone_from(&next);
            found.insert(next);
        }
    }
}
