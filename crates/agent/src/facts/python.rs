//! What pip installed on a host, outside of what its distribution packaged: in virtual environments, and beside the
//! system's own Python.
//!
//! Environments are wherever people put them, so a few folders are searched, within bounds and without following a
//! link; what was not looked at is counted. Names and versions are what `*.dist-info/METADATA` says, and whoever may
//! write there may say anything: what is no name or no version is counted and left out.

use std::collections::BTreeMap;
use std::io::Read as _;

use stanch_model::ecosystem;
use stanch_model::facts::{Component, Keeper, Manager};
use stanch_model::version::PythonVersion;

use super::Root;

/// Where environments are looked for.
pub(crate) const FOLDERS: [&str; 5] = ["/opt", "/srv", "/home", "/root", "/usr/local"];
/// Folders below those that are opened.
const MOST_FOLDERS: usize = 50_000;
/// How far below them.
const DEEPEST: usize = 8;
/// Environments that are read.
const MOST_ENVIRONMENTS: usize = 1000;
/// Packages that are read of one.
const MOST_PACKAGES: usize = 5000;
/// How much of a METADATA is read: name and version stand at its beginning.
const HEADER: u64 = 64 << 10;
/// What marks a virtual environment.
const MARK: &str = "pyvenv.cfg";

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
    unread: usize,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installed {
    /// Its version.
    pub(crate) version: String,
    /// The folder below the environment that tells of it.
    pub(crate) about: String,
}

/// All that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) environments: Vec<Environment>,
    /// What was not looked at, in sentences.
    pub(crate) gaps: Vec<String>,
}

impl Found {
    pub(crate) fn components(&self) -> Vec<Component> {
        let of = |environment: &Environment| -> Vec<Component> {
            let keeper = || match environment.closed {
                Some(why) => Keeper::Nobody(why.to_owned()),
                None => Keeper::Manager(Manager::Pip),
            };
            let component = |(name, installed): (&String, &Installed)| Component {
                ecosystem: "PyPI".to_owned(),
                name: name.clone(),
                version: installed.version.clone(),
                purl: ecosystem::installed("pypi", name, &installed.version, &environment.path),
                source: None,
                keeper: Some(keeper()),
            };
            environment.packages.iter().map(component).collect()
        };
        self.environments.iter().flat_map(of).collect()
    }
}

/// Searches a root.
pub(crate) fn find(root: &Root) -> Found {
    let mut search = Search { root, opened: 0, left: 0, found: Found::default() };
    for folder in FOLDERS {
        search.walk(folder, 0);
    }
    if search.left > 0 {
        let gap = format!("{} folders were not searched for environments of Python: there are too many", search.left);
        search.found.gaps.push(gap);
    }
    let unread: usize = search.found.environments.iter().map(|environment| environment.unread).sum();
    if unread > 0 {
        let gap = format!("{unread} packages in environments of Python could not be read and were left out");
        search.found.gaps.push(gap);
    }
    search.found
}

struct Search<'a> {
    root: &'a Root,
    opened: usize,
    left: usize,
    found: Found,
}

impl Search<'_> {
    fn walk(&mut self, folder: &str, depth: usize) {
        if self.opened >= MOST_FOLDERS || depth > DEEPEST || self.found.environments.len() >= MOST_ENVIRONMENTS {
            self.left += 1;
            return;
        }
        self.opened += 1;
        // What is not there or closed to us holds nothing that could be told.
        let Ok(entries) = self.root.entries(folder) else { return };
        if entries.iter().any(|(name, is_folder)| name == MARK && !is_folder) {
            self.found.environments.push(environment(self.root, folder));
            return;
        }
        if folder.ends_with("/lib") && entries.iter().any(|(name, is_folder)| *is_folder && is_python(name)) {
            let above = folder.strip_suffix("/lib").unwrap_or(folder);
            let beside = environment(self.root, above);
            if !beside.packages.is_empty() || beside.unread > 0 {
                self.found.environments.push(beside);
            }
        }
        for (name, is_folder) in entries {
            let dull = is_python(&name) || ["node_modules", "__pycache__", ".git", ".cache"].contains(&name.as_str());
            if is_folder && !dull {
                self.walk(&format!("{folder}/{name}"), depth + 1);
            }
        }
    }
}

fn is_python(name: &str) -> bool {
    name.starts_with("python3")
}

/// Reads one environment.
pub(crate) fn environment(root: &Root, path: &str) -> Environment {
    let lib = format!("{path}/lib");
    let mut found =
        Environment { path: path.to_owned(), sites: Vec::new(), packages: BTreeMap::new(), closed: None, unread: 0 };
    let versions = root.entries(&lib).unwrap_or_default();
    for (version, _) in versions.iter().filter(|(name, is_folder)| *is_folder && is_python(name)) {
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
        // What apt installed is apt's.
        dist(root, "usr", "six-1", "Name: six\nVersion: 1.0\n");
        // A link leads to the same environment a second time, or out of the root.
        symlink("/opt/app/venv", root.join("srv")).unwrap();
        symlink(root.join("opt"), root.join("opt/again")).unwrap();
        let found = find(&Root::open(root).unwrap());
        let purls: Vec<String> = found.components().into_iter().map(|component| component.purl).collect();
        assert_eq!(
            purls,
            [
                "pkg:pypi/jinja2@3.1.2?environment=/opt/app/venv",
                "pkg:pypi/pip@23.0.1?environment=/opt/app/venv",
                "pkg:pypi/jinja2@3.1.2?environment=/home/kim/work/.venv",
                "pkg:pypi/requests@2.0?environment=/usr/local",
            ]
        );
        assert_eq!(found.gaps, ["2 packages in environments of Python could not be read and were left out"]);
        let keepers: Vec<bool> = found.environments.iter().map(|one| one.closed.is_none()).collect();
        assert_eq!(keepers, [true, false, false], "only where pip is");
    }

    #[test]
    fn folders_without_end_are_counted_and_not_searched() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), &format!("srv/{}pyvenv.cfg", "a/".repeat(40)), "");
        let found = find(&Root::open(folder.path()).unwrap());
        assert!(found.environments.is_empty());
        assert_eq!(found.gaps.len(), 1);
    }

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
