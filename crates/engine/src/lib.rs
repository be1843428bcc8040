//! Pure decisions: from findings to work items, from items to plans, from events to the next state.
//!
//! Nothing here reads a clock, a disk or a network, and nothing is random: times, results and ids are arguments. So
//! every decision can be made again from its record, and every rare order of events can be tried in a test.

pub mod assess;
pub mod blast;
pub mod blocked;
pub mod breaker;
pub mod campaign;
pub mod case;
pub mod conflict;
#[cfg(not(stanch_defects))]
mod defect;
#[cfg(stanch_defects)]
pub mod defect;
mod evidence;
pub mod exposure;
pub mod exposure_time;
pub mod forecast;
pub mod group;
pub mod hold;
pub mod plan;
pub mod propose;
pub mod rank;
mod reach;
pub mod rollout;
pub mod schedule;
pub mod tables;
pub mod trust;
pub mod verify;

pub use assess::{AssessInput, assess};
pub use blocked::{Blocked, LeftOut};
pub use exposure::exposure;
pub use group::{Grouping, Index, group};
pub use propose::{Candidate, Proposal, propose, requests};
pub use rank::{by_urgency, explain_rank};
pub use verify::{JudgeInput, Judgement, judge, judge_held_off};
