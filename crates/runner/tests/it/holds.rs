//! The kill switch: what a hold stops, and what it lets through.

use std::sync::Arc;

use stanch_model::Timestamp;
use stanch_model::order::{Answer, Progress, Reconciled, StepOutcome, Verb};
use stanch_model::plan::PlannedStep;
use stanch_runner::{Denied, Guard};

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
fn a_hold_between_two_steps_leaves_the_rest_for_the_same_order_after_it() {
    let mut place = Place::new();
    let runner = place.open();
    let grant = place.grant(&[("motd", "strong"), ("new", "here")]);
    let order = accepted(place.offer(&runner, Verb::Apply(grant.clone())));
    let stop = accepted(place.offer(&runner, hold(false)));
    // The first step is at work when the hold comes.
    let comes = |word: Progress| {
        if word.step == Some(0) && runner.hold().is_none() {
            place.run(&runner, &stop).unwrap();
        }
    };
    let answer = place.run_telling(&runner, &order, &comes).unwrap();
    let half = outcomes(answer);
    assert_eq!(half, [StepOutcome::Done, StepOutcome::NotStarted]);
    let key = stanch_model::plan::step_key(&grant.plan, 0, &grant.leaf.asset, 1, 1);
    let asked = place.carry_out(&runner, Verb::Reconcile { task: grant.task.clone(), key });
    let Answer::Reconciled { known: Reconciled::Over { steps } } = asked else { panic!("{asked:?}") };
    assert_eq!(steps.into_iter().map(|step| step.outcome).collect::<Vec<_>>(), half, "the journal tells of both");

    place.carry_out(&runner, Verb::Release);
    let rest = outcomes(place.carry_out(&runner, Verb::Apply(grant)));
    assert_eq!(rest, [StepOutcome::Unchanged, StepOutcome::Done]);
    assert_eq!((place.sets(), place.content("new").as_deref()), (2, Some("here")));
}

/// Hours that end, say.
struct NoFirst;

impl Guard for NoFirst {
    fn may_apply(&self, step: &PlannedStep, _now: Timestamp) -> Result<(), Denied> {
        let first = step.params["name"] == "motd";
        if first { Err(Denied { message: "not now".to_owned(), hint: None }) } else { Ok(()) }
    }
}

#[test]
fn rules_are_not_asked_again_about_what_is_done() {
    let mut place = Place::new();
    let runner = place.open();
    let grant = place.grant(&[("motd", "strong"), ("new", "here")]);
    let order = accepted(place.offer(&runner, Verb::Apply(grant.clone())));
    let stop = accepted(place.offer(&runner, hold(false)));
    let comes = |_: Progress| drop(place.run(&runner, &stop));
    place.run_telling(&runner, &order, &comes).unwrap();
    place.carry_out(&runner, Verb::Release);
    place.guard = Box::new(NoFirst);
    assert_eq!(outcomes(place.carry_out(&runner, Verb::Apply(grant))), [StepOutcome::Unchanged, StepOutcome::Done]);
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
