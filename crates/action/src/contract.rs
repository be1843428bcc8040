//! The five verbs.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stanch_model::asset::Asset;
use stanch_model::canonical::{CanonicalError, Digest, digest};
use stanch_model::id::ItemId;
use stanch_model::order::{Check, PlanRefusal, StepRequest};
use stanch_model::plan::{Change, PlannedStep};

use crate::definition::{Definition, Idempotency};

/// What `observe` read: the declared projection of the target, without volatile parts such as generated ids and times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The projection; integers only, no floats.
    pub projection: Value,
}

impl Observation {
    /// The digest that a planned step expects.
    ///
    /// # Errors
    /// When the projection has no canonical form.
    pub fn digest(&self) -> Result<Digest, CanonicalError> {
        digest("stanch/observation/v1", &self.projection)
    }
}

/// What planning one request gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanAnswer {
    /// The steps to take; none when already compliant.
    pub steps: Vec<PlannedStep>,
    /// Items that are as wanted already.
    pub compliant: Vec<ItemId>,
    /// Items that cannot be done, and why.
    pub refused: Vec<PlanRefusal>,
}

/// What `apply` or `undo` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Whether anything was changed in all the times this key was entered.
    pub changed: bool,
    /// What changed.
    pub changes: Vec<Change>,
    /// The projection afterwards.
    pub after: Observation,
}

/// What the action's own checks say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// The checks, in the order they ran.
    pub checks: Vec<Check>,
}

/// A durable note of how far a step has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// One of the definition's safe points.
    pub point: String,
    /// What a resumed run needs to go on from here, and undo to go back.
    pub state: Value,
}

/// A person or a pre-empting order asks the step to stop at the safe point it has just reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopRequested;

/// What the runner gives a step that runs: durability, evidence and a voice.
pub trait Run {
    /// The step's idempotency key: names its place in the journal and in the vault.
    fn key(&self) -> Digest;

    /// The checkpoints already reached under this key, oldest first; empty on the first entry. During undo: those of
    /// the undo itself.
    fn reached(&self) -> &[Checkpoint];

    /// The checkpoints of the applied step that is being undone; empty during apply.
    fn applied(&self) -> &[Checkpoint];

    /// Whether an earlier step of the same leaf has changed something: this step finishes what has begun, so rules on
    /// when something may start no longer bind it.
    fn follows(&self) -> bool {
        false
    }

    /// Makes a safe point durable. When this returns, a crash resumes after it. Answers whether to stop here.
    ///
    /// # Errors
    /// When the journal cannot be written: the step must end without another change.
    fn checkpoint(&mut self, point: &str, state: Value) -> Result<Option<StopRequested>, ActionError>;

    /// Says what is going on, for people who watch.
    fn progress(&mut self, message: &str);

    /// Keeps output as evidence; the runner masks secrets and cuts long texts.
    fn evidence(&mut self, name: &str, output: &[u8]);

    /// A folder of this step's own that survives crashes and is kept as long as undo is possible: where captured
    /// before-states live.
    ///
    /// # Errors
    /// When it cannot be made.
    fn vault(&self) -> Result<std::path::PathBuf, ActionError>;
}

/// Why a verb did not succeed.
#[derive(Debug)]
pub enum ActionError {
    /// The request or the parameters do not fit the schema.
    BadParameters {
        /// What is wrong, and where.
        message: String,
    },
    /// Refused before anything changed: the target moved, or a rule of the executor forbids it.
    Refused {
        /// Why.
        message: String,
        /// What moved.
        moved: Vec<Change>,
    },
    /// Something failed. What had changed by then is in the journal.
    Failed {
        /// What was being done.
        message: String,
        /// What a person can do.
        hint: Option<String>,
        /// The cause.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Stopped at a safe point on request.
    Stopped {
        /// The point.
        at: String,
    },
}

impl ActionError {
    /// A failure without a deeper cause.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed { message: message.into(), hint: None, source: None }
    }

    /// A failure with its cause.
    pub fn caused(message: impl Into<String>, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Failed { message: message.into(), hint: None, source: Some(Box::new(source)) }
    }

