//! A running Debian of one's own, made from a base root in less than a second.
//!
//! A world is an overlay over a base root with its own mount, pid, uts, ipc and (unless asked otherwise) network
//! namespaces. Its first process lives until [`World::kill_all`], which is what a power loss looks like to the
//! programs inside: all of them are gone at once, and what they wrote is there. Only unsynced data is not lost, because
//! the kernel lives on. All mounts are made inside the mount namespace, so the host never sees them and they end with
//! the last process; if the test dies, the world follows.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{FileExt, PermissionsExt},
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    process::{Pid, Signal},
};

use crate::{debian::Base, debian::ensure_tools, host, scratch::Scratch, wait_until};

/// How long a command in a world may take unless the test says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(300);

const BOOT: &str = include_str!("boot.sh");
const CGROUP_PREFIX: &str = "stanch-test-";

/// A root in namespaces of its own; see the module.
#[derive(Debug)]
pub struct World {
    // The order matters: processes go before the folder they use.
    running: Mutex<Option<Running>>,
    boots: Mutex<u32>,
    settings: Settings,
    lower: Lower,
    scratch: Arc<Scratch>,
}

/// The layers under a world, the uppermost first, and what keeps them alive.
#[derive(Debug, Clone)]
struct Lower {
    layers: Vec<PathBuf>,
    keep: Vec<Arc<Scratch>>,
}

#[derive(Debug, Clone)]
struct Settings {
    hostname: String,
    host_network: bool,
    systemd: bool,
    daemons: bool,
    binds: Vec<Bind>,
}

#[derive(Debug, Clone)]
struct Bind {
    writable: bool,
    source: PathBuf,
    target: String,
}

/// How a world shall be; ends with [`Builder::boot`].
#[derive(Debug)]
#[must_use]
pub struct Builder {
    lower: Lower,
    settings: Settings,
}

impl Builder {
    /// Its host name; `world` if not said.
    pub fn hostname(mut self, name: &str) -> Self {
        name.clone_into(&mut self.settings.hostname);
        self
    }

    /// Shows a folder or file of the host at `target`, read-only. `target` must not lead through symbolic links.
    pub fn bind(mut self, source: impl Into<PathBuf>, target: &str) -> Self {
        self.settings.binds.push(Bind { writable: false, source: source.into(), target: target.to_owned() });
        self
    }

    /// As [`Builder::bind`], but the world may write there.
    pub fn bind_writable(mut self, source: impl Into<PathBuf>, target: &str) -> Self {
        self.settings.binds.push(Bind { writable: true, source: source.into(), target: target.to_owned() });
        self
    }

    /// Shares the host's network (and its name servers and apt settings), to reach the real archive. Without it there
    /// is only `lo`.
    pub fn host_network(mut self) -> Self {
        self.settings.host_network = true;
        self
    }

    /// Lets package scripts start daemons; the policy of a world without systemd denies it otherwise.
    pub fn daemons(mut self) -> Self {
        self.settings.daemons = true;
        self
    }

    /// Boots systemd as the first process, in a control group of its own; the base must hold it
    /// ([`Base::systemd`] or [`Base::server`]).
    pub fn systemd(mut self) -> Self {
        self.settings.systemd = true;
        self.settings.daemons = true;
        self
    }

    /// Makes the world and boots it.
    pub fn boot(self) -> Result<World> {
        let world = World::off(self.lower, self.settings)?;
        world.boot()?;
        world.settle_in()?;
        Ok(world)
    }
}

/// What a command wrote and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended; a signal if the world was killed under it.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Whether it ended with 0.
    pub fn ok(&self) -> bool {
        self.status.success()
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Both outputs as text, for messages.
    pub fn all(&self) -> String {
        format!("{}{}", self.text(), String::from_utf8_lossy(&self.stderr))
    }
}

/// A process of a world as it is seen from inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InWorld {
    /// Its number inside the world.
    pub pid: i32,
    /// Its number on the host.
    pub host_pid: i32,
    /// Its short name.
    pub name: String,
    /// Its command line, with spaces between the arguments.
    pub command: String,
}

impl World {
    /// A world over `base` with everything as usual, booted.
    pub fn new(base: &Base) -> Result<Self> {
        Self::builder(base).boot()
    }

    /// A world over `base` with something special about it.
    pub fn builder(base: &Base) -> Builder {
        let settings = Settings {
            hostname: "world".to_owned(),
            host_network: false,
            systemd: false,
            daemons: false,
            binds: Vec::new(),
        };
        Builder { lower: Lower { layers: vec![base.path().to_owned()], keep: Vec::new() }, settings }
    }

