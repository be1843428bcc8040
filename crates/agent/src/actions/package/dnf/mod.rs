//! Packages of rpm, changed by dnf of this host.
//!
//! dnf decides what has to move, once when a step is planned and again before anything changes ([`ask`]). What is installed
//! are files that were fetched and compared before, by `dnf upgrade` without any repository, so that the transaction is
//! in dnf's history and can be nothing but these files. dnf cannot mend what it was broken off in: rpm installs the same
//! files once more, all together, which ends every half done state ([`apply`]). The way back are the packages of before and
//! the configuration files as they were ([`undo`]).

mod apply;
mod ask;
mod capture;
mod params;
mod plan;
pub(in crate::actions) mod rpm;
mod undo;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use serde_json::Value;
use stanch_action::{ActionError, Observation, Run, Verification};
use stanch_model::facts::Manager;
use stanch_model::order::{Check, CheckOutcome};

use super::{Key, failed, units};
use crate::actions::command::{Invocation, Output, Programs};
use crate::actions::service::{self, running};
use crate::actions::{check, health, make_folder};
use crate::rules::Rules;

use params::Projection;
pub(crate) use params::{Params, params_schema};
pub(crate) use plan::Wanted;

/// dnf 4 goes by this name wherever it is; `dnf` alone may be another one.
pub(crate) const DNF: &str = "dnf-3";

/// What changes packages of rpm, with what it needs of the action.
pub(crate) struct Dnf<'a> {
    pub(super) host: &'a dyn Programs,
    pub(super) rules: &'a Rules,
}

/// Whether these parameters are of a step of dnf.
pub(crate) fn is_for(params: &Value) -> bool {
    let of_dnf = serde_json::to_value(Manager::Dnf).ok();
    params.get("manager").is_some() && params.get("manager") == of_dnf.as_ref()
}

/// The file that says by its lock that something of ours works in this step: it lives on when its caller is gone.
fn busy(vault: &Path) -> PathBuf {
    vault.join("busy")
}

