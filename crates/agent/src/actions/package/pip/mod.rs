//! Packages of Python in virtual environments, changed by the environment's own pip.
//!
//! An environment may belong to anybody, and its Python runs whatever its owner put there. So everything that runs in it or
//! changes it, pip as well as tar and rm, runs with its owner's power and no more ([`place`]), and only where nobody but
//! root and that owner can change anything on the way to what runs ([`trust`]). What leads to a step is the list that pip
//! itself prints, once when it is planned and again before anything changes; what is installed is that list, with its
//! digests, from files that were fetched before. The way back are the files as they were ([`snapshot`]).

mod apply;
mod archive;
mod files;
mod params;
mod place;
mod plan;
mod restore;
mod snapshot;
pub(in crate::actions) mod trust;
mod undo;

use std::collections::BTreeSet;

use serde_json::Value;
use stanch_action::{ActionError, Observation, Run, Verification};
use stanch_model::facts::Manager;
use stanch_model::order::CheckOutcome;

use super::failed;
use crate::actions::command::{CommandError, Invocation, Output, Programs};
use crate::actions::service::{self, running};
use crate::actions::{check, health};
use crate::rules::Rules;

pub(crate) use params::{Params, params_schema};
pub(crate) use place::Place;
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

impl Pip<'_> {
    pub(super) fn run(&self, what: &str, invocation: &Invocation) -> Result<Output, ActionError> {
        self.host.run(invocation).map_err(|error| match error {
            CommandError::Late { seconds, .. } => {
                ActionError::failed(format!("{what} was not done after {seconds} s and was ended"))
            }
            CommandError::Endless { bytes, .. } => {
                ActionError::failed(format!("{what} wrote more than {bytes} bytes and was ended"))
            }
            error => ActionError::caused(format!("{what} gave no result"), error)
                .with_hint("it needs `unshare`, `flock`, `prlimit` and `setpriv` of util-linux"),
        })
    }

    /// Runs what changes something; its output is kept as evidence.
    pub(super) fn change(&self, what: &str, invocation: &Invocation, run: &mut dyn Run) -> Result<Output, ActionError> {
        run.progress(what);
        let output = self.run(what, invocation)?;
        run.evidence(what, &[output.stdout.as_slice(), output.stderr.as_slice()].concat());
        if place::is_busy(&output) {
            return Err(ActionError::failed("what an earlier run began in this environment has not ended yet"));
        }
        Ok(output)
    }

    pub(super) fn place(&self, params: &Params) -> Result<Place, ActionError> {
        Place::open(self.host, &params.environment).map_err(ActionError::refused)
    }

    pub(super) fn observed(&self, params: &Params) -> Result<Observation, ActionError> {
        let place = self.place(params)?;
        files::projection(&place, &place.read(), params.names())?.observation()
    }

    pub(super) fn verified(&self, params: &Params) -> Result<Verification, ActionError> {
        let rules = self.rules.current()?;
        let environment = self.place(params)?.read();
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
