//! The nouns of Stanch and the one way they are encoded and hashed.
//!
//! Everything else in the house speaks in these types, so they may not depend on anything that acts: no I/O, no
//! clock, no randomness, no async. Times, ids and entropy come in as arguments.

pub mod ability;
pub mod assessment;
pub mod asset;
pub mod calendar;
pub mod canonical;
pub mod decision;
pub mod delta;
pub mod ecosystem;
pub mod edge;
pub mod enrol;
pub mod facts;
pub mod finding;
pub mod hold;
pub mod id;
pub mod item;
pub mod lasting;
pub mod merkle;
pub mod order;
pub mod own;
pub mod patch;
pub mod person;
pub mod plan;
pub mod playbook;
pub mod posture;
pub mod remediation;
pub mod script;
pub mod sign;
pub mod terms;
pub mod trust;
pub mod upstream;
pub mod version;
pub mod when;

pub use canonical::Digest;
pub use jiff::Timestamp;
pub use when::When;
