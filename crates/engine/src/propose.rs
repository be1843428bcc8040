//! The catalogue: which action would close an item, or why none would and what a person can do instead.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use stanch_action::catalogue;
use stanch_model::asset::{Asset, AssetKind};
use stanch_model::ecosystem;
use stanch_model::finding::{Detector, Finding, Verdict};
use stanch_model::id::{FindingId, ItemId};
use stanch_model::item::{Subject, WorkItem};
use stanch_model::lasting::LIBRARIES;
use stanch_model::order::StepRequest;
use stanch_model::posture;
use stanch_model::script::Script;
use stanch_model::version::Order;

use crate::blocked::Blocked;

/// Upgrading packages.
pub const PACKAGE_UPGRADE: &str = catalogue::PACKAGE_UPGRADE.name;
/// Restarting what runs old code.
pub const SERVICE_RESTART: &str = catalogue::SERVICE_RESTART.name;
/// Booting the newest kernel.
pub const HOST_REBOOT: &str = catalogue::HOST_REBOOT.name;

/// Running a script.
pub const SCRIPT_RUN: &str = catalogue::SCRIPT_RUN.name;
/// Setting what the posture pack wants.
pub const CONFIG_SET: &str = catalogue::CONFIG_SET.name;

/// One thing to ask an executor to plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// Upgrade the installed packages of a source to a fixed version.
    Upgrade {
        /// The source package; of what is in an environment its package URL without a version.
        source: String,
        /// The version of the source package that closes something; less is refused.
        fixed: Option<String>,
    },
    /// Restart a service that runs old code, or all that do.
    Restart {
        /// Only this one; all affected ones when absent.
        service: Option<String>,
    },
    /// Boot the newest installed kernel.
    Reboot {
        /// Its flavour.
        flavour: String,
    },
    /// Set what one check of the posture pack wants.
    Set {
        /// The check, `ssh-root-login`.
        check: String,
    },
}

impl Ask {
    /// The action that answers it.
    pub const fn action(&self) -> &'static str {
        match self {
            Self::Upgrade { .. } => PACKAGE_UPGRADE,
            Self::Restart { .. } => SERVICE_RESTART,
            Self::Reboot { .. } => HOST_REBOOT,
            Self::Set { .. } => CONFIG_SET,
        }
    }
}

/// A way to close an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The item.
    pub item: ItemId,
    /// What to ask for, in the order it would run.
    pub asks: Vec<Ask>,
    /// In a sentence.
    pub summary: String,
    /// Members that would stay open all the same, with the reason.
    pub leaves_open: Vec<(FindingId, Blocked)>,
}

/// What can be done about an item: one candidate or the reason why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "proposal", rename_all = "snake_case")]
pub enum Proposal {
    /// This can be done.
    Candidate(Candidate),
    /// Nothing can be done by itself.
    Nothing {
        /// Why; its hint says what a person can do.
        why: Blocked,
    },
}

impl Proposal {
    /// The candidate, if there is one.
    pub const fn candidate(&self) -> Option<&Candidate> {
        match self {
            Self::Candidate(candidate) => Some(candidate),
            Self::Nothing { .. } => None,
        }
    }
}

/// What the catalogue offers for an item.
pub fn propose(asset: &Asset, item: &WorkItem, members: &[&Finding]) -> Proposal {
    if let Subject::Component { purl } = &item.subject
        && (asset.kind != AssetKind::Host || ecosystem::environment(purl).is_none())
    {
        return Proposal::Nothing { why: Blocked::Component { purl: purl.clone() } };
    }
    if asset.kind != AssetKind::Host {
        return Proposal::Nothing { why: Blocked::NoMachine { kind: asset.kind } };
    }
    if let Subject::Setting { check } = &item.subject {
        return set(item, check);
    }
    let mut leaves_open: Vec<(FindingId, Blocked)> = Vec::new();
    let (mut fixable, mut running) = (0_usize, 0_usize);
    for finding in members {
        match finding.verdict {
            Verdict::AffectedFixable => fixable += 1,
            Verdict::FixedNotRunning => running += 1,
            Verdict::Held => leaves_open
                .push((finding.fingerprint.clone(), Blocked::Held { packages: vec![finding.binary.clone()] })),
            Verdict::AffectedUnfixed => leaves_open.push((finding.fingerprint.clone(), Blocked::Unfixed)),
            Verdict::Unsupported => leaves_open
                .push((finding.fingerprint.clone(), Blocked::Unsupported { what: item.subject.name().to_owned() })),
            Verdict::NotAffected | Verdict::Unknown => {}
        }
    }
    let restart_affected = Ask::Restart { service: None };
    let (asks, summary) = match &item.subject {
        Subject::SourcePackage { source } if fixable > 0 => (
            vec![Ask::Upgrade { source: source.clone(), fixed: least_fixed(members) }, restart_affected],
            format!("upgrade {source} and restart what still runs the old files ({})", count(fixable)),
        ),
        Subject::Component { purl } if fixable > 0 => (
            vec![Ask::Upgrade { source: purl.clone(), fixed: most_fixed(members) }, restart_affected],
            format!("upgrade {} and restart what still runs the old files ({})", item.subject.name(), count(fixable)),
        ),
        Subject::SourcePackage { source } if running > 0 => {
            (vec![restart_affected], format!("{source} is fixed on disk: restart what still runs the old files"))
        }
        Subject::Service { name } if running + fixable > 0 => {
            (vec![Ask::Restart { service: Some(name.clone()) }], format!("restart {name}, which runs old files"))
        }
        Subject::Reboot { flavour } if flavour == LIBRARIES && running > 0 => (
            vec![Ask::Reboot { flavour: flavour.clone() }],
            format!("reboot to end what runs files that were replaced: {}", lasting(members)),
        ),
        Subject::Reboot { flavour } if running + fixable > 0 => (
            vec![Ask::Reboot { flavour: flavour.clone() }],
            format!("reboot into the newest installed kernel ({flavour})"),
        ),
        _ => return Proposal::Nothing { why: join(leaves_open, item) },
    };
    Proposal::Candidate(Candidate { item: item.id.clone(), asks, summary, leaves_open })
}

