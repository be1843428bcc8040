//! What is old goes; what is at work, what an undo rests on and what is held stays, and the ledger verifies.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use stanch_ledger::{NewEntry, Report, Signer, Trust, What, removal, verify};
use stanch_model::Digest;
use stanch_model::decision::Decision;
use stanch_model::finding::{Detector, Finding};
use stanch_model::id::{AssetId, RemediationId, TaskId};
use stanch_model::item::WorkItem;
use stanch_model::order::{Answer, Position, Receipt, Verb};
use stanch_model::remediation::{RemediationState, TaskState};
use stanch_model::sign::{Signed, SigningKey};
use stanch_store::finding::{ClosedAs, SyncFindings};
use stanch_store::item::SyncItems;
use stanch_store::order::NewOrder;
use stanch_store::receipt::{HandleReceipt, NewReceipt};
use stanch_store::remediation::{MoveRemediation, NewRemediation, OnFailure};
use stanch_store::retention::{Forget, LiftRetentionHold, Noun, RetentionHold, SUBJECT, TakePayloads};
use stanch_store::task::{Lane, MoveTask, NewTask};
use stanch_store::{CommitError, Effect, ReadError, Sealer, Transition, Write};

use crate::world::{
    World, at, executor_id, facts, finding, listed, order_id, put_facts, remediation_id, task_id, work_item, world,
};

const ORIGIN: &str = "stanch.test/retention";

fn signer() -> Signer {
    Signer::from_seed(ORIGIN, &[7; 32]).unwrap()
}

fn day(days: i64) -> Timestamp {
    at(days * 86_400)
}

fn told(event: &str, subject: impl ToString, days: i64) -> NewEntry {
    NewEntry::new(day(days), "tester", event).about(subject).with(json!({ "day": days }))
}

/// Takes all of a noun away that is older than a day; gives how many.
async fn sweep(world: &World, noun: Noun, before: i64, now: i64) -> u64 {
    let (mut gone, mut after, mut from) = (0, String::new(), 0);
    loop {
        if noun == Noun::Ledger {
            let due = world.store.due_payloads(day(before), from, 3).await.unwrap();
            let next = due.next;
            if !due.entries.is_empty() {
                gone += due.entries.len() as u64;
                let taking = due.transition(day(before), "1d", "server", day(now)).unwrap();
                world.store.commit(taking).await.unwrap();
            }
            let Some(next) = next else { return gone };
            from = next;
        } else {
            let due = world.store.due(noun, day(before), &after, 2).await.unwrap();
            let next = due.next.clone();
            if due.rows > 0 {
                gone += due.rows;
                world.store.commit(due.transition(noun, day(before), "1d", "server", day(now))).await.unwrap();
            }
            let Some(next) = next else { return gone };
            after = next;
        }
    }
}

async fn export(world: &World) -> Vec<u8> {
    let mut sealer = Sealer::open(world.store.clone(), signer(), "one", None).await.unwrap();
    sealer.seal(day(0)).await.unwrap();
    let mut export = Vec::new();
    world.store.export(&mut export, ORIGIN, signer().verifying_key()).await.unwrap();
    export
}

fn judge(export: &[u8]) -> Result<Report, What> {
    let trust = Trust { key: Some(signer().verifying_key()), ..Trust::default() };
    verify(export, &trust).map_err(|fault| fault.what)
}

/// A host with what hangs on it.
struct Unit {
    number: usize,
    asset: AssetId,
    finding: Finding,
    item: WorkItem,
    /// Day on which its finding was closed; nothing while it is open; none where there is none.
    closed: Option<Option<i64>>,
    held: bool,
    /// Those that are there, with the day on which they ended and whether something could be taken back.
    remediations: BTreeMap<RemediationId, (Option<i64>, bool)>,
    begun: usize,
    /// Orders to read facts that are there: generation and day.
    orders: BTreeMap<u64, i64>,
    last: u64,
}

async fn unit(world: &World, number: usize) -> Unit {
    let asset = world.asset(&format!("host-{number}")).await;
    let finding = finding(&asset, Detector::Advisory, "CVE-1", "bash");
    let item = work_item(&asset, "bash", std::slice::from_ref(&finding));
    let remediations = BTreeMap::new();
    Unit {
        number,
        asset,
        finding,
        item,
        closed: None,
        held: false,
        remediations,
        begun: 0,
        orders: BTreeMap::new(),
        last: 0,
    }
}

