//! On which days something happens again: the part of RFC 5545's recurrence rules that calendars of windows and freezes
//! need. It knows days only; times of day and zones come later, so nothing here can go wrong when clocks change.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};

/// Longest interval between two periods.
pub const MAX_INTERVAL: u16 = 1_000;
/// Most repetitions that may be counted. Without a count there may be any number.
pub const MAX_COUNT: u32 = 10_000;
/// No day after this year is looked at.
const LAST_YEAR: i16 = 2_299;

/// How long a period is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Frequency {
    /// A day.
    Daily,
    /// A week.
    Weekly,
    /// A month.
    Monthly,
    /// A year.
    Yearly,
}

/// When it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// Never.
    Never,
    /// After so many, the first one counted, and those counted that are excepted.
    Count(u32),
    /// With the last that does not start after this.
    Until(Timestamp),
}

/// A day of the week: every one, or the nth of a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DayOfWeek {
    /// Which one of the month, from 1; from its end when negative. Every one when absent.
    pub ordinal: Option<i8>,
    /// The day.
    pub weekday: Weekday,
}

/// On which days something happens again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recurrence {
    /// The period.
    pub frequency: Frequency,
    /// Every so many periods.
    pub interval: u16,
    /// When it stops.
    pub end: End,
    /// On these days of the week; the first day's own when neither these nor days of the month are given.
    pub weekdays: Vec<DayOfWeek>,
    /// On these days of the month, from 1; from its end when negative. A month without such a day is passed over.
    pub month_days: BTreeSet<i8>,
    /// In these months.
    pub months: BTreeSet<i8>,
    /// With which day a week begins: matters when every second week is meant.
    pub week_start: Weekday,
}

/// A recurrence that this program does not work out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRecurrence {
    /// The interval is out of bounds.
    #[error("an interval of {0} is not between 1 and {MAX_INTERVAL}")]
    Interval(u16),
    /// The count is out of bounds.
    #[error("a count of {0} is not between 1 and {MAX_COUNT}")]
    Count(u32),
    /// No such month.
    #[error("there is no month {0}")]
    Month(i8),
    /// No month has such a day.
    #[error("no month has a day {0}")]
    MonthDay(i8),
    /// No month has as many weeks.
    #[error("no month has a weekday number {0}")]
    Ordinal(i8),
    /// A weekday of the month where no month is meant.
    #[error("a numbered weekday needs a month")]
    OrdinalWithoutMonth,
    /// Days of the month in a rule by weeks.
    #[error("a rule by weeks has no days of the month")]
    MonthDayInWeek,
    /// Days of the week in a rule by years, without a month.
    #[error("a weekday in a rule by years needs a month")]
    WeekdayInYear,
    /// Too many parts.
    #[error("there are more days than a rule can need")]
    Parts,
    /// The rule has a first day, and it is another.
    #[error("the first day is {start}, and the rule does not name it")]
    Start {
        /// The first day.
        start: Date,
    },
    /// The rule ends before it begins.
    #[error("the rule ends before it begins")]
    EndsBefore,
}

impl BadRecurrence {
    /// What a person can do.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Interval(_) => "give an interval in bounds",
            Self::Count(_) => "give a smaller count, or the last day instead",
            Self::Month(_) => "months are 1 to 12",
            Self::MonthDay(_) => "days of a month are 1 to 31, or -1 to -31 from its end",
            Self::Ordinal(_) => "weekdays of a month are numbered 1 to 5, or -1 to -5 from its end",
            Self::OrdinalWithoutMonth => "use a monthly rule, or a yearly one with its months",
            Self::MonthDayInWeek => "use a monthly rule",
            Self::WeekdayInYear => "use a weekly rule, or give the months",
            Self::Parts => "name each day once",
            Self::Start { .. } => "begin on the first day that the rule names",
            Self::EndsBefore => "let it end after its first day",
        }
    }
}

/// The work that is left for looking at days, so that no rule can keep a program busy.
#[derive(Debug)]
pub(super) struct Fuel(pub(super) u32);

/// The work was used up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutOfFuel;

impl Fuel {
    pub(super) fn burn(&mut self, amount: usize) -> Result<(), OutOfFuel> {
        let amount = u32::try_from(amount).map_err(|_| OutOfFuel)?;
        self.0 = self.0.checked_sub(amount).ok_or(OutOfFuel)?;
        Ok(())
    }
}