    /// A world over `base` with systemd as its first process, booted.
    pub fn boot_systemd(base: &Base) -> Result<Self> {
        Self::builder(base).systemd().boot()
    }

    fn off(lower: Lower, settings: Settings) -> Result<Self> {
        host::require_root()?;
        ensure_tools()?;
        let scratch = Scratch::new(&host::cache_folder()?.join("worlds"), "world")?;
        for folder in ["upper", "merged"] {
            fs::create_dir(scratch.path().join(folder))?;
        }
        // The root's own mode is taken from the upper layer.
        fs::set_permissions(scratch.path().join("upper"), fs::Permissions::from_mode(0o755))?;
        let scratch = Arc::new(scratch);
        Ok(Self { running: Mutex::new(None), boots: Mutex::new(0), settings, lower, scratch })
    }

    /// Starts the first process again after [`World::kill_all`]. What is on disk stays, `/run` and `/dev/shm` are
    /// empty, the boot id is new.
    pub fn boot(&self) -> Result<()> {
        let mut running = self.running();
        if running.as_ref().is_some_and(Running::is_up) {
            bail!("the world is up already");
        }
        *running = None;
        *running = Some(self.start()?);
        drop(running);
        if self.settings.systemd {
            wait_until("systemd has started its units", PATIENCE, || {
                let state = self.run(["systemctl", "is-system-running"])?;
                Ok(["running", "degraded"].contains(&state.text().trim()))
            })?;
        }
        Ok(())
    }

    fn start(&self) -> Result<Running> {
        let dir = self.scratch.path();
        let boots = {
            let mut boots = self.boots.lock().unwrap_or_else(PoisonError::into_inner);
            *boots += 1;
            *boots
        };
        // A volatile overlay (no syncing, and dpkg syncs a lot) marks its work folder: every boot gets a new one.
        let work = dir.join(format!("work-{boots}"));
        fs::create_dir(&work)?;
        let boot_id = dir.join("boot_id");
        fs::write(&boot_id, fs::read("/proc/sys/kernel/random/uuid")?)?;
        let layers: Vec<String> = self.lower.layers.iter().map(|l| l.display().to_string()).collect();
        let options = format!(
            "lowerdir={},upperdir={},workdir={},volatile,index=off,metacopy=off,redirect_dir=off",
            layers.join(":"),
            self.upper().display(),
            work.display()
        );
        let cgroup = if self.settings.systemd {
            let group = cgroup_of(&self.scratch.name()).context("systemd needs a cgroup2 mount on the host")?;
            remove_cgroup(&self.scratch.name());
            Some(group)
        } else {
            None
        };
        let log_path = dir.join("boot.log");
        let log = File::create(&log_path)?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--uts", "--ipc"]);
        if !self.settings.host_network {
            command.arg("--net");
        }
        command.args(["sh", "-c", BOOT, "world"]);
        command.arg(if self.settings.systemd { "systemd" } else { "reaper" });
        command.arg(if self.settings.host_network { "host" } else { "own" });
        command.arg(dir.join("merged")).arg(options).arg(&self.settings.hostname).arg(boot_id);
        command.arg(cgroup.as_deref().unwrap_or(Path::new("")));
        for bind in &self.settings.binds {
            command.arg(if bind.writable { "rw" } else { "ro" }).arg(&bind.source).arg(&bind.target);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        // A group of its own, so that an interrupt from the terminal reaches the test first.
        command.process_group(0);
        let mut holder = command.spawn().context("cannot start unshare")?;
        let input = holder.stdin.take();
        let output = holder.stdout.take().context("no pipe")?;
        let mut line = String::new();
        let read = BufReader::new(output).read_line(&mut line);
        if read.is_err() || line.trim() != "ready" {
            // Its child, which is the first process, follows it.
            let _ = holder.kill();
            let _ = holder.wait();
            bail!("the world did not boot: {}", fs::read_to_string(log_path).unwrap_or_default());
        }
        let init = only_child(holder.id()).context("the world has no first process")?;
        let mut running = Running { holder, init, input, guard: None, name: self.scratch.name() };
        if self.settings.systemd {
            running.input = None;
            let mut guard = Command::new("sh");
            guard.args(["-c", "cat >/dev/null; kill -9 \"$1\"", "guard", &init.as_raw_nonzero().to_string()]);
            running.guard = Some(guard.stdin(Stdio::piped()).process_group(0).spawn()?);
        }
        Ok(running)
    }

    /// What a fresh world needs once: an identity and the policy for daemons.
    fn settle_in(&self) -> Result<()> {
        let name = &self.settings.hostname;
        self.write("/etc/hostname", format!("{name}\n"))?;
        self.write("/etc/hosts", format!("127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost\n"))?;
        if self.read("/etc/machine-id").unwrap_or_default().is_empty() {
            let id = fs::read_to_string("/proc/sys/kernel/random/uuid")?.replace('-', "");
            self.write("/etc/machine-id", id)?;
        }
        // 101 forbids, 104 allows; without a policy Debian's scripts forbid it too where there is no init.
        let answer = if self.settings.daemons { 104 } else { 101 };
        if !self.settings.systemd {
            self.write_mode("/usr/sbin/policy-rc.d", format!("#!/bin/sh\nexit {answer}\n"), 0o755)?;
        }
        if self.settings.host_network {
            self.write("/etc/resolv.conf", fs::read("/etc/resolv.conf")?)?;
            self.write("/etc/apt/apt.conf.d/99mirror", "Acquire::Check-Valid-Until \"false\";\n")?;
        }
        Ok(())
    }

    /// Power loss: every process of the world is killed at once. [`World::boot`] starts it again on the same disk. May
    /// be called while another thread runs a command in it. Nothing happens if it is off.
    pub fn kill_all(&self) {
        *self.running() = None;
    }

    /// The process id of its first process, as this process sees it; nothing while it is off.
    pub fn init(&self) -> Option<i32> {
        self.running().as_ref().map(|running| running.init.as_raw_nonzero().get())
    }

    /// Whether its first process lives.
    pub fn is_up(&self) -> bool {
        self.running().as_ref().is_some_and(Running::is_up)
    }

    /// Runs a command to its end (at most [`PATIENCE`]) and returns what it wrote, however it ended.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Output> {
        self.run_with(args, &[], PATIENCE)
    }

