//! `file.set`: the smallest real action. It sets the content of files below one folder, captures what was there, and
//! can be given a defect, so that one sees the suite notice it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use stanch_action::{
    Action, ActionError, Applied, Definition, Idempotency, Observation, Place, PlanAnswer, Run, Verification,
};
use stanch_model::asset::Asset;
use stanch_model::id::ItemId;
use stanch_model::order::{Check, CheckOutcome, PlanRefusal, StepRequest};
use stanch_model::plan::{Change, Disruption, PlannedStep, Reversibility};

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// Nothing.
    None,
    /// Sets the file again although it is set.
    SetsTwice,
    /// Undo forgets what was there.
    ForgetsBefore,
    /// Does not look whether the target moved.
    IgnoresDrift,
    /// Reports success without doing anything.
    Idle,
    /// Panics half way, the first time.
    Panics,
    /// Says it cannot be entered again.
    NotIdempotent,
    /// Changes something before the first safe point.
    ActsEarly,
}

/// The action.
pub struct FileSet {
    folder: PathBuf,
    defect: Defect,
    definition: Definition,
}

impl FileSet {
    /// For files below `folder`, which has a file `log` for what was set.
    pub fn new(folder: &Path, defect: Defect) -> Self {
        let idempotency = if defect == Defect::NotIdempotent { Idempotency::No } else { Idempotency::Keyed };
        let definition = Definition {
            name: "file.set",
            summary: "sets the content of a file",
            technique: "D3-FR",
            request_schema: || json!({"type": "object", "required": ["name", "content"]}),
            params_schema: || json!({"type": "object", "required": ["name", "content"]}),
            idempotency,
            reversibility: Reversibility::Restorable,
            disruption: Disruption::None,
            closes_exposure: false,
            safe_points: &["captured", "set"],
            place: Place::Host,
            rehearses: false,
        };
        Self { folder: folder.to_owned(), defect, definition }
    }

    fn wanted(&self, params: &Value) -> Result<(PathBuf, String, String), ActionError> {
        let bad = |message: &str| ActionError::BadParameters { message: message.to_owned() };
        let text = |key: &str| params.get(key).and_then(Value::as_str).map(str::to_owned);
        let name = text("name").filter(|name| !name.is_empty() && !name.contains(['/', '\0']) && *name != "..");
        let name = name.ok_or_else(|| bad("`name` has to be the name of a file"))?;
        let content = text("content").ok_or_else(|| bad("`content` has to be a text"))?;
        Ok((self.folder.join(&name), name, content))
    }

    fn set(&self, path: &Path, content: Option<&str>) -> Result<(), ActionError> {
        let failed = |error| ActionError::caused(format!("cannot set {}", path.display()), error);
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.join("log"));
        log.and_then(|mut log| writeln!(log, "{} {content:?}", path.display())).map_err(failed)?;
        match content {
            Some(content) => {
                let draft = path.with_extension("draft");
                fs::write(&draft, content).and_then(|()| fs::rename(&draft, path)).map_err(failed)
            }
            None => fs::remove_file(path).map_err(failed),
        }
    }
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn seen(name: &str, content: Option<&str>) -> Observation {
    Observation { projection: json!({ "name": name, "content": content }) }
}

fn change(name: &str, before: Option<&str>, after: Option<&str>) -> Change {
    Change { subject: name.to_owned(), before: before.map(str::to_owned), after: after.map(str::to_owned), note: None }
}

impl Action for FileSet {
    fn definition(&self) -> &Definition {
        &self.definition
    }

    fn observe(&self, _target: &Asset, params: &Value) -> Result<Observation, ActionError> {
        let (path, name, _) = self.wanted(params)?;
        Ok(seen(&name, read(&path).as_deref()))
    }

    fn plan(&self, target: &Asset, requests: &[StepRequest]) -> Result<PlanAnswer, ActionError> {
        let mut answer = PlanAnswer::default();
        for request in requests {
            let (path, name, content) = match self.wanted(&request.want) {
                Ok(wanted) => wanted,
                Err(error) => {
                    let reason = error.to_string();
                    answer.refused.push(PlanRefusal { items: request.items.clone(), reason, hint: None });
                    continue;
                }
            };
            let now = read(&path);
            if now.as_ref() == Some(&content) {
                answer.compliant.extend(request.items.iter().cloned());
                continue;
            }
            let before = self.observe(target, &request.want)?.digest();
            answer.steps.push(PlannedStep {
                action: "file.set".to_owned(),
                params: json!({ "name": name, "content": content }),
                before: before.map_err(|error| ActionError::caused("no digest", error))?,
                changes: vec![change(&name, now.as_deref(), Some(&content))],
                reversibility: Reversibility::Restorable,
                undo: "the captured content is set again".to_owned(),
                disruption: Disruption::None,
            });
        }
        Ok(answer)
    }

