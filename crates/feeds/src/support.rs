//! Sources whose security support ended inside a living release, as Debian's `debian-security-support` lists them.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use stanch_model::Digest;

use crate::compiled::{Compiled, Effort};
use crate::error::{FeedError, Problem};
use crate::meta::{FeedMeta, Kind};

const MAX_ROWS: usize = 100_000;

/// The support of sources in one release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Support {
    /// The release's codename.
    pub release: String,
    /// Sources whose support ended.
    #[serde(default)]
    pub ended: Vec<Ended>,
    /// Sources with limited support: only some of their problems are fixed.
    #[serde(default, rename = "limited_support")]
    pub limited: Vec<String>,
}

/// A source whose support ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The source's name; one that ends in `.*` stands for all that begin so.
    pub source: String,
    /// The last version that was supported, perhaps of an older release.
    pub last_supported: String,
    /// The day it ended.
    pub ended: Date,
}

/// Reads a support list.
///
/// # Errors
/// When it is not one.
pub fn compile(json: &[u8]) -> Result<Compiled, FeedError> {
    compile_with(json, Effort::Quick)
}

pub(crate) fn compile_with(json: &[u8], effort: Effort) -> Result<Compiled, FeedError> {
    let refuse = |problem| FeedError::new("support", problem);
    let support: Support = serde_json::from_slice(json).map_err(|error| refuse(Problem::Json(error)))?;
    if support.ended.len() > MAX_ROWS || support.limited.len() > MAX_ROWS {
        return Err(refuse(Problem::TooMany { limit: MAX_ROWS }));
    }
    if support.release.is_empty() || !support.release.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(refuse(Problem::value("release", &support.release, "a codename")));
    }
    let mut meta = FeedMeta::new(Kind::Support, &format!("support/{}", support.release), Digest::of_bytes(json));
    meta.records = (support.ended.len() + support.limited.len()) as u64;
    let newest = support.ended.iter().map(|ended| ended.ended).max();
    meta.dated = newest.and_then(|day| jiff::tz::TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).ok());
    let body = serde_json::to_vec(&support).map_err(|error| refuse(Problem::Json(error)))?;
    Compiled::new(meta, &body, effort).map_err(refuse)
}

impl Support {
    pub(crate) fn load(body: &[u8]) -> Result<Self, Problem> {
        serde_json::from_slice(body).map_err(Problem::Json)
    }

    /// The end of a source's support, if it came on or before this day.
    pub fn ended(&self, source: &str, day: Date) -> Option<&Ended> {
        self.ended.iter().find(|ended| ended.ended <= day && stands_for(&ended.source, source))
    }

    /// Whether a source has limited support.
    pub fn is_limited(&self, source: &str) -> bool {
        self.limited.iter().any(|pattern| stands_for(pattern, source))
    }
}

fn stands_for(pattern: &str, source: &str) -> bool {
    pattern.strip_suffix(".*").map_or(pattern == source, |beginning| source.starts_with(beginning))
}