/// What the pack would set; a check that it does not know any more is nobody's to act on.
fn set(item: &WorkItem, check: &str) -> Proposal {
    let Some(known) = posture::find(check) else { return Proposal::Nothing { why: Blocked::Compliant } };
    if known.set.is_none() {
        let caution = known.caution.unwrap_or_default().to_owned();
        return Proposal::Nothing { why: Blocked::ByHand { setting: known.setting(), caution } };
    }
    Proposal::Candidate(Candidate {
        item: item.id.clone(),
        asks: vec![Ask::Set { check: check.to_owned() }],
        summary: format!("set {} to {}", known.setting(), known.wanted),
        leaves_open: Vec::new(),
    })
}

/// What is named in a sentence.
fn lasting(members: &[&Finding]) -> String {
    let names: BTreeSet<&str> = members.iter().map(|finding| finding.id.as_str()).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

fn count(findings: usize) -> String {
    if findings == 1 { "1 finding".to_owned() } else { format!("{findings} findings") }
}

/// The lowest version that closes a member. Not the highest: one id whose fix no archive offers must not keep the
/// others open; what is left is told after the act. A fix whose data are in doubt promises nothing.
fn least_fixed(members: &[&Finding]) -> Option<String> {
    fixes(members).min_by(by_order(members)).map(str::to_owned)
}

/// The highest of them. What is not a distribution's goes no further than it is asked to, so that less would leave the
/// others open.
fn most_fixed(members: &[&Finding]) -> Option<String> {
    fixes(members).max_by(by_order(members)).map(str::to_owned)
}

fn fixes<'a>(members: &'a [&Finding]) -> impl Iterator<Item = &'a str> {
    let order = order(members);
    members
        .iter()
        .filter(|f| f.detector == Detector::Advisory && f.verdict == Verdict::AffectedFixable && f.doubt.is_none())
        .filter_map(|finding| finding.fixed_version.as_deref())
        .filter(move |fixed| order.read(fixed).is_ok())
}

fn order(members: &[&Finding]) -> Order {
    Order::of_binary(members.first().map_or("", |finding| &finding.binary))
}

fn by_order(members: &[&Finding]) -> impl Fn(&&str, &&str) -> Ordering {
    let order = order(members);
    move |a, b| order.compare(a, b).unwrap_or(Ordering::Equal)
}

/// One reason for all members: a hold first, because a person can lift it at once.
fn join(open: Vec<(FindingId, Blocked)>, item: &WorkItem) -> Blocked {
    let mut held: Vec<String> = Vec::new();
    let mut other = None;
    for (_, why) in open {
        match why {
            Blocked::Held { packages } => held.extend(packages),
            Blocked::Unfixed => other = Some(Blocked::Unfixed),
            why => other = other.or(Some(why)),
        }
    }
    held.sort();
    held.dedup();
    if !held.is_empty() {
        return Blocked::Held { packages: held };
    }
    other.unwrap_or_else(|| match &item.subject {
        Subject::Support { name } => Blocked::Unsupported { what: name.clone() },
        _ => Blocked::Compliant,
    })
}

/// What an executor is asked for, of what a playbook says: the one place that knows how each action is asked. A script
/// is only named here; [`with_script`] hands it over.
pub fn want(action: &str, mut said: Map<String, Value>) -> Value {
    match action {
        SERVICE_RESTART => match said.remove("service") {
            Some(service) => json!({ "services": [service] }),
            None => json!({ "scope": "affected" }),
        },
        HOST_REBOOT => json!({ "when": "kernel_due" }),
        SCRIPT_RUN => json!({ "script": said.remove("script"), "arguments": said }),
        _ => Value::Object(said),
    }
}

/// The name of the script that a request is for, while it is only named.
pub fn named_script(request: &StepRequest) -> Option<&str> {
    request.want.get("script").filter(|_| request.action == SCRIPT_RUN)?.as_str()
}

