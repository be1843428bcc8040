//! The executors' way in: they ask for orders and hand over receipts. The server reaches nobody by itself.
//!
//! What an executor says is believed only as far as its pinned key signed it, and only about its own asset. One that
//! goes back in time (a copied or rewound machine) is frozen until a person looks.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use stanch_engine::hold::{About, brought};
use stanch_engine::rollout::keeps_back;
use stanch_ledger::NewEntry;
use stanch_model::Digest;
use stanch_model::ability::Abilities;
use stanch_model::asset::Asset;
use stanch_model::id::{AssetId, ExecutorId, OrderId};
use stanch_model::order::{Batch, Held, Hello, Order, Position, Progress, Receipt, Verb};
use stanch_model::own::Restored;
use stanch_model::sign::{SignError, Signed, VerifyingKey};
use stanch_model::trust::Demand;
use stanch_store::asset::{SeenAsset, SeenBy};
use stanch_store::executor::{Standing, StoredExecutor};
use stanch_store::hold::HoldLevel;
use stanch_store::order::{DeliverOrder, OrderState, StoredOrder, VoidOrder};
use stanch_store::receipt::NewReceipt;
use stanch_store::{CommitError, ReadError, Transition, Write};

use crate::app::App;
use crate::bus::{Live, Stage};
use crate::pki::KeyError;
use crate::record::Record;

/// Orders handed out with one poll.
const BATCH: u32 = 16;
/// Between two writes of an executor's unchanged record. With the time that a poll is parked it stays below what
/// `tasks::patience` bears: lists tell by the record who is connected.
const REMEMBER: SignedDuration = SignedDuration::from_mins(1);

/// How often a poll begins anew because another server was faster to say something of its executor.
pub(crate) const MEETINGS: usize = 4;
/// So many packages of Stanch's own there are.
const MOST_RESTORED: usize = 2;

/// The most bytes of a version.
const LONGEST_VERSION: usize = 40;

/// What is remembered of an executor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Caller {
    /// The asset it runs on: the only one it may speak about.
    pub(crate) asset: Asset,
    /// Its pinned receipt key; `None` after a person said that the next one may be pinned.
    pub(crate) key: Option<VerifyingKey>,
    pub(crate) actions: Vec<String>,
    /// What it probed when it started, if it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) abilities: Option<Abilities>,
    pub(crate) position: Position,
    pub(crate) counter: u64,
    pub(crate) boot_id: String,
    pub(crate) journal_head: Digest,
    pub(crate) seen_at: Timestamp,
    /// The version of its program, as it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// Why it is sent nothing.
    pub(crate) frozen: Option<String>,
    /// What it said of versions that did not prove themselves there; each is in the record once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    restored: Vec<Restored>,
    /// It is frozen because a person has put it out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    put_out: bool,
    /// A person, a rule or the program itself has said that it is one of ours; until then its asset is only looked at.
    #[serde(default = "yes")]
    pub(crate) confirmed: bool,
    /// The certificates in force, by their SHA-256: the one it uses and the one it was last given. None where it does not
    /// come over the network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    certificates: Vec<Digest>,
    /// The token with which it enrolled, until it has polled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    enrolled_with: Option<String>,
    #[serde(skip)]
    written_at: Timestamp,
    #[serde(skip)]
    revision: u64,
    /// The revision that another server wrote, while this one has said nothing since.
    #[serde(skip)]
    rests_on: Option<u64>,
    /// The highest revision that is known to stand in the store.
    #[serde(skip)]
    stored: u64,
}

/// What an executor says its version is, as far as that is one.
fn version(hello: &Hello) -> Option<String> {
    let plain = |version: &&String| version.len() <= LONGEST_VERSION && version.bytes().all(|c| c.is_ascii_graphic());
    hello.version.as_ref().filter(plain).cloned()
}

/// What an executor says that it can do, as far as that makes sense.
fn abilities(hello: &Hello) -> Option<Abilities> {
    hello.abilities.clone().map(Abilities::sound)
}

/// What was known before people were asked had come with this program.
const fn yes() -> bool {
    true
}

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
            self.app.goes_on(&what);
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

impl Caller {
    /// One that was let in.
    pub(crate) fn enrolled(
        hello: &Hello,
        certificate: Digest,
        (confirmed, with): (bool, String),
        before: Option<&Self>,
        now: Timestamp,
    ) -> Self {
        let revision = before.map_or(0, |before| before.revision).saturating_add(1);
        let rests_on = before.and_then(|before| before.rests_on);
        // What a person has confirmed stays so when it enrols again.
        let confirmed = confirmed || before.is_some_and(|before| before.confirmed);
        Self {
            confirmed,
            certificates: vec![certificate],
            enrolled_with: Some(with),
            revision,
            rests_on,
            ..Self::new(hello, now)
        }
    }

    /// Whether it enrolled with this token and this key and has said nothing since: it may not have heard the answer.
    pub(crate) fn waits_for_answer(&self, hello: &Hello, token: &str) -> bool {
        self.key == Some(hello.key) && self.enrolled_with.as_deref() == Some(token) && self.frozen.is_none()
    }

