//! What the engine promises, one file a promise.

mod assessing;
mod grouping;
mod order;
mod published_tables;
mod world;
