//! Exchange of playbooks as CACAO 2.0: ours written for others, theirs read for us, and what does not map said plainly.
//!
//! A ladder is a chain of steps, each of which follows where the one before fails. What CACAO has no word for (where a
//! step is done, what ends it, how a person's word is verified) stands in an extension, so that a playbook comes back
//! as it went. Commands for a shell or a network are never taken over: they become tasks for a person.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use stanch_model::asset::AssetKind;
use stanch_model::canonical::digest;
use stanch_model::playbook::{Act, Doing, HumanTask, On, Param, Playbook, Rung, Step, VerifiedBy};

use crate::playbook::{MAX_STEPS, is_action};

/// The most bytes of a document that is read.
pub const MAX_CACAO: usize = 1_000_000;
/// The most letters of a text that is taken over.
const MAX_TEXT: usize = 2_000;
/// How long a person has for a task of which the document does not say it.
const DUE: u32 = 86_400;

/// A playbook read from CACAO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The playbook.
    pub playbook: Playbook,
    /// What is not as it was there, in sentences.
    pub notes: Vec<String>,
}

/// Why a document is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CacaoError {
    /// It is too long.
    #[error("the document has more than {MAX_CACAO} bytes")]
    TooLong,
    /// It is no JSON.
    #[error("this is no JSON: {0}")]
    Json(String),
    /// It is no playbook of this version.
    #[error("this is no CACAO 2.0 playbook: {0}")]
    Form(String),
    /// Its author took it back.
    #[error("its author has revoked this playbook")]
    Revoked,
    /// Nothing in it maps.
    #[error("nothing in it is a step that could be done or asked for")]
    Empty,
    /// It has too many steps.
    #[error("it has more than {MAX_STEPS} steps")]
    TooMany,
}

