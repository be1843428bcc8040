//! Judging the facts of a host by what the feeds know: six checks, each a pure function that verification runs again.

pub mod advisory;
pub mod kernel;
pub mod posture;
pub mod running;
pub mod security_origin;
pub(crate) mod suite;
pub mod support;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_model::facts::{HostFacts, Known, Package};
use stanch_model::finding::{Coverage, Detector, FeedRef, Finding, OcsfClass, Verdict, fingerprint};
use stanch_model::version::DebVersion;

use crate::knowledge::Knowledge;

/// What the checks say of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detection {
    /// Findings in the order of their detectors, packages and ids; one for each binary package and id.
    pub findings: Vec<Finding>,
    /// How much of the inventory the advisories cover.
    pub coverage: Coverage,
    /// What could not be judged and why, in words; anything here forbids calling the host clean.
    pub blind_spots: Vec<String>,
    /// What a person should know of the data, without bearing on the verdicts.
    pub notes: Vec<String>,
    /// The feeds that were asked.
    pub feeds: Vec<FeedRef>,
}

/// What can be said of a host as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", content = "because", rename_all = "snake_case")]
pub enum HostVerdict {
    /// Nothing is known to be wrong, and everything needed to know is at hand and fresh.
    Clean,
    /// Something is wrong.
    NotClean,
    /// Nothing was found, but not everything could be judged.
    CannotSay(Vec<String>),
}

impl Detection {
    /// What can be said of the host as a whole.
    pub fn verdict(&self) -> HostVerdict {
        let wrong = |finding: &Finding| !matches!(finding.verdict, Verdict::NotAffected | Verdict::Unknown);
        if self.findings.iter().any(wrong) {
            return HostVerdict::NotClean;
        }
        let mut because = self.blind_spots.clone();
        let unknown = self.findings.iter().filter(|finding| finding.verdict == Verdict::Unknown).count();
        if unknown > 0 {
            because.push(format!("of {unknown} problems nobody can tell whether they concern what is installed"));
        }
        if because.is_empty() { HostVerdict::Clean } else { HostVerdict::CannotSay(because) }
    }

    /// Findings of one detector.
    pub fn of(&self, detector: Detector) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.detector == detector)
    }
}

/// Runs every check.
pub fn detect(facts: &HostFacts, knowledge: &Knowledge, now: Timestamp) -> Detection {
    detect_with(&Detector::ALL, facts, knowledge, now)
}

/// Runs some checks.
pub fn detect_with(detectors: &[Detector], facts: &HostFacts, knowledge: &Knowledge, now: Timestamp) -> Detection {
    let mut detection = Detection::default();
    for detector in detectors {
        match detector {
            Detector::Advisory => advisory::detect(facts, knowledge, now, &mut detection),
            Detector::SecurityOrigin => security_origin::detect(facts, &mut detection),
            Detector::Running => running::detect(facts, &mut detection),
            Detector::Kernel => kernel::detect(facts, &mut detection),
            Detector::Support => support::detect(facts, knowledge, now, &mut detection),
            Detector::Posture => posture::detect(facts, &mut detection),
            // A detector added to the vocabulary is silent until it is written here.
            other => detection.blind_spots.push(format!("the detector {} is not built in", other.name())),
        }
    }
    detection.blind_spots.extend(facts.gaps.iter().cloned());
    sort(&mut detection.findings);
    detection.feeds.sort();
    detection.feeds.dedup();
    detection
}

/// Puts findings in order. They are large and there are thousands, so their places are sorted and each is moved once.
fn sort(findings: &mut [Finding]) {
    let mut order: Vec<(usize, &Finding)> = findings.iter().enumerate().collect();
    order.sort_by(|(_, a), (_, b)| {
        (a.detector, &a.package, &a.binary, &a.id).cmp(&(b.detector, &b.package, &b.binary, &b.id))
    });
    let mut from: Vec<usize> = order.into_iter().map(|(at, _)| at).collect();
    for place in 0..from.len() {
        // What belongs here may have been swapped away to where an earlier place was filled from.
        let mut source = place;
        while let Some(at) = from.get(source).copied() {
            source = at;
            if at >= place {
                break;
            }
        }
        findings.swap(place, source);
        if let Some(slot) = from.get_mut(place) {
            *slot = source;
        }
    }
}

/// A finding with the fields that all detectors fill alike.
fn finding(facts: &HostFacts, detector: Detector, id: &str, binary: &str, verdict: Verdict) -> Finding {
    Finding {
        fingerprint: fingerprint(&facts.asset.id, detector, id, binary),
        asset: facts.asset.id.clone(),
        class: OcsfClass::Vulnerability,
        detector,
        id: id.to_owned(),
        aliases: Vec::new(),
        package: String::new(),
        binary: binary.to_owned(),
        version: String::new(),
        source_version: None,
        fixed_version: None,
        verdict,
        reason: String::new(),
        cvss_vectors: Vec::new(),
        doubt: None,
        feed: None,
        since: stanch_model::finding::Since::default(),
    }
}

/// Why a fix that can be had is kept from this package by its owner.
fn held(facts: &HostFacts, package: &Package, would_fix: impl Fn(&DebVersion, &DebVersion) -> bool) -> Option<String> {
    if package.hold {
        return Some("its owner holds it".to_owned());
    }
    let candidates = facts.candidates.known()?.get(&package.name)?;
    let mut fixing = candidates.iter().filter(|c| would_fix(&c.version, &c.source_version)).peekable();
    fixing.peek()?;
    fixing.all(|candidate| candidate.pinned_away).then(|| "its owner's pin keeps every fixed version away".to_owned())
}

/// Adds a blind spot when a fact that a check needs could not be read.
fn needed<'a, T>(fact: &'a Known<T>, what: &str, detection: &mut Detection) -> Option<&'a T> {
    if let Known::Unknown(why) = fact {
        detection.blind_spots.push(format!("{what}: {why}"));
    }
    fact.known()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stanch_model::asset::{Asset, AssetKind};

    use super::*;

    proptest! {
        #[test]
        fn findings_are_put_in_order_and_none_is_lost(ids in proptest::collection::vec("[a-d]{1,3}", 0..40)) {
            let asset = Asset::unlabelled(AssetKind::Inventory, "a", "a");
            let of = |id: &String| Finding {
                fingerprint: fingerprint(&asset.id, Detector::Advisory, id, "b"),
                asset: asset.id.clone(),
                class: OcsfClass::Vulnerability,
                detector: Detector::Advisory,
                id: id.clone(),
                aliases: Vec::new(),
                package: "p".to_owned(),
                binary: "b".to_owned(),
                version: String::new(),
                source_version: None,
                fixed_version: None,
                verdict: Verdict::Unknown,
                reason: String::new(),
                cvss_vectors: Vec::new(),
                doubt: None,
                feed: None, since: stanch_model::finding::Since::default(),
            };
            let mut findings: Vec<Finding> = ids.iter().map(of).collect();
            sort(&mut findings);
            let mut expected = ids;
            expected.sort();
            prop_assert_eq!(findings.into_iter().map(|finding| finding.id).collect::<Vec<_>>(), expected);
        }
    }
}
