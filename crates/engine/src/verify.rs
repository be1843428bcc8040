//! Whether an act has done what it was for: the detectors again, on facts newer than the act.
//!
//! What the actor says of itself closes nothing. Its checks can fail a task or leave it open, but only the detector
//! that saw a problem can say that it is gone; and a problem that vanished while the target stayed as it was is
//! withdrawn by its feed, not fixed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_model::ecosystem;
use stanch_model::facts::HostFacts;
use stanch_model::finding::{Detector, Finding, Verdict};
use stanch_model::id::{FindingId, ItemId};
use stanch_model::item::WorkItem;
use stanch_model::order::{Check, CheckOutcome};
use stanch_model::posture::{self, Reading};
use stanch_model::version::DebVersion;

use crate::group::Index;

/// What a judgement rests on.
#[derive(Debug, Clone, Copy)]
pub struct JudgeInput<'a> {
    /// The items the task was to close.
    pub items: &'a [WorkItem],
    /// The findings as they were when the plan was made; those of other items do not matter.
    pub before: &'a [Finding],
    /// All findings of the asset on the newer facts, of every detector and verdict.
    pub after: &'a [Finding],
    /// The newer facts.
    pub facts: &'a HostFacts,
    /// What the actions' own checks and the health probe say.
    pub checks: &'a [Check],
    /// When the act ended; absent when nothing was changed.
    pub acted_at: Option<Timestamp>,
    /// Whether all feeds are known and fresh: else the host may not be called clean, though a finding may close.
    pub feeds_fresh: bool,
}

/// What became of one item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "became", rename_all = "snake_case")]
pub enum ItemVerdict {
    /// Its findings are gone because the target changed.
    Fixed,
    /// The fix is on disk; what runs is still the old code. Open work, under the items of those services.
    FixedNotRunning {
        /// What runs it.
        running: Vec<String>,
    },
    /// These findings are still there.
    StillThere {
        /// Which.
        findings: Vec<FindingId>,
    },
    /// The target changed as far as its archives go; these findings are left, and no archive it knows offers their
    /// fix. Open, but not the act's failure.
    Partly {
        /// Which.
        findings: Vec<FindingId>,
    },
    /// Its findings are gone although the target stayed as it was: the data changed. Never counted as fixed.
    Withdrawn,
    /// The problem is still there, and what was done holds it off. Open all the same.
    HeldOff,
    /// Nobody can tell.
    Unknown {
        /// Why.
        why: String,
    },
}

/// What went wrong, which decides what happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The health probe says that the target does not do its work: take it back.
    Health,
    /// A check of the action failed: a person has to look.
    Check,
    /// The detector still sees the problem: a person has to look.
    StillThere,
}

/// The judgement on one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// Successful, Inconclusive or Failed; the worst of all checks.
    pub outcome: CheckOutcome,
    /// What went wrong, if it failed.
    pub failure: Option<Failure>,
    /// All checks, the detector's last.
    pub checks: Vec<Check>,
    /// What became of each item, in the order they were given.
    pub items: Vec<(ItemId, ItemVerdict)>,
    /// When the facts it rests on were read.
    pub facts_at: Timestamp,
    /// Whether the host may be called clean, should nothing be left: only on fresh feeds.
    pub may_call_clean: bool,
}

impl Judgement {
    /// Items that may close, as fixed or withdrawn.
    pub fn closed(&self) -> impl Iterator<Item = &ItemId> {
        let closes = |verdict: &ItemVerdict| matches!(verdict, ItemVerdict::Fixed | ItemVerdict::Withdrawn);
        self.items.iter().filter(move |(_, verdict)| closes(verdict)).map(|(item, _)| item)
    }
}

/// The name of the check that is the user's own.
pub const HEALTH_PROBE: &str = "health-probe";
/// The name of the check made here.
pub const DETECTOR: &str = "detector";

/// Judges one task.
pub fn judge(input: &JudgeInput<'_>) -> Judgement {
    let mut checks = input.checks.to_vec();
    let stale = input.acted_at.is_some_and(|acted_at| input.facts.collected_at <= acted_at);
    let items: Vec<(ItemId, ItemVerdict)> = if stale {
        let why = "the facts are not newer than the act";
        checks.push(detector(CheckOutcome::Inconclusive, why.to_owned()));
        input.items.iter().map(|item| (item.id.clone(), ItemVerdict::Unknown { why: why.to_owned() })).collect()
    } else {
        let view = View::new(input);
        let items: Vec<_> = input.items.iter().map(|item| (item.id.clone(), view.item(item))).collect();
        checks.push(view.check(&items));
        items
    };
    let outcome = checks.iter().map(|check| check.outcome).max().unwrap_or(CheckOutcome::Inconclusive);
    let failed = |wanted: fn(&str) -> bool| {
        checks.iter().any(|check| check.outcome == CheckOutcome::Failed && wanted(&check.name))
    };
    let failure = if failed(|name| name == HEALTH_PROBE) {
        Some(Failure::Health)
    } else if failed(|name| name != DETECTOR) {
        Some(Failure::Check)
    } else if failed(|_| true) {
        Some(Failure::StillThere)
    } else {
        None
    };
    Judgement {
        outcome,
        failure,
        checks,
        items,
        facts_at: input.facts.collected_at,
        may_call_clean: input.feeds_fresh && outcome == CheckOutcome::Successful,
    }
}

