//! Everything again on PostgreSQL, and what only there can happen: several servers, one of them slow, dead or newer, and
//! a database that fails under them.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use sqlx::{Connection as _, Row as _};
use stanch_model::asset::{AssetKind, asset_id};
use stanch_model::id::RemediationId;
use stanch_model::remediation::TaskState;
use stanch_store::budget::{Reserve, Settle};
use stanch_store::{CommitError, DatabaseUrl, OpenError, Store, StoreAt, Write};

use crate::crash::{ledger_is_whole, say};
use crate::postgres::{self, Cluster};
use crate::world::{POSTGRES, TEMPLATE, begin, begin_task, move_task, remediation_id, task_id};

/// Makes a cluster, and runs this very test program once more with it. One test can be asked for alone:
/// `STANCH_TEST_ONLY=item:: cargo test -p stanch-store --test it on_postgres::everything`.
#[tokio::test]
async fn everything_holds_on_postgresql_too() {
    let cluster = Cluster::start(false).unwrap();
    cluster.ask("postgres", &format!("CREATE DATABASE {TEMPLATE} TEMPLATE template0")).unwrap();
    Store::connect(&cluster.url(TEMPLATE).parse().unwrap()).await.unwrap().shut().await;
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.env(POSTGRES, cluster.socket()).args(["--skip", "on_postgres::", "--test-threads", "2"]);
    again.args(std::env::var("STANCH_TEST_ONLY").ok());
    let done = again.output().unwrap();
    let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(done.status.success(), "on PostgreSQL:\n{}\n{}", said[0], said[1]);
    println!("{}", said[0]);
}

fn url(cluster: &Cluster) -> DatabaseUrl {
    cluster.database(None).unwrap().parse().unwrap()
}

fn share(name: &str, limit: u32) -> Write {
    let (holder, scope, span) = (task_id(name).to_string(), "fleet".into(), "always".into());
    Write::Reserve(Reserve { holder, scope, span, amount: 1, limit })
}

/// Begins a task on an asset of its own, then moves it with a share of the budget.
async fn reserve(store: &Store, remediation: &RemediationId, name: &str, limit: u32) -> Result<(), CommitError> {
    let id = task_id(name);
    store.commit(begin_task(&id, remediation, &asset_id(AssetKind::Host, name))).await?;
    let step = move_task(&id, TaskState::Pending, 1, TaskState::Reserved).write(share(name, limit));
    store.commit(step.nudge("dispatch", &id)).await?;
    Ok(())
}

/// The remediation that tasks belong to.
async fn begun(store: &Store, name: &str) -> RemediationId {
    let id = remediation_id(name);
    store.commit(begin(&id)).await.unwrap();
    id
}

/// Where the children of these tests find the database, who they are, and how much there is to take.
const STORE: &str = "STANCH_TEST_WRITER_STORE";
const NAME: &str = "STANCH_TEST_WRITER_NAME";
const LIMIT: u32 = 60;
const TRIES: u32 = 50;

/// The child: takes shares of one budget, eight callers at a time, and says which it was given.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writer_child() {
    let (Ok(at), Ok(who)) = (std::env::var(STORE), std::env::var(NAME)) else { return };
    let store = Store::connect(&at.parse().unwrap()).await.unwrap();
    let remediation = begun(&store, &who).await;
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let (store, remediation, who) = (store.clone(), remediation.clone(), who.clone());
        callers.spawn(async move {
            for number in (caller..TRIES).step_by(8) {
                let name = format!("{who}-{number}");
                match reserve(&store, &remediation, &name, LIMIT).await {
                    Ok(()) => say(&name),
                    Err(CommitError::OverBudget { .. }) => {}
                    Err(error) => panic!("{name}: {error:?}"),
                }
            }
        });
    }
    callers.join_all().await;
    store.shut().await;
}

fn child(test: &str, at: &str, who: &str) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(STORE, at).env(NAME, who);
    child.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap()
}

fn acknowledged(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.map_while(Result::ok).filter_map(|line| Some(line.split_once("acknowledged ")?.1.to_owned()))
}

#[tokio::test]
async fn two_servers_share_a_budget_and_a_ledger_as_one_would() {
    let cluster = Cluster::start(false).unwrap();
    let at = cluster.database(None).unwrap();
    let mut children = ["one", "two"].map(|who| child("on_postgres::writer_child", &at, who));
    let said: Vec<String> = children.iter_mut().flat_map(acknowledged).collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(said.len(), LIMIT as usize, "all that there was to take was taken, and no more");
    let store = Store::connect(&at.parse().unwrap()).await.unwrap();
    assert_eq!(store.budget("fleet", "always").await.unwrap().reserved, u64::from(LIMIT));
    for name in &said {
        assert_eq!(store.task(&task_id(name)).await.unwrap().unwrap().state, TaskState::Reserved);
    }
    let nudges = store.nudges_after(0, 1_000).await.unwrap();
    assert_eq!(nudges.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), (1..=60).collect::<Vec<u64>>());
    // Two remediations, a hundred tasks, and a move for each share.
    assert_eq!(ledger_is_whole(&store).await, 2 + 2 * u64::from(TRIES) + u64::from(LIMIT));
}

