//! The packages of systems that dpkg does not manage: of Alpine, whose database is a text, and of rpm, whose database only
//! rpm itself can read.
//!
//! rpm is asked on its own machine alone: a database of another root is a file that its maker may have shaped to harm who
//! parses it.

use std::io;

use stanch_model::facts::{Component, Keeper, Manager, OsRelease};
use stanch_model::version::{ApkVersion, RpmVersion};

use super::Root;
use crate::actions::package::DNF;
use crate::actions::{Invocation, Programs};

const APK: &str = "/lib/apk/db/installed";
const MAX_APK: u64 = 64 << 20;
/// Where distributions keep rpm's database.
const RPM: [&str; 2] = ["/usr/lib/sysimage/rpm", "/var/lib/rpm"];
/// One line a package; no field of these can hold a tab.
const FORMAT: &str =
    "%{NAME}\\t%|EPOCH?{%{EPOCH}}:{0}|\\t%{VERSION}\\t%{RELEASE}\\t%{ARCH}\\t%|SOURCERPM?{%{SOURCERPM}}:{}|\\n";

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct System {
    pub(crate) packages: Vec<Component>,
    /// Its name of the machine's architecture.
    pub(crate) architecture: String,
    /// Entries that could not be understood.
    pub(crate) unread: usize,
}

impl System {
    /// What was left out, in a sentence.
    pub(crate) fn gap(&self) -> Option<String> {
        let all = self.unread + self.packages.len();
        (self.unread > 0)
            .then(|| format!("{} of {all} packages could not be understood and were left out", self.unread))
    }
}

/// The packages of a root without dpkg; nothing where there is neither apk nor a rpm that could be asked.
///
/// # Errors
/// When there is a database that cannot be read.
pub(crate) fn read(host: &dyn Programs, root: &Root, os: &OsRelease) -> io::Result<Option<System>> {
    match root.text(APK, MAX_APK) {
        Ok(text) => return Ok(Some(of_apk(&text, os))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if !root.is_own() || !RPM.iter().any(|folder| root.has(folder)) || !host.has("rpm") {
        return Ok(None);
    }
    let output = host
        .run(&Invocation::reading("rpm", ["--query", "--all", "--queryformat", FORMAT]))
        .map_err(|error| io::Error::other(error.to_string()))?;
    if !output.ok() {
        return Err(io::Error::other(output.complaint()));
    }
    let keeper = if host.has(DNF) {
        Keeper::Manager(Manager::Dnf)
    } else {
        Keeper::Nobody("Stanch changes packages of rpm by dnf 4, which is not installed".to_owned())
    };
    Ok(Some(of_rpm(&output.text(), os, &keeper)))
}

fn is_word(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    first && text.len() <= 256 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte))
}

fn ecosystem(os: &OsRelease) -> String {
    os.ecosystem().unwrap_or_else(|| format!("{}:{}", os.id, os.version_id.as_deref().unwrap_or_default()))
}

fn percent(version: &str) -> String {
    version.replace('%', "%25").replace('^', "%5E").replace('+', "%2B").replace(':', "%3A")
}

/// Reads what rpm printed.
fn of_rpm(text: &str, os: &OsRelease, keeper: &Keeper) -> System {
    let (mut packages, mut unread) = (Vec::new(), 0);
    for line in text.lines() {
        let package = || -> Option<Component> {
            let [name, epoch, version, release, arch, source] = line.split('\t').collect::<Vec<_>>().try_into().ok()?;
            let full = if epoch == "0" { String::new() } else { format!("{epoch}:") } + version + "-" + release;
            full.parse::<RpmVersion>().ok()?;
            let fits = is_word(name) && is_word(arch);
            // NAME-VERSION-RELEASE.src.rpm; keys of signers are entries too and have none.
            let source = source.rsplitn(3, '-').nth(2).filter(|source| is_word(source))?;
            fits.then(|| Component {
                ecosystem: ecosystem(os),
                name: name.to_owned(),
                purl: format!("pkg:rpm/{}/{name}@{}?arch={arch}", os.id, percent(&full)),
                version: full,
                source: Some(source.to_owned()),
                keeper: Some(keeper.clone()),
            })
        };
        let is_key = line.starts_with("gpg-pubkey\t");
        match package() {
            Some(package) => packages.push(package),
            None => unread += usize::from(!is_key && !line.is_empty()),
        }
    }
    finish(packages, unread)
}

