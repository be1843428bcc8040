//! What brings the version before back when a new version of one of Stanch's own packages does not prove itself.
//!
//! It must not rest on what it judges. So before the upgrade the program of the version before is copied aside, where no
//! package has a file, with the package that it came in and units of its own; and a timer of systemd runs that copy until
//! the new version has proven itself: the agent by an answer of its server that goes back to the pinned root, the server
//! by its health. As long as anything is watched the copy stays what it is, so that of several upgrades that follow one
//! another none is judged by itself or by one that has not proven itself either.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_model::canonical::Digest;
use stanch_model::order::{Batch, Hello, Progress, Receipt};
use stanch_model::own::{AGENT, Restored, SERVER};
use stanch_model::sign::{Signed, VerifyingKey};
use stanch_runner::{Link, LinkError};

use super::files::{copy, failed, json, lock, read, remove, try_lock, write};
use super::server::{Asked, Unwell};
use super::watch::{Found, MOST_ATTEMPTS, Moment, Proof, Seen, Verdict, Watch};
use crate::actions::{CommandError, Invocation, Programs};

/// The timer that looks.
pub const TIMER: &str = "stanch-agent-restore.timer";
/// What it starts.
const SERVICE: &str = "stanch-agent-restore.service";
/// Both units; they are part of the program, since those of the package are the new version's.
const UNITS: [(&str, &str); 2] = [
    (SERVICE, include_str!("../../../../packaging/agent/stanch-agent-restore.service")),
    (TIMER, include_str!("../../../../packaging/agent/stanch-agent-restore.timer")),
];
/// How long a new version has to prove itself unless the rules of the host say otherwise, in seconds.
pub const LIMIT: u32 = 15 * 60;
const LOCK: &str = "lock";
const WATCH: &str = "watch.json";
const DAMAGED: &str = "watch.damaged";
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
    /// What is there now would be the version to come back to.
    #[error("{package} {version} has not proven itself yet")]
    Unproven {
        /// The package.
        package: String,
        /// The version that is there.
        version: String,
    },
    /// An earlier upgrade is being taken back.
    #[error("the version before of {package} is being brought back")]
    GoingBack {
        /// The package.
        package: String,
    },
    /// The program of the version before is gone, and what is there now cannot judge itself.
    #[error("{} is gone, and the agent that is installed has not proven itself yet", path.display())]
    NoKeeper {
        /// Where it was.
        path: PathBuf,
    },
    /// The server is not seen to be well even before.
    #[error("the server that is there now is not seen to be well")]
    Unwell(#[from] Unwell),
}

impl RestoreError {
    /// What a person can do.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Unproven { .. } | Self::GoingBack { .. } => "wait until it is settled, and plan again",
            Self::NoKeeper { .. } => "wait until the agent has proven itself, or upgrade by hand",
            Self::Unwell(_) => {
                "start it, and let server_health in /etc/stanch/executor.toml name the address on which stanch.service \
                 itself listens"
            }
            Self::Damaged { .. } => "see what it says, and remove it",
            _ => "Stanch upgrades its own packages only under systemd, where the package stanch-agent is installed",
        }
    }
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
    /// The program of the server.
    pub server: PathBuf,
    /// Where the units of this host's own lie.
    pub units: PathBuf,
    /// Where the clock since boot and its id are read.
    pub proc: PathBuf,
    /// Where package managers hold their locks.
    pub dpkg: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            folder: Path::new(crate::fleet::FOLDER).join("restore"),
            keeper: "/usr/lib/stanch-agent/restore".into(),
            program: "/usr/bin/stanch-agent".into(),
            server: "/usr/bin/stanch".into(),
            units: "/etc/systemd/system".into(),
            proc: "/proc".into(),
            dpkg: "/var/lib/dpkg".into(),
        }
    }
}

/// What was restored, and whether the server knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Outcome {
    restored: Restored,
    /// It has come to its end: the version before is there again, or nobody tries any more.
    done: bool,
    /// The server has heard.
    told: bool,
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

