//! Libraries in C by the texts that they carry ([`stanch_model::upstream`]).

use std::collections::BTreeSet;

use memchr::memmem::Finder;
use stanch_model::facts::Copied;
use stanch_model::upstream::{After, LIBRARIES, Library, Mark};

/// Different versions of one library that are told of one file.
const MOST_VERSIONS: usize = 4;
const LONGEST: usize = 24;
/// As much of a text as is shown.
const SHOWN: usize = 60;

/// All texts, ready to be looked for.
pub(super) struct Texts(Vec<(&'static Library, Mark, Finder<'static>)>);

impl Texts {
    pub(super) fn new() -> Self {
        let marks = LIBRARIES.iter().flat_map(|library| library.marks.iter().map(move |mark| (library, *mark)));
        Self(marks.map(|(library, mark)| (library, mark, Finder::new(mark.0))).collect())
    }

    /// The libraries whose own texts are among constants of a file that loads these shared libraries.
    pub(super) fn find(&self, constants: &[u8], loads: &[String]) -> Vec<Copied> {
        let mut found: BTreeSet<Copied> = BTreeSet::new();
        for (library, mark, finder) in &self.0 {
            if loads.iter().any(|name| library.loads.iter().any(|beginning| name.starts_with(beginning))) {
                continue;
            }
            let (text, after) = mark;
            for (version, said) in before(constants, finder, text.len(), *after) {
                let is_known = |one: &&Copied| one.name == library.name;
                let known = found.iter().filter(is_known);
                let again = found.iter().filter(is_known).any(|one| one.version == version);
                if !again && known.count() < MOST_VERSIONS {
                    found.insert(Copied { name: library.name.to_owned(), version, said: Some(said) });
                }
            }
        }
        found.into_iter().collect()
    }
}

/// The versions that follow a text, each with what it says.
fn before(constants: &[u8], finder: &Finder<'_>, length: usize, after: After) -> Vec<(String, String)> {
    let one = |at: usize| {
        let rest = constants.get(at + length..)?;
        let version = version(rest)?;
        let follows = rest.get(version.len()..)?;
        let fits = match after {
            After::Any => true,
            After::End => follows.first() == Some(&0),
            After::Text(text) => follows.starts_with(text.as_bytes()),
            After::Day => is_day(follows),
        };
        fits.then(|| (version.to_owned(), shown(constants.get(at..).unwrap_or_default())))
    };
    // A file made to be full of such texts costs no more than looking at it.
    finder.find_iter(constants).take(1000).filter_map(one).collect()
}

/// The version that a text begins with: numbers with dots, and up to two letters that count on.
fn version(text: &[u8]) -> Option<&str> {
    let digits = |from: usize| text.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = digits(0);
    let mut dots = 0;
    while end > 0 && text.get(end) == Some(&b'.') && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
        dots += 1;
    }
    let letters = text.iter().skip(end).take_while(|byte| byte.is_ascii_lowercase()).count();
    let closed = |at: usize| text.get(at).is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'.');
    if (1..=2).contains(&letters) && closed(end + letters) {
        end += letters;
    }
    let plain = dots > 0 && end <= LONGEST && closed(end);
    plain.then(|| text.get(..end).and_then(|version| std::str::from_utf8(version).ok()))?
}

/// Whether a day follows, as in `1 Nov 2022`; distributions put a word before it (`-fips  26 Jan 2017`).
fn is_day(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-fips").unwrap_or(text);
    let text: Vec<u8> = text.iter().take(24).copied().skip_while(|byte| *byte == b' ').collect();
    let text = String::from_utf8_lossy(&text);
    let mut words = text.split(' ');
    let number = |word: Option<&str>, most: usize| {
        word.is_some_and(|word| (1..=most).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let month = |word: Option<&str>| {
        word.is_some_and(|word| word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_alphabetic()))
    };
    number(words.next(), 2)
        && month(words.next())
        && words.next().and_then(|year| year.get(..4)).is_some_and(|year| number(Some(year), 4))
}

/// The beginning of a text that a person can read.
fn shown(text: &[u8]) -> String {
    let printed = text.iter().take_while(|byte| byte.is_ascii_graphic() || **byte == b' ').take(SHOWN);
    printed.map(|byte| char::from(*byte)).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(constants: &[u8], loads: &[&str]) -> Vec<String> {
        let loads: Vec<String> = loads.iter().map(|name| (*name).to_owned()).collect();
        let found = Texts::new().find(constants, &loads);
        found.into_iter().map(|one| format!("{} {} by {}", one.name, one.version, one.said.unwrap())).collect()
    }

    #[test]
    fn libraries_are_known_by_the_texts_that_their_own_code_holds() {
        let constants = b"\0OpenSSL 3.0.7 1 Nov 2022\0 deflate 1.2.13 Copyright 1995-2022 Jean-loup Gailly\0\
            expat_2.5.0\0libcurl/8.5.0-DEV\0LibreSSL 3.7.2\0";
        assert_eq!(
            found(constants, &["libc.so.6"]),
            [
                "curl 8.5.0 by libcurl/8.5.0-DEV",
                "expat 2.5.0 by expat_2.5.0",
                "libressl 3.7.2 by LibreSSL 3.7.2",
                "openssl 3.0.7 by OpenSSL 3.0.7 1 Nov 2022",
                "zlib 1.2.13 by deflate 1.2.13 Copyright 1995-2022 Jean-loup Gailly",
            ]
        );
        assert_eq!(
            found(b"OpenSSL 1.0.2k-fips  26 Jan 2017\0", &[]),
            ["openssl 1.0.2k by OpenSSL 1.0.2k-fips  26 Jan 2017"]
        );
    }

    #[test]
    fn whoever_loads_the_library_only_quotes_its_headers() {
        let quoted = b"built with OpenSSL 3.0.7 1 Nov 2022\0";
        assert!(found(quoted, &["libssl.so.3"]).is_empty());
        assert_eq!(found(quoted, &["libz.so.1"]).len(), 1);
    }

    #[test]
    fn a_text_that_merely_speaks_of_a_library_is_none() {
        for constants in [
            b"OpenSSL 3.0 or newer is required\0".as_slice(),
            b"OpenSSL 3.0.7\0",
            b"deflate 1.2.13\0",
            b"expat_2.5.0_symbol\0",
            b"libcurl/\0",
            b"OpenSSL 3.0.7.1.2.3.4.5.6.7.8.9.10 1 Nov 2022\0",
            b"expat_2.5.",
        ] {
            assert!(found(constants, &[]).is_empty(), "{}", String::from_utf8_lossy(constants));
        }
    }

    #[test]
    fn a_file_full_of_versions_is_told_of_in_a_few() {
        let many: Vec<u8> = (0..50).flat_map(|n| format!("OpenSSL 1.0.{n} 1 Jan 2020\0").into_bytes()).collect();
        assert_eq!(found(&many, &[]).len(), MOST_VERSIONS);
    }

    proptest::proptest! {
        #[test]
        fn any_constants_are_read(constants in "(OpenSSL |expat_|libcurl/|deflate )?[0-9a-z. \\x00-]{0,40}") {
            let _ = Texts::new().find(constants.as_bytes(), &[]);
        }
    }
}
