//! Connections to the outside that people set up: providers of identities, ways to send notices. Their secrets are
//! sealed before they come here; this store never sees one in the clear.

use jiff::Timestamp;
use serde_json::Value;

use crate::column::{Columns, all, json, micros};
use crate::db::{Conn, Row, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Its name.
    pub name: String,
    /// What it is: `oidc`, `smtp`, `webhook`.
    pub kind: String,
    /// Its settings; no secret.
    pub body: Value,
    /// Its secret, sealed.
    pub secret: Option<Vec<u8>>,
    /// When it was last changed.
    pub at: Timestamp,
}

/// The end of a connection.
#[derive(Debug, Clone)]
pub struct DropConnection {
    /// Its name.
    pub name: String,
}

const PUT: &str = "INSERT INTO connection (name, kind, body, secret, at) VALUES ($1, $2, $3, $4, $5) \
     ON CONFLICT (name) DO UPDATE SET body = $3, secret = $4, at = $5 WHERE connection.kind = $2";
const DROP: &str = "DELETE FROM connection WHERE name = $1";
const ALL: &str = "SELECT name, kind, body, secret, at FROM connection ORDER BY name";
const ONE: &str = "SELECT name, kind, body, secret, at FROM connection WHERE name = $1";

fn read(row: &Row) -> Result<Connection, ReadError> {
    let columns = Columns::new("connection", row);
    Ok(Connection {
        name: columns.text("name")?,
        kind: columns.text("kind")?,
        body: columns.json("body")?,
        secret: columns.optional_bytes("secret")?,
        at: columns.time("at")?,
    })
}

pub(crate) async fn put(conn: &mut Conn, connection: &Connection) -> Result<Effect, CommitError> {
    let done = query(PUT)
        .bind(&connection.name)
        .bind(&connection.kind)
        .bind(json("connection", &connection.name, &connection.body)?)
        .bind(&connection.secret)
        .bind(micros(connection.at))
        .execute(conn)
        .await
        .map_err(CommitError::database("set up a connection"))?;
    if done == 0 {
        return Err(CommitError::Exists { noun: "connection", id: connection.name.clone() });
    }
    Ok(Effect::Done)
}

pub(crate) async fn drop(conn: &mut Conn, connection: &DropConnection) -> Result<Effect, CommitError> {
    let done = query(DROP).bind(&connection.name).execute(conn).await;
    if done.map_err(CommitError::database("remove a connection"))? == 0 {
        return Err(CommitError::Missing { noun: "connection", id: connection.name.clone() });
    }
    Ok(Effect::Done)
}

impl Store {
    /// Every connection, by name.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn connections(&self) -> Result<Vec<Connection>, ReadError> {
        let rows = query(ALL).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list connections"))?, read)
    }

    /// One connection.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn connection(&self, name: &str) -> Result<Option<Connection>, ReadError> {
        let row = query(ONE).bind(name).fetch_optional(self.read()).await;
        row.map_err(ReadError::database("read a connection"))?.as_ref().map(read).transpose()
    }
}
