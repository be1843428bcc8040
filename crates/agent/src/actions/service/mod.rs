//! `service.restart`: what still runs replaced code is started anew, so that a fix on disk is a fix in memory.

pub(crate) mod excluded;
pub(crate) mod restart;
pub(crate) mod running;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stanch_action::catalogue::{self, Declared};
use stanch_action::{Action, ActionError, Applied, Definition, Observation, Place, PlanAnswer, Run, Verification};
use stanch_model::asset::Asset;
use stanch_model::facts::{ServiceRef, StaleProcess};
use stanch_model::id::ItemId;
use stanch_model::order::{Check, CheckOutcome, PlanRefusal, StepRequest};
use stanch_model::plan::{Change, Disruption, LEFT_ALONE, PlannedStep, Reversibility};

use super::command::Programs;
use super::{check, health, log, package, reach, read_params, read_request};
use crate::facts::{self, Options, Root};
use crate::rules::Rules;
use restart::{Entry, Init, Outcome};

/// The action's name.
pub const NAME: &str = DECLARED.name;

const DECLARED: Declared = catalogue::SERVICE_RESTART;

const LISTED: &str = "listed";
const RESTARTED: &str = "restarted";
const SAFE_POINTS: [&str; 2] = [LISTED, RESTARTED];

/// Which services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Scope {
    /// Those on files that are gone when the step runs.
    Affected,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Want {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<Scope>,
    /// Only what maps files of these source packages; all if none.
    #[serde(default)]
    sources: BTreeSet<String>,
    /// These, whether affected or not.
    #[serde(default)]
    services: BTreeSet<String>,
}

fn request_schema() -> Value {
    let names = json!({"type": "array", "maxItems": 5000, "items": {"type": "string"}});
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {"scope": {"enum": ["affected"]}, "sources": names, "services": names},
        "anyOf": [{"required": ["scope"]}, {"required": ["services"]}],
    })
}

/// The parameters of a planned step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    /// Whether what is affected when the step runs is restarted.
    affected: bool,
    /// Only what maps files of these source packages; all if none.
    sources: BTreeSet<String>,
    /// Services that are restarted in any case.
    services: BTreeSet<String>,
    /// What planning foresaw to be affected.
    foreseen: BTreeSet<String>,
}

fn params_schema() -> Value {
    let names = json!({"type": "array", "maxItems": 5000, "items": {"type": "string"}});
    json!({
        "type": "object",
        "required": ["affected", "sources", "services", "foreseen"],
        "additionalProperties": false,
        "properties": {"affected": {"type": "boolean"}, "sources": names, "services": names, "foreseen": names},
    })
}

/// How far a step is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Progress {
    entries: Vec<Entry>,
    done: Vec<(String, Outcome)>,
}

/// The action.
pub struct ServiceRestart {
    definition: Definition,
    host: Arc<dyn Programs>,
    rules: Rules,
}

impl ServiceRestart {
    /// The action on this host, under these rules.
    pub fn new(host: Arc<dyn Programs>, rules: Rules) -> Self {
        let definition = Definition {
            name: NAME,
            summary: "Restart the services that still run code which is gone from disk",
            technique: "D3-PT",
            request_schema,
            params_schema,
            idempotency: DECLARED.idempotency,
            reversibility: DECLARED.reversibility,
            disruption: DECLARED.disruption,
            closes_exposure: DECLARED.closes_exposure,
            safe_points: &SAFE_POINTS,
            place: Place::Host,
            rehearses: false,
        };
        Self { definition, host, rules }
    }

    fn named(&self, name: &str) -> Option<ServiceRef> {
        match restart::init(self.host.as_ref()) {
            Init::Systemd => {
                let unit = if name.contains('.') { name.to_owned() } else { format!("{name}.service") };
                Some(ServiceRef::Systemd(unit))
            }
            Init::Sysv => Some(ServiceRef::Sysv(name.strip_suffix(".service").unwrap_or(name).to_owned())),
            Init::None => None,
        }
    }

    /// Whether this host knows the service.
    fn known(&self, service: &ServiceRef) -> Result<bool, ActionError> {
        match service {
            ServiceRef::Systemd(unit) => {
                let about = restart::show(self.host.as_ref(), unit, &["LoadState"])?;
                Ok(about.get("LoadState").is_some_and(|state| state == "loaded"))
            }
            ServiceRef::Sysv(name) => Ok(plain(name) && std::path::Path::new("/etc/init.d").join(name).is_file()),
            ServiceRef::Session(_) => Ok(false),
        }
    }

