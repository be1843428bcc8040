//! Components of PyPI, npm, crates.io and Maven: each by the advisories and in the order of its own ecosystem.

use proptest::prelude::*;
use stanch_feeds::archive::Limits;
use stanch_feeds::index::{Holds, Unclear};
use stanch_feeds::order::Order;
use stanch_feeds::{Detection, HostVerdict, Knowledge, detect, osv, vex};
use stanch_model::ecosystem;
use stanch_model::facts::{Component, HostFacts, Keeper, Manager};
use stanch_model::finding::{Finding, Verdict};

use crate::archive::of;
use crate::world::{bookworm, snapshot};

fn component(ecosystem: &str, kind: &str, name: &str, version: &str) -> Component {
    Component {
        ecosystem: ecosystem.to_owned(),
        name: name.to_owned(),
        version: version.to_owned(),
        purl: format!("pkg:{kind}/{}@{version}", name.replace(':', "/").replace("/@", "/%40")),
        source: None,
        keeper: None,
    }
}

fn inventory(components: Vec<Component>) -> HostFacts {
    HostFacts { components, ..bookworm(Vec::new()) }
}

fn judged(components: Vec<Component>, knowledge: &Knowledge) -> Detection {
    let facts = inventory(components);
    detect(&facts, knowledge, facts.collected_at)
}

/// Id, verdict and fixed version of each finding about one component, by the built-in snapshot.
fn real(ecosystem: &str, kind: &str, name: &str, version: &str) -> Vec<(String, Verdict, Option<String>)> {
    let findings = judged(vec![component(ecosystem, kind, name, version)], &snapshot()).findings;
    findings.into_iter().map(|finding| (finding.id, finding.verdict, finding.fixed_version)).collect()
}

fn fixed(id: &str, version: &str) -> (String, Verdict, Option<String>) {
    (id.to_owned(), Verdict::AffectedFixable, Some(version.to_owned()))
}

const LOG4J: &str = "org.apache.logging.log4j:log4j-core";

#[test]
fn log4shell_is_found_in_each_of_its_ranges_and_in_no_fixed_version() {
    for (version, fix) in [
        ("2.14.1", Some("2.15.0")),
        ("2.13.0", Some("2.15.0")),
        ("2.15.0-rc1", Some("2.15.0")),
        ("2.15.0", None),
        ("2.17.1", None),
        ("2.12.1", Some("2.12.2")),
        ("2.4", Some("2.12.2")),
        ("2.12.2", None),
        ("2.12.4", None),
        ("2.0-beta9", Some("2.3.1")),
        ("2.3.1", None),
    ] {
        let expected: Vec<_> = fix.map(|fix| fixed("GHSA-jfh8-c2jp-5v3q", fix)).into_iter().collect();
        assert_eq!(real("Maven", "maven", LOG4J, version), expected, "{version}");
    }
}

#[test]
fn a_component_gets_what_is_known_of_its_aliases() {
    let knowledge = snapshot();
    let detection = judged(vec![component("Maven", "maven", LOG4J, "2.14.1")], &knowledge);
    let [found] = detection.findings.as_slice() else { panic!("{detection:?}") };
    assert_eq!((found.package.as_str(), found.version.as_str()), (LOG4J, "2.14.1"));
    assert_eq!(found.binary, "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1");
    assert_eq!(found.aliases, ["CVE-2021-44228"]);
    assert_eq!(found.feed.as_ref().unwrap().name, "osv/Maven");
    assert_eq!(found.source_version, None);
    let known = knowledge.enrich_finding(found);
    assert!(known.kev.is_some() && known.cvss.iter().any(|score| score.score_e1 == 100), "{known:?}");
}

#[test]
fn lodash_and_others_of_npm_are_judged_by_semantic_versions() {
    assert_eq!(real("npm", "npm", "lodash", "4.17.20"), [fixed("GHSA-35jh-r3h4-6jhm", "4.17.21")]);
    assert_eq!(real("npm", "npm", "lodash", "4.17.21-rc.1"), [fixed("GHSA-35jh-r3h4-6jhm", "4.17.21")]);
    assert_eq!(real("npm", "npm", "lodash", "4.17.21"), []);
    for (version, fix) in [("7.5.1", "7.5.2"), ("6.3.0", "6.3.1"), ("5.7.1", "5.7.2")] {
        assert_eq!(real("npm", "npm", "semver", version), [fixed("GHSA-c2qf-rxjj-qqgw", fix)]);
    }
    assert_eq!(real("npm", "npm", "semver", "6.3.1"), []);
    assert_eq!(real("npm", "npm", "express", "5.0.0-beta.3"), [fixed("GHSA-qw6h-vgh9-j6wx", "5.0.0")]);
    assert_eq!(real("npm", "npm", "express", "4.20.0"), []);
}

