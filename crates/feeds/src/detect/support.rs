//! The check `support`: is the release, or a source in it, past its security support? About what nobody looks after,
//! silence means nothing.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use stanch_model::facts::HostFacts;
use stanch_model::finding::{Detector, OcsfClass, Verdict};

use super::{Detection, finding};
use crate::knowledge::Knowledge;
use crate::releases::{self, Phase};

/// What this check calls a source or release past its support.
pub const ID: &str = "support-ended";
/// The name under which the release itself is found.
pub const RELEASE: &str = "release";

/// Runs the check.
pub fn detect(facts: &HostFacts, knowledge: &Knowledge, now: Timestamp, detection: &mut Detection) {
    // An inventory of components only has no release.
    if facts.packages.is_empty() && !facts.components.is_empty() {
        return;
    }
    let version = facts.os.version_id.as_deref().unwrap_or_default();
    let Some(release) = releases::release(&facts.os.id, version) else {
        detection.blind_spots.push(format!("support: nothing is known of {}", facts.os.pretty_name));
        return;
    };
    let day = TimeZone::UTC.to_datetime(now).date();
    let architecture = &facts.architecture;
    let name = &facts.os.pretty_name;
    let ended = match release.phase(architecture, day) {
        Phase::Security => None,
        Phase::LongTerm { until } => {
            detection.notes.push(format!("{name} is under long-term support until {until}"));
            None
        }
        Phase::LongTermElsewhere { until } => {
            Some(format!("{name} is under long-term support until {until}, but not on {architecture}"))
        }
        Phase::Ended { on } => Some(format!("security support of {name} ended on {on}")),
    };
    if let Some(reason) = ended {
        let mut found = finding(facts, Detector::Support, ID, RELEASE, Verdict::Unsupported);
        found.class = OcsfClass::Compliance;
        found.package = RELEASE.to_owned();
        found.version = version.to_owned();
        found.reason = reason;
        detection.findings.push(found);
    }
    let Some((support, meta)) = knowledge.support(release) else { return };
    detection.feeds.push(meta.reference());
    let mut seen = BTreeSet::new();
    let mut limited = BTreeSet::new();
    for package in &facts.packages {
        if support.is_limited(&package.source) {
            limited.insert(package.source.as_str());
        }
        let Some(ended) = support.ended(&package.source, day) else { continue };
        if !seen.insert(&package.source) {
            continue;
        }
        let mut found = finding(facts, Detector::Support, ID, &package.name, Verdict::Unsupported);
        found.class = OcsfClass::Compliance;
        found.package.clone_from(&package.source);
        found.version = package.version.to_string();
        found.source_version = Some(package.source_version.to_string());
        found.reason = format!("security support of {} in {name} ended on {}", package.source, ended.ended);
        found.feed = Some(meta.reference());
        detection.findings.push(found);
    }
    if !limited.is_empty() {
        let all = limited.into_iter().collect::<Vec<_>>().join(", ");
        detection.notes.push(format!("security support is limited for {all}"));
    }
}
