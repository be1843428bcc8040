//! Facts: the latest of each asset, whole, and the digests of those before, to show when something moved. What they say of
//! packages is kept beside them ([`crate::package`]).

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use stanch_model::Digest;
use stanch_model::facts::{Carried, HostFacts};
use stanch_model::id::AssetId;

use crate::column::{Columns, all, ids, json, micros, number};
use crate::db::{Conn, Row, query};
use crate::error::{CommitError, ReadError};
use crate::package;
use crate::store::Store;
use crate::transition::Effect;

/// Digests kept of one asset; older ones are dropped.
pub const HISTORY: u32 = 1_000;

/// Facts that arrived.
#[derive(Debug, Clone)]
pub struct NewFacts {
    /// The facts; their asset must have been seen.
    pub facts: HostFacts,
    /// What advisories could name there.
    pub carried: BTreeSet<Carried>,
    /// Digest of what lasts of them, as their executor told them.
    pub told: Digest,
    /// They were told whole.
    pub whole: bool,
    /// The store's epoch.
    pub epoch: u64,
    /// When they arrived.
    pub at: Timestamp,
}

/// What an executor's next facts may be told as a difference from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Digest of what lasts of the facts at hand; absent when they are not to be built on.
    pub digest: Option<Digest>,
    /// When they were last told whole.
    pub whole_at: Timestamp,
    /// The epoch in which they were told.
    pub epoch: u64,
}

/// Facts as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFacts {
    /// The facts.
    pub facts: HostFacts,
    /// Digest of their JSON text.
    pub digest: Digest,
    /// When they arrived.
    pub stored_at: Timestamp,
}

const PUT: &str = "INSERT INTO facts (asset, collected_at, stored_at, digest, body, ill, os, told, epoch, whole_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
     ON CONFLICT (asset) DO UPDATE SET collected_at = $2, stored_at = $3, digest = $4, body = $5, ill = $6, os = $7, \
     told = $8, epoch = $9, whole_at = CASE WHEN $10 > 0 THEN $10 ELSE facts.whole_at END \
     WHERE facts.collected_at <= $2";
const DOUBT: &str = "UPDATE facts SET told = NULL WHERE asset = $1";
const TOLD: &str = "SELECT told, whole_at, epoch FROM facts WHERE asset = $1";
const ANY: &str = "SELECT 1 AS one FROM facts LIMIT 1";
const REMEMBER: &str = "INSERT INTO facts_history (asset, collected_at, digest) VALUES ($1, $2, $3) \
     ON CONFLICT (asset, collected_at) DO NOTHING";
const FORGET: &str = "DELETE FROM facts_history WHERE asset = $1 AND collected_at < (SELECT MIN(collected_at) FROM \
     (SELECT collected_at FROM facts_history WHERE asset = $1 ORDER BY collected_at DESC LIMIT $2) AS kept)";
const ONE: &str = "SELECT body, digest, stored_at FROM facts WHERE asset = $1";
const TIMES: &str = "SELECT asset, collected_at FROM facts INDEXED BY facts_times \
     WHERE asset IN (SELECT value FROM json_each($1))";
const TIME: &str = "SELECT collected_at FROM facts WHERE asset = $1";
const ILL: &str = "SELECT asset FROM facts WHERE ill = 1";
const PAST: &str =
    "SELECT collected_at, digest FROM facts_history WHERE asset = $1 ORDER BY collected_at DESC LIMIT $2";

/// Facts older than those that are there change nothing.
pub(crate) async fn put(conn: &mut Conn, new: &NewFacts) -> Result<Effect, CommitError> {
    let id = new.facts.asset.id.as_str();
    let body = json("facts", id, &new.facts)?;
    let digest = Digest::of_bytes(body.as_bytes());
    let collected = micros(new.facts.collected_at);
    let done = query(PUT)
        .bind(id)
        .bind(collected)
        .bind(micros(new.at))
        .bind(digest.as_bytes().as_slice())
        .bind(body)
        .bind(new.facts.health.iter().any(|probe| !probe.well))
        .bind(&new.facts.os.pretty_name)
        .bind(new.told.as_bytes().as_slice())
        .bind(number("facts", id, new.epoch)?)
        .bind(if new.whole { micros(new.at) } else { 0 })
        .execute(&mut *conn)
        .await
        .map_err(CommitError::database("store facts"))?;
    if done == 0 {
        return Ok(Effect::Unchanged);
    }
    query(REMEMBER)
        .bind(id)
        .bind(collected)
        .bind(digest.as_bytes().as_slice())
        .execute(&mut *conn)
        .await
        .map_err(CommitError::database("remember facts"))?;
    query(FORGET).bind(id).bind(HISTORY).execute(&mut *conn).await.map_err(CommitError::database("forget facts"))?;
    package::keep(conn, new).await?;
    Ok(Effect::Done)
}

