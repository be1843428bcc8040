//! VEX: who says that a package is not affected, and when that stops counting.

use jiff::Timestamp;
use stanch_feeds::archive::Limits;
use stanch_feeds::{Knowledge, detect, osv, vex};
use stanch_model::finding::{Finding, Verdict};

use crate::archive::{Entry, deflated, of, record};
use crate::world::{bookworm, package};

fn openvex(product: &str, status: &str, more: &str) -> String {
    format!(
        r#"{{"@context":"https://openvex.dev/ns/v0.2.0","@id":"https://a.example/vex-1","author":"Security of A","timestamp":"2026-11-01T00:00:00Z","version":1,
        "statements":[{{"vulnerability":{{"name":"CVE-2026-0001"}},"products":[{{"@id":"{product}"}}],"status":"{status}","justification":"vulnerable_code_not_present"{more}}}]}}"#
    )
}

fn judged(version: &str, documents: &[&str], now: &str) -> Finding {
    let advisories = of(&[record("DEBIAN-CVE-2026-0001", "openssl", "3.0.2-1")
        .replace("\"modified\"", "\"upstream\":[\"CVE-2026-0001\"],\"modified\"")]);
    let mut knowledge = Knowledge::of([osv::compile("Debian:12", &advisories, &Limits::default()).unwrap()]);
    let names: Vec<String> = (0..documents.len()).map(|at| format!("{at}.json")).collect();
    let entries: Vec<Entry<'_>> =
        names.iter().zip(documents).map(|(name, text)| Entry { name, content: text.as_bytes() }).collect();
    if !entries.is_empty() {
        knowledge = knowledge.with([vex::compile(&deflated(&entries)).unwrap()]);
    }
    let now: Timestamp = now.parse().unwrap();
    detect(&bookworm(vec![package("openssl", version)]), &knowledge, now).findings.remove(0)
}

const NOW: &str = "2026-11-23T12:00:00Z";
const EXACT: &str = "pkg:deb/debian/openssl@3.0.1-1?arch=source";

#[test]
fn a_statement_turns_the_verdict_and_says_who_says_so() {
    let found = judged("3.0.1-1", &[&openvex(EXACT, "not_affected", "")], NOW);
    assert_eq!(found.verdict, Verdict::NotAffected);
    assert_eq!(
        found.reason,
        "Security of A says openssl 3.0.1-1 is not affected (vulnerable_code_not_present; https://a.example/vex-1)"
    );
}

#[test]
fn a_statement_counts_for_exactly_its_version_package_and_distribution() {
    let statement = openvex(EXACT, "not_affected", "");
    assert_eq!(judged("3.0.1-2", &[&statement], NOW).verdict, Verdict::AffectedFixable);
    for product in [
        "pkg:deb/debian/openssl",
        "pkg:deb/ubuntu/openssl@3.0.1-1",
        "pkg:deb/debian/openssl@3.0.1-1?arch=arm64",
        "pkg:rpm/debian/openssl@3.0.1-1",
        "not a package url",
    ] {
        let statement = openvex(product, "not_affected", "");
        assert_eq!(judged("3.0.1-1", &[&statement], NOW).verdict, Verdict::AffectedFixable, "{product}");
    }
}

#[test]
fn an_expired_statement_opens_the_question_again() {
    let statement = openvex(EXACT, "not_affected", r#","expires":"2026-11-23T12:00:00Z""#);
    assert_eq!(judged("3.0.1-1", &[&statement], "2026-11-23T11:59:59Z").verdict, Verdict::NotAffected);
    assert_eq!(judged("3.0.1-1", &[&statement], NOW).verdict, Verdict::AffectedFixable);
}

#[test]
fn another_author_or_justification_gives_another_reason() {
    let before = judged("3.0.1-1", &[&openvex(EXACT, "not_affected", "")], NOW).reason;
    for (from, to) in [("Security of A", "Somebody"), ("vulnerable_code_not_present", "component_not_present")] {
        let statement = openvex(EXACT, "not_affected", "").replace(from, to);
        assert_ne!(judged("3.0.1-1", &[&statement], NOW).reason, before);
    }
}

#[test]
fn the_last_word_counts_and_at_the_same_time_the_graver_one() {
    let cleared = openvex(EXACT, "not_affected", "");
    let later = openvex(EXACT, "affected", "").replace("2026-11-01", "2026-11-02");
    assert_eq!(judged("3.0.1-1", &[&cleared, &later], NOW).verdict, Verdict::AffectedFixable);
    assert_eq!(judged("3.0.1-1", &[&later, &cleared], NOW).verdict, Verdict::AffectedFixable);
    let same_time = openvex(EXACT, "under_investigation", "");
    assert_eq!(judged("3.0.1-1", &[&cleared, &same_time], NOW).verdict, Verdict::AffectedFixable);
}

fn csaf(status: &str) -> String {
    format!(
        r#"{{"document":{{"category":"csaf_vex","publisher":{{"name":"Vendor of B"}},"tracking":{{"id":"B-2026-1","current_release_date":"2026-11-02T00:00:00Z"}}}},
        "product_tree":{{"branches":[{{"category":"vendor","name":"Debian","branches":[{{"category":"product_version","name":"openssl",
          "product":{{"name":"openssl","product_id":"P1","product_identification_helper":{{"purl":"pkg:deb/debian/openssl@3.0.1-1?arch=source"}}}}}}]}}],
          "relationships":[{{"category":"default_component_of","product_reference":"P1","relates_to_product_reference":"R1","full_product_name":{{"name":"x","product_id":"R1:P1"}}}}]}},
        "vulnerabilities":[{{"cve":"CVE-2026-0001","product_status":{{"{status}":["R1:P1"]}},"flags":[{{"label":"vulnerable_code_not_in_execute_path","product_ids":["R1:P1"]}}]}}]}}"#
    )
}

#[test]
fn csaf_says_the_same_in_its_own_form() {
    let found = judged("3.0.1-1", &[&csaf("known_not_affected")], NOW);
    assert_eq!(found.verdict, Verdict::NotAffected);
    assert!(
        found.reason.contains("Vendor of B") && found.reason.contains("vulnerable_code_not_in_execute_path"),
        "{}",
        found.reason
    );
    assert_eq!(judged("3.0.1-1", &[&csaf("known_affected")], NOW).verdict, Verdict::AffectedFixable);
    assert_eq!(judged("3.0.1-1", &[&csaf("fixed")], NOW).verdict, Verdict::NotAffected);
}

#[test]
fn the_older_form_of_openvex_with_plain_texts_is_read_too() {
    let old = format!(
        r#"{{"@context":"https://openvex.dev/ns","@id":"x","author":"A","timestamp":"2023-01-08T18:02:03-06:00","version":"1",
        "statements":[{{"vulnerability":"CVE-2026-0001","products":["{EXACT}"],"status":"not_affected","impact_statement":"not reachable"}}]}}"#
    );
    assert_eq!(judged("3.0.1-1", &[&old], NOW).verdict, Verdict::NotAffected);
}

#[test]
fn a_product_tree_nested_without_end_is_refused() {
    let mut tree = "{}".to_owned();
    for _ in 0..40 {
        tree = format!(r#"{{"branches":[{tree}]}}"#);
    }
    let document = csaf("fixed").replace(r#""product_tree":{"#, &format!(r#""product_tree":{tree},"was":{{"#));
    assert!(vex::compile(document.as_bytes()).is_err());
}
