//! A real executor that a test can kill at any append of its journal.
//!
//! It speaks JSON lines over its standard streams instead of a network, and is otherwise what runs on a host: the same
//! runner, journal, actions and rules.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use stanch_action::{ActionError, Catalogue};
use stanch_agent::actions;
use stanch_agent::facts::{self, Options};
use stanch_agent::rules::{self, Rules};
use stanch_model::asset::{Asset, AssetKind};
use stanch_model::facts::HostFacts;
use stanch_model::id::ExecutorId;
use stanch_model::sign::{SigningKey, VerifyingKey};
use stanch_runner::{Config, NoRules, Observer, Record, Runner, Shutdown, Tools, boot_id, serve};
use stanch_testkit::conformance::{Defect, Desk, FileSet, Outgoing, StdioLink};

/// What the arguments say.
struct Arguments {
    folder: PathBuf,
    toy: Option<PathBuf>,
    crash_at: Option<(u64, bool)>,
    halt: bool,
    boot_id: Option<String>,
    /// Whom it serves, and as whom; the suite's own desk unless said otherwise.
    executor: Option<ExecutorId>,
    name: String,
    root: Option<VerifyingKey>,
}

impl Arguments {
    fn read() -> Result<Self> {
        let mut found = Self {
            folder: PathBuf::new(),
            toy: None,
            crash_at: None,
            halt: false,
            boot_id: None,
            executor: None,
            name: "executor-under-test".to_owned(),
            root: None,
        };
        let (mut at, mut after) = (None, false);
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match word.as_str() {
                "--folder" => found.folder = PathBuf::from(value()?),
                "--toy" => found.toy = Some(PathBuf::from(value()?)),
                "--boot-id" => found.boot_id = Some(value()?),
                "--executor" => found.executor = Some(value()?.parse().context("--executor needs an id")?),
                "--name" => found.name = value()?,
                "--root-key" => found.root = Some(VerifyingKey::try_from(value()?).context("--root-key needs a key")?),
                "--crash-at" => at = Some(value()?.parse().context("--crash-at needs a number")?),
                "--before" => after = false,
                "--after" => after = true,
                // The whole machine is about to go: stand still and say so.
                "--halt" => found.halt = true,
                other => bail!("unknown argument {other}"),
            }
        }
        if found.folder.as_os_str().is_empty() {
            bail!("--folder is missing");
        }
        found.crash_at = at.map(|at| (at, after));
        Ok(found)
    }
}

/// Dies at the point it was told.
struct Doom {
    at: Option<(u64, bool)>,
    halt: bool,
    appends: AtomicU64,
    link: Arc<StdioLink>,
}

impl Doom {
    fn die(&self, number: u64) {
        if self.halt {
            self.link.say(&Outgoing::Halted(number));
            loop {
                std::thread::park();
            }
        }
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

impl Observer for Doom {
    fn before(&self, number: u64, _record: &Record) -> io::Result<()> {
        if self.at == Some((number, false)) {
            self.die(number);
        }
        Ok(())
    }

    fn after(&self, number: u64, _record: &Record) {
        self.appends.store(number, Ordering::SeqCst);
        if self.at == Some((number, true)) {
            self.die(number);
        }
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::read()?;
    // Maintainer scripts of a test kill us by this.
    let _ = std::fs::write("/run/executor.pid", std::process::id().to_string());
    let link = Arc::new(StdioLink::default());
    let doom = Arc::new(Doom {
        at: arguments.crash_at,
        halt: arguments.halt,
        appends: AtomicU64::new(0),
        link: Arc::clone(&link),
    });
    let boot = match arguments.boot_id {
        Some(id) => id,
        None => boot_id().context("no boot id")?,
    };
    // The executor only ever learns the public half of its root; fixed seeds spare the test to hand it over.
    let root = match arguments.root {
        Some(key) => key,
        None => SigningKey::from_seed(&[1; 32])?.verifying_key(),
    };
    let executor = match arguments.executor {
        Some(id) => id,
        None => Desk::new(stanch_model::Timestamp::now())?.executor,
    };
    let asset = Asset::unlabelled(AssetKind::Host, &arguments.name, "world");
    let mut config = Config::new(executor, asset.clone(), root, boot, [9; 32]);
    config.observer = Arc::clone(&doom) as _;
    let runner = Runner::open(&arguments.folder, config).map_err(|error| {
        let hint = error.hint().unwrap_or_default();
        anyhow::Error::new(error).context(hint)
    })?;
    let catalogue = match &arguments.toy {
        Some(folder) => Catalogue::new().with(Box::new(FileSet::new(folder, Defect::None))),
        None => actions::catalogue(&Rules::load(Path::new(rules::PATH)).context("the executor's rules")?),
    };
    let facts = |_refresh: bool| -> Result<HostFacts, ActionError> {
        let facts = facts::host(&Options::this_host());
        facts
            .map(|facts| HostFacts { asset: asset.clone(), ..facts })
            .map_err(|error| ActionError::caused("cannot read the host's facts", error))
    };
    let shutdown = Shutdown::new();
    let progress = |word| stanch_runner::Link::progress(link.as_ref(), word);
    let tools = Tools {
        catalogue: &catalogue,
        facts: &facts,
        guard: &NoRules,
        rehearse: None,
        progress: &progress,
        shutdown: &shutdown,
    };
    serve(&runner, link.as_ref(), &tools)?;
    link.say(&Outgoing::Appends(doom.appends.load(Ordering::SeqCst)));
    Ok(())
}
