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
/// How far below them.
const DEEPEST: usize = 8;
/// Folders that hold nothing to look for, or only copies of what is found elsewhere.
const DULL: [&str; 4] = ["node_modules", "__pycache__", ".git", ".cache"];
/// Folders that are named because they were not searched; of more, the folder that all lie in.
const MOST_NAMED: usize = 100;

/// How much is looked at on one host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Folders that are opened.
    folders: usize,
    /// Environments and trees that are read.
    places: usize,
    /// Packages that are told of.
    components: usize,
}

pub(crate) const LIMITS: Limits = Limits { folders: 50_000, places: 1000, components: 50_000 };

/// All that was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Environments of Python.
    pub(crate) python: Vec<Environment>,
    /// All packages, in the order in which they were found.
    pub(crate) components: Vec<Component>,
    /// Folders below which not all was looked at.
    pub(crate) unsearched: BTreeSet<String>,
    /// What was not looked at, in sentences.
    pub(crate) gaps: Vec<String>,
}

/// Searches a root; `all` or environments of Python alone.
pub(crate) fn find(root: &Root, all: bool) -> Found {
    find_within(root, all, LIMITS)
}

fn find_within(root: &Root, all: bool, limits: Limits) -> Found {
    let mut search = Search {
        root,
        all,
        limits,
        opened: 0,
        left: 0,
        places: 0,
        unread: 0,
        dropped: 0,
        others: BTreeSet::new(),
        found: Found::default(),
    };
    for folder in FOLDERS {
        search.walk(folder, 0);
    }
    search.end()
}

struct Search<'a> {
    root: &'a Root,
    all: bool,
    limits: Limits,
    opened: usize,
    left: usize,
    places: usize,
    unread: usize,
    dropped: usize,
    /// What is listed and changed by nobody, with the folder it was found in.
    others: BTreeSet<(Component, String)>,
    found: Found,
}

