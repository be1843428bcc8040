//! A hostile or broken feed is refused whole, with its name, the entry and a remedy.

use stanch_feeds::archive::Limits;
use stanch_feeds::index::{Holds, Unclear};
use stanch_feeds::{Compiled, FeedError, Knowledge, Problem, epss, kev, osv, support, vex, vulnrichment};

use crate::archive::{Entry, deflated, of, record, record_with};
use crate::world::shared;

fn refused(zip: &[u8]) -> FeedError {
    let error = osv::compile("Debian:12", zip, &Limits::default()).expect_err("it must be refused");
    assert_eq!(error.feed, "osv/Debian-12");
    assert!(!error.remedy().is_empty());
    error
}

fn with(name: &str, content: &[u8]) -> Vec<u8> {
    let sound = record("A-1", "sound", "1.0");
    deflated(&[Entry { name: "A-1.json", content: sound.as_bytes() }, Entry { name, content }])
}

#[test]
fn a_sound_archive_is_taken() {
    let compiled = osv::compile("Debian:12", &of(&[record("A-1", "sound", "1.0")]), &Limits::default()).unwrap();
    assert_eq!(compiled.meta.records, 1);
    assert_eq!(compiled.meta.dated.unwrap().to_string(), "2026-11-20T00:00:00Z");
}

#[test]
fn an_entry_that_unpacks_to_far_more_than_it_holds_is_a_bomb() {
    let error = refused(&with("bomb.json", &vec![b' '; 8 << 20]));
    assert!(matches!(error.problem, Problem::Ratio { limit: 100, .. }), "{error:?}");
    assert_eq!(error.entry.as_deref(), Some("bomb.json"));
}

#[test]
fn an_entry_larger_than_the_limit_is_refused() {
    let limits = Limits { entry: 100, ..Limits::default() };
    let error = osv::compile("Debian:12", &of(&[record("A-1", "sound", "1.0")]), &limits).unwrap_err();
    assert!(matches!(error.problem, Problem::TooLarge { limit: 100 }));
}

#[test]
fn many_small_bombs_are_stopped_by_what_they_add_up_to() {
    let blank = vec![b' '; 900_000];
    let names: Vec<String> = (0..40).map(|at| format!("{at}.txt")).collect();
    let entries: Vec<_> = names.iter().map(|name| Entry { name, content: &blank }).collect();
    assert!(matches!(refused(&deflated(&entries)).problem, Problem::TooLarge { .. }));
}

#[test]
fn more_entries_than_the_limit_are_refused_before_they_are_read() {
    let limits = Limits { entries: 2, ..Limits::default() };
    let records: Vec<String> = (0..3).map(|at| record(&format!("A-{at}"), "sound", "1.0")).collect();
    let error = osv::compile("Debian:12", &of(&records), &limits).unwrap_err();
    assert!(matches!(error.problem, Problem::TooMany { limit: 2 }));
}

#[test]
fn a_name_that_leads_elsewhere_is_refused() {
    for name in ["../../etc/cron.d/x.json", "/etc/x.json", "a/b.json", "..", "C:\\x.json", "a\nb.json", ""] {
        assert!(matches!(refused(&with(name, b"{}")).problem, Problem::Path), "{name:?}");
    }
}

#[test]
fn a_name_from_outside_cannot_move_the_cursor_of_who_reads_the_error() {
    let error = refused(&with("\u{1b}[2Jx.json", b"{}"));
    assert!(!error.to_string().contains('\u{1b}'));
}

#[test]
fn two_entries_of_one_name_are_ambiguous() {
    let zip = with("A-1.json", record("A-2", "other", "1.0").as_bytes());
    assert!(matches!(refused(&zip).problem, Problem::Ambiguous(_) | Problem::Zip(_)));
}

#[test]
fn two_records_of_one_id_are_ambiguous() {
    let zip = of(&[record("A-1", "one", "1.0"), record("A-1", "other", "2.0")]);
    assert!(matches!(refused(&zip).problem, Problem::Ambiguous(_)));
}

#[test]
fn a_truncated_record_refuses_the_whole_archive() {
    let whole = record("A-2", "cut", "1.0");
    for at in [0, 1, 20, whole.len() - 1] {
        let error = refused(&with("A-2.json", &whole.as_bytes()[..at]));
        assert!(matches!(error.problem, Problem::Json(_)), "{error:?}");
        assert_eq!(error.entry.as_deref(), Some("A-2.json"));
    }
}

