//! Taking an upgrade back: the versions of before from the vault, the configuration files, the marks.
//!
//! It goes the same careful way as the upgrade: compare, rehearse, act, restore, and at the end the projection must be
//! that of before. What somebody else changed since is never overwritten.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;
use stanch_action::{ActionError, Applied, Run};
use stanch_model::id::ItemId;
use stanch_model::plan::Change;

use super::apply::{line, reached, state, value, versions_changed};
use super::apt::{self, Leave};
use super::capture::{self, Captured, Deb, LEFTOVERS};
use super::dpkg::{Conffile, Database};
use super::params::{Params, Planned};
use super::projection::{self, FileState, PackageState, Projection, state_of};
use super::simulation::Simulation;
use super::{Key, PackageUpgrade, failed, point};
use crate::actions::command::{Invocation, Programs};
use crate::actions::service::restart::{self, Outcome};
use crate::actions::service::running;
use crate::actions::{log, reach};
use crate::rules::Rules;

/// What this undo is about, decided once.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Scope {
    /// What goes back to an earlier version.
    down: Vec<Planned>,
    /// What came along new and goes, if nothing else needs it.
    gone: Vec<Planned>,
    /// The projection right before the undo.
    before: Projection,
}

impl Scope {
    fn all(&self) -> impl Iterator<Item = &Planned> {
        self.down.iter().chain(&self.gone)
    }

    fn keys(&self) -> Vec<Key> {
        self.all().map(Planned::key).collect()
    }

    /// Packages that are on the host in some form when all is as before, their configuration alone included.
    fn remaining(&self) -> BTreeSet<Key> {
        self.down.iter().chain(self.gone.iter().filter(|planned| planned.config_kept)).map(Planned::key).collect()
    }

    /// What goes with its configuration: it was not there before at all, and was there in whole when this undo began.
    fn purged(&self, database: &Database) -> Vec<Key> {
        let stood = |key: &Key| self.before.packages.get(&key.to_string()).is_some_and(PackageState::installed);
        self.gone
            .iter()
            .filter(|planned| !planned.config_kept)
            .map(Planned::key)
            .filter(|key| database.removed.contains_key(key) && stood(key))
            .collect()
    }
}

impl PackageUpgrade {
    pub(super) fn undone(&self, params: &Params, items: &[ItemId], run: &mut dyn Run) -> Result<Applied, ActionError> {
        if items.is_empty() {
            return Err(ActionError::BadParameters { message: "undo of no items: name those to take back".to_owned() });
        }
        // Going back is allowed whatever `actions` and `hours` say; rules that cannot be read stop it before it begins.
        self.rules.current()?;
        let captured: Option<Captured> = state(run.applied(), point::CAPTURED)?;
        // Before that point the step had changed nothing of its own.
        let Some(captured) = captured else {
            let after = projection::read(self.host(), &params.keys())?.observation()?;
            return Ok(Applied { changed: false, changes: Vec::new(), after });
        };
        self.wait_for_others(params.lock_timeout_seconds, run)?;
        let scope = match state(run.reached(), point::COMPARED)? {
            Some(scope) => scope,
            None => {
                let scope = self.compare(params, items, &captured, run)?;
                reach(run, point::COMPARED, value(&scope)?)?;
                scope
            }
        };
        if !reached(run.reached(), point::DOWNGRADED) {
            self.settle(run)?;
            let (names, kept) = self.rehearse(&scope, &captured, run)?;
            if !reached(run.reached(), point::REHEARSED) {
                reach(run, point::REHEARSED, json!({}))?;
            }
            self.downgrade(params, &scope, &names, run)?;
            reach(run, point::DOWNGRADED, value(&kept)?)?;
        }
        let kept: Vec<Key> = state(run.reached(), point::DOWNGRADED)?.unwrap_or_default();
        if !reached(run.reached(), point::RESTORED) {
            self.restore(&scope, &captured, run)?;
            reach(run, point::RESTORED, json!({}))?;
        }
        if !reached(run.reached(), point::UNMARKED) {
            let was_automatic =
                |p: &&Planned| captured.before.packages.get(&p.key().to_string()).is_some_and(|was| was.automatic);
            let (auto, manual): (Vec<&Planned>, Vec<&Planned>) = scope.down.iter().partition(was_automatic);
            self.mark("auto", &auto, params.lock_timeout_seconds, run)?;
            self.mark("manual", &manual, params.lock_timeout_seconds, run)?;
            reach(run, point::UNMARKED, json!({}))?;
        }
        let applied = self.proven(params, &scope, &captured, &kept)?;
        if !reached(run.reached(), point::RESTARTED) {
            let names: BTreeSet<String> = scope.all().map(|planned| planned.name.clone()).collect();
            restart(self.host(), &self.rules.current()?, &names, run)?;
            reach(run, point::RESTARTED, json!({}))?;
        }
        Ok(applied)
    }

