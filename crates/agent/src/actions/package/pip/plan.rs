//! From what is wanted to the exact list that pip prints.
//!
//! Everything else in the environment stands still at first; only where pip cannot do it so may it move others, and then
//! they are in the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::Deserialize;
use stanch_action::{ActionError, PlanAnswer};
use stanch_model::canonical::Digest;
use stanch_model::ecosystem;
use stanch_model::facts::Manager;
use stanch_model::id::ItemId;
use stanch_model::order::PlanRefusal;
use stanch_model::plan::{Change, Disruption, PlannedStep, Reversibility};
use stanch_model::version::PythonVersion;

use super::params::{Params, Planned};
use super::{Pip, Place, files};
use crate::actions::package::{NAME, failed};
use crate::facts::python;

/// How long all pips of a host may be asked for one answer.
const PATIENCE: Duration = Duration::from_secs(900);

/// What a request wants of one package.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    items: BTreeSet<ItemId>,
    fixed: Option<PythonVersion>,
}

impl Wanted {
    pub(crate) fn add(&mut self, items: Vec<ItemId>, fixed: Option<&String>) -> Result<(), ActionError> {
        self.items.extend(items);
        let fixed = fixed.map(|fixed| fixed.parse::<PythonVersion>()).transpose();
        let fixed = fixed.map_err(|error| ActionError::BadParameters { message: error.to_string() })?;
        self.fixed = self.fixed.take().max(fixed);
        Ok(())
    }
}

/// What pip says it would do (its installation report, version 1).
#[derive(Debug, Deserialize)]
struct Report {
    install: Vec<Install>,
}

#[derive(Debug, Deserialize)]
struct Install {
    download_info: Download,
    #[serde(default)]
    is_direct: bool,
    #[serde(default)]
    is_yanked: bool,
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
struct Download {
    archive_info: Option<Archive>,
}

#[derive(Debug, Deserialize)]
struct Archive {
    hash: Option<String>,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
    version: String,
}

impl Install {
    fn sha256(&self) -> Option<Digest> {
        let archive = self.download_info.archive_info.as_ref()?;
        let one = archive.hash.as_deref().and_then(|hash| hash.strip_prefix("sha256="));
        archive.hashes.get("sha256").map(String::as_str).or(one)?.parse().ok()
    }
}

struct Objection {
    reason: String,
    hint: Option<&'static str>,
}

impl From<String> for Objection {
    fn from(reason: String) -> Self {
        Self { reason, hint: None }
    }
}

type Targets<'a> = BTreeMap<&'a str, &'a Wanted>;

impl Pip<'_> {
    pub(crate) fn planned(
        &self,
        wanted: &BTreeMap<String, Wanted>,
        answer: &mut PlanAnswer,
    ) -> Result<(), ActionError> {
        if let Err(refused) = self.rules.current()?.permit_environments() {
            for (purl, want) in wanted {
                refuse(answer, want, purl, refused.to_string().into());
            }
            return Ok(());
        }
        let mut places: BTreeMap<String, BTreeMap<String, &Wanted>> = BTreeMap::new();
        for (purl, want) in wanted {
            let of_pip = ecosystem::of_purl(purl) == Some("PyPI");
            match (ecosystem::environment(purl), ecosystem::name_in(purl).filter(|name| python::is_name(name))) {
                (Some(environment), Some(name)) if of_pip => {
                    places.entry(environment).or_default().insert(name, want);
                }
                _ => {
                    refuse(
                        answer,
                        want,
                        purl,
                        format!("{purl} names no package of an environment of this host").into(),
                    );
                }
            }
        }
        let until = Instant::now() + PATIENCE;
        for (environment, targets) in places {
            let place = match Place::open(self.host, &environment) {
                Ok(place) => place,
                Err(why) => {
                    for (name, want) in targets {
                        refuse(answer, want, &name, why.clone().into());
                    }
                    continue;
                }
            };
            let targets: Targets<'_> = targets.iter().map(|(name, want)| (name.as_str(), *want)).collect();
            self.plan_in(&place, targets, until, answer)?;
        }
        Ok(())
    }

