//! The upgrade itself. Entered again after a crash, it puts the files of before back and begins anew from the kept wheels:
//! what pip left half done is not mended but removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use stanch_action::{ActionError, Applied, Run};
use stanch_model::canonical::Digest;
use stanch_model::plan::{Change, PlannedStep};

use super::params::{Params, Planned, Projection};
use super::place::{MOST_FILE, Place};
use super::restore::{self, Acts};
use super::snapshot::{self, Area, Entries};
use super::{Pip, failed, files};
use crate::actions::package::apply::{reached, state, value};
use crate::actions::package::{digest_of, point};
use crate::actions::{make_folder, reach, read_params};
use crate::facts::python::Environment;

/// What was put aside before anything changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Captured {
    /// The packages as they were.
    pub(super) before: Projection,
    /// Digest of [`Kept`] in the vault.
    pub(super) kept: Digest,
}

/// What an environment was where pip was about to change it. The contents of its files are kept beside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) area: Area,
    pub(super) entries: Entries,
    /// What the packages listed as theirs.
    pub(super) lists: BTreeMap<String, BTreeSet<String>>,
    /// What an earlier pip that was broken off had left already.
    pub(super) leftovers: BTreeSet<String>,
}

/// The wheels of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fetched {
    /// Digest of the list of [`Wheel`] in the vault.
    pub(super) wheels: Digest,
}

/// A wheel in the vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wheel {
    /// The package it is of.
    pub(super) name: String,
    /// Its file below the vault.
    pub(super) file: String,
    pub(super) sha256: Digest,
    /// Where pip puts its files, below the environment.
    pub(super) files: BTreeSet<String>,
}

/// What is so after pip was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Installed {
    pub(super) after: Projection,
    /// Digest of the [`Acts`] in the vault.
    pub(super) acts: Digest,
}

pub(super) const KEPT: &str = "before.json";
pub(super) const WHEELS: &str = "wheels.json";
pub(super) const ACTS: &str = "changed.json";
const MOST_KEPT: u64 = 256 << 20;

/// Tells the paths in a wheel and the names of its programs, as pip will make them.
const LOOK_INTO: &str = "import configparser, json, sys, zipfile\n\
     points = configparser.ConfigParser(delimiters=('=',), interpolation=None, strict=False)\n\
     points.optionxform = str\n\
     with zipfile.ZipFile(sys.argv[1]) as wheel:\n    \
         names = [name for name in wheel.namelist() if not name.endswith('/')]\n    \
         for name in names:\n        \
             if name.count('/') == 1 and name.endswith('.dist-info/entry_points.txt'):\n            \
                 points.read_string(wheel.read(name).decode())\n\
     kinds = [kind for kind in ('console_scripts', 'gui_scripts') if points.has_section(kind)]\n\
     json.dump({'files': names, 'programs': [name for kind in kinds for name in points[kind]]}, sys.stdout)\n";

#[derive(Deserialize)]
struct Inside {
    files: Vec<String>,
    programs: Vec<String>,
}

