//! How actions run programs: with argument vectors, a clean environment and a life of their own.
//!
//! A package manager that dies half-way leaves a broken host, so what changes something must outlive the agent: it runs
//! in its own session, in a systemd scope of its own where systemd runs, and writes to files and not to pipes, which
//! would break when the reader dies. It is never killed: when its time is over the step fails and says that it still
//! runs. What an owner wrote for Stanch is bounded instead: it ends when its time or its output is over, with all it
//! started. What anybody may have written comes through pipes, so that it cannot fill a file or memory of ours, not even
//! when its caller is gone.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Seek as _, Write as _};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

/// Most bytes kept of each output of a program.
pub(crate) const MOST_OUTPUT: u64 = 32 << 20;

/// Programs that read are given this long.
pub(crate) const READING: Duration = Duration::from_secs(300);

/// Programs that change packages are given this long.
pub(crate) const CHANGING: Duration = Duration::from_secs(3 * 3600);

const ENVIRONMENT: [(&str, &str); 8] = [
    ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    ("LC_ALL", "C.UTF-8"),
    ("HOME", "/root"),
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("DEBIAN_PRIORITY", "critical"),
    ("NEEDRESTART_SUSPEND", "1"),
    ("APT_LISTCHANGES_FRONTEND", "none"),
    ("UCF_FORCE_CONFFOLD", "1"),
];

/// What a contained program may use where systemd counts it.
const LIMITS: [&str; 3] = ["--property=TasksMax=512", "--property=MemoryMax=4G", "--property=CPUWeight=20"];

/// One run of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The program, found in the fixed path.
    pub program: &'static str,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// The folder it starts in; `/` if none.
    pub folder: Option<PathBuf>,
    /// How long it may take.
    pub patience: Duration,
    /// Where its output goes if it changes something; such a program lives on without its caller.
    pub log: Option<PathBuf>,
    /// What it reads from standard input; nothing if none.
    pub feed: Option<Vec<u8>>,
    /// A file that it reads from standard input instead.
    pub from: Option<PathBuf>,
    /// A file that its standard output goes to, made anew, instead of being kept in memory.
    pub into: Option<PathBuf>,
    /// It may write so many bytes. It is ended with all it started when they or its time are over, and what it leaves
    /// behind in its session ends when it does.
    pub most_output: Option<u64>,
    /// Its outputs are read through pipes, and it may write so many bytes to each: it is ended when they or its time are
    /// over. Whoever asks for this makes sure that all it starts ends with it, as in a process namespace of its own.
    pub piped: Option<u64>,
    /// It is somebody else's and gets a share of the machine of its own, where systemd gives out such.
    pub contained: bool,
}

impl Invocation {
    /// A program that only reads.
    pub fn reading<S: AsRef<OsStr>>(program: &'static str, args: impl IntoIterator<Item = S>) -> Self {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        Self {
            program,
            args,
            folder: None,
            patience: READING,
            log: None,
            feed: None,
            from: None,
            into: None,
            most_output: None,
            piped: None,
            contained: false,
        }
    }

    /// A program that changes the host and writes to this file.
    pub fn changing<S: AsRef<OsStr>>(program: &'static str, args: impl IntoIterator<Item = S>, log: PathBuf) -> Self {
        Self { patience: CHANGING, log: Some(log), ..Self::reading(program, args) }
    }

    /// The same in another folder.
    #[must_use]
    pub fn in_folder(self, folder: &Path) -> Self {
        Self { folder: Some(folder.to_owned()), ..self }
    }

    /// The same with another patience.
    #[must_use]
    pub fn within(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The same with something to read.
    #[must_use]
    pub fn fed(self, feed: Vec<u8>) -> Self {
        Self { feed: Some(feed), ..self }
    }

    /// The same, reading this file.
    #[must_use]
    pub fn reading_from(self, file: PathBuf) -> Self {
        Self { from: Some(file), ..self }
    }

    /// The same, writing to this file.
    #[must_use]
    pub fn writing_to(self, file: PathBuf) -> Self {
        Self { into: Some(file), ..self }
    }

    /// The same within bounds.
    #[must_use]
    pub fn bounded(self, patience: Duration, most_output: u64) -> Self {
        Self { patience, most_output: Some(most_output), ..self }
    }

    /// The same through pipes, within bounds.
    #[must_use]
    pub fn piped(self, patience: Duration, most: u64) -> Self {
        Self { patience, piped: Some(most), ..self }
    }

    /// The same with a share of the machine of its own.
    #[must_use]
    pub fn contained(self) -> Self {
        Self { contained: true, ..self }
    }

    /// The command line, for people: without the settings (`-o NAME=VALUE`), which are always the same.
    pub fn shown(&self) -> String {
        let mut text = self.program.to_owned();
        let mut args = self.args.iter();
        while let Some(arg) = args.next() {
            if arg == "-o" {
                args.next();
                continue;
            }
            text.push(' ');
            text.push_str(&arg.to_string_lossy());
        }
        if text.len() > 400 {
            text = text.chars().take(400).collect();
            text.push_str(" ...");
        }
        text
    }
}

