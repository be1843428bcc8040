//! A store in a folder of its own, and short ways to say what happens in it.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use jiff::Timestamp;
use serde_json::Value;
use stanch_ledger::NewEntry;
use stanch_model::Digest;
use stanch_model::asset::{Asset, AssetKind};
use stanch_model::delta::Lasting;
use stanch_model::facts::{Carried, HostFacts, Known, OsRelease, Package};
use stanch_model::finding::{Detector, Finding, OcsfClass, Verdict, fingerprint};
use stanch_model::id::{AssetId, ExecutorId, ItemId, OrderId, RemediationId, TaskId};
use stanch_model::item::{Subject, WorkItem, item_id};
use stanch_model::remediation::{RemediationState, TaskState};
use stanch_store::asset::{SeenAsset, SeenBy};
use stanch_store::facts::NewFacts;
use stanch_store::item::NewItem;
use stanch_store::remediation::{MoveRemediation, NewRemediation, OnFailure};
use stanch_store::task::{Lane, MoveTask, NewTask};
use stanch_store::{Committed, Store, StoreAt, Transition, Write};

use crate::postgres;

/// Where PostgreSQL is that the whole suite runs on: the folder of its socket.
pub(crate) const POSTGRES: &str = "STANCH_TEST_POSTGRES";
/// The database there that those of the tests are made of.
pub(crate) const TEMPLATE: &str = "stanch_template";

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) at: StoreAt,
    pub(crate) folder: tempfile::TempDir,
}

/// The place of a new store.
pub(crate) fn place(folder: &Path) -> StoreAt {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let Some(socket) = std::env::var_os(POSTGRES) else { return StoreAt::File(folder.join("stanch.db")) };
    let name = format!("t{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
    let socket = Path::new(&socket);
    postgres::ask(socket, "postgres", &format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}")).unwrap();
    StoreAt::Database(postgres::url(socket, &name).parse().unwrap())
}

pub(crate) async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let at = place(folder.path());
    World { store: Store::open_at(&at).await.unwrap(), at, folder }
}

impl World {
    /// Shuts the store and opens it again.
    pub(crate) async fn reopened(self) -> Self {
        self.store.shut().await;
        Self { store: Store::open_at(&self.at).await.unwrap(), ..self }
    }

    pub(crate) async fn asset(&self, name: &str) -> AssetId {
        let asset = Asset::unlabelled(AssetKind::Host, name, name);
        let id = asset.id.clone();
        self.store.put(Write::SeeAsset(SeenAsset { asset, by: SeenBy::Itself, at: at(0) })).await.unwrap();
        id
    }

    pub(crate) async fn remediation(&self, name: &str) -> RemediationId {
        let id = remediation_id(name);
        self.store.commit(begin(&id)).await.unwrap();
        id
    }

    pub(crate) async fn task(&self, name: &str, remediation: &RemediationId, asset: &AssetId) -> TaskId {
        let id = task_id(name);
        self.store.commit(begin_task(&id, remediation, asset)).await.unwrap();
        id
    }

