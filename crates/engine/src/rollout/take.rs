//! Taking one event: what it says is written down; what follows from it is settled afterwards.

use jiff::Timestamp;
use stanch_model::canonical::Digest;
use stanch_model::id::{ActorId, AssetId, ItemId};
use stanch_model::order::CheckOutcome;
use stanch_model::remediation::{RemediationState as S, TaskState as T};

use super::{Effect, Event, Halt, Illegal, MAX_SENDS, Machine, NO_ROOM_SECONDS, RESEND_SECONDS, Task, Word};
use crate::blocked::Blocked;
use crate::defect::{Defect, planted};
use crate::plan::Replan;
use crate::verify::Judgement;

impl Machine {
    pub(super) fn take(&mut self, event: Event) -> Result<(), Illegal> {
        match event {
            Event::Submitted => {
                self.only(self.rollout.state == S::Planned, "submitting")?;
                self.effects.push(Effect::Notify { blocked: Blocked::Approval });
                self.to(S::AwaitingApproval)
            }
            Event::Approved { plan, by, until } => self.approved(plan, Some(by), until),
            Event::Granted { plan } => {
                if !self.rollout.terms.approvals.is_empty() {
                    return Err(Illegal::NotByItself { why: "its terms ask for approvals" });
                }
                if self.rollout.policies.is_empty() {
                    return Err(Illegal::NotByItself { why: "no rule asked for it" });
                }
                self.approved(plan, None, None)
            }
            Event::Rejected { .. } => {
                self.only(self.rollout.state == S::AwaitingApproval, "a rejection")?;
                self.to(S::Rejected)
            }
            Event::Superseded => {
                let rolling = matches!(self.rollout.state, S::Rolling(_));
                let may = rolling || self.rollout.state.may_become(S::Superseded);
                self.only(may && self.nothing_begun(), "superseding")?;
                self.cancel_unbegun()?;
                self.rollout.pause = None;
                if rolling {
                    self.to(S::Paused)?;
                }
                self.to(S::Superseded)
            }
            Event::Dismissed { .. } => {
                self.only(
                    matches!(self.rollout.state, S::Planned | S::AwaitingApproval | S::NeedsOperator),
                    "dismissing",
                )?;
                self.to(S::Dismissed)
            }
            Event::Tick => self.advance(),
            Event::Receipt { task, order, word } => {
                let at = self.find(&task)?;
                self.receipt(at, order, word)
            }
            Event::Judged { task, round, judgement } => {
                let at = self.find(&task)?;
                self.judged(at, round, *judgement)
            }
            Event::Facts { asset, collected_at } => {
                for task in self.rollout.tasks.iter_mut().filter(|task| task.asset == asset) {
                    task.facts_at = task.facts_at.max(Some(collected_at));
                }
                Ok(())
            }
            Event::Reach { asset, reachable } => self.reach(&asset, reachable),
            Event::LeaseExpired { task } => {
                let at = self.find(&task)?;
                self.lease_expired(at)
            }
            Event::SurroundingsChanged { surroundings } => {
                self.rollout.surroundings = *surroundings;
                Ok(())
            }
            Event::NoRoom { task, blocked } => {
                let at = self.find(&task)?;
                let again = self.after(NO_ROOM_SECONDS);
                let waits =
                    |task: &&mut Task| matches!(task.state, T::Pending | T::NotStarted) || !task.to_undo.is_empty();
                if let Some(task) = self.rollout.tasks.get_mut(at).filter(waits) {
                    task.again_at = again;
                    task.no_room = Some(blocked);
                }
                Ok(())
            }
            Event::Answered { answer, role, by } => self.answered(answer, role, by),
            Event::HoldChanged { hold } => {
                self.rollout.hold = hold;
                Ok(())
            }
            Event::UndoAsked { items, by } => self.undo_asked(items, by),
            Event::Cancelled { by } => self.cancelled(by),
        }
    }

    const fn only(&self, sensible: bool, event: &'static str) -> Result<(), Illegal> {
        if sensible { Ok(()) } else { Err(Illegal::NotNow { event, state: self.rollout.state }) }
    }

    fn approved(&mut self, plan: Digest, by: Option<ActorId>, until: Option<Timestamp>) -> Result<(), Illegal> {
        self.only(matches!(self.rollout.state, S::Planned | S::AwaitingApproval), "an approval")?;
        if plan != self.rollout.plan && !planted(Defect::AcceptAnyHash) {
            return Err(Illegal::OtherPlan { approved: plan, plan: self.rollout.plan });
        }
        if self.now > self.rollout.valid_until || until.is_some_and(|until| self.now > until) {
            return self.to(S::Expired);
        }
        self.rollout.automatic = by.is_none();
        self.rollout.approved_by = by;
        self.rollout.approved_until = until;
        self.to(S::Approved)?;
        self.to(S::Scheduled)
    }

