//! Published decision tables, typed in as data and total over their inputs: a person can hold each against its source
//! row by row, and no combination is left to chance.

mod bod;
mod coordinator;
mod deployer;

pub use bod::bod_26_04;
pub use coordinator::coordinator;
pub use deployer::deployer;
