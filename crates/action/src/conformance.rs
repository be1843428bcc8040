//! The conformance suite: what every action must show on every system before it may run there by itself.

/// Placeholder; the runner's owner fills this.
pub struct ConformanceReport;
/// Placeholder.
pub struct ConformanceRow;
/// Placeholder.
pub trait World {}
/// Placeholder.
pub struct WorldError;
/// Placeholder.
pub fn conform() {}
