//! The check `posture`: is a setting weaker than the posture pack wants it?
//!
//! One finding for each check of the pack, because one act sets one setting and takes back just that. What could not be
//! read is a blind spot and never a finding: it is neither good nor bad. Facts in which nobody looked say nothing.

use std::collections::BTreeMap;

use stanch_model::facts::HostFacts;
use stanch_model::finding::{Detector, OcsfClass, Verdict, fingerprint};
use stanch_model::posture::{CHECKS, Check, Kind, Reading};

use super::{Detection, finding};

/// Runs the check.
pub fn detect(facts: &HostFacts, detection: &mut Detection) {
    let Some(posture) = &facts.posture else { return };
    let mut unread: BTreeMap<(Kind, String), u32> = BTreeMap::new();
    for check in CHECKS {
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
                detection.findings.push(found);
            }
            None => {
                *unread.entry((check.kind, format!("`{value}` says nothing to {}", check.short()))).or_default() += 1
            }
        }
    }
    for ((kind, why), count) in unread {
        let settings = if count == 1 { "1 setting".to_owned() } else { format!("{count} settings") };
        detection.blind_spots.push(format!("posture, {settings} of {}: {why}", kind.name()));
    }
}

fn reason(check: &Check, value: &str) -> String {
    let caution = check.caution.map(|caution| format!(" But {caution}.")).unwrap_or_default();
    format!("{} ({value}; wanted: {}). {}{caution}", check.title, check.wanted, check.why)
}
