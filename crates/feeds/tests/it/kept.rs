//! Feeds that are kept: the cache of a folder, the folder of compiled feeds, and the snapshot.

use stanch_feeds::archive::Limits;
use stanch_feeds::{Freshness, Kind, Knowledge, load, osv};

use crate::archive::{of, record};
use crate::world::snapshot;

#[test]
fn everything_in_the_snapshot_says_that_it_is_one_and_of_when() {
    let now = "2026-11-23T12:00:00Z".parse().unwrap();
    let feeds = snapshot().feeds(now);
    let names: Vec<&str> = feeds.iter().map(|feed| feed.meta.name.as_str()).collect();
    for name in
        ["osv/Debian-11", "osv/Debian-12", "osv/PyPI", "osv/crates.io", "kev", "epss", "cvss", "support/bookworm"]
    {
        assert!(names.contains(&name), "{name} of {names:?}");
    }
    for feed in &feeds {
        assert!(feed.meta.snapshot && feed.meta.reference().snapshot, "{}", feed.meta.name);
        assert!(feed.meta.records > 0);
        assert!(feed.meta.dated.is_some() || feed.meta.kind == Kind::Cvss, "{}", feed.meta.name);
    }
    let debian = feeds.iter().find(|feed| feed.meta.name == "osv/Debian-12").unwrap();
    assert_eq!(
        (debian.meta.records, debian.meta.dated.unwrap().to_string().as_str()),
        (16_658, "2026-11-20T19:18:49Z")
    );
    assert!(matches!(debian.freshness, Freshness::Stale { .. }));
}

#[test]
fn what_was_fetched_counts_before_the_snapshot_and_the_snapshot_fills_what_is_missing() {
    let mine = osv::compile("Debian:12", &of(&[record("A-1", "mine", "1.0")]), &Limits::default()).unwrap();
    let knowledge = Knowledge::of([mine]).or(&snapshot());
    assert!(knowledge.index("Debian:12").unwrap().0.knows("mine"));
    assert!(!knowledge.index("Debian:12").unwrap().0.knows("openssl"));
    assert!(knowledge.index("Debian:11").is_some());
}

#[test]
fn a_feed_is_kept_loaded_and_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let compiled = osv::compile("Debian:12", &of(&[record("A-1", "mine", "1.0")]), &Limits::default()).unwrap();
    compiled.write(folder.path()).unwrap();
    let now = "2026-12-24T12:00:00Z".parse().unwrap();
    let stale = Knowledge::from_store(folder.path()).unwrap();
    assert!(!stale.freshness("Debian:12", now).unwrap().is_believed());
    load::confirm(folder.path(), "osv/Debian-12", Some(now)).unwrap();
    let confirmed = Knowledge::from_store(folder.path()).unwrap();
    assert!(confirmed.freshness("Debian:12", now).unwrap().is_believed());
    assert!(confirmed.index("Debian:12").unwrap().0.knows("mine"));
}

#[test]
fn a_folder_that_does_not_exist_holds_nothing_when_it_is_the_store_and_is_an_error_when_it_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    assert_eq!(Knowledge::from_store(&missing).unwrap().compiled().count(), 0);
    assert!(Knowledge::from_dir(&missing, None).is_err());
}

fn write_feed(folder: &std::path::Path, source: &str) {
    let place = folder.join("osv/Debian-12");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("all.zip"), of(&[record("A-1", source, "1.0")])).unwrap();
}

#[test]
fn a_changed_file_is_read_again_and_a_damaged_cache_does_not_matter() {
    let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let knows = |source: &str| {
        let knowledge = Knowledge::from_dir(folder.path(), Some(cache.path())).unwrap();
        knowledge.index("Debian:12").unwrap().0.knows(source)
    };
    write_feed(folder.path(), "one");
    assert!(knows("one"));
    for entry in std::fs::read_dir(cache.path()).unwrap() {
        std::fs::write(entry.unwrap().path(), b"damaged").unwrap();
    }
    assert!(knows("one"));
    write_feed(folder.path(), "another");
    assert!(knows("another") && !knows("one"));
}

#[test]
fn of_several_days_of_scores_the_newest_counts() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("epss")).unwrap();
    for (day, score) in [("2026-07-31", "0.1"), ("2026-08-22", "0.9"), ("2025-12-31", "0.5")] {
        let text = format!(
            "#model_version:v1,score_date:{day}T00:00:00+0000\ncve,epss,percentile\nCVE-2026-0001,{score},0.5\n"
        );
        std::fs::write(folder.path().join(format!("epss/epss_scores-{day}.csv")), text).unwrap();
    }
    let knowledge = Knowledge::from_dir(folder.path(), None).unwrap();
    assert_eq!(knowledge.enrich("CVE-2026-0001").epss.unwrap().score_e5, 90_000);
}
