//! Semantic versions, the order of npm, crates.io and Go modules.
//!
//! The order is that of Semantic Versioning 2.0.0: build metadata does not count, and `1.0.0-alpha` comes before
//! `1.0.0`. As npm and Go write them, versions may begin with `v`; minor and patch that are left out are zero.

use std::cmp::Ordering;
use std::str::FromStr;

use super::{NotAVersion, bounded, text_version};

/// A semantic version. Keeps the text it was read from.
#[derive(Clone)]
pub struct SemanticVersion {
    text: String,
    version: semver::Version,
}

text_version!(SemanticVersion);

impl FromStr for SemanticVersion {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let refuse = |why| NotAVersion::new("a semantic version", text, why);
        bounded(text).map_err(refuse)?;
        let plain = text.strip_prefix('v').unwrap_or(text);
        let core = plain.find(['-', '+']).unwrap_or(plain.len());
        let (core, rest) = plain.split_at_checked(core).unwrap_or_default();
        let left_out = match core.bytes().filter(|byte| *byte == b'.').count() {
            0 => ".0.0",
            1 => ".0",
            _ => "",
        };
        let version = format!("{core}{left_out}{rest}").parse();
        let version = version.map_err(|_| refuse("it is not MAJOR.MINOR.PATCH, or a number in it is too large"))?;
        Ok(Self { text: text.to_owned(), version })
    }
}

impl Ord for SemanticVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        self.version.cmp_precedence(&other.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> SemanticVersion {
        text.parse().unwrap()
    }

    #[test]
    fn the_order_is_that_of_the_standard() {
        let sorted = [
            "0.0.0-0",
            "0.0.0",
            "1.0.0-0.3.7",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.1-0",
            "1.0.1",
            "1.2.0",
            "1.10.0",
            "2.0.0",
        ];
        for pair in sorted.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn build_metadata_and_what_is_left_out_do_not_count() {
        for (one, other) in [("1.0.0", "1.0.0+build.7"), ("1.0.0+a", "1.0.0+b"), ("v1.2.3", "1.2.3"), ("1", "1.0.0")] {
            assert_eq!(version(one), version(other));
        }
        assert_eq!(version("1.2-rc.1"), version("1.2.0-rc.1"));
    }

    #[test]
    fn what_is_no_semantic_version_is_refused() {
        let long = format!("1.0.0-{}", "a".repeat(256));
        for text in
            ["", "v", "1.2.3.4", "01.2.3", "1.02.3", "1.2.3-", "1.2.3-01", "1.x", "latest", "^1.2.3", "1.2.3 ", &long]
        {
            assert!(text.parse::<SemanticVersion>().is_err(), "{text:?}");
        }
        assert!(format!("1.{}.0", "9".repeat(40)).parse::<SemanticVersion>().is_err(), "a number of 40 digits");
    }

    #[test]
    fn numbers_of_a_prerelease_may_be_of_any_size() {
        assert!(version(&format!("1.0.0-{}8", "9".repeat(99))) < version(&format!("1.0.0-{}9", "9".repeat(99))));
    }

    proptest! {
        #[test]
        fn the_order_is_total(texts in proptest::collection::vec("[0-3](\\.[0-3]){2}(-([0-9ab]|[1-9][0-9]?)(\\.[a-c0-3])?)?(\\+[a-z0-9]{1,3})?", 3)) {
            let [Ok(a), Ok(b), Ok(c)] = [0, 1, 2].map(|at: usize| texts[at].parse::<SemanticVersion>()) else { return Ok(()) };
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
        }

        #[test]
        fn any_text_is_read_back_or_refused(text in ".{0,40}") {
            if let Ok(version) = text.parse::<SemanticVersion>() {
                prop_assert_eq!(version.as_str(), text);
            }
        }
    }
}