/// Judges a task whose act does not end the problem but holds it off: nothing but its own checks can tell, and they
/// are made anew, after the act. No check says nothing.
pub fn judge_held_off(
    items: &[ItemId],
    checks: &[Check],
    checked_at: Timestamp,
    acted_at: Option<Timestamp>,
) -> Judgement {
    let mut checks = checks.to_vec();
    if acted_at.is_some_and(|acted_at| checked_at <= acted_at) {
        checks.clear();
    }
    let outcome = checks.iter().map(|check| check.outcome).max().unwrap_or(CheckOutcome::Inconclusive);
    let verdict = match outcome {
        CheckOutcome::Successful => ItemVerdict::HeldOff,
        CheckOutcome::Failed => ItemVerdict::StillThere { findings: Vec::new() },
        CheckOutcome::Inconclusive => ItemVerdict::Unknown { why: "the act's own checks could not tell".to_owned() },
    };
    Judgement {
        outcome,
        failure: (outcome == CheckOutcome::Failed).then_some(Failure::Check),
        checks,
        items: items.iter().map(|item| (item.clone(), verdict.clone())).collect(),
        facts_at: checked_at,
        may_call_clean: false,
    }
}

fn detector(outcome: CheckOutcome, detail: String) -> Check {
    Check { name: DETECTOR.to_owned(), outcome, detail }
}

