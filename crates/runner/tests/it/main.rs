//! The runner on real files, with a toy action, a server double and clocks that the tests set.

#[path = "../../../testkit/src/conformance/desk.rs"]
mod desk;
#[path = "../../../testkit/src/conformance/toy.rs"]
mod toy;

mod conformance;
mod holds;
mod journal;
mod orders;
mod place;
mod serving;
mod steps;
