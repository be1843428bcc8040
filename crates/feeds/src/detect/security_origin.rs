//! The check `security-origin`: does a security archive offer a newer version than the one installed?
//!
//! It needs no feed, and catches the security updates that name no id.

use stanch_model::facts::{Candidate, HostFacts};
use stanch_model::finding::{Detector, Verdict};

use super::{Detection, finding, held, needed};

/// What this check calls every problem it finds: the archive names none.
pub const ID: &str = "security-update";

/// Runs the check.
pub fn detect(facts: &HostFacts, detection: &mut Detection) {
    let Some(candidates) = needed(&facts.candidates, "security archives", detection) else { return };
    let mut seen = std::collections::BTreeSet::new();
    for package in &facts.packages {
        let newer = |candidate: &&Candidate| candidate.origin.is_security() && candidate.version > package.version;
        let offered = candidates.get(&package.name).into_iter().flatten().filter(newer);
        let Some(best) = offered.max_by(|a, b| (!a.pinned_away, &a.version).cmp(&(!b.pinned_away, &b.version))) else {
            continue;
        };
        if !seen.insert(&package.name) {
            continue;
        }
        let held = if best.pinned_away {
            Some("its owner's pin keeps it away".to_owned())
        } else {
            held(facts, package, |_, _| false)
        };
        let verdict = if held.is_some() { Verdict::Held } else { Verdict::AffectedFixable };
        let mut found = finding(facts, Detector::SecurityOrigin, ID, &package.name, verdict);
        found.package.clone_from(&package.source);
        found.version = package.version.to_string();
        found.source_version = Some(package.source_version.to_string());
        found.fixed_version = Some(best.version.to_string());
        let (origin, suite) = (&best.origin.label, &best.origin.suite);
        found.reason = format!("{origin} ({suite}) offers {}, newer than {}", best.version, package.version);
        if let Some(why) = held {
            found.reason.push_str(&format!(", but {why}"));
        }
        detection.findings.push(found);
    }
}
