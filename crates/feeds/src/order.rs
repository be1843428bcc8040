//! Which order of versions an ecosystem has. Where Stanch knows none it compares nothing: a guess would be a verdict.

use std::cmp::Ordering;

use stanch_model::version::DebVersion;

use crate::error::Problem;

/// An order of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// As dpkg compares.
    Debian,
    /// Not known here: only equality can be told.
    None,
}

impl Order {
    pub(crate) fn of(ecosystem: &str) -> Self {
        match ecosystem.split(':').next() {
            Some("Debian" | "Ubuntu") => Self::Debian,
            _ => Self::None,
        }
    }

    /// Refuses a text that is no version in this order.
    pub(crate) fn check(self, version: &str) -> Result<(), Problem> {
        match self {
            Self::Debian => version.parse::<DebVersion>().map(drop).map_err(Problem::Version),
            Self::None if version.is_empty() || version.len() > 256 || version.contains(char::is_control) => {
                Err(Problem::value("version", version, "a version of at most 256 bytes"))
            }
            Self::None => Ok(()),
        }
    }

    /// How two versions compare; `None` when that cannot be told.
    pub(crate) fn compare(self, a: &str, b: &str) -> Option<Ordering> {
        match self {
            Self::Debian => Some(a.parse::<DebVersion>().ok()?.cmp(&b.parse::<DebVersion>().ok()?)),
            Self::None => (a == b).then_some(Ordering::Equal),
        }
    }
}
