//! Where a host keeps packages that no distribution brought: environments of Python, trees of npm, programs of cargo.
//!
//! They are wherever people put them, so a few folders are searched, within bounds and without following a link; what was
//! not looked at is counted.

use std::collections::BTreeSet;

use stanch_model::facts::Component;

use super::python::{self, Environment};
use super::{Root, listed};

/// Where they are looked for.
pub(crate) const FOLDERS: [&str; 5] = ["/opt", "/srv", "/home", "/root", "/usr/local"];
/// Folders below those that are opened.
const MOST_FOLDERS: usize = 50_000;
/// How far below them.
const DEEPEST: usize = 8;
/// Environments and trees that are read.
const MOST_PLACES: usize = 1000;
/// Folders that hold nothing to look for, or only copies of what is found elsewhere.
const DULL: [&str; 4] = ["node_modules", "__pycache__", ".git", ".cache"];

/// All that was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Environments of Python.
    pub(crate) python: Vec<Environment>,
    /// What is listed and changed by nobody.
    others: BTreeSet<Component>,
    /// What was not looked at, in sentences.
    pub(crate) gaps: Vec<String>,
}

impl Found {
    pub(crate) fn components(self) -> Vec<Component> {
        self.python.iter().flat_map(Environment::components).chain(self.others).collect()
    }
}

/// Searches a root; `all` or environments of Python alone.
pub(crate) fn find(root: &Root, all: bool) -> Found {
    let mut search = Search { root, all, opened: 0, left: 0, places: 0, unread: 0, found: Found::default() };
    for folder in FOLDERS {
        search.walk(folder, 0);
    }
    let Search { left, unread, mut found, .. } = search;
    if left > 0 {
        found
            .gaps
            .push(format!("{left} folders were not searched for packages beside the system's: there are too many"));
    }
    let unread = unread + found.python.iter().map(|environment| environment.unread).sum::<usize>();
    if unread > 0 {
        found.gaps.push(format!("{unread} packages beside the system's could not be read and were left out"));
    }
    found
}

struct Search<'a> {
    root: &'a Root,
    all: bool,
    opened: usize,
    left: usize,
    places: usize,
    unread: usize,
    found: Found,
}

impl Search<'_> {
    fn walk(&mut self, folder: &str, depth: usize) {
        if self.opened >= MOST_FOLDERS || depth > DEEPEST || self.places >= MOST_PLACES {
            self.left += 1;
            return;
        }
        self.opened += 1;
        // What is not there or closed to us holds nothing that could be told.
        let Ok(entries) = self.root.entries(folder) else { return };
        let has = |wanted: &str, folder: bool| entries.iter().any(|(name, is)| name == wanted && *is == folder);
        if has(python::MARK, false) {
            self.places += 1;
            self.found.python.push(python::environment(self.root, folder));
            return;
        }
        if folder.ends_with("/lib") && entries.iter().any(|(name, is_folder)| *is_folder && python::is_library(name)) {
            let above = folder.strip_suffix("/lib").unwrap_or(folder);
            let beside = python::environment(self.root, above);
            if !beside.packages.is_empty() || beside.unread > 0 {
                self.places += 1;
                self.found.python.push(beside);
            }
        }
        if self.all && has("node_modules", true) {
            self.take(listed::of_npm(self.root, folder));
        }
        if has(listed::CRATES, false) {
            if self.all {
                self.take(listed::of_cargo(self.root, folder));
            }
            // Below are sources that cargo fetched.
            return;
        }
        for (name, is_folder) in entries {
            if is_folder && !python::is_library(&name) && !DULL.contains(&name.as_str()) {
                self.walk(&format!("{folder}/{name}"), depth + 1);
            }
        }
    }

    fn take(&mut self, listed: listed::Listed) {
        self.places += 1;
        self.unread += listed.unread;
        self.found.others.extend(listed.components);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    const SITE: &str = "lib/python3.11/site-packages";

    fn dist(root: &Path, environment: &str, folder: &str, metadata: &str) {
        put(root, &format!("{environment}/{SITE}/{folder}.dist-info/METADATA"), metadata);
    }

    #[test]
    fn packages_are_found_where_people_put_environments_and_what_cannot_be_read_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for environment in ["opt/app/venv", "home/kim/work/.venv"] {
            put(root, &format!("{environment}/pyvenv.cfg"), "home = /usr/bin\n");
            put(root, &format!("{environment}/bin/python"), "");
        }
        dist(root, "opt/app/venv", "pip-23", "Name: pip\nVersion: 23.0.1\n\nVersion: 9\n");
        dist(root, "opt/app/venv", "Jinja2-3", "Metadata-Version: 2.1\nName: Jinja2\nVersion: 3.1.2\n");
        dist(root, "opt/app/venv", "evil-1", "Name: --index-url=x\nVersion: 1\n");
        dist(root, "opt/app/venv", "odd-1", "Name: odd\nVersion: latest\n");
        dist(root, "home/kim/work/.venv", "jinja2-3", "Name: jinja2\nVersion: 3.1.2\n");
        dist(root, "usr/local", "requests-2", "Name: requests\nVersion: 2.0\n");
        put(root, "opt/web/node_modules/lodash/package.json", r#"{"name": "lodash", "version": "4.17.20"}"#);
        put(root, "root/.cargo/.crates2.json", r#"{"installs": {"a 1.0.0 (registry+https://index.crates.io/)": {}}}"#);
        // What apt installed is apt's.
        dist(root, "usr", "six-1", "Name: six\nVersion: 1.0\n");
        // A link leads to the same environment a second time, or out of the root.
        symlink("/opt/app/venv", root.join("srv")).unwrap();
        symlink(root.join("opt"), root.join("opt/again")).unwrap();
        let found = find(&Root::open(root).unwrap(), true);
        let keepers: Vec<bool> = found.python.iter().map(|one| one.closed.is_none()).collect();
        assert_eq!(keepers, [true, false, false], "only where pip is");
        let gaps = found.gaps.clone();
        let purls: Vec<String> = found.components().into_iter().map(|component| component.purl).collect();
        assert_eq!(
            purls,
            [
                "pkg:pypi/jinja2@3.1.2?environment=/opt/app/venv",
                "pkg:pypi/pip@23.0.1?environment=/opt/app/venv",
                "pkg:pypi/jinja2@3.1.2?environment=/home/kim/work/.venv",
                "pkg:pypi/requests@2.0?environment=/usr/local",
                "pkg:cargo/a@1.0.0?environment=/root/.cargo",
                "pkg:npm/lodash@4.17.20?environment=/opt/web",
            ]
        );
        assert_eq!(gaps, ["2 packages beside the system's could not be read and were left out"]);
    }

    #[test]
    fn folders_without_end_are_counted_and_not_searched() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), &format!("srv/{}pyvenv.cfg", "a/".repeat(40)), "");
        let found = find(&Root::open(folder.path()).unwrap(), true);
        assert!(found.python.is_empty());
        assert_eq!(found.gaps.len(), 1);
    }
}
