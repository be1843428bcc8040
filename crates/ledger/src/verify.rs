//! Verification of an export with nothing but the export and what the verifier kept: a pinned key, or checkpoints that
//! were copied out of the server's reach.
//!
//! Every root is computed anew from the entries, so that each checkpoint in the export, and each one brought along, is
//! shown to cover a prefix of the same log. That is consistency, without proofs to carry.

use std::io::{self, BufRead, Read as _};

use jiff::Timestamp;
use stanch_model::canonical::Digest;
use stanch_model::merkle::Frontier;
use stanch_model::sign::VerifyingKey;

use crate::checkpoint::{NoteError, SignedCheckpoint};
use crate::entry::EntryError;
use crate::export::{FORMAT, FORMAT_LACKING, Header, Line};
use crate::removal::{self, Removal, Unvouched};
use crate::text::spell;

/// A longer line is refused unread.
pub const MAX_LINE: u64 = 1024 * 1024;

/// What the verifier knows from elsewhere. With nothing here, an export can only be shown to agree with itself.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// The key the log must be signed with.
    pub key: Option<VerifyingKey>,
    /// The name the log must have.
    pub origin: Option<String>,
    /// Checkpoints kept outside, in any order.
    pub checkpoints: Vec<SignedCheckpoint>,
}

/// What an export was shown to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The log's name.
    pub origin: String,
    /// The key it is signed with.
    pub key: VerifyingKey,
    /// Entries, each shown to be in the tree that the last checkpoint signs.
    pub entries: u64,
    /// Entries among them whose payload retention took, as later entries say. What stays of them is what it was then.
    pub removed: u64,
    /// Root over all of them.
    pub root: Digest,
    /// Checkpoints in the export.
    pub checkpoints: u64,
    /// Outside checkpoints that were found to cover a prefix.
    pub outside: u64,
    /// The largest of them: up to there nothing can have been cut off or rewritten.
    pub outside_size: Option<u64>,
    /// Whether the key or a checkpoint came from outside. If not, whoever made the export may have made up all of it.
    pub anchored: bool,
    /// Time of the first entry.
    pub first_at: Option<Timestamp>,
    /// Time of the last entry.
    pub last_at: Option<Timestamp>,
}

/// Where an export is wrong, and how.
#[derive(Debug, thiserror::Error)]
#[error("the export is wrong at line {line}")]
pub struct Fault {
    /// The line, from 1; the line after the last one when something is missing at the end.
    pub line: u64,
    /// What is wrong.
    #[source]
    pub what: What,
}

