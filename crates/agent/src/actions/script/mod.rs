//! `script.run`: a remediation that an owner wrote and signed.
//!
//! The host believes neither the order nor the server: it looks at the signature, the digests, the day, the system, the
//! labels and the revocations itself, whenever it plans and again whenever it acts, by the keys in its own rules. Then
//! the script is an action like any other: `evaluate` observes, its answer is the before-state that drift is measured
//! by, `remediate` applies, `verify` verifies and `undo` brings the before-state back.

mod run;
mod trial;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use minisign_verify::{PublicKey, Signature};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use stanch_action::catalogue::{self, Declared};
use stanch_action::{
    Action, ActionError, Applied, Checkpoint, Definition, Idempotency, Observation, Place, PlanAnswer, Run,
    Verification,
};
use stanch_model::asset::Asset;
use stanch_model::canonical::Digest;
use stanch_model::id::ItemId;
use stanch_model::order::{CheckOutcome, PlanRefusal, StepRequest};
use stanch_model::plan::{Change, PlannedStep, Reversibility};
use stanch_model::script::{Asked, Bounds, Manifest, Part, Script};

use super::command::Programs;
use super::{check, health, log, reach, read_params, read_request};
use crate::rules::{self, Rules};
use run::{Ground, Kept, Ready, Told};
pub use trial::{Trial, trial};

/// The action's name.
pub const NAME: &str = DECLARED.name;

const DECLARED: Declared = catalogue::SCRIPT_RUN;

mod point {
    /// The before-state is kept; remediate may begin.
    pub(super) const CAPTURED: &str = "captured";
    /// Remediate is done, and evaluate agrees.
    pub(super) const REMEDIATED: &str = "remediated";
    /// Undo may begin.
    pub(super) const RESTORING: &str = "restoring";
}

/// The before-state and the state afterwards, in the step's vault.
const BEFORE: &str = "before.json";
const AFTER: &str = "after.json";
/// There once any undo of the step has begun: from then on nobody knows what it should look like.
const RESTORING: &str = "restoring";
/// Held by whatever of this step runs: one that survived its executor is waited for.
const LOCK: &str = "lock";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    script: Script,
    #[serde(default)]
    arguments: Map<String, Value>,
    /// What it is done for: taken back for all of them or not at all.
    items: Vec<ItemId>,
}

fn script_schema() -> Value {
    let text = json!({"type": "string"});
    let files = json!({"type": "object", "additionalProperties": false,
        "properties": {"evaluate": text, "remediate": text, "verify": text, "undo": text}});
    json!({"type": "object", "required": ["manifest", "signature", "files"], "additionalProperties": false,
        "properties": {"manifest": text, "signature": text, "files": files}})
}

fn request_schema() -> Value {
    json!({
        "type": "object",
        "required": ["script"],
        "additionalProperties": false,
        "properties": {"script": script_schema(), "arguments": {"type": "object"}},
    })
}

fn params_schema() -> Value {
    json!({
        "type": "object",
        "required": ["script", "items"],
        "additionalProperties": false,
        "properties": {"script": script_schema(), "arguments": {"type": "object"},
            "items": {"type": "array", "items": {"type": "string"}}},
    })
}

/// Why a script does not run here, and what a person can do about it.
#[derive(Debug)]
struct Unfit {
    why: String,
    hint: String,
}

impl Unfit {
    fn new(why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { why: why.into(), hint: hint.into() }
    }
}

impl From<Unfit> for ActionError {
    fn from(unfit: Unfit) -> Self {
        Self::refused(format!("{} ({})", unfit.why, unfit.hint))
    }
}

/// What a script is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    /// To begin something.
    ToAct,
    /// To look at, or take back, what has begun: its day may be over since, and the host another one.
    ToFinish,
}

