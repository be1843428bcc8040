//! The store as the rest of the house sees it: `commit` to change, a method a question to read.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use sqlx::SqlitePool;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::entry::Log;
use crate::error::{CommitError, OpenError, ReadError};
use crate::lease::Fence;
use crate::transition::{Committed, Nudge, Transition, Write};
use crate::writer::{Ask, Job, Writer};
use crate::{finding, outbox, sqlite};

/// Transitions that may wait before the next one has to.
const QUEUE: usize = 4_096;
/// Nudges a slow listener may be behind; after that it looks into the outbox.
const NUDGES: usize = 4_096;

/// The store. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Store {
    path: Arc<PathBuf>,
    asks: mpsc::Sender<Ask>,
    readers: SqlitePool,
    nudges: broadcast::Sender<(u64, Nudge)>,
    writer: Arc<std::sync::Mutex<Option<JoinHandle<()>>>>,
    fence: Arc<OnceLock<Fence>>,
    shared: bool,
}

impl Store {
    /// Opens the store in this file, makes it when it is not there, and brings its tables up to date. One process at
    /// a time: the caller holds the data folder's lock.
    ///
    /// # Errors
    /// When it cannot be opened, is damaged, busy, or of a newer release.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        let mut conn = sqlite::open_writer(path).await?;
        let damaged = |error: ReadError| OpenError::Damaged { path: path.to_owned(), detail: error.to_string() };
        if !finding::have_todays_ids(&mut conn).await.map_err(damaged)? {
            return Err(OpenError::OtherIds { path: path.to_owned() });
        }
        let log = Log::load(&mut conn).await.map_err(damaged)?;
        let last_nudge = outbox::last(&mut conn).await.map_err(damaged)?;
        let readers = sqlite::open_readers(path).await?;
        let (asks, queue) = mpsc::channel(QUEUE);
        let (nudges, _) = broadcast::channel(NUDGES);
        let file = sqlite::WalFile::of(path);
        let shared = false;
        let writer = Writer { conn, file, log, last_nudge, nudges: nudges.clone(), shared };
        let writer = tokio::spawn(writer.run(queue));
        let writer = Arc::new(std::sync::Mutex::new(Some(writer)));
        let fence = Arc::default();
        Ok(Self { path: Arc::new(path.to_owned()), asks, readers, nudges, writer, fence, shared })
    }

    /// Commits a transition. When this returns, it is on disk, or nothing of it was written. When the caller stops
    /// waiting, it may be either.
    ///
    /// # Errors
    /// When somebody else was first, a rule forbids it, or the database refuses.
    pub async fn commit(&self, transition: Transition) -> Result<Committed, CommitError> {
        transition.check()?;
        let (reply, answer) = oneshot::channel();
        let fence = self.fence.get().cloned();
        self.asks.send(Ask::Commit(Job { transition, fence, reply })).await.map_err(|_| CommitError::Closed)?;
        answer.await.map_err(|_| CommitError::Closed)?
    }

    /// Commits one change that the ledger need not tell of.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn put(&self, write: Write) -> Result<Committed, CommitError> {
        self.commit(Transition::silent(write)).await
    }

    /// Whether other servers may write to the same database.
    pub const fn is_shared(&self) -> bool {
        self.shared
    }

    /// From now on nothing is committed by this store, or a clone of it, but under this lease: once another holds it, all
    /// that was begun under it comes to nothing. Answers whether it is so; it can be said once.
    pub fn fence(&self, fence: Fence) -> bool {
        self.fence.set(fence).is_ok()
    }

    /// The lease under which this store commits, once there is one.
    pub fn fenced(&self) -> Option<Fence> {
        self.fence.get().cloned()
    }

    /// Hears every nudge that this store commits from now on, with its sequence number in the outbox. Those of other
    /// servers are read there ([`Store::outbox`]).
    pub fn nudges(&self) -> broadcast::Receiver<(u64, Nudge)> {
        self.nudges.subscribe()
    }

    /// Writes a whole and compact copy to a file that must not exist yet, while the store goes on.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub async fn backup(&self, to: &Path) -> Result<(), ReadError> {
        sqlite::copy(&self.path, to).await.map_err(ReadError::database("write a backup"))
    }

    /// Shuts the store: what was handed in is committed first, and every clone is shut with it.
    pub async fn shut(&self) {
        // Shut already, if nobody takes it.
        drop(self.asks.send(Ask::Shut).await);
        let writer = self.writer.lock().map(|mut writer| writer.take()).unwrap_or(None);
        if let Some(writer) = writer
            && let Err(error) = writer.await
        {
            tracing::error!(error = &error as &dyn std::error::Error, "the store's writer ended early");
        }
        self.readers.close().await;
    }

    pub(crate) const fn read(&self) -> &SqlitePool {
        &self.readers
    }
}
