//! What dpkg says is installed, from real lists and fabricated roots.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use stanch_agent::facts::dpkg::parse_status;
use stanch_agent::facts::os::parse_release;
use stanch_agent::facts::{FactsError, Options, from_status, host};
use stanch_model::asset::AssetKind;
use stanch_model::facts::{HostFacts, Known, Package};

/// A root folder made for one test.
pub(crate) struct Tree {
    folder: tempfile::TempDir,
}

impl Tree {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn debian(status: &str) -> Self {
        let tree = Self::new();
        tree.write(
            "etc/os-release",
            "ID=debian\nVERSION_ID=12\nVERSION_CODENAME=bookworm\nPRETTY_NAME=\"Debian 12\"\n",
        );
        tree.write("var/lib/dpkg/status", status);
        tree
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn link(&self, target: impl AsRef<Path>, name: &str) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    }

    pub(crate) fn facts(&self) -> HostFacts {
        host(&Options::at(self.path())).unwrap()
    }
}

pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")).join(name);
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(fs::File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

pub(crate) fn stanza(name: &str, version: &str, more: &str) -> String {
    format!("Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n{more}\n")
}

#[test]
fn real_lists_are_read_whole() {
    for (name, count) in
        [("base.dpkg-status.gz", 88), ("server.dpkg-status.gz", 276), ("base-plus-kernel.dpkg-status.gz", 89)]
    {
        let facts = from_status(&fixture(name), parse_release("debian:12").unwrap(), name).unwrap();
        assert_eq!(facts.packages.len(), count, "{name}");
        assert_eq!((facts.broken.len(), facts.gaps.len()), (0, 0), "{name}");
        assert_eq!(facts.asset.kind, AssetKind::Inventory);
        assert_eq!(facts.architecture, "amd64");
        assert_eq!(facts.os.ecosystem().as_deref(), Some("Debian:12"));
        assert!(matches!(facts.stale, Known::Unknown(_)) && matches!(facts.candidates, Known::Unknown(_)));
    }
}

#[test]
fn a_signed_kernel_names_its_real_source() {
    let status = parse_status(&fixture("base-plus-kernel.dpkg-status.gz")).unwrap();
    let kernel = status.packages.iter().find(|package| package.name.starts_with("linux-image-6")).unwrap();
    assert_eq!(kernel.source, "linux-signed-amd64");
    let (source, version) = &kernel.built_using[0];
    assert_eq!((source.as_str(), version.as_str()), ("linux", "6.1.176-1"));
    assert_ne!(kernel.source_version.as_str(), version.as_str());
}

#[test]
fn words_of_status_tell_holds_halves_and_leftovers() {
    let status = [
        ("held", "hold ok installed"),
        ("unpacked", "install ok unpacked"),
        ("half", "install ok half-configured"),
        ("torn", "install reinstreq half-installed"),
        ("waits", "install ok triggers-awaited"),
        ("pending", "install ok triggers-pending"),
        ("gone", "deinstall ok config-files"),
        ("never", "unknown ok not-installed"),
        ("odd", "install ok levitating"),
    ]
    .map(|(name, status)| format!("Package: {name}\nStatus: {status}\nArchitecture: all\nVersion: 1\n\n"))
    .concat();
    let status = parse_status(status.as_bytes()).unwrap();
    let names: Vec<&str> = status.packages.iter().map(|package| package.name.as_str()).collect();
    assert_eq!(names, ["half", "held", "pending", "torn", "unpacked", "waits"]);
    assert_eq!(status.broken, ["half", "pending", "torn", "unpacked", "waits"]);
    let held: Vec<&str> = status.packages.iter().filter(|p| p.hold).map(|p| p.name.as_str()).collect();
    assert_eq!(held, ["held"]);
    assert_eq!(status.unreadable.len(), 1);
    assert_eq!((status.unreadable[0].package.as_str(), status.unreadable[0].line), ("odd", 41));
}

#[test]
fn one_odd_package_hides_no_other() {
    let text = [
        stanza("good", "1:2.0-3", "Source: source (1.9-1)\nEssential: yes\n"),
        stanza("vendor", "1.0_beta 3", ""),
        stanza("bad/name", "1", ""),
        stanza("source-odd", "1", "Source: a b c ()\n"),
    ]
    .concat();
    let tree = Tree::debian(&text);
    let facts = tree.facts();
    assert_eq!(facts.packages.len(), 1);
    let good = &facts.packages[0];
    assert_eq!((good.source.as_str(), good.source_version.as_str()), ("source", "1.9-1"));
    assert!(good.essential);
    assert!(facts.gaps[0].starts_with("3 of 4 packages could not be understood"), "{:?}", facts.gaps);
    assert!(facts.gaps[0].contains("vendor at line 8"), "{:?}", facts.gaps);
}

#[test]
fn a_damaged_list_is_refused_with_its_line_and_a_remedy() {
    for (text, line) in [
        ("Package: a\nStatus: install ok installed\nVersion: 1\nthis is no field\n", 4),
        ("Package: a\nVersion: 1\n\nVersion: 2\n", 4),
        ("Package: a\nVersion: 1\nPackage: b\nVersion: 2\n", 3),
        ("\u{0}\u{1}\u{2}\n", 1),
    ] {
        let tree = Tree::debian(text);
        let error = host(&Options::at(tree.path())).unwrap_err();
        let FactsError::Status { source, .. } = &error else { panic!("{error}") };
        assert_eq!(source.line, line, "{text}");
        assert!(error.remedy().contains("status-old"));
    }
}

#[test]
fn an_image_without_dpkg_lists_its_packages_one_by_one() {
    let tree = Tree::new();
    tree.write("etc/os-release", "ID=debian\nVERSION_ID=12\n");
    tree.write("var/lib/dpkg/status.d/libc6", "Package: libc6\nArchitecture: amd64\nVersion: 2.36-9\nSource: glibc\n");
    tree.write("var/lib/dpkg/status.d/tzdata", "Package: tzdata\nArchitecture: all\nVersion: 2024a-0\n");
    tree.write("var/lib/dpkg/status.d/tzdata.md5sums", "abc  usr/share/zoneinfo/UTC\n");
    let facts = tree.facts();
    let names: Vec<_> = facts.packages.iter().map(|p| (p.name.as_str(), p.source.as_str())).collect();
    assert_eq!(names, [("libc6", "glibc"), ("tzdata", "tzdata")]);
    assert_eq!(facts.architecture, "amd64");
}

#[test]
fn a_root_without_packages_is_an_error_and_not_a_clean_host() {
    let error = host(&Options::at(Tree::new().path())).unwrap_err();
    assert!(matches!(error, FactsError::NoDpkg { .. }), "{error}");
    assert!(matches!(host(&Options::at(Path::new("/does/not/exist"))), Err(FactsError::Root { .. })));
}

#[test]
fn of_another_root_nothing_that_runs_is_told() {
    let tree = Tree::debian(&stanza("a", "1", ""));
    let facts = tree.facts();
    for why in [
        facts.kernel.known().is_none(),
        facts.stale.known().is_none(),
        facts.sockets.known().is_none(),
        facts.boot_id.known().is_none(),
    ] {
        assert!(why);
    }
    assert!(matches!(&facts.stale, Known::Unknown(why) if why.starts_with("another root")));
}

#[test]
fn when_a_version_was_unpacked_is_told_by_the_list_of_its_files() {
    let tree = Tree::debian(&(stanza("a", "1", "") + &stanza("b", "1", "") + &stanza("c", "1", "")));
    tree.write("var/lib/dpkg/info/a.list", "/.\n");
    tree.write("var/lib/dpkg/info/b:amd64.list", "/.\n");
    for name in ["a.list", "b:amd64.list"] {
        let file = fs::File::open(tree.at("var/lib/dpkg/info").join(name)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(86_400)).unwrap();
    }
    let told: Vec<Option<i64>> =
        tree.facts().packages.iter().map(|package| package.installed_at.map(|at| at.as_second())).collect();
    assert_eq!(told, [Some(86_400), Some(86_400), None]);
}

#[test]
fn a_link_out_of_the_root_is_not_followed() {
    let outside = Tree::new();
    outside.write("status", stanza("outside", "1", ""));
    outside.write("machine-id", "0123456789abcdef0123456789abcdef\n");
    let tree = Tree::new();
    tree.link(outside.at("status"), "var/lib/dpkg/status");
    assert!(matches!(host(&Options::at(tree.path())), Err(FactsError::NoDpkg { .. })));

    let tree = Tree::debian(&stanza("inside", "1", ""));
    tree.link(outside.at("machine-id"), "etc/machine-id");
    tree.write("etc/hostname", "inner\n");
    let by_name = tree.facts().asset;
    fs::remove_file(tree.at("etc/machine-id")).unwrap();
    assert_eq!(by_name, tree.facts().asset, "the id outside must not count");
}

#[test]
fn a_machine_is_who_its_machine_id_says_whatever_its_name() {
    let tree = Tree::debian(&stanza("a", "1", ""));
    tree.write("etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    tree.write("etc/hostname", "one\n");
    let one = tree.facts().asset;
    tree.write("etc/hostname", "two\n");
    let two = tree.facts().asset;
    assert_eq!((one.id.clone(), one.name.as_str(), two.name.as_str()), (two.id, "one", "two"));
    tree.write("etc/machine-id", "ffffffffffffffffffffffffffffffff\n");
    assert_ne!(tree.facts().asset.id, one.id);
    assert!(!one.id.as_str().contains("0123456789abcdef"));
}

prop_compose! {
    fn any_package()(
        name in "[a-z0-9][a-z0-9+.-]{1,12}",
        architecture in prop::sample::select(vec!["amd64", "all", "i386"]),
        version in "([1-9]:)?[0-9][0-9a-z.+~]{0,8}(-[0-9a-z.+~]{1,5})?",
        source in prop::option::of(("[a-z0-9][a-z0-9+.-]{1,12}", prop::option::of("[0-9][0-9a-z.+~]{0,8}"))),
        built_using in prop::collection::vec(("[a-z][a-z0-9+.-]{1,8}", "[0-9][0-9.]{0,5}-[0-9]"), 0..3),
        hold: bool,
        essential: bool,
    ) -> Package {
        let version: stanch_model::version::DebVersion = version.parse().unwrap();
        let (source, source_version) = source.unwrap_or_else(|| (name.clone(), None));
        Package {
            source,
            source_version: source_version.map_or_else(|| version.clone(), |text| text.parse().unwrap()),
            built_using: built_using.into_iter().map(|(name, version)| (name, version.parse().unwrap())).collect(),
            name, architecture: architecture.to_owned(), version, hold, essential,
            automatic: None, origins: Vec::new(), installed_at: None,
        }
    }
}

fn render(package: &Package) -> String {
    let want = if package.hold { "hold" } else { "install" };
    let mut text = format!("Package: {}\nStatus: {want} ok installed\n", package.name);
    if package.essential {
        text.push_str("Essential: yes\n");
    }
    text.push_str(&format!("Architecture: {}\n", package.architecture));
    text.push_str(&format!("Source: {} ({})\nVersion: {}\n", package.source, package.source_version, package.version));
    let built: Vec<String> =
        package.built_using.iter().map(|(name, version)| format!("{name} (= {version})")).collect();
    if !built.is_empty() {
        text.push_str(&format!("Built-Using: {}\n", built.join(", ")));
    }
    text.push_str("Description: words\n and more: words\n .\n\tend\n\n");
    text
}

proptest! {
    #[test]
    fn what_was_written_is_read_back(mut packages in prop::collection::vec(any_package(), 0..20)) {
        packages.sort_by(|a, b| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));
        let text: String = packages.iter().map(render).collect();
        let status = parse_status(text.as_bytes()).unwrap();
        prop_assert_eq!(&status.packages, &packages);
        prop_assert!(status.unreadable.is_empty() && status.broken.is_empty());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = parse_status(&bytes);
    }

    #[test]
    fn a_cut_list_never_invents_a_package(packages in prop::collection::vec(any_package(), 1..6), cut in 0.0..1.0f64) {
        let text: String = packages.iter().map(render).collect();
        let cut = (text.len() as f64 * cut) as usize;
        if let Ok(status) = parse_status(&text.as_bytes()[..cut]) {
            prop_assert!(status.packages.len() + status.unreadable.len() <= packages.len());
        }
    }
}
