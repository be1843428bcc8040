//! A calendar, worked out: the instants at which it is in force, and what is asked of them.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::gate::{Closed, Gate};
use super::intervals::{Interval, Intervals};

/// One occurrence of one rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Occurrence {
    /// From when until when.
    pub interval: Interval,
    /// What its rule is called.
    pub label: Option<Arc<str>>,
}

/// The instants of a bounded time at which a calendar is in force. Outside that time it knows nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timetable {
    name: String,
    whole: Interval,
    occurrences: Vec<Occurrence>,
    in_force: Intervals,
}

impl Timetable {
    pub(super) fn new(name: &str, whole: Interval, mut occurrences: Vec<Occurrence>) -> Self {
        occurrences.sort_unstable();
        occurrences.dedup();
        let in_force = Intervals::of(occurrences.iter().map(|occurrence| occurrence.interval.and(&whole)));
        Self { name: name.to_owned(), whole, occurrences, in_force }
    }

    /// The calendar's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The time that was worked out.
    pub const fn whole(&self) -> Interval {
        self.whole
    }

    /// Every occurrence that meets that time, by its start, whole; for pages.
    pub fn occurrences(&self) -> &[Occurrence] {
        &self.occurrences
    }

    /// When it is in force, within that time.
    pub const fn in_force(&self) -> &Intervals {
        &self.in_force
    }

    /// The interval around this instant in which it is in force without a break.
    pub fn open_at(&self, at: Timestamp) -> Option<Interval> {
        self.in_force.at(at)
    }

    /// Whether something may begin at this instant that lasts up to `longest`. With `must_finish_inside` it has to be
    /// over when the window shuts.
    pub fn fits(&self, at: Timestamp, longest: SignedDuration, must_finish_inside: bool) -> bool {
        self.window(at, longest, must_finish_inside).is_open()
    }

    /// The first instant from this one on at which something may begin that lasts up to `longest`.
    pub fn next_open(&self, at: Timestamp, longest: SignedDuration, must_finish_inside: bool) -> Option<Timestamp> {
        self.starts(longest, must_finish_inside).first_from(at)
    }

    /// The first instant after this one at which it comes into force or ends; `None` when nothing changes within what
    /// is worked out.
    pub fn next_change(&self, at: Timestamp) -> Option<Timestamp> {
        let change = match self.in_force.at(at) {
            Some(interval) => interval.end,
            None => self.in_force.after(at)?.start,
        };
        (change < self.whole.end).then_some(change)
    }

    /// The instants at which all of these are in force. Of none it is nothing: there is no window that never shuts.
    pub fn intersection<'a>(timetables: impl IntoIterator<Item = &'a Self>) -> Intervals {
        let mut rest = timetables.into_iter();
        let first = rest.next().map(|timetable| timetable.in_force.clone()).unwrap_or_default();
        rest.fold(first, |both, timetable| both.and(&timetable.in_force))
    }

    /// As a window: the instants at which something may begin that lasts up to `longest`.
    pub fn starts(&self, longest: SignedDuration, must_finish_inside: bool) -> Intervals {
        if must_finish_inside { self.in_force.room_for(longest) } else { self.in_force.clone() }
    }

    /// As a freeze: the instants at which nothing may begin that lasts up to `longest`: those at which it is in force,
    /// and those from which it could come into force before the end.
    pub fn barred(&self, longest: SignedDuration) -> Intervals {
        self.in_force.met_by(longest)
    }

    /// As a window: whether something may begin at this instant that lasts up to `longest`.
    pub fn window(&self, at: Timestamp, longest: SignedDuration, must_finish_inside: bool) -> Gate {
        let calendar = || self.name.clone();
        if let Some(closed) = self.not_worked_out(at) {
            return closed;
        }
        let starts = self.starts(longest, must_finish_inside);
        if let Some(interval) = starts.at(at) {
            return Gate::Open { until: Some(interval.end) };
        }
        let why = match self.in_force.at(at) {
            Some(open) => Closed::DoesNotFit { calendar: calendar(), ends_at: open.end, longest },
            None => Closed::Window { calendar: calendar(), opens_at: self.in_force.after(at).map(|open| open.start) },
        };
        Gate::Closed { why, opens_at: starts.first_from(at) }
    }

    /// As a freeze: whether something may begin at this instant that lasts up to `longest`.
    pub fn freeze(&self, at: Timestamp, longest: SignedDuration) -> Gate {
        let calendar = || self.name.clone();
        if let Some(closed) = self.not_worked_out(at) {
            return closed;
        }
        let barred = self.barred(longest);
        let Some(bar) = barred.at(at) else {
            let until = barred.after(at).map_or(self.whole.end, |bar| bar.start);
            return Gate::Open { until: Some(until.min(self.whole.end)) };
        };
        let why = match self.in_force.at(at) {
            Some(frozen) => Closed::Freeze { calendar: calendar(), name: self.label_at(at), until: frozen.end },
            None => {
                let begins_at = self.in_force.after(at).map_or(bar.end, |ahead| ahead.start);
                Closed::FreezeAhead { calendar: calendar(), name: self.label_at(begins_at), begins_at, longest }
            }
        };
        Gate::Closed { why, opens_at: Some(bar.end).filter(|end| *end < self.whole.end) }
    }

    /// What the occurrence is called that holds at this instant, the longest one where several do.
    pub fn label_at(&self, at: Timestamp) -> Option<String> {
        let holds = self.occurrences.iter().take_while(|occurrence| occurrence.interval.start <= at);
        let longest = holds.filter(|occurrence| occurrence.interval.contains(at)).max_by_key(|o| o.interval.end)?;
        longest.label.as_deref().map(str::to_owned)
    }

    fn not_worked_out(&self, at: Timestamp) -> Option<Gate> {
        (!self.whole.contains(at)).then(|| Gate::Closed {
            why: Closed::NotWorkedOut { calendar: self.name.clone(), until: self.whole.end },
            opens_at: None,
        })
    }
}
