//! Asks for facts when they are due.

use jiff::SignedDuration;
use stanch_model::id::AssetId;
use stanch_model::order::Verb;
use stanch_store::Transition;
use stanch_store::order::{OrderState, VoidOrder};

use super::{PassError, orders};
use crate::app::App;

/// An order to read facts that nobody answered for so long is given up.
const GIVE_UP: SignedDuration = SignedDuration::from_mins(10);

pub(super) async fn pass(app: &App) -> Result<(), PassError> {
    let now = app.now();
    let every = SignedDuration::try_from(app.config.intervals.observe).unwrap_or(SignedDuration::MAX);
    let assets: Vec<AssetId> = app.callers.lock().await.values().map(|caller| caller.asset.id.clone()).collect();
    for asset in assets {
        let facts = app.store.facts_at(&asset).await?;
        if facts.is_none_or(|at| now.duration_since(at) >= every) {
            // Indexes are fetched only when a person asks: a host's own timers do it otherwise.
            ask(app, &asset, false, Enough::Begun).await?;
        }
    }
    Ok(())
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
    ask(app, asset, refresh, Enough::Waiting).await
}

async fn ask(app: &App, asset: &AssetId, refresh: bool, enough: Enough) -> Result<bool, PassError> {
    let now = app.now();
    let Some((executor, caller)) = orders::host_executor_of(app, asset).await else { return Ok(false) };
    if let Some(why) = &caller.frozen {
        app.waits(&format!("facts of {}", caller.asset.name), format!("its executor is frozen: {why}"));
        return Ok(false);
    }
    for order in app.store.unanswered_orders(None, 1_000).await? {
        let same = order.executor == executor && order.task.is_none();
        let Verb::Observe { refresh: fetches } = order.verb else { continue };
        if !same {
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
        app.store.put(stanch_store::Write::VoidOrder(VoidOrder { id: order.id })).await?;
    }
    let (_, write) = orders::order(app, &executor, Verb::Observe { refresh }, now)?;
    app.store.commit(Transition::silent(write)).await?;
    app.bus.wake_polls();
    Ok(true)
}
