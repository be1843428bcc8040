//! Upgrades of Stanch's own packages: each alone, only with the word of whoever released it, and with a way back that
//! does not rest on the new version.

use std::path::Path;
use std::time::{Duration, Instant};

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
    ActionError::refused(message).with_hint(error.remedy())
}

/// Whether dpkg did nothing because another package manager came first.
fn came_second(output: &Output) -> bool {
    !output.ok() && output.text().contains("lock was locked by another process")
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
        let failed_here = self.places.has_failed(&own.name, own.to.as_str());
        if failed_here.map_err(|e| failed(e, "the list of versions that failed here does not read"))? {
            let why = format!("{} {} was here already and did not prove itself", own.name, own.to);
            let hint = format!(
                "look at its log on this host; a newer version may be tried, and this one after `stanch-agent failed \
                 --forget {}={}` there",
                own.name, own.to
            );
            return Ok(Some(Objection::new(why).with_hint(hint)));
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
        let failed_here = self.places.has_failed(&own.name, own.to.as_str());
        if failed_here.map_err(|e| failed(e, "the list of versions that failed here does not read"))? {
            return Err(ActionError::failed(format!(
                "{} {} did not prove itself here, and no order installs it again",
                own.name, own.to
            ))
            .with_hint(format!(
                "journalctl -u {} shows what it said; `stanch-agent failed --forget {}={}` there lets it be tried again",
                own.name, own.name, own.to
            )));
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
        let deadline = Instant::now() + Duration::from_secs(params.lock_timeout_seconds.into());
        loop {
            // Armed once nobody else is at work, or the new version would be judged before it can come.
            self.wait_for_others(params.lock_timeout_seconds, run)?;
            run.progress("keeping the version before, to bring it back if the new one does not prove itself");
            self.places.arm(self.host(), &upgrade).map_err(|error| refused(&error))?;
            let options = ["--install", "--force-confdef", "--force-confold", "--refuse-downgrade"];
            let args = options.iter().map(AsRef::as_ref).chain([file.as_os_str()]);
            let output = self.change("dpkg --install", &Invocation::changing("dpkg", args, log(run)?), run)?;
            if came_second(&output) && Instant::now() < deadline {
                continue;
            }
            if !output.ok() {
                let disarmed = self.places.disarm(self.host(), &own.name);
                disarmed.map_err(|e| failed(e, "the watch over the new version cannot be ended"))?;
            }
            return Ok(output);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::{Arc, Mutex};

    use minisign::KeyPair;
    use serde_json::json;
    use stanch_model::canonical::Digest;
    use stanch_model::own::AGENT;

    use super::*;
    use crate::actions::doubles::Notes;
    use crate::actions::package::params::Conffiles;
    use crate::actions::package::projection::Projection;
    use crate::actions::{CommandError, Programs};
    use crate::own::restore::Places;
    use crate::rules::Rules;

    /// A host where another package manager is quicker so many times, and dpkg then answers with this code.
    struct Host {
        quicker: Mutex<u32>,
        code: i32,
        calls: Mutex<Vec<String>>,
    }

    impl Programs for Host {
        fn run(&self, invocation: &Invocation) -> Result<Output, CommandError> {
            self.calls.lock().unwrap().push(invocation.shown());
            let answer = |code, text: &str| Output { code: Some(code), stdout: text.into(), stderr: Vec::new() };
            let mut quicker = self.quicker.lock().unwrap();
            Ok(match invocation.program {
                "dpkg-query" => answer(0, "install installed ok 1"),
                "dpkg" if *quicker > 0 => {
                    *quicker -= 1;
                    answer(2, "dpkg: error: dpkg frontend lock was locked by another process with pid 1")
                }
                "dpkg" => answer(self.code, "dpkg: error: no room"),
                _ => answer(0, ""),
            })
        }

        fn has(&self, _program: &str) -> bool {
            true
        }
    }

    /// A .deb that this key has signed.
    fn signed(by: &KeyPair, content: &[u8]) -> Vec<u8> {
        let mut bytes = b"!<arch>\n".to_vec();
        let member = |bytes: &mut Vec<u8>, name: &str, content: &[u8]| {
            bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len()).bytes());
            bytes.extend(content);
            bytes.resize(bytes.len() + content.len() % 2, b'\n');
        };
        member(&mut bytes, "debian-binary", content);
        let signature = minisign::sign(Some(&by.pk), &by.sk, bytes.as_slice(), None, None).unwrap();
        member(&mut bytes, "_stanch-release", signature.into_string().as_bytes());
        bytes
    }

    struct Place {
        folder: tempfile::TempDir,
        host: Arc<Host>,
        action: PackageUpgrade,
        run: Notes,
    }

    impl Place {
        fn new(quicker: u32, code: i32) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            for made in ["share/stanch-agent", "units", "proc/sys/kernel/random", "dpkg", "restore"] {
                fs::create_dir_all(at(made)).unwrap();
            }
            fs::write(at("agent"), "program 1").unwrap();
            let key = KeyPair::generate_unencrypted_keypair().unwrap();
            fs::write(at("share/stanch-agent/release.pub"), key.pk.to_base64()).unwrap();
            let host = Arc::new(Host { quicker: Mutex::new(quicker), code, calls: Mutex::default() });
            let places = Places {
                folder: at("restore"),
                keeper: at("keeper"),
                program: at("agent"),
                server: at("server"),
                units: at("units"),
                proc: at("proc"),
                dpkg: at("dpkg"),
            };
            let action = PackageUpgrade::new(Arc::clone(&host) as Arc<dyn Programs>, Rules::default());
            let action = PackageUpgrade { share: at("share"), places, ..action };
            let mut run = Notes::new();
            let deb = |file: &str, version: &str| {
                let bytes = signed(&key, version.as_bytes());
                fs::write(run.folder.path().join(file), &bytes).unwrap();
                json!({"package": {"name": AGENT, "arch": "amd64"}, "version": version, "file": file,
                    "sha256": Digest::of_bytes(&bytes)})
            };
            let captured = json!({"before": Projection::default(), "debs": [deb("old.deb", "1")], "conffiles": [],
                "leftovers": []});
            let fetched = json!([deb("new.deb", "2")]);
            run.checkpoint(point::CAPTURED, captured).unwrap();
            run.checkpoint(point::FETCHED, fetched).unwrap();
            Self { folder, host, action, run }
        }

        fn params() -> Params {
            let planned = Planned {
                name: AGENT.to_owned(),
                arch: "amd64".to_owned(),
                from: Some("1".parse().unwrap()),
                to: "2".parse().unwrap(),
                source: AGENT.to_owned(),
                source_version: None,
                items: Vec::new(),
                new: false,
                config_kept: false,
                sha256: None,
            };
            Params {
                packages: vec![planned],
                conffiles: Conffiles::Keep,
                lock_timeout_seconds: 30,
                before: Projection::default(),
            }
        }

        fn install(&mut self) -> Output {
            let params = Self::params();
            self.action.install_own(&params.packages[0], &params, &mut self.run).unwrap()
        }

        fn is_watched(&self) -> bool {
            self.folder.path().join("restore/stanch-agent/watch.json").exists()
        }
    }

    #[test]
    fn whoever_was_quicker_is_waited_for_and_the_watch_is_laid_anew() {
        let mut place = Place::new(2, 0);
        assert!(place.install().ok() && place.is_watched());
        let calls = place.host.calls.lock().unwrap().clone();
        let told: Vec<&str> = calls
            .iter()
            .filter_map(|call| match call.split(' ').next_back().unwrap() {
                "stanch-agent-restore.service" => Some("armed"),
                _ if call.starts_with("dpkg --install") => Some("dpkg"),
                _ => None,
            })
            .collect();
        assert_eq!(told, ["armed", "dpkg", "armed", "dpkg", "armed", "dpkg"]);
    }

    #[test]
    fn an_upgrade_that_failed_and_changed_nothing_is_not_watched_any_more() {
        let mut place = Place::new(0, 1);
        assert!(!place.install().ok());
        assert!(!place.is_watched());
    }

    #[test]
    fn no_order_installs_a_version_that_failed_here_until_a_person_lets_it() {
        let place = Place::new(0, 0);
        place.action.permit_own(&Place::params()).unwrap();
        let list = json!([{"package": AGENT, "version": "2", "at": "2026-01-01T00:00:00Z"}]);
        fs::write(place.folder.path().join("restore/failed.json"), list.to_string()).unwrap();
        let refused = place.action.permit_own(&Place::params()).unwrap_err().to_string();
        assert!(refused.contains("no order installs it again"), "{refused}");
        assert!(place.action.places.forget_failed(AGENT, "2").unwrap());
        place.action.permit_own(&Place::params()).unwrap();
    }
}
