//! `config.set`: a setting becomes what the posture pack wants it to be, and exactly what it was when that is taken
//! back.
//!
//! An order names checks of the pack and never values: what is set is in this program, so that no server can set
//! anything else. Settings of one kind are one step: one file, one reload.

mod drop_in;
mod files;
mod sshd;
mod state;
mod units;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stanch_action::catalogue::{self, Declared};
use stanch_action::{
    Action, ActionError, Applied, Checkpoint, Definition, Observation, Place, PlanAnswer, Run, Verification,
};
use stanch_model::asset::Asset;
use stanch_model::id::ItemId;
use stanch_model::order::{CheckOutcome, PlanRefusal, StepRequest};
use stanch_model::plan::{Change, Disruption, PlannedStep, Reversibility};
use stanch_model::posture::{self, Check, Kind};

use super::command::Programs;
use super::{check, health, make_folder, reach, read_params, read_request};
use crate::rules::Rules;
use state::State;

/// The action's name.
pub const NAME: &str = DECLARED.name;

const DECLARED: Declared = catalogue::CONFIG_SET;

mod point {
    pub(super) const CAPTURED: &str = "captured";
    pub(super) const SET: &str = "set";
    pub(super) const COMPARED: &str = "compared";
    pub(super) const RESTORED: &str = "restored";
    pub(super) const RELOADED: &str = "reloaded";
}

const SAFE_POINTS: [&str; 5] = [point::CAPTURED, point::SET, point::COMPARED, point::RESTORED, point::RELOADED];

/// Where settings of sshd are tried out while planning.
const TRYING: &str = "/var/cache/stanch/sshd";
/// Our file as it was, in the vault.
const KEPT: &str = "drop-in";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Want {
    /// The check of the pack, `ssh-root-login`.
    check: String,
}

/// One setting of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    check: String,
    /// The items that need it.
    items: Vec<ItemId>,
    /// What it is before.
    from: State,
}

/// The parameters of a planned step: settings of one kind, in the order of their checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    settings: Vec<Entry>,
}

fn request_schema() -> Value {
    json!({
        "type": "object",
        "required": ["check"],
        "additionalProperties": false,
        "properties": {"check": {"type": "string"}},
    })
}

fn params_schema() -> Value {
    let setting = json!({
        "type": "object",
        "required": ["check", "items", "from"],
        "additionalProperties": false,
        "properties": {
            "check": {"type": "string"},
            "items": {"type": "array", "items": {"type": "string"}},
            "from": {"type": "object"},
        },
    });
    json!({
        "type": "object",
        "required": ["settings"],
        "additionalProperties": false,
        "properties": {"settings": {"type": "array", "minItems": 1, "maxItems": 500, "items": setting}},
    })
}

/// A setting with everything about it looked up.
#[derive(Debug, Clone)]
struct Due {
    check: &'static Check,
    items: Vec<ItemId>,
    from: State,
    to: State,
}

impl Due {
    fn new(check: &'static Check, items: Vec<ItemId>, from: State) -> Result<Self, ActionError> {
        let to = from.target(check).ok_or_else(|| bad(format!("{}: nothing is set by it", check.short())))?;
        Ok(Self { check, items, from, to })
    }
}

/// What was put aside before anything changed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Captured {
    /// The folder of our file was there.
    folder: bool,
    /// Our file was there; its content is in the vault.
    file: bool,
    /// sshd ran.
    #[serde(default)]
    ran: bool,
}

/// What a step is about, of one kind.
struct Work {
    kind: Kind,
    due: Vec<Due>,
}

impl Work {
    fn read(params: &Value) -> Result<Self, ActionError> {
        let params: Params = read_params(params)?;
        let mut due = Vec::new();
        for entry in params.settings {
            let known =
                posture::find(&entry.check).ok_or_else(|| bad(format!("no check is called {}", entry.check)))?;
            due.push(Due::new(known, entry.items, entry.from)?);
        }
        let kind = due.first().map(|due| due.check.kind).ok_or_else(|| bad("no setting is named".to_owned()))?;
        let once: BTreeSet<&str> = due.iter().map(|due| due.check.id).collect();
        if due.iter().any(|due| due.check.kind != kind) || once.len() != due.len() {
            return Err(bad("settings of one kind, each once, are a step".to_owned()));
        }
        Ok(Self { kind, due })
    }

