//! Copies of a store. A copy is a file of SQLite wherever the store is, so that it can be opened, looked at and carried
//! anywhere: what was copied from one kind of database is restored into the other just as well.
//!
//! Tables are read row by row in one snapshot, and written in one transaction; at the end both sides have as many rows in
//! every table and the same ledger.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use stanch_ledger::NewEntry;
use stanch_model::merkle;

use crate::db::{Conn, Query, Row, Value};
use crate::entry::Log;
use crate::error::{CommitError, OpenError, ReadError};
use crate::place::StoreAt;
use crate::setting::{EPOCH, Setting};
use crate::store::Store;
use crate::transition::{Transition, Write};
use crate::{postgres, sqlite};

/// Rows read at once, at most.
const ROWS: usize = 500;
/// Bytes in them from which fewer rows are read the next time.
const BYTES: usize = 8 << 20;
/// What is counted when the rows of others are written; it is copied after them.
const COUNTED: [&str; 2] = ["finding_count", "item_count"];

const TABLES: &str = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' \
     AND name NOT LIKE '_sqlx%' ORDER BY name";
const COLUMNS: &str = "SELECT name, type, pk FROM pragma_table_info($1) ORDER BY cid";
const POINTS_TO: &str = "SELECT \"table\" AS name FROM pragma_foreign_key_list($1)";

/// Why a copy was not made or not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file is there already, or cannot be made.
    #[error("{path} cannot be made")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// One of the two stores cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// One of the two stores cannot be read.
    #[error("a store cannot be read")]
    Read(#[from] ReadError),
    /// The restored store cannot be written.
    #[error("the store cannot be written")]
    Commit(#[from] CommitError),
    /// A table cannot be copied.
    #[error("the table {table} cannot be copied")]
    Table {
        /// Which.
        table: String,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// There is something in the store that is to be written.
    #[error("the store {at} is not empty: its table {table} has rows")]
    NotEmpty {
        /// Which store.
        at: StoreAt,
        /// Where there is something.
        table: String,
    },
    /// The two are not the same in the end.
    #[error("the copy differs: {0}")]
    Differs(String),
}

impl BackupError {
    /// What a person can do.
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Open(error) => Some(error.hint()),
            Self::File { .. } => Some("name a file that is not there yet, in a folder with room"),
            Self::NotEmpty { .. } => Some("restore into an empty database, or into a data folder without a store"),
            Self::Differs(_) => Some("nothing was written; the file is damaged: take another backup"),
            _ => None,
        }
    }
}

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Rows in all tables.
    pub rows: u64,
    /// Entries in the ledger.
    pub entries: u64,
}

/// A table as it is copied.
struct Table {
    name: String,
    columns: Vec<(String, Kind)>,
    key: Vec<String>,
    points_to: BTreeSet<String>,
}

#[derive(Clone, Copy)]
enum Kind {
    Integer,
    Text,
    Bytes,
}

/// Copies a store into a file that must not exist yet, while servers go on with it.
///
/// # Errors
/// When the file exists or cannot be written, or the store cannot be read.
pub async fn backup(at: &StoreAt, to: &Path) -> Result<(), BackupError> {
    make(to)?;
    let done = match at {
        StoreAt::File(path) => {
            let copied = sqlite::copy(path, to).await;
            copied.map_err(|source| BackupError::Table { table: "of all".to_owned(), source })
        }
        StoreAt::Database(url) => {
            let mut from = Conn::Postgres(postgres::open_snapshot(url).await?);
            let mut into = Conn::Sqlite(sqlite::open_writer(to).await?);
            let copied = copy(&mut from, &mut into).await;
            close(into).await.and(close(from).await).and(copied.map(drop))
        }
    };
    if done.is_err() {
        discard(to);
    }
    done
}

/// Writes what a backup holds into a store that is empty or not there yet. It begins a new epoch: executors that have seen
/// more than the backup knows of are told so.
///
/// # Errors
/// When the file is no backup, is damaged or of a newer release, or the store is not empty. Nothing is written then.
pub async fn restore(file: &Path, into: &StoreAt, now: Timestamp, actor: &str) -> Result<Copied, BackupError> {
    // A missing file must not be made by opening it.
    std::fs::File::open(file).map_err(|source| BackupError::File { path: file.to_owned(), source })?;
    let mut working = match into {
        StoreAt::File(path) => path,
        StoreAt::Database(_) => file,
    }
    .as_os_str()
    .to_owned();
    working.push(".restoring");
    let working = PathBuf::from(working);
    if let StoreAt::File(path) = into
        && path.exists()
    {
        let source = ErrorKind::AlreadyExists.into();
        return Err(BackupError::File { path: path.clone(), source });
    }
    discard(&working);
    make(&working)?;
    let restored = restore_by(file, &working, into, now, actor).await;
    discard(&working);
    restored
}

