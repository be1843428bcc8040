//! Leases with fencing tokens: of several servers one seals. Whoever lost a lease cannot write under it, because its
//! token is no longer the one in the row.

use jiff::Timestamp;

use crate::column::{Columns, micros, number};
use crate::db::{Conn, query};
use crate::error::CommitError;
use crate::transition::Effect;

/// A lease to take or to renew.
#[derive(Debug, Clone)]
pub struct TakeLease {
    /// What for: `sealer`.
    pub name: String,
    /// Who.
    pub holder: String,
    /// It is taken with another token also from whoever held it under the same name: from this holder's life before.
    pub anew: bool,
    /// Now.
    pub at: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// A lease under which everything is written that a store commits from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// What for.
    pub lease: String,
    /// Its fencing token.
    pub token: u64,
}

const TAKE: &str = "INSERT INTO lease (name, holder, token, until) VALUES ($1, $2, 1, $3) \
     ON CONFLICT (name) DO UPDATE SET holder = $2, until = $3, \
     token = lease.token + CASE WHEN lease.holder = $2 THEN $5 ELSE 1 END \
     WHERE lease.holder = $2 OR lease.until <= $4 RETURNING token";
const HELD: &str = "SELECT token FROM lease WHERE name = $1 AND token = $2";

pub(crate) async fn take(conn: &mut Conn, ask: &TakeLease) -> Result<Effect, CommitError> {
    let row = query(TAKE)
        .bind(&ask.name)
        .bind(&ask.holder)
        .bind(micros(ask.until))
        .bind(micros(ask.at))
        .bind(i64::from(ask.anew))
        .fetch_optional(conn)
        .await
        .map_err(CommitError::database("take a lease"))?;
    let token = row.and_then(|row| Columns::new("lease", &row).count("token").ok());
    Ok(Effect::Lease(token))
}

/// Whether the lease still has this token.
pub(crate) async fn held(conn: &mut Conn, name: &str, token: u64) -> Result<(), CommitError> {
    let row = query(HELD)
        .bind(name)
        .bind(number("lease", name, token)?)
        .fetch_optional(conn)
        .await
        .map_err(CommitError::database("check a lease"))?;
    row.map(drop).ok_or_else(|| CommitError::Lease(name.to_owned()))
}
