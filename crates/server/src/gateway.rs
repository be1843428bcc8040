//! The executors' way in: they ask for orders and hand over receipts. The server reaches nobody by itself.
//!
//! What an executor says is believed only as far as its pinned key signed it, and only about its own asset. One that
//! goes back in time (a copied or rewound machine) is frozen until a person looks.

mod callers;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use stanch_engine::hold::{About, brought};
use stanch_engine::rollout::keeps_back;
use stanch_ledger::NewEntry;
use stanch_model::Digest;
use stanch_model::id::{ExecutorId, OrderId};
use stanch_model::order::{Batch, Doubt, Held, Hello, Order, Progress, Receipt, Verb};
use stanch_model::own::Restored;
use stanch_model::sign::{SignError, Signed, VerifyingKey};
use stanch_store::asset::{SeenAsset, SeenBy};
use stanch_store::hold::HoldLevel;
use stanch_store::order::{DeliverOrder, OrderState, StoredOrder, VoidOrder};
use stanch_store::receipt::NewReceipt;
use stanch_store::{CommitError, ReadError, Transition, Write};

use crate::app::App;
use crate::bus::{Live, Stage};
use crate::pki::KeyError;
use crate::record::Record;
pub(crate) use callers::{Caller, Callers, is_written, know, know_all, remember, remembered};
use callers::{abilities, version, write};

/// Orders handed out with one poll.
const BATCH: u32 = 16;
/// Between two writes of an executor's unchanged record. With the time that a poll is parked it stays below what
/// `tasks::patience` bears: lists tell by the record who is connected.
const REMEMBER: SignedDuration = SignedDuration::from_mins(1);

/// How often a poll begins anew because another server was faster to say something of its executor.
pub(crate) const MEETINGS: usize = 4;
/// So many packages of Stanch's own there are.
const MOST_RESTORED: usize = 2;

