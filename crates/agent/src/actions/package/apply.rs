//! The upgrade itself, from one safe point to the next.
//!
//! Each point's state is all that a later life needs. Entered again, it goes on after the last point; what ran when the
//! former life ended may still run, so the package manager's lock is waited for before anything is judged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stanch_action::{ActionError, Applied, Checkpoint, Run};
use stanch_model::plan::{Change, PlannedStep, Reversibility};
use stanch_model::version::DebVersion;

use super::apt::{self, Leave};
use super::capture::{self, Captured, Deb, Wanted};
use super::dpkg::{self, Database};
use super::params::{Params, Planned};
use super::projection::{self, Projection};
use super::simulation::Simulation;
use super::{Key, NAME, PackageUpgrade, failed, point};
use crate::actions::command::{Invocation, Output};
use crate::actions::{log, now, reach, read_params};
use crate::rules::Rules;

/// Locks that package managers hold while they work.
const LOCKS: [&str; 2] = ["/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock"];

pub(super) fn reached(points: &[Checkpoint], name: &str) -> bool {
    points.iter().any(|checkpoint| checkpoint.point == name)
}

pub(super) fn state<T: DeserializeOwned>(points: &[Checkpoint], name: &str) -> Result<Option<T>, ActionError> {
    let Some(checkpoint) = points.iter().rev().find(|checkpoint| checkpoint.point == name) else { return Ok(None) };
    T::deserialize(&checkpoint.state).map(Some).map_err(|e| failed(e, "the journal's state cannot be read"))
}

pub(super) fn value(state: &impl serde::Serialize) -> Result<Value, ActionError> {
    serde_json::to_value(state).map_err(|e| failed(e, "cannot write the journal's state"))
}

impl PackageUpgrade {
    pub(super) fn applied(&self, step: &PlannedStep, run: &mut dyn Run) -> Result<Applied, ActionError> {
        let params: Params = read_params(&step.params)?;
        self.permit(&params, run)?;
        if run.reached().is_empty() && self.settled(&params)? {
            return self.answer(&params, None);
        }
        self.permit_own(&params)?;
        self.wait_for_others(params.lock_timeout_seconds, run)?;
        if !reached(run.reached(), point::CHECKED) {
            let now = projection::read(self.host(), &params.keys())?;
            expect(step, &params, &now)?;
            reach(run, point::CHECKED, json!({}))?;
        }
        if !reached(run.reached(), point::INSTALLED) {
            self.heal(&params, run)?;
            if !reached(run.reached(), point::HEALED) {
                reach(run, point::HEALED, json!({}))?;
            }
            if !reached(run.reached(), point::CAPTURED) {
                self.capture(step, &params, run)?;
            }
            if !reached(run.reached(), point::FETCHED) {
                self.fetch(&params, run)?;
            }
            if !reached(run.reached(), point::SIMULATED) {
                self.resimulate(&params)?;
                reach(run, point::SIMULATED, json!({}))?;
            }
            self.install(&params, run)?;
        }
        let captured: Captured = state(run.reached(), point::CAPTURED)?
            .ok_or_else(|| ActionError::failed("the journal has lost what was captured"))?;
        if !reached(run.reached(), point::MARKED) {
            let automatic = |planned: &&Planned| {
                planned.new || captured.before.packages.get(&planned.key().to_string()).is_some_and(|p| p.automatic)
            };
            let (auto, manual): (Vec<&Planned>, Vec<&Planned>) = params.packages.iter().partition(automatic);
            self.mark("auto", &auto, params.lock_timeout_seconds, run)?;
            self.mark("manual", &manual, params.lock_timeout_seconds, run)?;
            reach(run, point::MARKED, json!({}))?;
        }
        self.answer(&params, Some(&captured.before))
    }

