//! Walking to what runs, from the root folder down, so that nobody but root and one user can lead the way elsewhere.
//!
//! A folder that belongs to root or to that user, and that no others may write to, is changed by these two alone. So what
//! was reached through such folders only is still what it was when it is used, as far as all others are concerned; and
//! what that user changes meanwhile, only programs of that user's own power meet.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Entries that are looked at in all.
const MOST_ENTRIES: usize = 300_000;
const MOST_LINKS: usize = 40;
const DEEPEST: usize = 64;
/// File systems that a program serves (`FUSE_SUPER_MAGIC`).
const FUSE: rustix::fs::FsWord = 0x6573_5546;

/// One walk on behalf of one user.
pub(super) struct Walk {
    /// Where paths begin. It is trusted as it is.
    start: OwnedFd,
    owner: u32,
    left: usize,
}

/// What a path led to.
pub(super) struct Reached {
    pub(super) fd: OwnedFd,
    /// Its path without links.
    pub(super) path: String,
    pub(super) is_folder: bool,
}

/// Opens what is below a folder without following any link.
pub(super) fn beneath(folder: BorrowedFd<'_>, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Some((above, name)) = path.rsplit_once('/') else {
        return if plain(path) {
            Ok(rustix::fs::openat(folder, path, flags, Mode::empty())?)
        } else {
            Err(Errno::INVAL.into())
        };
    };
    let mut here: Option<OwnedFd> = None;
    for part in above.split('/') {
        if !plain(part) {
            return Err(Errno::INVAL.into());
        }
        let from = here.as_ref().map_or(folder, AsFd::as_fd);
        here = Some(open_folder(from, part)?);
    }
    if !plain(name) {
        return Err(Errno::INVAL.into());
    }
    let from = here.as_ref().map_or(folder, AsFd::as_fd);
    Ok(rustix::fs::openat(from, name, flags, Mode::empty())?)
}

fn plain(part: &str) -> bool {
    !matches!(part, "" | "." | "..")
}

fn open_folder(from: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(from, name, flags, Mode::empty())?)
}

/// The root folder of this machine.
pub(super) fn root() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

impl Walk {
    /// A walk of this user, from the root folder.
    pub(super) fn new(owner: u32) -> Result<Self, String> {
        root().map(|start| Self::from(start, owner)).map_err(|error| format!("/ cannot be opened: {error}"))
    }

    /// The same from a folder that stands for the root folder.
    pub(super) fn from(start: OwnedFd, owner: u32) -> Self {
        Self { start, owner, left: MOST_ENTRIES }
    }

    fn safe(&self, about: &Stat, path: &str) -> Result<(), String> {
        if about.st_uid != 0 && about.st_uid != self.owner {
            return Err(format!("{path} belongs to neither root nor the environment's owner"));
        }
        let is_link = FileType::from_raw_mode(about.st_mode) == FileType::Symlink;
        if !is_link && about.st_mode & 0o022 != 0 {
            return Err(format!("others than its owner may write to {path}"));
        }
        Ok(())
    }

    /// A folder to which no link leads.
    pub(super) fn folder(&self, path: &str) -> Result<OwnedFd, String> {
        let reached = self.lead_with(path, 0).map_err(|lost| lost.told(path))?;
        if reached.is_folder { Ok(reached.fd) } else { Err(format!("{path} is no folder")) }
    }

    /// What a path leads to, by links too, all of which and all folders on the way are root's or the owner's.
    pub(super) fn lead(&self, path: &str) -> Result<Reached, String> {
        self.lead_with(path, MOST_LINKS).map_err(|lost| lost.told(path))
    }

    /// The same; nothing where there is nothing, and nobody else could put anything.
    pub(super) fn lead_if_there(&self, path: &str) -> Result<Option<Reached>, String> {
        match self.lead_with(path, MOST_LINKS) {
            Ok(reached) => Ok(Some(reached)),
            Err(Lost::Absent) => Ok(None),
            Err(lost) => Err(lost.told(path)),
        }
    }

