//! The runner on real files, with a toy action, a server double and clocks that the tests set.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(missing_docs, unreachable_pub, reason = "nobody links a test")]

#[path = "../../../testkit/src/conformance/desk.rs"]
mod desk;
#[path = "../../../testkit/src/conformance/toy.rs"]
mod toy;

mod conformance;
mod facts;
mod holds;
mod journal;
mod orders;
mod place;
mod serving;
mod steps;
