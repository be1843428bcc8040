//! What the ledger promises an outsider, tried on whole exports.

mod export;
mod log;
mod proof;
