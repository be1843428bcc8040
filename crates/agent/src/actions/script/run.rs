//! Running one file of a script: as the account that its manifest names, with an argument vector, a clean environment,
//! bounded in time and output.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use serde_json::{Map, Value};
use stanch_action::ActionError;
use stanch_model::script::{MAX_STATE, Manifest, Part};

use crate::actions::command::{CommandError, Invocation, Output, Programs};
use crate::facts::{self, Root};

/// Where scripts lie while they run. Not in the executor's own folder, which no other account may enter.
const PLACE: &str = "run/stanch-scripts";
/// An earlier run of the same step still has the lock.
const BUSY: i32 = 75;
/// Most bytes read of `/etc/passwd`.
const MOST_ACCOUNTS: u64 = 4 << 20;

/// Where scripts run.
pub(super) struct Ground {
    host: Arc<dyn Programs>,
    /// The system whose files scripts work on: this host's, or another's in a folder.
    root: PathBuf,
}

/// A script that may run, with everything it needs.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) manifest: Manifest,
    files: BTreeMap<Part, String>,
    vector: Vec<String>,
    looks: Account,
    acts: Account,
}

#[derive(Debug, Clone, Copy)]
struct Account {
    uid: u32,
    gid: u32,
}

impl Ready {
    /// For whoever has to agree.
    pub(super) fn described(&self) -> String {
        let manifest = &self.manifest;
        let named = manifest.parameters.iter().zip(&self.vector);
        let arguments: Vec<String> = named.map(|(parameter, value)| format!("{}={value}", parameter.name)).collect();
        let with = if arguments.is_empty() { String::new() } else { format!(" with {}", arguments.join(", ")) };
        format!("{}; {} as {}{with}", manifest.summary, manifest.interpreter, manifest.acts_as)
    }
}

/// What is kept of a file that changes something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept<'a> {
    /// Where its output goes.
    pub(super) log: &'a Path,
    /// What it holds as long as it lives.
    pub(super) lock: &'a Path,
}

/// How a file ended, and what it wrote.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) code: Option<i32>,
    output: Output,
}

impl Told {
    /// Its exit code and what it said, for a message.
    pub(super) fn ending(&self) -> String {
        let code = self.code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
        let said = match self.output.stderr.is_empty() {
            true => self.output.complaint(),
            false => Output { stdout: Vec::new(), ..self.output.clone() }.complaint(),
        };
        if said.is_empty() { code } else { format!("{code}: {said}") }
    }

    /// What evaluate printed: one JSON object; an empty one if nothing.
    pub(super) fn state(&self) -> Result<Value, String> {
        let bytes = self.output.stdout.trim_ascii();
        if bytes.is_empty() {
            return Ok(Value::Object(Map::new()));
        }
        if bytes.len() > MAX_STATE {
            return Err(format!("printed {} bytes; at most {MAX_STATE} are an observation", bytes.len()));
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(state)) => Ok(Value::Object(state)),
            Ok(_) => Err("printed JSON that is no object".to_owned()),
            Err(error) => Err(format!("printed no JSON object: {error}")),
        }
    }
}

impl Ground {
    pub(super) fn new(host: Arc<dyn Programs>, root: PathBuf) -> Self {
        Self { host, root }
    }

    pub(super) fn host(&self) -> &dyn Programs {
        self.host.as_ref()
    }

    /// Which system this is, `debian 12`.
    pub(super) fn system(&self) -> Option<String> {
        facts::system(&Root::open(&self.root).ok()?)
    }

    fn is_own(&self) -> bool {
        self.root == Path::new("/")
    }

    /// A script with the accounts it runs as, if this system has them and an interpreter that nobody else can change.
    pub(super) fn ready(
        &self,
        manifest: Manifest,
        files: BTreeMap<Part, String>,
        vector: Vec<String>,
    ) -> Result<Ready, String> {
        let root = Root::open(&self.root).map_err(|error| format!("{}: {error}", self.root.display()))?;
        let program = root.file(&manifest.interpreter).and_then(|(file, _)| file.metadata());
        let about = program.map_err(|error| format!("{}: {error}", manifest.interpreter))?;
        if about.uid() != 0 || about.mode() & 0o022 != 0 {
            return Err(format!("{} can be changed by others than root", manifest.interpreter));
        }
        let accounts = root.text("/etc/passwd", MOST_ACCOUNTS).map_err(|error| format!("/etc/passwd: {error}"))?;
        let (looks, acts) = (account(&accounts, &manifest.looks_as)?, account(&accounts, &manifest.acts_as)?);
        Ok(Ready { manifest, files, vector, looks, acts })
    }

    /// What an executor left running when it died is waited for, as long as it may take.
    fn wait_for_the_last(&self, ready: &Ready, lock: &Path) -> Result<(), ActionError> {
        let (seconds, busy) = (ready.manifest.timeout_seconds.to_string(), BUSY.to_string());
        let mut words = ["--conflict-exit-code", &busy, "--wait", &seconds].map(OsString::from).to_vec();
        words.extend([lock.into(), "true".into()]);
        let patience = Duration::from_secs(u64::from(ready.manifest.timeout_seconds) + 30);
        match self.host.run(&Invocation::reading("flock", words).within(patience)) {
            Ok(output) if output.ok() => Ok(()),
            Ok(output) if output.code == Some(BUSY) => Err(still_runs(ready)),
            Ok(output) => Err(ActionError::failed(format!("flock: {}", output.complaint()))),
            Err(error) => Err(said(&ready.manifest.id(), Part::Remediate, error)),
        }
    }

