//! apt's own settings, as far as they say what apt will choose and what it does by itself. Read, never run: apt's
//! configuration can name programs, and a foreign root's must not be started.

use std::collections::BTreeMap;

use crate::facts::Root;

const MAX_FILE: u64 = 1 << 20;
const MAX_FILES: usize = 1000;
const MAX_DEPTH: usize = 32;
const MAX_VALUES: usize = 20_000;

/// The settings of one root: full names in lower case, with every value given, in order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    values: BTreeMap<String, Vec<String>>,
    /// Files that could not be read or understood to their end.
    pub(crate) damaged: Vec<String>,
}

impl Config {
    /// Reads `apt.conf.d` and `apt.conf` in apt's order.
    pub(crate) fn read(root: &Root) -> Self {
        let mut config = Self::default();
        let parts = root.list("/etc/apt/apt.conf.d").unwrap_or_default();
        let parts = parts.iter().filter(|name| is_part(name, "conf")).take(MAX_FILES);
        let parts = parts.map(|name| format!("/etc/apt/apt.conf.d/{name}"));
        for path in parts.chain(["/etc/apt/apt.conf".to_owned()]) {
            match root.text(&path, MAX_FILE) {
                Ok(text) if config.add(&text) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                _ => config.damaged.push(path),
            }
        }
        config
    }

    /// The last value given to a setting.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(&name.to_ascii_lowercase())?.last().map(String::as_str)
    }

    /// Every value of a list.
    pub(crate) fn list(&self, name: &str) -> &[String] {
        self.values.get(&name.to_ascii_lowercase()).map_or(&[], Vec::as_slice)
    }

    /// Takes the settings of one file; `false` when it could not be understood to its end.
    pub(crate) fn add(&mut self, text: &str) -> bool {
        let mut words: Vec<String> = Vec::new();
        let mut scope: Vec<String> = Vec::new();
        let mut tokens = Tokens { rest: text };
        let mut count = 0;
        loop {
            match tokens.next() {
                Some(Token::Word(word)) => words.push(word),
                Some(Token::Open) => {
                    if scope.len() >= MAX_DEPTH {
                        return false;
                    }
                    let name = if words.is_empty() { String::new() } else { words.remove(0) };
                    let outer = scope.last().map(String::as_str).unwrap_or_default();
                    scope.push(join(outer, &name));
                    words.clear();
                }
                Some(Token::Close) => {
                    self.set(&scope, &mut words);
                    if scope.pop().is_none() {
                        return false;
                    }
                }
                Some(Token::End) => self.set(&scope, &mut words),
                None => break,
            }
            count += 1;
            if count > MAX_VALUES || words.len() > 64 {
                return false;
            }
        }
        scope.is_empty() && words.is_empty() && tokens.rest.is_empty()
    }

    fn set(&mut self, scope: &[String], words: &mut Vec<String>) {
        let outer = scope.last().map(String::as_str).unwrap_or_default();
        let (name, value) = match words.as_slice() {
            [] => return,
            [clear, name, ..] if clear.eq_ignore_ascii_case("#clear") => {
                let name = join(outer, name);
                let below = format!("{name}::");
                self.values.retain(|key, _| *key != name && !key.starts_with(&below));
                words.clear();
                return;
            }
            // A lone text in a block is an entry of the block's list.
            [value] if !outer.is_empty() => (outer.to_owned(), value.clone()),
            [name] => (join(outer, name), String::new()),
            [name, value, ..] => (join(outer, name.trim_end_matches("::")), value.clone()),
        };
        self.values.entry(name).or_default().push(value);
        words.clear();
    }
}

fn join(outer: &str, name: &str) -> String {
    let name = name.trim_end_matches("::").to_ascii_lowercase();
    if outer.is_empty() { name } else { format!("{outer}::{name}") }
}

/// Whether a name in a folder of parts is one that apt reads.
pub(crate) fn is_part(name: &str, extension: &str) -> bool {
    let stem = name.strip_suffix(extension).and_then(|stem| stem.strip_suffix('.'));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    match stem {
        Some(stem) => stem.bytes().all(|byte| plain(byte) || byte == b'.'),
        None => name.bytes().all(plain),
    }
}

enum Token {
    Word(String),
    Open,
    Close,
    End,
}

struct Tokens<'a> {
    rest: &'a str,
}

impl Tokens<'_> {
    fn skip_to(&mut self, end: &str) {
        self.rest = self.rest.split_once(end).map_or("", |(_, rest)| rest);
    }
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            self.rest = self.rest.trim_start();
            let text = self.rest;
            if text.starts_with("//") || (text.starts_with('#') && !text.starts_with("#clear")) {
                self.skip_to("\n");
                continue;
            }
            if text.starts_with("/*") {
                self.skip_to("*/");
                continue;
            }
            let mut chars = text.chars();
            let (token, rest) = match chars.next()? {
                '{' => (Token::Open, chars.as_str()),
                '}' => (Token::Close, chars.as_str()),
                ';' => (Token::End, chars.as_str()),
                '"' => {
                    let (value, rest) = chars.as_str().split_once('"')?;
                    (Token::Word(value.to_owned()), rest)
                }
                _ => {
                    let end = text.find(|c: char| c.is_whitespace() || matches!(c, '{' | '}' | ';' | '"'));
                    let (word, rest) = text.split_at(end.unwrap_or(text.len()));
                    (Token::Word(word.to_owned()), rest)
                }
            };
            self.rest = rest;
            return Some(token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config(text: &str) -> Config {
        let mut config = Config::default();
        assert!(config.add(text), "{text}");
        config
    }

    #[test]
    fn both_spellings_of_a_setting_are_the_same() {
        let flat = config("APT::Periodic::Unattended-Upgrade \"1\";");
        let nested = config("APT { Periodic { Unattended-Upgrade \"1\"; }; };");
        assert_eq!(flat, nested);
        assert_eq!(flat.get("apt::periodic::unattended-upgrade"), Some("1"));
    }

    #[test]
    fn lists_comments_and_clear_are_understood() {
        let seen = config(
            "// a \"comment\"\n# another\n/* and\n one; { */\nU::Origins { \"a\"; \"b\"; };\nU::Origins:: \"c\";\nX \"1\";\nX \"2\";\n",
        );
        assert_eq!(seen.list("U::Origins"), ["a", "b", "c"]);
        assert_eq!(seen.get("x"), Some("2"));
        assert_eq!(config("A::B \"1\";\n#clear A;\n").get("A::B"), None);
    }

    #[test]
    fn what_does_not_end_is_damaged() {
        for text in ["A { B \"1\";", "A \"1", "A \"1\"", "}", "A { A { "] {
            assert!(!Config::default().add(text), "{text}");
        }
    }

    #[test]
    fn apt_ignores_backups_in_its_folders() {
        for (name, read) in
            [("99x", true), ("50a.conf", true), ("50a.conf.bak", false), ("x~", false), ("x.dpkg-old", false)]
        {
            assert_eq!(is_part(name, "conf"), read, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z:\"{};#/* \n]{0,200}") {
            let _ = Config::default().add(&text);
        }
    }
}
