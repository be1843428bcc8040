//! A git repository of text files that people keep, read with this machine's own `git`: whatever signs in there for its
//! owner does so here. Nothing is checked out, so that no hook, filter or link of the repository can act; files are
//! read as the objects of one commit.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::folder::{Bounds, TextFile};

/// A repository answers within this.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of one list of files.
const MAX_LIST: usize = 4 * 1024 * 1024;
/// The branch of the mirror that follows the repository.
const FOLLOWED: &str = "refs/heads/followed";
/// Transports that may be used.
const TRANSPORTS: [&str; 4] = ["https", "ssh", "file", "http"];

/// Where files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Its address, as `git fetch` takes it.
    pub url: String,
    /// The branch; the one that the repository points at when absent.
    pub branch: Option<String>,
    /// A folder inside it; all of it when absent.
    pub folder: Option<String>,
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The address, branch or folder makes no sense.
    #[error("{what} cannot be used: {why}")]
    Named {
        /// What.
        what: String,
        /// Why.
        why: &'static str,
    },
    /// The program is not there, or cannot be run.
    #[error("`git` cannot be run")]
    Program(#[source] std::io::Error),
    /// It says no.
    #[error("git {verb}: {said}")]
    Refused {
        /// What was asked.
        verb: &'static str,
        /// Its last words.
        said: String,
    },
    /// It took too long.
    #[error("git {verb} took longer than {} s", PATIENCE.as_secs())]
    Slow {
        /// What was asked.
        verb: &'static str,
    },
    /// There are more or larger files than may be.
    #[error("the repository has too many or too large files")]
    TooLarge,
    /// A file is not text.
    #[error("{name} is not text")]
    NotText {
        /// Which.
        name: String,
    },
}

impl Repository {
    /// Checks what can be checked without asking.
    ///
    /// # Errors
    /// When a part could be taken for an option, or names another transport than https, ssh, file or http.
    pub fn check(&self) -> Result<(), GitError> {
        let named = |what: &str, why| Err(GitError::Named { what: what.to_owned(), why });
        if self.url.is_empty() || self.url.starts_with('-') || self.url.chars().any(char::is_control) {
            return named(&self.url, "it is no address");
        }
        if self.url.contains("::") {
            return named(&self.url, "programs as transports are not run");
        }
        let scheme = self.url.split_once("://").map_or("ssh", |(scheme, _)| scheme);
        let local = self.url.starts_with('/');
        if !local && !TRANSPORTS.contains(&scheme) {
            return named(&self.url, "only https, ssh, http and files are fetched");
        }
        for part in [&self.branch, &self.folder].into_iter().flatten() {
            let odd = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
            if part.is_empty() || part.starts_with(['-', '/']) || part.contains("..") || part.contains(odd) {
                return named(part, "it is no name of a branch or folder");
            }
        }
        Ok(())
    }

    /// Whether nobody between here and there can change what is fetched.
    pub fn is_protected(&self) -> bool {
        !self.url.starts_with("http://")
    }

    /// Fetches the newest commit into a mirror that is ours alone, and tells which it is. Blocks.
    ///
    /// # Errors
    /// When `git` is not there, says no, or takes too long.
    pub fn fetch(&self, mirror: &Path) -> Result<String, GitError> {
        self.check()?;
        if !mirror.join("HEAD").exists() {
            let mut init = Command::new("git");
            init.args(["init", "--bare", "--quiet", "--"]).arg(mirror);
            run(init, "init", 0)?;
        }
        let from = self.branch.as_ref().map_or_else(|| "HEAD".to_owned(), |branch| format!("refs/heads/{branch}"));
        let mut fetch = at(mirror);
        fetch.args(["fetch", "--quiet", "--no-tags", "--depth=1", "--force", "--"]);
        fetch.arg(&self.url).arg(format!("+{from}:{FOLLOWED}"));
        run(fetch, "fetch", 0)?;
        let mut commit = at(mirror);
        commit.args(["rev-parse", "--verify", "--quiet", "--end-of-options"]).arg(format!("{FOLLOWED}^{{commit}}"));
        let said = run(commit, "rev-parse", 200)?;
        Ok(String::from_utf8_lossy(&said).trim().to_owned())
    }

