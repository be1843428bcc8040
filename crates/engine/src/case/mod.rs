//! Cases: the findings of one problem, with everything that is done about them over several assets and kinds of asset,
//! step by step.
//!
//! A case only says what is to begin and what is to be taken back. Each run of a rung is a remediation of its own, with
//! its own decision, plan, approvals and proof, or a task for a person; so nothing here can reach a target past the
//! limits that hold for everything else.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use stanch_model::canonical::{Digest, digest};
use stanch_model::id::{AssetId, CaseId, ItemId, RemediationId};
use stanch_model::playbook::{Doing, Rung, Step, VerifiedBy};

mod back;
mod rehearse;

pub use rehearse::misses;

/// A rung that could not be done, and for which something stands in that is lifted once it is done, is tried again
/// after so long.
pub const TRY_AGAIN: SignedDuration = SignedDuration::from_hours(6);
/// Runs of one case at most; then it ends with what it has.
pub const MAX_RUNS: usize = 200;

/// What a case stands for: one problem on one asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The item.
    pub item: ItemId,
    /// Its asset.
    pub asset: AssetId,
}

/// Where a case stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Its steps are being done.
    Open,
    /// Everything is done for everything it is about.
    Done,
    /// Nothing goes on, and not everything is done.
    Partly,
    /// A person ends it; what has begun is seen through.
    Closing {
        /// Why.
        why: String,
    },
    /// A person ended it.
    Closed {
        /// Why.
        why: String,
    },
    /// What was done is being taken back, the last first.
    Undoing {
        /// Who asked.
        by: String,
        /// Why.
        why: String,
    },
    /// It is taken back, as far as it could be.
    Undone,
}

impl State {
    /// The name users see.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Done => "done",
            Self::Partly => "partly",
            Self::Closing { .. } => "closing",
            Self::Closed { .. } => "closed",
            Self::Undoing { .. } => "undoing",
            Self::Undone => "undone",
        }
    }

    /// Whether nothing more will happen by itself.
    pub const fn is_over(&self) -> bool {
        matches!(self, Self::Done | Self::Partly | Self::Closed { .. } | Self::Undone)
    }
}

/// What became of one item in one run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fate", content = "why", rename_all = "snake_case")]
pub enum Fate {
    /// It is being done, or waits for something.
    #[default]
    Running,
    /// It is done and verified.
    Done,
    /// It cannot be done.
    Blocked(String),
    /// It was begun and went wrong.
    Failed(String),
    /// A person said no.
    Refused(String),
    /// It is being taken back.
    GoingBack,
    /// It is taken back.
    Undone,
    /// It was to be taken back, and stays.
    Kept(String),
}

impl Fate {
    /// The name users see.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Blocked(_) => "blocked",
            Self::Failed(_) => "failed",
            Self::Refused(_) => "refused",
            Self::GoingBack => "going_back",
            Self::Undone => "undone",
            Self::Kept(_) => "kept",
        }
    }

    /// Why, where that is said.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Blocked(why) | Self::Failed(why) | Self::Refused(why) | Self::Kept(why) => Some(why),
            _ => None,
        }
    }

    const fn may_go_on(&self) -> bool {
        matches!(self, Self::Running | Self::GoingBack)
    }
}

/// A person's word that a task is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// What they noted.
    pub note: String,
}

/// What a run is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Errand {
    /// A remediation.
    Remediation(RemediationId),
    /// A task for a person, and their word once they gave it.
    Human(Option<Said>),
}

/// One run of one rung for some items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The step, from 0.
    pub step: usize,
    /// The rung of it, from 0.
    pub rung: usize,
    /// What it is.
    pub what: Errand,
    /// When it began.
    pub begun_at: Timestamp,
    /// What became of each item.
    pub fates: BTreeMap<ItemId, Fate>,
    /// It took longer than it may, and the next rung follows.
    pub late: bool,
    /// Items for which it is to be taken back.
    pub back: BTreeSet<ItemId>,
}

/// A case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// The steps, as they were when it was opened.
    pub steps: Vec<Step>,
    /// What it is about.
    pub members: Vec<Member>,
    /// Where it stands.
    pub state: State,
    /// The step that is being done, from 0.
    pub at: usize,
    /// Every run, in the order they began.
    pub runs: Vec<Run>,
    /// Items that go no further, and why.
    pub out: BTreeMap<ItemId, String>,
}

/// What the check that found a problem says of it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// It still sees it.
    pub open: bool,
    /// When the facts were read that it last looked at; none when it never did.
    pub facts_at: Option<Timestamp>,
}

