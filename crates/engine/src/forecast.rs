//! When a rollout will be over: wave by wave, under its limits, windows and freezes, against its deadline.
//!
//! It plays the rollout with every target taking the same time: once the typical one, once a slow one. Nothing fails in
//! it, nobody is waited for, and nothing else takes the budgets; so it says when it can be over, not when it will be.
//! The slow course is what a deadline should be held against.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fmt;

use jiff::civil::Weekday;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use stanch_model::When;
use stanch_model::calendar::{Gate, Timetable, Zone};
use stanch_model::plan::Limits;

use crate::blocked::Blocked;
use crate::schedule::Schedule;

/// The most targets that are played.
pub const MAX_TARGETS: u64 = 1_000_000;
/// The most days that are counted through.
const MAX_DAYS: usize = 4_000;
const HOUR: i64 = 3_600;

/// What the durations rest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "basis", rename_all = "snake_case")]
pub enum Basis {
    /// What the actions declare as their longest.
    Declared,
    /// What was measured.
    Measured {
        /// In so many runs.
        runs: u32,
    },
}

/// How long one target takes, all its steps together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Durations {
    /// Half of them take no longer.
    pub typical: SignedDuration,
    /// Nine of ten take no longer; never less than the typical.
    pub slow: SignedDuration,
    /// What that rests on.
    pub basis: Basis,
}

/// One wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WaveSize {
    /// So many targets.
    pub targets: u32,
    /// Watched so long after it is verified, in seconds.
    pub bake_seconds: u32,
}

/// What a forecast is made of.
#[derive(Debug, Clone)]
pub struct ForecastInput<'a> {
    /// The waves, in order.
    pub waves: &'a [WaveSize],
    /// The limits.
    pub limits: &'a Limits,
    /// When a target may start.
    pub schedule: &'a Schedule<'a>,
    /// How long one takes.
    pub durations: Durations,
    /// From the last act of a wave to newer facts and the check on them.
    pub verify: SignedDuration,
    /// Nothing starts before.
    pub from: Timestamp,
    /// Nothing starts later.
    pub valid_until: Option<Timestamp>,
    /// When it has to be over.
    pub deadline: Option<Timestamp>,
}

/// When one wave is where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaveTimes {
    /// It could start but for windows, freezes and limits.
    pub ready_at: Timestamp,
    /// Its first target starts.
    pub starts_at: Timestamp,
    /// Its last target is done.
    pub changed_at: Timestamp,
    /// It is verified and was watched.
    pub baked_at: Timestamp,
}

/// How it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ends", rename_all = "snake_case")]
pub enum Ending {
    /// It is over.
    At {
        /// When.
        at: Timestamp,
    },
    /// It is never over.
    Never {
        /// The wave that is not, from 0.
        wave: u32,
        /// So many of its targets cannot start.
        targets: u32,
        /// Why.
        why: Blocked,
    },
}

impl Ending {
    /// When it is over, if ever.
    pub const fn at(&self) -> Option<Timestamp> {
        match self {
            Self::At { at } => Some(*at),
            Self::Never { .. } => None,
        }
    }
}

/// One way it may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Course {
    /// The waves that are over in it.
    pub waves: Vec<WaveTimes>,
    /// How it ends.
    pub ending: Ending,
}

/// Whether a deadline is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "deadline", rename_all = "snake_case")]
pub enum Deadline {
    /// Even when it is slow.
    Met {
        /// The deadline.
        at: Timestamp,
        /// What is to spare when it is slow.
        spare: SignedDuration,
    },
    /// Only when nothing is slow.
    Tight {
        /// The deadline.
        at: Timestamp,
        /// So much late when it is slow; `None` when it is then never over.
        late: Option<SignedDuration>,
    },
    /// Not at all.
    Missed {
        /// The deadline.
        at: Timestamp,
        /// So much late at the least; `None` when it is never over.
        late: Option<SignedDuration>,
    },
}

/// When a rollout can be over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// When every target takes the typical time.
    pub typical: Course,
    /// When every target is slow.
    pub slow: Course,
    /// What the durations rest on.
    pub basis: Basis,
    /// The deadline, where there is one.
    pub deadline: Option<Deadline>,
}

