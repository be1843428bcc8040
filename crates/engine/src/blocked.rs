//! Why something waits or was left out, as a value: pages show it, and nobody has to search a log.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_model::When;
use stanch_model::asset::AssetKind;
use stanch_model::calendar::{Closed, Gate};
use stanch_model::id::{AssetId, ItemId};
use stanch_model::terms::Role;

/// What something waits for, or why it was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "on", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Blocked {
    /// A person has to approve the plan.
    Approval,
    /// A hold is in force.
    Hold {
        /// Why it was set.
        reason: String,
    },
    /// As many targets as the limit allows are being changed.
    Concurrency {
        /// The limit.
        limit: u32,
    },
    /// The cool-down between two attempts is not over.
    Cooldown {
        /// When it is.
        until: Timestamp,
    },
    /// The attempts that the limit allows are used up.
    Attempts {
        /// The limit.
        limit: u32,
    },
    /// The executor of the target is not reachable.
    Away {
        /// The target.
        asset: AssetId,
    },
    /// No server was at work.
    NoServer,
    /// What would be installed has not been offered for as long as the policies want.
    Young {
        /// Until when; unknown where nobody knows since when it is offered.
        until: Option<Timestamp>,
    },
    /// The policies do not grant it, now that it is known what would be done.
    NotGranted {
        /// What they say.
        reason: String,
    },
    /// Its ring went on while it was out of reach; it is back.
    LeftBehind {
        /// The target.
        asset: AssetId,
    },
    /// The executor works, or its answer is on its way.
    Answer {
        /// The target.
        asset: AssetId,
    },
    /// The executor's journal is being asked what became of an order.
    Journal {
        /// The target.
        asset: AssetId,
    },
    /// Facts newer than the act are not there yet.
    FreshFacts {
        /// The target.
        asset: AssetId,
    },
    /// The check could not tell; it is run again.
    Inconclusive {
        /// What it said.
        detail: String,
    },
    /// The wave is being watched.
    Bake {
        /// Until when.
        until: Timestamp,
    },
    /// It was taken back here before, and nothing newer is there.
    Suppressed {
        /// Why.
        reason: String,
        /// Until when, where it ends by itself.
        until: Option<Timestamp>,
    },
    /// The executor will not do it.
    Refused {
        /// Why.
        reason: String,
        /// What a person can do.
        hint: Option<String>,
    },
    /// The packages are held or pinned by their owner.
    Held {
        /// Binary packages.
        packages: Vec<String>,
    },
    /// Nobody offers a fix.
    Unfixed,
    /// Past its security support.
    Unsupported {
        /// What.
        what: String,
    },
    /// A package list cannot be changed; its machine can.
    NoMachine {
        /// What kind of thing the asset is.
        kind: AssetKind,
    },
    /// A component is changed where it is built in; no executor does that.
    Component {
        /// Its package URL, without a version.
        purl: String,
    },
    /// Setting it by itself would break machines that are as their owner wants them.
    ByHand {
        /// The setting, as the host's rules name it.
        setting: String,
        /// What may rely on it.
        caution: String,
    },
    /// It is as wanted already.
    Compliant,
    /// The same change has to hold in another environment first.
    Elsewhere {
        /// Which.
        environment: String,
        /// When it has held there for long enough; absent while it does not hold there at all.
        until: Option<Timestamp>,
    },
    /// A change request waits at another system, or was refused there.
    Change {
        /// The connection that leads there.
        connection: String,
        /// It was refused.
        rejected: bool,
    },
    /// Too many assets of its environment fail their health probes.
    Unhealthy {
        /// Which; empty for assets that stand in none.
        environment: String,
        /// How many others fail.
        failing: u32,
    },
    /// Its redundancy group can spare no further member.
    Group {
        /// Which.
        group: String,
        /// How many it can spare at once, with those that are broken.
        spare: u32,
    },
    /// Something was halted: its action rests under this policy.
    Breaker {
        /// Until when.
        until: Timestamp,
    },
    /// A budget that others share is used up.
    Budget {
        /// Which, as the store names it.
        scope: String,
        /// The limit.
        limit: u32,
    },
    /// Something else is at work on the target.
    Lane {
        /// The target.
        asset: AssetId,
    },
    /// Somebody is asked whether what was done may stay.
    Confirmation {
        /// Who.
        role: Role,
        /// Until when.
        due: Timestamp,
    },
    /// The plan is too old for anything new to start.
    TooOld {
        /// Since when.
        since: Timestamp,
    },
    /// A window is shut, or a freeze is in force.
    Calendar {
        /// Which, and how.
        why: Closed,
        /// When it may start, all windows and freezes taken together; unknown when there is no such time within what is
        /// worked out.
        starts_at: Option<Timestamp>,
    },
    /// A step of a playbook is done on assets that are linked with the one that has the problem, and none is.
    NoLink {
        /// What kind of asset is meant.
        kind: AssetKind,
    },
    /// The executor does not carry this action out.
    NotCarriedOut {
        /// The action.
        action: String,
        /// The target.
        asset: AssetId,
    },
    /// Nobody carries out anything on the target.
    NoExecutor {
        /// The target.
        asset: AssetId,
    },
    /// What a step takes from the problem is not known of it.
    NotKnown {
        /// The fact.
        fact: String,
    },
    /// The policies in force have no script of this name.
    NoScript {
        /// Its name.
        script: String,
    },
    /// Only a person leads on.
    Person {
        /// What happened.
        reason: String,
    },
}