    /// The executor's own rules, looked at again whatever the order says.
    fn permit(&self, params: &Params, run: &dyn Run) -> Result<(), ActionError> {
        let rules = self.rules.current()?;
        let first = run.reached().is_empty();
        rules.permit(NAME, now(), first && !run.follows())?;
        let sources = if first && rules.denies_any_package() { self.sources(params)? } else { BTreeMap::new() };
        for package in params.packages.iter().filter(|_| first) {
            if let Some(unit) = self.units(&package.key()).iter().find(|unit| rules.denies_unit(unit)) {
                return Err(ActionError::refused(format!(
                    "the executor's rules deny a restart of {unit}, which the scripts of {} may do",
                    package.name
                )));
            }
            let of = sources.get(&package.key()).into_iter().flatten().chain([&package.name, &package.source]);
            if of.into_iter().any(|name| rules.denies_package(name)) {
                return Err(ActionError::refused(format!("the executor's rules deny changes to {}", package.name)));
            }
        }
        Ok(())
    }

    /// The source packages of what is to be changed, as dpkg and apt's indexes have them: an order may say otherwise.
    fn sources(&self, params: &Params) -> Result<BTreeMap<Key, Vec<String>>, ActionError> {
        let database = self.database()?;
        let wanted: Vec<(Key, DebVersion)> =
            params.packages.iter().map(|package| (package.key(), package.to.clone())).collect();
        let records =
            apt::records(self.host(), &database.native, &wanted).map_err(|e| failed(e, "cannot read apt's indexes"))?;
        let mut sources: BTreeMap<Key, Vec<String>> = BTreeMap::new();
        for (key, to) in wanted {
            let offered = records.get(&(key.clone(), to.to_string())).map(|record| record.source.clone());
            let installed = database.packages.get(&key).map(|installed| installed.source.clone());
            sources.entry(key).or_default().extend(offered.into_iter().chain(installed));
        }
        Ok(sources)
    }

    /// Whether all is as it shall be already.
    fn settled(&self, params: &Params) -> Result<bool, ActionError> {
        let database = self.database()?;
        Ok(params.packages.iter().all(|planned| {
            database.packages.get(&planned.key()).is_some_and(|found| found.whole() && found.version == planned.to)
        }))
    }

    pub(super) fn database(&self) -> Result<Database, ActionError> {
        dpkg::read(self.host()).map_err(|e| failed(e, "cannot read what is installed"))
    }

    fn answer(&self, params: &Params, before: Option<&Projection>) -> Result<Applied, ActionError> {
        let now = projection::read(self.host(), &params.keys())?;
        let changes = before.map(|before| versions_changed(params, before, &now)).unwrap_or_default();
        Ok(Applied { changed: before.is_some_and(|before| *before != now), changes, after: now.observation()? })
    }

    /// Waits until no package manager works, ours of a former life among them.
    pub(super) fn wait_for_others(&self, seconds: u32, run: &mut dyn Run) -> Result<(), ActionError> {
        let deadline = Instant::now() + Duration::from_secs(seconds.into());
        let mut told = false;
        while let Some(lock) = LOCKS.iter().find(|lock| taken(Path::new(lock))) {
            if Instant::now() >= deadline {
                return Err(ActionError::failed(format!("another package manager held {lock} for {seconds} s"))
                    .with_hint("`fuser -v /var/lib/dpkg/lock-frontend` names it; ask again when it is done"));
            }
            if !told {
                run.progress("waiting for another package manager");
                told = true;
            }
            std::thread::park_timeout(Duration::from_millis(200));
        }
        Ok(())
    }

    /// Runs a program that changes something; its output is kept in the vault and as evidence.
    pub(super) fn change(&self, name: &str, invocation: &Invocation, run: &mut dyn Run) -> Result<Output, ActionError> {
        run.progress(name);
        let output =
            self.host().run(invocation).map_err(|e| ActionError::caused(format!("{name} gave no result"), e))?;
        run.evidence(name, &output.stdout);
        Ok(output)
    }

