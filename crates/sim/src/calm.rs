//! When nothing goes wrong any more, everything comes to an end or waits where people can see it.

use stanch_model::remediation::TaskState as T;

use crate::act::Act;
use crate::commit::has_ended;
use crate::store::Row;
use crate::world::{Checked, World, violated};

/// Rounds of everybody doing what they do; 45 s each.
const ROUNDS: u32 = 300;

impl World {
    /// Ends all trouble and lets everybody work until nothing is left to do.
    pub(crate) fn calm(&mut self) -> Checked {
        self.chaos = false;
        self.tell(|| "everybody".to_owned(), |_| "has no trouble any more".to_owned());
        self.act(Act::Ledger { stuck: false })?;
        self.act(Act::Release)?;
        // What is to be taken back is, also while nothing new may start.
        self.act(Act::Hold { all: false })?;
        for server in 0..self.servers.len() {
            self.servers[server].loaded = None;
            self.servers[server].leaving.clear();
        }
        for host in 0..u32::try_from(self.hosts.len()).unwrap_or(0) {
            self.act(Act::Cut { host, cut: false })?;
        }
        self.settle(ROUNDS, |row| row.rollout.tasks.iter().all(|task| task.state != T::Undoing))?;
        self.act(Act::Release)?;
        self.settle(ROUNDS, has_ended)?;
        self.check_all()
    }

    /// Everybody works, one after the other, until every remediation has come so far.
    pub(crate) fn settle(&mut self, rounds: u32, so_far: fn(&Row) -> bool) -> Checked {
        for _ in 0..rounds {
            let live = self.store.live.clone();
            let open: Vec<u32> =
                live.iter().filter(|row| self.store.row(**row).is_some_and(|row| !so_far(row))).copied().collect();
            if open.is_empty() {
                return Ok(());
            }
            for row in &open {
                self.pass_over(*row)?;
            }
            while !self.store.receipts.is_empty() {
                let before = self.store.receipts.len();
                self.act(Act::Handle { server: 0, nth: 0 })?;
                if self.store.receipts.len() == before {
                    // What follows has no room yet: later.
                    self.store.receipts.rotate_left(1);
                    break;
                }
            }
            for host in 0..u32::try_from(self.hosts.len()).unwrap_or(0) {
                self.run_host(host)?;
            }
            self.act(Act::Pass(45_000))?;
        }
        let stuck = self.store.live.iter().filter_map(|row| Some((row, self.store.row(*row)?)));
        let stuck = stuck.filter(|(_, row)| !so_far(row)).map(|(number, row)| {
            let waits: Vec<String> =
                row.rollout.blocked(crate::world::stamp(self.now)).iter().map(|(_, on)| on.to_string()).collect();
            format!("R{number} is stuck at {}: {}", row.rollout.state, waits.join("; "))
        });
        violated(16, stuck.collect::<Vec<_>>().join("; "))
    }

    /// A server looks at everything of a remediation.
    pub(crate) fn pass_over(&mut self, row: u32) -> Checked {
        for turn in 0..6 {
            for _ in 0..24 {
                self.figures.steps += 1;
                let server = row % u32::try_from(self.servers.len()).unwrap_or(1).max(1);
                if self.serve(server, row, turn)? != crate::server::Done::Committed {
                    break;
                }
            }
        }
        Ok(())
    }

    /// An executor polls, and does what it was told.
    pub(crate) fn run_host(&mut self, host: u32) -> Checked {
        let waits = {
            let (queue, at) = (&self.store.queues[host as usize], &self.hosts[host as usize]);
            queue.last > at.journal.position.generation
                || !at.journal.orders.is_empty()
                || !at.up.is_empty()
                || !at.down.is_empty()
                || at.held() != stanch_model::order::Held::No
                || queue.caller.seen_at + 60_000 < self.now
        };
        if !waits {
            return Ok(());
        }
        // Sooner or later a person looks at what is frozen.
        self.act(Act::Trust { host })?;
        self.act(Act::Poll { host })?;
        for _ in 0..4 {
            while !self.hosts[host as usize].up.is_empty() {
                self.act(Act::Up { host, nth: 0, server: host, slow: false })?;
            }
            while !self.hosts[host as usize].down.is_empty() {
                self.act(Act::Down { host, nth: 0 })?;
            }
            for _ in 0..64 {
                let at = &self.hosts[host as usize];
                if at.work.is_none() && at.todo.is_empty() {
                    break;
                }
                self.act(Act::Work { host })?;
            }
        }
        Ok(())
    }
}
