//! What is put aside before anything changes: the packages of before and after, and the configuration files.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stanch_action::{ActionError, Run};
use stanch_model::canonical::Digest;
use stanch_model::plan::{PlannedStep, Reversibility};

use super::ask::{self, Exact, Offer, Question};
use super::params::{Params, Planned, Projection};
use super::rpm::{self, Database, spec};
use super::{Dnf, Key};
use crate::actions::command::Invocation;
use crate::actions::package::apply::value;
use crate::actions::package::capture::Kept;
use crate::actions::package::projection::{FileState, digest_of, state_of};
use crate::actions::package::{failed, point};
use crate::actions::{make_folder, reach};

/// What rpm lays beside a configuration file.
const BESIDE: [&str; 3] = ["rpmnew", "rpmsave", "rpmorig"];

/// A package in the vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Package {
    pub(super) package: Key,
    pub(super) evr: String,
    /// Its file below the vault.
    pub(super) file: String,
    pub(super) sha256: Digest,
}

impl Package {
    pub(super) fn is_intact(&self, vault: &Path) -> bool {
        digest_of(&vault.join(&self.file)).is_ok_and(|digest| digest == self.sha256)
    }
}

/// What was downloaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fetched {
    pub(super) new: Vec<Package>,
    /// What is there now, as far as it could be had.
    pub(super) old: Vec<Package>,
    /// What could not be had of that.
    lost: Vec<String>,
    /// Whether the host checks the signatures of all of them.
    pub(super) checked: bool,
}

/// All that undo needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Captured {
    /// What was so right before the change.
    pub(super) before: Projection,
    /// The configuration files of both versions, and what rpm may lay beside them, absence included.
    pub(super) configs: Vec<Kept>,
}

