//! Exposure time: the parts are the whole.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use stanch_engine::blocked::Blocked;
use stanch_engine::exposure_time::{Case, Gate, Life, Moment, report, summary};
use stanch_model::asset::Tier;
use stanch_model::remediation::RemediationState as S;

use crate::world::at;

fn minute(of: i64) -> Timestamp {
    at("2026-11-23T00:00:00Z").checked_add(SignedDuration::from_mins(of)).unwrap()
}

fn life() -> Life {
    let moment = |of, gate| Moment { at: minute(of), gate };
    Life {
        published: Some(minute(-100)),
        installed: Some(minute(-500)),
        shown: minute(0),
        found: minute(2),
        moments: vec![
            moment(5, Gate::Person),
            moment(65, Gate::Window),
            moment(125, Gate::Act),
            moment(130, Gate::Verify),
        ],
        closed: Some(minute(133)),
    }
}

#[test]
fn every_gate_shows_its_price() {
    let split: BTreeMap<Gate, i64> =
        life().split(minute(900)).into_iter().map(|(gate, part)| (gate, part.as_secs() / 60)).collect();
    let expected = [
        (Gate::BeforeDetection, 100),
        (Gate::Detect, 2),
        (Gate::Decide, 3),
        (Gate::Person, 60),
        (Gate::Window, 60),
        (Gate::Act, 5),
        (Gate::Verify, 3),
    ];
    assert_eq!(split, BTreeMap::from(expected));
    let young = Life { installed: Some(minute(-10)), ..life() };
    assert_eq!(young.split(minute(0))[&Gate::BeforeDetection], SignedDuration::from_mins(10), "it came later");
    for unknown in [Life { published: None, ..life() }, Life { installed: None, ..life() }] {
        assert!(!unknown.split(minute(0)).contains_key(&Gate::BeforeDetection), "nobody knows since when");
    }
}

#[test]
fn the_report_counts_by_severity_and_tier() {
    let tier = Tier::try_from(3).ok();
    let case = |severity: &str, tier, closed: Option<i64>, due: i64, touches| Case {
        severity: severity.to_owned(),
        tier,
        life: Life { closed: closed.map(minute), ..life() },
        due: Some(minute(due)),
        touches,
    };
    let cases = [
        case("critical", None, Some(12), 60, 0),
        case("critical", Some(Tier::MOST_CRITICAL), Some(102), 60, 3),
        case("critical", None, None, 60, 1),
        case("low", tier, Some(22), 60, 0),
    ];
    let now = minute(202);
    let figures = &report(&cases, now)[&("critical".to_owned(), Tier::MOST_CRITICAL)];
    assert_eq!((figures.closed, figures.open, figures.in_time, figures.late), (2, 1, 1, 2));
    assert_eq!((figures.untouched_percent(), figures.touches_per_fix()), (Some(50), Some(150)));
    assert_eq!(figures.mean, Some(SignedDuration::from_mins(55)));
    assert_eq!(
        (figures.median, figures.ninetieth),
        (Some(SignedDuration::from_mins(10)), Some(SignedDuration::from_mins(100)))
    );
    assert_eq!(figures.oldest, Some(SignedDuration::from_mins(200)));
    assert_eq!((summary(&cases, now).closed, summary(&[], now).untouched_percent()), (3, None));
}

#[test]
fn what_a_remediation_waits_for_names_its_gate() {
    let window = || Blocked::Bake { until: minute(0) };
    let answer = || Blocked::Answer { asset: stanch_model::id::AssetId::from_entropy([1; 10]) };
    let hold = || Blocked::Hold { reason: "a demo".to_owned() };
    assert_eq!(Gate::of(S::AwaitingApproval, &[Blocked::Approval]), Gate::Person);
    assert_eq!(Gate::of(S::Scheduled, &[]), Gate::Window);
    assert_eq!(Gate::of(S::Scheduled, &[hold()]), Gate::Person);
    assert_eq!(Gate::of(S::Rolling(0), &[window()]), Gate::Window);
    assert_eq!(Gate::of(S::Rolling(0), &[window(), answer()]), Gate::Act);
    assert_eq!(Gate::of(S::Verifying(0), &[]), Gate::Verify);
    assert_eq!(Gate::of(S::Paused, &[hold()]), Gate::Person);
    assert_eq!(Gate::of(S::NeedsOperator, &[]), Gate::Person);
}

fn instants() -> impl Strategy<Value = Timestamp> {
    (-5_000..5_000_i64, 0..1_000_000_000_i32)
        .prop_map(|(seconds, nanos)| minute(0).checked_add(SignedDuration::new(seconds, nanos)).unwrap())
}

proptest! {
    #[test]
    fn the_parts_add_up_to_the_whole_whatever_the_order_of_its_moments(
        published in prop::option::of(instants()),
        installed in prop::option::of(instants()),
        shown in instants(),
        found in instants(),
        moments in prop::collection::vec((instants(), 0..7_usize), 0..12),
        closed in prop::option::of(instants()),
        now in instants(),
    ) {
        let moments = moments.into_iter().map(|(at, gate)| Moment { at, gate: Gate::ALL[gate] }).collect();
        let life = Life { published, installed, shown, found, moments, closed };
        let split = life.split(now);
        let sum: i128 = split.values().map(SignedDuration::as_nanos).sum();
        prop_assert_eq!(sum, life.total(now).as_nanos());
        prop_assert!(split.values().all(|part| *part > SignedDuration::ZERO));
    }
}