    fn plan_in(
        &self,
        place: &Place,
        targets: Targets<'_>,
        until: Instant,
        answer: &mut PlanAnswer,
    ) -> Result<(), ActionError> {
        let environment = place.read();
        let mut open: Targets<'_> = BTreeMap::new();
        for (name, want) in targets {
            let installed = environment.packages.get(name).map(|installed| installed.version.parse::<PythonVersion>());
            match installed {
                Some(_) if environment.closed.is_some() => {
                    refuse(answer, want, name, environment.closed.unwrap_or_default().to_owned().into());
                }
                Some(Ok(version)) if want.fixed.as_ref().is_some_and(|fixed| version >= *fixed) => {
                    answer.compliant.extend(want.items.iter().cloned());
                }
                Some(_) => drop(open.insert(name, want)),
                None => refuse(answer, want, name, format!("it is not installed in {}", place.path).into()),
            }
        }
        if open.is_empty() {
            return Ok(());
        }
        let asking = Asking { place, environment: &environment, until };
        let agreed = match self.attempt(&asking, &open)? {
            Ok(packages) => Some((open, packages)),
            Err(objection) if open.len() == 1 => {
                open.iter().for_each(|(name, want)| refuse(answer, want, name, objection_of(&objection)));
                None
            }
            Err(_) => self.largest(&asking, open, answer)?,
        };
        let Some((chosen, packages)) = agreed else { return Ok(()) };
        if packages.is_empty() {
            answer.compliant.extend(chosen.values().flat_map(|want| want.items.iter().cloned()));
            return Ok(());
        }
        let changes = packages.iter().map(|planned| change(planned, &chosen, place)).collect();
        let before = files::projection(place, &environment, packages.iter().map(|planned| planned.name.as_str()))?;
        let digest = before.observation()?.digest().map_err(|e| failed(e, "the projection has no digest"))?;
        let params = Params {
            manager: Manager::Pip,
            environment: place.path.clone(),
            packages,
            lock_timeout_seconds: self.rules.current()?.lock_timeout_seconds,
            before,
        };
        answer.steps.push(PlannedStep {
            action: NAME.to_owned(),
            params: serde_json::to_value(params).map_err(|e| failed(e, "cannot write the parameters"))?,
            before: digest,
            changes,
            reversibility: Reversibility::Restorable,
            undo: "puts the files of before back from a kept copy, removes what came along new".to_owned(),
            disruption: Disruption::Restart,
        });
        Ok(())
    }

