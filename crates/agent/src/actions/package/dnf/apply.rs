//! The upgrade itself.
//!
//! The packages go in by `dnf upgrade`, of the fetched files and without any repository. Power that goes in the midst of it
//! leaves old and new version of a package beside each other, and scripts that did not run; dnf then says that there is
//! nothing to do. So what a former life began and dnf did not report as complete is done once more by `rpm --upgrade
//! --replacepkgs` of all these files together: that removes what is left of the old versions, lays every file anew and runs
//! the scripts of the packages, some of them a second time, as a reinstallation does.

use std::path::PathBuf;

use serde_json::json;
use stanch_action::{ActionError, Applied, Run};
use stanch_model::plan::{Change, PlannedStep};

use super::capture::{Captured, Fetched, Package};
use super::params::{Params, Projection};
use super::rpm::spec;
use super::{DNF, Dnf, came_to_its_end};
use crate::actions::package::apply::{reached, state, value};
use crate::actions::package::point;
use crate::actions::{reach, read_params};

/// Settings of every call that changes something: a host's own configuration must not loosen them here.
const ALWAYS: [&str; 8] = [
    "--assumeyes",
    "--disablerepo=*",
    "--setopt=install_weak_deps=False",
    "--setopt=clean_requirements_on_remove=False",
    "--setopt=exit_on_lock=False",
    "--setopt=gpgcheck=True",
    "--setopt=best=True",
    "--color=never",
];

/// What rpm says where it mends, below the vault.
const MEND_LOG: &str = "output/mend.log";

/// Which way a transaction goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Up,
    Down,
}

impl Way {
    const fn verb(self) -> &'static str {
        match self {
            Self::Up => "upgrade",
            Self::Down => "downgrade",
        }
    }
}

