//! What the actions of the catalogue declare that decisions rest on. It stands here, and not with the code that acts,
//! because whoever decides never sees that code; the code takes its own declaration from here.

use jiff::SignedDuration;
use stanch_model::plan::{Disruption, Reversibility};
use stanch_model::playbook::{KnownAction, ParamKind, ParamRule};
use stanch_model::script;

use crate::definition::Idempotency;

/// What an action declares of itself, without its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declared {
    /// Its name, `package.upgrade`.
    pub name: &'static str,
    /// Whether applying again is harmless.
    pub idempotency: Idempotency,
    /// The best class a step of it can have; planning decides for each step.
    pub reversibility: Reversibility,
    /// The most that users notice.
    pub disruption: Disruption,
    /// Undoing it would open a hole again.
    pub closes_exposure: bool,
    /// It runs in the lane `contain`.
    pub contains: bool,
    /// It ends the problem it is taken for, so that the detector that found it has to agree. Otherwise it holds the
    /// problem off, and its own check tells whether it does.
    pub fixes: bool,
    /// What a playbook may say of it.
    pub params: &'static [ParamRule],
    /// The longest one step of it may take, in seconds: what a window has to have left.
    pub longest_seconds: u32,
    /// Systems on which every line of the conformance suite was seen green (docs/conformance.md).
    pub proven_on: &'static [&'static str],
}

/// Upgrades source packages in one transaction.
pub const PACKAGE_UPGRADE: Declared = Declared {
    name: "package.upgrade",
    idempotency: Idempotency::Yes,
    reversibility: Reversibility::Restorable,
    disruption: Disruption::Restart,
    closes_exposure: true,
    contains: false,
    fixes: true,
    params: &[may("to", ParamKind::Word(&["fixed"]))],
    longest_seconds: 30 * 60,
    proven_on: &["debian 12"],
};

/// Restarts what runs code that is gone from disk.
pub const SERVICE_RESTART: Declared = Declared {
    name: "service.restart",
    idempotency: Idempotency::Yes,
    reversibility: Reversibility::Transient,
    disruption: Disruption::Restart,
    closes_exposure: true,
    contains: false,
    fixes: true,
    params: &[may("scope", ParamKind::Word(&["affected"])), may("service", ParamKind::Text)],
    longest_seconds: 10 * 60,
    proven_on: &["debian 12"],
};

/// Boots the newest installed kernel. Its rows are of a shutdown and a kernel that are doubles, so that it counts as
/// proven nowhere.
pub const HOST_REBOOT: Declared = Declared {
    name: "host.reboot",
    idempotency: Idempotency::Keyed,
    reversibility: Reversibility::Transient,
    disruption: Disruption::Outage,
    closes_exposure: true,
    contains: false,
    fixes: true,
    params: &[may("when", ParamKind::Word(&["kernel_due"]))],
    longest_seconds: 15 * 60,
    proven_on: &[],
};

/// Sets what the posture pack wants, and nothing else. Its rows without systemd and with it are on one release; what they
/// do not show is told with them.
pub const CONFIG_SET: Declared = Declared {
    name: "config.set",
    idempotency: Idempotency::Yes,
    reversibility: Reversibility::Restorable,
    disruption: Disruption::Restart,
    closes_exposure: true,
    contains: false,
    fixes: true,
    params: &[],
    longest_seconds: 5 * 60,
    proven_on: &["debian 12"],
};

/// Guards what is vulnerable until it is patched. Declared so that playbooks can say what they would do: no executor
/// of this version carries it out, nor the ones below, and a step that nobody carries out is blocked and says so.
pub const SHIELD_APPLY: Declared = Declared {
    name: "shield.apply",
    idempotency: Idempotency::Yes,
    reversibility: Reversibility::Timed,
    disruption: Disruption::None,
    closes_exposure: true,
    contains: false,
    fixes: false,
    params: &[may("until", ParamKind::Word(&["patched"]))],
    longest_seconds: 5 * 60,
    proven_on: &[],
};

/// Cuts a host off from everything but the way to its server, for a while.
pub const HOST_ISOLATE: Declared = Declared {
    name: "host.isolate",
    idempotency: Idempotency::Yes,
    reversibility: Reversibility::Timed,
    disruption: Disruption::Outage,
    closes_exposure: true,
    contains: true,
    fixes: false,
    params: &[may("lease", ParamKind::Span)],
    longest_seconds: 2 * 60,
    proven_on: &[],
};

/// Keeps an account from signing in.
pub const ACCOUNT_DISABLE: Declared = Declared {
    name: "account.disable",
    idempotency: Idempotency::Yes,
    reversibility: Reversibility::Restorable,
    disruption: Disruption::SessionLoss,
    closes_exposure: true,
    contains: true,
    fixes: false,
    params: &[],
    longest_seconds: 2 * 60,
    proven_on: &[],
};

/// Asks for a review before anything is changed in a repository.
pub const REPOSITORY_PROTECT: Declared = Declared {
    name: "repository.protect",
    idempotency: Idempotency::Yes,
    reversibility: Reversibility::Restorable,
    disruption: Disruption::None,
    closes_exposure: true,
    contains: false,
    fixes: false,
    params: &[may("branch", ParamKind::Text)],
    longest_seconds: 2 * 60,
    proven_on: &[],
};

/// Runs a script that the host's owner signed. What is declared is the least that any script promises; what a script
/// says of itself counts once it is planned. The suite has shown the ways of this action, and not what somebody writes
/// tomorrow, so that it counts as proven nowhere and never runs by itself.
pub const SCRIPT_RUN: Declared = Declared {
    name: script::ACTION,
    idempotency: Idempotency::No,
    reversibility: Reversibility::Restorable,
    disruption: Disruption::Outage,
    closes_exposure: true,
    contains: false,
    fixes: false,
    params: &[ParamRule { name: "script", required: true, kind: ParamKind::Text }],
    longest_seconds: 3 * script::MAX_SECONDS,
    proven_on: &[],
};

const fn may(name: &'static str, kind: ParamKind) -> ParamRule {
    ParamRule { name, required: false, kind }
}

/// All of them.
pub const ALL: [Declared; 9] = [
    PACKAGE_UPGRADE,
    SERVICE_RESTART,
    HOST_REBOOT,
    SCRIPT_RUN,
    CONFIG_SET,
    SHIELD_APPLY,
    HOST_ISOLATE,
    ACCOUNT_DISABLE,
    REPOSITORY_PROTECT,
];

/// All of them, as playbooks see them.
pub fn known() -> Vec<KnownAction> {
    ALL.iter().map(|declared| KnownAction { name: declared.name, params: declared.params }).collect()
}

/// The declaration of this name.
pub fn find(name: &str) -> Option<Declared> {
    ALL.into_iter().find(|declared| declared.name == name)
}

impl Declared {
    /// Whether it was seen to keep its promises on this system, `debian 12`.
    pub fn is_proven_on(&self, system: &str) -> bool {
        self.proven_on.contains(&system)
    }

    /// The longest one step of it may take.
    pub fn longest(&self) -> SignedDuration {
        SignedDuration::from_secs(i64::from(self.longest_seconds))
    }
}
