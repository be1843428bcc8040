//! `stanch-agent`: the executor of a host of a fleet. It dials out only, and takes orders that the pinned root vouches for
//! and that the host's own rules allow.

#[cfg(stanch_defects)]
compile_error!("planted defects are for the simulator alone: build without `--cfg stanch_defects`");

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use jiff::Timestamp;
use stanch_agent::actions::Host;
use stanch_agent::executor::{HostExecutor, keep_serving};
use stanch_agent::fleet::{self, FOLDER, HttpsLink, Identity};
use stanch_agent::own::restore::{Places, Proving};
use stanch_model::enrol::EnrolmentToken;
use stanch_runner::Shutdown;

/// Where the token is looked for when no file is named: never on the command line, where every user could read it.
const TOKEN: &str = "STANCH_ENROL_TOKEN";
/// Between two looks whether the certificate is to be renewed; there are days for it.
const RENEW_AGAIN: Duration = Duration::from_secs(3600);

#[derive(Parser)]
#[command(
    name = "stanch-agent",
    version,
    about = "Carries out on this host what its server orders and its own rules allow",
    after_help = "\
First: STANCH_ENROL_TOKEN=stanch-enrol-... stanch-agent enrol --server https://NAME:PORT
Then:  systemctl enable --now stanch-agent

The host's own rules are in /etc/stanch/executor.toml; the server can neither see nor change them.",
    max_term_width = 100
)]
struct Arguments {
    /// Where journal, keys and identity are kept
    #[arg(long, global = true, default_value = FOLDER, value_name = "FOLDER")]
    folder: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Get in: with a token that `stanch enrolment token` printed, from STANCH_ENROL_TOKEN or a file
    Enrol {
        /// Where the server is, such as https://stanch.example:7443; several of one installation with commas between
        #[arg(long, value_name = "URL")]
        server: String,
        /// A file with the token; `-` reads it from the standard input
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
        /// The proxy on the way, such as http://proxy.example:3128; else that of HTTPS_PROXY
        #[arg(long, value_name = "URL")]
        proxy: Option<String>,
    },
    /// Carry out orders until told to stop
    Run,
    /// Say who this host is to its server
    Status,
    /// Show versions of Stanch's own packages that did not prove themselves here: no order installs them again
    Failed {
        /// Let orders install this one again
        #[arg(long, value_name = "PACKAGE=VERSION")]
        forget: Option<String>,
    },
    /// Bring the version before of Stanch's own packages back, if the new one did not prove itself; run by a timer
    #[command(hide = true)]
    Restore,
}

fn main() -> ExitCode {
    // Started by the executor itself, in namespaces of its own; nothing for people.
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == stanch_agent::rehearsal::WORKER) {
        return words.next().map_or(ExitCode::FAILURE, |folder| stanch_agent::rehearsal::work(folder.as_ref()));
    }
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("STANCH_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,stanch_agent=info,stanch_runner=info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if let Some(hint) = hint(&error) {
                eprintln!("hint:  {hint}");
            }
            ExitCode::FAILURE
        }
    }
}

/// What a person can do, as the first error that knows says it.
fn hint(error: &anyhow::Error) -> Option<&str> {
    error.chain().find_map(|one| {
        one.downcast_ref::<fleet::EnrolError>()
            .and_then(fleet::EnrolError::remedy)
            .or_else(|| one.downcast_ref::<fleet::IdentityError>().map(fleet::IdentityError::remedy))
            .or_else(|| one.downcast_ref::<stanch_agent::executor::ExecutorError>().and_then(|error| error.remedy()))
    })
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.command {
        Command::Enrol { server, token_file, proxy } => enrol(&arguments.folder, server, token_file.as_deref(), proxy),
        Command::Run => serve(&arguments.folder),
        Command::Status => status(&arguments.folder),
        Command::Failed { forget } => failed(forget.as_deref()),
        Command::Restore => {
            Places::default().look(&Host::default())?;
            Ok(())
        }
    }
}