    /// What the step expects: who manages services, and that the named ones exist. Processes and times are volatile.
    fn projection(&self, services: &BTreeSet<String>) -> Result<Observation, ActionError> {
        let mut known = serde_json::Map::new();
        for name in services {
            let there = match self.named(name) {
                Some(service) => self.known(&service)?,
                None => false,
            };
            known.insert(name.clone(), json!(there));
        }
        Ok(Observation { projection: json!({"init": restart::init(self.host.as_ref()), "services": known}) })
    }

    fn stale(&self, params: &Params) -> Result<Vec<StaleProcess>, ActionError> {
        if !params.affected {
            return Ok(Vec::new());
        }
        let packages =
            if params.sources.is_empty() { None } else { Some(binaries(self.host.as_ref(), &params.sources)?) };
        running::stale(packages.as_ref())
    }

    /// What is to be restarted right now, and what is left to a person.
    fn entries(&self, params: &Params, rules: &Rules) -> Result<Vec<Entry>, ActionError> {
        let own = running::own_services()?;
        let mut entries = restart::sort(self.host.as_ref(), rules, &self.stale(params)?, &own)?;
        for name in &params.services {
            let Some(service) = self.named(name) else { continue };
            if entries.iter().any(|entry| entry.service.as_ref() == Some(&service)) {
                continue;
            }
            let left = restart::left(self.host.as_ref(), rules, Some(&service), &own)?;
            let pids = running::pids_of(&service)?;
            entries.push(Entry {
                name: name.clone(),
                service: Some(service),
                files: "as asked".to_owned(),
                left,
                pids,
            });
        }
        Ok(entries)
    }

    fn answer(&self, params: &Params, progress: &Progress) -> Result<Applied, ActionError> {
        let mut changes = Vec::new();
        for entry in &progress.entries {
            let before = Some(format!("running on {}", entry.files));
            let outcome = progress.done.iter().find(|(name, _)| *name == entry.name).map(|(_, outcome)| outcome);
            let (after, note) = match (outcome, &entry.left) {
                (Some(Outcome::Restarted), _) => (Some("restarted".to_owned()), None),
                (Some(Outcome::NotRunning), _) => (Some("not running".to_owned()), None),
                (Some(Outcome::Failed(why)), _) => (Some("failed".to_owned()), Some(why.clone())),
                (Some(Outcome::Denied), _) => {
                    (before.clone(), Some("left to a person: the host's policy for services denies it".to_owned()))
                }
                (None, Some(why)) => (before.clone(), Some(format!("left to a person: {why}"))),
                (None, None) => (before.clone(), None),
            };
            changes.push(Change { subject: entry.name.clone(), before, after, note });
        }
        let changed =
            progress.done.iter().any(|(_, outcome)| matches!(outcome, Outcome::Restarted | Outcome::Failed(_)));
        Ok(Applied { changed, changes, after: self.projection(&params.services)? })
    }
}

impl Action for ServiceRestart {
    fn definition(&self) -> &Definition {
        &self.definition
    }

    fn observe(&self, _target: &Asset, params: &Value) -> Result<Observation, ActionError> {
        let params: Params = read_params(params)?;
        self.projection(&params.services)
    }

