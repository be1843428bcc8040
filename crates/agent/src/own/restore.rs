//! What brings the version before back when a new version of one of Stanch's own packages does not prove itself.
//!
//! It must not rest on what it judges. So before the upgrade the program of the version before is copied aside, with the
//! package that it came in, and a timer of systemd runs that copy until the new version has proven itself: the agent by an
//! answer of its server that goes back to the pinned root, the server by its health. Time is counted from look to look on
//! the clock since boot: neither a clock that is set nor a reboot begins it anew.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use stanch_model::canonical::Digest;
use stanch_model::order::{Batch, Hello, Progress, Receipt};
use stanch_model::own::{AGENT, Restored, SERVER};
use stanch_model::sign::{Signed, VerifyingKey};
use stanch_runner::{Link, LinkError};

use crate::actions::{CommandError, Invocation, Programs};

/// The timer that looks.
pub const TIMER: &str = "stanch-agent-restore.timer";
/// How long a new version has to prove itself unless the rules of the host say otherwise, in seconds.
pub const LIMIT: u32 = 15 * 60;
/// Between two looks no more than this counts, in seconds: a machine that slept was not waiting.
const MOST_BETWEEN: u64 = 120;
/// A server that fails and is started again is well now and then: it must be well at so many looks in a row.
const WELL_LOOKS: u32 = 3;
/// How long a server may take to say that it is well.
const HEALTH: Duration = Duration::from_secs(5);
const WATCH: &str = "watch.json";
const KEPT: &str = "kept.deb";
const MARK: &str = "checked-in";
const RESTORED: &str = "restored.json";

/// Why the way back cannot be laid or gone.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A file.
    #[error("cannot {verb} {}", path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What was written there is something else.
    #[error("{} does not read", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The kept package is not what was kept.
    #[error("the kept package {} was changed", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A program could not be run.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A program said no.
    #[error("`{command}` failed: {complaint}")]
    Failed {
        /// The command line.
        command: String,
        /// What it said.
        complaint: String,
    },
    /// The kernel does not tell how long it runs.
    #[error("the time since boot cannot be read")]
    Uptime,
}

/// Where things lie.
#[derive(Debug, Clone)]
pub struct Places {
    /// A folder for each package that is watched.
    pub folder: PathBuf,
    /// The program of the version before.
    pub keeper: PathBuf,
    /// The program that is copied there.
    pub program: PathBuf,
    /// Where the clock since boot and its id are read.
    pub proc: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            folder: Path::new(crate::fleet::FOLDER).join("restore"),
            keeper: "/usr/lib/stanch-agent/restore".into(),
            program: "/usr/bin/stanch-agent".into(),
            proc: "/proc".into(),
        }
    }
}

/// How a new version proves itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// It wrote down that its server answered.
    CheckIn,
    /// It answers there that it is well.
    Health {
        /// Where it is asked.
        url: String,
    },
}

/// A point on the clock since boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Which boot.
    pub boot_id: String,
    /// Seconds since then.
    pub seconds: u64,
}

/// A new version that has not proven itself yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// The package.
    pub package: String,
    /// Its service.
    pub unit: String,
    /// The version before.
    pub from: String,
    /// The new one.
    pub to: String,
    /// Digest of the kept package.
    pub sha256: Digest,
    /// How long it has.
    pub limit_seconds: u32,
    /// How it proves itself.
    pub proof: Proof,
    /// How long it was waited for.
    pub waited_seconds: u64,
    /// At how many looks in a row it was well.
    pub well: u32,
    /// The last look.
    pub last: Option<Moment>,
}

/// What a look finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When.
    pub now: Moment,
    /// The version that is installed, in whole or in part.
    pub installed: Option<String>,
    /// A package manager is at work.
    pub busy: bool,
    /// The new version has proven itself, as far as this look can tell.
    pub proven: bool,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Look again.
    Wait,
    /// The new version has proven itself.
    Proven,
    /// The version before is there, and the new one did not come or was taken back.
    AsBefore,
    /// The version before is to be brought back.
    Restore,
}

