//! Calendars: when windows are open and freezes are in force.
//!
//! A [`Calendar`] is what people wrote: rules on the wall of a time zone. [`Calendar::expand`] works it out once, into
//! the instants of the next 400 days, and everything that is asked afterwards is asked of that [`Timetable`]. Beyond
//! those days a timetable knows nothing, and says so: a window counts as closed there and a freeze as in force.

mod gate;
mod intervals;
mod recurrence;
mod rule;
mod timetable;
mod zone;

use jiff::{SignedDuration, Timestamp};

use recurrence::Fuel;

pub use gate::{Closed, Gate};
pub use intervals::{Interval, Intervals};
pub use recurrence::{BadRecurrence, DayOfWeek, End, Frequency, MAX_COUNT, MAX_INTERVAL, Recurrence};
pub use rule::{BadRule, FIRST_YEAR, LAST_YEAR, Length, MAX_DAYS, MAX_LABEL, MAX_SINGLE, Rule};
pub use timetable::{Occurrence, Timetable};
pub use zone::{NoSuchZone, Zone};

/// So many days ahead are worked out.
pub const HORIZON_DAYS: i64 = 400;
/// So many days that are past are worked out too: for pages, and for clocks that do not agree.
pub const PAST_DAYS: i64 = 7;
/// Most rules of one calendar.
pub const MAX_RULES: usize = 2_000;
/// Most occurrences of one calendar within the horizon.
pub const MAX_OCCURRENCES: usize = 50_000;
/// Most days that are looked at to work out one calendar.
const MAX_WORK: u32 = 2_000_000;

/// What people wrote: a name and rules. It is in force whenever one of them is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    name: String,
    rules: Vec<Rule>,
}

/// A calendar that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// Too many rules.
    #[error("the calendar `{name}` has more than {MAX_RULES} entries")]
    TooManyRules {
        /// The calendar.
        name: String,
    },
    /// Too many occurrences.
    #[error("the calendar `{name}` has more than {MAX_OCCURRENCES} occurrences in {HORIZON_DAYS} days")]
    TooManyOccurrences {
        /// The calendar.
        name: String,
    },
    /// Too much work.
    #[error("the calendar `{name}` takes too long to work out")]
    TooMuchWork {
        /// The calendar.
        name: String,
    },
}

impl CalendarError {
    /// What a person can do.
    pub const fn hint(&self) -> &'static str {
        "split the calendar, or let its rules begin later and repeat less often"
    }
}

impl Calendar {
    /// A calendar of these rules. Without any it is never in force.
    ///
    /// # Errors
    /// When they are too many.
    pub fn new(name: &str, rules: Vec<Rule>) -> Result<Self, CalendarError> {
        let name = name.to_owned();
        if rules.len() > MAX_RULES {
            return Err(CalendarError::TooManyRules { name });
        }
        Ok(Self { name, rules })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its rules, as they were written.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Works it out from a few days before `now` to the horizon.
    ///
    /// # Errors
    /// When that gives too many occurrences or takes too long; nothing is cut off silently.
    pub fn expand(&self, now: Timestamp) -> Result<Timetable, CalendarError> {
        let day = |days: i64| SignedDuration::from_hours(24 * days);
        let whole = Interval::new(
            now.checked_sub(day(PAST_DAYS)).unwrap_or(Timestamp::MIN),
            now.checked_add(day(HORIZON_DAYS)).unwrap_or(Timestamp::MAX),
        );
        let mut fuel = Fuel(MAX_WORK);
        let mut found: Vec<Occurrence> = Vec::new();
        for rule in &self.rules {
            let full = rule.each(whole, &mut fuel, |interval| {
                if found.len() >= MAX_OCCURRENCES {
                    return Err(recurrence::OutOfFuel);
                }
                found.push(Occurrence { interval, label: rule.label().map(Into::into) });
                Ok(())
            });
            if full.is_err() {
                let name = self.name.clone();
                return Err(match found.len() {
                    MAX_OCCURRENCES.. => CalendarError::TooManyOccurrences { name },
                    _ => CalendarError::TooMuchWork { name },
                });
            }
        }
        Ok(Timetable::new(&self.name, whole, found))
    }
}
