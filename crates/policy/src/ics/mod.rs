//! Calendars from iCalendar files (RFC 5545): a stated part of it. Everything else is refused with its line and what to
//! do, because an event that is passed over in silence is a freeze that does not hold.
//!
//! What is taken: `VEVENT` with `UID`, `DTSTART`, `DTEND` or `DURATION`, `RRULE` by days, weeks, months and years,
//! `RDATE`, `EXDATE`, `RECURRENCE-ID` of single occurrences, `SUMMARY` and `STATUS`; `TZID` by IANA name. Zones that a
//! file describes itself are not read: the name counts. What says nothing of time is passed over.

mod event;
mod line;
mod value;

use std::collections::BTreeMap;
use std::fmt;

use stanch_model::calendar::{Calendar, MAX_RULES, Rule, Zone};

use event::Event;
use line::Line;

pub use line::{MAX_FILE, MAX_LINE, MAX_LINES};

/// Most refusals that are told of one file.
const MAX_REFUSALS: usize = 50;
/// Most parts inside each other: calendar, zone, its time.
const MAX_DEPTH: usize = 4;
/// Most things that are noted of one file.
const MAX_NOTES: usize = 100;

/// Why a file is refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// The line, from 1.
    pub line: u32,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl Refusal {
    fn new(line: u32, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { line, message: message.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// Something that is no mistake, and that people should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// The line, from 1.
    pub line: u32,
    /// What.
    pub message: String,
}

/// A calendar that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The calendar.
    pub calendar: Calendar,
    /// What people should know of it.
    pub notes: Vec<Note>,
}

/// Reads an iCalendar file. `zone` is that of days and times without one; without it the file must say so itself
/// (`X-WR-TIMEZONE`), or have none.
///
/// # Errors
/// With everything that is refused, in the order of the lines.
pub fn read(name: &str, source: &[u8], zone: Option<&Zone>) -> Result<Imported, Vec<Refusal>> {
    let lines = line::lines(source).map_err(|refusal| vec![refusal])?;
    let mut file = File { refusals: Vec::new(), zone: zone.cloned(), asked: zone.is_some(), events: Vec::new() };
    let mut notes = Vec::new();
    let rules = match file.read(&lines) {
        Ok(()) => file.rules(&mut notes),
        Err(refusal) => {
            file.refuse(refusal);
            Vec::new()
        }
    };
    file.refusals.sort();
    file.refusals.dedup();
    file.refusals.truncate(MAX_REFUSALS);
    if !file.refusals.is_empty() {
        return Err(file.refusals);
    }
    notes.sort();
    notes.truncate(MAX_NOTES);
    match Calendar::new(name, rules) {
        Ok(calendar) => Ok(Imported { calendar, notes }),
        Err(error) => Err(vec![Refusal::new(1, error.to_string(), error.hint())]),
    }
}

struct File<'a> {
    refusals: Vec<Refusal>,
    /// The zone of days and times without one.
    zone: Option<Zone>,
    /// Whoever asked for the file named that zone.
    asked: bool,
    events: Vec<Event<'a>>,
}

/// Properties of a calendar that say nothing of its times.
const CALENDAR_WORDS: &[&str] = &[
    "PRODID",
    "NAME",
    "DESCRIPTION",
    "UID",
    "LAST-MODIFIED",
    "URL",
    "CATEGORIES",
    "REFRESH-INTERVAL",
    "SOURCE",
    "COLOR",
    "IMAGE",
];

impl<'a> File<'a> {
    fn refuse(&mut self, refusal: Refusal) {
        // One more than is told, so that a flood costs little.
        if self.refusals.len() <= MAX_REFUSALS {
            self.refusals.push(refusal);
        }
    }

    /// Reads all lines.
    ///
    /// # Errors
    /// With what makes the rest of the file mean nothing.
    fn read(&mut self, lines: &'a [Line]) -> Result<(), Refusal> {
        let Some(first) = lines.first() else {
            return Err(Refusal::new(1, "the file is empty", "export the calendar as iCalendar (.ics)"));
        };
        if (first.name.as_str(), first.value.as_str()) != ("BEGIN", "VCALENDAR") {
            let remedy = "begin with BEGIN:VCALENDAR; export the calendar as iCalendar (.ics)";
            return Err(first.refuse("this is no iCalendar file", remedy));
        }
        let mut open: Vec<&Line> = Vec::new();
        let (mut version, mut ended) = (false, false);
        for line in lines {
            let inside: Vec<&str> = open.iter().map(|line| line.value.as_str()).collect();
            if ended {
                return Err(line.refuse("there is more after the calendar", "give each calendar its own file"));
            }
            match (line.name.as_str(), inside.as_slice()) {
                ("BEGIN", _) => {
                    self.begin(line, &inside);
                    if open.len() >= MAX_DEPTH {
                        return Err(line.refuse("too many parts inside each other", "remove the inner ones"));
                    }
                    open.push(line);
                }
                ("END", [.., last]) if *last == line.value => {
                    open.pop();
                    ended = open.is_empty();
                }
                ("END", _) => {
                    return Err(line.refuse("what ends here did not begin", "let each END follow its BEGIN"));
                }
                (_, ["VCALENDAR"]) => version |= self.calendar_line(line),
                (_, ["VCALENDAR", "VEVENT"]) => {
                    if let Some(Err(refusal)) = self.events.last_mut().map(|event| event.take(line)) {
                        self.refuse(refusal);
                    }
                }
                // Zones count by their names, and an alarm only rings.
                _ => {}
            }
        }
        if let Some(line) = open.last() {
            let message = format!("{} does not end", value::shown(&line.value));
            return Err(line.refuse(message, "the file was cut; export it again"));
        }
        if !version {
            return Err(first.refuse("the version is not given", "add VERSION:2.0"));
        }
        Ok(())
    }

