//! What surrounds a rollout, read from the store: how many assets stand in its environments and which of them are ill,
//! what its breakers let through, when its calendars are open, and where the same change holds already.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use stanch_action::catalogue::{self, Declared};
use stanch_engine::breaker::{self, Admission, Breaker};
use stanch_engine::rollout::{Environment, Group, Openings, Pin, Rollout, Surroundings, Task};
use stanch_engine::schedule::{Act, Lane, Schedule};
use stanch_model::calendar::{Gate, Interval};
use stanch_model::id::{AssetId, ItemId};
use stanch_model::remediation::TaskState;
use stanch_model::terms::Terms;
use stanch_store::ReadError;
use stanch_store::asset::StoredAsset;
use stanch_store::breaker::StoredBreaker;
use stanch_store::remediation::{RemediationFilter, StoredRemediation};

use super::PassError;
use crate::app::App;
use crate::record::Record;

/// How far calendars are worked out for a rollout.
const HORIZON: SignedDuration = SignedDuration::from_hours(30 * 24);
/// The longest an action may take that declares nothing.
const UNDECLARED: SignedDuration = SignedDuration::from_hours(2);
/// Assets read at once.
const PAGE: u32 = 1_000;

/// A breaker as stored; one that does not read counts as just opened, so that it lets nothing through.
pub(super) fn breaker(stored: Option<&StoredBreaker>) -> Breaker {
    let Some(stored) = stored else { return Breaker::default() };
    let opened = || Breaker::default().after(&breaker::Word::Halted, stored.at);
    serde_json::from_value(stored.body.clone()).unwrap_or_else(|_| opened())
}

/// What surrounds every rollout: environments and redundancy groups, with whatever in them does not do its work.
#[derive(Debug, Default)]
pub(crate) struct Estate {
    /// The empty name is that of assets that stand in none.
    environments: BTreeMap<String, Environment>,
    pub(crate) groups: BTreeMap<String, Group>,
}

impl Estate {
    /// Reads all assets once; it costs as much as there are of them.
    pub(crate) async fn read(app: &App) -> Result<Self, ReadError> {
        let mut estate = Self::default();
        let held = app.policies.held();
        for group in held.bundle.groups() {
            let empty = Group { min_healthy: group.min_healthy, ..Group::default() };
            estate.groups.insert(group.name.clone(), empty);
        }
        let ill = app.store.ill().await?;
        let silent = silent(app).await;
        let mut after = None;
        loop {
            let page = app.store.assets(after.as_ref(), PAGE).await?;
            let whole = page.len() == PAGE as usize;
            after = page.last().map(|last| last.asset.id.clone());
            for StoredAsset { asset, .. } in page {
                let place = estate.environments.entry(asset.environment.clone().unwrap_or_default()).or_default();
                place.assets = place.assets.saturating_add(1);
                if ill.contains(&asset.id) {
                    place.failing.insert(asset.id.clone());
                }
                for group in held.bundle.groups().iter().filter(|group| group.has(&asset)) {
                    let Some(known) = estate.groups.get_mut(&group.name) else { continue };
                    // Of a member that says nothing nobody knows that it does its work.
                    if ill.contains(&asset.id) || silent.contains(&asset.id) {
                        known.broken.insert(asset.id.clone());
                    }
                    known.members.insert(asset.id.clone());
                }
            }
            if !whole {
                return Ok(estate);
            }
        }
    }

    /// The groups that this asset is a member of, and that can spare nobody whatever happens.
    pub(crate) fn never_spares<'a>(&'a self, asset: &'a AssetId) -> impl Iterator<Item = String> + 'a {
        let mine = self.groups.iter().filter(|(_, group)| group.can_never_spare() && group.members.contains(asset));
        mine.map(|(name, _)| name.clone())
    }

    /// The groups of which one of these assets is a member.
    fn groups_of(&self, assets: &BTreeSet<&AssetId>) -> BTreeMap<String, Group> {
        let of = |group: &Group| group.members.iter().any(|member| assets.contains(member));
        self.groups.iter().filter(|(_, group)| of(group)).map(|(name, group)| (name.clone(), group.clone())).collect()
    }
}

