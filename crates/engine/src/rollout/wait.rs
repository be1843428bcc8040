//! Why a rollout is not further than it is: a value for every wait.

use jiff::Timestamp;
use stanch_model::id::TaskId;
use stanch_model::remediation::{RemediationState as S, TaskState as T};

use super::advance::awaits_facts;
use super::back::goes_back;
use super::{HoldLevel, Machine, Rollout, Task};
use crate::blocked::Blocked;
use crate::defect::{Defect, planted};

impl Rollout {
    /// What it waits for, as a whole or task by task. Empty only when it is over, or the next tick moves it.
    pub fn blocked(&self, now: Timestamp) -> Vec<(Option<TaskId>, Blocked)> {
        if planted(Defect::HideReasons) && matches!(self.state, S::Halted | S::RollingBack) {
            return Vec::new();
        }
        let hold = |reason: &str| Blocked::Hold { reason: reason.to_owned() };
        let mut waits: Vec<(Option<TaskId>, Blocked)> = Vec::new();
        match self.state {
            S::Planned | S::AwaitingApproval => waits.push((None, Blocked::Approval)),
            S::AwaitingConfirmation => waits.extend(
                self.questions
                    .iter()
                    .map(|question| (None, Blocked::Confirmation { role: question.asked, due: question.due })),
            ),
            S::Paused => {
                if let Some(held) = &self.hold {
                    waits.push((None, hold(&held.reason)));
                }
                if let Some(detail) = self.pause.as_ref().and_then(|pause| pause.inconclusive.clone()) {
                    waits.push((None, Blocked::Inconclusive { detail }));
                }
            }
            S::Baking(_) => {
                if let Some(until) = self.bake_until.filter(|until| now < *until) {
                    waits.push((None, Blocked::Bake { until }));
                }
            }
            S::RollingBack => {
                if let Some(held) = self.hold.as_ref().filter(|held| held.level == HoldLevel::StopAll) {
                    waits.push((None, hold(&held.reason)));
                }
            }
            S::NeedsOperator => {
                let failed = self.tasks.iter().find(|task| task.state == T::UndoFailed);
                let reason = match (failed, &self.halt) {
                    (Some(task), _) => {
                        format!("taking back failed on {}: {}", task.asset, task.message.as_deref().unwrap_or_default())
                    }
                    (None, Some(halt)) => halt.to_string(),
                    (None, None) => "something was left half done".to_owned(),
                };
                waits.push((None, Blocked::Person { reason }));
            }
            S::PartiallyRemediated => {
                let open = self.tasks.iter().filter(|task| !matches!(task.state, T::Verified | T::Skipped)).count();
                let undone: usize = self.tasks.iter().map(|task| task.undone.len()).sum();
                let reason = match open {
                    0 if undone > 0 => format!("{undone} of its items were taken back"),
                    0 => "some items are not closed".to_owned(),
                    open => format!("{open} of {} targets are left over", self.tasks.len()),
                };
                waits.push((None, Blocked::Person { reason }));
            }
            _ => {}
        }
        let machine = Machine { rollout: self.clone(), effects: Vec::new(), now };
        if let Some(blocked) = machine.closed().filter(|_| matches!(self.state, S::Scheduled)) {
            waits.push((None, blocked));
        }
        if let Some(held) = self.hold.as_ref().filter(|_| matches!(self.state, S::Verified)) {
            waits.push((None, hold(&held.reason)));
        }
        let wave = machine.wave();
        for task in &self.tasks {
            if let Some(blocked) = self.task_blocked(&machine, task, wave) {
                waits.push((Some(task.id.clone()), blocked));
            }
        }
        waits
    }

    fn task_blocked(&self, machine: &Machine, task: &Task, wave: Option<u32>) -> Option<Blocked> {
        let asset = || task.asset.clone();
        let current = wave == Some(task.wave);
        if let Some(blocked) = task.no_room.as_ref().filter(|_| task.state != T::Undoing && goes_back(task)) {
            return Some(blocked.clone());
        }
        match task.state {
            T::Running if task.rest => {
                let again = task.again_at.filter(|again_at| machine.now < *again_at);
                again.map(|until| Blocked::Cooldown { until }).or_else(|| machine.gate(task))
            }
            T::Dispatched | T::Accepted | T::Running | T::Undoing if task.away => {
                Some(Blocked::Away { asset: asset() })
            }
            T::Dispatched | T::Accepted | T::Running | T::Undoing => Some(Blocked::Answer { asset: asset() }),
            T::Unknown | T::Reconciling => Some(Blocked::Journal { asset: asset() }),
            T::Deferred if !task.away && wave.is_some_and(|wave| task.wave <= wave) => {
                Some(Blocked::LeftBehind { asset: asset() })
            }
            T::Deferred if wave.is_some_and(|wave| task.wave <= wave) => Some(Blocked::Away { asset: asset() }),
            T::Pending | T::NotStarted if matches!(self.state, S::Rolling(_)) && current => {
                if let Some(blocked) = &task.no_room {
                    return Some(blocked.clone());
                }
                let again = task.again_at.filter(|again_at| machine.now < *again_at);
                again
                    .map(|until| Blocked::Cooldown { until })
                    .or_else(|| machine.bar(task))
                    .or_else(|| machine.gate(task))
                    .or_else(|| {
                        let limit = self.terms.limits.concurrent;
                        (self.in_flight() >= limit as usize).then_some(Blocked::Concurrency { limit })
                    })
            }
            T::Succeeded | T::Verified
                if matches!(self.state, S::Verifying(_) | S::Baking(_))
                    && current
                    && task.round > 0
                    && task.judged_round != task.round =>
            {
                Some(Blocked::FreshFacts { asset: asset() })
            }
            T::Undone | T::Verified if self.state == S::RollingBack && awaits_facts(task) => {
                Some(Blocked::FreshFacts { asset: asset() })
            }
            _ => None,
        }
    }
}
