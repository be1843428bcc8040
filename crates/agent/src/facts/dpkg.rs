//! What dpkg says is installed: `/var/lib/dpkg/status`, and the one file a package under `status.d` that images without
//! dpkg carry.
//!
//! Two kinds of damage are told apart. Text that dpkg itself would refuse (a line that is no field, a stanza without a
//! package) is an error with its line: a list cut short must never look like a small, clean host. A package whose
//! version or name cannot be understood is left out and counted, because one vendor's odd package must not hide the
//! other seven hundred.

use stanch_model::facts::Package;
use stanch_model::version::DebVersion;

use super::deb822::{Field, Stanza, Stanzas};

/// More bytes than this are no real status file: the largest hosts stay under 10 MB.
pub const MAX_STATUS: u64 = 64 << 20;

const MAX_PACKAGES: usize = 200_000;
const MAX_NAME: usize = 256;
const MAX_BUILT_USING: usize = 1024;

/// What a status file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Packages of which files are on disk, by name, then architecture.
    pub packages: Vec<Package>,
    /// Names of those that dpkg left half done: unpacked, half-configured, half-installed or waiting for triggers, or
    /// marked as needing a reinstall.
    pub broken: Vec<String>,
    /// What was left out.
    pub unreadable: Vec<Unreadable>,
}

/// A package that was left out because a field of it could not be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The line its stanza starts at.
    pub line: usize,
    /// Its name, as far as it is one.
    pub package: String,
    /// What could not be understood.
    pub why: String,
}

/// A status file that cannot be trusted to be whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the package list is damaged at line {line}: {why}")]
pub struct StatusError {
    /// The line, counted from 1.
    pub line: usize,
    why: &'static str,
}

impl StatusError {
    /// What a person can do about it.
    pub const fn remedy(&self) -> &'static str {
        "dpkg itself refuses such a file: compare it with /var/lib/dpkg/status-old or the copies in /var/backups"
    }
}

/// Reads a whole dpkg status file. A stanza without a `Status` field counts as installed, as in the lists of images
/// without dpkg.
///
/// # Errors
/// When the text is not a list of stanzas that each name a package; see the head of this module.
pub fn parse_status(bytes: &[u8]) -> Result<Status, StatusError> {
    let mut status = Status::default();
    for stanza in Stanzas::new(bytes) {
        if status.packages.len() >= MAX_PACKAGES {
            return Err(StatusError { line: stanza.line, why: "it lists more than 200,000 packages" });
        }
        match entry(&stanza)? {
            Entry::Package { package, broken } => {
                if broken {
                    status.broken.push(package.name.clone());
                }
                status.packages.push(*package);
            }
            Entry::Absent => {}
            Entry::Unreadable(unreadable) => status.unreadable.push(unreadable),
        }
    }
    let order = |a: &Package, b: &Package| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture));
    if !status.packages.is_sorted_by(|a, b| order(a, b).is_le()) {
        status.packages.sort_by(order);
    }
    status.broken.sort();
    status.broken.dedup();
    Ok(status)
}

enum Entry {
    Package { package: Box<Package>, broken: bool },
    Absent,
    Unreadable(Unreadable),
}

#[derive(Default)]
struct Raw<'a> {
    name: Option<&'a [u8]>,
    status: Option<&'a [u8]>,
    architecture: Option<&'a [u8]>,
    version: Option<&'a [u8]>,
    source: Option<&'a [u8]>,
    built_using: Option<&'a [u8]>,
    essential: bool,
}

impl<'a> Raw<'a> {
    fn read(stanza: &Stanza<'a>) -> Result<Self, StatusError> {
        let mut raw = Self::default();
        for field in stanza.fields() {
            let field =
                field.map_err(|bad| StatusError { line: bad.line, why: "expected a field such as `Package: name`" })?;
            raw.take(&field)?;
        }
        Ok(raw)
    }

    fn take(&mut self, field: &Field<'a>) -> Result<(), StatusError> {
        let slot = match field.name.first().map(u8::to_ascii_lowercase) {
            Some(b'p') if field.is("Package") => &mut self.name,
            Some(b's') if field.is("Status") => &mut self.status,
            Some(b's') if field.is("Source") => &mut self.source,
            Some(b'a') if field.is("Architecture") => &mut self.architecture,
            Some(b'v') if field.is("Version") => &mut self.version,
            Some(b'b') if field.is("Built-Using") => &mut self.built_using,
            Some(b'e') if field.is("Essential") => {
                self.essential = field.value.eq_ignore_ascii_case(b"yes");
                return Ok(());
            }
            _ => return Ok(()),
        };
        if slot.replace(field.value).is_some() {
            return Err(StatusError { line: field.line, why: "a field is given twice: two packages ran together" });
        }
        Ok(())
    }
}

