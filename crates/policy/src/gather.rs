//! Facts from the nouns: what the server and `stanch scan` know of an item, in the words of the table. What nobody
//! said is left out, never guessed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value as Json;
use stanch_model::assessment::{Assessment, Automatable, TechnicalImpact};
use stanch_model::asset::Asset;
use stanch_model::finding::{Detector, Finding, OcsfClass, Verdict};
use stanch_model::item::{Subject, WorkItem};
use stanch_model::own::is_own;
use stanch_model::plan::{Disruption, Reversibility};
use stanch_model::posture;

use crate::facts::{Facts, Value};

/// What is known of a candidate action on one system and class of asset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActionFacts {
    /// Its name, `package.upgrade`.
    pub kind: String,
    /// The most that users notice.
    pub disruption: Option<Disruption>,
    /// The class it can have at best; what a plan found out where there is one.
    pub reversibility: Option<Reversibility>,
    /// Repeating it under its key is harmless.
    pub idempotent: Option<bool>,
    /// Undoing it would open a hole again.
    pub closes_exposure: Option<bool>,
    /// It runs in the lane `contain`.
    pub contains: Option<bool>,
    /// Its conformance row is green on this system.
    pub proven: Option<bool>,
    /// Runs that the check has confirmed.
    pub verified_runs: Option<u64>,
    /// Lower confidence bound of its success, in parts per 100,000.
    pub success_e5: Option<u32>,
    /// Runs that were taken back.
    pub undos: Option<u64>,
    /// Runs that a person called wrong.
    pub misfires: Option<u64>,
}

/// Everything that facts are made of.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The asset.
    pub asset: &'a Asset,
    /// The item.
    pub item: &'a WorkItem,
    /// Its open findings.
    pub findings: &'a [&'a Finding],
    /// Its assessment, once there is one.
    pub assessment: Option<&'a Assessment>,
    /// The candidate action, if the catalogue offers one.
    pub action: Option<&'a ActionFacts>,
    /// When it was first seen.
    pub first_seen: Option<Timestamp>,
    /// The data it rests on are older than they may be; unknown where nobody judged.
    pub stale: Option<bool>,
    /// What the server knows of where it is.
    pub place: Place,
    /// Redundancy groups, where they are known.
    pub groups: Option<&'a [String]>,
    /// When the version that closes it was first offered; unknown where nobody noted it.
    pub offered_at: Option<Timestamp>,
    /// Why what closes it is blocked as a bad patch, where it is.
    pub block: Option<&'a str>,
    /// Other programs that change packages on the asset; unknown where nobody could tell.
    pub updaters: Option<&'a [String]>,
}

/// What the server knows of an asset beside what the asset is; unknown where nobody looked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// Stanch's own server, store or executor runs there.
    pub own: Option<bool>,
    /// Somebody has said that it is one of ours.
    pub confirmed: Option<bool>,
    /// Its executor begins nothing that nobody signed for.
    pub asks_signatures: Option<bool>,
}

impl Facts {
    /// The facts of an item at a time.
    pub fn gather(known: &Known<'_>, now: Timestamp) -> Self {
        let mut facts = Self::default();
        facts.item(known, now);
        facts.asset(known.asset, known.place, known.groups);
        facts.put("asset.other_updaters", known.updaters.map(|names| Value::Texts(names.to_vec())));
        if let Some(action) = known.action {
            facts.action(action);
        }
        facts
    }

    /// The facts of an asset and an action on it, while nothing is said of any item.
    pub fn of_place(asset: &Asset, place: Place, groups: Option<&[String]>, action: &ActionFacts) -> Self {
        let mut facts = Self::default();
        facts.asset(asset, place, groups);
        facts.action(action);
        facts
    }

