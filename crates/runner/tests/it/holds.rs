//! The kill switch: what a hold stops, and what it lets through.

use std::sync::Arc;

use stanch_model::order::{Answer, StepOutcome, Verb};

use crate::place::{Doom, Place, accepted, steps};

fn hold(stop_all: bool) -> Verb {
    Verb::Hold { stop_all, reason: "test".to_owned() }
}

fn outcomes(answer: Answer) -> Vec<StepOutcome> {
    steps(answer).into_iter().map(|step| step.outcome).collect()
}

#[test]
fn under_a_hold_nothing_new_begins_until_it_is_released() {
    for stop_all in [false, true] {
        let mut place = Place::new();
        let runner = place.open();
        let grant = place.grant(&[("motd", "strong")]);
        let waiting = accepted(place.offer(&runner, Verb::Apply(grant.clone())));
        assert_eq!(place.carry_out(&runner, hold(stop_all)), Answer::Held { held: true });
        assert_eq!(outcomes(place.run(&runner, &waiting).unwrap()), [StepOutcome::NotStarted]);
        drop(runner);
        let runner = place.open();
        assert!(runner.hold().is_some(), "a hold survives a restart");
        assert_eq!(outcomes(place.carry_out(&runner, Verb::Apply(grant.clone()))), [StepOutcome::NotStarted]);
        assert_eq!(place.carry_out(&runner, Verb::Release), Answer::Held { held: false });
        assert_eq!(outcomes(place.carry_out(&runner, Verb::Apply(grant))), [StepOutcome::Done]);
    }
}

#[test]
fn undo_passes_a_hold_that_only_stops_what_is_new() {
    for (stop_all, expected) in [(false, StepOutcome::Done), (true, StepOutcome::NotStarted)] {
        let mut place = Place::new();
        let runner = place.open();
        let grant = place.grant(&[("motd", "strong")]);
        place.carry_out(&runner, Verb::Apply(grant.clone()));
        place.carry_out(&runner, hold(stop_all));
        let undo = place.undo(&grant, 1);
        assert_eq!(outcomes(place.carry_out(&runner, undo)), [expected]);
    }
}

#[test]
fn what_runs_stops_at_its_next_safe_point() {
    let mut place = Place::new();
    let runner = place.open();
    let grant = place.grant(&[("motd", "strong"), ("new", "here")]);
    let order = accepted(place.offer(&runner, Verb::Apply(grant.clone())));
    // The order has begun when the hold comes: die after the start, hold, go on.
    drop(runner);
    let runner = place.open_with(Arc::new(Doom::at(1, true)));
    assert!(place.run(&runner, &order).is_err());
    drop(runner);
    let runner = place.open();
    place.carry_out(&runner, hold(true));
    let done = outcomes(place.run(&runner, &order).unwrap());
    assert!(matches!(&done[..], [StepOutcome::Interrupted { .. }, StepOutcome::NotStarted]), "{done:?}");
    assert_eq!(place.sets(), 0);
    // Undo leads on once the hold is gone.
    place.carry_out(&runner, Verb::Release);
    let undo = place.undo(&grant, 1);
    assert!(outcomes(place.carry_out(&runner, undo)).iter().all(|outcome| *outcome == StepOutcome::Unchanged));
}
