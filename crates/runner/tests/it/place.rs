//! One executor in a temporary folder, with everything that a test may want to turn.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use stanch_action::{Action, ActionError, Catalogue};
use stanch_model::Timestamp;
use stanch_model::asset::{Asset, AssetKind};
use stanch_model::canonical::Digest;
use stanch_model::facts::HostFacts;
use stanch_model::id::{ItemId, OrderId, TaskId};
use stanch_model::order::{Answer, Grant, Order, Progress, StepReport, StepRequest, Verb};
use stanch_model::plan::{Leaf, PlannedStep};
use stanch_runner::{
    Clock, Config, Guard, Journal, JournalState, NoObserver, NoRules, Observer, Record, Refused, RunError, Runner,
    Shutdown, Taken, Tools,
};
use tempfile::TempDir;

use crate::desk::Desk;
use crate::toy::{Defect, FileSet};

pub const NOW: Timestamp = Timestamp::constant(1_790_000_000, 0);

/// Clocks that stand still until they are set.
pub struct TestClock {
    pub now: Mutex<Timestamp>,
    pub since_boot: Mutex<Duration>,
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }

    fn since_boot(&self) -> Duration {
        *self.since_boot.lock().unwrap()
    }
}

impl TestClock {
    pub fn pass(&self, time: Duration) {
        let mut now = self.now.lock().unwrap();
        *now = now.checked_add(time).unwrap();
        *self.since_boot.lock().unwrap() += time;
    }
}

/// Kills the executor in place: from the given append on, nothing is written any more.
pub struct Doom {
    pub at: u64,
    pub after: bool,
    pub dead: AtomicBool,
    pub appends: AtomicU64,
    pub on_death: Mutex<Option<Box<dyn Fn() + Send>>>,
}

impl Doom {
    pub fn never() -> Self {
        Self::at(u64::MAX, false)
    }

    pub fn at(at: u64, after: bool) -> Self {
        let (dead, appends) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { at, after, dead, appends, on_death: Mutex::new(None) }
    }

    fn die(&self) {
        self.dead.store(true, Ordering::SeqCst);
        if let Some(tell) = self.on_death.lock().unwrap().as_ref() {
            tell();
        }
    }
}

impl Observer for Doom {
    fn before(&self, number: u64, _record: &Record) -> io::Result<()> {
        if number == self.at && !self.after {
            self.die();
        }
        if self.dead.load(Ordering::SeqCst) { Err(io::Error::other("dead")) } else { Ok(()) }
    }

    fn after(&self, number: u64, _record: &Record) {
        self.appends.fetch_add(1, Ordering::SeqCst);
        if number == self.at && self.after {
            self.die();
        }
    }
}

