//! New remediations: the real planner over hosts and items that are open, so that a schedule never runs dry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::SignedDuration;
use stanch_engine::plan::{PlanInput, Target, assemble};
use stanch_engine::rollout::{Attempts, Event, Rollout};
use stanch_model::asset::Tier;
use stanch_model::canonical::Digest;
use stanch_model::id::{ItemId, RemediationId};
use stanch_model::plan::{Change, Disruption, Limits, Plan, PlannedStep, Reversibility};
use stanch_model::remediation::RemediationState as S;
use stanch_model::terms::{RingSize, RingTerm, Terms};

use crate::commit::has_ended;
use crate::defects::Model;
use crate::dice::Dice;
use crate::store::{ITEMS, Row, TaskTruth};
use crate::world::{Checked, World, actor, stamp, violated};

/// Rows that have ended and are kept, so that people can have them taken back.
const KEPT: usize = 3;

/// What a remediation is to be like.
pub(crate) struct Wanted {
    /// Hosts, and the items of each as bits.
    pub(crate) hosts: Vec<(u32, u8)>,
    pub(crate) rings: Vec<RingTerm>,
    pub(crate) concurrent: u32,
    pub(crate) valid_for: SignedDuration,
    /// A person asks: earlier attempts do not count.
    pub(crate) by_hand: bool,
    /// Starts by itself.
    pub(crate) auto: bool,
}

impl World {
    /// Plans a remediation as a number says, if there is room for one.
    pub(crate) fn plan(&mut self, draw: u64) -> Checked {
        self.forget_ended();
        let live =
            self.store.live.iter().filter(|row| self.store.row(**row).is_some_and(|row| !has_ended(row))).count();
        if live >= self.setup.rows {
            return Ok(());
        }
        let mut dice = Dice::new(draw);
        let mut hosts = Vec::new();
        for host in 0..self.hosts.len() {
            let (wanted, bits) = (dice.percent(60), u8::try_from(1 + dice.below(7)).unwrap_or(1));
            let mut bits = bits & !self.taken(host);
            if !self.planted(Model::PlanSuppressed) {
                bits &= !self.suppressed(host);
            }
            if wanted && bits != 0 {
                hosts.push((u32::try_from(host).unwrap_or(0), bits));
            }
        }
        let bake_seconds = if dice.percent(50) { 0 } else { 300 };
        let ring = |percent, min| RingTerm { size: RingSize::Percent(percent), min, bake_seconds };
        let rings = match dice.below(4) {
            0 | 1 => Vec::new(),
            2 => vec![ring(1, 1), ring(100, 0)],
            _ => vec![ring(1, 1), ring(50, 1), ring(100, 0)],
        };
        let minutes = if dice.percent(90) { 480 } else { 15 };
        let wanted = Wanted {
            hosts,
            rings,
            concurrent: 1 + u32::try_from(dice.below(3)).unwrap_or(0),
            valid_for: SignedDuration::from_mins(minutes),
            by_hand: dice.percent(50),
            auto: dice.percent(60),
        };
        self.begin_row(&wanted)
    }

    pub(crate) fn begin_row(&mut self, wanted: &Wanted) -> Checked {
        if wanted.hosts.is_empty() {
            return Ok(());
        }
        if wanted.hosts.iter().any(|(host, bits)| bits & self.suppressed(*host as usize) != 0) {
            return violated(12, "what was taken back is planned again");
        }
        let plan = self.assemble(wanted, false);
        if self.planned.is_multiple_of(4) && plan != self.assemble(wanted, true) {
            return violated(16, "the same targets in another order gave another plan");
        }
        let Some(plan) = plan else { return Ok(()) };
        let number = self.planned;
        let mut entropy = [0; 10];
        entropy[..4].copy_from_slice(&number.to_be_bytes());
        let attempts = if wanted.by_hand { BTreeMap::new() } else { self.attempts(wanted) };
        let Ok(rollout) = Rollout::new(&RemediationId::from_entropy(entropy), &plan, attempts) else {
            return violated(0, "a plan that cannot be hashed");
        };
        let mut order = wanted.hosts.clone();
        order.sort_by(|(a, _), (b, _)| self.hosts[*a as usize].asset.cmp(&self.hosts[*b as usize].asset));
        for (host, bits) in &order {
            let host = &mut self.hosts[*host as usize];
            // The problem is there, whatever closed an earlier one.
            for bit in (0..ITEMS).filter(|bit| bits >> bit & 1 == 1) {
                host.versions[bit] += u32::from(host.fixed >> bit & 1);
                host.owners[bit] = None;
            }
            host.fixed &= !bits;
        }
        self.planned += 1;
        self.store.rows.push(Some(Row {
            truth: vec![TaskTruth::default(); order.len()],
            hosts: order.iter().map(|(host, _)| *host).collect(),
            versions: order.iter().map(|(host, _)| self.hosts[*host as usize].versions).collect(),
            bits: order.iter().map(|(_, bits)| *bits).collect(),
            rollout: Arc::new(rollout),
            generation: 1,
            plan,
            approved: wanted.auto,
            reserved: 0,
            baking: Vec::new(),
            by_hand: wanted.by_hand,
        }));
        self.store.live.push(number);
        self.tell(|| "server 1".to_owned(), |world| world.plan_words(number));
        if wanted.auto {
            let hash = self.store.row(number).map(|row| row.rollout.plan).unwrap_or(Digest::from_bytes([0; 32]));
            return self.ask(0, number, Event::Approved { plan: hash, by: actor(), until: None });
        }
        self.ask(0, number, Event::Submitted)
    }

