//! The change guard: a new edition of a feed that would turn many verdicts waits for a person. A publisher's mistake
//! and a forged feed look alike from here: both change everything at once.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_model::facts::HostFacts;
use stanch_model::finding::Verdict;
use stanch_model::id::FindingId;

use crate::detect::detect;
use crate::knowledge::Knowledge;

/// More than this share of changed verdicts, in percent, waits.
pub const LIMIT_PERCENT: u32 = 10;

/// How the verdicts about known hosts would change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Findings that both have, with the same verdict.
    pub same: u64,
    /// Findings that both have, with another verdict or another fixed version.
    pub turned: u64,
    /// Findings that only the new one has.
    pub appeared: u64,
    /// Findings that only the old one has.
    pub vanished: u64,
}

/// What follows for the new feeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Admission {
    /// They may be used.
    Admit,
    /// A person has to look first.
    AskPerson,
}

impl Change {
    /// Verdicts that would change.
    pub const fn changed(&self) -> u64 {
        self.turned + self.appeared + self.vanished
    }

    /// The share of verdicts that would change, in percent of all that either has, rounded up.
    pub const fn percent(&self) -> u32 {
        let all = self.same + self.changed();
        if all == 0 { 0 } else { (self.changed() * 100).div_ceil(all) as u32 }
    }

    /// Whether a person has to look first: more than [`LIMIT_PERCENT`], exactly counted.
    pub const fn admission(&self) -> Admission {
        let all = self.same + self.changed();
        if self.changed() * 100 > all * LIMIT_PERCENT as u64 { Admission::AskPerson } else { Admission::Admit }
    }
}

/// Compares what two sets of feeds say about the same hosts.
pub fn compare<'a>(
    old: &Knowledge,
    new: &Knowledge,
    hosts: impl IntoIterator<Item = &'a HostFacts>,
    now: Timestamp,
) -> Change {
    let mut change = Change::default();
    for facts in hosts {
        let before = verdicts(facts, old, now);
        let after = verdicts(facts, new, now);
        for (id, was) in &before {
            match after.get(id) {
                Some(is) if is == was => change.same += 1,
                Some(_) => change.turned += 1,
                None => change.vanished += 1,
            }
        }
        change.appeared += after.keys().filter(|id| !before.contains_key(id)).count() as u64;
    }
    change
}

type Said = (Verdict, Option<String>);

fn verdicts(facts: &HostFacts, knowledge: &Knowledge, now: Timestamp) -> BTreeMap<FindingId, Said> {
    let findings = detect(facts, knowledge, now).findings.into_iter();
    findings.map(|finding| (finding.fingerprint, (finding.verdict, finding.fixed_version))).collect()
}
