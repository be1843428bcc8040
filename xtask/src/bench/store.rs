//! Durable transitions a second; see the store's own example.

use anyhow::Result;

use crate::prove::results::Results;
use crate::steps::cargo;

pub(crate) fn bench(results: &mut Results) -> Result<()> {
    let mut command = cargo();
    command.args(["run", "--release", "--quiet", "--locked", "--package", "stanch-store", "--example", "transitions"]);
    results.relay(&mut command)
}
