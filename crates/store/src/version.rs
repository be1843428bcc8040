//! When a version that closes something was first offered: what waits for a patch to be old enough counts from there.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::column::{Columns, micros};
use crate::db::{Builder, Conn, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// Versions of source packages that a host's facts or a feed showed as closing something.
#[derive(Debug, Clone)]
pub struct SeeVersions {
    /// For which system: `debian 12`; empty where there is none.
    pub ecosystem: String,
    /// Source packages and their versions, each once.
    pub versions: Vec<(String, String)>,
    /// When.
    pub at: Timestamp,
}

/// What was first offered when, by system, source package and version.
pub type Offered = BTreeMap<(String, String, String), Timestamp>;

/// Rows of one statement: four values each, and databases bound how many there may be.
const CHUNK: usize = 200;
const PUT: &str = "INSERT INTO version_seen (ecosystem, source, version, at) ";
const ONCE: &str = " ON CONFLICT (ecosystem, source, version) DO NOTHING";
const LIST: &str = "SELECT ecosystem, source, version, at FROM version_seen";

pub(crate) async fn see(conn: &mut Conn, seen: &SeeVersions) -> Result<Effect, CommitError> {
    let mut new = 0;
    for chunk in seen.versions.chunks(CHUNK) {
        let mut query = Builder::new(PUT);
        query.push_values(chunk, |mut row, (source, version)| {
            row.push_bind(&seen.ecosystem).push_bind(source).push_bind(version).push_bind(micros(seen.at));
        });
        query.push(ONCE);
        let done = query.build().execute(&mut *conn).await;
        new += done.map_err(CommitError::database("note offered versions"))?;
    }
    Ok(if new == 0 { Effect::Unchanged } else { Effect::Done })
}

impl Store {
    /// All versions that were ever offered: a row for each that closed something on any host.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn offered(&self) -> Result<Offered, ReadError> {
        let rows = query(LIST).fetch_all(self.read()).await;
        let rows = rows.map_err(ReadError::database("list offered versions"))?;
        let one = |row| {
            let columns = Columns::new("offered version", row);
            let key = (columns.text("ecosystem")?, columns.text("source")?, columns.text("version")?);
            Ok((key, columns.time("at")?))
        };
        rows.iter().map(one).collect()
    }
}
