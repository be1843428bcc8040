//! How long each release of Debian and Ubuntu gets security updates, and from whom.
//!
//! The dates are those that the distributions publish in their own package `distro-info-data` (edition of 2026);
//! architectures under long-term support are those the Debian LTS team names.

use jiff::civil::{Date, date};

/// The support of one release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// `debian` or `ubuntu`.
    pub distribution: &'static str,
    /// `12`, `22.04`.
    pub version: &'static str,
    /// `bookworm`.
    pub codename: &'static str,
    /// The last day of the security team's support.
    pub security_until: Date,
    /// The last day of long-term support open to everybody.
    pub lts_until: Option<Date>,
    /// dpkg architectures under long-term support; empty means all.
    pub lts_architectures: &'static [&'static str],
}

const LTS: &[&str] = &["amd64", "i386", "arm64", "armhf"];

const fn debian(version: &'static str, codename: &'static str, security_until: Date, lts_until: Date) -> Release {
    Release {
        distribution: "debian",
        version,
        codename,
        security_until,
        lts_until: Some(lts_until),
        lts_architectures: LTS,
    }
}

const fn ubuntu(version: &'static str, codename: &'static str, security_until: Date) -> Release {
    Release { distribution: "ubuntu", version, codename, security_until, lts_until: None, lts_architectures: &[] }
}

/// The releases known here, oldest first within a distribution.
pub const RELEASES: &[Release] = &[
    debian("10", "buster", date(2022, 9, 10), date(2024, 6, 30)),
    debian("11", "bullseye", date(2024, 8, 14), date(2026, 8, 31)),
    debian("12", "bookworm", date(2026, 7, 11), date(2028, 6, 30)),
    debian("13", "trixie", date(2028, 8, 9), date(2030, 6, 30)),
    ubuntu("18.04", "bionic", date(2023, 5, 31)),
    ubuntu("20.04", "focal", date(2025, 5, 29)),
    ubuntu("22.04", "jammy", date(2027, 6, 1)),
    ubuntu("24.04", "noble", date(2029, 5, 31)),
    ubuntu("26.04", "resolute", date(2031, 5, 29)),
];

/// The release with this `ID` and `VERSION_ID`; point releases count as their release.
pub fn release(distribution: &str, version: &str) -> Option<&'static Release> {
    let version = if distribution == "debian" { version.split('.').next().unwrap_or(version) } else { version };
    RELEASES.iter().find(|release| release.distribution == distribution && release.version == version)
}

/// The release a suite or codename of an archive belongs to: `bookworm-security` is bookworm.
pub fn of_codename(codename: &str) -> Option<&'static Release> {
    let base = codename.split('-').next().unwrap_or(codename);
    RELEASES.iter().find(|release| release.codename == base)
}

/// Who supports a release on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The distribution's security team.
    Security,
    /// Long-term support.
    LongTerm {
        /// Its last day.
        until: Date,
    },
    /// Long-term support, but not for this architecture.
    LongTermElsewhere {
        /// Its last day elsewhere.
        until: Date,
    },
    /// Nobody, for everybody.
    Ended {
        /// The last day of support.
        on: Date,
    },
}

impl Release {
    /// Who supports this release on a day, on an architecture as dpkg names it.
    pub fn phase(&self, architecture: &str, day: Date) -> Phase {
        if day <= self.security_until {
            return Phase::Security;
        }
        match self.lts_until {
            Some(until) if day <= until => {
                if self.lts_architectures.is_empty() || self.lts_architectures.contains(&architecture) {
                    Phase::LongTerm { until }
                } else {
                    Phase::LongTermElsewhere { until }
                }
            }
            Some(on) => Phase::Ended { on },
            None => Phase::Ended { on: self.security_until },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_passes_from_the_security_team_to_long_term_support_to_nobody() {
        let bookworm = release("debian", "12").unwrap();
        assert_eq!(bookworm.phase("amd64", date(2026, 7, 11)), Phase::Security);
        assert_eq!(bookworm.phase("amd64", date(2026, 7, 12)), Phase::LongTerm { until: date(2028, 6, 30) });
        assert_eq!(bookworm.phase("s390x", date(2026, 7, 12)), Phase::LongTermElsewhere { until: date(2028, 6, 30) });
        assert_eq!(bookworm.phase("amd64", date(2028, 7, 1)), Phase::Ended { on: date(2028, 6, 30) });
        assert_eq!(
            release("debian", "11").unwrap().phase("amd64", date(2026, 11, 23)),
            Phase::Ended { on: date(2026, 8, 31) }
        );
    }

    #[test]
    fn a_suite_belongs_to_its_release() {
        assert_eq!(of_codename("bookworm-backports").unwrap().version, "12");
        assert_eq!(of_codename("jammy-security").unwrap().version, "22.04");
        assert!(of_codename("stable").is_none());
    }
}
