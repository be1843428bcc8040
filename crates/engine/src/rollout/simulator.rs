//! A world for the rollout that loses, doubles and delays everything, restarts the server in the middle of a step and
//! crashes executors, all from one seed; and the invariants that must hold after every commit.
//!
//! Each invariant is shown to be worth something: a planted defect must be caught by it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use stanch_model::asset::{AssetKind, asset_id};
use stanch_model::canonical::Digest;
use stanch_model::id::{ActorId, AssetId, ItemId, RemediationId, TaskId};
use stanch_model::item::{Subject, item_id};
use stanch_model::order::CheckOutcome;
use stanch_model::plan::{Disruption, Leaf, Limits, Plan, PlannedStep, Reversibility, Wave};
use stanch_model::remediation::{RemediationState as S, TaskState as T};
use stanch_model::terms::Terms;

use super::defect::{Defect, with};
use super::{Attempts, Effect, Event, Hold, HoldLevel, Illegal, MAX_SENDS, Rollout, Word, step};
use crate::verify::{Failure, ItemVerdict, Judgement};

/// Numbers from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.next() % 100 < chance
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Works,
    Fails { changed: bool },
    Refuses,
    NeverStarts,
    Unhealthy,
    StillThere,
    CannotUndo,
    ForgetsItsJournal,
}

/// An executor with its journal: the truth about one target.
struct Host {
    fate: Fate,
    position: u64,
    journal: BTreeMap<u32, Option<Word>>,
    undos: BTreeMap<u32, Word>,
    running: Option<(u32, u32)>,
    applied: BTreeSet<ItemId>,
    starts: u32,
    acted_at: Option<Timestamp>,
    away: bool,
}

struct World {
    dice: Dice,
    now: Timestamp,
    rollout: Rollout,
    hosts: BTreeMap<AssetId, Host>,
    /// Orders not yet taken, with their positions.
    orders: Vec<(u64, Effect)>,
    position: u64,
    /// Receipts and judgements on their way.
    mail: Vec<Event>,
    /// Verifications asked for.
    checks: Vec<(TaskId, u32)>,
    facts: Vec<AssetId>,
    approved: bool,
    intents: BTreeSet<TaskId>,
    dispatched: BTreeMap<TaskId, u32>,
    suppressed: BTreeSet<ItemId>,
    /// Tasks whose newest taken judgement is good and rests on newer facts.
    proven: BTreeMap<TaskId, u32>,
    chaos: bool,
    telling: bool,
    log: Vec<String>,
}

fn start() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn actor() -> ActorId {
    ActorId::from_entropy([7; 10])
}

