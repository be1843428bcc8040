//! Pure decisions: from findings to work items, from items to plans, from events to the next state.
//!
//! Nothing here reads a clock, a disk or a network, and nothing is random: times, results and ids are arguments. So
//! every decision can be made again from its record, and every rare order of events can be tried in a test.

pub mod assess;
mod evidence;
pub mod exposure;
pub mod group;
pub mod rank;
mod reach;
pub mod tables;

pub use assess::{AssessInput, assess};
pub use evidence::cve_ids;
pub use exposure::exposure;
pub use group::{Grouping, Index, group};
pub use rank::{by_urgency, explain_rank};
