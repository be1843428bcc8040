//! What surrounds a rollout, read from the store: how many assets stand in its environments and which of them are ill,
//! and what its breakers let through.

use std::collections::{BTreeMap, BTreeSet};

use stanch_engine::breaker::{self, Admission, Breaker};
use stanch_engine::rollout::{Environment, Rollout, Surroundings};
use stanch_store::breaker::StoredBreaker;

use super::PassError;
use crate::app::App;

/// Assets read at once.
const PAGE: u32 = 1_000;

/// A breaker as stored; one that does not read counts as just opened, so that it lets nothing through.
pub(super) fn breaker(stored: Option<&StoredBreaker>) -> Breaker {
    let Some(stored) = stored else { return Breaker::default() };
    let opened = || Breaker::default().after(&breaker::Word::Halted, stored.at);
    serde_json::from_value(stored.body.clone()).unwrap_or_else(|_| opened())
}

/// All environments with their sizes; the empty name is that of assets that stand in none.
pub(super) async fn environments(app: &App) -> Result<BTreeMap<String, Environment>, PassError> {
    let mut environments: BTreeMap<String, Environment> = BTreeMap::new();
    let mut after = None;
    loop {
        let page = app.store.assets(after.as_ref(), PAGE).await?;
        let whole = page.len() == PAGE as usize;
        after = page.last().map(|last| last.asset.id.clone());
        for stored in page {
            let place = environments.entry(stored.asset.environment.unwrap_or_default()).or_default();
            place.assets = place.assets.saturating_add(1);
        }
        if !whole {
            return Ok(environments);
        }
    }
}

/// Everything around a rollout that bears on what it may start.
pub(super) async fn of(
    app: &App,
    rollout: &Rollout,
    environments: &BTreeMap<String, Environment>,
) -> Result<Surroundings, PassError> {
    let now = app.now();
    let places: BTreeSet<&str> = rollout.tasks.iter().map(stanch_engine::rollout::Task::place).collect();
    let known = places.into_iter().filter_map(|place| Some((place.to_owned(), environments.get(place)?.clone())));
    let environments = known.collect();
    let mut breakers = BTreeMap::new();
    for scope in rollout.watched_by() {
        let stored = app.store.breaker(&scope).await?;
        let admission = breaker(stored.as_ref()).admission(now);
        if admission != Admission::Free {
            breakers.insert(scope, admission);
        }
    }
    Ok(Surroundings { environments, breakers, ..rollout.surroundings.clone() })
}
