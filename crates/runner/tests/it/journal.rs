//! The journal on disk: what a crash leaves of it, and what it never forgets.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use serde_json::json;
use stanch_action::Checkpoint;
use stanch_model::canonical::Digest;
use stanch_model::id::{OrderId, TaskId};
use stanch_model::order::{Order, Position, StepOutcome, StepReport, Verb};
use stanch_runner::{Hold, Journal, JournalError, JournalState, NoObserver, Observer, Record, StepKind};

use crate::desk::Desk;
use crate::place::NOW;

fn open(folder: &Path) -> Result<Journal, JournalError> {
    Journal::open(folder, Arc::new(NoObserver))
}

fn order(generation: u64) -> Order {
    let mut desk = Desk::new(NOW).unwrap();
    desk.position = Position { epoch: 1, generation: generation - 1 };
    desk.order(Verb::Release)
}

fn accept(generation: u64) -> Record {
    Record::Accepted { order: Box::new(order(generation)), at: NOW, boot_id: "boot".to_owned(), start_by_ms: 5 }
}

fn key(number: u64) -> Digest {
    Digest::of_bytes(&number.to_be_bytes())
}

fn start(number: u64, order: OrderId) -> Record {
    Record::StepStarted {
        key: key(number),
        order,
        task: TaskId::from_entropy([1; 10]),
        step: 0,
        leaf: key(0),
        action: "file.set".to_owned(),
        kind: StepKind::Apply,
        at: NOW,
    }
}

fn end(number: u64) -> Record {
    Record::StepEnded {
        report: Box::new(StepReport {
            step: 0,
            action: "file.set".to_owned(),
            key: key(number),
            outcome: StepOutcome::Done,
            started_at: Some(NOW),
            ended_at: Some(NOW),
            entered: 1,
            after: None,
            changes: Vec::new(),
            evidence: Vec::new(),
        }),
    }
}

/// A lawful history, made from numbers: what may not follow is left out.
fn history(choices: &[(u8, u8)]) -> Vec<Record> {
    let (mut state, mut records) = (JournalState::default(), Vec::new());
    for (what, number) in choices {
        let number = u64::from(*number % 6) + 1;
        let checkpoint = Checkpoint { point: "captured".to_owned(), state: json!({ "before": number }) };
        let record = match what % 8 {
            0 => Record::Polls { below: number * 1_000 },
            1 => accept(state.position.generation + 1),
            2 => start(number, order(state.position.generation.max(1)).id),
            3 => Record::Checkpoint { key: key(number), checkpoint },
            4 => Record::StepEntered { key: key(number), at: NOW },
            5 => end(number),
            6 => Record::Held { hold: (number > 2).then(|| Hold { stop_all: number > 4, reason: "test".to_owned() }) },
            _ => Record::Delivered { order: order(number).id },
        };
        if state.apply(&record).is_ok() {
            records.push(record);
        }
    }
    records
}

