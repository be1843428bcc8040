//! The door between servers and executors: who may poll, what is handed out, where receipts go.

use stanch_engine::rollout::{HoldLevel, keeps_back};
use stanch_model::order::Held;

use crate::defects::Model;
use crate::host::{Down, Up};
use crate::store::{Order, OrderState, Receipt, Said, What};
use crate::world::{Checked, Leaving, World, host_name, server_name, stamp, violated};

/// Orders handed out at once.
const BATCH: usize = 16;
/// An order that only reads must be over after so many milliseconds.
pub(crate) const READS: i64 = 30 * 60_000;
/// An order of no task.
pub(crate) const NOBODY: u32 = u32::MAX;

impl World {
    /// Mail of an executor reaches a server. Orders that answer it leave at once, or when the server gets to it.
    pub(crate) fn arrive(&mut self, host: u32, nth: u32, server: u32, slow: bool) -> Checked {
        if self.hosts[host as usize].cut {
            return Ok(());
        }
        let Some(mail) = self.hosts[host as usize].take_up(nth) else { return Ok(()) };
        match mail {
            mail @ Up::Poll { .. } => match self.answer_poll(host, server, &mail) {
                Some(leaving) if slow => {
                    self.servers[server as usize].leaving.push_back(leaving);
                    Ok(())
                }
                Some(leaving) => self.leave(server, leaving),
                None => Ok(()),
            },
            Up::Receipt { position, said, at } => {
                self.take_receipt(host, position, said, at);
                self.hosts[host as usize].put_down(Down::Taken { position });
                Ok(())
            }
        }
    }

    fn answer_poll(&mut self, host: u32, server: u32, poll: &Up) -> Option<Leaving> {
        let Up::Poll { key, counter, nonce, position, held } = *poll else { return None };
        let now = self.server_time(server);
        let queue = &mut self.store.queues[host as usize];
        let caller = &mut queue.caller;
        if caller.trusted_anew {
            (caller.position, caller.counter, caller.trusted_anew) = (position, counter, false);
            caller.key = key;
        }
        if caller.frozen {
            return None;
        }
        if key != caller.key || position < caller.position || counter < caller.counter || position > queue.last {
            caller.frozen = true;
            self.tell(|| server_name(server), |_| format!("freezes host-{host}: it is not the one it was"));
            return None;
        }
        (caller.position, caller.counter) = (position, counter);
        caller.seen_at = caller.seen_at.max(now);
        self.follow_hold(host, held, now);
        let level = self.store.held.as_ref().map(|held| held.hold.level);
        let level = level.filter(|_| !self.planted(Model::HandOutHeld));
        let hold_undo = self.planted(Model::HoldUndo);
        let queue = &mut self.store.queues[host as usize];
        let mut orders = Vec::new();
        for order in queue.orders.iter_mut().filter(|order| order.position > position) {
            let open = matches!(order.state, OrderState::Waiting | OrderState::Delivered);
            if !open {
                continue;
            }
            if is_held(&order.what, level) || (hold_undo && level.is_some() && matches!(*order.what, What::Undo { .. }))
            {
                // One that was handed out in vain: as it has not taken it, it must not count as if it had.
                if order.state == OrderState::Delivered {
                    order.state = OrderState::Void;
                }
                continue;
            }
            // One whose time is over is ordered anew by whoever needs it.
            if now >= order.finish_before {
                continue;
            }
            order.state = OrderState::Delivered;
            order.delivered_at = Some(now);
            orders.push(order.clone());
            if orders.len() == BATCH {
                break;
            }
        }
        Some(Leaving { host, nonce, counter, orders })
    }

    /// The oldest orders that were written down leave.
    pub(crate) fn leave_next(&mut self, server: u32) -> Checked {
        match self.servers[server as usize].leaving.pop_front() {
            Some(leaving) => self.leave(server, leaving),
            None => Ok(()),
        }
    }

    /// What was written down leaves, but for what a hold that was set since keeps back: that is void, and ordered anew
    /// when it ends.
    fn leave(&mut self, server: u32, leaving: Leaving) -> Checked {
        let Leaving { host, nonce, counter, mut orders } = leaving;
        // What an older poll is answered nobody reads any more.
        if self.store.queues[host as usize].caller.counter != counter {
            return Ok(());
        }
        let level = self.store.held.as_ref().map(|held| held.hold.level);
        if !self.planted(Model::HandOutHeld) && !self.planted(Model::LookOnce) {
            for order in orders.extract_if(.., |order| is_held(&order.what, level)) {
                if let Some(order) = self.store.order(host, order.position)
                    && order.state != OrderState::Answered
                {
                    order.state = OrderState::Void;
                }
            }
        }
        let stops = |order: &Order| match (&*order.what, level) {
            (What::Apply { .. }, Some(_)) | (What::Undo { .. }, Some(HoldLevel::StopAll)) => true,
            (_, _) => false,
        };
        if orders.iter().any(stops) {
            return violated(5, format!("an order was handed to host-{host} under a hold that keeps it back"));
        }
        if !orders.is_empty() {
            self.tell(
                || server_name(server),
                |_| {
                    let all: Vec<String> = orders.iter().map(words).collect();
                    format!("hands to host-{host}: {}", all.join("; "))
                },
            );
        }
        self.hosts[host as usize].put_down(Down::Batch { orders, nonce });
        Ok(())
    }

