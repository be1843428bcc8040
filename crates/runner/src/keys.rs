//! The executor's receipt key: made once, readable by its owner alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use stanch_model::sign::{BadKey, SigningKey};

/// Why there is no receipt key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file system said no.
    #[error("cannot {verb} {path}")]
    File {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("{path} does not hold a key")]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: BadKey,
    },
    /// Others can read it.
    #[error("{path} can be read by others (mode {mode:o})")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

/// Makes a folder that only its owner enters, if it is not there. One that is there must be this user's, and nobody
/// else may write to it: whoever can could put a key or a journal of their own in place.
pub(crate) fn private_folder(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let about = fs::metadata(path)?;
    let (owner, own) = (about.uid(), rustix::process::geteuid().as_raw());
    let why = if owner != own {
        format!("the folder {} belongs to user {owner}, and this runs as user {own}", path.display())
    } else if about.mode() & 0o022 != 0 {
        let mode = about.mode() & 0o777;
        format!("others can write to the folder {} (mode {mode:o}): `chmod go-w` it", path.display())
    } else {
        return Ok(());
    };
    Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, why))
}

/// The seed in `folder/receipt.key`; the first time it is `fresh`, written durably.
pub(crate) fn receipt_key(folder: &Path, fresh: &[u8; 32]) -> Result<(SigningKey, [u8; 32]), KeyError> {
    let path = folder.join("receipt.key");
    let failed = |verb| {
        let path = path.clone();
        move |source| KeyError::File { verb, path, source }
    };
    private_folder(folder).map_err(failed("make the folder of"))?;
    match File::open(&path) {
        Ok(file) => read(&file, &path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // Made beside its place and then renamed: half a key is never found.
            let draft = folder.join("receipt.key.new");
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&draft).map_err(failed("make"))?;
            file.write_all(hex::encode(fresh).as_bytes()).map_err(failed("write"))?;
            file.sync_all().map_err(failed("sync"))?;
            fs::rename(&draft, &path).map_err(failed("rename"))?;
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync the folder of"))?;
            read(&File::open(&path).map_err(failed("read"))?, &path)
        }
        Err(error) => Err(failed("read")(error)),
    }
}

fn read(file: &File, path: &Path) -> Result<(SigningKey, [u8; 32]), KeyError> {
    let failed = |source| KeyError::File { verb: "read", path: path.to_owned(), source };
    let mode = file.metadata().map_err(failed)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.take(65).read_to_string(&mut text).map_err(failed)?;
    let mut seed = [0; 32];
    let bad = |source| KeyError::NotAKey { path: path.to_owned(), source };
    hex::decode_to_slice(text.trim(), &mut seed).map_err(|_| bad(BadKey))?;
    Ok((SigningKey::from_seed(&seed).map_err(bad)?, seed))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_kept_from_others() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("keys");
        let (first, _) = receipt_key(&folder, &[7; 32]).unwrap();
        let (second, _) = receipt_key(&folder, &[9; 32]).unwrap();
        assert_eq!(first.verifying_key(), second.verifying_key());
        assert_eq!(fs::metadata(folder.join("receipt.key")).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("keys");
        private_folder(&folder).unwrap();
        for mode in [0o770, 0o702] {
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            let refused = receipt_key(&folder, &[7; 32]).unwrap_err();
            assert!(matches!(refused, KeyError::File { .. }), "{refused}");
            let why = private_folder(&folder).unwrap_err().to_string();
            assert!(why.contains("chmod go-w"), "{why}");
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        private_folder(&folder).unwrap();
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        receipt_key(dir.path(), &[7; 32]).unwrap();
        let path = dir.path().join("receipt.key");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(receipt_key(dir.path(), &[7; 32]), Err(KeyError::Exposed { mode: 0o640, .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "short").unwrap();
        assert!(matches!(receipt_key(dir.path(), &[7; 32]), Err(KeyError::NotAKey { .. })));
    }
}