    fn checks(&self) -> Vec<&'static Check> {
        self.due.iter().map(|due| due.check).collect()
    }

    /// The lines of our file, by setting.
    fn lines<'a>(due: impl Iterator<Item = &'a Due>, of: fn(&Due) -> &State) -> BTreeMap<&'static str, Vec<String>> {
        due.filter_map(|due| match of(due) {
            State::Line { lines, .. } => Some((due.check.name, lines.clone())),
            _ => None,
        })
        .collect()
    }
}

fn bad(message: String) -> ActionError {
    ActionError::BadParameters { message: format!("config.set: {message}") }
}

fn observation<'a>(states: impl Iterator<Item = (&'a Check, Option<&'a State>)>) -> Observation {
    let states: serde_json::Map<String, Value> = states.map(|(check, state)| (check.setting(), json!(state))).collect();
    Observation { projection: json!({ "settings": states }) }
}

fn reached(points: &[Checkpoint], name: &str) -> bool {
    points.iter().any(|checkpoint| checkpoint.point == name)
}

/// The action.
pub struct ConfigSet {
    definition: Definition,
    host: Arc<dyn Programs>,
    rules: Rules,
}

impl ConfigSet {
    /// The action on this host, under these rules.
    pub fn new(host: Arc<dyn Programs>, rules: Rules) -> Self {
        let definition = Definition {
            name: NAME,
            summary: "Set what the posture pack wants of kernel, sshd, file modes and services",
            technique: "D3-PH",
            request_schema,
            params_schema,
            idempotency: DECLARED.idempotency,
            reversibility: DECLARED.reversibility,
            disruption: DECLARED.disruption,
            closes_exposure: DECLARED.closes_exposure,
            safe_points: &SAFE_POINTS,
            place: Place::Host,
            // The kernel's parameters and what runs are the same in a copy.
            rehearses: false,
        };
        Self { definition, host, rules }
    }

