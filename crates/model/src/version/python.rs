//! Python's order: the version scheme of PEP 440, which PyPI has.

use std::cmp::Ordering;
use std::str::FromStr;

use super::{NotAVersion, Number, bounded, text_version};

/// A Python package version. Keeps the text it was read from; the many spellings that PEP 440 allows are one version.
#[derive(Clone)]
pub struct PythonVersion {
    text: String,
    key: Key,
}

/// What decides, in this order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    epoch: Number,
    /// Without the zeros at its end.
    release: Vec<Number>,
    pre: Pre,
    /// Without one a version comes before those with one.
    post: Option<Number>,
    dev: Dev,
    /// A public version comes before its local ones.
    local: Vec<Local>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Pre {
    /// A development release of the release itself comes before every pre-release of it.
    Development,
    Alpha(Number),
    Beta(Number),
    Candidate(Number),
    /// No pre-release.
    Final,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Dev {
    Development(Number),
    Final,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Local {
    Text(String),
    Number(Number),
}

text_version!(PythonVersion);

impl FromStr for PythonVersion {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let refuse = |why| NotAVersion::new("a Python version (PEP 440)", text, why);
        bounded(text).map_err(refuse)?;
        let plain = text.trim_matches(|c: char| c.is_ascii_whitespace()).to_ascii_lowercase();
        let key = key(&plain).ok_or_else(|| refuse("it does not follow the scheme"))?;
        Ok(Self { text: text.to_owned(), key })
    }
}

impl PythonVersion {
    /// Whether it comes before the release it names: alpha, beta, candidate or development.
    pub fn is_prerelease(&self) -> bool {
        self.key.pre != Pre::Final || self.key.dev != Dev::Final
    }
}

impl Ord for PythonVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

fn key(text: &str) -> Option<Key> {
    let mut rest = Rest(text);
    rest.word(&["v"]);
    let mut first = rest.digits()?;
    let mut epoch = Number::default();
    if rest.sign('!') {
        epoch = Number::of(first);
        first = rest.digits()?;
    }
    let mut release = vec![Number::of(first)];
    while let Some(part) = rest.part() {
        release.push(Number::of(part));
    }
    while release.pop_if(|part| part.is_zero()).is_some() {}
    let pre = rest.labelled(&["alpha", "beta", "preview", "pre", "rc", "a", "b", "c"]);
    let post = match rest.implicit_post() {
        Some(number) => Some(number),
        None => rest.labelled(&["post", "rev", "r"]).map(|(_, number)| number),
    };
    let dev = rest.labelled(&["dev"]).map(|(_, number)| number);
    let local = if rest.sign('+') { rest.local()? } else { Vec::new() };
    if !rest.0.is_empty() {
        return None;
    }
    let pre = match pre {
        Some(("a" | "alpha", number)) => Pre::Alpha(number),
        Some(("b" | "beta", number)) => Pre::Beta(number),
        Some((_, number)) => Pre::Candidate(number),
        None if post.is_none() && dev.is_some() => Pre::Development,
        None => Pre::Final,
    };
    Some(Key { epoch, release, pre, post, dev: dev.map_or(Dev::Final, Dev::Development), local })
}

/// What is left to read.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn sign(&mut self, sign: char) -> bool {
        self.0.strip_prefix(sign).map(|rest| self.0 = rest).is_some()
    }

    fn word(&mut self, words: &[&'static str]) -> Option<&'static str> {
        let word = words.iter().find(|word| self.0.starts_with(**word))?;
        self.0 = self.0.get(word.len()..).unwrap_or_default();
        Some(word)
    }

    /// One digit or more.
    fn digits(&mut self) -> Option<&'a str> {
        let end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
        let (digits, rest) = self.0.split_at_checked(end).filter(|(digits, _)| !digits.is_empty())?;
        self.0 = rest;
        Some(digits)
    }

    /// Another part of the release: a dot and digits.
    fn part(&mut self) -> Option<&'a str> {
        let mut ahead = Rest(self.0.strip_prefix('.')?);
        let digits = ahead.digits()?;
        self.0 = ahead.0;
        Some(digits)
    }

    /// A post-release spelt as `-1`.
    fn implicit_post(&mut self) -> Option<Number> {
        let mut ahead = Rest(self.0.strip_prefix('-')?);
        let digits = ahead.digits()?;
        self.0 = ahead.0;
        Some(Number::of(digits))
    }

    /// A label with its number, and separators that may stand before and behind it; no number is zero.
    fn labelled(&mut self, labels: &[&'static str]) -> Option<(&'static str, Number)> {
        let separator = |text: &mut Self| text.sign('.') || text.sign('-') || text.sign('_');
        let mut ahead = Rest(self.0);
        separator(&mut ahead);
        let label = ahead.word(labels)?;
        separator(&mut ahead);
        let number = Number::of(ahead.digits().unwrap_or_default());
        self.0 = ahead.0;
        Some((label, number))
    }

    fn local(&mut self) -> Option<Vec<Local>> {
        let parts = std::mem::take(&mut self.0).split(['.', '-', '_']).map(|part| {
            let known = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
            known.then(|| {
                if part.bytes().all(|byte| byte.is_ascii_digit()) {
                    Local::Number(Number::of(part))
                } else {
                    Local::Text(part.to_owned())
                }
            })
        });
        parts.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> PythonVersion {
        text.parse().unwrap()
    }

    #[test]
    fn the_order_is_that_of_pep_440() {
        let sorted = [
            "0.9",
            "1.0.dev456",
            "1.0a1",
            "1.0a2.dev456",
            "1.0a12.dev456",
            "1.0a12",
            "1.0b1.dev456",
            "1.0b2",
            "1.0b2.post345.dev456",
            "1.0b2.post345",
            "1.0rc1.dev456",
            "1.0rc1",
            "1.0",
            "1.0+abc.5",
            "1.0+abc.7",
            "1.0+5",
            "1.0.post456.dev34",
            "1.0.post456",
            "1.0.15",
            "1.1.dev1",
            "1.1",
            "1!0.1",
        ];
        for (at, one) in sorted.iter().enumerate() {
            for other in &sorted[at + 1..] {
                assert!(version(one) < version(other), "{one} {other}");
            }
        }
    }

    #[test]
    fn the_spellings_of_one_version_are_equal() {
        for (one, other) in [
            ("1.0", "1.0.0"),
            ("1.0", "0!1"),
            ("1.0", "v1.0"),
            ("1.0", " 1.0\n"),
            ("1.0a1", "1.0-ALPHA.1"),
            ("1.0b0", "1.0beta"),
            ("1.0rc1", "1.0c1"),
            ("1.0rc1", "1.0.pre_1"),
            ("1.0rc1", "1.0preview1"),
            ("1.0.post1", "1.0-1"),
            ("1.0.post1", "1.0r1"),
            ("1.0.post0", "1.0-rev"),
            ("1.0.dev0", "1.0dev"),
            ("1.0+ubuntu.1", "1.0+ubuntu-01"),
            ("01.001", "1.1"),
        ] {
            assert_eq!(version(one), version(other), "{one} {other}");
        }
    }

    #[test]
    fn what_comes_before_a_release_is_told_from_one() {
        for text in ["1.0a1", "1.0.dev3", "1.0rc1.post2", "1.0.post1.dev1"] {
            assert!(version(text).is_prerelease(), "{text}");
        }
        for text in ["1.0", "1.0.post1", "1!2", "1.0+dev1"] {
            assert!(!version(text).is_prerelease(), "{text}");
        }
    }

    #[test]
    fn numbers_of_any_length_compare() {
        assert!(version("99999999999999999999999998") < version("99999999999999999999999999"));
    }

    #[test]
    fn what_the_scheme_does_not_take_is_refused() {
        let long = "1".repeat(257);
        for text in [
            "",
            "v",
            "latest",
            "2004d",
            "1.",
            "1..0",
            "1.0-",
            "1.0-x",
            "1.0.a.b",
            "1.0+",
            "1.0+a+b",
            "1.0+a..b",
            "1.0+ä",
            "!1",
            "1!",
            "1!2!3",
            "1.0 beta",
            "1.0\u{1b}",
            "١.٠",
            "==1.0",
            "1.*",
            "1.0dev1a1",
            &long,
        ] {
            assert!(text.parse::<PythonVersion>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_order_is_total(texts in proptest::collection::vec("([0-1]!)?[0-2](\\.[0-2]){0,2}((a|b|rc)[0-2])?(\\.post[0-2])?(\\.dev[0-2])?(\\+[a-b0-2](\\.[a-b0-2])?)?", 3)) {
            let [a, b, c] = [0, 1, 2].map(|at: usize| version(&texts[at]));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
        }

        #[test]
        fn any_text_is_read_back_or_refused(text in ".{0,40}") {
            if let Ok(version) = text.parse::<PythonVersion>() {
                prop_assert_eq!(version.as_str(), text);
            }
        }
    }
}
