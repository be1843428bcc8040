//! Many agents on one server over real TLS; see `crates/testkit/src/bin/bench_fleet.rs`.

use anyhow::Result;

use crate::prove::product::Product;
use crate::prove::results::Results;

/// Agents at once: how it grows is the result.
const SIZES: [&str; 2] = ["100", "1000"];

pub(crate) fn bench(results: &mut Results) -> Result<()> {
    let product = Product::built()?;
    for agents in SIZES {
        results.relay(super::released("bin", "bench_fleet")?.arg(product.binary()).arg(agents))?;
    }
    Ok(())
}
