//! Packages of Python in virtual environments, changed by the environment's own pip.
//!
//! An environment may belong to anybody, and its Python runs whatever its owner put there. So everything that reads or
//! changes it, pip as well as tar and rm, runs with its owner's power and no more, and only where nobody else could put
//! another environment in its place. What leads to a step is the list that pip itself prints; what is installed is that
//! list, with its digests, from files that were fetched before. The way back are the files as they were.

mod apply;
mod files;
mod params;
mod plan;
mod undo;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use stanch_action::{ActionError, Observation, Run, Verification};
use stanch_model::facts::Manager;
use stanch_model::order::CheckOutcome;

use super::failed;
use crate::actions::command::{Invocation, Output, Programs};
use crate::actions::service::{self, running};
use crate::actions::{check, health, log};
use crate::facts::{Root, environments, python};
use crate::rules::Rules;

pub(crate) use params::{Params, params_schema};
pub(crate) use plan::Wanted;

/// What changes environments, with what it needs of the action.
pub(crate) struct Pip<'a> {
    pub(super) host: &'a dyn Programs,
    pub(super) rules: &'a Rules,
}

/// Whether these parameters are of a step of pip.
pub(crate) fn is_for(params: &Value) -> bool {
    let of_pip = serde_json::to_value(Manager::Pip).ok();
    params.get("manager").is_some() && params.get("manager") == of_pip.as_ref()
}

/// An environment that may be worked in, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) path: String,
    uid: u32,
    gid: u32,
}

impl Place {
    /// The environment at this path.
    ///
    /// # Errors
    /// In words, when it is none, or when somebody besides root and its owner could put another in its place.
    pub(crate) fn open(path: &str) -> Result<Self, String> {
        let within =
            environments::FOLDERS.iter().any(|folder| path.strip_prefix(folder).is_some_and(|r| r.starts_with('/')));
        let plain = !path.chars().any(char::is_control)
            && Path::new(path).components().all(|part| !matches!(part, std::path::Component::ParentDir));
        if !within || !plain {
            return Err(format!("{path} is not in a folder where environments are looked for"));
        }
        if fs::canonicalize(path).ok().as_deref() != Some(Path::new(path)) {
            return Err(format!("{path} is not there, or a link leads to it"));
        }
        let about = |path: &Path| fs::symlink_metadata(path).map_err(|error| format!("{}: {error}", path.display()));
        let mark = about(&Path::new(path).join("pyvenv.cfg"))?;
        if !mark.is_file() {
            return Err(format!("{path} is no environment of Python"));
        }
        let (uid, gid) = (mark.uid(), mark.gid());
        for folder in Path::new(path).ancestors() {
            let folder_is = about(folder)?;
            let of_others = ![0, uid].contains(&folder_is.uid());
            let shared = folder_is.mode() & 0o022 != 0 && folder_is.mode() & 0o1000 == 0;
            // A group of the owner's alone is no one else.
            let own_group = folder_is.mode() & 0o002 == 0 && uid != 0 && folder_is.gid() == gid;
            if of_others || (shared && !own_group) {
                return Err(format!("others than its owner may write to {}", folder.display()));
            }
        }
        Ok(Self { path: path.to_owned(), uid, gid })
    }

    fn python(&self) -> String {
        format!("{}/bin/python", self.path)
    }

    pub(crate) fn read(&self) -> Result<(Root, python::Environment), ActionError> {
        let root = Root::open(Path::new(&self.path))
            .map_err(|e| ActionError::caused(format!("cannot open {}", self.path), e))?;
        let host = Root::open(Path::new("/")).map_err(|e| ActionError::caused("cannot open the root folder", e))?;
        Ok((root, python::environment(&host, &self.path)))
    }

    /// The words that make a program run as the owner of the environment.
    fn as_owner(&self, words: &[&str]) -> Vec<OsString> {
        let (uid, gid) = (self.uid.to_string(), self.gid.to_string());
        let whom =
            ["--reuid", &uid, "--regid", &gid, "--init-groups", "--reset-env", "--no-new-privs", "--", "env", "-C"];
        whom.iter().chain(&[self.path.as_str()]).chain(words).map(OsString::from).collect()
    }

    /// A program that only reads, as the owner.
    pub(crate) fn reading(&self, words: &[&str]) -> Invocation {
        Invocation::reading("setpriv", self.as_owner(words))
    }

