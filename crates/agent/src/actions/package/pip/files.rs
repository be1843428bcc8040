//! The files of packages: which they are, by the RECORD that pip keeps, and what is in them.
//!
//! A RECORD belongs to the owner of the environment and may say anything. A path in it counts only below the environment;
//! what is read is read without leaving it.

use std::collections::{BTreeMap, BTreeSet};

use stanch_action::ActionError;
use stanch_model::canonical::Hasher;

use super::params::{Dist, Projection};
use super::place::Place;
use super::snapshot::is_compiled;
use crate::facts::python::{Environment, Installed};

const MOST_RECORD: u64 = 16 << 20;
const MOST_FILES: usize = 100_000;

/// Why there is no list of a package's files.
pub(super) enum Unlisted {
    /// There is no RECORD that could be read.
    None,
    /// It names a path that leads out of the environment.
    Outside(String),
    /// It is longer than any that is believed.
    TooLong,
}

impl Unlisted {
    /// In words, of this package.
    pub(super) fn told(&self, name: &str) -> String {
        match self {
            Self::None => format!("{name} has no list of its files: pip did not install it"),
            Self::Outside(path) => format!("{name} has a file outside of the environment: {path}"),
            Self::TooLong => format!("{name} lists more than {MOST_FILES} files"),
        }
    }
}

/// What a RECORD lists, below the environment, in order.
pub(super) fn listed(place: &Place, installed: &Installed) -> Result<BTreeSet<String>, Unlisted> {
    let text = place.folder().text(&format!("{}/RECORD", installed.about), MOST_RECORD).map_err(|_| Unlisted::None)?;
    let (site, _) = installed.about.rsplit_once('/').ok_or(Unlisted::None)?;
    let mut paths = BTreeSet::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if paths.len() >= MOST_FILES {
            return Err(Unlisted::TooLong);
        }
        let path = first_field(line);
        match below(&place.path, site, &path) {
            Some(path) => paths.insert(path),
            None => return Err(Unlisted::Outside(path)),
        };
    }
    Ok(paths)
}

/// The lists of those of these packages that have one.
pub(super) fn lists<'a>(
    place: &Place,
    environment: &Environment,
    names: impl Iterator<Item = &'a str>,
) -> BTreeMap<String, BTreeSet<String>> {
    let list = |name: &str| Some((name.to_owned(), listed(place, environment.packages.get(name)?).ok()?));
    names.filter_map(list).collect()
}

/// The first field of a line of comma-separated values.
fn first_field(line: &str) -> String {
    match line.strip_prefix('"') {
        None => line.split(',').next().unwrap_or_default().to_owned(),
        Some(quoted) => {
            let mut field = String::new();
            let mut rest = quoted.chars().peekable();
            while let Some(c) = rest.next() {
                match c {
                    '"' if rest.peek() == Some(&'"') => field.extend(rest.next()),
                    '"' => break,
                    other => field.push(other),
                }
            }
            field
        }
    }
}

/// The path below the environment; `None` for one that leads elsewhere.
fn below(environment: &str, site: &str, path: &str) -> Option<String> {
    let joined = match path.strip_prefix(environment) {
        Some(inside) if inside.starts_with('/') => inside.to_owned(),
        _ if path.starts_with('/') => return None,
        _ => format!("{site}/{path}"),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            other => parts.push(other),
        }
    }
    let plain = !parts.is_empty() && !path.chars().any(char::is_control);
    plain.then(|| parts.join("/"))
}

/// The packages of these names, as they are.
pub(super) fn projection<'a>(
    place: &Place,
    environment: &Environment,
    names: impl Iterator<Item = &'a str>,
) -> Result<Projection, ActionError> {
    let mut projection = Projection::default();
    let mut reader = place.reader();
    for name in names {
        let Some(installed) = environment.packages.get(name) else { continue };
        // What was broken off while it was written has no list yet.
        let paths = listed(place, installed).unwrap_or_default();
        let mut hasher = Hasher::new();
        for path in paths.iter().filter(|path| !is_compiled(path)) {
            hasher.update(path.as_bytes());
            hasher.update(b"\0");
            match reader.entry(path).map_err(|e| ActionError::caused(format!("cannot read {path}"), e))? {
                Some(entry) => entry.add_to(&mut hasher),
                None => hasher.update(b"absent"),
            }
            hasher.update(b"\0");
        }
        let dist = Dist { version: installed.version.clone(), files: hasher.finish() };
        projection.packages.insert(name.to_owned(), dist);
    }
    Ok(projection)
}

