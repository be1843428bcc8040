//! What the world says about vulnerabilities, and what follows from it for a host.
//!
//! Feeds are parsed once, checked whole and compiled into small files ([`compiled`]); [`Knowledge`] holds the feeds
//! in use; [`detect`] judges the facts of a host by them. Nothing here touches the network or a clock: whoever
//! fetches feeds hands over bytes, and whoever asks says what time it is.

pub mod archive;
pub mod carried;
pub mod changes;
mod codec;
pub mod compiled;
pub mod cve;
pub mod cvss;
pub mod detect;
pub mod epss;
pub mod error;
pub mod guard;
pub mod index;
pub mod kev;
pub mod knowledge;
pub mod load;
pub mod meta;
pub mod order;
pub mod osv;
pub mod releases;
pub mod snapshot;
pub mod support;
pub mod upstream;
pub mod vex;
pub mod vulnrichment;

pub use carried::carried;
pub use changes::{Changes, changes, says_else};
pub use compiled::Compiled;
pub use detect::{Detection, HostVerdict, detect};
pub use error::{FeedError, Problem};
pub use knowledge::Knowledge;
pub use meta::{FeedMeta, FreshFor, Freshness, Kind};
