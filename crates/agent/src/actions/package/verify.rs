//! What a finished upgrade looks like.

use std::collections::BTreeSet;

use stanch_action::{ActionError, Verification};
use stanch_model::order::{Check, CheckOutcome};

use super::params::Params;
use super::{PackageUpgrade, failed};
use crate::actions::check;
use crate::actions::command::Invocation;
use crate::actions::health;
use crate::actions::reboot;
use crate::actions::service::{self, running};
use crate::facts::{self, Options};
use stanch_model::facts::Known;

impl PackageUpgrade {
    pub(super) fn verified(&self, params: &Params) -> Result<Verification, ActionError> {
        let rules = self.rules.current()?;
        let names: BTreeSet<String> = params.packages.iter().map(|planned| planned.name.clone()).collect();
        let stale = running::stale(Some(&names))?;
        let mut maps = service::deleted_maps(self.host(), &rules, &stale)?;
        if maps.outcome == CheckOutcome::Failed {
            // The packages are as planned; who restarts what is the next step's business.
            maps.outcome = CheckOutcome::Inconclusive;
        }
        let mut checks = vec![self.versions(params)?, self.audit()?, maps];
        if names.iter().any(|name| name.starts_with("linux-image-")) {
            checks.push(kernel()?);
        }
        checks.extend(health::checks(self.host(), &rules));
        Ok(Verification { checks })
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

/// A new kernel on disk does not run yet: that is an item of its own, closed by a reboot, and no failure here.
fn kernel() -> Result<Check, ActionError> {
    let facts =
        facts::host(&Options::this_host().without_copies()).map_err(|e| failed(e, "cannot read which kernel runs"))?;
    let detail = match facts.kernel {
        Known::Known(kernel) => match reboot::due(&kernel) {
            Some(image) => format!("{} runs, {} waits for a reboot", kernel.running_release, image.release),
            None => format!("{} runs and is the newest", kernel.running_release),
        },
        Known::Unknown(why) => why,
    };
    Ok(check("kernel", CheckOutcome::Successful, detail))
}