    /// Chooses what goes back, and refuses if any of it is no longer as the upgrade left it.
    fn compare(
        &self,
        params: &Params,
        items: &[ItemId],
        captured: &Captured,
        run: &mut dyn Run,
    ) -> Result<Scope, ActionError> {
        let database = self.database()?;
        let chosen: BTreeSet<&ItemId> = items.iter().collect();
        let installed = |planned: &Planned| database.packages.get(&planned.key());
        // An item whose packages are all back already no longer needs what it shared with others.
        let standing: BTreeSet<&ItemId> = params
            .packages
            .iter()
            .filter(|planned| !planned.new && installed(planned).is_some_and(|found| found.version == planned.to))
            .flat_map(|planned| &planned.items)
            .collect();
        let mut scope = Scope::default();
        let mut moved = Vec::new();
        for planned in &params.packages {
            let mine = planned.items.iter().any(|item| chosen.contains(item));
            let needed = planned.items.iter().any(|item| standing.contains(item) && !chosen.contains(item));
            if !mine || needed {
                continue;
            }
            // Somebody has removed it since and kept its configuration: there is nothing left to take back.
            if planned.new && !planned.config_kept && database.removed.contains_key(&planned.key()) {
                continue;
            }
            let now = installed(planned);
            let version = now.map(|found| &found.version);
            if version != planned.from.as_ref() && version != Some(&planned.to) {
                let to = Some(planned.to.to_string());
                let note = "changed by somebody else since the upgrade";
                moved.push(line(&planned.key(), to, version.map(ToString::to_string), note));
            } else if let Some(found) = now.filter(|found| found.held()) {
                let was = captured.before.packages.get(&planned.key().to_string());
                if was.is_none_or(|was| was.want != "hold") {
                    let to = Some(planned.to.to_string());
                    moved.push(line(&planned.key(), to, Some(found.version.to_string()), "held since the upgrade"));
                }
            }
            if planned.new { scope.gone.push(planned.clone()) } else { scope.down.push(planned.clone()) }
        }
        moved.extend(self.moved_conffiles(&scope, captured, &database, run)?);
        if !moved.is_empty() {
            return Err(ActionError::Refused {
                message: "the host is no longer as the upgrade left it".to_owned(),
                moved,
            });
        }
        scope.before = projection::of(&database, &scope.keys())?;
        Ok(scope)
    }

    /// Configuration files that are neither as the upgrade left them nor as they were before.
    fn moved_conffiles(
        &self,
        scope: &Scope,
        captured: &Captured,
        database: &Database,
        run: &dyn Run,
    ) -> Result<Vec<Change>, ActionError> {
        let left: Option<Projection> = match state(run.applied(), point::INSTALLED)? {
            Some(left) => Some(left),
            None => state(run.applied(), point::BROKEN)?,
        };
        let mut moved = Vec::new();
        for key in scope.keys() {
            let Some(conffiles) = database.conffiles(&key) else { continue };
            let was_there = captured.conffiles.iter().filter(|kept| kept.package == key).map(|kept| &kept.path);
            let paths: BTreeSet<&String> = conffiles.keys().chain(was_there).collect();
            for path in paths {
                let now = state_of(Path::new(path))
                    .map_err(|e| ActionError::caused(format!("cannot read the configuration file {path}"), e))?;
                let before = captured.conffiles.iter().find(|kept| kept.path == *path).map(|kept| &kept.state);
                let as_left = match left.as_ref().and_then(|left| left.conffiles.get(path)) {
                    Some(left) => *left == now,
                    // A run that was cut off has left no word: what dpkg shipped is not somebody's change.
                    None => now == FileState::Absent || self.as_shipped(path, conffiles.get(path))?,
                };
                if !as_left && before != Some(&now) {
                    moved.push(Change {
                        subject: path.clone(),
                        before: Some("as the upgrade left it".to_owned()),
                        after: Some("changed since".to_owned()),
                        note: Some(format!("configuration file of {key}")),
                    });
                }
            }
        }
        Ok(moved)
    }