#[test]
fn a_python_package_is_judged_by_the_range_its_version_lies_in() {
    let of =
        |version: &str| real("PyPI", "pypi", "urllib3", version).into_iter().find(|(id, ..)| id == "PYSEC-2023-192");
    assert_eq!(of("2.0.5"), Some(fixed("PYSEC-2023-192", "2.0.6")));
    assert_eq!(of("2.0.0"), Some(fixed("PYSEC-2023-192", "2.0.6")));
    assert_eq!(of("1.26.16"), Some(fixed("PYSEC-2023-192", "1.26.17")));
    assert_eq!(of("2.0.0rc1"), None, "a candidate of 2.0.0 comes before the range that begins with it");
    for version in ["1.26.17", "1.26.17.post1", "2.0.6", "2.1"] {
        assert_eq!(of(version), None, "{version}");
    }
    // The records of 2019 name their ranges in no order.
    let django = real("PyPI", "pypi", "django", "2.1.9");
    assert!(django.contains(&fixed("PYSEC-2019-10", "2.1.10")), "{django:?}");
    assert!(!django.iter().any(|(id, ..)| id == "PYSEC-2019-79"), "{django:?}");
}

#[test]
fn a_name_of_many_spellings_is_one() {
    assert_eq!(real("PyPI", "pypi", "jw-util", "2.2"), [fixed("PYSEC-2020-341", "2.3")]);
}

#[test]
fn what_names_no_fix_is_unfixed() {
    assert_eq!(real("PyPI", "pypi", "py", "1.11.0"), [("PYSEC-2022-42969".to_owned(), Verdict::AffectedUnfixed, None)]);
    assert_eq!(real("PyPI", "pypi", "py", "1.11.1"), []);
    assert_eq!(real("PyPI", "pypi", "gratient", "0.5"), [("PYSEC-2024-1".to_owned(), Verdict::AffectedUnfixed, None)]);
    assert_eq!(real("PyPI", "pypi", "gratient", "0.6"), []);
}

#[test]
fn a_crate_is_judged_by_rustsec_and_a_notice_is_told_from_a_vulnerability() {
    assert_eq!(
        real("crates.io", "cargo", "smallvec", "1.6.0"),
        [fixed("RUSTSEC-2021-0003", "1.6.1")],
        "not those of 0.6, of which one range ends at 0.6.14"
    );
    assert_eq!(real("crates.io", "cargo", "smallvec", "1.6.1"), []);
    let tokio = real("crates.io", "cargo", "tokio", "1.20.2");
    assert!(tokio.contains(&fixed("RUSTSEC-2023-0001", "1.20.3")), "{tokio:?}");
    let findings = judged(vec![component("crates.io", "cargo", "hyper", "0.14.11")], &snapshot()).findings;
    let doubt = findings.iter().find(|finding| finding.id == "RUSTSEC-2022-0022").unwrap().doubt.clone();
    assert_eq!(doubt.as_deref(), Some("the database lists it for information, not as a vulnerability"));
}

/// A record about `a` with any parts.
fn record(ecosystem: &str, id: &str, parts: &str) -> String {
    format!(
        r#"{{"id":"{id}","modified":"2026-11-20T00:00:00Z","affected":[{{"package":{{"ecosystem":"{ecosystem}","name":"a"}},{parts}}}]}}"#
    )
}