/// An identifier: the same for the same names, in the form of a random one.
fn identifier(kind: &str, names: &[&str]) -> String {
    // Texts always have a canonical form.
    let hex = digest("stanch/cacao/v1", &(kind, names)).map(|digest| digest.to_string()).unwrap_or_default();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or("0");
    format!("{kind}--{}-{}-4{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

fn extension() -> String {
    identifier("extension-definition", &["stanch"])
}

/// A playbook for others, and what of it they cannot know without our extension.
pub fn export(playbook: &Playbook, now: Timestamp) -> (Value, Vec<String>) {
    let id = |kind: &str, name: &str| identifier(kind, &[&playbook.name, name]);
    let (start, end) = (id("start", "start"), id("end", "end"));
    let step_id = |rung: &Rung| id("action", &rung.id);
    let first_of =
        |at: usize| playbook.steps.get(at).and_then(|step| step.rungs.first()).map_or_else(|| end.clone(), &step_id);
    let mut notes = Vec::new();
    let mut agents = Map::new();
    let mut workflow = Map::new();
    workflow.insert(start.clone(), json!({ "type": "start", "on_completion": first_of(0) }));
    for (at, step) in playbook.steps.iter().enumerate() {
        for (place, rung) in step.rungs.iter().enumerate() {
            let next_rung = step.rungs.get(place + 1).map_or_else(|| end.clone(), &step_id);
            let (agent, kind, command, timeout, mut ours) = match &rung.doing {
                Doing::Act(act) => {
                    let params: Map<String, Value> =
                        act.params.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
                    let shown = Value::Object(params.clone());
                    let ours = json!({ "action": act.action, "params": params });
                    ("stanch", "group", format!("{} {shown}", act.action), rung.within_seconds, ours)
                }
                Doing::Human(task) => {
                    let verified = match task.verified_by {
                        VerifiedBy::Check => "check",
                        VerifiedBy::Word => "word",
                    };
                    let ours = json!({ "owner": task.owner, "title": task.title, "verified_by": verified });
                    (task.owner.as_str(), "group", task.instructions.clone(), Some(task.due_seconds), ours)
                }
            };
            let agent_id = id(kind, agent);
            agents.insert(agent_id.clone(), json!({ "type": kind, "name": agent }));
            if let Some(ours) = ours.as_object_mut() {
                ours.insert("name_here".to_owned(), json!(rung.id));
                if let On::Linked(kind) = rung.on {
                    ours.insert("linked".to_owned(), json!(kind));
                    notes.push(format!("`{}`: where it is done stands in our extension only", rung.id));
                }
                if let Some(what) = &rung.lift_when {
                    ours.insert("lift_when".to_owned(), json!(what));
                    notes.push(format!("`{}`: what ends it stands in our extension only", rung.id));
                }
            }
            let mut step = json!({
                "type": "action",
                "name": rung.id,
                "on_success": first_of(at + 1),
                "on_failure": next_rung,
                "commands": [{ "type": "manual", "command": command }],
                "agent": agent_id,
                "step_extensions": { extension(): ours },
            });
            if let (Some(seconds), Some(step)) = (timeout, step.as_object_mut()) {
                step.insert("timeout".to_owned(), json!(u64::from(seconds) * 1_000));
            }
            workflow.insert(step_id(rung), step);
        }
    }
    workflow.insert(end, json!({ "type": "end" }));
    let created = now.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    let by = identifier("identity", &["stanch"]);
    let mut document = json!({
        "type": "playbook",
        "spec_version": "cacao-2.0",
        "id": identifier("playbook", &[&playbook.name]),
        "name": playbook.name,
        "created_by": by,
        "created": created,
        "modified": created,
        "workflow_start": start,
        "workflow": workflow,
        "agent_definitions": agents,
        "extension_definitions": { extension(): {
            "type": "extension-definition",
            "name": "stanch-step",
            "description": "What a step does in Stanch: the action with its parameters, where it is done, what ends it.",
            "created_by": by,
            "schema": "an object with: action and params, or owner, title and verified_by; name_here; linked; lift_when",
            "version": "1.0.0",
        } },
    });
    if let (Some(about), Some(document)) = (&playbook.description, document.as_object_mut()) {
        document.insert("description".to_owned(), json!(about));
    }
    (document, notes)
}

/// Reads a document of somebody else. Nothing of it is believed further than its form.
///
/// # Errors
/// When it is no playbook of this version, was revoked, or nothing of it maps.
pub fn import(text: &str) -> Result<Imported, CacaoError> {
    if text.len() > MAX_CACAO {
        return Err(CacaoError::TooLong);
    }
    let document: Value = serde_json::from_str(text).map_err(|error| CacaoError::Json(error.to_string()))?;
    let says = |key: &str| document.get(key).and_then(Value::as_str);
    if says("type") != Some("playbook") {
        return Err(CacaoError::Form("its `type` is not `playbook`".to_owned()));
    }
    match says("spec_version") {
        Some("cacao-2.0") => {}
        Some(other) => return Err(CacaoError::Form(format!("its version is `{}`", short(other, 40)))),
        None => return Err(CacaoError::Form("it says no `spec_version`".to_owned())),
    }
    if document.get("revoked") == Some(&Value::Bool(true)) {
        return Err(CacaoError::Revoked);
    }
    let workflow = document.get("workflow").and_then(Value::as_object);
    let workflow = workflow.ok_or_else(|| CacaoError::Form("it has no `workflow`".to_owned()))?;
    let start = says("workflow_start").ok_or_else(|| CacaoError::Form("it has no `workflow_start`".to_owned()))?;
    let mut reading =
        Reading { workflow, document: &document, seen: BTreeSet::new(), names: BTreeSet::new(), notes: Vec::new() };
    for (key, what) in [
        ("signatures", "its signatures are not checked"),
        ("playbook_variables", "its variables are left out: write what is meant into the steps"),
        ("workflow_exception", "what it does when something unforeseen happens is left out"),
        ("valid_until", "that it is valid until a day is left out"),
        ("valid_from", "that it is valid from a day on is left out"),
    ] {
        if document.get(key).is_some() {
            reading.notes.push(what.to_owned());
        }
    }
    let steps = reading.follow(Some(start.to_owned()))?;
    let unread = workflow
        .iter()
        .filter(|(id, step)| {
            let kind = step.get("type").and_then(Value::as_str);
            !reading.seen.contains(id.as_str()) && !matches!(kind, Some("start" | "end"))
        })
        .count();
    if unread > 0 {
        reading.notes.push(format!("{unread} of its steps stand on branches that are left out"));
    }
    if steps.is_empty() {
        return Err(CacaoError::Empty);
    }
    if steps.iter().map(|step| step.rungs.len()).sum::<usize>() > MAX_STEPS {
        return Err(CacaoError::TooMany);
    }
    let notes = reading.finish(&steps);
    let name = name_of(says("name").unwrap_or("imported"));
    let description = says("description").map(|text| short(text, MAX_TEXT));
    Ok(Imported { playbook: Playbook { name, description, steps }, notes })
}

/// The document being read.
struct Reading<'a> {
    workflow: &'a Map<String, Value>,
    document: &'a Value,
    seen: BTreeSet<String>,
    names: BTreeSet<String>,
    notes: Vec<String>,
}

impl Reading<'_> {
    /// The steps from one on, up to an end.
    fn follow(&mut self, from: Option<String>) -> Result<Vec<Step>, CacaoError> {
        let mut steps = Vec::new();
        let mut next = from;
        while let Some(id) = next {
            let Some(step) = self.workflow.get(&id) else {
                return Err(CacaoError::Form(format!("there is no step `{}`", short(&id, 80))));
            };
            if self.seen.contains(&id) {
                self.notes.push(format!("it goes round in a circle at `{}`: it is done once", name(step, &id)));
                break;
            }
            next = match step.get("type").and_then(Value::as_str) {
                Some("end") => None,
                Some("start") => {
                    self.seen.insert(id);
                    after(step)
                }
                Some("action") => {
                    let (ladder, after) = self.ladder(&id, step);
                    steps.push(ladder);
                    after
                }
                Some("parallel") => {
                    let named = name(step, &id);
                    self.notes.push(format!("`{named}`: its branches run at once there, and one after the other here"));
                    self.seen.insert(id);
                    let branches = step.get("next_steps").and_then(Value::as_array).cloned().unwrap_or_default();
                    for branch in branches.iter().filter_map(Value::as_str).take(MAX_STEPS) {
                        steps.extend(self.follow(Some(branch.to_owned()))?);
                    }
                    after(step)
                }
                kind => {
                    let kind = short(kind.unwrap_or("nothing"), 40);
                    let named = name(step, &id);
                    self.notes.push(format!(
                        "`{named}` is of the kind `{kind}`: a person decides, and its branches are left out"
                    ));
                    let condition = step.get("condition").or_else(|| step.get("switch")).and_then(Value::as_str);
                    let about = format!("Decide what follows ({kind}): {}", condition.unwrap_or("see the playbook"));
                    self.seen.insert(id);
                    let task = self.task(&named, &about, None, "owner", VerifiedBy::Word);
                    steps.push(Step { rungs: vec![task] });
                    after(step)
                }
            };
            if steps.len() > MAX_STEPS {
                return Err(CacaoError::TooMany);
            }
        }
        Ok(steps)
    }

    /// A step with those that follow where it fails.
    fn ladder(&mut self, id: &str, step: &Value) -> (Step, Option<String>) {
        let after = after(step);
        let mut rungs = Vec::new();
        let (mut id, mut step) = (id.to_owned(), step.clone());
        loop {
            self.seen.insert(id.clone());
            rungs.push(self.rung(&id, &step));
            let Some(other) = step.get("on_failure").and_then(Value::as_str).map(str::to_owned) else { break };
            let Some(next) = self.workflow.get(&other).cloned() else { break };
            let kind = next.get("type").and_then(Value::as_str);
            if kind == Some("end") || Some(&other) == after.as_ref() {
                break;
            }
            if kind != Some("action") || self.seen.contains(&other) || self::after(&next) != after {
                let named = name(&step, &id);
                self.notes.push(format!("`{named}`: what follows when it fails leads elsewhere, and is left out"));
                break;
            }
            (id, step) = (other, next);
        }
        (Step { rungs }, after)
    }

    fn rung(&mut self, id: &str, step: &Value) -> Rung {
        let named = name(step, id);
        let timeout =
            step.get("timeout").and_then(Value::as_u64).map(|ms| u32::try_from(ms / 1_000).unwrap_or(u32::MAX));
        if step.get("delay").is_some() {
            self.notes.push(format!("`{named}`: that it begins later is left out"));
        }
        if step.get("step_variables").is_some() || step.get("in_args").is_some() || step.get("out_args").is_some() {
            self.notes.push(format!("`{named}`: its variables are left out"));
        }
        if let Some(rung) = self.ours(step, timeout) {
            return rung;
        }
        let commands = step.get("commands").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut lines = Vec::new();
        for command in &commands {
            let kind = command.get("type").and_then(Value::as_str).unwrap_or("nothing");
            let text = command.get("command").and_then(Value::as_str);
            let told =
                text.or_else(|| command.get("description").and_then(Value::as_str)).unwrap_or("see the playbook");
            if kind == "manual" {
                lines.push(told.to_owned());
            } else {
                let kind = short(kind, 40);
                self.notes.push(format!("`{named}`: a `{kind}` command is run by nobody here; a person is asked"));
                lines.push(format!("The playbook has a `{kind}` command here: {told}"));
            }
        }
        let lines = if lines.is_empty() { named.clone() } else { lines.join(" ") };
        let owner = self.agent(step);
        self.task(&named, &lines, timeout, &owner, VerifiedBy::Check)
    }

    /// Who does it, where that is a person or people.
    fn agent(&self, step: &Value) -> String {
        let agent = step.get("agent").and_then(Value::as_str);
        let known = agent.and_then(|id| self.document.get("agent_definitions")?.get(id));
        let people = known.filter(|agent| {
            let kind = agent.get("type").and_then(Value::as_str);
            matches!(kind, Some("group" | "individual" | "organization"))
        });
        people.and_then(|agent| agent.get("name")).and_then(Value::as_str).map_or_else(|| "owner".to_owned(), name_of)
    }

    /// A step that we wrote ourselves, if its extension still reads.
    fn ours(&mut self, step: &Value, timeout: Option<u32>) -> Option<Rung> {
        let ours = step.get("step_extensions")?.get(extension())?;
        let says = |key: &str| ours.get(key).and_then(Value::as_str);
        let doing = match (says("action").filter(|action| is_action(action)), says("title")) {
            (Some(action), _) => {
                let params = ours.get("params").and_then(Value::as_object).cloned().unwrap_or_default();
                let params: Option<BTreeMap<String, Param>> =
                    params.into_iter().map(|(name, value)| Some((name, Param::try_from(value).ok()?))).collect();
                let known = |param: &Param| match param {
                    Param::From(path) => crate::facts::find(path).is_some(),
                    _ => true,
                };
                let params = params?;
                if !params.values().all(known) {
                    return None;
                }
                Doing::Act(Act { action: action.to_owned(), params })
            }
            (None, Some(title)) => {
                let command = step.get("commands")?.get(0)?.get("command")?.as_str()?;
                Doing::Human(HumanTask {
                    title: short(title, 200),
                    owner: name_of(says("owner").unwrap_or("owner")),
                    instructions: short(command, MAX_TEXT),
                    due_seconds: timeout.unwrap_or(DUE),
                    verified_by: if says("verified_by") == Some("word") { VerifiedBy::Word } else { VerifiedBy::Check },
                })
            }
            _ => return None,
        };
        let kind: Option<AssetKind> = ours.get("linked").and_then(|kind| serde_json::from_value(kind.clone()).ok());
        let within_seconds = timeout.filter(|_| matches!(doing, Doing::Act(_)));
        let id = self.free(&name_of(says("name_here").unwrap_or("step")));
        let lift_when = says("lift_when").map(name_of);
        Some(Rung { id, doing, on: kind.map_or(On::Asset, On::Linked), within_seconds, lift_when })
    }

    fn task(&mut self, named: &str, what: &str, due: Option<u32>, owner: &str, verified_by: VerifiedBy) -> Rung {
        let task = HumanTask {
            title: short(named, 200),
            owner: owner.to_owned(),
            instructions: short(what, MAX_TEXT),
            due_seconds: due.filter(|seconds| (1..=366 * 86_400).contains(seconds)).unwrap_or(DUE),
            verified_by,
        };
        let id = self.free(&name_of(named));
        Rung { id, doing: Doing::Human(task), on: On::Asset, within_seconds: None, lift_when: None }
    }

    fn free(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        let mut number = 1;
        while !self.names.insert(name.clone()) {
            number += 1;
            name = format!("{wanted}-{number}");
        }
        name
    }

    /// The notes, once it is known which names there are.
    fn finish(mut self, steps: &[Step]) -> Vec<String> {
        for rung in steps.iter().flat_map(|step| &step.rungs) {
            if let Some(what) = rung.lift_when.as_ref().filter(|what| !self.names.contains(*what) || **what == rung.id)
            {
                self.notes.push(format!("`{}` ends with `{what}`, which is not there", rung.id));
            }
        }
        self.notes.dedup();
        self.notes
    }
}

