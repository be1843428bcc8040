//! Proofs that need a whole machine or a browser: programs of the test kit do them and print their claims.

use anyhow::Result;

use super::product::Product;
use super::results::Results;
use crate::steps::cargo;

/// Everything at once on a real server; see `crates/testkit/src/bin/prove_root.rs`.
pub(crate) fn root(results: &mut Results) -> Result<()> {
    let product = Product::built()?;
    let mut command = kit("prove_root");
    command.arg(product.binary());
    results.relay(&mut command)
}

/// The pages in a browser; see `crates/testkit/src/bin/pages.rs`.
pub(crate) fn pages(results: &mut Results) -> Result<()> {
    let product = Product::built()?;
    let mut command = kit("pages");
    command.arg(product.binary()).arg(results.folder().join("pages"));
    results.relay(&mut command)
}

/// A program of the test kit, built when it is not.
pub(crate) fn kit(name: &str) -> std::process::Command {
    let mut command = cargo();
    command.args(["run", "--quiet", "--locked", "--package", "stanch-testkit", "--bin", name, "--"]);
    command
}