    fn states(&self, work: &Work) -> Result<BTreeMap<&'static str, State>, ActionError> {
        state::read(self.host.as_ref(), work.kind, &work.checks())
    }

    fn look(&self, work: &Work) -> Result<Observation, ActionError> {
        let states = self.states(work)?;
        Ok(observation(work.due.iter().map(|due| (due.check, states.get(due.check.short())))))
    }

    /// Refuses what the rules of the host deny.
    fn allowed(rules: &Rules, check: &Check) -> Result<(), ActionError> {
        if rules.denies_setting(&check.setting()) || rules.denies_setting(check.short()) {
            let message = format!("the executor's rules deny {} (deny.settings)", check.setting());
            return Err(ActionError::refused(message));
        }
        let denied = match check.kind {
            Kind::Sshd => sshd::denied(rules),
            Kind::Service => check.units.iter().any(|unit| rules.denies_service(unit)),
            Kind::Sysctl | Kind::File => false,
        };
        if denied {
            let message = format!("{}: the executor's rules deny its service (deny.services)", check.setting());
            return Err(ActionError::refused(message));
        }
        Ok(())
    }

    /// Whether this one setting can be set here, together with those before it.
    fn possible(&self, rules: &Rules, before: &[Due], due: &Due) -> Result<(), ActionError> {
        Self::allowed(rules, due.check)?;
        match due.check.kind {
            Kind::Sshd => {
                make_folder(Path::new(TRYING), 0o700)?;
                let all: Vec<&Due> = before.iter().chain([due]).collect();
                let text = sshd::FILE.with(sshd::FILE.read()?.as_deref(), &Work::lines(all.into_iter(), |due| &due.to));
                self.try_sshd(Path::new(TRYING), text.as_deref(), &[due])
            }
            Kind::Service => match &due.from {
                State::Units { units } => {
                    let unmasked = units.iter().filter(|(_, state)| state.file != units::MASKED);
                    unmasked.into_iter().try_for_each(|(unit, _)| units::can_be_masked(unit))?;
                    let active: Vec<&str> =
                        units.iter().filter(|(_, state)| state.active).map(|(unit, _)| unit.as_str()).collect();
                    units::are_spared(self.host.as_ref(), &active)
                }
                _ => Ok(()),
            },
            Kind::Sysctl | Kind::File => Ok(()),
        }
    }

    /// Refuses settings of sshd that it would not take, that something else overrides, or that lock people out.
    fn try_sshd(&self, folder: &Path, text: Option<&str>, due: &[&Due]) -> Result<(), ActionError> {
        let names: Vec<&str> = due.iter().map(|due| due.check.name).collect();
        sshd::is_read_first(&names)?;
        let after = sshd::tried(self.host.as_ref(), folder, text.unwrap_or_default())?;
        for due in due {
            let value = sshd::value(&after, due.check.name);
            if value.and_then(|value| due.check.wanted.holds(value)) != Some(true) {
                let is = value.unwrap_or("not known to this sshd");
                return Err(ActionError::refused(format!("{} would still be {is}", due.check.setting())));
            }
        }
        sshd::keeps_a_way_in(&names, &after)
    }

    /// Puts aside what undo needs that the parameters do not hold: our file, whole.
    fn capture(&self, work: &Work, run: &mut dyn Run) -> Result<(), ActionError> {
        let ran = work.kind == Kind::Sshd && sshd::is_up(self.host.as_ref())?;
        let mut captured = Captured { folder: true, file: false, ran };
        if let Some(file) = state::drop_in(work.kind) {
            let text = file.read()?;
            captured = Captured { folder: Path::new(file.folder).is_dir(), file: text.is_some(), ran };
            let path = run.vault()?.join(KEPT);
            let keep = || -> std::io::Result<()> {
                fs::write(&path, text.as_deref().unwrap_or_default())?;
                fs::File::open(&path)?.sync_all()
            };
            keep().map_err(|error| ActionError::caused("cannot keep the settings as they are", error))?;
        }
        let state = serde_json::to_value(captured)
            .map_err(|error| ActionError::caused("cannot write the journal's state", error))?;
        reach(run, point::CAPTURED, state)
    }

    /// Makes these settings what `of` says; `text` is what our file becomes.
    fn make(
        &self,
        kind: Kind,
        due: &[&Due],
        of: fn(&Due) -> &State,
        text: Option<&str>,
        run: &mut dyn Run,
    ) -> Result<(), ActionError> {
        let now = state::read(self.host.as_ref(), kind, &due.iter().map(|due| due.check).collect::<Vec<_>>())?;
        for due in due {
            match of(due) {
                State::Line { value, .. } if kind == Kind::Sysctl => {
                    let is = matches!(now.get(due.check.short()), Some(State::Line { value: is, .. }) if is == value);
                    if !is {
                        state::write_sysctl(due.check.name, value)?;
                    }
                }
                State::Line { .. } => {}
                State::File { mode } => files::write(due.check.name, *mode)?,
                State::Units { units } => units::write(self.host.as_ref(), units, run)?,
            }
        }
        if let Some(file) = state::drop_in(kind) {
            if text.is_some() && !Path::new(file.folder).is_dir() {
                make_folder(Path::new(file.folder), 0o755)?;
            }
            let old = file.read()?;
            if old.as_deref() != text {
                file.write(text)?;
            }
            if kind == Kind::Sshd
                && let Err(error) = sshd::test(self.host.as_ref(), &["-t"])
            {
                // It was tried before; whatever changed since, sshd must be able to start.
                file.write(old.as_deref())?;
                return Err(error);
            }
        }
        Ok(())
    }

    fn answer(&self, work: &Work, changes: Vec<Change>) -> Result<Applied, ActionError> {
        Ok(Applied { changed: !changes.is_empty(), changes, after: self.look(work)? })
    }

    /// What is neither as it was nor as it was set, for a person.
    fn moved(
        due: &[&Due],
        now: &BTreeMap<&'static str, State>,
        expected: fn(&Due) -> &State,
        fits: impl Fn(&Due, &State) -> bool,
    ) -> Vec<Change> {
        let mut moved = Vec::new();
        for due in due {
            match now.get(due.check.short()) {
                Some(now) if fits(due, now) => {}
                Some(now) => moved.extend(expected(due).changes(now, due.check)),
                None => moved.push(Change {
                    subject: due.check.setting(),
                    before: None,
                    after: None,
                    note: Some("it is not on this host any more".to_owned()),
                }),
            }
        }
        moved
    }
}

