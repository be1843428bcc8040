//! The check of an order, before anything is believed. Pure: what it compares with comes in as [`Known`].
//!
//! The order of the checks matters: first who speaks, then to whom, then when, then what. Until the signature holds
//! nothing else of the order is used.

use std::time::Duration;

use jiff::Timestamp;
use stanch_model::id::{AssetId, ExecutorId};
use stanch_model::order::{Doubt, Grant, Order, Position, Verb};
use stanch_model::plan::Leaf;
use stanch_model::sign::{SignError, Signed, VerifyingKey};
use stanch_model::trust::{Chain, MAX_APPROVALS, MAX_PATH};

use crate::journal::JournalError;

/// The longest order in bytes of JSON.
pub const MAX_ORDER_BYTES: usize = 4 << 20;
const MAX_STEPS: usize = 64;
const MAX_ITEMS: usize = 10_000;
const MAX_CHANGES: usize = 20_000;
const MAX_DEPTH: usize = 32;

/// Why an order was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Longer than any order.
    #[error("the order has {bytes} bytes; at most {MAX_ORDER_BYTES} are read")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// Not the JSON of an order.
    #[error("the order cannot be read")]
    Unreadable(#[source] serde_json::Error),
    /// The order key does not go back to the pinned root.
    #[error("the order key is not certified by the root this executor trusts")]
    Certificate(#[source] SignError),
    /// A newer issuer was certified since: what an older one vouches for counts no more.
    #[error("the server's issuer has serial {serial}; {newest} was certified since")]
    IssuerReplaced {
        /// Its serial.
        serial: u64,
        /// The highest seen.
        newest: u64,
    },
    /// A certificate is not valid at this time.
    #[error("the {what} is certified from {not_before} to {not_after}, and it is {now}")]
    CertificateTime {
        /// Which of them.
        what: &'static str,
        /// From when.
        not_before: Timestamp,
        /// Until when.
        not_after: Timestamp,
        /// The time here.
        now: Timestamp,
    },
    /// The certificate belongs to another epoch than the order.
    #[error("the order key is certified for epoch {certified}, the order is of epoch {order}")]
    CertificateEpoch {
        /// The certificate's epoch.
        certified: u64,
        /// The order's.
        order: u64,
    },
    /// Not signed by the certified key, or changed on the way.
    #[error("the order's signature does not hold")]
    Signature(#[source] SignError),
    /// For somebody else.
    #[error("the order is for {addressed}, this is {own}")]
    OtherExecutor {
        /// For whom.
        addressed: ExecutorId,
        /// Who this is.
        own: ExecutorId,
    },
    /// Not above the last position: a repetition, or a server that has lost its memory.
    #[error(
        "the order stands at {}.{}, and {}.{} was taken already",
        .order.epoch, .order.generation, .last.epoch, .last.generation
    )]
    Stale {
        /// The order's position.
        order: Position,
        /// The highest taken.
        last: Position,
    },
    /// It answers no recent poll.
    #[error("the order answers no poll of this run: its nonce is not known")]
    Nonce,
    /// Too old when it came.
    #[error("the order had to start within {within} s of its poll; {late} s have passed")]
    TooLate {
        /// Seconds allowed.
        within: u32,
        /// Seconds passed.
        late: u64,
    },
    /// Its end has passed.
    #[error("the order had to be over by {finish_before}")]
    Over {
        /// The end.
        finish_before: Timestamp,
    },
    /// The leaf is not the one that was granted.
    #[error("the leaf is not the granted one: {granted} was granted, {found} was sent")]
    LeafHash {
        /// What was granted.
        granted: String,
        /// What was sent.
        found: String,
    },
    /// About another asset than the executor's own.
    #[error("the order is about {asset}, this executor works on {own}")]
    OtherAsset {
        /// The order's asset.
        asset: AssetId,
        /// The executor's.
        own: AssetId,
    },
    /// Empty means nothing.
    #[error("the order names no {what}")]
    Empty {
        /// What is missing.
        what: &'static str,
    },
    /// More of something than any sane order has.
    #[error("the order has {count} {what}; at most {limit} are taken")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// It contradicts itself.
    #[error("the order contradicts itself: {message}")]
    Contradiction {
        /// How.
        message: String,
    },
    /// It could not be made durable, so it was not taken.
    #[error("the order could not be written to the journal")]
    Journal(#[source] JournalError),
}

impl Refused {
    /// Whether the server hears of it in a receipt. Not for what nobody trustworthy said, nor for what the server is
    /// to send again with a new nonce, nor for repetitions, which have their own answer.
    pub const fn is_answered(&self) -> bool {
        matches!(
            self,
            Self::Over { .. }
                | Self::LeafHash { .. }
                | Self::OtherAsset { .. }
                | Self::Empty { .. }
                | Self::TooMany { .. }
                | Self::Contradiction { .. }
        )
    }

    /// What the server is told of an order that gets no receipt; nothing where the fault is this executor's own.
    pub const fn doubt(&self) -> Option<Doubt> {
        Some(match self {
            Self::Stale { order, last } if order.epoch < last.epoch => Doubt::OtherEpoch,
            Self::Certificate(_) => Doubt::NotCertified,
            Self::IssuerReplaced { .. } => Doubt::IssuerReplaced,
            Self::CertificateTime { .. } => Doubt::CertificateTime,
            Self::CertificateEpoch { .. } => Doubt::OtherEpoch,
            Self::Signature(_) | Self::Unreadable(_) => Doubt::Changed,
            Self::OtherExecutor { .. } => Doubt::OtherExecutor,
            Self::Stale { .. } => Doubt::Replayed,
            Self::Nonce => Doubt::NoPoll,
            Self::TooLate { .. } | Self::Over { .. } => Doubt::TooLate,
            Self::TooLarge { .. } | Self::TooMany { .. } => Doubt::TooLarge,
            Self::LeafHash { .. } | Self::OtherAsset { .. } | Self::Empty { .. } | Self::Contradiction { .. } => {
                Doubt::Other
            }
            Self::Journal(_) => return None,
        })
    }

    /// What a person can do.
    pub const fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Certificate(_) => {
                "another server than the one this executor was enrolled at, or its root key was replaced: enrol again"
            }
            Self::IssuerReplaced { .. } => {
                "a server with an old issuer, stolen or restored from a backup; on the real one: stanch trust request"
            }
            Self::CertificateTime { .. } => {
                "compare the clocks of server and executor; then, on the server: stanch trust status"
            }
            Self::CertificateEpoch { .. } => "restart the server: it signs with a key of an earlier epoch",
            Self::Signature(_) => "the order was changed on the way; if it happens again, look at what is between",
            Self::OtherExecutor { .. } | Self::OtherAsset { .. } => {
                "check the enrolment: two executors may share an id"
            }
            Self::Stale { .. } => {
                "harmless as a repetition; if all orders are refused, the server was restored without a new epoch"
            }
            Self::Nonce | Self::TooLate { .. } => "the order is sent again with the next poll",
            Self::Over { .. } => "plan again with a later end, or compare the clocks",
            Self::LeafHash { .. } => "plan again: what was approved is not what was sent",
            Self::Journal(_) => "look at free space and health of the disk below the executor's folder",
            Self::TooLarge { .. } | Self::TooMany { .. } => "split the plan",
            Self::Unreadable(_) | Self::Empty { .. } | Self::Contradiction { .. } => return None,
        })
    }
}

