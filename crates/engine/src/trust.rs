//! Trust that is earned: what an action has shown on one system and one class of assets, in numbers that policies and
//! people can ask for.
//!
//! The success rate is stated with the lower bound of Wilson's score interval at 95 % (E. B. Wilson, "Probable
//! inference, the law of succession, and statistical inference", JASA 22, 1927): three good runs of three are not yet
//! trust. All of it is whole numbers, so that everybody computes the same.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_model::When;
use stanch_model::asset::AssetKind;

/// One million: rates are parts of it.
pub const MILLION: u32 = 1_000_000;

/// What a record is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Track {
    /// The action.
    pub action: String,
    /// The system: `debian 12`.
    pub system: String,
    /// The kind of asset.
    pub kind: AssetKind,
    /// What a person said of its data; absent for nothing said.
    pub classification: Option<String>,
}

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done, and the detector agrees.
    Verified,
    /// It failed, or the problem is still there.
    Failed,
    /// It was taken back, and that worked.
    Undone,
    /// It was to be taken back, and that failed: the grade is gone.
    BadUndo,
    /// Its owner says that it should not have been done.
    Misfire,
    /// Its owner says that it may stay.
    Confirmed,
}

/// Numbers of runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Done, and the detector agreed.
    pub verified: u32,
    /// Failed, or the problem was still there.
    pub failed: u32,
    /// Taken back, and that worked.
    pub undone: u32,
    /// Should not have been done.
    pub misfires: u32,
    /// Confirmed by their owners.
    pub confirmed: u32,
}

impl Tally {
    fn count(&mut self, outcome: Outcome) {
        let count = match outcome {
            Outcome::Verified => &mut self.verified,
            Outcome::Failed | Outcome::BadUndo => &mut self.failed,
            Outcome::Undone => &mut self.undone,
            Outcome::Misfire => &mut self.misfires,
            Outcome::Confirmed => &mut self.confirmed,
        };
        *count = count.saturating_add(1);
    }

    /// Runs with a clear end.
    pub const fn runs(&self) -> u32 {
        self.verified.saturating_add(self.failed)
    }

    /// The share that was verified, in parts of a million; `None` without a run.
    pub fn success_rate(&self) -> Option<u32> {
        let runs = u64::from(self.runs());
        let rate = (u64::from(self.verified) * u64::from(MILLION)).checked_div(runs)?;
        u32::try_from(rate).ok()
    }

    /// What that share is at least, with 95 % confidence, in parts of a million; `None` without a run.
    pub fn success_at_least(&self) -> Option<u32> {
        (self.runs() > 0).then(|| wilson_lower(self.verified, self.runs()))
    }
}

/// The quantile of the normal distribution for a two-sided 95 %, and its square, in parts of a million.
const Z: u128 = 1_959_964;
const Z_SQUARED: u128 = 3_841_459;

/// The lower bound of Wilson's score interval, in parts of a million, rounded down:
/// (2s + z^2 - z * sqrt(z^2 + 4s(n - s)/n)) / (2(n + z^2)) for `s` good of `n` runs. 0 for no run at all.
pub fn wilson_lower(good: u32, runs: u32) -> u32 {
    const ONE: u128 = 1_000_000;
    if runs == 0 {
        return 0;
    }
    let (s, n) = (u128::from(good.min(runs)), u128::from(runs));
    let inside = Z_SQUARED * ONE + (4 * s * (n - s) * ONE * ONE).div_ceil(n);
    // Rounded up, so that the bound is rounded down.
    let root = inside.isqrt() + 1;
    let above = (2 * s * ONE + Z_SQUARED).saturating_sub((Z * root).div_ceil(ONE));
    let below = 2 * (n * ONE + Z_SQUARED);
    u32::try_from(above * ONE / below).unwrap_or(0).min(MILLION)
}

/// When and why a grade was taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub because: Outcome,
}

/// What an action has shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// All of it.
    pub total: Tally,
    /// What counts: since the grade was last taken away.
    pub standing: Tally,
    /// The last time it was.
    pub lost: Option<Loss>,
}

