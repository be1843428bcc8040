//! What only SQLite needs: how the file is opened, how a batch begins and ends, how a copy is made.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, SqlSafeStr as _, SqliteConnection, SqlitePool,
};

use crate::error::OpenError;
use crate::newer::{self, Applied};
use crate::place::StoreAt;

/// Connections that read.
const READERS: u32 = 4;
/// How long to wait for a lock before giving up: only a second process can hold one.
const BUSY: Duration = Duration::from_secs(5);

/// Pages the writer keeps, as negative KiB: all that a full batch changes, or SQLite writes them out before the batch
/// ends, and again at its end.
const CACHE: &str = "-32768";
/// Pages in the log before they are copied into the file: several full batches, or each of them pays for a copy.
const CHECKPOINT: &str = "10000";

const MIGRATIONS: [(i64, &str, &str); 24] = [
    (1, "start", include_str!("../migrations/sqlite/0001_start.sql")),
    (2, "people", include_str!("../migrations/sqlite/0002_people.sql")),
    (3, "breaker", include_str!("../migrations/sqlite/0003_breaker.sql")),
    (4, "outcome", include_str!("../migrations/sqlite/0004_outcome.sql")),
    (5, "item listing", include_str!("../migrations/sqlite/0005_item_listing.sql")),
    (6, "health", include_str!("../migrations/sqlite/0006_health.sql")),
    (7, "campaign", include_str!("../migrations/sqlite/0007_campaign.sql")),
    (8, "case", include_str!("../migrations/sqlite/0008_case.sql")),
    (9, "change_request", include_str!("../migrations/sqlite/0009_change_request.sql")),
    (10, "fleet", include_str!("../migrations/sqlite/0010_fleet.sql")),
    (11, "detections", include_str!("../migrations/sqlite/0011_detections.sql")),
    (12, "counts", include_str!("../migrations/sqlite/0012_counts.sql")),
    (13, "receipts", include_str!("../migrations/sqlite/0013_receipts.sql")),
    (14, "detection_lines", include_str!("../migrations/sqlite/0014_detection_lines.sql")),
    (15, "listings", include_str!("../migrations/sqlite/0015_listings.sql")),
    (16, "enrolment", include_str!("../migrations/sqlite/0016_enrolment.sql")),
    (17, "fleet_pages", include_str!("../migrations/sqlite/0017_fleet_pages.sql")),
    (18, "signed approval", include_str!("../migrations/sqlite/0018_signed_approval.sql")),
    (19, "missed windows", include_str!("../migrations/sqlite/0019_missed_windows.sql")),
    (20, "seen edge", include_str!("../migrations/sqlite/0020_seen_edge.sql")),
    (21, "writer", include_str!("../migrations/sqlite/0021_writer.sql")),
    (25, "bad patches", include_str!("../migrations/sqlite/0025_bad_patches.sql")),
    (30, "packages", include_str!("../migrations/sqlite/0030_packages.sql")),
    (31, "retention", include_str!("../migrations/sqlite/0031_retention.sql")),
];

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY)
        .statement_cache_capacity(256)
        .disable_statement_logging()
}

/// Opens the one connection that writes, with its tables up to date.
pub(crate) async fn open_writer(path: &Path) -> Result<SqliteConnection, OpenError> {
    let open = |source| opening(path, source);
    let options = options(path).pragma("cache_size", CACHE).pragma("wal_autocheckpoint", CHECKPOINT);
    let mut conn = options.connect().await.map_err(open)?;
    let check: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut conn).await.map_err(open)?;
    if check != "ok" {
        return Err(OpenError::Damaged { at: StoreAt::File(path.to_owned()), detail: check });
    }
    let known = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'";
    let migrated_before: i64 = sqlx::query_scalar(known).fetch_one(&mut conn).await.map_err(open)?;
    if migrated_before != 0 {
        let applied: Vec<(i64, String)> = sqlx::query_as(newer::APPLIED).fetch_all(&mut conn).await.map_err(open)?;
        let applied: Vec<Applied> = applied.into_iter().map(Applied::from).collect();
        if let Some(one) = newer::contracting(&MIGRATIONS, &applied) {
            return Err(OpenError::newer(StoreAt::File(path.to_owned()), one));
        }
    }
    let migrated = migrator(&MIGRATIONS).run_direct(None, &mut conn, false).await;
    migrated.map_err(|source| OpenError::Migrate { at: StoreAt::File(path.to_owned()), source })?;
    Ok(conn)
}

