//! Assessments: immutable. A new one is written only when it says something new.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use stanch_model::Digest;
use stanch_model::assessment::Assessment;
use stanch_model::id::ItemId;

use crate::column::{Columns, all, all_were_put, ids, json, micros};
use crate::db::{Builder, Conn, query};
use crate::entry::{ROWS, chunks};
use crate::error::{CommitError, ReadError};
use crate::item::rank_text;
use crate::store::Store;
use crate::transition::Effect;

const LAST: &str = "SELECT one.value AS item, \
     (SELECT a.digest FROM assessment a WHERE a.item = one.value ORDER BY a.at DESC LIMIT 1) AS digest \
     FROM json_each($1) one";
const RANK: &str = "UPDATE item SET rank = said.rank, deployer = said.deployer, exploited = said.exploited FROM \
     (SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS rank, \
     json_extract(value, '$[2]') AS deployer, CAST(json_extract(value, '$[3]') AS BIGINT) AS exploited FROM json_each($1)) said \
     WHERE item.id = said.id";
const PAST: &str = "SELECT body FROM assessment WHERE item = $1 ORDER BY at DESC LIMIT $2";

/// An assessment that says something new, with the digest of what it says and as it is kept.
struct New<'a> {
    assessment: &'a Assessment,
    digest: Digest,
    body: String,
}

pub(crate) async fn put(conn: &mut Conn, assessments: &[Assessment]) -> Result<Effect, CommitError> {
    let last = last(conn, assessments).await?;
    let mut new = Vec::with_capacity(assessments.len());
    for assessment in assessments {
        let id = assessment.item.as_str();
        let timeless = Assessment { at: Timestamp::UNIX_EPOCH, ..assessment.clone() };
        let digest = Digest::of_bytes(json("assessment", id, &timeless)?.as_bytes());
        if last.get(id) != Some(&digest) {
            new.push(New { assessment, digest, body: json("assessment", id, assessment)? });
        }
    }
    if new.is_empty() {
        return Ok(Effect::Unchanged);
    }
    for chunk in chunks(&new, ROWS) {
        insert(conn, chunk).await?;
    }
    let ranks = new.iter().map(|New { assessment, .. }| {
        let exploited = assessment.members.iter().any(|member| member.enrichment.kev.is_some());
        let rank = rank_text(&assessment.rank);
        (&assessment.item, (rank, assessment.deployer, i64::from(exploited)))
    });
    // The last word on an item counts.
    let ranks: BTreeMap<&ItemId, _> = ranks.collect();
    let ranks: Vec<_> =
        ranks.into_iter().map(|(item, (rank, deployer, exploited))| (item, rank, deployer, exploited)).collect();
    let ranks = json("assessment", "", &ranks)?;
    let done = query(RANK).bind(ranks).execute(conn).await;
    done.map_err(CommitError::database("rank items"))?;
    Ok(Effect::Done)
}

/// What was last said of these items.
async fn last(conn: &mut Conn, assessments: &[Assessment]) -> Result<HashMap<String, Digest>, CommitError> {
    let wanted = ids(assessments.iter().map(|assessment| &assessment.item));
    let rows = query(LAST).bind(wanted).fetch_all(conn).await;
    let rows = rows.map_err(CommitError::database("read assessments"))?;
    let read = rows.iter().filter_map(|row| {
        let columns = Columns::new("assessment", row);
        Some((columns.text("item").ok()?, columns.digest("digest").ok()?))
    });
    Ok(read.collect())
}

async fn insert(conn: &mut Conn, new: &[New<'_>]) -> Result<(), CommitError> {
    let mut query = Builder::new("INSERT INTO assessment (item, at, digest, body) ");
    query.push_values(new, |mut row, New { assessment, digest, body }| {
        row.push_bind(assessment.item.as_str())
            .push_bind(micros(assessment.at))
            .push_bind(digest.as_bytes().as_slice())
            .push_bind(body);
    });
    query.push(" ON CONFLICT (item, at) DO NOTHING RETURNING item");
    let put = query.build().fetch_all(conn).await.map_err(CommitError::database("store assessments"))?;
    all_were_put("assessment", new.iter().map(|new| &new.assessment.item), &put)
}

impl Store {
    /// Assessments of an item, newest first.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn assessments(&self, item: &ItemId, limit: u32) -> Result<Vec<Assessment>, ReadError> {
        let rows = query(PAST).bind(item.as_str()).bind(limit).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list assessments"))?, |row| Columns::new("assessment", row).json("body"))
    }
}
