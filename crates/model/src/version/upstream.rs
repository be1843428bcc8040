//! Versions as the makers of libraries in C write them: numbers with dots, then letters that count on (`1.0.2zg` of
//! OpenSSL), then what comes before a release (`-beta1`).
//!
//! There is no standard of them. What does not read so is refused, and then nothing is compared.

use std::cmp::Ordering;
use std::str::FromStr;

use super::{NotAVersion, Number, bounded, text_version};

/// A version of a library by its maker. Keeps the text it was read from.
#[derive(Clone)]
pub struct UpstreamVersion {
    text: String,
    numbers: Vec<Number>,
    letters: String,
    before: Before,
}

/// What comes before a release, in its order; the release itself comes last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Before {
    Stage(u8, Number),
    Released,
}

/// What the stages are called, in their order.
const STAGES: [&str; 5] = ["dev", "alpha", "beta", "pre", "rc"];

text_version!(UpstreamVersion);

impl FromStr for UpstreamVersion {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let refuse = |why| NotAVersion::new("a version of a library", text, why);
        bounded(text).map_err(refuse)?;
        let plain = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let end = plain.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(plain.len());
        let (core, rest) = plain.split_at_checked(end).unwrap_or_default();
        // A dot may stand before what follows: `2.0.rc1`.
        let core = if rest.is_empty() { core } else { core.strip_suffix('.').unwrap_or(core) };
        if core.split('.').any(str::is_empty) {
            return Err(refuse("it does not begin with numbers"));
        }
        let mut numbers: Vec<Number> = core.split('.').map(Number::of).collect();
        while numbers.last().is_some_and(Number::is_zero) {
            numbers.pop();
        }
        let rest = rest.to_ascii_lowercase();
        let (rest, before) = match staged(&rest) {
            Some((rest, before)) => (rest, before),
            None => (rest.as_str(), Before::Released),
        };
        if rest.len() > 2 || !rest.bytes().all(|byte| byte.is_ascii_lowercase()) {
            return Err(refuse("what follows its numbers has no order that is known"));
        }
        Ok(Self { text: text.to_owned(), numbers, letters: rest.to_owned(), before })
    }
}

/// What stands before a stage, and the stage.
fn staged(rest: &str) -> Option<(&str, Before)> {
    let number = rest.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = rest.get(number.len()..)?;
    let name = number.trim_end_matches(['.', '-', '_']);
    let (at, stage) = STAGES.iter().enumerate().find(|(_, stage)| name.ends_with(**stage))?;
    let letters = name.strip_suffix(stage)?.trim_end_matches(['.', '-', '_']);
    Some((letters, Before::Stage(u8::try_from(at).ok()?, Number::of(digits))))
}

impl Ord for UpstreamVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers
            .cmp(&other.numbers)
            .then_with(|| self.letters.cmp(&other.letters))
            .then_with(|| self.before.cmp(&other.before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> UpstreamVersion {
        text.parse().unwrap()
    }

    #[test]
    fn the_order_is_that_in_which_makers_released() {
        let sorted = [
            "0.9.8zh",
            "1.0.2-beta1",
            "1.0.2",
            "1.0.2a",
            "1.0.2u",
            "1.0.2z",
            "1.0.2za",
            "1.0.2zg",
            "1.1.1-pre2",
            "1.1.1",
            "1.1.1w",
            "3.0.0-alpha17",
            "3.0.0-beta1",
            "3.0.0-beta2",
            "3.0.0",
            "3.0.9",
            "3.0.10",
            "2020.81",
        ];
        for pair in sorted.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
        }
        assert_eq!(version("3.0"), version("v3.0.0"));
        assert_eq!(version("2.0.rc1"), version("2.0-rc1"));
    }

    #[test]
    fn what_has_no_known_order_is_refused() {
        for text in
            ["", "n/a", "unspecified", "*", "8.9p1", "1..2", ".1", "1.2 ", "1.2.11.zlib-ng", "< 2.6.3", "1.0abc"]
        {
            assert!(text.parse::<UpstreamVersion>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_order_is_total(texts in proptest::collection::vec("[0-3](\\.[0-3]){0,3}[a-c]?(-(rc|beta)[0-2])?", 3)) {
            let [a, b, c] = [0, 1, 2].map(|at: usize| version(&texts[at]));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
        }

        #[test]
        fn any_text_is_read_back_or_refused(text in ".{0,40}") {
            if let Ok(version) = text.parse::<UpstreamVersion>() {
                prop_assert_eq!(version.as_str(), text);
            }
        }
    }
}