    /// Finishes what an interrupted dpkg, maybe of a former life, left half done.
    pub(super) fn heal(&self, params: &Params, run: &mut dyn Run) -> Result<(), ActionError> {
        let database = self.database()?;
        let journal = fs::read_dir("/var/lib/dpkg/updates").map(|entries| entries.count() > 0).unwrap_or(false);
        let broken: Vec<Key> =
            database.packages.iter().filter(|(_, p)| !p.whole()).map(|(key, _)| key.clone()).collect();
        if broken.is_empty() && !journal {
            return Ok(());
        }
        let names: Vec<String> = broken.iter().map(ToString::to_string).take(10).collect();
        run.progress(&format!("healing an interrupted dpkg run: {}", names.join(", ")));
        // What was broken off while files were replaced has to be unpacked anew before it can be configured.
        let vault = run.vault()?;
        let debs: Vec<Deb> = state(run.reached(), point::FETCHED)?.unwrap_or_default();
        let torn: Vec<String> = debs
            .iter()
            .filter(|deb| database.packages.get(&deb.package).is_some_and(|p| p.flag != "ok"))
            .map(|deb| vault.join(&deb.file).to_string_lossy().into_owned())
            .collect();
        let keep = ["--force-confdef", "--force-confold"].map(str::to_owned);
        if !torn.is_empty() {
            let args = keep.iter().cloned().chain(["--unpack".to_owned()]).chain(torn);
            self.change("dpkg --unpack", &Invocation::changing("dpkg", args, log(run)?), run)?;
        }
        let args = keep.into_iter().chain(["--configure".to_owned(), "-a".to_owned()]);
        let output = self.change("dpkg --configure -a", &Invocation::changing("dpkg", args, log(run)?), run)?;
        let complaint = output.complaint();
        let still: Vec<String> =
            self.database()?.packages.iter().filter(|(_, p)| !p.whole()).map(|(key, _)| key.to_string()).collect();
        let others: Vec<&String> =
            still.iter().filter(|name| !params.packages.iter().any(|p| p.key().to_string() == **name)).collect();
        if others.is_empty() {
            return Ok(());
        }
        self.fix_broken(params, &complaint, run)
    }

    /// `apt-get -f install`, unless it would remove something or bring what is not of this plan, or not captured yet.
    fn fix_broken(&self, params: &Params, complaint: &str, run: &mut dyn Run) -> Result<(), ActionError> {
        let hint = "repair it by hand: `dpkg --audit`, `apt-get -f install`";
        let native = self.database()?.native;
        let arguments = ["-f".to_owned()];
        let simulation = apt::simulate(self.host(), &native, Leave::Upgrade, "install", &arguments)
            .map_err(|e| failed(e, "cannot simulate the repair"))?;
        match simulation {
            Err(apt) => {
                return Err(
                    ActionError::failed(format!("the host's packages are broken: {complaint}; {apt}")).with_hint(hint)
                );
            }
            Ok(simulation) if !simulation.removals.is_empty() => {
                let gone: Vec<String> = simulation.removals.keys().map(ToString::to_string).collect();
                return Err(ActionError::failed(format!(
                    "repairing the host's packages would remove {}",
                    gone.join(", ")
                ))
                .with_hint(hint));
            }
            Ok(simulation) => {
                let captured = reached(run.reached(), point::CAPTURED);
                // apt looks at no release key.
                let planned: &[Planned] = if captured && params.own().is_none() { &params.packages } else { &[] };
                let strange = strangers(&simulation, planned, &self.rules.current()?);
                if !strange.is_empty() {
                    return Err(ActionError::failed(format!(
                        "repairing the host's packages would change what this plan does not: {}",
                        strange.join(", ")
                    ))
                    .with_hint(hint));
                }
            }
        }
        let fix = apt::change(Leave::Upgrade, params.lock_timeout_seconds, "install", &arguments, log(run)?);
        let output = self.change("apt-get -f install", &fix, run)?;
        if output.ok() {
            return Ok(());
        }
        Err(ActionError::failed(format!("the host's packages are broken: {}", output.complaint())).with_hint(hint))
    }

    fn capture(&self, step: &PlannedStep, params: &Params, run: &mut dyn Run) -> Result<(), ActionError> {
        run.progress("putting aside the packages and configuration files there are");
        let vault = run.vault()?;
        let database = self.database()?;
        let keys = params.keys();
        let from: Vec<(Key, _)> =
            params.packages.iter().filter_map(|planned| Some((planned.key(), planned.from.clone()?))).collect();
        let records =
            apt::records(self.host(), &database.native, &from).map_err(|e| failed(e, "cannot read apt's indexes"))?;
        let wanted: Vec<Wanted> = from
            .into_iter()
            .map(|(package, version)| {
                let sha256 = records.get(&(package.clone(), version.to_string())).and_then(|record| record.sha256);
                Wanted { package, version, sha256 }
            })
            .collect();
        let (debs, lost) = capture::bring(self.host(), &database.native, &self.cache, &vault, "old", &wanted)?;
        if !lost.is_empty() && step.reversibility != Reversibility::OneWay {
            return Err(ActionError::Refused {
                message: format!("it could not be taken back any more: {} cannot be had", lost.join(", ")),
                moved: Vec::new(),
            });
        }
        self.released(params, &vault, &debs)?;
        let conffiles = capture::conffiles(&database, &keys, &vault)?;
        let leftovers = capture::leftovers(conffiles.iter().map(|kept| &kept.path));
        let captured = Captured { before: projection::of(&database, &keys)?, debs, conffiles, leftovers };
        reach(run, point::CAPTURED, value(&captured)?)
    }

