//! What an executor says, reduced to what moves a task.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_model::order::{Answer, Reconciled, StepOutcome, StepReport};

/// An executor's word on an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "word", rename_all = "snake_case")]
pub enum Word {
    /// The order is in its journal.
    Accepted,
    /// It runs.
    Running,
    /// All steps are done, or were so already.
    Succeeded {
        /// Whether anything was changed.
        changed: bool,
        /// When the last step ended.
        ended_at: Timestamp,
    },
    /// A step failed.
    Failed {
        /// Whether anything may have been changed.
        changed: bool,
        /// What went wrong.
        message: String,
        /// When.
        ended_at: Timestamp,
    },
    /// A step was broken off and is not resumed by itself.
    Interrupted {
        /// Where.
        message: String,
        /// When.
        ended_at: Timestamp,
    },
    /// The executor's own rules forbid it, or the target moved; nothing was changed.
    Refused {
        /// Why.
        message: String,
        /// The target moved: somebody else changed it since the plan was made.
        #[serde(default)]
        moved: bool,
    },
    /// Some steps are done and the rest was not begun, because a hold or the end of its time came between them. Nothing
    /// went wrong: the same order goes on with the rest.
    Partly {
        /// When the last step that was done ended.
        ended_at: Timestamp,
    },
    /// It never began: an answer of the journal, or of a hold that came first.
    NotStarted,
    /// The journal no longer knows.
    Lost,
    /// All was taken back that was asked for.
    Undone {
        /// When.
        ended_at: Timestamp,
    },
    /// Taking it back failed, wholly or in part.
    UndoFailed {
        /// What went wrong.
        message: String,
    },
}

impl Word {
    /// The word in an answer to apply, undo or reconcile; `None` for answers that move no task. `leaf_steps` is how many the
    /// leaf has: a journal tells only of steps that began. `at` is the receipt's time, for steps that do not say when they
    /// ended.
    pub fn of(answer: &Answer, leaf_steps: usize, at: Timestamp) -> Option<Self> {
        Some(match answer {
            Answer::Applied { steps } => applied(steps, at),
            Answer::Undone { steps } => undone(steps, at),
            Answer::Refused { message, .. } => Self::Refused { message: message.clone(), moved: false },
            Answer::Reconciled { known } => match known {
                Reconciled::NotStarted => Self::NotStarted,
                Reconciled::Running => Self::Running,
                Reconciled::Over { steps } => match applied(steps, at) {
                    Self::Succeeded { ended_at, .. } if steps.len() < leaf_steps => Self::Partly { ended_at },
                    word => word,
                },
                Reconciled::Lost => Self::Lost,
            },
            _ => return None,
        })
    }
}

fn applied(steps: &[StepReport], at: Timestamp) -> Word {
    let ended_at = steps.iter().filter_map(|step| step.ended_at).max().unwrap_or(at);
    let done = steps.iter().any(|step| step.outcome == StepOutcome::Done);
    for step in steps {
        match &step.outcome {
            StepOutcome::Done | StepOutcome::Unchanged => {}
            StepOutcome::Failed { message, .. } => {
                // A step that began may have changed something before it failed.
                let changed = done || step.started_at.is_some();
                return Word::Failed { changed, message: format!("{}: {message}", step.action), ended_at };
            }
            StepOutcome::Interrupted { at } => {
                return Word::Interrupted { message: format!("{} was broken off at {at}", step.action), ended_at };
            }
            StepOutcome::Refused { message, moved } if !done => {
                return Word::Refused { message: format!("{}: {message}", step.action), moved: !moved.is_empty() };
            }
            StepOutcome::Refused { message, .. } => {
                return Word::Failed { changed: true, message: format!("{}: {message}", step.action), ended_at };
            }
            StepOutcome::NotStarted if !done => return Word::NotStarted,
            StepOutcome::NotStarted => return Word::Partly { ended_at },
        }
    }
    // No step at all did nothing: the detector will say whether that was enough.
    Word::Succeeded { changed: done, ended_at }
}

fn undone(steps: &[StepReport], at: Timestamp) -> Word {
    let ended_at = steps.iter().filter_map(|step| step.ended_at).max().unwrap_or(at);
    let mut not_begun = 0;
    for step in steps {
        let message = match &step.outcome {
            StepOutcome::Done | StepOutcome::Unchanged => continue,
            StepOutcome::NotStarted => {
                not_begun += 1;
                continue;
            }
            StepOutcome::Failed { message, .. } | StepOutcome::Refused { message, .. } => message.clone(),
            StepOutcome::Interrupted { at } => format!("broken off at {at}"),
        };
        return Word::UndoFailed { message: format!("{}: {message}", step.action) };
    }
    match not_begun {
        0 => Word::Undone { ended_at },
        all if all == steps.len() => Word::NotStarted,
        _ => Word::UndoFailed { message: "only a part was taken back".to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stanch_model::canonical::Digest;

    fn report(outcome: StepOutcome) -> StepReport {
        StepReport {
            step: 0,
            action: "package.upgrade".to_owned(),
            key: Digest::from_bytes([0; 32]),
            started_at: (!matches!(outcome, StepOutcome::NotStarted)).then_some(Timestamp::UNIX_EPOCH),
            ended_at: None,
            outcome,
            entered: 1,
            after: None,
            changes: Vec::new(),
            evidence: Vec::new(),
        }
    }

    #[test]
    fn a_word_never_says_more_than_the_reports() {
        let at = Timestamp::UNIX_EPOCH;
        let refused = || StepOutcome::Refused { message: "held".to_owned(), moved: Vec::new() };
        let word = |steps: Vec<StepOutcome>| {
            let steps = steps.into_iter().map(report).collect();
            Word::of(&Answer::Applied { steps }, 2, at).unwrap()
        };
        assert_eq!(word(vec![StepOutcome::Done]), Word::Succeeded { changed: true, ended_at: at });
        assert_eq!(word(vec![StepOutcome::Unchanged]), Word::Succeeded { changed: false, ended_at: at });
        assert_eq!(word(vec![StepOutcome::NotStarted, StepOutcome::NotStarted]), Word::NotStarted);
        assert!(matches!(word(vec![refused(), StepOutcome::NotStarted]), Word::Refused { .. }));
        assert!(matches!(word(vec![StepOutcome::Done, refused()]), Word::Failed { changed: true, .. }));
        assert_eq!(word(vec![StepOutcome::Done, StepOutcome::NotStarted]), Word::Partly { ended_at: at });
        let over = |steps: Vec<StepOutcome>| {
            let known = Reconciled::Over { steps: steps.into_iter().map(report).collect() };
            Word::of(&Answer::Reconciled { known }, 2, at).unwrap()
        };
        assert_eq!(over(vec![StepOutcome::Done, StepOutcome::Done]), Word::Succeeded { changed: true, ended_at: at });
        assert_eq!(over(vec![StepOutcome::Done]), Word::Partly { ended_at: at }, "the second never began");
        let undone = |steps: Vec<StepOutcome>| {
            let steps = steps.into_iter().map(report).collect();
            Word::of(&Answer::Undone { steps }, 2, at).unwrap()
        };
        assert_eq!(undone(vec![StepOutcome::Done, StepOutcome::Unchanged]), Word::Undone { ended_at: at });
        assert!(matches!(undone(vec![refused(), StepOutcome::Done]), Word::UndoFailed { .. }));
        assert_eq!(undone(vec![StepOutcome::NotStarted]), Word::NotStarted);
    }
}
