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

/// What libraries go by that are known by the text in them alone: their makers' own releases, which are in no ecosystem of
/// OSV. Their package URLs are `generic`.
pub const UPSTREAM: &str = "upstream";

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

/// The type of a package URL: `pypi`, `rpm`.
pub fn type_of(purl: &str) -> Option<&str> {
    Some(purl.strip_prefix("pkg:")?.trim_start_matches('/').split_once('/')?.0)
}

/// The OSV ecosystem of what has package URLs of this type.
pub fn of_type(kind: &str) -> Option<&'static str> {
    if kind == GENERIC {
        return Some(UPSTREAM);
    }
    ECOSYSTEMS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(kind)).map(|(_, ecosystem, _)| *ecosystem)
}

/// The OSV ecosystem of a package URL, by its type.
pub fn of_purl(purl: &str) -> Option<&'static str> {
    of_type(type_of(purl)?)
}

/// The type of a package URL of what is in no ecosystem.
const GENERIC: &str = "generic";

/// The qualifier of a package URL that tells in which environment of a host the package is.
const ENVIRONMENT: &str = "environment=";
/// The qualifier of a package URL that tells inside which file of a host a copy lies.
const INSIDE: &str = "inside=";

/// The package URL of something installed in an environment of a host, such as `pkg:pypi/jinja2@3.1.2?environment=/opt/x`:
/// the same version in two environments is two things to change.
pub fn installed(kind: &str, name: &str, version: &str, environment: &str) -> String {
    let (name, version, environment) = (encoded(name), encoded(version), encoded(environment));
    format!("pkg:{kind}/{name}@{version}?{ENVIRONMENT}{environment}")
}

/// The environment that a package URL names.
pub fn environment(purl: &str) -> Option<String> {
    decoded(qualifier(purl, ENVIRONMENT)?)
}

/// The package URL of a copy that lies inside a file of a host, such as `pkg:generic/openssl@3.0.7?inside=/opt/x/bin/y`.
pub fn copied(kind: &str, name: &str, version: &str, file: &str) -> String {
    let (name, version, file) = (encoded(name), encoded(version), encoded(file));
    format!("pkg:{kind}/{name}@{version}?{INSIDE}{file}")
}

/// The file inside which the copy lies that a package URL names.
pub fn inside(purl: &str) -> Option<String> {
    decoded(qualifier(purl, INSIDE)?)
}

/// What all copies inside one file share: the file, as a package URL without version. `None` for what lies in no file.
pub fn whole_file(purl: &str) -> Option<String> {
    let file = qualifier(purl, INSIDE)?;
    let name = file.rsplit('/').next().unwrap_or(file);
    Some(format!("pkg:{GENERIC}/{name}?{INSIDE}{file}"))
}

/// Where on a host something is that its package URL names: its environment, or the file that it is a copy in.
pub fn place(purl: &str) -> Option<String> {
    environment(purl).or_else(|| inside(purl))
}

/// The name in a package URL of one word, such as `jinja2`.
pub fn name_in(purl: &str) -> Option<String> {
    let bare = purl.strip_prefix("pkg:")?.split(['?', '#']).next()?;
    let (_, rest) = bare.split_once('/')?;
    let name = rest.rsplit_once('@').filter(|(_, version)| !version.contains('/')).map_or(rest, |(name, _)| name);
    decoded(name)
}

/// The package that a package URL names, as bad patches are told by: with its namespace, but of a distribution without.
pub fn package_in(purl: &str) -> Option<String> {
    let bare = purl.strip_prefix("pkg:")?.split(['?', '#']).next()?;
    let (kind, rest) = bare.trim_start_matches('/').split_once('/')?;
    let name = rest.rsplit_once('@').filter(|(name, version)| !version.contains('/') && !name.is_empty());
    let name = decoded(name.map_or(rest, |(name, _)| name))?;
    Some(match (kind, system_of_purl(purl)) {
        ("deb", _) | (_, Some(_)) => name.rsplit('/').next().unwrap_or_default().to_owned(),
        ("pypi", _) => normal_name("PyPI", &name).into_owned(),
        _ => name,
    })
}

