//! `stanch scan --sbom`: libraries of PyPI, npm, crates.io and Maven are judged, whoever made the inventory.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::program::{Home, Run};

const LISTED: [&str; 7] = [
    "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1?type=jar",
    "pkg:npm/lodash@4.17.20",
    "pkg:npm/lodash@4.17.21",
    "pkg:npm/%40babel/traverse@7.22.5",
    "pkg:pypi/Urllib3@2.0.5",
    "pkg:cargo/smallvec@1.6.0",
    "pkg:pypi/requests@not-a-version",
];

fn cyclonedx() -> Value {
    let components: Vec<Value> =
        LISTED.iter().map(|purl| json!({"type": "library", "name": "x", "purl": purl})).collect();
    json!({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": components})
}

fn spdx() -> Value {
    let packages: Vec<Value> = LISTED
        .iter()
        .enumerate()
        .map(|(at, purl)| {
            json!({"SPDXID": format!("SPDXRef-{at}"), "name": "x", "externalRefs": [
                {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}]})
        })
        .collect();
    json!({"spdxVersion": "SPDX-2.3", "packages": packages})
}

fn graph() -> Value {
    let elements: Vec<Value> = LISTED
        .iter()
        .map(|purl| json!({"type": "software_Package", "name": "x", "software_packageUrl": purl}))
        .collect();
    json!({"@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld", "@graph": elements})
}

fn written(home: &Home, name: &str, document: &Value) -> PathBuf {
    let file = home.path().join(name);
    std::fs::write(&file, document.to_string()).unwrap();
    file
}

fn scan(home: &Home, file: &Path, more: &[&str]) -> Run {
    let mut arguments = vec!["scan", "--sbom", file.to_str().unwrap()];
    arguments.extend(more);
    let run = home.run(&arguments);
    assert_eq!(run.code, 0, "{}", run.err);
    run
}

/// Package URL, id, fixed version and verdict of each finding.
fn findings(run: &Run) -> BTreeSet<(String, String, String, String)> {
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or("-").to_owned();
    run.out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| (text(&line, "purl"), text(&line, "id"), text(&line, "fixed_version"), text(&line, "verdict")))
        .collect()
}

fn row(purl: &str, id: &str, fixed: &str) -> (String, String, String, String) {
    (purl.to_owned(), id.to_owned(), fixed.to_owned(), "affected_fixable".to_owned())
}

#[test]
fn the_components_of_any_inventory_are_judged_by_the_snapshot() {
    let home = Home::new();
    for document in [cyclonedx(), spdx(), graph()] {
        let run = scan(&home, &written(&home, "app.json", &document), &["--json"]);
        let found = findings(&run);
        let certain: Vec<_> = found.iter().filter(|(.., verdict)| verdict != "unknown").cloned().collect();
        assert_eq!(
            certain,
            [
                row("pkg:cargo/smallvec@1.6.0", "RUSTSEC-2021-0003", "1.6.1"),
                row(LISTED[0], "GHSA-jfh8-c2jp-5v3q", "2.15.0"),
                row("pkg:npm/lodash@4.17.20", "GHSA-35jh-r3h4-6jhm", "4.17.21"),
                row("pkg:pypi/Urllib3@2.0.5", "PYSEC-2023-192", "2.0.6"),
                row("pkg:pypi/Urllib3@2.0.5", "PYSEC-2023-212", "2.0.7"),
            ]
        );
        let unknown: BTreeSet<_> = found.difference(&certain.into_iter().collect()).cloned().collect();
        assert!(!unknown.is_empty() && unknown.iter().all(|(purl, ..)| purl == "pkg:pypi/requests@not-a-version"));
        assert!(run.out.contains("`not-a-version` is not a Python version (PEP 440)"), "{}", run.out);
        assert!(run.err.contains("6 of 7 components have vulnerability data"), "{}", run.err);
        assert!(!run.err.contains("not judged"), "{}", run.err);
    }
}

/// A folder of feeds with one advisory about a scoped package, as npm's database has it.
fn scoped(home: &Home) -> PathBuf {
    let record = json!({
        "id": "GHSA-67hx-6x53-jw92", "modified": "2023-11-05T05:04:59Z", "aliases": ["CVE-2023-45133"],
        "affected": [{"package": {"ecosystem": "npm", "name": "@babel/traverse"},
            "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "7.23.2"}]}]}],
    });
    let folder = home.path().join("feeds/osv/npm");
    std::fs::create_dir_all(&folder).unwrap();
    let mut zip = zip::ZipWriter::new(std::fs::File::create(folder.join("all.zip")).unwrap());
    zip.start_file("GHSA-67hx-6x53-jw92.json", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(record.to_string().as_bytes()).unwrap();
    zip.finish().unwrap();
    home.path().join("feeds")
}

#[test]
fn a_scope_is_part_of_a_name_and_what_has_no_feed_is_said() {
    let home = Home::new();
    let feeds = scoped(&home);
    for document in [cyclonedx(), spdx()] {
        let file = written(&home, "app.json", &document);
        let run = scan(&home, &file, &["--feeds", feeds.to_str().unwrap(), "--json"]);
        let expected = row("pkg:npm/%40babel/traverse@7.22.5", "GHSA-67hx-6x53-jw92", "7.23.2");
        assert_eq!(findings(&run), BTreeSet::from([expected]));
        assert!(run.out.contains(r#""package":"@babel/traverse""#), "{}", run.out);
        for ecosystem in ["Maven", "PyPI", "crates.io"] {
            assert!(run.err.contains(&format!("advisories: no feed for {ecosystem} is at hand")), "{}", run.err);
        }
    }
}

#[test]
fn people_see_one_item_for_each_component_with_the_exploited_one_first() {
    let home = Home::new();
    let file = written(&home, "app.json", &cyclonedx());
    let run = scan(&home, &file, &[]);
    let rows: Vec<&str> = run.out.lines().skip(1).collect();
    assert_eq!(rows.len(), 4, "{}", run.out);
    assert!(rows[0].contains("pkg:maven/org.apache.logging.log4j/log4j-core"), "{}", rows[0]);
    assert!(rows[0].contains("2.14.1 -> 2.15.0") && rows[0].contains("is listed in KEV"), "{}", rows[0]);
    let urllib3 = rows.iter().find(|row| row.contains("pkg:pypi/Urllib3")).unwrap();
    assert!(urllib3.contains("2.0.5 -> 2.0.7") && urllib3.contains("2 ids"), "{urllib3}");
    assert!(!run.err.contains("stanch fix"), "no executor changes what an inventory lists: {}", run.err);
    let every = scan(&home, &file, &["--all"]);
    assert!(every.out.contains(LISTED[0]), "{}", every.out);
}

#[test]
fn every_form_names_the_component_by_its_package_url() {
    let home = Home::new();
    let file = written(&home, "my app.json", &cyclonedx());
    let of = |format: &str| scan(&home, &file, &["--format", format]).out;

    let sarif: Value = serde_json::from_str(&of("sarif")).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let log4j = results.iter().find(|result| result["ruleId"] == "GHSA-jfh8-c2jp-5v3q").unwrap();
    assert_eq!(log4j["locations"][0]["logicalLocations"][0]["fullyQualifiedName"], LISTED[0]);
    assert_eq!(log4j["locations"][0]["physicalLocation"]["artifactLocation"], json!({"uri": "my%20app.json"}));

    let ocsf = of("ocsf");
    let events: Vec<Value> = ocsf.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let packages: Vec<&Value> =
        events.iter().map(|event| &event["vulnerabilities"][0]["affected_packages"][0]).collect();
    let log4j = packages.iter().find(|package| package["purl"] == LISTED[0]).unwrap();
    assert_eq!(log4j["name"], "org.apache.logging.log4j:log4j-core");
    assert_eq!((&log4j["version"], &log4j["fixed_in_version"]), (&json!("2.14.1"), &json!("2.15.0")));

    let bom: Value = serde_json::from_str(&of("cyclonedx")).unwrap();
    let listed: Vec<&str> = bom["components"].as_array().unwrap().iter().map(|c| c["purl"].as_str().unwrap()).collect();
    assert_eq!(listed.iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from(LISTED));
    assert_eq!(bom["metadata"]["component"], json!({"type": "application", "name": "my app.json"}));
    for vulnerability in bom["vulnerabilities"].as_array().unwrap() {
        for affected in vulnerability["affects"].as_array().unwrap() {
            assert!(listed.contains(&affected["ref"].as_str().unwrap()), "{affected}");
        }
    }
}
