//! What Stanch may do to a host: the catalogue of host actions.
//!
//! Each acts on the root it sees as `/`, through programs that the host has, and only on the contract of
//! [`stanch_action::Action`].

mod command;
pub mod config;
#[cfg(test)]
pub(crate) mod doubles;
pub(crate) mod health;
pub mod package;
pub mod reboot;
pub mod script;
pub mod service;
pub(crate) mod sessions;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::civil::DateTime;

use serde::de::DeserializeOwned;
use serde_json::Value;
use stanch_action::{ActionError, Catalogue, Run};
use stanch_model::order::{Check, CheckOutcome, StepRequest};

pub use command::{CommandError, Host, Invocation, Output, Programs};

use crate::rules::Rules;

/// All actions of this host, under these rules.
pub fn catalogue(rules: &Rules) -> Catalogue {
    catalogue_on(&(Arc::new(Host::default()) as Arc<dyn Programs>), rules)
}

/// All actions, with programs that the caller brings.
pub fn catalogue_on(host: &Arc<dyn Programs>, rules: &Rules) -> Catalogue {
    Catalogue::new()
        .with(Box::new(package::PackageUpgrade::new(Arc::clone(host), rules.clone())))
        .with(Box::new(service::ServiceRestart::new(Arc::clone(host), rules.clone())))
        .with(Box::new(reboot::HostReboot::new(Arc::clone(host), rules.clone())))
        .with(Box::new(script::ScriptRun::new(Arc::clone(host), rules.clone())))
        .with(Box::new(config::ConfigSet::new(Arc::clone(host), rules.clone())))
}

fn read_params<T: DeserializeOwned>(params: &Value) -> Result<T, ActionError> {
    T::deserialize(params).map_err(|e| ActionError::BadParameters { message: format!("the parameters: {e}") })
}

fn read_request<T: DeserializeOwned>(request: &StepRequest) -> Result<T, ActionError> {
    T::deserialize(&request.want)
        .map_err(|e| ActionError::BadParameters { message: format!("what is wanted of {}: {e}", request.action) })
}

/// Makes a safe point durable and stops there if that is asked for.
fn reach(run: &mut dyn Run, point: &str, state: Value) -> Result<(), ActionError> {
    match run.checkpoint(point, state)? {
        None => Ok(()),
        Some(_) => Err(ActionError::Stopped { at: point.to_owned() }),
    }
}

/// The host's local time, in which the executor's rules speak.
fn now() -> DateTime {
    jiff::ZonedDateTime::now().datetime()
}

pub(crate) fn check(name: &str, outcome: CheckOutcome, detail: String) -> Check {
    Check { name: name.to_owned(), outcome, detail }
}

pub(crate) fn make_folder(folder: &Path, mode: u32) -> Result<(), ActionError> {
    let cannot = |e| ActionError::caused(format!("cannot make {}", folder.display()), e);
    fs::create_dir_all(folder).map_err(cannot)?;
    fs::set_permissions(folder, Permissions::from_mode(mode)).map_err(cannot)
}

/// The next file for a program's output.
fn log(run: &dyn Run) -> Result<PathBuf, ActionError> {
    let folder = run.vault()?.join("output");
    make_folder(&folder, 0o700)?;
    let count = fs::read_dir(&folder).map(|entries| entries.count()).unwrap_or(0);
    Ok(folder.join(format!("{count:04}.log")))
}
