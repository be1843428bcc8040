//! `package.upgrade`: bring source packages of this host to the version its archives offer, all in one transaction, and
//! take them back one by one or together. What is in an environment of Python is pip's, in a step of its own ([`pip`]); on
//! a host of rpm the packages are dnf's ([`dnf`]).

mod apply;
mod apt;
mod capture;
mod dnf;
mod dpkg;
mod formats;
mod own;
mod params;
mod pip;
mod plan;
mod projection;
mod simulation;
mod undo;
mod units;
mod verify;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stanch_action::catalogue::{self, Declared};
use stanch_action::{Action, ActionError, Applied, Definition, Observation, Place, PlanAnswer, Run, Verification};
use stanch_model::asset::Asset;
use stanch_model::id::ItemId;
use stanch_model::order::StepRequest;
use stanch_model::plan::PlannedStep;

use super::command::Programs;
use super::read_params;
use crate::own::release;
use crate::own::restore::Places;
use crate::rules::Rules;

pub(crate) use apply::is_busy;
pub(crate) use dnf::DNF;
pub(crate) use params::Params;
pub(crate) use projection::digest_of;

/// The action's name.
pub const NAME: &str = DECLARED.name;

const DECLARED: Declared = catalogue::PACKAGE_UPGRADE;

/// Points of apply and then of undo, in order.
pub(crate) mod point {
    pub(crate) const CHECKED: &str = "checked";
    pub(crate) const HEALED: &str = "healed";
    pub(crate) const CAPTURED: &str = "captured";
    pub(crate) const FETCHED: &str = "fetched";
    pub(crate) const SIMULATED: &str = "simulated";
    pub(crate) const INSTALLED: &str = "installed";
    pub(crate) const BROKEN: &str = "broken";
    pub(crate) const MARKED: &str = "marked";
    pub(crate) const COMPARED: &str = "undo-compared";
    pub(crate) const REHEARSED: &str = "undo-simulated";
    pub(crate) const DOWNGRADED: &str = "undo-installed";
    pub(crate) const RESTORED: &str = "undo-restored";
    pub(crate) const UNMARKED: &str = "undo-marked";
    pub(crate) const RESTARTED: &str = "undo-restarted";
    pub(crate) const ALL: [&str; 14] = [
        CHECKED, HEALED, CAPTURED, FETCHED, SIMULATED, INSTALLED, BROKEN, MARKED, COMPARED, REHEARSED, DOWNGRADED,
        RESTORED, UNMARKED, RESTARTED,
    ];
}

/// A package of one architecture: what dpkg counts as one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Key {
    /// Its name.
    pub(crate) name: String,
    /// Its architecture, `all` included.
    pub(crate) arch: String,
}

impl Key {
    /// Reads `name` or `name:arch`; a bare name is one of the main architecture.
    pub(crate) fn read(text: &str, native: &str) -> Self {
        let (name, arch) = text.split_once(':').unwrap_or((text, native));
        Self { name: name.to_owned(), arch: arch.to_owned() }
    }

    /// As apt takes and writes it.
    pub(crate) fn spec(&self, native: &str) -> String {
        if self.arch == native || self.arch == "all" { self.name.clone() } else { self.to_string() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.arch)
    }
}

/// The action.
pub struct PackageUpgrade {
    definition: Definition,
    host: Arc<dyn Programs>,
    rules: Rules,
    cache: PathBuf,
    /// Where dpkg lists the files of packages.
    info: PathBuf,
    /// Where installed packages keep the keys of their releases.
    share: PathBuf,
    /// Where the way back of Stanch's own packages is laid.
    places: Places,
}

