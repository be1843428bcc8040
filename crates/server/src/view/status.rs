//! The whole at a glance.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use stanch_model::id::ExecutorId;
use stanch_model::remediation::RemediationState;
use stanch_store::detection::Listed;
use stanch_store::remediation::RemediationFilter;

use super::{asset, finding, whole_holds};
use crate::api::Problem;
use crate::api::types::{Counts, Executor, Status, TrendPoint, UnknownFact, Waiting};
use crate::app::App;
use crate::auth::Sight;
use crate::bus::Stage;
use crate::gateway::Caller;
use crate::record::TREND;

/// Executors that are shown of many.
const EXECUTORS: usize = 20;
/// A store that does not answer within this time is not well.
const HEALTH: std::time::Duration = std::time::Duration::from_secs(2);
/// Lines of one kind that are shown of many.
const LINES: u32 = 100;

/// How the server and what it watches are.
pub(crate) async fn status(app: &App, sight: &Sight) -> Result<Status, Problem> {
    let trend = app.store.setting(TREND).await?.and_then(|value| serde_json::from_value(value).ok());
    let unknown = unknown(app, sight).await?;
    let glance = glance(app, sight).await;
    let (hosts, blind) = asset::blind_hosts(app, sight).await?;
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: app.started_at,
        default_mode: "alert".to_owned(),
        executors_known: glance.known,
        executors_connected: glance.connected,
        executors: glance.shown,
        holds: whole_holds(app).await?,
        counts: counts(app, sight).await?,
        coverage: finding::all_coverage(app, sight).await?,
        waiting: waiting(app, sight).await?,
        unknown,
        hosts,
        blind,
        // It is the trend of everything.
        trend: trend.filter(|_| sight.is_everything()).unwrap_or_else(Vec::<TrendPoint>::new),
    })
}

/// Whether the store answers and the record can be sealed.
pub(crate) async fn is_healthy(app: &App) -> bool {
    let answers = tokio::time::timeout(HEALTH, app.store.epoch()).await;
    let sealing = app.waiting().iter().all(|one| one.what != Stage::Seal.name());
    matches!(answers, Ok(Ok(_))) && sealing
}

/// What could not be read: what concerns most assets first.
pub(crate) async fn unknown(app: &App, sight: &Sight) -> Result<Vec<UnknownFact>, Problem> {
    lines(app, sight, Listed::Unread, "").await
}

/// Lines of one kind that the detectors noted of assets, each with how many it concerns.
async fn lines(app: &App, sight: &Sight, what: Listed, fact: &str) -> Result<Vec<UnknownFact>, Problem> {
    let all = app.store.said(what, sight.among().as_ref(), LINES).await?;
    let names = asset::named(app, &all.iter().map(|one| one.example.clone()).collect()).await?;
    let told = all.into_iter().map(|one| UnknownFact {
        asset: names.get(&one.example).cloned().unwrap_or_else(|| one.example.to_string()),
        assets: one.assets,
        fact: one.fact.unwrap_or_else(|| fact.to_owned()),
        why: one.why,
    });
    Ok(told.collect())
}

/// The executors, newest word first.
pub(crate) async fn executors(app: &App, sight: &Sight) -> Vec<Executor> {
    let now = app.now();
    let patience = crate::tasks::patience(app);
    let callers = app.callers.lock().await;
    let mut all: Vec<Executor> = callers
        .iter()
        .filter(|(_, caller)| sight.covers(&caller.asset.id))
        .map(|(id, caller)| executor(id, caller, caller.is_connected(now, patience)))
        .collect();
    all.sort_by(|a, b| b.seen_at.cmp(&a.seen_at).then_with(|| a.id.cmp(&b.id)));
    all
}

fn executor(id: &ExecutorId, caller: &Caller, connected: bool) -> Executor {
    Executor {
        id: id.to_string(),
        asset: caller.asset.name.clone(),
        seen_at: Some(caller.seen_at),
        connected,
        actions: caller.actions.clone(),
        frozen: caller.frozen.clone(),
        confirmed: caller.confirmed,
    }
}

/// The executors in short.
struct Glance {
    known: u64,
    connected: u64,
    /// Those of many that somebody should look at, and then the newest.
    shown: Vec<Executor>,
}

type Seen<'a> = (bool, bool, Reverse<Timestamp>, &'a ExecutorId, &'a Caller);

