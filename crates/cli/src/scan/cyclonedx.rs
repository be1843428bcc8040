//! CycloneDX 1.6 with vulnerabilities: an inventory and a VEX in one document.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stanch_model::canonical::Digest;
use stanch_model::finding::{Detector, Finding, Verdict};

use super::report::{Report, best_cvss, purl, severity};

/// The document. Its serial number is made of its content, so that the same scan gives the same document.
pub(crate) fn document(report: &Report) -> Value {
    let mut components: Vec<Value> = report
        .packages
        .iter()
        .map(|package| {
            let purl = purl(&report.os, &package.name, package.version.as_str(), &package.architecture);
            json!({
                "type": "library",
                "bom-ref": purl,
                "name": package.name,
                "version": package.version,
                "purl": purl,
                "properties": [
                    {"name": "stanch:source", "value": package.source},
                    {"name": "stanch:source_version", "value": package.source_version},
                ],
            })
        })
        .collect();
    components.extend(report.components.iter().map(|component| {
        json!({
            "type": "library",
            "bom-ref": component.purl,
            "name": component.name,
            "version": component.version,
            "purl": component.purl,
        })
    }));
    let mut by_id: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
    for finding in report.findings.iter().filter(|finding| finding.detector != Detector::Posture) {
        by_id.entry(&finding.id).or_default().push(finding);
    }
    let vulnerabilities: Vec<Value> =
        by_id.into_iter().flat_map(|(id, findings)| entries(report, id, &findings)).collect();
    let content = Digest::of_bytes(format!("{components:?}{vulnerabilities:?}{}", report.at).as_bytes());
    let subject = if report.packages.is_empty() && !report.components.is_empty() {
        json!({"type": "application", "name": report.asset.name})
    } else {
        json!({"type": "operating-system", "name": report.os.id, "version": report.os.version_id})
    };
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", uuid(&content)),
        "version": 1,
        "metadata": {
            "timestamp": report.at.to_string(),
            "tools": {"components": [{"type": "application", "name": "Stanch", "version": env!("CARGO_PKG_VERSION")}]},
            "component": subject,
        },
        "components": components,
        "vulnerabilities": vulnerabilities,
    })
}

/// One entry for each verdict an id has here: affected packages and excused ones are told apart.
fn entries(report: &Report, id: &str, findings: &[&Finding]) -> Vec<Value> {
    let members = report.members();
    let mut by_verdict: BTreeMap<Verdict, Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        by_verdict.entry(finding.verdict).or_default().push(finding);
    }
    let mut entries = Vec::new();
    for (verdict, findings) in by_verdict {
        let Some(first) = findings.first() else { continue };
        let ratings: Vec<Value> = members
            .get(&first.fingerprint)
            .and_then(|member| best_cvss(member))
            .map(|cvss| {
                json!({
                    "score": f64::from(cvss.score_e1) / 10.0,
                    "severity": severity(cvss.score_e1),
                    "method": method(&cvss.version),
                    "vector": cvss.vector,
                    "source": {"name": cvss.source},
                })
            })
            .into_iter()
            .collect();
        let references: Vec<Value> =
            first.aliases.iter().map(|alias| json!({"id": alias, "source": {"name": "alias"}})).collect();
        entries.push(json!({
            "bom-ref": format!("{id}#{}", verdict.name()),
            "id": id,
            "source": {"name": first.feed.as_ref().map_or("stanch", |feed| feed.name.as_str())},
            "references": references,
            "ratings": ratings,
            "recommendation": first.fixed_version.as_ref().map(|version| format!("Upgrade {} to {version} or later.", first.package)),
            "affects": findings.iter().map(|finding| json!({
                "ref": report.purl(finding),
                "versions": [{"version": finding.version, "status": if verdict == Verdict::NotAffected { "unaffected" } else { "affected" }}],
            })).collect::<Vec<_>>(),
            "analysis": {
                "state": if verdict == Verdict::NotAffected { "not_affected" } else { "in_triage" },
                "response": if first.fixed_version.is_some() { json!(["update"]) } else { json!([]) },
                "detail": first.reason,
            },
        }));
    }
    entries
}

fn method(version: &str) -> &'static str {
    match version {
        "2.0" => "CVSSv2",
        "3.0" => "CVSSv3",
        "3.1" => "CVSSv31",
        "4.0" => "CVSSv4",
        _ => "other",
    }
}

/// A version 8 UUID (RFC 9562 section 5.8) of the digest's first bytes.
fn uuid(digest: &Digest) -> String {
    let hex = digest.to_string();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-8{}-a{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}
