//! What the ledger promises an outsider, tried on whole exports.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod export;
mod log;
mod proof;
mod removal;
