//! What a feed says about itself, and whether it is still fresh enough to be believed when it is silent.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use stanch_model::Digest;
use stanch_model::finding::FeedRef;

/// The kinds of feeds Stanch reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// Advisories of one ecosystem, as an OSV bulk archive.
    Osv,
    /// CISA's catalogue of known exploited vulnerabilities.
    Kev,
    /// EPSS scores of one day.
    Epss,
    /// CVSS base scores by CVE.
    Cvss,
    /// CISA Vulnrichment: SSVC options and scores.
    Vulnrichment,
    /// Statements of who is not affected: OpenVEX and CSAF VEX.
    Vex,
    /// Sources whose security support ended or is limited.
    Support,
}

impl Kind {
    /// The name in file names and for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Osv => "osv",
            Self::Kev => "kev",
            Self::Epss => "epss",
            Self::Cvss => "cvss",
            Self::Vulnrichment => "vulnrichment",
            Self::Vex => "vex",
            Self::Support => "support",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is known of a feed as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedMeta {
    /// Its name: the kind, and for advisories the ecosystem, such as `osv/Debian-12`.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// The OSV ecosystem with its release, such as `Debian:12`; only for advisories.
    pub ecosystem: Option<String>,
    /// The date of its content: of its newest record, or what its header says.
    pub dated: Option<Timestamp>,
    /// The version of the model behind its numbers; only for EPSS.
    pub model: Option<String>,
    /// Records in it.
    pub records: u64,
    /// Digest of the bytes it was made from.
    pub source: Digest,
    /// Built into the program rather than fetched.
    #[serde(default)]
    pub snapshot: bool,
    /// When its source last confirmed that there is nothing newer.
    #[serde(default)]
    pub checked: Option<Timestamp>,
}

impl FeedMeta {
    pub(crate) fn new(kind: Kind, name: &str, source: Digest) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            ecosystem: None,
            dated: None,
            model: None,
            records: 0,
            source,
            snapshot: false,
            checked: None,
        }
    }

    /// How a judgement names this feed.
    pub fn reference(&self) -> FeedRef {
        FeedRef { name: self.name.clone(), dated: self.dated, snapshot: self.snapshot }
    }

    /// How fresh it is, and whether its silence may still be believed.
    pub fn freshness(&self, limits: &FreshFor, now: Timestamp) -> Freshness {
        let last = self.checked.max(self.dated);
        let limit = limits.limit(self.kind);
        let young = |limit: SignedDuration| last.is_some_and(|last| now.duration_since(last) <= limit);
        match (self.dated, last, limit) {
            (None, ..) => Freshness::Undated { believed: limit.is_none_or(young) },
            (Some(_), _, None) => Freshness::Ageless,
            (Some(_), Some(last), Some(limit)) if !young(limit) => {
                Freshness::Stale { age: now.duration_since(last), limit }
            }
            (Some(_), _, Some(_)) => Freshness::Fresh,
        }
    }
}

/// For how long a feed is believed after it was dated or last confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreshFor {
    /// Hours for advisories.
    pub osv: u32,
    /// Hours for KEV.
    pub kev: u32,
    /// Hours for EPSS.
    pub epss: u32,
}

impl Default for FreshFor {
    fn default() -> Self {
        Self { osv: 24, kev: 24, epss: 72 }
    }
}

impl FreshFor {
    /// The limit for a kind; `None` for those that do not age by the day.
    fn limit(&self, kind: Kind) -> Option<SignedDuration> {
        let hours = match kind {
            Kind::Osv => self.osv,
            Kind::Kev => self.kev,
            Kind::Epss => self.epss,
            Kind::Cvss | Kind::Vulnrichment | Kind::Vex | Kind::Support => return None,
        };
        Some(SignedDuration::from_hours(i64::from(hours)))
    }
}

/// Whether a feed is fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Freshness {
    /// Young enough.
    Fresh,
    /// Older than its limit.
    Stale {
        /// How old it is.
        age: SignedDuration,
        /// How old it may be.
        limit: SignedDuration,
    },
    /// It bears no date, so nobody can tell.
    Undated {
        /// Its silence is believed all the same: it is of a kind without a limit, or its source confirmed it in time.
        believed: bool,
    },
    /// It bears a date, and is of a kind that does not age by the day.
    Ageless,
}

impl Freshness {
    /// Whether its silence may be believed, and a host be called clean on it.
    pub const fn is_believed(self) -> bool {
        match self {
            Self::Fresh | Self::Ageless => true,
            Self::Undated { believed } => believed,
            Self::Stale { .. } => false,
        }
    }

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale { .. } => "stale",
            Self::Undated { .. } => "undated",
            Self::Ageless => "ageless",
        }
    }
}

impl fmt::Display for Freshness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fresh => f.write_str("fresh"),
            Self::Stale { age, limit } => {
                write!(f, "stale: {} h old, believed for {} h", age.as_hours(), limit.as_hours())
            }
            Self::Undated { .. } => f.write_str("undated"),
            Self::Ageless => f.write_str("no age limit"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kev(dated: &str, checked: Option<&str>) -> FeedMeta {
        FeedMeta {
            dated: Some(dated.parse().unwrap()),
            checked: checked.map(|at| at.parse().unwrap()),
            ..FeedMeta::new(Kind::Kev, "kev", Digest::of_bytes(b""))
        }
    }

    #[test]
    fn a_catalogue_of_yesterday_is_stale_unless_its_source_confirmed_it() {
        let now = "2026-11-23T12:00:00Z".parse().unwrap();
        let limits = FreshFor::default();
        assert_eq!(kev("2026-11-22T12:00:00Z", None).freshness(&limits, now), Freshness::Fresh);
        let stale = kev("2026-11-22T11:59:59Z", None).freshness(&limits, now);
        assert_eq!(stale.to_string(), "stale: 24 h old, believed for 24 h");
        assert!(!stale.is_believed());
        let confirmed = kev("2026-11-01T00:00:00Z", Some("2026-11-23T11:00:00Z")).freshness(&limits, now);
        assert_eq!(confirmed, Freshness::Fresh);
    }

    #[test]
    fn a_feed_without_a_date_is_never_fresh() {
        let now = "2026-11-23T12:00:00Z".parse().unwrap();
        let of = |kind, dated: bool, checked: Option<&str>| {
            let mut meta = FeedMeta { kind, ..kev("2026-11-22T12:00:00Z", checked) };
            meta.dated = meta.dated.filter(|_| dated);
            let freshness = meta.freshness(&FreshFor::default(), now);
            (freshness.name(), freshness.is_believed())
        };
        assert_eq!(of(Kind::Kev, false, None), ("undated", false), "nobody knows how old it is");
        assert_eq!(of(Kind::Kev, false, Some("2026-11-23T11:00:00Z")), ("undated", true));
        assert_eq!(of(Kind::Kev, false, Some("2026-11-21T11:00:00Z")), ("undated", false));
        for kind in [Kind::Cvss, Kind::Vulnrichment, Kind::Vex, Kind::Support] {
            assert_eq!(of(kind, false, None), ("undated", true), "{kind} sets no limit, and still is not fresh");
            assert_eq!(of(kind, true, None), ("ageless", true), "{kind}");
        }
    }
}
