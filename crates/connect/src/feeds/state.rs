//! What is remembered of a feed between two looks: what it was when it was accepted, and how the looks went.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_model::Digest;

use super::error::FetchError;
use super::place;

/// What is remembered of a feed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// When it was last looked for, whatever came of it.
    pub tried_at: Option<Timestamp>,
    /// When its source last gave it, or confirmed that there is nothing newer.
    pub checked_at: Option<Timestamp>,
    /// When the one in its place was accepted.
    pub accepted_at: Option<Timestamp>,
    /// Digest of the one in its place.
    pub digest: Option<Digest>,
    /// Looks that failed since the last that did not.
    pub failures: u32,
    /// The last failure, for people.
    pub failure: Option<String>,
    /// The server's entity tag of the one in its place.
    pub(super) etag: Option<String>,
    /// The server's modification time of it.
    pub(super) last_modified: Option<String>,
    /// The address that both belong to.
    pub(super) url: Option<String>,
}

impl State {
    /// What is remembered of a feed in this folder; nothing when there is no memory or it is damaged.
    pub fn load(folder: &Path, feed: &str) -> Self {
        std::fs::read(path(folder, feed)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Remembers it.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(&self, folder: &Path, feed: &str) -> Result<(), FetchError> {
        let path = path(folder, feed);
        // A state always has a JSON form.
        let bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        place::write(&path, &bytes)
    }

    /// Notes a failure.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn failed(folder: &Path, feed: &str, now: Timestamp, why: &str) -> Result<(), FetchError> {
        let mut state = Self::load(folder, feed);
        state.tried_at = Some(now);
        state.failures = state.failures.saturating_add(1);
        state.failure = Some(why.chars().take(500).collect());
        state.save(folder, feed)
    }
}

fn path(folder: &Path, feed: &str) -> PathBuf {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
    folder.join("state").join(format!("{}.json", feed.chars().map(plain).collect::<String>()))
}