impl Pip<'_> {
    pub(crate) fn applied(&self, step: &PlannedStep, run: &mut dyn Run) -> Result<Applied, ActionError> {
        self.rules.current()?.permit_environments()?;
        let params: Params = read_params(&step.params)?;
        self.permit(&params, run)?;
        let place = self.place(&params)?;
        if run.reached().is_empty() && settled(&place, &params) {
            return answer(&place, &params, None);
        }
        if !reached(run.reached(), point::CHECKED) {
            let now = files::projection(&place, &place.read(), params.names())?;
            let digest = now.observation()?.digest().map_err(|e| failed(e, "the projection has no digest"))?;
            if digest != step.before || now != params.before {
                let moved = params.before.differences(&now);
                let message = "the environment is not as it was when this was planned".to_owned();
                return Err(ActionError::Refused { message, moved });
            }
            self.confirm(&place, &params)?;
            reach(run, point::CHECKED, json!({}))?;
        }
        if !reached(run.reached(), point::FETCHED) {
            self.fetch(&place, &params, run)?;
        }
        let wheels = wheels(run.reached(), &run.vault()?)?;
        let began = reached(run.reached(), point::CAPTURED);
        if !began {
            capture(&place, &params, &wheels, run)?;
        }
        let captured: Captured = state(run.reached(), point::CAPTURED)?
            .ok_or_else(|| ActionError::failed("the journal has lost what was captured"))?;
        if !reached(run.reached(), point::INSTALLED) {
            let kept: Kept = read(&run.vault()?.join(KEPT), captured.kept)?;
            if began {
                // A former life may have left it half done.
                self.put_back_half(&place, &params, &kept, &wheels, run)?;
            }
            self.install(&place, &params, &wheels, run)?;
            let environment = place.read();
            let after = files::projection(&place, &environment, params.names())?;
            let lists = files::lists(&place, &environment, params.names());
            let now = place.reader().area(&kept.area).map_err(|e| failed(e, "cannot read what was installed"))?;
            let acts = write(&run.vault()?.join(ACTS), &restore::acts(&kept, &now, &lists))?;
            reach(run, point::INSTALLED, value(&Installed { after, acts })?)?;
        }
        answer(&place, &params, Some(&captured.before))
    }

    /// Brings the wheels into the vault: the owner's pip fetches, and what it fetched counts by its digest alone.
    fn fetch(&self, place: &Place, params: &Params, run: &mut dyn Run) -> Result<(), ActionError> {
        let vault = run.vault()?;
        make_folder(&vault.join("new"), 0o700)?;
        let handed = place.handing()?;
        let mailbox = handed.mailbox(place)?;
        let words = ["download", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--dest", &mailbox.path];
        let words: Vec<&str> = words.into_iter().chain(["--requirement", "/dev/stdin"]).collect();
        let download = place.pip_changing(&words, params.lock_timeout_seconds, run)?;
        let output = self.change("downloading", &download.fed(params.requirements(params.packages.iter())), run)?;
        if !output.ok() {
            return Err(ActionError::failed(format!("pip could not download: {}", output.complaint())));
        }
        let site = place.read().sites.first().cloned().unwrap_or_default();
        let mut wheels: Vec<Wheel> = Vec::new();
        for file in mailbox.names().map_err(|e| failed(e, "cannot list downloads"))? {
            let Some(name) = files::wheel(&file) else { continue };
            let Some(planned) = params.packages.iter().find(|planned| planned.name == name) else { continue };
            if wheels.iter().any(|wheel| wheel.name == name) {
                return Err(ActionError::failed(format!("pip brought two wheels of {name}")));
            }
            let kept = format!("new/{file}");
            mailbox
                .take(&file, MOST_FILE, &vault.join(&kept))
                .map_err(|e| ActionError::caused(format!("cannot keep {file}"), e))?;
            if digest_of(&vault.join(&kept)).map_err(|e| failed(e, "cannot read a wheel"))? != planned.sha256 {
                return Err(ActionError::failed(format!("{file} is not what was planned")));
            }
            let files = self.look_into(place, &site, &file, &vault.join(&kept))?;
            wheels.push(Wheel { name, file: kept, sha256: planned.sha256, files });
        }
        let missing: Vec<&str> =
            params.names().filter(|name| !wheels.iter().any(|wheel| wheel.name == *name)).collect();
        if !missing.is_empty() {
            return Err(ActionError::failed(format!("no wheel of {} could be had", missing.join(", "))));
        }
        wheels.sort_by(|a, b| a.name.cmp(&b.name));
        let wheels = write(&vault.join(WHEELS), &wheels)?;
        reach(run, point::FETCHED, value(&Fetched { wheels })?)
    }

    /// Where pip will put what is in a wheel. Its owner's Python reads it: an archive may be shaped to harm its reader.
    fn look_into(&self, place: &Place, site: &str, file: &str, kept: &Path) -> Result<BTreeSet<String>, ActionError> {
        let handed = place.handing()?;
        let wheel = File::open(kept).map_err(|e| failed(e, "cannot read a wheel"))?;
        let path = handed.give(file, wheel)?;
        let output = self.run("zipfile", &place.python_reading(LOOK_INTO, &[&path]))?;
        let inside: Inside = serde_json::from_slice(&output.stdout)
            .ok()
            .filter(|_| output.ok())
            .ok_or_else(|| ActionError::failed(format!("{file} cannot be read: {}", output.complaint())))?;
        let mut files: BTreeSet<String> = inside.files.iter().filter_map(|path| files::of_wheel(site, path)).collect();
        files.extend(inside.programs.iter().filter_map(|name| files::of_entry_point(name)));
        // pip adds some beside those of the wheel.
        let abouts: Vec<String> =
            files.iter().filter_map(|path| path.strip_suffix(".dist-info/METADATA").map(str::to_owned)).collect();
        for about in abouts {
            files.extend(["INSTALLER", "REQUESTED", "RECORD"].map(|name| format!("{about}.dist-info/{name}")));
        }
        Ok(files)
    }

    fn install(&self, place: &Place, params: &Params, wheels: &[Wheel], run: &mut dyn Run) -> Result<(), ActionError> {
        let vault = run.vault()?;
        let handed = place.handing()?;
        for wheel in wheels {
            let from = File::open(vault.join(&wheel.file)).map_err(|e| failed(e, "cannot read a wheel"))?;
            handed.give(wheel.file.rsplit('/').next().unwrap_or(&wheel.file), from)?;
        }
        let shown = handed.path();
        let words = ["install", "--no-deps", "--no-index", "--find-links", &shown, "--only-binary", ":all:"];
        let words: Vec<&str> = words.into_iter().chain(["--require-hashes", "--requirement", "/dev/stdin"]).collect();
        let install = place.pip_changing(&words, params.lock_timeout_seconds, run)?;
        let output = self.change("pip install", &install.fed(params.requirements(params.packages.iter())), run)?;
        if output.ok() && settled(place, params) {
            return Ok(());
        }
        Err(ActionError::failed(format!("pip could not install: {}", output.complaint()))
            .with_hint("take the step back: the files of before are in the vault"))
    }
}

