//! Debian's order, as dpkg has it.

use std::cmp::Ordering;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{NotAVersion, bounded, text_version};

/// A Debian package version, ordered as dpkg orders them: `1.0` and `1.0-0` are the same. Keeps the text it was read
/// from.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DebVersion {
    text: String,
    epoch: u32,
    /// Where the upstream version begins: behind the epoch.
    upstream: usize,
    /// Where it ends: before the hyphen of the revision, or at the end.
    upstream_end: usize,
}

text_version!(DebVersion);

impl DebVersion {
    fn upstream(&self) -> &[u8] {
        self.text.as_bytes().get(self.upstream..self.upstream_end).unwrap_or_default()
    }

    fn revision(&self) -> &[u8] {
        self.text.as_bytes().get(self.upstream_end + 1..).unwrap_or_default()
    }

    fn read(text: String) -> Result<Self, NotAVersion> {
        match parts(&text) {
            Ok((epoch, upstream, upstream_end)) => Ok(Self { text, epoch, upstream, upstream_end }),
            Err(why) => Err(NotAVersion::new("a Debian version", &text, why)),
        }
    }
}

/// The epoch, and where the upstream version begins and ends.
fn parts(text: &str) -> Result<(u32, usize, usize), &'static str> {
    bounded(text)?;
    let (epoch, upstream) = match text.split_once(':') {
        None => (0, 0),
        Some((epoch, _)) => {
            let number = epoch.bytes().all(|byte| byte.is_ascii_digit()).then(|| epoch.parse().ok()).flatten();
            let taken = number.filter(|number| *number <= i32::MAX as u32);
            (taken.ok_or("its epoch is not a number that dpkg takes")?, epoch.len() + 1)
        }
    };
    let rest = text.get(upstream..).unwrap_or_default();
    let upstream_end = upstream + rest.rfind('-').unwrap_or(rest.len());
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'~' | b'-' | b':');
    if upstream == upstream_end {
        return Err("its upstream version is empty");
    }
    if !rest.bytes().all(known) || text.get(upstream_end..).is_some_and(|revision| revision.contains(':')) {
        return Err("it has characters that dpkg does not take");
    }
    Ok((epoch, upstream, upstream_end))
}

/// Compares two parts as dpkg does: runs of other characters and runs of digits in turn.
fn compare(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        loop {
            let (one, other) = (weight(a), weight(b));
            if one != other {
                return one.cmp(&other);
            }
            // Digits and the end weigh nothing: what is left are numbers.
            if one == 0 {
                break;
            }
            (a, b) = (a.get(1..).unwrap_or_default(), b.get(1..).unwrap_or_default());
        }
        let (one, other) = (number(&mut a), number(&mut b));
        let order = one.len().cmp(&other.len()).then_with(|| one.cmp(other));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// How the first character sorts: a tilde before the end, letters before all else.
fn weight(text: &[u8]) -> i32 {
    match text.first() {
        None | Some(b'0'..=b'9') => 0,
        Some(b'~') => -1,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    }
}

/// Takes the leading number, without its leading zeros: of two without, the longer is the greater.
fn number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = text.split_at_checked(digits).unwrap_or_default();
    *text = rest;
    let zeros = number.iter().take_while(|byte| **byte == b'0').count();
    number.get(zeros..).unwrap_or_default()
}

impl FromStr for DebVersion {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        Self::read(text.to_owned())
    }
}

impl TryFrom<String> for DebVersion {
    type Error = NotAVersion;

    fn try_from(text: String) -> Result<Self, NotAVersion> {
        Self::read(text)
    }
}

impl From<DebVersion> for String {
    fn from(version: DebVersion) -> Self {
        version.text
    }
}

impl Ord for DebVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        self.epoch
            .cmp(&other.epoch)
            .then_with(|| compare(self.upstream(), other.upstream()))
            .then_with(|| compare(self.revision(), other.revision()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> DebVersion {
        text.parse().unwrap()
    }

    #[test]
    fn a_tilde_sorts_before_the_end_and_letters_before_signs() {
        let sorted = ["1.0~~", "1.0~~a", "1.0~", "1.0", "1.0a", "1.0+b", "1.0.1", "1.1", "1.09", "1.10", "1:0.1"];
        for pair in sorted.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn what_dpkg_sees_as_one_version_is_equal() {
        for (one, other) in [("1.0", "1.0-0"), ("0:1.0", "1.0"), ("1.001", "1.1"), ("1.0-", "1.0")] {
            assert_eq!(version(one), version(other));
        }
    }

    #[test]
    fn numbers_of_any_length_compare() {
        assert!(version("99999999999999999999999998") < version("99999999999999999999999999"));
    }

    #[test]
    fn what_dpkg_does_not_take_is_refused() {
        let long = "1".repeat(257);
        for text in
            ["", ":1", "-1", "1:", "1:-1", "x:1", "+1:1", "2147483648:1", "1 0", "1_0", "1.0\n", "1-2:3", "é", &long]
        {
            assert!(text.parse::<DebVersion>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_order_is_total(texts in proptest::collection::vec("[0-9a-z.+~-]{0,3}[0-9a-z]{1,4}(-[0-9a-z+.~]{1,4})?", 3)) {
            let [Ok(a), Ok(b), Ok(c)] = [0, 1, 2].map(|at: usize| texts[at].parse::<DebVersion>()) else { return Ok(()) };
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
        }

        #[test]
        fn any_text_is_read_back_or_refused(text in ".{0,40}") {
            if let Ok(version) = text.parse::<DebVersion>() {
                prop_assert_eq!(version.as_str(), text);
            }
        }
    }
}
