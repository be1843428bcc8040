//! What stands between a task and its start. Each is checked at the start itself, and each is a reason people see. An
//! undo passes no gate but a hold that stops all.

use std::collections::BTreeSet;

use jiff::Timestamp;
use stanch_model::calendar::Closed;
use stanch_model::remediation::TaskState as T;
use stanch_model::terms::{ChangeClass, ChangeTerm};

use super::{ChangeWord, Group, Machine, Rollout, Task, hour};
use crate::blocked::Blocked;
use crate::breaker::{self, Admission};
use crate::defect::{Defect, planted};

impl Rollout {
    /// The breakers that watch any of its tasks.
    pub fn watched_by(&self) -> BTreeSet<String> {
        self.tasks.iter().flat_map(|task| self.breakers(task)).collect()
    }

    /// How many members of a group may be away at once for its changes; `None` where a task takes nothing from it.
    pub(super) fn spare(&self, name: &str, group: &Group, task: &Task) -> Option<u32> {
        let spare = group.spare(&task.asset)?;
        // An outage that was stated and approved: one at a time, while all others do their work.
        let stated = self.terms.outages.contains(name) && group.can_never_spare() && group.broken.is_empty();
        Some(if stated { spare.max(1) } else { spare })
    }

    /// The breakers that watch a task.
    pub(super) fn breakers(&self, task: &Task) -> Vec<String> {
        let pairs = self.policies.iter().flat_map(|policy| task.actions.iter().map(move |action| (policy, action)));
        pairs.map(|(policy, action)| breaker::scope(policy, action)).collect()
    }
}

impl Machine {
    /// What keeps the rollout as a whole from starting anything: its windows and freezes, or another environment.
    pub(super) fn closed(&self) -> Option<Blocked> {
        self.shut_out().or_else(|| self.not_yet())
    }

    /// Whether anything of it could start: also outside its windows, where a target of the first wave catches up.
    pub(super) fn may_begin(&self) -> bool {
        let first = || self.rollout.tasks.iter().filter(|task| task.wave == 0);
        self.not_yet().is_none() && (self.shut_out().is_none() || first().any(|task| self.catches_up(task)))
    }

    /// What its calendars say.
    fn shut_out(&self) -> Option<Blocked> {
        let (terms, around) = (&self.rollout.terms, &self.rollout.surroundings);
        let timed = !terms.windows.is_empty() || !terms.freezes.is_empty();
        if timed && !planted(Defect::IgnoreWindow) && !around.openings.as_ref().is_some_and(|o| o.is_open(self.now)) {
            let starts_at = around.openings.as_ref().and_then(|openings| openings.opens_after(self.now));
            let why = around.openings.as_ref().and_then(|openings| openings.why.clone());
            let why = why.unwrap_or_else(|| self.shut(starts_at));
            return Some(Blocked::Calendar { why, starts_at });
        }
        None
    }

    /// What others have to do or to say first.
    pub(super) fn not_yet(&self) -> Option<Blocked> {
        let (terms, around) = (&self.rollout.terms, &self.rollout.surroundings);
        let elsewhere = terms.promote_from.iter().find_map(|from| {
            let since = around.held_elsewhere.get(&from.environment);
            let length = jiff::SignedDuration::from_secs(i64::from(from.verified_seconds));
            let until = since.and_then(|since| since.checked_add(length).ok());
            let held = until.is_some_and(|until| until <= self.now) || planted(Defect::IgnorePromotion);
            (!held).then(|| Blocked::Elsewhere { environment: from.environment.clone(), until })
        });
        elsewhere.or_else(|| self.unagreed())
    }

