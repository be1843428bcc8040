//! What happens to the steps of a leaf: begun once, gone on with after a crash, taken back.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stanch_model::Timestamp;
use stanch_model::order::{Answer, Grant, Reconciled, StepOutcome, StepRequest, Verb};
use stanch_model::plan::{PlannedStep, Reversibility, step_key};
use stanch_runner::{Denied, Guard, Observer, Record, RunError, Taken};

use crate::place::{Doom, Place, accepted, steps};
use crate::toy::Defect;

fn outcomes(answer: Answer) -> Vec<StepOutcome> {
    steps(answer).into_iter().map(|step| step.outcome).collect()
}

#[test]
fn a_leaf_is_carried_out_and_its_receipt_tells_what_changed() {
    let mut place = Place::new();
    let runner = place.open();
    std::fs::write(place.target().join("motd"), "weak").unwrap();
    let grant = place.grant(&[("motd", "strong"), ("new", "here")]);
    let reports = steps(place.carry_out(&runner, Verb::Apply(grant)));
    assert!(reports.iter().all(|step| step.outcome == StepOutcome::Done && step.entered == 1 && step.after.is_some()));
    assert_eq!(reports[0].changes[0].before.as_deref(), Some("weak"));
    assert_eq!(reports[0].evidence[0].text, "motd password=[masked]");
    assert_eq!((place.content("motd").as_deref(), place.content("new").as_deref()), (Some("strong"), Some("here")));
}

#[test]
fn a_step_is_told_that_it_finishes_what_an_earlier_one_began() {
    let mut place = Place::new();
    let runner = place.open();
    let follows = |reports: &[stanch_model::order::StepReport]| -> Vec<bool> {
        reports.iter().map(|step| step.evidence.iter().any(|piece| piece.name == "follows")).collect()
    };
    let grant = place.grant(&[("a", "1"), ("b", "2")]);
    assert_eq!(follows(&steps(place.carry_out(&runner, Verb::Apply(grant)))), [false, true]);
    // A step that found all as wanted has begun nothing.
    std::fs::write(place.target().join("c"), "1").unwrap();
    let grant = place.grant(&[("c", "0"), ("d", "2")]);
    std::fs::write(place.target().join("c"), "0").unwrap();
    let reports = steps(place.carry_out(&runner, Verb::Apply(grant)));
    assert_eq!((&reports[0].outcome, follows(&reports)), (&StepOutcome::Unchanged, vec![false, false]));
}

/// Invariant 3: what was done before the journal was lost is not done again with the rest.
#[test]
fn the_rest_of_what_the_journal_knows_nothing_of_is_lost_and_not_begun() {
    let mut place = Place::new();
    let runner = place.open();
    let grant = Grant { rest: true, ..place.grant(&[("motd", "strong")]) };
    let answer = place.carry_out(&runner, Verb::Apply(grant.clone()));
    assert_eq!(answer, Answer::Reconciled { known: Reconciled::Lost });
    assert_eq!(place.content("motd"), None);
    let known = Grant { rest: false, ..grant.clone() };
    assert_eq!(outcomes(place.carry_out(&runner, Verb::Apply(known))), [StepOutcome::Done]);
    assert_eq!(outcomes(place.carry_out(&runner, Verb::Apply(grant))), [StepOutcome::Unchanged]);
}

/// Lets nothing begin, and be finished what has begun.
struct Closed;

impl Guard for Closed {
    fn may_apply(&self, _: &PlannedStep, _: Timestamp) -> Result<(), Denied> {
        Ok(())
    }

    fn may_begin(&self, _: &Grant, begun: bool, _: Timestamp) -> Result<(), Denied> {
        let denied = || Denied { message: "nobody signed".to_owned(), hint: None };
        if begun { Ok(()) } else { Err(denied()) }
    }
}

/// Invariant 18: what counts as begun is what the journal knows of this leaf, not what an order says.
#[test]
fn an_order_cannot_say_that_something_was_begun_here() {
    let mut place = Place::new();
    let runner = place.open();
    let done = place.grant(&[("motd", "strong")]);
    place.carry_out(&runner, Verb::Apply(done.clone()));
    place.guard = Box::new(Closed);
    let other = Grant { rest: true, task: done.task.clone(), ..place.grant(&[("other", "x"), ("more", "y")]) };
    let refused = outcomes(place.carry_out(&runner, Verb::Apply(other)));
    assert!(matches!(&refused[0], StepOutcome::Refused { message, .. } if message == "nobody signed"), "{refused:?}");
    assert_eq!(refused[1], StepOutcome::NotStarted);
    assert_eq!((place.content("other"), place.content("more")), (None, None));
    let rest = Grant { rest: true, ..done };
    assert_eq!(outcomes(place.carry_out(&runner, Verb::Apply(rest))), [StepOutcome::Unchanged]);
}

