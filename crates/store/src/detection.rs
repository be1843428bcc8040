//! What the detectors last said of an asset beside its findings: on what they ran, how much of it the data cover, and
//! what they could not look at.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_model::Digest;
use stanch_model::finding::{Coverage, FeedRef};
use stanch_model::id::AssetId;

use crate::column::{Columns, all, ids, json, micros, name};
use crate::db::{Conn, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// One run of the detectors on an asset; of several only the last is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detection {
    /// When they ran.
    pub at: Timestamp,
    /// Digest of the facts they ran on.
    pub facts: Digest,
    /// When those were read.
    pub facts_at: Timestamp,
    /// The edition of the feeds.
    pub knowledge: Digest,
    /// How much of the inventory the data cover.
    pub coverage: Coverage,
    /// What could not be judged, and why.
    pub blind_spots: Vec<String>,
    /// What is worth knowing beside that.
    pub notes: Vec<String>,
    /// The feeds that were asked.
    pub feeds: Vec<FeedRef>,
    /// What of the facts could not be read, and why.
    #[serde(default)]
    pub unread: Vec<(String, String)>,
    /// What runs there: `debian 12`; absent for what has no system.
    #[serde(default)]
    pub system: Option<String>,
    /// Other programs that change packages there by themselves; absent where that could not be told.
    #[serde(default)]
    pub updaters: Option<Vec<String>>,
}

/// The same thing said of some assets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// What is not known, where it is a fact that could not be read.
    pub fact: Option<String>,
    /// In words.
    pub why: String,
    /// Of so many assets.
    pub assets: u64,
    /// One of them.
    pub example: AssetId,
}

/// What of it is listed over all assets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Listed {
    /// Facts that could not be read.
    Unread,
    /// What could not be judged.
    BlindSpots,
    /// What is worth knowing.
    Notes,
}

const PUT: &str = "INSERT INTO detection (asset, with_data, without_feed, packages, body, at, facts_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (asset) DO UPDATE SET with_data = $2, without_feed = $3, \
     packages = $4, body = $5, at = $6, facts_at = $7";
const UNJUDGED: &str = "SELECT f.asset FROM facts f INDEXED BY facts_times LEFT JOIN detection d ON d.asset = f.asset \
     WHERE d.asset IS NULL OR d.facts_at <> f.collected_at ORDER BY f.asset";
const OF: &str = "SELECT asset, body FROM detection WHERE asset IN (SELECT value FROM json_each($1))";
const COVERAGE: &str = "SELECT CAST(COALESCE(SUM(with_data), 0) AS BIGINT) AS with_data, CAST(COALESCE(SUM(without_feed), 0) AS BIGINT) AS without_feed, \
     CAST(COALESCE(SUM(packages), 0) AS BIGINT) AS packages FROM detection \
     WHERE $1 IS NULL OR asset IN (SELECT value FROM json_each($1))";
const NEW_LINES: &str = "INSERT INTO detection_line (what, fact, why) SELECT json_extract(value, '$[0]'), \
     json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each($1) WHERE true ON CONFLICT DO NOTHING";
const UNSAY: &str = "DELETE FROM detection_said WHERE asset = $2 AND line NOT IN (SELECT line.id \
     FROM json_each($1) one JOIN detection_line line ON line.what = json_extract(one.value, '$[0]') \
     AND line.fact = json_extract(one.value, '$[1]') AND line.why = json_extract(one.value, '$[2]')) RETURNING line";
const FORGET: &str = "DELETE FROM detection_line WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_each($1)) \
     AND NOT EXISTS (SELECT 1 FROM detection_said WHERE line = detection_line.id)";
const SAY: &str = "INSERT INTO detection_said (line, asset) SELECT line.id, $2 FROM json_each($1) one \
     JOIN detection_line line ON line.what = json_extract(one.value, '$[0]') \
     AND line.fact = json_extract(one.value, '$[1]') AND line.why = json_extract(one.value, '$[2]') \
     WHERE true ON CONFLICT DO NOTHING";
const LINES: &str = "SELECT line.fact, line.why, COUNT(*) AS assets, MIN(said.asset) AS example \
     FROM detection_line line JOIN detection_said said ON said.line = line.id WHERE line.what = $1 \
     AND ($2 IS NULL OR said.asset IN (SELECT value FROM json_each($2))) \
     GROUP BY line.id ORDER BY 3 DESC, 1, 2 LIMIT $3";

