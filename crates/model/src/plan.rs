//! Plans: exactly what will be done, to what, and how it would be taken back. Immutable; the hash is what a person
//! approves.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical::{CanonicalError, Digest, digest};
use crate::id::{AssetId, ItemId};
use crate::merkle;
use crate::terms::Terms;

/// What it takes to have the before-state back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reversibility {
    /// The declared projection comes back.
    Restorable,
    /// Ends by itself.
    Timed,
    /// There is nothing to restore.
    Transient,
    /// Cannot be taken back.
    OneWay,
}

/// What those who use the target notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disruption {
    /// Nothing.
    None,
    /// Services restart.
    Restart,
    /// Sessions are lost.
    SessionLoss,
    /// The target is away for a while.
    Outage,
}

/// What becomes, by the plan, of a service that stays as it is although a change concerns it: a person has to see to it.
pub const LEFT_ALONE: &str = "unchanged";

/// One line of the difference a step makes, for a person to read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    /// What changes: `openssl:amd64`, `ssh.service`.
    pub subject: String,
    /// What it is now; absent when it comes into being.
    pub before: Option<String>,
    /// What it will be; absent when it goes.
    pub after: Option<String>,
    /// Anything a person should know of this line.
    pub note: Option<String>,
}

/// One step on one target: an action with everything it needs, nothing left to choose when it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// The action's name, `package.upgrade`.
    pub action: String,
    /// Its parameters, valid against the action's schema; integers only, no floats.
    pub params: Value,
    /// Digest of the projection this step expects to find.
    pub before: Digest,
    /// The exact difference. Empty when already compliant.
    pub changes: Vec<Change>,
    /// Whether it can be taken back, decided for this very step.
    pub reversibility: Reversibility,
    /// Why it is in that class, or what undo would do.
    pub undo: String,
    /// What users of the target notice.
    pub disruption: Disruption,
}

/// All steps due on one asset in one window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaf {
    /// The target.
    pub asset: AssetId,
    /// The items it closes, in order.
    pub items: Vec<ItemId>,
    /// The steps, in the order they run.
    pub steps: Vec<PlannedStep>,
}

impl Leaf {
    /// The leaf's hash.
    ///
    /// # Errors
    /// When a parameter has no canonical form.
    pub fn hash(&self) -> Result<Digest, CanonicalError> {
        digest("stanch/leaf/v1", self)
    }
}

/// One ring of targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    /// Its targets, in order.
    pub assets: Vec<AssetId>,
    /// How long health is watched after it is verified, in seconds.
    pub bake_seconds: u32,
}

/// What a rollout may not exceed. There is always a limit: the default is the strictest that still works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Targets being changed at once.
    pub concurrent: u32,
    /// Targets begun in any one clock hour.
    pub per_hour: u32,
    /// Of the environment's targets, how many percent may be disrupted at once; never less than one target.
    pub disrupted_percent: u8,
    /// Attempts per asset, action and item.
    pub max_attempts: u32,
    /// Seconds between two attempts.
    pub cooldown_seconds: u32,
}

impl Limits {
    /// The stricter of both, field by field.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            concurrent: self.concurrent.min(other.concurrent),
            per_hour: self.per_hour.min(other.per_hour),
            disrupted_percent: self.disrupted_percent.min(other.disrupted_percent),
            max_attempts: self.max_attempts.min(other.max_attempts),
            cooldown_seconds: self.cooldown_seconds.max(other.cooldown_seconds),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { concurrent: 1, per_hour: 20, disrupted_percent: 5, max_attempts: 2, cooldown_seconds: 6 * 3600 }
    }
}

/// A rule that a plan rests on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RuleRef {
    /// `policy/rule`.
    pub rule: String,
    /// Digest of what it says: another edition of the same rule is another rule.
    pub digest: Digest,
}

impl RuleRef {
    /// The policy it stands in.
    pub fn policy(&self) -> &str {
        self.rule.split_once('/').map_or(self.rule.as_str(), |(policy, _)| policy)
    }
}

/// An immutable plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// One leaf a target, in the order of the assets' ids.
    pub leaves: Vec<Leaf>,
    /// The rings; every leaf's asset stands in exactly one.
    pub waves: Vec<Wave>,
    /// What it is bound to: who must agree, when it may run, how far and how fast it goes, who is asked afterwards.
    pub terms: Terms,
    /// The rules that asked for it; none when a person did.
    pub rules: BTreeSet<RuleRef>,
    /// After this it may not start.
    pub valid_until: Timestamp,
}

/// The proof that a leaf is one of a plan's (RFC 9162 section 2.1.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafProof {
    /// Its place.
    pub index: u64,
    /// How many leaves there are.
    pub size: u64,
    /// What leads from it to the root.
    pub path: Vec<Digest>,
}

impl LeafProof {
    /// Whether it leads from this leaf to this root.
    pub fn leads(&self, leaf: &Digest, root: &Digest) -> bool {
        merkle::verify_inclusion(leaf, self.index, self.size, &self.path, root)
    }
}

impl Plan {
    /// The plan's hash: the Merkle root of its leaves with waves, terms, rules and validity. This is what is approved.
    ///
    /// # Errors
    /// When a parameter has no canonical form.
    pub fn hash(&self) -> Result<Digest, CanonicalError> {
        digest("stanch/plan/v2", &(self.leaves_root()?, &self.waves, &self.terms, &self.rules, &self.valid_until))
    }

    /// The proof that the leaf of an asset is one of its leaves; `None` if it has no such leaf.
    ///
    /// # Errors
    /// When a parameter has no canonical form.
    pub fn proof(&self, asset: &AssetId) -> Result<Option<LeafProof>, CanonicalError> {
        let Ok(at) = self.leaves.binary_search_by(|leaf| leaf.asset.cmp(asset)) else { return Ok(None) };
        let leaves = self.leaf_hashes()?;
        let count = |number| u64::try_from(number).unwrap_or(u64::MAX);
        let path = merkle::inclusion_proof(&leaves, at);
        Ok(path.map(|path| LeafProof { index: count(at), size: count(leaves.len()), path }))
    }

    /// The Merkle root over its leaves.
    ///
    /// # Errors
    /// When a parameter has no canonical form.
    pub fn leaves_root(&self) -> Result<Digest, CanonicalError> {
        Ok(merkle::root(&self.leaf_hashes()?))
    }

    fn leaf_hashes(&self) -> Result<Vec<Digest>, CanonicalError> {
        self.leaves.iter().map(Leaf::hash).collect()
    }

    /// The leaf of an asset.
    pub fn leaf(&self, asset: &AssetId) -> Option<&Leaf> {
        self.leaves.binary_search_by(|leaf| leaf.asset.cmp(asset)).ok().and_then(|at| self.leaves.get(at))
    }

    /// The policies whose rules asked for it.
    pub fn policies(&self) -> BTreeSet<&str> {
        self.rules.iter().map(RuleRef::policy).collect()
    }
}

/// The key under which one step starts at most once: H(plan, step, asset, epoch). `attempt` tells an operator's new
/// attempt at the same plan from a repetition of the old one.
pub fn step_key(plan: &Digest, step: u32, asset: &AssetId, epoch: u64, attempt: u32) -> Digest {
    // Integers, texts and digests always have a canonical form.
    digest("stanch/step-key/v1", &(plan, step, asset, epoch, attempt)).unwrap_or(Digest::from_bytes([0; 32]))
}
