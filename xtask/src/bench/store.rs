//! Durable transitions a second; the store's own example measures them, and a plain program on the same disk.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;

use crate::prove::results::{Results, shown};
use crate::steps;

/// With this many in flight the goal holds.
const CROWD: u64 = 1000;
/// Transitions a second.
const GOAL: u64 = 10_000;

/// What the example prints.
#[derive(Deserialize)]
struct Measured {
    peer: Rate,
    store: Vec<Rate>,
}

#[derive(Deserialize)]
struct Rate {
    in_flight: u64,
    per_second: u64,
    p50_us: u64,
    p99_us: u64,
}

pub(crate) fn bench(results: &mut Results) -> Result<()> {
    let mut command = super::released("example", "transitions")?;
    // The disk that is measured is the one the folder lies on, so it must not be one in memory.
    command.arg(results.folder());
    let line = shown(&command);
    let text = steps::output("transitions", &mut command)?;
    let measured: Measured = serde_json::from_str(text.trim()).context("reading what the example printed")?;
    for rate in &measured.store {
        let figures = json!({
            "in_flight": rate.in_flight,
            "per_second": rate.per_second,
            "p50_ms": rate.p50_us as f64 / 1000.0,
            "p99_ms": rate.p99_us as f64 / 1000.0,
            "one_commit_each_per_second": measured.peer.per_second,
            "one_commit_each_p99_ms": measured.peer.p99_us as f64 / 1000.0,
            "ratio": super::measure::ratio(rate.per_second as f64, measured.peer.per_second as f64),
        });
        let holds = rate.in_flight < CROWD || rate.per_second >= GOAL;
        results.line(&format!("{}-in-flight", rate.in_flight), holds, &figures, &line)?;
    }
    Ok(())
}
