//! Findings and facts made by hand, and those of the server fixture.

use std::io::Read as _;
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::json;
use stanch_model::assessment::{Enrichment, Kev};
use stanch_model::asset::{Asset, AssetKind};
use stanch_model::facts::{HostFacts, ListeningSocket, Package, ServiceRef};
use stanch_model::finding::{Detector, Finding, OcsfClass, Verdict, fingerprint};

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn now() -> Timestamp {
    at("2026-11-23T12:00:00Z")
}

pub(crate) fn host() -> Asset {
    Asset::unlabelled(AssetKind::Host, "machine-1", "web-1")
}

/// A fixable advisory finding; change what the test is about.
pub(crate) fn advisory(asset: &Asset, id: &str, source: &str, binary: &str) -> Finding {
    finding(asset, Detector::Advisory, id, source, binary, Verdict::AffectedFixable)
}

pub(crate) fn finding(
    asset: &Asset,
    detector: Detector,
    id: &str,
    source: &str,
    binary: &str,
    verdict: Verdict,
) -> Finding {
    // Through JSON, so that a new optional field of the model needs no change here.
    serde_json::from_value(json!({
        "fingerprint": fingerprint(&asset.id, detector, id, binary),
        "asset": asset.id,
        "class": OcsfClass::Vulnerability,
        "detector": detector,
        "id": id,
        "aliases": [],
        "package": source,
        "binary": binary,
        "version": "1.0-1",
        "fixed_version": (verdict == Verdict::AffectedFixable).then_some("1.0-1+deb12u1"),
        "verdict": verdict,
        "reason": "for the test",
        "cvss_vectors": [],
    }))
    .unwrap()
}

pub(crate) fn facts(asset: &Asset) -> HostFacts {
    serde_json::from_value(json!({
        "asset": asset,
        "collected_at": now(),
        "boot_id": {"known": "b"},
        "os": {"id": "debian", "version_id": "12", "codename": "bookworm", "pretty_name": "Debian GNU/Linux 12"},
        "architecture": "amd64",
        "packages": [],
        "broken": [],
        "candidates": {"known": {}},
        "kernel": {"unknown": "not asked"},
        "stale": {"known": []},
        "sockets": {"known": []},
        "updaters": [],
    }))
    .unwrap()
}

pub(crate) fn package(name: &str, source: &str) -> Package {
    serde_json::from_value(json!({
        "name": name,
        "architecture": "amd64",
        "version": "1.0-1",
        "source": source,
        "source_version": "1.0-1",
        "built_using": [],
        "hold": false,
        "essential": false,
        "origins": [],
    }))
    .unwrap()
}

pub(crate) fn socket(address: &str, port: u16, package: &str) -> ListeningSocket {
    ListeningSocket {
        protocol: "tcp".to_owned(),
        address: address.parse().unwrap(),
        port,
        exe: Some(format!("/usr/sbin/{package}")),
        package: Some(package.to_owned()),
        service: Some(ServiceRef::Systemd(format!("{package}.service"))),
    }
}

pub(crate) fn kev(added: &str) -> Enrichment {
    Enrichment {
        kev: Some(Kev { added: added.parse().unwrap(), due: None, ransomware: false }),
        ..Enrichment::default()
    }
}

/// A file of the shared data, or its copy among the fixtures.
pub(crate) fn data(shared: &str, fixture: &str) -> Vec<u8> {
    let root = std::env::var_os("STANCH_SHARED_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")), PathBuf::from);
    std::fs::read(root.join(shared))
        .or_else(|_| std::fs::read(PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")).join(fixture)))
        .unwrap()
}

/// The 696 findings of the server fixture.
pub(crate) fn server_findings(asset: &Asset) -> Vec<Finding> {
    #[derive(serde::Deserialize)]
    struct Expected {
        findings: Vec<Row>,
    }
    #[derive(serde::Deserialize)]
    struct Row {
        package: String,
        source: String,
        source_version: String,
        id: String,
        fixed: String,
    }
    let packed = data("fixtures/server.expected.json.gz", "server.expected.json.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_string(&mut text).unwrap();
    let expected: Expected = serde_json::from_str(&text).unwrap();
    expected
        .findings
        .into_iter()
        .map(|row| Finding {
            version: row.source_version,
            fixed_version: Some(row.fixed),
            ..advisory(asset, &row.id, &row.source, &row.package)
        })
        .collect()
}

pub(crate) fn host_named(machine: &str) -> Asset {
    Asset::unlabelled(AssetKind::Host, machine, machine)
}
