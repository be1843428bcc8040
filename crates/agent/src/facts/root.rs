//! Reading inside a root folder without ever leaving it. A root handed in with `--root` may be hostile: a symlink in it
//! to `/etc/shadow`, a pipe in place of a file, a file without end. So every path is resolved by the kernel inside the
//! root (`openat2` with `RESOLVE_IN_ROOT`), or, where the kernel is too old or a sandbox forbids that call, component
//! by component from open folders; only regular files are read, and only up to a limit.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use stanch_model::facts::FileMode;

const MAX_LINKS: usize = 40;
const MAX_ENTRIES: usize = 200_000;
const RETRIES: usize = 8;

/// A root folder: `/`, an image unpacked somewhere, a container's tree.
#[derive(Debug)]
pub struct Root {
    folder: OwnedFd,
    path: PathBuf,
    walk: bool,
}

/// What names one state of a file: when none of it changed, neither did the content (short of bad will by root).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Stamp {
    inode: u64,
    size: u64,
    seconds: i64,
    nanoseconds: u32,
}

impl Stamp {
    /// When the content last changed, in seconds since 1970.
    pub(crate) const fn modified(&self) -> i64 {
        self.seconds
    }
}

/// What names one state of a file wherever it is mounted, even where its times were set by hand: `ctime` nobody sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct FileStamp {
    device: u64,
    inode: u64,
    pub(crate) size: u64,
    modified: (i64, u32),
    changed: (i64, u32),
}

impl FileStamp {
    fn of(stat: &rustix::fs::Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            changed: (stat.st_ctime, u32::try_from(stat.st_ctime_nsec).unwrap_or(0)),
        }
    }
}

/// An open folder with what is in it, in the order of the names; names that are not UTF-8 are left out.
#[derive(Debug)]
pub(crate) struct Folder {
    folder: OwnedFd,
    pub(crate) entries: Vec<(String, FileType)>,
}

impl Folder {
    /// The state and the mode of a regular file in it; nothing for a link and all else.
    pub(crate) fn look(&self, name: &str) -> Option<(FileStamp, u32)> {
        let stat = rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        is_file.then(|| (FileStamp::of(&stat), stat.st_mode & 0o7777))
    }

    /// Opens a regular file in it, with its state.
    pub(crate) fn open(&self, name: &str) -> io::Result<(File, FileStamp)> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok((File::from(file), FileStamp::of(&stat)))
    }
}