/// What follows a step that went well.
fn after(step: &Value) -> Option<String> {
    let next = step.get("on_success").or_else(|| step.get("on_completion"));
    next.and_then(Value::as_str).map(str::to_owned)
}

fn name(step: &Value, id: &str) -> String {
    step.get("name").and_then(Value::as_str).map_or_else(|| short(id, 60), |name| short(name, 60))
}

/// A text without what could not be shown, and not too long.
fn short(text: &str, most: usize) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect();
    // A text that looks like a reference would be one.
    let text = text.replace("${", "$ {");
    if text.trim().is_empty() { "unnamed".to_owned() } else { text.trim().to_owned() }
}

/// A name of our language from any text.
fn name_of(text: &str) -> String {
    let mut name = String::new();
    for c in text.to_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' => name.push(c),
            _ if name.is_empty() || name.ends_with('-') => {}
            _ => name.push('-'),
        }
        if name.len() >= 48 {
            break;
        }
    }
    let name = name.trim_matches('-');
    if name.is_empty() { "step".to_owned() } else { name.to_owned() }
}

/// A playbook as a document of our language.
pub fn written(playbook: &Playbook) -> String {
    // Every JSON text is a YAML text.
    let quoted = |text: &str| Value::String(text.to_owned()).to_string();
    let mut text = format!("apiVersion: stanch/v1\nkind: Playbook\nname: {}\n", playbook.name);
    if let Some(about) = &playbook.description {
        text.push_str(&format!("metadata: {{description: {}}}\n", quoted(about)));
    }
    text.push_str("steps:\n");
    for step in &playbook.steps {
        let deep = step.rungs.len() > 1;
        let (dash, rest) = if deep { ("      - ", "        ") } else { ("  - ", "    ") };
        if deep {
            text.push_str("  - first_of:\n");
        }
        for rung in &step.rungs {
            match &rung.doing {
                Doing::Act(act) => {
                    let params: Map<String, Value> =
                        act.params.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
                    text.push_str(&format!("{dash}{}: {}\n", act.action, Value::Object(params)));
                }
                Doing::Human(task) => {
                    let verify = match task.verified_by {
                        VerifiedBy::Check => "check",
                        VerifiedBy::Word => "word",
                    };
                    text.push_str(&format!(
                        "{dash}human: {{title: {}, owner: {}, instructions: {}, due: {}s, verify: {verify}}}\n",
                        quoted(&task.title),
                        quoted(&task.owner),
                        quoted(&task.instructions),
                        task.due_seconds,
                    ));
                }
            }
            text.push_str(&format!("{rest}id: {}\n", rung.id));
            if let On::Linked(kind) = rung.on {
                let kind = serde_json::to_value(kind).ok();
                let kind = kind.as_ref().and_then(Value::as_str).unwrap_or("host");
                text.push_str(&format!("{rest}on: {{linked: {kind}}}\n"));
            }
            if let Some(seconds) = rung.within_seconds {
                text.push_str(&format!("{rest}within: {seconds}s\n"));
            }
            if let Some(what) = &rung.lift_when {
                text.push_str(&format!("{rest}lift_when: {what}\n"));
            }
        }
    }
    let first: Vec<&str> =
        playbook.steps.iter().filter_map(|step| step.rungs.first()).map(|rung| rung.id.as_str()).collect();
    text.push_str(&format!("tests:\n  - {{name: all goes well, expect: {{begins: [{}]}}}}\n", first.join(", ")));
    text
}
