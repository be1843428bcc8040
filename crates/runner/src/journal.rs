//! The durable journal: an append-only file of records, each chained to the one before by SHA-256, each on disk before
//! the call returns.
//!
//! A crash can leave a torn tail: the bytes of the one record whose append never returned. It is cut, because nobody
//! acted on it. Anything else that does not read is damage: if a whole record stands behind it, something
//! that was acted on is gone, and opening fails rather than forget it.
//!
//! File: 8 bytes of magic, then frames of `length u32 le | previous head | head | JSON`, where head is
//! SHA-256(tag, previous head, length, JSON).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stanch_model::canonical::{Digest, Hasher};

use crate::keys::private_folder;
use crate::record::Record;
use crate::state::{Inconsistent, JournalState};

const MAGIC: &[u8; 8] = b"STANCHJ1";
const TAG: &[u8] = b"stanch/journal/v1\0";
const HEAD: usize = 4 + 32 + 32;
/// No record is longer; a length above it is damage.
const MAX_RECORD: usize = 64 << 20;
/// A journal grown by this much since its snapshot is compacted.
const COMPACT_AFTER: u64 = 8 << 20;

/// Sees every append: how tests stop the world at any point. Numbers count from 1 with every opening.
pub trait Observer: Send + Sync {
    /// Before anything is written.
    ///
    /// # Errors
    /// Makes the append fail, as a full disk would.
    fn before(&self, _number: u64, _record: &Record) -> io::Result<()> {
        Ok(())
    }

    /// After the record is durable, before anybody acts on it.
    fn after(&self, _number: u64, _record: &Record) {}
}

/// Sees nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl Observer for NoObserver {}

/// Why the journal cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system said no.
    #[error("cannot {verb} the journal {path}")]
    File {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error("another executor works in {path}")]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// Something that was acted on cannot be read any more.
    #[error("the journal {path} is damaged at byte {at}: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        at: u64,
        /// What is wrong there.
        what: String,
    },
    /// The record contradicts the journal; nothing was written.
    #[error("the record may not follow")]
    Inconsistent(#[source] Inconsistent),
    /// The record has no JSON form or is too long; nothing was written.
    #[error("the record cannot be written: {what}")]
    Record {
        /// Why.
        what: String,
    },
    /// An earlier write failed half way; only opening again shows what is on disk.
    #[error("the journal failed before and has to be opened again")]
    Poisoned,
}

impl JournalError {
    /// What a person can do.
    pub const fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Locked { .. } => "stop the other process; `stanch up` and an agent must not share a folder",
            Self::Damaged { .. } => {
                "check the disk, then move the file away: the executor starts with an empty journal and answers `lost` \
                 for what it no longer knows"
            }
            Self::File { .. } => "look at free space, permissions and health of the disk",
            Self::Poisoned => "it is opened again by itself; if that repeats, look at the disk",
            Self::Inconsistent(_) | Self::Record { .. } => return None,
        })
    }
}

/// The journal of one executor. There is one at a time for a folder.
pub struct Journal {
    folder: PathBuf,
    path: PathBuf,
    file: File,
    len: u64,
    snapshot_len: u64,
    head: Digest,
    state: JournalState,
    appended: u64,
    cut: u64,
    poisoned: bool,
    observer: Arc<dyn Observer>,
    _lock: File,
}

impl Journal {
    /// Opens the journal in `folder`, makes it if there is none, cuts a torn tail.
    ///
    /// # Errors
    /// When another process has it, the file system fails or it is damaged.
    pub fn open(folder: &Path, observer: Arc<dyn Observer>) -> Result<Self, JournalError> {
        let path = folder.join("journal");
        let failed = |verb, path: &Path| {
            let path = path.to_owned();
            move |source| JournalError::File { verb, path, source }
        };
        private_folder(folder).map_err(failed("make the folder of", &path))?;
        let lock_path = folder.join("lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(&lock_path).map_err(failed("open the lock of", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(JournalError::Locked { path: folder.to_owned() }),
            Err(fs::TryLockError::Error(source)) => return Err(failed("lock", &lock_path)(source)),
        }
        let file = options.open(&path).map_err(failed("open", &path))?;
        let bytes = fs::read(&path).map_err(failed("read", &path))?;
        let damaged = |at: usize, what: String| JournalError::Damaged { path: path.clone(), at: at as u64, what };

        let mut journal = Self {
            folder: folder.to_owned(),
            path: path.clone(),
            file,
            len: MAGIC.len() as u64,
            snapshot_len: 0,
            head: Digest::from_bytes([0; 32]),
            state: JournalState::default(),
            appended: 0,
            cut: 0,
            poisoned: false,
            observer,
            _lock: lock,
        };
        if !bytes.starts_with(MAGIC) {
            // A crash while the file was made leaves a part of the magic, filled up with zeros at most.
            let torn = bytes.len() <= MAGIC.len()
                && bytes.iter().zip(MAGIC).skip_while(|(found, magic)| found == magic).all(|(found, _)| *found == 0);
            if !torn {
                return Err(damaged(0, "it is no journal".to_owned()));
            }
            journal.begin().map_err(failed("begin", &path))?;
            return Ok(journal);
        }
        let mut at = MAGIC.len();
        while let Some(frame) = frame(bytes.get(at..).unwrap_or_default()) {
            let first = at == MAGIC.len();
            if !first && frame.previous != journal.head {
                return Err(damaged(at, "a record is missing before it".to_owned()));
            }
            let record: Record =
                serde_json::from_slice(frame.json).map_err(|error| damaged(at, format!("no record: {error}")))?;
            journal.state.apply(&record).map_err(|error| damaged(at, error.to_string()))?;
            journal.head = frame.head;
            at += HEAD + frame.json.len();
            if matches!(record, Record::Snapshot { .. }) {
                journal.snapshot_len = at as u64;
            }
        }
        journal.len = at as u64;
        let tail = bytes.get(at..).unwrap_or_default();
        if !tail.is_empty() {
            if (1..tail.len()).any(|from| frame(tail.get(from..).unwrap_or_default()).is_some()) {
                return Err(damaged(at, "whole records follow one that does not read".to_owned()));
            }
            journal.cut = tail.len() as u64;
            journal.file.set_len(journal.len).and_then(|()| journal.file.sync_all()).map_err(failed("cut", &path))?;
        }
        Ok(journal)
    }

