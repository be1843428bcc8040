//! Which order of versions an ecosystem has. Where Stanch knows none it compares nothing: a guess would be a verdict.

use std::cmp::Ordering;

use super::{
    ApkVersion, DebVersion, MavenVersion, NotAVersion, PlainVersion, PythonVersion, RpmVersion, SemanticVersion,
    UpstreamVersion,
};
use crate::ecosystem::{self, System};

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
    /// As rpm compares.
    Rpm,
    /// As apk compares.
    Apk,
    /// As the makers of libraries in C count.
    Upstream,
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
    /// Of a distribution of rpm packages.
    Rpm(RpmVersion),
    /// Of Alpine.
    Apk(ApkVersion),
    /// Of a library by its maker.
    Upstream(UpstreamVersion),
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
            Some("AlmaLinux" | "Rocky Linux") => Self::Rpm,
            Some("Alpine") => Self::Apk,
            Some(ecosystem::UPSTREAM) => Self::Upstream,
            _ => Self::Unknown,
        }
    }

    /// The order of what a finding is about, by its binary package: a package URL names an ecosystem or the manager of
    /// a system, all others are of Debian's world.
    pub fn of_binary(binary: &str) -> Self {
        match ecosystem::system_of_purl(binary) {
            Some(System::Rpm) => Self::Rpm,
            Some(System::Apk) => Self::Apk,
            None => ecosystem::of_purl(binary).map_or(Self::Debian, Self::of),
        }
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
            Self::Rpm => Version::Rpm(text.parse()?),
            Self::Apk => Version::Apk(text.parse()?),
            Self::Upstream => Version::Upstream(text.parse()?),
            Self::Unknown => Version::Plain(text.parse()?),
        })
    }

    /// How two versions compare; `None` when that cannot be told.
    pub fn compare(self, a: &str, b: &str) -> Option<Ordering> {
        self.read(a).ok()?.partial_cmp(&self.read(b).ok()?)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Debian(a), Self::Debian(b)) => Some(a.cmp(b)),
            (Self::Python(a), Self::Python(b)) => Some(a.cmp(b)),
            (Self::Semantic(a), Self::Semantic(b)) => Some(a.cmp(b)),
            (Self::Maven(a), Self::Maven(b)) => Some(a.cmp(b)),
            (Self::Rpm(a), Self::Rpm(b)) => Some(a.cmp(b)),
            (Self::Apk(a), Self::Apk(b)) => Some(a.cmp(b)),
            (Self::Upstream(a), Self::Upstream(b)) => Some(a.cmp(b)),
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
        assert_eq!(compare("Rocky Linux:9", "1.0^git1-1", "1.0-1"), Some(Ordering::Greater));
        assert_eq!(compare("Alpine:v3.20", "1.0_rc1-r0", "1.0-r0"), Some(Ordering::Less));
        assert_eq!(compare("RubyGems", "1.0", "2.0"), None);
        assert_eq!(compare("npm", "latest", "1.0.0"), None);
    }

    #[test]
    fn the_newest_version_is_the_highest_in_the_order_of_its_own_world() {
        let newest = |binary, versions: [&'static str; 2]| Order::of_binary(binary).newest(versions.into_iter());
        assert_eq!(newest("pkg:npm/lodash@1.0.0", ["1.9.0", "1.10.0"]), Some("1.10.0"));
        assert_eq!(newest("pkg:maven/a/b@1", ["1.0", "1.0-rc1"]), Some("1.0"));
        assert_eq!(newest("pkg:rpm/rocky/bash@1", ["1.0-9", "1.0-10"]), Some("1.0-10"));
        assert_eq!(newest("libc6", ["1.0", "1.0-rc1"]), Some("1.0-rc1"));
    }

    #[test]
    fn versions_of_two_worlds_do_not_compare() {
        let [one, other] = [Order::Python, Order::Maven].map(|order| order.read("1.0").unwrap());
        assert_eq!(one.partial_cmp(&other), None);
        assert_ne!(one, other);
    }
}