/// What a program wrote and how it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Standard output; with a log, both outputs in the order they were written.
    pub stdout: Vec<u8>,
    /// Standard error; empty with a log.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Whether it ended with 0.
    pub fn ok(&self) -> bool {
        self.code == Some(0)
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The last lines that say what went wrong, for an error's text.
    pub fn complaint(&self) -> String {
        let all = format!("{}\n{}", self.text(), String::from_utf8_lossy(&self.stderr));
        let telling: Vec<&str> = all
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("E:") || line.starts_with("dpkg: error") || line.contains("error:"))
            .collect();
        let lines = if telling.is_empty() { all.lines().filter(|l| !l.trim().is_empty()).collect() } else { telling };
        let from = lines.len().saturating_sub(4);
        let text = lines.get(from..).unwrap_or_default().join("; ");
        text.chars().take(600).collect()
    }
}

/// Why a program gave no result.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started.
    #[error("cannot start `{command}`")]
    Start {
        /// The command line.
        command: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Its output could not be kept.
    #[error("cannot keep the output of `{command}`")]
    Output {
        /// The command line.
        command: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It took too long; a reading program was ended, a changing one was left alone.
    #[error("`{command}` was not done after {seconds} s{}", if *runs { ", and still runs" } else { "" })]
    Late {
        /// The command line.
        command: String,
        /// Its patience.
        seconds: u64,
        /// Whether it was left running.
        runs: bool,
    },
    /// It wrote more than it may, and was ended.
    #[error("`{command}` wrote more than {bytes} bytes and was ended")]
    Endless {
        /// The command line.
        command: String,
        /// How much it may write.
        bytes: u64,
    },
}

/// Something that runs programs: this host, or a double.
pub trait Programs: Send + Sync {
    /// Runs it to its end.
    ///
    /// # Errors
    /// When it cannot be started or takes too long; an exit code other than 0 is no error here.
    fn run(&self, invocation: &Invocation) -> Result<Output, CommandError>;

    /// Whether the program is there.
    fn has(&self, program: &str) -> bool;
}

/// The programs of this host.
#[derive(Debug, Default)]
pub struct Host {
    scopes: OnceLock<bool>,
}

impl Host {
    /// Whether systemd runs and gives out scopes.
    fn gives_scopes(&self) -> bool {
        *self.scopes.get_or_init(|| {
            if !Path::new("/run/systemd/system").is_dir() || !self.has("systemd-run") {
                return false;
            }
            let probe = Invocation::reading("systemd-run", ["--scope", "--quiet", "--collect", "--", "true"]);
            self.run(&probe.within(Duration::from_secs(30))).is_ok_and(|output| output.ok())
        })
    }

    fn command(&self, invocation: &Invocation) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        if (invocation.log.is_some() || invocation.contained) && self.gives_scopes() {
            words.extend(["systemd-run", "--scope", "--quiet", "--collect"].map(OsString::from));
            // What somebody else's program uses up is not what the executor needs itself.
            words.extend(LIMITS.into_iter().filter(|_| invocation.contained).map(OsString::from));
            words.push("--".into());
        }
        if self.has("setsid") {
            words.push("setsid".into());
        }
        words.push(invocation.program.into());
        words.extend(invocation.args.iter().cloned());
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).env_clear().envs(ENVIRONMENT).stdin(Stdio::null());
        command.current_dir(invocation.folder.as_deref().unwrap_or(Path::new("/")));
        command
    }
}

