//! The files of packages: which they are, by the RECORD that pip keeps, and what is in them.
//!
//! A RECORD belongs to the owner of the environment and may say anything. A path in it counts only below the environment;
//! what is read is read without leaving it.

use std::collections::BTreeSet;
use std::io::Read as _;

use stanch_action::ActionError;
use stanch_model::canonical::Hasher;

use super::params::{Dist, Projection};
use crate::facts::Root;
use crate::facts::python::{Environment, Installed};

const MOST_RECORD: u64 = 64 << 20;
const MOST_FILES: usize = 200_000;

/// What a RECORD lists, below the environment, in order. `None` where there is no RECORD that could be read; `Err` names a
/// path that leads out of the environment.
pub(crate) fn listed(root: &Root, environment: &str, installed: &Installed) -> Option<Result<Vec<String>, String>> {
    let text = root.text(&format!("{}/RECORD", installed.about), MOST_RECORD).ok()?;
    let (site, _) = installed.about.rsplit_once('/')?;
    let mut paths = BTreeSet::new();
    for line in text.lines().filter(|line| !line.is_empty()).take(MOST_FILES) {
        let path = first_field(line);
        match below(environment, site, &path) {
            Some(path) => paths.insert(path),
            None => return Some(Err(path)),
        };
    }
    Some(Ok(paths.into_iter().collect()))
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
pub(crate) fn below(environment: &str, site: &str, path: &str) -> Option<String> {
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

/// Whether Python writes this file by itself, whenever it likes.
pub(crate) fn is_compiled(path: &str) -> bool {
    path.split('/').any(|part| part == "__pycache__")
}

/// The packages of these names, as they are.
pub(crate) fn projection<'a>(
    root: &Root,
    environment: &Environment,
    names: impl Iterator<Item = &'a str>,
) -> Result<Projection, ActionError> {
    let mut projection = Projection::default();
    for name in names {
        let Some(installed) = environment.packages.get(name) else { continue };
        let paths = match listed(root, &environment.path, installed) {
            Some(Ok(paths)) => paths,
            // What was broken off while it was written has no list yet.
            Some(Err(_)) | None => Vec::new(),
        };
        let mut hasher = Hasher::new();
        for path in paths.iter().filter(|path| !is_compiled(path)) {
            hasher.update(path.as_bytes());
            hasher.update(b"\0");
            digest(root, path, &mut hasher).map_err(|e| ActionError::caused(format!("cannot read {path}"), e))?;
        }
        let dist = Dist { version: installed.version.clone(), files: hasher.finish() };
        projection.packages.insert(name.to_owned(), dist);
    }
    Ok(projection)
}

/// Adds mode and content of a file, or that there is none.
fn digest(root: &Root, path: &str, hasher: &mut Hasher) -> std::io::Result<()> {
    let Ok(mode) = root.mode(path) else {
        hasher.update(root.link(path).map_or("absent".to_owned(), |link| format!("link {link}")).as_bytes());
        return Ok(());
    };
    hasher.update(&mode.mode.to_be_bytes());
    let Ok((mut file, size)) = root.file(path) else { return Ok(()) };
    hasher.update(&size.to_be_bytes());
    let mut part = vec![0; 1 << 16];
    // What grows while it is read is read as far as it was.
    let mut left = size;
    while left > 0 {
        let count = file.read(&mut part)?;
        if count == 0 {
            break;
        }
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(count);
        hasher.update(part.get(..taken).unwrap_or_default());
        left -= taken as u64;
    }
    Ok(())
}

/// Where pip puts a file of a wheel, below the environment; nothing for what it does not install as a file.
pub(crate) fn of_wheel(site: &str, path: &str) -> Option<String> {
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

/// The name of a wheel's package and its version, by the name of its file.
pub(crate) fn wheel(file: &str) -> Option<(String, String)> {
    let mut parts = file.strip_suffix(".whl")?.split('-');
    let (name, version) = (parts.next()?, parts.next()?);
    Some((stanch_model::ecosystem::normal_name("PyPI", name).into_owned(), version.replace('_', "-")))
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
        assert_eq!(wheel("Zope_Interface-6.1-py3-none-any.whl"), Some(("zope-interface".to_owned(), "6.1".to_owned())));
    }
}
