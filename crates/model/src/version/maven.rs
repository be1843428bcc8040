//! Maven's order, by the version order specification of its POM reference.
//!
//! A version is a row of tokens, parted by dots, by hyphens, and between digits and other characters, which counts as
//! a hyphen. A missing token is zero; zeros and words for a release (`ga`, `final`, `release`) at the end, and before
//! a hyphen or a word, say nothing. Two rows compare token by token, the shorter one filled up with releases. So the
//! order is total by how it is made.

use std::cmp::Ordering;
use std::str::FromStr;

use super::{NotAVersion, Number, bounded, text_version};

/// A Maven version. Keeps the text it was read from; case does not count.
#[derive(Clone)]
pub struct MavenVersion {
    text: String,
    tokens: Vec<Token>,
}

/// One token, in the order of the specification.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Token {
    Alpha,
    Beta,
    Milestone,
    Candidate,
    Snapshot,
    /// A release: no token at all is the same.
    Release,
    ServicePack,
    /// Any other word, in the order of its characters.
    Word(String),
    /// A number behind a hyphen.
    Hyphen(Number),
    /// A number behind a dot, or at the beginning.
    Dot(Number),
}

text_version!(MavenVersion);

impl MavenVersion {
    fn filled_up_to(&self, length: usize) -> impl Iterator<Item = &Token> {
        self.tokens.iter().chain(std::iter::repeat(&Token::Release)).take(length)
    }
}

impl FromStr for MavenVersion {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let refuse = |why| NotAVersion::new("a Maven version", text, why);
        bounded(text).map_err(refuse)?;
        // What Maven itself refuses in a version, and what only a build would fill in.
        let known = |byte: u8| byte.is_ascii_graphic() && !br#"\/:"<>|?*[](){},$"#.contains(&byte);
        if !text.bytes().all(known) {
            return Err(refuse("it has characters that Maven does not take"));
        }
        let plain = text.to_ascii_lowercase();
        if matches!(plain.as_str(), "latest" | "release") {
            return Err(refuse("it stands for whichever version is the newest"));
        }
        Ok(Self { text: text.to_owned(), tokens: tokens(&plain) })
    }
}

impl Ord for MavenVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        let length = self.tokens.len().max(other.tokens.len());
        self.filled_up_to(length).cmp(other.filled_up_to(length))
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let (mut rest, mut hyphen) = (text, false);
    loop {
        let is_number = rest.starts_with(|c: char| c.is_ascii_digit());
        let end = rest.find(|c: char| matches!(c, '.' | '-') || c.is_ascii_digit() != is_number).unwrap_or(rest.len());
        let (token, after) = rest.split_at_checked(end).unwrap_or_default();
        let followed = after.starts_with(|c: char| c.is_ascii_digit());
        let new = if is_number || token.is_empty() {
            let number = Number::of(token);
            if hyphen { Token::Hyphen(number) } else { Token::Dot(number) }
        } else {
            word(token, followed)
        };
        if hyphen || !matches!(new, Token::Dot(_)) {
            trim(&mut tokens);
        }
        tokens.push(new);
        if after.is_empty() {
            break;
        }
        let separated = after.strip_prefix(['.', '-']);
        hyphen = !after.starts_with('.');
        rest = separated.unwrap_or(after);
    }
    trim(&mut tokens);
    tokens
}

/// `followed` says whether a digit comes right behind it, which makes a letter a short word.
fn word(text: &str, followed: bool) -> Token {
    match text {
        "alpha" => Token::Alpha,
        "beta" => Token::Beta,
        "milestone" => Token::Milestone,
        "a" if followed => Token::Alpha,
        "b" if followed => Token::Beta,
        "m" if followed => Token::Milestone,
        "rc" | "cr" => Token::Candidate,
        "snapshot" => Token::Snapshot,
        "ga" | "final" | "release" => Token::Release,
        "sp" => Token::ServicePack,
        other => Token::Word(other.to_owned()),
    }
}

