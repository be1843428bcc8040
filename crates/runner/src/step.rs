//! The run of one step: what the runner gives an action while it works.

use std::path::PathBuf;

use serde_json::Value;
use stanch_action::{ActionError, Checkpoint, Run, StopRequested};
use stanch_model::canonical::Digest;
use stanch_model::order::Evidence;

use crate::keys::private_folder;
use crate::mask::{EVIDENCE_PIECES, evidence, mask};
use crate::record::Record;
use crate::runner::Runner;

/// Checkpoints of one step: more is a loop gone wrong.
const MAX_CHECKPOINTS: usize = 10_000;

pub(crate) struct StepRun<'a> {
    pub(crate) runner: &'a Runner,
    pub(crate) key: Digest,
    /// The key of the applied step during undo, else the own key: both use one vault.
    pub(crate) vault: Digest,
    pub(crate) reached: Vec<Checkpoint>,
    pub(crate) applied: Vec<Checkpoint>,
    /// An earlier step of the leaf has changed something.
    pub(crate) follows: bool,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) say: &'a dyn Fn(&str),
}

impl Run for StepRun<'_> {
    fn key(&self) -> Digest {
        self.key
    }

    fn reached(&self) -> &[Checkpoint] {
        &self.reached
    }

    fn applied(&self) -> &[Checkpoint] {
        &self.applied
    }

    fn follows(&self) -> bool {
        self.follows
    }

    fn checkpoint(&mut self, point: &str, state: Value) -> Result<Option<StopRequested>, ActionError> {
        if self.reached.len() >= MAX_CHECKPOINTS {
            return Err(ActionError::failed(format!("more than {MAX_CHECKPOINTS} safe points in one step")));
        }
        let checkpoint = Checkpoint { point: point.to_owned(), state };
        let record = Record::Checkpoint { key: self.key, checkpoint: checkpoint.clone() };
        let mut inner = self.runner.inner();
        inner.journal.append(&record).map_err(|error| {
            ActionError::caused(format!("the safe point `{point}` could not be made durable"), error)
        })?;
        self.reached.push(checkpoint);
        let stop = inner.journal.state().hold.as_ref().is_some_and(|hold| hold.stop_all);
        Ok(stop.then_some(StopRequested))
    }

    fn progress(&mut self, message: &str) {
        (self.say)(&mask(message));
    }

    fn evidence(&mut self, name: &str, output: &[u8]) {
        if self.evidence.len() < EVIDENCE_PIECES {
            self.evidence.push(evidence(name, output));
        }
    }

    fn vault(&self) -> Result<PathBuf, ActionError> {
        let folder = self.runner.vault(&self.vault);
        private_folder(&folder)
            .map_err(|error| ActionError::caused(format!("the vault {} cannot be made", folder.display()), error))?;
        Ok(folder)
    }
}