    fn lead_with(&self, path: &str, most_links: usize) -> Result<Reached, Lost> {
        let mut left = parts(path);
        let mut way: Vec<(OwnedFd, String)> = Vec::new();
        let mut links = 0;
        while let Some(name) = left.pop() {
            if name == ".." {
                way.pop();
                continue;
            }
            let (here, above) = match way.last() {
                Some((fd, path)) => (fd.as_fd(), path.as_str()),
                None => (self.start.as_fd(), ""),
            };
            let at = format!("{above}/{name}");
            let lost = |error: Errno| match error {
                Errno::NOENT => Lost::Absent,
                other => Lost::Said(format!("{at} cannot be opened: {}", io::Error::from(other))),
            };
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(here, name.as_str(), flags, Mode::empty()).map_err(lost)?;
            let about = rustix::fs::fstat(&fd).map_err(lost)?;
            self.safe(&about, &at).map_err(Lost::Said)?;
            match FileType::from_raw_mode(about.st_mode) {
                FileType::Symlink => {
                    links += 1;
                    if links > most_links {
                        return Err(Lost::Said(format!("a link leads to it: {at}")));
                    }
                    let target = rustix::fs::readlinkat(&fd, "", Vec::new()).map_err(lost)?;
                    let target = target.to_str().map_err(|_| Lost::Said(format!("{at} leads to no text")))?.to_owned();
                    if target.starts_with('/') {
                        way.clear();
                    }
                    left.extend(parts(&target));
                }
                FileType::Directory => way.push((fd, at)),
                _ if left.is_empty() => return Ok(Reached { fd, path: at, is_folder: false }),
                _ => return Err(Lost::Said(format!("{at} is no folder"))),
            }
        }
        match way.pop() {
            Some((fd, path)) => Ok(Reached { fd, path, is_folder: true }),
            None => {
                let fd = self.start.try_clone().map_err(|error| Lost::Said(error.to_string()))?;
                Ok(Reached { fd, path: "/".to_owned(), is_folder: true })
            }
        }
    }

    /// Everything in a folder. `closed` also refuses links to folders outside of it, in which nothing was looked at.
    pub(super) fn tree(&mut self, folder: &OwnedFd, path: &str, closed: bool) -> Result<(), String> {
        self.descend(folder.as_fd(), path, path, closed, 0)
    }

    /// What a user serves may answer anything, or never.
    fn is_the_kernels(folder: BorrowedFd<'_>, path: &str) -> Result<(), String> {
        let about = rustix::fs::fstatfs(folder).map_err(|e| format!("{path}: {}", io::Error::from(e)))?;
        if about.f_type == FUSE { Err(format!("{path} lies on a file system that a program serves")) } else { Ok(()) }
    }