/// Invariant 3: a new order for the same step is answered from the journal.
#[test]
fn the_same_step_begins_at_most_once() {
    let mut place = Place::new();
    let runner = place.open();
    let grant = place.grant(&[("motd", "strong")]);
    assert_eq!(outcomes(place.carry_out(&runner, Verb::Apply(grant.clone()))), [StepOutcome::Done]);
    std::fs::write(place.target().join("motd"), "moved by hand").unwrap();
    assert_eq!(outcomes(place.carry_out(&runner, Verb::Apply(grant.clone()))), [StepOutcome::Unchanged]);
    drop(runner);
    let runner = place.open();
    assert_eq!(outcomes(place.carry_out(&runner, Verb::Apply(grant))), [StepOutcome::Unchanged]);
    assert_eq!((place.sets(), place.content("motd").as_deref()), (1, Some("moved by hand")));
}

#[test]
fn another_leaf_under_a_used_key_is_refused() {
    let mut place = Place::new();
    let runner = place.open();
    let first = place.grant(&[("motd", "strong")]);
    place.carry_out(&runner, Verb::Apply(first.clone()));
    let mut second = place.grant(&[("other", "x")]);
    second.plan = first.plan;
    assert!(matches!(outcomes(place.carry_out(&runner, Verb::Apply(second)))[0], StepOutcome::Refused { .. }));
    assert_eq!(place.content("other"), None);
}

#[test]
fn what_was_taken_back_is_done_again_only_as_a_new_attempt() {
    let mut place = Place::new();
    let runner = place.open();
    let mut grant = place.grant(&[("motd", "strong")]);
    place.carry_out(&runner, Verb::Apply(grant.clone()));
    let undo = place.undo(&grant, 1);
    assert_eq!(outcomes(place.carry_out(&runner, undo)), [StepOutcome::Done]);
    assert_eq!(place.content("motd"), None);
    assert!(matches!(outcomes(place.carry_out(&runner, Verb::Apply(grant.clone())))[0], StepOutcome::Refused { .. }));
    grant.attempt = 2;
    assert_eq!(outcomes(place.carry_out(&runner, Verb::Apply(grant))), [StepOutcome::Done]);
    assert_eq!(place.content("motd").as_deref(), Some("strong"));
}

#[test]
fn undo_goes_backwards_and_leaves_alone_what_never_began() {
    let mut place = Place::new();
    let runner = place.open();
    let grant = place.grant(&[("a", "1"), ("b", "2"), ("c", "3")]);
    std::fs::write(place.target().join("b"), "somebody else's").unwrap();
    let done = outcomes(place.carry_out(&runner, Verb::Apply(grant.clone())));
    assert!(matches!(&done[..], [StepOutcome::Done, StepOutcome::Refused { .. }, StepOutcome::NotStarted]), "{done:?}");
    let undo = place.undo(&grant, 1);
    let undone = steps(place.carry_out(&runner, undo));
    assert_eq!(undone.iter().map(|step| step.step).collect::<Vec<_>>(), [2, 1, 0]);
    assert_eq!(undone[0].outcome, StepOutcome::Unchanged);
    assert_eq!(undone[2].outcome, StepOutcome::Done);
    assert_eq!((place.content("a"), place.content("b").as_deref()), (None, Some("somebody else's")));
}

#[test]
fn transient_steps_are_repeated_after_the_rest_is_restored() {
    let mut place = Place::new();
    let runner = place.open();
    let mut grant = place.grant(&[("a", "1"), ("b", "2")]);
    let mut leaf = grant.leaf;
    leaf.steps[1].reversibility = Reversibility::Transient;
    grant = place.grant_of(leaf.items, leaf.steps);
    place.carry_out(&runner, Verb::Apply(grant.clone()));
    let undo = place.undo(&grant, 1);
    let order: Vec<u32> = steps(place.carry_out(&runner, undo)).iter().map(|step| step.step).collect();
    assert_eq!(order, [0, 1]);
}

