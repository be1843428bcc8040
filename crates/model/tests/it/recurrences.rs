//! Recurrences against a slow oracle that looks at every day and asks whether the rule names it.

use std::collections::BTreeSet;

use jiff::civil::{Date, DateTime, Weekday, date, time};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use stanch_model::calendar::{
    BadRecurrence, BadRule, Calendar, CalendarError, DayOfWeek, End, Frequency, Length, Recurrence, Rule, Zone,
};

const HOUR: Length = Length::Wall(SignedDuration::from_hours(1));

fn noon(day: Date) -> DateTime {
    day.to_datetime(time(12, 0, 0, 0))
}

fn on_all(weekday: Weekday) -> DayOfWeek {
    DayOfWeek { ordinal: None, weekday }
}

fn on_nth(ordinal: i8, weekday: Weekday) -> DayOfWeek {
    DayOfWeek { ordinal: Some(ordinal), weekday }
}

/// The days on which it happens, from its start, as the timetable of that time has them.
fn days(start: Date, recurrence: &Recurrence) -> Vec<Date> {
    let rule = Rule::once(Zone::utc(), noon(start), HOUR).unwrap().repeating(recurrence.clone()).unwrap();
    let now = Zone::utc().instant(noon(start)).unwrap();
    let table = Calendar::new("days", vec![rule]).unwrap().expand(now).unwrap();
    table.occurrences().iter().map(|found| Zone::utc().wall(found.interval.start).date()).collect()
}

fn plus(day: Date, days: i64) -> Date {
    day.checked_add(jiff::Span::new().days(days)).unwrap()
}

fn monday_of(day: Date, week_start: Weekday) -> Date {
    (0..7).map(|back| plus(day, -back)).find(|day| day.weekday() == week_start).unwrap()
}

/// Whether the rule names this day, straight from the words of RFC 5545 (3.3.10).
fn named(rule: &Recurrence, start: Date, day: Date) -> bool {
    let every = i64::from(rule.interval);
    let days = |from: Date, to: Date| from.duration_until(to).as_hours() / 24;
    let months = |day: Date| i64::from(day.year()) * 12 + i64::from(day.month());
    let in_period = match rule.frequency {
        Frequency::Daily => days(start, day) % every == 0,
        Frequency::Weekly => days(monday_of(start, rule.week_start), monday_of(day, rule.week_start)) / 7 % every == 0,
        Frequency::Monthly => (months(day) - months(start)) % every == 0,
        Frequency::Yearly => i64::from(day.year() - start.year()) % every == 0,
    };
    let nth =
        |day: Date, ordinal: i8| day.first_of_month().nth_weekday_of_month(ordinal, day.weekday()).ok() == Some(day);
    let weekday = rule
        .weekdays
        .iter()
        .any(|named| named.weekday == day.weekday() && named.ordinal.is_none_or(|ordinal| nth(day, ordinal)));
    let month_day = rule.month_days.iter().any(|named| {
        let of_month = if *named > 0 { *named } else { day.days_in_month() + 1 + *named };
        of_month == day.day()
    });
    let month = rule.months.contains(&day.month());
    let (no_days, no_dates, no_months) = (rule.weekdays.is_empty(), rule.month_days.is_empty(), rule.months.is_empty());
    // What the rule leaves open is as on its first day.
    let as_first = match rule.frequency {
        Frequency::Daily => true,
        Frequency::Weekly => !no_days || day.weekday() == start.weekday(),
        Frequency::Monthly => !no_days || !no_dates || day.day() == start.day(),
        Frequency::Yearly => {
            (!no_days || !no_dates || day.day() == start.day())
                && (!no_months || !no_dates || day.month() == start.month())
        }
    };
    day >= start && in_period && as_first && (no_days || weekday) && (no_dates || month_day) && (no_months || month)
}

