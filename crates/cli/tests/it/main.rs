//! The program as people use it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod help;
mod pages;
mod program;
mod record;
mod scan;