/// What is wrong with an export.
#[derive(Debug, thiserror::Error)]
pub enum What {
    /// It could not be read.
    #[error("the export cannot be read")]
    Read(#[source] io::Error),
    /// Longer than any line is.
    #[error("the line is longer than {MAX_LINE} bytes")]
    TooLong,
    /// The last line was cut off.
    #[error("the line does not end")]
    Cut,
    /// Not a line of an export.
    #[error("not a line of a ledger export")]
    Line(#[source] serde_json::Error),
    /// Says something, but not in the bytes an export says it in.
    #[error("the line was changed: it is not spelled as an export spells it")]
    Spelling,
    /// No header, or a second one.
    #[error("expected {expected}")]
    Order {
        /// What should stand there.
        expected: &'static str,
    },
    /// Another format.
    #[error("the format is `{0}`, expected `{FORMAT}`")]
    Format(String),
    /// Another log.
    #[error("this is the log `{found}`, expected `{expected}`")]
    Origin {
        /// The name found.
        found: String,
        /// The name expected.
        expected: String,
    },
    /// Signed with another key than the one pinned or used before.
    #[error("the log is signed with the key {found}, expected {expected}")]
    Key {
        /// The key found.
        found: VerifyingKey,
        /// The key expected.
        expected: VerifyingKey,
    },
    /// An entry stands at the wrong place: something was dropped, repeated or moved.
    #[error("entry {found} stands where entry {expected} should: entries were dropped, repeated or moved")]
    Index {
        /// Its own index.
        found: u64,
        /// The index of that place.
        expected: u64,
    },
    /// An entry that could never have been written.
    #[error("the entry is not one the ledger takes")]
    Entry(#[source] EntryError),
    /// An entry lacks its payload in a format that has all of them, or has one and says that it lacks it.
    #[error("entry {0} cannot lack its payload here, or has one although it says that it lacks it")]
    Lacks(u64),
    /// An entry says that payloads were taken which were not, or what stays of them is not what stayed then.
    #[error("it says which payloads retention took, and what stays of those entries is not what it says")]
    Stays,
    /// A payload is missing and nothing says that retention took it.
    #[error("the payload of entry {index} is missing, and no entry says that retention took it: it was cut out")]
    CutOut {
        /// The first such entry.
        index: u64,
    },
    /// A checkpoint in the export does not hold.
    #[error("the checkpoint does not hold")]
    Note(#[source] NoteError),
    /// A checkpoint in the export is over another number of entries than stand before it.
    #[error("a checkpoint over {found} entries stands after {expected} of them")]
    Size {
        /// Its size.
        found: u64,
        /// Entries before it.
        expected: u64,
    },
    /// A signed root is not that of the entries.
    #[error(
        "the entries before it are not those that were signed: the checkpoint over {size} entries has another root"
    )]
    Root {
        /// Its size.
        size: u64,
    },
    /// There is nothing in it.
    #[error("the export holds no entry and no checkpoint: nothing was recorded yet, or all of it was cut off")]
    Empty,
    /// The end is not vouched for.
    #[error("the last checkpoint covers {signed} of {entries} entries: the rest is unsigned, or the end was cut off")]
    Unsigned {
        /// Entries it covers.
        signed: u64,
        /// Entries there are.
        entries: u64,
    },
    /// A checkpoint kept outside does not hold.
    #[error("the outside checkpoint over {size} entries does not hold for this log")]
    Outside {
        /// Its size.
        size: u64,
        /// Why.
        #[source]
        source: NoteError,
    },
    /// A checkpoint kept outside covers other entries.
    #[error("an outside checkpoint over {size} entries has another root: the log was rewritten")]
    Rewritten {
        /// Its size.
        size: u64,
    },
    /// A checkpoint kept outside covers more than there is.
    #[error("an outside checkpoint covers {size} entries, the export has {entries}: its end was cut off")]
    Truncated {
        /// Its size.
        size: u64,
        /// Entries there are.
        entries: u64,
    },
}

/// Verifies an export, in one pass and constant memory, but for some 50 bytes for each payload that retention took.
///
/// # Errors
/// At the first line that is not as it must be.
pub fn verify<R: BufRead>(export: R, trust: &Trust) -> Result<Report, Fault> {
    let mut lines = Lines { reader: export, line: 0 };
    let header = match lines.next()? {
        Some(Line::Header(header)) => header,
        _ => return Err(lines.fault(What::Order { expected: "a header" })),
    };
    let outside = check_header(&header, trust).map_err(|what| lines.fault(what))?;
    let mut log = Log::new(&header, outside);
    log.meet_outside().map_err(|what| lines.fault(what))?;
    while let Some(line) = lines.next()? {
        log.take(line).map_err(|what| lines.fault(what))?;
    }
    lines.line += 1;
    log.end(trust).map_err(|what| lines.fault(what))
}

fn check_header<'t>(header: &Header, trust: &'t Trust) -> Result<Vec<&'t SignedCheckpoint>, What> {
    if header.format != FORMAT && header.format != FORMAT_LACKING {
        return Err(What::Format(header.format.chars().take(64).collect()));
    }
    if let Some(expected) = trust.origin.as_ref().filter(|expected| **expected != header.origin) {
        return Err(What::Origin { found: header.origin.clone(), expected: expected.clone() });
    }
    if let Some(expected) = trust.key.filter(|expected| *expected != header.key) {
        return Err(What::Key { found: header.key, expected });
    }
    let mut outside: Vec<&SignedCheckpoint> = trust.checkpoints.iter().collect();
    outside.sort_by_key(|note| note.checkpoint().size);
    for note in &outside {
        let (origin, size) = (&note.checkpoint().origin, note.checkpoint().size);
        if *origin != header.origin {
            return Err(What::Origin { found: header.origin.clone(), expected: origin.clone() });
        }
        note.check(&header.key).map_err(|source| What::Outside { size, source })?;
    }
    Ok(outside)
}

/// What has been read of the log so far.
struct Log<'a> {
    header: &'a Header,
    outside: std::iter::Peekable<std::vec::IntoIter<&'a SignedCheckpoint>>,
    met: u64,
    outside_size: Option<u64>,
    tree: Frontier,
    unvouched: Unvouched,
    removed: u64,
    signed: Option<u64>,
    checkpoints: u64,
    first_at: Option<Timestamp>,
    last_at: Option<Timestamp>,
}

impl<'a> Log<'a> {
    fn new(header: &'a Header, outside: Vec<&'a SignedCheckpoint>) -> Self {
        Self {
            header,
            outside: outside.into_iter().peekable(),
            met: 0,
            outside_size: None,
            tree: Frontier::new(),
            unvouched: Unvouched::default(),
            removed: 0,
            signed: None,
            checkpoints: 0,
            first_at: None,
            last_at: None,
        }
    }

