//! A scan of this machine beside debsecan's, on the same records.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::measure::{Cost, pair, ratio, round};
use crate::prove::product::{Product, scratch, shared, unzipped};
use crate::prove::results::{Results, shown as as_typed};
use crate::prove::{debsecan, scanned};
use crate::steps::{self, cargo};

const RUNS: u32 = 15;

pub(crate) fn bench(results: &mut Results) -> Result<()> {
    let product = Product::built()?;
    // This machine: stanch also reads origins, candidates, processes and sockets, which debsecan does not.
    let ours = compare(results, "this-machine", &product, &[], None)?;
    let memory = json!({"stanch_mb": round(ours.peak_mb), "goal_mb": 60});
    results.line("peak-memory", ours.peak_mb < 60.0, &memory, "stanch scan --json --quiet")?;
    // The same package list for both: nothing but reading, matching and printing.
    let status = scratch("bench-scan")?.join("server.status");
    fs::write(&status, unzipped(&shared()?.join("fixtures/server.dpkg-status.gz"))?)?;
    let list = status.to_string_lossy().into_owned();
    compare(results, "a-package-list", &product, &["--dpkg-status", &list, "--release", "debian:12"], Some(&status))?;
    parts(results)
}

fn compare(
    results: &mut Results,
    name: &str,
    product: &Product,
    arguments: &[&str],
    status: Option<&Path>,
) -> Result<Cost> {
    let line = [&["scan", "--json", "--quiet"], arguments].concat();
    let peer = debsecan::command(status)?;
    let again = || {
        let mut command = Command::new(peer.get_program());
        command.args(peer.get_args());
        command
    };
    let findings = scanned::scan(product, arguments)?.len();
    let (ours, theirs) = pair(RUNS, || product.command(&line), again)?;
    let verbose =
        product.command([&["scan", "--json", "-v"], arguments].concat()).output().context("starting stanch")?;
    let figures = json!({
        "wall_ratio": ratio(theirs.wall_ms, ours.wall_ms),
        "best_ratio": ratio(theirs.best_ms, ours.best_ms),
        "cpu_ratio": ratio(theirs.cpu_ms, ours.cpu_ms),
        "stanch_wall_ms": round(ours.wall_ms),
        "stanch_cpu_ms": round(ours.cpu_ms),
        "debsecan_wall_ms": round(theirs.wall_ms),
        "debsecan_cpu_ms": round(theirs.cpu_ms),
        "findings": findings,
        "stanch": shown(&ours),
        "debsecan": shown(&theirs),
        "stanch_parts_ms": timings(&String::from_utf8_lossy(&verbose.stderr)),
        "runs": RUNS,
    });
    let command = format!("{} | {}", as_typed(&product.command(&line)), as_typed(&peer));
    results.line(name, theirs.wall_ms >= 10.0 * ours.wall_ms, &figures, &command)?;
    Ok(ours)
}

/// What `-v` tells: `timing: facts 52.6 ms`.
fn timings(text: &str) -> BTreeMap<String, f64> {
    let line = |line: &str| {
        let mut words = line.strip_prefix("timing: ")?.split(' ');
        Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// The index alone, and matching alone, in a process of their own: the first round is what a scan pays.
fn parts(results: &mut Results) -> Result<()> {
    let status = shared()?.join("fixtures/server.dpkg-status.gz");
    let mut command = cargo();
    command.args([
        "run",
        "--release",
        "--quiet",
        "--locked",
        "--package",
        "stanch-feeds",
        "--example",
        "measure",
        "--",
    ]);
    command.arg(status);
    let line = as_typed(&command);
    let text = steps::output("measure", &mut command)?;
    let first = text.lines().find(|line| line.starts_with("round 0")).context("the example printed no round")?;
    let part = |name: &str| took(first, name).with_context(|| format!("no `{name}` in `{first}`"));
    let load = part("open ")? + part("load ")?;
    let figures = json!({
        "load_ms": round(load),
        "match_ms": round(part("judge ")?),
        "enrich_ms": round(part("enrich ")?),
        "packages": 276,
        "goal_ms": 100,
    });
    results.line("index-load", load < 100.0, &figures, &line)
}

/// The milliseconds that stand behind a word, as Rust writes a duration.
fn took(line: &str, word: &str) -> Option<f64> {
    let text = line.split(word).nth(1)?.split([',', ' ']).next()?;
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(split);
    let scale = match unit {
        "s" => 1000.0,
        "ms" => 1.0,
        "µs" => 0.001,
        "ns" => 0.000_001,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * scale)
}

fn shown(cost: &Cost) -> Value {
    json!({"wall_ms": round(cost.wall_ms), "best_ms": round(cost.best_ms), "cpu_ms": round(cost.cpu_ms), "peak_mb": round(cost.peak_mb)})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timings_are_read_as_the_program_tells_them() {
        let text = "timing: facts 52.6 ms\n\nvm: 36 things\ntiming: judge 4 ms\n";
        assert_eq!(timings(text), BTreeMap::from([("facts".to_owned(), 52.6), ("judge".to_owned(), 4.0)]));
    }

    #[test]
    fn durations_are_read_as_rust_writes_them() {
        let line = "round 0: open 1.5ms, load 250µs (3 sources), judge 2s (1 of 2 packages), enrich 0ns (0 in KEV)";
        let all: Vec<f64> =
            ["open ", "load ", "judge ", "enrich "].iter().filter_map(|word| took(line, word)).collect();
        assert_eq!(all, [1.5, 0.25, 2000.0, 0.0]);
        assert_eq!(took(line, "sleep "), None);
    }
}
