//! What the store promises, written against its API alone, so that every dialect can be asked the same: all of it runs on
//! SQLite, and [`on_postgres`] runs all of it again on PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod backup;
mod breaker;
mod budget;
mod case;
mod counts;
mod crash;
mod finding;
mod fleet;
mod interleaving;
mod item;
mod ledger;
mod on_postgres;
mod order;
mod outcome;
mod packages;
mod people;
#[path = "../../../testkit/src/postgres.rs"]
#[allow(dead_code, unreachable_pub, reason = "it is for others too")]
mod postgres;
mod rest;
mod retention;
mod seal;
mod sharing;
mod state;
mod together;
mod world;
