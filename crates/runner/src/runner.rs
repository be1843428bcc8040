//! One executor: its folder, its key, its journal, and what it has taken from polls.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stanch_model::ability::Abilities;
use stanch_model::asset::Asset;
use stanch_model::canonical::{Digest, digest};
use stanch_model::delta::{self, Lasting};
use stanch_model::facts::HostFacts;
use stanch_model::id::{ExecutorId, OrderId};
use stanch_model::order::{Answer, Held, Hello, MOST_TURNED_AWAY, Order, Position, Receipt, TurnedAway, Verb};
use stanch_model::sign::{SignError, Signable, Signed, SigningKey, VerifyingKey};
use stanch_model::trust::{Chain, IssuerCertificate};

use crate::check::{Known, Refused, check};
use crate::clock::{Clock, SystemClock};
use crate::execute::{self, Tools};
use crate::journal::{Journal, JournalError, NoObserver, Observer, vault_path};
use crate::keys::{KeyError, receipt_key};
use crate::record::{Hold, Record};

/// Poll counters are made durable this many at a time.
const POLLS_AT_ONCE: u64 = 1_000;
/// Polls whose orders are still taken.
const POLLS_REMEMBERED: usize = 16;

/// Who this executor is and whom it trusts.
pub struct Config {
    /// Its id.
    pub executor: ExecutorId,
    /// The asset it works on.
    pub asset: Asset,
    /// The root whose certificates it believes.
    pub root: VerifyingKey,
    /// The machine's boot id; see [`crate::boot_id`].
    pub boot_id: String,
    /// Seed of the receipt key, used only if the folder has none yet.
    pub fresh_seed: [u8; 32],
    /// What it probed, if it did.
    pub abilities: Option<Abilities>,
    /// Its clocks.
    pub clock: Arc<dyn Clock>,
    /// Sees every append; for tests.
    pub observer: Arc<dyn Observer>,
}

impl Config {
    /// With the machine's clocks and nobody looking on.
    pub fn new(
        executor: ExecutorId,
        asset: Asset,
        root: VerifyingKey,
        boot_id: impl Into<String>,
        fresh_seed: [u8; 32],
    ) -> Self {
        let (clock, observer) = (Arc::new(SystemClock), Arc::new(NoObserver));
        Self { executor, asset, root, boot_id: boot_id.into(), fresh_seed, abilities: None, clock, observer }
    }
}

/// Why an executor cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its journal.
    #[error("the executor's journal cannot be opened")]
    Journal(#[source] JournalError),
    /// Its key.
    #[error("the executor's receipt key cannot be had")]
    Key(#[source] KeyError),
}

impl OpenError {
    /// What a person can do.
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Journal(error) => error.hint(),
            Self::Key(_) => Some("the folder `keys` must belong to the executor alone (mode 0700, files 0600)"),
        }
    }
}

/// Why an accepted order was not answered. It stays in the journal and is gone on with after the next start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The journal failed: nothing may start any more.
    #[error("the journal failed while order {order} was carried out")]
    Journal {
        /// The order.
        order: OrderId,
        /// The cause.
        #[source]
        source: JournalError,
    },
    /// The answer cannot be signed.
    #[error("the answer to order {order} cannot be signed")]
    Sign {
        /// The order.
        order: OrderId,
        /// The cause.
        #[source]
        source: SignError,
    },
    /// The program ends: the next step was not begun.
    #[error("order {order} waits for the next start")]
    ShuttingDown {
        /// The order.
        order: OrderId,
    },
    /// There is no such order, or it is answered.
    #[error("order {order} is not open")]
    NotOpen {
        /// The order.
        order: OrderId,
    },
}

/// Which queue an accepted order belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Answered at once, whatever else runs: hold, release, reconcile.
    Now,
    /// Reads facts; may run beside a change.
    Sense,
    /// One after the other: plan, rehearse, apply, undo, verify.
    Change,
}

impl Lane {
    pub(crate) const fn of(verb: &Verb) -> Self {
        match verb {
            Verb::Hold { .. } | Verb::Release | Verb::Reconcile { .. } => Self::Now,
            Verb::Observe { .. } => Self::Sense,
            Verb::Plan { .. } | Verb::Rehearse { .. } | Verb::Apply(_) | Verb::Undo { .. } | Verb::Verify { .. } => {
                Self::Change
            }
        }
    }
}

/// What became of an order that came.
#[derive(Debug, Clone, PartialEq)]
pub enum Taken {
    /// It is in the journal and waits to be run.
    Accepted {
        /// Its id, for [`Runner::run`].
        order: OrderId,
        /// Where it waits.
        lane: Lane,
    },
    /// It was answered before; here is the answer again.
    Known(Box<Signed<Receipt>>),
    /// It was refused, and this is the answer.
    Answered {
        /// The receipt that says so.
        receipt: Box<Signed<Receipt>>,
        /// Why.
        why: String,
    },
}

