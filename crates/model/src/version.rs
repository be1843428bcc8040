//! Version orders. Debian's today; each ecosystem gets its own type, so that versions of two worlds cannot be
//! compared.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A Debian package version, ordered as dpkg orders them. Keeps the text it was read from.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DebVersion {
    text: String,
    parsed: debversion::Version,
}

/// A text that is no Debian version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a Debian version: {why}")]
pub struct NotAVersion {
    text: String,
    why: &'static str,
}

/// Longer texts are refused: no real version comes near, and a hostile feed should not cost memory.
const MAX_LEN: usize = 256;

impl DebVersion {
    /// The text as it was read.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for DebVersion {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let refuse = |why| NotAVersion { text: text.chars().take(64).collect(), why };
        if text.is_empty() {
            return Err(refuse("it is empty"));
        }
        if text.len() > MAX_LEN {
            return Err(refuse("it is longer than 256 bytes"));
        }
        if let Some((epoch, _)) = text.split_once(':')
            && epoch.parse::<u32>().map_or(true, |epoch| epoch > i32::MAX as u32)
        {
            return Err(refuse("its epoch is not a number that dpkg takes"));
        }
        let parsed = text.parse().map_err(|_| refuse("it has characters that dpkg does not take"))?;
        Ok(Self { text: text.to_owned(), parsed })
    }
}

impl TryFrom<String> for DebVersion {
    type Error = NotAVersion;

    fn try_from(text: String) -> Result<Self, NotAVersion> {
        text.parse()
    }
}

impl From<DebVersion> for String {
    fn from(version: DebVersion) -> Self {
        version.text
    }
}

impl fmt::Display for DebVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for DebVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl Ord for DebVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parsed.cmp(&other.parsed)
    }
}

impl PartialOrd for DebVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Equal as dpkg sees it: `1.0` and `1.0-0` are the same version.
impl PartialEq for DebVersion {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for DebVersion {}
