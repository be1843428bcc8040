//! Inventories that others made: real ones of a scanner, and the forms of others.

use proptest::prelude::*;
use serde_json::{Value, json};
use stanch_agent::facts::dpkg::parse_status;
use stanch_agent::facts::os::parse_release;
use stanch_agent::sbom::{Inventory, SbomError, parse};

use crate::facts::fixture;

fn read(document: &Value) -> Inventory {
    parse(document.to_string().as_bytes(), "test", None).unwrap()
}

fn counted(inventory: &Inventory) -> usize {
    let seen = &inventory.coverage;
    let unsupported: usize = seen.unsupported.values().sum();
    seen.packages
        + seen.components
        + seen.repeated
        + seen.without_purl
        + seen.unreadable
        + seen.other_release
        + unsupported
}

#[test]
fn a_scanners_inventory_names_the_packages_that_dpkg_does() {
    let status = parse_status(&fixture("base.dpkg-status.gz")).unwrap();
    for (file, format) in [("base.cdx.json.gz", "CycloneDX 1.7"), ("base.spdx.json.gz", "SPDX 2.3")] {
        let inventory = parse(&fixture(file), "base", None).unwrap();
        assert_eq!(inventory.coverage.format, format);
        assert_eq!(inventory.facts.os.ecosystem().as_deref(), Some("Debian:12"));
        let listed: Vec<_> =
            inventory.facts.packages.iter().map(|p| (&p.name, p.version.as_str(), &p.source)).collect();
        let dpkg: Vec<_> = status.packages.iter().map(|p| (&p.name, p.version.as_str(), &p.source)).collect();
        assert_eq!(listed, dpkg, "{file}");
        for (listed, dpkg) in inventory.facts.packages.iter().zip(&status.packages) {
            assert_eq!(listed.source_version, dpkg.source_version, "{file} {}", dpkg.name);
        }
        let components: Vec<_> =
            inventory.facts.components.iter().map(|c| (c.ecosystem.as_str(), c.name.as_str())).collect();
        assert_eq!(components, [("PyPI", "flask-login")]);
        assert_eq!(counted(&inventory), inventory.coverage.listed);
        assert!(inventory.facts.gaps.is_empty());
    }
}

#[test]
fn the_upstream_qualifier_names_the_source() {
    let purl = |text: &str| json!({"type": "library", "name": "x", "version": "1", "purl": text});
    let inventory = read(&json!({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [
        {"type": "operating-system", "name": "debian", "version": "12"},
        purl("pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64&upstream=glibc&distro=debian-12"),
        purl("pkg:deb/debian/bsdutils@1%3A2.38.1-5?arch=amd64&upstream=util-linux%402.38.1-5&distro=debian-12"),
        {"type": "application", "name": "group", "components": [purl("pkg:npm/%40babel/core@7.0.0")]},
    ]}));
    let packages: Vec<_> = inventory
        .facts
        .packages
        .iter()
        .map(|p| (p.name.as_str(), p.version.as_str(), p.source.as_str(), p.source_version.as_str()))
        .collect();
    assert_eq!(
        packages,
        [("bsdutils", "1:2.38.1-5", "util-linux", "2.38.1-5"), ("libc6", "2.36-9+deb12u4", "glibc", "2.36-9+deb12u4")]
    );
    assert_eq!(inventory.facts.components[0].name, "@babel/core");
}