pub(crate) struct Inner {
    pub(crate) journal: Journal,
    counter: u64,
    polls: VecDeque<(u64, Duration)>,
    /// Answers to orders that only read: kept in memory, because reading again after a crash is as good.
    readings: BTreeMap<OrderId, Signed<Receipt>>,
    /// Orders that got no receipt and of which the server has not heard yet. Kept in memory: who sends them sends more.
    turned_away: Vec<TurnedAway>,
}

/// One executor. Shared by the thread that polls and those that work.
pub struct Runner {
    folder: PathBuf,
    config: Config,
    key: SigningKey,
    seed: [u8; 32],
    inner: Mutex<Inner>,
    told: Mutex<Option<Told>>,
}

/// What lasts of the facts that were told last, as text: it lies there for long and is seldom read.
struct Told {
    digest: Digest,
    text: String,
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").field("folder", &self.folder).field("executor", &self.config.executor).finish()
    }
}

impl Runner {
    /// Opens the executor in this folder, which holds `journal`, `keys/` and `vault/` and belongs to it alone.
    ///
    /// # Errors
    /// When another process has it, the journal is damaged or the key cannot be read.
    pub fn open(folder: &Path, config: Config) -> Result<Self, OpenError> {
        let journal = Journal::open(folder, Arc::clone(&config.observer)).map_err(OpenError::Journal)?;
        if journal.cut() > 0 {
            tracing::warn!(bytes = journal.cut(), "cut a torn record off the journal");
        }
        let (key, seed) = receipt_key(&folder.join("keys"), &config.fresh_seed).map_err(OpenError::Key)?;
        let counter = journal.state().polls_below;
        let inner =
            Inner { journal, counter, polls: VecDeque::new(), readings: BTreeMap::new(), turned_away: Vec::new() };
        let (inner, told) = (Mutex::new(inner), Mutex::new(None));
        Ok(Self { folder: folder.to_owned(), config, key, seed, inner, told })
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        // The state changes only after a record is durable, in one assignment each: a panic elsewhere leaves it whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) const fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn append(&self, record: &Record) -> Result<(), JournalError> {
        self.inner().journal.append(record)
    }

    pub(crate) fn vault(&self, key: &Digest) -> PathBuf {
        vault_path(&self.folder, key)
    }

    /// The key that checks this executor's receipts.
    pub fn verifying_key(&self) -> VerifyingKey {
        self.key.verifying_key()
    }

    /// Signs something with the receipt key, to show that it is this executor's.
    ///
    /// # Errors
    /// When it has no canonical form.
    pub fn sign_as_own<T: Signable>(&self, body: T) -> Result<Signed<T>, SignError> {
        Signed::new(body, &self.key)
    }

    /// Between half of a pause and half as much again, another one for every executor and every poll: a fleet that lost
    /// its server must not come back in one moment.
    pub(crate) fn spread(&self, pause: Duration) -> Duration {
        let draw = self.nonce(self.inner().counter, self.config.clock.since_boot()) % 1_000;
        pause / 2 + pause.mul_f64(draw as f64 / 1_000.0)
    }

    /// The highest position taken.
    pub fn position(&self) -> Position {
        self.inner().journal.state().position
    }

    /// The hold in force.
    pub fn hold(&self) -> Option<Hold> {
        self.inner().journal.state().hold.clone()
    }

    /// Head of the journal.
    pub fn journal_head(&self) -> Digest {
        self.inner().journal.head()
    }

    /// What to say in the next poll. Its nonce is taken from now on; `actions` are the names of the catalogue.
    ///
    /// # Errors
    /// When the poll counter cannot be made durable.
    pub fn hello(&self, actions: Vec<String>) -> Result<Hello, JournalError> {
        let since_boot = self.config.clock.since_boot();
        let mut inner = self.inner();
        if inner.counter >= inner.journal.state().polls_below {
            let below = inner.counter.saturating_add(POLLS_AT_ONCE);
            inner.journal.append(&Record::Polls { below })?;
        }
        let counter = inner.counter;
        inner.counter += 1;
        let nonce = self.nonce(counter, since_boot);
        inner.polls.push_back((nonce, since_boot));
        if inner.polls.len() > POLLS_REMEMBERED {
            inner.polls.pop_front();
        }
        Ok(Hello {
            executor: self.config.executor.clone(),
            key: self.key.verifying_key(),
            asset: self.config.asset.clone(),
            position: inner.journal.state().position,
            actions,
            boot_id: self.config.boot_id.clone(),
            counter,
            journal_head: inner.journal.head(),
            nonce,
            held: Some(inner.journal.state().hold.as_ref().map_or(Held::No, |hold| Held::by(hold.stop_all))),
            issuer: inner.journal.state().issuer,
            abilities: self.config.abilities.clone(),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            restored: Vec::new(),
            turned_away: inner.turned_away.clone(),
            deltas: delta::FORM,
        })
    }

