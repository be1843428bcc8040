//! The program as people use it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod backup;
mod by_hash;
mod components;
mod deploy;
/// The executor of the server's own tests.
#[allow(dead_code, reason = "the server's tests need more of it")]
#[path = "../../../server/tests/it/double.rs"]
mod double;
mod fleet;
mod help;
mod pages;
mod people;
mod policy;
mod program;
mod record;
mod scan;
mod script;
mod settings;
mod shipped;
mod trust;
