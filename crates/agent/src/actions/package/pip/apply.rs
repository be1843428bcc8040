//! The upgrade itself. Entered again after a crash, it puts the files of before back and begins anew from the kept wheels:
//! what pip left half done is not mended but removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use serde_json::json;
use stanch_action::{ActionError, Applied, Run};
use stanch_model::canonical::Digest;
use stanch_model::plan::{Change, PlannedStep};

use super::params::{Params, Planned, Projection};
use super::{Pip, Place, digest_of, failed, files};
use crate::actions::package::apply::{reached, state, value};
use crate::actions::package::point;
use crate::actions::{make_folder, reach, read_params};
use crate::facts::{Root, python};

/// What was put aside before anything changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Captured {
    /// The packages as they were.
    pub(crate) before: Projection,
    /// Archives of their files in the vault, by package, with their digests.
    pub(crate) archives: BTreeMap<String, Digest>,
    /// What stood beside packages and programs already and may look like a leftover.
    pub(crate) beside: BTreeSet<String>,
}

/// A wheel in the vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wheel {
    /// The package it is of.
    pub(crate) name: String,
    /// Its file below the vault.
    pub(crate) file: String,
    pub(crate) sha256: Digest,
    /// Where its files go, below the environment.
    pub(crate) files: Vec<String>,
}