    fn item(&mut self, known: &Known<'_>, now: Timestamp) {
        let package = match &known.item.subject {
            Subject::SourcePackage { source } => Some(source.clone()),
            _ => None,
        };
        self.put("item.kind", word(&Json::String(subject(&known.item.subject).to_owned())));
        self.put("item.name", text(known.item.subject.name()));
        self.put("item.own", Some(Value::Bool(package.as_deref().is_some_and(is_own))));
        self.put("item.package", package.map(Value::Text));
        let each = |pick: &dyn Fn(&Finding) -> String| {
            let all: BTreeSet<String> = known.findings.iter().map(|finding| pick(finding)).collect();
            Some(Value::Texts(all.into_iter().collect()))
        };
        self.put("item.classes", each(&|finding| class(finding.class).to_owned()));
        self.put("item.detectors", each(&|finding| finding.detector.name().to_owned()));
        self.put("item.verdicts", each(&|finding| finding.verdict.name().to_owned()));
        let ids: BTreeSet<String> = known.findings.iter().flat_map(|finding| ids(finding)).collect();
        self.put("item.ids", Some(Value::Texts(ids.into_iter().collect())));
        let fixable = known
            .findings
            .iter()
            .any(|finding| matches!(finding.verdict, Verdict::AffectedFixable | Verdict::FixedNotRunning));
        self.put("item.fixable", Some(Value::Bool(fixable)));
        let rated = || known.findings.iter().filter_map(|finding| posture::find(&finding.id));
        self.put("item.caution", Some(Value::Bool(rated().any(|check| check.caution.is_some()))));
        // Nobody scores settings: their severity is the pack's, unless something else of the item has a score.
        self.put("item.severity", rated().map(|check| check.severity).max().and_then(|worst| text(worst.name())));
        let confidence = known.findings.iter().map(|finding| confidence(finding)).min();
        self.put("item.confidence", confidence.map(Value::Int));
        self.put("item.stale", known.stale.map(Value::Bool));
        self.put("item.age_days", known.first_seen.map(|seen| Value::Int(days(seen, now).max(0))));
        let hours = |at: Timestamp| (now.as_second() - at.as_second()).div_euclid(3_600).clamp(0, 1_000_000);
        self.put("item.fix_age_hours", known.offered_at.map(|at| Value::Int(hours(at))));
        self.offered_at = known.offered_at;
        self.put("item.blocked", Some(Value::Bool(known.block.is_some())));
        self.block = known.block.map(str::to_owned);
        if let Some(assessment) = known.assessment {
            self.assessment(assessment, now);
        }
    }

    fn assessment(&mut self, assessment: &Assessment, now: Timestamp) {
        let each = || assessment.members.iter().map(|member| &member.enrichment);
        // The catalogue is a list of all there is: what it does not list is not known to be exploited, provided that
        // it was at hand.
        let catalogue = assessment.feeds.iter().any(|feed| feed.name.contains("kev"));
        let kev = each().any(|known| known.kev.is_some());
        let ransomware = each().any(|known| known.kev.as_ref().is_some_and(|kev| kev.ransomware));
        self.put("item.kev", (kev || catalogue).then_some(Value::Bool(kev)));
        self.put("item.ransomware", (kev || catalogue).then_some(Value::Bool(ransomware)));
        let epss = each().filter_map(|known| known.epss.as_ref()).max_by_key(|epss| epss.score_e5);
        self.put("item.epss", epss.map(|epss| Value::Decimal(epss.score_e5.into())));
        self.put("item.epss_percentile", epss.map(|epss| Value::Decimal(epss.percentile_e5.into())));
        let cvss = each().flat_map(|known| &known.cvss).map(|score| score.score_e1).max();
        self.put("item.cvss", cvss.map(|score| Value::Decimal(i64::from(score) * 10_000)));
        if let Some(score) = cvss {
            self.put("item.severity", text(severity(score)));
        }
        let ssvc = || each().map(|known| known.ssvc);
        self.put("item.exploitation", named(ssvc().filter_map(|options| options.exploitation).max()));
        let automatable = ssvc().filter_map(|options| options.automatable).max();
        self.put("item.automatable", automatable.map(|one| Value::Bool(one == Automatable::Yes)));
        let impact = ssvc().filter_map(|options| options.technical_impact).max();
        self.put("item.total_impact", impact.map(|one| Value::Bool(one == TechnicalImpact::Total)));
        self.put("item.ssvc", named(Some(assessment.deployer)));
        self.put("item.coordinator", named(Some(assessment.coordinator)));
        self.put("item.bod", named(Some(assessment.bod)));
        self.put("item.due_days", assessment.due.map(|due| Value::Int(days(now, due))));
        self.put("asset.exposure", named(assessment.exposure.map(|exposure| exposure.level)));
        self.put("asset.dependents", Some(Value::Int(assessment.dependents.into())));
    }

