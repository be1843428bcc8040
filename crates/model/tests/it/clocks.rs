//! Calendars on the days on which clocks change, against a slow oracle: a person who looks at the clock on the wall
//! every minute. The oracle knows no rule about missing or double hours; it only looks.

use jiff::civil::{Date, DateTime, Weekday};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use stanch_model::calendar::{Calendar, DayOfWeek, Frequency, Length, Recurrence, Rule, Timetable, Zone};

const MINUTE: i64 = 60;
const DAY: i64 = 86_400;

/// Northern and southern, half and quarter hours, two hours at once, changes at midnight, none at all, and zones that
/// changed their rules, their offset or their side of the date line.
const ZONES: [&str; 34] = [
    "Africa/Cairo",
    "Africa/Casablanca",
    "Africa/Johannesburg",
    "America/Asuncion",
    "America/Caracas",
    "America/Havana",
    "America/Los_Angeles",
    "America/New_York",
    "America/Nuuk",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Asia/Pyongyang",
    "Asia/Tehran",
    "Asia/Tokyo",
    "Atlantic/Azores",
    "Australia/Adelaide",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Europe/Dublin",
    "Europe/Istanbul",
    "Europe/London",
    "Europe/Moscow",
    "Europe/Paris",
    "Pacific/Apia",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
    "UTC",
];

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// What the wall showed in every minute of some days around an instant.
struct Watch {
    from: i64,
    shown: Vec<DateTime>,
}

impl Watch {
    fn around(zone: &Zone, middle: Timestamp) -> Self {
        let from = middle.as_second().div_euclid(DAY) * DAY - 6 * DAY;
        let shown = (0..12 * DAY / MINUTE).map(|minute| zone.wall(at(from + minute * MINUTE))).collect();
        Self { from, shown }
    }

    /// The first minute in which the wall shows this or more.
    fn first(&self, wall: DateTime) -> i64 {
        let minute = self.shown.iter().position(|shown| *shown >= wall).expect("within the days that were watched");
        self.from + i64::try_from(minute).unwrap() * MINUTE
    }

    /// The minutes in which somebody who follows the rule by hand has it in force.
    fn in_force(&self, plan: &Plan) -> Vec<bool> {
        let first = self.shown.first().unwrap().date();
        let mut open = vec![false; self.shown.len()];
        // A day that the wall skips lets one more come into sight.
        for day in 1..=9 {
            let date = first.checked_add(jiff::Span::new().days(day)).unwrap();
            if plan.weekday.is_some_and(|weekday| weekday != date.weekday()) {
                continue;
            }
            let start = date.at(0, 0, 0, 0) + SignedDuration::from_mins(plan.start);
            let begins = self.first(start);
            let ends = match plan.length {
                Length::Wall(long) => self.first(start + long),
                Length::Elapsed { days, seconds } => {
                    self.first(start + SignedDuration::from_hours(24 * i64::from(days))) + i64::from(seconds)
                }
            };
            for second in (begins..ends).step_by(60) {
                open[usize::try_from((second - self.from) / MINUTE).unwrap()] = true;
            }
        }
        open
    }
}

/// Every day, or every week on a day, from a minute of the day for so long.
#[derive(Debug, Clone)]
struct Plan {
    start: i64,
    length: Length,
    weekday: Option<Weekday>,
}

impl Plan {
    fn calendar(&self, zone: &Zone, near: Timestamp) -> Calendar {
        let mut day: Date = zone.wall(near).date().checked_sub(jiff::Span::new().days(60)).unwrap();
        let mut recurrence = Recurrence::every(Frequency::Daily);
        if let Some(weekday) = self.weekday {
            day = day.nth_weekday(1, weekday).unwrap();
            recurrence = Recurrence::every(Frequency::Weekly);
            recurrence.weekdays = vec![DayOfWeek { ordinal: None, weekday }];
        }
        let start = day.at(0, 0, 0, 0) + SignedDuration::from_mins(self.start);
        let rule = Rule::once(zone.clone(), start, self.length).unwrap().repeating(recurrence).unwrap();
        Calendar::new("plan", vec![rule]).unwrap()
    }
}

