//! Wake-ups inside one process. A nudge says "look now"; it carries nothing and may be lost, because every reconciler
//! also runs on a timer and reads its work from the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use stanch_model::id::ExecutorId;
use stanch_model::order::VerbKind;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, broadcast};

/// The reconcilers, one for each arrow of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// Asks executors for facts when they are due.
    Schedule,
    /// Facts to findings.
    Ingest,
    /// Findings to items to assessments.
    Assess,
    /// Newer policies.
    Policies,
    /// Items to decisions.
    Decide,
    /// Decisions to remediations.
    Propose,
    /// Remediations to plans.
    Plan,
    /// Campaigns to undos.
    Campaign,
    /// Cases to their steps.
    Case,
    /// Remediations to change requests.
    Change,
    /// Moves remediations and tasks.
    Rollout,
    /// Grants to orders.
    Dispatch,
    /// Newer facts to verdicts.
    Verify,
    /// Ledger entries to checkpoints.
    Seal,
    /// Newer feeds.
    Feeds,
    /// Notices to whoever is to be told.
    Notify,
    /// Takes away what is old.
    Retention,
}

impl Stage {
    /// Who takes up the answers to such orders.
    pub(crate) const fn taking_up(kind: VerbKind) -> Self {
        match kind {
            VerbKind::Observe => Self::Ingest,
            VerbKind::Plan => Self::Plan,
            VerbKind::Apply
            | VerbKind::Undo
            | VerbKind::Rehearse
            | VerbKind::Verify
            | VerbKind::Hold
            | VerbKind::Release
            | VerbKind::Reconcile => Self::Rollout,
        }
    }

    /// The orders whose answers it takes up.
    pub(crate) fn takes_up(self) -> Vec<VerbKind> {
        VerbKind::ALL.into_iter().filter(|kind| Self::taking_up(*kind) == self).collect()
    }

    pub(crate) const ALL: [Self; 17] = [
        Self::Schedule,
        Self::Ingest,
        Self::Assess,
        Self::Policies,
        Self::Decide,
        Self::Propose,
        Self::Plan,
        Self::Campaign,
        Self::Case,
        Self::Change,
        Self::Rollout,
        Self::Dispatch,
        Self::Verify,
        Self::Seal,
        Self::Feeds,
        Self::Notify,
        Self::Retention,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Ingest => "ingest",
            Self::Assess => "assess",
            Self::Policies => "policies",
            Self::Decide => "decide",
            Self::Propose => "propose",
            Self::Plan => "plan",
            Self::Campaign => "campaign",
            Self::Case => "case",
            Self::Change => "change",
            Self::Rollout => "rollout",
            Self::Dispatch => "dispatch",
            Self::Verify => "verify",
            Self::Seal => "seal",
            Self::Feeds => "feeds",
            Self::Notify => "notify",
            Self::Retention => "retention",
        }
    }
}

/// Something that people who watch want to know: what changed, not how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Live {
    /// `remediation`, `task`, `items`, `facts`, `feeds`, `hold`, `progress`, `executor`.
    pub(crate) kind: &'static str,
    /// The id of what changed; empty when it is everything of that kind.
    pub(crate) subject: String,
    /// The remediation it belongs to, where it belongs to one.
    pub(crate) remediation: Option<String>,
    /// In words.
    pub(crate) text: String,
}

impl Live {
    /// A word about something that belongs to no remediation.
    pub(crate) fn of(kind: &'static str, subject: impl ToString, text: impl Into<String>) -> Self {
        Self { kind, subject: subject.to_string(), remediation: None, text: text.into() }
    }
}

struct Wires {
    stages: Vec<(Stage, Notify)>,
    /// Of every executor whose poll is parked, what wakes it: an order for one of many concerns no other.
    parked: Mutex<HashMap<ExecutorId, Arc<Notify>>>,
    live: broadcast::Sender<Live>,
}

