//! The way back: the files of the new versions go, those of the old ones come back as they were kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::json;
use stanch_action::{ActionError, Applied, Run};
use stanch_model::id::ItemId;

use super::apply::{Captured, INSTALLED_FILES, Wheel, archive_of, beside, listed, null_separated, versions_changed};
use super::params::{Params, Planned, Projection};
use super::{Pip, Place, digest_of, files};
use crate::actions::package::apply::{reached, state};
use crate::actions::package::{point, undo};
use crate::actions::reach;

impl Pip<'_> {
    pub(crate) fn undone(&self, params: &Params, items: &[ItemId], run: &mut dyn Run) -> Result<Applied, ActionError> {
        // Hours and the list of actions do not bind a way back; rules that cannot be read do.
        self.rules.current()?;
        let place = self.place(params)?;
        let Some(captured) = state::<Captured>(run.applied(), point::CAPTURED)? else {
            return self.unchanged(&place, params);
        };
        let back: Vec<&Planned> =
            params.packages.iter().filter(|planned| planned.items.iter().all(|item| items.contains(item))).collect();
        let names: BTreeSet<&str> = back.iter().map(|planned| planned.name.as_str()).collect();
        let of_back = |projection: &Projection| projection.of(|name| names.contains(name));
        let Some(wheels) = state::<Vec<Wheel>>(run.applied(), point::FETCHED)?.filter(|_| !back.is_empty()) else {
            // Nothing was begun.
            return self.unchanged(&place, params);
        };
        let start = self.now(&place, params)?;
        if !reached(run.reached(), point::COMPARED) {
            if of_back(&start) == of_back(&captured.before) {
                return self.unchanged(&place, params);
            }
            // What was broken off has no state that somebody could have changed.
            if let Some(after) = state::<Projection>(run.applied(), point::INSTALLED)? {
                let moved = of_back(&after).differences(&of_back(&start));
                if !moved.is_empty() {
                    let message = "somebody else changed it since".to_owned();
                    return Err(ActionError::Refused { message, moved });
                }
            }
            reach(run, point::COMPARED, json!({}))?;
        }
        if !reached(run.reached(), point::RESTORED) {
            self.put_back(&place, params, &back, &captured, &wheels, run)?;
            reach(run, point::RESTORED, json!({}))?;
        }
        if !reached(run.reached(), point::RESTARTED) {
            let shared = back.iter().map(|planned| params.shared(&planned.name)).collect();
            undo::restart(self.host, &self.rules.current()?, &shared, run)?;
            reach(run, point::RESTARTED, json!({}))?;
        }
        let now = self.now(&place, params)?;
        let differences = of_back(&captured.before).differences(&of_back(&now));
        if !differences.is_empty() {
            let names: Vec<&str> = differences.iter().map(|change| change.subject.as_str()).take(10).collect();
            return Err(ActionError::failed(format!("not all is as before: {}", names.join(", ")))
                .with_hint("compare them with the before-state in the plan"));
        }
        let after = state::<Projection>(run.applied(), point::INSTALLED)?.unwrap_or(start);
        let changes = versions_changed(&of_back(&after), &of_back(&now));
        Ok(Applied { changed: true, changes, after: now.observation()? })
    }

    fn now(&self, place: &Place, params: &Params) -> Result<Projection, ActionError> {
        let (root, environment) = place.read()?;
        files::projection(&root, &environment, params.names())
    }

    fn unchanged(&self, place: &Place, params: &Params) -> Result<Applied, ActionError> {
        Ok(Applied { changed: false, changes: Vec::new(), after: self.now(place, params)?.observation()? })
    }

    /// Removes what these packages have now or had half of, and unpacks what they had before. Safe to enter again.
    pub(super) fn put_back(
        &self,
        place: &Place,
        params: &Params,
        back: &[&Planned],
        captured: &Captured,
        wheels: &[Wheel],
        run: &mut dyn Run,
    ) -> Result<(), ActionError> {
        let vault = run.vault()?;
        let wait = params.lock_timeout_seconds;
        for planned in back.iter().filter(|planned| planned.from.is_some()) {
            let archive = vault.join(archive_of(&planned.name));
            if captured.archives.get(&planned.name) != Some(&digest_of(&archive)?) {
                return Err(ActionError::failed(format!("the kept files of {} are damaged", planned.name)));
            }
        }
        // Waits for what a former life began before anything is listed.
        self.change("waiting for pip", &place.changing(&["true"], wait, run)?, run)?;
        let (root, environment) = place.read()?;
        let is_back = |name: &String| back.iter().any(|planned| planned.name == *name);
        let mut gone: BTreeSet<String> = BTreeSet::new();
        let kept: BTreeMap<String, Vec<String>> = fs::read(vault.join(INSTALLED_FILES))
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        for (_, paths) in kept.into_iter().chain(listed(&root, &environment, params)?).filter(|(name, _)| is_back(name))
        {
            gone.extend(paths);
        }
        for wheel in wheels.iter().filter(|wheel| is_back(&wheel.name)) {
            gone.extend(wheel.files.iter().cloned());
            // pip adds some beside those of the wheel.
            let about = wheel.files.iter().find_map(|path| path.strip_suffix("/METADATA"));
            gone.extend(
                about
                    .into_iter()
                    .flat_map(|about| ["INSTALLER", "REQUESTED", "RECORD"].map(|n| format!("{about}/{n}"))),
            );
        }
        if back.len() == params.packages.len() {
            gone.extend(
                beside(&root, &environment)
                    .into_iter()
                    .filter(|path| path.starts_with("bin/") && !captured.beside.contains(path)),
            );
        }
        let compiled: Vec<String> = gone.iter().flat_map(|path| compiled_of(&root, path)).collect();
        gone.extend(compiled);
        let remove = place.changing(&["xargs", "--null", "--no-run-if-empty", "rm", "--force", "--"], wait, run)?;
        let output = self.change("removing new files", &remove.fed(null_separated(gone.iter())), run)?;
        if !output.ok() {
            return Err(ActionError::failed(format!("cannot remove new files: {}", output.complaint())));
        }
        let left: BTreeSet<String> = beside(&root, &environment)
            .into_iter()
            .filter(|path| !path.starts_with("bin/") && !captured.beside.contains(path))
            .collect();
        let words = ["xargs", "--null", "--no-run-if-empty", "rm", "--recursive", "--force", "--"];
        self.change("removing leftovers", &place.changing(&words, wait, run)?.fed(null_separated(left.iter())), run)?;
        for planned in back.iter().filter(|planned| planned.from.is_some()) {
            let archive = vault.join(archive_of(&planned.name));
            let words = ["tar", "--extract", "--file=-", "--preserve-permissions", "--no-overwrite-dir"];
            let unpack = place.changing(&words, wait, run)?.reading_from(archive);
            let output = self.change(&format!("putting {} back", planned.name), &unpack, run)?;
            if !output.ok() {
                return Err(ActionError::failed(format!("cannot put {} back: {}", planned.name, output.complaint())));
            }
        }
        // Folders that hold nothing any more; one that does stays.
        let folders: BTreeSet<String> = gone.iter().flat_map(|path| folders_of(path, &environment.sites)).collect();
        let deepest_first: Vec<String> = folders.into_iter().rev().collect();
        let words = ["xargs", "--null", "--no-run-if-empty", "rmdir", "--ignore-fail-on-non-empty", "--"];
        // Of those that are not there rmdir complains, which is no failure.
        self.change(
            "removing empty folders",
            &place.changing(&words, wait, run)?.fed(null_separated(deepest_first.iter())),
            run,
        )?;
        Ok(())
    }
}