    fn plan(&self, _target: &Asset, requests: &[StepRequest]) -> Result<PlanAnswer, ActionError> {
        let rules = self.rules.current()?;
        rules.permit(NAME, super::now(), true)?;
        let mut params =
            Params { affected: false, sources: BTreeSet::new(), services: BTreeSet::new(), foreseen: BTreeSet::new() };
        let mut answer = PlanAnswer::default();
        let mut items: BTreeSet<ItemId> = BTreeSet::new();
        let mut every = false;
        for request in requests {
            let want: Want = read_request(request)?;
            if want.scope.is_none() && want.services.is_empty() {
                let message = "service.restart: neither a scope nor a service is named".to_owned();
                return Err(ActionError::BadParameters { message });
            }
            for name in &want.services {
                let service = self.named(name).filter(|_| plain(name));
                if service.is_none_or(|service| !self.known(&service).unwrap_or(false)) {
                    answer.refused.push(PlanRefusal {
                        items: request.items.clone(),
                        reason: format!("{name}: this host has no such service"),
                        hint: Some("`systemctl list-units` or /etc/init.d names those there are".to_owned()),
                    });
                } else {
                    params.services.insert(name.clone());
                }
            }
            params.affected |= want.scope.is_some();
            every |= want.scope.is_some() && want.sources.is_empty();
            params.sources.extend(want.sources);
            items.extend(request.items.iter().cloned());
        }
        if every {
            params.sources.clear();
        }
        let own = running::own_services()?;
        let mut changes = Vec::new();
        if params.affected {
            let mut foreseen = restart::sort(self.host.as_ref(), &rules, &self.stale(&params)?, &own)?;
            let moving = if every { upgradable()? } else { binaries(self.host.as_ref(), &params.sources)? };
            let files = running::files_of(&moving);
            for (service, packages) in running::mapping(&files)? {
                let (ServiceRef::Systemd(name) | ServiceRef::Sysv(name)) = &service else { continue };
                if foreseen.iter().all(|entry| entry.name != *name) {
                    let left = restart::left(self.host.as_ref(), &rules, Some(&service), &own)?;
                    let files = packages.into_iter().collect::<Vec<_>>().join(", ");
                    let name = name.clone();
                    foreseen.push(Entry { name, service: Some(service), files, left, pids: BTreeSet::new() });
                }
            }
            for entry in foreseen {
                let note = match &entry.left {
                    Some(why) => Some(format!("left to a person: {why}")),
                    None => Some("restarted if it still runs replaced code then".to_owned()),
                };
                let after = if entry.left.is_some() { LEFT_ALONE } else { "restarted" };
                changes.push(Change {
                    subject: entry.name.clone(),
                    before: Some(format!("maps {}", entry.files)),
                    after: Some(after.to_owned()),
                    note,
                });
                if entry.left.is_none() {
                    params.foreseen.insert(entry.name);
                }
            }
        }
        for name in &params.services {
            changes.push(Change {
                subject: name.clone(),
                before: Some("running".to_owned()),
                after: Some("restarted".to_owned()),
                note: Some("as asked".to_owned()),
            });
        }
        if changes.is_empty() {
            if answer.refused.is_empty() {
                answer.compliant.extend(items);
            }
            return Ok(answer);
        }
        let before = self.projection(&params.services)?;
        answer.steps.push(PlannedStep {
            action: NAME.to_owned(),
            params: serde_json::to_value(&params).map_err(|e| ActionError::caused("cannot write the parameters", e))?,
            before: before.digest().map_err(|e| ActionError::caused("the projection has no digest", e))?,
            changes,
            reversibility: Reversibility::Transient,
            undo: "nothing to restore: services run".to_owned(),
            disruption: Disruption::Restart,
        });
        Ok(answer)
    }

    fn apply(&self, _target: &Asset, step: &PlannedStep, run: &mut dyn Run) -> Result<Applied, ActionError> {
        let params: Params = read_params(&step.params)?;
        let rules = self.rules.current()?;
        rules.permit(NAME, super::now(), run.reached().is_empty() && !run.follows())?;
        let mut progress = match run.reached().last() {
            Some(checkpoint) => Progress::deserialize(&checkpoint.state)
                .map_err(|e| ActionError::caused("the journal's state cannot be read", e))?,
            None => {
                let now = self.projection(&params.services)?;
                if now.digest().map_err(|e| ActionError::caused("the projection has no digest", e))? != step.before {
                    return Err(ActionError::refused(
                        "services were added, removed or handed to another manager since",
                    ));
                }
                let progress = Progress { entries: self.entries(&params, &rules)?, done: Vec::new() };
                reach(run, LISTED, state(&progress)?)?;
                progress
            }
        };
        let to_do: Vec<Entry> = progress
            .entries
            .iter()
            .filter(|entry| entry.left.is_none() && !progress.done.iter().any(|(name, _)| *name == entry.name))
            .cloned()
            .collect();
        for entry in to_do {
            run.progress(&format!("restarting {}", entry.name));
            let (outcome, output) = restart::restart(self.host.as_ref(), &entry, log(run)?)?;
            run.evidence(&format!("restart of {}", entry.name), &output);
            progress.done.push((entry.name.clone(), outcome));
            reach(run, RESTARTED, state(&progress)?)?;
        }
        let failed: Vec<&str> = progress
            .done
            .iter()
            .filter_map(|(_, outcome)| if let Outcome::Failed(why) = outcome { Some(why.as_str()) } else { None })
            .collect();
        if failed.is_empty() {
            return self.answer(&params, &progress);
        }
        Err(ActionError::failed(failed.join("; "))
            .with_hint("`journalctl -u` or its own log says why it does not start"))
    }

    fn verify(&self, _target: &Asset, step: &PlannedStep) -> Result<Verification, ActionError> {
        let params: Params = read_params(&step.params)?;
        let rules = self.rules.current()?;
        let mut checks = vec![deleted_maps(self.host.as_ref(), &rules, &self.stale(&params)?)?];
        let mut down = Vec::new();
        for name in params.services.iter().chain(&params.foreseen) {
            let Some(service) = self.named(name) else { continue };
            if self.known(&service)? && running::pids_of(&service)?.is_empty() {
                down.push(name.clone());
            }
        }
        let (outcome, detail) = if down.is_empty() {
            (CheckOutcome::Successful, "the services of the plan run".to_owned())
        } else {
            (CheckOutcome::Failed, format!("not running: {}", down.join(", ")))
        };
        checks.push(check("services", outcome, detail));
        checks.extend(health::checks(self.host.as_ref(), &rules));
        Ok(Verification { checks })
    }

