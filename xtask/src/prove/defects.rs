//! Defects planted by hand, one at a time: each must be caught by a test, or the tests are not worth what they promise.
//!
//! They lie in `defects.txt` as pieces of source and what they are turned into, and are planted in a clone, so that the
//! working tree is never wrong. What the clone is asked is the same as in the gate: the tests of the crate.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::product::scratch;
use super::results::Results;
use crate::steps;

const LIST: &str = include_str!("defects.txt");

/// One defect.
#[derive(Debug, PartialEq, Eq)]
struct Defect<'a> {
    /// The piece and what is wrong with it.
    name: &'a str,
    /// The file, from the workspace's root.
    file: &'a str,
    /// The piece of source.
    right: String,
    /// What it is turned into.
    wrong: String,
}

pub(crate) fn prove(results: &mut Results) -> Result<()> {
    let folder = scratch("defects")?;
    let source = folder.join("main");
    let mut clone = Command::new("git");
    clone.args(["clone", "--quiet", "--shared"]).arg(steps::root()).arg(&source);
    steps::run("git clone", &mut clone)?;
    if !ask(&source, "engine")?.0 {
        bail!("the tests fail without any defect");
    }
    for defect in read(LIST)? {
        let path = source.join(defect.file);
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let fits = text.matches(&defect.right).count() == 1;
        let mut by = Vec::new();
        if fits {
            std::fs::write(&path, text.replacen(&defect.right, &defect.wrong, 1))?;
            by = ask(&source, room(defect.file))?.1;
            std::fs::write(&path, text)?;
        }
        let figures = json!({"fits": fits, "tests": by.len(), "first": by.first(), "caught_by": by});
        results.line(defect.name, !by.is_empty(), &figures, "cargo xtask prove defects")?;
    }
    Ok(())
}

/// The crate a file belongs to, without the prefix.
fn room(file: &str) -> &str {
    file.strip_prefix("crates/").and_then(|rest| rest.split('/').next()).unwrap_or("engine")
}

/// Runs the crate's tests: whether all passed, and those that failed. A defect that does not compile fails none.
fn ask(source: &Path, room: &str) -> Result<(bool, Vec<String>)> {
    let mut command = steps::cargo();
    command.current_dir(source).env("INSTA_UPDATE", "no").env_remove("CARGO_TARGET_DIR");
    command.args(["test", "--locked", "--no-fail-fast", "--package", &format!("stanch-{room}")]);
    let output = command.output().context("starting cargo test")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok((output.status.success(), failed(&text)))
}

fn failed(text: &str) -> Vec<String> {
    let name = |line: &str| Some(line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?.to_owned());
    text.lines().filter_map(name).collect()
}

/// Blocks of `== NAME`, `-- FILE`, the right lines, `++`, the wrong lines.
fn read(list: &str) -> Result<Vec<Defect<'_>>> {
    let mut defects: Vec<Defect<'_>> = Vec::new();
    let mut wrong = false;
    for line in list.lines().filter(|line| !line.starts_with("## ")) {
        if let Some(name) = line.strip_prefix("== ") {
            defects.push(Defect { name, file: "", right: String::new(), wrong: String::new() });
            wrong = false;
            continue;
        }
        let Some(defect) = defects.last_mut() else { continue };
        if let Some(file) = line.strip_prefix("-- ") {
            defect.file = file;
        } else if line == "++" {
            wrong = true;
        } else {
            let text = if wrong { &mut defect.wrong } else { &mut defect.right };
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(line);
        }
    }
    if let Some(bad) = defects.iter().find(|defect| defect.file.is_empty() || defect.right.is_empty()) {
        bail!("the defect `{}` names no file or no source", bad.name);
    }
    Ok(defects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_and_every_defect_changes_something() {
        let defects = read(LIST).unwrap();
        assert!(defects.len() > 40, "{}", defects.len());
        for defect in &defects {
            assert!(steps::root().join(defect.file).is_file(), "{}", defect.file);
            assert_ne!(defect.right, defect.wrong, "{}", defect.name);
        }
        let two = read("## remark\n== a\n-- f.rs\n  x\n  y\n++\n  z\n== b\n-- g.rs\nq\n++\n").unwrap();
        assert_eq!((two[0].right.as_str(), two[0].wrong.as_str()), ("  x\n  y", "  z"));
        assert_eq!((two[1].right.as_str(), two[1].wrong.as_str()), ("q", ""));
        assert!(read("== a\nx\n++\ny\n").is_err());
    }

    #[test]
    fn only_tests_that_failed_have_caught_something() {
        let text = "test a::b ... ok\ntest a::c ... FAILED\nerror: could not compile\n";
        assert_eq!(failed(text), ["a::c"]);
        assert_eq!(room("crates/engine/src/plan.rs"), "engine");
    }
}
