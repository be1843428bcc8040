//! Edges: which asset hangs on which, as people say.

use std::collections::BTreeSet;

use stanch_model::edge::{Edge, EdgeKind};
use stanch_model::id::AssetId;

use crate::column::{Columns, all, ids, name};
use crate::db::{Builder, Conn, Row, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// An edge comes to be, or is taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetEdge {
    /// Which.
    pub edge: Edge,
    /// Whether it is there from now on.
    pub there: bool,
}

const PUT: &str = "INSERT INTO edge (from_asset, to_asset, kind) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
const DROP: &str = "DELETE FROM edge WHERE from_asset = $1 AND to_asset = $2 AND kind = $3";
const AT: &str = "SELECT from_asset, to_asset, kind FROM edge WHERE from_asset IN (SELECT value FROM json_each($1)) \
     OR to_asset IN (SELECT value FROM json_each($1)) ORDER BY from_asset, to_asset, kind";

pub(crate) async fn set(conn: &mut Conn, set: &SetEdge) -> Result<Effect, CommitError> {
    query(if set.there { PUT } else { DROP })
        .bind(set.edge.from.as_str())
        .bind(set.edge.to.as_str())
        .bind(name(&set.edge.kind))
        .execute(conn)
        .await
        .map_err(CommitError::database("set an edge"))?;
    Ok(Effect::Done)
}

fn read(row: &Row) -> Result<Edge, ReadError> {
    let columns = Columns::new("edge", row);
    let kind: EdgeKind = columns.named("kind")?;
    Ok(Edge { from: columns.parsed("from_asset")?, to: columns.parsed("to_asset")?, kind })
}

impl Store {
    /// The edges that lead to or from any of these assets.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn edges_at(&self, assets: &BTreeSet<AssetId>) -> Result<Vec<Edge>, ReadError> {
        let rows = query(AT).bind(ids(assets)).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("read edges"))?, read)
    }

    /// All edges, at most so many.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn edges(&self, limit: u32) -> Result<Vec<Edge>, ReadError> {
        let mut query =
            Builder::new("SELECT from_asset, to_asset, kind FROM edge ORDER BY from_asset, to_asset, kind LIMIT ");
        let rows = query.push_bind(limit).build().fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("read edges"))?, read)
    }
}
