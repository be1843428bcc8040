//! Rehearsals: a planned leaf is carried out, checked and taken back in a copy of this host, and the host stays as it is.
//!
//! The copy is an overlay of every file system the host's packages live on, in mount, process, network and message
//! namespaces of its own; what is written there goes away with it. Package scripts run in it without network, without
//! the host's services, devices and sockets, and without the rights to load modules, set clocks or mount. Whoever makes
//! the copy is this very program, started anew as a worker ([`worker`]), so that nothing has to be installed.

mod copy;
mod worker;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use stanch_action::ActionError;
use stanch_model::asset::Asset;
use stanch_model::order::Rehearsed;
use stanch_model::plan::Leaf;
use stanch_runner::Shutdown;

use crate::actions::script::Trial;
pub use worker::{WORKER, work};

/// The longest a rehearsal may take.
const PATIENCE: Duration = Duration::from_secs(3600);
/// It ends when the host's disk has less than this left.
const SPARE_BYTES: u64 = 1 << 30;
/// Most bytes of one line of the worker.
const MOST_LINE: u64 = 64 << 20;

/// What a worker is to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Job {
    /// Carry out a leaf, check it and take it back.
    Leaf(Box<(Asset, Leaf)>),
    /// Try a script that nobody has signed yet.
    Script(Box<Trial>),
}

/// What a worker says, one line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    /// What is going on.
    Says(String),
    /// It is over.
    Done(Box<Rehearsed>),
    /// It could not be done.
    Failed { message: String, hint: Option<String> },
}

/// Makes rehearsals on this host.
#[derive(Debug)]
pub struct Rehearsals {
    folder: PathBuf,
    worker: Vec<OsString>,
}

impl Rehearsals {
    /// In this folder, which is its own and is emptied before and after. The worker is this program with [`WORKER`] as
    /// its first argument.
    ///
    /// # Errors
    /// When it is not known which program this is.
    pub fn new(folder: PathBuf) -> io::Result<Self> {
        let program = std::env::current_exe()?.into_os_string();
        Ok(Self { folder, worker: vec![program, WORKER.into()] })
    }

    /// The same with another worker: an argument vector, to which the folder is added.
    #[must_use]
    pub fn with_worker(self, worker: Vec<OsString>) -> Self {
        Self { worker, ..self }
    }

    /// Carries out a leaf in a copy of this host. Blocks; ends early when `shutdown` is asked.
    ///
    /// # Errors
    /// When no copy can be made, or the worker is gone without a result.
    pub fn carry_out(
        &self,
        asset: &Asset,
        leaf: &Leaf,
        say: &dyn Fn(&str),
        shutdown: &Shutdown,
    ) -> Result<Rehearsed, ActionError> {
        self.begin(&Job::Leaf(Box::new((asset.clone(), leaf.clone()))), say, shutdown)
    }

    /// Tries a script in a copy of this host. Whoever calls this believes it: nobody's signature is asked for.
    ///
    /// # Errors
    /// As [`Rehearsals::carry_out`].
    pub fn try_script(&self, trial: &Trial, say: &dyn Fn(&str), shutdown: &Shutdown) -> Result<Rehearsed, ActionError> {
        self.begin(&Job::Script(Box::new(trial.clone())), say, shutdown)
    }

    fn begin(&self, job: &Job, say: &dyn Fn(&str), shutdown: &Shutdown) -> Result<Rehearsed, ActionError> {
        let began = Instant::now();
        self.clear().and_then(|()| self.prepare(job)).map_err(|error| {
            ActionError::caused(format!("the folder {} cannot be prepared", self.folder.display()), error)
        })?;
        let result = self.run(say, shutdown);
        if let Err(error) = self.clear() {
            tracing::warn!(%error, folder = %self.folder.display(), "what is left of a rehearsal could not be removed");
        }
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        result.map(|rehearsed| Rehearsed { took_ms, ..rehearsed })
    }

    fn clear(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn prepare(&self, job: &Job) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let job = serde_json::to_vec(job)?;
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(worker::job(&self.folder))?;
        file.write_all(&job)
    }

    fn run(&self, say: &dyn Fn(&str), shutdown: &Shutdown) -> Result<Rehearsed, ActionError> {
        let started = |error| {
            ActionError::caused("a copy of this host cannot be made", error)
                .with_hint("it needs `unshare` and `setpriv` of util-linux, and the rights of root")
        };
        let complaints = File::options()
            .create(true)
            .append(true)
            .read(true)
            .mode(0o600)
            .open(self.folder.join("complaints"))
            .map_err(started)?;
        let mut child = Command::new("unshare")
            .args(["--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--propagation", "private", "--"])
            .args(&self.worker)
            .arg(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(complaints)
            .spawn()
            .map_err(started)?;
        let words = listen(&mut child);
        let result = self.follow(&words, say, shutdown);
        // The worker leads its own processes: they all end with it.
        let _ = child.kill();
        let _ = child.wait();
        result.unwrap_or_else(|| Err(self.gone()))
    }

    /// Hears the worker out; nothing when it went without a result.
    fn follow(
        &self,
        words: &mpsc::Receiver<Word>,
        say: &dyn Fn(&str),
        shutdown: &Shutdown,
    ) -> Option<Result<Rehearsed, ActionError>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match words.recv_timeout(Duration::from_millis(500)) {
                Ok(Word::Says(text)) => say(&text),
                Ok(Word::Done(rehearsed)) => return Some(Ok(*rehearsed)),
                Ok(Word::Failed { message, hint }) => {
                    let error = ActionError::failed(message);
                    return Some(Err(hint.into_iter().fold(error, ActionError::with_hint)));
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            let too = |why: String| Some(Err(ActionError::failed(format!("the rehearsal was broken off: {why}"))));
            if shutdown.is_asked() {
                return too("this executor ends".to_owned());
            }
            if Instant::now() >= deadline {
                return too(format!("it was not done after {} minutes", PATIENCE.as_secs() / 60));
            }
            if free(&self.folder).is_some_and(|free| free < SPARE_BYTES) {
                return too(format!("less than 1 GiB is left on the disk of {}", self.folder.display()));
            }
        }
    }

    fn gone(&self) -> ActionError {
        let said = fs::read_to_string(self.folder.join("complaints")).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(3).collect();
        let last = if last.is_empty() { "it said nothing".to_owned() } else { last.join("; ") };
        ActionError::failed(format!("the rehearsal ended without a result: {}", stanch_runner::mask(&last)))
    }
}

fn free(folder: &Path) -> Option<u64> {
    let about = rustix::fs::statvfs(folder).ok()?;
    Some(about.f_bavail.saturating_mul(about.f_frsize))
}

/// What the worker says. The channel closes when it is gone.
fn listen(child: &mut Child) -> mpsc::Receiver<Word> {
    let (sender, receiver) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            loop {
                line.clear();
                match output.by_ref().take(MOST_LINE).read_until(b'\n', &mut line) {
                    Ok(read) if read > 0 => {}
                    _ => return,
                }
                let Ok(word) = serde_json::from_slice(&line) else { continue };
                if sender.send(word).is_err() {
                    return;
                }
            }
        });
    }
    receiver
}
