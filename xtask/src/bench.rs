//! Benchmarks: ratios against a peer measured in the same run, so that a slow machine slows both.

pub(crate) fn run(_names: &[String]) -> anyhow::Result<()> {
    Ok(())
}
