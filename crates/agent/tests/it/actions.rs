//! Actions in real Debian worlds: this very binary is shown to the world and plays the executor there.
//!
//! The journal is a plain file, so that a test can cut the executor off at any safe point and let it enter again.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stanch_action::{Action, ActionError, Applied, Checkpoint, PlanAnswer, Run, StopRequested, Verification};
use stanch_agent::actions::catalogue;
use stanch_agent::rehearsal::Rehearsals;
use stanch_agent::rules::{PATH, Rules};
use stanch_model::asset::{Asset, AssetKind};
use stanch_model::canonical::Digest;
use stanch_model::id::ItemId;
use stanch_model::order::{Check, CheckOutcome, PlanRefusal, Rehearsed, StepRequest};
use stanch_model::plan::{Change, Leaf, PlannedStep};
use stanch_runner::Shutdown;
use stanch_testkit::world::PATIENCE;
use stanch_testkit::{Archive, Base, Builder, Process, Via, World};

const BINARY: &str = "/opt/executor";
const JOB: &str = "/var/lib/job";
const COMMAND: [&str; 4] = [BINARY, "actions::executor_inside", "--exact", "--nocapture"];
const WORKER: &str = "STANCH_TEST_WORKER";
const INSIDE: (&str, &str) = ("STANCH_TEST_EXECUTOR", "1");

/// The item of a source package in these tests.
pub(crate) fn item(name: &str) -> ItemId {
    ItemId::from_digest(&Digest::of_bytes(name.as_bytes()))
}

/// What the executor in the world is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
enum Job {
    Plan { action: String, requests: Vec<StepRequest> },
    Apply { step: PlannedStep, key: String, end: End },
    Undo { step: PlannedStep, items: Vec<ItemId>, applied: String, key: String, end: End },
    Verify { step: PlannedStep },
    Observe { step: PlannedStep },
    Rehearse { leaf: Leaf },
}

/// How a life of the executor ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    /// By itself.
    #[default]
    Natural,
    /// Killed right after this point was made durable.
    KilledAfter(String),
    /// Killed when it wanted to make this point durable.
    KilledBefore(String),
    /// Asked to stop at this point.
    StoppedAt(String),
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Ended {
    Done(Value),
    Refused { message: String, moved: Vec<Change> },
    Failed { message: String },
    Stopped(String),
}

struct DiskRun {
    folder: PathBuf,
    reached: Vec<Checkpoint>,
    applied: Vec<Checkpoint>,
    end: End,
}

fn folder_of(key: &str) -> PathBuf {
    Path::new("/var/lib/stanch-test").join(key)
}

