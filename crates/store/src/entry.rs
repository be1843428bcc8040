//! The ledger's rows. An entry is written in the transaction that it tells of; its place in the Merkle tree (its leaf)
//! is another row, so that a sealer of its own can give it where several servers write. On SQLite there is one writer,
//! and it gives both at once. `leaf.seq` is unique: no entry can be sealed twice.

use std::io::Write as Out;

use jiff::Timestamp;
use stanch_ledger::{Entry, Exporter, NewEntry, Proof, SignedCheckpoint, removal};
use stanch_model::Digest;
use stanch_model::merkle::Frontier;
use stanch_model::sign::VerifyingKey;

use crate::column::{Columns, all, json, micros, number};
use crate::db::{Builder, Conn, Row, query};
use crate::error::{CommitError, ReadError};
use crate::lease;
use crate::retention::SUBJECT;
use crate::store::Store;
use crate::transition::Effect;

/// Entries in one page of an export.
const PAGE: u32 = 1_000;
/// Hashes in one page.
const HASHES: u32 = 50_000;

/// A checkpoint that was signed.
#[derive(Debug, Clone)]
pub struct PutCheckpoint {
    /// The checkpoint.
    pub note: SignedCheckpoint,
    /// The lease it was signed under.
    pub lease: String,
    /// Its fencing token.
    pub token: u64,
    /// When.
    pub at: Timestamp,
}

/// The ledger's tree as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Its right edge: size and root.
    pub frontier: Frontier,
    /// Size of the last checkpoint.
    pub signed: u64,
    /// Time of the oldest entry that no checkpoint covers.
    pub oldest_unsigned: Option<Timestamp>,
}

/// The writer's end of the log, held in memory between batches.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    pub(crate) tree: Frontier,
    /// Sequence number of the next entry.
    pub(crate) next_seq: u64,
}

/// Entries that wait for the end of the batch.
#[derive(Default)]
pub(crate) struct Pending {
    entries: Vec<(i64, i64, String, String)>,
    subjects: Vec<(String, i64)>,
    leaves: Vec<(i64, i64, Digest)>,
}

const TREE: &str = "SELECT size, peaks FROM tree WHERE name = 'ledger'";
const PUT_TREE: &str = "INSERT INTO tree (name, size, peaks) VALUES ('ledger', $1, $2) \
     ON CONFLICT (name) DO UPDATE SET size = $1, peaks = $2";
const END: &str = "SELECT tree.size, tree.peaks, (SELECT COALESCE(MAX(seq), -1) FROM entry) AS entry, \
     (SELECT COALESCE(MAX(position), -1) FROM leaf) AS leaf \
     FROM (SELECT 'ledger' AS name) one LEFT JOIN tree ON tree.name = one.name";
const SIGNED: &str = "SELECT COALESCE(MAX(size), 0) AS signed FROM checkpoint";
const OLDEST: &str = "SELECT entry.at FROM leaf JOIN entry ON entry.seq = leaf.seq WHERE leaf.position = $1";
const PUT_CHECKPOINT: &str =
    "INSERT INTO checkpoint (size, note, at) VALUES ($1, $2, $3) ON CONFLICT (size) DO NOTHING";
const CHECKPOINTS: &str = "SELECT size, note FROM checkpoint WHERE size >= $1 ORDER BY size LIMIT $2";
const LAST_CHECKPOINT: &str = "SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1";
const ENTRIES: &str = "SELECT leaf.position, entry.body, CASE WHEN entry.bare = 1 THEN leaf.hash END AS hash \
     FROM leaf JOIN entry ON entry.seq = leaf.seq WHERE leaf.position >= $1 ORDER BY leaf.position LIMIT $2";
const NEWEST: &str = "SELECT leaf.position, entry.body, CASE WHEN entry.bare = 1 THEN leaf.hash END AS hash \
     FROM leaf JOIN entry ON entry.seq = leaf.seq \
     WHERE leaf.position < $1 ORDER BY leaf.position DESC LIMIT $2";
const TIMELINE: &str = "SELECT leaf.position, entry.body, CASE WHEN entry.bare = 1 THEN leaf.hash END AS hash FROM entry_subject \
     JOIN entry ON entry.seq = entry_subject.seq JOIN leaf ON leaf.seq = entry.seq \
     WHERE entry_subject.subject = $1 AND leaf.position >= $2 ORDER BY leaf.position LIMIT $3";
