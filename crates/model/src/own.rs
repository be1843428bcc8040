//! Stanch's own packages: who changes a host by them changes what guards it, so they go last, alone, and only with the
//! word of whoever released them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The package of the agent.
pub const AGENT: &str = "stanch-agent";

/// The package of the server.
pub const SERVER: &str = "stanch";

/// Whether a package, or a source package, is one of Stanch's own.
pub fn is_own(name: &str) -> bool {
    name == AGENT || name == SERVER
}

/// A new version of one of them that did not prove itself on a host, so that the one before was brought back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Restored {
    /// The package.
    pub package: String,
    /// The version that did not prove itself.
    pub version: String,
    /// The one that is there again.
    pub back_to: String,
    /// When, by the host's clock.
    pub at: Timestamp,
}

impl Restored {
    /// Whether a host may say this: of no other package, and nothing that is no version.
    pub fn is_sound(&self) -> bool {
        let version = |text: &str| {
            (1..=128).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+~:-_".contains(&byte))
        };
        is_own(&self.package) && version(&self.version) && version(&self.back_to)
    }
}
