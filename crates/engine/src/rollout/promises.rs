//! What staging promises, played from seeds: windows, other environments, health, groups, one failure budget, pins,
//! approvals that run out, budgets that others share. Each promise is shown to be worth something by a planted defect.
//!
//! Nothing gets lost here; loss, doubling and crashes are the simulator's matter.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use stanch_model::asset::{AssetKind, asset_id};
use stanch_model::calendar::Interval;
use stanch_model::canonical::Digest;
use stanch_model::id::{ActorId, AssetId, RemediationId, TaskId};
use stanch_model::item::{Subject, item_id};
use stanch_model::order::CheckOutcome;
use stanch_model::plan::{Disruption, Leaf, Limits, Plan, PlannedStep, Reversibility, RuleRef, Wave};
use stanch_model::remediation::{RemediationState as S, TaskState as T};
use stanch_model::terms::{CatchUp, ChangeClass, ChangeTerm, HaltIf, PromoteFrom, Terms, WindowTerm};

use super::{
    BadPatch, ChangeWord, Effect, Environment, Event, Group, Halt, Openings, Rollout, Settled, Share, Surroundings,
    Word, hour, step,
};
use crate::blocked::Blocked;
use crate::breaker::{self, Admission};
use crate::defect::{Defect, with};
use crate::hold::Brought;
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
    Fails,
    Unhealthy,
    StillThere,
    Moved,
}

struct World {
    dice: Dice,
    now: Timestamp,
    plan: Plan,
    rollout: Rollout,
    fates: BTreeMap<AssetId, Fate>,
    /// Orders to executors and checks that were asked for.
    work: Vec<Effect>,
    /// Shares by scope and span, with their holders; a share that is used up has none.
    taken: BTreeMap<(String, String), Vec<Option<TaskId>>>,
    /// What somebody else holds of what is shared.
    others: BTreeMap<String, u32>,
    approved_until: Option<Timestamp>,
    begun: BTreeSet<TaskId>,
    bad: BTreeMap<TaskId, u32>,
    changed: BTreeSet<AssetId>,
    /// Targets that have missed a window because they were away, and when the first of those shut.
    missed: BTreeMap<AssetId, Timestamp>,
    /// Since when targets are connected.
    here: BTreeMap<AssetId, Timestamp>,
}

fn start() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn later(at: Timestamp, seconds: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(seconds)).unwrap()
}

