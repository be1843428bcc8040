//! What npm and cargo put on a host: packages of project trees and of npm's globals, and crates of `cargo install`. They
//! are listed, so that their advisories are seen; nothing here changes them.
//!
//! Trees belong to anybody, and their files may say anything: what is no name or no version is counted and left out.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use stanch_model::ecosystem;
use stanch_model::facts::{Component, Keeper};
use stanch_model::version::SemanticVersion;

use super::Root;

const MOST_LOCK: u64 = 64 << 20;
const MOST_MANIFEST: u64 = 1 << 20;
/// Packages that are read of one tree.
const MOST_PACKAGES: usize = 20_000;
/// How deep trees without a lock are followed.
const DEEPEST: usize = 6;

/// What was read of one folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) components: BTreeSet<Component>,
    /// Entries that could not be read.
    pub(crate) unread: usize,
}

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    packages: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    version: Option<String>,
    #[serde(default)]
    link: bool,
}

#[derive(Deserialize)]
struct Manifest {
    name: Option<String>,
    version: Option<String>,
}

/// The packages of a folder that holds `node_modules`: by npm's own record of the tree where it keeps one, else by each
/// package's own word.
pub(crate) fn of_npm(root: &Root, folder: &str) -> Listed {
    let mut listed = Listed::default();
    let modules = format!("{folder}/node_modules");
    if let Ok(text) = root.read(&format!("{modules}/.package-lock.json"), MOST_LOCK) {
        let Ok(lock) = serde_json::from_slice::<Lock>(&text) else {
            listed.unread += 1;
            return listed;
        };
        // A link leads to a package of the owner's own.
        for (path, entry) in lock.packages.into_iter().filter(|(_, entry)| !entry.link).take(MOST_PACKAGES) {
            let name = path.rsplit_once("node_modules/").map(|(_, name)| name.to_owned());
            listed.add(folder, name, entry.version);
        }
        return listed;
    }
    walk(root, folder, &modules, 0, &mut listed);
    listed
}

fn walk(root: &Root, folder: &str, modules: &str, depth: usize, listed: &mut Listed) {
    if depth > DEEPEST {
        listed.unread += 1;
        return;
    }
    for (name, is_folder) in root.entries(modules).unwrap_or_default() {
        if !is_folder || name.starts_with('.') || listed.components.len() >= MOST_PACKAGES {
            continue;
        }
        let path = format!("{modules}/{name}");
        if name.starts_with('@') {
            walk(root, folder, &path, depth + 1, listed);
            continue;
        }
        // What has no manifest is no package.
        let Ok(text) = root.read(&format!("{path}/package.json"), MOST_MANIFEST) else { continue };
        match serde_json::from_slice::<Manifest>(&text) {
            Ok(manifest) => listed.add(folder, manifest.name, manifest.version),
            Err(_) => listed.unread += 1,
        }
        walk(root, folder, &format!("{path}/node_modules"), depth + 1, listed);
    }
}

impl Listed {
    fn add(&mut self, folder: &str, name: Option<String>, version: Option<String>) {
        let read = |version: &String| version.parse::<SemanticVersion>().is_ok();
        match (name.filter(|name| is_npm_name(name)), version.filter(read)) {
            (Some(name), Some(version)) => {
                let why = "Stanch does not change trees of npm: whoever keeps this one does";
                self.components.insert(component("npm", "npm", &name, &version, folder, why));
            }
            _ => self.unread += 1,
        }
    }
}

fn component(world: &str, kind: &str, name: &str, version: &str, folder: &str, why: &str) -> Component {
    Component {
        ecosystem: world.to_owned(),
        name: name.to_owned(),
        version: version.to_owned(),
        purl: ecosystem::installed(kind, name, version, folder),
        source: None,
        keeper: Some(Keeper::Nobody(why.to_owned())),
    }
}

/// Whether this can be nothing but the name of a crate or package.
pub(crate) fn is_plain(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
    !text.is_empty() && !text.starts_with(['.', '-']) && text.bytes().all(inside)
}

fn is_npm_name(name: &str) -> bool {
    let parts = match name.strip_prefix('@') {
        Some(scoped) => scoped.split_once('/'),
        None => Some(("x", name)),
    };
    name.len() <= 214 && parts.is_some_and(|(scope, name)| is_plain(scope) && is_plain(name))
}

