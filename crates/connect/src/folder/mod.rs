//! A folder of text files that people keep: policies, for one. Its files are read whole and within bounds; links are not
//! followed, because they could lead out of it.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Folders inside each other.
const MAX_DEPTH: usize = 8;
/// Entries looked at, whatever they are.
const MAX_ENTRIES: usize = 20_000;

/// One file: its path inside the folder, with `/` between the parts, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextFile {
    /// The path.
    pub name: String,
    /// The text.
    pub text: String,
}

/// What is read of a folder.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Whether a file with this path inside the folder is wanted.
    pub wanted: fn(&str) -> bool,
    /// Files at most.
    pub files: usize,
    /// Bytes of all files together.
    pub bytes: usize,
    /// Bytes of one file: of a longer one so many and one are given, so that whoever reads it can tell.
    pub file_bytes: usize,
}

/// Why a folder was not read.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Something cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Too many or too large files.
    #[error("{} has too many or too large files", path.display())]
    TooLarge {
        /// The folder.
        path: PathBuf,
    },
    /// Others can write there.
    #[error("{} {why}", path.display())]
    Open {
        /// The file or folder.
        path: PathBuf,
        /// Who can.
        why: String,
    },
}

/// The wanted files of a folder, in the order of their names; or the one file that the path names.
///
/// # Errors
/// When something cannot be read, or there is more than the bounds allow.
pub fn read(path: &Path, bounds: &Bounds) -> Result<Vec<TextFile>, FolderError> {
    let found = list(path, bounds)?;
    let mut files = Vec::with_capacity(found.len());
    let mut bytes = 0_usize;
    for (name, path) in found {
        let text = text(&path, bounds.file_bytes)?;
        bytes = bytes.saturating_add(text.len());
        if bytes > bounds.bytes {
            return Err(FolderError::TooLarge { path });
        }
        files.push(TextFile { name, text });
    }
    Ok(files)
}

/// What the wanted files look like from outside: differs whenever one was added, removed, or written to.
///
/// # Errors
/// As [`read`].
pub fn stamp(path: &Path, bounds: &Bounds) -> Result<Vec<(String, i64, i64, u64)>, FolderError> {
    let mut stamps = Vec::new();
    for (name, path) in list(path, bounds)? {
        let about = fs::symlink_metadata(&path).map_err(|source| FolderError::Read { path, source })?;
        stamps.push((name, about.mtime(), about.mtime_nsec(), about.size()));
    }
    Ok(stamps)
}

/// Refuses a folder into which somebody else than this user and root can write.
///
/// # Errors
/// The first file or folder that others can change, or what cannot be read.
pub fn only_ours(path: &Path, bounds: &Bounds) -> Result<(), FolderError> {
    let own = rustix::process::geteuid().as_raw();
    let mut all: Vec<PathBuf> = vec![path.to_owned()];
    for (_, file) in list(path, bounds)? {
        // Whoever can write to a folder between can put another file there.
        let between = file.ancestors().skip(1).take_while(|above| above.starts_with(path) && *above != path);
        all.extend(between.map(Path::to_owned));
        all.push(file);
    }
    all.sort();
    all.dedup();
    for path in all {
        let about = fs::symlink_metadata(&path).map_err(|source| FolderError::Read { path: path.clone(), source })?;
        let (owner, mode) = (about.uid(), about.mode() & 0o777);
        if owner != own && owner != 0 {
            return Err(FolderError::Open { path, why: format!("belongs to user {owner}") });
        }
        if mode & 0o022 != 0 {
            return Err(FolderError::Open { path, why: format!("can be written to by others (mode {mode:o})") });
        }
    }
    Ok(())
}

