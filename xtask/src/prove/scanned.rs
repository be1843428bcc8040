//! What `stanch scan --json` prints, read back as an outsider would.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::product::Product;

/// One line of the scan.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Finding {
    pub(crate) detector: String,
    pub(crate) id: String,
    pub(crate) package: String,
    pub(crate) binary: String,
    #[expect(dead_code, reason = "a line without it is refused")]
    pub(crate) version: String,
    pub(crate) fixed_version: Option<String>,
    pub(crate) verdict: String,
    pub(crate) asset: String,
}

/// Every finding of a scan.
pub(crate) fn scan(product: &Product, arguments: &[&str]) -> Result<Vec<Finding>> {
    let mut line = vec!["scan", "--json", "--quiet"];
    line.extend(arguments);
    read(&product.must(line)?)
}

fn read(text: &str) -> Result<Vec<Finding>> {
    let findings: Result<Vec<Finding>> = text
        .lines()
        .enumerate()
        .map(|(at, line)| serde_json::from_str(line).with_context(|| format!("line {} of the scan: {line}", at + 1)))
        .collect();
    let findings = findings?;
    if let Some(bad) = findings.iter().find(|one| one.asset.is_empty() || one.verdict.is_empty()) {
        bail!("a finding without asset or verdict: {bad:?}");
    }
    Ok(findings)
}

/// Those of one detector.
pub(crate) fn of<'a>(findings: &'a [Finding], detector: &str) -> Vec<&'a Finding> {
    findings.iter().filter(|one| one.detector == detector).collect()
}

/// An advisory's id as others write it: Debian's own prefix is a matter of the OSV export.
pub(crate) fn bare(id: &str) -> &str {
    id.strip_prefix("DEBIAN-").unwrap_or(id)
}

/// Pairs of id and binary package.
pub(crate) fn pairs(findings: &[&Finding]) -> BTreeSet<(String, String)> {
    findings.iter().map(|one| (bare(&one.id).to_owned(), one.binary.clone())).collect()
}