/// The same request with the script itself in place of its name: what is planned is what runs.
#[must_use]
pub fn with_script(mut request: StepRequest, script: &Script) -> StepRequest {
    if let Some(place) = request.want.get_mut("script") {
        *place = json!(script);
    }
    request
}

/// The requests of one plan order for these candidates of one asset: all upgrades in one transaction, then restarts,
/// then settings, then a reboot. The same candidates in any order give the same requests.
pub fn requests(candidates: &[Candidate]) -> Vec<StepRequest> {
    let items_of = |wanted: fn(&Ask) -> bool| {
        let mut items: Vec<ItemId> = candidates
            .iter()
            .filter(|candidate| candidate.asks.iter().any(wanted))
            .map(|candidate| candidate.item.clone())
            .collect();
        items.sort();
        items.dedup();
        items
    };
    let mut names: Vec<&Ask> = candidates.iter().flat_map(|candidate| &candidate.asks).collect();
    names.sort();
    names.dedup();
    let pick = |of: fn(&Ask) -> Option<&str>| names.iter().filter_map(|ask| of(ask)).collect::<Vec<_>>();

    let services = pick(|ask| if let Ask::Restart { service: Some(service) } = ask { Some(service) } else { None });
    let reboot = names.iter().any(|ask| matches!(ask, Ask::Reboot { .. }));
    let libraries = names.iter().any(|ask| matches!(ask, Ask::Reboot { flavour } if flavour == LIBRARIES));
    let restart_all = names.iter().any(|ask| matches!(ask, Ask::Restart { service: None }));

    let mut requests = Vec::new();
    let mut request = |action: &str, want, items| {
        requests.push(StepRequest { action: action.to_owned(), want, items });
    };
    // Sources and items belong together in order, so that a refusal of one source names its own item.
    let mut upgrades: BTreeMap<&str, (&ItemId, Option<&str>)> = BTreeMap::new();
    for candidate in candidates {
        for ask in &candidate.asks {
            if let Ask::Upgrade { source, fixed } = ask {
                upgrades.insert(source, (&candidate.item, fixed.as_deref()));
            }
        }
    }
    if !upgrades.is_empty() {
        let sources: Vec<&str> = upgrades.keys().copied().collect();
        let fixed: BTreeMap<&str, &str> =
            upgrades.iter().filter_map(|(source, (_, fixed))| Some((*source, (*fixed)?))).collect();
        let items = upgrades.values().map(|(item, _)| (*item).clone()).collect();
        request(PACKAGE_UPGRADE, json!({"sources": sources, "to": "fixed", "fixed": fixed}), items);
    }
    if restart_all || !services.is_empty() {
        let items = items_of(|ask| matches!(ask, Ask::Restart { .. }));
        let want = if restart_all { json!({"scope": "affected"}) } else { json!({ "services": services }) };
        request(SERVICE_RESTART, want, items);
    }
    let mut set: BTreeMap<&str, &ItemId> = BTreeMap::new();
    for candidate in candidates {
        for ask in &candidate.asks {
            if let Ask::Set { check } = ask {
                set.insert(check, &candidate.item);
            }
        }
    }
    // Each is a request of its own, so that a refusal of one names its own item.
    for (check, item) in set {
        request(CONFIG_SET, json!({ "check": check }), vec![item.clone()]);
    }
    if reboot {
        let when = if libraries { "due" } else { "kernel_due" };
        request(HOST_REBOOT, json!({ "when": when }), items_of(|ask| matches!(ask, Ask::Reboot { .. })));
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn every_action_is_asked_in_its_own_words() {
        for (action, params, wanted) in [
            (SERVICE_RESTART, json!({"service": "ssh"}), json!({"services": ["ssh"]})),
            (SERVICE_RESTART, json!({}), json!({"scope": "affected"})),
            (HOST_REBOOT, json!({}), json!({"when": "kernel_due"})),
            ("host.isolate", json!({"lease": "4h"}), json!({"lease": "4h"})),
            (SCRIPT_RUN, json!({"script": "x", "n": 1}), json!({"script": "x", "arguments": {"n": 1}})),
        ] {
            assert_eq!(want(action, said(params)), wanted, "{action}");
        }
    }

    #[test]
    fn a_script_takes_the_place_of_its_name_and_nothing_else_changes() {
        let want = want(SCRIPT_RUN, said(json!({"script": "x", "n": 1})));
        let request = StepRequest { action: SCRIPT_RUN.to_owned(), want, items: Vec::new() };
        assert_eq!(named_script(&request), Some("x"));
        let script = Script { manifest: "name = \"x\"".to_owned(), ..Script::default() };
        let whole = with_script(request, &script);
        assert_eq!(named_script(&whole), None);
        assert_eq!(whole.want, json!({"script": script, "arguments": {"n": 1}}));
        let other = StepRequest { action: "x.y".to_owned(), want: json!({"script": "x"}), items: Vec::new() };
        assert_eq!(named_script(&other), None);
    }
}
