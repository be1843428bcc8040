//! The rooms of the workspace: a dependency between crates that is not drawn here fails.
//!
//! Only a crate boundary can forbid a dependency, and only this table can forbid that the boundary moves unnoticed.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use stanch_testkit::workspace_root;

/// Who may use whom, without the prefix `stanch-`.
const DRAWN: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("policy", &["model"]),
    ("action", &["model"]),
    ("engine", &["model", "action"]),
    ("ledger", &["model"]),
    ("feeds", &["model"]),
    ("runner", &["model", "action"]),
    ("store", &["model", "ledger"]),
    ("connect", &["model", "action"]),
    ("agent", &["model", "action", "runner"]),
    ("server", &["model", "policy", "action", "engine", "ledger", "feeds", "store", "connect"]),
    (
        "cli",
        &["model", "policy", "action", "engine", "ledger", "feeds", "runner", "store", "connect", "agent", "server"],
    ),
    (
        "testkit",
        &["model", "policy", "action", "engine", "ledger", "feeds", "runner", "store", "connect", "agent", "server"],
    ),
    ("sim", &["model", "engine", "runner"]),
    ("xtask", &[]),
];

/// What every crate may use for its own tests, beside what is drawn.
const FOR_TESTS: &str = "testkit";

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `null` for a normal one, else `build` or `dev`.
    kind: Option<String>,
    path: Option<String>,
}

/// The folder of a crate, which is its name in the table. The binary's package carries the product's name.
fn room(package: &str) -> &str {
    if package == "stanch" {
        return "cli";
    }
    package.strip_prefix("stanch-").unwrap_or(package)
}

/// Every arrow that is not drawn, as a sentence.
fn undrawn(metadata: &Metadata) -> Vec<String> {
    let drawn: BTreeMap<&str, BTreeSet<&str>> =
        DRAWN.iter().map(|(from, to)| (*from, to.iter().copied().collect())).collect();
    let mut found = Vec::new();
    for package in &metadata.packages {
        let from = room(&package.name);
        let Some(allowed) = drawn.get(from) else {
            found.push(format!("the crate `{}` is not in the table", package.name));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|d| d.path.is_some()) {
            let to = room(&dependency.name);
            let for_tests = dependency.kind.as_deref() == Some("dev") && to == FOR_TESTS;
            if !allowed.contains(to) && !for_tests {
                let kind = dependency.kind.as_deref().unwrap_or("normal");
                found.push(format!("{from} -> {to} ({kind} dependency) is not drawn"));
            }
        }
    }
    found
}

#[test]
fn only_drawn_arrows() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(workspace_root())
        .output()?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let found = undrawn(&metadata);
    ensure!(
        found.is_empty(),
        "the rooms are broken:\n  {}\nA crate may use only what the table DRAWN in {} lists for it. Move the code to \
         the crate that may know both, or, if the design has changed, change the table and DESIGN.md section 5.",
        found.join("\n  "),
        file!()
    );
    Ok(())
}

fn workspace(package: &str, dependency: &str, kind: Option<&str>) -> Metadata {
    let dependency = Dependency { name: dependency.into(), kind: kind.map(Into::into), path: Some("/x".into()) };
    Metadata { packages: vec![Package { name: package.into(), dependencies: vec![dependency] }] }
}

#[test]
fn an_undrawn_arrow_is_found() {
    let bad = |package, dependency, kind| !undrawn(&workspace(package, dependency, kind)).is_empty();
    assert!(bad("stanch-engine", "stanch-store", None));
    assert!(bad("stanch-engine", "stanch-store", Some("build")));
    assert!(bad("stanch-engine", "stanch-store", Some("dev")));
    assert!(bad("stanch-agent", "stanch-testkit", None));
    assert!(bad("stanch-testkit", "stanch", None));
    assert!(!bad("stanch", "stanch-server", None));
    assert!(bad("stanch-unknown", "stanch-model", None));
    assert!(!bad("stanch-agent", "stanch-testkit", Some("dev")));
    assert!(!bad("stanch-engine", "stanch-action", None));
}

#[test]
fn the_table_has_no_cycle() {
    // In the order of the table everybody uses only those above, but for the two at the end.
    for (at, (from, to)) in DRAWN.iter().enumerate() {
        for one in *to {
            assert!(DRAWN[..at].iter().any(|(name, _)| name == one), "{from} -> {one} points downwards");
        }
    }
}
