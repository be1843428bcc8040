//! The product under proof: the release binary, and the data it is proven on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::steps::{self, cargo};

/// The binary `stanch`.
#[derive(Debug, Clone)]
pub(crate) struct Product {
    binary: PathBuf,
}

impl Product {
    /// Builds the release binary, or takes the one that `STANCH_BINARY` names.
    pub(crate) fn built() -> Result<Self> {
        if let Some(binary) = std::env::var_os("STANCH_BINARY") {
            let binary = PathBuf::from(binary);
            let binary = binary.canonicalize().with_context(|| format!("STANCH_BINARY={}", binary.display()))?;
            return Ok(Self { binary });
        }
        steps::run("cargo build --release", cargo().args(["build", "--release", "--locked", "--package", "stanch"]))?;
        Ok(Self { binary: steps::root().join("target/release/stanch") })
    }

    /// One that lies elsewhere.
    pub(crate) fn at(binary: PathBuf) -> Self {
        Self { binary }
    }

    /// Where it lies.
    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    /// A command line of it.
    pub(crate) fn command<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).stdin(Stdio::null()).env_remove("STANCH_DATA_DIR");
        command
    }

    /// Runs it; it has to end with 0.
    pub(crate) fn must<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<String> {
        let mut command = self.command(arguments);
        let output = command.output().with_context(|| format!("starting {}", self.binary.display()))?;
        if !output.status.success() {
            let name = super::results::shown(&command);
            bail!("`{name}` ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The folder of real data beside the repository.
pub(crate) fn shared() -> Result<PathBuf> {
    let folder =
        std::env::var_os("STANCH_SHARED_DATA").map_or_else(|| steps::root().join("../shared/data"), PathBuf::from);
    folder.canonicalize().with_context(|| {
        format!("the proofs need the real data at {} (or name another folder in STANCH_SHARED_DATA)", folder.display())
    })
}

/// A folder that is empty when the proof begins, and stays for whoever wants to look.
pub(crate) fn scratch(name: &str) -> Result<PathBuf> {
    let folder = steps::root().join("target/prove/scratch").join(name);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("emptying {}", folder.display()));
        }
        _ => fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?,
    }
    Ok(folder)
}

/// What a `.gz` holds.
pub(crate) fn unzipped(path: &Path) -> Result<Vec<u8>> {
    let output = Command::new("gzip").arg("-dc").arg(path).output().context("starting gzip")?;
    if !output.status.success() {
        bail!("{} does not unpack: {}", path.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

/// A running server that ends with its owner.
pub(crate) struct Server {
    child: Child,
}

impl Server {
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).spawn().context("starting the server")?;
        Ok(Self { child })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has children of its own to end: ask first, and insist only when it does not listen.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        if until(Duration::from_secs(20), || Ok(self.child.try_wait()?.is_some())).is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Asks again and again until it holds.
pub(crate) fn until(limit: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !condition()? {
        if Instant::now() >= deadline {
            bail!("waited {} s in vain", limit.as_secs());
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Ok(())
}