    /// One package that cannot be upgraded never keeps the others back.
    fn largest<'w>(
        &self,
        asking: &Asking<'_>,
        open: Targets<'w>,
        answer: &mut PlanAnswer,
    ) -> Result<Option<(Targets<'w>, Vec<Planned>)>, ActionError> {
        let mut chosen: Option<(Targets<'w>, Vec<Planned>)> = None;
        for (name, want) in open {
            let mut together = chosen.as_ref().map(|(targets, _)| targets.clone()).unwrap_or_default();
            together.insert(name, want);
            match self.attempt(asking, &together)? {
                Ok(packages) => chosen = Some((together, packages)),
                Err(objection) => refuse(answer, want, name, objection),
            }
        }
        Ok(chosen)
    }

    /// Asks pip, from what moves least to what moves more.
    fn attempt(
        &self,
        asking: &Asking<'_>,
        targets: &Targets<'_>,
    ) -> Result<Result<Vec<Planned>, Objection>, ActionError> {
        let Asking { place, environment, until } = asking;
        let mut complaint = String::new();
        for (exact, still) in [(true, true), (false, true), (true, false), (false, false)] {
            if Instant::now() >= *until {
                return Ok(Err(format!("pip was asked for {} s without an end", PATIENCE.as_secs()).into()));
            }
            let target = |(name, want): (&&str, &&Wanted)| match &want.fixed {
                Some(fixed) if exact => format!("{name}=={fixed}\n"),
                Some(fixed) => format!("{name}>={fixed}\n"),
                None => format!("{name}\n"),
            };
            let other = |(name, installed): (&String, &python::Installed)| {
                let compare = if still { "==" } else { ">=" };
                let is_target = targets.contains_key(name.as_str());
                (!is_target).then(|| format!("{name}{compare}{}\n", installed.version))
            };
            let requirements: String =
                targets.iter().map(target).chain(environment.packages.iter().filter_map(other)).collect();
            let upgrade = targets.values().any(|want| want.fixed.is_none());
            let words = if upgrade { vec!["--upgrade"] } else { Vec::new() };
            let report = match self.dry_run(place, &words, requirements)? {
                Ok(report) => report,
                Err(why) => {
                    complaint = if complaint.is_empty() { why } else { complaint };
                    continue;
                }
            };
            let Some(report) = report else {
                return Ok(Err(Objection {
                    reason: "its pip does not tell what it would do".to_owned(),
                    hint: Some("pip 22.2 and later do; upgrade pip in the environment"),
                }));
            };
            // A version that was taken back is had by its exact name only; a later one may do.
            match report.install.iter().find(|install| install.is_yanked) {
                Some(install) => {
                    let Metadata { name, version } = &install.metadata;
                    complaint = format!("{name} {version} was taken back by those who made it");
                }
                None => return self.accepted(asking, targets, &report),
            }
        }
        Ok(Err(Objection {
            reason: format!("pip cannot do it: {complaint}"),
            hint: Some("look at what else in the environment asks for the old version"),
        }))
    }

    /// What pip says it would do; nothing where it does not say it in a form that is known. The inner error is its complaint.
    #[allow(clippy::type_complexity)]
    fn dry_run(
        &self,
        place: &Place,
        words: &[&str],
        requirements: String,
    ) -> Result<Result<Option<Report>, String>, ActionError> {
        let mut all = vec!["install", "--dry-run", "--quiet", "--report", "-", "--only-binary", ":all:"];
        all.extend(words);
        all.extend(["--requirement", "/dev/stdin"]);
        let asked = place.pip_reading(&all).fed(requirements.into_bytes());
        let output = self.run("pip install --dry-run", &asked)?;
        if !output.ok() {
            return Ok(Err(output.complaint()));
        }
        Ok(Ok(serde_json::from_slice(&output.stdout).ok()))
    }

    /// Asks pip once more before anything changes, whatever an order says: the list has to be what the host's own index and
    /// pip make of it, no package more and none less, each with the digest that was planned and none older than it is.
    pub(super) fn confirm(&self, place: &Place, params: &Params) -> Result<(), ActionError> {
        let environment = place.read();
        if let Some(closed) = environment.closed {
            return Err(ActionError::refused(closed));
        }
        let planned: BTreeMap<&str, &Planned> =
            params.packages.iter().map(|planned| (planned.name.as_str(), planned)).collect();
        if planned.len() != params.packages.len() {
            return Err(ActionError::refused("the plan names one package twice"));
        }
        for (name, planned) in &planned {
            let installed = environment.packages.get(*name);
            if installed.map(|installed| &installed.version) != planned.from.as_ref() {
                return Err(ActionError::refused(format!("{name} is not at the version that the plan starts from")));
            }
            if let Some(why) = planned.objection() {
                return Err(ActionError::refused(why));
            }
            if let Some(unlisted) = installed.and_then(|installed| files::listed(place, installed).err()) {
                return Err(ActionError::refused(unlisted.told(name)));
            }
        }
        let exact = |planned: &Planned| format!("{}=={}\n", planned.name, planned.to);
        let still = environment.packages.iter().filter(|(name, _)| !planned.contains_key(name.as_str()));
        let requirements = params.packages.iter().filter(|planned| planned.from.is_some()).map(exact);
        let requirements: String =
            requirements.chain(still.map(|(name, installed)| format!("{name}=={}\n", installed.version))).collect();
        // What comes along new may come only because the others need it, and then in the planned version.
        let handed = place.handing()?;
        let new: String = params.packages.iter().filter(|planned| planned.from.is_none()).map(exact).collect();
        let constraints = handed.give("constraints.txt", new.as_bytes())?;
        let report = self
            .dry_run(place, &["--constraint", &constraints], requirements)?
            .map_err(|why| ActionError::refused(format!("pip would not do what the plan says: {why}")))?
            .ok_or_else(|| ActionError::refused("its pip does not tell what it would do"))?;
        let would: BTreeMap<String, (&str, Option<Digest>)> = report
            .install
            .iter()
            .map(|install| {
                let name = ecosystem::normal_name("PyPI", &install.metadata.name).into_owned();
                let sha256 = install.sha256().filter(|_| !install.is_direct && !install.is_yanked);
                (name, (install.metadata.version.as_str(), sha256))
            })
            .collect();
        let as_planned = |planned: &Planned| {
            would
                .get(&planned.name)
                .is_some_and(|(version, sha256)| same_version(version, &planned.to) && *sha256 == Some(planned.sha256))
        };
        let other: Vec<&str> = params
            .packages
            .iter()
            .filter(|planned| !as_planned(planned))
            .map(|planned| planned.name.as_str())
            .chain(would.keys().map(String::as_str).filter(|name| !planned.contains_key(name)))
            .take(10)
            .collect();
        if other.is_empty() && report.install.len() == params.packages.len() {
            return Ok(());
        }
        Err(ActionError::refused(format!("pip and its index say something else than the plan of {}", other.join(", "))))
    }

    /// What pip would do, unless something speaks against it.
    fn accepted(
        &self,
        asking: &Asking<'_>,
        targets: &Targets<'_>,
        report: &Report,
    ) -> Result<Result<Vec<Planned>, Objection>, ActionError> {
        let rules = self.rules.current()?;
        let all: Vec<ItemId> = {
            let items: BTreeSet<&ItemId> = targets.values().flat_map(|want| &want.items).collect();
            items.into_iter().cloned().collect()
        };
        let mut packages = BTreeMap::new();
        for install in &report.install {
            let name = ecosystem::normal_name("PyPI", &install.metadata.name).into_owned();
            let to = &install.metadata.version;
            if to.parse::<PythonVersion>().is_err() {
                return Ok(Err(format!("it would bring {name} {to}, which is no version").into()));
            }
            if !python::is_name(&name) {
                return Ok(Err("it would bring a package whose name is none".to_owned().into()));
            }
            if rules.denies_package(&name) {
                return Ok(Err(Objection {
                    reason: format!("the executor's rules deny changes to {name}"),
                    hint: Some("deny.packages in the executor's rules file"),
                }));
            }
            let Some(sha256) = install.sha256().filter(|_| !install.is_direct) else {
                return Ok(Err(format!("it would bring {name} {to} from outside of the index").into()));
            };
            let installed = asking.environment.packages.get(&name);
            let from = installed.map(|installed| installed.version.clone());
            if let Some(unlisted) = installed.and_then(|installed| files::listed(asking.place, installed).err()) {
                return Ok(Err(unlisted.told(&name).into()));
            }
            let items = match targets.get(name.as_str()) {
                Some(want) => want.items.iter().cloned().collect(),
                None => all.clone(),
            };
            let planned = Planned { name: name.clone(), from, to: to.clone(), items, sha256 };
            if let Some(why) = planned.objection() {
                return Ok(Err(why.into()));
            }
            packages.insert(name, planned);
        }
        Ok(Ok(packages.into_values().collect()))
    }
}

