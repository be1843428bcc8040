//! A log to try things on: entries of every shape, checkpoints on the way and at the end.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use stanch_ledger::{Exporter, NewEntry, SignedCheckpoint, Signer};
use stanch_model::Digest;
use stanch_model::merkle::Frontier;

pub(crate) const ORIGIN: &str = "stanch.test/log";

pub(crate) fn signer() -> Signer {
    Signer::from_seed(ORIGIN, &[7; 32]).unwrap()
}

/// What an export was made of.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    pub(crate) entries: Vec<NewEntry>,
    /// Sizes at which a checkpoint stands; the last is that of the log.
    pub(crate) signed: Vec<u64>,
}

impl Log {
    pub(crate) fn leaves(&self) -> Vec<Digest> {
        let sealed = self.entries.iter().enumerate().map(|(index, entry)| entry.clone().sealed(index as u64));
        sealed.map(|entry| entry.leaf_hash().unwrap()).collect()
    }

    /// The checkpoint over the first `size` entries.
    pub(crate) fn checkpoint(&self, size: u64) -> SignedCheckpoint {
        let mut tree = Frontier::new();
        self.leaves().into_iter().take(size as usize).for_each(|leaf| tree.push(leaf));
        signer().sign(size, tree.root())
    }

    pub(crate) fn export(&self) -> Vec<u8> {
        let mut exporter = Exporter::begin(Vec::new(), ORIGIN, signer().verifying_key()).unwrap();
        let mut signed = self.signed.iter().peekable();
        for index in 0..=self.entries.len() as u64 {
            if signed.next_if(|size| **size == index).is_some() {
                exporter.checkpoint(&self.checkpoint(index)).unwrap();
            }
            if let Some(entry) = self.entries.get(index as usize) {
                exporter.entry(entry.clone().sealed(index)).unwrap();
            }
        }
        exporter.finish().unwrap()
    }
}

fn entry() -> impl Strategy<Value = NewEntry> {
    let event = prop::sample::select(vec!["task_granted", "remediation_approved", "findings_changed"]);
    let payload = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(|number| json!({"wave": number, "a": [true, null]})),
        "\\PC{0,12}".prop_map(|text| json!({"reason": text})),
    ];
    let at = (0_i64..4_000_000_000_000_000).prop_map(|micros| Timestamp::from_microsecond(micros).unwrap());
    (at, "[a-z]{1,8}", event, prop::collection::vec("(task|rem)-[0-9a-z]{4}", 0..3), payload, any::<bool>()).prop_map(
        |(at, actor, event, subjects, payload, rests)| {
            let entry = subjects.into_iter().fold(NewEntry::new(at, actor, event), NewEntry::about).with(payload);
            if rests { entry.resting_on("plan", Digest::of_bytes(b"plan")) } else { entry }
        },
    )
}

/// Logs of a few entries, some with checkpoints on the way.
pub(crate) fn log() -> impl Strategy<Value = Log> {
    prop::collection::vec((entry(), prop::bool::weighted(0.3)), 1..9).prop_map(|parts| {
        let size = parts.len() as u64;
        let on_the_way = parts.iter().enumerate().filter(|(_, (_, sign))| *sign).map(|(index, _)| index as u64);
        let signed = on_the_way.chain([size]).collect();
        Log { entries: parts.into_iter().map(|(entry, _)| entry).collect(), signed }
    })
}
