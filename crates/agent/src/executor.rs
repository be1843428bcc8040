//! The host's executor: a runner with this host's facts, actions and rules. The same whether the server is in this
//! process or far away; only the link differs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{Timestamp, ZonedDateTime};
use stanch_action::{ActionError, Catalogue};
use stanch_model::asset::Asset;
use stanch_model::enrol::{Enrol, EnrolmentSecret, executor_id};
use stanch_model::facts::HostFacts;
use stanch_model::id::ExecutorId;
use stanch_model::order::{Grant, Hello, StepRequest};
use stanch_model::plan::{Leaf, PlannedStep};
use stanch_model::sign::{Signed, VerifyingKey};
use stanch_runner::{Config, Denied, Guard, JournalError, Link, OpenError, Runner, ServeError, Shutdown, Tools};

use crate::actions::{self, Host, Invocation, Programs, package};
use crate::facts::{self, FactsError, Options};
use crate::in_use;
use crate::probe::{self, Probe};
use crate::rehearsal::Rehearsals;
use crate::rules::{Rules, RulesError};

/// Why the executor cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// The host cannot be read.
    #[error("this host's facts cannot be read")]
    Facts(#[source] FactsError),
    /// Its rules cannot be read: without them nothing may run.
    #[error("the executor's own rules cannot be used")]
    Rules(#[source] RulesError),
    /// The kernel does not tell which boot this is.
    #[error("the boot id cannot be read")]
    BootId(#[source] std::io::Error),
    /// Journal or key.
    #[error("the executor's folder cannot be opened")]
    Open(#[source] OpenError),
}

impl ExecutorError {
    /// What a person can do about it.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Facts(error) => Some(error.remedy()),
            Self::Rules(_) => Some("mend the file, or move it away for the defaults"),
            Self::Open(error) => error.hint(),
            Self::BootId(_) => None,
        }
    }
}

/// The executor of this host.
pub struct HostExecutor {
    runner: Runner,
    catalogue: Catalogue,
    rules: Rules,
    options: Options,
    folder: PathBuf,
    rehearsals: Option<Rehearsals>,
    asset: Asset,
    id: ExecutorId,
}

impl HostExecutor {
    /// Opens the executor in its folder. `root` is the key whose orders it believes; `fresh_seed` becomes its receipt
    /// key if it has none yet. Without the rights of root it has no actions and can only look.
    ///
    /// # Errors
    /// When the host, its rules or the folder cannot be read.
    pub fn open(folder: &Path, root: VerifyingKey, fresh_seed: [u8; 32]) -> Result<Self, ExecutorError> {
        let rules = Rules::load(Path::new(crate::rules::PATH)).map_err(ExecutorError::Rules)?;
        let options = Options::this_host().cached(folder.join("archive-indexes"));
        let asset = facts::host(&options).map_err(ExecutorError::Facts)?.asset;
        let boot_id = stanch_runner::boot_id().map_err(ExecutorError::BootId)?;
        let id = executor_id(&asset.id);
        let abilities = Probe::this_host().abilities(rules.approvals.clone());
        let mut config = Config::new(id.clone(), asset.clone(), root, boot_id, fresh_seed);
        config.abilities = Some(abilities.clone());
        let runner = Runner::open(folder, config).map_err(ExecutorError::Open)?;
        let acts = rustix::process::geteuid().is_root();
        let all = if acts { actions::catalogue(&rules) } else { Catalogue::new() };
        let catalogue = all.only(|action| probe::lacks(action, &abilities).is_none());
        let rehearsals = Rehearsals::new(folder.join("rehearsal")).ok().filter(|_| acts);
        Ok(Self { runner, catalogue, rules, options, folder: folder.to_owned(), rehearsals, asset, id })
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// When its journal cannot be written.
    pub fn hello(&self) -> Result<Hello, JournalError> {
        self.runner.hello(self.catalogue.iter().map(|action| action.definition().name.to_owned()).collect())
    }

    /// Which executor it is.
    pub const fn id(&self) -> &ExecutorId {
        &self.id
    }

    /// What it says to be let in: signed with its receipt key.
    ///
    /// # Errors
    /// When its journal cannot be written, or what it says has no canonical form.
    pub fn enrol(
        &self,
        secret: EnrolmentSecret,
        request: String,
    ) -> Result<Signed<Enrol>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.runner.sign_as_own(Enrol { secret, hello: self.hello()?, request })?)
    }

    /// Carries out orders until `shutdown` is asked or the link is closed. Blocks; unfinished work of an earlier life
    /// goes on first.
    ///
    /// # Errors
    /// When the journal fails: nothing may start any more.
    pub fn serve(&self, link: &dyn Link, shutdown: &Shutdown) -> Result<(), ServeError> {
        let host: Arc<dyn Programs> = Arc::new(Host::default());
        let rehearse = self
            .rehearsals
            .as_ref()
            .map(|rehearsals| |leaf: &Leaf, say: &dyn Fn(&str)| rehearsals.carry_out(&self.asset, leaf, say, shutdown));
        let tools = Tools {
            catalogue: &self.catalogue,
            facts: &|refresh| self.facts(host.as_ref(), refresh),
            guard: &LocalRules(&self.rules),
            rehearse: rehearse.as_ref().map(|rehearse| rehearse as &stanch_runner::Rehearse<'_>),
            progress: &|progress| link.progress(progress),
            shutdown,
        };
        stanch_runner::serve(&self.runner, link, &tools)
    }

    fn facts(&self, host: &dyn Programs, refresh: bool) -> Result<HostFacts, ActionError> {
        let fetched = if refresh { fetch_indexes(host, &self.folder, self.rules.lock_timeout_seconds) } else { Ok(()) };
        let mut facts = facts::host(&self.options).map_err(|error| {
            let remedy = error.remedy();
            ActionError::caused("the host's facts cannot be read", error).with_hint(remedy)
        })?;
        if let Err(error) = fetched {
            facts.gaps.push(error.to_string());
        }
        facts.health = actions::health::read(host, &self.rules);
        facts.in_use = Some(in_use::measure(host, &facts.sockets));
        facts.talks = facts::talks(&facts.sockets);
        Ok(facts)
    }
}

/// `apt-get update`, or what dnf has for it. When a source cannot be reached, the indexes that are there stay in use.
fn fetch_indexes(host: &dyn Programs, folder: &Path, lock_seconds: u32) -> Result<(), ActionError> {
    if !rustix::process::geteuid().is_root() {
        return Err(ActionError::refused("fetching the archive indexes needs root"));
    }
    let wait = format!("DPkg::Lock::Timeout={lock_seconds}");
    let invocation = if package::is_of_rpm() {
        let log = folder.join("dnf-makecache.log");
        Invocation::changing(package::DNF, ["makecache", "--refresh", "--quiet", "--color=never"], log)
    } else {
        Invocation::changing("apt-get", ["update", "-q", "-o", &wait], folder.join("apt-get-update.log"))
    };
    let output =
        host.run(&invocation).map_err(|error| ActionError::caused("the indexes could not be fetched", error))?;
    if output.ok() {
        return Ok(());
    }
    let text = output.text();
    let telling = |line: &&str| ["E:", "W:", "Error:"].iter().any(|start| line.starts_with(start));
    let said = text.lines().rev().find(telling).unwrap_or("no reason given");
    Err(ActionError::failed(format!("the archive indexes could not be fetched and are as old as before: {said}")))
}

/// Between two attempts to open an executor whose journal failed, on a full disk say.
const REOPEN: Duration = Duration::from_secs(15);

/// Serves until asked to stop. When the journal fails nothing may start any more; it is opened again until that works.
pub fn keep_serving(
    mut executor: HostExecutor,
    reopen: &dyn Fn() -> Result<HostExecutor, ExecutorError>,
    link: &dyn Link,
    asked: &Shutdown,
) {
    loop {
        let Err(error) = executor.serve(link, asked) else { return };
        tracing::error!(error = &error as &dyn std::error::Error, "the executor stopped; it is opened again");
        // Its lock on the folder goes with it.
        drop(executor);
        executor = loop {
            if asked.wait(REOPEN) {
                return;
            }
            match reopen() {
                Ok(again) => break again,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "the executor cannot be opened yet");
                }
            }
        };
    }
}

