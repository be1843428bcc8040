//! SARIF 2.1.0, for code hosts and dashboards that read it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stanch_model::finding::{Detector, Finding, Verdict};
use stanch_model::posture;

use super::report::{Report, best_cvss, encode, is_component};

/// One run with one rule an id and one result a finding.
pub(crate) fn document(report: &Report) -> Value {
    let members = report.members();
    let mut rules: BTreeMap<&str, Value> = BTreeMap::new();
    let mut results = Vec::new();
    for finding in &report.findings {
        let score = members.get(&finding.fingerprint).and_then(|member| best_cvss(member)).map(|cvss| cvss.score_e1);
        rules.entry(finding.id.as_str()).or_insert_with(|| {
            let mut rule = json!({
                "id": finding.id,
                "name": finding.detector.name(),
                "shortDescription": {"text": format!("{} in {}", finding.id, finding.package)},
                "properties": {"tags": ["security", finding.detector.name()], "aliases": finding.aliases},
            });
            if let (Some(score), Some(properties)) = (score, rule.get_mut("properties").and_then(Value::as_object_mut))
            {
                properties.insert("security-severity".into(), format!("{}.{}", score / 10, score % 10).into());
            }
            rule
        });
        results.push(result(report, finding, score));
    }
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "Stanch",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.into_values().collect::<Vec<_>>(),
            }},
            "invocations": [{
                "executionSuccessful": true,
                "startTimeUtc": report.at.to_string(),
                "toolExecutionNotifications": report.unknown.iter()
                    .map(|text| json!({"level": "note", "message": {"text": text}})).collect::<Vec<_>>(),
            }],
            "results": results,
        }],
    })
}

fn result(report: &Report, finding: &Finding, score: Option<u8>) -> Value {
    let place = match posture::find(&finding.id).filter(|_| finding.detector == Detector::Posture) {
        // A setting is in no file alone: its name says where it is.
        Some(check) => json!([{"logicalLocations": [{"fullyQualifiedName": check.setting(), "kind": "resource"}]}]),
        None => json!([{
            "physicalLocation": {"artifactLocation": artifact(report, finding)},
            "logicalLocations": [{"fullyQualifiedName": report.purl(finding), "kind": "package"}],
        }]),
    };
    json!({
        "ruleId": finding.id,
        "kind": if finding.verdict == Verdict::NotAffected { "notApplicable" } else { "fail" },
        "level": level(finding, score),
        "message": {"text": finding.reason},
        "locations": place,
        "partialFingerprints": {"stanch/finding/v2": finding.fingerprint},
        "properties": {
            "verdict": finding.verdict.name(),
            "detector": finding.detector.name(),
            "package": finding.package,
            "binary": finding.binary,
            "version": finding.version,
            "fixedVersion": finding.fixed_version,
        },
    })
}

/// Where the finding's package is written down: in dpkg's list, or in the inventory that names a component.
fn artifact(report: &Report, finding: &Finding) -> Value {
    if is_component(finding) {
        json!({"uri": encode(&report.asset.name)})
    } else {
        json!({"uri": "var/lib/dpkg/status", "uriBaseId": "ROOT"})
    }
}

/// SARIF wants a level; without a score it is `warning`, never a guess at severity.
fn level(finding: &Finding, score: Option<u8>) -> &'static str {
    match (finding.verdict, score) {
        (Verdict::NotAffected, _) => "none",
        (_, Some(70..)) => "error",
        (_, Some(1..=39)) => "note",
        _ => "warning",
    }
}
