//! Exposure time: how long a problem was open, split by what it waited for, so that every gate shows its price.
//!
//! The parts are cut from one line at its moments, so they add up to the whole, to the nanosecond.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use stanch_model::asset::Tier;
use stanch_model::remediation::RemediationState;

use crate::blocked::Blocked;

/// What an open problem waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// It is there, and nobody has read facts that show it.
    BeforeDetection,
    /// Facts show it; the detectors have not said so yet.
    Detect,
    /// It is known; nothing is decided or planned yet.
    Decide,
    /// A person has to approve, start, release or repair something.
    Person,
    /// A window, a freeze, a budget, another wave or another environment.
    Window,
    /// An executor is at work.
    Act,
    /// Done; the check is not.
    Verify,
}

impl Gate {
    /// All of them, in the order they usually come.
    pub const ALL: [Self; 7] =
        [Self::BeforeDetection, Self::Detect, Self::Decide, Self::Person, Self::Window, Self::Act, Self::Verify];

    /// The gate of a remediation that stands here, with what it waits for.
    pub fn of(state: RemediationState, waits: &[Blocked]) -> Self {
        use RemediationState as S;
        let waits_for = |wanted: fn(&Blocked) -> bool| waits.iter().any(wanted);
        let person = |on: &Blocked| {
            matches!(
                on,
                Blocked::Approval
                    | Blocked::Change { .. }
                    | Blocked::Hold { .. }
                    | Blocked::Person { .. }
                    | Blocked::Away { .. }
            )
        };
        match state {
            S::Decided | S::Planned => Self::Decide,
            S::Approved | S::Scheduled if waits_for(person) => Self::Person,
            S::Approved | S::Scheduled | S::Baking(_) => Self::Window,
            S::Rolling(_) if !waits.is_empty() && waits.iter().all(person) => Self::Person,
            S::Rolling(_)
                if !waits.is_empty()
                    && !waits_for(|on| matches!(on, Blocked::Answer { .. } | Blocked::Journal { .. })) =>
            {
                Self::Window
            }
            S::Rolling(_) | S::RollingBack | S::Halted => Self::Act,
            S::Verifying(_) | S::Verified => Self::Verify,
            S::Paused if waits_for(|on| matches!(on, Blocked::Inconclusive { .. })) => Self::Verify,
            // Whatever else is open waits for somebody to do something about it.
            _ => Self::Person,
        }
    }
}

/// A moment from which an open problem waits for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// For what, from then on.
    pub gate: Gate,
}

/// The life of one problem on one asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// When its advisory was published, where that is known.
    pub published: Option<Timestamp>,
    /// When what has it was installed, where that is known.
    pub installed: Option<Timestamp>,
    /// When the facts were read that first show it.
    pub shown: Timestamp,
    /// When the detectors said so.
    pub found: Timestamp,
    /// From when on it waited for what, after that.
    pub moments: Vec<Moment>,
    /// When it was closed; it is open while absent.
    pub closed: Option<Timestamp>,
}

impl Life {
    /// Since when it can be said to be exposed: published and installed, where both are known; else since it was shown.
    pub fn exposed_since(&self) -> Timestamp {
        let both = self.published.zip(self.installed).map(|(published, installed)| published.max(installed));
        both.map_or(self.shown, |at| at.min(self.shown))
    }

    /// The whole time, until it was closed or until now.
    pub fn total(&self, now: Timestamp) -> SignedDuration {
        let end = self.end(now);
        end.duration_since(self.exposed_since())
    }

    fn end(&self, now: Timestamp) -> Timestamp {
        self.closed.unwrap_or(now).max(self.exposed_since())
    }

    /// The time at each gate. Gates where it never waited are absent.
    pub fn split(&self, now: Timestamp) -> BTreeMap<Gate, SignedDuration> {
        let (start, end) = (self.exposed_since(), self.end(now));
        let mut moments = vec![
            Moment { at: start, gate: Gate::BeforeDetection },
            Moment { at: self.shown, gate: Gate::Detect },
            Moment { at: self.found.max(self.shown), gate: Gate::Decide },
        ];
        // What is told of a time before it was found cannot be: it counts from then on.
        let later =
            self.moments.iter().map(|moment| Moment { at: moment.at.max(self.found).max(self.shown), ..*moment });
        moments.extend(later);
        // Of several moments at one time the last one told counts.
        moments.sort_by_key(|moment| moment.at);
        let mut split: BTreeMap<Gate, SignedDuration> = BTreeMap::new();
        let ends = moments.iter().skip(1).map(|moment| moment.at).chain([end]);
        for (moment, next) in moments.iter().zip(ends) {
            let (from, until) = (moment.at.clamp(start, end), next.clamp(start, end));
            let part = until.duration_since(from);
            if part > SignedDuration::ZERO {
                let sum = split.entry(moment.gate).or_default();
                *sum = sum.saturating_add(part);
            }
        }
        split
    }
}

