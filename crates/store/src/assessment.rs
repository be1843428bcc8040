//! Assessments: immutable. A new one is written only when it says something new.

use jiff::Timestamp;
use stanch_model::Digest;
use stanch_model::assessment::Assessment;
use stanch_model::id::ItemId;

use crate::column::{Columns, Conn, all, json, micros, name};
use crate::error::{CommitError, ReadError};
use crate::item::rank_text;
use crate::store::Store;
use crate::transition::Effect;

const LAST: &str = "SELECT digest FROM assessment WHERE item = $1 ORDER BY at DESC LIMIT 1";
const PUT: &str = "INSERT INTO assessment (item, at, digest, body) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (item, at) DO NOTHING";
const RANK: &str = "UPDATE item SET rank = $1, deployer = $2, exploited = $3 WHERE id = $4";
const PAST: &str = "SELECT body FROM assessment WHERE item = $1 ORDER BY at DESC LIMIT $2";

pub(crate) async fn put(conn: &mut Conn, assessment: &Assessment) -> Result<Effect, CommitError> {
    let id = assessment.item.as_str();
    let timeless = Assessment { at: Timestamp::UNIX_EPOCH, ..assessment.clone() };
    let digest = Digest::of_bytes(json("assessment", id, &timeless)?.as_bytes());
    let last = sqlx::query(LAST)
        .bind(id)
        .fetch_optional(&mut *conn)
        .await
        .map_err(CommitError::database("read an assessment"))?;
    if last.is_some_and(|row| Columns::new("assessment", &row).digest("digest").is_ok_and(|last| last == digest)) {
        return Ok(Effect::Unchanged);
    }
    let done = sqlx::query(PUT)
        .bind(id)
        .bind(micros(assessment.at))
        .bind(digest.as_bytes().as_slice())
        .bind(json("assessment", id, assessment)?)
        .execute(&mut *conn)
        .await
        .map_err(CommitError::database("store an assessment"))?;
    if done.rows_affected() == 0 {
        return Err(CommitError::Exists { noun: "assessment", id: id.to_owned() });
    }
    sqlx::query(RANK)
        .bind(rank_text(&assessment.rank))
        .bind(name(&assessment.deployer))
        .bind(assessment.members.iter().any(|member| member.enrichment.kev.is_some()))
        .bind(id)
        .execute(conn)
        .await
        .map_err(CommitError::database("rank an item"))?;
    Ok(Effect::Done)
}

impl Store {
    /// Assessments of an item, newest first.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn assessments(&self, item: &ItemId, limit: u32) -> Result<Vec<Assessment>, ReadError> {
        let rows = sqlx::query(PAST).bind(item.as_str()).bind(limit).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list assessments"))?, |row| Columns::new("assessment", row).json("body"))
    }
}
