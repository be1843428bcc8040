//! What the engine promises, one file a promise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod assessing;
mod conflicting;
mod forecasting;
mod grouping;
mod judging;
mod order;
mod planning;
mod plays;
mod proposing;
mod published_tables;
mod scheduling;
mod walks;
mod world;
