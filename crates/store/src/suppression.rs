//! Suppressions: items that are left alone at a version, because an act on them was taken back, until a person says
//! otherwise, the time is over, or a newer version appears.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_model::id::{AssetId, ItemId};

use crate::column::{Columns, all, micros, optional_micros};
use crate::db::{Conn, Row, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// One suppression.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppression {
    /// The item.
    pub item: ItemId,
    /// The asset.
    pub asset: AssetId,
    /// The version that is not to be installed; empty where the item has no versions.
    pub version: String,
    /// It ends by itself then.
    pub until: Option<Timestamp>,
    /// Who set it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// The end of a suppression.
#[derive(Debug, Clone)]
pub struct LiftSuppression {
    /// The item.
    pub item: ItemId,
    /// The asset.
    pub asset: AssetId,
    /// The version.
    pub version: String,
    /// Who lifts it.
    pub actor: String,
    /// When.
    pub at: Timestamp,
}

/// That none of these items was taken back since.
#[derive(Debug, Clone)]
pub struct StillWanted {
    /// Where.
    pub asset: AssetId,
    /// The items.
    pub items: Vec<ItemId>,
    /// Since when.
    pub since: Timestamp,
}

const SINCE: &str = "SELECT item FROM suppression WHERE asset = $1 AND at >= $2 AND lifted_at IS NULL";
const PUT: &str = "INSERT INTO suppression (item, asset, version, until, actor, reason, at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (item, asset, version) DO UPDATE SET until = $4, actor = $5, \
     reason = $6, at = $7, lifted_at = NULL, lifted_by = NULL";
const LIFT: &str = "UPDATE suppression SET lifted_at = $1, lifted_by = $2 \
     WHERE item = $3 AND asset = $4 AND version = $5 AND lifted_at IS NULL";
const ACTIVE: &str = "SELECT item, asset, version, until, actor, reason, at FROM suppression \
     WHERE lifted_at IS NULL AND (until IS NULL OR until > $1) ORDER BY item, asset, version";

pub(crate) async fn put(conn: &mut Conn, suppression: &Suppression) -> Result<Effect, CommitError> {
    query(PUT)
        .bind(suppression.item.as_str())
        .bind(suppression.asset.as_str())
        .bind(&suppression.version)
        .bind(optional_micros(suppression.until))
        .bind(&suppression.actor)
        .bind(&suppression.reason)
        .bind(micros(suppression.at))
        .execute(conn)
        .await
        .map_err(CommitError::database("suppress an item"))?;
    Ok(Effect::Done)
}

pub(crate) async fn lift(conn: &mut Conn, lift: &LiftSuppression) -> Result<Effect, CommitError> {
    let done = query(LIFT)
        .bind(micros(lift.at))
        .bind(&lift.actor)
        .bind(lift.item.as_str())
        .bind(lift.asset.as_str())
        .bind(&lift.version)
        .execute(conn)
        .await
        .map_err(CommitError::database("lift a suppression"))?;
    if done == 0 {
        return Err(CommitError::Missing { noun: "suppression", id: lift.item.to_string() });
    }
    Ok(Effect::Done)
}

pub(crate) async fn still_wanted(conn: &mut Conn, wanted: &StillWanted) -> Result<Effect, CommitError> {
    let rows = query(SINCE).bind(wanted.asset.as_str()).bind(micros(wanted.since)).fetch_all(conn).await;
    for row in &rows.map_err(CommitError::database("look for what was taken back"))? {
        let item = Columns::new("suppression", row).text("item").map_err(|error| CommitError::Encode {
            noun: "suppression",
            id: wanted.asset.to_string(),
            detail: error.to_string(),
        })?;
        if wanted.items.iter().any(|one| one.as_str() == item) {
            return Err(CommitError::TakenBack { asset: wanted.asset.to_string(), item });
        }
    }
    Ok(Effect::Done)
}

fn read(row: &Row) -> Result<Suppression, ReadError> {
    let columns = Columns::new("suppression", row);
    Ok(Suppression {
        item: columns.parsed("item")?,
        asset: columns.parsed("asset")?,
        version: columns.text("version")?,
        until: columns.optional_time("until")?,
        actor: columns.text("actor")?,
        reason: columns.text("reason")?,
        at: columns.time("at")?,
    })
}

impl Store {
    /// Suppressions in force.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn suppressions(&self, now: Timestamp) -> Result<Vec<Suppression>, ReadError> {
        let rows = query(ACTIVE).bind(micros(now)).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list suppressions"))?, read)
    }
}
