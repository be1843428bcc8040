//! What is installed, as rpm records it, and what a file of a package says of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use stanch_action::ActionError;
use stanch_model::canonical::Digest;
use stanch_model::version::RpmVersion;

use crate::actions::command::{Invocation, Programs};
use crate::actions::package::{Key, failed};

/// Where distributions keep rpm's database.
const DATABASES: [&str; 2] = ["usr/lib/sysimage/rpm", "var/lib/rpm"];
/// What makes a host one of dpkg, whatever else is installed.
const DPKG: &str = "var/lib/dpkg/status";
/// What rpm holds while it changes packages, in its database's folder.
const LOCK: &str = ".rpm.lock";

/// One package. No field of these can hold a tab.
const HEADER: &str = "%{NAME}\\t%{ARCH}\\t%|EPOCH?{%{EPOCH}}:{0}|\\t%{VERSION}\\t%{RELEASE}\\t\
                      %|SOURCERPM?{%{SOURCERPM}}:{}|\\t%|SHA256HEADER?{%{SHA256HEADER}}:{}|\\n";
/// One file. The path comes last.
const FILE: &str = "[%{=NAME}\\t%{=ARCH}\\t%{FILEFLAGS}\\t%{FILEDIGESTS}\\t%{FILENAMES}\\n]";

/// Flags of a file (rpmfiles.h).
const CONFIG: u32 = 1;
const NO_REPLACE: u32 = 1 << 4;
const GHOST: u32 = 1 << 6;

/// Whether the packages of this host are rpm's.
pub(crate) fn manages(root: &Path) -> bool {
    !root.join(DPKG).exists() && DATABASES.iter().any(|folder| root.join(folder).is_dir())
}

/// Whether this can be nothing but a package's name or architecture: no option, no path, no pattern.
pub(crate) fn is_word(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    first && text.len() <= 256 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte))
}

/// As rpm and dnf take and write it.
pub(super) fn spec(key: &Key) -> String {
    format!("{}.{}", key.name, key.arch)
}

/// What a package says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) evr: RpmVersion,
    pub(super) source: String,
    /// Digest of its header, which covers those of its files: two builds of one version differ in it.
    pub(super) digest: String,
}

/// What is installed. Of some packages there are several versions: kernels, and what was broken off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Database {
    pub(super) packages: BTreeMap<Key, Vec<Header>>,
}

impl Database {
    /// The only version there is of a package.
    pub(super) fn only(&self, key: &Key) -> Option<&Header> {
        match self.packages.get(key).map(Vec::as_slice) {
            Some([only]) => Some(only),
            _ => None,
        }
    }

    /// All versions there are of a package, for a line that people read.
    pub(super) fn shown(&self, key: &Key) -> Option<String> {
        let versions = self.packages.get(key)?;
        Some(versions.iter().map(|header| header.evr.to_string()).collect::<Vec<_>>().join(" + "))
    }

    /// The names of what was built from these.
    pub(crate) fn built_from(&self, sources: &BTreeSet<String>) -> BTreeSet<String> {
        let of = |(key, versions): (&Key, &Vec<Header>)| {
            versions.iter().any(|header| sources.contains(&header.source)).then(|| key.name.clone())
        };
        self.packages.iter().filter_map(of).collect()
    }
}

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) package: Key,
    pub(super) path: String,
    flags: u32,
    /// Digest of what was shipped, where it is one of SHA-256.
    pub(super) sha256: Option<Digest>,
}

impl Listed {
    /// A configuration file; one that no package brings but only knows of is its maker's.
    pub(super) const fn is_config(&self) -> bool {
        self.flags & CONFIG != 0 && self.flags & GHOST == 0
    }

    /// Its owner's changes stay where they are when a new version changes it too.
    pub(super) const fn stays(&self) -> bool {
        self.flags & NO_REPLACE != 0
    }
}

