//! Benchmarks: ratios against a peer measured in the same run, so that a slow machine slows both.

mod ansible;
mod decide;
mod fleet;
mod ingest;
mod measure;
mod plan;
mod scan;
mod store;

use std::process::Command;

use anyhow::{Result, bail};

use crate::packages;
use crate::prove::results::Results;
use crate::steps;

/// One benchmark: its name, its goal, and how.
struct Bench {
    name: &'static str,
    goal: &'static str,
    run: fn(&mut Results) -> Result<()>,
}

const BENCHES: &[Bench] = &[
    Bench { name: "scan", goal: "10 times faster than debsecan, index under 100 ms, under 60 MB", run: scan::bench },
    Bench { name: "store", goal: "10,000 durable transitions a second at 1,000 in flight", run: store::bench },
    Bench { name: "decide", goal: "a p99 under 1 ms at 200 rules", run: decide::bench },
    Bench { name: "ingest", goal: "2,000 findings a second taken up, grouped and decided", run: ingest::bench },
    Bench { name: "fleet", goal: "a hold reaches 1,000 agents within a second, 50 KB an agent", run: fleet::bench },
    Bench { name: "ansible", goal: "5 hosts upgraded 1.5 times faster than with ansible-core", run: ansible::bench },
    Bench { name: "plan", goal: "20 times less CPU than unattended-upgrade --dry-run", run: plan::bench },
];

/// A program of this workspace, built for release with all of it: of a part alone cargo builds everything once more.
fn released(what: &str, name: &str) -> Result<Command> {
    let mut build = steps::cargo();
    build.args(["build", "--release", "--quiet", "--locked", "--workspace", &format!("--{what}"), name]);
    steps::run(name, &mut build)?;
    let folder = if what == "example" { "target/release/examples" } else { "target/release" };
    Ok(Command::new(steps::root().join(folder).join(name)))
}

/// Runs those named, or all. A missed goal is told, and is no error: the ratio is the result.
pub(crate) fn run(names: &[String]) -> Result<()> {
    let unknown = names.iter().find(|name| BENCHES.iter().all(|bench| bench.name != name.as_str()));
    if let Some(unknown) = unknown {
        let known: Vec<&str> = BENCHES.iter().map(|bench| bench.name).collect();
        bail!("there is no benchmark `{unknown}`; there are {}", known.join(", "));
    }
    packages::ensure(packages::GATE)?;
    packages::ensure(packages::PROOFS)?;
    let mut results = Results::open("bench")?;
    for bench in BENCHES.iter().filter(|bench| names.is_empty() || names.iter().any(|name| name == bench.name)) {
        results.begin(bench.name, bench.goal);
        if let Err(error) = (bench.run)(&mut results) {
            results.broke(&error)?;
        }
    }
    results.finish()
}
