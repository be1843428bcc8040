//! Versions of Alpine packages, in the order of apk: `1.2.3b_rc1-r4`.
//!
//! Numbers with dots between, one letter, suffixes each with a number, a revision. Where both are alike so far, the one
//! that goes on is the greater, unless it goes on with `_alpha`, `_beta`, `_pre` or `_rc`.

use std::cmp::Ordering;
use std::str::FromStr;

use super::{NotAVersion, Number, bounded, text_version};

/// Suffixes that come before the version itself, in their order.
const BEFORE: [&str; 4] = ["alpha", "beta", "pre", "rc"];
/// Suffixes that come after it, in their order.
const AFTER: [&str; 5] = ["cvs", "svn", "git", "hg", "p"];

/// A version of an Alpine package. Keeps the text it was read from.
#[derive(Clone)]
pub struct ApkVersion {
    text: String,
    parts: Vec<(Kind, Value)>,
}

text_version!(ApkVersion);

/// What a part is. Of two versions that are alike so far, the one whose next part comes first here is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Number,
    Letter,
    Suffix,
    SuffixNumber,
    Revision,
}

/// What a part is worth: a suffix of before, or zeros at the beginning of a number, is less than nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Below(std::cmp::Reverse<usize>),
    Number(Number),
}

impl Value {
    fn at(place: usize) -> Self {
        Self::Number(Number::of(&place.to_string()))
    }
}

impl FromStr for ApkVersion {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let refuse = |why| NotAVersion::new("a version of Alpine", text, why);
        bounded(text).map_err(refuse)?;
        let parts =
            parts(text).ok_or_else(|| refuse("it is not NUMBER{.NUMBER}[LETTER]{_SUFFIX[NUMBER]}[-rNUMBER]"))?;
        Ok(Self { text: text.to_owned(), parts })
    }
}

/// The digits at the beginning, at least one.
fn digits(text: &str) -> Option<(&str, &str)> {
    let length = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    if length == 0 { None } else { text.split_at_checked(length) }
}

fn parts(text: &str) -> Option<Vec<(Kind, Value)>> {
    let (first, mut rest) = digits(text)?;
    let mut parts = vec![(Kind::Number, Value::Number(Number::of(first)))];
    while let Some(after) = rest.strip_prefix('.') {
        let (number, left) = digits(after)?;
        // Zeros at the beginning are a part of their own, and the more of them the less.
        let zeros = number.len() - number.trim_start_matches('0').len();
        if zeros > 0 {
            parts.push((Kind::Number, Value::Below(std::cmp::Reverse(zeros))));
        }
        if zeros < number.len() {
            parts.push((Kind::Number, Value::Number(Number::of(number))));
        }
        rest = left;
    }
    if let Some(letter) = rest.chars().next().filter(char::is_ascii_lowercase) {
        parts.push((Kind::Letter, Value::at(letter as usize)));
        rest = rest.get(1..)?;
    }
    while let Some(after) = rest.strip_prefix('_') {
        let place = |names: &[&'static str]| names.iter().position(|name| after.starts_with(name));
        let (value, name) = match (place(&BEFORE), place(&AFTER)) {
            (Some(at), _) => (Value::Below(std::cmp::Reverse(BEFORE.len() - at)), BEFORE.get(at)?),
            (None, Some(at)) => (Value::at(at), AFTER.get(at)?),
            (None, None) => return None,
        };
        parts.push((Kind::Suffix, value));
        rest = after.strip_prefix(name)?;
        if let Some((number, left)) = digits(rest) {
            parts.push((Kind::SuffixNumber, Value::Number(Number::of(number))));
            rest = left;
        }
    }
    if let Some(after) = rest.strip_prefix("-r") {
        let (number, left) = digits(after)?;
        parts.push((Kind::Revision, Value::Number(Number::of(number))));
        rest = left;
    }
    rest.is_empty().then_some(parts)
}

impl Ord for ApkVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        let before = |part: &(Kind, Value)| part.0 == Kind::Suffix && matches!(part.1, Value::Below(_));
        for at in 0.. {
            match (self.parts.get(at), other.parts.get(at)) {
                (None, None) => return Ordering::Equal,
                (Some(more), None) => return if before(more) { Ordering::Less } else { Ordering::Greater },
                (None, Some(more)) => return if before(more) { Ordering::Greater } else { Ordering::Less },
                (Some(one), Some(two)) if one.0 == two.0 => match one.1.cmp(&two.1) {
                    Ordering::Equal => {}
                    unequal => return unequal,
                },
                (Some(one), Some(_)) if before(one) => return Ordering::Less,
                (Some(_), Some(two)) if before(two) => return Ordering::Greater,
                (Some(one), Some(two)) => return two.0.cmp(&one.0),
            }
        }
        Ordering::Equal
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> ApkVersion {
        text.parse().unwrap()
    }

    #[test]
    fn the_order_is_that_of_apk() {
        let sorted = [
            "0.12.2_alpha",
            "0.12.2_beta1",
            "0.12.2_pre3",
            "0.12.2_rc1",
            "0.12.2_rc2",
            "0.12.2",
            "0.12.2-r1",
            "0.12.2-r10",
            "0.12.2_git20240101",
            "0.12.2_p1",
            "0.12.2_p1-r1",
            "0.12.2a",
            "0.12.2.0",
            "0.12.2.1",
            "0.12.10",
            "1.0",
            "3.1.4-r5",
            "3.1.4-r6",
            "20240101",
        ];
        for pair in sorted.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn zeros_at_the_beginning_of_a_number_make_it_less() {
        assert!(version("1.01") < version("1.1"));
        assert!(version("1.001") < version("1.01"));
        assert_eq!(version("007"), version("7"), "but not of the first");
    }

    #[test]
    fn what_apk_would_not_call_a_version_is_refused() {
        for text in ["", "a", "1.", "1..2", "1.2aa", "1_foo", "1-r", "1-1", "1.2 ", "v1", "1-r1-r2", "1_", "1.2A"] {
            assert!(text.parse::<ApkVersion>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_order_is_total(texts in proptest::collection::vec("[0-2]{1,2}(\\.[0-2]{1,2}){0,2}[ab]?(_(alpha|rc|git|p)[0-2]?){0,2}(-r[0-2])?", 3)) {
            let [Ok(a), Ok(b), Ok(c)] = [0, 1, 2].map(|at: usize| texts[at].parse::<ApkVersion>()) else { return Ok(()) };
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c, "{:?} {:?} {:?}", a, b, c);
            }
        }

        #[test]
        fn any_text_is_read_back_or_refused(text in ".{0,40}") {
            if let Ok(version) = text.parse::<ApkVersion>() {
                prop_assert_eq!(version.as_str(), text);
            }
        }
    }
}
