//! Windows that hosts missed: noted when a window is over in which a host was not connected, or in which no server was at
//! work, and what their policy lets those do that were away. A host that is off keeps nobody waiting for ever, does not
//! count as done, and is never passed over in silence.

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

/// A window that passed without a target that was due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// From when until when it could have started.
    pub window: Interval,
    /// Why it could not.
    pub why: Blocked,
}

impl Missed {
    /// Whether its host was away, and not only the server. Only that may be caught up with outside of windows.
    pub const fn by_absence(&self) -> bool {
        matches!(self.why, Blocked::Away { .. })
    }
}

/// The windows that a host has missed in a row before a rollout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InARow {
    /// How many.
    pub windows: u32,
    /// When the first of them shut that it missed because it was away.
    pub away_since: Option<Timestamp>,
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Interval { start, end } = self.window;
        write!(f, "missed the window of {} to {}", When(start), When(end))?;
        match &self.why {
            Blocked::Away { .. } => f.write_str(", because it was not connected"),
            Blocked::NoServer => f.write_str(", because no server was at work"),
            // What earlier releases noted.
            why => write!(f, ": {why}"),
        }
    }
}

impl Rollout {
    /// The same with the windows that its targets have missed in a row before.
    #[must_use]
    pub fn having_missed(mut self, missed: &BTreeMap<AssetId, InARow>) -> Self {
        for task in &mut self.tasks {
            let known = missed.get(&task.asset).copied().unwrap_or_default();
            task.missed_windows = known.windows;
            task.away_since = known.away_since;
        }
        self
    }

    /// Since when windows are to be worked out, so that those are known that passed while no server was at work.
    pub fn windows_from(&self, now: Timestamp) -> Timestamp {
        let known = self.window.map(|window| window.start).or(self.next_window);
        known.map_or(now, |known| known.min(now))
    }
}

impl Machine {
    /// Sees windows open and shut, and those that did so while no server was at work.
    pub(super) fn watch_windows(&mut self) {
        if self.rollout.terms.windows.is_empty() {
            return;
        }
        let Some(openings) = &self.rollout.surroundings.openings else { return };
        let now = self.now;
        let open = openings.spans.iter().find(|span| span.contains(now) && now < openings.known_until).copied();
        let seen_until = self.rollout.window.map(|window| window.end).or(self.rollout.next_window);
        let unseen = openings.spans.iter().filter(|span| seen_until.is_some_and(|until| until <= span.start));
        let unseen: Vec<Interval> = unseen.filter(|span| span.end <= now).copied().collect();
        let next = openings.opens_after(now);
        match (self.rollout.window, open) {
            // Calendars that were worked out anew know the beginning of what is open no more.
            (Some(known), Some(open)) if now < known.end => {
                self.rollout.window = Some(Interval { start: known.start, ..open });
            }
            (shut, open) => {
                if let Some(shut) = shut {
                    self.note_away(shut);
                }
                for window in unseen {
                    self.note_unseen(window);
                }
                self.rollout.window = open;
                for task in &mut self.rollout.tasks {
                    task.here = open.is_some() && !task.away;
                }
            }
        }
        self.rollout.next_window = next;
    }

    /// Notes who was due in a window and not connected in all of it. Who was there and did not begin waits for something
    /// else, and has missed nothing.
    fn note_away(&mut self, window: Interval) {
        let Some(wave) = self.wave().filter(|_| self.rollout.state != S::Paused) else { return };
        let absent = |task: &Task| !task.here || planted(Defect::MissWhileHere);
        for at in self.tasks_where(|task| is_due(task, wave) && absent(task)) {
            let Some(asset) = self.rollout.tasks.get(at).map(|task| task.asset.clone()) else { continue };
            self.note(at, window, Blocked::Away { asset });
        }
    }

    /// Notes who was due in a window in which no server was at work.
    fn note_unseen(&mut self, window: Interval) {
        let may_begin = || self.rollout.hold.is_none() && self.not_yet().is_none();
        let wave = match self.rollout.state {
            S::Paused => None,
            S::Scheduled => may_begin().then_some(0),
            _ => self.wave(),
        };
        let Some(wave) = wave else { return };
        for at in self.tasks_where(|task| is_due(task, wave)) {
            self.note(at, window, Blocked::NoServer);
        }
    }

    fn note(&mut self, at: usize, window: Interval, why: Blocked) {
        let Some(task) = self.rollout.tasks.get_mut(at) else { return };
        let missed = Missed { window, why };
        task.missed_windows = task.missed_windows.saturating_add(1);
        if missed.by_absence() {
            task.away_since.get_or_insert(window.end);
        }
        task.missed = Some(missed.clone());
        let (task, in_a_row) = (task.id.clone(), task.missed_windows);
        let after = self.rollout.terms.catch_up.unwrap_or_default().tell_after;
        let tell = after > 0 && in_a_row.checked_rem(after) == Some(0);
        self.effects.push(Effect::Missed { task, missed, in_a_row, tell });
    }

    /// Whether a target may start though its windows are shut: it was away in one, that is not too long ago, and no
    /// freeze is in force.
    pub(super) fn catches_up(&self, task: &Task) -> bool {
        let within = self.rollout.terms.catch_up.unwrap_or_default().run_within_seconds;
        if planted(Defect::IgnoreReturn) {
            return within > 0;
        }
        let until = |shut: Timestamp| shut.checked_add(SignedDuration::from_secs(i64::from(within))).ok();
        let in_time = task.away_since.and_then(until).is_some_and(|until| self.now < until);
        let unfrozen = self.rollout.surroundings.unfrozen.as_ref().is_some_and(|open| open.is_open(self.now));
        within > 0 && in_time && unfrozen && !task.away
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

/// Whether a target was to begin by now, and has not.
fn is_due(task: &Task, wave: u32) -> bool {
    let unbegun = matches!(task.state, T::Pending | T::Deferred | T::NotStarted | T::Reserved | T::Granted);
    unbegun && task.sends == 0 && task.wave <= wave
}
