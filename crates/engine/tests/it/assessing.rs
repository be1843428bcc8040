//! An assessment says what is known, what was assumed, and why.

use stanch_engine::{AssessInput, Index, assess, exposure, group};
use stanch_model::assessment::{
    Assessment, Automatable, BodDeadline, DeployerPriority, Enrichment, Epss, Exploitation, SsvcOptions,
    TechnicalImpact,
};
use stanch_model::asset::{Asset, ExposureLevel, ExposureSource, Tier};
use stanch_model::facts::{HostFacts, Known};
use stanch_model::finding::Finding;

use crate::world::{advisory, at, facts, host, kev, now, package, socket};

fn assess_one(
    asset: &Asset,
    facts: Option<&HostFacts>,
    findings: &[Finding],
    enrich: impl Fn(&str) -> Option<Enrichment>,
) -> Assessment {
    let item = group(&asset.id, findings).items.remove(0);
    let members = Index::new(findings).members(&item);
    let input = AssessInput {
        item: &item,
        members: &members,
        asset,
        facts,
        dependents: 0,
        first_seen: at("2026-11-20T00:00:00Z"),
        feeds: &[],
        enrich: &enrich,
    };
    assess(&input, now())
}

#[test]
fn a_listed_vulnerability_of_a_listening_service_says_so_and_has_a_date() {
    let asset = host();
    let mut facts = facts(&asset);
    facts.packages = vec![package("nginx", "nginx")];
    facts.sockets = Known::Known(vec![socket("0.0.0.0", 443, "nginx")]);
    let findings = [
        advisory(&asset, "DEBIAN-CVE-2023-44487", "nginx", "nginx"),
        advisory(&asset, "DEBIAN-CVE-2026-97205", "nginx", "nginx"),
    ];
    let got = assess_one(&asset, Some(&facts), &findings, |id| (id == "CVE-2023-44487").then(|| kev("2023-10-10")));
    assert_eq!(
        got.reason,
        "CVE-2023-44487 is listed in KEV since 2023-10-10, one upgrade for 2 ids, its own program listens on \
         0.0.0.0:443; due in 14 days (BOD 26-04)"
    );
    assert_eq!((got.deployer, got.bod), (DeployerPriority::OutOfCycle, BodDeadline::Days14));
    assert_eq!(got.due, Some(at("2026-12-04T00:00:00Z")), "counted from when it was first seen, not from now");
    assert_eq!(got.members[0].id, "CVE-2023-44487", "the worst member stands first");
    assert_eq!(got.members[1].bod, BodDeadline::NextUpgrade, "each member keeps its own outcome");
}

#[test]
fn every_missing_input_is_named_with_what_was_taken_instead() {
    let asset = host();
    let got = assess_one(&asset, None, &[advisory(&asset, "DEBIAN-CVE-2026-1", "jq", "jq")], |_| None);
    assert_eq!(
        got.members[0].assumed,
        [
            "exploitation: unknown, taken as none",
            "automatable: unknown, taken as no",
            "technical impact: unknown, taken as partial",
            "exposure: unknown, taken as controlled",
            "human impact and mission: tier unknown, taken as tier 1 (very high human impact, high mission)",
        ]
    );
    assert_eq!(got.exposure, None);
    assert_eq!((got.bod, got.due), (BodDeadline::NextUpgrade, None), "a gap sets no deadline");
}

/// What is not known is taken as what it may well be, not as the mildest.
#[test]
fn an_unknown_exposure_and_tier_count_in_the_outcome_as_they_are_told() {
    let asset = host();
    let worm = Enrichment {
        ssvc: SsvcOptions {
            exploitation: Some(Exploitation::PublicPoc),
            automatable: Some(Automatable::Yes),
            technical_impact: Some(TechnicalImpact::Partial),
        },
        ..Enrichment::default()
    };
    let of =
        |asset: &Asset| assess_one(asset, None, &[advisory(asset, "CVE-2026-1", "jq", "jq")], |_| Some(worm.clone()));
    assert_eq!(of(&asset).deployer, DeployerPriority::OutOfCycle, "controlled exposure, very high impact");
    let small = Asset { labels: [("exposure".to_owned(), "small".to_owned())].into(), ..asset.clone() };
    assert_eq!(of(&small).deployer, DeployerPriority::Scheduled);
    let minor = Asset { tier: Tier::try_from(4).ok(), ..asset };
    assert_eq!(of(&minor).deployer, DeployerPriority::Scheduled);
}

