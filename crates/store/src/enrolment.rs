//! Enrolment tokens. Only hashes are kept; how often one works is counted in the transaction that lets a host in.

use jiff::Timestamp;
use serde_json::Value;
use stanch_model::Digest;

use crate::column::{Columns, all, json, micros};
use crate::db::{Conn, Row, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// A token was made.
#[derive(Debug, Clone)]
pub struct NewEnrolment {
    /// What people call it.
    pub name: String,
    /// Hash of its secret.
    pub digest: Digest,
    /// How many hosts it lets in.
    pub uses: u32,
    /// What a host becomes by it, and who made it; no secret.
    pub body: Value,
    /// When.
    pub at: Timestamp,
    /// It ends then.
    pub expires_at: Timestamp,
}

/// A host gets in with a token.
#[derive(Debug, Clone)]
pub struct UseEnrolment {
    /// Hash of its secret.
    pub digest: Digest,
    /// When.
    pub at: Timestamp,
}

/// A token is taken away.
#[derive(Debug, Clone)]
pub struct DropEnrolment {
    /// What people call it.
    pub name: String,
}

/// A token as it is kept, whether it still works or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEnrolment {
    /// What people call it.
    pub name: String,
    /// How many hosts it lets in.
    pub uses: u32,
    /// How many it has let in.
    pub used: u32,
    /// What a host becomes by it.
    pub body: Value,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

const NEW: &str = "INSERT INTO enrolment (name, digest, uses, body, created_at, expires_at) \
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (name) DO NOTHING";
const USE: &str = "UPDATE enrolment SET used = used + 1 WHERE digest = $1 AND used < uses AND expires_at > $2";
const DROP: &str = "DELETE FROM enrolment WHERE name = $1";
const OF: &str = "SELECT name, uses, used, body, created_at, expires_at FROM enrolment WHERE digest = $1";
const ALL: &str = "SELECT name, uses, used, body, created_at, expires_at FROM enrolment ORDER BY created_at, name";

pub(crate) async fn new(conn: &mut Conn, new: &NewEnrolment) -> Result<Effect, CommitError> {
    let done = query(NEW)
        .bind(&new.name)
        .bind(new.digest.as_bytes().as_slice())
        .bind(new.uses)
        .bind(json("enrolment", &new.name, &new.body)?)
        .bind(micros(new.at))
        .bind(micros(new.expires_at))
        .execute(conn)
        .await
        .map_err(CommitError::database("make an enrolment token"))?;
    if done == 0 {
        return Err(CommitError::Exists { noun: "enrolment", id: new.name.clone() });
    }
    Ok(Effect::Done)
}

pub(crate) async fn spend(conn: &mut Conn, used: &UseEnrolment) -> Result<Effect, CommitError> {
    let done = query(USE).bind(used.digest.as_bytes().as_slice()).bind(micros(used.at)).execute(conn).await;
    if done.map_err(CommitError::database("use an enrolment token"))? == 0 {
        return Err(CommitError::Token);
    }
    Ok(Effect::Done)
}

pub(crate) async fn drop(conn: &mut Conn, token: &DropEnrolment) -> Result<Effect, CommitError> {
    let done = query(DROP).bind(&token.name).execute(conn).await;
    let done = done.map_err(CommitError::database("take away an enrolment token"))?;
    Ok(if done == 0 { Effect::Unchanged } else { Effect::Done })
}

fn read(row: &Row) -> Result<StoredEnrolment, ReadError> {
    let columns = Columns::new("enrolment", row);
    Ok(StoredEnrolment {
        name: columns.text("name")?,
        uses: columns.small("uses")?,
        used: columns.small("used")?,
        body: columns.json("body")?,
        created_at: columns.time("created_at")?,
        expires_at: columns.time("expires_at")?,
    })
}

impl Store {
    /// The token whose secret has this hash.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn enrolment(&self, digest: &Digest) -> Result<Option<StoredEnrolment>, ReadError> {
        let row = query(OF).bind(digest.as_bytes().as_slice()).fetch_optional(self.read()).await;
        row.map_err(ReadError::database("read an enrolment token"))?.as_ref().map(read).transpose()
    }

    /// All tokens, oldest first.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn enrolments(&self) -> Result<Vec<StoredEnrolment>, ReadError> {
        let rows = query(ALL).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list enrolment tokens"))?, read)
    }
}