/// What `cargo install` writes down of the programs in a folder.
#[derive(Deserialize)]
struct Installed {
    #[serde(default)]
    installs: BTreeMap<String, serde::de::IgnoredAny>,
}

/// The file that marks such a folder.
pub(crate) const CRATES: &str = ".crates2.json";

/// The crates that `cargo install` put into a folder, of crates.io alone; the crates inside them are not written down.
pub(crate) fn of_cargo(root: &Root, folder: &str) -> Listed {
    let mut listed = Listed::default();
    let text = root.read(&format!("{folder}/{CRATES}"), MOST_LOCK).unwrap_or_default();
    let Ok(installed) = serde_json::from_slice::<Installed>(&text) else {
        listed.unread += 1;
        return listed;
    };
    for key in installed.installs.keys().take(MOST_PACKAGES) {
        let mut words = key.splitn(3, ' ');
        let (Some(name), Some(version), Some(from)) = (words.next(), words.next(), words.next()) else {
            listed.unread += 1;
            continue;
        };
        if !from.contains("github.com/rust-lang/crates.io-index") && !from.contains("index.crates.io") {
            // From a folder or a repository: advisories of crates.io say nothing of it.
            continue;
        }
        if is_plain(name) && version.parse::<SemanticVersion>().is_ok() {
            let why = "Stanch does not build crates: `cargo install --locked` does";
            listed.components.insert(component("crates.io", "cargo", name, version, folder, why));
        } else {
            listed.unread += 1;
        }
    }
    listed
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn purls(listed: &Listed) -> Vec<&str> {
        listed.components.iter().map(|component| component.purl.as_str()).collect()
    }

    #[test]
    fn a_tree_is_read_by_the_record_that_npm_keeps_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let lock = r#"{"packages": {
            "node_modules/lodash": {"version": "4.17.20"},
            "node_modules/a/node_modules/@babel/core": {"version": "7.0.0"},
            "node_modules/own": {"link": true},
            "node_modules/../../evil": {"version": "1.0.0"},
            "node_modules/odd": {"version": "latest"}
        }}"#;
        put(folder.path(), "srv/app/node_modules/.package-lock.json", lock);
        let listed = of_npm(&Root::open(folder.path()).unwrap(), "/srv/app");
        assert_eq!(
            purls(&listed),
            ["pkg:npm/%40babel/core@7.0.0?environment=/srv/app", "pkg:npm/lodash@4.17.20?environment=/srv/app",]
        );
        assert_eq!(listed.unread, 2);
    }

    #[test]
    fn globals_are_read_by_their_own_manifests() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| format!("usr/local/lib/node_modules/{path}/package.json");
        put(folder.path(), &at("semver"), r#"{"name": "semver", "version": "7.5.1"}"#);
        put(folder.path(), &at("semver/node_modules/lru-cache"), r#"{"name": "lru-cache", "version": "6.0.0"}"#);
        put(folder.path(), &at("@angular/cli"), r#"{"name": "@angular/cli", "version": "1.0.0"}"#);
        put(folder.path(), &at("broken"), "{");
        let listed = of_npm(&Root::open(folder.path()).unwrap(), "/usr/local/lib");
        let names: Vec<&str> = listed.components.iter().map(|component| component.name.as_str()).collect();
        assert_eq!(names, ["@angular/cli", "lru-cache", "semver"]);
        assert_eq!(listed.unread, 1);
    }

    #[test]
    fn crates_of_crates_io_are_listed_and_own_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"installs": {
            "ripgrep 14.1.0 (registry+https://github.com/rust-lang/crates.io-index)": {"bins": ["rg"]},
            "tool 0.1.0 (path+file:///home/kim/tool)": {},
            "broken": {}
        }}"#;
        put(folder.path(), "root/.cargo/.crates2.json", text);
        let listed = of_cargo(&Root::open(folder.path()).unwrap(), "/root/.cargo");
        assert_eq!(purls(&listed), ["pkg:cargo/ripgrep@14.1.0?environment=/root/.cargo"]);
        assert_eq!(listed.unread, 1);
    }
}