    fn begin(&mut self, line: &'a Line, inside: &[&str]) {
        match (line.value.as_str(), inside) {
            ("VCALENDAR", []) | ("VTIMEZONE", ["VCALENDAR"]) | ("VALARM", ["VCALENDAR", "VEVENT"]) => {}
            ("STANDARD" | "DAYLIGHT", ["VCALENDAR", "VTIMEZONE"]) => {}
            ("VEVENT", ["VCALENDAR"]) if self.events.len() < MAX_RULES => self.events.push(Event::new(line)),
            ("VEVENT", ["VCALENDAR"]) => {
                let message = format!("there are more than {MAX_RULES} events");
                self.refuse(line.refuse(message, "export a shorter time, or split the calendar"));
            }
            (other, _) => {
                let message = format!("{} is not supported here", value::shown(other));
                self.refuse(line.refuse(message, "windows and freezes are events: use VEVENT"));
            }
        }
    }

    /// A line of the calendar itself; whether it gives the version.
    fn calendar_line(&mut self, line: &Line) -> bool {
        let value = line.value.as_str();
        let refusal = match line.name.as_str() {
            "VERSION" if value == "2.0" => return true,
            "VERSION" => Some(line.refuse("only version 2.0 is supported", "export the calendar as iCalendar 2.0")),
            "CALSCALE" if value.eq_ignore_ascii_case("GREGORIAN") => None,
            "CALSCALE" => Some(line.refuse("only the Gregorian calendar is supported", "write CALSCALE:GREGORIAN")),
            "METHOD" if ["PUBLISH", "REQUEST"].contains(&value) => None,
            "METHOD" => {
                let message = format!("METHOD:{} is not supported", value::shown(value));
                Some(line.refuse(message, "export the calendar itself, not an answer to it"))
            }
            "X-WR-TIMEZONE" if !self.asked => match Zone::named(value) {
                Ok(zone) => {
                    self.zone = Some(zone);
                    None
                }
                Err(error) => Some(line.refuse(error.to_string(), error.hint())),
            },
            name if name.starts_with("X-") || CALENDAR_WORDS.contains(&name) => None,
            name => {
                let message = format!("{} is not supported here", value::shown(name));
                Some(line.refuse(message, "remove the line"))
            }
        };
        if let Some(refusal) = refusal {
            self.refuse(refusal);
        }
        false
    }

    /// The rules of all events that take place, with what replaces single occurrences.
    fn rules(&mut self, notes: &mut Vec<Note>) -> Vec<Rule> {
        let mut events = std::mem::take(&mut self.events);
        let mut masters: BTreeMap<&str, Option<usize>> = BTreeMap::new();
        let mut rules: Vec<(u32, Rule)> = Vec::new();
        events.sort_by_key(|event| event.replaces.is_some());
        for event in &events {
            let made = event.uid().and_then(|uid| match event.replaces {
                None => self.master(event, uid, &mut masters, &mut rules, notes),
                Some(replaces) => self.replacement(event, uid, replaces, &masters, &mut rules, notes),
            });
            if let Err(refusal) = made {
                self.refuse(refusal);
            }
        }
        for (line, rule) in &rules {
            for start in rule.idle_exceptions() {
                let message = format!("nothing starts at {start}, so EXDATE leaves out nothing");
                notes.push(Note { line: *line, message });
            }
        }
        rules.into_iter().map(|(_, rule)| rule).collect()
    }

    fn master<'e>(
        &self,
        event: &Event<'e>,
        uid: &'e Line,
        masters: &mut BTreeMap<&'e str, Option<usize>>,
        rules: &mut Vec<(u32, Rule)>,
        notes: &mut Vec<Note>,
    ) -> Result<(), Refusal> {
        if masters.contains_key(uid.value.as_str()) {
            return Err(uid.refuse("two events have this UID", "keep one of them, or give it a UID of its own"));
        }
        let rule = event.rule(self.zone.as_ref())?;
        if event.cancelled()? {
            masters.insert(&uid.value, None);
            notes.push(Note { line: event.begin.number, message: "the event is cancelled and does not count".into() });
            return Ok(());
        }
        masters.insert(&uid.value, Some(rules.len()));
        rules.push((event.begin.number, rule));
        Ok(())
    }

    fn replacement(
        &self,
        event: &Event<'_>,
        uid: &Line,
        replaces: &Line,
        masters: &BTreeMap<&str, Option<usize>>,
        rules: &mut Vec<(u32, Rule)>,
        notes: &mut Vec<Note>,
    ) -> Result<(), Refusal> {
        let Some(master) = masters.get(uid.value.as_str()) else {
            return Err(
                uid.refuse("no event with this UID repeats", "export the whole series, or remove RECURRENCE-ID")
            );
        };
        let Some((line, rule)) = master.and_then(|at| rules.get_mut(at)) else {
            let message = "the event it belongs to is cancelled, so it does not count".into();
            notes.push(Note { line: event.begin.number, message });
            return Ok(());
        };
        let start = event::start_of(replaces, rule.zone(), self.zone.as_ref())?;
        if rule.starts_at(start) == Some(false) {
            let message = format!("the event of line {line} has no occurrence at {start}");
            return Err(replaces.refuse(message, "give the start of the occurrence that is replaced"));
        }
        let without = rule.clone().except([start]);
        *rule = without.map_err(|bad| replaces.refuse(bad.to_string(), bad.hint()))?;
        if event.cancelled()? {
            return Ok(());
        }
        rules.push((event.begin.number, event.rule(self.zone.as_ref())?));
        Ok(())
    }
}
