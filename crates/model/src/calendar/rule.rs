//! One line of a calendar: an interval on the wall of one zone, once or again and again.

use std::collections::BTreeSet;

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};

use super::intervals::Interval;
use super::recurrence::{BadRecurrence, End, Fuel, OutOfFuel, Recurrence};
use super::zone::Zone;

/// First year of a calendar.
pub const FIRST_YEAR: i16 = 1970;
/// Last year in which something in a calendar may begin.
pub const LAST_YEAR: i16 = 2199;
/// Longest time from a start to its end, in days: what holds longer is a rule of its own and not an appointment.
pub const MAX_DAYS: u32 = 3_660;
/// Most single days that one rule may except, and that it may add.
pub const MAX_SINGLE: usize = 1_000;
/// Longest label, in bytes.
pub const MAX_LABEL: usize = 200;

const DAY: i64 = 86_400;

/// How the end follows from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Length {
    /// The wall clock shows so much more: 22:00 to 06:00 is eight hours on the wall, and seven or nine in truth on the
    /// days on which the clocks change.
    Wall(SignedDuration),
    /// So many days on the wall, then so many seconds that pass in truth.
    Elapsed {
        /// Days on the wall.
        days: u32,
        /// Seconds that pass.
        seconds: u32,
    },
}

/// An interval on the wall of one zone, once or again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    zone: Zone,
    start: DateTime,
    length: Length,
    recurrence: Option<Recurrence>,
    except: BTreeSet<DateTime>,
    extra: BTreeSet<DateTime>,
    label: Option<String>,
}

/// A rule that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRule {
    /// It begins too early or too late.
    #[error("{0} is not between the years {FIRST_YEAR} and {LAST_YEAR}")]
    Start(DateTime),
    /// It ends when it begins, or before.
    #[error("it ends before it begins")]
    Length,
    /// It lasts too long.
    #[error("it lasts longer than {MAX_DAYS} days")]
    TooLong,
    /// Too many single days.
    #[error("more than {MAX_SINGLE} single days are excepted or added")]
    TooManySingle,
    /// The label is too long or not a line of text.
    #[error("the name is longer than {MAX_LABEL} bytes or has control characters")]
    Label,
    /// The recurrence is not one that is worked out.
    #[error(transparent)]
    Recurrence(#[from] BadRecurrence),
}

impl BadRule {
    /// What a person can do.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Start(_) => "correct the year",
            Self::Length => "give an end that is later than the start",
            Self::TooLong => "give the end of each part, or say it in a policy",
            Self::TooManySingle => "split it into several",
            Self::Label => "give a short name in one line",
            Self::Recurrence(bad) => bad.hint(),
        }
    }
}

impl Rule {
    /// From this time on the wall, for this long, once.
    ///
    /// # Errors
    /// When the times are out of bounds.
    pub fn once(zone: Zone, start: DateTime, length: Length) -> Result<Self, BadRule> {
        check_start(start)?;
        let long = match length {
            Length::Wall(wall) => wall,
            Length::Elapsed { days, seconds } => SignedDuration::from_secs(i64::from(days) * DAY)
                .saturating_add(SignedDuration::from_secs(seconds.into())),
        };
        if long <= SignedDuration::ZERO {
            return Err(BadRule::Length);
        }
        if long > SignedDuration::from_secs(i64::from(MAX_DAYS) * DAY) {
            return Err(BadRule::TooLong);
        }
        Ok(Self { zone, start, length, recurrence: None, except: BTreeSet::new(), extra: BTreeSet::new(), label: None })
    }

    /// The same again and again.
    ///
    /// # Errors
    /// When the recurrence is not one that is worked out, or does not begin with the rule's first day.
    pub fn repeating(mut self, recurrence: Recurrence) -> Result<Self, BadRule> {
        recurrence.check(self.start.date())?;
        if let End::Until(until) = recurrence.end
            && self.zone.instant(self.start).is_none_or(|start| until < start)
        {
            return Err(BadRecurrence::EndsBefore.into());
        }
        self.recurrence = Some(recurrence);
        Ok(self)
    }

    /// Not at these starts.
    ///
    /// # Errors
    /// When they are too many.
    pub fn except(mut self, starts: impl IntoIterator<Item = DateTime>) -> Result<Self, BadRule> {
        self.except.extend(starts);
        if self.except.len() > MAX_SINGLE { Err(BadRule::TooManySingle) } else { Ok(self) }
    }

    /// At these starts too, for as long.
    ///
    /// # Errors
    /// When they are too many or out of bounds.
    pub fn also(mut self, starts: impl IntoIterator<Item = DateTime>) -> Result<Self, BadRule> {
        for start in starts {
            check_start(start)?;
            self.extra.insert(start);
        }
        if self.extra.len() > MAX_SINGLE { Err(BadRule::TooManySingle) } else { Ok(self) }
    }

    /// Under this name.
    ///
    /// # Errors
    /// When it is not a short line of text.
    pub fn named(mut self, label: &str) -> Result<Self, BadRule> {
        if label.len() > MAX_LABEL || label.chars().any(char::is_control) {
            return Err(BadRule::Label);
        }
        self.label = Some(label.trim().to_owned()).filter(|label| !label.is_empty());
        Ok(self)
    }

