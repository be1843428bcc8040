//! Whatever is done to an export is found.

use proptest::prelude::*;
use stanch_ledger::{Fault, Report, Signer, Trust, What, verify};
use stanch_model::canonical::Digest;

use crate::log::{Log, ORIGIN, log, signer};

fn pinned() -> Trust {
    Trust { key: Some(signer().verifying_key()), ..Trust::default() }
}

fn check(export: &[u8], trust: &Trust) -> Result<Report, Fault> {
    verify(export, trust)
}

fn lines(export: &[u8]) -> Vec<Vec<u8>> {
    export.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn an_export_verifies_and_says_what_it_holds(log in log()) {
        let report = check(&log.export(), &pinned()).unwrap();
        prop_assert_eq!(report.entries, log.entries.len() as u64);
        prop_assert_eq!(report.checkpoints, log.signed.len() as u64);
        prop_assert_eq!(report.origin, ORIGIN);
        prop_assert!(report.anchored);
        prop_assert_eq!(report.first_at, log.entries.first().map(|entry| entry.at));
        prop_assert_eq!(report.last_at, log.entries.last().map(|entry| entry.at));
    }

    #[test]
    fn any_flipped_bit_anywhere_is_found_even_when_no_key_is_pinned(log in log(), bit in 0_u8..8) {
        let export = log.export();
        for at in 0..export.len() {
            let mut flipped = export.clone();
            flipped[at] ^= 1 << bit;
            prop_assert!(check(&flipped, &Trust::default()).is_err(), "byte {} bit {}", at, bit);
        }
    }

    #[test]
    fn any_dropped_repeated_or_moved_entry_is_found(log in log()) {
        let export = lines(&log.export());
        let entry = |line: &Vec<u8>| line.starts_with(b"{\"entry\"");
        for at in (0..export.len()).filter(|at| entry(&export[*at])) {
            let mut dropped = export.clone();
            dropped.remove(at);
            prop_assert!(check(&dropped.concat(), &pinned()).is_err(), "dropped line {}", at);
            for to in 0..export.len() {
                let mut repeated = export.clone();
                repeated.insert(to, export[at].clone());
                prop_assert!(check(&repeated.concat(), &pinned()).is_err(), "repeated line {} at {}", at, to);
                let mut moved = export.clone();
                let line = moved.remove(at);
                moved.insert(to, line);
                prop_assert!(moved == export || check(&moved.concat(), &pinned()).is_err(), "moved {} to {}", at, to);
            }
        }
    }

    #[test]
    fn any_truncation_against_an_outside_checkpoint_is_found(log in log()) {
        let export = log.export();
        let outside = Trust { checkpoints: vec![log.checkpoint(log.entries.len() as u64)], ..Trust::default() };
        prop_assert!(check(&export, &outside).unwrap().anchored);
        for keep in 0..export.len() {
            prop_assert!(check(&export[..keep], &outside).is_err(), "kept {} bytes of {}", keep, export.len());
        }
    }

    #[test]
    fn a_shorter_log_that_is_whole_in_itself_is_found_by_an_outside_checkpoint(log in log()) {
        let size = log.entries.len() as u64;
        for keep in 0..size {
            let entries = log.entries[..keep as usize].to_vec();
            let rolled_back = Log { entries, signed: vec![keep] };
            prop_assert!(check(&rolled_back.export(), &pinned()).is_ok(), "it agrees with itself");
            let outside = Trust { checkpoints: vec![log.checkpoint(size)], ..Trust::default() };
            let fault = check(&rolled_back.export(), &outside).unwrap_err();
            prop_assert!(matches!(fault.what, What::Truncated { .. }), "{:?}", fault);
        }
    }

    #[test]
    fn a_history_written_anew_by_the_holder_of_the_key_is_found_by_an_outside_checkpoint(log in log(), at in 0_usize..8) {
        let at = at % log.entries.len();
        let mut anew = log.clone();
        anew.entries[at].actor.push('x');
        prop_assert!(check(&anew.export(), &pinned()).is_ok(), "the key alone cannot tell");
        for size in (at as u64 + 1)..=(log.entries.len() as u64) {
            let outside = Trust { checkpoints: vec![log.checkpoint(size)], ..pinned() };
            let fault = check(&anew.export(), &outside).unwrap_err();
            prop_assert!(matches!(fault.what, What::Rewritten { size: found } if found == size), "{:?}", fault);
        }
    }

    #[test]
    fn every_outside_checkpoint_of_the_same_log_fits_in_any_order(log in log()) {
        let size = log.entries.len() as u64;
        let checkpoints = (0..=size).rev().map(|size| log.checkpoint(size)).collect();
        let report = check(&log.export(), &Trust { checkpoints, ..Trust::default() }).unwrap();
        prop_assert_eq!((report.outside, report.outside_size), (size + 1, Some(size)));
    }
}

