//! The loop: polling, working, delivering, all at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use stanch_action::{
    Action, ActionError, Applied, Catalogue, Definition, Idempotency, Observation, Place as Where, PlanAnswer, Run,
    Verification,
};
use stanch_model::asset::Asset;
use stanch_model::facts::HostFacts;
use stanch_model::id::{ExecutorId, ItemId};
use stanch_model::order::{
    Answer, Batch, Check, CheckOutcome, Doubt, Grant, Hello, Progress, Receipt, StepOutcome, StepRequest, TurnedAway,
    Verb,
};
use stanch_model::plan::{Disruption, PlannedStep, Reversibility};
use stanch_model::sign::Signed;
use stanch_runner::{Link, LinkError, NoRules, Refused, Runner, ServeError, Shutdown, Tools, serve};

use crate::desk::{Desk, Session};
use crate::place::{Doom, NOW, Place, accepted, steps};

fn no_facts(_: bool) -> Result<HostFacts, ActionError> {
    Err(ActionError::failed("no facts here"))
}

fn serve_with(runner: &Runner, link: &dyn Link, catalogue: &Catalogue, shutdown: &Shutdown) -> Result<(), ServeError> {
    let tools = Tools {
        catalogue,
        facts: &no_facts,
        guard: &NoRules,
        rehearse: None,
        progress: &|p| link.progress(p),
        shutdown,
    };
    serve(runner, link, &tools)
}

fn desk_of(place: &Place) -> Desk {
    let mut desk = Desk::new(NOW).unwrap();
    desk.position = place.desk.position;
    desk
}

#[test]
fn orders_come_are_carried_out_and_answered() {
    let mut place = Place::new();
    let grant = place.grant(&[("motd", "strong")]);
    let orders: BTreeMap<_, _> = [Verb::Apply(grant), Verb::Observe { refresh: false, since: None }, Verb::Release]
        .into_iter()
        .map(|verb| place.desk.order(verb))
        .map(|order| (order.position, order))
        .collect();
    let session = Session::new(desk_of(&place), orders, true, Duration::from_secs(20));
    let runner = place.open();
    serve_with(&runner, &session, &place.catalogue(), &Shutdown::new()).unwrap();
    let (receipts, _, problem) = session.end();
    assert_eq!(problem, None);
    let answer = |generation| receipts.iter().find(|r| r.position.generation == generation).map(|r| r.answer.clone());
    assert_eq!(steps(answer(1).unwrap())[0].outcome, StepOutcome::Done);
    assert!(matches!(answer(2).unwrap(), Answer::Refused { message, .. } if message == "no facts here"));
    assert_eq!(answer(3).unwrap(), Answer::Held { held: false });
    assert!(runner.undelivered().is_empty());
}

#[test]
fn a_hold_that_ends_in_the_same_batch_keeps_nothing_of_it_back() {
    let mut place = Place::new();
    let runner = place.open();
    place.carry_out(&runner, Verb::Hold { stop_all: false, reason: "audit week".to_owned() });
    let grant = place.grant(&[("motd", "strong")]);
    let orders: BTreeMap<_, _> = [Verb::Apply(grant), Verb::Release]
        .into_iter()
        .map(|verb| place.desk.order(verb))
        .map(|order| (order.position, order))
        .collect();
    let session = Session::new(desk_of(&place), orders, true, Duration::from_secs(20));
    serve_with(&runner, &session, &place.catalogue(), &Shutdown::new()).unwrap();
    let (receipts, _, problem) = session.end();
    assert_eq!(problem, None);
    let applied = receipts.into_iter().find(|receipt| receipt.position.generation == 2).unwrap().answer;
    assert_eq!(steps(applied)[0].outcome, StepOutcome::Done);
}

/// A server that answers one poll, with this.
struct Once(Mutex<Option<Batch>>);

impl Link for Once {
    fn poll(&self, _hello: Hello) -> Result<Option<Batch>, LinkError> {
        self.0.lock().unwrap().take().map(Some).ok_or(LinkError::Closed)
    }

    fn deliver(&self, _receipt: &Signed<Receipt>) -> Result<(), LinkError> {
        Ok(())
    }

    fn progress(&self, _progress: Progress) {}
}