    fn begin(&self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.write_all_at(MAGIC, 0)?;
        self.file.sync_all()?;
        File::open(&self.folder)?.sync_all()
    }

    /// What it knows.
    pub const fn state(&self) -> &JournalState {
        &self.state
    }

    /// The head of the chain: changes with every record, and survives compaction.
    pub const fn head(&self) -> Digest {
        self.head
    }

    /// Bytes of a torn tail that opening has cut.
    pub const fn cut(&self) -> u64 {
        self.cut
    }

    /// Appends a record. When this returns, it is on disk and in the state.
    ///
    /// # Errors
    /// When it may not follow or cannot be written; then it is not in the state, and nobody may act on it.
    pub fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        if self.poisoned {
            return Err(JournalError::Poisoned);
        }
        self.state.allows(record).map_err(JournalError::Inconsistent)?;
        self.appended += 1;
        self.observer.before(self.appended, record).map_err(|source| self.failed("append to", source))?;
        let (bytes, head) = encode(&self.head, record)?;
        if let Err(source) = self.file.write_all_at(&bytes, self.len) {
            // A full disk: what was written of it is cut, so that the journal stays usable once there is space.
            self.poisoned = self.file.set_len(self.len).and_then(|()| self.file.sync_all()).is_err();
            return Err(self.failed("append to", source));
        }
        if let Err(source) = self.file.sync_data() {
            // After a failed sync nobody knows what is on disk.
            self.poisoned = true;
            return Err(self.failed("sync", source));
        }
        self.len += bytes.len() as u64;
        self.head = head;
        self.state.apply(record).map_err(JournalError::Inconsistent)?;
        self.observer.after(self.appended, record);
        if self.len.saturating_sub(self.snapshot_len) > COMPACT_AFTER.max(self.snapshot_len) {
            self.compact()?;
        }
        Ok(())
    }

    /// Writes the state as one record into a new file that takes the old one's place. The chain goes on.
    ///
    /// # Errors
    /// When the file system fails; the old journal is then still whole.
    pub fn compact(&mut self) -> Result<(), JournalError> {
        if self.poisoned {
            return Err(JournalError::Poisoned);
        }
        let (state, gone) = self.state.compacted();
        let record = Record::Snapshot { state: Box::new(state.clone()) };
        let (bytes, head) = encode(&self.head, &record)?;
        let draft = self.folder.join("journal.new");
        let file = self.replace(&draft, &bytes).map_err(|source| self.failed("compact", source))?;
        self.file = file;
        self.state = state;
        self.head = head;
        self.len = (MAGIC.len() + bytes.len()) as u64;
        self.snapshot_len = self.len;
        for key in gone {
            // Only space is lost if this fails.
            let _ = fs::remove_dir_all(vault_path(&self.folder, &key));
        }
        Ok(())
    }

    fn replace(&mut self, draft: &Path, bytes: &[u8]) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(draft)?;
        file.write_all(MAGIC)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(draft, &self.path)?;
        if let Err(error) = File::open(&self.folder).and_then(|folder| folder.sync_all()) {
            // Which of the two files a crash would leave is not known.
            self.poisoned = true;
            return Err(error);
        }
        Ok(file)
    }

    fn failed(&self, verb: &'static str, source: io::Error) -> JournalError {
        JournalError::File { verb, path: self.path.clone(), source }
    }
}

/// Where the before-states of the step with this key lie.
pub(crate) fn vault_path(folder: &Path, key: &Digest) -> PathBuf {
    folder.join("vault").join(key.to_string())
}

struct Frame<'a> {
    previous: Digest,
    head: Digest,
    json: &'a [u8],
}

/// The whole frame at the start of these bytes, if there is one.
fn frame(bytes: &[u8]) -> Option<Frame<'_>> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (previous, rest) = rest.split_first_chunk::<32>()?;
    let (head, rest) = rest.split_first_chunk::<32>()?;
    let count = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if count == 0 || count > MAX_RECORD {
        return None;
    }
    let json = rest.get(..count)?;
    let previous = Digest::from_bytes(*previous);
    let head = Digest::from_bytes(*head);
    (chained(&previous, *length, json) == head).then_some(Frame { previous, head, json })
}

fn chained(previous: &Digest, length: [u8; 4], json: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(TAG);
    hasher.update(previous.as_bytes());
    hasher.update(&length);
    hasher.update(json);
    hasher.finish()
}

fn encode(previous: &Digest, record: &Record) -> Result<(Vec<u8>, Digest), JournalError> {
    let json = serde_json::to_vec(record).map_err(|error| JournalError::Record { what: error.to_string() })?;
    if json.len() > MAX_RECORD {
        return Err(JournalError::Record { what: format!("it has {} bytes", json.len()) });
    }
    let length = u32::try_from(json.len()).unwrap_or(u32::MAX).to_le_bytes();
    let head = chained(previous, length, &json);
    let mut bytes = Vec::with_capacity(HEAD + json.len());
    bytes.extend_from_slice(&length);
    bytes.extend_from_slice(previous.as_bytes());
    bytes.extend_from_slice(head.as_bytes());
    bytes.extend_from_slice(&json);
    Ok((bytes, head))
}
