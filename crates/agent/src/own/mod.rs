//! Stanch's own packages on this host: whose word they need, and what brings the version before back.

pub mod release;
pub mod restore;
