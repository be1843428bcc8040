//! The server as a whole, with an executor that is a double: it speaks signed orders and receipts through the gateway,
//! and its packages change when it acts.

mod access;
mod double;
mod hold;
mod loop_closed;
mod pages;
mod recover;
mod world;