    fn as_shipped(&self, path: &str, conffile: Option<&Conffile>) -> Result<bool, ActionError> {
        let Some(conffile) = conffile else { return Ok(false) };
        let invocation = Invocation::reading("md5sum", ["--", path]);
        let output = self.host().run(&invocation).map_err(|e| failed(e, "cannot compare a configuration file"))?;
        let text = output.text();
        let md5 = text.trim_start_matches('\\').split_whitespace().next();
        // Before it is configured for the first time dpkg has no digest of it yet.
        Ok(conffile.md5 == "newconffile" || md5 == Some(conffile.md5.as_str()))
    }

    /// After a crash: lets dpkg finish what it can, so that apt is willing to work. What cannot be configured is about
    /// to be replaced.
    fn settle(&self, run: &mut dyn Run) -> Result<(), ActionError> {
        let journal = fs::read_dir("/var/lib/dpkg/updates").map(|entries| entries.count() > 0).unwrap_or(false);
        if !journal && self.database()?.packages.values().all(super::dpkg::Installed::whole) {
            return Ok(());
        }
        let args = ["--force-confdef", "--force-confold", "--configure", "-a"];
        self.change("dpkg --configure -a", &Invocation::changing("dpkg", args, log(run)?), run)?;
        Ok(())
    }

    /// Simulates the way back. Gives what to tell apt, and which new packages stay because others need them.
    fn rehearse(
        &self,
        scope: &Scope,
        captured: &Captured,
        run: &mut dyn Run,
    ) -> Result<(Vec<String>, Vec<Key>), ActionError> {
        let vault = run.vault()?;
        let database = self.database()?;
        let mut names = Vec::new();
        let mut lost = Vec::new();
        for planned in &scope.down {
            let Some(from) = &planned.from else { continue };
            let at = database.packages.get(&planned.key());
            if at.is_some_and(|found| found.version == *from && found.whole()) {
                continue;
            }
            match captured.debs.iter().find(|deb| deb.package == planned.key() && deb.version == *from) {
                Some(deb) if intact(&vault, deb) => names.push(vault.join(&deb.file).to_string_lossy().into_owned()),
                _ => lost.push(format!("{} {from}", planned.key())),
            }
        }
        if !lost.is_empty() {
            return Err(ActionError::refused(format!("the earlier {} is not in the vault", lost.join(", "))));
        }
        let there: Vec<Key> =
            scope.gone.iter().map(Planned::key).filter(|key| database.packages.contains_key(key)).collect();
        let removable: Vec<Key> = there.iter().filter(|key| !self.runs(key)).cloned().collect();
        let with: Vec<String> = names
            .iter()
            .cloned()
            .chain(removable.iter().map(|key| format!("{}-", key.spec(&database.native))))
            .collect();
        if with.is_empty() {
            return Ok((with, there));
        }
        let kept = |removed: &[Key]| there.iter().filter(|key| !removed.contains(key)).cloned().collect();
        let first = match self.simulated(scope, &with, &removable, &database)? {
            Ok(()) => return Ok((with, kept(&removable))),
            Err(objection) => objection,
        };
        if removable.is_empty() || names.is_empty() {
            return Err(first);
        }
        // What came along new may have found other friends since: it stays then.
        match self.simulated(scope, &names, &[], &database)? {
            Ok(()) => Ok((names, there)),
            Err(_) => Err(first),
        }
    }

    /// Whether this is the kernel that runs right now.
    fn runs(&self, key: &Key) -> bool {
        let release = rustix::system::uname();
        key.name == format!("linux-image-{}", release.release().to_string_lossy())
    }