#[test]
fn once_a_newer_issuer_was_heard_of_no_older_one_counts_any_more_not_even_after_a_restart() {
    let mut place = Place::new();
    let runner = place.open();
    accepted(place.offer(&runner, Verb::Release));
    place.desk.serial = 7;
    let batch = Batch { chain: place.desk.chain().unwrap(), orders: Vec::new() };
    let mut forged = batch.clone();
    forged.chain.issuer.body.serial = 9;
    for batch in [batch, forged] {
        let link = Once(Mutex::new(Some(batch)));
        serve_with(&runner, &link, &place.catalogue(), &Shutdown::new()).unwrap();
    }
    drop(runner);

    let runner = place.open();
    place.desk.serial = 6;
    let refused = place.offer(&runner, Verb::Release).unwrap_err();
    assert!(matches!(refused, Refused::IssuerReplaced { serial: 6, newest: 7 }), "{refused}");
    assert!(refused.hint().is_some());
    place.desk.serial = 7;
    accepted(place.offer(&runner, Verb::Release));
}

/// An action that waits in its step until it is told to go on, then reaches a safe point.
struct Gate {
    inside: Arc<(Mutex<bool>, Condvar)>,
    open: Arc<(Mutex<bool>, Condvar)>,
    definition: Definition,
}

fn raise(flag: &(Mutex<bool>, Condvar)) {
    *flag.0.lock().unwrap() = true;
    flag.1.notify_all();
}

fn wait(flag: &(Mutex<bool>, Condvar)) {
    let result = flag.1.wait_timeout_while(flag.0.lock().unwrap(), Duration::from_secs(20), |raised| !*raised).unwrap();
    assert!(!result.1.timed_out(), "waited in vain");
}

impl Gate {
    fn new() -> Self {
        let definition = Definition {
            name: "gate",
            summary: "waits",
            technique: "",
            request_schema: || json!({}),
            params_schema: || json!({}),
            idempotency: Idempotency::Keyed,
            reversibility: Reversibility::Transient,
            disruption: Disruption::None,
            closes_exposure: false,
            safe_points: &["inside"],
            place: Where::Host,
            rehearses: false,
        };
        Self { inside: Arc::default(), open: Arc::default(), definition }
    }
}

impl Action for Gate {
    fn definition(&self) -> &Definition {
        &self.definition
    }

    fn observe(&self, _: &Asset, _: &Value) -> Result<Observation, ActionError> {
        Ok(Observation { projection: Value::Null })
    }

    fn plan(&self, _: &Asset, _: &[StepRequest]) -> Result<PlanAnswer, ActionError> {
        Ok(PlanAnswer::default())
    }

    fn apply(&self, _: &Asset, _: &PlannedStep, run: &mut dyn Run) -> Result<Applied, ActionError> {
        raise(&self.inside);
        wait(&self.open);
        match run.checkpoint("inside", Value::Null)? {
            Some(_) => Err(ActionError::Stopped { at: "inside".to_owned() }),
            None => Ok(Applied { changed: true, changes: Vec::new(), after: Observation { projection: Value::Null } }),
        }
    }

    fn verify(&self, _: &Asset, _: &PlannedStep) -> Result<Verification, ActionError> {
        let detail = "the probe said password=hunter2".to_owned();
        let check = Check { name: "health-probe".to_owned(), outcome: CheckOutcome::Successful, detail };
        Ok(Verification { checks: vec![check] })
    }

    fn undo(&self, _: &Asset, _: &PlannedStep, _: &[ItemId], _: &mut dyn Run) -> Result<Applied, ActionError> {
        Err(ActionError::failed("nothing to undo"))
    }
}

/// Hands out one order after the other, each when it is due, and keeps the receipts.
struct Script {
    place: Mutex<Place>,
    verbs: Mutex<Vec<Verb>>,
    /// Called before an order goes out, with the number of those that went before.
    before: Box<dyn Fn(u32) + Send + Sync>,
    sent: AtomicU32,
    on_receipt: Box<dyn Fn(&Receipt) + Send + Sync>,
    receipts: Mutex<Vec<Receipt>>,
    fail_deliveries: AtomicU32,
}