    fn asset(&mut self, asset: &Asset, place: Place, groups: Option<&[String]>) {
        self.put("asset.kind", named(Some(asset.kind)));
        self.put("asset.name", text(&asset.name));
        self.put("asset.environment", asset.environment.as_deref().and_then(text));
        self.put("asset.tier", asset.tier.map(|tier| Value::Int(tier.number().into())));
        self.put("asset.classification", asset.classification.as_deref().and_then(text));
        self.put("asset.owner", asset.owner.as_deref().and_then(text));
        let labels: BTreeMap<String, String> = asset.labels.clone();
        self.put("asset.labels", Some(Value::Labels(labels)));
        self.put("asset.groups", groups.map(|groups| Value::Texts(groups.to_vec())));
        self.put("asset.own", place.own.map(Value::Bool));
        self.put("asset.confirmed", place.confirmed.map(Value::Bool));
        self.put("asset.asks_signatures", place.asks_signatures.map(Value::Bool));
    }

    fn action(&mut self, action: &ActionFacts) {
        let count = |number: Option<u64>| {
            number.map(|number| Value::Int(i64::try_from(number).unwrap_or(i64::MAX).min(1_000_000_000)))
        };
        self.put("action.kind", text(&action.kind));
        self.put("action.disruption", named(action.disruption));
        self.put("action.reversibility", named(action.reversibility));
        self.put("action.idempotent", action.idempotent.map(Value::Bool));
        self.put("action.closes_exposure", action.closes_exposure.map(Value::Bool));
        let lane = |contains| if contains { "contain" } else { "change" };
        self.put("action.lane", action.contains.and_then(|contains| text(lane(contains))));
        self.put("action.proven", action.proven.map(Value::Bool));
        self.put("action.verified_runs", count(action.verified_runs));
        self.put("action.success_rate", action.success_e5.map(|rate| Value::Decimal(rate.into())));
        self.put("action.undos", count(action.undos));
        self.put("action.misfires", count(action.misfires));
    }
}

fn text(text: &str) -> Option<Value> {
    Some(Value::Text(text.to_owned()))
}

fn word(json: &Json) -> Option<Value> {
    json.as_str().and_then(text)
}

/// The name that a unit variant is stored under, which is the word of the table.
fn named<T: Serialize>(value: Option<T>) -> Option<Value> {
    serde_json::to_value(value?).ok().as_ref().and_then(word)
}

const fn subject(subject: &Subject) -> &'static str {
    match subject {
        Subject::SourcePackage { .. } => "source_package",
        Subject::Service { .. } => "service",
        Subject::Reboot { .. } => "reboot",
        Subject::Component { .. } => "component",
        Subject::Setting { .. } => "setting",
        // Whatever a later version adds is a person's work to this one.
        _ => "support",
    }
}

const fn class(class: OcsfClass) -> &'static str {
    match class {
        OcsfClass::Vulnerability => "vulnerability",
        OcsfClass::Compliance => "compliance",
        OcsfClass::Detection => "detection",
        OcsfClass::DataSecurity => "data_security",
    }
}

/// The CVEs of a finding, or its own id where it has none.
fn ids(finding: &Finding) -> Vec<String> {
    let all = std::iter::once(&finding.id).chain(&finding.aliases);
    let cves: Vec<String> = all.filter(|id| id.starts_with("CVE-")).cloned().collect();
    if cves.is_empty() { vec![finding.id.clone()] } else { cves }
}

/// How sure a check is. What was read on the host itself is certain; an advisory's range is as good as its data, and
/// a doubt about the data halves it.
fn confidence(finding: &Finding) -> i64 {
    let sure = match finding.detector {
        Detector::SecurityOrigin | Detector::Running | Detector::Kernel | Detector::Posture => 100,
        Detector::Advisory => 95,
        _ => 90,
    };
    if finding.doubt.is_some() { sure / 2 } else { sure }
}

/// The qualitative rating of a CVSS base score in tenths (CVSS 3.1 and 4.0 specification, section "Qualitative
/// Severity Rating Scale").
const fn severity(score_e1: u8) -> &'static str {
    match score_e1 {
        0 => "none",
        1..=39 => "low",
        40..=69 => "medium",
        70..=89 => "high",
        _ => "critical",
    }
}

/// Whole days from one time to another, rounded down.
fn days(from: Timestamp, to: Timestamp) -> i64 {
    (to.as_second() - from.as_second()).div_euclid(86_400)
}
