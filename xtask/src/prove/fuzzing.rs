//! Fuzzing of every parser of outside data.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::results::{Results, shown};
use crate::steps::{self, cargo};

/// For each target, when nothing else is said.
const SECONDS: u32 = 180;

pub(crate) fn prove(results: &mut Results) -> Result<()> {
    run(results, SECONDS, &[])
}

/// Runs those targets, or all.
pub(crate) fn run(results: &mut Results, seconds: u32, names: &[String]) -> Result<()> {
    if !installed() {
        steps::run("cargo install cargo-fuzz", cargo().args(["install", "--locked", "cargo-fuzz"]))?;
    }
    let listed = steps::output("cargo fuzz list", fuzz().arg("list"))?;
    let listed: Vec<&str> = listed.lines().map(str::trim).filter(|name| !name.is_empty()).collect();
    if let Some(unknown) = names.iter().find(|name| !listed.contains(&name.as_str())) {
        bail!("there is no target `{unknown}`; there are {}", listed.join(", "));
    }
    for target in listed.into_iter().filter(|target| names.is_empty() || names.iter().any(|name| name == target)) {
        let before = artifacts(target);
        let mut command = fuzz();
        command.args(["run", target, "--"]);
        command.args([
            &format!("-max_total_time={seconds}"),
            "-print_final_stats=1",
            "-rss_limit_mb=2048",
            "-timeout=10",
        ]);
        let line = shown(&command);
        let output = command.stdin(Stdio::null()).output().context("starting cargo fuzz")?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let found: Vec<String> = artifacts(target).difference(&before).cloned().collect();
        let stat = |name: &str| {
            text.lines().rev().find_map(|line| {
                line.strip_prefix("stat::")?.strip_prefix(name)?.strip_prefix(':')?.trim().parse::<u64>().ok()
            })
        };
        let executions = stat("number_of_executed_units");
        if !output.status.success() {
            let tail: Vec<&str> = text.lines().rev().take(40).collect();
            for line in tail.into_iter().rev() {
                eprintln!("{line}");
            }
        }
        let figures = json!({
            "executions": executions,
            "a_second": stat("average_exec_per_sec"),
            "peak_rss_mb": stat("peak_rss_mb"),
            "coverage": coverage(&text),
            "crashes": found.len(),
            "found": found,
        });
        let holds = output.status.success() && found.is_empty() && executions.is_some_and(|count| count > 0);
        results.line(target, holds, &figures, &line)?;
    }
    Ok(())
}

fn installed() -> bool {
    let version = cargo().args(["fuzz", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// `cargo fuzz` with the stable compiler: the sanitizers are behind flags that it otherwise refuses.
fn fuzz() -> Command {
    let mut command = cargo();
    command.env("RUSTC_BOOTSTRAP", "1").arg("fuzz");
    command
}

/// Inputs that broke a target.
fn artifacts(target: &str) -> BTreeSet<String> {
    let folder = steps::root().join("fuzz/artifacts").join(target);
    let Ok(entries) = fs::read_dir(folder) else { return BTreeSet::new() };
    entries.flatten().map(|entry| Path::new(&entry.file_name()).display().to_string()).collect()
}

/// The last coverage the fuzzer told of: `#123 NEW cov: 456 ft: ...`.
fn coverage(text: &str) -> Option<u64> {
    text.lines().rev().find_map(|line| line.split_once(" cov: ")?.1.split(' ').next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_coverage_counts() {
        assert_eq!(coverage("#1 NEW    cov: 5 ft: 6\n#2 DONE   cov: 78 ft: 9 corp: 1\n"), Some(78));
        assert_eq!(coverage("nothing"), None);
    }
}
