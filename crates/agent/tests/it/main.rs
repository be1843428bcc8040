//! Statements about the agent, in one binary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod actions;
mod actions_config;
mod actions_crash;
mod actions_package;
mod actions_rehearsal;
mod actions_script;
mod actions_service;
mod facts;
mod facts_apt;
mod facts_bundled;
mod facts_host;
mod facts_processes;
mod facts_systems;
mod fleet;
mod sbom;
