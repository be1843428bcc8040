//! Versions that did not prove themselves on this host. No order installs one of them again, whoever gives it, until a
//! person on this host says so.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::files::{json, lock, read};
use super::restore::{Places, RestoreError};

const LIST: &str = "failed.json";

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailedVersion {
    /// The package.
    pub package: String,
    /// Its version.
    pub version: String,
    /// When its time was over, by this host's clock.
    pub at: Timestamp,
}

impl Places {
    fn list(&self) -> PathBuf {
        self.folder.join(LIST)
    }

    /// The versions that did not prove themselves here, the oldest first.
    ///
    /// # Errors
    /// When the list does not read.
    pub fn failed(&self) -> Result<Vec<FailedVersion>, RestoreError> {
        Ok(read(&self.list())?.unwrap_or_default())
    }

    /// Whether this version was here and did not prove itself.
    ///
    /// # Errors
    /// When the list does not read.
    pub fn has_failed(&self, package: &str, version: &str) -> Result<bool, RestoreError> {
        Ok(self.failed()?.iter().any(|failed| failed.package == package && failed.version == version))
    }

    /// Puts one on the list; whoever calls this holds the lock.
    pub(super) fn note_failed(&self, package: &str, version: &str, at: Timestamp) -> Result<(), RestoreError> {
        let mut list = self.failed()?;
        if list.iter().any(|failed| failed.package == package && failed.version == version) {
            return Ok(());
        }
        list.push(FailedVersion { package: package.to_owned(), version: version.to_owned(), at });
        json(&self.list(), &list)
    }

    /// Takes one off the list: orders may install it again. Answers whether it was on it.
    ///
    /// # Errors
    /// When the list cannot be read or written.
    pub fn forget_failed(&self, package: &str, version: &str) -> Result<bool, RestoreError> {
        if !self.list().exists() {
            return Ok(false);
        }
        let _alone = lock(&self.lock_file())?;
        let mut list = self.failed()?;
        let before = list.len();
        list.retain(|failed| failed.package != package || failed.version != version);
        if list.len() == before {
            return Ok(false);
        }
        json(&self.list(), &list)?;
        Ok(true)
    }
}
