//! What pip installed in one place, outside of what a distribution packaged: in a virtual environment, or beside the
//! system's own Python.
//!
//! Names and versions are what `*.dist-info/METADATA` says, and whoever may write there may say anything: what is no name
//! or no version is counted and left out.

use std::collections::BTreeMap;
use std::io::Read as _;

use stanch_model::ecosystem;
use stanch_model::facts::{Component, Keeper, Manager};
use stanch_model::version::PythonVersion;

use super::Root;

/// Packages that are read of one.
const MOST_PACKAGES: usize = 5000;
/// How much of a METADATA is read: name and version stand at its beginning.
const HEADER: u64 = 64 << 10;
/// What marks a virtual environment.
pub(crate) const MARK: &str = "pyvenv.cfg";

/// One place with packages of pip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Environment {
    /// Its folder.
    pub(crate) path: String,
    /// Where its packages lie, below its folder.
    pub(crate) sites: Vec<String>,
    /// Its packages by their normal names.
    pub(crate) packages: BTreeMap<String, Installed>,
    /// Why nobody can change it.
    pub(crate) closed: Option<&'static str>,
    /// Entries that could not be read.
    pub(crate) unread: usize,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installed {
    /// Its version.
    pub(crate) version: String,
    /// The folder below the environment that tells of it.
    pub(crate) about: String,
}

impl Environment {
    /// Its packages as facts tell of them.
    pub(crate) fn components(&self) -> impl Iterator<Item = Component> {
        let keeper = || match self.closed {
            Some(why) => Keeper::Nobody(why.to_owned()),
            None => Keeper::Manager(Manager::Pip),
        };
        self.packages.iter().map(move |(name, installed)| Component {
            ecosystem: "PyPI".to_owned(),
            name: name.clone(),
            version: installed.version.clone(),
            purl: ecosystem::installed("pypi", name, &installed.version, &self.path),
            source: None,
            keeper: Some(keeper()),
        })
    }
}

/// Whether a folder holds the library of a Python.
pub(crate) fn is_library(name: &str) -> bool {
    name.starts_with("python3")
}

/// Reads one environment.
pub(crate) fn environment(root: &Root, path: &str) -> Environment {
    let lib = format!("{path}/lib");
    let mut found =
        Environment { path: path.to_owned(), sites: Vec::new(), packages: BTreeMap::new(), closed: None, unread: 0 };
    let versions = root.entries(&lib).unwrap_or_default();
    for (version, _) in versions.iter().filter(|(name, is_folder)| *is_folder && is_library(name)) {
        for site in ["site-packages", "dist-packages"] {
            let site = format!("lib/{version}/{site}");
            let Ok(entries) = root.entries(&format!("{path}/{site}")) else { continue };
            for (name, is_folder) in entries {
                if name.ends_with(".egg-info") {
                    found.unread += 1;
                }
                if !is_folder || !name.ends_with(".dist-info") {
                    continue;
                }
                let about = format!("{site}/{name}");
                match package(root, &format!("{path}/{about}")) {
                    Some((name, version)) if found.packages.len() < MOST_PACKAGES => {
                        found.packages.insert(name, Installed { version, about });
                    }
                    _ => found.unread += 1,
                }
            }
            found.sites.push(site);
        }
    }
    found.closed = if !root.has(&format!("{path}/{MARK}")) {
        Some("it lies beside the system's own Python, which Stanch leaves to whoever put it there")
    } else if !root.has(&format!("{path}/bin/python")) {
        Some("its environment has no Python of its own any more")
    } else if !found.packages.contains_key("pip") {
        Some("its environment has no pip, so nothing can change it there")
    } else {
        None
    };
    found
}

/// Name and version by the METADATA of a package.
fn package(root: &Root, about: &str) -> Option<(String, String)> {
    let (file, _) = root.file(&format!("{about}/METADATA")).ok()?;
    let mut text = Vec::new();
    file.take(HEADER).read_to_end(&mut text).ok()?;
    named(&String::from_utf8_lossy(&text))
}

fn named(metadata: &str) -> Option<(String, String)> {
    let headers = || metadata.lines().take_while(|line| !line.trim().is_empty());
    let field = |wanted: &str| headers().find_map(|line| line.strip_prefix(wanted)).map(str::trim);
    let (name, version) = (field("Name:")?, field("Version:")?);
    let name = ecosystem::normal_name("PyPI", name).into_owned();
    (is_name(&name) && version.parse::<PythonVersion>().is_ok()).then(|| (name, version.to_owned()))
}

/// Whether this can be nothing but the normal name of a package: no option, no path, no address.
pub(crate) fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= 200
        && text.bytes().next().is_some_and(plain)
        && text.bytes().last().is_some_and(plain)
        && text.bytes().all(|byte| plain(byte) || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_option_and_no_path() {
        for name in ["jinja2", "zope-interface", "0x"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-r", "a-", "a b", "a/b", "../a", "a;b", "a[x]", "A", "a@file", "a\n", &"a".repeat(201)] {
            assert!(!is_name(name), "{name:?}");
        }
    }
}
