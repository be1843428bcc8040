//! An environment that may be worked in, as whom, and how programs run there.
//!
//! Whatever an environment's Python is, it runs with its owner's power and no more, in a process namespace that ends with
//! it, within bounds of time and output. Root opens, reads and keeps; it writes nowhere but in folders of its own. What
//! is handed over are files that the owner can read and not change.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{FileType, OFlags};
use stanch_action::{ActionError, Run};

use super::snapshot::{Owned, Reader};
use super::trust::{self, Walk, beneath};
use crate::actions::command::{Invocation, Output, Programs};
use crate::facts::{Root, environments, python};

/// Where files for an owner lie.
const HANDED: &str = "/var/cache/stanch/handed";
const MOST_MARK: u64 = 64 << 10;
/// How long pip may take to say what it would do.
pub(super) const ASKING: u64 = 300;
/// How long it may take to download or install.
pub(super) const WORKING: u64 = 1800;
/// What a program may write that only reads: a plan of pip is long.
const MOST_SAID: u64 = 32 << 20;
/// What one may write that changes something.
const MOST_TOLD: u64 = 4 << 20;
/// The largest file that it may write.
pub(super) const MOST_FILE: u64 = 4 << 30;
/// What `flock` answers when another holds the lock.
const BUSY: i32 = 75;

/// pip, with a mask for the files it makes: the executor's own hides them from all but their owner.
const PIP: &str = "import os, runpy, sys\n\
                   os.umask(int(sys.argv.pop(1), 8))\n\
                   sys.argv[0] = 'pip'\n\
                   runpy.run_module('pip', run_name='__main__', alter_sys=True)\n";

/// An environment that may be worked in, and as whom.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) path: String,
    folder: Root,
    account: Account,
    umask: u32,
}

/// Whose environment it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Account {
    uid: u32,
    gid: u32,
    name: String,
    home: String,
}

impl Place {
    /// The environment at this path.
    ///
    /// # Errors
    /// In words, when it is none, or when anybody besides root and its owner could lead what runs there.
    pub(crate) fn open(host: &dyn Programs, path: &str) -> Result<Self, String> {
        let within =
            environments::FOLDERS.iter().any(|folder| path.strip_prefix(folder).is_some_and(|r| r.starts_with('/')));
        let plain =
            !path.chars().any(char::is_control) && path.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
        if !within || !plain {
            return Err(format!("{path} is not in a folder where environments are looked for"));
        }
        let no_environment = |_| format!("{path} is no environment of Python, or a link leads to it");
        let root = trust::root().map_err(|error| error.to_string())?;
        let relative = path.trim_start_matches('/');
        let mark = |from: std::os::fd::BorrowedFd<'_>, at: &str| -> io::Result<(File, u32)> {
            let file = beneath(from, at, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
            let about = rustix::fs::fstat(&file)?;
            if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile {
                return Err(io::Error::other("it is no file"));
            }
            Ok((File::from(file), about.st_uid))
        };
        // Whose it is, is believed where all on the way to it is root's or that user's.
        let (_, uid) = mark(root.as_fd(), &format!("{relative}/{}", python::MARK)).map_err(no_environment)?;
        let mut walk = Walk::new(uid)?;
        let folder = walk.folder(path)?;
        let (file, again) = mark(folder.as_fd(), python::MARK).map_err(no_environment)?;
        if again != uid {
            return Err(format!("{path} changes while it is looked at"));
        }
        let mut text = String::new();
        file.take(MOST_MARK).read_to_string(&mut text).map_err(|error| format!("{path}/{}: {error}", python::MARK))?;
        walk.tree(&folder, path, true)?;
        let umask = trusted_python(&mut walk, path, &text)?;
        let account = account(host, uid)?;
        Ok(Self { path: path.to_owned(), folder: Root::held(folder, Path::new(path)), account, umask })
    }

    fn python(&self) -> String {
        format!("{}/bin/python", self.path)
    }

    pub(crate) fn read(&self) -> python::Environment {
        python::inside(&self.folder, &self.path)
    }

    /// Its folder, held open.
    pub(super) const fn folder(&self) -> &Root {
        &self.folder
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        Reader::new(self.folder.folder())
    }