impl Root {
    /// Opens a root folder.
    ///
    /// # Errors
    /// When it is no folder or cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let folder = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { folder, path: path.to_owned(), walk: false })
    }

    /// The root folder that is open here, whatever becomes of its path.
    pub(crate) fn held(folder: OwnedFd, path: &Path) -> Self {
        Self { folder, path: path.to_owned(), walk: false }
    }

    /// The folder itself.
    pub(crate) fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// The folder's path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is the root of this machine, and not of another.
    pub fn is_own(&self) -> bool {
        let same = |a: &rustix::fs::Stat, b: &rustix::fs::Stat| a.st_dev == b.st_dev && a.st_ino == b.st_ino;
        match (rustix::fs::fstat(&self.folder), rustix::fs::stat("/")) {
            (Ok(this), Ok(own)) => same(&this, &own),
            _ => false,
        }
    }

    /// Reads a regular file of at most `limit` bytes.
    pub(crate) fn read(&self, path: &str, limit: u64) -> io::Result<Vec<u8>> {
        let (file, size) = self.file(path)?;
        if size > limit {
            return Err(too_large(limit));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
        let read = file.take(limit + 1).read_to_end(&mut bytes)?;
        if u64::try_from(read).unwrap_or(u64::MAX) > limit { Err(too_large(limit)) } else { Ok(bytes) }
    }

    /// The same as text; what is not UTF-8 is replaced.
    pub(crate) fn text(&self, path: &str, limit: u64) -> io::Result<String> {
        let bytes = self.read(path, limit)?;
        Ok(String::from_utf8(bytes).unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned()))
    }

    /// Opens a regular file and tells its size.
    pub(crate) fn file(&self, path: &str) -> io::Result<(File, u64)> {
        // A pipe must not block the reader before it is seen to be no file.
        let fd = self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let stat = rustix::fs::fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok((File::from(fd), u64::try_from(stat.st_size).unwrap_or(0)))
    }

    /// The state of a file or folder.
    pub(crate) fn stamp(&self, path: &str) -> io::Result<Stamp> {
        let stat = rustix::fs::fstat(self.resolve(path, OFlags::PATH)?)?;
        Ok(Stamp {
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            seconds: stat.st_mtime,
            nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        })
    }

    /// When something was put there or last renamed, since 1970: what an archive says of its age does not count.
    pub(crate) fn put(&self, path: &str) -> io::Result<Duration> {
        let stat = rustix::fs::fstat(self.resolve(path, OFlags::PATH | OFlags::NOFOLLOW)?)?;
        let nanoseconds = u32::try_from(stat.st_ctime_nsec).unwrap_or(0);
        Ok(Duration::new(u64::try_from(stat.st_ctime).unwrap_or(0), nanoseconds))
    }

    /// Mode and owners of a file or folder; a link at its end is not followed, and is none.
    pub(crate) fn mode(&self, path: &str) -> io::Result<FileMode> {
        let stat = rustix::fs::fstat(self.resolve(path, OFlags::PATH | OFlags::NOFOLLOW)?)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile | FileType::Directory => {
                Ok(FileMode { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid })
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is neither a file nor a folder")),
        }
    }

    /// When the content of each of these files of a folder last changed, in seconds since 1970; of several names the first
    /// that is there counts. Links are not followed.
    pub(crate) fn changed(&self, folder: &str, files: &[[String; 2]]) -> io::Result<Vec<Option<i64>>> {
        let folder = self.resolve(folder, OFlags::PATH | OFlags::DIRECTORY)?;
        let at = |name: &String| {
            if name.contains('/') {
                return None;
            }
            let stat = rustix::fs::statat(&folder, name.as_str(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
            Some(stat.st_mtime)
        };
        Ok(files.iter().map(|names| names.iter().find_map(at)).collect())
    }

    /// Whether something is there.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.resolve(path, OFlags::PATH).is_ok()
    }

    /// Where a symlink points, itself not followed.
    pub(crate) fn link(&self, path: &str) -> Option<String> {
        let (folder, name) = path.rsplit_once('/')?;
        let folder = self.resolve(folder, OFlags::PATH | OFlags::DIRECTORY).ok()?;
        rustix::fs::readlinkat(&folder, name, Vec::new()).ok()?.into_string().ok()
    }

    /// The names in a folder, sorted; names that are not UTF-8 are left out.
    pub(crate) fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let fd = self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(fd)? {
            if names.len() >= MAX_ENTRIES {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it holds more than 200,000 entries"));
            }
            if let Ok(name) = std::str::from_utf8(entry?.file_name().to_bytes())
                && name != "."
                && name != ".."
            {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The names in a folder, sorted, and whether each is a folder; a link is none, at the end of the path either. Names that
    /// are not UTF-8 are left out.
    pub(crate) fn entries(&self, path: &str) -> io::Result<Vec<(String, bool)>> {
        let entries = self.inside(path)?.entries.into_iter();
        Ok(entries.map(|(name, kind)| (name, kind == FileType::Directory)).collect())
    }

    /// A folder with what is in it; a link at the end of the path is none.
    pub(crate) fn inside(&self, path: &str) -> io::Result<Folder> {
        let fd = self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&fd)? {
            if names.len() >= MAX_ENTRIES {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it holds more than 200,000 entries"));
            }
            let entry = entry?;
            let Ok(name) = std::str::from_utf8(entry.file_name().to_bytes()) else { continue };
            if name == "." || name == ".." {
                continue;
            }
            // Some file systems do not tell the type along with the name.
            let kind = match entry.file_type() {
                FileType::Unknown => rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)),
                kind => kind,
            };
            names.push((name.to_owned(), kind));
        }
        names.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Folder { folder: fd, entries: names })
    }

    fn resolve(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        if self.walk {
            return self.walk(path, flags);
        }
        let inside = path.trim_start_matches('/');
        let inside = if inside.is_empty() { "." } else { inside };
        for _ in 0..RETRIES {
            let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            match rustix::fs::openat2(&self.folder, inside, flags, Mode::empty(), how) {
                Ok(fd) => return Ok(fd),
                // A rename elsewhere raced with a `..`.
                Err(Errno::AGAIN) => {}
                Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => return self.walk(path, flags),
                Err(error) => return Err(error.into()),
            }
        }
        self.walk(path, flags)
    }

    fn walk(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let mut folders: Vec<OwnedFd> = Vec::new();
        let mut left: Vec<String> = components(path);
        let mut links = 0;
        loop {
            let here = folders.last().map_or_else(|| self.folder.as_fd(), AsFd::as_fd);
            let Some(name) = left.pop() else {
                return Ok(rustix::fs::openat(here, ".", flags, Mode::empty())?);
            };
            if name == ".." {
                folders.pop();
                continue;
            }
            let stat = rustix::fs::statat(here, &*name, AtFlags::SYMLINK_NOFOLLOW)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    let target = rustix::fs::readlinkat(here, &*name, Vec::new())?;
                    let target = target.to_str().map_err(|_| io::Error::from(Errno::ILSEQ))?.to_owned();
                    if target.starts_with('/') {
                        folders.clear();
                    }
                    left.extend(components(&target));
                }
                FileType::Directory => {
                    let open = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let folder = rustix::fs::openat(here, &*name, open, Mode::empty())?;
                    folders.push(folder);
                }
                _ if left.is_empty() => {
                    return Ok(rustix::fs::openat(here, &*name, flags | OFlags::NOFOLLOW, Mode::empty())?);
                }
                _ => return Err(Errno::NOTDIR.into()),
            }
        }
    }
}

