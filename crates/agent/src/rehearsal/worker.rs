//! The worker: in namespaces of its own it makes the copy, enters it, and carries out there what it was given.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::Value;
use stanch_action::{Action, ActionError, Applied, Catalogue, Checkpoint, Run, StopRequested};
use stanch_model::asset::Asset;
use stanch_model::canonical::{Digest, digest};
use stanch_model::order::{Check, CheckOutcome, Evidence, Rehearsed, StepReport};
use stanch_model::plan::{Leaf, PlannedStep, Reversibility};
use stanch_runner::{evidence, mask, outcome};

use super::copy::Copy;
use super::{Job, Word};
use crate::actions::{self, CommandError, Host, Invocation, Output, Programs, check, script};
use crate::rules::{self, Rules};

/// The first argument of a program that is to be a worker; the second one is its folder.
pub const WORKER: &str = "rehearse-in-a-copy";

/// Rights that programs keep in the copy: those that package scripts need for files, users and their own processes. With
/// fewer rights than this worker they cannot look into it either, where its open files lead out of the copy.
const RIGHTS: &str =
    "-all,+chown,+dac_override,+dac_read_search,+fowner,+fsetid,+kill,+setgid,+setuid,+audit_write,+setfcap";

/// Where what a step keeps for its undo lies in the copy.
const VAULTS: &str = "/var/lib/stanch-rehearsal";

pub(super) fn job(folder: &Path) -> PathBuf {
    folder.join("job.json")
}

/// Does what the folder's job says, and says on standard output what came of it.
pub fn work(folder: &Path) -> ExitCode {
    let word = match rehearsed(folder) {
        Ok(rehearsed) => Word::Done(Box::new(rehearsed)),
        Err(error) => {
            let hint = if let ActionError::Failed { hint, .. } = &error { hint.clone() } else { None };
            let mut message = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                message.push_str(&format!(": {error}"));
                cause = error.source();
            }
            Word::Failed { message: mask(&message), hint }
        }
    };
    if say(&word).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(word: &Word) -> io::Result<()> {
    let mut line = serde_json::to_vec(word)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}

fn rehearsed(folder: &Path) -> Result<Rehearsed, ActionError> {
    let unread = |error| ActionError::caused("the job of this rehearsal cannot be read", error);
    let job: Job = serde_json::from_slice(&fs::read(job(folder)).map_err(unread)?).map_err(|e| unread(e.into()))?;
    if rustix::process::getpid().as_raw_nonzero().get() != 1 {
        let message = "a rehearsal takes place in namespaces of its own, and this process is in none";
        return Err(ActionError::refused(message));
    }
    let rules = Rules::load(Path::new(rules::PATH)).map_err(|e| ActionError::caused("the executor's rules", e))?;
    let copy = Copy::enter(folder)?;
    let host: Arc<dyn Programs> = Arc::new(Apart(Host::default()));
    let mut rehearsed = match job {
        Job::Leaf(job) => in_the_copy(&actions::catalogue_on(&host, &rules.in_a_copy()), &job.0, &job.1)?,
        Job::Script(given) => {
            let checks = script::trial(host, Path::new("/"), &given)?;
            Rehearsed { checks, ..Rehearsed::default() }
        }
    };
    rehearsed.wrote_bytes = copy.written();
    rehearsed.not_copied = copy.lacks;
    Ok(rehearsed)
}

/// Carries out, checks and takes back what can be shown with files alone.
fn in_the_copy(catalogue: &Catalogue, asset: &Asset, leaf: &Leaf) -> Result<Rehearsed, ActionError> {
    let mut rehearsed = Rehearsed::default();
    let mut applied: Vec<(u32, &PlannedStep, &dyn Action, Vec<Checkpoint>)> = Vec::new();
    for (number, step) in (0u32..).zip(&leaf.steps) {
        let Some(action) = catalogue.get(&step.action) else {
            rehearsed.left_out.push(format!("{}: this executor has no such action", step.action));
            continue;
        };
        if !action.rehearses(step) {
            rehearsed.left_out.push(format!("{}: nothing runs in a copy", step.action));
            continue;
        }
        let mut run = Notes::new(key(leaf, number, "apply")?, number, Vec::new(), !applied.is_empty());
        let result = action.apply(asset, step, &mut run);
        let went = result.is_ok();
        applied.push((number, step, action, std::mem::take(&mut run.reached)));
        rehearsed.steps.push(run.report(step, result));
        if !went {
            break;
        }
        rehearsed.checks.extend(checks(action, asset, step));
    }
    for (number, step, action, reached) in applied.into_iter().rev() {
        if step.reversibility != Reversibility::Restorable {
            rehearsed.left_out.push(format!("undo of {}: {}", step.action, step.undo));
            continue;
        }
        let mut run = Notes::new(key(leaf, number, "undo")?, number, reached, false);
        let result = action.undo(asset, step, &leaf.items, &mut run);
        let went = result.is_ok();
        rehearsed.undone.push(run.report(step, result));
        if went {
            rehearsed.checks.push(as_before(action, asset, step));
        }
    }
    Ok(rehearsed)
}

