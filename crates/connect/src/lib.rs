//! The outside world: one folder for each system that Stanch talks to. What comes from there is bytes; what they mean
//! is decided elsewhere.

pub mod feeds;
pub mod folder;
pub mod git;
pub mod oidc;
pub mod smtp;
pub mod webhook;
