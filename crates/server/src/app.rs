//! What every part of the server shares.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use stanch_engine::rollout::Openings;
use stanch_ledger::{NewEntry, Signer};
use stanch_model::Digest;
use stanch_model::id::{ActorId, AssetId, ExecutorId, OrderId, RemediationId};
use stanch_model::order::{Doubt, Hello, MOST_TURNED_AWAY, Order, Progress, TurnedAway};
use stanch_model::sign::Signed;
use stanch_store::retention::{Kept, Noun};
use stanch_store::{Store, Transition};
use tokio::sync::{Mutex as AsyncMutex, watch};

use crate::api::types::Waiting;
use crate::auth::{Links, Passwords, Seal, Seen, oidc};
use crate::bus::{Bus, Live};
use crate::clock::NoEntropy;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::error::StartError;
use crate::fleet::Authority;
use crate::gateway::Callers;
use crate::knowledge::Knowledge;
use crate::metrics::Metrics;
use crate::pki::{KeyError, Keys, OrderKey};
use crate::policies::Policies;
use crate::retention::Sweep;
use crate::tasks::attention::Attention;
use crate::tasks::edition::Edition;
use crate::undecided::{Undecided, Walk};

/// Refusals of strangers that are recorded within a minute, at most.
const STRANGERS: usize = 10;
/// What waits when no order can be signed.
const ORDERS: &str = "orders to executors";

/// The shared parts, by reference.
#[derive(Clone)]
pub(crate) struct App(Arc<Parts>);

/// The shared parts.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) keys: Keys,
    pub(crate) signer: Signer,
    pub(crate) bus: Bus,
    pub(crate) links: Links,
    pub(crate) passwords: Passwords,
    /// When tokens were last seen.
    pub(crate) tokens_seen: Seen,
    /// What is known of providers of identities.
    pub(crate) providers: oidc::Providers,
    /// Closes secrets that the store keeps.
    pub(crate) seal: Seal,
    pub(crate) started_at: Timestamp,
    /// The store's epoch: rises with every restore from a backup.
    pub(crate) epoch: u64,
    /// The feeds in force.
    pub(crate) knowledge: Knowledge,
    /// The policies in force.
    pub(crate) policies: Policies,
    /// Executors that called since this server started.
    pub(crate) callers: AsyncMutex<Callers>,
    /// Assets whose executor runs in this process.
    here: Mutex<BTreeSet<AssetId>>,
    pub(crate) metrics: Metrics,
    order_key: Mutex<Option<OrderKey>>,
    /// Executors whose refusal was recorded lately, and whether they were known.
    refused: Mutex<HashMap<(ExecutorId, bool), Timestamp>>,
    /// Executors whose doubt about an order was recorded lately.
    doubted: Mutex<HashMap<(ExecutorId, Doubt), Timestamp>>,
    /// This server among several, where they share a database.
    pub(crate) cluster: Option<Cluster>,
    /// Vouches for executors on other machines, where they are let in.
    pub(crate) authority: Option<Arc<Authority>>,
    attention: Mutex<Attention>,
    waiting: Mutex<BTreeMap<String, Waiting>>,
    progress: Mutex<HashMap<OrderId, Progress>>,
    /// Assets with facts on which no detector has run, or not by the feeds in force.
    unjudged: Mutex<BTreeSet<AssetId>>,
    /// The edition of the feeds that the fleet is judged by.
    edition: Mutex<Option<Edition>>,
    /// What nobody has assessed yet, and what is being assessed.
    unassessed: Mutex<(Unassessed, Unassessed)>,
    /// Somebody asked for newer feeds.
    feeds_wanted: std::sync::atomic::AtomicBool,
    undecided: Mutex<Undecided>,
    /// When each remediation may start, as its calendars have it, with the bundle that was worked out for.
    openings: Mutex<HashMap<RemediationId, (Digest, Openings)>>,
    /// Until when nothing is to be asked of an asset.
    resting: Mutex<HashMap<AssetId, Timestamp>>,
    /// When a folder of feeds was last read.
    feeds_read: Mutex<HashMap<String, Timestamp>>,
    /// How far what is old was taken away.
    pub(crate) sweep: AsyncMutex<Sweep>,
    /// What there is, as it was last measured.
    pub(crate) kept: AsyncMutex<Option<Measured>>,
    /// Signs checkpoints; taken by the sealer's pass and before an export.
    pub(crate) sealer: AsyncMutex<Option<stanch_store::Sealer>>,
    /// Remediations are made one after the other: whoever asks twice at once gets one.
    pub(crate) making: AsyncMutex<()>,
    /// Taken while the row of a feed is read and written, so that a person's word and a fetch do not undo each other.
    pub(crate) feeding: AsyncMutex<()>,
    closing: OnceLock<watch::Receiver<bool>>,
    address: OnceLock<SocketAddr>,
    door: OnceLock<SocketAddr>,
}

