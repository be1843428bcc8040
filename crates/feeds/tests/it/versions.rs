//! Versions compare as the programs that own them compare them: libapt, `packaging` of Python, `semver` of npm, Maven.

use std::cmp::Ordering;

use stanch_feeds::order::Order;

use crate::world::{fixture, gunzip, shared};

/// Compares each pair of a table in an order. `x` stands for a pair of which one text is no version.
fn check(order: Order, table: &str) -> usize {
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in table.lines().filter(|line| !line.is_empty()) {
        let [a, b, verdict] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let expected = match verdict {
            "-1" => Some(Ordering::Less),
            "0" => Some(Ordering::Equal),
            "1" => Some(Ordering::Greater),
            "x" => None,
            other => panic!("{other}"),
        };
        if order.compare(a, b) != expected || order.compare(b, a) != expected.map(Ordering::reverse) {
            wrong.push(line);
        }
        count += 1;
    }
    assert_eq!(wrong, Vec::<&str>::new());
    count
}

fn text(name: &str) -> String {
    String::from_utf8(fixture(name)).unwrap()
}

#[test]
fn the_edge_cases_agree_with_libapt() {
    assert_eq!(check(Order::Debian, &text("deb-version-edge-cases.tsv")), 13);
}

#[test]
fn forty_thousand_pairs_agree_with_libapt_without_exception() {
    let Some(shared) = shared() else { return };
    let table = gunzip(&std::fs::read(shared.join("fixtures/deb-version-pairs.tsv.gz")).unwrap());
    assert_eq!(check(Order::Debian, &String::from_utf8(table).unwrap()), 40_000);
}

/// Drawn from 100,000 pairs made of the versions in PyPI, of which none differed from `packaging` 26.4.
#[test]
fn python_versions_agree_with_packaging() {
    assert_eq!(check(Order::Python, &text("python-version-pairs.tsv")), 400);
}

/// Drawn from 100,000 pairs made of the versions in npm, of which none differed from `semver` 7.8.5.
#[test]
fn semantic_versions_agree_with_npm() {
    assert_eq!(check(Order::Semantic, &text("npm-version-pairs.tsv")), 400);
}

/// Drawn from 100,000 pairs made of the versions of Maven artifacts, of which those with `.redhat-1`, 629 in all,
/// differed from Maven 3.9.9: there it departs from its own specification.
#[test]
fn maven_versions_agree_with_maven() {
    assert_eq!(check(Order::Maven, &text("maven-version-pairs.tsv")), 360);
}
