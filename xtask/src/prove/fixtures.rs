//! Three real package lists against the advisories of their release: exactly what a matcher built on libapt finds, and
//! debsecan beside it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;

use super::debsecan::{self, Comparison};
use super::product::{Product, scratch, shared, unzipped};
use super::results::Results;
use super::{scanned, status};

/// The list, its findings, and how many of them debsecan can see.
const FIXTURES: &[(&str, usize, usize)] = &[("base", 18, 18), ("server", 696, 696), ("base-plus-kernel", 2596, 18)];

#[derive(Deserialize)]
struct Expected {
    findings: Vec<ExpectedFinding>,
}

#[derive(Deserialize)]
struct ExpectedFinding {
    package: String,
    id: String,
    fixed: String,
}

type Triple = (String, String, Option<String>);

pub(crate) fn prove(results: &mut Results) -> Result<()> {
    let product = Product::built()?;
    let folder = shared()?;
    let scratch = scratch("fixtures")?;
    for (name, count, visible) in FIXTURES {
        let packed = folder.join(format!("fixtures/{name}.dpkg-status.gz"));
        let expected = expected(&folder.join(format!("fixtures/{name}.expected.json.gz")))?;
        let (packed, feeds) = (packed.to_string_lossy().into_owned(), folder.to_string_lossy().into_owned());
        let arguments = ["--dpkg-status", &packed, "--release", "debian:12", "--feeds", &feeds];
        let all = scanned::scan(&product, &arguments)?;
        let advisory = scanned::of(&all, "advisory");
        let found: BTreeSet<Triple> =
            advisory.iter().map(|one| (one.binary.clone(), one.id.clone(), one.fixed_version.clone())).collect();
        let missing: Vec<&Triple> = expected.difference(&found).collect();
        let extra: Vec<&Triple> = found.difference(&expected).collect();
        let figures = json!({
            "findings": advisory.len(),
            "expected": count,
            "missing": missing.len(),
            "extra": extra.len(),
            "other_detectors": all.len() - advisory.len(),
            "first_missing": missing.iter().take(5).collect::<Vec<_>>(),
            "first_extra": extra.iter().take(5).collect::<Vec<_>>(),
        });
        let holds = advisory.len() == *count
            && found.len() == *count
            && expected.len() == *count
            && missing.is_empty()
            && extra.is_empty();
        let command = format!(
            "stanch scan --dpkg-status {name}.dpkg-status.gz --release debian:12 --feeds ../shared/data --json"
        );
        results.line(name, holds, &figures, &command)?;

        let plain = scratch.join(format!("{name}.status"));
        let text = unzipped(Path::new(&packed))?;
        fs::write(&plain, &text).with_context(|| format!("writing {}", plain.display()))?;
        let theirs = debsecan::findings(Some(&plain))?;
        let comparison = Comparison::new(&all, &advisory, &theirs, &status::read(&String::from_utf8_lossy(&text)));
        comparison.tell();
        let mut figures = comparison.figures();
        if let Some(figures) = figures.as_object_mut() {
            figures.insert("stanch".into(), advisory.len().into());
            figures.insert("debsecan".into(), theirs.len().into());
        }
        let holds = comparison.explained() && theirs.len() == *visible;
        results.line(
            &format!("{name}-beside-debsecan"),
            holds,
            &figures,
            "debsecan --suite bookworm --source file://../shared/data/debsecan --status F --format simple",
        )?;
    }
    Ok(())
}

fn expected(path: &Path) -> Result<BTreeSet<Triple>> {
    let expected: Expected =
        serde_json::from_slice(&unzipped(path)?).with_context(|| format!("reading {}", path.display()))?;
    Ok(expected.findings.into_iter().map(|one| (one.package, one.id, Some(one.fixed))).collect())
}
