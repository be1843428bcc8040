//! Sessions and tokens. Only hashes are kept: whoever reads the store cannot sign in with what it holds.

use jiff::Timestamp;
use serde_json::Value;
use stanch_model::Digest;

use crate::column::{Columns, all, json, micros, optional_micros};
use crate::db::{Conn, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// Somebody signed in.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Hash of the secret in the cookie.
    pub hash: Digest,
    /// Who.
    pub actor: String,
    /// Role, CSRF hash and whatever else belongs to it; no secret.
    pub body: Value,
    /// When.
    pub at: Timestamp,
    /// It ends then.
    pub expires_at: Timestamp,
}

/// A session ends.
#[derive(Debug, Clone)]
pub struct EndSession {
    /// Hash of the secret.
    pub hash: Digest,
}

/// Somebody is signed out everywhere, but perhaps here.
#[derive(Debug, Clone)]
pub struct EndSessions {
    /// Who.
    pub actor: String,
    /// The session that goes on.
    pub except: Option<Digest>,
}

/// A token was made.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Hash of the token.
    pub hash: Digest,
    /// What it is for: `sign-in`, `api`.
    pub purpose: String,
    /// Whether it can be used once only.
    pub once: bool,
    /// Actor, role, scopes, name; no secret.
    pub body: Value,
    /// When.
    pub at: Timestamp,
    /// It ends then.
    pub expires_at: Option<Timestamp>,
}

/// A one-time token is used up.
#[derive(Debug, Clone)]
pub struct UseToken {
    /// Hash of the token.
    pub hash: Digest,
    /// What it must be for.
    pub purpose: String,
    /// When.
    pub at: Timestamp,
}

/// A lasting token was shown: when it was last used is kept, and is written again only after a while.
#[derive(Debug, Clone)]
pub struct TouchToken {
    /// Hash of the token.
    pub hash: Digest,
    /// When.
    pub at: Timestamp,
}

/// A token is taken away.
#[derive(Debug, Clone)]
pub struct DropToken {
    /// Hash of the token.
    pub hash: Digest,
}

/// A session that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Who.
    pub actor: String,
    /// What belongs to it.
    pub body: Value,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A lasting token that was made, whether it has ended or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredToken {
    /// Hash of the token.
    pub hash: Digest,
    /// What belongs to it.
    pub body: Value,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it was last used.
    pub used_at: Option<Timestamp>,
}

const NEW_SESSION: &str = "INSERT INTO session (hash, actor, body, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)";
const SWEEP: &str = "DELETE FROM session WHERE expires_at <= $1";
const END: &str = "DELETE FROM session WHERE hash = $1";
const END_ALL: &str = "DELETE FROM session WHERE actor = $1 AND ($2 IS NULL OR hash <> $2)";
const SESSION: &str = "SELECT actor, body, created_at, expires_at FROM session WHERE hash = $1 AND expires_at > $2";
const NEW_TOKEN: &str = "INSERT INTO token (hash, purpose, once, body, created_at, expires_at) \
     VALUES ($1, $2, $3, $4, $5, $6)";
const USE: &str = "UPDATE token SET used_at = $1 WHERE hash = $2 AND purpose = $3 AND once = 1 AND used_at IS NULL \
     AND (expires_at IS NULL OR expires_at > $1) RETURNING body";
const ONCE: &str = "SELECT body FROM token WHERE hash = $1 AND purpose = $2 AND once = 1 AND used_at IS NULL \
     AND (expires_at IS NULL OR expires_at > $3)";
const TOUCH: &str = "UPDATE token SET used_at = $1 WHERE hash = $2 AND once = 0";
const TOKENS: &str = "SELECT hash, body, created_at, expires_at, used_at FROM token WHERE purpose = $1 AND once = 0 \
     ORDER BY created_at, hash";
const DROP: &str = "DELETE FROM token WHERE hash = $1";
const TOKEN: &str = "SELECT body FROM token WHERE hash = $1 AND purpose = $2 AND once = 0 \
     AND (expires_at IS NULL OR expires_at > $3)";

pub(crate) async fn new(conn: &mut Conn, new: &NewSession) -> Result<Effect, CommitError> {
    query(SWEEP).bind(micros(new.at)).execute(&mut *conn).await.map_err(CommitError::database("sweep sessions"))?;
    query(NEW_SESSION)
        .bind(new.hash.as_bytes().as_slice())
        .bind(&new.actor)
        .bind(json("session", &new.actor, &new.body)?)
        .bind(micros(new.at))
        .bind(micros(new.expires_at))
        .execute(conn)
        .await
        .map_err(CommitError::database("begin a session"))?;
    Ok(Effect::Done)
}