impl Pip<'_> {
    pub(crate) fn applied(&self, step: &PlannedStep, run: &mut dyn Run) -> Result<Applied, ActionError> {
        self.rules.current()?.permit_environments()?;
        let params: Params = read_params(&step.params)?;
        self.permit(&params, run)?;
        let place = self.place(&params)?;
        if run.reached().is_empty() && self.settled(&place, &params)? {
            return self.answer(&place, &params, None);
        }
        if !reached(run.reached(), point::CHECKED) {
            let (root, environment) = place.read()?;
            let now = files::projection(&root, &environment, params.names())?;
            let digest = now.observation()?.digest().map_err(|e| failed(e, "the projection has no digest"))?;
            if digest != step.before {
                let moved = params.before.differences(&now);
                let message = "the environment is not as it was when this was planned".to_owned();
                return Err(ActionError::Refused { message, moved });
            }
            reach(run, point::CHECKED, json!({}))?;
        }
        if !reached(run.reached(), point::CAPTURED) {
            self.capture(&place, &params, run)?;
        }
        let captured: Captured = state(run.reached(), point::CAPTURED)?
            .ok_or_else(|| ActionError::failed("the journal has lost what was captured"))?;
        if !reached(run.reached(), point::INSTALLED) {
            match state::<Vec<Wheel>>(run.reached(), point::FETCHED)? {
                // A former life may have begun.
                Some(wheels) => {
                    if !self.is_complete(&place, &params, run)? {
                        let all: Vec<&Planned> = params.packages.iter().collect();
                        self.put_back(&place, &params, &all, &captured, &wheels, run)?;
                        self.install(&place, &params, &wheels, run)?;
                    }
                }
                None => {
                    let wheels = self.fetch(&place, &params, run)?;
                    self.install(&place, &params, &wheels, run)?;
                }
            }
            let (root, environment) = place.read()?;
            let after = files::projection(&root, &environment, params.names())?;
            let now = listed(&root, &environment, &params)?;
            keep(&run.vault()?.join(INSTALLED_FILES), &now)?;
            reach(run, point::INSTALLED, value(&after)?)?;
        }
        self.answer(&place, &params, Some(&captured.before))
    }

    /// Whether all is as it shall be already.
    fn settled(&self, place: &Place, params: &Params) -> Result<bool, ActionError> {
        let (_, environment) = place.read()?;
        let is_there = |planned: &Planned| {
            environment.packages.get(&planned.name).is_some_and(|installed| installed.version == planned.to)
        };
        Ok(params.packages.iter().all(is_there))
    }

    /// Whether a former life has brought it to its end. pip writes the list of a package's files last.
    fn is_complete(&self, place: &Place, params: &Params, run: &mut dyn Run) -> Result<bool, ActionError> {
        self.change("waiting for pip", &place.changing(&["true"], params.lock_timeout_seconds, run)?, run)?;
        if !self.settled(place, params)? {
            return Ok(false);
        }
        let (root, environment) = place.read()?;
        let whole = |name: &str| {
            let installed = environment.packages.get(name)?;
            let paths = files::listed(&root, &environment.path, installed)?.ok()?;
            Some(paths.iter().all(|path| files::is_compiled(path) || root.mode(path).is_ok()))
        };
        Ok(params.names().all(|name| whole(name) == Some(true)))
    }

    fn answer(&self, place: &Place, params: &Params, before: Option<&Projection>) -> Result<Applied, ActionError> {
        let (root, environment) = place.read()?;
        let now = files::projection(&root, &environment, params.names())?;
        let changes = before.map(|before| versions_changed(before, &now)).unwrap_or_default();
        Ok(Applied { changed: before.is_some_and(|before| *before != now), changes, after: now.observation()? })
    }

    /// Puts the files of the packages aside, read with their owner's power.
    fn capture(&self, place: &Place, params: &Params, run: &mut dyn Run) -> Result<(), ActionError> {
        run.progress("putting aside the files there are");
        let vault = run.vault()?;
        make_folder(&vault.join("old"), 0o700)?;
        let (root, environment) = place.read()?;
        let mut archives = BTreeMap::new();
        for planned in params.packages.iter().filter(|planned| planned.from.is_some()) {
            let name = &planned.name;
            let installed = environment
                .packages
                .get(name)
                .ok_or_else(|| ActionError::refused(format!("{name} is not installed any more")))?;
            let Some(Ok(paths)) = files::listed(&root, &environment.path, installed) else {
                return Err(ActionError::refused(format!(
                    "it could not be taken back: {name} has no list of its files"
                )));
            };
            let there: Vec<&String> =
                paths.iter().filter(|path| root.mode(path).is_ok() || root.link(path).is_some()).collect();
            let archive = vault.join(archive_of(name));
            let words = ["tar", "--create", "--file=-", "--no-recursion", "--null", "--verbatim-files-from"];
            let words: Vec<&str> = words.into_iter().chain(["--files-from=-"]).collect();
            let output = self.run(
                "tar",
                &place.reading(&words).fed(null_separated(there.into_iter())).writing_to(archive.clone()),
            )?;
            if !output.ok() {
                return Err(ActionError::failed(format!("cannot put {name} aside: {}", output.complaint())));
            }
            File::open(&archive).and_then(|file| file.sync_all()).map_err(|e| failed(e, "cannot keep an archive"))?;
            archives.insert(name.clone(), digest_of(&archive)?);
        }
        let before = files::projection(&root, &environment, params.names())?;
        if before != params.before {
            let moved = params.before.differences(&before);
            return Err(ActionError::Refused { message: "the environment changes meanwhile".to_owned(), moved });
        }
        let captured = Captured { before, archives, beside: beside(&root, &environment) };
        reach(run, point::CAPTURED, value(&captured)?)
    }

    /// Brings the wheels into the vault: the owner's pip fetches, and what it fetched counts by its digest alone.
    fn fetch(&self, place: &Place, params: &Params, run: &mut dyn Run) -> Result<Vec<Wheel>, ActionError> {
        let vault = run.vault()?;
        make_folder(&vault.join("new"), 0o700)?;
        let staging = place.staging()?;
        let shown = staging.to_string_lossy().into_owned();
        let words = ["download", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--dest", &shown];
        let words: Vec<&str> = words.into_iter().chain(["--requirement", "/dev/stdin"]).collect();
        let download = place.pip_changing(&words, params.lock_timeout_seconds, run)?;
        let output = self.change("downloading", &download.fed(params.requirements(params.packages.iter())), run)?;
        if !output.ok() {
            return Err(ActionError::failed(format!("pip could not download: {}", output.complaint())));
        }
        let (_, environment) = place.read()?;
        let site = environment.sites.first().cloned().unwrap_or_default();
        let mut wheels = Vec::new();
        for entry in fs::read_dir(&staging).map_err(|e| failed(e, "cannot list downloads"))?.flatten() {
            let Some(file) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let Some((name, _)) = files::wheel(&file) else { continue };
            let Some(planned) = params.packages.iter().find(|planned| planned.name == name) else { continue };
            let kept = format!("new/{file}");
            take(&entry.path(), &vault.join(&kept))?;
            if digest_of(&vault.join(&kept))? != planned.sha256 {
                return Err(ActionError::failed(format!("{file} is not what was planned")));
            }
            let list = place.reading(&[&place.python(), "-I", "-m", "zipfile", "--list", "/dev/stdin"]);
            let output = self.run("zipfile", &list.reading_from(vault.join(&kept)))?;
            if !output.ok() {
                return Err(ActionError::failed(format!("{file} cannot be read: {}", output.complaint())));
            }
            let files = in_wheel(&output.text()).filter_map(|path| files::of_wheel(&site, path)).collect();
            wheels.push(Wheel { name, file: kept, sha256: planned.sha256, files });
        }
        let _ = fs::remove_dir_all(&staging);
        let missing: Vec<&str> =
            params.names().filter(|name| !wheels.iter().any(|wheel| wheel.name == *name)).collect();
        if !missing.is_empty() {
            return Err(ActionError::failed(format!("no wheel of {} could be had", missing.join(", "))));
        }
        wheels.sort_by(|a, b| a.name.cmp(&b.name));
        reach(run, point::FETCHED, value(&wheels)?)?;
        Ok(wheels)
    }

    fn install(&self, place: &Place, params: &Params, wheels: &[Wheel], run: &mut dyn Run) -> Result<(), ActionError> {
        let vault = run.vault()?;
        let staging = place.staging()?;
        for wheel in wheels {
            let from = vault.join(&wheel.file);
            let to = staging.join(wheel.file.rsplit('/').next().unwrap_or(&wheel.file));
            fs::copy(&from, &to).map_err(|e| failed(e, "cannot hand a wheel to pip"))?;
            fs::set_permissions(&to, Permissions::from_mode(0o644))
                .map_err(|e| failed(e, "cannot hand a wheel to pip"))?;
        }
        let shown = staging.to_string_lossy().into_owned();
        let words = ["install", "--no-deps", "--no-index", "--find-links", &shown, "--only-binary", ":all:"];
        let words: Vec<&str> = words.into_iter().chain(["--require-hashes", "--requirement", "/dev/stdin"]).collect();
        let install = place.pip_changing(&words, params.lock_timeout_seconds, run)?;
        let output = self.change("pip install", &install.fed(params.requirements(params.packages.iter())), run)?;
        let _ = fs::remove_dir_all(&staging);
        if output.ok() && self.settled(place, params)? {
            return Ok(());
        }
        Err(ActionError::failed(format!("pip could not install: {}", output.complaint()))
            .with_hint("take the step back: the files of before are in the vault"))
    }
}

