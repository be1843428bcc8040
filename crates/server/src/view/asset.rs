//! Assets and a summary of their facts.

use std::collections::{BTreeSet, HashMap};

use jiff::{SignedDuration, Timestamp};
use stanch_model::asset::AssetKind;
use stanch_model::facts::{HostFacts, Known};
use stanch_model::id::AssetId;
use stanch_model::posture::{CHECKS, Kind, Reading};
use stanch_store::detection::Detection;
use stanch_store::executor::Standing;
use stanch_store::fleet::{Blind, FleetFilter, ListedAsset, Presence};
use stanch_store::package::{InstalledVersion, MOST_PAST, VersionsOf};

use super::{PAGE, coverage, name, remediation, span};
use crate::api::types::{
    Asset, AssetExecutor, AssetLink, BlindHosts, Coverage, Event, Facts, HealthProbe, MissedWindow, PackageHistory,
    PackageVersion, SeenEdge, UnknownFact,
};
use crate::api::{AssetFilter, EdgeFilter, HistoryFilter, Problem};
use crate::app::App;
use crate::auth::Sight;
use crate::gateway::Caller;

/// Assets on a page when nobody says.
const DEFAULT: u32 = 200;
/// Facts that were not read for so many times the interval between two readings are stale.
const STALE: u32 = 4;
/// Labels that a list is narrowed by at once.
const LABELS: usize = 8;
/// Entries of the record that are shown of one asset.
const HISTORY: u32 = 30;

/// Assets by name.
pub(crate) struct AssetPage {
    /// The assets.
    pub(crate) assets: Vec<Asset>,
    /// Whether there are more.
    pub(crate) more: bool,
}

/// A page of the assets that are seen.
pub(crate) async fn assets(app: &App, sight: &Sight, filter: &AssetFilter) -> Result<AssetPage, Problem> {
    let wanted = rows(app, sight, filter)?;
    let after = filter.after.as_deref().map(|id| {
        id.parse().map_err(|error| Problem::bad_request(format!("`after`: {error}")).hint("pass on the last id"))
    });
    let limit = filter.limit.unwrap_or(DEFAULT).clamp(1, PAGE);
    let mut found = app.store.fleet(&wanted, after.transpose()?.as_ref(), limit + 1).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    Ok(AssetPage { assets: wire(app, &found).await?, more })
}

/// How many assets fit.
pub(crate) async fn count_assets(app: &App, sight: &Sight, filter: &AssetFilter) -> Result<u64, Problem> {
    Ok(app.store.count_fleet(&rows(app, sight, filter)?).await?)
}

fn rows(app: &App, sight: &Sight, filter: &AssetFilter) -> Result<FleetFilter, Problem> {
    let named = filter.label.iter().flat_map(|labels| labels.split(',')).map(|label| {
        let (name, value) = label.split_once('=').map_or((label, None), |(name, value)| (name, Some(value)));
        (name.trim().to_owned(), value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()))
    });
    let ring = filter.ring.iter().map(|ring| ("ring".to_owned(), Some(ring.clone())));
    let labels: Vec<_> = named.filter(|(name, _)| !name.is_empty()).chain(ring).collect();
    if labels.len() > LABELS {
        return Err(Problem::bad_request(format!("`label`: at most {LABELS} at once")));
    }
    Ok(FleetFilter {
        kind: filter.kind.as_deref().map(kind).transpose()?,
        named: filter.named.clone(),
        part: filter.name.clone(),
        environment: filter.environment.clone(),
        owner: filter.owner.clone(),
        labels,
        presence: filter.state.as_deref().map(presence).transpose()?.map(|presence| (presence, lately(app))),
        blind: filter.blind.as_deref().map(|text| blind(app, text)).transpose()?,
        among: sight.among(),
    })
}

fn kind(text: &str) -> Result<AssetKind, Problem> {
    serde_json::from_value(serde_json::Value::String(text.to_owned()))
        .map_err(|_| Problem::bad_request(format!("`{text}` is no kind of asset")))
}

