//! What dnf of this host says. It is asked by its own library, which is what the command `dnf` is made of: the command
//! itself prints tables for people, cut to the width of a screen.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stanch_action::ActionError;
use stanch_model::canonical::Digest;
use stanch_model::version::RpmVersion;

use crate::actions::command::{Invocation, Programs};
use crate::actions::package::Key;

const SCRIPT: &str = include_str!("ask.py");

/// The Python that dnf itself runs on: where a distribution keeps one apart for its own programs, that one.
const PLATFORM: &str = "/usr/libexec/platform-python";
const PYTHON: &str = "/usr/bin/python3";

/// dnf may have to fetch what its repositories list, and packages.
const PATIENCE: Duration = Duration::from_secs(1800);

/// One package in one version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Exact {
    pub(super) name: String,
    pub(super) arch: String,
    pub(super) evr: String,
    /// The digest it has to have, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sha256: Option<Digest>,
}

/// What is asked at once: dnf takes its time to open its repositories.
#[derive(Debug, Default, Serialize)]
pub(super) struct Question {
    /// Of which packages all versions are wanted.
    pub(super) names: BTreeSet<String>,
    /// Upgrades to be tried, each for itself.
    pub(super) goals: Vec<Vec<Exact>>,
    /// What is to be downloaded.
    pub(super) fetch: Vec<Exact>,
}

/// A package of which dnf tells.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Offer {
    pub(super) name: String,
    pub(super) arch: String,
    pub(super) evr: String,
    pub(super) source: String,
    pub(super) repository: String,
    pub(super) sha256: Option<Digest>,
    /// The host's own exclusions or locks keep it away.
    #[serde(default)]
    pub(super) hidden: bool,
    /// What would be done with it, in a goal.
    #[serde(default)]
    pub(super) action: String,
    /// Where it was downloaded to.
    #[serde(default)]
    pub(super) path: Option<PathBuf>,
}

impl Offer {
    pub(super) fn key(&self) -> Key {
        Key { name: self.name.clone(), arch: self.arch.clone() }
    }

    /// Its version, if it is one.
    pub(super) fn version(&self) -> Option<RpmVersion> {
        self.evr.parse().ok()
    }

    pub(super) fn exact(&self) -> Exact {
        Exact { name: self.name.clone(), arch: self.arch.clone(), evr: self.evr.clone(), sha256: self.sha256 }
    }
}

/// What a goal came to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Goal {
    /// All that would be done.
    Items(Vec<Offer>),
    /// Why it cannot be.
    Error(String),
}

/// All that dnf said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Answer {
    #[serde(default)]
    pub(super) offers: Vec<Offer>,
    #[serde(default)]
    pub(super) goals: Vec<Goal>,
    #[serde(default)]
    pub(super) fetched: Vec<Offer>,
    /// Repositories whose packages the host's own configuration does not check.
    #[serde(default)]
    pub(super) unchecked: BTreeSet<String>,
    /// Installed packages of which dnf keeps several versions, such as kernels.
    #[serde(default)]
    pub(super) side_by_side: BTreeSet<String>,
}

/// Asks.
pub(super) fn ask(host: &dyn Programs, question: &Question) -> Result<Answer, ActionError> {
    let feed = serde_json::to_vec(question).map_err(|e| ActionError::caused("cannot write what dnf is asked", e))?;
    let python = if Path::new(PLATFORM).is_file() { PLATFORM } else { PYTHON };
    let invocation = Invocation::reading(python, ["-I", "-c", SCRIPT]).fed(feed).within(PATIENCE);
    let output = host.run(&invocation).map_err(|e| ActionError::caused("dnf gave no answer", e))?;
    let complaint = output.complaint();
    let answer = serde_json::from_slice(&output.stdout).ok().filter(|_| output.ok());
    answer.ok_or_else(|| {
        ActionError::failed(format!("dnf gave no answer that can be read: {complaint}"))
            .with_hint("`dnf makecache` shows whether its repositories can be reached")
    })
}
