//! Copies of libraries inside files of a host: found out by advisories of their own worlds.

use jiff::Timestamp;
use stanch_feeds::{Detection, Knowledge, carried, changes, detect, osv, upstream, vex};
use stanch_model::facts::{Bundle, Copied, Evidence, HostFacts};
use stanch_model::finding::{Detector, Finding, Verdict};

use crate::archive::{Entry, deflated};
use crate::world::{bookworm, package, snapshot};

/// A record with what its publishers said of versions.
pub(crate) fn record(cve: &str, cna: &str, adp: &str) -> String {
    format!(
        r#"{{"dataType":"CVE_RECORD","dataVersion":"5.1",
        "cveMetadata":{{"cveId":"{cve}","state":"PUBLISHED","datePublished":"2024-09-03T15:58:06.970Z","dateUpdated":"2026-11-23T10:00:00.000Z"}},
        "containers":{{"cna":{{"providerMetadata":{{"shortName":"vendor"}},"affected":[{cna}]}},
        "adp":[{{"title":"CVE Program Container","references":[]}},{{"title":"CISA ADP Vulnrichment","affected":[{adp}]}}]}}}}"#
    )
}

/// What the records of four known problems say, as their publishers wrote it.
fn records() -> Vec<String> {
    let openssl = |versions: &str| {
        format!(r#"{{"defaultStatus":"unaffected","product":"OpenSSL","vendor":"OpenSSL","versions":[{versions}]}}"#)
    };
    let type_confusion = openssl(
        r#"{"lessThan":"3.0.8","status":"affected","version":"3.0.0","versionType":"semver"},
        {"lessThan":"1.1.1t","status":"affected","version":"1.1.1","versionType":"custom"},
        {"lessThan":"1.0.2zg","status":"affected","version":"1.0.2","versionType":"custom"}"#,
    );
    let name_checks = openssl(
        r#"{"status":"affected","version":"3.3.0","lessThan":"3.3.2","versionType":"semver"},
        {"status":"affected","version":"3.0.0","lessThan":"3.0.15","versionType":"semver"}"#,
    );
    let by_cisa = r#"{"cpes":["cpe:2.3:a:openssl:openssl:*:*:*:*:*:*:*:*"],"vendor":"openssl","product":"openssl",
        "versions":[{"status":"affected","version":"0","lessThan":"9","versionType":"custom"}],"defaultStatus":"unknown"}"#;
    let socks = r#"{"vendor":"curl","product":"curl","versions":[
        {"version":"8.4.0","status":"affected","lessThan":"8.4.0","versionType":"semver"},
        {"version":"7.69.0","status":"unaffected","lessThan":"7.69.0","versionType":"semver"}]}"#;
    let nobody = r#"{"vendor":"n/a","product":"n/a","versions":[{"status":"affected","version":"n/a"}]}"#;
    let expat = r#"{"cpes":["cpe:2.3:a:libexpat_project:libexpat:*:*:*:*:*:*:*:*"],"vendor":"libexpat_project",
        "product":"libexpat","versions":[{"status":"affected","version":"0","lessThan":"2.6.3","versionType":"custom"}]}"#;
    vec![
        record("CVE-2023-0286", &type_confusion, ""),
        // Where whoever assigned the id tells ranges, nobody else is asked.
        record("CVE-2024-6119", &name_checks, by_cisa),
        record("CVE-2023-38545", socks, ""),
        record("CVE-2024-45490", nobody, expat),
        record("CVE-2024-0001", nobody, ""),
    ]
}

fn knowledge(records: &[String]) -> Knowledge {
    let names: Vec<String> = (0..records.len()).map(|at| format!("vulnrichment-develop/CVE-{at}.json")).collect();
    let entries: Vec<Entry<'_>> =
        names.iter().zip(records).map(|(name, text)| Entry { name, content: text.as_bytes() }).collect();
    Knowledge::of([upstream::compile(&deflated(&entries)).unwrap().unwrap()])
}

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn host(evidence: Evidence, copies: &[(&str, &str)]) -> HostFacts {
    let copy = |(name, version): &(&str, &str)| Copied {
        name: (*name).to_owned(),
        version: (*version).to_owned(),
        said: (evidence == Evidence::Text).then(|| format!("{name} {version}")),
    };
    let mut facts = bookworm(vec![package("bash", "5.2.15-2")]);
    facts.bundles = vec![Bundle {
        path: "/opt/x/tool".to_owned(),
        evidence,
        carrier: None,
        copies: copies.iter().map(copy).collect(),
    }];
    facts
}

