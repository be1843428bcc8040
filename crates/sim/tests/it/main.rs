//! The quick runs of the gate; the long ones are `cargo xtask sim`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod invariants;
mod table;
