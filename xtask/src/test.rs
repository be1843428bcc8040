//! The gate. One build profile, no network beyond the package archive, no tool that has to be compiled first.

use std::process::Command;
use std::time::Instant;

use crate::packages;
use crate::steps::{self, cargo};

/// Steps in the order they fail soonest.
fn steps_of_the_gate() -> Vec<(&'static str, Command)> {
    let step = |arguments: &[&str]| {
        let mut command = cargo();
        command.args(arguments);
        command
    };
    // All that fail are told, each in the words of its own and not of its stack.
    let mut tests = step(&["test", "--workspace", "--locked", "--no-fail-fast"]);
    tests.env("RUST_BACKTRACE", "0");
    vec![
        ("formatting", step(&["fmt", "--all", "--check"])),
        ("lints", step(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])),
        ("build", step(&["test", "--workspace", "--locked", "--no-run"])),
        ("tests", tests),
        ("planted defects are caught", crate::sim::defects(None)),
    ]
}

pub(crate) fn run(list: bool) -> anyhow::Result<()> {
    if list {
        for (name, _) in steps_of_the_gate() {
            println!("{name}");
        }
        return Ok(());
    }
    let began = Instant::now();
    packages::ensure(packages::GATE)?;
    for (name, mut command) in steps_of_the_gate() {
        steps::run(name, &mut command)?;
    }
    if steps::has("cargo-deny") {
        steps::run("licences and sources", cargo().args(["deny", "check", "licenses", "bans", "sources"]))?;
    } else {
        eprintln!("    licences and sources: cargo-deny is not installed, skipped (cargo install cargo-deny --locked)");
    }
    eprintln!("The gate passed in {:.0} s.", began.elapsed().as_secs_f64());
    Ok(())
}
