//! Debian versions ordered as libapt orders them, on pairs that libapt has judged.

use anyhow::{Context, Result};
use serde_json::json;

use super::product::{shared, unzipped};
use super::results::{Results, shown};
use crate::steps::cargo;

/// The crate and the test that hold the comparison against the pairs.
const TEST: (&str, &str) = ("stanch-feeds", "versions");

pub(crate) fn prove(results: &mut Results) -> Result<()> {
    let folder = shared()?.join("fixtures");
    let pairs = unzipped(&folder.join("deb-version-pairs.tsv.gz"))?;
    let edges = std::fs::read(folder.join("deb-version-edge-cases.tsv")).context("reading the edge cases")?;
    let count = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes).lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()).count()
    };
    let (package, name) = TEST;
    let mut command = cargo();
    command.args(["test", "--locked", "--package", package, "--test", "it", name, "--", "--nocapture"]);
    let line = shown(&command);
    let output = command.output().context("starting cargo test")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let ran = ran(&text);
    let exceptions: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("exception: ")).collect();
    let figures = json!({
        "pairs": count(&pairs),
        "edge_cases": count(&edges),
        "tests": ran,
        "exceptions": exceptions.len(),
        "listed": exceptions,
    });
    if !output.status.success() {
        eprintln!("{text}{}", String::from_utf8_lossy(&output.stderr));
    }
    results.line("", output.status.success() && ran > 0, &figures, &line)
}

/// How many tests ran: a filter that matches none also ends with 0.
fn ran(text: &str) -> usize {
    text.lines()
        .filter_map(|line| line.strip_prefix("test result: "))
        .filter_map(|line| line.split_once(". ")?.1.split(' ').next()?.parse::<usize>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_matches_nothing_is_noticed() {
        assert_eq!(ran("test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured\n"), 2);
        assert_eq!(ran("running 0 tests\ntest result: ok. 0 passed; 0 failed\n"), 0);
    }
}
