//! Versions: what the first waves proved is what the later ones get. A leaf that would bring anything else has been
//! proven by nobody, and is planned again.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stanch_model::plan::Leaf;

use super::{Machine, Task};
use crate::plan::Replan;

/// One version of something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pin {
    /// The version.
    pub version: String,
    /// The digest of what is installed, where it is known: the same version may be built twice.
    pub digest: Option<String>,
}

impl Pin {
    /// Whether the other is the same, as far as is known.
    fn is(&self, other: &Self) -> bool {
        let differ = |(a, b): (&String, &String)| a != b;
        self.version == other.version && !self.digest.as_ref().zip(other.digest.as_ref()).is_some_and(differ)
    }
}

/// The versions a leaf would bring: every entry of a step's `packages` with a name and the version it goes to.
pub(super) fn of(leaf: &Leaf) -> BTreeMap<String, Pin> {
    let mut pins = BTreeMap::new();
    for step in &leaf.steps {
        let packages = step.params.get("packages").and_then(Value::as_array);
        for package in packages.into_iter().flatten() {
            let text = |name: &str| package.get(name).and_then(Value::as_str).map(str::to_owned);
            let (Some(name), Some(version)) = (text("name"), text("to")) else { continue };
            let subject = text("arch").map_or_else(|| name.clone(), |arch| format!("{name}:{arch}"));
            pins.insert(subject, Pin { version, digest: text("sha256") });
        }
    }
    pins
}

impl Machine {
    /// Adds what a task proved.
    pub(super) fn proves(&mut self, at: usize) {
        let Some(task) = self.rollout.tasks.get(at) else { return };
        for (subject, pin) in task.versions.clone() {
            self.rollout.proven.entry(subject).or_default().insert(pin);
        }
    }

    /// What a task of a later wave would bring that was not proven. What no wave before brought at all is no other
    /// version.
    pub(super) fn unproven(&self, task: &Task) -> Option<Replan> {
        if task.wave == 0 {
            return None;
        }
        task.versions.iter().find_map(|(subject, pin)| {
            let proven: &BTreeSet<Pin> = self.rollout.proven.get(subject)?;
            let known = proven.iter().any(|known| known.is(pin));
            (!known).then(|| Replan::OtherVersion {
                subject: subject.clone(),
                version: pin.version.clone(),
                proven: proven.iter().map(|pin| pin.version.clone()).collect(),
            })
        })
    }
}