const NEWEST_OF: &str = "SELECT leaf.position, entry.body, CASE WHEN entry.bare = 1 THEN leaf.hash END AS hash FROM entry_subject \
     JOIN entry ON entry.seq = entry_subject.seq JOIN leaf ON leaf.seq = entry.seq \
     WHERE entry_subject.subject = $1 ORDER BY entry_subject.seq DESC LIMIT $2";
const LAST_REMOVAL: &str = "SELECT MAX(leaf.position) AS last FROM entry_subject \
     JOIN entry ON entry.seq = entry_subject.seq JOIN leaf ON leaf.seq = entry.seq \
     WHERE entry_subject.subject = $1 AND entry.event = $2";
const LEAVES: &str = "SELECT hash FROM leaf WHERE position >= $1 ORDER BY position LIMIT $2";

impl Log {
    /// Reads where the log ended.
    pub(crate) async fn load(conn: &mut Conn) -> Result<Self, ReadError> {
        let row = query(END).fetch_one(conn).await.map_err(ReadError::database("read the ledger's tree"))?;
        let columns = Columns::new("tree", &row);
        let tree = match columns.optional_integer("size")? {
            Some(_) => read_tree(&row)?,
            None => Frontier::new(),
        };
        let (entry, leaf) = (columns.integer("entry")?, columns.integer("leaf")?);
        if u64::try_from(leaf + 1).ok() != Some(tree.size()) {
            return Err(ReadError::damaged("tree", format!("it has {} leaves, the last is {leaf}", tree.size())));
        }
        Ok(Self { tree, next_seq: u64::try_from(entry + 1).unwrap_or(0) })
    }

    /// Seals an entry: gives it its index and its leaf.
    pub(crate) fn seal(&mut self, entry: &NewEntry, pending: &mut Pending) -> Result<u64, CommitError> {
        let index = self.tree.size();
        let encode = |detail: String| CommitError::Encode { noun: "entry", id: entry.event.clone(), detail };
        let sealed = entry.clone().sealed(index);
        let leaf = sealed.leaf_hash().map_err(|error| encode(error.to_string()))?;
        let seq = number("entry", &entry.event, self.next_seq)?;
        pending.leaves.push((number("entry", &entry.event, index)?, seq, leaf));
        let body = json("entry", &entry.event, entry)?;
        pending.entries.push((seq, micros(entry.at), entry.event.clone(), body));
        let mut subjects: Vec<&String> = entry.subjects.iter().collect();
        subjects.sort();
        subjects.dedup();
        pending.subjects.extend(subjects.into_iter().map(|subject| (subject.clone(), seq)));
        self.tree.push(leaf);
        self.next_seq += 1;
        Ok(index)
    }
}

fn read_tree(row: &Row) -> Result<Frontier, ReadError> {
    let columns = Columns::new("tree", row);
    let bytes = columns.bytes("peaks")?;
    let peaks = bytes
        .chunks(32)
        .map(|peak| <[u8; 32]>::try_from(peak).map(Digest::from_bytes))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| ReadError::damaged("tree", "a peak has 32 bytes"))?;
    Frontier::from_peaks(columns.count("size")?, peaks)
        .ok_or_else(|| ReadError::damaged("tree", "its peaks do not fit its size"))
}

/// Rows in one statement.
pub(crate) const ROWS: &[usize] = &[256, 32, 4, 1];

/// Splits rows into chunks of a few sizes, so that a few prepared statements serve any number of rows.
pub(crate) fn chunks<'r, T>(mut rows: &'r [T], sizes: &[usize]) -> impl Iterator<Item = &'r [T]> {
    std::iter::from_fn(move || {
        let size = sizes.iter().copied().find(|size| *size <= rows.len())?;
        let (chunk, rest) = rows.split_at(size);
        rows = rest;
        Some(chunk)
    })
}