/// Reads what is installed.
pub(crate) fn read(host: &dyn Programs) -> Result<Database, ActionError> {
    let text = asked(host, &Invocation::reading("rpm", ["--query", "--all", "--queryformat", HEADER]))?;
    let mut database = Database::default();
    // Keys of signers are entries too, and no packages.
    for line in text.lines().filter(|line| !line.starts_with("gpg-pubkey\t")) {
        // What cannot be understood is nobody's to change; facts count it.
        let Some((key, header)) = header(line) else { continue };
        database.packages.entry(key).or_default().push(header);
    }
    for versions in database.packages.values_mut() {
        versions.sort_by(|a, b| a.evr.cmp(&b.evr));
    }
    Ok(database)
}

fn header(line: &str) -> Option<(Key, Header)> {
    let [name, arch, epoch, version, release, source, digest] = line.split('\t').collect::<Vec<_>>().try_into().ok()?;
    let epoch = if epoch == "0" { String::new() } else { format!("{epoch}:") };
    let evr = format!("{epoch}{version}-{release}").parse().ok()?;
    // NAME-VERSION-RELEASE.src.rpm
    let source = source.rsplitn(3, '-').nth(2).filter(|source| is_word(source)).unwrap_or(name);
    let header = Header { evr, source: source.to_owned(), digest: digest.to_owned() };
    (is_word(name) && is_word(arch)).then(|| (Key { name: name.to_owned(), arch: arch.to_owned() }, header))
}

/// What a file says it is; nothing if it is no package.
pub(super) fn about(host: &dyn Programs, file: &Path) -> Result<Option<(Key, Header)>, ActionError> {
    let words = ["--query", "--package", "--queryformat", HEADER, "--"].map(std::ffi::OsStr::new);
    let invocation = Invocation::reading("rpm", words.into_iter().chain([file.as_os_str()]));
    let output = host.run(&invocation).map_err(|e| failed(e, "cannot read a package"))?;
    Ok(output.text().lines().next().and_then(header).filter(|_| output.ok()))
}

/// The files of installed packages.
pub(super) fn files(host: &dyn Programs, keys: &[Key]) -> Result<Vec<Listed>, ActionError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let words = ["--query", "--queryformat", FILE, "--"].map(str::to_owned);
    listed(host, &Invocation::reading("rpm", words.into_iter().chain(keys.iter().map(spec))))
}

/// The files that packages would bring.
pub(super) fn files_in(host: &dyn Programs, packages: &[PathBuf]) -> Result<Vec<Listed>, ActionError> {
    if packages.is_empty() {
        return Ok(Vec::new());
    }
    let words = ["--query", "--package", "--queryformat", FILE, "--"].map(std::ffi::OsStr::new);
    listed(host, &Invocation::reading("rpm", words.into_iter().chain(packages.iter().map(|path| path.as_os_str()))))
}

fn listed(host: &dyn Programs, invocation: &Invocation) -> Result<Vec<Listed>, ActionError> {
    let text = asked(host, invocation)?;
    let unreadable = |line: &str| {
        let line: String = line.chars().take(200).collect();
        ActionError::refused(format!("rpm lists a file that cannot be understood: `{line}`"))
    };
    text.lines()
        // A package without files prints nothing, or says so.
        .filter(|line| !line.is_empty() && !line.ends_with("\t(none)") && !line.starts_with("(contains no files)"))
        .map(|line| file(line).ok_or_else(|| unreadable(line)))
        .collect()
}

fn file(line: &str) -> Option<Listed> {
    let [name, arch, flags, digest, path] = line.splitn(5, '\t').collect::<Vec<_>>().try_into().ok()?;
    let package = Key { name: name.to_owned(), arch: arch.to_owned() };
    let flags = flags.parse().ok()?;
    let fits = is_word(name) && is_word(arch) && path.starts_with('/');
    fits.then(|| Listed { package, path: path.to_owned(), flags, sha256: digest.parse().ok() })
}