/// Why there is no forecast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ForecastError {
    /// Too many targets.
    #[error("{targets} targets are more than the {MAX_TARGETS} that are forecast")]
    TooMany {
        /// How many.
        targets: u64,
    },
    /// Times beyond all dates.
    #[error("the rollout would end beyond all dates")]
    Beyond,
}

/// Plays the rollout.
///
/// # Errors
/// When it has too many targets, or its times lie beyond all dates.
pub fn forecast(input: &ForecastInput<'_>) -> Result<Forecast, ForecastError> {
    let targets = input.waves.iter().map(|wave| u64::from(wave.targets)).sum();
    if targets > MAX_TARGETS {
        return Err(ForecastError::TooMany { targets });
    }
    let typical = course(input, input.durations.typical)?;
    let slow = course(input, input.durations.slow.max(input.durations.typical))?;
    let deadline = input.deadline.map(|at| hold_against(at, &typical.ending, &slow.ending));
    Ok(Forecast { typical, slow, basis: input.durations.basis, deadline })
}

fn hold_against(at: Timestamp, typical: &Ending, slow: &Ending) -> Deadline {
    let late = |ending: &Ending| ending.at().map(|ends| ends.duration_since(at));
    match (typical.at(), slow.at()) {
        (_, Some(ends)) if ends <= at => Deadline::Met { at, spare: at.duration_since(ends) },
        (Some(ends), _) if ends <= at => Deadline::Tight { at, late: late(slow) },
        _ => Deadline::Missed { at, late: late(typical) },
    }
}

/// The hour of the clock an instant is in.
fn hour(at: Timestamp) -> i64 {
    at.as_second().div_euclid(HOUR)
}

/// What keeps the next target from starting, for good.
struct Stuck(Blocked);

struct Play<'a> {
    input: &'a ForecastInput<'a>,
    takes: SignedDuration,
    /// No target starts before the one ahead of it.
    ready: Timestamp,
    /// The ends of those that run.
    running: BinaryHeap<Reverse<Timestamp>>,
    /// The newest starts, as many as an hour may have.
    begun: VecDeque<Timestamp>,
}

fn course(input: &ForecastInput<'_>, takes: SignedDuration) -> Result<Course, ForecastError> {
    let takes = takes.max(SignedDuration::ZERO);
    let mut play = Play { input, takes, ready: input.from, running: BinaryHeap::new(), begun: VecDeque::new() };
    let mut waves = Vec::new();
    for (number, wave) in (0..).zip(input.waves) {
        let ready_at = play.ready;
        let (mut starts_at, mut changed_at) = (None, ready_at);
        for done in 0..wave.targets {
            match play.start()? {
                Ok(at) => {
                    starts_at.get_or_insert(at);
                    changed_at = changed_at.max(later(at, takes)?);
                }
                Err(Stuck(why)) => {
                    let ending = Ending::Never { wave: number, targets: wave.targets - done, why };
                    return Ok(Course { waves, ending });
                }
            }
        }
        let watched =
            input.verify.max(SignedDuration::ZERO).saturating_add(SignedDuration::from_secs(wave.bake_seconds.into()));
        let baked_at = if wave.targets == 0 { ready_at } else { later(changed_at, watched)? };
        play.ready = baked_at;
        play.running.clear();
        waves.push(WaveTimes { ready_at, starts_at: starts_at.unwrap_or(ready_at), changed_at, baked_at });
    }
    Ok(Course { waves, ending: Ending::At { at: play.ready } })
}

fn later(at: Timestamp, by: SignedDuration) -> Result<Timestamp, ForecastError> {
    at.checked_add(by).map_err(|_| ForecastError::Beyond)
}