/// Why an executor was not served.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Nobody registered it.
    #[error("the executor {0} is not registered")]
    Unknown(ExecutorId),
    /// It is frozen.
    #[error("the executor {executor} is frozen: {why}")]
    Frozen {
        /// Which one.
        executor: ExecutorId,
        /// Why.
        why: String,
    },
    /// It presents another key than the pinned one.
    #[error("the executor {0} presents another key than the one that was pinned")]
    OtherKey(ExecutorId),
    /// Its certificate is not in force any more.
    #[error("the certificate of the executor {0} is not in force")]
    NotInForce(ExecutorId),
    /// It says that it took orders that nobody can have given.
    #[error("the executor {0} stands where no executor can stand")]
    NoPosition(ExecutorId),
    /// It speaks about an asset that is not its own.
    #[error("the executor {0} speaks about an asset that is not its own")]
    OtherAsset(ExecutorId),
    /// The receipt is not signed by the pinned key.
    #[error("a receipt is not signed by the pinned key")]
    Signature(#[source] SignError),
    /// The receipt answers an order that was not given to this executor.
    #[error("there is no order {0} for this executor")]
    NoSuchOrder(OrderId),
    /// It has seen a newer issuer, and would believe no order.
    #[error("the executor {executor} has seen an issuer with serial {seen}, and this server's is {own}")]
    OldIssuer {
        /// Which one.
        executor: ExecutorId,
        /// What it has seen.
        seen: u64,
        /// This server's.
        own: u64,
    },
    /// The order key cannot be used.
    #[error("orders cannot be signed")]
    Keys(#[from] KeyError),
    /// The store cannot be read: no order is handed out.
    #[error("the store cannot be read")]
    Read(#[from] ReadError),
    /// The store cannot be written.
    #[error("the store cannot be written")]
    Commit(#[from] CommitError),
    /// An order could not be made.
    #[error("an order could not be made")]
    Order(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another server speaks with it at the same time.
    #[error("another server speaks with the executor {0}")]
    Elsewhere(ExecutorId),
    /// The server stops.
    #[error("the server stops")]
    Stopping,
}

/// Positions above this are no executor's: nobody was given so many orders.
const HIGHEST: u64 = 1 << 53;

/// The executors' way in.
#[derive(Clone)]
pub struct Gateway {
    app: App,
    /// What an executor of another machine has shown; nothing for one of this process.
    shown: Option<Digest>,
}

/// The same for a thread that may block, such as a local executor's.
#[derive(Clone)]
pub struct BlockingGateway {
    gateway: Gateway,
    runtime: tokio::runtime::Handle,
}

impl Gateway {
    pub(crate) const fn new(app: App) -> Self {
        Self { app, shown: None }
    }

    /// For an executor that has shown a certificate. That it is in force is looked at again with whatever it says: what
    /// it says may have been on its way for long.
    pub(crate) const fn behind_the_door(app: App, certificate: Digest) -> Self {
        Self { app, shown: Some(certificate) }
    }

    fn lets_in(&self, executor: &ExecutorId, caller: &Caller) -> Result<(), GatewayError> {
        match &self.shown {
            Some(shown) if !caller.certificates.contains(shown) => Err(GatewayError::NotInForce(executor.clone())),
            _ => Ok(()),
        }
    }

    /// The same for a thread that may block. Must be called inside the server's runtime.
    pub fn blocking(&self) -> BlockingGateway {
        BlockingGateway { gateway: self.clone(), runtime: tokio::runtime::Handle::current() }
    }

    /// The key that executors pin.
    pub fn root_key(&self) -> VerifyingKey {
        self.app.keys.root()
    }

    /// Makes an executor known and pins its receipt key; for the executor of this process, which the program itself
    /// vouches for. Known already, it must present the pinned key.
    ///
    /// # Errors
    /// When the store cannot be written. One that presents another key than the pinned one is registered and frozen:
    /// its polls say so, and the server runs on, so that a person can vouch for it.
    pub async fn register(&self, hello: &Hello) -> Result<(), GatewayError> {
        let now = self.app.now();
        self.app.runs_on(&hello.asset.id);
        let mut callers = self.app.callers.lock().await;
        let caller = match callers.get(&hello.executor).cloned() {
            Some(caller) if caller.key.is_some_and(|key| key != hello.key) => {
                let why = "it presented another key than the pinned one: its folder was lost, or it is another one";
                let anew = caller.frozen.as_deref() != Some(why);
                let caller = Caller { frozen: Some(why.to_owned()), ..caller };
                let caller = callers.put(hello.executor.clone(), caller);
                drop(callers);
                if anew {
                    self.tell_frozen(&hello.executor, &caller, why, now).await?;
                }
                return Ok(());
            }
            // One that a person vouched for is pinned by its next poll, which also tells where it stands.
            Some(caller) => Caller {
                actions: hello.actions.clone(),
                abilities: abilities(hello),
                deltas: hello.deltas,
                asset: hello.asset.clone(),
                version: version(hello),
                ..caller
            },
            None => Caller::new(hello, now),
        };
        let caller = callers.put(hello.executor.clone(), caller);
        drop(callers);
        write(&self.app, &hello.executor, &caller).await?;
        // What people said of the asset stays, whatever the host says of itself.
        let seen = Write::SeeAsset(SeenAsset { asset: hello.asset.clone(), by: SeenBy::Itself, at: now });
        let entry = NewEntry::new(now, "server", "executor_registered")
            .about(&hello.executor)
            .about(&hello.asset.id)
            .with(serde_json::json!({ "key": hello.key, "actions": hello.actions }));
        self.app.store.commit(Transition::new(entry).write(seen)).await?;
        self.app.bus.nudge(Stage::Schedule);
        Ok(())
    }

    /// Answers a poll with the orders above its position, or parks until there are some.
    ///
    /// # Errors
    /// When the executor is not known, frozen or not itself, or the store fails: then nothing is handed out.
    pub async fn poll(&self, hello: Hello) -> Result<Batch, GatewayError> {
        self.meet_anew(&hello).await?;
        self.note_restored(&hello).await?;
        self.app.turned_away(&hello).await;
        self.believed(&hello)?;
        self.hold(&hello).await?;
        let park = tokio::time::sleep(self.app.config.intervals.park);
        tokio::pin!(park);
        let closing = self.app.closing();
        tokio::pin!(closing);
        let parked = self.app.bus.park(&hello.executor);
        loop {
            let woken = parked.woken();
            tokio::pin!(woken);
            // From here on a wake-up is not lost, even if it comes while the store is being read.
            woken.as_mut().enable();
            let orders = self.orders_for(&hello).await?;
            if !orders.is_empty() {
                return self.hand_out(orders, &hello).await;
            }
            tokio::select! {
                () = &mut woken => {}
                () = &mut park => return self.app.sign_orders(Vec::new()),
                () = &mut closing => return Err(GatewayError::Stopping),
            }
        }
    }

    /// Notes versions of Stanch's own packages that did not prove themselves on a host: the host has brought the ones before
    /// back by itself, and the rollout sees it in the host's facts.
    async fn note_restored(&self, hello: &Hello) -> Result<(), GatewayError> {
        let sound = hello.restored.iter().filter(|restored| restored.is_sound()).take(MOST_RESTORED);
        let said: Vec<Restored> = sound.cloned().collect();
        let known = match self.app.callers.lock().await.get(&hello.executor) {
            Some(caller) if !said.is_empty() => caller.restored.clone(),
            _ => return Ok(()),
        };
        let now = self.app.now();
        for restored in said.iter().filter(|restored| !known.contains(restored)) {
            let event = if restored.not_restored.is_none() { "package_restored" } else { "package_not_restored" };
            let entry = NewEntry::new(now, hello.executor.to_string(), event)
                .about(&hello.executor)
                .about(&hello.asset.id)
                .with(serde_json::json!(restored));
            self.app.store.commit(Transition::new(entry)).await?;
        }
        let mut callers = self.app.callers.lock().await;
        let Some(caller) = callers.get(&hello.executor).cloned() else { return Ok(()) };
        let caller = callers.put(hello.executor.clone(), Caller { restored: said, ..caller });
        drop(callers);
        write(&self.app, &hello.executor, &caller).await?;
        // What it means for the rollout is told by newer facts.
        self.app.bus.nudge(Stage::Schedule);
        Ok(())
    }

    /// Whether an executor would believe what this server orders; where it would not, people see that.
    fn believed(&self, hello: &Hello) -> Result<(), GatewayError> {
        let own = self.app.sign_orders(Vec::new())?.chain.issuer.body.serial;
        let what = format!("orders to {}", hello.asset.name);
        if hello.issuer <= own {
            match hello.turned_away.first() {
                Some(away) => self.app.waits(&what, doubted(away.doubt)),
                None => self.app.goes_on(&what),
            }
            return Ok(());
        }
        let why =
            "it has seen a newer issuer: this server was restored, or another one is at work (stanch trust request)";
        self.app.waits(&what, why);
        Err(GatewayError::OldIssuer { executor: hello.executor.clone(), seen: hello.issuer, own })
    }

    /// Takes a receipt. The same one twice is harmless.
    ///
    /// # Errors
    /// When it is not signed by the pinned key, answers no order of this executor, or cannot be stored.
    pub async fn receipt(&self, receipt: Signed<Receipt>) -> Result<(), GatewayError> {
        let executor = receipt.body.executor.clone();
        know(&self.app, &executor).await?;
        let key = {
            let callers = self.app.callers.lock().await;
            let caller = callers.get(&executor).ok_or_else(|| GatewayError::Unknown(executor.clone()))?;
            self.lets_in(&executor, caller)?;
            caller.key.ok_or_else(|| GatewayError::OtherKey(executor.clone()))?
        };
        let body = receipt.open(&key).map_err(GatewayError::Signature)?;
        let order = self.app.store.order(&body.order).await?;
        let order = order.filter(|order| order.executor == executor && order.position == body.position);
        let order = order.ok_or_else(|| GatewayError::NoSuchOrder(body.order.clone()))?;
        let now = self.app.now();
        let digest = stanch_model::canonical::digest("stanch/receipt/v1", body)
            .map_err(|error| GatewayError::Signature(SignError::Canonical(error)))?;
        let mut entry = NewEntry::new(now, executor.to_string(), "receipt_taken")
            .about(&body.order)
            .resting_on("receipt", digest)
            .resting_on("journal", body.journal_head);
        if let Some(task) = &order.task {
            entry = entry.about(task);
        }
        let mut known = self.app.store.is_answered(&body.order).await?;
        if !known {
            let write = Write::NewReceipt(NewReceipt { receipt: receipt.clone(), at: now });
            match self.app.store.commit(Transition::new(entry).write(write)).await {
                Ok(_) => {}
                // Two threads of the executor may hand over the same receipt at once.
                Err(CommitError::Exists { .. }) => known = true,
                Err(error) => return Err(error.into()),
            }
        }
        if known {
            tracing::debug!(order = %body.order, "a receipt came again");
        } else {
            self.app.metrics.receipt();
        }
        self.app.bus.nudge(Stage::taking_up(order.verb.kind()));
        Ok(())
    }

    /// Keeps a word on the way for those who watch. It decides nothing.
    pub async fn progress(&self, progress: Progress) {
        let progress = Progress { message: progress.message.chars().take(500).collect(), ..progress };
        match &self.app.cluster {
            Some(cluster) if !cluster.leads() => crate::cluster::tell(&self.app, &progress).await,
            _ => show_progress(&self.app, progress).await,
        }
    }

    /// Has the executor follow the holds in the store. Orders to hold or release may be lost or too old; what it says
    /// of itself is compared anew with every poll.
    async fn hold(&self, hello: &Hello) -> Result<(), GatewayError> {
        let Some(held) = hello.held else { return Ok(()) };
        let holds = self.app.store.holds().await?;
        let known = if holds.is_empty() { None } else { self.app.store.asset(&hello.asset.id).await? };
        let environment = known.as_ref().and_then(|known| known.asset.environment.as_deref());
        let wanted = crate::view::strongest_whole(&holds, &hello.asset.id, environment);
        let stop_all = wanted.is_some_and(|hold| hold.level == HoldLevel::StopAll);
        let should = if wanted.is_some() { Held::by(stop_all) } else { Held::No };
        if held == should {
            return Ok(());
        }
        let now = self.app.now();
        let on_its_way = self.app.store.unanswered_orders(&hello.executor).await?;
        let on_its_way = on_its_way.iter().filter(|order| now < order.finish_before);
        let will_be = on_its_way.filter_map(|order| match order.verb {
            Verb::Hold { stop_all, .. } => Some((order.position, Held::by(stop_all))),
            Verb::Release => Some((order.position, Held::No)),
            _ => None,
        });
        if will_be.max_by_key(|(position, _)| *position).map(|(_, held)| held) == Some(should) {
            return Ok(());
        }
        let verb = match wanted {
            Some(hold) => Verb::Hold { stop_all, reason: hold.reason.clone() },
            None => Verb::Release,
        };
        let (_, write) = crate::tasks::orders::order(&self.app, &hello.executor, verb, now)
            .map_err(|error| GatewayError::Order(Box::new(error)))?;
        self.app.store.commit(Transition::silent(write)).await?;
        Ok(())
    }

    /// As [`Gateway::meet`], with what other servers have said of the executor until then.
    async fn meet_anew(&self, hello: &Hello) -> Result<(), GatewayError> {
        for _ in 0..MEETINGS {
            know(&self.app, &hello.executor).await?;
            match self.meet(hello).await {
                Err(GatewayError::Commit(error)) if error.is_conflict() && self.app.cluster.is_some() => {}
                ended => return ended,
            }
        }
        Err(GatewayError::Elsewhere(hello.executor.clone()))
    }

    /// Checks who polls, and remembers where it stands.
    async fn meet(&self, hello: &Hello) -> Result<(), GatewayError> {
        let now = self.app.now();
        let executor = &hello.executor;
        let mut last = self.app.store.last_position(executor).await?;
        let mut callers = self.app.callers.lock().await;
        let mut pinned = false;
        let mut caller = callers.get(executor).cloned().ok_or_else(|| GatewayError::Unknown(executor.clone()))?;
        self.lets_in(executor, &caller)?;
        if caller.key.is_none() {
            // A person vouched for it: what it is and where it stands counts from here on.
            stand(&self.app, hello).await?;
            last = last.max(hello.position);
            caller =
                Caller { confirmed: caller.confirmed, certificates: caller.certificates, ..Caller::new(hello, now) };
            pinned = true;
        }
        if caller.key != Some(hello.key) && caller.frozen.is_none() {
            return Err(GatewayError::OtherKey(executor.clone()));
        }
        if caller.asset.id != hello.asset.id {
            return Err(GatewayError::OtherAsset(executor.clone()));
        }
        if let Some(why) = caller.frozen.clone() {
            return Err(GatewayError::Frozen { executor: executor.clone(), why });
        }
        let came_back = now.duration_since(caller.seen_at) > SignedDuration::from_secs(60);
        let suspicion = if hello.position < caller.position || hello.counter < caller.counter {
            Some("its journal went back in time: it was restored, copied or replaced")
        } else if hello.position > last {
            Some(
                "it took orders that this server never gave: the server was restored, or the executor belongs elsewhere",
            )
        } else {
            None
        };
        if let Some(why) = suspicion {
            let before = caller.clone();
            caller.frozen = Some(why.to_owned());
            let caller = callers.put(executor.clone(), caller);
            drop(callers);
            if let Err(error) = self.tell_frozen(executor, &caller, why, now).await {
                // Nobody knows of it: the next poll is to find it again.
                self.app.callers.lock().await.put(executor.clone(), before);
                return Err(error);
            }
            return Err(GatewayError::Frozen { executor: executor.clone(), why: why.to_owned() });
        }
        // The newer certificate has arrived: those before it are out.
        let arrived = self.shown.is_some_and(|shown| caller.uses(shown));
        let other = caller.actions != hello.actions || caller.abilities != abilities(hello);
        let moved = pinned || arrived || caller.position != hello.position || other;
        caller.enrolled_with = None;
        caller.position = hello.position;
        caller.counter = hello.counter;
        caller.actions.clone_from(&hello.actions);
        caller.abilities = abilities(hello);
        caller.deltas = hello.deltas;
        caller.version = version(hello);
        caller.boot_id.clone_from(&hello.boot_id);
        caller.journal_head = hello.journal_head;
        caller.seen_at = now;
        // Another server has to see at once that one which comes to it went back in time.
        let remember = moved || self.app.cluster.is_some() || now.duration_since(caller.written_at) > REMEMBER;
        if remember {
            caller.written_at = now;
        }
        let caller = callers.put(executor.clone(), caller);
        drop(callers);
        if remember {
            write(&self.app, executor, &caller).await?;
        }
        if came_back {
            self.app.bus.tell(Live::of("executor", executor, "connected"));
        }
        if other {
            // What it can do, and whom it asks, is part of what policies decide by.
            self.app.want([hello.asset.id.clone()]);
            self.app.bus.nudge(Stage::Decide);
        }
        if moved {
            // Orders below its position are in its journal now.
            self.app.bus.nudge(Stage::Rollout);
        }
        Ok(())
    }

    async fn tell_frozen(
        &self,
        executor: &ExecutorId,
        caller: &Caller,
        why: &str,
        now: Timestamp,
    ) -> Result<(), GatewayError> {
        let entry =
            NewEntry::new(now, "server", "executor_frozen").about(executor).with(serde_json::json!({ "why": why }));
        self.app.store.commit(Transition::new(entry).write(remember(&self.app, executor, caller, now)?)).await?;
        is_written(&self.app, executor, caller).await;
        self.app.bus.tell(Live::of("executor", executor, why));
        Ok(())
    }

    /// Orders that may be handed out now. Holds are read from the store every time: when that fails, nothing goes out.
    async fn orders_for(&self, hello: &Hello) -> Result<Vec<StoredOrder>, GatewayError> {
        let holds = self.app.store.holds().await?;
        let orders = self.app.store.orders_after(&hello.executor, hello.position, BATCH).await?;
        let mut out = Vec::with_capacity(orders.len());
        for order in orders {
            if self.is_held(&order.verb, &holds, hello).await? {
                // One that was handed out in vain: as it has not taken it, it must not count as if it had.
                if order.state == OrderState::Delivered && self.is_newest(hello).await {
                    let void = VoidOrder { id: order.id, unless_delivered: false };
                    self.app.store.put(Write::VoidOrder(void)).await?;
                }
                continue;
            }
            // One whose time is over is ordered anew by whoever needs it.
            if self.app.now() < order.finish_before {
                out.push(order);
            }
        }
        Ok(out)
    }

    /// Whether the executor is still to be answered: it has not polled again since (what an older poll is answered nobody
    /// may read any more), and nobody has frozen it or put it out.
    async fn is_newest(&self, hello: &Hello) -> bool {
        if know(&self.app, &hello.executor).await.is_err() {
            return false;
        }
        let callers = self.app.callers.lock().await;
        let answers = |caller: &Caller| {
            let same = caller.counter == hello.counter && caller.key == Some(hello.key);
            // Where another server has spoken with it since, that one answers.
            let same = same && (self.app.cluster.is_none() || caller.rests_on.is_none());
            same && caller.frozen.is_none() && self.lets_in(&hello.executor, caller).is_ok()
        };
        callers.get(&hello.executor).is_some_and(answers)
    }

    /// Whether a hold keeps an order back. What takes back is kept back only where everything is stopped.
    async fn is_held(
        &self,
        verb: &Verb,
        holds: &[stanch_store::hold::Hold],
        hello: &Hello,
    ) -> Result<bool, GatewayError> {
        let (grant, undoes) = match verb {
            Verb::Apply(grant) => (grant, false),
            Verb::Undo { grant, .. } => (grant, true),
            _ => return Ok(false),
        };
        let counts = |hold: &stanch_store::hold::Hold| keeps_back(hold.level, undoes);
        if !holds.iter().any(counts) {
            return Ok(false);
        }
        let store = &self.app.store;
        let known = store.asset(&hello.asset.id).await?;
        let task = store.task(&grant.task).await?;
        let remediation = match task {
            Some(task) => store.remediation(&task.remediation).await?,
            None => None,
        };
        // What it belongs to is not known, and so not what the hold is about.
        let Some(rollout) = remediation.and_then(|row| Record::read(&row.body).rollout) else { return Ok(true) };
        let actions = grant.leaf.steps.iter().map(|step| step.action.clone()).collect();
        let versions = brought(&grant.leaf.steps);
        let about = About {
            asset: &hello.asset.id,
            environment: known.as_ref().and_then(|known| known.asset.environment.as_deref()),
            policies: &rollout.policies,
            actions: &actions,
            versions: &versions,
        };
        Ok(holds.iter().any(|hold| counts(hold) && about.is_covered_by(&crate::view::hold_scope(hold))))
    }

    async fn hand_out(&self, orders: Vec<StoredOrder>, hello: &Hello) -> Result<Batch, GatewayError> {
        let now = self.app.now();
        let orders = orders.into_iter().map(|order| Order {
            id: order.id,
            executor: order.executor,
            position: order.position,
            nonce: hello.nonce,
            start_within_seconds: order.start_within_seconds,
            finish_before: order.finish_before,
            verb: order.verb,
        });
        let mut batch = self.app.sign_orders(orders.collect())?;
        if !self.is_newest(hello).await {
            batch.orders.clear();
            return Ok(batch);
        }
        let mut handed = Vec::new();
        for signed in batch.orders {
            let write = Write::DeliverOrder(DeliverOrder { signed: signed.clone(), at: now });
            match self.app.store.commit(Transition::silent(write)).await {
                Ok(_) => handed.push(signed),
                // It was withdrawn or answered in the meantime.
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
        // A hold may have been set while this was written down. What is kept back now is ordered anew when it ends: it
        // must not count as handed out, and the executor may take what comes after it.
        let holds = self.app.store.holds().await?;
        batch.orders = Vec::with_capacity(handed.len());
        if !self.is_newest(hello).await {
            return Ok(batch);
        }
        for signed in handed {
            if self.is_held(&signed.body.verb, &holds, hello).await? {
                let void = VoidOrder { id: signed.body.id.clone(), unless_delivered: false };
                self.app.store.put(Write::VoidOrder(void)).await?;
            } else {
                batch.orders.push(signed);
            }
        }
        Ok(batch)
    }
}

impl BlockingGateway {
    /// As [`Gateway::register`].
    ///
    /// # Errors
    /// As [`Gateway::register`].
    pub fn register(&self, hello: &Hello) -> Result<(), GatewayError> {
        self.runtime.block_on(self.gateway.register(hello))
    }

    /// As [`Gateway::poll`].
    ///
    /// # Errors
    /// As [`Gateway::poll`].
    pub fn poll(&self, hello: Hello) -> Result<Batch, GatewayError> {
        self.runtime.block_on(self.gateway.poll(hello))
    }

    /// As [`Gateway::receipt`].
    ///
    /// # Errors
    /// As [`Gateway::receipt`].
    pub fn receipt(&self, receipt: Signed<Receipt>) -> Result<(), GatewayError> {
        self.runtime.block_on(self.gateway.receipt(receipt))
    }

    /// As [`Gateway::progress`], at most for a second: it may be lost.
    pub fn progress(&self, progress: Progress) {
        let told = self
            .runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(1), self.gateway.progress(progress)).await });
        if told.is_err() {
            tracing::debug!("a word on the way was lost");
        }
    }
}

/// Shows a word on the way to those who watch.
pub(crate) async fn show_progress(app: &App, progress: Progress) {
    let Ok(Some(order)) = app.store.order(&progress.order).await else { return };
    let remediation = match &order.task {
        Some(task) => app.store.task(task).await.ok().flatten().map(|task| task.remediation.to_string()),
        None => None,
    };
    let subject = order.task.map_or_else(|| progress.order.to_string(), |task| task.to_string());
    let text = progress.message.clone();
    app.keep_progress(progress);
    app.bus.tell(Live { kind: "progress", subject, remediation, text });
}

/// Whether an executor can stand where it says that it does.
pub(crate) fn may_stand(app: &App, hello: &Hello) -> Result<(), GatewayError> {
    if hello.position.epoch > app.epoch || hello.position.generation > HIGHEST {
        return Err(GatewayError::NoPosition(hello.executor.clone()));
    }
    Ok(())
}

/// Has the orders to an executor rise from where its journal stands; those it took before are not this server's.
pub(crate) async fn stand(app: &App, hello: &Hello) -> Result<(), GatewayError> {
    may_stand(app, hello)?;
    let last = app.store.last_position(&hello.executor).await?;
    if hello.position > last {
        let verb = Verb::Observe { refresh: false, since: None };
        let write = crate::tasks::orders::after(app, &hello.executor, verb, hello.position, app.now())
            .map_err(|error| GatewayError::Order(Box::new(error)))?;
        app.store.commit(Transition::silent(write)).await?;
    }
    Ok(())
}

/// A person says that an executor that was let in is one of ours: what policies grant for its asset counts from now on.
pub(crate) async fn confirm(app: &App, who: &str, executor: &ExecutorId) -> Result<bool, GatewayError> {
    for _ in 1..MEETINGS {
        match confirm_once(app, who, executor).await {
            // Another server was faster to say something of it.
            Err(GatewayError::Commit(error)) if error.is_conflict() => {}
            ended => return ended,
        }
    }
    confirm_once(app, who, executor).await
}

async fn confirm_once(app: &App, who: &str, executor: &ExecutorId) -> Result<bool, GatewayError> {
    let _making = app.making.lock().await;
    know(app, executor).await?;
    let caller = {
        let mut callers = app.callers.lock().await;
        let Some(caller) = callers.get(executor).cloned() else { return Ok(false) };
        callers.put(executor.clone(), Caller { confirmed: true, ..caller })
    };
    let now = app.now();
    let entry = NewEntry::new(now, who, "executor_confirmed").about(executor).about(&caller.asset.id);
    app.store.commit(Transition::new(entry).write(remember(app, executor, &caller, now)?)).await?;
    is_written(app, executor, &caller).await;
    app.want([caller.asset.id]);
    app.bus.nudge(Stage::Decide);
    app.bus.tell(Live::of("executor", executor, "was confirmed"));
    Ok(true)
}

/// A person vouches for an executor that was frozen: its next call pins whatever key it presents.
pub(crate) async fn trust(app: &App, who: &str, executor: &ExecutorId) -> Result<bool, GatewayError> {
    for _ in 1..MEETINGS {
        match trust_once(app, who, executor).await {
            // Another server was faster to say something of it.
            Err(GatewayError::Commit(error)) if error.is_conflict() => {}
            ended => return ended,
        }
    }
    trust_once(app, who, executor).await
}

async fn trust_once(app: &App, who: &str, executor: &ExecutorId) -> Result<bool, GatewayError> {
    let _making = app.making.lock().await;
    know(app, executor).await?;
    let (before, caller) = {
        let mut callers = app.callers.lock().await;
        let Some(before) = callers.get(executor).cloned() else { return Ok(false) };
        // One that comes over the network enrols anew: a copy of it has the same certificate.
        let caller = Caller { frozen: None, put_out: false, key: None, certificates: Vec::new(), ..before.clone() };
        (before, callers.put(executor.clone(), caller))
    };
    let done = vouched(app, who, executor, &caller).await;
    if done.is_err() {
        app.callers.lock().await.put(executor.clone(), before);
    }
    done?;
    // A poll that is parked ends now.
    app.bus.wake([executor]);
    Ok(true)
}

/// What it was to do before is taken back, since nobody knows what became of it: its journal is asked, if it still has one.
async fn vouched(app: &App, who: &str, executor: &ExecutorId, caller: &Caller) -> Result<(), GatewayError> {
    let now = app.now();
    let entry = NewEntry::new(now, who, "executor_trusted").about(executor);
    let acts = |verb: &Verb| matches!(verb, Verb::Apply(_) | Verb::Undo { .. } | Verb::Rehearse { .. });
    let open = app.store.unanswered_orders(executor).await?.into_iter().filter(|order| acts(&order.verb));
    let void = open.map(|order| Write::VoidOrder(VoidOrder { id: order.id, unless_delivered: false }));
    let transition = void.fold(Transition::new(entry).write(remember(app, executor, caller, now)?), Transition::write);
    app.store.commit(transition).await?;
    is_written(app, executor, caller).await;
    Ok(())
}

/// What people are told of an executor that does not take an order, and what they can do.
const fn doubted(doubt: Doubt) -> &'static str {
    match doubt {
        Doubt::CertificateTime => {
            "its clock and the server's do not agree: it takes no order whose certificate is not valid there now; compare them"
        }
        Doubt::NoPoll | Doubt::TooLate => {
            "what it is sent comes too late: it is sent again; if that goes on, look at the line and at its clock"
        }
        _ => "it does not believe what it is sent: see order_turned_away in the record, and look at who is in between",
    }
}
