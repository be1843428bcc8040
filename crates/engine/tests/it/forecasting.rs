//! When a rollout will be over, and when it never is.

use jiff::civil::datetime;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use stanch_engine::Blocked;
use stanch_engine::forecast::{
    Basis, BusinessDays, Deadline, Durations, Ending, Forecast, ForecastError, ForecastInput, WaveSize, business_days,
    forecast,
};
use stanch_engine::schedule::{Act, Calendars, Schedule};
use stanch_model::calendar::{Closed, Zone};
use stanch_model::plan::Limits;
use stanch_model::terms::Terms;

use crate::scheduling::{NOW, at, calendars, daily, hours, minutes, once, terms, usual};

fn limits(concurrent: u32, per_hour: u32) -> Limits {
    Limits { concurrent, per_hour, ..Limits::default() }
}

fn durations(typical: i64, slow: i64) -> Durations {
    Durations { typical: minutes(typical), slow: minutes(slow), basis: Basis::Measured { runs: 40 } }
}

fn waves(sizes: &[(u32, u32)]) -> Vec<WaveSize> {
    sizes.iter().map(|(targets, bake_seconds)| WaveSize { targets: *targets, bake_seconds: *bake_seconds }).collect()
}

#[derive(Debug)]
struct Case {
    terms: Terms,
    all: Calendars,
    limits: Limits,
    durations: Durations,
    waves: Vec<WaveSize>,
    deadline: Option<Timestamp>,
    valid_until: Option<Timestamp>,
}

impl Case {
    fn new(sizes: &[(u32, u32)]) -> Self {
        Self {
            terms: Terms::default(),
            all: usual(),
            limits: limits(1, 100),
            durations: durations(10, 30),
            waves: waves(sizes),
            deadline: None,
            valid_until: None,
        }
    }

    fn play(&self) -> Result<Forecast, ForecastError> {
        let schedule = Schedule::new(&self.terms, &self.all, &Act::change(self.durations.slow));
        forecast(&ForecastInput {
            waves: &self.waves,
            limits: &self.limits,
            schedule: &schedule,
            durations: self.durations,
            verify: minutes(5),
            from: at(NOW),
            valid_until: self.valid_until,
            deadline: self.deadline,
        })
    }

    fn ends(&self) -> Option<Timestamp> {
        self.play().unwrap().typical.ending.at()
    }
}

#[test]
fn waves_follow_each_other_with_their_bakes() {
    let forecast = Case::new(&[(2, 3_600), (4, 0)]).play().unwrap();
    let [first, second] = forecast.typical.waves[..] else { panic!("two waves") };
    assert_eq!((first.starts_at, first.changed_at), (at(NOW), at(NOW) + minutes(20)));
    assert_eq!(first.baked_at, at(NOW) + minutes(85));
    assert_eq!((second.ready_at, second.starts_at), (first.baked_at, first.baked_at));
    assert_eq!(forecast.typical.ending, Ending::At { at: at(NOW) + minutes(130) });
    assert_eq!(forecast.slow.ending, Ending::At { at: at(NOW) + minutes(60 + 65 + 120 + 5) });
}

#[test]
fn limits_bound_how_many_run_and_how_many_begin() {
    let mut case = Case::new(&[(10, 0)]);
    case.limits = limits(5, 100);
    assert_eq!(case.ends(), Some(at(NOW) + minutes(25)));
    // Three an hour of the clock: twelve, one, two, three o'clock.
    case.limits = limits(5, 3);
    assert_eq!(case.ends(), Some(at(NOW) + minutes(180 + 15)));
}

#[test]
fn what_does_not_fit_tonight_goes_on_tomorrow() {
    let mut case = Case::new(&[(20, 0)]);
    case.terms = terms(&[("nights", true)], &[]);
    // From 22:00 to 06:00 at half an hour each there is room for sixteen; starts go on while a slow one fits.
    case.durations = durations(30, 30);
    let forecast = case.play().unwrap();
    assert_eq!(forecast.typical.waves[0].starts_at, at("2026-11-23T22:00:00Z"));
    assert_eq!(forecast.typical.waves[0].ready_at, at(NOW));
    assert_eq!(forecast.typical.ending, Ending::At { at: at("2026-11-25T00:05:00Z") });
}