#[test]
fn what_is_one_way_is_not_taken_back() {
    let mut place = Place::new();
    let runner = place.open();
    let leaf = place.grant(&[("a", "1")]).leaf;
    let mut one_way = leaf.steps;
    one_way[0].reversibility = Reversibility::OneWay;
    let grant = place.grant_of(leaf.items, one_way);
    place.carry_out(&runner, Verb::Apply(grant.clone()));
    let undo = place.undo(&grant, 1);
    assert!(matches!(outcomes(place.carry_out(&runner, undo))[0], StepOutcome::Refused { .. }));
    assert_eq!(place.content("a").as_deref(), Some("1"));
}

#[test]
fn a_panic_fails_its_step_and_nothing_else() {
    let mut place = Place::new();
    place.defect = Defect::Panics;
    let runner = place.open();
    let grant = place.grant(&[("a", "1"), ("b", "2")]);
    let reports = steps(place.carry_out(&runner, Verb::Apply(grant.clone())));
    assert!(
        matches!(&reports[0].outcome, StepOutcome::Failed { message, hint: Some(_) } if message.contains("planted panic"))
    );
    assert_eq!(reports[1].outcome, StepOutcome::NotStarted);
    // The runner lives, and what the panic left can be taken back.
    let undo = place.undo(&grant, 1);
    assert!(matches!(place.carry_out(&runner, undo), Answer::Undone { .. }));
}

/// Invariant 14: a step whose record cannot be made durable does not begin.
#[test]
fn nothing_begins_before_its_record_is_durable() {
    struct NoStarts;
    impl Observer for NoStarts {
        fn before(&self, _number: u64, record: &Record) -> io::Result<()> {
            if matches!(record, Record::StepStarted { .. }) { Err(io::Error::other("no space left")) } else { Ok(()) }
        }
    }
    let mut place = Place::new();
    place.defect = Defect::ActsEarly;
    let runner = place.open_with(Arc::new(NoStarts));
    let grant = place.grant(&[("motd", "strong")]);
    let order = accepted(place.offer(&runner, Verb::Apply(grant)));
    assert!(matches!(place.run(&runner, &order), Err(RunError::Journal { .. })));
    assert_eq!(place.sets(), 0, "it acted without a record");
}

#[test]
fn nothing_follows_a_safe_point_that_is_not_durable() {
    struct NoCheckpoints;
    impl Observer for NoCheckpoints {
        fn before(&self, _number: u64, record: &Record) -> io::Result<()> {
            if matches!(record, Record::Checkpoint { .. }) { Err(io::Error::other("no space left")) } else { Ok(()) }
        }
    }
    let mut place = Place::new();
    let runner = place.open_with(Arc::new(NoCheckpoints));
    let grant = place.grant(&[("motd", "strong"), ("new", "here")]);
    let done = outcomes(place.carry_out(&runner, Verb::Apply(grant)));
    assert!(matches!(&done[..], [StepOutcome::Failed { .. }, StepOutcome::NotStarted]), "{done:?}");
    assert_eq!(place.sets(), 0);
}

#[test]
fn a_crash_in_the_middle_is_gone_on_with_under_the_same_key() {
    let mut place = Place::new();
    let grant = place.grant(&[("motd", "strong")]);
    // polls, accepted, started, captured: dies with the capture durable and nothing set.
    let doom = Arc::new(Doom::at(4, true));
    let runner = place.open_with(Arc::clone(&doom) as _);
    let order = accepted(place.offer(&runner, Verb::Apply(grant.clone())));
    assert!(place.run(&runner, &order).is_err() && doom.dead.load(Ordering::SeqCst));
    drop(runner);
    let runner = place.open();
    assert_eq!(runner.unfinished().len(), 1);
    let reports = steps(place.run(&runner, &order).unwrap());
    assert_eq!((&reports[0].outcome, reports[0].entered), (&StepOutcome::Done, 2));
    assert_eq!(reports[0].key, step_key(&grant.plan, 0, &grant.leaf.asset, 1, 1));
    assert_eq!(place.sets(), 1);
    assert!(runner.unfinished().is_empty());
}

#[test]
fn an_action_that_cannot_be_entered_again_is_reported_as_interrupted() {
    let mut place = Place::new();
    place.defect = Defect::NotIdempotent;
    let grant = place.grant(&[("motd", "strong"), ("new", "here")]);
    let runner = place.open_with(Arc::new(Doom::at(4, true)));
    let order = accepted(place.offer(&runner, Verb::Apply(grant)));
    assert!(place.run(&runner, &order).is_err());
    drop(runner);
    let runner = place.open();
    let done = outcomes(place.run(&runner, &order).unwrap());
    assert_eq!(done, [StepOutcome::Interrupted { at: "captured".to_owned() }, StepOutcome::NotStarted]);
}