impl Record {
    /// The record after one more end.
    #[must_use]
    pub fn after(mut self, outcome: Outcome, at: Timestamp) -> Self {
        self.total.count(outcome);
        if outcome == Outcome::BadUndo {
            self.standing = Tally::default();
            self.lost = Some(Loss { at, because: outcome });
        } else {
            self.standing.count(outcome);
        }
        self
    }
}

/// What has to be shown before something may run without being asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thresholds {
    /// So many verified runs.
    pub verified_runs: u32,
    /// The success rate is at least this, with confidence; parts of a million.
    pub success_at_least: u32,
    /// No more than so many that should not have been done.
    pub misfires: u32,
    /// No more than so many that were taken back.
    pub undone: u32,
    /// Nothing was lost for so many seconds.
    pub calm_seconds: u32,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { verified_runs: 50, success_at_least: 900_000, misfires: 0, undone: 2, calm_seconds: 30 * 24 * 3600 }
    }
}

/// What is still missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "missing", rename_all = "snake_case")]
pub enum Missing {
    /// Verified runs.
    Runs {
        /// So many there are.
        are: u32,
        /// So many are asked for.
        wanted: u32,
    },
    /// The success rate, with confidence.
    Rate {
        /// What it is at least, in parts of a million.
        is: u32,
        /// What is asked for.
        wanted: u32,
    },
    /// Too many should not have been done.
    Misfires {
        /// So many there are.
        are: u32,
        /// So many may be.
        may: u32,
    },
    /// Too many were taken back.
    Undone {
        /// So many there are.
        are: u32,
        /// So many may be.
        may: u32,
    },
    /// The grade was lost not long ago.
    Lost {
        /// When.
        at: Timestamp,
    },
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |parts: u32| format!("{}.{} %", parts / 10_000, parts / 1_000 % 10);
        match self {
            Self::Runs { are, wanted } => write!(f, "{are} verified runs of {wanted}"),
            Self::Rate { is, wanted } => {
                write!(f, "it works in at least {} of all runs; asked for are {}", percent(*is), percent(*wanted))
            }
            Self::Misfires { are, may } => write!(f, "{are} runs should not have been; {may} may"),
            Self::Undone { are, may } => write!(f, "{are} runs were taken back; {may} may be"),
            Self::Lost { at } => write!(f, "taking it back failed at {}", When(*at)),
        }
    }
}

/// Why an action may be proposed to run without being asked for. A proposal changes nothing: an approved change does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// What counts.
    pub standing: Tally,
    /// Its success rate, in parts of a million.
    pub success_rate: u32,
    /// What that is at least, with confidence.
    pub success_at_least: u32,
    /// What was asked for.
    pub thresholds: Thresholds,
}

/// Whether an action has shown enough to run without being asked for.
///
/// # Errors
/// All that is missing.
pub fn ready_for_auto(record: &Record, thresholds: &Thresholds, now: Timestamp) -> Result<Evidence, Vec<Missing>> {
    let standing = record.standing;
    let mut missing = Vec::new();
    if standing.verified < thresholds.verified_runs {
        missing.push(Missing::Runs { are: standing.verified, wanted: thresholds.verified_runs });
    }
    let at_least = standing.success_at_least().unwrap_or(0);
    if at_least < thresholds.success_at_least {
        missing.push(Missing::Rate { is: at_least, wanted: thresholds.success_at_least });
    }
    if standing.misfires > thresholds.misfires {
        missing.push(Missing::Misfires { are: standing.misfires, may: thresholds.misfires });
    }
    if standing.undone > thresholds.undone {
        missing.push(Missing::Undone { are: standing.undone, may: thresholds.undone });
    }
    if let Some(loss) = record.lost
        && now.duration_since(loss.at).as_secs() < i64::from(thresholds.calm_seconds)
    {
        missing.push(Missing::Lost { at: loss.at });
    }
    if !missing.is_empty() {
        return Err(missing);
    }
    let success_rate = standing.success_rate().unwrap_or(0);
    Ok(Evidence { standing, success_rate, success_at_least: at_least, thresholds: *thresholds })
}
