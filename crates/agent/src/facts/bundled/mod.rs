//! Copies of libraries inside files that no package manager of the host knows of: in wheels, below `/opt`, in static
//! programs.
//!
//! Programs and shared libraries are looked for where environments are, within bounds and without following a link. What
//! lies inside is told by lists that their builders left ([`crates`], [`go`]) and by texts that libraries carry ([`texts`]);
//! only what is recognised is told. A file is read once and again when it has changed, so that a host at rest costs a look at
//! each name; the first reading of a large host is done in parts, and what was not read yet is named.

mod crates;
mod elf;
mod go;
mod texts;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::time::{Duration, Instant};

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};
use stanch_model::canonical::Digest;
use stanch_model::ecosystem;
use stanch_model::facts::{Bundle, Copied, Evidence};
use stanch_model::upstream;

use self::elf::{Elf, Open};
use self::texts::Texts;
use super::cache::Cache;
use super::environments::{FOLDERS, is_nothing, named};
use super::owners::Owners;
use super::root::{FileStamp, Folder};
use super::{Root, python};

/// How far below the folders: a module of an environment lies five folders below it.
const DEEPEST: usize = 16;
/// Folders without programs.
const DULL: [&str; 3] = ["__pycache__", ".git", ".cache"];
/// Endings of names of files that are never run or loaded, however their modes are set.
const DULL_ENDINGS: [&str; 40] = [
    "a", "c", "cc", "cfg", "conf", "cpp", "css", "csv", "d", "gif", "gz", "h", "hpp", "html", "ini", "jpg", "js",
    "json", "lock", "log", "map", "md", "mjs", "o", "pem", "png", "py", "pyc", "pyi", "rb", "rlib", "rmeta", "rs",
    "rst", "sh", "svg", "toml", "ts", "txt", "xml",
];
/// Smaller ones hold nothing.
const SMALLEST: u64 = 256;
/// A list in a section is no larger.
const MOST_LIST: u64 = 16 << 20;
/// As much is read of what a wheel says it brought.
const MOST_RECORD: u64 = 8 << 20;
/// Wheels of one environment that are asked whose a file is.
const MOST_WHEELS: usize = 5000;

/// How much is looked at in one reading.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Folders that are opened.
    folders: usize,
    /// Files that may be programs.
    files: usize,
    /// Bytes that are read of files that were not read before.
    bytes: u64,
    /// Bytes of constants that are read of one file.
    constants: u64,
    /// So long files are read that were not read before.
    time: Duration,
    /// Copies that are told of.
    copies: usize,
}

const LIMITS: Limits = Limits {
    folders: 50_000,
    files: 50_000,
    bytes: 1 << 30,
    constants: 128 << 20,
    time: Duration::from_secs(5),
    copies: 50_000,
};

/// All that was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Files with copies, in the order of their paths.
    pub(crate) bundles: Vec<Bundle>,
    /// Files that were not read, and folders that were not searched.
    pub(crate) unsearched: BTreeSet<String>,
    /// What was not looked at, in sentences.
    pub(crate) gaps: Vec<String>,
}

/// What lies inside one file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    bundles: Vec<Bundle>,
    /// Not all of it could be looked at: it is packed or too large.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_partial: bool,
}

/// Searches a root.
pub(crate) fn find(root: &Root, cache: &mut Cache) -> Found {
    find_within(root, cache, LIMITS)
}

fn find_within(root: &Root, cache: &mut Cache, limits: Limits) -> Found {
    let mut search = Search {
        root,
        cache,
        limits,
        edition: upstream::edition(),
        texts: Texts::new(),
        until: Instant::now() + limits.time,
        wheels: HashMap::new(),
        opened: 0,
        looked: 0,
        read: 0,
        left: 0,
        closed: 0,
        partial: 0,
        files: BTreeMap::new(),
        unsearched: BTreeSet::new(),
    };
    for folder in FOLDERS {
        search.walk(folder, 0);
    }
    search.end()
}

struct Search<'a> {
    root: &'a Root,
    cache: &'a mut Cache,
    limits: Limits,
    edition: Digest,
    texts: Texts,
    until: Instant,
    /// Which wheel brought which file of a folder of packages.
    wheels: HashMap<String, HashMap<String, String>>,
    opened: usize,
    looked: usize,
    read: u64,
    left: usize,
    closed: usize,
    partial: usize,
    files: BTreeMap<String, (FileStamp, Content)>,
    unsearched: BTreeSet<String>,
}