/// Reads an order from outside.
///
/// # Errors
/// When it is too long or not an order.
pub fn decode_order(json: &[u8]) -> Result<Signed<Order>, Refused> {
    if json.len() > MAX_ORDER_BYTES {
        return Err(Refused::TooLarge { bytes: json.len() });
    }
    serde_json::from_slice(json).map_err(Refused::Unreadable)
}

/// What an order is compared with.
pub(crate) struct Known<'a> {
    pub(crate) root: &'a VerifyingKey,
    /// The highest serial of an issuer that was seen.
    pub(crate) issuer: u64,
    pub(crate) executor: &'a ExecutorId,
    pub(crate) asset: &'a AssetId,
    pub(crate) position: Position,
    /// When the poll with this nonce began, since boot; absent if there was none.
    pub(crate) polled: &'a dyn Fn(u64) -> Option<Duration>,
    pub(crate) now: Timestamp,
    pub(crate) since_boot: Duration,
}

/// The order, if it holds: its body, and until when (since boot) it must start.
pub(crate) fn check<'a>(
    chain: &Chain,
    signed: &'a Signed<Order>,
    known: &Known<'_>,
) -> Result<(&'a Order, Duration), (Refused, Option<&'a Order>)> {
    let unknown = |refused| (refused, None);
    let (issuer, certified) = chain.open(known.root).map_err(|error| unknown(Refused::Certificate(error)))?;
    if issuer.serial < known.issuer {
        return Err(unknown(Refused::IssuerReplaced { serial: issuer.serial, newest: known.issuer }));
    }
    for (what, not_before, not_after) in
        [("issuer", issuer.not_before, issuer.not_after), ("order key", certified.not_before, certified.not_after)]
    {
        if known.now < not_before || known.now >= not_after {
            return Err(unknown(Refused::CertificateTime { what, not_before, not_after, now: known.now }));
        }
    }
    size(&signed.body).map_err(unknown)?;
    let order = signed.open(&certified.key).map_err(|error| unknown(Refused::Signature(error)))?;
    let refuse = |refused| (refused, Some(order));
    if order.executor != *known.executor {
        let (addressed, own) = (order.executor.clone(), known.executor.clone());
        return Err(refuse(Refused::OtherExecutor { addressed, own }));
    }
    if certified.epoch != order.position.epoch {
        let (certified, order) = (certified.epoch, order.position.epoch);
        return Err(refuse(Refused::CertificateEpoch { certified, order }));
    }
    if order.position <= known.position {
        return Err(refuse(Refused::Stale { order: order.position, last: known.position }));
    }
    let Some(polled) = (known.polled)(order.nonce) else { return Err(refuse(Refused::Nonce)) };
    let start_by = polled.saturating_add(Duration::from_secs(order.start_within_seconds.into()));
    if known.since_boot > start_by {
        let late = known.since_boot.saturating_sub(polled).as_secs();
        return Err(refuse(Refused::TooLate { within: order.start_within_seconds, late }));
    }
    if known.now >= order.finish_before {
        return Err(refuse(Refused::Over { finish_before: order.finish_before }));
    }
    verb(order, known.asset).map_err(refuse)?;
    Ok((order, start_by))
}