    fn simulated(
        &self,
        scope: &Scope,
        names: &[String],
        removable: &[Key],
        database: &Database,
    ) -> Result<Result<(), ActionError>, ActionError> {
        let native = &database.native;
        let simulation = apt::simulate(self.host(), native, Leave::Downgrade, "install", names)
            .map_err(|e| failed(e, "cannot simulate the way back"))?;
        let simulation = match simulation {
            Ok(simulation) => simulation,
            Err(complaint) => return Ok(Err(ActionError::refused(format!("apt cannot go back: {complaint}")))),
        };
        let moved = beyond(scope, &simulation, removable, native);
        if moved.is_empty() {
            return Ok(Ok(()));
        }
        Ok(Err(ActionError::Refused { message: "going back would change other packages".to_owned(), moved }))
    }

    fn downgrade(
        &self,
        params: &Params,
        scope: &Scope,
        names: &[String],
        run: &mut dyn Run,
    ) -> Result<(), ActionError> {
        if names.is_empty() {
            return self.purge(params, scope, run);
        }
        let mut invocation = apt::change(Leave::Downgrade, params.lock_timeout_seconds, "install", names, log(run)?);
        // apt purges all or nothing; a host whose own settings say all must not lose what its owner kept.
        invocation.args.splice(0..0, ["-o".into(), "APT::Get::Purge=false".into()]);
        let output = self.change("apt-get install (back)", &invocation, run)?;
        let database = self.database()?;
        let stuck: Vec<String> = scope
            .down
            .iter()
            .filter(|planned| {
                let found = database.packages.get(&planned.key());
                !found.is_some_and(|found| found.whole() && Some(&found.version) == planned.from.as_ref())
            })
            .map(|planned| planned.key().to_string())
            .collect();
        if stuck.is_empty() {
            return self.purge(params, scope, run);
        }
        Err(ActionError::failed(format!("{} did not go back: {}", stuck.join(", "), output.complaint()))
            .with_hint("the earlier packages are in the vault; `dpkg --audit` shows the state"))
    }

    /// The configuration of what came along new goes too; the comparison has shown that nobody touched it.
    fn purge(&self, params: &Params, scope: &Scope, run: &mut dyn Run) -> Result<(), ActionError> {
        let database = self.database()?;
        let specs: Vec<String> = scope.purged(&database).iter().map(|key| key.spec(&database.native)).collect();
        if specs.is_empty() {
            return Ok(());
        }
        self.wait_for_others(params.lock_timeout_seconds, run)?;
        let args = ["--purge".to_owned(), "--".to_owned()].into_iter().chain(specs);
        let output = self.change("dpkg --purge", &Invocation::changing("dpkg", args, log(run)?), run)?;
        if output.ok() {
            return Ok(());
        }
        Err(ActionError::failed(format!("what came along new was removed, but not purged: {}", output.complaint()))
            .with_hint("the kept output says what failed; `dpkg --purge` does it by hand"))
    }

    /// Configuration files as they were, and nothing beside them that was not there.
    fn restore(&self, scope: &Scope, captured: &Captured, run: &mut dyn Run) -> Result<(), ActionError> {
        let vault = run.vault()?;
        let database = self.database()?;
        // What stays because others need it keeps its files as well.
        let remaining: BTreeSet<Key> = scope
            .remaining()
            .into_iter()
            .filter(|key| scope.down.iter().any(|p| p.key() == *key) || !database.packages.contains_key(key))
            .collect();
        let mine: Vec<_> = captured.conffiles.iter().filter(|kept| remaining.contains(&kept.package)).collect();
        for kept in &mine {
            if capture::restore(kept, &vault)? {
                run.progress(&format!("{} is as before", kept.path));
            }
        }
        let known: BTreeMap<&String, ()> = mine.iter().map(|kept| (&kept.path, ())).collect();
        for key in &remaining {
            let Some(conffiles) = database.conffiles(key) else { continue };
            let removed = database.removed.contains_key(key);
            // The upgrade brought it, the version of before does not know it.
            for (path, conffile) in conffiles.iter().filter(|(path, _)| !known.contains_key(path)) {
                if (conffile.obsolete || removed) && scope.before.conffiles.contains_key(path) {
                    remove(path)?;
                }
            }
        }
        let paths: BTreeSet<&String> =
            mine.iter().map(|kept| &kept.path).chain(scope.before.conffiles.keys()).collect();
        for path in paths {
            for ending in LEFTOVERS {
                let beside = format!("{path}.{ending}");
                if !captured.leftovers.contains(&beside) {
                    remove(&beside)?;
                }
            }
        }
        Ok(())
    }

