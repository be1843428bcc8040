//! What only PostgreSQL needs: how the database is reached and made ready, how a batch begins and ends, and what is said
//! otherwise than in SQLite.
//!
//! Any number of servers write to one database. Each batch first takes the one lock of those who write, and reads anew
//! where the ledger and the outbox end: what holds for one writer then holds for all of them together.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgPoolOptions, PgSeverity};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, PgPool, Row as _, SqlSafeStr as _};

use crate::error::OpenError;
use crate::newer::{self, Applied};
use crate::place::{DatabaseUrl, StoreAt};

/// Connections that read.
const READERS: u32 = 8;
/// How long a read waits for one of them, and how long it takes to connect at most.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a batch may take, with the time it waits for those of other servers.
pub(crate) const BATCH: Duration = Duration::from_secs(60);
/// How long one of them may be idle before it is asked whether it is still there.
const IDLE: Duration = Duration::from_secs(1);
/// How long one read may take: longer than PostgreSQL lets it, if it hears of that.
const READ: Duration = Duration::from_secs(45);
/// The oldest release that has all that is asked of it.
const OLDEST: i32 = 150_000;

/// The waits between tries to connect: the first, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// What every connection is set to. A server that is gone, or hangs, must not keep the lock: PostgreSQL ends its
/// transaction when it says nothing for so long, and its connection when nobody answers there.
const SETTINGS: [(&str, &str); 10] = [
    ("search_path", "stanch"),
    ("synchronous_commit", "on"),
    ("statement_timeout", "30s"),
    ("lock_timeout", "30s"),
    ("idle_in_transaction_session_timeout", "20s"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "25s"),
    ("jit", "off"),
];

const PREPARE: &str = "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
     SELECT pg_advisory_lock(1937006958, 1)";
const MAKE_ROOM: &str = "DO $$ BEGIN IF to_regnamespace('stanch') IS NULL THEN CREATE SCHEMA stanch; END IF; END $$";
const BEGIN: &str = "BEGIN; SELECT pg_advisory_xact_lock(1937006958, 2); SAVEPOINT transition";
const WHO: &str = "SELECT current_setting('server_version_num')::int AS number, current_setting('server_version') AS version, \
     current_setting('server_encoding') AS encoding";

const MIGRATIONS: [(i64, &str, &str); 7] = [
    (18, "start", include_str!("../migrations/postgres/0018_start.sql")),
    (19, "missed windows", include_str!("../migrations/postgres/0019_missed_windows.sql")),
    (20, "seen edge", include_str!("../migrations/postgres/0020_seen_edge.sql")),
    (21, "writer", include_str!("../migrations/postgres/0021_writer.sql")),
    (25, "bad patches", include_str!("../migrations/postgres/0025_bad_patches.sql")),
    (30, "packages", include_str!("../migrations/postgres/0030_packages.sql")),
    (31, "retention", include_str!("../migrations/postgres/0031_retention.sql")),
];

fn options(url: &DatabaseUrl) -> PgConnectOptions {
    let options = url.options().clone().options(SETTINGS).statement_cache_capacity(256).disable_statement_logging();
    if options.get_application_name().is_some() { options } else { options.application_name("stanch") }
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    match tokio::time::timeout(PATIENCE, options.connect()).await {
        Ok(conn) => conn,
        Err(_) => Err(late()),
    }
}

