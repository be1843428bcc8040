//! `stanch`: the command line.

#[cfg(stanch_defects)]
compile_error!("planted defects are for the simulator alone: build without `--cfg stanch_defects`");

mod args;
mod client;
mod commands;
mod data;
mod failure;
mod follow;
mod local;
mod output;
mod passphrase;
mod scan;
mod up;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tracing_subscriber::EnvFilter;

use args::{Arguments, Audit, Cases, Command, Feeds};
use failure::{Exit, Failure};
use local::{Need, Session};
use output::{Output, Tone};

fn main() -> ExitCode {
    // Started by the executor itself, in namespaces of its own; nothing for people.
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == stanch_agent::rehearsal::WORKER) {
        return words.next().map_or(ExitCode::FAILURE, |folder| stanch_agent::rehearsal::work(folder.as_ref()));
    }
    let arguments = Arguments::parse();
    let output = Output::new(&arguments.global);
    log_to_stderr(arguments.global.verbose, matches!(arguments.command, Command::Up(_) | Command::Server(_)));
    match run(arguments, &output) {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failure) if failure.is_unheard() => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{} {failure}", output.paint(Tone::Bad, "error:"));
            if let Some(remedy) = failure.remedy() {
                eprintln!("{}  {remedy}", output.paint(Tone::Dim, "hint:"));
            }
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// `up` tells what it does; everything else only speaks up when something is wrong.
fn log_to_stderr(verbose: u8, server: bool) {
    let level = match (verbose, server) {
        (0, false) => "error",
        (0, true) => "warn,stanch=info,stanch_server=info,stanch_agent=info,stanch_runner=info",
        (1, _) => "info",
        _ => "debug,hyper=info,sqlx=info,reqwest=info",
    };
    let filter = EnvFilter::try_from_env("STANCH_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
}

fn run(arguments: Arguments, output: &Output) -> Result<Exit, Failure> {
    let global = arguments.global;
    match arguments.command {
        Command::Scan(wanted) => scan::run(output, &global, &wanted),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "stanch", &mut std::io::stdout());
            Ok(Exit::Done)
        }
        Command::Man { dir } => {
            std::fs::create_dir_all(&dir).and_then(|()| clap_mangen::generate_to(Arguments::command(), &dir)).map_err(
                |error| Failure::new(format!("the man pages could not be written to {}", dir.display())).because(error),
            )?;
            Ok(Exit::Done)
        }
        Command::Audit(Audit::Verify { file: Some(file), checkpoint, key }) => {
            commands::audit::verify_file(output, &file, checkpoint.as_deref(), key.as_deref())
        }
        Command::Policy(wanted) if !wanted.asks_the_server() => {
            commands::policy::run(output, wanted, jiff::Timestamp::now())
        }
        Command::Trust(wanted) => commands::trust::run(output, global.data_dir.as_deref(), wanted),
        Command::Script(wanted) => commands::script::run(output, global.data_dir.as_deref(), wanted),
        Command::Feeds(Feeds::List { feeds: Some(folder) }) => commands::feeds::list_folder(output, &folder),
        command => {
            let folder = data::folder(global.data_dir.as_deref())?;
            let store = data::store(&global, &folder)?;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .map_err(|error| Failure::new("no threads could be started").because(error))?;
            runtime.block_on(async {
                match &command {
                    Command::Up(wanted) => return up::run(output, &folder, store, wanted, true).await,
                    Command::Backup { file } => return commands::backup::backup(output, &store, file).await,
                    Command::Restore { file } => {
                        return commands::backup::restore(output, &folder, &store, file).await;
                    }
                    Command::Server(wanted) => return up::run(output, &folder, store, wanted, false).await,
                    Command::Health => return commands::health::run(output, &folder).await,
                    _ => {}
                }
                let session = Session::open(&folder, store, output, command.need()).await?;
                let result = online(&session, output, command).await;
                session.close().await;
                result
            })
        }
    }
}

impl Command {
    /// What it needs when no server runs here.
    const fn need(&self) -> Need {
        match self {
            Self::Findings(_) | Self::Explain(_) | Self::Plan(_) | Self::Fix(_) => Need::Facts,
            Self::Undo(_) | Self::Rehearse(_) | Self::Approve(_) | Self::Answer(_) | Self::Case(Cases::Undo { .. }) => {
                Need::Executor
            }
            Self::Case(Cases::Open { .. }) => Need::Facts,
            _ => Need::Memory,
        }
    }
}

/// Commands that need a server: the running one, or this process itself.
async fn online(session: &Session, output: &Output, command: Command) -> Result<Exit, Failure> {
    let api = session.api();
    match command {
        Command::Findings(wanted) => commands::findings::run(api, output, &wanted).await,
        Command::Cve(wanted) => commands::cve::run(api, output, &wanted).await,
        Command::Explain(wanted) => commands::explain::run(api, output, &wanted).await,
        Command::Plan(select) => commands::fix::plan(api, output, &select).await,
        Command::Rehearse(wanted) => commands::rehearse::run(api, output, &wanted).await,
        Command::Fix(wanted) => commands::fix::fix(api, output, &wanted).await,
        Command::Approve(wanted) => commands::approve::approve(api, output, &wanted).await,
        Command::Answer(wanted) => commands::approve::answer(api, output, &wanted).await,
        Command::Undo(wanted) => commands::undo::run(api, output, &wanted).await,
        Command::Change(wanted) => commands::change::run(api, output, wanted).await,
        Command::Case(wanted) => commands::case::run(api, output, wanted).await,
        Command::History(wanted) => commands::history::run(api, output, &wanted).await,
        Command::Report(wanted) => commands::report::run(api, output, &wanted).await,
        Command::Policy(wanted) => commands::policy::online(api, output, &wanted).await,
        Command::Hold(hold) => commands::hold::run(api, output, &hold).await,
        Command::Patch(patch) => commands::patch::run(api, output, &patch).await,
        Command::Executors(wanted) => commands::executors::run(api, output, &wanted).await,
        Command::Enrolment(wanted) => commands::enrolment::run(api, output, wanted).await,
        Command::Feeds(wanted) => commands::feeds::run(api, output, wanted).await,
        Command::Audit(wanted) => commands::audit::run(api, output, wanted).await,
        Command::Retention(wanted) => commands::retention::run(api, output, wanted).await,
        Command::Assets(wanted) => commands::assets::run(api, output, wanted).await,
        Command::People(wanted) => commands::people::run(api, output, wanted).await,
        Command::Token(wanted) => commands::people::tokens(api, output, wanted).await,
        Command::Notify(wanted) => commands::notify::run(api, output, &wanted).await,
        Command::SignIn(wanted) => commands::sign_in::run(api, output, wanted).await,
        Command::Up(_)
        | Command::Server(_)
        | Command::Backup { .. }
        | Command::Restore { .. }
        | Command::Scan(_)
        | Command::Trust(_)
        | Command::Script(_)
        | Command::Health
        | Command::Completions { .. }
        | Command::Man { .. } => Ok(Exit::Done),
    }
}
