//! Calendars as people write them into a bundle: weekdays or dates, hours, a zone.
//!
//! ```yaml
//! apiVersion: stanch/v1
//! kind: Calendar
//! name: paris-nights
//! tz: Europe/Paris
//! entries:
//!   - {days: [mon, tue, wed, thu], from: "22:00", to: "06:00"}
//!   - {days: [first sat, last sun], from: "08:00", to: "18:00", months: [3, 9]}
//!   - {dates: [2026-12-28], from: "10:00", to: "12:00"}
//!   - {dates: [2026-12-19/2027-01-03], name: Year end}
//! except: [2026-12-25]
//! ```
//!
//! An end that is not later than the start is on the next day; without hours an entry is the whole day. A range of
//! dates is one piece, from the start of its first day to the end of its last. `except` leaves out whatever begins on
//! these days, but no part of a range.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::civil::{Date, DateTime, Weekday, date};
use jiff::{SignedDuration, Span};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stanch_model::calendar::{Calendar, DayOfWeek, Frequency, Length, MAX_RULES, NoSuchZone, Recurrence, Rule, Zone};

use crate::ics;
use crate::problem::{At, Grade, Problem};

/// Most days or dates of one entry.
const MAX_LIST: usize = 400;

/// A calendar document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CalendarDoc {
    /// The version of the language.
    pub api_version: ApiVersion,
    /// `Calendar`.
    pub kind: Kind,
    /// What policies call it.
    pub name: String,
    /// The zone whose wall clock counts.
    pub tz: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When it is in force: whenever one of these is.
    pub entries: Vec<Entry>,
    /// Days on which nothing begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
}

/// The only version of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiVersion {
    /// The first.
    #[serde(rename = "stanch/v1")]
    V1,
}

/// The kind of document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A calendar.
    Calendar,
}

/// One entry: either `days` or `dates`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What the entry is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Weekdays: `mon`, or one of a month: `first sat`, `last sun`; `daily` for all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<String>,
    /// Only in these months, 1 to 12; only with `days`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub months: Vec<i8>,
    /// Dates, `2026-12-24`, and ranges of them with both ends, `2026-12-19/2027-01-03`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dates: Vec<String>,
    /// From this time on the wall, `22:00`; the start of the day without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Up to this time on the wall, `06:00` or `24:00`; the end of the day without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// A calendar as it stands in a bundle.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// The file.
    pub(crate) file: Arc<str>,
    /// Where in it.
    pub(crate) at: At,
    /// What it says.
    pub(crate) text: Text,
}

/// How a calendar is written.
#[derive(Debug, Clone)]
pub(crate) enum Text {
    /// iCalendar.
    Ics(String),
    /// A YAML document, as the value it holds.
    Yaml(Value),
}

impl Source {
    /// The calendar, and what is wrong with it or worth knowing. `zone` is that of days and times without one.
    pub(crate) fn read(&self, name: &str, zone: Option<&Zone>) -> (Option<Calendar>, Vec<Problem>) {
        let problem = |at: At, grade: Grade, code: &'static str, message: String, remedy: String| Problem {
            file: Arc::clone(&self.file),
            at,
            grade,
            code,
            message,
            remedy,
        };
        let on_line = |line: u32| At { line, column: 1, ..At::default() };
        match &self.text {
            Text::Yaml(document) => match read(document) {
                Ok(calendar) => (Some(calendar), Vec::new()),
                Err(bad) => (None, vec![problem(self.at, Grade::Error, "calendar", bad.message, bad.remedy)]),
            },
            Text::Ics(text) => match ics::read(name, text.as_bytes(), zone) {
                Ok(imported) => {
                    let remedy = || "nothing, if that is meant; else correct the event".to_owned();
                    let notes = imported.notes.into_iter();
                    let notes = notes.map(|note| {
                        problem(on_line(note.line), Grade::Warning, "calendar-note", note.message, remedy())
                    });
                    (Some(imported.calendar), notes.collect())
                }
                Err(refusals) => {
                    let refusals = refusals.into_iter();
                    let refusals = refusals.map(|refusal| {
                        problem(on_line(refusal.line), Grade::Error, "icalendar", refusal.message, refusal.remedy)
                    });
                    (None, refusals.collect())
                }
            },
        }
    }

    /// The zone the document itself names; a file of iCalendar does not.
    pub(crate) fn own_zone(&self) -> Option<&str> {
        match &self.text {
            Text::Yaml(document) => document.get("tz").and_then(Value::as_str),
            Text::Ics(_) => None,
        }
    }
}

/// A calendar document that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadCalendar {
    /// What is wrong, and in which entry.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl BadCalendar {
    fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: remedy.into() }
    }

    /// The same, said of one entry.
    fn of_entry(self, number: usize) -> Self {
        Self { message: format!("entry {number}: {}", self.message), ..self }
    }
}

