//! Counts for the first page: what is exposed, what was done, what waits, and how that went day by day.

use std::collections::{BTreeMap, BTreeSet};

use stanch_model::finding::{Detector, Verdict};
use stanch_model::id::AssetId;

use crate::column::{Columns, all, ids};
use crate::db::query;
use crate::error::ReadError;
use crate::store::Store;

/// How many findings there are of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FindingCount {
    /// Open.
    pub open: u64,
    /// Closed.
    pub closed: u64,
}

/// What one day brought, of one detector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrendDay {
    /// The day in UTC.
    pub day: jiff::civil::Date,
    /// The detector.
    pub detector: Detector,
    /// Findings opened or reopened.
    pub opened: u64,
    /// Findings closed as fixed.
    pub fixed: u64,
    /// Findings closed because the data changed.
    pub withdrawn: u64,
    /// Findings closed because their subject is gone.
    pub gone: u64,
}

const FINDINGS: &str = "SELECT detector, verdict, CAST(SUM(open) AS BIGINT) AS open, CAST(SUM(closed) AS BIGINT) AS closed \
     FROM finding_count \
     WHERE $1 IS NULL OR asset IN (SELECT value FROM json_each($1)) GROUP BY detector, verdict";
const REMEDIATIONS: &str = "SELECT state, COUNT(*) AS number FROM remediation GROUP BY state";
const TREND: &str = "SELECT day, detector, opened, fixed, withdrawn, gone FROM finding_day WHERE day >= $1 \
     ORDER BY day, detector";

impl Store {
    /// How many findings there are on these assets, on all where none is named, by detector and verdict: a few rows for
    /// each asset.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn finding_counts(
        &self,
        among: Option<&BTreeSet<AssetId>>,
    ) -> Result<BTreeMap<(Detector, Verdict), FindingCount>, ReadError> {
        let rows = query(FINDINGS).bind(among.map(ids)).fetch_all(self.read()).await;
        let counts = all(&rows.map_err(ReadError::database("count findings"))?, |row| {
            let columns = Columns::new("finding", row);
            let count = FindingCount { open: columns.count("open")?, closed: columns.count("closed")? };
            Ok(((columns.named("detector")?, columns.named("verdict")?), count))
        })?;
        Ok(counts.into_iter().collect())
    }

    /// Remediations by the name of their state.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn remediation_counts(&self) -> Result<BTreeMap<String, u64>, ReadError> {
        let rows = query(REMEDIATIONS).fetch_all(self.read()).await;
        let counts = all(&rows.map_err(ReadError::database("count remediations"))?, |row| {
            let columns = Columns::new("remediation", row);
            Ok((columns.text("state")?, columns.count("number")?))
        })?;
        Ok(counts.into_iter().collect())
    }

    /// What each day brought from `since` on. A day without a change has no row.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn trend(&self, since: jiff::civil::Date) -> Result<Vec<TrendDay>, ReadError> {
        let rows = query(TREND).bind(since.to_string()).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("read the trend"))?, |row| {
            let columns = Columns::new("trend", row);
            Ok(TrendDay {
                day: columns.parsed("day")?,
                detector: columns.named("detector")?,
                opened: columns.count("opened")?,
                fixed: columns.count("fixed")?,
                withdrawn: columns.count("withdrawn")?,
                gone: columns.count("gone")?,
            })
        })
    }
}