impl Watch {
    /// What a look means, and what is known after it.
    #[must_use]
    pub fn look(mut self, seen: &Seen) -> (Self, Verdict) {
        let passed = match &self.last {
            None => 0,
            Some(last) if last.boot_id == seen.now.boot_id => seen.now.seconds.saturating_sub(last.seconds),
            Some(_) => seen.now.seconds,
        };
        self.waited_seconds = self.waited_seconds.saturating_add(passed.min(MOST_BETWEEN));
        self.last = Some(seen.now.clone());
        let is = |version: &str| seen.installed.as_deref() == Some(version);
        self.well = if is(&self.to) && seen.proven { self.well.saturating_add(1) } else { 0 };
        let looks = if self.proof == Proof::CheckIn { 1 } else { WELL_LOOKS };
        let verdict = if self.well >= looks {
            Verdict::Proven
        } else if self.waited_seconds < u64::from(self.limit_seconds) || seen.busy {
            Verdict::Wait
        } else if is(&self.from) {
            Verdict::AsBefore
        } else {
            Verdict::Restore
        };
        (self, verdict)
    }
}

/// What was restored, and whether the server knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Outcome {
    restored: Restored,
    /// The version before is there again.
    done: bool,
    /// The server has heard.
    told: bool,
}

fn failed<'a>(verb: &'static str, path: &'a Path) -> impl Fn(io::Error) -> RestoreError + 'a {
    move |source| RestoreError::File { verb, path: path.to_owned(), source }
}

/// Writes a file whole or not at all, for root alone.
fn write(path: &Path, bytes: &[u8]) -> Result<(), RestoreError> {
    let cannot = failed("write", path);
    let part = path.with_extension("part");
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part);
    file.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all())).map_err(&cannot)?;
    settle(&part, path).map_err(&cannot)
}

/// Copies a file whole or not at all.
fn copy(from: &Path, to: &Path, mode: u32) -> Result<(), RestoreError> {
    let cannot = failed("copy to", to);
    let part = to.with_extension("part");
    fs::copy(from, &part).map_err(&cannot)?;
    fs::set_permissions(&part, Permissions::from_mode(mode)).map_err(&cannot)?;
    File::open(&part).and_then(|file| file.sync_all()).map_err(&cannot)?;
    settle(&part, to).map_err(&cannot)
}

/// Gives a file its name so that it keeps it over a loss of power.
fn settle(part: &Path, path: &Path) -> io::Result<()> {
    fs::rename(part, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder).and_then(|folder| folder.sync_all()))
}

fn json<T: Serialize>(path: &Path, value: &T) -> Result<(), RestoreError> {
    let bytes =
        serde_json::to_vec_pretty(value).map_err(|source| RestoreError::Damaged { path: path.to_owned(), source })?;
    write(path, &bytes)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, RestoreError> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(failed("read", path))?,
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|source| RestoreError::Damaged { path: path.to_owned(), source })
}

fn remove(path: &Path) -> Result<(), RestoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

fn digest(path: &Path) -> Result<Digest, RestoreError> {
    crate::actions::package::digest_of(path).map_err(failed("read", path))
}

/// Runs it and is content with nothing but success.
fn must(host: &dyn Programs, invocation: &Invocation) -> Result<(), RestoreError> {
    let output = host.run(invocation)?;
    if output.ok() {
        return Ok(());
    }
    Err(RestoreError::Failed { command: invocation.shown(), complaint: output.complaint() })
}

/// The version of a package that dpkg knows here, however far it is installed.
fn installed(host: &dyn Programs, package: &str) -> Result<Option<String>, RestoreError> {
    let output = host.run(&Invocation::reading("dpkg-query", ["--show", "--showformat=${Version}", package]))?;
    let text = output.text().trim().to_owned();
    Ok((output.ok() && !text.is_empty()).then_some(text))
}

/// An upgrade that is about to begin.
#[derive(Debug, Clone)]
pub struct Upgrade<'a> {
    /// The package.
    pub package: &'a str,
    /// The version before.
    pub from: &'a str,
    /// The new one.
    pub to: &'a str,
    /// The package of the version before.
    pub deb: &'a Path,
    /// Its digest.
    pub sha256: Digest,
    /// How long the new version has.
    pub limit_seconds: u32,
    /// Where the server answers whether it is well.
    pub health: &'a str,
}

impl Places {
    fn of(&self, package: &str) -> PathBuf {
        self.folder.join(package)
    }