/// Which files each installed package of a step has, below the vault.
pub(crate) const INSTALLED_FILES: &str = "installed.json";

pub(crate) fn archive_of(name: &str) -> String {
    format!("old/{name}.tar")
}

pub(crate) fn null_separated<'a>(paths: impl Iterator<Item = &'a String>) -> Vec<u8> {
    paths.flat_map(|path| path.bytes().chain([0])).collect()
}

/// The files of the packages of a step, by package.
pub(crate) fn listed(
    root: &Root,
    environment: &python::Environment,
    params: &Params,
) -> Result<BTreeMap<String, Vec<String>>, ActionError> {
    let mut all = BTreeMap::new();
    for name in params.names() {
        let Some(installed) = environment.packages.get(name) else { continue };
        if let Some(Ok(paths)) = files::listed(root, &environment.path, installed) {
            all.insert(name.to_owned(), paths);
        }
    }
    Ok(all)
}

/// What pip leaves beside packages when it is broken off, and all programs: only what was not there before is removed.
pub(crate) fn beside(root: &Root, environment: &python::Environment) -> BTreeSet<String> {
    let names = |folder: &str, wanted: fn(&str) -> bool| -> Vec<String> {
        let entries = root.entries(folder).unwrap_or_default();
        entries.into_iter().filter(|(name, _)| wanted(name)).map(|(name, _)| format!("{folder}/{name}")).collect()
    };
    let moved = environment.sites.iter().flat_map(|site| names(site, |name| name.starts_with('~')));
    moved.chain(names("bin", |_| true)).collect()
}

pub(crate) fn keep(path: &Path, files: &BTreeMap<String, Vec<String>>) -> Result<(), ActionError> {
    let text = serde_json::to_vec(files).map_err(|e| failed(e, "cannot write a list of files"))?;
    let part = path.with_extension("part");
    let write = || -> std::io::Result<()> {
        fs::write(&part, text)?;
        File::open(&part)?.sync_all()?;
        fs::rename(&part, path)
    };
    write().map_err(|e| failed(e, "cannot keep a list of files"))
}

/// Copies what another user wrote, which may be anything.
fn take(from: &Path, to: &Path) -> Result<(), ActionError> {
    let copy = || -> std::io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::open(from, flags, rustix::fs::Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(std::io::Error::other("it is no file"));
        }
        let mut kept = File::create(to)?;
        // Whoever reads it as the owner of the environment is handed it open; the vault itself is closed to them.
        kept.set_permissions(Permissions::from_mode(0o644))?;
        std::io::copy(&mut file, &mut kept)?;
        kept.sync_all()
    };
    copy().map_err(|e| ActionError::caused(format!("cannot keep {}", from.display()), e))
}

/// The paths in a listing of Python's `zipfile`: each followed by date, time and size.
fn in_wheel(listing: &str) -> impl Iterator<Item = &str> {
    listing.lines().skip(1).filter_map(|line| {
        let mut rest = line;
        for _ in 0..3 {
            rest = rest.trim_end().rsplit_once(' ')?.0;
        }
        Some(rest.trim_end()).filter(|path| !path.is_empty() && !path.ends_with('/'))
    })
}

pub(crate) fn versions_changed(before: &Projection, now: &Projection) -> Vec<Change> {
    let version = |projection: &Projection, name: &str| projection.packages.get(name).map(|dist| dist.version.clone());
    let names: BTreeSet<&String> = before.packages.keys().chain(now.packages.keys()).collect();
    let change = |name: &String| {
        let (was, is) = (version(before, name), version(now, name));
        (was != is).then(|| Change { subject: name.clone(), before: was, after: is, note: None })
    };
    names.into_iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_of_a_wheel_gives_its_paths() {
        let listing = "File Name                                             Modified             Size\n\
                       leaf/__init__.py                               1980-01-01 00:00:00            8\n\
                       leaf/with a blank.txt                          1980-01-01 00:00:00           18\n\
                       leaf/                                          1980-01-01 00:00:00            0\n";
        assert_eq!(in_wheel(listing).collect::<Vec<_>>(), ["leaf/__init__.py", "leaf/with a blank.txt"]);
    }
}
