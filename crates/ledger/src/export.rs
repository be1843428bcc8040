//! The export: one JSON line for the header, each entry and each checkpoint, in the order they came to be. It can be
//! streamed, and is exact to the byte: what says the same in other bytes is not an export.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use stanch_model::sign::VerifyingKey;

use crate::checkpoint::SignedCheckpoint;
use crate::entry::Entry;
use crate::text::spell;

/// Names this format and its version.
pub const FORMAT: &str = "stanch-ledger-export/v1";
/// The same where retention took payloads: their entries carry the hash of their leaf.
pub const FORMAT_LACKING: &str = "stanch-ledger-export/v2";

/// One line of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The first line.
    Header(Header),
    /// An entry.
    Entry(Entry),
    /// A checkpoint over all entries before it, as the text of its note.
    Checkpoint(String),
}

/// What an export says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`] or [`FORMAT_LACKING`].
    pub format: String,
    /// The log's name.
    pub origin: String,
    /// The key its checkpoints are signed with. Pin it: an export alone cannot vouch for it.
    pub key: VerifyingKey,
}

/// Why an export could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The place it goes to refused it.
    #[error("the export cannot be written")]
    Write(#[source] io::Error),
    /// A line has no JSON form.
    #[error("line {0} of the export has no JSON form")]
    Spell(u64, #[source] serde_json::Error),
}

/// Writes an export, line by line. The last line should be a checkpoint over all entries: what follows it is not
/// vouched for, and verification says so.
pub struct Exporter<W> {
    out: W,
    lines: u64,
}

impl<W: Write> Exporter<W> {
    /// Begins an export.
    ///
    /// # Errors
    /// When the header cannot be written.
    pub fn begin(out: W, origin: &str, key: VerifyingKey) -> Result<Self, ExportError> {
        Self::begin_as(FORMAT, out, origin, key)
    }

    /// Begins an export of a ledger that lacks payloads.
    ///
    /// # Errors
    /// When the header cannot be written.
    pub fn begin_lacking(out: W, origin: &str, key: VerifyingKey) -> Result<Self, ExportError> {
        Self::begin_as(FORMAT_LACKING, out, origin, key)
    }

    fn begin_as(format: &str, out: W, origin: &str, key: VerifyingKey) -> Result<Self, ExportError> {
        let mut exporter = Self { out, lines: 0 };
        exporter.line(&Line::Header(Header { format: format.to_owned(), origin: origin.to_owned(), key }))?;
        Ok(exporter)
    }

    /// Writes an entry.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn entry(&mut self, entry: Entry) -> Result<(), ExportError> {
        self.line(&Line::Entry(entry))
    }

    /// Writes a checkpoint over the entries written so far.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn checkpoint(&mut self, checkpoint: &SignedCheckpoint) -> Result<(), ExportError> {
        self.line(&Line::Checkpoint(checkpoint.to_string()))
    }

    /// Ends the export; gives back the place it went to.
    ///
    /// # Errors
    /// When what was written cannot be flushed.
    pub fn finish(mut self) -> Result<W, ExportError> {
        self.out.flush().map_err(ExportError::Write)?;
        Ok(self.out)
    }

    fn line(&mut self, line: &Line) -> Result<(), ExportError> {
        self.lines += 1;
        let mut text = spell(line).map_err(|source| ExportError::Spell(self.lines, source))?;
        text.push('\n');
        self.out.write_all(text.as_bytes()).map_err(ExportError::Write)
    }
}
