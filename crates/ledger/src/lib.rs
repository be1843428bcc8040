//! The record that an outsider can check: entries sealed as leaves of a Merkle log, checkpoints signed over its root,
//! an export that carries both, and the verification of such an export with nothing but a key or an older checkpoint.
//!
//! A hash chain alone shows an edit, but not that its end was cut off or that the whole was written anew by whoever
//! holds the database. A signed checkpoint kept elsewhere shows both, because a log of which it is no prefix cannot
//! have its root.
//!
//! No I/O but readers and writers that the caller hands in (and [`file::CheckpointFile`]), no clock, no randomness.

pub mod checkpoint;
pub mod entry;
pub mod export;
pub mod file;
pub mod proof;
pub mod removal;
pub mod schedule;
mod text;
pub mod verify;

pub use checkpoint::{Checkpoint, NoteError, SignedCheckpoint, Signer};
pub use entry::{Entry, EntryError, NewEntry};
pub use export::{ExportError, Exporter};
pub use file::CheckpointFile;
pub use proof::{Proof, ProofError};
pub use removal::Removal;
pub use schedule::Schedule;
pub use verify::{Fault, Report, Trust, What, verify};
