//! The matrix: one row for each thing that was tried.

use std::fmt::Write as _;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Death, Moment, Point, Wrong};

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum RowResult {
    /// As promised.
    Passed,
    /// Not as promised.
    Failed {
        /// What was seen instead.
        why: String,
    },
    /// Not tried, or the world itself did not work.
    Untested {
        /// Why.
        why: String,
    },
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConformanceRow {
    /// The action.
    pub action: String,
    /// The system.
    pub system: String,
    /// What is special about the world.
    pub case: String,
    /// What was tried: `apply`, `apply, crash`.
    pub check: String,
    /// Where it was interrupted; empty if it was not.
    pub point: String,
    /// The result.
    #[serde(flatten)]
    pub result: RowResult,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// All rows of one world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConformanceReport {
    action: String,
    system: String,
    case: String,
    /// The rows, in the order they were tried.
    pub rows: Vec<ConformanceRow>,
}

impl ConformanceReport {
    pub(super) const fn new(action: String, system: String, case: String) -> Self {
        Self { action, system, case, rows: Vec::new() }
    }

    /// A report that says that nothing could be tried here.
    pub fn none(action: &str, system: &str, case: &str, why: &str) -> Self {
        let mut report = Self::new(action.to_owned(), system.to_owned(), case.to_owned());
        report.untested("all", why);
        report
    }

    pub(super) fn untested(&mut self, check: &str, why: &str) {
        self.push(check, String::new(), RowResult::Untested { why: why.to_owned() }, Instant::now());
    }

    /// Notes how an attempt went; gives what it returned.
    pub(super) fn row<T>(&mut self, check: &str, point: &str, attempt: impl FnOnce() -> Result<T, Wrong>) -> Option<T> {
        let began = Instant::now();
        let (result, value) = match attempt() {
            Ok(value) => (RowResult::Passed, Some(value)),
            Err(Wrong::Action(why)) => (RowResult::Failed { why }, None),
            Err(Wrong::Untested(why)) => (RowResult::Untested { why }, None),
            Err(Wrong::World(error)) => (RowResult::Failed { why: format!("world: {error}") }, None),
        };
        self.push(check, point.to_owned(), result, began);
        value
    }

    fn push(&mut self, check: &str, point: String, result: RowResult, began: Instant) {
        self.rows.push(ConformanceRow {
            action: self.action.clone(),
            system: self.system.clone(),
            case: self.case.clone(),
            check: check.to_owned(),
            point,
            result,
            millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
    }

    /// Whether no row failed and at least one passed.
    pub fn is_green(&self) -> bool {
        self.failed().next().is_none() && self.rows.iter().any(|row| row.result == RowResult::Passed)
    }

    /// The rows that failed.
    pub fn failed(&self) -> impl Iterator<Item = &ConformanceRow> {
        self.rows.iter().filter(|row| matches!(row.result, RowResult::Failed { .. }))
    }

    /// One JSON object a line.
    pub fn json_lines(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            // A row is texts and integers: it always has a JSON form.
            let _ = writeln!(text, "{}", serde_json::to_string(row).unwrap_or_default());
        }
        text
    }

    /// A table for people: a line for each check, with the points that were tried under it counted.
    pub fn table(&self) -> String {
        let mut lines: Vec<(&str, usize, usize, usize, u64)> = Vec::new();
        for row in &self.rows {
            let at = lines.iter().position(|line| line.0 == row.check).unwrap_or_else(|| {
                lines.push((&row.check, 0, 0, 0, 0));
                lines.len() - 1
            });
            let Some(line) = lines.get_mut(at) else { continue };
            match row.result {
                RowResult::Passed => line.1 += 1,
                RowResult::Failed { .. } => line.2 += 1,
                RowResult::Untested { .. } => line.3 += 1,
            }
            line.4 += row.millis;
        }
        let mut text = format!("{} on {} ({})\n", self.action, self.system, self.case);
        let _ = writeln!(text, "{:<44} {:>6} {:>6} {:>8} {:>9}", "check", "passed", "failed", "untested", "ms");
        for (check, passed, failed, untested, millis) in lines {
            let _ = writeln!(text, "{check:<44} {passed:>6} {failed:>6} {untested:>8} {millis:>9}");
        }
        for row in self.rows.iter() {
            match &row.result {
                RowResult::Passed => {}
                RowResult::Failed { why } => {
                    let _ = writeln!(text, "FAILED {} {}: {why}", row.check, row.point);
                }
                RowResult::Untested { why } => {
                    let _ = writeln!(text, "untested {} {}: {why}", row.check, row.point);
                }
            }
        }
        text
    }
}

pub(super) fn point_name(point: &Point, death: Death) -> String {
    let death = match death {
        Death::Kill => "kill -9",
        Death::PowerLoss => "power loss",
    };
    match point {
        Point::Append(number, Moment::Before) => format!("{death} before append {number}"),
        Point::Append(number, Moment::After) => format!("{death} after append {number}"),
        Point::Inside(name) => format!("{death} inside {name}"),
    }
}
