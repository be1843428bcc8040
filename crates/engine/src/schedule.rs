//! Whether a step may start now by the calendar: windows, freezes and what each lets through.
//!
//! A step may start while **all** windows are open and **no** freeze is in force that does not let it through. Where a
//! window demands it, the step must also be over, by its longest duration, before that window shuts; and no step starts
//! that a freeze would overtake. Taking back what was started is always let through. What lies in the lane `contain`
//! waits for no window. A calendar that nobody knows, or an instant that was not worked out, lets nothing through.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use stanch_model::calendar::{Closed, Gate, Interval, Intervals, Timetable};
use stanch_model::terms::{Allowance, FreezeTerm, Terms};

/// The calendars of a bundle, worked out, by their names.
pub type Calendars = BTreeMap<String, Timetable>;

/// What kind of act wants to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// A change like any other.
    Change,
    /// Something in the lane `contain`.
    Contain,
    /// Taking back what was started.
    Undo,
}

/// What wants to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Act {
    /// What kind.
    pub lane: Lane,
    /// Its definition says that it closes an exposure. Of several steps, all of them do.
    pub closes_exposure: bool,
    /// The longest it may take, all its steps together.
    pub longest: SignedDuration,
}

impl Act {
    /// A change that may take so long.
    pub const fn change(longest: SignedDuration) -> Self {
        Self { lane: Lane::Change, closes_exposure: false, longest }
    }

    /// Taking back what was started.
    pub const fn undo() -> Self {
        Self { lane: Lane::Undo, closes_exposure: false, longest: SignedDuration::ZERO }
    }

    /// Whether a freeze that lets these through lets it through.
    fn is_let_through(&self, freeze: &FreezeTerm) -> bool {
        freeze.allow.iter().any(|allowance| match allowance {
            Allowance::Rollback => self.lane == Lane::Undo,
            Allowance::Contain => self.lane == Lane::Contain,
            Allowance::CloseExposure => self.closes_exposure,
        })
    }
}

/// Whether this act may start now, and if not why and when.
pub fn gate(terms: &Terms, calendars: &Calendars, act: &Act, now: Timestamp) -> Gate {
    Schedule::new(terms, calendars, act).gate(now)
}

/// What a window or a freeze says of an act.
#[derive(Debug, Clone, Copy)]
enum Bar<'a> {
    Window(&'a Timetable, bool),
    Freeze(&'a Timetable),
}

/// When one act may start, under all its windows and freezes. Made once, it answers for many instants.
#[derive(Debug, Clone)]
pub struct Schedule<'a> {
    bars: Vec<Bar<'a>>,
    longest: SignedDuration,
    /// A calendar that nobody knows.
    missing: Option<&'a str>,
    /// The instants at which it may start; `None` when nothing bars it at any time.
    starts: Option<Intervals>,
}

impl<'a> Schedule<'a> {
    /// When this act may start under these terms.
    pub fn new(terms: &'a Terms, calendars: &'a Calendars, act: &Act) -> Self {
        let longest = act.longest.max(SignedDuration::ZERO);
        let mut schedule = Self { bars: Vec::new(), longest, missing: None, starts: None };
        if act.lane == Lane::Undo {
            return schedule;
        }
        let waits = act.lane != Lane::Contain;
        for window in terms.windows.iter().filter(|_| waits) {
            schedule.add(&window.calendar, calendars, |timetable| Bar::Window(timetable, window.must_finish_inside));
        }
        let freezes = terms.freezes.iter().filter(|freeze| !act.is_let_through(freeze));
        for freeze in freezes {
            schedule.add(&freeze.calendar, calendars, Bar::Freeze);
        }
        schedule
    }

    fn add(&mut self, name: &'a str, calendars: &'a Calendars, bar: impl FnOnce(&'a Timetable) -> Bar<'a>) {
        let Some(timetable) = calendars.get(name) else {
            self.missing.get_or_insert(name);
            return;
        };
        let bar = bar(timetable);
        let lets = match bar {
            Bar::Window(timetable, must_finish_inside) => timetable.starts(self.longest, must_finish_inside),
            Bar::Freeze(timetable) => timetable.barred(self.longest).outside(timetable.whole()),
        };
        self.starts = Some(self.starts.as_ref().map_or_else(|| lets.clone(), |starts| starts.and(&lets)));
        self.bars.push(bar);
    }

    /// Whether it may start at this instant, and if not why and when. Of several reasons the one is told that holds
    /// longest.
    pub fn gate(&self, at: Timestamp) -> Gate {
        if let Some(calendar) = self.missing {
            return Gate::Closed { why: Closed::NoCalendar { calendar: calendar.to_owned() }, opens_at: None };
        }
        let Some(starts) = &self.starts else {
            return Gate::Open { until: None };
        };
        if let Some(interval) = starts.at(at) {
            return Gate::Open { until: Some(interval.end) };
        }
        let closed = self.bars.iter().filter_map(|bar| match self.ask(*bar, at) {
            Gate::Closed { why, opens_at } => Some((opens_at.is_none(), opens_at, why)),
            Gate::Open { .. } => None,
        });
        let why = match closed.max_by_key(|(never, opens_at, _)| (*never, *opens_at)) {
            Some((_, _, why)) => why,
            // One of them bars it, or it would be among the starts: nothing is let through on a contradiction.
            None => Closed::NotWorkedOut { calendar: String::new(), until: at },
        };
        Gate::Closed { why, opens_at: starts.first_from(at) }
    }

    /// The first instant from this one on at which it may start.
    pub fn next_start(&self, at: Timestamp) -> Option<Timestamp> {
        match (&self.starts, self.missing) {
            (_, Some(_)) => None,
            (Some(starts), None) => starts.first_from(at),
            (None, None) => Some(at),
        }
    }

    /// By when something that starts at this instant must be over, where a window or a freeze says so. What starts must
    /// carry it along, so that the executor can check it too.
    pub fn finish_before(&self, at: Timestamp) -> Option<Timestamp> {
        let ends = self.bars.iter().filter_map(|bar| match bar {
            Bar::Window(timetable, true) => timetable.open_at(at).map(|open| open.end),
            Bar::Window(_, false) => None,
            Bar::Freeze(timetable) => timetable.in_force().after(at).map(|ahead| ahead.start),
        });
        ends.min()
    }

    /// The instants within these at which it may start; for pages.
    pub fn starts_within(&self, whole: Interval) -> Intervals {
        match (&self.starts, self.missing) {
            (_, Some(_)) => Intervals::default(),
            (Some(starts), None) => starts.and(&Intervals::of([whole])),
            (None, None) => Intervals::of([whole]),
        }
    }

    fn ask(&self, bar: Bar<'_>, at: Timestamp) -> Gate {
        match bar {
            Bar::Window(timetable, must_finish_inside) => timetable.window(at, self.longest, must_finish_inside),
            Bar::Freeze(timetable) => timetable.freeze(at, self.longest),
        }
    }
}