    /// Brings the new .debs into the vault, and into apt's cache, so that the install itself needs no network.
    fn fetch(&self, params: &Params, run: &mut dyn Run) -> Result<(), ActionError> {
        run.progress("downloading");
        let vault = run.vault()?;
        let native = self.database()?.native;
        let wanted: Vec<Wanted> = params
            .packages
            .iter()
            .map(|planned| Wanted { package: planned.key(), version: planned.to.clone(), sha256: planned.sha256 })
            .collect();
        let (debs, lost) = capture::bring(self.host(), &native, &self.cache, &vault, "new", &wanted)?;
        if !lost.is_empty() {
            return Err(ActionError::failed(format!("cannot download {} as planned", lost.join(", ")))
                .with_hint("check the network and the archives with `apt-get update`, then plan again"));
        }
        self.released(params, &vault, &debs)?;
        for deb in &debs {
            let name = capture::file_name(&deb.package, &deb.version);
            let target = self.cache.join(&name);
            if !target.exists() {
                lay(&vault.join(&deb.file), &target)
                    .map_err(|e| ActionError::caused("cannot put a package into apt's cache", e))?;
            }
        }
        reach(run, point::FETCHED, value(&debs)?)
    }

    /// The same list again, or nothing is done.
    fn resimulate(&self, params: &Params) -> Result<(), ActionError> {
        let native = self.database()?.native;
        let names: Vec<String> = params.packages.iter().map(|planned| planned.exact(&native)).collect();
        let simulation = apt::simulate(self.host(), &native, Leave::Upgrade, "install", &names)
            .map_err(|e| failed(e, "cannot simulate the upgrade"))?
            .map_err(|complaint| ActionError::refused(format!("apt no longer agrees to the plan: {complaint}")))?;
        let mut moved = Vec::new();
        for (key, version) in &simulation.removals {
            moved.push(line(key, Some(version.clone()), None, "would be removed"));
        }
        for (key, install) in &simulation.installs {
            let planned = params.packages.iter().find(|planned| planned.key() == *key);
            if planned.is_none_or(|planned| planned.to != install.to || planned.from != install.from) {
                let from = install.from.as_ref().map(ToString::to_string);
                moved.push(line(key, from, Some(install.to.to_string()), "not in the plan"));
            }
        }
        for planned in &params.packages {
            if !simulation.installs.contains_key(&planned.key()) {
                let from = planned.from.as_ref().map(ToString::to_string);
                moved.push(line(
                    &planned.key(),
                    from,
                    Some(planned.to.to_string()),
                    "planned, but apt leaves it as it is",
                ));
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        Err(ActionError::Refused { message: "apt would now do something else than planned".to_owned(), moved })
    }

    fn install(&self, params: &Params, run: &mut dyn Run) -> Result<(), ActionError> {
        let database = self.database()?;
        let strangers: Vec<Change> = params
            .packages
            .iter()
            .filter_map(|planned| {
                let now = database.packages.get(&planned.key()).map(|installed| installed.version.clone());
                (now != planned.from && now.as_ref() != Some(&planned.to)).then(|| {
                    let from = planned.from.as_ref().map(ToString::to_string);
                    line(&planned.key(), from, now.map(|version| version.to_string()), "changed by somebody else")
                })
            })
            .collect();
        if !strangers.is_empty() {
            return Err(ActionError::Refused { message: "the packages moved meanwhile".to_owned(), moved: strangers });
        }
        if !self.settled(params)? {
            let names: Vec<String> = params.packages.iter().map(|planned| planned.exact(&database.native)).collect();
            let output = match params.own() {
                Some(own) => self.install_own(own, params, run)?,
                None => {
                    let install =
                        apt::change(Leave::Upgrade, params.lock_timeout_seconds, "install", &names, log(run)?);
                    self.change("apt-get install", &install, run)?
                }
            };
            let left = projection::read(self.host(), &params.keys())?;
            if !output.ok() || !self.settled(params)? {
                let done = versions_changed(params, &params.before, &left).len();
                // What the failed run left is what undo may find.
                run.checkpoint(point::BROKEN, value(&left)?)?;
                return Err(ActionError::failed(format!(
                    "the install failed with {done} of {} packages changed: {}",
                    params.packages.len(),
                    output.complaint()
                ))
                .with_hint("undo brings the versions of before back; the kept output says what failed"));
            }
        }
        let left = projection::read(self.host(), &params.keys())?;
        reach(run, point::INSTALLED, value(&left)?)
    }

    /// Gives packages their mark, where they lack it.
    pub(super) fn mark(
        &self,
        mark: &str,
        packages: &[&Planned],
        lock_seconds: u32,
        run: &mut dyn Run,
    ) -> Result<(), ActionError> {
        let database = self.database()?;
        let names: BTreeSet<String> = packages
            .iter()
            .map(|planned| planned.key())
            .filter(|key| database.packages.contains_key(key))
            .filter(|key| database.automatic.contains(key) != (mark == "auto"))
            .map(|key| key.spec(&database.native))
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        let options = ["-o".to_owned(), format!("DPkg::Lock::Timeout={lock_seconds}"), mark.to_owned()];
        let invocation = Invocation::changing("apt-mark", options.into_iter().chain(names), log(run)?);
        let output = self.change(&format!("apt-mark {mark}"), &invocation, run)?;
        if output.ok() {
            return Ok(());
        }
        Err(ActionError::failed(format!("apt-mark {mark} failed: {}", output.complaint())))
    }
}

fn expect(step: &PlannedStep, params: &Params, now: &Projection) -> Result<(), ActionError> {
    let digest = now.observation()?.digest().map_err(|e| failed(e, "the projection has no digest"))?;
    if digest == step.before {
        return Ok(());
    }
    Err(ActionError::Refused {
        message: "the host is no longer as it was when this was planned".to_owned(),
        moved: params.before.differences(now),
    })
}

/// What apt would bring that is not among these, or that the rules deny.
fn strangers(simulation: &Simulation, planned: &[Planned], rules: &Rules) -> Vec<String> {
    let fits = |key: &Key, to: &DebVersion| {
        planned.iter().any(|package| {
            package.key() == *key
                && package.to == *to
                && !rules.denies_package(&package.name)
                && !rules.denies_package(&package.source)
        })
    };
    simulation
        .installs
        .iter()
        .filter(|(key, install)| !fits(key, &install.to))
        .map(|(key, install)| format!("{key} {}", install.to))
        .take(10)
        .collect()
}

/// Lays a file at its place in apt's cache, whole or not at all. Some images come without the cache's folders.
fn lay(from: &Path, target: &Path) -> io::Result<()> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    let part = target.with_extension("stanch");
    fs::copy(from, &part)?;
    fs::set_permissions(&part, Permissions::from_mode(0o644))?;
    fs::rename(&part, target)
}

/// Whether a package manager is at work.
pub(crate) fn is_busy() -> bool {
    LOCKS.iter().any(|lock| taken(Path::new(lock)))
}

fn taken(lock: &Path) -> bool {
    // Opened for writing because a lock for writing asks for that; it is let go at once.
    let Ok(file) = File::options().read(true).write(true).open(lock) else { return false };
    rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
}

pub(super) fn line(key: &Key, before: Option<String>, after: Option<String>, note: &str) -> Change {
    Change { subject: key.to_string(), before, after, note: Some(note.to_owned()) }
}

/// The packages of the plan whose version differs between the two.
pub(super) fn versions_changed(params: &Params, before: &Projection, now: &Projection) -> Vec<Change> {
    let version = |projection: &Projection, name: &str| {
        projection.packages.get(name).filter(|state| state.installed()).map(|state| state.version.clone())
    };
    params
        .packages
        .iter()
        .map(|planned| planned.key().to_string())
        .filter_map(|name| {
            let (was, is) = (version(before, &name), version(now, &name));
            (was != is).then_some(Change { subject: name, before: was, after: is, note: None })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::actions::doubles::{Notes, Table};
    use crate::actions::package::params::Conffiles;

    fn planned(name: &str, from: Option<&str>, to: &str) -> Planned {
        Planned {
            name: name.to_owned(),
            arch: "amd64".to_owned(),
            from: from.map(|version| version.parse().unwrap()),
            to: to.parse().unwrap(),
            source: format!("{name}-src"),
            source_version: None,
            items: Vec::new(),
            new: from.is_none(),
            config_kept: false,
            sha256: None,
        }
    }

    fn params(packages: Vec<Planned>) -> Params {
        Params { packages, conffiles: Conffiles::Keep, lock_timeout_seconds: 1, before: Projection::default() }
    }

    /// Lets apt's repair bring this line and gives what was changed, or why it was not.
    fn repair(line: &str, rules: &str, captured: bool) -> Result<Vec<String>, String> {
        let host =
            Arc::new(Table::new(&[("print-architecture", "amd64"), ("-s -f install", line), ("install -f", line)]));
        let rules = Rules::parse(rules).unwrap();
        let action = PackageUpgrade::new(Arc::clone(&host) as Arc<dyn crate::actions::Programs>, rules);
        let mut run = Notes::new();
        if captured {
            run.checkpoint(point::CAPTURED, json!({})).unwrap();
        }
        let done = action.fix_broken(&params(vec![planned("a", Some("1"), "2")]), "", &mut run);
        let changed = host.changed.lock().unwrap().clone();
        match done {
            Ok(()) => Ok(changed),
            Err(error) => {
                assert!(changed.is_empty(), "{changed:?}");
                assert!(matches!(&error, ActionError::Failed { hint: Some(hint), .. } if hint.contains("by hand")));
                Err(error.to_string())
            }
        }
    }

    #[test]
    fn a_repair_brings_nothing_that_nobody_approved() {
        assert_eq!(repair("Conf a (1 x [amd64])\n", "", false).unwrap().len(), 1, "configuring alone is a repair");
        assert!(repair("Inst b [1] (2 x [amd64])\n", "", true).unwrap_err().contains("b:amd64 2"));
        assert!(repair("Inst a [1] (3 x [amd64])\n", "", true).unwrap_err().contains("a:amd64 3"), "another version");
        assert_eq!(repair("Inst a [1] (2 x [amd64])\n", "", true).unwrap().len(), 1);
        assert!(repair("Inst a [1] (2 x [amd64])\n", "", false).unwrap_err().contains("a:amd64 2"), "not captured yet");
        let denied = repair("Inst a [1] (2 x [amd64])\n", "[deny]\npackages = [\"a-src\"]\n", true);
        assert!(denied.unwrap_err().contains("a:amd64 2"));
    }

    #[test]
    fn what_finishes_a_leaf_is_not_bound_by_hours_but_by_all_else() {
        let hours = "[[hours]]\nfrom = \"00:00\"\nuntil = \"00:00\"\n";
        let permit = |rules: &str, follows: bool| {
            let action = PackageUpgrade::new(Arc::new(Table::default()), Rules::parse(rules).unwrap());
            let run = Notes { follows, ..Notes::new() };
            action.permit(&params(vec![planned("a", Some("1"), "2")]), &run).map_err(|error| error.to_string())
        };
        assert!(permit(hours, false).unwrap_err().contains("hours"));
        permit(hours, true).unwrap();
        assert!(permit("[deny]\npackages = [\"a\"]\n", true).unwrap_err().contains("deny"));
        assert!(permit("actions = []\n", true).is_err());
    }

    #[test]
    fn a_package_finds_its_place_in_a_cache_that_was_emptied_whole() {
        let folder = tempfile::tempdir().unwrap();
        let deb = folder.path().join("new.deb");
        fs::write(&deb, "deb").unwrap();
        let target = folder.path().join("apt/archives/x_2%3a1_all.deb");
        lay(&deb, &target).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "deb");
        assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 1);
    }
}