/// Assets whose executor has called before and does not any more.
async fn silent(app: &App) -> BTreeSet<AssetId> {
    let (now, patience) = (app.now(), super::patience(app));
    let callers = app.callers.lock().await;
    let away = callers.iter().map(|(_, caller)| caller).filter(|caller| !caller.is_connected(now, patience));
    away.map(|caller| caller.asset.id.clone()).collect()
}

/// Everything around a rollout that bears on what it may start.
pub(super) async fn of(
    app: &App,
    row: &StoredRemediation,
    rollout: &Rollout,
    estate: &Estate,
) -> Result<Surroundings, PassError> {
    let now = app.now();
    let places: BTreeSet<&str> = rollout.tasks.iter().map(stanch_engine::rollout::Task::place).collect();
    let known =
        places.into_iter().filter_map(|place| Some((place.to_owned(), estate.environments.get(place)?.clone())));
    let environments = known.collect();
    let groups = estate.groups_of(&rollout.tasks.iter().map(|task| &task.asset).collect());
    let mut breakers = BTreeMap::new();
    for scope in rollout.watched_by() {
        let stored = app.store.breaker(&scope).await?;
        let admission = breaker(stored.as_ref()).admission(now);
        if admission != Admission::Free {
            breakers.insert(scope, admission);
        }
    }
    Ok(Surroundings {
        environments,
        groups,
        breakers,
        openings: openings(app, rollout),
        held_elsewhere: held_elsewhere(app, rollout).await?,
        offered: offered(app, rollout).await?,
        changes: super::change::words(app, rollout).await?,
        unfrozen: unfrozen(app, rollout),
        harmless: harmless(),
        taken_back: taken_back(app, row, rollout).await?,
    })
}

/// Items that were taken back, or accepted as a risk, since the remediation was asked for. What was before that was
/// lifted, or kept it from being asked for.
async fn taken_back(
    app: &App,
    row: &StoredRemediation,
    rollout: &Rollout,
) -> Result<BTreeMap<AssetId, BTreeSet<ItemId>>, PassError> {
    let mut taken: BTreeMap<AssetId, BTreeSet<ItemId>> = BTreeMap::new();
    for one in app.store.suppressions(app.now()).await? {
        let mine = rollout.tasks.iter().any(|task| task.asset == one.asset && task.items.contains(&one.item));
        if one.at >= row.created_at && mine {
            taken.entry(one.asset).or_default().insert(one.item);
        }
    }
    Ok(taken)
}

/// When the youngest version that each target would get was first offered, where an age is asked for.
async fn offered(app: &App, rollout: &Rollout) -> Result<BTreeMap<AssetId, Timestamp>, PassError> {
    let unbegun = |task: &&Task| task.sends == 0 && !task.brings.is_empty();
    if rollout.terms.min_age_seconds == 0 || !rollout.tasks.iter().any(|task| unbegun(&task)) {
        return Ok(BTreeMap::new());
    }
    let offered = app.store.offered().await?;
    let detected = app.store.detections(rollout.tasks.iter().map(|task| &task.asset)).await?;
    let youngest = |task: &Task| {
        let system = detected.get(&task.asset).and_then(|detected| detected.system.as_deref());
        Some((task.asset.clone(), super::decide::youngest(&offered, system, &task.brings)?))
    };
    Ok(rollout.tasks.iter().filter_map(youngest).collect())
}

/// Actions whose undo reopens no exposure.
fn harmless() -> BTreeSet<String> {
    let harmless = catalogue::ALL.into_iter().filter(|declared| !declared.closes_exposure);
    harmless.map(|declared| declared.name.to_owned()).collect()
}