fn copies_found(detection: &Detection) -> Vec<&Finding> {
    detection.findings.iter().filter(|one| one.binary.contains("?inside=")).collect()
}

/// What is found of one copy: each problem with the first version without it.
fn found(facts: &HostFacts, knowledge: &Knowledge) -> Vec<String> {
    let detection = detect(facts, knowledge, now());
    let one = |one: &&Finding| format!("{} {}", one.id, one.fixed_version.as_deref().unwrap_or("-"));
    copies_found(&detection).iter().map(one).collect()
}

#[test]
fn copies_of_libraries_are_judged_by_what_cve_records_say_of_versions() {
    let knowledge = knowledge(&records());
    let of = |name: &str, version: &str| found(&host(Evidence::Text, &[(name, version)]), &knowledge);
    assert_eq!(of("openssl", "3.0.7"), ["CVE-2023-0286 3.0.8", "CVE-2024-6119 3.0.15"]);
    assert_eq!(of("openssl", "3.0.8"), ["CVE-2024-6119 3.0.15"]);
    assert_eq!(of("openssl", "3.0.15"), [""; 0]);
    assert_eq!(of("openssl", "1.0.2zf"), ["CVE-2023-0286 1.0.2zg"]);
    assert_eq!(of("openssl", "1.0.2u"), ["CVE-2023-0286 1.0.2zg"]);
    assert_eq!(of("openssl", "1.0.2zg"), [""; 0]);
    assert_eq!(of("curl", "8.3.0"), ["CVE-2023-38545 8.4.0"]);
    assert_eq!(of("curl", "7.68.0"), [""; 0]);
    assert_eq!(of("curl", "8.4.0"), [""; 0]);
    assert_eq!(of("expat", "2.5.0"), ["CVE-2024-45490 2.6.3"]);
}

#[test]
fn a_finding_says_where_the_copy_lies_how_it_is_known_and_what_has_to_be_replaced() {
    let mut facts = host(Evidence::Text, &[("openssl", "3.0.8")]);
    facts.bundles[0].carrier = Some("pkg:pypi/cryptography@38.0.4?environment=/opt/x".to_owned());
    let detection = detect(&facts, &knowledge(&records()), now());
    let [finding] = copies_found(&detection)[..] else { panic!("{:?}", detection.findings) };
    assert_eq!((finding.verdict, finding.detector), (Verdict::AffectedUnfixed, Detector::Advisory));
    assert_eq!(finding.binary, "pkg:generic/openssl@3.0.8?inside=/opt/x/tool");
    assert_eq!(
        finding.reason,
        "openssl 3.0.8 is older than 3.0.15, the first version without it; it is a copy inside /opt/x/tool, its text \
         `openssl 3.0.8` says so; cryptography in /opt/x brought it and has to be replaced"
    );
    assert_eq!(finding.since.published.unwrap().to_string(), "2024-09-03T00:00:00Z");
}

#[test]
fn crates_and_modules_inside_programs_are_judged_by_their_own_ecosystems() {
    let crates = host(Evidence::CrateList, &[("smallvec", "1.6.0"), ("time", "0.3.47")]);
    assert_eq!(found(&crates, &snapshot()), ["RUSTSEC-2021-0003 1.6.1"]);
    let advisory = r#"{"id":"GO-2023-2102","modified":"2026-11-23T10:00:00Z","aliases":["CVE-2023-39325"],"affected":[
        {"package":{"name":"stdlib","ecosystem":"Go"},"ranges":[{"type":"SEMVER","events":[
            {"introduced":"0"},{"fixed":"1.20.10"},{"introduced":"1.21.0-0"},{"fixed":"1.21.3"}]}]},
        {"package":{"name":"golang.org/x/net","ecosystem":"Go"},"ranges":[{"type":"SEMVER","events":[
            {"introduced":"0"},{"fixed":"0.17.0"}]}]}]}"#;
    let knowledge = Knowledge::of([osv::compile_record("Go", advisory.as_bytes()).unwrap()]);
    let go = |copies: &[(&str, &str)]| found(&host(Evidence::GoBuildInfo, copies), &knowledge);
    assert_eq!(go(&[("golang.org/x/net", "0.16.0")]), ["GO-2023-2102 0.17.0"]);
    assert_eq!(go(&[("stdlib", "1.21.2")]), ["GO-2023-2102 1.21.3"]);
    assert_eq!(go(&[("golang.org/x/net", "0.17.0"), ("stdlib", "1.21.3"), ("stdlib", "1.20.10")]), [""; 0]);
}

