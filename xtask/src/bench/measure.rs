//! What a program costs: wall time of single runs, CPU of many, the most memory of any.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::steps;

/// The price of one run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cost {
    /// Median wall time in milliseconds.
    pub(crate) wall_ms: f64,
    /// Shortest wall time in milliseconds: what it takes when nobody else wants the machine.
    pub(crate) best_ms: f64,
    /// User and system time in milliseconds, children included.
    pub(crate) cpu_ms: f64,
    /// Most memory held at once by one process, in MB.
    pub(crate) peak_mb: f64,
}

/// Two programs by turns, so that a busy moment of the machine hits both; the first run of each is not counted.
pub(crate) fn pair(runs: u32, one: impl Fn() -> Command, other: impl Fn() -> Command) -> Result<(Cost, Cost)> {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for run in 0..=runs {
        let (a, b) = (once(one())?, once(other())?);
        if run > 0 {
            first.push(a);
            second.push(b);
        }
    }
    Ok((cost(first, &one(), runs)?, cost(second, &other(), runs)?))
}

fn once(mut command: Command) -> Result<f64> {
    let began = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let status = status.with_context(|| format!("starting {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{:?} ended with {status}", command.get_program());
    }
    Ok(began.elapsed().as_secs_f64() * 1000.0)
}

fn cost(mut walls: Vec<f64>, command: &Command, runs: u32) -> Result<Cost> {
    walls.sort_by(f64::total_cmp);
    let wall_ms = walls.get(walls.len() / 2).copied().unwrap_or_default();
    let best_ms = walls.first().copied().unwrap_or_default();
    // The clock of CPU time ticks every 10 ms, so many runs are counted together.
    let note = steps::root().join("target/bench/time");
    let mut time = Command::new("/usr/bin/time");
    time.args(["--format", "%U %S %M", "--output"]).arg(&note);
    time.args([
        "sh",
        "-c",
        "n=$1; shift; while [ \"$n\" -gt 0 ]; do \"$@\" >/dev/null 2>&1 || exit 1; n=$((n-1)); done",
        "sh",
    ]);
    time.arg(runs.to_string()).arg(command.get_program()).args(command.get_args());
    let status = time.stdin(Stdio::null()).status().context("starting /usr/bin/time")?;
    if !status.success() {
        bail!("measuring {:?} ended with {status}", command.get_program());
    }
    let text = fs::read_to_string(&note).context("reading what /usr/bin/time noted")?;
    let (cpu_seconds, peak_kb) = noted(&text).with_context(|| format!("/usr/bin/time noted {text:?}"))?;
    Ok(Cost { wall_ms, best_ms, cpu_ms: cpu_seconds * 1000.0 / f64::from(runs.max(1)), peak_mb: peak_kb / 1024.0 })
}

fn noted(text: &str) -> Option<(f64, f64)> {
    let mut words = text.split_whitespace().map(|word| word.parse::<f64>().ok());
    let (user, system, kb) = (words.next()??, words.next()??, words.next()??);
    Some((user + system, kb))
}

/// How many times more, to one decimal.
pub(crate) fn ratio(more: f64, less: f64) -> f64 {
    if less <= 0.0 { 0.0 } else { round(more / less) }
}

/// To one decimal: more is noise.
pub(crate) fn round(figure: f64) -> f64 {
    (figure * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_count_together() {
        assert_eq!(noted("0.25 0.5 2048\n"), Some((0.75, 2048.0)));
        assert_eq!(noted("Command exited with non-zero status 1\n"), None);
    }

    #[test]
    fn a_ratio_with_nothing_is_no_ratio() {
        assert_eq!(ratio(10.0, 4.0), 2.5);
        assert_eq!(ratio(10.0, 0.0), 0.0);
    }
}
