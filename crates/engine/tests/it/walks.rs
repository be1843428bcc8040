//! Random walks through the machine, for two promises that hold on every way: what nobody named is not touched, and
//! nothing is sent before its intent is on record.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use stanch_engine::plan::{PlanError, assemble};
use stanch_engine::rollout::{Effect, Event, Hold, HoldLevel, Rollout, Task, Word, step};
use stanch_engine::verify::{Failure, ItemVerdict, Judgement};
use stanch_model::id::{ActorId, AssetId, ItemId, RemediationId, TaskId};
use stanch_model::item::{Subject, item_id};
use stanch_model::order::CheckOutcome;
use stanch_model::plan::Plan;
use stanch_model::terms::{RingSize, RingTerm};

use crate::planning::{input, target};
use crate::world::now;

const WALKS: u64 = 250;
const STEPS: usize = 120;

/// The same numbers for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

struct Walk {
    rollout: Rollout,
    now: Timestamp,
    dice: Dice,
    assets: BTreeSet<AssetId>,
    /// Intents on record.
    recorded: BTreeSet<(TaskId, u32)>,
    /// What people asked to have taken back.
    asked: BTreeSet<ItemId>,
    dispatched: u32,
    taken_back: u32,
}

fn by() -> ActorId {
    ActorId::from_entropy([7; 10])
}

fn plan() -> Plan {
    let mut input = input((1..=3).map(|machine| target(machine, 2)).collect());
    let ring = |percent, min, bake_seconds| RingTerm { size: RingSize::Percent(percent), min, bake_seconds };
    input.terms.rings = vec![ring(1, 1, 60), ring(100, 0, 0)];
    assemble(input).unwrap().0
}

impl Walk {
    fn new(seed: u64) -> Self {
        let plan = plan();
        Self {
            rollout: Rollout::new(&RemediationId::from_entropy([1; 10]), &plan, Default::default()).unwrap(),
            now: now(),
            dice: Dice(seed),
            assets: plan.leaves.into_iter().map(|leaf| leaf.asset).collect(),
            recorded: BTreeSet::new(),
            asked: BTreeSet::new(),
            dispatched: 0,
            taken_back: 0,
        }
    }

    fn event(&mut self) -> Event {
        let at = self.dice.below(self.rollout.tasks.len());
        let task = self.rollout.tasks[at].clone();
        let (id, now) = (task.id.clone(), self.now);
        let receipt = |order, word| Event::Receipt { task: id.clone(), order, word };
        match self.dice.below(28) {
            0 => Event::Approved { plan: self.rollout.plan, by: by(), until: None },
            1 | 2 => receipt(task.apply_order, Word::Accepted),
            3..=5 => receipt(task.apply_order, Word::Succeeded { changed: true, ended_at: now }),
            6 => receipt(task.apply_order, Word::Partly { ended_at: now }),
            7 => receipt(task.apply_order, Word::NotStarted),
            8 if self.dice.below(4) == 0 => {
                receipt(task.apply_order, Word::Failed { changed: true, message: "exit 100".to_owned(), ended_at: now })
            }
            9 | 10 => receipt(task.undo_order, Word::Undone { ended_at: now }),
            11 => receipt(task.reconcile_order, Word::NotStarted),
            12 => Event::LeaseExpired { task: id },
            13 | 14 => Event::Facts { asset: task.asset, collected_at: now },
            15..=17 => judged(&task, now, CheckOutcome::Successful, None),
            18 if self.dice.below(4) == 0 => judged(&task, now, CheckOutcome::Failed, Some(Failure::Health)),
            19 | 20 => Event::UndoAsked { items: self.some_items(), by: by() },
            21 if self.dice.below(3) == 0 => {
                let hold = Hold { level: HoldLevel::StopNew, reason: "a customer demo".to_owned() };
                Event::HoldChanged { hold: Some(hold) }
            }
            22 => Event::HoldChanged { hold: None },
            _ => Event::Tick,
        }
    }

    /// Some items of the plan, maybe none.
    fn some_items(&mut self) -> Vec<ItemId> {
        let all: Vec<ItemId> = self.rollout.tasks.iter().flat_map(|task| task.items.clone()).collect();
        all.into_iter().filter(|_| self.dice.below(3) == 0).collect()
    }