#[test]
fn an_order_that_had_not_begun_waits_for_no_second_boot_and_no_longer_than_its_start() {
    for (reboot, pass, begins) in [(false, 30, true), (false, 61, false), (true, 0, false)] {
        let mut place = Place::new();
        let grant = place.grant(&[("motd", "strong")]);
        let runner = place.open();
        let order = accepted(place.offer(&runner, Verb::Apply(grant.clone())));
        drop(runner);
        place.clock.pass(Duration::from_secs(pass));
        if reboot {
            place.boot_id = "boot-2".to_owned();
        }
        let runner = place.open();
        let expected = if begins { StepOutcome::Done } else { StepOutcome::NotStarted };
        assert_eq!(outcomes(place.run(&runner, &order).unwrap()), [expected], "reboot {reboot}, {pass} s");
        // Its key is free: sent again it begins.
        let again = outcomes(place.carry_out(&runner, Verb::Apply(grant)));
        assert_eq!(again, [if begins { StepOutcome::Unchanged } else { StepOutcome::Done }]);
    }
}

#[test]
fn a_step_that_does_not_fit_before_the_end_does_not_begin() {
    let mut place = Place::new();
    let runner = place.open();
    let grant = place.grant(&[("motd", "strong")]);
    let mut order = place.desk.order(Verb::Apply(grant.clone()));
    order.start_within_seconds = 100_000;
    let id = accepted(place.offer_order(&runner, order));
    place.clock.pass(Duration::from_secs(3_600));
    assert_eq!(outcomes(place.run(&runner, &id).unwrap()), [StepOutcome::NotStarted]);
}

/// Invariant 2: no step starts outside its time, and what was done in time is not lost for it.
#[test]
fn a_step_whose_time_has_not_come_is_not_begun_and_comes_again_while_what_was_done_stands() {
    let mut place = Place::new();
    let runner = place.open();
    let closed = place.target().join("not-now");
    std::fs::write(&closed, "late").unwrap();
    let alone = place.grant(&[("late", "1")]);
    let refused = outcomes(place.carry_out(&runner, Verb::Apply(alone.clone())));
    assert!(
        matches!(&refused[..], [StepOutcome::Refused { message, .. }] if message.contains("closed")),
        "{refused:?}"
    );

    let grant = place.grant(&[("early", "1"), ("late", "1"), ("last", "1")]);
    let reports = steps(place.carry_out(&runner, Verb::Apply(grant.clone())));
    let told: Vec<_> = reports.iter().map(|step| (step.outcome.clone(), step.started_at.is_some())).collect();
    let not_begun = (StepOutcome::NotStarted, false);
    assert_eq!(told, [(StepOutcome::Done, true), not_begun.clone(), not_begun]);
    assert_eq!(reports[1].evidence[0].text, "late is closed at this hour");
    assert_eq!((place.content("early").as_deref(), place.content("late")), (Some("1"), None));

    std::fs::remove_file(&closed).unwrap();
    let rest = outcomes(place.carry_out(&runner, Verb::Apply(grant)));
    assert_eq!(rest, [StepOutcome::Unchanged, StepOutcome::Done, StepOutcome::Done]);
    // One that stood alone left nothing in the journal either.
    std::fs::remove_file(place.target().join("late")).unwrap();
    assert_eq!(outcomes(place.carry_out(&runner, Verb::Apply(alone))), [StepOutcome::Done]);
}