    /// Whether the approval ran out before anything began. After the first start the plan's own validity holds.
    pub(super) fn approval_is_void(&self) -> bool {
        self.rollout.approved_until.is_some_and(|until| self.now > until)
            && self.nothing_begun()
            && !planted(Defect::IgnoreExpiry)
    }

    pub(super) fn nothing_begun(&self) -> bool {
        self.rollout.tasks.iter().all(|task| task.sends == 0)
    }

    /// Cancels what no executor was ever told of, or what a journal says was never begun.
    pub(super) fn cancel_unbegun(&mut self) -> Result<(), Illegal> {
        let unbegun = |state| matches!(state, T::Pending | T::Deferred | T::NotStarted | T::Reserved | T::Granted);
        for at in self.tasks_where(|task| unbegun(task.state)) {
            if let Some(task) = self.rollout.tasks.get_mut(at).filter(|task| task.state == T::Deferred) {
                task.message = Some("it was not connected while its ring went; it is planned anew".to_owned());
            }
            self.task_to(at, T::Cancelled)?;
        }
        Ok(())
    }

    fn receipt(&mut self, at: usize, order: u32, word: Word) -> Result<(), Illegal> {
        let Some(task) = self.rollout.tasks.get_mut(at) else { return Ok(()) };
        let is_undo_word = matches!(word, Word::Undone { .. } | Word::UndoFailed { .. });
        // A journal asked before the newest order was sent does not know of that order. One asked after it says the
        // same however often it was asked since: slow answers would else never be in time.
        let asked_after = order > task.apply_order && order <= task.reconcile_order;
        if order > 0 && order == task.undo_order {
            return self.undo_word(at, word);
        }
        if order > 0 && (order == task.apply_order || asked_after) {
            return self.apply_word(at, word);
        }
        if planted(Defect::TakeStaleReceipts) {
            return if is_undo_word { self.undo_word(at, word) } else { self.apply_word(at, word) };
        }
        Err(Illegal::Stale { task: task.id.clone(), order })
    }

    fn apply_word(&mut self, at: usize, word: Word) -> Result<(), Illegal> {
        let Some(task) = self.rollout.tasks.get_mut(at) else { return Ok(()) };
        let state = task.state;
        if !matches!(state, T::Dispatched | T::Accepted | T::Running | T::Unknown | T::Reconciling) {
            // Said before: receipts may come twice.
            return Ok(());
        }
        if let Word::Partly { ended_at } = word {
            task.changed = true;
            task.acted_at = Some(ended_at);
        }
        match word {
            Word::Partly { .. } => return self.partly(at),
            // Of a rest that was sent again, "never begun" is true of the rest alone, and so is a refusal.
            Word::NotStarted if task.changed => return self.partly(at),
            Word::Refused { message, .. } if task.changed => return self.leave_rest(at, message),
            _ => {}
        }
        let drifted = matches!(&word, Word::Refused { moved: true, .. }) && state != T::Running;
        let (next, message) = match word {
            Word::Accepted if state == T::Dispatched => (T::Accepted, None),
            Word::Running if state != T::Running => (T::Running, None),
            Word::Succeeded { changed, ended_at } => {
                task.changed |= changed;
                task.acted_at = Some(ended_at);
                (T::Succeeded, None)
            }
            Word::Failed { changed, message, ended_at } => {
                task.changed |= changed;
                task.acted_at = Some(ended_at);
                (T::Failed, Some(message))
            }
            Word::Interrupted { message, ended_at } => {
                task.changed = true;
                task.acted_at = Some(ended_at);
                (T::Interrupted, Some(message))
            }
            // An order refused after it began has failed without a change.
            Word::Refused { message, .. } if state == T::Running => (T::Failed, Some(message)),
            Word::Refused { message, .. } => (T::Refused, Some(message)),
            Word::NotStarted => (T::NotStarted, None),
            Word::Lost if state == T::Reconciling => (T::Lost, None),
            // What it did is gone with its journal; the order for the rest was not begun.
            Word::Lost if state == T::Running && task.changed => {
                self.task_to(at, T::Unknown)?;
                self.task_to(at, T::Reconciling)?;
                return self.task_to(at, T::Lost);
            }
            _ => return Ok(()),
        };
        task.again_at = None;
        if message.is_some() {
            task.message = message;
        }
        let sends = task.sends;
        if next == T::NotStarted {
            let pause = self.after(RESEND_SECONDS << sends.saturating_sub(1).min(6));
            if let Some(task) = self.rollout.tasks.get_mut(at) {
                task.again_at = pause;
            }
            if state != T::Unknown && state != T::Reconciling {
                self.task_to(at, T::Unknown)?;
            }
        }
        // What is unknown is known through its journal only; a late receipt says the same.
        if matches!(state, T::Unknown) || (next == T::NotStarted && state != T::Reconciling) {
            self.task_to(at, T::Reconciling)?;
        }
        self.task_to(at, next)?;
        match self.rollout.tasks.get(at).and_then(|task| task.message.clone()).filter(|_| drifted) {
            Some(detail) => self.set_aside(at, Replan::Drifted { detail }),
            None => Ok(()),
        }
    }