#[test]
fn a_library_of_which_nobody_tells_versions_is_not_called_safe() {
    let facts = host(Evidence::Text, &[("libtiff", "4.5.0"), ("openssl", "3.0.20")]);
    let silent = |knowledge: &Knowledge| detect(&facts, knowledge, now()).blind_spots.join("\n");
    let known = silent(&knowledge(&records()));
    assert!(known.contains("no CVE record at hand names versions of libtiff: 1 copy not judged"), "{known}");
    assert!(!known.contains("openssl"), "{known}");
    let nothing = silent(&snapshot());
    assert!(nothing.contains("no CVE records that name versions of libraries are at hand"), "{nothing}");
    let vague = record(
        "CVE-2026-0001",
        r#"{"vendor":"libtiff","product":"libtiff","versions":[{"status":"affected","version":"all before the fix"}]}"#,
        "",
    );
    let detection = detect(&facts, &knowledge(&[vague]), now());
    let [finding] = copies_found(&detection)[..] else { panic!("{:?}", detection.findings) };
    assert_eq!(finding.verdict, Verdict::Unknown, "{}", finding.reason);
}

#[test]
fn a_statement_about_a_copy_clears_that_version_in_the_file_that_it_names() {
    let mut facts = host(Evidence::Text, &[("openssl", "3.0.8")]);
    facts.bundles.push(Bundle { path: "/opt/y/tool".to_owned(), ..facts.bundles[0].clone() });
    let open = |product: &str| {
        let statement = format!(
            r#"{{"@context":"https://openvex.dev/ns/v0.2.0","@id":"https://a.example/1","author":"A",
            "timestamp":"2026-11-01T00:00:00Z","version":1,"statements":[{{"vulnerability":{{"name":"CVE-2024-6119"}},
            "products":[{{"@id":"{product}"}}],"status":"not_affected",
            "justification":"vulnerable_code_not_in_execute_path"}}]}}"#
        );
        let knowledge = knowledge(&records()).with([vex::compile(statement.as_bytes()).unwrap()]);
        let detection = detect(&facts, &knowledge, now());
        let left = copies_found(&detection).into_iter().filter(|one| one.verdict == Verdict::AffectedUnfixed);
        left.map(|one| one.binary.rsplit_once('=').unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(open("pkg:generic/openssl@3.0.8"), [""; 0]);
    assert_eq!(open("pkg:generic/openssl@3.0.8?inside=/opt/x/tool"), ["/opt/y/tool"]);
    assert_eq!(open("pkg:generic/openssl@3.0.9"), ["/opt/x/tool", "/opt/y/tool"]);
}

#[test]
fn records_of_others_give_no_feed_and_a_rejected_one_says_nothing() {
    let nobody = record("CVE-2026-0001", r#"{"vendor":"n/a","product":"n/a"}"#, "");
    assert!(upstream::compile(nobody.as_bytes()).unwrap().is_none());
    let rejected = records()[0].replace("PUBLISHED", "REJECTED");
    assert!(upstream::compile(rejected.as_bytes()).unwrap().is_none());
    assert!(upstream::compile(b"{}").is_err());
    let twice = deflated(&[
        Entry { name: "CVE-2023-0286.json", content: records()[0].as_bytes() },
        Entry { name: "again/CVE-2023-0286.json", content: records()[0].as_bytes() },
    ]);
    assert!(upstream::compile(&twice).is_err(), "which of them holds nobody can tell");
}

#[test]
fn a_folder_of_cve_records_gives_both_feeds() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("vulnrichment")).unwrap();
    std::fs::write(folder.path().join("vulnrichment/CVE-2023-0286.json"), &records()[0]).unwrap();
    let cache = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let knowledge = Knowledge::from_dir(folder.path(), Some(cache.path())).unwrap();
        let names: Vec<String> = knowledge.feeds(now()).into_iter().map(|feed| feed.meta.name).collect();
        assert_eq!(names, ["upstream", "vulnrichment"]);
    }
}

#[test]
fn a_new_record_leads_to_the_hosts_that_carry_a_copy() {
    let (old, new) = (knowledge(&records()[..1]), knowledge(&records()[..3]));
    let changes = changes(&old, &new, now());
    let touched = |name: &str| {
        let facts = host(Evidence::Text, &[(name, "1.0.0")]);
        carried(&facts).iter().any(|one| changes.packages.contains(&(one.ecosystem.clone(), one.name.clone())))
    };
    assert!(touched("openssl") && touched("curl") && !touched("expat"));
}