impl From<NoSuchZone> for BadCalendar {
    fn from(error: NoSuchZone) -> Self {
        Self::new(error.to_string(), error.hint())
    }
}

/// The JSON Schema of a calendar document; `name` is that of a name.
pub(crate) fn schema(name: &Value) -> Value {
    let texts = |meaning: &str| json!({"type": "array", "items": {"type": "string"}, "description": meaning});
    let time =
        |meaning: &str| json!({"type": "string", "pattern": "^([01][0-9]|2[0-4]):[0-5][0-9]$", "description": meaning});
    let entry = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "name": {"type": "string", "description": "What the entry is called."},
            "days": texts("Weekdays: mon, or one of a month: first sat, last sun; daily for all of them."),
            "months": {
                "type": "array",
                "items": {"type": "integer", "minimum": 1, "maximum": 12},
                "description": "Only in these months; only with days.",
            },
            "dates": texts("Dates, 2026-12-24, and ranges of them with both ends, 2026-12-19/2027-01-03."),
            "from": time("From this time on the wall; the start of the day without it."),
            "to": time("Up to this time on the wall, 24:00 for the end of the day; the next day when it is not later."),
        },
    });
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["apiVersion", "kind", "name", "tz", "entries"],
        "description": "When windows are open or freezes in force.",
        "properties": {
            "apiVersion": {"const": "stanch/v1"},
            "kind": {"const": "Calendar"},
            "name": name,
            "tz": {"type": "string", "description": "The IANA time zone whose wall clock counts, such as Europe/Paris."},
            "description": {"type": "string", "description": "What it is for."},
            "entries": {"type": "array", "items": entry, "description": "It is in force whenever one of these is."},
            "except": texts("Days on which nothing begins."),
        },
    })
}

/// Reads a calendar document.
///
/// # Errors
/// With the first thing that is wrong.
pub fn read(document: &Value) -> Result<Calendar, BadCalendar> {
    let doc = CalendarDoc::deserialize(document).map_err(|error| {
        BadCalendar::new(error.to_string(), "a calendar has name, tz, entries and except; see the page on calendars")
    })?;
    doc.calendar()
}

impl CalendarDoc {
    /// The calendar it describes.
    ///
    /// # Errors
    /// With the first thing that is wrong.
    pub fn calendar(&self) -> Result<Calendar, BadCalendar> {
        let zone = Zone::named(&self.tz)?;
        let except = self.except.iter().map(|text| day(text)).collect::<Result<Vec<Date>, _>>()?;
        if self.entries.len() > MAX_RULES || except.len() > MAX_LIST {
            return Err(BadCalendar::new("the calendar has too many entries", "split it"));
        }
        let mut rules = Vec::new();
        for (number, entry) in (1..).zip(&self.entries) {
            entry.rules(&zone, &except, &mut rules).map_err(|bad| bad.of_entry(number))?;
        }
        if rules.is_empty() {
            return Err(BadCalendar::new(
                "the calendar has no entry, so it is never in force",
                "add one under `entries`",
            ));
        }
        Calendar::new(&self.name, rules).map_err(|error| BadCalendar::new(error.to_string(), error.hint()))
    }
}

impl Entry {
    fn rules(&self, zone: &Zone, except: &[Date], rules: &mut Vec<Rule>) -> Result<(), BadCalendar> {
        let from = self.from.as_deref().map_or(Ok(SignedDuration::ZERO), hour)?;
        let to = self.to.as_deref().map_or(Ok(DAY), hour)?;
        if from >= DAY {
            return Err(BadCalendar::new("24:00 is no start", "write `from: \"00:00\"`, on the next day"));
        }
        let long = if to > from { to - from } else { to + DAY - from };
        match (self.days.as_slice(), self.dates.as_slice()) {
            ([], []) => Err(BadCalendar::new("it has neither days nor dates", "add `days: [daily]`, or `dates`")),
            ([_, ..], [_, ..]) => Err(BadCalendar::new("it has both days and dates", "make two entries of it")),
            (days, []) => {
                let (start, recurrence) = self.recurrence(days)?;
                let rule = Rule::once(zone.clone(), midnight(start).saturating_add(from), Length::Wall(long));
                let rule = rule.and_then(|rule| rule.repeating(recurrence));
                let rule =
                    rule.and_then(|rule| rule.except(except.iter().map(|day| midnight(*day).saturating_add(from))));
                rules.push(self.finish(rule)?);
                Ok(())
            }
            ([], dates) => {
                if !self.months.is_empty() {
                    return Err(BadCalendar::new("dates have their months already", "remove `months`"));
                }
                if dates.len() > MAX_LIST {
                    return Err(BadCalendar::new(format!("it has more than {MAX_LIST} dates"), "use ranges"));
                }
                for text in dates {
                    let (start, long) = match text.split_once('/') {
                        Some((first, last)) => {
                            let first = midnight(day(first.trim())?).saturating_add(from);
                            let last = midnight(day(last.trim())?).saturating_add(to);
                            (first, last.duration_since(first))
                        }
                        None if except.contains(&day(text)?) => continue,
                        None => (midnight(day(text)?).saturating_add(from), long),
                    };
                    rules.push(self.finish(Rule::once(zone.clone(), start, Length::Wall(long)))?);
                }
                Ok(())
            }
        }
    }

