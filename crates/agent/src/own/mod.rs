//! Stanch's own packages on this host: whose word they need, what brings the version before back, and which versions were
//! here and did not prove themselves.

mod failed;
mod files;
pub mod release;
pub mod restore;
mod server;
mod watch;

pub use failed::FailedVersion;
pub use server::Unwell;