    fn take(&mut self, line: Line) -> Result<(), What> {
        match line {
            Line::Header(_) => Err(What::Order { expected: "an entry or a checkpoint" }),
            Line::Entry(entry) => {
                let expected = self.tree.size();
                if entry.index != expected {
                    return Err(What::Index { found: entry.index, expected });
                }
                entry.entry.check().map_err(What::Entry)?;
                let event = &entry.entry.event;
                let canonical = |source| What::Entry(EntryError::Canonical { event: event.clone(), source });
                let leaf = entry.leaf_hash().map_err(canonical)?;
                if entry.leaf.is_some() {
                    if self.header.format != FORMAT_LACKING || !entry.entry.payload.is_null() {
                        return Err(What::Lacks(entry.index));
                    }
                    self.unvouched.meet(&entry).map_err(canonical)?;
                } else if *event == removal::EVENT {
                    let vouched = Removal::read(&entry.entry).and_then(|removal| self.unvouched.vouch(&removal));
                    self.removed += vouched.ok_or(What::Stays)?;
                }
                self.tree.push(leaf);
                self.first_at.get_or_insert(entry.entry.at);
                self.last_at = Some(entry.entry.at);
                self.meet_outside()
            }
            Line::Checkpoint(note) => {
                let note: SignedCheckpoint = note.parse().map_err(What::Note)?;
                let checkpoint = note.check(&self.header.key).map_err(What::Note)?;
                if checkpoint.origin != self.header.origin {
                    let expected = self.header.origin.clone();
                    return Err(What::Origin { found: checkpoint.origin.clone(), expected });
                }
                let size = self.tree.size();
                if checkpoint.size != size || self.signed == Some(size) {
                    return Err(What::Size { found: checkpoint.size, expected: size });
                }
                if checkpoint.root != self.tree.root() {
                    return Err(What::Root { size });
                }
                self.signed = Some(size);
                self.checkpoints += 1;
                Ok(())
            }
        }
    }

    /// Compares the outside checkpoints over as many entries as have been read.
    fn meet_outside(&mut self) -> Result<(), What> {
        let size = self.tree.size();
        while let Some(note) = self.outside.next_if(|note| note.checkpoint().size == size) {
            if note.checkpoint().root != self.tree.root() {
                return Err(What::Rewritten { size });
            }
            self.met += 1;
            self.outside_size = Some(size);
        }
        Ok(())
    }

    fn end(mut self, trust: &Trust) -> Result<Report, What> {
        let entries = self.tree.size();
        if let Some(note) = self.outside.next() {
            return Err(What::Truncated { size: note.checkpoint().size, entries });
        }
        if entries == 0 && self.signed.is_none() {
            return Err(What::Empty);
        }
        if self.signed != Some(entries) {
            return Err(What::Unsigned { signed: self.signed.unwrap_or(0), entries });
        }
        if let Some(index) = self.unvouched.first() {
            return Err(What::CutOut { index });
        }
        Ok(Report {
            origin: self.header.origin.clone(),
            key: self.header.key,
            entries,
            removed: self.removed,
            root: self.tree.root(),
            checkpoints: self.checkpoints,
            outside: self.met,
            outside_size: self.outside_size,
            anchored: trust.key.is_some() || self.met > 0,
            first_at: self.first_at,
            last_at: self.last_at,
        })
    }
}

/// Reads lines that are spelled as an export spells them.
struct Lines<R> {
    reader: R,
    line: u64,
}

impl<R: BufRead> Lines<R> {
    fn fault(&self, what: What) -> Fault {
        Fault { line: self.line, what }
    }

    fn next(&mut self) -> Result<Option<Line>, Fault> {
        self.line += 1;
        let mut bytes = Vec::new();
        self.reader
            .by_ref()
            .take(MAX_LINE + 1)
            .read_until(b'\n', &mut bytes)
            .map_err(|source| self.fault(What::Read(source)))?;
        if bytes.is_empty() {
            self.line -= 1;
            return Ok(None);
        }
        if bytes.pop() != Some(b'\n') {
            let what = if bytes.len() as u64 >= MAX_LINE { What::TooLong } else { What::Cut };
            return Err(self.fault(what));
        }
        let line: Line = serde_json::from_slice(&bytes).map_err(|source| self.fault(What::Line(source)))?;
        let spelled = spell(&line).map_err(|source| self.fault(What::Line(source)))?;
        if spelled.as_bytes() != bytes {
            return Err(self.fault(What::Spelling));
        }
        Ok(Some(line))
    }
}