    /// The wanted files of a commit that was fetched, in the order of their names. Links are left out. Blocks.
    ///
    /// # Errors
    /// When the folder is not there, or there is more than the bounds allow.
    pub fn read(&self, mirror: &Path, commit: &str, bounds: &Bounds) -> Result<Vec<TextFile>, GitError> {
        if commit.is_empty() || !commit.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(GitError::Named { what: commit.to_owned(), why: "it is no commit" });
        }
        let folder = self.folder.as_deref().unwrap_or_default().trim_matches('/');
        let mut list = at(mirror);
        list.args(["ls-tree", "-r", "-z", "--full-tree", "--end-of-options"]).arg(format!("{commit}:{folder}"));
        let listed = run(list, "ls-tree", MAX_LIST)?;
        let mut files: Vec<(String, String)> = Vec::new();
        for line in listed.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
            let line = String::from_utf8_lossy(line);
            let Some((about, name)) = line.split_once('\t') else { continue };
            let mut about = about.split(' ');
            let (mode, kind, object) = (about.next(), about.next(), about.next());
            let plain = matches!(mode, Some("100644" | "100755")) && kind == Some("blob");
            if let Some(object) = object.filter(|_| plain && (bounds.wanted)(name)) {
                files.push((name.to_owned(), object.to_owned()));
            }
        }
        if files.len() > bounds.files {
            return Err(GitError::TooLarge);
        }
        files.sort();
        let (mut read, mut bytes) = (Vec::with_capacity(files.len()), 0_usize);
        for (name, object) in files {
            let mut blob = at(mirror);
            blob.args(["cat-file", "blob", "--end-of-options", &object]);
            // One byte more than may be, so that whoever reads it can tell.
            let text = run(blob, "cat-file", bounds.file_bytes.saturating_add(1))?;
            bytes = bytes.saturating_add(text.len());
            if bytes > bounds.bytes {
                return Err(GitError::TooLarge);
            }
            let text = String::from_utf8(text).map_err(|_| GitError::NotText { name: name.clone() })?;
            read.push(TextFile { name, text });
        }
        Ok(read)
    }
}

/// `git` on the mirror, with nothing of the repository able to act.
fn at(mirror: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("--git-dir").arg(mirror);
    for setting in [
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        "transfer.fsckObjects=true",
        "protocol.allow=never",
        "protocol.https.allow=always",
        "protocol.http.allow=always",
        "protocol.ssh.allow=always",
        "protocol.file.allow=always",
    ] {
        command.args(["-c", setting]);
    }
    command
}

/// Runs it and gives at most so many bytes of what it prints; what is more is not read.
fn run(mut command: Command, verb: &'static str, most: usize) -> Result<Vec<u8>, GitError> {
    // It must not ask anybody: nobody sits there.
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes").env("LC_ALL", "C");
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_CONFIG_PARAMETERS"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(GitError::Program)?;
    let (out, errors) = (child.stdout.take(), child.stderr.take());
    let reading = std::thread::spawn(move || bounded(out, most));
    let complaining = std::thread::spawn(move || bounded(errors, 4_096));
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(1);
    let status = loop {
        match child.try_wait().map_err(GitError::Program)? {
            Some(status) => break status,
            None if Instant::now() >= deadline => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(GitError::Slow { verb });
            }
            None => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(50));
            }
        }
    };
    let printed = reading.join().unwrap_or_default();
    if status.success() {
        return Ok(printed);
    }
    let said = complaining.join().unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let last = said.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason given");
    Err(GitError::Refused { verb, said: without_password(last) })
}

fn bounded(from: Option<impl std::io::Read>, most: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        let limit = u64::try_from(most).unwrap_or(u64::MAX);
        let _ = from.by_ref().take(limit).read_to_end(&mut bytes);
        // The rest is read so that the program can end.
        let _ = std::io::copy(&mut from, &mut std::io::sink());
    }
    bytes
}

/// A text without the password of the first address in it.
pub fn without_password(text: &str) -> String {
    let Some((before, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '\'', ' ']).unwrap_or(rest.len());
    let (place, after) = rest.split_at(end);
    match place.rsplit_once('@') {
        Some((_, host)) => format!("{before}://{host}{after}"),
        None => text.to_owned(),
    }
}