fn leaf(number: usize, version: &str) -> Leaf {
    let asset = asset_id(AssetKind::Host, &format!("machine-{number}"));
    let items = vec![item_id(&asset, &Subject::SourcePackage { source: "openssl".to_owned() })];
    let step = PlannedStep {
        action: "package.upgrade".to_owned(),
        params: json!({"packages": [{"name": "openssl", "arch": "amd64", "to": version}]}),
        before: Digest::from_bytes([0; 32]),
        changes: Vec::new(),
        reversibility: Reversibility::Restorable,
        undo: String::new(),
        disruption: Disruption::Restart,
    };
    Leaf { asset, items, steps: vec![step] }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let hosts = 2 + dice.below(7);
        let mut leaves: Vec<Leaf> =
            (0..hosts).map(|number| leaf(number, if dice.percent(15) { "2" } else { "1" })).collect();
        leaves.sort_by(|a, b| a.asset.cmp(&b.asset));
        let size = 1 + dice.below(hosts);
        let waves = leaves
            .chunks(size)
            .map(|part| Wave { assets: part.iter().map(|leaf| leaf.asset.clone()).collect(), bake_seconds: 60 });
        let failed = 1 + dice.below(3) as u32;
        let mut terms = Terms {
            limits: Limits {
                concurrent: 1 + dice.below(4) as u32,
                per_hour: 1 + dice.below(5) as u32,
                disrupted_percent: 20,
                ..Limits::default()
            },
            halt_if: HaltIf {
                failed,
                failed_percent: if dice.percent(50) { 100 } else { 30 },
                failed_in_first_wave: failed.min(2),
                inconclusive_seconds: 600,
            },
            ..Terms::default()
        };
        if dice.percent(50) {
            terms.windows.insert(WindowTerm { calendar: "nights".to_owned(), must_finish_inside: true });
            let run_within_seconds = if dice.percent(60) { 600 } else { 0 };
            terms.catch_up = Some(CatchUp { run_within_seconds, tell_after: 2 });
        }
        if dice.percent(30) {
            terms.promote_from.insert(PromoteFrom { environment: "staging".to_owned(), verified_seconds: 300 });
        }
        if dice.percent(30) {
            terms.min_age_seconds = 400;
        }
        if dice.percent(30) {
            terms.outages.insert("pair".to_owned());
        }
        if dice.percent(30) {
            let class = if dice.percent(50) { ChangeClass::Normal } else { ChangeClass::Standard };
            terms.changes.insert(ChangeTerm { connection: "desk".to_owned(), class });
        }
        let rules = BTreeSet::from([RuleRef { rule: "night/auto".to_owned(), digest: Digest::from_bytes([5; 32]) }]);
        let plan = Plan { waves: waves.collect(), leaves, terms, rules, valid_until: later(start(), 8 * 3600) };
        let fates = plan.leaves.iter().map(|leaf| {
            let fate = match dice.below(12) {
                8 => Fate::Fails,
                9 => Fate::Unhealthy,
                10 => Fate::StillThere,
                11 => Fate::Moved,
                _ => Fate::Works,
            };
            (leaf.asset.clone(), fate)
        });
        let fates = fates.collect();
        let here = plan.leaves.iter().map(|leaf| (leaf.asset.clone(), start())).collect();
        let rollout = Rollout::new(&RemediationId::from_entropy([1; 10]), &plan, BTreeMap::new()).unwrap();
        Self {
            dice,
            now: start(),
            plan,
            rollout,
            fates,
            work: Vec::new(),
            taken: BTreeMap::new(),
            others: BTreeMap::new(),
            approved_until: None,
            begun: BTreeSet::new(),
            bad: BTreeMap::new(),
            changed: BTreeSet::new(),
            missed: BTreeMap::new(),
            here,
        }
    }

    fn feed(&mut self, event: Event) -> Result<(), String> {
        match &event {
            Event::Reach { asset, reachable: true } => drop(self.here.entry(asset.clone()).or_insert(self.now)),
            Event::Reach { asset, reachable: false } => drop(self.here.remove(asset)),
            _ => {}
        }
        let Ok((next, effects)) = step(&self.rollout, event, self.now) else { return Ok(()) };
        // The store has the last word on shares: nothing is committed that it has no room for.
        let mut asked: BTreeMap<(&str, &str), u32> = BTreeMap::new();
        for effect in &effects {
            let Effect::Reserve { task, shares, undo } = effect else { continue };
            for share in shares {
                let here = asked.entry((&share.scope, &share.span)).or_default();
                *here += share.amount;
                if *undo || self.taken_of(share) + *here <= share.limit {
                    continue;
                }
                let blocked = Blocked::Budget { scope: share.scope.clone(), limit: share.limit };
                let event = Event::NoRoom { task: task.clone(), blocked };
                let (next, effects) = step(&self.rollout, event, self.now).unwrap();
                if effects.iter().any(|effect| matches!(effect, Effect::Reserve { .. })) {
                    return Err("1: a step without room reserves all the same".to_owned());
                }
                self.rollout = next;
                return self.check_state();
            }
        }
        let before = std::mem::replace(&mut self.rollout, next);
        for effect in effects {
            self.perform(&before, effect)?;
        }
        self.check_state()
    }

    fn taken_of(&self, share: &Share) -> u32 {
        let mine = self.taken.get(&(share.scope.clone(), share.span.clone())).map_or(0, Vec::len);
        mine as u32 + self.others.get(&share.scope).copied().unwrap_or(0)
    }

    fn perform(&mut self, before: &Rollout, effect: Effect) -> Result<(), String> {
        match effect {
            Effect::Reserve { task, shares, .. } => {
                for share in shares {
                    self.taken.entry((share.scope, share.span)).or_default().push(Some(task.clone()));
                }
            }
            Effect::Release { task, shares } => {
                for Settled { scope, span, used } in shares {
                    let holders = self.taken.entry((scope, span)).or_default();
                    let at = holders.iter().position(|holder| holder.as_ref() == Some(&task));
                    match at {
                        Some(at) if used => holders[at] = None,
                        Some(at) => drop(holders.remove(at)),
                        None => return Err("1: a share is given back that nobody has".to_owned()),
                    }
                }
            }
            Effect::DispatchApply { task, order, .. } => {
                self.check_start(before, &task)?;
                self.begun.insert(task.clone());
                self.work.push(Effect::DispatchApply { task, order, attempt: 1, rest: false });
            }
            Effect::DispatchUndo { .. } | Effect::Verify { .. } => self.work.push(effect),
            Effect::Missed { task, missed, .. } => {
                let task = before.task(&task).unwrap();
                if task.sends > 0 || (missed.by_absence() && Some(missed.window) != before.window) {
                    return Err("16: a window is missed that it was not in, or by what has begun".to_owned());
                }
                if missed.by_absence() {
                    if self.here.get(&task.asset).is_some_and(|since| *since <= missed.window.start) {
                        return Err("2: a window is missed by what was there".to_owned());
                    }
                    self.missed.entry(task.asset.clone()).or_insert(missed.window.end);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether a target that missed a window may start outside of one.
    fn catches_up(&self, around: &Surroundings, asset: &AssetId) -> bool {
        let within = i64::from(self.plan.terms.catch_up.unwrap().run_within_seconds);
        let away = !self.here.contains_key(asset);
        let unfrozen = around.unfrozen.as_ref().is_some_and(|openings| openings.is_open(self.now));
        unfrozen && !away && self.missed.get(asset).is_some_and(|shut| self.now < later(*shut, within))
    }

    fn check_start(&self, before: &Rollout, id: &TaskId) -> Result<(), String> {
        let task = self.rollout.task(id).unwrap();
        let around = &before.surroundings;
        let terms = &self.plan.terms;
        if !around.taken_back(task).is_empty() {
            return Err("12: it starts what was taken back since".to_owned());
        }
        let open = around.openings.as_ref().is_some_and(|openings| openings.is_open(self.now));
        if !terms.windows.is_empty() && !open && !self.catches_up(around, &task.asset) {
            return Err("2: it starts outside its window".to_owned());
        }
        let offered = around.offered.get(&task.asset);
        if terms.min_age_seconds > 0 && offered.is_none_or(|at| later(*at, i64::from(terms.min_age_seconds)) > self.now)
        {
            return Err("2: it brings what is too young".to_owned());
        }
        for from in &terms.promote_from {
            let since = around.held_elsewhere.get(&from.environment);
            if since.is_none_or(|since| later(*since, i64::from(from.verified_seconds)) > self.now) {
                return Err("2: it starts before it held elsewhere".to_owned());
            }
        }
        for term in &terms.changes {
            let word = around.changes.get(&term.connection);
            let fits = match term.class {
                ChangeClass::Normal => word == Some(&ChangeWord::Approved),
                _ => matches!(word, Some(ChangeWord::Open | ChangeWord::Approved)),
            };
            if !fits {
                return Err("6: it starts without its change request".to_owned());
            }
        }
        let place = &around.environments[""];
        let ill = place.failing.iter().filter(|asset| **asset != task.asset).count() as u32;
        if ill > (place.assets / 5).max(2) {
            return Err("11: it starts while too many are ill".to_owned());
        }
        for group in around.groups.values().filter(|group| group.members.contains(&task.asset)) {
            let away: BTreeSet<&AssetId> =
                self.rollout.tasks.iter().filter(|task| task.state.holds_lane()).map(|task| &task.asset).collect();
            let healthy = group.members.iter().filter(|m| !group.broken.contains(*m) && !away.contains(m)).count();
            // A stated outage takes one of a group that is whole.
            let stated = !self.plan.terms.outages.is_empty() && group.broken.is_empty() && group.can_never_spare();
            let least =
                if stated { (group.members.len() as u32).min(group.min_healthy) - 1 } else { group.min_healthy };
            if !group.broken.contains(&task.asset) && (healthy as u32) < least {
                return Err("11: the group falls below its healthy members".to_owned());
            }
        }
        let version = &task.versions["openssl:amd64"].version;
        let proven: BTreeSet<&String> =
            self.rollout.proven.get("openssl:amd64").into_iter().flatten().map(|pin| &pin.version).collect();
        if task.wave > 0 && !proven.is_empty() && !proven.contains(version) {
            return Err("15: a later wave brings what nobody proved".to_owned());
        }
        if self.begun.is_empty() && self.approved_until.is_some_and(|until| self.now > until) {
            return Err("6: it starts under an approval that ran out".to_owned());
        }
        let this_hour = task.shares.iter().any(|share| share.span == hour(self.now));
        if !this_hour
            && !self.taken.iter().any(|((_, span), who)| *span == hour(self.now) && who.contains(&Some(id.clone())))
        {
            return Err("1: it starts without a share of this hour".to_owned());
        }
        let failed = self.bad.len() as u32;
        let first = self.bad.values().filter(|wave| **wave == 0).count() as u32;
        let limit = &terms.halt_if;
        let share = failed > 0 && failed * 100 >= u32::from(limit.failed_percent) * self.begun.len() as u32;
        if failed >= limit.failed || first >= limit.failed_in_first_wave || share {
            return Err("10: it starts although too many failed".to_owned());
        }
        Ok(())
    }

    fn check_state(&self) -> Result<(), String> {
        for task in &self.rollout.tasks {
            let held = self.taken.values().flatten().filter(|holder| holder.as_ref() == Some(&task.id)).count();
            if held != task.shares.len() || (task.state.holds_lane() != (held > 0)) {
                return Err(format!("1: {} has {held} shares while it is {}", task.asset, task.state.name()));
            }
        }
        let running = self.rollout.tasks.iter().filter(|t| t.state.holds_lane() && t.state != T::Undoing).count();
        if running as u32 > self.plan.terms.limits.concurrent {
            return Err("1: more at once than the limit".to_owned());
        }
        for ((scope, _), holders) in &self.taken {
            if scope.ends_with("/started") && holders.len() as u32 > self.plan.terms.limits.per_hour {
                return Err("1: more started in an hour than may".to_owned());
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

    /// An executor or a detector does its part.
    fn work(&mut self, at: usize) -> Result<(), String> {
        let now = self.now;
        let event = match self.work.remove(at) {
            Effect::DispatchApply { task: id, order, .. } => {
                let task = self.rollout.task(&id).unwrap().clone();
                let word = match self.fates[&task.asset] {
                    Fate::Fails => Word::Failed { changed: true, message: "exit 100".to_owned(), ended_at: now },
                    Fate::Moved => Word::Refused { message: "openssl is 3".to_owned(), moved: true },
                    _ => Word::Succeeded { changed: true, ended_at: now },
                };
                match &word {
                    Word::Refused { .. } => {}
                    Word::Failed { .. } => {
                        self.changed.insert(task.asset.clone());
                        self.bad.insert(id.clone(), task.wave);
                    }
                    _ => {
                        self.changed.insert(task.asset.clone());
                    }
                }
                Event::Receipt { task: id, order, word }
            }
            Effect::DispatchUndo { task: id, order, .. } => {
                let asset = self.rollout.task(&id).unwrap().asset.clone();
                self.changed.remove(&asset);
                Event::Receipt { task: id, order, word: Word::Undone { ended_at: now } }
            }
            Effect::Verify { task: id, round } => {
                let task = self.rollout.task(&id).unwrap().clone();
                let (outcome, failure) = match self.fates[&task.asset] {
                    Fate::Unhealthy => (CheckOutcome::Failed, Some(Failure::Health)),
                    Fate::StillThere => (CheckOutcome::Failed, Some(Failure::StillThere)),
                    _ => (CheckOutcome::Successful, None),
                };
                if outcome == CheckOutcome::Failed && round == task.round {
                    self.bad.insert(id.clone(), task.wave);
                }
                let judgement = Box::new(Judgement {
                    outcome,
                    failure,
                    checks: Vec::new(),
                    items: task.items.iter().map(|item| (item.clone(), ItemVerdict::Fixed)).collect(),
                    facts_at: now,
                    may_call_clean: true,
                });
                Event::Judged { task: id, round, judgement }
            }
            _ => return Ok(()),
        };
        self.feed(event)
    }

    fn around(&mut self, calm: bool) -> Surroundings {
        let hosts: BTreeSet<AssetId> = self.plan.leaves.iter().map(|leaf| leaf.asset.clone()).collect();
        let ill = if calm { 0 } else { self.dice.below(7) };
        let failing = (0..ill).map(|n| asset_id(AssetKind::Host, &format!("ill-{n}"))).collect();
        let broken = if calm { 0 } else { self.dice.below(2) };
        let group = Group {
            broken: hosts.iter().take(broken).cloned().collect(),
            // Now and then it can spare nobody.
            min_healthy: hosts.len() as u32 - self.dice.below(3).min(hosts.len()) as u32,
            members: hosts,
        };
        let open = calm || self.dice.percent(60);
        let span = Interval::new(self.now, later(self.now, 1 + self.dice.below(900) as i64));
        let openings = Openings {
            spans: if open {
                vec![if calm { Interval::new(self.now, later(self.now, 36_000)) } else { span }]
            } else {
                Vec::new()
            },
            known_until: later(self.now, 40_000),
            why: None,
        };
        let unfrozen = self.dice.percent(70).then(|| Openings {
            spans: vec![Interval::new(self.now, later(self.now, 300))],
            known_until: later(self.now, 40_000),
            why: None,
        });
        let mut around = Surroundings { openings: Some(openings), unfrozen, ..Surroundings::default() };
        let known = self.plan.leaves.iter().filter(|_| calm || self.dice.percent(80));
        around.offered = known.map(|leaf| (leaf.asset.clone(), start())).collect();
        around.environments.insert(String::new(), Environment { assets: 20, failing });
        if self.dice.percent(50) {
            around.groups.insert("pair".to_owned(), group);
        }
        if calm || self.dice.percent(60) {
            around.held_elsewhere.insert("staging".to_owned(), start());
        }
        let word = match self.dice.below(8) {
            _ if calm => Some(ChangeWord::Approved),
            0 => Some(ChangeWord::Rejected),
            1 | 2 => Some(ChangeWord::Open),
            3 => None,
            _ => Some(ChangeWord::Approved),
        };
        around.changes.extend(word.map(|word| ("desk".to_owned(), word)));
        if !calm && self.dice.percent(4) {
            let leaf = &self.plan.leaves[self.dice.below(self.plan.leaves.len())];
            around.taken_back.insert(leaf.asset.clone(), leaf.items.iter().cloned().collect());
        }
        if !calm && self.dice.percent(30) {
            let scope = breaker::scope("night", "package.upgrade");
            around.breakers.insert(scope, Admission::Shut { until: later(self.now, 60) });
        }
        around
    }

    fn trouble(&mut self) -> Result<(), String> {
        match self.dice.below(12) {
            0..=4 => self.feed(Event::Tick),
            5..=7 if !self.work.is_empty() => {
                let at = self.dice.below(self.work.len());
                self.work(at)
            }
            8 => {
                let surroundings = Box::new(self.around(false));
                self.feed(Event::SurroundingsChanged { surroundings })
            }
            9 => {
                let amount = self.dice.below(3) as u32;
                self.others.insert("policy/night/concurrent".to_owned(), amount);
                Ok(())
            }
            10 if self.dice.percent(40) => {
                let asset = self.plan.leaves[self.dice.below(self.plan.leaves.len())].asset.clone();
                let reachable = self.dice.percent(50);
                self.feed(Event::Reach { asset, reachable })
            }
            _ => {
                self.now = later(self.now, self.dice.below(400) as i64);
                self.feed(Event::Tick)
            }
        }
    }

    fn calm(&mut self) -> Result<(), String> {
        self.others.clear();
        for asset in self.fates.keys().cloned().collect::<Vec<_>>() {
            self.feed(Event::Reach { asset, reachable: true })?;
        }
        for _ in 0..600 {
            if self.ended() {
                return Ok(());
            }
            let surroundings = Box::new(self.around(true));
            self.feed(Event::SurroundingsChanged { surroundings })?;
            while !self.work.is_empty() {
                self.work(0)?;
            }
            for asset in self.fates.keys().cloned().collect::<Vec<_>>() {
                self.feed(Event::Facts { asset, collected_at: later(self.now, 1) })?;
            }
            self.now = later(self.now, 61);
            for _ in 0..4 {
                self.feed(Event::Tick)?;
            }
        }
        Err(format!("16: stuck at {}: {:?}", self.rollout.state, self.rollout.blocked(self.now)))
    }

    fn ended(&self) -> bool {
        let state = self.rollout.state;
        state.is_over() || matches!(state, S::NeedsOperator | S::PartiallyRemediated)
    }

    fn check_end(&self) -> Result<(), String> {
        for task in &self.rollout.tasks {
            let failing = matches!(self.fates[&task.asset], Fate::Fails | Fate::Unhealthy);
            if failing && self.changed.contains(&task.asset) && self.rollout.state != S::NeedsOperator {
                return Err(format!("15: {} is bad and was not taken back", task.asset));
            }
            if task.replan.is_some() && self.changed.contains(&task.asset) {
                return Err("6: what has to be planned again was changed".to_owned());
            }
        }
        let held = self.taken.values().flatten().filter(|holder| holder.is_some()).count();
        if held > 0 { Err("1: shares are held when all is over".to_owned()) } else { Ok(()) }
    }
}

fn play(seed: u64) -> Result<S, String> {
    let mut world = World::new(seed);
    let run = |world: &mut World| {
        let surroundings = Box::new(world.around(false));
        world.feed(Event::SurroundingsChanged { surroundings })?;
        let plan = world.rollout.plan;
        let until = world.dice.percent(40).then(|| later(start(), 200));
        world.approved_until = until;
        world.feed(Event::Approved { plan, by: ActorId::from_entropy([7; 10]), until })?;
        for _ in 0..60 + world.dice.below(120) {
            world.trouble()?;
        }
        world.calm()?;
        world.check_end()
    };
    match run(&mut world) {
        Ok(()) => Ok(world.rollout.state),
        Err(error) => Err(format!("seed {seed}: {error}")),
    }
}

#[test]
fn what_staging_promises_holds_whatever_surrounds_it() {
    let mut ends: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 0..400 {
        match play(seed) {
            Ok(end) => *ends.entry(end.name()).or_default() += 1,
            Err(error) => panic!("{error}"),
        }
    }
    for end in ["closed", "partially_remediated", "needs_operator", "rolled_back", "expired"] {
        assert!(ends.contains_key(end), "{end} was never reached: {ends:?}");
    }
}

/// The defect must be caught by the promise that it breaks.
fn caught(defect: Defect, promise: &str) {
    let found = with(Some(defect), || {
        (0..3_000).filter_map(|seed| play(seed).err()).find(|error| error.contains(&format!(": {promise}")))
    });
    assert!(found.is_some(), "{defect:?} was not caught by {promise}");
}

#[test]
fn a_planted_defect_is_caught_by_the_promise_it_breaks() {
    caught(Defect::IgnoreSuppression, "12: it starts what was taken back since");
    caught(Defect::IgnoreWindow, "2: it starts outside its window");
    caught(Defect::IgnoreReturn, "2: it starts outside its window");
    caught(Defect::MissWhileHere, "2: a window is missed by what was there");
    caught(Defect::IgnoreAge, "2: it brings what is too young");
    caught(Defect::IgnoreChange, "6: it starts without its change request");
    caught(Defect::IgnorePromotion, "2: it starts before it held elsewhere");
    caught(Defect::IgnoreHealth, "11: it starts while too many are ill");
    caught(Defect::IgnoreHealth, "11: the group");
    caught(Defect::IgnoreFailures, "10: it starts although too many failed");
    caught(Defect::ForgetAside, "15: ");
    caught(Defect::IgnorePins, "15: a later wave brings");
    caught(Defect::IgnoreExpiry, "6: it starts under an approval");
    caught(Defect::IgnoreHour, "1: it starts without a share of this hour");
    caught(Defect::KeepShares, "1: ");
}

#[test]
fn a_version_is_blocked_everywhere_only_after_several_targets_of_a_ring_failed_with_it() {
    let plan = |seed| World::new(seed).plan;
    let seed = (0..).find(|seed| plan(*seed).waves.first().is_some_and(|wave| wave.assets.len() > 2)).unwrap();
    let halted = |failed: usize, halt: Halt| {
        let mut rollout = World::new(seed).rollout;
        let mut left = failed;
        for task in rollout.tasks.iter_mut().filter(|task| task.wave == 0) {
            task.sends = 1;
            task.brings = BTreeSet::from([Brought {
                ecosystem: "deb".to_owned(),
                name: "libssl3".to_owned(),
                source: "openssl".to_owned(),
                version: "3.0.17-1+b1".to_owned(),
                source_version: None,
            }]);
            if left > 0 {
                left -= 1;
                task.failed = Some(Halt::Failed { asset: task.asset.clone(), message: "exit 100".to_owned() });
            }
        }
        rollout.halt = Some(halt);
        let begun = rollout.tasks.iter().filter(|task| task.wave == 0).count() as u32;
        (super::bad_patches(&rollout), begun)
    };
    let asset = asset_id(AssetKind::Host, "machine-0");
    let one = Halt::Failed { asset, message: "exit 100".to_owned() };
    let several = Halt::TooMany { failed: 2, begun: 3, last: Box::new(one.clone()) };
    let (bad, begun) = halted(2, several.clone());
    let patch = "pkg:deb/openssl@3.0.17-1".parse().unwrap();
    assert_eq!(bad, [BadPatch { patch, ring: 0, failed: 2, begun }]);
    assert_eq!(halted(1, one).0, [], "one host may have its own reasons");
    assert_eq!(halted(1, several).0, [], "each failed with something else");
    assert_eq!(halted(3, Halt::Lost { asset: asset_id(AssetKind::Host, "machine-0") }).0, []);
}