/// The minutes of the middle days; those at the rim have occurrences that the oracle did not look at.
fn compare(zone: &Zone, watch: &Watch, change: Timestamp, plan: &Plan) {
    let table: Timetable = plan.calendar(zone, change).expand(change).unwrap();
    let slow = watch.in_force(plan);
    for (minute, open) in slow.iter().enumerate().skip(4 * 1_440).take(4 * 1_440) {
        let instant = at(watch.from + i64::try_from(minute).unwrap() * MINUTE);
        assert_eq!(
            table.open_at(instant).is_some(),
            *open,
            "{zone} at {instant} ({} on the wall), clocks change at {change}, {plan:?}",
            zone.wall(instant)
        );
    }
    for change in [table.next_change(at(watch.from + 4 * DAY)), table.next_change(change)].into_iter().flatten() {
        let open = |instant: Timestamp| table.open_at(instant).is_some();
        assert_ne!(open(change), open(change - SignedDuration::from_nanos(1)), "{zone}: nothing changes at {change}");
    }
}

/// Every change of the clocks from 2010 to 2028.
fn clock_changes(zone: &str) -> Vec<Timestamp> {
    let zone = jiff::tz::TimeZoneDatabase::bundled().get(zone).unwrap();
    let (from, to) = ("2010-01-01T00:00:00Z".parse().unwrap(), "2028-12-31T00:00:00Z".parse().unwrap());
    zone.following(from).map(|change| change.timestamp()).take_while(|change| *change < to).collect()
}

/// The same, or two plain days where there is none.
fn days(zone: &str) -> Vec<Timestamp> {
    let found = clock_changes(zone);
    if !found.is_empty() {
        return found;
    }
    ["2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z"].map(|day| day.parse().unwrap()).to_vec()
}

/// Windows that begin or end before, in, and after the hours in which clocks change.
fn plans() -> Vec<Plan> {
    let hours = |from: i64, to: i64| Plan {
        start: from,
        length: Length::Wall(SignedDuration::from_mins(to - from)),
        weekday: None,
    };
    vec![
        hours(22 * 60, 30 * 60),
        hours(0, 24 * 60),
        hours(60, 2 * 60 + 30),
        hours(2 * 60 + 10, 2 * 60 + 50),
        hours(2 * 60 + 30, 3 * 60 + 15),
        hours(23 * 60 + 30, 24 * 60 + 30),
        Plan { start: 23 * 60, length: Length::Elapsed { days: 0, seconds: 4 * 3_600 }, weekday: None },
        Plan { start: 2 * 60 + 30, length: Length::Elapsed { days: 1, seconds: 0 }, weekday: None },
    ]
}

#[test]
fn calendars_hold_to_the_clock_on_the_wall_whenever_it_changes() {
    for name in ZONES {
        let zone = Zone::named(name).unwrap();
        let changes = days(name);
        // Both days of the newest year with two, and both of the oldest: rules changed in between in some.
        let chosen = changes.iter().take(2).chain(changes.iter().rev().take(2));
        for change in chosen {
            let watch = Watch::around(&zone, *change);
            for plan in plans() {
                compare(&zone, &watch, *change, &plan);
            }
        }
    }
}

#[test]
fn every_kind_of_change_is_among_the_zones() {
    let shifts: std::collections::BTreeSet<i64> = ZONES
        .iter()
        .flat_map(|name| {
            let zone = Zone::named(name).unwrap();
            let shift = move |change: Timestamp| {
                let before = zone.wall(change - SignedDuration::from_secs(1));
                (zone.wall(change).duration_since(before) - SignedDuration::from_secs(1)).as_secs() / 60
            };
            clock_changes(name).into_iter().map(shift).collect::<Vec<_>>()
        })
        .collect();
    // A day left out, two hours, one, a half, and back.
    for minutes in [1_440, 120, 60, 30, -30, -60, -120] {
        assert!(shifts.contains(&minutes), "{minutes} not in {shifts:?}");
    }
    assert!(ZONES.iter().filter(|name| clock_changes(name).is_empty()).count() >= 3);
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let length = prop_oneof![
        (1..1_440_i64).prop_map(|minutes| Length::Wall(SignedDuration::from_mins(minutes))),
        (0..2_u32, 1..1_440_u32).prop_map(|(days, minutes)| Length::Elapsed { days, seconds: minutes * 60 }),
    ];
    let weekday = prop::option::of((1..=7_i8).prop_map(|day| Weekday::from_monday_one_offset(day).unwrap()));
    (0..1_440_i64, length, weekday).prop_map(|(start, length, weekday)| Plan { start, length, weekday })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn any_window_holds_to_the_clock_on_the_wall_on_any_such_day(
        zone in 0..ZONES.len(), day in any::<prop::sample::Index>(), plan in any_plan()
    ) {
        let changes = days(ZONES[zone]);
        let (zone, change) = (Zone::named(ZONES[zone]).unwrap(), changes[day.index(changes.len())]);
        compare(&zone, &Watch::around(&zone, change), change, &plan);
    }
}