    /// As [`World::run`], with more environment variables and another patience.
    pub fn run_with<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        env: &[(&str, &str)],
        patience: Duration,
    ) -> Result<Output> {
        self.spawn_with(args, env)?.finish(patience)
    }

    /// Runs a command that has to end with 0 and returns its standard output as text.
    pub fn must<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<String> {
        let args: Vec<OsString> = args.into_iter().map(|a| a.as_ref().to_owned()).collect();
        let output = self.run(&args)?;
        if !output.ok() {
            bail!("in the world, {args:?}: {}\n{}", output.status, output.all());
        }
        Ok(output.text())
    }

    /// Starts a command and returns at once. Dropping the [`Process`] kills it.
    pub fn spawn<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Process> {
        self.spawn_with(args, &[])
    }

    /// As [`World::spawn`], with more environment variables.
    pub fn spawn_with<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        env: &[(&str, &str)],
    ) -> Result<Process> {
        // Files and not pipes: a daemon that keeps the output open must not keep us waiting.
        let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let mut command = self.command(args)?;
        command.envs(env.iter().copied());
        command.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
        let child = command.spawn().context("cannot start nsenter")?;
        Ok(Process { child, stdout, stderr })
    }

    /// The command as one for the host, for tests that want pipes or a terminal. Killing it leaves the process inside
    /// alive; [`World::spawn`] does better.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Command> {
        let running = self.running();
        let running = running.as_ref().context("the world is off")?;
        let mut command = Command::new("setpriv");
        command.arg("--bounding-set=-sys_module,-sys_time,-sys_rawio,-wake_alarm,-mac_admin");
        command.args(["nsenter", "--target", &running.init.as_raw_nonzero().to_string()]);
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--"]);
        command.args(args).process_group(0);
        command.env_clear().envs([
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", "/root"),
            ("USER", "root"),
            ("LANG", "C.UTF-8"),
            ("TERM", "dumb"),
            ("DEBIAN_FRONTEND", "noninteractive"),
        ]);
        Ok(command)
    }

    /// All processes of the world but the first one.
    pub fn processes(&self) -> Result<Vec<InWorld>> {
        let running = self.running();
        let init = running.as_ref().context("the world is off")?.init.as_raw_nonzero().get();
        let namespace = fs::read_link(format!("/proc/{init}/ns/pid"))?;
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let entry = entry?;
            let Some(host_pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
            if host_pid == init || fs::read_link(entry.path().join("ns/pid")).ok().as_ref() != Some(&namespace) {
                continue;
            }
            // A process may end while we look at it.
            let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
            let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim();
            let Some(pid) = field("NSpid:").split_whitespace().last().and_then(|p| p.parse().ok()) else { continue };
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ").trim_end().to_owned();
            found.push(InWorld { pid, host_pid, name: field("Name:").to_owned(), command });
        }
        found.sort_by_key(|p| p.pid);
        Ok(found)
    }

    /// Kills one process of the world, as `kill -9` does, by its number inside. Not an error if it is gone.
    pub fn kill(&self, pid: i32) -> Result<()> {
        for process in self.processes()? {
            if process.pid == pid {
                kill_host(Pid::from_raw(process.host_pid));
            }
        }
        Ok(())
    }

    /// Reads a file. Symbolic links are resolved inside the world.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = self.open(path, OFlags::RDONLY, 0).with_context(|| format!("cannot read {path} in the world"))?;
        File::from(file).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads a file as text.
    pub fn text(&self, path: &str) -> Result<String> {
        String::from_utf8(self.read(path)?).with_context(|| format!("{path} is not UTF-8"))
    }

    /// Whether something is at `path`; a symbolic link counts as what it points to.
    pub fn exists(&self, path: &str) -> bool {
        self.open(path, OFlags::PATH, 0).is_ok()
    }

    /// Writes a file with mode 644 (an existing one keeps its own) and makes missing folders.
    pub fn write(&self, path: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.put(path, bytes.as_ref(), None)
    }

    /// Writes a file and sets its mode.
    pub fn write_mode(&self, path: &str, bytes: impl AsRef<[u8]>, mode: u32) -> Result<()> {
        self.put(path, bytes.as_ref(), Some(mode))
    }

    /// Copies a file or a folder of the host into the world, with modes, without owners.
    pub fn copy_in(&self, from: &Path, path: &str) -> Result<()> {
        let about = fs::metadata(from).with_context(|| format!("cannot copy {}", from.display()))?;
        if about.is_dir() {
            self.make_folder(path)?;
            for entry in fs::read_dir(from)? {
                let entry = entry?;
                let name = entry.file_name();
                self.copy_in(&entry.path(), &format!("{path}/{}", name.to_string_lossy()))?;
            }
            return Ok(());
        }
        self.put(path, &fs::read(from)?, Some(about.permissions().mode() & 0o7777))
    }

    fn put(&self, path: &str, bytes: &[u8], mode: Option<u32>) -> Result<()> {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.make_folder(folder)?;
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        let file = self.open(path, flags, mode.unwrap_or(0o644));
        let mut file = File::from(file.with_context(|| format!("cannot write {path} in the world"))?);
        file.write_all(bytes)?;
        if let Some(mode) = mode {
            file.set_permissions(fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    fn make_folder(&self, path: &str) -> Result<()> {
        let mut done = String::new();
        for part in path.split('/').filter(|p| !p.is_empty()) {
            let parent = if done.is_empty() { "/" } else { &done };
            let parent = self.open(parent, OFlags::PATH | OFlags::DIRECTORY, 0)?;
            match rustix::fs::mkdirat(&parent, part, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(e) => return Err(e).with_context(|| format!("cannot make {path} in the world")),
            }
            done = format!("{done}/{part}");
        }
        Ok(())
    }

    /// Opens a path below the world's root; absolute links do not lead out of it.
    fn open(&self, path: &str, flags: OFlags, mode: u32) -> Result<OwnedFd> {
        let running = self.running();
        let init = running.as_ref().context("the world is off")?.init;
        let root = rustix::fs::open(
            format!("/proc/{}/root", init.as_raw_nonzero()),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let mode = Mode::from_raw_mode(mode);
        Ok(rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, mode, ResolveFlags::IN_ROOT)?)
    }

    /// A second world with a copy of this one's disk as it is now, booted. This one may be on or off; if it is writing,
    /// the copy is as torn as a disk after a crash.
    pub fn fork(&self) -> Result<Self> {
        let other = Self::off(self.lower.clone(), self.settings.clone())?;
        let mut from = self.upper().into_os_string();
        from.push("/.");
        host::run("cp", [OsStr::new("-a"), &from, other.upper().as_os_str()])?;
        other.boot()?;
        Ok(other)
    }

    /// Switches the world off and keeps its disk as a layer from which any number of worlds can be made without
    /// copying.
    pub fn freeze(self) -> Frozen {
        self.kill_all();
        let mut lower = self.lower;
        lower.layers.insert(0, self.scratch.path().join("upper"));
        lower.keep.push(self.scratch);
        Frozen { lower, settings: self.settings }
    }

    /// What the world has changed on its base, as paths with their kind (`file`, `folder`, `link`, `gone`, `other`).
    pub fn changes(&self) -> Result<BTreeMap<String, &'static str>> {
        let mut found = BTreeMap::new();
        collect(&self.upper(), "", &mut found)?;
        Ok(found)
    }

    fn upper(&self) -> PathBuf {
        self.scratch.path().join("upper")
    }

    /// The folder of the host in which this world lives; for tests of the worlds themselves.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn collect(folder: &Path, below: &str, found: &mut BTreeMap<String, &'static str>) -> Result<()> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = format!("{below}/{}", entry.file_name().to_string_lossy());
        let about = entry.metadata()?;
        let kind = about.file_type();
        let kind = if kind.is_dir() {
            collect(&entry.path(), &path, found)?;
            "folder"
        } else if kind.is_file() {
            "file"
        } else if kind.is_symlink() {
            "link"
        } else if kind.is_char_device() && about.rdev() == 0 {
            "gone"
        } else {
            "other"
        };
        found.insert(path, kind);
    }
    Ok(())
}

