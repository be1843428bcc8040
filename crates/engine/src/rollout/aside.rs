//! The failure budget: one over the whole rollout. A bad target is set aside and taken back alone, and nothing else
//! stops, until one more failed than may. An executor that is out of reach has not failed.

use stanch_model::order::CheckOutcome;
use stanch_model::remediation::TaskState as T;

use super::back::{done, goes_back};
use super::{Effect, Halt, Illegal, Machine, Task};
use crate::blocked::Blocked;
use crate::breaker::Word;
use crate::defect::{Defect, planted};
use crate::plan::Replan;
use crate::verify::Failure;

impl Machine {
    /// Counts what went wrong and was not counted before, and answers whether that was one too many. Otherwise those
    /// targets are set aside.
    pub(super) fn count_failures(&mut self) -> Result<Option<Halt>, Illegal> {
        let undo_failed = self.rollout.tasks.iter().find(|task| task.state == T::UndoFailed);
        if let Some(task) = undo_failed {
            let message = task.message.clone().unwrap_or_default();
            return Ok(Some(Halt::UndoFailed { asset: task.asset.clone(), message }));
        }
        let mut last = None;
        for at in self.tasks_where(|task| task.failed.is_none()) {
            let Some(halt) = self.rollout.tasks.get(at).and_then(failure) else { continue };
            self.tell_trials(at, |span| Word::Bad { span });
            if let Some(task) = self.rollout.tasks.get_mut(at) {
                if halt.rolls_back() && done(task) && !planted(Defect::ForgetAside) {
                    task.to_undo = task.items.iter().filter(|item| !task.undone.contains(item)).cloned().collect();
                }
                task.failed = Some(halt.clone());
            }
            last = Some(halt);
        }
        let Some(last) = last else { return Ok(None) };
        Ok(self.over_budget(last))
    }

    fn over_budget(&self, last: Halt) -> Option<Halt> {
        let limit = &self.rollout.terms.halt_if;
        let tasks = &self.rollout.tasks;
        let count =
            |wanted: &dyn Fn(&&Task) -> bool| u32::try_from(tasks.iter().filter(wanted).count()).unwrap_or(u32::MAX);
        let failed = count(&|task| task.failed.is_some());
        let first = count(&|task| task.failed.is_some() && task.wave == 0);
        let begun = count(&|task| task.sends > 0);
        let share = u64::from(failed) * 100 >= u64::from(limit.failed_percent) * u64::from(begun);
        let too_many = failed >= limit.failed || first >= limit.failed_in_first_wave || share;
        if !too_many || planted(Defect::IgnoreFailures) {
            return None;
        }
        Some(if failed == 1 { last } else { Halt::TooMany { failed, begun, last: Box::new(last) } })
    }

    /// Sets a leaf aside that was not begun, until it is planned again.
    pub(super) fn set_aside(&mut self, at: usize, why: Replan) -> Result<(), Illegal> {
        let Some(task) = self.rollout.tasks.get_mut(at) else { return Ok(()) };
        task.message = Some(why.to_string());
        task.replan = Some(why.clone());
        self.effects.push(Effect::NeedsReplan { task: task.id.clone(), why });
        if task.state == T::Refused { Ok(()) } else { self.task_to(at, T::Cancelled) }
    }

    /// Tells the breakers on trial what became of a start that was part of it.
    pub(super) fn tell_trials(&mut self, at: usize, word: impl Fn(String) -> Word) {
        let Some(task) = self.rollout.tasks.get(at) else { return };
        for (scope, span) in &task.trials {
            self.effects.push(Effect::Breaker { scope: scope.clone(), word: word(span.clone()) });
        }
    }

    /// Whether a wave has shown anything: one target proven, or nothing there that could be tried.
    pub(super) fn has_shown(&self, wave: u32) -> bool {
        let mut mine = self.rollout.tasks.iter().filter(|task| task.wave == wave).peekable();
        let shown =
            self.rollout.tasks.iter().any(|task| {
                task.wave == wave && matches!(task.state, T::Verified | T::Skipped) && task.failed.is_none()
            });
        shown
            || self.rollout.cancelled_by.is_some()
            || (wave > 0 && mine.peek().is_some() && mine.all(|task| task.replan.is_some()))
    }

    /// The wave ended without anything to go on from.
    pub(super) fn nothing_shown(&mut self, wave: u32) -> Result<(), Illegal> {
        let waits = |task: &Task| task.wave == wave && goes_back(task);
        if self.rollout.tasks.iter().any(waits) {
            return Ok(());
        }
        let blocked = Blocked::Person { reason: Halt::NothingProven { wave }.to_string() };
        self.effects.push(Effect::Notify { blocked });
        self.halt(Halt::NothingProven { wave })
    }
}

/// What went wrong on one target, if anything did.
fn failure(task: &Task) -> Option<Halt> {
    let asset = task.asset.clone();
    let judged = || match task.judgement.as_ref().and_then(|judgement| judgement.failure) {
        Some(Failure::Health) => Halt::Health { asset: task.asset.clone() },
        failure => Halt::NotVerified { asset: task.asset.clone(), failure: failure.unwrap_or(Failure::StillThere) },
    };
    let failed = task.judgement.as_ref().is_some_and(|judgement| judgement.outcome == CheckOutcome::Failed);
    match task.state {
        T::Interrupted if task.rest => {
            Some(Halt::HalfDone { asset, message: task.message.clone().unwrap_or_default() })
        }
        T::Failed | T::Interrupted => Some(Halt::Failed { asset, message: task.message.clone().unwrap_or_default() }),
        T::Lost => Some(Halt::Lost { asset }),
        T::VerifyFailed => Some(judged()),
        T::Verified if failed => Some(judged()),
        _ => None,
    }
}