    pub(super) const fn owned(&self) -> Owned {
        Owned { uid: self.account.uid, gid: self.account.gid }
    }

    /// The words that make a program run as the owner of the environment, in its folder.
    fn as_owner(&self, words: &[&str]) -> Vec<OsString> {
        let Account { uid, gid, name, home } = &self.account;
        let (uid_word, gid_word, most) = (uid.to_string(), gid.to_string(), format!("--fsize={MOST_FILE}"));
        let mut all = vec!["prlimit", "--core=0", &most, "--", "setpriv", "--reuid", &uid_word, "--regid", &gid_word];
        all.push("--init-groups");
        if *uid != 0 {
            all.extend(["--inh-caps=-all", "--no-new-privs"]);
        }
        let variables = [
            format!("HOME={home}"),
            format!("USER={name}"),
            format!("LOGNAME={name}"),
            "PATH=/usr/bin:/bin".to_owned(),
            "LC_ALL=C.UTF-8".to_owned(),
        ];
        all.extend(["--", "/usr/bin/env", "-i", "-C", &self.path]);
        all.extend(variables.iter().map(String::as_str));
        all.iter().chain(words).map(OsString::from).collect()
    }

    /// A program that only reads, as the owner.
    pub(super) fn reading(&self, words: &[&str]) -> Invocation {
        let limit = ASKING.to_string();
        let before = ["--pid", "--fork", "--kill-child", "--", "timeout", "--signal=KILL", &limit];
        let words: Vec<OsString> = before.iter().map(OsString::from).chain(self.as_owner(words)).collect();
        Invocation::reading("unshare", words).piped(Duration::from_secs(ASKING + 30), MOST_SAID).contained()
    }

    /// A program that changes the environment, as the owner. It waits until what a former life began is done: the first
    /// process of that one's namespace holds the lock, and is root's.
    pub(super) fn changing(&self, words: &[&str], wait: u32, run: &dyn Run) -> Result<Invocation, ActionError> {
        let lock = run.vault()?.join("lock");
        let (limit, wait_word, busy) = (WORKING.to_string(), wait.to_string(), BUSY.to_string());
        let mut all: Vec<OsString> =
            ["--pid", "--fork", "--kill-child", "--", "flock", "--close", "--timeout", &wait_word]
                .iter()
                .chain(&["--conflict-exit-code", &busy])
                .map(OsString::from)
                .collect();
        all.push(lock.into());
        all.extend(["timeout", "--signal=KILL", &limit].map(OsString::from));
        all.extend(self.as_owner(words));
        let patience = Duration::from_secs(WORKING + u64::from(wait) + 30);
        Ok(Invocation::reading("unshare", all).piped(patience, MOST_TOLD).contained())
    }

    /// pip with these arguments. Its configuration is its owner's: it alone says where packages come from.
    fn pip(&self, words: &[&str]) -> Vec<String> {
        let (python, umask) = (self.python(), format!("{:o}", self.umask));
        let before = [&python, "-I", "-B", "-c", PIP, &umask, "--no-input", "--disable-pip-version-check"];
        before.iter().chain(&["--no-cache-dir"]).chain(words).map(|word| (*word).to_owned()).collect()
    }