    /// A program that changes the environment, as the owner. It waits until what a former life began is done: that holds
    /// the lock as long as it runs.
    pub(crate) fn changing(&self, words: &[&str], wait: u32, run: &dyn Run) -> Result<Invocation, ActionError> {
        let lock = run.vault()?.join("lock");
        let before = ["--no-fork".into(), "--timeout".into(), wait.to_string().into(), lock.into(), "setpriv".into()];
        let words: Vec<OsString> = before.into_iter().chain(self.as_owner(words)).collect();
        Ok(Invocation::changing("flock", words, log(run)?))
    }

    /// pip with these arguments. Its configuration is its owner's: it alone says where packages come from.
    fn pip<'w>(&self, python: &'w str, words: &[&'w str]) -> Vec<&'w str> {
        let before = [python, "-I", "-m", "pip", "--no-input", "--disable-pip-version-check", "--no-cache-dir"];
        before.iter().chain(words).copied().collect()
    }

    pub(crate) fn pip_reading(&self, words: &[&str]) -> Invocation {
        self.reading(&self.pip(&self.python(), words))
    }

    pub(crate) fn pip_changing(&self, words: &[&str], wait: u32, run: &dyn Run) -> Result<Invocation, ActionError> {
        self.changing(&self.pip(&self.python(), words), wait, run)
    }

    /// An empty folder that the owner may write to and nobody else.
    pub(crate) fn staging(&self) -> Result<PathBuf, ActionError> {
        let folder = super::capture::staging()?;
        std::os::unix::fs::chown(&folder, Some(self.uid), Some(self.gid))
            .map_err(|e| ActionError::caused("cannot make a folder for downloads", e))?;
        Ok(folder)
    }
}

impl Pip<'_> {
    pub(super) fn run(&self, what: &str, invocation: &Invocation) -> Result<Output, ActionError> {
        self.host.run(invocation).map_err(|e| ActionError::caused(format!("{what} gave no result"), e))
    }

    /// Runs what changes something; its output is kept as evidence.
    pub(super) fn change(&self, what: &str, invocation: &Invocation, run: &mut dyn Run) -> Result<Output, ActionError> {
        run.progress(what);
        let output = self.run(what, invocation)?;
        run.evidence(what, &output.stdout);
        Ok(output)
    }

    pub(super) fn place(&self, params: &Params) -> Result<Place, ActionError> {
        Place::open(&params.environment).map_err(ActionError::refused)
    }

    pub(super) fn observed(&self, params: &Params) -> Result<Observation, ActionError> {
        let place = self.place(params)?;
        let (root, environment) = place.read()?;
        files::projection(&root, &environment, params.names())?.observation()
    }

    pub(super) fn verified(&self, params: &Params) -> Result<Verification, ActionError> {
        let rules = self.rules.current()?;
        let (_, environment) = self.place(params)?.read()?;
        let is_there = |planned: &&params::Planned| {
            environment.packages.get(&planned.name).is_some_and(|found| found.version == planned.to)
        };
        let wrong: Vec<&str> =
            params.packages.iter().filter(|p| !is_there(p)).map(|planned| planned.name.as_str()).collect();
        let versions = if wrong.is_empty() {
            let detail = format!("{} packages are at the planned version", params.packages.len());
            check("pip-version", CheckOutcome::Successful, detail)
        } else {
            check("pip-version", CheckOutcome::Failed, format!("not at the planned version: {}", wrong.join(", ")))
        };
        let names: BTreeSet<String> = params.packages.iter().map(|planned| params.shared(&planned.name)).collect();
        let stale = running::stale(Some(&names))?;
        let mut maps = service::deleted_maps(self.host, &rules, &stale)?;
        if maps.outcome == CheckOutcome::Failed {
            // The packages are as planned; who restarts what is the next step's business.
            maps.outcome = CheckOutcome::Inconclusive;
        }
        let mut checks = vec![versions, maps];
        checks.extend(health::checks(self.host, &rules));
        Ok(Verification { checks })
    }

    /// The executor's own rules, looked at again whatever the order says.
    pub(super) fn permit(&self, params: &Params, run: &dyn Run) -> Result<(), ActionError> {
        let rules = self.rules.current()?;
        let first = run.reached().is_empty();
        rules.permit(super::NAME, crate::actions::now(), first && !run.follows())?;
        match params.packages.iter().find(|package| first && rules.denies_package(&package.name)) {
            Some(denied) => Err(ActionError::refused(format!("the executor's rules deny changes to {}", denied.name))),
            None => Ok(()),
        }
    }
}

fn digest_of(path: &Path) -> Result<stanch_model::canonical::Digest, ActionError> {
    super::projection::digest_of(path).map_err(|e| failed(e, "cannot read a kept file"))
}
