//! What the engine promises, one file a promise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod again;
mod assessing;
mod blasting;
mod breaking;
mod campaigning;
mod casing;
mod conflicting;
mod exposed;
mod forecasting;
mod grouping;
mod holding;
mod judging;
mod order;
mod planning;
mod plays;
mod proposing;
mod published_tables;
mod scheduling;
mod settings;
mod staged;
mod trusting;
mod walks;
mod world;