    /// The projection of before, or a failure that says where it differs.
    fn proven(
        &self,
        params: &Params,
        scope: &Scope,
        captured: &Captured,
        kept: &[Key],
    ) -> Result<Applied, ActionError> {
        let keys: Vec<Key> = scope.keys().into_iter().filter(|key| !kept.contains(key)).collect();
        let now = projection::read(self.host(), &keys)?;
        let names: BTreeSet<String> = keys.iter().map(ToString::to_string).collect();
        let paths: BTreeSet<&String> =
            captured.conffiles.iter().filter(|file| keys.contains(&file.package)).map(|file| &file.path).collect();
        let expected = Projection {
            packages: captured.before.packages.iter().filter(|(name, _)| names.contains(*name)).map(own).collect(),
            conffiles: captured.before.conffiles.iter().filter(|(path, _)| paths.contains(path)).map(own).collect(),
        };
        let differences = expected.differences(&now);
        if !differences.is_empty() {
            let names: Vec<&str> = differences.iter().map(|change| change.subject.as_str()).take(10).collect();
            return Err(ActionError::failed(format!("not all is as before: {}", names.join(", ")))
                .with_hint("compare them with the before-state in the plan"));
        }
        let after = projection::read(self.host(), &params.keys())?;
        let mut changes = versions_changed(params, &scope.before, &after);
        changes.retain(|change| scope.all().any(|planned| planned.key().to_string() == change.subject));
        for key in kept {
            let version = after.packages.get(&key.to_string()).map(|package| package.version.clone());
            changes.push(line(key, version.clone(), version, "came along new and stays: others need it"));
        }
        Ok(Applied { changed: scope.before != now, changes, after: after.observation()? })
    }
}

/// What still runs the version that was taken back is started anew: a bad version must not live on in memory.
pub(super) fn restart(
    host: &dyn Programs,
    rules: &Rules,
    names: &BTreeSet<String>,
    run: &mut dyn Run,
) -> Result<(), ActionError> {
    let stale = running::stale(Some(names))?;
    let mut down = Vec::new();
    for entry in restart::sort(host, rules, &stale, &running::own_services()?)? {
        if let Some(why) = &entry.left {
            run.progress(&format!("{} still runs what was taken back and is left to a person: {why}", entry.name));
            continue;
        }
        run.progress(&format!("restarting {}", entry.name));
        let (outcome, output) = restart::restart(host, &entry, log(run)?)?;
        run.evidence(&format!("restart of {}", entry.name), &output);
        if let Outcome::Failed(why) = outcome {
            down.push(why);
        }
    }
    if down.is_empty() {
        return Ok(());
    }
    Err(ActionError::failed(format!("the packages are back, but {}", down.join("; ")))
        .with_hint("`journalctl -u` or its own log says why it does not start"))
}

fn own<K: Clone, V: Clone>((key, value): (&K, &V)) -> (K, V) {
    (key.clone(), value.clone())
}

fn intact(vault: &Path, deb: &Deb) -> bool {
    projection::digest_of(&vault.join(&deb.file)).is_ok_and(|digest| digest == deb.sha256)
}

fn remove(path: &str) -> Result<(), ActionError> {
    match fs::symlink_metadata(path) {
        Ok(about) if about.is_file() || about.is_symlink() => {
            fs::remove_file(path).map_err(|e| ActionError::caused(format!("cannot remove {path}"), e))
        }
        _ => Ok(()),
    }
}