#[test]
fn components_have_the_names_their_advisories_use() {
    let purls = [
        ("pkg:pypi/Zope_Interface.x@1.0", "PyPI", "zope-interface-x"),
        ("pkg:npm/lodash@4.17.20", "npm", "lodash"),
        ("pkg:cargo/time@0.1.0", "crates.io", "time"),
        (
            "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1?type=jar",
            "Maven",
            "org.apache.logging.log4j:log4j-core",
        ),
        ("pkg:golang/github.com/a/b@v1.0.0", "Go", "github.com/a/b"),
    ];
    for (purl, ecosystem, name) in purls {
        let inventory = read(&json!({"spdxVersion": "SPDX-2.3", "packages": [{"SPDXID": "SPDXRef-1", "name": "x",
            "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}]}]}));
        let seen = &inventory.facts.components[0];
        assert_eq!((seen.ecosystem.as_str(), seen.name.as_str(), seen.purl.as_str()), (ecosystem, name, purl));
    }
}

#[test]
fn a_component_without_a_version_in_its_package_url_gets_the_one_listed_beside_it() {
    let inventory = read(&json!({"bomFormat": "CycloneDX", "components": [
        {"type": "library", "version": "7.0.0", "purl": "pkg:npm/%40babel/core"},
        {"type": "library", "version": "7.1.0", "purl": "pkg:npm/%40babel/core?vcs_url=x"},
        {"type": "library", "version": "1\u{1b}[2J", "purl": "pkg:npm/a"},
        {"type": "library", "purl": "pkg:npm/b%1b@1"},
        {"type": "library", "purl": format!("pkg:npm/a@{}", "1".repeat(257))},
    ]}));
    let seen: Vec<_> = inventory.facts.components.iter().map(|c| (c.version.as_str(), c.purl.as_str())).collect();
    assert_eq!(seen, [("7.0.0", "pkg:npm/%40babel/core@7.0.0"), ("7.1.0", "pkg:npm/%40babel/core@7.1.0?vcs_url=x")]);
    assert_eq!(inventory.coverage.unreadable, 3);
}

#[test]
fn a_graph_of_spdx_3_is_read() {
    let inventory = read(&json!({"@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld", "@graph": [
        {"type": "CreationInfo", "specVersion": "3.0.1"},
        {"type": "software_Package", "name": "ubuntu", "software_packageVersion": "22.04", "software_primaryPurpose": "operatingSystem"},
        {"type": "software_Package", "name": "bash", "software_packageUrl": "pkg:deb/ubuntu/bash@5.1-6ubuntu1?arch=amd64&distro=ubuntu-22.04",
         "software_sourceInfo": "built package from: bash 5.1-6ubuntu1"},
        {"type": "software_Package", "name": "lodash", "externalIdentifier": [{"type": "ExternalIdentifier",
         "externalIdentifierType": "packageUrl", "identifier": "pkg:npm/lodash@4.17.20"}]},
        {"type": "software_File", "name": "/etc/passwd"},
    ]}));
    assert_eq!(inventory.coverage.format, "SPDX 3.0.1");
    assert_eq!(inventory.facts.os.ecosystem().as_deref(), Some("Ubuntu:22.04"));
    assert_eq!((inventory.coverage.packages, inventory.coverage.components, inventory.coverage.listed), (1, 1, 2));
}

#[test]
fn what_cannot_be_used_is_counted_and_said() {
    let entry = |purl: &str| json!({"type": "library", "name": "x", "version": "1", "purl": purl});
    let inventory = read(&json!({"bomFormat": "CycloneDX", "specVersion": "1.5", "components": [
        {"type": "operating-system", "name": "debian", "version": "12.9"},
        {"type": "library", "name": "no purl", "version": "1"},
        entry("not a purl"),
        entry("pkg:deb/debian/odd@not%20a%20version?distro=debian-12"),
        entry("pkg:deb/debian/other@1?distro=debian-11"),
        entry("pkg:deb/debian/own@1?distro=bookworm"),
        entry("pkg:deb/raspbian/pi@1"),
        entry("pkg:apk/alpine/musl@1"),
        entry("pkg:npm/a@1"),
        entry("pkg:npm/a@1"),
        entry("pkg:npm/unversioned"),
    ]}));
    let seen = &inventory.coverage;
    assert_eq!(counted(&inventory), seen.listed);
    assert_eq!((seen.listed, seen.packages, seen.components, seen.repeated), (10, 1, 2, 1));
    assert_eq!((seen.without_purl, seen.unreadable, seen.other_release), (1, 2, 1));
    assert_eq!(seen.unsupported.keys().collect::<Vec<_>>(), ["apk", "deb/raspbian"]);
    assert!(inventory.facts.gaps.iter().any(|gap| gap == "1 of 10 listed are of another release and were left out"));
}

#[test]
fn packages_of_no_named_release_are_not_silently_clean() {
    let document = json!({"bomFormat": "CycloneDX", "components": [{"type": "library", "purl": "pkg:deb/debian/a@1"}]});
    let inventory = read(&document);
    assert_eq!(inventory.facts.os.ecosystem(), None);
    assert!(inventory.facts.gaps.iter().any(|gap| gap.contains("release of 1 packages is not named")));
    let named = parse(document.to_string().as_bytes(), "x", Some(parse_release("debian:12").unwrap())).unwrap();
    assert_eq!(named.facts.os.ecosystem().as_deref(), Some("Debian:12"));
    assert!(named.facts.gaps.is_empty());
}

#[test]
fn what_is_no_inventory_is_refused_in_words() {
    let refuse = |text: &str| parse(text.as_bytes(), "x", None).unwrap_err();
    assert!(matches!(refuse("{\"bomFormat\":\"CycloneDX\",\"components\":["), SbomError::Json(_)));
    assert!(matches!(refuse("{}"), SbomError::Format));
    assert!(matches!(refuse(&"[".repeat(100_000)), SbomError::Json(_)));
    let deep = format!("{{\"bomFormat\":\"CycloneDX\",\"components\":{}", "[{\"components\":".repeat(10_000));
    assert!(matches!(refuse(&deep), SbomError::Json(_)));
    assert!(refuse("{}").remedy().contains("CycloneDX JSON"));
}

proptest! {
    #[test]
    fn any_purl_is_counted_once(purls in prop::collection::vec("(pkg:)?(deb/debian|npm|pypi|x)/[a-z%@:/+.-]{0,12}(@[0-9a-z%:.~+-]{0,8})?(\\?[a-z=&%]{0,12})?", 0..8)) {
        let components: Vec<Value> = purls.iter().map(|purl| json!({"type": "library", "purl": purl})).collect();
        let inventory = read(&json!({"bomFormat": "CycloneDX", "components": components}));
        prop_assert_eq!(counted(&inventory), purls.len());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = parse(&bytes, "x", None);
    }
}
