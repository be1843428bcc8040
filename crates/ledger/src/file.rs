//! The outside copy of the checkpoints: notes one after another in a file that is only ever appended to.
//!
//! Put it where the server cannot rewrite it: a folder with the append-only attribute (`chattr +a`), another host's
//! disk, a bucket with object lock. The server cannot vouch for that place; it only appends and syncs.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::checkpoint::{NoteError, SignedCheckpoint};

/// A larger file is refused: some ten years of a checkpoint a minute.
const MAX_FILE: u64 = 2 * 1024 * 1024 * 1024;

/// The file of checkpoints, open for appending.
#[derive(Debug)]
pub struct CheckpointFile {
    file: File,
    path: PathBuf,
    last: Option<SignedCheckpoint>,
}

/// What a file of checkpoints holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// The checkpoints, in the order they were appended.
    pub checkpoints: Vec<SignedCheckpoint>,
    /// Bytes of a last note that was broken off; it vouches for nothing.
    pub torn: usize,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be opened or read.
    #[error("the checkpoints in {path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be appended to.
    #[error("no checkpoint can be appended to {path}")]
    Append {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It holds something else.
    #[error("checkpoint {number} does not read")]
    Note {
        /// Which one, from 1.
        number: usize,
        /// Why.
        #[source]
        source: NoteError,
    },
}

/// Reads notes that stand one after another.
///
/// # Errors
/// When something in between is no note.
pub fn read_notes(text: &str) -> Result<Kept, FileError> {
    let mut kept = Kept::default();
    let mut rest = text;
    while !rest.is_empty() {
        let number = kept.checkpoints.len() + 1;
        match SignedCheckpoint::take(rest).map_err(|source| FileError::Note { number, source })? {
            Some((note, after)) => {
                kept.checkpoints.push(note);
                rest = after;
            }
            None => {
                kept.torn = rest.len();
                break;
            }
        }
    }
    Ok(kept)
}

impl CheckpointFile {
    /// Opens the file, and makes it when it is not there. A last note that a crash broke off is completed by nothing
    /// and cut away.
    ///
    /// # Errors
    /// When it cannot be opened, or holds something else.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let read = |source| FileError::Read { path: path.to_owned(), source };
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(read)?;
        let mut bytes = Vec::new();
        io::Read::by_ref(&mut file).take(MAX_FILE).read_to_end(&mut bytes).map_err(read)?;
        // A character may be broken off too.
        let (text, broken) = match std::str::from_utf8(&bytes) {
            Ok(text) => (text, 0),
            Err(error) if error.error_len().is_none() => {
                let valid = error.valid_up_to();
                let text = bytes.get(..valid).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
                (text, bytes.len() - valid)
            }
            Err(error) => return Err(read(io::Error::new(io::ErrorKind::InvalidData, error))),
        };
        let mut kept = read_notes(text)?;
        let torn = kept.torn + broken;
        if torn > 0 {
            let append = |source| FileError::Append { path: path.to_owned(), source };
            file.set_len((bytes.len() - torn) as u64).map_err(append)?;
        }
        Ok(Self { file, path: path.to_owned(), last: kept.checkpoints.pop() })
    }

    /// The last checkpoint in it.
    pub const fn last(&self) -> Option<&SignedCheckpoint> {
        self.last.as_ref()
    }

    /// Appends a checkpoint and waits until it is on disk.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&mut self, checkpoint: &SignedCheckpoint) -> Result<(), FileError> {
        let append = |source| FileError::Append { path: self.path.clone(), source };
        self.file.write_all(checkpoint.to_string().as_bytes()).map_err(append)?;
        self.file.sync_data().map_err(append)?;
        self.last = Some(checkpoint.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use stanch_model::canonical::Digest;

    use super::*;
    use crate::checkpoint::Signer;

    #[test]
    fn a_note_broken_off_at_any_byte_is_cut_away_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoints.log");
        let signer = Signer::from_seed("stanch.test/log", &[7; 32]).unwrap();
        let (first, second) = (signer.sign(1, Digest::of_bytes(b"1")), signer.sign(2, Digest::of_bytes(b"2")));
        let whole = [first.to_string(), second.to_string()].concat();
        for cut in first.to_string().len()..whole.len() {
            std::fs::write(&path, &whole.as_bytes()[..cut]).unwrap();
            let mut file = CheckpointFile::open(&path).unwrap();
            assert_eq!(file.last(), Some(&first), "cut at {cut}");
            file.append(&second).unwrap();
            let kept = read_notes(&std::fs::read_to_string(&path).unwrap()).unwrap();
            assert_eq!(kept, Kept { checkpoints: vec![first.clone(), second.clone()], torn: 0 });
        }
    }

    #[test]
    fn a_file_of_something_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoints.log");
        std::fs::write(&path, "my diary, do not touch\nreally\nnot\n").unwrap();
        assert!(matches!(CheckpointFile::open(&path), Err(FileError::Note { number: 1, .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "my diary, do not touch\nreally\nnot\n");
    }
}
