//! Feeds fetched from a server that misbehaves in every way a real one does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod fetching;
mod server;
