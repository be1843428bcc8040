//! The way back: the packages of before from the vault, the configuration files, and nothing of what came along new.
//!
//! A step that came to its end goes back by `dnf downgrade`, one that was broken off by rpm, which ends every half done
//! state. What somebody else changed since is never overwritten.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::json;
use stanch_action::{ActionError, Applied, Run};
use stanch_model::canonical::Digest;
use stanch_model::id::ItemId;
use stanch_model::plan::Change;

use super::apply::Way;
use super::capture::{Captured, Fetched, Package};
use super::params::{Params, Planned, Projection};
use super::rpm::{self, spec};
use super::{Dnf, Key, came_to_its_end, failed};
use crate::actions::command::Invocation;
use crate::actions::package::apply::{reached, state, value};
use crate::actions::package::capture::{self, Kept};
use crate::actions::package::projection::{FileState, state_of};
use crate::actions::package::{point, undo};
use crate::actions::reach;

impl Dnf<'_> {
    pub(crate) fn undone(&self, params: &Params, items: &[ItemId], run: &mut dyn Run) -> Result<Applied, ActionError> {
        // Hours and the list of actions do not bind a way back; rules that cannot be read do.
        self.rules.current()?;
        let back: Vec<&Planned> =
            params.packages.iter().filter(|planned| planned.items.iter().all(|item| items.contains(item))).collect();
        let began = reached(run.applied(), point::SIMULATED) && !items.is_empty() && !back.is_empty();
        let Some(captured) = state::<Captured>(run.applied(), point::CAPTURED)?.filter(|_| began) else {
            // Nothing was changed.
            return self.unchanged(params);
        };
        self.wait_for_others(params.lock_timeout_seconds, run)?;
        let keys: Vec<Key> = back.iter().map(|planned| planned.key()).collect();
        let left: Option<Projection> = state(run.applied(), point::INSTALLED)?;
        let start = match state(run.reached(), point::COMPARED)? {
            Some(start) => start,
            None => {
                if left.is_none() && back.len() != params.packages.len() {
                    return Err(ActionError::refused("dnf was broken off: its packages go back together"));
                }
                let start = self.projection(&keys)?;
                let before = captured.before.of(&keys, |path| start.configs.contains_key(path));
                if left.is_some() && start == before {
                    return self.unchanged(params);
                }
                let moved = self.moved(&back, &captured, left.as_ref(), &start, run)?;
                if !moved.is_empty() {
                    let message = "the host is no longer as the upgrade left it".to_owned();
                    return Err(ActionError::Refused { message, moved });
                }
                reach(run, point::COMPARED, value(&start)?)?;
                start
            }
        };
        if !reached(run.reached(), point::DOWNGRADED) {
            let stay = self.take_down(&back, left.is_some(), run)?;
            reach(run, point::DOWNGRADED, value(&stay)?)?;
        }
        let stay: Vec<Key> = state(run.reached(), point::DOWNGRADED)?.unwrap_or_default();
        let gone_back: Vec<Key> = keys.iter().filter(|key| !stay.contains(key)).cloned().collect();
        let mine = |kept: &&Kept| gone_back.contains(&kept.package);
        if !reached(run.reached(), point::RESTORED) {
            self.restore(captured.configs.iter().filter(mine), run)?;
            reach(run, point::RESTORED, json!({}))?;
        }
        let paths: BTreeSet<&str> = captured.configs.iter().filter(mine).map(|kept| kept.path.as_str()).collect();
        let now = self.projection(&gone_back)?;
        let differences = captured.before.of(&gone_back, |path| paths.contains(path)).differences(&now);
        if !differences.is_empty() {
            let names: Vec<&str> = differences.iter().map(|change| change.subject.as_str()).take(10).collect();
            return Err(ActionError::failed(format!("not all is as before: {}", names.join(", ")))
                .with_hint("compare them with the before-state in the plan"));
        }
        if !reached(run.reached(), point::RESTARTED) {
            let names = back.iter().map(|planned| planned.name.clone()).collect();
            undo::restart(self.host, &self.rules.current()?, &names, run)?;
            reach(run, point::RESTARTED, json!({}))?;
        }
        let now = self.projection(&keys)?;
        let mut changes = start.versions_changed(&now);
        for key in &stay {
            let version = now.packages.get(&spec(key)).cloned();
            let note = Some("came along new and stays: others need it".to_owned());
            changes.push(Change { subject: spec(key), before: version.clone(), after: version, note });
        }
        Ok(Applied { changed: start != now, changes, after: self.projection(&params.keys())?.observation()? })
    }

    fn unchanged(&self, params: &Params) -> Result<Applied, ActionError> {
        let after = self.projection(&params.keys())?.observation()?;
        Ok(Applied { changed: false, changes: Vec::new(), after })
    }

    /// What somebody else changed since.
    fn moved(
        &self,
        back: &[&Planned],
        captured: &Captured,
        left: Option<&Projection>,
        start: &Projection,
        run: &dyn Run,
    ) -> Result<Vec<Change>, ActionError> {
        let mut moved = Vec::new();
        let database = self.database()?;
        for planned in back {
            let key = planned.key();
            let ours = |evr: &str| evr == planned.to || Some(evr) == planned.from.as_deref();
            let versions = database.packages.get(&key).into_iter().flatten();
            let gone = !database.packages.contains_key(&key) && planned.from.is_some();
            if gone || !versions.map(|header| header.evr.as_str()).all(ours) {
                moved.push(Change {
                    subject: spec(&key),
                    before: Some(planned.to.clone()),
                    after: database.shown(&key),
                    note: Some("changed by somebody else since the upgrade".to_owned()),
                });
            }
        }
        let shipped = self.shipped(run)?;
        let keys: Vec<Key> = back.iter().map(|planned| planned.key()).collect();
        let kept = |path: &str| captured.configs.iter().find(|kept| kept.path == path);
        let paths: BTreeSet<&str> = captured
            .configs
            .iter()
            .filter(|kept| keys.contains(&kept.package))
            .map(|kept| kept.path.as_str())
            .chain(start.configs.keys().map(String::as_str))
            .collect();
        for path in paths {
            let now = state_of(Path::new(path))
                .map_err(|e| ActionError::caused(format!("cannot read the configuration file {path}"), e))?;
            let base = shipped.keys().find(|of| is_beside(path, of)).map_or(path, String::as_str);
            let was = |path: &str| kept(path).map(|kept| &kept.state);
            let as_left = match left.filter(|_| base == path).and_then(|left| left.configs.get(path)) {
                Some(left) => *left == now,
                // What rpm lays beside is what was shipped, or what its owner had; and of a run that was cut off nobody
                // knows more.
                None => match &now {
                    FileState::Absent => true,
                    FileState::File { sha256, .. } => {
                        shipped.get(base).is_some_and(|all| all.contains(sha256))
                            || matches!(was(base), Some(FileState::File { sha256: before, .. }) if before == sha256)
                    }
                    FileState::Link { .. } | FileState::Other => false,
                },
            };
            if !as_left && was(path) != Some(&now) {
                moved.push(Change {
                    subject: path.to_owned(),
                    before: Some("as the upgrade left it".to_owned()),
                    after: Some("changed since".to_owned()),
                    note: Some("configuration file".to_owned()),
                });
            }
        }
        Ok(moved)
    }

    /// What the packages of before and after bring as configuration files.
    fn shipped(&self, run: &dyn Run) -> Result<BTreeMap<String, BTreeSet<Digest>>, ActionError> {
        let vault = run.vault()?;
        let fetched: Fetched = state(run.applied(), point::FETCHED)?.unwrap_or_default();
        let all = fetched.old.iter().chain(&fetched.new).map(|package| vault.join(&package.file));
        let mut shipped: BTreeMap<String, BTreeSet<Digest>> = BTreeMap::new();
        for file in rpm::files_in(self.host, &all.collect::<Vec<PathBuf>>())?.into_iter().filter(rpm::Listed::is_config)
        {
            shipped.entry(file.path).or_default().extend(file.sha256);
        }
        Ok(shipped)
    }

    /// Takes the packages down. Gives those that came along new and stay, since others need them.
    fn take_down(&self, back: &[&Planned], whole: bool, run: &mut dyn Run) -> Result<Vec<Key>, ActionError> {
        let down: Vec<&Planned> = back.iter().filter(|planned| planned.from.is_some()).copied().collect();
        let is_back = || -> Result<bool, ActionError> {
            let database = self.database()?;
            let at = |planned: &&Planned| {
                database.only(&planned.key()).map(|header| header.evr.as_str()) == planned.from.as_deref()
            };
            Ok(down.iter().all(at))
        };
        let fetched: Fetched = state(run.applied(), point::FETCHED)?.unwrap_or_default();
        let (mut old, mut lost): (Vec<Package>, Vec<String>) = (Vec::new(), Vec::new());
        for planned in &down {
            match fetched.old.iter().find(|package| package.package == planned.key()) {
                Some(package) => old.push(package.clone()),
                None => lost.push(spec(&planned.key())),
            }
        }
        if !lost.is_empty() {
            return Err(ActionError::refused(format!("the earlier {} is not in the vault", lost.join(", "))));
        }
        let log = run.vault()?.join("output/downgrade.log");
        let ended = whole && came_to_its_end(&log) && is_back()?;
        if !old.is_empty() && !ended {
            if !reached(run.reached(), point::REHEARSED) {
                self.rehearse(&old, run)?;
                reach(run, point::REHEARSED, json!({}))?;
            }
            let output = if whole && !log.exists() {
                // They are what the host had: whether it checks signatures says nothing about them.
                self.transact(Way::Down, &old, false, log, run)?
            } else {
                self.mend(&old, run)?
            };
            if !is_back()? {
                return Err(ActionError::failed(format!("the packages did not go back: {}", output.complaint()))
                    .with_hint("the earlier packages are in the vault; `dnf check` shows the state"));
            }
        }
        let database = self.database()?;
        let new = back.iter().filter(|planned| planned.from.is_none()).map(|planned| planned.key());
        let new: Vec<Key> = new.filter(|key| database.packages.contains_key(key)).collect();
        self.erase(&new, run)
    }

    /// Whether rpm agrees, before anything changes.
    fn rehearse(&self, old: &[Package], run: &dyn Run) -> Result<(), ActionError> {
        let words = ["--upgrade", "--test", "--oldpackage", "--replacepkgs", "--"].map(str::to_owned);
        let args = words.into_iter().chain(self.intact(old, run)?);
        let output = self.host.run(&Invocation::reading("rpm", args)).map_err(|e| failed(e, "rpm cannot be asked"))?;
        if output.ok() {
            return Ok(());
        }
        let complaint: Vec<String> = String::from_utf8_lossy(&output.stderr)
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .take(5)
            .map(str::to_owned)
            .collect();
        Err(ActionError::refused(format!("going back would break others: {}", complaint.join("; "))))
    }

    /// Removes what came along new, if nothing else needs it by now.
    fn erase(&self, new: &[Key], run: &mut dyn Run) -> Result<Vec<Key>, ActionError> {
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let specs: Vec<String> = new.iter().map(spec).collect();
        let words =
            |words: &[&str]| words.iter().map(|word| (*word).to_owned()).chain(specs.clone()).collect::<Vec<_>>();
        let test = Invocation::reading("rpm", words(&["--erase", "--test", "--"]));
        if !self.host.run(&test).map_err(|e| failed(e, "rpm cannot be asked"))?.ok() {
            return Ok(new.to_vec());
        }
        let log = run.vault()?.join("output/erase.log");
        let output = self.change("rpm --erase", "rpm", words(&["--erase", "--"]), log, run)?;
        let database = self.database()?;
        if new.iter().any(|key| database.packages.contains_key(key)) {
            return Err(ActionError::failed(format!(
                "what came along new could not be removed: {}",
                output.complaint()
            )));
        }
        Ok(Vec::new())
    }

    /// Configuration files as they were, and nothing beside them that was not there.
    fn restore<'k>(&self, kept: impl Iterator<Item = &'k Kept>, run: &mut dyn Run) -> Result<(), ActionError> {
        let vault = run.vault()?;
        let mut restored: Vec<&str> = Vec::new();
        for kept in kept {
            if capture::restore(kept, &vault)? {
                run.progress(&format!("{} is as before", kept.path));
                restored.extend(Some(kept.path.as_str()).filter(|_| kept.state != FileState::Absent));
            }
        }
        // A file that was laid anew has the label of its folder, and its policy may give it another one.
        if !restored.is_empty() && self.host.has("restorecon") {
            let invocation = Invocation::reading("restorecon", ["--"].iter().chain(&restored));
            let output = self.host.run(&invocation).map_err(|e| failed(e, "cannot restore labels"))?;
            if !output.ok() {
                return Err(ActionError::failed(format!("restorecon failed: {}", output.complaint())));
            }
        }
        Ok(())
    }
}

/// Whether one path is what rpm lays beside the other.
fn is_beside(path: &str, of: &str) -> bool {
    path.strip_prefix(of).is_some_and(|rest| [".rpmnew", ".rpmsave", ".rpmorig"].contains(&rest))
}