impl Host {
    fn run_piped(&self, invocation: &Invocation, most: u64) -> Result<Output, CommandError> {
        let shown = invocation.shown();
        let keep = |source: io::Error| CommandError::Output { command: shown.clone(), source };
        let mut command = self.command(invocation);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(feed) = &invocation.feed {
            command.stdin(holding(feed).map_err(keep)?);
        } else if let Some(file) = &invocation.from {
            command.stdin(File::open(file).map_err(keep)?);
        }
        let mut child = command.spawn().map_err(|source| CommandError::Start { command: shown.clone(), source })?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let full = AtomicBool::new(false);
        let (ended, stdout, stderr) = std::thread::scope(|scope| {
            let out = scope.spawn(|| out.map(|pipe| drain(pipe, most, &full)).unwrap_or_default());
            let err = scope.spawn(|| err.map(|pipe| drain(pipe, most, &full)).unwrap_or_default());
            let ended = wait_bounded(&child, invocation.patience, &|| Ok(full.load(Ordering::SeqCst)));
            end(&mut child);
            // A thread of ours does not panic; if it did, nothing was read.
            (ended, out.join().unwrap_or_default(), err.join().unwrap_or_default())
        });
        match ended.map_err(keep)? {
            Bounded::Ended if !full.load(Ordering::SeqCst) => {}
            Bounded::Late => {
                let seconds = invocation.patience.as_secs();
                return Err(CommandError::Late { command: shown, seconds, runs: false });
            }
            Bounded::Ended | Bounded::Endless => return Err(CommandError::Endless { command: shown, bytes: most }),
        }
        let status = child.try_wait().map_err(keep)?;
        Ok(Output { code: status.and_then(|status| status.code()), stdout, stderr })
    }
}

/// Reads a pipe to its end, or until it gave too much.
fn drain(pipe: impl Read, most: u64, full: &AtomicBool) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A pipe that cannot be read is one that has ended.
    let _ = pipe.take(most.saturating_add(1)).read_to_end(&mut bytes);
    if bytes.len() as u64 > most {
        full.store(true, Ordering::SeqCst);
    }
    bytes
}

impl Programs for Host {
    fn run(&self, invocation: &Invocation) -> Result<Output, CommandError> {
        if let Some(most) = invocation.piped {
            return self.run_piped(invocation, most);
        }
        let shown = invocation.shown();
        let keep = |source: io::Error| CommandError::Output { command: shown.clone(), source };
        let mut command = self.command(invocation);
        let (out, start, err) = if let Some(log) = &invocation.log {
            let file = File::options().create(true).append(true).read(true).mode(0o600).open(log).map_err(keep)?;
            let start = file.metadata().map_err(keep)?.len();
            (file.try_clone().map_err(keep)?, start, file)
        } else {
            (in_memory().map_err(keep)?, 0, in_memory().map_err(keep)?)
        };
        command.stdout(out.try_clone().map_err(keep)?).stderr(err.try_clone().map_err(keep)?);
        if let Some(feed) = &invocation.feed {
            command.stdin(holding(feed).map_err(keep)?);
        } else if let Some(file) = &invocation.from {
            command.stdin(File::open(file).map_err(keep)?);
        }
        if let Some(file) = &invocation.into {
            let made = File::options().create(true).truncate(true).write(true).mode(0o600).open(file);
            command.stdout(made.map_err(keep)?);
        }
        let mut child = command.spawn().map_err(|source| CommandError::Start { command: shown.clone(), source })?;
        let seconds = invocation.patience.as_secs();
        let ended = match invocation.most_output {
            None => wait(&mut child, invocation.patience).map_err(keep)?,
            Some(bytes) => {
                let written = || -> io::Result<u64> {
                    let errors = if invocation.log.is_some() { 0 } else { err.metadata()?.len() };
                    Ok(out.metadata()?.len().saturating_sub(start).saturating_add(errors))
                };
                let ended = wait_bounded(&child, invocation.patience, &|| Ok(written()? > bytes)).map_err(keep);
                end(&mut child);
                match ended? {
                    Bounded::Ended => child.try_wait().map_err(keep)?,
                    Bounded::Late => return Err(CommandError::Late { command: shown, seconds, runs: false }),
                    Bounded::Endless => return Err(CommandError::Endless { command: shown, bytes }),
                }
            }
        };
        let Some(status) = ended else {
            let runs = invocation.log.is_some();
            if !runs {
                end(&mut child);
            }
            return Err(CommandError::Late { command: shown, seconds, runs });
        };
        let stdout = read_from(&out, start).map_err(keep)?;
        let stderr = if invocation.log.is_some() { Vec::new() } else { read_from(&err, 0).map_err(keep)? };
        let code = status.code().or_else(|| status.signal().map(|signal| -signal)).filter(|code| *code >= 0);
        Ok(Output { code, stdout, stderr })
    }

    fn has(&self, program: &str) -> bool {
        let path = ENVIRONMENT.first().map_or("", |(_, path)| *path);
        path.split(':').any(|folder| fs::metadata(Path::new(folder).join(program)).is_ok_and(|about| about.is_file()))
    }
}

fn in_memory() -> io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create("output", MemfdFlags::CLOEXEC)?))
}

/// Asks again with growing pauses: the standard library cannot wait with a limit.
fn wait(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::park_timeout(pause);
        pause = (pause * 3 / 2).min(Duration::from_millis(100));
    }
}