/// Counts before anything is hashed, so that hashing is bounded.
fn size(order: &Order) -> Result<(), Refused> {
    match &order.verb {
        Verb::Plan { requests, .. } => {
            cap("requests", requests.len(), MAX_STEPS)?;
            for request in requests {
                cap("items", request.items.len(), MAX_ITEMS)?;
                cap("levels of nesting", depth(&request.want), MAX_DEPTH)?;
            }
        }
        Verb::Verify { leaf, .. } | Verb::Rehearse { leaf } => leaf_size(leaf)?,
        Verb::Apply(grant) => grant_size(grant)?,
        Verb::Undo { grant, items, .. } => {
            cap("items", items.len(), MAX_ITEMS)?;
            grant_size(grant)?;
        }
        Verb::Observe { .. } | Verb::Hold { .. } | Verb::Release | Verb::Reconcile { .. } => {}
    }
    // An order over a link of this process never was bytes; the cap holds for it all the same.
    let bytes = serde_json::to_vec(order).map_err(Refused::Unreadable)?.len();
    if bytes > MAX_ORDER_BYTES { Err(Refused::TooLarge { bytes }) } else { Ok(()) }
}

fn grant_size(grant: &Grant) -> Result<(), Refused> {
    if let Some(vouched) = &grant.vouched {
        cap("signed approvals", vouched.approvals.len(), MAX_APPROVALS)?;
        cap("steps of proof", vouched.proof.path.len(), MAX_PATH)?;
    }
    leaf_size(&grant.leaf)
}

