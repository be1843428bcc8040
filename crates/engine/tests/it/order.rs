//! The shipped order is useful where most findings have no KEV entry, no score and no EPSS.

use std::fmt::Write as _;

use stanch_engine::{AssessInput, Index, assess, by_urgency, explain_rank, group};
use stanch_model::assessment::Assessment;
use stanch_model::asset::Asset;
use stanch_model::facts::{HostFacts, Known};
use stanch_model::finding::{Detector, Finding, Verdict};

use crate::world::{facts, finding, host, kev, now, package, server_findings, socket};

/// The server's findings, with the uploads of the security pocket that no advisory names.
fn findings(asset: &Asset) -> Vec<Finding> {
    let mut findings = server_findings(asset);
    for (source, binary) in
        [("openssh", "openssh-server"), ("openssh", "openssh-client"), ("tzdata", "tzdata"), ("unzip", "unzip")]
    {
        findings.push(finding(
            asset,
            Detector::SecurityOrigin,
            "security-update",
            source,
            binary,
            Verdict::AffectedFixable,
        ));
    }
    findings
}

fn ordered(asset: &Asset, facts: Option<&HostFacts>, findings: &[Finding]) -> Vec<(String, Assessment)> {
    let index = Index::new(findings);
    let mut assessed: Vec<(String, Assessment)> = group(&asset.id, findings)
        .items
        .iter()
        .map(|item| {
            let input = AssessInput {
                item,
                members: &index.members(item),
                asset,
                facts,
                dependents: 0,
                first_seen: now(),
                feeds: &[],
                enrich: &|id| (id == "CVE-2023-44487").then(|| kev("2023-10-10")),
            };
            (item.subject.name().to_owned(), assess(&input, now()))
        })
        .collect();
    assessed.sort_by(|a, b| by_urgency(&a.1, &b.1));
    assessed
}

fn shown(order: &[(String, Assessment)]) -> String {
    order.iter().fold(String::new(), |mut text, (name, assessment)| {
        writeln!(text, "{name:18} {}", assessment.reason).unwrap();
        text
    })
}

#[test]
fn a_package_list_alone_is_ordered_by_what_the_packages_are() {
    let asset = host();
    let findings = findings(&asset);
    let order = ordered(&asset, None, &findings);
    insta::assert_snapshot!("package_list", shown(&order));
    assert_eq!(order[0].0, "nginx", "the only one listed in KEV");
    let place = |name: &str| order.iter().position(|(other, _)| other == name).unwrap();
    assert!(place("bind9") < 6 && place("openssh") < 12 && place("openssl") < 14);
    assert_eq!(place("tzdata"), order.len() - 1);
}

#[test]
fn a_running_host_is_ordered_by_what_listens() {
    let asset = host();
    let findings = findings(&asset);
    let mut facts = facts(&asset);
    for finding in &findings {
        if !facts.packages.iter().any(|package| package.name == finding.binary) {
            facts.packages.push(package(&finding.binary, &finding.package));
        }
    }
    facts.sockets = Known::Known(vec![
        socket("0.0.0.0", 80, "nginx"),
        socket("::", 22, "openssh-server"),
        socket("0.0.0.0", 53, "bind9"),
        socket("127.0.0.1", 5432, "postgresql-15"),
    ]);
    let order = ordered(&asset, Some(&facts), &findings);
    insta::assert_snapshot!("running_host", shown(&order[..8]));
    let names: Vec<&str> = order.iter().map(|(name, _)| name.as_str()).take(4).collect();
    assert_eq!(names, ["nginx", "bind9", "openssh", "postgresql-15"]);
}

#[test]
fn every_part_of_a_rank_can_be_told() {
    let asset = host();
    let findings = findings(&asset);
    let order = ordered(&asset, None, &findings);
    insta::assert_snapshot!("explained", explain_rank(&order[0].1).join("\n"));
    for (name, assessment) in &order {
        assert_eq!(explain_rank(assessment).len(), assessment.rank.len(), "{name}");
    }
}