pub(crate) async fn put(conn: &mut Conn, asset: &AssetId, detection: &Detection) -> Result<Effect, CommitError> {
    let Coverage { with_data, without_feed, packages } = detection.coverage;
    query(PUT)
        .bind(asset.as_str())
        .bind(with_data)
        .bind(without_feed)
        .bind(packages)
        .bind(json("detection", asset.as_str(), detection)?)
        .bind(micros(detection.at))
        .bind(micros(detection.facts_at))
        .execute(&mut *conn)
        .await
        .map_err(CommitError::database("store what detectors said"))?;
    let unread = detection.unread.iter().map(|(fact, why)| (Listed::Unread, fact.as_str(), why));
    let blind_spots = detection.blind_spots.iter().map(|why| (Listed::BlindSpots, "", why));
    let notes = detection.notes.iter().map(|why| (Listed::Notes, "", why));
    let lines: Vec<_> = unread.chain(blind_spots).chain(notes).collect();
    let told = json("detection", asset.as_str(), &lines)?;
    let failed = || CommitError::database("store what detectors said");
    let asset = asset.as_str();
    if !lines.is_empty() {
        query(NEW_LINES).bind(&told).execute(&mut *conn).await.map_err(failed())?;
        query(SAY).bind(&told).bind(asset).execute(&mut *conn).await.map_err(failed())?;
    }
    let unsaid = query(UNSAY).bind(&told).bind(asset).fetch_all(&mut *conn).await.map_err(failed())?;
    if !unsaid.is_empty() {
        let unsaid = unsaid.iter().filter_map(|row| Columns::new("detection", row).integer("line").ok());
        let unsaid = serde_json::Value::from_iter(unsaid).to_string();
        query(FORGET).bind(unsaid).execute(conn).await.map_err(failed())?;
    }
    Ok(Effect::Done)
}

impl Store {
    /// What the detectors last said of an asset.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn detection(&self, asset: &AssetId) -> Result<Option<Detection>, ReadError> {
        Ok(self.detections([asset]).await?.remove(asset))
    }

    /// What the detectors last said of these assets.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn detections<'a>(
        &self,
        assets: impl IntoIterator<Item = &'a AssetId>,
    ) -> Result<HashMap<AssetId, Detection>, ReadError> {
        let rows = query(OF).bind(ids(assets)).fetch_all(self.read()).await;
        let read = all(&rows.map_err(ReadError::database("read what detectors said"))?, |row| {
            let columns = Columns::new("detection", row);
            Ok((columns.parsed("asset")?, columns.json("body")?))
        })?;
        Ok(read.into_iter().collect())
    }

    /// The assets with facts on which no detector has run. It looks at every asset: asked once after a start.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn unjudged(&self) -> Result<Vec<AssetId>, ReadError> {
        let rows = query(UNJUDGED).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list what no detector ran on"))?, |row| {
            Columns::new("facts", row).parsed("asset")
        })
    }

    /// How much of the inventories of these assets the data cover; of all where none is named.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn coverage(&self, among: Option<&BTreeSet<AssetId>>) -> Result<Coverage, ReadError> {
        let row = query(COVERAGE).bind(among.map(ids)).fetch_one(self.read()).await;
        let row = row.map_err(ReadError::database("count what the data cover"))?;
        let columns = Columns::new("detection", &row);
        let number = |column| Ok(u32::try_from(columns.count(column)?).unwrap_or(u32::MAX));
        Ok(Coverage {
            with_data: number("with_data")?,
            without_feed: number("without_feed")?,
            packages: number("packages")?,
        })
    }

    /// What the detectors said of these assets, of all where none is named: what concerns most of them first, at most so
    /// many lines.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn said(
        &self,
        what: Listed,
        among: Option<&BTreeSet<AssetId>>,
        limit: u32,
    ) -> Result<Vec<Said>, ReadError> {
        let rows = query(LINES).bind(name(&what)).bind(among.map(ids)).bind(limit).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list what detectors said"))?, |row| {
            let columns = Columns::new("detection", row);
            Ok(Said {
                fact: Some(columns.text("fact")?).filter(|fact| !fact.is_empty()),
                why: columns.text("why")?,
                assets: columns.count("assets")?,
                example: columns.parsed("example")?,
            })
        })
    }
}
