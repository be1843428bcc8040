//! The store as the rest of the house sees it: `commit` to change, a method a question to read.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use tokio::sync::{RwLock, RwLockReadGuard, broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::backup::BackupError;
use crate::db::{Conn, Reader};
use crate::entry::Log;
use crate::error::{CommitError, OpenError, ReadError};
use crate::lease::Fence;
use crate::place::{DatabaseUrl, StoreAt};
use crate::transition::{Committed, Nudge, Transition, Write};
use crate::writer::{Ask, Home, Job, Writer};
use crate::{finding, outbox, postgres, sqlite};

/// Transitions that may wait before the next one has to.
const QUEUE: usize = 4_096;
/// Nudges a slow listener may be behind; after that it looks into the outbox.
const NUDGES: usize = 4_096;

/// The store. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Store {
    at: Arc<StoreAt>,
    asks: mpsc::Sender<Ask>,
    readers: Reader,
    nudges: broadcast::Sender<(u64, Nudge)>,
    writer: Arc<std::sync::Mutex<Option<JoinHandle<()>>>>,
    fence: Arc<OnceLock<Fence>>,
    /// Held for writing while payloads are taken out of the ledger: an export is of one moment.
    exporting: Arc<RwLock<()>>,
}

impl Store {
    /// Opens the store in this file, makes it when it is not there, and brings its tables up to date. One process at
    /// a time: the caller holds the data folder's lock.
    ///
    /// # Errors
    /// When it cannot be opened, is damaged, busy, or of a newer release.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        let conn = Conn::Sqlite(sqlite::open_writer(path).await?);
        let readers = Reader::Sqlite(sqlite::open_readers(path).await?);
        Self::begin(StoreAt::File(path.to_owned()), conn, readers, Home::File(sqlite::WalFile::of(path))).await
    }

    /// Opens the store in this database, makes its tables when they are not there, and brings them up to date. Any number
    /// of processes at a time.
    ///
    /// # Errors
    /// When it cannot be reached or opened, or is of a newer release.
    pub async fn connect(url: &DatabaseUrl) -> Result<Self, OpenError> {
        let conn = Conn::Postgres(postgres::open_writer(url).await?);
        let readers = Reader::Postgres(postgres::open_readers(url).await?);
        Self::begin(StoreAt::Database(url.clone()), conn, readers, Home::Server(postgres::Server::at(url))).await
    }

    /// Opens the store wherever it is.
    ///
    /// # Errors
    /// As [`Store::open`] and [`Store::connect`].
    pub async fn open_at(at: &StoreAt) -> Result<Self, OpenError> {
        match at {
            StoreAt::File(path) => Self::open(path).await,
            StoreAt::Database(url) => Self::connect(url).await,
        }
    }

    async fn begin(at: StoreAt, mut conn: Conn, readers: Reader, home: Home) -> Result<Self, OpenError> {
        let damaged = |error: ReadError| OpenError::Damaged { at: at.clone(), detail: error.to_string() };
        if !finding::have_todays_ids(&mut conn).await.map_err(damaged)? {
            return Err(OpenError::OtherIds { at });
        }
        let log = Log::load(&mut conn).await.map_err(damaged)?;
        let last_nudge = outbox::last(&mut conn).await.map_err(damaged)?;
        let (asks, queue) = mpsc::channel(QUEUE);
        let (nudges, _) = broadcast::channel(NUDGES);
        let writer = Writer { conn: Some(conn), home, log, last_nudge, nudges: nudges.clone() };
        let writer = tokio::spawn(writer.run(queue));
        let writer = Arc::new(std::sync::Mutex::new(Some(writer)));
        Ok(Self { at: Arc::new(at), asks, readers, nudges, writer, fence: Arc::default(), exporting: Arc::default() })
    }

    /// Where it is.
    pub fn at(&self) -> &StoreAt {
        &self.at
    }

    /// Commits a transition. When this returns, it is on disk, or nothing of it was written. When the caller stops
    /// waiting, or hears [`CommitError::Unknown`], it may be either.
    ///
    /// # Errors
    /// When somebody else was first, a rule forbids it, or the database refuses.
    pub async fn commit(&self, transition: Transition) -> Result<Committed, CommitError> {
        transition.check()?;
        let _alone = match transition.takes_payloads() {
            true => Some(self.exporting.write().await),
            false => None,
        };
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
    pub fn is_shared(&self) -> bool {
        matches!(*self.at, StoreAt::Database(_))
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

    /// Hears every nudge that this store commits from now on, with its sequence number in the outbox. What other servers
    /// commit to the same database is not heard here; it is in the outbox ([`Store::nudges_after`]).
    pub fn nudges(&self) -> broadcast::Receiver<(u64, Nudge)> {
        self.nudges.subscribe()
    }

    /// Copies it into a file that must not exist yet, while the store goes on.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub async fn backup(&self, to: &Path) -> Result<(), BackupError> {
        crate::backup::backup(&self.at, to).await
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

    /// As long as this is held, no payload goes out of the ledger.
    pub(crate) async fn export_begins(&self) -> RwLockReadGuard<'_, ()> {
        self.exporting.read().await
    }

    pub(crate) const fn read(&self) -> &Reader {
        &self.readers
    }
}