impl Script {
    fn new(place: Place, verbs: Vec<Verb>, before: impl Fn(u32) + Send + Sync + 'static) -> Self {
        Self {
            place: Mutex::new(place),
            verbs: Mutex::new(verbs),
            before: Box::new(before),
            sent: AtomicU32::new(0),
            on_receipt: Box::new(|_| {}),
            receipts: Mutex::default(),
            fail_deliveries: AtomicU32::new(0),
        }
    }
}

impl Link for Script {
    fn poll(&self, hello: Hello) -> Result<Option<Batch>, LinkError> {
        let mut verbs = self.verbs.lock().unwrap();
        if verbs.is_empty() {
            return Err(LinkError::Closed);
        }
        (self.before)(self.sent.fetch_add(1, Ordering::SeqCst));
        let verb = verbs.remove(0);
        let mut place = self.place.lock().unwrap();
        let order = place.desk.order(verb);
        let orders = vec![place.desk.sign(order, &hello).unwrap()];
        Ok(Some(Batch { chain: place.desk.chain().unwrap(), orders }))
    }

    fn deliver(&self, receipt: &Signed<Receipt>) -> Result<(), LinkError> {
        if self.fail_deliveries.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(LinkError::Unreachable { message: "gone".to_owned() });
        }
        self.receipts.lock().unwrap().push(receipt.body.clone());
        (self.on_receipt)(&receipt.body);
        Ok(())
    }

    fn progress(&self, _: Progress) {}
}

fn gate_grant(place: &mut Place) -> Grant {
    let mut leaf = place.grant(&[("motd", "strong")]).leaf;
    leaf.steps[0].action = "gate".to_owned();
    leaf.steps[0].params = json!({});
    place.grant_of(leaf.items, leaf.steps)
}

/// Invariant 5, at the executor: a hold is in force and answered while a step runs, and stops it.
#[test]
fn a_hold_is_heeded_while_a_step_runs() {
    let mut place = Place::new();
    let grant = gate_grant(&mut place);
    let gate = Gate::new();
    let (inside, open) = (Arc::clone(&gate.inside), Arc::clone(&gate.open));
    let verbs = vec![Verb::Apply(grant), Verb::Hold { stop_all: true, reason: "stop".to_owned() }];
    let runner = place.open();
    // The hold goes out while the step is inside, and the step goes on once the hold is answered.
    let mut script = Script::new(place, verbs, move |sent| {
        if sent == 1 {
            wait(&inside)
        }
    });
    script.on_receipt = Box::new(move |receipt| {
        if matches!(receipt.answer, Answer::Held { .. }) {
            raise(&open);
        }
    });
    serve_with(&runner, &script, &Catalogue::new().with(Box::new(gate)), &Shutdown::new()).unwrap();
    let receipts = script.receipts.lock().unwrap();
    assert_eq!(receipts[0].answer, Answer::Held { held: true }, "the hold is answered first");
    let applied = steps(receipts[1].answer.clone());
    assert_eq!(applied[0].outcome, StepOutcome::Interrupted { at: "inside".to_owned() });
}

#[test]
fn a_secret_that_a_probe_tells_never_leaves_the_executor() {
    let mut place = Place::new();
    let Grant { task, leaf, .. } = gate_grant(&mut place);
    let runner = place.open();
    let script = Script::new(place, vec![Verb::Verify { task, leaf }], |_| {});
    serve_with(&runner, &script, &Catalogue::new().with(Box::new(Gate::new())), &Shutdown::new()).unwrap();
    let receipts = script.receipts.lock().unwrap();
    let Answer::Verified { checks } = &receipts[0].answer else { panic!("{:?}", receipts[0].answer) };
    assert_eq!(checks[0].detail, "the probe said password=[masked]");
}

#[test]
fn a_receipt_is_repeated_until_the_server_takes_it() {
    let mut place = Place::new();
    let grant = place.grant(&[("motd", "strong")]);
    let verbs = vec![Verb::Apply(grant), Verb::Release, Verb::Release];
    let (runner, catalogue) = (place.open(), place.catalogue());
    let script = Script::new(place, verbs, |_| {});
    script.fail_deliveries.store(2, Ordering::SeqCst);
    serve_with(&runner, &script, &catalogue, &Shutdown::new()).unwrap();
    let left = runner.undelivered().len();
    let came: std::collections::BTreeSet<u64> =
        script.receipts.lock().unwrap().iter().map(|receipt| receipt.position.generation).collect();
    assert_eq!(came.len() + left, 3);
    assert!(came.contains(&1), "the first was refused twice and came all the same");
}

