//! What follows by itself: the moves of a tick, and what each state makes of its tasks.

use stanch_model::order::CheckOutcome;
use stanch_model::remediation::{RemediationState as S, TaskState as T};

use super::back::goes_back;
use super::{ASK_AGAIN_SECONDS, Effect, Halt, Illegal, MAX_PAUSE_SECONDS, MAX_SENDS, Machine, Pause, Task};
use crate::blocked::Blocked;
use crate::defect::{Defect, planted};
use crate::plan::Replan;
use crate::verify::ItemVerdict;

impl Machine {
    /// The wave it is at, also while paused.
    pub(super) fn wave(&self) -> Option<u32> {
        let of = |state| match state {
            S::Rolling(wave) | S::Verifying(wave) | S::Baking(wave) => Some(wave),
            _ => None,
        };
        of(self.rollout.state).or_else(|| self.rollout.pause.as_ref().and_then(|pause| of(pause.resume)))
    }

    /// One move for each task that may make one.
    pub(super) fn advance(&mut self) -> Result<(), Illegal> {
        let late = self.now > self.rollout.valid_until;
        self.watch_windows();
        match self.rollout.state {
            S::Planned | S::AwaitingApproval if late => return self.to(S::Expired),
            S::Scheduled if late || self.approval_is_void() => {
                self.cancel_unbegun()?;
                return self.to(S::Expired);
            }
            S::Rolling(0) if self.approval_is_void() => {
                self.cancel_unbegun()?;
                return self.to(S::Expired);
            }
            S::Scheduled if self.rollout.hold.is_none() && self.may_begin() => return self.to(S::Rolling(0)),
            S::AwaitingConfirmation => return self.await_confirmation(),
            _ => {}
        }
        for at in self.tasks_where(|task| matches!(task.state, T::Unknown | T::Reconciling)) {
            self.ask_journal(at)?;
        }
        for at in self.tasks_where(|task| task.state == T::Undoing) {
            self.send_undo_again(at);
        }
        self.ask_again();
        if let S::Rolling(wave) = self.rollout.state
            && (self.rollout.hold.is_none() || planted(Defect::IgnoreHold))
        {
            self.take_in(wave)?;
            for at in self.tasks_where(|task| task.wave == wave) {
                self.start(at, late)?;
            }
        }
        Ok(())
    }

