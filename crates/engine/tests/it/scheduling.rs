//! Windows and freezes: when a step may start, and what it is told when it may not.

use std::collections::BTreeSet;

use jiff::civil::{DateTime, datetime};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use stanch_engine::Blocked;
use stanch_engine::schedule::{Act, Calendars, Lane, Schedule, gate};
use stanch_model::calendar::{Calendar, Closed, Frequency, Gate, Interval, Length, Recurrence, Rule, Zone};
use stanch_model::terms::{Allowance, FreezeTerm, Terms, WindowTerm};

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

pub(crate) fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

pub(crate) const NOW: &str = "2026-11-23T12:00:00Z";

pub(crate) fn daily(name: &str, start: DateTime, long: SignedDuration) -> Calendar {
    let rule = Rule::once(Zone::utc(), start, Length::Wall(long)).unwrap();
    Calendar::new(name, vec![rule.repeating(Recurrence::every(Frequency::Daily)).unwrap()]).unwrap()
}

pub(crate) fn once(name: &str, start: DateTime, long: SignedDuration) -> Calendar {
    let rule = Rule::once(Zone::utc(), start, Length::Wall(long)).unwrap().named("Year end").unwrap();
    Calendar::new(name, vec![rule]).unwrap()
}

pub(crate) fn calendars(all: impl IntoIterator<Item = Calendar>) -> Calendars {
    all.into_iter().map(|calendar| (calendar.name().to_owned(), calendar.expand(at(NOW)).unwrap())).collect()
}

/// Every night from 22:00 to 06:00; frozen from 20 December to 3 January.
pub(crate) fn usual() -> Calendars {
    calendars([
        daily("nights", datetime(2026, 11, 1, 22, 0, 0, 0), hours(8)),
        once("corp", datetime(2026, 12, 20, 0, 0, 0, 0), hours(14 * 24)),
    ])
}

pub(crate) fn terms(windows: &[(&str, bool)], freezes: &[(&str, &[Allowance])]) -> Terms {
    let windows = windows.iter().map(|(calendar, must_finish_inside)| WindowTerm {
        calendar: (*calendar).to_owned(),
        must_finish_inside: *must_finish_inside,
    });
    let freezes = freezes.iter().map(|(calendar, allow)| FreezeTerm {
        calendar: (*calendar).to_owned(),
        allow: allow.iter().copied().collect(),
    });
    Terms { windows: windows.collect(), freezes: freezes.collect(), ..Terms::default() }
}

#[test]
fn without_windows_and_freezes_it_starts_at_any_time() {
    let open = Gate::Open { until: None };
    for now in [Timestamp::MIN, at(NOW), Timestamp::MAX] {
        assert_eq!(gate(&Terms::default(), &Calendars::new(), &Act::change(hours(1)), now), open);
    }
}

#[test]
fn a_step_starts_only_while_all_windows_are_open() {
    let mut all = usual();
    all.extend(calendars([daily("early", datetime(2026, 11, 1, 4, 0, 0, 0), hours(4))]));
    let both = terms(&[("nights", false), ("early", false)], &[]);
    let gate = |now| gate(&both, &all, &Act::change(hours(1)), at(now));
    assert_eq!(gate("2026-11-24T04:30:00Z"), Gate::Open { until: Some(at("2026-11-24T06:00:00Z")) });
    let Gate::Closed { why, opens_at } = gate("2026-11-23T23:00:00Z") else { panic!("open") };
    assert_eq!(why, Closed::Window { calendar: "early".into(), opens_at: Some(at("2026-11-24T04:00:00Z")) });
    assert_eq!(opens_at, Some(at("2026-11-24T04:00:00Z")));
}

