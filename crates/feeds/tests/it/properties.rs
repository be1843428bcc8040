//! What must hold for any input.

use proptest::prelude::*;
use stanch_feeds::archive::Limits;
use stanch_feeds::{Knowledge, epss, index, kev, osv, support, upstream, vex, vulnrichment};
use stanch_model::version::DebVersion;

use crate::archive::{Entry, deflated, of, record_with};

/// Versions above `0`, which as an introduced version stands for the first of all.
fn version() -> impl Strategy<Value = String> {
    "[1-9][0-9]?(\\.[0-9]{1,2})?(~rc[0-9])?(-[0-9](\\+deb12u[0-9])?)?"
}

/// Whether a version is affected, straight from the definition of OSV: the last event at or before it decides.
fn by_definition(events: &[(u8, DebVersion)], version: &DebVersion) -> bool {
    let mut sorted = events.to_vec();
    sorted.sort_by(|a, b| a.1.cmp(&b.1));
    let mut affected = false;
    for (kind, at) in &sorted {
        match kind {
            0 if version >= at => affected = true,
            1 if version >= at => affected = false,
            _ => {}
        }
    }
    affected
}

proptest! {
    #[test]
    fn a_range_holds_what_its_definition_says(turns in proptest::collection::btree_set(version(), 1..7), installed in version()) {
        let mut versions: Vec<DebVersion> = turns.iter().map(|text| text.parse().unwrap()).collect();
        versions.sort();
        versions.dedup();
        // Introduced and fixed in turn, as sound records have them.
        let events: Vec<(u8, DebVersion)> =
            versions.into_iter().enumerate().map(|(at, version)| ((at % 2) as u8, version)).collect();
        let json: Vec<String> = events
            .iter()
            .map(|(kind, at)| format!("{{\"{}\":\"{at}\"}}", if *kind == 0 { "introduced" } else { "fixed" }))
            .collect();
        let zip = of(&[record_with("A-1", "x", &format!("[{}]", json.join(",")))]);
        let knowledge = Knowledge::of([osv::compile("Debian:12", &zip, &Limits::default()).unwrap()]);
        let (index, _) = knowledge.index("Debian:12").unwrap();
        let found = index.matching("x", &installed);
        prop_assert_eq!(!found.is_empty(), by_definition(&events, &installed.parse().unwrap()));
        if let Some(index::Match { holds: index::Holds::Until(fixed), .. }) = found.first() {
            let (fixed, installed): (DebVersion, DebVersion) = (fixed.parse().unwrap(), installed.parse().unwrap());
            prop_assert!(installed < fixed, "a fix is always newer than what it fixes");
            prop_assert!(index.matching("x", fixed.as_str()).is_empty() || events.len() > 2);
        }
    }

    #[test]
    fn the_order_of_entries_changes_nothing(seed in proptest::collection::vec((0_usize..5, version()), 1..12)) {
        let records: Vec<String> = seed
            .iter()
            .enumerate()
            .map(|(at, (source, fixed))| record_with(&format!("A-{at}"), &format!("s{source}"), &format!("[{{\"introduced\":\"0\"}},{{\"fixed\":\"{fixed}\"}}]")))
            .collect();
        let mut backward = records.clone();
        backward.reverse();
        let found = |records: &[String]| {
            let knowledge = Knowledge::of([osv::compile("Debian:12", &of(records), &Limits::default()).unwrap()]);
            let (index, _) = knowledge.index("Debian:12").unwrap();
            (0..5).flat_map(|source| index.matching(&format!("s{source}"), "5.0").into_iter().map(|m| format!("{m:?}")).collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        prop_assert_eq!(found(&records), found(&backward));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = osv::compile("Debian:12", &bytes, &Limits::default());
        let _ = osv::compile("Debian:12", &deflated(&[Entry { name: "a.json", content: &bytes }]), &Limits::default());
        let _ = kev::compile(&bytes);
        let _ = epss::compile(&bytes);
        let _ = support::compile(&bytes);
        let _ = vex::compile(&bytes);
        let _ = vulnrichment::compile(&bytes);
        let _ = upstream::compile(&bytes);
        let _ = stanch_feeds::Compiled::read(bytes, "any");
    }

    #[test]
    fn any_text_as_a_vector_is_scored_or_refused(text in "(CVSS:[234]\\.[01]/)?([A-Z]{1,3}:[A-Z]{1,2}/?){0,12}") {
        if let Some(score) = stanch_feeds::cvss::score(&text, "any") {
            prop_assert!(score.score_e1 <= 100);
        }
    }
}
