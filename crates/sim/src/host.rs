//! A host and its executor: the truth about the target, the journal (the real one's state machine), and what is lost
//! when the process dies. How orders are carried out is in `work.rs`.

use std::collections::{BTreeMap, VecDeque};

use stanch_model::id::{AssetId, ItemId, OrderId};
use stanch_model::order::Held;
use stanch_runner::JournalState;

use crate::setup::{Fate, HostSetup};
use crate::store::{ITEMS, Order, Said};
use crate::work::Work;

/// Mail from an executor.
#[derive(Debug, Clone)]
pub(crate) enum Up {
    Poll { key: u32, counter: u64, nonce: u64, position: u64, held: Held },
    Receipt { position: u64, said: Said, at: i64 },
}

/// Mail to an executor.
#[derive(Debug, Clone)]
pub(crate) enum Down {
    Batch { orders: Vec<Order>, nonce: u64 },
    Taken { position: u64 },
}

/// Polls whose orders are still taken.
const POLLS: usize = 16;
/// Poll counters are made durable this many at a time.
pub(crate) const POLLS_AT_ONCE: u64 = 1_000;
/// Mail that is on its way at once; more of it is lost.
const MAIL: usize = 32;

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) asset: AssetId,
    /// In the order of their ids, as in leaves.
    pub(crate) items: [ItemId; ITEMS],
    pub(crate) own: bool,
    pub(crate) tier: u8,
    pub(crate) steps: u8,
    pub(crate) resumes: bool,
    pub(crate) skew: i64,
    pub(crate) fate: Fate,
    pub(crate) cut: bool,

    /// Durable: the journal, and what its orders ask for.
    pub(crate) journal: JournalState,
    pub(crate) book: BTreeMap<u64, Order>,

    /// Its receipt key, by number: another one in each folder.
    pub(crate) key: u32,
    pub(crate) boot: u32,
    pub(crate) booted_at: i64,
    pub(crate) polls: VecDeque<(u64, i64)>,
    pub(crate) counter: u64,
    pub(crate) todo: VecDeque<u64>,
    pub(crate) work: Option<Work>,
    pub(crate) readings: BTreeMap<u64, (Said, i64)>,

    /// The truth: items that are not open, who closed them, whether the host does its work.
    pub(crate) fixed: u8,
    pub(crate) owners: [Option<(u32, u32)>; ITEMS],
    pub(crate) sick: bool,
    /// The version that closes each item; a newer one is there when it opens again after it was closed.
    pub(crate) versions: [u32; ITEMS],
    /// Items whose suppression a person lifted once.
    pub(crate) lifted: u8,

    pub(crate) up: Vec<Up>,
    pub(crate) down: Vec<Down>,
    number: usize,
}

impl Host {
    pub(crate) fn new(number: usize, asset: AssetId, items: [ItemId; ITEMS], setup: &HostSetup) -> Self {
        Self {
            asset,
            items,
            own: setup.own,
            tier: setup.tier,
            steps: setup.steps,
            resumes: setup.resumes,
            skew: setup.skew,
            fate: setup.fate,
            cut: false,
            journal: JournalState::default(),
            book: BTreeMap::new(),
            key: 0,
            boot: 0,
            booted_at: 0,
            polls: VecDeque::new(),
            counter: 0,
            todo: VecDeque::new(),
            work: None,
            readings: BTreeMap::new(),
            fixed: 0,
            owners: [None; ITEMS],
            sick: false,
            versions: [1; ITEMS],
            lifted: 0,
            up: Vec::new(),
            down: Vec::new(),
            number,
        }
    }

    pub(crate) fn name(&self) -> String {
        format!("host-{}", self.number)
    }

    pub(crate) fn bit(&self, item: &ItemId) -> Option<usize> {
        self.items.iter().position(|known| known == item)
    }

    pub(crate) fn bits(&self, items: &[ItemId]) -> u8 {
        items.iter().filter_map(|item| self.bit(item)).fold(0, |bits, bit| bits | 1 << bit)
    }