/// What is seen of a case from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// What became of the items of each remediation; one that is left out is as it was.
    pub fates: BTreeMap<RemediationId, BTreeMap<ItemId, Fate>>,
    /// What the checks say.
    pub checks: BTreeMap<ItemId, Checked>,
}

/// What follows from a step of a case, beside the case itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// This run begins: its remediation is to be made, or its person told.
    Begin {
        /// Which.
        run: usize,
    },
    /// This run is late, and the next rung follows where there is one.
    Late {
        /// Which.
        run: usize,
    },
    /// The check still sees what a person said is done.
    StillSeen {
        /// Which run.
        run: usize,
    },
    /// What this run did for these items is to be taken back. It is said again until it is seen.
    TakeBack {
        /// Which.
        run: usize,
        /// The items.
        items: Vec<ItemId>,
        /// Because what it stood in for is done; else because a person asked.
        lifted: bool,
    },
    /// What has not begun of this run is to be called off. It is said again until it is seen.
    CallOff {
        /// Which.
        run: usize,
    },
    /// It comes to an end, or goes on.
    Entered {
        /// Where it stands now.
        state: State,
    },
}

/// Why something that a person asks of a case makes no sense now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// There is no such task, or it is no person's.
    #[error("there is no task of that number for a person in this case")]
    NoTask,
    /// It is over.
    #[error("that task is over")]
    TaskOver,
    /// It is not in a state for that.
    #[error("the case is {0}")]
    State(&'static str),
    /// Nothing was done.
    #[error("nothing was done in this case that could be taken back")]
    NothingDone,
}

/// Where an item stands in a step.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// This rung is next.
    Next(usize),
    /// Something is under way.
    Waits,
    /// The step is done for it.
    Through,
    /// It cannot be done.
    Out(String),
}

/// The remediation of a run: the same whenever it is asked, so that making it twice makes one.
pub fn remediation_of(case: &CaseId, run: usize) -> RemediationId {
    // Texts and integers always have a canonical form.
    let id = digest("stanch/case-run/v1", &(case, run as u64)).unwrap_or(Digest::from_bytes([0; 32]));
    RemediationId::from_digest(&id)
}

impl Case {
    /// A case at its beginning.
    pub fn new(steps: Vec<Step>, members: Vec<Member>) -> Self {
        Self { steps, members, state: State::Open, at: 0, runs: Vec::new(), out: BTreeMap::new() }
    }

    /// The rung of a run.
    pub fn rung(&self, run: &Run) -> Option<&Rung> {
        self.steps.get(run.step)?.rungs.get(run.rung)
    }

    /// The items that are still being worked on.
    pub fn busy(&self) -> BTreeSet<&ItemId> {
        if self.state.is_over() {
            return BTreeSet::new();
        }
        let inside = self.members.iter().map(|member| &member.item).filter(|item| !self.out.contains_key(*item));
        let running = self.runs.iter().flat_map(|run| run.fates.iter().filter(|(_, fate)| fate.may_go_on()));
        inside.chain(running.map(|(item, _)| item)).collect()
    }

    /// What follows by now. The same case, seen the same way, gives the same answer however often it is asked.
    pub fn advance(&self, id: &CaseId, seen: &Seen, now: Timestamp) -> (Self, Vec<Effect>) {
        let mut next = self.clone();
        let mut effects = Vec::new();
        next.look(seen);
        next.people(seen, &mut effects);
        match next.state.clone() {
            State::Open => {
                next.lift(seen, &mut effects);
                next.lateness(now, &mut effects);
                next.go_on(id, now, &mut effects);
            }
            State::Undoing { .. } => next.go_back(&mut effects),
            State::Closing { why } => {
                if !next.call_off(&mut effects) {
                    next.enter(State::Closed { why }, &mut effects);
                }
            }
            State::Done | State::Partly | State::Closed { .. } | State::Undone => {}
        }
        (next, effects)
    }

    fn enter(&mut self, state: State, effects: &mut Vec<Effect>) {
        effects.push(Effect::Entered { state: state.clone() });
        self.state = state;
    }

    /// Notes what became of the remediations.
    fn look(&mut self, seen: &Seen) {
        for run in &mut self.runs {
            let Errand::Remediation(id) = &run.what else { continue };
            let Some(fates) = seen.fates.get(id) else { continue };
            for (item, fate) in &mut run.fates {
                match fates.get(item) {
                    // What was found not to go back stays, whatever state its task is in.
                    Some(Fate::Done) if matches!(fate, Fate::Kept(_)) => {}
                    Some(now) => fate.clone_from(now),
                    None => {}
                }
            }
        }
    }

