//! Values of RFC 5545 that calendars of windows and freezes need: dates and times, durations, recurrence rules.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time, Weekday};
use stanch_model::calendar::{DayOfWeek, End, Frequency, Recurrence, Zone};

use super::Refusal;
use super::line::Line;

/// When, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum When {
    /// A day of no zone in particular.
    Day(Date),
    /// A time of no zone in particular.
    Floating(DateTime),
    /// A time on the wall of a zone.
    Wall(DateTime, Zone),
    /// An instant.
    Instant(Timestamp),
}

/// A length, as it is written: days on the wall, then seconds that pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Duration {
    pub(super) days: u32,
    pub(super) seconds: u32,
}

const DATE: &str = "write a date as 20261224 or a time as 20261224T220000";

/// The one time this line gives.
pub(super) fn when(line: &Line) -> Result<When, Refusal> {
    when_of(line, &line.value)
}

/// The times this line lists.
pub(super) fn whens(line: &Line, most: usize) -> Result<Vec<When>, Refusal> {
    if line.value.split(',').count() > most {
        return Err(line.refuse(format!("more than {most} times are listed"), "split the event"));
    }
    line.value.split(',').map(|text| when_of(line, text)).collect()
}

fn when_of(line: &Line, text: &str) -> Result<When, Refusal> {
    let only_date = match line.param("VALUE") {
        None => text.len() == 8,
        Some("DATE-TIME") => false,
        Some("DATE") => true,
        Some(other) => {
            return Err(
                line.refuse(format!("values of type {other} are not supported"), "give starts as times or dates")
            );
        }
    };
    if line.param("RANGE").is_some() {
        return Err(line.refuse("a change of this and all later times is not supported", "split the event in two"));
    }
    let zone = match line.param("TZID") {
        None => None,
        Some(name) => Some(Zone::named(name).map_err(|error| line.refuse(error.to_string(), error.hint()))?),
    };
    let bad = || line.refuse(format!("`{}` is no date or time", shown(text)), DATE);
    if only_date {
        if zone.is_some() {
            return Err(line.refuse("a date has no time zone", "remove TZID, or give a time"));
        }
        return date(text).map(When::Day).ok_or_else(bad);
    }
    let (wall, utc) = match text.strip_suffix('Z') {
        Some(wall) => (wall, true),
        None => (text, false),
    };
    let wall = wall.split_once('T').and_then(|(day, time)| Some(DateTime::from_parts(date(day)?, clock(time)?)));
    let wall = wall.ok_or_else(bad)?;
    match (zone, utc) {
        (Some(_), true) => Err(line.refuse("a time in UTC has no other zone", "remove TZID, or the Z")),
        (Some(zone), false) => Ok(When::Wall(wall, zone)),
        (None, false) => Ok(When::Floating(wall)),
        (None, true) => Zone::utc().instant(wall).map(When::Instant).ok_or_else(bad),
    }
}

/// Text from a file, short enough to stand in a message.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

fn digits(text: &str) -> Option<u32> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

fn date(text: &str) -> Option<Date> {
    if text.len() != 8 {
        return None;
    }
    let year = i16::try_from(digits(text.get(..4)?)?).ok()?;
    let month = i8::try_from(digits(text.get(4..6)?)?).ok()?;
    let day = i8::try_from(digits(text.get(6..)?)?).ok()?;
    Date::new(year, month, day).ok()
}

fn clock(text: &str) -> Option<Time> {
    if text.len() != 6 {
        return None;
    }
    let part = |range| i8::try_from(digits(text.get::<std::ops::Range<usize>>(range)?)?).ok();
    Time::new(part(0..2)?, part(2..4)?, part(4..6)?, 0).ok()
}

/// The duration this line gives.
pub(super) fn duration(line: &Line) -> Result<Duration, Refusal> {
    let bad = || {
        let message = format!("`{}` is no duration", shown(&line.value));
        line.refuse(message, "write it as PT8H, P1DT30M or P2W; it cannot be negative")
    };
    let text = line.value.strip_prefix('+').unwrap_or(&line.value).strip_prefix('P').ok_or_else(bad)?;
    let (days, time) = match text.split_once('T') {
        Some((_, "")) => return Err(bad()),
        Some((days, time)) => (days, time),
        None => (text, ""),
    };
    if days.is_empty() && time.is_empty() {
        return Err(bad());
    }
    let days = match (days, days.strip_suffix('W'), days.strip_suffix('D')) {
        ("", ..) => Some(0),
        (_, Some(weeks), _) if time.is_empty() => digits(weeks).and_then(|weeks| weeks.checked_mul(7)),
        (_, None, Some(days)) => digits(days),
        _ => None,
    };
    let mut seconds = 0_u32;
    let mut rest = time;
    for (unit, each) in [('H', 3_600), ('M', 60), ('S', 1)] {
        if let Some((number, after)) = rest.split_once(unit) {
            let part = digits(number).and_then(|number| number.checked_mul(each));
            seconds = part.and_then(|part| seconds.checked_add(part)).ok_or_else(bad)?;
            rest = after;
        }
    }
    match days {
        Some(days) if rest.is_empty() => Ok(Duration { days, seconds }),
        _ => Err(bad()),
    }
}