    /// One move on the way to the target.
    fn start(&mut self, at: usize, late: bool) -> Result<(), Illegal> {
        let Some(task) = self.rollout.tasks.get(at) else { return Ok(()) };
        let waiting = task.again_at.is_some_and(|again_at| self.now < again_at);
        let taken_back = self.rollout.surroundings.taken_back(task);
        match task.state {
            T::Pending | T::Deferred | T::NotStarted | T::Reserved | T::Granted
                if !taken_back.is_empty() && !planted(Defect::IgnoreSuppression) =>
            {
                self.set_aside(at, Replan::TakenBack { items: taken_back })
            }
            T::Pending | T::Deferred | T::NotStarted | T::Reserved | T::Granted if late => {
                self.set_aside(at, Replan::TooOld)
            }
            T::NotStarted if task.sends >= MAX_SENDS && !planted(Defect::EndlessResend) => {
                self.give_up(at, format!("the order was sent {MAX_SENDS} times and never begun"))
            }
            T::NotStarted if !waiting => self.task_to(at, T::Pending),
            T::Pending if !waiting => match (self.unproven(task), self.bar(task)) {
                (Some(why), _) if !planted(Defect::IgnorePins) => self.set_aside(at, why),
                (_, Some(Blocked::Attempts { limit })) => self.give_up(at, Blocked::Attempts { limit }.to_string()),
                (_, None) if self.room() && self.gate(task).is_none() => self.task_to(at, T::Reserved),
                _ => Ok(()),
            },
            // Its shares count for a time that is over, or it may not start now: others may have them.
            T::Reserved | T::Granted if self.outdated(task) || self.gate(task).is_some() => self.step_back(at),
            T::Reserved => {
                let (task, attempt) = (task.id.clone(), task.attempt);
                if !planted(Defect::SkipIntent) {
                    self.effects.push(Effect::RecordIntent { task, attempt });
                }
                self.task_to(at, T::Granted)
            }
            T::Granted if self.rollout.approved_by.is_some() || self.rollout.automatic => self.dispatch(at),
            T::Running if task.rest && late => {
                self.leave_rest(at, Blocked::TooOld { since: self.rollout.valid_until }.to_string())
            }
            T::Running if task.rest && task.sends >= MAX_SENDS => {
                self.leave_rest(at, format!("the order for the rest was sent {MAX_SENDS} times and never begun"))
            }
            T::Running if task.rest && !waiting && self.gate(task).is_none() => {
                self.send_rest(at);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn room(&self) -> bool {
        self.rollout.in_flight() < self.rollout.terms.limits.concurrent as usize || planted(Defect::IgnoreLimit)
    }

    /// Sends the same order for the rest: what is done answers under its key that it is.
    fn send_rest(&mut self, at: usize) {
        let Some(task) = self.rollout.tasks.get_mut(at) else { return };
        task.rest = false;
        task.orders += 1;
        task.sends += 1;
        task.apply_order = task.orders;
        task.again_at = None;
        let (id, order, attempt) = (task.id.clone(), task.apply_order, task.attempt);
        self.effects.push(Effect::DispatchApply { task: id, order, attempt, rest: true });
    }

    /// Gives the rest up. What is done stays until a person decides.
    pub(super) fn leave_rest(&mut self, at: usize, message: String) -> Result<(), Illegal> {
        if let Some(task) = self.rollout.tasks.get_mut(at) {
            task.rest = true;
            task.message = Some(message);
        }
        self.task_to(at, T::Interrupted)
    }

    fn give_up(&mut self, at: usize, message: String) -> Result<(), Illegal> {
        if let Some(task) = self.rollout.tasks.get_mut(at) {
            task.message = Some(message);
        }
        self.task_to(at, T::Cancelled)
    }

    /// What keeps a task from being attempted at all: the cap, or the cool-down.
    pub(super) fn bar(&self, task: &Task) -> Option<Blocked> {
        // Sending again what never began is no second attempt.
        if task.sends > 0 || planted(Defect::SkipCooldown) {
            return None;
        }
        let limits = &self.rollout.terms.limits;
        let made = task.items.iter().filter_map(|item| self.rollout.attempts.get(item));
        if made.clone().any(|attempts| attempts.count >= limits.max_attempts) {
            return Some(Blocked::Attempts { limit: limits.max_attempts });
        }
        let pause = jiff::SignedDuration::from_secs(i64::from(limits.cooldown_seconds));
        let until = made.filter_map(|attempts| attempts.last_at?.checked_add(pause).ok()).max()?;
        (until > self.now).then_some(Blocked::Cooldown { until })
    }

    fn dispatch(&mut self, at: usize) -> Result<(), Illegal> {
        let now = self.now;
        let Some(task) = self.rollout.tasks.get_mut(at) else { return Ok(()) };
        task.orders += 1;
        task.sends += 1;
        task.apply_order = task.orders;
        task.again_at = None;
        if task.sends == 1 {
            for item in &task.items {
                let attempts = self.rollout.attempts.entry(item.clone()).or_default();
                attempts.count += 1;
                attempts.last_at = Some(now);
            }
        }
        let (id, order, attempt) = (task.id.clone(), task.apply_order, task.attempt);
        self.effects.push(Effect::DispatchApply { task: id, order, attempt, rest: false });
        self.task_to(at, T::Dispatched)
    }

    fn ask_journal(&mut self, at: usize) -> Result<(), Illegal> {
        let again = self.after(ASK_AGAIN_SECONDS);
        let now = self.now;
        let Some(task) = self.rollout.tasks.get_mut(at) else { return Ok(()) };
        if planted(Defect::ResendUnknown) && task.state == T::Unknown {
            task.orders += 1;
            task.attempt += 1;
            task.apply_order = task.orders;
            let (id, order, attempt) = (task.id.clone(), task.apply_order, task.attempt);
            self.effects.push(Effect::DispatchApply { task: id, order, attempt, rest: false });
            return self.task_to(at, T::Reconciling);
        }
        if task.state == T::Reconciling && task.again_at.is_some_and(|again_at| now < again_at) {
            return Ok(());
        }
        task.orders += 1;
        task.reconcile_order = task.orders;
        task.again_at = again;
        self.effects.push(Effect::Reconcile { task: task.id.clone(), order: task.reconcile_order });
        self.task_to(at, T::Reconciling)
    }

    /// Asks again for facts and judgements that did not come.
    fn ask_again(&mut self) {
        let now = self.now;
        let due = |task: &Task| task.again_at.is_some_and(|again_at| again_at <= now);
        let wave = self.wave();
        let inconclusive = self.rollout.pause.as_ref().is_some_and(|pause| pause.inconclusive.is_some());
        let rechecking = self.rollout.rechecking;
        let rolling_back = self.rollout.state == S::RollingBack;
        let verifying = matches!(self.rollout.state, S::Verifying(_) | S::Baking(_)) || inconclusive;
        for at in self.tasks_where(due) {
            let Some(task) = self.rollout.tasks.get(at) else { continue };
            let mine = verifying && Some(task.wave) == wave;
            let wanted = task.state == T::Succeeded || (task.state == T::Verified && rechecking);
            if mine && wanted && (task.judged_round != task.round || is_inconclusive(task)) {
                // A check that could not tell is asked anew; one that has not answered keeps its round.
                let anew = task.judged_round == task.round;
                self.verify(at, anew);
            } else if rolling_back && awaits_facts(task) {
                let asset = task.asset.clone();
                let again = self.after(ASK_AGAIN_SECONDS);
                self.effects.push(Effect::RequestFacts { asset });
                if let Some(task) = self.rollout.tasks.get_mut(at) {
                    task.again_at = again;
                }
            }
        }
    }

    /// Has a task checked, in a new round or in the one that got no answer.
    pub(super) fn verify(&mut self, at: usize, anew: bool) {
        let again = self.after(ASK_AGAIN_SECONDS);
        let Some(task) = self.rollout.tasks.get_mut(at) else { return };
        task.round += u32::from(anew);
        task.again_at = again;
        self.effects.push(Effect::RequestFacts { asset: task.asset.clone() });
        self.effects.push(Effect::Verify { task: task.id.clone(), round: task.round });
    }

    /// Lets the states draw their consequences until nothing more follows.
    pub(super) fn settle(&mut self) -> Result<(), Illegal> {
        // Each turn moves the remediation on; the bound is only there so that a defect cannot spin.
        for _ in 0..64 {
            let before = self.rollout.state;
            self.settle_once()?;
            if self.rollout.state == before {
                break;
            }
        }
        Ok(())
    }

    fn settle_once(&mut self) -> Result<(), Illegal> {
        let state = self.rollout.state;
        if matches!(state, S::Rolling(_) | S::Verifying(_) | S::Baking(_) | S::Paused)
            && let Some(halt) = self.count_failures()?
        {
            return self.halt(halt);
        }
        let may_pause = matches!(state, S::Scheduled | S::Rolling(_) | S::Verifying(_) | S::Baking(_));
        if may_pause && self.rollout.hold.is_some() && !planted(Defect::IgnoreHold) {
            return self.pause(None);
        }
        match state {
            S::Paused => self.resume(),
            S::Rolling(wave) => self.rolled(wave),
            S::Verifying(wave) => self.verified(wave),
            S::Baking(wave) => self.baked(wave),
            S::Verified => self.close(),
            S::Halted => self.halted(),
            S::RollingBack => self.rolling_back(),
            _ => Ok(()),
        }
    }

    fn pause(&mut self, inconclusive: Option<String>) -> Result<(), Illegal> {
        if let Some(detail) = &inconclusive {
            let blocked = Blocked::Inconclusive { detail: detail.clone() };
            self.effects.push(Effect::Notify { blocked });
        }
        self.rollout.pause = Some(Pause { resume: self.rollout.state, inconclusive, since: self.now });
        self.to(S::Paused)
    }

    fn resume(&mut self) -> Result<(), Illegal> {
        let Some(pause) = self.rollout.pause.clone() else { return Ok(()) };
        let wave = self.wave();
        let still = pause.inconclusive.is_some()
            && self.rollout.tasks.iter().any(|task| Some(task.wave) == wave && open_question(task));
        let stood = self.now.duration_since(pause.since).as_secs();
        if still && stood >= i64::from(self.rollout.terms.halt_if.inconclusive_seconds) {
            return self.halt(Halt::Inconclusive { detail: pause.inconclusive.unwrap_or_default() });
        }
        if still || (self.rollout.hold.is_some() && !planted(Defect::IgnoreHold)) {
            return Ok(());
        }
        self.to(pause.resume)?;
        self.rollout.pause = None;
        if stood > MAX_PAUSE_SECONDS {
            let unbegun = |task: &Task| {
                task.sends == 0 && matches!(task.state, T::Pending | T::Deferred | T::Reserved | T::Granted)
            };
            for at in self.tasks_where(unbegun) {
                self.set_aside(at, Replan::TooOld)?;
            }
        }
        Ok(())
    }

    fn rolled(&mut self, wave: u32) -> Result<(), Illegal> {
        let mine = self.tasks_where(|task| task.wave == wave);
        let tasks = || mine.iter().filter_map(|at| self.rollout.tasks.get(*at));
        let over = |state| matches!(state, T::Succeeded | T::Skipped | T::Refused | T::Deferred | T::Cancelled);
        // What was set aside is taken back in its own time and keeps nobody waiting.
        if !tasks().all(|task| over(task.state) || task.failed.is_some()) {
            return Ok(());
        }
        let planned_again = wave > 0 && tasks().all(|task| task.replan.is_some());
        let failed = tasks().any(|task| task.failed.is_some());
        let states: Vec<T> = tasks().map(|task| task.state).collect();
        let done = |state: &T| matches!(state, T::Succeeded | T::Skipped);
        if states.iter().any(done) || planned_again {
            for at in self.tasks_where(|task| task.wave == wave && task.state == T::Succeeded) {
                self.verify(at, true);
            }
            return self.to(S::Verifying(wave));
        }
        if states.contains(&T::Deferred) {
            return Ok(());
        }
        if self.rollout.cancelled_by.is_some() && !states.contains(&T::Refused) {
            if self.nothing_begun() {
                self.to(S::Paused)?;
                return self.to(S::Cancelled);
            }
            return self.to(S::Verifying(wave));
        }
        if failed {
            return self.nothing_shown(wave);
        }
        let told = mine.iter().filter_map(|at| self.rollout.tasks.get(*at)).find_map(|task| task.message.clone());
        self.halt(Halt::NothingBegun { message: told.unwrap_or_default() })
    }

    fn verified(&mut self, wave: u32) -> Result<(), Illegal> {
        let mut waiting = false;
        for task in self.rollout.tasks.iter().filter(|task| task.wave == wave && task.state == T::Succeeded) {
            waiting = true;
            if task.judged_round == task.round && is_inconclusive(task) {
                let detail = detail(task);
                return self.pause(Some(detail));
            }
        }
        if waiting {
            return Ok(());
        }
        if !self.has_shown(wave) {
            return self.nothing_shown(wave);
        }
        let seconds = self.rollout.bakes.get(wave as usize).copied().unwrap_or(0);
        self.rollout.bake_until = self.after(if planted(Defect::SkipBake) { 0 } else { i64::from(seconds) });
        self.rollout.rechecking = false;
        self.to(S::Baking(wave))
    }

    fn baked(&mut self, wave: u32) -> Result<(), Illegal> {
        if self.rollout.bake_until.is_some_and(|until| self.now < until) {
            return Ok(());
        }
        let mine = self.tasks_where(|task| task.wave == wave && task.state == T::Verified);
        let watched = self.rollout.bakes.get(wave as usize).is_some_and(|seconds| *seconds > 0);
        if watched && !self.rollout.rechecking {
            self.rollout.rechecking = true;
            for at in &mine {
                self.verify(*at, true);
            }
            if !mine.is_empty() {
                return Ok(());
            }
        }
        if watched {
            for task in mine.iter().filter_map(|at| self.rollout.tasks.get(*at)) {
                if task.judged_round != task.round {
                    return Ok(());
                }
                if is_inconclusive(task) {
                    let detail = detail(task);
                    return self.pause(Some(detail));
                }
            }
        }
        if !self.has_shown(wave) {
            return self.nothing_shown(wave);
        }
        self.rollout.bake_until = None;
        self.rollout.rechecking = false;
        let next = wave + 1;
        let more =
            self.rollout.tasks.iter().any(|task| task.wave >= next && matches!(task.state, T::Pending | T::Deferred));
        if more && self.now <= self.rollout.valid_until {
            return self.to(S::Rolling(next));
        }
        for at in self.tasks_where(|task| task.state == T::Pending) {
            self.set_aside(at, Replan::TooOld)?;
        }
        self.cancel_unbegun()?;
        self.to(S::Verified)
    }

    fn close(&mut self) -> Result<(), Illegal> {
        if self.rollout.tasks.iter().any(goes_back) {
            return Ok(());
        }
        if self.ask_confirmation() {
            return self.to(S::AwaitingConfirmation);
        }
        self.end()
    }

    /// Closes what is done, and says whether anything is left.
    pub(super) fn end(&mut self) -> Result<(), Illegal> {
        let mut closed = Vec::new();
        let mut whole = true;
        for task in &self.rollout.tasks {
            match task.state {
                T::Skipped => {}
                T::Verified => {
                    let items = task.judgement.iter().flat_map(|judgement| &judgement.items);
                    for (item, verdict) in items {
                        match verdict {
                            ItemVerdict::Fixed | ItemVerdict::Withdrawn => closed.push(item.clone()),
                            // It did all that it was for; the item is another's to close.
                            ItemVerdict::HeldOff => {}
                            _ => whole = false,
                        }
                    }
                }
                _ => whole = false,
            }
        }
        if !closed.is_empty() {
            self.effects.push(Effect::Close { items: closed });
        }
        self.to(if whole { S::Closed } else { S::PartiallyRemediated })?;
        match self.rollout.tasks.iter().find(|task| task.state == T::UndoFailed) {
            Some(task) => {
                let message = task.message.clone().unwrap_or_default();
                let reason = Halt::UndoFailed { asset: task.asset.clone(), message }.to_string();
                self.effects.push(Effect::Notify { blocked: Blocked::Person { reason } });
                self.to(S::NeedsOperator)
            }
            None => Ok(()),
        }
    }
}

fn outcome(task: &Task) -> Option<CheckOutcome> {
    task.judgement.as_ref().map(|judgement| judgement.outcome)
}

fn is_inconclusive(task: &Task) -> bool {
    outcome(task) == Some(CheckOutcome::Inconclusive)
}

/// A judgement that is waited for, or that could not tell.
fn open_question(task: &Task) -> bool {
    matches!(task.state, T::Succeeded | T::Verified)
        && task.round > 0
        && (task.judged_round != task.round || is_inconclusive(task))
}

fn detail(task: &Task) -> String {
    let checks = task.judgement.iter().flat_map(|judgement| &judgement.checks);
    let open = checks.filter(|check| check.outcome == CheckOutcome::Inconclusive);
    open.map(|check| format!("{}: {}", check.name, check.detail)).next().unwrap_or_else(|| "no telemetry".to_owned())
}

/// Something was taken back and no newer facts have come yet.
pub(super) fn awaits_facts(task: &Task) -> bool {
    !task.undone.is_empty() && task.acted_at.is_some_and(|acted_at| task.facts_at.is_none_or(|at| at <= acted_at))
}
