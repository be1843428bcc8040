//! Trying a script before anybody signs it: it goes through everything that the action would have it do, and each
//! promise is held against what it did.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stanch_action::ActionError;
use stanch_model::order::{Check, CheckOutcome};
use stanch_model::script::{Part, Script};

use super::Seen;
use super::run::{Ground, Ready};
use crate::actions::check;
use crate::actions::command::Programs;

/// What is tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The script; it need not be signed.
    pub script: Script,
    /// Its arguments.
    pub arguments: Map<String, Value>,
}

/// Goes through evaluate, remediate, verify and undo, each twice where that must change nothing. Whoever calls this
/// believes the script: nobody's signature is asked for.
///
/// # Errors
/// When it cannot be tried at all.
pub fn trial(host: Arc<dyn Programs>, root: &Path, trial: &Trial) -> Result<Vec<Check>, ActionError> {
    let refused = |why: String| ActionError::refused(why);
    let manifest = trial.script.check().map_err(|error| refused(error.to_string()))?;
    let vector = manifest.vector(&trial.arguments).map_err(|error| refused(error.to_string()))?;
    let ground = Ground::new(host, root.to_owned());
    let ready = ground.ready(manifest, trial.script.files.clone(), vector).map_err(refused)?;
    let mut walk = Walk { ground, ready, checks: Vec::new() };
    // What stops it is the last thing that was told.
    let _ = walk.walk();
    Ok(walk.checks)
}

struct Walk {
    ground: Ground,
    ready: Ready,
    checks: Vec<Check>,
}

/// A promise was not held, and what follows rests on it.
struct Broken;

impl Walk {
    fn tell(&mut self, promise: &str, held: Result<String, String>) -> Result<(), Broken> {
        let (outcome, detail, result) = match held {
            Ok(detail) => (CheckOutcome::Successful, detail, Ok(())),
            Err(detail) => (CheckOutcome::Failed, detail, Err(Broken)),
        };
        self.checks.push(check(promise, outcome, stanch_runner::mask(&detail)));
        result
    }

    fn look(&mut self, promise: &str, wanted: Option<bool>) -> Result<Seen, Broken> {
        let told = self.ground.run(&self.ready, Part::Evaluate, None, None);
        let seen = match told.and_then(|told| Seen::of(&self.ready, &told)) {
            Ok(seen) => seen,
            Err(error) => {
                self.tell(promise, Err(error.to_string()))?;
                return Err(Broken);
            }
        };
        match wanted {
            Some(wanted) if seen.as_wanted != wanted => {
                self.tell(promise, Err(format!("it says: {}", seen.shown())))?
            }
            _ => self.tell(promise, Ok(seen.shown()))?,
        }
        Ok(seen)
    }

    fn run(&mut self, promise: &str, part: Part, feed: Option<Vec<u8>>) -> Result<(), Broken> {
        let held = match self.ground.run(&self.ready, part, feed, None) {
            Ok(told) if told.code == Some(0) => Ok("it ended with 0".to_owned()),
            Ok(told) => Err(format!("it ended with {}", told.ending())),
            Err(error) => Err(error.to_string()),
        };
        self.tell(promise, held)
    }

    fn same(&mut self, promise: &str, before: &Seen, now: &Seen) -> Result<(), Broken> {
        let held = match before == now {
            true => Ok(now.shown()),
            false => Err(format!("it was {} and is {}", before.shown(), now.shown())),
        };
        self.tell(promise, held)
    }

    fn walk(&mut self) -> Result<(), Broken> {
        let before = self.look("evaluate can tell", None)?;
        let again = self.look("evaluate can tell again", None)?;
        self.same("evaluate changes nothing", &before, &again)?;
        if before.as_wanted {
            let detail = "all is as wanted already: nothing is shown where there is nothing to remediate";
            self.checks.push(check("there is something to remediate", CheckOutcome::Inconclusive, detail.to_owned()));
            return Err(Broken);
        }
        self.run("remediate succeeds", Part::Remediate, None)?;
        let after = self.look("evaluate says it is as wanted", Some(true))?;
        if self.ready.manifest.verifier() == Part::Verify {
            self.run("verify agrees", Part::Verify, None)?;
        }
        self.run("remediate succeeds again", Part::Remediate, None)?;
        let again = self.look("evaluate says so again", Some(true))?;
        self.same("remediate again changes nothing", &after, &again)?;
        if !self.ready.manifest.can_undo() {
            let detail = "it has no undo: its steps are one_way".to_owned();
            self.checks.push(check("undo brings everything back", CheckOutcome::Inconclusive, detail));
            return Ok(());
        }
        let mut feed = before.state.to_string().into_bytes();
        feed.push(b'\n');
        self.run("undo succeeds", Part::Undo, Some(feed.clone()))?;
        let back = self.look("evaluate can tell after undo", None)?;
        self.same("undo brings everything back", &before, &back)?;
        if self.ready.manifest.idempotent {
            self.run("undo succeeds again", Part::Undo, Some(feed))?;
            let back = self.look("evaluate can tell after undo again", None)?;
            self.same("undo again changes nothing", &before, &back)?;
        }
        Ok(())
    }
}