/// How a bounded program came to its end.
enum Bounded {
    /// By itself; it is not reaped, so that its process group can be ended under the same number.
    Ended,
    /// Its time is over.
    Late,
    /// It wrote too much.
    Endless,
}

/// Looks often: between two looks a program can write a lot.
fn wait_bounded(child: &Child, patience: Duration, endless: &dyn Fn() -> io::Result<bool>) -> io::Result<Bounded> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("a process without a number"))?;
    let deadline = Instant::now() + patience;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    loop {
        let ended = rustix::process::waitid(WaitId::Pid(pid), options)?.is_some();
        if endless()? {
            return Ok(Bounded::Endless);
        }
        if ended {
            return Ok(Bounded::Ended);
        }
        if Instant::now() >= deadline {
            return Ok(Bounded::Late);
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// A file in memory with this in it, to be read from its start and written by nobody any more.
fn holding(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("input", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all(bytes)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    file.rewind()?;
    Ok(file)
}

/// Ends a program with all it started: it leads its own session, so its group is its own.
fn end(child: &mut Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn read_from(file: &File, start: u64) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    // The end tells what went wrong, so a long output loses its beginning.
    let from = start.max(length.saturating_sub(MOST_OUTPUT));
    let mut bytes = vec![0; usize::try_from(length.saturating_sub(from)).unwrap_or(0)];
    file.read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_not_a_shell_line_and_the_environment_is_clean() {
        let output = Host::default().run(&Invocation::reading("printf", ["%s", "$HOME; ls"])).unwrap();
        assert_eq!(output.text(), "$HOME; ls");
        let output = Host::default().run(&Invocation::reading("env", [] as [&str; 0])).unwrap();
        let mut names: Vec<String> =
            output.text().lines().filter_map(|line| Some(line.split_once('=')?.0.to_owned())).collect();
        names.sort();
        let mut expected: Vec<&str> = ENVIRONMENT.iter().map(|(name, _)| *name).collect();
        expected.sort_unstable();
        assert_eq!(names, expected);
    }

    #[test]
    fn a_reader_that_hangs_is_ended_with_all_it_started() {
        let late = Invocation::reading("sh", ["-c", "sleep 600 & echo $!; wait"]).within(Duration::from_millis(200));
        let error = Host::default().run(&late).unwrap_err();
        assert!(matches!(error, CommandError::Late { runs: false, .. }), "{error}");
    }

    /// A program in a process namespace of its own, as pip runs.
    fn shut_in(script: &str, patience: Duration, most: u64) -> Option<Result<Output, CommandError>> {
        // It takes root, as every change of a host does.
        rustix::process::geteuid().is_root().then(|| {
            let words = ["--pid", "--fork", "--kill-child", "--", "timeout", "60", "sh", "-c", script];
            Host::default().run(&Invocation::reading("unshare", words).piped(patience, most))
        })
    }

    #[test]
    fn what_writes_without_end_is_ended_and_so_is_what_hides_in_another_session() {
        let Some(flood) = shut_in("cat /dev/zero", Duration::from_secs(60), 1 << 16) else { return };
        assert!(matches!(flood, Err(CommandError::Endless { bytes: 65536, .. })), "{flood:?}");
        // It keeps its output open; nobody waits for it.
        let started = Instant::now();
        let hidden = shut_in("setsid sleep 600 & echo done", Duration::from_secs(60), 100).unwrap().unwrap();
        assert_eq!(hidden.text(), "done\n");
        let late = shut_in("setsid sleep 600 & sleep 600", Duration::from_millis(200), 100).unwrap();
        assert!(matches!(late, Err(CommandError::Late { runs: false, .. })), "{late:?}");
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn what_is_fed_cannot_be_written_to() {
        let script = "echo more >>/dev/stdin; cat";
        let program = Invocation::reading("sh", ["-c", script]).fed(b"fed".to_vec());
        assert_eq!(Host::default().run(&program).unwrap().text(), "fed");
    }

    #[test]
    fn a_changing_program_leads_its_own_session_and_its_output_is_in_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        fs::write(&log, "before\n").unwrap();
        let program =
            Invocation::changing("sh", ["-c", "ps -o sid= -p $$ || true; echo $$; echo bad >&2"], log.clone());
        let output = Host::default().run(&program).unwrap();
        assert!(output.text().ends_with("bad\n") && !output.text().contains("before"), "{}", output.text());
        assert!(fs::read_to_string(log).unwrap().starts_with("before\n"));
    }

    #[test]
    fn the_last_complaints_are_shown_first() {
        let output = Output { code: Some(100), stdout: b"Reading...\nE: one\nfine\nE: two\n".to_vec(), stderr: vec![] };
        assert_eq!(output.complaint(), "E: one; E: two");
    }
}
