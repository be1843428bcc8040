//! The owner's will over versions: apt_preferences(5) and the default release. Priorities are worked out as apt does
//! it, because a security update that apt will never choose is not a fix that can be had.

use crate::facts::Root;
use crate::facts::deb822::{Stanza, Stanzas};

use super::config::{Config, is_part};
use super::release::Release;

const MAX_FILE: u64 = 1 << 20;
const MAX_PINS: usize = 10_000;
const MAX_FILES: usize = 1000;

/// Priority of what apt takes from an archive that asks for nothing else.
const USUAL: i32 = 500;
const DEFAULT_RELEASE: i32 = 990;
const INSTALLED: i32 = 100;
const NOT_AUTOMATIC: i32 = 1;

/// Everything the owner said about versions, in apt's order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Pins {
    general: Vec<Pin>,
    specific: Vec<Pin>,
    /// Stanzas that were not understood, and why.
    pub(crate) unclear: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pin {
    packages: Vec<String>,
    what: What,
    priority: i32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Version(String),
    Site(String),
    Release(Vec<(Key, String)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Suite,
    Codename,
    Origin,
    Label,
    Component,
    Version,
    Architecture,
    /// A bare word: suite or code name.
    Either,
}

/// What apt does with an offered version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It may choose it.
    Open,
    /// The owner's settings keep it away.
    KeptAway,
    /// Its archive does not want to be chosen (backports over a release), and the owner did not ask for it.
    NotAutomatic,
}

/// One archive's index, as pins see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Archive<'a> {
    pub(crate) release: &'a Release,
    pub(crate) site: &'a str,
    pub(crate) component: &'a str,
}

/// One version of a package and where it can be had.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer<'a> {
    pub(crate) name: &'a str,
    pub(crate) architecture: &'a str,
    pub(crate) source: &'a str,
    pub(crate) version: &'a str,
    pub(crate) archives: &'a [Archive<'a>],
    pub(crate) installed: bool,
}

impl Pins {
    pub(crate) fn read(root: &Root, config: &Config) -> Self {
        let mut pins = Self::default();
        if let Some(release) = config.get("APT::Default-Release").filter(|release| !release.is_empty()) {
            match release_keys(release) {
                Some(keys) => {
                    let what = What::Release(keys);
                    pins.general.push(Pin { packages: vec!["*".to_owned()], what, priority: DEFAULT_RELEASE });
                }
                None => pins.unclear.push(format!("APT::Default-Release `{}`", shorten(release))),
            }
        }
        // apt reads the single file before the folder, and the first match wins.
        let parts = root.list("/etc/apt/preferences.d").unwrap_or_default();
        let parts = parts.iter().filter(|name| is_part(name, "pref")).take(MAX_FILES);
        let parts = parts.map(|name| format!("/etc/apt/preferences.d/{name}"));
        for path in ["/etc/apt/preferences".to_owned()].into_iter().chain(parts) {
            match root.read(&path, MAX_FILE) {
                Ok(bytes) => pins.add(&path, &bytes),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => pins.unclear.push(format!("{path}: {error}")),
            }
        }
        pins
    }

