//! The commands that talk to a server, a file each.

pub(crate) mod approve;
pub(crate) mod assets;
pub(crate) mod audit;
pub(crate) mod blast;
pub(crate) mod case;
pub(crate) mod change;
pub(crate) mod cve;
pub(crate) mod enrolment;
pub(crate) mod executors;
pub(crate) mod explain;
pub(crate) mod feeds;
pub(crate) mod findings;
pub(crate) mod fix;
pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod hold;
pub(crate) mod notify;
pub(crate) mod people;
pub(crate) mod policy;
pub(crate) mod rehearse;
pub(crate) mod report;
pub(crate) mod script;
pub(crate) mod sign_in;
pub(crate) mod trust;
pub(crate) mod undo;
