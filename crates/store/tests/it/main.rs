//! What the store promises, written against its API alone, so that every dialect can be asked the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

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
mod order;
mod outcome;
mod people;
mod rest;
mod seal;
mod sharing;
mod state;
mod world;
