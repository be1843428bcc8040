//! What a newer edition touches: no host is forgotten whose verdicts are others, and none is looked at without need.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use proptest::prelude::*;
use stanch_feeds::archive::Limits;
use stanch_feeds::{Changes, Knowledge, carried, changes, detect, epss, kev, osv, says_else, upstream, vex};
use stanch_model::facts::{Bundle, Component, Copied, Evidence, HostFacts};

use crate::archive::{Entry, deflated, of, record};
use crate::copies;
use crate::world::{bookworm, fixture, gunzip, package, snapshot, status};

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn edition(records: &[String]) -> Knowledge {
    Knowledge::of([osv::compile("Debian:12", &of(records), &Limits::default()).unwrap()])
}

fn names(changes: &Changes) -> Vec<&str> {
    changes.packages.iter().map(|(_, name)| name.as_str()).collect()
}

#[test]
fn only_names_of_which_something_else_is_said_are_touched() {
    let before = [record("A-1", "bash", "5.2"), record("A-2", "curl", "8.1"), record("A-3", "openssl", "3.0.2")];
    let after = [
        record("A-4", "zlib", "1.3"),
        record("A-3", "openssl", "3.0.2"),
        record("A-2", "curl", "8.2"),
        record("A-5", "openssl", "3.0.3"),
    ];
    let changes = changes(&edition(&before), &edition(&after), now());
    assert_eq!(names(&changes), ["bash", "curl", "openssl", "zlib"], "withdrawn, another fix, one more, new");
    assert!(changes.ecosystems.is_empty() && changes.stated.is_empty() && !changes.enriched);
}

#[test]
fn the_same_word_in_another_file_touches_nobody() {
    let before = [record("A-1", "bash", "5.2"), record("A-2", "curl", "8.1")];
    let after = [record("A-2", "curl", "8.1"), record("A-1", "bash", "5.2").replace("2026-11-20", "2026-11-21")];
    assert!(changes(&edition(&before), &edition(&after), now()).judges_nothing());
}

#[test]
fn a_feed_that_comes_goes_or_is_believed_again_touches_its_whole_ecosystem() {
    let some = edition(&[record("A-1", "bash", "5.2")]);
    let whole = BTreeSet::from(["Debian:12".to_owned()]);
    assert_eq!(changes(&Knowledge::of([]), &some, now()).ecosystems, whole);
    assert_eq!(changes(&some, &Knowledge::of([]), now()).ecosystems, whole);
    // What was too old to be silent about anything is so no more.
    let newer = edition(&[record("A-1", "bash", "5.2").replace("2026-11-20", "2027-11-20")]);
    assert_eq!(changes(&some, &newer, "2027-11-21T00:00:00Z".parse().unwrap()).ecosystems, whole);
}

#[test]
fn a_statement_touches_the_problem_that_it_is_about() {
    let said = |justification: &str| {
        let text = format!(
            r#"{{"@context":"https://openvex.dev/ns/v0.2.0","@id":"https://a.example/1","author":"A","timestamp":"2026-11-01T00:00:00Z","version":1,
            "statements":[{{"vulnerability":{{"name":"CVE-2026-0001"}},"products":[{{"@id":"pkg:deb/debian/openssl@1"}}],"status":"not_affected","justification":"{justification}"}}]}}"#
        );
        Knowledge::of([vex::compile(text.as_bytes()).unwrap()])
    };
    let (one, other) = (said("vulnerable_code_not_present"), said("inline_mitigations_already_exist"));
    assert_eq!(changes(&one, &other, now()).stated, BTreeSet::from(["CVE-2026-0001".to_owned()]));
    assert_eq!(changes(&one, &Knowledge::of([]), now()).stated, BTreeSet::from(["CVE-2026-0001".to_owned()]));
}

#[test]
fn a_score_touches_a_problem_when_it_is_another_and_not_when_it_is_given_again() {
    let scores = |day: &str, score: &str| {
        let file =
            format!("#model_version:v1,score_date:{day}T00:00:00Z\ncve,epss,percentile\nCVE-2026-0001,{score},0.5\n");
        Knowledge::of([epss::compile(file.as_bytes()).unwrap()])
    };
    let (one, again, other) = (scores("2026-11-21", "0.1"), scores("2026-11-22", "0.1"), scores("2026-11-22", "0.2"));
    assert!(changes(&one, &again, now()).enriched, "it may be: each problem tells");
    assert!(!says_else(&one, &again, "CVE-2026-0001"));
    assert!(says_else(&one, &other, "CVE-2026-0001"));
    let listed = r#"{"dateReleased":"2026-11-22T00:00:00Z","vulnerabilities":[{"cveID":"CVE-2026-0001","dateAdded":"2026-11-22"}]}"#;
    let listed = other.clone().with([kev::compile(listed.as_bytes()).unwrap()]);
    assert!(says_else(&other, &listed, "CVE-2026-0001") && !says_else(&other, &listed, "CVE-2026-0002"));
}

/// What the detectors say of a host, without the edition they say it by.
fn said(facts: &HostFacts, knowledge: &Knowledge) -> BTreeMap<String, String> {
    let found = detect(facts, knowledge, now()).findings.into_iter();
    found
        .map(|mut one| {
            one.feed = None;
            (one.fingerprint.to_string(), serde_json::to_string(&one).unwrap())
        })
        .collect()
}

