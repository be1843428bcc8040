//! The conformance suite: what every action must show on every system before it may run there by itself.
//!
//! The suite is generic over a [`World`], which can be broken, looked at by somebody who does not use the action, sent
//! orders through a real runner, and killed at any point. It first walks the contract once (plan, apply, verify, again,
//! what the reversibility class promises, bad input, a target that somebody else moved), then kills the executor, or
//! the whole machine, at every append of the journal during apply and during undo, and demands the same end each time.

mod contract;
mod crash;
mod report;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stanch_model::canonical::{Digest, digest};
use stanch_model::id::{AssetId, TaskId};
use stanch_model::order::{Answer, Grant, Receipt, StepOutcome, StepReport, StepRequest, Verb};
use stanch_model::plan::{Leaf, PlannedStep, Reversibility};

pub use report::{ConformanceReport, ConformanceRow, RowResult};

use crate::definition::Idempotency;

/// Before or after an append of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Nothing of the record is written.
    Before,
    /// The record is durable, nothing has followed.
    After,
}

/// What dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Death {
    /// The executor alone, as by `kill -9`; what it started may live on.
    Kill,
    /// Every process of the machine; it boots again.
    PowerLoss,
}

/// Where it dies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// At this append of the journal, counted from 1 with every start of the executor.
    Append(u64, Moment),
    /// At a place of the world's own, inside what the action started, such as a maintainer script.
    Inside(String),
}

/// One death.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    /// Where.
    pub point: Point,
    /// Of what.
    pub death: Death,
}

/// What one life of the executor gave.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    /// The receipts that reached the server, in the order they came; the same may come twice.
    pub receipts: Vec<Receipt>,
    /// How often the journal was appended to.
    pub appends: u64,
    /// Whether the executor was killed; it is off then.
    pub died: bool,
    /// Whether the order was taken; without that the server sends it again.
    pub taken: bool,
}

/// Something of the world itself did not work: the row says nothing about the action.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct WorldError {
    what: String,
}

impl WorldError {
    /// With what did not work, causes included.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }
}

/// A system with a problem that one action (or several in one leaf) is to solve.
pub trait World {
    /// The action the rows stand for, `package.upgrade`.
    fn action(&self) -> String;

    /// The system, `debian-12`.
    fn system(&self) -> String;

    /// What is special about this world, `two sources, edited conffile`.
    fn case(&self) -> String;

    /// How the action declares itself.
    fn idempotency(&self) -> Idempotency;

    /// The asset.
    fn asset(&self) -> AssetId;

    /// Throws everything away and makes a new world that has the problem, its executor off and its journal empty.
    ///
    /// # Errors
    /// When it cannot be made.
    fn break_it(&mut self) -> Result<(), WorldError>;

    /// What somebody who does not use the action sees of the target, without what may differ between two equal states.
    ///
    /// # Errors
    /// When it cannot be read.
    fn observe(&mut self) -> Result<Value, WorldError>;

    /// Whether the problem is gone, judged without the action.
    ///
    /// # Errors
    /// When it cannot be judged.
    fn is_fixed(&mut self) -> Result<bool, WorldError>;

    /// What has visibly happened more than once and must not have; empty is good.
    ///
    /// # Errors
    /// When it cannot be read.
    fn happened_twice(&mut self) -> Result<Vec<String>, WorldError>;

    /// What to ask for so that the problem is solved.
    fn requests(&self) -> Vec<StepRequest>;

    /// Starts the executor, sends this order, waits until it is answered (and every earlier one that it had taken), and
    /// ends it; or until it dies as `crash` says. Not dying is no error: the point may lie behind the end.
    ///
    /// # Errors
    /// When an order that was taken is not answered in time: something is stuck.
    fn send(&mut self, verb: Verb, crash: Option<&Crash>) -> Result<Sent, WorldError>;

    /// Starts the executor again without a new order (after a power loss the machine first) and waits until everything
    /// it had taken is answered.
    ///
    /// # Errors
    /// As [`World::send`].
    fn restart(&mut self, crash: Option<&Crash>) -> Result<Sent, WorldError>;

    /// Changes the target as somebody else would, so that a planned or applied step no longer fits. `false` if that
    /// makes no sense here.
    ///
    /// # Errors
    /// When it cannot be changed.
    fn meddle(&mut self) -> Result<bool, WorldError>;

