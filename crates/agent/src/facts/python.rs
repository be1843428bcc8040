//! What pip installed in one place, outside of what a distribution packaged: in a virtual environment, or beside the
//! system's own Python.
//!
//! Names and versions are what `*.dist-info/METADATA` says, and whoever may write there may say anything: what is no name
//! or no version is counted and left out. Where two records are of one package, both are listed, and the one whose files are
//! there counts.

use std::collections::BTreeMap;
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use stanch_model::canonical::Hasher;
use stanch_model::ecosystem;
use stanch_model::facts::{Component, Keeper, Manager};
use stanch_model::version::PythonVersion;

use super::Root;

/// Packages that are read of one.
const MOST_PACKAGES: usize = 5000;
/// How much of a METADATA is read: name and version stand at its beginning.
const HEADER: u64 = 64 << 10;
/// Files that are compared to tell which of two records holds.
const MOST_COMPARED: usize = 200;
const MOST_RECORD: u64 = 1 << 20;
/// What marks a virtual environment.
pub(crate) const MARK: &str = "pyvenv.cfg";
/// Its Python.
const PYTHON: &str = "bin/python";

/// One place with packages of pip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Environment {
    /// Its folder.
    pub(crate) path: String,
    /// Where its packages lie, below its folder.
    pub(crate) sites: Vec<String>,
    /// Its packages by their normal names.
    pub(crate) packages: BTreeMap<String, Installed>,
    /// Further records of packages that are among them already, with their names.
    pub(crate) again: Vec<(String, Installed)>,
    /// Why nobody can change it.
    pub(crate) closed: Option<&'static str>,
    /// Entries that could not be read.
    pub(crate) unread: usize,
    /// Some of them may be packages that were known before.
    pub(crate) is_partial: bool,
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
        let again = self.again.iter().map(|(name, installed)| (name, installed));
        self.packages.iter().chain(again).map(move |(name, installed)| Component {
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

/// Reads the environment at a path of a root.
pub(crate) fn environment(root: &Root, path: &str) -> Environment {
    read(root, path, path)
}

/// Reads the environment whose own folder is open as a root.
pub(crate) fn inside(folder: &Root, path: &str) -> Environment {
    read(folder, "", path)
}

fn read(root: &Root, at: &str, path: &str) -> Environment {
    let mut found = Environment {
        path: path.to_owned(),
        sites: Vec::new(),
        packages: BTreeMap::new(),
        again: Vec::new(),
        closed: None,
        unread: 0,
        is_partial: false,
    };
    let versions = root.entries(&format!("{at}/lib")).unwrap_or_default();
    let mut read = 0;
    for (version, _) in versions.iter().filter(|(name, is_folder)| *is_folder && is_library(name)) {
        for site in ["site-packages", "dist-packages"] {
            let site = format!("lib/{version}/{site}");
            let Ok(entries) = root.entries(&format!("{at}/{site}")) else { continue };
            for (name, is_folder) in entries {
                if name.ends_with(".egg-info") {
                    found.unread += 1;
                }
                // What begins with a tilde pip left behind when it was broken off: nobody takes it for a package.
                if !is_folder || !name.ends_with(".dist-info") || name.starts_with('~') {
                    continue;
                }
                let about = format!("{site}/{name}");
                match package(root, &format!("{at}/{about}")).filter(|_| read < MOST_PACKAGES) {
                    Some((name, version)) => {
                        read += 1;
                        found.add(root, at, name, Installed { version, about });
                    }
                    None => {
                        found.unread += 1;
                        found.is_partial = true;
                    }
                }
            }
            found.sites.push(site);
        }
    }
    found.closed = if !root.has(&format!("{at}/{MARK}")) {
        Some("it lies beside the system's own Python, which Stanch leaves to whoever put it there")
    } else if root.link(&format!("{at}/{PYTHON}")).is_none() && !root.has(&format!("{at}/{PYTHON}")) {
        Some("its environment has no Python of its own any more")
    } else if !found.packages.contains_key("pip") {
        Some("its environment has no pip, so nothing can change it there")
    } else if !found.again.is_empty() {
        Some("its environment has two records of one package, so nobody can tell what a change would do")
    } else {
        None
    };
    found
}

impl Environment {
    /// Adds a package; of two records of one, that counts whose files are there, and else the first that Python finds.
    fn add(&mut self, root: &Root, at: &str, name: String, installed: Installed) {
        let Some(known) = self.packages.get_mut(&name) else {
            self.packages.insert(name, installed);
            return;
        };
        let site = |installed: &Installed| installed.about.rsplit_once('/').map(|(site, _)| site.to_owned());
        // Of two folders of packages Python asks the first.
        let replaces = site(known) == site(&installed) && holding(root, at, &installed) > holding(root, at, known);
        let other = if replaces { std::mem::replace(known, installed) } else { installed };
        self.again.push((name, other));
    }
}

/// How many files of a package are what its RECORD says.
fn holding(root: &Root, at: &str, installed: &Installed) -> usize {
    let Ok(record) = root.text(&format!("{at}/{}/RECORD", installed.about), MOST_RECORD) else { return 0 };
    let Some((site, _)) = installed.about.rsplit_once('/') else { return 0 };
    let holds = |line: &&str| {
        let mut fields = line.split(',');
        let (path, digest) = (fields.next()?, fields.next()?.strip_prefix("sha256=")?);
        let plain = !path.starts_with(['/', '"']) && !path.split('/').any(|part| part == "..");
        let bytes = plain.then(|| root.read(&format!("{at}/{site}/{path}"), MOST_RECORD).ok())??;
        let mut hasher = Hasher::new();
        hasher.update(&bytes);
        (URL_SAFE_NO_PAD.encode(hasher.finish().as_bytes()) == digest).then_some(())
    };
    // What lies beside the package's own folder of records is what is imported.
    let imported = record.lines().filter(|line| !line.contains(".dist-info/")).take(MOST_COMPARED);
    imported.filter(|line| holds(line).is_some()).count()
}

/// Name and version by the METADATA of a package.
pub(crate) fn package(root: &Root, about: &str) -> Option<(String, String)> {
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
    use std::path::Path;

    #[test]
    fn a_name_is_no_option_and_no_path() {
        for name in ["jinja2", "zope-interface", "0x"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-r", "a-", "a b", "a/b", "../a", "a;b", "a[x]", "A", "a@file", "a\n", &"a".repeat(201)] {
            assert!(!is_name(name), "{name:?}");
        }
    }

    const SITE: &str = "opt/x/lib/python3.11/site-packages";

    /// A record of leaf in this version, which says that its module holds its version.
    fn record(root: &Path, version: &str) {
        let about = root.join(format!("{SITE}/leaf-{version}.dist-info"));
        fs::create_dir_all(&about).unwrap();
        fs::write(about.join("METADATA"), format!("Name: leaf\nVersion: {version}\n")).unwrap();
        let mut hasher = Hasher::new();
        hasher.update(version.as_bytes());
        let digest = URL_SAFE_NO_PAD.encode(hasher.finish().as_bytes());
        fs::write(about.join("RECORD"), format!("leaf.py,sha256={digest},{}\n", version.len())).unwrap();
    }

    #[test]
    fn of_two_records_of_one_package_that_counts_which_python_would_import_and_nothing_is_changed() {
        for there in ["1.0", "1.1"] {
            let folder = tempfile::tempdir().unwrap();
            for version in ["1.0", "1.1"] {
                record(folder.path(), version);
            }
            record(folder.path(), "~eft");
            fs::write(folder.path().join(SITE).join("leaf.py"), there).unwrap();
            fs::create_dir_all(folder.path().join("opt/x/bin")).unwrap();
            for path in ["pyvenv.cfg", "bin/python"] {
                fs::write(folder.path().join("opt/x").join(path), "").unwrap();
            }
            fs::create_dir(folder.path().join(SITE).join("pip-1.dist-info")).unwrap();
            fs::write(folder.path().join(SITE).join("pip-1.dist-info/METADATA"), "Name: pip\nVersion: 1\n").unwrap();
            let found = environment(&Root::open(folder.path()).unwrap(), "/opt/x");
            assert_eq!(found.packages["leaf"].version, there);
            assert_eq!(found.again.len(), 1);
            let listed: Vec<Component> = found.components().filter(|one| one.name == "leaf").collect();
            assert_eq!(listed.len(), 2, "an advisory about either is seen");
            assert!(
                listed
                    .iter()
                    .all(|one| matches!(&one.keeper, Some(Keeper::Nobody(why)) if why.contains("two records")))
            );
        }
    }
}