impl Pending {
    pub(crate) const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Writes what has gathered: a few statements for a whole batch.
    pub(crate) async fn write(&self, conn: &mut Conn, log: &Log) -> Result<(), CommitError> {
        if self.is_empty() {
            return Ok(());
        }
        for chunk in chunks(&self.entries, ROWS) {
            let mut query = Builder::new("INSERT INTO entry (seq, at, event, body) ");
            query.push_values(chunk, |mut row, (seq, at, event, body)| {
                row.push_bind(*seq).push_bind(*at).push_bind(event).push_bind(body);
            });
            query.build().execute(&mut *conn).await.map_err(CommitError::database("write entries"))?;
        }
        for chunk in chunks(&self.subjects, ROWS) {
            let mut query = Builder::new("INSERT INTO entry_subject (subject, seq) ");
            query.push_values(chunk, |mut row, (subject, seq)| {
                row.push_bind(subject).push_bind(*seq);
            });
            query.build().execute(&mut *conn).await.map_err(CommitError::database("write subjects"))?;
        }
        for chunk in chunks(&self.leaves, ROWS) {
            let mut query = Builder::new("INSERT INTO leaf (position, seq, hash) ");
            query.push_values(chunk, |mut row, (position, seq, hash)| {
                row.push_bind(*position).push_bind(*seq).push_bind(hash.as_bytes().as_slice());
            });
            query.build().execute(&mut *conn).await.map_err(CommitError::database("write leaves"))?;
        }
        let peaks: Vec<u8> = log.tree.peaks().iter().flat_map(|peak| *peak.as_bytes()).collect();
        query(PUT_TREE)
            .bind(number("tree", "ledger", log.tree.size())?)
            .bind(peaks)
            .execute(conn)
            .await
            .map_err(CommitError::database("write the ledger's tree"))?;
        Ok(())
    }
}

pub(crate) async fn put_checkpoint(conn: &mut Conn, put: &PutCheckpoint) -> Result<Effect, CommitError> {
    lease::held(conn, &put.lease, put.token).await?;
    let size = put.note.checkpoint().size;
    let done = query(PUT_CHECKPOINT)
        .bind(number("checkpoint", "ledger", size)?)
        .bind(put.note.to_string())
        .bind(micros(put.at))
        .execute(conn)
        .await
        .map_err(CommitError::database("store a checkpoint"))?;
    Ok(if done == 0 { Effect::Unchanged } else { Effect::Done })
}

/// An entry; where its payload was taken, with the hash of its leaf.
pub(crate) fn read_entry(row: &Row) -> Result<Entry, ReadError> {
    let columns = Columns::new("entry", row);
    let entry: NewEntry = columns.json("body")?;
    let leaf = columns.optional_bytes("hash")?.map(|_| columns.digest("hash")).transpose()?;
    Ok(Entry { leaf, ..entry.sealed(columns.count("position")?) })
}

fn read_note(row: &Row) -> Result<SignedCheckpoint, ReadError> {
    Columns::new("checkpoint", row).parsed("note")
}