fn key(leaf: &Leaf, number: u32, verb: &str) -> Result<Digest, ActionError> {
    let key = leaf.hash().and_then(|leaf| digest("stanch/rehearsal/v1", &(leaf, number, verb)));
    key.map_err(|error| ActionError::caused("the leaf has no canonical form", error))
}

/// What the action's own checks say of files; of what runs they can say nothing here.
fn checks(action: &dyn Action, asset: &Asset, step: &PlannedStep) -> Vec<Check> {
    match action.verify(asset, step) {
        Ok(verification) => {
            let of_files = |check: &Check| check.outcome != CheckOutcome::Inconclusive && check.name != "deleted-maps";
            verification.checks.into_iter().filter(of_files).collect()
        }
        Err(error) => vec![check(&step.action, CheckOutcome::Failed, mask(&error.to_string()))],
    }
}

/// Whether undo brought back what there was before, to the letter.
fn as_before(action: &dyn Action, asset: &Asset, step: &PlannedStep) -> Check {
    let now = action.observe(asset, &step.params).map(|observed| observed.digest());
    let (outcome, detail) = match now {
        Ok(Ok(now)) if now == step.before => (CheckOutcome::Successful, "undo brought everything back".to_owned()),
        Ok(Ok(_)) => (CheckOutcome::Failed, "after undo something is not as it was".to_owned()),
        Ok(Err(error)) => (CheckOutcome::Failed, error.to_string()),
        Err(error) => (CheckOutcome::Failed, mask(&error.to_string())),
    };
    check("undo-to-the-letter", outcome, detail)
}

/// The host's programs, without what is outside of the copy: rights over the kernel and the machine, and, for all but
/// downloads, any network.
struct Apart(Host);

impl Programs for Apart {
    fn run(&self, invocation: &Invocation) -> Result<Output, CommandError> {
        let fetches = invocation.program == "apt-get" && invocation.args.iter().any(|arg| arg == "download");
        let (program, before): (_, &[&str]) = if fetches {
            ("setpriv", &["--bounding-set", RIGHTS, "--inh-caps", "-all", "--"])
        } else {
            ("unshare", &["--net", "--", "setpriv", "--bounding-set", RIGHTS, "--inh-caps", "-all", "--"])
        };
        let mut args: Vec<_> = before.iter().map(Into::into).collect();
        args.push(invocation.program.into());
        args.extend(invocation.args.iter().cloned());
        self.0.run(&Invocation { program, args, ..invocation.clone() })
    }

    fn has(&self, program: &str) -> bool {
        self.0.has(program)
    }
}

/// The run of one step: nothing has to outlive the copy, so all is kept in memory and in the copy itself.
struct Notes {
    key: Digest,
    number: u32,
    reached: Vec<Checkpoint>,
    applied: Vec<Checkpoint>,
    follows: bool,
    evidence: Vec<Evidence>,
    began: jiff::Timestamp,
}

impl Notes {
    fn new(key: Digest, number: u32, applied: Vec<Checkpoint>, follows: bool) -> Self {
        let (reached, evidence) = (Vec::new(), Vec::new());
        Self { key, number, reached, applied, follows, evidence, began: jiff::Timestamp::now() }
    }

    fn report(self, step: &PlannedStep, result: Result<Applied, ActionError>) -> StepReport {
        let told = outcome(&result);
        let applied = result.ok();
        StepReport {
            step: self.number,
            action: step.action.clone(),
            key: self.key,
            outcome: told,
            started_at: Some(self.began),
            ended_at: Some(jiff::Timestamp::now()),
            entered: 1,
            after: applied.as_ref().and_then(|applied| applied.after.digest().ok()),
            changes: applied.map(|applied| applied.changes).unwrap_or_default(),
            evidence: self.evidence,
        }
    }
}

impl Run for Notes {
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
        self.reached.push(Checkpoint { point: point.to_owned(), state });
        Ok(None)
    }

    fn progress(&mut self, message: &str) {
        // Whoever started this worker may be gone: then nobody needs to hear it.
        let _ = say(&Word::Says(mask(message)));
    }

    fn evidence(&mut self, name: &str, output: &[u8]) {
        if self.evidence.len() < stanch_runner::EVIDENCE_PIECES {
            self.evidence.push(evidence(name, output));
        }
    }

    fn vault(&self) -> Result<PathBuf, ActionError> {
        let folder = Path::new(VAULTS).join(self.number.to_string());
        actions::make_folder(&folder, 0o700)?;
        Ok(folder)
    }
}
