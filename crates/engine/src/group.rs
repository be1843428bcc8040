//! From findings to work items: a host has hundreds of ids but only tens of things to do.
//!
//! One item is what one act closes. Everything a newer version of a source package settles is one item, whichever
//! check reported it, so an advisory and a security upload of the same source stand together. All versions of one
//! component that an inventory lists are one item too, and so is one component in one environment of a host.

use std::collections::BTreeMap;

use stanch_model::ecosystem;
use stanch_model::finding::{Detector, Finding, Verdict};
use stanch_model::id::{AssetId, FindingId};
use stanch_model::item::{Subject, WorkItem, item_id};
use stanch_model::lasting::{LIBRARIES, is_lasting};
use stanch_model::posture;

/// What grouping gave: the items, and what was left out of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grouping {
    /// Work items in the order of their ids.
    pub items: Vec<WorkItem>,
    /// Findings about this asset that nobody can judge for want of data; never an item, always counted.
    pub unknown: u32,
    /// Findings of this asset that say "not affected".
    pub not_affected: u32,
    /// Findings handed in that belong to another asset.
    pub elsewhere: u32,
}

/// Groups the findings of one asset. Neither the order of the findings nor their repetition matters.
pub fn group(asset: &AssetId, findings: &[Finding]) -> Grouping {
    let mut grouping = Grouping::default();
    let mut items: BTreeMap<Subject, Vec<FindingId>> = BTreeMap::new();
    for finding in findings {
        if finding.asset != *asset {
            grouping.elsewhere += 1;
            continue;
        }
        match finding.verdict {
            Verdict::NotAffected => grouping.not_affected += 1,
            Verdict::Unknown => grouping.unknown += 1,
            Verdict::AffectedFixable
            | Verdict::AffectedUnfixed
            | Verdict::FixedNotRunning
            | Verdict::Unsupported
            | Verdict::Held => items.entry(subject(finding)).or_default().push(finding.fingerprint.clone()),
        }
    }
    grouping.items = items
        .into_iter()
        .map(|(subject, mut findings)| {
            findings.sort();
            findings.dedup();
            WorkItem { id: item_id(asset, &subject), asset: asset.clone(), subject, findings }
        })
        .collect();
    grouping.items.sort_by(|a, b| a.id.cmp(&b.id));
    grouping
}

/// What an act on this finding would be about.
pub fn subject(finding: &Finding) -> Subject {
    let named = |name: &str, otherwise: &str| if name.is_empty() { otherwise.to_owned() } else { name.to_owned() };
    match finding.detector {
        // No restart frees what lasts as long as the host runs.
        Detector::Running if is_lasting(&finding.id) => Subject::Reboot { flavour: LIBRARIES.to_owned() },
        Detector::Running => Subject::Service { name: named(&finding.id, &finding.binary) },
        Detector::Support => Subject::Support { name: named(&finding.package, "release") },
        Detector::Kernel => Subject::Reboot { flavour: flavour(finding) },
        Detector::Posture => {
            let check = finding.id.strip_prefix(posture::PREFIX).unwrap_or(&finding.id);
            Subject::Setting { check: check.to_owned() }
        }
        // An advisory that only the running kernel still has is closed by booting, not by installing.
        _ if finding.verdict == Verdict::FixedNotRunning && finding.binary.starts_with(KERNEL) => {
            Subject::Reboot { flavour: flavour(finding) }
        }
        // Whatever copies lie inside one file, only replacing that file closes what is said of them.
        _ if let Some(purl) = ecosystem::whole_file(&finding.binary) => Subject::Component { purl },
        _ => match ecosystem::without_version(&finding.binary) {
            Some(purl) if ecosystem::system_of_purl(&purl).is_none() => Subject::Component { purl: purl.into_owned() },
            _ => Subject::SourcePackage { source: named(&finding.package, &finding.binary) },
        },
    }
}

const KERNEL: &str = "linux-image-";

/// `cloud-amd64` of `linux-image-6.1.0-50-cloud-amd64`: what is left after the parts that begin with a digit.
fn flavour(finding: &Finding) -> String {
    let named = |text: &str| {
        let text = text.trim_start_matches(KERNEL).trim_start_matches("unsigned-").trim_end_matches("-unsigned");
        let parts: Vec<&str> =
            text.split('-').skip_while(|part| part.starts_with(|first: char| first.is_ascii_digit())).collect();
        parts.join("-")
    };
    [named(&finding.binary), finding.id.clone(), finding.package.clone()]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| "kernel".to_owned())
}

/// Findings by fingerprint, so that the members of many items are found without searching each time.
#[derive(Debug, Default)]
pub struct Index<'a>(BTreeMap<&'a FindingId, &'a Finding>);

impl<'a> Index<'a> {
    /// An index over these findings; of two with the same fingerprint the last one counts.
    pub fn new(findings: &'a [Finding]) -> Self {
        Self(findings.iter().map(|finding| (&finding.fingerprint, finding)).collect())
    }

    /// The findings of an item that are known here, in the item's order.
    pub fn members(&self, item: &WorkItem) -> Vec<&'a Finding> {
        item.findings.iter().filter_map(|id| self.0.get(id).copied()).collect()
    }
}
