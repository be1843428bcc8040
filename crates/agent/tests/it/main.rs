//! Statements about the agent, in one binary.

mod actions;
mod actions_package;
mod facts;
mod facts_apt;
mod facts_host;
mod facts_processes;
mod sbom;
