//! Why a rollout was stopped for good, and what follows from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stanch_model::id::{ActorId, AssetId};
use stanch_model::patch::Patch;

use super::Rollout;
use crate::hold::Brought;
use crate::verify::Failure;

/// Why a rollout was stopped for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum Halt {
    /// A task failed or was broken off.
    Failed {
        /// Where.
        asset: AssetId,
        /// What it said.
        message: String,
    },
    /// The target does not do its work.
    Health {
        /// Where.
        asset: AssetId,
    },
    /// A check failed, or the detector still sees the problem.
    NotVerified {
        /// Where.
        asset: AssetId,
        /// Which of the two.
        failure: Failure,
    },
    /// A part is done, and the rest could not be begun in time.
    HalfDone {
        /// Where.
        asset: AssetId,
        /// Why.
        message: String,
    },
    /// The journal of an executor is gone.
    Lost {
        /// Where.
        asset: AssetId,
    },
    /// No target of the wave could be changed.
    NothingBegun {
        /// Why, in words.
        message: String,
    },
    /// No target of the wave was proven.
    NothingProven {
        /// The wave, from 0.
        wave: u32,
    },
    /// A check could not tell for too long.
    Inconclusive {
        /// What it said.
        detail: String,
    },
    /// Taking back one bad target failed.
    UndoFailed {
        /// Where.
        asset: AssetId,
        /// What it said.
        message: String,
    },
    /// More targets failed than may.
    TooMany {
        /// How many.
        failed: u32,
        /// Of how many that were begun.
        begun: u32,
        /// The one that was too many.
        last: Box<Self>,
    },
    /// A person asked to have it taken back.
    Person {
        /// Who.
        by: ActorId,
    },
}

impl Halt {
    /// Whether what was brought is to blame as far as can be told.
    fn blames_the_patch(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Health { .. } | Self::NotVerified { .. })
    }

    /// Whether what was done is taken back without asking a person.
    pub fn rolls_back(&self) -> bool {
        match self {
            Self::Failed { .. } | Self::Health { .. } | Self::Person { .. } => true,
            Self::TooMany { last, .. } => last.rolls_back(),
            _ => false,
        }
    }
}

/// A version that failed on several targets of a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPatch {
    /// Which.
    pub patch: Patch,
    /// The ring, from 0.
    pub ring: u32,
    /// On how many of its targets it failed.
    pub failed: u32,
    /// To how many of them it was brought.
    pub begun: u32,
}

/// So many targets of a ring must have failed with a version before it is blocked everywhere: one that fails may have
/// its own reasons.
pub const BAD_FROM: u32 = 2;

/// The versions that are to be blocked everywhere when a rollout was halted by its own failure budget. Of a transaction
/// with several packages nobody knows which one it was.
pub fn bad_patches(rollout: &Rollout) -> Vec<BadPatch> {
    if !rollout.halt.as_ref().is_some_and(|halt| matches!(halt, Halt::TooMany { .. })) {
        return Vec::new();
    }
    let mut count: BTreeMap<(&Brought, u32), (u32, u32)> = BTreeMap::new();
    for task in rollout.tasks.iter().filter(|task| task.sends > 0) {
        let bad = task.failed.as_ref().is_some_and(Halt::blames_the_patch);
        for one in &task.brings {
            let (failed, begun) = count.entry((one, task.wave)).or_default();
            *failed += u32::from(bad);
            *begun += 1;
        }
    }
    let mut bad: BTreeMap<Patch, BadPatch> = BTreeMap::new();
    for ((one, ring), (failed, begun)) in count.into_iter().filter(|(_, (failed, _))| *failed >= BAD_FROM) {
        let Ok(patch) = Patch::new(&one.ecosystem, &one.source, one.of_source()) else { continue };
        bad.entry(patch.clone()).or_insert(BadPatch { patch, ring, failed, begun });
    }
    bad.into_values().collect()
}

impl std::fmt::Display for Halt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed { asset, message } => write!(f, "{asset} failed: {message}"),
            Self::Health { asset } => write!(f, "the health probe of {asset} fails"),
            Self::NotVerified { asset, failure: Failure::StillThere } => {
                write!(f, "the detector still sees the problem on {asset}")
            }
            Self::NotVerified { asset, .. } => write!(f, "a check failed on {asset}"),
            Self::HalfDone { asset, message } => write!(f, "{asset} is half done: {message}"),
            Self::Lost { asset } => write!(f, "the journal of {asset} is gone"),
            Self::NothingBegun { message } => write!(f, "nothing could be started: {message}"),
            Self::NothingProven { wave } => write!(f, "no target of wave {} was proven", wave + 1),
            Self::Inconclusive { detail } => write!(f, "a check could not tell for too long: {detail}"),
            Self::UndoFailed { asset, message } => write!(f, "taking back failed on {asset}: {message}"),
            Self::TooMany { failed, begun, last } => {
                write!(f, "{failed} of {begun} targets failed, which is more than may; the last: {last}")
            }
            Self::Person { by } => write!(f, "{by} asked to have it taken back"),
        }
    }
}