    pub(super) fn pip_reading(&self, words: &[&str]) -> Invocation {
        let words = self.pip(words);
        self.reading(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    pub(super) fn pip_changing(&self, words: &[&str], wait: u32, run: &dyn Run) -> Result<Invocation, ActionError> {
        let words = self.pip(words);
        self.changing(&words.iter().map(String::as_str).collect::<Vec<_>>(), wait, run)
    }

    /// Python with a few lines of our own.
    pub(super) fn python_reading(&self, lines: &str, words: &[&str]) -> Invocation {
        let python = self.python();
        let all: Vec<&str> = [&python, "-I", "-B", "-c", lines].into_iter().chain(words.iter().copied()).collect();
        self.reading(&all)
    }

    /// An empty folder for handing over.
    pub(super) fn handing(&self) -> Result<Handed, ActionError> {
        Handed::new(self.account.gid).map_err(|e| ActionError::caused("cannot make a folder to hand files over", e))
    }
}

/// Whether a program did not run because another life's still does.
pub(super) fn is_busy(output: &Output) -> bool {
    output.code == Some(BUSY)
}

/// Looks at what `bin/python` is and where its library lies; answers what hides its files from others, as a mask.
fn trusted_python(walk: &mut Walk, path: &str, mark: &str) -> Result<u32, String> {
    let setting = |name: &str| {
        mark.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    if setting("include-system-site-packages").is_some_and(|value| !value.eq_ignore_ascii_case("false")) {
        return Err(format!("{path} sees the packages of the system's Python too"));
    }
    let home = setting("home").filter(|home| home.starts_with('/'));
    let home = home.ok_or_else(|| format!("{path}/{} names no home", python::MARK))?;
    let program = walk.lead(&format!("{path}/bin/python"))?;
    if program.is_folder {
        return Err(format!("{path}/bin/python is no program"));
    }
    let lib = walk.lead(&format!("{path}/lib"))?;
    let mut reader = Reader::new(lib.fd.as_fd());
    let names = reader.names("").map_err(|error| format!("{path}/lib: {error}"))?;
    let versions: Vec<&String> = names.iter().filter(|name| python::is_library(name)).collect();
    let [version] = versions.as_slice() else {
        return Err(format!("{path} has libraries of more than one Python, or of none"));
    };
    let site = walk.folder(&format!("{path}/lib/{version}/site-packages"))?;
    paths_beyond(walk, &format!("{path}/lib/{version}/site-packages"), site.as_fd())?;
    // Python takes its library from above the folder it was made from; some look where the program really lies.
    let real = program.path.rsplit_once('/').map_or("/", |(folder, _)| folder);
    let mut found = false;
    for from in [home, real] {
        walk.lead(from)?;
        for above in Path::new(from).ancestors().filter_map(Path::to_str) {
            let at = format!("{}/lib/{version}", above.trim_end_matches('/'));
            let Some(library) = walk.lead_if_there(&at)? else { continue };
            walk.tree(&library.fd, &library.path, false)?;
            found = true;
            break;
        }
    }
    if !found {
        return Err(format!("the library of {path}'s Python is not where {} says", python::MARK));
    }
    let about = rustix::fs::fstat(&site).map_err(|error| format!("{path}: {}", io::Error::from(error)))?;
    Ok(!about.st_mode & 0o077 | 0o022)
}

/// Folders outside of the environment from which its Python imports too, by its `.pth` files.
fn paths_beyond(walk: &mut Walk, site: &str, folder: std::os::fd::BorrowedFd<'_>) -> Result<(), String> {
    let mut reader = Reader::new(folder);
    let names = reader.names("").map_err(|error| format!("{site}: {error}"))?;
    for name in names.iter().filter(|name| name.ends_with(".pth")) {
        let cannot = |error: io::Error| format!("{site}/{name} cannot be read: {error}");
        let file = beneath(folder, name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).map_err(cannot)?;
        let mut text = Vec::new();
        File::from(file).take(MOST_MARK + 1).read_to_end(&mut text).map_err(cannot)?;
        if text.len() as u64 > MOST_MARK {
            return Err(format!("{site}/{name} is too long to be read"));
        }
        for line in String::from_utf8_lossy(&text).lines().map(str::trim_end) {
            if line.is_empty() || line.starts_with('#') || line.starts_with("import ") || line.starts_with("import\t") {
                continue;
            }
            let target = if line.starts_with('/') { line.to_owned() } else { format!("{site}/{line}") };
            if let Some(reached) = walk.lead_if_there(&target)?
                && reached.is_folder
            {
                walk.tree(&reached.fd, &reached.path, false)?;
            }
        }
    }
    Ok(())
}

/// The account with this number, as the host's own databases have it: a file may carry any group.
fn account(host: &dyn Programs, uid: u32) -> Result<Account, String> {
    let words = ["passwd".to_owned(), uid.to_string()];
    let asked = Invocation::reading("getent", words).piped(Duration::from_secs(30), 64 << 10);
    let output = host.run(&asked).map_err(|error| format!("nobody tells whose account {uid} is: {error}"))?;
    let text = output.text();
    let read = || {
        let fields: Vec<&str> = text.lines().next()?.split(':').collect();
        let (name, home) = (*fields.first()?, *fields.get(5)?);
        let found: u32 = fields.get(2)?.parse().ok()?;
        let gid = fields.get(3)?.parse().ok()?;
        let plain = !name.is_empty() && home.starts_with('/') && !text.contains('\0');
        (found == uid && plain).then(|| Account { uid, gid, name: name.to_owned(), home: home.to_owned() })
    };
    read().ok_or_else(|| format!("its owner, {uid}, has no account here"))
}

/// Files for an owner, in a folder that only root can change; gone when this is.
#[derive(Debug)]
pub(super) struct Handed {
    folder: PathBuf,
}

impl Handed {
    fn new(gid: u32) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        // Whoever could change a folder on the way could lead root's hand elsewhere.
        trust::own_folder(HANDED)?;
        sweep(Path::new(HANDED));
        let own = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = Path::new(HANDED).join(own);
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let handed = Self { folder };
        // What comes from an index of the owner's own is not everybody's.
        std::os::unix::fs::chown(&handed.folder, None, Some(gid))?;
        fs::set_permissions(&handed.folder, fs::Permissions::from_mode(0o750))?;
        Ok(handed)
    }

    pub(super) fn path(&self) -> String {
        self.folder.to_string_lossy().into_owned()
    }

    /// Hands over what can be read from here, under this name.
    pub(super) fn give(&self, name: &str, mut content: impl io::Read) -> Result<String, ActionError> {
        let path = self.folder.join(name);
        let mut write = || -> io::Result<()> {
            let mut file = File::options().write(true).create_new(true).mode(0o400).open(&path)?;
            io::copy(&mut content, &mut file)?;
            file.flush()?;
            file.set_permissions(fs::Permissions::from_mode(0o444))
        };
        write().map_err(|e| ActionError::caused(format!("cannot hand {name} over"), e))?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// A folder in it for what the owner brings, which only the owner can write to.
    pub(super) fn mailbox(&self, place: &Place) -> Result<Mailbox, ActionError> {
        let path = self.folder.join("brought");
        let make = || -> io::Result<std::os::fd::OwnedFd> {
            fs::DirBuilder::new().mode(0o700).create(&path)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let folder = rustix::fs::open(&path, flags, rustix::fs::Mode::empty())?;
            std::os::unix::fs::fchown(&folder, Some(place.account.uid), Some(place.account.gid))?;
            Ok(folder)
        };
        let folder = make().map_err(|e| ActionError::caused("cannot make a folder for downloads", e))?;
        Ok(Mailbox { path: path.to_string_lossy().into_owned(), folder })
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        // It goes by open folders and follows no link, so what its owner may still do in there leads it nowhere.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What an owner brings: it may be anything, and may change while it is read.
pub(super) struct Mailbox {
    pub(super) path: String,
    /// The folder itself, held open.
    folder: std::os::fd::OwnedFd,
}

impl Mailbox {
    /// The names of what is there.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        Reader::new(self.folder.as_fd()).names("")
    }

    /// Copies a file of at most this size.
    pub(super) fn take(&self, name: &str, most: u64, to: &Path) -> io::Result<()> {
        let file = beneath(self.folder.as_fd(), name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let about = rustix::fs::fstat(&file)?;
        let size = u64::try_from(about.st_size).unwrap_or(u64::MAX);
        if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile || size > most {
            return Err(io::Error::other("it is no file, or too large"));
        }
        let mut kept = File::options().write(true).create(true).truncate(true).mode(0o600).open(to)?;
        let copied = io::copy(&mut File::from(file).take(most.saturating_add(1)), &mut kept)?;
        if copied > most {
            return Err(io::Error::other("it is too large"));
        }
        kept.sync_all()
    }
}

/// Removes what executors left that were killed; one of them may have had this one's number.
fn sweep(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.split('-').next()?.parse::<u32>().ok());
        let lives = |pid: u32| Path::new("/proc").join(pid.to_string()).exists();
        if !owner.is_some_and(lives) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