    /// Takes the pins of one file.
    pub(crate) fn add(&mut self, path: &str, bytes: &[u8]) {
        let lines = bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"#"));
        let text: Vec<u8> = lines.flatten().copied().collect();
        for stanza in Stanzas::new(&text) {
            if self.general.len() + self.specific.len() >= MAX_PINS {
                self.unclear.push(format!("{path}: more than {MAX_PINS} pins"));
                return;
            }
            if stanza.get("Package").is_none() && stanza.get("Pin").is_none() {
                continue;
            }
            match pin(&stanza) {
                Ok(pin) if pin.packages == ["*"] && !matches!(pin.what, What::Version(_)) => self.general.push(pin),
                Ok(pin) => self.specific.push(pin),
                Err(why) => self.unclear.push(format!("{path}: {why}")),
            }
        }
    }

    /// Weighs a version of this text, for fuzzing.
    pub(crate) fn probe(&self, text: &str) {
        let release = Release { suite: text.to_owned(), ..Release::default() };
        let archives = [Archive { release: &release, site: text, component: text }];
        let offer = Offer {
            name: text,
            architecture: "amd64",
            source: text,
            version: text,
            archives: &archives,
            installed: false,
        };
        let _ = self.fate(&offer, &[Offer { installed: true, ..offer }]);
    }

    /// What becomes of `offer` when it stands against `rivals`: the installed version and what is newer than it.
    pub(crate) fn fate(&self, offer: &Offer<'_>, rivals: &[Offer<'_>]) -> Fate {
        let loses = |pins: &Self| {
            let priority = pins.priority(offer);
            priority <= 0 || rivals.iter().any(|rival| pins.priority(rival) > priority)
        };
        match (loses(self), loses(&Self::default())) {
            (false, _) => Fate::Open,
            (true, false) => Fate::KeptAway,
            (true, true) if self.priority(offer) < 0 => Fate::KeptAway,
            (true, true) => Fate::NotAutomatic,
        }
    }

    /// apt's priority of a version.
    fn priority(&self, offer: &Offer<'_>) -> i32 {
        if let Some(pin) = self.specific.iter().find(|pin| pin.names(offer) && pin.fits(offer)) {
            return pin.priority;
        }
        let archives = offer.archives.iter().map(|archive| self.archive_priority(archive));
        archives.chain(offer.installed.then_some(INSTALLED)).max().unwrap_or(0)
    }

    fn archive_priority(&self, archive: &Archive<'_>) -> i32 {
        if let Some(pin) = self.general.iter().find(|pin| pin.priority != 0 && pin.holds(archive)) {
            return pin.priority;
        }
        match (archive.release.not_automatic, archive.release.but_automatic_upgrades) {
            (true, true) => INSTALLED,
            (true, false) => NOT_AUTOMATIC,
            _ => USUAL,
        }
    }
}

impl Pin {
    fn names(&self, offer: &Offer<'_>) -> bool {
        self.packages.iter().any(|pattern| {
            let (pattern, name) = match pattern.strip_prefix("src:") {
                Some(pattern) => (pattern, offer.source),
                None => (pattern.as_str(), offer.name),
            };
            let (pattern, architecture) = pattern.split_once(':').unwrap_or((pattern, "any"));
            let fits = matches!(architecture, "any" | "native" | "*") || architecture == offer.architecture;
            // apt looks plain names up as they are, and matches patterns without regard to case.
            fits && glob(pattern, name, pattern.contains(['*', '?', '[']))
        })
    }

    fn fits(&self, offer: &Offer<'_>) -> bool {
        match &self.what {
            What::Version(pattern) => glob(pattern, offer.version, true),
            _ => offer.archives.iter().any(|archive| self.holds(archive)),
        }
    }

    fn holds(&self, archive: &Archive<'_>) -> bool {
        let release = archive.release;
        match &self.what {
            What::Version(_) => false,
            What::Site(site) => glob(site, archive.site, true),
            What::Release(keys) => keys.iter().all(|(key, value)| match key {
                Key::Suite => glob(value, &release.suite, true),
                Key::Codename => glob(value, &release.codename, true),
                Key::Either => glob(value, &release.suite, true) || glob(value, &release.codename, true),
                Key::Origin => glob(value, &release.origin, true),
                Key::Label => glob(value, &release.label, true),
                Key::Component => glob(value, archive.component, true),
                Key::Version => glob(value, &release.version, true),
                Key::Architecture => true,
            }),
        }
    }
}

fn pin(stanza: &Stanza<'_>) -> Result<Pin, String> {
    let at = stanza.line;
    let field = |name: &str| stanza.text(name).ok_or_else(|| format!("a pin without {name} near line {at}"));
    let (packages, what, priority) = (field("Package")?, field("Pin")?, field("Pin-Priority")?);
    let priority = priority.parse::<i32>().map_err(|_| format!("priority `{}`", shorten(priority)))?;
    let packages: Vec<String> = packages.split_ascii_whitespace().map(str::to_owned).collect();
    let unclear = || format!("`Pin: {}` for `{}`", shorten(what), shorten(&packages.join(" ")));
    if packages.is_empty() || packages.iter().any(|name| is_regex(name) || name.starts_with('?')) {
        return Err(unclear());
    }
    let (kind, value) = what.split_once(|c: char| c.is_ascii_whitespace()).ok_or_else(unclear)?;
    let value = value.trim();
    let what = match kind {
        "version" => Some(What::Version(value.to_owned())),
        "origin" => Some(What::Site(value.trim_matches('"').to_owned())),
        "release" => release_keys(value).map(What::Release),
        _ => None,
    };
    match what {
        Some(What::Version(ref value) | What::Site(ref value)) if is_regex(value) => Err(unclear()),
        Some(what) => Ok(Pin { packages, what, priority }),
        None => Err(unclear()),
    }
}