    /// Whether an item is not open here.
    pub(crate) fn has(&self, item: &ItemId) -> bool {
        self.bit(item).is_some_and(|bit| self.fixed >> bit & 1 == 1)
    }

    /// Whether a task's change is in place here.
    pub(crate) fn owns(&self, row: u32, task: usize) -> bool {
        self.owners.iter().flatten().any(|(owner, owns)| *owner == row && *owns as usize == task)
    }

    /// The id of the order at a position.
    pub(crate) fn order_id(&self, position: u64) -> OrderId {
        let mut bytes = [0; 10];
        let number = u16::try_from(self.number % 65_536).unwrap_or(0).to_be_bytes();
        bytes[..2].copy_from_slice(&number);
        bytes[2..].copy_from_slice(&position.to_be_bytes());
        OrderId::from_entropy(bytes)
    }

    pub(crate) fn held(&self) -> Held {
        self.journal.hold.as_ref().map_or(Held::No, |hold| Held::by(hold.stop_all))
    }

    /// The process ends and starts again; with the time, the machine too. Only what is durable is known then.
    pub(crate) fn dies(&mut self, reboot: Option<i64>) {
        if let Some(now) = reboot {
            self.boot += 1;
            self.booted_at = now;
        }
        self.polls.clear();
        self.counter = self.journal.polls_below;
        self.work = None;
        self.readings.clear();
        self.down.clear();
        let unfinished: Vec<u64> = self.journal.unfinished().iter().map(|order| order.position.generation).collect();
        self.todo = unfinished.into();
    }

    /// The folder is gone.
    pub(crate) fn forgets(&mut self) {
        self.journal = JournalState::default();
        self.key += 1;
        self.book.clear();
        self.dies(None);
    }

    /// Remembers a poll, so that its orders are taken.
    pub(crate) fn polled(&mut self, nonce: u64, now: i64) {
        self.polls.push_back((nonce, now));
        if self.polls.len() > POLLS {
            self.polls.pop_front();
        }
    }

    /// One poll at a time is on its way: a connection that was given up says nothing more.
    pub(crate) fn put_poll(&mut self, poll: Up) {
        match self.up.iter_mut().find(|mail| matches!(mail, Up::Poll { .. })) {
            Some(old) => *old = poll,
            None => self.up.push(poll),
        }
    }

    pub(crate) fn put_receipt(&mut self, position: u64, said: Said, at: i64) {
        if self.up.len() < MAIL {
            self.up.push(Up::Receipt { position, said, at });
        }
    }

    pub(crate) fn put_down(&mut self, mail: Down) {
        if self.down.len() < MAIL {
            self.down.push(mail);
        }
    }

    pub(crate) fn take_up(&mut self, nth: u32) -> Option<Up> {
        let length = self.up.len();
        (length > 0).then(|| self.up.remove(nth as usize % length))
    }

    pub(crate) fn take_down(&mut self, nth: u32) -> Option<Down> {
        let length = self.down.len();
        (length > 0).then(|| self.down.remove(nth as usize % length))
    }

    pub(crate) fn lose(&mut self, nth: u32, up: bool) -> bool {
        if up { self.take_up(nth).is_some() } else { self.take_down(nth).is_some() }
    }

    /// Mail comes twice. Polls do not: they are one connection.
    pub(crate) fn double(&mut self, nth: u32, up: bool) -> bool {
        if up {
            let length = self.up.len().max(1);
            match self.up.get(nth as usize % length) {
                Some(mail @ Up::Receipt { .. }) if length < MAIL => {
                    let mail = mail.clone();
                    self.up.push(mail);
                    true
                }
                _ => false,
            }
        } else {
            let length = self.down.len().max(1);
            match self.down.get(nth as usize % length) {
                Some(mail) if length < MAIL => {
                    let mail = mail.clone();
                    self.down.push(mail);
                    true
                }
                _ => false,
            }
        }
    }
}
