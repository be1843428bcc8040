//! The reconcilers: one for each arrow of the loop, and nothing else moves state. Each takes no input, is idempotent,
//! runs on a timer and on a nudge, and makes one attempt: load, call the pure function, commit, nudge the next. A
//! crash needs no code of its own: after a start the same passes find the same rows.

mod assess;
pub(crate) mod attention;
mod campaign;
mod case;
mod change;
mod decide;
mod dispatch;
pub(crate) mod edition;
mod feeds;
mod ingest;
mod notify;
pub(crate) mod orders;
mod plan;
mod policies;
mod propose;
mod retention;
pub(crate) mod rollout;
mod schedule;
mod seal;
mod surroundings;
mod taken;
mod together;
mod verify;

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::app::App;
use crate::bus::Stage;
use crate::error::chain;
use crate::metrics::Ended;

/// Why a pass ended early. The next one tries again; until then people see what it waits on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PassError {
    /// The store cannot be read.
    #[error("the store cannot be read")]
    Read(#[from] stanch_store::ReadError),
    /// The store cannot be written.
    #[error("the store cannot be written")]
    Commit(#[from] stanch_store::CommitError),
    /// No random bytes.
    #[error("no id could be drawn")]
    Entropy(#[from] crate::clock::NoEntropy),
    /// A computation was broken off.
    #[error("a computation was broken off")]
    Broken(#[from] tokio::task::JoinError),
    /// Something has no canonical form.
    #[error("a plan has no hash")]
    Canonical(#[from] stanch_model::canonical::CanonicalError),
    /// Feeds could not be refreshed.
    #[error("feeds cannot be refreshed: {0}")]
    Feeds(String),
}

pub(crate) use case::{begin as begin_case, commit_new as commit_case, put as put_case};
pub(crate) use change::put as put_change;
pub(crate) use decide::{Decider, records};
pub(crate) use dispatch::patience;
pub(crate) use feeds::judge as judge_feed;
pub(crate) use propose::ACTOR;
pub(crate) use schedule::request as request_facts;
pub(crate) use seal::now as seal_now;
pub(crate) use surroundings::{Estate, act};

/// Starts every reconciler; they end when the server stops.
pub(crate) fn spawn(app: &App, stopping: &watch::Receiver<bool>, work: &mut JoinSet<()>) {
    for stage in Stage::ALL {
        if stage == Stage::Seal {
            work.spawn(seal::run(app.clone(), stopping.clone()));
            continue;
        }
        let app = app.clone();
        let mut stopping = stopping.clone();
        work.spawn(async move {
            loop {
                run(&app, stage).await;
                tokio::select! {
                    () = app.bus.nudged(stage) => {}
                    () = tokio::time::sleep(app.config.intervals.tick) => {}
                    _ = stopping.wait_for(|stop| *stop) => return,
                }
            }
        });
    }
}

/// One pass, and what people see of it when it fails.
async fn run(app: &App, stage: Stage) {
    let pass = async {
        match stage {
            Stage::Schedule => schedule::pass(app).await,
            Stage::Ingest => ingest::pass(app).await,
            Stage::Assess => assess::pass(app).await,
            Stage::Policies => policies::pass(app).await,
            Stage::Decide => decide::pass(app).await,
            Stage::Propose => propose::pass(app).await,
            Stage::Plan => plan::pass(app).await,
            Stage::Campaign => campaign::pass(app).await,
            Stage::Case => case::pass(app).await,
            Stage::Change => change::pass(app).await,
            Stage::Rollout => rollout::pass(app).await,
            Stage::Dispatch => dispatch::pass(app).await,
            Stage::Verify => verify::pass(app).await,
            Stage::Feeds => feeds::pass(app).await,
            Stage::Notify => notify::pass(app).await,
            Stage::Retention => retention::pass(app).await,
            Stage::Seal => Ok(()),
        }
    };
    let began = Instant::now();
    // Longer than any pass takes: a pass that hangs must not hang for ever.
    let ended = match tokio::time::timeout(Duration::from_secs(600), pass).await {
        Ok(Ok(())) => {
            app.goes_on(stage.name());
            Ended::Done
        }
        // Somebody else was first; the next pass sees what they did.
        Ok(Err(PassError::Commit(error))) if error.is_conflict() => {
            app.bus.nudge(stage);
            Ended::Again
        }
        Ok(Err(error)) => {
            let error = chain(&error);
            tracing::warn!(stage = stage.name(), error, "a pass failed");
            app.waits(stage.name(), error);
            Ended::Failed
        }
        Err(_) => {
            app.waits(stage.name(), "its last pass took longer than ten minutes and was broken off");
            Ended::BrokenOff
        }
    };
    app.metrics.pass(stage, ended, began.elapsed());
}
