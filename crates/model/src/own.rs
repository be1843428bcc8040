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

/// A new version of one of them that did not prove itself on a host, so that the one before was brought back, or was to be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Restored {
    /// The package.
    pub package: String,
    /// The version that did not prove itself.
    pub version: String,
    /// The one that is there again.
    pub back_to: String,
    /// When its time was over, by the host's clock.
    pub at: Timestamp,
    /// Why the one before could not be brought back: then it is not there again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_restored: Option<String>,
}

impl Restored {
    /// Whether a host may say this: of no other package, and nothing that is no version.
    pub fn is_sound(&self) -> bool {
        let version = |text: &str| {
            (1..=128).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+~:-_".contains(&byte))
        };
        let words = |text: &String| text.chars().count() <= 300 && !text.chars().any(char::is_control);
        is_own(&self.package)
            && version(&self.version)
            && version(&self.back_to)
            && self.not_restored.as_ref().is_none_or(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_says_nothing_of_other_packages_and_nothing_that_is_no_version_or_no_sentence() {
        let restored = Restored {
            package: AGENT.to_owned(),
            version: "1.2+b".to_owned(),
            back_to: "1.2".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            not_restored: None,
        };
        assert!(restored.is_sound());
        assert!(!Restored { package: "bash".to_owned(), ..restored.clone() }.is_sound());
        assert!(!Restored { version: "1 2".to_owned(), ..restored.clone() }.is_sound());
        let because = |why: &str| Restored { not_restored: Some(why.to_owned()), ..restored.clone() };
        assert!(because("after 8 attempts: dpkg failed").is_sound());
        assert!(!because("one\ntwo").is_sound() && !because(&"long ".repeat(100)).is_sound());
    }
}