fn one() -> Log {
    let entry = stanch_ledger::NewEntry::new(jiff::Timestamp::UNIX_EPOCH, "system", "store_made");
    Log { entries: vec![entry], signed: vec![1] }
}

#[test]
fn another_key_is_found_by_a_pinned_key_and_by_an_outside_checkpoint() {
    let export = String::from_utf8(one().export()).unwrap();
    let mallory = Signer::from_seed(ORIGIN, &[8; 32]).unwrap();
    let forged = {
        let mut exporter = stanch_ledger::Exporter::begin(Vec::new(), ORIGIN, mallory.verifying_key()).unwrap();
        exporter.entry(one().entries[0].clone().sealed(0)).unwrap();
        exporter.checkpoint(&mallory.sign(1, one().leaves()[0])).unwrap();
        exporter.finish().unwrap()
    };
    assert!(!check(&forged, &Trust::default()).unwrap().anchored, "nothing from outside: it only agrees with itself");
    assert!(matches!(check(&forged, &pinned()).unwrap_err().what, What::Key { .. }));
    let outside = Trust { checkpoints: vec![one().checkpoint(1)], ..Trust::default() };
    assert!(matches!(check(&forged, &outside).unwrap_err().what, What::Outside { .. }));
    assert!(check(export.as_bytes(), &outside).is_ok());
}

#[test]
fn a_dropped_entry_is_named_by_the_line_where_it_is_missed() {
    let mut log = one();
    log.entries.extend([log.entries[0].clone(), log.entries[0].clone()]);
    log.signed = vec![3];
    let mut lines = lines(&log.export());
    lines.remove(2);
    let fault = check(&lines.concat(), &pinned()).unwrap_err();
    assert!(matches!(fault.what, What::Index { found: 2, expected: 1 }), "{fault:?}");
    assert_eq!(fault.line, 3);
}

#[test]
fn entries_after_the_last_checkpoint_are_not_vouched_for() {
    let mut log = one();
    log.entries.push(log.entries[0].clone());
    let fault = check(&log.export(), &pinned()).unwrap_err();
    assert!(matches!(fault.what, What::Unsigned { signed: 1, entries: 2 }), "{fault:?}");
    assert_eq!(fault.line, 5, "the line after the last one");
}

#[test]
fn an_empty_ledger_has_an_export_too() {
    let log = Log { entries: Vec::new(), signed: vec![0] };
    let report = check(&log.export(), &pinned()).unwrap();
    assert_eq!((report.entries, report.root), (0, Digest::of_bytes(b"")));
}

#[test]
fn what_is_no_export_is_refused_and_costs_no_memory() {
    for text in ["", "\n", "{}\n", "null\n", "{\"entry\":{}}\n", "\u{feff}"] {
        assert!(check(text.as_bytes(), &Trust::default()).is_err(), "{text:?}");
    }
    let endless = std::io::BufReader::new(std::io::repeat(b'x'));
    assert!(matches!(verify(endless, &Trust::default()).unwrap_err().what, What::TooLong));
    let deep = [vec![b'['; 200_000], b"\n".to_vec()].concat();
    assert!(check(&deep, &Trust::default()).is_err());
}

#[test]
fn a_line_that_says_the_same_in_other_bytes_is_found() {
    let export = String::from_utf8(one().export()).unwrap();
    for (from, to) in [("{\"entry\":{", "{\"entry\": {"), ("\"system\"", "\"s\\u0079stem\""), ("\n", "\r\n")] {
        assert!(export.contains(from), "{from}");
        let fault = check(export.replacen(from, to, 1).as_bytes(), &pinned()).unwrap_err();
        assert!(matches!(fault.what, What::Spelling), "{fault:?}");
    }
}