    /// Lays the way back and has the timer look. After this the upgrade may begin.
    ///
    /// # Errors
    /// When nothing could bring the version before back: then nothing may be upgraded.
    pub fn arm(&self, host: &dyn Programs, upgrade: &Upgrade<'_>) -> Result<(), RestoreError> {
        let folder = self.of(upgrade.package);
        fs::create_dir_all(&folder).map_err(failed("make", &folder))?;
        fs::set_permissions(&self.folder, Permissions::from_mode(0o700)).map_err(failed("guard", &self.folder))?;
        let kept = folder.join(KEPT);
        copy(upgrade.deb, &kept, 0o600)?;
        if digest(&kept)? != upgrade.sha256 {
            return Err(RestoreError::Changed { path: kept });
        }
        if let Some(parent) = self.keeper.parent() {
            fs::create_dir_all(parent).map_err(failed("make", parent))?;
        }
        copy(&self.program, &self.keeper, 0o755)?;
        remove(&folder.join(MARK))?;
        let server = upgrade.package == SERVER;
        let watch = Watch {
            package: upgrade.package.to_owned(),
            unit: format!("{}.service", upgrade.package),
            from: upgrade.from.to_owned(),
            to: upgrade.to.to_owned(),
            sha256: upgrade.sha256,
            limit_seconds: upgrade.limit_seconds,
            proof: if server { Proof::Health { url: upgrade.health.to_owned() } } else { Proof::CheckIn },
            waited_seconds: 0,
            well: 0,
            last: None,
        };
        json(&folder.join(WATCH), &watch)?;
        must(host, &Invocation::reading("systemctl", ["start", TIMER]))?;
        must(host, &Invocation::reading("systemctl", ["is-active", "--quiet", TIMER]))
    }

    /// Whether this version was here and the one before was brought back.
    ///
    /// # Errors
    /// When what is written of it does not read.
    pub fn was_restored(&self, package: &str, version: &str) -> Result<bool, RestoreError> {
        let outcome: Option<Outcome> = read(&self.of(package).join(RESTORED))?;
        Ok(outcome.is_some_and(|outcome| outcome.restored.version == version))
    }

    /// One look at everything that is watched; answers whether anything still is. Run by the timer.
    ///
    /// # Errors
    /// When the way back cannot be gone; the next look tries again.
    pub fn look(&self, host: &dyn Programs) -> Result<bool, RestoreError> {
        let mut left = false;
        for package in [SERVER, AGENT] {
            let folder = self.of(package);
            let Some(watch) = read::<Watch>(&folder.join(WATCH))? else { continue };
            let (watch, verdict) = watch.clone().look(&self.seen(host, &watch)?);
            json(&folder.join(WATCH), &watch)?;
            match verdict {
                Verdict::Wait => {
                    left = true;
                    continue;
                }
                Verdict::Proven => tracing::info!(package, version = watch.to, "the new version has proven itself"),
                Verdict::AsBefore => tracing::info!(package, version = watch.from, "the version before is there"),
                Verdict::Restore => self.restore(host, &watch)?,
            }
            for file in [WATCH, KEPT, MARK] {
                remove(&folder.join(file))?;
            }
        }
        if !left {
            must(host, &Invocation::reading("systemctl", ["stop", "--no-block", TIMER]))?;
            remove(&self.keeper)?;
        }
        Ok(left)
    }

    fn seen(&self, host: &dyn Programs, watch: &Watch) -> Result<Seen, RestoreError> {
        let proven = match &watch.proof {
            Proof::CheckIn => {
                let mark = self.of(&watch.package).join(MARK);
                fs::read_to_string(mark).is_ok_and(|version| version == watch.to)
            }
            Proof::Health { url } => is_well(url),
        };
        let busy = crate::actions::package::is_busy();
        Ok(Seen { now: self.now()?, installed: installed(host, &watch.package)?, busy, proven })
    }

    fn now(&self) -> Result<Moment, RestoreError> {
        let text = |path: &str| fs::read_to_string(self.proc.join(path)).map_err(|_| RestoreError::Uptime);
        let boot_id = text("sys/kernel/random/boot_id")?.trim().to_owned();
        let uptime = text("uptime")?;
        let seconds = uptime.split('.').next().and_then(|seconds| seconds.parse().ok()).ok_or(RestoreError::Uptime)?;
        Ok(Moment { boot_id, seconds })
    }

