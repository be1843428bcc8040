//! The policy language as its users meet it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bundles;
mod calendars;
mod deciding;
mod exchange;
mod fence;
mod gathering;
mod icalendar;
mod language;
mod properties;
mod scripts;
mod shipped;
mod tooling;
mod world;