fn changes_of(due: &[&Due], from: fn(&Due) -> &State, to: fn(&Due) -> &State) -> Vec<Change> {
    due.iter().flat_map(|due| from(due).changes(to(due), due.check)).collect()
}

fn from(due: &Due) -> &State {
    &due.from
}

fn to(due: &Due) -> &State {
    &due.to
}

impl Action for ConfigSet {
    fn definition(&self) -> &Definition {
        &self.definition
    }

    fn observe(&self, _target: &Asset, params: &Value) -> Result<Observation, ActionError> {
        self.look(&Work::read(params)?)
    }

    fn plan(&self, _target: &Asset, requests: &[StepRequest]) -> Result<PlanAnswer, ActionError> {
        let rules = self.rules.current()?;
        rules.permit(NAME, super::now(), true)?;
        let mut answer = PlanAnswer::default();
        let mut wanted: BTreeMap<&'static str, (&'static Check, Vec<ItemId>)> = BTreeMap::new();
        for request in requests {
            let want: Want = read_request(request)?;
            let check = posture::find(&want.check).ok_or_else(|| bad(format!("no check is called {}", want.check)))?;
            wanted.entry(check.short()).or_insert((check, Vec::new())).1.extend(request.items.iter().cloned());
        }
        for kind in Kind::ALL {
            let of_kind: Vec<_> = wanted.values().filter(|(check, _)| check.kind == kind).cloned().collect();
            let mut due: Vec<Due> = Vec::new();
            for (check, items) in of_kind {
                let refuse = |reason: String| PlanRefusal {
                    items: items.clone(),
                    reason,
                    hint: check.caution.map(|caution| format!("before it is set by hand: {caution}")),
                };
                let state = match state::read(self.host.as_ref(), kind, &[check]) {
                    Ok(mut states) => states.remove(check.short()),
                    Err(error) => {
                        answer.refused.push(refuse(error.to_string()));
                        continue;
                    }
                };
                let Some(state) = state else {
                    answer.refused.push(refuse(format!("this host has no {}", check.setting())));
                    continue;
                };
                if state.holds(check) == Some(true) {
                    answer.compliant.extend(items);
                    continue;
                }
                let one = match Due::new(check, items.clone(), state) {
                    Ok(one) => one,
                    Err(_) => {
                        answer.refused.push(refuse(format!("a person decides on {}", check.setting())));
                        continue;
                    }
                };
                match self.possible(&rules, &due, &one) {
                    Ok(()) => due.push(one),
                    Err(error) => answer.refused.push(refuse(error.to_string())),
                }
            }
            if !due.is_empty() {
                answer.steps.push(step(kind, &due)?);
            }
        }
        Ok(answer)
    }

    fn apply(&self, _target: &Asset, step: &PlannedStep, run: &mut dyn Run) -> Result<Applied, ActionError> {
        let work = Work::read(&step.params)?;
        let rules = self.rules.current()?;
        rules.permit(NAME, super::now(), run.reached().is_empty() && !run.follows())?;
        work.due.iter().try_for_each(|due| Self::allowed(&rules, due.check))?;
        let due: Vec<&Due> = work.due.iter().collect();
        let changes = changes_of(&due, from, to);
        let now = self.states(&work)?;
        if !reached(run.reached(), point::CAPTURED) {
            let seen = observation(due.iter().map(|due| (due.check, now.get(due.check.short()))));
            // What undo gives back is what was seen here, never what an order says that it was.
            let differs = |due: &&&Due| now.get(due.check.short()) != Some(&due.from);
            if let Some(other) = due.iter().find(differs) {
                return Err(ActionError::Refused {
                    message: format!("{} is not as the plan says that it was", other.check.setting()),
                    moved: Self::moved(&due, &now, from, |due, now| *now == due.from),
                });
            }
            if seen.digest().map_err(|e| ActionError::caused("the projection has no digest", e))? != step.before {
                let moved = Self::moved(&due, &now, from, |due, now| *now == due.from);
                let message = "settings are not as they were when this was planned".to_owned();
                return Err(ActionError::Refused { message, moved });
            }
            self.capture(&work, run)?;
        }
        if !reached(run.reached(), point::SET) {
            let moved = Self::moved(&due, &now, from, |due, now| now.is_between(&due.from, &due.to, due.check));
            if !moved.is_empty() {
                let message = "somebody else changed settings while they were being set".to_owned();
                return Err(ActionError::Refused { message, moved });
            }
            let mut text = None;
            if let Some(file) = state::drop_in(work.kind) {
                text = file.with(file.read()?.as_deref(), &Work::lines(work.due.iter(), to));
                if work.kind == Kind::Sshd {
                    self.try_sshd(&run.vault()?, text.as_deref(), &due)?;
                }
            }
            self.make(work.kind, &due, to, text.as_deref(), run)?;
            reach(run, point::SET, json!({}))?;
        }
        if work.kind == Kind::Sshd && !reached(run.reached(), point::RELOADED) {
            sshd::reload(self.host.as_ref(), run)?;
            reach(run, point::RELOADED, json!({}))?;
        }
        let moved = Self::moved(&due, &self.states(&work)?, to, |due, now| now.is_set(&due.to, due.check));
        if let Some(first) = moved.first() {
            return Err(ActionError::failed(format!("{} did not become what was set", first.subject))
                .with_hint("something else on the host sets it: find out what, or take this back"));
        }
        self.answer(&work, changes)
    }

    fn verify(&self, _target: &Asset, step: &PlannedStep) -> Result<Verification, ActionError> {
        let work = Work::read(&step.params)?;
        let states = self.states(&work)?;
        let mut checks = Vec::new();
        for due in &work.due {
            let held = states.get(due.check.short()).and_then(|state| state.holds(due.check));
            let (outcome, detail) = match held {
                Some(true) => (CheckOutcome::Successful, "is as wanted"),
                Some(false) => (CheckOutcome::Failed, "is not as wanted"),
                None => (CheckOutcome::Inconclusive, "cannot be told"),
            };
            checks.push(check("setting", outcome, format!("{} {detail} ({})", due.check.setting(), due.check.wanted)));
        }
        checks.extend(health::checks(self.host.as_ref(), &self.rules.current()?));
        Ok(Verification { checks })
    }

    fn undo(
        &self,
        _target: &Asset,
        step: &PlannedStep,
        items: &[ItemId],
        run: &mut dyn Run,
    ) -> Result<Applied, ActionError> {
        if items.is_empty() {
            return Err(bad("undo of no items: name those to take back".to_owned()));
        }
        let work = Work::read(&step.params)?;
        // Going back is allowed whatever `actions` and `hours` say; rules that cannot be read stop it before it begins.
        self.rules.current()?;
        let captured = run.applied().iter().find(|checkpoint| checkpoint.point == point::CAPTURED);
        let Some(captured) = captured else { return self.answer(&work, Vec::new()) };
        let captured = Captured::deserialize(&captured.state)
            .map_err(|error| ActionError::caused("the journal's state cannot be read", error))?;
        let due: Vec<&Due> = work.due.iter().filter(|due| due.items.iter().any(|item| items.contains(item))).collect();
        if due.is_empty() {
            return self.answer(&work, Vec::new());
        }
        let was_set = reached(run.applied(), point::SET);
        let begun = reached(run.reached(), point::COMPARED);
        if !reached(run.reached(), point::RESTORED) {
            let now = self.states(&work)?;
            let moved = Self::moved(&due, &now, to, |due, now| {
                let whole = now.is_set(&due.to, due.check) || *now == due.from;
                if was_set && !begun { whole } else { now.is_between(&due.from, &due.to, due.check) }
            });
            if !moved.is_empty() {
                let message = "somebody else changed what was set since".to_owned();
                return Err(ActionError::Refused { message, moved });
            }
            if !begun {
                reach(run, point::COMPARED, json!({}))?;
            }
            let mut text = None;
            if let Some(file) = state::drop_in(work.kind) {
                text = Self::former(&work, &due, &captured, run)?;
                if work.kind == Kind::Sshd {
                    sshd::tried(self.host.as_ref(), &run.vault()?, text.as_deref().unwrap_or_default())?;
                }
                self.make(work.kind, &due, from, text.as_deref(), run)?;
                if text.is_none() && !captured.folder {
                    // Ours, if nobody has put anything else there.
                    let _ = fs::remove_dir(file.folder);
                }
            } else {
                self.make(work.kind, &due, from, text.as_deref(), run)?;
            }
            reach(run, point::RESTORED, json!({}))?;
        }
        if work.kind == Kind::Sshd && !reached(run.reached(), point::RELOADED) {
            // It may have ended over what is taken back: who would reach the host then?
            if captured.ran && !sshd::is_up(self.host.as_ref())? {
                sshd::start(self.host.as_ref(), run)?;
            } else {
                sshd::reload(self.host.as_ref(), run)?;
            }
            reach(run, point::RELOADED, json!({}))?;
        }
        let moved = Self::moved(&due, &self.states(&work)?, from, |due, now| *now == due.from);
        if let Some(first) = moved.first() {
            return Err(ActionError::failed(format!("{} did not become what it was", first.subject))
                .with_hint("something else on the host sets it: find out what"));
        }
        self.answer(&work, changes_of(&due, to, from))
    }
}

