//! The machine under the worlds: its commands, its folders, and whether we may use them.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// The folder of the workspace.
pub fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// True if this process is root. Without root, false if `STANCH_TEST_NO_ROOT=1` allows to skip (and says so), else an
/// error that names what is needed.
pub fn root_or_skip() -> Result<bool> {
    if rustix::process::geteuid().is_root() {
        return Ok(true);
    }
    if env::var_os("STANCH_TEST_NO_ROOT").is_some_and(|v| v == "1") {
        eprintln!("SKIPPED: this test needs root, and STANCH_TEST_NO_ROOT=1 is set");
        return Ok(false);
    }
    bail!(
        "this test makes mounts and namespaces and needs root: run it as root, or set STANCH_TEST_NO_ROOT=1 to skip it"
    )
}

/// Root, with no way to skip.
pub(crate) fn require_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    bail!("a world needs root (mounts, namespaces, chroot): run the tests as root")
}

/// Where roots and worlds are kept: `STANCH_TEST_CACHE`, else `stanch-test-cache` in cargo's target folder.
pub(crate) fn cache_folder() -> Result<PathBuf> {
    let folder = if let Some(folder) = env::var_os("STANCH_TEST_CACHE") {
        PathBuf::from(folder)
    } else {
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace_root().join("target"), PathBuf::from);
        workspace_root().join(target).join("stanch-test-cache")
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let folder = folder.canonicalize()?;
    let text = folder.to_str().context("the cache folder's path is not UTF-8")?;
    if text.contains([':', ',', '\\']) {
        bail!("overlayfs cannot take ':', ',' or '\\' in a path: set STANCH_TEST_CACHE to something other than {text}");
    }
    Ok(folder)
}

/// Runs a command of the host to its end and returns its standard output; an error carries what it wrote.
pub(crate) fn run<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Result<String> {
    let mut command = Command::new(program);
    command.args(args);
    run_command(command)
}

/// As [`run`], for a command that was prepared by the caller.
pub(crate) fn run_command(mut command: Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program is found in the path, or where Debian keeps those of the administrator.
pub(crate) fn has_program(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .any(|f| f.join(name).is_file())
}