impl Recurrence {
    /// Every day, week, month or year, for ever, on what the first day is.
    pub const fn every(frequency: Frequency) -> Self {
        Self {
            frequency,
            interval: 1,
            end: End::Never,
            weekdays: Vec::new(),
            month_days: BTreeSet::new(),
            months: BTreeSet::new(),
            week_start: Weekday::Monday,
        }
    }

    /// Whether it is one that this program works out, and begins with this day.
    ///
    /// # Errors
    /// When it is not: RFC 5545 leaves undefined what a rule means whose first day it does not name itself.
    pub fn check(&self, start: Date) -> Result<(), BadRecurrence> {
        if !(1..=MAX_INTERVAL).contains(&self.interval) {
            return Err(BadRecurrence::Interval(self.interval));
        }
        if let End::Count(count) = self.end
            && !(1..=MAX_COUNT).contains(&count)
        {
            return Err(BadRecurrence::Count(count));
        }
        if let Some(month) = self.months.iter().find(|month| !(1..=12).contains(*month)) {
            return Err(BadRecurrence::Month(*month));
        }
        if let Some(day) = self.month_days.iter().find(|day| **day == 0 || !(-31..=31).contains(*day)) {
            return Err(BadRecurrence::MonthDay(*day));
        }
        // Every day of a week, plain and with each of its ten numbers.
        if self.weekdays.len() > 7 * 11 {
            return Err(BadRecurrence::Parts);
        }
        let yearly = self.frequency == Frequency::Yearly;
        let of_month = self.frequency == Frequency::Monthly || (yearly && !self.months.is_empty());
        for ordinal in self.weekdays.iter().filter_map(|day| day.ordinal) {
            if ordinal == 0 || !(-5..=5).contains(&ordinal) {
                return Err(BadRecurrence::Ordinal(ordinal));
            }
            if !of_month {
                return Err(BadRecurrence::OrdinalWithoutMonth);
            }
        }
        if self.frequency == Frequency::Weekly && !self.month_days.is_empty() {
            return Err(BadRecurrence::MonthDayInWeek);
        }
        if yearly && !self.weekdays.is_empty() && self.months.is_empty() && self.month_days.is_empty() {
            return Err(BadRecurrence::WeekdayInYear);
        }
        if !self.period(start, 0).contains(&start) {
            return Err(BadRecurrence::Start { start });
        }
        Ok(())
    }

    /// The days from `start` on, in order, `start` the first. Those before `from` may be left out unless they count.
    pub(super) fn days(&self, start: Date, from: Date) -> Days<'_> {
        let period = match self.end {
            End::Count(_) => 0,
            _ => self.periods_before(start, from),
        };
        let left = match self.end {
            End::Count(count) => count,
            _ => u32::MAX,
        };
        Days { rule: self, start, period, pending: Vec::new(), left }
    }

    /// How many whole periods lie before `from`, or fewer.
    fn periods_before(&self, start: Date, from: Date) -> i64 {
        let months = || months_of(from) - months_of(start);
        let units = match self.frequency {
            Frequency::Daily => days_between(start, from),
            Frequency::Weekly => days_between(start, from) / 7,
            Frequency::Monthly => months(),
            Frequency::Yearly => i64::from(from.year()) - i64::from(start.year()),
        };
        (units / i64::from(self.interval.max(1)) - 1).max(0)
    }

    /// The days of the nth period, in order.
    fn period(&self, start: Date, n: i64) -> Vec<Date> {
        let step = n.saturating_mul(i64::from(self.interval));
        let mut days = match self.frequency {
            Frequency::Daily => plus_days(start, step).into_iter().filter(|day| self.names_day(*day)).collect(),
            Frequency::Weekly => self.week(start, step),
            Frequency::Monthly => {
                let month = months_of(start).saturating_add(step);
                month_from(month).map(|(year, month)| self.month(year, month, start.day())).unwrap_or_default()
            }
            Frequency::Yearly => self.year(start, step),
        };
        days.retain(|day| *day >= start);
        days
    }

    /// Whether a daily rule names this day.
    fn names_day(&self, day: Date) -> bool {
        self.in_months(day.month())
            && (self.month_days.is_empty() || self.names_month_day(day))
            && (self.weekdays.is_empty() || self.weekdays.iter().any(|named| named.weekday == day.weekday()))
    }

    fn week(&self, start: Date, weeks: i64) -> Vec<Date> {
        let into_week = i64::from(start.weekday().since(self.week_start));
        let first = weeks.checked_mul(7).and_then(|days| plus_days(start, days - into_week));
        let named = |day: &Date| {
            let weekday = day.weekday();
            let on = if self.weekdays.is_empty() {
                weekday == start.weekday()
            } else {
                self.weekdays.iter().any(|named| named.weekday == weekday)
            };
            on && self.in_months(day.month())
        };
        first.into_iter().flat_map(|first| (0..7).filter_map(move |day| plus_days(first, day))).filter(named).collect()
    }

    fn year(&self, start: Date, years: i64) -> Vec<Date> {
        let Some(year) = i64::from(start.year()).checked_add(years).and_then(|year| i16::try_from(year).ok()) else {
            return Vec::new();
        };
        let all = !self.month_days.is_empty();
        let wanted = |month: &i8| match self.months.is_empty() {
            true => all || *month == start.month(),
            false => self.months.contains(month),
        };
        (1..=12).filter(wanted).flat_map(|month| self.month(year, month, start.day())).collect()
    }

    /// The days of this month that the rule names; `own` is the day of the first one.
    fn month(&self, year: i16, month: i8, own: i8) -> Vec<Date> {
        if !self.in_months(month) {
            return Vec::new();
        }
        let Ok(first) = Date::new(year, month, 1) else {
            return Vec::new();
        };
        let named = |day: &Date| match (self.month_days.is_empty(), self.weekdays.is_empty()) {
            (true, true) => day.day() == own,
            (false, true) => self.names_month_day(*day),
            (true, false) => self.names_weekday(*day),
            (false, false) => self.names_month_day(*day) && self.names_weekday(*day),
        };
        (1..=first.days_in_month()).filter_map(|day| Date::new(year, month, day).ok()).filter(named).collect()
    }

    fn in_months(&self, month: i8) -> bool {
        self.months.is_empty() || self.months.contains(&month)
    }

    fn names_month_day(&self, day: Date) -> bool {
        let from_end = day.day() - day.days_in_month() - 1;
        self.month_days.contains(&day.day()) || self.month_days.contains(&from_end)
    }

    fn names_weekday(&self, day: Date) -> bool {
        let ordinal = (day.day() - 1) / 7 + 1;
        let from_end = -((day.days_in_month() - day.day()) / 7 + 1);
        self.weekdays.iter().any(|named| {
            named.weekday == day.weekday() && named.ordinal.is_none_or(|nth| nth == ordinal || nth == from_end)
        })
    }
}