struct Only(&'static str);

impl Guard for Only {
    fn may_apply(&self, step: &PlannedStep, _now: Timestamp) -> Result<(), Denied> {
        if step.params["name"] == self.0 {
            return Ok(());
        }
        Err(Denied { message: format!("only `{}` may be set here", self.0), hint: Some("edit the rules".to_owned()) })
    }

    fn may_plan(&self, request: &StepRequest) -> Result<(), Denied> {
        if request.want["name"] == self.0 { Ok(()) } else { Err(Denied { message: "no".to_owned(), hint: None }) }
    }
}

#[test]
fn the_executors_own_rules_have_the_last_word_over_the_whole_leaf() {
    let mut place = Place::new();
    place.guard = Box::new(Only("motd"));
    let runner = place.open();
    let grant = place.grant(&[("motd", "strong"), ("shadow", "x")]);
    let done = outcomes(place.carry_out(&runner, Verb::Apply(grant)));
    assert_eq!(done[0], StepOutcome::NotStarted, "the allowed step does not begin alone");
    assert!(matches!(&done[1], StepOutcome::Refused { message, .. } if message.contains("edit the rules")));
    assert_eq!(place.sets(), 0);
    let verb = Verb::Plan { asset: place.asset().id, requests: place.requests(&[("motd", "strong"), ("shadow", "x")]) };
    match place.carry_out(&runner, verb) {
        Answer::Planned { steps, refused, .. } => assert_eq!((steps.len(), refused.len()), (1, 1)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_unknown_action_is_refused_in_plan_and_apply() {
    let mut place = Place::new();
    let runner = place.open();
    let mut leaf = place.grant(&[("motd", "strong")]).leaf;
    leaf.steps[0].action = "disk.wipe".to_owned();
    let grant = place.grant_of(leaf.items, leaf.steps);
    assert!(matches!(outcomes(place.carry_out(&runner, Verb::Apply(grant)))[0], StepOutcome::Refused { .. }));
    let mut requests = place.requests(&[("motd", "strong")]);
    requests[0].action = "disk.wipe".to_owned();
    match place.carry_out(&runner, Verb::Plan { asset: place.asset().id, requests }) {
        Answer::Planned { steps, refused, .. } => assert_eq!((steps.len(), refused.len()), (0, 1)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_journal_answers_for_tasks_the_server_lost_sight_of() {
    let mut place = Place::new();
    let runner = place.open();
    let grant = place.grant(&[("motd", "strong")]);
    let key = step_key(&grant.plan, 0, &grant.leaf.asset, 1, 1);
    let ask = |place: &mut Place| match place.carry_out(&runner, Verb::Reconcile { task: grant.task.clone(), key }) {
        Answer::Reconciled { known } => known,
        other => panic!("{other:?}"),
    };
    assert_eq!(ask(&mut place), Reconciled::NotStarted);
    let order = accepted(place.offer(&runner, Verb::Apply(grant.clone())));
    assert_eq!(ask(&mut place), Reconciled::Running);
    place.run(&runner, &order).unwrap();
    assert!(matches!(ask(&mut place), Reconciled::Over { steps } if steps[0].outcome == StepOutcome::Done));
}

#[test]
fn an_executor_that_lost_its_journal_says_so() {
    let mut place = Place::new();
    place.desk.position.generation = 40;
    let runner = place.open();
    let grant = place.grant(&[("motd", "strong")]);
    let key = step_key(&grant.plan, 0, &grant.leaf.asset, 1, 1);
    let answer = place.carry_out(&runner, Verb::Reconcile { task: grant.task, key });
    assert_eq!(answer, Answer::Reconciled { known: Reconciled::Lost });
}

#[test]
fn what_a_lost_journal_does_not_know_is_not_said_to_be_taken_back() {
    let mut place = Place::new();
    place.desk.position.generation = 40;
    let runner = place.open();
    let grant = place.grant(&[("motd", "strong")]);
    let undo = place.undo(&grant, 1);
    assert!(matches!(outcomes(place.carry_out(&runner, undo))[0], StepOutcome::Refused { .. }));
}

#[test]
fn receipts_wait_until_the_server_has_them() {
    let mut place = Place::new();
    let runner = place.open();
    let grant = place.grant(&[("motd", "strong")]);
    place.carry_out(&runner, Verb::Apply(grant));
    let waiting = runner.undelivered();
    drop(runner);
    let runner = place.open();
    assert_eq!(runner.undelivered(), waiting, "the very same receipt");
    waiting[0].open(&runner.verifying_key()).unwrap();
    runner.delivered(&waiting[0].body.order).unwrap();
    drop(runner);
    assert!(place.open().undelivered().is_empty());
}

#[test]
fn an_open_order_is_run_once() {
    let mut place = Place::new();
    let runner = place.open();
    let grant = place.grant(&[("motd", "strong")]);
    let Taken::Accepted { order, .. } = place.offer(&runner, Verb::Apply(grant)).unwrap() else { panic!() };
    place.run(&runner, &order).unwrap();
    assert!(matches!(place.run(&runner, &order), Err(RunError::NotOpen { .. })));
}
