//! Upgrades of Stanch's own packages: each alone, only with the word of whoever released it, and with a way back that
//! does not rest on the new version.

use std::path::Path;

use stanch_action::{ActionError, Run};
use stanch_model::own::is_own;
use stanch_model::plan::{PlannedStep, Reversibility};

use super::apply::state;
use super::capture::{Captured, Deb};
use super::params::{Params, Planned};
use super::plan::Objection;
use super::{PackageUpgrade, digest_of, failed, point};
use crate::actions::command::{Invocation, Output};
use crate::actions::{log, read_params};
use crate::own::release;
use crate::own::restore::{RestoreError, Upgrade};

fn refused(error: &RestoreError) -> ActionError {
    let mut message = format!("nothing could bring the version before back: {error}");
    if let Some(cause) = std::error::Error::source(error) {
        message = format!("{message}: {cause}");
    }
    ActionError::refused(message)
        .with_hint("Stanch upgrades its own packages only under systemd, where the package stanch-agent is installed")
}

impl PackageUpgrade {
    /// What speaks against an upgrade of a package of our own, before anything is fetched.
    pub(super) fn objects_own(&self, step: &PlannedStep) -> Result<Option<Objection>, ActionError> {
        let params: Params = read_params(&step.params)?;
        let Some(own) = params.own() else { return Ok(None) };
        if step.reversibility != Reversibility::Restorable {
            let why = format!("nothing could bring the version before back: {}", step.undo);
            return Ok(Some(Objection::new(why).with_hint("upgrade it by hand")));
        }
        if let Err(error) = release::keys(&self.share, &own.name) {
            return Ok(Some(Objection::new(error.to_string()).with_hint(error.remedy())));
        }
        let failed_here = self.places.was_restored(&own.name, own.to.as_str());
        if failed_here.map_err(|e| failed(e, "what was restored here does not read"))? {
            let why = format!("{} {} was here already and did not prove itself", own.name, own.to);
            return Ok(Some(
                Objection::new(why).with_hint("look at its log on this host; a newer version may be tried"),
            ));
        }
        Ok(None)
    }

    /// Whether a step may change a package of our own, whatever the order says.
    pub(super) fn permit_own(&self, params: &Params) -> Result<(), ActionError> {
        let Some(own) = params.own() else { return Ok(()) };
        if params.packages.len() != 1 || own.new {
            return Err(ActionError::refused("Stanch's own packages are upgraded alone, and never installed anew"));
        }
        release::keys(&self.share, &own.name)
            .map_err(|error| ActionError::refused(error.to_string()).with_hint(error.remedy()))?;
        // Entered again after the version before was brought back, it must not begin anew.
        let restored = self.places.was_restored(&own.name, own.to.as_str());
        if restored.map_err(|e| failed(e, "what was restored here does not read"))? {
            return Err(ActionError::failed(format!(
                "{} {} did not prove itself in time, and the version before was brought back",
                own.name, own.to
            ))
            .with_hint(format!("journalctl -u {} shows what it said", own.name)));
        }
        Ok(())
    }

    /// Whether the release key vouches for every package of our own among these, byte for byte as they lie in the vault.
    pub(super) fn released(&self, params: &Params, vault: &Path, debs: &[Deb]) -> Result<(), ActionError> {
        if params.own().is_none() {
            return Ok(());
        }
        for deb in debs.iter().filter(|deb| is_own(&deb.package.name)) {
            release::keys(&self.share, &deb.package.name)
                .and_then(|keys| release::check(&vault.join(&deb.file), &keys))
                .map_err(|error| ActionError::refused(error.to_string()).with_hint(error.remedy()))?;
        }
        Ok(())
    }

    /// Installs exactly the file that was checked, after the way back is laid. apt would take what its index says by now.
    pub(super) fn install_own(&self, own: &Planned, params: &Params, run: &mut dyn Run) -> Result<Output, ActionError> {
        let lost = || ActionError::failed(format!("the journal has lost the packages of {}", own.name));
        let vault = run.vault()?;
        let captured: Captured = state(run.reached(), point::CAPTURED)?.ok_or_else(lost)?;
        let fetched: Vec<Deb> = state(run.reached(), point::FETCHED)?.ok_or_else(lost)?;
        let of = |debs: &[Deb]| debs.iter().find(|deb| deb.package == own.key()).cloned();
        let (old, new) = (of(&captured.debs).ok_or_else(lost)?, of(&fetched).ok_or_else(lost)?);
        self.released(params, &vault, std::slice::from_ref(&new))?;
        let file = vault.join(&new.file);
        let digest = digest_of(&file).map_err(|e| failed(e, "the kept package cannot be read"))?;
        if digest != new.sha256 {
            return Err(ActionError::refused(format!("{} was changed since it was fetched", file.display())));
        }
        let rules = self.rules.current()?;
        let upgrade = Upgrade {
            package: &own.name,
            from: old.version.as_str(),
            to: own.to.as_str(),
            deb: &vault.join(&old.file),
            sha256: old.sha256,
            limit_seconds: rules.prove_within_seconds,
            health: &rules.server_health,
        };
        run.progress("keeping the version before, to bring it back if the new one does not prove itself");
        self.places.arm(self.host(), &upgrade).map_err(|error| refused(&error))?;
        let options = ["--install", "--force-confdef", "--force-confold", "--refuse-downgrade"];
        let args = options.iter().map(AsRef::as_ref).chain([file.as_os_str()]);
        self.wait_for_others(params.lock_timeout_seconds, run)?;
        self.change("dpkg --install", &Invocation::changing("dpkg", args, log(run)?), run)
    }
}
