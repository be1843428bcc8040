//! From requests to exact lists.
//!
//! apt says what would happen; the plan is what apt says again for exactly that list. One source that cannot be
//! upgraded never keeps the others back: it is found, refused with its reason, and the rest is planned without it.

use std::collections::{BTreeMap, BTreeSet};

use stanch_action::{ActionError, PlanAnswer};
use stanch_model::id::ItemId;
use stanch_model::order::{PlanRefusal, StepRequest};
use stanch_model::own::{AGENT, SERVER, is_own};
use stanch_model::plan::{Change, Disruption, PlannedStep, Reversibility};
use stanch_model::version::DebVersion;

use super::apt::{self, Leave, Policy};
use super::dpkg::{self, Database};
use super::params::{Conffiles, Params, Planned, To, Want};
use super::simulation::Simulation;
use super::{Key, NAME, PackageUpgrade, capture, dnf, failed, formats, is_of_rpm, pip, projection, units};
use crate::actions::{now, read_request};

/// Rounds after which apt's answer has to stand still.
const MOST_ROUNDS: usize = 5;

/// One source package that is to move.
#[derive(Debug, Clone)]
struct Root {
    source: String,
    items: BTreeSet<ItemId>,
    packages: BTreeMap<Key, DebVersion>,
}

/// A simulation that stands still and that nothing speaks against.
#[derive(Debug, Clone)]
struct Agreed {
    simulation: Simulation,
    policies: BTreeMap<Key, Policy>,
}

#[derive(Debug)]
pub(super) struct Objection {
    reason: String,
    hint: Option<String>,
}