pub(super) fn plan(hosts: usize, waves: usize, concurrent: u32, bake_seconds: u32) -> Plan {
    let mut leaves: Vec<Leaf> = (0..hosts)
        .map(|host| {
            let asset = asset_id(AssetKind::Host, &format!("machine-{host}"));
            let mut items: Vec<ItemId> = ["openssl", "bind9"]
                .iter()
                .map(|source| item_id(&asset, &Subject::SourcePackage { source: (*source).to_owned() }))
                .collect();
            items.sort();
            let step = PlannedStep {
                action: "package.upgrade".to_owned(),
                params: json!({}),
                before: Digest::from_bytes([0; 32]),
                changes: Vec::new(),
                reversibility: Reversibility::Restorable,
                undo: String::new(),
                disruption: Disruption::None,
            };
            Leaf { asset, items, steps: vec![step] }
        })
        .collect();
    leaves.sort_by(|a, b| a.asset.cmp(&b.asset));
    let size = hosts.div_ceil(waves);
    let waves = leaves
        .chunks(size)
        .map(|part| Wave { assets: part.iter().map(|leaf| leaf.asset.clone()).collect(), bake_seconds })
        .collect();
    let limits = Limits { concurrent, max_attempts: 2, cooldown_seconds: 600, ..Limits::default() };
    let valid_until = start().checked_add(SignedDuration::from_hours(8)).unwrap();
    let terms = Terms { limits, ..Terms::default() };
    Plan { leaves, waves, terms, rules: BTreeSet::new(), valid_until }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let hosts = 1 + dice.below(5);
        let waves = 1 + dice.below(3);
        let bake = if dice.percent(50) { 0 } else { 300 };
        let plan = plan(hosts, waves, 1 + dice.below(3) as u32, bake);
        let mut attempts = BTreeMap::new();
        if dice.percent(20) {
            let count = 1 + dice.below(2) as u32;
            attempts.insert(plan.leaves[0].items[0].clone(), Attempts { count, last_at: Some(start()) });
        }
        let trouble = dice.percent(60);
        let hosts = plan
            .leaves
            .iter()
            .map(|leaf| {
                let fate = match dice.below(if trouble { 20 } else { 1 }) {
                    12 => Fate::Fails { changed: true },
                    13 => Fate::Fails { changed: false },
                    14 => Fate::Refuses,
                    15 => Fate::NeverStarts,
                    16 => Fate::Unhealthy,
                    17 => Fate::StillThere,
                    18 => Fate::CannotUndo,
                    19 => Fate::ForgetsItsJournal,
                    _ => Fate::Works,
                };
                let host = Host {
                    fate,
                    position: 0,
                    journal: BTreeMap::new(),
                    undos: BTreeMap::new(),
                    running: None,
                    applied: BTreeSet::new(),
                    starts: 0,
                    acted_at: None,
                    away: false,
                };
                (leaf.asset.clone(), host)
            })
            .collect();
        let rollout = Rollout::new(&RemediationId::from_entropy([1; 10]), &plan, attempts).unwrap();
        Self {
            dice,
            now: start(),
            rollout,
            hosts,
            orders: Vec::new(),
            position: 0,
            mail: Vec::new(),
            checks: Vec::new(),
            facts: Vec::new(),
            approved: false,
            intents: BTreeSet::new(),
            dispatched: BTreeMap::new(),
            suppressed: BTreeSet::new(),
            proven: BTreeMap::new(),
            chaos: true,
            telling: false,
            log: Vec::new(),
        }
    }

    fn pass(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }

    /// Takes an event through the machine, commits, and checks.
    fn feed(&mut self, event: Event) -> Result<(), String> {
        let taken = step(&self.rollout, event.clone(), self.now);
        if self.chaos && self.dice.percent(5) {
            // The server dies before the commit: nothing has happened, and the same step gives the same again.
            let again = step(&self.rollout, event.clone(), self.now);
            return if again == taken { Ok(()) } else { Err("a step is not deterministic".to_owned()) };
        }
        let (next, effects) = match taken {
            Ok(step) => step,
            Err(Illegal::Transition { from, to }) => return Err(format!("{from} -> {to} on {event:?}")),
            Err(_) => return Ok(()),
        };
        let told = self
            .telling
            .then(|| format!("{} {} <- {}", self.now.as_second() - 1_800_000_000, next.state, short(&event)));
        self.log.extend(told);
        self.note(&event);
        let before = std::mem::replace(&mut self.rollout, next);
        self.check_effects(&before, &effects)?;
        self.perform(effects);
        self.check_state()?;
        if self.chaos && self.dice.percent(5) {
            // The server restarts from what it stored.
            let stored = serde_json::to_string(&self.rollout).unwrap();
            self.rollout = serde_json::from_str(&stored).unwrap();
        }
        Ok(())
    }

    /// Writes down what is true of an event that was taken.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Approved { plan, .. } => self.approved = *plan == self.rollout.plan,
            Event::Judged { task, judgement, round } => {
                let asset = self.rollout.task(task).unwrap().asset.clone();
                let newer = self.hosts[&asset].acted_at.is_none_or(|acted_at| judgement.facts_at > acted_at);
                match judgement.outcome {
                    CheckOutcome::Successful if newer => {
                        self.proven.insert(task.clone(), *round);
                    }
                    // Of two answers to one question the clear one stands.
                    CheckOutcome::Failed if newer => {
                        self.proven.remove(task);
                    }
                    _ if self.proven.get(task) != Some(round) => {
                        self.proven.remove(task);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn check_effects(&mut self, before: &Rollout, effects: &[Effect]) -> Result<(), String> {
        // The path is told state by state, and each step of it is one that the table of states allows.
        let mut at = before.state;
        for effect in effects {
            if let Effect::Entered { state } = effect {
                if !at.may_become(*state) {
                    return Err(format!("{at} cannot become {state}"));
                }
                at = *state;
            }
        }
        if at != self.rollout.state {
            return Err(format!("the path ends at {at}, the state is {}", self.rollout.state));
        }
        let granted_now: Vec<&TaskId> = effects
            .iter()
            .filter_map(|e| if let Effect::RecordIntent { task, .. } = e { Some(task) } else { None })
            .collect();
        for effect in effects {
            match effect {
                Effect::DispatchApply { task, .. } => {
                    let here = self.rollout.task(task).unwrap();
                    if before.hold.is_some() {
                        return Err("5: dispatched under a hold".to_owned());
                    }
                    if !self.approved {
                        return Err("6: dispatched without an approval of this hash".to_owned());
                    }
                    if !self.intents.contains(task) || granted_now.contains(&task) {
                        return Err("14: dispatched before the intent was durable".to_owned());
                    }
                    let earlier = self.rollout.tasks.iter().filter(|other| other.wave < here.wave);
                    for other in earlier {
                        let set_aside = matches!(other.state, T::Skipped | T::Refused | T::Deferred | T::Cancelled);
                        if !set_aside && !self.proven.contains_key(&other.id) {
                            return Err(format!("10: wave {} began before {} was proven", here.wave, other.asset));
                        }
                    }
                    let sent = self.dispatched.entry(task.clone()).or_default();
                    *sent += 1;
                    if *sent > MAX_SENDS {
                        return Err("12: sent again without end".to_owned());
                    }
                    for item in &here.items {
                        if self.rollout.attempts[item].count > self.rollout.terms.limits.max_attempts {
                            return Err("12: more attempts than allowed".to_owned());
                        }
                    }
                }
                Effect::DispatchUndo { items, .. } if items.is_empty() => {
                    return Err("7: an undo of nothing".to_owned());
                }
                Effect::Suppress { items, .. } => self.suppressed.extend(items.iter().cloned()),
                Effect::Close { items } => {
                    for item in items {
                        let task = self.rollout.tasks.iter().find(|task| task.items.contains(item)).unwrap();
                        if !self.proven.contains_key(&task.id) {
                            return Err("13: closed on facts that are not newer than the act".to_owned());
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_state(&self) -> Result<(), String> {
        let changing = |task: &&super::Task| task.state.holds_lane() && task.state != T::Undoing;
        if self.rollout.tasks.iter().filter(changing).count() > self.rollout.terms.limits.concurrent as usize {
            return Err("1: more at once than the limit".to_owned());
        }
        for task in &self.rollout.tasks {
            let host = &self.hosts[&task.asset];
            if host.starts > 1 {
                return Err("3: started twice".to_owned());
            }
            let unbegun = matches!(task.state, T::Pending | T::NotStarted | T::Cancelled | T::Skipped | T::Deferred);
            if unbegun && host.starts > 0 {
                return Err(format!("4: {} is {} although it was begun", task.asset, task.state.name()));
            }
            if task.undone.iter().any(|item| !self.suppressed.contains(item)) {
                return Err("12: taken back and not suppressed".to_owned());
            }
        }
        if !self.rollout.state.is_over() && self.rollout.blocked(self.now).is_empty() {
            let (next, effects) = step(&self.rollout, Event::Tick, self.now).map_err(|error| error.to_string())?;
            if next == self.rollout && effects.is_empty() {
                return Err(format!("16: {} waits and nobody can see why", self.rollout.state));
            }
        }
        Ok(())
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::RecordIntent { task, .. } => {
                    self.intents.insert(task);
                }
                Effect::Verify { task, round } => self.checks.push((task, round)),
                Effect::RequestFacts { asset } => self.facts.push(asset),
                Effect::DispatchApply { .. } | Effect::DispatchUndo { .. } | Effect::Reconcile { .. } => {
                    self.position += 1;
                    self.orders.push((self.position, effect));
                }
                _ => {}
            }
        }
    }

    /// An executor takes an order; positions only rise.
    fn deliver(&mut self, at: usize) {
        let (position, effect) = self.orders.remove(at);
        let id = match &effect {
            Effect::DispatchApply { task, .. } | Effect::DispatchUndo { task, .. } | Effect::Reconcile { task, .. } => {
                task
            }
            _ => return,
        };
        let task = self.rollout.task(id).unwrap().clone();
        let local_hold = self.chaos && self.dice.percent(5);
        let now = self.now;
        let host = self.hosts.get_mut(&task.asset).unwrap();
        if position <= host.position {
            return;
        }
        host.position = position;
        let answer = match effect {
            Effect::DispatchApply { order, attempt, .. } => {
                let word = match host.journal.get(&attempt) {
                    // The rest of what was begun once.
                    Some(Some(Word::Partly { .. })) if local_hold => Some(Word::NotStarted),
                    Some(Some(Word::Partly { .. })) => {
                        host.journal.insert(attempt, None);
                        host.running = Some((attempt, order));
                        Some(Word::Accepted)
                    }
                    Some(Some(over)) => Some(over.clone()),
                    Some(None) => {
                        host.running = Some((attempt, order));
                        None
                    }
                    None if host.fate == Fate::Refuses => {
                        Some(Word::Refused { message: "not here".to_owned(), moved: false })
                    }
                    None if host.fate == Fate::NeverStarts || local_hold => Some(Word::NotStarted),
                    None => {
                        host.journal.insert(attempt, None);
                        host.running = Some((attempt, order));
                        host.starts += 1;
                        Some(Word::Accepted)
                    }
                };
                word.map(|word| (order, word))
            }
            Effect::Reconcile { order, .. } => Some((
                order,
                match host.journal.get(&task.attempt) {
                    _ if host.fate == Fate::ForgetsItsJournal => Word::Lost,
                    Some(Some(over)) => over.clone(),
                    Some(None) => Word::Running,
                    None => Word::NotStarted,
                },
            )),
            Effect::DispatchUndo { order, undo_attempt, items, .. } => {
                let word = host.undos.entry(undo_attempt).or_insert_with(|| {
                    if host.fate == Fate::CannotUndo {
                        return Word::UndoFailed { message: "the old version is gone".to_owned() };
                    }
                    for item in &items {
                        host.applied.remove(item);
                    }
                    host.acted_at = Some(now);
                    Word::Undone { ended_at: now }
                });
                Some((order, word.clone()))
            }
            _ => None,
        };
        if let Some((order, word)) = answer {
            self.mail.push(Event::Receipt { task: task.id, order, word });
        }
    }

    /// What runs comes to its end, or breaks off.
    fn run(&mut self, asset: &AssetId) {
        let broken = self.chaos && self.dice.percent(6);
        let held = self.chaos && self.dice.percent(8);
        let now = self.now;
        let task = self.rollout.tasks.iter().find(|task| task.asset == *asset).unwrap();
        let host = self.hosts.get_mut(asset).unwrap();
        let Some((attempt, order)) = host.running.take() else { return };
        host.acted_at = Some(now);
        let word = match host.fate {
            _ if broken => {
                host.applied.extend(task.items.first().cloned());
                Word::Interrupted { message: "killed".to_owned(), ended_at: now }
            }
            _ if held => {
                host.applied.extend(task.items.first().cloned());
                Word::Partly { ended_at: now }
            }
            Fate::Fails { changed } => {
                if changed {
                    host.applied.extend(task.items.first().cloned());
                }
                Word::Failed { changed, message: "exit 100".to_owned(), ended_at: now }
            }
            _ => {
                host.applied.extend(task.items.iter().cloned());
                Word::Succeeded { changed: true, ended_at: now }
            }
        };
        host.journal.insert(attempt, Some(word.clone()));
        self.mail.push(Event::Receipt { task: task.id.clone(), order, word });
    }

    fn look(&mut self, at: usize) {
        let (id, round) = self.checks.remove(at);
        let (mute, old) = (self.chaos && self.dice.percent(15), self.chaos && self.dice.percent(20));
        let task = self.rollout.task(&id).unwrap();
        let host = &self.hosts[&task.asset];
        let gone = task.items.iter().all(|item| host.applied.contains(item) || task.undone.contains(item));
        let (outcome, failure) = match host.fate {
            _ if mute => (CheckOutcome::Inconclusive, None),
            Fate::Unhealthy => (CheckOutcome::Failed, Some(Failure::Health)),
            Fate::StillThere => (CheckOutcome::Failed, Some(Failure::StillThere)),
            _ if !gone && !old => (CheckOutcome::Failed, Some(Failure::StillThere)),
            _ => (CheckOutcome::Successful, None),
        };
        let facts_at = match host.acted_at {
            Some(acted_at) if old => acted_at,
            _ => self.now,
        };
        let judgement = Box::new(Judgement {
            outcome,
            failure,
            checks: Vec::new(),
            items: task.items.iter().map(|item| (item.clone(), ItemVerdict::Fixed)).collect(),
            facts_at,
            may_call_clean: true,
        });
        self.mail.push(Event::Judged { task: id, round, judgement });
    }

    fn trouble(&mut self) -> Result<(), String> {
        let tasks = self.rollout.tasks.clone();
        let task = tasks[self.dice.below(tasks.len())].clone();
        match self.dice.below(14) {
            0..=3 => self.feed(Event::Tick),
            4 | 5 if !self.orders.is_empty() => {
                let at = self.dice.below(self.orders.len());
                if self.dice.percent(15) {
                    self.orders.remove(at);
                } else {
                    self.deliver(at);
                }
                Ok(())
            }
            6 => {
                self.run(&task.asset);
                Ok(())
            }
            7..=9 if !self.mail.is_empty() => {
                let at = self.dice.below(self.mail.len());
                let event = self.mail[at].clone();
                // Mail comes once, twice or never.
                if !self.dice.percent(20) {
                    self.mail.remove(at);
                }
                if self.dice.percent(15) { Ok(()) } else { self.feed(event) }
            }
            10 if !self.checks.is_empty() => {
                let at = self.dice.below(self.checks.len());
                self.look(at);
                Ok(())
            }
            11 => match self.dice.below(4) {
                0 => {
                    let reason = "somebody is worried".to_owned();
                    let level = if self.dice.percent(50) { HoldLevel::StopNew } else { HoldLevel::StopAll };
                    let hold = self.dice.percent(50).then_some(Hold { level, reason });
                    self.feed(Event::HoldChanged { hold })
                }
                1 => {
                    let host = self.hosts.get_mut(&task.asset).unwrap();
                    host.away = !host.away;
                    let reachable = !host.away;
                    self.feed(Event::Reach { asset: task.asset, reachable })
                }
                _ => self.feed(Event::LeaseExpired { task: task.id }),
            },
            12 if self.dice.percent(6) => {
                let mut items = task.items;
                items.truncate(1 + self.dice.below(2));
                self.feed(Event::UndoAsked { items, by: actor() })
            }
            12 if self.dice.percent(3) => self.feed(Event::Cancelled { by: actor() }),
            12 if self.dice.percent(50) => {
                let plan = if self.dice.percent(70) { self.rollout.plan } else { Digest::from_bytes([9; 32]) };
                self.feed(Event::Approved { plan, by: actor(), until: None })
            }
            _ => {
                let seconds = self.dice.below(60) as i64;
                self.pass(seconds);
                let asset = if self.facts.is_empty() { task.asset } else { self.facts.remove(0) };
                self.feed(Event::Facts { asset, collected_at: self.now })
            }
        }
    }

    /// Nothing gets lost any more: everything must come to an end.
    fn calm(&mut self) -> Result<(), String> {
        self.chaos = false;
        self.feed(Event::HoldChanged { hold: None })?;
        for asset in self.hosts.keys().cloned().collect::<Vec<_>>() {
            self.feed(Event::Reach { asset, reachable: true })?;
        }
        for _ in 0..400 {
            if self.ended() {
                return Ok(());
            }
            let before = self.rollout.clone();
            for _ in 0..4 {
                self.feed(Event::Tick)?;
            }
            while !self.orders.is_empty() {
                self.deliver(0);
            }
            for asset in self.hosts.keys().cloned().collect::<Vec<_>>() {
                self.run(&asset);
            }
            self.pass(45);
            while !self.checks.is_empty() {
                self.look(0);
            }
            for event in std::mem::take(&mut self.mail) {
                self.feed(event)?;
            }
            for asset in std::mem::take(&mut self.facts) {
                self.feed(Event::Facts { asset, collected_at: self.now })?;
            }
            if self.rollout == before {
                for task in self.rollout.tasks.clone() {
                    self.feed(Event::LeaseExpired { task: task.id })?;
                }
            }
        }
        Err(format!("16: stuck at {}: {:?}", self.rollout.state, self.rollout.blocked(self.now)))
    }

    fn ended(&self) -> bool {
        let state = self.rollout.state;
        let waiting = matches!(state, S::Planned | S::AwaitingApproval | S::NeedsOperator | S::PartiallyRemediated);
        state.is_over() || waiting
    }

    /// What the end says must be true of the targets.
    fn check_end(&self) -> Result<(), String> {
        for task in &self.rollout.tasks {
            let host = &self.hosts[&task.asset];
            let applied = !host.applied.is_empty();
            let untouched = matches!(
                self.rollout.state,
                S::RolledBack | S::Cancelled | S::Expired | S::Rejected | S::Dismissed | S::Planned
            );
            if untouched && applied {
                return Err(format!("15: {} and {} is changed", self.rollout.state, task.asset));
            }
            if self.rollout.state == S::Closed && task.items.iter().any(|item| !host.applied.contains(item)) {
                return Err(format!("13: closed and {} is not changed", task.asset));
            }
            if task.state == T::Undone && applied {
                return Err(format!("15: {} is undone and still changed", task.asset));
            }
            if host.running.is_some() && !task.state.holds_lane() && task.state != T::Lost {
                return Err(format!("4: {} still runs", task.asset));
            }
        }
        Ok(())
    }
}

fn short(event: &Event) -> String {
    let text = serde_json::to_value(event).unwrap();
    let of = |name: &str| text.get(name).map(ToString::to_string).unwrap_or_default();
    let outcome = text.pointer("/judgement/outcome").map(ToString::to_string).unwrap_or_default();
    format!("{} {} {} {}{outcome}", text["event"], of("task"), of("round"), of("word"))
}

fn simulate(seed: u64) -> Result<S, String> {
    play(seed, false)
}

fn play(seed: u64, telling: bool) -> Result<S, String> {
    let mut world = World::new(seed);
    world.telling = telling;
    let steps = 40 + world.dice.below(160);
    let run = |world: &mut World| {
        world.feed(Event::Submitted)?;
        for _ in 0..steps {
            world.trouble()?;
        }
        world.calm()?;
        world.check_end()
    };
    match run(&mut world) {
        Ok(()) => Ok(world.rollout.state),
        Err(error) => Err(format!("seed {seed}: {error}\n{}", world.log.join("\n"))),
    }
}

fn runs() -> u64 {
    std::env::var("STANCH_SIM_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(600)
}

#[test]
fn the_invariants_hold_under_loss_crashes_and_holds() {
    let mut ends: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 0..runs() {
        match simulate(seed) {
            Ok(end) => *ends.entry(end.name()).or_default() += 1,
            // The same seed again, this time with its story.
            Err(_) => panic!("{}", play(seed, true).unwrap_err()),
        }
    }
    // A simulator that never gets anywhere proves nothing.
    for end in ["closed", "rolled_back", "partially_remediated", "needs_operator", "planned"] {
        let least = if end == "planned" { 0 } else { 1 };
        assert!(ends.get(end).copied().unwrap_or(0) >= least, "{end} was never reached: {ends:?}");
    }
}

/// The defect must be caught by the invariant that it breaks.
fn caught(defect: Defect, invariant: &str) {
    let tag = format!(": {invariant}: ");
    let first = |error: String| error.lines().next().unwrap_or_default().to_owned();
    let mut other = BTreeSet::new();
    let found = with(Some(defect), || {
        (0..4_000).filter_map(|seed| simulate(seed).err().map(first)).any(|error| {
            let fits = error.contains(&tag);
            other.insert(error.split(": ").nth(1).unwrap_or_default().to_owned());
            fits
        })
    });
    assert!(found, "{defect:?} was not caught by invariant {invariant}, only by {other:?}");
}

#[test]
fn a_planted_defect_is_caught_by_the_invariant_it_breaks() {
    caught(Defect::IgnoreLimit, "1");
    caught(Defect::ResendUnknown, "3");
    caught(Defect::TakeStaleReceipts, "4");
    caught(Defect::IgnoreHold, "5");
    caught(Defect::AcceptAnyHash, "6");
    caught(Defect::PromoteInconclusive, "10");
    caught(Defect::EndlessResend, "12");
    caught(Defect::TakeOldFacts, "13");
    caught(Defect::ForgetUndo, "15");
    caught(Defect::HideReasons, "16");
}
