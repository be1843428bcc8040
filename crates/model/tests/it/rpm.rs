//! Versions of rpm compare as rpm itself compares them.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::process::Command;

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, TestRng, TestRunner};
use stanch_model::version::RpmVersion;

const PAIRS: usize = 20_000;

/// What rpm makes of these pairs; nothing where there is no rpm.
fn told(pairs: &[(String, String)]) -> Option<Vec<Ordering>> {
    let folder = tempfile::tempdir().unwrap();
    let mut script = String::new();
    for (one, other) in pairs {
        writeln!(script, "print(rpm.vercmp('{one}', '{other}'))").unwrap();
    }
    let file = folder.path().join("pairs.lua");
    std::fs::write(&file, script).unwrap();
    let output = Command::new("rpm").args(["--eval", &format!("%{{lua: dofile('{}')}}", file.display())]).output();
    let Ok(output) = output else {
        eprintln!("skipped: no rpm here");
        return None;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    // `print` of rpm writes no line ends of its own.
    let text = text.replace("-1", "-\n").replace('1', "+\n").replace('0', "=\n");
    let read = |line: &str| match line {
        "-" => Some(Ordering::Less),
        "+" => Some(Ordering::Greater),
        "=" => Some(Ordering::Equal),
        _ => None,
    };
    Some(text.lines().filter_map(|line| read(line.trim())).collect())
}

#[test]
fn twenty_thousand_pairs_agree_with_rpm_without_exception() {
    let rng = TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let version = "([0-2]:)?[0-2][0-2a-cA~^._+]{0,6}(-[0-2][0-2a~^._]{0,4})?";
    // Half of the pairs share a beginning, so that they differ late.
    let strategy = (version, version, "[0-2]\\.[0-2a]{1,3}", "[0-2a~^._]{0,3}", "[0-2a~^._]{0,3}", proptest::bool::ANY);
    let mut pairs = Vec::new();
    while pairs.len() < PAIRS {
        let (one, other, start, end, another, together) = strategy.new_tree(&mut runner).unwrap().current();
        let pair = if together { (format!("{start}{end}"), format!("{start}{another}")) } else { (one, other) };
        if pair.0.parse::<RpmVersion>().is_ok() && pair.1.parse::<RpmVersion>().is_ok() {
            pairs.push(pair);
        }
    }
    let Some(told) = told(&pairs) else { return };
    assert_eq!(told.len(), pairs.len());
    let wrong: Vec<_> = pairs
        .iter()
        .zip(told)
        .filter(|((one, other), told)| {
            one.parse::<RpmVersion>().unwrap().cmp(&other.parse::<RpmVersion>().unwrap()) != *told
        })
        .take(20)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}