/// The word of one of these keys for a manifest.
///
/// # Errors
/// When none of them has signed it.
pub fn signed_by(script: &Script, keys: &[String]) -> Result<String, String> {
    if script.signature.trim().is_empty() {
        return Err("the script is not signed".to_owned());
    }
    let signature = Signature::decode(&script.signature)
        .map_err(|error| format!("the script's signature is none of minisign: {error}"))?;
    let holds = |key: &&String| {
        let key = PublicKey::from_base64(key);
        key.is_ok_and(|key| key.verify(script.manifest.as_bytes(), &signature, false).is_ok())
    };
    let found = keys.iter().find(holds).cloned();
    found.ok_or_else(|| "the script is not signed by a key that is believed here, or was changed since".to_owned())
}

/// The action.
pub struct ScriptRun {
    definition: Definition,
    ground: Ground,
    rules: Rules,
}

impl ScriptRun {
    /// The action on this host, under these rules.
    pub fn new(host: Arc<dyn Programs>, rules: Rules) -> Self {
        let definition = Definition {
            name: NAME,
            summary: "Run a script that the host's owner has signed",
            technique: "D3-PH",
            request_schema,
            params_schema,
            idempotency: DECLARED.idempotency,
            reversibility: DECLARED.reversibility,
            disruption: DECLARED.disruption,
            closes_exposure: DECLARED.closes_exposure,
            safe_points: &[point::CAPTURED, point::REMEDIATED],
            place: Place::Host,
            rehearses: false,
        };
        Self { definition, ground: Ground::new(host, PathBuf::from("/")), rules }
    }

    /// What may run of what is asked for, by this host's own bounds.
    fn admit(
        &self,
        rules: &Rules,
        script: &Script,
        arguments: &Map<String, Value>,
        leave: Leave,
    ) -> Result<Ready, Unfit> {
        let bounds = &rules.scripts;
        let keys = || format!("`[scripts] keys` in {}", rules::PATH);
        if bounds.keys.is_empty() {
            return Err(Unfit::new("this host believes no key that signs scripts", keys()));
        }
        script.is_bounded().map_err(|error| Unfit::new(error.to_string(), error.hint()))?;
        // Until the signature holds nothing of the manifest is used.
        signed_by(script, &bounds.keys).map_err(|why| Unfit::new(why, keys()))?;
        let manifest = script.check().map_err(|error| Unfit::new(error.to_string(), error.hint()))?;
        let system = self.ground.system().unwrap_or_else(|| "of no known system".to_owned());
        let host = Bounds {
            system: &system,
            labels: &bounds.labels,
            interpreters: &bounds.interpreters,
            revoked: &bounds.revoked,
            now: Timestamp::now(),
        };
        let hint = format!("its manifest and `[scripts]` in {} say which hosts run it", rules::PATH);
        let print = script.fingerprint();
        let fits = match leave {
            Leave::ToAct => manifest.fits(&print, &host),
            Leave::ToFinish => manifest.finishes(&print, &host),
        };
        fits.map_err(|unfit| Unfit::new(unfit.to_string(), hint))?;
        let vector = manifest.vector(arguments).map_err(|error| {
            Unfit::new(error.to_string(), format!("see the parameters in the manifest of {}", manifest.id()))
        })?;
        self.ground
            .ready(manifest, script.files.clone(), vector)
            .map_err(|why| Unfit::new(why, "the host lacks what the script needs"))
    }

    fn look(&self, ready: &Ready) -> Result<Seen, ActionError> {
        let told = self.ground.run(ready, Part::Evaluate, None, None)?;
        Seen::of(ready, &told)
    }

