//! The world: true time, the store, servers, executors and people. [`World::act`] makes one thing happen.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;
use stanch_engine::rollout::{Event, Hold, HoldLevel, Rollout};
use stanch_model::asset::{AssetKind, asset_id};
use stanch_model::canonical::Digest;
use stanch_model::id::{ActorId, ItemId, TaskId};
use stanch_model::item::{Subject, item_id};

use crate::act::Act;
use crate::defects::Model;
use crate::host::Host;
use crate::setup::{Fate, Setup};
use crate::store::{Held, ITEMS, Order, Queue, Store};

/// An invariant that does not hold, by its number in the list of invariants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) invariant: u8,
    pub(crate) what: String,
}

pub(crate) type Checked<T = ()> = Result<T, Violation>;

pub(crate) fn violated<T>(invariant: u8, what: impl Into<String>) -> Checked<T> {
    Err(Violation { invariant, what: what.into() })
}

/// What a server has loaded and not committed.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) row: u32,
    pub(crate) generation: u64,
    pub(crate) base: Arc<Rollout>,
    pub(crate) event: Event,
    /// True time of the facts that a judgement rests on.
    pub(crate) facts_truly: Option<i64>,
    /// When it was loaded, on the server's clock.
    pub(crate) now: Timestamp,
}

#[derive(Debug)]
pub(crate) struct Server {
    /// Milliseconds ahead of the true time.
    pub(crate) skew: i64,
    pub(crate) loaded: Option<Loaded>,
    /// Orders that are written down as handed out and have not left.
    pub(crate) leaving: VecDeque<Leaving>,
}

/// Orders on their way out of a server.
#[derive(Debug)]
pub(crate) struct Leaving {
    pub(crate) host: u32,
    pub(crate) nonce: u64,
    pub(crate) counter: u64,
    pub(crate) orders: Vec<Order>,
}

pub(crate) struct World {
    pub(crate) setup: Setup,
    /// True time since the start, in milliseconds.
    pub(crate) now: i64,
    pub(crate) store: Store,
    pub(crate) servers: Vec<Server>,
    pub(crate) hosts: Vec<Host>,
    /// Rows made so far.
    pub(crate) planned: u32,
    pub(crate) commits: u64,
    /// Whether things still go wrong.
    pub(crate) chaos: bool,
    /// The task for which the last commit found no room.
    pub(crate) no_room: Option<TaskId>,
    pub(crate) figures: Figures,
    pub(crate) model: Option<Model>,
    /// The story, when somebody listens.
    pub(crate) told: Option<Vec<String>>,
}

/// What a run saw, so that one that never got anywhere is noticed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Things that happened.
    pub steps: u64,
    /// Steps of the machine that were committed.
    pub commits: u64,
    /// Commits that lost against another server, or found a lane or budget taken.
    pub refused: u64,
    /// Steps that began on a target.
    pub starts: u64,
    /// Executors and servers that died.
    pub deaths: u64,
    /// Messages lost or doubled.
    pub mishaps: u64,
    /// Remediations by the state they ended in.
    pub ends: std::collections::BTreeMap<&'static str, u64>,
}

impl Figures {
    /// Adds another run.
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.commits += other.commits;
        self.refused += other.refused;
        self.starts += other.starts;
        self.deaths += other.deaths;
        self.mishaps += other.mishaps;
        for (end, count) in &other.ends {
            *self.ends.entry(end).or_default() += count;
        }
    }
}

/// The true start of every world, in seconds.
const START: i64 = 1_800_000_000;

pub(crate) fn stamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(START * 1_000 + ms).unwrap_or(Timestamp::MAX)
}

pub(crate) fn unstamp(at: Timestamp) -> i64 {
    at.as_millisecond() - START * 1_000
}

pub(crate) fn actor() -> ActorId {
    ActorId::from_entropy([7; 10])
}

impl World {
    pub(crate) fn new(setup: Setup, model: Option<Model>, telling: bool) -> Self {
        let hosts: Vec<Host> = setup
            .hosts
            .iter()
            .enumerate()
            .map(|(number, setup)| {
                let asset = asset_id(AssetKind::Host, &format!("host-{number}"));
                let item = |source: &str| item_id(&asset, &Subject::SourcePackage { source: source.to_owned() });
                let mut items: [ItemId; ITEMS] = ["bind9", "curl", "openssl"].map(item);
                items.sort();
                Host::new(number, asset, items, setup)
            })
            .collect();
        let queues = hosts.iter().map(|_| Queue::default()).collect();
        let servers =
            setup.servers.iter().map(|skew| Server { skew: *skew, loaded: None, leaving: VecDeque::new() }).collect();
        Self {
            setup,
            now: 0,
            store: Store { queues, ..Store::default() },
            servers,
            hosts,
            planned: 0,
            commits: 0,
            chaos: true,
            no_room: None,
            figures: Figures::default(),
            model,
            told: telling.then(Vec::new),
        }
    }

