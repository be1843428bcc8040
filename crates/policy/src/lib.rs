//! The policy language: what people write, checked before it counts, and decided the same way wherever it is asked.
//!
//! Nothing here reads a file, a clock or a network. A bundle is made of texts, a decision of facts and a time, so that
//! a test, a replay and the server cannot disagree.

mod bundle;
pub mod cacao;
pub mod calendar;
mod check;
mod decide;
mod document;
mod exception;
mod explain;
mod expr;
pub mod facts;
mod firing;
mod gather;
mod group;
pub mod ics;
mod index;
mod node;
pub mod playbook;
mod policy;
mod problem;
mod read;
mod replay;
mod schema;
mod scripts;
mod seal;
mod selector;
mod trial;
mod worst;

pub use bundle::{
    Bundle, Loaded, MAX_BYTES, MAX_EXCEPTIONS, MAX_FILES, MAX_GROUPS, MAX_POLICIES, SIGNATURE_FILE, Source, is_part,
};
pub use check::check;
pub use exception::Exception;
pub use explain::{Asked, Explained, Explanation, explain};
pub use expr::{Condition, MAX_SOURCE};
pub use facts::Facts;
pub use gather::{ActionFacts, Known, Place};
pub use group::Group;
pub use node::MAX_FILE;
pub use policy::{Freeze, Grant, Policy, Rule, Window};
pub use problem::{At, Grade, Problem};
pub use replay::{Changed, Harmed, Past, Replay, replay};
pub use schema::{facts_table, schema};
pub use scripts::Scripted;
pub use seal::{Manifest, ManifestFile, SealError, sign, verify};
pub use selector::{Covers, Selector};
pub use trial::{TrialReport, TrialResult, Walk, test};
pub use worst::{LockOut, MOST_DISRUPTED, Worst, WorstCase, worst_case};