    /// A file `not-now` beside the others names the one that may not be set at the moment.
    fn ready(&self, _target: &Asset, step: &PlannedStep) -> Result<(), ActionError> {
        let (path, name, _) = self.wanted(&step.params)?;
        match read(&path.with_file_name("not-now")) {
            Some(other) if other == name => Err(ActionError::refused(format!("{name} is closed at this hour"))),
            _ => Ok(()),
        }
    }

    fn apply(&self, target: &Asset, step: &PlannedStep, run: &mut dyn Run) -> Result<Applied, ActionError> {
        let (path, name, content) = self.wanted(&step.params)?;
        let now = read(&path);
        let captured = run.reached().iter().find(|point| point.point == "captured").map(|point| point.state.clone());
        if self.defect == Defect::ActsEarly {
            self.set(&path, Some(&content))?;
        }
        let before = match captured {
            Some(state) => state.get("before").and_then(Value::as_str).map(str::to_owned),
            None => {
                let digest = self.observe(target, &step.params)?.digest().ok();
                if digest != Some(step.before)
                    && self.defect != Defect::IgnoresDrift
                    && self.defect != Defect::ActsEarly
                {
                    if now.as_ref() == Some(&content) {
                        let after = seen(&name, now.as_deref());
                        return Ok(Applied { changed: false, changes: Vec::new(), after });
                    }
                    let moved = step.changes.iter().map(|line| change(&name, line.before.as_deref(), now.as_deref()));
                    return Err(ActionError::Refused { message: format!("`{name}` moved"), moved: moved.collect() });
                }
                if run.checkpoint("captured", json!({ "before": now }))?.is_some() {
                    return Err(ActionError::Stopped { at: "captured".to_owned() });
                }
                now.clone()
            }
        };
        if self.defect == Defect::Panics && run.reached().len() < 2 {
            run.checkpoint("set", Value::Null)?;
            std::panic::resume_unwind(Box::new("planted panic"));
        }
        if self.defect != Defect::Idle && (read(&path).as_ref() != Some(&content) || self.defect == Defect::SetsTwice) {
            self.set(&path, Some(&content))?;
        }
        run.progress(&format!("set {name}"));
        run.evidence("set", format!("{name} password={content}").as_bytes());
        if run.follows() {
            run.evidence("follows", b"");
        }
        if run.checkpoint("set", Value::Null)?.is_some() {
            return Err(ActionError::Stopped { at: "set".to_owned() });
        }
        let changes = vec![change(&name, before.as_deref(), Some(&content))];
        Ok(Applied { changed: true, changes, after: seen(&name, read(&path).as_deref()) })
    }

    fn verify(&self, _target: &Asset, step: &PlannedStep) -> Result<Verification, ActionError> {
        let (path, name, content) = self.wanted(&step.params)?;
        let is = read(&path).as_ref() == Some(&content);
        let outcome = if is { CheckOutcome::Successful } else { CheckOutcome::Failed };
        Ok(Verification { checks: vec![Check { name: "content".to_owned(), outcome, detail: name }] })
    }

    fn undo(
        &self,
        _target: &Asset,
        step: &PlannedStep,
        _items: &[ItemId],
        run: &mut dyn Run,
    ) -> Result<Applied, ActionError> {
        let (path, name, content) = self.wanted(&step.params)?;
        let captured = run.applied().iter().find(|point| point.point == "captured").map(|point| point.state.clone());
        let Some(captured) = captured else {
            // Nothing was changed before the capture.
            let after = seen(&name, read(&path).as_deref());
            return Ok(Applied { changed: false, changes: Vec::new(), after });
        };
        let before = captured.get("before").and_then(Value::as_str).map(str::to_owned);
        let before = if self.defect == Defect::ForgetsBefore { Some(String::new()) } else { before };
        let now = read(&path);
        if now == before {
            let changed = !run.reached().is_empty();
            return Ok(Applied { changed, changes: Vec::new(), after: seen(&name, before.as_deref()) });
        }
        if now.as_ref() != Some(&content) && self.defect != Defect::IgnoresDrift {
            let moved = vec![change(&name, Some(&content), now.as_deref())];
            return Err(ActionError::Refused { message: format!("somebody else set `{name}`"), moved });
        }
        run.checkpoint("restoring", Value::Null)?;
        self.set(&path, before.as_deref())?;
        run.checkpoint("restored", Value::Null)?;
        let changes = vec![change(&name, Some(&content), before.as_deref())];
        Ok(Applied { changed: true, changes, after: seen(&name, before.as_deref()) })
    }
}