fn is_touched(facts: &HostFacts, changes: &Changes) -> bool {
    let carries = |ecosystem: &String, name: &String| changes.packages.contains(&(ecosystem.clone(), name.clone()));
    carried(facts).iter().any(|one| changes.ecosystems.contains(&one.ecosystem) || carries(&one.ecosystem, &one.name))
}

/// Advisories about few packages, each of which some edition may lack or say otherwise.
fn advisories() -> impl Strategy<Value = Vec<String>> {
    let one = (0..6_u8, 0..4_u8, 1..5_u8);
    proptest::collection::btree_map(0..8_u8, one, 1..8).prop_map(|all| {
        all.into_iter()
            .map(|(id, (source, _, fixed))| record(&format!("A-{id}"), &format!("p{source}"), &fixed.to_string()))
            .collect()
    })
}

proptest! {
    #[test]
    fn whoever_is_not_touched_has_the_same_verdicts(
        before in advisories(),
        after in advisories(),
        installed in proptest::collection::btree_map(0..6_u8, 1..5_u8, 0..4),
    ) {
        let (old, new) = (edition(&before), edition(&after));
        let changes = changes(&old, &new, now());
        let packages = installed.iter().map(|(name, version)| package(&format!("p{name}"), &version.to_string()));
        let facts = bookworm(packages.collect());
        if !is_touched(&facts, &changes) {
            prop_assert_eq!(said(&facts, &old), said(&facts, &new));
        }
    }
}

/// Vendor and product of libraries, with their names here.
const LIBRARIES: [(&str, &str, &str); 3] =
    [("openssl", "openssl", "openssl"), ("curl", "curl", "curl"), ("libexpat", "libexpat", "expat")];

/// CVE records about few libraries.
fn cve_records() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::btree_map(0..6_u8, (0..3_usize, 1..5_u8), 1..6).prop_map(|all| {
        let one = |(id, (library, fixed)): (u8, (usize, u8))| {
            let (vendor, product, _) = LIBRARIES[library];
            let affected = format!(
                r#"{{"vendor":"{vendor}","product":"{product}","versions":[{{"version":"0","status":"affected","lessThan":"{fixed}.0"}}]}}"#
            );
            copies::record(&format!("CVE-2026-100{id}"), &affected, "")
        };
        all.into_iter().map(one).collect()
    })
}

fn upstream_edition(records: &[String]) -> Knowledge {
    let names: Vec<String> = (0..records.len()).map(|at| format!("CVE-{at}.json")).collect();
    let entries: Vec<Entry<'_>> =
        names.iter().zip(records).map(|(name, text)| Entry { name, content: text.as_bytes() }).collect();
    Knowledge::of([upstream::compile(&deflated(&entries)).unwrap().unwrap()])
}

proptest! {
    #[test]
    fn whoever_carries_no_copy_of_what_is_touched_has_the_same_verdicts(
        before in cve_records(),
        after in cve_records(),
        carried in proptest::collection::btree_map(0..3_usize, 1..5_u8, 0..3),
    ) {
        let (old, new) = (upstream_edition(&before), upstream_edition(&after));
        let changes = changes(&old, &new, now());
        let mut facts = bookworm(Vec::new());
        facts.bundles = carried
            .into_iter()
            .map(|(library, version)| Bundle {
                path: format!("/opt/{library}"),
                evidence: Evidence::Text,
                carrier: None,
                copies: vec![Copied { name: LIBRARIES[library].2.to_owned(), version: format!("{version}.0"), said: None }],
            })
            .collect();
        if !is_touched(&facts, &changes) {
            prop_assert_eq!(said(&facts, &old), said(&facts, &new));
        }
    }
}

#[test]
fn whatever_advisories_can_name_on_a_host_is_listed() {
    let mut facts = bookworm(status(&String::from_utf8(gunzip(&fixture("server.dpkg-status.gz"))).unwrap()));
    let mut signed = package("linux-image-6.1.0-50-amd64", "6.1.1+1");
    signed.source = "linux-signed-amd64".to_owned();
    signed.built_using = vec![("linux".to_owned(), "6.1.1".parse().unwrap())];
    facts.packages.push(signed);
    facts.components.push(Component {
        ecosystem: "Rocky Linux:9".to_owned(),
        name: "openssl-libs".to_owned(),
        version: "3.0".to_owned(),
        purl: "pkg:rpm/rocky/openssl-libs@3.0".to_owned(),
        source: Some("openssl".to_owned()),
        keeper: None,
    });
    let listed: BTreeSet<(String, String)> = carried(&facts).into_iter().map(|one| (one.ecosystem, one.name)).collect();
    for (ecosystem, name) in [("Debian:12", "linux"), ("Rocky Linux:9", "openssl"), ("Rocky Linux:9", "openssl-libs")] {
        assert!(listed.contains(&(ecosystem.to_owned(), name.to_owned())), "{ecosystem} {name}");
    }
    let found = detect(&facts, &snapshot(), now()).findings;
    let named = found.iter().filter(|one| one.feed.as_ref().is_some_and(|feed| feed.name.starts_with("osv/")));
    assert!(named.clone().count() > 100);
    for one in named {
        let by_source = listed.contains(&("Debian:12".to_owned(), one.package.clone()));
        assert!(by_source || one.package.starts_with("linux"), "{} {}", one.id, one.package);
    }
}