/// Reads apk's database: stanzas of lines with one letter and a colon.
fn of_apk(text: &str, os: &OsRelease) -> System {
    let why = "Stanch does not change packages of Alpine: `apk upgrade` does";
    let (mut packages, mut unread) = (Vec::new(), 0);
    for stanza in text.split("\n\n").filter(|stanza| !stanza.trim().is_empty()) {
        let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)).filter(|text| is_word(text));
        let package = || -> Option<Component> {
            let (name, version, arch) = (field("P:")?, field("V:")?, field("A:")?);
            version.parse::<ApkVersion>().ok()?;
            Some(Component {
                ecosystem: ecosystem(os),
                name: name.to_owned(),
                version: version.to_owned(),
                purl: format!("pkg:apk/{}/{name}@{}?arch={arch}", os.id, percent(version)),
                source: Some(field("o:").unwrap_or(name).to_owned()),
                keeper: Some(Keeper::Nobody(why.to_owned())),
            })
        };
        match package() {
            Some(package) => packages.push(package),
            None => unread += 1,
        }
    }
    finish(packages, unread)
}

fn finish(mut packages: Vec<Component>, unread: usize) -> System {
    packages.sort();
    packages.dedup();
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for package in &packages {
        let arch = package.purl.rsplit_once("arch=").map_or("", |(_, arch)| arch);
        *counts.entry(arch).or_default() += usize::from(arch != "noarch");
    }
    let architecture = counts.into_iter().max_by_key(|(_, count)| *count).map(|(arch, _)| arch.to_owned());
    System { architecture: architecture.unwrap_or_default(), packages, unread }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::doubles::Table;

    const BY_DNF: Keeper = Keeper::Manager(Manager::Dnf);

    fn os(id: &str, version: &str) -> OsRelease {
        OsRelease {
            id: id.to_owned(),
            version_id: Some(version.to_owned()),
            codename: None,
            pretty_name: id.to_owned(),
        }
    }

    fn shown(system: &System) -> Vec<String> {
        let line = |one: &Component| {
            format!("{} {} of {} in {}", one.name, one.version, one.source.as_deref().unwrap(), one.ecosystem)
        };
        system.packages.iter().map(line).collect()
    }

    #[test]
    fn a_line_of_rpm_is_a_package_and_what_is_none_is_counted() {
        let text = "openssl-libs\t1\t3.0.7\t27.el9\tx86_64\topenssl-3.0.7-27.el9.src.rpm\n\
                    tzdata\t0\t2024a\t1.el9\tnoarch\ttzdata-2024a-1.el9.src.rpm\n\
                    gpg-pubkey\t0\t8d81803c\t58d7a2d7\t(none)\t\n\
                    evil;rm\t0\t1\t1\tx86_64\tevil-1-1.src.rpm\n\
                    short\t0\t1\n";
        let system = of_rpm(text, &os("rocky", "9.4"), &BY_DNF);
        assert_eq!(
            shown(&system),
            [
                "openssl-libs 1:3.0.7-27.el9 of openssl in Rocky Linux:9",
                "tzdata 2024a-1.el9 of tzdata in Rocky Linux:9"
            ]
        );
        assert_eq!(system.packages[0].purl, "pkg:rpm/rocky/openssl-libs@1%3A3.0.7-27.el9?arch=x86_64");
        assert_eq!((system.unread, system.architecture.as_str()), (2, "x86_64"));
    }

    #[test]
    fn the_database_of_alpine_is_read_with_the_origins_that_advisories_name() {
        let text = "C:Q1x=\nP:libcrypto3\nV:3.1.4-r5\nA:x86_64\no:openssl\nF:lib\nR:libcrypto.so.3\n\n\
                    P:musl\nV:1.2.4-r2\nA:x86_64\n\nP:odd\nV:latest\nA:x86_64\n\n";
        let system = of_apk(text, &os("alpine", "3.19.1"));
        assert_eq!(
            shown(&system),
            ["libcrypto3 3.1.4-r5 of openssl in Alpine:v3.19", "musl 1.2.4-r2 of musl in Alpine:v3.19"]
        );
        assert_eq!(system.unread, 1);
    }

    #[test]
    fn rpm_is_not_asked_about_another_root() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("var/lib/rpm")).unwrap();
        let host = Table::new(&[("--query", "x\t0\t1\t1\tx86_64\tx-1-1.src.rpm\n")]);
        let root = Root::open(folder.path()).unwrap();
        assert_eq!(read(&host, &root, &os("rocky", "9")).unwrap(), None);
        assert!(host.asked.lock().unwrap().is_empty());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in "[ -~\\t\\n]{0,200}") {
            let _ = of_rpm(&text, &os("rocky", "9"), &BY_DNF);
            let _ = of_apk(&text, &os("alpine", "3.19"));
        }
    }
}
