//! A scan of this machine beside debsecan's, on the same records.

use anyhow::Result;
use serde_json::{Value, json};

use super::measure::{Cost, pair, ratio, round};
use crate::prove::product::Product;
use crate::prove::results::Results;
use crate::prove::{debsecan, scanned};

const RUNS: u32 = 15;

pub(crate) fn bench(results: &mut Results) -> Result<()> {
    let product = Product::built()?;
    let findings = scanned::scan(&product, &[])?.len();
    let peer = debsecan::command(None)?;
    let again = || {
        let mut command = std::process::Command::new(peer.get_program());
        command.args(peer.get_args());
        command
    };
    let (ours, theirs) = pair(RUNS, || product.command(["scan", "--json", "--quiet"]), again)?;
    let figures = json!({
        "wall_ratio": ratio(theirs.wall_ms, ours.wall_ms),
        "cpu_ratio": ratio(theirs.cpu_ms, ours.cpu_ms),
        "stanch": shown(&ours),
        "stanch_wall_ms": round(ours.wall_ms),
        "stanch_cpu_ms": round(ours.cpu_ms),
        "debsecan_wall_ms": round(theirs.wall_ms),
        "debsecan_cpu_ms": round(theirs.cpu_ms),
        "debsecan": shown(&theirs),
        "findings": findings,
        "runs": RUNS,
    });
    let command = "stanch scan --json --quiet | debsecan --suite bookworm --source file://../shared/data/debsecan --format simple";
    results.line("against-debsecan", theirs.wall_ms >= 10.0 * ours.wall_ms, &figures, command)?;
    let memory = json!({"stanch_mb": round(ours.peak_mb), "debsecan_mb": round(theirs.peak_mb), "goal_mb": 60});
    results.line("peak-memory", ours.peak_mb < 60.0, &memory, command)
}

fn shown(cost: &Cost) -> Value {
    json!({"wall_ms": round(cost.wall_ms), "best_ms": round(cost.best_ms), "cpu_ms": round(cost.cpu_ms), "peak_mb": round(cost.peak_mb)})
}