    /// Has the executor follow the hold in the store.
    fn follow_hold(&mut self, host: u32, held: Held, now: i64) {
        let all = self.store.held.as_ref().map(|held| held.hold.level == HoldLevel::StopAll);
        let should = all.map_or(Held::No, Held::by);
        if held == should {
            return;
        }
        let queue = &self.store.queues[host as usize];
        let open = |order: &&Order| {
            matches!(order.state, OrderState::Waiting | OrderState::Delivered) && now < order.finish_before
        };
        let will_be = queue.orders.iter().rev().filter(open).find_map(|order| match &*order.what {
            What::Hold { all } => Some(Held::by(*all)),
            What::Release => Some(Held::No),
            _ => None,
        });
        if will_be != Some(should) {
            let what = all.map_or(What::Release, |all| What::Hold { all });
            self.order(host, NOBODY, NOBODY, 0, what, now, READS);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "an order has so many parts")]
    pub(crate) fn order(&mut self, host: u32, row: u32, task: u32, number: u32, what: What, now: i64, life: i64) {
        self.store.push(
            host,
            Order {
                position: 0,
                row,
                task,
                number,
                what: what.into(),
                state: OrderState::Waiting,
                created_at: now,
                delivered_at: None,
                finish_before: now + life,
            },
        );
    }

    fn take_receipt(&mut self, host: u32, position: u64, said: Said, at: i64) {
        let Some(order) = self.store.order(host, position) else { return };
        if order.state == OrderState::Answered {
            return;
        }
        order.state = OrderState::Answered;
        let order = order.clone();
        match said {
            Said::Answer(answer) if order.row != NOBODY => {
                let (row, task, number) = (order.row, order.task, order.number);
                let of_journal = *order.what == What::Reconcile;
                self.store.receipts.push_back(Receipt { row, task, number, of_journal, answer, at: stamp(at) });
            }
            Said::Answer(_) => {}
            Said::Facts(facts) => {
                let known = &mut self.store.queues[host as usize].facts;
                if known.is_none_or(|known| known.at < facts.at) {
                    *known = Some(facts);
                }
            }
            Said::Checks { healthy } => {
                if let What::Verify { round } = *order.what
                    && let Some(row) = self.store.row_mut(order.row)
                {
                    row.truth[order.task as usize].checks = Some((round, healthy));
                }
            }
        }
    }

    /// A person vouches for an executor: its next poll is believed, and what it was to do before is taken back, since
    /// nobody knows what became of it.
    pub(crate) fn trust(&mut self, host: u32) {
        let queue = &mut self.store.queues[host as usize];
        if !queue.caller.frozen {
            return;
        }
        queue.caller.frozen = false;
        queue.caller.trusted_anew = true;
        for order in &mut queue.orders {
            if matches!(order.state, OrderState::Waiting | OrderState::Delivered) {
                order.state = OrderState::Void;
            }
        }
        self.tell(|| "a person".to_owned(), |_| format!("vouches for {}", host_name(host)));
    }
}

/// Whether a hold keeps an order back. What takes back is kept back only where everything is stopped.
fn is_held(what: &What, level: Option<HoldLevel>) -> bool {
    let undoes = matches!(what, What::Undo { .. });
    (undoes || matches!(what, What::Apply { .. })) && level.is_some_and(|level| keeps_back(level, undoes))
}

/// An order in words.
pub(crate) fn words(order: &Order) -> String {
    let of = || if order.row == NOBODY { String::new() } else { format!(" (R{}, order {})", order.row, order.number) };
    let what = match &*order.what {
        What::Apply { .. } => "act".to_owned(),
        What::Undo { items, .. } => format!("take back {} items", items.len()),
        What::Reconcile => "tell what the journal knows".to_owned(),
        What::Verify { round } => format!("check, round {round}"),
        What::Observe => "read facts".to_owned(),
        What::Hold { all } => if *all { "stop everything" } else { "start nothing new" }.to_owned(),
        What::Release => "go on".to_owned(),
    };
    what + &of()
}
