//! One event: its lines, and the rule they make.

use jiff::SignedDuration;
use jiff::civil::DateTime;
use stanch_model::calendar::{BadRule, Length, MAX_LABEL, MAX_SINGLE, Rule, Zone};

use super::Refusal;
use super::line::Line;
use super::value::{self, Start, When};

/// Properties of an event that say nothing of when it takes place.
const WORDS: &[&str] = &[
    "ATTACH",
    "ATTENDEE",
    "CATEGORIES",
    "CLASS",
    "COLOR",
    "COMMENT",
    "CONFERENCE",
    "CONTACT",
    "CREATED",
    "DESCRIPTION",
    "DTSTAMP",
    "GEO",
    "IMAGE",
    "LAST-MODIFIED",
    "LOCATION",
    "ORGANIZER",
    "PRIORITY",
    "RELATED-TO",
    "REQUEST-STATUS",
    "RESOURCES",
    "SEQUENCE",
    "TRANSP",
    "URL",
];

/// The lines of an event that matter.
pub(super) struct Event<'a> {
    pub(super) begin: &'a Line,
    uid: Option<&'a Line>,
    start: Option<&'a Line>,
    end: Option<&'a Line>,
    duration: Option<&'a Line>,
    rule: Option<&'a Line>,
    summary: Option<&'a Line>,
    status: Option<&'a Line>,
    pub(super) replaces: Option<&'a Line>,
    except: Vec<&'a Line>,
    extra: Vec<&'a Line>,
}

impl<'a> Event<'a> {
    pub(super) const fn new(begin: &'a Line) -> Self {
        Self {
            begin,
            uid: None,
            start: None,
            end: None,
            duration: None,
            rule: None,
            summary: None,
            status: None,
            replaces: None,
            except: Vec::new(),
            extra: Vec::new(),
        }
    }

    /// Takes one of its lines.
    pub(super) fn take(&mut self, line: &'a Line) -> Result<(), Refusal> {
        let slot = match line.name.as_str() {
            "UID" => &mut self.uid,
            "DTSTART" => &mut self.start,
            "DTEND" => &mut self.end,
            "DURATION" => &mut self.duration,
            "RRULE" => &mut self.rule,
            "SUMMARY" => &mut self.summary,
            "STATUS" => &mut self.status,
            "RECURRENCE-ID" => &mut self.replaces,
            "EXDATE" => {
                self.except.push(line);
                return Ok(());
            }
            "RDATE" => {
                self.extra.push(line);
                return Ok(());
            }
            "EXRULE" => return Err(line.refuse("EXRULE is not supported", "list the days with EXDATE")),
            name if name.starts_with("X-") || WORDS.contains(&name) => return Ok(()),
            name => {
                let message = format!("{} is not supported in an event", value::shown(name));
                return Err(line.refuse(message, "remove the line"));
            }
        };
        if slot.is_some() {
            return Err(line.refuse(format!("the event has a second {}", line.name), "keep one of them"));
        }
        *slot = Some(line);
        Ok(())
    }

    pub(super) fn uid(&self) -> Result<&'a Line, Refusal> {
        self.uid.ok_or_else(|| self.begin.refuse("the event has no UID", "add UID: and a text that no other event has"))
    }

    /// Whether it does not take place.
    pub(super) fn cancelled(&self) -> Result<bool, Refusal> {
        let Some(status) = self.status else { return Ok(false) };
        match status.value.to_ascii_uppercase().as_str() {
            "CONFIRMED" => Ok(false),
            "CANCELLED" => Ok(true),
            other => {
                let message = format!("an event that is {} may or may not hold", value::shown(other));
                Err(status.refuse(message, "confirm the event, cancel it, or remove it"))
            }
        }
    }

    /// The rule it makes. `floating` is the zone of what has none.
    pub(super) fn rule(&self, floating: Option<&Zone>) -> Result<Rule, Refusal> {
        let Some(line) = self.start else {
            return Err(self.begin.refuse("the event has no start", "add DTSTART"));
        };
        let start = value::when(line)?;
        let (zone, wall) = resolve(line, &start, floating)?;
        let (zone, wall, length) = self.length(line, &start, zone, wall)?;
        let bad = |at: &Line, bad: BadRule| at.refuse(bad.to_string(), bad.hint());
        let ends = self.end.or(self.duration).unwrap_or(line);
        let mut rule = Rule::once(zone.clone(), wall, length).map_err(|error| match error {
            BadRule::Length | BadRule::TooLong => bad(ends, error),
            _ => bad(line, error),
        })?;
        if let Some(summary) = self.summary {
            rule = rule.named(&text(&summary.value)).map_err(|error| bad(summary, error))?;
        }
        if let Some(repeats) = self.rule {
            if self.replaces.is_some() {
                return Err(repeats.refuse("what replaces one occurrence cannot repeat", "remove RRULE"));
            }
            let kind = match start {
                When::Day(_) => Start::Day(&zone),
                When::Floating(_) => Start::Floating(&zone),
                When::Wall(..) | When::Instant(_) => Start::Timed,
            };
            let recurrence = value::recurrence(repeats, kind)?;
            rule = rule.repeating(recurrence).map_err(|error| bad(repeats, error))?;
        }
        for extra in &self.extra {
            rule = rule.also(starts(extra, &zone, floating, &start)?).map_err(|error| bad(extra, error))?;
        }
        for except in &self.except {
            rule = rule.except(starts(except, &zone, floating, &start)?).map_err(|error| bad(except, error))?;
        }
        Ok(rule)
    }

    /// The start with the length. An event that does not repeat and whose end is in another zone is worked out in UTC.
    fn length(
        &self,
        line: &Line,
        start: &When,
        zone: Zone,
        wall: DateTime,
    ) -> Result<(Zone, DateTime, Length), Refusal> {
        let days = |days: i64| Length::Wall(SignedDuration::from_secs(days * 86_400));
        match (self.end, self.duration) {
            (Some(_), Some(duration)) => {
                Err(duration.refuse("the event has both an end and a duration", "keep one of them"))
            }
            (None, None) if matches!(start, When::Day(_)) => Ok((zone, wall, days(1))),
            (None, None) => Err(line.refuse("the event has no end", "add DTEND or DURATION")),
            (None, Some(given)) => {
                let duration = value::duration(given)?;
                if matches!(start, When::Day(_)) && duration.seconds > 0 {
                    return Err(given.refuse("an event of whole days lasts whole days", "give the duration in days"));
                }
                Ok((zone, wall, Length::Elapsed { days: duration.days, seconds: duration.seconds }))
            }
            (Some(given), None) => {
                let end = value::when(given)?;
                if matches!(start, When::Day(_)) != matches!(end, When::Day(_)) {
                    return Err(given.refuse("start and end are not both dates or both times", "give both alike"));
                }
                let (end_zone, end_wall) = resolve(given, &end, Some(&zone))?;
                if end_zone == zone {
                    return Ok((zone, wall, Length::Wall(end_wall.duration_since(wall))));
                }
                if self.rule.is_some() || !self.extra.is_empty() || !self.except.is_empty() {
                    let message = "start and end of an event that repeats are in different time zones";
                    return Err(given.refuse(message, "give both the same TZID, or DURATION instead of DTEND"));
                }
                match (zone.instant(wall), end_zone.instant(end_wall)) {
                    (Some(from), Some(to)) => {
                        Ok((Zone::utc(), Zone::utc().wall(from), Length::Wall(to.duration_since(from))))
                    }
                    _ => Err(given.refuse("the end is beyond all dates", "correct the year")),
                }
            }
        }
    }
}