async fn restore_by(
    file: &Path,
    working: &Path,
    into: &StoreAt,
    now: Timestamp,
    actor: &str,
) -> Result<Copied, BackupError> {
    sqlite::check(file).await?;
    let copied = sqlite::copy(file, working).await;
    copied.map_err(|source| OpenError::Open { at: StoreAt::File(file.to_owned()), source })?;
    // Brings the tables up to date, and refuses those of a newer release.
    let store = Store::open(working).await?;
    let prepared = begin_epoch(&store, now, actor).await;
    store.shut().await;
    prepared?;
    let mut from = Conn::Sqlite(sqlite::open_writer(working).await?);
    let copied = match into {
        StoreAt::File(path) => {
            let copied = count(&mut from).await?;
            close(from).await?;
            std::fs::rename(working, path).map_err(|source| BackupError::File { path: path.clone(), source })?;
            copied
        }
        StoreAt::Database(url) => {
            let mut database = Conn::Postgres(postgres::open_writer(url).await?);
            let copied = fill(&mut from, &mut database, into).await;
            close(from).await?;
            close(database).await?;
            copied?
        }
    };
    Ok(copied)
}

/// Looks whether the ledger agrees with itself, and writes into it that it goes on after a restore.
async fn begin_epoch(store: &Store, now: Timestamp, actor: &str) -> Result<(), BackupError> {
    let tree = store.tree().await?.frontier;
    if merkle::root(&store.leaves(tree.size()).await?) != tree.root() {
        return Err(BackupError::Differs("its ledger does not have the root it should have".to_owned()));
    }
    let epoch = store.epoch().await? + 1;
    let entry = NewEntry::new(now, actor, "store_restored").with(serde_json::json!({ "epoch": epoch }));
    let setting = Setting { key: EPOCH.to_owned(), value: epoch.into(), at: now };
    store.commit(Transition::new(entry).write(Write::PutSetting(setting))).await?;
    Ok(())
}

/// Fills a database that must be empty, in one transaction.
async fn fill(from: &mut Conn, into: &mut Conn, at: &StoreAt) -> Result<Copied, BackupError> {
    let failed = |table: &str| {
        let table = table.to_owned();
        move |source| BackupError::Table { table, source }
    };
    into.begin().await.map_err(failed("of all"))?;
    for table in tables().await? {
        let any = own(format!("SELECT 1 AS one FROM {} LIMIT 1", table.name));
        if any.fetch_optional(&mut *into).await.map_err(failed(&table.name))?.is_some() {
            return Err(BackupError::NotEmpty { at: at.clone(), table: table.name });
        }
    }
    let copied = copy(from, into).await?;
    into.commit().await?;
    Ok(copied)
}

/// Copies all tables and looks whether the copy is the same.
async fn copy(from: &mut Conn, into: &mut Conn) -> Result<Copied, BackupError> {
    let is_file = matches!(into, Conn::Sqlite(_));
    if is_file {
        let begun = into.begin().await;
        begun.map_err(|source| BackupError::Table { table: "of all".to_owned(), source })?;
    }
    let mut rows = 0;
    for table in tables().await? {
        let copied = copy_table(from, into, &table).await;
        rows += copied.map_err(|source| BackupError::Table { table: table.name.clone(), source })?;
        let counts = (rows_of(from, &table).await?, rows_of(into, &table).await?);
        if counts.0 != counts.1 {
            return Err(BackupError::Differs(format!("{} has {} rows, the copy {}", table.name, counts.0, counts.1)));
        }
    }
    let (before, after) = (Log::load(from).await?.tree, Log::load(into).await?.tree);
    if (before.size(), before.root()) != (after.size(), after.root()) {
        return Err(BackupError::Differs("its ledger is another".to_owned()));
    }
    if is_file {
        into.commit().await?;
    }
    Ok(Copied { rows, entries: after.size() })
}

async fn copy_table(from: &mut Conn, into: &mut Conn, table: &Table) -> Result<u64, sqlx::Error> {
    let names: Vec<&str> = table.columns.iter().map(|(name, _)| name.as_str()).collect();
    let (name, names, key) = (&table.name, names.join(", "), table.key.join(", "));
    own(format!("DELETE FROM {name}")).execute(&mut *into).await?;
    let (mut written, mut limit) = (0, ROWS);
    let mut last: Vec<Value> = Vec::new();
    loop {
        let after = match last.len() {
            0 => String::new(),
            values => format!(" WHERE ({key}) > ({})", parameters(1, values)),
        };
        let sql = format!("SELECT {names} FROM {name}{after} ORDER BY {key} LIMIT {limit}");
        let page = Query { sql: sql.into(), values: std::mem::take(&mut last) }.fetch_all(&mut *from).await?;
        let Some(end) = page.last() else { break };
        last = table.key.iter().map(|column| table.value(end, column)).collect::<Result<_, _>>()?;
        let mut values = Vec::with_capacity(page.len() * table.columns.len());
        let mut places = Vec::with_capacity(page.len());
        for row in &page {
            places.push(format!("({})", parameters(values.len() + 1, table.columns.len())));
            for (column, _) in &table.columns {
                values.push(table.value(row, column)?);
            }
        }
        let bytes: usize = values.iter().map(Value::len).sum();
        limit = if bytes > BYTES { (limit / 2).max(1) } else { (limit * 2).min(ROWS) };
        let sql = format!("INSERT INTO {name} ({names}) VALUES {}", places.join(", "));
        written += Query { sql: sql.into(), values }.execute(&mut *into).await?;
    }
    if let (Conn::Postgres(conn), [key]) = (into, table.key.as_slice()) {
        postgres::number_on(conn, name, key).await?;
    }
    Ok(written)
}

