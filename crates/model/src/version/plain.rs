//! Versions of a world whose order is not known here.

use std::cmp::Ordering;
use std::str::FromStr;

use super::{NotAVersion, bounded};

/// A version of which only this can be told: whether another is spelt the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PlainVersion(String);

impl FromStr for PlainVersion {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let refuse = |why| NotAVersion::new("a version", text, why);
        bounded(text).map_err(refuse)?;
        if text.contains(char::is_control) {
            return Err(refuse("it has control characters"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl PartialOrd for PlainVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_have_no_order() {
        let [one, other] = ["1.0", "1.1"].map(|text| text.parse::<PlainVersion>().unwrap());
        assert_eq!(one.partial_cmp(&one.clone()), Some(Ordering::Equal));
        assert_eq!(one.partial_cmp(&other), None);
    }

    #[test]
    fn what_is_too_long_or_could_move_a_cursor_is_refused() {
        for text in ["", "1\u{1b}[2J", &"1".repeat(257)] {
            assert!(text.parse::<PlainVersion>().is_err(), "{text:?}");
        }
    }
}
