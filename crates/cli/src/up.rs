//! `up` and `server`: the server, with or without an executor of this machine, until it is told to stop.

use std::path::Path;
use std::time::Duration;

use stanch_connect::git::Repository;
use stanch_server::{Config, Door, Intervals, Nats, PolicySource, Retention};
use stanch_store::StoreAt;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Up;
use crate::failure::{Exit, Failure};
use crate::local::Local;
use crate::output::{Output, Tone};

/// What the server takes for the feeds' own publishers.
const PUBLISHED: &str = "published";

pub(crate) async fn run(
    output: &Output,
    folder: &Path,
    store: StoreAt,
    wanted: &Up,
    acts: bool,
) -> Result<Exit, Failure> {
    let observe = Duration::from_secs(u64::from(wanted.every) * 60);
    let intervals = Intervals { observe, ..Intervals::default() };
    let public_url = wanted.url.clone();
    let place = match &store {
        StoreAt::File(_) => format!("data in {}", folder.display()),
        StoreAt::Database(url) => format!("keys in {}, data in {url}", folder.display()),
    };
    if acts && matches!(store, StoreAt::Database(_)) {
        return Err(Failure::new("a database is for servers that share it, and `up` is for one machine")
            .hint("run `stanch server`, and let this machine's own agent in like any other: stanch-agent enrol"));
    }
    let config = Config {
        store,
        listen: Some(wanted.listen),
        public_url,
        executors: wanted.executors.map(|listen| Door { listen, names: wanted.executors_name.clone() }),
        advertise: wanted.advertise.clone(),
        nats: wanted.nats_url.clone().map(|url| Nats {
            url,
            credentials: wanted.nats_credentials.clone(),
            authority: wanted.nats_authority.clone(),
        }),
        intervals,
        feeds: feeds(wanted)?,
        policies: policies(wanted)?,
        retention: Retention::default().with(wanted.keep.iter().cloned()),
        ..Config::new(folder)
    };
    let mut stop = (listen_for(SignalKind::interrupt())?, listen_for(SignalKind::terminate())?);
    let local = if acts { Local::start(config).await? } else { Local::remembering(config).await? };
    let server = local.server();
    let address = server.address().unwrap_or(wanted.listen);
    output.say(&format!("Stanch is up at http://{address} ({place})."));
    if let Some(door) = server.door() {
        output.say(&format!("Agents come in at {door}; a token for them: stanch enrolment token NAME"));
    }
    match &wanted.policies {
        None => output.say("No policies: problems are shown; nothing is changed until a person asks."),
        Some(folder) => {
            output.say(&format!("Policies from {} decide; what holds now: stanch policy status.", folder.display()))
        }
    }
    if acts && !rustix::process::geteuid().is_root() {
        output.say(&output.paint(Tone::Warn, "Without root it can look but not fix, and some facts stay unknown."));
    }
    match server.sign_in_link() {
        // Its links are known to the one that leads alone.
        Ok(_) if !server.leads() => output.say("Another server leads; a link to sign in: stanch sign-in"),
        Ok(Some(link)) => {
            output.say("Sign in with this link; it works once (a new one: stanch sign-in):");
            output.line(&link)?;
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "no sign-in link"),
    }
    let lost = tokio::select! {
        _ = stop.0.recv() => None,
        _ = stop.1.recv() => None,
        why = server.ended() => Some(why),
    };
    if lost.is_none() {
        output.say("Stopping: the step that runs is finished first.");
    }
    local.stop().await;
    match lost {
        None => Ok(Exit::Done),
        Some(why) => Err(Failure::new(why).hint("start it again, as its unit does by itself")),
    }
}

fn policies(wanted: &Up) -> Result<Option<PolicySource>, Failure> {
    if let Some(url) = &wanted.policies_repository {
        let (branch, folder) = (wanted.policies_branch.clone(), wanted.policies_path.clone());
        let repository = Repository { url: url.clone(), branch, folder };
        repository
            .check()
            .map_err(|error| Failure::new("this repository of policies cannot be used").because(error))?;
        return Ok(Some(PolicySource::repository(repository, wanted.policies_key)));
    }
    let Some(folder) = &wanted.policies else {
        return match wanted.policies_key {
            None => Ok(None),
            Some(_) => Err(Failure::new("a key for policies, and no policies")
                .hint("name their folder with --policies, or their repository with --policies-repository")),
        };
    };
    let folder = folder.canonicalize().map_err(|error| {
        Failure::new(format!("{} cannot be used", folder.display()))
            .because(error)
            .hint("name a folder with policies; the shipped ones are in `policies`")
    })?;
    Ok(Some(PolicySource::folder(folder, wanted.policies_key)))
}

fn feeds(wanted: &Up) -> Result<Vec<String>, Failure> {
    match &wanted.feeds {
        Some(folder) if !folder.is_dir() => Err(Failure::new(format!("{} is not a folder", folder.display()))),
        Some(folder) => {
            let folder = folder
                .canonicalize()
                .map_err(|error| Failure::new(format!("{} cannot be used", folder.display())).because(error))?;
            Ok(vec![folder.display().to_string()])
        }
        None if wanted.online => Ok(vec![PUBLISHED.to_owned()]),
        None => Ok(Vec::new()),
    }
}

fn listen_for(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind).map_err(|error| Failure::new("signals cannot be heard").because(error))
}