fn list(path: &Path, bounds: &Bounds) -> Result<Vec<(String, PathBuf)>, FolderError> {
    let unreadable = |path: &Path, source| FolderError::Read { path: path.to_owned(), source };
    let about = fs::metadata(path).map_err(|source| unreadable(path, source))?;
    if about.is_file() {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        return Ok(if (bounds.wanted)(&name) { vec![(name, path.to_owned())] } else { Vec::new() });
    }
    let mut found = Vec::new();
    let mut looked_at = 0_usize;
    let mut folders: Vec<(PathBuf, String, usize)> = vec![(path.to_owned(), String::new(), 0)];
    while let Some((folder, prefix, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|source| unreadable(&folder, source))? {
            let entry = entry.map_err(|source| unreadable(&folder, source))?;
            looked_at += 1;
            if looked_at > MAX_ENTRIES || found.len() > bounds.files {
                return Err(FolderError::TooLarge { path: path.to_owned() });
            }
            let Ok(name) = entry.file_name().into_string() else { continue };
            let kind = entry.file_type().map_err(|source| unreadable(&entry.path(), source))?;
            if name.starts_with('.') || kind.is_symlink() {
                continue;
            }
            if kind.is_dir() && depth < MAX_DEPTH {
                folders.push((entry.path(), format!("{prefix}{name}/"), depth + 1));
                continue;
            }
            let name = format!("{prefix}{name}");
            if kind.is_file() && (bounds.wanted)(&name) {
                found.push((name, entry.path()));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A file's text, no further than so many bytes and one.
///
/// # Errors
/// When it cannot be read or is no text.
pub fn text(path: &Path, most: usize) -> Result<String, FolderError> {
    let failed = |source| FolderError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    // One that is cut may end inside a character.
    let cut = bytes.len() > most;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) if cut => Ok(String::from_utf8_lossy(error.as_bytes()).into_owned()),
        Err(error) => Err(failed(io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    const SMALL: Bounds = Bounds { wanted: |name| name.ends_with(".yaml"), files: 3, bytes: 40, file_bytes: 10 };

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn wanted_files_are_read_in_order_and_links_and_hidden_ones_are_not() {
        let folder = folder(&[("b.yaml", "b"), ("in/a.yaml", "a"), (".git/c.yaml", "c"), ("notes.txt", "n")]);
        symlink("/etc/passwd", folder.path().join("z.yaml")).unwrap();
        let names: Vec<String> = read(folder.path(), &SMALL).unwrap().into_iter().map(|file| file.name).collect();
        assert_eq!(names, ["b.yaml", "in/a.yaml"]);
    }

    #[test]
    fn what_is_too_much_is_refused_and_what_is_too_long_is_cut() {
        let many = folder(&[("a.yaml", ""), ("b.yaml", ""), ("c.yaml", ""), ("d.yaml", ""), ("e.yaml", "")]);
        assert!(matches!(read(many.path(), &SMALL), Err(FolderError::TooLarge { .. })));
        let long = folder(&[("a.yaml", "äääääääääääää")]);
        assert_eq!(read(long.path(), &SMALL).unwrap()[0].text.chars().count(), 6);
        let bytes = folder(&[("a.yaml", "")]);
        fs::write(bytes.path().join("a.yaml"), [0xff, 0xfe]).unwrap();
        assert!(matches!(read(bytes.path(), &SMALL), Err(FolderError::Read { .. })));
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_not_ours() {
        let folder = folder(&[("in/a.yaml", "a")]);
        only_ours(folder.path(), &SMALL).unwrap();
        for path in ["in", "in/a.yaml"] {
            let path = folder.path().join(path);
            let before = fs::metadata(&path).unwrap().permissions();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
            assert!(matches!(only_ours(folder.path(), &SMALL), Err(FolderError::Open { .. })), "{}", path.display());
            fs::set_permissions(&path, before).unwrap();
        }
    }

    #[test]
    fn a_file_that_was_written_to_looks_different() {
        let folder = folder(&[("a.yaml", "a")]);
        let before = stamp(folder.path(), &SMALL).unwrap();
        fs::write(folder.path().join("a.yaml"), "ab").unwrap();
        assert_ne!(stamp(folder.path(), &SMALL).unwrap(), before);
    }
}