    /// Believes what people say as far as the check bears it out.
    fn people(&mut self, seen: &Seen, effects: &mut Vec<Effect>) {
        for at in 0..self.runs.len() {
            let Some(run) = self.runs.get(at) else { continue };
            let Errand::Human(said) = &run.what else { continue };
            let by_word = match self.rung(run).map(|rung| &rung.doing) {
                Some(Doing::Human(task)) => task.verified_by == VerifiedBy::Word,
                _ => continue,
            };
            // Gone since it was asked for is gone; still there counts against a word only when it was looked at after.
            let read = |item: &ItemId| {
                let check = seen.checks.get(item)?;
                Some((check.open, check.facts_at?))
            };
            let waits = run.fates.iter().filter(|(_, fate)| **fate == Fate::Running).map(|(item, _)| item);
            let (mut done, mut denied) = (Vec::new(), false);
            for item in waits {
                match (by_word, said, read(item)) {
                    (true, Some(_), _) => done.push(item.clone()),
                    (false, _, Some((false, facts_at))) if facts_at > run.begun_at => done.push(item.clone()),
                    (false, Some(said), Some((true, facts_at))) => denied |= facts_at > said.at,
                    _ => {}
                }
            }
            let Some(run) = self.runs.get_mut(at) else { continue };
            for item in done {
                run.fates.insert(item, Fate::Done);
            }
            if denied {
                run.what = Errand::Human(None);
                effects.push(Effect::StillSeen { run: at });
            }
        }
    }

    /// Takes back what only stood in for something that is done now.
    fn lift(&mut self, seen: &Seen, effects: &mut Vec<Effect>) {
        for at in 0..self.runs.len() {
            let Some(run) = self.runs.get(at) else { continue };
            if run.back.is_empty()
                && let Some(for_what) = self.rung(run).and_then(|rung| rung.lift_when.clone())
            {
                let over: BTreeSet<ItemId> = run
                    .fates
                    .iter()
                    .filter(|(item, fate)| **fate == Fate::Done && self.is_over(&for_what, item, run, seen))
                    .map(|(item, _)| item.clone())
                    .collect();
                // One act on one asset stands in for all its items: it goes when the last of them is over.
                let whole = run.fates.iter().all(|(item, fate)| *fate != Fate::Done || over.contains(item));
                if whole && let Some(run) = self.runs.get_mut(at) {
                    run.back = over;
                }
            }
            self.take_back(at, true, effects);
        }
    }

    /// Whether what a run stands in for is done for an item.
    fn is_over(&self, rung: &str, item: &ItemId, run: &Run, seen: &Seen) -> bool {
        let by_rung = |other: &Run| {
            self.rung(other).is_some_and(|known| known.id == rung) && other.fates.get(item) == Some(&Fate::Done)
        };
        let by_check = seen
            .checks
            .get(item)
            .is_some_and(|check| !check.open && check.facts_at.is_some_and(|read| read > run.begun_at));
        by_check || self.runs.iter().any(by_rung)
    }

    fn take_back(&self, at: usize, lifted: bool, effects: &mut Vec<Effect>) {
        let Some(run) = self.runs.get(at) else { return };
        if !matches!(run.what, Errand::Remediation(_)) {
            return;
        }
        let items: Vec<ItemId> =
            run.back.iter().filter(|item| run.fates.get(*item) == Some(&Fate::Done)).cloned().collect();
        if !items.is_empty() {
            effects.push(Effect::TakeBack { run: at, items, lifted });
        }
    }

    /// Notes which runs take longer than they may.
    fn lateness(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        for at in 0..self.runs.len() {
            let Some(run) = self.runs.get(at).filter(|run| !run.late) else { continue };
            let within = self.rung(run).and_then(|rung| match &rung.doing {
                Doing::Human(task) => Some(task.due_seconds),
                Doing::Act(_) => rung.within_seconds,
            });
            let Some(within) = within else { continue };
            let waits = run.fates.values().any(|fate| *fate == Fate::Running);
            if waits && now.duration_since(run.begun_at) >= SignedDuration::from_secs(i64::from(within)) {
                if let Some(run) = self.runs.get_mut(at) {
                    run.late = true;
                }
                effects.push(Effect::Late { run: at });
            }
        }
    }

