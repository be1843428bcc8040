//! Statements about the agent, in one binary.

mod actions;
mod actions_package;
mod facts;
