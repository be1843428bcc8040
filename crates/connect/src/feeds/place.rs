//! The place of a feed in its folder, and the file that grows beside it.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_model::Digest;
use stanch_model::canonical::Hasher;

use super::error::FetchError;
use super::state::State;

/// What the server said of the file that is being received: only the same file may be continued.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Validators {
    pub(super) url: String,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
}

impl Validators {
    /// What may stand in `If-Range`: a strong tag, else a time.
    pub(super) fn if_range(&self) -> Option<&str> {
        let strong = self.etag.as_deref().filter(|tag| !tag.starts_with("W/"));
        strong.or(self.last_modified.as_deref())
    }
}

/// A feed's place.
#[derive(Debug, Clone)]
pub(super) struct Place {
    folder: PathBuf,
    name: String,
    /// Where the last good one lies.
    pub(super) good: PathBuf,
    /// Where the next one grows.
    pub(super) part: PathBuf,
    part_about: PathBuf,
}

impl Place {
    pub(super) fn new(folder: &Path, name: &str, file: &str) -> Result<Self, FetchError> {
        let relative = Path::new(file);
        let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
        let Some(last) = relative.file_name().filter(|_| plain) else {
            let why = "it must lead to a file inside the folder of feeds";
            return Err(FetchError::Unusable { what: "the place", text: file.to_owned(), why });
        };
        let beside = |end: &str| {
            let mut name = last.to_owned();
            name.push(end);
            folder.join(relative).with_file_name(name)
        };
        Ok(Self {
            folder: folder.to_owned(),
            name: name.to_owned(),
            good: folder.join(relative),
            part: beside(".part"),
            part_about: beside(".part-about"),
        })
    }

    /// How much of which file was received before.
    pub(super) fn begun(&self) -> Option<(u64, Validators)> {
        let length = fs::metadata(&self.part).ok()?.len();
        let about: Validators = serde_json::from_slice(&fs::read(&self.part_about).ok()?).ok()?;
        (length > 0).then_some((length, about))
    }

    pub(super) fn begin(&self, validators: &Validators) -> Result<(), FetchError> {
        self.drop_part();
        write(&self.part_about, &serde_json::to_vec(validators).unwrap_or_default())
    }

    pub(super) fn drop_part(&self) {
        // What is not there need not be removed.
        let _ = fs::remove_file(&self.part);
        let _ = fs::remove_file(&self.part_about);
    }

    pub(super) fn part_digest(&self) -> Result<(Digest, u64), FetchError> {
        digest(&self.part)
    }
}

/// A whole, checked download that waits to be read and accepted.
#[derive(Debug)]
pub struct Incoming {
    pub(super) place: Place,
    pub(super) digest: Digest,
    pub(super) bytes: u64,
    pub(super) validators: Validators,
}

impl Incoming {
    /// Where it lies until it is accepted.
    pub fn path(&self) -> &Path {
        &self.place.part
    }

    /// Its digest.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Its size in bytes.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Puts it in its place: whoever reads it found it good.
    ///
    /// # Errors
    /// When the folder cannot be written; the last good one stays then.
    pub fn accept(self, now: Timestamp) -> Result<PathBuf, FetchError> {
        let Place { folder, name, good, part, part_about } = self.place;
        fs::rename(&part, &good).map_err(FetchError::file("put in place", &good))?;
        sync_folder(&good)?;
        let _ = fs::remove_file(&part_about);
        let state = State {
            tried_at: Some(now),
            checked_at: Some(now),
            accepted_at: Some(now),
            digest: Some(self.digest),
            failures: 0,
            failure: None,
            etag: self.validators.etag,
            last_modified: self.validators.last_modified,
            url: Some(self.validators.url),
        };
        state.save(&folder, &name)?;
        Ok(good)
    }

    /// Throws it away: whoever reads it found it bad. The last good one stays.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn refuse(self, now: Timestamp, why: &str) -> Result<(), FetchError> {
        self.place.drop_part();
        State::failed(&self.place.folder, &self.place.name, now, why)
    }
}

pub(super) fn digest(path: &Path) -> Result<(Digest, u64), FetchError> {
    let mut file = File::open(path).map_err(FetchError::file("read", path))?;
    let mut hasher = Hasher::new();
    let mut bytes = 0;
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = file.read(&mut buffer).map_err(FetchError::file("read", path))?;
        if count == 0 {
            return Ok((hasher.finish(), bytes));
        }
        bytes += count as u64;
        hasher.update(buffer.get(..count).unwrap_or_default());
    }
}

/// Writes a small file so that after a crash either the old or the new one is there.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), FetchError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(FetchError::file("make the folder of", path))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    let mut file = File::create(&beside).map_err(FetchError::file("write", &beside))?;
    file.write_all(bytes).map_err(FetchError::file("write", &beside))?;
    file.sync_all().map_err(FetchError::file("write", &beside))?;
    fs::rename(&beside, path).map_err(FetchError::file("put in place", path))?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> Result<(), FetchError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(FetchError::file("make durable", folder))
}