fn any_rule() -> impl Strategy<Value = (Date, Recurrence)> {
    let frequency =
        prop_oneof![Just(Frequency::Daily), Just(Frequency::Weekly), Just(Frequency::Monthly), Just(Frequency::Yearly)];
    let weekday = (1..=7_i8).prop_map(|day| Weekday::from_monday_one_offset(day).unwrap());
    let ordinal = prop::option::weighted(0.6, prop_oneof![1..=5_i8, -5..=-1_i8]);
    let weekdays = prop::collection::vec((ordinal, weekday.clone()), 0..4);
    let month_days = prop::collection::btree_set(prop_oneof![1..=31_i8, -31..=-1_i8], 0..4);
    let months = prop::collection::btree_set(1..=12_i8, 0..5);
    let parts = (frequency, 1..5_u16, weekdays, month_days, months, weekday);
    ((0..1_500_i64), parts, any::<[bool; 3]>()).prop_filter_map(
        "the rule must name its first day",
        |(ahead, parts, keep)| {
            let (frequency, interval, weekdays, mut month_days, mut months, week_start) = parts;
            let mut weekdays: Vec<DayOfWeek> =
                weekdays.into_iter().map(|(ordinal, weekday)| DayOfWeek { ordinal, weekday }).collect();
            if !keep[0] {
                weekdays.clear();
            }
            if !keep[1] || frequency == Frequency::Weekly {
                month_days.clear();
            }
            if !keep[2] {
                months.clear();
            }
            let of_month = frequency == Frequency::Monthly || (frequency == Frequency::Yearly && !months.is_empty());
            if !of_month {
                weekdays.iter_mut().for_each(|day| day.ordinal = None);
            }
            let rule = Recurrence { frequency, interval, end: End::Never, weekdays, month_days, months, week_start };
            let start =
                (0..1_500).map(|day| plus(date(2024, 1, 1), ahead + day)).find(|day| rule.check(*day).is_ok())?;
            Some((start, rule))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_global_rejects: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn a_rule_happens_on_the_days_it_names_and_on_no_other((start, rule) in any_rule()) {
        let slow: Vec<Date> =
            (0..400).map(|day| plus(start, day)).filter(|day| named(&rule, start, *day)).collect();
        prop_assert_eq!(days(start, &rule), slow);
    }

    #[test]
    fn what_is_left_of_a_rule_does_not_depend_on_when_it_is_worked_out((start, rule) in any_rule(), later in 0..2_000_i64) {
        let line = Rule::once(Zone::utc(), noon(start), HOUR).unwrap().repeating(rule.clone()).unwrap();
        let now = Zone::utc().instant(noon(plus(start, later))).unwrap();
        let table = Calendar::new("later", vec![line]).unwrap().expand(now).unwrap();
        let got: Vec<Date> =
            table.occurrences().iter().map(|found| Zone::utc().wall(found.interval.start).date()).collect();
        let slow: Vec<Date> =
            (-7..400).map(|day| plus(start, later + day)).filter(|day| named(&rule, start, *day)).collect();
        prop_assert_eq!(got, slow);
    }

    #[test]
    fn a_count_counts_from_the_first_day((start, mut rule) in any_rule(), count in 1..40_u32) {
        let all = days(start, &rule);
        rule.end = End::Count(count);
        prop_assert_eq!(days(start, &rule), all.into_iter().take(count as usize).collect::<Vec<_>>());
    }

    #[test]
    fn until_is_the_last_start((start, mut rule) in any_rule(), long in 0..400_i64) {
        let all = days(start, &rule);
        let until = Zone::utc().instant(noon(plus(start, long))).unwrap();
        rule.end = End::Until(until);
        prop_assert_eq!(days(start, &rule), all.into_iter().filter(|day| *day <= plus(start, long)).collect::<Vec<_>>());
    }
}

#[test]
fn the_last_sunday_of_march_comes_once_a_year() {
    let mut rule = Recurrence::every(Frequency::Yearly);
    rule.months = BTreeSet::from([3]);
    rule.weekdays = vec![on_nth(-1, Weekday::Sunday)];
    assert_eq!(days(date(2026, 3, 29), &rule), [date(2026, 3, 29), date(2027, 3, 28)]);
}

#[test]
fn friday_the_13th_is_both() {
    let mut rule = Recurrence::every(Frequency::Monthly);
    rule.month_days = BTreeSet::from([13]);
    rule.weekdays = vec![on_all(Weekday::Friday)];
    assert_eq!(days(date(2026, 2, 13), &rule), [date(2026, 2, 13), date(2026, 3, 13), date(2026, 11, 13)]);
}

#[test]
fn a_month_without_the_day_is_passed_over() {
    let rule = Recurrence::every(Frequency::Monthly);
    let got = days(date(2026, 1, 31), &rule);
    assert_eq!(got[..4], [date(2026, 1, 31), date(2026, 3, 31), date(2026, 5, 31), date(2026, 7, 31)]);
}

#[test]
fn every_second_week_depends_on_the_day_weeks_begin_with() {
    // The example of RFC 5545, 3.8.5.3.
    let mut rule = Recurrence::every(Frequency::Weekly);
    rule.interval = 2;
    rule.end = End::Count(4);
    rule.weekdays = vec![on_all(Weekday::Tuesday), on_all(Weekday::Sunday)];
    let august = |days: [i8; 4]| days.map(|day| date(1997, 8, day));
    assert_eq!(days(date(1997, 8, 5), &rule), august([5, 10, 19, 24]));
    rule.week_start = Weekday::Sunday;
    assert_eq!(days(date(1997, 8, 5), &rule), august([5, 17, 19, 31]));
}

#[test]
fn what_is_not_worked_out_is_refused_with_its_reason() {
    let monday = date(2026, 11, 23);
    let check = |change: fn(&mut Recurrence), frequency| {
        let mut rule = Recurrence::every(frequency);
        change(&mut rule);
        rule.check(monday).unwrap_err()
    };
    assert_eq!(check(|rule| rule.interval = 0, Frequency::Daily), BadRecurrence::Interval(0));
    assert_eq!(check(|rule| rule.end = End::Count(0), Frequency::Daily), BadRecurrence::Count(0));
    assert_eq!(check(|rule| rule.months = BTreeSet::from([13]), Frequency::Daily), BadRecurrence::Month(13));
    assert_eq!(check(|rule| rule.month_days = BTreeSet::from([0]), Frequency::Monthly), BadRecurrence::MonthDay(0));
    assert_eq!(
        check(|rule| rule.weekdays = vec![on_nth(6, Weekday::Monday)], Frequency::Monthly),
        BadRecurrence::Ordinal(6)
    );
    assert_eq!(
        check(|rule| rule.weekdays = vec![on_nth(1, Weekday::Monday)], Frequency::Weekly),
        BadRecurrence::OrdinalWithoutMonth
    );
    assert_eq!(check(|rule| rule.month_days = BTreeSet::from([1]), Frequency::Weekly), BadRecurrence::MonthDayInWeek);
    assert_eq!(
        check(|rule| rule.weekdays = vec![on_all(Weekday::Monday)], Frequency::Yearly),
        BadRecurrence::WeekdayInYear
    );
    let start = BadRecurrence::Start { start: monday };
    assert_eq!(check(|rule| rule.weekdays = vec![on_all(Weekday::Friday)], Frequency::Weekly), start);
    assert_eq!(start.hint(), "begin on the first day that the rule names");
}

#[test]
fn a_rule_that_ends_before_it_begins_is_refused() {
    let rule = Rule::once(Zone::utc(), noon(date(2026, 11, 23)), HOUR).unwrap();
    let until = Recurrence { end: End::Until(Timestamp::UNIX_EPOCH), ..Recurrence::every(Frequency::Daily) };
    assert_eq!(rule.repeating(until).unwrap_err(), BadRule::Recurrence(BadRecurrence::EndsBefore));
}

#[test]
fn a_calendar_that_takes_too_long_is_refused_and_not_cut() {
    let now = Zone::utc().instant(noon(date(2026, 11, 23))).unwrap();
    let old = noon(date(1970, 1, 1));
    let counted = Recurrence { end: End::Count(10_000), ..Recurrence::every(Frequency::Daily) };
    let rule = Rule::once(Zone::utc(), old, HOUR).unwrap().repeating(counted).unwrap();
    let many = Calendar::new("old", vec![rule.clone(); 2_000]).unwrap();
    assert_eq!(many.expand(now).unwrap_err(), CalendarError::TooMuchWork { name: "old".into() });
    let daily = Rule::once(Zone::utc(), old, HOUR).unwrap().repeating(Recurrence::every(Frequency::Daily)).unwrap();
    let many = Calendar::new("daily", vec![daily; 200]).unwrap();
    assert_eq!(many.expand(now).unwrap_err(), CalendarError::TooManyOccurrences { name: "daily".into() });
    assert!(Calendar::new("all", vec![rule; 2_001]).is_err());
}

#[test]
fn a_rule_that_names_no_day_any_more_comes_to_an_end() {
    let mut rule = Recurrence::every(Frequency::Yearly);
    rule.months = BTreeSet::from([2]);
    rule.month_days = BTreeSet::from([29]);
    assert_eq!(days(date(2028, 2, 29), &rule), [date(2028, 2, 29)]);
}