    fn finish(&self, rule: Result<Rule, stanch_model::calendar::BadRule>) -> Result<Rule, BadCalendar> {
        let name = self.name.as_deref().unwrap_or_default();
        rule.and_then(|rule| rule.named(name)).map_err(|error| BadCalendar::new(error.to_string(), error.hint()))
    }

    /// The recurrence of these days, with its first one.
    fn recurrence(&self, days: &[String]) -> Result<(Date, Recurrence), BadCalendar> {
        let mut named = Vec::new();
        for text in days {
            match text.trim().to_ascii_lowercase().as_str() {
                "daily" => named.extend(WEEK.iter().map(|(_, weekday)| DayOfWeek { ordinal: None, weekday: *weekday })),
                word => named.push(weekday(word)?),
            }
        }
        let frequency =
            if named.iter().any(|day| day.ordinal.is_some()) { Frequency::Monthly } else { Frequency::Weekly };
        let months: BTreeSet<i8> = self.months.iter().copied().collect();
        let recurrence = Recurrence { weekdays: named, months, ..Recurrence::every(frequency) };
        // No such rule passes over a whole year, and a wrong part is wrong on every day.
        let mut last = None;
        for ahead in 0..400 {
            let start = FIRST.saturating_add(Span::new().days(ahead));
            match recurrence.check(start) {
                Ok(()) => return Ok((start, recurrence)),
                Err(bad) => last = Some(bad),
            }
        }
        let (message, remedy) = last.map_or_else(Default::default, |bad| (bad.to_string(), bad.hint()));
        Err(BadCalendar::new(message, remedy))
    }
}

const DAY: SignedDuration = SignedDuration::from_hours(24);
/// Entries of weekdays have no beginning; this is before anything that is asked.
const FIRST: Date = date(2020, 1, 1);

const WEEK: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

const NUMBERS: [(&str, i8); 5] = [("first", 1), ("second", 2), ("third", 3), ("fourth", 4), ("last", -1)];

fn weekday(text: &str) -> Result<DayOfWeek, BadCalendar> {
    let (number, day) = match text.split_once(char::is_whitespace) {
        Some((number, day)) => (Some(number), day.trim()),
        None => (None, text),
    };
    let weekday = WEEK.iter().find(|(word, _)| *word == day).map(|(_, weekday)| *weekday);
    let ordinal = number.map(|number| NUMBERS.iter().find(|(word, _)| *word == number).map(|(_, ordinal)| *ordinal));
    match (weekday, ordinal) {
        (Some(weekday), None) => Ok(DayOfWeek { ordinal: None, weekday }),
        (Some(weekday), Some(Some(ordinal))) => Ok(DayOfWeek { ordinal: Some(ordinal), weekday }),
        _ => Err(BadCalendar::new(
            format!("`{}` is no day", shown(text)),
            "write mon, tue, wed, thu, fri, sat, sun or daily; or first, second, third, fourth or last before it",
        )),
    }
}

fn day(text: &str) -> Result<Date, BadCalendar> {
    let strict = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    text.parse().ok().filter(|_| strict).ok_or_else(|| {
        BadCalendar::new(format!("`{}` is no date", shown(text)), "write it as 2026-12-24; ranges stand under `dates`")
    })
}

fn hour(text: &str) -> Result<SignedDuration, BadCalendar> {
    let number =
        |part: &str| part.parse::<i64>().ok().filter(|_| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()));
    let parts = text.split_once(':').and_then(|(hours, minutes)| Some((number(hours)?, number(minutes)?)));
    match parts {
        Some((24, 0)) => Ok(DAY),
        Some((hours @ 0..24, minutes @ 0..60)) => Ok(SignedDuration::from_mins(60 * hours + minutes)),
        _ => Err(BadCalendar::new(format!("`{}` is no time", shown(text)), "write it as \"22:00\"; 24:00 ends a day")),
    }
}

fn midnight(day: Date) -> DateTime {
    day.at(0, 0, 0, 0)
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}