/// Whether all is as it shall be already.
fn settled(place: &Place, params: &Params) -> bool {
    let environment = place.read();
    let is_there = |planned: &Planned| {
        environment.packages.get(&planned.name).is_some_and(|installed| installed.version == planned.to)
    };
    params.packages.iter().all(is_there)
}

fn answer(place: &Place, params: &Params, before: Option<&Projection>) -> Result<Applied, ActionError> {
    let now = files::projection(place, &place.read(), params.names())?;
    let changes = before.map(|before| versions_changed(before, &now)).unwrap_or_default();
    Ok(Applied { changed: before.is_some_and(|before| *before != now), changes, after: now.observation()? })
}

/// Puts everything aside that pip may change.
fn capture(place: &Place, params: &Params, wheels: &[Wheel], run: &mut dyn Run) -> Result<(), ActionError> {
    run.progress("putting aside the files there are");
    let vault = run.vault()?;
    let environment = place.read();
    let mut kept = Kept { leftovers: leftovers(place, &environment)?, ..Kept::default() };
    for planned in params.packages.iter().filter(|planned| planned.from.is_some()) {
        let name = &planned.name;
        let installed = environment
            .packages
            .get(name)
            .ok_or_else(|| ActionError::refused(format!("{name} is not installed any more")))?;
        let listed = files::listed(place, installed)
            .map_err(|unlisted| ActionError::refused(format!("it could not be taken back: {}", unlisted.told(name))))?;
        kept.lists.insert(name.clone(), listed);
    }
    let paths = kept.lists.values().chain(wheels.iter().map(|wheel| &wheel.files)).flatten();
    let mut area = Area::default();
    paths.for_each(|path| area.add(&environment.sites, path));
    kept.area = area;
    let room = snapshot::make_room(&vault).map_err(|e| failed(e, "cannot make room for what is put aside"))?;
    let mut reader = place.reader().keeping(&vault, room, place.owned());
    kept.entries = reader.area(&kept.area).map_err(|error| ActionError::refused(error.to_string()))?;
    snapshot::settle(&vault).map_err(|e| failed(e, "cannot keep what is put aside"))?;
    let before = files::projection(place, &place.read(), params.names())?;
    if before != params.before {
        let moved = params.before.differences(&before);
        return Err(ActionError::Refused { message: "the environment changes meanwhile".to_owned(), moved });
    }
    let kept = write(&vault.join(KEPT), &kept)?;
    reach(run, point::CAPTURED, value(&Captured { before, kept })?)
}