fn asked(host: &dyn Programs, invocation: &Invocation) -> Result<String, ActionError> {
    let output = host.run(invocation).map_err(|e| failed(e, "rpm cannot be asked"))?;
    if output.ok() {
        return Ok(output.text());
    }
    Err(ActionError::failed(format!("rpm cannot tell: {}", output.complaint())))
}

/// What stands in the lock's way: rpm at work, whoever started it.
pub(super) fn held(root: &Path) -> Option<PathBuf> {
    let lock = |folder: &&str| root.join(folder).join(LOCK);
    DATABASES.iter().map(lock).find(|lock| {
        // Opened for writing because a lock for writing asks for that; it is let go at once.
        let Ok(file) = File::options().read(true).write(true).open(lock) else { return false };
        rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::actions::doubles::Table;

    fn key(name: &str, arch: &str) -> Key {
        Key { name: name.to_owned(), arch: arch.to_owned() }
    }

    #[test]
    fn two_versions_of_a_package_are_two_and_signers_are_none() {
        let text = "openssl-libs\tx86_64\t1\t3.0.7\t27.el9\topenssl-3.0.7-27.el9.src.rpm\tabc\n\
                    demo\tnoarch\t0\t1.1\t1\tdemo-src-1.1-1.src.rpm\tdef\n\
                    demo\tnoarch\t0\t1.0\t1\tdemo-src-1.0-1.src.rpm\tdef\n\
                    gpg-pubkey\t(none)\t0\t8d81803c\t58d7a2d7\t\t\n\
                    -e\tnoarch\t0\t1\t1\te-1-1.src.rpm\t\n";
        let database = read(&Table::new(&[("--all", text)])).unwrap();
        let openssl = database.only(&key("openssl-libs", "x86_64")).unwrap();
        assert_eq!((openssl.evr.as_str(), openssl.source.as_str()), ("1:3.0.7-27.el9", "openssl"));
        assert_eq!(database.only(&key("demo", "noarch")), None);
        assert_eq!(database.shown(&key("demo", "noarch")).unwrap(), "1.0-1 + 1.1-1");
        assert_eq!(database.packages.len(), 2);
        assert_eq!(database.built_from(&["demo-src".to_owned()].into()), ["demo".to_owned()].into());
    }

    #[test]
    fn a_configuration_file_is_told_from_others_and_a_path_may_hold_anything_but_a_new_line() {
        let text = "tool\tnoarch\t17\t\t/etc/tool conf\twith a tab\ntool\tnoarch\t1\t\t/etc/plain\n\
                    tool\tnoarch\t65\t\t/etc/ghost\ntool\tnoarch\t0\t\t/usr/bin/tool\n";
        let found = files(&Table::new(&[("--query", text)]), &[key("tool", "noarch")]).unwrap();
        let config: Vec<_> =
            found.iter().filter(|file| file.is_config()).map(|f| (f.path.as_str(), f.stays())).collect();
        assert_eq!(config, [("/etc/tool conf\twith a tab", true), ("/etc/plain", false)]);
        let broken = files(&Table::new(&[("--query", "tool\tnoarch\t0\t\t/a\n/b\n")]), &[key("tool", "noarch")]);
        assert!(broken.unwrap_err().to_string().contains("cannot be understood"));
    }

    #[test]
    fn a_host_with_dpkg_is_not_one_of_rpm() {
        let root = tempfile::tempdir().unwrap();
        assert!(!manages(root.path()));
        std::fs::create_dir_all(root.path().join("var/lib/rpm")).unwrap();
        assert!(manages(root.path()));
        std::fs::create_dir_all(root.path().join("var/lib/dpkg")).unwrap();
        std::fs::write(root.path().join("var/lib/dpkg/status"), "").unwrap();
        assert!(!manages(root.path()));
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_left_out(line in "[ -~\\t]{0,120}") {
            let _ = (header(&line), file(&line));
        }
    }
}
