//! The simulator: the pure core in a world that loses, doubles and delays everything, in which servers and executors
//! die at any point, clocks differ, executors lie, and people approve, hold, take back and change their minds.
//!
//! What is real: the planner, the rollout's machine, the words of receipts, the state machine of the executor's journal.
//! What is modelled: the store's transactions ([`store`], `commit`), the servers' passes (`server`), the gateway
//! (`gateway`), the executor's moves (`work`) and the targets. A world is a value; an [`act`] changes it; the same seed
//! gives the same acts on every machine. After every commit and every start the invariants are checked against what is
//! true, not against what anybody says ([`check`]).
//!
//! A failing schedule is shrunk to a play that a person can read. Each checker is shown to catch a planted defect
//! ([`defects`]); those of the engine exist only in a build with `--cfg stanch_defects`, which `cargo xtask sim` makes
//! in a folder of its own.

#![allow(
    clippy::indexing_slicing,
    reason = "a number out of place is a defect of the simulator, and stopping is the right answer to it"
)]

mod act;
mod calm;
mod check;
mod choose;
mod commit;
pub mod defects;
mod dice;
mod gateway;
mod host;
mod large;
mod plan;
mod run;
mod server;
mod setup;
mod store;
mod work;
mod world;

pub use large::large;
pub use run::{Failure, simulate, story};
pub use world::Figures;