impl Objection {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), hint: None }
    }

    pub(super) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl PackageUpgrade {
    pub(super) fn planned(&self, requests: &[StepRequest]) -> Result<PlanAnswer, ActionError> {
        let rules = self.rules.current()?;
        rules.permit(NAME, now(), true)?;
        let mut answer = PlanAnswer::default();
        let mut wanted: BTreeMap<String, (BTreeSet<ItemId>, Option<DebVersion>)> = BTreeMap::new();
        let mut components: BTreeMap<String, pip::Wanted> = BTreeMap::new();
        let mut of_rpm: BTreeMap<String, dnf::Wanted> = BTreeMap::new();
        let is_of_rpm = is_of_rpm();
        for request in requests {
            let want: Want = read_request(request)?;
            let paired = want.sources.len() == request.items.len();
            for (number, source) in want.sources.iter().enumerate() {
                let items = if paired {
                    request.items.get(number).into_iter().cloned().collect()
                } else {
                    request.items.clone()
                };
                let fixed = want.fixed.get(source).filter(|_| want.to == To::Fixed);
                if source.starts_with("pkg:") {
                    components.entry(source.clone()).or_default().add(items, fixed)?;
                    continue;
                }
                if is_of_rpm {
                    of_rpm.entry(source.clone()).or_default().add(items, fixed)?;
                    continue;
                }
                let fixed = fixed.map(|fixed| fixed.parse::<DebVersion>()).transpose();
                let fixed = fixed.map_err(|error| ActionError::BadParameters { message: error.to_string() })?;
                let entry = wanted.entry(source.clone()).or_default();
                entry.0.extend(items);
                if let Some(fixed) = fixed
                    && entry.1.as_ref().is_none_or(|known| *known < fixed)
                {
                    entry.1 = Some(fixed);
                }
            }
        }
        if !components.is_empty() {
            self.pip().planned(&components, &mut answer)?;
        }
        if !of_rpm.is_empty() {
            self.dnf().planned(&of_rpm, &mut answer)?;
        }
        if wanted.is_empty() {
            return Ok(answer);
        }
        let database = dpkg::read(self.host()).map_err(|e| failed(e, "cannot read what is installed"))?;
        // Stanch's own packages come after all others, each alone, the server's last.
        let own = [AGENT, SERVER].map(|name| wanted.remove_entry(name).into_iter().collect());
        for wanted in std::iter::once(wanted).chain(own) {
            self.transaction(&wanted, &database, &mut answer)?;
        }
        Ok(answer)
    }

    /// What of the wanted can be done together.
    fn transaction(
        &self,
        wanted: &BTreeMap<String, (BTreeSet<ItemId>, Option<DebVersion>)>,
        database: &Database,
        answer: &mut PlanAnswer,
    ) -> Result<(), ActionError> {
        if wanted.is_empty() {
            return Ok(());
        }
        let roots = self.roots(wanted, database, answer)?;
        let (roots, agreed) = self.agree(roots, database, answer)?;
        let Some(agreed) = agreed else { return Ok(()) };
        self.steps(&roots, agreed, database, answer)
    }

    /// What of the wanted can move at all.
    fn roots(
        &self,
        wanted: &BTreeMap<String, (BTreeSet<ItemId>, Option<DebVersion>)>,
        database: &Database,
        answer: &mut PlanAnswer,
    ) -> Result<Vec<Root>, ActionError> {
        let keys: Vec<Key> = database
            .packages
            .iter()
            .filter(|(_, installed)| wanted.contains_key(&installed.source))
            .map(|(key, _)| key.clone())
            .collect();
        let policies = apt::policies(self.host(), &database.native, &keys)
            .map_err(|e| failed(e, "cannot ask apt which versions there are"))?;
        let mut roots = Vec::new();
        for (source, (items, fixed)) in wanted {
            match self.root(source, fixed.as_ref(), database, &policies) {
                Ok(packages) if packages.is_empty() => answer.compliant.extend(items.iter().cloned()),
                Ok(packages) => roots.push(Root { source: source.clone(), items: items.clone(), packages }),
                Err(objection) => refuse(answer, items, source, objection),
            }
        }
        // Only those that are about to move are asked for in the indexes.
        let candidates: Vec<(Key, DebVersion)> =
            roots.iter().flat_map(|root| root.packages.iter().map(|(k, v)| (k.clone(), v.clone()))).collect();
        let records = apt::records(self.host(), &database.native, &candidates)
            .map_err(|e| failed(e, "cannot read apt's indexes"))?;
        roots.retain(|root| {
            let Some((items, Some(fixed))) = wanted.get(&root.source) else { return true };
            let best = root
                .packages
                .iter()
                .filter_map(|(key, to)| records.get(&(key.clone(), to.to_string())))
                .map(|record| &record.source_version)
                .max();
            if best.is_some_and(|best| best >= fixed) {
                return true;
            }
            let offered = best.map_or("nothing newer".to_owned(), ToString::to_string);
            let late = Objection::new(format!("fixed in {fixed}, but the archives offer {offered}"))
                .with_hint("refresh the indexes (`apt-get update`) or add the archive that carries the fix");
            refuse(answer, items, &root.source, late);
            false
        });
        Ok(roots)
    }

    /// The packages of one source that have somewhere to go.
    fn root(
        &self,
        source: &str,
        fixed: Option<&DebVersion>,
        database: &Database,
        policies: &BTreeMap<Key, Policy>,
    ) -> Result<BTreeMap<Key, DebVersion>, Objection> {
        let mut packages = BTreeMap::new();
        let mut reached = true;
        let mut installed = database.packages.iter().filter(|(_, installed)| installed.source == source).peekable();
        if installed.peek().is_none() {
            return Err(Objection::new("no package of this source is installed"));
        }
        for (key, installed) in installed {
            reached &= fixed.is_none_or(|fixed| {
                installed.source_version.parse::<DebVersion>().is_ok_and(|version| version >= *fixed)
            });
            let policy = policies.get(key).cloned().unwrap_or_default();
            let newer = policy.candidate.as_ref().filter(|candidate| **candidate > installed.version);
            match newer {
                Some(_) if installed.held() => {
                    return Err(Objection::new(format!("{key} is held at {} by its owner", installed.version))
                        .with_hint(format!("`apt-mark unhold {}` lets it go", key.spec(&database.native))));
                }
                Some(candidate) => {
                    packages.insert(key.clone(), candidate.clone());
                }
                None => {
                    let kept = policy.offers.iter().filter(|offer| offer.version > installed.version);
                    if let Some(offer) = kept.max_by(|a, b| a.version.cmp(&b.version)) {
                        return Err(Objection::new(format!(
                            "{key} {} is offered, but apt's preferences keep it away (priority {})",
                            offer.version, offer.priority
                        ))
                        .with_hint("see apt_preferences(5) and `apt-cache policy`"));
                    }
                }
            }
        }
        if packages.is_empty()
            && !reached
            && let Some(fixed) = fixed
        {
            return Err(Objection::new(format!("fixed in {fixed}, but no archive offers it"))
                .with_hint("refresh the indexes (`apt-get update`) or add the archive that carries the fix"));
        }
        Ok(packages)
    }

    /// The largest part of the roots that apt agrees to do in one transaction.
    fn agree(
        &self,
        roots: Vec<Root>,
        database: &Database,
        answer: &mut PlanAnswer,
    ) -> Result<(Vec<Root>, Option<Agreed>), ActionError> {
        if roots.is_empty() {
            return Ok((roots, None));
        }
        let all: Vec<&Root> = roots.iter().collect();
        let whole = self.attempt(&all, database)?;
        let objection = match whole {
            Ok(agreed) => return Ok((roots, Some(agreed))),
            Err(objection) => objection,
        };
        if let [only] = all.as_slice() {
            refuse(answer, &only.items, &only.source, objection);
            return Ok((Vec::new(), None));
        }
        let mut chosen: Vec<Root> = Vec::new();
        let mut agreed = None;
        for root in roots {
            let mut together: Vec<&Root> = chosen.iter().collect();
            together.push(&root);
            match self.attempt(&together, database)? {
                Ok(found) => {
                    agreed = Some(found);
                    chosen.push(root);
                }
                Err(objection) => refuse(answer, &root.items, &root.source, objection),
            }
        }
        Ok((chosen, agreed))
    }

    /// Asks apt until its answer stands still, then looks for what speaks against it.
    fn attempt(&self, roots: &[&Root], database: &Database) -> Result<Result<Agreed, Objection>, ActionError> {
        let native = &database.native;
        let mut asked: BTreeMap<Key, DebVersion> =
            roots.iter().flat_map(|root| root.packages.iter().map(|(k, v)| (k.clone(), v.clone()))).collect();
        for _ in 0..MOST_ROUNDS {
            let names: Vec<String> = asked.iter().map(|(key, to)| format!("{}={to}", key.spec(native))).collect();
            let simulation = apt::simulate(self.host(), native, Leave::Upgrade, "install", &names)
                .map_err(|e| failed(e, "cannot simulate the upgrade"))?;
            let simulation = match simulation {
                Ok(simulation) => simulation,
                Err(complaint) => {
                    return Ok(Err(Objection::new(format!("apt cannot do it: {complaint}"))
                        .with_hint("`apt-get -s -f install` shows whether the host's packages are in order")));
                }
            };
            if let Some(objection) = self.first_look(&simulation, roots, database)? {
                return Ok(Err(objection));
            }
            let next: BTreeMap<Key, DebVersion> =
                simulation.installs.iter().map(|(key, install)| (key.clone(), install.to.clone())).collect();
            if next == asked {
                return self.second_look(simulation, native);
            }
            asked = next;
        }
        Ok(Err(Objection::new("apt's answer does not stand still: each simulation asks for something else")))
    }

    /// What the simulation alone tells.
    fn first_look(
        &self,
        simulation: &Simulation,
        roots: &[&Root],
        database: &Database,
    ) -> Result<Option<Objection>, ActionError> {
        if !simulation.removals.is_empty() {
            let gone: Vec<String> = simulation.removals.keys().map(ToString::to_string).take(10).collect();
            return Ok(Some(
                Objection::new(format!("it would remove {}", gone.join(", ")))
                    .with_hint("upgrade or remove what stands in the way by hand"),
            ));
        }
        let own = roots.iter().find(|root| is_own(&root.source));
        let rules = self.rules.current()?;
        for (key, install) in &simulation.installs {
            let installed = database.packages.get(key);
            let source = installed.map_or(key.name.as_str(), |installed| installed.source.as_str());
            if own.is_none() && (is_own(source) || is_own(&key.name)) {
                return Ok(Some(
                    Objection::new("it would upgrade Stanch itself along with others")
                        .with_hint("upgrade Stanch alone first"),
                ));
            }
            if own.is_some_and(|own| key.name != own.source) {
                return Ok(Some(Objection::new(format!("it would change {key} along with Stanch itself")).with_hint(
                    "Stanch's own packages go alone: upgrade what they need first, or install it by hand",
                )));
            }
            if rules.denies_package(&key.name) || rules.denies_package(source) {
                return Ok(Some(
                    Objection::new(format!("the executor's rules deny changes to {key}"))
                        .with_hint("deny.packages in the executor's rules file"),
                ));
            }
            if let Some(unit) = self.units(key).iter().find(|unit| rules.denies_unit(unit)) {
                return Ok(Some(
                    Objection::new(format!(
                        "the executor's rules deny a restart of {unit}, which the package scripts of {key} may do"
                    ))
                    .with_hint(format!(
                        "lift deny.services in the executor's rules file for it, or hold the package (`apt-mark hold {}`)",
                        key.spec(&database.native)
                    )),
                ));
            }
            if installed.is_some_and(|installed| installed.held()) {
                return Ok(Some(
                    Objection::new(format!("it would change {key}, which is held by its owner"))
                        .with_hint(format!("`apt-mark unhold {}` lets it go", key.spec(&database.native))),
                ));
            }
            if install.from.is_some() && installed.is_none() {
                return Ok(Some(
                    Objection::new(format!("the new {} is of another architecture ({})", key.name, key.arch))
                        .with_hint("upgrade it by hand once"),
                ));
            }
            let twin =
                Key { arch: if key.arch == "all" { database.native.clone() } else { "all".to_owned() }, ..key.clone() };
            if installed.is_none() && database.removed.contains_key(&twin) {
                return Ok(Some(
                    Objection::new(format!(
                        "it would bring {key}, of which {twin} was removed and its configuration kept"
                    ))
                    .with_hint(format!("install {} by hand, or purge what is left of it", key.name)),
                ));
            }
            if install.from.as_ref().is_some_and(|from| install.to < *from) {
                return Ok(Some(Objection::new(format!("it would take {key} down to {}", install.to))));
            }
        }
        Ok(None)
    }

    /// What the archives tell: every version must come from one that a signature vouches for.
    fn second_look(&self, simulation: Simulation, native: &str) -> Result<Result<Agreed, Objection>, ActionError> {
        let keys: Vec<Key> = simulation.installs.keys().cloned().collect();
        let policies = apt::policies(self.host(), native, &keys)
            .map_err(|e| failed(e, "cannot ask apt where the versions come from"))?;
        let untrusted =
            apt::untrusted(self.host()).map_err(|e| failed(e, "cannot ask apt which archives are signed"))?;
        for (key, install) in &simulation.installs {
            let archives = policies.get(key).and_then(|policy| policy.offer(&install.to)).map(|offer| &offer.archives);
            let trusted = archives.is_some_and(|archives| archives.iter().any(|archive| !untrusted.contains(archive)));
            if !trusted {
                return Ok(Err(Objection::new(format!(
                    "{key} {} comes from no archive that apt could authenticate",
                    install.to
                ))
                .with_hint("see `apt-get update` for the archive without a valid signature")));
            }
        }
        Ok(Ok(Agreed { simulation, policies }))
    }

    /// One step; two when a part can be taken back and the other, which shares nothing with it, cannot.
    fn steps(
        &self,
        roots: &[Root],
        agreed: Agreed,
        database: &Database,
        answer: &mut PlanAnswer,
    ) -> Result<(), ActionError> {
        let whole = self.step(roots, agreed, database)?;
        if let [own] = roots
            && is_own(&own.source)
            && let Some(objection) = self.objects_own(&whole.step)?
        {
            refuse(answer, &own.items, &own.source, objection);
            return Ok(());
        }
        let lost: BTreeSet<ItemId> = whole.lost_items;
        if whole.step.reversibility == Reversibility::OneWay && roots.len() > 1 {
            let (stuck, free): (Vec<Root>, Vec<Root>) =
                roots.iter().cloned().partition(|root| root.items.iter().any(|item| lost.contains(item)));
            if !stuck.is_empty() && !free.is_empty() {
                let parts = (
                    self.attempt(&free.iter().collect::<Vec<_>>(), database)?,
                    self.attempt(&stuck.iter().collect::<Vec<_>>(), database)?,
                );
                if let (Ok(one), Ok(other)) = parts {
                    let apart = one.simulation.installs.keys().all(|k| !other.simulation.installs.contains_key(k));
                    if apart {
                        answer.steps.push(self.step(&free, one, database)?.step);
                        answer.steps.push(self.step(&stuck, other, database)?.step);
                        return Ok(());
                    }
                }
            }
        }
        answer.steps.push(whole.step);
        Ok(())
    }

    fn step(&self, roots: &[Root], agreed: Agreed, database: &Database) -> Result<Built, ActionError> {
        let native = &database.native;
        let needs = self.needs(roots, &agreed, database)?;
        let to: Vec<(Key, DebVersion)> =
            agreed.simulation.installs.iter().map(|(key, install)| (key.clone(), install.to.clone())).collect();
        let from: Vec<(Key, DebVersion)> = agreed
            .simulation
            .installs
            .keys()
            .filter_map(|key| Some((key.clone(), database.packages.get(key)?.version.clone())))
            .collect();
        let records = apt::records(self.host(), native, &[to, from.clone()].concat())
            .map_err(|e| failed(e, "cannot read apt's indexes"))?;
        let mut packages = Vec::new();
        for (key, install) in &agreed.simulation.installs {
            let record = records.get(&(key.clone(), install.to.to_string()));
            let installed = database.packages.get(key);
            let source = record.map(|record| record.source.clone());
            packages.push(Planned {
                name: key.name.clone(),
                arch: key.arch.clone(),
                from: installed.map(|installed| installed.version.clone()),
                to: install.to.clone(),
                source: source.or_else(|| Some(installed?.source.clone())).unwrap_or_else(|| key.name.clone()),
                source_version: record.map(|record| record.source_version.clone()),
                items: needs.get(key).into_iter().flatten().cloned().collect(),
                new: installed.is_none(),
                config_kept: installed.is_none() && database.removed.contains_key(key),
                sha256: record.and_then(|record| record.sha256),
            });
        }
        let mut lost: Vec<String> = Vec::new();
        let mut lost_items: BTreeSet<ItemId> = BTreeSet::new();
        for (key, version) in &from {
            let indexed = records.contains_key(&(key.clone(), version.to_string()));
            let reason = match formats::on_disk(&key.name) {
                Some(why) => format!("{key}: {why}"),
                None if indexed || capture::cached(self.host(), &self.cache, key, version).is_some() => continue,
                None => format!("{key} {version} can no longer be had: no archive and no cache holds it"),
            };
            lost.push(reason);
            lost_items.extend(needs.get(key).into_iter().flatten().cloned());
        }
        let rules = self.rules.current()?;
        let delicate = |package: &Planned| units::delicate(&self.units(&package.key()), &rules);
        let changes = packages.iter().map(|package| change(package, roots, &agreed, delicate(package))).collect();
        let keys: Vec<Key> = packages.iter().map(Planned::key).collect();
        let before = projection::of(database, &keys)?;
        let digest = before.observation()?.digest().map_err(|e| failed(e, "the projection has no digest"))?;
        let (reversibility, undo) = if lost.is_empty() {
            let undo = "reinstalls the versions and configuration files of before, removes what came along new";
            (Reversibility::Restorable, undo.to_owned())
        } else {
            (Reversibility::OneWay, lost.join("; "))
        };
        let lock_timeout_seconds = rules.lock_timeout_seconds;
        let params = Params { packages, conffiles: Conffiles::Keep, lock_timeout_seconds, before };
        let step = PlannedStep {
            action: NAME.to_owned(),
            params: serde_json::to_value(params).map_err(|e| failed(e, "cannot write the parameters"))?,
            before: digest,
            changes,
            reversibility,
            undo,
            disruption: Disruption::Restart,
        };
        Ok(Built { step, lost_items })
    }

    /// Which items need which package: their own packages and what those pull along.
    fn needs(
        &self,
        roots: &[Root],
        agreed: &Agreed,
        database: &Database,
    ) -> Result<BTreeMap<Key, BTreeSet<ItemId>>, ActionError> {
        let mut needs: BTreeMap<Key, BTreeSet<ItemId>> = BTreeMap::new();
        for root in roots {
            for key in root.packages.keys() {
                needs.entry(key.clone()).or_default().extend(root.items.iter().cloned());
            }
        }
        let along: Vec<&Key> = agreed.simulation.installs.keys().filter(|key| !needs.contains_key(*key)).collect();
        if along.is_empty() {
            return Ok(needs);
        }
        let along: BTreeSet<Key> = along.into_iter().cloned().collect();
        for root in roots {
            // Alone, a root pulls what it needs itself; where apt cannot do it alone it counts as needing all.
            let own = match self.attempt(&[root], database)? {
                Ok(alone) if roots.len() > 1 => alone.simulation.installs.into_keys().collect(),
                _ => along.clone(),
            };
            for key in along.intersection(&own) {
                needs.entry(key.clone()).or_default().extend(root.items.iter().cloned());
            }
        }
        for key in along {
            let entry = needs.entry(key).or_default();
            if entry.is_empty() {
                entry.extend(roots.iter().flat_map(|root| root.items.iter().cloned()));
            }
        }
        Ok(needs)
    }
}

