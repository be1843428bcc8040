//! Asks for facts when they are due.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use stanch_model::asset::AssetKind;
use stanch_model::id::{AssetId, ExecutorId};
use stanch_model::order::{Verb, VerbKind};
use stanch_store::Transition;
use stanch_store::order::{OrderState, VoidOrder};

use super::together::together;
use super::{PassError, orders};
use crate::app::App;

/// Of an asset that was asked and whose facts are not there yet nothing is looked up again for so long: its answer may be
/// on its way through the other stages.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(5);
/// An order to read facts that nobody answered for so long is given up.
const GIVE_UP: SignedDuration = SignedDuration::from_mins(10);

pub(super) async fn pass(app: &App) -> Result<(), PassError> {
    let now = app.now();
    let every = SignedDuration::try_from(app.config.intervals.observe).unwrap_or(SignedDuration::MAX);
    let hosts: Vec<AssetId> = {
        let callers = app.callers.lock().await;
        let hosts = callers.iter().map(|(_, caller)| &caller.asset).filter(|asset| asset.kind == AssetKind::Host);
        hosts.map(|asset| asset.id.clone()).collect()
    };
    // Only what may be due is looked up: with many hosts nearly all of them rest.
    let awake = app.awake(hosts, now);
    if awake.is_empty() {
        return Ok(());
    }
    // What was answered a moment ago and not taken up yet is as good as there; looked up before what is there, or
    // something could be in neither.
    let lately = now.checked_sub(GIVE_UP).unwrap_or(Timestamp::MIN);
    let unheard = Arc::new(app.store.unheard(VerbKind::Observe, lately).await?);
    let read = app.store.facts_times(&awake).await?;
    let mut due = Vec::new();
    for asset in awake {
        let next =
            read.get(&asset).map(|at| at.checked_add(every).unwrap_or(Timestamp::MAX)).filter(|next| *next > now);
        app.rests(&asset, next.unwrap_or_else(|| now.checked_add(LOOK_AGAIN).unwrap_or(Timestamp::MAX)));
        if next.is_none() {
            due.push(asset);
        }
    }
    // Indexes are fetched only when a person asks: a host's own timers do it otherwise.
    let asked = together(due, |asset| {
        let (app, unheard) = (app.clone(), Arc::clone(&unheard));
        async move { ask(&app, &asset, false, Enough::Begun, &unheard).await }
    });
    asked.await.map(drop)
}

/// Which order to read facts makes another one needless.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Enough {
    /// One that was handed out: its facts may be older than the question.
    Begun,
    /// Only one that lies ready: its facts will be newer than the question.
    Waiting,
}

/// Has the facts of an asset read from now on. Answers whether there is an executor that may.
pub(crate) async fn request(app: &App, asset: &AssetId, refresh: bool) -> Result<bool, PassError> {
    ask(app, asset, refresh, Enough::Waiting, &BTreeSet::new()).await
}

async fn ask(
    app: &App,
    asset: &AssetId,
    refresh: bool,
    enough: Enough,
    unheard: &BTreeSet<ExecutorId>,
) -> Result<bool, PassError> {
    let now = app.now();
    let Some((executor, caller)) = orders::host_executor_of(app, asset).await else { return Ok(false) };
    if unheard.contains(&executor) {
        return Ok(true);
    }
    if let Some(why) = &caller.frozen {
        app.waits(&format!("facts of {}", caller.asset.name), format!("its executor is frozen: {why}"));
        return Ok(false);
    }
    for order in app.store.unanswered_orders(&executor).await? {
        let Verb::Observe { refresh: fetches, .. } = order.verb else { continue };
        if order.task.is_some() {
            continue;
        }
        if order.state == OrderState::Delivered && enough == Enough::Waiting {
            continue;
        }
        // One that does not fetch the indexes does not answer a question for newer ones.
        if refresh && !fetches {
            continue;
        }
        if now.duration_since(order.created_at) < GIVE_UP {
            return Ok(true);
        }
        app.store.put(stanch_store::Write::VoidOrder(VoidOrder { id: order.id, unless_delivered: false })).await?;
    }
    let verb = orders::observe(app, asset, &caller, refresh).await?;
    let (_, write) = orders::order(app, &executor, verb, now)?;
    app.store.commit(Transition::silent(write)).await?;
    app.bus.wake([&executor]);
    Ok(true)
}