    /// What it is called, where it has a name.
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// Its zone.
    pub const fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Its first start on the wall.
    pub const fn start(&self) -> DateTime {
        self.start
    }

    /// The interval that begins at this time on the wall; `None` when it would be empty or beyond all instants.
    fn interval(&self, start: DateTime) -> Option<Interval> {
        let begins = self.zone.instant(start)?;
        let ends = match self.length {
            Length::Wall(long) => self.zone.instant(start.checked_add(long).ok()?)?,
            Length::Elapsed { days, seconds } => {
                let day = match days {
                    0 => begins,
                    days => {
                        self.zone.instant(start.checked_add(SignedDuration::from_secs(i64::from(days) * DAY)).ok()?)?
                    }
                };
                day.checked_add(SignedDuration::from_secs(seconds.into())).ok()?
            }
        };
        Some(Interval::new(begins, ends)).filter(|interval| !interval.is_empty())
    }

    /// Hands over every interval of it that meets `whole`, by its start; in no order.
    pub(super) fn each(
        &self,
        whole: Interval,
        fuel: &mut Fuel,
        mut take: impl FnMut(Interval) -> Result<(), OutOfFuel>,
    ) -> Result<(), OutOfFuel> {
        let mut take_start = |start: DateTime| match self.interval(start) {
            Some(interval) if !interval.and(&whole).is_empty() && !self.except.contains(&start) => take(interval),
            _ => Ok(()),
        };
        for extra in &self.extra {
            fuel.burn(1)?;
            take_start(*extra)?;
        }
        let Some(recurrence) = &self.recurrence else {
            fuel.burn(1)?;
            return take_start(self.start);
        };
        let (from, last) = self.reach(whole);
        let mut days = recurrence.days(self.start.date(), from);
        while let Some(day) = days.next_until(last, fuel)? {
            let start = day.to_datetime(self.start.time());
            if let End::Until(until) = recurrence.end
                && self.zone.instant(start).is_none_or(|begins| until < begins)
            {
                break;
            }
            take_start(start)?;
        }
        Ok(())
    }

    /// Whether it has an interval that starts at this time on the wall, excepted or not. `None` when that is too much
    /// to work out.
    pub fn starts_at(&self, start: DateTime) -> Option<bool> {
        if start == self.start || self.extra.contains(&start) {
            return Some(true);
        }
        let Some(recurrence) = self.recurrence.as_ref().filter(|_| start.time() == self.start.time()) else {
            return Some(false);
        };
        if let End::Until(until) = recurrence.end
            && self.zone.instant(start).is_none_or(|begins| until < begins)
        {
            return Some(false);
        }
        let mut fuel = Fuel(100_000);
        let mut days = recurrence.days(self.start.date(), start.date());
        loop {
            match days.next_until(start.date(), &mut fuel).ok()? {
                Some(day) if day == start.date() => return Some(true),
                Some(_) => {}
                None => return Some(false),
            }
        }
    }

    /// Excepted starts at which nothing would begin anyhow: most likely a slip of whoever wrote them. Some are left out
    /// when there are too many to find out.
    pub fn idle_exceptions(&self) -> Vec<DateTime> {
        let mut fuel = Fuel(20_000);
        let counts = self.recurrence.as_ref().filter(|recurrence| matches!(recurrence.end, End::Count(_)));
        let Some(recurrence) = counts else {
            let idle = |start: &DateTime| fuel.burn(100).is_ok() && self.starts_at(*start) == Some(false);
            return self.except.iter().copied().filter(idle).collect();
        };
        let Some(last) = self.except.last().map(|start| start.date()) else { return Vec::new() };
        let mut idle: BTreeSet<DateTime> = self.except.difference(&self.extra).copied().collect();
        let mut days = recurrence.days(self.start.date(), self.start.date());
        loop {
            match days.next_until(last, &mut fuel) {
                Ok(Some(day)) => idle.remove(&day.to_datetime(self.start.time())),
                Ok(None) => return idle.into_iter().collect(),
                Err(OutOfFuel) => return Vec::new(),
            };
        }
    }

    /// The first and last day on the wall on which an interval can start that meets `whole`.
    fn reach(&self, whole: Interval) -> (jiff::civil::Date, jiff::civil::Date) {
        let long = match self.length {
            Length::Wall(long) => long,
            Length::Elapsed { days, seconds } => SignedDuration::from_secs(i64::from(days) * DAY + i64::from(seconds)),
        };
        // Two days more than is needed: clocks change, and zones lie up to a day apart.
        let margin = SignedDuration::from_secs(2 * DAY);
        let back = long.saturating_add(margin);
        let from = whole.start.checked_sub(back).unwrap_or(Timestamp::MIN);
        let last = whole.end.checked_add(margin).unwrap_or(Timestamp::MAX);
        (self.zone.wall(from).date(), self.zone.wall(last).date())
    }
}

fn check_start(start: DateTime) -> Result<(), BadRule> {
    if (FIRST_YEAR..=LAST_YEAR).contains(&start.year()) { Ok(()) } else { Err(BadRule::Start(start)) }
}
