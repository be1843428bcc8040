//! The nouns, seen from outside.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod calendars;
mod clocks;
mod orders;
mod posture;
mod recurrences;
mod rpm;
