//! Which order of versions an ecosystem has. Where Stanch knows none it compares nothing: a guess would be a verdict.

use std::cmp::Ordering;

use stanch_model::ecosystem;
use stanch_model::version::{DebVersion, MavenVersion, NotAVersion, PlainVersion, PythonVersion, SemanticVersion};

use crate::error::Problem;

/// An order of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As dpkg compares.
    Debian,
    /// PEP 440.
    Python,
    /// Semantic versions.
    Semantic,
    /// As Maven compares.
    Maven,
    /// Not known here: only equality can be told.
    Unknown,
}

/// A version that was read in some order. Two of different orders do not compare.
#[derive(Debug, Clone, PartialEq)]
pub enum Version {
    /// Of Debian or Ubuntu.
    Debian(DebVersion),
    /// Of PyPI.
    Python(PythonVersion),
    /// Of npm, crates.io or Go.
    Semantic(SemanticVersion),
    /// Of Maven.
    Maven(MavenVersion),
    /// Of an ecosystem whose order is not known here.
    Plain(PlainVersion),
}

impl Order {
    /// The order of an OSV ecosystem, such as `Debian:12` or `npm`.
    pub fn of(ecosystem: &str) -> Self {
        match ecosystem.split(':').next() {
            Some("Debian" | "Ubuntu") => Self::Debian,
            Some("PyPI") => Self::Python,
            Some("npm" | "crates.io" | "Go") => Self::Semantic,
            Some("Maven") => Self::Maven,
            _ => Self::Unknown,
        }
    }

    /// The order of what a finding is about, by its binary package: a package URL names an ecosystem, all others are
    /// of Debian's world.
    pub fn of_binary(binary: &str) -> Self {
        ecosystem::of_purl(binary).map_or(Self::Debian, Self::of)
    }

    /// The highest of these versions; those that do not compare are ordered as texts.
    pub fn newest<'a>(self, versions: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        versions.max_by(|a, b| self.compare(a, b).unwrap_or_else(|| a.cmp(b)))
    }

    /// Reads a version.
    ///
    /// # Errors
    /// When the text is no version in this order, or too long.
    pub fn read(self, text: &str) -> Result<Version, NotAVersion> {
        Ok(match self {
            Self::Debian => Version::Debian(text.parse()?),
            Self::Python => Version::Python(text.parse()?),
            Self::Semantic => Version::Semantic(text.parse()?),
            Self::Maven => Version::Maven(text.parse()?),
            Self::Unknown => Version::Plain(text.parse()?),
        })
    }

    /// How two versions compare; `None` when that cannot be told.
    pub fn compare(self, a: &str, b: &str) -> Option<Ordering> {
        self.read(a).ok()?.partial_cmp(&self.read(b).ok()?)
    }

    /// Refuses a text of a feed that makes no sense. A distribution writes its own versions; what others collect holds
    /// a few that their ecosystem does not take, and these stay as texts that compare with nothing.
    pub(crate) fn check(self, version: &str) -> Result<(), Problem> {
        match self {
            Self::Debian => version.parse::<DebVersion>().map(drop).map_err(Problem::Version),
            _ => Self::bounded(version),
        }
    }

    /// Refuses a text that is no version in any order.
    pub(crate) fn bounded(version: &str) -> Result<(), Problem> {
        version.parse::<PlainVersion>().map(drop).map_err(Problem::Version)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Debian(a), Self::Debian(b)) => Some(a.cmp(b)),
            (Self::Python(a), Self::Python(b)) => Some(a.cmp(b)),
            (Self::Semantic(a), Self::Semantic(b)) => Some(a.cmp(b)),
            (Self::Maven(a), Self::Maven(b)) => Some(a.cmp(b)),
            (Self::Plain(a), Self::Plain(b)) => a.partial_cmp(b),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ecosystem_orders_the_same_texts_in_its_own_way() {
        let compare = |ecosystem, a, b| Order::of(ecosystem).compare(a, b);
        assert_eq!(compare("Debian:12", "1.0-1", "1.0"), Some(Ordering::Greater));
        assert_eq!(compare("PyPI", "1.0-1", "1.0"), Some(Ordering::Greater), "a post-release");
        assert_eq!(compare("npm", "1.0.0-1", "1.0.0"), Some(Ordering::Less), "a pre-release");
        assert_eq!(compare("Maven", "1.0.0-1", "1.0.0"), Some(Ordering::Greater));
        assert_eq!(compare("Maven", "1.0-rc1", "1.0"), Some(Ordering::Less));
        assert_eq!(compare("PyPI", "1.0", "1.0.0"), Some(Ordering::Equal));
        assert_eq!(compare("Debian:12", "1.0", "1.0.0"), Some(Ordering::Less));
        assert_eq!(compare("RubyGems", "1.0", "2.0"), None);
        assert_eq!(compare("npm", "latest", "1.0.0"), None);
    }

    #[test]
    fn the_newest_version_is_the_highest_in_the_order_of_its_own_world() {
        let newest = |binary, versions: [&'static str; 2]| Order::of_binary(binary).newest(versions.into_iter());
        assert_eq!(newest("pkg:npm/lodash@1.0.0", ["1.9.0", "1.10.0"]), Some("1.10.0"));
        assert_eq!(newest("pkg:maven/a/b@1", ["1.0", "1.0-rc1"]), Some("1.0"));
        assert_eq!(newest("libc6", ["1.0", "1.0-rc1"]), Some("1.0-rc1"));
    }

    #[test]
    fn versions_of_two_worlds_do_not_compare() {
        let [one, other] = [Order::Python, Order::Maven].map(|order| order.read("1.0").unwrap());
        assert_eq!(one.partial_cmp(&other), None);
        assert_ne!(one, other);
    }
}