/// What pip is asked about.
struct Asking<'a> {
    place: &'a Place,
    environment: &'a python::Environment,
    until: Instant,
}

fn same_version(one: &str, other: &str) -> bool {
    matches!((one.parse::<PythonVersion>(), other.parse::<PythonVersion>()), (Ok(one), Ok(other)) if one == other)
}

fn objection_of(objection: &Objection) -> Objection {
    Objection { reason: objection.reason.clone(), hint: objection.hint }
}

fn refuse(answer: &mut PlanAnswer, want: &Wanted, name: &str, objection: Objection) {
    answer.refused.push(PlanRefusal {
        items: want.items.iter().cloned().collect(),
        reason: format!("{name}: {}", objection.reason),
        hint: objection.hint.map(str::to_owned),
    });
}

fn change(planned: &Planned, targets: &Targets<'_>, place: &Place) -> Change {
    let note = match (&planned.from, targets.contains_key(planned.name.as_str())) {
        (None, _) => "new, needed by the others, by pip in ",
        (Some(_), false) => "pulled along, by pip in ",
        (Some(_), true) => "by pip in ",
    };
    Change {
        subject: planned.name.clone(),
        before: planned.from.clone(),
        after: Some(planned.to.clone()),
        note: Some(format!("{note}{}", place.path)),
    }
}