/// Takes off what says nothing at the end.
fn trim(tokens: &mut Vec<Token>) {
    let empty = |token: &mut Token| match token {
        Token::Dot(number) | Token::Hyphen(number) => number.is_zero(),
        Token::Release => true,
        _ => false,
    };
    while tokens.pop_if(empty).is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> MavenVersion {
        text.parse().unwrap()
    }

    fn sorted(texts: &[&str]) {
        for (at, one) in texts.iter().enumerate() {
            for other in &texts[at + 1..] {
                assert!(version(one) < version(other), "{one} {other}");
            }
        }
    }

    #[test]
    fn words_come_before_numbers_and_known_words_before_others() {
        sorted(&[
            "1-alpha2snapshot",
            "1-alpha2",
            "1-alpha-123",
            "1-beta-2",
            "1-beta123",
            "1-m2",
            "1-m11",
            "1-rc",
            "1-cr2",
            "1-rc123",
            "1-SNAPSHOT",
            "1",
            "1-sp",
            "1-sp2",
            "1-sp123",
            "1-abc",
            "1-def",
            "1-pom-1",
            "1-1-snapshot",
            "1-1",
            "1-2",
            "1-123",
            "1.1",
        ]);
    }

    #[test]
    fn numbers_behind_a_dot_come_after_those_behind_a_hyphen() {
        sorted(&[
            "2.0", "2.0.a", "2-1", "2.0.2", "2.0.123", "2.1.0", "2.1-a", "2.1b", "2.1-c", "2.1-1", "2.1.0.1", "2.2",
            "2.123",
        ]);
        sorted(&["11.a2", "11.a11", "11.b2", "11.b11", "11.m2", "11.m11", "11", "11.a", "11b", "11c", "11m"]);
    }

    #[test]
    fn what_says_nothing_at_an_end_does_not_count() {
        for (one, other) in [
            ("1", "1.0"),
            ("1", "1.0.0"),
            ("1", "1-0"),
            ("1", "1.0-0"),
            ("1", "1.ga"),
            ("1", "1-final"),
            ("1", "1.0.0.RELEASE"),
            ("1", "1."),
            ("1", "1-"),
            ("1-foo", "1.0.0-foo.0.0"),
            ("1", "1.0.0-0.0.0"),
            ("1.foo", "1-foo"),
            ("1x", "1.0.0-x"),
            ("1.0.0x", "1-x"),
            ("1cr", "1rc"),
            ("1a1", "1-alpha-1"),
            ("1b2", "1-beta-2"),
            ("1m3", "1-MileStone-3"),
            ("1X", "1x"),
            ("0000000000000000001", "1"),
            ("1.0.0.Final-redhat-1", "1.0.0-redhat-1"),
            // Maven 3 departs from its specification here, Maven 4 does not.
            ("1.0.0.redhat-1", "1.0.0-redhat-1"),
        ] {
            assert_eq!(version(one), version(other), "{one} {other}");
        }
    }

    #[test]
    fn a_short_word_needs_its_number_right_behind_it() {
        assert!(version("1-a1") < version("1"));
        assert!(version("1-a") > version("1"), "a word of its own");
        assert!(version("1-a-1") > version("1"), "a word of its own");
    }

    #[test]
    fn real_versions_are_ordered_as_their_makers_meant() {
        sorted(&["2.0-beta9", "2.0-rc1", "2.0", "2.3.1", "2.12.1", "2.12.2", "2.14.1", "2.15.0-rc1", "2.15.0"]);
        sorted(&["5.3.0-M1", "5.3.0-RC2", "5.3.18.RELEASE", "5.3.19"]);
        sorted(&["9.4.43.v20210629", "9.4.44.v20210927", "9.4.44.1"]);
        sorted(&["r08", "r09", "10.0", "31.1-android", "31.1-jre", "32.0.0-android"]);
        sorted(&["Hoxton.RELEASE", "Hoxton.SR1", "Hoxton.SR12"]);
        sorted(&["4.1.42.Final", "4.1.42.Final-redhat-00001", "4.1.43.Final"]);
    }

    #[test]
    fn numbers_of_any_length_compare() {
        sorted(&["20190126.230843", "1234567890.12345", "123456789012345.1H.5-beta", "12345678901234567890.1H.5-beta"]);
    }

    #[test]
    fn what_is_no_version_is_refused() {
        let long = "1".repeat(257);
        for text in
            ["", "${project.version}", "[1.0,2.0)", "1.0,2.0", "1 0", "1.0\n", "1/2", "é", "LATEST", "RELEASE", &long]
        {
            assert!(text.parse::<MavenVersion>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_order_is_total(texts in proptest::collection::vec("([0-2.-]|a|b|rc|ga|sp|x|snapshot){1,6}", 3)) {
            let [a, b, c] = [0, 1, 2].map(|at: usize| version(&texts[at]));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
        }

        #[test]
        fn any_text_is_read_back_or_refused(text in ".{0,40}") {
            if let Ok(version) = text.parse::<MavenVersion>() {
                prop_assert_eq!(version.as_str(), text);
            }
        }
    }
}
