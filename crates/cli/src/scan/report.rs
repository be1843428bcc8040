//! What a scan found, before it takes a printed form.

use std::collections::BTreeMap;

use jiff::Timestamp;
use stanch_model::assessment::{Assessment, Cvss, MemberReason};
use stanch_model::asset::Asset;
use stanch_model::ecosystem;
use stanch_model::facts::{Component, OsRelease, Package};
use stanch_model::finding::{Coverage, FeedRef, Finding};
use stanch_model::id::FindingId;
use stanch_model::item::WorkItem;

/// One scan of one inventory.
pub(crate) struct Report {
    pub(crate) asset: Asset,
    pub(crate) os: OsRelease,
    pub(crate) at: Timestamp,
    pub(crate) packages: Vec<Package>,
    /// What an inventory lists besides packages.
    pub(crate) components: Vec<Component>,
    pub(crate) findings: Vec<Finding>,
    /// Most urgent first.
    pub(crate) items: Vec<(WorkItem, Assessment)>,
    pub(crate) coverage: Coverage,
    pub(crate) feeds: Vec<FeedRef>,
    /// What could not be read, and why.
    pub(crate) unknown: Vec<String>,
    /// What a person should know of the data.
    pub(crate) notes: Vec<String>,
    /// Whether the host may be called clean, in words.
    pub(crate) verdict: String,
}

impl Report {
    /// The assessment's reason for each finding that belongs to an item.
    pub(crate) fn members(&self) -> BTreeMap<&FindingId, &MemberReason> {
        self.items
            .iter()
            .flat_map(|(_, assessment)| &assessment.members)
            .map(|member| (&member.finding, member))
            .collect()
    }

    /// The package URL of a finding's binary package or component.
    pub(crate) fn purl(&self, finding: &Finding) -> String {
        if is_component(finding) {
            return finding.binary.clone();
        }
        let architecture = self.package(&finding.binary).map_or("", |package| &package.architecture);
        purl(&self.os, &finding.binary, &finding.version, architecture)
    }

    /// Whether a package URL names what a finding is about: a service and a release have none.
    pub(crate) fn is_listed(&self, finding: &Finding) -> bool {
        is_component(finding) || self.package(&finding.binary).is_some()
    }

    fn package(&self, name: &str) -> Option<&Package> {
        // Facts list packages in the order of their names.
        let at = self.packages.partition_point(|package| package.name.as_str() < name);
        self.packages.get(at).filter(|package| package.name == name)
    }
}

/// Whether a finding is about a component of an inventory, which its package URL names.
pub(crate) fn is_component(finding: &Finding) -> bool {
    ecosystem::of_purl(&finding.binary).is_some()
}

/// The package URL of a Debian package. Versions hold `+`, `~` and `:`; the purl specification wants them encoded.
pub(crate) fn purl(os: &OsRelease, name: &str, version: &str, architecture: &str) -> String {
    let mut text = format!("pkg:deb/{}/{}@{}", os.id, encode(name), encode(version));
    let mut separator = '?';
    if !architecture.is_empty() {
        text.push_str(&format!("{separator}arch={architecture}"));
        separator = '&';
    }
    if let Some(version_id) = &os.version_id {
        text.push_str(&format!("{separator}distro={}-{version_id}", os.id));
    }
    text
}

/// Percent-encoded, as a segment of a URL.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b':' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The CVSS score that stands for a finding: the newest version of the standard that any source gives.
pub(crate) fn best_cvss(member: &MemberReason) -> Option<&Cvss> {
    member.enrichment.cvss.iter().max_by(|a, b| a.version.cmp(&b.version))
}

/// Qualitative severity of a base score (CVSS v3.1 section 5, the same bands in v4.0 section 6).
pub(crate) fn severity(score_e1: u8) -> &'static str {
    match score_e1 {
        0 => "none",
        1..=39 => "low",
        40..=69 => "medium",
        70..=89 => "high",
        _ => "critical",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debian_version_survives_in_a_purl() {
        let os = OsRelease {
            id: "debian".into(),
            version_id: Some("12".into()),
            codename: None,
            pretty_name: "Debian".into(),
        };
        assert_eq!(
            purl(&os, "libstdc++6", "1:2.3+dfsg-1~deb12u1", "amd64"),
            "pkg:deb/debian/libstdc%2B%2B6@1:2.3%2Bdfsg-1~deb12u1?arch=amd64&distro=debian-12"
        );
    }
}
