//! Bad patches: which versions of which package must not be brought anywhere, as a package URL with a version or a range.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ecosystem::{self, normal_name};
use crate::version::Order;

/// Longest package URL of a bad patch, in bytes.
const LONGEST: usize = 190;

/// Versions of one package that must not be brought anywhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Patch {
    ecosystem: String,
    package: String,
    versions: Versions,
}

/// Which versions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Versions {
    /// This one.
    One(String),
    /// Those between two bounds, of which one may be absent.
    Between(Option<Bound>, Option<Bound>),
}

/// One end of a range.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Bound {
    version: String,
    /// Whether the version itself is in the range.
    included: bool,
}

/// A text that names no bad patch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no bad patch: {why}; expected a package URL with a version, `pkg:deb/openssl@3.0.15-1`, or a package, \
     its version or a range such as `>=3.0.15, <3.0.17`, and its ecosystem"
)]
pub struct NotAPatch {
    text: String,
    why: &'static str,
}

impl NotAPatch {
    fn new(text: &str, why: &'static str) -> Self {
        Self { text: text.chars().take(64).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(), why }
    }
}

impl Patch {
    /// A version, or a range of them such as `>=3.0.15, <3.0.17`, of a package. The ecosystem is the type of its package
    /// URL: `deb`, `pypi`, `npm`.
    ///
    /// # Errors
    /// When one of them is empty or cannot be such a thing, or they are too long together.
    pub fn new(ecosystem: &str, package: &str, versions: &str) -> Result<Self, NotAPatch> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".+-".contains(&byte);
        if ecosystem.is_empty() || !ecosystem.bytes().all(plain) {
            return Err(NotAPatch::new(ecosystem, "this is no type of package URLs"));
        }
        if package.is_empty() || package.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(NotAPatch::new(package, "this is no name of a package"));
        }
        let package = match ecosystem {
            "pypi" => normal_name("PyPI", package).into_owned(),
            _ => package.to_owned(),
        };
        let patch = Self { versions: Versions::read(ecosystem, versions)?, ecosystem: ecosystem.to_owned(), package };
        if patch.to_string().len() > LONGEST {
            return Err(NotAPatch::new(&patch.package, "it is too long"));
        }
        Ok(patch)
    }

    /// The type of its package URL: `deb`, `pypi`.
    pub fn ecosystem(&self) -> &str {
        &self.ecosystem
    }

    /// The package: of a distribution the source package or one of its binary packages.
    pub fn package(&self) -> &str {
        &self.package
    }

    /// Its version or range, as people write it.
    pub fn versions(&self) -> String {
        self.versions.to_string()
    }

    /// Whether it is about this version of a package of this name. A Debian package that was only built anew (`+b1`) is
    /// the same version; one that does not compare with the ends of a range counts as in it.
    pub fn is(&self, ecosystem: &str, package: &str, version: &str) -> bool {
        if self.ecosystem != ecosystem || self.package != package {
            return false;
        }
        let order = order_of(ecosystem);
        match &self.versions {
            Versions::One(bad) => {
                let same = |version: &str| version == bad || order.compare(version, bad) == Some(Ordering::Equal);
                same(version) || (ecosystem == DEB && same(without_rebuild(version)))
            }
            Versions::Between(low, high) => {
                let version = if ecosystem == DEB { without_rebuild(version) } else { version };
                let holds = |bound: &Bound, beyond: Ordering| {
                    order
                        .compare(version, &bound.version)
                        .is_none_or(|is| is == beyond || (is.is_eq() && bound.included))
                };
                low.as_ref().is_none_or(|low| holds(low, Ordering::Greater))
                    && high.as_ref().is_none_or(|high| holds(high, Ordering::Less))
            }
        }
    }
}

/// The type of package URLs of dpkg's packages.
pub const DEB: &str = "deb";

/// The order of versions of what has package URLs of this type.
pub fn order_of(ecosystem: &str) -> Order {
    if ecosystem == DEB { Order::Debian } else { Order::of_binary(&format!("pkg:{ecosystem}/x")) }
}