#[test]
fn a_freeze_holds_it_back() {
    let mut case = Case::new(&[(1, 30 * 24 * 3_600), (1, 0)]);
    case.terms = terms(&[("nights", true)], &[("corp", &[])]);
    let forecast = case.play().unwrap();
    assert_eq!(forecast.typical.waves[1].ready_at, at("2026-12-23T22:15:00Z"));
    assert_eq!(forecast.typical.waves[1].starts_at, at("2027-01-03T00:00:00Z"));
}

#[test]
fn a_rollout_that_windows_shut_out_is_never_over_and_says_why() {
    let mut case = Case::new(&[(1, 0), (9, 0)]);
    case.terms = terms(&[("once", true)], &[]);
    case.all = calendars([once("once", datetime(2026, 11, 24, 22, 0, 0, 0), hours(1))]);
    case.deadline = Some(at("2026-12-01T00:00:00Z"));
    let forecast = case.play().unwrap();
    let Ending::Never { wave, targets, why } = &forecast.typical.ending else { panic!("it ends") };
    assert_eq!((*wave, *targets), (1, 7));
    assert!(matches!(why, Blocked::Calendar { why: Closed::DoesNotFit { .. }, starts_at: None }), "{why:?}");
    assert_eq!(forecast.deadline, Some(Deadline::Missed { at: at("2026-12-01T00:00:00Z"), late: None }));
    insta::assert_snapshot!(forecast);
    case.terms = terms(&[("nobody", false)], &[]);
    insta::assert_snapshot!(case.play().unwrap());
}

#[test]
fn nothing_starts_after_the_plan_is_too_old() {
    let mut case = Case::new(&[(10, 0)]);
    case.valid_until = Some(at(NOW) + minutes(45));
    let Ending::Never { targets, why, .. } = case.play().unwrap().typical.ending else { panic!("it ends") };
    assert_eq!((targets, why), (5, Blocked::TooOld { since: at(NOW) + minutes(45) }));
}

#[test]
fn a_deadline_is_held_against_the_slow_course() {
    let mut case = Case::new(&[(6, 0)]);
    // Over after 65 minutes, or 185 when everything is slow.
    let mut hold = |minute: i64| {
        case.deadline = Some(at(NOW) + minutes(minute));
        case.play().unwrap().deadline.unwrap()
    };
    assert_eq!(hold(185), Deadline::Met { at: at(NOW) + minutes(185), spare: minutes(0) });
    assert_eq!(hold(184), Deadline::Tight { at: at(NOW) + minutes(184), late: Some(minutes(1)) });
    assert_eq!(hold(64), Deadline::Missed { at: at(NOW) + minutes(64), late: Some(minutes(1)) });
    case.deadline = Some(at(NOW) + minutes(184));
    insta::assert_snapshot!(case.play().unwrap());
}

#[test]
fn too_many_targets_are_refused() {
    assert_eq!(Case::new(&[(1_000_000, 0), (1, 0)]).play(), Err(ForecastError::TooMany { targets: 1_000_001 }));
    let Ending::Never { why, .. } =
        (Case { limits: limits(0, 9), ..Case::new(&[(1, 0)]) }).play().unwrap().typical.ending
    else {
        panic!("it ends")
    };
    assert_eq!(why, Blocked::Concurrency { limit: 0 });
}

#[test]
fn working_days_leave_out_weekends_and_holidays() {
    let paris = Zone::named("Europe/Paris").unwrap();
    let holidays = calendars([once("holidays", datetime(2026, 12, 24, 23, 0, 0, 0), hours(24))]);
    let holidays = holidays.get("holidays");
    let count = |from: &str, to: &str| business_days(at(from), at(to), &paris, holidays);
    let known = |days| BusinessDays { days, holidays_known: true };
    assert_eq!(count("2026-11-23T08:00:00Z", "2026-11-23T20:00:00Z"), known(0));
    // On the wall in Paris it is the next day already.
    assert_eq!(count("2026-11-23T08:00:00Z", "2026-11-23T23:30:00Z"), known(1));
    assert_eq!(count("2026-11-27T08:00:00Z", "2026-11-30T08:00:00Z"), known(1));
    assert_eq!(count("2026-12-21T08:00:00Z", "2026-12-28T08:00:00Z"), known(4));
    assert_eq!(count("2026-12-28T08:00:00Z", "2026-12-21T08:00:00Z"), known(0));
    assert!(!count("2026-12-21T08:00:00Z", "2028-12-21T08:00:00Z").holidays_known);
    let without = business_days(at("2026-12-21T08:00:00Z"), at("2026-12-28T08:00:00Z"), &paris, None);
    assert_eq!(without, known(5));
}

