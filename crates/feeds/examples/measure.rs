//! Times what a scan costs here: `cargo run --release -p stanch-feeds --example measure -- STATUS.gz [FEEDS CACHE]`.

use std::io::Read as _;
use std::path::Path;
use std::time::Instant;

use stanch_feeds::{Knowledge, detect};
use stanch_model::asset::{Asset, AssetKind};
use stanch_model::facts::{HostFacts, Known, OsRelease, Package};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut text = String::new();
    let status = std::fs::read(arguments.first().ok_or("usage: measure STATUS.gz [FEEDS CACHE]")?)?;
    flate2::read::GzDecoder::new(&*status).read_to_string(&mut text)?;
    let facts = host(text.split("\n\n").filter_map(package).collect());
    let now = facts.collected_at;
    for round in 0..3 {
        let start = Instant::now();
        let knowledge = match (arguments.get(1), arguments.get(2)) {
            (Some(feeds), cache) => Knowledge::from_dir(Path::new(feeds), cache.map(Path::new))?,
            _ => Knowledge::snapshot()?,
        };
        let opened = start.elapsed();
        let known = knowledge.index("Debian:12").map_or(0, |(index, _)| index.packages());
        let loaded = start.elapsed();
        let detection = detect(&facts, &knowledge, now);
        let judged = start.elapsed();
        let exploited =
            detection.findings.iter().filter(|finding| knowledge.enrich_finding(finding).kev.is_some()).count();
        let enriched = start.elapsed();
        println!(
            "round {round}: open {opened:?}, load {:?} ({known} sources), judge {:?} ({} of {} packages), enrich {:?} ({exploited} in KEV)",
            loaded - opened,
            judged - loaded,
            detection.findings.len(),
            facts.packages.len(),
            enriched - judged,
        );
    }
    let memory = std::fs::read_to_string("/proc/self/status")?;
    println!("{}", memory.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    Ok(())
}

fn host(packages: Vec<Package>) -> HostFacts {
    let unknown = || "only a package list".to_owned();
    HostFacts {
        asset: Asset::unlabelled(AssetKind::Inventory, "measure", "measure"),
        collected_at: jiff::Timestamp::now(),
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

fn package(stanza: &str) -> Option<Package> {
    let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let version: stanch_model::version::DebVersion = field("Version")?.parse().ok()?;
    let (source, source_version) = match field("Source").map(|source| source.split_once(" (").unwrap_or((source, ""))) {
        None => (field("Package")?, version.clone()),
        Some((source, "")) => (source, version.clone()),
        Some((source, other)) => (source, other.trim_end_matches(')').parse().ok()?),
    };
    let built_using = field("Built-Using").into_iter().flat_map(|all| all.split(", ")).filter_map(|one| {
        let (name, version) = one.split_once(" (= ")?;
        Some((name.to_owned(), version.trim_end_matches(')').parse().ok()?))
    });
    Some(Package {
        name: field("Package")?.to_owned(),
        architecture: field("Architecture")?.to_owned(),
        source: source.to_owned(),
        source_version,
        built_using: built_using.collect(),
        version,
        hold: false,
        essential: false,
        automatic: None,
        origins: Vec::new(),
        installed_at: None,
    })
}
