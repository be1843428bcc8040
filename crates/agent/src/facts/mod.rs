//! Reads the facts of a host: of Debian and Ubuntu all there is, of systems of rpm and of Alpine the packages. Nothing here judges: what is installed, what runs and what could be had
//! is written down as it is, and what could not be read is said to be unknown, with the reason.

mod apt;
mod bundled;
mod cache;
mod container;
pub(crate) mod deb822;
pub mod dpkg;
pub(crate) mod environments;
#[doc(hidden)]
pub mod fuzzing;
mod interpreted;
mod kernel;
mod listed;
mod netlink;
pub mod os;
mod owners;
pub(crate) mod posture;
pub(crate) mod processes;
pub(crate) mod python;
mod root;
pub(crate) mod services;
mod sockets;
mod systems;
mod updaters;

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use stanch_model::asset::{Asset, AssetKind};
use stanch_model::facts::{HostFacts, Known, ListeningSocket, OsRelease, Package, ServiceRef, StaleProcess, Talks};

use crate::actions::Host;
use apt::config::Config;
use cache::Cache;
use owners::Owners;
use processes::Processes;
pub use root::Root;
use services::Services;
use sockets::Socket;
pub(crate) use sockets::{connections, listens};

const MAX_SMALL: u64 = 1 << 20;
const MAX_STATUS_FILES: usize = 20_000;

/// Where and how to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The root folder of the host.
    pub root: PathBuf,
    /// The kernel's process folder; `None` for a root that is not running, of which nothing that runs is known.
    pub proc: Option<PathBuf>,
    /// A file in which what was read from the archive indexes is kept until they change; `None` reads them each time.
    pub cache: Option<PathBuf>,
    /// Copies of libraries inside files are looked for: what costs most on the first reading.
    pub copies: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self::this_host()
    }
}

impl Options {
    /// The machine this program runs on.
    pub fn this_host() -> Self {
        Self { root: PathBuf::from("/"), proc: Some(PathBuf::from("/proc")), cache: None, copies: true }
    }

    /// A root folder; when it is not this machine's own, nothing that runs is read.
    pub fn at(root: &Path) -> Self {
        let own = Root::open(root).is_ok_and(|root| root.is_own());
        Self { root: root.to_owned(), proc: own.then(|| PathBuf::from("/proc")), cache: None, copies: true }
    }

    /// The same with a cache file.
    #[must_use]
    pub fn cached(self, cache: PathBuf) -> Self {
        Self { cache: Some(cache), ..self }
    }

    /// The same without a look inside files, for whoever needs to know something else.
    #[must_use]
    pub fn without_copies(self) -> Self {
        Self { copies: false, ..self }
    }
}

/// Why a host's facts could not be read at all.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// The root folder cannot be opened.
    #[error("cannot open the root folder {}", path.display())]
    Root {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no list of packages.
    #[error("no dpkg package list under {}", path.display())]
    NoDpkg {
        /// The root folder.
        path: PathBuf,
    },
    /// The packages of a system without dpkg cannot be read.
    #[error("cannot read the packages of rpm or apk")]
    Other {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A list of packages cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Its path inside the root.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A list of packages is damaged.
    #[error("cannot use {}", path.display())]
    Status {
        /// Its path inside the root.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: dpkg::StatusError,
    },
}

impl FactsError {
    /// What a person can do about it.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Root { .. } => "name a folder that holds the root of a Debian or Ubuntu system",
            Self::NoDpkg { .. } => {
                "a root of Debian or Ubuntu has var/lib/dpkg/status, an image without dpkg var/lib/dpkg/status.d, one of Alpine lib/apk/db/installed; rpm is asked on its own machine alone"
            }
            Self::Other { .. } => "`rpm --query --all`, or lib/apk/db/installed, must be readable by this user",
            Self::Read { .. } => "the file must be readable by this user",
            Self::Status { source, .. } => source.remedy(),
        }
    }
}

/// Reads the facts of one host. Blocking; takes milliseconds on a warm host.
///
/// # Errors
/// When there is no usable list of packages: without one nothing can be said. Everything else that cannot be read is
/// unknown in the facts.
pub fn host(options: &Options) -> Result<HostFacts, FactsError> {
    let collected_at = Timestamp::now();
    let root = Root::open(&options.root).map_err(|source| FactsError::Root { path: options.root.clone(), source })?;
    std::thread::scope(|scope| {
        // The kernel tells of what runs while the package lists are parsed.
        let asked = options.proc.as_deref().map(|proc| (proc, scope.spawn(move || seen(proc))));
        // A thread of ours does not panic; if it did, it is all read here.
        let seen = || asked.map(|(proc, asked)| asked.join().unwrap_or_else(|_| seen(proc)));
        facts(options, &root, collected_at, seen)
    })
}