#[test]
fn a_truncated_archive_is_refused_wherever_it_is_cut() {
    let whole = of(&[record("A-1", "sound", "1.0"), record("A-2", "other", "1.0")]);
    for at in 0..whole.len() {
        assert!(osv::compile("Debian:12", &whole[..at], &Limits::default()).is_err(), "cut at {at}");
    }
}

#[test]
fn an_absurd_version_is_refused_with_its_entry() {
    let long = "1".repeat(300);
    for version in ["", "99999999999999999999:1", "1.0 beta", "1.0\\n2", "é", &long] {
        let error = refused(&with("A-2.json", record("A-2", "odd", version).as_bytes()));
        assert!(matches!(error.problem, Problem::Version(_)), "{version:?}: {error:?}");
        assert_eq!(error.entry.as_deref(), Some("A-2.json"));
    }
}

#[test]
fn an_endless_nesting_is_refused() {
    let deep = format!(r#"{{"id":"A-2","x":{}"#, "[".repeat(100_000));
    assert!(matches!(refused(&with("A-2.json", deep.as_bytes())).problem, Problem::Json(_)));
}

#[test]
fn an_archive_without_a_record_of_its_ecosystem_is_empty() {
    let zip = of(&[record("A-1", "sound", "1.0")]);
    let error = osv::compile("Debian:13", &zip, &Limits::default()).unwrap_err();
    assert!(matches!(error.problem, Problem::Empty));
}

#[test]
fn a_withdrawn_record_is_left_out() {
    let withdrawn = record("A-2", "taken-back", "1.0")
        .replace("\"affected\"", "\"withdrawn\":\"2026-01-01T00:00:00Z\",\"affected\"");
    let compiled =
        osv::compile("Debian:12", &of(&[record("A-1", "sound", "1.0"), withdrawn]), &Limits::default()).unwrap();
    assert_eq!(compiled.meta.records, 1);
}

#[test]
fn free_form_fields_of_any_shape_are_passed_over() {
    for odd in ["null", "7", "\"x\"", "[1]", "{\"urgency\":[1],\"upload_target\":{}}", "{\"urgency\":null}"] {
        let record = record("A-1", "sound", "1.0")
            .replace("\"ranges\"", &format!("\"ecosystem_specific\":{odd},\"database_specific\":{odd},\"ranges\""));
        assert!(osv::compile("Debian:12", &of(&[record]), &Limits::default()).is_ok(), "{odd}");
    }
}

#[test]
fn events_in_any_order_mean_the_same() {
    let one = record_with("A-1", "x", r#"[{"introduced":"1"},{"fixed":"2"},{"introduced":"3"},{"fixed":"4"}]"#);
    let other = record_with("A-1", "x", r#"[{"fixed":"4"},{"introduced":"3"},{"fixed":"2"},{"introduced":"1"}]"#);
    for record in [one, other] {
        let knowledge = Knowledge::of([osv::compile("Debian:12", &of(&[record]), &Limits::default()).unwrap()]);
        let (index, _) = knowledge.index("Debian:12").unwrap();
        let fixed = |version| index.matching("x", version).first().map(|found| found.holds);
        assert_eq!(fixed("0.9"), None);
        assert_eq!(fixed("1"), Some(Holds::Until("2")));
        assert_eq!(fixed("2"), None);
        assert_eq!(fixed("3.9"), Some(Holds::Until("4")));
        assert_eq!(fixed("4"), None);
    }
}

#[test]
fn a_range_may_name_its_last_affected_version_or_no_end_or_nothing_at_all() {
    let records = [
        record_with("A-1", "last", r#"[{"introduced":"0"},{"last_affected":"2"}]"#),
        record_with("A-2", "open", r#"[{"introduced":"1"}]"#),
        record("A-3", "silent", "1").replace(r#","ranges""#, r#","was""#),
        record("A-4", "listed", "1").replace(r#","ranges""#, r#","versions":["1.0","1.0-1"],"was""#),
    ];
    let knowledge = Knowledge::of([osv::compile("Debian:12", &of(&records), &Limits::default()).unwrap()]);
    let (index, _) = knowledge.index("Debian:12").unwrap();
    let holds = |source, version| index.matching(source, version).first().map(|found| found.holds);
    assert_eq!(holds("last", "2"), Some(Holds::Unfixed));
    assert_eq!(holds("last", "2.1"), None);
    assert_eq!(holds("open", "0.9"), None);
    assert_eq!(holds("open", "7"), Some(Holds::Unfixed));
    assert_eq!(holds("silent", "7"), Some(Holds::Unknown(Unclear::Range)), "no range is no verdict");
    assert_eq!(holds("listed", "1.0-0"), Some(Holds::Unfixed));
    assert_eq!(holds("listed", "1.1"), None);
}

#[test]
fn the_other_feeds_are_refused_when_they_are_cut_or_something_else() {
    let page = b"<html><body>Please sign in to the proxy</body></html>";
    assert!(matches!(kev::compile(page).unwrap_err().problem, Problem::Json(_)));
    assert!(matches!(epss::compile(page).unwrap_err().problem, Problem::Value { .. }));
    assert!(matches!(support::compile(page).unwrap_err().problem, Problem::Json(_)));
    assert!(matches!(vex::compile(page).unwrap_err().problem, Problem::Json(_)));
    assert!(matches!(vulnrichment::compile(page).unwrap_err().problem, Problem::Json(_)));
}

#[test]
fn a_catalogue_with_the_same_cve_twice_or_with_none_is_refused() {
    let row = r#"{"cveID":"CVE-2026-0001","dateAdded":"2026-01-01","dueDate":null}"#;
    let catalogue = |rows: &str| format!(r#"{{"dateReleased":"2026-08-22T00:00:00Z","vulnerabilities":[{rows}]}}"#);
    assert!(kev::compile(catalogue(row).as_bytes()).is_ok());
    let twice = kev::compile(catalogue(&format!("{row},{row}")).as_bytes()).unwrap_err();
    assert!(matches!(twice.problem, Problem::Ambiguous(_)));
    assert_eq!(twice.entry.as_deref(), Some("CVE-2026-0001"));
    assert!(matches!(kev::compile(catalogue("").as_bytes()).unwrap_err().problem, Problem::Empty));
}

#[test]
fn a_score_outside_its_scale_is_refused_with_its_line() {
    let file = |rows: &str| {
        format!("#model_version:v2025.03.14,score_date:2026-08-22T00:00:00+0000\ncve,epss,percentile\n{rows}")
    };
    assert!(epss::compile(file("CVE-2026-0001,0.5,0.9\n").as_bytes()).is_ok());
    for bad in [
        "CVE-2026-0001,1.5,0.9",
        "CVE-2026-0001,-0.1,0.9",
        "CVE-2026-0001,NaN,0.9",
        "CVE-2026-0001,x,0.9",
        "GHSA-1,0.5,0.9",
    ] {
        let error = epss::compile(file(&format!("CVE-2026-0002,0.5,0.9\n{bad}\n")).as_bytes()).unwrap_err();
        assert_eq!(error.entry.as_deref(), Some("line 4"), "{bad}");
    }
    assert!(epss::compile(b"cve,epss,percentile\nCVE-2026-0001,0.5,0.9\n").is_err(), "a score without model and date");
}

#[test]
fn a_compiled_feed_with_any_bit_flipped_is_refused() {
    let compiled = osv::compile("Debian:12", &of(&[record("A-1", "sound", "1.0")]), &Limits::default()).unwrap();
    let bytes = compiled.bytes().to_vec();
    assert!(Compiled::read(bytes.clone(), "kept").is_ok());
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(Compiled::read(flipped, "kept").is_err(), "byte {at}");
    }
    for end in 0..bytes.len() {
        assert!(Compiled::read(bytes[..end].to_vec(), "kept").is_err(), "cut at {end}");
    }
}

#[test]
fn a_compiled_feed_of_another_format_says_so() {
    let compiled = osv::compile("Debian:12", &of(&[record("A-1", "sound", "1.0")]), &Limits::default()).unwrap();
    let mut bytes = compiled.bytes().to_vec();
    bytes[8] = 9;
    let error = Compiled::read(bytes, "kept").unwrap_err();
    assert!(matches!(error.problem, Problem::Format { found: 9, .. }));
    assert!(error.remedy().contains("made again"));
}

#[test]
fn a_broken_archive_in_a_folder_refuses_the_folder_and_leaves_no_cache() {
    let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let place = folder.path().join("osv/Debian-12");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("all.zip"), &of(&[record("A-1", "sound", "1.0")])[..40]).unwrap();
    assert!(Knowledge::from_dir(folder.path(), Some(cache.path())).is_err());
    assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 0);
}

#[test]
fn every_real_archive_is_taken() {
    let Some(shared) = shared() else { return };
    for (folder, records) in [("Debian-11", 410), ("PyPI", 2651), ("crates", 1148), ("npm", 5), ("Maven", 1)] {
        let zip = std::fs::read(shared.join("osv").join(folder).join("all.zip")).unwrap();
        let compiled = osv::compile(&osv::ecosystem_of_folder(folder), &zip, &Limits::default()).unwrap();
        assert_eq!(compiled.meta.records, records, "{folder}");
    }
}