pub(crate) async fn end(conn: &mut Conn, end: &EndSession) -> Result<Effect, CommitError> {
    let done = query(END).bind(end.hash.as_bytes().as_slice()).execute(conn).await;
    let done = done.map_err(CommitError::database("end a session"))?;
    Ok(if done == 0 { Effect::Unchanged } else { Effect::Done })
}

pub(crate) async fn end_all(conn: &mut Conn, end: &EndSessions) -> Result<Effect, CommitError> {
    let except = end.except.map(|hash| hash.as_bytes().to_vec());
    let done = query(END_ALL).bind(&end.actor).bind(except).execute(conn).await;
    let done = done.map_err(CommitError::database("end somebody's sessions"))?;
    Ok(if done == 0 { Effect::Unchanged } else { Effect::Done })
}

pub(crate) async fn touch_token(conn: &mut Conn, token: &TouchToken) -> Result<Effect, CommitError> {
    let done = query(TOUCH).bind(micros(token.at)).bind(token.hash.as_bytes().as_slice()).execute(conn).await;
    let done = done.map_err(CommitError::database("note the use of a token"))?;
    Ok(if done == 0 { Effect::Unchanged } else { Effect::Done })
}

pub(crate) async fn new_token(conn: &mut Conn, new: &NewToken) -> Result<Effect, CommitError> {
    query(NEW_TOKEN)
        .bind(new.hash.as_bytes().as_slice())
        .bind(&new.purpose)
        .bind(i64::from(new.once))
        .bind(json("token", &new.purpose, &new.body)?)
        .bind(micros(new.at))
        .bind(optional_micros(new.expires_at))
        .execute(conn)
        .await
        .map_err(CommitError::database("make a token"))?;
    Ok(Effect::Done)
}

pub(crate) async fn use_token(conn: &mut Conn, used: &UseToken) -> Result<Effect, CommitError> {
    let row = query(USE)
        .bind(micros(used.at))
        .bind(used.hash.as_bytes().as_slice())
        .bind(&used.purpose)
        .fetch_optional(conn)
        .await
        .map_err(CommitError::database("use a token"))?
        .ok_or(CommitError::Token)?;
    let body = Columns::new("token", &row).json("body").map_err(|_| CommitError::Token)?;
    Ok(Effect::Token(body))
}

pub(crate) async fn drop_token(conn: &mut Conn, token: &DropToken) -> Result<Effect, CommitError> {
    let done = query(DROP).bind(token.hash.as_bytes().as_slice()).execute(conn).await;
    let done = done.map_err(CommitError::database("take away a token"))?;
    Ok(if done == 0 { Effect::Unchanged } else { Effect::Done })
}

impl Store {
    /// The session with this secret's hash, unless it is over.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn session(&self, hash: &Digest, now: Timestamp) -> Result<Option<Session>, ReadError> {
        let row = query(SESSION).bind(hash.as_bytes().as_slice()).bind(micros(now)).fetch_optional(self.read());
        let Some(row) = row.await.map_err(ReadError::database("read a session"))? else { return Ok(None) };
        let columns = Columns::new("session", &row);
        Ok(Some(Session {
            actor: columns.text("actor")?,
            body: columns.json("body")?,
            created_at: columns.time("created_at")?,
            expires_at: columns.time("expires_at")?,
        }))
    }

    /// What belongs to a lasting token, unless it is over.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn token(&self, hash: &Digest, purpose: &str, now: Timestamp) -> Result<Option<Value>, ReadError> {
        let row = query(TOKEN)
            .bind(hash.as_bytes().as_slice())
            .bind(purpose)
            .bind(micros(now))
            .fetch_optional(self.read())
            .await;
        let row = row.map_err(ReadError::database("read a token"))?;
        row.map(|row| Columns::new("token", &row).json("body")).transpose()
    }

    /// What belongs to a one-time token that can still be used; it stays usable.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn token_once(&self, hash: &Digest, purpose: &str, now: Timestamp) -> Result<Option<Value>, ReadError> {
        let query = query(ONCE).bind(hash.as_bytes().as_slice()).bind(purpose).bind(micros(now));
        let row = query.fetch_optional(self.read()).await.map_err(ReadError::database("read a token"))?;
        row.map(|row| Columns::new("token", &row).json("body")).transpose()
    }

    /// The lasting tokens for a purpose, oldest first.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn tokens(&self, purpose: &str) -> Result<Vec<StoredToken>, ReadError> {
        let rows = query(TOKENS).bind(purpose).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list tokens"))?, |row| {
            let columns = Columns::new("token", row);
            Ok(StoredToken {
                hash: columns.digest("hash")?,
                body: columns.json("body")?,
                created_at: columns.time("created_at")?,
                expires_at: columns.optional_time("expires_at")?,
                used_at: columns.optional_time("used_at")?,
            })
        })
    }
}
