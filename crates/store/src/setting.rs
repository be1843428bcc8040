//! Settings: small documents by name, among them who this store is.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::column::{Columns, all, ids, json, micros};
use crate::db::{Conn, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// The setting that names the store: a text, set once.
pub const STORE_ID: &str = "store_id";
/// The setting that counts restores from a backup: a number.
pub const EPOCH: &str = "epoch";

/// One setting.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Its name.
    pub key: String,
    /// Its value; no secret.
    pub value: Value,
    /// When it was set.
    pub at: Timestamp,
}

const PUT: &str = "INSERT INTO setting (key, value, at) VALUES ($1, $2, $3) \
     ON CONFLICT (key) DO UPDATE SET value = $2, at = $3";
const ONE: &str = "SELECT value FROM setting WHERE key = $1";
const SOME: &str = "SELECT key, value FROM setting WHERE key IN (SELECT value FROM json_each($1))";

pub(crate) async fn put(conn: &mut Conn, setting: &Setting) -> Result<Effect, CommitError> {
    query(PUT)
        .bind(&setting.key)
        .bind(json("setting", &setting.key, &setting.value)?)
        .bind(micros(setting.at))
        .execute(conn)
        .await
        .map_err(CommitError::database("set a setting"))?;
    Ok(Effect::Done)
}

impl Store {
    /// One setting.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn setting(&self, key: &str) -> Result<Option<Value>, ReadError> {
        let row = query(ONE).bind(key).fetch_optional(self.read()).await;
        let row = row.map_err(ReadError::database("read a setting"))?;
        row.map(|row| Columns::new("setting", &row).json("value")).transpose()
    }

    /// Several settings by their names; those that are not set are absent.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn settings(&self, keys: &[String]) -> Result<HashMap<String, Value>, ReadError> {
        let rows = query(SOME).bind(ids(keys)).fetch_all(self.read()).await;
        let read = all(&rows.map_err(ReadError::database("read settings"))?, |row| {
            let columns = Columns::new("setting", row);
            Ok((columns.text("key")?, columns.json("value")?))
        })?;
        Ok(read.into_iter().collect())
    }

    /// The store's epoch: 1 until it is restored from a backup.
    ///
    /// # Errors
    /// When the database refuses or the value is no number.
    pub async fn epoch(&self) -> Result<u64, ReadError> {
        match self.setting(EPOCH).await? {
            None => Ok(1),
            Some(value) => value.as_u64().ok_or_else(|| ReadError::damaged("setting", "the epoch is no number")),
        }
    }
}