impl Blocked {
    /// What a closed gate says; nothing when it is open.
    pub fn by(gate: &Gate) -> Option<Self> {
        match gate {
            Gate::Open { .. } => None,
            Gate::Closed { why, opens_at } => Some(Self::Calendar { why: why.clone(), starts_at: *opens_at }),
        }
    }

    /// What a person can do about it, where there is anything.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Approval => "look at the plan and approve its hash".to_owned(),
            Self::Hold { .. } => "release the hold when its reason is gone".to_owned(),
            Self::Away { .. } => "start the executor on that host, or wait until it is back".to_owned(),
            Self::Young { until: None } => "plan it again, so that it is looked up anew".to_owned(),
            Self::Attempts { .. } => "find out why it failed; asking for it by hand starts a new plan".to_owned(),
            Self::Suppressed { .. } => "lift the suppression to have it fixed again".to_owned(),
            Self::Refused { hint, .. } => return hint.clone(),
            Self::Held { packages } => format!("release the hold: apt-mark unhold {}", packages.join(" ")),
            Self::Unfixed => {
                "reduce what can reach it, or accept the risk with a date; it is planned as soon as a fix \
                              can be had"
                    .to_owned()
            }
            Self::Unsupported { .. } => "move to a supported version or release, or remove it".to_owned(),
            Self::NoMachine { .. } => "run Stanch on the machine itself".to_owned(),
            Self::Component { purl } => {
                format!(
                    "take a fixed version of {purl} where it is built in, or replace it; then scan the new inventory"
                )
            }
            Self::ByHand { .. } => {
                "set it on the host if nothing there relies on it, or accept it with a date".to_owned()
            }
            Self::TooOld { .. } => "plan again".to_owned(),
            Self::NoLink { kind } => format!("say which {} belongs to it, or change the playbook", kind_name(*kind)),
            Self::NotCarriedOut { .. } | Self::NoExecutor { .. } => {
                "have a person do it, or change the playbook to something that can be done there".to_owned()
            }
            Self::NotKnown { .. } => "change the playbook to something that is known of it".to_owned(),
            Self::NoScript { script } => format!("put it into scripts/{script}/ beside the policies"),
            Self::Calendar { why, starts_at: None } => {
                return why.hint().or_else(|| Some("widen the window, or end the freeze".to_owned()));
            }
            Self::Calendar { why, .. } => return why.hint(),
            Self::Elsewhere { environment, until: None } => {
                format!("run the same change in {environment} first, or change `promote_from` in the policy")
            }
            Self::Change { rejected: false, .. } => {
                "agree to the change request there, or here with: stanch change".to_owned()
            }
            Self::Change { .. } => "dismiss it, or have the change request agreed to after all".to_owned(),
            Self::Unhealthy { .. } => "look after the assets that are ill first".to_owned(),
            Self::Group { spare: 0, .. } => {
                "repair the broken members, or approve a plan that states the outage".to_owned()
            }
            Self::Confirmation { .. } => "say whether it may stay, is taken back, or is accepted as it was".to_owned(),
            _ => return None,
        })
    }
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Approval => f.write_str("waits for approval"),
            Self::Hold { reason } => write!(f, "a hold is in force: {reason}"),
            Self::Concurrency { limit } => write!(f, "waits for its turn: {limit} at a time"),
            Self::Cooldown { until } => write!(f, "cools down until {}", When(*until)),
            Self::Attempts { limit } => write!(f, "all {limit} attempts are used up"),
            Self::Away { asset } => write!(f, "the executor of {asset} is not reachable"),
            Self::NoServer => f.write_str("no server was at work"),
            Self::Young { until: Some(until) } => {
                write!(f, "waits until {}: what would be installed has to be offered for longer", When(*until))
            }
            Self::Young { until: None } => f.write_str("since when what would be installed is offered is not known"),
            Self::NotGranted { reason } => write!(f, "is not granted: {reason}"),
            Self::LeftBehind { asset } => {
                write!(f, "{asset} is back; it goes along with the next ring, or is planned anew after this rollout")
            }
            Self::Answer { asset } => write!(f, "waits for the executor of {asset}"),
            Self::Journal { asset } => write!(f, "asks the journal of {asset} what became of the order"),
            Self::FreshFacts { asset } => write!(f, "waits for facts of {asset} newer than the act"),
            Self::Inconclusive { detail } => write!(f, "the check could not tell: {detail}"),
            Self::Bake { until } => write!(f, "is watched until {}", When(*until)),
            Self::Suppressed { reason, until: Some(until) } => write!(f, "suppressed until {}: {reason}", When(*until)),
            Self::Suppressed { reason, until: None } => write!(f, "suppressed: {reason}"),
            Self::Refused { reason, .. } => write!(f, "refused: {reason}"),
            Self::Held { packages } => write!(f, "held by its owner: {}", packages.join(", ")),
            Self::Unfixed => f.write_str("nobody offers a fix yet"),
            Self::Unsupported { what } => write!(f, "{what} is past its security support"),
            Self::NoMachine { kind } => match kind {
                AssetKind::Inventory => f.write_str("only a package list is at hand, not its machine"),
                _ => f.write_str("nothing in the catalogue acts on this kind of asset"),
            },
            Self::Component { .. } => f.write_str("no executor changes SBOM inventories"),
            Self::ByHand { setting, caution } => write!(f, "a person decides on {setting}: {caution}"),
            Self::Compliant => f.write_str("is as wanted already"),
            Self::Elsewhere { environment, until: Some(until) } => {
                write!(f, "has to hold in {environment} until {} first", When(*until))
            }
            Self::Elsewhere { environment, until: None } => write!(f, "has to hold in {environment} first"),
            Self::Change { connection, rejected: false } => write!(f, "its change request waits at {connection}"),
            Self::Change { connection, .. } => write!(f, "its change request was refused at {connection}"),
            Self::Unhealthy { environment, failing } if environment.is_empty() => {
                write!(f, "change stops: {failing} other assets fail their health probes")
            }
            Self::Unhealthy { environment, failing } => {
                write!(f, "change stops: {failing} other assets of {environment} fail their health probes")
            }
            Self::Group { group, spare } => write!(f, "the group {group} can spare {spare} at a time"),
            Self::Breaker { until } => write!(f, "rests until {} after a halt", When(*until)),
            Self::Budget { scope, limit } => write!(f, "waits for its turn: {limit} in {scope}"),
            Self::Lane { asset } => write!(f, "something else is at work on {asset}"),
            Self::Confirmation { role, due } => {
                write!(f, "asks its {} until {} whether it may stay", role.name(), When(*due))
            }
            Self::TooOld { since } => write!(f, "the plan may start nothing new since {}", When(*since)),
            Self::Calendar { why, starts_at: Some(at) } => write!(f, "waits until {}: {why}", When(*at)),
            Self::Calendar { why, starts_at: None } => write!(f, "has no time to start: {why}"),
            Self::NoLink { kind } => write!(f, "no {} is linked with it", kind_name(*kind)),
            Self::NotCarriedOut { action, .. } => write!(f, "its executor does not carry out {action}"),
            Self::NoExecutor { .. } => f.write_str("no executor serves it"),
            Self::NoScript { script } => write!(f, "the policies in force have no script `{script}`"),
            Self::NotKnown { fact } => write!(f, "`{fact}` is not known of it"),
            Self::Person { reason } => write!(f, "needs a person: {reason}"),
        }
    }
}

/// What people call a kind of asset.
const fn kind_name(kind: AssetKind) -> &'static str {
    match kind {
        AssetKind::Host => "host",
        AssetKind::Inventory => "inventory",
        AssetKind::Container => "container",
        AssetKind::Image => "image",
        AssetKind::CloudResource => "cloud resource",
        AssetKind::Account => "account",
        AssetKind::Repository => "repository",
        AssetKind::Service => "service",
        _ => "asset",
    }
}

/// Items that have no place in what was made, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Where.
    pub asset: AssetId,
    /// The items, in order.
    pub items: Vec<ItemId>,
    /// Why.
    pub why: Blocked,
}
