//! Mode, owner and group of a file: read and set through one open file, so that no link leads elsewhere in between.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;
use stanch_action::ActionError;
use stanch_model::facts::FileMode;

/// Opens what is there; nothing where there is none.
fn open(path: &str) -> Result<Option<OwnedFd>, ActionError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = match rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        // A kernel or sandbox without the call: the names of the pack have folders of root's alone before them.
        Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => rustix::fs::openat(CWD, path, flags, Mode::empty()),
        other => other,
    };
    match fd {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(Errno::LOOP) => Err(ActionError::refused(format!("{path} is or leads through a link"))),
        Err(error) => Err(ActionError::caused(format!("cannot open {path}"), std::io::Error::from(error))),
    }
}

fn mode_of(path: &str, fd: &OwnedFd) -> Result<FileMode, ActionError> {
    let stat = rustix::fs::fstat(fd)
        .map_err(|error| ActionError::caused(format!("cannot look at {path}"), std::io::Error::from(error)))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {}
        FileType::RegularFile if stat.st_nlink == 1 => {}
        FileType::RegularFile => {
            return Err(ActionError::refused(format!("{path} has other names, which would change with it")));
        }
        _ => return Err(ActionError::refused(format!("{path} is neither a file nor a folder"))),
    }
    Ok(FileMode { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid })
}

/// Who may do what with it now; nothing where there is none.
pub(crate) fn read(path: &str) -> Result<Option<FileMode>, ActionError> {
    open(path)?.map(|fd| mode_of(path, &fd)).transpose()
}

/// Makes it so.
pub(crate) fn write(path: &str, wanted: FileMode) -> Result<(), ActionError> {
    let gone = || ActionError::refused(format!("{path} is not there any more"));
    let fd = open(path)?.ok_or_else(gone)?;
    let now = mode_of(path, &fd)?;
    let cannot = |error: Errno| ActionError::caused(format!("cannot change {path}"), std::io::Error::from(error));
    let set_mode = |mode: u32| rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode)).map_err(cannot);
    if (now.uid, now.gid) != (wanted.uid, wanted.gid) {
        // Rights are narrow while owners change, so that nobody has more than before or after.
        set_mode(now.mode & wanted.mode)?;
        let (uid, gid) = (Uid::from_raw(wanted.uid), Gid::from_raw(wanted.gid));
        rustix::fs::fchown(&fd, Some(uid), Some(gid)).map_err(cannot)?;
    }
    // Last: a change of owners drops some of the bits.
    set_mode(wanted.mode)?;
    rustix::fs::fsync(&fd).map_err(cannot)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_link_or_a_second_name_is_refused_and_nothing_behind_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        fs::write(at("target"), "").unwrap();
        fs::set_permissions(at("target"), fs::Permissions::from_mode(0o666)).unwrap();
        symlink(at("target"), at("link")).unwrap();
        let about = read(&at("target")).unwrap().unwrap();
        let narrow = FileMode { mode: 0o600, ..about };
        assert!(write(&at("link"), narrow).is_err());
        fs::hard_link(at("target"), at("second")).unwrap();
        assert!(write(&at("target"), narrow).unwrap_err().to_string().contains("other names"));
        fs::remove_file(at("second")).unwrap();
        write(&at("target"), narrow).unwrap();
        assert_eq!(read(&at("target")).unwrap(), Some(narrow));
        assert_eq!(read(&at("nothing")).unwrap(), None);
    }
}