/// What is at hand is not to be built on: the next facts are to come whole.
pub(crate) async fn doubt(conn: &mut Conn, asset: &AssetId) -> Result<Effect, CommitError> {
    let done = query(DOUBT).bind(asset.as_str()).execute(conn).await;
    done.map_err(CommitError::database("doubt facts"))?;
    Ok(Effect::Done)
}

fn read(row: &Row) -> Result<StoredFacts, ReadError> {
    let columns = Columns::new("facts", row);
    Ok(StoredFacts {
        facts: columns.json("body")?,
        digest: columns.digest("digest")?,
        stored_at: columns.time("stored_at")?,
    })
}

impl Store {
    /// The latest facts of an asset.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn facts(&self, asset: &AssetId) -> Result<Option<StoredFacts>, ReadError> {
        let row = query(ONE).bind(asset.as_str()).fetch_optional(self.read()).await;
        row.map_err(ReadError::database("read facts"))?.as_ref().map(read).transpose()
    }

    /// What the next facts of an asset may be told as a difference from.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn told(&self, asset: &AssetId) -> Result<Option<Told>, ReadError> {
        let row = query(TOLD).bind(asset.as_str()).fetch_optional(self.read()).await;
        let row = row.map_err(ReadError::database("read what was told"))?;
        let read = |row: Row| {
            let columns = Columns::new("facts", &row);
            let digest = columns.optional_bytes("told")?.map(|_| columns.digest("told")).transpose()?;
            Ok(Told { digest, whole_at: columns.time("whole_at")?, epoch: columns.count("epoch")? })
        };
        row.map(read).transpose()
    }

    /// Whether any asset's facts are there.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn any_facts(&self) -> Result<bool, ReadError> {
        let row = query(ANY).fetch_optional(self.read()).await;
        Ok(row.map_err(ReadError::database("look for facts"))?.is_some())
    }

    /// When the latest facts of an asset were collected, without reading them.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn facts_at(&self, asset: &AssetId) -> Result<Option<Timestamp>, ReadError> {
        let row = query(TIME).bind(asset.as_str()).fetch_optional(self.read()).await;
        let row = row.map_err(ReadError::database("read facts"))?;
        row.map(|row| Columns::new("facts", &row).time("collected_at")).transpose()
    }

    /// When the facts of these assets were read, for all that have any.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn facts_times(&self, assets: &BTreeSet<AssetId>) -> Result<HashMap<AssetId, Timestamp>, ReadError> {
        let rows = query(TIMES).bind(ids(assets)).fetch_all(self.read()).await;
        let times = all(&rows.map_err(ReadError::database("list facts"))?, |row| {
            let columns = Columns::new("facts", row);
            Ok((columns.parsed("asset")?, columns.time("collected_at")?))
        })?;
        Ok(times.into_iter().collect())
    }

    /// The assets of which some health probe failed when their facts were last read.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn ill(&self) -> Result<BTreeSet<AssetId>, ReadError> {
        let rows = query(ILL).fetch_all(self.read()).await;
        let ill = all(&rows.map_err(ReadError::database("list what is ill"))?, |row| {
            Columns::new("facts", row).parsed("asset")
        })?;
        Ok(ill.into_iter().collect())
    }

    /// When facts of an asset were collected and what their digests were, newest first.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn facts_history(&self, asset: &AssetId, limit: u32) -> Result<Vec<(Timestamp, Digest)>, ReadError> {
        let rows = query(PAST).bind(asset.as_str()).bind(limit).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list facts"))?, |row| {
            let columns = Columns::new("facts", row);
            Ok((columns.time("collected_at")?, columns.digest("digest")?))
        })
    }
}