/// Of a hundred thousand executors only those shown are copied and put in order.
async fn glance(app: &App, sight: &Sight) -> Glance {
    let now = app.now();
    let patience = crate::tasks::patience(app);
    let callers = app.callers.lock().await;
    let mut seen: Vec<Seen<'_>> = callers
        .iter()
        .filter(|(_, caller)| sight.covers(&caller.asset.id))
        .map(|(id, caller)| {
            (caller.frozen.is_none(), caller.is_connected(now, patience), Reverse(caller.seen_at), id, caller)
        })
        .collect();
    let known = u64::try_from(seen.len()).unwrap_or(u64::MAX);
    let connected = seen.iter().filter(|(_, connected, ..)| *connected).count().try_into().unwrap_or(u64::MAX);
    let order = |a: &Seen<'_>, b: &Seen<'_>| (a.0, a.1, a.2, a.3).cmp(&(b.0, b.1, b.2, b.3));
    if seen.len() > EXECUTORS {
        seen.select_nth_unstable_by(EXECUTORS, order);
        seen.truncate(EXECUTORS);
    }
    seen.sort_unstable_by(order);
    Glance {
        known,
        connected,
        shown: seen.into_iter().map(|(_, connected, _, id, caller)| executor(id, caller, connected)).collect(),
    }
}

async fn counts(app: &App, sight: &Sight) -> Result<Counts, Problem> {
    let among = sight.among();
    let remediations = remediation_counts(app, sight).await?;
    let of = |wanted: &dyn Fn(&str) -> bool| {
        remediations.iter().filter(|(state, _)| wanted(state)).map(|(_, count)| count).sum::<u64>()
    };
    let over = |state: &str| OVER.iter().any(|known| known.name() == state);
    let mut by_verdict: BTreeMap<String, u64> = BTreeMap::new();
    let mut findings_closed = 0;
    for ((_, verdict), count) in app.store.finding_counts(among.as_ref()).await? {
        findings_closed += count.closed;
        if count.open > 0 {
            *by_verdict.entry(verdict.name().to_owned()).or_default() += count.open;
        }
    }
    let items = app.store.count_items(among.as_ref(), app.now()).await?;
    Ok(Counts {
        items: items.open,
        items_actionable: items.actionable,
        items_set_aside: items.set_aside,
        items_urgent: items.urgent,
        items_suppressed: items.suppressed,
        items_decided: items.decided,
        findings: by_verdict.iter().filter(|(name, _)| is_open(name)).map(|(_, count)| count).sum(),
        known_exploited: items.exploited,
        remediations_open: of(&|state| !over(state)),
        remediations_waiting: of(&|state| matches!(state, "awaiting_approval" | "needs_operator")),
        remediations_closed: of(&|state| state == "closed"),
        findings_closed,
        by_verdict,
    })
}

/// Remediations by the name of their state: counted by the store for who sees everything, one by one for who does not.
async fn remediation_counts(app: &App, sight: &Sight) -> Result<BTreeMap<String, u64>, Problem> {
    if sight.is_everything() {
        return Ok(app.store.remediation_counts().await?);
    }
    let mut counts = BTreeMap::new();
    for one in super::remediations(app, sight, &crate::api::RemediationFilter::default()).await? {
        *counts.entry(one.state).or_default() += 1;
    }
    Ok(counts)
}

const OVER: [RemediationState; 9] = {
    use RemediationState as S;
    [
        S::Closed,
        S::ClosedNotRemediated,
        S::RolledBack,
        S::ResolvedElsewhere,
        S::Dismissed,
        S::Rejected,
        S::Expired,
        S::Superseded,
        S::Cancelled,
    ]
};

fn is_open(verdict: &str) -> bool {
    !matches!(verdict, "not_affected" | "unknown")
}

/// Everything that waits: stages that cannot go on, and remediations with what they wait on.
async fn waiting(app: &App, sight: &Sight) -> Result<Vec<Waiting>, Problem> {
    // What stages wait on may name any asset.
    let mut all = if sight.is_everything() { app.waiting() } else { Vec::new() };
    if let Some(why) = app.knowledge.held().damaged {
        all.push(Waiting { what: "feeds".to_owned(), on: why, since: app.started_at });
    }
    let open = RemediationFilter { over: Some(false), ..RemediationFilter::default() };
    for row in app.store.all_remediations(&open).await? {
        if !sight.is_everything() && !row.assets.iter().any(|asset| sight.covers(asset)) {
            continue;
        }
        if let Some(on) = row.waiting {
            all.push(Waiting { what: row.id.to_string(), on, since: row.updated_at });
        }
    }
    Ok(all)
}

/// What could not be judged: anything here forbids calling those assets clean.
pub(crate) async fn blind_spots(app: &App, sight: &Sight) -> Result<Vec<UnknownFact>, Problem> {
    let mut all = lines(app, sight, Listed::BlindSpots, "cannot be judged").await?;
    all.extend(lines(app, sight, Listed::Notes, "worth knowing").await?);
    Ok(all)
}
