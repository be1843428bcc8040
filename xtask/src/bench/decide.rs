//! Decisions a second with and without the index over policies; the policies' own example measures them.

use anyhow::Result;

use crate::prove::results::Results;

/// Rules of the bundles.
const RULES: [&str; 3] = ["10", "200", "1000"];

pub(crate) fn bench(results: &mut Results) -> Result<()> {
    for rules in RULES {
        results.relay(super::released("example", "decisions")?.arg(rules))?;
    }
    Ok(())
}
