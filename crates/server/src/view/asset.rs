//! Assets and a summary of their facts.

use std::collections::{BTreeSet, HashMap};

use stanch_model::facts::{HostFacts, Known};
use stanch_model::id::AssetId;
use stanch_model::posture::{CHECKS, Kind, Reading};
use stanch_store::asset::StoredAsset;

use super::{PAGE, coverage, name};
use crate::api::Problem;
use crate::api::types::{Asset, AssetLink, Coverage, Facts, HealthProbe, UnknownFact};
use crate::app::App;
use crate::auth::Sight;

/// The assets that are seen, at most [`PAGE`] of them.
pub(crate) async fn assets(app: &App, sight: &Sight) -> Result<Vec<Asset>, Problem> {
    let rows = match sight.among() {
        Some(among) => app.store.assets_named(&among.into_iter().take(PAGE as usize).collect()).await?,
        None => app.store.assets(None, PAGE).await?,
    };
    let mut assets = Vec::with_capacity(rows.len());
    for stored in rows {
        assets.push(wire(app, &stored).await?);
    }
    Ok(assets)
}

/// One asset.
pub(crate) async fn asset(app: &App, id: &str) -> Result<Asset, Problem> {
    let stored = app.store.asset(&parse(id)?).await?.ok_or_else(|| Problem::not_found("asset", id))?;
    wire(app, &stored).await
}

fn parse(id: &str) -> Result<AssetId, Problem> {
    id.parse().map_err(|_| Problem::not_found("asset", id))
}

/// These assets by their names.
pub(super) async fn named(app: &App, ids: &BTreeSet<AssetId>) -> Result<HashMap<AssetId, String>, Problem> {
    let rows = app.store.assets_named(ids).await?;
    Ok(rows.into_iter().map(|row| (row.asset.id, row.asset.name)).collect())
}

async fn wire(app: &App, stored: &StoredAsset) -> Result<Asset, Problem> {
    let asset = &stored.asset;
    let facts = app.store.facts(&asset.id).await?;
    let among = BTreeSet::from([asset.id.clone()]);
    let findings = app.store.finding_counts(Some(&among)).await?;
    let items = app.store.count_items(Some(&among), app.now()).await?;
    let detected = app.store.detection(&asset.id).await?;
    // An assessment that says nothing new is not kept again, so that its time tells nothing of this run.
    let judged = detected.as_ref().filter(|_| app.is_assessed(&asset.id));
    Ok(Asset {
        id: asset.id.to_string(),
        kind: name(&asset.kind),
        name: asset.name.clone(),
        environment: asset.environment.clone(),
        tier: asset.tier.map(|tier| tier.number()),
        owner: asset.owner.clone(),
        classification: asset.classification.clone(),
        labels: asset.labels.clone(),
        os: facts.as_ref().map(|facts| facts.facts.os.pretty_name.clone()),
        facts_at: facts.as_ref().map(|facts| facts.facts.collected_at),
        judged_at: judged.map(|said| said.facts_at),
        items: items.open,
        findings: findings.values().map(|count| count.open).sum(),
        coverage: detected.as_ref().map_or_else(Coverage::default, |said| coverage(&said.coverage)),
        links: links(app, &asset.id).await?,
    })
}

/// How an asset hangs together with others.
async fn links(app: &App, asset: &AssetId) -> Result<Vec<AssetLink>, Problem> {
    let edges = app.store.edges_at(&BTreeSet::from([asset.clone()])).await?;
    let ends: BTreeSet<AssetId> = edges.iter().flat_map(|edge| [edge.from.clone(), edge.to.clone()]).collect();
    let known = app.store.assets_named(&ends).await?.into_iter();
    let names: HashMap<AssetId, String> = known.map(|row| (row.asset.id, row.asset.name)).collect();
    let named = |id: &AssetId| names.get(id).cloned().unwrap_or_else(|| id.to_string());
    let links = edges.iter().map(|edge| AssetLink {
        from: named(&edge.from),
        kind: edge.kind.name().to_owned(),
        to: named(&edge.to),
    });
    Ok(links.collect())
}

/// A summary of the newest facts of one asset.
pub(crate) async fn facts(app: &App, id: &str) -> Result<Facts, Problem> {
    let stored = app.store.facts(&parse(id)?).await?.ok_or_else(|| Problem::not_found("facts of the asset", id))?;
    Ok(summary(&stored.facts))
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