#[tokio::test]
async fn numbers_of_nudges_go_on_where_another_server_had_come_to() {
    let cluster = Cluster::start(false).unwrap();
    let url = url(&cluster);
    let (one, two) = (Store::connect(&url).await.unwrap(), Store::connect(&url).await.unwrap());
    let nudge = async |store: &Store, name: &str| {
        let id = remediation_id(name);
        store.commit(begin(&id).nudge("plan", &id)).await.unwrap();
    };
    nudge(&one, "a").await;
    nudge(&two, "b").await;
    let heard = two.nudges_after(0, 9).await.unwrap();
    assert_eq!(heard.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 2]);
    one.put(Write::AckNudges(2)).await.unwrap();
    nudge(&one, "c").await;
    assert_eq!(two.nudges_after(2, 9).await.unwrap().len(), 1, "none is numbered as one that was heard");
}

#[tokio::test]
async fn servers_that_start_together_make_the_tables_once() {
    let cluster = Cluster::start(false).unwrap();
    let url = url(&cluster);
    let mut starting = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let url = url.clone();
        starting.spawn(async move { Store::connect(&url).await });
    }
    for (number, store) in starting.join_all().await.into_iter().enumerate() {
        store.unwrap().commit(begin(&remediation_id(&number.to_string()))).await.unwrap();
    }
    let store = Store::connect(&url).await.unwrap();
    assert_eq!(ledger_is_whole(&store).await, 4);
}

/// A task and whether it was begun.
type Outcome = (String, Result<(), CommitError>);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_kill_of_the_database_and_the_server_goes_on() {
    let mut cluster = Cluster::start(true).unwrap();
    let store = Store::connect(&url(&cluster)).await.unwrap();
    let remediation = begun(&store, "r").await;
    let over = Arc::new(AtomicBool::new(false));
    let done: Arc<Mutex<Vec<Outcome>>> = Arc::default();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..16 {
        let (store, remediation, over, done) =
            (store.clone(), remediation.clone(), Arc::clone(&over), Arc::clone(&done));
        callers.spawn(async move {
            for number in 0.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let name = format!("{caller}-{number}");
                let asset = asset_id(AssetKind::Host, &name);
                let outcome = store.commit(begin_task(&task_id(&name), &remediation, &asset)).await;
                done.lock().unwrap().push((name, outcome.map(drop)));
            }
        });
    }
    let succeeded = || done.lock().unwrap().iter().filter(|(_, outcome)| outcome.is_ok()).count();
    for _ in 0..3 {
        let before = succeeded();
        while succeeded() < before + 200 {
            tokio::task::yield_now().await;
        }
        cluster.kill();
        cluster.restart().unwrap();
    }
    let before = succeeded();
    while succeeded() < before + 50 {
        tokio::task::yield_now().await;
    }
    over.store(true, Ordering::Relaxed);
    callers.join_all().await;
    let done = std::mem::take(&mut *done.lock().unwrap());
    let mut unknown = 0;
    for (name, outcome) in &done {
        let there = store.task(&task_id(name)).await.unwrap().is_some();
        match outcome {
            Ok(()) => assert!(there, "{name} was acknowledged and is gone"),
            Err(CommitError::Unknown(_)) => unknown += 1,
            Err(error) => assert!(!there, "{name} is there, although: {error:?}"),
        }
    }
    let failed = done.iter().filter(|(_, outcome)| outcome.is_err()).count();
    assert!(failed > 0, "it was killed under them");
    println!("{} committed, {failed} not, {unknown} of them unknown", done.len() - failed);
    ledger_is_whole(&store).await;
}

#[tokio::test]
async fn a_database_that_was_restarted_meanwhile_is_not_noticed() {
    let mut cluster = Cluster::start(true).unwrap();
    let store = Store::connect(&url(&cluster)).await.unwrap();
    store.commit(begin(&remediation_id("before"))).await.unwrap();
    cluster.kill();
    cluster.restart().unwrap();
    store.commit(begin(&remediation_id("after"))).await.unwrap();
    assert_eq!(ledger_is_whole(&store).await, 2);
}

#[tokio::test]
async fn a_database_that_is_away_is_told_and_waited_for() {
    let mut cluster = Cluster::start(true).unwrap();
    let store = Store::connect(&url(&cluster)).await.unwrap();
    cluster.kill();
    let refused = store.commit(begin(&remediation_id("away"))).await.unwrap_err();
    assert!(matches!(refused, CommitError::Database { .. }), "{refused:?}");
    cluster.restart().unwrap();
    store.commit(begin(&remediation_id("back"))).await.unwrap();
    assert_eq!(ledger_is_whole(&store).await, 1);
}

