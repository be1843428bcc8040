//! Real hosts: exactly the findings that a matcher on libapt's own comparison gives, with their fixed versions.

use std::collections::BTreeSet;

use stanch_feeds::{Knowledge, detect};
use stanch_model::finding::{Detector, Verdict};

use crate::world::{bookworm, fixture, gunzip, shared, snapshot, status};

type Row = (String, String, String, String, String);

fn check(name: &str, count: usize, knowledge: &Knowledge) {
    let text = String::from_utf8(gunzip(&fixture(&format!("{name}.dpkg-status.gz")))).unwrap();
    let facts = bookworm(status(&text));
    let detection = detect(&facts, knowledge, facts.collected_at);
    let found: Vec<Row> = detection
        .of(Detector::Advisory)
        .map(|finding| {
            assert_eq!(finding.verdict, Verdict::AffectedFixable);
            let fixed = finding.fixed_version.clone().unwrap();
            let source_version = finding.source_version.clone().unwrap();
            (finding.binary.clone(), finding.id.clone(), finding.package.clone(), source_version, fixed)
        })
        .collect();
    let expected: serde_json::Value =
        serde_json::from_slice(&gunzip(&fixture(&format!("{name}.expected.json.gz")))).unwrap();
    let text = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap().to_owned();
    let expected: BTreeSet<Row> = expected["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                text(row, "package"),
                text(row, "id"),
                text(row, "source"),
                text(row, "source_version"),
                text(row, "fixed"),
            )
        })
        .collect();
    assert_eq!(expected.len(), count);
    assert_eq!(found.len(), count, "one finding for each binary package and id");
    let found: BTreeSet<Row> = found.into_iter().collect();
    assert_eq!(found.difference(&expected).collect::<Vec<_>>(), Vec::<&Row>::new(), "found, but not expected");
    assert_eq!(expected.difference(&found).collect::<Vec<_>>(), Vec::<&Row>::new(), "expected, but not found");
}

#[test]
fn a_minimal_host_has_18_findings() {
    check("base", 18, &snapshot());
}

#[test]
fn a_server_has_696_findings() {
    check("server", 696, &snapshot());
}

#[test]
fn the_signed_kernel_has_the_2578_findings_of_the_source_it_was_built_from() {
    check("base-plus-kernel", 2596, &snapshot());
}

#[test]
fn the_feed_folder_itself_gives_the_same() {
    let Some(shared) = shared() else { return };
    let cache = tempfile::tempdir().unwrap();
    for _cold_and_warm in 0..2 {
        check("server", 696, &Knowledge::from_dir(&shared, Some(cache.path())).unwrap());
    }
}

#[test]
fn the_snapshot_is_what_the_feed_folder_gives() {
    let Some(shared) = shared() else { return };
    let built = stanch_feeds::snapshot::build(&shared).unwrap();
    assert!(built == stanch_feeds::snapshot::bytes(), "run the example `snapshot` and check in what it writes");
}