/// Where pip puts a file of a wheel, below the environment; nothing for what it does not install as a file.
pub(super) fn of_wheel(site: &str, path: &str) -> Option<String> {
    let path = match path.split_once(".data/") {
        Some((wheel, rest)) if !wheel.contains('/') => match rest.split_once('/')? {
            ("purelib" | "platlib", rest) => format!("{site}/{rest}"),
            ("scripts", rest) => format!("bin/{rest}"),
            ("data", rest) => rest.to_owned(),
            _ => return None,
        },
        _ => format!("{site}/{path}"),
    };
    below("/", "", &path)
}

/// Where pip puts a program that a wheel names an entry point of.
pub(super) fn of_entry_point(name: &str) -> Option<String> {
    let plain =
        !name.is_empty() && !name.contains('/') && !matches!(name, "." | "..") && !name.chars().any(char::is_control);
    plain.then(|| format!("bin/{name}"))
}

/// The name of a wheel's package, by the name of its file, if that can be nothing but the name of a file.
pub(super) fn wheel(file: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+!-".contains(&byte);
    if file.len() > 250 || file.starts_with(['.', '-']) || !file.bytes().all(plain) {
        return None;
    }
    let name = file.strip_suffix(".whl")?.split('-').next()?;
    Some(stanch_model::ecosystem::normal_name("PyPI", name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = "lib/python3.11/site-packages";

    #[test]
    fn only_paths_below_the_environment_count() {
        let at = |path: &str| below("/opt/x", SITE, path);
        assert_eq!(at("a/b.py").as_deref(), Some("lib/python3.11/site-packages/a/b.py"));
        assert_eq!(at("../../../bin/flask").as_deref(), Some("bin/flask"));
        assert_eq!(at("/opt/x/bin/flask").as_deref(), Some("bin/flask"));
        for path in ["../../../../etc/passwd", "/etc/passwd", "/opt/xy/a", "a\nb", "../../..", "/opt/x/../../etc/x"] {
            assert_eq!(at(path), None, "{path:?}");
        }
    }

    #[test]
    fn a_record_is_read_as_the_csv_it_is() {
        assert_eq!(first_field("a/b.py,sha256=x,3"), "a/b.py");
        assert_eq!(first_field("\"a,\"\"b\"\".py\",sha256=x,3"), "a,\"b\".py");
    }

    #[test]
    fn the_files_of_a_wheel_go_where_pip_puts_them() {
        let at = |path: &str| of_wheel(SITE, path);
        assert_eq!(at("a/b.py").as_deref(), Some("lib/python3.11/site-packages/a/b.py"));
        assert_eq!(at("x-1.data/scripts/run").as_deref(), Some("bin/run"));
        assert_eq!(at("x-1.data/purelib/a.py").as_deref(), Some("lib/python3.11/site-packages/a.py"));
        assert_eq!(at("x-1.data/headers/a.h"), None);
        assert_eq!(at("../../../../etc/passwd"), None);
        assert_eq!(wheel("Zope_Interface-6.1-py3-none-any.whl").as_deref(), Some("zope-interface"));
        for name in ["-r-1-x.whl", ".x-1.whl", "a b-1.whl", "a\n-1.whl", "a-1.tar.gz"] {
            assert_eq!(wheel(name), None, "{name:?}");
        }
        assert_eq!(of_entry_point("flask").as_deref(), Some("bin/flask"));
        for name in ["", "..", "../x", "a\nb"] {
            assert_eq!(of_entry_point(name), None, "{name:?}");
        }
    }
}
