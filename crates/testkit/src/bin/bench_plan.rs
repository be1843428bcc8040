//! What it costs to plan everything: `stanch plan --all` beside `unattended-upgrade --dry-run`, by turns on one real
//! server with the live security pocket.
//!
//! `bench_plan BINARY` prints a claim a line.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::json;
use stanch_testkit::claims::Claims;
use stanch_testkit::live::{Live, STANCH};

const RUNS: u32 = 3;
/// How many times less CPU it shall take.
const GOAL: f64 = 20.0;

fn main() -> Result<()> {
    let binary = std::env::args_os().nth(1).map(PathBuf::from).context("which binary? bench_plan TARGET/stanch")?;
    let live = Live::boot(&binary)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (mut planned, mut peers) = (0, 0);
    for run in 0..RUNS {
        // A folder of its own: the price includes keys, store, facts and detectors of a first run.
        let folder = format!("/var/lib/stanch-bench-{run}");
        let (output, wall, cpu) = live.timed(&[STANCH, "--data-dir", &folder, "plan", "--all"])?;
        if !output.ok() {
            bail!("stanch plan --all: {}", output.all());
        }
        planned =
            output.text().lines().filter(|line| line.contains(" -> ") || line.trim_start().starts_with('~')).count();
        ours.push((wall.as_secs_f64(), cpu));
        let (output, wall, cpu) = live.timed(&["unattended-upgrade", "--dry-run"])?;
        if !output.ok() {
            bail!("unattended-upgrade --dry-run: {}", output.all());
        }
        theirs.push((wall.as_secs_f64(), cpu));
        let log = live.world.text("/var/log/unattended-upgrades/unattended-upgrades.log").unwrap_or_default();
        let line = log.lines().rev().find_map(|line| line.split_once("Packages that will be upgraded:"));
        peers = line.map_or(0, |(_, names)| names.split_whitespace().count());
    }
    let ((our_wall, our_cpu), (their_wall, their_cpu)) = (middle(&mut ours), middle(&mut theirs));
    let ratio = |more: f64, less: f64| (more / less.max(0.001) * 10.0).round() / 10.0;
    let mut claims = Claims::new();
    claims.claim(
        "against unattended-upgrade --dry-run",
        their_cpu >= GOAL * our_cpu,
        json!({
            "cpu_ratio": ratio(their_cpu, our_cpu),
            "wall_ratio": ratio(their_wall, our_wall),
            "stanch_cpu_seconds": our_cpu,
            "stanch_wall_seconds": our_wall,
            "unattended_upgrade_cpu_seconds": their_cpu,
            "unattended_upgrade_wall_seconds": their_wall,
            "stanch_lines": planned,
            "unattended_upgrade_packages": peers,
            "runs": RUNS,
        }),
        || format!("the goal is {GOAL} times less CPU"),
    );
    claims.end()
}

/// The run in the middle, by CPU.
fn middle(runs: &mut [(f64, f64)]) -> (f64, f64) {
    runs.sort_by(|one, other| one.1.total_cmp(&other.1));
    let (wall, cpu) = runs.get(runs.len() / 2).copied().unwrap_or_default();
    ((wall * 100.0).round() / 100.0, (cpu * 100.0).round() / 100.0)
}