#[test]
fn a_freeze_holds_inside_a_window_and_tells_when_both_let_through() {
    let gate = gate(
        &terms(&[("nights", true)], &[("corp", &[])]),
        &usual(),
        &Act::change(hours(2)),
        at("2026-12-24T23:00:00Z"),
    );
    let why =
        Closed::Freeze { calendar: "corp".into(), name: Some("Year end".into()), until: at("2027-01-03T00:00:00Z") };
    assert_eq!(gate, Gate::Closed { why, opens_at: Some(at("2027-01-03T00:00:00Z")) });
    let blocked = Blocked::by(&gate).unwrap();
    insta::assert_snapshot!(blocked, @r#"waits until 2027-01-03 00:00 UTC: the freeze "Year end" (corp) is in force until 2027-01-03 00:00 UTC"#);
}

#[test]
fn a_freeze_lets_through_what_it_names_and_nothing_else() {
    let now = at("2026-12-24T23:00:00Z");
    let change = Act::change(hours(1));
    let contain = Act { lane: Lane::Contain, ..change };
    let closes = Act { closes_exposure: true, ..change };
    let open = |allow: &[Allowance], act: &Act| gate(&terms(&[], &[("corp", allow)]), &usual(), act, now).is_open();
    for act in [change, contain, closes] {
        assert!(!open(&[], &act), "{act:?}");
        assert!(!open(&[Allowance::Rollback], &act), "{act:?}");
    }
    assert!(open(&[Allowance::Contain], &contain));
    assert!(open(&[Allowance::CloseExposure], &closes));
    assert!(!open(&[Allowance::Contain], &closes));
    assert!(!open(&[Allowance::CloseExposure, Allowance::Rollback], &contain));
    assert!(open(&[], &Act::undo()));
}

#[test]
fn taking_back_is_let_through_whatever_the_calendars_say() {
    let all = terms(&[("nights", true), ("nobody", true)], &[("corp", &[]), ("nobody", &[])]);
    for now in [at(NOW), at("2026-12-24T12:00:00Z"), Timestamp::MAX] {
        assert!(gate(&all, &usual(), &Act::undo(), now).is_open());
    }
}

#[test]
fn containment_waits_for_no_window() {
    let contain = Act { lane: Lane::Contain, ..Act::change(hours(1)) };
    assert!(gate(&terms(&[("nights", true)], &[]), &usual(), &contain, at(NOW)).is_open());
}

#[test]
fn a_calendar_that_nobody_knows_lets_nothing_through() {
    for unknown in [terms(&[("nihgts", false)], &[]), terms(&[], &[("nihgts", &[])])] {
        let gate = gate(&unknown, &usual(), &Act::change(hours(1)), at("2026-11-24T01:00:00Z"));
        let blocked = Blocked::by(&gate).unwrap();
        assert_eq!(blocked.to_string(), "has no time to start: there is no calendar `nihgts`");
        assert_eq!(
            blocked.hint().unwrap(),
            "add the calendar `nihgts` to the bundle, or correct its name in the policy"
        );
    }
}

#[test]
fn beyond_what_was_worked_out_nothing_starts() {
    for terms in [terms(&[("nights", false)], &[]), terms(&[], &[("corp", &[])])] {
        for now in [at("2028-06-01T23:00:00Z"), at("2026-01-01T23:00:00Z")] {
            let gate = gate(&terms, &usual(), &Act::change(hours(1)), now);
            assert!(matches!(gate, Gate::Closed { why: Closed::NotWorkedOut { .. }, .. }), "{gate:?}");
        }
    }
}

#[test]
fn a_step_longer_than_its_window_has_no_time_to_start() {
    let gate = gate(&terms(&[("nights", true)], &[]), &usual(), &Act::change(hours(9)), at("2026-11-23T23:00:00Z"));
    let blocked = Blocked::by(&gate).unwrap();
    assert_eq!(
        blocked.to_string(),
        "has no time to start: it may take 9 h and the window `nights` shuts at 2026-11-24 06:00 UTC"
    );
    assert_eq!(blocked.hint().unwrap(), "widen the window, or end the freeze");
}

#[test]
fn what_starts_knows_by_when_it_must_be_over() {
    let (all, act) = (usual(), Act::change(hours(1)));
    let within = terms(&[("nights", true)], &[("corp", &[])]);
    let schedule = Schedule::new(&within, &all, &act);
    assert_eq!(schedule.finish_before(at("2026-11-23T23:00:00Z")), Some(at("2026-11-24T06:00:00Z")));
    assert_eq!(schedule.finish_before(at("2026-12-19T23:00:00Z")), Some(at("2026-12-20T00:00:00Z")));
    let loose = terms(&[("nights", false)], &[]);
    assert_eq!(Schedule::new(&loose, &all, &act).finish_before(at("2026-11-23T23:00:00Z")), None);
}

#[test]
fn a_page_sees_when_something_may_start() {
    let (all, act) = (usual(), Act::change(hours(1)));
    let whole = Interval::new(at("2026-12-18T12:00:00Z"), at("2026-12-21T12:00:00Z"));
    let within = terms(&[("nights", false)], &[("corp", &[])]);
    let found = Schedule::new(&within, &all, &act).starts_within(whole);
    let starts: Vec<_> = found.as_slice().iter().map(|interval| interval.start).collect();
    assert_eq!(starts, [at("2026-12-18T22:00:00Z"), at("2026-12-19T22:00:00Z")]);
}

prop_compose! {
    fn any_calendar()(start in 0..48_i64, long in 1..30_i64, repeats: bool) -> Calendar {
        let start = datetime(2026, 11, 22, 0, 0, 0, 0) + hours(start);
        if repeats { daily("any", start, hours(long)) } else { once("any", start, hours(long)) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Invariant 2, said again instant by instant: nothing is let through outside a window, inside a freeze, or so late
    /// that it would leave the one or enter the other.
    #[test]
    fn what_is_let_through_stays_inside_windows_and_outside_freezes(
        windows in prop::collection::vec((any_calendar(), any::<bool>()), 0..3),
        freezes in prop::collection::vec(any_calendar(), 0..3),
        long in 0..600_i64,
    ) {
        let named = |prefix: &str, at: usize, calendar: &Calendar| {
            Calendar::new(&format!("{prefix}{at}"), calendar.rules().to_vec()).unwrap()
        };
        let mut terms = Terms::default();
        let mut all = Vec::new();
        for (at, (window, must_finish_inside)) in windows.iter().enumerate() {
            terms.windows.insert(WindowTerm { calendar: format!("w{at}"), must_finish_inside: *must_finish_inside });
            all.push(named("w", at, window));
        }
        for (at, freeze) in freezes.iter().enumerate() {
            terms.freezes.insert(FreezeTerm { calendar: format!("f{at}"), allow: BTreeSet::new() });
            all.push(named("f", at, freeze));
        }
        let all = calendars(all);
        let act = Act::change(minutes(long));
        let schedule = Schedule::new(&terms, &all, &act);
        for quarter in 0..4 * 24 * 4 {
            let now = at("2026-11-22T00:00:00Z") + minutes(15 * quarter);
            let ends = now + act.longest;
            let inside = terms.windows.iter().all(|window| {
                all[&window.calendar].in_force().at(now).is_some_and(|open| !window.must_finish_inside || ends <= open.end)
            });
            let frozen = terms.freezes.iter().any(|freeze| {
                let frozen = all[&freeze.calendar].in_force();
                frozen.contains(now) || frozen.as_slice().iter().any(|f| now < f.end && f.start < ends)
            });
            let gate = schedule.gate(now);
            prop_assert_eq!(gate.is_open(), inside && !frozen, "{:?} at {}", gate, now);
            prop_assert_eq!(schedule.next_start(now) == Some(now), gate.is_open());
            match gate {
                Gate::Open { until: Some(until) } => prop_assert!(until > now),
                Gate::Open { until: None } => prop_assert!(terms.windows.is_empty() && terms.freezes.is_empty()),
                Gate::Closed { opens_at: Some(opens_at), .. } => {
                    prop_assert!(opens_at > now && schedule.gate(opens_at).is_open());
                }
                Gate::Closed { opens_at: None, .. } => {}
            }
        }
    }
}
