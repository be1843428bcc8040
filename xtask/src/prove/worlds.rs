//! Proofs that need a whole machine or a browser: programs of the test kit do them and print their claims.

use std::process::Command;

use anyhow::Result;

use super::product::Product;
use super::results::Results;
use crate::steps::{cargo, root as workspace, run};

/// Everything at once on a real server; see `crates/testkit/src/bin/prove_root.rs`.
pub(crate) fn root(results: &mut Results) -> Result<()> {
    let product = Product::built()?;
    let mut command = kit("prove_root")?;
    command.arg(product.binary());
    results.relay(&mut command)
}

/// Many roots in waves, decided by policies; see `crates/testkit/src/bin/prove_rollout.rs`.
pub(crate) fn rollout(results: &mut Results) -> Result<()> {
    results.relay(&mut kit("prove_rollout")?)
}

/// Many roots with agents that enrol and call over the network; see `crates/testkit/src/bin/prove_fleet.rs`.
pub(crate) fn fleet(results: &mut Results) -> Result<()> {
    results.relay(kit("prove_fleet")?.args(["50", "450"]))
}

/// What somebody hostile tries; see `crates/testkit/src/bin/prove_hostile.rs`.
pub(crate) fn hostile(results: &mut Results) -> Result<()> {
    results.relay(&mut kit("prove_hostile")?)
}

/// What goes wrong in the midst of an upgrade; see `crates/testkit/src/bin/prove_faults.rs`.
pub(crate) fn faults(results: &mut Results) -> Result<()> {
    results.relay(&mut kit("prove_faults")?)
}

/// The agent's package in a root under systemd; see `crates/testkit/src/bin/prove_package.rs`.
pub(crate) fn package(results: &mut Results) -> Result<()> {
    let out = workspace().join("target/prove/dist");
    std::fs::create_dir_all(&out)?;
    let key = out.join("release.key");
    let pair = minisign::KeyPair::generate_unencrypted_keypair()?;
    std::fs::write(&key, pair.sk.to_box(None)?.into_string())?;
    crate::dist::run(Some(out.clone()), true, Some(&crate::dist::Release::read(&key, &[])?))?;
    results.relay(kit("prove_package")?.arg(out).arg(key))
}

/// A server that is killed again and again; see `crates/testkit/src/bin/prove_kills.rs`.
pub(crate) fn kills(results: &mut Results) -> Result<()> {
    results.relay(&mut kit("prove_kills")?)
}

/// Two servers over one database under blows; see `crates/testkit/src/bin/prove_servers.rs`.
pub(crate) fn servers(results: &mut Results) -> Result<()> {
    let product = Product::built()?;
    results.relay(kit("prove_servers")?.arg(product.binary()))
}

/// The pages in a browser; see `crates/testkit/src/bin/pages.rs`.
pub(crate) fn pages(results: &mut Results) -> Result<()> {
    let product = Product::built()?;
    let mut command = kit("pages")?;
    command.arg(product.binary()).arg(results.folder().join("pages"));
    results.relay(&mut command)
}

/// A program of the test kit, built when it is not: with the whole workspace, as in the gate, because of a part alone
/// cargo builds everything once more.
pub(crate) fn kit(name: &str) -> Result<Command> {
    let mut build = cargo();
    build.args(["build", "--quiet", "--locked", "--workspace", "--bins"]);
    run("the test kit", &mut build)?;
    Ok(Command::new(workspace().join("target/debug").join(name)))
}
