//! Runs: a seed to a schedule, a schedule to a verdict, and a failing schedule to a short one.

use crate::act::Act;
use crate::choose::choose;
use crate::defects::Planted;
use crate::dice::Dice;
use crate::setup::{Fate, Setup};
use crate::world::{Checked, Figures, Violation, World};

/// A run that broke an invariant.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The invariant's number.
    pub invariant: u8,
    /// What was seen.
    pub what: String,
    /// After how many steps.
    pub steps: u64,
    schedule: Schedule,
}

/// A world and what happens in it.
#[derive(Debug, Clone)]
struct Schedule {
    setup: Setup,
    acts: Vec<Act>,
}

/// One run of so many steps, then calm.
///
/// # Errors
/// When an invariant does not hold.
pub fn simulate(seed: u64, steps: u32, planted: Option<&Planted>) -> Result<Figures, Box<Failure>> {
    let setup = Setup::small(seed);
    // Another stream than that of the setup.
    let mut dice = Dice::new(seed ^ 0x5741_4e43_4853_494d);
    let mut acts = Vec::with_capacity(steps as usize);
    Planted::with(planted, |model| {
        let mut world = World::new(setup.clone(), model, false);
        let mut run = || -> Checked {
            world.act(Act::Plan { draw: dice.next() })?;
            for _ in 0..steps {
                let act = choose(&mut dice, &world);
                acts.push(act);
                world.act(act)?;
            }
            world.calm()
        };
        match run() {
            Ok(()) => {
                for row in &world.store.live {
                    if let Some(row) = world.store.rows[*row as usize].as_ref() {
                        *world.figures.ends.entry(row.rollout.state.name()).or_default() += 1;
                    }
                }
                Ok(world.figures)
            }
            Err(Violation { invariant, what }) => {
                let steps = world.figures.steps;
                // The first plan is a part of the schedule.
                let mut first = Dice::new(seed ^ 0x5741_4e43_4853_494d);
                acts.insert(0, Act::Plan { draw: first.next() });
                Err(Box::new(Failure { seed, invariant, what, steps, schedule: Schedule { setup, acts } }))
            }
        }
    })
}

impl Schedule {
    /// Plays it again: what breaks, after how many acts, and the story when somebody listens.
    fn play(&self, planted: Option<&Planted>, telling: bool) -> (Option<(usize, Violation)>, Vec<String>) {
        Planted::with(planted, |model| {
            let mut world = World::new(self.setup.clone(), model, telling);
            let mut broke = None;
            for (at, act) in self.acts.iter().enumerate() {
                if let Err(violation) = world.act(*act) {
                    broke = Some((at, violation));
                    break;
                }
            }
            if broke.is_none()
                && let Err(violation) = world.calm()
            {
                broke = Some((self.acts.len(), violation));
            }
            (broke, world.told.unwrap_or_default())
        })
    }

    fn breaks(&self, invariant: u8, planted: Option<&Planted>) -> Option<usize> {
        let (broke, _) = self.play(planted, false);
        broke.filter(|(_, violation)| violation.invariant == invariant).map(|(at, _)| at)
    }
}

/// Schedules tried while one is shrunk.
const TRIES: u32 = 1_500;

