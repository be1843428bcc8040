//! What is said of planted defects and of tests must be so.

use std::path::{Path, PathBuf};

use stanch_sim::defects::ALL;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs" || end == "toml") {
            found.push(path);
        }
    }
}

fn texts(under: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for folder in under {
        sources(&root().join(folder), &mut found);
    }
    found.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn every_test_that_the_page_names_exists() {
    let page = std::fs::read_to_string(root().join("docs/simulation.md")).unwrap();
    let sources: String = texts(&["crates"]).into_iter().map(|(_, text)| text).collect();
    let named: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("| "))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .filter(|word| {
            word.contains('_') && word.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
        })
        .collect();
    assert!(named.len() > 10, "{named:?}");
    for name in named {
        assert!(
            sources.contains(&format!("fn {name}(")),
            "docs/simulation.md names the test `{name}`, which is not there"
        );
    }
}

#[test]
fn no_build_but_the_simulators_can_have_planted_defects() {
    // It is a setting of the compiler and no feature, so that no crate can switch it on for another; nothing but
    // `cargo xtask sim` names it to the compiler.
    let sets = |text: &str| text.contains("--cfg stanch_defects") || text.contains("rustc-cfg=stanch_defects");
    for (path, text) in texts(&["crates", "xtask", "fuzz"]) {
        let manifest = path.ends_with("Cargo.toml");
        assert!(!manifest || !text.contains("stanch_defects"), "{}", path.display());
        let build_script = path.ends_with("build.rs");
        assert!(!build_script || !sets(&text), "{}", path.display());
        let allowed = path.ends_with("xtask/src/sim.rs");
        let command = text.contains("\"RUSTFLAGS\"") && text.contains("stanch_defects");
        assert!(!command || allowed, "{}", path.display());
    }
    let program = std::fs::read_to_string(root().join("crates/cli/src/main.rs")).unwrap();
    assert!(
        program.contains("#[cfg(stanch_defects)]\ncompile_error!"),
        "the program must refuse to be compiled with it"
    );
}

#[test]
#[cfg(not(stanch_defects))]
fn the_gates_own_build_knows_only_defects_of_the_models() {
    assert!(ALL.iter().all(|planted| planted.part() != "engine"));
}

#[test]
fn names_of_defects_are_told_apart() {
    let mut names: Vec<&str> = ALL.iter().map(|planted| planted.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ALL.len());
}
