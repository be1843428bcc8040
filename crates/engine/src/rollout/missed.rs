//! Windows that targets missed: noted when a window shuts before they began, and what their policy lets them do when they
//! are back. A host that is off keeps nobody waiting for ever, does not count as done, and is never passed over in silence.

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use stanch_model::When;
use stanch_model::calendar::Interval;
use stanch_model::id::AssetId;
use stanch_model::remediation::{RemediationState as S, TaskState as T};

use super::{Effect, Illegal, Machine, Rollout, Task};
use crate::blocked::Blocked;
use crate::defect::{Defect, planted};

/// A window that shut before a target began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// From when until when it could have started.
    pub window: Interval,
    /// What it waited for when the window shut.
    pub why: Blocked,
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Interval { start, end } = self.window;
        write!(f, "missed the window of {} to {}", When(start), When(end))?;
        match &self.why {
            Blocked::Away { .. } => f.write_str(", because it was not connected"),
            why => write!(f, ": {why}"),
        }
    }
}

impl Rollout {
    /// The same with the windows that its targets have missed in a row before. They are back: they have just been asked
    /// for this plan.
    #[must_use]
    pub fn having_missed(mut self, missed: &BTreeMap<AssetId, u32>, now: Timestamp) -> Self {
        for task in &mut self.tasks {
            task.missed_windows = missed.get(&task.asset).copied().unwrap_or(0);
            task.back_at = (task.missed_windows > 0).then_some(now);
        }
        self
    }
}

impl Machine {
    /// Sees windows open and shut.
    pub(super) fn watch_windows(&mut self) {
        if self.rollout.terms.windows.is_empty() {
            return;
        }
        let Some(openings) = &self.rollout.surroundings.openings else { return };
        let open = openings.spans.iter().find(|span| span.contains(self.now) && self.now < openings.known_until);
        let open = open.copied();
        match (self.rollout.window, open) {
            // Calendars that were worked out anew know the beginning of what is open no more.
            (Some(known), Some(open)) if self.now < known.end => {
                self.rollout.window = Some(Interval { start: known.start, ..open });
            }
            (Some(shut), open) => {
                self.note_missed(shut);
                self.rollout.window = open;
            }
            (None, open) => self.rollout.window = open,
        }
    }

    /// Notes who was due in a window and has not begun.
    fn note_missed(&mut self, window: Interval) {
        let Some(wave) = self.wave().filter(|_| self.rollout.state != S::Paused) else { return };
        let due = |task: &Task| {
            let unbegun = matches!(task.state, T::Pending | T::Deferred | T::NotStarted | T::Reserved | T::Granted);
            unbegun && task.sends == 0 && task.wave <= wave
        };
        for at in self.tasks_where(due) {
            let Some(why) = self.rollout.tasks.get(at).map(|task| self.kept_from(task)) else { continue };
            let now = self.now;
            let Some(task) = self.rollout.tasks.get_mut(at) else { continue };
            task.missed_windows = task.missed_windows.saturating_add(1);
            task.back_at = (!task.away).then_some(now);
            let missed = Missed { window, why };
            task.missed = Some(missed.clone());
            let (task, in_a_row) = (task.id.clone(), task.missed_windows);
            let after = self.rollout.terms.catch_up.unwrap_or_default().tell_after;
            let tell = after > 0 && in_a_row.checked_rem(after) == Some(0);
            self.effects.push(Effect::Missed { task, missed, in_a_row, tell });
        }
    }

    /// What a task waited for that could have begun.
    fn kept_from(&self, task: &Task) -> Blocked {
        if task.away || task.state == T::Deferred {
            return Blocked::Away { asset: task.asset.clone() };
        }
        let turn = || Blocked::Concurrency { limit: self.rollout.terms.limits.concurrent };
        let known = task.no_room.clone().or_else(|| self.bar(task)).or_else(|| self.unmet(task));
        known.unwrap_or_else(turn)
    }

    /// Whether a target may start though its windows are shut: it has missed one, is back for not too long, and no
    /// freeze is in force.
    pub(super) fn catches_up(&self, task: &Task) -> bool {
        let within = self.rollout.terms.catch_up.unwrap_or_default().run_within_seconds;
        if planted(Defect::IgnoreReturn) {
            return within > 0;
        }
        let until = |back: Timestamp| back.checked_add(SignedDuration::from_secs(i64::from(within))).ok();
        let in_time = task.back_at.and_then(until).is_some_and(|until| self.now < until);
        let unfrozen = self.rollout.surroundings.unfrozen.as_ref().is_some_and(|open| open.is_open(self.now));
        within > 0 && task.missed_windows > 0 && in_time && unfrozen && !task.away
    }

    /// Takes targets in that are back: the ring that is under way takes those along that theirs left behind. A ring of
    /// one takes nobody along, because what Stanch itself runs on goes one at a time.
    pub(super) fn take_in(&mut self, wave: u32) -> Result<(), Illegal> {
        let alone = self.tasks_where(|task| task.wave == wave).len() < 2;
        let back = |task: &Task| task.state == T::Deferred && !task.away;
        for at in self.tasks_where(|task| back(task) && (task.wave == wave || (task.wave < wave && !alone))) {
            if let Some(task) = self.rollout.tasks.get_mut(at) {
                task.wave = wave;
            }
            self.task_to(at, T::Pending)?;
        }
        Ok(())
    }
}