impl Play<'_> {
    /// Starts the next target as early as everything allows.
    fn start(&mut self) -> Result<Result<Timestamp, Stuck>, ForecastError> {
        let Limits { concurrent, per_hour, .. } = *self.input.limits;
        if concurrent == 0 || per_hour == 0 {
            return Ok(Err(Stuck(Blocked::Concurrency { limit: 0 })));
        }
        let mut at = self.ready;
        if self.running.len() >= concurrent as usize
            && let Some(Reverse(free)) = self.running.pop()
        {
            at = at.max(free);
        }
        // Of so many starts the oldest must lie in an hour before this one's.
        if self.begun.len() >= per_hour as usize
            && let Some(oldest) = self.begun.pop_front()
        {
            let next_hour = Timestamp::from_second(hour(oldest).saturating_add(1).saturating_mul(HOUR));
            at = at.max(next_hour.map_err(|_| ForecastError::Beyond)?);
        }
        let Some(start) = self.input.schedule.next_start(at) else {
            let why = match self.input.schedule.gate(at) {
                Gate::Closed { why, .. } => Blocked::Calendar { why, starts_at: None },
                Gate::Open { .. } => return Err(ForecastError::Beyond),
            };
            return Ok(Err(Stuck(why)));
        };
        if let Some(since) = self.input.valid_until.filter(|until| *until <= start) {
            return Ok(Err(Stuck(Blocked::TooOld { since })));
        }
        self.ready = start;
        self.begun.push_back(start);
        self.running.push(Reverse(later(start, self.takes)?));
        Ok(Ok(start))
    }
}

/// Working days between two instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusinessDays {
    /// So many days from Monday to Friday that are no holidays begin after the first instant's day, up to the last's.
    pub days: u32,
    /// The holidays are worked out for all of that time; else some may be missing.
    pub holidays_known: bool,
}

/// Working days between two instants, by the wall of a zone: 0 on the same day. A day counts as a holiday when the
/// calendar is in force at its noon.
pub fn business_days(from: Timestamp, to: Timestamp, zone: &Zone, holidays: Option<&Timetable>) -> BusinessDays {
    let (first, last) = (zone.wall(from).date(), zone.wall(to).date());
    let mut count = BusinessDays { days: 0, holidays_known: true };
    let mut day = first;
    for _ in 0..MAX_DAYS {
        let Some(next) = day.tomorrow().ok().filter(|next| *next <= last) else {
            return count;
        };
        day = next;
        if matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday) {
            continue;
        }
        let noon = zone.instant(day.at(12, 0, 0, 0));
        let known = |table: &Timetable| noon.is_some_and(|noon| table.whole().contains(noon));
        count.holidays_known &= holidays.is_none_or(known);
        let off = holidays.zip(noon).is_some_and(|(table, noon)| table.open_at(noon).is_some());
        count.days += u32::from(!off);
    }
    count.holidays_known = false;
    count
}

/// `3 d 4 h`: the two largest units.
fn spell(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let parts = [(seconds / 86_400, "d"), (seconds / HOUR % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let text: Vec<String> = parts
        .iter()
        .skip_while(|(n, _)| *n == 0)
        .take(2)
        .filter(|(n, _)| *n > 0)
        .map(|(n, u)| format!("{n} {u}"))
        .collect();
    if text.is_empty() { "0 s".to_owned() } else { text.join(" ") }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Met { at, spare } => write!(f, "meets the deadline {} with {} to spare", When(*at), spell(*spare)),
            Self::Tight { at, late: Some(late) } => {
                write!(
                    f,
                    "meets the deadline {} only when nothing is slow; else it is {} late",
                    When(*at),
                    spell(*late)
                )
            }
            Self::Tight { at, late: None } => {
                write!(f, "meets the deadline {} only when nothing is slow; else it is never over", When(*at))
            }
            Self::Missed { at, late: Some(late) } => write!(f, "misses the deadline {} by {}", When(*at), spell(*late)),
            Self::Missed { at, late: None } => write!(f, "misses the deadline {}, because it is never over", When(*at)),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At { at } => write!(f, "is over at {}", When(*at)),
            Self::Never { wave, targets, why } => {
                write!(f, "is never over: {targets} of the targets of wave {} cannot start: ", wave + 1)?;
                match why {
                    Blocked::Calendar { why, .. } => write!(f, "{why}"),
                    other => write!(f, "{other}"),
                }
            }
        }
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.typical.ending)?;
        if self.slow.ending != self.typical.ending {
            write!(f, "; when everything is slow, it {}", self.slow.ending)?;
        }
        if let Some(deadline) = &self.deadline {
            write!(f, "; {deadline}")?;
        }
        match self.basis {
            Basis::Declared => f.write_str(" (by the durations that the actions declare)"),
            Basis::Measured { runs } => write!(f, " (by the durations of {runs} runs)"),
        }
    }
}
