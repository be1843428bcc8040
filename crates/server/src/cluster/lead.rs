//! Who leads: one server at a time, as long as it renews its lease.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::json;
use stanch_ledger::NewEntry;
use stanch_store::lease::TakeLease;
use stanch_store::setting::Setting;
use stanch_store::{CommitError, Effect, Fence, Transition, Write};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Cluster, ClusterError, LEADER, Leader, SHARING, lock, share_issuer};
use crate::app::App;
use crate::error::chain;
use crate::{gateway, tasks};

/// How long a lease holds that is not renewed. Another server leads this long after the one before it was last heard of;
/// that one itself, started again, leads at once.
const LIFE: SignedDuration = SignedDuration::from_secs(10);
/// Between two renewals, and between two looks at who leads.
const RENEW: Duration = Duration::from_secs(2);
/// What waits while nobody knows who leads.
const LEADING: &str = "which server leads";

/// Leads, or follows whoever leads, until the server stops or another one has taken the lead.
pub(crate) async fn run(app: App, mut stopping: watch::Receiver<bool>) {
    let Some(cluster) = &app.cluster else { return };
    let mut work = JoinSet::new();
    loop {
        match step(&app, cluster, &stopping, &mut work).await {
            Ok(Stands::Known) => {
                app.goes_on(LEADING);
                cluster.known.send_replace(true);
            }
            Ok(Stands::Lost) => {
                let why = "another server leads, or is to: this one ends, so that it begins anew as one that follows";
                tracing::error!("{why}");
                cluster.leads.send_replace(false);
                work.shutdown().await;
                cluster.lost.send_replace(Some(why.to_owned()));
                return;
            }
            // Nobody leads without the store, and whoever led goes on when it is back, unless another was faster.
            Err(error) => app.waits(LEADING, chain(&error)),
        }
        match share_issuer(&app).await {
            Ok(()) => app.goes_on(SHARING),
            Err(error) => app.waits(SHARING, chain(&error)),
        }
        tokio::select! {
            () = tokio::time::sleep(RENEW) => {}
            _ = stopping.wait_for(|stop| *stop) => break,
        }
    }
    while work.join_next().await.is_some() {}
    if cluster.leads() {
        give_back(&app, cluster).await;
    }
}

/// The next one need not wait until the lease has run out.
async fn give_back(app: &App, cluster: &Cluster) {
    let now = app.now();
    let holder = cluster.holder.clone();
    let ask = TakeLease { name: LEADER.to_owned(), holder, anew: false, at: now, until: now };
    drop(app.store.put(Write::TakeLease(ask)).await);
}

enum Stands {
    /// This server leads, or another does.
    Known,
    /// This one did, and another does now.
    Lost,
}

async fn step(
    app: &App,
    cluster: &Cluster,
    stopping: &watch::Receiver<bool>,
    work: &mut JoinSet<()>,
) -> Result<Stands, ClusterError> {
    let now = app.now();
    let until = now.saturating_add(LIFE).unwrap_or(now);
    let anew = app.store.fenced().is_none();
    let ask = TakeLease { name: LEADER.to_owned(), holder: cluster.holder.clone(), anew, at: now, until };
    let token = match app.store.put(Write::TakeLease(ask)).await {
        Ok(committed) => committed.effects.iter().find_map(|effect| match effect {
            Effect::Lease(token) => *token,
            _ => None,
        }),
        Err(CommitError::Lease(_)) => None,
        Err(error) => return Err(error.into()),
    };
    match (token, cluster.leads()) {
        (Some(_), true) => {}
        (Some(token), false) => {
            if let Err(error) = begin(app, cluster, token, stopping, work).await {
                // Whoever cannot lead does not keep others from it, and begins anew.
                tracing::error!(error = chain(&error), "this server cannot begin to lead");
                give_back(app, cluster).await;
                return Ok(Stands::Lost);
            }
        }
        // It led, or had begun to.
        (None, _) if app.store.fenced().is_some() => return Ok(Stands::Lost),
        (None, _) => {
            let leader = app.store.setting(LEADER).await?.and_then(|value| serde_json::from_value(value).ok());
            *lock(&cluster.leader) = leader;
        }
    }
    Ok(Stands::Known)
}

/// Begins to lead. Broken off before its end it is begun again: nothing works until all of it is done.
async fn begin(
    app: &App,
    cluster: &Cluster,
    token: u64,
    stopping: &watch::Receiver<bool>,
    work: &mut JoinSet<()>,
) -> Result<(), ClusterError> {
    let fence = Fence { lease: LEADER.to_owned(), token };
    if !app.store.fence(fence.clone()) && app.store.fenced() != Some(fence) {
        // It led before, and somebody else did since.
        return Err(CommitError::Lease(LEADER.to_owned()).into());
    }
    gateway::know_all(app).await?;
    app.policies.reread(&app.store).await?;
    let leader = Leader { server: cluster.id.clone(), door: reached_at(app) };
    let now = app.now();
    let value = serde_json::to_value(&leader).unwrap_or_default();
    let entry = NewEntry::new(now, "server", "server_leads")
        .about(&cluster.id)
        .with(json!({ "version": env!("CARGO_PKG_VERSION"), "token": token }));
    let setting = Write::PutSetting(Setting { key: LEADER.to_owned(), value, at: now });
    app.store.commit(Transition::new(entry).write(setting)).await?;
    tasks::spawn(app, stopping, work);
    *lock(&cluster.leader) = Some(leader);
    cluster.leads.send_replace(true);
    tracing::info!(server = cluster.id, token, "this server leads");
    Ok(())
}

/// Where other servers reach this one's door.
fn reached_at(app: &App) -> Option<String> {
    let door = app.door()?;
    let first = || app.config.executors.as_ref().and_then(|door| door.names.first().cloned());
    let named = app.config.advertise.clone().or_else(first)?;
    // A port is named, or it is the door's.
    let has_port =
        named.rsplit_once(':').is_some_and(|(host, port)| !host.contains(':') && port.parse::<u16>().is_ok());
    Some(match named.parse::<std::net::Ipv6Addr>() {
        Ok(address) => format!("[{address}]:{}", door.port()),
        Err(_) if has_port || named.contains("]:") => named,
        Err(_) => format!("{named}:{}", door.port()),
    })
}