impl Unit {
    async fn detect(&mut self, world: &World, open: bool, now: i64) {
        let findings: Vec<Finding> = open.then(|| self.finding.clone()).into_iter().collect();
        let run = SyncFindings {
            asset: self.asset.clone(),
            detectors: vec![Detector::Advisory],
            findings,
            at: day(now),
            closed_as: ClosedAs::Fixed,
            otherwise: BTreeMap::new(),
        };
        let items = open.then(|| listed(&self.item)).into_iter().collect();
        let items = SyncItems { asset: self.asset.clone(), items, at: day(now) };
        let findings = Transition::new(told("findings_changed", &self.asset, now)).write(Write::SyncFindings(run));
        world.store.commit(findings.write(Write::SyncItems(items))).await.unwrap();
        self.closed = match (open, self.closed) {
            (true, _) => Some(None),
            (false, Some(None)) => Some(Some(now)),
            (false, before) => before,
        };
        if open {
            let decision = Decision::by_default(self.item.id.clone(), day(now));
            // A second one on the same day is the same.
            let _ = world.store.put(Write::PutDecisions(vec![decision])).await;
        }
    }

    fn live(&self) -> Option<RemediationId> {
        self.remediations.iter().find(|(_, (over, _))| over.is_none()).map(|(id, _)| id.clone())
    }

    fn task(&self, id: &RemediationId) -> TaskId {
        task_id(&format!("task of {id}"))
    }

    async fn begin(&mut self, world: &World, now: i64) {
        if self.live().is_some() {
            return;
        }
        let id = remediation_id(&format!("{}/{}", self.number, self.begun));
        self.begun += 1;
        let new = NewRemediation {
            id: id.clone(),
            state: RemediationState::Decided,
            requested_by: "tester".into(),
            on_failure: OnFailure::Undo,
            assets: vec![self.asset.clone()],
            items: vec![self.item.id.clone()],
            body: Value::Null,
            at: day(now),
        };
        let task = NewTask {
            id: self.task(&id),
            remediation: id.clone(),
            asset: self.asset.clone(),
            lane: Lane::Change,
            wave: 0,
            plan: Digest::of_bytes(b"plan"),
            leaf: Digest::of_bytes(b"leaf"),
            attempt: 1,
            items: Vec::new(),
            body: Value::Null,
            at: day(now),
        };
        let begin = Transition::new(told("remediation_begun", &id, now)).write(Write::NewRemediation(new));
        let begin = begin.entry(told("task_begun", &task.id, now)).write(Write::NewTask(task));
        world.store.commit(begin).await.unwrap();
        self.remediations.insert(id, (None, false));
    }

    async fn act(&mut self, world: &World, now: i64) {
        use TaskState as T;
        let Some(id) = self.live().filter(|id| !self.remediations[id].1) else { return };
        let path = [T::Pending, T::Reserved, T::Granted, T::Dispatched, T::Running, T::Succeeded, T::Verified];
        for (generation, pair) in path.windows(2).enumerate() {
            let (task, generation) = (self.task(&id), generation as u64 + 1);
            let step = MoveTask {
                id: task.clone(),
                from: pair[0],
                generation,
                to: pair[1],
                message: None,
                body: None,
                at: day(now),
            };
            world
                .store
                .commit(Transition::new(told("task_moved", task, now)).write(Write::MoveTask(step)))
                .await
                .unwrap();
        }
        self.remediations.insert(id, (None, true));
    }

    async fn end(&mut self, world: &World, now: i64) {
        use RemediationState as R;
        let Some(id) = self.live() else { return };
        for (generation, (from, to)) in [(R::Decided, R::Planned), (R::Planned, R::Superseded)].into_iter().enumerate()
        {
            let step = MoveRemediation {
                id: id.clone(),
                from,
                generation: generation as u64 + 1,
                to,
                plan: None,
                waiting: None,
                body: None,
                at: day(now),
            };
            let moved = Transition::new(told("remediation_moved", &id, now)).write(Write::MoveRemediation(step));
            world.store.commit(moved).await.unwrap();
        }
        if let Some(known) = self.remediations.get_mut(&id) {
            known.0 = Some(now);
        }
    }