/// The version of the source that a binary package was built anew from.
pub fn without_rebuild(version: &str) -> &str {
    match version.rsplit_once("+b") {
        Some((before, count)) if !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit()) => before,
        _ => version,
    }
}

impl Versions {
    fn read(ecosystem: &str, text: &str) -> Result<Self, NotAPatch> {
        if !text.contains(['<', '>']) {
            return Ok(Self::One(version(text)?.to_owned()));
        }
        let order = order_of(ecosystem);
        let (mut low, mut high) = (None, None);
        for part in text.split([',', '|']).map(str::trim) {
            let (place, rest) = match part.as_bytes().first() {
                Some(b'>') => (&mut low, part.trim_start_matches('>')),
                Some(b'<') => (&mut high, part.trim_start_matches('<')),
                _ => return Err(NotAPatch::new(text, "every end of a range begins with >=, >, < or <=")),
            };
            let bare = rest.strip_prefix('=');
            let end = version(bare.unwrap_or(rest).trim())?;
            if order.read(end).is_err() || order == Order::Unknown {
                return Err(NotAPatch::new(text, "versions of this ecosystem have no order here, or this is none"));
            }
            if place.replace(Bound { version: end.to_owned(), included: bare.is_some() }).is_some() {
                return Err(NotAPatch::new(text, "a range has one lower and one upper end"));
            }
        }
        Ok(Self::Between(low, high))
    }
}

fn version(text: &str) -> Result<&str, NotAPatch> {
    let wrong = |c: char| c.is_control() || c.is_whitespace() || "<>=|,@".contains(c);
    if text.is_empty() || text.contains(wrong) {
        return Err(NotAPatch::new(text, "this is no version"));
    }
    Ok(text)
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(version) => f.write_str(version),
            Self::Between(low, high) => {
                let end = |sign: char| {
                    move |bound: &Bound| format!("{sign}{}{}", if bound.included { "=" } else { "" }, bound.version)
                };
                let ends: Vec<String> = low.iter().map(end('>')).chain(high.iter().map(end('<'))).collect();
                f.write_str(&ends.join(", "))
            }
        }
    }
}

/// A package URL: `pkg:deb/openssl@3.0.15-1`; a range stands in its qualifier `vers`.
impl fmt::Display for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let package = ecosystem::percent(&self.package, b".-_~/");
        write!(f, "pkg:{}/{package}", self.ecosystem)?;
        match &self.versions {
            Versions::One(version) => write!(f, "@{}", ecosystem::percent(version, b".-_~:")),
            range @ Versions::Between(..) => {
                let ends = range.to_string().replace(", ", "|");
                write!(f, "?vers={}", ecosystem::percent(&ends, b".-_~:"))
            }
        }
    }
}

impl FromStr for Patch {
    type Err = NotAPatch;

    fn from_str(text: &str) -> Result<Self, NotAPatch> {
        let wrong = |why| NotAPatch::new(text, why);
        if text.len() > 1_000 {
            return Err(wrong("it is too long"));
        }
        let bare = text.strip_prefix("pkg:").ok_or_else(|| wrong("it does not begin with `pkg:`"))?;
        let bare = bare.split('#').next().unwrap_or_default();
        let (path, qualifiers) = bare.split_once('?').unwrap_or((bare, ""));
        let (kind, path) = path.trim_start_matches('/').split_once('/').ok_or_else(|| wrong("it names no package"))?;
        let kind = kind.to_ascii_lowercase();
        let (name, version) = match path.rsplit_once('@') {
            // In `pkg:npm/@scope/name` the sign begins a scope.
            Some((name, version)) if !version.contains('/') && !name.is_empty() => (name, Some(version)),
            _ => (path, None),
        };
        let range = qualifiers.split('&').find_map(|one| one.strip_prefix("vers="));
        let read = |text: &str| ecosystem::decoded(text).ok_or_else(|| wrong("its percent signs do not read"));
        let name = read(name)?;
        // What a distribution is called says nothing of its packages' names: one that is bad is bad wherever it is.
        let name = match kind.as_str() {
            DEB | "rpm" | "apk" => name.rsplit('/').next().unwrap_or_default(),
            _ => name.as_str(),
        };
        let versions = match (version, range) {
            (Some(version), None) => read(version)?,
            (None, Some(range)) => {
                let range = read(range)?;
                range
                    .strip_prefix("vers:")
                    .and_then(|rest| rest.split_once('/'))
                    .map_or(range.as_str(), |(_, r)| r)
                    .to_owned()
            }
            (Some(_), Some(_)) => return Err(wrong("it has both a version and a range")),
            (None, None) => return Err(wrong("it has no version")),
        };
        Self::new(&kind, name, &versions)
    }
}

