//! A new edition of a feed that would turn many verdicts waits for a person.

use stanch_feeds::archive::Limits;
use stanch_feeds::guard::{Admission, compare};
use stanch_feeds::{Knowledge, osv};
use stanch_model::facts::HostFacts;

use crate::archive::{of, record};
use crate::world::{bookworm, fixture, gunzip, package, snapshot, status};

/// A feed about these many sources, each with one problem fixed in this version.
fn feed(sources: std::ops::Range<usize>, fixed: &str) -> Knowledge {
    let records: Vec<String> = sources.map(|at| record(&format!("A-{at}"), &format!("source{at}"), fixed)).collect();
    Knowledge::of([osv::compile("Debian:12", &of(&records), &Limits::default()).unwrap()])
}

fn host() -> HostFacts {
    bookworm((0..100).map(|at| package(&format!("source{at}"), "1.0")).collect())
}

#[test]
fn the_same_feed_changes_nothing() {
    let change = compare(&feed(0..100, "2.0"), &feed(0..100, "2.0"), [&host()], host().collected_at);
    assert_eq!((change.same, change.changed(), change.percent()), (100, 0, 0));
    assert_eq!(change.admission(), Admission::Admit);
}

#[test]
fn ten_percent_is_let_in_and_more_waits() {
    let old = feed(0..100, "2.0");
    let at = host().collected_at;
    let ten = compare(&old, &feed(0..90, "2.0"), [&host()], at);
    assert_eq!((ten.vanished, ten.percent(), ten.admission()), (10, 10, Admission::Admit));
    let eleven = compare(&old, &feed(0..89, "2.0"), [&host()], at);
    assert_eq!((eleven.percent(), eleven.admission()), (11, Admission::AskPerson));
}

#[test]
fn findings_that_appear_or_name_another_version_count_like_those_that_vanish() {
    let at = host().collected_at;
    let appeared = compare(&feed(0..50, "2.0"), &feed(0..100, "2.0"), [&host()], at);
    assert_eq!((appeared.appeared, appeared.admission()), (50, Admission::AskPerson));
    let turned = compare(&feed(0..100, "2.0"), &feed(0..100, "3.0"), [&host()], at);
    assert_eq!((turned.turned, turned.admission()), (100, Admission::AskPerson));
}

#[test]
fn a_feed_emptied_by_its_publisher_waits() {
    let text = String::from_utf8(gunzip(&fixture("server.dpkg-status.gz"))).unwrap();
    let facts = bookworm(status(&text));
    let change = compare(&snapshot(), &feed(0..1, "2.0"), [&facts], facts.collected_at);
    assert_eq!(change.admission(), Admission::AskPerson);
}

#[test]
fn with_no_host_to_judge_there_is_nothing_to_wait_for() {
    assert_eq!(compare(&feed(0..10, "2.0"), &feed(0..1, "3.0"), [], host().collected_at).admission(), Admission::Admit);
}