/// When a rollout may start, by the calendars of the policies in force; nothing where its terms name none.
fn openings(app: &App, rollout: &Rollout) -> Option<Openings> {
    if rollout.terms.windows.is_empty() && rollout.terms.freezes.is_empty() {
        return None;
    }
    let now = app.now();
    let bundle = app.policies.held().bundle.digest();
    let enough = now.checked_add(HORIZON / 2).unwrap_or(Timestamp::MAX);
    if let Some(known) = app.openings(&rollout.remediation, &bundle, enough) {
        return Some(known);
    }
    let calendars = app.policies.calendars(now);
    let schedule = Schedule::new(&rollout.terms, &calendars, &act(rollout));
    let openings = Openings::of(&schedule, rollout.windows_from(now), now, HORIZON);
    app.set_openings(&rollout.remediation, bundle, openings.clone());
    Some(openings)
}

/// When a target that missed its window may start, by the freezes alone; nothing where its terms let none.
fn unfrozen(app: &App, rollout: &Rollout) -> Option<Openings> {
    rollout.terms.catch_up.filter(|catch_up| catch_up.run_within_seconds > 0)?;
    let terms = Terms { windows: BTreeSet::new(), ..rollout.terms.clone() };
    let now = app.now();
    let calendars = app.policies.calendars(now);
    let open = Schedule::new(&terms, &calendars, &act(rollout)).gate(now);
    // It is looked up anew in every pass: only what changes with a freeze is kept, or rollouts were written for nothing.
    let known_until = match open {
        Gate::Open { until } => until.unwrap_or(Timestamp::MAX),
        Gate::Closed { .. } => Timestamp::UNIX_EPOCH,
    };
    Some(Openings { known_until, spans: vec![Interval::new(Timestamp::UNIX_EPOCH, known_until)], why: None })
}

/// What a rollout's targets want to start: the longest of them counts, and what all of them have in common.
pub(crate) fn act(rollout: &Rollout) -> Act {
    let longest = |actions: &BTreeSet<String>| -> SignedDuration {
        let each = actions.iter().map(|name| catalogue::find(name).map_or(UNDECLARED, |one| one.longest()));
        each.fold(SignedDuration::ZERO, SignedDuration::saturating_add)
    };
    let all = || rollout.tasks.iter().flat_map(|task| &task.actions);
    let every = |holds: fn(Declared) -> bool| {
        all().next().is_some() && all().all(|name| catalogue::find(name).is_some_and(holds))
    };
    Act {
        lane: if every(|one| one.contains) { Lane::Contain } else { Lane::Change },
        closes_exposure: every(|one| one.closes_exposure),
        longest: rollout.tasks.iter().map(|task| longest(&task.actions)).max().unwrap_or(UNDECLARED),
    }
}

/// Where the same change is verified: in each environment that the terms name, since when every version that this
/// rollout would bring has held there.
async fn held_elsewhere(app: &App, rollout: &Rollout) -> Result<BTreeMap<String, Timestamp>, PassError> {
    let mut held = BTreeMap::new();
    if rollout.terms.promote_from.is_empty() {
        return Ok(held);
    }
    let wanted: BTreeSet<(&String, &Pin)> = rollout.tasks.iter().flat_map(|task| &task.versions).collect();
    if wanted.is_empty() {
        return Ok(held);
    }
    let states = vec!["closed", "verified", "awaiting_confirmation", "partially_remediated"];
    let filter = RemediationFilter { states, ..RemediationFilter::default() };
    let rows = app.store.all_remediations(&filter).await?;
    let others: Vec<Rollout> = rows.iter().filter_map(|row| Record::read(&row.body).rollout).collect();
    for from in &rollout.terms.promote_from {
        let mut since: BTreeMap<(&String, &Pin), Timestamp> = BTreeMap::new();
        for task in others.iter().flat_map(|other| &other.tasks) {
            let there = task.environment.as_deref() == Some(from.environment.as_str());
            let Some(at) = task.acted_at.filter(|_| there && task.state == TaskState::Verified) else { continue };
            for version in task.versions.iter().filter(|version| wanted.contains(version)) {
                let first = since.entry(version).or_insert(at);
                *first = (*first).min(at);
            }
        }
        if wanted.iter().all(|version| since.contains_key(version)) {
            held.extend(since.into_values().max().map(|at| (from.environment.clone(), at)));
        }
    }
    Ok(held)
}
