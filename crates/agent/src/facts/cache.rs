//! Remembers what was read from large files until they change, so that a warm scan reads none of them. The memory is
//! only ever a shortcut: whatever does not fit, cannot be read or is not ours is read anew.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stanch_model::canonical::{Digest, digest};
use stanch_model::facts::Package;

use super::apt::Entry;
use super::bundled::Content;
use super::root::{FileStamp, Stamp};

const FORMAT: u32 = 1;
const MAX_CACHE: u64 = 64 << 20;

/// What is remembered.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    path: Option<PathBuf>,
    kept: Kept,
    changed: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    format: u32,
    /// The names that the indexes were searched for.
    names: Option<Digest>,
    indexes: BTreeMap<String, Index>,
    owners: Owners,
    #[serde(default)]
    files: Files,
}

#[derive(Debug, Serialize, Deserialize)]
struct Index {
    stamp: Stamp,
    entries: Vec<Entry>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Owners {
    stamp: Option<Stamp>,
    paths: BTreeMap<String, Option<String>>,
}

/// What lies inside files, as the table of libraries had it then.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Files {
    edition: Option<Digest>,
    read: BTreeMap<String, ReadFile>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ReadFile {
    stamp: FileStamp,
    content: Content,
}

impl Cache {
    /// Opens what an earlier run left for the same set of installed names.
    pub(crate) fn open(path: Option<&Path>, packages: &[Package]) -> Self {
        let Some(path) = path else { return Self::default() };
        let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
        let names = digest("stanch/facts-cache/v1", &names).ok();
        let kept = load(path).filter(|kept| kept.format == FORMAT).unwrap_or_default();
        let indexes = if kept.names == names { kept.indexes } else { BTreeMap::new() };
        let kept = Kept { format: FORMAT, names, indexes, owners: kept.owners, files: kept.files };
        Self { path: Some(path.to_owned()), kept, changed: false }
    }

    /// What an index held, if it has not changed since.
    pub(crate) fn index(&mut self, file: &str, stamp: Stamp) -> Option<Vec<Entry>> {
        let index = self.kept.indexes.get_mut(file).filter(|index| index.stamp == stamp)?;
        Some(index.entries.clone())
    }

    /// Keeps what an index holds.
    pub(crate) fn keep_index(&mut self, file: &str, stamp: Stamp, entries: &[Entry]) {
        if self.path.is_some() {
            self.changed = true;
            self.kept.indexes.insert(file.to_owned(), Index { stamp, entries: entries.to_vec() });
        }
    }

    /// Forgets indexes that are no longer there.
    pub(crate) fn retain(&mut self, there: impl Fn(&str) -> bool) {
        let before = self.kept.indexes.len();
        self.kept.indexes.retain(|file, _| there(file));
        self.changed |= before != self.kept.indexes.len();
    }

    /// The owner of a path as of the package database with this stamp; the outer `None` when it was not looked up.
    pub(crate) fn owner(&self, stamp: Stamp, path: &str) -> Option<Option<String>> {
        if self.kept.owners.stamp != Some(stamp) {
            return None;
        }
        self.kept.owners.paths.get(path).cloned()
    }

    /// Keeps the owner of a path.
    pub(crate) fn keep_owner(&mut self, stamp: Stamp, path: &str, owner: Option<&str>) {
        if self.path.is_none() {
            return;
        }
        if self.kept.owners.stamp != Some(stamp) || self.kept.owners.paths.len() > 10_000 {
            self.kept.owners = Owners { stamp: Some(stamp), paths: BTreeMap::new() };
        }
        self.changed = true;
        self.kept.owners.paths.insert(path.to_owned(), owner.map(str::to_owned));
    }

    /// What lay inside a file, if neither it nor the table of libraries has changed since.
    pub(crate) fn file(&self, path: &str, stamp: FileStamp, edition: Digest) -> Option<Content> {
        let read = self.kept.files.read.get(path).filter(|read| read.stamp == stamp)?;
        (self.kept.files.edition == Some(edition)).then(|| read.content.clone())
    }

    /// Keeps what lies inside all files that were looked at, and forgets the rest.
    pub(crate) fn keep_files(&mut self, edition: Digest, all: BTreeMap<String, (FileStamp, Content)>) {
        if self.path.is_none() {
            return;
        }
        let known = &self.kept.files;
        let same = known.edition == Some(edition)
            && known.read.len() == all.len()
            && all.iter().all(|(path, (stamp, _))| known.read.get(path).is_some_and(|read| read.stamp == *stamp));
        if !same {
            self.changed = true;
            let read = all.into_iter().map(|(path, (stamp, content))| (path, ReadFile { stamp, content })).collect();
            self.kept.files = Files { edition: Some(edition), read };
        }
    }

    /// Writes it down for the next run. That it could not be is no failure of this run.
    pub(crate) fn close(self) {
        let Some(path) = self.path.filter(|_| self.changed) else { return };
        if let Err(error) = save(&path, &self.kept) {
            tracing::debug!(path = %path.display(), %error, "the facts cache was not written");
        }
    }
}

/// Only a file that nobody but we could have written is believed.
fn load(path: &Path) -> Option<Kept> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).ok()?;
    let file = File::options().read(true).custom_flags(flags).open(path).ok()?;
    let meta = file.metadata().ok()?;
    let ours = meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o022 == 0;
    if !meta.is_file() || !ours || meta.len() > MAX_CACHE {
        return None;
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).ok()?);
    file.take(MAX_CACHE).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn save(path: &Path, kept: &Kept) -> std::io::Result<()> {
    let part = path.with_extension(format!("part{}", std::process::id()));
    let written = (|| {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&part)?;
        file.write_all(&serde_json::to_vec(kept)?)?;
        fs::rename(&part, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written
}