/// The wires between reconcilers, parked polls and people who watch.
#[derive(Clone)]
pub(crate) struct Bus(Arc<Wires>);

impl Bus {
    pub(crate) fn new() -> Self {
        let stages = Stage::ALL.into_iter().map(|stage| (stage, Notify::new())).collect();
        Self(Arc::new(Wires { stages, parked: Mutex::default(), live: broadcast::channel(256).0 }))
    }

    /// Wakes a reconciler; one that runs now will run once more.
    pub(crate) fn nudge(&self, stage: Stage) {
        if let Some((_, notify)) = self.0.stages.iter().find(|(known, _)| *known == stage) {
            notify.notify_one();
        }
    }

    /// Waits for a nudge.
    pub(crate) async fn nudged(&self, stage: Stage) {
        if let Some((_, notify)) = self.0.stages.iter().find(|(known, _)| *known == stage) {
            notify.notified().await;
        }
    }

    /// Wakes the parked polls of these executors: orders for them were made.
    pub(crate) fn wake<'a>(&self, executors: impl IntoIterator<Item = &'a ExecutorId>) {
        let parked = self.parked();
        for executor in executors {
            if let Some(notify) = parked.get(executor) {
                notify.notify_waiters();
            }
        }
    }

    /// Wakes every parked poll.
    pub(crate) fn wake_all(&self) {
        for notify in self.parked().values() {
            notify.notify_waiters();
        }
    }

    /// Parks a poll of this executor; to be done before the store is read, so that no wake-up falls between.
    pub(crate) fn park(&self, executor: &ExecutorId) -> Parked {
        let notify = Arc::clone(self.parked().entry(executor.clone()).or_default());
        Parked { bus: self.clone(), executor: executor.clone(), notify }
    }

    fn parked(&self) -> MutexGuard<'_, HashMap<ExecutorId, Arc<Notify>>> {
        self.0.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who watch.
    pub(crate) fn tell(&self, live: Live) {
        // Nobody watching is no error.
        drop(self.0.live.send(live));
    }

    /// Watches from now on.
    pub(crate) fn watch(&self) -> broadcast::Receiver<Live> {
        self.0.live.subscribe()
    }
}

/// A poll that waits for orders.
pub(crate) struct Parked {
    bus: Bus,
    executor: ExecutorId,
    notify: Arc<Notify>,
}

impl Parked {
    /// Waits until it is woken from now on.
    pub(crate) fn woken(&self) -> Notified<'_> {
        self.notify.notified()
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        let mut parked = self.bus.parked();
        // The map's and this one: no other poll of the executor is parked. Others are made only under the lock.
        if Arc::strong_count(&self.notify) == 2 {
            parked.remove(&self.executor);
        }
    }
}

#[cfg(test)]
mod tests {
    use stanch_model::Digest;

    use super::*;

    #[tokio::test]
    async fn an_order_wakes_its_executor_alone_and_who_left_leaves_nothing() {
        let bus = Bus::new();
        let [one, two] = [b"one", b"two"].map(|name| ExecutorId::from_digest(&Digest::of_bytes(name)));
        let polls = [bus.park(&one), bus.park(&one), bus.park(&two)];
        let mut woken: Vec<_> = polls.iter().map(|poll| Box::pin(poll.woken())).collect();
        for one in &mut woken {
            one.as_mut().enable();
        }
        let mut heard = || -> Vec<bool> { woken.iter_mut().map(|one| one.as_mut().enable()).collect() };
        bus.wake([&one]);
        assert_eq!(heard(), [true, true, false]);
        bus.wake_all();
        assert_eq!(heard(), [true, true, true]);
        drop(woken);
        let [first, again, other] = polls;
        drop(first);
        drop(other);
        assert_eq!(bus.parked().keys().collect::<Vec<_>>(), [&one]);
        drop(again);
        assert!(bus.parked().is_empty());
    }
}