fn release_keys(text: &str) -> Option<Vec<(Key, String)>> {
    let mut keys = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (key, value) = match part.split_once('=') {
            Some((key, value)) => (key.trim(), value.trim()),
            None => ("", part),
        };
        let key = match key {
            "a" => Key::Suite,
            "n" => Key::Codename,
            "o" => Key::Origin,
            "l" => Key::Label,
            "c" => Key::Component,
            "v" => Key::Version,
            "b" => Key::Architecture,
            "" if value.starts_with(|c: char| c.is_ascii_digit()) => Key::Version,
            "" => Key::Either,
            _ => return None,
        };
        let value = value.trim_matches('"');
        if is_regex(value) {
            return None;
        }
        keys.push((key, value.to_owned()));
    }
    (!keys.is_empty()).then_some(keys)
}

fn is_regex(text: &str) -> bool {
    text.len() > 1 && text.starts_with('/') && text.ends_with('/')
}

fn shorten(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(80).collect()
}

/// Matches as the shell does, with or without regard to case: `*`, `?` and `[...]`. Takes time in proportion to the product of
/// the lengths, never more, whatever the pattern.
pub(crate) fn glob(pattern: &str, text: &str, fold: bool) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(t) {
        let step = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'[') => set(pattern.get(p..).unwrap_or_default(), *byte, fold),
            Some(other) => (other == byte || fold && other.eq_ignore_ascii_case(byte)).then_some(1),
            None => None,
        };
        match (step, star) {
            (Some(step), _) => {
                p += step;
                t += 1;
            }
            (None, Some((at, from))) => {
                p = at + 1;
                t = from + 1;
                star = Some((at, from + 1));
            }
            (None, None) => return false,
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

/// The length of the set at the start of a pattern when it holds the byte.
fn set(pattern: &[u8], byte: u8, fold: bool) -> Option<usize> {
    let end = pattern.iter().skip(2).position(|byte| *byte == b']')? + 2;
    let inner = pattern.get(1..end)?;
    let (negated, inner) = match inner.first() {
        Some(b'!' | b'^') => (true, inner.get(1..)?),
        _ => (false, inner),
    };
    let folded = |byte: u8| if fold { byte.to_ascii_lowercase() } else { byte };
    let byte = folded(byte);
    let mut found = false;
    let mut at = 0;
    while let Some(first) = inner.get(at) {
        let (last, step) = match (inner.get(at + 1), inner.get(at + 2)) {
            (Some(b'-'), Some(last)) => (last, 3),
            _ => (first, 1),
        };
        found |= (folded(*first)..=folded(*last)).contains(&byte);
        at += step;
    }
    (found != negated).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_match_as_the_shell_does() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]x", "]x", false),
            ("1.27*", "1.27.0-1", true),
            ("A", "a", false),
        ] {
            assert_eq!(glob(pattern, text, false), expected, "{pattern} {text}");
        }
        assert!(glob("A[B]*", "abc", true));
    }

    #[test]
    fn a_hostile_pattern_ends() {
        assert!(!glob(&"*a".repeat(200), &"b".repeat(20_000), true));
    }

    proptest! {
        #[test]
        fn a_text_matches_itself_and_everything_matches_a_star(text in "[a-z0-9.+~-]{0,20}") {
            prop_assert!(glob(&text, &text, false) && glob("*", &text, true));
        }

        #[test]
        fn any_preferences_are_read(text in "((Package|Pin|Pin-Priority|#x|Explanation): [a-z*/=, \\[\\]-]{0,20}\n{1,2}){0,10}") {
            let mut pins = Pins::default();
            pins.add("x", text.as_bytes());
        }
    }
}
