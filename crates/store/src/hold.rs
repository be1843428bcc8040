//! Holds: the switch that stops everything. Servers read it from the store before every dispatch.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
pub use stanch_model::hold::HoldLevel;

use crate::column::{Columns, all, micros, name};
use crate::db::{Conn, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// The scope that covers everything.
pub const ALL: &str = "all";

/// A hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// What it covers: [`ALL`].
    pub scope: String,
    /// How much is stopped.
    pub level: HoldLevel,
    /// The store's epoch when it was set.
    pub epoch: u64,
    /// Why.
    pub reason: String,
    /// Who.
    pub actor: String,
    /// When.
    pub at: Timestamp,
}

/// The end of a hold.
#[derive(Debug, Clone)]
pub struct ReleaseHold {
    /// What it covered.
    pub scope: String,
}

const PUT: &str = "INSERT INTO hold (scope, level, epoch, reason, actor, at) VALUES ($1, $2, $3, $4, $5, $6) \
     ON CONFLICT (scope) DO UPDATE SET level = $2, epoch = $3, reason = $4, actor = $5, at = $6 \
     WHERE hold.level = 'stop_new' AND $2 = 'stop_all'";
const RELEASE: &str = "DELETE FROM hold WHERE scope = $1";
const LIST: &str = "SELECT scope, level, epoch, reason, actor, at FROM hold ORDER BY scope";

pub(crate) async fn put(conn: &mut Conn, hold: &Hold) -> Result<Effect, CommitError> {
    let done = query(PUT)
        .bind(&hold.scope)
        .bind(name(&hold.level))
        .bind(crate::column::number("hold", &hold.scope, hold.epoch)?)
        .bind(&hold.reason)
        .bind(&hold.actor)
        .bind(micros(hold.at))
        .execute(conn)
        .await
        .map_err(CommitError::database("set a hold"))?;
    // One that is there is only tightened: loosening it is a release.
    Ok(if done == 0 { Effect::Unchanged } else { Effect::Done })
}

pub(crate) async fn release(conn: &mut Conn, release: &ReleaseHold) -> Result<Effect, CommitError> {
    let done = query(RELEASE).bind(&release.scope).execute(conn).await;
    if done.map_err(CommitError::database("release a hold"))? == 0 {
        return Err(CommitError::Missing { noun: "hold", id: release.scope.clone() });
    }
    Ok(Effect::Done)
}

impl Store {
    /// The holds in force. When this fails, hold everything.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn holds(&self) -> Result<Vec<Hold>, ReadError> {
        let rows = query(LIST).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list holds"))?, |row| {
            let columns = Columns::new("hold", row);
            Ok(Hold {
                scope: columns.text("scope")?,
                level: columns.named("level")?,
                epoch: columns.count("epoch")?,
                reason: columns.text("reason")?,
                actor: columns.text("actor")?,
                at: columns.time("at")?,
            })
        })
    }
}