    /// A part is done, and the rest waits until it may begin.
    fn partly(&mut self, at: usize) -> Result<(), Illegal> {
        let Some(task) = self.rollout.tasks.get(at) else { return Ok(()) };
        let (state, sends) = (task.state, task.sends);
        let pause = self.after(RESEND_SECONDS << sends.saturating_sub(1).min(6));
        if let Some(task) = self.rollout.tasks.get_mut(at) {
            task.rest = true;
            task.again_at = pause;
        }
        if state == T::Unknown {
            self.task_to(at, T::Reconciling)?;
        }
        self.task_to(at, T::Running)
    }

    fn undo_word(&mut self, at: usize, word: Word) -> Result<(), Illegal> {
        let pause = self.after(RESEND_SECONDS);
        let by = self.rollout.undo_by.clone();
        let Some(task) = self.rollout.tasks.get_mut(at) else { return Ok(()) };
        if task.state != T::Undoing {
            return Ok(());
        }
        match word {
            Word::Undone { ended_at } => {
                let items = std::mem::take(&mut task.to_undo);
                task.undone.extend(items.iter().cloned());
                task.undone.sort();
                task.acted_at = Some(ended_at);
                task.again_at = pause;
                let whole = task.undone.len() == task.items.len();
                let asset = task.asset.clone();
                if !planted(Defect::ForgetSuppression) {
                    self.effects.push(Effect::Suppress { asset: asset.clone(), items, by });
                }
                self.effects.push(Effect::RequestFacts { asset });
                self.task_to(at, if whole { T::Undone } else { T::Verified })
            }
            Word::UndoFailed { message } | Word::Refused { message, .. } => {
                task.to_undo.clear();
                task.message = Some(message);
                self.task_to(at, T::UndoFailed)
            }
            Word::NotStarted if task.undo_sends >= MAX_SENDS => {
                task.to_undo.clear();
                task.message = Some(format!("the undo was sent {MAX_SENDS} times and never begun"));
                self.task_to(at, T::UndoFailed)
            }
            Word::NotStarted => {
                task.again_at = pause;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn judged(&mut self, at: usize, round: u32, mut judgement: Judgement) -> Result<(), Illegal> {
        let Some(task) = self.rollout.tasks.get_mut(at) else { return Ok(()) };
        if round != task.round || round == 0 {
            return Err(Illegal::Stale { task: task.id.clone(), order: round });
        }
        if !matches!(task.state, T::Succeeded | T::Verified) {
            return Ok(());
        }
        let newer = task.acted_at.is_none_or(|acted_at| judgement.facts_at > acted_at);
        if !newer && !planted(Defect::TakeOldFacts) {
            judgement.outcome = CheckOutcome::Inconclusive;
            judgement.failure = None;
        }
        if planted(Defect::PromoteInconclusive) && judgement.outcome == CheckOutcome::Inconclusive {
            judgement.outcome = CheckOutcome::Successful;
        }
        let outcome = judgement.outcome;
        let first = task.state == T::Succeeded;
        // Asked twice in one round, the worse of two clear answers stands; an unclear one takes no clear one back.
        if task.judged_round == round
            && task.judgement.as_ref().is_some_and(|known| clear(known) && outcome < CheckOutcome::Failed)
        {
            return Ok(());
        }
        task.judgement = Some(judgement);
        task.judged_round = round;
        match outcome {
            CheckOutcome::Successful if first => {
                self.proves(at);
                self.tell_trials(at, |span| crate::breaker::Word::Good { span });
                self.task_to(at, T::Verified)
            }
            CheckOutcome::Failed if first => self.task_to(at, T::VerifyFailed),
            _ => Ok(()),
        }
    }

    fn reach(&mut self, asset: &AssetId, reachable: bool) -> Result<(), Illegal> {
        let resumes = self.rollout.pause.as_ref().map_or(self.rollout.state, |pause| pause.resume);
        let in_window = self.rollout.window.is_some_and(|window| window.contains(self.now));
        // While a wave is checked or watched, it takes nobody in any more.
        let next = match resumes {
            S::Verifying(wave) | S::Baking(wave) => wave + 1,
            S::Rolling(wave) => wave,
            _ => 0,
        };
        for at in self.tasks_where(|task| task.asset == *asset) {
            let Some(task) = self.rollout.tasks.get_mut(at) else { continue };
            task.away = !reachable;
            task.here |= reachable && in_window;
            match task.state {
                T::Pending if !reachable => self.task_to(at, T::Deferred)?,
                // One that was left behind by its wave joins the next one that rolls, or waits for another plan.
                T::Deferred if reachable && task.wave >= next => self.task_to(at, T::Pending)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn lease_expired(&mut self, at: usize) -> Result<(), Illegal> {
        let now: Timestamp = self.now;
        let Some(task) = self.rollout.tasks.get_mut(at) else { return Ok(()) };
        match task.state {
            // It has spoken: it waits for us.
            T::Running if task.rest => Ok(()),
            T::Dispatched | T::Accepted | T::Running => {
                task.again_at = None;
                self.task_to(at, T::Unknown)
            }
            T::Undoing | T::Succeeded => {
                task.again_at = Some(now);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn undo_asked(&mut self, mut items: Vec<ItemId>, by: ActorId) -> Result<(), Illegal> {
        let active = matches!(self.rollout.state, S::Rolling(_) | S::Verifying(_) | S::Baking(_) | S::Paused);
        let over = matches!(
            self.rollout.state,
            S::Verified | S::AwaitingConfirmation | S::Closed | S::PartiallyRemediated | S::NeedsOperator
        );
        self.only(active || over, "an undo")?;
        if items.is_empty() && planted(Defect::EmptyIsAll) {
            items = self.rollout.tasks.iter().flat_map(|task| &task.items).cloned().collect();
        }
        if items.is_empty() {
            return Err(Illegal::NoItems);
        }
        let mut wanted: Vec<Vec<ItemId>> = vec![Vec::new(); self.rollout.tasks.len()];
        for item in items {
            let here = (0..).zip(&self.rollout.tasks).find(|(_, task)| task.items.contains(&item));
            let (at, task) = here.ok_or_else(|| Illegal::NoItem { item: item.clone() })?;
            if task.undone.contains(&item) {
                return Err(Illegal::NoItem { item });
            }
            let at: usize = at;
            if let Some(wanted) = wanted.get_mut(at) {
                wanted.push(item);
            }
        }
        for (task, wanted) in self.rollout.tasks.iter().zip(&mut wanted) {
            wanted.sort();
            wanted.dedup();
            if wanted.is_empty() {
                continue;
            }
            let done = matches!(
                task.state,
                T::Succeeded | T::Verified | T::VerifyFailed | T::Failed | T::Interrupted | T::UndoFailed
            );
            let on_its_way = active && task.state.holds_lane();
            if !(done || on_its_way) {
                return Err(Illegal::NothingDone { asset: task.asset.clone(), state: task.state });
            }
            let whole = wanted.len() + task.undone.len() == task.items.len();
            if !whole && task.state != T::Verified {
                return Err(Illegal::OnlyWhole { asset: task.asset.clone() });
            }
        }
        for (task, wanted) in self.rollout.tasks.iter_mut().zip(wanted) {
            // What goes back already, because it failed and was set aside, goes on doing so.
            if !wanted.is_empty() || task.state != T::Undoing {
                task.to_undo = wanted;
            }
        }
        self.rollout.undo_by = Some(by.clone());
        if active { self.halt(Halt::Person { by }) } else { self.to(S::RollingBack) }
    }

    fn cancelled(&mut self, by: ActorId) -> Result<(), Illegal> {
        let state = self.rollout.state;
        self.rollout.cancelled_by = Some(by);
        match state {
            S::Planned | S::AwaitingApproval => self.to(S::Dismissed),
            S::Approved | S::Scheduled => {
                self.cancel_unbegun()?;
                self.to(S::Cancelled)
            }
            S::Rolling(_) | S::Verifying(_) | S::Baking(_) | S::Paused => {
                let nothing = self.nothing_begun();
                self.cancel_unbegun()?;
                if nothing {
                    self.rollout.pause = None;
                    self.to(S::Paused)?;
                    return self.to(S::Cancelled);
                }
                // What has begun is brought to an end and checked.
                Ok(())
            }
            _ => Err(Illegal::NotNow { event: "cancelling", state }),
        }
    }
}

fn clear(judgement: &Judgement) -> bool {
    judgement.outcome != CheckOutcome::Inconclusive
}
