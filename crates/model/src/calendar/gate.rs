//! The answer to "may it start now?", with the reason in words.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::When;
use serde::{Deserialize, Serialize};

/// Whether something may start at an instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "gate", rename_all = "snake_case")]
#[must_use = "a gate that nobody looks at stops nothing"]
pub enum Gate {
    /// It may.
    Open {
        /// It may start until then, if something bounds it.
        until: Option<Timestamp>,
    },
    /// It may not.
    Closed {
        /// Why.
        why: Closed,
        /// When it may; `None` when there is no such time within what is worked out.
        opens_at: Option<Timestamp>,
    },
}

impl Gate {
    /// Whether it may start.
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }
}

/// Why nothing may start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum Closed {
    /// The window is shut.
    Window {
        /// The calendar.
        calendar: String,
        /// When it opens next.
        opens_at: Option<Timestamp>,
    },
    /// The window is open, but would be shut before the end.
    DoesNotFit {
        /// The calendar.
        calendar: String,
        /// When the window shuts.
        ends_at: Timestamp,
        /// The longest it may take.
        longest: SignedDuration,
    },
    /// A freeze is in force.
    Freeze {
        /// The calendar.
        calendar: String,
        /// What the freeze is called.
        name: Option<String>,
        /// Until when.
        until: Timestamp,
    },
    /// A freeze would begin before the end.
    FreezeAhead {
        /// The calendar.
        calendar: String,
        /// What the freeze is called.
        name: Option<String>,
        /// When it begins.
        begins_at: Timestamp,
        /// The longest it may take.
        longest: SignedDuration,
    },
    /// The instant is not among those that were worked out; so it counts as shut, or frozen.
    NotWorkedOut {
        /// The calendar.
        calendar: String,
        /// The first instant that was not.
        until: Timestamp,
    },
    /// Nobody knows the calendar; so it counts as shut, or frozen.
    NoCalendar {
        /// The name that was given.
        calendar: String,
    },
}

impl Closed {
    /// The calendar that stops it.
    pub fn calendar(&self) -> &str {
        match self {
            Self::Window { calendar, .. }
            | Self::DoesNotFit { calendar, .. }
            | Self::Freeze { calendar, .. }
            | Self::FreezeAhead { calendar, .. }
            | Self::NotWorkedOut { calendar, .. }
            | Self::NoCalendar { calendar } => calendar,
        }
    }

    /// What a person can do about it, where there is anything but wait.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Window { calendar, opens_at: None } => format!("give `{calendar}` a window"),
            Self::NoCalendar { calendar } => {
                format!("add the calendar `{calendar}` to the bundle, or correct its name in the policy")
            }
            Self::NotWorkedOut { .. } => "wait until the calendars are worked out again; that happens daily".to_owned(),
            _ => return None,
        })
    }
}

/// `freeze "Year end" (corp)`, or only the calendar where it has no name of its own.
fn freeze(calendar: &str, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("the freeze \"{name}\" ({calendar})"),
        None => format!("the freeze `{calendar}`"),
    }
}

/// `2 h 30 min`: days, hours, minutes and seconds, as far as there are any.
fn spell(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let parts = [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let text: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n} {unit}")).collect();
    if text.is_empty() { "0 s".to_owned() } else { text.join(" ") }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Window { calendar, opens_at: Some(at) } => {
                write!(f, "the window `{calendar}` is shut until {}", When(*at))
            }
            Self::Window { calendar, opens_at: None } => write!(f, "the window `{calendar}` does not open any more"),
            Self::DoesNotFit { calendar, ends_at, longest } => {
                write!(f, "it may take {} and the window `{calendar}` shuts at {}", spell(*longest), When(*ends_at))
            }
            Self::Freeze { calendar, name, until } => {
                write!(f, "{} is in force until {}", freeze(calendar, name.as_deref()), When(*until))
            }
            Self::FreezeAhead { calendar, name, begins_at, longest } => write!(
                f,
                "it may take {} and {} begins at {}",
                spell(*longest),
                freeze(calendar, name.as_deref()),
                When(*begins_at)
            ),
            Self::NotWorkedOut { calendar, until } => {
                write!(f, "the calendar `{calendar}` is worked out only until {}", When(*until))
            }
            Self::NoCalendar { calendar } => write!(f, "there is no calendar `{calendar}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_read_as_sentences() {
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        let longest = SignedDuration::from_secs(9_000);
        let calendar = || "paris-nights".to_owned();
        let name = Some("Year end".to_owned());
        let reasons = [
            Closed::Window { calendar: calendar(), opens_at: Some(at) },
            Closed::Window { calendar: calendar(), opens_at: None },
            Closed::DoesNotFit { calendar: calendar(), ends_at: at, longest },
            Closed::Freeze { calendar: calendar(), name: name.clone(), until: at },
            Closed::Freeze { calendar: calendar(), name: None, until: at },
            Closed::FreezeAhead { calendar: calendar(), name, begins_at: at, longest },
            Closed::NotWorkedOut { calendar: calendar(), until: at },
            Closed::NoCalendar { calendar: calendar() },
        ];
        let text: Vec<String> = reasons.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(text.join("\n"), @r#"
        the window `paris-nights` is shut until 2027-01-15 08:00 UTC
        the window `paris-nights` does not open any more
        it may take 2 h 30 min and the window `paris-nights` shuts at 2027-01-15 08:00 UTC
        the freeze "Year end" (paris-nights) is in force until 2027-01-15 08:00 UTC
        the freeze `paris-nights` is in force until 2027-01-15 08:00 UTC
        it may take 2 h 30 min and the freeze "Year end" (paris-nights) begins at 2027-01-15 08:00 UTC
        the calendar `paris-nights` is worked out only until 2027-01-15 08:00 UTC
        there is no calendar `paris-nights`
        "#);
    }
}