#[test]
fn nothing_that_says_less_takes_a_listing_back() {
    let asset = host();
    let listed = Enrichment {
        ssvc: SsvcOptions { exploitation: Some(Exploitation::None), ..SsvcOptions::default() },
        ..kev("2026-01-01")
    };
    let got = assess_one(&asset, None, &[advisory(&asset, "CVE-2026-1", "jq", "jq")], |_| Some(listed.clone()));
    assert_eq!(got.deployer, DeployerPriority::OutOfCycle);
}

#[test]
fn the_worst_of_each_table_decides_for_the_item() {
    let asset = Asset { tier: Tier::try_from(3).ok(), ..host() };
    let findings = [advisory(&asset, "CVE-2026-1", "jq", "jq"), advisory(&asset, "CVE-2026-2", "jq", "jq")];
    let ssvc = |exploitation, automatable, technical| Enrichment {
        ssvc: SsvcOptions {
            exploitation: Some(exploitation),
            automatable: Some(automatable),
            technical_impact: Some(technical),
        },
        ..Enrichment::default()
    };
    let got = assess_one(&asset, None, &findings, |id| {
        Some(match id {
            "CVE-2026-1" => ssvc(Exploitation::None, Automatable::Yes, TechnicalImpact::Total),
            _ => ssvc(Exploitation::Active, Automatable::No, TechnicalImpact::Partial),
        })
    });
    assert_eq!(got.bod, BodDeadline::Days60, "from the first");
    assert_eq!(got.deployer, DeployerPriority::Scheduled, "from the second");
    assert_eq!(got.due, Some(at("2027-01-19T00:00:00Z")));
}

#[test]
fn epss_is_shown_with_its_model_and_date_and_is_not_exploitation() {
    let asset = host();
    let scored = Enrichment {
        epss: Some(Epss {
            score_e5: 94_400,
            percentile_e5: 99_900,
            model: "v2025.03.14".to_owned(),
            date: "2026-08-22".parse().unwrap(),
        }),
        ..Enrichment::default()
    };
    let got = assess_one(&asset, None, &[advisory(&asset, "CVE-2026-1", "jq", "jq")], |_| Some(scored.clone()));
    assert_eq!(
        got.members[0].reason,
        "EPSS 0.944 (model v2025.03.14, 2026-08-22); scheduled (SSVC), BOD 26-04: with the next upgrade"
    );
    assert!(got.members[0].assumed[0].starts_with("exploitation: unknown"));
}

#[test]
fn exposure_comes_from_the_label_else_from_the_sockets() {
    let asset = host();
    let mut facts = facts(&asset);
    let of = |facts: &HostFacts, label: Option<&str>| {
        let mut asset = asset.clone();
        asset.labels.extend(label.map(|word| ("exposure".to_owned(), word.to_owned())));
        exposure(Some(facts), &asset.labels).map(|exposure| (exposure.level, exposure.source))
    };
    assert_eq!(of(&facts, None), Some((ExposureLevel::Small, ExposureSource::Sockets)), "nothing listens");
    facts.sockets = Known::Known(vec![socket("127.0.0.1", 5432, "postgresql-15"), socket("::", 22, "openssh-server")]);
    assert_eq!(of(&facts, None), Some((ExposureLevel::Controlled, ExposureSource::Sockets)));
    assert_eq!(of(&facts, Some("open")), Some((ExposureLevel::Open, ExposureSource::Label)));
    facts.sockets = Known::Unknown("needs root".to_owned());
    assert_eq!(of(&facts, None), None, "what could not be read is not `small`");
}
