//! The outside as it behaves: feeds from a server that misbehaves in every way a real one does, a real mail server, a
//! receiver of webhooks, and tokens that are not what they say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod fetching;
mod identity;
mod mail;
mod server;
mod webhook;
