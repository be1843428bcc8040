//! What people ask of a case: to believe that a task is done, to end the case, to take back what it did.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Case, Effect, Errand, Fate, Illegal, Run, Said, State};

impl Case {
    /// A person says that their task is done.
    ///
    /// # Errors
    /// When there is no such task, or it is over.
    pub fn said(&self, run: usize, by: &str, note: &str, now: Timestamp) -> Result<Self, Illegal> {
        let mut next = self.clone();
        let task = next.runs.get_mut(run).ok_or(Illegal::NoTask)?;
        let Errand::Human(said) = &mut task.what else { return Err(Illegal::NoTask) };
        if self.state != State::Open || !task.fates.values().any(|fate| *fate == Fate::Running) {
            return Err(Illegal::TaskOver);
        }
        *said = Some(Said { by: by.to_owned(), at: now, note: note.to_owned() });
        Ok(next)
    }

    /// A person says that their task will not be done.
    ///
    /// # Errors
    /// When there is no such task, or it is over.
    pub fn declined(&self, run: usize, why: &str) -> Result<Self, Illegal> {
        let mut next = self.clone();
        let task = next.runs.get_mut(run).ok_or(Illegal::NoTask)?;
        if !matches!(task.what, Errand::Human(_)) {
            return Err(Illegal::NoTask);
        }
        let mut any = false;
        for fate in task.fates.values_mut().filter(|fate| **fate == Fate::Running) {
            *fate = Fate::Refused(why.to_owned());
            any = true;
        }
        if any && self.state == State::Open { Ok(next) } else { Err(Illegal::TaskOver) }
    }

    /// A person ends it. What has begun is seen through, what was done stays.
    ///
    /// # Errors
    /// When it is over, or on its way back.
    pub fn close(&self, why: &str) -> Result<Self, Illegal> {
        if self.state != State::Open {
            return Err(Illegal::State(self.state.name()));
        }
        Ok(Self { state: State::Closing { why: why.to_owned() }, ..self.clone() })
    }

    /// A person wants everything taken back.
    ///
    /// # Errors
    /// When it is on its way back, or nothing was done.
    pub fn undo(&self, by: &str, why: &str) -> Result<Self, Illegal> {
        if matches!(self.state, State::Undoing { .. } | State::Undone) {
            return Err(Illegal::State(self.state.name()));
        }
        let acts = |run: &&Run| matches!(run.what, Errand::Remediation(_));
        let has_done = |run: &Run| run.fates.values().any(|fate| *fate == Fate::Done || fate.may_go_on());
        if !self.runs.iter().filter(acts).any(has_done) {
            return Err(Illegal::NothingDone);
        }
        Ok(Self { state: State::Undoing { by: by.to_owned(), why: why.to_owned() }, ..self.clone() })
    }

    /// What a run did cannot be taken back.
    pub fn keep(&mut self, run: usize, why: &str) {
        let Some(run) = self.runs.get_mut(run) else { return };
        let back = run.back.clone();
        for (_, fate) in run.fates.iter_mut().filter(|(item, fate)| back.contains(*item) && **fate == Fate::Done) {
            *fate = Fate::Kept(why.to_owned());
        }
    }

    /// Takes back what was done, the last run first and one at a time.
    pub(super) fn go_back(&mut self, effects: &mut Vec<Effect>) {
        if self.call_off(effects) {
            return;
        }
        for at in (0..self.runs.len()).rev() {
            let Some(run) = self.runs.get_mut(at) else { continue };
            if !matches!(run.what, Errand::Remediation(_)) {
                continue;
            }
            run.back = run
                .fates
                .iter()
                .filter(|(_, fate)| matches!(fate, Fate::Done | Fate::GoingBack))
                .map(|(item, _)| item.clone())
                .collect::<BTreeSet<_>>();
            if !run.back.is_empty() {
                self.take_back(at, false, effects);
                return;
            }
        }
        self.enter(State::Undone, effects);
    }

    /// Calls off what has not begun. Answers whether anything is still under way.
    pub(super) fn call_off(&mut self, effects: &mut Vec<Effect>) -> bool {
        let mut under_way = false;
        for at in 0..self.runs.len() {
            let Some(run) = self.runs.get_mut(at) else { continue };
            match run.what {
                Errand::Human(_) => {
                    for fate in run.fates.values_mut().filter(|fate| **fate == Fate::Running) {
                        *fate = Fate::Refused("the case was ended".to_owned());
                    }
                }
                Errand::Remediation(_) => {
                    if run.fates.values().any(|fate| *fate == Fate::Running) {
                        effects.push(Effect::CallOff { run: at });
                        under_way = true;
                    }
                    // What is on its way back is seen through by whoever asked for it; only a close waits here.
                    under_way |= matches!(self.state, State::Closing { .. })
                        && self.runs.get(at).is_some_and(|run| run.fates.values().any(Fate::may_go_on));
                }
            }
        }
        under_way
    }
}
