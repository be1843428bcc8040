//! The executor's own rules, which no order overrides.

use jiff::Timestamp;
use stanch_model::order::{Grant, StepRequest};
use stanch_model::plan::PlannedStep;

/// A rule of the executor says no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denied {
    /// Which rule, and what it says.
    pub message: String,
    /// What a person can do.
    pub hint: Option<String>,
}

/// The local rules: which actions, packages and hours its owner allows. Asked again at the start of every step.
pub trait Guard: Send + Sync {
    /// Whether this step may start now.
    ///
    /// # Errors
    /// The rule that forbids it.
    fn may_apply(&self, step: &PlannedStep, now: Timestamp) -> Result<(), Denied>;

    /// Whether this leaf may be begun at all, whatever its steps are; `begun` says that the journal knows of a step of it
    /// and this is for the rest.
    ///
    /// # Errors
    /// The rule that forbids it.
    fn may_begin(&self, _grant: &Grant, _begun: bool, _now: Timestamp) -> Result<(), Denied> {
        Ok(())
    }

    /// Whether this applied step may be taken back now. Always, unless the owner says otherwise: hours do not bind an
    /// undo.
    ///
    /// # Errors
    /// The rule that forbids it.
    fn may_undo(&self, _step: &PlannedStep, _now: Timestamp) -> Result<(), Denied> {
        Ok(())
    }

    /// Whether this step may be carried out in a copy of the target: no more than what may be done to the target.
    ///
    /// # Errors
    /// The rule that forbids it.
    fn may_rehearse(&self, step: &PlannedStep, now: Timestamp) -> Result<(), Denied> {
        self.may_apply(step, now)
    }

    /// Whether this may be planned at all, so that nobody approves what would be refused.
    ///
    /// # Errors
    /// The rule that forbids it.
    fn may_plan(&self, _request: &StepRequest) -> Result<(), Denied> {
        Ok(())
    }
}

/// No rules of its own: what a valid order asks for is done.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoRules;

impl Guard for NoRules {
    fn may_apply(&self, _step: &PlannedStep, _now: Timestamp) -> Result<(), Denied> {
        Ok(())
    }
}