fn written(folder: &Path, records: &[Record]) -> Vec<(u64, JournalState)> {
    let mut journal = open(folder).unwrap();
    let path = folder.join("journal");
    let mut marks = vec![(fs::metadata(&path).unwrap().len(), journal.state().clone())];
    for record in records {
        journal.append(record).unwrap();
        marks.push((fs::metadata(&path).unwrap().len(), journal.state().clone()));
    }
    marks
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// A crash leaves any prefix of the file, with anything behind it that was not yet acknowledged.
    #[test]
    fn any_prefix_with_torn_bytes_opens_to_what_was_acknowledged(
        choices in proptest::collection::vec(any::<(u8, u8)>(), 1..30),
        cut: proptest::sample::Index,
        torn in proptest::collection::vec(any::<u8>(), 0..300),
        zeros in 0usize..200,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let marks = written(dir.path(), &history(&choices));
        let path = dir.path().join("journal");
        let whole = fs::read(&path).unwrap();
        let cut = cut.index(whole.len() + 1);
        let mut left = whole[..cut].to_vec();
        // Behind a whole prefix may stand garbage of the record that was being written.
        if marks.iter().any(|(len, _)| *len == cut as u64) && cut >= 8 {
            left.extend(torn);
        }
        // A file can be longer than what was written to it.
        left.extend(vec![0; if cut < 8 { zeros.min(8 - cut) } else { zeros }]);
        fs::write(&path, &left).unwrap();
        let mut journal = open(dir.path()).unwrap();
        let expected = marks.iter().rev().find(|(len, _)| *len <= cut as u64).map(|(_, state)| state.clone());
        prop_assert_eq!(journal.state(), &expected.unwrap_or_default());
        // And it goes on from there.
        journal.append(&Record::Polls { below: 1_000_000 }).unwrap();
        let state = journal.state().clone();
        drop(journal);
        let again = open(dir.path()).unwrap();
        prop_assert_eq!(again.state(), &state);
    }

    /// No byte of what was acknowledged can change unnoticed, except in the very last record, which looks torn.
    #[test]
    fn damage_to_acknowledged_records_is_found(
        choices in proptest::collection::vec(any::<(u8, u8)>(), 4..30),
        at: proptest::sample::Index,
        flip in 1u8..,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let marks = written(dir.path(), &history(&choices));
        prop_assume!(marks.len() > 2);
        let last = marks[marks.len() - 2].0;
        let at = at.index(usize::try_from(last).unwrap());
        let path = dir.path().join("journal");
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= flip;
        fs::write(&path, bytes).unwrap();
        let opened = open(dir.path());
        prop_assert!(matches!(opened, Err(JournalError::Damaged { .. })), "byte {} of {} went unnoticed", at, last);
    }

    #[test]
    fn compaction_changes_nothing_that_is_known(choices in proptest::collection::vec(any::<(u8, u8)>(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), &history(&choices));
        let mut journal = open(dir.path()).unwrap();
        let (before, head) = (journal.state().clone(), journal.head());
        journal.compact().unwrap();
        prop_assert_eq!(journal.state(), &before);
        prop_assert_ne!(journal.head(), head);
        drop(journal);
        // A draft that a crash left behind is no journal.
        fs::write(dir.path().join("journal.new"), b"half").unwrap();
        let again = open(dir.path()).unwrap();
        prop_assert_eq!(again.state(), &before);
    }

    /// Invariant 3, on the state: whatever records come, no key starts twice and none ends twice.
    #[test]
    fn no_step_starts_or_ends_twice(choices in proptest::collection::vec(any::<(u8, u8)>(), 1..80)) {
        let (mut starts, mut ends) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
        for record in history(&choices) {
            match record {
                Record::StepStarted { key, .. } => prop_assert!(starts.insert(key)),
                Record::StepEnded { report } => prop_assert!(starts.contains(&report.key) && ends.insert(report.key)),
                Record::Checkpoint { key, .. } | Record::StepEntered { key, .. } => {
                    prop_assert!(starts.contains(&key) && !ends.contains(&key));
                }
                _ => {}
            }
        }
    }
}

#[test]
fn one_executor_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).unwrap();
    let error = open(dir.path()).err().unwrap();
    assert!(matches!(error, JournalError::Locked { .. }) && error.hint().is_some());
    drop(first);
    open(dir.path()).unwrap();
}

#[test]
fn a_missing_record_in_the_middle_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let marks = written(dir.path(), &[accept(1), accept(2), accept(3)]);
    let path = dir.path().join("journal");
    let mut bytes = fs::read(&path).unwrap();
    bytes.drain(usize::try_from(marks[1].0).unwrap()..usize::try_from(marks[2].0).unwrap());
    fs::write(&path, bytes).unwrap();
    assert!(matches!(open(dir.path()), Err(JournalError::Damaged { what, .. }) if what.contains("missing")));
}

#[test]
fn another_file_is_not_taken_for_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("journal"), "root:x:0:0\n").unwrap();
    assert!(matches!(open(dir.path()), Err(JournalError::Damaged { at: 0, .. })));
    assert_eq!(fs::read_to_string(dir.path().join("journal")).unwrap(), "root:x:0:0\n", "and it is left alone");
}

