//! What it means to act: one contract for everything that changes a target.
//!
//! An action has five verbs. `observe`, `plan` and `verify` read; `apply` and `undo` change, step by step, through a
//! [`Run`] that makes every step durable before it is taken. Nothing here does I/O: actions live where their targets
//! are, and the runner gives them their run.

pub mod catalogue;
mod conformance;
mod contract;
mod definition;

pub use conformance::{
    ConformanceReport, ConformanceRow, Crash, Death, Moment, Point, Points, RowResult, Sent, World, WorldError, conform,
};
pub use contract::{
    Action, ActionError, Applied, Catalogue, Checkpoint, Observation, PlanAnswer, Run, StopRequested, Verification,
};
pub use definition::{Definition, Idempotency, Place};