    /// The step of one request; none when all is as wanted.
    fn step(&self, rules: &Rules, request: &StepRequest) -> Result<Option<PlannedStep>, PlanRefusal> {
        let refusal = |reason: String, hint: Option<String>| PlanRefusal { items: request.items.clone(), reason, hint };
        let error = |error: ActionError| {
            let hint = if let ActionError::Failed { hint, .. } = &error { hint.clone() } else { None };
            refusal(error.to_string(), hint)
        };
        let asked: Asked = read_request(request).map_err(error)?;
        let ready = self
            .admit(rules, &asked.script, &asked.arguments, Leave::ToAct)
            .map_err(|unfit| refusal(unfit.why, Some(unfit.hint)))?;
        let seen = self.look(&ready).map_err(error)?;
        if seen.as_wanted {
            return Ok(None);
        }
        let manifest = &ready.manifest;
        let (reversibility, undo) = match manifest.can_undo() {
            true => (Reversibility::Restorable, "its undo brings back what evaluate printed before".to_owned()),
            false => (Reversibility::OneWay, format!("{} has no undo", manifest.id())),
        };
        let params = Params { script: asked.script, arguments: asked.arguments, items: request.items.clone() };
        Ok(Some(PlannedStep {
            action: NAME.to_owned(),
            params: serde_json::to_value(params)
                .map_err(|cause| error(ActionError::caused("cannot write the parameters", cause)))?,
            before: seen.digest().map_err(error)?,
            changes: vec![Change {
                subject: manifest.id(),
                before: Some(seen.shown()),
                after: Some("as wanted".to_owned()),
                note: Some(ready.described()),
            }],
            reversibility,
            undo,
            disruption: manifest.disruption,
        }))
    }

    /// Runs what changes something, with its output kept as evidence whatever becomes of it.
    fn act(&self, ready: &Ready, part: Part, feed: Option<Vec<u8>>, run: &mut dyn Run) -> Result<(), ActionError> {
        let log = log(run)?;
        let lock = run.vault()?.join(LOCK);
        run.progress(&format!("{part} of {} runs", ready.manifest.id()));
        let result = self.ground.run(ready, part, feed, Some(Kept { log: &log, lock: &lock }));
        let wrote = run::read_bounded(&log, u64::from(ready.manifest.output_bytes)).unwrap_or_default();
        run.evidence(&format!("{part} of {}", ready.manifest.id()), &wrote);
        let told = result?;
        if told.code == Some(0) {
            return Ok(());
        }
        Err(ActionError::failed(format!("{part} of {} ended with {}", ready.manifest.id(), told.ending()))
            .with_hint("what it wrote is kept as evidence; undo is possible where the script has one"))
    }
}

/// What evaluate said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    as_wanted: bool,
    state: Value,
}

impl Seen {
    fn of(ready: &Ready, told: &Told) -> Result<Self, ActionError> {
        let id = ready.manifest.id();
        let as_wanted = match told.code {
            Some(0) => true,
            Some(1) => false,
            _ => {
                let message = format!("evaluate of {id} cannot tell: it ended with {}", told.ending());
                return Err(ActionError::failed(message).with_hint("0 is as wanted, 1 is not, all else cannot tell"));
            }
        };
        let state = told.state().map_err(|why| {
            ActionError::failed(format!("evaluate of {id} {why}"))
                .with_hint("its standard output is one JSON object without fractions, or nothing")
        })?;
        Ok(Self { as_wanted, state })
    }

    fn observation(&self) -> Observation {
        Observation { projection: json!({"as_wanted": self.as_wanted, "state": self.state}) }
    }

    fn digest(&self) -> Result<Digest, ActionError> {
        self.observation().digest().map_err(|e| ActionError::caused("what evaluate printed has no digest", e))
    }

    /// For a person.
    fn shown(&self) -> String {
        let state = stanch_runner::mask(&self.state.to_string());
        let cut: String = state.chars().take(300).collect();
        let more = if cut.len() < state.len() { " ..." } else { "" };
        match (self.as_wanted, self.state.as_object().is_some_and(Map::is_empty)) {
            (true, true) => "as wanted".to_owned(),
            (false, true) => "not as wanted".to_owned(),
            (_, false) => format!("{cut}{more}"),
        }
    }
}

fn reached(points: &[Checkpoint], point: &str) -> bool {
    points.iter().any(|checkpoint| checkpoint.point == point)
}