/// Opens the connection that writes, with its tables up to date. Of several servers one brings them up to date, and the
/// others wait for it.
pub(crate) async fn open_writer(url: &DatabaseUrl) -> Result<PgConnection, OpenError> {
    let at = || StoreAt::Database(url.clone());
    let open = |source| OpenError::Open { at: at(), source };
    let options = options(url);
    let mut conn = connect(&options).await.map_err(open)?;
    let who = sqlx::query(WHO).fetch_one(&mut conn).await.map_err(open)?;
    if who.try_get::<i32, _>("number").map_err(open)? < OLDEST {
        return Err(OpenError::OldServer { at: at(), version: who.try_get("version").map_err(open)? });
    }
    let encoding: String = who.try_get("encoding").map_err(open)?;
    if encoding != "UTF8" {
        return Err(OpenError::Encoding { at: at(), encoding });
    }
    sqlx::raw_sql(PREPARE).execute(&mut conn).await.map_err(open)?;
    sqlx::raw_sql(MAKE_ROOM).execute(&mut conn).await.map_err(open)?;
    let known = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL");
    if known.fetch_one(&mut conn).await.map_err(open)? {
        let applied: Vec<(i64, String)> = sqlx::query_as(newer::APPLIED).fetch_all(&mut conn).await.map_err(open)?;
        let applied: Vec<Applied> = applied.into_iter().map(Applied::from).collect();
        if let Some(one) = newer::contracting(&MIGRATIONS, &applied) {
            return Err(OpenError::newer(at(), one));
        }
    }
    let migrated = migrator().run_direct(None, &mut conn, false).await;
    migrated.map_err(|source| OpenError::Migrate { at: at(), source })?;
    // Its end lets go of the lock.
    conn.close().await.map_err(open)?;
    connect(&options).await.map_err(open)
}