    /// It is given another certificate. Of those before it keeps the one that it uses: the other may be lost on its way.
    /// Nothing when the one that it has shown is not in force, or it is frozen.
    pub(crate) fn gets(&mut self, shown: &Digest, certificate: Digest) -> Option<()> {
        let known = self.certificates.contains(shown) && self.frozen.is_none();
        known.then(|| self.certificates = vec![*shown, certificate])
    }

    /// It has come with this certificate: if that is the newest of several, the others are out. Answers whether any is.
    fn uses(&mut self, shown: Digest) -> bool {
        let newest = self.certificates.len() > 1 && self.certificates.last() == Some(&shown);
        if newest {
            self.certificates = vec![shown];
        }
        newest
    }

    /// No certificate of it is in force any more, and it is sent nothing.
    pub(crate) fn put_out(&mut self, why: String) {
        self.certificates.clear();
        self.frozen = Some(why);
        self.put_out = true;
    }

    fn new(hello: &Hello, now: Timestamp) -> Self {
        Self {
            asset: hello.asset.clone(),
            key: Some(hello.key),
            actions: hello.actions.clone(),
            abilities: abilities(hello),
            version: version(hello),
            position: hello.position,
            counter: 0,
            boot_id: hello.boot_id.clone(),
            journal_head: hello.journal_head,
            seen_at: now,
            frozen: None,
            restored: Vec::new(),
            put_out: false,
            confirmed: true,
            certificates: Vec::new(),
            enrolled_with: None,
            written_at: now,
            revision: 0,
            rests_on: None,
            stored: 0,
        }
    }

    /// Whom it asks to vouch for plans.
    pub(crate) fn demands(&self) -> Option<&Demand> {
        self.abilities.as_ref().and_then(|abilities| abilities.demands.as_ref())
    }

    /// What stands between it and its orders.
    fn standing(&self) -> Standing {
        match &self.frozen {
            Some(_) if self.put_out => Standing::PutOut,
            Some(_) => Standing::Frozen,
            None if !self.confirmed => Standing::Unconfirmed,
            None => Standing::In,
        }
    }

    /// Whether it called within this time.
    pub(crate) fn is_connected(&self, now: Timestamp, within: Duration) -> bool {
        let within = SignedDuration::try_from(within).unwrap_or(SignedDuration::MAX);
        self.frozen.is_none() && now.duration_since(self.seen_at) <= within
    }
}

/// Every executor that is known, also by the asset that it serves.
#[derive(Debug, Default)]
pub(crate) struct Callers {
    all: HashMap<ExecutorId, Caller>,
    serves: HashMap<AssetId, ExecutorId>,
    with: HashMap<Digest, ExecutorId>,
}

impl Callers {
    /// One of them.
    pub(crate) fn get(&self, id: &ExecutorId) -> Option<&Caller> {
        self.all.get(id)
    }

    /// The one that serves an asset.
    pub(crate) fn of(&self, asset: &AssetId) -> Option<(&ExecutorId, &Caller)> {
        self.serves.get(asset).and_then(|id| self.all.get_key_value(id))
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ExecutorId, &Caller)> {
        self.all.iter()
    }

    /// The assets of those that nobody has confirmed.
    pub(crate) fn unconfirmed(&self) -> BTreeSet<AssetId> {
        self.all.values().filter(|caller| !caller.confirmed).map(|caller| caller.asset.id.clone()).collect()
    }

    /// The assets whose executors begin nothing that nobody signed for.
    pub(crate) fn demanding(&self) -> BTreeSet<AssetId> {
        let demands = |caller: &&Caller| caller.demands().is_some();
        self.all.values().filter(demands).map(|caller| caller.asset.id.clone()).collect()
    }

    /// The one that this certificate was given to, while it is in force.
    pub(crate) fn with_certificate(&self, certificate: &Digest) -> Option<&ExecutorId> {
        self.with.get(certificate)
    }

    /// Takes one as another server has it, unless that is known, or something later is. Answers whether it was news.
    fn take(&mut self, id: ExecutorId, caller: Caller) -> bool {
        let (revision, rests_on) = (caller.revision, caller.rests_on);
        let is_known = |known: &Caller| known.rests_on == Some(revision) || known.stored >= revision;
        if self.all.get(&id).is_some_and(is_known) {
            return false;
        }
        self.put(id.clone(), caller);
        if let Some(caller) = self.all.get_mut(&id) {
            (caller.revision, caller.rests_on, caller.stored) = (revision, rests_on, revision);
        }
        true
    }

    /// What this server said of one stands in the store: what it says next rests on that.
    fn is_written(&mut self, id: &ExecutorId, revision: u64) {
        if let Some(caller) = self.all.get_mut(id) {
            caller.stored = caller.stored.max(revision);
            if caller.rests_on.is_some_and(|rests_on| rests_on < revision) {
                caller.rests_on = None;
            }
        }
    }