impl Search<'_> {
    fn walk(&mut self, path: &str, depth: usize) {
        if depth > DEEPEST {
            // Nothing that deep was ever found, so nothing is known from there.
            self.left += 1;
            return;
        }
        if self.opened >= self.limits.folders {
            self.leave(path);
            return;
        }
        self.opened += 1;
        let folder = match self.root.inside(path) {
            Ok(folder) => folder,
            Err(error) if is_nothing(&error) => return,
            Err(_) => {
                self.closed += 1;
                self.unsearched.insert(path.to_owned());
                return;
            }
        };
        for (name, kind) in &folder.entries {
            let inside = format!("{path}/{name}");
            match kind {
                FileType::Directory if !DULL.contains(&name.as_str()) => self.walk(&inside, depth + 1),
                FileType::RegularFile if !is_dull(name) => self.file(&folder, name, inside),
                _ => {}
            }
        }
    }

    fn leave(&mut self, path: &str) {
        self.left += 1;
        self.unsearched.insert(path.to_owned());
    }

    fn file(&mut self, folder: &Folder, name: &str, path: String) {
        let Some((stamp, mode)) = folder.look(name) else { return };
        let may_run = mode & 0o111 != 0 || name.contains(".so") || name.ends_with(".node");
        if !may_run || stamp.size < SMALLEST {
            return;
        }
        self.looked += 1;
        if self.looked > self.limits.files {
            self.leave(&path);
            return;
        }
        if let Some(known) = self.cache.file(&path, stamp, self.edition) {
            self.keep(path, stamp, known);
            return;
        }
        if self.read >= self.limits.bytes || Instant::now() >= self.until {
            self.leave(&path);
            return;
        }
        let Ok((file, now)) = folder.open(name) else {
            self.closed += 1;
            self.unsearched.insert(path);
            return;
        };
        let content = self.content(&file, now, &path);
        // What was written while it was read is read again.
        if folder.look(name).is_some_and(|(after, _)| after == now) {
            self.keep(path, now, content);
        } else {
            self.leave(&path);
        }
    }

    fn keep(&mut self, path: String, stamp: FileStamp, content: Content) {
        if content.is_partial {
            self.partial += 1;
            self.unsearched.insert(path.clone());
        }
        self.files.insert(path, (stamp, content));
    }

    fn content(&mut self, file: &File, stamp: FileStamp, path: &str) -> Content {
        let bytes = Open { file, size: stamp.size, read: Cell::new(0) };
        let mut content = Content::default();
        let Some(elf) = Elf::read(&bytes) else { return content };
        // A program whose sections were taken away runs, and nobody can tell what lies inside.
        content.is_partial = elf.sections.is_empty();
        let mut found: Vec<(Evidence, Vec<Copied>)> = Vec::new();
        for (section, evidence, read) in [
            (crates::SECTION, Evidence::CrateList, crates::read as fn(&[u8]) -> Option<Vec<Copied>>),
            (go::SECTION, Evidence::GoBuildInfo, go::read),
        ] {
            if elf.sections.iter().any(|one| one.name == section) {
                match elf.named(section, MOST_LIST).as_deref().and_then(read) {
                    Some(copies) => found.push((evidence, copies)),
                    None => content.is_partial = true,
                }
            }
        }
        let mut constants = Vec::new();
        for section in elf.constants() {
            let left = self.limits.constants.saturating_sub(constants.len() as u64);
            match elf.content(section, left) {
                Some(more) => {
                    constants.push(0);
                    constants.extend(more);
                }
                None => content.is_partial = true,
            }
        }
        found.push((Evidence::Text, self.texts.find(&constants, &elf.loads())));
        self.read = self.read.saturating_add(bytes.read.get());
        found.retain(|(_, copies)| !copies.is_empty());
        let carrier = if found.is_empty() { None } else { self.carrier(path) };
        let bundle = |(evidence, copies)| Bundle { path: path.to_owned(), evidence, carrier: carrier.clone(), copies };
        content.bundles = found.into_iter().map(bundle).collect();
        content
    }

    /// The wheel that brought a file, as a package URL in its environment.
    fn carrier(&mut self, path: &str) -> Option<String> {
        let (at, folder) = ["/site-packages/", "/dist-packages/"]
            .into_iter()
            .filter_map(|folder| Some((path.find(folder)?, folder)))
            .min()?;
        let site = path.get(..at + folder.len() - 1)?;
        let inside = path.get(at + folder.len()..)?;
        let root = self.root;
        let wheels = self.wheels.entry(site.to_owned()).or_insert_with(|| wheels(root, site));
        wheels.get(inside).cloned()
    }

    fn end(self) -> Found {
        let Self { root, cache, limits, edition, files, mut unsearched, left, closed, partial, .. } = self;
        let recognised = files.iter().filter(|(_, (_, content))| !content.bundles.is_empty());
        let owners = Owners::find(root, recognised.clone().map(|(path, _)| path.as_str()), cache);
        let mut found = Found::default();
        let (mut told, mut dropped) = (0_usize, 0_usize);
        // What a package brought is upgraded with it, and its advisories speak of what lies inside.
        for (path, (_, content)) in recognised.filter(|(path, _)| owners.of(path).is_none()) {
            for bundle in &content.bundles {
                if told + bundle.copies.len() > limits.copies {
                    dropped += bundle.copies.len();
                    unsearched.insert(path.clone());
                } else {
                    told += bundle.copies.len();
                    found.bundles.push(bundle.clone());
                }
            }
        }
        cache.keep_files(edition, files);
        for (count, what) in [
            (
                left,
                "files or folders were not looked into for copies of libraries yet: there is much to read, and it goes on",
            ),
            (closed, "files or folders could not be looked into for copies of libraries: they are closed"),
            (
                partial,
                "programs could be looked into for copies of libraries in part alone: they are packed, old or very large",
            ),
            (dropped, "copies of libraries are not told of: there are too many"),
        ] {
            if count > 0 {
                found.gaps.push(format!("{count} {what}"));
            }
        }
        found.unsearched = named(unsearched);
        found
    }
}

