//! What the feeds know of a CVE. Absent means not known.

use jiff::civil::date;
use stanch_feeds::{Knowledge, cvss, epss, kev, vulnrichment};
use stanch_model::assessment::{Automatable, Enrichment, Exploitation, TechnicalImpact};

use crate::archive::{Entry, deflated};
use crate::world::snapshot;

fn record(cve: &str, exploitation: &str) -> String {
    format!(
        r#"{{"dataType":"CVE_RECORD","dataVersion":"5.1","cveMetadata":{{"cveId":"{cve}","state":"PUBLISHED","dateUpdated":"2026-11-20T10:00:00.000Z"}},
        "containers":{{"cna":{{"providerMetadata":{{"shortName":"vendor"}},"metrics":[{{"cvssV4_0":{{"vectorString":"CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"}}}}]}},
        "adp":[{{"title":"CISA ADP Vulnrichment","providerMetadata":{{"shortName":"CISA-ADP"}},"metrics":[
          {{"other":{{"type":"ssvc","content":{{"id":"{cve}","role":"CISA Coordinator","version":"2.0.3","options":[{{"Exploitation":"{exploitation}"}},{{"Automatable":"yes"}},{{"Technical Impact":"total"}}]}}}}}},
          {{"other":{{"type":"kev","content":{{"dateAdded":"2026-11-19","reference":"https://www.cisa.gov"}}}}}},
          {{"cvssV3_1":{{"vectorString":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H","baseScore":9.8}}}}]}}]}}}}"#
    )
}

#[test]
fn the_known_exploited_nginx_problem_has_its_date_score_and_model() {
    let known = snapshot().enrich("CVE-2023-44487");
    let kev = known.kev.unwrap();
    assert_eq!((kev.added, kev.due, kev.ransomware), (date(2023, 10, 10), Some(date(2023, 10, 31)), false));
    let epss = known.epss.unwrap();
    assert_eq!((epss.date, epss.model.as_str()), (date(2026, 8, 22), "unknown"));
    assert!(epss.score_e5 > 99_000, "{epss:?}");
    assert_eq!((known.cvss[0].score_e1, known.cvss[0].source.as_str()), (75, "nvd"));
}

#[test]
fn what_no_feed_knows_is_empty_and_not_zero() {
    for id in ["CVE-2099-0001", "GHSA-5qpq-xqfv-j9pg", "", "CVE-x"] {
        assert_eq!(snapshot().enrich(id), Enrichment::default());
    }
}

#[test]
fn vulnrichment_gives_ssvc_options_scores_and_the_day_it_became_exploited() {
    let knowledge = Knowledge::of([vulnrichment::compile(record("CVE-2026-0001", "poc").as_bytes()).unwrap()]);
    let known = knowledge.enrich("CVE-2026-0001");
    assert_eq!(known.ssvc.exploitation, Some(Exploitation::PublicPoc));
    assert_eq!(known.ssvc.automatable, Some(Automatable::Yes));
    assert_eq!(known.ssvc.technical_impact, Some(TechnicalImpact::Total));
    assert_eq!(known.kev.unwrap().added, date(2026, 11, 19));
    let scores: Vec<_> = known.cvss.iter().map(|score| (&*score.version, score.score_e1, &*score.source)).collect();
    assert_eq!(scores, [("4.0", 93, "vendor"), ("3.1", 98, "CISA-ADP")]);
}

#[test]
fn an_archive_of_the_whole_repository_is_read_and_other_documents_in_it_are_not() {
    let (one, other) = (record("CVE-2026-0001", "none"), record("CVE-2026-10000", "active"));
    let zip = deflated(&[
        Entry { name: "vulnrichment-develop/", content: b"" },
        Entry { name: "vulnrichment-develop/README.json", content: b"[]" },
        Entry { name: "vulnrichment-develop/2026/0xxx/CVE-2026-0001.json", content: one.as_bytes() },
        Entry { name: "vulnrichment-develop/2026/10xxx/CVE-2026-10000.json", content: other.as_bytes() },
    ]);
    let knowledge = Knowledge::of([vulnrichment::compile(&zip).unwrap()]);
    assert_eq!(knowledge.enrich("CVE-2026-10000").ssvc.exploitation, Some(Exploitation::Active));
    assert_eq!(knowledge.enrich("CVE-2026-0001").ssvc.exploitation, Some(Exploitation::None));
}

#[test]
fn an_option_that_ssvc_does_not_have_is_refused() {
    assert!(vulnrichment::compile(record("CVE-2026-0001", "rampant").as_bytes()).is_err());
}

#[test]
fn what_anybody_else_writes_in_a_record_is_not_taken_for_cisa() {
    let forged = record("CVE-2026-0001", "active").replace("CISA-ADP", "somebody");
    let known = Knowledge::of([vulnrichment::compile(forged.as_bytes()).unwrap()]).enrich("CVE-2026-0001");
    assert_eq!((known.ssvc.exploitation, known.kev), (None, None));
}

#[test]
fn the_due_date_of_the_catalogue_counts_before_the_bare_day_of_vulnrichment() {
    let catalogue = r#"{"dateReleased":"2026-08-22T00:00:00Z","vulnerabilities":[{"cveID":"CVE-2026-0001","dateAdded":"2026-11-18","dueDate":"2026-12-09","knownRansomwareCampaignUse":"Known"}]}"#;
    let knowledge = Knowledge::of([
        kev::compile(catalogue.as_bytes()).unwrap(),
        vulnrichment::compile(record("CVE-2026-0001", "poc").as_bytes()).unwrap(),
    ]);
    let kev = knowledge.enrich("CVE-2026-0001").kev.unwrap();
    assert_eq!((kev.due, kev.ransomware), (Some(date(2026, 12, 9)), true));
}

#[test]
fn scores_come_with_the_model_and_day_of_their_own_file() {
    let file = "#model_version:v2025.03.14,score_date:2026-11-22T12:00:00+0000\ncve,epss,percentile\nCVE-2026-0001,0.00043,0.1\nCVE-2026-0002,1e-05,0.00002\n";
    let compiled = epss::compile(file.as_bytes()).unwrap();
    assert_eq!(compiled.meta.model.as_deref(), Some("v2025.03.14"));
    let knowledge = Knowledge::of([compiled]);
    let score = |cve: &str| knowledge.enrich(cve).epss.unwrap();
    assert_eq!((score("CVE-2026-0001").score_e5, score("CVE-2026-0001").percentile_e5), (43, 10_000));
    assert_eq!((score("CVE-2026-0002").score_e5, score("CVE-2026-0002").percentile_e5), (1, 2));
    assert_eq!(score("CVE-2026-0001").date, date(2026, 11, 22));
}

#[test]
fn a_finding_is_as_grave_as_the_worst_of_its_ids() {
    let table = "cve,cvss3_base\nCVE-2026-0001,5.0\nCVE-2026-0002,9.8\n";
    let scores = "#model_version:v1,score_date:2026-11-22T00:00:00Z\ncve,epss,percentile\nCVE-2026-0001,0.1,0.5\nCVE-2026-0002,0.9,0.9\n";
    let knowledge =
        Knowledge::of([cvss::compile(table.as_bytes()).unwrap(), epss::compile(scores.as_bytes()).unwrap()]);
    let facts = crate::world::bookworm(vec![crate::world::package("x", "1.0")]);
    let zip = crate::archive::of(&[crate::archive::record("DSA-1", "x", "2.0").replace(
        "\"modified\"",
        "\"published\":\"2024-02-29T13:00:00Z\",\"upstream\":[\"CVE-2026-0001\",\"CVE-2026-0002\"],\"severity\":[{\"type\":\"CVSS_V3\",\"score\":\"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H\"},{\"type\":\"Ubuntu\",\"score\":\"medium\"}],\"modified\"",
    )]);
    let advisories = stanch_feeds::osv::compile("Debian:12", &zip, &stanch_feeds::archive::Limits::default()).unwrap();
    let knowledge = knowledge.with([advisories]);
    let found = stanch_feeds::detect(&facts, &knowledge, facts.collected_at).findings.remove(0);
    assert_eq!(found.cvss_vectors.len(), 1, "a word is no vector");
    assert_eq!(found.since.published, Some("2024-02-29T00:00:00Z".parse().unwrap()), "the day it was published");
    let whole = knowledge.enrich_finding(&found);
    assert_eq!(whole.epss.unwrap().score_e5, 90_000);
    assert_eq!(whole.cvss.iter().map(|score| score.score_e1).max(), Some(100));
}