    /// Puts one in its place. Answers it as it is to be remembered.
    pub(crate) fn put(&mut self, id: ExecutorId, mut caller: Caller) -> Caller {
        if let Some(before) = self.all.get(&id) {
            caller.revision = caller.revision.max(before.revision).saturating_add(1);
            caller.rests_on = caller.rests_on.or(before.rests_on);
            caller.stored = caller.stored.max(before.stored);
            if before.asset.id != caller.asset.id {
                self.serves.remove(&before.asset.id);
            }
            for gone in before.certificates.iter().filter(|one| !caller.certificates.contains(one)) {
                self.with.remove(gone);
            }
        } else {
            caller.revision = caller.revision.saturating_add(1);
        }
        self.with.extend(caller.certificates.iter().map(|certificate| (*certificate, id.clone())));
        self.serves.insert(caller.asset.id.clone(), id.clone());
        self.all.insert(id, caller.clone());
        caller
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

/// The executors that were known when the server stopped.
pub(crate) async fn remembered(store: &stanch_store::Store, writer: &str) -> Result<Callers, ReadError> {
    let mut callers = Callers::default();
    for known in store.executors().await? {
        callers.take(known.id.clone(), read(known, writer)?);
    }
    Ok(callers)
}

/// An executor as it was written down, by this server or by another.
fn read(known: StoredExecutor, own: &str) -> Result<Caller, ReadError> {
    let damaged =
        |error: serde_json::Error| ReadError::Damaged { noun: "executor", detail: format!("{}: {error}", known.id) };
    let caller: Caller = serde_json::from_value(known.body).map_err(damaged)?;
    let rests_on = (known.writer != own).then_some(known.revision);
    Ok(Caller { revision: known.revision, rests_on, ..caller })
}

/// Takes what other servers have said of all executors. One that does not read is left as it was.
pub(crate) async fn know_all(app: &App) -> Result<(), ReadError> {
    for known in app.store.executors().await? {
        if known.writer == app.writer() {
            continue;
        }
        let id = known.id.clone();
        match read(known, app.writer()) {
            Ok(caller) => drop(app.callers.lock().await.take(id, caller)),
            Err(error) => tracing::warn!(error = crate::error::chain(&error), "what is known of an executor"),
        }
    }
    Ok(())
}

/// Takes what another server has said of an executor since this one did.
pub(crate) async fn know(app: &App, executor: &ExecutorId) -> Result<(), ReadError> {
    if app.cluster.is_none() {
        return Ok(());
    }
    let Some((writer, revision)) = app.store.executor_writer(executor).await? else { return Ok(()) };
    let is_known = |caller: &Caller| caller.rests_on == Some(revision);
    if writer == app.writer() || app.callers.lock().await.get(executor).is_some_and(is_known) {
        return Ok(());
    }
    let Some(known) = app.store.executor(executor).await?.filter(|known| known.writer != app.writer()) else {
        return Ok(());
    };
    let caller = read(known, app.writer())?;
    let before = {
        let mut callers = app.callers.lock().await;
        let before = callers.get(executor).cloned();
        // This server may have said something later while the row was read.
        if !callers.take(executor.clone(), caller.clone()) {
            return Ok(());
        }
        before
    };
    // One that it parked here sees that it was put out, or that it is answered elsewhere.
    app.bus.wake([executor]);
    let said = |caller: &Caller| (caller.actions.clone(), caller.abilities.clone(), caller.confirmed);
    if before.as_ref().map(said) != Some(said(&caller)) {
        app.want([caller.asset.id.clone()]);
        app.bus.nudge(Stage::Decide);
    }
    if before.as_ref().is_some_and(|before| before.position != caller.position) {
        app.bus.nudge(Stage::Rollout);
    }
    if before.is_none() {
        app.bus.nudge(Stage::Schedule);
        app.bus.tell(Live::of("executor", executor, "was let in by another server"));
    }
    Ok(())
}

/// What remembers an executor as it is now.
pub(crate) fn remember(app: &App, id: &ExecutorId, caller: &Caller, now: Timestamp) -> Result<Write, GatewayError> {
    let body = serde_json::to_value(caller).map_err(|error| CommitError::Encode {
        noun: "executor",
        id: id.to_string(),
        detail: error.to_string(),
    })?;
    Ok(Write::PutExecutor(StoredExecutor {
        id: id.clone(),
        asset: caller.asset.id.clone(),
        standing: caller.standing(),
        seen_at: caller.seen_at,
        revision: caller.revision,
        writer: app.writer().to_owned(),
        rests_on: caller.rests_on.unwrap_or(0),
        body,
        at: now,
    }))
}

/// Notes that what this server said of an executor stands in the store.
pub(crate) async fn is_written(app: &App, id: &ExecutorId, caller: &Caller) {
    if app.cluster.is_some() {
        app.callers.lock().await.is_written(id, caller.revision);
    }
}

async fn write(app: &App, id: &ExecutorId, caller: &Caller) -> Result<(), GatewayError> {
    app.store.commit(Transition::silent(remember(app, id, caller, app.now())?)).await?;
    is_written(app, id, caller).await;
    Ok(())
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
        let verb = Verb::Observe { refresh: false };
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
