//! A package that is on offer in newer and newer versions, and hosts whose upgrades to it are doubles: for proofs about
//! servers, where what happens on a host is only to be counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use stanch_action::{
    Action, ActionError, Applied, Definition, Idempotency, Observation, Place, PlanAnswer, Run, Verification,
};
use stanch_model::Timestamp;
use stanch_model::asset::Asset;
use stanch_model::facts::{Candidate, HostFacts, KernelFacts, Known, Origin, OsRelease, Package};
use stanch_model::id::ItemId;
use stanch_model::order::{Check, CheckOutcome, StepRequest};
use stanch_model::plan::{Change, Disruption, PlannedStep, Reversibility};

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is on offer for all hosts, and what was done on them.
#[derive(Debug, Default)]
pub struct Shop {
    /// The package.
    package: String,
    /// What every host has before anything was done.
    first: String,
    /// Whether what is on offer fails on each host that takes it.
    bad: bool,
    /// Whether hosts say that they took what they did not.
    lies: bool,
    offered: Mutex<String>,
    /// How long an upgrade takes.
    work: Duration,
    /// Versions by host.
    installed: Mutex<BTreeMap<usize, String>>,
    /// Every upgrade that changed something.
    log: Mutex<Vec<(usize, String)>>,
    at_work: AtomicUsize,
    most: AtomicUsize,
}

impl Shop {
    /// One whose upgrades of `paperclip` take so long.
    pub fn new(work: Duration) -> Self {
        Self::selling("paperclip", "3.0.0-1", work)
    }

    /// One that sells a package, which every host has in this version already.
    pub fn selling(package: &str, first: &str, work: Duration) -> Self {
        Self { package: package.to_owned(), first: first.to_owned(), work, ..Self::default() }
    }

    /// What it sells fails on each host that takes it.
    #[must_use]
    pub fn bad(mut self) -> Self {
        self.bad = true;
        self
    }

    /// Its customers say that they took what is on offer, and did not.
    #[must_use]
    pub fn lying(mut self) -> Self {
        self.lies = true;
        self
    }

    /// Another version is on offer for all hosts.
    pub fn offer(&self, version: &str) {
        version.clone_into(&mut locked(&self.offered));
    }

    /// The most hosts that were at work at once.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// Every upgrade that changed something, in its order.
    pub fn done(&self) -> Vec<(usize, String)> {
        locked(&self.log).clone()
    }

    /// Those that came again.
    pub fn twice(&self) -> Vec<(usize, String)> {
        let mut seen = BTreeSet::new();
        self.done().into_iter().filter(|one| !seen.insert(one.clone())).collect()
    }

    /// What a host has.
    pub fn version(&self, host: usize) -> String {
        locked(&self.installed).get(&host).cloned().unwrap_or_else(|| self.first.clone())
    }
}

/// The double of `package.upgrade`, or of the restart that follows it and never has anything to do.
#[derive(Debug)]
pub struct Double {
    host: usize,
    shop: Arc<Shop>,
    definition: Definition,
}

impl Double {
    /// The double of an action on a host.
    pub fn new(name: &'static str, host: usize, shop: &Arc<Shop>) -> Self {
        let definition = Definition {
            name,
            summary: "a double",
            technique: "D3-SU",
            request_schema: || json!({}),
            params_schema: || json!({}),
            idempotency: Idempotency::Keyed,
            reversibility: Reversibility::Restorable,
            disruption: Disruption::None,
            closes_exposure: true,
            safe_points: &["captured", "set"],
            place: Place::Host,
            rehearses: false,
        };
        Self { host, shop: Arc::clone(shop), definition }
    }

    fn seen(&self) -> Observation {
        Observation { projection: json!({ "version": self.shop.version(self.host) }) }
    }

    fn wanted(step: &PlannedStep) -> Result<String, ActionError> {
        let text = step.params.get("version").and_then(Value::as_str);
        text.map(str::to_owned).ok_or_else(|| ActionError::BadParameters { message: "no version".to_owned() })
    }

    fn check(&self, wanted: &str) -> Check {
        let is = self.shop.lies || self.shop.version(self.host) == wanted;
        let outcome = if is { CheckOutcome::Successful } else { CheckOutcome::Failed };
        Check { name: "dpkg-version".to_owned(), outcome, detail: format!("{wanted} is wanted") }
    }
}

impl Action for Double {
    fn definition(&self) -> &Definition {
        &self.definition
    }

    fn observe(&self, _target: &Asset, _params: &Value) -> Result<Observation, ActionError> {
        Ok(self.seen())
    }

