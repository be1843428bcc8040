//! The invariants. After every commit only what it touched is looked at; now and then everything is.
//!
//! Numbers are those of the list of invariants in `docs/simulation.md`. 0 is a defect of the machine itself: it wanted
//! to go where its own table of states forbids.

use stanch_engine::rollout::{Effect, Event, Halt, MAX_SENDS, Rollout, step};
use stanch_model::id::TaskId;
use stanch_model::remediation::{RemediationState as S, TaskState as T};

use crate::commit::is_aside;
use crate::setup::SKEW;
use crate::store::Row;
use crate::world::{Checked, Loaded, World, stamp, violated};

/// An order must start within so many milliseconds of its poll.
pub(crate) const START_WITHIN: i64 = 60_000;

impl World {
    /// 1: a step takes no more than the limit, before any store says so.
    pub(crate) fn check_limit(&self, next: &Rollout, effects: &[Effect]) -> Checked {
        if !effects.iter().any(|effect| matches!(effect, Effect::Reserve { undo: false, .. })) {
            return Ok(());
        }
        let taken = next.tasks.iter().filter(|task| task.state.holds_lane() && task.state != T::Undoing).count();
        if taken > next.terms.limits.concurrent as usize {
            return violated(1, format!("{taken} targets at once, the limit is {}", next.terms.limits.concurrent));
        }
        Ok(())
    }

    /// 13: nothing is verified on facts that were read before the act had ended.
    pub(crate) fn check_judged(&self, loaded: &Loaded, task: &TaskId, effects: &[Effect]) -> Checked {
        let verified = |effect: &Effect| matches!(effect, Effect::TaskEntered { task: entered, state: T::Verified } if entered == task);
        let Some(stored) = self.store.row(loaded.row).filter(|_| effects.iter().any(verified)) else { return Ok(()) };
        let ended_at = stored.task(task).and_then(|at| stored.truth[at].ended_at);
        match (ended_at, loaded.facts_truly) {
            (Some(ended), Some(read)) if read <= ended => {
                violated(13, "verified on facts that are not newer than the act")
            }
            _ => Ok(()),
        }
    }