/// The components of a path, last first.
fn components(path: &str) -> Vec<String> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").rev().map(str::to_owned).collect()
}

fn too_large(limit: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {} MB", limit >> 20))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn both(path: &Path) -> [Root; 2] {
        let walking = Root { walk: true, ..Root::open(path).unwrap() };
        [Root::open(path).unwrap(), walking]
    }

    #[test]
    fn no_link_leads_out_of_the_root() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "outside").unwrap();
        let inside = tempfile::tempdir().unwrap();
        let at = |name: &str| inside.path().join(name);
        fs::create_dir(at("etc")).unwrap();
        symlink(outside.path().join("secret"), at("etc/absolute")).unwrap();
        let up = format!("../../../../../../../../../../../..{}/secret", outside.path().display());
        symlink(&up, at("etc/relative")).unwrap();
        symlink(outside.path(), at("folder")).unwrap();
        symlink("loop", at("loop")).unwrap();
        for root in both(inside.path()) {
            for path in ["etc/absolute", "etc/relative", "folder/secret", "loop", &up] {
                assert!(root.read(path, 100).is_err(), "{path} walk={}", root.walk);
            }
        }
    }

    #[test]
    fn links_inside_the_root_are_followed_as_its_own_machine_would() {
        let inside = tempfile::tempdir().unwrap();
        let at = |name: &str| inside.path().join(name);
        fs::create_dir_all(at("usr/lib")).unwrap();
        fs::create_dir(at("etc")).unwrap();
        fs::write(at("usr/lib/os-release"), "ID=debian").unwrap();
        symlink("../usr/lib/os-release", at("etc/os-release")).unwrap();
        symlink("/usr/lib", at("lib")).unwrap();
        for root in both(inside.path()) {
            assert_eq!(root.text("/etc/os-release", 100).unwrap(), "ID=debian");
            assert_eq!(root.text("/lib/os-release", 100).unwrap(), "ID=debian");
            assert_eq!(root.text("/../../etc/../lib/./os-release", 100).unwrap(), "ID=debian");
            assert_eq!(root.list("/lib").unwrap(), ["os-release"]);
            assert_eq!(root.list("/").unwrap(), ["etc", "lib", "usr"]);
            assert!(root.read("/lib/os-release/x", 100).is_err());
        }
    }

    #[test]
    fn only_regular_files_of_a_known_size_are_read() {
        let inside = tempfile::tempdir().unwrap();
        rustix::fs::mknodat(CWD, inside.path().join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        fs::write(inside.path().join("long"), "12345").unwrap();
        for root in both(inside.path()) {
            assert!(root.read("pipe", 100).unwrap_err().to_string().contains("not a regular file"));
            assert!(root.read("long", 4).unwrap_err().to_string().contains("larger than"));
            assert_eq!(root.read("long", 5).unwrap(), b"12345");
            assert!(root.read("/", 5).is_err());
        }
    }
}