    async fn ask(&mut self, world: &World, now: i64) {
        let (executor, id) =
            (executor_id(&format!("e-{}", self.number)), order_id(&format!("{}/{}", self.number, self.last)));
        let new = NewOrder {
            id: id.clone(),
            executor: executor.clone(),
            epoch: 1,
            task: None,
            verb: Verb::Observe { refresh: false, since: None },
            after: None,
            start_within_seconds: 60,
            finish_before: day(now + 1),
            at: day(now),
        };
        let committed = world.store.put(Write::NewOrder(new)).await.unwrap();
        let [Effect::Order(_, position)] = committed.effects.as_slice() else { panic!("{committed:?}") };
        assert_eq!(position.generation, self.last + 1, "what is gone is not counted again");
        self.last = position.generation;
        self.orders.insert(self.last, now);
        let receipt = Receipt {
            order: id.clone(),
            executor,
            position: Position { epoch: 1, generation: self.last },
            at: day(now),
            journal_head: Digest::of_bytes(b"head"),
            answer: Answer::Held { held: true },
        };
        let receipt = Signed::new(receipt, &SigningKey::from_seed(&[2; 32]).unwrap()).unwrap();
        world.store.put(Write::NewReceipt(NewReceipt { receipt, at: day(now) })).await.unwrap();
        let handled = HandleReceipt { order: id, forget: false, at: day(now) };
        world.store.put(Write::HandleReceipt(handled)).await.unwrap();
        let name = format!("host-{}", self.number);
        world.store.put(put_facts(facts(&name, now * 86_400), day(now))).await.unwrap();
    }

    async fn hold(&mut self, world: &World, hold: bool, now: i64) {
        if hold == self.held {
            return;
        }
        self.held = hold;
        let subject = self.asset.to_string();
        let (event, write) = match hold {
            true => {
                let (reason, actor) = ("an audit".to_owned(), "ada".to_owned());
                let hold = RetentionHold { subject, reason, actor, at: day(now) };
                ("retention_held", Write::HoldRecords(hold))
            }
            false => ("retention_lifted", Write::LiftRecords(LiftRetentionHold { subject })),
        };
        world.store.commit(Transition::new(told(event, &self.asset, now)).write(write)).await.unwrap();
    }

    /// What a sweep has to have taken, and nothing else.
    fn taken(&mut self, noun: Noun, before: i64) {
        let (held, last) = (self.held, self.last);
        match noun {
            Noun::Remediations | Noun::Undo => self.remediations.retain(|_, (over, acted)| {
                held || *acted != (noun == Noun::Undo) || over.is_none_or(|over| over >= before)
            }),
            Noun::Findings if !held && self.remediations.is_empty() => {
                self.closed.take_if(|closed| closed.is_some_and(|closed| closed < before));
            }
            // Which executor serves the host is not known here, so that no hold covers its orders.
            Noun::Orders => self.orders.retain(|generation, asked| *generation == last || *asked >= before),
            _ => {}
        }
    }

    async fn is_as_it_should_be(&self, world: &World) {
        for number in 0..self.begun {
            let id = remediation_id(&format!("{}/{number}", self.number));
            let there = world.store.remediation(&id).await.unwrap().is_some();
            assert_eq!(there, self.remediations.contains_key(&id), "{id}");
            assert_eq!(world.store.tasks_of(&id).await.unwrap().len(), usize::from(there));
        }
        let stored = world.store.finding(&self.finding.fingerprint).await.unwrap();
        assert_eq!(stored.map(|stored| stored.closed.map(|(at, _)| at)), self.closed.map(|closed| closed.map(day)));
        for number in 0..self.last {
            let id = order_id(&format!("{}/{number}", self.number));
            let there = world.store.order(&id).await.unwrap().is_some();
            assert_eq!(there, self.orders.contains_key(&(number + 1)));
            assert_eq!(world.store.is_answered(&id).await.unwrap(), there);
        }
        if self.last > 0 {
            let facts = world.store.facts(&self.asset).await.unwrap().unwrap();
            let history = world.store.facts_history(&self.asset, 100).await.unwrap();
            assert_eq!(history[0].0, facts.facts.collected_at);
        }
        // What is said of what is at work, and of what is held, is whole.
        let live = self.live().into_iter().flat_map(|id| [id.to_string(), self.task(&id).to_string()]);
        let held = self.held.then(|| self.asset.to_string());
        for subject in live {
            let timeline = world.store.timeline(&subject, 0, 100).await.unwrap();
            assert!(
                timeline.iter().all(|entry| entry.leaf.is_none() && !entry.entry.payload.is_null()),
                "{timeline:?}"
            );
        }
        if let Some(subject) = held {
            let timeline = world.store.timeline(&subject, 0, 1_000).await.unwrap();
            let from = timeline.iter().rposition(|entry| entry.entry.event == "retention_held").unwrap();
            assert!(timeline[from..].iter().all(|entry| entry.leaf.is_none()), "{timeline:?}");
        }
    }
}

#[derive(Debug, Clone)]
enum Happens {
    Detect(usize, bool),
    Begin(usize),
    Act(usize),
    End(usize),
    Ask(usize),
    Hold(usize, bool),
    Wait(i64),
    Sweep(usize, i64),
    Reopen,
}

