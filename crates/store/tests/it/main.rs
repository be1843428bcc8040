//! What the store promises, written against its API alone, so that every dialect can be asked the same.

mod budget;
mod crash;
mod finding;
mod interleaving;
mod item;
mod ledger;
mod order;
mod rest;
mod seal;
mod state;
mod world;
