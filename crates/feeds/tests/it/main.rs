//! What the feeds say, and what follows, on real and on hostile data.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod archive;
mod changes;
mod components;
mod copies;
mod detectors;
mod enrichment;
mod golden;
mod guarding;
mod hostile;
mod kept;
mod posture;
mod properties;
mod statements;
mod versions;
mod world;
