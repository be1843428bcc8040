//! Time zones by their IANA name, and the one rule by which a time on the wall becomes an instant.
//!
//! The rules of all zones are built into the program. So a calendar means the same on every machine, whatever its
//! operating system has installed, and nothing is read from disk.
//!
//! **The rule.** A time on the wall means *the first instant at which the wall clock of that zone shows it, or more*.
//! On the day an hour is missing, a time inside it means the first instant after it; on the day an hour comes twice, a
//! time inside it means the first of both. Starts and ends follow the same rule, so that what touches or is ordered on
//! the wall touches and is ordered in truth: this is why a time in the missing hour is not moved on by an hour, as
//! RFC 5545 (3.3.5) would; it would put the end of 02:30-03:15 before its start.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};

/// Longest name of a zone that is looked up.
const MAX_NAME: usize = 64;

/// A time zone of the IANA database.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone {
    name: String,
    rules: TimeZone,
}

/// A name that is not in the IANA time zone database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no time zone `{name}`")]
pub struct NoSuchZone {
    name: String,
}

impl NoSuchZone {
    /// What a person can do.
    pub const fn hint(&self) -> &'static str {
        "name the zone as in the IANA time zone database, such as Europe/Paris, or UTC"
    }
}

impl Zone {
    /// The zone with this IANA name, in any case.
    ///
    /// # Errors
    /// When the database that is built in has no such zone.
    pub fn named(name: &str) -> Result<Self, NoSuchZone> {
        let missing = || NoSuchZone { name: name.chars().take(MAX_NAME).filter(|c| !c.is_control()).collect() };
        if name.len() > MAX_NAME {
            return Err(missing());
        }
        let rules = TimeZoneDatabase::bundled().get(name).map_err(|_| missing())?;
        let name = rules.iana_name().ok_or_else(missing)?.to_owned();
        Ok(Self { name, rules })
    }

    /// Coordinated universal time, which has neither of the two days.
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), rules: TimeZone::UTC }
    }

    /// Its IANA name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the clock on the wall shows at this instant.
    pub fn wall(&self, at: Timestamp) -> DateTime {
        self.rules.to_datetime(at)
    }

    /// The first instant at which the clock on the wall shows this time, or more. `None` beyond the range of instants.
    pub fn instant(&self, wall: DateTime) -> Option<Timestamp> {
        match self.rules.to_ambiguous_timestamp(wall).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wall).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(wall).ok(),
            AmbiguousOffset::Gap { before, after } => {
                // Read with the offset of after the gap it lies before it, and the other way round.
                let earlier = after.to_timestamp(wall).ok()?;
                let later = before.to_timestamp(wall).ok()?;
                let gap = self.rules.following(earlier).map(|change| change.timestamp());
                Some(gap.take_while(|at| *at <= later).find(|at| self.wall(*at) >= wall).unwrap_or(later))
            }
        }
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl TryFrom<String> for Zone {
    type Error = NoSuchZone;

    fn try_from(name: String) -> Result<Self, NoSuchZone> {
        Self::named(&name)
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.name
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::datetime;

    use super::*;

    fn at(zone: &str, wall: DateTime) -> String {
        Zone::named(zone).unwrap().instant(wall).unwrap().to_string()
    }

    #[test]
    fn a_time_in_the_missing_hour_means_the_first_instant_after_it() {
        for minute in [0, 1, 30, 59] {
            assert_eq!(at("Europe/Paris", datetime(2027, 3, 28, 2, minute, 0, 0)), "2027-03-28T01:00:00Z");
        }
        assert_eq!(at("Europe/Paris", datetime(2027, 3, 28, 3, 0, 0, 0)), "2027-03-28T01:00:00Z");
        assert_eq!(at("Europe/Paris", datetime(2027, 3, 28, 3, 15, 0, 0)), "2027-03-28T01:15:00Z");
    }

    #[test]
    fn a_time_that_comes_twice_means_the_first() {
        assert_eq!(at("Europe/Paris", datetime(2026, 10, 25, 2, 30, 0, 0)), "2026-10-25T00:30:00Z");
        assert_eq!(at("Europe/Paris", datetime(2026, 10, 25, 3, 0, 0, 0)), "2026-10-25T02:00:00Z");
    }

    #[test]
    fn a_day_that_a_zone_left_out_begins_with_the_next() {
        assert_eq!(at("Pacific/Apia", datetime(2011, 12, 30, 10, 0, 0, 0)), "2011-12-30T10:00:00Z");
        assert_eq!(at("Pacific/Apia", datetime(2011, 12, 31, 0, 0, 0, 0)), "2011-12-30T10:00:00Z");
    }

    #[test]
    fn only_zones_of_the_database_are_taken() {
        assert_eq!(Zone::named("europe/paris").unwrap().name(), "Europe/Paris");
        assert_eq!(Zone::named("utc").unwrap(), Zone::utc());
        for name in ["", "Europe/Lutetia", "W. Europe Standard Time", "Etc/Unknown", "../etc/passwd", "CET-1CEST"] {
            let refused = Zone::named(name).unwrap_err();
            assert_eq!(refused.to_string(), format!("there is no time zone `{name}`"));
        }
        assert!(Zone::named(&"x".repeat(10_000)).unwrap_err().to_string().len() < 100);
    }
}
