//! Doubles for tests of actions: a host that is a table, and a run that is a list.

use std::path::PathBuf;
use std::sync::Mutex;

use serde_json::Value;
use stanch_action::{ActionError, Checkpoint, Run, StopRequested};
use stanch_model::canonical::Digest;

use super::command::{CommandError, Invocation, Output, Programs};

/// Answers a command line that holds the text; the first that fits, and silence to all others.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) answers: Vec<(&'static str, String)>,
    /// All calls.
    pub(crate) asked: Mutex<Vec<String>>,
    /// The calls that would have changed something.
    pub(crate) changed: Mutex<Vec<String>>,
}

impl Table {
    pub(crate) fn new(answers: &[(&'static str, &str)]) -> Self {
        let answers = answers.iter().map(|(call, answer)| (*call, (*answer).to_owned())).collect();
        Self { answers, ..Self::default() }
    }
}

impl Programs for Table {
    fn run(&self, invocation: &Invocation) -> Result<Output, CommandError> {
        let shown = invocation.shown();
        let answer = self.answers.iter().find(|(call, _)| shown.contains(call)).map(|(_, answer)| answer.clone());
        self.asked.lock().unwrap().push(shown.clone());
        if invocation.log.is_some() {
            self.changed.lock().unwrap().push(shown);
        }
        Ok(Output { code: Some(0), stdout: answer.unwrap_or_default().into_bytes(), stderr: Vec::new() })
    }

    fn has(&self, _program: &str) -> bool {
        true
    }
}

/// A run in a temporary folder.
pub(crate) struct Notes {
    pub(crate) reached: Vec<Checkpoint>,
    pub(crate) applied: Vec<Checkpoint>,
    pub(crate) follows: bool,
    pub(crate) folder: tempfile::TempDir,
}

impl Notes {
    pub(crate) fn new() -> Self {
        Self { reached: Vec::new(), applied: Vec::new(), follows: false, folder: tempfile::tempdir().unwrap() }
    }
}

impl Run for Notes {
    fn key(&self) -> Digest {
        Digest::of_bytes(b"key")
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
        self.reached.push(Checkpoint { point: point.to_owned(), state });
        Ok(None)
    }

    fn progress(&mut self, _message: &str) {}

    fn evidence(&mut self, _name: &str, _output: &[u8]) {}

    fn vault(&self) -> Result<PathBuf, ActionError> {
        Ok(self.folder.path().to_owned())
    }
}
