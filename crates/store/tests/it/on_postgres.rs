//! Everything again on PostgreSQL, and what only there can happen: several servers, one of them slow, dead or newer.

use std::process::Command;

use stanch_store::Store;

use crate::postgres::Cluster;
use crate::world::{POSTGRES, TEMPLATE};

/// Makes a cluster, and runs this very test program once more with it. One test can be asked for alone:
/// `STANCH_TEST_ONLY=item:: cargo test -p stanch-store --test it on_postgres::everything`.
#[tokio::test]
async fn everything_holds_on_postgresql_too() {
    if std::env::var_os(POSTGRES).is_some() {
        return;
    }
    let cluster = Cluster::start(false).unwrap();
    cluster.ask("postgres", &format!("CREATE DATABASE {TEMPLATE} TEMPLATE template0")).unwrap();
    let store = Store::connect(&cluster.url(TEMPLATE).parse().unwrap()).await.unwrap();
    store.shut().await;
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.env(POSTGRES, cluster.socket()).args(["--skip", "on_postgres::", "--test-threads", "2"]);
    again.args(std::env::var("STANCH_TEST_ONLY").ok());
    let done = again.output().unwrap();
    let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(done.status.success(), "on PostgreSQL:\n{}\n{}", said[0], said[1]);
    println!("{}", said[0]);
}
