//! What Stanch may do to a host: the catalogue of host actions.
//!
//! Each acts on the root it sees as `/`, through programs that the host has, and only on the contract of
//! [`stanch_action::Action`].

mod command;
pub mod package;

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;
use stanch_action::{ActionError, Catalogue, Run};
use stanch_model::order::StepRequest;

pub use command::{CommandError, Host, Invocation, Output, Programs};

use crate::rules::Rules;

/// All actions of this host, under these rules.
pub fn catalogue(rules: &Rules) -> Catalogue {
    catalogue_on(&(Arc::new(Host::default()) as Arc<dyn Programs>), rules)
}

/// All actions, with programs that the caller brings.
pub fn catalogue_on(host: &Arc<dyn Programs>, rules: &Rules) -> Catalogue {
    Catalogue::new().with(Box::new(package::PackageUpgrade::new(Arc::clone(host), rules.clone())))
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