    /// Moves a task along a path of states, one transition each.
    pub(crate) async fn walk(&self, id: &TaskId, path: &[TaskState]) -> Committed {
        let mut last = None;
        for to in path {
            let task = self.store.task(id).await.unwrap().unwrap();
            let step = move_task(id, task.state, task.generation, *to);
            last = Some(self.store.commit(step).await.unwrap());
        }
        last.unwrap()
    }
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

pub(crate) fn entry(event: &str, subject: impl ToString) -> NewEntry {
    NewEntry::new(at(0), "system", event).about(subject)
}

pub(crate) fn remediation_id(name: &str) -> RemediationId {
    RemediationId::from_digest(&Digest::of_bytes(name.as_bytes()))
}

pub(crate) fn task_id(name: &str) -> TaskId {
    TaskId::from_digest(&Digest::of_bytes(name.as_bytes()))
}

pub(crate) fn order_id(name: &str) -> OrderId {
    OrderId::from_digest(&Digest::of_bytes(name.as_bytes()))
}

pub(crate) fn executor_id(name: &str) -> ExecutorId {
    ExecutorId::from_digest(&Digest::of_bytes(name.as_bytes()))
}

pub(crate) fn begin(id: &RemediationId) -> Transition {
    begin_for(id, Vec::new())
}

pub(crate) fn begin_for(id: &RemediationId, items: Vec<ItemId>) -> Transition {
    let new = NewRemediation {
        id: id.clone(),
        state: RemediationState::Decided,
        requested_by: "tester".into(),
        on_failure: OnFailure::Undo,
        assets: Vec::new(),
        items,
        body: Value::Null,
        at: at(0),
    };
    Transition::new(entry("remediation_begun", id)).write(Write::NewRemediation(new))
}

pub(crate) fn move_remediation(
    id: &RemediationId,
    from: RemediationState,
    generation: u64,
    to: RemediationState,
) -> Transition {
    let step =
        MoveRemediation { id: id.clone(), from, generation, to, plan: None, waiting: None, body: None, at: at(1) };
    Transition::new(entry("remediation_moved", id)).write(Write::MoveRemediation(step))
}

pub(crate) fn begin_task(id: &TaskId, remediation: &RemediationId, asset: &AssetId) -> Transition {
    let new = NewTask {
        id: id.clone(),
        remediation: remediation.clone(),
        asset: asset.clone(),
        lane: Lane::Change,
        wave: 0,
        plan: Digest::of_bytes(b"plan"),
        leaf: Digest::of_bytes(b"leaf"),
        attempt: 1,
        items: Vec::new(),
        body: Value::Null,
        at: at(0),
    };
    Transition::new(entry("task_begun", id)).write(Write::NewTask(new))
}

pub(crate) fn move_task(id: &TaskId, from: TaskState, generation: u64, to: TaskState) -> Transition {
    let step = MoveTask { id: id.clone(), from, generation, to, message: None, body: None, at: at(1) };
    Transition::new(entry("task_moved", id)).write(Write::MoveTask(step))
}

pub(crate) fn finding(asset: &AssetId, detector: Detector, id: &str, binary: &str) -> Finding {
    Finding {
        fingerprint: fingerprint(asset, detector, id, binary),
        asset: asset.clone(),
        class: OcsfClass::Vulnerability,
        detector,
        id: id.into(),
        aliases: Vec::new(),
        package: format!("{binary}-src"),
        binary: binary.into(),
        version: "1.0-1".into(),
        source_version: Some("1.0-1".into()),
        fixed_version: Some("1.0-2".into()),
        verdict: Verdict::AffectedFixable,
        reason: "it is older".into(),
        cvss_vectors: Vec::new(),
        doubt: None,
        feed: None,
        since: stanch_model::finding::Since::default(),
    }
}

/// An item as the detectors would hand it over.
pub(crate) fn listed(item: &WorkItem) -> NewItem {
    NewItem { item: item.clone(), verdict: Verdict::AffectedUnfixed, fixed_version: String::new(), action: None }
}

pub(crate) fn work_item(asset: &AssetId, source: &str, findings: &[Finding]) -> WorkItem {
    let subject = Subject::SourcePackage { source: source.into() };
    let findings = findings.iter().map(|finding| finding.fingerprint.clone()).collect();
    WorkItem { id: item_id(asset, &subject), asset: asset.clone(), subject, findings }
}

pub(crate) fn facts(name: &str, seconds: i64) -> HostFacts {
    HostFacts {
        asset: Asset::unlabelled(AssetKind::Host, name, name),
        collected_at: at(seconds),
        boot_id: Known::Unknown("not running".into()),
        os: OsRelease {
            id: "debian".into(),
            version_id: Some("12".into()),
            codename: None,
            pretty_name: "Debian".into(),
        },
        architecture: "amd64".into(),
        packages: Vec::new(),
        components: Vec::new(),
        bundles: Vec::new(),
        unsearched: Vec::new(),
        broken: Vec::new(),
        candidates: Known::Unknown("none".into()),
        indexes_at: None,
        kernel: Known::Unknown("none".into()),
        stale: Known::Unknown("none".into()),
        sockets: Known::Unknown("none".into()),
        updaters: Vec::new(),
        health: Vec::new(),
        in_use: None,
        talks: None,
        posture: None,
        gaps: Vec::new(),
    }
}

/// Facts as they arrive whole, with what advisories could name of their packages.
pub(crate) fn put_facts(facts: HostFacts, at: Timestamp) -> Write {
    let carried = facts.packages.iter().map(|package| Carried {
        ecosystem: "Debian:12".to_owned(),
        name: package.source.clone(),
        version: package.source_version.to_string(),
    });
    let (carried, told) = (carried.collect(), Lasting::of(&facts).unwrap().digest());
    Write::PutFacts(NewFacts { facts, carried, told, whole: true, epoch: 0, at })
}

/// An installed package of its own source.
pub(crate) fn package(name: &str, version: &str) -> Package {
    Package {
        name: name.to_owned(),
        architecture: "amd64".to_owned(),
        version: version.parse().unwrap(),
        source: name.to_owned(),
        source_version: version.parse().unwrap(),
        built_using: Vec::new(),
        hold: false,
        essential: false,
        automatic: None,
        origins: Vec::new(),
        installed_at: None,
    }
}
