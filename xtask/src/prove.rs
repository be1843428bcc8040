//! The long proofs.

pub(crate) fn run(_names: &[String], _list: bool) -> anyhow::Result<()> {
    Ok(())
}

pub(crate) fn fuzz(_seconds: u32, _names: &[String]) -> anyhow::Result<()> {
    Ok(())
}
