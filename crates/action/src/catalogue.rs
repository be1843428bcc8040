//! What the actions of the catalogue declare that decisions rest on. It stands here, and not with the code that acts,
//! because whoever decides never sees that code; the code takes its own declaration from here.

use jiff::SignedDuration;
use stanch_model::plan::{Disruption, Reversibility};

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
    longest_seconds: 15 * 60,
    proven_on: &[],
};

/// All of them.
pub const ALL: [Declared; 3] = [PACKAGE_UPGRADE, SERVICE_RESTART, HOST_REBOOT];

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