    /// Whether what [`World::meddle`] changed is as it left it.
    ///
    /// # Errors
    /// When it cannot be read.
    fn is_meddled(&mut self) -> Result<bool, WorldError>;

    /// Requests that no planner may answer with a step.
    fn bad_wants(&self) -> Vec<Value>;

    /// Parameters that no apply may act on.
    fn bad_params(&self) -> Vec<Value>;

    /// Which deaths this world can die.
    fn deaths(&self) -> Vec<Death>;

    /// Places of its own where it can die during apply, besides the journal's appends.
    fn inside(&self) -> Vec<String> {
        Vec::new()
    }
}

/// How many crash points are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Points {
    /// Every one.
    All,
    /// About this many for each of apply and undo, evenly spread, with the ends; deaths and moments take turns.
    Sampled(usize),
}

/// Runs the suite in this world.
pub fn conform(world: &mut dyn World, points: Points) -> ConformanceReport {
    let mut report = ConformanceReport::new(world.action(), world.system(), world.case());
    let reference = contract::run(world, &mut report);
    match reference {
        Some(reference) => crash::run(world, &reference, points, &mut report),
        None => report.untested("crash points", "the contract does not hold even without a crash"),
    }
    report
}

/// How a clean pass through the world went: what every interrupted one is compared with.
struct Reference {
    before: Value,
    after: Value,
    reversibility: Reversibility,
    apply_appends: u64,
    undo_appends: Option<u64>,
}

/// One attempt in one fresh world.
struct Pass<'a> {
    world: &'a mut dyn World,
    receipts: BTreeMap<String, Receipt>,
}

/// Why a row is red, or why it could not be filled.
enum Wrong {
    Action(String),
    World(WorldError),
    Untested(String),
}

impl From<WorldError> for Wrong {
    fn from(error: WorldError) -> Self {
        Self::World(error)
    }
}

fn wrong<T>(what: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong::Action(what.into()))
}

