//! Running programs as named, timed steps.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// The workspace's root: the one cargo runs this for, since a build that was copied remembers another.
pub(crate) fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&here).parent().unwrap_or(Path::new(".")).to_owned()
}

/// The cargo that runs this.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a step and tells how long it took.
pub(crate) fn run(name: &str, command: &mut Command) -> anyhow::Result<Duration> {
    eprintln!("==> {name}");
    let began = Instant::now();
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("starting `{name}`"))?;
    let took = began.elapsed();
    if !status.success() {
        bail!("`{name}` failed ({status}) after {:.1} s", took.as_secs_f64());
    }
    eprintln!("    {name}: {:.1} s", took.as_secs_f64());
    Ok(took)
}

/// What a program prints on standard output; its exit must be clean.
pub(crate) fn output(name: &str, command: &mut Command) -> anyhow::Result<String> {
    let output =
        command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().with_context(|| format!("starting `{name}`"))?;
    if !output.status.success() {
        bail!("`{name}` failed ({})", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program can be found on the path.
pub(crate) fn has(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}