    fn go(&mut self) {
        for _ in 0..STEPS {
            self.now = self.now.checked_add(SignedDuration::from_secs(self.dice.below(90) as i64)).unwrap();
            self.nothing_named_is_nothing();
            let event = self.event();
            let Ok((next, effects)) = step(&self.rollout, event.clone(), self.now) else { continue };
            if let Event::UndoAsked { items, .. } = event {
                assert!(!items.is_empty());
                self.asked.extend(items);
            }
            for effect in &effects {
                self.check(effect, &next);
            }
            self.rollout = next;
        }
    }

    /// Invariant 7, from wherever the machine is: an undo of nothing, or of what is not in the plan, is refused.
    fn nothing_named_is_nothing(&self) {
        let stranger = item_id(&self.rollout.tasks[0].asset, &Subject::SourcePackage { source: "stranger".to_owned() });
        let known = self.rollout.tasks[0].items[0].clone();
        for items in [Vec::new(), vec![stranger.clone()], vec![known, stranger]] {
            let event = Event::UndoAsked { items: items.clone(), by: by() };
            assert!(step(&self.rollout, event, self.now).is_err(), "{} took {items:?}", self.rollout.state);
        }
    }

    fn check(&mut self, effect: &Effect, next: &Rollout) {
        let of = |task: &TaskId| next.task(task).unwrap_or_else(|| panic!("{task} is not in the plan"));
        match effect {
            Effect::RecordIntent { task, attempt } => {
                of(task);
                self.recorded.insert((task.clone(), *attempt));
            }
            // Invariant 14: the server commits effects in their order, or not at all.
            Effect::DispatchApply { task, attempt, .. } => {
                of(task);
                self.dispatched += 1;
                assert!(self.recorded.contains(&(task.clone(), *attempt)), "sent without an intent: {effect:?}");
            }
            // Invariant 7: what is taken back was named, or all of a task that failed is.
            Effect::DispatchUndo { task, items, .. } => {
                self.taken_back += 1;
                let all = &of(task).items;
                assert!(!items.is_empty() && items.iter().all(|item| all.contains(item)), "{effect:?}");
                if next.undo_by.is_some() {
                    assert!(items.iter().all(|item| self.asked.contains(item)), "nobody named it: {effect:?}");
                }
            }
            Effect::Suppress { asset, items, .. } => {
                assert!(self.assets.contains(asset) && !items.is_empty(), "{effect:?}");
            }
            Effect::RequestFacts { asset } => assert!(self.assets.contains(asset), "{effect:?}"),
            Effect::Close { items } => assert!(!items.is_empty(), "{effect:?}"),
            _ => {}
        }
    }
}

fn judged(task: &Task, now: Timestamp, outcome: CheckOutcome, failure: Option<Failure>) -> Event {
    Event::Judged {
        task: task.id.clone(),
        round: task.round,
        judgement: Box::new(Judgement {
            outcome,
            failure,
            checks: Vec::new(),
            items: task.items.iter().map(|item| (item.clone(), ItemVerdict::Fixed)).collect(),
            facts_at: now,
            may_call_clean: true,
        }),
    }
}

/// Invariants 7 and 14.
#[test]
fn nothing_unnamed_is_touched_and_nothing_is_sent_before_its_intent_is_on_record() {
    let (mut dispatched, mut taken_back, mut on_request) = (0, 0, 0);
    for seed in 0..WALKS {
        let mut walk = Walk::new(seed);
        walk.go();
        dispatched += walk.dispatched;
        taken_back += walk.taken_back;
        on_request += u32::from(!walk.asked.is_empty());
    }
    // The walks go where the promises are at stake.
    assert!(dispatched > 250 && taken_back > 60 && on_request > 30, "{dispatched} {taken_back} {on_request}");
}

/// Invariant 7 at its root: no target selected is no plan, and a plan of nothing starts nothing.
#[test]
fn a_plan_of_nothing_is_none_and_starts_nothing() {
    assert!(matches!(assemble(input(Vec::new())), Err(PlanError::Nothing { .. })));
    let nobody = target(1, 0);
    assert!(matches!(assemble(input(vec![nobody])), Err(PlanError::Nothing { .. })), "steps that no item asked for");
    let empty = Plan { leaves: Vec::new(), waves: Vec::new(), ..plan() };
    let mut rollout = Rollout::new(&RemediationId::from_entropy([1; 10]), &empty, Default::default()).unwrap();
    let approved = Event::Approved { plan: rollout.plan, by: by(), until: None };
    for event in std::iter::once(approved).chain((0..20).map(|_| Event::Tick)) {
        let Ok((next, effects)) = step(&rollout, event, now()) else { continue };
        assert!(effects.iter().all(|effect| matches!(effect, Effect::Entered { .. } | Effect::Notify { .. })));
        rollout = next;
    }
}