impl PackageUpgrade {
    /// The action on this host, under these rules.
    pub fn new(host: Arc<dyn Programs>, rules: Rules) -> Self {
        let definition = Definition {
            name: NAME,
            summary: "Upgrade source packages to the version the host's archives offer, in one transaction",
            technique: "D3-SU",
            request_schema: params::request_schema,
            params_schema: params::params_schema,
            idempotency: DECLARED.idempotency,
            reversibility: DECLARED.reversibility,
            disruption: DECLARED.disruption,
            closes_exposure: DECLARED.closes_exposure,
            safe_points: &point::ALL,
            place: Place::Host,
            rehearses: true,
        };
        Self {
            definition,
            host,
            rules,
            cache: "/var/cache/apt/archives".into(),
            info: "/var/lib/dpkg/info".into(),
            share: release::SHARE.into(),
            places: Places::default(),
        }
    }

    fn host(&self) -> &dyn Programs {
        self.host.as_ref()
    }

    /// The packages of rpm.
    fn dnf(&self) -> dnf::Dnf<'_> {
        dnf::Dnf { host: self.host(), rules: &self.rules }
    }

    /// The packages of Python's environments.
    fn pip(&self) -> pip::Pip<'_> {
        pip::Pip { host: self.host(), rules: &self.rules }
    }
}

impl Action for PackageUpgrade {
    fn definition(&self) -> &Definition {
        &self.definition
    }

    fn rehearses(&self, step: &PlannedStep) -> bool {
        // Environments lie where a copy of the system does not reach, the way back of Stanch's own packages needs a running
        // system, and what dnf does in a copy was not looked at.
        !pip::is_for(&step.params)
            && !dnf::is_for(&step.params)
            && read_params::<Params>(&step.params).is_ok_and(|params| params.own().is_none())
    }

    fn observe(&self, _target: &Asset, params: &Value) -> Result<Observation, ActionError> {
        if pip::is_for(params) {
            return self.pip().observed(&read_params(params)?);
        }
        if dnf::is_for(params) {
            return self.dnf().observed(&read_params(params)?);
        }
        let params: Params = read_params(params)?;
        projection::read(self.host(), &params.keys())?.observation()
    }

    fn plan(&self, _target: &Asset, requests: &[StepRequest]) -> Result<PlanAnswer, ActionError> {
        self.planned(requests)
    }

    fn apply(&self, _target: &Asset, step: &PlannedStep, run: &mut dyn Run) -> Result<Applied, ActionError> {
        if pip::is_for(&step.params) {
            return self.pip().applied(step, run);
        }
        if dnf::is_for(&step.params) {
            return self.dnf().applied(step, run);
        }
        self.applied(step, run)
    }

    fn verify(&self, _target: &Asset, step: &PlannedStep) -> Result<Verification, ActionError> {
        if pip::is_for(&step.params) {
            return self.pip().verified(&read_params(&step.params)?);
        }
        if dnf::is_for(&step.params) {
            return self.dnf().verified(&read_params(&step.params)?);
        }
        self.verified(&read_params(&step.params)?)
    }

    fn undo(
        &self,
        _target: &Asset,
        step: &PlannedStep,
        items: &[ItemId],
        run: &mut dyn Run,
    ) -> Result<Applied, ActionError> {
        if pip::is_for(&step.params) {
            return self.pip().undone(&read_params(&step.params)?, items, run);
        }
        if dnf::is_for(&step.params) {
            return self.dnf().undone(&read_params(&step.params)?, items, run);
        }
        self.undone(&read_params(&step.params)?, items, run)
    }
}

/// Whether the packages of this host are rpm's.
pub(crate) fn is_of_rpm() -> bool {
    dnf::rpm::manages(Path::new("/"))
}

/// The names of the packages that were built from these sources, on a host of rpm.
pub(crate) fn built_by_rpm(host: &dyn Programs, sources: &BTreeSet<String>) -> Result<BTreeSet<String>, ActionError> {
    Ok(dnf::rpm::read(host)?.built_from(sources))
}

fn failed(error: impl std::error::Error + Send + Sync + 'static, what: &str) -> ActionError {
    ActionError::caused(what, error)
}