struct Once(AtomicBool);

impl Observer for Once {
    fn before(&self, _number: u64, _record: &Record) -> io::Result<()> {
        if self.0.swap(false, Ordering::SeqCst) { Err(io::Error::other("no space left")) } else { Ok(()) }
    }
}

#[test]
fn a_record_that_could_not_be_written_is_not_known() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path(), Arc::new(Once(AtomicBool::new(true)))).unwrap();
    let head = journal.head();
    assert!(matches!(journal.append(&accept(1)), Err(JournalError::File { .. })));
    assert_eq!((journal.head(), journal.state().position.generation), (head, 0));
    journal.append(&accept(1)).unwrap();
}

#[test]
fn a_record_that_contradicts_the_journal_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path()).unwrap();
    journal.append(&accept(1)).unwrap();
    journal.append(&start(1, order(1).id)).unwrap();
    let len = fs::metadata(dir.path().join("journal")).unwrap().len();
    let mut same_place = order(2);
    same_place.position = order(1).position;
    let same_place =
        Record::Accepted { order: Box::new(same_place), at: NOW, boot_id: "boot".to_owned(), start_by_ms: 5 };
    let strange = Record::Delivered { order: order(9).id };
    for record in [accept(1), same_place, start(1, order(1).id), end(2), strange] {
        assert!(matches!(journal.append(&record), Err(JournalError::Inconsistent(_))), "{record:?}");
    }
    assert_eq!(fs::metadata(dir.path().join("journal")).unwrap().len(), len);
}

#[test]
fn the_file_stays_bounded_and_the_chain_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path()).unwrap();
    let big = json!("x".repeat(1 << 20));
    let mut heads = std::collections::BTreeSet::new();
    for number in 1..=24 {
        journal.append(&accept(number)).unwrap();
        journal.append(&start(number, order(number).id)).unwrap();
        let checkpoint = Checkpoint { point: "captured".to_owned(), state: big.clone() };
        // Kept for undo as long as the step is remembered; hold records are not.
        if number <= 2 {
            journal.append(&Record::Checkpoint { key: key(number), checkpoint }).unwrap();
        }
        let hold = Some(Hold { stop_all: false, reason: "y".repeat(1 << 20) });
        journal.append(&Record::Held { hold }).unwrap();
        assert!(heads.insert(journal.head()));
    }
    assert!(fs::metadata(dir.path().join("journal")).unwrap().len() < 20 << 20);
    let state = journal.state().clone();
    drop(journal);
    assert_eq!(open(dir.path()).unwrap().state(), &state);
}

#[test]
fn old_steps_are_remembered_by_key_so_that_they_never_start_again() {
    let mut state = JournalState::default();
    for number in 1..=2_100 {
        state.apply(&accept(number)).unwrap();
        state.apply(&start(number, order(number).id)).unwrap();
        state.apply(&end(number)).unwrap();
        // Answered and delivered.
        state.orders.clear();
    }
    let (compacted, gone) = state.compacted();
    assert_eq!((compacted.steps.len(), gone.len()), (2_048, 52));
    assert_eq!(gone[0], key(1), "the oldest go first");
    let mut compacted = compacted;
    compacted.apply(&accept(2_101)).unwrap();
    assert!(compacted.apply(&start(1, order(2_101).id)).is_err());
}

#[test]
fn the_magic_alone_can_be_torn_too() {
    for len in 0..8 {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        OpenOptions::new().write(true).open(dir.path().join("journal")).unwrap().set_len(len).unwrap();
        assert_eq!(open(dir.path()).unwrap().state(), &JournalState::default());
    }
}

#[test]
fn a_file_with_whole_records_behind_a_broken_one_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let marks = written(dir.path(), &[accept(1), accept(2), accept(3)]);
    let path = dir.path().join("journal");
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0xff; 4], marks[1].0).unwrap();
    let before = fs::read(&path).unwrap();
    let error = open(dir.path()).err().unwrap();
    assert!(error.to_string().contains("whole records follow"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}