/// What there is of each noun, and when it was measured.
pub(crate) type Measured = (Timestamp, Vec<(Noun, Kept)>);

/// What nobody has assessed yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unassessed {
    /// All assets, as far as the detectors ran later than they were assessed: so it is after a start.
    pub(crate) everything: bool,
    /// These; where it says so also what was assessed since the detectors ran.
    pub(crate) on: BTreeMap<AssetId, bool>,
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    pub(crate) async fn new(mut config: Config, store: Store, keys: Keys) -> Result<Self, StartError> {
        if let Some(url) = &config.public_url {
            let (url, host) = public(url).ok_or_else(|| StartError::PublicUrl(url.clone()))?;
            config.hosts.push(host);
            config.public_url = Some(url);
        }
        let seal = Seal::new(keys.sealing()).map_err(|error| StartError::Seal(Box::new(error)))?;
        let now = config.clock.now();
        let unread = |source| StartError::Store { at: config.store.clone(), source: Box::new(source) };
        let epoch = store.epoch().await.map_err(unread)?;
        let cluster = match store.is_shared() {
            true => Some(Cluster::new(&config.data_dir, config.entropy.as_ref())?),
            false => None,
        };
        let writer = cluster.as_ref().map_or("", Cluster::id);
        let callers = crate::gateway::remembered(&store, writer).await.map_err(unread)?;
        let signer = keys.signer().map_err(StartError::Keys)?;
        let knowledge = Knowledge::open(&config)?;
        let policies = Policies::open(config.policies.clone(), &config.data_dir, &store).await.map_err(unread)?;
        let authority = match &config.executors {
            Some(door) => {
                let (mut names, clock, entropy) = (door.names.clone(), config.clock.clone(), config.entropy.clone());
                names.extend(config.advertise.as_deref().map(crate::cluster::host_of));
                let authority = Authority::open(&config.data_dir, names, clock, entropy);
                let authority = authority.map_err(|error| StartError::Authority(Box::new(error)))?;
                authority.check().map_err(|error| StartError::Authority(Box::new(error)))?;
                Some(Arc::new(authority))
            }
            None => None,
        };
        Ok(Self(Arc::new(Parts {
            config,
            store,
            keys,
            signer,
            bus: Bus::new(),
            links: Links::default(),
            passwords: Passwords::default(),
            tokens_seen: Seen::default(),
            providers: oidc::Providers::default(),
            seal,
            started_at: now,
            epoch,
            knowledge,
            policies,
            callers: AsyncMutex::new(callers),
            here: Mutex::default(),
            metrics: Metrics::default(),
            order_key: Mutex::default(),
            refused: Mutex::default(),
            doubted: Mutex::default(),
            cluster,
            authority,
            attention: Mutex::default(),
            waiting: Mutex::default(),
            progress: Mutex::default(),
            unjudged: Mutex::default(),
            edition: Mutex::default(),
            unassessed: Mutex::new((Unassessed { everything: true, on: BTreeMap::new() }, Unassessed::default())),
            feeds_wanted: std::sync::atomic::AtomicBool::new(false),
            undecided: Mutex::new(Undecided::all()),
            openings: Mutex::default(),
            resting: Mutex::default(),
            feeds_read: Mutex::default(),
            sweep: AsyncMutex::default(),
            kept: AsyncMutex::default(),
            sealer: AsyncMutex::new(None),
            making: AsyncMutex::new(()),
            feeding: AsyncMutex::new(()),
            closing: OnceLock::new(),
            address: OnceLock::new(),
            door: OnceLock::new(),
        })))
    }

    /// The name under which this server writes what it knows of executors; empty where it is alone.
    pub(crate) fn writer(&self) -> &str {
        self.cluster.as_ref().map_or("", Cluster::id)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.config.clock.now()
    }

    /// Says that those who should call are looked after now; answers since when they are, with no break longer than this.
    pub(crate) fn look(&self, longest_break: SignedDuration) -> Timestamp {
        lock(&self.attention).look(self.now(), longest_break)
    }

    pub(crate) fn set_closing(&self, closing: watch::Receiver<bool>) {
        // A server starts once: it is consumed by starting.
        let _ = self.closing.set(closing);
    }

    pub(crate) fn set_door(&self, door: SocketAddr) {
        // As above.
        let _ = self.door.set(door);
    }

    /// Where executors come in, once it listens.
    pub(crate) fn door(&self) -> Option<SocketAddr> {
        self.door.get().copied()
    }

    pub(crate) fn set_address(&self, address: SocketAddr) {
        // As above.
        let _ = self.address.set(address);
    }

    /// Ends when the server stops; never, before it has started.
    pub(crate) fn closing(&self) -> impl Future<Output = ()> + Send + use<> {
        let closing = self.closing.get().cloned();
        async move {
            match closing {
                Some(mut closing) => drop(closing.wait_for(|stop| *stop).await),
                None => std::future::pending().await,
            }
        }
    }

    /// The address by which people reach this server, without a slash at its end.
    pub(crate) fn public_url(&self) -> String {
        match (&self.config.public_url, self.address.get()) {
            (Some(url), _) => url.clone(),
            (None, Some(address)) => format!("http://{address}"),
            (None, None) => String::new(),
        }
    }

    /// A link that opens a page that asks to sign in: as this person, or as the machine's operator.
    pub(crate) fn sign_in_link(&self, person: Option<ActorId>) -> Result<Option<String>, NoEntropy> {
        let Some(address) = self.address.get() else { return Ok(None) };
        let token = self.links.issue(self.now(), self.config.entropy.as_ref(), person)?;
        // Behind the hash mark it would not be sent, but then the page could not work without its script.
        Ok(Some(format!("http://{address}/sign-in?token={token}")))
    }

    /// The assets that Stanch itself runs on.
    pub(crate) fn own(&self) -> BTreeSet<AssetId> {
        self.config.own.clone().unwrap_or_else(|| lock(&self.here).clone())
    }

    /// Notes that an executor of this process is on an asset.
    pub(crate) fn runs_on(&self, asset: &AssetId) {
        lock(&self.here).insert(asset.clone());
    }

    /// Notes in the record that an executor was refused: one that is known once a minute at most, and of strangers ten
    /// together, so that nobody can fill the record from outside.
    pub(crate) async fn refused(&self, executor: &ExecutorId, known: bool, why: &str) {
        let now = self.now();
        let minute = SignedDuration::from_mins(1);
        {
            let mut told = lock(&self.refused);
            told.retain(|_, at| now.duration_since(*at) < minute);
            let (key, strangers) = ((executor.clone(), known), told.keys().filter(|(_, known)| !known).count());
            if told.contains_key(&key) || (!known && strangers >= STRANGERS) {
                return;
            }
            told.insert(key, now);
        }
        self.metrics.refusal();
        let entry = NewEntry::new(now, "server", "executor_refused").about(executor).with(json!({ "why": why }));
        if let Err(error) = self.store.commit(Transition::new(entry)).await {
            tracing::error!(error = crate::error::chain(&error), "a refusal could not be recorded");
        }
        self.bus.tell(Live::of("executor", executor, why));
    }

    /// Notes in the record which orders an executor did not take without an answer. This server may never have given them:
    /// then somebody else did. Each kind once a minute at most, so that nobody can fill the record.
    pub(crate) async fn turned_away(&self, hello: &Hello) {
        let now = self.now();
        for TurnedAway { order, doubt } in hello.turned_away.iter().take(MOST_TURNED_AWAY) {
            {
                let mut told = lock(&self.doubted);
                told.retain(|_, at| now.duration_since(*at) < SignedDuration::from_mins(1));
                let key = (hello.executor.clone(), *doubt);
                if told.contains_key(&key) {
                    continue;
                }
                told.insert(key, now);
            }
            let entry = NewEntry::new(now, hello.executor.to_string(), "order_turned_away")
                .about(&hello.executor)
                .about(&hello.asset.id)
                .with(json!({ "order": order, "doubt": doubt }));
            if let Err(error) = self.store.commit(Transition::new(entry)).await {
                tracing::error!(
                    error = crate::error::chain(&error),
                    "what an executor turned away could not be recorded"
                );
            }
        }
    }

    /// Signs with the order key in force, with what leads from the root to it.
    pub(crate) fn sign_orders(
        &self,
        orders: Vec<Order>,
    ) -> Result<stanch_model::order::Batch, crate::gateway::GatewayError> {
        let now = self.now();
        let mut held = lock(&self.order_key);
        let key = match held.take().filter(|key| !self.keys.is_spent(key, now)) {
            Some(key) => held.insert(key),
            None => match self.keys.certify(self.epoch, now, self.config.entropy.as_ref()) {
                Ok(key) => {
                    self.goes_on(ORDERS);
                    held.insert(key)
                }
                Err(error) => {
                    self.waits(ORDERS, error.to_string());
                    return Err(error.into());
                }
            },
        };
        let orders: Result<Vec<Signed<Order>>, _> = orders.into_iter().map(|order| key.sign(order)).collect();
        let orders = orders.map_err(|error| crate::gateway::GatewayError::Keys(KeyError::Sign(error)))?;
        Ok(stanch_model::order::Batch { chain: key.chain.clone(), orders })
    }

    /// Notes that something waits, and on what; shown until it is noted as going on.
    pub(crate) fn waits(&self, what: &str, on: impl Into<String>) {
        let on = on.into();
        let now = self.now();
        let mut waiting = lock(&self.waiting);
        match waiting.get_mut(what) {
            Some(known) if known.on == on => {}
            _ => drop(waiting.insert(what.to_owned(), Waiting { what: what.to_owned(), on, since: now })),
        }
    }

    /// Notes that it goes on.
    pub(crate) fn goes_on(&self, what: &str) {
        lock(&self.waiting).remove(what);
    }

    /// Everything that waits.
    pub(crate) fn waiting(&self) -> Vec<Waiting> {
        lock(&self.waiting).values().cloned().collect()
    }

    /// What the detectors have to look at, asked once.
    pub(crate) fn take_unjudged(&self) -> BTreeSet<AssetId> {
        std::mem::take(&mut lock(&self.unjudged))
    }

    /// What was taken and not done is to be done all the same.
    pub(crate) fn judge_after_all(&self, left: BTreeSet<AssetId>) {
        lock(&self.unjudged).extend(left);
    }

    /// Newer facts of an asset are there, or newer feeds say something else of it.
    pub(crate) fn judge(&self, asset: AssetId) {
        lock(&self.unjudged).insert(asset);
    }

    /// The edition of the feeds that the fleet is judged by, once that is known.
    pub(crate) fn edition(&self) -> Option<Edition> {
        lock(&self.edition).clone()
    }

    /// From now on it is this one.
    pub(crate) fn take_edition(&self, edition: Edition) {
        *lock(&self.edition) = Some(edition);
    }

    /// What is to be assessed now; asked once.
    pub(crate) fn take_unassessed(&self) -> Unassessed {
        let mut unassessed = lock(&self.unassessed);
        let taken = std::mem::take(&mut unassessed.0);
        unassessed.1 = taken.clone();
        taken
    }

    /// What was taken is done, or put back.
    pub(crate) fn end_assessing(&self) {
        lock(&self.unassessed).1 = Unassessed::default();
    }

    /// Whether nothing of an asset is still to be assessed.
    pub(crate) fn is_assessed(&self, asset: &AssetId) -> bool {
        let unassessed = lock(&self.unassessed);
        ![&unassessed.0, &unassessed.1].into_iter().any(|one| one.everything || one.on.contains_key(asset))
    }

    /// The detectors ran on an asset; or, `anew`, people say something else of it, and all of its items are assessed
    /// again.
    pub(crate) fn assess(&self, asset: AssetId, anew: bool) {
        *lock(&self.unassessed).0.on.entry(asset).or_default() |= anew;
    }

    /// What was taken and not done is to be done all the same.
    pub(crate) fn assess_after_all(&self, left: Unassessed) {
        let unassessed = &mut lock(&self.unassessed).0;
        unassessed.everything |= left.everything;
        for (asset, anew) in left.on {
            *unassessed.on.entry(asset).or_default() |= anew;
        }
    }

    /// Items of these assets are there that nobody has decided yet, or their decisions rest on something that has changed.
    pub(crate) fn want(&self, assets: impl IntoIterator<Item = AssetId>) {
        lock(&self.undecided).want(assets);
    }

    /// All decisions may be others by now.
    pub(crate) fn decide_again(&self) {
        lock(&self.undecided).again();
    }

    /// All decisions rest on something else from now on.
    pub(crate) fn decide_anew(&self) {
        lock(&self.undecided).anew();
    }

    /// Assets of which something is to be decided now, at most so many; each is told once.
    pub(crate) fn take_undecided(&self, most: usize) -> BTreeSet<AssetId> {
        lock(&self.undecided).take(most)
    }

    /// The walk over all items that is to go on now, or to begin.
    pub(crate) fn take_walk(&self) -> Option<Walk> {
        let every = jiff::SignedDuration::try_from(self.config.intervals.decide).unwrap_or(jiff::SignedDuration::MAX);
        lock(&self.undecided).take_walk(self.now(), every, Instant::now())
    }

    /// A walk is to go on later.
    pub(crate) fn keep_walk(&self, walk: Walk) {
        lock(&self.undecided).keep_walk(walk);
    }

    /// A walk has come to its end.
    pub(crate) fn end_walk(&self, walk: &Walk) {
        lock(&self.undecided).end_walk(walk, Instant::now());
    }

    /// When a remediation may start, if that was worked out for this bundle and is known for long enough.
    pub(crate) fn openings(&self, id: &RemediationId, bundle: &Digest, known_until: Timestamp) -> Option<Openings> {
        let known = lock(&self.openings);
        let (of, openings) = known.get(id)?;
        (of == bundle && openings.known_until > known_until).then(|| openings.clone())
    }

    /// Notes when a remediation may start.
    pub(crate) fn set_openings(&self, id: &RemediationId, bundle: Digest, openings: Openings) {
        let mut known = lock(&self.openings);
        // What is over is asked for no more; all others are worked out again.
        if known.len() > 10_000 {
            known.clear();
        }
        known.insert(id.clone(), (bundle, openings));
    }

    /// Feeds are to be fetched before they are due.
    pub(crate) fn want_feeds(&self) {
        self.feeds_wanted.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// Whether they are; asked once.
    pub(crate) fn feeds_wanted(&self) -> bool {
        self.feeds_wanted.swap(false, std::sync::atomic::Ordering::Relaxed)
    }

    /// Those of these assets that do not rest.
    pub(crate) fn awake(&self, assets: Vec<AssetId>, now: Timestamp) -> BTreeSet<AssetId> {
        let resting = lock(&self.resting);
        assets.into_iter().filter(|asset| resting.get(asset).is_none_or(|until| *until <= now)).collect()
    }

    /// Nothing is to be asked of an asset until then.
    pub(crate) fn rests(&self, asset: &AssetId, until: Timestamp) {
        lock(&self.resting).insert(asset.clone(), until);
    }

    /// Whether a folder of feeds is to be read again.
    pub(crate) fn feeds_due(&self, folder: &str, now: Timestamp, every: jiff::SignedDuration) -> bool {
        lock(&self.feeds_read).get(folder).is_none_or(|last| now.duration_since(*last) >= every)
    }

    /// Notes that it was.
    pub(crate) fn feeds_done(&self, folder: &str, now: Timestamp) {
        lock(&self.feeds_read).insert(folder.to_owned(), now);
    }

    /// Keeps an executor's last word on the way, for people who watch.
    pub(crate) fn keep_progress(&self, progress: Progress) {
        let mut all = lock(&self.progress);
        // Words of orders long over are worth nothing.
        if all.len() > 256 {
            all.clear();
        }
        all.insert(progress.order.clone(), progress);
    }

    /// The last word on an order.
    pub(crate) fn progress(&self, order: &OrderId) -> Option<Progress> {
        lock(&self.progress).get(order).cloned()
    }
}

/// An address for people as it is used, and its name.
fn public(text: &str) -> Option<(String, String)> {
    let text = text.trim_end_matches('/');
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    let host = rest.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(rest, |(host, _)| host);
    let good = !host.is_empty() && rest.chars().all(plain);
    good.then(|| (text.to_owned(), host.to_owned()))
}

/// A poisoned lock is still a lock: what it guards is replaced whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