    fn descend(
        &mut self,
        folder: BorrowedFd<'_>,
        path: &str,
        top: &str,
        closed: bool,
        depth: usize,
    ) -> Result<(), String> {
        let cannot = |what: &str, error: Errno| format!("{what} cannot be read: {}", io::Error::from(error));
        if depth > DEEPEST {
            return Err(format!("{path} lies too deep to be looked through"));
        }
        Self::is_the_kernels(folder, path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let reading = rustix::fs::openat(folder, ".", flags, Mode::empty()).map_err(|e| cannot(path, e))?;
        let mut folders = Vec::new();
        for entry in rustix::fs::Dir::read_from(&reading).map_err(|e| cannot(path, e))? {
            let entry = entry.map_err(|e| cannot(path, e))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            self.left = self.left.checked_sub(1).ok_or_else(|| {
                format!("{top} holds more than {MOST_ENTRIES} files, which are too many to be looked at")
            })?;
            let at = format!("{path}/{}", name.to_string_lossy());
            let about = rustix::fs::statat(&reading, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| cannot(&at, e))?;
            self.safe(&about, &at)?;
            match FileType::from_raw_mode(about.st_mode) {
                FileType::Directory => folders.push((name.to_owned(), at)),
                FileType::Symlink => {
                    let target = rustix::fs::readlinkat(&reading, name, Vec::new()).map_err(|e| cannot(&at, e))?;
                    let target = target.to_string_lossy();
                    let target = if target.starts_with('/') { target.into_owned() } else { format!("{path}/{target}") };
                    let leads = self.lead_if_there(&target)?;
                    let outside = |path: &str| path.strip_prefix(top).is_none_or(|rest| !rest.starts_with('/'));
                    if closed && leads.is_some_and(|reached| reached.is_folder && outside(&reached.path)) {
                        return Err(format!("{at} is a link to a folder elsewhere"));
                    }
                }
                _ => {}
            }
        }
        drop(reading);
        for (name, at) in folders {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let inner =
                rustix::fs::openat(folder, name.as_c_str(), flags, Mode::empty()).map_err(|e| cannot(&at, e))?;
            self.safe(&rustix::fs::fstat(&inner).map_err(|e| cannot(&at, e))?, &at)?;
            self.descend(inner.as_fd(), &at, top, closed, depth + 1)?;
        }
        Ok(())
    }
}

/// Why a path led nowhere.
enum Lost {
    Absent,
    Said(String),
}

impl Lost {
    fn told(self, path: &str) -> String {
        match self {
            Self::Absent => format!("{path} is not there"),
            Self::Said(why) => why,
        }
    }
}

/// The parts of a path, last first.
fn parts(path: &str) -> Vec<String> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").rev().map(str::to_owned).collect()
}

/// A folder of root's own that all may enter and nobody else may write to, with all above it; made where it is missing.
pub(in crate::actions) fn own_folder(path: &str) -> io::Result<OwnedFd> {
    own_folder_in(root()?, path)
}

