//! Versions of rpm packages: `[epoch:]version[-release]`, in the order of rpm itself.
//!
//! Each part is compared piece by piece, a piece being a run of digits or of letters; what stands between only separates.
//! A tilde sorts before everything, even the end (`1.0~rc1` before `1.0`); a caret after the end and before every other
//! piece (`1.0` before `1.0^git1` before `1.0.1`).

use std::cmp::Ordering;
use std::str::FromStr;

use super::{NotAVersion, Number, bounded, text_version};

/// A version of an rpm package. Keeps the text it was read from.
#[derive(Clone)]
pub struct RpmVersion {
    text: String,
    epoch: Number,
    version: Pieces,
    /// What names no release comes before every release.
    release: Option<Pieces>,
}

text_version!(RpmVersion);

impl RpmVersion {
    /// `version` or `version-release`, without the epoch.
    pub fn without_epoch(&self) -> &str {
        self.text.split_once(':').map_or(self.text.as_str(), |(_, rest)| rest)
    }
}

impl FromStr for RpmVersion {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let refuse = |why| NotAVersion::new("a version of rpm", text, why);
        bounded(text).map_err(refuse)?;
        let taken = |byte: u8| byte.is_ascii_alphanumeric() || b"._+~^:-".contains(&byte);
        if !text.bytes().all(taken) {
            return Err(refuse("it has other characters than letters, digits and `._+~^:-`"));
        }
        let (epoch, rest) = text.split_once(':').unwrap_or(("", text));
        if !epoch.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refuse("its epoch is no number"));
        }
        if rest.contains(':') {
            return Err(refuse("it has two colons"));
        }
        let (version, release) = match rest.rsplit_once('-') {
            Some((version, release)) => (version, Some(release)),
            None => (rest, None),
        };
        if version.contains('-') {
            return Err(refuse("it has two dashes"));
        }
        let empty = |part: &str| !part.bytes().any(|byte| byte.is_ascii_alphanumeric());
        if empty(version) || release.is_some_and(empty) {
            return Err(refuse("a part of it is empty"));
        }
        Ok(Self {
            text: text.to_owned(),
            epoch: Number::of(epoch),
            version: Pieces::of(version),
            release: release.map(Pieces::of),
        })
    }
}

impl Ord for RpmVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        let releases = || self.release.as_ref().cmp(&other.release.as_ref());
        self.epoch.cmp(&other.epoch).then_with(|| self.version.cmp(&other.version)).then_with(releases)
    }
}

/// A part of a version, cut into what rpm compares. The order of the variants is the order of rpm.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Piece {
    Tilde,
    End,
    Caret,
    Letters(Box<str>),
    Digits(Number),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Pieces(Vec<Piece>);

impl Pieces {
    fn of(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let run = |wanted: fn(&char) -> bool| rest.find(|c| !wanted(&c)).unwrap_or(rest.len());
            let (piece, length) = match first {
                '~' => (Some(Piece::Tilde), 1),
                '^' => (Some(Piece::Caret), 1),
                '0'..='9' => {
                    let length = run(char::is_ascii_digit);
                    (Some(Piece::Digits(Number::of(rest.get(..length).unwrap_or_default()))), length)
                }
                'a'..='z' | 'A'..='Z' => {
                    let length = run(char::is_ascii_alphabetic);
                    (Some(Piece::Letters(rest.get(..length).unwrap_or_default().into())), length)
                }
                other => (None, other.len_utf8()),
            };
            pieces.extend(piece);
            rest = rest.get(length..).unwrap_or_default();
        }
        pieces.push(Piece::End);
        Self(pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> RpmVersion {
        text.parse().unwrap()
    }

    #[test]
    fn the_order_is_that_of_rpm() {
        let sorted = [
            "1.0~rc1-1",
            "1.0~rc1^git3-1",
            "1.0",
            "1.0-1",
            "1.0-1.el9",
            "1.0-1.el9_2",
            "1.0-2.el9",
            "1.0-10.el9",
            "1.0^20240101-1",
            "1.0a-1",
            "1.0.1-1",
            "1.10-1",
            "2.a-1",
            "2.0-1",
            "1:0.1-1",
        ];
        for pair in sorted.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn separators_and_leading_zeros_do_not_count() {
        for (one, other) in [("1.05-1", "1.5-1"), ("1_0-1", "1.0-1"), ("0:1.0-1", "1.0-1"), ("a1-1", "a.1-1")] {
            assert_eq!(version(one), version(other));
        }
        assert_eq!(version("7:1.0-3.el9").without_epoch(), "1.0-3.el9");
    }

    #[test]
    fn what_rpm_would_not_call_a_version_is_refused() {
        for text in ["", "-", "1-", "-1", "x:1", "1:2:3", "1-2-3", "1.0-1 ", "1.0/2", "1.0;x", "%{x}", "...", "\u{e9}1"]
        {
            assert!(text.parse::<RpmVersion>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_order_is_total(texts in proptest::collection::vec("([0-2]:)?[0-2a~^.]{1,5}1(-[0-2b~^.]{1,3}1)?", 3)) {
            let [Ok(a), Ok(b), Ok(c)] = [0, 1, 2].map(|at: usize| texts[at].parse::<RpmVersion>()) else { return Ok(()) };
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
        }

        #[test]
        fn any_text_is_read_back_or_refused(text in ".{0,40}") {
            if let Ok(version) = text.parse::<RpmVersion>() {
                prop_assert_eq!(version.as_str(), text);
            }
        }
    }
}
