//! One entry can be shown to an outsider who has nothing but the key.

use proptest::prelude::*;
use stanch_ledger::{Proof, ProofError, Signer};

use crate::log::{ORIGIN, log, signer};

fn not_included<T>(result: Result<T, ProofError>) -> bool {
    matches!(result, Err(ProofError::NotIncluded { .. }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_entry_has_a_proof_under_every_checkpoint_that_covers_it(log in log()) {
        let (leaves, key) = (log.leaves(), signer().verifying_key());
        for size in 1..=leaves.len() as u64 {
            for (index, entry) in log.entries.iter().take(size as usize).enumerate() {
                let proof = Proof::new(entry.clone().sealed(index as u64), &leaves, &log.checkpoint(size)).unwrap();
                let carried: Proof = serde_json::from_str(&serde_json::to_string(&proof).unwrap()).unwrap();
                prop_assert_eq!(carried.check(&key).unwrap(), log.checkpoint(size).checkpoint().clone());
            }
        }
    }

    #[test]
    fn a_proof_of_anything_else_does_not_hold(log in log(), at in 0_usize..8) {
        let (leaves, key) = (log.leaves(), signer().verifying_key());
        let (at, size) = (at % leaves.len(), leaves.len() as u64);
        let proof = Proof::new(log.entries[at].clone().sealed(at as u64), &leaves, &log.checkpoint(size)).unwrap();

        let mut other = proof.clone();
        other.entry.entry.actor.push('x');
        prop_assert!(not_included(other.check(&key)));
        let mut moved = proof.clone();
        moved.entry.index += 1;
        prop_assert!(not_included(moved.check(&key)));
        let mut longer = proof.clone();
        longer.path.push(leaves[0]);
        prop_assert!(not_included(longer.check(&key)));
        let stranger = Signer::from_seed(ORIGIN, &[9; 32]).unwrap().verifying_key();
        prop_assert!(matches!(proof.check(&stranger), Err(ProofError::Note(_))), "signed by another");
    }
}

#[test]
fn an_entry_that_no_checkpoint_covers_has_no_proof() {
    let entry = stanch_ledger::NewEntry::new(jiff::Timestamp::UNIX_EPOCH, "system", "store_made").sealed(0);
    let checkpoint = signer().sign(0, stanch_model::merkle::root(&[]));
    let leaves = [entry.leaf_hash().unwrap()];
    assert!(matches!(Proof::new(entry, &leaves, &checkpoint), Err(ProofError::NotCovered(0))));
}