fn happens() -> impl Strategy<Value = Happens> {
    let unit = || 0..3_usize;
    prop_oneof![
        3 => (unit(), any::<bool>()).prop_map(|(unit, open)| Happens::Detect(unit, open)),
        3 => unit().prop_map(Happens::Begin),
        3 => unit().prop_map(Happens::Act),
        3 => unit().prop_map(Happens::End),
        3 => unit().prop_map(Happens::Ask),
        2 => (unit(), any::<bool>()).prop_map(|(unit, hold)| Happens::Hold(unit, hold)),
        3 => (1_i64..60).prop_map(Happens::Wait),
        8 => (0..Noun::ALL.len(), 0_i64..90).prop_map(|(noun, keep)| Happens::Sweep(noun, keep)),
        1 => Just(Happens::Reopen),
    ]
}

async fn play(story: Vec<Happens>) {
    let mut world = world().await;
    let mut units = Vec::new();
    for number in 0..3 {
        units.push(unit(&world, number).await);
    }
    let (mut now, mut removed) = (0, 0);
    for happens in story {
        match happens {
            Happens::Detect(unit, open) => units[unit].detect(&world, open, now).await,
            Happens::Begin(unit) => units[unit].begin(&world, now).await,
            Happens::Act(unit) => units[unit].act(&world, now).await,
            Happens::End(unit) => units[unit].end(&world, now).await,
            Happens::Ask(unit) => units[unit].ask(&world, now).await,
            Happens::Hold(unit, hold) => units[unit].hold(&world, hold, now).await,
            Happens::Wait(days) => now += days,
            Happens::Reopen => world = world.reopened().await,
            Happens::Sweep(noun, keep) => {
                let (noun, before) = (Noun::ALL[noun], now - keep);
                let would = world.store.count_due(noun, day(before)).await.unwrap();
                let gone = sweep(&world, noun, before, now).await;
                assert_eq!(gone, would, "{noun:?} goes as it was foreseen");
                removed += if noun == Noun::Ledger { gone } else { 0 };
                units.iter_mut().for_each(|unit| unit.taken(noun, before));
                for unit in &units {
                    unit.is_as_it_should_be(&world).await;
                }
                assert_eq!(world.store.count_due(noun, day(before)).await.unwrap(), 0, "{noun:?}");
            }
        }
        let counts = world.store.finding_counts(None).await.unwrap();
        let counted: u64 = counts.values().map(|count| count.open + count.closed).sum();
        assert_eq!(counted, units.iter().filter(|unit| unit.closed.is_some()).count() as u64);
    }
    if world.store.tree().await.unwrap().frontier.size() > 0 {
        assert_eq!(judge(&export(&world).await).unwrap().removed, removed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_and_taken_away_nothing_live_or_held_is_lost_and_the_ledger_verifies(
        story in prop::collection::vec(happens(), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(play(story));
    }
}

#[tokio::test]
async fn an_export_from_before_and_one_from_after_both_verify_and_the_second_says_what_is_gone() {
    let world = world().await;
    let mut host = unit(&world, 0).await;
    host.begin(&world, 0).await;
    host.act(&world, 0).await;
    host.end(&world, 1).await;
    let before = export(&world).await;
    let kept = world.store.last_checkpoint().await.unwrap().unwrap();
    assert_eq!(sweep(&world, Noun::Ledger, 1, 100).await, 8, "what is not from the first day stays");
    let unsealed = world.store.export(Vec::new(), ORIGIN, signer().verifying_key()).await;
    assert!(matches!(unsealed, Err(ReadError::Unsealed(_))), "{unsealed:?}");
    let after = export(&world).await;
    assert_eq!(judge(&before).unwrap().removed, 0);
    let outside = Trust { checkpoints: vec![kept], ..Trust::default() };
    let report = verify(after.as_slice(), &outside).unwrap();
    assert_eq!((report.removed, report.outside), (8, 1));
    let text = String::from_utf8(after).unwrap();
    assert!(!text.contains("\"day\":0") && text.contains("\"day\":1"), "{text}");

    let proof = world.store.proof(0).await.unwrap().unwrap().check(&signer().verifying_key());
    assert!(matches!(proof, Err(stanch_ledger::ProofError::Removed(0))), "{proof:?}");
    let (copy, place) = (world.folder.path().join("copy.db"), world.folder.path().join("restored.db"));
    world.store.backup(&copy).await.unwrap();
    let at = stanch_store::StoreAt::File(place);
    stanch_store::backup::restore(&copy, &at, day(101), "ada").await.unwrap();
    let restored = World { store: stanch_store::Store::open_at(&at).await.unwrap(), at, ..world };
    assert_eq!(judge(&export(&restored).await).unwrap().removed, 8);
}

#[tokio::test]
async fn a_payload_that_goes_without_the_entry_that_vouches_is_told() {
    let world = world().await;
    let mut host = unit(&world, 0).await;
    host.detect(&world, true, 0).await;
    host.detect(&world, false, 1).await;
    let due = world.store.due_payloads(day(1), 0, 10).await.unwrap();
    let take = || Write::TakePayloads(TakePayloads { entries: due.entries.clone(), before: day(1) });
    let silent = world.store.put(take()).await;
    assert!(matches!(silent, Err(CommitError::NoEntry { .. })), "{silent:?}");
    world.store.commit(Transition::new(told("nothing_to_see", SUBJECT, 2)).write(take())).await.unwrap();
    let forged = judge(&export(&world).await);
    assert!(matches!(forged, Err(What::Lacks(0))), "{forged:?}");

    // Beside one that is told, the one that is not is missed.
    let world = crate::world::world().await;
    let mut host = unit(&world, 0).await;
    for now in 0..4 {
        host.detect(&world, now % 2 == 0, now).await;
    }
    let mut due = world.store.due_payloads(day(3), 0, 10).await.unwrap();
    let hidden = vec![due.entries.remove(1)];
    world.store.commit(due.transition(day(3), "1d", "server", day(4)).unwrap()).await.unwrap();
    let take = Write::TakePayloads(TakePayloads { entries: hidden, before: day(3) });
    world.store.commit(Transition::new(told("nothing_to_see", SUBJECT, 5)).write(take)).await.unwrap();
    let forged = judge(&export(&world).await);
    assert!(matches!(forged, Err(What::CutOut { index: 1 })), "{forged:?}");
}

#[tokio::test]
async fn what_came_to_life_or_is_held_between_the_look_and_the_act_stays() {
    let world = world().await;
    let mut host = unit(&world, 0).await;
    host.detect(&world, true, 0).await;
    host.detect(&world, false, 1).await;
    let (findings, payloads) = (
        world.store.due(Noun::Findings, day(50), "", 10).await.unwrap(),
        world.store.due_payloads(day(50), 0, 10).await.unwrap(),
    );
    assert_eq!((findings.rows, payloads.entries.len()), (1, 2));
    host.hold(&world, true, 60).await;
    let taking = findings.clone().transition(Noun::Findings, day(50), "1d", "server", day(61));
    assert!(world.store.commit(taking).await.unwrap_err().is_conflict());
    host.begin(&world, 60).await;
    host.hold(&world, false, 60).await;
    let taking = findings.transition(Noun::Findings, day(50), "1d", "server", day(61));
    assert!(world.store.commit(taking).await.unwrap_err().is_conflict(), "something is being done about it");
    world.store.commit(payloads.transition(day(50), "1d", "server", day(61)).unwrap()).await.unwrap();
    let again = Forget { noun: Noun::Findings, keys: vec!["none".into()], rows: 1, before: day(50) };
    let taking = Transition::new(told("records_removed", SUBJECT, 61)).write(Write::Forget(again));
    assert!(world.store.commit(taking).await.unwrap_err().is_conflict());
    assert!(world.store.finding(&host.finding.fingerprint).await.unwrap().is_some());
    let said = world.store.timeline(SUBJECT, 0, 10).await.unwrap();
    assert_eq!(said.iter().map(|entry| entry.entry.event.as_str()).collect::<Vec<_>>(), [removal::EVENT]);
    assert_eq!((&said[0].entry.payload["rows"], &said[0].entry.payload["keep"]), (&json!(2), &json!("1d")));
}

#[tokio::test]
async fn what_is_there_is_measured() {
    let world = world().await;
    let mut host = unit(&world, 0).await;
    host.detect(&world, true, 3).await;
    host.detect(&world, false, 5).await;
    host.ask(&world, 7).await;
    for noun in Noun::ALL {
        let kept = world.store.kept(noun).await.unwrap();
        let expected = match noun {
            Noun::Findings | Noun::Items => (1, Some(day(5))),
            Noun::Orders | Noun::Evidence | Noun::Facts => (1, Some(day(7))),
            Noun::Decisions => (1, Some(day(3))),
            Noun::Ledger => (2, Some(day(3))),
            _ => (0, None),
        };
        assert_eq!((kept.rows, kept.oldest), expected, "{noun:?}");
        assert_eq!(kept.bytes > 0, kept.rows > 0, "{noun:?}");
    }
}
