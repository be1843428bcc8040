//! Versions compare as libapt compares them.

use std::cmp::Ordering;

use stanch_model::version::DebVersion;

use crate::world::{fixture, gunzip, shared};

fn check(table: &str) -> usize {
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in table.lines().filter(|line| !line.is_empty()) {
        let [a, b, verdict] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let expected = match verdict {
            "-1" => Ordering::Less,
            "0" => Ordering::Equal,
            "1" => Ordering::Greater,
            other => panic!("{other}"),
        };
        let (one, other): (DebVersion, DebVersion) = (a.parse().unwrap(), b.parse().unwrap());
        if one.cmp(&other) != expected || other.cmp(&one) != expected.reverse() {
            wrong.push(line);
        }
        count += 1;
    }
    assert_eq!(wrong, Vec::<&str>::new());
    count
}

#[test]
fn the_edge_cases_agree_with_libapt() {
    assert_eq!(check(&String::from_utf8(fixture("deb-version-edge-cases.tsv")).unwrap()), 13);
}

#[test]
fn forty_thousand_pairs_agree_with_libapt_without_exception() {
    let Some(shared) = shared() else { return };
    let table = gunzip(&std::fs::read(shared.join("fixtures/deb-version-pairs.tsv.gz")).unwrap());
    assert_eq!(check(&String::from_utf8(table).unwrap()), 40_000);
}