impl ConfigSet {
    /// What our file is to be again: exactly what it was where nobody else wrote to it, else the lines alone.
    fn former(work: &Work, due: &[&Due], captured: &Captured, run: &dyn Run) -> Result<Option<String>, ActionError> {
        let Some(file) = state::drop_in(work.kind) else { return Ok(None) };
        let now = file.read()?;
        let kept = if captured.file {
            let text = fs::read_to_string(run.vault()?.join(KEPT));
            Some(text.map_err(|error| ActionError::caused("cannot read the settings that were kept", error))?)
        } else {
            None
        };
        let whole = due.len() == work.due.len();
        if whole && (now == kept || now == file.with(kept.as_deref(), &Work::lines(work.due.iter(), to))) {
            return Ok(kept);
        }
        Ok(file.with(now.as_deref(), &Work::lines(due.iter().copied(), from)))
    }
}

/// The step that sets these.
fn step(kind: Kind, due: &[Due]) -> Result<PlannedStep, ActionError> {
    let entry =
        |due: &Due| Entry { check: due.check.short().to_owned(), items: due.items.clone(), from: due.from.clone() };
    let params = Params { settings: due.iter().map(entry).collect() };
    let mut changes = Vec::new();
    for due in due {
        let mut lines = due.from.changes(&due.to, due.check);
        if let Some(first) = lines.first_mut() {
            let also = if kind == Kind::Sysctl { state::overrides(due.check.name) } else { None };
            let notes: Vec<String> = due.check.caution.map(str::to_owned).into_iter().chain(also).collect();
            first.note = (!notes.is_empty()).then(|| notes.join("; "));
        }
        changes.extend(lines);
    }
    let seen = observation(due.iter().map(|due| (due.check, Some(&due.from))));
    let undo = match kind {
        Kind::Sysctl => "gives the kernel its former values, and our file its former lines or its absence",
        Kind::Sshd => "gives our file its former lines or its absence, and lets sshd read them",
        Kind::File => "gives mode, owner and group back",
        Kind::Service => "takes the masks away and starts what ran",
    };
    Ok(PlannedStep {
        action: NAME.to_owned(),
        params: serde_json::to_value(params).map_err(|e| ActionError::caused("cannot write the parameters", e))?,
        before: seen.digest().map_err(|e| ActionError::caused("the projection has no digest", e))?,
        changes,
        reversibility: Reversibility::Restorable,
        undo: undo.to_owned(),
        disruption: if kind == Kind::Service { Disruption::Restart } else { Disruption::None },
    })
}
