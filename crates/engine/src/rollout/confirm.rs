//! What was done by rules alone is shown to its owner afterwards: it may stay, it is taken back, or it is accepted as it
//! was. Who does not answer is reminded once; then what the terms say happens.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use stanch_model::id::{ActorId, ItemId};
use stanch_model::remediation::{RemediationState as S, TaskState as T};
use stanch_model::terms::{Confirm, Role, Unanswered};

use super::{Effect, Illegal, Machine};
use crate::blocked::Blocked;

/// What somebody who was asked says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfirmAnswer {
    /// It may stay.
    Confirm,
    /// It is taken back.
    Undo,
    /// It is taken back, and the problem is accepted as a risk for a while.
    Except,
}

/// A question that was not answered yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The term it comes from.
    pub term: Confirm,
    /// Who is asked now.
    pub asked: Role,
    /// Until when.
    pub due: Timestamp,
    /// They were reminded.
    pub reminded: bool,
    /// Nobody is left to ask, or the term says that it stays.
    pub late: bool,
}

/// Who is asked when this role does not answer.
const fn next(role: Role) -> Option<Role> {
    match role {
        Role::Viewer => Some(Role::Operator),
        Role::Operator => Some(Role::Approver),
        Role::Approver => Some(Role::Owner),
        Role::Owner => Some(Role::Admin),
        Role::Admin => None,
    }
}

impl Machine {
    /// Asks whoever the terms name. Answers whether anybody is asked.
    pub(super) fn ask_confirmation(&mut self) -> bool {
        if !self.rollout.automatic {
            return false;
        }
        for term in self.rollout.terms.confirm.clone() {
            let due = self.due(term.within_seconds);
            self.rollout.questions.push(Question { term, asked: term.by, due, reminded: false, late: false });
            self.effects.push(Effect::AskConfirmation { role: term.by, due, reminder: false });
        }
        !self.rollout.questions.is_empty()
    }

    fn due(&self, seconds: u32) -> Timestamp {
        self.now.checked_add(SignedDuration::from_secs(i64::from(seconds))).unwrap_or(Timestamp::MAX)
    }

    pub(super) fn answered(&mut self, answer: ConfirmAnswer, role: Role, by: ActorId) -> Result<(), Illegal> {
        if self.rollout.state != S::AwaitingConfirmation {
            return Err(Illegal::NotNow { event: "an answer", state: self.rollout.state });
        }
        if !self.rollout.questions.iter().any(|question| question.asked == role) {
            return Err(Illegal::NotAsked { role });
        }
        match answer {
            ConfirmAnswer::Confirm => {
                self.rollout.questions.retain(|question| question.asked != role);
                if self.rollout.questions.is_empty() { self.end() } else { Ok(()) }
            }
            ConfirmAnswer::Undo => self.all_back(Some(by)),
            ConfirmAnswer::Except => {
                let items = self.kept();
                self.effects.push(Effect::Except { items, by: by.clone() });
                self.all_back(Some(by))
            }
        }
    }

    /// Items that were done and not taken back.
    fn kept(&self) -> Vec<ItemId> {
        let done = self.rollout.tasks.iter().filter(|task| task.state == T::Verified);
        done.flat_map(|task| task.items.iter().filter(|item| !task.undone.contains(item)).cloned()).collect()
    }

    fn all_back(&mut self, by: Option<ActorId>) -> Result<(), Illegal> {
        self.rollout.questions.clear();
        for task in self.rollout.tasks.iter_mut().filter(|task| task.state == T::Verified) {
            task.to_undo = task.items.iter().filter(|item| !task.undone.contains(item)).cloned().collect();
        }
        self.rollout.undo_by = by;
        self.to(S::RollingBack)
    }

    /// Reminds, and draws the consequences of silence.
    pub(super) fn await_confirmation(&mut self) -> Result<(), Illegal> {
        let now = self.now;
        let mut questions = std::mem::take(&mut self.rollout.questions);
        let mut undo = false;
        for question in &mut questions {
            let half = SignedDuration::from_secs(i64::from(question.term.within_seconds) / 2);
            let reminder = question.due.checked_sub(half).unwrap_or(Timestamp::MIN);
            if now < question.due {
                if !question.reminded && now >= reminder {
                    question.reminded = true;
                    let (role, due) = (question.asked, question.due);
                    self.effects.push(Effect::AskConfirmation { role, due, reminder: true });
                }
                continue;
            }
            if question.late {
                continue;
            }
            match question.term.unanswered {
                Unanswered::Undo if self.may_undo_unasked() => undo = true,
                Unanswered::Keep => self.leave_open(question),
                Unanswered::Undo | Unanswered::Escalate => match next(question.asked) {
                    Some(role) => {
                        question.asked = role;
                        question.due = self.due(question.term.within_seconds);
                        question.reminded = false;
                        self.effects.push(Effect::AskConfirmation { role, due: question.due, reminder: false });
                    }
                    None => self.leave_open(question),
                },
            }
        }
        self.rollout.questions = questions;
        if undo { self.all_back(None) } else { Ok(()) }
    }

    fn leave_open(&mut self, question: &mut Question) {
        question.late = true;
        let blocked = Blocked::Confirmation { role: question.asked, due: question.due };
        self.effects.push(Effect::Notify { blocked });
    }

    /// Nobody's silence reopens an exposure.
    fn may_undo_unasked(&self) -> bool {
        let harmless = &self.rollout.surroundings.harmless;
        self.rollout.tasks.iter().flat_map(|task| &task.actions).all(|action| harmless.contains(action))
    }
}
