//! Assets as they were last seen.

use std::collections::BTreeSet;

use jiff::Timestamp;
use stanch_model::asset::Asset;
use stanch_model::id::AssetId;

use crate::column::{Columns, all, ids, json, micros, name};
use crate::db::{Conn, Row, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// Who tells of an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeenBy {
    /// It does itself: what people have said of it stays, also what they say at the same moment.
    Itself,
    /// People do: all that is kept of it is replaced.
    People,
}

/// An asset, seen now.
#[derive(Debug, Clone)]
pub struct SeenAsset {
    /// The asset.
    pub asset: Asset,
    /// Whose words these are.
    pub by: SeenBy,
    /// When.
    pub at: Timestamp,
}

/// An asset as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAsset {
    /// The asset.
    pub asset: Asset,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// When it was last seen.
    pub last_seen: Timestamp,
}

const SEE: &str = "INSERT INTO asset (id, kind, name, body, first_seen, last_seen, environment, owner) \
     VALUES ($1, $2, $3, $4, $5, $5, $6, $7) \
     ON CONFLICT (id) DO UPDATE SET name = $3, body = $4, last_seen = $5, environment = $6, owner = $7";
const ONE: &str = "SELECT body, first_seen, last_seen FROM asset WHERE id = $1";
const PAGE: &str = "SELECT body, first_seen, last_seen FROM asset WHERE id > $1 ORDER BY id LIMIT $2";

const NAMED: &str = "SELECT body, first_seen, last_seen FROM asset WHERE id IN (SELECT value FROM json_each($1))";

pub(crate) async fn see(conn: &mut Conn, seen: &SeenAsset) -> Result<Effect, CommitError> {
    let id = seen.asset.id.as_str();
    let row = query(ONE).bind(id).fetch_optional(&mut *conn).await;
    let known = match row.map_err(CommitError::database("read an asset"))? {
        Some(row) if seen.by == SeenBy::Itself => {
            Some(Columns::new("asset", &row).json::<Asset>("body").map_err(|error| CommitError::Encode {
                noun: "asset",
                id: id.to_owned(),
                detail: error.to_string(),
            })?)
        }
        _ => None,
    };
    let asset = known.map_or_else(|| seen.asset.clone(), |known| Asset { name: seen.asset.name.clone(), ..known });
    query(SEE)
        .bind(id)
        .bind(name(&asset.kind))
        .bind(&asset.name)
        .bind(json("asset", id, &asset)?)
        .bind(micros(seen.at))
        .bind(&asset.environment)
        .bind(&asset.owner)
        .execute(conn)
        .await
        .map_err(CommitError::database("see an asset"))?;
    Ok(Effect::Done)
}

fn read(row: &Row) -> Result<StoredAsset, ReadError> {
    let columns = Columns::new("asset", row);
    Ok(StoredAsset {
        asset: columns.json("body")?,
        first_seen: columns.time("first_seen")?,
        last_seen: columns.time("last_seen")?,
    })
}

impl Store {
    /// One asset.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn asset(&self, id: &AssetId) -> Result<Option<StoredAsset>, ReadError> {
        let row = query(ONE).bind(id.as_str()).fetch_optional(self.read()).await;
        row.map_err(ReadError::database("read an asset"))?.as_ref().map(read).transpose()
    }

    /// Assets in the order of their ids, after the one given.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn assets(&self, after: Option<&AssetId>, limit: u32) -> Result<Vec<StoredAsset>, ReadError> {
        let after = after.map_or("", AssetId::as_str);
        let rows = query(PAGE).bind(after).bind(limit).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list assets"))?, read)
    }

    /// These assets, as far as they are known, in no particular order.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn assets_named(&self, wanted: &BTreeSet<AssetId>) -> Result<Vec<StoredAsset>, ReadError> {
        let rows = query(NAMED).bind(ids(wanted)).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("read assets"))?, read)
    }
}