/// What becomes of the next commit on its way to the database.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Open,
    /// It does not get there.
    CutBefore,
    /// It gets there, and its answer does not get back.
    CutAfter,
}

/// A way to the database that can be cut: a socket in the folder that leads to the one of the cluster.
fn way(folder: &Path, cluster: &Cluster) -> Arc<Mutex<Way>> {
    const NAME: &str = ".s.PGSQL.5432";
    let way = Arc::new(Mutex::new(Way::Open));
    let listener = UnixListener::bind(folder.join(NAME)).unwrap();
    let (there, given) = (cluster.socket().join(NAME), Arc::clone(&way));
    std::thread::spawn(move || {
        for here in listener.incoming() {
            let (Ok(here), Ok(there)) = (here, UnixStream::connect(&there)) else { break };
            let cut = Arc::new(AtomicBool::new(false));
            let back = (there.try_clone().unwrap(), here.try_clone().unwrap(), Arc::clone(&cut));
            std::thread::spawn(move || carry(back.0, back.1, |_| back.2.load(Ordering::SeqCst)));
            let way = Arc::clone(&way);
            std::thread::spawn(move || {
                carry(here, there, |bytes| {
                    if !bytes.windows(7).any(|word| word == b"COMMIT\0") {
                        return false;
                    }
                    match std::mem::replace(&mut *way.lock().unwrap(), Way::Open) {
                        Way::Open => false,
                        Way::CutBefore => true,
                        Way::CutAfter => {
                            cut.store(true, Ordering::SeqCst);
                            false
                        }
                    }
                });
            });
        }
    });
    given
}