/// Where the mirror of a repository lies below a folder that is ours.
pub fn mirror(below: &Path) -> PathBuf {
    below.join("policies.git")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { wanted: |name| name.ends_with(".yaml"), files: 3, bytes: 1_000, file_bytes: 100 };

    /// A repository in which somebody works.
    struct Work(tempfile::TempDir);

    impl Work {
        fn new() -> Self {
            let work = Self(tempfile::tempdir().unwrap());
            work.git(&["init", "--quiet", "--initial-branch=main", "."]);
            work
        }

        fn git(&self, arguments: &[&str]) {
            let mut command = Command::new("git");
            command.current_dir(self.0.path()).args(["-c", "user.name=ada", "-c", "user.email=ada@example.org"]);
            let output = command.args(arguments).output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }

        fn commit(&self, files: &[(&str, &str)]) {
            for (name, text) in files {
                let path = self.0.path().join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            self.git(&["add", "--all"]);
            self.git(&["commit", "--quiet", "--message=more"]);
        }

        fn repository(&self) -> Repository {
            let url = format!("file://{}", self.0.path().display());
            Repository { url, branch: Some("main".to_owned()), folder: Some("rules".to_owned()) }
        }
    }

    #[test]
    fn files_of_the_newest_commit_are_read_and_links_are_not() {
        let work = Work::new();
        std::os::unix::fs::symlink("/etc/passwd", work.0.path().join("link.yaml")).unwrap();
        std::fs::create_dir(work.0.path().join("rules")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", work.0.path().join("rules/link.yaml")).unwrap();
        work.commit(&[("rules/a.yaml", "one"), ("rules/deep/b.yaml", "two"), ("rules/c.txt", "no"), ("d.yaml", "no")]);
        let folder = tempfile::tempdir().unwrap();
        let (repository, mirror) = (work.repository(), mirror(folder.path()));
        let first = repository.fetch(&mirror).unwrap();
        let names = |commit: &str| {
            let read = repository.read(&mirror, commit, &BOUNDS).unwrap().into_iter();
            read.map(|file| format!("{}={}", file.name, file.text)).collect::<Vec<_>>()
        };
        assert_eq!(names(&first), ["a.yaml=one", "deep/b.yaml=two"]);
        assert_eq!(repository.fetch(&mirror).unwrap(), first, "nothing new");

        work.commit(&[("rules/a.yaml", "three")]);
        let second = repository.fetch(&mirror).unwrap();
        assert_ne!(first, second);
        assert_eq!(names(&second), ["a.yaml=three", "deep/b.yaml=two"]);
        // Its history may be another one tomorrow.
        work.git(&["commit", "--quiet", "--amend", "--message=other"]);
        assert_ne!(repository.fetch(&mirror).unwrap(), second);
    }

    #[test]
    fn what_is_too_much_is_not_read() {
        let work = Work::new();
        let many: Vec<(String, &str)> = (0..4).map(|number| (format!("rules/{number}.yaml"), "x")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(name, text)| (name.as_str(), *text)).collect();
        work.commit(&many);
        let folder = tempfile::tempdir().unwrap();
        let mirror = mirror(folder.path());
        let commit = work.repository().fetch(&mirror).unwrap();
        assert!(matches!(work.repository().read(&mirror, &commit, &BOUNDS), Err(GitError::TooLarge)));
        let long = Bounds { files: 10, ..BOUNDS };
        work.commit(&[("rules/0.yaml", &"y".repeat(500))]);
        let commit = work.repository().fetch(&mirror).unwrap();
        let read = work.repository().read(&mirror, &commit, &long).unwrap();
        assert_eq!(read[0].text.len(), 101, "one byte more than may be");
    }

    #[test]
    fn a_repository_that_is_not_there_says_so_without_its_password() {
        let folder = tempfile::tempdir().unwrap();
        let url = "https://ada:hunter2@127.0.0.1:1/x.git".to_owned();
        let error = Repository { url, branch: None, folder: None }.fetch(&mirror(folder.path())).unwrap_err();
        assert!(matches!(&error, GitError::Refused { verb: "fetch", .. }), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn addresses_that_would_run_programs_or_be_options_are_refused() {
        for url in ["", "-x", "--upload-pack=touch /tmp/x", "ext::sh -c x", "git://host/x", "fd::17", "ftp://host/x"] {
            let named = Repository { url: url.to_owned(), branch: None, folder: None };
            assert!(matches!(named.check(), Err(GitError::Named { .. })), "{url}");
        }
        for part in ["-x", "a..b", "/a", "a b", "a:b", "a^", ""] {
            let url = "https://host/x".to_owned();
            let named = Repository { url, branch: Some(part.to_owned()), folder: None };
            assert!(matches!(named.check(), Err(GitError::Named { .. })), "{part}");
        }
        for url in ["https://host/x.git", "ssh://git@host/x", "git@host:x.git", "/srv/x.git", "file:///srv/x.git"] {
            Repository { url: url.to_owned(), branch: Some("release/1".to_owned()), folder: None }.check().unwrap();
        }
    }
}
