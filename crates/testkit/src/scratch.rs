//! Folders that go away with their owner, also if the owner was killed.
//!
//! Every folder has a lock file beside it, locked for as long as its owner lives. Whoever makes a folder first removes
//! those whose lock nobody holds, so a test that was killed leaves nothing for long.

use std::{
    fs::{self, File, OpenOptions},
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// A folder below the cache that is removed on drop.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    lock_path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// A new empty folder in `parent`; abandoned ones are swept away first.
    pub(crate) fn new(parent: &Path, prefix: &str) -> Result<Self> {
        fs::create_dir_all(parent)?;
        sweep(parent)?;
        loop {
            let id = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
            let name = format!("{prefix}-{}", id.get(..8).unwrap_or(id.trim()));
            let lock_path = parent.join(format!("{name}.lock"));
            let lock = match OpenOptions::new().write(true).create_new(true).open(&lock_path) {
                Ok(lock) => lock,
                Err(e) if e.kind() == ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(e).with_context(|| format!("cannot make {}", lock_path.display())),
            };
            lock.lock()?;
            // A sweeper may have been faster than our lock.
            if lock.metadata()?.nlink() == 0 {
                continue;
            }
            let path = parent.join(name);
            fs::create_dir(&path)?;
            return Ok(Self { path, lock_path, _lock: lock });
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            eprintln!("testkit: cannot remove {}: {error}", self.path.display());
            return;
        }
        // A control group that is still in use keeps the lock file, and with it the next sweeper's attention.
        if crate::world::remove_cgroup(&self.name()) {
            let _ = fs::remove_file(&self.lock_path);
        }
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn sweep(parent: &Path) -> Result<()> {
    for entry in fs::read_dir(parent)? {
        let lock_path = entry?.path();
        if lock_path.extension().is_none_or(|e| e != "lock") {
            continue;
        }
        let Ok(lock) = File::open(&lock_path) else { continue };
        if lock.try_lock().is_err() {
            continue;
        }
        let folder = lock_path.with_extension("");
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if remove(&folder).is_ok() && crate::world::remove_cgroup(&name) {
            let _ = fs::remove_file(&lock_path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_removed_on_drop_and_swept_when_abandoned() {
        let parent = tempfile::tempdir().unwrap();
        let kept = Scratch::new(parent.path(), "kept").unwrap();
        let gone = Scratch::new(parent.path(), "gone").unwrap().path().to_path_buf();
        assert!(!gone.exists());

        fs::create_dir(parent.path().join("dead-1")).unwrap();
        File::create(parent.path().join("dead-1.lock")).unwrap();
        let _other = Scratch::new(parent.path(), "other").unwrap();
        assert!(kept.path().exists());
        assert!(!parent.path().join("dead-1").exists());
        assert!(!parent.path().join("dead-1.lock").exists());
    }
}