/// The three words of a `Status` field that matter here.
struct Words {
    hold: bool,
    present: bool,
    broken: bool,
}

fn words(status: &[u8]) -> Option<Words> {
    let mut words = status.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let (want, flag, state) = (words.next()?, words.next()?, words.next()?);
    let (present, whole) = match state {
        b"installed" => (true, true),
        b"not-installed" | b"config-files" => (false, true),
        b"half-installed" | b"unpacked" | b"half-configured" | b"triggers-awaited" | b"triggers-pending" => {
            (true, false)
        }
        _ => return None,
    };
    Some(Words { hold: want == b"hold", present, broken: present && !whole || flag != b"ok" })
}

fn entry(stanza: &Stanza<'_>) -> Result<Entry, StatusError> {
    let raw = Raw::read(stanza)?;
    let Some(name) = raw.name else {
        return Err(StatusError { line: stanza.line, why: "a stanza names no package" });
    };
    let unreadable = |why: String| {
        let shown = String::from_utf8_lossy(name.get(..name.len().min(64)).unwrap_or_default()).into_owned();
        Ok(Entry::Unreadable(Unreadable { line: stanza.line, package: shown, why }))
    };
    let state = match raw.status {
        None => Words { hold: false, present: true, broken: false },
        Some(status) => match words(status) {
            Some(words) => words,
            None => return unreadable("its Status is none that dpkg knows".to_owned()),
        },
    };
    if !state.present {
        return Ok(Entry::Absent);
    }
    let Some(name) = package_name(name) else {
        return unreadable("its name has characters that no package name has".to_owned());
    };
    let architecture = match raw.architecture {
        None => "all",
        Some(text) => match package_name(text) {
            Some(text) => text,
            None => return unreadable("its architecture is not a word".to_owned()),
        },
    };
    let version = match raw.version.map(version) {
        None => return unreadable("it has no version".to_owned()),
        Some(Err(why)) => return unreadable(why),
        Some(Ok(version)) => version,
    };
    let (source, source_version) = match raw.source.map(named_version) {
        None => (name, None),
        Some(None) => return unreadable("its Source is not `name (version)`".to_owned()),
        Some(Some((source, None))) => (source, None),
        Some(Some((source, Some(text)))) => match text.parse() {
            Ok(version) => (source, Some(version)),
            Err(error) => return unreadable(format!("its Source: {error}")),
        },
    };
    let Some(built_using) = raw.built_using.map_or(Some(Vec::new()), built_using) else {
        return unreadable("its Built-Using is not a list of `name (= version)`".to_owned());
    };
    let package = Package {
        name: name.to_owned(),
        architecture: architecture.to_owned(),
        source: source.to_owned(),
        source_version: source_version.unwrap_or_else(|| version.clone()),
        version,
        built_using,
        hold: state.hold,
        essential: raw.essential,
        automatic: None,
        origins: Vec::new(),
        installed_at: None,
    };
    Ok(Entry::Package { package: Box::new(package), broken: state.broken })
}

fn version(text: &[u8]) -> Result<DebVersion, String> {
    let text = std::str::from_utf8(text).map_err(|_| "its version is not text".to_owned())?;
    text.parse::<DebVersion>().map_err(|error| error.to_string())
}

/// A word of the characters that names of packages and architectures have. Upper case and underscores are let through:
/// vendors use them, and dpkg warns but installs.
pub(crate) fn package_name(text: &[u8]) -> Option<&str> {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_');
    let starts = text.first().is_some_and(u8::is_ascii_alphanumeric);
    if !starts || text.len() > MAX_NAME || !text.iter().all(fits) {
        return None;
    }
    std::str::from_utf8(text).ok()
}

/// Reads `name`, `name (version)` or `name (= version)`.
pub(crate) fn named_version(text: &[u8]) -> Option<(&str, Option<&str>)> {
    let Some(open) = text.iter().position(|byte| *byte == b'(') else {
        return Some((package_name(text.trim_ascii())?, None));
    };
    let name = package_name(text.get(..open)?.trim_ascii())?;
    let inner = text.get(open + 1..)?.trim_ascii().strip_suffix(b")")?.trim_ascii();
    let inner = inner.strip_prefix(b"=").map_or(inner, <[u8]>::trim_ascii);
    let version = std::str::from_utf8(inner).ok()?;
    (!version.is_empty()).then_some((name, Some(version)))
}

fn built_using(text: &[u8]) -> Option<Vec<(String, DebVersion)>> {
    let parts = text.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|part| !part.is_empty());
    let mut sources = Vec::new();
    for part in parts {
        let (name, version) = named_version(part)?;
        if sources.len() >= MAX_BUILT_USING {
            return None;
        }
        sources.push((name.to_owned(), version?.parse().ok()?));
    }
    Some(sources)
}