    /// Remembers an order that got no receipt, for the next poll.
    pub(crate) fn turn_away(&self, order: &OrderId, refused: &Refused) {
        let Some(doubt) = refused.doubt() else { return };
        let told = TurnedAway { order: order.clone(), doubt };
        let mut inner = self.inner();
        if inner.turned_away.len() < MOST_TURNED_AWAY && !inner.turned_away.contains(&told) {
            inner.turned_away.push(told);
        }
    }

    /// The server has heard of these.
    pub(crate) fn heard(&self, told: &[TurnedAway]) {
        self.inner().turned_away.retain(|one| !told.contains(one));
    }

    /// Facts as an answer: what is different since those that the server has, where they are the ones that were told
    /// last, and whole otherwise. What was told is not kept over a start: then the server is told whole once.
    pub(crate) fn tell(&self, facts: HostFacts, since: Option<Digest>) -> Answer {
        let whole = |facts| Answer::Facts { facts: Box::new(facts) };
        let known = Lasting::of(&facts).and_then(|lasting| Ok((lasting.to_text()?, lasting)));
        let Ok((text, lasting)) = known else { return whole(facts) };
        let length = text.len();
        let digest = lasting.digest();
        let before = self.told.lock().unwrap_or_else(PoisonError::into_inner).replace(Told { digest, text });
        let before = before.filter(|told| since == Some(told.digest));
        let Some(before) = before.and_then(|told| Lasting::from_text(&told.text, told.digest)) else {
            return whole(facts);
        };
        let delta = lasting.since(&before, &facts);
        // Where nearly everything is another, as after an upgrade of the release, a difference is no shorter.
        let longer = delta
            .patch
            .as_ref()
            .is_some_and(|patch| serde_json::to_string(patch).map_or(true, |patch| patch.len() >= length));
        if longer { whole(facts) } else { Answer::Delta { delta: Box::new(delta) } }
    }

    /// Not to be guessed before it is sent, so that no order can be signed in advance.
    fn nonce(&self, counter: u64, since_boot: Duration) -> u64 {
        let moment = u64::try_from(since_boot.as_nanos()).unwrap_or(u64::MAX);
        let seed = hex::encode(self.seed);
        let bytes = digest("stanch/nonce/v1", &(seed, &self.config.boot_id, counter, moment));
        // Texts and integers always have a canonical form.
        let bytes = bytes.unwrap_or(Digest::from_bytes([0; 32]));
        bytes.as_bytes().iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
    }

    /// Hears who vouches for the server's order key. A newer issuer that the root certified is remembered, so that no older
    /// one counts any more, whatever comes next.
    ///
    /// # Errors
    /// When it cannot be made durable.
    pub(crate) fn hear(&self, chain: &Chain) -> Result<(), JournalError> {
        let serial = chain.issuer.body.serial;
        let mut inner = self.inner();
        // Most polls bring the one that is known.
        if serial <= inner.journal.state().issuer {
            return Ok(());
        }
        let now = self.config.clock.now();
        let holds = |issuer: &IssuerCertificate| issuer.not_before <= now && now < issuer.not_after;
        // One that does not hold now, made by a clock that was wrong, must not shut out those that do.
        if !chain.open(&self.config.root).is_ok_and(|(issuer, _)| holds(issuer)) {
            return Ok(());
        }
        inner.journal.append(&Record::Issuer { serial })
    }