    pub(crate) fn planted(&self, model: Model) -> bool {
        self.model == Some(model)
    }

    /// Writes a line of the story.
    pub(crate) fn tell(&mut self, who: impl FnOnce() -> String, what: impl FnOnce(&Self) -> String) {
        if self.told.is_some() {
            let line = format!("{:>9.1} s  {:<9} {}", self.now as f64 / 1_000.0, who(), what(self));
            if let Some(told) = &mut self.told {
                told.push(line);
            }
        }
    }

    pub(crate) fn server_time(&self, server: u32) -> i64 {
        self.now + self.servers[server as usize].skew
    }

    fn server(&self, number: u32) -> Option<u32> {
        let length = u32::try_from(self.servers.len()).unwrap_or(1);
        (length > 0).then(|| number % length.max(1))
    }

    /// The row that is meant: numbers count the rows that matter, from the newest.
    pub(crate) fn live(&self, number: u32) -> Option<u32> {
        self.store.live.iter().rev().nth(number as usize).copied()
    }

    fn host(&self, number: u32) -> Option<u32> {
        ((number as usize) < self.hosts.len()).then_some(number)
    }

    /// Makes one thing happen.
    pub(crate) fn act(&mut self, act: Act) -> Checked {
        self.figures.steps += 1;
        match act {
            Act::Pass(ms) => self.now += i64::from(ms),
            Act::Serve { server, row, turn } => {
                if let (Some(server), Some(row)) = (self.server(server), self.live(row)) {
                    self.serve(server, row, turn)?;
                }
            }
            Act::Load { server, row, turn } => {
                if let (Some(server), Some(row)) = (self.server(server), self.live(row)) {
                    self.load(server, row, turn);
                }
            }
            Act::Commit { server } => {
                if let Some(server) = self.server(server) {
                    self.commit_loaded(server)?;
                }
            }
            Act::Handle { server, nth } => {
                if let Some(server) = self.server(server) {
                    self.handle(server, nth)?;
                }
            }
            Act::Leave { server } => {
                if let Some(server) = self.server(server) {
                    self.leave_next(server)?;
                }
            }
            Act::ServerDies { server } => {
                if let Some(server) = self.server(server) {
                    self.figures.deaths += 1;
                    self.servers[server as usize].loaded = None;
                    self.servers[server as usize].leaving.clear();
                    self.tell(|| server_name(server), |_| "dies and starts again".to_owned());
                    self.reread()?;
                }
            }
            Act::Clock { server, skew } => {
                if let Some(server) = self.server(server) {
                    self.servers[server as usize].skew = i64::from(skew);
                    self.tell(|| server_name(server), |_| format!("has its clock set to {skew} ms ahead"));
                }
            }
            Act::Ledger { stuck } => {
                self.store.ledger_stuck = stuck;
                self.tell(
                    || "ledger".to_owned(),
                    |_| if stuck { "takes no entry" } else { "takes entries" }.to_owned(),
                );
            }
            Act::Plan { draw } => self.plan(draw)?,
            Act::Approve { .. }
            | Act::Reject { .. }
            | Act::Supersede { .. }
            | Act::Hold { .. }
            | Act::Release
            | Act::Undo { .. }
            | Act::Cancel { .. }
            | Act::Dismiss { .. } => self.person(act)?,
            Act::Poll { host }
            | Act::Up { host, .. }
            | Act::Down { host, .. }
            | Act::Lost { host, .. }
            | Act::Twice { host, .. }
            | Act::Work { host }
            | Act::Dies { host, .. }
            | Act::Forgets { host }
            | Act::Cut { host, .. }
            | Act::Fate { host, .. }
            | Act::Trust { host }
            | Act::Lift { host } => {
                if let Some(host) = self.host(host) {
                    self.at_host(host, act)?;
                }
            }
        }
        Ok(())
    }

