//! One server per data folder: two would both believe that they alone hand out orders.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The held lock; it ends with the process, however that ends.
#[derive(Debug)]
pub(crate) struct DataLock {
    _file: File,
}

/// Why the lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The lock file cannot be opened.
    #[error("cannot open the lock file {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process holds it.
    #[error("the data folder {} is in use by {holder}", folder.display())]
    Held {
        /// The folder.
        folder: PathBuf,
        /// Who holds it, as that process wrote.
        holder: String,
    },
}

impl DataLock {
    /// Takes the lock of a data folder, or tells who has it.
    pub(crate) fn take(folder: &Path) -> Result<Self, LockError> {
        let path = folder.join("lock");
        let open = |source| LockError::Open { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(open)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut text = String::new();
            let _ = (&file).take(200).read_to_string(&mut text);
            let text = text.trim();
            let holder = if text.is_empty() { "another process".to_owned() } else { text.to_owned() };
            return Err(LockError::Held { folder: folder.to_owned(), holder });
        }
        file.set_len(0).map_err(open)?;
        file.rewind().map_err(open)?;
        writeln!(file, "stanch, process {}", std::process::id()).map_err(open)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_is_told_who_holds_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataLock::take(folder.path()).unwrap();
        let error = DataLock::take(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("stanch, process {}", std::process::id())), "{error}");
        drop(first);
        DataLock::take(folder.path()).unwrap();
    }
}