    /// Brings the version before back. What is done is written down first: whoever goes on after a crash must not begin the
    /// upgrade anew.
    fn restore(&self, host: &dyn Programs, watch: &Watch) -> Result<(), RestoreError> {
        let folder = self.of(&watch.package);
        let kept = folder.join(KEPT);
        if digest(&kept)? != watch.sha256 {
            return Err(RestoreError::Changed { path: kept });
        }
        tracing::warn!(package = watch.package, version = watch.to, back_to = watch.from, "it did not prove itself");
        let restored = Restored {
            package: watch.package.clone(),
            version: watch.to.clone(),
            back_to: watch.from.clone(),
            at: Timestamp::now(),
        };
        let mut outcome = Outcome { restored, done: false, told: false };
        json(&folder.join(RESTORED), &outcome)?;
        let log = folder.join("restore.log");
        let options = ["--install", "--force-confdef", "--force-confold", "--force-downgrade"];
        let args = options.iter().map(AsRef::as_ref).chain([kept.as_os_str()]);
        must(host, &Invocation::changing("dpkg", args, log))?;
        outcome.done = true;
        json(&folder.join(RESTORED), &outcome)?;
        // A service that failed over and over is not started again by its package.
        host.run(&Invocation::reading("systemctl", ["reset-failed", &watch.unit]))?;
        host.run(&Invocation::reading("systemctl", ["restart", "--no-block", &watch.unit]))?;
        Ok(())
    }
}

/// Whether a server answers that it is well.
fn is_well(url: &str) -> bool {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(HEALTH)).max_redirects(0).proxy(None).build().into();
    agent.get(url).call().is_ok_and(|answer| answer.status().as_u16() == 200)
}

/// The link of an agent that may be a new version, or one that was brought back: it writes down that its server
/// answered, and tells what was restored.
pub struct Proving<'a> {
    link: &'a dyn Link,
    root: VerifyingKey,
    places: Places,
    due: Mutex<Due>,
}

#[derive(Default)]
struct Due {
    /// The version that is to be written down.
    check_in: Option<String>,
    /// What the server has not heard of.
    restored: Vec<Outcome>,
}

impl<'a> Proving<'a> {
    /// Looks what is due. The process that upgrades its own package was started before and proves nothing.
    pub fn new(link: &'a dyn Link, root: VerifyingKey, places: Places, host: &dyn Programs) -> Self {
        let due = places.due(host).unwrap_or_else(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "what an upgrade left cannot be read");
            Due::default()
        });
        Self { link, root, places, due: Mutex::new(due) }
    }

    fn answered(&self, batch: &Batch) {
        if batch.chain.open(&self.root).is_err() {
            return;
        }
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if due.check_in.is_none() && due.restored.is_empty() {
            return;
        }
        if let Err(error) = self.places.settle(&due) {
            tracing::warn!(error = &error as &dyn std::error::Error, "that the server answered was not written down");
            return;
        }
        *due = Due::default();
    }
}

impl Places {
    fn due(&self, host: &dyn Programs) -> Result<Due, RestoreError> {
        let mut due = Due::default();
        if let Some(watch) = read::<Watch>(&self.of(AGENT).join(WATCH))?
            && installed(host, AGENT)?.is_some_and(|version| version == watch.to)
        {
            due.check_in = Some(watch.to);
        }
        for package in [AGENT, SERVER] {
            let outcome: Option<Outcome> = read(&self.of(package).join(RESTORED))?;
            due.restored.extend(outcome.filter(|outcome| outcome.done && !outcome.told));
        }
        Ok(due)
    }

    fn settle(&self, due: &Due) -> Result<(), RestoreError> {
        if let Some(version) = &due.check_in {
            write(&self.of(AGENT).join(MARK), version.as_bytes())?;
        }
        for outcome in &due.restored {
            let told = Outcome { told: true, ..outcome.clone() };
            json(&self.of(&outcome.restored.package).join(RESTORED), &told)?;
        }
        Ok(())
    }
}