fn facts(
    options: &Options,
    root: &Root,
    collected_at: Timestamp,
    seen: impl FnOnce() -> Option<io::Result<Seen>>,
) -> Result<HostFacts, FactsError> {
    let os = release(root);
    let (status, other) = match installed(root) {
        Ok(status) => (status, None),
        Err(none @ FactsError::NoDpkg { .. }) => match systems::read(&Host::default(), root, &os) {
            Ok(Some(system)) => (dpkg::Status::default(), Some(system)),
            Ok(None) => return Err(none),
            Err(source) => return Err(FactsError::Other { source }),
        },
        Err(error) => return Err(error),
    };
    let mut gaps = gaps(&status);
    gaps.extend(other.as_ref().and_then(systems::System::gap));
    let architecture = match &other {
        Some(system) => system.architecture.clone(),
        None => architecture(root, &status.packages),
    };
    let asset = identity(root, options.proc.is_some());
    let boot_id = boot_id(options.proc.as_deref());
    let kernel = kernel::read(options.proc.as_deref(), root, &status.packages);
    let mut packages = status.packages;
    installed_at(root, &mut packages);
    let mut cache = Cache::open(options.cache.as_deref(), &packages);
    let config = Config::read(root);
    let indexes = apt::read(root, &config, &mut packages, &mut cache);
    gaps.extend(indexes.gaps);
    let environments = environments::find(root, true);
    gaps.extend(environments.gaps.iter().cloned());
    let bundled = if options.copies { bundled::find(root, &mut cache) } else { bundled::Found::default() };
    gaps.extend(bundled.gaps);
    let running = running(root, options.proc.as_deref().zip(seen()), &environments.python, &mut cache);
    gaps.extend(running.gaps);
    let updaters = updaters::read(root, &config, &packages);
    cache.close();
    Ok(HostFacts {
        asset,
        collected_at,
        boot_id,
        os,
        architecture,
        packages,
        components: other.map(|system| system.packages).into_iter().flatten().chain(environments.components).collect(),
        bundles: bundled.bundles,
        unsearched: environments.unsearched.into_iter().chain(bundled.unsearched).collect(),
        broken: status.broken,
        candidates: indexes.candidates,
        indexes_at: indexes.fetched_at,
        kernel,
        stale: running.stale,
        sockets: running.sockets,
        updaters,
        // Whoever runs programs here adds what they say.
        health: Vec::new(),
        in_use: None,
        talks: None,
        posture: options.proc.as_deref().map(|proc| posture::read(&Host::default(), root, proc)),
        gaps,
    })
}

/// Whom this machine calls, and under which addresses others see it; nothing where the kernel does not tell.
pub(crate) fn talks(sockets: &Known<Vec<ListeningSocket>>) -> Option<Talks> {
    let proc = Path::new("/proc");
    let tcp = sockets.known()?.iter().filter(|socket| socket.protocol.starts_with("tcp"));
    sockets::talks(proc, &tcp.map(|socket| socket.port).collect(), &processes::running(proc).ok()?).ok()
}

/// Processes of this machine that map code which is gone: that part of [`host`] alone, which needs no index.
pub(crate) fn stale() -> Known<Vec<StaleProcess>> {
    match Root::open(Path::new("/")) {
        Ok(root) => {
            let proc = Path::new("/proc");
            running(
                &root,
                Some((proc, seen(proc))),
                &environments::find(&root, false).python,
                &mut Cache::open(None, &[]),
            )
            .stale
        }
        Err(error) => Known::Unknown(format!("the root folder cannot be opened: {error}")),
    }
}

/// What the kernel tells of what runs, before anything is looked up about it.
struct Seen {
    processes: Processes,
    sockets: io::Result<Vec<Socket>>,
}

fn seen(proc: &Path) -> io::Result<Seen> {
    let processes = Processes::read(proc)?;
    let sockets = sockets::read(proc, &processes.all);
    Ok(Seen { processes, sockets })
}

/// What runs.
struct Running {
    stale: Known<Vec<StaleProcess>>,
    sockets: Known<Vec<ListeningSocket>>,
    gaps: Vec<String>,
}