fn parameters(from: usize, number: usize) -> String {
    let all: Vec<String> = (from..from + number).map(|number| format!("${number}")).collect();
    all.join(", ")
}

/// A statement put together of names that the tables of this program have.
fn own(sql: String) -> Query {
    Query { sql: sql.into(), values: Vec::new() }
}

impl Table {
    fn value(&self, row: &Row, column: &str) -> Result<Value, sqlx::Error> {
        let kind = self.columns.iter().find(|(name, _)| name == column).map_or(Kind::Text, |(_, kind)| *kind);
        Ok(match kind {
            Kind::Integer => Value::Integer(row.integer(column)?),
            Kind::Text => Value::Text(row.text(column)?),
            Kind::Bytes => Value::Bytes(row.bytes(column)?),
        })
    }
}

/// All tables, each after those that it points to, as this release has them.
async fn tables() -> Result<Vec<Table>, BackupError> {
    let failed = |source| BackupError::Table { table: "of all".to_owned(), source };
    let mut conn = Conn::Sqlite(sqlite::empty().await?);
    let mut left = Vec::new();
    for row in Query::with(TABLES, Vec::new()).fetch_all(&mut conn).await.map_err(failed)? {
        let name = row.text("name").map_err(failed)?.unwrap_or_default();
        let mut table = Table { name, columns: Vec::new(), key: Vec::new(), points_to: BTreeSet::new() };
        let mut key = Vec::new();
        let columns = Query::with(COLUMNS, vec![(&table.name).into()]).fetch_all(&mut conn).await;
        for row in columns.map_err(failed)? {
            let kind = match row.text("type").map_err(failed)?.as_deref() {
                Some("INTEGER") => Kind::Integer,
                Some("BLOB") => Kind::Bytes,
                _ => Kind::Text,
            };
            let name = row.text("name").map_err(failed)?.unwrap_or_default();
            if let Some(place @ 1..) = row.integer("pk").map_err(failed)? {
                key.push((place, name.clone()));
            }
            table.columns.push((name, kind));
        }
        key.sort();
        table.key = key.into_iter().map(|(_, name)| name).collect();
        let others = Query::with(POINTS_TO, vec![(&table.name).into()]).fetch_all(&mut conn).await;
        for row in others.map_err(failed)? {
            table.points_to.extend(row.text("name").map_err(failed)?);
        }
        left.push(table);
    }
    close(conn).await?;
    let (counted, mut left): (Vec<Table>, Vec<Table>) =
        left.into_iter().partition(|table| COUNTED.contains(&table.name.as_str()));
    let mut ordered: Vec<Table> = Vec::new();
    let mut placed = BTreeSet::new();
    while !left.is_empty() {
        let (ready, rest): (Vec<Table>, Vec<Table>) =
            left.into_iter().partition(|table| table.points_to.is_subset(&placed));
        if ready.is_empty() {
            return Err(BackupError::Differs("its tables point to each other in a circle".to_owned()));
        }
        placed.extend(ready.iter().map(|table| table.name.clone()));
        ordered.extend(ready);
        left = rest;
    }
    ordered.extend(counted);
    Ok(ordered)
}

async fn count(conn: &mut Conn) -> Result<Copied, BackupError> {
    let mut rows = 0;
    for table in tables().await? {
        rows += rows_of(conn, &table).await?;
    }
    Ok(Copied { rows, entries: Log::load(conn).await?.tree.size() })
}

async fn rows_of(conn: &mut Conn, table: &Table) -> Result<u64, BackupError> {
    let failed = |source| BackupError::Table { table: table.name.clone(), source };
    let row = own(format!("SELECT COUNT(*) AS number FROM {}", table.name)).fetch_one(conn).await.map_err(failed)?;
    Ok(row.integer("number").map_err(failed)?.unwrap_or(0).cast_unsigned())
}

async fn close(conn: Conn) -> Result<(), BackupError> {
    conn.close().await.map_err(|source| BackupError::Table { table: "of all".to_owned(), source })
}

/// Makes an empty file that only its owner reads: a store holds what others need not see.
fn make(path: &Path) -> Result<(), BackupError> {
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.map(drop).map_err(|source| BackupError::File { path: path.to_owned(), source })
}

/// Removes a file that was not finished, with what SQLite puts beside it.
fn discard(path: &Path) {
    for end in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        // Most of them are not there.
        drop(std::fs::remove_file(PathBuf::from(name)));
    }
}