impl Search<'_> {
    fn walk(&mut self, folder: &str, depth: usize) {
        if depth > DEEPEST {
            // Nothing that deep was ever found, so nothing is known from there.
            self.left += 1;
            return;
        }
        if self.opened >= self.limits.folders || self.places >= self.limits.places {
            self.leave(folder);
            return;
        }
        self.opened += 1;
        let entries = match self.root.entries(folder) {
            Ok(entries) => entries,
            // What is not there holds nothing; a link leads to what is found elsewhere.
            Err(error) if is_nothing(&error) => return,
            Err(_) => {
                self.leave(folder);
                return;
            }
        };
        let has = |wanted: &str, folder: bool| entries.iter().any(|(name, is)| name == wanted && *is == folder);
        if has(python::MARK, false) {
            self.read(python::environment(self.root, folder));
            return;
        }
        if folder.ends_with("/lib") && entries.iter().any(|(name, is_folder)| *is_folder && python::is_library(name)) {
            let above = folder.strip_suffix("/lib").unwrap_or(folder);
            let beside = python::environment(self.root, above);
            if !beside.packages.is_empty() || beside.unread > 0 {
                self.read(beside);
            }
        }
        if self.all && has("node_modules", true) {
            self.take(folder, listed::of_npm(self.root, folder));
        }
        if has(listed::CRATES, false) {
            if self.all {
                self.take(folder, listed::of_cargo(self.root, folder));
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

    fn leave(&mut self, folder: &str) {
        self.left += 1;
        self.found.unsearched.insert(folder.to_owned());
    }

    fn read(&mut self, environment: Environment) {
        self.places += 1;
        self.unread += environment.unread;
        if environment.is_partial {
            self.found.unsearched.insert(environment.path.clone());
        }
        for (name, again) in &environment.again {
            let counts = environment.packages.get(name).map_or("", |counts| counts.version.as_str());
            self.found.gaps.push(format!(
                "{} has two records of {name}, {counts} and {}: both are listed, and nothing is changed there",
                environment.path, again.version
            ));
        }
        self.found.python.push(environment);
    }

    fn take(&mut self, folder: &str, listed: listed::Listed) {
        self.places += 1;
        self.unread += listed.unread;
        if listed.unread > 0 {
            self.found.unsearched.insert(folder.to_owned());
        }
        self.others.extend(listed.components.into_iter().map(|component| (component, folder.to_owned())));
    }

    fn end(mut self) -> Found {
        let of_python = std::mem::take(&mut self.found.python);
        let python = of_python.iter().flat_map(|environment| {
            environment.components().map(|component| (component, environment.path.clone())).collect::<Vec<_>>()
        });
        for (component, folder) in python.chain(std::mem::take(&mut self.others)) {
            if self.found.components.len() < self.limits.components {
                self.found.components.push(component);
            } else {
                self.dropped += 1;
                self.found.unsearched.insert(folder);
            }
        }
        self.found.python = of_python;
        let Self { left, unread, dropped, mut found, .. } = self;
        for (count, what) in [
            (left, "folders were not searched for packages beside the system's: they are closed, too deep or too many"),
            (unread, "packages beside the system's could not be read and were left out"),
            (dropped, "packages beside the system's are not told of: there are too many"),
        ] {
            if count > 0 {
                found.gaps.push(format!("{count} {what}"));
            }
        }
        found.unsearched = named(found.unsearched);
        found
    }
}

/// What was not searched; where that is too much to be named, the folders that all of it lies in.
pub(crate) fn named(unsearched: BTreeSet<String>) -> BTreeSet<String> {
    if unsearched.len() <= MOST_NAMED {
        return unsearched;
    }
    let lies_in =
        |top: &str, path: &String| path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let tops = FOLDERS.iter().filter(|top| unsearched.iter().any(|path| lies_in(top, path)));
    tops.map(|top| (*top).to_owned()).collect()
}

/// Whether an error says that there is nothing, or a link in place of it.
pub(crate) fn is_nothing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
        || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
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
        let purls: Vec<String> = found.components.into_iter().map(|component| component.purl).collect();
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
        assert_eq!(found.unsearched.into_iter().collect::<Vec<_>>(), ["/opt/app/venv"]);
    }

    #[test]
    fn folders_without_end_are_counted_and_not_searched() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), &format!("srv/{}pyvenv.cfg", "a/".repeat(40)), "");
        let found = find(&Root::open(folder.path()).unwrap(), true);
        assert!(found.python.is_empty());
        assert_eq!(found.gaps.len(), 1);
        assert!(found.unsearched.is_empty(), "nothing was ever known from there");
    }

    #[test]
    fn what_a_search_does_not_reach_is_named_and_so_is_what_is_not_told_of() {
        let folder = tempfile::tempdir().unwrap();
        for environment in ["opt/a", "opt/b", "srv/c"] {
            put(folder.path(), &format!("{environment}/pyvenv.cfg"), "");
            for name in ["x", "y"] {
                dist(folder.path(), environment, name, &format!("Name: {name}\nVersion: 1\n"));
            }
        }
        let root = Root::open(folder.path()).unwrap();
        let unsearched = |limits| find_within(&root, true, limits).unsearched.into_iter().collect::<Vec<_>>();
        assert_eq!(unsearched(LIMITS), [] as [&str; 0]);
        for few in [Limits { places: 1, ..LIMITS }, Limits { folders: 2, ..LIMITS }] {
            assert_eq!(unsearched(few), ["/home", "/opt/b", "/root", "/srv", "/usr/local"]);
        }
        let few = find_within(&root, true, Limits { components: 3, ..LIMITS });
        assert_eq!(few.components.len(), 3);
        assert_eq!(few.unsearched.into_iter().collect::<Vec<_>>(), ["/opt/b", "/srv/c"]);
        assert_eq!(few.gaps, ["3 packages beside the system's are not told of: there are too many"]);
    }
}