#[test]
fn a_shutdown_leaves_what_has_not_begun_for_the_next_start() {
    let mut place = Place::new();
    let gate = Gate::new();
    let grant = gate_grant(&mut place);
    let second = place.grant(&[("motd", "strong")]);
    let (runner, catalogue) = (place.open(), place.catalogue());
    let shutdown = Shutdown::new();
    let (asked, inside, open) = (shutdown.clone(), Arc::clone(&gate.inside), Arc::clone(&gate.open));
    let verbs = vec![Verb::Apply(grant), Verb::Apply(second), Verb::Release];
    let script = Script::new(place, verbs, move |sent| {
        if sent == 1 {
            wait(&inside);
            asked.ask();
            raise(&open);
        }
    });
    serve_with(&runner, &script, &catalogue.with(Box::new(gate)), &shutdown).unwrap();
    assert_eq!(script.sent.load(Ordering::SeqCst), 2, "nothing more is asked for");
    assert_eq!(runner.unfinished().len(), 1, "the second order waits in the journal");
    assert_eq!(script.place.lock().unwrap().sets(), 0);
}

#[test]
fn a_failing_journal_ends_the_loop_and_the_next_life_goes_on() {
    let mut place = Place::new();
    let grant = place.grant(&[("motd", "strong")]);
    let order = place.desk.order(Verb::Apply(grant));
    let session = |place: &Place| {
        let orders = BTreeMap::from([(order.position, order.clone())]);
        Arc::new(Session::new(desk_of(place), orders, true, Duration::from_secs(20)))
    };
    let doom = Arc::new(Doom::at(5, false));
    let first = session(&place);
    let told = Arc::clone(&first);
    *doom.on_death.lock().unwrap() = Some(Box::new(move || told.give_up()));
    let runner = place.open_with(doom);
    let error = serve_with(&runner, first.as_ref(), &place.catalogue(), &Shutdown::new()).unwrap_err();
    assert!(matches!(error, ServeError::Run(_) | ServeError::Journal(_)), "{error}");
    drop(runner);
    let second = session(&place);
    let runner = place.open();
    serve_with(&runner, second.as_ref(), &place.catalogue(), &Shutdown::new()).unwrap();
    let (receipts, _, problem) = second.end();
    assert_eq!((problem, receipts.len()), (None, 1));
    assert_eq!((place.sets(), place.content("motd").as_deref()), (1, Some("strong")));
}

/// A server that gives these batches one after the other, and remembers what was said to it.
struct Given(Mutex<(Vec<Batch>, Vec<Hello>)>);

impl Link for Given {
    fn poll(&self, hello: Hello) -> Result<Option<Batch>, LinkError> {
        let mut state = self.0.lock().unwrap();
        state.1.push(hello);
        state.0.pop().map(Some).ok_or(LinkError::Closed)
    }

    fn deliver(&self, _receipt: &Signed<Receipt>) -> Result<(), LinkError> {
        Ok(())
    }

    fn progress(&self, _progress: Progress) {}
}

#[test]
fn the_server_hears_once_of_an_order_that_was_not_believed() {
    let mut place = Place::new();
    let runner = place.open();
    let hello = runner.hello(Vec::new()).unwrap();
    place.desk.executor = ExecutorId::from_entropy([9; 10]);
    let order = place.desk.order(Verb::Release);
    let order = place.desk.sign(order, &hello).unwrap();
    let id = order.body.id.clone();
    let chain = place.desk.chain().unwrap();
    let nothing = Batch { chain: chain.clone(), orders: Vec::new() };
    let twice = Batch { chain, orders: vec![order.clone(), order] };
    let link = Given(Mutex::new((vec![nothing.clone(), nothing, twice], Vec::new())));
    serve_with(&runner, &link, &place.catalogue(), &Shutdown::new()).unwrap();
    let told: Vec<Vec<TurnedAway>> =
        link.0.into_inner().unwrap().1.into_iter().map(|hello| hello.turned_away).collect();
    let doubt = TurnedAway { order: id, doubt: Doubt::OtherExecutor };
    assert_eq!(told, [vec![], vec![doubt], vec![], vec![]]);
}
