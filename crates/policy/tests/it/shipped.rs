//! The bundle that ships: right, tested, and sensible where nobody knows KEV, EPSS or CVSS.

use std::path::Path;

use stanch_model::decision::Mode;
use stanch_policy::facts::Value;
use stanch_policy::{Bundle, Facts, Source, check, test};

use crate::world::{KNOWN, decide, now};

fn shipped() -> Bundle {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
    let mut sources: Vec<Source> = Vec::new();
    let mut folders = vec![folder.clone()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
                continue;
            }
            let name = entry.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
            sources.push(Source { name, text: std::fs::read_to_string(entry).unwrap() });
        }
    }
    let loaded = Bundle::load(&sources);
    let told: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    loaded.bundle.unwrap_or_else(|| panic!("{told:#?}"))
}

#[test]
fn nothing_is_wrong_with_it_and_its_tests_hold_on_both_sides_of_every_limit() {
    let bundle = shipped();
    let found: Vec<String> = check(&bundle, &KNOWN, now()).iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "{found:#?}");
    let report = test(&bundle, now(), |_, _| Vec::new());
    let misses: Vec<_> = report.results.iter().filter(|result| !result.misses.is_empty()).collect();
    assert!(report.passed(), "{misses:#?}\n{:#?}", report.unproven);
    assert!(report.unnoticed.is_empty(), "{:#?}", report.unnoticed);
}

#[test]
fn the_scripts_that_ship_are_sound_and_nobody_signed_them() {
    let bundle = shipped();
    for name in ["account-file-modes", "cron-not-world-writable", "login-banner", "no-empty-passwords"] {
        let known = bundle.script(name).unwrap();
        assert!(known.manifest.idempotent && known.manifest.files_only && known.manifest.can_undo(), "{name}");
        assert!(known.script.signature.is_empty(), "each owner signs with a key of their own");
    }
}

/// The named facts with a start chosen.
fn started(bundle: &Bundle, given: &str, start: &str) -> Facts {
    let mut facts = bundle.named_facts(given).unwrap().clone();
    facts.set("asset.labels", Value::Labels([("automation".to_owned(), start.to_owned())].into())).unwrap();
    facts
}

#[test]
fn each_start_goes_as_far_as_its_name_says_even_where_no_feed_knows_anything() {
    let bundle = shipped();
    let mut table = String::new();
    for start in ["none", "alert", "suggest", "approve", "auto", "current"] {
        let mode = |given: &str| {
            let facts = started(&bundle, given, start);
            decide(&bundle, &facts).mode.name()
        };
        let row = ["unfixed", "quiet", "urgent", "exploited"].map(|given| format!("{given}={}", mode(given)));
        table.push_str(&format!("{start:<8} {}\n", row.join("  ")));
    }
    insta::assert_snapshot!(table, @r"
    none     unfixed=alert  quiet=alert  urgent=alert  exploited=alert
    alert    unfixed=alert  quiet=alert  urgent=alert  exploited=alert
    suggest  unfixed=alert  quiet=suggest  urgent=suggest  exploited=suggest
    approve  unfixed=alert  quiet=suggest  urgent=approve  exploited=approve
    auto     unfixed=alert  quiet=suggest  urgent=auto  exploited=auto
    current  unfixed=alert  quiet=auto  urgent=auto  exploited=auto
    ");
}

#[test]
fn no_start_lifts_a_ceiling() {
    let bundle = shipped();
    for start in ["approve", "auto", "current"] {
        for (path, value) in [
            ("action.disruption", Value::Text("outage".into())),
            ("action.disruption", Value::Text("session_loss".into())),
            ("asset.tier", Value::Int(1)),
            ("asset.own", Value::Bool(true)),
            ("asset.confirmed", Value::Bool(false)),
            ("action.proven", Value::Bool(false)),
            ("action.undos", Value::Int(1)),
            ("item.stale", Value::Bool(true)),
        ] {
            let mut facts = started(&bundle, "exploited", start);
            facts.set(path, value).unwrap();
            assert!(decide(&bundle, &facts).mode < Mode::Auto, "{start} with {path}");
            facts.unset(path);
            assert!(decide(&bundle, &facts).mode < Mode::Auto, "{start} without {path}");
        }
    }
}

#[test]
fn without_any_score_it_decides_by_the_tables_and_not_by_chance() {
    let bundle = shipped();
    let mut bare = started(&bundle, "quiet", "auto");
    for path in
        ["item.epss", "item.epss_percentile", "item.cvss", "item.severity", "item.due_days", "item.exploitation"]
    {
        bare.unset(path);
    }
    let calm = decide(&bundle, &bare);
    assert_eq!((calm.mode, calm.missing.is_empty()), (Mode::Suggest, true));
    bare.set("item.ssvc", Value::Text("out_of_cycle".into())).unwrap();
    assert_eq!(decide(&bundle, &bare).mode, Mode::Auto);
}