/// What Python compiled of a file.
fn compiled_of(root: &crate::facts::Root, path: &str) -> Vec<String> {
    let Some((folder, name)) = path.rsplit_once('/') else { return Vec::new() };
    let Some(stem) = name.strip_suffix(".py") else { return Vec::new() };
    let cache = format!("{folder}/__pycache__");
    let entries = root.entries(&cache).unwrap_or_default();
    let own =
        |name: &String| name.strip_prefix(stem).is_some_and(|rest| rest.starts_with('.') && rest.ends_with(".pyc"));
    entries.into_iter().map(|(name, _)| name).filter(own).map(|name| format!("{cache}/{name}")).collect()
}

/// The folders that a file lies in, below the one that all packages share.
fn folders_of(path: &str, sites: &[String]) -> Vec<String> {
    let mut folders = Vec::new();
    let mut at = path;
    while let Some((folder, _)) = at.rsplit_once('/') {
        if !sites.iter().any(|site| folder.strip_prefix(site.as_str()).is_some_and(|rest| rest.starts_with('/'))) {
            break;
        }
        folders.push(folder.to_owned());
        at = folder;
    }
    // What was compiled lies in a folder beside.
    let compiled: Vec<String> = folders
        .first()
        .filter(|_| path.ends_with(".py"))
        .map(|folder| format!("{folder}/__pycache__"))
        .into_iter()
        .collect();
    folders.into_iter().chain(compiled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_below_the_shared_one_alone() {
        let sites = ["lib/python3.11/site-packages".to_owned()];
        assert_eq!(
            folders_of("lib/python3.11/site-packages/a/b/c.py", &sites),
            [
                "lib/python3.11/site-packages/a/b",
                "lib/python3.11/site-packages/a",
                "lib/python3.11/site-packages/a/b/__pycache__",
            ]
        );
        assert!(folders_of("lib/python3.11/site-packages/six.py", &sites).is_empty());
        assert!(folders_of("bin/flask", &sites).is_empty());
    }
}
