//! Feeds: what is at hand, how old it is, and what went wrong last.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stanch_model::Digest;

use crate::column::{Columns, all, json, micros, name};
use crate::db::{Conn, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// How a feed stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedStatus {
    /// Never fetched.
    Absent,
    /// Built into the program.
    Snapshot,
    /// Fetched, and its last fetch went well.
    Good,
    /// The last fetch failed; the last good content stays.
    Failed,
    /// The last fetch would change too much; a person decides.
    Review,
}

/// What is known of one feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feed {
    /// Its name, such as `osv/Debian-12`.
    pub name: String,
    /// How it stands.
    pub status: FeedStatus,
    /// Where it comes from.
    pub source: Option<String>,
    /// The date of its content.
    pub dated: Option<Timestamp>,
    /// The version of the model behind it (EPSS).
    pub model: Option<String>,
    /// Digest of the content in use.
    pub digest: Option<Digest>,
    /// How many records it has.
    pub records: Option<u64>,
    /// When the content in use was fetched.
    pub fetched_at: Option<Timestamp>,
    /// When it was last tried.
    pub tried_at: Option<Timestamp>,
    /// What went wrong last.
    pub error: Option<String>,
    /// What the other side wants to hear on the next request (`ETag`, `Last-Modified`).
    pub validators: Value,
    /// What waits for a person: the content and what it would change.
    pub review: Option<Value>,
    /// When this was written.
    pub at: Timestamp,
}

const PUT: &str = "INSERT INTO feed (name, status, body, at) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (name) DO UPDATE SET status = $2, body = $3, at = $4";
const ALL: &str = "SELECT body FROM feed ORDER BY name";
const ONE: &str = "SELECT body FROM feed WHERE name = $1";

pub(crate) async fn put(conn: &mut Conn, feed: &Feed) -> Result<Effect, CommitError> {
    query(PUT)
        .bind(&feed.name)
        .bind(name(&feed.status))
        .bind(json("feed", &feed.name, feed)?)
        .bind(micros(feed.at))
        .execute(conn)
        .await
        .map_err(CommitError::database("store a feed"))?;
    Ok(Effect::Done)
}

impl Store {
    /// All feeds, by name.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn feeds(&self) -> Result<Vec<Feed>, ReadError> {
        let rows = query(ALL).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list feeds"))?, |row| Columns::new("feed", row).json("body"))
    }

    /// One feed.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn feed(&self, name: &str) -> Result<Option<Feed>, ReadError> {
        let row = query(ONE).bind(name).fetch_optional(self.read()).await;
        let row = row.map_err(ReadError::database("read a feed"))?;
        row.map(|row| Columns::new("feed", &row).json("body")).transpose()
    }
}
