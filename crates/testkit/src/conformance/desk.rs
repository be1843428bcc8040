//! The server's side of an order, for tests: a root, an issuer, an order key, positions, and orders signed for a poll.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stanch_model::Timestamp;
use stanch_model::id::{ExecutorId, OrderId};
use stanch_model::order::{Batch, Hello, Order, Position, Progress, Receipt, Verb};
use stanch_model::sign::{SignError, Signed, SigningKey, VerifyingKey};
use stanch_model::trust::{Chain, IssuerCertificate, OrderKeyCertificate};
use stanch_runner::{Link, LinkError};

/// A server double: signs what it is told to.
pub struct Desk {
    root: SigningKey,
    issuer: SigningKey,
    /// The serial of its issuer.
    pub serial: u64,
    order_key: SigningKey,
    /// The position of the last order.
    pub position: Position,
    /// Whom the orders are for.
    pub executor: ExecutorId,
    /// What the clocks of the world say, as far as the server knows.
    pub now: Timestamp,
}

impl Desk {
    /// A desk with fixed keys: what it signs today it signs tomorrow.
    ///
    /// # Errors
    /// When the library refuses the seeds.
    pub fn new(now: Timestamp) -> Result<Self, stanch_model::sign::BadKey> {
        Ok(Self {
            root: SigningKey::from_seed(&[1; 32])?,
            issuer: SigningKey::from_seed(&[4; 32])?,
            serial: 1,
            order_key: SigningKey::from_seed(&[2; 32])?,
            position: Position { epoch: 1, generation: 0 },
            executor: ExecutorId::from_entropy([3; 10]),
            now,
        })
    }

    /// The root that executors pin.
    pub fn root(&self) -> VerifyingKey {
        self.root.verifying_key()
    }

    /// How the order key goes back to the root, from an hour ago to in an hour.
    ///
    /// # Errors
    /// When it has no canonical form.
    pub fn chain(&self) -> Result<Chain, SignError> {
        let hour = jiff_hour();
        let not_before = self.now.checked_sub(hour).unwrap_or(Timestamp::MIN);
        let not_after = self.now.checked_add(hour).unwrap_or(Timestamp::MAX);
        let key = self.issuer.verifying_key();
        let issuer = IssuerCertificate { key, serial: self.serial, not_before, not_after };
        let key = self.order_key.verifying_key();
        let order_key = OrderKeyCertificate { key, not_before, not_after, epoch: self.position.epoch };
        Ok(Chain { issuer: Signed::new(issuer, &self.root)?, order_key: Signed::new(order_key, &self.issuer)? })
    }

    /// The next order, unsigned: it can be sent again under the same position.
    pub fn order(&mut self, verb: Verb) -> Order {
        self.position.generation += 1;
        let mut entropy = [0; 10];
        for (to, from) in entropy.iter_mut().zip(self.position.generation.to_be_bytes()) {
            *to = from;
        }
        Order {
            id: OrderId::from_entropy(entropy),
            executor: self.executor.clone(),
            position: self.position,
            nonce: 0,
            start_within_seconds: 60,
            finish_before: self.now.checked_add(jiff_hour()).unwrap_or(Timestamp::MAX),
            verb,
        }
    }

    /// Signs an order for this poll.
    ///
    /// # Errors
    /// When it has no canonical form.
    pub fn sign(&self, mut order: Order, hello: &Hello) -> Result<Signed<Order>, SignError> {
        order.nonce = hello.nonce;
        Signed::new(order, &self.order_key)
    }
}

const fn jiff_hour() -> Duration {
    Duration::from_secs(3_600)
}

/// One life of an executor as its server sees it: orders go out until they are taken, and the link closes once all that
/// was taken is answered.
pub struct Session {
    desk: Desk,
    /// Whether orders that were not taken go out; else they stay where they are.
    send: bool,
    state: Mutex<SessionState>,
    changed: Condvar,
    patience: Duration,
}

struct SessionState {
    /// Orders by position; those at or below the executor's position are taken.
    orders: BTreeMap<Position, Order>,
    taken: Position,
    receipts: Vec<Receipt>,
    key: Option<VerifyingKey>,
    problem: Option<String>,
    over: bool,
}

impl Session {
    /// A session about these orders, none of which is answered yet: with `send`, those that were not taken go out. It
    /// waits this long for answers to what was taken.
    pub const fn new(desk: Desk, orders: BTreeMap<Position, Order>, send: bool, patience: Duration) -> Self {
        let taken = Position { epoch: 0, generation: 0 };
        let state = SessionState { orders, taken, receipts: Vec::new(), key: None, problem: None, over: false };
        Self { desk, send, state: Mutex::new(state), changed: Condvar::new(), patience }
    }

    /// The executor is dead: nobody waits for it any more.
    pub fn give_up(&self) {
        self.lock().over = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, SessionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The receipts that came, the highest position the executor named, and what went wrong.
    pub fn end(&self) -> (Vec<Receipt>, Position, Option<String>) {
        let state = self.lock();
        (state.receipts.clone(), state.taken, state.problem.clone())
    }
}

impl SessionState {
    /// Orders that were taken and have no answer yet.
    fn waiting(&self) -> usize {
        let answered = |order: &Order| self.receipts.iter().any(|receipt| receipt.order == order.id);
        self.orders.values().filter(|order| order.position <= self.taken && !answered(order)).count()
    }

    fn unsent(&self) -> Vec<Order> {
        self.orders.values().filter(|order| order.position > self.taken).cloned().collect()
    }
}

impl Link for Session {
    fn poll(&self, hello: Hello) -> Result<Option<Batch>, LinkError> {
        let unreachable = |message: String| LinkError::Unreachable { message };
        let mut state = self.lock();
        state.taken = state.taken.max(hello.position);
        state.key = Some(hello.key);
        let unsent = if self.send { state.unsent() } else { Vec::new() };
        if unsent.is_empty() || state.over {
            let waited = self.changed.wait_timeout_while(state, self.patience, |state| {
                state.waiting() > 0 && state.problem.is_none() && !state.over
            });
            let (mut state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() {
                state.problem = Some(format!("{} orders were taken and are not answered: stuck", state.waiting()));
            }
            return Err(LinkError::Closed);
        }
        let chain = self.desk.chain().map_err(|error| unreachable(error.to_string()))?;
        let signed: Result<Vec<_>, _> = unsent.into_iter().map(|order| self.desk.sign(order, &hello)).collect();
        let orders = signed.map_err(|error| unreachable(error.to_string()))?;
        Ok(Some(Batch { chain, orders }))
    }

    fn deliver(&self, receipt: &Signed<Receipt>) -> Result<(), LinkError> {
        let mut state = self.lock();
        if state.key.is_some_and(|key| receipt.open(&key).is_err()) {
            state.problem = Some("a receipt's signature does not hold".to_owned());
        }
        state.receipts.push(receipt.body.clone());
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    fn progress(&self, _progress: Progress) {}
}