fn qualifier<'a>(purl: &'a str, name: &str) -> Option<&'a str> {
    let (_, qualifiers) = purl.split('#').next()?.split_once('?')?;
    qualifiers.split('&').find_map(|qualifier| qualifier.strip_prefix(name))
}

fn encoded(text: &str) -> String {
    percent(text, b"-._~/")
}

/// A text with everything percent-encoded but ASCII letters, digits and these.
pub(crate) fn percent(text: &str, but: &[u8]) -> String {
    let mut plain = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || but.contains(&byte) {
            plain.push(char::from(byte));
        } else {
            plain.push_str(&format!("%{byte:02X}"));
        }
    }
    plain
}

/// The text that was percent-encoded so; `None` where it was not.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after.get(2..)?;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

/// What all versions of one component in one place share: its package URL without version, subpath and qualifiers, but
/// for the environment it is installed in or the file it is a copy in. `None` for a text that is no package URL.
pub fn without_version(purl: &str) -> Option<Cow<'_, str>> {
    purl.strip_prefix("pkg:")?;
    let bare = purl.split(['?', '#']).next()?;
    let package = match bare.rsplit_once('@') {
        // In `pkg:npm/@scope/name` the sign begins a scope.
        Some((package, version)) if !version.contains('/') => package,
        _ => bare,
    };
    let place = [ENVIRONMENT, INSIDE].into_iter().find_map(|name| Some((name, qualifier(purl, name)?)));
    Some(match place {
        Some((name, place)) => Cow::Owned(format!("{package}?{name}{place}")),
        None => Cow::Borrowed(package),
    })
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
            assert_eq!(without_version(purl).as_deref(), Some(package), "{purl}");
        }
        assert_eq!(without_version("openssl"), None);
    }

    #[test]
    fn what_is_installed_keeps_its_environment_and_any_path_is_read_back() {
        let purl = installed("pypi", "jinja2", "1!3.1+x", "/opt/my app?&#@%20\u{e9}");
        assert_eq!(environment(&purl).as_deref(), Some("/opt/my app?&#@%20\u{e9}"));
        assert_eq!(name_in(&purl).as_deref(), Some("jinja2"));
        let shared = without_version(&purl).unwrap();
        assert_eq!(environment(&shared), environment(&purl));
        assert_eq!(name_in(&shared).as_deref(), Some("jinja2"));
        assert!(!shared.contains("3.1"), "{shared}");
        assert_eq!(environment("pkg:pypi/x@1"), None);
        assert_eq!(environment("pkg:pypi/x@1?environment=%zz"), None);
    }

    #[test]
    fn a_copy_keeps_the_file_it_lies_in_and_all_copies_of_a_file_share_it() {
        let purl = copied("golang", "golang.org/x/net", "0.16.0", "/opt/my app/tool");
        assert_eq!(purl, "pkg:golang/golang.org/x/net@0.16.0?inside=/opt/my%20app/tool");
        assert_eq!((inside(&purl).as_deref(), environment(&purl)), (Some("/opt/my app/tool"), None));
        assert_eq!(without_version(&purl).as_deref(), Some("pkg:golang/golang.org/x/net?inside=/opt/my%20app/tool"));
        assert_eq!(whole_file(&purl).as_deref(), Some("pkg:generic/tool?inside=/opt/my%20app/tool"));
        assert_eq!(whole_file("pkg:pypi/x@1?environment=/opt/x"), None);
        assert_eq!(of_purl("pkg:generic/openssl@3.0.7?inside=/opt/x"), Some(UPSTREAM));
    }

    #[test]
    fn a_package_url_tells_its_ecosystem() {
        assert_eq!(of_purl("pkg:NPM/lodash@1"), Some("npm"));
        assert_eq!(of_purl("pkg:maven/a/b"), Some("Maven"));
        assert_eq!(of_purl("pkg:deb/debian/bash@5"), None);
        assert_eq!(of_purl("bash"), None);
    }
}