/// The days of a recurrence, in order.
pub(super) struct Days<'a> {
    rule: &'a Recurrence,
    start: Date,
    period: i64,
    /// Days of the period, the last one first.
    pending: Vec<Date>,
    left: u32,
}

impl Days<'_> {
    /// The next day, if there is one up to `last`.
    pub(super) fn next_until(&mut self, last: Date, fuel: &mut Fuel) -> Result<Option<Date>, OutOfFuel> {
        if self.left == 0 {
            return Ok(None);
        }
        loop {
            fuel.burn(1)?;
            if let Some(day) = self.pending.pop() {
                self.left -= 1;
                return Ok((day <= last).then_some(day));
            }
            if self.begins().is_none_or(|begins| begins > last || begins.year() > LAST_YEAR) {
                return Ok(None);
            }
            self.pending = self.rule.period(self.start, self.period);
            fuel.burn(self.pending.len())?;
            self.pending.reverse();
            self.period += 1;
        }
    }

    /// A day that is not after any of the period that is looked at next.
    fn begins(&self) -> Option<Date> {
        let step = self.period.checked_mul(i64::from(self.rule.interval))?;
        match self.rule.frequency {
            Frequency::Daily => plus_days(self.start, step),
            Frequency::Weekly => plus_days(self.start, step.checked_mul(7)?.checked_sub(6)?),
            Frequency::Monthly => {
                let (year, month) = month_from(months_of(self.start).checked_add(step)?)?;
                Date::new(year, month, 1).ok()
            }
            Frequency::Yearly => {
                let year = i64::from(self.start.year()).checked_add(step)?;
                Date::new(i16::try_from(year).ok()?, 1, 1).ok()
            }
        }
    }
}

fn plus_days(day: Date, days: i64) -> Option<Date> {
    day.checked_add(jiff::Span::new().try_days(days).ok()?).ok()
}

fn days_between(from: Date, to: Date) -> i64 {
    from.duration_until(to).as_hours() / 24
}

fn months_of(day: Date) -> i64 {
    i64::from(day.year()) * 12 + i64::from(day.month()) - 1
}

fn month_from(months: i64) -> Option<(i16, i8)> {
    let year = i16::try_from(months.div_euclid(12)).ok()?;
    let month = i8::try_from(months.rem_euclid(12) + 1).ok()?;
    Some((year, month))
}
