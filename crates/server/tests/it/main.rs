//! The server as a whole, with an executor that is a double: it speaks signed orders and receipts through the gateway,
//! and its packages change when it acts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod access;
mod blast;
mod cases;
mod changes;
mod double;
mod estate;
mod facts;
mod feeds;
mod fleet;
mod giving_way;
mod hold;
mod identity;
mod loop_closed;
mod notices;
mod on_postgres;
mod pages;
mod people;
mod policies;
#[path = "../../../testkit/src/postgres.rs"]
#[allow(dead_code, unreachable_pub, reason = "it is for others too")]
mod postgres;
mod posture;
mod provider;
mod recover;
mod rehearsals;
mod retention;
mod scripts;
mod servers;
mod signatures;
mod windows;
mod world;