fn leaf_size(leaf: &Leaf) -> Result<(), Refused> {
    cap("steps", leaf.steps.len(), MAX_STEPS)?;
    cap("items", leaf.items.len(), MAX_ITEMS)?;
    for step in &leaf.steps {
        cap("changes", step.changes.len(), MAX_CHANGES)?;
        cap("levels of nesting", depth(&step.params), MAX_DEPTH)?;
    }
    Ok(())
}

fn cap(what: &'static str, count: usize, limit: usize) -> Result<(), Refused> {
    if count > limit { Err(Refused::TooMany { what, count, limit }) } else { Ok(()) }
}

/// Levels of nesting, walked without recursion.
fn depth(value: &serde_json::Value) -> usize {
    let mut deepest = 0;
    let mut open = vec![(value, 1)];
    while let Some((value, level)) = open.pop() {
        deepest = deepest.max(level);
        match value {
            serde_json::Value::Array(items) => open.extend(items.iter().map(|item| (item, level + 1))),
            serde_json::Value::Object(map) => open.extend(map.values().map(|item| (item, level + 1))),
            _ => {}
        }
    }
    deepest
}

fn verb(order: &Order, own: &AssetId) -> Result<(), Refused> {
    match &order.verb {
        Verb::Plan { asset, requests } => {
            about(asset, own)?;
            not_empty("requests", requests.len())
        }
        Verb::Apply(grant) => granted(grant, order.position, own),
        Verb::Undo { task, grant, items, .. } => {
            granted(grant, order.position, own)?;
            not_empty("items", items.len())?;
            if *task != grant.task {
                let message = format!("task {task} is to be undone with the grant of {}", grant.task);
                return Err(Refused::Contradiction { message });
            }
            match items.iter().find(|item| !grant.leaf.items.contains(item)) {
                Some(item) => Err(Refused::Contradiction { message: format!("{item} is not in the leaf") }),
                None => Ok(()),
            }
        }
        Verb::Verify { leaf, .. } => about(&leaf.asset, own),
        Verb::Rehearse { leaf } => {
            about(&leaf.asset, own)?;
            not_empty("steps", leaf.steps.len())
        }
        Verb::Observe { .. } | Verb::Hold { .. } | Verb::Release | Verb::Reconcile { .. } => Ok(()),
    }
}

fn granted(grant: &Grant, position: Position, own: &AssetId) -> Result<(), Refused> {
    about(&grant.leaf.asset, own)?;
    not_empty("steps", grant.leaf.steps.len())?;
    if grant.epoch > position.epoch {
        let message = format!("granted in epoch {}, ordered in {}", grant.epoch, position.epoch);
        return Err(Refused::Contradiction { message });
    }
    let found = grant.leaf.hash().map_err(|error| Refused::Contradiction { message: error.to_string() })?;
    if found != grant.leaf_hash {
        return Err(Refused::LeafHash { granted: grant.leaf_hash.short(), found: found.short() });
    }
    Ok(())
}

fn about(asset: &AssetId, own: &AssetId) -> Result<(), Refused> {
    if asset == own { Ok(()) } else { Err(Refused::OtherAsset { asset: asset.clone(), own: own.clone() }) }
}

fn not_empty(what: &'static str, count: usize) -> Result<(), Refused> {
    if count == 0 { Err(Refused::Empty { what }) } else { Ok(()) }
}