impl Failure {
    /// The same failure with as little as possible around it: acts are cut while the same invariant still breaks, then
    /// hosts, servers and what goes wrong on hosts.
    #[must_use]
    pub fn shrunk(mut self, planted: Option<&Planted>) -> Self {
        let mut tries = 0;
        let invariant = self.invariant;
        let mut fits = |schedule: &Schedule| {
            tries += 1;
            if tries > TRIES { None } else { schedule.breaks(invariant, planted) }
        };
        if let Some(at) = fits(&self.schedule) {
            self.schedule.acts.truncate(at + 1);
        }
        loop {
            let before = self.schedule.acts.len();
            let mut size = before.div_ceil(2);
            while size > 0 {
                let mut from = 0;
                while from < self.schedule.acts.len() {
                    let mut shorter = self.schedule.clone();
                    shorter.acts.drain(from..(from + size).min(shorter.acts.len()));
                    match fits(&shorter) {
                        Some(at) => {
                            shorter.acts.truncate(at + 1);
                            self.schedule = shorter;
                        }
                        None => from += size,
                    }
                }
                size /= 2;
            }
            simpler(&mut self.schedule, &mut fits);
            if self.schedule.acts.len() == before {
                break;
            }
        }
        self.steps = self.schedule.acts.len() as u64;
        if let (Some((_, violation)), _) = self.schedule.play(planted, false) {
            self.what = violation.what;
        }
        self
    }

    /// The failure as a play: numbered lines of time, who, and what.
    pub fn story(&self, planted: Option<&Planted>) -> String {
        let (broke, told) = self.schedule.play(planted, true);
        let mut text = format!(
            "seed {}: {} hosts, {} servers\n",
            self.seed,
            self.schedule.setup.hosts.len(),
            self.schedule.setup.servers.len()
        );
        for (number, host) in self.schedule.setup.hosts.iter().enumerate() {
            let own = if host.own { ", runs Stanch itself" } else { "" };
            text.push_str(&format!("        host-{number}: {}, {} steps{own}\n", host.fate.words(), host.steps));
        }
        for (number, line) in (1..).zip(told) {
            text.push_str(&format!("{number:>5}  {line}\n"));
        }
        if let Some((_, violation)) = broke {
            text.push_str(&format!("       invariant {} does not hold: {}\n", violation.invariant, violation.what));
        }
        text
    }
}

/// Fewer hosts and servers, clocks that agree, hosts on which acts work.
fn simpler(schedule: &mut Schedule, fits: &mut impl FnMut(&Schedule) -> Option<usize>) {
    let mut keep = |changed: Schedule, schedule: &mut Schedule| {
        if let Some(at) = fits(&changed) {
            *schedule = changed;
            schedule.acts.truncate(at + 1);
        }
    };
    while schedule.setup.hosts.len() > 1 {
        let count = schedule.setup.hosts.len();
        let mut changed = schedule.clone();
        changed.setup.hosts.pop();
        keep(changed, schedule);
        if schedule.setup.hosts.len() == count {
            break;
        }
    }
    for host in 0..schedule.setup.hosts.len() {
        let mut changed = schedule.clone();
        changed.setup.hosts[host].fate = Fate::Works;
        keep(changed, schedule);
        let mut changed = schedule.clone();
        changed.setup.hosts[host].steps = 1;
        keep(changed, schedule);
        let mut changed = schedule.clone();
        changed.setup.hosts[host].skew = 0;
        keep(changed, schedule);
    }
    let mut changed = schedule.clone();
    changed.setup.servers = vec![0];
    keep(changed, schedule);
}

/// The story of a seed as it is, whether or not something breaks.
pub fn story(seed: u64, steps: u32, planted: Option<&Planted>) -> String {
    let setup = Setup::small(seed);
    let mut dice = Dice::new(seed ^ 0x5741_4e43_4853_494d);
    Planted::with(planted, |model| {
        let mut world = World::new(setup, model, true);
        let mut ended = world.act(Act::Plan { draw: dice.next() });
        for _ in 0..steps {
            if ended.is_err() {
                break;
            }
            let act = choose(&mut dice, &world);
            ended = world.act(act);
        }
        if ended.is_ok() {
            ended = world.calm();
        }
        let told = world.told.take().unwrap_or_default();
        let mut text: String = (1..).zip(told).map(|(number, line)| format!("{number:>5}  {line}\n")).collect();
        if let Err(violation) = ended {
            text.push_str(&format!("       invariant {} does not hold: {}\n", violation.invariant, violation.what));
        }
        text
    })
}
