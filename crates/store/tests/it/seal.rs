//! Checkpoints are signed in time, by one sealer, and copied outside.

use stanch_ledger::file::read_notes;
use stanch_ledger::{Signer, Trust, verify};
use stanch_store::Sealer;
use stanch_store::seal::SealError;

use crate::world::{World, at, world};

const ORIGIN: &str = "stanch.test/store";

fn signer() -> Signer {
    Signer::from_seed(ORIGIN, &[7; 32]).unwrap()
}

async fn sealer(world: &World, holder: &str) -> Sealer {
    let outside = world.folder.path().join("checkpoints.log");
    Sealer::open(world.store.clone(), signer(), holder, Some(&outside)).await.unwrap()
}

#[tokio::test]
async fn a_checkpoint_comes_within_a_second_and_only_when_there_is_something_to_sign() {
    let world = world().await;
    let mut sealer = sealer(&world, "one").await;
    assert_eq!(sealer.tick(at(0)).await.unwrap(), None);
    world.remediation("a").await;
    let half = at(0) + jiff::SignedDuration::from_millis(500);
    assert_eq!(sealer.tick(half).await.unwrap(), None, "half a second after the entry");
    let note = sealer.tick(at(1)).await.unwrap().unwrap();
    assert_eq!(note.check(&signer().verifying_key()).unwrap().size, 1);
    assert_eq!(sealer.tick(at(5)).await.unwrap(), None);
    world.remediation("b").await;
    world.remediation("c").await;
    assert_eq!(sealer.seal(at(5)).await.unwrap().unwrap().checkpoint().size, 3);
    let outside = std::fs::read_to_string(world.folder.path().join("checkpoints.log")).unwrap();
    assert_eq!(read_notes(&outside).unwrap().checkpoints, world.store.checkpoints(0, 10).await.unwrap());
}

#[tokio::test]
async fn the_export_verifies_against_the_outside_file_and_each_entry_has_a_proof() {
    let world = world().await;
    let mut sealer = sealer(&world, "one").await;
    for number in 0..7 {
        world.remediation(&format!("r-{number}")).await;
        if number % 3 == 0 {
            sealer.seal(at(number)).await.unwrap();
        }
    }
    world.remediation("not sealed yet").await;
    let mut export = Vec::new();
    let written = world.store.export(&mut export, ORIGIN, signer().verifying_key()).await.unwrap();
    assert_eq!(written, 7);
    let outside = std::fs::read_to_string(world.folder.path().join("checkpoints.log")).unwrap();
    let trust = Trust {
        key: Some(signer().verifying_key()),
        origin: Some(ORIGIN.into()),
        checkpoints: read_notes(&outside).unwrap().checkpoints,
    };
    let report = verify(export.as_slice(), &trust).unwrap();
    assert_eq!((report.entries, report.outside), (7, 3));
    for index in 0..7 {
        let proof = world.store.proof(index).await.unwrap().unwrap();
        assert_eq!(proof.check(&signer().verifying_key()).unwrap().size, 7);
    }
    assert!(world.store.proof(7).await.is_err(), "no checkpoint covers it yet");
    assert!(world.store.proof(8).await.unwrap().is_none());
}

#[tokio::test]
async fn of_two_sealers_one_seals_until_its_lease_is_over() {
    let world = world().await;
    let (mut one, mut two) = (sealer(&world, "one").await, sealer(&world, "two").await);
    world.remediation("a").await;
    assert!(one.seal(at(0)).await.unwrap().is_some());
    world.remediation("b").await;
    assert!(two.seal(at(1)).await.unwrap().is_none(), "the other holds the lease");
    assert!(two.seal(at(11)).await.unwrap().is_some(), "it is over");
    world.remediation("c").await;
    // The first still believes in its lease on a clock that stood still.
    assert!(one.seal(at(2)).await.unwrap().is_none(), "its token is old");
    assert_eq!(world.store.last_checkpoint().await.unwrap().unwrap().checkpoint().size, 2);
}

#[tokio::test]
async fn what_a_crash_kept_from_the_outside_file_is_copied_later() {
    let world = world().await;
    let outside = world.folder.path().join("checkpoints.log");
    let mut alone = Sealer::open(world.store.clone(), signer(), "one", None).await.unwrap();
    for number in 0..3 {
        world.remediation(&format!("r-{number}")).await;
        alone.seal(at(number)).await.unwrap();
    }
    let mut sealer = sealer(&world, "one").await;
    assert_eq!(sealer.tick(at(3)).await.unwrap(), None);
    let kept = read_notes(&std::fs::read_to_string(&outside).unwrap()).unwrap();
    assert_eq!(kept.checkpoints.len(), 3);
}

#[tokio::test]
async fn a_store_that_was_rolled_back_is_not_sealed_again() {
    let world = world().await;
    let outside = world.folder.path().join("checkpoints.log");
    world.remediation("a").await;
    let copy = world.folder.path().join("copy.db");
    world.store.backup(&copy).await.unwrap();
    world.remediation("b").await;
    let mut sealer = sealer(&world, "one").await;
    sealer.seal(at(0)).await.unwrap();
    let restored = stanch_store::Store::open(&copy).await.unwrap();
    let shorter = Sealer::open(restored.clone(), signer(), "two", Some(&outside)).await.unwrap_err();
    assert!(matches!(shorter, SealError::RolledBack { outside: 2, size: 1 }), "{shorter:?}");
    for name in ["another", "history"] {
        restored.commit(crate::world::begin(&crate::world::remediation_id(name))).await.unwrap();
    }
    let rewritten = Sealer::open(restored, signer(), "two", Some(&outside)).await.unwrap_err();
    assert!(matches!(rewritten, SealError::RolledBack { outside: 2, size: 3 }), "{rewritten:?}");
    let stranger = Signer::from_seed(ORIGIN, &[8; 32]).unwrap();
    let other = Sealer::open(world.store.clone(), stranger, "three", Some(&outside)).await.unwrap_err();
    assert!(matches!(other, SealError::OtherLog(_)), "{other:?}");
}
