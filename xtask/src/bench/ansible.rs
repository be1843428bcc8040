//! Five hosts, one package, from the approved plan to the proof, beside ansible-core on hosts of the same make.

use anyhow::Result;

use crate::packages;
use crate::prove::results::Results;

/// See `crates/testkit/src/bin/bench_ansible.rs`.
pub(super) fn bench(results: &mut Results) -> Result<()> {
    packages::ensure(packages::PEER)?;
    results.relay(&mut super::released("bin", "bench_ansible")?)
}
