//! Builds and calls the simulator. Its build alone knows planted defects, so it has a folder of its own: no other
//! build can pick up an engine that has them.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::steps::{self, cargo, root};

/// The text that stands in a program in which defects can be planted, as in `engine/src/defect.rs`.
const MARKER: &[u8] = b"stanch-defects-can-be-planted";

#[derive(Args)]
pub(crate) struct Sim {
    /// How many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Steps of each; then all trouble ends and everything must come to an end.
    #[arg(long, default_value_t = 10_000)]
    steps: u32,
    /// Threads; one for each core unless said otherwise.
    #[arg(long)]
    jobs: Option<u32>,
    /// Tell what happens with this seed, line by line; shrunk where an invariant breaks.
    #[arg(long, value_name = "SEED")]
    play: Option<u64>,
    /// Plant a defect, by its name.
    #[arg(long, value_name = "NAME")]
    defect: Option<String>,
    /// Plant every defect, say which seed catches it, and write the table into docs/simulation.md.
    #[arg(long)]
    defects: bool,
    /// Bring so many assets to completion instead.
    #[arg(long, value_name = "N")]
    assets: Option<u64>,
    /// So many of them to a remediation.
    #[arg(long, value_name = "N", default_value_t = 100, requires = "assets")]
    each: u64,
}

/// The simulator, to be built with planted defects and called.
fn simulator() -> Command {
    let mut command = cargo();
    command.env("RUSTFLAGS", "--cfg stanch_defects").env_remove("CARGO_ENCODED_RUSTFLAGS");
    command.args(["run", "--quiet", "--locked", "--profile", "sim", "--package", "stanch-sim"]);
    command.arg("--target-dir").arg(root().join("target/sim")).arg("--");
    command
}

/// Plants every defect; with a page, writes the table there.
pub(crate) fn defects(page: Option<&str>) -> Command {
    let mut command = simulator();
    command.arg("defects");
    if let Some(page) = page {
        command.arg("--write").arg(root().join(page));
    }
    command
}

pub(crate) fn run(asked: &Sim) -> Result<()> {
    let mut command = simulator();
    let steps = asked.steps.to_string();
    if asked.defects {
        command = defects(Some("docs/simulation.md"));
    } else if let Some(seed) = asked.play {
        command.args(["play", "--seed", &seed.to_string(), "--steps", &steps]);
    } else if let Some(assets) = asked.assets {
        command.args(["large", "--assets", &assets.to_string(), "--each", &asked.each.to_string()]);
        command.args(["--from", &asked.from.to_string()]);
    } else {
        command.args(["run", "--seeds", &asked.seeds.to_string(), "--from", &asked.from.to_string()]);
        command.args(["--steps", &steps]);
        if let Some(jobs) = asked.jobs {
            command.args(["--jobs", &jobs.to_string()]);
        }
    }
    if let Some(name) = &asked.defect {
        command.args(["--defect", name]);
    }
    steps::run("simulator", &mut command)?;
    marked()
}

/// The mark that proves a program free of planted defects when it is absent must be there when they are.
fn marked() -> Result<()> {
    let path = root().join("target/sim/sim/stanch-sim");
    let program = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    ensure!(
        program.windows(MARKER.len()).any(|part| part == MARKER),
        "{} has no mark of planted defects: the test that looks for it in `stanch` would prove nothing",
        path.display()
    );
    Ok(())
}