fn migrator(migrations: &[(i64, &'static str, &'static str)]) -> Migrator {
    let migrations = migrations.iter().map(|&(version, description, sql)| {
        Migration::new(version, description.into(), MigrationType::Simple, AssertSqlSafe(sql).into_sql_str(), false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    migrator.set_ignore_missing(true);
    migrator
}

/// Whether the file is a whole database.
pub(crate) async fn check(path: &Path) -> Result<(), OpenError> {
    let open = |source| opening(path, source);
    let mut conn = options(path).create_if_missing(false).connect().await.map_err(open)?;
    let check: String = sqlx::query_scalar("PRAGMA integrity_check(1)").fetch_one(&mut conn).await.map_err(open)?;
    conn.close().await.map_err(open)?;
    if check == "ok" { Ok(()) } else { Err(OpenError::Damaged { at: StoreAt::File(path.to_owned()), detail: check }) }
}

/// An empty store in memory, for its tables.
pub(crate) async fn empty() -> Result<SqliteConnection, OpenError> {
    let at = || StoreAt::File("of this release".into());
    let conn = SqliteConnectOptions::new().in_memory(true).disable_statement_logging().connect().await;
    let mut conn = conn.map_err(|source| OpenError::Open { at: at(), source })?;
    let migrated = migrator(&MIGRATIONS).run_direct(None, &mut conn, false).await;
    migrated.map_err(|source| OpenError::Migrate { at: at(), source })?;
    Ok(conn)
}

/// Opens the connections that read. They cannot write.
pub(crate) async fn open_readers(path: &Path) -> Result<SqlitePool, OpenError> {
    let options = options(path).create_if_missing(false).pragma("query_only", "1");
    let pool = SqlitePoolOptions::new().max_connections(READERS).connect_with(options).await;
    pool.map_err(|source| opening(path, source))
}

fn opening(path: &Path, source: sqlx::Error) -> OpenError {
    let code = source.as_database_error().and_then(sqlx::error::DatabaseError::code);
    let primary = code.and_then(|code| code.parse::<i32>().ok()).map(|code| code & 0xff);
    match primary {
        // SQLITE_BUSY, SQLITE_LOCKED
        Some(5 | 6) => OpenError::Busy { at: StoreAt::File(path.to_owned()) },
        // SQLITE_CORRUPT, SQLITE_NOTADB
        Some(11 | 26) => OpenError::Damaged { at: StoreAt::File(path.to_owned()), detail: source.to_string() },
        _ => OpenError::Open { at: StoreAt::File(path.to_owned()), source },
    }
}

/// Begins a batch; its first transition may write.
pub(crate) async fn begin(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    run(conn, "BEGIN IMMEDIATE; SAVEPOINT transition").await
}

/// Keeps what was written since the last mark, and begins the next transition.
pub(crate) async fn mark(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    run(conn, "RELEASE transition; SAVEPOINT transition").await
}

/// Takes back what was written since the last mark.
pub(crate) async fn undo(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    run(conn, "ROLLBACK TO transition").await
}

/// Makes the batch durable.
pub(crate) async fn commit(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    run(conn, "COMMIT").await
}

/// Takes back the batch, if one is open.
pub(crate) async fn abandon(conn: &mut SqliteConnection) {
    // An error that ended the transaction by itself makes this one fail, which is as well.
    drop(run(conn, "ROLLBACK").await);
}

async fn run(conn: &mut SqliteConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    sqlx::query(sql).execute(conn).await.map(drop)
}

/// The length of the log beside the file from which readers are waited for, so that it can begin from its start again.
/// As long as one read follows another, each keeps it from that, and it grows without end.
const LONG_LOG: u64 = 512 << 20;
/// After that was tried in vain, no batch waits for it again for so long.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// The log beside the file, with what keeps it short.
#[derive(Debug)]
pub(crate) struct WalFile {
    path: PathBuf,
    long: u64,
    tried: Option<Instant>,
}

impl WalFile {
    /// The log of the store in this file.
    pub(crate) fn of(store: &Path) -> Self {
        let mut path = store.as_os_str().to_owned();
        path.push("-wal");
        Self { path: path.into(), long: LONG_LOG, tried: None }
    }

    /// Empties the log when it has become long. New reads need it no more once all of it is in the file, so only those
    /// under way are waited for, and no longer than for a lock.
    pub(crate) async fn keep_short(&mut self, conn: &mut SqliteConnection) {
        let length = std::fs::metadata(&self.path).map_or(0, |about| about.len());
        if length < self.long || self.tried.is_some_and(|at| at.elapsed() < TRY_AGAIN) {
            return;
        }
        self.tried = Some(Instant::now());
        match sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(conn).await.and_then(|row| row.try_get(0)) {
            Ok(0_i64) => self.tried = None,
            Ok(_) => tracing::warn!(length, "the store's log is long, and a read that does not end keeps it so"),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the store's log is not emptied"),
        }
    }
}

/// Writes a whole and compact copy to a file that must be empty.
pub(crate) async fn copy(path: &Path, to: &Path) -> Result<(), sqlx::Error> {
    let mut conn = options(path).create_if_missing(false).connect().await?;
    sqlx::query("VACUUM INTO $1").bind(to.to_string_lossy().into_owned()).execute(&mut conn).await?;
    conn.close().await
}

#[cfg(test)]
mod tests {
    use stanch_model::Timestamp;
    use stanch_model::decision::{Decision, Mode};
    use stanch_model::finding::{Detector, Verdict};
    use stanch_model::id::ItemId;

    use super::*;
    use crate::Store;

    #[test]
    fn migrations_since_the_rule_say_what_they_take_away() {
        assert_eq!(newer::tests::unmarked(&MIGRATIONS), None);
    }

    #[tokio::test]
    async fn the_release_before_works_with_what_a_newer_one_has_added_and_with_nothing_that_it_took_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stanch.db");
        Store::open(&path).await.unwrap().shut().await;
        let mut all = MIGRATIONS.to_vec();
        all.push((9_998, "later", "CREATE TABLE later (id TEXT PRIMARY KEY) STRICT"));
        all.push((9_999, "more", "ALTER TABLE asset ADD COLUMN later TEXT NOT NULL DEFAULT 'x'"));
        let newer = async |all: &[(i64, &'static str, &'static str)]| {
            let mut conn = options(&path).connect().await.unwrap();
            migrator(all).run_direct(None, &mut conn, false).await.unwrap();
            conn.close().await.unwrap();
        };
        newer(&all).await;
        let store = Store::open(&path).await.unwrap();
        let setting = crate::setting::Setting {
            key: "a".into(),
            value: serde_json::json!(1),
            at: Timestamp::from_second(1).unwrap(),
        };
        store.put(crate::Write::PutSetting(setting)).await.unwrap();
        store.shut().await;

        all.push((10_000, "contract: later", "DROP TABLE later"));
        newer(&all).await;
        let error = Store::open(&path).await.unwrap_err();
        assert!(matches!(&error, OpenError::Newer { number: 10_000, .. }), "{error:?}");
        assert!(error.to_string().contains("contract: later") && error.hint().contains("newer release"), "{error}");
    }

    #[tokio::test]
    async fn what_an_older_release_wrote_stays_and_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stanch.db");
        let mut old = options(&path).connect().await.unwrap();
        migrator(&MIGRATIONS[..11]).run(&mut old).await.unwrap();
        run(
            &mut old,
            "INSERT INTO asset (id, kind, name, body, first_seen, last_seen) VALUES ('a', 'host', 'a', '{}', 1, 1)",
        )
        .await
        .unwrap();
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let [one, two] = [b"one", b"two"].map(|name| ItemId::from_digest(&stanch_model::Digest::of_bytes(name)));
        let decisions = [(&one, 1, Mode::Alert), (&one, 2, Mode::Auto), (&two, 3, Mode::Alert)]
            .map(|(item, seconds, mode)| Decision { mode, ..Decision::by_default(item.clone(), at(seconds)) });
        for (item, closed) in [(&one, None), (&two, Some(9))] {
            sqlx::query(
                "INSERT INTO item (id, asset, name, body, findings, rank, first_seen, last_seen, closed_at, action) \
                 VALUES ($1, 'a', 'x', '{}', 1, '~', 1, 1, $2, 'package.upgrade')",
            )
            .bind(item.as_str())
            .bind(closed)
            .execute(&mut old)
            .await
            .unwrap();
        }
        for decision in &decisions {
            sqlx::query("INSERT INTO decision (item, at, mode, body) VALUES ($1, $2, $3, $4)")
                .bind(decision.item.as_str())
                .bind(decision.at.as_microsecond())
                .bind(decision.mode.name())
                .bind(serde_json::to_string(decision).unwrap())
                .execute(&mut old)
                .await
                .unwrap();
        }
        for (name, closed) in [("1", None), ("2", None), ("3", Some(9))] {
            sqlx::query(
                "INSERT INTO finding (fingerprint, asset, detector, verdict, id, package, body, digest, first_seen, \
                 last_seen, closed_at, reopened) VALUES ($1, 'a', 'kernel', 'held', 'x', 'x', '{}', x'', 1, 1, $2, 0)",
            )
            .bind(name)
            .bind(closed)
            .execute(&mut old)
            .await
            .unwrap();
        }
        let host = stanch_model::asset::Asset::unlabelled(stanch_model::asset::AssetKind::Host, "m", "m");
        let found = stanch_model::finding::Finding {
            fingerprint: stanch_model::finding::fingerprint(&host.id, Detector::Advisory, "DEBIAN-CVE-2024-1000", "x"),
            asset: host.id.clone(),
            class: stanch_model::finding::OcsfClass::Vulnerability,
            detector: Detector::Advisory,
            id: "DEBIAN-CVE-2024-1000".into(),
            aliases: vec!["GHSA-x".into()],
            package: "x".into(),
            binary: "x".into(),
            version: "1".into(),
            source_version: None,
            fixed_version: None,
            verdict: Verdict::Held,
            reason: String::new(),
            cvss_vectors: Vec::new(),
            doubt: None,
            feed: None,
            since: stanch_model::finding::Since::default(),
        };
        sqlx::query(
            "INSERT INTO asset (id, kind, name, body, first_seen, last_seen) VALUES ($1, 'host', 'm', '{}', 1, 1)",
        )
        .bind(host.id.as_str())
        .execute(&mut old)
        .await
        .unwrap();
        sqlx::query(
            "INSERT INTO finding (fingerprint, asset, detector, verdict, id, package, body, digest, first_seen, last_seen, \
             reopened) VALUES ($1, $2, 'advisory', 'held', $3, 'x', $4, x'', 1, 1, 0)",
        )
        .bind(found.fingerprint.as_str())
        .bind(host.id.as_str())
        .bind(&found.id)
        .bind(serde_json::to_string(&found).unwrap())
        .execute(&mut old)
        .await
        .unwrap();
        let executor = "INSERT INTO setting (key, value, at) VALUES ('executor/exec-0', \
             '{\"asset\": {\"id\": \"a\"}, \"frozen\": \"put out by ada: sold\", \"confirmed\": true}', 1)";
        run(&mut old, executor).await.unwrap();
        let detection = "INSERT INTO detection (asset, with_data, without_feed, packages, body, at) VALUES \
             ('asset-00000000000000a0', 1, 0, 1, '{\"unread\": [[\"sockets\", \"needs root\"]], \"notes\": [\"a\"]}', 1)";
        run(&mut old, detection).await.unwrap();
        old.close().await.unwrap();

        let store = Store::open(&path).await.unwrap();
        let [first, last, other] = decisions;
        assert_eq!(store.decisions(&one, 10).await.unwrap(), [last, first]);
        assert_eq!(store.decisions(&two, 10).await.unwrap(), [other]);
        let items = store.count_items(None, at(10)).await.unwrap();
        assert_eq!((items.open, items.actionable, items.decided), (1, 1, 1));
        let findings: Vec<_> = store.finding_counts(None).await.unwrap().into_values().collect();
        let count = |open, closed| crate::overview::FindingCount { open, closed };
        assert_eq!(findings, [count(1, 0), count(2, 1)]);
        let names = store.names_of("cve-2024-1000", 10).await.unwrap();
        assert_eq!(names, ["CVE-2024-1000", "DEBIAN-CVE-2024-1000", "GHSA-x"]);
        let put_out = Some((crate::fleet::Presence::PutOut, at(0)));
        let filter = crate::fleet::FleetFilter { presence: put_out, ..Default::default() };
        assert_eq!(store.count_fleet(&filter).await.unwrap(), 1);
        let unruled = crate::fleet::FleetFilter { blind: Some(crate::fleet::Blind::NoPolicy), ..Default::default() };
        assert_eq!(store.count_fleet(&unruled).await.unwrap(), 1, "no rule had fired");
        let unread = store.said(crate::detection::Listed::Unread, None, 10).await.unwrap();
        let told: Vec<_> = unread.iter().map(|one| (one.fact.as_deref(), one.why.as_str(), one.assets)).collect();
        assert_eq!(told, [(Some("sockets"), "needs root", 1)]);
    }

    #[tokio::test]
    async fn a_log_that_became_long_under_a_read_is_emptied_once_the_read_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let mut writer = open_writer(&path).await.unwrap();
        let readers = open_readers(&path).await.unwrap();
        let mut log = WalFile { long: 64 << 10, ..WalFile::of(&path) };
        let length = || std::fs::metadata(folder.path().join("store.db-wal")).unwrap().len();
        run(&mut writer, "CREATE TABLE line (text TEXT)").await.unwrap();
        let mut reading = readers.begin().await.unwrap();
        let count = "SELECT count(*) FROM line";
        let _: i64 = sqlx::query_scalar(count).fetch_one(&mut *reading).await.unwrap();
        for _ in 0..100 {
            run(&mut writer, "INSERT INTO line VALUES (hex(randomblob(4000)))").await.unwrap();
        }
        run(&mut writer, "PRAGMA busy_timeout = 10").await.unwrap();
        log.keep_short(&mut writer).await;
        assert!(length() > 64 << 10, "the read sees what was");
        let seen: i64 = sqlx::query_scalar(count).fetch_one(&mut *reading).await.unwrap();
        assert_eq!(seen, 0);
        reading.rollback().await.unwrap();
        log.keep_short(&mut writer).await;
        assert!(length() > 64 << 10, "it is not tried again at once");
        log.tried = None;
        log.keep_short(&mut writer).await;
        assert_eq!(length(), 0);
        let seen: i64 = sqlx::query_scalar(count).fetch_one(&readers).await.unwrap();
        assert_eq!(seen, 100);
    }
}
