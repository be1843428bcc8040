//! Files of the way back: each is there whole or not at all, also after a loss of power, and for root alone.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::restore::RestoreError;

pub(super) fn failed<'a>(verb: &'static str, path: &'a Path) -> impl Fn(io::Error) -> RestoreError + 'a {
    move |source| RestoreError::File { verb, path: path.to_owned(), source }
}

/// Writes a file whole or not at all, for root alone.
pub(super) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), RestoreError> {
    let cannot = failed("write", path);
    let part = path.with_extension("part");
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&part);
    file.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all())).map_err(&cannot)?;
    settle(&part, path).map_err(&cannot)
}

/// Copies a file whole or not at all.
pub(super) fn copy(from: &Path, to: &Path, mode: u32) -> Result<(), RestoreError> {
    let cannot = failed("copy to", to);
    let part = to.with_extension("part");
    fs::copy(from, &part).map_err(&cannot)?;
    fs::set_permissions(&part, Permissions::from_mode(mode)).map_err(&cannot)?;
    File::open(&part).and_then(|file| file.sync_all()).map_err(&cannot)?;
    settle(&part, to).map_err(&cannot)
}

/// Gives a file its name so that it keeps it over a loss of power.
fn settle(part: &Path, path: &Path) -> io::Result<()> {
    fs::rename(part, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder).and_then(|folder| folder.sync_all()))
}

pub(super) fn json<T: Serialize>(path: &Path, value: &T) -> Result<(), RestoreError> {
    let bytes =
        serde_json::to_vec_pretty(value).map_err(|source| RestoreError::Damaged { path: path.to_owned(), source })?;
    write(path, &bytes, 0o600)
}

pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, RestoreError> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(failed("read", path))?,
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|source| RestoreError::Damaged { path: path.to_owned(), source })
}

pub(super) fn remove(path: &Path) -> Result<(), RestoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

fn lock_file(path: &Path) -> Result<File, RestoreError> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    file.map_err(failed("open", path))
}

/// Waits until nobody else writes here. Dropping the file lets others.
pub(super) fn lock(path: &Path) -> Result<File, RestoreError> {
    let file = lock_file(path)?;
    file.lock().map_err(failed("lock", path))?;
    Ok(file)
}

/// The same without waiting; nothing while somebody else writes.
pub(super) fn try_lock(path: &Path) -> Result<Option<File>, RestoreError> {
    let file = lock_file(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(failed("lock", path)(error)),
    }
}
