//! What one server hears of another: the outbox of the store, read on a wake-up over NATS, and every few seconds in any
//! case.

use std::time::Duration;

use stanch_model::id::ExecutorId;
use stanch_model::order::Progress;
use stanch_store::transition::topic;
use stanch_store::{Nudge, ReadError, Transition, Write};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Cluster, feeds};
use crate::app::App;
use crate::bus::Stage;
use crate::config::Nats;
use crate::error::chain;
use crate::gateway;

/// A word of an executor on the way, for whoever leads.
const PROGRESS: &str = "progress";
/// What is read of the outbox at once.
const PAGE: u32 = 1_000;
/// For so long the outbox keeps what it holds. A server that was away for longer looks at everything.
const KEPT: Duration = Duration::from_secs(60);
/// What waits while wake-ups do not arrive.
const WIRES: &str = "wake-ups between servers";

/// Hears what other servers did, and tells them what this one did.
pub(crate) async fn run(app: App, stopping: watch::Receiver<bool>) {
    let mut work = JoinSet::new();
    if let Some(nats) = app.config.nats.clone() {
        work.spawn(wires(app.clone(), nats, stopping.clone()));
    }
    work.spawn(sweep(app.clone(), stopping.clone()));
    work.spawn(feeds::run(app.clone(), stopping.clone()));
    let mut stopping = stopping;
    let Some(cluster) = &app.cluster else { return };
    loop {
        if let Err(error) = catch_up(&app).await {
            tracing::warn!(error = chain(&error), "what other servers did cannot be read");
        }
        tokio::select! {
            () = cluster.news.notified() => {}
            () = tokio::time::sleep(app.config.intervals.tick) => {}
            _ = stopping.wait_for(|stop| *stop) => break,
        }
    }
    while work.join_next().await.is_some() {}
}

/// Reads the outbox to its end and does what it says.
pub(crate) async fn catch_up(app: &App) -> Result<(), ReadError> {
    let Some(cluster) = &app.cluster else { return Ok(()) };
    let mut read_to = cluster.read_to.lock().await;
    let mut after = match *read_to {
        Some(after) => after,
        // What lay there before it began it has read from the store itself.
        None => app.store.last_nudge().await?,
    };
    loop {
        let page = app.store.nudges_after(after, PAGE).await?;
        let Some((last, _)) = page.last() else {
            let last = app.store.last_nudge().await?;
            if last > after {
                look_at_everything(app).await?;
                after = last;
            }
            break;
        };
        let last = *last;
        if page.first().is_some_and(|(first, _)| *first > after + 1) && read_to.is_some() {
            look_at_everything(app).await?;
        }
        for (_, nudge) in &page {
            match take(app, cluster, nudge).await {
                // One row that does not read keeps nobody from hearing the rest.
                Err(error @ ReadError::Damaged { .. }) => {
                    tracing::warn!(error = chain(&error), subject = nudge.subject, "what another server wrote");
                }
                taken => taken?,
            }
        }
        after = last;
        *read_to = Some(after);
    }
    *read_to = Some(after);
    Ok(())
}

/// What came in between was taken away: this server was cut off for long.
async fn look_at_everything(app: &App) -> Result<(), ReadError> {
    gateway::know_all(app).await?;
    app.bus.wake_all();
    for stage in [Stage::Schedule, Stage::Ingest, Stage::Decide, Stage::Plan, Stage::Rollout] {
        app.bus.nudge(stage);
    }
    Ok(())
}

async fn take(app: &App, cluster: &Cluster, nudge: &Nudge) -> Result<(), ReadError> {
    match nudge.topic.as_str() {
        topic::ORDERS => {
            if let Ok(executor) = nudge.subject.parse::<ExecutorId>() {
                app.bus.wake([&executor]);
            }
        }
        topic::EXECUTOR => {
            if let Ok(executor) = nudge.subject.parse::<ExecutorId>() {
                gateway::know(app, &executor).await?;
            }
        }
        topic::RECEIPT if cluster.leads() => {
            for stage in [Stage::Ingest, Stage::Plan, Stage::Rollout] {
                app.bus.nudge(stage);
            }
        }
        PROGRESS if cluster.leads() => {
            if let Ok(progress) = serde_json::from_str::<Progress>(&nudge.subject) {
                gateway::show_progress(app, progress).await;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Tells whoever leads a word of an executor on the way. It may be lost.
pub(crate) async fn tell(app: &App, progress: &Progress) {
    let Ok(text) = serde_json::to_string(progress) else { return };
    if let Err(error) = app.store.commit(Transition::default().nudge(PROGRESS, text)).await {
        tracing::debug!(error = chain(&error), "a word on the way was lost");
    }
}

/// Takes away what every server has had the time to read.
async fn sweep(app: App, mut stopping: watch::Receiver<bool>) {
    let mut before = None;
    loop {
        if app.cluster.as_ref().is_some_and(Cluster::leads) {
            match app.store.last_nudge().await {
                Ok(last) => {
                    if let Some(old) = before.replace(last)
                        && let Err(error) = app.store.put(Write::AckNudges(old)).await
                    {
                        tracing::warn!(error = chain(&error), "the outbox is not cleared");
                    }
                }
                Err(error) => tracing::warn!(error = chain(&error), "the outbox cannot be read"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(KEPT) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

/// Carries wake-ups from and to other servers.
async fn wires(app: App, nats: Nats, mut stopping: watch::Receiver<bool>) {
    loop {
        let ended = tokio::select! {
            ended = connected(&app, &nats) => ended,
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        if let Err(why) = ended {
            app.waits(WIRES, format!("{why}; until then servers look every {:?}", app.config.intervals.tick));
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

async fn connected(app: &App, nats: &Nats) -> Result<(), String> {
    let Some(cluster) = &app.cluster else { return Ok(()) };
    let mut options = async_nats::ConnectOptions::new().name(cluster.id()).no_echo();
    if let Some(file) = &nats.credentials {
        let read = options.credentials_file(file).await;
        options = read.map_err(|error| format!("the credentials {} cannot be read: {error}", file.display()))?;
    }
    if let Some(file) = &nats.authority {
        options = options.add_root_certificates(file.clone());
    }
    let addresses: Vec<&str> = nats.url.split(',').collect();
    let client = options.connect(addresses).await.map_err(|error| format!("NATS cannot be reached: {error}"))?;
    // One NATS may serve several installations.
    let root: String = app.keys.root().to_string().chars().take(16).collect();
    let subject = format!("stanch.{root}.look");
    let mut heard = client.subscribe(subject.clone()).await.map_err(|error| format!("NATS refuses: {error}"))?;
    let mut own = app.store.nudges();
    app.goes_on(WIRES);
    loop {
        tokio::select! {
            message = futures_util::StreamExt::next(&mut heard) => match message {
                Some(_) => cluster.news.notify_one(),
                None => return Err("NATS has ended the subscription".to_owned()),
            },
            told = own.recv() => match told {
                Ok(_) | Err(RecvError::Lagged(_)) => {
                    // However many there are: one look reads them all.
                    while own.try_recv().is_ok() {}
                    // This server hears of its own at once: what it did for its own executors they get now.
                    cluster.news.notify_one();
                    let sent = client.publish(subject.clone(), Default::default()).await;
                    sent.map_err(|error| format!("NATS does not take a wake-up: {error}"))?;
                }
                Err(RecvError::Closed) => return Ok(()),
            },
        }
        match client.connection_state() {
            async_nats::connection::State::Connected => app.goes_on(WIRES),
            state => app.waits(WIRES, format!("NATS is {state}; until then servers look now and then")),
        }
    }
}