    /// A restart leaves nothing behind; what runs runs.
    fn undo(
        &self,
        _target: &Asset,
        step: &PlannedStep,
        _items: &[ItemId],
        _run: &mut dyn Run,
    ) -> Result<Applied, ActionError> {
        let params: Params = read_params(&step.params)?;
        Ok(Applied { changed: false, changes: Vec::new(), after: self.projection(&params.services)? })
    }
}

fn state(progress: &Progress) -> Result<Value, ActionError> {
    serde_json::to_value(progress).map_err(|e| ActionError::caused("cannot write the journal's state", e))
}

/// A name that can be nothing but a name.
fn plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(['-', '.'])
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@:\\+".contains(&b))
}

/// The installed binary packages of these sources.
fn binaries(host: &dyn Programs, sources: &BTreeSet<String>) -> Result<BTreeSet<String>, ActionError> {
    if package::is_of_rpm() {
        return package::built_by_rpm(host, sources);
    }
    let root =
        Root::open(std::path::Path::new("/")).map_err(|e| ActionError::caused("cannot open the root folder", e))?;
    let status = facts::installed(&root).map_err(|e| ActionError::caused("cannot read what is installed", e))?;
    Ok(status
        .packages
        .into_iter()
        .filter(|package| sources.contains(&package.source))
        .map(|package| package.name)
        .collect())
}

/// Packages for which the archives offer something newer: what a step before this one may replace.
fn upgradable() -> Result<BTreeSet<String>, ActionError> {
    let facts = facts::host(&Options::this_host().without_copies())
        .map_err(|e| ActionError::caused("cannot read the host's facts", e))?;
    Ok(facts.candidates.known().into_iter().flatten().map(|(name, _)| name.clone()).collect())
}

/// The check that nothing runs on files that are gone. What only a person may end is told, and is open as a finding of
/// its own; it does not make the step fail.
pub(crate) fn deleted_maps(host: &dyn Programs, rules: &Rules, stale: &[StaleProcess]) -> Result<Check, ActionError> {
    let entries = restart::sort(host, rules, stale, &running::own_services()?)?;
    let name = |entry: &Entry| format!("{} ({})", entry.name, entry.files);
    let due: Vec<String> = entries.iter().filter(|entry| entry.left.is_none()).map(name).collect();
    let left: Vec<String> = entries.iter().filter(|entry| entry.left.is_some()).map(name).collect();
    let mut detail = if due.is_empty() {
        "no service runs replaced code".to_owned()
    } else {
        format!("still on deleted files: {}", due.join("; "))
    };
    if !left.is_empty() {
        detail.push_str(&format!("; left to a person: {}", left.join("; ")));
    }
    let outcome = if due.is_empty() { CheckOutcome::Successful } else { CheckOutcome::Failed };
    Ok(check("deleted-maps", outcome, detail))
}

#[cfg(test)]
mod tests {
    use stanch_model::asset::AssetKind;

    use super::*;
    use crate::actions::doubles::{Notes, Table};

    #[test]
    fn hours_that_ended_during_the_upgrade_do_not_keep_its_restart_back() {
        let never = Rules::parse("[[hours]]\nfrom = \"00:00\"\nuntil = \"00:00\"\n").unwrap();
        let action = ServiceRestart::new(Arc::new(Table::default()), never);
        let target = Asset::unlabelled(AssetKind::Host, "x", "x");
        let params = json!({"affected": false, "sources": [], "services": [], "foreseen": []});
        let step = PlannedStep {
            action: NAME.to_owned(),
            before: action.observe(&target, &params).unwrap().digest().unwrap(),
            params,
            changes: Vec::new(),
            reversibility: Reversibility::Transient,
            undo: String::new(),
            disruption: Disruption::Restart,
        };
        let mut run = Notes::new();
        let alone = action.apply(&target, &step, &mut run).unwrap_err();
        assert!(matches!(&alone, ActionError::Refused { message, .. } if message.contains("hours")), "{alone}");
        run.follows = true;
        action.apply(&target, &step, &mut run).unwrap();
    }

    #[test]
    fn a_name_that_could_be_an_option_or_a_path_is_none() {
        for name in ["ssh", "ssh.service", "postgresql@15-main.service", "dev-mapper\\x2d.service"] {
            assert!(plain(name), "{name}");
        }
        for name in ["", "-H", "--root=/", "../x", "a b", "a/b", ".hidden", "x;y"] {
            assert!(!plain(name), "{name}");
        }
    }
}