fn ranges(events: &str) -> String {
    format!(r#""ranges":[{{"type":"ECOSYSTEM","events":{events}}}]"#)
}

fn knowledge(ecosystem: &str, records: &[String]) -> Knowledge {
    Knowledge::of([osv::compile(ecosystem, &of(records), &Limits::default()).unwrap()])
}

fn one(knowledge: &Knowledge, ecosystem: &str, version: &str) -> Option<Finding> {
    judged(vec![component(ecosystem, "x", "a", version)], knowledge).findings.pop()
}

#[test]
fn what_nobody_can_change_where_it_is_has_no_fix_there_and_says_who_owns_it() {
    let feed = knowledge("PyPI", &[record("PyPI", "A-1", &ranges(r#"[{"introduced":"0"},{"fixed":"2.0"}]"#))]);
    let at = |environment: &str, keeper| Component {
        purl: ecosystem::installed("pypi", "a", "1.0", environment),
        keeper: Some(keeper),
        ..component("PyPI", "pypi", "a", "1.0")
    };
    let why = "its environment has no pip";
    let both = vec![at("/opt/x", Keeper::Manager(Manager::Pip)), at("/opt/y", Keeper::Nobody(why.to_owned()))];
    let found = judged(both, &feed).findings;
    let [one, other] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((one.verdict, other.verdict), (Verdict::AffectedFixable, Verdict::AffectedUnfixed));
    assert!(other.reason.contains("2.0") && other.reason.ends_with(why), "{}", other.reason);
    assert_ne!(one.fingerprint, other.fingerprint, "the same version in two environments is two problems");
}

#[test]
fn packages_of_rpm_and_alpine_are_judged_by_their_own_or_their_sources_name_in_their_own_order() {
    let open = ranges(r#"[{"introduced":"0"},{"fixed":"1:3.0.7-28.el9"}]"#);
    let rocky = knowledge("Rocky Linux:9", &[record("Rocky Linux:9", "RLSA-1", &open)]);
    let rpm = |name: &str, source: &str, version: &str| Component {
        name: name.to_owned(),
        source: Some(source.to_owned()),
        purl: format!("pkg:rpm/rocky/{name}@{version}"),
        keeper: Some(Keeper::Nobody("dnf does".to_owned())),
        ..component("Rocky Linux:9", "rpm", name, version)
    };
    let found = |name, source, version| {
        let findings = judged(vec![rpm(name, source, version)], &rocky).findings;
        findings.into_iter().map(|finding| (finding.package, finding.fixed_version.unwrap())).collect::<Vec<_>>()
    };
    let expected = [("a".to_owned(), "1:3.0.7-28.el9".to_owned())];
    assert_eq!(found("a-libs", "a", "1:3.0.7-27.el9"), expected, "by its source");
    assert_eq!(found("a", "a", "1:3.0.7-28~rc1.el9"), expected, "once, though both names are the same");
    assert_eq!(found("a", "b", "1:3.0.7-9.el9"), [("b".to_owned(), "1:3.0.7-28.el9".to_owned())], "by its own name");
    assert_eq!(found("a-libs", "a", "1:3.0.7-28.el9"), []);
    assert_eq!(found("a-libs", "a", "2:1-1"), []);
    let open = ranges(r#"[{"introduced":"0"},{"fixed":"3.1.4-r10"}]"#);
    let alpine = knowledge("Alpine:v3.19", &[record("Alpine:v3.19", "CVE-1", &open)]);
    let of = |version| judged(vec![component("Alpine:v3.19", "apk", "a", version)], &alpine).findings.len();
    assert_eq!((of("3.1.4-r9"), of("3.1.4_rc1-r11"), of("3.1.4-r10")), (1, 1, 0));
}

#[test]
fn a_version_that_is_none_is_unknown_with_the_reason_and_never_clean() {
    let open = ranges(r#"[{"introduced":"0"}]"#);
    for (ecosystem, version, why) in [
        ("PyPI", "2004d", "`2004d` is not a Python version (PEP 440): it does not follow the scheme"),
        ("npm", "latest", "`latest` is not a semantic version: "),
        ("crates.io", "1.2.3.4", "`1.2.3.4` is not a semantic version: "),
        ("npm", "99999999999999999999999.0.0", "a number in it is too large"),
        ("Maven", "${project.version}", "it has characters that Maven does not take"),
    ] {
        let feed = knowledge(ecosystem, &[record(ecosystem, "A-1", &open)]);
        let found = one(&feed, ecosystem, version).unwrap();
        assert_eq!(found.verdict, Verdict::Unknown);
        assert!(found.reason.contains(why) && found.reason.contains("A-1"), "{}", found.reason);
        let verdict = judged(vec![component(ecosystem, "x", "a", version)], &feed).verdict();
        assert!(matches!(verdict, HostVerdict::CannotSay(_)), "{verdict:?}");
    }
}

#[test]
fn versions_of_any_size_are_bounded() {
    let feed = knowledge("PyPI", &[record("PyPI", "A-1", &ranges(r#"[{"introduced":"0"},{"fixed":"2"}]"#))]);
    assert_eq!(one(&feed, "PyPI", &"1.".repeat(1 << 20)).unwrap().verdict, Verdict::Unknown);
    assert_eq!(one(&feed, "PyPI", &"9".repeat(256)), None, "a number of 256 digits is above 2");
    assert_eq!(one(&feed, "PyPI", &format!("1.{}", "9".repeat(254))).unwrap().verdict, Verdict::AffectedFixable);
    let long = record("PyPI", "A-1", &ranges(&format!(r#"[{{"introduced":"0"}},{{"fixed":"{}"}}]"#, "9".repeat(257))));
    assert!(osv::compile("PyPI", &of(&[long]), &Limits::default()).is_err());
}

#[test]
fn a_range_with_a_turn_that_is_no_version_is_unknown_unless_another_holds() {
    let odd = r#"[{"introduced":"0"},{"fixed":"banana"},{"introduced":"3"},{"fixed":"4"}]"#;
    let sound = r#"[{"introduced":"1.5"},{"fixed":"2"}]"#;
    let feed = knowledge(
        "npm",
        &[record(
            "npm",
            "A-1",
            &format!(r#""ranges":[{{"type":"SEMVER","events":{odd}}},{{"type":"SEMVER","events":{sound}}}]"#),
        )],
    );
    let unknown = one(&feed, "npm", "3.1.0").unwrap();
    assert_eq!(unknown.verdict, Verdict::Unknown);
    assert_eq!(unknown.reason, "A-1 names no range of a that could be compared");
    assert_eq!(one(&feed, "npm", "1.9.0").unwrap().fixed_version.as_deref(), Some("2"));
}

#[test]
fn a_listed_version_counts_beside_the_ranges() {
    let feed = knowledge(
        "PyPI",
        &[record(
            "PyPI",
            "A-1",
            &format!(r#"{},"versions":["1.0","1.5","3.0","2004d"]"#, ranges(r#"[{"introduced":"1"},{"fixed":"2"}]"#)),
        )],
    );
    let verdict = |version| one(&feed, "PyPI", version).map(|found| (found.verdict, found.fixed_version));
    assert_eq!(verdict("1.5"), Some((Verdict::AffectedFixable, Some("2".to_owned()))));
    assert_eq!(verdict("3.0.0"), Some((Verdict::AffectedUnfixed, None)), "another spelling of a listed version");
    assert_eq!(verdict("2004d"), Some((Verdict::AffectedUnfixed, None)), "listed to the letter");
    assert_eq!(verdict("2004e").map(|(verdict, _)| verdict), Some(Verdict::Unknown));
    assert_eq!(verdict("3.1"), None);
}

#[test]
fn a_list_that_repeats_its_range_costs_nothing() {
    let plain = record("PyPI", "A-1", &ranges(r#"[{"introduced":"0"},{"fixed":"500"}]"#));
    let all: Vec<String> = (0..500).map(|major| format!("\"{major}.0\"")).collect();
    let listed = plain.replace(r#""ranges""#, &format!(r#""versions":[{}],"ranges""#, all.join(",")));
    let size = |record: &String| osv::compile("PyPI", &of(std::slice::from_ref(record)), &Limits::default()).unwrap();
    assert_eq!(size(&plain).bytes().len(), size(&listed).bytes().len());
}

#[test]
fn a_withdrawn_advisory_never_matches() {
    let record = record("npm", "A-1", &ranges(r#"[{"introduced":"0"}]"#));
    let withdrawn = record
        .replace("\"A-1\"", "\"A-2\"")
        .replace("\"affected\"", r#""withdrawn":"2026-01-01T00:00:00Z","affected""#);
    let feed = knowledge("npm", &[record, withdrawn]);
    assert_eq!(one(&feed, "npm", "1.0.0").unwrap().id, "A-1");
    assert_eq!(judged(vec![component("npm", "npm", "a", "1.0.0")], &feed).findings.len(), 1);
}

#[test]
fn the_same_name_in_two_ecosystems_is_two_components() {
    let feed = knowledge("npm", &[record("npm", "A-1", &ranges(r#"[{"introduced":"0"}]"#))]).with([osv::compile(
        "PyPI",
        &of(&[record("PyPI", "B-1", &ranges(r#"[{"introduced":"0"}]"#))]),
        &Limits::default(),
    )
    .unwrap()]);
    let both = vec![component("npm", "npm", "a", "1.0.0"), component("PyPI", "pypi", "a", "1.0.0")];
    let found: Vec<_> = judged(both, &feed).findings.into_iter().map(|found| (found.binary, found.id)).collect();
    assert_eq!(
        found,
        [("pkg:npm/a@1.0.0".to_owned(), "A-1".to_owned()), ("pkg:pypi/a@1.0.0".to_owned(), "B-1".to_owned())]
    );
}

#[test]
fn two_versions_of_one_component_are_two_findings() {
    let feed = knowledge("npm", &[record("npm", "A-1", &ranges(r#"[{"introduced":"0"},{"fixed":"2.0.0"}]"#))]);
    let both = ["1.0.0", "1.1.0", "2.0.0"].map(|version| component("npm", "npm", "a", version)).to_vec();
    let found = judged(both, &feed).findings;
    assert_eq!(found.iter().map(|found| found.version.as_str()).collect::<Vec<_>>(), ["1.0.0", "1.1.0"]);
    assert_ne!(found[0].fingerprint, found[1].fingerprint);
}

#[test]
fn an_ecosystem_without_a_feed_is_a_blind_spot_and_one_without_an_order_says_so() {
    let gem = component("RubyGems", "gem", "a", "1.0");
    let detection = judged(vec![gem.clone(), component("npm", "npm", "unheard-of", "1.0.0")], &snapshot());
    assert_eq!((detection.coverage.packages, detection.coverage.with_data, detection.coverage.without_feed), (2, 0, 1));
    assert!(detection.blind_spots.iter().any(|spot| spot == "advisories: no feed for RubyGems is at hand"));
    assert!(matches!(detection.verdict(), HostVerdict::CannotSay(_)));

    let feed = knowledge("RubyGems", &[record("RubyGems", "A-1", &ranges(r#"[{"introduced":"0"},{"fixed":"2.0"}]"#))]);
    let found = judged(vec![gem], &feed).findings.remove(0);
    assert_eq!(found.verdict, Verdict::Unknown);
    assert!(found.reason.ends_with("in which order its versions come is not known here"), "{}", found.reason);
}

#[test]
fn an_inventory_of_components_alone_is_clean_only_by_fresh_advisories_of_its_ecosystems() {
    let feed = knowledge("npm", &[record("npm", "A-1", &ranges(r#"[{"introduced":"0"},{"fixed":"2.0.0"}]"#))]);
    let mut facts = inventory(vec![component("npm", "npm", "a", "2.0.0")]);
    facts.collected_at = "2026-11-20T06:00:00Z".parse().unwrap();
    let spots = |facts: &HostFacts| detect(facts, &feed, facts.collected_at).blind_spots;
    assert!(!spots(&facts).iter().any(|spot| spot.starts_with("advisories") || spot.starts_with("support")));
    facts.collected_at = "2026-11-22T06:00:00Z".parse().unwrap();
    assert!(spots(&facts).iter().any(|spot| spot.starts_with("advisories: osv/npm is stale")));
}

#[test]
fn a_statement_clears_exactly_its_component_and_version() {
    let statement = |purl: &str| {
        let document = format!(
            r#"{{"@context":"https://openvex.dev/ns/v0.2.0","@id":"https://a.example/1","author":"A","timestamp":"2026-11-01T00:00:00Z","version":1,
            "statements":[{{"vulnerability":{{"name":"CVE-2021-44228"}},"products":[{{"@id":"{purl}"}}],"status":"not_affected","justification":"vulnerable_code_not_present"}}]}}"#
        );
        vex::compile(document.as_bytes()).unwrap()
    };
    let verdict = |purl: &str| {
        let knowledge = snapshot().with([statement(purl)]);
        judged(vec![component("Maven", "maven", LOG4J, "2.14.1")], &knowledge).findings[0].verdict
    };
    assert_eq!(verdict("pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1?type=jar"), Verdict::NotAffected);
    for other in [
        "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.0",
        "pkg:maven/org.apache.logging.log4j/log4j-core",
        "pkg:npm/log4j-core@2.14.1",
    ] {
        assert_eq!(verdict(other), Verdict::AffectedFixable, "{other}");
    }
}

/// Versions of an ecosystem, above the `0` that stands for the first of all.
fn version(ecosystem: &str) -> impl Strategy<Value = String> + use<> {
    match ecosystem {
        "PyPI" => "[1-3](\\.[0-2])?(a1|b2|rc1|\\.post1|\\.dev1)?",
        "Maven" => "[1-3](\\.[0-2]){0,2}(-alpha-1|-rc1|-1|\\.Final|-SNAPSHOT)?",
        _ => "[1-3]\\.[0-2]\\.[0-2](-alpha|-rc\\.[12])?",
    }
}

fn world() -> impl Strategy<Value = (&'static str, Vec<(u8, String)>, String)> {
    prop::sample::select(vec!["PyPI", "npm", "crates.io", "Maven"]).prop_flat_map(|ecosystem| {
        let turns = prop::collection::vec((0_u8..3, version(ecosystem)), 1..7);
        (Just(ecosystem), turns, version(ecosystem))
    })
}

/// Whether a version is affected, straight from the definition of OSV: events in order, the last one passed decides.
fn by_definition(order: Order, events: &[(u8, String)], version: &str) -> bool {
    let mut sorted = events.to_vec();
    sorted.sort_by(|a, b| order.compare(&a.1, &b.1).unwrap());
    let passed = |at: &str| order.compare(version, at).unwrap();
    sorted.iter().fold(false, |affected, (kind, at)| match kind {
        0 if passed(at).is_ge() => true,
        1 if passed(at).is_ge() => false,
        2 if passed(at).is_gt() => false,
        _ => affected,
    })
}

proptest! {
    #[test]
    fn a_range_of_any_ecosystem_holds_what_its_definition_says((ecosystem, mut events, installed) in world()) {
        let order = Order::of(ecosystem);
        // Of two turns at one version OSV says nothing.
        events.sort_by(|a, b| order.compare(&a.1, &b.1).unwrap());
        events.dedup_by(|a, b| order.compare(&a.1, &b.1).unwrap().is_eq());
        let json: Vec<String> = events
            .iter()
            .rev()
            .map(|(kind, at)| format!("{{\"{}\":\"{at}\"}}", ["introduced", "fixed", "last_affected"][usize::from(*kind)]))
            .collect();
        let feed = knowledge(ecosystem, &[record(ecosystem, "A-1", &ranges(&format!("[{}]", json.join(","))))]);
        let (index, _) = feed.index(ecosystem).unwrap();
        let found = index.matching("a", &installed).first().map(|found| found.holds);
        // A range without a beginning holds nothing.
        if events.iter().any(|(kind, _)| *kind == 0) {
            prop_assert_eq!(found.is_some(), by_definition(order, &events, &installed), "{:?}", found);
        } else {
            prop_assert_eq!(found, Some(Holds::Unknown(Unclear::Range)));
        }
        if let Some(Holds::Until(fixed)) = found {
            prop_assert!(order.compare(&installed, fixed).unwrap().is_lt(), "a fix is always newer than what it fixes");
        }
    }

    #[test]
    fn any_version_of_any_ecosystem_is_judged(ecosystem in prop::sample::select(vec!["PyPI", "npm", "crates.io", "Maven", "Go", "RubyGems"]), turn in ".{1,12}", installed in ".{0,12}") {
        let turn = serde_json::to_string(&turn).unwrap();
        let events = format!(r#"[{{"introduced":"0"}},{{"fixed":{turn}}}]"#);
        if let Ok(compiled) = osv::compile(ecosystem, &of(&[record(ecosystem, "A-1", &ranges(&events))]), &Limits::default()) {
            let feed = Knowledge::of([compiled]);
            let (index, _) = feed.index(ecosystem).unwrap();
            let found = index.matching("a", &installed).first().map(|found| found.holds);
            if index.order().read(&installed).is_err() {
                prop_assert_eq!(found, Some(Holds::Unknown(Unclear::Version)));
            }
        }
    }
}
