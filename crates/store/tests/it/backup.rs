//! A backup holds everything, and is restored whole into either kind of database or not at all.

use std::path::Path;

use stanch_model::Digest;
use stanch_model::decision::Decision;
use stanch_model::finding::{Coverage, Detector};
use stanch_model::id::AssetId;
use stanch_store::backup::{BackupError, restore};
use stanch_store::detection::{Detection, Listed};
use stanch_store::finding::{ClosedAs, FindingFilter, SyncFindings};
use stanch_store::item::SyncItems;
use stanch_store::{OpenError, Store, StoreAt, Write};

use crate::world::{World, at, begin, finding, listed, place, remediation_id, work_item, world};

/// A host with a problem that was decided, something that was said of it, and a remediation with its nudge.
async fn filled() -> (World, AssetId) {
    let world = world().await;
    let asset = world.asset("host-é").await;
    see(&world.store, &asset, "CVE-2024-1000", 1).await;
    let id = remediation_id("r");
    world.store.commit(begin(&id).nudge("plan", &id)).await.unwrap();
    (world, asset)
}

/// The detectors see this problem on the asset, and a decision is made of it.
async fn see(store: &Store, asset: &AssetId, id: &str, seconds: i64) {
    let seen = finding(asset, Detector::Advisory, id, id);
    let item = work_item(asset, id, std::slice::from_ref(&seen));
    let decision = Decision { action: Some(id.into()), ..Decision::by_default(item.id.clone(), at(seconds)) };
    let run = SyncFindings {
        asset: asset.clone(),
        detectors: vec![Detector::Advisory],
        findings: vec![seen],
        at: at(seconds),
        closed_as: ClosedAs::Fixed,
        otherwise: std::collections::BTreeMap::new(),
    };
    store.put(Write::SyncFindings(run)).await.unwrap();
    let items = vec![listed(&item)];
    store.put(Write::SyncItems(SyncItems { asset: asset.clone(), items, at: at(seconds) })).await.unwrap();
    store.put(Write::PutDecisions(vec![decision])).await.unwrap();
    let said = Detection {
        at: at(seconds),
        facts: Digest::of_bytes(b"facts"),
        facts_at: at(0),
        knowledge: Digest::of_bytes(b"feeds"),
        coverage: Coverage::default(),
        blind_spots: Vec::new(),
        notes: vec![format!("{id} is new")],
        feeds: Vec::new(),
        unread: Vec::new(),
        system: None,
        updaters: None,
    };
    store.put(Write::PutDetection(asset.clone(), said)).await.unwrap();
}

async fn restored(file: &Path, into: &StoreAt) -> Store {
    restore(file, into, at(9), "tester").await.unwrap();
    Store::open_at(into).await.unwrap()
}

#[tokio::test]
async fn what_was_copied_is_restored_whole_into_a_file_and_into_a_database_and_goes_on_there() {
    let (world, asset) = filled().await;
    let backup = world.folder.path().join("backup");
    world.store.backup(&backup).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    for into in [StoreAt::File(folder.path().join("file.db")), place(folder.path())] {
        let store = restored(&backup, &into).await;
        let filter = FindingFilter::default();
        assert_eq!(
            store.findings(&filter, None, 9).await.unwrap(),
            world.store.findings(&filter, None, 9).await.unwrap()
        );
        assert_eq!(store.entries(0, 1).await.unwrap(), world.store.entries(0, 1).await.unwrap());
        assert_eq!(store.nudges_after(0, 9).await.unwrap(), world.store.nudges_after(0, 9).await.unwrap());
        assert_eq!(store.finding_counts(None).await.unwrap(), world.store.finding_counts(None).await.unwrap());
        assert_eq!(store.count_items(None, at(9)).await.unwrap(), world.store.count_items(None, at(9)).await.unwrap());
        assert_eq!((store.epoch().await.unwrap(), world.store.epoch().await.unwrap()), (2, 1));
        let told: Vec<String> = store.entries(1, 9).await.unwrap().into_iter().map(|one| one.entry.event).collect();
        assert_eq!(told, ["store_restored"]);
        // New rulings and lines are numbered after those that were copied.
        see(&store, &asset, "CVE-2024-2000", 2).await;
        assert_eq!(store.count_items(None, at(9)).await.unwrap().decided, 1);
        assert_eq!(store.said(Listed::Notes, None, 9).await.unwrap().len(), 1);
        store.shut().await;
    }
}

#[tokio::test]
async fn nothing_is_restored_over_something() {
    let (world, _) = filled().await;
    let backup = world.folder.path().join("backup");
    world.store.backup(&backup).await.unwrap();
    let size = world.store.tree().await.unwrap().frontier.size();
    let refused = restore(&backup, &world.at, at(9), "tester").await.unwrap_err();
    assert!(matches!(refused, BackupError::NotEmpty { .. } | BackupError::File { .. }), "{refused:?}");
    assert_eq!(world.store.tree().await.unwrap().frontier.size(), size);
}

#[tokio::test]
async fn a_damaged_backup_is_refused_and_nothing_is_written() {
    let (world, _) = filled().await;
    let backup = world.folder.path().join("backup");
    world.store.backup(&backup).await.unwrap();
    let whole = std::fs::read(&backup).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let into = place(folder.path());
    let damaged = folder.path().join("damaged");
    for bytes in [b"no database at all".repeat(300), whole[..whole.len() / 2].to_vec()] {
        std::fs::write(&damaged, bytes).unwrap();
        let refused = restore(&damaged, &into, at(9), "tester").await.unwrap_err();
        assert!(matches!(refused, BackupError::Open(OpenError::Damaged { .. })), "{refused:?}");
    }
    let missing = restore(&folder.path().join("missing"), &into, at(9), "tester").await.unwrap_err();
    assert!(matches!(missing, BackupError::File { .. }), "{missing:?}");
    assert!(!folder.path().join("missing").exists());
    let store = Store::open_at(&into).await.unwrap();
    assert_eq!(store.tree().await.unwrap().frontier.size(), 0);
}