    fn plan(&self, _target: &Asset, requests: &[StepRequest]) -> Result<PlanAnswer, ActionError> {
        let mut answer = PlanAnswer::default();
        let (now, then) = (self.shop.version(self.host), locked(&self.shop.offered).clone());
        if self.definition.name != "package.upgrade" || now == then {
            answer.compliant.extend(requests.iter().flat_map(|request| request.items.iter().cloned()));
            return Ok(answer);
        }
        let before = self.seen().digest().map_err(|error| ActionError::caused("no digest", error))?;
        answer.steps.push(PlannedStep {
            action: self.definition.name.to_owned(),
            params: json!({ "version": then }),
            before,
            changes: vec![Change {
                subject: format!("{}:amd64", self.shop.package),
                before: Some(now),
                after: Some(then),
                note: None,
            }],
            reversibility: Reversibility::Restorable,
            undo: "the version before is put back".to_owned(),
            disruption: Disruption::None,
        });
        Ok(answer)
    }

    fn apply(&self, _target: &Asset, step: &PlannedStep, run: &mut dyn Run) -> Result<Applied, ActionError> {
        let wanted = Self::wanted(step)?;
        let busy = self.shop.at_work.fetch_add(1, Ordering::SeqCst) + 1;
        self.shop.most.fetch_max(busy, Ordering::SeqCst);
        run.checkpoint("captured", json!({ "before": self.shop.version(self.host) }))?;
        // What takes a moment is the work itself; nothing waits for it.
        std::thread::sleep(self.shop.work);
        if !self.shop.lies {
            locked(&self.shop.installed).insert(self.host, wanted.clone());
            locked(&self.shop.log).push((self.host, wanted));
        }
        self.shop.at_work.fetch_sub(1, Ordering::SeqCst);
        if self.shop.bad {
            return Err(ActionError::failed("what is on offer cannot be configured"));
        }
        run.checkpoint("set", Value::Null)?;
        Ok(Applied { changed: true, changes: step.changes.clone(), after: self.seen() })
    }

    fn verify(&self, _target: &Asset, step: &PlannedStep) -> Result<Verification, ActionError> {
        Ok(Verification { checks: vec![self.check(&Self::wanted(step)?)] })
    }

    fn undo(
        &self,
        _target: &Asset,
        step: &PlannedStep,
        _items: &[ItemId],
        _run: &mut dyn Run,
    ) -> Result<Applied, ActionError> {
        let before = step.changes.first().and_then(|change| change.before.clone()).unwrap_or_default();
        locked(&self.shop.installed).insert(self.host, before);
        Ok(Applied { changed: true, changes: Vec::new(), after: self.seen() })
    }
}

/// What a host says of itself: one package, and what is on offer.
///
/// # Errors
/// When a version is none.
pub fn facts(host: usize, asset: &Asset, shop: &Shop) -> Result<HostFacts, ActionError> {
    let version = |text: &str| text.parse().map_err(|error| ActionError::caused("no version", error));
    let (now, then) = (shop.version(host), locked(&shop.offered).clone());
    let package = Package {
        name: shop.package.clone(),
        architecture: "amd64".to_owned(),
        version: version(&now)?,
        source: shop.package.clone(),
        source_version: version(&now)?,
        built_using: Vec::new(),
        hold: false,
        essential: false,
        automatic: None,
        origins: Vec::new(),
        installed_at: None,
    };
    let candidate = Candidate {
        version: version(&then)?,
        source_version: version(&then)?,
        origin: Origin {
            origin: "Debian".to_owned(),
            label: "Debian-Security".to_owned(),
            suite: "stable-security".to_owned(),
            codename: "bookworm-security".to_owned(),
            component: "main".to_owned(),
        },
        pinned_away: false,
    };
    let newer = (now != then).then(|| (shop.package.clone(), vec![candidate]));
    Ok(HostFacts {
        asset: asset.clone(),
        collected_at: Timestamp::now(),
        boot_id: Known::Known("boot".to_owned()),
        os: OsRelease {
            id: "debian".to_owned(),
            version_id: Some("12".to_owned()),
            codename: Some("bookworm".to_owned()),
            pretty_name: "Debian GNU/Linux 12 (bookworm)".to_owned(),
        },
        architecture: "amd64".to_owned(),
        packages: vec![package],
        components: Vec::new(),
        bundles: Vec::new(),
        unsearched: Vec::new(),
        broken: Vec::new(),
        candidates: Known::Known(newer.into_iter().collect()),
        indexes_at: None,
        kernel: Known::Known(KernelFacts {
            running_release: "6.1.0-50-amd64".to_owned(),
            running_version: None,
            installed: Vec::new(),
        }),
        stale: Known::Known(Vec::new()),
        sockets: Known::Known(Vec::new()),
        updaters: Vec::new(),
        health: Vec::new(),
        in_use: None,
        talks: None,
        posture: None,
        gaps: Vec::new(),
    })
}