fn own_folder_in(start: OwnedFd, path: &str) -> io::Result<OwnedFd> {
    let own = rustix::process::geteuid().as_raw();
    let mut here = start;
    for name in parts(path).into_iter().rev() {
        let next = match open_folder(here.as_fd(), &name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                rustix::fs::mkdirat(&here, name.as_str(), Mode::from_raw_mode(0o755))?;
                // Whatever this process masks.
                rustix::fs::chmodat(&here, name.as_str(), Mode::from_raw_mode(0o755), AtFlags::empty())?;
                open_folder(here.as_fd(), &name)?
            }
            other => other?,
        };
        let about = rustix::fs::fstat(&next)?;
        if (about.st_uid != own && about.st_uid != 0) || about.st_mode & 0o022 != 0 || about.st_mode & 0o001 == 0 {
            let why = format!("{name} in {path} is not root's alone, or others may not enter it");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        here = next;
    }
    Ok(here)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
    use std::path::Path;

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new() -> Self {
            let tree = Self(tempfile::tempdir().unwrap());
            for folder in ["opt/app/bin", "opt/app/lib/site", "usr/bin"] {
                fs::create_dir_all(tree.at(folder)).unwrap();
            }
            fs::write(tree.at("usr/bin/python3.11"), "").unwrap();
            fs::write(tree.at("opt/app/lib/site/a.py"), "").unwrap();
            symlink("/usr/bin/python3", tree.at("opt/app/bin/python")).unwrap();
            symlink("python3.11", tree.at("usr/bin/python3")).unwrap();
            tree
        }

        fn at(&self, path: &str) -> std::path::PathBuf {
            self.0.path().join(path)
        }

        fn walk(&self) -> Walk {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            // Without root there is one user only, which is why these are root's tests where they need two.
            Walk::from(
                rustix::fs::open(self.0.path(), flags, Mode::empty()).unwrap(),
                rustix::process::geteuid().as_raw(),
            )
        }

        fn looked(&self) -> Result<(), String> {
            let mut walk = self.walk();
            let folder = walk.folder("/opt/app")?;
            walk.tree(&folder, "/opt/app", true)?;
            walk.lead("/opt/app/bin/python").map(drop)
        }
    }

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_is_the_owners_alone_is_reached_by_its_links() {
        let tree = Tree::new();
        assert_eq!(tree.looked(), Ok(()));
        assert_eq!(tree.walk().lead("/opt/app/bin/python").unwrap().path, "/usr/bin/python3.11");
        symlink("nowhere", tree.at("opt/app/bin/gone")).unwrap();
        assert_eq!(tree.looked(), Ok(()), "what is not there cannot be led elsewhere by others");
    }

    #[test]
    fn a_folder_or_file_that_others_may_write_to_is_refused_wherever_it_is_on_the_way() {
        for path in [
            "opt",
            "opt/app",
            "opt/app/bin",
            "opt/app/lib/site",
            "opt/app/lib/site/a.py",
            "usr/bin",
            "usr/bin/python3.11",
        ] {
            for bits in [0o020, 0o002, 0o1002] {
                let tree = Tree::new();
                mode(&tree.at(path), 0o755 | bits);
                let why = tree.looked().unwrap_err();
                assert!(why.contains("may write"), "{path} {bits:o}: {why}");
            }
        }
    }

    #[test]
    fn what_belongs_to_another_user_is_refused_links_too() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        for path in
            ["opt", "opt/app", "opt/app/lib/site/a.py", "usr/bin/python3.11", "usr/bin/python3", "opt/app/bin/python"]
        {
            let tree = Tree::new();
            std::os::unix::fs::lchown(tree.at(path), Some(1234), None).unwrap();
            let why = tree.looked().unwrap_err();
            assert!(why.contains("neither root nor"), "{path}: {why}");
        }
        let tree = Tree::new();
        chown(tree.at("opt/app"), Some(1234), None).unwrap();
        let mut walk = Walk { owner: 1234, ..tree.walk() };
        let folder = walk.folder("/opt/app").unwrap();
        assert_eq!(walk.tree(&folder, "/opt/app", true), Ok(()), "root's files harm no owner");
    }

    #[test]
    fn no_link_stands_for_the_folder_itself_and_none_leads_out_of_it_to_another() {
        let tree = Tree::new();
        symlink("/opt/app", tree.at("opt/again")).unwrap();
        assert!(tree.walk().folder("/opt/again").unwrap_err().contains("a link leads to it"));
        symlink("loop", tree.at("opt/app/loop")).unwrap();
        assert!(tree.looked().unwrap_err().contains("a link leads to it"));
        fs::remove_file(tree.at("opt/app/loop")).unwrap();
        symlink("lib", tree.at("opt/app/lib64")).unwrap();
        assert_eq!(tree.looked(), Ok(()));
        symlink("/usr", tree.at("opt/app/lib/site/usr")).unwrap();
        assert!(tree.looked().unwrap_err().contains("a link to a folder elsewhere"));
    }

    #[test]
    fn nothing_below_is_opened_through_a_link() {
        let tree = Tree::new();
        symlink("lib", tree.at("opt/app/lib64")).unwrap();
        let folder = tree.walk().folder("/opt/app").unwrap();
        let open = |path: &str| beneath(folder.as_fd(), path, OFlags::RDONLY).is_ok();
        assert!(open("lib/site/a.py"));
        for path in ["lib64/site/a.py", "bin/python", "../app/lib/site/a.py", "lib/../lib/site/a.py", "/etc/passwd", ""]
        {
            assert!(!open(path), "{path}");
        }
    }

    #[test]
    fn a_folder_for_handing_over_is_roots_alone_up_to_the_root() {
        let tree = Tree::new();
        let make = |path: &str| {
            let start = rustix::fs::open(tree.0.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
            own_folder_in(start, path)
        };
        assert!(make("/var/cache/stanch/handed").is_ok());
        assert_eq!(fs::metadata(tree.at("var/cache/stanch/handed")).unwrap().permissions().mode() & 0o7777, 0o755);
        mode(&tree.at("var/cache"), 0o775);
        assert_eq!(make("/var/cache/stanch/handed").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        mode(&tree.at("var/cache"), 0o755);
        fs::remove_dir(tree.at("var/cache/stanch/handed")).unwrap();
        symlink("/tmp", tree.at("var/cache/stanch/handed")).unwrap();
        assert!(make("/var/cache/stanch/handed").is_err());
    }
}