const PRESENCES: [(&str, Presence); 6] = [
    ("connected", Presence::Connected),
    ("away", Presence::Away),
    ("unconfirmed", Presence::Unconfirmed),
    ("frozen", Presence::Frozen),
    ("put_out", Presence::PutOut),
    ("no_executor", Presence::None),
];

fn presence(text: &str) -> Result<Presence, Problem> {
    PRESENCES.into_iter().find(|(name, _)| *name == text).map(|(_, known)| known).ok_or_else(|| {
        let known: Vec<&str> = PRESENCES.iter().map(|(name, _)| *name).collect();
        Problem::bad_request(format!("`{text}` is no state of an executor"))
            .hint(format!("one of: {}", known.join(", ")))
    })
}

/// What can be missing, with what it means.
fn blinds(app: &App) -> [(&'static str, Blind, String); 7] {
    let seconds = u32::try_from(app.config.intervals.observe.as_secs()).unwrap_or(u32::MAX).saturating_mul(STALE);
    [
        ("no_executor", Blind::NoExecutor, "no agent: nothing is read there and nothing can be done".to_owned()),
        ("stale", Blind::Stale(fresh(app)), format!("no facts of the last {}", span(seconds))),
        ("unconfirmed", Blind::Unconfirmed, "let in, and nobody has said that it is one of ours".to_owned()),
        ("frozen", Blind::Frozen, "frozen or put out: it is sent nothing".to_owned()),
        ("no_policy", Blind::NoPolicy, "no policy has a word on anything that is open there".to_owned()),
        ("unsupported", Blind::Unsupported, "its release is past its security support".to_owned()),
        ("unmatched", Blind::Unmatched, "no feed knows anything that is on it: silence says nothing".to_owned()),
    ]
}

fn blind(app: &App, text: &str) -> Result<Blind, Problem> {
    let all = blinds(app);
    let names = all.each_ref().map(|(name, ..)| *name).join(", ");
    all.into_iter()
        .find(|(name, ..)| *name == text)
        .map(|(_, known, _)| known)
        .ok_or_else(|| Problem::bad_request(format!("`{text}` is no blind spot")).hint(format!("one of: {names}")))
}

/// An executor that called since then is connected.
fn lately(app: &App) -> Timestamp {
    let patience = SignedDuration::try_from(crate::tasks::patience(app)).unwrap_or(SignedDuration::MAX);
    app.now().checked_sub(patience).unwrap_or(Timestamp::MIN)
}

/// Facts that were read before are stale.
pub(super) fn fresh(app: &App) -> Timestamp {
    let long = SignedDuration::try_from(app.config.intervals.observe.saturating_mul(STALE));
    app.now().checked_sub(long.unwrap_or(SignedDuration::MAX)).unwrap_or(Timestamp::MIN)
}

/// The hosts that are seen, and how many of them something is missing of.
pub(crate) async fn blind_hosts(app: &App, sight: &Sight) -> Result<(u64, Vec<BlindHosts>), Problem> {
    let hosts = FleetFilter { kind: Some(AssetKind::Host), among: sight.among(), ..FleetFilter::default() };
    let mut missing = Vec::new();
    for (name, blind, why) in blinds(app) {
        let number = app.store.count_fleet(&FleetFilter { blind: Some(blind), ..hosts.clone() }).await?;
        if number > 0 {
            missing.push(BlindHosts { name: name.to_owned(), why, hosts: number });
        }
    }
    Ok((app.store.count_fleet(&hosts).await?, missing))
}

/// What a blind spot means, in words.
pub(crate) fn blind_words(app: &App, wanted: &str) -> Option<String> {
    blinds(app).into_iter().find(|(name, ..)| *name == wanted).map(|(_, _, why)| why)
}

/// One asset.
pub(crate) async fn asset(app: &App, id: &str) -> Result<Asset, Problem> {
    let missing = || Problem::not_found("asset", id);
    let wanted = FleetFilter { among: Some(BTreeSet::from([parse(id)?])), ..FleetFilter::default() };
    let found = app.store.fleet(&wanted, None, 1).await?;
    wire(app, &found).await?.pop().ok_or_else(missing)
}

/// What happened to an asset and its executor, newest first.
pub(crate) async fn asset_history(app: &App, id: &str) -> Result<Vec<Event>, Problem> {
    let entries = app.store.newest_of(parse(id)?.as_str(), HISTORY).await?;
    Ok(entries.iter().map(remediation::event).collect())
}

fn parse(id: &str) -> Result<AssetId, Problem> {
    id.parse().map_err(|_| Problem::not_found("asset", id))
}

/// These assets by their names.
pub(super) async fn named(app: &App, ids: &BTreeSet<AssetId>) -> Result<HashMap<AssetId, String>, Problem> {
    let rows = app.store.assets_named(ids).await?;
    Ok(rows.into_iter().map(|row| (row.asset.id, row.asset.name)).collect())
}

/// Assets on the wire, with what surrounds them read once for all.
async fn wire(app: &App, rows: &[ListedAsset]) -> Result<Vec<Asset>, Problem> {
    let ids: BTreeSet<AssetId> = rows.iter().map(|row| row.stored.asset.id.clone()).collect();
    let detections = app.store.detections(&ids).await?;
    let mut links = links(app, &ids).await?;
    let mut missed: HashMap<AssetId, Vec<MissedWindow>> = HashMap::new();
    for one in app.store.missed_windows(&ids).await? {
        missed.entry(one.asset).or_default().push(MissedWindow {
            remediation: one.remediation.to_string(),
            opened_at: one.opened_at,
            shut_at: one.shut_at,
            why: one.why,
        });
    }
    let (lately, fresh) = (lately(app), fresh(app));
    let one = |row: &ListedAsset| {
        let id = &row.stored.asset.id;
        let known = one(app, row, detections.get(id), links.remove(id).unwrap_or_default(), (lately, fresh));
        Asset { missed_windows: missed.remove(id).unwrap_or_default(), ..known }
    };
    Ok(rows.iter().map(one).collect())
}

fn one(
    app: &App,
    row: &ListedAsset,
    detected: Option<&Detection>,
    links: Vec<AssetLink>,
    (lately, fresh): (Timestamp, Timestamp),
) -> Asset {
    let asset = &row.stored.asset;
    // An assessment that says nothing new is not kept again, so that its time tells nothing of this run.
    let judged = detected.filter(|_| app.is_assessed(&asset.id));
    let executor = row.executor.as_ref();
    let state = match executor.map(|executor| executor.standing) {
        None => "no_executor",
        Some(Standing::PutOut) => "put_out",
        Some(Standing::Frozen) => "frozen",
        Some(Standing::Unconfirmed) => "unconfirmed",
        Some(Standing::In) if executor.is_some_and(|executor| executor.seen_at >= lately) => "connected",
        Some(Standing::In) => "away",
    };
    let missing = [
        ("no_executor", state == "no_executor"),
        ("stale", row.facts_at.is_none_or(|at| at < fresh)),
        ("unconfirmed", state == "unconfirmed"),
        ("frozen", matches!(state, "frozen" | "put_out")),
        ("no_policy", row.decided > 0 && row.ruled == 0),
        ("unsupported", row.unsupported),
        ("unmatched", detected.is_none_or(|said| said.coverage.with_data == 0)),
    ];
    let missing = missing.into_iter().filter(|(_, is_so)| *is_so && asset.kind == AssetKind::Host);
    Asset {
        id: asset.id.to_string(),
        kind: name(&asset.kind),
        name: asset.name.clone(),
        environment: asset.environment.clone(),
        tier: asset.tier.map(|tier| tier.number()),
        owner: asset.owner.clone(),
        classification: asset.classification.clone(),
        labels: asset.labels.clone(),
        os: row.os.clone(),
        facts_at: row.facts_at,
        judged_at: judged.map(|said| said.facts_at),
        seen_at: executor.map(|executor| executor.seen_at),
        state: state.to_owned(),
        executor: executor.map(|executor| {
            // What does not read says nothing: the gateway has refused to start on it.
            let caller = serde_json::from_value::<Caller>(executor.body.clone()).ok();
            let probed = caller.as_ref().and_then(|caller| caller.abilities.clone()).unwrap_or_default();
            let there = probed.probed.iter().filter(|(_, why)| why.is_none()).map(|(name, _)| name.clone());
            let lacks = probed.probed.iter().filter_map(|(name, why)| Some((name.clone(), why.clone()?)));
            AssetExecutor {
                abilities: there.collect(),
                lacks: lacks.collect(),
                signatures: probed.demands.map(|demand| demand.need),
                id: executor.id.to_string(),
                version: caller.as_ref().and_then(|caller| caller.version.clone()),
                frozen: caller.as_ref().and_then(|caller| caller.frozen.clone()),
                actions: caller.map(|caller| caller.actions).unwrap_or_default(),
            }
        }),
        blind: missing.map(|(name, _)| name.to_owned()).collect(),
        items: row.items,
        items_actionable: row.actionable,
        items_urgent: row.urgent,
        known_exploited: row.exploited,
        findings: row.findings,
        coverage: detected.map_or_else(Coverage::default, |said| coverage(&said.coverage)),
        links,
        missed_windows: Vec::new(),
    }
}

/// How these assets hang together with others.
async fn links(app: &App, assets: &BTreeSet<AssetId>) -> Result<HashMap<AssetId, Vec<AssetLink>>, Problem> {
    let edges = app.store.edges_at(assets).await?;
    let ends: BTreeSet<AssetId> = edges.iter().flat_map(|edge| [edge.from.clone(), edge.to.clone()]).collect();
    let names = named(app, &ends).await?;
    let named = |id: &AssetId| names.get(id).cloned().unwrap_or_else(|| id.to_string());
    let mut links: HashMap<AssetId, Vec<AssetLink>> = HashMap::new();
    for edge in &edges {
        let link = AssetLink { from: named(&edge.from), kind: edge.kind.name().to_owned(), to: named(&edge.to) };
        for end in BTreeSet::from([&edge.from, &edge.to]) {
            if assets.contains(end) {
                links.entry(end.clone()).or_default().push(link.clone());
            }
        }
    }
    Ok(links)
}

/// So many calls are listed at most.
pub(crate) const EDGES: u32 = 1_000;

/// Which asset was seen to call which: from or to this one, or all.
pub(crate) async fn seen_edges(
    app: &App,
    asset: Option<&AssetId>,
    filter: &EdgeFilter,
) -> Result<Vec<SeenEdge>, Problem> {
    let seen = app.store.seen_edges(asset, filter.proposed.is_some_and(|only| only), limit(filter.limit)).await?;
    let ends: BTreeSet<AssetId> = seen.iter().flat_map(|edge| [edge.from.clone(), edge.to.clone()]).collect();
    let names = named(app, &ends).await?;
    let name = |id: &AssetId| names.get(id).cloned().unwrap_or_else(|| id.to_string());
    Ok(seen
        .into_iter()
        .map(|edge| SeenEdge {
            from_name: name(&edge.from),
            to_name: name(&edge.to),
            from: edge.from.to_string(),
            to: edge.to.to_string(),
            port: edge.port,
            program: edge.program,
            first_seen_at: edge.first_seen_at,
            last_seen_at: edge.last_seen_at,
            state: edge.state.name().to_owned(),
        })
        .collect())
}

fn limit(asked: Option<u32>) -> u32 {
    asked.unwrap_or(PAGE).clamp(1, EDGES)
}

/// A summary of the newest facts of one asset.
pub(crate) async fn facts(app: &App, id: &str) -> Result<Facts, Problem> {
    let stored = app.store.facts(&parse(id)?).await?.ok_or_else(|| Problem::not_found("facts of the asset", id))?;
    Ok(summary(&stored.facts))
}

/// What was installed on an asset when.
pub(crate) async fn package_history(app: &App, id: &str, wanted: &HistoryFilter) -> Result<PackageHistory, Problem> {
    let id = parse(id)?;
    if app.store.asset(&id).await?.is_none() {
        return Err(Problem::not_found("asset", id.as_str()));
    }
    let limit = wanted.limit.unwrap_or(PAGE).clamp(1, MOST_PAST);
    let which = match wanted.at {
        Some(at) => VersionsOf::At(at),
        None => VersionsOf::All,
    };
    let mut rows = app.store.installed(&id, wanted.package.as_deref(), which, limit + 1).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let versions = rows.into_iter().map(package_version).collect();
    Ok(PackageHistory { since: app.store.installed_since(&id).await?, versions, more })
}

/// The packages of an asset that came or went since its facts were first read, the last change first.
pub(crate) async fn package_changes(app: &App, id: &str, limit: u32) -> Result<Vec<PackageVersion>, Problem> {
    let rows = app.store.installed(&parse(id)?, None, VersionsOf::Changes, limit).await?;
    Ok(rows.into_iter().map(package_version).collect())
}

fn package_version(row: InstalledVersion) -> PackageVersion {
    let InstalledVersion { package, place, version, from, until, installed_at, baseline } = row;
    PackageVersion { package, place, version, from, until, installed_at, baseline }
}

fn summary(facts: &HostFacts) -> Facts {
    let held = facts.packages.iter().filter(|package| package.hold).map(|package| package.name.clone());
    Facts {
        asset: facts.asset.id.to_string(),
        collected_at: facts.collected_at,
        os: facts.os.pretty_name.clone(),
        architecture: facts.architecture.clone(),
        packages: facts.packages.len() as u64,
        held: held.collect(),
        broken: facts.broken.clone(),
        indexes_at: facts.indexes_at,
        kernel: facts.kernel.known().map(|kernel| kernel.running_release.clone()),
        stale_processes: facts.stale.known().map(|stale| stale.len() as u64),
        sockets: facts.sockets.known().map(|sockets| {
            let line = |socket: &stanch_model::facts::ListeningSocket| {
                let exe = socket.exe.as_deref().unwrap_or("unknown program");
                format!("{} {}:{} {exe}", socket.protocol, socket.address, socket.port)
            };
            sockets.iter().map(line).collect()
        }),
        updaters: facts.updaters.iter().map(|updater| format!("{}: {}", updater.name, updater.detail)).collect(),
        health: facts
            .health
            .iter()
            .map(|one| HealthProbe { name: one.name.clone(), well: one.well, detail: one.detail.clone() })
            .collect(),
        unknown: unknown(facts),
    }
}

/// What could not be read, and why.
pub(crate) fn unknown(facts: &HostFacts) -> Vec<UnknownFact> {
    fn why<T>(fact: &Known<T>) -> Option<&str> {
        match fact {
            Known::Known(_) => None,
            Known::Unknown(why) => Some(why),
        }
    }
    [
        ("candidate versions", why(&facts.candidates)),
        ("kernel", why(&facts.kernel)),
        ("processes on deleted files", why(&facts.stale)),
        ("listening sockets", why(&facts.sockets)),
        ("boot id", why(&facts.boot_id)),
    ]
    .into_iter()
    .filter_map(|(fact, why)| Some((fact.to_owned(), why?.to_owned())))
    .chain(unread_settings(facts))
    .map(|(fact, why)| UnknownFact { asset: facts.asset.name.clone(), assets: 1, fact, why })
    .collect()
}

/// Kinds of settings of which some could not be read, each with the first reason.
fn unread_settings(facts: &HostFacts) -> Vec<(String, String)> {
    let Some(posture) = &facts.posture else { return Vec::new() };
    let first = |kind: &Kind| {
        let checks = CHECKS.iter().filter(|check| check.kind == *kind);
        checks.map(|check| check.reading(posture)).find_map(|reading| match reading {
            Reading::Unread(why) => Some((format!("settings of {}", kind.name()), why)),
            _ => None,
        })
    };
    Kind::ALL.iter().filter_map(first).collect()
}