impl Link for Proving<'_> {
    fn poll(&self, mut hello: Hello) -> Result<Option<Batch>, LinkError> {
        {
            let due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            hello.restored = due.restored.iter().map(|outcome| outcome.restored.clone()).collect();
        }
        let answer = self.link.poll(hello)?;
        if let Some(batch) = &answer {
            self.answered(batch);
        }
        Ok(answer)
    }

    fn deliver(&self, receipt: &Signed<Receipt>) -> Result<(), LinkError> {
        self.link.deliver(receipt)
    }

    fn progress(&self, progress: Progress) {
        self.link.progress(progress);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(proof: Proof) -> Watch {
        Watch {
            package: AGENT.to_owned(),
            unit: "stanch-agent.service".to_owned(),
            from: "1".to_owned(),
            to: "2".to_owned(),
            sha256: Digest::of_bytes(b"kept"),
            limit_seconds: 600,
            proof,
            waited_seconds: 0,
            well: 0,
            last: None,
        }
    }

    fn seen(boot: &str, seconds: u64, installed: &str) -> Seen {
        let now = Moment { boot_id: boot.to_owned(), seconds };
        Seen { now, installed: Some(installed.to_owned()), busy: false, proven: false }
    }

    /// The verdict of each look.
    fn looks(mut watch: Watch, all: impl IntoIterator<Item = Seen>) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for seen in all {
            let (next, verdict) = watch.look(&seen);
            watch = next;
            verdicts.push(verdict);
        }
        verdicts
    }

    #[test]
    fn what_does_not_prove_itself_in_time_is_taken_back_and_not_before() {
        let verdicts = looks(watch(Proof::CheckIn), (0..=10).map(|minute| seen("a", minute * 60, "2")));
        assert!(verdicts[..10].iter().all(|verdict| *verdict == Verdict::Wait), "{verdicts:?}");
        assert_eq!(verdicts[10], Verdict::Restore);
    }

    #[test]
    fn a_reboot_does_not_begin_the_time_anew() {
        let before = (0..=5).map(|minute| seen("a", 9_000 + minute * 60, "2"));
        let after = (0..6).map(|minute| seen("b", 30 + minute * 60, "2"));
        let verdicts = looks(watch(Proof::CheckIn), before.chain(after));
        assert_eq!(verdicts.iter().position(|verdict| *verdict == Verdict::Restore), Some(11), "{verdicts:?}");
        // A machine that reboots over and over comes to its end too.
        let loops = (0..30).map(|boot| seen(&boot.to_string(), 40, "2"));
        assert!(looks(watch(Proof::CheckIn), loops).contains(&Verdict::Restore));
    }

    #[test]
    fn a_machine_that_slept_was_not_waiting() {
        assert_eq!(looks(watch(Proof::CheckIn), [seen("a", 0, "2"), seen("a", 90_000, "2")])[1], Verdict::Wait);
    }

    #[test]
    fn a_version_that_proved_itself_stays() {
        let proven = Seen { proven: true, ..seen("a", 0, "2") };
        assert_eq!(looks(watch(Proof::CheckIn), [proven.clone()]), [Verdict::Proven]);
        let early = Seen { proven: true, ..seen("a", 0, "1") };
        assert_eq!(looks(watch(Proof::CheckIn), [early]), [Verdict::Wait], "the version before proves nothing");
        let health = Proof::Health { url: String::new() };
        let again = looks(
            watch(health),
            [proven.clone(), proven.clone(), seen("a", 9, "2"), proven.clone(), proven.clone(), proven],
        );
        assert_eq!(again.iter().position(|verdict| *verdict == Verdict::Proven), Some(5), "well three times in a row");
    }

    #[test]
    fn what_never_came_or_is_being_installed_is_left_alone() {
        let late =
            |installed: &str| Seen { now: Moment { boot_id: "a".to_owned(), seconds: 700 }, ..seen("a", 0, installed) };
        let mut over = watch(Proof::CheckIn);
        over.waited_seconds = 600;
        assert_eq!(over.clone().look(&late("1")).1, Verdict::AsBefore);
        assert_eq!(over.clone().look(&Seen { busy: true, ..late("2") }).1, Verdict::Wait);
        assert_eq!(over.clone().look(&Seen { installed: None, ..late("2") }).1, Verdict::Restore, "torn");
        assert_eq!(over.look(&late("2")).1, Verdict::Restore);
    }
}