/// What a rule's UNTIL has to look like, by its start.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start<'a> {
    /// A day, in this zone.
    Day(&'a Zone),
    /// A time of no zone in particular, taken to be in this one.
    Floating(&'a Zone),
    /// Any other.
    Timed,
}

/// The recurrence this line gives.
pub(super) fn recurrence(line: &Line, start: Start<'_>) -> Result<Recurrence, Refusal> {
    let mut parts: Vec<(String, &str)> = Vec::new();
    for part in line.value.split(';').filter(|part| !part.is_empty()) {
        let Some((key, value)) = part.split_once('=') else {
            let message = format!("`{}` is no part of a rule", shown(part));
            return Err(line.refuse(message, "write it as FREQ=WEEKLY;BYDAY=MO,TH"));
        };
        let key = key.to_ascii_uppercase();
        if parts.iter().any(|(known, _)| *known == key) {
            return Err(line.refuse(format!("{} stands twice", shown(&key)), "give each part once"));
        }
        parts.push((key, value));
    }
    let frequency = match parts.iter().find(|(key, _)| key == "FREQ").map(|(_, value)| value.to_ascii_uppercase()) {
        None => return Err(line.refuse("the rule has no FREQ", "add FREQ=DAILY, WEEKLY, MONTHLY or YEARLY")),
        Some(word) => match word.as_str() {
            "DAILY" => Frequency::Daily,
            "WEEKLY" => Frequency::Weekly,
            "MONTHLY" => Frequency::Monthly,
            "YEARLY" => Frequency::Yearly,
            other => {
                let message = format!("FREQ={} is not supported", shown(other));
                return Err(line.refuse(message, "use DAILY, WEEKLY, MONTHLY or YEARLY"));
            }
        },
    };
    let mut rule = Recurrence::every(frequency);
    for (key, value) in parts {
        let bad = |remedy: &str| line.refuse(format!("{key}={} cannot be read", shown(value)), remedy);
        match key.as_str() {
            "FREQ" => {}
            "INTERVAL" => {
                let number = digits(value).and_then(|number| u16::try_from(number).ok());
                rule.interval = number.ok_or_else(|| bad("write a number, as in INTERVAL=2"))?;
            }
            "COUNT" | "UNTIL" if rule.end != End::Never => {
                return Err(line.refuse("COUNT and UNTIL are both given", "keep one of them"));
            }
            "COUNT" => rule.end = End::Count(digits(value).ok_or_else(|| bad("write a number, as in COUNT=10"))?),
            "UNTIL" => rule.end = End::Until(until(line, value, start)?),
            "BYDAY" => {
                let days = value.split(',').map(weekday).collect::<Option<Vec<_>>>();
                rule.weekdays = days.ok_or_else(|| bad("write days as MO,TU or numbered as 1SA,-1SU"))?;
            }
            "BYMONTHDAY" => {
                rule.month_days = numbers(value).ok_or_else(|| bad("write numbers, as in BYMONTHDAY=1,-1"))?;
            }
            "BYMONTH" => rule.months = numbers(value).ok_or_else(|| bad("write numbers, as in BYMONTH=3,10"))?,
            "WKST" => {
                let first = weekday(value).filter(|day| day.ordinal.is_none());
                rule.week_start = first.ok_or_else(|| bad("write a day, as in WKST=SU"))?.weekday;
            }
            _ => {
                let message = format!("{} is not supported", shown(&key));
                let remedy = "use FREQ, INTERVAL, COUNT, UNTIL, BYDAY, BYMONTHDAY, BYMONTH and WKST";
                return Err(line.refuse(message, remedy));
            }
        }
    }
    Ok(rule)
}

fn until(line: &Line, value: &str, start: Start<'_>) -> Result<Timestamp, Refusal> {
    let bare = Line { params: Vec::new(), ..line.clone() };
    let at = match (when_of(&bare, value)?, start) {
        (When::Day(day), Start::Day(zone)) => zone.instant(day.at(0, 0, 0, 0)),
        (When::Floating(wall), Start::Floating(zone)) => zone.instant(wall),
        (When::Instant(at), Start::Timed | Start::Floating(_)) => Some(at),
        (_, Start::Day(_)) => {
            return Err(line.refuse("UNTIL is a time and the event has days", "write UNTIL as a date"));
        }
        _ => {
            let remedy = "write UNTIL in UTC, as in UNTIL=20261231T230000Z";
            return Err(line.refuse("UNTIL does not say which instant it means", remedy));
        }
    };
    at.ok_or_else(|| line.refuse("UNTIL is beyond all dates", DATE))
}

fn numbers(text: &str) -> Option<BTreeSet<i8>> {
    // More than every day of a month, counted from both ends.
    if text.len() > 400 {
        return None;
    }
    text.split(',').map(signed).collect()
}

fn signed(text: &str) -> Option<i8> {
    let (sign, number) = match text.strip_prefix('-') {
        Some(number) => (-1, number),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    Some(sign * i8::try_from(digits(number)?).ok()?)
}

fn weekday(text: &str) -> Option<DayOfWeek> {
    let split = text.len().checked_sub(2)?;
    let (ordinal, day) = (text.get(..split)?, text.get(split..)?);
    let weekday = match day.to_ascii_uppercase().as_str() {
        "MO" => Weekday::Monday,
        "TU" => Weekday::Tuesday,
        "WE" => Weekday::Wednesday,
        "TH" => Weekday::Thursday,
        "FR" => Weekday::Friday,
        "SA" => Weekday::Saturday,
        "SU" => Weekday::Sunday,
        _ => return None,
    };
    let ordinal = if ordinal.is_empty() { None } else { Some(signed(ordinal)?) };
    Some(DayOfWeek { ordinal, weekday })
}
