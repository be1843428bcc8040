//! Breakers: after a rollout of a policy was halted, its action rests; then it is tried again on one target, on two, on
//! four, and only when all of those are proven is it free again. One failure on the way, and it rests twice as long.
//!
//! A breaker that is half open lets a stated number of starts through, and counts only what became of those: a good
//! end of something that was begun before proves nothing about the trial.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The first rest after a halt, in seconds.
pub const FIRST_REST_SECONDS: i64 = 30 * 60;
/// No rest is longer, in seconds.
pub const LONGEST_REST_SECONDS: i64 = 7 * 24 * 3600;
/// Starts let through in each stage of the trial.
pub const TRIAL: [u32; 3] = [1, 2, 4];

/// The name of the breaker of one action of one policy.
pub fn scope(policy: &str, action: &str) -> String {
    format!("breaker/{policy}/{action}")
}

/// What became of something a breaker watches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "word", rename_all = "snake_case")]
pub enum Word {
    /// A rollout was halted.
    Halted,
    /// A start of a trial was proven.
    Good {
        /// The trial's span.
        span: String,
    },
    /// A start of a trial failed.
    Bad {
        /// The trial's span.
        span: String,
    },
}

/// What a breaker lets through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "admits", rename_all = "snake_case")]
pub enum Admission {
    /// Everything.
    Free,
    /// Nothing.
    Shut {
        /// Until then.
        until: Timestamp,
    },
    /// So many starts in this span of its budget.
    Trial {
        /// The span: trip and stage.
        span: String,
        /// How many.
        limit: u32,
    },
}

/// One breaker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    /// How often it opened; tells one trial from another.
    pub trips: u32,
    /// Where it stands.
    pub state: State,
}

/// Where a breaker stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Everything passes.
    #[default]
    Closed,
    /// Nothing passes until its rest is over; then the trial.
    Open {
        /// Until then nothing passes.
        until: Timestamp,
        /// How long this rest is, in seconds.
        rest: i64,
        /// The stage of the trial, from 0.
        stage: u32,
        /// Starts of this stage that were proven.
        proven: u32,
    },
}

impl Breaker {
    /// What it lets through at this time.
    pub fn admission(&self, now: Timestamp) -> Admission {
        match self.state {
            State::Closed => Admission::Free,
            State::Open { until, .. } if now < until => Admission::Shut { until },
            State::Open { stage, .. } => Admission::Trial { span: self.span(stage), limit: admitted(stage) },
        }
    }

    fn trip(&self) -> String {
        format!("trip/{}/", self.trips)
    }

    fn span(&self, stage: u32) -> String {
        format!("{}stage/{}", self.trip(), stage.saturating_add(1))
    }

    /// The breaker after this.
    #[must_use]
    pub fn after(&self, word: &Word, now: Timestamp) -> Self {
        match (&self.state, word) {
            (State::Closed, Word::Halted) => self.open(FIRST_REST_SECONDS, now),
            // What was begun before it opened, or in an earlier trial, says nothing new.
            (State::Open { until, .. }, Word::Halted) if now < *until => self.clone(),
            (State::Open { rest, .. }, Word::Halted) => self.open(rest.saturating_mul(2), now),
            // Any start of this trial, also of a stage that was passed meanwhile.
            (State::Open { rest, .. }, Word::Bad { span }) if span.starts_with(&self.trip()) => {
                self.open(rest.saturating_mul(2), now)
            }
            (State::Open { until, rest, stage, proven }, Word::Good { span }) if *span == self.span(*stage) => {
                let proven = proven.saturating_add(1);
                let state = if proven < admitted(*stage) {
                    State::Open { until: *until, rest: *rest, stage: *stage, proven }
                } else if stage.saturating_add(1) < TRIAL.len() as u32 {
                    State::Open { until: *until, rest: *rest, stage: stage.saturating_add(1), proven: 0 }
                } else {
                    State::Closed
                };
                Self { trips: self.trips, state }
            }
            _ => self.clone(),
        }
    }

    fn open(&self, rest: i64, now: Timestamp) -> Self {
        let rest = rest.min(LONGEST_REST_SECONDS);
        let until = now.checked_add(SignedDuration::from_secs(rest)).unwrap_or(Timestamp::MAX);
        Self { trips: self.trips.saturating_add(1), state: State::Open { until, rest, stage: 0, proven: 0 } }
    }
}

fn admitted(stage: u32) -> u32 {
    TRIAL.get(stage as usize).copied().unwrap_or(1)
}
