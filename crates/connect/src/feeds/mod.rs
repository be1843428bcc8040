//! Fetching feeds from a file, a folder or an address, so that the last good one is in its place whatever happens.
//!
//! The folder of feeds is laid out as publishers name their files (`osv/Debian-12/all.zip`,
//! `kev/known_exploited_vulnerabilities.json`). A download grows beside its place, survives an interruption, is
//! checked against its checksum, and takes its place only when whoever reads it has [accepted](Incoming::accept) it.

mod checksum;
mod download;
mod error;
mod place;
mod schedule;
mod source;
mod state;

pub use download::{Client, ClientOptions, Outcome, Progress};
pub use error::FetchError;
pub use place::Incoming;
pub use schedule::next_due;
pub use source::{Location, Source, known_sources, osv_source};
pub use state::State;