/// The disk of a world that was switched off; see [`World::freeze`].
#[derive(Debug, Clone)]
pub struct Frozen {
    lower: Lower,
    settings: Settings,
}

impl Frozen {
    /// A new world over it, with the same settings and identity, booted.
    pub fn world(&self) -> Result<World> {
        let world = World::off(self.lower.clone(), self.settings.clone())?;
        world.boot()?;
        Ok(world)
    }
}

/// A command that runs in a world; killed on drop.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: File,
    stderr: File,
}

impl Process {
    /// Kills it as `kill -9` does; what it started lives on.
    pub fn kill(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            kill_below(self.child.id());
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> Result<Vec<u8>> {
        read_all(&self.stdout)
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> Result<Vec<u8>> {
        read_all(&self.stderr)
    }

    /// Waits for its end; after `patience` it is killed and that is an error.
    pub fn finish(mut self, patience: Duration) -> Result<Output> {
        let (done, waiting) = mpsc::channel::<()>();
        let nsenter = self.child.id();
        let (status, late) = std::thread::scope(|scope| -> Result<_> {
            let watch = scope.spawn(move || {
                let late = waiting.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout);
                if late {
                    kill_below(nsenter);
                }
                late
            });
            let status = self.child.wait();
            drop(done);
            let late = watch.join().map_err(|_| anyhow!("the watch thread failed"))?;
            Ok((status?, late))
        })?;
        let output = Output { status, stdout: self.stdout()?, stderr: self.stderr()? };
        if late && output.status.signal().is_some() {
            bail!("killed after {patience:?}; it had written:\n{}", output.all());
        }
        Ok(output)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_all(file: &File) -> Result<Vec<u8>> {
    // The offset is shared with the writer and must not move, so every read says where.
    let mut bytes = Vec::new();
    let mut part = vec![0; 1 << 16];
    loop {
        let count = file.read_at(&mut part, bytes.len() as u64)?;
        if count == 0 {
            return Ok(bytes);
        }
        bytes.extend(part.iter().take(count));
    }
}

/// The processes that make a world run.
#[derive(Debug)]
struct Running {
    holder: Child,
    init: Pid,
    input: Option<ChildStdin>,
    guard: Option<Child>,
    name: String,
}

impl Running {
    fn is_up(&self) -> bool {
        // Until it is reaped by the holder a dead one still has an entry, but no namespace.
        fs::read_link(format!("/proc/{}/ns/pid", self.init.as_raw_nonzero())).is_ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(guard) = &mut self.guard {
            let _ = guard.kill();
            let _ = guard.wait();
        }
        // The holder has not reaped it as long as it lives itself, so the number is still the right one.
        if matches!(self.holder.try_wait(), Ok(None)) {
            kill_host(Some(self.init));
        }
        self.input = None;
        // The first process is only reaped after all others of its namespace.
        let _ = self.holder.wait();
        remove_cgroup(&self.name);
    }
}

fn kill_host(pid: Option<Pid>) {
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

/// Kills what `nsenter` has started, and if it has not come that far, itself.
fn kill_below(nsenter: u32) {
    let target = only_child(nsenter).or_else(|| Pid::from_raw(i32::try_from(nsenter).unwrap_or(0)));
    kill_host(target);
}

fn only_child(parent: u32) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
}

/// The control group for a world of this name.
fn cgroup_of(name: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let mount = mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (_, point, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(point))
    })?;
    Some(mount.join(format!("{CGROUP_PREFIX}{name}")))
}

/// Removes the control groups of a world of this name. False if some are left, because somebody is still in them.
pub(crate) fn remove_cgroup(name: &str) -> bool {
    fn remove(folder: &Path) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                remove(&entry.path());
            }
        }
        let _ = fs::remove_dir(folder);
    }
    cgroup_of(name).is_none_or(|group| {
        remove(&group);
        !group.exists()
    })
}