/// Keeps a state so that it survives a power loss.
fn keep(vault: &Path, name: &str, seen: &Seen) -> Result<(), ActionError> {
    let path = vault.join(name);
    let write = || -> std::io::Result<()> {
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(&serde_json::to_vec(seen)?)?;
        file.sync_all()?;
        File::open(vault)?.sync_all()
    };
    write().map_err(|error| ActionError::caused(format!("cannot keep {}", path.display()), error))
}

fn kept(vault: &Path, name: &str) -> Result<Seen, ActionError> {
    let path: PathBuf = vault.join(name);
    let lost = |error: std::io::Error| ActionError::caused(format!("{} cannot be read", path.display()), error);
    let bytes = fs::read(&path).map_err(lost)?;
    serde_json::from_slice(&bytes).map_err(|error| lost(error.into()))
}

impl Action for ScriptRun {
    fn definition(&self) -> &Definition {
        &self.definition
    }

    fn idempotency(&self, step: &PlannedStep) -> Idempotency {
        match manifest_of(step) {
            Some(manifest) if manifest.idempotent => Idempotency::Yes,
            _ => Idempotency::No,
        }
    }

    fn rehearses(&self, step: &PlannedStep) -> bool {
        manifest_of(step).is_some_and(|manifest| manifest.files_only)
    }

    fn observe(&self, _target: &Asset, params: &Value) -> Result<Observation, ActionError> {
        let params: Params = read_params(params)?;
        let ready = self.admit(&self.rules.current()?, &params.script, &params.arguments, Leave::ToFinish)?;
        Ok(self.look(&ready)?.observation())
    }

    fn plan(&self, _target: &Asset, requests: &[StepRequest]) -> Result<PlanAnswer, ActionError> {
        let rules = self.rules.current()?;
        let mut answer = PlanAnswer::default();
        for request in requests {
            match self.step(&rules, request) {
                Ok(Some(step)) => answer.steps.push(step),
                Ok(None) => answer.compliant.extend(request.items.iter().cloned()),
                Err(refusal) => answer.refused.push(refusal),
            }
        }
        Ok(answer)
    }

    fn apply(&self, _target: &Asset, step: &PlannedStep, run: &mut dyn Run) -> Result<Applied, ActionError> {
        let params: Params = read_params(&step.params)?;
        let rules = self.rules.current()?;
        rules.permit(NAME, super::now(), run.reached().is_empty() && !run.follows())?;
        // What has begun is finished, also when its day is over since.
        let leave = if run.reached().is_empty() { Leave::ToAct } else { Leave::ToFinish };
        let ready = self.admit(&rules, &params.script, &params.arguments, leave)?;
        if !reached(run.reached(), point::CAPTURED) {
            let seen = self.look(&ready)?;
            if seen.as_wanted {
                return Ok(Applied { changed: false, changes: Vec::new(), after: seen.observation() });
            }
            if seen.digest()? != step.before {
                let was = step.changes.first().and_then(|change| change.before.clone());
                return Err(ActionError::Refused {
                    message: format!("what {} looks at has changed since this was planned", ready.manifest.id()),
                    moved: vec![moved(&ready, was, &seen)],
                });
            }
            keep(&run.vault()?, BEFORE, &seen)?;
            reach(run, point::CAPTURED, json!({}))?;
        }
        if !reached(run.reached(), point::REMEDIATED) {
            self.act(&ready, Part::Remediate, None, run)?;
            let seen = self.look(&ready)?;
            if !seen.as_wanted {
                let message =
                    format!("remediate of {} ended with 0, and evaluate says it is not so", ready.manifest.id());
                return Err(ActionError::failed(message));
            }
            keep(&run.vault()?, AFTER, &seen)?;
            // It is done: whoever asks to stop here finds nothing left to stop.
            run.checkpoint(point::REMEDIATED, json!({"after": seen.digest()?}))?;
        }
        let after = kept(&run.vault()?, AFTER)?.observation();
        Ok(Applied { changed: true, changes: step.changes.clone(), after })
    }