/// What pip leaves beside packages when it is broken off.
pub(super) fn leftovers(place: &Place, environment: &Environment) -> Result<BTreeSet<String>, ActionError> {
    let mut found = BTreeSet::new();
    let mut reader = place.reader();
    for site in &environment.sites {
        let names = reader.names(site).map_err(|e| failed(e, "cannot list the packages"))?;
        found.extend(names.iter().filter(|name| name.starts_with('~')).map(|name| format!("{site}/{name}")));
    }
    Ok(found)
}

/// The wheels of a step, as its journal names them.
pub(super) fn wheels(points: &[stanch_action::Checkpoint], vault: &Path) -> Result<Vec<Wheel>, ActionError> {
    let fetched: Fetched =
        state(points, point::FETCHED)?.ok_or_else(|| ActionError::failed("the journal has lost what was fetched"))?;
    read(&vault.join(WHEELS), fetched.wheels)
}

pub(super) fn read_acts(vault: &Path, digest: Digest) -> Result<Acts, ActionError> {
    read(&vault.join(ACTS), digest)
}

/// Keeps a value in the vault, durably; answers its digest.
fn write(path: &Path, kept: &impl Serialize) -> Result<Digest, ActionError> {
    let text = serde_json::to_vec(kept).map_err(|e| failed(e, "cannot write what is kept"))?;
    let part = path.with_extension("part");
    let write = || -> std::io::Result<()> {
        fs::write(&part, &text)?;
        File::open(&part)?.sync_all()?;
        fs::rename(&part, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    write().map_err(|e| failed(e, "cannot keep what is kept"))?;
    Ok(Digest::of_bytes(&text))
}

/// Reads what was kept, which is what the journal says or is damaged.
pub(super) fn read<T: DeserializeOwned>(path: &Path, digest: Digest) -> Result<T, ActionError> {
    let damaged = || ActionError::failed(format!("what was kept in {} is damaged", path.display()));
    let size = fs::metadata(path).map_err(|e| failed(e, "cannot read what was kept"))?.len();
    let text = fs::read(path).ok().filter(|text| size <= MOST_KEPT && Digest::of_bytes(text) == digest);
    serde_json::from_slice(&text.ok_or_else(damaged)?).map_err(|_| damaged())
}

pub(super) fn versions_changed(before: &Projection, now: &Projection) -> Vec<Change> {
    let version = |projection: &Projection, name: &str| projection.packages.get(name).map(|dist| dist.version.clone());
    let names: BTreeSet<&String> = before.packages.keys().chain(now.packages.keys()).collect();
    let change = |name: &String| {
        let (was, is) = (version(before, name), version(now, name));
        (was != is).then(|| Change { subject: name.clone(), before: was, after: is, note: None })
    };
    names.into_iter().filter_map(change).collect()
}
