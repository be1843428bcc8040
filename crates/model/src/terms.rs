//! Terms: what a decision binds a remediation to. Who must agree, when it may run, how far and how fast it goes, and
//! who is asked afterwards. They are data that policies state and plans carry, so that what is approved is what holds.
//!
//! Terms only ever tighten: [`Terms::and`] of two is at least as strict as either, in every field.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::plan::Limits;

/// What a person may do. Fixed, so that everybody means the same by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees.
    Viewer,
    /// Asks for plans, starts what is suggested, holds, undoes.
    Operator,
    /// Says yes or no to plans.
    Approver,
    /// Answers for assets: approves and confirms what is done to them.
    Owner,
    /// Manages people, keys and policies.
    Admin,
}

impl Role {
    /// The name users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Owner => "owner",
            Self::Admin => "admin",
        }
    }
}

/// How many people of which roles must agree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Quorum {
    /// So many different people; never fewer than one.
    pub count: u8,
    /// Any of these roles counts; empty means nobody does, so that nothing is approved by accident.
    pub roles: BTreeSet<Role>,
    /// Whoever asked for the plan or wrote the policy does not count.
    pub exclude_author: bool,
    /// An approval that has not led to a start after so many seconds is void.
    pub expires_seconds: u32,
}

impl Default for Quorum {
    fn default() -> Self {
        Self {
            count: 1,
            roles: BTreeSet::from([Role::Approver, Role::Owner, Role::Admin]),
            exclude_author: false,
            expires_seconds: 24 * 3600,
        }
    }
}

/// A calendar in whose intervals a step may start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WindowTerm {
    /// The calendar's name in the bundle.
    pub calendar: String,
    /// A step must also end inside, by its declared longest duration.
    pub must_finish_inside: bool,
}

/// An act that a freeze may let through. Taking back what was started is always let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Allowance {
    /// Taking back.
    Rollback,
    /// Anything in the `contain` lane.
    Contain,
    /// An act whose definition says that it closes an exposure.
    CloseExposure,
}

/// A calendar in whose intervals nothing starts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FreezeTerm {
    /// The calendar's name in the bundle.
    pub calendar: String,
    /// What it lets through all the same.
    pub allow: BTreeSet<Allowance>,
}

/// How large one ring is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RingSize {
    /// Of all targets, in percent, counted from the start: 100 ends it.
    Percent(u8),
    /// So many more targets.
    Count(u32),
    /// All targets whose label `ring` has this value.
    Label(String),
}

/// One ring of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RingTerm {
    /// How large.
    pub size: RingSize,
    /// At least so many targets, where there are as many.
    pub min: u32,
    /// How long it is watched after it is verified, in seconds.
    pub bake_seconds: u32,
}

/// When a rollout stops for good. Each is a limit that must not be reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HaltIf {
    /// So many failed targets over the whole rollout.
    pub failed: u32,
    /// So many percent of all targets begun; never less than one target.
    pub failed_percent: u8,
    /// So many failed targets in the first wave.
    pub failed_in_first_wave: u32,
    /// A check that cannot tell for so many seconds.
    pub inconclusive_seconds: u32,
}

impl Default for HaltIf {
    /// The first failure stops everything.
    fn default() -> Self {
        Self { failed: 1, failed_percent: 1, failed_in_first_wave: 1, inconclusive_seconds: 1_800 }
    }
}

/// The same plan must have held elsewhere first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PromoteFrom {
    /// In this environment.
    pub environment: String,
    /// Verified for so many seconds.
    pub verified_seconds: u32,
}

/// What kind of change a change request is about: how much has to be said before it starts. Ordered by that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeClass {
    /// It starts at once and is looked at afterwards.
    Emergency,
    /// Its kind is agreed once for all: it is told, and starts.
    Standard,
    /// Somebody at the other system has to agree first.
    Normal,
}

impl ChangeClass {
    /// The name users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Emergency => "emergency",
            Self::Standard => "standard",
            Self::Normal => "normal",
        }
    }
}

/// A change request at another system.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChangeTerm {
    /// The connection that leads to it.
    pub connection: String,
    /// The kind.
    pub class: ChangeClass,
}