struct Built {
    step: PlannedStep,
    lost_items: BTreeSet<ItemId>,
}

fn refuse(answer: &mut PlanAnswer, items: &BTreeSet<ItemId>, source: &str, objection: Objection) {
    answer.refused.push(PlanRefusal {
        items: items.iter().cloned().collect(),
        reason: format!("{source}: {}", objection.reason),
        hint: objection.hint,
    });
}

fn change(package: &Planned, roots: &[Root], agreed: &Agreed, delicate: Option<String>) -> Change {
    let key = package.key();
    let asked = roots.iter().any(|root| root.packages.contains_key(&key));
    let origins = agreed.simulation.installs.get(&key).map_or("", |install| install.origins.as_str());
    let security = agreed
        .policies
        .get(&key)
        .and_then(|policy| policy.offer(&package.to))
        .is_some_and(|offer| offer.archives.iter().any(|archive| archive.contains("-security")));
    let mut notes = Vec::new();
    if package.new {
        notes.push("new, needed by the others".to_owned());
        if package.config_kept {
            notes.push("with the configuration files its owner kept when it was removed".to_owned());
        }
    } else if !asked {
        notes.push("pulled along".to_owned());
    }
    if !origins.is_empty() {
        notes.push(format!("from {origins}"));
    } else if security {
        notes.push("from a security archive".to_owned());
    }
    notes.extend(delicate);
    Change {
        subject: key.to_string(),
        before: package.from.as_ref().map(ToString::to_string),
        after: Some(package.to.to_string()),
        note: (!notes.is_empty()).then(|| notes.join(", ")),
    }
}