/// What a simulated way back would do that is not asked for.
fn beyond(scope: &Scope, simulation: &Simulation, removable: &[Key], native: &str) -> Vec<Change> {
    let mut moved = Vec::new();
    let removable: BTreeSet<String> = removable.iter().map(|key| key.spec(native)).collect();
    for (key, version) in &simulation.removals {
        if !removable.contains(&key.spec(native)) {
            moved.push(line(key, Some(version.clone()), None, "would be removed"));
        }
    }
    for (key, install) in &simulation.installs {
        let wanted = scope.down.iter().any(|p| p.key() == *key && p.from.as_ref() == Some(&install.to));
        if !wanted {
            let from = install.from.as_ref().map(ToString::to_string);
            moved.push(line(key, from, Some(install.to.to_string()), "would be changed too"));
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stanch_model::canonical::Digest;

    use super::*;
    use crate::actions::doubles::{Notes, Table};
    use crate::actions::package::params::Conffiles;
    use crate::rules::Rules;

    fn params(packages: Vec<Planned>) -> Params {
        Params { packages, conffiles: Conffiles::Keep, lock_timeout_seconds: 1, before: Projection::default() }
    }

    fn planned(name: &str, from: Option<&str>) -> Planned {
        Planned {
            name: name.to_owned(),
            arch: "amd64".to_owned(),
            from: from.map(|version| version.parse().unwrap()),
            to: "2".parse().unwrap(),
            source: name.to_owned(),
            source_version: None,
            items: Vec::new(),
            new: from.is_none(),
            config_kept: false,
            sha256: None,
        }
    }

    #[test]
    fn a_way_back_is_open_when_the_owner_no_longer_allows_upgrades() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("executor.toml");
        fs::write(&path, "actions = [\"service.restart\"]\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let rules = Rules::load(&path).unwrap();
        assert!(rules.permit(super::super::NAME, crate::actions::now(), false).is_err());
        let params = params(vec![planned("a", Some("1"))]);
        let undo = |rules| {
            let action = PackageUpgrade::new(Arc::new(Table::default()), rules);
            action.undone(&params, &[ItemId::from_digest(&Digest::of_bytes(b"a"))], &mut Notes::new())
        };
        assert!(!undo(rules.clone()).unwrap().changed);
        fs::write(&path, "actions = [\n").unwrap();
        assert!(undo(rules).is_err(), "rules that cannot be read stop everything");
    }

    #[test]
    fn what_its_owner_kept_or_removed_himself_is_never_purged() {
        let listing = "\u{1}kept\tamd64\t2\tx\t2\tdeinstall\tconfig-files\tok\t\n /etc/kept 00\
                       \u{1}fresh\tamd64\t2\tx\t2\tdeinstall\tconfig-files\tok\t\
                       \u{1}theirs\tamd64\t2\tx\t2\tdeinstall\tconfig-files\tok\t";
        let host = Arc::new(Table::new(&[("print-architecture", "amd64"), ("--showformat", listing)]));
        let action = PackageUpgrade::new(Arc::clone(&host) as Arc<dyn crate::actions::Programs>, Rules::default());
        let kept = Planned { config_kept: true, ..planned("kept", None) };
        let state = |status: &str| PackageState {
            version: "2".to_owned(),
            want: "install".to_owned(),
            status: status.to_owned(),
            automatic: true,
        };
        let before = [("kept", "installed"), ("fresh", "installed"), ("theirs", "config-files")];
        let packages = before.map(|(name, status)| (format!("{name}:amd64"), state(status))).into();
        let before = Projection { packages, ..Projection::default() };
        let gone = vec![kept, planned("fresh", None), planned("theirs", None)];
        let scope = Scope { gone, before, ..Scope::default() };
        let names = ["kept-".to_owned(), "fresh-".to_owned()];
        action.downgrade(&params(Vec::new()), &scope, &names, &mut Notes::new()).unwrap();
        let changed = host.changed.lock().unwrap().clone();
        assert_eq!(changed, ["apt-get -y install kept- fresh-", "dpkg --purge -- fresh"]);
    }

    #[test]
    fn a_way_back_that_touches_others_is_named() {
        let scope = Scope { down: vec![planned("a", Some("1"))], gone: vec![planned("dep", None)], ..Scope::default() };
        let text = "Remv dep [2]\nInst a [2] (1 local [amd64])\nRemv b [1]\nInst c [1] (2 x [all])\n";
        let simulation = super::super::simulation::parse(text, "amd64").unwrap();
        let removable = [Key::read("dep", "amd64")];
        let subjects = |moved: Vec<Change>| moved.into_iter().map(|change| change.subject).collect::<Vec<_>>();
        assert_eq!(subjects(beyond(&scope, &simulation, &removable, "amd64")), ["b:amd64", "c:all"]);
        assert_eq!(subjects(beyond(&scope, &simulation, &[], "amd64")), ["b:amd64", "dep:amd64", "c:all"]);
    }
}