/// Whether a name says that this is no program: an ending of text, sources or pictures.
fn is_dull(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, ending)| DULL_ENDINGS.binary_search(&ending).is_ok())
}

/// What the wheels of a folder of packages say that they brought of shared libraries and programs.
fn wheels(root: &Root, site: &str) -> HashMap<String, String> {
    let mut all = HashMap::new();
    let environment = site.rsplit_once("/lib/").map_or(site, |(above, _)| above);
    let entries = root.entries(site).unwrap_or_default();
    let about = entries.into_iter().filter(|(name, is_folder)| *is_folder && name.ends_with(".dist-info"));
    for (name, _) in about.take(MOST_WHEELS) {
        let about = format!("{site}/{name}");
        let Ok(record) = root.text(&format!("{about}/RECORD"), MOST_RECORD) else { continue };
        let files: Vec<&str> = record
            .lines()
            .filter_map(|line| line.split(',').next())
            .filter(|file| file.rsplit('/').next().is_some_and(|name| !is_dull(name)))
            .collect();
        if files.is_empty() {
            continue;
        }
        let Some((name, version)) = python::package(root, &about) else { continue };
        let purl = ecosystem::installed("pypi", &name, &version, environment);
        all.extend(files.into_iter().map(|file| (file.to_owned(), purl.clone())));
    }
    all
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;

    use super::crates::tests::packed;
    use super::elf::tests::{loading, program};
    use super::go::tests::section;
    use super::*;

    fn put(root: &Path, path: &str, content: &[u8]) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // Small files are passed over.
        let mut content = content.to_vec();
        content.resize(content.len().max(300), 0);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn openssl(version: &str) -> Vec<u8> {
        program(&[(".rodata", format!("OpenSSL {version} 1 Nov 2022\0").as_bytes())])
    }

    fn shown(found: &Found) -> Vec<String> {
        let one = |bundle: &Bundle| {
            let copies: Vec<String> = bundle.copies.iter().map(|one| format!("{} {}", one.name, one.version)).collect();
            format!("{}: {}", bundle.path, copies.join(", "))
        };
        found.bundles.iter().map(one).collect()
    }

    fn search(root: &Path) -> Found {
        find(&Root::open(root).unwrap(), &mut Cache::default())
    }

    #[test]
    fn endings_are_in_order() {
        assert!(DULL_ENDINGS.is_sorted());
        assert!(is_dull("setup.py") && !is_dull("libssl.so.3") && !is_dull("tool-1.2.3") && !is_dull("tool"));
    }

    #[test]
    fn copies_are_found_in_programs_and_libraries_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let list = packed(br#"{"packages": [{"name": "time", "version": "0.1.42", "source": "crates.io"}]}"#);
        put(root, "opt/rust/bin/tool", &program(&[(".dep-v0", &list), (".rodata", b"expat_2.5.0\0")]));
        put(
            root,
            "usr/local/bin/agent",
            &program(&[(".go.buildinfo", &section("go1.21.2", "dep\tgolang.org/x/net\tv0.16.0\t\n"))]),
        );
        put(root, "srv/lib/libcrypto.so.3", &openssl("3.0.7"));
        fs::set_permissions(root.join("srv/lib/libcrypto.so.3"), fs::Permissions::from_mode(0o644)).unwrap();
        // What only uses a library, what is no program, what nobody runs, and what lies elsewhere.
        let (dynamic, texts) = loading(&["libssl.so.3"]);
        let uses = program(&[(".rodata", b"OpenSSL 3.0.7 1 Nov 2022\0"), (".dynamic", &dynamic), (".dynstr", &texts)]);
        put(root, "opt/uses", &uses);
        put(root, "opt/notes", b"OpenSSL 3.0.7 1 Nov 2022\0");
        put(root, "opt/data", &openssl("3.0.8"));
        fs::set_permissions(root.join("opt/data"), fs::Permissions::from_mode(0o644)).unwrap();
        put(root, "usr/lib/libcrypto.so.3", &openssl("3.0.9"));
        symlink("/usr/lib/libcrypto.so.3", root.join("opt/libcrypto.so")).unwrap();
        symlink("/usr/lib", root.join("opt/libraries")).unwrap();
        let found = search(root);
        assert_eq!(
            shown(&found),
            [
                "/opt/rust/bin/tool: time 0.1.42",
                "/opt/rust/bin/tool: expat 2.5.0",
                "/srv/lib/libcrypto.so.3: openssl 3.0.7",
                "/usr/local/bin/agent: golang.org/x/net 0.16.0, stdlib 1.21.2",
            ]
        );
        assert!(found.gaps.is_empty() && found.unsearched.is_empty(), "{found:?}");
        let first = found.bundles[0].components().next().unwrap();
        assert_eq!(first.purl, "pkg:cargo/time@0.1.42?inside=/opt/rust/bin/tool");
    }

    #[test]
    fn what_dpkg_brought_is_left_to_its_package() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "opt/vendor/browser", &openssl("3.0.7"));
        put(folder.path(), "opt/mine/browser", &openssl("3.0.7"));
        let list = folder.path().join("var/lib/dpkg/info/browser.list");
        fs::create_dir_all(list.parent().unwrap()).unwrap();
        fs::write(list, "/.\n/opt\n/opt/vendor\n/opt/vendor/browser\n").unwrap();
        assert_eq!(shown(&search(folder.path())), ["/opt/mine/browser: openssl 3.0.7"]);
    }

    #[test]
    fn a_copy_in_a_wheel_names_the_wheel_that_has_to_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let site = "opt/site/venv/lib/python3.11/site-packages";
        put(folder.path(), &format!("{site}/cryptography/hazmat/bindings/_openssl.abi3.so"), &openssl("3.0.7"));
        put(folder.path(), &format!("{site}/stray.so"), &openssl("3.0.7"));
        let about = folder.path().join(site).join("cryptography-38.0.4.dist-info");
        fs::create_dir_all(&about).unwrap();
        fs::write(about.join("METADATA"), "Name: cryptography\nVersion: 38.0.4\n").unwrap();
        fs::write(about.join("RECORD"), "cryptography/hazmat/bindings/_openssl.abi3.so,sha256=x,1\n").unwrap();
        let found = search(folder.path());
        let carriers: Vec<_> = found.bundles.iter().map(|bundle| bundle.carrier.as_deref()).collect();
        assert_eq!(carriers, [Some("pkg:pypi/cryptography@38.0.4?environment=/opt/site/venv"), None]);
        let told = found.copies_told();
        assert!(told[0].ends_with("cryptography in /opt/site/venv brought it and has to be replaced"), "{told:?}");
        assert!(told[0].contains("its text `OpenSSL 3.0.7 1 Nov 2022` says so"), "{told:?}");
    }

    impl Found {
        fn copies_told(&self) -> Vec<String> {
            let told = |one: stanch_model::facts::Component| match one.keeper {
                Some(stanch_model::facts::Keeper::Nobody(why)) => why,
                other => panic!("{other:?}"),
            };
            self.bundles.iter().flat_map(Bundle::components).map(told).collect()
        }
    }

    #[test]
    fn a_host_at_rest_is_not_read_again_and_what_changed_is() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept");
        put(folder.path(), "opt/a", &openssl("3.0.7"));
        put(folder.path(), "opt/b", &openssl("3.0.7"));
        let root = Root::open(folder.path()).unwrap();
        let read = |limits: Limits| {
            let mut cache = Cache::open(Some(&kept), &[]);
            let found = find_within(&root, &mut cache, limits);
            cache.close();
            found
        };
        let none = Limits { bytes: 0, ..LIMITS };
        let first = read(none);
        assert_eq!((shown(&first).len(), first.unsearched.len()), (0, 2), "nothing may be read, and that is told");
        assert_eq!(first.unsearched.into_iter().collect::<Vec<_>>(), ["/opt/a", "/opt/b"]);
        assert_eq!(read(Limits { bytes: 1, ..LIMITS }).bundles.len(), 1, "a large host is read in parts");
        assert_eq!(read(Limits { bytes: 1, ..LIMITS }).bundles.len(), 2, "and the next reading goes on");
        assert_eq!(shown(&read(none)).len(), 2, "all of it is known by now");
        // Of the same size, and with the time that it had before.
        let before = fs::metadata(folder.path().join("opt/a")).unwrap().modified().unwrap();
        put(folder.path(), "opt/a", &openssl("3.0.8"));
        fs::File::options().write(true).open(folder.path().join("opt/a")).unwrap().set_modified(before).unwrap();
        assert_eq!(shown(&read(none)), ["/opt/b: openssl 3.0.7"]);
        assert_eq!(shown(&read(LIMITS)), ["/opt/a: openssl 3.0.8", "/opt/b: openssl 3.0.7"]);
        fs::remove_file(folder.path().join("opt/b")).unwrap();
        assert_eq!(shown(&read(none)), ["/opt/a: openssl 3.0.8"]);
    }

    #[test]
    fn what_is_packed_too_large_or_too_much_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut packed = program(&[]);
        packed[40..48].fill(0);
        put(folder.path(), "opt/packed", &packed);
        put(folder.path(), "opt/large", &openssl("3.0.7"));
        put(folder.path(), "opt/broken", &program(&[(".dep-v0", b"no list"), (".rodata", b"expat_2.5.0\0")]));
        let root = Root::open(folder.path()).unwrap();
        let unsearched = |limits| {
            let found = find_within(&root, &mut Cache::default(), limits);
            (found.unsearched.into_iter().collect::<Vec<_>>().join(" "), found.bundles.len(), found.gaps.len())
        };
        assert_eq!(unsearched(LIMITS), ("/opt/broken /opt/packed".to_owned(), 2, 1));
        let few = Limits { constants: 10, ..LIMITS };
        assert_eq!(unsearched(few), ("/opt/broken /opt/large /opt/packed".to_owned(), 0, 1));
        assert_eq!(unsearched(Limits { files: 1, ..LIMITS }).0, "/opt/broken /opt/large /opt/packed");
        assert_eq!(unsearched(Limits { copies: 1, ..LIMITS }), ("/opt/broken /opt/large /opt/packed".to_owned(), 1, 2));
        assert_eq!(unsearched(Limits { folders: 0, ..LIMITS }).0, "/home /opt /root /srv /usr/local");
        let late = Limits { time: Duration::ZERO, ..LIMITS };
        assert_eq!(unsearched(late).0, "/opt/broken /opt/large /opt/packed");
    }
}