    /// Items of a host that another remediation is about.
    fn taken(&self, host: usize) -> u8 {
        let waits = |row: &Row| matches!(row.rollout.state, S::Planned | S::AwaitingApproval);
        let rows = self.store.live.iter().filter_map(|row| self.store.row(*row));
        let open = rows.filter(|row| !has_ended(row) || waits(row));
        open.flat_map(|row| row.hosts.iter().zip(&row.bits))
            .filter(|(other, _)| **other as usize == host)
            .fold(0, |taken, (_, bits)| taken | bits)
    }

    /// Items of a host that were taken back, and no newer version is there.
    fn suppressed(&self, host: usize) -> u8 {
        let (at, known) = (&self.hosts[host], &self.store.queues[host].suppressed);
        let newest = |bit: usize| at.versions[bit] + u32::from(at.fixed >> bit & 1);
        (0..ITEMS).filter(|bit| known[*bit] >= newest(*bit)).fold(0, |bits, bit| bits | 1 << bit)
    }

    fn attempts(&self, wanted: &Wanted) -> BTreeMap<ItemId, Attempts> {
        let mut known = BTreeMap::new();
        for (host, bits) in &wanted.hosts {
            for bit in (0..ITEMS).filter(|bit| bits >> bit & 1 == 1) {
                let attempts = self.store.queues[*host as usize].attempts[bit];
                if attempts.count > 0 {
                    known.insert(self.hosts[*host as usize].items[bit].clone(), attempts);
                }
            }
        }
        known
    }

    fn assemble(&self, wanted: &Wanted, backwards: bool) -> Option<Plan> {
        let mut targets: Vec<Target> = wanted.hosts.iter().map(|(host, bits)| self.target(*host, *bits)).collect();
        if backwards {
            targets.reverse();
        }
        let limits = Limits {
            concurrent: wanted.concurrent,
            max_attempts: 2,
            cooldown_seconds: 600,
            per_hour: 100_000,
            ..Limits::default()
        };
        let terms = Terms { limits, rings: wanted.rings.clone(), ..Terms::default() };
        let (now, valid_for) = (stamp(self.now), wanted.valid_for);
        let input = PlanInput { targets, terms, rules: BTreeSet::new(), now, valid_for };
        assemble(input).ok().map(|(plan, _)| plan)
    }

    fn target(&self, host: u32, bits: u8) -> Target {
        let host = &self.hosts[host as usize];
        let step = |action: &str, reversibility| PlannedStep {
            action: action.to_owned(),
            params: serde_json::Value::Null,
            before: Digest::from_bytes([bits; 32]),
            changes: vec![Change { subject: String::new(), before: None, after: None, note: None }],
            reversibility,
            undo: String::new(),
            disruption: Disruption::None,
        };
        let mut steps = vec![step("package.upgrade", Reversibility::Restorable)];
        if host.steps > 1 {
            steps.push(step("service.restart", Reversibility::Transient));
        }
        Target {
            asset: host.asset.clone(),
            tier: Tier::try_from(host.tier).ok(),
            own: host.own,
            ring: None,
            items: (0..ITEMS).filter(|bit| bits >> bit & 1 == 1).map(|bit| host.items[bit].clone()).collect(),
            steps,
            compliant: Vec::new(),
            refused: Vec::new(),
            suppressed: Vec::new(),
        }
    }

    /// Forgets the oldest remediations that have ended.
    fn forget_ended(&mut self) {
        let free = |row: &&u32| {
            self.store.row(**row).is_some_and(|row| {
                has_ended(row) && row.rollout.in_flight() == 0 && row.rollout.state.name() != "planned"
            })
        };
        let ended: Vec<u32> = self.store.live.iter().filter(free).copied().collect();
        for row in ended.iter().take(ended.len().saturating_sub(KEPT)) {
            if let Some(gone) = self.store.rows[*row as usize].take() {
                *self.figures.ends.entry(gone.rollout.state.name()).or_default() += 1;
            }
            self.store.live.retain(|live| live != row);
        }
    }

    fn plan_words(&self, row: u32) -> String {
        let Some(stored) = self.store.row(row) else { return String::new() };
        let tasks: Vec<String> = stored
            .rollout
            .tasks
            .iter()
            .zip(&stored.hosts)
            .enumerate()
            .map(|(at, (task, host))| {
                format!("task {} host-{host} ({} items, wave {})", at + 1, task.items.len(), task.wave + 1)
            })
            .collect();
        let mode = if stored.approved { "starts by itself" } else { "needs approval" };
        format!("plans R{row}, {mode}, {} at a time: {}", stored.plan.terms.limits.concurrent, tasks.join(", "))
    }
}
