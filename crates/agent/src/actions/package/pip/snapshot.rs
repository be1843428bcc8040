//! Part of an environment as it is, file by file, so that it can be as it was again.
//!
//! pip replaces more than the lists of its packages name: folders go with what is empty or linked in them, their modes are
//! made anew, a file of somebody else at a new file's path is overwritten. So what is looked at are whole folders of
//! packages, and the single files beside them. All is read from the environment's folder, held open, without following a
//! link: its owner may put anything there at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use stanch_model::canonical::{Digest, Hasher};

use super::trust::beneath;

/// Entries of one snapshot.
const MOST_ENTRIES: usize = 200_000;
/// Bytes of its files.
const MOST_BYTES: u64 = 8 << 30;
const DEEPEST: usize = 64;
/// Where contents are kept, below the vault.
pub(super) const CONTENTS: &str = "old";

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(super) enum Entry {
    Folder {
        mode: u32,
    },
    File {
        mode: u32,
        size: u64,
        /// In seconds since 1970. It is put back, and does not tell files apart.
        modified: i64,
        sha256: Digest,
    },
    Link {
        to: String,
    },
    /// A pipe, a socket, a device.
    Other,
}

impl Entry {
    /// Whether these are the same, whenever they were written.
    pub(super) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File { mode, sha256, .. }, Self::File { mode: other_mode, sha256: other_digest, .. }) => {
                mode == other_mode && sha256 == other_digest
            }
            (one, other) => one == other,
        }
    }

    pub(super) const fn is_folder(&self) -> bool {
        matches!(self, Self::Folder { .. })
    }

    /// Adds it to a digest of several.
    pub(super) fn add_to(&self, hasher: &mut Hasher) {
        match self {
            Self::Folder { mode } => hasher.update(format!("folder {mode:o}").as_bytes()),
            Self::File { mode, sha256, .. } => hasher.update(format!("file {mode:o} {sha256}").as_bytes()),
            Self::Link { to } => hasher.update(format!("link {to}").as_bytes()),
            Self::Other => hasher.update(b"other"),
        }
    }
}

/// Whether two are the same, where either may be nothing.
pub(super) fn same(one: Option<&Entry>, other: Option<&Entry>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.same(other),
        (None, None) => true,
        _ => false,
    }
}

/// Entries by their paths below the environment.
pub(super) type Entries = BTreeMap<String, Entry>;

/// Which part of an environment is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Area {
    /// Folders with all in them.
    trees: BTreeSet<String>,
    /// Paths by themselves: files, and the folders that these lie in.
    single: BTreeSet<String>,
}

impl Area {
    /// Adds what may change when this path does.
    pub(super) fn add(&mut self, sites: &[String], path: &str) {
        let mut at = path;
        while let Some((folder, _)) = at.rsplit_once('/') {
            self.single.insert(folder.to_owned());
            at = folder;
        }
        let inside = sites.iter().find_map(|site| Some((site, path.strip_prefix(site.as_str())?.strip_prefix('/')?)));
        match inside.and_then(|(site, rest)| Some((site, rest.split_once('/')?.0))) {
            Some((site, top)) if top != CACHE => self.trees.insert(format!("{site}/{top}")),
            _ => self.single.insert(path.to_owned()),
        };
        if let Some((folder, _)) = path.rsplit_once('/').filter(|_| path.ends_with(".py")) {
            self.single.insert(format!("{folder}/{CACHE}"));
        }
    }

    fn covers(&self, path: &str) -> bool {
        self.single.contains(path)
            || self
                .trees
                .iter()
                .any(|tree| path.strip_prefix(tree.as_str()).is_some_and(|r| r.is_empty() || r.starts_with('/')))
    }
}

/// Where Python keeps what it compiled.
pub(super) const CACHE: &str = "__pycache__";

/// Whether Python writes this by itself, whenever it likes.
pub(super) fn is_compiled(path: &str) -> bool {
    path.split('/').any(|part| part == CACHE)
}

/// The file that something compiled was compiled from.
pub(super) fn source_of(compiled: &str) -> Option<String> {
    let (folder, name) = compiled.rsplit_once('/')?;
    let above = folder.strip_suffix(CACHE)?;
    let stem = name.strip_suffix(".pyc")?.split('.').next()?;
    (above.is_empty() || above.ends_with('/')).then(|| format!("{above}{stem}.py"))
}