/// Carries bytes from one to the other until something that comes by has both cut.
fn carry(mut from: UnixStream, mut to: UnixStream, cut: impl Fn(&[u8]) -> bool) {
    let mut bytes = [0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        if cut(&bytes[..length]) || to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    // One of them may be gone already.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_told_to_be_unknown_and_the_server_goes_on() {
    let cluster = Cluster::start(false).unwrap();
    let database = cluster.database(None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let way = way(folder.path(), &cluster);
    let name = database.split(['/', '?']).nth(3).unwrap();
    let store = Store::connect(&postgres::url(folder.path(), name).parse().unwrap()).await.unwrap();
    for (cut, there) in [(Way::CutBefore, false), (Way::CutAfter, true)] {
        let id = remediation_id(&there.to_string());
        *way.lock().unwrap() = cut;
        let lost = store.commit(begin(&id).nudge("plan", &id)).await.unwrap_err();
        assert!(matches!(lost, CommitError::Unknown(_)), "{lost:?}");
        store.commit(begin(&remediation_id(&format!("after {there}")))).await.unwrap();
        assert_eq!(store.remediation(&id).await.unwrap().is_some(), there);
    }
    assert_eq!(ledger_is_whole(&store).await, 3);
    assert_eq!(store.nudges_after(0, 9).await.unwrap().len(), 1);
}

/// The child: never ends by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_child() {
    let (Ok(at), Ok(who)) = (std::env::var(STORE), std::env::var(NAME)) else { return };
    let store = Store::connect(&at.parse().unwrap()).await.unwrap();
    let remediation = begun(&store, &who).await;
    for number in 0.. {
        let name = format!("{who}-{number}");
        reserve(&store, &remediation, &name, u32::MAX).await.unwrap();
        say(&name);
        let id = task_id(&name);
        let (holder, scope, span) = (id.to_string(), "fleet".into(), "always".into());
        let settle = Write::Settle(Settle { holder, scope, span, used: true });
        let step = move_task(&id, TaskState::Reserved, 2, TaskState::Cancelled).write(settle);
        store.commit(step).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_hangs_in_a_batch_does_not_keep_the_others_from_writing() {
    let cluster = Cluster::start(false).unwrap();
    let at = cluster.database(None).unwrap();
    let store = Store::connect(&at.parse().unwrap()).await.unwrap();
    let mut hanging = child("on_postgres::endless_child", &at, "hanging");
    let pid = hanging.id().to_string();
    let signal = |name: &str| assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    acknowledged(&mut hanging).nth(20).unwrap();
    // Stopped again and again, until it is stopped while it has the lock.
    let holds = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' \
         AND l.granted AND a.state = 'idle in transaction' AND a.datname = current_database()";
    let database = at.split(['/', '?']).nth(3).unwrap();
    loop {
        signal("-STOP");
        if cluster.ask(database, holds).unwrap() == "1" && cluster.ask(database, holds).unwrap() == "1" {
            break;
        }
        signal("-CONT");
    }
    store.commit(begin(&remediation_id("meanwhile"))).await.unwrap();
    hanging.kill().unwrap();
    hanging.wait().unwrap();
    ledger_is_whole(&store).await;
}

#[tokio::test]
async fn a_database_that_was_taken_back_is_written_no_more() {
    let cluster = Cluster::start(false).unwrap();
    let url = url(&cluster);
    let store = Store::connect(&url).await.unwrap();
    store.commit(begin(&remediation_id("a"))).await.unwrap();
    let StoreAt::Database(_) = store.at() else { panic!("it is in a database") };
    let database = url.to_string();
    let database = database.split(['/', '?']).nth(3).unwrap();
    cluster.ask(database, "TRUNCATE stanch.leaf, stanch.entry_subject, stanch.entry, stanch.tree").unwrap();
    let refused = store.commit(begin(&remediation_id("b"))).await.unwrap_err();
    assert!(matches!(refused, CommitError::RolledBack { had: 1, has: 0 }), "{refused:?}");
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_with_a_hint() {
    let cluster = Cluster::start(false).unwrap();
    cluster.ask("postgres", "CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII'").unwrap();
    let ascii = Store::connect(&cluster.url("ascii").parse().unwrap()).await.unwrap_err();
    assert!(matches!(&ascii, OpenError::Encoding { encoding, .. } if encoding == "SQL_ASCII"), "{ascii:?}");
    assert!(ascii.hint().contains("UTF8"));

    let newer = cluster.database(None).unwrap();
    Store::connect(&newer.parse().unwrap()).await.unwrap().shut().await;
    let database = newer.split(['/', '?']).nth(3).unwrap();
    let migration = "INSERT INTO stanch._sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'contract: later', true, '', 0)";
    cluster.ask(database, migration).unwrap();
    let newer = Store::connect(&newer.parse().unwrap()).await.unwrap_err();
    assert!(matches!(newer, OpenError::Newer { number: 9999, .. }), "{newer:?}");
    assert!(newer.hint().contains("newer release"));

    let nobody = postgres::url(Path::new("/nowhere"), "stanch") + "&password=s3cret";
    let nobody = Store::connect(&nobody.parse().unwrap()).await.unwrap_err();
    assert!(matches!(nobody, OpenError::Open { .. }), "{nobody:?}");
    assert!(!format!("{nobody} {nobody:?}").contains("s3cret"));
}

#[tokio::test]
async fn the_release_before_works_with_what_a_newer_one_has_added() {
    let cluster = Cluster::start(false).unwrap();
    let url = url(&cluster);
    Store::connect(&url).await.unwrap().shut().await;
    let text = url.to_string();
    let database = text.split(['/', '?']).nth(3).unwrap();
    let later = "CREATE TABLE stanch.later (id text PRIMARY KEY); \
         ALTER TABLE stanch.remediation ADD COLUMN later text NOT NULL DEFAULT 'x'; \
         INSERT INTO stanch._sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'later', true, '', 0)";
    cluster.ask(database, later).unwrap();
    let store = Store::connect(&url).await.unwrap();
    store.commit(begin(&remediation_id("a"))).await.unwrap();
}

#[tokio::test]
async fn both_kinds_of_database_have_the_same_tables() {
    let cluster = Cluster::start(false).unwrap();
    cluster.ask("postgres", "CREATE DATABASE tables TEMPLATE template0").unwrap();
    Store::connect(&cluster.url("tables").parse().unwrap()).await.unwrap().shut().await;
    let there = "SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable FROM \
         information_schema.columns WHERE table_schema = 'stanch' AND table_name <> '_sqlx_migrations'";
    let there = cluster.ask("tables", there).unwrap();
    let there: BTreeSet<String> = there.lines().map(str::to_owned).collect();

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stanch.db");
    Store::open(&path).await.unwrap().shut().await;
    let mut file = sqlx::SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    let here = "SELECT t.name || '.' || c.name AS column, c.type, c.\"notnull\" OR c.pk > 0 AS needed FROM \
         sqlite_master t, pragma_table_info(t.name) c WHERE t.type = 'table' AND t.name NOT LIKE '\\_sqlx%' ESCAPE '\\' \
         AND t.name NOT LIKE 'sqlite%'";
    let rows = sqlx::query(here).fetch_all(&mut file).await.unwrap();
    let here: BTreeSet<String> = rows
        .iter()
        .map(|row| {
            let kind = match row.get::<String, _>("type").as_str() {
                "INTEGER" => "bigint",
                "TEXT" => "text",
                "BLOB" => "bytea",
                other => panic!("{other} is none of the portable types"),
            };
            let needed = if row.get::<bool, _>("needed") { "NO" } else { "YES" };
            format!("{} {kind} {needed}", row.get::<String, _>("column"))
        })
        .collect();
    assert_eq!(there, here);
}
