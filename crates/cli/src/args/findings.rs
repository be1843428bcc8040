//! Looking: what is wrong, why, and what has become of it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct Scan {
    /// Another root than this machine's
    #[arg(long, value_name = "DIR", conflicts_with_all = ["dpkg_status", "sbom"])]
    pub(crate) root: Option<PathBuf>,
    /// A dpkg status file instead of a machine (plain or .gz)
    #[arg(long, value_name = "FILE", requires = "release", conflicts_with = "sbom")]
    pub(crate) dpkg_status: Option<PathBuf>,
    /// The release the package list belongs to, such as debian:12
    #[arg(long, value_name = "RELEASE")]
    pub(crate) release: Option<String>,
    /// A bill of materials instead of a machine: CycloneDX or SPDX JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) sbom: Option<PathBuf>,
    /// Feeds from this folder instead of those in the data folder or the built-in snapshot
    #[arg(long, value_name = "DIR")]
    pub(crate) feeds: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, value_name = "FORMAT", conflicts_with = "json")]
    pub(crate) format: Option<Format>,
    /// Every finding instead of work items, in the table; the other formats always hold every finding
    #[arg(long)]
    pub(crate) all: bool,
    /// Exit with 3 when an item is at least this urgent
    #[arg(long, value_enum, value_name = "PRIORITY")]
    pub(crate) fail_on: Option<Priority>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table for people
    Table,
    /// One finding a line
    Json,
    /// SARIF 2.1.0
    Sarif,
    /// OCSF 1.8 Vulnerability Findings, one a line
    Ocsf,
    /// CycloneDX 1.6 with vulnerabilities (VEX)
    Cyclonedx,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Priority {
    /// Anything
    Defer,
    /// Regular maintenance
    Scheduled,
    /// Sooner than usual
    OutOfCycle,
    /// Now
    Immediate,
}

/// One problem over all hosts.
#[derive(Debug, Args)]
pub(crate) struct Cve {
    /// A CVE, or what a publisher calls it: CVE-2024-3094, GHSA-..., DSA-...
    pub(crate) id: String,
    /// Only places that stand so
    #[arg(long, value_parser = ["open", "held", "no_fix", "in_work", "excepted", "unknown", "fixed", "gone", "not_affected"])]
    pub(crate) state: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Findings {
    /// Every finding instead of work items
    #[arg(long)]
    pub(crate) all: bool,
    /// Every finding, those that are closed too
    #[arg(long)]
    pub(crate) closed: bool,
    /// Every finding of this detector: advisory, security-origin, running, kernel, support or posture
    #[arg(long, value_name = "NAME")]
    pub(crate) detector: Option<String>,
    /// Read the host's facts again first; the archive indexes stay as they are
    #[arg(long)]
    pub(crate) refresh: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A source package, service, CVE id, or the id of a work item, finding or remediation
    pub(crate) what: String,
}

#[derive(Debug, Args)]
pub(crate) struct Select {
    /// Source packages, services, settings, CVE ids or ids of work items
    pub(crate) items: Vec<String>,
    /// Everything that can be fixed and is not suppressed; settings are named one by one
    #[arg(long, conflicts_with = "items")]
    pub(crate) all: bool,
    /// With --all: also what was taken back before and is suppressed; what is named is never left out for it
    #[arg(long)]
    pub(crate) include_suppressed: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Report {
    /// What was closed in so many days
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=366))]
    pub(crate) days: u16,
}
