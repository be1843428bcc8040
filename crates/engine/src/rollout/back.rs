//! The way back: halting, taking back what was done, and handing over to a person.

use std::collections::BTreeSet;

use stanch_model::remediation::{RemediationState as S, TaskState as T};

use super::advance::awaits_facts;
use super::{Effect, Halt, HoldLevel, Illegal, Machine, Task};
use crate::blocked::Blocked;
use crate::breaker;
use crate::defect::{Defect, planted};

impl Machine {
    /// Stops for good.
    pub(super) fn halt(&mut self, halt: Halt) -> Result<(), Illegal> {
        if !matches!(halt, Halt::Person { .. }) {
            self.tell_breakers();
        }
        self.rollout.halt = Some(halt);
        self.rollout.pause = None;
        self.rollout.bake_until = None;
        self.rollout.rechecking = false;
        self.to(S::Halted)
    }

    fn tell_breakers(&mut self) {
        let begun = self.rollout.tasks.iter().filter(|task| task.sends > 0);
        let scopes: BTreeSet<String> = begun.flat_map(|task| self.rollout.breakers(task)).collect();
        let words = scopes.into_iter().map(|scope| Effect::Breaker { scope, word: breaker::Word::Halted });
        self.effects.extend(words);
    }

    /// Waits until nothing runs any more, then goes back or to a person.
    pub(super) fn halted(&mut self) -> Result<(), Illegal> {
        self.cancel_unbegun()?;
        for at in self.tasks_where(|task| task.state == T::Running && task.rest) {
            self.leave_rest(at, "the rest was not begun".to_owned())?;
        }
        if self.rollout.tasks.iter().any(|task| task.state.holds_lane()) {
            return Ok(());
        }
        let by_person = matches!(self.rollout.halt, Some(Halt::Person { .. }));
        let lost = self.rollout.tasks.iter().any(|task| task.state == T::Lost);
        let back = self.rollout.halt.as_ref().is_some_and(Halt::rolls_back) && (by_person || !lost);
        if !back {
            // What was set aside goes back first.
            let aside = |task: &Task| task.failed.is_some() && goes_back(task);
            let waits = !self.stopped() && self.rollout.tasks.iter().any(aside);
            return if waits { Ok(()) } else { self.hand_over() };
        }
        if !by_person {
            // The bad ring goes back; rings that were verified and watched before it stay.
            let ring = self.rollout.tasks.iter().filter(|task| task.sends > 0).map(|task| task.wave).max();
            for task in self.rollout.tasks.iter_mut().filter(|task| Some(task.wave) == ring) {
                if done(task) && !planted(Defect::ForgetUndo) {
                    task.to_undo = task.items.iter().filter(|item| !task.undone.contains(item)).cloned().collect();
                }
            }
        }
        self.to(S::RollingBack)
    }

    fn hand_over(&mut self) -> Result<(), Illegal> {
        let reason = self.rollout.halt.as_ref().map_or_else(String::new, ToString::to_string);
        self.effects.push(Effect::Notify { blocked: Blocked::Person { reason } });
        self.to(S::NeedsOperator)
    }

    pub(super) fn rolling_back(&mut self) -> Result<(), Illegal> {
        for task in self.rollout.tasks.iter_mut().filter(|task| task.state != T::Undoing && !done(task)) {
            // Asked for while it was on its way, and it never began.
            task.to_undo.clear();
        }
        if self.rollout.tasks.iter().any(goes_back) {
            return Ok(());
        }
        if let Some(task) = self.rollout.tasks.iter().find(|task| task.state == T::UndoFailed) {
            let message = task.message.clone().unwrap_or_default();
            let reason = format!("taking back failed on {}: {message}", task.asset);
            self.effects.push(Effect::Notify { blocked: Blocked::Person { reason } });
            self.to(S::RollbackFailed)?;
            return self.to(S::NeedsOperator);
        }
        if self.rollout.tasks.iter().any(awaits_facts) {
            return Ok(());
        }
        self.rollout.undo_by = None;
        let left = |state: &[T]| self.rollout.tasks.iter().any(|task| state.contains(&task.state) && done(task));
        // Where the journal is gone, nobody knows what was done.
        let lost = self.rollout.tasks.iter().any(|task| task.state == T::Lost);
        if left(&[T::Failed, T::Interrupted, T::VerifyFailed]) || lost {
            return self.hand_over();
        }
        self.to(if left(&[T::Verified, T::Succeeded]) { S::PartiallyRemediated } else { S::RolledBack })
    }

    fn stopped(&self) -> bool {
        self.rollout.hold.as_ref().is_some_and(|hold| hold.level == HoldLevel::StopAll)
    }

    /// Begins to take back what is to be, where there is room: everything on the way back, and before that what was set
    /// aside. Only time begins it, never an answer: an answer whose consequence needs another's lane could not be taken
    /// before that other let go of it, and the other might wait for this one.
    pub(super) fn take_back(&mut self) -> Result<(), Illegal> {
        let aside = match self.rollout.state {
            S::RollingBack => false,
            S::Rolling(_) | S::Verifying(_) | S::Baking(_) | S::Paused | S::Verified | S::Halted => true,
            _ => return Ok(()),
        };
        if self.stopped() {
            return Ok(());
        }
        let now = self.now;
        let no_room = |task: &Task| task.no_room.is_some() && task.again_at.is_some_and(|again_at| now < again_at);
        let begins = |task: &Task| task.state != T::Undoing && goes_back(task) && !no_room(task);
        for at in self.tasks_where(|task| begins(task) && (!aside || task.failed.is_some())) {
            self.undo(at)?;
        }
        Ok(())
    }

    fn undo(&mut self, at: usize) -> Result<(), Illegal> {
        if let Some(task) = self.rollout.tasks.get_mut(at) {
            task.undo_attempt += 1;
            task.undo_sends = 0;
            task.again_at = None;
        }
        self.task_to(at, T::Undoing)?;
        self.send_undo(at);
        Ok(())
    }

    fn send_undo(&mut self, at: usize) {
        let Some(task) = self.rollout.tasks.get_mut(at) else { return };
        task.orders += 1;
        task.undo_sends += 1;
        task.undo_order = task.orders;
        task.again_at = None;
        self.effects.push(Effect::DispatchUndo {
            task: task.id.clone(),
            order: task.undo_order,
            undo_attempt: task.undo_attempt,
            items: task.to_undo.clone(),
        });
    }

    /// Sends an undo again whose answer is missing, under the same key: the journal sees to it that it runs once.
    pub(super) fn send_undo_again(&mut self, at: usize) {
        let stopped = self.stopped();
        let now = self.now;
        let Some(task) = self.rollout.tasks.get(at) else { return };
        // What everything is stopped by keeps it waiting; once that ends it goes out.
        if stopped || task.again_at.is_none_or(|again_at| now < again_at) {
            return;
        }
        self.send_undo(at);
    }
}

/// Whether something of it is being taken back, or is to be.
pub(super) fn goes_back(task: &Task) -> bool {
    task.state == T::Undoing || (!task.to_undo.is_empty() && done(task))
}

/// Whether something may have been done that can be taken back.
pub(super) fn done(task: &Task) -> bool {
    match task.state {
        T::Succeeded | T::Failed => task.changed,
        T::Verified | T::VerifyFailed | T::Interrupted | T::UndoFailed => true,
        _ => false,
    }
}