    /// The change request that another system has not agreed to.
    fn unagreed(&self) -> Option<Blocked> {
        let (terms, around) = (&self.rollout.terms, &self.rollout.surroundings);
        let waits = |term: &&ChangeTerm| match (term.class, around.changes.get(&term.connection)) {
            (_, Some(ChangeWord::Rejected) | None) => true,
            (ChangeClass::Normal, Some(word)) => *word != ChangeWord::Approved,
            (ChangeClass::Standard | ChangeClass::Emergency, Some(_)) => false,
        };
        let term = terms.changes.iter().find(waits).filter(|_| !planted(Defect::IgnoreChange))?;
        let rejected = around.changes.get(&term.connection) == Some(&ChangeWord::Rejected);
        Some(Blocked::Change { connection: term.connection.clone(), rejected })
    }

    /// What is said of its calendars while nobody has worked them out anew.
    fn shut(&self, opens_at: Option<Timestamp>) -> Closed {
        let terms = &self.rollout.terms;
        let windows = terms.windows.iter().map(|window| &window.calendar);
        let calendar = windows.chain(terms.freezes.iter().map(|freeze| &freeze.calendar)).next();
        let calendar = calendar.cloned().unwrap_or_default();
        if self.rollout.surroundings.openings.is_some() {
            Closed::Window { calendar, opens_at }
        } else {
            Closed::NotWorkedOut { calendar, until: self.now }
        }
    }

    /// What keeps a task from starting now. It may have its shares already.
    pub(super) fn gate(&self, task: &Task) -> Option<Blocked> {
        self.shut_out().filter(|_| !self.catches_up(task)).or_else(|| self.unmet(task))
    }

    /// The same without its calendars.
    pub(super) fn unmet(&self, task: &Task) -> Option<Blocked> {
        let age = || self.young(task);
        self.not_yet().or_else(age).or_else(|| self.unhealthy(task)).or_else(|| self.resting(task))
    }

    /// What it would bring has not been offered for long enough.
    fn young(&self, task: &Task) -> Option<Blocked> {
        let wait = self.rollout.terms.min_age_seconds;
        if wait == 0 || task.brings.is_empty() || planted(Defect::IgnoreAge) {
            return None;
        }
        let offered = self.rollout.surroundings.offered.get(&task.asset);
        let wait = jiff::SignedDuration::from_secs(i64::from(wait));
        let until = offered.and_then(|at| at.checked_add(wait).ok());
        until.is_none_or(|until| self.now < until).then_some(Blocked::Young { until })
    }

    fn unhealthy(&self, task: &Task) -> Option<Blocked> {
        let around = &self.rollout.surroundings;
        if planted(Defect::IgnoreHealth) {
            return None;
        }
        if let Some(failing) = around.environment(task).and_then(|place| place.too_many_failing(&task.asset)) {
            return Some(Blocked::Unhealthy { environment: task.place().to_owned(), failing });
        }
        around.groups.iter().find_map(|(name, group)| {
            let spare = self.rollout.spare(name, group, task)?;
            let away =
                self.rollout.tasks.iter().filter(|other| {
                    other.id != task.id && other.state.holds_lane() && group.spare(&other.asset).is_some()
                });
            let full = u32::try_from(away.count()).unwrap_or(u32::MAX) >= spare;
            full.then(|| Blocked::Group { group: name.clone(), spare })
        })
    }

    fn resting(&self, task: &Task) -> Option<Blocked> {
        let around = &self.rollout.surroundings;
        self.rollout.breakers(task).into_iter().find_map(|scope| match around.breakers.get(&scope) {
            Some(Admission::Shut { until }) if self.now < *until => Some(Blocked::Breaker { until: *until }),
            _ => None,
        })
    }

    /// Whether a task's shares count in an hour that is over.
    pub(super) fn outdated(&self, task: &Task) -> bool {
        if planted(Defect::IgnoreHour) {
            return false;
        }
        let now = hour(self.now);
        task.shares.iter().any(|share| share.span.starts_with("hour/") && share.span != now)
    }

    /// Gives the shares of a task back that cannot be sent now.
    pub(super) fn step_back(&mut self, at: usize) -> Result<(), super::Illegal> {
        self.task_to(at, T::Pending)
    }
}