/// Opens a connection that sees everything as it is now, for as long as it takes.
pub(crate) async fn open_snapshot(url: &DatabaseUrl) -> Result<PgConnection, OpenError> {
    let open = |source| OpenError::Open { at: StoreAt::Database(url.clone()), source };
    let options = options(url).options([("statement_timeout", "0"), ("idle_in_transaction_session_timeout", "0")]);
    let mut conn = connect(&options).await.map_err(open)?;
    run(&mut conn, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(open)?;
    Ok(conn)
}

/// Has the numbers that a table gives its rows go on after those it has.
pub(crate) async fn number_on(conn: &mut PgConnection, table: &str, key: &str) -> Result<(), sqlx::Error> {
    let named = sqlx::query("SELECT pg_get_serial_sequence($1, $2) AS name").bind(table).bind(key);
    let name: Option<String> = named.fetch_one(&mut *conn).await?.try_get("name")?;
    let Some(name) = name else { return Ok(()) };
    let next = format!("SELECT setval('{name}', COALESCE(MAX({key}), 0) + 1, false) FROM {table}");
    sqlx::query(AssertSqlSafe(next)).execute(conn).await.map(drop)
}

fn migrator() -> Migrator {
    let migrations = MIGRATIONS.iter().map(|&(version, description, sql)| {
        Migration::new(version, description.into(), MigrationType::Simple, AssertSqlSafe(sql).into_sql_str(), false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    migrator.set_locking(false).set_ignore_missing(true);
    migrator
}

/// Opens the connections that read. They cannot write, and each statement is planned for the values it has: what narrows
/// a listing may be absent.
pub(crate) async fn open_readers(url: &DatabaseUrl) -> Result<PgPool, OpenError> {
    let options =
        options(url).options([("default_transaction_read_only", "on"), ("plan_cache_mode", "force_custom_plan")]);
    let pool = PgPoolOptions::new().max_connections(READERS).acquire_timeout(PATIENCE);
    // One that was just used is there; only of one that was long idle it is asked before.
    let pool = pool.test_before_acquire(false).before_acquire(|conn, about| {
        Box::pin(async move {
            if about.idle_for > IDLE {
                conn.ping().await?;
            }
            Ok(true)
        })
    });
    let pool = pool.connect_with(options).await;
    pool.map_err(|source| OpenError::Open { at: StoreAt::Database(url.clone()), source })
}

/// Reads on one of the connections. One that does not answer, whatever becomes of the network, is not used again.
pub(crate) async fn in_time<T>(
    pool: &PgPool,
    read: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
) -> Result<T, sqlx::Error> {
    let mut conn = pool.acquire().await?;
    match tokio::time::timeout(READ, read(&mut conn)).await {
        Ok(done) => done,
        Err(_) => {
            drop(conn.detach());
            Err(late())
        }
    }
}

/// The error of what did not answer.
pub(crate) fn late() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}

/// Begins a batch once no other server is in one; its first transition may write.
pub(crate) async fn begin(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    run(conn, BEGIN).await
}

/// Keeps what was written since the last mark, and begins the next transition.
pub(crate) async fn mark(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    run(conn, "RELEASE transition; SAVEPOINT transition").await
}

/// Takes back what was written since the last mark.
pub(crate) async fn undo(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    run(conn, "ROLLBACK TO transition").await
}

/// Makes the batch durable.
pub(crate) async fn commit(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    run(conn, "COMMIT").await
}

/// Takes back the batch, if one is open. Tells whether the connection can be used again.
pub(crate) async fn abandon(conn: &mut PgConnection) -> bool {
    matches!(tokio::time::timeout(PATIENCE, run(conn, "ROLLBACK")).await, Ok(Ok(())))
}

async fn run(conn: &mut PgConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(sql).execute(conn).await.map(drop)
}

/// Whether a commit that ended so may have been made durable: the server has not said that it was not.
pub(crate) fn may_have_committed(error: &sqlx::Error) -> bool {
    let said = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    said.is_none_or(|error| !matches!(error.severity(), PgSeverity::Error))
}

/// Where a connection is had again after one was lost.
pub(crate) struct Server {
    options: Box<PgConnectOptions>,
    wait: Duration,
    next: Option<Instant>,
}

impl Server {
    pub(crate) fn at(url: &DatabaseUrl) -> Self {
        Self { options: Box::new(options(url)), wait: WAITS.0, next: None }
    }

    /// Connects anew; after it was tried in vain, not before a while has passed.
    pub(crate) async fn connect(&mut self) -> Result<PgConnection, sqlx::Error> {
        if let Some(next) = self.next {
            tokio::time::sleep_until(next.into()).await;
        }
        let connected = connect(&self.options).await;
        if connected.is_ok() {
            (self.wait, self.next) = (WAITS.0, None);
        } else {
            self.next = Some(Instant::now() + self.wait);
            self.wait = (2 * self.wait).min(WAITS.1);
        }
        connected
    }
}

/// The portable text as PostgreSQL has it: it chooses its indexes by itself, and compares without regard to case by the
/// lower form, which is what its index is on.
pub(crate) fn dialect(sql: Cow<'static, str>) -> Cow<'static, str> {
    const INDEXED: &str = " INDEXED BY ";
    const NO_CASE: &str = " COLLATE NOCASE";
    let mut sql = sql;
    while let Some((before, after)) = sql.split_once(INDEXED) {
        let end = after.find([' ', ')']).unwrap_or(after.len());
        sql = format!("{before}{}", after.get(end..).unwrap_or_default()).into();
    }
    while let Some((before, after)) = sql.split_once(NO_CASE) {
        let mut words = before.rsplitn(4, ' ');
        let (Some(value), Some(_), Some(column)) = (words.next(), words.next(), words.next()) else { break };
        sql = format!("{} lower({column}) = lower({value} COLLATE \"C\"){after}", words.next().unwrap_or_default())
            .into();
    }
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_since_the_rule_say_what_they_take_away() {
        assert_eq!(newer::tests::unmarked(&MIGRATIONS), None);
    }

    #[test]
    fn what_is_said_otherwise_in_postgresql() {
        let said = |sql: &'static str| dialect(sql.into()).into_owned();
        assert_eq!(said("SELECT a FROM t INDEXED BY t_a WHERE a = $1"), "SELECT a FROM t WHERE a = $1");
        assert_eq!(said("(SELECT a FROM t INDEXED BY t_a)"), "(SELECT a FROM t)");
        let named = "SELECT a FROM t WHERE t.name = $1 COLLATE NOCASE ORDER BY a";
        assert_eq!(said(named), "SELECT a FROM t WHERE lower(t.name) = lower($1 COLLATE \"C\") ORDER BY a");
        assert!(matches!(dialect("SELECT 1".into()), Cow::Borrowed(_)));
    }
}