/// What happens when the owner does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unanswered {
    /// It stays as it is; the question stays open and is shown.
    Keep,
    /// The next in line is asked.
    Escalate,
    /// It is taken back, where that reopens no exposure.
    Undo,
}

/// Who is asked after an automatic act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Confirm {
    /// People of this role; an owner only for their own assets.
    pub by: Role,
    /// Seconds they have.
    pub within_seconds: u32,
    /// What follows when they do not answer.
    pub unanswered: Unanswered,
}

/// What becomes of a target that missed its whole window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CatchUp {
    /// So many seconds from its return it may start outside its windows, never inside a freeze; 0 waits for the next
    /// window.
    pub run_within_seconds: u32,
    /// People are told whenever it has missed so many windows in a row; 0 tells nobody.
    pub tell_after: u32,
}

impl CatchUp {
    /// Both at once: the shorter time outside of windows, and people are told as soon as either says so.
    fn and(self, other: Self) -> Self {
        let tell_after = match (self.tell_after, other.tell_after) {
            (0, after) | (after, 0) => after,
            (mine, theirs) => mine.min(theirs),
        };
        Self { run_within_seconds: self.run_within_seconds.min(other.run_within_seconds), tell_after }
    }
}

/// Everything a decision binds a remediation to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Every one of these must be met before it starts; none for what starts by itself.
    pub approvals: BTreeSet<Quorum>,
    /// A step starts only while all of these are open.
    pub windows: BTreeSet<WindowTerm>,
    /// What becomes of a target that missed its window; absent where no policy with a window has a word, which waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<CatchUp>,
    /// No step starts while one of these is in force.
    pub freezes: BTreeSet<FreezeTerm>,
    /// Limits.
    pub limits: Limits,
    /// Rings, smallest first; none means all targets in one.
    pub rings: Vec<RingTerm>,
    /// When it stops.
    pub halt_if: HaltIf,
    /// Where it must have held first.
    pub promote_from: BTreeSet<PromoteFrom>,
    /// Change requests that it needs, one a connection.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub changes: BTreeSet<ChangeTerm>,
    /// Who is asked afterwards.
    pub confirm: BTreeSet<Confirm>,
    /// What a target would get must have been offered for so many seconds; 0 for what may be new.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub min_age_seconds: u32,
    /// Redundancy groups that can never spare a member, and one of whose members is away at a time all the same: an outage
    /// that whoever approves agrees to.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub outages: BTreeSet<String>,
}

impl Terms {
    /// When an approval given at this time becomes void unless something was begun; never while none is asked for.
    pub fn approved_until(&self, at: Timestamp) -> Option<Timestamp> {
        let seconds = self.approvals.iter().map(|quorum| quorum.expires_seconds).min()?;
        Some(at.checked_add(SignedDuration::from_secs(i64::from(seconds))).unwrap_or(Timestamp::MAX))
    }

    /// Adds a change request.
    pub fn need(&mut self, term: ChangeTerm) {
        self.changes = changes(std::mem::take(&mut self.changes), BTreeSet::from([term]));
    }