/// One problem, as reports count it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Its severity, as its assessment says.
    pub severity: String,
    /// The tier of its asset; unknown counts as the most critical.
    pub tier: Option<Tier>,
    /// Its life.
    pub life: Life,
    /// By when it should have been closed.
    pub due: Option<Timestamp>,
    /// How often a person had to do something for it.
    pub touches: u32,
}

/// What a report says of the problems of one severity and tier.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Closed.
    pub closed: u32,
    /// Open.
    pub open: u32,
    /// From being found to being closed, on average, of what is closed.
    pub mean: Option<SignedDuration>,
    /// The same of the one in the middle.
    pub median: Option<SignedDuration>,
    /// The same of the one that nine of ten are not longer than.
    pub ninetieth: Option<SignedDuration>,
    /// How long the oldest that is open has been found.
    pub oldest: Option<SignedDuration>,
    /// Closed in time, of those that had a time.
    pub in_time: u32,
    /// Closed too late, or open and late.
    pub late: u32,
    /// Closed without any person doing anything.
    pub untouched: u32,
    /// Things persons did for what is closed.
    pub touches: u64,
    /// The time at each gate, all together.
    pub gates: BTreeMap<Gate, SignedDuration>,
}

impl Figures {
    /// The share closed without any person, in percent; `None` while nothing is closed.
    pub fn untouched_percent(&self) -> Option<u32> {
        (self.untouched.saturating_mul(100)).checked_div(self.closed)
    }

    /// Things persons did for each that is closed, in hundredths; `None` while nothing is closed.
    pub fn touches_per_fix(&self) -> Option<u64> {
        (self.touches.saturating_mul(100)).checked_div(u64::from(self.closed))
    }

    fn of(cases: &[&Case], now: Timestamp) -> Self {
        let mut figures = Self::default();
        let mut times = Vec::new();
        for case in cases {
            let found = case.life.found;
            match case.life.closed {
                Some(closed) => {
                    figures.closed = figures.closed.saturating_add(1);
                    figures.untouched = figures.untouched.saturating_add(u32::from(case.touches == 0));
                    figures.touches = figures.touches.saturating_add(u64::from(case.touches));
                    times.push(closed.duration_since(found).max(SignedDuration::ZERO));
                }
                None => {
                    figures.open = figures.open.saturating_add(1);
                    figures.oldest = figures.oldest.max(Some(now.duration_since(found)));
                }
            }
            let end = case.life.closed.unwrap_or(now);
            if let Some(due) = case.due {
                figures.late = figures.late.saturating_add(u32::from(end > due));
                figures.in_time = figures.in_time.saturating_add(u32::from(case.life.closed.is_some() && end <= due));
            }
            for (gate, part) in case.life.split(now) {
                let sum = figures.gates.entry(gate).or_default();
                *sum = sum.saturating_add(part);
            }
        }
        times.sort_unstable();
        figures.mean = mean(&times);
        figures.median = at_percent(&times, 50);
        figures.ninetieth = at_percent(&times, 90);
        figures
    }
}

fn mean(times: &[SignedDuration]) -> Option<SignedDuration> {
    let sum: i128 = times.iter().map(SignedDuration::as_nanos).sum();
    let mean = sum.checked_div(i128::try_from(times.len()).ok()?)?;
    let seconds = i64::try_from(mean / 1_000_000_000).ok()?;
    Some(SignedDuration::new(seconds, i32::try_from(mean % 1_000_000_000).ok()?))
}

/// The smallest that so many percent are not longer than.
fn at_percent(sorted: &[SignedDuration], percent: usize) -> Option<SignedDuration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank.checked_sub(1)?).copied()
}

/// The figures by severity and tier.
pub fn report(cases: &[Case], now: Timestamp) -> BTreeMap<(String, Tier), Figures> {
    let mut groups: BTreeMap<(String, Tier), Vec<&Case>> = BTreeMap::new();
    for case in cases {
        let tier = case.tier.unwrap_or(Tier::MOST_CRITICAL);
        groups.entry((case.severity.clone(), tier)).or_default().push(case);
    }
    groups.into_iter().map(|(key, cases)| (key, Figures::of(&cases, now))).collect()
}

/// The figures of all of them together.
pub fn summary(cases: &[Case], now: Timestamp) -> Figures {
    Figures::of(&cases.iter().collect::<Vec<_>>(), now)
}