fn read_journal(folder: &Path) -> Vec<Checkpoint> {
    let text = fs::read_to_string(folder.join("journal")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn die() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    loop {
        std::thread::park();
    }
}

impl DiskRun {
    fn new(key: &str, applied: Option<&str>, end: End) -> Self {
        // An undo works on the vault of what it takes back.
        let folder = folder_of(key);
        fs::create_dir_all(&folder).unwrap();
        let vault = folder_of(applied.unwrap_or(key)).join("vault");
        fs::create_dir_all(vault).unwrap();
        let applied_points = applied.map(|key| read_journal(&folder_of(key))).unwrap_or_default();
        fs::write(folder.join("vault-of"), applied.unwrap_or(key)).unwrap();
        Self { reached: read_journal(&folder), folder, applied: applied_points, end }
    }
}

impl Run for DiskRun {
    fn key(&self) -> Digest {
        Digest::of_bytes(self.folder.as_os_str().as_encoded_bytes())
    }

    fn reached(&self) -> &[Checkpoint] {
        &self.reached
    }

    fn applied(&self) -> &[Checkpoint] {
        &self.applied
    }

    fn checkpoint(&mut self, point: &str, state: Value) -> Result<Option<StopRequested>, ActionError> {
        if self.end == End::KilledBefore(point.to_owned()) {
            die();
        }
        let checkpoint = Checkpoint { point: point.to_owned(), state };
        let mut file = File::options().create(true).append(true).open(self.folder.join("journal")).unwrap();
        writeln!(file, "{}", serde_json::to_string(&checkpoint).unwrap()).unwrap();
        self.reached.push(checkpoint);
        if self.end == End::KilledAfter(point.to_owned()) {
            die();
        }
        Ok((self.end == End::StoppedAt(point.to_owned())).then_some(StopRequested))
    }

    fn progress(&mut self, message: &str) {
        eprintln!("progress: {message}");
    }

    fn evidence(&mut self, name: &str, output: &[u8]) {
        eprintln!("evidence: {name}\n{}", String::from_utf8_lossy(output));
    }

    fn vault(&self) -> Result<PathBuf, ActionError> {
        let of = fs::read_to_string(self.folder.join("vault-of")).unwrap();
        Ok(folder_of(&of).join("vault"))
    }
}

/// Plays the worker of a rehearsal inside a world; does nothing anywhere else.
#[test]
fn worker_inside() {
    if std::env::var_os(WORKER).is_some() {
        let folder = std::env::args().next_back().unwrap();
        stanch_agent::rehearsal::work(Path::new(&folder));
    }
}

/// Plays the executor inside a world; does nothing anywhere else.
#[test]
fn executor_inside() {
    if std::env::var_os(INSIDE.0).is_none() {
        return;
    }
    let job: Job = serde_json::from_str(&fs::read_to_string(JOB).unwrap()).unwrap();
    let ended = match play(job) {
        Ok(value) => Ended::Done(value),
        Err(ActionError::Refused { message, moved }) => Ended::Refused { message, moved },
        Err(ActionError::Stopped { at }) => Ended::Stopped(at),
        Err(error) => Ended::Failed { message: chain(&error) },
    };
    fs::write(format!("{JOB}.result"), serde_json::to_string(&ended).unwrap()).unwrap();
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn play(job: Job) -> Result<Value, ActionError> {
    let catalogue = catalogue(&Rules::load(Path::new(PATH)).unwrap());
    let asset = Asset::unlabelled(AssetKind::Host, "world", "world");
    let action = |name: &str| -> &dyn Action { catalogue.get(name).unwrap() };
    Ok(match job {
        Job::Plan { action: name, requests } => {
            let PlanAnswer { steps, compliant, refused } = action(&name).plan(&asset, &requests)?;
            json!({"steps": steps, "compliant": compliant, "refused": refused})
        }
        Job::Apply { step, key, end } => {
            let mut run = DiskRun::new(&key, None, end);
            done(&action(&step.action).apply(&asset, &step, &mut run)?)
        }
        Job::Undo { step, items, applied, key, end } => {
            let mut run = DiskRun::new(&key, Some(&applied), end);
            done(&action(&step.action).undo(&asset, &step, &items, &mut run)?)
        }
        Job::Verify { step } => {
            let Verification { checks } = action(&step.action).verify(&asset, &step)?;
            json!(checks)
        }
        Job::Rehearse { leaf } => {
            let worker = ["env", "STANCH_TEST_WORKER=1", BINARY, "actions::worker_inside", "--exact", "--nocapture"];
            let rehearsals = Rehearsals::new("/var/lib/rehearsal".into()).unwrap();
            let rehearsals = rehearsals.with_worker(worker.map(Into::into).to_vec());
            let say = |message: &str| eprintln!("progress: {message}");
            json!(rehearsals.carry_out(&asset, &leaf, &say, &Shutdown::new())?)
        }
        Job::Observe { step } => {
            json!(action(&step.action).observe(&asset, &step.params)?.digest().unwrap())
        }
    })
}

fn done(applied: &Applied) -> Value {
    json!({"changed": applied.changed, "changes": applied.changes, "after": applied.after.digest().unwrap()})
}

/// The executor as a test sees it from outside.
pub(crate) struct Executor<'a> {
    pub(crate) world: &'a World,
}

/// What planning gave.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct PlannedAnswer {
    pub(crate) steps: Vec<PlannedStep>,
    pub(crate) compliant: Vec<ItemId>,
    pub(crate) refused: Vec<PlanRefusal>,
}

impl PlannedAnswer {
    /// The difference as lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.steps.iter().flat_map(|step| step.changes.iter().map(shown)).collect()
    }
}

/// A change as a line.
pub(crate) fn shown(change: &Change) -> String {
    let part = |version: &Option<String>| version.clone().unwrap_or_else(|| "-".to_owned());
    format!("{} {} -> {}", change.subject, part(&change.before), part(&change.after))
}