impl TryFrom<String> for Patch {
    type Error = NotAPatch;

    fn try_from(text: String) -> Result<Self, NotAPatch> {
        text.parse()
    }
}

impl From<Patch> for String {
    fn from(patch: Patch) -> Self {
        patch.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(text: &str) -> Patch {
        text.parse().unwrap()
    }

    #[test]
    fn a_bad_patch_reads_as_it_is_written() {
        for (text, ecosystem, package, versions) in [
            ("pkg:deb/openssl@3.0.15-1~deb12u2", "deb", "openssl", "3.0.15-1~deb12u2"),
            ("pkg:deb/libstdc%2B%2B6@1:12.2%2Bx", "deb", "libstdc++6", "1:12.2+x"),
            ("pkg:pypi/jinja2@1%213.1", "pypi", "jinja2", "1!3.1"),
            ("pkg:npm/%40babel/core@7.0.0", "npm", "@babel/core", "7.0.0"),
            ("pkg:pypi/jinja2?vers=%3E%3D3.0%7C%3C3.1.3", "pypi", "jinja2", ">=3.0, <3.1.3"),
        ] {
            let read = patch(text);
            assert_eq!((read.ecosystem(), read.package(), read.versions().as_str()), (ecosystem, package, versions));
            assert_eq!(read.to_string(), text);
            assert_eq!(Patch::new(ecosystem, package, versions), Ok(read));
        }
        assert_eq!(patch("pkg:deb/debian/openssl@3?arch=amd64&distro=bookworm"), patch("pkg:deb/openssl@3"));
        assert_eq!(patch("pkg:pypi/Zope_Interface@1"), patch("pkg:pypi/zope-interface@1"));
        assert_eq!(patch("pkg:pypi/a?vers=vers:pypi/>=1|<2"), Patch::new("pypi", "a", ">=1,<2").unwrap());
        for text in ["openssl", "pkg:deb", "pkg:deb/openssl", "pkg:deb/@1", "pkg:deb/a@", "pkg:deb/a@1?vers=%3C2"] {
            assert!(text.parse::<Patch>().is_err(), "{text}");
        }
        for versions in ["", "1 2", ">=1, >=2", "<1, 2", ">=", "<one"] {
            assert!(Patch::new("pypi", "openssl", versions).is_err(), "{versions}");
        }
        assert!(Patch::new("nuget", "x", "<2").is_err(), "there is no order of these versions");
        assert!(Patch::new("deb", "a b", "1").is_err() && Patch::new("Deb!", "a", "1").is_err());
        assert!(Patch::new("deb", &"a".repeat(200), "1").is_err());
    }

    #[test]
    fn a_range_has_the_order_of_its_ecosystem_and_what_does_not_compare_is_in_it() {
        let range = patch("pkg:deb/openssl?vers=%3E%3D3.0.15-1%7C%3C3.0.17-1");
        let is = |version| range.is("deb", "openssl", version);
        assert!(is("3.0.15-1") && is("3.0.15-1+b2") && is("3.0.16-9"));
        assert!(!is("3.0.15-1~deb12u1") && !is("3.0.17-1") && !is("1:3.0.16-1"));
        assert!(is("not a version"), "nobody can tell that it is another one");
        assert!(!range.is("pypi", "openssl", "3.0.16") && !range.is("deb", "curl", "3.0.16-9"));
        let python = Patch::new("pypi", "jinja2", "<=3.1").unwrap();
        assert!(python.is("pypi", "jinja2", "3.1.0") && !python.is("pypi", "jinja2", "3.1.1"));
        assert!(patch("pkg:pypi/jinja2@3.1").is("pypi", "jinja2", "3.1.0"), "these are one version");
    }
}
