//! What a world is made of, all of it from a seed. A shrinker may make it smaller and play the same acts in it.

use crate::dice::Dice;

/// What becomes of an act on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It works.
    Works,
    /// It fails before anything is changed.
    Fails,
    /// It fails half way.
    Breaks,
    /// The executor's own rules forbid it.
    Refuses,
    /// The executor's own hours forbid it.
    NeverStarts,
    /// It works and the host does not do its work afterwards.
    Sickens,
    /// The executor says that it is done and has done nothing.
    Lies,
    /// It works and cannot be taken back.
    Sticks,
}

impl Fate {
    const ALL: [Self; 8] = [
        Self::Works,
        Self::Fails,
        Self::Breaks,
        Self::Refuses,
        Self::NeverStarts,
        Self::Sickens,
        Self::Lies,
        Self::Sticks,
    ];

    pub(crate) fn of(number: u8) -> Self {
        *Self::ALL.get(usize::from(number)).unwrap_or(&Self::Works)
    }

    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Works => "acts work here",
            Self::Fails => "acts fail here",
            Self::Breaks => "acts break half way here",
            Self::Refuses => "its own rules forbid acts",
            Self::NeverStarts => "its own hours let nothing start",
            Self::Sickens => "acts work and make it ill",
            Self::Lies => "its executor says done and does nothing",
            Self::Sticks => "acts work and cannot be taken back",
        }
    }
}

/// One host with its executor.
#[derive(Debug, Clone)]
pub(crate) struct HostSetup {
    /// Its wall clock is so far ahead, in milliseconds. An executor's clock keeps its difference.
    pub(crate) skew: i64,
    /// Stanch itself runs there.
    pub(crate) own: bool,
    pub(crate) tier: u8,
    /// Whether its first step goes on after a crash; the second never does.
    pub(crate) resumes: bool,
    pub(crate) steps: u8,
    pub(crate) fate: Fate,
}

/// A world before anything has happened in it.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// How far each server's clock is ahead, in milliseconds.
    pub(crate) servers: Vec<i64>,
    pub(crate) hosts: Vec<HostSetup>,
    /// Remediations at once.
    pub(crate) rows: usize,
}

/// Clocks differ from the true time by at most this, in milliseconds.
pub(crate) const SKEW: i64 = 30_000;

impl Setup {
    /// A small world with everything that goes wrong.
    pub(crate) fn small(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let trouble = dice.percent(70);
        let servers = (0..1 + dice.below(3)).map(|_| dice.between(-SKEW, SKEW)).collect();
        let hosts = (0..2 + dice.below(6)).map(|_| host(&mut dice, trouble)).collect();
        let rows = 1 + usize::try_from(dice.below(3)).unwrap_or(0);
        Self { servers, hosts, rows }
    }

    /// A world of so many hosts on which everything works, but for one in a hundred.
    pub(crate) fn large(seed: u64, hosts: usize, each: usize) -> Self {
        let mut dice = Dice::new(seed);
        let servers = (0..3).map(|_| dice.between(-SKEW, SKEW)).collect();
        let rows = hosts.div_ceil(each.max(1));
        let hosts = (0..hosts).map(|_| host(&mut dice, false)).collect();
        Self { servers, hosts, rows }
    }
}

fn host(dice: &mut Dice, trouble: bool) -> HostSetup {
    HostSetup {
        skew: dice.between(-SKEW, SKEW),
        own: trouble && dice.percent(12),
        tier: 1 + u8::try_from(dice.below(4)).unwrap_or(0),
        resumes: dice.percent(70),
        steps: 1 + u8::from(dice.percent(40)),
        fate: if trouble && dice.percent(35) {
            Fate::of(u8::try_from(dice.below(8)).unwrap_or(0))
        } else {
            Fate::Works
        },
    }
}
