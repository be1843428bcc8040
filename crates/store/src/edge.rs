//! Edges: which asset hangs on which, as people say, and which was seen to call which.

use std::collections::BTreeSet;

use jiff::Timestamp;
use stanch_model::edge::{Edge, EdgeKind, SeenEdge, SeenState};
use stanch_model::facts::{MOST_ADDRESSES, MOST_TALKS, Talks};
use stanch_model::id::AssetId;

use crate::column::{Columns, all, ids, micros, name};
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

/// What a host says of its connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeeTalks {
    /// The host.
    pub asset: AssetId,
    /// What it says.
    pub talks: Talks,
    /// When it said so.
    pub at: Timestamp,
}

/// Nobody is to be asked again whether one asset depends on another because it calls it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DismissEdge {
    /// What calls.
    pub from: AssetId,
    /// What is called.
    pub to: AssetId,
    /// The port there.
    pub port: u16,
}

/// So many others a host is seen to call at most.
pub const MOST_SEEN: u32 = 64;
/// Longest name of a program that is kept, in characters.
const LONGEST_PROGRAM: usize = 64;

const FORGET_ADDRESSES: &str = "DELETE FROM asset_address WHERE asset = $1";
const ADDRESS: &str = "INSERT INTO asset_address (asset, address) VALUES ($1, $2) ON CONFLICT DO NOTHING";
// An address that several assets have, behind a translation or of a bridge of their own, tells nothing.
const SEE: &str = "INSERT INTO seen_edge (from_asset, to_asset, port, program, first_seen_at, last_seen_at) \
     SELECT $1, a.asset, $3, $4, $5, $5 FROM asset_address a WHERE a.address = $2 AND a.asset <> $1 \
     AND (SELECT COUNT(*) FROM asset_address b WHERE b.address = $2) = 1 \
     AND ((SELECT COUNT(*) FROM seen_edge s WHERE s.from_asset = $1) < $6 OR EXISTS \
     (SELECT 1 FROM seen_edge s WHERE s.from_asset = $1 AND s.to_asset = a.asset AND s.port = $3)) \
     ON CONFLICT (from_asset, to_asset, port) DO UPDATE SET last_seen_at = excluded.last_seen_at, \
     program = COALESCE(excluded.program, seen_edge.program)";
const DISMISS: &str =
    "UPDATE seen_edge SET dismissed = 1 WHERE from_asset = $1 AND to_asset = $2 AND port = $3 AND dismissed = 0";
const SEEN: &str = "SELECT s.from_asset, s.to_asset, s.port, s.program, s.first_seen_at, s.last_seen_at, s.dismissed, \
     CAST(CASE WHEN EXISTS (SELECT 1 FROM edge e WHERE e.from_asset = s.from_asset AND e.to_asset = s.to_asset \
     AND e.kind IN ('depends_on', 'runs_on')) THEN 1 ELSE 0 END AS BIGINT) AS linked FROM seen_edge s";

const UNANSWERED: &str = " AND s.dismissed = 0 AND NOT EXISTS (SELECT 1 FROM edge e WHERE e.from_asset = s.from_asset \
     AND e.to_asset = s.to_asset AND e.kind IN ('depends_on', 'runs_on'))";

pub(crate) async fn see(conn: &mut Conn, seen: &SeeTalks) -> Result<Effect, CommitError> {
    let refused = |error| CommitError::database("keep who calls whom")(error);
    let asset = seen.asset.as_str();
    query(FORGET_ADDRESSES).bind(asset).execute(&mut *conn).await.map_err(&refused)?;
    for address in seen.talks.addresses.iter().take(MOST_ADDRESSES) {
        query(ADDRESS).bind(asset).bind(address.to_string()).execute(&mut *conn).await.map_err(&refused)?;
    }
    for call in seen.talks.calls.iter().take(MOST_TALKS) {
        let plain =
            |text: &String| -> String { text.chars().filter(|c| !c.is_control()).take(LONGEST_PROGRAM).collect() };
        query(SEE)
            .bind(asset)
            .bind(call.address.to_string())
            .bind(i64::from(call.port))
            .bind(call.program.as_ref().map(plain))
            .bind(micros(seen.at))
            .bind(i64::from(MOST_SEEN))
            .execute(&mut *conn)
            .await
            .map_err(&refused)?;
    }
    Ok(Effect::Done)
}

pub(crate) async fn dismiss(conn: &mut Conn, one: &DismissEdge) -> Result<Effect, CommitError> {
    let done = query(DISMISS)
        .bind(one.from.as_str())
        .bind(one.to.as_str())
        .bind(i64::from(one.port))
        .execute(conn)
        .await
        .map_err(CommitError::database("dismiss a seen edge"))?;
    Ok(if done > 0 { Effect::Done } else { Effect::Unchanged })
}

fn read_seen(row: &Row) -> Result<SeenEdge, ReadError> {
    let columns = Columns::new("seen_edge", row);
    let state = match (columns.integer("dismissed")?, columns.integer("linked")?) {
        (_, 1) => SeenState::Linked,
        (0, _) => SeenState::Proposed,
        _ => SeenState::Dismissed,
    };
    Ok(SeenEdge {
        from: columns.parsed("from_asset")?,
        to: columns.parsed("to_asset")?,
        port: u16::try_from(columns.small("port")?).unwrap_or_default(),
        program: columns.optional_text("program")?,
        first_seen_at: columns.time("first_seen_at")?,
        last_seen_at: columns.time("last_seen_at")?,
        state,
    })
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

    /// Who was seen to call whom, the newest first: of this asset or of all, all or those of which nobody has said anything
    /// yet, at most so many.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn seen_edges(
        &self,
        asset: Option<&AssetId>,
        proposed: bool,
        limit: u32,
    ) -> Result<Vec<SeenEdge>, ReadError> {
        let mut query = Builder::new(SEEN);
        query.push(" WHERE 1 = 1");
        if proposed {
            query.push(UNANSWERED);
        }
        if let Some(asset) = asset {
            query.push(" AND (s.from_asset = ").push_bind(asset.to_string());
            query.push(" OR s.to_asset = ").push_bind(asset.to_string()).push(")");
        }
        query.push(" ORDER BY s.first_seen_at DESC, s.from_asset, s.to_asset, s.port LIMIT ").push_bind(limit);
        let rows = query.build().fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("read seen edges"))?, read_seen)
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