/// The zone and the time on its wall.
fn resolve(line: &Line, when: &When, floating: Option<&Zone>) -> Result<(Zone, DateTime), Refusal> {
    let wall = match when {
        When::Day(day) => day.at(0, 0, 0, 0),
        When::Floating(wall) => *wall,
        When::Wall(wall, zone) => return Ok((zone.clone(), *wall)),
        When::Instant(at) => return Ok((Zone::utc(), Zone::utc().wall(*at))),
    };
    let Some(zone) = floating else {
        let remedy =
            "add ;TZID= and an IANA name, write the time in UTC with a Z, or name the zone where the file is used";
        return Err(line.refuse("nothing says in which time zone this is", remedy));
    };
    Ok((zone.clone(), wall))
}

/// A start on the wall of `zone`, as this line gives it.
pub(super) fn start_of(line: &Line, zone: &Zone, floating: Option<&Zone>) -> Result<DateTime, Refusal> {
    on_wall(line, &value::when(line)?, zone, floating)
}

fn on_wall(line: &Line, when: &When, zone: &Zone, floating: Option<&Zone>) -> Result<DateTime, Refusal> {
    let (own, wall) = resolve(line, when, floating)?;
    if own == *zone {
        return Ok(wall);
    }
    let at = own.instant(wall).ok_or_else(|| line.refuse("the time is beyond all dates", "correct the year"))?;
    let there = zone.wall(at);
    if zone.instant(there) == Some(at) {
        return Ok(there);
    }
    let remedy = format!("give it with TZID={zone}, as the start");
    Err(line.refuse("the clock shows this time twice on that day, and it is the second", remedy))
}

/// The starts this line lists, which must be as DTSTART is.
fn starts(line: &Line, zone: &Zone, floating: Option<&Zone>, start: &When) -> Result<Vec<DateTime>, Refusal> {
    let listed = value::whens(line, MAX_SINGLE)?;
    let day = matches!(start, When::Day(_));
    if listed.iter().any(|when| matches!(when, When::Day(_)) != day) {
        let remedy = if day { "write dates, with ;VALUE=DATE" } else { "write the time of the start as well" };
        return Err(line.refuse(format!("{} and DTSTART are not both dates or both times", line.name), remedy));
    }
    // Without a zone they are in that of the start.
    let floating = if matches!(start, When::Day(_) | When::Floating(_)) { floating } else { None };
    listed.iter().map(|when| on_wall(line, when, zone, floating)).collect()
}

/// Text without its escapes (RFC 5545, 3.3.11), in one line, short enough for a label.
fn text(value: &str) -> String {
    let mut text = String::new();
    let mut escaped = false;
    for c in value.chars() {
        let c = match (escaped, c) {
            (false, '\\') => {
                escaped = true;
                continue;
            }
            (true, 'n' | 'N') | (_, '\t') => ' ',
            (_, c) => c,
        };
        escaped = false;
        if text.len() + c.len_utf8() > MAX_LABEL {
            break;
        }
        text.push(c);
    }
    text
}