impl Dnf<'_> {
    /// Brings what is to be installed and what undo would need into the vault, and makes sure of the first that it is what
    /// was planned and that whoever the host trusts has signed it.
    pub(super) fn fetch(&self, params: &Params, run: &mut dyn Run) -> Result<(), ActionError> {
        run.progress("downloading");
        let vault = run.vault()?;
        let database = self.database()?;
        let after: Vec<Exact> = params.packages.iter().map(Planned::after).collect();
        let before: Vec<Exact> = params.packages.iter().filter_map(Planned::before).collect();
        let fetch = [after.clone(), before.clone()].concat();
        let told = ask::ask(self.host, &Question { fetch, ..Question::default() })?;
        let (new, lost) = self.bring(&vault, "new", &after, &told.fetched, |offer, header| {
            offer.version().is_some_and(|version| version == header.evr)
        })?;
        if !lost.is_empty() {
            return Err(ActionError::failed(format!("cannot download {} as planned", lost.join(", "))).with_hint(
                "`dnf makecache --refresh` shows whether the repositories can be reached; then plan again",
            ));
        }
        let mut checked = true;
        for package in &new {
            let of = |offer: &&Offer| offer.key() == package.package && offer.evr == package.evr;
            // Where it came from is what the host's own dnf says, whatever an order says.
            if told.fetched.iter().find(of).is_none_or(|offer| told.unchecked.contains(&offer.repository)) {
                checked = false;
                continue;
            }
            self.signed(package, &vault)?;
        }
        // A repository may carry another build under the same version.
        let (old, lost) = self.bring(&vault, "old", &before, &told.fetched, |offer, header| {
            database.only(&offer.key()).is_some_and(|installed| installed.digest == header.digest)
        })?;
        reach(run, point::FETCHED, value(&Fetched { new, old, lost, checked })?)
    }

    /// Only what a key signed that the host has imported already: a new key is a person's to trust.
    fn signed(&self, package: &Package, vault: &Path) -> Result<(), ActionError> {
        let words = ["--define", "_pkgverify_level all", "--checksig", "--"].map(std::ffi::OsStr::new);
        let file = vault.join(&package.file);
        let invocation = Invocation::reading("rpmkeys", words.into_iter().chain([file.as_os_str()]));
        let output = self.host.run(&invocation).map_err(|e| failed(e, "cannot check a signature"))?;
        if output.ok() {
            return Ok(());
        }
        let name = spec(&package.package);
        Err(ActionError::Refused {
            message: format!("{name} {} is not signed by a key that this host has imported", package.evr),
            moved: Vec::new(),
        })
    }

    /// Puts aside what undo needs.
    pub(super) fn capture(
        &self,
        step: &PlannedStep,
        params: &Params,
        fetched: &Fetched,
        run: &mut dyn Run,
    ) -> Result<(), ActionError> {
        run.progress("putting aside the packages and configuration files there are");
        let vault = run.vault()?;
        let database = self.database()?;
        if !fetched.lost.is_empty() && step.reversibility != Reversibility::OneWay {
            return Err(ActionError::refused(format!(
                "it could not be taken back any more: {} cannot be had",
                fetched.lost.join(", ")
            )));
        }
        let configs = self.configs(params, fetched, &database, &vault)?;
        let captured = Captured { before: self.projection(&params.keys())?, configs };
        reach(run, point::CAPTURED, value(&captured)?)
    }

    /// Copies what dnf downloaded into a folder of the vault, each only if it is what it shall be. Gives also what is missing.
    fn bring(
        &self,
        vault: &Path,
        folder: &str,
        wanted: &[Exact],
        fetched: &[Offer],
        fits: impl Fn(&Offer, &rpm::Header) -> bool,
    ) -> Result<(Vec<Package>, Vec<String>), ActionError> {
        make_folder(&vault.join(folder), 0o700)?;
        let (mut found, mut lost) = (Vec::new(), Vec::new());
        for (number, want) in wanted.iter().enumerate() {
            // Names of packages hold what patterns are made of; a number does not.
            let file = format!("{folder}/{number:04}.rpm");
            let target = vault.join(&file);
            let mut taken = None;
            for offer in fetched
                .iter()
                .filter(|offer| offer.name == want.name && offer.arch == want.arch && offer.evr == want.evr)
            {
                let Some(path) = &offer.path else { continue };
                let sha256 = copy(path, &target).map_err(|e| failed(e, "cannot keep a package"))?;
                let right = want.sha256.is_none_or(|expected| expected == sha256);
                let header = rpm::about(self.host, &target)?;
                if right && header.is_some_and(|(key, header)| key == offer.key() && fits(offer, &header)) {
                    taken = Some(Package { package: offer.key(), evr: want.evr.clone(), file: file.clone(), sha256 });
                    break;
                }
                fs::remove_file(&target).map_err(|e| failed(e, "cannot remove what does not fit"))?;
            }
            match taken {
                Some(package) => found.push(package),
                None => lost.push(format!("{}-{}.{}", want.name, want.evr, want.arch)),
            }
        }
        Ok((found, lost))
    }

    /// The configuration files of what is there and of what comes, each with what rpm may lay beside it.
    fn configs(
        &self,
        params: &Params,
        fetched: &Fetched,
        database: &Database,
        vault: &Path,
    ) -> Result<Vec<Kept>, ActionError> {
        make_folder(&vault.join("configs"), 0o700)?;
        let there: Vec<Key> = params.keys().into_iter().filter(|key| database.packages.contains_key(key)).collect();
        let new: Vec<PathBuf> = fetched.new.iter().map(|package| vault.join(&package.file)).collect();
        let listed = rpm::files(self.host, &there)?.into_iter().chain(rpm::files_in(self.host, &new)?);
        let files: BTreeSet<(String, Key)> =
            listed.filter(rpm::Listed::is_config).map(|file| (file.path, file.package)).collect();
        let mut kept = Vec::new();
        for (path, package) in files {
            let beside = BESIDE.map(|ending| format!("{path}.{ending}"));
            for path in std::iter::once(path).chain(beside) {
                kept.push(keep(path, &package, vault)?);
            }
        }
        Ok(kept)
    }
}

fn keep(path: String, package: &Key, vault: &Path) -> Result<Kept, ActionError> {
    let cannot = |e| ActionError::caused(format!("cannot put {path} aside"), e);
    let state = state_of(Path::new(&path)).map_err(cannot)?;
    let mut file = None;
    if let FileState::File { sha256, .. } = &state {
        let name = format!("configs/{sha256}");
        if copy(Path::new(&path), &vault.join(&name)).map_err(cannot)? != *sha256 {
            return Err(ActionError::failed(format!("{path} changes while it is put aside")));
        }
        file = Some(name);
    }
    Ok(Kept { path, package: package.clone(), state, file })
}

/// Copies a file, durably and whole or not at all; answers the digest of the copy.
fn copy(from: &Path, target: &Path) -> std::io::Result<Digest> {
    let part = target.with_extension("part");
    fs::copy(from, &part)?;
    fs::set_permissions(&part, Permissions::from_mode(0o600))?;
    File::open(&part)?.sync_all()?;
    fs::rename(&part, target)?;
    digest_of(target)
}
