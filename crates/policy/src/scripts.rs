//! The scripts of a bundle: each in a folder of its own, with a manifest that fits its files. Whether a host believes
//! them is the host's to say.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use stanch_model::playbook::{Act, Param};
use stanch_model::script::{self, Kind, MANIFEST_FILE, Manifest, Part, SIGNATURE_FILE, Script, ScriptError};

use crate::problem::{At, Grade, Problem, nearest};

/// A script with what its manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scripted {
    /// The script as it travels.
    pub script: Script,
    /// Its manifest.
    pub manifest: Manifest,
}

/// The scripts of a bundle by name.
pub(crate) type Scripts = BTreeMap<String, Scripted>;

/// Files of scripts as they are read, by script.
#[derive(Debug, Default)]
pub(crate) struct Drafts(BTreeMap<String, Script>);

impl Drafts {
    /// Takes a file that is part of a script. Answers whether it is.
    pub(crate) fn take(&mut self, path: &str, text: &str) -> bool {
        let Some((name, file)) = script::file_of_bundle(path) else { return false };
        let script = self.0.entry(name.to_owned()).or_default();
        match (file, Part::named(file)) {
            (MANIFEST_FILE, _) => text.clone_into(&mut script.manifest),
            (SIGNATURE_FILE, _) => text.clone_into(&mut script.signature),
            (_, Some(part)) => drop(script.files.insert(part, text.to_owned())),
            (_, None) => {}
        }
        true
    }

    /// The scripts that are sound, and what is wrong with the others.
    pub(crate) fn finish(self) -> (Scripts, Vec<Problem>) {
        let (mut scripts, mut problems) = (Scripts::new(), Vec::new());
        for (name, script) in self.0 {
            let mut wrong = |line, message, remedy: &str| {
                problems.push(problem(&name, line, Grade::Error, "script", message, remedy.to_owned()));
            };
            if script.manifest.is_empty() {
                wrong(1, format!("the script `{name}` has no {MANIFEST_FILE}"), "`stanch script new` writes one");
                continue;
            }
            match script.check() {
                Ok(manifest) if manifest.name != name => {
                    let message = format!("the script in the folder `{name}` is called `{}`", manifest.name);
                    wrong(1, message, "give folder and manifest one name");
                }
                Ok(manifest) => drop(scripts.insert(name, Scripted { script, manifest })),
                Err(ScriptError::Manifest { line, message }) => {
                    wrong(u32::try_from(line).unwrap_or(1), message, "see docs/scripts.md for what a manifest says");
                }
                Err(error) => wrong(1, error.to_string(), error.hint()),
            }
        }
        (scripts, problems)
    }
}

fn problem(name: &str, line: u32, grade: Grade, code: &'static str, message: String, remedy: String) -> Problem {
    let file = Arc::from(format!("{}/{name}/{MANIFEST_FILE}", script::FOLDER));
    Problem { file, at: At { line, column: 1, offset: 0 }, grade, code, message, remedy }
}

/// Scripts whose time is over: the hosts refuse them.
pub(crate) fn expired(scripts: &Scripts, now: Timestamp) -> Vec<Problem> {
    let over = scripts.values().filter(|one| one.manifest.is_expired(now));
    let told = over.map(|one| {
        let message = format!("the script {} expired at the end of {}", one.manifest.id(), one.manifest.expires);
        let remedy = "look at it again, give it a later day and sign it".to_owned();
        problem(&one.manifest.name, 1, Grade::Warning, "script-expired", message, remedy)
    });
    told.collect()
}

/// What is wrong with a step that runs a script: how bad, what kind, what, and what to do.
pub(crate) type Wrong = (Grade, &'static str, String, String);

/// What is wrong with a step that runs a script.
pub(crate) fn step(scripts: &Scripts, act: &Act) -> Vec<Wrong> {
    // That it must be there is said of every parameter.
    let Some(named) = act.params.get("script") else { return Vec::new() };
    let Param::Text(name) = named else {
        let message = "which script it is cannot be filled in later".to_owned();
        return vec![(Grade::Error, "parameter", message, "write the name of a script of the bundle".to_owned())];
    };
    let Some(Scripted { script, manifest }) = scripts.get(name) else {
        let shown: String = name.chars().take(64).collect();
        let remedy = nearest(&shown, scripts.keys().map(String::as_str)).map_or_else(
            || format!("put it into {}/{shown}/ of the bundle: `stanch script new {shown}`", script::FOLDER),
            |meant| format!("did you mean `{meant}`?"),
        );
        return vec![(Grade::Error, "unknown-script", format!("there is no script `{shown}`"), remedy)];
    };
    let mut wrong = Vec::new();
    if script.signature.trim().is_empty() {
        let message = format!("the script {} is not signed, so that no host runs it", manifest.id());
        let remedy = format!("stanch script sign {}/{name} --key FILE", script::FOLDER);
        wrong.push((Grade::Warning, "script-unsigned", message, remedy));
    }
    let write = |kind: &Kind| format!("write {kind}");
    for (name, value) in act.params.iter().filter(|(name, _)| *name != "script") {
        match manifest.parameters.iter().find(|parameter| parameter.name == *name) {
            None => {
                let known = || manifest.parameters.iter().map(|parameter| parameter.name.as_str());
                let remedy = match (nearest(name, known()), known().next()) {
                    (Some(meant), _) => format!("did you mean `{meant}`?"),
                    (None, None) => "it takes none".to_owned(),
                    (None, Some(_)) => format!("it takes: {}", known().collect::<Vec<_>>().join(", ")),
                };
                let message = format!("the script {} takes no `{name}`", manifest.id());
                wrong.push((Grade::Error, "unknown-parameter", message, remedy));
            }
            // What is filled in is judged then, by the host.
            Some(_) if matches!(value, Param::From(_)) => {}
            Some(parameter) if parameter.kind.written(&value.clone().into()).is_none() => {
                let message = format!("`{name}` of the script {} is something else", manifest.id());
                wrong.push((Grade::Error, "parameter", message, write(&parameter.kind)));
            }
            Some(_) => {}
        }
    }
    for parameter in
        manifest.parameters.iter().filter(|one| one.default.is_none() && !act.params.contains_key(&one.name))
    {
        let message = format!("the script {} lacks `{}`", manifest.id(), parameter.name);
        wrong.push((Grade::Error, "parameter", message, write(&parameter.kind)));
    }
    wrong
}
