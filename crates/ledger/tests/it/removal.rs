//! Payloads that retention took are told from those that somebody else cut out.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use stanch_ledger::export::Header;
use stanch_ledger::removal::can_lose;
use stanch_ledger::{Entry, Exporter, NewEntry, Removal, Report, Trust, What, verify};
use stanch_model::merkle::Frontier;

use crate::log::{Log, ORIGIN, log, signer};

/// A log of which retention took payloads: what it was, and what is left.
struct Taken {
    before: Log,
    entries: Vec<Entry>,
}

/// Takes the payloads of the entries at these places, a few at a time, as passes of retention do.
fn take(before: Log, places: &[usize], at_a_time: usize) -> Taken {
    let sealed = |(index, entry): (usize, &NewEntry)| entry.clone().sealed(index as u64);
    let mut entries: Vec<Entry> = before.entries.iter().enumerate().map(sealed).collect();
    for slice in places.chunks(at_a_time) {
        for place in slice {
            entries[*place] = entries[*place].clone().without_payload().unwrap();
        }
        let taken: Vec<Entry> = slice.iter().map(|place| entries[*place].clone()).collect();
        let removal = Removal::of(&taken).unwrap();
        let told = removal.entry(Timestamp::UNIX_EPOCH, "server", Timestamp::UNIX_EPOCH, "365d");
        entries.push(told.sealed(entries.len() as u64));
    }
    Taken { before, entries }
}

impl Taken {
    /// Written by whoever has the key, as it is.
    fn export(&self) -> Vec<u8> {
        export(&self.entries, true)
    }

    fn verify(&self) -> Result<Report, What> {
        judge(&self.export())
    }

    /// The same after something was done to it.
    fn forged(&self, by: impl FnOnce(&mut Vec<Entry>)) -> Result<Report, What> {
        let mut entries = self.entries.clone();
        by(&mut entries);
        judge(&export(&entries, true))
    }
}

fn export(entries: &[Entry], lacking: bool) -> Vec<u8> {
    let key = signer().verifying_key();
    let begun = if lacking { Exporter::begin_lacking } else { Exporter::begin };
    let mut exporter = begun(Vec::new(), ORIGIN, key).unwrap();
    let mut tree = Frontier::new();
    for entry in entries {
        tree.push(entry.leaf_hash().unwrap());
        exporter.entry(entry.clone()).unwrap();
    }
    exporter.checkpoint(&signer().sign(tree.size(), tree.root())).unwrap();
    exporter.finish().unwrap()
}

fn judge(export: &[u8]) -> Result<Report, What> {
    let trust = Trust { key: Some(signer().verifying_key()), ..Trust::default() };
    verify(export, &trust).map_err(|fault| fault.what)
}

fn five() -> Log {
    let entry = |number: i64| NewEntry::new(Timestamp::UNIX_EPOCH, "ada", "task_granted").with(json!({"n": number}));
    Log { entries: (0..5).map(entry).collect(), signed: vec![5] }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_log_verifies_before_and_after_and_says_how_many_are_gone(
        log in log(), chosen in prop::collection::vec(any::<bool>(), 9), at_a_time in 1_usize..4
    ) {
        let places: Vec<usize> =
            (0..log.entries.len()).filter(|at| chosen[*at] && can_lose(&log.entries[*at])).collect();
        let size = log.entries.len() as u64;
        let taken = take(log, &places, at_a_time);
        prop_assert_eq!(judge(&taken.before.export()).unwrap().removed, 0);
        let outside = Trust { checkpoints: vec![taken.before.checkpoint(size)], ..Trust::default() };
        let report = verify(taken.export().as_slice(), &outside).unwrap();
        prop_assert_eq!((report.removed, report.outside), (places.len() as u64, 1), "the tree is the same");
    }

    #[test]
    fn whatever_is_changed_of_what_stays_is_told(log in log(), at in 0_usize..9, what in 0_usize..4) {
        let places: Vec<usize> = (0..log.entries.len()).filter(|at| can_lose(&log.entries[*at])).collect();
        prop_assume!(!places.is_empty());
        let at = places[at % places.len()];
        let taken = take(log, &places, 3);
        let forged = taken.forged(|entries| {
            let entry = &mut entries[at].entry;
            match what {
                0 => entry.actor.push('x'),
                1 => entry.event.push('x'),
                2 => entry.subjects.push("rem-other".to_owned()),
                _ => entry.at += jiff::SignedDuration::from_secs(1),
            }
        });
        prop_assert!(matches!(forged, Err(What::Stays)), "{:?}", forged);
    }
}

#[test]
fn a_payload_that_is_missing_without_a_word_was_cut_out() {
    let whole = take(five(), &[], 1);
    let forged = whole.forged(|entries| entries[2] = entries[2].clone().without_payload().unwrap());
    assert!(matches!(forged, Err(What::CutOut { index: 2 })), "{forged:?}");
    let more = take(five(), &[0, 1], 2).forged(|entries| entries[3] = entries[3].clone().without_payload().unwrap());
    assert!(matches!(more, Err(What::CutOut { index: 3 })), "{more:?}");
    // One that only became null has another leaf.
    let other = whole.forged(|_| {});
    let nulled = take(five(), &[], 1).forged(|entries| entries[2].entry.payload = Value::Null);
    assert_ne!(other.unwrap().root, nulled.unwrap().root);
}

#[test]
fn a_word_about_what_was_not_taken_is_told_and_a_huge_one_costs_nothing() {
    let taken = take(five(), &[1, 2], 2);
    for ranges in [json!([[1, 3]]), json!([[2, 2], [1, 1]]), json!([[0, u64::MAX]]), json!([]), json!("all")] {
        let forged = taken.forged(|entries| entries[5].entry.payload["entries"] = ranges.clone());
        assert!(matches!(forged, Err(What::Stays)), "{ranges}: {forged:?}");
    }
    let not_taken = take(five(), &[1, 2], 2).forged(|entries| entries[1] = five().entries[1].clone().sealed(1));
    assert!(matches!(not_taken, Err(What::Stays)), "{not_taken:?}");
}

#[test]
fn what_vouches_for_others_cannot_be_taken_itself() {
    let twice = take(five(), &[1, 2], 2);
    assert!(!can_lose(&twice.entries[5].entry));
    let taken = Removal::of(&[twice.entries[5].clone()]).unwrap();
    let forged = twice.forged(|entries| {
        entries[5] = entries[5].clone().without_payload().unwrap();
        entries.push(taken.entry(Timestamp::UNIX_EPOCH, "server", Timestamp::UNIX_EPOCH, "1d").sealed(6));
    });
    assert!(matches!(forged, Err(What::CutOut { index: 1 })), "{forged:?}");
}

#[test]
fn only_an_export_that_says_so_lacks_anything_and_nothing_lacks_what_it_has() {
    let taken = take(five(), &[1], 1);
    assert!(matches!(judge(&export(&taken.entries, false)), Err(What::Lacks(1))));
    let both = taken.forged(|entries| entries[1].entry.payload = json!({"n": 7}));
    assert!(matches!(both, Err(What::Lacks(1))), "{both:?}");
    assert_eq!(taken.verify().unwrap().removed, 1);
    let text = String::from_utf8(taken.export()).unwrap();
    let header: Header =
        serde_json::from_value(serde_json::from_str::<Value>(text.lines().next().unwrap()).unwrap()["header"].clone())
            .unwrap();
    assert_eq!(header.format, "stanch-ledger-export/v2");
}