    /// The same failure with something a person can do.
    #[must_use]
    pub fn with_hint(self, text: impl Into<String>) -> Self {
        match self {
            Self::Failed { message, source, .. } => Self::Failed { message, hint: Some(text.into()), source },
            other => other,
        }
    }

    /// A refusal because of what the executor's rules say.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Refused { message: message.into(), moved: Vec::new() }
    }
}

impl fmt::Display for ActionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadParameters { message } | Self::Refused { message, .. } | Self::Failed { message, .. } => {
                f.write_str(message)
            }
            Self::Stopped { at } => write!(f, "stopped at `{at}` on request"),
        }
    }
}

impl std::error::Error for ActionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed { source: Some(source), .. } => Some(source.as_ref()),
            _ => None,
        }
    }
}

/// One remediation of the catalogue.
///
/// Verbs block: a host action runs programs, and its caller gives it a thread.
pub trait Action: Send + Sync {
    /// What it declares of itself.
    fn definition(&self) -> &Definition;

    /// Whether entering this very step again after a crash is harmless. What an action declares holds for all its steps,
    /// unless a step brings its own word.
    fn idempotency(&self, _step: &PlannedStep) -> Idempotency {
        self.definition().idempotency
    }

    /// Whether a copy of the target's files shows what this very step would do.
    fn rehearses(&self, _step: &PlannedStep) -> bool {
        self.definition().rehearses
    }

    /// Reads the before-state of what these parameters touch. No side effect.
    ///
    /// # Errors
    /// When it cannot be read.
    fn observe(&self, target: &Asset, params: &Value) -> Result<Observation, ActionError>;

    /// Computes the exact steps for these requests, all of this action and on one target. No side effect beyond caches.
    ///
    /// # Errors
    /// When planning itself fails; what merely cannot be done is in the answer.
    fn plan(&self, target: &Asset, requests: &[StepRequest]) -> Result<PlanAnswer, ActionError>;

    /// Whether the step may begin at this very moment, as far as that passes by itself: the owner's hours, people at
    /// work. Asked before the journal says that it has begun. One that stands alone is refused then; one that follows
    /// others of its leaf is not begun, what they did stands, and the rest may come again. Actions that finish what
    /// has begun always may.
    ///
    /// # Errors
    /// What is in the way.
    fn ready(&self, _target: &Asset, _step: &PlannedStep) -> Result<(), ActionError> {
        Ok(())
    }

    /// Makes it so. Refuses if the digest has moved, except to a state in its own journal; safe to enter again with the
    /// same key.
    ///
    /// # Errors
    /// Refused, failed or stopped; never half-reported: what changed is in the journal.
    fn apply(&self, target: &Asset, step: &PlannedStep, run: &mut dyn Run) -> Result<Applied, ActionError>;

    /// The action's own checks on an applied step.
    ///
    /// # Errors
    /// When a check cannot be run at all; a check that cannot tell is `Inconclusive`.
    fn verify(&self, target: &Asset, step: &PlannedStep) -> Result<Verification, ActionError>;

    /// Restores the captured before-state for these items of an applied step; refuses, and says what moved, if somebody
    /// else changed it since.
    ///
    /// # Errors
    /// As [`Action::apply`].
    fn undo(
        &self,
        target: &Asset,
        step: &PlannedStep,
        items: &[ItemId],
        run: &mut dyn Run,
    ) -> Result<Applied, ActionError>;
}

/// The actions an executor has, by name.
#[derive(Default)]
pub struct Catalogue(std::collections::BTreeMap<&'static str, Box<dyn Action>>);

impl Catalogue {
    /// An empty catalogue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an action under its name; the last one wins.
    #[must_use]
    pub fn with(mut self, action: Box<dyn Action>) -> Self {
        self.0.insert(action.definition().name, action);
        self
    }

    /// Those of them that are wanted, by name.
    #[must_use]
    pub fn only(self, wanted: impl Fn(&str) -> bool) -> Self {
        Self(self.0.into_iter().filter(|(name, _)| wanted(name)).collect())
    }

    /// The action of this name.
    pub fn get(&self, name: &str) -> Option<&dyn Action> {
        self.0.get(name).map(AsRef::as_ref)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Action> {
        self.0.values().map(AsRef::as_ref)
    }
}
