//! A host of a fleet: who it is to its server, how it gets in, and the way there.

mod enrol;
mod identity;
mod link;

pub use enrol::{EnrolError, enrol, renew};
pub use identity::{Identity, IdentityError};
pub use link::{CallError, HttpsLink, Proxied};

/// Where the agent keeps its journal, its keys and who it is.
pub const FOLDER: &str = "/var/lib/stanch-agent";
