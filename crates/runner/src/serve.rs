//! The executor's loop: one thread polls and answers what may not wait, one works on changes, one reads facts.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use stanch_model::id::OrderId;
use stanch_model::order::Batch;

use crate::check::Refused;
use crate::execute::Tools;
use crate::journal::JournalError;
use crate::link::{Link, LinkError};
use crate::runner::{Lane, RunError, Runner, Taken};

/// First and longest pause after the server was not reached.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// A poll that brings nothing takes at least this long, so that a link that does not park costs little.
const IDLE: Duration = Duration::from_millis(100);

/// Asks a running executor to end after the step it is in. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(Arc<(Mutex<bool>, Condvar)>);

impl Shutdown {
    /// Not asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks.
    pub fn ask(&self) {
        *self.flag() = true;
        self.0.1.notify_all();
    }

    /// Whether it was asked.
    pub fn is_asked(&self) -> bool {
        *self.flag()
    }

    /// Waits until it is asked, at most this long; says whether it was.
    pub fn wait(&self, at_most: Duration) -> bool {
        let flag = self.flag();
        let waited = self.0.1.wait_timeout_while(flag, at_most, |asked| !*asked);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn flag(&self) -> MutexGuard<'_, bool> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the loop ended before it was asked to. Opening the runner again and serving again goes on where it was.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The journal failed between orders.
    #[error("the executor's journal failed")]
    Journal(#[source] JournalError),
    /// An order could not be finished.
    #[error("the executor cannot go on")]
    Run(#[source] RunError),
}

/// Orders that wait for one thread.
#[derive(Default)]
struct Queue {
    state: Mutex<(VecDeque<OrderId>, bool)>,
    changed: Condvar,
}

impl Queue {
    fn push(&self, order: OrderId) {
        self.lock().0.push_back(order);
        self.changed.notify_one();
    }

    /// No more will come; what is in it is still handed out.
    fn close(&self) {
        self.lock().1 = true;
        self.changed.notify_all();
    }

    fn pop(&self) -> Option<OrderId> {
        let waiting = self.changed.wait_while(self.lock(), |(orders, closed)| orders.is_empty() && !*closed);
        waiting.unwrap_or_else(PoisonError::into_inner).0.pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, (VecDeque<OrderId>, bool)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Floor<'a> {
    runner: &'a Runner,
    link: &'a dyn Link,
    tools: &'a Tools<'a>,
    change: Queue,
    sense: Queue,
    failure: Mutex<Option<ServeError>>,
}

/// Serves until `tools.shutdown` is asked or the link is closed; what was accepted is finished in the second case, and
/// left for the next start after the current step in the first. Unfinished orders of an earlier life go on first.
///
/// # Errors
/// When the journal fails: nothing may start any more.
pub fn serve(runner: &Runner, link: &dyn Link, tools: &Tools<'_>) -> Result<(), ServeError> {
    let floor =
        Floor { runner, link, tools, change: Queue::default(), sense: Queue::default(), failure: Mutex::default() };
    std::thread::scope(|scope| {
        scope.spawn(|| floor.work(&floor.change));
        scope.spawn(|| floor.work(&floor.sense));
        for (order, lane) in runner.unfinished() {
            floor.queue(order, lane);
        }
        floor.poll();
        floor.change.close();
        floor.sense.close();
    });
    let failure = floor.failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    failure.map_or(Ok(()), Err)
}

impl Floor<'_> {
    fn queue(&self, order: OrderId, lane: Lane) {
        match lane {
            Lane::Now => self.run(&order),
            Lane::Sense => self.sense.push(order),
            Lane::Change => self.change.push(order),
        }
    }

    fn work(&self, queue: &Queue) {
        while let Some(order) = queue.pop() {
            if self.is_over() {
                return;
            }
            self.run(&order);
        }
    }

    fn run(&self, order: &OrderId) {
        match self.runner.run(order, self.tools) {
            Ok(_) => self.deliver(),
            Err(RunError::ShuttingDown { .. }) => {}
            Err(error) => self.fail(ServeError::Run(error)),
        }
    }

    /// Ends this life of the executor, and not its process: it is opened again.
    fn fail(&self, error: ServeError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    fn is_over(&self) -> bool {
        self.tools.shutdown.is_asked() || self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Hands over what the server does not have. Two threads may do so at once: the server takes both.
    fn deliver(&self) {
        for receipt in self.runner.undelivered() {
            match self.link.deliver(&receipt) {
                Ok(()) => {
                    if let Err(error) = self.runner.delivered(&receipt.body.order) {
                        self.fail(ServeError::Journal(error));
                        return;
                    }
                }
                Err(LinkError::Closed) => return,
                // One that the server cannot place, say after it was restored, does not keep the others back.
                Err(error) => tracing::debug!(%error, "a receipt waits"),
            }
        }
    }

    fn poll(&self) {
        let actions: Vec<String> = self.tools.catalogue.iter().map(|a| a.definition().name.to_owned()).collect();
        let mut pause = RETRY.0;
        while !self.is_over() {
            self.deliver();
            let hello = match self.runner.hello(actions.clone()) {
                Ok(hello) => hello,
                Err(error) => return self.fail(ServeError::Journal(error)),
            };
            let (began, told) = (Instant::now(), hello.turned_away.clone());
            match self.link.poll(hello) {
                Ok(batch) => {
                    self.runner.heard(&told);
                    let orders = batch.as_ref().is_some_and(|batch| !batch.orders.is_empty());
                    let took_any = batch.is_some_and(|batch| self.take(&batch));
                    if orders && !took_any {
                        // They come again with the next poll, and are not believed then either.
                        self.tools.shutdown.wait(self.runner.spread(pause));
                        pause = (pause * 2).min(RETRY.1);
                        continue;
                    }
                    pause = RETRY.0;
                    if !took_any {
                        self.tools.shutdown.wait(IDLE.saturating_sub(began.elapsed()));
                    }
                }
                Err(LinkError::Closed) => return,
                Err(error @ LinkError::Unreachable { .. }) => {
                    tracing::warn!(%error, "trying again");
                    self.tools.shutdown.wait(self.runner.spread(pause));
                    pause = (pause * 2).min(RETRY.1);
                }
            }
        }
    }

    /// Takes a batch, and whatever in it may not wait (to hold, to go on) before anything else begins. Answers whether
    /// anything was taken.
    fn take(&self, batch: &Batch) -> bool {
        if let Err(error) = self.runner.hear(&batch.chain) {
            self.fail(ServeError::Journal(error));
            return false;
        }
        let mut later = Vec::new();
        let any = self.accept(batch, &mut later);
        for (order, lane) in later {
            self.queue(order, lane);
        }
        any
    }

    fn accept(&self, batch: &Batch, later: &mut Vec<(OrderId, Lane)>) -> bool {
        let mut any = false;
        for order in &batch.orders {
            match self.runner.accept(&batch.chain, order) {
                Ok(Taken::Accepted { order, lane: Lane::Now }) => {
                    any = true;
                    self.queue(order, Lane::Now);
                }
                Ok(Taken::Accepted { order, lane }) => {
                    any = true;
                    later.push((order, lane));
                }
                Ok(Taken::Known(receipt)) => {
                    if let Err(error) = self.link.deliver(&receipt) {
                        tracing::debug!(%error, "a receipt waits");
                    }
                }
                Ok(Taken::Answered { why, .. }) => {
                    tracing::warn!(order = %order.body.id, why, "refused an order");
                    any = true;
                    self.deliver();
                }
                Err(Refused::Journal(error)) => {
                    self.fail(ServeError::Journal(error));
                    return false;
                }
                // Nothing after it may be taken before it comes again: positions only rise.
                Err(refused @ (Refused::Nonce | Refused::TooLate { .. })) => {
                    tracing::warn!(order = %order.body.id, %refused, "the order has to come again");
                    self.runner.turn_away(&order.body.id, &refused);
                    return any;
                }
                Err(refused) => {
                    tracing::warn!(order = %order.body.id, %refused, "did not take an order");
                    self.runner.turn_away(&order.body.id, &refused);
                }
            }
        }
        any
    }
}