/// What dpkg says of a package.
fn found(host: &dyn Programs, package: &str) -> Result<Found, RestoreError> {
    const FORMAT: &str = "--showformat=${db:Status-Want} ${db:Status-Status} ${db:Status-Eflag} ${Version}\\n";
    let query = Invocation::reading("dpkg-query", ["--show", FORMAT, package]);
    let output = host.run(&query)?;
    match output.code {
        // Of several architectures one at most is there.
        Some(0) => {
            let text = output.text();
            let all: Vec<Found> = text.lines().map(Found::read).collect();
            let there = all.iter().find(|found| **found != Found::Removed).or(all.first());
            Ok(there.cloned().unwrap_or(Found::Torn))
        }
        // dpkg knows no such package.
        Some(1) => Ok(Found::Removed),
        _ => Err(RestoreError::Failed { command: query.shown(), complaint: output.complaint() }),
    }
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

    pub(super) fn lock_file(&self) -> PathBuf {
        self.folder.join(LOCK)
    }

    fn watched(&self, package: &str) -> Result<Option<Watch>, RestoreError> {
        read(&self.of(package).join(WATCH))
    }

    fn asked<'a>(&'a self, host: &'a dyn Programs, unit: &'a str, url: &'a str) -> Asked<'a> {
        Asked { host, proc: &self.proc, program: &self.server, unit, url }
    }

    /// Lays the way back and has the timer look. After this the upgrade may begin; whoever calls this has waited for the
    /// locks of package managers.
    ///
    /// # Errors
    /// When nothing could bring the version before back: then nothing may be upgraded.
    pub fn arm(&self, host: &dyn Programs, upgrade: &Upgrade<'_>) -> Result<(), RestoreError> {
        let folder = self.of(upgrade.package);
        fs::create_dir_all(&folder).map_err(failed("make", &folder))?;
        fs::set_permissions(&self.folder, Permissions::from_mode(0o700)).map_err(failed("guard", &self.folder))?;
        let unit = format!("{}.service", upgrade.package);
        {
            let _alone = lock(&self.lock_file())?;
            let open = self.watched(upgrade.package)?;
            if let Some(open) = &open {
                if open.attempts > 0 {
                    return Err(RestoreError::GoingBack { package: open.package.clone() });
                }
                if open.to != upgrade.to && open.to == upgrade.from {
                    return Err(RestoreError::Unproven { package: open.package.clone(), version: open.to.clone() });
                }
            }
            let server = upgrade.package == SERVER;
            if server && open.is_none() {
                // What does not see the version before to be well would take a good one back.
                self.asked(host, &unit, upgrade.health).well()?;
            }
            let kept = folder.join(KEPT);
            copy(upgrade.deb, &kept, 0o600)?;
            if digest(&kept)? != upgrade.sha256 {
                return Err(RestoreError::Changed { path: kept });
            }
            self.keep()?;
            remove(&folder.join(MARK))?;
            let watch = Watch {
                package: upgrade.package.to_owned(),
                unit,
                from: upgrade.from.to_owned(),
                to: upgrade.to.to_owned(),
                sha256: upgrade.sha256,
                limit_seconds: upgrade.limit_seconds,
                proof: if server { Proof::Health { url: upgrade.health.to_owned() } } else { Proof::CheckIn },
                waited_seconds: 0,
                absent_seconds: 0,
                well: 0,
                attempts: 0,
                pause_seconds: 0,
                trouble: None,
                last: None,
            };
            json(&folder.join(WATCH), &watch)?;
            for (name, text) in UNITS {
                write(&self.units.join(name), text.as_bytes(), 0o644)?;
            }
        }
        must(host, &Invocation::reading("systemctl", ["daemon-reload"]))?;
        must(host, &Invocation::reading("systemctl", ["enable", "--quiet", "--now", TIMER]))?;
        must(host, &Invocation::reading("systemctl", ["is-active", "--quiet", TIMER]))?;
        // A first look shows that what is to judge can be run at all.
        must(host, &Invocation::reading("systemctl", ["start", SERVICE]))
    }

    /// Copies the program of the version before aside, unless one is kept for something that is still watched.
    fn keep(&self) -> Result<(), RestoreError> {
        let (agent, server) = (self.watched(AGENT)?, self.watched(SERVER)?);
        if self.keeper.exists() && (agent.is_some() || server.is_some()) {
            return Ok(());
        }
        if agent.is_some() {
            return Err(RestoreError::NoKeeper { path: self.keeper.clone() });
        }
        if let Some(parent) = self.keeper.parent() {
            fs::create_dir_all(parent).map_err(failed("make", parent))?;
        }
        copy(&self.program, &self.keeper, 0o755)
    }

    /// Ends the watch of an upgrade that has failed and left the version before whole.
    ///
    /// # Errors
    /// When it cannot be ended; then it ends by itself, later.
    pub fn disarm(&self, host: &dyn Programs, package: &str) -> Result<(), RestoreError> {
        {
            let _alone = lock(&self.lock_file())?;
            match self.watched(package)? {
                Some(watch) if found(host, package)? == Found::Whole(watch.from.clone()) => {
                    self.close(package, true)?
                }
                _ => return Ok(()),
            }
        }
        self.rest(host)
    }

    /// Whether nothing is watched any more: then nothing looks any more either.
    fn rest(&self, host: &dyn Programs) -> Result<(), RestoreError> {
        let _alone = lock(&self.lock_file())?;
        if [AGENT, SERVER].iter().any(|package| self.of(package).join(WATCH).exists()) {
            return Ok(());
        }
        if self.units.join(TIMER).exists() {
            must(host, &Invocation::reading("systemctl", ["disable", "--quiet", "--now", TIMER]))?;
        }
        for (name, _) in UNITS {
            remove(&self.units.join(name))?;
        }
        must(host, &Invocation::reading("systemctl", ["daemon-reload"]))?;
        remove(&self.keeper)
    }

    fn close(&self, package: &str, settled: bool) -> Result<(), RestoreError> {
        let folder = self.of(package);
        remove(&folder.join(WATCH))?;
        remove(&folder.join(MARK))?;
        // Where the way back could not be gone, a person may want what was kept.
        if settled { remove(&folder.join(KEPT)) } else { Ok(()) }
    }

    /// One look at everything that is watched. Run by the timer.
    ///
    /// # Errors
    /// When a way back cannot be gone; a later look tries again. What befalls one package keeps nothing from the other.
    pub fn look(&self, host: &dyn Programs) -> Result<(), RestoreError> {
        let mut trouble = None;
        // The agent first: it is what can be told, and ordered, anything.
        for package in [AGENT, SERVER] {
            if let Err(error) = self.look_at(host, package) {
                tracing::error!(package, error = &error as &dyn std::error::Error, "a look at it failed");
                trouble.get_or_insert(error);
            }
        }
        self.rest(host)?;
        trouble.map_or(Ok(()), Err)
    }

    fn look_at(&self, host: &dyn Programs, package: &str) -> Result<(), RestoreError> {
        let folder = self.of(package);
        if !folder.join(WATCH).exists() {
            return Ok(());
        }
        let _alone = lock(&self.lock_file())?;
        let watch = match self.watched(package) {
            Ok(Some(watch)) => watch,
            Ok(None) => return Ok(()),
            Err(error @ RestoreError::Damaged { .. }) => {
                // It names no version to go back to, and would not read better at the next look.
                let (from, to) = (folder.join(WATCH), folder.join(DAMAGED));
                fs::rename(&from, &to).map_err(failed("set aside", &from))?;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        let seen = self.seen(host, &watch)?;
        let (watch, verdict) = watch.look(&seen);
        json(&folder.join(WATCH), &watch)?;
        match verdict {
            Verdict::Wait => return Ok(()),
            Verdict::Proven => tracing::info!(package, version = watch.to, "the new version has proven itself"),
            Verdict::NeverCame => tracing::info!(package, version = watch.to, "the new version did not come"),
            Verdict::Gone => {
                tracing::info!(package, version = watch.to, "somebody has brought another version");
                if watch.attempts > 0 {
                    self.tell(
                        &watch,
                        true,
                        Some("somebody else has brought another version, or removed it".to_owned()),
                    )?;
                }
            }
            Verdict::Restored => self.restored(host, &watch)?,
            Verdict::Restore => return self.restore(host, watch),
            Verdict::GiveUp => {
                let trouble = watch.trouble.clone().unwrap_or_else(|| "it does not come to its end".to_owned());
                let why = format!("after {} attempts: {trouble}", watch.attempts);
                tracing::error!(package, version = watch.to, why, "the version before cannot be brought back");
                self.tell(&watch, true, Some(why))?;
                return self.close(package, false);
            }
        }
        self.close(package, true)
    }

    fn seen(&self, host: &dyn Programs, watch: &Watch) -> Result<Seen, RestoreError> {
        let found = found(host, &watch.package)?;
        let proven = match &watch.proof {
            Proof::CheckIn => {
                let mark = self.of(&watch.package).join(MARK);
                fs::read_to_string(mark).is_ok_and(|version| version == watch.to)
            }
            Proof::Health { url } if found == Found::Whole(watch.to.clone()) => {
                let well = self.asked(host, &watch.unit, url).well();
                if let Err(unwell) = &well {
                    tracing::info!(package = watch.package, why = unwell as &dyn std::error::Error, "not well yet");
                }
                well.is_ok()
            }
            Proof::Health { .. } => false,
        };
        let busy = crate::actions::package::is_busy(&self.dpkg);
        Ok(Seen { now: self.now()?, found, busy, proven })
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
    fn restore(&self, host: &dyn Programs, watch: Watch) -> Result<(), RestoreError> {
        let folder = self.of(&watch.package);
        let mut watch = watch.attempt();
        let (attempt, most) = (watch.attempts, MOST_ATTEMPTS);
        tracing::warn!(
            package = watch.package,
            version = watch.to,
            back_to = watch.from,
            attempt,
            most,
            "it did not prove itself"
        );
        self.note_failed(&watch.package, &watch.to, Timestamp::now())?;
        self.tell(&watch, false, None)?;
        json(&folder.join(WATCH), &watch)?;
        let gone = self.go_back(host, &watch, &folder);
        if let Err(error) = gone {
            watch.trouble = Some(error.to_string().chars().filter(|c| !c.is_control()).take(200).collect());
            json(&folder.join(WATCH), &watch)?;
            return Err(error);
        }
        self.restored(host, &watch)?;
        self.close(&watch.package, true)
    }

    fn go_back(&self, host: &dyn Programs, watch: &Watch, folder: &Path) -> Result<(), RestoreError> {
        let kept = folder.join(KEPT);
        if digest(&kept)? != watch.sha256 {
            return Err(RestoreError::Changed { path: kept });
        }
        let options = ["--install", "--force-confdef", "--force-confold", "--force-downgrade"];
        let args = options.iter().map(AsRef::as_ref).chain([kept.as_os_str()]);
        let install = Invocation::changing("dpkg", args, folder.join("restore.log"));
        let output = host.run(&install)?;
        if found(host, &watch.package)? == Found::Whole(watch.from.clone()) {
            return Ok(());
        }
        Err(RestoreError::Failed { command: install.shown(), complaint: output.complaint() })
    }

    /// The version before is there again.
    fn restored(&self, host: &dyn Programs, watch: &Watch) -> Result<(), RestoreError> {
        tracing::warn!(package = watch.package, version = watch.from, "the version before is there again");
        self.tell(watch, true, None)?;
        // A service that failed over and over is not started again by its package.
        for args in [["reset-failed", ""], ["restart", "--no-block"]] {
            let args = args.into_iter().filter(|arg| !arg.is_empty()).chain([watch.unit.as_str()]);
            if let Err(error) = must(host, &Invocation::reading("systemctl", args)) {
                tracing::warn!(unit = watch.unit, error = &error as &dyn std::error::Error, "it is not started anew");
            }
        }
        Ok(())
    }

    /// Writes down what the server is to hear. Of an earlier attempt the time stays.
    fn tell(&self, watch: &Watch, done: bool, not_restored: Option<String>) -> Result<(), RestoreError> {
        let path = self.of(&watch.package).join(RESTORED);
        let before: Option<Outcome> = read(&path)?;
        let same = |outcome: &Outcome| !outcome.done && outcome.restored.version == watch.to;
        let at = before.filter(same).map_or_else(Timestamp::now, |outcome| outcome.restored.at);
        let restored = Restored {
            package: watch.package.clone(),
            version: watch.to.clone(),
            back_to: watch.from.clone(),
            at,
            not_restored,
        };
        json(&path, &Outcome { restored, done, told: false })
    }

    /// The version whose start this is, if it has still to prove itself by an answer of its server.
    fn to_check_in(&self, host: &dyn Programs) -> Result<Option<String>, RestoreError> {
        let Some(watch) = self.watched(AGENT)? else { return Ok(None) };
        // Its package starts it before it is configured to the end.
        let query = Invocation::reading("dpkg-query", ["--show", "--showformat=${Version}", AGENT]);
        let output = host.run(&query)?;
        Ok((output.ok() && output.text().trim() == watch.to).then_some(watch.to))
    }

    /// What the server has not heard of.
    fn untold(&self) -> Result<Vec<Outcome>, RestoreError> {
        let mut all = Vec::new();
        for package in [AGENT, SERVER] {
            let outcome: Option<Outcome> = read(&self.of(package).join(RESTORED))?;
            all.extend(outcome.filter(|outcome| outcome.done && !outcome.told));
        }
        Ok(all)
    }

    /// Writes down what an answer of the server settles. Answers whether that was possible now.
    fn settle(&self, check_in: Option<&str>, told: &[Restored]) -> Result<bool, RestoreError> {
        if check_in.is_none() && told.is_empty() {
            return Ok(true);
        }
        let Some(_alone) = try_lock(&self.lock_file())? else { return Ok(false) };
        if let Some(version) = check_in {
            write(&self.of(AGENT).join(MARK), version.as_bytes(), 0o600)?;
        }
        for outcome in self.untold()?.into_iter().filter(|outcome| told.contains(&outcome.restored)) {
            let path = self.of(&outcome.restored.package).join(RESTORED);
            json(&path, &Outcome { told: true, ..outcome })?;
        }
        Ok(true)
    }
}

/// The link of an agent that may be a new version, or one that was brought back: it writes down that its server
/// answered, and tells what was restored.
pub struct Proving<'a> {
    link: &'a dyn Link,
    root: VerifyingKey,
    places: Places,
    /// The version that is to be written down.
    check_in: Mutex<Option<String>>,
}

fn warn<T: Default>(read: Result<T, RestoreError>) -> T {
    read.unwrap_or_else(|error| {
        tracing::warn!(error = &error as &dyn std::error::Error, "what an upgrade left cannot be read or written");
        T::default()
    })
}

impl<'a> Proving<'a> {
    /// Looks what is due. The process that upgrades its own package was started before and proves nothing.
    pub fn new(link: &'a dyn Link, root: VerifyingKey, places: Places, host: &dyn Programs) -> Self {
        let check_in = Mutex::new(warn(places.to_check_in(host)));
        Self { link, root, places, check_in }
    }

    fn answered(&self, batch: &Batch, told: &[Restored]) {
        if batch.chain.open(&self.root).is_err() {
            return;
        }
        let mut check_in = self.check_in.lock().unwrap_or_else(PoisonError::into_inner);
        if warn(self.places.settle(check_in.as_deref(), told)) {
            *check_in = None;
        }
    }
}

impl Link for Proving<'_> {
    fn poll(&self, mut hello: Hello) -> Result<Option<Batch>, LinkError> {
        // What is brought back while this process runs is told by it too.
        let told: Vec<Restored> = warn(self.places.untold()).into_iter().map(|outcome| outcome.restored).collect();
        hello.restored.clone_from(&told);
        let answer = self.link.poll(hello)?;
        if let Some(batch) = &answer {
            self.answered(batch, &told);
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
    use std::fs::File;

    use super::*;
    use crate::actions::Output;

    /// A host whose packages are a table, and whose dpkg installs or does not.
    struct Machine {
        folder: tempfile::TempDir,
        /// What dpkg says of each package.
        packages: Mutex<Vec<(&'static str, String)>>,
        /// Packages that dpkg cannot install.
        stuck: Mutex<Vec<&'static str>>,
        calls: Mutex<Vec<String>>,
    }

    const OLD: &str = "install installed ok 1\n";
    const NEW: &str = "install installed ok 2\n";

    impl Machine {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            for made in ["restore", "units", "proc/sys/kernel/random", "dpkg", "lib"] {
                fs::create_dir_all(folder.path().join(made)).unwrap();
            }
            let machine = Self {
                folder,
                packages: Mutex::new(vec![(AGENT, OLD.to_owned()), (SERVER, OLD.to_owned())]),
                stuck: Mutex::default(),
                calls: Mutex::default(),
            };
            fs::write(machine.path("proc/sys/kernel/random/boot_id"), "a\n").unwrap();
            fs::write(machine.path("agent"), "program 1").unwrap();
            fs::write(machine.path("old.deb"), "the version before").unwrap();
            machine.clock(0);
            machine
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn places(&self) -> Places {
            Places {
                folder: self.path("restore"),
                keeper: self.path("lib/restore"),
                program: self.path("agent"),
                server: self.path("server"),
                units: self.path("units"),
                proc: self.path("proc"),
                dpkg: self.path("dpkg"),
            }
        }

        fn clock(&self, seconds: u64) {
            fs::write(self.path("proc/uptime"), format!("{seconds}.00 1.0\n")).unwrap();
        }

        fn set(&self, package: &str, status: &str) {
            let mut packages = self.packages.lock().unwrap();
            packages.iter_mut().find(|(name, _)| *name == package).unwrap().1 = status.to_owned();
        }

        fn status(&self, package: &str) -> String {
            self.packages.lock().unwrap().iter().find(|(name, _)| *name == package).unwrap().1.clone()
        }

        fn arm(&self, package: &str, from: &str, to: &str) -> Result<(), RestoreError> {
            let deb = self.path("old.deb");
            let sha256 = Digest::of_bytes(b"the version before");
            let health = "http://127.0.0.1:1/";
            let upgrade = Upgrade { package, from, to, deb: &deb, sha256, limit_seconds: 60, health };
            self.places().arm(self, &upgrade)
        }

        /// Watches a package whose baseline needs no look, as if it had been armed.
        fn watch(&self, package: &str) {
            let at = self.path("restore").join(package);
            fs::create_dir_all(&at).unwrap();
            fs::write(at.join(KEPT), "the version before").unwrap();
            let watch = Watch {
                package: package.to_owned(),
                unit: format!("{package}.service"),
                from: "1".to_owned(),
                to: "2".to_owned(),
                sha256: Digest::of_bytes(b"the version before"),
                limit_seconds: 60,
                proof: Proof::CheckIn,
                waited_seconds: 60,
                absent_seconds: 0,
                well: 0,
                attempts: 0,
                pause_seconds: 0,
                trouble: None,
                last: None,
            };
            json(&at.join(WATCH), &watch).unwrap();
        }

        fn is_watched(&self, package: &str) -> bool {
            self.path("restore").join(package).join(WATCH).exists()
        }

        fn outcome(&self, package: &str) -> Option<Outcome> {
            read(&self.path("restore").join(package).join(RESTORED)).unwrap()
        }

        fn installs(&self) -> Vec<String> {
            let calls = self.calls.lock().unwrap();
            calls.iter().filter(|call| call.starts_with("dpkg --install")).cloned().collect()
        }
    }

    impl Programs for Machine {
        fn run(&self, invocation: &Invocation) -> Result<Output, CommandError> {
            let shown = invocation.shown();
            self.calls.lock().unwrap().push(shown.clone());
            let answer = |code, text: &str| Output { code: Some(code), stdout: text.into(), stderr: Vec::new() };
            let package = if shown.contains("stanch-agent") { AGENT } else { SERVER };
            Ok(match invocation.program {
                "dpkg-query" if shown.contains("db:Status") => answer(0, &self.status(package)),
                "dpkg-query" => answer(0, self.status(package).split_whitespace().last().unwrap()),
                "dpkg" if self.stuck.lock().unwrap().contains(&package) => answer(1, "dpkg: error: no room"),
                "dpkg" => {
                    self.set(package, OLD);
                    answer(0, "")
                }
                _ => answer(0, ""),
            })
        }

        fn has(&self, _program: &str) -> bool {
            true
        }
    }

    #[test]
    fn the_way_back_is_units_and_a_program_that_the_new_version_has_no_part_in() {
        let machine = Machine::new();
        machine.arm(AGENT, "1", "2").unwrap();
        assert_eq!(fs::read_to_string(machine.path("lib/restore")).unwrap(), "program 1");
        let service = fs::read_to_string(machine.path("units").join(SERVICE)).unwrap();
        assert!(service.contains("/usr/lib/stanch-agent/restore restore"), "{service}");
        let calls = machine.calls.lock().unwrap().clone();
        let start = calls.iter().position(|call| call.ends_with(&format!("start {SERVICE}")));
        assert_eq!(start, Some(calls.len() - 1), "the keeper was seen to run: {calls:?}");

        // It never came: the upgrade failed before anything was unpacked.
        machine.places().disarm(&machine, AGENT).unwrap();
        assert!(!machine.is_watched(AGENT) && !machine.path("lib/restore").exists());
        assert_eq!(fs::read_dir(machine.path("units")).unwrap().count(), 0);
    }

    #[test]
    fn an_upgrade_that_tore_the_package_stays_watched() {
        let machine = Machine::new();
        machine.arm(AGENT, "1", "2").unwrap();
        machine.set(AGENT, "install half-installed ok 1\n");
        machine.places().disarm(&machine, AGENT).unwrap();
        assert!(machine.is_watched(AGENT));
    }

    #[test]
    fn what_judges_several_upgrades_is_from_before_the_first() {
        let machine = Machine::new();
        machine.watch(SERVER);
        machine.arm(AGENT, "1", "2").unwrap();
        fs::write(machine.path("agent"), "program 2").unwrap();
        machine.set(AGENT, NEW);
        // Entered again after a crash.
        machine.arm(AGENT, "1", "2").unwrap();
        assert_eq!(fs::read_to_string(machine.path("lib/restore")).unwrap(), "program 1");
        let unproven = machine.arm(AGENT, "2", "3").unwrap_err();
        assert!(matches!(unproven, RestoreError::Unproven { .. }), "{unproven}");

        fs::remove_file(machine.path("lib/restore")).unwrap();
        let gone = machine.arm(AGENT, "1", "2").unwrap_err();
        assert!(matches!(gone, RestoreError::NoKeeper { .. }), "{gone}");

        // Proven, the next one may be judged by it.
        fs::write(machine.path("restore").join(AGENT).join(MARK), "2").unwrap();
        fs::remove_file(machine.path("restore").join(SERVER).join(WATCH)).unwrap();
        machine.places().look(&machine).unwrap();
        machine.arm(AGENT, "2", "3").unwrap();
        assert_eq!(fs::read_to_string(machine.path("lib/restore")).unwrap(), "program 2");
    }

    #[test]
    fn a_server_that_is_not_seen_to_be_well_is_not_upgraded() {
        let machine = Machine::new();
        let error = machine.arm(SERVER, "1", "2").unwrap_err();
        assert!(matches!(error, RestoreError::Unwell(Unwell::Stopped { .. })), "{error}");
        assert!(!machine.is_watched(SERVER));
    }

    #[test]
    fn what_befalls_one_package_keeps_nothing_from_the_other() {
        let machine = Machine::new();
        for package in [AGENT, SERVER] {
            machine.watch(package);
            machine.set(package, NEW);
        }
        machine.stuck.lock().unwrap().push(AGENT);
        machine.places().look(&machine).unwrap_err();
        assert!(machine.installs()[0].contains(AGENT), "the agent first: {:?}", machine.installs());
        assert_eq!((machine.status(AGENT).as_str(), machine.status(SERVER).as_str()), (NEW, OLD));
        assert!(machine.is_watched(AGENT) && !machine.is_watched(SERVER));

        // Not even what is written down and does not read.
        let machine = Machine::new();
        machine.watch(SERVER);
        machine.set(SERVER, NEW);
        machine.watch(AGENT);
        fs::write(machine.path("restore").join(AGENT).join(WATCH), "{").unwrap();
        machine.places().look(&machine).unwrap_err();
        assert_eq!(machine.status(SERVER), OLD);
        machine.places().look(&machine).unwrap();
        assert!(!machine.is_watched(AGENT), "it does not read better at the next look");
    }

    #[test]
    fn what_is_half_installed_is_repaired_although_dpkg_names_the_version_before() {
        let machine = Machine::new();
        machine.watch(AGENT);
        machine.set(AGENT, "install half-installed reinstreq 1\n");
        machine.places().look(&machine).unwrap();
        assert_eq!((machine.installs().len(), machine.status(AGENT).as_str()), (1, OLD));
        assert!(machine.outcome(AGENT).unwrap().done);
    }

    #[test]
    fn trying_ends_and_its_end_is_on_record() {
        let machine = Machine::new();
        machine.watch(AGENT);
        machine.set(AGENT, NEW);
        machine.stuck.lock().unwrap().push(AGENT);
        for look in 0..2_000 {
            machine.clock(look * 30);
            let _ = machine.places().look(&machine);
        }
        assert_eq!(machine.installs().len(), MOST_ATTEMPTS as usize);
        assert!(!machine.is_watched(AGENT));
        let restored = machine.outcome(AGENT).filter(|outcome| outcome.done && !outcome.told).unwrap().restored;
        let why = restored.not_restored.clone().unwrap();
        assert!(why.contains("8 attempts") && why.contains("no room"), "{why}");
        assert!(restored.is_sound());
        assert!(machine.path("restore").join(AGENT).join(KEPT).exists(), "a person may want it");
    }

    #[test]
    fn a_way_back_that_a_crash_cut_off_is_told_all_the_same() {
        let machine = Machine::new();
        machine.watch(AGENT);
        machine.set(AGENT, NEW);
        machine.stuck.lock().unwrap().push(AGENT);
        machine.places().look(&machine).unwrap_err();
        assert!(!machine.outcome(AGENT).unwrap().done);
        // dpkg came to its end without the one that had begun it.
        machine.set(AGENT, OLD);
        machine.places().look(&machine).unwrap();
        assert!(machine.outcome(AGENT).unwrap().done && !machine.is_watched(AGENT));
        assert_eq!(machine.places().untold().unwrap().len(), 1);
    }

    #[test]
    fn a_version_that_failed_here_stays_on_the_list_until_a_person_takes_it_off() {
        let machine = Machine::new();
        for to in ["2", "3"] {
            machine.watch(AGENT);
            let path = machine.path("restore").join(AGENT).join(WATCH);
            let watch = Watch { to: to.to_owned(), ..read(&path).unwrap().unwrap() };
            json(&path, &watch).unwrap();
            machine.set(AGENT, &format!("install installed ok {to}\n"));
            machine.places().look(&machine).unwrap();
        }
        let places = machine.places();
        assert!(places.has_failed(AGENT, "2").unwrap() && places.has_failed(AGENT, "3").unwrap());
        assert!(!places.has_failed(SERVER, "2").unwrap());
        assert!(places.forget_failed(AGENT, "2").unwrap());
        assert!(!places.has_failed(AGENT, "2").unwrap() && places.has_failed(AGENT, "3").unwrap());
        assert!(!places.forget_failed(AGENT, "2").unwrap());
    }

    #[test]
    fn what_is_told_once_is_told_no_more_and_waits_for_nobody() {
        let machine = Machine::new();
        machine.watch(SERVER);
        machine.set(SERVER, NEW);
        machine.places().look(&machine).unwrap();
        let places = machine.places();
        let told: Vec<Restored> = places.untold().unwrap().into_iter().map(|outcome| outcome.restored).collect();
        assert_eq!(told.len(), 1);
        let keeper: File = lock(&places.lock_file()).unwrap();
        assert!(!places.settle(None, &told).unwrap(), "the keeper is at work");
        drop(keeper);
        assert!(places.settle(None, &told).unwrap());
        assert_eq!(places.untold().unwrap(), []);
    }
}
