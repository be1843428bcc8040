//! What a finished upgrade looks like.

use stanch_action::{ActionError, Verification};
use stanch_model::order::{Check, CheckOutcome};

use super::params::Params;
use super::{PackageUpgrade, failed};
use crate::actions::command::Invocation;

impl PackageUpgrade {
    pub(super) fn verified(&self, params: &Params) -> Result<Verification, ActionError> {
        Ok(Verification { checks: vec![self.versions(params)?, self.audit()?] })
    }

    fn versions(&self, params: &Params) -> Result<Check, ActionError> {
        let database = self.database()?;
        let wrong: Vec<String> = params
            .packages
            .iter()
            .filter_map(|planned| {
                let key = planned.key();
                match database.packages.get(&key) {
                    // Newer than planned is not a failure of this upgrade.
                    Some(found) if found.version >= planned.to && found.whole() => None,
                    Some(found) => Some(format!("{key} is {} ({}), not {}", found.version, found.status, planned.to)),
                    None => Some(format!("{key} is not installed")),
                }
            })
            .collect();
        let outcome = if wrong.is_empty() { CheckOutcome::Successful } else { CheckOutcome::Failed };
        let detail = if wrong.is_empty() {
            format!("{} packages are at the planned version", params.packages.len())
        } else {
            wrong.join("; ")
        };
        Ok(check("dpkg-version", outcome, detail))
    }

    fn audit(&self) -> Result<Check, ActionError> {
        let output = self
            .host()
            .run(&Invocation::reading("dpkg", ["--audit"]))
            .map_err(|e| failed(e, "cannot ask dpkg for an audit"))?;
        let text = output.text();
        if output.ok() && text.trim().is_empty() {
            return Ok(check("dpkg-audit", CheckOutcome::Successful, "nothing is left half done".to_owned()));
        }
        let detail = if text.trim().is_empty() { output.complaint() } else { text.chars().take(2000).collect() };
        Ok(check("dpkg-audit", CheckOutcome::Failed, detail))
    }
}

pub(crate) fn check(name: &str, outcome: CheckOutcome, detail: String) -> Check {
    Check { name: name.to_owned(), outcome, detail }
}
