//! The sealer: signs a checkpoint when one is due, keeps it, and copies it to a place outside. Of several servers one
//! seals, under a fenced lease.
//!
//! The outside file is also read: a store whose ledger is shorter than what was once vouched for, or has another root,
//! was rolled back or rewritten, and is not sealed any more.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use stanch_ledger::file::FileError;
use stanch_ledger::{CheckpointFile, Schedule, SignedCheckpoint, Signer};
use stanch_model::merkle;

use crate::entry::PutCheckpoint;
use crate::error::{CommitError, ReadError};
use crate::lease::TakeLease;
use crate::store::Store;
use crate::transition::{Effect, Write};

/// The name of the sealer's lease.
pub const LEASE: &str = "sealer";
/// How long a lease lasts.
const LASTS: SignedDuration = SignedDuration::from_secs(10);
/// Checkpoints copied at a time when the outside file is behind.
const PAGE: u32 = 1_000;

/// Why nothing was sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The store cannot be read.
    #[error("the ledger cannot be read")]
    Read(#[source] ReadError),
    /// The store cannot be written.
    #[error("the checkpoint cannot be kept")]
    Commit(#[source] CommitError),
    /// The outside file cannot be used.
    #[error("the checkpoint cannot be copied outside")]
    File(#[source] FileError),
    /// The outside file belongs to another log or another key.
    #[error("the outside checkpoints are those of another ledger: {0}")]
    OtherLog(String),
    /// The ledger is not the one that was vouched for.
    #[error("the ledger was rolled back or rewritten: an outside checkpoint covers {outside} entries, it has {size}")]
    RolledBack {
        /// Entries the outside checkpoint covers.
        outside: u64,
        /// Entries there are.
        size: u64,
    },
}

/// Signs checkpoints.
#[derive(Debug)]
pub struct Sealer {
    store: Store,
    signer: Signer,
    holder: String,
    schedule: Schedule,
    file: Option<CheckpointFile>,
    lease: Option<(u64, Timestamp)>,
}

impl Sealer {
    /// A sealer for this store. `holder` must differ for every start of every server. The outside file is made when
    /// it is not there; its last checkpoint must cover a prefix of the ledger.
    ///
    /// # Errors
    /// When the outside file cannot be used, or the ledger is not the one it vouches for.
    pub async fn open(
        store: Store,
        signer: Signer,
        holder: impl Into<String>,
        outside: Option<&Path>,
    ) -> Result<Self, SealError> {
        let file = outside.map(CheckpointFile::open).transpose().map_err(SealError::File)?;
        if let Some(last) = file.as_ref().and_then(CheckpointFile::last) {
            let checkpoint =
                last.check(&signer.verifying_key()).map_err(|error| SealError::OtherLog(error.to_string()))?;
            if checkpoint.origin != signer.origin() {
                return Err(SealError::OtherLog(checkpoint.origin.clone()));
            }
            let size = store.tree().await.map_err(SealError::Read)?.frontier.size();
            let rolled_back = SealError::RolledBack { outside: checkpoint.size, size };
            if size < checkpoint.size {
                return Err(rolled_back);
            }
            let leaves = store.leaves(checkpoint.size).await.map_err(SealError::Read)?;
            if merkle::root(&leaves) != checkpoint.root {
                return Err(rolled_back);
            }
        }
        Ok(Self { store, signer, holder: holder.into(), schedule: Schedule::default(), file, lease: None })
    }

    /// The signer, for its name and key.
    pub const fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Signs a checkpoint if one is due and this sealer has the lease. Call it a few times a second.
    ///
    /// # Errors
    /// When it cannot be signed, kept or copied; the next call tries again.
    pub async fn tick(&mut self, now: Timestamp) -> Result<Option<SignedCheckpoint>, SealError> {
        let tree = self.store.tree().await.map_err(SealError::Read)?;
        if !self.schedule.is_due(tree.signed, tree.frontier.size(), tree.oldest_unsigned, now) {
            self.copy_outside().await?;
            return Ok(None);
        }
        self.seal(now).await
    }

    /// Signs a checkpoint over all entries, due or not; before an export, say. `None` when another sealer has the
    /// lease or the last checkpoint covers everything. An empty ledger is sealed too, once.
    ///
    /// # Errors
    /// As [`Sealer::tick`].
    pub async fn seal(&mut self, now: Timestamp) -> Result<Option<SignedCheckpoint>, SealError> {
        let Some(token) = self.lease(now).await? else { return Ok(None) };
        let tree = self.store.tree().await.map_err(SealError::Read)?;
        let note = self.signer.sign(tree.frontier.size(), tree.frontier.root());
        let put = PutCheckpoint { note: note.clone(), lease: LEASE.to_owned(), token, at: now };
        let kept = match self.store.put(Write::PutCheckpoint(put)).await {
            Ok(committed) => committed.effects != [Effect::Unchanged],
            Err(CommitError::Lease(_)) => {
                self.lease = None;
                return Ok(None);
            }
            Err(error) => return Err(SealError::Commit(error)),
        };
        self.copy_outside().await?;
        Ok(kept.then_some(note))
    }

    async fn lease(&mut self, now: Timestamp) -> Result<Option<u64>, SealError> {
        if let Some((token, until)) = self.lease
            && now < until
        {
            return Ok(Some(token));
        }
        let until = now + LASTS;
        let (name, holder) = (LEASE.to_owned(), self.holder.clone());
        let ask = TakeLease { name, holder, anew: false, at: now, until };
        let committed = self.store.put(Write::TakeLease(ask)).await.map_err(SealError::Commit)?;
        let token = committed.effects.into_iter().find_map(|effect| match effect {
            Effect::Lease(token) => token,
            _ => None,
        });
        // Renewed early, so that the lease does not run out between two ticks.
        self.lease = token.map(|token| (token, now + LASTS / 2));
        Ok(token)
    }

    /// Appends what the outside file does not have yet, also what a crash kept from it.
    async fn copy_outside(&mut self) -> Result<(), SealError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        loop {
            let from = file.last().map_or(0, |last| last.checkpoint().size + 1);
            let page = self.store.checkpoints(from, PAGE).await.map_err(SealError::Read)?;
            if page.is_empty() {
                return Ok(());
            }
            for note in &page {
                file.append(note).map_err(SealError::File)?;
            }
        }
    }
}