fn running(
    root: &Root,
    seen: Option<(&Path, io::Result<Seen>)>,
    python: &[python::Environment],
    cache: &mut Cache,
) -> Running {
    let nothing =
        |why: String| Running { stale: Known::Unknown(why.clone()), sockets: Known::Unknown(why), gaps: Vec::new() };
    let Some((proc, seen)) = seen else { return nothing(ANOTHER_ROOT.to_owned()) };
    let Seen { processes, sockets: found } = match seen {
        Ok(seen) => seen,
        Err(error) => return nothing(format!("the list of processes cannot be read: {error}")),
    };
    let programs = found.as_deref().unwrap_or_default().iter().filter_map(|socket| socket.exe.as_deref());
    let owners = Owners::find(root, processes.paths().chain(programs), cache);
    let services = Services::read(root, proc, &processes.all);
    let mut stale = processes.stale(proc, &owners, &services);
    if let Known::Known(stale) = &mut stale {
        stale.extend(interpreted::stale(root, proc, &processes, &services, python));
    }
    let sockets = match found {
        Ok(found) => found,
        Err(error) => {
            let sockets = Known::Unknown(format!("the kernel's tables of sockets cannot be read: {error}"));
            return Running { stale, sockets, gaps: processes.gap().into_iter().collect() };
        }
    };
    let nameless = sockets.iter().filter(|socket| socket.exe.is_none()).count();
    let refused = if processes::is_root() { "closed even to root" } else { "needs root" };
    let nameless =
        (nameless > 0).then(|| format!("{refused}: the programs of {nameless} of {} waiting sockets", sockets.len()));
    let mut listening: Vec<ListeningSocket> = sockets
        .into_iter()
        .map(|socket| ListeningSocket {
            protocol: socket.protocol.to_owned(),
            address: socket.address,
            port: socket.port,
            service: service_of(proc, &services, &socket),
            package: socket.exe.as_deref().and_then(|exe| owners.of(exe)).map(str::to_owned),
            exe: socket.exe,
        })
        .collect();
    listening.sort();
    listening.dedup();
    Running { stale, sockets: Known::Known(listening), gaps: nameless.into_iter().chain(processes.gap()).collect() }
}

/// The service that a socket belongs to; what runs in a container is none of the host's.
fn service_of(proc: &Path, services: &Services<'_>, socket: &Socket) -> Option<ServiceRef> {
    let (holder, exe) = (socket.holder.as_ref()?, socket.exe.as_deref()?);
    if container::of_process(proc, &holder.pid.to_string()).is_some() {
        return None;
    }
    services.of(holder, exe)
}

/// The facts that a dpkg status file alone gives, of a host that is elsewhere. `name` is what the list is called: its
/// file's name, say; lists of the same name are the same asset.
///
/// # Errors
/// When the list is damaged.
pub fn from_status(bytes: &[u8], os: OsRelease, name: &str) -> Result<HostFacts, dpkg::StatusError> {
    let status = dpkg::parse_status(bytes)?;
    let gaps = gaps(&status);
    let architecture = common_architecture(&status.packages);
    Ok(HostFacts { packages: status.packages, broken: status.broken, gaps, ..inventory(os, architecture, name) })
}

/// The facts of a package list without its host: empty, for a reader of lists to fill.
pub(crate) fn inventory(os: OsRelease, architecture: String, name: &str) -> HostFacts {
    let elsewhere = "a package list without its host";
    HostFacts {
        asset: Asset::unlabelled(AssetKind::Inventory, name, name),
        collected_at: Timestamp::now(),
        boot_id: unknown(elsewhere),
        os,
        architecture,
        packages: Vec::new(),
        components: Vec::new(),
        bundles: Vec::new(),
        unsearched: Vec::new(),
        broken: Vec::new(),
        candidates: unknown(elsewhere),
        indexes_at: None,
        kernel: unknown(elsewhere),
        stale: unknown(elsewhere),
        sockets: unknown(elsewhere),
        updaters: Vec::new(),
        health: Vec::new(),
        in_use: None,
        talks: None,
        posture: None,
        gaps: Vec::new(),
    }
}

fn unknown<T>(why: &str) -> Known<T> {
    Known::Unknown(why.to_owned())
}

/// Why what runs on another root is unknown.
const ANOTHER_ROOT: &str = "another root: nothing in it runs here";

