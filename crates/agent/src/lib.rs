//! What runs on a host: reading its facts, and acting on it.

pub mod actions;
pub mod executor;
pub mod facts;
pub mod fleet;
mod in_use;
pub mod own;
pub mod probe;
pub mod rehearsal;
pub mod rules;
pub mod sbom;
