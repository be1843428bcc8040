//! Findings: a problem on an asset.

use serde::{Deserialize, Serialize};

use crate::canonical::digest_texts;
use crate::id::{AssetId, FindingId};
use jiff::Timestamp;

/// The check that found a problem, and that will be run again to call it closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Detector {
    /// An advisory's range holds the installed source version, in the host's own release.
    Advisory,
    /// A security origin offers a newer version than the one installed.
    SecurityOrigin,
    /// Fixed on disk, but a process still runs the old files.
    Running,
    /// The running kernel is older than the newest installed one of its flavour.
    Kernel,
    /// The package or the release is past its security support.
    Support,
    /// A setting is weaker than the posture pack wants it.
    Posture,
}

impl Detector {
    /// All of them, in the order they are shown.
    pub const ALL: [Self; 6] =
        [Self::Advisory, Self::SecurityOrigin, Self::Running, Self::Kernel, Self::Support, Self::Posture];

    /// The name users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Advisory => "advisory",
            Self::SecurityOrigin => "security-origin",
            Self::Running => "running",
            Self::Kernel => "kernel",
            Self::Support => "support",
            Self::Posture => "posture",
        }
    }
}

/// What a check says of one package and one problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Affected, and a fixed version can be had.
    AffectedFixable,
    /// Affected, and nobody offers a fix.
    AffectedUnfixed,
    /// Not affected; the finding's reason says who says so.
    NotAffected,
    /// The fix is on disk, but what runs is still the old code.
    FixedNotRunning,
    /// No security support: silence about it means nothing.
    Unsupported,
    /// A fix can be had, but the owner holds or pins the package.
    Held,
    /// No data, or data too old to say.
    Unknown,
}

impl Verdict {
    /// The name users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AffectedFixable => "affected_fixable",
            Self::AffectedUnfixed => "affected_unfixed",
            Self::NotAffected => "not_affected",
            Self::FixedNotRunning => "fixed_not_running",
            Self::Unsupported => "unsupported",
            Self::Held => "held",
            Self::Unknown => "unknown",
        }
    }
}

/// A class of the Open Cybersecurity Schema Framework.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub enum OcsfClass {
    /// 2002 Vulnerability Finding.
    Vulnerability,
    /// 2003 Compliance Finding.
    Compliance,
    /// 2004 Detection Finding.
    Detection,
    /// 2006 Data Security Finding.
    DataSecurity,
}

impl From<OcsfClass> for u16 {
    fn from(class: OcsfClass) -> Self {
        match class {
            OcsfClass::Vulnerability => 2002,
            OcsfClass::Compliance => 2003,
            OcsfClass::Detection => 2004,
            OcsfClass::DataSecurity => 2006,
        }
    }
}

impl TryFrom<u16> for OcsfClass {
    type Error = String;

    fn try_from(number: u16) -> Result<Self, String> {
        match number {
            2002 => Ok(Self::Vulnerability),
            2003 => Ok(Self::Compliance),
            2004 => Ok(Self::Detection),
            2006 => Ok(Self::DataSecurity),
            other => Err(format!("{other} is not a finding class of OCSF that Stanch knows")),
        }
    }
}

/// Which data a judgement rests on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FeedRef {
    /// The feed's name, such as `osv/Debian-12`.
    pub name: String,
    /// The date of its content, where it has one.
    pub dated: Option<Timestamp>,
    /// Built into the program rather than fetched.
    pub snapshot: bool,
}

/// One problem on one asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Digest of asset, detector, id and binary package: the same problem on the same asset is the same finding.
    pub fingerprint: FindingId,
    /// Where it is.
    pub asset: AssetId,
    /// Its OCSF class.
    pub class: OcsfClass,
    /// The check that found it.
    pub detector: Detector,
    /// The advisory's id (`DEBIAN-CVE-2024-1`), or what the detector calls it (`security-update`, a unit's name).
    pub id: String,
    /// CVE and other ids of the same problem.
    pub aliases: Vec<String>,
    /// Source package name, or the name of a component in its ecosystem.
    pub package: String,
    /// Binary package name, or the package URL of a component.
    pub binary: String,
    /// The installed version of the binary package (or of what runs).
    pub version: String,
    /// The version of its source package, which advisories are compared with; absent where there is no package.
    pub source_version: Option<String>,
    /// The version that fixes it, where one is known.
    pub fixed_version: Option<String>,
    /// What the check says.
    pub verdict: Verdict,
    /// Why, in a sentence for a person.
    pub reason: String,
    /// Base score strings from the advisory, such as `CVSS:3.1/AV:N/...`.
    pub cvss_vectors: Vec<String>,
    /// A doubt about the data itself, such as a fix dated before the release.
    pub doubt: Option<String>,
    /// The data it rests on; detectors that need none leave it out.
    pub feed: Option<FeedRef>,
    /// Since when it can be said to be there.
    #[serde(default, skip_serializing_if = "Since::is_unknown")]
    pub since: Since,
}

impl Finding {
    /// The CVEs it is about, each once: `DEBIAN-CVE-2024-1` counts as `CVE-2024-1`.
    pub fn cves(&self) -> Vec<String> {
        let mut cves: Vec<String> = std::iter::once(&self.id)
            .chain(&self.aliases)
            .filter_map(|id| id.find("CVE-").and_then(|at| id.get(at..)))
            .filter(|id| id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))
            .map(str::to_owned)
            .collect();
        cves.sort();
        cves.dedup();
        cves
    }
}

/// Since when a problem can be said to be there: known to the world, and installed here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since {
    /// When its advisory was published, to the day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Timestamp>,
    /// When what has it was installed in this version; an earlier version may have had it before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed: Option<Timestamp>,
}

impl Since {
    /// Nothing is known.
    pub const fn is_unknown(&self) -> bool {
        self.published.is_none() && self.installed.is_none()
    }
}

/// The fingerprint of a problem.
pub fn fingerprint(asset: &AssetId, detector: Detector, id: &str, binary: &str) -> FindingId {
    let digest = digest_texts("stanch/finding/v2", &[asset.as_str(), detector.name(), id, binary]);
    FindingId::on(asset, &digest)
}

/// How much of an inventory the data covers: stands beside every count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Packages and components whose ecosystem and source some feed knows of.
    pub with_data: u32,
    /// Those of ecosystems for which no feed is at hand.
    pub without_feed: u32,
    /// All packages and components looked at.
    pub packages: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::digest;

    #[test]
    fn a_fingerprint_is_the_canonical_digest_of_what_identifies_a_problem() {
        let asset = AssetId::from_entropy([7; 10]);
        for detector in Detector::ALL {
            let whole = digest("stanch/finding/v2", &(&asset, detector, "DEBIAN-CVE-2024-1", "libssl3")).unwrap();
            let expected = FindingId::on(&asset, &whole);
            assert_eq!(fingerprint(&asset, detector, "DEBIAN-CVE-2024-1", "libssl3"), expected);
        }
    }
}