fn seed() -> anyhow::Result<[u8; 32]> {
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed).map_err(|_| anyhow::anyhow!("the operating system gives no random bytes"))?;
    Ok(seed)
}

fn enrol(folder: &Path, server: &str, token_file: Option<&Path>, proxy: &Option<String>) -> anyhow::Result<()> {
    let text = match token_file {
        Some(path) if path == Path::new("-") => {
            let mut text = String::new();
            std::io::stdin().take(4096).read_to_string(&mut text).context("the standard input cannot be read")?;
            text
        }
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?,
        None => std::env::var(TOKEN)
            .ok()
            .with_context(|| format!("no token: set {TOKEN}, or name its file with --token-file"))?,
    };
    let token: EnrolmentToken = text.parse()?;
    if let Ok(known) = Identity::load(folder) {
        eprintln!("This host is enrolled with {} already; it enrols anew.", known.server);
    }
    let identity = fleet::enrol(folder, server, proxy.as_deref(), &token, seed()?)?;
    println!("Enrolled with {}.", identity.server);
    println!("Start it: systemctl enable --now stanch-agent");
    Ok(())
}

fn serve(folder: &Path) -> anyhow::Result<()> {
    let identity = Identity::load(folder)?;
    let link = HttpsLink::new(&identity)?;
    let fresh = seed()?;
    let root = identity.root;
    let proving = Proving::new(&link, root, Places::default(), &Host::default());
    let open = || HostExecutor::open(folder, root, fresh);
    let executor = open()?;
    let id = executor.id().clone();
    tracing::info!(server = identity.server, executor = %id, "at work");
    let shutdown = Shutdown::new();
    end_on_signals(&shutdown)?;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut identity = identity;
            loop {
                // Looked at every hour: clocks are set, and machines sleep.
                if !identity.is_due(Timestamp::now()) {
                    if shutdown.wait(RENEW_AGAIN) {
                        return;
                    }
                    continue;
                }
                match fleet::renew(folder, &identity, &link, &id) {
                    Ok(newer) => {
                        tracing::info!("the certificate was renewed");
                        identity = newer;
                        if shutdown.wait(RENEW_AGAIN) {
                            return;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "the certificate was not renewed");
                        if shutdown.wait(RENEW_AGAIN) {
                            return;
                        }
                    }
                }
            }
        });
        keep_serving(executor, &open, &proving, &shutdown);
        shutdown.ask();
    });
    Ok(())
}

/// The first signal ends the agent after the step that it is in.
fn end_on_signals(shutdown: &Shutdown) -> anyhow::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT])
        .context("signals cannot be heard")?;
    let asked = shutdown.clone();
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if signals.forever().next().is_some() {
                tracing::info!("stopping: the step that runs is finished first");
                asked.ask();
            }
        })
        .context("a thread cannot be started")?;
    Ok(())
}

fn failed(forget: Option<&str>) -> anyhow::Result<()> {
    let places = Places::default();
    let Some(forget) = forget else {
        let list = places.failed()?;
        if list.is_empty() {
            println!("No version of Stanch has failed here.");
        }
        for one in list {
            println!("{}={}  did not prove itself, {}", one.package, one.version, one.at);
        }
        return Ok(());
    };
    let (package, version) =
        forget.split_once('=').context("expected PACKAGE=VERSION, as `stanch-agent failed` shows it")?;
    if !places.forget_failed(package, version)? {
        anyhow::bail!("{forget} is not among the versions that failed here; `stanch-agent failed` shows them");
    }
    println!("Orders may install {forget} again.");
    Ok(())
}

fn status(folder: &Path) -> anyhow::Result<()> {
    let identity = Identity::load(folder)?;
    println!("server       {}", identity.server);
    println!("root         {}", identity.root);
    println!("renews from  {}", identity.renew_at);
    Ok(())
}