pub struct Place {
    pub dir: TempDir,
    pub desk: Desk,
    pub clock: Arc<TestClock>,
    pub boot_id: String,
    pub defect: Defect,
    pub guard: Box<dyn Guard>,
    pub task: u8,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("target")).unwrap();
        let clock = TestClock { now: Mutex::new(NOW), since_boot: Mutex::new(Duration::from_secs(1_000)) };
        Self {
            dir,
            desk: Desk::new(NOW).unwrap(),
            clock: Arc::new(clock),
            boot_id: "boot-1".to_owned(),
            defect: Defect::None,
            guard: Box::new(NoRules),
            task: 1,
        }
    }

    pub fn asset(&self) -> Asset {
        Asset::unlabelled(AssetKind::Host, "toy", "toy")
    }

    pub fn folder(&self) -> PathBuf {
        self.dir.path().join("executor")
    }

    pub fn target(&self) -> PathBuf {
        self.dir.path().join("target")
    }

    pub fn content(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.target().join(name)).ok()
    }

    /// How often a file was really set.
    pub fn sets(&self) -> usize {
        std::fs::read_to_string(self.target().join("log")).map_or(0, |log| log.lines().count())
    }

    pub fn config(&self, observer: Arc<dyn Observer>) -> Config {
        let seed = [9; 32];
        let mut config =
            Config::new(self.desk.executor.clone(), self.asset(), self.desk.root(), self.boot_id.clone(), seed);
        config.clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        config.observer = observer;
        config
    }

    pub fn open(&self) -> Runner {
        self.open_with(Arc::new(NoObserver))
    }

    pub fn open_with(&self, observer: Arc<dyn Observer>) -> Runner {
        Runner::open(&self.folder(), self.config(observer)).unwrap()
    }

    /// What is in the journal of an executor that is off.
    pub fn journal(&self) -> JournalState {
        Journal::open(&self.folder(), Arc::new(NoObserver)).unwrap().state().clone()
    }

    pub fn catalogue(&self) -> Catalogue {
        Catalogue::new().with(Box::new(FileSet::new(&self.target(), self.defect)))
    }

    pub fn items(&self, count: u8) -> Vec<ItemId> {
        (0..count).map(|number| ItemId::from_entropy([number; 10])).collect()
    }

    pub fn requests(&self, files: &[(&str, &str)]) -> Vec<StepRequest> {
        let request = |(number, (name, content)): (u8, &(&str, &str))| StepRequest {
            action: "file.set".to_owned(),
            want: json!({ "name": name, "content": content }),
            items: vec![ItemId::from_entropy([number; 10])],
        };
        (0..).zip(files).map(request).collect()
    }

    /// A leaf that sets these files, planned on what is there now.
    pub fn grant(&mut self, files: &[(&str, &str)]) -> Grant {
        let answer = FileSet::new(&self.target(), Defect::None).plan(&self.asset(), &self.requests(files)).unwrap();
        let items = self.items(u8::try_from(files.len()).unwrap());
        self.grant_of(items, answer.steps)
    }

    pub fn grant_of(&mut self, items: Vec<ItemId>, steps: Vec<PlannedStep>) -> Grant {
        self.task += 1;
        let leaf = Leaf { asset: self.asset().id, items, steps };
        let leaf_hash = leaf.hash().unwrap();
        let plan = Digest::of_bytes(&[self.task]);
        Grant {
            task: TaskId::from_entropy([self.task; 10]),
            plan,
            leaf_hash,
            leaf,
            epoch: 1,
            attempt: 1,
            rest: false,
            vouched: None,
        }
    }

    pub fn undo(&self, grant: &Grant, attempt: u32) -> Verb {
        Verb::Undo { task: grant.task.clone(), grant: grant.clone(), items: grant.leaf.items.clone(), attempt }
    }

    /// Offers an order to the runner in a poll of its own.
    pub fn offer(&mut self, runner: &Runner, verb: Verb) -> Result<Taken, Refused> {
        let order = self.desk.order(verb);
        self.offer_order(runner, order)
    }

    pub fn offer_order(&mut self, runner: &Runner, order: Order) -> Result<Taken, Refused> {
        let hello = runner.hello(Vec::new()).unwrap();
        runner.accept(&self.desk.chain().unwrap(), &self.desk.sign(order, &hello).unwrap())
    }

    pub fn run(&self, runner: &Runner, order: &OrderId) -> Result<Answer, RunError> {
        self.run_telling(runner, order, &|_| {})
    }

    pub fn run_telling(
        &self,
        runner: &Runner,
        order: &OrderId,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Answer, RunError> {
        let catalogue = self.catalogue();
        let facts = |_: bool| -> Result<HostFacts, ActionError> { Err(ActionError::failed("no facts here")) };
        let shutdown = Shutdown::new();
        let tools = Tools {
            catalogue: &catalogue,
            facts: &facts,
            guard: self.guard.as_ref(),
            rehearse: None,
            progress,
            shutdown: &shutdown,
        };
        runner.run(order, &tools).map(|receipt| receipt.body.answer)
    }

    /// Offers an order that has to be accepted, and carries it out.
    pub fn carry_out(&mut self, runner: &Runner, verb: Verb) -> Answer {
        match self.offer(runner, verb).unwrap() {
            Taken::Accepted { order, .. } => self.run(runner, &order).unwrap(),
            Taken::Answered { receipt, .. } | Taken::Known(receipt) => receipt.body.answer,
        }
    }
}

#[track_caller]
pub fn steps(answer: Answer) -> Vec<StepReport> {
    match answer {
        Answer::Applied { steps } | Answer::Undone { steps } => steps,
        other => panic!("no step reports: {other:?}"),
    }
}

#[track_caller]
pub fn accepted(taken: Result<Taken, Refused>) -> OrderId {
    match taken.unwrap() {
        Taken::Accepted { order, .. } => order,
        other => panic!("not accepted: {other:?}"),
    }
}

/// All files below a folder with their content.
pub fn files(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name != "log" {
            found.insert(name, std::fs::read_to_string(entry.path()).unwrap());
        }
    }
    found
}
