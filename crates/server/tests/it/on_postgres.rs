//! The loop again, with its store in PostgreSQL.

use std::process::Command;

use crate::postgres::Cluster;
use crate::world::POSTGRES;

/// What is run again: the whole loop, and with servers that stop in the middle of it.
const AGAIN: [&str; 2] = ["loop_closed::", "recover::"];

#[test]
fn the_loop_closes_on_postgresql_too() {
    let cluster = Cluster::start(false).unwrap();
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.env(POSTGRES, cluster.socket()).args(["--skip", "on_postgres::", "--test-threads", "2"]);
    match std::env::var("STANCH_TEST_ONLY") {
        Ok(only) => again.arg(only),
        Err(_) => again.args(AGAIN),
    };
    let done = again.output().unwrap();
    let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(done.status.success(), "on PostgreSQL:\n{}\n{}", said[0], said[1]);
    println!("{}", said[0]);
}
