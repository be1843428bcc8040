//! The check `posture`: is a setting weaker than the posture pack wants it?
//!
//! One finding for each check of the pack, because one act sets one setting and takes back just that. What could not be
//! read is a blind spot and never a finding: it is neither good nor bad. Facts in which nobody looked say nothing.

use std::collections::BTreeMap;

use stanch_model::facts::{HostFacts, Posture};
use stanch_model::finding::{Detector, Finding, OcsfClass, Verdict, fingerprint};
use stanch_model::posture::{CHECKS, Check, Kind, ON_REQUEST, Reading};

use super::{Detection, finding};

/// Runs the check.
pub fn detect(facts: &HostFacts, detection: &mut Detection) {
    let Some(posture) = &facts.posture else { return };
    let mut unread: BTreeMap<(Kind, String), u32> = BTreeMap::new();
    look(facts, posture, CHECKS, &mut detection.findings, &mut unread);
    for ((kind, why), count) in unread {
        let settings = if count == 1 { "1 setting".to_owned() } else { format!("{count} settings") };
        detection.blind_spots.push(format!("posture, {settings} of {}: {why}", kind.name()));
    }
}

/// What checks find that are made only where a policy asks for them. What could not be read is nothing here: the same
/// units are told of among the other programs that change packages.
pub fn on_request(facts: &HostFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(posture) = &facts.posture {
        look(facts, posture, ON_REQUEST, &mut findings, &mut BTreeMap::new());
    }
    findings
}

fn look(
    facts: &HostFacts,
    posture: &Posture,
    checks: &[Check],
    findings: &mut Vec<Finding>,
    unread: &mut BTreeMap<(Kind, String), u32>,
) {
    for check in checks {
        let value = match check.reading(posture) {
            Reading::Absent => continue,
            Reading::Unread(why) => {
                *unread.entry((check.kind, why)).or_default() += 1;
                continue;
            }
            Reading::Value(value) => value,
        };
        match check.wanted.holds(&value) {
            Some(true) => {}
            Some(false) => {
                let verdict = if check.set.is_some() { Verdict::AffectedFixable } else { Verdict::AffectedUnfixed };
                let mut found = finding(facts, Detector::Posture, check.id, check.name, verdict);
                // The check alone: where its setting is found may change between versions of the pack.
                found.fingerprint = fingerprint(&facts.asset.id, Detector::Posture, check.id, "");
                found.class = OcsfClass::Compliance;
                found.package = check.kind.name().to_owned();
                found.fixed_version = Some(check.wanted.to_string());
                found.reason = reason(check, &value);
                found.version = value;
                findings.push(found);
            }
            None => {
                *unread.entry((check.kind, format!("`{value}` says nothing to {}", check.short()))).or_default() += 1
            }
        }
    }
}

fn reason(check: &Check, value: &str) -> String {
    let caution = check.caution.map(|caution| format!(" But {caution}.")).unwrap_or_default();
    format!("{} ({value}; wanted: {}). {}{caution}", check.title, check.wanted, check.why)
}