/// Who has to own what is kept, so that it comes back as it was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owned {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Reads an environment.
pub(super) struct Reader<'a> {
    folder: BorrowedFd<'a>,
    /// Keeps contents in this vault, and takes only what can be put back.
    keep: Option<(&'a Path, Owned)>,
    bytes: u64,
    entries: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(folder: BorrowedFd<'a>) -> Self {
        Self { folder, keep: None, bytes: MOST_BYTES, entries: MOST_ENTRIES }
    }

    /// The same that keeps contents in a vault with so much room.
    pub(super) fn keeping(self, vault: &'a Path, room: u64, owned: Owned) -> Self {
        Self { keep: Some((vault, owned)), bytes: self.bytes.min(room), ..self }
    }

    /// What is at one path; nothing where nothing is.
    pub(super) fn entry(&mut self, path: &str) -> io::Result<Option<Entry>> {
        let fd = match beneath(self.folder, path, OFlags::PATH) {
            Ok(fd) => fd,
            // What lies below a link or a file is not there.
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        self.read(fd, path).map(Some)
    }

    /// All that is in an area.
    pub(super) fn area(&mut self, area: &Area) -> io::Result<Entries> {
        let mut entries = Entries::new();
        for path in &area.single {
            if let Some(entry) = self.entry(path)? {
                let cache = entry.is_folder() && path.rsplit('/').next() == Some(CACHE);
                entries.insert(path.clone(), entry);
                if cache {
                    self.caches(path, area, &mut entries)?;
                }
            }
        }
        for tree in &area.trees {
            if let Some(entry) = self.entry(tree)? {
                let inside = entry.is_folder();
                entries.insert(tree.clone(), entry);
                if inside {
                    self.tree(tree, 0, &mut entries)?;
                }
            }
        }
        Ok(entries)
    }

    /// What was compiled of the single files of an area.
    fn caches(&mut self, cache: &str, area: &Area, entries: &mut Entries) -> io::Result<()> {
        for name in self.names(cache)? {
            let path = format!("{cache}/{name}");
            if source_of(&path).is_some_and(|source| area.covers(&source))
                && let Some(entry) = self.entry(&path)?
            {
                entries.insert(path, entry);
            }
        }
        Ok(())
    }

    fn tree(&mut self, folder: &str, depth: usize, entries: &mut Entries) -> io::Result<()> {
        if depth > DEEPEST {
            return Err(io::Error::other(format!("{folder} lies too deep")));
        }
        for name in self.names(folder)? {
            let path = format!("{folder}/{name}");
            let Some(entry) = self.entry(&path)? else { continue };
            let inside = entry.is_folder();
            entries.insert(path.clone(), entry);
            if inside {
                self.tree(&path, depth + 1, entries)?;
            }
        }
        Ok(())
    }

    /// The names in a folder below; in the folder itself for an empty path.
    pub(super) fn names(&mut self, folder: &str) -> io::Result<Vec<String>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = if folder.is_empty() {
            rustix::fs::openat(self.folder, ".", flags, Mode::empty()).map_err(io::Error::from)
        } else {
            beneath(self.folder, folder, flags)
        };
        let fd = match opened {
            Ok(fd) => fd,
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&fd)? {
            let entry = entry?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            let name = std::str::from_utf8(entry.file_name().to_bytes())
                .map_err(|_| io::Error::other(format!("{folder} holds a name that is no text")))?;
            self.entries = self.entries.checked_sub(1).ok_or_else(|| {
                io::Error::other(format!("more than {MOST_ENTRIES} files would have to be looked at"))
            })?;
            names.push(name.to_owned());
        }
        Ok(names)
    }

    fn read(&mut self, fd: OwnedFd, path: &str) -> io::Result<Entry> {
        let about = rustix::fs::fstat(&fd)?;
        self.can_come_back(&about, path)?;
        let mode = about.st_mode & 0o7777;
        match FileType::from_raw_mode(about.st_mode) {
            FileType::Directory => {
                if self.keep.is_some() {
                    has_no_more(&beneath(self.folder, path, OFlags::RDONLY | OFlags::DIRECTORY)?, path)?;
                }
                Ok(Entry::Folder { mode })
            }
            FileType::Symlink => {
                let to = rustix::fs::readlinkat(&fd, "", Vec::new())?;
                let to = to.to_str().map_err(|_| io::Error::other(format!("{path} leads to no text")))?;
                Ok(Entry::Link { to: to.to_owned() })
            }
            FileType::RegularFile => self.content(path, mode),
            _ => Ok(Entry::Other),
        }
    }

    fn content(&mut self, path: &str, mode: u32) -> io::Result<Entry> {
        // A pipe that took the place of the file must not block.
        let fd = beneath(self.folder, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let about = rustix::fs::fstat(&fd)?;
        let moved = || io::Error::other(format!("{path} changes while it is read"));
        if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile || about.st_mode & 0o7777 != mode {
            return Err(moved());
        }
        self.can_come_back(&about, path)?;
        if self.keep.is_some() {
            has_no_more(&fd, path)?;
        }
        let size = u64::try_from(about.st_size).unwrap_or(0);
        self.bytes = self
            .bytes
            .checked_sub(size)
            .ok_or_else(|| io::Error::other("its files are larger than what there is room to keep"))?;
        let mut to = match self.keep {
            Some((vault, _)) => Some(File::create(vault.join(CONTENTS).join("part"))?),
            None => None,
        };
        let (mut hasher, mut left) = (Hasher::new(), size);
        let mut file = File::from(fd);
        let mut part = vec![0; 1 << 16];
        while left > 0 {
            let count = file.read(&mut part)?;
            let taken = part.get(..count.min(usize::try_from(left).unwrap_or(usize::MAX))).unwrap_or_default();
            if taken.is_empty() {
                return Err(moved());
            }
            hasher.update(taken);
            if let Some(to) = &mut to {
                to.write_all(taken)?;
            }
            left -= taken.len() as u64;
        }
        let sha256 = hasher.finish();
        if let (Some(to), Some((vault, _))) = (to, self.keep) {
            to.sync_all()?;
            fs::rename(vault.join(CONTENTS).join("part"), vault.join(CONTENTS).join(sha256.to_string()))?;
        }
        Ok(Entry::File { mode, size, modified: about.st_mtime, sha256 })
    }

    /// Refuses what an owner's `tar` could not bring back as it is.
    fn can_come_back(&self, about: &Stat, path: &str) -> io::Result<()> {
        let Some((_, owned)) = self.keep else { return Ok(()) };
        let kind = FileType::from_raw_mode(about.st_mode);
        let why = if about.st_uid != owned.uid {
            "does not belong to the environment's owner"
        } else if about.st_gid != owned.gid {
            "belongs to another group than its owner's first"
        } else if kind == FileType::RegularFile && about.st_mode & 0o7000 != 0 {
            "runs with the power of its owner or group"
        } else if !matches!(kind, FileType::RegularFile | FileType::Directory | FileType::Symlink) {
            "is no file, no folder and no link"
        } else {
            return Ok(());
        };
        Err(io::Error::other(format!("it could not be taken back exactly: {path} {why}")))
    }
}

/// Refuses attributes that an archive would lose.
fn has_no_more(fd: &OwnedFd, path: &str) -> io::Result<()> {
    let mut names = [0; 4096];
    let length = match rustix::fs::flistxattr(fd, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => 0,
        Err(error) => return Err(error.into()),
    };
    let names = names.get(..length).unwrap_or_default();
    let lost =
        |name: &&[u8]| name.starts_with(b"user.") || name.starts_with(b"system.") || *name == b"security.capability";
    match names.split(|byte| *byte == 0).find(lost) {
        None => Ok(()),
        Some(name) => Err(io::Error::other(format!(
            "it could not be taken back exactly: {path} has the attribute {}",
            String::from_utf8_lossy(name)
        ))),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}

/// Makes the folder for contents in a vault; answers how many bytes it may hold, so that others have room too.
pub(super) fn make_room(vault: &Path) -> io::Result<u64> {
    let folder = vault.join(CONTENTS);
    match fs::create_dir(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    rustix::fs::chmodat(rustix::fs::CWD, &folder, Mode::RWXU, AtFlags::empty())?;
    let about = rustix::fs::statvfs(&folder)?;
    Ok(about.f_bavail.saturating_mul(about.f_frsize) / 2)
}

/// Makes what was kept durable.
pub(super) fn settle(vault: &Path) -> io::Result<()> {
    File::open(vault.join(CONTENTS))?.sync_all()
}

/// The content of a file that was kept.
pub(super) fn kept(vault: &Path, entry: &Entry) -> io::Result<Option<File>> {
    match entry {
        Entry::File { sha256, .. } => File::open(vault.join(CONTENTS).join(sha256.to_string())).map(Some),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = "lib/python3.11/site-packages";

    #[test]
    fn an_area_holds_whole_folders_of_packages_and_single_files_elsewhere() {
        let mut area = Area::default();
        let sites = [SITE.to_owned()];
        for path in ["a/b/c.py", "six.py", "a-1.dist-info/RECORD"] {
            area.add(&sites, &format!("{SITE}/{path}"));
        }
        area.add(&sites, "bin/flask");
        let trees: Vec<&str> = area.trees.iter().map(|tree| tree.rsplit('/').next().unwrap()).collect();
        assert_eq!(trees, ["a", "a-1.dist-info"]);
        let covers = |path: &str| area.covers(path);
        assert!(covers("bin/flask") && covers("bin") && covers(SITE) && covers(&format!("{SITE}/six.py")));
        assert!(covers(&format!("{SITE}/a/__pycache__/x.cpython-311.pyc")) && covers(&format!("{SITE}/{CACHE}")));
        for path in ["bin/other", "lib/python3.11/site-packages/ab", "lib/python3.11/site-packages/b/c.py"] {
            assert!(!covers(path), "{path}");
        }
    }

    #[test]
    fn what_was_compiled_names_its_source() {
        let of = |path: &str| source_of(path);
        assert_eq!(of("a/__pycache__/x.cpython-311.opt-1.pyc").as_deref(), Some("a/x.py"));
        assert_eq!(of("__pycache__/x.cpython-311.pyc").as_deref(), Some("x.py"));
        for path in ["a/x.pyc", "a/b__pycache__/x.c.pyc", "a/__pycache__/x.txt"] {
            assert_eq!(of(path), None, "{path}");
        }
    }
}