    fn go_on(&mut self, id: &CaseId, now: Timestamp, effects: &mut Vec<Effect>) {
        while let Some(step) = self.steps.get(self.at) {
            let rungs = step.rungs.len();
            let mut next: BTreeMap<usize, Vec<ItemId>> = BTreeMap::new();
            let mut waits = false;
            for member in &self.members {
                if self.out.contains_key(&member.item) {
                    continue;
                }
                match self.place(self.at, rungs, &member.item) {
                    Place::Through => {}
                    Place::Waits => waits = true,
                    Place::Next(rung) => next.entry(rung).or_default().push(member.item.clone()),
                    Place::Out(why) => drop(self.out.insert(member.item.clone(), why)),
                }
            }
            for (rung, items) in next {
                waits |= self.begin(id, self.at, rung, items, now, effects);
            }
            if waits {
                break;
            }
            self.at += 1;
        }
        if self.at < self.steps.len() {
            return;
        }
        self.try_again(id, now, effects);
        let under_way = self.runs.iter().any(|run| run.fates.values().any(Fate::may_go_on));
        let to_lift = self.runs.iter().any(|run| self.stands_in(run).next().is_some());
        if !under_way && !to_lift {
            let all = self.members.iter().all(|member| !self.out.contains_key(&member.item));
            self.enter(if all { State::Done } else { State::Partly }, effects);
        }
    }

    /// Items for which a run stands in for something that is to come.
    fn stands_in<'a>(&'a self, run: &'a Run) -> impl Iterator<Item = &'a ItemId> {
        let stands = self.rung(run).is_some_and(|rung| rung.lift_when.is_some());
        run.fates.iter().filter(move |(_, fate)| stands && **fate == Fate::Done).map(|(item, _)| item)
    }

    /// What something stands in for is tried again now and then, until it can be done.
    fn try_again(&mut self, id: &CaseId, now: Timestamp, effects: &mut Vec<Effect>) {
        let mut again: BTreeMap<(usize, usize), BTreeSet<ItemId>> = BTreeMap::new();
        for run in &self.runs {
            let Some(wanted) = self.rung(run).and_then(|rung| rung.lift_when.as_deref()) else { continue };
            for item in self.stands_in(run).filter(|item| !run.back.contains(*item)) {
                let mine = |other: &&Run| {
                    other.fates.contains_key(item) && self.rung(other).is_some_and(|rung| rung.id == wanted)
                };
                let Some(last) = self.runs.iter().rev().find(mine) else { continue };
                let rested = now.duration_since(last.begun_at) >= TRY_AGAIN;
                if rested && matches!(last.fates.get(item), Some(Fate::Blocked(_))) {
                    again.entry((last.step, last.rung)).or_default().insert(item.clone());
                }
            }
        }
        for ((step, rung), items) in again {
            self.begin(id, step, rung, items.into_iter().collect(), now, effects);
        }
    }

    /// Begins a run. Answers whether it did: a case has a limit.
    fn begin(
        &mut self,
        id: &CaseId,
        step: usize,
        rung: usize,
        items: Vec<ItemId>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let number = self.runs.len();
        let Some(what) = self.steps.get(step).and_then(|step| step.rungs.get(rung)) else { return false };
        if number >= MAX_RUNS {
            let why = || format!("the case has had {MAX_RUNS} runs and begins no more");
            self.out.extend(items.into_iter().map(|item| (item, why())));
            return false;
        }
        let what = match &what.doing {
            Doing::Act(_) => Errand::Remediation(remediation_of(id, number)),
            Doing::Human(_) => Errand::Human(None),
        };
        let fates = items.into_iter().map(|item| (item, Fate::Running)).collect();
        self.runs.push(Run { step, rung, what, begun_at: now, fates, late: false, back: BTreeSet::new() });
        effects.push(Effect::Begin { run: number });
        true
    }

    fn place(&self, step: usize, rungs: usize, item: &ItemId) -> Place {
        let mine =
            || self.runs.iter().filter(|run| run.step == step).filter_map(|run| Some((run, run.fates.get(item)?)));
        // What only stood in for something was done all the same, also once it is lifted.
        let lifted = |run: &Run, fate: &Fate| run.back.contains(item) && !matches!(fate, Fate::Failed(_));
        if mine().any(|(run, fate)| *fate == Fate::Done || lifted(run, fate)) {
            return Place::Through;
        }
        let Some((run, fate)) = mine().max_by_key(|(run, _)| run.rung) else { return Place::Next(0) };
        let further = Some(run.rung + 1).filter(|next| *next < rungs);
        // A person's no to one rung is not answered with another.
        let no = mine().any(|(_, fate)| matches!(fate, Fate::Refused(_)));
        let next = match fate {
            _ if no => None,
            Fate::Blocked(_) | Fate::Failed(_) => further,
            Fate::Running if run.late => further,
            _ => None,
        };
        if let Some(next) = next {
            return Place::Next(next);
        }
        if mine().any(|(_, fate)| fate.may_go_on()) {
            return Place::Waits;
        }
        let name = self.rung(run).map(|rung| rung.id.as_str()).unwrap_or_default();
        let why = match fate {
            Fate::Undone => "it was taken back",
            fate => fate.why().unwrap_or("it ended"),
        };
        Place::Out(format!("{name}: {why}"))
    }
}