impl Dnf<'_> {
    pub(crate) fn applied(&self, step: &PlannedStep, run: &mut dyn Run) -> Result<Applied, ActionError> {
        let params: Params = read_params(&step.params)?;
        if let Some(why) = params.objection() {
            return Err(ActionError::refused(why));
        }
        self.permit(&params, run)?;
        if run.reached().is_empty() && self.settled(&params)? {
            return self.answer(&params, None);
        }
        self.wait_for_others(params.lock_timeout_seconds, run)?;
        if !reached(run.reached(), point::CHECKED) {
            self.expect(step, &params)?;
            reach(run, point::CHECKED, json!({}))?;
        }
        if !reached(run.reached(), point::FETCHED) {
            self.fetch(&params, run)?;
        }
        let fetched: Fetched = state(run.reached(), point::FETCHED)?
            .ok_or_else(|| ActionError::failed("the journal has lost what was fetched"))?;
        if !reached(run.reached(), point::CAPTURED) {
            self.capture(step, &params, &fetched, run)?;
        }
        let captured: Captured = state(run.reached(), point::CAPTURED)?
            .ok_or_else(|| ActionError::failed("the journal has lost what was captured"))?;
        let began = reached(run.reached(), point::SIMULATED);
        if !began {
            self.ask_again(&params)?;
            reach(run, point::SIMULATED, json!({}))?;
        }
        if !reached(run.reached(), point::INSTALLED) {
            self.install(&params, &fetched, began, run)?;
        }
        if !reached(run.reached(), point::MARKED) {
            self.mark(&params, run)?;
            reach(run, point::MARKED, json!({}))?;
        }
        self.answer(&params, Some(&captured.before))
    }

    /// Whether all is as it shall be already.
    pub(super) fn settled(&self, params: &Params) -> Result<bool, ActionError> {
        let database = self.database()?;
        Ok(params
            .packages
            .iter()
            .all(|planned| database.only(&planned.key()).is_some_and(|header| header.evr.as_str() == planned.to)))
    }

    fn answer(&self, params: &Params, before: Option<&Projection>) -> Result<Applied, ActionError> {
        let now = self.projection(&params.keys())?;
        let changes = before.map(|before| before.versions_changed(&now)).unwrap_or_default();
        Ok(Applied { changed: before.is_some_and(|before| *before != now), changes, after: now.observation()? })
    }

    fn expect(&self, step: &PlannedStep, params: &Params) -> Result<(), ActionError> {
        let now = self.projection(&params.keys())?;
        let digest = now.observation()?.digest().map_err(|e| super::failed(e, "the projection has no digest"))?;
        let from = |planned: &super::params::Planned| {
            now.packages.get(&spec(&planned.key())).map(String::as_str) == planned.from.as_deref()
        };
        if digest == step.before && params.packages.iter().all(from) {
            return Ok(());
        }
        Err(ActionError::Refused {
            message: "the host is no longer as it was when this was planned".to_owned(),
            moved: params.before.differences(&now),
        })
    }

    /// The host believes its own repositories and not the server: dnf has to say the same again.
    fn ask_again(&self, params: &Params) -> Result<(), ActionError> {
        let confirmed = self.confirmed(&params.packages, &self.database()?, &self.rules.current()?)?;
        match confirmed {
            Ok(_) => Ok(()),
            Err(objection) => {
                Err(ActionError::refused(format!("dnf no longer agrees to the plan: {}", objection.reason)))
            }
        }
    }

    fn install(&self, params: &Params, fetched: &Fetched, began: bool, run: &mut dyn Run) -> Result<(), ActionError> {
        self.unmoved(params)?;
        let log = run.vault()?.join("output/upgrade.log");
        // What a former life began came to its end by itself, or has to be brought there.
        if !(began && came_to_its_end(&log) && self.settled(params)?) {
            let output = if began && log.exists() {
                self.mend(&fetched.new, run)?
            } else {
                self.transact(Way::Up, &fetched.new, fetched.checked, log, run)?
            };
            let left = self.projection(&params.keys())?;
            if !output.ok() || !self.settled(params)? {
                let done = params.before.versions_changed(&left).len();
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
        let left = self.projection(&params.keys())?;
        reach(run, point::INSTALLED, value(&left)?)
    }

    /// Every version there is has to be one of before or after.
    fn unmoved(&self, params: &Params) -> Result<(), ActionError> {
        let database = self.database()?;
        let mut moved = Vec::new();
        for planned in &params.packages {
            let key = planned.key();
            let versions = database.packages.get(&key).into_iter().flatten();
            let ours = |evr: &str| evr == planned.to || Some(evr) == planned.from.as_deref();
            if !versions.map(|header| header.evr.as_str()).all(ours) {
                moved.push(Change {
                    subject: spec(&key),
                    before: planned.from.clone(),
                    after: database.shown(&key),
                    note: Some("changed by somebody else".to_owned()),
                });
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        Err(ActionError::Refused { message: "the packages moved meanwhile".to_owned(), moved })
    }

    /// One transaction of dnf with exactly these files.
    pub(super) fn transact(
        &self,
        way: Way,
        packages: &[Package],
        checked: bool,
        log: PathBuf,
        run: &mut dyn Run,
    ) -> Result<crate::actions::command::Output, ActionError> {
        let mut args: Vec<String> = ALWAYS.map(str::to_owned).into();
        // What the host's own configuration does not check is not checked here either.
        args.push(format!("--setopt=localpkg_gpgcheck={}", if checked { "True" } else { "False" }));
        args.extend([way.verb().to_owned(), "--".to_owned()]);
        args.extend(self.intact(packages, run)?);
        self.change(&format!("dnf {}", way.verb()), DNF, args, log, run)
    }

    /// Ends whatever half done state there is: these packages, whole, and no other version of them.
    pub(super) fn mend(
        &self,
        packages: &[Package],
        run: &mut dyn Run,
    ) -> Result<crate::actions::command::Output, ActionError> {
        let mut args: Vec<String> = ["--upgrade", "--oldpackage", "--replacepkgs", "--"].map(str::to_owned).into();
        args.extend(self.intact(packages, run)?);
        let log = run.vault()?.join(MEND_LOG);
        self.change("rpm --upgrade --replacepkgs", "rpm", args, log, run)
    }

    /// dnf knows what came along by itself; of what rpm mended it does not, and would count it as asked for.
    fn mark(&self, params: &Params, run: &mut dyn Run) -> Result<(), ActionError> {
        let new: Vec<String> = params
            .packages
            .iter()
            .filter(|planned| planned.from.is_none())
            .map(|planned| spec(&planned.key()))
            .collect();
        if new.is_empty() || !run.vault()?.join(MEND_LOG).exists() {
            return Ok(());
        }
        let mut args: Vec<String> =
            ["--assumeyes", "--disablerepo=*", "mark", "remove", "--"].map(str::to_owned).into();
        args.extend(new);
        let log = run.vault()?.join("output/mark.log");
        let output = self.change("dnf mark remove", DNF, args, log, run)?;
        if output.ok() {
            return Ok(());
        }
        Err(ActionError::failed(format!("dnf mark failed: {}", output.complaint())))
    }

    /// The files of these packages, as they were kept.
    pub(super) fn intact(&self, packages: &[Package], run: &dyn Run) -> Result<Vec<String>, ActionError> {
        let vault = run.vault()?;
        if let Some(damaged) = packages.iter().find(|package| !package.is_intact(&vault)) {
            let (name, evr) = (spec(&damaged.package), &damaged.evr);
            return Err(ActionError::failed(format!("the kept package of {name} {evr} is damaged or gone")));
        }
        Ok(packages.iter().map(|package| vault.join(&package.file).to_string_lossy().into_owned()).collect())
    }
}
