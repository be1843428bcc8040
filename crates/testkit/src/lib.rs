//! Real Debian worlds for tests.
//!
//! An action that was only tried against a fake `apt` has not been tried. This crate makes roots of a real Debian
//! ([`debian`]), copies of them in namespaces of their own that can be run, cut off and booted again ([`world`]), and
//! package archives whose contents a test decides ([`archive`], and [`rpm`] for dnf). Long proofs have a whole server behind the times
//! ([`live`]) and a real browser ([`browser`]). It needs root and util-linux; nothing depends on it
//! except tests.

pub mod archive;
pub mod browser;
pub mod chance;
pub mod claims;
pub mod conformance;
pub mod crowd;
pub mod debian;
mod host;
pub mod lan;
pub mod live;
pub mod nats;
pub mod postgres;
mod release;
pub mod rpm;
mod scratch;
mod script;
pub mod shop;
pub mod site;
pub mod tool;
pub mod visitor;
mod wait;
pub mod world;

pub use archive::{Archive, Daemon, Package, Suite, Via};
pub use debian::{Base, Mirror, ensure_tools};
pub use host::{root_or_skip, workspace_root};
pub use release::ReleaseKey;
pub use script::ScriptKey;
pub use wait::wait_until;
pub use world::{Builder, Frozen, InWorld, Output, Process, World};
