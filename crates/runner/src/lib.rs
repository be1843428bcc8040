//! The executor's core: everything between an order and the action that carries it out.
//!
//! An executor is trusted to touch its target, so it trusts nobody blindly: an order is checked against a pinned root
//! key, its own clock and its own memory before anything starts ([`Refused`] names each reason); what is about to
//! happen is on disk before it happens ([`Journal`]); and after a crash the journal alone decides what goes on. One
//! [`Runner`] serves one executor folder. [`serve`] connects it to a server through a [`Link`]; that the server may
//! live in the same process changes nothing.
//!
//! Invariants: at most one start per step key, whatever is sent; only positions higher than the last are taken; no
//! step begins before its record is durable; a receipt is repeated until the server has it.

mod check;
mod clock;
mod execute;
mod guard;
mod journal;
mod keys;
mod link;
mod mask;
mod record;
mod runner;
mod serve;
mod state;
mod step;

pub use check::{MAX_ORDER_BYTES, Refused, decode_order};
pub use clock::{Clock, SystemClock, boot_id};
pub use execute::{Rehearse, Tools, outcome};
pub use guard::{Denied, Guard, NoRules};
pub use journal::{Journal, JournalError, NoObserver, Observer};
pub use keys::KeyError;
pub use link::{Link, LinkError};
pub use mask::{EVIDENCE_BYTES, EVIDENCE_PIECES, evidence, mask};
pub use record::{Hold, Record, StepKind};
pub use runner::{Config, Lane, OpenError, RunError, Runner, Taken};
pub use serve::{ServeError, Shutdown, serve};
pub use state::{Inconsistent, JournalState, OrderEntry, StepEntry, undo_key};
