//! State. Everything that Stanch knows lies here, and changes only by transitions: a compare-and-set on state and
//! generation, the share of the budgets, the ledger's entry and the wake-up for whoever goes on, in one transaction.
//!
//! It is a file of SQLite or a database of PostgreSQL, behind one portable SQL text: `$1` parameters, times as 64-bit
//! microseconds, yes and no as 1 and 0, ids as text, NULLs ordered by hand, sums cast to numbers. What differs lies in
//! `sqlite` and `postgres`; a test holds the tables of both to be the same.
//!
//! Reading order: [`transition`] (what can change), `writer` (how it is committed), then a file a noun.

pub mod approval;
pub mod assessment;
pub mod asset;
pub mod backup;
pub mod breaker;
pub mod budget;
pub mod campaign;
pub mod case;
pub mod change;
mod column;
pub mod connection;
mod db;
pub mod decision;
pub mod detection;
pub mod edge;
pub mod enrolment;
pub mod entry;
pub mod error;
pub mod executor;
pub mod facts;
pub mod feed;
pub mod finding;
pub mod fleet;
pub mod grant;
pub mod hold;
pub mod item;
pub mod lease;
pub mod missed;
mod newer;
pub mod notice;
pub mod order;
pub mod outbox;
pub mod outcome;
pub mod overview;
pub mod package;
pub mod person;
pub mod place;
pub mod plan;
mod postgres;
pub mod problem;
pub mod receipt;
pub mod remediation;
pub mod retention;
pub mod seal;
pub mod session;
pub mod setting;
mod sqlite;
mod store;
pub mod suppression;
pub mod task;
pub mod team;
pub mod touched;
pub mod transition;
pub mod verification;
pub mod version;
mod writer;

pub use error::{CommitError, OpenError, ReadError};
pub use lease::Fence;
pub use place::{DatabaseUrl, StoreAt};
pub use seal::Sealer;
pub use store::Store;
pub use transition::{Committed, Effect, Nudge, Transition, Write};
