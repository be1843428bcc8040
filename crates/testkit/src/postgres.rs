//! A PostgreSQL of one's own: made in a temporary folder, reached by a socket in it, gone afterwards. It needs Debian's
//! package `postgresql`, and nothing of the cluster that the package makes. This file stands alone: the store's tests,
//! which may not depend on this crate, take it in as it is.

use std::io::{Error, Result};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long it may take to start.
const START: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// A server with its files. Ends with its owner, and also when the thread that started it ends.
#[derive(Debug)]
pub struct Cluster {
    folder: tempfile::TempDir,
    server: Option<Child>,
    durable: bool,
    /// Where it listens besides its socket, and the network that it lets in from there.
    listens: Option<(IpAddr, &'static str)>,
    made: AtomicU32,
}

impl Cluster {
    /// Makes one and starts it. One that is not `durable` does not wait for the disk: for tests in which the machine does
    /// not fail.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not start.
    pub fn start(durable: bool) -> Result<Self> {
        Self::start_at(durable, None)
    }

    /// The same, and it lets everybody in at an address, who comes from a network.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn start_at(durable: bool, listens: Option<(IpAddr, &'static str)>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("stanch-postgres-").tempdir()?;
        let mut cluster = Self { folder, server: None, durable, listens, made: AtomicU32::new(0) };
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(cluster.folder.path()))?;
        }
        let mut make = cluster.program("initdb")?;
        make.args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--username=stanch", "--no-sync", "-D"]);
        run(make.arg(cluster.data()))?;
        if let Some((_, network)) = listens {
            use std::io::Write as _;
            let rules = std::fs::OpenOptions::new().append(true).open(cluster.data().join("pg_hba.conf"));
            writeln!(rules?, "host all all {network} trust")?;
        }
        cluster.restart()?;
        Ok(cluster)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The folder with its socket.
    pub fn socket(&self) -> &Path {
        self.folder.path()
    }

    /// One of its programs, as the user it runs as: it refuses to be root.
    fn program(&self, name: &str) -> Result<Command> {
        let mut command = Command::new("setpriv");
        if is_root() {
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
        }
        command.args(["--pdeathsig=QUIT", "--"]).arg(programs()?.join(name));
        command.stdin(Stdio::null()).stdout(Stdio::null()).current_dir(self.folder.path());
        Ok(command)
    }

    /// Starts it, again or for the first time, and waits until it answers.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let log = self.folder.path().join("log");
        let begun = Instant::now();
        loop {
            let log_file = std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
            self.server = Some(self.serve()?.stderr(log_file).spawn()?);
            if self.answers()? {
                return Ok(());
            }
            if begun.elapsed() > START {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(Error::other(format!("PostgreSQL does not start: {log}")));
            }
        }
    }

    fn serve(&self) -> Result<Command> {
        let mut command = self.program("postgres")?;
        command.arg("-D").arg(self.data()).arg("-k").arg(self.folder.path());
        let listens = self.listens.map(|(address, _)| address.to_string()).unwrap_or_default();
        command.args([
            "-c",
            &format!("listen_addresses={listens}"),
            "-c",
            "max_connections=300",
            "-c",
            "shared_buffers=32MB",
        ]);
        if !self.durable {
            command.args(["-c", "fsync=off", "-c", "full_page_writes=off"]);
        }
        Ok(command)
    }

    /// Whether it comes to answer, and does not end before.
    fn answers(&mut self) -> Result<bool> {
        let begun = Instant::now();
        while begun.elapsed() < START {
            if self.ask("postgres", "SELECT 1").is_ok() {
                return Ok(true);
            }
            if self.server.as_mut().map(Child::try_wait).transpose()?.flatten().is_some() {
                return Ok(false);
            }
            std::thread::park_timeout(PAUSE);
        }
        Ok(false)
    }

    /// Kills it with all of its processes, as a power cut would.
    pub fn kill(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        let children = children(server.id());
        // It may have ended by itself.
        let _ = server.kill();
        let _ = server.wait();
        let _ = Command::new("kill").arg("-KILL").args(&children).stderr(Stdio::null()).status();
        while children.iter().any(|child| Path::new("/proc").join(child).exists()) {
            std::thread::park_timeout(PAUSE);
        }
    }

    /// Runs a statement in a database.
    ///
    /// # Errors
    /// What PostgreSQL said.
    pub fn ask(&self, database: &str, sql: &str) -> Result<String> {
        ask(self.folder.path(), database, sql)
    }

    /// Makes a database, of a template if one is named; gives its address.
    ///
    /// # Errors
    /// What PostgreSQL said.
    pub fn database(&self, template: Option<&str>) -> Result<String> {
        let name = format!("d{}_{}", std::process::id(), self.made.fetch_add(1, Ordering::Relaxed));
        let template = template.unwrap_or("template0");
        self.ask("postgres", &format!("CREATE DATABASE {name} TEMPLATE {template}"))?;
        Ok(self.url(&name))
    }

    /// The address of a database where it listens.
    pub fn url_at(&self, address: IpAddr, database: &str) -> String {
        format!("postgres://stanch@{address}:5432/{database}?sslmode=disable")
    }

    /// The address of a database.
    pub fn url(&self, database: &str) -> String {
        url(self.folder.path(), database)
    }
}

/// Runs a statement in a database of the server whose socket is in this folder.
///
/// # Errors
/// What PostgreSQL said.
pub fn ask(socket: &Path, database: &str, sql: &str) -> Result<String> {
    let mut command = Command::new(programs()?.join("psql"));
    command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "stanch", "-d", database, "-c", sql, "-h"]);
    let output = command.arg(socket).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// The address of a database of the server whose socket is in this folder.
pub fn url(socket: &Path, database: &str) -> String {
    format!("postgres:///{database}?host={}&user=stanch", socket.display())
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// The processes that this one has started.
fn children(parent: u32) -> Vec<String> {
    let parent = parent.to_string();
    let is_child = |process: &String| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        // The name stands in brackets and may hold anything.
        stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)) == Some(parent.as_str())
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| entry.file_name().into_string().ok()).filter(is_child).collect()
}

/// The folder of the newest PostgreSQL that is installed.
fn programs() -> Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max();
    let newest = newest.map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")));
    newest
        .filter(|folder| folder.join("initdb").exists() && folder.join("psql").exists())
        .ok_or_else(|| Error::other("PostgreSQL is not installed, which these tests need: apt-get install postgresql"))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stderr(Stdio::piped()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(Error::other(format!("{command:?}: {said}"))) }
}
