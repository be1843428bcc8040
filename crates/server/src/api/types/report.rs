//! Exposure time: how long problems were open, and what they waited for.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How long problems were open in a time, of everything that the visitor sees.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Report {
    /// What was closed from then on counts, and what is open.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// All of it.
    pub total: ReportFigures,
    /// By urgency and tier, the most urgent first.
    pub groups: Vec<ReportGroup>,
    /// There were more findings than one report counts.
    pub cut: bool,
}

/// The figures of one urgency and tier.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReportGroup {
    /// Outcome of the deployer table.
    pub urgency: String,
    /// Tier of the asset, 1 the most critical; one that nobody knows counts as that.
    pub tier: u8,
    /// Its figures.
    pub figures: ReportFigures,
}

/// Times are in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReportFigures {
    /// Findings that were closed.
    pub closed: u32,
    /// Findings that are open and have a fix.
    pub open: u32,
    /// From being found to being closed, on average.
    pub mean_seconds: Option<i64>,
    /// The same of the one in the middle.
    pub median_seconds: Option<i64>,
    /// The same of the one that nine of ten are not longer than.
    pub ninetieth_seconds: Option<i64>,
    /// How long the oldest that is open has been found.
    pub oldest_seconds: Option<i64>,
    /// Closed by their due time, of those that have one.
    pub in_time: u32,
    /// Closed later than that, or open and late.
    pub late: u32,
    /// Of what is closed: without any person doing anything, in percent.
    pub untouched_percent: Option<u32>,
    /// Things persons did for each that is closed, in hundredths.
    pub touches_per_fix_e2: Option<u64>,
    /// Seconds at each gate, all findings together: `before_detection`, `detect`, `decide`, `person`, `window`, `act`,
    /// `verify`.
    pub gates: BTreeMap<String, i64>,
}
