//! Ecosystems besides the distributions': what package URLs call them, and what advisories do.

use std::borrow::Cow;

/// The type in a package URL, the ecosystem's name in OSV, and what stands there between namespace and name; `None`
/// where names have no namespace.
const ECOSYSTEMS: [(&str, &str, Option<&str>); 8] = [
    ("cargo", "crates.io", None),
    ("composer", "Packagist", Some("/")),
    ("gem", "RubyGems", None),
    ("golang", "Go", Some("/")),
    ("maven", "Maven", Some(":")),
    ("npm", "npm", Some("/")),
    ("nuget", "NuGet", None),
    ("pypi", "PyPI", None),
];

/// The OSV ecosystem of a component, and the name that advisories there use, by the parts of its package URL:
/// `maven`, `org.apache.logging.log4j` and `log4j-core` are `org.apache.logging.log4j:log4j-core` of `Maven`.
pub fn named(kind: &str, namespace: &str, name: &str) -> Option<(&'static str, String)> {
    let (_, ecosystem, between) = ECOSYSTEMS.iter().find(|(known, ..)| *known == kind)?;
    let name = match between {
        Some(between) if !namespace.is_empty() => format!("{namespace}{between}{name}"),
        _ => normal_name(ecosystem, name).into_owned(),
    };
    Some((ecosystem, name))
}

/// The one name of many spellings. For PyPI that of PEP 503: lower case, runs of `-`, `_` and `.` as one `-`; the
/// others have one spelling only.
pub fn normal_name<'a>(ecosystem: &str, name: &'a str) -> Cow<'a, str> {
    if ecosystem != "PyPI" {
        return Cow::Borrowed(name);
    }
    let mut plain = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if plain.ends_with('-') => {}
            '-' | '_' | '.' => plain.push('-'),
            other => plain.extend(other.to_lowercase()),
        }
    }
    Cow::Owned(plain)
}

/// A manager of a whole system whose packages are written as package URLs. Those of dpkg go by their bare names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// rpm.
    Rpm,
    /// apk of Alpine.
    Apk,
}

/// The manager whose package this package URL is; `None` for all others.
pub fn system_of_purl(purl: &str) -> Option<System> {
    match purl.strip_prefix("pkg:")?.split_once('/')?.0 {
        "rpm" => Some(System::Rpm),
        "apk" => Some(System::Apk),
        _ => None,
    }
}

/// The OSV ecosystem of a package URL, by its type.
pub fn of_purl(purl: &str) -> Option<&'static str> {
    let (kind, _) = purl.strip_prefix("pkg:")?.trim_start_matches('/').split_once('/')?;
    ECOSYSTEMS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(kind)).map(|(_, ecosystem, _)| *ecosystem)
}

/// A package URL without version, qualifiers and subpath: what all versions of one component share. `None` for a text
/// that is no package URL.
pub fn without_version(purl: &str) -> Option<&str> {
    purl.strip_prefix("pkg:")?;
    let bare = purl.split(['?', '#']).next()?;
    match bare.rsplit_once('@') {
        // In `pkg:npm/@scope/name` the sign begins a scope.
        Some((package, version)) if !version.contains('/') => Some(package),
        _ => Some(bare),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_has_the_name_that_its_advisories_use() {
        for (kind, namespace, name, ecosystem, known_as) in [
            ("pypi", "", "Zope_Interface.-x", "PyPI", "zope-interface-x"),
            ("npm", "", "lodash", "npm", "lodash"),
            ("npm", "@babel", "core", "npm", "@babel/core"),
            ("cargo", "", "serde_yaml", "crates.io", "serde_yaml"),
            ("maven", "org.apache.logging.log4j", "log4j-core", "Maven", "org.apache.logging.log4j:log4j-core"),
            ("golang", "github.com/a", "b", "Go", "github.com/a/b"),
        ] {
            assert_eq!(named(kind, namespace, name), Some((ecosystem, known_as.to_owned())));
        }
        assert_eq!(named("deb", "debian", "bash"), None);
    }

    #[test]
    fn the_versions_of_a_component_share_one_package_url() {
        for (purl, package) in [
            ("pkg:npm/lodash@4.17.20", "pkg:npm/lodash"),
            ("pkg:npm/%40babel/core@7.0.0", "pkg:npm/%40babel/core"),
            ("pkg:npm/@babel/core@7.0.0", "pkg:npm/@babel/core"),
            ("pkg:npm/@babel/core", "pkg:npm/@babel/core"),
            ("pkg:maven/a.b/c@1.0?type=jar#x@y", "pkg:maven/a.b/c"),
        ] {
            assert_eq!(without_version(purl), Some(package), "{purl}");
        }
        assert_eq!(without_version("openssl"), None);
    }

    #[test]
    fn a_package_url_tells_its_ecosystem() {
        assert_eq!(of_purl("pkg:NPM/lodash@1"), Some("npm"));
        assert_eq!(of_purl("pkg:maven/a/b"), Some("Maven"));
        assert_eq!(of_purl("pkg:deb/debian/bash@5"), None);
        assert_eq!(of_purl("bash"), None);
    }
}