    /// What a step wants to do, against what is true before it is done. `decided` is when its server looked, on its
    /// clock: it may stand still before it commits, and spans count from decision to decision.
    pub(crate) fn check_effects(
        &mut self,
        row: u32,
        decided: i64,
        before: &Rollout,
        next: &Rollout,
        effects: &[Effect],
    ) -> Checked {
        let Some(stored) = self.store.row(row) else { return Ok(()) };
        let mut at = before.state;
        let mut bakes: Vec<(usize, i64)> = Vec::new();
        let mut intents: Vec<&TaskId> = Vec::new();
        for effect in effects {
            match effect {
                Effect::Entered { state } => {
                    // The path is told state by state, and each is one that the table of states allows.
                    if !at.may_become(*state) {
                        return violated(0, format!("{at} cannot become {state}"));
                    }
                    match (at, *state) {
                        (S::Verifying(_), S::Baking(wave)) => bakes.push((wave as usize, decided)),
                        (S::Baking(wave), S::Rolling(_) | S::Verified) => {
                            baked(stored, next, wave, &bakes, decided)?;
                        }
                        _ => {}
                    }
                    at = *state;
                }
                Effect::RecordIntent { task, .. } => intents.push(task),
                Effect::DispatchApply { task, .. } => {
                    self.may_dispatch(stored, decided, before, next, task, &intents)?;
                }
                Effect::DispatchUndo { items, .. } if items.is_empty() => return violated(7, "an undo of nothing"),
                Effect::Close { items } => {
                    for (place, task) in next.tasks.iter().enumerate() {
                        for item in task.items.iter().filter(|item| items.contains(item)) {
                            let host = &self.hosts[stored.hosts[place] as usize];
                            if stored.truth[place].proven.is_none() {
                                return violated(13, "closed on facts that are not newer than the act");
                            }
                            if !host.has(item) {
                                return violated(13, format!("closed, and {} has it still", host.name()));
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        if at != next.state {
            return violated(0, format!("the path ends at {at}, the state is {}", next.state));
        }
        if let Some(stored) = self.store.row_mut(row) {
            for (wave, since) in bakes {
                if stored.baking.len() <= wave {
                    stored.baking.resize(wave + 1, None);
                }
                stored.baking[wave] = Some(since);
            }
        }
        Ok(())
    }

    fn may_dispatch(
        &self,
        stored: &Row,
        decided: i64,
        before: &Rollout,
        next: &Rollout,
        task: &TaskId,
        granted_now: &[&TaskId],
    ) -> Checked {
        let Some(at) = stored.task(task) else { return violated(0, "an order for nothing") };
        let (here, truth) = (&next.tasks[at], &stored.truth[at]);
        let queue = &self.store.queues[stored.hosts[at] as usize];
        let host = &self.hosts[stored.hosts[at] as usize];
        if before.hold.is_some() {
            return violated(5, format!("an order to act on {} under a hold", host.name()));
        }
        if !stored.approved {
            return violated(6, "an order to act without an approval of this hash");
        }
        if !truth.intent || granted_now.contains(&task) {
            return violated(14, "an order to act before the intent was durable");
        }
        for (place, other) in next.tasks.iter().enumerate().filter(|(_, other)| other.wave < here.wave) {
            if !is_aside(other.state) && other.failed.is_none() && stored.truth[place].proven.is_none() {
                return violated(10, format!("wave {} began before wave {} was proven", here.wave + 1, other.wave + 1));
            }
        }
        if truth.sent >= MAX_SENDS {
            return violated(12, "sent again without end");
        }
        if host.own {
            let busy = |state: T| state.holds_lane() || matches!(state, T::Pending | T::NotStarted);
            let others = next.tasks.iter().enumerate().filter(|(place, _)| *place != at);
            if others
                .clone()
                .any(|(_, other)| busy(other.state) && !self.own_later(stored, next, other.wave, here.wave))
            {
                return violated(17, format!("{} runs Stanch itself and did not come last and alone", host.name()));
            }
        }
        if truth.sent > 0 {
            return Ok(());
        }
        for item in &here.items {
            let Some(bit) = host.bit(item) else { continue };
            let made = next.attempts.get(item).map_or(0, |attempts| attempts.count);
            if made > next.terms.limits.max_attempts {
                return violated(
                    12,
                    format!("attempt {made} at an item, {} are allowed", next.terms.limits.max_attempts),
                );
            }
            let pause = i64::from(next.terms.limits.cooldown_seconds) * 1_000 - 2 * SKEW;
            if !stored.by_hand && queue.attempted[bit].is_some_and(|last| decided - last < pause) {
                return violated(12, "another attempt before the cool-down was over");
            }
            if queue.suppressed[bit] >= stored.versions[at][bit] {
                return violated(12, format!("an item that was taken back on {} is done again", host.name()));
            }
        }
        Ok(())
    }

    /// Whether a wave is one of Stanch's own that comes after this one.
    fn own_later(&self, stored: &Row, next: &Rollout, wave: u32, here: u32) -> bool {
        let mut of = next.tasks.iter().zip(&stored.hosts).filter(|(task, _)| task.wave == wave);
        wave > here && of.all(|(_, host)| self.hosts[*host as usize].own)
    }

    /// What a row says, against what is true of the targets.
    pub(crate) fn check_row(&self, row: u32, before: &Rollout, effects: &[Effect]) -> Checked {
        let Some(stored) = self.store.row(row) else { return Ok(()) };
        let rollout = &stored.rollout;
        if stored.reserved > rollout.terms.limits.concurrent {
            return violated(1, format!("{} shares are taken of {}", stored.reserved, rollout.terms.limits.concurrent));
        }
        let mut moved = false;
        for effect in effects {
            match effect {
                Effect::TaskEntered { task, .. } => {
                    if let Some(at) = stored.task(task) {
                        self.check_task(row, stored, at)?;
                    }
                }
                Effect::Entered { .. } => moved = true,
                _ => {}
            }
        }
        if moved {
            self.check_end(row, stored)?;
            let went_back = |effect: &Effect| matches!(effect, Effect::Entered { state: S::RollingBack });
            if before.state == S::RollingBack || effects.iter().any(went_back) {
                self.check_taken_back(row, before, stored)?;
            }
        }
        if moved || stored.generation.is_multiple_of(16) {
            self.check_reasons(stored)?;
        }
        Ok(())
    }

    fn check_task(&self, row: u32, stored: &Row, at: usize) -> Checked {
        let (task, truth) = (&stored.rollout.tasks[at], &stored.truth[at]);
        let host = stored.hosts[at];
        let begun = truth.starts.iter().any(|starts| *starts > 0);
        let unbegun = matches!(task.state, T::Pending | T::NotStarted | T::Cancelled | T::Skipped | T::Deferred);
        if unbegun && begun {
            let name = self.hosts[host as usize].name();
            return violated(4, format!("{name} is {} although it was begun", task.state.name()));
        }
        let lane = self.store.queues[host as usize].lane;
        let mine = lane.is_some_and(|(holder, holds)| holder == row && holds as usize == at);
        if task.state.holds_lane() != mine {
            return violated(
                1,
                format!("{} is {} and its lane says otherwise", self.hosts[host as usize].name(), task.state.name()),
            );
        }
        let (suppressed, lifted) = (&self.store.queues[host as usize].suppressed, self.hosts[host as usize].lifted);
        let seen = |bit: usize| suppressed[bit] >= stored.versions[at][bit] || lifted >> bit & 1 == 1;
        let mut undone = task.undone.iter().filter_map(|item| self.hosts[host as usize].bit(item));
        if undone.any(|bit| !seen(bit)) {
            return violated(12, "taken back and not suppressed");
        }
        Ok(())
    }

    /// What the state says of the targets must be true of them.
    fn check_end(&self, row: u32, stored: &Row) -> Checked {
        let state = stored.rollout.state;
        let untouched = matches!(
            state,
            S::RolledBack | S::Cancelled | S::Expired | S::Rejected | S::Dismissed | S::Planned | S::Superseded
        );
        // One that needed a person may be dismissed with what was done left as it is.
        let dealt_with = state == S::Dismissed && stored.truth.iter().any(|truth| truth.sent > 0);
        if untouched && !dealt_with {
            for (at, host) in stored.hosts.iter().enumerate() {
                let host = &self.hosts[*host as usize];
                if host.owns(row, at) {
                    return violated(15, format!("it is {state} and {} is changed", host.name()));
                }
            }
        }
        if state == S::Closed {
            for (at, task) in stored.rollout.tasks.iter().enumerate().filter(|(_, task)| task.state == T::Verified) {
                let host = &self.hosts[stored.hosts[at] as usize];
                if task.items.iter().any(|item| !host.has(item)) {
                    return violated(13, format!("it is closed and {} is not changed", host.name()));
                }
            }
        }
        for (at, task) in stored.rollout.tasks.iter().enumerate().filter(|(_, task)| task.state == T::Undone) {
            let host = &self.hosts[stored.hosts[at] as usize];
            if host.owns(row, at) && !task.undone.is_empty() {
                return violated(15, format!("{} is undone and still changed", host.name()));
            }
        }
        Ok(())
    }

    /// 15: what a bad ring changed was taken back, or that was tried.
    fn check_taken_back(&self, row: u32, before: &Rollout, stored: &Row) -> Checked {
        let rollout = &stored.rollout;
        // What a person asks to have taken back is what they name, also after it was handed over to them.
        let asked = matches!(rollout.halt, Some(Halt::Person { .. })) || before.undo_by.is_some();
        if asked || !rollout.halt.as_ref().is_some_and(Halt::rolls_back) || rollout.state == S::RollingBack {
            return Ok(());
        }
        let ring = rollout.tasks.iter().filter(|task| task.sends > 0).map(|task| task.wave).max();
        for (at, task) in rollout.tasks.iter().enumerate().filter(|(_, task)| Some(task.wave) == ring) {
            let host = &self.hosts[stored.hosts[at] as usize];
            if host.owns(row, at) && task.undo_attempt == 0 && task.state != T::Lost {
                return violated(15, format!("the bad ring was to be taken back and {} was not", host.name()));
            }
        }
        Ok(())
    }

    /// 16: whoever waits says on what.
    fn check_reasons(&self, stored: &Row) -> Checked {
        let rollout = &stored.rollout;
        let now = stamp(self.now);
        if rollout.state.is_over() || !rollout.blocked(now).is_empty() {
            return Ok(());
        }
        match step(rollout, Event::Tick, now) {
            Ok((next, effects)) if next == **rollout && effects.is_empty() => {
                violated(16, format!("it is {} and nobody can see why", rollout.state))
            }
            Ok(_) => Ok(()),
            Err(illegal) => violated(0, illegal.to_string()),
        }
    }

    /// Everything there is.
    pub(crate) fn check_all(&self) -> Checked {
        for row in &self.store.live {
            let Some(stored) = self.store.row(*row) else { continue };
            let mut shares = 0;
            for at in 0..stored.rollout.tasks.len() {
                self.check_task(*row, stored, at)?;
                let state = stored.rollout.tasks[at].state;
                shares += u32::from(state.holds_lane() && state != T::Undoing);
            }
            if shares != stored.reserved {
                return violated(1, format!("{} shares are taken, {shares} tasks hold one", stored.reserved));
            }
            // What was closed may have come back since.
            if stored.rollout.state != S::Closed {
                self.check_end(*row, stored)?;
            }
            self.check_reasons(stored)?;
        }
        Ok(())
    }
}

/// 10: a wave is over only when it was watched long enough and everything in it is proven.
fn baked(stored: &Row, next: &Rollout, wave: u32, begun: &[(usize, i64)], decided: i64) -> Checked {
    let at = wave as usize;
    let since = begun.iter().rev().find(|(known, _)| *known == at).map(|(_, since)| *since);
    let since = since.or_else(|| stored.baking.get(at).copied().flatten());
    let seconds = next.bakes.get(at).copied().unwrap_or(0);
    let least = i64::from(seconds) * 1_000 - 2 * SKEW;
    if since.is_none_or(|since| decided - since < least) {
        return violated(10, format!("wave {} was not watched for {seconds} s", wave + 1));
    }
    for (place, task) in next.tasks.iter().enumerate().filter(|(_, task)| task.wave == wave) {
        if !is_aside(task.state) && task.failed.is_none() && stored.truth[place].proven.is_none() {
            return violated(10, format!("wave {} is over and not all of it is proven", wave + 1));
        }
    }
    Ok(())
}