    /// Runs one file to its end. What changes something writes to a log and holds a lock.
    pub(super) fn run(
        &self,
        ready: &Ready,
        part: Part,
        feed: Option<Vec<u8>>,
        kept: Option<Kept<'_>>,
    ) -> Result<Told, ActionError> {
        let id = ready.manifest.id();
        let text = ready.files.get(&part).ok_or_else(|| ActionError::refused(format!("{id} has no {part}")))?;
        let laid = Laid::out(&self.root, part, text)
            .map_err(|error| ActionError::caused(format!("{part} of {id} cannot be laid out"), error))?;
        let account = if part.acts() { ready.acts } else { ready.looks };
        let mut words: Vec<OsString> = Vec::new();
        let busy = BUSY.to_string();
        if let Some(Kept { lock, .. }) = kept {
            self.wait_for_the_last(ready, lock)?;
            // Taken by the process itself, so that it is held as long as that lives, whatever becomes of the executor.
            words.extend(["flock", "--no-fork", "--nonblock", "--conflict-exit-code", &busy].map(OsString::from));
            words.push(lock.into());
        }
        if !self.is_own() {
            words.extend(["chroot".into(), OsString::from(&self.root)]);
        }
        let (uid, gid) = (account.uid.to_string(), account.gid.to_string());
        words.extend(
            ["setpriv", "--reuid", &uid, "--regid", &gid, "--clear-groups", "--inh-caps", "-all"].map(OsString::from),
        );
        if account.uid != 0 {
            words.push("--no-new-privs".into());
        }
        words.extend(["--".into(), OsString::from(&ready.manifest.interpreter), laid.inside.clone().into()]);
        words.extend(ready.vector.iter().map(OsString::from));
        let program = match (kept.is_some(), self.is_own()) {
            (true, _) => "flock",
            (false, false) => "chroot",
            (false, true) => "setpriv",
        };
        let args = words.into_iter().skip(1);
        let mut invocation = match kept {
            Some(Kept { log, .. }) => Invocation::changing(program, args, log.to_owned()),
            None => Invocation::reading(program, args),
        };
        let patience = Duration::from_secs(u64::from(ready.manifest.timeout_seconds));
        invocation = invocation.bounded(patience, u64::from(ready.manifest.output_bytes));
        if let Some(feed) = feed {
            invocation = invocation.fed(feed);
        }
        let output = self.host.run(&invocation).map_err(|error| said(&id, part, error))?;
        if kept.is_some() && output.code == Some(BUSY) {
            return Err(still_runs(ready));
        }
        Ok(Told { code: output.code, output })
    }
}

fn still_runs(ready: &Ready) -> ActionError {
    ActionError::failed(format!("an earlier run of {} has not ended yet", ready.manifest.id()))
        .with_hint("look at what it waits for, and end it")
}

/// The numbers of an account, as passwd(5) has them.
fn account(accounts: &str, name: &str) -> Result<Account, String> {
    let found = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let named = fields.next() == Some(name);
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        named.then_some(Account { uid, gid })
    });
    found.ok_or_else(|| format!("there is no account `{name}` here"))
}

/// What went wrong, without the command line, which says nothing that a person wrote.
fn said(id: &str, part: Part, error: CommandError) -> ActionError {
    match error {
        CommandError::Late { seconds, .. } => {
            ActionError::failed(format!("{part} of {id} was not done after {seconds} s and was ended"))
                .with_hint("`timeout_seconds` in its manifest says how long it may take")
        }
        CommandError::Endless { bytes, .. } => {
            ActionError::failed(format!("{part} of {id} wrote more than {bytes} bytes and was ended"))
                .with_hint("`output_bytes` in its manifest says how much it may write")
        }
        error => ActionError::caused(format!("{part} of {id} could not be run"), error)
            .with_hint("it needs `setpriv` and `flock` of util-linux"),
    }
}

/// The start of a file, bounded.
pub(super) fn read_bounded(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// One file of a script where its account can read it and nobody but root can change it; gone when this is.
struct Laid {
    folder: PathBuf,
    /// Its path as the script sees it.
    inside: PathBuf,
}

impl Laid {
    fn out(root: &Path, part: Part, text: &str) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        static SWEPT: Once = Once::new();
        let place = root.join(PLACE);
        make_open(&place)?;
        let about = fs::symlink_metadata(&place)?;
        if !about.is_dir() || about.uid() != rustix::process::geteuid().as_raw() || about.mode() & 0o022 != 0 {
            return Err(io::Error::other(format!("{} belongs to somebody else", place.display())));
        }
        SWEPT.call_once(|| sweep(&place));
        let own = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let laid = Self { folder: place.join(&own), inside: Path::new("/").join(PLACE).join(own).join(part.name()) };
        make_open(&laid.folder)?;
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(laid.folder.join(part.name()))?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        Ok(laid)
    }
}

/// A folder that every account can enter, whatever the executor's own umask says; one that is there stays as it is.
fn make_open(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Ok(()) => fs::set_permissions(folder, Permissions::from_mode(0o755)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

impl Drop for Laid {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Removes what executors left that were killed; one of them may have had this one's number.
fn sweep(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.split('-').next()?.parse::<u32>().ok());
        let lives = |pid: u32| pid != std::process::id() && Path::new("/proc").join(pid.to_string()).exists();
        if !owner.is_some_and(lives) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
