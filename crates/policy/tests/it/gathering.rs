//! Facts from the nouns: what is known is told in the words of the table, what is not is left out.

use jiff::{SignedDuration, Timestamp};
use stanch_model::assessment::{
    Assessment, BodDeadline, CoordinatorPriority, Cvss, DeployerPriority, Enrichment, Epss, Kev, MemberReason,
};
use stanch_model::asset::{Asset, AssetKind};
use stanch_model::finding::{Detector, FeedRef, Finding, OcsfClass, Verdict, fingerprint};
use stanch_model::item::{Subject, WorkItem, item_id};
use stanch_model::plan::{Disruption, Reversibility};
use stanch_policy::facts::Value;
use stanch_policy::{ActionFacts, Facts, Known, Place};

use crate::world::{NOW, now};

struct World {
    asset: Asset,
    item: WorkItem,
    finding: Finding,
    assessment: Assessment,
}

fn world() -> World {
    let asset = Asset::unlabelled(AssetKind::Host, "m", "web-1");
    let subject = Subject::SourcePackage { source: "openssl".to_owned() };
    let fingerprint = fingerprint(&asset.id, Detector::Advisory, "DEBIAN-CVE-2026-1", "libssl3");
    let item = WorkItem {
        id: item_id(&asset.id, &subject),
        asset: asset.id.clone(),
        subject,
        findings: vec![fingerprint.clone()],
    };
    let finding = Finding {
        fingerprint: fingerprint.clone(),
        asset: asset.id.clone(),
        class: OcsfClass::Vulnerability,
        detector: Detector::Advisory,
        id: "DEBIAN-CVE-2026-1".to_owned(),
        aliases: vec!["CVE-2026-1".to_owned()],
        package: "openssl".to_owned(),
        binary: "libssl3".to_owned(),
        version: "1".to_owned(),
        source_version: None,
        fixed_version: Some("2".to_owned()),
        verdict: Verdict::AffectedFixable,
        reason: "because".to_owned(),
        cvss_vectors: Vec::new(),
        doubt: None,
        feed: None,
        since: stanch_model::finding::Since::default(),
    };
    let member = MemberReason {
        finding: fingerprint,
        id: "CVE-2026-1".to_owned(),
        enrichment: Enrichment::default(),
        deployer: DeployerPriority::OutOfCycle,
        coordinator: CoordinatorPriority::TrackStar,
        bod: BodDeadline::Days3Forensics,
        assumed: Vec::new(),
        reason: "because".to_owned(),
    };
    let assessment = Assessment {
        item: item.id.clone(),
        at: now(),
        deployer: DeployerPriority::OutOfCycle,
        coordinator: CoordinatorPriority::TrackStar,
        bod: BodDeadline::Days3Forensics,
        due: Some(Timestamp::from_second(NOW - 1).unwrap()),
        exposure: None,
        tier: None,
        dependents: 0,
        reason: "because".to_owned(),
        members: vec![member],
        feeds: Vec::new(),
        rank: Vec::new(),
    };
    World { asset, item, finding, assessment }
}

fn gather(world: &World, action: Option<&ActionFacts>) -> Facts {
    let findings = [&world.finding];
    let known = Known {
        asset: &world.asset,
        item: &world.item,
        findings: &findings,
        assessment: Some(&world.assessment),
        action,
        first_seen: Some(Timestamp::from_second(NOW - 2 * 86_400 - 5).unwrap()),
        stale: Some(false),
        place: Place::default(),
        offered_at: Some(now().checked_sub(SignedDuration::from_hours(50)).unwrap()),
        block: None,
        updaters: Some(&[]),
        groups: None,
    };
    Facts::gather(&known, now())
}

fn told(facts: &Facts) -> String {
    facts.known().map(|(fact, value)| format!("{} = {value}\n", fact.path)).collect()
}

#[test]
fn what_no_source_gives_is_unknown_and_not_nought() {
    let facts = gather(&world(), None);
    insta::assert_snapshot!(told(&facts));
    for path in ["item.kev", "item.epss", "item.cvss", "item.severity", "asset.tier", "asset.own", "action.kind"] {
        assert!(facts.get(path).is_none(), "{path}");
    }
}

#[test]
fn what_the_feeds_and_the_catalogue_say_is_told_in_the_words_of_the_table() {
    let mut world = world();
    let day = "2026-01-02".parse().unwrap();
    world.assessment.members[0].enrichment = Enrichment {
        kev: Some(Kev { added: day, due: None, ransomware: true }),
        epss: Some(Epss { score_e5: 93_210, percentile_e5: 99_000, model: "v4".to_owned(), date: day }),
        cvss: vec![Cvss {
            version: "3.1".to_owned(),
            score_e1: 89,
            vector: None,
            nomenclature: "base".to_owned(),
            source: "nvd".to_owned(),
        }],
        ..Enrichment::default()
    };
    let action = ActionFacts {
        kind: "package.upgrade".to_owned(),
        disruption: Some(Disruption::SessionLoss),
        reversibility: Some(Reversibility::OneWay),
        success_e5: Some(98_500),
        verified_runs: Some(u64::MAX),
        ..ActionFacts::default()
    };
    let facts = gather(&world, Some(&action));
    let value = |path: &str| facts.get(path).unwrap().to_string();
    assert_eq!(value("item.kev"), "true");
    assert_eq!((value("item.epss"), value("item.cvss")), ("0.9321".to_owned(), "8.9".to_owned()));
    assert_eq!(facts.get("item.severity"), Some(&Value::Text("high".to_owned())));
    assert_eq!(value("action.disruption"), "\"session_loss\"");
    assert_eq!(value("action.reversibility"), "\"one_way\"");
    assert_eq!(value("action.success_rate"), "0.985");
    assert_eq!(value("action.verified_runs"), "1000000000");
}

#[test]
fn a_setting_has_the_severity_and_the_caution_of_its_check() {
    let mut world = world();
    world.item.subject = Subject::Setting { check: "ssh-root-login".to_owned() };
    world.finding.id = "stanch/posture/ssh-root-login".to_owned();
    world.finding.aliases.clear();
    world.finding.detector = Detector::Posture;
    world.finding.class = OcsfClass::Compliance;
    let facts = gather(&world, None);
    let text = |path: &str| facts.get(path).unwrap().to_string();
    assert_eq!((text("item.kind"), text("item.severity")), ("\"setting\"".to_owned(), "\"high\"".to_owned()));
    assert_eq!((text("item.caution"), text("item.confidence")), ("true".to_owned(), "100".to_owned()));
    assert!(facts.get("item.cvss").is_none());
}

#[test]
fn not_on_the_list_is_a_no_only_where_the_list_was_at_hand() {
    let mut world = world();
    assert!(gather(&world, None).get("item.kev").is_none());
    world.assessment.feeds.push(FeedRef { name: "kev".to_owned(), dated: None, snapshot: true });
    assert_eq!(gather(&world, None).get("item.kev"), Some(&Value::Bool(false)));
}

#[test]
fn a_doubt_about_the_data_halves_the_confidence() {
    let mut world = world();
    world.finding.doubt = Some("the fix is dated before the release".to_owned());
    assert_eq!(gather(&world, None).get("item.confidence"), Some(&Value::Int(47)));
}