fn any_case() -> impl Strategy<Value = Case> {
    let size = prop::collection::vec((0..12_u32, 0..8_000_u32), 1..4);
    let limit = (1..6_u32, 1..9_u32).prop_map(|(concurrent, per_hour)| limits(concurrent, per_hour));
    let takes = (0..90_i64, 0..60_i64).prop_map(|(typical, more)| durations(typical, typical + more));
    (size, limit, takes, any::<[bool; 2]>()).prop_map(|(sizes, limits, durations, [window, freeze])| {
        let windows: &[(&str, bool)] = if window { &[("evenings", true)] } else { &[] };
        let freezes: &[(&str, &[_])] = if freeze { &[("corp", &[])] } else { &[] };
        Case {
            terms: terms(windows, freezes),
            all: calendars([
                daily("evenings", datetime(2026, 11, 1, 18, 0, 0, 0), hours(5)),
                once("corp", datetime(2026, 11, 24, 0, 0, 0, 0), hours(48)),
            ]),
            limits,
            durations,
            ..Case::new(&sizes)
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Whatever the calendars say: a wave takes its targets in rounds, is verified and watched.
    #[test]
    fn it_is_never_over_earlier_than_its_limits_allow(case in any_case()) {
        let forecast = case.play().unwrap();
        for (course, takes) in [(&forecast.typical, case.durations.typical), (&forecast.slow, case.durations.slow)] {
            let mut earliest = at(NOW);
            for (wave, times) in case.waves.iter().zip(&course.waves) {
                if wave.targets > 0 {
                    let rounds = i32::try_from(wave.targets.div_ceil(case.limits.concurrent)).unwrap();
                    let hours_of_clock = i64::from(wave.targets.div_ceil(case.limits.per_hour)) - 1;
                    let by_hours = SignedDuration::from_hours((hours_of_clock - 1).max(0)) + takes;
                    earliest += (takes * rounds).max(by_hours) + minutes(5);
                    earliest += SignedDuration::from_secs(wave.bake_seconds.into());
                }
                prop_assert!(times.baked_at >= earliest, "{times:?} before {earliest}");
                prop_assert!(times.ready_at <= times.starts_at && times.starts_at <= times.changed_at);
            }
            let ends = course.ending.at().unwrap();
            prop_assert!(ends >= earliest);
        }
        prop_assert!(forecast.slow.ending.at() >= forecast.typical.ending.at());
    }

    /// More to do, more to wait for or less room never makes it earlier.
    #[test]
    fn more_of_anything_never_makes_it_earlier(
        case in any_case(), wave in any::<prop::sample::Index>(), more in 0..10_000_u32, what in 0..5_u8
    ) {
        let before = case.ends();
        let mut case = case;
        let wave = wave.index(case.waves.len());
        match what {
            0 => case.waves[wave].bake_seconds += more,
            1 => case.waves[wave].targets += more % 10,
            2 => case.limits.concurrent = (case.limits.concurrent - 1).max(1),
            3 => case.limits.per_hour = (case.limits.per_hour - 1).max(1),
            _ => case.terms = terms(&[("evenings", true)], &[("corp", &[])]),
        }
        prop_assert!(case.ends() >= before, "{:?} before {before:?}", case.ends());
    }

    /// Every start lies inside the windows and outside the freezes.
    #[test]
    fn waves_start_only_when_the_calendars_let_them(case in any_case()) {
        let act = Act::change(case.durations.slow);
        let schedule = Schedule::new(&case.terms, &case.all, &act);
        for (wave, times) in case.waves.iter().zip(case.play().unwrap().typical.waves) {
            prop_assert!(wave.targets == 0 || schedule.gate(times.starts_at).is_open());
        }
    }
}