impl Dnf<'_> {
    pub(super) fn database(&self) -> Result<rpm::Database, ActionError> {
        rpm::read(self.host)
    }

    /// The packages and their configuration files as they are.
    pub(super) fn projection(&self, keys: &[Key]) -> Result<Projection, ActionError> {
        let database = self.database()?;
        let there: Vec<Key> = keys.iter().filter(|key| database.packages.contains_key(key)).cloned().collect();
        let mut projection = Projection::default();
        for key in &there {
            projection.packages.extend(database.shown(key).map(|shown| (rpm::spec(key), shown)));
        }
        for file in rpm::files(self.host, &there)?.into_iter().filter(rpm::Listed::is_config) {
            let state = super::projection::state_of(Path::new(&file.path));
            let state = state
                .map_err(|e| ActionError::caused(format!("cannot read the configuration file {}", file.path), e))?;
            projection.configs.insert(file.path, state);
        }
        Ok(projection)
    }

    pub(super) fn observed(&self, params: &Params) -> Result<Observation, ActionError> {
        self.projection(&params.keys())?.observation()
    }

    /// The executor's own rules, looked at again whatever the order says.
    pub(super) fn permit(&self, params: &Params, run: &dyn Run) -> Result<(), ActionError> {
        let rules = self.rules.current()?;
        let first = run.reached().is_empty();
        rules.permit(super::NAME, crate::actions::now(), first && !run.follows())?;
        if !first {
            return Ok(());
        }
        let database = self.database()?;
        for planned in &params.packages {
            let installed = database.packages.get(&planned.key()).into_iter().flatten().map(|header| &header.source);
            if installed.chain([&planned.name, &planned.source]).any(|name| rules.denies_package(name)) {
                return Err(ActionError::refused(format!("the executor's rules deny changes to {}", planned.name)));
            }
        }
        let there: Vec<Key> = params.keys().into_iter().filter(|key| database.packages.contains_key(key)).collect();
        match rpm::files(self.host, &there)?
            .iter()
            .filter_map(|file| units::unit(&file.path))
            .find(|unit| rules.denies_unit(unit))
        {
            Some(unit) => Err(ActionError::refused(format!(
                "the executor's rules deny a restart of {unit}, which the scripts of its package may do"
            ))),
            None => Ok(()),
        }
    }

    /// Waits until neither what a former life began nor anybody's rpm works.
    pub(super) fn wait_for_others(&self, seconds: u32, run: &mut dyn Run) -> Result<(), ActionError> {
        let busy = busy(&run.vault()?);
        let deadline = Instant::now() + Duration::from_secs(seconds.into());
        let ours = || File::open(&busy).is_ok_and(|file| is_locked(&file));
        let mut told = false;
        loop {
            let lock = if ours() { Some(busy.clone()) } else { rpm::held(Path::new("/")) };
            let Some(lock) = lock else { return Ok(()) };
            if Instant::now() >= deadline {
                let lock = lock.display();
                return Err(ActionError::failed(format!("another package manager held {lock} for {seconds} s"))
                    .with_hint(format!("`fuser -v {lock}` names it; ask again when it is done")));
            }
            if !told {
                run.progress("waiting for another package manager");
                told = true;
            }
            std::thread::park_timeout(Duration::from_millis(200));
        }
    }

    /// Runs a program that changes packages. It lives on without its caller, and holds a lock meanwhile that what it starts
    /// does not inherit.
    pub(super) fn change(
        &self,
        name: &str,
        program: &str,
        args: Vec<String>,
        log: PathBuf,
        run: &mut dyn Run,
    ) -> Result<Output, ActionError> {
        run.progress(name);
        let busy = busy(&run.vault()?);
        if let Some(folder) = log.parent() {
            make_folder(folder, 0o700)?;
        }
        let words = ["--close".to_owned(), busy.to_string_lossy().into_owned(), program.to_owned()];
        let invocation = Invocation::changing("flock", words.into_iter().chain(args), log);
        let output =
            self.host.run(&invocation).map_err(|e| ActionError::caused(format!("{name} gave no result"), e))?;
        run.evidence(name, &output.stdout);
        Ok(output)
    }

    pub(super) fn verified(&self, params: &Params) -> Result<Verification, ActionError> {
        let rules = self.rules.current()?;
        let names: BTreeSet<String> = params.packages.iter().map(|planned| planned.name.clone()).collect();
        let stale = running::stale(Some(&names))?;
        let mut maps = service::deleted_maps(self.host, &rules, &stale)?;
        if maps.outcome == CheckOutcome::Failed {
            // The packages are as planned; who restarts what is the next step's business.
            maps.outcome = CheckOutcome::Inconclusive;
        }
        let mut checks = vec![self.versions(params)?, self.dependencies(params)?, maps];
        checks.extend(health::checks(self.host, &rules));
        Ok(Verification { checks })
    }

    fn versions(&self, params: &Params) -> Result<Check, ActionError> {
        let database = self.database()?;
        let wrong = |planned: &params::Planned| {
            let (key, to) = (planned.key(), planned.to.parse::<stanch_model::version::RpmVersion>().ok()?);
            // Newer than planned is not a failure of this upgrade.
            let right = database.only(&key).is_some_and(|header| header.evr >= to);
            let found = database.shown(&key).unwrap_or_else(|| "not installed".to_owned());
            (!right).then(|| format!("{} is {found}, not {to}", rpm::spec(&key)))
        };
        let wrong: Vec<String> = params.packages.iter().filter_map(wrong).collect();
        if wrong.is_empty() {
            let detail = format!("{} packages are at the planned version", params.packages.len());
            return Ok(check("rpm-version", CheckOutcome::Successful, detail));
        }
        Ok(check("rpm-version", CheckOutcome::Failed, wrong.join("; ")))
    }

    /// Whether what they need is there.
    fn dependencies(&self, params: &Params) -> Result<Check, ActionError> {
        let words = ["--verify", "--nofiles", "--noscripts", "--"].map(str::to_owned);
        let specs = params.keys().iter().map(rpm::spec).collect::<Vec<_>>();
        let output = self.host.run(&Invocation::reading("rpm", words.into_iter().chain(specs)));
        let output = output.map_err(|e| failed(e, "rpm cannot be asked"))?;
        if output.ok() {
            return Ok(check("rpm-verify", CheckOutcome::Successful, "what they need is there".to_owned()));
        }
        Ok(check("rpm-verify", CheckOutcome::Failed, output.complaint()))
    }
}

/// Whether somebody holds the lock of this file.
fn is_locked(file: &File) -> bool {
    let taken = rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_err();
    let _ = rustix::fs::flock(file, FlockOperation::NonBlockingUnlock);
    taken
}

/// Whether a dnf that wrote to this file came to its end: what it says last, when all scripts have run.
fn came_to_its_end(log: &Path) -> bool {
    fs::read(log).is_ok_and(|text| String::from_utf8_lossy(&text).lines().any(|line| line == "Complete!"))
}
