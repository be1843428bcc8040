//! A time as people read it: to the minute, in UTC, the same on pages, in messages and on the command line.

use std::fmt;

use jiff::Timestamp;

/// Shows a time as `2026-11-26 16:38 UTC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When(pub Timestamp);

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.strftime("%Y-%m-%d %H:%M UTC"))
    }
}