    fn verify(&self, _target: &Asset, step: &PlannedStep) -> Result<Verification, ActionError> {
        let params: Params = read_params(&step.params)?;
        let rules = self.rules.current()?;
        // To look is to run something too: only where scripts may run at all.
        rules.permit(NAME, super::now(), false)?;
        let ready = self.admit(&rules, &params.script, &params.arguments, Leave::ToFinish)?;
        let part = ready.manifest.verifier();
        let told = self.ground.run(&ready, part, None, None)?;
        let (outcome, detail) = match told.code {
            Some(0) => (CheckOutcome::Successful, format!("{part} says it holds")),
            Some(1) => (CheckOutcome::Failed, format!("{part} says it does not hold")),
            _ => (CheckOutcome::Inconclusive, format!("{part} cannot tell: it ended with {}", told.ending())),
        };
        let mut checks = vec![check(&ready.manifest.id(), outcome, detail)];
        checks.extend(health::checks(self.ground.host(), &rules));
        Ok(Verification { checks })
    }

    fn undo(
        &self,
        _target: &Asset,
        step: &PlannedStep,
        items: &[ItemId],
        run: &mut dyn Run,
    ) -> Result<Applied, ActionError> {
        let params: Params = read_params(&step.params)?;
        let ready = self.admit(&self.rules.current()?, &params.script, &params.arguments, Leave::ToFinish)?;
        let id = ready.manifest.id();
        if !ready.manifest.can_undo() {
            return Err(ActionError::refused(format!("{id} has no undo")));
        }
        if !params.items.iter().all(|item| items.contains(item)) {
            return Err(ActionError::refused(format!(
                "{id} was run for other items too; take it back for all of them"
            )));
        }
        let seen = self.look(&ready)?;
        if !reached(run.applied(), point::CAPTURED) {
            return Ok(Applied { changed: false, changes: Vec::new(), after: seen.observation() });
        }
        let vault = run.vault()?;
        if !reached(run.reached(), point::RESTORING) {
            if seen.digest()? == step.before {
                return Ok(Applied { changed: false, changes: Vec::new(), after: seen.observation() });
            }
            // Where remediate was broken off, or an earlier undo, nobody knows what it would have looked like.
            if reached(run.applied(), point::REMEDIATED) && !vault.join(RESTORING).exists() {
                let after = kept(&vault, AFTER)?;
                if after != seen {
                    return Err(ActionError::Refused {
                        message: format!("somebody else changed what {id} had made"),
                        moved: vec![moved(&ready, Some(after.shown()), &seen)],
                    });
                }
            }
            keep(&vault, RESTORING, &seen)?;
            reach(run, point::RESTORING, json!({}))?;
        }
        let before = kept(&vault, BEFORE)?;
        let mut feed = before.state.to_string().into_bytes();
        feed.push(b'\n');
        self.act(&ready, Part::Undo, Some(feed), run)?;
        let now = self.look(&ready)?;
        if now.digest()? != step.before {
            let message = format!("undo of {id} ended with 0, and it is not as it was: {}", now.shown());
            return Err(ActionError::failed(message));
        }
        Ok(Applied { changed: true, changes: vec![moved(&ready, Some(seen.shown()), &now)], after: now.observation() })
    }
}

fn moved(ready: &Ready, before: Option<String>, now: &Seen) -> Change {
    Change { subject: ready.manifest.id(), before, after: Some(now.shown()), note: None }
}

/// What the manifest of a step says, whoever signed it: asked only what a believed one may answer to its own loss.
fn manifest_of(step: &PlannedStep) -> Option<Manifest> {
    Manifest::parse(step.params.get("script")?.get("manifest")?.as_str()?).ok()
}

#[cfg(test)]
mod tests;
