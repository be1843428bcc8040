//! Planning everything beside `unattended-upgrade --dry-run`, on one real server; see
//! `crates/testkit/src/bin/bench_plan.rs`.

use anyhow::Result;

use crate::prove::product::Product;
use crate::prove::results::Results;
use crate::prove::worlds::kit;

pub(crate) fn bench(results: &mut Results) -> Result<()> {
    let product = Product::built()?;
    let mut command = kit("bench_plan")?;
    command.arg(product.binary());
    results.relay(&mut command)
}
