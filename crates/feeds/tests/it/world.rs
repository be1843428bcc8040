//! Hosts and feed folders for the tests.

use std::io::Read as _;
use std::path::PathBuf;

use stanch_feeds::Knowledge;
use stanch_model::asset::{Asset, AssetKind};
use stanch_model::facts::{HostFacts, Known, OsRelease, Package};

/// The real data, where it is at hand.
pub(crate) fn shared() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let path = std::env::var_os("STANCH_SHARED_DATA").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    path.is_dir().then_some(path)
}

/// A file checked in beside the tests.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

/// The built-in knowledge.
pub(crate) fn snapshot() -> Knowledge {
    Knowledge::snapshot().unwrap()
}

/// A Debian 12 host with these packages, about which nothing else could be read.
pub(crate) fn bookworm(packages: Vec<Package>) -> HostFacts {
    let unknown = || "only a package list".to_owned();
    HostFacts {
        asset: Asset::unlabelled(AssetKind::Inventory, "test", "test"),
        collected_at: "2026-11-23T12:00:00Z".parse().unwrap(),
        boot_id: Known::Unknown(unknown()),
        os: OsRelease {
            id: "debian".to_owned(),
            version_id: Some("12".to_owned()),
            codename: Some("bookworm".to_owned()),
            pretty_name: "Debian GNU/Linux 12 (bookworm)".to_owned(),
        },
        architecture: "amd64".to_owned(),
        packages,
        components: Vec::new(),
        bundles: Vec::new(),
        unsearched: Vec::new(),
        broken: Vec::new(),
        candidates: Known::Unknown(unknown()),
        indexes_at: None,
        kernel: Known::Unknown(unknown()),
        stale: Known::Unknown(unknown()),
        sockets: Known::Unknown(unknown()),
        updaters: Vec::new(),
        health: Vec::new(),
        in_use: None,
        talks: None,
        posture: None,
        gaps: Vec::new(),
    }
}

/// A package whose binary and source agree in name and version.
pub(crate) fn package(name: &str, version: &str) -> Package {
    Package {
        name: name.to_owned(),
        architecture: "amd64".to_owned(),
        version: version.parse().unwrap(),
        source: name.to_owned(),
        source_version: version.parse().unwrap(),
        built_using: Vec::new(),
        hold: false,
        essential: false,
        automatic: None,
        origins: Vec::new(),
        installed_at: None,
    }
}

/// The installed packages of a status file: just enough of a reader for the fixtures.
pub(crate) fn status(text: &str) -> Vec<Package> {
    text.split("\n\n").filter_map(stanza).collect()
}

fn stanza(text: &str) -> Option<Package> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    if !field("Status")?.ends_with(" installed") {
        return None;
    }
    let mut package = package(field("Package")?, field("Version")?);
    field("Architecture")?.clone_into(&mut package.architecture);
    if let Some(source) = field("Source") {
        let (name, version) = named(source);
        name.clone_into(&mut package.source);
        if let Some(version) = version {
            package.source_version = version.parse().unwrap();
        }
    }
    for one in field("Built-Using").unwrap_or_default().split(", ").filter(|one| !one.is_empty()) {
        let (name, version) = named(one);
        package.built_using.push((name.to_owned(), version.unwrap().parse().unwrap()));
    }
    Some(package)
}

fn named(text: &str) -> (&str, Option<&str>) {
    match text.split_once(" (") {
        Some((name, version)) => (name, Some(version.trim_end_matches(')').trim_start_matches("= "))),
        None => (text, None),
    }
}