/// The rules of this host between the runner and the actions, so that no action can forget them. Hours bind only a first
/// start, which the actions know of and check themselves.
struct LocalRules<'a>(&'a Rules);

impl LocalRules<'_> {
    fn permit(&self, action: &str) -> Result<(), Denied> {
        let now = ZonedDateTime::now().datetime();
        self.0
            .current()
            .and_then(|rules| rules.permit(action, now, false))
            .map_err(|error| Denied { message: error.to_string(), hint: Some(format!("see {}", crate::rules::PATH)) })
    }
}

impl Guard for LocalRules<'_> {
    fn may_begin(&self, grant: &Grant, begun: bool, now: Timestamp) -> Result<(), Denied> {
        let hint = Some(format!("sign it: stanch approve --key FILE; see {}", crate::rules::PATH));
        let vouched = self.0.current().and_then(|rules| rules.vouched(grant, begun, now));
        vouched.map_err(|error| Denied { message: error.to_string(), hint })
    }

    fn may_apply(&self, step: &PlannedStep, _now: Timestamp) -> Result<(), Denied> {
        self.permit(&step.action)
    }

    fn may_rehearse(&self, step: &PlannedStep, _now: Timestamp) -> Result<(), Denied> {
        // What is tried in a copy runs as root too, and nobody signs for it.
        if self.0.current().is_ok_and(|rules| rules.approvals.is_some()) {
            let message = "the executor's rules ask for signed approvals, and rehearsals have none".to_owned();
            return Err(Denied { message, hint: Some(format!("`approvals` in {}", crate::rules::PATH)) });
        }
        if !self.0.current().is_ok_and(|rules| rules.rehearsals) {
            let message = "the executor's rules forbid rehearsals".to_owned();
            return Err(Denied { message, hint: Some(format!("`rehearsals` in {}", crate::rules::PATH)) });
        }
        self.permit(&step.action)
    }

    fn may_plan(&self, request: &StepRequest) -> Result<(), Denied> {
        self.permit(&request.action)
    }
}
