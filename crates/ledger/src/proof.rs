//! One entry with the proof that a signed checkpoint covers it: what an outsider can check without the rest of the
//! log, and without learning anything of it.

use serde::{Deserialize, Serialize};
use stanch_model::canonical::{CanonicalError, Digest};
use stanch_model::merkle;
use stanch_model::sign::VerifyingKey;

use crate::checkpoint::{Checkpoint, NoteError, SignedCheckpoint};
use crate::entry::Entry;

/// An entry, its audit path and the checkpoint the path leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// The entry.
    pub entry: Entry,
    /// Hashes of the siblings on the way to the root, nearest first (RFC 6962 section 2.1.1).
    pub path: Vec<Digest>,
    /// The text of the checkpoint's note.
    pub checkpoint: String,
}

/// Why a proof does not hold, or there is none.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// No checkpoint covers the entry yet.
    #[error("no checkpoint covers entry {0} yet")]
    NotCovered(u64),
    /// The entry has no canonical form.
    #[error("the entry has no canonical form")]
    Canonical(#[source] CanonicalError),
    /// Retention took the entry's payload: only the whole record shows what stays of it.
    #[error("the payload of entry {0} was removed by retention; what stays of it is shown by an export of the record")]
    Removed(u64),
    /// The checkpoint does not hold.
    #[error("the checkpoint of the proof does not hold")]
    Note(#[source] NoteError),
    /// The path does not lead to the root.
    #[error("entry {index} is not in the log of {size} entries that the checkpoint signs")]
    NotIncluded {
        /// The entry.
        index: u64,
        /// The checkpoint's size.
        size: u64,
    },
}

impl Proof {
    /// The proof for an entry, from the hashes of the first `checkpoint.size` leaves in their order.
    ///
    /// # Errors
    /// When the checkpoint does not cover the entry.
    pub fn new(entry: Entry, leaves: &[Digest], checkpoint: &SignedCheckpoint) -> Result<Self, ProofError> {
        let not_covered = ProofError::NotCovered(entry.index);
        let size = usize::try_from(checkpoint.checkpoint().size).unwrap_or(usize::MAX);
        let index = usize::try_from(entry.index).unwrap_or(usize::MAX);
        let Some(path) = leaves.get(..size).and_then(|leaves| merkle::inclusion_proof(leaves, index)) else {
            return Err(not_covered);
        };
        Ok(Self { entry, path, checkpoint: checkpoint.to_string() })
    }

    /// Whether the log that this key signs holds the entry. Gives the checkpoint, so that it can be compared with one
    /// kept elsewhere.
    ///
    /// # Errors
    /// When the checkpoint is not signed by the key, or the path does not lead to it.
    pub fn check(&self, key: &VerifyingKey) -> Result<Checkpoint, ProofError> {
        let note: SignedCheckpoint = self.checkpoint.parse().map_err(ProofError::Note)?;
        let checkpoint = note.check(key).map_err(ProofError::Note)?;
        if self.entry.leaf.is_some() {
            return Err(ProofError::Removed(self.entry.index));
        }
        let leaf = self.entry.leaf_hash().map_err(ProofError::Canonical)?;
        let (index, size) = (self.entry.index, checkpoint.size);
        if merkle::verify_inclusion(&leaf, index, size, &self.path, &checkpoint.root) {
            Ok(checkpoint.clone())
        } else {
            Err(ProofError::NotIncluded { index, size })
        }
    }
}