/// The newer state, indexed.
struct View<'a> {
    facts: &'a HostFacts,
    before: Index<'a>,
    after: BTreeMap<&'a FindingId, &'a Finding>,
    installed: BTreeMap<&'a str, BTreeSet<&'a str>>,
    /// Source packages, and components by what their versions share, with what still runs their old files.
    running: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> View<'a> {
    fn new(input: &JudgeInput<'a>) -> Self {
        let mut installed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut sources: BTreeMap<&str, &str> = BTreeMap::new();
        for package in &input.facts.packages {
            installed.entry(&package.name).or_default().insert(package.version.as_str());
            sources.insert(&package.name, &package.source);
        }
        for component in &input.facts.components {
            installed.entry(&component.purl).or_default().insert(component.version.as_str());
            if let Some(source) = &component.source {
                sources.insert(&component.name, source);
            }
        }
        let mut running: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for process in input.facts.stale.known().into_iter().flatten() {
            if process.container.is_some() {
                continue;
            }
            let name = process.name();
            for package in process.files.iter().filter_map(|file| file.package.as_deref()) {
                let is_component = ecosystem::without_version(package).is_some();
                if let Some(owner) = if is_component { Some(package) } else { sources.get(package).copied() } {
                    running.entry(owner).or_default().insert(name);
                }
            }
        }
        Self {
            facts: input.facts,
            before: Index::new(input.before),
            after: input.after.iter().map(|finding| (&finding.fingerprint, finding)).collect(),
            installed,
            running,
        }
    }

    fn item(&self, item: &WorkItem) -> ItemVerdict {
        let members = self.before.members(item);
        if members.len() != item.findings.len() {
            return ItemVerdict::Unknown { why: "what it was about is not at hand".to_owned() };
        }
        let (mut open, mut unoffered, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
        let (mut changed, mut booted) = (false, true);
        for finding in &members {
            // Members that nobody could fix before were not what the task was for.
            let promised = matches!(finding.verdict, Verdict::AffectedFixable | Verdict::FixedNotRunning);
            match self.after.get(&finding.fingerprint).map(|now| now.verdict) {
                None | Some(Verdict::NotAffected) => changed |= self.changed(finding),
                Some(Verdict::Unknown) => unknown.push(finding.id.clone()),
                // The new kernel is on disk; booting it is an item of its own.
                Some(Verdict::FixedNotRunning) if finding.verdict == Verdict::AffectedFixable => {
                    (changed, booted) = (true, false);
                }
                Some(_) if promised && self.offered_nowhere(finding) => {
                    changed |= self.changed(finding);
                    unoffered.push(finding.fingerprint.clone());
                }
                Some(_) if promised => open.push(finding.fingerprint.clone()),
                Some(_) => {}
            }
        }
        // A detector that could not read what it needs has not looked.
        if let Some(why) = self.unread(&members) {
            return ItemVerdict::Unknown { why };
        }
        if !open.is_empty() {
            return ItemVerdict::StillThere { findings: open };
        }
        if !unknown.is_empty() {
            return ItemVerdict::Unknown { why: format!("no data any more for {}", unknown.join(", ")) };
        }
        if !unoffered.is_empty() {
            let findings = unoffered;
            return if changed { ItemVerdict::Partly { findings } } else { ItemVerdict::StillThere { findings } };
        }
        if !changed {
            return ItemVerdict::Withdrawn;
        }
        let mut running: BTreeSet<&str> = BTreeSet::new();
        for finding in &members {
            let shared = ecosystem::without_version(&finding.binary);
            // Packages of a whole system are items by their source, however they are written.
            let shared = shared.filter(|purl| ecosystem::system_of_purl(purl).is_none());
            let owner = shared.as_deref().unwrap_or(&finding.package);
            running.extend(self.running.get(owner).into_iter().flatten());
        }
        if !booted {
            running.insert("kernel");
        }
        let on_disk = members.iter().any(|finding| finding.detector != Detector::Running);
        if on_disk && !running.is_empty() {
            return ItemVerdict::FixedNotRunning { running: running.into_iter().map(str::to_owned).collect() };
        }
        ItemVerdict::Fixed
    }

    /// Whether what the finding was about is another than it was.
    fn changed(&self, finding: &Finding) -> bool {
        match finding.detector {
            // The process or the kernel is gone, or it runs other files: there is no data behind these two.
            Detector::Running | Detector::Kernel => true,
            Detector::Posture => self.setting(finding) != Some(Reading::Value(finding.version.clone())),
            _ if finding.verdict == Verdict::FixedNotRunning => true,
            _ => self.installed.get(finding.binary.as_str()).is_none_or(|now| !now.contains(finding.version.as_str())),
        }
    }

    /// Whether the archives are known, and none offers a version that closes an advisory.
    fn offered_nowhere(&self, finding: &Finding) -> bool {
        let fixed = finding.fixed_version.as_deref().and_then(|fixed| fixed.parse::<DebVersion>().ok());
        let (Some(fixed), Some(candidates)) = (fixed, self.facts.candidates.known()) else { return false };
        let offered = candidates.get(&finding.binary).into_iter().flatten();
        finding.detector == Detector::Advisory
            && !offered.into_iter().any(|candidate| candidate.source_version >= fixed)
    }

    fn unread(&self, members: &[&Finding]) -> Option<String> {
        let uses = |detector| members.iter().any(|finding| finding.detector == detector);
        let why = |what: &str, unread: &str| format!("{what} could not be read: {unread}");
        if uses(Detector::Running)
            && let stanch_model::facts::Known::Unknown(unread) = &self.facts.stale
        {
            return Some(why("the processes", unread));
        }
        if let Some(finding) = members.iter().find(|finding| self.facts.is_unsearched(&finding.binary)) {
            let place = ecosystem::place(&finding.binary).unwrap_or_default();
            return Some(format!("{place} was not looked at: there is too much to search"));
        }
        // A package that only a process tells to be old: without the processes nobody can say that it is not run any more.
        if members.iter().any(|finding| ecosystem::environment(&finding.binary).is_some())
            && let stanch_model::facts::Known::Unknown(unread) = &self.facts.stale
        {
            return Some(why("the processes", unread));
        }
        if uses(Detector::Kernel)
            && let stanch_model::facts::Known::Unknown(unread) = &self.facts.kernel
        {
            return Some(why("the kernels", unread));
        }
        members.iter().filter(|finding| finding.detector == Detector::Posture).find_map(|finding| {
            match self.setting(finding) {
                Some(Reading::Unread(unread)) => Some(why("the setting", &unread)),
                None if self.facts.posture.is_none() => Some(why("the setting", "these facts have none")),
                _ => None,
            }
        })
    }

    /// What the facts say of the setting that a finding is about; nothing where the check is not known any more.
    fn setting(&self, finding: &Finding) -> Option<Reading> {
        Some(posture::find(&finding.id)?.reading(self.facts.posture.as_ref()?))
    }

    fn check(&self, items: &[(ItemId, ItemVerdict)]) -> Check {
        let count = |wanted: fn(&ItemVerdict) -> bool| items.iter().filter(|(_, verdict)| wanted(verdict)).count();
        let open = count(|verdict| matches!(verdict, ItemVerdict::StillThere { .. }));
        let unknown = count(|verdict| matches!(verdict, ItemVerdict::Unknown { .. }));
        let partly = count(|verdict| matches!(verdict, ItemVerdict::Partly { .. }));
        let withdrawn = count(|verdict| matches!(verdict, ItemVerdict::Withdrawn));
        let not_running = count(|verdict| matches!(verdict, ItemVerdict::FixedNotRunning { .. }));
        let outcome = if items.is_empty() {
            CheckOutcome::Inconclusive
        } else if open > 0 {
            CheckOutcome::Failed
        } else if unknown > 0 {
            CheckOutcome::Inconclusive
        } else {
            CheckOutcome::Successful
        };
        let mut words = vec![format!("{} of {} items are gone", items.len() - open - unknown - partly, items.len())];
        for (number, what) in [
            (open, "still seen"),
            (unknown, "cannot be judged"),
            (partly, "closed as far as the archives go"),
            (withdrawn, "withdrawn by the data, not fixed"),
            (not_running, "fixed on disk but still running the old files"),
        ] {
            if number > 0 {
                words.push(format!("{number} {what}"));
            }
        }
        detector(outcome, words.join(", "))
    }
}