fn bound(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Store {
    /// The ledger's tree as it stands.
    ///
    /// # Errors
    /// When the database refuses or the tree does not read.
    pub async fn tree(&self) -> Result<Tree, ReadError> {
        let row = query(TREE).fetch_optional(self.read()).await;
        let row = row.map_err(ReadError::database("read the ledger's tree"))?;
        let frontier = row.as_ref().map_or_else(|| Ok(Frontier::new()), read_tree)?;
        let row = query(SIGNED).fetch_one(self.read()).await.map_err(ReadError::database("read checkpoints"))?;
        let signed = Columns::new("checkpoint", &row).count("signed")?;
        let row = query(OLDEST).bind(bound(signed)).fetch_optional(self.read()).await;
        let row = row.map_err(ReadError::database("read the ledger"))?;
        let oldest_unsigned = row.map(|row| Columns::new("entry", &row).time("at")).transpose()?;
        Ok(Tree { frontier, signed, oldest_unsigned })
    }

    /// Entries from an index on, in their order.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn entries(&self, from: u64, limit: u32) -> Result<Vec<Entry>, ReadError> {
        let rows = query(ENTRIES).bind(bound(from)).bind(limit).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list entries"))?, read_entry)
    }

    /// Entries before an index, newest first.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn newest_entries(&self, before: Option<u64>, limit: u32) -> Result<Vec<Entry>, ReadError> {
        let before = before.map_or(i64::MAX, bound);
        let rows = query(NEWEST).bind(before).bind(limit).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list entries"))?, read_entry)
    }

    /// What the ledger says of one subject, from an index on, in order.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn timeline(&self, subject: &str, from: u64, limit: u32) -> Result<Vec<Entry>, ReadError> {
        let rows = query(TIMELINE).bind(subject).bind(bound(from)).bind(limit).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list entries"))?, read_entry)
    }

    /// What the ledger said last of one subject, newest first.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn newest_of(&self, subject: &str, limit: u32) -> Result<Vec<Entry>, ReadError> {
        let rows = query(NEWEST_OF).bind(subject).bind(limit).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list entries"))?, read_entry)
    }

    /// Hashes of the first `size` leaves. Takes 32 bytes of memory each.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn leaves(&self, size: u64) -> Result<Vec<Digest>, ReadError> {
        let mut leaves = Vec::new();
        while (leaves.len() as u64) < size {
            let limit = u32::try_from(size - leaves.len() as u64).unwrap_or(HASHES).min(HASHES);
            let from = bound(leaves.len() as u64);
            let rows = query(LEAVES).bind(from).bind(limit).fetch_all(self.read()).await;
            let page = all(&rows.map_err(ReadError::database("list leaves"))?, |row| {
                Columns::new("leaf", row).digest("hash")
            })?;
            if page.is_empty() {
                return Err(ReadError::damaged("leaf", format!("there are {} of {size}", leaves.len())));
            }
            leaves.extend(page);
        }
        Ok(leaves)
    }

    /// The last checkpoint.
    ///
    /// # Errors
    /// When the database refuses or it does not read.
    pub async fn last_checkpoint(&self) -> Result<Option<SignedCheckpoint>, ReadError> {
        let row = query(LAST_CHECKPOINT).fetch_optional(self.read()).await;
        row.map_err(ReadError::database("read a checkpoint"))?.as_ref().map(read_note).transpose()
    }

    /// Checkpoints over at least `size` entries, smallest first.
    ///
    /// # Errors
    /// When the database refuses or one does not read.
    pub async fn checkpoints(&self, size: u64, limit: u32) -> Result<Vec<SignedCheckpoint>, ReadError> {
        let rows = query(CHECKPOINTS).bind(bound(size)).bind(limit).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list checkpoints"))?, read_note)
    }

    /// One entry with the proof that the last checkpoint covers it. Reads the hash of every leaf.
    ///
    /// # Errors
    /// When there is no such entry or no checkpoint covers it yet.
    pub async fn proof(&self, index: u64) -> Result<Option<Proof>, ReadError> {
        let Some(entry) = self.entries(index, 1).await?.pop().filter(|entry| entry.index == index) else {
            return Ok(None);
        };
        let Some(checkpoint) = self.last_checkpoint().await?.filter(|note| note.checkpoint().size > index) else {
            return Err(ReadError::Proof(stanch_ledger::ProofError::NotCovered(index)));
        };
        let leaves = self.leaves(checkpoint.checkpoint().size).await?;
        Proof::new(entry, &leaves, &checkpoint).map(Some).map_err(ReadError::Proof)
    }

    /// Writes the export of the ledger up to its last checkpoint; seal first to have all of it. Gives the number of
    /// entries. `out` should not block for long.
    ///
    /// # Errors
    /// When the database refuses, a row does not read, or `out` refuses.
    pub async fn export<W: Out>(&self, out: W, origin: &str, key: VerifyingKey) -> Result<u64, ReadError> {
        let _one_moment = self.export_begins().await;
        let row = query(LAST_REMOVAL).bind(SUBJECT).bind(removal::EVENT).fetch_one(self.read()).await;
        let row = row.map_err(ReadError::database("look for removals"))?;
        let removal = Columns::new("entry", &row).optional_integer("last")?.map(i64::cast_unsigned);
        let begin = if removal.is_some() { Exporter::begin_lacking } else { Exporter::begin };
        let mut exporter = begin(out, origin, key).map_err(ReadError::Export)?;
        let mut written = 0;
        let mut from = 0;
        loop {
            let checkpoints = self.checkpoints(from, PAGE).await?;
            let Some(last) = checkpoints.last() else { break };
            from = last.checkpoint().size + 1;
            for checkpoint in &checkpoints {
                let size = checkpoint.checkpoint().size;
                while written < size {
                    let limit = u32::try_from(size - written).unwrap_or(PAGE).min(PAGE);
                    let page = self.entries(written, limit).await?;
                    if page.is_empty() {
                        return Err(ReadError::damaged("entry", format!("there are {written} of {size}")));
                    }
                    for entry in page {
                        exporter.entry(entry).map_err(ReadError::Export)?;
                        written += 1;
                    }
                }
                exporter.checkpoint(checkpoint).map_err(ReadError::Export)?;
            }
        }
        // What vouches for payloads that are not there must be there.
        if let Some(index) = removal.filter(|index| *index >= written) {
            return Err(ReadError::Unsealed(index));
        }
        exporter.finish().map_err(ReadError::Export)?;
        Ok(written)
    }
}
