//! From signed facts to decisions, on one real server; see `crates/testkit/src/bin/bench_ingest.rs`.

use anyhow::Result;

use crate::prove::results::Results;

/// Assets and findings on each, with 200 rules: how it grows is the result.
const SIZES: [(&str, &str); 3] = [("100", "10"), ("1000", "10"), ("10000", "10")];

pub(crate) fn bench(results: &mut Results) -> Result<()> {
    for (assets, each) in SIZES {
        results.relay(super::released("bin", "bench_ingest")?.args([assets, each, "200"]))?;
    }
    Ok(())
}