    /// Checks an order and, if it holds, makes it durable. Nothing of it has begun when this returns.
    ///
    /// # Errors
    /// Why it was not taken and gets no answer: nobody trustworthy sent it, it is to be sent again with the next poll,
    /// or it is a repetition whose answer the server has.
    pub fn accept(&self, chain: &Chain, order: &Signed<Order>) -> Result<Taken, Refused> {
        let clock = &self.config.clock;
        let (now, since_boot) = (clock.now(), clock.since_boot());
        let mut inner = self.inner();
        let polls = inner.polls.clone();
        let polled = |nonce| polls.iter().find(|(known, _)| *known == nonce).map(|(_, at)| *at);
        let known = Known {
            root: &self.config.root,
            issuer: inner.journal.state().issuer,
            executor: &self.config.executor,
            asset: &self.config.asset.id,
            position: inner.journal.state().position,
            polled: &polled,
            now,
            since_boot,
        };
        match check(chain, order, &known) {
            Ok((body, start_by)) => {
                let record = Record::Accepted {
                    order: Box::new(body.clone()),
                    at: now,
                    boot_id: self.config.boot_id.clone(),
                    start_by_ms: u64::try_from(start_by.as_millis()).unwrap_or(u64::MAX),
                };
                inner.journal.append(&record).map_err(Refused::Journal)?;
                Ok(Taken::Accepted { order: body.id.clone(), lane: Lane::of(&body.verb) })
            }
            Err((Refused::Stale { order: position, last }, Some(body))) => {
                let answered = inner.journal.state().orders.get(&body.id).and_then(|entry| entry.receipt.clone());
                match answered.or_else(|| inner.readings.get(&body.id).cloned()) {
                    Some(receipt) => Ok(Taken::Known(Box::new(receipt))),
                    None => Err(Refused::Stale { order: position, last }),
                }
            }
            Err((refused, Some(body))) if refused.is_answered() => {
                let why = refused.to_string();
                let answer = Answer::Refused { message: why.clone(), hint: refused.hint().map(str::to_owned) };
                let receipt = self.sign(&inner, body, answer).map_err(Refused::Signature)?;
                let record = Record::Answered { receipt: Box::new(receipt) };
                inner.journal.append(&record).map_err(Refused::Journal)?;
                let Record::Answered { receipt } = record else { return Err(refused) };
                Ok(Taken::Answered { receipt, why })
            }
            Err((refused, _)) => Err(refused),
        }
    }

    fn sign(&self, inner: &Inner, order: &Order, answer: Answer) -> Result<Signed<Receipt>, SignError> {
        let receipt = Receipt {
            order: order.id.clone(),
            executor: self.config.executor.clone(),
            position: order.position,
            at: self.config.clock.now(),
            journal_head: inner.journal.head(),
            answer,
        };
        Signed::new(receipt, &self.key)
    }

    /// Carries out an accepted order to its end, or goes on with it after a crash, and returns the answer, which is
    /// durable by then. Blocks as long as the actions take. At most one call for the same order at a time.
    ///
    /// # Errors
    /// When the journal fails or the program ends; the order then goes on after the next start.
    pub fn run(&self, id: &OrderId, tools: &Tools<'_>) -> Result<Signed<Receipt>, RunError> {
        let order = {
            let inner = self.inner();
            let entry = inner.journal.state().orders.get(id);
            match entry {
                Some(entry) if entry.receipt.is_none() && !inner.readings.contains_key(id) => entry.order.clone(),
                _ => None,
            }
        };
        let order = order.ok_or_else(|| RunError::NotOpen { order: id.clone() })?;
        let answer = execute::answer(self, &order, tools)?;
        let signed = |source| RunError::Sign { order: id.clone(), source };
        let mut inner = self.inner();
        let receipt = self.sign(&inner, &order, answer).map_err(signed)?;
        if matches!(order.verb, Verb::Observe { .. } | Verb::Plan { .. } | Verb::Rehearse { .. } | Verb::Verify { .. })
        {
            inner.readings.insert(id.clone(), receipt.clone());
            return Ok(receipt);
        }
        let record = Record::Answered { receipt: Box::new(receipt.clone()) };
        inner.journal.append(&record).map_err(|source| RunError::Journal { order: id.clone(), source })?;
        Ok(receipt)
    }

    /// Accepted orders without an answer, lowest position first: what to go on with after a start.
    pub fn unfinished(&self) -> Vec<(OrderId, Lane)> {
        let inner = self.inner();
        let open = inner.journal.state().unfinished();
        open.into_iter()
            .filter(|order| !inner.readings.contains_key(&order.id))
            .map(|order| (order.id.clone(), Lane::of(&order.verb)))
            .collect()
    }

    /// Answers that the server does not have yet.
    pub fn undelivered(&self) -> Vec<Signed<Receipt>> {
        let inner = self.inner();
        inner.journal.state().undelivered().into_iter().chain(inner.readings.values()).cloned().collect()
    }

    /// The server has this answer.
    ///
    /// # Errors
    /// When that cannot be made durable; it is then delivered once more.
    pub fn delivered(&self, order: &OrderId) -> Result<(), JournalError> {
        let mut inner = self.inner();
        if !inner.journal.state().orders.contains_key(order) {
            return Ok(());
        }
        inner.journal.append(&Record::Delivered { order: order.clone() })?;
        inner.readings.remove(order);
        Ok(())
    }
}