/// The packages of a root: of dpkg, or of the `status.d` that images without dpkg carry.
///
/// # Errors
/// When neither is there, or one is damaged.
pub fn installed(root: &Root) -> Result<dpkg::Status, FactsError> {
    const STATUS: &str = "/var/lib/dpkg/status";
    const FOLDER: &str = "/var/lib/dpkg/status.d";
    let bytes = match root.read(STATUS, dpkg::MAX_STATUS) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(FactsError::Read { path: STATUS.into(), source }),
    };
    let parts = match root.list(FOLDER) {
        Ok(names) => names,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Vec::new(),
        Err(source) => return Err(FactsError::Read { path: FOLDER.into(), source }),
    };
    if bytes.is_none() && parts.is_empty() {
        return Err(FactsError::NoDpkg { path: root.path().to_owned() });
    }
    let parse = |path: &str, bytes: &[u8]| {
        dpkg::parse_status(bytes).map_err(|source| FactsError::Status { path: path.into(), source })
    };
    let mut status = parse(STATUS, &bytes.unwrap_or_default())?;
    let parts = parts.iter().filter(|name| !name.ends_with(".md5sums") && !name.starts_with('.'));
    for name in parts.take(MAX_STATUS_FILES) {
        let path = format!("{FOLDER}/{name}");
        let bytes =
            root.read(&path, MAX_SMALL).map_err(|source| FactsError::Read { path: path.clone().into(), source })?;
        let part = parse(&path, &bytes)?;
        status.packages.extend(part.packages);
        status.broken.extend(part.broken);
        status.unreadable.extend(part.unreadable);
    }
    status.packages.sort_by(|a, b| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));
    Ok(status)
}

fn gaps(status: &dpkg::Status) -> Vec<String> {
    let Some(first) = status.unreadable.first() else { return Vec::new() };
    vec![format!(
        "{} of {} packages could not be understood and were left out; the first: {} at line {}: {}",
        status.unreadable.len(),
        status.unreadable.len() + status.packages.len(),
        first.package,
        first.line,
        first.why
    )]
}

/// Which system a root is: `debian 12`.
pub(crate) fn system(root: &Root) -> Option<String> {
    release(root).system()
}

fn release(root: &Root) -> OsRelease {
    let text = root.text("/etc/os-release", MAX_SMALL).or_else(|_| root.text("/usr/lib/os-release", MAX_SMALL));
    os::parse_os_release(&text.unwrap_or_default())
}

/// When each package was unpacked in its version: dpkg writes the list of its files anew then. Of what cannot be read
/// nothing is said.
fn installed_at(root: &Root, packages: &mut [Package]) {
    let list = |package: &Package| {
        [format!("{}.list", package.name), format!("{}:{}.list", package.name, package.architecture)]
    };
    let lists: Vec<[String; 2]> = packages.iter().map(list).collect();
    let Ok(changed) = root.changed("/var/lib/dpkg/info", &lists) else { return };
    for (package, at) in packages.iter_mut().zip(changed) {
        package.installed_at = at.and_then(|at| Timestamp::from_second(at).ok());
    }
}

/// dpkg's own architecture is that of the package dpkg; roots without it have that of most packages.
fn architecture(root: &Root, packages: &[Package]) -> String {
    let first = root.text("/var/lib/dpkg/arch", MAX_SMALL).ok().and_then(|text| text.lines().next().map(str::to_owned));
    match packages.iter().find(|package| package.name == "dpkg") {
        Some(dpkg) if dpkg.architecture != "all" => dpkg.architecture.clone(),
        _ => first.filter(|line| !line.is_empty()).unwrap_or_else(|| common_architecture(packages)),
    }
}

/// The architecture that most packages have, besides `all`; empty when there is none.
pub(crate) fn common_architecture(packages: &[Package]) -> String {
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for package in packages.iter().filter(|package| package.architecture != "all") {
        *counts.entry(&package.architecture).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name.to_owned()).unwrap_or_default()
}

/// A machine is who its machine id says; without one, who its host name says; a root with neither is its own path.
fn identity(root: &Root, running: bool) -> Asset {
    let line = |path: &str| {
        let text = root.text(path, 4096).ok()?;
        let line = text.lines().next()?.trim().to_owned();
        (!line.is_empty() && line != "uninitialized").then_some(line)
    };
    let own_name = || running.then(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    let name = own_name().or_else(|| line("/etc/hostname"));
    let path = root.path().display().to_string();
    let identity = line("/etc/machine-id").or_else(|| line("/var/lib/dbus/machine-id")).or_else(|| name.clone());
    let name = name.unwrap_or_else(|| path.clone());
    Asset::unlabelled(AssetKind::Host, identity.as_deref().unwrap_or(&path), &name)
}

fn boot_id(proc: Option<&Path>) -> Known<String> {
    let Some(proc) = proc else { return unknown(ANOTHER_ROOT) };
    match std::fs::read_to_string(proc.join("sys/kernel/random/boot_id")) {
        Ok(text) => Known::Known(text.trim().chars().take(64).collect()),
        Err(error) => Known::Unknown(format!("the kernel's boot id cannot be read: {error}")),
    }
}
