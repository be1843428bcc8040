//! What surrounds a rollout: the health of its neighbours, calendars, breakers, what holds in other environments. It
//! comes in as one value; every start is checked against it at the time of the start. What is not known stops.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use stanch_model::calendar::{Closed, Gate, Interval};
use stanch_model::edge::RedundancyGroup;
use stanch_model::id::{AssetId, ItemId};

use super::Task;
use crate::breaker::Admission;
use crate::schedule::Schedule;

/// Of a scope's assets so many percent may fail their health probes before change stops.
pub const FAILING_PERCENT: u32 = 20;
/// So many others may always fail before change stops.
pub const FAILING_OTHERS: u32 = 2;

/// Everything around a rollout that bears on what it may start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surroundings {
    /// The environments its targets stand in, by name; the empty name is that of targets without one.
    pub environments: BTreeMap<String, Environment>,
    /// The redundancy groups its targets are members of, by name.
    pub groups: BTreeMap<String, Group>,
    /// What the breakers that bear on it let through, by their scopes. Others are closed.
    pub breakers: BTreeMap<String, Admission>,
    /// Where the same change is verified, by environment: since when.
    pub held_elsewhere: BTreeMap<String, Timestamp>,
    /// What other systems say of its change requests, by connection. One that is absent is not told of yet.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub changes: BTreeMap<String, ChangeWord>,
    /// When something may start, as windows and freezes have it. While absent, terms with any of them let nothing start.
    pub openings: Option<Openings>,
    /// When something may start as the freezes alone have it, where a target that missed its window may catch up. While
    /// absent, none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfrozen: Option<Openings>,
    /// When the youngest version that a target would get was first offered, where its terms ask for an age. While a target
    /// is absent, that is not known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub offered: BTreeMap<AssetId, Timestamp>,
    /// Actions whose undo reopens no exposure.
    pub harmless: BTreeSet<String>,
    /// Items of its targets that were taken back since it was asked for, by asset.
    #[serde(default)]
    pub taken_back: BTreeMap<AssetId, BTreeSet<ItemId>>,
}

/// What another system says of a change request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeWord {
    /// It knows of it and has not said anything yet.
    Open,
    /// It may be done.
    Approved,
    /// It may not be done.
    Rejected,
}

/// One environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// How many assets stand in it.
    pub assets: u32,
    /// Those that fail their health probes.
    pub failing: BTreeSet<AssetId>,
}

impl Environment {
    /// How many targets may be disrupted at once: so many percent, never less than one.
    pub fn may_be_disrupted(&self, percent: u8) -> u32 {
        let share = u64::from(self.assets) * u64::from(percent.min(100)) / 100;
        u32::try_from(share).unwrap_or(u32::MAX).max(1)
    }

    /// How many assets other than this one fail, if that is more than may.
    pub fn too_many_failing(&self, but: &AssetId) -> Option<u32> {
        let failing = self.failing.iter().filter(|asset| *asset != but).count();
        let failing = u32::try_from(failing).unwrap_or(u32::MAX);
        let may = u64::from(self.assets) * u64::from(FAILING_PERCENT) / 100;
        (u64::from(failing) > may.max(u64::from(FAILING_OTHERS))).then_some(failing)
    }
}

/// A redundancy group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its members.
    pub members: BTreeSet<AssetId>,
    /// Members that do not do their work, whoever broke them.
    pub broken: BTreeSet<AssetId>,
    /// So many have to do their work at any time.
    pub min_healthy: u32,
}

impl Group {
    /// A group with those of its members that do not do their work.
    pub fn of(group: &RedundancyGroup, broken: BTreeSet<AssetId>) -> Self {
        Self { members: group.members.clone(), broken, min_healthy: group.min_healthy }
    }

    /// Whether it can spare nobody, even when every member does its work.
    pub fn can_never_spare(&self) -> bool {
        u32::try_from(self.members.len()).unwrap_or(u32::MAX) <= self.min_healthy
    }

    /// How many members may be away at once for changes. `None` for an asset whose change takes nothing from the group:
    /// no member, or one that does not work anyway.
    pub fn spare(&self, asset: &AssetId) -> Option<u32> {
        if !self.members.contains(asset) || self.broken.contains(asset) {
            return None;
        }
        let healthy = self.members.iter().filter(|member| !self.broken.contains(*member)).count();
        Some(u32::try_from(healthy).unwrap_or(u32::MAX).saturating_sub(self.min_healthy))
    }
}

/// When something may start. A step that has to end inside its window has had its longest duration taken off already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Openings {
    /// In order, without overlap.
    pub spans: Vec<Interval>,
    /// Beyond this nothing is known, and so nothing starts.
    pub known_until: Timestamp,
    /// What kept it closed when this was worked out.
    pub why: Option<Closed>,
}

impl Openings {
    /// What a schedule lets through from this time on, for so long; what is over counts from `since` on.
    pub fn of(schedule: &Schedule<'_>, since: Timestamp, at: Timestamp, horizon: SignedDuration) -> Self {
        let known_until = at.checked_add(horizon).unwrap_or(Timestamp::MAX);
        let spans = schedule.starts_within(Interval::new(since.min(at), known_until)).as_slice().to_vec();
        let why = match schedule.gate(at) {
            Gate::Closed { why, .. } => Some(why),
            Gate::Open { .. } => None,
        };
        Self { spans, known_until, why }
    }

    /// Whether something may start at this time.
    pub fn is_open(&self, at: Timestamp) -> bool {
        at < self.known_until && self.spans.iter().any(|span| span.contains(at))
    }

    /// When the next span begins, as far as it is known.
    pub fn opens_after(&self, at: Timestamp) -> Option<Timestamp> {
        self.spans.iter().map(|span| span.start).filter(|start| at < *start && *start < self.known_until).min()
    }
}

impl Surroundings {
    /// What of a task was taken back since.
    pub(super) fn taken_back(&self, task: &Task) -> Vec<ItemId> {
        let known = self.taken_back.get(&task.asset);
        task.items.iter().filter(|item| known.is_some_and(|known| known.contains(*item))).cloned().collect()
    }

    /// The environment a task's target stands in.
    pub(super) fn environment(&self, task: &Task) -> Option<&Environment> {
        self.environments.get(task.place())
    }
}
