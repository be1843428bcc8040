//! OCSF 1.8 events, one a finding: Vulnerability Finding (class 2002), and Compliance Finding (class 2003) for settings.

use serde_json::{Value, json};
use stanch_model::finding::{Detector, Finding, Verdict};
use stanch_model::posture::{self, Check};

use super::report::{Report, best_cvss, is_component, severity};

/// The event of one finding.
pub(crate) fn event(report: &Report, finding: &Finding) -> Value {
    match posture::find(&finding.id).filter(|_| finding.detector == Detector::Posture) {
        Some(check) => compliance(report, finding, check),
        None => vulnerability(report, finding),
    }
}

/// A setting that is not as wanted.
fn compliance(report: &Report, finding: &Finding, check: &Check) -> Value {
    let (severity_id, severity) = severity_of(check.severity.name());
    let specific = json!({
        "compliance": {
            "control": check.short(),
            "standards": ["Stanch posture pack"],
            "requirements": check.controls,
            "status_id": 3,
            "status": "Fail",
            "status_details": [format!("{} is {}, wanted: {}", check.setting(), finding.version, check.wanted)],
        },
        "remediation": {"desc": check.set.map_or_else(
            || format!("a person decides: {}", check.caution.unwrap_or_default()),
            |_| format!("stanch fix {}", check.short()),
        )},
        "unmapped": {"verdict": finding.verdict.name(), "setting": check.setting(), "caution": check.caution},
    });
    with(base(report, finding, severity_id, severity, (1, "New"), check.title), specific)
}

fn vulnerability(report: &Report, finding: &Finding) -> Value {
    let members = report.members();
    let member = members.get(&finding.fingerprint);
    let cvss = member.and_then(|member| best_cvss(member));
    let (status_id, status) = if finding.verdict == Verdict::NotAffected { (3, "Suppressed") } else { (1, "New") };
    let mut vulnerability = json!({
        "title": finding.reason,
        "affected_packages": [{
            "name": if is_component(finding) { &finding.package } else { &finding.binary },
            "version": finding.version,
            "purl": report.purl(finding),
            "fixed_in_version": finding.fixed_version,
            "src_url": Value::Null,
        }],
        "is_fix_available": finding.fixed_version.is_some(),
        "is_exploit_available": member.is_some_and(|member| member.enrichment.kev.is_some()),
    });
    if let Some(object) = vulnerability.as_object_mut() {
        if let Some(cve) = finding.aliases.iter().find(|alias| alias.starts_with("CVE-")) {
            object.insert("cve".into(), cve_object(cve, member.map(|member| &member.enrichment)));
        } else {
            object.insert("advisory".into(), json!({"uid": finding.id}));
        }
    }
    let severity_name = cvss.map_or("unknown", |cvss| severity(cvss.score_e1));
    let (severity_id, severity) = severity_of(severity_name);
    let title = format!("{} in {}", finding.id, finding.binary);
    let specific = json!({
        "vulnerabilities": [vulnerability],
        "unmapped": {"verdict": finding.verdict.name(), "source_package": finding.package, "doubt": finding.doubt},
    });
    with(base(report, finding, severity_id, severity, (status_id, status), &title), specific)
}

/// Number and name of a severity.
fn severity_of(name: &str) -> (u8, String) {
    let id = match name {
        "none" => 1,
        "low" => 2,
        "medium" => 3,
        "high" => 4,
        "critical" => 5,
        _ => 0,
    };
    (id, title(name))
}

/// What events of all classes have.
fn base(
    report: &Report,
    finding: &Finding,
    severity_id: u8,
    severity: String,
    (status_id, status): (u8, &str),
    title: &str,
) -> Value {
    let class: u16 = finding.class.into();
    json!({
        "activity_id": 1,
        "activity_name": "Create",
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": class,
        "type_uid": u32::from(class) * 100 + 1,
        "time": report.at.as_millisecond(),
        "severity_id": severity_id,
        "severity": severity,
        "status_id": status_id,
        "status": status,
        "message": finding.reason,
        "metadata": {
            "version": "1.8.0",
            "product": {"name": "Stanch", "vendor_name": "Stanch", "version": env!("CARGO_PKG_VERSION")},
        },
        "finding_info": {
            "uid": finding.fingerprint,
            "title": title,
            "types": [finding.detector.name()],
            "analytic": {"name": finding.detector.name(), "type_id": 1, "type": "Rule"},
        },
        "device": {
            "uid": report.asset.id,
            "hostname": report.asset.name,
            "type_id": 0,
            "os": {"name": report.os.pretty_name, "type_id": 200, "type": "Linux", "version": report.os.version_id},
        },
    })
}

fn with(mut event: Value, specific: Value) -> Value {
    if let (Some(event), Value::Object(specific)) = (event.as_object_mut(), specific) {
        event.extend(specific);
    }
    event
}

fn cve_object(cve: &str, enrichment: Option<&stanch_model::assessment::Enrichment>) -> Value {
    let mut object = json!({"uid": cve});
    let (Some(enrichment), Some(map)) = (enrichment, object.as_object_mut()) else { return object };
    if let Some(epss) = &enrichment.epss {
        map.insert(
            "epss".into(),
            json!({
                "score": decimal_e5(epss.score_e5),
                "percentile": f64::from(epss.percentile_e5) / 100_000.0,
                "version": epss.model,
                "created_time_dt": epss.date.to_string(),
            }),
        );
    }
    if !enrichment.cvss.is_empty() {
        let scores: Vec<Value> = enrichment
            .cvss
            .iter()
            .map(|cvss| {
                json!({
                    "version": cvss.version,
                    "base_score": f64::from(cvss.score_e1) / 10.0,
                    "vector_string": cvss.vector,
                    "vendor_name": cvss.source,
                })
            })
            .collect();
        map.insert("cvss".into(), scores.into());
    }
    object
}

/// OCSF types the EPSS score as text.
fn decimal_e5(value: u32) -> String {
    format!("{}.{:05}", value / 100_000, value % 100_000)
}

fn title(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map_or(String::new(), |first| first.to_uppercase().collect::<String>() + characters.as_str())
}
