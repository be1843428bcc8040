//! Counts for the first page: what is exposed, what was done, what waits, and how that went day by day.

use std::collections::BTreeMap;

use stanch_model::finding::{Detector, Verdict};

use crate::column::{Columns, all};
use crate::error::ReadError;
use crate::store::Store;

/// How things stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overview {
    /// Assets.
    pub assets: u64,
    /// Open findings by detector and verdict.
    pub findings: BTreeMap<(Detector, Verdict), u64>,
    /// Open items.
    pub items: u64,
    /// Remediations by the name of their state.
    pub remediations: BTreeMap<String, u64>,
    /// Tasks by the name of their state.
    pub tasks: BTreeMap<String, u64>,
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

const ASSETS: &str = "SELECT COUNT(*) AS number FROM asset";
const ITEMS: &str = "SELECT COUNT(*) AS number FROM item WHERE closed_at IS NULL";
const FINDINGS: &str = "SELECT detector, verdict, COUNT(*) AS number FROM finding WHERE closed_at IS NULL \
     GROUP BY detector, verdict";
const REMEDIATIONS: &str = "SELECT state, COUNT(*) AS number FROM remediation GROUP BY state";
const TASKS: &str = "SELECT state, COUNT(*) AS number FROM task GROUP BY state";
const TREND: &str = "SELECT day, detector, opened, fixed, withdrawn, gone FROM finding_day WHERE day >= $1 \
     ORDER BY day, detector";

impl Store {
    /// Counts of everything.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn overview(&self) -> Result<Overview, ReadError> {
        let rows = sqlx::query(FINDINGS).fetch_all(self.read()).await;
        let findings = all(&rows.map_err(ReadError::database("count findings"))?, |row| {
            let columns = Columns::new("finding", row);
            Ok(((columns.named("detector")?, columns.named("verdict")?), columns.count("number")?))
        })?;
        Ok(Overview {
            assets: self.count(ASSETS).await?,
            findings: findings.into_iter().collect(),
            items: self.count(ITEMS).await?,
            remediations: self.states(REMEDIATIONS).await?,
            tasks: self.states(TASKS).await?,
        })
    }

    /// What each day brought from `since` on. A day without a change has no row.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn trend(&self, since: jiff::civil::Date) -> Result<Vec<TrendDay>, ReadError> {
        let rows = sqlx::query(TREND).bind(since.to_string()).fetch_all(self.read()).await;
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

    async fn count(&self, sql: &'static str) -> Result<u64, ReadError> {
        let row = sqlx::query(sql).fetch_one(self.read()).await.map_err(ReadError::database("count"))?;
        Columns::new("overview", &row).count("number")
    }

    async fn states(&self, sql: &'static str) -> Result<BTreeMap<String, u64>, ReadError> {
        let rows = sqlx::query(sql).fetch_all(self.read()).await.map_err(ReadError::database("count states"))?;
        let counted = all(&rows, |row| {
            let columns = Columns::new("overview", row);
            Ok((columns.text("state")?, columns.count("number")?))
        })?;
        Ok(counted.into_iter().collect())
    }
}