    fn at_host(&mut self, host: u32, act: Act) -> Checked {
        let at = host as usize;
        match act {
            Act::Poll { .. } => self.poll(host),
            Act::Up { nth, server, slow, .. } => {
                if let Some(server) = self.server(server) {
                    self.arrive(host, nth, server, slow)?;
                }
            }
            Act::Down { nth, .. } => self.receive(host, nth)?,
            Act::Lost { nth, up, .. } => {
                let happened = self.hosts[at].lose(nth, up);
                self.mishap(happened, "loses", host, up);
            }
            Act::Twice { nth, up, .. } => {
                let happened = self.hosts[at].double(nth, up);
                self.mishap(happened, "doubles", host, up);
            }
            Act::Work { .. } => self.work(host)?,
            Act::Dies { reboot, .. } => {
                self.figures.deaths += 1;
                self.hosts[at].dies(reboot.then_some(self.now));
                self.tell(
                    || host_name(host),
                    |_| if reboot { "boots anew" } else { "is killed and starts again" }.to_owned(),
                );
            }
            Act::Forgets { .. } => {
                self.hosts[at].forgets();
                self.tell(|| host_name(host), |_| "loses its folder, journal and all".to_owned());
            }
            Act::Cut { cut, .. } => {
                self.hosts[at].cut = cut;
                let what = if cut { "cuts the way to" } else { "opens the way to" };
                self.tell(|| "network".to_owned(), |_| format!("{what} host-{host}"));
            }
            Act::Fate { fate, .. } => {
                self.hosts[at].fate = Fate::of(fate);
                self.tell(|| host_name(host), |_| format!("changes: {}", Fate::of(fate).words()));
            }
            Act::Trust { .. } => self.trust(host),
            Act::Lift { .. } => {
                let lifted = std::mem::take(&mut self.store.queues[at].suppressed);
                for (bit, _) in lifted.iter().enumerate().filter(|(_, version)| **version > 0) {
                    self.hosts[at].lifted |= 1 << bit;
                }
                self.tell(|| "a person".to_owned(), |_| format!("lifts the suppressions of host-{host}"));
            }
            _ => {}
        }
        Ok(())
    }

    fn mishap(&mut self, happened: bool, what: &str, host: u32, up: bool) {
        if happened {
            self.figures.mishaps += 1;
            self.tell(|| "network".to_owned(), |_| format!("{what} mail {} host-{host}", way(up)));
        }
    }

    /// What people ask of a remediation; any server may take it.
    fn person(&mut self, act: Act) -> Checked {
        let server = 0;
        let by = actor();
        match act {
            Act::Hold { all } => {
                // One in force is only tightened, and tightening does not end it.
                let known = self.store.held.as_ref();
                let all_since = known.and_then(|held| held.all_since).or(all.then_some(self.now));
                let level = if all_since.is_some() { HoldLevel::StopAll } else { HoldLevel::StopNew };
                let since = known.map_or(self.now, |held| held.since);
                let hold = Hold { level, reason: "somebody is worried".to_owned() };
                self.store.held = Some(Held { hold, since, all_since });
                self.tell(
                    || "a person".to_owned(),
                    |_| format!("holds {}", if all { "everything" } else { "new starts" }),
                );
                Ok(())
            }
            Act::Release => {
                self.store.held = None;
                self.tell(|| "a person".to_owned(), |_| "releases the hold".to_owned());
                Ok(())
            }
            Act::Approve { row, right } => {
                let Some(row) = self.live(row) else { return Ok(()) };
                let plan = self.store.row(row).map(|row| row.rollout.plan);
                let plan = if right { plan } else { None }.unwrap_or(Digest::from_bytes([9; 32]));
                self.ask(server, row, Event::Approved { plan, by, until: None })
            }
            Act::Reject { row } => self.ask_live(server, row, Event::Rejected { by }),
            Act::Supersede { row } => self.ask_live(server, row, Event::Superseded),
            Act::Cancel { row } => self.ask_live(server, row, Event::Cancelled { by }),
            Act::Dismiss { row } => self.ask_live(server, row, Event::Dismissed { by }),
            Act::Undo { row, task, items } => {
                let Some(row) = self.live(row) else { return Ok(()) };
                let Some(stored) = self.store.row(row) else { return Ok(()) };
                let count = stored.rollout.tasks.len();
                let Some(task) = stored.rollout.tasks.get(task as usize % count.max(1)) else { return Ok(()) };
                let items =
                    (0..).zip(&task.items).filter(|(bit, _)| items >> bit & 1 == 1).map(|(_, item)| item.clone());
                let items = items.collect();
                self.ask(server, row, Event::UndoAsked { items, by })
            }
            _ => Ok(()),
        }
    }

    fn ask_live(&mut self, server: u32, row: u32, event: Event) -> Checked {
        match self.live(row) {
            Some(row) => self.ask(server, row, event),
            None => Ok(()),
        }
    }
}

const fn way(up: bool) -> &'static str {
    if up { "from" } else { "to" }
}

pub(crate) fn server_name(server: u32) -> String {
    format!("server {}", server + 1)
}

pub(crate) fn host_name(host: u32) -> String {
    format!("host-{host}")
}