impl Executor<'_> {
    fn run(&self, job: &Job) -> Option<Ended> {
        self.world.write(JOB, serde_json::to_string(job).unwrap()).unwrap();
        self.world.must(["rm", "-f", &format!("{JOB}.result")]).unwrap();
        let output = self.world.run_with(COMMAND, &[INSIDE], PATIENCE).unwrap();
        // Shown when the test fails, which may be long after this: what apt and dpkg said is the reason then.
        eprintln!("{}\n{}", output.status, output.all());
        if !self.world.exists(&format!("{JOB}.result")) {
            assert!(!output.ok(), "the executor left no result:\n{}", output.all());
            assert!(!output.all().contains("panicked"), "{}", output.all());
            return None;
        }
        Some(serde_json::from_str(&self.world.text(&format!("{JOB}.result")).unwrap()).unwrap())
    }

    /// Begins to apply and does not wait; the process can be killed.
    pub(crate) fn begin_apply(&self, step: &PlannedStep, key: &str) -> Process {
        let job = Job::Apply { step: step.clone(), key: key.to_owned(), end: End::Natural };
        self.world.write(JOB, serde_json::to_string(&job).unwrap()).unwrap();
        self.world.spawn_with(COMMAND, &[INSIDE]).unwrap()
    }

    fn done(&self, job: &Job) -> Value {
        match self.run(job) {
            Some(Ended::Done(value)) => value,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn plan_requests(&self, requests: Vec<StepRequest>) -> PlannedAnswer {
        let action = requests[0].action.clone();
        serde_json::from_value(self.done(&Job::Plan { action, requests })).unwrap()
    }

    /// Plans the upgrade of these sources, each its own item.
    pub(crate) fn plan(&self, sources: &[&str]) -> PlannedAnswer {
        let want = json!({"sources": sources, "to": "candidate"});
        let items = sources.iter().map(|source| item(source)).collect();
        self.plan_requests(vec![StepRequest { action: "package.upgrade".to_owned(), want, items }])
    }

    /// The only step of a plan for these sources.
    pub(crate) fn step(&self, sources: &[&str]) -> PlannedStep {
        let answer = self.plan(sources);
        assert!(answer.refused.is_empty(), "{:?}", answer.refused);
        let [step] = answer.steps.as_slice() else { panic!("{answer:?}") };
        step.clone()
    }

    pub(crate) fn apply(&self, step: &PlannedStep, key: &str) -> Ended {
        self.apply_until(step, key, End::Natural).unwrap()
    }

    pub(crate) fn apply_until(&self, step: &PlannedStep, key: &str, end: End) -> Option<Ended> {
        self.run(&Job::Apply { step: step.clone(), key: key.to_owned(), end })
    }

    pub(crate) fn undo(&self, step: &PlannedStep, sources: &[&str], key: &str) -> Ended {
        self.undo_until(step, sources, key, "undo", End::Natural).unwrap()
    }

    pub(crate) fn undo_until(
        &self,
        step: &PlannedStep,
        sources: &[&str],
        applied: &str,
        key: &str,
        end: End,
    ) -> Option<Ended> {
        let items = sources.iter().map(|source| item(source)).collect();
        self.run(&Job::Undo { step: step.clone(), items, applied: applied.to_owned(), key: key.to_owned(), end })
    }

    /// Checks by name.
    pub(crate) fn verify(&self, step: &PlannedStep) -> Vec<(String, CheckOutcome, String)> {
        let checks: Vec<Check> = serde_json::from_value(self.done(&Job::Verify { step: step.clone() })).unwrap();
        checks.into_iter().map(|check| (check.name, check.outcome, check.detail)).collect()
    }

    /// Carries out these steps in a copy of the world.
    pub(crate) fn rehearse(&self, steps: &[PlannedStep], sources: &[&str]) -> Rehearsed {
        let asset = Asset::unlabelled(AssetKind::Host, "world", "world").id;
        let leaf = Leaf { asset, items: sources.iter().map(|source| item(source)).collect(), steps: steps.to_vec() };
        serde_json::from_value(self.done(&Job::Rehearse { leaf })).unwrap()
    }

    /// The digest of what the step is about, now.
    pub(crate) fn observe(&self, step: &PlannedStep) -> Digest {
        serde_json::from_value(self.done(&Job::Observe { step: step.clone() })).unwrap()
    }
}

impl Ended {
    /// What changed; the verb must have succeeded.
    pub(crate) fn changes(self) -> Vec<String> {
        let Self::Done(value) = self else { panic!("{self:?}") };
        let changes: Vec<Change> = serde_json::from_value(value["changes"].clone()).unwrap();
        changes.iter().map(shown).collect()
    }

    /// Why it was refused, and what moved.
    pub(crate) fn refusal(self) -> (String, Vec<String>) {
        let Self::Refused { message, moved } = self else { panic!("{self:?}") };
        (message, moved.into_iter().map(|change| change.subject).collect())
    }

    /// Why it failed.
    pub(crate) fn failure(self) -> String {
        let Self::Failed { message } = self else { panic!("{self:?}") };
        message
    }
}

/// A world over the base with this archive and the executor in it.
pub(crate) fn builder(base: &Base, archive: &Archive) -> Builder {
    let binary = std::env::current_exe().unwrap();
    World::builder(base).bind(archive.path(), stanch_testkit::archive::MOUNT_POINT).bind(binary, BINARY)
}

/// Lets the world's apt know the archive as it is now.
pub(crate) fn refresh(world: &World, archive: &Archive) {
    world.write("/etc/apt/sources.list", archive.sources_list(Via::Copy)).unwrap();
    world.must(["apt-get", "update"]).unwrap();
}

/// A minimal world with these packages installed.
pub(crate) fn world(archive: &Archive, packages: &[&str]) -> World {
    let world = builder(&Base::minimal().unwrap(), archive).boot().unwrap();
    refresh(&world, archive);
    let command = ["apt-get", "install", "-y", "--no-install-recommends"];
    world.must(command.iter().chain(packages)).unwrap();
    world
}

/// The installed version of a package; nothing if it is not there.
pub(crate) fn version(world: &World, package: &str) -> Option<String> {
    let output = world.run(["dpkg-query", "-W", "-f=${db:Status-Status} ${Version}", package]).unwrap();
    output.text().strip_prefix("installed ").map(str::to_owned)
}
