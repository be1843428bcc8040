//! This machine beside debsecan: the same records, the same packages, every difference with its reason.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use serde_json::json;

use super::debsecan::{self, Comparison};
use super::product::{Product, shared};
use super::results::Results;
use super::{scanned, status};

const STATUS: &str = "/var/lib/dpkg/status";

pub(crate) fn prove(results: &mut Results) -> Result<()> {
    let product = Product::built()?;
    let folder = shared()?;
    let all = scanned::scan(&product, &["--feeds", &folder.to_string_lossy()])?;
    let advisory = scanned::of(&all, "advisory");
    let theirs = debsecan::findings(None)?;
    let text = fs::read_to_string(STATUS).with_context(|| format!("reading {STATUS}"))?;
    let packages = status::read(&text);
    let comparison = Comparison::new(&all, &advisory, &theirs, &packages);
    comparison.tell();
    let mut figures = comparison.figures();
    if let Some(figures) = figures.as_object_mut() {
        figures.insert("packages".into(), packages.len().into());
        figures.insert("stanch".into(), advisory.len().into());
        figures.insert("debsecan".into(), theirs.len().into());
    }
    results.line("beside-debsecan", comparison.explained(), &figures, "stanch scan --json --feeds ../shared/data")?;

    let mut by_detector: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in &all {
        *by_detector.entry(&finding.detector).or_default() += 1;
    }
    // debsecan can say nothing of these, so they stand here without a peer.
    results.line("by-detector", !all.is_empty(), &json!(by_detector), "stanch scan --json --feeds ../shared/data")
}