fn demand(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Wrong> {
    if holds { Ok(()) } else { Err(Wrong::Action(otherwise())) }
}

impl<'a> Pass<'a> {
    /// In a fresh, broken world.
    fn fresh(world: &'a mut dyn World) -> Result<Self, Wrong> {
        world.break_it()?;
        let pass = Self { world, receipts: BTreeMap::new() };
        demand(!pass.world.is_fixed()?, || "the broken world does not count as broken".to_owned())?;
        Ok(pass)
    }

    /// Notes receipts; two answers to one order must be the same.
    fn note(&mut self, sent: &Sent) -> Result<(), Wrong> {
        for receipt in &sent.receipts {
            if let Some(first) = self.receipts.insert(receipt.order.to_string(), receipt.clone())
                && first != *receipt
            {
                return wrong(format!("order {} was answered twice, differently", receipt.order));
            }
        }
        Ok(())
    }

    /// Sends an order that has to be answered.
    fn ask(&mut self, verb: Verb) -> Result<Answer, Wrong> {
        let sent = self.world.send(verb, None)?;
        self.note(&sent)?;
        demand(!sent.died, || "the executor died by itself".to_owned())?;
        match sent.receipts.into_iter().next_back() {
            Some(receipt) => Ok(receipt.answer),
            None => wrong("the order was not answered"),
        }
    }

    /// Sends an order during which the executor dies, starts it again, and returns the answer as the server gets it:
    /// an order that was never taken is sent again, and so is one that says it did not begin.
    fn survive(&mut self, verb: &Verb, crashes: &[&Crash]) -> Result<Answer, Wrong> {
        let (first, rest) = crashes.split_first().map_or((None, crashes), |(first, rest)| (Some(*first), rest));
        let sent = self.world.send(verb.clone(), first)?;
        let mut died = sent.died;
        let mut taken = sent.taken;
        let mut answer = sent.receipts.last().map(|receipt| receipt.answer.clone());
        self.note(&sent)?;
        for crash in rest.iter().copied().map(Some).chain([None]) {
            if !died {
                // An earlier death than the last did not come: the row would say more than was seen.
                return Err(Wrong::Untested("this point is not reached".to_owned()));
            }
            let sent = self.world.restart(crash)?;
            self.note(&sent)?;
            died = sent.died;
            taken |= sent.taken;
            answer = sent.receipts.last().map(|receipt| receipt.answer.clone()).or(answer);
        }
        match answer {
            Some(answer) if all_not_started(&answer) => self.ask(verb.clone()),
            Some(answer) => Ok(answer),
            None if taken => wrong("the order was taken and never answered"),
            None => self.ask(verb.clone()),
        }
    }

    fn plan(&mut self) -> Result<Vec<PlannedStep>, Wrong> {
        let verb = Verb::Plan { asset: self.world.asset(), requests: self.world.requests() };
        match self.ask(verb)? {
            Answer::Planned { steps, refused, .. } => {
                demand(refused.is_empty(), || format!("planning refused: {refused:?}"))?;
                Ok(steps)
            }
            other => wrong(format!("asked to plan, it answered {}", brief(&other))),
        }
    }

    fn grant(&mut self) -> Result<Grant, Wrong> {
        let steps = self.plan()?;
        demand(!steps.is_empty(), || "nothing is planned although the problem is there".to_owned())?;
        self.grant_of(steps)
    }

    fn grant_of(&self, steps: Vec<PlannedStep>) -> Result<Grant, Wrong> {
        let mut items = Vec::new();
        for item in self.world.requests().into_iter().flat_map(|request| request.items) {
            if !items.contains(&item) {
                items.push(item);
            }
        }
        let leaf = Leaf { asset: self.world.asset(), items, steps };
        let canonical = |error| Wrong::Action(format!("the leaf has no canonical form: {error}"));
        let leaf_hash = leaf.hash().map_err(canonical)?;
        let plan: Digest = digest("stanch/conformance/v1", &leaf_hash).map_err(canonical)?;
        Ok(Grant {
            task: TaskId::from_entropy([7; 10]),
            plan,
            leaf_hash,
            leaf,
            epoch: 1,
            attempt: 1,
            rest: false,
            vouched: None,
        })
    }
}

fn undo_of(grant: &Grant, attempt: u32) -> Verb {
    Verb::Undo { task: grant.task.clone(), grant: grant.clone(), items: grant.leaf.items.clone(), attempt }
}

fn steps_of(answer: &Answer) -> Result<&[StepReport], Wrong> {
    match answer {
        Answer::Applied { steps } | Answer::Undone { steps } => Ok(steps),
        other => wrong(format!("it answered {}", brief(other))),
    }
}

fn all_not_started(answer: &Answer) -> bool {
    steps_of(answer).is_ok_and(|steps| steps.iter().all(|step| step.outcome == StepOutcome::NotStarted))
}

/// Every step ended well.
fn all_well(answer: &Answer) -> Result<(), Wrong> {
    for step in steps_of(answer)? {
        if !matches!(step.outcome, StepOutcome::Done | StepOutcome::Unchanged) {
            return wrong(format!("step {} ({}) ended as {:?}", step.step, step.action, step.outcome));
        }
    }
    Ok(())
}

fn brief(answer: &Answer) -> String {
    let mut text = format!("{answer:?}");
    if text.len() > 600 {
        text.truncate(text.floor_char_boundary(600));
        text.push_str("...");
    }
    text
}

/// Where two observations differ, for a person.
fn difference(expected: &Value, found: &Value) -> String {
    fn walk(path: &str, expected: &Value, found: &Value, lines: &mut Vec<String>) {
        match (expected, found) {
            (Value::Object(a), Value::Object(b)) => {
                for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                    let none = Value::Null;
                    walk(&format!("{path}/{key}"), a.get(key).unwrap_or(&none), b.get(key).unwrap_or(&none), lines);
                }
            }
            (a, b) if a != b && lines.len() < 8 => lines.push(format!("{path}: expected {a}, found {b}")),
            _ => {}
        }
    }
    let mut lines = Vec::new();
    walk("", expected, found, &mut lines);
    let mut text = lines.join("; ");
    text.truncate(text.floor_char_boundary(1_000));
    text
}

fn same(what: &str, expected: &Value, found: &Value) -> Result<(), Wrong> {
    demand(expected == found, || format!("{what}: {}", difference(expected, found)))
}