    /// Both at once: in every field at least as strict as either. Of two sequences of rings the one whose first ring
    /// is smaller is taken, and of equal ones the longer.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.approvals.extend(other.approvals);
        self.windows.extend(other.windows);
        self.catch_up = match (self.catch_up, other.catch_up) {
            (Some(mine), Some(theirs)) => Some(mine.and(theirs)),
            (one, None) | (None, one) => one,
        };
        self.freezes = freezes(self.freezes, other.freezes);
        self.limits = self.limits.and(&other.limits);
        self.halt_if = HaltIf {
            failed: self.halt_if.failed.min(other.halt_if.failed),
            failed_percent: self.halt_if.failed_percent.min(other.halt_if.failed_percent),
            failed_in_first_wave: self.halt_if.failed_in_first_wave.min(other.halt_if.failed_in_first_wave),
            inconclusive_seconds: self.halt_if.inconclusive_seconds.min(other.halt_if.inconclusive_seconds),
        };
        if more_careful(&other.rings, &self.rings) {
            self.rings = other.rings;
        }
        self.promote_from.extend(other.promote_from);
        self.changes = changes(self.changes, other.changes);
        self.confirm.extend(other.confirm);
        self.min_age_seconds = self.min_age_seconds.max(other.min_age_seconds);
        // What only one of both states is an outage that the other does not let happen.
        self.outages.retain(|group| other.outages.contains(group));
        self
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Of two words on one connection the one that asks for more holds.
fn changes(mine: BTreeSet<ChangeTerm>, theirs: BTreeSet<ChangeTerm>) -> BTreeSet<ChangeTerm> {
    let mut all: std::collections::BTreeMap<String, ChangeClass> = std::collections::BTreeMap::new();
    for ChangeTerm { connection, class } in mine.into_iter().chain(theirs) {
        let known = all.entry(connection).or_insert(class);
        *known = class.max(*known);
    }
    all.into_iter().map(|(connection, class)| ChangeTerm { connection, class }).collect()
}

/// Of two words on one calendar only what both let through is let through.
fn freezes(mine: BTreeSet<FreezeTerm>, theirs: BTreeSet<FreezeTerm>) -> BTreeSet<FreezeTerm> {
    let mut by_calendar: std::collections::BTreeMap<String, BTreeSet<Allowance>> = std::collections::BTreeMap::new();
    for freeze in mine.into_iter().chain(theirs) {
        by_calendar
            .entry(freeze.calendar)
            .and_modify(|allow| allow.retain(|act| freeze.allow.contains(act)))
            .or_insert(freeze.allow);
    }
    by_calendar.into_iter().map(|(calendar, allow)| FreezeTerm { calendar, allow }).collect()
}

/// Whether `a` exposes fewer targets at first than `b`. No rings at all expose every target at once.
fn more_careful(a: &[RingTerm], b: &[RingTerm]) -> bool {
    let key = |rings: &[RingTerm]| {
        let first = rings.first().map_or((2, u32::MAX), |ring| match ring.size {
            RingSize::Count(count) => (0, count),
            RingSize::Percent(percent) => (1, u32::from(percent)),
            RingSize::Label(_) => (1, 50),
        });
        let bake: u64 = rings.iter().map(|ring| u64::from(ring.bake_seconds)).sum();
        (first, std::cmp::Reverse(rings.len()), std::cmp::Reverse(bake))
    };
    key(a) < key(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn freeze(allow: &[Allowance]) -> Terms {
        let allow = allow.iter().copied().collect();
        Terms { freezes: BTreeSet::from([FreezeTerm { calendar: "corp".into(), allow }]), ..Terms::default() }
    }

    #[test]
    fn a_freeze_stated_twice_lets_through_only_what_both_let_through() {
        let both = freeze(&[Allowance::Contain, Allowance::CloseExposure]).and(freeze(&[Allowance::Contain]));
        assert_eq!(both, freeze(&[Allowance::Contain]));
    }

    #[test]
    fn a_target_that_missed_its_window_runs_outside_of_it_only_as_long_as_every_policy_lets_it() {
        let says = |run_within_seconds, tell_after| Terms {
            catch_up: Some(CatchUp { run_within_seconds, tell_after }),
            ..Terms::default()
        };
        assert_eq!(says(3_600, 0).and(says(60, 3)), says(60, 3));
        assert_eq!(says(3_600, 2).and(says(0, 5)), says(0, 2), "one that waits keeps the others from running");
        assert_eq!(Terms::default().and(says(60, 3)), says(60, 3), "who has no window has no word");
    }

    #[test]
    fn the_smaller_first_ring_wins_and_no_rings_lose() {
        let rings = |size| vec![RingTerm { size, min: 1, bake_seconds: 60 }];
        let one = Terms { rings: rings(RingSize::Percent(1)), ..Terms::default() };
        let ten = Terms { rings: rings(RingSize::Percent(10)), ..Terms::default() };
        assert_eq!(ten.clone().and(one.clone()).rings, one.rings);
        assert_eq!(one.clone().and(ten).rings, one.rings);
        assert_eq!(Terms::default().and(one.clone()).rings, one.rings);
    }
}
